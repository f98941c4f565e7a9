//! Leavers: accounts that were suspended or deleted, and how long it took until they held no role.

use std::borrow::Cow;

use async_graphql::{Context, ID, Object, SimpleObject, TypeName};
use chrono::{DateTime, Utc};

use super::event::EventObject;
use super::list_filter::LeaverFilter;
use super::loaders::{self, EventId, UserId};
use super::order::{LeaverOrder, ListOrder};
use super::permission::{Permission, needs};
use super::user::UserObject;
use crate::domain::audit::evidence;
use crate::error::{Error, Result};
use crate::graphql::relay;
use crate::graphql::relay::{NodeKind, PageArguments, RelayPage};

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
        evidence::measure_revocation(cx, from, to, 0).await?.count
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
    let found = evidence::measure_revocation(relay::cx(ctx)?, from, to, objective).await?;
    Ok(Some(RevocationTimes {
        count: relay::to_graphql_int(found.count),
        within_objective: relay::to_graphql_int(found.within),
        median_milliseconds: to_milliseconds(found.median),
        p95_milliseconds: to_milliseconds(found.p95),
        p99_milliseconds: to_milliseconds(found.p99),
        longest_milliseconds: to_milliseconds(found.longest),
        buckets: found.buckets.into_iter().map(Into::into).collect(),
    }))
}
