//! An interval in which a user is a member of a group.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "membership")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub group_id: Uuid,
    pub user_id: Uuid,
    pub since: DateTimeUtc,
    /// set when closed
    pub until: Option<DateTimeUtc>,
    /// the event that opened it
    pub opened_by: Uuid,
    pub closed_by: Option<Uuid>,
    /// the connection whose sign-in claims made it; none = it was made over SCIM or by hand
    pub claimed_by: Option<Uuid>,
    /// a planned end: claims that are older give no roles
    pub expires_at: Option<DateTimeUtc>,
    /// closed by claims, and opened again when the organization leaves the mode of sign-ins
    pub set_aside: bool,
    /// since when it stays although its claims are too old, for the last holder of a role
    pub kept_since: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes::of("membership");

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
