//! Links to the console that a sign-in made, with the session at the identity provider.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "provider_session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub link_id: Uuid,
    pub connection_id: Uuid,
    /// keyed hash of the person's id at the identity provider (`sub`)
    pub subject_key: Vec<u8>,
    /// keyed hash of the session's id there (`sid`), if the provider names one
    pub session_key: Option<Vec<u8>>,
    /// when the session here ends at the latest
    pub expires_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["subject_key", "session_key"],
        "keyed hashes: without the organization's key they say nothing",
    )],
    ..TableNotes::of("provider_session")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
