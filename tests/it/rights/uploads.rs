//! Uploads are authorized and charged before any part of them is stored.

use rolecall::auth::policy::Permission;
use rolecall::domain::bulk as jobs;
use rolecall::domain::bulk::NewLine;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bulk::key_with;
use crate::walk::codes;
use crate::world::{Answer, World};

/// Uploads a file of bulk lines.
async fn upload(world: &World, credential: &str, body: impl Into<reqwest::Body>) -> Answer {
    let url = world.acme.graphql.replace("/graphql", "/bulk");
    let request = reqwest::Client::new().post(url).bearer_auth(credential);
    Answer::of(request.header("content-type", "application/jsonl").body(body).send().await.unwrap())
        .await
}

fn people(n: usize) -> String {
    (0..n)
        .map(|n| {
            json!({ "operation": "userCreate", "input": { "userName": format!("u{n}") } })
                .to_string()
                + "\n"
        })
        .collect()
}

#[tokio::test]
async fn upload_requires_a_write_permission() {
    let world = World::new().await;
    let reading = [Permission::IamRead, Permission::UserRead, Permission::AuditRead];
    for permissions in [&[][..], &reading] {
        let key = key_with(&world, permissions).await.secret;
        let refused = upload(&world, &key, people(2)).await.is(403);
        assert_eq!(codes(&refused.body), ["FORBIDDEN"]);
    }
    assert_eq!(world.count("bulk_job", []).await + world.count("bulk_line", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn upload_is_charged_before_storage() {
    let world = World::with(|config| config.graphql.cost_limit = 10_000).await;
    // A cost of 10,000 a minute is 1,280,000 bytes.
    let large = people(20_000);
    assert!(large.len() > 1_280_000 * 3 / 4);
    let body = format!("{large}{large}");
    let refused = upload(&world, &world.acme.api_key, body.clone()).await.is(429);
    assert!(refused.headers.contains_key("retry-after"), "{:#}", refused.body);
    assert_eq!(world.count("bulk_job", []).await, 0);
    // An upload without a Content-Length is charged while it arrives.
    let key = key_with(&world, &[Permission::UserWrite]).await.secret;
    assert_eq!(send_in_chunks(&world, &key, body.as_bytes()).await, 429);
    assert_eq!(world.count("bulk_job", []).await + world.count("bulk_line", []).await, 0);
    world.end().await;
}

/// The status of a chunked upload, which has no Content-Length.
async fn send_in_chunks(world: &World, key: &str, body: &[u8]) -> u16 {
    let address = world.address.strip_prefix("http://").unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let head = format!(
        "POST /bulk HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/jsonl\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut message = head.into_bytes();
    for part in body.chunks(64 * 1024) {
        message.extend(format!("{:x}\r\n", part.len()).into_bytes());
        message.extend(part);
        message.extend(b"\r\n");
    }
    message.extend(b"0\r\n\r\n");
    // The answer may come before the whole body was read.
    let sending = tokio::spawn(async move { drop(writing.write_all(&message).await) });
    let mut answer = vec![0; 12];
    reading.read_exact(&mut answer).await.unwrap();
    sending.abort();
    String::from_utf8(answer).unwrap()[9..].parse().unwrap()
}

#[tokio::test]
async fn stored_uploads_have_a_limit() {
    let world = World::new().await;
    let cx = world.system();
    let job = jobs::begin_upload(&cx, None, None).await.unwrap();
    world.execute("UPDATE bulk_job SET bytes = $1", [(jobs::MAX_STORED as i64 - 10).into()]).await;
    let line = |bytes: usize| vec![NewLine { number: 1, input: vec![b'x'; bytes], user: None }];
    let refused = jobs::append_lines(&cx, job, line(11)).await.unwrap_err();
    assert!(refused.to_string().contains("bytes together"), "{refused}");
    assert_eq!(world.count("bulk_line", []).await, 0);
    jobs::append_lines(&cx, job, line(10)).await.unwrap();
    assert!(jobs::begin_upload(&cx, None, Some(1)).await.is_err());
    let refused = upload(&world, &world.acme.api_key, people(1)).await.is(409);
    assert_eq!(codes(&refused.body), ["HELD"]);
    // An upload that was given up frees its place.
    world.app.clock.advance(std::time::Duration::from_secs(61));
    upload(&world, &world.acme.api_key, people(1)).await.is(202);
    assert_eq!(world.count("bulk_line WHERE job_id = $1", [job.into()]).await, 0);
    world.end().await;
}

#[tokio::test]
async fn export_is_authorized_and_charged_first() {
    let world = World::with(|config| config.graphql.cost_limit = 10_000).await;
    let url = world
        .acme
        .graphql
        .replace("/graphql", &format!("/reconciliations?connection={}", world.acme.connection));
    let send = async |key: &str, bytes: usize| {
        let body = format!("userName\n{}\n", "x".repeat(bytes));
        let request = reqwest::Client::new()
            .post(&url)
            .bearer_auth(key)
            .header("content-type", "text/csv")
            .body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let key = key_with(&world, &[Permission::UserRead]).await.secret;
    send(&key, 10).await.is(403);
    let refused = send(&world.acme.api_key, 2_000_000).await.is(429);
    assert!(refused.headers.contains_key("retry-after"), "{:#}", refused.body);
    assert_eq!(world.count("reconciliation", []).await, 0);
    // The connection may be named by the id that the command line prints.
    send(&world.acme.api_key, 10).await.is(200);
    world.end().await;
}
