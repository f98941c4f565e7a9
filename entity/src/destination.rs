//! Destinations: who outside is told of events, and how far each has been told.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// How a destination is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    /// By signed requests (Standard Webhooks).
    #[sea_orm(string_value = "WEBHOOK")]
    Webhook,
    /// By security event tokens.
    #[sea_orm(string_value = "EVENT_STREAM")]
    EventStream,
    /// By mail to people.
    #[sea_orm(string_value = "MAIL")]
    Mail,
}

/// What is told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Payload {
    /// Ids and kinds, and no personal data.
    #[sea_orm(string_value = "REFERENCE")]
    Reference,
    /// The values before and after, too, and who made the change.
    #[sea_orm(string_value = "FULL")]
    Full,
}

/// Whether a destination is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// It is told of each event.
    #[sea_orm(string_value = "ACTIVE")]
    Active,
    /// It was stopped, by a person or by itself.
    #[sea_orm(string_value = "PAUSED")]
    Paused,
    /// It does not take what it is told; it is tried again.
    #[sea_orm(string_value = "FAILING")]
    Failing,
    /// It took nothing for three days.
    #[sea_orm(string_value = "DISABLED")]
    Disabled,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "destination")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub kind: Kind,
    /// where it is told; none for mail
    pub url: Option<String>,
    pub description: String,
    /// the account that answers for it
    pub owner_user_id: Option<Uuid>,
    /// the names of the events that it is told of; empty = all
    pub event_kinds: Json,
    /// the connections whose events it is told of; empty = all events
    pub connection_ids: Json,
    pub payload: Payload,
    pub state: State,
    /// why it is in that state, as a stable code
    pub reason: Option<String>,
    /// the same in words
    pub message: Option<String>,
    /// since when it is in that state
    pub state_since: DateTimeUtc,
    /// the secret that messages are signed with, sealed
    pub secret: Option<Vec<u8>>,
    /// the secret before, sealed, with which messages are signed too
    pub previous_secret: Option<Vec<u8>>,
    /// until then
    pub previous_until: Option<DateTimeUtc>,
    /// the Ed25519 key that messages are signed with (PKCS#8), sealed
    pub private_key: Option<Vec<u8>>,
    pub public_key: Option<Vec<u8>>,
    /// everything up to this place of the ledger is delivered or given up
    pub cursor_seq: i64,
    /// when something that failed is tried again
    pub next_at: Option<DateTimeUtc>,
    pub last_success_at: Option<DateTimeUtc>,
    /// grows with each change of the settings
    pub version: i64,
    /// grows when a person sends it back to an earlier place, or has something tried again
    pub restarts: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (
            &["kind", "url", "description", "event_kinds", "connection_ids", "payload"],
            "settings of a company, not of a person",
        ),
        (
            &[
                "state",
                "reason",
                "message",
                "secret",
                "previous_secret",
                "private_key",
                "public_key",
            ],
            "words and sentences of ours, and keys",
        ),
    ],
    ..TableNotes::of("destination")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
