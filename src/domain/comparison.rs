//! The rows of comparisons between an identity provider and what is here: their counts and how they
//! end. A sync run ends the comparison that waits for what it reads, in the same transaction.
//!
//! What must never enter: comparing, which is in [`reconcile`](super::reconcile). That module uses
//! sync runs, and sync runs use this one.

use chrono::{DateTime, Utc};
use entity::finding::Class;
use entity::reconciliation;
use sea_orm::{ColumnTrait, PaginatorTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::context::{Cx, Tx};
use crate::domain::{lock_row, save_row};
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use reconciliation::{Model as Run, Scope, State as RunState};

/// The counts of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ComparisonCounts {
    /// Rows of an export, resources that a source lists, or objects that were changed by hand.
    pub rows: u64,
    /// Rows that cannot be read or name no user or group, and objects that the identity provider
    /// has not read.
    pub unread: u64,
    /// Users or memberships that are the same on both sides.
    pub agreed: u64,
    pub missing_here: u64,
    pub orphaned_here: u64,
    pub drifted: u64,
    pub memberships: u64,
    /// Findings about people who are gone or inactive there, and active here.
    pub leavers: u64,
    /// Compared accounts, by class.
    pub local_accounts: u64,
    pub unassigned_accounts: u64,
    pub assigned_accounts: u64,
    /// Findings that are new, that occurred again after they were finished, and that are gone.
    pub opened: u64,
    pub reopened: u64,
    pub gone: u64,
}

impl ComparisonCounts {
    pub(super) fn count_class(&mut self, class: Class) {
        match class {
            Class::Local => self.local_accounts += 1,
            Class::Unassigned => self.unassigned_accounts += 1,
            Class::Assigned => self.assigned_accounts += 1,
        }
    }
}

/// The counts of a comparison, parsed.
pub fn comparison_counts(run: &Run) -> ComparisonCounts {
    serde_json::from_value(run.counts.clone()).unwrap_or_default()
}

/// How a comparison ended.
#[derive(Debug, Clone)]
pub struct ComparisonEnd {
    pub state: RunState,
    pub counts: ComparisonCounts,
    pub reason: Option<String>,
}

impl ComparisonEnd {
    /// The end of a comparison that has no result, and why.
    pub fn of_failure(why: &str) -> Self {
        let counts = ComparisonCounts::default();
        Self { state: RunState::Failed, counts, reason: Some(why.to_owned()) }
    }
}

/// Whether a comparison waits for this sync run.
pub async fn waits_for_run(cx: &Cx, sync_run: Uuid) -> Result<bool> {
    let open =
        cx.find::<reconciliation::Entity>().filter(reconciliation::Column::SyncRunId.eq(sync_run));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    Ok(open.count(&cx.app.store.write).await? > 0)
}

/// Ends the comparison that waits for this sync run of a connection, if there is one.
pub(super) async fn close_waiting(
    tx: &Tx<'_>,
    (connection, sync_run): (Uuid, Uuid),
    end: &ComparisonEnd,
) -> Result<Option<NewEvent>> {
    let open = tx
        .find::<reconciliation::Entity>()
        .filter(reconciliation::Column::ConnectionId.eq(connection));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    let open = open.filter(reconciliation::Column::SyncRunId.eq(sync_run));
    let Some(row) = lock_row(tx, open).await? else { return Ok(None) };
    let (_, event) = finish_locked(tx, row, end).await?;
    Ok(Some(event))
}

/// Writes the result of a comparison that the caller has locked.
pub(super) async fn finish_locked(
    tx: &Tx<'_>,
    run: Run,
    end: &ComparisonEnd,
) -> Result<(Run, NewEvent)> {
    let ComparisonEnd { state, counts, reason } = end.clone();
    let now = tx.now_after(Some(run.started_at));
    let known = comparison_counts(&run);
    let (rows, unread) = (known.rows.max(counts.rows), known.unread.max(counts.unread));
    let counts = ComparisonCounts { rows, unread, ..counts };
    let done = Run { state, counts: json!(counts), reason, finished_at: Some(now), ..run };
    save_row::<reconciliation::Entity, reconciliation::ActiveModel>(tx, done.clone()).await?;
    let kind = match state {
        RunState::Succeeded => EventKind::ReconciliationSucceeded,
        RunState::Refused => EventKind::ReconciliationRefused,
        _ => EventKind::ReconciliationFailed,
    };
    let entry = comparison_event(kind, &done, now, json!({ "counts": counts }));
    Ok((done, entry))
}

/// An event of a comparison.
pub(super) fn comparison_event(
    kind: EventKind,
    run: &Run,
    at: DateTime<Utc>,
    after: Value,
) -> NewEvent {
    let subject = EventSubject { kind: "reconciliation", id: run.id };
    NewEvent {
        kind,
        subject,
        connection: Some(run.connection_id),
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}
