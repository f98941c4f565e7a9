//! Runs that read a connection's source and carry over what they find.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Mode {
    /// Reads all users, and removes those that the source does not list.
    #[sea_orm(string_value = "FULL")]
    Full,
    /// Reads what changed since the last run.
    #[sea_orm(string_value = "INCREMENTAL")]
    Incremental,
    /// Reads one person.
    #[sea_orm(string_value = "ONE_USER")]
    OneUser,
    /// Reads all users, and reports what a full run would do.
    #[sea_orm(string_value = "DRY_RUN")]
    DryRun,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// It waits for a server to carry it out.
    #[sea_orm(string_value = "QUEUED")]
    Queued,
    /// A server carries it out.
    #[sea_orm(string_value = "RUNNING")]
    Running,
    /// It waits for an administrator's approval to remove so many.
    #[sea_orm(string_value = "WAITING")]
    Waiting,
    /// It came to its end.
    #[sea_orm(string_value = "SUCCEEDED")]
    Succeeded,
    /// It ended before; the reason says why.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// An administrator ended it.
    #[sea_orm(string_value = "CANCELLED")]
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sync_run")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub connection_id: Uuid,
    pub mode: Mode,
    pub state: State,
    /// an administrator told it to end
    pub cancelling: bool,
    /// an administrator approved the removals, however many they are
    pub approved: bool,
    /// the person that a run of one person reads; forgotten at its end
    pub target: Option<Json>,
    /// where it goes on after an interruption
    pub checkpoint: Json,
    /// what it has done so far
    pub counts: Json,
    /// what it could not do, the first of it
    pub troubles: Json,
    /// why it waits or failed and what to do, or what else is to be known of it
    pub reason: Option<String>,
    /// who asked for it, in words
    pub requested_by: String,
    /// the server that carries it out
    pub holder: Option<Uuid>,
    /// free for another server from this instant on
    pub until: DateTimeUtc,
    pub created_at: DateTimeUtc,
    pub started_at: Option<DateTimeUtc>,
    pub finished_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (&["mode", "state", "counts", "reason"], "numbers, and words and sentences of ours"),
        (&["requested_by"], "who is accountable for the run, as in the ledger"),
        (&["target"], "the person that a run reads, deleted at its end"),
        (&["checkpoint", "troubles"], "ids at the source, places in a list, and sentences of ours"),
    ],
    ..TableNotes::of("sync_run")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
