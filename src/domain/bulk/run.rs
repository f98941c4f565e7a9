//! Carries bulk jobs out: which run holds a job, which line is next, and what is stored about it.
//!
//! One run at a time holds a job, on any replica. A run that does not renew its lease counts as
//! dead, and another run continues. Each line has a request id of its own, which its events in the
//! ledger name. So the run that follows a dead one finds in the ledger whether the line was carried
//! out, and does not repeat it. A run that was only delayed cannot write any more: each write of a
//! line takes effect only while its run holds the job.

use std::sync::Arc;

use chrono::Duration;
use entity::{api_key, bulk_job, bulk_line, event};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Value,
};
use serde_json::json;
use uuid::Uuid;

use super::{JOB_RETENTION, Job, State, job_event, lock_job};
use crate::auth::policy::{Actor, Permissions};
use crate::context::{App, BULK_JOBS, Change, ClaimedRow, Cx, Lease, LeaseClaim};
use crate::domain::access::api_key as api_keys;
use crate::domain::tenant::organization::is_open_condition;
use crate::error::Result;
use crate::ledger::EventKind;

pub use bulk_line::Model as Line;

/// A run that does not renew its lease for so long counts as dead.
const JOB_LEASE: Duration = Duration::minutes(1);
/// Lines that are read at once.
const LINES_PER_READ: u64 = 20;

/// The right of one run to carry a job out.
#[derive(Debug)]
pub struct BulkClaim {
    pub job: Job,
    /// The context for rolecall's own work in the job's organization.
    pub cx: Cx,
    lease: Lease,
}

/// Claims the next job that no run holds. An organization's jobs are carried out one after another,
/// in the order of their arrival.
pub async fn claim_next_job(app: &Arc<App>) -> Result<Option<BulkClaim>> {
    let claim = LeaseClaim {
        lasts: JOB_LEASE,
        due: format!(
            "state <> 'UPLOADING' \
             AND NOT EXISTS (SELECT 1 FROM bulk_job o \
             WHERE o.organization_id = bulk_job.organization_id \
             AND o.finished_at IS NULL AND o.state <> 'UPLOADING' AND o.id < bulk_job.id) AND {}",
            is_open_condition("bulk_job")
        ),
        due_values: Vec::new(),
        set: "started_at = coalesce(started_at, $1), \
              state = CASE WHEN state = 'QUEUED' THEN 'RUNNING' ELSE state END, \
              done = (SELECT count(*) FROM bulk_line l \
              WHERE l.organization_id = bulk_job.organization_id AND l.job_id = bulk_job.id \
              AND l.result IS NOT NULL), \
              failed = (SELECT count(*) FROM bulk_line l \
              WHERE l.organization_id = bulk_job.organization_id AND l.job_id = bulk_job.id \
              AND l.failed)"
            .into(),
        set_values: vec![app.clock.now().into()],
    };
    let claimed = BULK_JOBS.claim_next(&app.store.write, app.database_time(), &claim, "id").await?;
    let Some(ClaimedRow { organization, id, lease }) = claimed else { return Ok(None) };
    let cx = Cx::system(app.clone(), organization);
    let job = cx
        .find::<bulk_job::Entity>()
        .filter(bulk_job::Column::Id.eq(id))
        .one(&app.store.write)
        .await?;
    Ok(job.map(|job| BulkClaim { job, cx, lease }))
}

/// Why a run ends before the last line of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkEnd {
    /// A caller cancelled the job.
    Cancelled,
    /// The caller that uploaded the job is not authorized any more.
    Stopped(&'static str),
    /// Another run holds the job.
    Lost,
}

/// The caller that started work which is carried out later, by its kind, its id and its name, with
/// the permissions that it had then; or why that work must stop. Only a key can be looked up again.
pub(in crate::domain) async fn resolve_caller(
    cx: &Cx,
    (kind, id, name): (&str, &str, &str),
    permissions: &serde_json::Value,
) -> Result<Result<Actor, &'static str>> {
    let held: Permissions = permissions
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str()?.parse().ok())
        .collect();
    let name = name.to_owned();
    match kind {
        "SYSTEM" => return Ok(Ok(Actor::System)),
        "API_KEY" => {}
        _ => return Ok(Ok(Actor::Person { subject: id.to_owned(), name, permissions: held })),
    }
    let id = Uuid::try_parse(id).unwrap_or_default();
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(id));
    let key = query.one(cx.db()).await?;
    let Some(key) = key.filter(|key| api_keys::is_live(key, cx.app.clock.now())) else {
        return Ok(Err("the API key that started it was revoked or has expired"));
    };
    let permissions = api_keys::key_permissions(&key);
    Ok(if held.is_subset(&permissions) {
        Ok(Actor::Key { id, name, permissions })
    } else {
        Err("the API key that started it has lost a permission")
    })
}

impl BulkClaim {
    /// The next lines to carry out.
    pub async fn next_lines(&self) -> Result<Vec<Line>> {
        let lines =
            self.cx.find::<bulk_line::Entity>().filter(bulk_line::Column::JobId.eq(self.job.id));
        let lines =
            lines.filter(bulk_line::Column::Result.is_null()).order_by_asc(bulk_line::Column::Line);
        Ok(lines.limit(LINES_PER_READ).all(&self.cx.app.store.write).await?)
    }

    /// Renews the lease and stores the progress. Returns why the run must end, if it must.
    pub async fn renew_lease(&self) -> Result<Option<BulkEnd>> {
        let app = &self.cx.app;
        let (set, values) = self.progress_update();
        let (db, time) = (&app.store.write, app.database_time());
        let state = self.lease.renew_and_read(db, time, JOB_LEASE, set, values, "state").await?;
        Ok(match state {
            None => Some(BulkEnd::Lost),
            Some(State::Cancelling) => Some(BulkEnd::Cancelled),
            Some(_) => None,
        })
    }

    /// Releases the job, so that another run can continue it at once.
    pub async fn release_job(&self) -> Result<()> {
        let app = &self.cx.app;
        let (set, values) = self.progress_update();
        Ok(self.lease.release(&app.store.write, app.database_time(), set, values).await?)
    }

    /// The assignments, with their values, that store how far the run is.
    fn progress_update(&self) -> (&'static str, Vec<Value>) {
        ("done = $1, failed = $2", vec![self.job.done.into(), self.job.failed.into()])
    }

    /// The context to carry one line out as `actor`. Its writes take effect only while this run
    /// holds the job.
    pub fn line_cx(&self, line: &Line, actor: Actor) -> Cx {
        Cx::new(self.cx.app.clone(), actor, line.organization_id, line.request_id)
            .with_fence(self.lease.clone())
    }

    /// The actor of the lines: the caller that uploaded them, if it still has the permissions that
    /// it had then.
    pub async fn line_actor(&self) -> Result<Result<Actor, BulkEnd>> {
        let job = &self.job;
        let ended = job.authorized_until.is_none_or(|until| until <= self.cx.app.clock.now());
        if job.actor_kind != "API_KEY" && ended {
            return Ok(Err(BulkEnd::Stopped(
                "the token of the person who started it has expired; API keys last longer",
            )));
        }
        let named = (job.actor_kind.as_str(), job.actor_id.as_str(), job.actor_name.as_str());
        let actor = resolve_caller(&self.cx, named, &job.permissions).await?;
        Ok(actor.map_err(BulkEnd::Stopped))
    }

    /// Whether an earlier run has carried this line out: then the ledger has events of the line's
    /// request. No earlier run can write any more.
    pub async fn was_done(&self, line: &Line) -> Result<bool> {
        let events =
            self.cx.find::<event::Entity>().filter(event::Column::RequestId.eq(line.request_id));
        Ok(events.count(&self.cx.app.store.write).await? > 0)
    }

    /// Stores the result of a line and deletes its input; false if another run holds the job.
    pub async fn settle_line(
        &mut self,
        line: &Line,
        failed: bool,
        result: String,
        words: Option<String>,
    ) -> Result<bool> {
        let mut sql = self.cx.sql([
            line.job_id.into(),
            line.line.into(),
            result.into(),
            failed.into(),
            words.into(),
        ]);
        let held = self.lease.held_row_query(self.cx.backend(), sql.values_mut());
        sql.push(&format!(
            "UPDATE bulk_line SET result = $4, failed = $5, user_id = NULL, input = NULL, \
             words = CASE WHEN input IS NULL THEN NULL ELSE CAST($6 AS text) END \
             WHERE organization_id = $1 AND job_id = $2 AND line = $3 AND result IS NULL \
             AND EXISTS ({held})"
        ));
        let settle = self.cx.build_statement(sql);
        if self.cx.app.store.write.execute_raw(settle).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.job.done += 1;
        self.job.failed += i64::from(failed);
        Ok(true)
    }

    /// Ends the job; `why` is the reason if it ends before its last line. Lines that were not
    /// carried out are deleted.
    pub async fn finish_job(&self, why: Option<BulkEnd>) -> Result<()> {
        let (state, because) = match why {
            None => (State::Completed, None),
            Some(BulkEnd::Cancelled) => (State::Cancelled, None),
            Some(BulkEnd::Stopped(because)) => (State::Stopped, Some(because)),
            Some(BulkEnd::Lost) => return Ok(()),
        };
        let Self { cx, job, lease } = self;
        cx.write(move |tx| {
            Box::pin(async move {
                let mut row = lock_job(tx, job.id).await?;
                if row.holder != Some(lease.holder()) || row.finished_at.is_some() {
                    return Ok(Change::unchanged(()));
                }
                let now = tx.now_after(row.started_at);
                (row.done, row.failed) = (job.done, job.failed);
                // A cancellation after the last line has no effect.
                (row.state, row.stopped_because) = (state, because.map(Into::into));
                (row.finished_at, row.expires_at) = (Some(now), Some(now + JOB_RETENTION));
                crate::domain::save_row::<bulk_job::Entity, bulk_job::ActiveModel>(tx, row).await?;
                let undone = bulk_line::Entity::delete_many()
                    .filter(bulk_line::Column::OrganizationId.eq(job.organization_id))
                    .filter(bulk_line::Column::JobId.eq(job.id))
                    .filter(bulk_line::Column::Result.is_null());
                undone.exec(&tx.db).await?;
                let after = json!({ "done": job.done, "failed": job.failed, "because": because });
                let kind = match state {
                    State::Completed => EventKind::BulkJobCompleted,
                    State::Cancelled => EventKind::BulkJobEnded,
                    _ => EventKind::BulkJobStopped,
                };
                Ok(Change::recorded((), job_event(kind, job.id, now, after)))
            })
        })
        .await
    }
}
