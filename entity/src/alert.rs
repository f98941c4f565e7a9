//! Alerts: what is or was wrong in an organization. One row for each subject of a rule, however
//! often it was wrong.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// What an alert tells of, which is also the rule that raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    /// A connection is STALLED or QUARANTINED.
    #[sea_orm(string_value = "CONNECTION_STALLED")]
    ConnectionStalled,
    /// Failures wait in the review queue.
    #[sea_orm(string_value = "FAILURES_WAIT")]
    FailuresWait,
    /// A token or a key ends soon.
    #[sea_orm(string_value = "CREDENTIAL_ENDS")]
    CredentialEnds,
    /// A static token is old, or is not used.
    #[sea_orm(string_value = "CREDENTIAL_OLD")]
    CredentialOld,
    /// A sync run waits to be approved.
    #[sea_orm(string_value = "RUN_WAITS")]
    RunWaits,
    /// Many people were deprovisioned within an hour.
    #[sea_orm(string_value = "MASS_DEPROVISIONING")]
    MassDeprovisioning,
    /// A connection was not compared with its identity provider for long.
    #[sea_orm(string_value = "COMPARISON_MISSING")]
    ComparisonMissing,
    /// The ledger does not verify.
    #[sea_orm(string_value = "LEDGER_BROKEN")]
    LedgerBroken,
    /// Evidence was exported.
    #[sea_orm(string_value = "EXPORT_MADE")]
    ExportMade,
    /// A key that a bootstrap made, or another key without an owner, is alive.
    #[sea_orm(string_value = "BOOTSTRAP_KEY_ALIVE")]
    BootstrapKeyAlive,
    /// A destination does not accept what it is sent.
    #[sea_orm(string_value = "DESTINATION_FAILS")]
    DestinationFails,
    /// A destination has not taken that accounts left.
    #[sea_orm(string_value = "REVOCATION_NOT_RECEIVED")]
    RevocationNotReceived,
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Urgency {
    #[sea_orm(string_value = "CRITICAL")]
    Critical,
    #[sea_orm(string_value = "WARNING")]
    Warning,
    #[sea_orm(string_value = "NOTICE")]
    Notice,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alert")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub kind: Kind,
    /// which of the things that the rule looks at; empty = the organization
    pub subject: String,
    pub connection_id: Option<Uuid>,
    pub urgency: Urgency,
    /// what is wrong, in words for people
    pub message: String,
    /// what to do
    pub next_step: String,
    /// how many things it stands for
    pub count: i64,
    /// for what ends: days before its end
    pub stage: i64,
    pub raised_at: DateTimeUtc,
    pub resolved_at: Option<DateTimeUtc>,
    /// when mail about it became due last
    pub mail_due_at: Option<DateTimeUtc>,
    /// when mail about its end became due
    pub end_due_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["kind", "subject", "urgency", "message", "next_step"],
        "names of connections and keys, ids, and sentences of ours",
    )],
    is_bookkeeping: true,
    ..TableNotes::of("alert")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
