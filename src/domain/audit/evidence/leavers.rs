//! Who left: from the request that suspended or deleted an account to the instant from which it held nothing.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::{BATCH, Batch, Place, id, instant};
use crate::authz::Action;
use crate::context::Cx;
use crate::domain::list::{self, Keyset, Slice};
use crate::domain::nearest_rank;
use crate::error::Result;

pub const COLUMNS: &[&str] = &[
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
];

/// The index of leavers holds exactly these rows.
const LEFT: &str = "e.action IN ('user.suspended', 'user.deleted', 'users.deleted_all')";

/// Somebody who left.
#[derive(Debug, Clone, FromQueryResult)]
pub struct Leaver {
    pub pos: i64,
    pub seq: Option<i64>,
    pub event_id: Uuid,
    /// Nil where everybody was deleted at once.
    pub user_id: Uuid,
    /// None when it was erased since, or where everybody was deleted at once.
    pub user_name: Option<String>,
    pub action: String,
    pub requested_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub actor_name: String,
    pub request_id: Uuid,
    pub population: i64,
    /// Whether the account is in use again.
    pub active: Option<bool>,
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Leaver {
    /// Microseconds from the request to the instant from which nothing was held.
    pub fn microseconds(&self) -> i64 {
        (self.at - self.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0)
    }

    /// How many accounts it concerned.
    pub fn accounts(&self) -> i64 {
        if self.user_id.is_nil() { -self.population } else { 1 }
    }

    /// Whether the account may be used now.
    pub fn active_now(&self) -> bool {
        self.active == Some(true) && self.deleted_at.is_none()
    }
}

/// Who left between two instants, in the order of the ledger.
pub async fn leavers(cx: &Cx, from: DateTime<Utc>, to: DateTime<Utc>, keyset: &Keyset<i64>) -> Result<Slice<Leaver>> {
    cx.allow(Action::ReadLedger, None)?;
    let mut values: Vec<sea_orm::Value> = vec![cx.organization().into(), from.into(), to.into()];
    let mut bounds = String::new();
    let (low, high) = if keyset.descending { (keyset.before, keyset.after) } else { (keyset.after, keyset.before) };
    for (operator, bound) in [(">", low), ("<", high)] {
        if let Some(bound) = bound {
            values.push(bound.into());
            bounds.push_str(&format!(" AND e.pos {operator} ${}", values.len()));
        }
    }
    let direction = if keyset.descending == keyset.backward { "ASC" } else { "DESC" };
    let text = format!(
        r#"SELECT e.pos, e.seq, e.id AS event_id, e.subject_id AS user_id, u.user_name, e.action, e.requested_at, e.at,
             e.actor_name, e.request_id, e.population, u.active, u.deleted_at
           FROM event_sealed e LEFT JOIN "user" u ON u.organization_id = e.organization_id AND u.id = e.subject_id AND u.purged_at IS NULL
           WHERE e.organization_id = $1 AND {LEFT} AND e.at >= $2 AND e.at < $3{bounds}
           ORDER BY e.pos {direction} LIMIT {}"#,
        keyset.limit + 1
    );
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    Ok(list::cut(Leaver::find_by_statement(statement).all(cx.db()).await?, keyset))
}

/// How long revocations took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revocation {
    pub count: u64,
    /// How many took no longer than the objective.
    pub within: u64,
    pub median: i64,
    pub p95: i64,
    pub p99: i64,
    pub longest: i64,
}

#[derive(FromQueryResult)]
struct Times {
    requested_at: DateTime<Utc>,
    at: DateTime<Utc>,
}

/// How long it took between two instants from the request until an account held nothing, against an objective.
pub async fn revocation(cx: &Cx, from: DateTime<Utc>, to: DateTime<Utc>, objective: i64) -> Result<Revocation> {
    cx.allow(Action::ReadLedger, None)?;
    let text = format!(
        "SELECT e.requested_at, e.at FROM event e WHERE e.organization_id = $1 AND {LEFT} AND e.at >= $2 AND e.at < $3"
    );
    let values = [cx.organization().into(), from.into(), to.into()];
    let rows = Times::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    let took = |row: &Times| (row.at - row.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0);
    let mut times: Vec<i64> = rows.all(cx.db()).await?.iter().map(took).collect();
    times.sort_unstable();
    let rank = |percent: usize| nearest_rank(&times, percent).unwrap_or_default();
    Ok(Revocation {
        count: times.len() as u64,
        within: times.iter().filter(|time| **time <= objective).count() as u64,
        median: rank(50),
        p95: rank(95),
        p99: rank(99),
        longest: times.last().copied().unwrap_or_default(),
    })
}

pub async fn read(cx: &Cx, from: DateTime<Utc>, to: DateTime<Utc>, place: Option<Place>) -> Result<Batch> {
    let after = match place {
        Some(Place::AfterPos(pos)) => Some(pos),
        _ => None,
    };
    let found = leavers(cx, from, to, &Keyset { after, limit: BATCH, ..Default::default() }).await?;
    let next = found.rows.last().filter(|_| found.has_next).map(|row| Place::AfterPos(row.pos));
    let rows = found.rows.into_iter().map(|row| {
        vec![
            row.seq.into(),
            if row.user_id.is_nil() { Value::Null } else { id(row.user_id) },
            row.user_name.clone().into(),
            row.accounts().into(),
            row.action.clone().into(),
            instant(row.requested_at),
            instant(row.at),
            (row.microseconds() as f64 / 1_000.0).into(),
            row.actor_name.clone().into(),
            id(row.request_id),
            row.active_now().into(),
        ]
    });
    Ok(Batch { rows: rows.collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::EventKind;

    #[test]
    fn index_holds_every_deprovisioning() {
        for kind in EventKind::ALL {
            assert_eq!(LEFT.contains(&format!("'{}'", kind.name())), kind.is_deprovisioning(), "{}", kind.name());
        }
    }
}
