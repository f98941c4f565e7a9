//! One server reads another one, which is correct, slow, broken or lying. In the end both have the
//! same data, or the run says why not and what to do.

mod approvals;
mod hostile;
mod quarantine;
mod review_queue;
mod source_comparison;
mod sources;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use hostile::Hostile;

use crate::database::Database;
use crate::messages::assert_messages_have_parts;
use crate::process::{Server, bootstrap, kill_first, start_several};
use crate::world::{Scim, Tenant, World, count_of};

const RUN: &str = "{ id state mode message messageParts { code values } requestedBy endedAt
    troubles { kind remoteId code message }
    users { read created updated suspended restored deleted unchanged failed }
    groups { read created updated deleted unchanged failed } }";

/// A server that may read sources on this machine.
async fn reader() -> World {
    World::with(|config| config.pull_private_addresses = true).await
}

/// A connection of `tenant` that reads a source.
async fn pulling(tenant: &Tenant, pull: Value) -> Value {
    pulling_as(tenant, "Source", pull).await
}

async fn pulling_as(tenant: &Tenant, name: &str, pull: Value) -> Value {
    let make = "mutation($n: String!, $p: PullSourceInput!) { connectionCreate(input: { name: $n, pull: $p }) {
        connection { id kind hasCredentials } userErrors { message } } }";
    let made = tenant.graphql(make, json!({ "n": name, "p": pull })).await;
    let connection = &made["data"]["connectionCreate"]["connection"];
    assert_eq!(
        (&connection["kind"], &connection["hasCredentials"]),
        (&json!("SCIM_PULL"), &json!(true)),
        "{made:#}"
    );
    connection["id"].clone()
}

fn of(scim: &Scim) -> Value {
    json!({ "baseUrl": scim.base, "secret": scim.token })
}

async fn start(tenant: &Tenant, connection: &Value, mode: &str) -> Value {
    let start = format!(
        "mutation($c: ID!) {{ syncStart(input: {{ connectionId: $c, {mode} }}) {{
        syncRun {{ id }} userErrors {{ code message }} }} }}"
    );
    let begun = tenant.graphql(&start, json!({ "c": connection })).await;
    let id = &begun["data"]["syncStart"]["syncRun"]["id"];
    assert!(id.is_string(), "{begun:#}");
    id.clone()
}

async fn look(tenant: &Tenant, run: &Value) -> Value {
    let look = format!("query($r: ID!) {{ organization {{ syncRun(id: $r) {RUN} }} }}");
    let answer = tenant.graphql(&look, json!({ "r": run })).await;
    assert_messages_have_parts(&answer);
    answer["data"]["organization"]["syncRun"].clone()
}

/// The run when it has ended or waits for an approval.
pub async fn ended(tenant: &Tenant, run: &Value) -> Value {
    let started = Instant::now();
    loop {
        let seen = look(tenant, run).await;
        if !seen["endedAt"].is_null() || seen["state"] == "WAITING" {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "{seen:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sync(tenant: &Tenant, connection: &Value, mode: &str) -> Value {
    ended(tenant, &start(tenant, connection, mode).await).await
}

/// Fills a source by Bulk with this many users, and groups of them.
async fn fill(scim: &Scim, users: usize, groups: usize) {
    let operation = |path: &str, id: String, data: Value| json!({ "method": "POST", "path": path, "bulkId": id, "data": data });
    let all: Vec<usize> = (0..users).collect();
    let mut ids = Vec::new();
    for part in all.chunks(500) {
        let operations = part.iter().map(|n| {
            let name = format!("person{n}@example.com");
            operation(
                "/Users",
                format!("u{n}"),
                json!({ "userName": name, "displayName": format!("Person {n}") }),
            )
        });
        ids.extend(bulk(scim, operations.collect()).await);
    }
    let each = users.div_ceil(groups.max(1));
    let made: Vec<_> = (0..groups)
        .map(|n| {
            let members: Vec<_> =
                ids.iter().skip(n * each).take(each).map(|id| json!({ "value": id })).collect();
            operation(
                "/Groups",
                format!("g{n}"),
                json!({ "displayName": format!("Group {n}"), "members": members }),
            )
        })
        .collect();
    for part in made.chunks(50) {
        bulk(scim, part.to_vec()).await;
    }
}

async fn bulk(scim: &Scim, operations: Vec<Value>) -> Vec<String> {
    let body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations });
    let answer = scim.post("/Bulk", body).await.is(200).body;
    let id = |done: &Value| {
        assert!(["200", "201"].contains(&done["status"].as_str().unwrap()), "{done:#}");
        done["location"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    answer["Operations"].as_array().unwrap().iter().map(id).collect()
}

/// All users, groups and memberships.
async fn picture(world: &World) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let users = r#"SELECT user_name, display_name, active FROM "user" WHERE deleted_at IS NULL ORDER BY user_name"#;
    let groups =
        r#"SELECT display_name FROM "group" WHERE deleted_at IS NULL ORDER BY display_name"#;
    let members = r#"SELECT g.display_name, u.user_name FROM membership m
        JOIN "user" u ON u.organization_id = m.organization_id AND u.id = m.user_id AND u.deleted_at IS NULL
        JOIN "group" g ON g.organization_id = m.organization_id AND g.id = m.group_id AND g.deleted_at IS NULL
        WHERE m.until IS NULL ORDER BY g.display_name, u.user_name"#;
    (world.rows(users, []).await, world.rows(groups, []).await, world.rows(members, []).await)
}

fn part<'a>(run: &'a Value, kind: &str, names: &[&str]) -> Vec<&'a Value> {
    names.iter().map(|name| &run[kind][*name]).collect()
}

async fn whole_story(users: usize, groups: usize, page: usize) {
    let (source, here) = (World::new().await, reader().await);
    fill(source.scim(), users, groups).await;
    let mut pull = of(source.scim());
    pull["pageSize"] = page.into();
    let connection = pulling(&here.acme, pull).await;

    // A dry run counts the changes and makes none.
    let before = here.count("\"user\"", []).await;
    let dry = sync(&here.acme, &connection, "mode: DRY_RUN").await;
    assert_eq!(dry["state"], "SUCCEEDED", "{dry:#}");
    assert_eq!(part(&dry, "users", &["read", "created"]), [&json!(users), &json!(users)]);
    assert_eq!(here.count("\"user\"", []).await, before);

    let timed = Instant::now();
    let full = sync(&here.acme, &connection, "mode: FULL").await;
    println!("full run of {users} users and {groups} groups: {:?}", timed.elapsed());
    assert_eq!((&full["state"], &full["troubles"]), (&json!("SUCCEEDED"), &json!([])), "{full:#}");
    assert_eq!(
        part(&full, "users", &["created", "failed"]),
        [&json!(users), &json!(0)],
        "{full:#}"
    );
    assert_eq!(full["groups"]["created"], groups, "{full:#}");
    assert_eq!(picture(&here).await, picture(&source).await);

    // The second run writes nothing.
    let changes = "event WHERE subject_kind NOT IN ('sync_run', 'connection') AND action <> \
                   'user.access_changed'";
    let events = here.count(changes, []).await;
    let timed = Instant::now();
    let again = sync(&here.acme, &connection, "mode: FULL").await;
    println!("the same again: {:?}", timed.elapsed());
    assert_eq!(
        part(&again, "users", &["unchanged", "updated"]),
        [&json!(users), &json!(0)],
        "{again:#}"
    );
    assert_eq!(here.count(changes, []).await, events);

    // Fifty changes, read by an incremental run. A renamed person gets no second account.
    let ids = source.scim().ids("/Users?count=40").await;
    for (n, id) in ids.iter().enumerate() {
        let change = match n % 4 {
            0 => json!([{ "op": "replace", "path": "active", "value": false }]),
            1 => {
                json!([{ "op": "replace", "path": "userName", "value": format!("renamed{n}@example.com") }])
            }
            _ => {
                json!([{ "op": "replace", "path": "displayName", "value": format!("Renamed {n}") }])
            }
        };
        source.scim().patch(&format!("/Users/{id}"), change).await.is(200);
    }
    let new = source.scim().user("newcomer@example.com").await;
    for group in source.scim().ids("/Groups?count=9").await {
        let add = json!([{ "op": "add", "path": "members", "value": [{ "value": new }] }]);
        let answer = source.scim().patch(&format!("/Groups/{group}"), add).await;
        assert!(answer.status.is_success(), "{}", answer.body);
    }
    let timed = Instant::now();
    let changed = sync(&here.acme, &connection, "mode: INCREMENTAL").await;
    println!("an incremental run of 50 changes: {:?}", timed.elapsed());
    assert_eq!(changed["state"], "SUCCEEDED", "{changed:#}");
    assert_eq!(
        part(&changed, "users", &["created", "updated", "suspended"]),
        [&json!(1), &json!(30), &json!(10)],
        "{changed:#}"
    );
    assert_eq!(picture(&here).await, picture(&source).await);

    // A full run deletes accounts that the source no longer has, and empties groups that are empty
    // there.
    for id in &ids[..5] {
        source.scim().delete(&format!("/Users/{id}")).await.is(204);
    }
    let group = source.scim().ids("/Groups?count=1").await[0];
    source
        .scim()
        .patch(&format!("/Groups/{group}"), json!([{ "op": "remove", "path": "members" }]))
        .await;
    let full = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&full["state"], &full["users"]["deleted"]),
        (&json!("SUCCEEDED"), &json!(5)),
        "{full:#}"
    );
    assert_eq!(picture(&here).await, picture(&source).await);

    // Reads one person, by name.
    let name = "person20@example.com";
    let found = source.scim().ids(&format!("/Users?filter=userName%20eq%20%22{name}%22")).await;
    let off = json!([{ "op": "replace", "path": "displayName", "value": "Only one" }]);
    source.scim().patch(&format!("/Users/{}", found[0]), off).await.is(200);
    let one = sync(&here.acme, &connection, &format!("mode: ONE_USER, userName: \"{name}\"")).await;
    assert_eq!(part(&one, "users", &["read", "updated"]), [&json!(1), &json!(1)], "{one:#}");
    let unknown = sync(&here.acme, &connection, "mode: ONE_USER, userName: \"unlisted\"").await;
    assert_eq!(unknown["state"], "FAILED");
    assert!(unknown["message"].as_str().unwrap().contains("of that name"), "{unknown:#}");
    assert_eq!(picture(&here).await, picture(&source).await);
    source.end().await;
    here.end().await;
}

#[tokio::test]
async fn sync_copies_another_server() {
    whole_story(600, 20, 100).await;
}

/// The size of a company. `tests/run` runs this test alone, with fewer people.
#[tokio::test]
#[ignore = "takes minutes, and both processors"]
async fn sync_copies_a_company() {
    let people = count_of("ROLECALL_SOURCE_PEOPLE", 20_000);
    whole_story(people, people / 40, 500).await;
}

#[tokio::test]
async fn pull_connection_protects_its_secret() {
    let here = reader().await;
    let made = pulling(
        &here.acme,
        json!({ "baseUrl": "https://example.com/scim/v2/", "secret": "very-secret-indeed" }),
    );
    let connection = made.await;
    let issue = "mutation($c: ID!) { scimTokenIssue(input: { connectionId: $c }) { secret \
                 userErrors { message } } }";
    let issued = here.graphql(issue, json!({ "c": connection })).await;
    assert!(issued["data"]["scimTokenIssue"]["secret"].is_null(), "{issued:#}");
    assert_eq!(here.count("event WHERE payload LIKE '%very-secret%'", []).await, 0);
    // The secret is not sent to another address than the one that it was given for.
    let update =
        "mutation($c: ID!, $p: PullSourceUpdateInput!) { connectionUpdate(input: { id: $c, pull: $p }) {
        connection { pull { baseUrl pageSize } } userErrors { message path } } }";
    let moved =
        json!({ "c": connection, "p": { "baseUrl": "https://elsewhere.example.com/scim/v2" } });
    let moved = here.graphql(update, moved).await;
    assert!(moved["data"]["connectionUpdate"]["connection"].is_null(), "{moved:#}");
    let same = json!({ "c": connection, "p": { "baseUrl": "https://example.com/scim/v2", "pageSize": 7 } });
    let same = here.graphql(update, same).await;
    let shown = json!({ "baseUrl": "https://example.com/scim/v2", "pageSize": 7 });
    assert_eq!(same["data"]["connectionUpdate"]["connection"]["pull"], shown, "{same:#}");
    here.end().await;
}

#[tokio::test]
async fn misbehaving_source_does_no_harm() {
    let here = reader().await;
    let (hostile, address) = Hostile::serve().await;
    hostile.lists(100);
    let pull = json!({ "baseUrl": address, "secret": "id+/", "pageSize": 25 });
    let connection = pulling(&here.acme, pull).await;
    let live = async || here.count("\"user\" WHERE deleted_at IS NULL", []).await;
    let run = async |manner: &'static str| {
        hostile.behaves(manner);
        sync(&here.acme, &connection, "mode: FULL").await
    };
    for manner in ["throttles", "stumbles", "gives short pages", "counts too few", "does not count"]
    {
        let run = run(manner).await;
        assert_eq!((&run["state"], live().await), (&json!("SUCCEEDED"), 100), "{manner}: {run:#}");
    }
    let failing = [
        ("talks rubbish", "not a JSON object"),
        ("repeats pages", "repeats its pages"),
        ("counts wrongly", "says that it has 1100, and listed 100"),
        ("redirects", "302"),
        ("is down", "502"),
    ];
    for (manner, words) in failing {
        let run = run(manner).await;
        assert_eq!((&run["state"], live().await), (&json!("FAILED"), 100), "{manner}: {run:#}");
        assert!(run["message"].as_str().unwrap().contains(words), "{manner}: {run:#}");
    }
    let run = run("lists without ids").await;
    assert_eq!((&run["state"], live().await), (&json!("FAILED"), 100), "{run:#}");

    // A tenth of the people is left: no account is deleted without an approval.
    hostile.lists(10);
    hostile.behaves("honest");
    let waiting = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&waiting["state"], live().await), (&json!("WAITING"), 100), "{waiting:#}");
    assert!(waiting["message"].as_str().unwrap().contains("90 of 100 accounts"), "{waiting:#}");
    let start = "mutation($c: ID!) { syncStart(input: { connectionId: $c }) { userErrors { code \
                 message } } }";
    let second = here.graphql(start, json!({ "c": connection })).await;
    assert!(second.to_string().contains("has not ended"), "{second:#}");
    let change = |what: &str| {
        format!(
            "mutation($r: ID!) {{ {what}(input: {{ id: $r }}) {{ syncRun {{ state }} userErrors \
             {{ message }} }} }}"
        )
    };
    here.graphql(&change("syncCancel"), json!({ "r": waiting["id"] })).await;
    assert_eq!(
        (&look(&here.acme, &waiting["id"]).await["state"], live().await),
        (&json!("CANCELLED"), 100)
    );
    let waiting = sync(&here.acme, &connection, "mode: FULL").await;
    let approved = here.graphql(&change("syncApprove"), json!({ "r": waiting["id"] })).await;
    assert_eq!(approved["data"]["syncApprove"]["userErrors"], json!([]), "{approved:#}");
    let run = ended(&here.acme, &waiting["id"]).await;
    assert_eq!((&run["state"], live().await), (&json!("SUCCEEDED"), 10), "{run:#}");
    // Accounts of people who are listed again are restored.
    hostile.lists(100);
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["users"]["restored"], live().await), (&json!(90), 100), "{run:#}");
    assert_eq!(here.count("\"user\"", []).await, 100);
    // A source that lists no people always needs an approval.
    hostile.lists(0);
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["state"], live().await), (&json!("WAITING"), 100), "{run:#}");
    here.end().await;
}

#[tokio::test]
async fn connection_test_checks_each_step() {
    let here = reader().await;
    let (hostile, address) = Hostile::serve().await;
    hostile.lists(30);
    let pull = json!({ "baseUrl": address, "auth": "CLIENT_CREDENTIALS", "tokenUrl": format!("{address}/token"),
        "clientId": "client", "scope": "scim read", "secret": "id+/", "pageSize": 10 });
    let connection = pulling(&here.acme, pull.clone()).await;
    let test = "mutation($c: ID!) { pullSourceTest(input: { connectionId: $c }) { ok steps { \
                probe ok message nextStep messageParts { code } nextStepParts { code } } \
                userErrors { message } } }";
    let good = here.graphql(test, json!({ "c": connection })).await;
    let found = &good["data"]["pullSourceTest"];
    assert_eq!(
        (&found["ok"], found["steps"].as_array().unwrap().len()),
        (&json!(true), 4),
        "{good:#}"
    );
    assert!(found["steps"][2]["message"].as_str().unwrap().contains("30"), "{good:#}");
    // Each run takes a new token, which invalidates the one before.
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["state"], &run["users"]["created"]),
        (&json!("SUCCEEDED"), &json!(30)),
        "{run:#}"
    );
    let update = "mutation($c: ID!, $p: PullSourceUpdateInput!) { connectionUpdate(input: { id: $c, \
                  pull: $p }) { userErrors { message } } }";
    let mut wrong = pull;
    wrong["secret"] = "wrong".into();
    here.graphql(update, json!({ "c": connection, "p": wrong })).await;
    let bad = here.graphql(test, json!({ "c": connection })).await;
    [&good, &bad].into_iter().for_each(assert_messages_have_parts);
    let found = &bad["data"]["pullSourceTest"];
    assert_eq!(
        (&found["ok"], &found["steps"][0]["probe"]),
        (&json!(false), &json!("TOKEN")),
        "{bad:#}"
    );
    assert!(found["steps"][0]["nextStep"].as_str().unwrap().contains("secret"), "{bad:#}");
    here.end().await;
}

#[tokio::test]
async fn private_source_addresses_are_refused() {
    let here = World::new().await;
    let pull = json!({ "baseUrl": "http://127.0.0.1:9/scim/v2", "secret": "x" });
    let connection = pulling(&here.acme, pull).await;
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(run["state"], "FAILED");
    assert!(
        run["message"].as_str().unwrap().contains("ROLECALL_PULL_PRIVATE_ADDRESSES"),
        "{run:#}"
    );
    here.end().await;
}

#[tokio::test]
async fn schedule_starts_runs() {
    let here = reader().await;
    let (hostile, address) = Hostile::serve().await;
    hostile.lists(3);
    let pull = json!({ "baseUrl": address, "secret": "id+/", "intervalMinutes": 60 });
    pulling(&here.acme, pull).await;
    here.app.clock.advance(Duration::from_secs(61 * 60));
    let started = Instant::now();
    while here.count("sync_run WHERE state = 'SUCCEEDED'", []).await == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "no run began");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(here.count("\"user\" WHERE deleted_at IS NULL", []).await, 3);
    assert_eq!(here.count("sync_run", []).await, 1);
    here.end().await;
}

#[tokio::test]
async fn incremental_runs_start_between_full_ones() {
    let here = reader().await;
    let (hostile, address) = Hostile::serve().await;
    hostile.lists(3);
    let pull = json!({ "baseUrl": address, "secret": "id+/", "intervalMinutes": 60, "incrementalMinutes": 20 });
    let connection = pulling(&here.acme, pull).await;
    let modes = async || {
        let ask = "query($c: ID!) { node(id: $c) { ... on IdentitySource { pull { nextRunAt nextIncrementalAt }
            syncRuns(first: 10) { totalCount nodes { mode endedAt } } } } }";
        let answer = here.graphql(ask, json!({ "c": connection })).await;
        let runs = &answer["data"]["node"]["syncRuns"];
        let nodes = runs["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
        // A run may begin between the two queries.
        assert!(
            runs["totalCount"].as_u64().unwrap().abs_diff(nodes.len() as u64) <= 1,
            "{answer:#}"
        );
        let ended = nodes.iter().filter(|run| !run["endedAt"].is_null());
        ended.map(|run| run["mode"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let begin = async |minutes: u64, expected: &[&str]| {
        here.app.clock.advance(Duration::from_secs(minutes * 60));
        let started = Instant::now();
        while modes().await != expected {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", modes().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    begin(21, &["INCREMENTAL"]).await;
    begin(21, &["INCREMENTAL", "INCREMENTAL"]).await;
    // Both are due: the full run also reads the changes.
    begin(21, &["FULL", "INCREMENTAL", "INCREMENTAL"]).await;
    begin(21, &["INCREMENTAL", "FULL", "INCREMENTAL", "INCREMENTAL"]).await;
    here.end().await;
}

/// A source, and several servers on one database. The first server reads the source and is killed.
struct Cast {
    source: World,
    people: usize,
    database: Database,
    servers: Vec<Server>,
    api_key: String,
}

/// The source is on this machine.
const ALLOW: [(&str, &str); 1] = [("ROLECALL_PULL_PRIVATE_ADDRESSES", "true")];

impl Cast {
    async fn of(servers: usize, people: usize, groups: usize) -> Self {
        let source = World::new().await;
        fill(source.scim(), people, groups).await;
        let database = Database::empty().await;
        let api_key = bootstrap(&database)["graphql"]["api_key"].as_str().unwrap().to_owned();
        let servers = start_several(&database, servers, &ALLOW).await;
        Self { source, people, database, servers, api_key }
    }

    /// The organization, seen through this server.
    fn at(&self, server: usize) -> Tenant {
        Tenant {
            organization: self.source.acme.organization,
            connection: self.source.acme.connection,
            api_key: self.api_key.clone(),
            scim: self.source.scim().clone(),
            graphql: format!(
                "{}/graphql",
                self.servers[server.min(self.servers.len() - 1)].address
            ),
        }
    }

    /// A connection that reads the source in pages of this size.
    async fn pulling(&self, page: usize) -> Value {
        let mut pull = of(self.source.scim());
        pull["pageSize"] = page.into();
        pulling(&self.at(0), pull).await
    }

    /// Kills the first server when the run has read this many people.
    async fn kill_after(&mut self, run: &Value, people: usize) {
        let (tenant, began) = (self.at(0), Instant::now());
        loop {
            let read =
                look(&tenant, run).await["users"]["read"].as_u64().unwrap_or_default() as usize;
            if read >= people {
                assert!(read < self.people, "it was too quick to be killed");
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        kill_first(&mut self.servers, &self.database, &ALLOW).await;
    }

    async fn end(self) {
        drop(self.servers);
        self.database.drop().await;
        self.source.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_sync_creates_each_account_once() {
    let mut cast = Cast::of(3, 1_000, 10).await;
    let tenant = cast.at(0);
    let connection = cast.pulling(50).await;
    let run = start(&tenant, &connection, "mode: FULL").await;
    // The first server begins the run at once, and is killed in the middle.
    cast.kill_after(&run, 150).await;
    let tenant = cast.at(1);
    let done = ended(&tenant, &run).await;
    assert_eq!(
        (&done["state"], &done["users"]["failed"]),
        (&json!("SUCCEEDED"), &json!(0)),
        "{done:#}"
    );
    let ask = "{ organization { users(first: 1) { totalCount } groups(first: 1) { totalCount }
        made: events(first: 1, filter: { actions: [USER_CREATED] }) { totalCount } } }";
    let count = tenant.graphql(ask, json!({})).await;
    let organization = &count["data"]["organization"];
    assert_eq!(organization["users"]["totalCount"], 1_000, "{count:#}");
    assert_eq!(organization["groups"]["totalCount"], 10, "{count:#}");
    assert_eq!(organization["made"]["totalCount"], 1_000, "{count:#}");
    cast.end().await;
}
