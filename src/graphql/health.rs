//! The health of connections, and what an administrator should act on now.

use async_graphql::{Context, Enum, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::connection_health as stored;

use super::connection::IdentitySource;
use super::failure_cause::FailureCause;
use super::loaders::{self, ConnectionId, EffectTimeOf, SyncRunId};
use super::message_part::{self, MessagePart};
use super::permission::{Permission, needs};
use super::sync::SyncRun;
use crate::domain::connection::health;
use crate::domain::connection::health::HealthAssessment;
use crate::domain::review::action_items;
use crate::domain::review::action_items::ActionItem;
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::Long;

/// The state of a connection's health. The most severe reason decides; docs/guides/watch-health.md
/// lists the rules.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum ConnectionHealthState {
    /// The connection works.
    Healthy,
    /// It works, but not for all users: too many operations fail, the last run failed, or failures
    /// wait in the review queue.
    Degraded,
    /// Nothing arrives although it should: it has sent no request for longer than usual, it has no
    /// live token, its schedule is not kept, or a run waits for approval.
    Stalled,
    /// Everything fails. A schedule whose runs fail repeatedly is slowed down until a run succeeds.
    Quarantined,
    /// No requests are expected: it is deactivated, provisioning is off, or it has not been used
    /// yet.
    Inactive,
}

/// Why a connection is not healthy.
#[derive(SimpleObject)]
pub struct ConnectionHealthReason {
    /// The reason as a stable code, for example `NO_TOKEN`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    code: &'static str,
    /// What was found, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message_parts: Vec<MessagePart>,
    /// What to do about it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step: &'static str,
}

/// How many operations a connection made in a period, and how many of them failed.
#[derive(SimpleObject)]
pub struct OperationWindow {
    /// The beginning of the period: the beginning of an hour.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    since: DateTime<Utc>,
    /// The number of requests, where each operation of a Bulk request counts as one. For a
    /// connection that reads a source: the number of users and groups read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    operations: Long,
    /// How many of them were refused or failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    failures: Long,
    /// Failures as a share of the operations, from 0 to 1; 0 if there were no operations.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    error_rate: f64,
}

impl From<health::HealthWindow> for OperationWindow {
    fn from(window: health::HealthWindow) -> Self {
        Self {
            since: window.since,
            operations: Long(i64::try_from(window.operations).unwrap_or(i64::MAX)),
            failures: Long(i64::try_from(window.failures).unwrap_or(i64::MAX)),
            error_rate: window.error_rate(),
        }
    }
}

/// The health of a connection as the schema shows it.
pub struct ConnectionHealth(pub HealthAssessment);

/// The health of a connection at this moment. The numbers may lack the last few seconds.
#[Object]
impl ConnectionHealth {
    /// The state that the most severe reason gives.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> ConnectionHealthState {
        self.0.state.into()
    }

    /// Since when the connection has had this state, to the minute. Null if the state has not been
    /// recorded yet, or has never changed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> Option<DateTime<Utc>> {
        self.0.since
    }

    /// The reasons for the state, the most severe first; empty while it is HEALTHY.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reasons(&self) -> Vec<ConnectionHealthReason> {
        let of = |reason: &health::HealthReason| {
            let message = reason.finding_text(&self.0.signs);
            ConnectionHealthReason {
                code: reason.code(),
                message_parts: message_part::read_parts(&message),
                message,
                next_step: reason.next_step(),
            }
        };
        self.0.reasons.iter().map(of).collect()
    }

    /// When the identity provider last sent a request, or a run that read its source last ended;
    /// null if neither has happened.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_contact_at(&self) -> Option<DateTime<Utc>> {
        self.0.signs.last_contact_at
    }

    /// When a request or a run last succeeded, as far back as the request log goes; null if none
    /// did.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_success_at(&self) -> Option<DateTime<Utc>> {
        self.0.signs.last_success_at
    }

    /// The operations since the beginning of the previous hour of the clock.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_hour(&self) -> OperationWindow {
        self.0.signs.hour.into()
    }

    /// The operations since the beginning of the hour of the clock a day ago.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_day(&self) -> OperationWindow {
        self.0.signs.day.into()
    }

    /// Each of the last 24 hours of the clock by itself, the oldest first. The last one is the
    /// current hour, which has not ended.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn hours(&self) -> Vec<OperationWindow> {
        self.0.signs.hours.iter().map(|hour| (*hour).into()).collect()
    }

    /// How many failures wait in the review queue.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn pending_operations(&self) -> i32 {
        relay::to_graphql_int(self.0.signs.pending)
    }

    /// Since when the oldest of these failures waits; null if there are none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn oldest_pending_at(&self) -> Option<DateTime<Utc>> {
        self.0.signs.oldest_pending_at
    }

    /// The median time from the request until a change of this connection took effect, in
    /// milliseconds. It covers the changes of the last day that are among the organization's latest
    /// 5,000; null if there are none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn median_effect_milliseconds(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<f64>> {
        Ok(loaders::load_one(ctx, EffectTimeOf(self.0.connection))
            .await?
            .map(|micros| micros as f64 / 1_000.0))
    }
}

/// How urgent an item of `attention` is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "action_items::ActionUrgency")]
pub enum AttentionUrgency {
    /// Access no longer follows the identity provider.
    Critical,
    /// Access follows the identity provider, but not for all users, or not for much longer.
    Warning,
    /// An administrator should make a decision.
    Notice,
}

/// What an item of `attention` is about.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "action_items::ActionKind")]
pub enum AttentionKind {
    /// A connection is not healthy.
    Connection,
    /// The last token of a connection ends soon.
    TokenEnds,
    /// The last certificate of a connection that accepts responses of SAML ends within 30 days, or
    /// has ended.
    CertificateEnds,
    /// A sync run waits for approval.
    RunWaits,
    /// Failures of one connection with the same cause wait in the review queue.
    Failures,
    /// Accounts or memberships differ from those of an identity provider, or users who left there
    /// are active in rolecall.
    Findings,
    /// Adoption proposals wait for a decision.
    Proposals,
    /// API keys end soon.
    KeysEnd,
    /// API keys that live longer than 30 days have no owner.
    KeysWithoutOwner,
    /// The planned end of role mappings or grants comes soon.
    AccessEnds,
    /// The database of this server does not take writes.
    Storage,
    /// At least 100 sign-ins failed within a day.
    SignInsFail,
    /// Memberships stay although the sign-ins that made them are too old, because no other account
    /// holds a management role.
    ClaimsKept,
    /// Connections do not read their sources, because provisioning is turned off or not available.
    SourcesHeld,
    /// A destination does not take what it is told, or lags far behind.
    Destination,
    /// Deliveries to destinations were given up.
    Deliveries,
    /// A destination has not taken that accounts left, for longer than the threshold of the rule
    /// `REVOCATION_NOT_RECEIVED`.
    RevocationNotReceived,
    /// The DNS does not prove a domain any more.
    DomainLost,
    /// No record proves domains, and sign-ins make accounts only inside proven ones.
    DomainsUnproven,
    /// Invitations end within two days, and were not accepted.
    InvitationsEnd,
    /// Invitations wait although the people came, because they would give more than their makers
    /// might.
    InvitationsHeld,
}

/// An item of `attention` as the schema shows it.
pub struct AttentionItem(ActionItem);

/// Something that an administrator should act on now, and what to do about it.
#[Object]
impl AttentionItem {
    /// What it is about.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AttentionKind {
        self.0.kind.into()
    }

    /// How urgent it is.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn urgency(&self) -> AttentionUrgency {
        self.0.urgency.into()
    }

    /// What was found, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> &str {
        &self.0.text
    }

    /// What to do.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> &str {
        &self.0.next
    }

    /// How many failures, keys, grants or the like the item stands for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> i32 {
        relay::to_graphql_int(self.0.count)
    }

    /// Since when it waits. For tokens, keys, mappings and grants that end: when the first of them
    /// ends. Null if that is not known.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn at(&self) -> Option<DateTime<Utc>> {
        self.0.at
    }

    /// The connection that it is about; null if it is not about one, and after the connection was
    /// deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The sync run that waits; null if it is not about one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn sync_run(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<SyncRun>> {
        let Some(id) = self.0.run else { return Ok(None) };
        Ok(loaders::load_one(ctx, SyncRunId(id)).await?.map(Into::into))
    }

    /// Why the writes failed; null if it is not about failures.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn cause(&self) -> Option<FailureCause> {
        self.0.cause.map(Into::into)
    }
}

/// Everything that an administrator should act on now, the most urgent first.
pub async fn list_attention_items(ctx: &Context<'_>) -> Result<Vec<AttentionItem>> {
    Ok(action_items::list_action_items(relay::cx(ctx)?)
        .await?
        .into_iter()
        .map(AttentionItem)
        .collect())
}
