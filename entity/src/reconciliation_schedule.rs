//! How often a connection is compared by itself with what its identity provider says; no row =
//! never.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reconciliation_schedule")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    pub interval_minutes: i32,
    pub next_run_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes::of("reconciliation_schedule");

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
