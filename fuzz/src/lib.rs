//! What must hold of any input whatever: one function a target, which panics where it does not hold.
//!
//! Two callers share them: `fuzz_targets/`, where libFuzzer makes the inputs up, and `tests/it/fuzz.rs`, which replays
//! the seeds and whatever was ever found, so that the targets cannot rot.

use std::fmt::Debug;
use std::sync::LazyLock;

use async_graphql::Variables;
use async_graphql::parser::parse_query;
use rolecall::domain::document::{Projection, normalize, search_document};
use rolecall::domain::list::{Cursor, Place};
use rolecall::domain::reconcile::diff::drift;
use rolecall::domain::reconcile::export::{Format, members, people};
use rolecall::domain::schema::{self, ResourceType};
use rolecall::domain::search::{Filter, compile, matches, order};
use rolecall::error::Error;
use rolecall::graphql::limits;
use rolecall::scim::filter::{parse_attr_list, parse_filter, parse_path};
use rolecall::scim::{cursor as cursors, patch as patches};
use sea_orm::DbBackend;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// A target: it panics on an input for which something does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("filter", filter),
    ("path", path),
    ("patch", patch),
    ("cursor", cursor),
    ("document", document),
    ("graphql_limits", graphql_limits),
    ("export", export),
];

/// A filter prints as text that means the same, compiles alike for both databases, and never puts what the client
/// wrote into the statement.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(filter) = parse_filter(text) else { return };
    reads_back(&parse_filter, &filter.to_string(), &filter);
    for (ty, known) in [(schema::user(), &*USER), (schema::group(), &*GROUP)] {
        compiles(&filter, ty, known);
    }
}

fn compiles(filter: &Filter, ty: &ResourceType, known: &Object) {
    let meant = matches(filter, ty, &search_document(ty, known));
    let (sqlite, postgres) = (DbBackend::Sqlite, DbBackend::Postgres);
    for (backend, confined) in [(sqlite, false), (sqlite, true), (postgres, false), (postgres, true)] {
        // The organization and the connection come before the filter's own values.
        let compiled = compile(filter, ty, backend, 2, confined);
        assert_eq!(compiled.is_ok(), meant.is_ok(), "{backend:?}: {filter}");
        let Ok(sql) = compiled else { continue };
        // What stands in the text comes from the schema's tables alone.
        assert!(sql.text.is_ascii() && !sql.text.contains([';', '\\', '\0']), "{}", sql.text);
        let placeholder = |number: usize| sql.text.contains(&format!("${number}"));
        assert!((3..sql.values.len() + 3).all(placeholder), "{}", sql.text);
        assert!(!placeholder(sql.values.len() + 3), "{}", sql.text);
    }
}

/// A path prints as text that means the same; what it names can be sorted by, projected and patched, or is refused.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (ty, known) in [(schema::user(), &*USER), (schema::group(), &*GROUP)] {
        if let Ok(projection) = Projection::parse(Some(text), Some(text)) {
            projection.apply(ty, &mut known.clone());
        }
        for path in parse_attr_list(text).unwrap_or_default() {
            for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
                let _ = order(&path, ty, backend);
            }
        }
    }
    let Ok(path) = parse_path(text) else { return };
    let mut printed = path.attr.to_string();
    path.filter.iter().for_each(|filter| printed.push_str(&format!("[{filter}]")));
    path.sub.iter().for_each(|sub| printed.push_str(&format!(".{sub}")));
    reads_back(&parse_path, &printed, &path);
    for value in [Value::Null, json!("x"), json!([{ "value": "x", "type": "work" }]), json!({ "value": "x" })] {
        for verb in ["add", "replace", "remove"] {
            let body = json!({ "Operations": [{ "op": verb, "path": text, "value": value }] });
            patched(&body, schema::user(), &USER);
            patched(&body, schema::group(), &GROUP);
        }
    }
}

/// A PATCH of anything (`document`, if it is there, is what it is applied to) is refused or leaves a document that
/// satisfies its schema, and the same one every time.
pub fn patch(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let given = body.get("document").and_then(Value::as_object);
    for (ty, known) in [(schema::user(), &*USER), (schema::group(), &*GROUP)] {
        let given = given.and_then(|given| normalize(ty, given.clone()).ok());
        patched(&body, ty, given.as_ref().unwrap_or(known));
    }
}

fn patched(body: &Value, ty: &ResourceType, known: &Object) {
    let Ok(operations) = patches::parse(body) else { return };
    let once = patches::apply_group(&operations, ty, known);
    let again = patches::apply_group(&operations, ty, known);
    assert_eq!(outcome(&once), outcome(&again), "{body}");
    if let Some(document) = once.ok().and_then(|after| normalize(ty, after.document).ok()) {
        is_canonical(ty, document);
    }
}

/// A document of anything is refused or becomes one that is already in its canonical form.
pub fn document(data: &[u8]) {
    let Ok(Value::Object(body)) = serde_json::from_slice(data) else { return };
    for ty in [schema::user(), schema::group()] {
        if let Ok(document) = normalize(ty, body.clone()) {
            is_canonical(ty, document);
        }
    }
}

fn is_canonical(ty: &ResourceType, document: Object) {
    let folded = search_document(ty, &document);
    assert_eq!(search_document(ty, &document), folded);
    let again = normalize(ty, document.clone());
    assert_eq!(outcome(&again), Ok(&document), "{}", Value::Object(document.clone()));
}

/// A cursor is read back for its own question and for no other; anything else is refused, or names a place.
pub fn cursor(data: &[u8]) {
    const QUESTION: &str = "userName sw \"a\" None";
    if let Some(made) = made_up(data) {
        let text = cursors::write(&made, QUESTION);
        assert_eq!(outcome(&cursors::read(&text, QUESTION)), Ok(&made));
        assert!(cursors::read(&text, "userName sw \"b\" None").is_err(), "{text}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(read) = cursors::read(text, QUESTION) {
        let written = cursors::write(&read, QUESTION);
        assert_eq!(outcome(&cursors::read(&written, QUESTION)), Ok(&read));
    }
}

/// A cursor such as we write.
fn made_up(data: &[u8]) -> Option<Cursor> {
    let (kind, rest) = data.split_first_chunk::<1>()?;
    let (place, rest) = rest.split_first_chunk::<16>()?;
    let (total, _) = rest.split_first_chunk::<8>()?;
    let place = u128::from_be_bytes(*place);
    let place = match kind[0] % 4 {
        0 => Place::Beginning,
        1 => Place::After(uuid::Uuid::from_u128(place)),
        2 => Place::Before(uuid::Uuid::from_u128(place)),
        _ => Place::Number(u64::try_from(place % (1 << 31)).unwrap_or_default()),
    };
    let total = u64::from_be_bytes(*total);
    Some(Cursor { place, total: (total <= i64::MAX as u64).then_some(total) })
}

/// What the judgement of a GraphQL document lets through, the parser survives; and what it costs is judged without
/// recursing too deep or counting too far.
pub fn graphql_limits(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if limits::check_text(text).is_err() {
        return;
    }
    let Ok(document) = parse_query(text) else { return };
    let judge = || limits::check_document(&document, &Variables::default());
    assert_eq!(judge(), judge(), "{text}");
}

/// An export is read as people and memberships or refused, the same way each time: whoever is listed is somebody, stands in
/// a line that is there, and differs from nobody who says the same.
pub fn export(data: &[u8]) {
    let lines = data.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    for format in [Format::Csv, Format::JsonLines] {
        let read = || people(format, data, schema::user());
        let listed = read();
        assert_eq!(outcome(&listed), outcome(&read()));
        if let Ok(listed) = listed {
            for person in &listed.people {
                assert!(person.label().is_some(), "{person:?}");
                assert!((1..=lines).contains(&person.line), "{person:?} in {lines} lines");
                assert!(drift(&person.attributes, &person.attributes, &listed.columns).is_empty(), "{person:?}");
            }
            assert!(listed.people.len() as u64 + listed.reading.unread <= listed.reading.rows);
            assert!(listed.reading.troubles.iter().all(|trouble| (1..=lines).contains(&trouble.line)));
        }
        let read = || members(format, data, schema::group());
        assert_eq!(outcome(&read()), outcome(&read()));
    }
}

/// The printed form reads as the same again, unless printing has made it too long or, by parentheses that
/// precedence had left out, too deep.
fn reads_back<T: Debug + PartialEq>(read: &dyn Fn(&str) -> Result<T, Error>, printed: &str, meant: &T) {
    match read(printed) {
        Ok(again) => assert_eq!(&again, meant, "{printed}"),
        Err(error) => {
            let why = error.to_string();
            assert!(why.contains("is longer than") || why.contains("is nested deeper"), "{printed}: {why}");
        }
    }
}

/// A result that can be compared.
fn outcome<T>(result: &Result<T, Error>) -> Result<&T, String> {
    result.as_ref().map_err(ToString::to_string)
}

static USER: LazyLock<Object> = LazyLock::new(|| {
    known(
        schema::user(),
        json!({
            "externalId": "e-1", "userName": "ada", "displayName": "Ada", "title": "Countess", "active": true,
            "name": { "givenName": "Ada", "familyName": "Byron" },
            "emails": [
                { "value": "ada@work.example", "type": "work", "primary": true },
                { "value": "ada@home.example", "type": "home" },
            ],
            "addresses": [{ "locality": "London", "country": "GB", "type": "work" }],
            schema::ENTERPRISE: { "department": "Engines", "manager": { "value": "7" } },
        }),
    )
});

static GROUP: LazyLock<Object> =
    LazyLock::new(|| known(schema::group(), json!({ "displayName": "Engines", "externalId": "g-1" })));

fn known(ty: &ResourceType, body: Value) -> Object {
    let Value::Object(body) = body else { panic!("not an object: {body}") };
    normalize(ty, body).unwrap_or_else(|error| panic!("{error}"))
}
