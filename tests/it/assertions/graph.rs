//! Groups that a token left out: Microsoft Graph is asked, and only a complete answer replaces.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::organization::IntegrationMode;
use rolecall::domain::tenant::organization::{OrganizationSettings, update_organization};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{connect, key_with, signed, submit, world};
use crate::issuers::{Issuer, Key};
use crate::world::World;

/// A server that stands in for Microsoft: it gives a token, and the answers that wait.
#[derive(Clone, Default)]
struct Graph {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    /// What was asked: the path, and the authorization or the form.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Graph {
    async fn start() -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let graph = Self::default();
        let serving = graph.clone();
        let answer = move |request: Request| {
            let serving = serving.clone();
            async move { serving.answer(request).await }
        };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (graph, url)
    }

    async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(request.into_body(), 10_000).await.unwrap();
        let form = String::from_utf8(body.to_vec()).unwrap();
        let seen = (path.clone(), authorization.unwrap_or(form));
        self.asked.lock().unwrap().push(seen);
        if path == "/token" {
            return axum::Json(json!({ "access_token": "graph-token" })).into_response();
        }
        let next = self.answers.lock().unwrap().pop_front();
        let (status, body) = next.unwrap_or((404, Value::Null));
        let mut response =
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
        if status == 429 {
            response.headers_mut().insert("retry-after", "120".parse().unwrap());
        }
        response
    }

    fn will_answer(&self, status: u16, body: Value) {
        self.answers.lock().unwrap().push_back((status, body));
    }

    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn group(id: &str) -> Value {
    json!({ "id": id, "displayName": format!("Group {id}"), "securityEnabled": true })
}

async fn groups_of(world: &World, user: Uuid) -> BTreeSet<String> {
    let sql = "SELECT g.external_id FROM membership m JOIN \"group\" g \
               ON g.organization_id = m.organization_id AND g.id = m.group_id \
               WHERE m.user_id = $1 AND m.until IS NULL";
    let rows = world.rows(sql, [user.into()]).await;
    rows.iter().map(|row| row["external_id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until no question is due, or one was postponed.
async fn settled(world: &World, graph: &Graph) {
    for _ in 0..200 {
        let now = world.app.clock.now();
        let due = world.count("directory_lookup WHERE next_at <= $1", [now.into()]).await;
        let soon = now + chrono::Duration::seconds(185);
        let claimed = "directory_lookup WHERE next_at > $1 AND next_at < $2 AND attempts > 0";
        let claimed = world
            .count(claimed, [(now + chrono::Duration::seconds(150)).into(), soon.into()])
            .await;
        if due == 0 && claimed == 0 && !graph.asked.lock().unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the directory was not asked: {:?}", graph.asked());
}

#[tokio::test]
async fn only_complete_answers_replace_groups() {
    let world = world().await;
    let (graph, graph_url) = Graph::start().await;
    let issuer = Issuer::start().await;
    let key = Key::new("RS256", "one");
    issuer.publishes(&[&key]);
    let user = world.scim().user("abe@acme.example").await;
    let oidc = json!({ "issuer": issuer.url, "clientId": "app", "clientSecret": "s3cret",
        "graph": { "baseUrl": format!("{graph_url}/v1.0"), "tokenUrl": format!("{graph_url}/token") } });
    let (id, _) = connect(&world.acme, "Entra", "ENTRA_ID", oidc, json!({})).await;
    let settings = OrganizationSettings {
        integration_mode: Some(IntegrationMode::EntraNative),
        ..Default::default()
    };
    update_organization(&world.system(), settings).await.unwrap();
    // The groups that mappings know here.
    for group in ["g-1", "g-2", "g-3"] {
        let make = "mutation($n: String!) { groupCreate(input: { displayName: $n, externalId: $n }) \
                    { group { id } userErrors { message } } }";
        let made = world.graphql(make, json!({ "n": group })).await;
        assert_eq!(made["data"]["groupCreate"]["userErrors"], json!([]), "{made:#}");
    }
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let sign_in = async |more: Value| {
        world.app.clock.advance(Duration::from_secs(1));
        let now = world.app.clock.now().timestamp();
        let mut claims = json!({ "iss": issuer.url, "aud": "app", "oid": "00-abe", "iat": now,
            "exp": now + 300, "preferred_username": "abe@acme.example" });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        submit(&world, "acme", &app, &signed(&key, &claims)).await.is(200).body
    };
    let overage = json!({ "_claim_names": { "groups": "src1" },
        "_claim_sources": { "src1": { "endpoint": "https://graph.windows.net/x" } } });
    let first = sign_in(json!({ "groups": ["g-1"] })).await;
    assert_eq!(first["groupsComplete"], true, "{first:#}");
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(groups_of(&world, user).await, named(&["g-1"]), "{first:#}");

    // Throttled: nothing changes, and the question waits as long as Graph asks.
    graph.will_answer(429, Value::Null);
    let incomplete = sign_in(overage.clone()).await;
    assert_eq!(incomplete["groupsComplete"], false, "{incomplete:#}");
    settled(&world, &graph).await;
    let asked = graph.asked();
    assert_eq!(asked[0].0, "/token");
    assert!(asked[0].1.contains("grant_type=client_credentials"), "{asked:?}");
    assert!(asked[0].1.contains("client_secret=s3cret"), "{asked:?}");
    let path = "/v1.0/users/00-abe/transitiveMemberOf/microsoft.graph.group";
    assert_eq!(asked[1], (path.to_owned(), "Bearer graph-token".to_owned()));
    assert_eq!(groups_of(&world, user).await, named(&["g-1"]), "overage removes nothing");
    assert_eq!(world.count("directory_lookup", []).await, 1, "asked again later");

    // A second page that is at another server, and one that fails: nothing changes.
    for (next, status) in
        [("https://evil.example/next".to_owned(), 200), (format!("{graph_url}/next"), 500)]
    {
        world.app.clock.advance(Duration::from_secs(3_700));
        graph.will_answer(200, json!({ "value": [group("g-2")], "@odata.nextLink": next }));
        if status == 500 {
            graph.will_answer(500, Value::Null);
        }
        world.app.directories.notify_one();
        settled(&world, &graph).await;
        assert_eq!(groups_of(&world, user).await, named(&["g-1"]), "{next}");
        graph.asked();
    }

    // A complete answer of two pages replaces.
    world.app.clock.advance(Duration::from_secs(3_700));
    let mail = json!({ "id": "g-1", "displayName": "mail", "securityEnabled": false });
    let next = format!("{graph_url}/v1.0/next");
    graph.will_answer(200, json!({ "value": [group("g-2"), mail], "@odata.nextLink": next }));
    graph.will_answer(200, json!({ "value": [group("g-3")] }));
    world.app.directories.notify_one();
    for _ in 0..200 {
        if world.count("directory_lookup", []).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(groups_of(&world, user).await, named(&["g-2", "g-3"]));
    // The test of the connection gets a token, too.
    let test = "mutation($c: ID!) { assertionSourceTest(input: { connectionId: $c }) { steps { \
                probe ok } } }";
    let done = world.graphql(test, json!({ "c": id })).await;
    let steps = &done["data"]["assertionSourceTest"]["steps"];
    assert_eq!(steps[2], json!({ "probe": "GRAPH", "ok": true }), "{done:#}");
    world.end().await;
}
