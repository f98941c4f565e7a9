//! When applications ended the sessions of leavers, as they say.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "revocation_confirmation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// the event by which the account left
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// the key or the person that says so
    #[sea_orm(primary_key, auto_increment = false)]
    pub actor_id: String,
    /// the event of the confirmation
    pub confirmation_id: Uuid,
    pub ended_at: DateTimeUtc,
    pub confirmed_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["actor_id"], "who is accountable for what it says, as in the ledger")],
    ..TableNotes::of("revocation_confirmation")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
