//! People whose groups an identity provider left out of a sign-in, so that its directory is asked.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "directory_lookup")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// How often the directory was asked without an answer.
    pub attempts: i32,
    /// When it is asked next; while it is being asked, when another server may ask.
    pub next_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes =
    TableNotes { is_bookkeeping: true, ..TableNotes::of("directory_lookup") };

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
