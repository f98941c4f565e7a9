//! The work of telling the destinations of an organization: which server does it, what it reads,
//! and what it writes down. One server at a time works for an organization, under a lease; another
//! takes over when the lease has ended. What was delivered and not written down by then is
//! delivered again, under the same id.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::destination::State;
use entity::{delivery, destination, event};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use super::destination::{
    Destination, bump_version, destination_event, lock_destination, save_destination, set_state,
};
use super::payload::ChainedEvent;
use super::stream::OpenedStream;
use super::{secret, stream};
use crate::context::{App, Change, Cx, Lease, TASKS};
use crate::crypto::webhook::MessageKeys;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::is_open_condition;
use crate::error::{Error, Result};
use crate::ledger;
use crate::ledger::EventKind;

/// The name of the lease.
const LEASE_NAME: &str = "signals.deliver";
/// A server that has not renewed its lease for this long no longer tells of events.
const WORK_LEASE: Duration = Duration::seconds(6);
/// Events read in one statement.
pub const EVENTS_PER_READ: u64 = 500;
/// Rows written in one statement.
const ROWS_PER_WRITE: usize = 200;
/// Deliveries that wait and are read when a server begins to work for a destination.
const MAX_WAITING: u64 = 4_000;
/// The most deliveries done ahead of the cursor that are read then.
const MAX_AHEAD_READ: u64 = 20_000;
/// Deliveries at the first attempt that are kept for a destination: the last ones.
pub const ROUTINE_KEPT: i64 = 10_000;

/// An organization with destinations that receive events.
#[derive(Debug, Clone, FromQueryResult)]
pub struct SignalOrganization {
    pub organization_id: Uuid,
    /// Where its ledger ends.
    pub head: i64,
    /// The last event that the slowest destination has received.
    pub cursor: i64,
    /// When something is tried again.
    pub next_at: Option<DateTime<Utc>>,
    pub destinations: i64,
    pub versions: i64,
    pub changed_at: DateTime<Utc>,
    /// 1 while a server works for it.
    held: i32,
}

impl SignalOrganization {
    /// Changes with each change of a destination's settings.
    pub fn revision(&self) -> (i64, i64, i64) {
        (self.destinations, self.versions, self.changed_at.timestamp_micros())
    }

    /// Whether no server works for it.
    pub fn is_free(&self) -> bool {
        self.held == 0
    }

    /// Whether there is something to tell at `now`.
    pub fn has_work(&self, now: DateTime<Utc>) -> bool {
        self.cursor < self.head || self.next_at.is_some_and(|at| at <= now)
    }
}

/// The organizations with destinations, and how far their ledgers go: one statement for all of
/// them. Organizations without a destination cost nothing.
pub async fn list_signal_organizations(app: &App) -> Result<Vec<SignalOrganization>> {
    let (open, mut values) = (is_open_condition("d"), vec![LEASE_NAME.into()]);
    let now = app.database_time().current_timestamp_sql(&mut values);
    let text = format!(
        "SELECT d.organization_id, max(h.seq) AS head, min(d.cursor_seq) AS cursor, \
         min(d.next_at) AS next_at, count(*) AS destinations, \
         CAST(sum(d.version) AS bigint) AS versions, max(d.updated_at) AS changed_at, \
         CASE WHEN EXISTS (SELECT 1 FROM lease l WHERE l.organization_id = d.organization_id \
         AND l.name = $1 AND l.until > {now}) THEN 1 ELSE 0 END AS held \
         FROM destination d JOIN ledger_head h ON h.organization_id = d.organization_id \
         WHERE d.state IN ('ACTIVE', 'FAILING') AND d.url IS NOT NULL AND {open} \
         GROUP BY d.organization_id"
    );
    let reason = "which organizations have destinations to tell";
    let statement = app.statement_for_all_organizations(text, values, reason);
    Ok(SignalOrganization::find_by_statement(statement).all(&app.store.read).await?)
}

/// How long before its instant an event may have got its id.
const ID_LEAD: Duration = Duration::seconds(10);
/// The latest instant that an id can tell, in milliseconds.
const MAX_ID_MILLIS: u64 = (1 << 48) - 1;
/// Events that may stand in the ledger in another order than that of their ids.
const MAX_REORDERED: u64 = 1_000;

/// The place in the ledger at which a replay of all events at `at` or later begins. Some earlier
/// events may come too. One after the end if there are no such events.
pub(super) async fn first_seq_since(cx: &Cx, at: DateTime<Utc>) -> Result<i64> {
    let earliest = at.checked_sub_signed(ID_LEAD).unwrap_or(DateTime::UNIX_EPOCH);
    let millis = u64::try_from(earliest.timestamp_millis()).unwrap_or_default();
    let millis = std::cmp::min(millis, MAX_ID_MILLIS);
    let first = Uuid::from_u128(u128::from(millis) << 80);
    let seqs: Vec<Option<i64>> = cx
        .find::<event::Entity>()
        .filter(event::Column::Id.gte(first))
        .order_by_asc(event::Column::Id)
        .limit(MAX_REORDERED)
        .select_only()
        .column(event::Column::Seq)
        .into_tuple()
        .all(cx.db())
        .await?;
    match seqs.into_iter().flatten().min() {
        Some(seq) => Ok(seq),
        None => {
            let head = cx.find::<entity::ledger_head::Entity>().one(cx.db()).await?;
            Ok(head.map_or(1, |head| head.seq + 1))
        }
    }
}

/// The right of one server to tell the destinations of an organization.
#[derive(Debug, Clone)]
pub struct SignalWork {
    cx: Cx,
    lease: Lease,
}

/// A destination with everything that is needed to tell it.
#[derive(Debug)]
pub struct OpenedDestination {
    pub row: Destination,
    pub keys: MessageKeys,
    /// What only a stream of security event tokens has.
    pub stream: Option<OpenedStream>,
    /// Places after the cursor that are delivered or given up.
    pub ahead: Vec<i64>,
    /// What failed and waits, each with its event.
    pub waiting: Vec<(delivery::Model, ChainedEvent)>,
}

/// Which events a destination has received, to be stored.
#[derive(Debug, Clone)]
pub struct DeliveryProgress {
    pub destination: Uuid,
    /// [`Destination::restarts`] at that time.
    pub restarts: i64,
    pub cursor: i64,
    pub next_at: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
}

/// Takes the lease of an organization; none while another server holds it.
pub async fn claim_organization(app: &Arc<App>, organization: Uuid) -> Result<Option<SignalWork>> {
    let cx = Cx::system(app.clone(), organization);
    let lease = Lease::new(&TASKS, organization, LEASE_NAME, Uuid::now_v7());
    let work = SignalWork { cx, lease };
    Ok(work.renew().await?.then_some(work))
}

impl SignalWork {
    /// The context of the work.
    pub fn cx(&self) -> &Cx {
        &self.cx
    }

    /// Extends the lease; false when another server has it.
    pub async fn renew(&self) -> Result<bool> {
        let app = &self.cx.app;
        let (db, time) = (&app.store.write, app.database_time());
        Ok(self.lease.claim_or_make_row(db, time, WORK_LEASE, &[]).await?)
    }

    /// Ends the lease, so that another server can go on at once.
    pub async fn release(&self) -> Result<()> {
        Ok(self.lease.delete_row(&self.cx.app.store.write).await?)
    }

    /// The destinations that are called and receive events.
    pub async fn list_receiving(&self) -> Result<Vec<Destination>> {
        let active = destination::Column::State.is_in([State::Active, State::Failing]);
        let query = self.cx.find::<destination::Entity>().filter(active);
        let called = query.filter(destination::Column::Url.is_not_null());
        Ok(called.all(&self.cx.app.store.write).await?)
    }

    /// Opens a destination: its keys, and what of it was done and what waits.
    pub async fn open_destination(&self, row: Destination) -> Result<OpenedDestination> {
        let cx = &self.cx;
        let now = cx.app.clock.now();
        let organization = organization::current_organization(cx).await?;
        let keys = secret::message_keys(cx, &organization.data_key, &row, now)?;
        let stream = match row.kind {
            destination::Kind::EventStream => Some(stream::open_stream_of(cx, &row).await?),
            destination::Kind::Webhook | destination::Kind::Mail => None,
        };
        let text = format!(
            "SELECT seq FROM delivery WHERE organization_id = $1 AND destination_id = $2 \
             AND seq > $3 AND state <> 'WAITING' ORDER BY seq LIMIT {MAX_AHEAD_READ}"
        );
        let statement = cx.statement(text, [row.id.into(), row.cursor_seq.into()]);
        let ahead = cx.app.store.write.query_all_raw(statement).await?;
        let ahead = ahead.iter().map(|row| row.try_get("", "seq")).collect::<Result<_, _>>()?;
        let text = format!(
            "SELECT * FROM delivery WHERE organization_id = $1 AND destination_id = $2 \
             AND state = 'WAITING' ORDER BY seq LIMIT {MAX_WAITING}"
        );
        let statement = cx.statement(text, [row.id.into()]);
        let waiting =
            delivery::Model::find_by_statement(statement).all(&cx.app.store.write).await?;
        let mut events = std::collections::HashMap::new();
        for some in waiting.chunks(ROWS_PER_WRITE) {
            let ids: Vec<Uuid> = some.iter().map(|row| row.event_id).collect();
            for event in self.events_by_ids(&ids).await? {
                events.insert(event.id, event);
            }
        }
        let waiting = waiting
            .into_iter()
            .filter_map(|row| {
                let event = events.remove(&row.event_id)?;
                Some((row, event))
            })
            .collect();
        Ok(OpenedDestination { row, keys, stream, ahead, waiting })
    }

    /// The events of these ids.
    pub async fn events_by_ids(&self, ids: &[Uuid]) -> Result<Vec<ChainedEvent>> {
        chained_events_by_ids(&self.cx, ids).await
    }

    /// The next events of the ledger after a place.
    pub async fn read_events(&self, after: i64) -> Result<Vec<ChainedEvent>> {
        read_chained_events(&self.cx, after).await
    }

    /// Stores which events each destination has received, and what was delivered and what failed
    /// on the way. Nothing of a destination that was sent back to an earlier place meanwhile. A
    /// delivery that has succeeded stays so.
    pub async fn write_down(
        &self,
        delivered: Vec<(DeliveryProgress, Vec<delivery::Model>)>,
    ) -> Result<()> {
        let db = &self.cx.app.store.write;
        let mut written = Vec::new();
        for (progress, rows) in delivered {
            if self.save_progress(progress).await? {
                written.extend(rows);
            }
        }
        let mut rows = written.into_iter().map(IntoActiveModel::into_active_model).peekable();
        while rows.peek().is_some() {
            use delivery::Column;
            let batch: Vec<delivery::ActiveModel> = rows.by_ref().take(ROWS_PER_WRITE).collect();
            let known = OnConflict::columns([Column::OrganizationId, Column::Id])
                .update_columns([
                    Column::State,
                    Column::Kept,
                    Column::Attempts,
                    Column::AttemptLog,
                    Column::FirstAt,
                    Column::LastAt,
                    Column::NextAt,
                    Column::ReceivedAt,
                    Column::Status,
                    Column::LatencyMs,
                    Column::Response,
                    Column::Message,
                ])
                .action_and_where(
                    Expr::col((delivery::Entity, Column::State))
                        .eq(sea_orm::ActiveEnum::to_value(&delivery::State::Waiting)),
                )
                .to_owned();
            delivery::Entity::insert_many(batch)
                .on_conflict(known)
                .exec_without_returning(db)
                .await?;
        }
        Ok(())
    }

    /// False when it was sent back, or when another server works for the organization.
    async fn save_progress(&self, progress: DeliveryProgress) -> Result<bool> {
        let cx = &self.cx;
        let mut sql = cx.sql([
            progress.destination.into(),
            progress.restarts.into(),
            progress.cursor.into(),
            progress.next_at.into(),
            progress.last_success_at.into(),
        ]);
        let held = self.lease.held_row_query(cx.backend(), sql.values_mut());
        sql.push(&format!(
            "UPDATE destination SET cursor_seq = $4, next_at = $5, \
             last_success_at = coalesce($6, last_success_at) \
             WHERE organization_id = $1 AND id = $2 AND restarts = $3 AND EXISTS ({held})"
        ));
        let saved = cx.app.store.write.execute_raw(cx.build_statement(sql)).await?;
        Ok(saved.rows_affected() > 0)
    }

    /// Deletes the deliveries of a destination that went well at once, but for the last ones.
    pub async fn forget_routine(&self, destination: Uuid, before: i64) -> Result<()> {
        let cx = &self.cx;
        let text = "DELETE FROM delivery WHERE organization_id = $1 AND destination_id = $2 \
                    AND seq < $3 AND NOT kept";
        let statement = cx.statement(text, [destination.into(), before.into()]);
        cx.app.store.write.execute_raw(statement).await?;
        Ok(())
    }

    /// Notes that a destination fails, or does not any more. False when its settings have changed
    /// since `version`.
    pub async fn note_failing(&self, id: Uuid, version: i64, why: Option<&str>) -> Result<bool> {
        let (from, to, kind) = match why {
            Some(_) => (State::Active, State::Failing, EventKind::DestinationFailing),
            None => (State::Failing, State::Active, EventKind::DestinationRecovered),
        };
        let cx = &self.cx;
        cx.write(move |tx| {
            Box::pin(async move {
                let mut row = lock_destination(tx, id).await?;
                if row.version != version || row.state != from {
                    return Ok(Change::unchanged(row.version == version));
                }
                let now = tx.now_after(Some(row.state_since));
                set_state(&mut row, to, now, why.map(|why| ("DELIVERIES_FAIL", why)));
                save_destination(tx, row.clone()).await?;
                let after = why.map(|why| json!({ "because": why }));
                Ok(Change::recorded(true, destination_event(kind, &row, now, after)))
            })
        })
        .await
    }

    /// Stops deliveries to a destination that accepted nothing for three days, or that says that it
    /// is gone.
    pub async fn stop_telling(&self, id: Uuid, version: i64, gone: bool) -> Result<()> {
        let (state, kind, code, why) = if gone {
            let why = "It answered 410 Gone: it wants no more messages.";
            (State::Paused, EventKind::DestinationPaused, "GONE", why)
        } else {
            let why = "It took nothing for three days.";
            (State::Disabled, EventKind::DestinationDisabled, "GAVE_UP", why)
        };
        let cx = &self.cx;
        let done = cx.write(move |tx| {
            Box::pin(async move {
                let mut row = lock_destination(tx, id).await?;
                if row.version != version || !matches!(row.state, State::Active | State::Failing) {
                    return Ok(Change::unchanged(()));
                }
                let now = bump_version(tx, &mut row);
                set_state(&mut row, state, now, Some((code, why)));
                save_destination(tx, row.clone()).await?;
                stream::notice::note_status(tx, &row, now).await?;
                let after = Some(json!({ "because": code }));
                Ok(Change::recorded((), destination_event(kind, &row, now, after)))
            })
        });
        match done.await {
            // It was deleted meanwhile.
            Err(Error::NotFound(_)) => Ok(()),
            done => done,
        }
    }
}

/// The events of these ids, as far as they are in the chain.
pub(super) async fn chained_events_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<ChainedEvent>> {
    let query = cx.find::<event::Entity>();
    let rows =
        query.filter(event::Column::Id.is_in(ids.iter().copied())).all(&cx.app.store.read).await?;
    Ok(rows.into_iter().filter_map(chained_event).collect())
}

/// The next events of the chain after a place.
pub(super) async fn read_chained_events(cx: &Cx, after: i64) -> Result<Vec<ChainedEvent>> {
    let seq = match cx.backend() {
        sea_orm::DbBackend::Postgres => "l.seq",
        _ => "e.seq",
    };
    let text = format!(
        "SELECT e.id, {seq} AS seq, e.at, e.action, e.subject_kind, e.subject_id, \
         e.connection_id, e.request_id, e.actor_kind, e.actor_id, e.actor_name, e.payload {}",
        ledger::chained_after(cx.backend(), EVENTS_PER_READ)
    );
    let statement = cx.statement(text, [after.into()]);
    Ok(ChainedEvent::find_by_statement(statement).all(&cx.app.store.read).await?)
}

fn chained_event(row: event::Model) -> Option<ChainedEvent> {
    Some(ChainedEvent {
        id: row.id,
        seq: row.seq?,
        at: row.at,
        action: row.action,
        subject_kind: row.subject_kind,
        subject_id: row.subject_id,
        connection_id: row.connection_id,
        request_id: row.request_id,
        actor_kind: row.actor_kind,
        actor_id: row.actor_id,
        actor_name: row.actor_name,
        payload: row.payload,
    })
}

/// The public keys with which the messages of an organization's destinations are signed, as a key
/// set (RFC 7517). An organization that does not exist has none.
pub async fn public_key_set(app: &Arc<App>, slug: &str) -> Result<serde_json::Value> {
    let mut keys = Vec::new();
    if let Some(organization) = organization::by_slug(app, slug).await? {
        let cx = Cx::system(app.clone(), organization.id);
        let rows = cx.find::<destination::Entity>().order_by_asc(destination::Column::Id);
        let rows = rows.limit(super::destination::MAX_DESTINATIONS).all(cx.db()).await?;
        keys.extend(
            rows.iter().filter_map(|row| row.public_key.as_deref()).map(secret::public_jwk),
        );
    }
    Ok(json!({ "keys": keys }))
}
