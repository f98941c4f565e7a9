//! Whose request it is, for the access log and the traces: known once the caller is authenticated.

use std::sync::{Arc, OnceLock};

use tracing::Span;
use tracing::field::display;
use uuid::Uuid;

/// The organization and the connection of a request's caller. It is among the extensions of each
/// request.
#[derive(Debug, Clone, Default)]
pub struct CallerIds(Arc<OnceLock<(Uuid, Option<Uuid>)>>);

impl CallerIds {
    /// Notes the ids, of which the first stay, and records them in the span of the request.
    pub fn note_caller(&self, organization: Uuid, connection: Option<Uuid>) {
        if self.0.set((organization, connection)).is_ok() {
            record_caller(&Span::current(), organization, connection);
        }
    }

    /// The organization, if it is known.
    pub fn organization(&self) -> Option<Uuid> {
        self.0.get().map(|(organization, _)| *organization)
    }

    /// The connection, if the caller is one.
    pub fn connection(&self) -> Option<Uuid> {
        self.0.get()?.1
    }
}

/// Records whose work a span is.
pub fn record_caller(span: &Span, organization: Uuid, connection: Option<Uuid>) {
    span.record("rolecall.organization_id", display(organization));
    span.record("rolecall.connection_id", connection.map(display));
}

/// The id that a client gave its request, as it was sent, for an interface whose answers repeat it.
/// It is among the extensions of the request.
#[derive(Debug, Clone)]
pub struct SentRequestId(pub Vec<u8>);
