//! An identity provider's data compared with the accounts here: differences are found, found again,
//! corrected, accepted, and end.

mod concurrent_changes;
mod exports;
mod last_known;
mod resolutions;

use reqwest::header::CONTENT_TYPE;
use rolecall::domain::directory::user;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::messages::assert_messages_have_parts;
use crate::walk::codes;
use crate::world::{Answer, Tenant, World};

/// Uploads an export with the organization's key.
pub async fn upload(
    tenant: &Tenant,
    connection: &str,
    parameters: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    upload_as(tenant, &tenant.api_key, connection, parameters, content_type, body).await
}

async fn upload_as(
    tenant: &Tenant,
    credential: &str,
    connection: &str,
    parameters: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let root = tenant.graphql.trim_end_matches("/graphql");
    let request = tenant
        .scim
        .http
        .post(format!("{root}/reconciliations?connection={connection}&{parameters}"));
    let request = request.bearer_auth(credential).header(CONTENT_TYPE, content_type).body(body);
    Answer::of(request.send().await.unwrap()).await
}

async fn csv(world: &World, text: impl Into<String>) -> Answer {
    upload(&world.acme, &connection(world).await, "kind=users", "text/csv", text.into()).await
}

/// The global id of acme's connection.
async fn connection(world: &World) -> String {
    let answer = world
        .graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}))
        .await;
    answer["data"]["organization"]["connections"]["nodes"][0]["id"].as_str().unwrap().to_owned()
}

const FINDING: &str = "{ id kind state source label accountClass leaver rolesHeld count resolution reason acceptedUntil \
     decidedBy nextStep nextStepParts { code } user { userName } group { displayName } \
     differences { attribute theirs ours changedBy } }";

/// All findings that match the filter, the oldest first.
pub async fn findings(world: &World, filter: &str) -> Vec<Value> {
    let query = format!(
        "{{ organization {{ findings(first: 100, orderBy: {{ field: FIRST_SEEN_AT }}, filter: {{ {filter} }}) {{
            totalCount nodes {FINDING} }} }} }}"
    );
    let answer = world.graphql(&query, json!({})).await;
    assert_messages_have_parts(&answer);
    let page = &answer["data"]["organization"]["findings"];
    let nodes = page["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
    assert_eq!(page["totalCount"], nodes.len(), "{answer:#}");
    nodes
}

/// The finding with this label.
pub async fn find_by_label(world: &World, label: &str) -> Value {
    let all = findings(world, "").await;
    let mut found = all.iter().filter(|finding| finding["label"] == label);
    let one = found.next().unwrap_or_else(|| panic!("nothing about {label} in {all:#?}"));
    assert!(found.next().is_none(), "more than one about {label}");
    one.clone()
}

async fn resolve(world: &World, finding: &Value, rest: &str) -> Value {
    resolve_as(world, &world.acme.api_key, finding, rest).await
}

async fn resolve_as(world: &World, credential: &str, finding: &Value, rest: &str) -> Value {
    let mutation = format!(
        "mutation($id: ID!) {{ findingResolve(input: {{ id: $id, {rest} }}) {{
            finding {FINDING} userErrors {{ code path message }} }} }}"
    );
    world.acme.graphql_as(credential, &[], &mutation, json!({ "id": finding["id"] })).await.body
}

/// Resolves the finding; returns it afterwards.
async fn resolve_done(world: &World, label: &str, rest: &str) -> Value {
    let answer = resolve(world, &find_by_label(world, label).await, rest).await;
    let payload = &answer["data"]["findingResolve"];
    assert_eq!(payload["userErrors"], json!([]), "{answer:#}");
    payload["finding"].clone()
}

async fn resolve_refused(world: &World, label: &str, rest: &str) -> (String, String) {
    let answer = resolve(world, &find_by_label(world, label).await, rest).await;
    let error = &answer["data"]["findingResolve"]["userErrors"][0];
    assert!(answer["data"]["findingResolve"]["finding"].is_null(), "{answer:#}");
    (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

async fn by_hand(world: &World, name: &str) -> Uuid {
    let Value::Object(attributes) = json!({ "userName": name, "title": "Local" }) else {
        unreachable!()
    };
    user::create_user(&world.system(), attributes).await.unwrap().id
}

/// The ledger's events about findings, in order.
async fn list_finding_events(world: &World) -> Vec<String> {
    let rows = world
        .rows("SELECT action FROM event WHERE subject_kind = 'finding' ORDER BY pos", [])
        .await;
    rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
}

async fn create_person(world: &World, name: &str, title: &str) -> Uuid {
    let body = json!({ "userName": name, "externalId": format!("x-{name}"), "title": title, "name": { "givenName": "A" },
        "emails": [{ "value": format!("{name}@example.org") }, { "value": format!("{name}@home.example") }] });
    world.scim().post("/Users", body).await.is(201).id()
}

/// An organization and an export that differ in every way.
async fn differing() -> World {
    let world = World::new().await;
    for (name, title) in
        [("agreed", "Nurse"), ("drifted", "Nurse"), ("orphaned", "Nurse"), ("left", "Nurse")]
    {
        create_person(&world, name, title).await;
    }
    by_hand(&world, "listed.by.hand").await;
    by_hand(&world, "by.hand").await;
    world
}

const EXPORT: &str = "userPrincipalName,externalId,mail,givenName,jobTitle,accountEnabled\r\n\
    AGREED,x-agreed,Agreed@Example.org,A,Nurse,True\r\n\
    drifted,x-drifted,drifted@example.org,A,Doctor,True\r\n\
    left,x-left,left@example.org,A,Nurse,False\r\n\
    missing,x-missing,missing@example.org,M,Clerk,True\r\n\
    listed.by.hand,x-hand,hand@example.org,H,Clerk,True\r\n\
    never.here,x-never,,,,False\r\n";

#[tokio::test]
async fn every_difference_becomes_one_finding() {
    let world = differing().await;
    let before = world.everything().await;
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let run = &answer.body["reconciliation"];
    assert_eq!(
        run["counts"],
        json!({ "rows": 6, "unread": 0, "agreed": 1, "missingHere": 2, "orphanedHere": 2, "drifted": 2, "memberships": 0,
            "leavers": 2, "localAccounts": 2, "unassignedAccounts": 2, "assignedAccounts": 2, "opened": 6, "reopened": 0,
            "gone": 0 })
    );
    let shown: Vec<_> = findings(&world, "").await;
    let mut shown: Vec<_> = shown
        .iter()
        .map(|it| {
            let differences = it["differences"].as_array().unwrap().iter();
            let attributes: Vec<_> =
                differences.map(|it| it["attribute"].as_str().unwrap()).collect();
            (
                it["label"].as_str().unwrap(),
                it["kind"].as_str().unwrap(),
                it["accountClass"].clone(),
                it["leaver"] == true,
                attributes,
            )
        })
        .collect();
    shown.sort_by_key(|(label, ..)| *label);
    assert_eq!(
        shown,
        [
            ("by.hand", "ORPHANED_HERE", json!("LOCAL"), false, vec!["active"]),
            ("drifted", "DRIFTED", json!("ASSIGNED"), false, vec!["title"]),
            ("left", "DRIFTED", json!("UNASSIGNED"), true, vec!["active"]),
            (
                "listed.by.hand",
                "MISSING_HERE",
                json!("LOCAL"),
                false,
                vec!["active", "emails", "externalId", "name.givenName", "title", "userName"]
            ),
            (
                "missing",
                "MISSING_HERE",
                Value::Null,
                false,
                vec!["active", "emails", "externalId", "name.givenName", "title", "userName"]
            ),
            ("orphaned", "ORPHANED_HERE", json!("UNASSIGNED"), true, vec!["active"]),
        ]
    );
    let drifted = find_by_label(&world, "drifted").await;
    assert_eq!(
        drifted["differences"],
        json!([{ "attribute": "title", "theirs": "Doctor", "ours": "Nurse", "changedBy": null }])
    );
    assert_eq!((&drifted["user"]["userName"], &drifted["count"]), (&json!("drifted"), &json!(1)));
    assert_eq!(findings(&world, "leaversOnly: true, states: [OPEN]").await.len(), 2);
    assert_eq!(findings(&world, "kinds: [MISSING_HERE]").await.len(), 2);
    assert_eq!(list_finding_events(&world).await, vec!["finding.opened"; 6]);
    // The comparison wrote nothing but the findings.
    let after = world.everything().await;
    for (table, n) in before.as_object().unwrap() {
        let new = ["finding", "reconciliation", "events of changes"].contains(&table.as_str());
        assert_eq!(new, after[table] != *n, "{table}");
    }

    // The same export again is counted and writes no event.
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["opened"], 0);
    assert_eq!(list_finding_events(&world).await.len(), 6);
    assert_eq!(find_by_label(&world, "drifted").await["count"], 2);

    // A difference that is corrected at the source or here ends. A difference that changes is still
    // the same finding.
    let export = EXPORT
        .replace("Doctor", "Surgeon")
        .replace("left@example.org,A,Nurse,False", "left@example.org,A,Nurse,True");
    let answer =
        csv(&world, format!("{export}orphaned,x-orphaned,orphaned@home.example,A,Nurse,True\r\n"))
            .await
            .is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["gone"], 2, "{:#}", answer.body);
    assert_eq!(find_by_label(&world, "orphaned").await["state"], "GONE");
    assert_eq!(find_by_label(&world, "left").await["state"], "GONE");
    let drifted = find_by_label(&world, "drifted").await;
    assert_eq!(
        (&drifted["state"], &drifted["differences"][0]["theirs"]),
        (&json!("OPEN"), &json!("Surgeon"))
    );
    // A difference that comes back reopens its finding.
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["reopened"], 2);
    assert_eq!(find_by_label(&world, "left").await["state"], "OPEN");
    let runs =
        "{ organization { reconciliations(first: 10) { totalCount nodes { state scope source requestedBy endedAt
        numbers { rows leavers } troubles { line message } message } } } }";
    let runs =
        world.graphql(runs, json!({})).await["data"]["organization"]["reconciliations"].clone();
    assert_eq!(
        (&runs["totalCount"], &runs["nodes"][0]["state"]),
        (&json!(4), &json!("SUCCEEDED")),
        "{runs:#}"
    );
    assert_eq!(runs["nodes"][0]["numbers"], json!({ "rows": 6, "leavers": 2 }));
    world.end().await;
}

#[tokio::test]
async fn finished_findings_are_deleted_later() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    resolve_done(&world, "left", "choice: SUSPEND").await;
    csv(&world, EXPORT.replace("missing,x-missing,missing@example.org,M,Clerk,True\r\n", ""))
        .await
        .is(200);
    let open = world.count("finding WHERE state = 'OPEN'", []).await;
    world.days_pass(89);
    rolecall::domain::reconcile::forget_old_findings(&world.app).await.unwrap();
    assert_eq!(world.count("finding WHERE state IN ('GONE', 'RESOLVED')", []).await, 2);
    world.days_pass(2);
    rolecall::domain::reconcile::forget_old_findings(&world.app).await.unwrap();
    assert_eq!(world.count("finding WHERE state IN ('GONE', 'RESOLVED')", []).await, 0);
    assert_eq!(world.count("finding", []).await, open);
    assert_eq!(world.count("reconciliation", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn only_one_comparison_runs_at_once() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    world.execute("UPDATE reconciliation SET state = 'RUNNING', finished_at = NULL", []).await;
    let refused = csv(&world, EXPORT).await.is(409);
    assert_eq!(codes(&refused.body), ["HELD"]);
    // A comparison of a dead server blocks no other one after eleven minutes.
    world.app.clock.advance(std::time::Duration::from_secs(11 * 60));
    csv(&world, EXPORT).await.is(200);
    assert_eq!(world.count("reconciliation WHERE state = 'FAILED'", []).await, 1);
    // The findings end together with the connection.
    let delete = "mutation($c: ID!) { connectionDelete(input: { id: $c, usersBecomeManual: true \
                  }) { userErrors { message } } }";
    let answer = world.graphql(delete, json!({ "c": connection(&world).await })).await;
    assert_eq!(answer["data"]["connectionDelete"]["userErrors"], json!([]), "{answer:#}");
    assert_eq!(findings(&world, "states: [OPEN, ACCEPTED]").await.len(), 0);
    world.end().await;
}
