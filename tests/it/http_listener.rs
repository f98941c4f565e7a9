//! What unknown clients do to a listener: incomplete request heads, long ones, and more connections
//! than file descriptors.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::database::Database;
use crate::process::{Server, bootstrap};
use crate::world::World;

/// Sends bytes and returns the first line of the answer.
async fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_heads_block_no_other_client() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let server = Server::begin_with_descriptors(&database, 256);
    server.ready().await;
    let address = server.address.trim_start_matches("http://");
    let mut half_sent = Vec::new();
    for _ in 0..400 {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: example\r\n").await;
            half_sent.push(stream);
        }
    }
    for n in 0..10 {
        let began = Instant::now();
        let answer = reqwest::get(format!("{}/healthz", server.address)).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = json!({ "userName": format!("user-{n}") }).to_string();
        let request = server.scim(&made).request("POST".parse().unwrap(), "/Users");
        let response = request
            .header("content-type", "application/scim+json")
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201);
        assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    }
    drop(half_sent);
    drop(server);
    database.drop().await;
}

#[tokio::test]
async fn early_answer_closes_the_connection() {
    let world = World::new().await;
    let body = json!({ "userName": "ada" }).to_string();
    let create = |token: &str| {
        let request = reqwest::Client::new().post(format!("{}/scim/v2/acme/Users", world.address));
        request
            .header("content-type", "application/scim+json")
            .bearer_auth(token)
            .body(body.clone())
            .send()
    };
    let refused = create("rcs_wrong").await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["connection"].to_str().unwrap()),
        (401, "close")
    );
    let made = world
        .scim()
        .request("POST".parse().unwrap(), "/Users")
        .header("content-type", "application/scim+json");
    let made = made.body(body.clone()).send().await.unwrap();
    assert_eq!((made.status().as_u16(), made.headers().get("connection")), (201, None));
    world.end().await;
}

#[tokio::test]
async fn malformed_and_oversized_heads_are_refused() {
    let world = World::new().await;
    let unencoded =
        b"GET /scim/v2/acme/Users?filter=userName%20eq%20\"a\" HTTP/1.1\r\nHost: example\r\n\r\n";
    let line = exchange(&world.address, unencoded).await;
    assert!(line.contains(" 400 ") || line.contains(" 401 "), "{line}");
    let long = format!("GET /healthz?{} HTTP/1.1\r\nHost: example\r\n\r\n", "a".repeat(70_000));
    let line = exchange(&world.address, long.as_bytes()).await;
    assert!(line.contains(" 414 ") || line.contains(" 431 "), "{line}");
    let many = format!("GET /healthz HTTP/1.1\r\nHost: example\r\n{}\r\n", "a: b\r\n".repeat(500));
    let line = exchange(&world.address, many.as_bytes()).await;
    assert!(line.contains(" 431 "), "{line}");
    assert_eq!(reqwest::get(format!("{}/healthz", world.address)).await.unwrap().status(), 200);
    world.end().await;
}
