//! Leases on tasks of the whole installation: which replica runs each.

use sea_orm::entity::prelude::*;

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

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
