//! The names of accounts that were erased, as keyed hashes: a sign-in makes no account for them.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "erased_name")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// keyed hash of the folded user name
    #[sea_orm(primary_key, auto_increment = false)]
    pub name_key: Vec<u8>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["name_key"],
        "keyed hashes: without the organization's key they say nothing",
    )],
    ..TableNotes::of("erased_name")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
