//! When an identity provider last read a user or group in full, or all of them. Ids and instants,
//! and nothing of what it read.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    #[sea_orm(string_value = "USER")]
    User,
    #[sea_orm(string_value = "GROUP")]
    Group,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "last_read")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: Kind,
    /// the user or group; nil = all of them, page by page, from the first to the last
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: Uuid,
    /// when it was requested; of many pages, the first one
    pub at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["kind"], "one of a few words")],
    is_bookkeeping: true,
    ..TableNotes::of("last_read")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
