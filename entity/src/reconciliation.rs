//! Comparisons of a connection's accounts and memberships with what its identity provider says.
//! What was compared with is not kept.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// Where the identity provider's data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Source {
    /// An export that an administrator uploaded.
    #[sea_orm(string_value = "UPLOAD")]
    Upload,
    /// The source that the connection reads.
    #[sea_orm(string_value = "SOURCE")]
    Source,
    /// What it wrote last, as the ledger tells.
    #[sea_orm(string_value = "LAST_WRITE")]
    LastWrite,
    /// What it read last, as the ledger tells.
    #[sea_orm(string_value = "LAST_READ")]
    LastRead,
    /// What its sign-ins say.
    #[sea_orm(string_value = "SIGN_IN")]
    SignIn,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Scope {
    #[sea_orm(string_value = "USERS")]
    Users,
    #[sea_orm(string_value = "MEMBERSHIPS")]
    Memberships,
    /// Both.
    #[sea_orm(string_value = "EVERYTHING")]
    Everything,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    #[sea_orm(string_value = "RUNNING")]
    Running,
    #[sea_orm(string_value = "SUCCEEDED")]
    Succeeded,
    /// The identity provider's data was implausible; no findings were made.
    #[sea_orm(string_value = "REFUSED")]
    Refused,
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "reconciliation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub connection_id: Uuid,
    pub source: Source,
    pub scope: Scope,
    pub state: State,
    /// who asked for it, in words
    pub requested_by: String,
    /// what it counted
    pub counts: Json,
    /// lines that could not be read, the first of them, and why
    pub troubles: Json,
    /// why it was refused or failed and what to do, or what else is to be known of it
    pub reason: Option<String>,
    /// the run that reads what is compared with; it ends the comparison
    pub sync_run_id: Option<Uuid>,
    /// one that was not heard of by then has died
    pub until: DateTimeUtc,
    pub started_at: DateTimeUtc,
    pub finished_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (
            &["source", "scope", "state", "counts", "troubles", "reason"],
            "numbers, and words and sentences of ours",
        ),
        (&["requested_by"], "who is accountable for it, as in the ledger"),
    ],
    ..TableNotes::of("reconciliation")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
