//! How many live users and groups each connection has, as of the end of the ledger's chain.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tally")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// The owner; nil = made by hand.
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    /// The ledger's subject kind.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    pub n: i64,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["kind"], "one of a few words")],
    is_bookkeeping: true,
    ..TableNotes::of("tally")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
