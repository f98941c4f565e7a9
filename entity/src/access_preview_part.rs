//! A part of what a preview shows: up to a thousand pairs of account and role.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "access_preview_part")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub preview_id: Uuid,
    /// gained or lost
    #[sea_orm(primary_key, auto_increment = false)]
    pub gained: bool,
    /// counts the parts from 0
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// 32 bytes a pair: the role's id and the account's
    pub pairs: Vec<u8>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["pairs"], "ids of accounts and roles; gone within hours")],
    ..TableNotes::of("access_preview_part")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
