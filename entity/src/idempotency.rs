//! Requests that may be repeated without a second effect, and their first answers, for a day.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    /// hash of who asks and the key that was given
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: Vec<u8>,
    /// hash of what was asked
    pub fingerprint: Vec<u8>,
    /// this run of it; older than every event that it leaves
    pub holder: Uuid,
    /// the request that the ledger names
    pub request_id: Uuid,
    /// the run has died if it is not done by then
    pub until: DateTimeUtc,
    /// whether there was an answer
    pub done: bool,
    /// the answer, unless it was too long or told of somebody who has been erased since
    pub answer: Option<String>,
    /// the request that erased somebody while this one was running; nil = several did
    pub erased_by: Option<Uuid>,
    pub expires_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
