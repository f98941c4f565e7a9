//! Rules of alerts that an organization set otherwise than they are by default.

use sea_orm::entity::prelude::*;

use crate::alert::Kind;
use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_rule")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: Kind,
    pub enabled: bool,
    /// whether recipients get mail about its alerts
    pub by_mail: bool,
    /// none = the default
    pub threshold: Option<i64>,
    pub updated_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["kind"], "one of a few words")],
    ..TableNotes::of("alert_rule")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
