//! What a dry run meets at the source, for whoever compares it with what is here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use uuid::Uuid;

/// What a page listed, by the source's ids.
#[derive(Debug, Default)]
pub struct Met {
    pub people: Vec<(String, Person)>,
    pub groups: Vec<(String, Group)>,
    /// Elements of the list that are no resources.
    pub rubbish: u64,
}

/// A person.
#[derive(Debug)]
pub enum Person {
    /// As the account here, which was carried over from the same document and not changed since.
    Same,
    /// To be compared.
    Shown {
        /// The account here.
        here: Option<Uuid>,
        /// With the manager by the id here.
        attributes: Map<String, Value>,
        /// Whether the manager is here; otherwise nothing can be said of it.
        manager_known: bool,
    },
}

/// A group.
#[derive(Debug)]
pub enum Group {
    /// As the group here.
    Same,
    /// The connection has none such here.
    Strange,
    /// It shows no members, and may yet have some.
    Silent,
    /// It cannot be read.
    Unread,
    /// The group here, with whom only one of the two has in it.
    Shown { here: Uuid, moved: Moved },
}

/// Members by their ids here.
#[derive(Debug, Default)]
pub struct Moved {
    /// Only the source has them in the group.
    pub come: BTreeSet<Uuid>,
    /// Only here they are in it.
    pub go: BTreeSet<Uuid>,
    /// How many members of the source's are not here.
    pub strangers: u64,
}
