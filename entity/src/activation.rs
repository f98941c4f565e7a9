//! An interval in which an account is active, with its owner.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "activation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    /// the connection that owns the account in the interval
    pub connection_id: Option<Uuid>,
    pub since: DateTimeUtc,
    /// set when closed
    pub until: Option<DateTimeUtc>,
    /// the event that opened it
    pub opened_by: Uuid,
    pub closed_by: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes::of("activation");

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
