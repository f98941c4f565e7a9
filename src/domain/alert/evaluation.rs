//! Compares what is wrong now with the alerts that are raised, raises and resolves them, and says
//! when mail about each is due.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{alert, alert_check};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult,
    IntoActiveModel, QueryFilter,
};
use serde_json::json;
use uuid::Uuid;

use super::conditions::{AlertCondition, find_conditions};
use super::{Alert, AlertKind, AlertRule, Kind, list_rules};
use crate::context::{App, Change, Cx};
use crate::domain::tenant::organization::is_open_condition;
use crate::error::Result;
use crate::ledger;
use crate::ledger::{CheckedPlace, EventKind, EventSubject, NewEvent};

/// Organizations that one run evaluates: those that wait longest.
const BATCH_SIZE: usize = 200;
/// Mail about the same alert is due at most this often.
const REPEAT_INTERVAL: Duration = Duration::days(1);
/// How often the newest part of a ledger is checked.
const LEDGER_CHECK_INTERVAL: Duration = Duration::hours(1);
/// How long an alert is kept after its end.
const RETENTION: Duration = Duration::days(90);

/// Evaluates the rules of the organizations that wait longest, each if its last evaluation is at
/// least `interval` ago, and a new organization not before it is as old. Returns how many alerts it
/// raised or resolved.
///
/// # Errors
/// The database's own.
pub async fn evaluate_due(app: &Arc<App>, interval: Duration) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct DueOrganization {
        organization_id: Uuid,
    }
    let text = format!(
        "SELECT o.id AS organization_id FROM organization o \
         LEFT JOIN alert_check c ON c.organization_id = o.id \
         WHERE o.suspended_at IS NULL AND coalesce(c.evaluated_at, o.created_at) <= $1 \
         ORDER BY c.evaluated_at IS NOT NULL, c.evaluated_at, o.id LIMIT {BATCH_SIZE}"
    );
    let before = app.clock.now() - interval;
    let reason = "which organizations were not evaluated for long";
    let statement = app.statement_for_all_organizations(text, [before.into()], reason);
    let due = DueOrganization::find_by_statement(statement).all(&app.store.read).await?;
    let mut changed = 0;
    for DueOrganization { organization_id } in due {
        let cx = &Cx::system(app.clone(), organization_id);
        match evaluate_organization(cx).await {
            Ok(n) => changed += n,
            // The rules of other organizations are still evaluated.
            Err(error) => {
                tracing::warn!(%error, organization = %organization_id, "evaluating the rules of \
                    alerts failed");
            }
        }
    }
    Ok(changed)
}

/// Makes the next run evaluate this organization, and makes it run soon.
pub(super) async fn evaluate_soon(cx: &Cx) -> Result<()> {
    let row = new_check(cx.organization(), DateTime::<Utc>::UNIX_EPOCH);
    let column = alert_check::Column::EvaluatedAt;
    let conflict =
        OnConflict::column(alert_check::Column::OrganizationId).update_column(column).to_owned();
    alert_check::Entity::insert(row.into_active_model())
        .on_conflict(conflict)
        .exec_without_returning(&cx.app.store.write)
        .await?;
    cx.app.alerts.notify_one();
    Ok(())
}

/// Evaluates the rules of one organization; returns how many alerts it raised or resolved.
///
/// # Errors
/// The database's own.
pub async fn evaluate_organization(cx: &Cx) -> Result<u64> {
    let now = cx.app.clock.now();
    let stored = cx.find::<alert_check::Entity>().one(&cx.app.store.write).await?;
    let evaluated_before = stored.as_ref().map(|check| check.evaluated_at);
    let check = check_ledger(cx, stored, now).await?;
    let rules = list_rules(cx).await?;
    let found = find_conditions(cx, &rules, check.ledger_fault.as_deref()).await?;
    let known = cx.find::<alert::Entity>().all(&cx.app.store.write).await?;
    let known: HashMap<(Kind, &str), &Alert> =
        known.iter().map(|row| ((row.kind, row.subject.as_str()), row)).collect();
    let mut changed = 0;
    for condition in &found {
        let before = known.get(&(condition.kind, condition.subject.as_str()));
        match before.filter(|row| row.resolved_at.is_none()) {
            Some(open) => update_open(cx, open, condition, now).await?,
            None => changed += raise_alert(cx, condition).await?,
        }
    }
    let wrong: HashSet<(Kind, &str)> =
        found.iter().map(|found| (found.kind, found.subject.as_str())).collect();
    for (subject, row) in &known {
        let over = row.resolved_at.is_none() && !wrong.contains(subject);
        if over && ends_now(row, &rules, now) {
            changed += resolve_alert(cx, row.id).await?;
        }
    }
    let columns = [
        alert_check::Column::EvaluatedAt,
        alert_check::Column::LedgerCheckedAt,
        alert_check::Column::LedgerSeq,
        alert_check::Column::LedgerHash,
        alert_check::Column::LedgerFault,
    ];
    // Where a rule was changed meanwhile, this evaluation does not count.
    let unchanged = Expr::col((alert_check::Entity, alert_check::Column::EvaluatedAt))
        .eq(evaluated_before.unwrap_or(now));
    let conflict = OnConflict::column(alert_check::Column::OrganizationId)
        .update_columns(columns)
        .action_and_where(unchanged)
        .to_owned();
    alert_check::Entity::insert(check.into_active_model())
        .on_conflict(conflict)
        .exec_without_returning(&cx.app.store.write)
        .await?;
    if changed > 0 {
        cx.app.mails.notify_one();
    }
    Ok(changed)
}

/// Whether an alert whose cause is gone is over. What happened at one moment stays for a while; a
/// rule that was turned off ends its alerts at once.
fn ends_now(row: &Alert, rules: &[AlertRule], now: DateTime<Utc>) -> bool {
    let enabled = rules.iter().any(|rule| rule.kind == row.kind && rule.enabled);
    !enabled || now - row.raised_at >= row.kind.lasts_at_least()
}

/// What was checked in this organization, with the ledger checked again if that is due.
async fn check_ledger(
    cx: &Cx,
    stored: Option<alert_check::Model>,
    now: DateTime<Utc>,
) -> Result<alert_check::Model> {
    let mut check = stored.unwrap_or_else(|| new_check(cx.organization(), now));
    check.evaluated_at = now;
    if check.ledger_checked_at.is_some_and(|at| now - at < LEDGER_CHECK_INTERVAL) {
        return Ok(check);
    }
    let from = check.ledger_seq.zip(check.ledger_hash.clone());
    let from = from.map(|(seq, hash)| CheckedPlace { seq, hash });
    let app = &cx.app;
    check.ledger_checked_at = Some(now);
    match ledger::check_newest_rows(&app.store, &app.vault, cx.organization(), from).await? {
        Ok(CheckedPlace { seq, hash }) => {
            (check.ledger_seq, check.ledger_hash) = (Some(seq), Some(hash));
            check.ledger_fault = None;
        }
        Err(what) => {
            tracing::error!(organization = %cx.organization(), "the ledger is broken: {what}");
            check.ledger_fault = Some(what);
        }
    }
    Ok(check)
}

fn new_check(organization_id: Uuid, evaluated_at: DateTime<Utc>) -> alert_check::Model {
    alert_check::Model {
        organization_id,
        evaluated_at,
        ledger_checked_at: None,
        ledger_seq: None,
        ledger_hash: None,
        ledger_fault: None,
    }
}

/// When mail about an alert that is raised again is due: at once, unless there was mail about it
/// within a day.
fn mail_due(before: Option<&Alert>, stage: i64, now: DateTime<Utc>) -> DateTime<Utc> {
    let last = before.filter(|row| stage >= row.stage).and_then(|row| row.mail_due_at);
    last.filter(|last| now - *last < REPEAT_INTERVAL).unwrap_or(now)
}

/// Raises the alert of a condition; returns how many it raised.
async fn raise_alert(cx: &Cx, condition: &AlertCondition) -> Result<u64> {
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<alert::Entity>()
                .filter(alert::Column::Kind.eq(condition.kind))
                .filter(alert::Column::Subject.eq(condition.subject.as_str()));
            let before = crate::domain::lock_row(tx, query).await?;
            if before.as_ref().is_some_and(|row| row.resolved_at.is_none()) {
                return Ok(Change::unchanged(0));
            }
            let now = tx.now_after(before.as_ref().and_then(|row| row.resolved_at));
            let row = Alert {
                organization_id: tx.organization(),
                id: before.as_ref().map_or_else(Uuid::now_v7, |row| row.id),
                kind: condition.kind,
                subject: condition.subject.clone(),
                connection_id: condition.connection,
                urgency: condition.urgency,
                message: condition.message.clone(),
                next_step: condition.next_step.clone(),
                count: condition.count,
                stage: condition.stage,
                raised_at: now,
                resolved_at: None,
                mail_due_at: Some(mail_due(before.as_ref(), condition.stage, now)),
                end_due_at: before.as_ref().and_then(|row| row.end_due_at),
            };
            let after = json!({
                "kind": row.kind.to_value(), "urgency": row.urgency.to_value(),
                "message": row.message, "nextStep": row.next_step, "count": row.count,
            });
            let entry = alert_event(EventKind::AlertRaised, &row, now, after);
            match before {
                Some(_) => {
                    crate::domain::save_row::<alert::Entity, alert::ActiveModel>(tx, row).await?;
                }
                None => {
                    // Another server may have raised it since: there is no row to lock.
                    let key = [alert::Column::OrganizationId, alert::Column::Kind];
                    let key = key.into_iter().chain([alert::Column::Subject]);
                    let raised = alert::Entity::insert(row.into_active_model())
                        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
                        .exec_without_returning(&tx.db)
                        .await?;
                    if raised == 0 {
                        return Ok(Change::unchanged(0));
                    }
                }
            }
            Ok(Change::recorded(1, entry))
        })
    })
    .await
}

/// Notes what changed of an alert that goes on, and when mail about it is due again. That it goes
/// on is no event.
async fn update_open(
    cx: &Cx,
    open: &Alert,
    condition: &AlertCondition,
    now: DateTime<Utc>,
) -> Result<()> {
    use alert::Column;
    let nearer = condition.stage < open.stage;
    let again =
        open.kind.repeats() && open.mail_due_at.is_none_or(|last| now - last >= REPEAT_INTERVAL);
    let same = open.message == condition.message
        && open.next_step == condition.next_step
        && open.urgency == condition.urgency
        && open.count == condition.count
        && open.stage == condition.stage;
    if same && !again {
        return Ok(());
    }
    let due = if nearer || again { Some(now) } else { open.mail_due_at };
    alert::Entity::update_many()
        .col_expr(Column::Message, Expr::value(condition.message.as_str()))
        .col_expr(Column::NextStep, Expr::value(condition.next_step.as_str()))
        .col_expr(Column::Urgency, Expr::value(condition.urgency.to_value()))
        .col_expr(Column::Count, Expr::value(condition.count))
        .col_expr(Column::Stage, Expr::value(condition.stage))
        .col_expr(Column::MailDueAt, Expr::value(due))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::Id.eq(open.id))
        .filter(Column::ResolvedAt.is_null())
        .exec(&cx.app.store.write)
        .await?;
    if nearer || again {
        cx.app.mails.notify_one();
    }
    Ok(())
}

/// Resolves an alert; returns how many it resolved.
async fn resolve_alert(cx: &Cx, id: Uuid) -> Result<u64> {
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx.find::<alert::Entity>().filter(alert::Column::Id.eq(id));
            let Some(before) = crate::domain::lock_row(tx, query).await? else {
                return Ok(Change::unchanged(0));
            };
            if before.resolved_at.is_some() {
                return Ok(Change::unchanged(0));
            }
            let now = tx.now_after(Some(before.raised_at));
            // A mail reports the end if a mail reported the beginning: an alert that comes and goes
            // gets one of each a day.
            let was_mailed = before.mail_due_at.is_some_and(|at| at >= before.raised_at);
            let end_due_at = if was_mailed { Some(now) } else { before.end_due_at };
            let row = Alert { resolved_at: Some(now), end_due_at, ..before };
            let after = json!({
                "kind": row.kind.to_value(), "message": row.message, "raisedAt": row.raised_at,
            });
            let entry = alert_event(EventKind::AlertResolved, &row, now, after);
            crate::domain::save_row::<alert::Entity, alert::ActiveModel>(tx, row).await?;
            Ok(Change::recorded(1, entry))
        })
    })
    .await
}

fn alert_event(
    kind: EventKind,
    row: &Alert,
    at: DateTime<Utc>,
    after: serde_json::Value,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "alert", id: row.id },
        connection: row.connection_id,
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}

/// Deletes the alerts that were resolved long ago, in every organization.
///
/// # Errors
/// The database's own.
pub async fn forget_resolved(app: &Arc<App>) -> Result<()> {
    let before = app.clock.now() - RETENTION;
    let text = format!(
        "DELETE FROM alert WHERE resolved_at IS NOT NULL AND resolved_at < $1 AND {}",
        is_open_condition("alert")
    );
    let reason = "which alerts ended long ago";
    let statement = app.statement_for_all_organizations(text, [before.into()], reason);
    app.store.write.execute_raw(statement).await?;
    Ok(())
}
