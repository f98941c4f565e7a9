//! In both dialects each fact that the demo prints must hold.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

fn demo(idp: &str) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    let output =
        command.args(["demo", "--exit", "--listen", "127.0.0.1:0", "--idp", idp]).output().unwrap();
    let story = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, story)
}

#[test]
fn every_fact_holds_with_entra() {
    let (output, story) = demo("entra");
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(story.contains("Microsoft Entra ID") && story.contains("facts held"), "{story}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!story.contains('\u{1b}'), "no colors and no cursor in a pipe: {story:?}");
    assert!(story.contains("   accounts 200/200\n"), "{story}");
    // The application of the wards has heard of each leaver, and has said so.
    for fact in
        ["leavers whose session ended: 8", "still signed in: 192", "8 received, 8 confirmed"]
    {
        assert!(story.contains(fact), "{fact}: {story}");
    }
    assert!(story.contains("said by the clinic's sign-in at sign-in\n"), "{story}");
    assert!(!story.contains("null"), "a field that the answer does not have: {story}");
    // README.md tells how many facts there are.
    let told = include_str!("../../README.md");
    let facts = story.lines().find(|line| line.starts_with("All ")).unwrap();
    let facts = facts.split(',').next().unwrap();
    assert!(told.contains(facts), "README.md has another number than: {facts}");
}

/// What the demo prints until it says how to go on. Then it is asked to stop.
fn demo_until_next_steps(settings: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    command.args(["demo", "--listen", "localhost:0"]).env_remove("CARGO");
    command.envs(settings.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut story = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        story += &format!("{}\n", line.unwrap());
        if story.contains("In a browser") {
            let stop = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            assert!(stop.unwrap().success());
        }
    }
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{story}\n{errors}");
    story
}

#[test]
fn next_steps_name_the_started_program() {
    let program = env!("CARGO_BIN_EXE_rolecall");
    let story = demo_until_next_steps(&[]);
    assert!(story.starts_with("Preparing a server"), "{story}");
    let next = story.split("in another terminal").last().unwrap();
    assert!(next.contains(&format!("\n{program} simulate --base-url")), "{next}");
    assert!(!next.contains("cargo"), "{next}");
    let story = demo_until_next_steps(&[("CARGO", "cargo")]);
    assert!(story.contains("\ncargo run -"), "{story}");
    assert!(!story.contains(program), "{story}");
}

#[test]
fn every_fact_holds_with_okta() {
    let (output, story) = demo("okta");
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(story.contains("Okta") && story.contains("facts held"), "{story}");
}
