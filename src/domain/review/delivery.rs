//! Deliveries that were given up, as failures: a reviewer retries or dismisses them like failed
//! writes.
//!
//! The outcome of a delivery is noted here before it is stored with the delivery: after a crash in
//! between, the delivery is tried again, and finds its failure.

use entity::{delivery, failure};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::ledger::{failure_event, failure_opened_event};
use super::record::name_target;
use super::{
    Cause, Failure, Origin, Resolution, State, WHOLE_SCOPE, finish_failure, select_unfinished,
};
use crate::context::{Change, Cx, DerivedChange, Tx};
use crate::crypto::vault;
use crate::domain::signal::delivery::Delivery;
use crate::error::{RefusalReason, Result};
use crate::ledger::{EventKind, NewEvent};

/// The operation of a failed delivery.
pub const DELIVER_OPERATION: &str = "deliver event";
/// Failures of one destination that are kept apart; further ones are counted together.
const MAX_OPEN_OF_DESTINATION: u64 = 1_000;
/// Deliveries that are looked up in one statement.
const LOOKUP_SIZE: usize = 200;

/// Notes the outcome of deliveries: those that were given up wait for a reviewer from now on, and a
/// failure ends when its delivery was taken after all.
///
/// # Errors
/// An error of the database.
pub async fn note_deliveries(cx: &Cx, rows: &[Delivery]) -> Result<()> {
    let taken: Vec<Uuid> = ids_in_state(rows, delivery::State::Succeeded);
    for ids in taken.chunks(LOOKUP_SIZE) {
        let query =
            select_unfinished(cx).filter(failure::Column::DeliveryId.is_in(ids.iter().copied()));
        for found in query.all(&cx.app.store.write).await? {
            finish_failure(cx, found.id, State::Resolved, Resolution::Retried, None).await?;
        }
    }
    // An event about a failure is delivered, too. That it was given up is not another failure: each
    // of them would lead to the next.
    let given_up =
        |row: &&Delivery| row.state == delivery::State::Failed && row.subject_kind != "failure";
    let given_up: Vec<&Delivery> = rows.iter().filter(given_up).collect();
    if given_up.is_empty() {
        return Ok(());
    }
    let given_up = &given_up;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut followed = Vec::new();
            for row in given_up {
                followed.push(note_given_up(cx, tx, row).await?);
            }
            Ok(Change::derived((), followed))
        })
    })
    .await
}

fn ids_in_state(rows: &[Delivery], state: delivery::State) -> Vec<Uuid> {
    rows.iter().filter(|row| row.state == state).map(|row| row.id).collect()
}

/// Opens the failure of a delivery, or counts in the one that is open.
async fn note_given_up(cx: &Cx, tx: &Tx<'_>, row: &Delivery) -> Result<DerivedChange> {
    let derived = |entry: NewEvent| DerivedChange {
        request_id: cx.request_id,
        requested_at: row.last_at,
        entry,
    };
    let mut new = new_failure(tx, row);
    let mut known = find_unfinished(tx, &new.fingerprint).await?;
    if known.is_none() && count_open(tx, row.destination_id).await? >= MAX_OPEN_OF_DESTINATION {
        new.fingerprint = delivery_fingerprint(row.destination_id, None);
        new.delivery_id = None;
        (new.user_id, new.group_id, new.label) = (None, None, None);
        known = find_unfinished(tx, &new.fingerprint).await?;
    }
    let Some(known) = known else {
        name_target(tx, &mut new).await?;
        failure::Entity::insert(failure::ActiveModel::from(new.clone()))
            .exec_without_returning(&tx.db)
            .await?;
        let entry = failure_opened_event(&new, tx.now_after(Some(row.last_at)));
        return Ok(derived(entry));
    };
    let at = tx.now_after(Some(known.last_at));
    let again = Failure {
        count: known.count + 1,
        attempts: known.attempts + i32::from(known.state == State::Retrying),
        state: State::Open,
        last_at: at,
        retry_request_id: None,
        ..known
    };
    crate::domain::save_row::<failure::Entity, failure::ActiveModel>(tx, again.clone()).await?;
    let details = json!({ "attempts": again.attempts, "count": again.count });
    Ok(derived(failure_event(EventKind::FailureRetryFailed, &again, at, None, Some(details))))
}

async fn find_unfinished(tx: &Tx<'_>, fingerprint: &[u8]) -> Result<Option<Failure>> {
    let query = tx
        .find::<failure::Entity>()
        .filter(failure::Column::Fingerprint.eq(fingerprint))
        .filter(failure::Column::FinishedAt.is_null());
    crate::domain::lock_row(tx, query).await
}

async fn count_open(tx: &Tx<'_>, destination: Uuid) -> Result<u64> {
    let query = tx
        .find::<failure::Entity>()
        .filter(failure::Column::DestinationId.eq(destination))
        .filter(failure::Column::FinishedAt.is_null());
    Ok(query.count(&tx.db).await?)
}

/// What makes it the same failure; of no one delivery: all further ones of the destination.
fn delivery_fingerprint(destination: Uuid, delivery: Option<Uuid>) -> Vec<u8> {
    vault::hash_secret(&json!([destination, DELIVER_OPERATION, delivery]).to_string())
}

fn new_failure(tx: &Tx<'_>, row: &Delivery) -> Failure {
    let subject = |kind: &str| Some(row.subject_id).filter(|_| row.subject_kind == kind);
    Failure {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: None,
        origin: Origin::Delivery,
        fingerprint: delivery_fingerprint(row.destination_id, Some(row.id)),
        thing: None,
        scope: WHOLE_SCOPE.into(),
        operation: DELIVER_OPERATION.into(),
        resource: None,
        user_id: subject("user"),
        group_id: subject("group"),
        label: None,
        cause: Cause::TargetUnavailable,
        reason: RefusalReason::TargetUnavailable.into(),
        scim_type: None,
        field: None,
        outline: None,
        payload: None,
        count: 1,
        first_at: row.last_at,
        last_at: row.last_at,
        last_request_id: None,
        state: State::Open,
        resolution: None,
        note: None,
        assigned_to: None,
        attempts: 0,
        next_attempt_at: None,
        retry_request_id: None,
        holder: None,
        until: None,
        finished_at: None,
        finished_by: None,
        destination_id: Some(row.destination_id),
        delivery_id: Some(row.id),
    }
}
