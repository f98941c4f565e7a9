//! Deliveries: what a destination was told lately, what failed and is tried again, and what was
//! given up.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// It failed, and is tried again.
    #[sea_orm(string_value = "WAITING")]
    Waiting,
    /// The destination took it.
    #[sea_orm(string_value = "SUCCEEDED")]
    Succeeded,
    /// It was given up after the last attempt.
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// made from the destination and the event: the same for every attempt
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub destination_id: Uuid,
    pub event_id: Uuid,
    /// the event's place in the ledger
    pub seq: i64,
    /// what the event did
    pub action: String,
    pub subject_kind: String,
    pub subject_id: Uuid,
    pub state: State,
    /// whether it stays for the whole retention: the others go when newer ones have come
    pub kept: bool,
    pub attempts: i32,
    /// the last attempts: when, status, how long, what went wrong
    pub attempt_log: Json,
    pub first_at: DateTimeUtc,
    pub last_at: DateTimeUtc,
    /// when it is tried again
    pub next_at: Option<DateTimeUtc>,
    /// when the destination took it
    pub received_at: Option<DateTimeUtc>,
    /// the last HTTP status
    pub status: Option<i32>,
    /// how long the last attempt took
    pub latency_ms: Option<i32>,
    /// the beginning of the last answer, without what looks personal or secret
    pub response: Option<String>,
    /// what went wrong last
    pub message: Option<String>,
    /// of a stream that is polled: the numbers of the tokens that the event has (`of`), and of
    /// those that were acknowledged (`done`)
    pub acknowledged: Option<Json>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    // What a receiver answered to a message about the account.
    personal: Some(PersonalColumns { user: "subject_id", columns: &[("response", Some("NULL"))] }),
    not_personal: &[
        (&["action", "subject_kind", "state"], "one of a few words each"),
        (&["acknowledged"], "numbers of tokens"),
        (&["attempt_log", "message"], "instants, numbers, and sentences of ours"),
    ],
    is_bookkeeping: true,
    ..TableNotes::of("delivery")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
