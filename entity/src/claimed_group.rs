//! Which group the claims of a connection mean by a key: the groups of the connection.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "claimed_group")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    /// what the claims say: an id at the identity provider, our id, or a folded name
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    pub group_id: Uuid,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["key"], "the names and ids of groups")],
    ..TableNotes::of("claimed_group")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
