//! How connections are, and what needs an administrator now.

use async_graphql::{Context, Enum, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::connection_health as stored;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::failure::FailureCause;
use super::loaders::{self, ConnectionId, EffectOf, SyncRunId};
use super::page::{self, Long};
use super::sync::SyncRun;
use crate::domain::attention::{self, Item};
use crate::domain::health::{self, Health};
use crate::error::Result;

/// How a connection is. The gravest reason decides; docs/guides/watch-health.md lists the rules.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum ConnectionHealthState {
    /// It works.
    Healthy,
    /// It works, but not for everybody: too much fails, or work waits in the review queue.
    Degraded,
    /// Nothing arrives though something should: it is silent for longer than it ever is, no token opens it, or its
    /// schedule is not kept.
    Stalled,
    /// Everything fails. A schedule that fails again and again is slowed down until a run succeeds.
    Quarantined,
    /// Nothing is expected of it: it is deactivated, provisioning is off, or it was never heard.
    Inactive,
}

/// Why a connection is not healthy.
#[derive(SimpleObject)]
pub struct ConnectionHealthReason {
    /// A stable code, for programs.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    code: &'static str,
    /// What was found, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    text: String,
    /// What to do about it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    next_step: &'static str,
}

/// What a connection did since an instant.
#[derive(SimpleObject)]
pub struct OperationWindow {
    /// Counted from this beginning of an hour on.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    since: DateTime<Utc>,
    /// Requests, each operation of a Bulk counted as one; of a connection that reads a source, users and groups read.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    operations: Long,
    /// How many of them were refused or failed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    failures: Long,
    /// Failures as a share of the operations, 0 to 1.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    error_rate: f64,
}

impl From<health::Window> for OperationWindow {
    fn from(window: health::Window) -> Self {
        Self {
            since: window.since,
            operations: Long(i64::try_from(window.operations).unwrap_or(i64::MAX)),
            failures: Long(i64::try_from(window.failures).unwrap_or(i64::MAX)),
            error_rate: window.error_rate(),
        }
    }
}

/// How a connection is.
pub struct ConnectionHealth(pub Health);

/// How a connection is, judged at this moment; what was counted of the last seconds may still be missing.
#[Object]
impl ConnectionHealth {
    /// The judgement.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> ConnectionHealthState {
        self.0.state.into()
    }

    /// Since when it is found so, to the minute; null while it was never found in trouble, or not yet.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> Option<DateTime<Utc>> {
        self.0.since
    }

    /// Why, the gravest first; empty while it is healthy.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reasons(&self) -> Vec<ConnectionHealthReason> {
        let of = |reason: &health::Reason| ConnectionHealthReason {
            code: reason.code(),
            text: reason.text(&self.0.signs),
            next_step: reason.next_step(),
        };
        self.0.reasons.iter().map(of).collect()
    }

    /// When the identity provider was last heard, or a run that read its source last ended.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_contact_at(&self) -> Option<DateTime<Utc>> {
        self.0.signs.last_contact_at
    }

    /// When it last had success, as far as the log remembers.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_success_at(&self) -> Option<DateTime<Utc>> {
        self.0.signs.last_success_at
    }

    /// Since the beginning of the hour before this one.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_hour(&self) -> OperationWindow {
        self.0.signs.hour.into()
    }

    /// Since the beginning of the hour a day ago.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_day(&self) -> OperationWindow {
        self.0.signs.day.into()
    }

    /// How much waits in the review queue: writes that were asked for and are not done.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn pending_operations(&self) -> i32 {
        page::count(self.0.signs.pending)
    }

    /// Since when the oldest of that waits.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn oldest_pending_at(&self) -> Option<DateTime<Utc>> {
        self.0.signs.oldest_pending_at
    }

    /// How long its changes of the last day took from the request until they held, as a median in milliseconds, of those
    /// among the organization's latest 5,000 changes; null if there are none.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn median_effect_milliseconds(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<f64>> {
        Ok(loaders::one(ctx, EffectOf(self.0.connection)).await?.map(|micros| micros as f64 / 1_000.0))
    }
}

/// How urgent something is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "attention::Urgency")]
pub enum AttentionUrgency {
    /// Access no longer follows the identity provider.
    Critical,
    /// Access follows, but not for everybody, or not for much longer.
    Warning,
    /// Somebody should decide something.
    Notice,
}

/// What needs somebody.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "attention::Kind")]
pub enum AttentionKind {
    /// A connection is not healthy.
    Connection,
    /// The last token of a connection ends soon.
    TokenEnds,
    /// A run that reads a source waits to be approved.
    RunWaits,
    /// The review queue holds work of one connection and cause.
    Failures,
    /// What is here differs from what an identity provider says, or people who left there are active here.
    Findings,
    /// Accounts may become a connection's.
    Proposals,
    /// API keys end soon.
    KeysEnd,
    /// API keys that live longer than 30 days have no owner.
    KeysWithoutOwner,
    /// Mappings or grants come to their planned end soon.
    AccessEnds,
    /// The database of this server does not take writes.
    Storage,
    /// A hundred sign-ins or more failed within a day.
    SignInsFail,
    /// Connections that read a source do not, because provisioning is turned off or cannot be used.
    SourcesHeld,
}

/// Something that needs an administrator now.
pub struct AttentionItem(Item);

/// Something that needs an administrator now, and what to do about it.
#[Object]
impl AttentionItem {
    /// What it is about.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AttentionKind {
        self.0.kind.into()
    }

    /// How urgent it is.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn urgency(&self) -> AttentionUrgency {
        self.0.urgency.into()
    }

    /// What was found, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn text(&self) -> &str {
        &self.0.text
    }

    /// What to do.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> &str {
        &self.0.next
    }

    /// How many things it stands for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> i32 {
        page::count(self.0.count)
    }

    /// Since when it waits; of what ends, when the first of it ends. Null where that is not known.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn at(&self) -> Option<DateTime<Utc>> {
        self.0.at
    }

    /// The connection that it is about.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The run that waits.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sync_run(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<SyncRun>> {
        let Some(id) = self.0.run else { return Ok(None) };
        Ok(loaders::one(ctx, SyncRunId(id)).await?.map(Into::into))
    }

    /// What stands in the way of the failed writes.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn cause(&self) -> Option<FailureCause> {
        self.0.cause.map(Into::into)
    }
}

/// Everything that needs somebody now.
pub async fn attention(ctx: &Context<'_>) -> Result<Vec<AttentionItem>> {
    Ok(attention::list(page::cx(ctx)?).await?.into_iter().map(AttentionItem).collect())
}
