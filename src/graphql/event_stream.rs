//! Streams of security event tokens: what a destination of that kind has beyond the others.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use entity::event_stream as stored;

use super::loaders;
use super::permission::{Permission, needs};
use crate::domain::signal;
use crate::domain::signal::stream;
use crate::domain::signal::stream::StreamSettings;
use crate::error::Result;
use crate::graphql::relay;

/// How the tokens about sessions, credentials and accounts name the account. Tokens about resources
/// of SCIM always name them by their path.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::SubjectFormat")]
pub enum EventSubjectFormat {
    /// By the account's id.
    Opaque,
    /// By the issuer of the tokens and the account's id.
    IssSub,
    /// By the account's e-mail address. Needs the payload FULL.
    Email,
}

/// What the tokens of a stream are signed with.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::SigningAlgorithm")]
pub enum EventSigningAlgorithm {
    /// RSA with 2048 bits and SHA-256.
    #[graphql(name = "RS256")]
    Rs256,
    /// The curve P-256 and SHA-256.
    #[graphql(name = "ES256")]
    Es256,
}

/// How the receiver of a stream gets its tokens.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventDeliveryMethod {
    /// They are pushed to its address (RFC 8935).
    Push,
    /// It polls them (RFC 8936).
    Poll,
}

/// The settings of a new stream of security event tokens.
#[derive(InputObject)]
pub struct EventStreamInput {
    /// The receiver of the tokens (`aud`); left out = an address that names the stream.
    audience: Option<String>,
    /// The types of events to tell, as URIs; left out = all. Unknown ones are ignored.
    event_types: Option<Vec<String>>,
    /// How the tokens about sessions, credentials and accounts name the account.
    #[graphql(default_with = "EventSubjectFormat::IssSub")]
    subject_format: EventSubjectFormat,
    /// What the tokens are signed with.
    #[graphql(default_with = "EventSigningAlgorithm::Rs256")]
    signing_algorithm: EventSigningAlgorithm,
    /// The value of the header `Authorization` with which the receiver is called. It is stored
    /// sealed and never shown.
    authorization_header: Option<String>,
}

impl From<EventStreamInput> for StreamSettings {
    fn from(input: EventStreamInput) -> Self {
        Self {
            audience: input.audience,
            events_requested: input.event_types,
            subject_format: input.subject_format.into(),
            signing_algorithm: input.signing_algorithm.into(),
            push_authorization: input.authorization_header,
            receiver_key: None,
        }
    }
}

/// A stream as the schema shows it.
pub struct EventStreamObject {
    pub destination: signal::Destination,
    pub stream: stream::EventStream,
}

/// A stream of security event tokens (Shared Signals Framework 1.0): what a destination of the kind
/// EVENT_STREAM has beyond the others.
#[Object(name = "EventStream")]
impl EventStreamObject {
    /// The id by which its receiver names it (`stream_id`).
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn stream_id(&self) -> String {
        self.destination.id.to_string()
    }

    /// The issuer of its tokens (`iss`): a receiver begins with this URL.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn issuer(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        let slug = loaders::load_organization(ctx).await?.slug;
        Ok(stream::issuer(&relay::cx(ctx)?.app, &slug))
    }

    /// The receiver of its tokens (`aud`).
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn audience(&self) -> &str {
        &self.stream.audience
    }

    /// How its receiver gets the tokens. A stream with an address is pushed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn delivery_method(&self) -> EventDeliveryMethod {
        match self.destination.url {
            Some(_) => EventDeliveryMethod::Push,
            None => EventDeliveryMethod::Poll,
        }
    }

    /// Where its receiver polls; null for a stream that is pushed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn poll_url(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        if self.destination.url.is_some() {
            return Ok(None);
        }
        let slug = loaders::load_organization(ctx).await?.slug;
        let issuer = stream::issuer(&relay::cx(ctx)?.app, &slug);
        Ok(Some(format!("{issuer}/streams/{}/poll", self.destination.id)))
    }

    /// The types of events that its receiver has requested, as URIs; null = all.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn event_types_requested(&self) -> Option<Vec<String>> {
        stream::requested_events(&self.stream)
    }

    /// The types of events that it tells, as URIs.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn event_types_delivered(&self) -> Vec<&'static str> {
        stream::delivered_events(&self.destination, &self.stream)
    }

    /// The global id of the API key with which its receiver polls: the one that made the stream
    /// over the Shared Signals Framework, or was named here; null = only keys with IAM_WRITE poll.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn receiver_key_id(&self) -> Option<ID> {
        self.stream.receiver_key_id.map(|id| relay::global_id(relay::NodeKind::ApiKey, id))
    }

    /// How its tokens about sessions, credentials and accounts name the account.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn subject_format(&self) -> EventSubjectFormat {
        self.stream.subject_format.into()
    }

    /// What its tokens are signed with.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn signing_algorithm(&self) -> EventSigningAlgorithm {
        self.stream.signing_algorithm.into()
    }

    /// The names of the keys that its tokens are or were signed with, as they stand in the key set
    /// now; the newest first.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn signing_key_ids(&self, ctx: &Context<'_>) -> Result<Vec<String>> {
        let now = relay::cx(ctx)?.app.clock.now();
        let keys = stream::keys::stored_keys(&self.stream)?.into_iter().rev();
        let valid = keys.filter(|key| key.until.is_none_or(|until| until > now));
        Ok(valid.filter_map(|key| key.public["kid"].as_str().map(Into::into)).collect())
    }
}
