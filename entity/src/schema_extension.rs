//! Schemas that an organization added to users or groups.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

/// Which kind of resource a schema extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Extends {
    /// Accounts.
    #[sea_orm(string_value = "USER")]
    User,
    /// Groups.
    #[sea_orm(string_value = "GROUP")]
    Group,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "schema_extension")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub urn: String,
    /// folded; unique in an organization
    pub urn_key: String,
    pub resource_type: Extends,
    pub name: String,
    pub description: String,
    /// definitions of attributes, as RFC 7643 section 7 writes them
    pub attributes: Json,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "schema_extension_urn",
        columns: "schema_extension.urn_key",
        field: "urn",
    }],
    not_personal: &[(
        &["urn", "urn_key", "resource_type", "name", "description", "attributes"],
        "a schema",
    )],
    ..TableNotes::of("schema_extension")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
