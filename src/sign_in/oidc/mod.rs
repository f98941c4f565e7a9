//! ID tokens of OpenID Connect: the signature, the issuer, the audience and the times are checked
//! before any other claim is read.
//!
//! What must never enter: settings that a token brings for its own check. Algorithms, keys, issuer
//! and audiences are those of the connection.

mod claims;
mod logout_token;
mod user_info;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, Validation, decode_header};
use reqwest::Url;
use serde_json::{Map, Value};

use crate::auth::issuers::IssuerKeys;
use crate::auth::issuers::settings::KeySource;
use crate::context::Cx;
use crate::domain::connection::Connection;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::connection::assertion_source::oidc::OidcSettings;
use crate::domain::sign_in::VerifiedAssertion;
use crate::domain::sign_in::provider_session::ProviderSession;
use crate::error::{Error, RefusalReason, Result};

use claims::PersonClaims;
pub use user_info::{UncheckedUserInfo, UserInfo};

/// The longest token that is looked at. One with 200 groups has about 12 KiB.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// A refused token, and why. It never repeats what the token says.
pub(super) fn refusal_error(reason: RefusalReason, why: &'static str) -> Error {
    Error::Held { reason, why: why.into() }
}

/// What a token says before anything about it was checked; only to find the connection that has to
/// check it.
#[derive(Debug)]
pub struct UncheckedToken {
    pub issuer: String,
    pub audiences: Vec<String>,
}

impl UncheckedToken {
    /// Reads who a token says it is from and for.
    ///
    /// # Errors
    /// [`Error::Held`] for a text that is no token.
    pub fn read_claims(token: &str) -> Result<Self> {
        let unreadable = || {
            refusal_error(RefusalReason::AssertionUnreadable, "this is not a signed JWT (RFC 7519)")
        };
        if token.len() > MAX_TOKEN_BYTES {
            let why = "the token is longer than 64 KiB";
            return Err(refusal_error(RefusalReason::AssertionUnreadable, why));
        }
        let mut parts = token.split('.');
        let (Some(_), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(unreadable());
        };
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| unreadable())?;
        let claims: Map<String, Value> =
            serde_json::from_slice(&claims).map_err(|_| unreadable())?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or_else(unreadable)?;
        Ok(Self { issuer: issuer.to_owned(), audiences: list_audiences(&claims) })
    }
}

fn list_audiences(claims: &Map<String, Value>) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            many.iter().filter_map(|value| value.as_str().map(Into::into)).collect()
        }
        _ => Vec::new(),
    }
}

/// An ID token that was verified.
#[derive(Debug)]
pub struct VerifiedToken {
    claims: Map<String, Value>,
    /// SHA-256 of the signed text.
    fingerprint: [u8; 32],
    issued_at: DateTime<Utc>,
}

/// What a connection's tokens are checked with.
pub struct TokenVerifier<'a> {
    connection: &'a Connection,
    settings: OidcSettings,
    keys: Arc<IssuerKeys>,
}

impl<'a> TokenVerifier<'a> {
    /// The verifier of a connection.
    ///
    /// # Errors
    /// [`Error::Held`] for a connection of another protocol.
    pub fn of_connection(cx: &Cx, accepting: &'a AcceptingConnection) -> Result<Self> {
        let settings = accepting.oidc_settings()?;
        let keys = issuer_keys(cx, &accepting.connection, &settings)?;
        Ok(Self { connection: &accepting.connection, settings, keys })
    }

    /// The settings of the connection.
    pub fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// The keys of the issuer.
    pub fn keys(&self) -> &Arc<IssuerKeys> {
        &self.keys
    }

    /// Verifies an ID token as if it had not been before. With `nonce`, it must be the answer to
    /// the request that had it.
    ///
    /// # Errors
    /// [`Error::Held`] with the reason; [`Error::Busy`] while the keys have never been read.
    pub async fn verify_id_token(
        &self,
        token: &str,
        nonce: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<VerifiedAssertion> {
        let verified = self.verify_token(token, nonce, now).await?;
        self.read_sign_in(&verified, None).map(|(said, _)| said)
    }

    /// Verifies an ID token, without reading what it says about the person.
    ///
    /// # Errors
    /// As [`TokenVerifier::verify_id_token`].
    pub async fn verify_token(
        &self,
        token: &str,
        nonce: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<VerifiedToken> {
        if token.len() > MAX_TOKEN_BYTES {
            let why = "the token is longer than 64 KiB";
            return Err(refusal_error(RefusalReason::AssertionUnreadable, why));
        }
        let claims = self.check_signature(token, &["jwt"], now).await?;
        self.check_recipient(&claims)?;
        let issued_at = self.check_times(&claims, now)?;
        if let Some(nonce) = nonce
            && claims.get("nonce").and_then(Value::as_str) != Some(nonce)
        {
            let why = "the token is not the answer to this sign-in";
            return Err(refusal_error(RefusalReason::AssertionNonce, why));
        }
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, signed.as_bytes()).as_ref());
        Ok(VerifiedToken { claims, fingerprint, issued_at })
    }

    /// What a verified token, and UserInfo where it was asked, say about the person, and the
    /// session at the identity provider.
    ///
    /// # Errors
    /// [`Error::Held`] if they do not say who the person is.
    pub fn read_sign_in(
        &self,
        token: &VerifiedToken,
        user_info: Option<&UserInfo>,
    ) -> Result<(VerifiedAssertion, Option<ProviderSession>)> {
        let said = PersonClaims::new(&token.claims, user_info.map(UserInfo::claims));
        let provider = self.connection.provider;
        let names = &self.settings.claims;
        let assertion = claims::read_assertion(names, provider, said, token)?;
        let text =
            |name: &str| token.claims.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let session = text("sub").map(|subject| ProviderSession { subject, session: text("sid") });
        Ok((assertion, session))
    }

    /// The claims of a token that the issuer has signed, with a key and an algorithm of the
    /// connection's choice. `types` are the accepted values of the header `typ`.
    async fn check_signature(
        &self,
        token: &str,
        types: &[&str],
        now: DateTime<Utc>,
    ) -> Result<Map<String, Value>> {
        let header = decode_header(token).map_err(|_| {
            // The library knows no `none`.
            let why = "this is not a JWT with a signature by a public key";
            refusal_error(RefusalReason::AssertionUnreadable, why)
        })?;
        // RFC 8725 section 3.11: an access token or a logout token is not an ID token.
        let fits = |typ: &str| types.iter().any(|accepted| typ.eq_ignore_ascii_case(accepted));
        if header.typ.as_deref().is_some_and(|typ| !fits(typ)) {
            return Err(refusal_error(
                RefusalReason::AssertionKind,
                "this is another kind of token",
            ));
        }
        // RFC 7515 section 4.1.11: extensions that must be understood, of which this server
        // supports none. A key that a token brings with it proves nothing.
        if header.crit.is_some() || header.jwk.is_some() || header.jku.is_some() {
            let why = "the token brings its own key, or needs an extension";
            return Err(refusal_error(RefusalReason::AssertionUnreadable, why));
        }
        let allowed = self.settings.algorithms.iter().copied();
        if !allowed.filter_map(to_algorithm).any(|algorithm| algorithm == header.alg) {
            let why = "the connection does not allow the algorithm of the signature";
            return Err(refusal_error(RefusalReason::AssertionAlgorithm, why));
        }
        let key = self.keys.find_key(header.kid.as_deref(), header.alg, now).await?;
        let key = key.ok_or_else(|| {
            let why = "the issuer publishes no key with which the token was signed";
            refusal_error(RefusalReason::AssertionKey, why)
        })?;
        let mut validation = Validation::new(header.alg);
        // Everything but the signature is checked below, by the clock and the rules of this server.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
        decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => refusal_error(
                RefusalReason::AssertionSignature,
                "the signature of the token is wrong",
            ),
            _ => refusal_error(RefusalReason::AssertionUnreadable, "the token is malformed"),
        })
    }

    /// OpenID Connect Core 1.0, section 3.1.3.7, steps 2 to 5.
    fn check_recipient(&self, claims: &Map<String, Value>) -> Result<()> {
        let OidcSettings { issuer, audiences, client_id, .. } = &self.settings;
        if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            let why = "the token is from another issuer than the connection's";
            return Err(refusal_error(RefusalReason::AssertionIssuer, why));
        }
        let named = list_audiences(claims);
        if !named.iter().any(|audience| audiences.contains(audience)) {
            let why = "the token is not for an audience of the connection";
            return Err(refusal_error(RefusalReason::AssertionAudience, why));
        }
        let party = claims.get("azp");
        let party_fits = match party {
            Some(party) => party
                .as_str()
                .is_some_and(|party| party == client_id || audiences.iter().any(|it| it == party)),
            // With several audiences, the token must say to which one it was issued.
            None => named.iter().all(|audience| audiences.contains(audience)),
        };
        if party_fits {
            Ok(())
        } else {
            let why = "the token was issued to another application (azp)";
            Err(refusal_error(RefusalReason::AssertionAudience, why))
        }
    }

    /// The instant of issue, if the token is valid now.
    fn check_times(
        &self,
        claims: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>> {
        let skew = Duration::seconds(self.settings.skew_seconds.into());
        let missing =
            || refusal_error(RefusalReason::AssertionUnreadable, "the token has no exp or no iat");
        let ends = claims::read_instant(claims, "exp")?.ok_or_else(missing)?;
        let issued_at = claims::read_instant(claims, "iat")?.ok_or_else(missing)?;
        let begins = claims::read_instant(claims, "nbf")?.unwrap_or(issued_at);
        if now >= ends + skew {
            return Err(refusal_error(RefusalReason::AssertionExpired, "the token has expired"));
        }
        if issued_at.max(begins) > now + skew {
            let why = "the token is from the future: the clocks of the two servers differ";
            return Err(refusal_error(RefusalReason::AssertionNotYetValid, why));
        }
        Ok(issued_at)
    }
}

pub(super) fn to_algorithm(
    algorithm: crate::domain::connection::assertion_source::oidc::SigningAlgorithm,
) -> Option<Algorithm> {
    algorithm.name().parse().ok()
}

/// The keys of a connection's issuer.
///
/// # Errors
/// [`Error::Internal`] for settings that were not checked.
pub fn issuer_keys(
    cx: &Cx,
    connection: &Connection,
    settings: &OidcSettings,
) -> Result<Arc<IssuerKeys>> {
    let address = |text: &str| {
        Url::parse(text).map_err(|error| Error::Internal(format!("an address of keys: {error}")))
    };
    let source = match &settings.jwks_url {
        Some(url) => KeySource::Jwks(address(url)?),
        None => KeySource::Discovery(address(&settings.discovery_address())?),
    };
    let organization = cx.organization();
    Ok(cx.app.key_rings.keys_of(organization, connection.id, &settings.issuer, &source))
}
