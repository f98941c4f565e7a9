//! Responses of SAML 2.0: the crate `saml` verifies them, with the settings of the connection; here
//! is what belongs to the server: our addresses, our key, metadata, and what attributes mean.
//!
//! What must never enter: XML. And nothing of a response is used that the verified text does not
//! say.

mod attributes;
pub mod metadata;

use ::saml::{ExpectedRequest, ResponseExpectation, ResponseRefusal, ServiceKey};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::oidc::refusal_error;
use crate::context::Cx;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::connection::assertion_source::saml::SamlSettings;
use crate::domain::connection::assertion_source::service_key::SamlSecrets;
use crate::domain::sign_in::VerifiedAssertion;
use crate::domain::tenant::organization;
use crate::error::{Error, RefusalReason, Result};

/// XML texts that one server reads at once: strangers may send them, and each takes a processor.
static XML_READERS: Semaphore = Semaphore::const_new(4);

/// Reads XML beside the threads that serve requests, a few at a time. A reading for which no
/// request waits any more still counts until it has ended.
async fn read_aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let fault = |error: &dyn std::fmt::Display| Error::Internal(format!("reading XML: {error}"));
    let place = XML_READERS.acquire().await.map_err(|error| fault(&error))?;
    let reading = tokio::task::spawn_blocking(move || {
        let done = read();
        drop(place);
        done
    });
    reading.await.map_err(|error| fault(&error))
}

/// Where a connection's identity provider finds us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddresses {
    /// Our metadata; the same is our entity id.
    pub metadata_url: String,
    /// Where responses arrive.
    pub consumer_url: String,
}

impl ServiceAddresses {
    /// The addresses of a connection.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_connection(cx: &Cx, connection: Uuid) -> Result<Self> {
        let slug = organization::current_organization(cx).await?.slug;
        let base = format!("{}/sign-in/{slug}/saml/{connection}", cx.app.config.public_url);
        Ok(Self {
            metadata_url: format!("{base}/metadata"),
            consumer_url: format!("{base}/consume"),
        })
    }
}

/// What identity providers read about us. A key that is prepared stands beside the active one.
pub fn write_own_metadata(settings: &SamlSettings, addresses: &ServiceAddresses) -> String {
    let SamlSettings { service_certificate, next_service_certificate, .. } = settings;
    let certificates: Vec<String> =
        [service_certificate].into_iter().chain(next_service_certificate).cloned().collect();
    ::saml::write_service_provider(&::saml::ServiceProvider {
        entity_id: &addresses.metadata_url,
        consumer_url: &addresses.consumer_url,
        certificates: &certificates,
        name_id_format: settings.name_id_format.as_deref(),
    })
}

/// A response that was verified, and until when the same one could be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedResponse {
    pub assertion: VerifiedAssertion,
    pub expires_at: DateTime<Utc>,
}

/// What a connection's responses are checked with.
pub struct ResponseVerifier {
    settings: SamlSettings,
    addresses: ServiceAddresses,
    /// The active one first.
    keys: Vec<ServiceKey>,
}

impl ResponseVerifier {
    /// The verifier of a connection.
    ///
    /// # Errors
    /// [`Error::Held`] for a connection of another protocol.
    pub async fn of_connection(cx: &Cx, accepting: &AcceptingConnection) -> Result<Self> {
        let settings = accepting.saml_settings()?;
        let secrets = SamlSecrets::open_secrets(cx, &accepting.connection).await?;
        let keys = secrets.read_keys(&settings, cx.app.clock.now())?;
        let addresses = ServiceAddresses::of_connection(cx, accepting.connection.id).await?;
        Ok(Self { settings, addresses, keys })
    }

    /// The settings of the connection.
    pub fn settings(&self) -> &SamlSettings {
        &self.settings
    }

    /// Where the connection's identity provider finds us.
    pub fn addresses(&self) -> &ServiceAddresses {
        &self.addresses
    }

    /// Our own key, which signs requests.
    pub fn key(&self) -> Option<&ServiceKey> {
        self.keys.first()
    }

    /// Verifies a response; the inner error says why it is refused.
    async fn verify_aside(
        self,
        text: String,
        request: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Result<VerifiedResponse, ResponseRefusal>> {
        // Large responses take tens of milliseconds.
        read_aside(move || self.check_response(&text, request, now)).await?
    }

    fn check_response(
        self,
        text: &str,
        request: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Result<VerifiedResponse, ResponseRefusal>> {
        let Self { settings, addresses, keys } = self;
        let certificates = settings.read_certificates()?;
        let both = |own: String, others: &[String]| -> Vec<String> {
            [own].into_iter().chain(others.iter().cloned()).collect()
        };
        let skew = TimeDelta::seconds(settings.skew_seconds.into());
        let verified = ::saml::verify_response(
            text,
            &ResponseExpectation {
                identity_provider: &settings.entity_id,
                certificates: &certificates,
                audiences: &both(addresses.metadata_url, &settings.audiences),
                recipients: &both(addresses.consumer_url, &settings.recipients),
                request: match &request {
                    Some(id) => ExpectedRequest::Id(id),
                    None => ExpectedRequest::Unsolicited,
                },
                now,
                skew,
                keys: &keys,
            },
        );
        let verified = match verified {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let expires_at = verified.expires_at + skew;
        let assertion = attributes::read_assertion(&settings.attributes, verified)?;
        Ok(Ok(VerifiedResponse { assertion, expires_at }))
    }
}

/// Verifies the value of a form field `SAMLResponse` whole: no earlier check of the caller counts.
/// `request` is the id of the request that it must answer; without one, only a connection that
/// allows it takes responses that answer none.
///
/// A signature that no known certificate fits has the metadata read again at once: the identity
/// provider may sign with a new key.
///
/// # Errors
/// [`Error::Held`] with the reason.
pub async fn verify_response(
    cx: &Cx,
    accepting: &AcceptingConnection,
    field: &str,
    request: Option<&str>,
) -> Result<VerifiedResponse> {
    let verifier = ResponseVerifier::of_connection(cx, accepting).await?;
    if request.is_none() && !verifier.settings.allow_idp_initiated {
        return Err(refusal_error(
            RefusalReason::AssertionNonce,
            "name the request that the response must answer (requestId), or let the connection \
             accept sign-ins that begin at the identity provider (allowIdpInitiated)",
        ));
    }
    let text = ::saml::decode_response(field).map_err(to_error)?;
    let request = request.map(ToOwned::to_owned);
    let now = cx.app.clock.now();
    let refusal = match verifier.verify_aside(text.clone(), request.clone(), now).await? {
        Ok(verified) => return Ok(verified),
        Err(refusal) => refusal,
    };
    if refusal == ResponseRefusal::Signature
        && let Some(renewed) = metadata::refresh_for_unknown_key(cx, accepting).await?
    {
        let verifier = ResponseVerifier::of_connection(cx, &renewed).await?;
        return verifier.verify_aside(text, request, now).await?.map_err(to_error);
    }
    Err(to_error(refusal))
}

/// The entity id of the identity provider that a response names. Nothing of it is believed: it only
/// finds the connection that has to check the response.
///
/// # Errors
/// [`Error::Held`] for a text that is no response.
pub async fn read_unchecked_issuer(field: &str) -> Result<String> {
    let text = ::saml::decode_response(field).map_err(to_error)?;
    read_aside(move || ::saml::read_issuer(&text)).await?.map_err(to_error)
}

/// The refusal, as the rest of the server says it.
fn to_error(refusal: ResponseRefusal) -> Error {
    use RefusalReason as R;
    let reason = match &refusal {
        ResponseRefusal::TooLarge(_) => R::TooLarge,
        ResponseRefusal::NotBase64
        | ResponseRefusal::MarkupDeclaration
        | ResponseRefusal::Malformed
        | ResponseRefusal::TooManyElements
        | ResponseRefusal::NotAResponse
        | ResponseRefusal::Incomplete(_)
        | ResponseRefusal::Condition
        | ResponseRefusal::EncryptedPart => R::AssertionUnreadable,
        ResponseRefusal::DuplicateId
        | ResponseRefusal::Structure
        | ResponseRefusal::Unsigned
        | ResponseRefusal::SignatureForm(_)
        | ResponseRefusal::Digest
        | ResponseRefusal::Signature => R::AssertionSignature,
        ResponseRefusal::Algorithm => R::AssertionAlgorithm,
        ResponseRefusal::Decryption => R::AssertionKey,
        ResponseRefusal::Status(_) => R::Unauthenticated,
        ResponseRefusal::Issuer => R::AssertionIssuer,
        ResponseRefusal::Destination
        | ResponseRefusal::Audience
        | ResponseRefusal::Confirmation(_) => R::AssertionAudience,
        ResponseRefusal::NotYetValid => R::AssertionNotYetValid,
        ResponseRefusal::Expired | ResponseRefusal::LongLived => R::AssertionExpired,
        ResponseRefusal::Request | ResponseRefusal::UnexpectedRequest => R::AssertionNonce,
    };
    Error::Held { reason, why: refusal.to_string().into() }
}
