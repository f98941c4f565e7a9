//! The outcomes of SCIM requests, counted by kind and hour. A row holds no value of a request: only
//! this program's names and codes, attribute names of a schema, and ids that this server gave.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// The outcome of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Outcome {
    #[sea_orm(string_value = "CREATED")]
    Created,
    #[sea_orm(string_value = "UPDATED")]
    Updated,
    /// Accepted, and everything was so already.
    #[sea_orm(string_value = "UNCHANGED")]
    Unchanged,
    #[sea_orm(string_value = "DELETED")]
    Deleted,
    /// A question was answered.
    #[sea_orm(string_value = "ANSWERED")]
    Answered,
    /// A Bulk was carried out; its operations are counted for themselves.
    #[sea_orm(string_value = "CARRIED_OUT")]
    CarriedOut,
    #[sea_orm(string_value = "NOT_FOUND")]
    NotFound,
    #[sea_orm(string_value = "REFUSED")]
    Refused,
    /// A fault of this server's, or it was too busy.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// Further kinds of one hour, counted together.
    #[sea_orm(string_value = "VARIOUS")]
    Various,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "request_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// none = the token was missing or unknown
    pub connection_id: Option<Uuid>,
    /// hash of what makes the kind; unique in an organization
    pub fingerprint: Vec<u8>,
    /// when the hour began
    pub hour: DateTimeUtc,
    pub method: Option<String>,
    /// the endpoint's name
    pub resource: Option<String>,
    /// what the client wanted, in our words
    pub meaning: String,
    pub outcome: Outcome,
    pub status: Option<i32>,
    pub scim_type: Option<String>,
    /// code of the refusal
    pub reason: Option<String>,
    /// the attribute or parameter that was refused
    pub field: Option<String>,
    /// names of departures from the protocol that were tolerated
    pub quirks: Json,
    /// the address that a failed authentication came from
    pub source: Option<String>,
    pub count: i64,
    pub first_at: DateTimeUtc,
    pub last_at: DateTimeUtc,
    pub last_request_id: Option<Uuid>,
    /// the user or group
    pub last_target_id: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (
            &[
                "method",
                "resource",
                "meaning",
                "outcome",
                "scim_type",
                "reason",
                "field",
                "quirks",
                "fingerprint",
            ],
            "names, codes and sentences of ours; never a value that a request carried",
        ),
        (&["source"], "the address of an identity provider, or of a client with wrong credentials"),
    ],
    is_bookkeeping: true,
    ..TableNotes::of("request_log")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
