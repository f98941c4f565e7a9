//! SCIM requests that were accepted and are carried out after their answer.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "async_request")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// also the id of the request in the ledger, and what its answer named (`Set-Txn`)
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub connection_id: Uuid,
    /// what the token was confined to with which it came
    pub scopes: Json,
    /// method, path, preconditions and body, sealed
    pub payload: Vec<u8>,
    pub tries: i32,
    /// the run that carries it out
    pub holder: Option<Uuid>,
    /// free for another run from this instant on
    pub until: DateTimeUtc,
    pub created_at: DateTimeUtc,
    /// the token with which it came; none for requests from before this was kept
    pub token_id: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["scopes", "payload"],
        "words of ours; and what was sent, sealed, until it is carried out in a moment",
    )],
    ..TableNotes::of("async_request")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
