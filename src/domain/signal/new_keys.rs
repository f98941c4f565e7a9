//! What the messages to a new destination are signed with.

use entity::destination::Kind;
use uuid::Uuid;

use super::destination::DestinationSettings;
use super::{secret, stream};
use crate::context::Cx;
use crate::error::Result;

/// What the messages to a new destination are signed with.
#[allow(clippy::large_enum_variant, reason = "a request makes one, and it lives shortly")]
pub(super) enum NewKeys {
    Webhook(WebhookKeys),
    Stream(stream::EventStream),
}

pub(super) struct WebhookKeys {
    /// The secret as its receiver is given it.
    pub text: String,
    pub sealed: Vec<u8>,
    pub private: Vec<u8>,
    pub public: Vec<u8>,
}

impl NewKeys {
    pub async fn make_keys(cx: &Cx, id: Uuid, settings: &DestinationSettings) -> Result<Self> {
        Ok(match settings.kind {
            Kind::EventStream => {
                let wanted = settings.stream.clone().unwrap_or_default();
                Self::Stream(stream::prepare_stream(cx, id, &wanted, settings.payload).await?)
            }
            Kind::Webhook | Kind::Mail => Self::Webhook(WebhookKeys::make_keys(cx, id).await?),
        })
    }

    pub fn of_webhook(&self) -> Option<&WebhookKeys> {
        match self {
            Self::Webhook(keys) => Some(keys),
            Self::Stream(_) => None,
        }
    }
}

impl WebhookKeys {
    pub async fn make_keys(cx: &Cx, id: Uuid) -> Result<Self> {
        let text = secret::new_secret()?;
        let (private, public) = secret::new_key_pair()?;
        let sealed = secret::seal_secret(cx, id, text.as_bytes()).await?;
        let private = secret::seal_secret(cx, id, &private).await?;
        Ok(Self { text, sealed, private, public })
    }
}
