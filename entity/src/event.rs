//! The ledger: one row a change, read together with its link of the chain. Rows are written to the
//! table `event`; on PostgreSQL, links stand in the table `chain`.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "event_sealed")]
pub struct Model {
    /// from a database sequence, taken while the subject's lock is held
    #[sea_orm(primary_key)]
    pub pos: i64,
    pub organization_id: Uuid,
    pub id: Uuid,
    /// place in the chain, given by the sealer
    pub seq: Option<i64>,
    /// taken after the lock
    pub at: DateTimeUtc,
    /// when the request arrived
    pub requested_at: DateTimeUtc,
    pub actor_kind: String,
    pub actor_id: Option<String>,
    pub actor_name: String,
    pub action: String,
    pub subject_kind: String,
    pub subject_id: Uuid,
    pub connection_id: Option<Uuid>,
    pub request_id: Uuid,
    /// values before and after (JSON); emptied by an erasure
    pub payload: Option<String>,
    /// emptied with the payload
    pub salt: Option<Vec<u8>>,
    /// salted digest of the payload, part of the chain
    pub digest: Vec<u8>,
    /// how many more (or fewer) live subjects of this kind there are since this row
    pub population: i64,
    /// chains this row to the one before
    pub hash: Option<Vec<u8>>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns {
        user: "subject_id",
        columns: &[("payload", Some("NULL")), ("salt", Some("NULL"))],
    }),
    not_personal: &[
        (
            &["actor_kind", "actor_id", "actor_name"],
            "who is accountable for a change; evidence that outlives the account",
        ),
        (&["action", "subject_kind"], "one of a few words"),
        (&["digest"], "salted with what an erasure destroys"),
    ],
    is_bookkeeping: true,
    ..TableNotes::of("event")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
