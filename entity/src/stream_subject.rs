//! The subjects of which a receiver of security event tokens does not want to hear.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "stream_subject")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub destination_id: Uuid,
    /// an account or a group
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: Uuid,
    pub removed_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes::of("stream_subject");

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
