//! Subscriptions. They read the ledger from a position on: a client that reconnects gives the last
//! position that it saw, and misses nothing. Only the progress of jobs and runs is not in the
//! ledger, so it is polled.

use std::collections::VecDeque;
use std::time::Duration;

use async_graphql::{Context, ID, SimpleObject, Subscription};
use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};

use super::auth::ApiCaller;
use super::connection::IdentitySource;
use super::event::{EventFilter, EventObject};
use super::event_action::EventAction;
use super::job_object::JobObject;
use super::loaders::{self, ConnectionId};
use super::permission::{Permission, needs};
use crate::context::Cx;
use crate::domain::audit::event;
use crate::domain::connection;
use crate::error::{Error, Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{Long, NodeKind};

/// How often the progress of a job is read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The root of all subscriptions.
pub struct SubscriptionRoot;

/// The root of all subscriptions, over a WebSocket (`graphql-transport-ws`) or as server-sent
/// events. Those that follow the ledger give the position of each event (`seq`). A client that
/// reconnects passes the last position that it saw as `after`, and misses nothing.
#[Subscription(name = "Subscription")]
impl SubscriptionRoot {
    /// Every event of the ledger, in the order of its chain and without gaps: first those that were
    /// sealed after the position `after`, then each further event when it is sealed.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Begin after this `seq`; 0 begins with the first event. Without it: from now on."
        )]
        after: Option<Long>,
        #[graphql(desc = "Only events that match every field of it.")] filter: Option<EventFilter>,
    ) -> Result<impl Stream<Item = async_graphql::Result<EventObject>>> {
        let which = filter.unwrap_or_default().into_domain_filter()?;
        let which = which.ok_or_else(|| {
            Error::invalid("filter", "contains an id that is not one of this API")
        })?;
        Ok(stream_rows(
            event::follow_events(relay::cx(ctx)?, which, after.map(|seq| seq.0)).await?,
            EventObject,
        ))
    }

    /// The events of connections themselves: for example created, changed, activated or
    /// deactivated.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this connection.")] connection_id: Option<ID>,
        #[graphql(
            desc = "Begin after this `seq`; 0 begins with the first event. Without it: from now on."
        )]
        after: Option<Long>,
    ) -> Result<impl Stream<Item = async_graphql::Result<ConnectionChange>>> {
        let cx = relay::cx(ctx)?;
        let id = match connection_id {
            Some(id) => Some(
                connection::get_connection(
                    cx,
                    relay::parse_input_id(NodeKind::IdentitySource, &id, Noun::Connection)?,
                )
                .await?
                .id,
            ),
            None => None,
        };
        Ok(stream_rows(
            connection::follow_connection_events(cx, id, after.map(|seq| seq.0)).await?,
            ConnectionChange::from_event,
        ))
    }

    /// The progress of a job: now, after every change, and when it has ended, which ends the
    /// subscription too.
    #[graphql(directive = needs::apply(None))]
    async fn job_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The global id of a sync run, a bulk job, a reconciliation or a deletion."
        )]
        id: ID,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<JobObject>>> {
        ctx.data::<ApiCaller>()?.require_organization()?;
        let cx = relay::cx(ctx)?;
        let job = JobObject::find_by_id(cx, &id).await?;
        Ok(follow_job(cx.clone(), id, job))
    }
}

/// A job as it is now, and again after every change of its progress, until it has ended.
fn follow_job(
    cx: Cx,
    id: ID,
    job: JobObject,
) -> impl Stream<Item = async_graphql::Result<JobObject>> {
    let state = (cx, id, job.progress_mark(), Some(job));
    stream::try_unfold(state, |(cx, id, seen, first)| async move {
        if let Some(first) = first {
            return Ok(Some((first, (cx, id, seen, None))));
        }
        if seen.ended {
            return Ok(None);
        }
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = JobObject::find_by_id(&cx, &id).await.map_err(relay::to_graphql_error)?;
            let mark = now.progress_mark();
            if mark != seen {
                return Ok(Some((now, (cx, id, mark, None))));
            }
        }
    })
}

/// The rows of a tail one by one. An error ends the stream; the client continues after the last row
/// that it saw.
fn stream_rows<T>(
    tail: event::EventTail,
    show: impl Fn(event::Event) -> T + Send,
) -> impl Stream<Item = async_graphql::Result<T>> {
    let state = (tail, VecDeque::new(), show);
    stream::try_unfold(state, |(mut tail, mut ready, show)| async move {
        if ready.is_empty() {
            ready = tail.next_events().await.map_err(relay::to_graphql_error)?.into();
        }
        Ok(ready.pop_front().map(|row| (show(row), (tail, ready, show))))
    })
}

/// An event of a connection, and the connection as it is now.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ConnectionChange {
    /// The position of the event in the ledger.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    seq: Long,
    /// The instant of the change.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    at: DateTime<Utc>,
    /// The action of the event, for example `CONNECTION_DEACTIVATED`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    action: EventAction,
    /// The connection's global id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    connection_id: ID,
    #[graphql(skip)]
    connection: ConnectionId,
}

#[async_graphql::ComplexObject]
impl ConnectionChange {
    /// The connection as it is now; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, self.connection).await?.map(Into::into))
    }
}

impl ConnectionChange {
    fn from_event(row: event::Event) -> Self {
        Self {
            seq: Long(row.seq.unwrap_or_default()),
            at: row.at,
            action: EventAction::from_ledger_name(&row.action),
            connection_id: relay::global_id(NodeKind::IdentitySource, row.subject_id),
            connection: ConnectionId(row.subject_id),
        }
    }
}
