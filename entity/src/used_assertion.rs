//! Assertions that were used: each counts once.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "used_assertion")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    /// SHA-256 of the assertion's id
    #[sea_orm(primary_key, auto_increment = false)]
    pub id_hash: Vec<u8>,
    /// SHA-256 of the signed text
    pub fingerprint: Vec<u8>,
    /// SHA-256 of the caller and the idempotency key with which it came; none = without a key
    pub key_hash: Option<Vec<u8>>,
    /// until when the assertion would be valid
    pub expires_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["id_hash", "fingerprint", "key_hash"],
        "hashes, until the assertion expires",
    )],
    is_bookkeeping: true,
    ..TableNotes::of("used_assertion")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
