//! The console's files, and the links that open it.

use std::io::Read;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use rolecall::auth::policy::Permission;
use rolecall::cli::console_link;
use rolecall::config::Config;
use serde_json::{Value, json};

use crate::database::Database;
use crate::process::{bootstrap, ok, rolecall};
use crate::world::{Answer, World};

const MANIFEST: &str = include_str!("../../assets/console/manifest.json");

/// The policy of all pages, word by word.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action \
                      'none'; frame-ancestors 'none'";

fn manifest_files() -> Vec<Value> {
    let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    manifest["files"].as_array().unwrap().clone()
}

async fn fetch(url: &str, method: Method, headers: &[(&'static str, &str)]) -> reqwest::Response {
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let mut request = client.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[track_caller]
fn assert_secure(headers: &HeaderMap, what: &str) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(headers.get(name), Some(&HeaderValue::from_static(value)), "{what}: {name}");
    }
    assert!(headers.contains_key("permissions-policy"), "{what}");
}

#[tokio::test]
async fn each_file_is_served_compressed() {
    let world = World::new().await;
    let files = manifest_files();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let path = file["path"].as_str().unwrap();
        if path.ends_with(".html") {
            continue;
        }
        let url = format!("{}/{path}", world.address);
        let plain = fetch(&url, Method::GET, &[]).await;
        assert_eq!(plain.status(), 200, "{path}");
        assert_secure(plain.headers(), path);
        assert_eq!(plain.headers()["content-type"], file["contentType"].as_str().unwrap());
        assert_eq!(plain.headers().get("content-encoding"), None, "{path}");
        assert_eq!(plain.headers()["vary"], "accept-encoding", "{path}");
        let caching = match path.starts_with("assets/") {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        assert_eq!(plain.headers()["cache-control"], caching, "{path}");
        let content = plain.bytes().await.unwrap();
        assert_eq!(content.len() as u64, file["size"].as_u64().unwrap(), "{path}");

        let gzip = fetch(&url, Method::GET, &[("accept-encoding", "gzip")]).await;
        assert_eq!(gzip.headers()["content-encoding"], "gzip", "{path}");
        let tag = gzip.headers()["etag"].clone();
        let mut unpacked = Vec::new();
        let packed = gzip.bytes().await.unwrap();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, content, "{path}");

        let brotli = fetch(&url, Method::GET, &[("accept-encoding", "gzip, br")]).await;
        assert_eq!(brotli.headers()["content-encoding"], "br", "{path}");
        assert_ne!(brotli.headers()["etag"], tag, "each coding has a tag of its own");

        let head = fetch(&url, Method::HEAD, &[("accept-encoding", "gzip")]).await;
        assert_eq!((head.status(), &head.headers()["etag"]), (StatusCode::OK, &tag), "{path}");
        assert_eq!(head.headers()["content-length"], packed.len().to_string(), "{path}");

        let known = [("accept-encoding", "gzip"), ("if-none-match", tag.to_str().unwrap())];
        let unchanged = fetch(&url, Method::GET, &known).await;
        assert_eq!(unchanged.status(), 304, "{path}");
        assert_eq!(unchanged.headers()["etag"], tag);
        assert_secure(unchanged.headers(), path);
        assert!(unchanged.bytes().await.unwrap().is_empty());
        let stale = [("accept-encoding", "gzip"), ("if-none-match", "\"other\"")];
        assert_eq!(fetch(&url, Method::GET, &stale).await.status(), 200, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn every_screen_address_gives_the_page() {
    let world = World::new().await;
    let index = fetch(&format!("{}/", world.address), Method::GET, &[]).await;
    let tag = index.headers()["etag"].clone();
    let index = index.text().await.unwrap();
    assert!(index.to_lowercase().contains("<!doctype html>"), "{index}");
    for path in ["/sign-in", "/o/acme", "/o/acme/people/x/history", "/o/nowhere/%2e%2e/x?a=b"] {
        let page = fetch(&format!("{}{path}", world.address), Method::GET, &[]).await;
        assert_eq!(page.status(), 200, "{path}");
        assert_secure(page.headers(), path);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(page.headers()["cache-control"], "no-cache", "{path}");
        assert_eq!(page.headers()["etag"], tag, "{path}");
        assert_eq!(page.text().await.unwrap(), index, "{path}");
        let head = fetch(&format!("{}{path}", world.address), Method::HEAD, &[]).await;
        assert_eq!(head.status(), 200, "{path}");
        let post = fetch(&format!("{}{path}", world.address), Method::POST, &[]).await;
        assert_eq!(post.status(), 405, "{path}");
    }
    let setup = fetch(&format!("{}/setup", world.address), Method::GET, &[]).await;
    assert_secure(setup.headers(), "/setup");
    assert_ne!(setup.text().await.unwrap(), index, "a page of its own");
    for path in ["/nowhere", "/assets/nowhere.js", "/o", "/setup/elsewhere", "/index.html"] {
        let absent = fetch(&format!("{}{path}", world.address), Method::GET, &[]).await;
        assert_eq!(absent.status(), 404, "{path}");
        assert_secure(absent.headers(), path);
        assert_eq!(absent.headers()["content-type"], "text/plain; charset=utf-8");
        assert!(absent.text().await.unwrap().contains("/graphql"), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn pages_work_below_a_path() {
    let prefixed = |config: &mut Config| config.public_url = "https://id.example/pp".into();
    let world = World::with(prefixed).await;
    // A proxy may strip the path or leave it.
    for path in ["/pp", "/pp/", "/pp/sign-in", "/pp/o/acme/keys", "/", "/o/acme", "/setup"] {
        let page = fetch(&format!("{}{path}", world.address), Method::GET, &[]).await;
        assert_eq!(page.status(), 200, "{path}");
        let page = page.text().await.unwrap();
        assert!(page.contains("=\"/pp/assets/"), "{path}: {page}");
        assert!(!page.contains("=\"./") && !page.contains("=\"/assets/"), "{path}: {page}");
    }
    for file in manifest_files() {
        let path = file["path"].as_str().unwrap();
        if path.starts_with("assets/") {
            let url = format!("{}/pp/{path}", world.address);
            assert_eq!(fetch(&url, Method::GET, &[]).await.status(), 200, "{path}");
        }
    }
    let absent = fetch(&format!("{}/pp/nowhere", world.address), Method::GET, &[]).await;
    assert_eq!(absent.status(), 404);
    world.end().await;
}

/// The code of a new link with these permissions.
async fn new_code(world: &World, permissions: &[Permission]) -> String {
    let permissions = permissions.iter().copied().collect();
    let url = console_link::make_link(&world.app, "acme", permissions).await.unwrap();
    let (page, code) = url.split_once("#link=").unwrap();
    assert_eq!(page, format!("{}/sign-in", world.app.config.public_url));
    code.to_owned()
}

async fn redeem(world: &World, code: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = reqwest::Client::new().post(format!("{}/console/redeem", world.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.json(&json!({ "code": code })).send().await.unwrap()).await
}

#[track_caller]
fn check_refusal(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{:#}", answer.body);
    assert_eq!(answer.body["code"], code);
    assert_eq!(answer.header("cache-control"), "no-store");
    for text in ["message", "nextStep"] {
        assert!(answer.body[text].as_str().unwrap().len() > 8, "{:#}", answer.body);
    }
}

#[tokio::test]
async fn link_opens_one_session() {
    let world = World::new().await;
    let code = new_code(&world, &[Permission::IamRead, Permission::TokenManage]).await;
    assert!(code.starts_with("rcl_"));
    // Programs that look at links send GET and HEAD; they spend nothing.
    for method in [Method::GET, Method::HEAD] {
        let url = format!("{}/console/redeem?code={code}", world.address);
        assert_eq!(fetch(&url, method, &[]).await.status(), 405);
    }
    let answer = redeem(&world, &code, &[("sec-fetch-site", "same-origin")]).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_secure(&answer.headers, "redeem");
    assert_eq!(answer.body["organization"], "acme");
    let token = answer.body["token"].as_str().unwrap().to_owned();
    let viewer = "{ viewer { kind name permissions credential { kind expiresAt } } }";
    let seen = world.acme.graphql_as(&token, &[], viewer, json!({})).await.is(200).body;
    let seen = &seen["data"]["viewer"];
    assert_eq!(seen["permissions"], json!(["IAM_READ", "TOKEN_MANAGE"]));
    assert_eq!(seen["credential"]["kind"], "CONSOLE_SESSION");
    let instant = |text: &Value| text.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
    let end = instant(&seen["credential"]["expiresAt"]).unwrap();
    assert_eq!(end, instant(&answer.body["expiresAt"]).unwrap());
    let hours = (end - world.app.clock.now()).num_minutes();
    assert!((7 * 60 + 58..=8 * 60).contains(&hours), "{hours} minutes");

    check_refusal(&redeem(&world, &code, &[]).await, 410, "LINK_ENDED");
    let actions =
        world.rows("SELECT action, actor_kind FROM event ORDER BY pos DESC LIMIT 3", []).await;
    let mut actions: Vec<_> = actions.iter().map(|row| row["action"].as_str().unwrap()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["api_key.issued", "console_link.created", "console_link.redeemed"]);
    for secret in [&code, &token] {
        let kept = world.rows("SELECT payload FROM event", []).await;
        assert!(kept.iter().all(|row| !row.to_string().contains(secret.as_str())));
    }
    let keys = "{ organization { apiKeys(first: 9) { nodes { name purpose live } } } }";
    let keys = world.graphql(keys, json!({})).await;
    let keys = keys["data"]["organization"]["apiKeys"]["nodes"].as_array().unwrap().clone();
    let session = keys.iter().find(|key| key["purpose"] == "CONSOLE_SESSION").unwrap();
    assert!(session["name"].as_str().unwrap().starts_with("Console session"), "{session}");

    let sign_out = "mutation { signOut(input: { reason: \"done\" }) { endedAt userErrors { \
                    message } } }";
    let ended = world.acme.graphql_as(&token, &[], sign_out, json!({})).await.is(200).body;
    assert!(ended["data"]["signOut"]["endedAt"].is_string(), "{ended:#}");
    world.acme.graphql_as(&token, &[], viewer, json!({})).await.is(401);
    assert_eq!(world.last_payload().await["after"]["reason"], "done");
    // An API key is not a session, and goes on.
    let kept = world.graphql(sign_out, json!({})).await;
    assert_eq!(kept["data"]["signOut"]["endedAt"], Value::Null, "{kept:#}");
    assert_eq!(kept["data"]["signOut"]["userErrors"].as_array().unwrap().len(), 1);
    let seen = world.graphql(viewer, json!({})).await;
    assert_eq!(seen["data"]["viewer"]["credential"]["kind"], "API_KEY", "{seen:#}");
    world.end().await;
}

#[tokio::test]
async fn one_of_racing_redemptions_wins() {
    let world = World::new().await;
    let code = new_code(&world, &[Permission::IamRead]).await;
    let racing = (0..8).map(|_| redeem(&world, &code, &[]));
    let answers = futures_util::future::join_all(racing).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        check_refusal(answer, 410, "LINK_ENDED");
    }
    assert_eq!(world.count("api_key WHERE purpose = 'CONSOLE_SESSION'", []).await, 1);
    assert_eq!(world.count("event WHERE action = 'console_link.redeemed'", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn wrong_redemptions_spend_nothing() {
    let world = World::new().await;
    let code = new_code(&world, &[Permission::IamRead]).await;
    let before = world.everything().await;
    let own = world.address.clone();
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", own.as_str()), ("sec-fetch-site", "same-site")],
    ] {
        check_refusal(&redeem(&world, &code, headers).await, 403, "FOREIGN_ORIGIN");
    }
    assert_eq!(world.everything().await, before);
    let url = format!("{}/console/redeem", world.address);
    let send = async |media: &'static str, body: String| {
        let request = reqwest::Client::new().post(&url).header("content-type", media).body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let form = send("application/x-www-form-urlencoded", format!("code={code}")).await;
    check_refusal(&form, 415, "MEDIA_TYPE");
    check_refusal(&send("application/json", "{".into()).await, 400, "BAD_REQUEST");
    check_refusal(&send("application/json", " ".repeat(5_000)).await, 413, "TOO_LARGE");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    check_refusal(&redeem(&world, "rcl_unknown", &[]).await, 404, "LINK_UNKNOWN");
    assert_eq!(world.everything().await, before);
    redeem(&world, &code, &[("origin", own.as_str())]).await.is(200);

    let late = new_code(&world, &[Permission::IamRead]).await;
    world.app.clock.advance(std::time::Duration::from_secs(15 * 60));
    check_refusal(&redeem(&world, &late, &[]).await, 410, "LINK_ENDED");
    let limited = futures_util::future::join_all((0..20).map(|_| redeem(&world, "rcl_x", &[])));
    let limited = limited.await;
    let limited = limited.iter().find(|answer| answer.status == 429).expect("a limit");
    check_refusal(limited, 429, "RATE_LIMITED");
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
    world.end().await;
}

#[tokio::test]
async fn command_prints_links_on_terminals_only() {
    let database = Database::empty().await;
    bootstrap(&database);
    let flags = ["console-link", "--organization", "acme", "--permission", "IAM_READ"];
    let piped = rolecall(&database, &flags).output().unwrap();
    assert_eq!((piped.status.code(), piped.stdout.is_empty()), (Some(1), true));
    let why = String::from_utf8(piped.stderr).unwrap();
    assert!(why.contains("on a terminal only"), "{why}");

    // `script` gives the command a terminal.
    let program = rolecall(&database, &[]);
    let mut command = std::process::Command::new("script");
    let line = format!("{} {}", env!("CARGO_BIN_EXE_rolecall"), flags.join(" "));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let shown = command.stdin(std::process::Stdio::null()).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("http://127.0.0.1:8080/sign-in#link=rcl_"), "{shown}");
    assert!(shown.contains("15 minutes"), "{shown}");
    let verdict = ok(&database, &["audit", "verify"]);
    assert!(!verdict.contains("rcl_"), "{verdict}");
    database.drop().await;
}
