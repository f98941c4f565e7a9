//! The parts of docs/ that are generated from the code. A page that is out of date fails its test,
//! and `ROLECALL_WRITE_PAGES=1 cargo test --test it generated_pages` writes all of them.
//!
//! A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of a
//! page is written by hand.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    FieldDefinition, TypeDefinition, TypeKind, TypeSystemDefinition,
};
use clap::{Args, Command};
use rolecall::auth::policy::Permission;
use rolecall::config::{ServeArgs, StoreArgs};
use rolecall::domain::signal::payload::{MESSAGE_FIELDS, MessageField};
use rolecall::graphql::cost;
use rolecall::graphql::error_code::ErrorCode;
use rolecall::ledger::{EventKind, SessionEffect};
use serde_json::json;

use crate::world::World;

const WRITE_VARIABLE: &str = "ROLECALL_WRITE_PAGES";
const LINE_WIDTH: usize = 100;

fn resolve_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a generated part of a page with what it should be, or writes it.
#[track_caller]
fn check_part(page: &str, name: &str, wanted: &str) {
    let path = resolve_path(page);
    let text = fs::read_to_string(&path).unwrap();
    let start = format!("<!-- generated: {name} -->\n");
    let (before, rest) =
        text.split_once(&start).unwrap_or_else(|| panic!("{page} has no part {name}"));
    let (found, after) =
        rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{page}: {name} does not end"));
    let wanted = format!("\n{wanted}\n");
    if found == wanted {
        return;
    }
    assert!(
        std::env::var_os(WRITE_VARIABLE).is_some(),
        "{page} is stale: run this test with {WRITE_VARIABLE}=1"
    );
    fs::write(&path, format!("{before}{start}{wanted}<!-- end -->{after}")).unwrap();
}

/// Text for a cell of a table.
fn to_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Breaks a text into lines of at most 100 characters; `indent` stands before each but the first.
fn wrap_text(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        // The first line follows its list sign, which is as wide as the indent.
        let width = if line.starts_with(indent) { 0 } else { indent.len() } + line.chars().count();
        if line.trim().is_empty() {
            line.push_str(word);
        } else if width + 1 + word.chars().count() <= LINE_WIDTH {
            *line += &format!(" {word}");
        } else {
            lines.push(format!("{indent}{word}"));
        }
    }
    lines.join("\n")
}

fn write_settings_table(command: &Command, leave_out: &BTreeSet<String>) -> String {
    let mut table = "| flag | environment | default | what |\n|---|---|---|---|\n".to_owned();
    for argument in
        command.get_arguments().filter(|argument| !leave_out.contains(argument.get_id().as_str()))
    {
        let help = argument.get_help().unwrap().to_string();
        // Where the code computes a default, the help text ends with it.
        let (what, told) = match help.split_once(" [default: ") {
            Some((what, default)) => (what, default.trim_end_matches(']').to_owned()),
            None => (help.as_str(), String::new()),
        };
        let known: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if known.is_empty() { told } else { format!("`{}`", known.join(",")) };
        let flag = if argument.is_hide_set() {
            "–".into()
        } else {
            format!("`--{}`", argument.get_long().unwrap())
        };
        let variable = argument.get_env().unwrap().to_string_lossy();
        let default = if default.is_empty() { "–".into() } else { to_cell(&default) };
        writeln!(table, "| {flag} | `{variable}` | {default} | {} |", to_cell(what)).unwrap();
    }
    table
}

#[test]
fn generated_pages_list_the_settings() {
    let store = StoreArgs::augment_args(Command::new("store"));
    let shared = store.get_arguments().map(|argument| argument.get_id().to_string()).collect();
    let serve = ServeArgs::augment_args(Command::new("serve"));
    check_part(
        "docs/configuration.md",
        "settings of all commands",
        &write_settings_table(&store, &BTreeSet::new()),
    );
    check_part(
        "docs/configuration.md",
        "settings of serve",
        &write_settings_table(&serve, &shared),
    );
}

/// A type of the published schema.
fn find_schema_type(name: &str) -> TypeDefinition {
    let document = parse_schema(include_str!("../../schema.graphql")).unwrap();
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(definition.node),
        _ => None,
    });
    types.into_iter().find(|definition| definition.name.node == name).unwrap()
}

/// The values of an enum, with what the schema says of each.
fn list_enum_values(name: &str) -> Vec<(String, String)> {
    let TypeKind::Enum(definition) = find_schema_type(name).kind else {
        panic!("{name} is no enum")
    };
    let values = definition.values.into_iter().map(|value| value.node);
    values
        .map(|value| (value.value.node.to_string(), to_cell(&value.description.unwrap().node)))
        .collect()
}

/// The permission that `@needs` names.
fn find_permission(field: &FieldDefinition) -> Option<String> {
    let needs = field.directives.iter().find(|directive| directive.node.name.node == "needs")?;
    needs.node.get_argument("permission").map(|name| name.node.to_string())
}

/// The fields of an object type that need this permission.
fn find_fields(object: &str, permission: &str) -> Vec<String> {
    let TypeKind::Object(definition) = find_schema_type(object).kind else {
        panic!("{object} is no object")
    };
    let fields = definition.fields.into_iter().map(|field| field.node);
    let wanted = fields.filter(|field| find_permission(field).as_deref() == Some(permission));
    wanted.map(|field| format!("`{}`", field.name.node)).collect()
}

#[test]
fn generated_pages_list_the_permissions() {
    let described = list_enum_values("Permission");
    let names: Vec<_> = described.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, Permission::ALL.map(Permission::name));
    let mut text = String::new();
    for (name, what) in &described {
        let separator = if text.is_empty() { "" } else { "\n" };
        writeln!(text, "{separator}### `{name}`\n\n{}\n", wrap_text(what, "")).unwrap();
        let parts = [
            ("Fields of `organization`", "Organization"),
            ("Mutations", "Mutation"),
            ("Subscriptions", "Subscription"),
        ];
        for (title, object) in parts {
            let fields = find_fields(object, name);
            if !fields.is_empty() {
                writeln!(text, "- {}", wrap_text(&format!("{title}: {}", fields.join(", ")), "  "))
                    .unwrap();
            }
        }
    }
    check_part("docs/graphql/permissions.md", "permissions", &text);
}

#[test]
fn generated_pages_list_the_user_errors() {
    let mut table = "| code | what it means |\n|---|---|\n".to_owned();
    for (code, what) in list_enum_values("UserErrorCode") {
        writeln!(table, "| `{code}` | {what} |").unwrap();
    }
    check_part("docs/graphql/errors.md", "codes of userErrors", &table);
}

#[test]
fn generated_pages_list_the_events() {
    let mut table = "| event | what happened | `data.sessionEffect` |\n|---|---|---|\n".to_owned();
    for kind in EventKind::ALL {
        let mark = if kind.is_deprovisioning() { " *" } else { "" };
        // Where the roles in the values decide, both are possible.
        let effect = match kind.session_effect() {
            SessionEffect::None => String::new(),
            SessionEffect::ByRoles => {
                let names = [SessionEffect::ClaimsChanged, SessionEffect::Revoked];
                names.map(|effect| format!("`{}`", effect.name())).join(" or ")
            }
            effect => format!("`{}`", effect.name()),
        };
        let (name, what) = (kind.name(), kind.description().trim());
        writeln!(table, "| `{name}`{mark} | {what} | {effect} |").unwrap();
    }
    check_part("docs/events.md", "kinds of events", &table);
    let mut table = "| member | payload | what |\n|---|---|---|\n".to_owned();
    for MessageField { path, only_full, description } in MESSAGE_FIELDS {
        let payload = if *only_full { "`FULL`" } else { "both" };
        writeln!(table, "| `{path}` | {payload} | {description} |").unwrap();
    }
    check_part("docs/events.md", "members of messages", &table);
}

#[test]
fn generated_pages_list_the_errors() {
    let mut table =
        "| code | HTTP status | what it means | what to do |\n|---|---|---|---|\n".to_owned();
    for code in ErrorCode::ALL {
        let (name, statuses) = (code.name(), code.statuses());
        writeln!(table, "| `{name}` | {statuses} | {} | {} |", code.meaning(), code.remedy())
            .unwrap();
    }
    check_part("docs/graphql/errors.md", "codes of errors", &table);
}

#[test]
fn generated_pages_list_the_costs() {
    let counted = cost::COUNTED_FIELDS.map(|(ty, field)| format!("`{ty}.{field}`")).join(", ");
    let searching = cost::SEARCHING_FILTERS.map(|name| format!("`{name}`")).join(", ");
    let counts = format!("`totalCount` of a page, {counted}");
    let searches = format!("a filter by {searching}");
    let rows = [
        ("a leaf, and `__typename`", 0),
        ("an object", cost::OBJECT_COST),
        ("a row of a page, by `edges` or `nodes`", cost::OBJECT_COST),
        (counts.as_str(), cost::COUNT_COST),
        (searches.as_str(), cost::SEARCH_FILTER_COST),
        ("a filter by anything else", cost::VALUE_FILTER_COST),
        ("`__schema`", cost::SCHEMA_COST),
        ("`__type`", cost::TYPE_COST),
    ];
    let mut table = "| what | cost |\n|---|---|\n".to_owned();
    for (what, cost) in rows {
        writeln!(table, "| {what} | {cost} |").unwrap();
    }
    writeln!(
        table,
        "\n{}",
        wrap_text(
            &format!(
                "An operation may cost {}, and its introspection {} beside it.",
                cost::MAX_COST,
                cost::MAX_INTROSPECTION_COST
            ),
            ""
        )
    )
    .unwrap();
    check_part("docs/graphql/cost.md", "costs", &table);
}

/// The files of a folder whose names end so.
fn find_files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_files(&path, extension, found);
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
}

/// The anchor of a heading in a link.
fn to_anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The text without blocks of code.
fn strip_code(text: &str) -> String {
    let parts = text.split("\n```").enumerate().filter(|(n, _)| n % 2 == 0);
    parts.map(|(_, part)| part).collect::<Vec<_>>().join("\n")
}

#[test]
fn links_between_documents_resolve() {
    let mut pages = Vec::new();
    find_files(&resolve_path("docs"), "md", &mut pages);
    for name in
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md"]
    {
        pages.push(resolve_path(name));
    }
    assert!(pages.len() > 40, "{pages:?}");
    let mut broken = Vec::new();
    for page in pages {
        let text = strip_code(&fs::read_to_string(&page).unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads = target.exists()
                && (heading.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| {
                        strip_code(&text)
                            .lines()
                            .any(|line| line.starts_with('#') && to_anchor(line) == heading)
                    }));
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn readme_is_at_most_6_kb() {
    let size = fs::metadata(resolve_path("README.md")).unwrap().len();
    assert!(
        size <= 6 * 1024,
        "README.md has {size} bytes, and at most 6144 are read: move something into docs/"
    );
}

/// The operations in a text, one after another.
fn split_operations(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0, false);
    for (place, sign) in text.char_indices() {
        match sign {
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => {
                depth -= 1;
                // A head such as `mutation($id: ID!)` has no braces, so the first block that closes
                // is the selection.
                if depth == 0 {
                    found.push(text[start..=place].trim());
                    start = place + 1;
                }
            }
            _ => {}
        }
    }
    assert!(depth == 0 && text[start..].trim().is_empty(), "not a list of operations: {text}");
    found
}

#[tokio::test]
async fn documented_operations_match_the_schema() {
    let mut pages = Vec::new();
    find_files(&resolve_path("docs"), "md", &mut pages);
    let world = World::new().await;
    let mut count = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```graphql\n").skip(1).filter_map(|rest| rest.split("```").next());
        for operation in blocks.flat_map(split_operations) {
            let answer = world.graphql(operation, json!({})).await;
            let codes = answer["errors"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|error| &error["extensions"]["code"]);
            let broken =
                codes.filter_map(|code| code.as_str()).find(|code| code.starts_with("GRAPHQL_"));
            assert!(broken.is_none(), "{}: {operation}: {answer:#}", page.display());
            count += 1;
        }
    }
    assert!(count > 15, "only {count} operations were found");
    world.end().await;
}

/// Next steps name mutations, which must exist.
#[test]
fn texts_name_existing_fields() {
    let fields: BTreeSet<&str> = include_str!("../../schema.graphql")
        .lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let end = line.find(|sign: char| !sign.is_ascii_alphanumeric())?;
            line[end..].starts_with([':', '(']).then_some(&line[..end])
        })
        .collect();
    let mut files = Vec::new();
    find_files(&resolve_path("src"), "rs", &mut files);
    let mut count = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // No code has a word like `(syncStart)`: it stands in a text.
        for name in text.split('(').skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            let is_name = name.starts_with(|sign: char| sign.is_ascii_lowercase())
                && name.contains(|sign: char| sign.is_ascii_uppercase())
                && name.chars().all(|sign| sign.is_ascii_alphanumeric());
            if is_name {
                assert!(fields.contains(name), "{}: {name} is no field", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 30, "only {count} names were found");
}

#[test]
fn toolchain_is_the_same_everywhere() {
    let toolchain = fs::read_to_string(resolve_path("rust-toolchain.toml")).unwrap();
    let version =
        toolchain.split("channel = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let image = fs::read_to_string(resolve_path("Dockerfile")).unwrap();
    assert!(
        image.starts_with(&format!("FROM rust:{version}-")),
        "Dockerfile builds with another Rust than {version}"
    );
}

#[test]
fn image_is_built_from_every_crate() {
    let manifest = fs::read_to_string(resolve_path("Cargo.toml")).unwrap();
    let sent = fs::read_to_string(resolve_path(".dockerignore")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
        assert!(sent.lines().any(|line| line == format!("!{member}")), "{member} is not sent");
    }
}
