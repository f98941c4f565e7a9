//! Leavers: accounts that were suspended or deleted, and how long it took until they held no role.

use std::borrow::Cow;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, TypeName};
use chrono::{DateTime, Duration, Utc};

use super::delivery::DeliveryObject;
use super::event::EventObject;
use super::list_filter::LeaverFilter;
use super::loaders::{self, EventId, UserId};
use super::order::{LeaverOrder, ListOrder};
use super::permission::{Permission, needs};
use super::user::UserObject;
use crate::domain::audit::evidence;
use crate::domain::audit::revocation;
use crate::error::{Error, Noun, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::User, "userId")], fields: &[] };

/// A leaver as the schema shows it.
pub struct LeaverObject(evidence::LeaverRow);

impl TypeName for LeaverObject {
    fn type_name() -> Cow<'static, str> {
        "Leaver".into()
    }
}

/// A leaver: an account that was suspended or deleted.
#[Object(name_type)]
impl LeaverObject {
    /// The account's global id; null if all accounts that came through SCIM were deleted at once.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn user_id(&self) -> Option<ID> {
        (!self.0.user_id.is_nil()).then(|| relay::global_id(NodeKind::User, self.0.user_id))
    }

    /// The account, also if it was reactivated or restored since; null while it is deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        Ok(loaders::load_one(ctx, UserId(self.0.user_id)).await?.map(Into::into))
    }

    /// The latest user name; null after an erasure, and if all accounts were deleted at once.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user_name(&self) -> Option<&str> {
        self.0.user_name.as_deref()
    }

    /// How many accounts left by this change: 1, or more if all accounts were deleted at once.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn user_count(&self) -> i32 {
        relay::to_graphql_int(self.0.account_count().unsigned_abs())
    }

    /// When the request for this change arrived.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn requested_at(&self) -> DateTime<Utc> {
        self.0.requested_at
    }

    /// From when on the account held no role.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn revoked_at(&self) -> DateTime<Utc> {
        self.0.at
    }

    /// The time from `requestedAt` to `revokedAt`, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn milliseconds(&self) -> f64 {
        to_milliseconds(self.0.revocation_microseconds())
    }

    /// How many destinations get the event: those that have a delivery of it.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn destination_count(&self) -> i32 {
        relay::to_graphql_int(self.0.handed.unsigned_abs())
    }

    /// How many of them took it. That proves nothing about sessions: see `confirmedCount`.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn received_count(&self) -> i32 {
        relay::to_graphql_int(self.0.received.unsigned_abs())
    }

    /// When it was handed to the first destination; null before.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn handed_at(&self) -> Option<DateTime<Utc>> {
        self.0.handed_at
    }

    /// When the last of the destinations that took it did so (a status of 2xx); null before.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn received_at(&self) -> Option<DateTime<Utc>> {
        self.0.received_at
    }

    /// The time from `requestedAt` until every destination took it, in milliseconds; null until
    /// then, and if there is no destination.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn receipt_milliseconds(&self) -> Option<f64> {
        self.0.receipt_microseconds().map(to_milliseconds)
    }

    /// The deliveries of this event, one for each destination, at most 100; they are kept for 30
    /// days. One that was not received can be tried again (`deliveryRetry`).
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn deliveries(&self, ctx: &Context<'_>) -> Result<Option<Vec<DeliveryObject>>> {
        let cx = relay::cx(ctx)?;
        let found = revocation::deliveries_of(cx, self.0.user_id, self.0.event_id).await?;
        Ok(Some(found.into_iter().map(Into::into).collect()))
    }

    /// Of how many accounts an application confirmed that their sessions ended
    /// (`revocationConfirm`).
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn confirmed_count(&self) -> i32 {
        relay::to_graphql_int(self.0.confirmed.unsigned_abs())
    }

    /// When the last sessions ended, as the applications say; null while none has said so.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn sessions_ended_at(&self) -> Option<DateTime<Utc>> {
        self.0.sessions_ended_at
    }

    /// The time from `requestedAt` to `sessionsEndedAt`, in milliseconds; null until an application
    /// has confirmed it of each account.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn confirmation_milliseconds(&self) -> Option<f64> {
        self.0.confirmation_microseconds().map(to_milliseconds)
    }

    /// What applications confirmed, at most 100.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn confirmations(
        &self,
        ctx: &Context<'_>,
    ) -> Result<Option<Vec<RevocationConfirmationObject>>> {
        let found = revocation::confirmations_of(relay::cx(ctx)?, self.0.event_id).await?;
        Ok(Some(found.into_iter().map(Into::into).collect()))
    }

    /// Whether the account is active again.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn active_now(&self) -> bool {
        self.0.active_now()
    }

    /// The event of this change: who made it, and in which request.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn event(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        Ok(loaders::load_one(ctx, EventId(self.0.event_id)).await?.map(Into::into))
    }
}

/// How long it took from the request until a leaver held no role, for all leavers of a period. The
/// times are 0 if there were none.
#[derive(SimpleObject)]
pub struct RevocationTimes {
    /// How many leavers there were.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    count: i32,
    /// How many of them held no role within the objective.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    within_objective: i32,
    /// The median, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    median_milliseconds: f64,
    /// The 95th percentile, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    p95_milliseconds: f64,
    /// The 99th percentile, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    p99_milliseconds: f64,
    /// The longest, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    longest_milliseconds: f64,
    /// How many leavers there were in each range of times, the shortest first, empty ranges too.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    buckets: Vec<RevocationTimeBucket>,
    /// How long it took until every destination took the event, of the leavers of which all did.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    received: DownstreamTimes,
    /// How long it took until their sessions ended, of the leavers of which applications confirmed
    /// it.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    confirmed: DownstreamTimes,
}

/// A range of revocation times, and how many leavers are in it.
#[derive(SimpleObject)]
pub struct RevocationTimeBucket {
    /// The shortest time of the range, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    from_milliseconds: f64,
    /// The time at which the next range begins, in milliseconds; null for the last range.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    to_milliseconds: Option<f64>,
    /// How many leavers are in the range.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    count: i32,
}

impl From<evidence::RevocationBucket> for RevocationTimeBucket {
    fn from(bucket: evidence::RevocationBucket) -> Self {
        Self {
            from_milliseconds: to_milliseconds(bucket.from),
            to_milliseconds: bucket.to.map(to_milliseconds),
            count: relay::to_graphql_int(bucket.count),
        }
    }
}

/// How long it took from the request until something happened outside. The times are 0 if it has
/// not happened to any leaver.
#[derive(SimpleObject)]
pub struct DownstreamTimes {
    /// To how many leavers it happened.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    count: i32,
    /// The objective, in seconds: the threshold of the rule `REVOCATION_NOT_RECEIVED` of the
    /// organization.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    objective_seconds: i32,
    /// To how many of them it happened within the objective.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    within_objective: i32,
    /// The median, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    median_milliseconds: f64,
    /// The 95th percentile, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    p95_milliseconds: f64,
    /// The 99th percentile, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    p99_milliseconds: f64,
    /// The longest, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    longest_milliseconds: f64,
}

impl DownstreamTimes {
    fn of(found: evidence::DownstreamSummary, objective: Duration) -> Self {
        Self {
            count: relay::to_graphql_int(found.count),
            objective_seconds: relay::to_graphql_int(objective.num_seconds().unsigned_abs()),
            within_objective: relay::to_graphql_int(found.within),
            median_milliseconds: to_milliseconds(found.median),
            p95_milliseconds: to_milliseconds(found.p95),
            p99_milliseconds: to_milliseconds(found.p99),
            longest_milliseconds: to_milliseconds(found.longest),
        }
    }
}

/// A confirmation as the schema shows it.
pub struct RevocationConfirmationObject(revocation::RevocationConfirmation);

impl From<revocation::RevocationConfirmation> for RevocationConfirmationObject {
    fn from(row: revocation::RevocationConfirmation) -> Self {
        Self(row)
    }
}

/// What an application confirmed of a leaver: when it ended the account's sessions.
#[Object(name = "RevocationConfirmation")]
impl RevocationConfirmationObject {
    /// The account's global id.
    #[graphql(directive = needs::apply(None))]
    async fn user_id(&self) -> ID {
        relay::global_id(NodeKind::User, self.0.user_id)
    }

    /// When the last session ended, as the application says.
    #[graphql(directive = needs::apply(None))]
    async fn ended_at(&self) -> DateTime<Utc> {
        self.0.ended_at
    }

    /// When the application said so.
    #[graphql(directive = needs::apply(None))]
    async fn confirmed_at(&self) -> DateTime<Utc> {
        self.0.confirmed_at
    }

    /// The event of the confirmation: which application said so.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn event(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        Ok(loaders::load_one(ctx, EventId(self.0.confirmation_id)).await?.map(Into::into))
    }
}

/// What to confirm.
#[derive(InputObject)]
pub struct RevocationConfirmInput {
    /// The account's global id, as the events of the application name it.
    user_id: ID,
    /// When the application ended the account's last session: not before the account was suspended
    /// or deleted, and not in the future. Clocks may differ by a minute.
    ended_at: DateTime<Utc>,
}

mutation_payloads! {
    revocation_payloads;
    /// The confirmation; null if there were mistakes.
    confirmation: RevocationConfirmationObject;
    /// The result of `revocationConfirm`.
    RevocationConfirmPayload,
}

#[derive(Default)]
pub struct RevocationMutation;

#[Object]
impl RevocationMutation {
    /// Confirms that an application ended all sessions of an account that was suspended or deleted.
    /// An application calls it after it has done so. Each key confirms for itself; a second
    /// confirmation replaces its first.
    #[graphql(directive = needs::apply(Some(Permission::RevocationConfirm)))]
    async fn revocation_confirm(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to confirm.")] input: RevocationConfirmInput,
    ) -> Result<Option<RevocationConfirmPayload>> {
        let done = async {
            let id = relay::parse_input_id(NodeKind::User, &input.user_id, Noun::User)?;
            revocation::confirm_revocation(relay::cx(ctx)?, id, input.ended_at).await
        };
        RevocationConfirmPayload::from_result(done.await, FIELD_MAP)
    }
}

fn to_milliseconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1_000.0
}

/// The beginning and the end of a period; left out = 1970, and now.
fn resolve_period(
    ctx: &Context<'_>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
    let now = relay::cx(ctx)?.app.clock.now();
    Ok((since.unwrap_or(DateTime::UNIX_EPOCH), until.unwrap_or(now)))
}

/// A page of the leavers of a period.
pub async fn list_leavers(
    ctx: &Context<'_>,
    filter: LeaverFilter,
    order_by: Option<LeaverOrder>,
    window: PageArguments,
) -> Result<Option<RelayPage<LeaverObject>>> {
    let (from, to) = resolve_period(ctx, filter.since, filter.until)?;
    let cx = relay::cx(ctx)?;
    let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
    let keyset = window.to_keyset(ctx, order.descending)?;
    let total = if relay::selects_total_count(ctx) {
        evidence::measure_revocation(cx, from, to, 0, 0).await?.count
    } else {
        0
    };
    let rows = evidence::list_leavers(cx, from, to, &keyset).await?.map(LeaverObject);
    Ok(Some(RelayPage::new(rows, |row: &LeaverObject| row.0.pos, total)))
}

/// The revocation times of the leavers of a period.
pub async fn measure_revocation(
    ctx: &Context<'_>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    objective_seconds: i32,
) -> Result<Option<RevocationTimes>> {
    let objective = i64::from(objective_seconds) * 1_000_000;
    if objective < 0 {
        return Err(Error::invalid("objectiveSeconds", "must not be negative"));
    }
    let (from, to) = resolve_period(ctx, since, until)?;
    let cx = relay::cx(ctx)?;
    let downstream = revocation::downstream_objective(cx).await?;
    let micros = downstream.num_microseconds().unwrap_or(i64::MAX);
    let found = evidence::measure_revocation(cx, from, to, objective, micros).await?;
    Ok(Some(RevocationTimes {
        count: relay::to_graphql_int(found.count),
        within_objective: relay::to_graphql_int(found.within),
        median_milliseconds: to_milliseconds(found.median),
        p95_milliseconds: to_milliseconds(found.p95),
        p99_milliseconds: to_milliseconds(found.p99),
        longest_milliseconds: to_milliseconds(found.longest),
        buckets: found.buckets.into_iter().map(Into::into).collect(),
        received: DownstreamTimes::of(found.received, downstream),
        confirmed: DownstreamTimes::of(found.confirmed, downstream),
    }))
}
