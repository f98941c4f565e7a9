//! Alerts: mail and events for administrators when something is wrong.
//!
//! [`conditions`] finds what is wrong now; most of it is what `attention` shows, from the same
//! functions. [`evaluation`] compares it with the alerts that are raised: each begins and ends with
//! an event, and stays one alert for as long as its cause lasts. [`recipient`] holds the addresses
//! that get mail, and [`digest`] writes it. What must never enter: sending.

mod conditions;
pub mod digest;
mod evaluation;
pub mod recipient;
#[cfg(test)]
mod tests;

use chrono::Duration;
use entity::{alert, alert_rule};
use sea_orm::{
    ActiveEnum, ColumnTrait, EntityTrait, Iterable, PaginatorTrait, QueryFilter, Select,
};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx};
use crate::domain::audit::revocation;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use alert::{Kind, Model as Alert, Urgency};
pub use evaluation::{evaluate_due, evaluate_organization, forget_resolved};

/// What the threshold of a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdUnit {
    Minutes,
    Hours,
    Days,
    Percent,
}

/// The threshold of a rule: its default, what it counts, and what an organization may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    pub default: i64,
    pub unit: ThresholdUnit,
    pub least: i64,
    pub most: i64,
}

/// What follows from the kind of a rule.
pub trait AlertKind {
    /// Every rule, in the order in which they are listed.
    fn all() -> Vec<Kind>;
    /// The threshold that an organization may set; none = the rule has none.
    fn threshold(self) -> Option<Threshold>;
    /// Whether mail about it is repeated every day while it lasts.
    fn repeats(self) -> bool;
    /// It is not over before this time: what happened at one moment must be seen by people.
    fn lasts_at_least(self) -> Duration;
}

impl AlertKind for Kind {
    fn all() -> Vec<Kind> {
        Kind::iter().collect()
    }

    fn threshold(self) -> Option<Threshold> {
        let (default, unit, least, most) = match self {
            Kind::FailuresWait => (24, ThresholdUnit::Hours, 1, 720),
            Kind::CredentialOld => (365, ThresholdUnit::Days, 30, 3_650),
            Kind::MassDeprovisioning => (10, ThresholdUnit::Percent, 1, 100),
            Kind::ComparisonMissing => (30, ThresholdUnit::Days, 1, 365),
            Kind::RevocationNotReceived => {
                (revocation::DEFAULT_OBJECTIVE_MINUTES, ThresholdUnit::Minutes, 1, 1_440)
            }
            Kind::ConnectionStalled
            | Kind::CredentialEnds
            | Kind::RunWaits
            | Kind::LedgerBroken
            | Kind::ExportMade
            | Kind::BootstrapKeyAlive
            | Kind::DestinationFails => return None,
        };
        Some(Threshold { default, unit, least, most })
    }

    fn repeats(self) -> bool {
        match self {
            Kind::ConnectionStalled
            | Kind::FailuresWait
            | Kind::CredentialOld
            | Kind::RunWaits
            | Kind::ComparisonMissing
            | Kind::LedgerBroken
            | Kind::BootstrapKeyAlive
            | Kind::DestinationFails
            | Kind::RevocationNotReceived => true,
            // It is reported again when the end is nearer.
            Kind::CredentialEnds => false,
            // They tell of what happened, which does not go on.
            Kind::MassDeprovisioning | Kind::ExportMade => false,
        }
    }

    fn lasts_at_least(self) -> Duration {
        match self {
            Kind::MassDeprovisioning => Duration::days(1),
            _ => Duration::zero(),
        }
    }
}

/// A rule as it is in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertRule {
    pub kind: Kind,
    pub enabled: bool,
    /// Whether recipients get mail about its alerts.
    pub by_mail: bool,
    /// None if the rule has none.
    pub threshold: Option<i64>,
}

impl AlertRule {
    fn of(kind: Kind, stored: Option<&alert_rule::Model>) -> Self {
        let chosen = stored.and_then(|row| row.threshold);
        Self {
            kind,
            enabled: stored.is_none_or(|row| row.enabled),
            by_mail: stored.is_none_or(|row| row.by_mail),
            threshold: kind.threshold().map(|known| chosen.unwrap_or(known.default)),
        }
    }
}

/// The rules of the organization, all of them.
pub async fn list_rules(cx: &Cx) -> Result<Vec<AlertRule>> {
    cx.allow(Action::ReadIam, None)?;
    let stored = cx.find::<alert_rule::Entity>().all(cx.db()).await?;
    let rule = |kind: Kind| AlertRule::of(kind, stored.iter().find(|stored| stored.kind == kind));
    Ok(Kind::all().into_iter().map(rule).collect())
}

/// What to change of a rule; none = unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleEdit {
    pub enabled: Option<bool>,
    pub by_mail: Option<bool>,
    /// The inner none = the default.
    #[allow(clippy::option_option, reason = "unchanged, and the default")]
    pub threshold: Option<Option<i64>>,
}

/// Changes a rule of the organization.
///
/// # Errors
/// [`Error::Invalid`] for a threshold that the rule cannot have.
pub async fn set_rule(cx: &Cx, kind: Kind, edit: RuleEdit) -> Result<AlertRule> {
    cx.allow(Action::WriteConnection, None)?;
    check_threshold(kind, edit.threshold.flatten())?;
    let rule = cx
        .write(move |tx| {
            Box::pin(async move {
                let query = tx.find::<alert_rule::Entity>();
                let query = query.filter(alert_rule::Column::Kind.eq(kind));
                let known = crate::domain::lock_row(tx, query).await?;
                let before = AlertRule::of(kind, known.as_ref());
                let chosen = known.as_ref().and_then(|row| row.threshold);
                let row = alert_rule::Model {
                    organization_id: tx.organization(),
                    kind,
                    enabled: edit.enabled.unwrap_or(before.enabled),
                    by_mail: edit.by_mail.unwrap_or(before.by_mail),
                    threshold: edit.threshold.unwrap_or(chosen),
                    updated_at: tx.now_after(known.as_ref().map(|row| row.updated_at)),
                };
                let after = AlertRule::of(kind, Some(&row));
                if after == before {
                    return Ok(Change::unchanged(before));
                }
                let entry = NewEvent {
                    kind: EventKind::AlertRuleUpdated,
                    subject: EventSubject { kind: "organization", id: tx.organization() },
                    connection: None,
                    at: row.updated_at,
                    before: Some(describe_rule(before)),
                    after: Some(describe_rule(after)),
                    population: 0,
                    name: None,
                };
                match known {
                    Some(_) => {
                        crate::domain::save_row::<alert_rule::Entity, alert_rule::ActiveModel>(
                            tx, row,
                        )
                        .await?
                    }
                    None => {
                        let row = alert_rule::ActiveModel::from(row);
                        alert_rule::Entity::insert(row).exec_without_returning(&tx.db).await?;
                    }
                }
                Ok(Change::recorded(after, entry))
            })
        })
        .await?;
    // What the rule finds is reported at once, and not only with the next evaluation.
    evaluation::evaluate_soon(cx).await?;
    Ok(rule)
}

fn check_threshold(kind: Kind, threshold: Option<i64>) -> Result<()> {
    match (threshold, kind.threshold()) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Error::invalid("threshold", "this rule has no threshold")),
        (Some(chosen), Some(known)) if (known.least..=known.most).contains(&chosen) => Ok(()),
        (Some(_), Some(Threshold { least, most, .. })) => {
            Err(Error::invalid("threshold", format!("must be between {least} and {most}")))
        }
    }
}

fn describe_rule(rule: AlertRule) -> serde_json::Value {
    json!({
        "kind": rule.kind.to_value(), "enabled": rule.enabled, "byMail": rule.by_mail,
        "threshold": rule.threshold,
    })
}

/// The wanted alerts: those that match all conditions; none and an empty list = any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertQuery {
    pub kinds: Vec<Kind>,
    /// Alerts that are raised now (true), or over (false).
    pub raised: Option<bool>,
    pub connection: Option<Uuid>,
}

fn select_alerts(cx: &Cx, which: &AlertQuery) -> Select<alert::Entity> {
    let mut query = cx.find::<alert::Entity>();
    if !which.kinds.is_empty() {
        query = query.filter(alert::Column::Kind.is_in(which.kinds.iter().copied()));
    }
    query = match which.raised {
        Some(true) => query.filter(alert::Column::ResolvedAt.is_null()),
        Some(false) => query.filter(alert::Column::ResolvedAt.is_not_null()),
        None => query,
    };
    if let Some(connection) = which.connection {
        query = query.filter(alert::Column::ConnectionId.eq(connection));
    }
    query
}

/// A page of alerts, each with its place in the order `by`.
pub async fn list_alerts(
    cx: &Cx,
    which: &AlertQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Alert, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_alerts(cx, which), alert::Column::Id, by, keyset).await
}

/// How many alerts there are.
pub async fn count_alerts(cx: &Cx, which: &AlertQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_alerts(cx, which).count(cx.db()).await?)
}

/// The alerts among `ids`.
pub async fn alerts_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Alert>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<alert::Entity>().filter(alert::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}
