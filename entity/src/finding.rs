//! Differences between what is here and what a connection's identity provider says. One row is one
//! difference, however often it was seen.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

pub use crate::reconciliation::Source;

/// How the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    /// The identity provider has it, and the connection does not.
    #[sea_orm(string_value = "MISSING_HERE")]
    MissingHere,
    /// An account is here that the identity provider does not list.
    #[sea_orm(string_value = "ORPHANED_HERE")]
    OrphanedHere,
    /// Both have the account, and say different things of it.
    #[sea_orm(string_value = "DRIFTED")]
    Drifted,
    /// Only one of the two lists a user as a member of a group.
    #[sea_orm(string_value = "MEMBERSHIP")]
    Membership,
    /// Two live accounts have names that count as the same name.
    #[sea_orm(string_value = "NAME_CLASH")]
    NameClash,
    /// An account names a manager whose account was deleted.
    #[sea_orm(string_value = "MANAGER_GONE")]
    ManagerGone,
    /// A sign-in says that the person is in other groups than SCIM says.
    #[sea_orm(string_value = "CLAIMS_DIFFER")]
    ClaimsDiffer,
}

/// The owner of an account, from the point of view of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Class {
    /// No connection owns it.
    #[sea_orm(string_value = "LOCAL")]
    Local,
    /// The connection owns it; the identity provider does not list it, or lists it as inactive.
    #[sea_orm(string_value = "UNASSIGNED")]
    Unassigned,
    /// The connection owns it, and the identity provider lists it.
    #[sea_orm(string_value = "ASSIGNED")]
    Assigned,
}

/// The state of the finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    #[sea_orm(string_value = "OPEN")]
    Open,
    /// A reviewer fixed it here.
    #[sea_orm(string_value = "RESOLVED")]
    Resolved,
    /// A reviewer accepted it, with a reason.
    #[sea_orm(string_value = "ACCEPTED")]
    Accepted,
    /// A later comparison did not see it any more.
    #[sea_orm(string_value = "GONE")]
    Gone,
}

/// How a reviewer fixed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Resolution {
    #[sea_orm(string_value = "ADOPTED")]
    Adopted,
    #[sea_orm(string_value = "SUSPENDED")]
    Suspended,
    #[sea_orm(string_value = "DELETED")]
    Deleted,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "finding")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub connection_id: Uuid,
    pub source: Source,
    pub kind: Kind,
    /// hash that identifies the same difference
    pub key: Vec<u8>,
    /// hash of the name of a person without an account of the connection, for an erasure
    pub thing: Option<Vec<u8>>,
    /// the account that it is about, or that has the name of the missing person
    pub user_id: Option<Uuid>,
    pub group_id: Option<Uuid>,
    /// the name of the person that it is about, for reviewers
    pub label: Option<String>,
    pub class: Option<Class>,
    /// gone or inactive there, and active here
    pub leaver: bool,
    /// how many roles the account held when it was last seen
    pub roles_held: i32,
    /// what the two say, by attribute
    pub detail: Json,
    pub state: State,
    pub resolution: Option<Resolution>,
    pub reason: Option<String>,
    pub accepted_until: Option<DateTimeUtc>,
    /// how often it was seen
    pub count: i64,
    pub first_seen_at: DateTimeUtc,
    pub last_seen_at: DateTimeUtc,
    /// the comparison that saw it last
    pub last_run_id: Uuid,
    pub decided_at: Option<DateTimeUtc>,
    /// who decided, by name
    pub decided_by: Option<String>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns {
        user: "user_id",
        columns: &[
            ("label", None),
            ("detail", None),
            ("reason", None),
            // Hashes of names: an attacker who knows a name could find the row by them.
            ("key", None),
            ("thing", None),
        ],
    }),
    not_personal: &[
        (&["source", "kind", "class", "state", "resolution"], "one of a few words"),
        (&["decided_by"], "who is accountable for a decision, as in the ledger"),
    ],
    ..TableNotes::of("finding")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
