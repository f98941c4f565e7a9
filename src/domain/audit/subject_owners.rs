//! Which accounts and groups are meant, by the connection that owns them.

use uuid::Uuid;

/// The owners whose subjects are selected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SubjectOwners {
    #[default]
    Any,
    /// No connection: created by hand.
    None,
    /// Any connection, as opposed to created by hand.
    Connections,
    Connection(Uuid),
}
