//! An interval in which an account holds a role by a direct grant.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes, UniqueIndex};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "role_grant")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    pub role_id: Uuid,
    pub reason: Option<String>,
    pub expires_at: Option<DateTimeUtc>,
    pub since: DateTimeUtc,
    /// set when closed
    pub until: Option<DateTimeUtc>,
    /// the event that opened it
    pub opened_by: Uuid,
    pub closed_by: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "role_grant_live",
        columns: "role_grant.role_id",
        field: "grant",
    }],
    personal: Some(PersonalColumns { user: "user_id", columns: &[("reason", Some("NULL"))] }),
    ..TableNotes::of("role_grant")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
