//! Reconciliation: what an identity provider says against what is here. A difference is a finding; it keeps its state and
//! its history from one comparison to the next, until somebody puts it right, says why it may stay, or it is gone.
//!
//! [`export`] reads what an administrator uploads, [`source`] takes what a run reads at a source, [`compare`] and
//! [`diff`] compare, [`by_hand`] asks the ledger what the identity provider does not know, [`reads`] remembers what it has
//! read, [`run`] carries a comparison out and writes down what it found, [`schedule`]
//! begins those whose time has come, [`resolve`] is what people do about it. What must
//! never enter: a change of an account that nobody asked for.

mod by_hand;
mod clash;
mod compare;
pub mod diff;
pub mod export;
pub mod reads;
mod resolve;
pub mod run;
pub mod schedule;
pub mod source;

use chrono::{DateTime, Utc};
use entity::{finding, reconciliation};
use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{ActiveEnum, ColumnTrait, PaginatorTrait, QueryFilter, Select};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

use super::document;
use super::list::{self, Keyset, Slice};
use crate::authz::Action;
use crate::context::Cx;
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};
use crate::vault;
use diff::Differs;
use export::Trouble;

pub use by_hand::Knowledge;
pub use clash::{NameClash, close_settled_clashes, open_name_clash};
pub use finding::{Class, Kind, Model as Finding, Resolution, Source, State};
pub use reconciliation::{Model as Run, Scope, State as RunState};
pub use resolve::{Choice, forget, next_step, permitted, reopen_due, resolve};
pub(super) use resolve::{erase, leave};

/// Refuses whoever may compare nothing.
///
/// # Errors
/// [`Error::Forbidden`]
pub fn may_start(cx: &Cx) -> Result<()> {
    cx.allow(Action::WriteConnection, None)
}

/// What a comparison counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Counts {
    /// Rows of an export, what a source lists, or what somebody changed by hand.
    pub rows: u64,
    /// Rows of which it is not known whom they are about.
    pub unread: u64,
    /// What both have and say the same of.
    pub agreed: u64,
    pub missing_here: u64,
    pub orphaned_here: u64,
    pub drifted: u64,
    pub memberships: u64,
    /// Findings about people who are gone or inactive there, and active here.
    pub leavers: u64,
    /// Accounts met, by class.
    pub local_accounts: u64,
    pub unassigned_accounts: u64,
    pub assigned_accounts: u64,
    /// Findings that are new, came again after they were finished, and are gone.
    pub opened: u64,
    pub reopened: u64,
    pub gone: u64,
}

impl Counts {
    fn class(&mut self, class: Class) {
        match class {
            Class::Local => self.local_accounts += 1,
            Class::Unassigned => self.unassigned_accounts += 1,
            Class::Assigned => self.assigned_accounts += 1,
        }
    }
}

/// What a comparison counted, read.
pub fn counts(run: &Run) -> Counts {
    serde_json::from_value(run.counts.clone()).unwrap_or_default()
}

/// The lines that a comparison could not read, the first of them.
pub fn troubles(run: &Run) -> Vec<Trouble> {
    serde_json::from_value(run.troubles.clone()).unwrap_or_default()
}

/// What the two sides say, by attribute.
pub fn detail(finding: &Finding) -> BTreeMap<String, Differs> {
    serde_json::from_value(finding.detail.clone()).unwrap_or_default()
}

/// By what somebody without an account is found again when one of that name is erased.
fn thing(name: Named<'_>) -> Vec<u8> {
    let name = match name {
        Named::UserName(name) => json!(["userName", document::fold(name)]),
        Named::Id(id) => json!(["id", id]),
    };
    vault::hash(&name.to_string())
}

#[derive(Debug, Clone, Copy)]
enum Named<'a> {
    UserName(&'a str),
    Id(&'a str),
}

/// What the ledger tells of a finding: ids and codes, never whom it is about.
fn entry(kind: EventKind, finding: &Finding, at: DateTime<Utc>, after: Value) -> Entry {
    let subject = Subject { kind: "finding", id: finding.id };
    let connection = Some(finding.connection_id);
    Entry { kind, subject, connection, at, before: None, after: Some(after), population: 0 }
}

fn run_entry(kind: EventKind, run: &Run, at: DateTime<Utc>, after: Value) -> Entry {
    let subject = Subject { kind: "reconciliation", id: run.id };
    Entry { kind, subject, connection: Some(run.connection_id), at, before: None, after: Some(after), population: 0 }
}

fn described(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.to_value(), "source": finding.source.to_value(), "userId": finding.user_id,
        "groupId": finding.group_id, "leaver": finding.leaver,
        "attributes": detail(finding).into_keys().collect::<Vec<_>>(),
    })
}

/// What waits for somebody or was accepted. In words of its own and not bound, so that SQLite sees that the index of these
/// rows will do.
const LIVE: &str = "state IN ('OPEN', 'ACCEPTED')";

/// Which findings are wanted: those that match all of it; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Which {
    pub states: Vec<State>,
    pub kinds: Vec<Kind>,
    pub connection: Option<Uuid>,
    /// Only those about people who are gone or inactive there, and active here.
    pub leavers: bool,
}

pub(super) fn matching(cx: &Cx, which: &Which) -> Select<finding::Entity> {
    let mut query = cx.find::<finding::Entity>();
    if !which.states.is_empty() {
        query = query.filter(in_states(cx, &which.states));
        if which.states.iter().all(|state| matches!(state, State::Open | State::Accepted)) {
            query = query.filter(Expr::cust(LIVE));
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
    query
}

/// An acceptance that has passed its end is open, also where nobody has written that down yet.
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

/// What became of a finding, as of now.
pub fn state(cx: &Cx, finding: &Finding) -> State {
    let passed = finding.accepted_until.is_some_and(|end| end <= cx.app.clock.now());
    if finding.state == State::Accepted && passed { State::Open } else { finding.state }
}

/// A page of findings, in the order in which they were first made.
pub async fn list(cx: &Cx, which: &Which, keyset: &Keyset<Uuid>) -> Result<Slice<Finding>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, matching(cx, which), finding::Column::Id, keyset).await
}

/// How many findings there are.
pub async fn count(cx: &Cx, which: &Which) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(matching(cx, which).count(cx.db()).await?)
}

/// The findings among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Finding>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx.find::<finding::Entity>().filter(finding::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

fn runs(cx: &Cx, connection: Option<Uuid>) -> Select<reconciliation::Entity> {
    let query = cx.find::<reconciliation::Entity>();
    match connection {
        Some(id) => query.filter(reconciliation::Column::ConnectionId.eq(id)),
        None => query,
    }
}

/// The comparisons of one connection or of all.
pub async fn list_runs(cx: &Cx, connection: Option<Uuid>, keyset: &Keyset<Uuid>) -> Result<Slice<Run>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, runs(cx, connection), reconciliation::Column::Id, keyset).await
}

/// How many comparisons there are.
pub async fn count_runs(cx: &Cx, connection: Option<Uuid>) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(runs(cx, connection).count(cx.db()).await?)
}

/// One comparison.
pub async fn get_run(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::ReadIam, None)?;
    let found = runs(cx, None).filter(reconciliation::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found("the reconciliation"))
}
