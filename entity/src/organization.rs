//! A tenant.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

/// Which integration feeds this organization: never both at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum IntegrationMode {
    /// Identity providers write over SCIM 2.0.
    #[sea_orm(string_value = "SCIM")]
    Scim,
    /// Microsoft Entra ID's native integration; SCIM is refused.
    #[sea_orm(string_value = "ENTRA_NATIVE")]
    EntraNative,
    /// Sign-ins at another identity provider say who is in which group; SCIM is refused.
    #[sea_orm(string_value = "SIGN_IN")]
    SignIn,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "organization")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the company identifier in the SCIM URL; never changes
    pub slug: String,
    pub name: String,
    /// the tenant's data key, wrapped by the master key
    pub data_key: Vec<u8>,
    /// the enable flag for inbound provisioning as a whole
    pub scim_enabled: bool,
    pub integration_mode: IntegrationMode,
    /// counts the changes of its schema extensions
    pub schema_version: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    /// closed by the operator since then
    pub suspended_at: Option<DateTimeUtc>,
    /// people with PLATFORM_ADMIN may use their other permissions here until then
    pub operator_access_until: Option<DateTimeUtc>,
    /// the operator has released provisioning to it
    pub provisioning_released: bool,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "organization_slug_key",
        columns: "organization.slug",
        field: "slug",
    }],
    not_personal: &[(
        &["slug", "name", "data_key", "integration_mode"],
        "settings of a company, not of a person",
    )],
    ..TableNotes::of("organization")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
