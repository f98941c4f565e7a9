//! Deliveries: what a destination got, how each attempt went, and another try.

use chrono::{DateTime, Duration, Utc};
use entity::delivery::{Column, Entity};
use entity::{delivery, destination};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::json;
use uuid::Uuid;

use super::destination::{lock_destination, restart_delivery, save_destination};
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use delivery::{Model as Delivery, State};

/// How long a delivery is kept that is done or was given up.
const RETENTION: Duration = Duration::days(30);

/// The wanted deliveries of a destination: those that match all conditions; none or empty = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryQuery {
    pub states: Vec<State>,
    /// Those of this event.
    pub event: Option<Uuid>,
    /// Those of events about this subject.
    pub subject: Option<Uuid>,
}

fn select_deliveries(cx: &Cx, destination: Uuid, which: &DeliveryQuery) -> Select<Entity> {
    let mut query = cx.find::<Entity>().filter(Column::DestinationId.eq(destination));
    if !which.states.is_empty() {
        query = query.filter(Column::State.is_in(which.states.iter().copied()));
    }
    if let Some(event) = which.event {
        query = query.filter(Column::EventId.eq(event));
    }
    if let Some(subject) = which.subject {
        query = query.filter(Column::SubjectId.eq(subject));
    }
    query
}

/// A page of the deliveries of a destination, each with its place in the order `by`.
pub async fn list_deliveries(
    cx: &Cx,
    destination: Uuid,
    which: &DeliveryQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Delivery, OrderPlace)>> {
    cx.allow(Action::ReadLedger, None)?;
    let query = select_deliveries(cx, destination, which);
    paging::fetch_ordered(cx, query, Column::Id, by, keyset).await
}

/// How many deliveries of a destination there are.
pub async fn count_deliveries(cx: &Cx, destination: Uuid, which: &DeliveryQuery) -> Result<u64> {
    cx.allow(Action::ReadLedger, None)?;
    Ok(select_deliveries(cx, destination, which).count(cx.db()).await?)
}

/// The deliveries among `ids`.
pub async fn deliveries_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Delivery>> {
    cx.allow(Action::ReadLedger, None)?;
    let query = cx.find::<Entity>().filter(Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Tries a delivery again now that waits or was given up, and for three days from now on.
///
/// # Errors
/// [`Error::NotFound`], and [`Error::Held`] for a delivery that has succeeded, and for a
/// destination that gets no events now.
pub async fn retry_delivery(cx: &Cx, id: Uuid) -> Result<Delivery> {
    cx.allow(Action::ReadLedger, None)?;
    cx.allow(Action::WriteConnection, None)?;
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let (row, entry) = retry_in(tx, id).await?;
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// [`retry_delivery`] inside a transaction, for a caller whose permissions were checked; returns
/// the event about it, too.
pub(in crate::domain) async fn retry_in(tx: &Tx<'_>, id: Uuid) -> Result<(Delivery, NewEvent)> {
    let found = tx.find::<Entity>().filter(Column::Id.eq(id)).one(&tx.db).await?;
    let found = found.ok_or_else(|| Error::not_found(Noun::Delivery))?;
    // In this order, as everywhere: the destination, then its deliveries.
    let mut destination = lock_destination(tx, found.destination_id).await?;
    let query = tx.find::<Entity>().filter(Column::Id.eq(id));
    let mut row = crate::domain::lock_row(tx, query)
        .await?
        .ok_or_else(|| Error::not_found(Noun::Delivery))?;
    if row.state == State::Succeeded {
        return Err(Error::Held {
            reason: RefusalReason::Finished,
            why: "the destination has accepted it: destinationReplay sends it again".into(),
        });
    }
    let active = [destination::State::Active, destination::State::Failing];
    if !active.contains(&destination.state) {
        return Err(Error::Held {
            reason: RefusalReason::Finished,
            why: "its destination gets no events now: resume it first (destinationResume)".into(),
        });
    }
    let now = restart_delivery(tx, &mut destination);
    (row.state, row.next_at) = (State::Waiting, Some(now));
    (row.attempts, row.first_at) = (0, now);
    row.acknowledged = None;
    destination.next_at = Some(now);
    save_destination(tx, destination).await?;
    crate::domain::save_row::<Entity, delivery::ActiveModel>(tx, row.clone()).await?;
    let entry = NewEvent {
        kind: EventKind::DeliveryRetried,
        subject: EventSubject { kind: "delivery", id },
        connection: None,
        at: now,
        before: None,
        after: Some(json!({ "destinationId": row.destination_id, "seq": row.seq })),
        population: 0,
        name: None,
    };
    Ok((row, entry))
}

/// Deletes what was delivered or given up long ago, in every organization.
pub async fn forget_old_deliveries(app: &App) -> Result<()> {
    let oldest: DateTime<Utc> = app.clock.now() - RETENTION;
    Entity::delete_many()
        .filter(Column::LastAt.lt(oldest))
        .filter(Column::State.ne(State::Waiting))
        .exec(&app.store.write)
        .await?;
    Ok(())
}
