//! A source compared with the accounts here: differences become findings only when the whole source
//! was read and is believed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hostile::Hostile;
use super::{Cast, of, pulling, reader, sync};
use crate::reconcile::{find_by_label, findings};
use crate::world::{Tenant, World};

const RECONCILIATION: &str =
    "{ id state source scope message requestedBy endedAt syncRun { id mode state users { read } }
    numbers { rows unread agreed missingHere orphanedHere drifted memberships leavers opened reopened gone } }";

async fn order(tenant: &Tenant, connection: &Value, rest: &str) -> Value {
    let begin = format!(
        "mutation($c: ID!) {{ reconciliationStart(input: {{ connectionId: $c, source: SOURCE{rest} }}) {{
        reconciliation {RECONCILIATION} userErrors {{ code path message }} }} }}"
    );
    tenant.graphql(&begin, json!({ "c": connection })).await["data"]["reconciliationStart"].clone()
}

async fn begin(tenant: &Tenant, connection: &Value, rest: &str) -> Value {
    let begun = order(tenant, connection, rest).await;
    assert_eq!(begun["reconciliation"]["state"], "RUNNING", "{begun:#}");
    begun["reconciliation"]["id"].clone()
}

/// The comparison when it has ended.
async fn outcome(tenant: &Tenant, id: &Value) -> Value {
    let look =
        format!("query($r: ID!) {{ organization {{ reconciliation(id: $r) {RECONCILIATION} }} }}");
    let started = Instant::now();
    loop {
        let seen = tenant.graphql(&look, json!({ "r": id })).await["data"]["organization"]["reconciliation"].clone();
        if !seen["endedAt"].is_null() {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{seen:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn compare(tenant: &Tenant, connection: &Value, rest: &str) -> Value {
    outcome(tenant, &begin(tenant, connection, rest).await).await
}

async fn mutate(world: &World, mutation: &str, variables: Value) -> Value {
    let answer = world.graphql(mutation, variables).await;
    let payload = answer["data"]
        .as_object()
        .and_then(|data| data.values().next())
        .cloned()
        .unwrap_or_default();
    assert_eq!(payload["userErrors"], json!([]), "{answer:#}");
    payload
}

async fn id_of(world: &World, name: &str) -> Value {
    let query = "query($n: String!) { organization { user(userName: $n) { id } } }";
    world.graphql(query, json!({ "n": name })).await["data"]["organization"]["user"]["id"].clone()
}

#[tokio::test]
async fn full_run_ends_differences_from_source() {
    let (source, here) = (World::new().await, reader().await);
    let mut ids = Vec::new();
    for name in ["ada", "bob", "eve", "joe"] {
        ids.push(source.scim().user(name).await);
    }
    source.scim().group("Ward", &[ids[0], ids[1]]).await;
    source.scim().group("Other", &[ids[3]]).await;
    let connection = pulling(&here.acme, of(source.scim())).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    let agreed = compare(&here.acme, &connection, "").await;
    assert_eq!(
        (&agreed["state"], &agreed["message"]),
        (&json!("SUCCEEDED"), &Value::Null),
        "{agreed:#}"
    );
    assert_eq!((&agreed["source"], &agreed["scope"]), (&json!("SOURCE"), &json!("EVERYTHING")));
    assert_eq!(
        (&agreed["numbers"]["agreed"], &agreed["numbers"]["rows"]),
        (&json!(4), &json!(6)),
        "{agreed:#}"
    );
    assert_eq!(
        (&agreed["syncRun"]["mode"], &agreed["syncRun"]["state"]),
        (&json!("DRY_RUN"), &json!("SUCCEEDED"))
    );
    assert_eq!(findings(&here, "").await, Vec::<Value>::new());

    // Changed by hand here: a title, a member removed from a group, and a member added to it.
    // Changed at the source: a new person, and one less.
    let edit = "mutation($u: ID!) { userUpdate(input: { id: $u, title: \"By hand\" }) { \
                userErrors { message } } }";
    mutate(&here, edit, json!({ "u": id_of(&here, "ada").await })).await;
    let groups = here
        .graphql("{ organization { groups(first: 9) { nodes { id displayName } } } }", json!({}))
        .await;
    let groups = groups["data"]["organization"]["groups"]["nodes"].as_array().unwrap().clone();
    let ward = groups.iter().find(|group| group["displayName"] == "Ward").unwrap()["id"].clone();
    for (what, name) in [("groupRemoveMembers", "bob"), ("groupAddMembers", "joe")] {
        let change = format!(
            "mutation($g: ID!, $u: ID!) {{ {what}(input: {{ id: $g, memberIds: [$u] }}) {{ \
             userErrors {{ message }} }} }}"
        );
        mutate(&here, &change, json!({ "g": ward, "u": id_of(&here, name).await })).await;
    }
    source.scim().user("new").await;
    source.scim().delete(&format!("/Users/{}", ids[2])).await.is(204);

    let before = here.everything().await;
    let run = compare(&here.acme, &connection, "").await;
    let counts = &run["numbers"];
    assert_eq!(run["state"], "SUCCEEDED", "{run:#}");
    assert_eq!(
        [
            &counts["drifted"],
            &counts["missingHere"],
            &counts["orphanedHere"],
            &counts["memberships"]
        ],
        [&json!(1), &json!(1), &json!(1), &json!(2)],
        "{run:#}"
    );
    assert_eq!(
        [&counts["opened"], &counts["leavers"], &counts["agreed"]],
        [&json!(5), &json!(1), &json!(2)]
    );
    let drifted = &findings(&here, "kinds: [DRIFTED]").await[0];
    assert_eq!((&drifted["label"], &drifted["source"]), (&json!("ada"), &json!("SOURCE")));
    let title =
        json!([{ "attribute": "title", "theirs": null, "ours": "By hand", "changedBy": null }]);
    assert_eq!(drifted["differences"], title);
    let (missing, orphaned) =
        (find_by_label(&here, "new").await, find_by_label(&here, "eve").await);
    assert_eq!((&missing["kind"], &missing["leaver"]), (&json!("MISSING_HERE"), &json!(false)));
    assert!(missing["nextStep"].as_str().unwrap().contains("syncStart"), "{missing:#}");
    assert_eq!((&orphaned["kind"], &orphaned["leaver"]), (&json!("ORPHANED_HERE"), &json!(true)));
    for (name, theirs) in [("bob", true), ("joe", false)] {
        let finding = find_by_label(&here, name).await;
        assert_eq!(
            (&finding["kind"], &finding["group"]["displayName"]),
            (&json!("MEMBERSHIP"), &json!("Ward"))
        );
        assert_eq!(finding["differences"][0]["theirs"], theirs, "{finding:#}");
    }
    // The comparison wrote nothing but findings and runs.
    let after = here.everything().await;
    for (table, n) in before.as_object().unwrap() {
        let new = ["finding", "reconciliation", "sync_run", "events of changes"]
            .contains(&table.as_str());
        assert!(new || after[table] == *n, "{table}");
    }

    // A full run corrects all of them.
    let full = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(full["state"], "SUCCEEDED", "{full:#}");
    let run = compare(&here.acme, &connection, "").await;
    assert_eq!(
        (&run["numbers"]["gone"], &run["numbers"]["opened"]),
        (&json!(5), &json!(0)),
        "{run:#}"
    );
    assert_eq!(findings(&here, "states: [GONE]").await.len(), 5);
    // The source no longer has this group, so its members here differ.
    let other = source.scim().ids("/Groups?filter=displayName%20eq%20%22Other%22").await[0];
    source.scim().delete(&format!("/Groups/{other}")).await.is(204);
    let run = compare(&here.acme, &connection, "").await;
    assert_eq!(
        (&run["numbers"]["memberships"], &run["numbers"]["opened"]),
        (&json!(1), &json!(1)),
        "{run:#}"
    );
    source.end().await;
    here.end().await;
}

#[tokio::test]
async fn misbehaving_source_makes_no_finding() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(30);
    let connection =
        pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/", "pageSize": 10 })).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    source.sets(0, "title", json!("Nurse"));
    for (manner, words) in [
        ("talks rubbish", "not a JSON object"),
        ("breaks off", "not a JSON object"),
        ("lists no list", "no list of SCIM"),
        ("repeats pages", "repeats its pages"),
        ("counts wrongly", "says that it has 1030, and listed 30"),
        ("lists without ids", "listed 0"),
        ("redirects", "302"),
    ] {
        source.behaves(manner);
        let run = compare(&here.acme, &connection, "").await;
        assert_eq!(
            (&run["state"], &run["syncRun"]["state"]),
            (&json!("FAILED"), &json!("FAILED")),
            "{manner}: {run:#}"
        );
        assert!(run["message"].as_str().unwrap().contains(words), "{manner}: {run:#}");
    }
    // The source lists few people, or none: that is not believed.
    source.behaves("honest");
    for (left, words) in [(5, "5 of the 30 active accounts"), (0, "0 of the 30 active accounts")] {
        source.lists(left);
        let run = compare(&here.acme, &connection, "").await;
        assert_eq!(
            (&run["state"], &run["numbers"]["rows"]),
            (&json!("REFUSED"), &json!(left)),
            "{run:#}"
        );
        assert!(run["message"].as_str().unwrap().contains(words), "{run:#}");
    }
    assert_eq!(findings(&here, "").await, Vec::<Value>::new());
    // With a confirmation it is believed.
    source.lists(5);
    let run = compare(&here.acme, &connection, ", confirm: true").await;
    assert_eq!(
        (&run["state"], &run["numbers"]["orphanedHere"]),
        (&json!("SUCCEEDED"), &json!(25)),
        "{run:#}"
    );
    source.lists(31);
    source.sets(0, "title", json!("Nurse"));
    source.sets(1, "userName", json!(["no", "name"]));
    source.sets(2, "active", json!(false));
    let manager = json!({ "manager": { "value": "r4" } });
    source.sets(3, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", manager);
    let unknown = json!({ "manager": { "value": "r30" } });
    source.sets(5, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", unknown);
    let run = compare(&here.acme, &connection, "").await;
    let counts = &run["numbers"];
    assert_eq!(
        (&counts["gone"], &counts["unread"], &counts["drifted"]),
        (&json!(25), &json!(1), &json!(3)),
        "{run:#}"
    );
    assert!(
        run["message"].as_str().unwrap().contains("1 people at the source cannot be read"),
        "{run:#}"
    );
    assert_eq!(find_by_label(&here, "p30").await["kind"], "MISSING_HERE");
    let off = find_by_label(&here, "p2").await;
    let open = findings(&here, "states: [OPEN], kinds: [DRIFTED], leaversOnly: true").await;
    assert!(open.len() == 1 && open[0]["label"] == "p2", "{off:#}");
    // Managers are compared by the account here.
    let boss =
        here.rows("SELECT id FROM \"user\" WHERE external_id = 'r4'", []).await[0]["id"].clone();
    let managed = findings(&here, "states: [OPEN], kinds: [DRIFTED]").await;
    let managed = managed.iter().find(|finding| finding["label"] == "p3").unwrap();
    assert_eq!(managed["differences"][0]["theirs"], boss, "{managed:#}");
    here.end().await;
}

#[tokio::test]
async fn only_readable_sources_are_compared() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    let pushes = here
        .graphql("{ organization { connections(first: 9) { nodes { id kind } } } }", json!({}))
        .await;
    let pushes = pushes["data"]["organization"]["connections"]["nodes"].as_array().unwrap().clone();
    let pushes =
        pushes.iter().find(|connection| connection["kind"] != "SCIM_PULL").unwrap()["id"].clone();
    let before = here.everything().await;
    let refused = order(&here.acme, &pushes, "").await;
    assert_eq!(
        (&refused["userErrors"][0]["code"], &refused["reconciliation"]),
        (&json!("INVALID"), &Value::Null)
    );
    assert_eq!(
        refused["userErrors"][0]["message"],
        "connectionId: this connection does not read a source"
    );
    assert_eq!(here.everything().await, before);

    // While a comparison reads the source, no other one begins. Cancelling the read ends the
    // comparison.
    source.behaves("never answers");
    let running = begin(&here.acme, &connection, "").await;
    for _ in 0..2 {
        let second = order(&here.acme, &connection, "").await;
        assert_eq!(second["userErrors"][0]["code"], "HELD", "{second:#}");
        here.app.clock.advance(Duration::from_secs(11 * 60));
    }
    let ask = "query($r: ID!) { organization { reconciliation(id: $r) { syncRun { id } } } }";
    let run = here.graphql(ask, json!({ "r": running })).await;
    let run = run["data"]["organization"]["reconciliation"]["syncRun"]["id"].clone();
    let cancel = "mutation($r: ID!) { syncCancel(input: { id: $r }) { userErrors { message } } }";
    mutate(&here, cancel, json!({ "r": run })).await;
    let ended = outcome(&here.acme, &running).await;
    assert_eq!(
        (&ended["state"], &ended["syncRun"]["state"]),
        (&json!("FAILED"), &json!("CANCELLED")),
        "{ended:#}"
    );
    assert!(ended["message"].as_str().unwrap().contains("cancelled"), "{ended:#}");
    // Deactivating the connection also ends it, and no other one begins then.
    let running = begin(&here.acme, &connection, "").await;
    let off =
        "mutation($c: ID!) { connectionDeactivate(input: { id: $c }) { userErrors { message } } }";
    mutate(&here, off, json!({ "c": connection })).await;
    let ended = outcome(&here.acme, &running).await;
    assert!(
        ended["state"] == "FAILED" && ended["message"].as_str().unwrap().contains("deactivated"),
        "{ended:#}"
    );
    let refused = order(&here.acme, &connection, "").await;
    assert_eq!(refused["userErrors"][0]["code"], "HELD", "{refused:#}");
    assert!(
        refused["userErrors"][0]["message"].as_str().unwrap().contains("connectionActivate"),
        "{refused:#}"
    );
    assert_eq!(here.count("reconciliation WHERE finished_at IS NULL", []).await, 0);
    assert_eq!(
        here.count(
            "event WHERE subject_kind = 'reconciliation' AND action = 'reconciliation.failed'",
            []
        )
        .await,
        2
    );
    here.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_leaves_no_partial_comparison() {
    let mut cast = Cast::of(2, 600, 3).await;
    let tenant = cast.at(0);
    let connection = cast.pulling(5).await;
    let begun = order(&tenant, &connection, "").await["reconciliation"].clone();
    cast.kill_after(&begun["syncRun"]["id"], 100).await;
    let done = outcome(&cast.at(1), &begun["id"]).await;
    assert_eq!(
        (&done["state"], &done["numbers"]["missingHere"]),
        (&json!("SUCCEEDED"), &json!(600)),
        "{done:#}"
    );
    assert_eq!(
        (&done["numbers"]["rows"], &done["syncRun"]["users"]["read"]),
        (&json!(603), &json!(600)),
        "{done:#}"
    );
    cast.end().await;
}

const SCHEDULE: &str =
    "mutation($c: ID!, $m: Int) { reconciliationScheduleUpdate(input: { connectionId: $c,
    intervalMinutes: $m }) { connection { reconciliationSchedule { intervalMinutes nextRunAt } }
    userErrors { code path } } }";

async fn runs_of(here: &World, connection: &Value) -> Vec<Value> {
    let list = format!(
        "query($c: ID!) {{ organization {{ reconciliations(filter: {{ connectionId: $c }}, first: 50) {{ nodes \
         {RECONCILIATION} }} }} }}"
    );
    let found = here.graphql(&list, json!({ "c": connection })).await;
    found["data"]["organization"]["reconciliations"]["nodes"]
        .as_array()
        .unwrap_or_else(|| panic!("{found:#}"))
        .clone()
}

/// Waits until the connection has this many comparisons, all of which have ended.
async fn await_runs(here: &World, connection: &Value, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let runs = runs_of(here, connection).await;
        if runs.len() == count && runs.iter().all(|run| !run["endedAt"].is_null()) {
            return runs;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{runs:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn comparisons_begin_on_schedule() {
    let (source, here) = (World::new().await, reader().await);
    source.scim().user("ada").await;
    let pulled = pulling(&here.acme, of(source.scim())).await;
    sync(&here.acme, &pulled, "mode: FULL").await;
    here.scim().user("bob").await;
    let connections = "{ organization { connections(first: 9) { nodes { id kind \
                       reconciliationSchedule { intervalMinutes } } } } }";
    let all = here.graphql(connections, json!({})).await;
    let nodes = all["data"]["organization"]["connections"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["reconciliationSchedule"].is_null()), "{all:#}");
    let pushed = nodes.iter().find(|node| node["kind"] != "SCIM_PULL").unwrap()["id"].clone();

    let refused = here.graphql(SCHEDULE, json!({ "c": pulled, "m": 14 })).await;
    let errors = &refused["data"]["reconciliationScheduleUpdate"]["userErrors"];
    assert_eq!(errors[0]["path"], json!(["input", "intervalMinutes"]), "{refused:#}");
    for connection in [&pulled, &pushed] {
        let set = here.graphql(SCHEDULE, json!({ "c": connection, "m": 1440 })).await;
        let schedule =
            &set["data"]["reconciliationScheduleUpdate"]["connection"]["reconciliationSchedule"];
        assert_eq!(schedule["intervalMinutes"], 1440, "{set:#}");
        assert!(runs_of(&here, connection).await.is_empty());
    }
    let due = "UPDATE reconciliation_schedule SET next_run_at = $1";
    here.execute(due, [here.app.clock.now().into()]).await;
    let runs = await_runs(&here, &pulled, 1).await;
    assert_eq!(
        (&runs[0]["source"], &runs[0]["state"]),
        (&json!("SOURCE"), &json!("SUCCEEDED")),
        "{runs:#?}"
    );
    let runs = await_runs(&here, &pushed, 1).await;
    assert_eq!(
        (&runs[0]["source"], &runs[0]["state"]),
        (&json!("LAST_WRITE"), &json!("SUCCEEDED")),
        "{runs:#?}"
    );
    let tomorrow = here.app.clock.now() + chrono::Duration::hours(23);
    assert_eq!(
        here.count("reconciliation_schedule WHERE next_run_at > $1", [tomorrow.into()]).await,
        2
    );

    // A deactivated connection is skipped, and the ledger says why.
    let off =
        "mutation($c: ID!) { connectionDeactivate(input: { id: $c }) { userErrors { message } } }";
    here.graphql(off, json!({ "c": pulled })).await;
    here.execute(due, [here.app.clock.now().into()]).await;
    await_runs(&here, &pushed, 2).await;
    let skipped =
        "event WHERE action = 'connection.reconciliation_skipped' AND payload LIKE '%INACTIVE%'";
    let started = Instant::now();
    while here.count(skipped, []).await == 0 {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(here.count(skipped, []).await, 1);
    assert_eq!(runs_of(&here, &pulled).await.len(), 1);

    let ended = here.graphql(SCHEDULE, json!({ "c": pushed, "m": null })).await;
    let payload = &ended["data"]["reconciliationScheduleUpdate"];
    assert!(
        payload["userErrors"] == json!([])
            && payload["connection"]["reconciliationSchedule"].is_null(),
        "{ended:#}"
    );
    assert_eq!(here.count("reconciliation_schedule", []).await, 1);
    source.end().await;
    here.end().await;
}
