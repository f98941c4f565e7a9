//! Keys for the GraphQL API: only their hash is stored.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// What the key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum KeyPurpose {
    /// A script, an application, or a person who keeps the key.
    #[sea_orm(string_value = "API")]
    Api,
    /// One session of the console, which a link began.
    #[sea_orm(string_value = "CONSOLE_SESSION")]
    ConsoleSession,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub purpose: KeyPurpose,
    /// SHA-256 of the whole key
    pub hash: Vec<u8>,
    pub last_four: String,
    /// names of permissions
    pub permissions: Json,
    pub created_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    /// flushed in batches
    pub last_used_at: Option<DateTimeUtc>,
    /// the account that the key ends with
    pub owner_user_id: Option<Uuid>,
    /// the subject of the person who owns the key, as an issuer names it
    pub owner_subject: Option<String>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["name", "purpose", "hash", "last_four", "permissions", "owner_subject"],
        "a script's credential and who answers for it",
    )],
    ..TableNotes::of("api_key")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
