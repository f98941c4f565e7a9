//! An internal role.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "role")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// folded; unique among the live roles of an organization
    pub name_key: String,
    pub description: Option<String>,
    /// the application's own permission names
    pub permissions: Json,
    /// precedence where one role is needed; lower wins; unique
    pub priority: Option<i32>,
    /// a management role: SCIM cannot take its last holder away
    pub management: bool,
    pub version: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub deleted_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[
        UniqueIndex { name: "role_name_live", columns: "role.name_key", field: "name" },
        UniqueIndex { name: "role_priority_live", columns: "role.priority", field: "priority" },
    ],
    not_personal: &[(
        &["name", "name_key", "description", "permissions"],
        "a role, not its holders",
    )],
    ..TableNotes::of("role")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
