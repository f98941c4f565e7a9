//! When the rules of an organization were evaluated last, and how far its ledger was checked.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_check")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    pub evaluated_at: DateTimeUtc,
    pub ledger_checked_at: Option<DateTimeUtc>,
    /// the last row that was found to be sound, and its hash
    pub ledger_seq: Option<i64>,
    pub ledger_hash: Option<Vec<u8>>,
    /// what the last check found to be wrong
    pub ledger_fault: Option<String>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["ledger_hash", "ledger_fault"], "a hash over hashes, a sentence of ours")],
    is_bookkeeping: true,
    ..TableNotes::of("alert_check")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
