//! An index: folded e-mail address to account.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "user_email")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub value_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns { user: "user_id", columns: &[("value_key", None)] }),
    ..TableNotes::of("user_email")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
