//! Links with which a customer's IT administrator sets up an identity provider: only the hash of
//! their secret is stored.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "setup_link")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub connection_id: Uuid,
    /// SHA-256 of the whole secret
    pub hash: Vec<u8>,
    pub created_at: DateTimeUtc,
    /// the name of the actor; none for links from before this was kept
    pub created_by: Option<String>,
    pub expires_at: DateTimeUtc,
    /// the first opening
    pub redeemed_at: Option<DateTimeUtc>,
    pub last_opened_at: Option<DateTimeUtc>,
    pub open_count: i32,
    /// the token that the first opening issued
    pub scim_token_id: Option<Uuid>,
    pub revoked_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["hash", "created_by"],
        "a credential for the setup of a connection, and which administrator made it",
    )],
    ..TableNotes::of("setup_link")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
