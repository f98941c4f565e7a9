//! `rolecall tasks`: the background tasks of the installation, and how each ran last.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::command_error::CommandError;
use crate::cli::installation;
use crate::cli::output::{print_json, print_line};
use crate::config::StoreArgs;
use crate::jobs::{self, Replicas, TaskReport};

/// The arguments of `rolecall tasks`.
#[derive(Args)]
pub struct TasksArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Prints all tasks.
///
/// # Errors
/// One line for the person who started the command.
pub async fn print_tasks(args: TasksArgs) -> Result<(), CommandError> {
    let app = installation::open_existing(args.store).await?;
    let tasks = jobs::list_tasks(&app).await?;
    if args.json {
        let tasks: Vec<Value> = tasks.iter().map(describe_as_json).collect();
        return print_json(&tasks);
    }
    print_line(format!(
        "{:<27} {:>7}  {:<20}  {:>9}  {:<11}  {:<20}",
        "TASK", "PERIOD", "LAST RUN", "DURATION", "OUTCOME", "NEXT RUN"
    ))?;
    tasks.iter().try_for_each(|report| print_line(describe_as_text(report)))
}

fn describe_as_text(report: &TaskReport) -> String {
    let last = report.last.as_ref();
    let instant = |at: Option<DateTime<Utc>>| {
        at.map_or("-".into(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
    };
    format!(
        "{:<27} {:>7}  {:<20}  {:>9}  {:<11}  {:<20}",
        report.task.name,
        format!("{} s", report.task.period.as_secs_f64()),
        instant(last.map(|last| last.ended_at)),
        last.map_or("-".into(), |last| format!("{} ms", last.duration_ms)),
        last.map_or("-", |last| last.error.as_deref().unwrap_or("ok")),
        instant(report.next_run()),
    )
    .trim_end()
    .to_owned()
}

fn describe_as_json(report: &TaskReport) -> Value {
    let (task, last) = (report.task, report.last.as_ref());
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({
        "name": task.name,
        "description": task.description,
        "periodSeconds": task.period.as_secs_f64(),
        "alsoWhen": task.activator.as_ref().map(|activator| activator.event),
        "replicas": match task.replicas {
            Replicas::Each => "EACH",
            Replicas::OneAtATime(_) => "ONE_AT_A_TIME",
            Replicas::OneForEachItem => "ONE_FOR_EACH_ITEM",
        },
        "lastRun": last.map(|last| json!({
            "endedAt": instant(last.ended_at),
            "durationMs": last.duration_ms,
            "outcome": if last.error.is_none() { "ok" } else { "failed" },
            "error": last.error,
            "replica": last.replica_id,
        })),
        "nextRunAt": report.next_run().map(instant),
    })
}
