//! What can be followed. A subscription is a reading of the ledger from a place on: a client that comes back names the
//! last place it saw, and misses nothing. Only how far a job is stands in no ledger, and is looked at again and again.

use std::collections::VecDeque;
use std::time::Duration;

use async_graphql::{Context, ID, SimpleObject, Subscription};
use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};

use super::auth::{Caller, Permission, requires};
use super::bulk::BulkJob;
use super::connection::IdentitySource;
use super::event::{Event, EventFilter};
use super::loaders::{self, ConnectionId};
use super::page::{self, Kind, Long};
use super::sync::SyncRun;
use crate::context::Cx;
use crate::domain::{bulk, connection, event, sync};
use crate::error::{Error, Result};

/// How often it is looked how far a bulk job is.
const LOOK: Duration = Duration::from_millis(500);

/// What can be followed, over a WebSocket (`graphql-transport-ws`) or as server-sent events.
pub struct Subscription;

/// What can be followed, over a WebSocket (`graphql-transport-ws`) or as server-sent events. What follows the ledger says
/// its place there; whoever comes back gives the last place it saw as `after`, and misses nothing.
#[Subscription]
impl Subscription {
    /// Every change, in the order of the ledger's chain and without gaps: all that came after a place of it, and then
    /// each as it is sealed.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Begin after this `seq`; 0 begins with the first event. Without it: from now on.")]
        after: Option<Long>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<EventFilter>,
    ) -> Result<impl Stream<Item = async_graphql::Result<Event>>> {
        let which = filter.unwrap_or_default().compile();
        let which = which.ok_or_else(|| Error::invalid("filter", "holds an id that is not one of this API"))?;
        Ok(rows(event::tail(page::cx(ctx)?, which, after.map(|seq| seq.0)).await?, Event))
    }

    /// What happens to connections themselves: made, changed, turned on or off.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this connection.")] connection_id: Option<ID>,
        #[graphql(desc = "Begin after this `seq`; 0 begins with the first event. Without it: from now on.")]
        after: Option<Long>,
    ) -> Result<impl Stream<Item = async_graphql::Result<ConnectionChange>>> {
        let cx = page::cx(ctx)?;
        let id = match connection_id {
            Some(id) => Some(connection::get(cx, page::id(Kind::IdentitySource, &id, "the connection")?).await?.id),
            None => None,
        };
        Ok(rows(connection::changes(cx, id, after.map(|seq| seq.0)).await?, ConnectionChange::of))
    }

    /// How far a bulk job is: now, whenever that has changed, and when it has ended, which ends the subscription too.
    #[graphql(directive = requires::apply(None))]
    async fn bulk_job_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The job's global id.")] id: ID,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<BulkJob>>> {
        ctx.data::<Caller>()?.inside()?;
        let job = bulk::get(page::cx(ctx)?, page::id(Kind::BulkJob, &id, "the bulk job")?).await?;
        Ok(progress(page::cx(ctx)?.clone(), job))
    }

    /// How far a sync run is: now, whenever that has changed, and when it has ended, which ends the subscription too.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sync_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The run's global id.")] id: ID,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<SyncRun>>> {
        let cx = page::cx(ctx)?;
        // An id of nothing is looked for, too: whether the caller may look comes first.
        let run = sync::get(cx, page::id_of(Kind::SyncRun, &id).unwrap_or_default()).await?;
        Ok(sync_progress(cx.clone(), run))
    }
}

/// A run as it is now, and then whenever it is further; nothing after its end.
fn sync_progress(cx: Cx, run: sync::Run) -> impl Stream<Item = async_graphql::Result<SyncRun>> {
    let state = (cx, Some(run.clone()), Some(run));
    stream::try_unfold(state, |(cx, seen, first)| async move {
        if let Some(first) = first {
            return Ok(Some((SyncRun(first), (cx, seen, None))));
        }
        let Some(seen) = seen.filter(|seen| seen.finished_at.is_none()) else { return Ok(None) };
        loop {
            tokio::time::sleep(LOOK).await;
            let now = sync::get(&cx, seen.id).await.map_err(page::faulty)?;
            if (now.state, &now.counts) != (seen.state, &seen.counts) {
                return Ok(Some((SyncRun(now.clone()), (cx, Some(now), None))));
            }
        }
    })
}

/// A job as it is now, and then whenever it is further; nothing after its end.
fn progress(cx: Cx, job: bulk::Job) -> impl Stream<Item = async_graphql::Result<BulkJob>> {
    let state = (cx, Some(job.clone()), Some(job));
    stream::try_unfold(state, |(cx, seen, first)| async move {
        if let Some(first) = first {
            return Ok(Some((BulkJob(first), (cx, seen, None))));
        }
        let Some(seen) = seen.filter(|seen| seen.finished_at.is_none()) else { return Ok(None) };
        loop {
            tokio::time::sleep(LOOK).await;
            let now = bulk::get(&cx, seen.id).await.map_err(page::faulty)?;
            if (now.state, now.done) != (seen.state, seen.done) {
                return Ok(Some((BulkJob(now.clone()), (cx, Some(now), None))));
            }
        }
    })
}

/// The rows of a tail one by one. After an error nothing follows: the client goes on from the last it saw.
fn rows<T>(tail: event::Tail, show: impl Fn(event::Event) -> T + Send) -> impl Stream<Item = async_graphql::Result<T>> {
    let state = (tail, VecDeque::new(), show);
    stream::try_unfold(state, |(mut tail, mut ready, show)| async move {
        if ready.is_empty() {
            ready = tail.next().await.map_err(page::faulty)?.into();
        }
        Ok(ready.pop_front().map(|row| (show(row), (tail, ready, show))))
    })
}

/// Something that happened to a connection, and the connection as it is now.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ConnectionChange {
    /// The place in the ledger.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    seq: Long,
    /// The instant of the change.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    at: DateTime<Utc>,
    /// What was done, for example `connection.deactivated`.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    action: String,
    /// The connection's global id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    connection_id: ID,
    #[graphql(skip)]
    connection: ConnectionId,
}

#[async_graphql::ComplexObject]
impl ConnectionChange {
    /// The connection as it is now; null once it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, self.connection).await?.map(Into::into))
    }
}

impl ConnectionChange {
    fn of(row: event::Event) -> Self {
        Self {
            seq: Long(row.seq.unwrap_or_default()),
            at: row.at,
            action: row.action,
            connection_id: page::global(Kind::IdentitySource, row.subject_id),
            connection: ConnectionId(row.subject_id),
        }
    }
}
