//! What the operator does with organizations over the API: nothing of one is seen or lost.

use chrono::Duration;
use reqwest::Method;
use rolecall::auth::policy::{Permission, Permissions};
use rolecall::context::local_issuer;
use serde_json::{Value, json};

use crate::bulk;
use crate::world::{Answer, World};

/// A token of a person with these permissions everywhere, in these organizations.
fn token(world: &World, everywhere: &[Permission], organizations: &[&str]) -> String {
    let inside = |slug: &&str| ((*slug).to_owned(), Permissions::new());
    let claims = local_issuer::IssuerClaims {
        subject: "olga".into(),
        name: "Olga".into(),
        organizations: organizations.iter().map(inside).collect(),
        permissions: everywhere.iter().copied().collect(),
        ..Default::default()
    };
    local_issuer::issue_token(&world.app, &claims, Duration::hours(1)).unwrap()
}

async fn ask(world: &World, token: &str, query: &str, variables: Value) -> Value {
    world.acme.graphql_as(token, &[], query, variables).await.body
}

const CREATE: &str =
    "mutation($s: String!, $n: String!) { organizationCreate(input: { slug: $s, name: $n }) {
    organization { organizationId slug name state suspendedAt } secret keyExpiresAt
    userErrors { code } } }";
const SUSPEND: &str =
    "mutation($s: String!) { organizationSuspend(input: { slug: $s, reason: \"unpaid\" }) {
    organization { slug state } userErrors { code } } }";
const RESUME: &str =
    "mutation($s: String!) { organizationResume(input: { slug: $s, reason: \"paid\" }) {
    organization { slug state suspendedAt } userErrors { code } } }";

#[tokio::test]
async fn operator_creates_organizations() {
    let world = World::new().await;
    let operator = token(&world, &[Permission::PlatformAdmin], &[]);
    let made = ask(&world, &operator, CREATE, json!({ "s": "initech", "n": "Initech" })).await;
    let payload = &made["data"]["organizationCreate"];
    assert_eq!(payload["userErrors"], json!([]), "{made:#}");
    let organization = &payload["organization"];
    assert_eq!(
        (&organization["slug"], &organization["state"]),
        (&json!("initech"), &json!("ACTIVE"))
    );
    // The first key opens the new organization, and only that one.
    let key = payload["secret"].as_str().unwrap();
    let viewer = "{ organization { id slug name } viewer { permissions } }";
    let seen = ask(&world, key, viewer, json!({})).await;
    assert_eq!(seen["data"]["organization"]["slug"], "initech");
    assert_eq!(seen["data"]["organization"]["id"], organization["organizationId"]);
    let held = seen["data"]["viewer"]["permissions"].as_array().unwrap();
    assert_eq!(held.len(), Permission::in_organization().len());
    let told = "SELECT e.action, e.actor_kind, e.actor_id FROM event e JOIN organization o ON o.id = \
                e.organization_id WHERE o.slug = 'initech' ORDER BY e.pos";
    let told = world.rows(told, []).await;
    let actions: Vec<_> = told.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["organization.created", "api_key.issued"]);
    assert!(told.iter().all(|row| row["actor_kind"] == "PERSON" && row["actor_id"] == "olga"));
    for (slug, code) in [("initech", "TAKEN"), ("Not a slug", "INVALID"), ("", "INVALID")] {
        let again = ask(&world, &operator, CREATE, json!({ "s": slug, "n": "Again" })).await;
        assert_eq!(again["data"]["organizationCreate"]["userErrors"][0]["code"], code, "{slug}");
    }
    // All of them, in order, by page.
    let list = "query($o: OrganizationOrder, $f: OrganizationFilter, $a: String) { organizations(
        first: 1, after: $a, orderBy: $o, filter: $f) {
        totalCount nodes { slug state } pageInfo { hasNextPage endCursor } } }";
    let all = ask(&world, &operator, list, json!({})).await["data"]["organizations"].clone();
    assert_eq!((&all["totalCount"], &all["nodes"][0]["slug"]), (&json!(2), &json!("acme")));
    let after = json!({ "a": all["pageInfo"]["endCursor"] });
    let next = ask(&world, &operator, list, after).await["data"]["organizations"].clone();
    assert_eq!(next["nodes"][0]["slug"], "initech");
    let order = json!({ "o": { "field": "SLUG", "direction": "DESC" } });
    let last = ask(&world, &operator, list, order).await["data"]["organizations"].clone();
    assert_eq!(last["nodes"][0]["slug"], "initech");
    let order = json!({ "o": { "field": "SLUG", "direction": "DESC" },
                        "a": last["pageInfo"]["endCursor"] });
    let rest = ask(&world, &operator, list, order).await["data"]["organizations"].clone();
    assert_eq!(rest["nodes"], json!([{ "slug": "acme", "state": "ACTIVE" }]));
    for (filter, count) in
        [(json!({ "slugPrefix": "ini" }), 1), (json!({ "state": "SUSPENDED" }), 0)]
    {
        let found = ask(&world, &operator, list, json!({ "f": filter })).await;
        assert_eq!(found["data"]["organizations"]["totalCount"], count, "{found:#}");
    }
    // Nobody else may.
    let everything: Vec<_> = Permission::in_organization().into_iter().collect();
    let person = token(&world, &everything, &["acme"]);
    for other in [person.as_str(), &world.acme.api_key] {
        let refused = ask(&world, other, CREATE, json!({ "s": "x", "n": "X" })).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused:#}");
    }
    world.end().await;
}

#[tokio::test]
async fn suspension_closes_every_interface() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let operator = token(&world, &[Permission::PlatformAdmin], &[]);
    let member = token(&world, &[Permission::UserRead], &["acme"]);
    let ada = world.scim().user("ada").await;
    let users = "{ organization { users(first: 5) { totalCount } } }";
    let http = reqwest::Client::new();
    let decide = async || {
        let question = json!({ "subject": { "type": "user", "id": "ada" },
            "action": { "name": "read" }, "resource": { "type": "charts", "id": "1" } });
        let request = http.request(Method::POST, format!("{}/access/v1/evaluation", world.address));
        let request = request.bearer_auth(&world.acme.api_key);
        let request = request.header("content-type", "application/json");
        Answer::of(request.body(question.to_string()).send().await.unwrap()).await
    };
    decide().await.is(200);
    let job = bulk::upload(&world.acme, line(1, 3_000)).await.is(202);
    let job = job.body["bulkJob"]["id"].as_str().unwrap().to_owned();
    while world.count("\"user\"", []).await < 5 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let suspended = ask(&world, &operator, SUSPEND, json!({ "s": "acme" })).await;
    let expected = json!({ "organization": { "slug": "acme", "state": "SUSPENDED" },
                           "userErrors": [] });
    assert_eq!(suspended["data"]["organizationSuspend"], expected, "{suspended:#}");
    let before = world.count("\"user\"", []).await;
    // Each interface says why.
    let refused = world.scim().get("/Users").await.refused(403, None);
    assert!(refused.body["detail"].as_str().unwrap().contains("suspended"));
    world.scim().post("/Users", json!({ "userName": "ben" })).await.refused(403, None);
    let graphql = world.acme.graphql_as(&world.acme.api_key, &[], users, json!({})).await.is(403);
    assert_eq!(graphql.body["errors"][0]["extensions"]["code"], "HELD", "{}", graphql.body);
    let person = ask(&world, &member, users, json!({})).await;
    assert_eq!(person["errors"][0]["extensions"]["code"], "HELD", "{person:#}");
    assert!(decide().await.is(403).body.as_str().unwrap().contains("suspended"));
    let upload = bulk::upload(&world.acme, line(9_000, 9_001)).await;
    assert_eq!(upload.status.as_u16(), 403);
    // No job of it works, and what was under way is not lost.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(world.count("\"user\"", []).await, before);
    assert_eq!(world.count("bulk_job WHERE finished_at IS NULL", []).await, 1);
    // Others do not notice.
    globex.scim.user("theirs").await;
    assert_eq!(
        globex.graphql(users, json!({})).await["data"]["organization"]["users"]["totalCount"],
        1
    );
    // Once more changes nothing.
    let events = world.count("event", []).await;
    ask(&world, &operator, SUSPEND, json!({ "s": "acme" })).await;
    assert_eq!(world.count("event", []).await, events);
    let resumed = ask(&world, &operator, RESUME, json!({ "s": "acme" })).await;
    assert_eq!(resumed["data"]["organizationResume"]["organization"]["state"], "ACTIVE");
    let ended = bulk::ended(&world.acme, &job).await;
    assert_eq!((&ended["state"], &ended["doneCount"]), (&json!("SUCCEEDED"), &json!(2_999)));
    // A line that was carried out as the organization was closed has lost its result.
    assert!(ended["failedCount"].as_u64().unwrap() <= 1, "{ended:#}");
    assert_eq!(world.count("\"user\"", []).await, 3_001);
    world.scim().get(&format!("/Users/{ada}")).await.is(200);
    decide().await.is(200);
    let told = "SELECT action, payload FROM event WHERE action IN ('organization.suspended', \
                'organization.resumed') ORDER BY pos";
    let told = world.rows(told, []).await;
    assert_eq!(told.len(), 2);
    assert!(told[0]["payload"].as_str().unwrap().contains("unpaid"));
    assert!(told[1]["payload"].as_str().unwrap().contains("paid"));
    let unknown = ask(&world, &operator, SUSPEND, json!({ "s": "nowhere" })).await;
    assert_eq!(unknown["data"]["organizationSuspend"]["userErrors"][0]["code"], "NOT_FOUND");
    world.end().await;
}

/// Lines of a bulk job that create users.
fn line(from: usize, to: usize) -> String {
    let line = |n| {
        let input = json!({ "userName": format!("person{n}") });
        json!({ "operation": "userCreate", "input": input }).to_string() + "\n"
    };
    (from..to).map(line).collect()
}

#[tokio::test]
async fn operator_sees_nothing_uninvited() {
    let world = World::new().await;
    world.scim().user("ada").await;
    let operator = token(
        &world,
        &[Permission::PlatformAdmin, Permission::UserRead, Permission::IamWrite],
        &["acme"],
    );
    let users = "{ organization { slug users(first: 5) { totalCount } } }";
    let refused = ask(&world, &operator, users, json!({})).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused:#}");
    let grant =
        "mutation($u: DateTime!) { operatorAccessGrant(input: { until: $u, reason: \"help\" }) {
        organization { operatorAccessUntil } userErrors { code } } }";
    let until = world.app.clock.now() + Duration::hours(2);
    // The operator cannot let itself in.
    let own = ask(&world, &operator, grant, json!({ "u": until })).await;
    assert_eq!(own["errors"][0]["extensions"]["code"], "FORBIDDEN", "{own:#}");
    for wrong in [-1, 24 * 40] {
        let at = world.app.clock.now() + Duration::hours(wrong);
        let answer = world.graphql(grant, json!({ "u": at })).await;
        let code = &answer["data"]["operatorAccessGrant"]["userErrors"][0]["code"];
        assert_eq!(code, "INVALID", "{answer:#}");
    }
    let granted = world.graphql(grant, json!({ "u": until })).await;
    assert_eq!(granted["data"]["operatorAccessGrant"]["userErrors"], json!([]), "{granted:#}");
    let seen = ask(&world, &operator, users, json!({})).await;
    assert_eq!(seen["data"]["organization"]["users"]["totalCount"], 1, "{seen:#}");
    // The organization sees it in its ledger, ends it, or lets it end.
    let revoke =
        "mutation { operatorAccessRevoke(input: { reason: \"done\" }) { userErrors { code } } }";
    world.graphql(revoke, json!({})).await;
    let refused = ask(&world, &operator, users, json!({})).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
    world.graphql(grant, json!({ "u": until })).await;
    world.app.clock.advance(std::time::Duration::from_secs(3 * 60 * 60));
    let again = token(&world, &[Permission::PlatformAdmin, Permission::UserRead], &["acme"]);
    let refused = ask(&world, &again, users, json!({})).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let told = world.count("event WHERE action LIKE 'organization.operator_access_%'", []).await;
    assert_eq!(told, 3);
    world.end().await;
}
