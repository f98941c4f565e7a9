//! Carries out the deletion of all accounts that came through SCIM: which run holds the job, which
//! accounts are next, and how it ends.
//!
//! The accounts are listed when the job is made. Each batch is one transaction: it deletes and
//! erases the accounts, takes them off the list and counts them. So whatever happens to the server,
//! the next run continues with the accounts that are left, and none is deleted or counted twice.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::deletion_job;
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, FromQueryResult, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::{DeletionJob, State, deletion_event, lock_job};
use crate::auth::policy::Actor;
use crate::context::{
    App, Change, ClaimedRow, Cx, DELETION_JOBS, Lease, LeaseClaim, Tx, lease_lost,
};
use crate::domain::access::api_key;
use crate::domain::bulk::run::resolve_caller;
use crate::domain::directory::{erasure, group};
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::paging;
use crate::domain::tenant::organization::is_open_condition;
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// Accounts deleted in one transaction.
const BATCH_SIZE: usize = 500;
/// How long the lease lasts without a renewal. Every batch renews it; if a process dies, another
/// run continues after this time.
const JOB_LEASE: Duration = Duration::seconds(20);
/// How long a job is kept after its end.
const JOB_RETENTION: Duration = Duration::days(30);

/// The right of one run to carry a job out.
#[derive(Debug)]
pub struct DeletionClaim {
    pub job: DeletionJob,
    /// The context for rolecall's own work in the job's organization.
    cx: Cx,
    lease: Lease,
}

/// Claims the next job that no run holds.
pub async fn claim_next_deletion(app: &Arc<App>) -> Result<Option<DeletionClaim>> {
    let claim = LeaseClaim {
        lasts: JOB_LEASE,
        due: is_open_condition("deletion_job"),
        due_values: Vec::new(),
        set: "started_at = coalesce(started_at, $1), state = 'RUNNING'".into(),
        set_values: vec![app.clock.now().into()],
    };
    let (db, time) = (&app.store.write, app.database_time());
    let claimed = DELETION_JOBS.claim_next(db, time, &claim, "id").await?;
    let Some(ClaimedRow { organization, id, lease }) = claimed else { return Ok(None) };
    let cx = Cx::system(app.clone(), organization);
    let query = cx.find::<deletion_job::Entity>().filter(deletion_job::Column::Id.eq(id));
    let job = query.one(db).await?;
    Ok(job.map(|job| DeletionClaim { job, cx, lease }))
}

/// What a run of a job came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOutcome {
    /// Accounts are left.
    More,
    /// The job has ended, or another run holds it.
    Ended,
}

#[derive(Debug, FromQueryResult)]
struct DeletionTarget {
    connection_id: Uuid,
    user_id: Uuid,
}

#[derive(Debug, FromQueryResult)]
struct LockedUser {
    id: Uuid,
    updated_at: DateTime<Utc>,
}

impl DeletionClaim {
    /// Deletes the next accounts, or ends the job if none are left.
    ///
    /// # Errors
    /// Those of this server: the job goes on when its lease has ended.
    pub async fn delete_next_batch(&self) -> Result<BatchOutcome> {
        let actor = match self.resolve_actor().await? {
            Ok(actor) => actor,
            Err(why) => {
                self.finish(State::Stopped, Some(why)).await?;
                return Ok(BatchOutcome::Ended);
            }
        };
        let targets = self.next_targets().await?;
        let Some(owner) = targets.first().map(|target| target.connection_id) else {
            self.finish(State::Completed, None).await?;
            return Ok(BatchOutcome::Ended);
        };
        // A ledger row counts for one connection.
        let ids: Vec<Uuid> = targets
            .iter()
            .take_while(|target| target.connection_id == owner)
            .map(|target| target.user_id)
            .collect();
        let job = &self.job;
        let cx = Cx::new(self.cx.app.clone(), actor, job.organization_id, job.request_id)
            .with_fence(self.lease.clone());
        if !self.delete_batch(&cx, owner, &ids).await? {
            // None of them is there any more, so there is nothing to tell.
            self.drop_targets(&ids).await?;
        }
        Ok(BatchOutcome::More)
    }

    /// Releases the job, so that another run can continue it at once.
    pub async fn release(&self) -> Result<()> {
        let app = &self.cx.app;
        Ok(self.lease.release(&app.store.write, app.database_time(), "", Vec::new()).await?)
    }

    /// The actor of the events: the caller that asked for the deletion, if its credential is still
    /// valid.
    async fn resolve_actor(&self) -> Result<Result<Actor, &'static str>> {
        let job = &self.job;
        let named = (job.actor_kind.as_str(), job.actor_id.as_str(), job.actor_name.as_str());
        resolve_caller(&self.cx, named, &job.permissions).await
    }

    async fn next_targets(&self) -> Result<Vec<DeletionTarget>> {
        let text = format!(
            "SELECT connection_id, user_id FROM deletion_target WHERE organization_id = $1 AND \
             job_id = $2 ORDER BY connection_id, user_id LIMIT {BATCH_SIZE}"
        );
        let statement = self.cx.statement(text, [self.job.id.into()]);
        Ok(DeletionTarget::find_by_statement(statement).all(&self.cx.app.store.write).await?)
    }

    /// Deletes and erases those of these accounts that are still live, unprotected and of this
    /// owner. False if there are none.
    async fn delete_batch(&self, cx: &Cx, owner: Uuid, ids: &[Uuid]) -> Result<bool> {
        cx.write(move |tx| {
            Box::pin(async move {
                let accounts = lock_users(tx, owner, ids).await?;
                if accounts.is_empty() {
                    return Ok(Change::unchanged(false));
                }
                let deleted: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
                self.count_deleted(tx, deleted.len()).await?;
                let now = tx.now_after(accounts.iter().map(|account| account.updated_at).max());
                interval::close_of_users(tx, IntervalTable::Activation, &deleted, now).await?;
                group::bump_versions_around(tx, &deleted, now).await?;
                let memberships =
                    interval::close_of_users(tx, IntervalTable::Membership, &deleted, now).await?;
                let grants =
                    interval::close_of_users(tx, IntervalTable::RoleGrant, &deleted, now).await?;
                let keys = api_key::end_with(tx, &deleted, now).await?;
                let also_erased = erasure::erase_users(cx, tx, &deleted, now).await?;
                cx.app.store.note_erasure();
                self.delete_targets(tx, ids).await?;
                let entry = NewEvent {
                    kind: EventKind::UsersDeletedAll,
                    // Many subjects: the payload lists them, by ids without names.
                    subject: EventSubject { kind: "user", id: Uuid::nil() },
                    connection: Some(owner),
                    at: now,
                    before: Some(json!({
                        "ids": deleted, "memberships": memberships, "grants": grants,
                        "apiKeysEnded": keys, "alsoErased": also_erased,
                    })),
                    after: Some(json!({ "deletionId": self.job.id })),
                    population: -(deleted.len() as i64),
                    name: None,
                };
                Ok(Change::recorded(true, entry))
            })
        })
        .await
    }

    /// Renews the lease and counts the accounts, in the transaction that deletes them.
    async fn count_deleted(&self, tx: &Tx<'_>, deleted: usize) -> Result<()> {
        let (time, values) = (self.cx.app.database_time(), vec![(deleted as i64).into()]);
        if self.lease.renew(&tx.db, time, JOB_LEASE, "done = done + $1", values).await? {
            Ok(())
        } else {
            Err(lease_lost())
        }
    }

    async fn delete_targets(&self, tx: &Tx<'_>, ids: &[Uuid]) -> Result<()> {
        let statement = self.targets_statement(tx.db.get_database_backend(), ids);
        tx.db.execute_raw(statement).await?;
        Ok(())
    }

    /// Takes accounts that are gone off the list, if this run still holds the job.
    async fn drop_targets(&self, ids: &[Uuid]) -> Result<()> {
        let app = &self.cx.app;
        let db = &app.store.write;
        if self.lease.renew(db, app.database_time(), JOB_LEASE, "", Vec::new()).await? {
            db.execute_raw(self.targets_statement(db.get_database_backend(), ids)).await?;
            Ok(())
        } else {
            Err(lease_lost())
        }
    }

    fn targets_statement(&self, backend: DbBackend, ids: &[Uuid]) -> sea_orm::Statement {
        let text = format!(
            "DELETE FROM deletion_target WHERE organization_id = $1 AND job_id = $2 AND user_id {}",
            paging::in_ids(backend, 3)
        );
        self.cx.statement(text, [self.job.id.into(), paging::bind_ids(ids)])
    }

    /// Ends the job. Accounts that were not looked at stay.
    async fn finish(&self, state: State, why: Option<&'static str>) -> Result<()> {
        let Self { cx, job, lease } = self;
        cx.write(move |tx| {
            Box::pin(async move {
                let mut row = lock_job(tx, job.id).await?;
                if row.holder != Some(lease.holder()) || row.finished_at.is_some() {
                    return Ok(Change::unchanged(()));
                }
                let now = tx.now_after(row.started_at);
                (row.state, row.stopped_because) = (state, why.map(Into::into));
                (row.finished_at, row.holder) = (Some(now), None);
                let after = json!({
                    "deleted": row.done, "protected": row.protected,
                    "skipped": row.total - row.done, "because": why,
                });
                crate::domain::save_row::<deletion_job::Entity, deletion_job::ActiveModel>(tx, row)
                    .await?;
                let text = "DELETE FROM deletion_target WHERE organization_id = $1 AND job_id = $2";
                tx.db.execute_raw(tx.statement(text, [job.id.into()])).await?;
                let kind = match state {
                    State::Completed => EventKind::DeletionCompleted,
                    _ => EventKind::DeletionStopped,
                };
                Ok(Change::recorded((), deletion_event(kind, job.id, now, after)))
            })
        })
        .await
    }
}

async fn lock_users(tx: &Tx<'_>, owner: Uuid, ids: &[Uuid]) -> Result<Vec<LockedUser>> {
    let backend = tx.db.get_database_backend();
    let lock = if backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
    let text = format!(
        r#"SELECT id, updated_at FROM "user" WHERE organization_id = $1 AND connection_id = $2
           AND deleted_at IS NULL
            AND protected = FALSE AND id {} ORDER BY id {lock}"#,
        paging::in_ids(backend, 3)
    );
    let values = [owner.into(), paging::bind_ids(ids)];
    Ok(LockedUser::find_by_statement(tx.statement(text, values)).all(&tx.db).await?)
}

/// Deletes the jobs whose retention is over, in every organization.
pub async fn forget_old_jobs(app: &Arc<App>) -> Result<()> {
    let before = app.clock.now() - JOB_RETENTION;
    let text = "DELETE FROM deletion_job WHERE finished_at IS NOT NULL AND finished_at < $1";
    let reason = "which deletions ended long ago";
    let statement = app.statement_for_all_organizations(text, [before.into()], reason);
    app.store.write.execute_raw(statement).await?;
    Ok(())
}
