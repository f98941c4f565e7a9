//! The last outcome of each task: written for all replicas together, and read by `rolecall tasks`.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::task;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{EntityTrait, IntoActiveModel};

use super::{Replicas, Task};
use crate::context::{App, UnwrittenOutcome};
use crate::error::Result;

/// How the last run of a task ended, on any replica.
pub use task::Model as StoredOutcome;

/// A task and its last run.
#[derive(Debug)]
pub struct TaskReport {
    pub task: &'static Task,
    /// None if it has not run yet.
    pub last: Option<StoredOutcome>,
}

impl TaskReport {
    /// When the task runs again if nothing activates it earlier. None before its first run, and for
    /// a queue, which runs when there is something in it.
    pub fn next_run(&self) -> Option<DateTime<Utc>> {
        let last = self.last.as_ref().filter(|_| self.task.replicas != Replicas::OneForEachItem);
        last.map(|last| last.ended_at + self.task.period)
    }
}

/// Writes the outcomes since the last flush. Of several replicas, the latest run of a task stays.
pub(super) async fn flush_outcomes(app: &Arc<App>) -> Result<()> {
    let write = async |outcomes: &mut Vec<UnwrittenOutcome>| write_outcomes(app, outcomes).await;
    app.outcomes.flush(app.clock.now(), write).await
}

/// Writes all of the outcomes with one statement.
async fn write_outcomes(app: &App, outcomes: &mut Vec<UnwrittenOutcome>) -> Result<()> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let row = |UnwrittenOutcome { task, outcome }: &UnwrittenOutcome| {
        let row = StoredOutcome {
            name: (*task).into(),
            ended_at: outcome.at,
            duration_ms: i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX),
            error: outcome.error.map(|error| error.as_str().into()),
            replica_id: app.replica,
        };
        row.into_active_model()
    };
    let columns = [
        task::Column::EndedAt,
        task::Column::DurationMs,
        task::Column::Error,
        task::Column::ReplicaId,
    ];
    let newer = OnConflict::column(task::Column::Name)
        .update_columns(columns)
        .action_and_where(Expr::cust("excluded.ended_at >= task.ended_at"))
        .to_owned();
    task::Entity::insert_many(outcomes.iter().map(row))
        .on_conflict(newer)
        .exec_without_returning(&app.store.write)
        .await?;
    outcomes.clear();
    Ok(())
}

/// All tasks with their last runs.
///
/// # Errors
/// The database's own.
pub async fn list_tasks(app: &App) -> Result<Vec<TaskReport>> {
    #[allow(
        clippy::disallowed_methods,
        reason = "tasks are the installation's, not an organization's"
    )]
    let rows = task::Entity::find().all(&app.store.read).await?;
    let mut rows: HashMap<String, StoredOutcome> =
        rows.into_iter().map(|row| (row.name.clone(), row)).collect();
    let report = |task: &'static Task| TaskReport { task, last: rows.remove(task.name) };
    Ok(super::all_tasks().map(report).collect())
}
