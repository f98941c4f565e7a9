//! Leases on tasks of the whole installation: which replica runs each.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "task_lease")]
pub struct Model {
    /// the task
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// the process
    pub holder: Uuid,
    /// free for others from this instant on, if the holder has died
    pub until: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["name"], "one of a few words")],
    is_bookkeeping: true,
    ..TableNotes::of("task_lease")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
