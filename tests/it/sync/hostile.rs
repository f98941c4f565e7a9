//! A SCIM source that misbehaves as a test tells it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A SCIM source that misbehaves as a test tells it.
pub struct Hostile {
    pub people: Mutex<Vec<Value>>,
    pub groups: Mutex<Vec<Value>>,
    manner: Mutex<&'static str>,
    /// Requests since its behaviour was last set.
    pub asked: AtomicUsize,
    /// Those of them for a single person or group.
    pub asked_for_one: AtomicUsize,
    tokens: AtomicUsize,
}

/// A person of a source.
pub fn person(n: usize) -> Value {
    json!({ "id": format!("r{n}"), "userName": format!("p{n}"), "active": true, "schemas": [] })
}

impl Hostile {
    pub async fn serve() -> (Arc<Self>, String) {
        let hostile = Arc::new(Self {
            people: Mutex::default(),
            groups: Mutex::default(),
            manner: Mutex::new("honest"),
            asked: AtomicUsize::new(0),
            asked_for_one: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/token", post(token))
            .route("/{endpoint}", any(list))
            .route("/{endpoint}/{id}", any(one))
            .with_state(hostile.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (hostile, address)
    }

    pub fn lists(&self, people: usize) {
        *self.people.lock().unwrap() = (0..people).map(person).collect();
    }

    pub fn behaves(&self, manner: &'static str) {
        *self.manner.lock().unwrap() = manner;
        self.asked.store(0, Ordering::Relaxed);
        self.asked_for_one.store(0, Ordering::Relaxed);
    }

    /// Sets an attribute of one person.
    pub fn sets(&self, n: usize, attribute: &str, value: Value) {
        self.people.lock().unwrap()[n][attribute] = value;
    }

    fn manner(&self) -> &'static str {
        *self.manner.lock().unwrap()
    }

    /// The answer to a client without a valid credential, or an error that the behaviour demands.
    async fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let authorization =
            headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let valid = match self.tokens.load(Ordering::Relaxed) {
            0 => authorization == "Bearer id+/",
            n => authorization == format!("Bearer t{n}"),
        };
        if !valid {
            return Some(StatusCode::UNAUTHORIZED.into_response());
        }
        Some(match self.manner() {
            "throttles" if asked.is_multiple_of(2) => {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
            }
            "is down" => StatusCode::BAD_GATEWAY.into_response(),
            "stumbles" if asked.is_multiple_of(3) => {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            "talks rubbish" => "<html>Welcome</html>".into_response(),
            "breaks off" => {
                "{\"schemas\": [\"urn:ietf:params:scim:api:messages:2.0:ListResponse\"], \"Resou"
                    .into_response()
            }
            "answers an error as 200" => axum::Json(json!({ "schemas":
                ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "500", "detail": "no" }))
            .into_response(),
            "lists no list" => axum::Json(
                json!({ "schemas": ["urn:x"], "totalResults": 3, "Resources": { "0": {} } }),
            )
            .into_response(),
            "redirects" => {
                (StatusCode::FOUND, [("location", "http://169.254.169.254/")]).into_response()
            }
            "never answers" => std::future::pending().await,
            "never ends" => {
                let rest = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
                Response::new(Body::from_stream(rest))
            }
            _ => return None,
        })
    }
}

/// Gives a new token each time; the one before is invalid then.
async fn token(State(hostile): State<Arc<Hostile>>, headers: HeaderMap, body: String) -> Response {
    let given =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let basic = given == format!("Basic {}", STANDARD.encode("client:id%2B%2F"));
    if !basic || body != "grant_type=client_credentials&scope=scim+read" {
        return (StatusCode::UNAUTHORIZED, axum::Json(json!({ "error": "invalid_client" })))
            .into_response();
    }
    let n = hostile.tokens.fetch_add(1, Ordering::Relaxed) + 1;
    axum::Json(
        json!({ "access_token": format!("t{n}"), "token_type": "Bearer", "expires_in": 3600 }),
    )
    .into_response()
}

async fn one(
    State(hostile): State<Arc<Hostile>>,
    Path((endpoint, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = hostile.refusal(&headers).await {
        return refusal;
    }
    hostile.asked_for_one.fetch_add(1, Ordering::Relaxed);
    match hostile.manner() {
        "never answers for one" => return std::future::pending().await,
        "answers nothing for one" => return axum::Json(json!({})).into_response(),
        "answers with another one" => return axum::Json(person(0)).into_response(),
        "knows no ids" => return StatusCode::BAD_REQUEST.into_response(),
        "forbids one" => return StatusCode::FORBIDDEN.into_response(),
        _ => {}
    }
    let all = if endpoint == "Users" { &hostile.people } else { &hostile.groups };
    let found = all.lock().unwrap().iter().find(|it| it["id"] == id.as_str()).cloned();
    match found {
        Some(found) => axum::Json(found).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn list(
    State(hostile): State<Arc<Hostile>>,
    Path(endpoint): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = hostile.refusal(&headers).await {
        return refusal;
    }
    let manner = hostile.manner();
    let by_cursor = manner.contains("cursor");
    if endpoint == "ServiceProviderConfig" {
        return axum::Json(
            json!({ "filter": { "supported": false }, "pagination": { "cursor": by_cursor, "index": true } }),
        )
        .into_response();
    }
    let all = if endpoint == "Users" { &hostile.people } else { &hostile.groups };
    let all = all.lock().unwrap().clone();
    let query = query.unwrap_or_default();
    let text = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")).map(ToOwned::to_owned))
    };
    let number = |name: &str| text(name).and_then(|value| value.parse::<usize>().ok()).unwrap_or(1);
    let cursor = text("cursor").filter(|_| by_cursor);
    let asked = hostile.asked.load(Ordering::Relaxed);
    let from = match (manner, &cursor) {
        ("repeats pages", _) => 0,
        (_, Some(cursor)) => cursor.strip_prefix("at-").map_or(0, |n| n.parse::<usize>().unwrap()),
        // While the list is read, a person before the second page is removed.
        ("shifts", None) if number("startIndex") > 1 => number("startIndex"),
        _ => number("startIndex") - 1,
    };
    if from > 0 && (manner == "loses every cursor" || manner == "loses a cursor" && asked == 3) {
        let body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400",
            "scimType": "expiredCursor", "detail": "the cursor has expired" });
        return (StatusCode::BAD_REQUEST, axum::Json(body)).into_response();
    }
    let count = if manner == "gives short pages" { 7 } else { number("count") };
    let mut page: Vec<Value> = all.iter().skip(from).take(count).cloned().collect();
    if manner == "lists without ids" {
        page.iter_mut().for_each(|person| person["id"] = Value::Null);
    }
    let total = match manner {
        _ if endpoint == "Groups" => json!(all.len()),
        "counts wrongly" => json!(all.len() + 1_000),
        "counts too few" => json!(1),
        "does not count" => Value::Null,
        "shifts" => json!(all.len() - 1),
        _ => json!(all.len()),
    };
    let mut body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"], "totalResults": total, "Resources": page });
    if by_cursor && from + count < all.len() {
        body["nextCursor"] = format!("at-{}", from + count).into();
    }
    axum::Json(body).into_response()
}
