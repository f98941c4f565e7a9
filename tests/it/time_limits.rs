//! An operation of the management API ends after fifteen seconds, and what it had begun is undone.
//! The database ends a single statement earlier. So these operations need many statements, one
//! after another, and each of them takes a few seconds.

use std::time::{Duration, Instant};

use rolecall::domain::access::role_mapping::MappingTarget;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::database::on_postgres;
use crate::rights::{global, map_to_role};
use crate::world::{Answer, World};

const LIMIT: Duration = Duration::from_secs(15);
/// How much later the answer may come: the time to undo what was begun.
const MARGIN: Duration = Duration::from_secs(5);
/// A statement is slow when it takes this many seconds; the database's own limit is nine.
const SLOW_SECONDS: f64 = 3.0;

/// Both tests keep a processor busy on SQLite, so they run one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// Makes a view `slowness` with one row that takes some seconds to read.
async fn make_slowness(world: &World) {
    if on_postgres() {
        let view = format!("CREATE VIEW slowness AS SELECT 1 AS n FROM pg_sleep({SLOW_SECONDS})");
        return world.execute(&view, []).await;
    }
    // SQLite cannot sleep, so it counts; how far depends on the machine.
    world.execute("CREATE TABLE slowness_steps AS SELECT 200000 AS steps", []).await;
    let view = "CREATE VIEW slowness AS WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a \
                WHERE n < (SELECT steps FROM slowness_steps)) SELECT max(n) AS n FROM a";
    world.execute(view, []).await;
    let began = Instant::now();
    world.execute("UPDATE slowness_steps SET steps = (SELECT n FROM slowness)", []).await;
    scale_slowness(world, SLOW_SECONDS / began.elapsed().as_secs_f64()).await;
}

async fn scale_slowness(world: &World, factor: f64) {
    let scale = "UPDATE slowness_steps SET steps = CAST(steps * $1 AS integer)";
    world.execute(scale, [factor.into()]).await;
}

/// Repeats the operation until the time limit ends it, on a slow machine and on a fast one. Returns
/// the round in which that happened, and the answer.
async fn ask_until_limited(
    world: &World,
    query: &str,
    variables: impl Fn(usize) -> Value,
) -> (usize, Answer) {
    for round in 0..4 {
        let began = Instant::now();
        let answer = world.acme.graphql_as(&world.acme.api_key, &[], query, variables(round)).await;
        let took = began.elapsed();
        assert!(took < LIMIT + MARGIN, "answered after {took:?}: {}", answer.body);
        if took >= LIMIT {
            return (round, answer);
        }
        assert!(!on_postgres(), "answered after {took:?}: {}", answer.body);
        // The machine was faster than expected, or so slow that single statements were ended.
        scale_slowness(world, if answer.body["errors"].is_null() { 2.0 } else { 0.5 }).await;
    }
    panic!("no operation reached the time limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_end_after_fifteen_seconds() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    // A chain of roles and groups: each is found only through the one before.
    let mut roles = Vec::new();
    let mut before = None;
    for n in 0..4 {
        let group = world.scim().group(&format!("Group {n}"), &[]).await;
        let (role, _) =
            map_to_role(&world.system(), &format!("Role {n}"), MappingTarget::Group(group)).await;
        if let Some(before) = before.replace(group) {
            let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) {
                userErrors { message } } }";
            let ids = json!({ "g": global("Group", before), "r": global("Role", role) });
            assert_eq!(
                world.graphql(map, ids).await["data"]["roleMappingCreate"]["userErrors"],
                json!([])
            );
        }
        roles.push(role);
    }
    let on = "mappings { group { roleMappings { role {";
    let query = format!(
        "query($r: ID!) {{ organization {{ role(id: $r) {{ {on} {on} {on} name {} }} }} }}",
        "} } } }".repeat(3)
    );
    let variables = json!({ "r": global("Role", roles[0]) });
    let quick = world.graphql(&query, variables.clone()).await;
    assert!(quick["errors"].is_null() && quick.to_string().contains("Role 3"), "{quick:#}");

    make_slowness(&world).await;
    let tables = ["role", "role_mapping", "group"];
    for table in tables {
        world.execute(&format!("ALTER TABLE \"{table}\" RENAME TO {table}_kept"), []).await;
        let view = format!(
            "CREATE VIEW \"{table}\" AS SELECT k.* FROM slowness s, {table}_kept k WHERE s.n > 0"
        );
        world.execute(&view, []).await;
    }
    let (_, answer) = ask_until_limited(&world, &query, |_| variables.clone()).await;
    let answer = answer.is(503);
    let error = &answer.body["errors"][0];
    assert_eq!(error["extensions"]["code"], "BUSY", "{}", answer.body);
    assert!(error["message"].as_str().unwrap().contains("15 seconds"), "{error}");
    assert!(answer.body["data"].is_null(), "{}", answer.body);
    for table in tables {
        world.execute(&format!("DROP VIEW \"{table}\""), []).await;
        world.execute(&format!("ALTER TABLE {table}_kept RENAME TO \"{table}\""), []).await;
    }
    // Its statements in the database have ended, too.
    let began = Instant::now();
    assert_eq!(world.graphql(&query, variables).await, quick);
    assert!(began.elapsed() < MARGIN, "{:?}", began.elapsed());
    world.end().await;
}

/// A connection of its own that keeps others from writing what `table` holds, until it rolls back.
async fn hold_writes(world: &World, table: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(world.app.config.database_url.clone());
    options.max_connections(1).sqlx_logging(false);
    let holder = sea_orm::Database::connect(options).await.unwrap();
    let lock = format!("LOCK TABLE \"{table}\" IN EXCLUSIVE MODE");
    let statements: &[&str] = if on_postgres() { &["BEGIN", &lock] } else { &["BEGIN IMMEDIATE"] };
    for statement in statements {
        holder.execute_unprepared(statement).await.unwrap();
    }
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_wait_four_seconds_at_most() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    world.scim().user("ada").await;
    let holder = hold_writes(&world, "failure").await;
    // The refusal is known at once, and has no place in the review queue.
    let began = Instant::now();
    world.scim().post("/Users", json!({ "userName": "" })).await.is(400);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(7), "{took:?}");
    holder.execute_unprepared("ROLLBACK").await.unwrap();
    let began = Instant::now();
    world.scim().post("/Users", json!({ "userName": "", "title": "again" })).await.is(400);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(world.count("failure", []).await >= 1);
    holder.close().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_locks_count_together() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    let holder = hold_writes(&world, "user").await;
    // Each of these would wait for ten seconds; together they do not wait much longer. (PostgreSQL
    // ends a statement that waits for a lock; a second one may have begun before.)
    let operations: Vec<Value> = (0..4)
        .map(|n| {
            json!({
                "method": "POST", "path": "/Users", "bulkId": format!("u{n}"),
                "data": { "userName": format!("person{n}") },
            })
        })
        .collect();
    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": operations,
    });
    let began = Instant::now();
    let answer = world.scim().post("/Bulk", bulk).await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
    let text = answer.body.to_string();
    assert!(answer.status == 503 || text.contains("503"), "{} {text}", answer.status);
    holder.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(world.count("\"user\"", []).await, 0);
    let began = Instant::now();
    loop {
        if world.scim().post("/Users", json!({ "userName": "after" })).await.status == 201 {
            break;
        }
        assert!(began.elapsed() < MARGIN, "no write after the lock was released");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holder.close().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_end_after_fifteen_seconds() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    make_slowness(&world).await;
    let (trigger, quick) = if on_postgres() {
        let function = "CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ \
                        BEGIN PERFORM n FROM slowness; RETURN NULL; END $$";
        world.execute(function, []).await;
        (
            "CREATE TRIGGER slow AFTER INSERT ON role FOR EACH ROW EXECUTE FUNCTION be_slow()",
            "DROP TRIGGER slow ON role",
        )
    } else {
        (
            "CREATE TRIGGER slow AFTER INSERT ON role BEGIN SELECT n FROM slowness; END",
            "DROP TRIGGER slow",
        )
    };
    world.execute(trigger, []).await;
    // One after another, as the GraphQL specification demands.
    let names: Vec<String> = (0..20).map(|n| format!("$n{n}: String!")).collect();
    let makes: Vec<String> = (0..20)
        .map(|n| format!("m{n}: roleCreate(input: {{ name: $n{n} }}) {{ role {{ id }} }}"))
        .collect();
    let mutation = format!("mutation({}) {{ {} }}", names.join(" "), makes.join(" "));
    let variables = |round: usize| {
        (0..20).map(|n| (format!("n{n}"), json!(format!("Role {round}-{n:02}")))).collect()
    };
    let (round, answer) = ask_until_limited(&world, &mutation, variables).await;
    let answer = answer.is(503);
    assert!(!answer.header("retry-after").is_empty());
    let error = &answer.body["errors"][0];
    assert_eq!(error["extensions"]["code"], "OUTCOME_UNKNOWN", "{}", answer.body);
    world.execute(quick, []).await;

    // The roles made before the limit are complete, and none is made after the answer.
    let request: uuid::Uuid = error["extensions"]["requestId"].as_str().unwrap().parse().unwrap();
    let told =
        "SELECT payload FROM event WHERE request_id = $1 AND action = 'role.created' ORDER BY pos";
    let look = async || {
        let like = format!("Role {round}-%");
        let rows = world
            .rows("SELECT name FROM role WHERE name LIKE $1 ORDER BY name", [like.into()])
            .await;
        (rows, world.rows(told, [request.into()]).await)
    };
    let (roles, events) = look().await;
    assert!((1..20).contains(&roles.len()), "{roles:?}");
    for (n, role) in roles.iter().enumerate() {
        assert_eq!(role["name"], format!("Role {round}-{n:02}"));
    }
    assert_eq!(events.len(), roles.len(), "each role that is there has its row in the ledger");
    tokio::time::sleep(Duration::from_secs_f64(SLOW_SECONDS * 2.0)).await;
    assert_eq!(look().await, (roles, events));
    let began = Instant::now();
    let make = "mutation { roleCreate(input: { name: \"After\" }) { userErrors { message } } }";
    assert_eq!(world.graphql(make, json!({})).await["data"]["roleCreate"]["userErrors"], json!([]));
    assert!(began.elapsed() < MARGIN, "{:?}", began.elapsed());
    world.end().await;
}
