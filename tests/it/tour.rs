//! Runs the tour of docs/getting-started.md as it is written: a tutorial that no longer works fails
//! this test.

use std::path::Path;
use std::process::Command;

use crate::database::Database;
use crate::process::Server;

/// The server's address in the tour.
const SHOWN_ADDRESS: &str = "http://127.0.0.1:8080";
/// The mark between the outputs of two steps.
const MARK: &str = "=== step";

/// A block of shell commands, and the output that the tour shows below it.
pub struct Step {
    pub shell: String,
    pub shown: String,
}

#[tokio::test]
async fn tour_prints_the_shown_output() {
    let steps = steps(include_str!("../../docs/getting-started.md"));
    assert!(steps.len() >= 9, "the tour has its steps");
    let database = Database::empty().await;
    // The tour's data folder is the folder of the test.
    std::os::unix::fs::symlink(".", database.folder().join("tour")).unwrap();
    let server = Server::start(&database).await;

    let script: String =
        steps.iter().map(|step| format!("{}\necho '{MARK}'\n", step.shell)).collect();
    let program = Path::new(env!("CARGO_BIN_EXE_rolecall")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-euc", &script])
        .current_dir(database.folder())
        .env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()))
        .env("NO_PROXY", "127.0.0.1")
        .env("ROLECALL_DATABASE_URL", &database.url)
        .env("ROLECALL_PUBLIC_URL", &server.address)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap().replace(&server.address, SHOWN_ADDRESS);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let mut printed = printed.split(MARK);
    for step in &steps {
        let found = printed.next().unwrap_or("nothing: the step did not run").trim();
        let Step { shell, shown } = step;
        assert!(
            shows(found, shown),
            "this step\n{shell}\nprinted\n{found}\nand not\n{shown}\n{complaints}"
        );
    }
    assert!(output.status.success(), "{complaints}");
    drop(server);
    database.drop().await;
}

#[test]
fn every_setting_is_documented() {
    let page = include_str!("../../docs/configuration.md");
    for command in ["serve", "bootstrap", "migrate", "simulate", "demo"] {
        let output = Command::new(env!("CARGO_BIN_EXE_rolecall"))
            .args([command, "--help"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("--help") && help.contains("ROLECALL_"), "{command}: {help}");
        let settings = help
            .split(|c: char| !c.is_ascii_uppercase() && c != '_')
            .filter(|word| word.starts_with("ROLECALL_"));
        let flags =
            help.split_whitespace().filter(|word| command == "serve" && word.starts_with("--"));
        for name in settings.chain(flags).filter(|name| *name != "--help") {
            assert!(
                page.contains(&format!("{name}`")),
                "docs/configuration.md says nothing of {name}"
            );
        }
    }
}

/// The blocks marked `sh tour`, each with the block marked `text shown` that follows it.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block = "";
    for line in page.lines() {
        if let Some(info) = line.strip_prefix("```") {
            block = info;
            if block == "sh tour" {
                steps.push(Step { shell: String::new(), shown: String::new() });
            }
            continue;
        }
        let Some(step) = steps.last_mut() else { continue };
        match block {
            "sh tour" => step.shell += &format!("{line}\n"),
            "text shown" => step.shown += &format!("{line}\n"),
            _ => {}
        }
    }
    steps
}

/// Whether `found` is the shown text, where `…` stands for any text.
pub fn shows(found: &str, shown: &str) -> bool {
    let mut parts = shown.trim().split('…');
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let place = if parts.peek().is_none() { rest.rfind(part) } else { rest.find(part) };
        let Some(place) = place else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn ellipsis_matches_any_text() {
    assert!(shows("a 12 b 3", "a … b …"));
    assert!(shows("acme: intact, 7 events", "acme: intact, … events…"));
    assert!(shows("same", "same\n"));
    assert!(!shows("a 12 b 3 c", "a … b"));
    assert!(!shows("more", ""));
    assert!(!shows("a b", "a … c"));
}
