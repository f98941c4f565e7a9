//! An interval in which a group is a member of another group.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "group_nesting")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the containing group
    pub group_id: Uuid,
    /// the contained group
    pub member_id: Uuid,
    pub since: DateTimeUtc,
    /// set when closed
    pub until: Option<DateTimeUtc>,
    /// the event that opened it
    pub opened_by: Uuid,
    pub closed_by: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes::of("group_nesting");

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
