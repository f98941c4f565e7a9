//! What is wrong now, by each rule. What `attention` shows as well comes from the same functions.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind, ConnectionStatus};
use entity::reconciliation;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{AlertRule, Kind, Urgency};
use crate::context::Cx;
use crate::domain::access::api_key;
use crate::domain::audit::event::{LedgerFilter, list_events};
use crate::domain::audit::evidence;
use crate::domain::connection::assertion_source::certificate_end::{
    CertificateOwner, near_certificate_ends,
};
use crate::domain::connection::health::format_to_second;
use crate::domain::connection::scim_token;
use crate::domain::paging::Keyset;
use crate::domain::review::action_items;
use crate::domain::review::action_items::{ActionItem, ActionUrgency, count_with_noun};
use crate::error::Result;
use crate::ledger::EventKind;

/// Conditions of one rule that are reported one by one.
pub const MAX_CONDITIONS_PER_RULE: usize = 100;
/// So many days before its end, a token, a key or a certificate is reported.
const END_STAGES: [i64; 3] = [1, 7, 30];
/// A token or a key that was not used for so long is reported.
const UNUSED_WARNING: Duration = Duration::days(90);
/// Within this time, deprovisionings are counted.
const MASS_WINDOW: Duration = Duration::hours(1);
/// No more people than this are many, whatever share they are.
const MASS_LEAST: i64 = 10;
/// How long an export is reported.
const EXPORT_WINDOW: Duration = Duration::days(1);

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertCondition {
    pub kind: Kind,
    /// Which of the things that the rule looks at; empty = the organization.
    pub subject: String,
    pub connection: Option<Uuid>,
    pub urgency: Urgency,
    pub message: String,
    pub next_step: String,
    pub count: i64,
    /// For what ends: days before its end; the fewer, the nearer.
    pub stage: i64,
}

impl AlertCondition {
    fn new(kind: Kind, urgency: Urgency, message: String, next_step: &str) -> Self {
        Self {
            kind,
            subject: String::new(),
            connection: None,
            urgency,
            message,
            next_step: next_step.into(),
            count: 1,
            stage: 0,
        }
    }

    fn of_item(kind: Kind, subject: Option<Uuid>, item: ActionItem) -> Self {
        let urgency = match item.urgency {
            ActionUrgency::Critical => Urgency::Critical,
            ActionUrgency::Warning => Urgency::Warning,
            ActionUrgency::Notice => Urgency::Notice,
        };
        Self {
            subject: subject.map(|id| id.to_string()).unwrap_or_default(),
            connection: item.connection,
            count: i64::try_from(item.count).unwrap_or(i64::MAX),
            ..Self::new(kind, urgency, item.text, &item.next)
        }
    }
}

/// Everything that these rules find. `ledger_fault` is what the last check of the ledger found.
pub async fn find_conditions(
    cx: &Cx,
    rules: &[AlertRule],
    ledger_fault: Option<&str>,
) -> Result<Vec<AlertCondition>> {
    let live = action_items::live_connections(cx).await?;
    let mut found = Vec::new();
    for rule in rules.iter().filter(|rule| rule.enabled) {
        let mut of_rule = match rule.kind {
            Kind::ConnectionStalled => stalled_connections(cx, &live).await?,
            Kind::FailuresWait => waiting_failures(cx, &live, hours_of(rule)).await?,
            Kind::CredentialEnds => ending_credentials(cx, &live).await?,
            Kind::CredentialOld => old_credentials(cx, &live, days_of(rule)).await?,
            Kind::RunWaits => waiting_runs(cx).await?,
            Kind::MassDeprovisioning => {
                mass_deprovisioning(cx, rule.threshold.unwrap_or_default()).await?
            }
            Kind::ComparisonMissing => missing_comparisons(cx, &live, days_of(rule)).await?,
            Kind::LedgerBroken => ledger_fault.map(broken_ledger).into_iter().collect(),
            Kind::ExportMade => new_exports(cx).await?,
            Kind::BootstrapKeyAlive => keys_without_owner(cx).await?,
            Kind::DestinationFails => failing_destinations(cx).await?,
            Kind::RevocationNotReceived => unreceived_departures(cx, rule).await?,
        };
        // Two rules may find the same: it is reported once.
        let mut subjects = HashSet::new();
        of_rule.retain(|condition| subjects.insert(condition.subject.clone()));
        of_rule.truncate(MAX_CONDITIONS_PER_RULE);
        found.extend(of_rule);
    }
    Ok(found)
}

fn days_of(rule: &AlertRule) -> Duration {
    Duration::days(rule.threshold.unwrap_or_default())
}

fn hours_of(rule: &AlertRule) -> Duration {
    Duration::hours(rule.threshold.unwrap_or_default())
}

async fn stalled_connections(cx: &Cx, live: &[connection::Model]) -> Result<Vec<AlertCondition>> {
    let items = action_items::connection_items(cx, live).await?;
    let stalled = items.into_iter().filter(|item| item.urgency == ActionUrgency::Critical);
    Ok(stalled
        .map(|item| AlertCondition::of_item(Kind::ConnectionStalled, item.connection, item))
        .collect())
}

/// Failures that wait for longer than `age`, as one condition for each connection.
async fn waiting_failures(
    cx: &Cx,
    live: &[connection::Model],
    age: Duration,
) -> Result<Vec<AlertCondition>> {
    let since = cx.app.clock.now() - age;
    let mut waiting: BTreeMap<Uuid, (u64, DateTime<Utc>, String)> = BTreeMap::new();
    for item in action_items::failure_items(cx, live).await? {
        let (Some(connection), Some(at)) = (item.connection, item.at) else { continue };
        let of = waiting.entry(connection).or_insert((0, at, item.next));
        *of = (of.0 + item.count, of.1.min(at), std::mem::take(&mut of.2));
    }
    let old = waiting.into_iter().filter(|(_, (_, first, _))| *first < since);
    Ok(old
        .map(|(connection, (count, first, next))| {
            let message = format!(
                "{}: {} in the review queue, the oldest since {}.",
                name_of(live, connection),
                count_with_noun(count as i64, "failed write"),
                format_to_second(first)
            );
            AlertCondition {
                subject: connection.to_string(),
                connection: Some(connection),
                count: count as i64,
                ..AlertCondition::new(Kind::FailuresWait, Urgency::Warning, message, &next)
            }
        })
        .collect())
}

/// The stage of something that lives from `begin` to `end`; none if its end is far away. A stage
/// counts only for what lives longer than that.
fn end_stage(begin: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> Option<i64> {
    let stages = END_STAGES.into_iter().filter(|days| end - begin > Duration::days(*days));
    stages.into_iter().find(|days| end - now <= Duration::days(*days)).filter(|_| end > now)
}

fn stage_urgency(stage: i64) -> Urgency {
    match stage {
        ..=1 => Urgency::Critical,
        2..=7 => Urgency::Warning,
        _ => Urgency::Notice,
    }
}

async fn ending_credentials(cx: &Cx, live: &[connection::Model]) -> Result<Vec<AlertCondition>> {
    let now = cx.app.clock.now();
    let mut found = Vec::new();
    for ending in action_items::last_token_ends(cx, live).await? {
        let Some(stage) = end_stage(ending.begin, ending.end, now) else { continue };
        let (message, next) = action_items::describe_token_end(live, &ending);
        found.push(AlertCondition {
            subject: format!("token of {}", ending.connection),
            connection: Some(ending.connection),
            stage,
            ..AlertCondition::new(Kind::CredentialEnds, stage_urgency(stage), message, next)
        });
    }
    for ending in near_certificate_ends(cx, live).await? {
        // Sign-ins go on after the end, and so does the alert.
        let over = (ending.end <= now).then_some(0);
        let Some(stage) = over.or_else(|| end_stage(ending.begin, ending.end, now)) else {
            continue;
        };
        let whose = match ending.owner {
            CertificateOwner::IdentityProvider => "certificate of",
            CertificateOwner::Ourselves => "own certificate of",
        };
        let urgency = stage_urgency(stage).max(Urgency::Warning);
        let (message, next) = ending.describe(now);
        found.push(AlertCondition {
            subject: format!("{whose} {}", ending.connection),
            connection: Some(ending.connection),
            stage,
            ..AlertCondition::new(Kind::CredentialEnds, urgency, message, next)
        });
    }
    let [.., longest] = END_STAGES;
    for key in api_key::list_ending(cx, now + Duration::days(longest)).await? {
        let Some(end) = key.expires_at else { continue };
        let Some(stage) = end_stage(key.created_at, end, now) else { continue };
        let message = format!(
            "The API key {:?} (…{}) ends at {}.",
            key.name,
            key.last_four,
            format_to_second(end)
        );
        let next = action_items::KEYS_END_NEXT_STEP;
        found.push(AlertCondition {
            subject: format!("key {}", key.id),
            stage,
            ..AlertCondition::new(Kind::CredentialEnds, stage_urgency(stage), message, next)
        });
    }
    Ok(found)
}

/// Live tokens and keys that are older than `age`, or not used any more.
async fn old_credentials(
    cx: &Cx,
    live: &[connection::Model],
    age: Duration,
) -> Result<Vec<AlertCondition>> {
    let now = cx.app.clock.now();
    let pushing: Vec<Uuid> = live
        .iter()
        .filter(|row| row.kind == ConnectionKind::ScimPush)
        .filter(|row| row.status == ConnectionStatus::Active)
        .map(|row| row.id)
        .collect();
    let mut found = Vec::new();
    for token in scim_token::tokens_of_connections(cx, &pushing).await? {
        let use_of = CredentialUse { issued: token.created_at, last: token.last_used_at };
        let Some((why, is_old)) = use_of.describe_age(now, age) else { continue };
        if !scim_token::is_live(&token, now) {
            continue;
        }
        let next = if is_old {
            "Rotate it (scimTokenRotate), and put the new one into the identity provider's secret \
             manager."
        } else {
            "Revoke it (scimTokenRevoke), if no identity provider needs it any more."
        };
        let name = name_of(live, token.connection_id);
        let message = format!("{name}: the token that ends in {} {why}.", token.last_four);
        found.push(AlertCondition {
            subject: token.id.to_string(),
            connection: Some(token.connection_id),
            ..AlertCondition::new(Kind::CredentialOld, Urgency::Warning, message, next)
        });
    }
    for key in api_key::list_aged(cx, now - age, now - UNUSED_WARNING).await? {
        let use_of = CredentialUse { issued: key.created_at, last: key.last_used_at };
        let Some((why, is_old)) = use_of.describe_age(now, age) else { continue };
        let next = if is_old {
            "Issue another (apiKeyIssue), keep it in the client's secret manager, and revoke this \
             one (apiKeyRevoke)."
        } else {
            "Revoke it (apiKeyRevoke), if no client needs it any more."
        };
        let message = format!("The API key {:?} (…{}) {why}.", key.name, key.last_four);
        found.push(AlertCondition {
            subject: format!("key {}", key.id),
            ..AlertCondition::new(Kind::CredentialOld, Urgency::Warning, message, next)
        });
    }
    Ok(found)
}

/// When a credential was issued, and last used.
struct CredentialUse {
    issued: DateTime<Utc>,
    last: Option<DateTime<Utc>>,
}

impl CredentialUse {
    /// What is wrong with its age, and whether it is too old (true) or not used any more (false).
    fn describe_age(&self, now: DateTime<Utc>, age: Duration) -> Option<(String, bool)> {
        if now - self.issued > age {
            return Some((format!("was issued at {}", format_to_second(self.issued)), true));
        }
        if now - self.last.unwrap_or(self.issued) <= UNUSED_WARNING {
            return None;
        }
        let last = self.last.map_or_else(
            || "was never used".to_owned(),
            |at| format!("was last used at {}", format_to_second(at)),
        );
        Some((last, false))
    }
}

async fn waiting_runs(cx: &Cx) -> Result<Vec<AlertCondition>> {
    let items = action_items::run_items(cx).await?;
    Ok(items
        .into_iter()
        .map(|item| AlertCondition::of_item(Kind::RunWaits, item.run, item))
        .collect())
}

/// Whether more than `percent` of all people, and more than [`MASS_LEAST`], left within an hour.
async fn mass_deprovisioning(cx: &Cx, percent: i64) -> Result<Vec<AlertCondition>> {
    let since = cx.app.clock.now() - MASS_WINDOW;
    let left = evidence::count_recent_leavers(cx, since).await?;
    if left.people <= MASS_LEAST || left.people * 100 <= left.before * percent {
        return Ok(Vec::new());
    }
    let message = format!(
        "{} of {} people were suspended or deleted within an hour.",
        left.people, left.before
    );
    let next = "See who did it (organization.leavers). If it was a mistake, deactivate the \
                connection, put it right in the identity provider, and bring the accounts back \
                (userReactivate, userRestore).";
    Ok(vec![AlertCondition {
        count: left.people,
        ..AlertCondition::new(Kind::MassDeprovisioning, Urgency::Critical, message, next)
    }])
}

/// Active connections that were not compared with their identity provider for `age`.
async fn missing_comparisons(
    cx: &Cx,
    live: &[connection::Model],
    age: Duration,
) -> Result<Vec<AlertCondition>> {
    use reconciliation::Column;
    let since = cx.app.clock.now() - age;
    let old =
        |row: &&connection::Model| row.status == ConnectionStatus::Active && row.created_at < since;
    let candidates: Vec<&connection::Model> = live.iter().filter(old).collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let compared: Vec<(Uuid, Option<DateTime<Utc>>)> = cx
        .find::<reconciliation::Entity>()
        .filter(Column::ConnectionId.is_in(candidates.iter().map(|row| row.id)))
        .filter(Column::State.eq(reconciliation::State::Succeeded))
        .select_only()
        .column(Column::ConnectionId)
        .column_as(Column::StartedAt.max(), "at")
        .group_by(Column::ConnectionId)
        .order_by_asc(Column::ConnectionId)
        .into_tuple()
        .all(cx.db())
        .await?;
    let compared: HashMap<Uuid, DateTime<Utc>> =
        compared.into_iter().filter_map(|(id, at)| Some((id, at?))).collect();
    let condition = |row: &connection::Model| {
        let last = compared.get(&row.id);
        if last.is_some_and(|at| *at >= since) {
            return None;
        }
        let when = last.map_or_else(
            || "was never compared".to_owned(),
            |at| format!("was last compared at {}", format_to_second(*at)),
        );
        let message = format!("{} {when} with what its identity provider says.", row.name);
        let next = "Compare it (reconciliationStart, or an export of the identity provider), and \
                    set a schedule (reconciliationScheduleUpdate).";
        Some(AlertCondition {
            subject: row.id.to_string(),
            connection: Some(row.id),
            ..AlertCondition::new(Kind::ComparisonMissing, Urgency::Notice, message, next)
        })
    };
    Ok(candidates.into_iter().filter_map(condition).collect())
}

fn broken_ledger(fault: &str) -> AlertCondition {
    let message = format!("The ledger does not verify: {fault}.");
    let next = "Rows were changed or removed outside of this server. Keep the database as it is, \
                run \"rolecall audit verify\", compare with your last checkpoint, and find out who \
                can write to the database.";
    AlertCondition::new(Kind::LedgerBroken, Urgency::Critical, message, next)
}

/// Whether evidence was exported in the last day.
async fn new_exports(cx: &Cx) -> Result<Vec<AlertCondition>> {
    let which = LedgerFilter {
        actions: vec![EventKind::EvidenceExportStarted],
        since: Some(cx.app.clock.now() - EXPORT_WINDOW),
        ..Default::default()
    };
    let limit = MAX_CONDITIONS_PER_RULE as u64;
    let keyset = Keyset { limit, descending: true, ..Default::default() };
    let found = list_events(cx, &which, &keyset).await?;
    let Some(last) = found.rows.iter().max_by_key(|row| row.pos) else { return Ok(Vec::new()) };
    let count = found.rows.len() as i64;
    let message = format!(
        "{} of evidence within a day, the last at {}.",
        count_with_noun(count, "export"),
        format_to_second(last.at)
    );
    let next = "Make sure that it was meant to be: an export holds personal data \
                (organization.events, EVIDENCE_EXPORT_STARTED, shows who made which).";
    Ok(vec![AlertCondition {
        count,
        ..AlertCondition::new(Kind::ExportMade, Urgency::Notice, message, next)
    }])
}

/// Live keys without an owner, as the one that a bootstrap makes.
async fn keys_without_owner(cx: &Cx) -> Result<Vec<AlertCondition>> {
    let keys = api_key::list_without_owner(cx).await?;
    let condition = |key: api_key::ApiKey| {
        let message = format!("The API key {:?} (…{}) has no owner.", key.name, key.last_four);
        let next = "Issue a key with fewer permissions to each client (apiKeyIssue), and revoke \
                    this one (apiKeyRevoke), or give it an owner (apiKeyUpdate).";
        AlertCondition {
            subject: key.id.to_string(),
            ..AlertCondition::new(Kind::BootstrapKeyAlive, Urgency::Notice, message, next)
        }
    };
    Ok(keys.into_iter().map(condition).collect())
}

async fn failing_destinations(cx: &Cx) -> Result<Vec<AlertCondition>> {
    let items = action_items::destination_items(cx).await?;
    let condition =
        |item: ActionItem| AlertCondition::of_item(Kind::DestinationFails, item.destination, item);
    Ok(items.into_iter().map(condition).collect())
}

async fn unreceived_departures(cx: &Cx, rule: &AlertRule) -> Result<Vec<AlertCondition>> {
    let age = Duration::minutes(rule.threshold.unwrap_or_default());
    let items = action_items::unreceived_items(cx, age).await?;
    let condition = |item: ActionItem| {
        AlertCondition::of_item(Kind::RevocationNotReceived, item.destination, item)
    };
    Ok(items.into_iter().map(condition).collect())
}

fn name_of(live: &[connection::Model], id: Uuid) -> &str {
    live.iter().find(|row| row.id == id).map_or("", |row| &row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_an_end() {
        let now = DateTime::UNIX_EPOCH + Duration::days(1_000);
        let stage = |lived: i64, left: i64| {
            end_stage(now - Duration::days(lived), now + Duration::days(left), now)
        };
        assert_eq!(stage(300, 31), None);
        assert_eq!(stage(300, 30), Some(30));
        assert_eq!(stage(300, 7), Some(7));
        assert_eq!(stage(300, 1), Some(1));
        // It is over.
        assert_eq!(stage(300, 0), None);
        // A key for a week is not reported a month before its end, nor at once.
        assert_eq!(stage(0, 7), None);
        assert_eq!(stage(1, 6), None);
        assert_eq!(stage(6, 1), Some(1));
        assert_eq!(stage(0, 30), None);
        assert_eq!(stage(23, 7), Some(7));
    }
}
