//! When the metadata of an identity provider are read again, and how the last reading went: a row
//! for each connection whose metadata have an address.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "metadata_refresh")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    /// When they are read next; while they are being read, when another server may read them.
    pub next_at: DateTimeUtc,
    /// When a server last began to read them.
    pub asked_at: Option<DateTimeUtc>,
    /// When they were last read with success.
    pub read_at: Option<DateTimeUtc>,
    /// Readings that failed since the last success.
    pub failures: i32,
    /// Since when they cannot be read.
    pub failing_since: Option<DateTimeUtc>,
    /// Why the last reading failed, as a stable code.
    pub reason: Option<String>,
    /// The same as a text for administrators.
    pub message: Option<String>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["reason", "message"], "words and sentences of ours, and addresses")],
    is_bookkeeping: true,
    ..TableNotes::of("metadata_refresh")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
