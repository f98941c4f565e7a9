//! The demo is a promise: in both dialects every fact that it tells must hold.

use std::process::{Command, Output};

fn demo(idp: &str) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    let output = command.args(["demo", "--exit", "--listen", "127.0.0.1:0", "--idp", idp]).output().unwrap();
    let story = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, story)
}

#[test]
fn every_fact_holds_with_entra() {
    let (output, story) = demo("entra");
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(story.contains("Microsoft Entra ID") && story.contains("facts held"), "{story}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_fact_holds_with_okta() {
    let (output, story) = demo("okta");
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(story.contains("Okta") && story.contains("facts held"), "{story}");
}
