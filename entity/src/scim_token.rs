//! Bearer tokens of a connection: only their hash is stored.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// Who presents the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum TokenPurpose {
    /// The identity provider of the connection.
    #[sea_orm(string_value = "IDENTITY_PROVIDER")]
    IdentityProvider,
    /// This server itself, while it tests its public URL. No administrator sees such a token.
    #[sea_orm(string_value = "SELF_TEST")]
    SelfTest,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "scim_token")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub connection_id: Uuid,
    pub purpose: TokenPurpose,
    /// SHA-256 of the whole token
    pub hash: Vec<u8>,
    pub last_four: String,
    /// names of scopes
    pub scopes: Json,
    pub created_at: DateTimeUtc,
    /// invalid from this instant on, by its planned end
    pub expires_at: Option<DateTimeUtc>,
    /// invalid from this instant on, by rotation with an overlap
    pub retires_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    /// flushed in batches
    pub last_used_at: Option<DateTimeUtc>,
    pub last_used_from: Option<String>,
    /// the name of the actor; none for tokens from before this was kept
    pub issued_by: Option<String>,
    /// the link whose first opening issued it; its maker is the issuer
    pub setup_link_id: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["hash", "last_four", "scopes", "last_used_from", "purpose", "issued_by"],
        "an identity provider's credential, its address, and which administrator issued it",
    )],
    ..TableNotes::of("scim_token")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
