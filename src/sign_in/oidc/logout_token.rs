//! Logout tokens (OpenID Connect Back-Channel Logout 1.0): an identity provider says that a session
//! there is over. They are checked as ID tokens are, and must not be mistaken for them.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Duration, Utc};
use serde_json::{Map, Value};

use super::{MAX_TOKEN_BYTES, TokenVerifier, claims, refusal_error};
use crate::domain::sign_in::provider_session::EndedSessions;
use crate::error::{RefusalReason, Result};

/// The event that makes a token a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long a token without an end is valid: the longest time that the standard recommends.
const DEFAULT_LIFETIME: Duration = Duration::minutes(2);
/// The longest time for which a token is valid, and so for which its id is kept.
const MAX_LIFETIME: Duration = Duration::hours(1);
/// The longest id of a token, a person or a session.
const MAX_ID_LENGTH: usize = 1_000;

/// What a verified logout token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// `jti`
    pub id: String,
    /// SHA-256 of the signed text.
    pub fingerprint: [u8; 32],
    pub ended: EndedSessions,
    /// Until when the same token could be used again.
    pub expires_at: DateTime<Utc>,
}

impl TokenVerifier<'_> {
    /// Verifies a logout token, as section 2.6 of the standard says. Whether it was used before is
    /// for the caller to know.
    ///
    /// # Errors
    /// [`crate::error::Error::Held`] with the reason; [`crate::error::Error::Busy`] while the keys
    /// have never been read.
    pub async fn verify_logout_token(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<LogoutToken> {
        if token.len() > MAX_TOKEN_BYTES {
            let why = "the token is longer than 64 KiB";
            return Err(refusal_error(RefusalReason::AssertionUnreadable, why));
        }
        let claims = self.check_signature(token, &["jwt", "logout+jwt"], now).await?;
        self.check_recipient(&claims)?;
        check_kind(&claims)?;
        let expires_at = self.check_logout_times(&claims, now)?;
        let id = text_claim(&claims, "jti")?.ok_or_else(|| {
            refusal_error(RefusalReason::AssertionClaim, "the token has no id (jti)")
        })?;
        let subject = text_claim(&claims, "sub")?;
        let ended = match (text_claim(&claims, "sid")?, subject) {
            (Some(session), subject) => EndedSessions::One { session, subject },
            (None, Some(subject)) => EndedSessions::AllOf { subject },
            (None, None) => {
                let why = "the token names neither a person (sub) nor a session (sid)";
                return Err(refusal_error(RefusalReason::AssertionClaim, why));
            }
        };
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, signed.as_bytes()).as_ref());
        Ok(LogoutToken { id, fingerprint, ended, expires_at })
    }

    /// Until when the token is valid, if it is now.
    fn check_logout_times(
        &self,
        claims: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>> {
        let skew = Duration::seconds(self.settings.skew_seconds.into());
        let issued_at = claims::read_instant(claims, "iat")?.ok_or_else(|| {
            refusal_error(
                RefusalReason::AssertionUnreadable,
                "the token has no time of issue (iat)",
            )
        })?;
        // Providers of before the final standard set no end.
        let ends = claims::read_instant(claims, "exp")?.unwrap_or(issued_at + DEFAULT_LIFETIME);
        let ends = ends.min(issued_at + MAX_LIFETIME) + skew;
        if now >= ends {
            return Err(refusal_error(RefusalReason::AssertionExpired, "the token has expired"));
        }
        if issued_at > now + skew {
            let why = "the token is from the future: the clocks of the two servers differ";
            return Err(refusal_error(RefusalReason::AssertionNotYetValid, why));
        }
        Ok(ends)
    }
}

/// Refuses any other token of the issuer, above all an ID token.
fn check_kind(claims: &Map<String, Value>) -> Result<()> {
    let events = claims.get("events").and_then(Value::as_object);
    let names_logout =
        events.and_then(|events| events.get(LOGOUT_EVENT)).is_some_and(Value::is_object);
    if !names_logout {
        let why = "this is not a logout token: it does not name the event of a logout";
        return Err(refusal_error(RefusalReason::AssertionKind, why));
    }
    if claims.contains_key("nonce") {
        let why = "a logout token has no nonce";
        return Err(refusal_error(RefusalReason::AssertionKind, why));
    }
    Ok(())
}

/// A claim that is a text, where it is there.
fn text_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<String>> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_ID_LENGTH);
    let text = text.filter(|text| !text.chars().any(char::is_control));
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        refusal_error(RefusalReason::AssertionUnreadable, "an id in the token is not a text")
    })
}
