//! How far in the ledger the access changes that follow from each change have been recorded.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "access_cursor")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// the last row of the chain that is done
    pub seq: i64,
    /// in the row after it, the last account that is done; none = not begun
    pub user_id: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes =
    TableNotes { is_bookkeeping: true, ..TableNotes::of("access_cursor") };

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
