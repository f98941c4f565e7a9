//! Web pages of other origins: which may use the management API, and what they see of it.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::World;

const PAGE: &str = "https://admin.example.com";

async fn allowing(origins: &str) -> World {
    let origins = origins.parse().unwrap();
    World::with(|config| config.graphql.origins = origins).await
}

/// The status and the headers of a preflight.
async fn preflight(world: &World, path: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let request = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{}{path}", world.address))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key");
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn listed_origins_pass_the_preflight() {
    let world = allowing(&format!("{PAGE}, http://localhost:5173")).await;
    for path in ["/graphql", "/bulk", "/reconciliations", "/evidence/access"] {
        for origin in [PAGE, "http://localhost:5173"] {
            let (status, headers) = preflight(&world, path, origin).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(text(&headers, "access-control-allow-origin"), origin, "{path}");
            assert_eq!(text(&headers, "access-control-allow-methods"), "GET,POST");
            let allowed = text(&headers, "access-control-allow-headers");
            assert_eq!(allowed, "authorization,content-type,idempotency-key");
            assert_eq!(text(&headers, "access-control-max-age"), "7200");
            assert!(text(&headers, "vary").contains("origin"), "{headers:?}");
            assert!(!headers.contains_key("access-control-allow-credentials"));
        }
    }
    world.end().await;
}

#[tokio::test]
async fn answers_expose_what_clients_need() {
    let world = allowing(PAGE).await;
    let headers = [("origin", PAGE)];
    let answer = world
        .acme
        .graphql_as(&world.acme.api_key, &headers, "{ viewer { name } }", json!({}))
        .await;
    let answer = answer.is(200);
    assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    let exposed = answer.header("access-control-expose-headers");
    for name in ["x-request-id", "retry-after", "idempotency-replayed", "content-disposition"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    // A page can read why it is refused.
    let refused =
        world.acme.graphql_as("rck_wrong", &headers, "{ viewer { name } }", json!({})).await;
    let refused = refused.is(401);
    assert_eq!(refused.header("access-control-allow-origin"), PAGE);
    world.end().await;
}

#[tokio::test]
async fn other_origins_are_not_allowed() {
    let world = allowing(PAGE).await;
    for origin in ["https://evil.example", "https://admin.example.com.evil.example", "null"] {
        let (_, headers) = preflight(&world, "/graphql", origin).await;
        assert!(!headers.contains_key("access-control-allow-origin"), "{origin}");
    }
    let (_, headers) = preflight(&world, "/scim/v2/acme/Users", PAGE).await;
    assert!(!headers.contains_key("access-control-allow-origin"), "SCIM is not for pages");
    world.end().await;
    let closed = World::new().await;
    let (status, headers) = preflight(&closed, "/graphql", PAGE).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!headers.contains_key("access-control-allow-origin"));
    closed.end().await;
}
