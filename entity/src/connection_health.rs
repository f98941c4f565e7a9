//! The last known health of each connection. A connection without a row was always healthy, or was
//! not checked yet.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// It works.
    #[sea_orm(string_value = "HEALTHY")]
    Healthy,
    /// It works, but not for all users.
    #[sea_orm(string_value = "DEGRADED")]
    Degraded,
    /// Nothing arrives, though something should.
    #[sea_orm(string_value = "STALLED")]
    Stalled,
    /// Everything fails.
    #[sea_orm(string_value = "QUARANTINED")]
    Quarantined,
    /// Nothing is expected of it.
    #[sea_orm(string_value = "INACTIVE")]
    Inactive,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "connection_health")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    pub state: State,
    /// codes of why it is so
    pub reasons: Json,
    /// when it was first found so
    pub since_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(&["state", "reasons"], "one of a few words")],
    is_bookkeeping: true,
    ..TableNotes::of("connection_health")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
