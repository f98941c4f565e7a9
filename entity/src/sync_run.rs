//! Runs that read a connection's source and carry over what they find.

use sea_orm::entity::prelude::*;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Mode {
    /// Reads everybody, and removes who is not listed.
    #[sea_orm(string_value = "FULL")]
    Full,
    /// Reads what changed since the last run.
    #[sea_orm(string_value = "INCREMENTAL")]
    Incremental,
    /// Reads one person.
    #[sea_orm(string_value = "ONE_USER")]
    OneUser,
    /// Reads everybody, and says what a full run would do.
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
    /// It waits for somebody to say that it may remove so many.
    #[sea_orm(string_value = "WAITING")]
    Waiting,
    /// It came to its end.
    #[sea_orm(string_value = "SUCCEEDED")]
    Succeeded,
    /// It ended before; the reason says why.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// Somebody ended it.
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
    /// somebody told it to end
    pub cancelling: bool,
    /// somebody said that it may remove as many as it wants to
    pub approved: bool,
    /// whom a run of one person reads; forgotten at its end
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

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
