//! Carrying a run out: who does it, where it goes on after whoever did it has died, and how it ends.
//!
//! One server at a time holds a run; one that was not heard of for a while has died, and another goes on from the last
//! checkpoint. What was carried over after it is compared again and found to be as it should.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionStatus};
use entity::sync_run;
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, Statement};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::carry::{self, Kind};
use super::met::Met;
use super::{CANCELLED, Counts, MAX_TROUBLES, Mode, Run, State, Trouble, entry};
use crate::authz::{Actor, Scope};
use crate::context::{App, Change, Cx, Followed, lease_lost};
use crate::context::{Lease, SYNC_RUNS};
use crate::domain::failure::{self, Name, Origin, READ_SOURCE, Report, WHOLE};
use crate::domain::organization;
use crate::domain::pull_source::{self, Learned};
use crate::domain::reconcile::source::{self, Compared, Theirs};
use crate::error::{Error, Result};
use crate::ledger::EventKind;
use crate::repeats::Success;

/// A server that was not heard of for so long has died.
const LEASE: Duration = Duration::seconds(15);
/// Runs of one connection that are kept beside the last.
const KEPT: u64 = 200;
/// The part of a source that a run reads which wants only what changed.
const CHANGES: &str = "changes";

/// Which run was to read this part of a source.
pub fn mode_of(scope: &str) -> Mode {
    if scope == CHANGES { Mode::Incremental } else { Mode::Full }
}

/// What a run is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    Users,
    /// The users once more: for managers that were not known the first time.
    Managers,
    Groups,
    /// The groups once more: for members that were not known the first time.
    Members,
    /// Whom the source does not list.
    Absent,
}

/// Where a run goes on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    pub phase: Phase,
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
    /// This phase is read once more, and now takes away what it would have taken.
    pub takes_away: bool,
    /// Whether it was asked to approve what the source does not list any more.
    pub asked_of_absence: bool,
    /// How often the run was interrupted here.
    pub interrupted: u32,
    /// Whether some managers were not known when whoever they manage was read.
    pub managers_missing: bool,
    /// Whether some members were not known when their group was read.
    pub members_missing: bool,
    /// Whether the source was seen to list the members of a group.
    pub lists_members: bool,
    /// What is to be known of the run at its end.
    pub note: Option<String>,
}

/// The right to carry a run out.
#[derive(Debug)]
pub struct Claim {
    pub run: Run,
    /// The connection itself, writing what it owns; in a dry run its writes are undone.
    pub cx: Cx,
    pub checkpoint: Checkpoint,
    pub counts: Counts,
    troubles: Vec<Trouble>,
    lease: Lease,
    /// What the source lists, if it is to be compared with what is here.
    theirs: Option<Theirs>,
    compared: Option<Compared>,
}

/// Why a server lets go of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Succeeded,
    /// It is to be asked whether to go on.
    Waiting(String),
    Failed {
        /// Code of what was in the way; none where that is no work for anybody.
        reason: Option<&'static str>,
        why: String,
    },
    Cancelled,
    /// Another server holds the run.
    Lost,
}

/// Takes the next run that nobody carries out.
pub async fn claim(app: &Arc<App>) -> Result<Option<Claim>> {
    let (time, backend) = (app.database_time(), app.store.backend());
    let mut values = Vec::new();
    let next = format!(
        "SELECT * FROM sync_run WHERE finished_at IS NULL AND state <> 'WAITING' AND until <= {} ORDER BY id LIMIT 1",
        time.now(&mut values)
    );
    let next = Statement::from_sql_and_values(backend, next, values);
    let Some(run) = Run::find_by_statement(next).one(&app.store.write).await? else { return Ok(None) };
    let holder = Uuid::now_v7();
    let began = app.clock.now();
    let mut values = vec![run.organization_id.into(), run.id.into(), holder.into(), began.into()];
    let (now, until) = (time.now(&mut values), time.after(LEASE, &mut values));
    let take = format!(
        "UPDATE sync_run SET holder = $3, until = {until}, started_at = coalesce(started_at, $4), state = 'RUNNING' \
         WHERE organization_id = $1 AND id = $2 AND until <= {now} AND finished_at IS NULL AND state <> 'WAITING'"
    );
    let taken = app.store.write.execute_raw(Statement::from_sql_and_values(backend, take, values)).await?;
    if taken.rows_affected() == 0 {
        // Another replica was quicker.
        return Ok(None);
    }
    let system = Cx::system(app.clone(), run.organization_id);
    let run = system.find::<sync_run::Entity>().filter(sync_run::Column::Id.eq(run.id)).one(&app.store.write).await?;
    let Some(run) = run else { return Ok(None) };
    let connection = system.find::<connection::Entity>().filter(connection::Column::Id.eq(run.connection_id));
    let name = connection.one(&app.store.write).await?.map(|row| row.name).unwrap_or_default();
    let theirs = match run.mode == Mode::DryRun && source::waits(&system, run.id).await? {
        true => Some(Theirs::of(system.clone(), run.connection_id)),
        false => None,
    };
    let actor = Actor::Connection { id: run.connection_id, name, scopes: Scope::ALL.into() };
    let lease = Lease::new(&SYNC_RUNS, run.organization_id, run.id, holder);
    let cx = Cx::new(app.clone(), actor, run.organization_id, run.id).fenced(lease.clone());
    Ok(Some(Claim {
        cx: if run.mode == Mode::DryRun { cx.rehearsal() } else { cx },
        checkpoint: serde_json::from_value(run.checkpoint.clone()).unwrap_or_default(),
        counts: super::counts(&run),
        troubles: super::troubles(&run),
        lease,
        theirs,
        compared: None,
        run,
    }))
}

/// Says that a run is alive, while it works.
#[derive(Debug, Clone)]
pub struct Pulse {
    cx: Cx,
    connection: Uuid,
    lease: Lease,
}

impl Pulse {
    /// Says so; why the run must end, if it must.
    pub async fn beat(&self) -> Result<Option<End>> {
        let (cx, store) = (&self.cx, &self.cx.app.store);
        let mut values = Vec::new();
        let until = cx.app.database_time().after(LEASE, &mut values);
        let text = self.lease.update_text(&format!("until = {until}"), &mut values) + " RETURNING cancelling";
        let row = store.write.query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
        let Some(row) = row else { return Ok(Some(End::Lost)) };
        if row.try_get("", "cancelling")? {
            return Ok(Some(End::Cancelled));
        }
        let connection = cx.find::<connection::Entity>().filter(connection::Column::Id.eq(self.connection));
        let connection = connection.filter(connection::Column::DeletedAt.is_null()).one(&store.write).await?;
        Ok(match connection {
            Some(row) if row.status == ConnectionStatus::Active => match organization::check_provisioning(cx).await {
                Ok(()) => None,
                Err(Error::Held { why, .. }) => Some(End::Failed { reason: None, why: why.into() }),
                Err(error) => return Err(error),
            },
            _ => Some(End::Failed { reason: None, why: "the connection was deactivated or deleted".into() }),
        })
    }

    /// Gives the run up for another server to go on with, at once.
    pub async fn release(&self) -> Result<()> {
        let mut values = Vec::new();
        let now = self.cx.app.database_time().now(&mut values);
        self.lease.update(&self.cx.app.store.write, &format!("until = {now}"), values).await?;
        Ok(())
    }
}

impl Claim {
    /// What says that the run is alive.
    pub fn pulse(&self) -> Pulse {
        Pulse { cx: self.cx.clone(), connection: self.run.connection_id, lease: self.lease.clone() }
    }

    /// Work of rolecall's own, for the secret of the source, while this server holds the run.
    pub fn system(&self) -> Cx {
        Cx::system(self.cx.app.clone(), self.run.organization_id).fenced(self.lease.clone())
    }

    /// Whether what the source lists is to be compared with what is here.
    pub fn compares(&self) -> bool {
        self.theirs.is_some()
    }

    /// Begins again from the start. What the source listed is known only to whoever read it, and half a list says
    /// nothing of whom it lacks.
    pub async fn read_anew(&mut self) -> Result<()> {
        let interrupted = self.checkpoint.interrupted;
        self.checkpoint = Checkpoint { interrupted, ..Checkpoint::default() };
        (self.counts, self.troubles) = (Counts::default(), Vec::new());
        carry::unsee(&self.cx, self.run.id, &self.lease).await
    }

    /// Keeps what a page listed, for a comparison; why it cannot be made, if there is too much.
    pub async fn met(&mut self, met: Met) -> Result<std::result::Result<(), String>> {
        match &mut self.theirs {
            Some(theirs) => theirs.take(met).await,
            None => Ok(Ok(())),
        }
    }

    /// Compares what the source listed with what is here, and writes down what differs.
    pub async fn compare(&mut self) -> Result<()> {
        if let Some(theirs) = self.theirs.take() {
            self.compared = source::compare(&self.system(), &self.run, theirs).await?;
        }
        Ok(())
    }

    /// Counts the resources of one kind from the beginning, because the list is read from its beginning: what failed
    /// may not fail again. `once_more`: they were counted as read by an earlier pass.
    pub fn recount(&mut self, kind: Kind, once_more: bool) {
        let tally = match kind {
            Kind::User => &mut self.counts.users,
            Kind::Group => &mut self.counts.groups,
        };
        tally.failed = 0;
        if !once_more {
            (tally.read, tally.unchanged) = (0, 0);
        }
        self.troubles.retain(|trouble| trouble.kind != kind.name() && trouble.kind != kind.endpoint());
    }

    /// Remembers what could not be carried over, and tells the review queue; a dry run makes no work.
    pub async fn trouble(&mut self, troubles: Vec<Trouble>, failures: Vec<Report>) -> Result<()> {
        let room = MAX_TROUBLES.saturating_sub(self.troubles.len());
        self.troubles.extend(troubles.into_iter().take(room));
        if failures.is_empty() || self.run.mode == Mode::DryRun {
            return Ok(());
        }
        // Who holds the run now meets the same, and says so.
        if !self.lease.is_held(&self.cx.app.store.write).await? {
            return Err(lease_lost());
        }
        failure::report(&self.cx.app, self.run.organization_id, failures).await
    }

    /// The source of the connection, as the review queue knows it.
    fn source(&self) -> Vec<u8> {
        failure::thing(self.run.connection_id, "Source", Name::Id(self.run.connection_id))
    }

    /// Tells the review queue that the source could not be read.
    async fn unreadable(&self, reason: &'static str) -> Result<()> {
        let report = Report {
            connection: self.run.connection_id,
            origin: Origin::Sync,
            operation: READ_SOURCE,
            resource: None,
            target: None,
            thing: Some(self.source()),
            scope: vec![if self.run.mode == Mode::Incremental { CHANGES } else { WHOLE }.into()],
            label: None,
            reason,
            scim_type: None,
            field: None,
            outline: None,
            payload: None,
            request: Some(self.run.id),
            at: self.cx.app.clock.now(),
        };
        failure::report(&self.cx.app, self.run.organization_id, vec![report]).await
    }

    /// Ends what earlier runs left in the review queue and this one put right. Who could read what changed may still
    /// not read everything.
    async fn put_right(&self) -> Result<()> {
        let (organization, connection) = (self.run.organization_id, self.run.connection_id);
        let at = self.cx.app.clock.now();
        let scope = (self.run.mode == Mode::Incremental).then(|| vec![CHANGES.into()]);
        let success = Success { organization, connection, thing: self.source(), scope, at };
        failure::supersede(&self.cx.app, &success).await?;
        match (self.run.mode, self.run.started_at) {
            (Mode::Full, Some(began)) => failure::supersede_before(&self.cx.app, organization, connection, began).await,
            _ => Ok(()),
        }
    }

    /// Writes down how far the run is; false if another server holds it.
    pub async fn save(&self) -> Result<bool> {
        let values = vec![json!(self.checkpoint).into(), json!(self.counts).into(), json!(self.troubles).into()];
        let set = "checkpoint = $1, counts = $2, troubles = $3";
        Ok(self.lease.update(&self.cx.app.store.write, set, values).await?)
    }

    /// Ends the run, or lets it wait.
    pub async fn finish(&self, end: End) -> Result<()> {
        let reads_all = matches!(self.run.mode, Mode::Full | Mode::Incremental);
        let (state, reason) = match end {
            End::Lost => return Ok(()),
            End::Succeeded => (State::Succeeded, self.checkpoint.note.clone()),
            End::Waiting(why) => (State::Waiting, Some(why)),
            End::Failed { reason, why } => {
                // Who asked for one person or a dry run waits for the answer, and needs no reviewer.
                if let Some(reason) = reason.filter(|_| reads_all) {
                    self.unreadable(reason).await?;
                }
                (State::Failed, Some(why))
            }
            End::Cancelled => (State::Cancelled, None),
        };
        let system = self.system();
        let (cx, reason) = (&system, &reason);
        cx.write(move |tx| {
            Box::pin(async move {
                let query = tx.find::<sync_run::Entity>().filter(sync_run::Column::Id.eq(self.run.id));
                let Some(mut run) = crate::domain::locked(tx, query).await? else { return Ok(Change::nothing(())) };
                if run.holder != Some(self.lease.holder()) || run.finished_at.is_some() {
                    return Ok(Change::nothing(()));
                }
                let now = tx.now_after(run.started_at);
                (run.state, run.reason) = (state, reason.clone());
                (run.checkpoint, run.counts) = (json!(self.checkpoint), json!(self.counts));
                run.troubles = json!(self.troubles);
                if state != State::Waiting {
                    (run.finished_at, run.target) = (Some(now), None);
                }
                // A run with failures leaves something to be read again.
                let since = (reads_all
                    && state == State::Succeeded
                    && self.counts.users.failed + self.counts.groups.failed == 0)
                    .then_some(run.started_at)
                    .flatten();
                if run.mode != Mode::DryRun {
                    let learned = Learned {
                        lists_members: self.checkpoint.lists_members,
                        complete_at: since,
                        full: state == State::Succeeded && run.mode == Mode::Full,
                        changes: state == State::Succeeded && reads_all,
                    };
                    pull_source::learn(tx, run.connection_id, learned, now).await?;
                }
                let after = json!({ "mode": run.mode.to_value(), "counts": self.counts, "reason": reason });
                let kind = match state {
                    State::Succeeded => EventKind::SyncRunSucceeded,
                    State::Waiting => EventKind::SyncRunWaiting,
                    State::Failed => EventKind::SyncRunFailed,
                    _ => EventKind::SyncRunEnded,
                };
                let entry = entry(kind, &run, now, after);
                let compared = match (state, &self.compared) {
                    (State::Waiting, _) => None,
                    (State::Succeeded, Some(compared)) => source::close(tx, &run, Ok(compared)).await?,
                    (State::Cancelled, _) => source::close(tx, &run, Err(CANCELLED)).await?,
                    _ => source::close(tx, &run, Err(run.reason.as_deref().unwrap_or("the run ended"))).await?,
                };
                crate::domain::save::<sync_run::Entity, sync_run::ActiveModel>(tx, run).await?;
                let mut change = Change::made((), entry);
                let (request_id, requested_at) = (tx.request_id(), cx.requested_at);
                let told = compared.map(|entry| Followed { request_id, requested_at, entry });
                change.followed.extend(told);
                Ok(change)
            })
        })
        .await?;
        match reads_all && state == State::Succeeded {
            true => self.put_right().await,
            false => Ok(()),
        }
    }
}

/// Forgets all but the latest runs of each connection.
pub async fn forget(app: &App) -> Result<()> {
    let text = format!(
        "DELETE FROM sync_run WHERE finished_at IS NOT NULL AND finished_at < $1 AND id < ( \
           SELECT l.id FROM sync_run l WHERE l.organization_id = sync_run.organization_id \
             AND l.connection_id = sync_run.connection_id ORDER BY l.id DESC LIMIT 1 OFFSET {KEPT})"
    );
    let old: DateTime<Utc> = app.clock.now() - Duration::days(30);
    let statement = Statement::from_sql_and_values(app.store.backend(), text, [old.into()]);
    app.store.write.execute_raw(statement).await?;
    Ok(())
}
