//! The pages of docs/graphql for frontend engineers: their commands are run and print what is shown
//! below them, and the code that they show is that of files which tests/clients runs.

use std::path::Path;
use std::process::Command;

use serde_json::json;

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
