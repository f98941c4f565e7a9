//! Carrying a bulk job out: who does it, which line is next, and what to remember of it.
//!
//! One run at a time holds a job, on whatever replica; a run that was not heard of for a while has died, and another
//! goes on where it was. Each line has a request of its own that its rows in the ledger name: the run that comes after a
//! dead one looks whether the line that it was at was done, and does not do it twice. A run that was only away for long
//! writes nothing any more: each write of a line holds only while its run holds the job.

use std::sync::Arc;

use chrono::Duration;
use entity::{api_key, bulk_job, bulk_line, event};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement, Value,
};
use serde_json::json;
use uuid::Uuid;

use super::{Job, KEPT, State, entry, locked};
use crate::authz::{Actor, Permissions};
use crate::context::{App, Change, Cx};
use crate::context::{BULK_JOBS, Lease};
use crate::domain::key;
use crate::error::Result;
use crate::ledger::EventKind;

pub use bulk_line::Model as Line;

/// A run that was not heard of for so long has died.
const LEASE: Duration = Duration::minutes(1);
/// Lines read at once.
const PART: u64 = 20;

/// The right to carry a job out.
#[derive(Debug)]
pub struct Claim {
    pub job: Job,
    /// Work of rolecall's own in the job's organization.
    pub cx: Cx,
    lease: Lease,
}

/// Takes the next job that nobody carries out. An organization's jobs take their turns in the order of their arrival.
pub async fn claim(app: &Arc<App>) -> Result<Option<Claim>> {
    let (time, backend) = (app.database_time(), app.store.backend());
    let mut values = Vec::new();
    let next = format!(
        "SELECT j.* FROM bulk_job j WHERE j.finished_at IS NULL AND j.state <> 'UPLOADING' AND j.until <= {} \
         AND NOT EXISTS (SELECT 1 FROM bulk_job o WHERE o.organization_id = j.organization_id \
             AND o.finished_at IS NULL AND o.state <> 'UPLOADING' AND o.id < j.id) ORDER BY j.id LIMIT 1",
        time.now(&mut values)
    );
    let next = Statement::from_sql_and_values(backend, next, values);
    let Some(job) = Job::find_by_statement(next).one(&app.store.write).await? else { return Ok(None) };
    let holder = Uuid::now_v7();
    let began = app.clock.now();
    let mut values = vec![job.organization_id.into(), job.id.into(), holder.into(), began.into()];
    let (now, until) = (time.now(&mut values), time.after(LEASE, &mut values));
    let take = format!(
        "UPDATE bulk_job SET holder = $3, until = {until}, started_at = coalesce(started_at, $4), \
         state = CASE WHEN state = 'QUEUED' THEN 'RUNNING' ELSE state END, \
         done = (SELECT count(*) FROM bulk_line l WHERE l.organization_id = $1 AND l.job_id = $2 AND l.result IS NOT NULL), \
         failed = (SELECT count(*) FROM bulk_line l WHERE l.organization_id = $1 AND l.job_id = $2 AND l.failed) \
         WHERE organization_id = $1 AND id = $2 AND until <= {now} AND finished_at IS NULL"
    );
    let taken = app.store.write.execute_raw(Statement::from_sql_and_values(backend, take, values)).await?;
    if taken.rows_affected() == 0 {
        // Another replica was quicker.
        return Ok(None);
    }
    let cx = Cx::system(app.clone(), job.organization_id);
    let lease = Lease::new(&BULK_JOBS, job.organization_id, job.id, holder);
    let job = cx.find::<bulk_job::Entity>().filter(bulk_job::Column::Id.eq(job.id)).one(&app.store.write).await?;
    Ok(job.map(|job| Claim { job, cx, lease }))
}

/// Why a run ends before its job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody cancelled the job.
    Cancelled,
    /// Whoever handed the job in may not do so any more.
    Stopped(&'static str),
    /// Another run holds the job.
    Lost,
}

impl Claim {
    /// The next lines to carry out.
    pub async fn next(&self) -> Result<Vec<Line>> {
        let lines = self.cx.find::<bulk_line::Entity>().filter(bulk_line::Column::JobId.eq(self.job.id));
        let lines = lines.filter(bulk_line::Column::Result.is_null()).order_by_asc(bulk_line::Column::Line);
        Ok(lines.limit(PART).all(&self.cx.app.store.write).await?)
    }

    /// Says that the run is alive and how far it is; why it must end, if it must.
    pub async fn renew(&self) -> Result<Option<End>> {
        let (set, mut values) = self.progress(LEASE);
        let text = format!("{} RETURNING state", self.lease.update_text(&set, &mut values));
        let renew = Statement::from_sql_and_values(self.cx.backend(), text, values);
        let row = self.cx.app.store.write.query_one_raw(renew).await?;
        let Some(row) = row else { return Ok(Some(End::Lost)) };
        let state: State = row.try_get("", "state")?;
        Ok((state == State::Cancelling).then_some(End::Cancelled))
    }

    /// Gives the job up for another run to go on with, at once.
    pub async fn release(&self) -> Result<()> {
        let (set, values) = self.progress(Duration::zero());
        self.lease.update(&self.cx.app.store.write, &set, values).await?;
        Ok(())
    }

    /// What is written of a run that is held for so long from now on.
    fn progress(&self, lasts: Duration) -> (String, Vec<Value>) {
        let mut values = vec![self.job.done.into(), self.job.failed.into()];
        let until = self.cx.app.database_time().after(lasts, &mut values);
        (format!("until = {until}, done = $1, failed = $2"), values)
    }

    /// The work of one line as `actor`, which holds only while this run holds the job.
    pub fn line_cx(&self, line: &Line, actor: Actor) -> Cx {
        Cx::new(self.cx.app.clone(), actor, line.organization_id, line.request_id).fenced(self.lease.clone())
    }

    /// Who carries the lines out: whoever handed them in, with what they may do now.
    pub async fn actor(&self) -> Result<Result<Actor, End>> {
        let held: Permissions = self
            .job
            .permissions
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str()?.parse().ok())
            .collect();
        let (name, now) = (self.job.actor_name.clone(), self.cx.app.clock.now());
        if self.job.actor_kind != "API_KEY" {
            return Ok(match self.job.authorized_until {
                Some(until) if until > now => {
                    Ok(Actor::Person { subject: self.job.actor_id.clone(), name, permissions: held })
                }
                _ => Err(End::Stopped("the token of the person who started it has expired; API keys last longer")),
            });
        }
        let id = Uuid::try_parse(&self.job.actor_id).unwrap_or_default();
        let key = self.cx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(id)).one(self.cx.db()).await?;
        let Some(key) = key.filter(|key| key::is_live(key, now)) else {
            return Ok(Err(End::Stopped("the API key that started it was revoked or has expired")));
        };
        let permissions = key::permissions(&key);
        Ok(match held.is_subset(&permissions) {
            true => Ok(Actor::Key { id, name, permissions }),
            false => Err(End::Stopped("the API key that started it has lost a permission")),
        })
    }

    /// Whether a run that died has carried this line out: the ledger names the line's request. No run before this one
    /// writes anything any more.
    pub async fn was_done(&self, line: &Line) -> Result<bool> {
        let events = self.cx.find::<event::Entity>().filter(event::Column::RequestId.eq(line.request_id));
        Ok(events.count(&self.cx.app.store.write).await? > 0)
    }

    /// Remembers what came of a line, and forgets what it said; false when another run holds the job.
    pub async fn settle(&mut self, line: &Line, failed: bool, result: String, words: Option<String>) -> Result<bool> {
        let mut values = vec![
            line.organization_id.into(),
            line.job_id.into(),
            line.line.into(),
            result.into(),
            failed.into(),
            words.into(),
        ];
        let text = format!(
            "UPDATE bulk_line SET result = $4, failed = $5, user_id = NULL, input = NULL, \
             words = CASE WHEN input IS NULL THEN NULL ELSE CAST($6 AS text) END \
             WHERE organization_id = $1 AND job_id = $2 AND line = $3 AND result IS NULL AND EXISTS ({})",
            self.lease.query(self.cx.backend(), &mut values)
        );
        let settle = Statement::from_sql_and_values(self.cx.backend(), text, values);
        if self.cx.app.store.write.execute_raw(settle).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.job.done += 1;
        self.job.failed += i64::from(failed);
        Ok(true)
    }

    /// Ends the job: `why` says why before its last line. What was not carried out is forgotten.
    pub async fn finish(&self, why: Option<End>) -> Result<()> {
        let (state, because) = match why {
            None => (State::Completed, None),
            Some(End::Cancelled) => (State::Cancelled, None),
            Some(End::Stopped(because)) => (State::Stopped, Some(because)),
            Some(End::Lost) => return Ok(()),
        };
        let Self { cx, job, lease } = self;
        cx.write(move |tx| {
            Box::pin(async move {
                let mut row = locked(tx, job.id).await?;
                if row.holder != Some(lease.holder()) || row.finished_at.is_some() {
                    return Ok(Change::nothing(()));
                }
                let now = tx.now_after(row.started_at);
                (row.done, row.failed) = (job.done, job.failed);
                // Whoever cancelled it after its last line was too late.
                (row.state, row.stopped_because) = (state, because.map(Into::into));
                (row.finished_at, row.expires_at) = (Some(now), Some(now + KEPT));
                crate::domain::save::<bulk_job::Entity, bulk_job::ActiveModel>(tx, row).await?;
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
                Ok(Change::made((), entry(kind, job.id, now, after)))
            })
        })
        .await
    }
}
