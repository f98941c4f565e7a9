//! One-time links that open the console: only the hash of their code is stored.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "console_link")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// SHA-256 of the whole code
    pub hash: Vec<u8>,
    /// names of the permissions that the session gets
    pub permissions: Json,
    pub created_at: DateTimeUtc,
    pub expires_at: DateTimeUtc,
    pub redeemed_at: Option<DateTimeUtc>,
    /// the key of the session
    pub api_key_id: Option<Uuid>,
    /// the account that signed in, and with which the session ends; none for a link by hand
    pub owner_user_id: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["hash", "permissions"], "a credential that works once")],
    ..TableNotes::of("console_link")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
