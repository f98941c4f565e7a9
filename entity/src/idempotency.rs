//! Requests that may be repeated without a second effect, and their first answers, for a day.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// hash of the caller and its key
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: Vec<u8>,
    /// hash of the request
    pub fingerprint: Vec<u8>,
    /// the run that holds it; its id is older than every event of the run
    pub holder: Uuid,
    /// the request that the ledger names
    pub request_id: Uuid,
    /// the run has died if it is not done by then
    pub until: DateTimeUtc,
    /// whether there was an answer
    pub done: bool,
    /// the answer, unless it was too long or contained data of a person who was erased since
    pub answer: Option<String>,
    /// the request that erased a person while this one was running; nil = several did
    pub erased_by: Option<Uuid>,
    pub expires_at: DateTimeUtc,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (&["name", "fingerprint"], "hashes of words of a client's own choice"),
        (&["answer"], "may hold personal data: every erasure empties all of them"),
    ],
    is_bookkeeping: true,
    ..TableNotes::of("idempotency")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
