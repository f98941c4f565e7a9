//! The keys that the installation signs with. Rows are kept for ever, because old evidence is
//! verified with them.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub struct Model {
    /// 1 is the first
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// Ed25519, 32 bytes; none for a key from before this table, until another replaces it
    pub public_key: Option<Vec<u8>>,
    /// the private key (PKCS#8), sealed with the master key; none once nothing more is signed with
    /// it
    pub sealed: Option<Vec<u8>>,
    /// it signs from here on, until the next one does
    pub begins_at: DateTimeUtc,
    /// tokens that it has signed are refused from here on; none = it has no successor
    pub accepted_until: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["public_key", "sealed"], "the installation's keys")],
    ..TableNotes::of("signing_key")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
