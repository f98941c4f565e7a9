//! What a run saw at the source for an account or group here: an object that a full run did not see
//! is gone from the source, and an object with an unchanged document needs no write.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "pulled")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// the account or group here
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_id: Uuid,
    /// the last run that the source listed it to
    pub seen_run_id: Uuid,
    /// of the source's document when it was last carried over in full
    pub digest: Option<Vec<u8>>,
    /// the version here that this led to
    pub version: i64,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns { user: "resource_id", columns: &[("digest", None)] }),
    ..TableNotes::of("pulled")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
