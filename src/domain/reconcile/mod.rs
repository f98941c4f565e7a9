//! Reconciliation: compares what an identity provider says with what is here. A difference is a
//! finding. It keeps its state and its history from one comparison to the next, until an
//! administrator resolves it or accepts it with a reason, or the difference is gone.
//!
//! [`export`] reads what an administrator uploads, [`source`] collects what a run reads at a
//! source, [`compare`] and [`diff`] compare, [`last_known`] takes from the ledger what the identity
//! provider does not know, [`reads`] stores when identity providers have read, [`run`] runs a
//! comparison and writes its findings, [`schedule`] begins scheduled comparisons, [`resolve`]
//! carries out decisions about findings. What must never enter: a change of an account that no
//! administrator asked for.

pub(in crate::domain) mod claims;
mod clash;
mod compare;
pub mod diff;
mod difference;
pub mod export;
mod gone_manager;
mod last_known;
pub mod reads;
mod resolve;
pub mod run;
pub mod schedule;
pub mod source;

use chrono::{DateTime, Utc};
use entity::{finding, reconciliation};
use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{ActiveEnum, ColumnTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::Cx;
use crate::crypto::vault;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, Result};
use crate::identity::document;
use crate::ledger::{EventKind, EventSubject, NewEvent};
use diff::AttributeDifference;
use export::RowTrouble;

pub use super::comparison::{ComparisonCounts, Run, RunState, Scope, comparison_counts};
pub use clash::{NameClash, close_settled_clashes, open_name_clash};
pub use finding::{Class, Kind, Model as Finding, Resolution, Source, State};
pub use last_known::IdpView;
pub use resolve::{
    FindingDecision, check_permitted, forget_old_findings, next_step, possible_choices, reopen_due,
    resolve_finding,
};
pub(super) use resolve::{close_findings_of_connection, erase_findings};

/// Refuses a caller that may not start comparisons.
///
/// # Errors
/// [`Error::Forbidden`]
pub fn may_start(cx: &Cx) -> Result<()> {
    cx.allow(Action::WriteConnection, None)
}

/// The first of the lines that a comparison could not read.
pub fn unreadable_lines(run: &Run) -> Vec<RowTrouble> {
    serde_json::from_value(run.troubles.clone()).unwrap_or_default()
}

/// The values of the two sides, by attribute.
pub fn finding_detail(finding: &Finding) -> BTreeMap<String, AttributeDifference> {
    serde_json::from_value(finding.detail.clone()).unwrap_or_default()
}

/// The key of a person without an account. The erasure of an account with that name finds the
/// finding by it.
fn finding_key(name: PersonName<'_>) -> Vec<u8> {
    let name = match name {
        PersonName::UserName(name) => json!(["userName", document::fold_text(name)]),
        PersonName::Id(id) => json!(["id", id]),
    };
    vault::hash_secret(&name.to_string())
}

#[derive(Debug, Clone, Copy)]
enum PersonName<'a> {
    UserName(&'a str),
    Id(&'a str),
}

/// An event of a finding: ids and codes, never the name of the user.
fn finding_event(kind: EventKind, finding: &Finding, at: DateTime<Utc>, after: Value) -> NewEvent {
    let subject = EventSubject { kind: "finding", id: finding.id };
    let connection = Some(finding.connection_id);
    NewEvent {
        kind,
        subject,
        connection,
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}

fn describe_finding(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.to_value(), "source": finding.source.to_value(),
        "userId": finding.user_id,
        "groupId": finding.group_id, "leaver": finding.leaver,
        "attributes": finding_detail(finding).into_keys().collect::<Vec<_>>(),
    })
}

/// Findings that are open or accepted. The states are literals and not bound, so that SQLite can
/// use the partial index of these rows.
const UNFINISHED_CONDITION: &str = "state IN ('OPEN', 'ACCEPTED')";

/// The wanted findings: those that match all conditions; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FindingQuery {
    pub states: Vec<State>,
    pub kinds: Vec<Kind>,
    pub connection: Option<Uuid>,
    /// Only those about people who are gone or inactive there, and active here.
    pub leavers: bool,
    /// About this account.
    pub user: Option<Uuid>,
    /// About the membership in this group.
    pub group: Option<Uuid>,
    /// Seen from this instant on.
    pub seen_since: Option<DateTime<Utc>>,
}

pub(super) fn select_findings(cx: &Cx, which: &FindingQuery) -> Select<finding::Entity> {
    let mut query = cx.find::<finding::Entity>();
    if !which.states.is_empty() {
        query = query.filter(in_states(cx, &which.states));
        if which.states.iter().all(|state| matches!(state, State::Open | State::Accepted)) {
            query = query.filter(Expr::cust(UNFINISHED_CONDITION));
        }
    }
    if !which.kinds.is_empty() {
        query = query.filter(finding::Column::Kind.is_in(which.kinds.iter().copied()));
    }
    if let Some(id) = which.connection {
        query = query.filter(finding::Column::ConnectionId.eq(id));
    }
    if which.leavers {
        query = query.filter(finding::Column::Leaver.eq(true));
    }
    if let Some(user) = which.user {
        query = query.filter(finding::Column::UserId.eq(user));
    }
    if let Some(group) = which.group {
        query = query.filter(finding::Column::GroupId.eq(group));
    }
    if let Some(since) = which.seen_since {
        query = query.filter(finding::Column::LastSeenAt.gte(since));
    }
    query
}

/// A finding whose acceptance has ended is open, even while its row still says that it is accepted.
fn in_states(cx: &Cx, states: &[State]) -> Condition {
    let now = cx.app.clock.now();
    let passed = Condition::all()
        .add(finding::Column::State.eq(State::Accepted))
        .add(finding::Column::AcceptedUntil.is_not_null())
        .add(finding::Column::AcceptedUntil.lte(now));
    let mut any = Condition::any();
    for state in states {
        let is = Condition::all().add(finding::Column::State.eq(*state));
        any = match state {
            State::Open => any.add(is).add(passed.clone()),
            State::Accepted => any.add(is.add(passed.clone().not())),
            _ => any.add(is),
        };
    }
    any
}

/// The state of a finding now.
pub fn current_state(cx: &Cx, finding: &Finding) -> State {
    let passed = finding.accepted_until.is_some_and(|end| end <= cx.app.clock.now());
    if finding.state == State::Accepted && passed { State::Open } else { finding.state }
}

/// The finding, open again and without its decision.
fn reopened_finding(finding: Finding) -> Finding {
    Finding {
        state: State::Open,
        resolution: None,
        reason: None,
        accepted_until: None,
        decided_at: None,
        decided_by: None,
        ..finding
    }
}

/// A page of findings, each with its place in the order `by`.
pub async fn list_findings(
    cx: &Cx,
    which: &FindingQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Finding, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_findings(cx, which), finding::Column::Id, by, keyset).await
}

/// How many findings there are.
pub async fn count_findings(cx: &Cx, which: &FindingQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_findings(cx, which).count(cx.db()).await?)
}

/// The findings among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Finding>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx
        .find::<finding::Entity>()
        .filter(finding::Column::Id.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// The wanted comparisons: those that match all conditions; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReconciliationQuery {
    pub connection: Option<Uuid>,
    pub states: Vec<reconciliation::State>,
    pub sources: Vec<reconciliation::Source>,
}

fn select_comparisons(cx: &Cx, which: &ReconciliationQuery) -> Select<reconciliation::Entity> {
    let mut query = cx.find::<reconciliation::Entity>();
    if let Some(id) = which.connection {
        query = query.filter(reconciliation::Column::ConnectionId.eq(id));
    }
    if !which.states.is_empty() {
        query = query.filter(reconciliation::Column::State.is_in(which.states.iter().copied()));
    }
    if !which.sources.is_empty() {
        query = query.filter(reconciliation::Column::Source.is_in(which.sources.iter().copied()));
    }
    query
}

/// A page of comparisons, each with its place in the order `by`.
pub async fn list_runs(
    cx: &Cx,
    which: &ReconciliationQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Run, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    let id = reconciliation::Column::Id;
    paging::fetch_ordered(cx, select_comparisons(cx, which), id, by, keyset).await
}

/// How many comparisons there are.
pub async fn count_runs(cx: &Cx, which: &ReconciliationQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_comparisons(cx, which).count(cx.db()).await?)
}

/// One comparison.
pub async fn get_run(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<reconciliation::Entity>();
    let found = query.filter(reconciliation::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found(Noun::Reconciliation))
}
