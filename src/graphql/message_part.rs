//! The parts of a message, by stable codes.

use async_graphql::SimpleObject;

use super::permission::needs;
use crate::message_parts;

/// A part of a message as a stable code, for clients that say it in another language.
#[derive(SimpleObject)]
pub struct MessagePart {
    /// What this part says, as a stable code; QUOTED for a text of another server.
    #[graphql(directive = needs::apply(None))]
    code: String,
    /// What the sentence names, in its order: numbers, hosts, endpoints, instants.
    #[graphql(directive = needs::apply(None))]
    values: Vec<String>,
}

impl From<message_parts::MessagePart> for MessagePart {
    fn from(message_parts::MessagePart { code, values }: message_parts::MessagePart) -> Self {
        Self { code, values }
    }
}

/// The parts of a message; empty if it is not made of known sentences.
pub fn read_parts(message: &str) -> Vec<MessagePart> {
    message_parts::read_parts(message).into_iter().map(Into::into).collect()
}

/// The parts of a message that may be absent.
pub fn read_optional_parts(message: Option<&str>) -> Vec<MessagePart> {
    message.map(read_parts).unwrap_or_default()
}
