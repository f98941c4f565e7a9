//! Leavers: from the request that suspended or deleted an account to the instant from which it held
//! no role.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use serde_json::Value;
use uuid::Uuid;

use super::{
    ROWS_PER_BATCH, ReportBatch, ReportPlace, id_cell, instant_cell, optional_instant_cell,
};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::audit::event::count_population;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::nearest_rank;
use crate::domain::paging;
use crate::domain::paging::{Keyset, Slice};
use crate::error::Result;

/// The columns of the report on leavers: a row for each person who lost access.
pub const LEAVER_COLUMNS: &[&str] = &[
    "ledger_sequence",
    "user_id",
    "user_name",
    "accounts",
    "action",
    "requested_at",
    "revoked_at",
    "milliseconds_to_revocation",
    "requested_by",
    "request_id",
    "active_now",
    "destinations",
    "destinations_received",
    "handed_at",
    "received_at",
    "milliseconds_to_receipt",
    "accounts_confirmed",
    "sessions_ended_at",
    "milliseconds_to_confirmation",
];

/// The index of leavers contains exactly these rows.
const LEFT_CONDITION: &str = "e.action IN ('user.suspended', 'user.deleted', 'users.deleted_all')";

/// SQL: for how many accounts of the event `e` an application confirmed the end of sessions.
const CONFIRMED: &str = "(SELECT count(DISTINCT c.user_id) FROM revocation_confirmation c \
                         WHERE c.organization_id = e.organization_id AND c.event_id = e.id)";
/// SQL: when the last of these sessions ended.
const SESSIONS_ENDED: &str = "(SELECT max(c.ended_at) FROM revocation_confirmation c \
                              WHERE c.organization_id = e.organization_id AND c.event_id = e.id)";

/// SQL: the deliveries about the event `e`.
macro_rules! of_deliveries {
    ($what:literal) => {
        concat!(
            "(SELECT ",
            $what,
            " FROM delivery d WHERE d.organization_id = e.organization_id \
             AND d.subject_id = e.subject_id AND d.event_id = e.id)"
        )
    };
}

/// SQL: how many destinations the event `e` was handed to.
const HANDED: &str = of_deliveries!("count(*)");
/// SQL: how many of them took it.
const RECEIVED: &str = of_deliveries!("count(d.received_at)");
/// SQL: when it was handed to the first of them.
const HANDED_AT: &str = of_deliveries!("min(d.first_at)");
/// SQL: when the last of them took it.
const RECEIVED_AT: &str = of_deliveries!("max(d.received_at)");

/// An account that was suspended or deleted; or all accounts, if all were deleted at once.
#[derive(Debug, Clone, FromQueryResult)]
pub struct LeaverRow {
    pub pos: i64,
    pub seq: Option<i64>,
    pub event_id: Uuid,
    /// Nil if all accounts were deleted at once.
    pub user_id: Uuid,
    /// None after an erasure, and if all accounts were deleted at once.
    pub user_name: Option<String>,
    pub action: String,
    pub requested_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub actor_name: String,
    pub request_id: Uuid,
    pub population: i64,
    /// Whether the account is active again.
    pub active: Option<bool>,
    pub deleted_at: Option<DateTime<Utc>>,
    /// How many destinations it was handed to, and how many of them took it.
    pub handed: i64,
    pub received: i64,
    /// When it was handed to the first of them.
    pub handed_at: Option<DateTime<Utc>>,
    /// When the last of those that took it did so.
    pub received_at: Option<DateTime<Utc>>,
    /// How many of the accounts an application confirmed the end of sessions for.
    pub confirmed: i64,
    /// When the last sessions ended, as applications say.
    pub sessions_ended_at: Option<DateTime<Utc>>,
}

impl LeaverRow {
    /// Microseconds from the request to the instant from which the account held no role.
    pub fn revocation_microseconds(&self) -> i64 {
        (self.at - self.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0)
    }

    /// Microseconds from the request until every destination took it; none until then, and if
    /// there is none.
    pub fn receipt_microseconds(&self) -> Option<i64> {
        let all = self.handed > 0 && self.received >= self.handed;
        let received = self.received_at.filter(|_| all)?;
        Some((received - self.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0))
    }

    /// Microseconds from the request to the end of the last sessions, as applications say; none
    /// until one of them says so of each account.
    pub fn confirmation_microseconds(&self) -> Option<i64> {
        let ended = self.sessions_ended_at.filter(|_| self.confirmed >= self.account_count())?;
        Some((ended - self.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0))
    }

    /// How many accounts it concerned.
    pub fn account_count(&self) -> i64 {
        if self.user_id.is_nil() { -self.population } else { 1 }
    }

    /// Whether the account may be used now.
    pub fn active_now(&self) -> bool {
        self.active == Some(true) && self.deleted_at.is_none()
    }
}

/// The leavers between two instants, in the order of the ledger.
pub async fn list_leavers(
    cx: &Cx,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    keyset: &Keyset<i64>,
) -> Result<Slice<LeaverRow>> {
    cx.allow(Action::ReadLedger, None)?;
    let mut sql = cx.sql([from.into(), to.into()]);
    let bounds = paging::keyset_bounds("e.pos", keyset, &mut sql);
    let direction = paging::keyset_direction(keyset);
    sql.push(&format!(
        r#"SELECT e.pos, e.seq, e.id AS event_id, e.subject_id AS user_id, u.user_name, e.action,
           e.requested_at, e.at,
             e.actor_name, e.request_id, e.population, u.active, u.deleted_at,
             {HANDED} AS handed, {RECEIVED} AS received, {HANDED_AT} AS handed_at,
             {RECEIVED_AT} AS received_at,
             {CONFIRMED} AS confirmed, {SESSIONS_ENDED} AS sessions_ended_at
           FROM event_sealed e LEFT JOIN "user" u ON u.organization_id = e.organization_id
           AND u.id = e.subject_id AND u.purged_at IS NULL
           WHERE e.organization_id = $1 AND {LEFT_CONDITION} AND e.at >= $2 AND e.at < $3{bounds}
           ORDER BY e.pos {direction} LIMIT {}"#,
        keyset.limit + 1
    ));
    let statement = cx.build_statement(sql);
    Ok(paging::to_slice(LeaverRow::find_by_statement(statement).all(cx.db()).await?, keyset))
}

/// The ends of the ranges into which revocation times are counted, in microseconds. Times that are
/// longer than the last one are a range of their own.
const BUCKET_ENDS: [i64; 11] = [
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
    86_400_000_000,
];

/// How many revocations took at least `from` and less than `to`, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevocationBucket {
    pub from: i64,
    /// None for the last range, which has no end.
    pub to: Option<i64>,
    pub count: u64,
}

/// Counts sorted times in the ranges.
fn count_in_buckets(times: &[i64]) -> Vec<RevocationBucket> {
    let mut from = 0;
    let ends = BUCKET_ENDS.into_iter().map(Some).chain([None]);
    ends.map(|to| {
        let start = times.partition_point(|time| *time < from);
        let end = to.map_or(times.len(), |to| times.partition_point(|time| *time < to));
        let bucket = RevocationBucket { from, to, count: (end - start) as u64 };
        from = to.unwrap_or(from);
        bucket
    })
    .collect()
}

/// How long revocations took, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationSummary {
    pub count: u64,
    /// How many revocations took no longer than the objective.
    pub within: u64,
    pub median: i64,
    pub p95: i64,
    pub p99: i64,
    pub longest: i64,
    pub buckets: Vec<RevocationBucket>,
    /// The same until every destination took it, of the leavers of which they did.
    pub received: DownstreamSummary,
    /// The same until applications confirmed the end of sessions, of the leavers of which they did.
    pub confirmed: DownstreamSummary,
}

/// How long it took from the request until something happened outside, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DownstreamSummary {
    pub count: u64,
    pub within: u64,
    pub median: i64,
    pub p95: i64,
    pub p99: i64,
    pub longest: i64,
}

impl DownstreamSummary {
    fn of(times: impl Iterator<Item = i64>, objective: i64) -> Self {
        let mut times: Vec<i64> = times.collect();
        times.sort_unstable();
        let rank = |percent: usize| nearest_rank(&times, percent).unwrap_or_default();
        Self {
            count: times.len() as u64,
            within: times.iter().filter(|time| **time <= objective).count() as u64,
            median: rank(50),
            p95: rank(95),
            p99: rank(99),
            longest: times.last().copied().unwrap_or_default(),
        }
    }
}

#[derive(FromQueryResult)]
struct RevocationPercentiles {
    requested_at: DateTime<Utc>,
    at: DateTime<Utc>,
    population: i64,
    subject_id: Uuid,
    handed: i64,
    received: i64,
    received_at: Option<DateTime<Utc>>,
    confirmed: i64,
    sessions_ended_at: Option<DateTime<Utc>>,
}

impl RevocationPercentiles {
    fn receipt_microseconds(&self) -> Option<i64> {
        let all = self.handed > 0 && self.received >= self.handed;
        let received = self.received_at.filter(|_| all)?;
        Some((received - self.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0))
    }

    fn confirmation_microseconds(&self) -> Option<i64> {
        let accounts = if self.subject_id.is_nil() { -self.population } else { 1 };
        let ended = self.sessions_ended_at.filter(|_| self.confirmed >= accounts)?;
        Some((ended - self.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0))
    }
}

/// How long it took from the request until an account held no role, for all leavers between two
/// instants, compared with an objective.
pub async fn measure_revocation(
    cx: &Cx,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    objective: i64,
    downstream_objective: i64,
) -> Result<RevocationSummary> {
    cx.allow(Action::ReadLedger, None)?;
    let text = format!(
        "SELECT e.requested_at, e.at, e.population, e.subject_id, {HANDED} AS handed, \
         {RECEIVED} AS received, {RECEIVED_AT} AS received_at, {CONFIRMED} AS confirmed, \
         {SESSIONS_ENDED} AS sessions_ended_at FROM event e WHERE e.organization_id = $1 AND \
         {LEFT_CONDITION} AND e.at >= $2 AND e.at < $3"
    );
    let values = [from.into(), to.into()];
    let rows = RevocationPercentiles::find_by_statement(cx.statement(text, values));
    let took = |row: &RevocationPercentiles| {
        (row.at - row.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0)
    };
    let rows = rows.all(cx.db()).await?;
    let mut times: Vec<i64> = rows.iter().map(took).collect();
    times.sort_unstable();
    let received = rows.iter().filter_map(RevocationPercentiles::receipt_microseconds);
    let received = DownstreamSummary::of(received, downstream_objective);
    let confirmed = rows.iter().filter_map(RevocationPercentiles::confirmation_microseconds);
    let confirmed = DownstreamSummary::of(confirmed, downstream_objective);
    let rank = |percent: usize| nearest_rank(&times, percent).unwrap_or_default();
    Ok(RevocationSummary {
        received,
        confirmed,
        count: times.len() as u64,
        within: times.iter().filter(|time| **time <= objective).count() as u64,
        median: rank(50),
        p95: rank(95),
        p99: rank(99),
        longest: times.last().copied().unwrap_or_default(),
        buckets: count_in_buckets(&times),
    })
}

/// How many people left, and how many there were before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentLeavers {
    pub people: i64,
    pub before: i64,
}

/// How many people were suspended or deleted since an instant. The latest leavers are read, page by
/// page, until one is older: the cost does not grow with the ledger.
pub(in crate::domain) async fn count_recent_leavers(
    cx: &Cx,
    since: DateTime<Utc>,
) -> Result<RecentLeavers> {
    #[derive(FromQueryResult)]
    struct RecentLeaver {
        pos: i64,
        subject_id: Uuid,
        population: i64,
        at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT e.pos, e.subject_id, e.population, e.at FROM event e \
         WHERE e.organization_id = $1 AND {LEFT_CONDITION} AND e.pos < $2 \
         ORDER BY e.pos DESC LIMIT {ROWS_PER_BATCH}"
    );
    let (mut before, mut single, mut together, mut deleted) = (i64::MAX, HashSet::new(), 0, 0);
    loop {
        let page = RecentLeaver::find_by_statement(cx.statement(text.clone(), [before.into()]));
        let page = page.all(cx.db()).await?;
        let recent: Vec<&RecentLeaver> = page.iter().filter(|row| row.at >= since).collect();
        for row in &recent {
            if row.subject_id.is_nil() {
                together -= row.population;
            } else {
                single.insert(row.subject_id);
            }
            deleted -= row.population;
        }
        let complete = (page.len() as u64) < ROWS_PER_BATCH || recent.len() < page.len();
        match page.last() {
            Some(last) if !complete => before = last.pos,
            _ => break,
        }
    }
    let live = count_population(cx, "user", SubjectOwners::Any).await?;
    let live = i64::try_from(live).unwrap_or(i64::MAX);
    let single = i64::try_from(single.len()).unwrap_or(i64::MAX);
    Ok(RecentLeavers { people: single + together, before: live.saturating_add(deleted) })
}

/// The next rows of the report on leavers: people who left from `from` (included) to `to`
/// (excluded).
///
/// # Errors
/// Those of the database.
pub async fn read_leavers(
    cx: &Cx,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    place: Option<ReportPlace>,
) -> Result<ReportBatch> {
    let after = match place {
        Some(ReportPlace::AfterPos(pos)) => Some(pos),
        _ => None,
    };
    let found =
        list_leavers(cx, from, to, &Keyset { after, limit: ROWS_PER_BATCH, ..Default::default() })
            .await?;
    let next =
        found.rows.last().filter(|_| found.has_next).map(|row| ReportPlace::AfterPos(row.pos));
    let rows = found.rows.into_iter().map(|row| {
        vec![
            row.seq.into(),
            if row.user_id.is_nil() { Value::Null } else { id_cell(row.user_id) },
            row.user_name.clone().into(),
            row.account_count().into(),
            row.action.clone().into(),
            instant_cell(row.requested_at),
            instant_cell(row.at),
            (row.revocation_microseconds() as f64 / 1_000.0).into(),
            row.actor_name.clone().into(),
            id_cell(row.request_id),
            row.active_now().into(),
            row.handed.into(),
            row.received.into(),
            optional_instant_cell(row.handed_at),
            optional_instant_cell(row.received_at),
            row.receipt_microseconds()
                .map_or(Value::Null, |micros| (micros as f64 / 1_000.0).into()),
            row.confirmed.into(),
            optional_instant_cell(row.sessions_ended_at),
            row.confirmation_microseconds()
                .map_or(Value::Null, |micros| (micros as f64 / 1_000.0).into()),
        ]
    });
    Ok(ReportBatch { rows: rows.collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::EventKind;

    #[test]
    fn each_time_is_in_one_bucket() {
        let times = [0, 9_999, 10_000, 86_400_000_000, i64::MAX];
        let buckets = count_in_buckets(&times);
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 5);
        assert_eq!((buckets[0].count, buckets[1].count), (2, 1));
        assert_eq!(buckets.last().map(|last| (last.to, last.count)), Some((None, 2)));
    }

    #[test]
    fn index_holds_every_deprovisioning() {
        for kind in EventKind::ALL {
            assert_eq!(
                LEFT_CONDITION.contains(&format!("'{}'", kind.name())),
                kind.is_deprovisioning(),
                "{}",
                kind.name()
            );
        }
    }
}
