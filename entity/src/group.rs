//! An external group.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "group")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the owner; none = made by hand
    pub connection_id: Option<Uuid>,
    pub external_id: Option<String>,
    pub display_name: String,
    pub display_name_key: String,
    /// the attributes as served (JSON object), never the members
    pub document: String,
    /// the same, folded for filters
    pub search: Json,
    pub version: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub deleted_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "group_external_live",
        columns: "group.external_id",
        field: "externalId",
    }],
    not_personal: &[(
        &["external_id", "display_name", "display_name_key", "document", "search"],
        "a group is not a person; its members are rows of another table",
    )],
    ..TableNotes::of("group")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
