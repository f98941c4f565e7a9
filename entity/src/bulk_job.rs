//! Operations that a client uploaded together, to be carried out one after another in the
//! background.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Its lines are still arriving.
    #[sea_orm(string_value = "UPLOADING")]
    Uploading,
    /// All its lines have arrived, and none was carried out.
    #[sea_orm(string_value = "QUEUED")]
    Queued,
    /// Its lines are being carried out.
    #[sea_orm(string_value = "RUNNING")]
    Running,
    /// It was cancelled, and ends after its current line.
    #[sea_orm(string_value = "CANCELLING")]
    Cancelling,
    /// Every line was carried out.
    #[sea_orm(string_value = "COMPLETED")]
    Completed,
    /// It was cancelled, and ended before its last line.
    #[sea_orm(string_value = "CANCELLED")]
    Cancelled,
    /// It ended by itself before its last line.
    #[sea_orm(string_value = "STOPPED")]
    Stopped,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "bulk_job")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub state: State,
    /// the kind of the caller that uploaded it: `API_KEY` or `PERSON`
    pub actor_kind: String,
    pub actor_id: String,
    pub actor_name: String,
    /// the permissions that the actor had then
    pub permissions: Json,
    /// until when the actor's credential is valid; none = the credential can be checked
    pub authorized_until: Option<DateTimeUtc>,
    pub lines: i64,
    /// bytes of the lines that have arrived so far
    pub bytes: i64,
    /// lines carried out, as of a moment ago
    pub done: i64,
    /// those of them that failed
    pub failed: i64,
    /// why it ended by itself, in words
    pub stopped_because: Option<String>,
    /// the run that carries it out
    pub holder: Option<Uuid>,
    /// free for another run from this instant on
    pub until: DateTimeUtc,
    pub created_at: DateTimeUtc,
    pub started_at: Option<DateTimeUtc>,
    pub finished_at: Option<DateTimeUtc>,
    /// deleted from this instant on
    pub expires_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (
            &["actor_kind", "actor_id", "actor_name"],
            "who is accountable for what it did, as in the ledger; gone after a month",
        ),
        (&["state", "permissions", "stopped_because"], "words and sentences of ours"),
    ],
    ..TableNotes::of("bulk_job")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
