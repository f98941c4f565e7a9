//! Background tasks: how the last run of each ended, on any replica.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "task")]
pub struct Model {
    /// the task
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub ended_at: DateTimeUtc,
    pub duration_ms: i64,
    /// a code; none = it succeeded
    pub error: Option<String>,
    /// the process that ran it
    pub replica_id: Uuid,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["name", "error"], "one of a few words each")],
    is_bookkeeping: true,
    ..TableNotes::of("task")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
