//! Setup links: a customer's IT administrator sets up one connection, without an account here.

use reqwest::Method;
use rolecall::auth::policy::Permission;
use rolecall::domain::access::api_key;
use rolecall::domain::connection::request_log;
use serde_json::{Value, json};
use simulator::{SimulatedProvider, SimulationPlan};

use crate::world::{Answer, Tenant, World};

const CREATE: &str = "mutation($c: ID!, $e: DateTime) { setupLinkCreate(input: { connectionId: $c, \
                      expiresAt: $e, reason: \"onboarding\" }) { secret setupLink { id state } \
                      userErrors { code reason path } } }";
const LINKS: &str = "{ organization { setupLinks(first: 9) { totalCount nodes { id state openCount \
                     createdBy redeemedAt revokedAt scimToken { lastFour issuedBy setupLinkId } connection { name } } } } }";

/// The first connection of a tenant.
async fn connection_of(tenant: &Tenant) -> Value {
    let query = "{ organization { connections(first: 1) { nodes { id } } } }";
    let answer = tenant.graphql(query, json!({})).await;
    answer["data"]["organization"]["connections"]["nodes"][0]["id"].clone()
}

/// A new link of a connection: its id and its secret.
async fn new_link(world: &World, tenant: &Tenant, connection: &Value) -> (Value, String) {
    let made = tenant.graphql(CREATE, json!({ "c": connection })).await;
    let made = &made["data"]["setupLinkCreate"];
    assert_eq!(made["setupLink"]["state"], "ACTIVE", "{made:#}");
    let url = made["secret"].as_str().unwrap();
    let (page, secret) = url.split_once("#link=").unwrap();
    assert_eq!(page, format!("{}/setup", world.app.config.public_url));
    assert!(secret.starts_with("rcu_"), "{secret}");
    (made["setupLink"]["id"].clone(), secret.to_owned())
}

async fn redeem(world: &World, secret: &str) -> Answer {
    let request = reqwest::Client::new().post(format!("{}/setup/redeem", world.address));
    Answer::of(request.json(&json!({ "secret": secret })).send().await.unwrap()).await
}

async fn status(world: &World, session: &str) -> Answer {
    let request = reqwest::Client::new().get(format!("{}/setup/status", world.address));
    Answer::of(request.bearer_auth(session).send().await.unwrap()).await
}

#[track_caller]
fn check_refusal(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{:#}", answer.body);
    assert_eq!(answer.body["code"], code, "{:#}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    for text in ["message", "nextStep"] {
        assert!(answer.body[text].as_str().unwrap().len() > 8, "{:#}", answer.body);
    }
}

fn text<'a>(answer: &'a Answer, field: &str) -> &'a str {
    answer.body[field].as_str().unwrap_or_else(|| panic!("{field}: {:#}", answer.body))
}

#[tokio::test]
async fn token_is_shown_once() {
    let world = World::new().await;
    let connection = connection_of(&world.acme).await;
    let (_, secret) = new_link(&world, &world.acme, &connection).await;
    // Programs that look at links in mails send GET and HEAD: they open nothing.
    for method in [Method::GET, Method::HEAD] {
        let url = format!("{}/setup/redeem?secret={secret}", world.address);
        assert_eq!(reqwest::Client::new().request(method, url).send().await.unwrap().status(), 405);
    }
    let first = redeem(&world, &secret).await.is(200);
    assert_eq!(first.header("cache-control"), "no-store");
    let base = format!("{}/scim/v2/acme", world.app.config.public_url);
    assert_eq!(text(&first, "baseUrl"), base);
    assert_eq!(text(&first, "usersUrl"), format!("{base}/Users"));
    assert_eq!(text(&first, "groupsUrl"), format!("{base}/Groups"));
    assert_eq!(first.body["kind"], "SCIM_PUSH");
    assert_eq!(first.body["provider"], "GENERIC");
    assert_eq!(first.body["organizationName"], "acme");
    let token = text(&first, "token").to_owned();
    assert!(token.ends_with(text(&first, "tokenLastFour")));
    world.scim().with_token(&token).get("/Users").await.is(200);

    let again = redeem(&world, &secret).await.is(200);
    assert_eq!(again.body["token"], Value::Null, "it is shown once");
    assert_eq!(again.body["tokenLastFour"], first.body["tokenLastFour"]);
    assert_eq!(again.body["tokenIssuedAt"], first.body["tokenIssuedAt"]);
    assert_ne!(again.body["session"], first.body["session"]);
    for session in [text(&first, "session"), text(&again, "session")] {
        let seen = status(&world, session).await.is(200);
        assert_eq!(seen.header("cache-control"), "no-store");
    }
    let links = world.graphql(LINKS, json!({})).await;
    let link = &links["data"]["organization"]["setupLinks"]["nodes"][0];
    assert_eq!((&link["state"], &link["openCount"]), (&json!("REDEEMED"), &json!(2)), "{links:#}");
    assert_eq!(link["scimToken"]["lastFour"], first.body["tokenLastFour"]);
    // Who opened the link has no account here: the token is its maker's.
    assert!(link["createdBy"].as_str().is_some_and(|name| name != "rolecall"), "{link:#}");
    assert_eq!(
        (&link["scimToken"]["issuedBy"], &link["scimToken"]["setupLinkId"]),
        (&link["createdBy"], &link["id"])
    );
    assert_eq!(link["connection"]["name"], "Identity provider");

    let events = world
        .rows("SELECT action FROM event WHERE action LIKE 'setup_link%' ORDER BY pos", [])
        .await;
    let events: Vec<_> = events.iter().map(|row| row["action"].as_str().unwrap()).collect();
    let opened = "setup_link.redeemed";
    assert_eq!(events, ["setup_link.created", opened, opened]);
    let kept = world.rows("SELECT payload FROM event", []).await;
    for hidden in [&secret, &token, text(&first, "session")] {
        assert!(kept.iter().all(|row| !row.to_string().contains(hidden)), "{hidden}");
    }
    world.end().await;
}

#[tokio::test]
async fn replay_repeats_no_link() {
    let world = World::new().await;
    let connection = connection_of(&world.acme).await;
    let key = [("idempotency-key", "one")];
    let ask = async || {
        let variables = json!({ "c": connection });
        let answer = world.acme.graphql_as(&world.acme.api_key, &key, CREATE, variables).await;
        answer.is(200).body["data"]["setupLinkCreate"].clone()
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!(first["setupLink"]["id"], again["setupLink"]["id"]);
    assert!(first["secret"].is_string() && again["secret"].is_null(), "{again:#}");
    let kept = world.rows("SELECT answer FROM idempotency", []).await;
    let secret = first["secret"].as_str().unwrap().rsplit('=').next().unwrap();
    assert!(kept.iter().all(|row| !row.to_string().contains(secret)), "{kept:?}");
    world.end().await;
}

#[tokio::test]
async fn racing_openings_issue_one_token() {
    let world = World::new().await;
    let connection = connection_of(&world.acme).await;
    let (_, secret) = new_link(&world, &world.acme, &connection).await;
    let before = world.count("scim_token", []).await;
    let answers = futures_util::future::join_all((0..8).map(|_| redeem(&world, &secret))).await;
    let tokens = answers.iter().filter(|answer| answer.body["token"].is_string()).count();
    assert_eq!(tokens, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(world.count("scim_token", []).await, before + 1);
    assert_eq!(world.count("setup_session", []).await, 8);
    assert_eq!(world.count("event WHERE action = 'scim_token.issued'", []).await, before + 1);
    world.end().await;
}

#[tokio::test]
async fn ended_links_open_nothing() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let connection = connection_of(&world.acme).await;
    check_refusal(&redeem(&world, "rcu_unknown").await, 404, "LINK_UNKNOWN");
    let (id, secret) = new_link(&world, &world.acme, &connection).await;
    let origin = reqwest::Client::new()
        .post(format!("{}/setup/redeem", world.address))
        .header("origin", "https://evil.example")
        .json(&json!({ "secret": secret }));
    check_refusal(&Answer::of(origin.send().await.unwrap()).await, 403, "FOREIGN_ORIGIN");
    let opened = redeem(&world, &secret).await.is(200);
    let session = text(&opened, "session");
    status(&world, session).await.is(200);
    check_refusal(&status(&world, &secret).await, 401, "SESSION_ENDED");
    // What opens the management API or SCIM opens no setup page, and the other way round.
    check_refusal(&status(&world, &world.acme.api_key).await, 401, "SESSION_ENDED");
    world.acme.graphql_as(session, &[], "{ viewer { name } }", json!({})).await.is(401);
    world.scim().with_token(session).get("/Users").await.is(401);

    // Another organization's administrator does not find it.
    let revoke = "mutation($i: ID!) { setupLinkRevoke(input: { id: $i, reason: \"done\" }) { \
                  setupLink { state revokedAt } userErrors { code } } }";
    let stranger = globex.graphql(revoke, json!({ "i": id })).await;
    let stranger = &stranger["data"]["setupLinkRevoke"];
    assert_eq!(stranger["userErrors"][0]["code"], "NOT_FOUND", "{stranger:#}");
    let seen = globex.graphql(LINKS, json!({})).await;
    assert_eq!(seen["data"]["organization"]["setupLinks"]["totalCount"], 0);

    let revoked = world.graphql(revoke, json!({ "i": id })).await;
    assert_eq!(revoked["data"]["setupLinkRevoke"]["setupLink"]["state"], "REVOKED");
    check_refusal(&redeem(&world, &secret).await, 410, "LINK_ENDED");
    check_refusal(&status(&world, session).await, 401, "SESSION_ENDED");
    // The token goes on: it is revoked by itself.
    world.scim().with_token(text(&opened, "token")).get("/Users").await.is(200);

    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let (_, late) = new_link(&world, &world.acme, &connection).await;
    world.days_pass(8);
    check_refusal(&redeem(&world, &late).await, 410, "LINK_ENDED");
    let filter = "{ organization { setupLinks(first: 9, filter: { states: [EXPIRED] }) { nodes { \
                  state } } } }";
    let expired = world.graphql(filter, json!({})).await;
    let expired = &expired["data"]["organization"]["setupLinks"]["nodes"];
    assert_eq!(*expired, json!([{ "state": "EXPIRED" }]));
    world.end().await;
}

#[tokio::test]
async fn makers_give_what_they_hold() {
    let world = World::new().await;
    let connection = connection_of(&world.acme).await;
    let all = Permission::in_organization();
    for missing in [Permission::TokenManage, Permission::IamWrite, Permission::UserWrite] {
        let held = all.iter().copied().filter(|held| *held != missing).collect();
        let key = api_key::issue_key(&world.system(), "all but one", held, None).await.unwrap();
        let variables = json!({ "c": connection });
        let answer = world.acme.graphql_as(&key.secret, &[], CREATE, variables).await.body;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "FORBIDDEN", "{answer:#}");
        assert!(error["message"].as_str().unwrap().contains(missing.name()), "{answer:#}");
    }
    for end in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let answer = world.graphql(CREATE, json!({ "c": connection, "e": end })).await;
        let errors = &answer["data"]["setupLinkCreate"]["userErrors"];
        assert_eq!(errors[0]["path"], json!(["input", "expiresAt"]), "{answer:#}");
    }
    assert_eq!(world.count("setup_link", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn failures_are_explained_in_place() {
    let world = World::new().await;
    let connection = connection_of(&world.acme).await;
    let (_, secret) = new_link(&world, &world.acme, &connection).await;
    let opened = redeem(&world, &secret).await.is(200);
    let session = text(&opened, "session").to_owned();
    let empty = status(&world, &session).await.is(200).body;
    for field in ["firstRequestAt", "firstUserAt", "firstGroupAt", "lastRequestAt"] {
        assert_eq!(empty[field], Value::Null, "{empty:#}");
    }
    assert_eq!((&empty["requests"], &empty["recentFailures"]), (&json!(0), &json!([])));

    world.scim().with_token("rcs_wrong").get("/Users").await.is(401);
    let scim = world.scim().with_token(text(&opened, "token"));
    scim.post("/Users", json!({ "userName": "ada.lovelace", "active": "perhaps" })).await.is(400);
    request_log::flush_request_counts(&world.app).await.unwrap();
    let seen = status(&world, &session).await.is(200).body;
    let failures = seen["recentFailures"].as_array().unwrap();
    let codes: Vec<_> = failures.iter().map(|failure| failure["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"TOKEN_UNKNOWN") && codes.contains(&"invalidValue"), "{seen:#}");
    for failure in failures {
        assert!(failure["at"].is_string() && failure["status"].is_number(), "{failure:#}");
        assert!(failure["nextStep"].as_str().unwrap().len() > 20, "{failure:#}");
    }
    assert!(!seen.to_string().contains("lovelace"), "no personal data: {seen:#}");
    assert!(seen["firstRequestAt"].is_string() && seen["firstUserAt"].is_null(), "{seen:#}");
    // A wrong token is of no connection. Where there are two, it is not shown.
    world.tenant("acme", "Second").await;
    let seen = status(&world, &session).await.is(200).body;
    assert!(!seen.to_string().contains("TOKEN_UNKNOWN"), "{seen:#}");
    world.end().await;
}

#[tokio::test]
async fn pulled_source_gets_no_token() {
    let world = World::new().await;
    let make = "mutation { connectionCreate(input: { name: \"Keycloak\", provider: KEYCLOAK, pull: { \
                baseUrl: \"http://127.0.0.1:9/scim/v2\", secret: \"x\" } }) { connection { id } } }";
    let made = world.graphql(make, json!({})).await;
    let connection = made["data"]["connectionCreate"]["connection"]["id"].clone();
    let (_, secret) = new_link(&world, &world.acme, &connection).await;
    let opened = redeem(&world, &secret).await.is(200);
    assert_eq!(
        (&opened.body["kind"], &opened.body["provider"]),
        (&json!("SCIM_PULL"), &json!("KEYCLOAK"))
    );
    for field in ["token", "tokenLastFour", "baseUrl", "usersUrl", "groupsUrl"] {
        assert_eq!(opened.body[field], Value::Null, "{:#}", opened.body);
    }
    status(&world, text(&opened, "session")).await.is(200);
    world.end().await;
}

#[tokio::test]
async fn each_provider_reaches_first_user() {
    let world = World::new().await;
    for (idp, provider) in [
        (SimulatedProvider::Entra, "ENTRA_ID"),
        (SimulatedProvider::Okta, "OKTA"),
        (SimulatedProvider::Google, "GOOGLE_WORKSPACE"),
        (SimulatedProvider::OneLogin, "ONELOGIN"),
        (SimulatedProvider::JumpCloud, "JUMPCLOUD"),
        (SimulatedProvider::PingOne, "PINGONE"),
    ] {
        let slug = provider.to_lowercase().replace('_', "-");
        let tenant = world.tenant(&slug, "First").await;
        let make = format!(
            "mutation {{ connectionCreate(input: {{ name: \"Set up\", provider: {provider} }}) {{ \
             connection {{ id }} }} }}"
        );
        let made = tenant.graphql(&make, json!({})).await;
        let connection = made["data"]["connectionCreate"]["connection"]["id"].clone();
        let (_, secret) = new_link(&world, &tenant, &connection).await;
        let opened = redeem(&world, &secret).await.is(200);
        assert_eq!(opened.body["provider"], provider);
        let public = text(&opened, "baseUrl").replace(&world.app.config.public_url, &world.address);
        let plan = SimulationPlan {
            base_url: public,
            token: text(&opened, "token").to_owned(),
            idp,
            users: 5,
            movers: 2,
            leavers: 1,
            seed: 7,
        };
        let report = simulator::run_simulation(&plan, |_| {}).await.unwrap();
        assert_eq!(report.refused, [], "{provider}");
        assert_eq!(report.differences, [""; 0], "{provider}");
        assert_eq!((report.created, report.left), (5, 1), "{provider}");
        let seen = status(&world, text(&opened, "session")).await.is(200).body;
        assert!(seen["firstUserAt"].is_string(), "{provider}: {seen:#}");
        assert!(seen["firstRequestAt"].is_string(), "{provider}: {seen:#}");
        assert_eq!(seen["accounts"], 5, "{provider}: {seen:#}");
        // Google sends accounts only.
        assert_eq!(seen["firstGroupAt"].is_string(), idp.sends_groups(), "{provider}: {seen:#}");
        assert_eq!(seen["groups"], if idp.sends_groups() { 2 } else { 0 }, "{provider}: {seen:#}");
        assert_eq!(seen["recentFailures"], json!([]), "{provider}: {seen:#}");
    }
    world.end().await;
}
