//! Simulations against a small SCIM server that keeps users and groups in memory, supports just the
//! two dialects, records every request, and refuses the requests that a test selects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::*;

/// Refuses requests whose line or body contains `marker`, as often as `times`.
struct Fault {
    marker: &'static str,
    status: u16,
    times: usize,
}

#[derive(Default)]
struct Server {
    users: BTreeMap<String, Value>,
    groups: BTreeMap<String, Value>,
    /// `METHOD /path?query body`
    requests: Vec<String>,
    faults: Vec<Fault>,
    ignores_filters: bool,
    next_id: usize,
}

type Shared = Arc<Mutex<Server>>;

async fn serve(server: Server) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(server));
    let router = Router::new().fallback(answer).with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/scim/v2/acme/"), shared)
}

fn plan(base_url: &str, idp: SimulatedProvider) -> SimulationPlan {
    SimulationPlan {
        base_url: base_url.to_owned(),
        token: "secret".to_owned(),
        idp,
        users: 30,
        movers: 6,
        leavers: 4,
        seed: 11,
    }
}

async fn answer(
    State(server): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut server = server.lock().unwrap();
    let line = format!("{method} {uri} {}", String::from_utf8_lossy(&body));
    server.requests.push(line.clone());
    if headers.get(header::AUTHORIZATION).is_none_or(|token| token != "Bearer secret") {
        return refuse(401, "who are you?");
    }
    if !body.is_empty() {
        assert!(
            headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/scim+json")
        );
    }
    if let Some(fault) =
        server.faults.iter_mut().find(|fault| fault.times > 0 && line.contains(fault.marker))
    {
        fault.times -= 1;
        return refuse(fault.status, "not today");
    }
    let path =
        uri.path().strip_prefix("/scim/v2/acme/").expect("the base address is kept").to_owned();
    let (kind, id) = path.split_once('/').unwrap_or((&path, ""));
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let ignores_filters = server.ignores_filters;
    server.next_id += 1;
    let fresh = format!("id-{}", server.next_id);
    let table = if kind == "Users" { &mut server.users } else { &mut server.groups };
    match (method.as_str(), id) {
        ("GET", "") => list(table, uri.query().unwrap_or_default(), ignores_filters),
        ("GET", id) => match table.get(id) {
            Some(resource) if uri.query() == Some("excludedAttributes=members") => {
                let mut resource = resource.clone();
                resource.as_object_mut().unwrap().remove("members");
                axum::Json(resource).into_response()
            }
            Some(resource) => axum::Json(resource).into_response(),
            None => refuse(404, "no such thing"),
        },
        ("POST", _) => {
            let mut resource = body;
            resource["id"] = json!(fresh);
            table.insert(fresh, resource.clone());
            (StatusCode::CREATED, axum::Json(resource)).into_response()
        }
        ("PUT", id) => {
            table.insert(id.to_owned(), body.clone());
            axum::Json(body).into_response()
        }
        ("PATCH", id) => {
            let Some(resource) = table.get_mut(id) else { return refuse(404, "no such thing") };
            for operation in body["Operations"].as_array().unwrap() {
                apply(resource, operation);
            }
            StatusCode::NO_CONTENT.into_response()
        }
        ("DELETE", id) => {
            table.remove(id);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => refuse(405, "what?"),
    }
}

fn refuse(status: u16, detail: &str) -> Response {
    let body = json!({ "status": status.to_string(), "scimType": "tooMany", "detail": detail });
    (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, "0")], axum::Json(body))
        .into_response()
}

fn list(table: &BTreeMap<String, Value>, query: &str, ignores_filters: bool) -> Response {
    let query = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    let filter =
        query.query_pairs().find(|(key, _)| key == "filter").map(|(_, filter)| filter.into_owned());
    let matches = |resource: &Value| match &filter {
        Some(filter) if !ignores_filters => {
            let (attribute, value) = filter.split_once(" eq ").unwrap();
            resource[attribute].to_string().to_lowercase() == value.to_lowercase()
        }
        _ => true,
    };
    let resources: Vec<_> = table.values().filter(|resource| matches(resource)).collect();
    axum::Json(json!({ "totalResults": resources.len(), "Resources": resources })).into_response()
}

/// As much of RFC 7644, section 3.5.2, and of its misreadings, as the two dialects need.
fn apply(resource: &mut Value, operation: &Value) {
    let (op, value) = (operation["op"].as_str().unwrap().to_lowercase(), &operation["value"]);
    let Some(path) = operation["path"].as_str() else {
        let resource = resource.as_object_mut().unwrap();
        resource.extend(value.as_object().unwrap().clone());
        return;
    };
    let ids = |value: &Value| -> Vec<Value> {
        value.as_array().into_iter().flatten().map(|m| m["value"].clone()).collect()
    };
    let mut members = ids(&resource["members"]);
    match (op.as_str(), path) {
        ("add", "members") => members.extend(ids(value)),
        ("replace", "members") => members = ids(value),
        ("remove", "members") => members.retain(|member| !ids(value).contains(member)),
        ("remove", path) if path.starts_with("members[") => {
            members.retain(|member| !path.contains(&member.to_string()))
        }
        ("replace" | "add", "active") => resource["active"] = json!(value == "True"),
        ("replace" | "add", "emails[type eq \"work\"].value") => {
            resource["emails"][0]["value"] = value.clone()
        }
        (_, path) => {
            let (parent, key) = match path.strip_prefix(ENTERPRISE) {
                Some(rest) => (&mut resource[ENTERPRISE], rest.trim_start_matches(':')),
                None => match path.split_once('.') {
                    Some((parent, key)) => (&mut resource[parent], key),
                    None => (resource, path),
                },
            };
            if parent.is_null() {
                *parent = Value::Object(Map::new());
            }
            parent[key] = value.clone();
            return;
        }
    }
    if path.starts_with("members") {
        members.dedup();
        resource["members"] = members.into_iter().map(|id| json!({ "value": id })).collect();
    }
}

fn requests(server: &Shared, marker: &str) -> Vec<String> {
    server
        .lock()
        .unwrap()
        .requests
        .iter()
        .filter(|request| request.contains(marker))
        .cloned()
        .collect()
}

#[tokio::test]
async fn a_whole_run_leaves_the_expected_data() {
    for idp in [SimulatedProvider::Entra, SimulatedProvider::Okta] {
        let (url, server) = serve(Server::default()).await;
        let mut steps = Vec::new();
        let report = run_simulation(&plan(&url, idp), |step| steps.push(step)).await.unwrap();

        assert_eq!(
            (report.created, report.matched, report.moved, report.left),
            (30, 0, 6, 4),
            "{report}"
        );
        assert_eq!((report.refused.len(), report.differences.len()), (0, 0), "{report}");
        for step in [
            SimulationStep::Hired(30, 30),
            SimulationStep::Placed(30, 30),
            SimulationStep::Moved(6, 6),
            SimulationStep::Left(4, 4),
            SimulationStep::Checked(30, 30),
        ] {
            assert!(steps.contains(&step), "{step:?}");
        }

        let server = server.lock().unwrap();
        assert_eq!(report.requests, server.requests.len());
        assert_eq!(server.users.values().filter(|user| user["active"] == false).count(), 4);
        assert_eq!(server.groups.len(), 2);
        let mut seen = 0;
        for group in server.groups.values() {
            let ward = group["displayName"].as_str().unwrap().strip_prefix("Nurses ").unwrap();
            for member in group["members"].as_array().unwrap() {
                let user = &server.users[member["value"].as_str().unwrap()];
                assert_eq!(user[ENTERPRISE]["department"], ward);
                seen += 1;
            }
        }
        assert_eq!(seen, 30, "each person is in one ward");
        let managed =
            server.users.values().filter(|user| !user[ENTERPRISE]["manager"].is_null()).count();
        assert!(managed >= 28, "only the charge nurses have no manager: {managed}");
    }
}

#[tokio::test]
async fn entra_speaks_like_entra() {
    let (url, server) = serve(Server::default()).await;
    run_simulation(&plan(&url, SimulatedProvider::Entra), |_| {}).await.unwrap();

    let first = requests(&server, "GET").remove(0);
    assert!(first.contains("filter=userName+eq+%22unknown-"), "{first}");
    assert_eq!(requests(&server, "Users?filter=userName").len(), 31, "asks before every creation");
    assert_eq!(requests(&server, r#"{"op":"Replace","path":"active","value":"False"}"#).len(), 4);
    assert_eq!(requests(&server, r#"User:department","value":""#).len(), 6);
    let removals =
        requests(&server, r#"{"op":"Remove","path":"members","value":[{"$ref":null,"value":"id-"#);
    assert_eq!(removals.len(), 6);
    let batches = requests(&server, r#"{"op":"Add","path":"members""#);
    assert_eq!(batches.len(), 30 / entra::MEMBERS_PER_REQUEST + 6);
    assert_eq!(requests(&server, "excludedAttributes=members&filter=").len(), 0);
    assert_eq!(
        requests(&server, "&excludedAttributes=members").len(),
        2,
        "a group is looked for without its members"
    );
    assert!(requests(&server, "PUT ").is_empty() && requests(&server, "DELETE ").is_empty());
}

#[tokio::test]
async fn okta_speaks_like_okta() {
    let (url, server) = serve(Server::default()).await;
    run_simulation(&plan(&url, SimulatedProvider::Okta), |_| {}).await.unwrap();

    let first = requests(&server, "GET").remove(0);
    assert!(first.contains("/Users?startIndex=1&count=2 "), "{first}");
    assert_eq!(requests(&server, "filter=userName%20eq%20%22").len(), 30);
    let puts = requests(&server, "PUT ");
    assert_eq!(puts.len(), 6);
    assert!(
        puts.iter().all(|put| put.contains(r#""id":"id-"#) && put.contains(r#""emails":[{"#)),
        "the whole resource"
    );
    assert_eq!(requests(&server, r#"{"op":"replace","value":{"active":false}}"#).len(), 4);
    assert_eq!(requests(&server, r#"{"op":"remove","path":"members[value eq \"id-"#).len(), 6);
    assert_eq!(
        requests(&server, r#"{"op":"replace","value":{"id":"id-"#).len(),
        2 + 12,
        "the name goes along"
    );
    assert!(requests(&server, "DELETE ").is_empty());
}

#[tokio::test]
async fn refusals_are_reported_and_the_run_continues() {
    let (url, _server) = serve(Server {
        faults: vec![
            Fault { marker: "POST /scim/v2/acme/Users", status: 409, times: 3 },
            Fault { marker: r#""path":"active""#, status: 403, times: 1 },
        ],
        ..Server::default()
    })
    .await;
    let report = run_simulation(&plan(&url, SimulatedProvider::Entra), |_| {}).await.unwrap();

    assert_eq!((report.created, report.moved, report.left), (27, 6, 3), "{report}");
    assert_eq!(report.refused.len(), 4);
    let conflict = &report.refused[0];
    assert_eq!((conflict.method.as_str(), conflict.status), ("POST", Some(409)));
    assert_eq!(
        (conflict.scim_type.as_deref(), conflict.detail.as_str()),
        (Some("tooMany"), "not today")
    );
    assert!(conflict.url.ends_with("/scim/v2/acme/Users"), "{}", conflict.url);
    assert!(!report.to_string().contains("secret"));
}

#[tokio::test]
async fn retries_are_limited() {
    let (url, _server) = serve(Server {
        faults: vec![Fault { marker: "POST /scim/v2/acme/Users", status: 429, times: 4 }],
        ..Server::default()
    })
    .await;
    let report = run_simulation(&plan(&url, SimulatedProvider::Okta), |_| {}).await.unwrap();
    assert_eq!((report.created, report.refused.len()), (30, 0), "{report}");

    let (url, server) = serve(Server {
        faults: vec![Fault { marker: "POST /scim/v2/acme/Groups", status: 503, times: usize::MAX }],
        ..Server::default()
    })
    .await;
    let report = run_simulation(&plan(&url, SimulatedProvider::Okta), |_| {}).await.unwrap();
    assert_eq!(requests(&server, "POST /scim/v2/acme/Groups").len(), 2 * 5);
    assert_eq!(
        report.refused.iter().filter(|refusal| refusal.status == Some(503)).count(),
        2,
        "{report}"
    );
}

#[tokio::test]
async fn a_lost_update_shows_in_the_check() {
    let (url, server) = serve(Server::default()).await;
    let mut simulation =
        Simulation::test_and_connect(&plan(&url, SimulatedProvider::Entra)).await.unwrap();
    simulation.hire_people(30, |_, _| {}).await;
    simulation.fill_ward_groups(|_, _| {}).await;
    let leavers = simulation.deactivate_people(1, |_, _| {}).await;
    assert!(simulation.find_differences(|_, _| {}).await.is_empty());

    let lost =
        simulation.staff().iter().find(|staff| staff.employed && staff.ward == 0).unwrap().clone();
    {
        let mut server = server.lock().unwrap();
        let group =
            server.groups.get_mut(simulation.wards()[0].group_id.as_ref().unwrap()).unwrap();
        group["members"].as_array_mut().unwrap().retain(|member| member["value"] != lost.id);
        server.users.get_mut(&leavers[0].id).unwrap()["active"] = json!(true);
    }
    let mut expected = [
        format!("{} is not in Nurses Cardiology", lost.person.user_name),
        format!("{}: active is true, not false", leavers[0].user_name),
    ];
    expected.sort_unstable();
    assert_eq!(simulation.find_differences(|_, _| {}).await, expected);
}

#[tokio::test]
async fn a_second_run_finds_its_people_again() {
    for idp in [SimulatedProvider::Entra, SimulatedProvider::Okta] {
        let (url, server) = serve(Server::default()).await;
        run_simulation(&plan(&url, idp), |_| {}).await.unwrap();
        let again =
            run_simulation(&SimulationPlan { movers: 0, leavers: 0, ..plan(&url, idp) }, |_| {})
                .await
                .unwrap();

        assert_eq!((again.created, again.matched), (0, 30), "{again}");
        assert!(again.refused.is_empty() && again.differences.is_empty(), "{again}");
        let server = server.lock().unwrap();
        assert_eq!((server.users.len(), server.groups.len()), (30, 2));
        assert!(
            server.users.values().all(|user| user["active"] == true),
            "people who left are active again"
        );
    }
}

#[tokio::test]
async fn other_accounts_are_never_changed() {
    let stranger = json!({ "id": "1", "userName": "director@stmary.example", "active": true });
    let users = BTreeMap::from([("1".to_owned(), stranger.clone())]);
    let (url, server) = serve(Server { users, ignores_filters: true, ..Server::default() }).await;

    let refused = run_simulation(&plan(&url, SimulatedProvider::Entra), |_| {})
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("filter"), "{refused}");
    let report = run_simulation(&plan(&url, SimulatedProvider::Okta), |_| {}).await.unwrap();
    assert_eq!((report.created, report.matched), (0, 0), "{report}");
    assert_eq!(server.lock().unwrap().users["1"], stranger);
}

#[tokio::test]
async fn no_run_without_server_or_token() {
    let (url, _server) = serve(Server::default()).await;
    let wrong =
        SimulationPlan { token: "guessed".to_owned(), ..plan(&url, SimulatedProvider::Okta) };
    let refused = run_simulation(&wrong, |_| {}).await.unwrap_err();
    assert_eq!(refused, SimulationError::TokenRefused { detail: "who are you?".into() });
    let said = refused.to_string();
    assert!(said.contains("token (status 401") && !said.contains("base-url"), "{said}");
    assert!(!said.contains("guessed"), "{said}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let deserted = format!("http://{}/scim", listener.local_addr().unwrap());
    drop(listener);
    let refused =
        run_simulation(&plan(&deserted, SimulatedProvider::Entra), |_| {}).await.unwrap_err();
    let SimulationError::UnusableAnswer { detail, .. } = refused else { panic!("{refused}") };
    assert!(detail.starts_with("nothing listens at 127.0.0.1:"), "{detail}");
    for nonsense in ["", "scim", "mailto:a@b.example", "file:///etc"] {
        assert!(
            matches!(
                run_simulation(&plan(nonsense, SimulatedProvider::Entra), |_| {}).await,
                Err(SimulationError::InvalidPlan { field: "--base-url", .. })
            ),
            "{nonsense}"
        );
    }
    let newline =
        SimulationPlan { token: "a\nb".to_owned(), ..plan(&url, SimulatedProvider::Okta) };
    assert!(matches!(
        run_simulation(&newline, |_| {}).await,
        Err(SimulationError::InvalidPlan { field: "--token", .. })
    ));
    for status in [301, 404, 405] {
        let faults = vec![Fault { marker: "GET", status, times: 1 }];
        let (url, _server) = serve(Server { faults, ..Server::default() }).await;
        let refused =
            run_simulation(&plan(&url, SimulatedProvider::Okta), |_| {}).await.unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, SimulationError::WrongAddress { .. }), "{status}: {said}");
        assert!(said.contains(&url) && said.contains("--base-url"), "{said}");
    }
    let faults = vec![Fault { marker: "GET", status: 403, times: 1 }];
    let (url, _server) = serve(Server { faults, ..Server::default() }).await;
    let refused = run_simulation(&plan(&url, SimulatedProvider::Okta), |_| {}).await.unwrap_err();
    assert_eq!(refused, SimulationError::TestRefused { status: 403, detail: "not today".into() });
}

#[tokio::test]
async fn other_client_requests_work() {
    let (url, server) = serve(Server::default()).await;
    let client = ProviderClient::new(&plan(&url, SimulatedProvider::Okta)).unwrap();
    let group = client.create_group("Night shift", "").await.unwrap();
    let night = ["a", "b"].map(|id| NewMember { id: id.to_owned(), display: id.to_uppercase() });
    client.replace_members(&group, &night).await.unwrap();
    assert_eq!(client.members_of(&group).await.unwrap(), ["a", "b"]);
    client.replace_members(&group, &[]).await.unwrap();
    assert!(client.members_of(&group).await.unwrap().is_empty(), "an explicit empty list empties");
    client.rename_group(&group, "Late shift").await.unwrap();
    assert_eq!(client.find_group("late SHIFT").await.unwrap(), Some(group));

    let person = people::PersonGenerator::new(1, ExternalIds::Okta).next_person("Renal", "Nurse");
    let id = client.create_user(&person).await.unwrap();
    client.delete_user(&id).await.unwrap();
    assert!(server.lock().unwrap().users.is_empty());
    assert_eq!(client.read_user(&id).await, Err(CallRefused));
    assert_eq!(client.list_refusals().pop().unwrap().status, Some(404));
}

#[tokio::test]
async fn a_run_can_be_spawned() {
    let (url, _server) = serve(Server::default()).await;
    let plan = SimulationPlan { users: 1, ..plan(&url, SimulatedProvider::Entra) };
    let report =
        tokio::spawn(async move { run_simulation(&plan, |_| {}).await }).await.unwrap().unwrap();
    assert_eq!((report.created, report.moved, report.left), (1, 1, 1), "{report}");
}
