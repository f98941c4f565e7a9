//! Imports run one way, as src/lib.rs draws it: which room may see which, and which words a room never says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may see, beside itself. A new room must find its place here.
const SEES: [(&str, &[&str]); 35] = [
    ("error", &[]),
    ("authz", &[]),
    ("config", &["authz"]),
    ("outbound", &[]),
    ("issuers", &["authz", "config", "error", "outbound"]),
    ("store", &[]),
    ("progress", &[]),
    ("http_listener", &[]),
    ("output", &[]),
    ("requests", &[]),
    ("reads", &["requests"]),
    ("repeats", &[]),
    ("vault", &["config", "error", "store"]),
    ("private_files", &["config"]),
    ("signature", &["vault"]),
    ("ledger", &["authz", "error", "signature", "store", "vault"]),
    (
        "context",
        &[
            "authz",
            "config",
            "error",
            "issuers",
            "ledger",
            "private_files",
            "reads",
            "repeats",
            "requests",
            "store",
            "vault",
        ],
    ),
    ("domain", &["authz", "context", "error", "ledger", "reads", "repeats", "requests", "vault"]),
    ("attest", &["context", "ledger", "signature"]),
    ("installation", &["config", "context", "private_files", "store"]),
    ("keys", &["config", "context", "installation", "output", "vault"]),
    ("peer", &["config", "context"]),
    ("audit", &["attest", "config", "domain", "installation", "ledger", "output"]),
    ("jwt", &["authz", "context", "error", "issuers", "vault"]),
    ("scim", &["context", "domain", "error", "reads", "repeats", "requests"]),
    ("graphql", &["attest", "authz", "context", "domain", "error", "http_listener", "jwt", "ledger", "pull"]),
    ("pull", &["context", "domain", "error", "outbound"]),
    ("workers", &["context", "domain", "error", "ledger", "pull", "scim", "vault"]),
    ("metrics", &["context", "domain", "http_listener"]),
    ("server", &["context", "graphql", "http_listener", "jwt", "metrics", "peer", "scim", "workers"]),
    ("bootstrap", &["authz", "context", "domain", "error"]),
    ("simulate", &["error"]),
    ("demo", &["attest", "bootstrap", "config", "context", "error", "ledger", "progress", "server", "simulate"]),
    (
        "cli",
        &[
            "audit",
            "authz",
            "bootstrap",
            "config",
            "demo",
            "domain",
            "graphql",
            "installation",
            "jwt",
            "keys",
            "ledger",
            "metrics",
            "output",
            "progress",
            "server",
            "simulate",
            "vault",
        ],
    ),
    ("main", &[]),
];

/// What a room must not know of, by the crate's name.
const NEVER: [(&str, &[&str]); 7] = [
    ("domain", &["axum", "async_graphql", "reqwest", "tower_http"]),
    ("context", &["axum", "async_graphql", "reqwest", "tower_http"]),
    ("ledger", &["axum", "async_graphql", "reqwest", "tower_http"]),
    ("authz", &["axum", "async_graphql", "reqwest", "sea_orm"]),
    ("error", &["axum", "async_graphql", "sea_orm"]),
    ("scim", &["async_graphql", "sea_orm"]),
    ("pull", &["axum", "async_graphql", "sea_orm"]),
];

/// The source files that ship; what only tests see may look wherever it likes.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The room that a file belongs to: the first name below src/.
fn room(file: &Path, src: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

/// The code of a file without its comments and without the tests at its end.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that code names after `root::`, in braces or not.
fn named<'a>(code: &'a str, root: &str) -> BTreeSet<&'a str> {
    let word = |text: &'a str| {
        let text = text.trim_start();
        text.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|word| !word.is_empty())
    };
    let mut rooms = BTreeSet::new();
    for rest in code.split(root).skip(1) {
        match rest.strip_prefix('{') {
            None => rooms.extend(word(rest)),
            Some(list) => {
                // Only the first level of the braces names rooms.
                let mut depth = 0;
                let mut start = true;
                for (at, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if start && !character.is_whitespace() => {
                            rooms.extend(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

#[test]
fn imports_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut met = BTreeSet::new();
    for file in sources(&src) {
        let (room, code) = (room(&file, &src), code(&file));
        if room == "lib" {
            continue;
        }
        let (_, sees) = SEES.iter().find(|(known, _)| *known == room).unwrap_or_else(|| panic!("no place for {room}"));
        for other in named(&code, "crate::").into_iter().filter(|other| *other != room) {
            // The command line starts everything, from outside the library.
            assert!(sees.contains(&other), "{}: {room} must not see {other}", file.display());
        }
        let (_, never) = NEVER.iter().find(|(known, _)| *known == room).unwrap_or(&("", &[]));
        for word in *never {
            assert!(!code.contains(word), "{}: {room} must not know {word}", file.display());
        }
        met.insert(room);
    }
    assert!(met.len() > 12 && met.contains("domain") && met.contains("graphql"), "{met:?}");
}

#[test]
fn the_two_doors_never_see_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (door, other) in [("scim", "graphql"), ("graphql", "scim")] {
        for file in sources(&src.join(door)) {
            let code = code(&file);
            for path in [format!("crate::{other}"), format!("super::super::{other}"), format!("rolecall::{other}")] {
                assert!(!code.contains(&path), "{} names {path}", file.display());
            }
        }
    }
}

#[test]
fn the_reader_of_imports_reads_them() {
    let code =
        "use crate::{context::{App, Cx}, domain,\n  error::Error};\nuse crate::ledger;\nlet x = crate::vault::y();";
    assert_eq!(named(code, "crate::"), ["context", "domain", "error", "ledger", "vault"].into());
}
