//! One source of identities.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

/// How identities arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ConnectionKind {
    /// The identity provider writes to us over SCIM.
    #[sea_orm(string_value = "SCIM_PUSH")]
    ScimPush,
    /// We read a remote SCIM source.
    #[sea_orm(string_value = "SCIM_PULL")]
    ScimPull,
    /// Group claims in sign-in assertions.
    #[sea_orm(string_value = "ASSERTION")]
    Assertion,
}

/// Whether the connection accepts requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ConnectionStatus {
    /// Requests are served.
    #[sea_orm(string_value = "ACTIVE")]
    Active,
    /// Requests are refused after authentication; nothing is lost.
    #[sea_orm(string_value = "INACTIVE")]
    Inactive,
}

/// What a deletion over SCIM means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum DeletionPolicy {
    /// The account is closed and kept.
    #[sea_orm(string_value = "SOFT")]
    Soft,
    /// The account is closed and purged after the revival window.
    #[sea_orm(string_value = "HARD")]
    Hard,
}

/// What happens when the connection creates a person who already has an account here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum AdoptionPolicy {
    /// The request is refused, and that is all.
    #[sea_orm(string_value = "REFUSE")]
    Refuse,
    /// The request is refused, and an administrator may decide that the account becomes the
    /// connection's.
    #[sea_orm(string_value = "PROPOSE")]
    Propose,
    /// An account without an owner, with a name in a verified domain, becomes the connection's;
    /// others are proposed.
    #[sea_orm(string_value = "LINK")]
    Link,
}

/// The identity provider at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Provider {
    /// Microsoft Entra ID.
    #[sea_orm(string_value = "ENTRA_ID")]
    EntraId,
    /// Okta.
    #[sea_orm(string_value = "OKTA")]
    Okta,
    /// Google Workspace.
    #[sea_orm(string_value = "GOOGLE_WORKSPACE")]
    GoogleWorkspace,
    /// OneLogin.
    #[sea_orm(string_value = "ONELOGIN")]
    OneLogin,
    /// JumpCloud.
    #[sea_orm(string_value = "JUMPCLOUD")]
    JumpCloud,
    /// PingOne.
    #[sea_orm(string_value = "PINGONE")]
    PingOne,
    /// Keycloak.
    #[sea_orm(string_value = "KEYCLOAK")]
    Keycloak,
    /// Zitadel.
    #[sea_orm(string_value = "ZITADEL")]
    Zitadel,
    /// Auth0.
    #[sea_orm(string_value = "AUTH0")]
    Auth0,
    /// Any other SCIM 2.0 client.
    #[sea_orm(string_value = "GENERIC")]
    Generic,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "connection")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub kind: ConnectionKind,
    pub provider: Provider,
    pub status: ConnectionStatus,
    pub deletion_policy: DeletionPolicy,
    pub adoption_policy: AdoptionPolicy,
    /// how long a deleted account may come back under its own id
    pub revival_days: i32,
    /// whether the service provider configuration announces paging by cursor (RFC 9865)
    pub announces_cursor_paging: bool,
    /// outbound credentials, sealed with the tenant's data key
    pub credentials: Option<Vec<u8>>,
    /// last authenticated request; flushed in batches
    pub last_contact_at: Option<DateTimeUtc>,
    pub version: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub deleted_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "connection_name_live",
        columns: "connection.name",
        field: "name",
    }],
    not_personal: &[(
        &[
            "name",
            "kind",
            "provider",
            "status",
            "deletion_policy",
            "adoption_policy",
            "credentials",
        ],
        "settings of a company, not of a person",
    )],
    ..TableNotes::of("connection")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
