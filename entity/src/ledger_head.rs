//! Where an organization's hash chain ends.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_head")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    pub seq: i64,
    pub hash: Vec<u8>,
    /// the newest instant of a change in the chain
    pub newest_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["hash"], "a hash over hashes")],
    is_bookkeeping: true,
    ..TableNotes::of("ledger_head")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
