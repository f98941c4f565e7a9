//! The request log says what an identity provider meant, what the result was and what to do next.
//! It contains no value of any request.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rolecall::auth::policy::{Actor, Permission};
use rolecall::context::{App, Cx};
use rolecall::domain::connection::request_log;
use rolecall::domain::connection::request_log::{Entry, Outcome, RequestLogQuery};
use rolecall::domain::paging::Keyset;
use rolecall::error::Error;
use rolecall::message_parts::read_parts;
use rolecall::{jobs, server};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Scim, World, patch};

fn newest(limit: u64) -> Keyset<Uuid> {
    Keyset { limit, descending: true, ..Keyset::default() }
}

impl World {
    /// The log, newest first, when all `n` requests are in it. They have all been answered before.
    async fn log(&self, n: i64) -> Vec<Entry> {
        for _ in 0..400 {
            request_log::flush_request_counts(&self.app).await.unwrap();
            let rows = request_log::list_request_log(
                &self.system(),
                RequestLogQuery::default(),
                &newest(1_000),
            )
            .await
            .unwrap()
            .rows;
            let counted: i64 = rows.iter().map(|row| row.count).sum();
            assert!(counted <= n, "{counted} requests are counted instead of {n}: {rows:#?}");
            if counted == n {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not every request is in the log");
    }
}

/// Meaning, outcome and count of every row.
fn summarize_rows(rows: &[Entry]) -> Vec<(&str, Outcome, i64)> {
    let mut told: Vec<_> =
        rows.iter().map(|row| (row.meaning.as_str(), row.outcome, row.count)).collect();
    told.sort_by_key(|(meaning, outcome, _)| (meaning.to_string(), format!("{outcome:?}")));
    told
}

fn quirks(row: &Entry) -> Vec<&str> {
    row.quirks.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test]
async fn refusals_name_cause_and_next_step() {
    let world = World::new().await;
    world.tenant("acme", "Second").await.scim.user("secret.person").await;
    let body = json!({ "userName": "Secret.Person", "externalId": "secret-1", "schemas": [] });
    world.scim().post("/Users", body).await.refused(409, Some("uniqueness"));
    let rows = world.log(2).await;
    let refused = rows.iter().find(|row| row.outcome == Outcome::Refused).unwrap();
    assert_eq!(refused.meaning, "create user");
    assert_eq!(
        (refused.method.as_deref(), refused.resource.as_deref()),
        (Some("POST"), Some("Users"))
    );
    assert_eq!((refused.status, refused.scim_type.as_deref()), (Some(409), Some("uniqueness")));
    assert_eq!(
        (refused.reason.as_deref(), refused.field.as_deref()),
        (Some("TAKEN"), Some("userName"))
    );
    assert_eq!(refused.connection_id, Some(world.acme.connection));
    let next = request_log::next_step(refused).unwrap();
    assert!(next.contains("userName"), "{next}");
    let created = rows.iter().find(|row| row.outcome == Outcome::Created).unwrap();
    assert_eq!(request_log::next_step(created), None);
    world.end().await;
}

#[tokio::test]
async fn next_steps_fit_the_refusal() {
    let world = World::new().await;
    let scim = world.scim();
    let group = scim.group("Ward", &[]).await;
    let user = scim.user("ada").await;
    let somebody = uuid::Uuid::from_u128(7);
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": somebody }] }]);
    scim.patch(&format!("/Groups/{group}"), add).await.refused(400, Some("invalidValue"));
    let nameless = json!([{ "op": "remove", "path": "userName" }]);
    scim.patch(&format!("/Users/{user}"), nameless).await.refused(400, Some("mutability"));
    scim.get("/Users?sortBy=shoeSize").await.refused(400, Some("invalidValue"));
    scim.get("/Schemas/urn:none:1.0:User").await.refused(404, None);
    scim.get("/ResourceTypes?filter=id%20pr").await.refused(403, None);
    let rows = world.log(7).await;
    for (field, resource, says) in [
        (Some("members"), "Groups", "send the users first"),
        (Some("userName"), "Users", "cannot be removed"),
        (Some("sortBy"), "Users", "asks for a list with a sortBy"),
        (None, "Schemas", "schemaExtensionRegister"),
        (None, "ResourceTypes", "which SCIM forbids"),
    ] {
        let row = rows.iter().find(|row| {
            row.reason.is_some()
                && row.field.as_deref() == field
                && row.resource.as_deref() == Some(resource)
        });
        let next = request_log::next_step(row.expect(says)).unwrap();
        assert!(next.contains(says), "{next}");
        assert!(!read_parts(&next).is_empty(), "no code says: {next}");
    }
    world.end().await;
}

#[tokio::test]
async fn log_contains_no_request_values() {
    let world = World::new().await;
    let scim = world.scim();
    let user = scim.user("secret.one").await;
    let group = scim.group("Secret group", &[user]).await;
    let (of_user, of_group) = (format!("/Users/{user}"), format!("/Groups/{group}"));
    let mut n = 2;
    for body in [
        json!({ "userName": "secret.one" }),
        json!({ "userName": ["secret"] }),
        json!({ "userName": "secret.two", "secretAttribute": "secret", "urn:secret:User": { "a": 1 } }),
        json!({ "userName": "x", "emails": [{ "value": { "secret": 1 } }] }),
        json!({ "secret": "secret" }),
    ] {
        scim.post("/Users", body.clone()).await;
        scim.put(&of_user, body.clone()).await;
        scim.post("/Groups", body).await;
        n += 3;
    }
    for operation in [
        json!({ "op": "secret" }),
        json!({ "op": "add", "path": "secret", "value": "secret" }),
        json!({ "op": "add", "path": "urn:secret:2.0:User:secret", "value": "secret" }),
        json!({ "op": "add", "path": "emails[secret eq \"secret\"].value", "value": "secret" }),
        json!({ "op": "add", "path": "secret[", "value": "secret" }),
        json!({ "op": "add", "path": "name.secret", "value": "secret" }),
        json!({ "op": "add", "value": { "active": "secret", "members": ["secret"] } }),
        json!({ "op": "remove", "path": "members[value eq \"secret\"]" }),
    ] {
        scim.patch(&of_user, json!([operation.clone()])).await;
        scim.patch(&of_group, json!([operation])).await;
        n += 2;
    }
    for query in [
        "filter=userName%20eq%20%22secret%22",
        "filter=secret%20eq%20%22secret%22",
        "filter=secret(",
        "sortBy=secret&attributes=secret",
        "cursor=secret&secret=secret",
        "count=secret",
    ] {
        for path in ["/Users", "/Groups", "/"] {
            scim.get(&format!("{path}?{query}")).await;
            n += 1;
        }
    }
    for path in [
        "/secret",
        "/Users/secret",
        "/Users/secret/secret",
        "/Schemas/urn:secret",
        "/Secrets/.search",
    ] {
        scim.get(path).await.is(404);
        scim.send(
            Method::from_bytes(b"SECRET").unwrap(),
            path,
            None,
            &[("x-request-id", "secret")],
        )
        .await;
        n += 2;
    }
    let operations = json!([
        { "method": "secret", "path": "/secret" },
        { "method": "POST", "path": "/Users", "bulkId": "secret", "data": { "secret": 1 } },
        { "method": "PATCH", "path": "/Users/secret", "data": { "Operations": [] } },
        { "method": "POST", "path": "/Groups", "bulkId": "secret2",
          "data": { "displayName": "secret", "members": [{ "value": "bulkId:secret" }] } },
    ]);
    scim.post("/Bulk", json!({ "Operations": operations })).await.is(200);
    n += 5;
    scim.with_token("secret").get("/Users/secret").await.is(401);
    n += 1;
    // Every column, and the rows as the domain returns them.
    let rows = world.log(n).await;
    let text =
        format!("{:?} {rows:?}", world.rows("SELECT * FROM request_log", []).await).to_lowercase();
    assert!(!text.contains("secret"), "{text}");
    assert!(rows.iter().all(|row| row.source.is_none() || row.status == Some(401)));
    world.end().await;
}

#[tokio::test]
async fn repeats_are_counted_in_one_row() {
    let world = World::new().await;
    let first = world.app.clock.now();
    let mut last = Uuid::nil();
    for n in 0..5 {
        last = Uuid::now_v7();
        // Another value with the same mistake.
        let body = json!({ "schemas": [], "userName": "ada", "emails": [{ "value": n }] });
        let id = last.to_string();
        let answer =
            world.scim().send(Method::POST, "/Users", Some(body), &[("x-request-id", &id)]).await;
        answer.refused(400, Some("invalidValue"));
        // Each request is written by itself.
        world.log(n + 1).await;
    }
    let rows = world.log(5).await;
    assert_eq!(summarize_rows(&rows), [("create user", Outcome::Refused, 5)]);
    assert_eq!(
        (rows[0].field.as_deref(), rows[0].last_request_id),
        (Some("emails.value"), Some(last))
    );
    assert!(rows[0].first_at >= first && rows[0].first_at < rows[0].last_at);
    // The next hour has a row of its own.
    world.app.clock.advance(Duration::from_secs(60 * 60));
    world
        .scim()
        .post("/Users", json!({ "schemas": [], "userName": "ada", "emails": [{ "value": 1 }] }))
        .await
        .is(400);
    let rows = world.log(6).await;
    assert_eq!(rows.iter().map(|row| row.count).collect::<Vec<_>>(), [1, 5], "newest first");
    world.end().await;
}

#[tokio::test]
async fn reads_are_counted_together() {
    let world = World::new().await;
    let scim = world.scim();
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(scim.user(&format!("u{n}")).await);
    }
    for id in &ids {
        scim.get(&format!("/Users/{id}")).await.is(200);
        scim.get(&format!("/Users?filter=userName%20eq%20%22{n}%22", n = id.simple()))
            .await
            .is(200);
        scim.get("/Users?filter=userName%20eq%20%22u1%22").await.is(200);
        scim.get("/Groups?startIndex=1&count=1").await.is(200);
        scim.post("/Users/.search", json!({ "filter": "externalId eq \"x\"" })).await.is(200);
        scim.get("/ServiceProviderConfig").await.is(200);
        scim.get("/Users?filter=userName").await.is(400);
    }
    let rows = world.log(32).await;
    assert_eq!(
        summarize_rows(&rows),
        [
            ("connection test", Outcome::Answered, 4),
            ("connection test", Outcome::Answered, 4),
            ("create user", Outcome::Created, 4),
            ("discover capabilities", Outcome::Answered, 4),
            ("find user by externalId", Outcome::Answered, 4),
            ("find user by userName", Outcome::Answered, 4),
            ("list users", Outcome::Refused, 4),
            ("read user", Outcome::Answered, 4),
        ]
    );
    let read = rows.iter().find(|row| row.meaning == "read user").unwrap();
    assert_eq!(read.last_target_id, ids.last().copied());
    world.end().await;
}

#[tokio::test]
async fn unchanged_writes_are_told_apart() {
    let world = World::new().await;
    let scim = world.scim();
    let user = scim.user("ada").await;
    let group = scim.group("Ward 3", &[]).await;
    let path = format!("/Users/{user}");
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    scim.patch(&path, off.clone()).await.is(200);
    scim.patch(&path, off).await.is(200);
    scim.patch(&path, json!([{ "op": "replace", "path": "active", "value": true }])).await.is(200);
    scim.put(&path, json!({ "schemas": [], "userName": "ada", "title": "x" })).await.is(200);
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": user }] }]);
    scim.patch(&format!("/Groups/{group}"), add.clone()).await.is(200);
    scim.patch(&format!("/Groups/{group}"), add).await.is(200);
    scim.delete(&path).await.is(204);
    scim.delete(&path).await.is(404);
    let rows = world.log(10).await;
    assert_eq!(
        summarize_rows(&rows),
        [
            ("activate user", Outcome::Updated, 1),
            ("add members", Outcome::Unchanged, 1),
            ("add members", Outcome::Updated, 1),
            ("create group", Outcome::Created, 1),
            ("create user", Outcome::Created, 1),
            ("delete user", Outcome::Deleted, 1),
            ("delete user", Outcome::NotFound, 1),
            ("suspend user", Outcome::Unchanged, 1),
            ("suspend user", Outcome::Updated, 1),
            ("update user", Outcome::Updated, 1),
        ]
    );
    for row in &rows {
        let target = match row.resource.as_deref() {
            _ if row.outcome == Outcome::NotFound => None,
            Some("Groups") => Some(group),
            _ => Some(user),
        };
        assert_eq!(row.last_target_id, target, "{row:?}");
        assert!(row.last_request_id.is_some());
    }
    world.end().await;
}

#[tokio::test]
async fn quirks_are_recorded() {
    let world = World::new().await;
    let scim = world.scim();
    let body = json!({
        "userName": "ada", "active": "True", "groups": [], "shoeSize": 7,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager": "7",
    });
    let request = scim.request(Method::POST, "/Users").header("content-type", "application/json");
    assert_eq!(request.body(body.to_string()).send().await.unwrap().status(), StatusCode::CREATED);
    let rows = world.log(1).await;
    assert_eq!(
        quirks(&rows[0]),
        [
            "BOOLEAN_AS_STRING",
            "PATH_AS_NAME",
            "MANAGER_NOT_OBJECT",
            "NO_SCHEMAS",
            "PLAIN_JSON",
            "READ_ONLY_ATTRIBUTE",
            "UNKNOWN_ATTRIBUTE"
        ]
    );
    let user = scim.ids("/Users").await[0];
    let group = scim.group("Ward 3", &[user]).await;
    let remove = json!({ "op": "Remove", "path": "members", "value": [user.to_string()] });
    scim.patch(&format!("/Groups/{group}"), json!([remove])).await.is(200);
    let rows = world.log(4).await;
    assert_eq!(quirks(&rows[0]), ["OP_IN_CAPITALS", "REMOVE_WITH_VALUE", "MEMBER_NOT_OBJECT"]);
    assert_eq!((rows[0].meaning.as_str(), rows[0].outcome), ("remove members", Outcome::Updated));
    // A correct request with known attributes has no quirk.
    scim.send(
        Method::PATCH,
        &format!("/Users/{user}"),
        Some(patch(json!([{ "op": "add", "path": "title", "value": "x" }]))),
        &[],
    )
    .await
    .is(200);
    assert!(quirks(&world.log(5).await[0]).is_empty());
    world.end().await;
}

#[tokio::test]
async fn quirks_of_patches_are_recorded() {
    let world = World::new().await;
    let scim = world.scim();
    let user = scim.user("ada").await;
    let path = format!("/Users/{user}");
    let marked = [b"\xef\xbb\xbf".as_slice(), patch(json!([])).to_string().as_bytes()].concat();
    let request = scim
        .request(Method::PATCH, &path)
        .header("content-type", "application/scim+json")
        .body(marked);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(quirks(&world.log(2).await[0]), ["EMPTY_OPERATIONS", "BYTE_ORDER_MARK"]);
    let cases = [
        (
            json!({ "op": "add", "path": "emails", "value": "[{\"value\":\"a@x.org\",\"type\":\"work\"}]" }),
            "JSON_TEXT",
        ),
        (
            json!({ "op": "replace", "path": "emails[type eq \"work\"]", "value": [{ "display": "A" }] }),
            "LIST_OF_ONE",
        ),
        (
            json!({ "op": "replace", "path": "emails[type eq work].display", "value": "B" }),
            "UNQUOTED_VALUE",
        ),
        (json!({ "op": "replace", "path": "title", "value": ["Nurse"] }), "LIST_OF_ONE"),
        (
            json!({ "op": "replace", "path": "title", "value": { "value": "Doctor" } }),
            "PLAIN_VALUE_AS_OBJECT",
        ),
    ];
    for (n, (operation, noted)) in cases.iter().enumerate() {
        scim.patch(&path, json!([operation])).await.is(200);
        // Requests of one kind share a row.
        let rows = world.log(3 + n as i64).await;
        let same_kind = rows.iter().filter(|row| quirks(row) == [*noted]);
        let counted: i64 = same_kind.map(|row| row.count).sum();
        let sent = cases[..=n].iter().filter(|case| case.1 == *noted).count();
        assert_eq!(counted, sent as i64, "{noted}");
    }
    for (n, filter) in ["userName%20eq%20ada", "externalId%20eq%207"].into_iter().enumerate() {
        scim.get(&format!("/Users?filter={filter}")).await.is(200);
        assert!(
            world
                .log(8 + n as i64)
                .await
                .iter()
                .any(|row| quirks(row) == ["UNQUOTED_VALUE"] && row.meaning != "update user")
        );
    }
    world.end().await;
}

#[tokio::test]
async fn failed_authentications_are_counted_by_address() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let elsewhere =
        |slug: &str| Scim { base: world.scim().base.replace("acme", slug), ..world.scim().clone() };
    for _ in 0..3 {
        world.scim().with_token("rcs_wrong").get("/Users").await.is(401);
        world.scim().with_token("rcs_other").post("/Groups", json!({})).await.is(401);
    }
    world.scim().http.get(format!("{}/Users", world.scim().base)).send().await.unwrap();
    // An unknown organization, and another organization.
    elsewhere("unknown").with_token("rcs_wrong").get("/Users").await.is(401);
    elsewhere("globex").with_token("rcs_wrong").get("/Users").await.is(401);
    let rows = world.log(7).await;
    let strangers: Vec<_> = rows
        .iter()
        .map(|row| (row.reason.as_deref().unwrap(), row.source.as_deref(), row.count))
        .collect();
    assert!(strangers.contains(&("TOKEN_UNKNOWN", Some("127.0.0.1"), 6)), "{strangers:?}");
    assert!(strangers.contains(&("TOKEN_MISSING", Some("127.0.0.1"), 1)), "{strangers:?}");
    for row in &rows {
        assert_eq!(
            (row.connection_id, row.meaning.as_str(), row.status),
            (None, "authenticate", Some(401))
        );
        assert!(request_log::next_step(row).unwrap().contains("token"));
    }
    // Every connection shows them, because the log cannot know which connection they were meant
    // for.
    let which = RequestLogQuery {
        connection: Some(world.acme.connection),
        troubles: true,
        ..RequestLogQuery::default()
    };
    assert_eq!(
        request_log::list_request_log(&world.system(), which, &newest(9)).await.unwrap().rows.len(),
        2
    );
    let of_globex = Cx::system(world.app.clone(), globex.organization);
    assert_eq!(
        request_log::list_request_log(&of_globex, RequestLogQuery::default(), &newest(9))
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
    world.end().await;
}

#[tokio::test]
async fn known_token_refusals_name_their_connection() {
    let world = World::new().await;
    let second = world.tenant("acme", "Second").await;
    world.execute("UPDATE scim_token SET revoked_at = $1", [world.app.clock.now().into()]).await;
    second.scim.get("/Users").await.is(401);
    let third = world.tenant("acme", "Third").await;
    let globex = world.second_organization().await;
    third.scim.get("/Users").await.is(200);
    Scim { base: globex.scim.base.clone(), ..third.scim.clone() }.get("/Users").await.is(404);
    rolecall::domain::connection::deactivate_connection(&world.system(), third.connection, None)
        .await
        .unwrap();
    third.scim.user_is_refused().await;
    let rows = world.log(4).await;
    let mut told: Vec<_> = rows
        .iter()
        .map(|row| (row.connection_id.unwrap(), row.reason.as_deref(), row.status.unwrap()))
        .collect();
    told.sort_by_key(|(_, _, status)| *status);
    assert_eq!(
        told,
        [
            (third.connection, None, 200),
            (second.connection, Some("TOKEN_DEAD"), 401),
            (third.connection, Some("CONNECTION_INACTIVE"), 403),
            (third.connection, Some("WRONG_TENANT"), 404),
        ]
    );
    assert!(rows.iter().all(|row| row.source.is_some() == (row.status == Some(401))));
    world.end().await;
}

impl Scim {
    async fn user_is_refused(&self) {
        self.post("/Users", json!({ "userName": "ada" })).await.refused(403, None);
    }
}

#[tokio::test]
async fn bulk_operations_are_logged_separately() {
    let world = World::new().await;
    let scim = world.scim();
    let user = scim.user("ada").await;
    let operations = json!([
        { "method": "POST", "path": "/Users", "bulkId": "a", "data": { "schemas": [], "userName": "bo" } },
        { "method": "POST", "path": "/Users", "bulkId": "b", "data": { "schemas": [], "userName": "ADA" } },
        { "method": "PATCH", "path": format!("/Users/{user}"),
          "data": { "Operations": [{ "op": "Replace", "path": "active", "value": false }] } },
        { "method": "DELETE", "path": format!("/Groups/{}", Uuid::now_v7()) },
        { "method": "PATCH", "path": "/Users" },
    ]);
    scim.post("/Bulk", json!({ "Operations": operations })).await.is(200);
    let rows = world.log(7).await;
    assert_eq!(
        summarize_rows(&rows),
        [
            ("bulk operation", Outcome::Refused, 1),
            ("bulk request", Outcome::CarriedOut, 1),
            ("create user", Outcome::Created, 1),
            ("create user", Outcome::Created, 1),
            ("create user", Outcome::Refused, 1),
            ("delete group", Outcome::NotFound, 1),
            ("suspend user", Outcome::Updated, 1),
        ]
    );
    let suspended = rows.iter().find(|row| row.meaning == "suspend user").unwrap();
    assert_eq!(
        (quirks(suspended), suspended.last_target_id),
        (vec!["OP_IN_CAPITALS", "NO_SCHEMAS"], Some(user))
    );
    let refused = rows.iter().find(|row| row.reason.as_deref() == Some("TAKEN")).unwrap();
    assert_eq!((refused.status, refused.scim_type.as_deref()), (Some(409), Some("uniqueness")));
    world.end().await;
}

#[tokio::test]
async fn new_refusals_are_written_at_once() {
    let world = World::new().await;
    // Four in a row are too many to meet the regular flush by chance.
    for (n, path) in ["/Users", "/Groups", "/Bulk", "/.search"].into_iter().enumerate() {
        world.scim().post(path, json!({ "filter": 1, "userName": 1, "displayName": 1 })).await;
        world.scim().post(path, json!([])).await.is(400);
        let written = async {
            while world.count("request_log WHERE status = 400", []).await <= n as i64 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_millis(1_500), written)
            .await
            .expect("it takes as long as the usual flush");
    }
    world.end().await;
}

#[tokio::test]
async fn stopping_server_loses_no_counts() {
    let world = World::new().await;
    let other = App::open(world.app.config.clone()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/scim/v2/acme", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::run_server(other.clone(), listener, async move {
        let _ = stopped.await;
    }));
    let there = Scim { base, ..world.scim().clone() };
    for _ in 0..5 {
        world.scim().get("/Users").await.is(200);
        there.get("/Users").await.is(200);
    }
    drop(stop);
    serving.await.unwrap().unwrap();
    assert!(
        other.requests.buffer.drain(other.clock.now()).kinds.is_empty(),
        "the last flush has taken it all"
    );
    other.store.clone().close().await;
    assert_eq!(summarize_rows(&world.log(10).await), [("list users", Outcome::Answered, 10)]);
    world.end().await;
}

#[tokio::test]
async fn unwritten_counts_are_written_later() {
    let world = World::new().await;
    world.execute("ALTER TABLE request_log RENAME TO elsewhere", []).await;
    for _ in 0..3 {
        world.scim().get("/Users").await.is(200);
        world.scim().with_token("rcs_wrong").get("/Users").await.is(401);
        // It fails, unless the server's own worker has just taken everything.
        let _ = request_log::flush_request_counts(&world.app).await;
    }
    world.execute("ALTER TABLE elsewhere RENAME TO request_log", []).await;
    let rows = world.log(6).await;
    assert_eq!(
        summarize_rows(&rows),
        [("authenticate", Outcome::Refused, 3), ("list users", Outcome::Answered, 3)]
    );
    world.end().await;
}

#[tokio::test]
async fn stopping_workers_flush_the_log() {
    let world = World::new().await;
    let other = App::open(world.app.config.clone()).await.unwrap();
    let (tell, told_to) = tokio::sync::watch::channel(false);
    let working = tokio::spawn(jobs::run_until_stopped(other.clone(), told_to));
    // After the first flush.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let base = router_in_memory(&other).await;
    Scim { base, ..world.scim().clone() }.get("/Users").await.is(200);
    tell.send(true).unwrap();
    working.await.unwrap();
    assert_eq!(summarize_rows(&world.log(1).await), [("list users", Outcome::Answered, 1)]);
    other.store.clone().close().await;
    world.end().await;
}

/// Serves without workers.
async fn router_in_memory(app: &std::sync::Arc<App>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/scim/v2/acme", listener.local_addr().unwrap());
    let router = server::build_router(app.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

#[tokio::test]
async fn log_is_paged_and_deleted_later() {
    let world = World::new().await;
    for path in ["/Users", "/Groups", "/Schemas"] {
        world.scim().get(path).await.is(200);
        world
            .log(
                1 + ["/Users", "/Groups", "/Schemas"].iter().position(|one| *one == path).unwrap()
                    as i64,
            )
            .await;
    }
    let key = |permissions: &[Permission]| {
        let permissions = permissions.iter().copied().collect();
        let actor = Actor::Key { id: Uuid::nil(), name: "key".into(), permissions };
        Cx::new(world.app.clone(), actor, world.acme.organization, Uuid::now_v7())
    };
    let others: Vec<_> =
        Permission::ALL.into_iter().filter(|one| *one != Permission::IamRead).collect();
    let refused =
        request_log::list_request_log(&key(&others), RequestLogQuery::default(), &newest(9)).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))));
    let cx = key(&[Permission::IamRead]);
    let page =
        request_log::list_request_log(&cx, RequestLogQuery::default(), &newest(2)).await.unwrap();
    let meant = |rows: &[Entry]| rows.iter().map(|row| row.meaning.clone()).collect::<Vec<_>>();
    assert_eq!(meant(&page.rows), ["discover capabilities", "list groups"]);
    assert!(page.has_next);
    let rest = Keyset { after: page.rows.last().map(|row| row.id), ..newest(2) };
    let page = request_log::list_request_log(&cx, RequestLogQuery::default(), &rest).await.unwrap();
    assert_eq!((meant(&page.rows), page.has_next), (vec!["list users".to_owned()], false));
    let troubles = RequestLogQuery { troubles: true, ..RequestLogQuery::default() };
    assert!(
        request_log::list_request_log(&cx, troubles, &newest(9)).await.unwrap().rows.is_empty()
    );

    world.days_pass(29);
    world.scim().get("/Users").await.is(200);
    world.log(4).await;
    request_log::delete_old_rows(&world.app).await.unwrap();
    assert_eq!(world.log(4).await.len(), 4);
    world.days_pass(2);
    request_log::delete_old_rows(&world.app).await.unwrap();
    assert_eq!(summarize_rows(&world.log(1).await), [("list users", Outcome::Answered, 1)]);
    world.end().await;
}

#[tokio::test]
async fn graphql_shows_the_request_log() {
    let world = World::new().await;
    let second = world.tenant("acme", "Second").await;
    let user = world.scim().user("ada").await;
    second.scim.post("/Users", json!({ "userName": "ADA" })).await.is(409);
    world.scim().with_token("rcs_wrong").get("/Users").await.is(401);
    world.log(3).await;
    let query = "query($of: ID, $bad: Boolean! = false) { organization {
        connections(first: 9) { nodes { id name } }
        requestLog(first: 9, filter: { connectionId: $of, troublesOnly: $bad }) { totalCount nodes {
            connection { name } hour method resource meaning outcome httpStatus scimType code field nextStep nextStepParts { code values } quirks
            source count firstAt lastAt lastRequestId lastTargetId } } } }";
    let ask =
        async |variables| world.graphql(query, variables).await["data"]["organization"].clone();
    let meant = |answer: &Value| {
        let nodes = answer["requestLog"]["nodes"].as_array().unwrap().iter();
        nodes
            .map(|node| {
                format!(
                    "{} {}",
                    node["meaning"].as_str().unwrap(),
                    node["outcome"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    let all = ask(json!({})).await;
    assert_eq!(meant(&all), ["authenticate REFUSED", "create user REFUSED", "create user CREATED"]);
    let refused = &all["requestLog"]["nodes"][1];
    assert_eq!(
        (&refused["connection"]["name"], &refused["field"]),
        (&json!("Second"), &json!("userName"))
    );
    assert_eq!((&refused["quirks"], &refused["count"]), (&json!(["NO_SCHEMAS"]), &json!(1)));
    assert!(refused["nextStep"].as_str().unwrap().contains("userName"));
    let created = &all["requestLog"]["nodes"][2];
    let node = "query($id: ID!) { node(id: $id) { ... on User { userName } } }";
    let node = world.graphql(node, json!({ "id": created["lastTargetId"] })).await;
    assert_eq!(node["data"]["node"]["userName"], "ada", "{user}");

    let of = |name: &str| {
        let nodes = all["connections"]["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap()["id"].clone()
    };
    let first = ask(json!({ "of": of("Identity provider") })).await;
    assert_eq!(meant(&first), ["authenticate REFUSED", "create user CREATED"]);
    assert_eq!(first["requestLog"]["totalCount"], 2);
    let troubles = ask(json!({ "of": of("Second"), "bad": true })).await;
    assert_eq!(meant(&troubles), ["authenticate REFUSED", "create user REFUSED"]);
    world.end().await;
}
