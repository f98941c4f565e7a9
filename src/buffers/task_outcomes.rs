//! How the last run of each background task ended on this server.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::buffers::write_behind::{BufferContent, WriteBehind};
use crate::error::RefusalReason;

/// How often the outcome of one task is written.
const WRITE_INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// How the last run of each task ended.
pub type TaskOutcomes = WriteBehind<LatestOutcomes>;

/// The latest outcome of each task, by its name.
#[derive(Debug, Default)]
pub struct LatestOutcomes(HashMap<&'static str, KnownOutcome>);

/// How a run of a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutcome {
    /// When it ended.
    pub at: DateTime<Utc>,
    pub duration: Duration,
    /// The code of the error; none if it succeeded.
    pub error: Option<RefusalReason>,
}

/// The outcome of a task, to be written.
#[derive(Debug)]
pub struct UnwrittenOutcome {
    pub task: &'static str,
    pub outcome: TaskOutcome,
}

#[derive(Debug)]
struct KnownOutcome {
    latest: TaskOutcome,
    /// Whether the latest outcome is written.
    is_written: bool,
    /// When an outcome of the task was written last.
    written_at: Option<DateTime<Utc>>,
}

impl TaskOutcomes {
    /// Remembers the latest outcome of a task.
    pub fn note_outcome(&self, task: &'static str, outcome: TaskOutcome) {
        let known = &mut self.lock().0;
        let written_at = known.get(task).and_then(|known| known.written_at);
        known.insert(task, KnownOutcome { latest: outcome, is_written: false, written_at });
    }
}

impl BufferContent for LatestOutcomes {
    type Batch = Vec<UnwrittenOutcome>;

    /// Each task at most once a minute, so that a task that runs every second costs no more.
    fn drain(&mut self, now: DateTime<Utc>) -> Self::Batch {
        let due = |known: &KnownOutcome| {
            !known.is_written && known.written_at.is_none_or(|at| now - at >= WRITE_INTERVAL)
        };
        let mut batch = Vec::new();
        for (task, known) in self.0.iter_mut().filter(|(_, known)| due(known)) {
            (known.is_written, known.written_at) = (true, Some(now));
            batch.push(UnwrittenOutcome { task, outcome: known.latest.clone() });
        }
        // All replicas write rows in the same order, so they do not deadlock.
        batch.sort_by_key(|unwritten| unwritten.task);
        batch
    }

    fn restore(&mut self, rest: Self::Batch) {
        for UnwrittenOutcome { task, .. } in rest {
            if let Some(known) = self.0.get_mut(task) {
                (known.is_written, known.written_at) = (false, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + n, 0).unwrap()
    }

    fn taken(outcomes: &TaskOutcomes, n: i64) -> Vec<(&'static str, DateTime<Utc>)> {
        let batch = outcomes.drain(second(n)).into_iter();
        batch.map(|unwritten| (unwritten.task, unwritten.outcome.at)).collect()
    }

    #[test]
    fn each_task_is_written_once_a_minute() {
        let outcomes = TaskOutcomes::default();
        let note = |task, n| {
            let duration = Duration::from_millis(1);
            outcomes.note_outcome(task, TaskOutcome { at: second(n), duration, error: None });
        };
        note("often", 0);
        note("often", 1);
        assert_eq!(taken(&outcomes, 2), [("often", second(1))]);
        note("often", 3);
        note("seldom", 4);
        assert_eq!(taken(&outcomes, 5), [("seldom", second(4))]);
        note("often", 61);
        assert_eq!(taken(&outcomes, 62), [("often", second(61))]);
        assert_eq!(taken(&outcomes, 200), [], "nothing has run since");
    }

    #[test]
    fn unwritten_outcomes_are_written_next() {
        let outcomes = TaskOutcomes::default();
        let outcome = |n| TaskOutcome { at: second(n), duration: Duration::ZERO, error: None };
        outcomes.note_outcome("seal", outcome(0));
        let batch = outcomes.drain(second(1));
        outcomes.note_outcome("seal", outcome(2));
        outcomes.restore(batch);
        assert_eq!(taken(&outcomes, 3), [("seal", second(2))], "the latest");
    }
}
