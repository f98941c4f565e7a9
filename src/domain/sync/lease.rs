//! Running a sync run: which server holds it, where another server continues after that one has
//! died, and how the run ends.
//!
//! One server at a time holds a run. A server that has not renewed its lease for a while counts as
//! dead, and another one continues from the last checkpoint. What was applied after the checkpoint
//! is compared again and found unchanged.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionStatus};
use entity::sync_run;
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{CANCELLED_REASON, MAX_TROUBLES, Mode, Run, RunCounts, RunTrouble, State, run_event};
use crate::auth::policy::{Actor, Scope};
use crate::buffers::failure_repeats::SucceededWrite;
use crate::context::{
    App, Change, ClaimedRow, Cx, DerivedChange, Lease, LeaseClaim, SYNC_RUNS, Tx, lease_lost,
};
use crate::domain::comparison;
use crate::domain::comparison::ComparisonEnd;
use crate::domain::connection::pull_source;
use crate::domain::connection::pull_source::SourceObservations;
use crate::domain::review;
use crate::domain::review::{
    FailureReport, Origin, READ_SOURCE_OPERATION, TargetName, WHOLE_SCOPE,
};
use crate::domain::sync::local_rows;
use crate::domain::sync::plan::SyncKind;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::is_open_condition;
use crate::error::{Error, RefusalReason, Result};
use crate::ledger::EventKind;

/// A server that has not renewed its lease for this time counts as dead.
const RUN_LEASE: Duration = Duration::seconds(15);
/// The latest runs of each connection that are kept, however old they are.
const RUNS_KEPT: u64 = 200;
/// The scope of a failure to read what changed at a source.
const CHANGES_SCOPE: &str = "changes";

/// The mode of the runs that read this scope of a source.
pub fn mode_of(scope: &str) -> Mode {
    if scope == CHANGES_SCOPE { Mode::Incremental } else { Mode::Full }
}

/// The phase of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunPhase {
    #[default]
    Users,
    /// The users once more: for managers that were not known the first time.
    Managers,
    Groups,
    /// The groups once more: for members that were not known the first time.
    Members,
    /// The accounts and groups that the source does not list.
    Absent,
}

/// Where a run continues.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunCheckpoint {
    pub phase: RunPhase,
    /// The next page, by number of its first resource, from 0 …
    pub index: u64,
    /// … or by the source's cursor.
    pub cursor: Option<String>,
    /// Resources listed in this phase that have no account or group here.
    pub strangers: u64,
    /// How often this phase began again.
    pub again: u32,
    /// Accounts that this phase would suspend, or memberships that it would end …
    pub taking: u64,
    /// … and memberships that it began.
    pub giving: u64,
    /// This phase reads its list again, and now suspends accounts or ends memberships.
    pub takes_away: bool,
    /// Whether the run has asked for the approval to remove what the source no longer lists.
    pub asked_of_absence: bool,
    /// How often the run was interrupted here.
    pub interrupted: u32,
    /// Whether some managers were not known when the people that they manage were read.
    pub managers_missing: bool,
    /// Whether some members were not known when their group was read.
    pub members_missing: bool,
    /// Whether the source has listed the members of a group.
    pub lists_members: bool,
    /// Notes for administrators at the end of the run.
    pub note: Option<String>,
}

/// The right to carry out a run.
#[derive(Debug)]
pub struct RunClaim {
    pub run: Run,
    /// A context of the connection, which writes what it owns; in a dry run its writes are undone.
    pub cx: Cx,
    pub checkpoint: RunCheckpoint,
    pub counts: RunCounts,
    troubles: Vec<RunTrouble>,
    lease: Lease,
    /// Whether a comparison waits for what the source lists.
    pub needs_comparison: bool,
    /// How that comparison ended.
    pub compared: Option<ComparisonEnd>,
}

/// How a server ends its work on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    Succeeded,
    /// An administrator must approve that the run continues.
    Waiting(String),
    Failed {
        /// Code of the cause; none where no reviewer has to act.
        reason: Option<RefusalReason>,
        why: String,
    },
    Cancelled,
    /// Another server holds the run.
    Lost,
}

/// Takes the next run that no server holds.
pub async fn claim_next_run(app: &Arc<App>) -> Result<Option<RunClaim>> {
    let claim = LeaseClaim {
        lasts: RUN_LEASE,
        due: format!("state <> 'WAITING' AND {}", is_open_condition("sync_run")),
        due_values: Vec::new(),
        set: "started_at = coalesce(started_at, $1), state = 'RUNNING'".into(),
        set_values: vec![app.clock.now().into()],
    };
    let claimed = SYNC_RUNS.claim_next(&app.store.write, app.database_time(), &claim, "id").await?;
    let Some(ClaimedRow { organization, id, lease }) = claimed else { return Ok(None) };
    let system = Cx::system(app.clone(), organization);
    let run = system
        .find::<sync_run::Entity>()
        .filter(sync_run::Column::Id.eq(id))
        .one(&app.store.write)
        .await?;
    let Some(run) = run else { return Ok(None) };
    let connection =
        system.find::<connection::Entity>().filter(connection::Column::Id.eq(run.connection_id));
    let name = connection.one(&app.store.write).await?.map(|row| row.name).unwrap_or_default();
    let needs_comparison =
        run.mode == Mode::DryRun && comparison::waits_for_run(&system, run.id).await?;
    let actor = Actor::Connection { id: run.connection_id, name, scopes: Scope::ALL.into() };
    let cx = Cx::new(app.clone(), actor, run.organization_id, run.id).with_fence(lease.clone());
    Ok(Some(RunClaim {
        cx: if run.mode == Mode::DryRun { cx.rehearsal() } else { cx },
        checkpoint: serde_json::from_value(run.checkpoint.clone()).unwrap_or_default(),
        counts: super::run_counts(&run),
        troubles: super::run_troubles(&run),
        lease,
        needs_comparison,
        compared: None,
        run,
    }))
}

/// Renews the lease of a run while the run works.
#[derive(Debug, Clone)]
pub struct RunHeartbeat {
    cx: Cx,
    connection: Uuid,
    lease: Lease,
}

impl RunHeartbeat {
    /// Renews the lease. Returns how the run must end, if it must.
    pub async fn renew_lease(&self) -> Result<Option<RunEnd>> {
        let (cx, store) = (&self.cx, &self.cx.app.store);
        let (db, time) = (&store.write, cx.app.database_time());
        let cancelling =
            self.lease.renew_and_read(db, time, RUN_LEASE, "", Vec::new(), "cancelling").await?;
        match cancelling {
            None => return Ok(Some(RunEnd::Lost)),
            Some(true) => return Ok(Some(RunEnd::Cancelled)),
            Some(false) => {}
        }
        let connection =
            cx.find::<connection::Entity>().filter(connection::Column::Id.eq(self.connection));
        let connection =
            connection.filter(connection::Column::DeletedAt.is_null()).one(&store.write).await?;
        Ok(match connection {
            Some(row) if row.status == ConnectionStatus::Active => {
                match organization::check_provisioning(cx).await {
                    Ok(()) => None,
                    Err(Error::Held { why, .. }) => {
                        Some(RunEnd::Failed { reason: None, why: why.into() })
                    }
                    Err(error) => return Err(error),
                }
            }
            _ => Some(RunEnd::Failed {
                reason: None,
                why: "the connection was deactivated or deleted".into(),
            }),
        })
    }

    /// Releases the run, so that another server can continue it at once.
    pub async fn release_run(&self) -> Result<()> {
        let app = &self.cx.app;
        Ok(self.lease.release(&app.store.write, app.database_time(), "", Vec::new()).await?)
    }
}

impl RunClaim {
    /// The heartbeat of the run.
    pub fn start_heartbeat(&self) -> RunHeartbeat {
        RunHeartbeat {
            cx: self.cx.clone(),
            connection: self.run.connection_id,
            lease: self.lease.clone(),
        }
    }

    /// A system context, which may read the secret of the source, valid while this server holds the
    /// run.
    pub fn system_context(&self) -> Cx {
        Cx::system(self.cx.app.clone(), self.run.organization_id).with_fence(self.lease.clone())
    }

    /// Restarts the run. What the source listed is known only to the server that read it, and half
    /// of a list does not show which resources are missing.
    pub async fn read_anew(&mut self) -> Result<()> {
        let interrupted = self.checkpoint.interrupted;
        self.checkpoint = RunCheckpoint { interrupted, ..RunCheckpoint::default() };
        (self.counts, self.troubles) = (RunCounts::default(), Vec::new());
        local_rows::forget_seen(&self.cx, self.run.id, &self.lease).await
    }

    /// Counts the resources of one kind from zero, because their list is read from its beginning:
    /// what failed may not fail again. With `once_more`, an earlier pass has counted them as read.
    pub fn restart_count(&mut self, kind: SyncKind, once_more: bool) {
        let tally = match kind {
            SyncKind::User => &mut self.counts.users,
            SyncKind::Group => &mut self.counts.groups,
        };
        tally.failed = 0;
        if !once_more {
            (tally.read, tally.unchanged) = (0, 0);
        }
        self.troubles
            .retain(|trouble| trouble.kind != kind.name() && trouble.kind != kind.endpoint_name());
    }

    /// Records resources that could not be applied, and reports them to the review queue; a dry run
    /// reports nothing.
    pub async fn record_troubles(
        &mut self,
        troubles: Vec<RunTrouble>,
        failures: Vec<FailureReport>,
    ) -> Result<()> {
        let room = MAX_TROUBLES.saturating_sub(self.troubles.len());
        self.troubles.extend(troubles.into_iter().take(room));
        if failures.is_empty() || self.run.mode == Mode::DryRun {
            return Ok(());
        }
        // The server that holds the run now meets the same failures and reports them.
        if !self.lease.is_held(&self.cx.app.store.write).await? {
            return Err(lease_lost());
        }
        review::report_failures(&self.cx.app, self.run.organization_id, failures).await
    }

    /// The review queue's key of the connection's source.
    fn source_key(&self) -> Vec<u8> {
        review::target_key(self.run.connection_id, "Source", TargetName::Id(self.run.connection_id))
    }

    /// Reports to the review queue that the source could not be read.
    async fn report_unreadable(&self, reason: RefusalReason) -> Result<()> {
        let report = FailureReport {
            connection: self.run.connection_id,
            origin: Origin::Sync,
            operation: READ_SOURCE_OPERATION,
            resource: None,
            target: None,
            thing: Some(self.source_key()),
            scope: vec![
                if self.run.mode == Mode::Incremental { CHANGES_SCOPE } else { WHOLE_SCOPE }.into(),
            ],
            label: None,
            reason,
            scim_type: None,
            field: None,
            outline: None,
            payload: None,
            request: Some(self.run.id),
            at: self.cx.app.clock.now(),
        };
        review::report_failures(&self.cx.app, self.run.organization_id, vec![report]).await
    }

    /// Resolves failures of earlier runs that this run has fixed. An incremental run does not
    /// resolve failures of full runs: the source may still fail to list everything.
    async fn resolve_fixed_failures(&self) -> Result<()> {
        let (organization, connection) = (self.run.organization_id, self.run.connection_id);
        let at = self.cx.app.clock.now();
        let scope = (self.run.mode == Mode::Incremental).then(|| vec![CHANGES_SCOPE.into()]);
        let success =
            SucceededWrite { organization, connection, thing: self.source_key(), scope, at };
        review::supersede_by_success(&self.cx.app, &success).await?;
        match (self.run.mode, self.run.started_at) {
            (Mode::Full, Some(began)) => {
                review::supersede_by_run(&self.cx.app, organization, connection, began).await
            }
            _ => Ok(()),
        }
    }

    /// Stores the progress of the run; false if another server holds it.
    pub async fn save_checkpoint(&self) -> Result<bool> {
        let values = vec![
            json!(self.checkpoint).into(),
            json!(self.counts).into(),
            json!(self.troubles).into(),
        ];
        let set = "checkpoint = $1, counts = $2, troubles = $3";
        Ok(self.lease.update_if_held(&self.cx.app.store.write, set, values).await?)
    }

    /// Ends the run, or lets it wait.
    pub async fn finish_run(&self, end: RunEnd) -> Result<()> {
        let reads_all = self.reads_all();
        let (state, reason) = match end {
            RunEnd::Lost => return Ok(()),
            RunEnd::Succeeded => (State::Succeeded, self.checkpoint.note.clone()),
            RunEnd::Waiting(why) => (State::Waiting, Some(why)),
            RunEnd::Failed { reason, why } => {
                // The administrator who started a dry run or a run of one person waits for its
                // result, so it needs no reviewer.
                if let Some(reason) = reason.filter(|_| reads_all) {
                    self.report_unreadable(reason).await?;
                }
                (State::Failed, Some(why))
            }
            RunEnd::Cancelled => (State::Cancelled, None),
        };
        let system = self.system_context();
        let (cx, reason) = (&system, &reason);
        cx.write(move |tx| Box::pin(self.write_end(tx, cx, state, reason))).await?;
        if reads_all && state == State::Succeeded {
            self.resolve_fixed_failures().await?;
        }
        Ok(())
    }

    fn reads_all(&self) -> bool {
        matches!(self.run.mode, Mode::Full | Mode::Incremental)
    }

    /// Writes the end of the run and of the comparison that waits for it, unless another server has
    /// taken the run.
    async fn write_end(
        &self,
        tx: &Tx<'_>,
        cx: &Cx,
        state: State,
        reason: &Option<String>,
    ) -> Result<Change<()>> {
        let query = tx.find::<sync_run::Entity>().filter(sync_run::Column::Id.eq(self.run.id));
        let Some(mut run) = crate::domain::lock_row(tx, query).await? else {
            return Ok(Change::unchanged(()));
        };
        if run.holder != Some(self.lease.holder()) || run.finished_at.is_some() {
            return Ok(Change::unchanged(()));
        }
        let now = tx.now_after(run.started_at);
        (run.state, run.reason) = (state, reason.clone());
        (run.checkpoint, run.counts) = (json!(self.checkpoint), json!(self.counts));
        run.troubles = json!(self.troubles);
        if state != State::Waiting {
            (run.finished_at, run.target) = (Some(now), None);
        }
        if run.mode != Mode::DryRun {
            let observed = self.observations(&run, state);
            pull_source::store_observations(tx, run.connection_id, observed, now).await?;
        }
        let after = json!({ "mode": run.mode.to_value(), "counts": self.counts, "reason": reason });
        let kind = match state {
            State::Succeeded => EventKind::SyncRunSucceeded,
            State::Waiting => EventKind::SyncRunWaiting,
            State::Failed => EventKind::SyncRunFailed,
            _ => EventKind::SyncRunEnded,
        };
        let entry = run_event(kind, &run, now, after);
        let end = self.comparison_end(&run, state);
        let compared = match end {
            Some(end) => comparison::close_waiting(tx, (run.connection_id, run.id), &end).await?,
            None => None,
        };
        crate::domain::save_row::<sync_run::Entity, sync_run::ActiveModel>(tx, run).await?;
        let mut change = Change::recorded((), entry);
        let (request_id, requested_at) = (tx.request_id(), cx.requested_at);
        let followed = compared.map(|entry| DerivedChange { request_id, requested_at, entry });
        change.followed.extend(followed);
        Ok(change)
    }

    /// What a run in this state teaches about its source.
    fn observations(&self, run: &Run, state: State) -> SourceObservations {
        let reads_all = self.reads_all();
        // After a run with failures, something must still be read again.
        let since = (reads_all
            && state == State::Succeeded
            && self.counts.users.failed + self.counts.groups.failed == 0)
            .then_some(run.started_at)
            .flatten();
        SourceObservations {
            lists_members: self.checkpoint.lists_members,
            complete_at: since,
            full: state == State::Succeeded && run.mode == Mode::Full,
            changes: state == State::Succeeded && reads_all,
        }
    }

    /// How the comparison ends that waits for the run; none while the run waits.
    fn comparison_end(&self, run: &Run, state: State) -> Option<ComparisonEnd> {
        match (state, &self.compared) {
            (State::Waiting, _) => None,
            (State::Succeeded, Some(compared)) => Some(compared.clone()),
            (State::Cancelled, _) => Some(ComparisonEnd::of_failure(CANCELLED_REASON)),
            _ => Some(ComparisonEnd::of_failure(run.reason.as_deref().unwrap_or("the run ended"))),
        }
    }
}

/// Deletes old runs, but not the latest of each connection.
pub async fn forget_old_runs(app: &App) -> Result<()> {
    let text = format!(
        "DELETE FROM sync_run WHERE finished_at IS NOT NULL AND finished_at < $1 AND id < ( \
           SELECT l.id FROM sync_run l WHERE l.organization_id = sync_run.organization_id \
             AND l.connection_id = sync_run.connection_id ORDER BY l.id DESC \
             LIMIT 1 OFFSET {RUNS_KEPT})"
    );
    let old: DateTime<Utc> = app.clock.now() - Duration::days(30);
    let statement = app.statement_for_all_organizations(text, [old.into()], "which runs are old");
    app.store.write.execute_raw(statement).await?;
    Ok(())
}
