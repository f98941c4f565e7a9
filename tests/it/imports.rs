//! Imports run one way, as src/lib.rs draws it: which module may use which, and which crates a
//! module never names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and the other modules that it may use. A new module must be added here.
/// `identity` is a crate of its own, and so is `simulator`, which only `cli` uses.
const USES: [(&str, &[&str]); 26] = [
    ("error", &[]),
    ("trace_context", &[]),
    ("http_client", &["trace_context"]),
    ("http_listener", &[]),
    ("mail_client", &["config"]),
    ("dns_client", &[]),
    ("message_parts", &[]),
    ("buffers", &["error"]),
    ("db", &["trace_context"]),
    ("auth", &["error", "http_client"]),
    ("config", &["auth"]),
    ("crypto", &["config", "db", "error"]),
    ("ledger", &["auth", "crypto", "db"]),
    ("context", &["auth", "buffers", "config", "crypto", "db", "error", "ledger", "trace_context"]),
    ("domain", &["auth", "buffers", "context", "crypto", "error", "identity", "ledger"]),
    ("request_head", &["context", "domain", "error"]),
    ("scim_client", &["context", "domain", "error", "http_client", "trace_context"]),
    ("event_delivery", &["context", "crypto", "domain", "error", "http_client", "ledger"]),
    (
        "sign_in",
        &["auth", "buffers", "context", "crypto", "domain", "error", "http_client", "request_head"],
    ),
    ("scim", &["buffers", "context", "domain", "error", "identity", "request_head"]),
    ("authzen", &["context", "domain", "error", "request_head"]),
    ("ssf", &["context", "domain", "error", "request_head"]),
    ("console", &["context", "domain", "error", "message_parts", "request_head"]),
    (
        "graphql",
        &[
            "auth",
            "context",
            "dns_client",
            "domain",
            "error",
            "http_listener",
            "identity",
            "ledger",
            "message_parts",
            "request_head",
            "scim_client",
            "sign_in",
            "trace_context",
        ],
    ),
    (
        "jobs",
        &[
            "context",
            "crypto",
            "dns_client",
            "domain",
            "error",
            "ledger",
            "mail_client",
            "scim",
            "scim_client",
            "sign_in",
            "event_delivery",
            "trace_context",
        ],
    ),
    (
        "server",
        &[
            "authzen",
            "config",
            "console",
            "context",
            "domain",
            "graphql",
            "http_listener",
            "jobs",
            "scim",
            "sign_in",
            "ssf",
            "trace_context",
        ],
    ),
];

/// Modules that may use every other module: the programs.
const PROGRAMS: [&str; 3] = ["cli", "lib", "main"];

/// Crates that a module must not use.
const NEVER: [(&str, &[&str]); 12] = [
    ("domain", &["axum", "async_graphql", "reqwest", "tower_http"]),
    ("context", &["axum", "async_graphql", "reqwest", "tower_http"]),
    ("ledger", &["axum", "async_graphql", "reqwest", "tower_http"]),
    ("auth", &["axum", "async_graphql", "sea_orm"]),
    ("error", &["axum", "async_graphql", "sea_orm"]),
    ("scim", &["async_graphql", "sea_orm"]),
    ("authzen", &["async_graphql", "sea_orm"]),
    ("ssf", &["async_graphql", "sea_orm"]),
    ("console", &["async_graphql", "sea_orm"]),
    ("scim_client", &["axum", "async_graphql", "sea_orm"]),
    ("sign_in", &["async_graphql", "sea_orm"]),
    ("event_delivery", &["axum", "async_graphql", "sea_orm"]),
];

/// The longest ring of files that import each other, unless it is known below.
const LONGEST_RING: usize = 3;

/// The known longer rings: the module in which the files lie, and their number. The numbers may
/// become smaller.
const KNOWN_RINGS: [(&str, usize); 5] = [
    // The types of the schema refer to each other, as the objects do: a group has users, a user has
    // groups.
    ("graphql", 6),
    ("graphql", 7),
    ("graphql", 10),
    ("scim", 11),
    ("domain", 7),
];

/// The interfaces, which never use each other.
const INTERFACES: [&str; 5] = ["scim", "graphql", "authzen", "ssf", "console"];

/// Parts of the domain, and those that they must not use because these use them.
const HIGHER_PARTS: [(&str, &[&str]); 2] =
    [("comparison", &["reconcile", "sync"]), ("sync", &["reconcile"])];

/// A path of modules below the crate's root.
type Module = Vec<String>;

/// The source files that ship, by their modules. Tests may import from everywhere.
fn modules(folder: &Path, parent: &[String], found: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name.ends_with("tests") {
            continue;
        }
        let mut module = parent.to_vec();
        if name != "mod" {
            module.push(name);
        }
        if path.is_dir() {
            modules(&path, &module, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(module, path);
        }
    }
}

pub fn all_modules() -> BTreeMap<Module, PathBuf> {
    let mut found = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut found);
    assert!(found.len() > 150, "{} modules", found.len());
    found
}

/// The code of a file without its comments and without the tests at its end.
pub fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shipped
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths of a tree of imports: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Module>) {
    let (before, braces) = match tree.split_once('{') {
        Some((before, rest)) => (before, Some(rest.trim_end().trim_end_matches('}'))),
        None => (tree, None),
    };
    let before = before.split(" as ").next().unwrap_or_default();
    let names =
        before.split("::").map(str::trim).filter(|name| !name.is_empty() && *name != "self");
    let path: Module = prefix.iter().cloned().chain(names.map(str::to_owned)).collect();
    let Some(list) = braces else { return paths.push(path) };
    let (mut depth, mut start) = (0, 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&list[start..at], &path, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !list[start..].trim().is_empty() {
        expand(&list[start..], &path, paths);
    }
}

/// The paths that code of a module names, from the crate's root.
fn named(code: &str, module: &[String]) -> BTreeSet<Module> {
    let mut paths = Vec::new();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|character: char| is_word(character) || character == ':') {
                continue;
            }
            let rest = &code[at..];
            let line = code[..at].rsplit('\n').next().unwrap_or_default().trim_start();
            let is_import = line.ends_with("use ");
            let end = if is_import {
                rest.find(';')
            } else {
                rest.find(|c: char| !is_word(c) && c != ':')
            };
            expand(&rest[..end.unwrap_or(rest.len())], &[], &mut paths);
        }
    }
    let absolute = |path: Module| {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let base = if path[0] == "crate" { &[][..] } else { &module[..module.len() - ups] };
        base.iter().chain(&path[ups.max(1)..]).cloned().collect()
    };
    paths.into_iter().map(absolute).collect()
}

/// The modules that each module imports.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let modules = all_modules();
    let find = |mut path: Module| {
        while !path.is_empty() && !modules.contains_key(&path) {
            path.pop();
        }
        path
    };
    let of = |module: &Module, file: &Path| {
        let found = named(&code(file), module).into_iter().map(find);
        found.filter(|other| !other.is_empty() && other != module).collect()
    };
    modules.iter().map(|(module, file)| (module.clone(), of(module, file))).collect()
}

/// The modules that `start` imports, directly or through others.
fn reachable<'a>(
    start: &'a Module,
    imports: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(module) = open.pop() {
        open.extend(imports.get(module).into_iter().flatten().filter(|other| found.insert(*other)));
    }
    found
}

#[test]
fn imports_run_one_way() {
    let mut met = BTreeSet::new();
    for (module, used) in imports() {
        let top = module[0].as_str();
        if PROGRAMS.contains(&top) {
            continue;
        }
        let (_, uses) = USES
            .iter()
            .find(|(known, _)| *known == top)
            .unwrap_or_else(|| panic!("no place for {top}"));
        for other in used.iter().filter(|other| other[0] != top) {
            assert!(
                uses.contains(&other[0].as_str()),
                "{} must not use {}",
                module.join("::"),
                other.join("::")
            );
        }
        met.insert(top.to_owned());
    }
    assert_eq!(met.len(), USES.len(), "{met:?}");
}

#[test]
fn no_long_ring_of_imports() {
    let imports = imports();
    let reached: BTreeMap<_, _> =
        imports.keys().map(|module| (module, reachable(module, &imports))).collect();
    let mut rings: BTreeSet<Vec<&Module>> = BTreeSet::new();
    for (module, found) in &reached {
        if found.contains(module) {
            rings.insert(
                found.iter().filter(|other| reached[**other].contains(module)).copied().collect(),
            );
        }
    }
    let mut known = KNOWN_RINGS.to_vec();
    for ring in rings.iter().filter(|ring| ring.len() > LONGEST_RING) {
        let names: Vec<String> = ring.iter().map(|module| module.join("::")).collect();
        let place = known
            .iter()
            .position(|(top, most)| ring.iter().all(|it| it[0] == *top) && ring.len() <= *most);
        let place =
            place.unwrap_or_else(|| panic!("{} files import each other: {names:?}", ring.len()));
        known.remove(place);
    }
}

#[test]
fn domain_parts_use_no_higher_part() {
    let imports = imports();
    for (part, higher) in HIGHER_PARTS {
        let of_part =
            |module: &Module| module[0] == "domain" && module.get(1).is_some_and(|it| it == part);
        let inside: Vec<_> = imports.iter().filter(|(module, _)| of_part(module)).collect();
        assert!(!inside.is_empty(), "no module of domain::{part}");
        for (module, used) in inside {
            let wrong = used.iter().find(|it| {
                it[0] == "domain" && it.get(1).is_some_and(|it| higher.contains(&it.as_str()))
            });
            assert!(wrong.is_none(), "{} uses {wrong:?}", module.join("::"));
        }
    }
}

#[test]
fn modules_name_no_foreign_crate() {
    for (module, file) in all_modules() {
        let code = code(&file);
        let (_, never) = NEVER.iter().find(|(known, _)| *known == module[0]).unwrap_or(&("", &[]));
        for word in *never {
            assert!(!code.contains(word), "{} must not know {word}", module.join("::"));
        }
    }
}

#[test]
fn interfaces_never_use_each_other() {
    let imports = imports();
    for one in INTERFACES {
        for (module, used) in imports.iter().filter(|(module, _)| module[0] == one) {
            let other = used.iter().find(|it| it[0] != one && INTERFACES.contains(&it[0].as_str()));
            assert_eq!(other, None, "{} uses another interface", module.join("::"));
        }
    }
}

#[test]
fn reader_of_imports_reads_them() {
    let code = "use crate::{context::{App, Cx}, domain as d,\n  error::Error};\npub use \
                super::ledger;\nlet x = crate::vault::y();";
    let found: Vec<String> = named(code, &["a".to_owned(), "b".to_owned()])
        .into_iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        found,
        ["a::ledger", "context::App", "context::Cx", "domain", "error::Error", "vault::y"]
    );
}
