//! The review queue: a write of a connection that was refused or failed, with its repeats. One row
//! is one piece of work.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

/// Where the write came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Origin {
    /// The identity provider, by a request of its own.
    #[sea_orm(string_value = "REQUEST")]
    Request,
    /// This server, while it read from the source.
    #[sea_orm(string_value = "SYNC")]
    Sync,
    /// This server, when it told a destination of an event.
    #[sea_orm(string_value = "DELIVERY")]
    Delivery,
}

/// Why the write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Cause {
    /// The server that should have answered was unreachable or too busy.
    #[sea_orm(string_value = "TARGET_UNAVAILABLE")]
    TargetUnavailable,
    /// More requests than the caller's share.
    #[sea_orm(string_value = "RATE_LIMITED")]
    RateLimited,
    /// A value, or the whole message, cannot be accepted.
    #[sea_orm(string_value = "INVALID_VALUE")]
    InvalidValue,
    /// Another account or group has this value.
    #[sea_orm(string_value = "UNIQUENESS")]
    Uniqueness,
    /// What the write is about, or refers to, is not there.
    #[sea_orm(string_value = "NOT_FOUND")]
    NotFound,
    /// A break-glass account, or the last holder of a management role.
    #[sea_orm(string_value = "PROTECTED")]
    Protected,
    /// The credential does not allow it.
    #[sea_orm(string_value = "NOT_PERMITTED")]
    NotPermitted,
    /// Another change stood in the way, or the state of what was to be changed.
    #[sea_orm(string_value = "CONFLICT")]
    Conflict,
    /// Not offered here.
    #[sea_orm(string_value = "UNSUPPORTED")]
    Unsupported,
    /// Larger than is taken.
    #[sea_orm(string_value = "TOO_LARGE")]
    TooLarge,
    /// A fault of this server's.
    #[sea_orm(string_value = "INTERNAL")]
    Internal,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// It waits for a reviewer, or for its next attempt.
    #[sea_orm(string_value = "OPEN")]
    Open,
    /// It is about to be tried again.
    #[sea_orm(string_value = "RETRYING")]
    Retrying,
    /// It is done.
    #[sea_orm(string_value = "RESOLVED")]
    Resolved,
    /// It will not be done.
    #[sea_orm(string_value = "DISMISSED")]
    Dismissed,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Resolution {
    /// A retry succeeded.
    #[sea_orm(string_value = "RETRIED")]
    Retried,
    /// The connection did the same thing later, or it is so by now.
    #[sea_orm(string_value = "SUPERSEDED")]
    Superseded,
    /// It did not come again for a while.
    #[sea_orm(string_value = "PASSED")]
    Passed,
    /// A reviewer fixed it here.
    #[sea_orm(string_value = "FIXED_HERE")]
    FixedHere,
    /// A person fixed it at the source.
    #[sea_orm(string_value = "FIXED_AT_SOURCE")]
    FixedAtSource,
    /// A reviewer decided that it is not to be done.
    #[sea_orm(string_value = "DISMISSED")]
    Dismissed,
    /// Its connection was deleted.
    #[sea_orm(string_value = "CONNECTION_DELETED")]
    ConnectionDeleted,
    /// Its destination was deleted.
    #[sea_orm(string_value = "DESTINATION_DELETED")]
    DestinationDeleted,
    /// The person that it was about was erased.
    #[sea_orm(string_value = "ERASED")]
    Erased,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "failure")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// none for a delivery, which belongs to a destination
    pub connection_id: Option<Uuid>,
    pub origin: Origin,
    /// hash of what makes it the same failure; unique among the unfinished
    pub fingerprint: Vec<u8>,
    /// hash of what the write is about: an id, or the name of what was to be created
    pub thing: Option<Vec<u8>>,
    /// which parts of it, as short hashes
    pub scope: String,
    /// the operation, in this program's words
    pub operation: String,
    /// the endpoint's name
    pub resource: Option<String>,
    /// the account that it is about, or that is in the way
    pub user_id: Option<Uuid>,
    pub group_id: Option<Uuid>,
    /// the name that the write gives to what it is about
    pub label: Option<String>,
    pub cause: Cause,
    /// code of the refusal
    pub reason: String,
    pub scim_type: Option<String>,
    /// the attribute or parameter that was refused
    pub field: Option<String>,
    /// what was sent, without its values
    pub outline: Option<Json>,
    /// what was sent, sealed with the tenant's data key; gone when the work is finished
    pub payload: Option<Vec<u8>>,
    pub count: i64,
    pub first_at: DateTimeUtc,
    pub last_at: DateTimeUtc,
    pub last_request_id: Option<Uuid>,
    pub state: State,
    pub resolution: Option<Resolution>,
    /// the reviewer's reason for the end
    pub note: Option<String>,
    /// who looks after it
    pub assigned_to: Option<String>,
    /// automatic attempts made
    pub attempts: i32,
    /// none = no automatic attempt
    pub next_attempt_at: Option<DateTimeUtc>,
    /// the request of the attempt that is to be made, named by the rows that it leaves in the
    /// ledger
    pub retry_request_id: Option<Uuid>,
    /// the attempt that is under way
    pub holder: Option<Uuid>,
    /// free for another attempt from this instant on, if the holder has died
    pub until: Option<DateTimeUtc>,
    pub finished_at: Option<DateTimeUtc>,
    /// name of the reviewer who finished it
    pub finished_by: Option<String>,
    pub destination_id: Option<Uuid>,
    /// the delivery that was given up; none also for many that are counted together
    pub delivery_id: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns {
        user: "user_id",
        columns: &[
            ("label", Some("NULL")),
            ("payload", Some("NULL")),
            ("note", Some("NULL")),
            // Hashes of names: an attacker who knows a name could find the row by them.
            ("thing", Some("NULL")),
            ("fingerprint", Some("''")),
        ],
    }),
    not_personal: &[
        (
            &[
                "origin",
                "operation",
                "resource",
                "cause",
                "reason",
                "scim_type",
                "field",
                "state",
                "resolution",
                "scope",
            ],
            "names and codes of ours, names of attributes, and hashes of ids",
        ),
        (&["outline"], "names of attributes that a schema has, and how long their values were"),
        (
            &["assigned_to", "finished_by"],
            "who is accountable for the work; gone after three months",
        ),
    ],
    // A refused request becomes a failure and changes nothing else.
    is_bookkeeping: true,
    ..TableNotes::of("failure")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
