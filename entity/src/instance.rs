//! The state of the installation as a whole: a single row.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "instance")]
pub struct Model {
    /// always 1
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// a digest of the master key; without that key nothing starts
    pub master_key_fingerprint: String,
    /// a digest of the next master key; nothing is sealed with it yet
    pub next_key_fingerprint: Option<String>,
    /// a digest of the previous master key; values may still be sealed with it
    pub old_key_fingerprint: Option<String>,
    pub created_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["master_key_fingerprint", "next_key_fingerprint", "old_key_fingerprint"],
        "digests of the installation's keys",
    )],
    ..TableNotes::of("instance")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
