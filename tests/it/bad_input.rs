//! For any bad input the answer is a clear refusal in SCIM's form, nothing changes, and the server
//! keeps running.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::routes;
use crate::world::{Answer, Scim, World};

/// A world with a user and a group that bad input could change.
async fn furnished() -> (World, Uuid, Uuid) {
    let world = World::new().await;
    let user = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[user]).await;
    (world, user, group)
}

/// Every request that takes a body.
fn writes(user: Uuid, group: Uuid) -> Vec<(Method, String)> {
    vec![
        (Method::POST, "/Users".into()),
        (Method::POST, "/Groups".into()),
        (Method::POST, "/.search".into()),
        (Method::POST, "/Users/.search".into()),
        (Method::POST, "/Groups/.search".into()),
        (Method::PUT, format!("/Users/{user}")),
        (Method::PUT, format!("/Groups/{group}")),
        (Method::PATCH, format!("/Users/{user}")),
        (Method::PATCH, format!("/Groups/{group}")),
    ]
}

async fn raw(scim: &Scim, method: Method, path: &str, body: Vec<u8>) -> Answer {
    let request =
        scim.request(method, path).header("content-type", "application/scim+json").body(body);
    Answer::of(request.send().await.unwrap()).await
}

/// Sends bytes as they are and reads the head and body of the answer. No client library would send
/// them.
async fn wire(world: &World, head: &str) -> String {
    let mut stream =
        tokio::net::TcpStream::connect(world.address.trim_start_matches("http://")).await.unwrap();
    // The server may answer and close before everything is written.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn status_of(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn body_must_be_a_json_object() {
    let (world, user, group) = furnished().await;
    let before = world.everything().await;
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        format!("{{\"userName\":{open}1{close}}}").into_bytes()
    };
    let bodies: Vec<Vec<u8>> = vec![
        b"".into(),
        b"{".into(),
        b"hello".into(),
        b"[]".into(),
        b"null".into(),
        b"\"userName\"".into(),
        b"42".into(),
        b"{\"userName\": \"x\",}".into(),
        b"{'userName': 'x'}".into(),
        b"{\"userName\": \"x\"} {}".into(),
        b"{\"userName\": \"\xff\xfe\"}".into(),
        b"\xef\xbb\xbf\xef\xbb\xbf{\"userName\": \"x\"}".into(),
        b"\xff\xfe{\0}\0".into(),
        b"{\"userName\": \"\\ud800\"}".into(),
        b"{\"userName\": 1e999}".into(),
        b"{\"userName\": NaN}".into(),
        b"<user/>".into(),
        b"\0".into(),
        nested("[", "]"),
        nested("{\"a\":", "}"),
        b"[".repeat(100_000),
    ];
    for (method, path) in writes(user, group) {
        for body in &bodies {
            raw(world.scim(), method.clone(), &path, body.clone())
                .await
                .refused(400, Some("invalidSyntax"));
        }
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn values_of_wrong_type_are_refused() {
    let (world, user, group) = furnished().await;
    let before = world.everything().await;
    let wrong_for = |kind: &str| match kind {
        "boolean" => vec![json!("perhaps"), json!(1), json!({}), json!([true, true])],
        "complex" => vec![json!(1), json!(true), json!([[["x"]]])],
        _ => vec![json!(1), json!(true), json!({ "a": 1 }), json!([1])],
    };
    let mut tried = 0;
    for (resource, existing) in
        [("User", format!("/Users/{user}")), ("Group", format!("/Groups/{group}"))]
    {
        let urn = format!("urn:ietf:params:scim:schemas:core:2.0:{resource}");
        let schema = world.scim().get(&format!("/Schemas/{urn}")).await.is(200).body;
        for attribute in schema["attributes"].as_array().unwrap() {
            let name = attribute["name"].as_str().unwrap();
            if attribute["mutability"] == "readOnly" || attribute["mutability"] == "writeOnly" {
                continue;
            }
            let mut wrong = wrong_for(attribute["type"].as_str().unwrap());
            for sub in attribute["subAttributes"].as_array().into_iter().flatten() {
                // Of a member only `value` is read. The server computes the rest.
                if name == "members" && sub["name"] != "value" {
                    continue;
                }
                for value in wrong_for(sub["type"].as_str().unwrap()) {
                    let object = json!({ sub["name"].as_str().unwrap(): value });
                    wrong.push(if attribute["multiValued"] == true {
                        json!([object])
                    } else {
                        object
                    });
                }
            }
            for value in wrong {
                let mut body = json!({ "userName": "new", "displayName": "new" });
                body[name] = value.clone();
                world
                    .scim()
                    .post(&format!("/{resource}s"), body.clone())
                    .await
                    .refused(400, Some("invalidValue"));
                world.scim().put(&existing, body).await.refused(400, Some("invalidValue"));
                let operation = json!([{ "op": "replace", "path": name, "value": value }]);
                world.scim().patch(&existing, operation).await.refused(400, Some("invalidValue"));
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
    let long = "x".repeat(513);
    for body in [
        json!({}),
        json!({ "userName": null }),
        json!({ "userName": " " }),
        json!({ "userName": long }),
    ] {
        world.scim().post("/Users", body).await.refused(400, Some("invalidValue"));
    }
    world
        .scim()
        .post("/Groups", json!({ "externalId": "g" }))
        .await
        .refused(400, Some("invalidValue"));
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn malformed_patches_are_refused() {
    let (world, user, group) = furnished().await;
    let before = world.everything().await;
    let op = |op: Value| json!({ "Operations": [op] });
    let many: Vec<_> =
        (0..1_001).map(|_| json!({ "op": "add", "path": "title", "value": "x" })).collect();
    let deep_path = format!("emails{}", "[".repeat(4_000));
    let cases = [
        (json!({}), "invalidSyntax"),
        (json!({ "Operations": null }), "invalidSyntax"),
        (json!({ "Operations": {} }), "invalidSyntax"),
        (json!({ "Operations": [7] }), "invalidSyntax"),
        (json!({ "Operations": many }), "tooMany"),
        (op(json!({ "path": "title", "value": "x" })), "invalidSyntax"),
        (op(json!({ "op": "move", "path": "title", "value": "x" })), "invalidSyntax"),
        (op(json!({ "op": ["add"], "path": "title", "value": "x" })), "invalidSyntax"),
        (op(json!({ "op": "add", "path": 7, "value": "x" })), "invalidPath"),
        (op(json!({ "op": "add", "path": "noSuchThing", "value": "x" })), "invalidPath"),
        (op(json!({ "op": "add", "path": "__proto__.x", "value": "x" })), "invalidPath"),
        (op(json!({ "op": "add", "path": "emails[", "value": "x" })), "invalidPath"),
        (op(json!({ "op": "add", "path": deep_path, "value": "x" })), "invalidPath"),
        (op(json!({ "op": "add", "path": "x".repeat(5_000), "value": "x" })), "invalidPath"),
        (op(json!({ "op": "add", "path": "displayName" })), "invalidValue"),
        (op(json!({ "op": "add", "value": "x" })), "invalidValue"),
        (op(json!({ "op": "remove" })), "noTarget"),
        (op(json!({ "op": "replace", "path": "id", "value": "x" })), "mutability"),
        (
            op(json!({ "op": "replace", "path": "meta.created", "value": "2020-01-01T00:00:00Z" })),
            "mutability",
        ),
    ];
    for (body, scim_type) in cases {
        for path in [format!("/Users/{user}"), format!("/Groups/{group}")] {
            if path.starts_with("/Groups")
                && body.to_string().contains("title")
                && scim_type == "invalidSyntax"
            {
                continue;
            }
            let answer = world.scim().send(Method::PATCH, &path, Some(body.clone()), &[]).await;
            answer.refused(400, Some(scim_type));
        }
    }
    for (path, scim_type) in
        [("userName", "mutability"), ("groups", "mutability"), ("password.x", "invalidPath")]
    {
        let operations = json!([{ "op": "remove", "path": path }]);
        world
            .scim()
            .patch(&format!("/Users/{user}"), operations)
            .await
            .refused(400, Some(scim_type));
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}

/// The document with a NUL byte in each of its strings in turn.
fn with_nul(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => {
            vec![json!(format!("{text}\0")), json!(format!("\0{text}")), json!("\0")]
        }
        Value::Array(elements) => {
            let each = elements.iter().enumerate().flat_map(|(at, element)| {
                with_nul(element).into_iter().map(move |changed| {
                    let mut elements = elements.clone();
                    elements[at] = changed;
                    elements.into()
                })
            });
            each.collect()
        }
        Value::Object(fields) => {
            let each = fields.iter().flat_map(|(name, value)| {
                with_nul(value).into_iter().map(move |changed| {
                    let mut fields = fields.clone();
                    fields[name] = changed;
                    fields.into()
                })
            });
            each.collect()
        }
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn nul_characters_are_refused_everywhere() {
    let (world, user, group) = furnished().await;
    let before = world.everything().await;
    let rich = json!({
        "userName": "new", "externalId": "n", "displayName": "New", "nickName": "N", "title": "T", "locale": "en",
        "profileUrl": "https://x.org", "userType": "U", "preferredLanguage": "en", "timezone": "UTC", "active": "true",
        "name": { "formatted": "F", "familyName": "F", "givenName": "G" },
        "emails": [{ "value": "a@x.org", "type": "work", "display": "d" }],
        "phoneNumbers": [{ "value": "1", "type": "work" }],
        "addresses": [{ "streetAddress": "s", "type": "home" }],
        "entitlements": [{ "value": "e" }], "roles": [{ "value": "r" }],
        "x509Certificates": [{ "value": "AAAA" }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "employeeNumber": "1", "department": "d", "manager": { "value": "m" },
        },
    });
    let documents = with_nul(&rich);
    assert_eq!(documents.len(), 3 * 27);
    for body in documents {
        world.scim().post("/Users", body.clone()).await.refused(400, Some("invalidValue"));
        world.scim().put(&format!("/Users/{user}"), body).await.refused(400, Some("invalidValue"));
    }
    for body in
        with_nul(&json!({ "displayName": "x", "externalId": "g", "members": [{ "value": user }] }))
    {
        world.scim().post("/Groups", body.clone()).await.refused(400, Some("invalidValue"));
        world
            .scim()
            .put(&format!("/Groups/{group}"), body)
            .await
            .refused(400, Some("invalidValue"));
    }
    let operations = [
        json!({ "op": "replace", "path": "title", "value": "T" }),
        json!({ "op": "replace", "path": "emails[type eq \"work\"].value", "value": "T" }),
        json!({ "op": "add", "path": "emails", "value": [{ "value": "x" }] }),
        json!({ "op": "add", "value": { "title": "T" } }),
    ];
    for operation in operations.iter().flat_map(with_nul) {
        let answer =
            world.scim().patch(&format!("/Users/{user}"), json!([operation])).await.is(400);
        assert!(answer.body["scimType"].is_string(), "{}", answer.body);
    }
    for parameter in ["filter", "sortBy", "sortOrder", "startIndex", "count"] {
        for path in ["/Users", "/Groups"] {
            world.scim().get(&format!("{path}?{parameter}=userName%00")).await.is(400);
        }
    }
    let filters = ["userName eq \"a\0\"", "userName\0 eq \"a\"", "title co \"\0\"", "\0"];
    for filter in filters {
        let search = json!({ "filter": filter });
        world.scim().post("/Users/.search", search).await.refused(400, Some("invalidFilter"));
    }
    world.scim().get("/Users/%00").await.refused(404, None);
    world.scim().get(&format!("/Users/{user}%00")).await.refused(404, None);
    Scim { base: world.scim().base.replace("acme", "ac%00me"), ..world.scim().clone() }
        .get("/Users")
        .await
        .refused(404, None);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn too_large_requests_are_refused() {
    let (world, user, group) = furnished().await;
    let before = world.everything().await;
    let ten_megabytes =
        format!("{{\"userName\":\"{}\"}}", "x".repeat(10 * 1024 * 1024)).into_bytes();
    // A request that replaces a whole group may be larger.
    let whole_group = |path: &str| path.starts_with("/Groups") && !path.ends_with("/.search");
    for (method, path) in writes(user, group).into_iter().filter(|(_, path)| !whole_group(path)) {
        raw(world.scim(), method, &path, ten_megabytes.clone()).await.refused(413, None);
    }
    // A body without a Content-Length is counted while it arrives.
    let piece = format!("{:x}\r\n{}\r\n", 64 * 1024, "x".repeat(64 * 1024));
    let chunked = format!(
        "POST /scim/v2/acme/Users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \
         {}\r\ntransfer-encoding: chunked\r\n\r\n{}",
        world.scim().token,
        piece.repeat(32)
    );
    assert_eq!(status_of(&wire(&world, &chunked).await), 413);
    let search = |filter: String| {
        let scim = world.scim().clone();
        async move { scim.post("/Users/.search", json!({ "filter": filter })).await }
    };
    search(format!("userName eq \"{}\"", "x".repeat(1_000_000)))
        .await
        .refused(400, Some("invalidFilter"));
    search(format!("{}userName pr{}", "(".repeat(17), ")".repeat(17)))
        .await
        .refused(400, Some("invalidFilter"));
    search("not (".repeat(800)).await.refused(400, Some("invalidFilter"));
    search(["userName pr"; 65].join(" or ")).await.refused(400, Some("invalidFilter"));
    let long = format!("/Users?filter=userName%20eq%20%22{}%22", "x".repeat(5_000));
    world.scim().get(&long).await.refused(400, Some("invalidFilter"));
    // A request line of a megabyte is refused by the HTTP parser.
    let line = format!(
        "GET /scim/v2/acme/Users?filter={} HTTP/1.1\r\nhost: x\r\n\r\n",
        "x".repeat(1_000_000)
    );
    assert!([400, 414, 431].contains(&status_of(&wire(&world, &line).await)));
    let members: Vec<_> = (0..25_000).map(|_| json!({ "value": Uuid::now_v7() })).collect();
    let strangers = json!({ "displayName": "x", "members": members });
    world.scim().post("/Groups", strangers).await.refused(400, Some("invalidValue"));
    world
        .scim()
        .post("/Users", json!({ "userName": "x", "nickName": "x".repeat(1_100_000) }))
        .await
        .is(413);
    let emails: Vec<_> = (0..1_001).map(|n| json!({ "value": format!("{n}@x.org") })).collect();
    world
        .scim()
        .post("/Users", json!({ "userName": "x", "emails": emails }))
        .await
        .refused(400, Some("tooMany"));
    assert_eq!(world.everything().await, before);
    world.scim().get("/Users").await.is(200);
    world.end().await;
}

#[tokio::test]
async fn invalid_numbers_are_refused() {
    let (world, ..) = furnished().await;
    let wrong =
        ["1.5", "1e3", "abc", "99999999999999999999999", "-99999999999999999999999", "0x10", "١"];
    for parameter in ["startIndex", "count"] {
        for value in wrong {
            let answer = world.scim().get(&format!("/Users?{parameter}={value}")).await.is(400);
            assert!(
                ["invalidValue", "invalidCount"]
                    .contains(&answer.body["scimType"].as_str().unwrap())
            );
            let body: Value =
                serde_json::from_str(&format!("{{\"{parameter}\":\"{value}\"}}")).unwrap();
            world.scim().post("/Users/.search", body).await.is(400);
        }
        for value in ["9223372036854775807", "-9223372036854775808", "4294967296"] {
            world.scim().get(&format!("/Users?{parameter}={value}")).await.is(200);
        }
        world
            .scim()
            .get(&format!("/Users?{parameter}=1&{parameter}=2"))
            .await
            .refused(400, Some("invalidValue"));
    }
    for filter in [
        "active eq 1e999",
        "meta.created gt 7",
        "userName eq 18446744073709551616",
        "active gt true",
    ] {
        world
            .scim()
            .post("/Users/.search", json!({ "filter": filter }))
            .await
            .refused(400, Some("invalidFilter"));
    }
    world.end().await;
}

#[tokio::test]
async fn wrong_methods_and_types_are_refused() {
    let (world, user, group) = furnished().await;
    let before = world.everything().await;
    let id = user.to_string();
    for path in routes::concrete(&id) {
        for method in ["TRACE", "PROPFIND", "PURGE"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = world.scim().send(method, &path, None, &[]).await;
            assert!(
                [405, 501].contains(&answer.status.as_u16()),
                "{path}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    for (method, path) in [
        (Method::DELETE, "/Users"),
        (Method::PUT, "/Groups"),
        (Method::POST, "/Schemas"),
        (Method::GET, "/Bulk"),
    ] {
        world.scim().send(method, path, None, &[]).await.refused(405, None);
    }
    for (method, path) in writes(user, group) {
        for media in [
            "text/plain",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "é",
        ] {
            let request = world
                .scim()
                .request(method.clone(), &path)
                .header("content-type", media)
                .body("{}");
            Answer::of(request.send().await.unwrap()).await.refused(415, None);
        }
        let packed = world.scim().request(method, &path).header("content-encoding", "gzip");
        let packed = packed.header("content-type", "application/json").body("\u{1f}");
        Answer::of(packed.send().await.unwrap()).await.refused(415, None);
    }
    world
        .scim()
        .send(Method::GET, "/Users", None, &[("accept", "text/html")])
        .await
        .refused(406, None);
    let twice = [("accept", "text/html"), ("accept", "application/json")];
    world.scim().send(Method::GET, "/Users", None, &twice).await.is(200);
    // The answer has SCIM's own type wherever the client reads it. Some clients read
    // application/json only.
    for (readable, named) in [
        ("application/scim+json; charset=utf-8", "application/scim+json"),
        ("text/html, */*;q=0.1", "application/scim+json"),
        ("application/json, application/*", "application/scim+json"),
        ("application/json;q=0.9, application/scim+json", "application/scim+json"),
        ("application/json", "application/json"),
        ("text/html, Application/JSON; charset=utf-8", "application/json"),
        ("application/scim+json;q=0, application/json;q=0.5", "application/json"),
        ("", "application/scim+json"),
    ] {
        for (path, status) in [("/Users", 200), ("/Users/missing", 404), ("/Nothing", 404)] {
            let answer = world
                .scim()
                .send(Method::GET, path, None, &[("accept", readable)])
                .await
                .is(status);
            assert_eq!(answer.header("content-type"), named, "{readable} {path}");
        }
    }
    let stranger = world.scim().with_token("rcs_unknown");
    let answer =
        stranger.send(Method::GET, "/Users", None, &[("accept", "application/json")]).await.is(401);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn extra_slashes_are_ignored() {
    let (world, user, group) = furnished().await;
    let scim = world.scim();
    let pasted = Scim { base: format!("{}/", scim.base), ..scim.clone() };
    for (path, plain) in [
        ("/Users", "/Users".to_owned()),
        ("/Users/", "/Users".into()),
        (
            "/Users//?count=1&filter=userName%20eq%20%22a%2F%2Fb%22",
            "/Users?count=1&filter=userName%20eq%20%22a%2F%2Fb%22".into(),
        ),
        (&format!("/Users/{user}"), format!("/Users/{user}")),
        (&format!("/Groups//{group}/"), format!("/Groups/{group}")),
        ("/Schemas/", "/Schemas".into()),
        ("", "".into()),
    ] {
        let wanted = scim.get(&plain).await.is(200);
        assert_eq!(pasted.get(path).await.is(200).body, wanted.body, "{path}");
    }
    let doubled = Scim { base: scim.base.replace("/scim/v2/", "//scim/v2//"), ..scim.clone() };
    doubled.get(&format!("/Users/{user}")).await.is(200);
    doubled.with_token("rcs_unknown").get("/Users").await.refused(401, None);

    // Extra slashes are ignored in writes, too. A missing id is not guessed.
    let made = pasted.post("/Users/", json!({ "userName": "slashed" })).await.is(201);
    assert_eq!(
        made.header("location"),
        format!("https://scim.example/scim/v2/acme/Users/{}", made.id())
    );
    pasted
        .patch(
            &format!("/Users/{}/", made.id()),
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
        .await
        .is(200);
    assert_eq!(world.events_of(made.id()).await, ["user.created", "user.suspended"]);
    pasted.delete("/Users/").await.refused(405, None);
    pasted.delete(&format!("/Users/{}/", made.id())).await.is(204);
    pasted.get(&format!("/Users/{}", made.id())).await.refused(404, None);
    world.end().await;
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let (world, user, _) = furnished().await;
    let before = world.everything().await;
    for path in
        ["/users", "/Nothing", "/Users/a/b", "/Users/undefined", "/Schemas/x", "/ResourceTypes/x"]
    {
        world.scim().get(path).await.refused(404, None);
    }
    for slug in [
        "missing",
        "ACME",
        "acme%20",
        "a".repeat(10_000).as_str(),
        "%ff",
        "é",
        "'; DROP TABLE organization; --",
    ] {
        let elsewhere =
            Scim { base: format!("{}/scim/v2/{slug}", world.address), ..world.scim().clone() };
        elsewhere.get("/Users").await.refused(404, None);
        elsewhere.with_token("rcs_wrong").get("/Users").await.refused(401, None);
    }
    // An encoded separator separates nothing, and dots do not lead to another organization.
    let globex = world.second_organization().await;
    let theirs = globex.scim.user("theirs").await;
    for target in [
        format!("/scim/v2/acme%2FUsers%2F{user}"),
        format!("/scim/v2/acme/Users%2F{user}"),
        format!("/scim/v2/acme/Users/..%2FUsers%2F{user}"),
        format!("/scim/v2/acme/Users/%2e%2e/Users/{user}"),
        format!("/scim/v2/acme/../globex/Users/{theirs}"),
        format!("/scim/v2/acme%2F..%2Fglobex/Users/{theirs}"),
        format!("/scim/v2/acme/Users/{user}%2F"),
        format!("/scim/v2/acme/Users\\{user}"),
        format!("/scim/v2/globex/../acme/Users/{user}"),
    ] {
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: \
             close\r\n\r\n",
            world.scim().token
        );
        let answer = wire(&world, &head).await;
        assert!([400, 404].contains(&status_of(&answer)), "{target}: {answer}");
        assert!(!answer.contains("\"userName\""), "{target}: {answer}");
    }
    assert_eq!(world.everything().await["user"], before["user"].as_i64().unwrap() + 1);
    world.end().await;
}

#[tokio::test]
async fn malformed_credentials_are_refused() {
    let (world, ..) = furnished().await;
    let before = world.everything().await;
    let token = world.scim().token.clone();
    let (head, last) = token.split_at(token.len() - 1);
    let last = if last == "a" { "b" } else { "a" };
    let wrong = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        token.clone(),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer{token}"),
        format!("Bearer {head}"),
        format!("Bearer {head}{last}"),
        format!("Bearer {token}x"),
        format!("Bearer {token} {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {}", token.to_lowercase()),
        format!("Bearer {}", &token[4..]),
        "Bearer rcs_".into(),
        "Bearer ' OR 1=1 --".into(),
        format!("Bearer {}", "x".repeat(8_000)),
    ];
    for value in &wrong {
        let request = world.scim().http.get(format!("{}/Users", world.scim().base));
        let answer = Answer::of(request.header("authorization", value).send().await.unwrap()).await;
        let answer = answer.refused(401, None);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{value}");
        assert!(!answer.body.to_string().contains(&token[4..20]), "a refusal repeats no secret");
    }
    // A token in the URL, where proxies and logs would keep it.
    let request =
        world.scim().http.get(format!("{}/Users?access_token={token}", world.scim().base));
    Answer::of(request.send().await.unwrap()).await.refused(401, None);
    for scheme in ["bearer", "BEARER"] {
        let request = world.scim().http.get(format!("{}/Users", world.scim().base));
        Answer::of(
            request.header("authorization", format!("{scheme} {token}")).send().await.unwrap(),
        )
        .await
        .is(200);
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn unreadable_precondition_fails() {
    let (world, user, _) = furnished().await;
    for tag in ["", "W/", "1", "W/\"2\"", "\u{fc}", "W/\"1", "x".repeat(5_000).as_str()] {
        let request =
            world.scim().request(Method::DELETE, &format!("/Users/{user}")).header("if-match", tag);
        Answer::of(request.send().await.unwrap()).await.refused(412, None);
    }
    world.end().await;
}
