//! The effect of a set of edits on access: kept for a while, so that an administrator can review
//! and apply it.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "access_preview")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the edits, to be made again when it is applied
    pub edits: Json,
    /// pairs of account and role that would be gained
    pub gained: i64,
    /// pairs of account and role that would be lost
    pub lost: i64,
    pub warnings: Json,
    /// SHA-256 over all pairs: whether it is still true
    pub digest: Vec<u8>,
    pub created_at: DateTimeUtc,
    pub expires_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["edits", "warnings", "digest"],
        "ids, names of roles' mappings, and numbers; gone within hours",
    )],
    ..TableNotes::of("access_preview")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
