//! Leases on tasks that must not run twice at once in an organization, on any replica.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "lease")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// the task
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// this run of it
    pub holder: Uuid,
    /// free for others from this instant on, if the holder has died
    pub until: DateTimeUtc,
    /// how far the run is
    pub done: i64,
    /// none = not known yet
    pub total: Option<i64>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["name"], "the name of a task")],
    is_bookkeeping: true,
    ..TableNotes::of("lease")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
