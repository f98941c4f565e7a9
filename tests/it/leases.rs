//! Work under leases, and instants, when clocks are wrong or a server stops for too long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rolecall::auth::policy::{Actor, Permission};
use rolecall::context::{App, Cx, clock};
use rolecall::db::{Lease, LeaseTable, SYNC_RUNS, TASKS};
use rolecall::domain::access;
use rolecall::domain::access::AsOf;
use rolecall::domain::access::role;
use rolecall::domain::access::role_grant;
use rolecall::domain::access::role_grant::NewGrant;
use rolecall::domain::bulk;
use rolecall::domain::bulk::run::BulkEnd;
use rolecall::domain::bulk::{NewLine, run};
use rolecall::domain::directory::{group, user};
use rolecall::domain::review;
use rolecall::domain::tenant::idempotency;
use rolecall::domain::tenant::idempotency::IdempotentStart;
use rolecall::error::{Error, RefusalReason};
use rolecall::{graphql, jobs};
use sea_orm::{DbBackend, Value as Sql};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::world::World;

fn is_postgres(world: &World) -> bool {
    world.app.store.backend() == DbBackend::Postgres
}

/// Ends a test after the server has stopped: the last changes have to be sealed first.
async fn end(world: World) {
    rolecall::ledger::seal_ledgers(&world.app.store).await.unwrap();
    world.end().await;
}

/// Submits a bulk job that creates groups.
async fn submit_groups(cx: &Cx, names: impl Iterator<Item = String>) {
    let job =
        bulk::begin_upload(cx, Some(cx.app.clock.now() + TimeDelta::hours(5)), None).await.unwrap();
    let lines: Vec<_> = (1..)
        .zip(names)
        .map(|(number, name)| NewLine {
            number,
            input: json!({ "operation": "groupCreate", "input": { "displayName": name } })
                .to_string()
                .into_bytes(),
            user: None,
        })
        .collect();
    let count = lines.len() as i64;
    bulk::append_lines(cx, job, lines).await.unwrap();
    bulk::submit_job(cx, job, count).await.unwrap();
}

/// A person with all permissions, who submits jobs.
fn person(app: &Arc<App>, organization: Uuid) -> Cx {
    let permissions = Permission::in_organization();
    let actor = Actor::Person { subject: "ada".into(), name: "Ada".into(), permissions };
    Cx::new(app.clone(), actor, organization, Uuid::now_v7())
}

/// Lets every lease in `table` expire.
async fn expire(world: &World, table: &str) {
    world.execute(&format!("UPDATE {table} SET until = $1"), [DateTime::UNIX_EPOCH.into()]).await;
}

fn groups_of(job: usize, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("Group {job}-{n}"))
}

async fn assert_each_group_once(world: &World, count: i64) {
    assert_eq!(world.count("bulk_job WHERE state <> 'COMPLETED'", []).await, 0);
    let twice = world
        .rows("SELECT display_name FROM \"group\" GROUP BY display_name HAVING count(*) > 1", [])
        .await;
    assert_eq!(twice, Vec::<Value>::new());
    assert_eq!(world.count("\"group\"", []).await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_run_once_despite_lost_leases() {
    let world = World::new().await;
    let cx = person(&world.app, world.acme.organization);
    // On PostgreSQL a second server runs beside the first. Its clock is 90 s ahead.
    let other = if is_postgres(&world) {
        App::open(world.config()).await.unwrap()
    } else {
        world.app.clone()
    };
    if is_postgres(&world) {
        other.clock.skew_by(TimeDelta::seconds(90));
    }
    let (stop, stopped) = watch::channel(false);
    let working = tokio::spawn(jobs::run_bulk_jobs(other.clone(), stopped, graphql::carry_out_job));
    for job in 0..3 {
        submit_groups(&cx, groups_of(job, 150)).await;
    }
    // Every lease expires again and again while its holder works.
    let started = Instant::now();
    while world.count("bulk_job WHERE finished_at IS NULL", []).await > 0 {
        world
            .execute(
                "UPDATE bulk_job SET until = $1 WHERE finished_at IS NULL",
                [DateTime::UNIX_EPOCH.into()],
            )
            .await;
        world.app.jobs.notify_one();
        other.jobs.notify_one();
        tokio::time::sleep(Duration::from_millis(15)).await;
        assert!(started.elapsed() < Duration::from_secs(120));
    }
    stop.send_replace(true);
    working.await.unwrap();
    assert_each_group_once(&world, 450).await;
    assert_eq!(world.count("bulk_line WHERE result IS NULL", []).await, 0);
    if is_postgres(&world) {
        other.store.clone().close().await;
    }
    end(world).await;
}

#[tokio::test]
async fn run_without_its_lease_writes_nothing() {
    let mut world = World::new().await;
    world.stop().await;
    let app = world.app.clone();
    let cx = person(&app, world.acme.organization);
    submit_groups(&cx, groups_of(0, 2)).await;
    let mut first = run::claim_next_job(&app).await.unwrap().unwrap();
    let line = first.next_lines().await.unwrap().remove(0);
    assert!(run::claim_next_job(&app).await.unwrap().is_none(), "the job is held");
    expire(&world, "bulk_job").await;
    let mut second = run::claim_next_job(&app).await.unwrap().unwrap();
    let before = world.everything().await;
    let late = first.line_cx(&line, cx.actor.clone());
    let name = |name: &str| Map::from_iter([("displayName".to_owned(), json!(name))]);
    let refused = group::create_group(&late, name("Late"), Vec::new()).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    let settings = role::RoleSettings { name: Some("Late".into()), ..Default::default() };
    let refused = role::create_role(&late, settings).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    assert_eq!(first.renew_lease().await.unwrap(), Some(BulkEnd::Lost));
    assert!(!first.settle_line(&line, false, "{}".into(), None).await.unwrap());
    first.finish_job(None).await.unwrap();
    first.release_job().await.unwrap();
    assert_eq!(world.everything().await, before);
    assert_eq!(world.count("bulk_line WHERE result IS NULL", []).await, 2);

    // The second run does the line. A third run finds that it was done.
    assert!(!second.was_done(&line).await.unwrap());
    group::create_group(&second.line_cx(&line, cx.actor.clone()), name("Once"), Vec::new())
        .await
        .unwrap();
    expire(&world, "bulk_job").await;
    let third = run::claim_next_job(&app).await.unwrap().unwrap();
    assert!(third.was_done(&line).await.unwrap());
    assert!(!second.settle_line(&line, false, "{}".into(), None).await.unwrap());
    end(world).await;
}

#[tokio::test]
async fn leases_follow_the_databases_clock() {
    let mut world = World::new().await;
    world.stop().await;
    if !is_postgres(&world) {
        return end(world).await;
    }
    let ahead = App::open(world.config()).await.unwrap();
    ahead.clock.skew_by(TimeDelta::hours(1));
    submit_groups(&person(&ahead, world.acme.organization), groups_of(0, 1)).await;
    let _dies = run::claim_next_job(&ahead).await.unwrap().unwrap();
    let time = [60.0f64.into()];
    let soon = "bulk_job WHERE until <= clock_timestamp() + $1 * interval '1 second' AND until > \
                clock_timestamp()";
    assert_eq!(world.count(soon, time).await, 1);
    // The server also writes instants of the database's clock, and knows how wrong its own clock
    // is.
    assert_eq!(world.count("event WHERE at > clock_timestamp()", []).await, 0);
    assert!((ahead.clock.skewed_by() - TimeDelta::hours(1)).abs() < TimeDelta::seconds(5));
    ahead.store.clone().close().await;
    end(world).await;
}

/// Makes a lease of this kind, held by this holder.
async fn lease_of(
    world: &World,
    table: &'static LeaseTable,
    holder: Uuid,
) -> (Lease, &'static str) {
    let (organization, id) = (world.acme.organization, Uuid::now_v7());
    let now: Sql = world.app.clock.now().into();
    let common: [Sql; 4] = [organization.into(), id.into(), holder.into(), now];
    if *table == SYNC_RUNS {
        let columns = "organization_id, id, holder, until, connection_id, mode, state, cancelling, approved, checkpoint, \
             counts, troubles, requested_by, created_at";
        let text = format!(
            "INSERT INTO sync_run ({columns}) VALUES ($1, $2, $3, $4, $5, 'FULL', 'RUNNING', FALSE, FALSE, '{{}}', '{{}}', \
             '[]', 'a test', $4)"
        );
        world.execute(&text, common.into_iter().chain([world.acme.connection.into()])).await;
        return (Lease::new(table, organization, id, holder), "sync_run");
    }
    let text = "INSERT INTO lease (organization_id, name, holder, until, done) VALUES ($1, \
                'users.delete_all', $2, $3, 0)";
    let [organization_value, _, holder_value, now] = common;
    world.execute(text, [organization_value, holder_value, now]).await;
    (Lease::new(table, organization, "users.delete_all", holder), "lease")
}

#[tokio::test]
async fn writes_under_lost_leases_are_refused() {
    let mut world = World::new().await;
    world.stop().await;
    for table in [&SYNC_RUNS, &TASKS] {
        let (lease, name) = lease_of(&world, table, Uuid::now_v7()).await;
        let cx = world.system().with_fence(lease.clone());
        let named = |name: &str| Map::from_iter([("displayName".to_owned(), json!(name))]);
        group::create_group(&cx, named("Held"), Vec::new()).await.unwrap();
        world.execute(&format!("UPDATE {name} SET holder = $1"), [Uuid::now_v7().into()]).await;
        let before = world.everything().await;
        let refused = group::create_group(&cx, named("Lost"), Vec::new()).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{name}: {refused:?}");
        assert!(!lease.is_held(&world.app.store.write).await.unwrap());
        assert_eq!(world.everything().await, before, "{name}");
        world.execute(&format!("DELETE FROM {name}"), []).await;
    }
    end(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_over_idempotency_key_runs_once() {
    let world = World::new().await;
    let begin = async |cx: &Cx, key: &str| {
        idempotency::begin_request(cx, "ada", key, "roleCreate").await.unwrap()
    };
    let create = async |cx: &Cx, name: &str| {
        role::create_role(cx, role::RoleSettings { name: Some(name.into()), ..Default::default() })
            .await
    };
    // A run that stopped for too long has lost its claim.
    let (away, after) = (world.system(), world.system());
    assert!(matches!(begin(&away, "one").await, IdempotentStart::Run(_)));
    assert_eq!(begin(&after, "one").await, IdempotentStart::Running);
    expire(&world, "idempotency").await;
    assert!(matches!(begin(&after, "one").await, IdempotentStart::Run(_)));
    assert!(matches!(create(&away, "One").await, Err(Error::Busy(_))));
    create(&after, "One").await.unwrap();
    assert_eq!(world.count("role WHERE name = 'One'", []).await, 1);

    // The run that takes a claim over first looks into the ledger, so it also finds changes that
    // were still being written.
    let (away, after) = (world.system(), world.system());
    assert!(matches!(begin(&away, "two").await, IdempotentStart::Run(_)));
    create(&away, "Two").await.unwrap();
    expire(&world, "idempotency").await;
    assert_eq!(begin(&after, "two").await, IdempotentStart::Unanswered);
    assert_eq!(begin(&world.system(), "two").await, IdempotentStart::Unanswered);
    end(world).await;
}

#[tokio::test]
async fn retry_without_its_lease_writes_nothing() {
    let mut world = World::new().await;
    let rival = world.scim().user("ada").await;
    let refused = json!({ "userName": "ada", "externalId": "other" });
    world.scim().post("/Users", refused).await.refused(409, Some("uniqueness"));
    while world.count("failure", []).await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.stop().await;
    world
        .execute(
            "UPDATE \"user\" SET user_name_key = 'free', user_name = 'free' WHERE id = $1",
            [rival.into()],
        )
        .await;
    world.execute("UPDATE failure SET next_attempt_at = $1", [DateTime::UNIX_EPOCH.into()]).await;
    let claim = async || {
        review::run::claim_next_failure(&world.app, review::Origin::Request, &[]).await.unwrap()
    };
    let away = claim().await.unwrap();
    let attempt = away.prepare_attempt().await.unwrap().unwrap();
    assert!(claim().await.is_none(), "the failure is held");
    expire(&world, "failure").await;
    let after = claim().await.unwrap();
    let before = world.everything().await;
    let document = Map::from_iter([("userName".to_owned(), json!("ada"))]);
    let late = user::create_user(&attempt.cx, document.clone()).await;
    assert!(matches!(late, Err(Error::Busy(_))), "{late:?}");
    assert!(away.mark_failed(Some((RefusalReason::Taken, None, None))).await.is_err());
    assert!(away.mark_done(review::Resolution::Retried).await.is_err());
    away.stop_retrying().await.unwrap();
    assert_eq!(world.everything().await, before);
    assert_eq!(world.count("failure WHERE state = 'RETRYING'", []).await, 1);
    let attempt = after.prepare_attempt().await.unwrap().unwrap();
    user::create_user(&attempt.cx, document).await.unwrap();
    after.mark_done(review::Resolution::Retried).await.unwrap();
    assert_eq!(world.count("failure WHERE state = 'RESOLVED'", []).await, 1);
    end(world).await;
}

/// The number of accounts that hold the role at this instant.
async fn holders(cx: &Cx, role: Uuid, at: DateTime<Utc>) -> u64 {
    let moment = access::resolve_moment(cx, Some(at)).await.unwrap();
    assert_eq!(moment, AsOf::At(at));
    access::count_holders(cx, Some(role), moment).await.unwrap()
}

async fn grant_to(cx: &Cx, role: Uuid, user: Uuid) -> Result<DateTime<Utc>, Error> {
    Ok(role_grant::create_grant(cx, NewGrant { user, role, reason: None, expires_at: None })
        .await?
        .since)
}

#[tokio::test]
async fn past_access_survives_a_clock_change() {
    let mut world = World::new().await;
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    let cx = world.system();
    let role = role::create_role(
        &cx,
        role::RoleSettings { name: Some("Nurse".into()), ..Default::default() },
    )
    .await
    .unwrap()
    .id;
    grant_to(&cx, role, ada).await.unwrap();
    // The clock was some seconds ahead when the past was read, and nothing was written since.
    world.app.clock.advance(Duration::from_secs(8));
    let settled = access::settled_watermark(&cx).await.unwrap();
    let answered = Instant::now();
    assert_eq!(holders(&cx, role, settled).await, 1);
    world.stop().await;
    let right = App::open(world.config()).await.unwrap();
    // However long that took: the right clock shows when the past was read.
    right.clock.set_back(answered.elapsed());
    let later = Cx::system(right.clone(), world.acme.organization);
    assert!(right.clock.behind_by() > TimeDelta::seconds(4), "{}", right.clock.behind_by());
    assert!(grant_to(&later, role, bob).await.unwrap() > settled);
    assert_eq!(holders(&later, role, settled).await, 1, "an answer about the past never changes");
    right.store.clone().close().await;
    end(world).await;
}

#[tokio::test]
async fn clock_behind_the_ledger_refuses_writes() {
    let mut world = World::new().await;
    world.app.clock.advance(Duration::from_secs(3_600));
    world.scim().user("ada").await;
    world.sealed().await;
    world.stop().await;
    let right = App::open(world.config()).await.unwrap();
    let cx = Cx::system(right.clone(), world.acme.organization);
    let before = world.everything().await;
    let refused = role::create_role(
        &cx,
        role::RoleSettings { name: Some("Nurse".into()), ..Default::default() },
    )
    .await;
    assert!(
        matches!(&refused, Err(Error::Busy(why)) if why.contains(" s behind the newest instant")),
        "{refused:?}"
    );
    let group = Map::from_iter([("displayName".to_owned(), json!("Nurses"))]);
    assert!(matches!(group::create_group(&cx, group, Vec::new()).await, Err(Error::Busy(_))));
    assert_eq!(world.everything().await, before);
    assert!(
        right.clock.write_fault().unwrap().contains("the clock is 3"),
        "{:?}",
        right.clock.write_fault()
    );
    // Writes succeed again when the clock has reached that instant.
    right.clock.advance(Duration::from_secs(3_600));
    clock::compare_clocks(&right).await.unwrap();
    assert_eq!(right.clock.write_fault(), None);
    role::create_role(&cx, role::RoleSettings { name: Some("Nurse".into()), ..Default::default() })
        .await
        .unwrap();
    right.store.clone().close().await;
    end(world).await;
}

#[tokio::test]
async fn changes_follow_other_servers_answers() {
    let world = World::new().await;
    if !is_postgres(&world) {
        return end(world).await;
    }
    let ada = world.scim().user("ada").await;
    // Another server has answered questions up to this instant; this server does not know that.
    let answered = world.app.clock.now() + TimeDelta::seconds(3);
    world.execute("UPDATE settled_mark SET at = $1", [answered.into()]).await;
    let bob = world.scim().user("bob").await;
    let patch = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{ada}"), patch).await.is(200);
    let after =
        "event WHERE at > $1 AND action IN ('user.created', 'user.suspended', 'user.updated')";
    assert_eq!(world.count(after, [answered.into()]).await, 2, "{:?}", world.events_of(bob).await);
    assert_eq!(world.count("activation WHERE since <= $1", [answered.into()]).await, 1);
    end(world).await;
}
