//! What the messages to a new webhook are signed with.

use uuid::Uuid;

use super::secret;
use crate::context::Cx;
use crate::error::Result;

/// The keys of a new webhook: its secret, and a key pair.
pub(super) struct WebhookKeys {
    /// The secret as its receiver is given it.
    pub text: String,
    pub sealed: Vec<u8>,
    pub private: Vec<u8>,
    pub public: Vec<u8>,
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
