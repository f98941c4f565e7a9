//! What one installation remembers about itself: a single row.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "instance")]
pub struct Model {
    /// always 1
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// a digest of the master key; another key refuses to start
    pub master_key_fingerprint: String,
    /// the local JWT issuer's private key (PKCS#8), sealed with the master key
    pub signing_key: Vec<u8>,
    pub created_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
