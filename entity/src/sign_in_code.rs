//! Codes that applications redeem after a sign-in here: only their hash is stored.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in_code")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// SHA-256 of the whole code
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    pub connection_id: Uuid,
    pub user_id: Uuid,
    /// where the browser brought the code
    pub redirect_url: String,
    pub expires_at: DateTimeUtc,
    pub redeemed_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["hash", "redirect_url"],
        "a credential that works once, and an address of an application",
    )],
    ..TableNotes::of("sign_in_code")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
