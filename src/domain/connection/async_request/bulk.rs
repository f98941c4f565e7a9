//! Bulk requests that are carried out after their answer (RFC 9967 section 2.5.1.2): each of their
//! operations has a result of its own, with its place in the request behind the id (`txn`).
//!
//! Each operation has a request id of its own in the ledger, which follows from that of the
//! request. So the run after one that died finds what was written and what was told, operation by
//! operation, and does the rest.

use std::collections::{HashMap, HashSet};

use entity::event;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{AsyncClaim, AsyncOutcome, AsyncPayload, MAX_TRIES, describe_outcome, request_event};
use crate::context::{Change, Cx};
use crate::error::{Error, Result};
use crate::ledger::EventKind;

/// The last bits of a request's id, which are zero, so that the ids of its operations follow it.
const OPERATION_MASK: u128 = 0xFFFF;
/// The status of an operation that was not attempted, because too many before it had failed. RFC
/// 7644 leaves such operations out of the answer, but a client that waits for an event needs one.
const NOT_ATTEMPTED: u16 = 424;

/// The id of a new request. Later ones are greater, as others of this version are.
pub fn new_request_id() -> Uuid {
    Uuid::from_u128(Uuid::now_v7().as_u128() & !OPERATION_MASK)
}

/// The id of the operation at this place of a request.
fn operation_id(request: Uuid, at: usize) -> Uuid {
    let place = u128::try_from(at + 1).unwrap_or(OPERATION_MASK).min(OPERATION_MASK);
    Uuid::from_u128((request.as_u128() & !OPERATION_MASK) | place)
}

/// What an operation is, as far as its result says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncOperation {
    pub method: String,
    /// `Users` or `Groups`.
    pub endpoint: String,
}

/// What an earlier run wrote for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierWrite {
    pub resource: Uuid,
    /// Whether it did more than create the resource.
    pub changed: bool,
}

/// What the ledger has of one operation.
#[derive(Debug, Default)]
struct EarlierOperation {
    outcome: Option<AsyncOutcome>,
    /// The kind of each subject, its id, and whether it was made.
    written: Vec<(String, Uuid, bool)>,
}

/// A Bulk request while it is carried out: what earlier runs did, and where results are recorded.
#[derive(Debug)]
pub struct DeferredBulk {
    request: Uuid,
    connection: Uuid,
    operations: Vec<AsyncOperation>,
    recorder: Cx,
    earlier: HashMap<usize, EarlierOperation>,
    /// Whether what fails for reasons of this server is told, and not tried again.
    is_last_try: bool,
}

impl DeferredBulk {
    /// The context in which the operation at this place is carried out.
    pub fn operation_cx(&self, cx: &Cx, at: usize) -> Cx {
        let mut own = cx.clone();
        own.request_id = operation_id(self.request, at);
        own
    }

    /// The result of the operation at this place, if an earlier run has told it.
    pub fn outcome_at(&self, at: usize) -> Option<&AsyncOutcome> {
        self.earlier.get(&at)?.outcome.as_ref()
    }

    /// What an earlier run wrote for the operation at this place.
    pub fn earlier_write_at(&self, at: usize) -> Option<EarlierWrite> {
        let kind = match self.operations.get(at)?.endpoint.as_str() {
            "Groups" => "group",
            _ => "user",
        };
        let written = &self.earlier.get(&at)?.written;
        let (_, resource, _) = written.iter().find(|(known, ..)| known == kind)?;
        let changed = written.iter().any(|(_, id, made)| id == resource && !made);
        Some(EarlierWrite { resource: *resource, changed })
    }

    /// Whether the rest of the request is left for another run because of this outcome.
    pub fn is_tried_again(&self, outcome: &AsyncOutcome) -> bool {
        outcome.may_pass() && !self.is_last_try
    }

    /// Records the result of the operation at this place.
    ///
    /// # Errors
    /// [`Error::Busy`] if another run has taken the request over.
    pub async fn tell_outcome(&self, at: usize, outcome: &AsyncOutcome) -> Result<()> {
        let unknown = || Error::Internal("a deferred request lacks an operation".into());
        let operation = self.operations.get(at).ok_or_else(unknown)?;
        let (id, connection) = (operation_id(self.request, at), self.connection);
        let txn = format!("{}:{at}", self.request);
        let after = &describe_outcome(&txn, &operation.method, &operation.endpoint, outcome);
        let cx = self.operation_cx(&self.recorder, at);
        cx.write(move |tx| {
            Box::pin(async move {
                let (kind, now) = (EventKind::ScimRequestCompleted, tx.now_after(None));
                Ok(Change::recorded((), request_event(kind, id, connection, now, after.clone())))
            })
        })
        .await
    }
}

impl AsyncClaim {
    /// Looks in the ledger what earlier runs did.
    pub(super) async fn open_bulk(&self, payload: &AsyncPayload) -> Result<DeferredBulk> {
        let mut earlier: HashMap<usize, EarlierOperation> = HashMap::new();
        if self.request.tries > 1 {
            for (at, row) in self.read_operations(payload.operations.len()).await? {
                let known = earlier.entry(at).or_default();
                if row.action == EventKind::ScimRequestCompleted.name() {
                    known.outcome = Some(read_outcome(row.payload.as_deref()));
                } else {
                    let made = row.action.ends_with(".created");
                    known.written.push((row.subject_kind, row.subject_id, made));
                }
            }
        }
        Ok(self.bulk_of(payload, earlier))
    }

    fn bulk_of(
        &self,
        payload: &AsyncPayload,
        earlier: HashMap<usize, EarlierOperation>,
    ) -> DeferredBulk {
        DeferredBulk {
            request: self.request.id,
            connection: self.request.connection_id,
            operations: payload.operations.clone(),
            recorder: self.recording_cx(),
            earlier,
            is_last_try: self.request.tries >= MAX_TRIES,
        }
    }

    /// The events of the request's operations, each with the place of its operation.
    async fn read_operations(&self, count: usize) -> Result<Vec<(usize, event::Model)>> {
        let request = self.request.id;
        let Some(last) = count.checked_sub(1) else { return Ok(Vec::new()) };
        let rows = self
            .cx
            .find::<event::Entity>()
            .filter(event::Column::RequestId.gt(request))
            .filter(event::Column::RequestId.lte(operation_id(request, last)))
            .order_by_asc(event::Column::Pos)
            .all(&self.cx.app.store.write)
            .await?;
        let place = |row: &event::Model| {
            let behind = row.request_id.as_u128() & OPERATION_MASK;
            usize::try_from(behind).ok()?.checked_sub(1)
        };
        Ok(rows.into_iter().filter_map(|row| Some((place(&row)?, row))).collect())
    }

    /// Ends a Bulk request: each operation that has no result yet gets one.
    pub(super) async fn complete_bulk(
        &self,
        payload: &AsyncPayload,
        outcome: &AsyncOutcome,
    ) -> Result<()> {
        let settled = self.read_operations(payload.operations.len()).await?;
        let settled: HashSet<usize> = settled
            .into_iter()
            .filter(|(_, row)| row.action == EventKind::ScimRequestCompleted.name())
            .map(|(at, _)| at)
            .collect();
        let status = if outcome.status == 200 { NOT_ATTEMPTED } else { outcome.status };
        let rest = AsyncOutcome::with_status(status);
        let bulk = self.bulk_of(payload, HashMap::new());
        for at in (0..payload.operations.len()).filter(|at| !settled.contains(at)) {
            bulk.tell_outcome(at, &rest).await?;
        }
        Ok(self.lease.delete_row(&self.cx.app.store.write).await?)
    }
}

/// The result that an event tells.
fn read_outcome(payload: Option<&str>) -> AsyncOutcome {
    let values: Value =
        payload.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let after = &values["after"];
    let text = |name: &str| after[name].as_str().map(str::to_owned);
    AsyncOutcome {
        status: text("status").and_then(|status| status.parse().ok()).unwrap_or(NOT_ATTEMPTED),
        version: text("version"),
        location: text("location"),
        resource: text("resourceId").and_then(|id| id.parse().ok()),
        scim_type: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_ids_behind_the_request() {
        let (first, second) = (new_request_id(), new_request_id());
        assert!(first < second);
        let ids: Vec<Uuid> = (0..1_000).map(|at| operation_id(first, at)).collect();
        assert!(first < ids[0] && ids.is_sorted() && ids[999] < second);
        assert_eq!(ids[0].as_u128(), first.as_u128() + 1);
        assert_eq!(ids[7].get_version_num(), 7);
    }
}
