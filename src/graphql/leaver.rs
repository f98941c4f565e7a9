//! Who left, and how long it took until they held nothing.

use std::borrow::Cow;

use async_graphql::{Context, ID, Object, SimpleObject, TypeName};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::event::Event;
use super::loaders::{self, EventId, UserId};
use super::page::{self, Kind, Page, Window};
use super::user::User;
use crate::domain::evidence;
use crate::error::{Error, Result};

/// Somebody who left.
pub struct Leaver(evidence::Leaver);

impl TypeName for Leaver {
    fn type_name() -> Cow<'static, str> {
        "Leaver".into()
    }
}

/// Somebody who left: an account that was suspended or deleted.
#[Object(name_type)]
impl Leaver {
    /// The account's global id; null where everybody was deleted at once.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn user_id(&self) -> Option<ID> {
        (!self.0.user_id.is_nil()).then(|| page::global(Kind::User, self.0.user_id))
    }

    /// The account, if it is there now: only suspended, or back.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(loaders::one(ctx, UserId(self.0.user_id)).await?.map(Into::into))
    }

    /// The user name as it last was; null after an erasure.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user_name(&self) -> Option<&str> {
        self.0.user_name.as_deref()
    }

    /// How many accounts it concerned: one, but where everybody was deleted at once.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn user_count(&self) -> i32 {
        page::count(self.0.accounts().unsigned_abs())
    }

    /// When the request arrived.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn requested_at(&self) -> DateTime<Utc> {
        self.0.requested_at
    }

    /// From when on the account held nothing.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn revoked_at(&self) -> DateTime<Utc> {
        self.0.at
    }

    /// How long that took, in milliseconds.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn milliseconds(&self) -> f64 {
        milliseconds(self.0.microseconds())
    }

    /// Whether the account is in use again.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn active_now(&self) -> bool {
        self.0.active_now()
    }

    /// The change itself: who asked, and under which request.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn event(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Event>> {
        Ok(loaders::one(ctx, EventId(self.0.event_id)).await?.map(Into::into))
    }
}

/// How long it took from the request until an account held nothing.
#[derive(SimpleObject)]
pub struct RevocationTimes {
    /// How many left.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    count: i32,
    /// How many of them within the objective.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    within_objective: i32,
    /// The median, in milliseconds.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    median_milliseconds: f64,
    /// The 95th percentile, in milliseconds.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    p95_milliseconds: f64,
    /// The 99th percentile, in milliseconds.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    p99_milliseconds: f64,
    /// The longest, in milliseconds.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    longest_milliseconds: f64,
}

fn milliseconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1_000.0
}

/// Between two instants; left out = since ever, until now.
fn between(
    ctx: &Context<'_>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
    let now = page::cx(ctx)?.app.clock.now();
    Ok((since.unwrap_or(DateTime::UNIX_EPOCH), until.unwrap_or(now)))
}

/// A page of those who left.
pub async fn leavers(
    ctx: &Context<'_>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    window: Window,
) -> Result<Option<Page<Leaver>>> {
    let (from, to) = between(ctx, since, until)?;
    let cx = page::cx(ctx)?;
    let keyset = window.keyset(true)?;
    let total = if page::counted(ctx) { evidence::revocation(cx, from, to, 0).await?.count } else { 0 };
    let rows = evidence::leavers(cx, from, to, &keyset).await?.map(Leaver);
    Ok(Some(Page::new(rows, |row: &Leaver| row.0.pos, total)))
}

/// How long it took them.
pub async fn revocation(
    ctx: &Context<'_>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    objective_seconds: i32,
) -> Result<Option<RevocationTimes>> {
    let objective = i64::from(objective_seconds) * 1_000_000;
    if objective < 0 {
        return Err(Error::invalid("objectiveSeconds", "must not be negative"));
    }
    let (from, to) = between(ctx, since, until)?;
    let found = evidence::revocation(page::cx(ctx)?, from, to, objective).await?;
    Ok(Some(RevocationTimes {
        count: page::count(found.count),
        within_objective: page::count(found.within),
        median_milliseconds: milliseconds(found.median),
        p95_milliseconds: milliseconds(found.p95),
        p99_milliseconds: milliseconds(found.p99),
        longest_milliseconds: milliseconds(found.longest),
    }))
}
