//! Background tasks: what the operator sees of them, and what a failure leaves behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use metrics_exporter_prometheus::PrometheusBuilder;
use rolecall::context::App;
use rolecall::jobs::{self, StoredOutcome};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::database::Database;
use crate::process::{Server, bootstrap, ok};
use crate::world::World;

/// What `rolecall tasks --json` prints.
fn list_tasks(database: &Database) -> Vec<Value> {
    serde_json::from_str(&ok(database, &["tasks", "--json"])).unwrap()
}

fn find<'a>(tasks: &'a [Value], name: &str) -> &'a Value {
    tasks.iter().find(|task| task["name"] == name).unwrap()
}

#[tokio::test]
async fn tasks_command_shows_last_runs() {
    let database = Database::empty().await;
    bootstrap(&database);
    let before = list_tasks(&database);
    let names: BTreeSet<&str> = before.iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), before.len(), "each name once");
    for name in ["carry out sync runs", "carry out bulk jobs", "retry failed writes", "read again"]
    {
        assert_eq!(find(&before, name)["replicas"], "ONE_FOR_EACH_ITEM", "{name}");
    }
    assert!(before.iter().all(|task| task["lastRun"].is_null() && task["nextRunAt"].is_null()));

    let server = Server::start(&database).await;
    let started = Instant::now();
    let after = loop {
        let tasks = list_tasks(&database);
        if !find(&tasks, "evaluate health")["lastRun"].is_null() {
            break tasks;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{tasks:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let health = find(&after, "evaluate health");
    assert_eq!(health["periodSeconds"], 60.0);
    assert_eq!(health["replicas"], "ONE_AT_A_TIME");
    let last = &health["lastRun"];
    assert_eq!((&last["outcome"], &last["error"]), (&Value::from("ok"), &Value::Null));
    assert!(last["durationMs"].as_u64().unwrap() < 30_000);
    let instant =
        |text: &Value| chrono::DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap();
    let next = instant(&health["nextRunAt"]);
    assert_eq!(next - instant(&last["endedAt"]), TimeDelta::seconds(60));
    let replica = Uuid::parse_str(last["replica"].as_str().unwrap()).unwrap();
    let seal = find(&after, "seal ledgers");
    assert_eq!(seal["lastRun"]["replica"], replica.to_string(), "the one server");
    assert_eq!(seal["alsoWhen"], "a change was written");
    // No bulk job was carried out.
    assert!(find(&after, "carry out bulk jobs")["lastRun"].is_null());

    let text = ok(&database, &["tasks"]);
    let line = text.lines().find(|line| line.starts_with("evaluate health")).unwrap();
    assert!(line.contains(" 60 s ") && line.contains(" ok "), "{line}");
    assert_eq!(text.lines().count(), after.len() + 1);
    drop(server);
    database.drop().await;
}

/// The last run of a task, as it is stored.
async fn last_run(app: &App, name: &str) -> Option<StoredOutcome> {
    let tasks = jobs::list_tasks(app).await.unwrap();
    tasks.into_iter().find(|report| report.task.name == name).unwrap().last
}

#[tokio::test]
async fn failed_tasks_show_their_code() {
    // The tasks of this test run on its own thread, and so count here alone.
    let recorder = PrometheusBuilder::new().build_recorder();
    let gauges = recorder.handle();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let last_succeeded = |name: &str| {
        let line = format!("rolecall_task_last_run_succeeded{{task=\"{name}\"}} ");
        let text = gauges.render();
        text.lines().find_map(|found| found.strip_prefix(&line)).map(str::to_owned)
    };
    let mut world = World::new().await;
    world.stop().await;
    world.execute("DELETE FROM task", []).await;
    world.execute("ALTER TABLE request_log RENAME TO elsewhere", []).await;
    let other = App::open(world.app.config.clone()).await.unwrap();
    // Another server evaluates the health of connections.
    let (holder, hour) = (Uuid::now_v7(), TimeDelta::hours(1));
    world.execute("DELETE FROM task_lease", []).await;
    let time = other.database_time();
    assert!(other.store.take_task_lease("evaluate health", holder, time, hour).await.unwrap());
    run_for_a_moment(&other).await;
    let failed = last_run(&other, "delete old records").await.unwrap();
    assert_eq!(failed.error.as_deref(), Some("INTERNAL"));
    assert_eq!(failed.replica_id, other.replica);
    let checked = last_run(&other, "check storage").await.unwrap();
    assert_eq!(checked.error, None, "other tasks go on");
    assert_eq!(last_run(&other, "evaluate health").await, None, "not by this server");
    assert_eq!(last_succeeded("delete old records").as_deref(), Some("0"));
    assert_eq!(last_succeeded("check storage").as_deref(), Some("1"));
    assert_eq!(last_succeeded("evaluate health"), None);
    other.store.clone().close().await;

    world.execute("ALTER TABLE elsewhere RENAME TO request_log", []).await;
    world.execute("DELETE FROM task_lease", []).await;
    let again = App::open(world.app.config.clone()).await.unwrap();
    run_for_a_moment(&again).await;
    let done = last_run(&again, "delete old records").await.unwrap();
    assert_eq!((done.error, done.replica_id), (None, again.replica), "the latest run stays");
    assert!(last_run(&again, "evaluate health").await.is_some());
    for name in ["delete old records", "evaluate health"] {
        assert_eq!(last_succeeded(name).as_deref(), Some("1"), "{name}");
    }
    again.store.clone().close().await;
    world.end().await;
}

/// Runs the tasks of a server for half a second; then stops them.
async fn run_for_a_moment(app: &Arc<App>) {
    let (tell, told) = watch::channel(false);
    let working = tokio::spawn(jobs::run_until_stopped(app.clone(), told));
    tokio::time::sleep(Duration::from_millis(500)).await;
    tell.send(true).unwrap();
    working.await.unwrap();
}
