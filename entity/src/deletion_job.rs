//! Deletions of all accounts that came through SCIM.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

/// The state of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// It waits for a server to carry it out.
    #[sea_orm(string_value = "QUEUED")]
    Queued,
    /// A server carries it out.
    #[sea_orm(string_value = "RUNNING")]
    Running,
    /// Every account was looked at.
    #[sea_orm(string_value = "COMPLETED")]
    Completed,
    /// It ended by itself before its last account.
    #[sea_orm(string_value = "STOPPED")]
    Stopped,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "deletion_job")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// whose accounts; none = those of all connections
    pub connection_id: Option<Uuid>,
    pub state: State,
    /// who asked for it
    pub actor_kind: String,
    pub actor_id: String,
    pub actor_name: String,
    /// the permissions that the actor had then
    pub permissions: Json,
    /// the request that asked for it, under which its events stand
    pub request_id: Uuid,
    /// accounts to delete
    pub total: i64,
    /// break-glass accounts, which stay
    pub protected: i64,
    /// accounts deleted so far
    pub done: i64,
    /// why it ended by itself, in words
    pub stopped_because: Option<String>,
    /// the run that carries it out
    pub holder: Option<Uuid>,
    /// free for another run from this instant on
    pub until: DateTimeUtc,
    pub created_at: DateTimeUtc,
    pub started_at: Option<DateTimeUtc>,
    pub finished_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "deletion_job_open",
        columns: "deletion_job.organization_id",
        field: "deletion",
    }],
    not_personal: &[
        (
            &["actor_kind", "actor_id", "actor_name"],
            "who is accountable for what it did, as in the ledger; gone after a month",
        ),
        (&["state", "permissions", "stopped_because"], "words and sentences of ours"),
    ],
    ..TableNotes::of("deletion_job")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
