//! The pages of docs/graphql for frontend engineers: their commands are run and print what is shown
//! below them, and the code that they show is that of files which tests/clients runs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::database::Database;
use crate::process::Server;
use crate::tour::{Step, shows, steps};
use crate::world::World;

fn read_file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Runs the commands of a page in one shell, each compared with what the page shows.
async fn run_page(world: &World, page: &str) {
    let steps = steps(&read_file(page));
    assert!(!steps.is_empty(), "{page} has no commands that are run");
    let folder = tempfile::tempdir().unwrap();
    for Step { shell, shown } in steps {
        let mut command = Command::new("bash");
        command.args(["-euc", &shell]).current_dir(folder.path()).env("NO_PROXY", "127.0.0.1");
        command.env("ROLECALL_URL", &world.address).env("ROLECALL_KEY", &world.acme.api_key);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            shows(printed.trim(), &shown),
            "{page}: this step\n{shell}\nprinted\n{printed}\nand not\n{shown}\n{complaints}"
        );
    }
}

#[tokio::test]
async fn first_query_prints_the_shown_output() {
    let world = World::new().await;
    run_page(&world, "docs/graphql/first-query.md").await;
    assert_eq!(world.count("role", []).await, 1, "the mistake made no second role");
    world.end().await;
}

#[tokio::test]
async fn paging_prints_the_shown_output() {
    let world = World::new().await;
    for name in ["Nurse", "Pharmacist", "Doctor"] {
        let make = "mutation($n: String!) { roleCreate(input: { name: $n }) { role { id } } }";
        world.graphql(make, json!({ "n": name })).await;
    }
    run_page(&world, "docs/graphql/paging.md").await;
    world.end().await;
}

#[tokio::test]
async fn repeated_mutation_prints_the_shown_output() {
    let world = World::new().await;
    run_page(&world, "docs/graphql/idempotency.md").await;
    assert_eq!(world.count("role", []).await, 1, "the repeat made no second role");
    world.end().await;
}

#[tokio::test]
async fn event_stream_prints_the_shown_output() {
    let world = World::new().await;
    world.sealed().await;
    run_page(&world, "docs/graphql/subscriptions.md").await;
    world.end().await;
}

/// The blocks of a page in this language.
fn blocks_of(page: &str, language: &str) -> Vec<String> {
    let text = read_file(page);
    let fence = format!("\n```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn origins_of_the_command_are_allowed() {
    let [command] = &blocks_of("docs/graphql/cors.md", "sh")[..] else { panic!("one command") };
    let words: Vec<&str> = command.split_whitespace().collect();
    let ["rolecall", "serve", "--allow-origin", origins] = words[..] else { panic!("{command}") };
    let database = Database::empty().await;
    let server = Server::begin_with(&database, &words[2..]);
    server.ready().await;
    let mut allowed = Vec::new();
    for origin in origins.split(',').chain(["https://elsewhere.example.com"]) {
        let preflight = reqwest::Client::new()
            .request(reqwest::Method::OPTIONS, format!("{}/graphql", server.address))
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let answer = preflight.send().await.unwrap();
        let named = answer.headers().get("access-control-allow-origin");
        allowed.push(named.map(|name| name.to_str().unwrap() == origin));
    }
    assert_eq!(allowed, [Some(true), Some(true), None]);
    drop(server);
    database.drop().await;
}

#[tokio::test]
async fn shown_errors_are_those_of_the_server() {
    let world = World::new().await;
    let shown: Vec<Value> = blocks_of("docs/graphql/errors.md", "json")
        .iter()
        .map(|block| serde_json::from_str(block).unwrap())
        .collect();
    let make = "mutation { roleCreate(input: { name: \"Nurse\" }) { role { id }
        userErrors { code reason path message nextStep } } }";
    world.graphql(make, json!({})).await;
    assert_eq!(world.graphql(make, json!({})).await["data"], shown[0]["data"]);
    let issue = "mutation { apiKeyIssue(input: { name: \"narrow\", permissions: [USER_READ] }) { secret } }";
    let issued = world.graphql(issue, json!({})).await;
    let key = issued["data"]["apiKeyIssue"]["secret"].as_str().unwrap();
    let query = "{ organization { groups(first: 1) { nodes { id } } } }";
    let answer = world.acme.graphql_as(key, &[], query, json!({})).await.body;
    let error = &answer["errors"][0];
    for field in ["message", "path"] {
        assert_eq!(error[field], shown[1][field], "{answer:#}");
    }
    for (name, value) in shown[1]["extensions"].as_object().unwrap() {
        assert_eq!(&error["extensions"][name], value, "{answer:#}");
    }
    assert_eq!(shown.len(), 2);
    world.end().await;
}

#[test]
fn shown_issuers_are_read() {
    let [issuers] = &blocks_of("docs/graphql/authentication.md", "json")[..] else { panic!() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("issuers.json");
    std::fs::write(&file, issuers).unwrap();
    let read =
        rolecall::auth::issuers::settings::read_issuers_file(&file, "https://rolecall.example.com");
    assert_eq!(read.unwrap().len(), 2);
}

#[test]
fn shown_code_is_what_tests_run() {
    let mut count = 0;
    for page in ["first-query", "codegen", "relay", "apollo"] {
        let page = format!("docs/graphql/{page}.md");
        let text = read_file(&page);
        for block in text.split("\n```").skip(1).step_by(2) {
            let (info, code) = block.split_once('\n').unwrap();
            let Some((_, file)) = info.split_once(' ').filter(|(_, it)| it.contains('/')) else {
                continue;
            };
            assert!(read_file(file).contains(code), "{page} shows what is not in {file}:\n{code}");
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} blocks of code were found");
}
