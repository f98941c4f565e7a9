//! What must hold for any input: one function for each target, which panics where it does not hold.
//!
//! Two callers share them. In `fuzz_targets/`, libFuzzer makes the inputs. `tests/it/fuzz.rs`
//! replays the seeds and all earlier findings, so the targets keep working.

use std::fmt::Debug;
use std::sync::LazyLock;

use async_graphql::Variables;
use rolecall::db::SqlBuilder;
use rolecall::domain::paging::filter_sql::{compile_filter, compile_order};
use rolecall::domain::paging::{CursorPlace, ListCursor};
use rolecall::domain::reconcile::diff::attribute_drift;
use rolecall::domain::reconcile::export::{ExportFormat, read_members, read_people};
use rolecall::error::Error;
use rolecall::graphql::document::parse_document;
use rolecall::graphql::validation::{SchemaIndex, coerce_variables, find_faults};
use rolecall::graphql::{cost, document_limits};
use rolecall::identity::document::{Projection, normalize_document, search_document};
use rolecall::identity::filter::{Filter, matches_document};
use rolecall::identity::schema;
use rolecall::identity::schema::ResourceType;
use rolecall::scim::filter_syntax::{parse_attr_list, parse_filter, parse_path};
use rolecall::scim::{cursor as cursors, patch as patches};
use sea_orm::DbBackend;
use serde_json::{Map, Value, json};
use uuid::Uuid;

type Object = Map<String, Value>;

/// A target panics on an input for which something does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 8] = [
    ("filter", filter),
    ("path", path),
    ("patch", patch),
    ("cursor", cursor),
    ("document", document),
    ("graphql_limits", graphql_limits),
    ("export", export),
    ("saml", saml),
];

/// A filter prints as text with the same meaning, compiles for both databases, and never puts the
/// client's text into the statement.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(filter) = parse_filter(text) else { return };
    reads_back(&parse_filter, &filter.to_string(), &filter);
    for (ty, known) in [(schema::user_type(), &*USER), (schema::group_type(), &*GROUP)] {
        compiles(&filter, ty, known);
    }
}

fn compiles(filter: &Filter, ty: &ResourceType, known: &Object) {
    let meant = matches_document(filter, ty, &search_document(ty, known));
    let (sqlite, postgres) = (DbBackend::Sqlite, DbBackend::Postgres);
    for (backend, confined) in
        [(sqlite, false), (sqlite, true), (postgres, false), (postgres, true)]
    {
        // The organization and the connection come before the filter's own values.
        let mut sql = SqlBuilder::with_values([Uuid::nil().into(), Uuid::nil().into()]);
        let compiled = compile_filter(filter, ty, backend, &mut sql, confined);
        assert_eq!(compiled.is_ok(), meant.is_ok(), "{backend:?}: {filter}");
        let Ok(text) = compiled else { continue };
        let values = sql.into_parts().1.len();
        // All names in the text come from the schema's tables.
        assert!(text.is_ascii() && !text.contains([';', '\\', '\0']), "{text}");
        let placeholder = |number: usize| text.contains(&format!("${number}"));
        assert!((3..=values).all(placeholder), "{text}");
        assert!(!placeholder(values + 1), "{text}");
    }
}

/// A path prints as text with the same meaning. The attribute that it names can be sorted by,
/// projected and patched, or the path is refused.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (ty, known) in [(schema::user_type(), &*USER), (schema::group_type(), &*GROUP)] {
        if let Ok(projection) = Projection::parse(Some(text), Some(text)) {
            projection.apply_to(ty, &mut known.clone());
        }
        for path in parse_attr_list(text).unwrap_or_default() {
            for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
                let _ = compile_order(&path, ty, backend);
            }
        }
    }
    let Ok(path) = parse_path(text) else { return };
    let mut printed = path.attr.to_string();
    path.filter.iter().for_each(|filter| printed.push_str(&format!("[{filter}]")));
    path.sub.iter().for_each(|sub| printed.push_str(&format!(".{sub}")));
    reads_back(&parse_path, &printed, &path);
    for value in [
        Value::Null,
        json!("x"),
        json!([{ "value": "x", "type": "work" }]),
        json!({ "value": "x" }),
    ] {
        for verb in ["add", "replace", "remove"] {
            let body = json!({ "Operations": [{ "op": verb, "path": text, "value": value }] });
            patched(&body, schema::user_type(), &USER);
            patched(&body, schema::group_type(), &GROUP);
        }
    }
}

/// A PATCH with any content (applied to `document` if there is one) is refused, or leaves a
/// document that satisfies its schema, and the same one every time.
pub fn patch(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let given = body.get("document").and_then(Value::as_object);
    for (ty, known) in [(schema::user_type(), &*USER), (schema::group_type(), &*GROUP)] {
        let given = given.and_then(|given| normalize_document(ty, given.clone()).ok());
        patched(&body, ty, given.as_ref().unwrap_or(known));
    }
}

fn patched(body: &Value, ty: &ResourceType, known: &Object) {
    let Ok(operations) = patches::parse_operations(body) else { return };
    let once = patches::apply_group(&operations, ty, known);
    let again = patches::apply_group(&operations, ty, known);
    assert_eq!(outcome(&once), outcome(&again), "{body}");
    if let Some(document) = once.ok().and_then(|after| normalize_document(ty, after.document).ok())
    {
        is_canonical(ty, document);
    }
}

/// A document with any content is refused, or becomes one that is already in its canonical form.
pub fn document(data: &[u8]) {
    let Ok(Value::Object(body)) = serde_json::from_slice(data) else { return };
    for ty in [schema::user_type(), schema::group_type()] {
        if let Ok(document) = normalize_document(ty, body.clone()) {
            is_canonical(ty, document);
        }
    }
}

fn is_canonical(ty: &ResourceType, document: Object) {
    let folded = search_document(ty, &document);
    assert_eq!(search_document(ty, &document), folded);
    let again = normalize_document(ty, document.clone()).map_err(Into::into);
    assert_eq!(outcome(&again), Ok(&document), "{}", Value::Object(document.clone()));
}

/// A cursor is accepted for its own query and for no other. Any other text is refused, or names a
/// position.
pub fn cursor(data: &[u8]) {
    const QUESTION: &str = "userName sw \"a\" None";
    if let Some(made) = made_up(data) {
        let text = cursors::encode_cursor(&made, QUESTION);
        assert_eq!(outcome(&cursors::decode_cursor(&text, QUESTION)), Ok(&made));
        assert!(cursors::decode_cursor(&text, "userName sw \"b\" None").is_err(), "{text}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(read) = cursors::decode_cursor(text, QUESTION) {
        let written = cursors::encode_cursor(&read, QUESTION);
        assert_eq!(outcome(&cursors::decode_cursor(&written, QUESTION)), Ok(&read));
    }
}

/// A cursor as the server writes it.
fn made_up(data: &[u8]) -> Option<ListCursor> {
    let (kind, rest) = data.split_first_chunk::<1>()?;
    let (place, rest) = rest.split_first_chunk::<16>()?;
    let (total, _) = rest.split_first_chunk::<8>()?;
    let place = u128::from_be_bytes(*place);
    let place = match kind[0] % 4 {
        0 => CursorPlace::Beginning,
        1 => CursorPlace::After(Uuid::from_u128(place)),
        2 => CursorPlace::Before(Uuid::from_u128(place)),
        _ => CursorPlace::Number(u64::try_from(place % (1 << 31)).unwrap_or_default()),
    };
    let total = u64::from_be_bytes(*total);
    Some(ListCursor { place, total: (total <= i64::MAX as u64).then_some(total) })
}

/// The parser handles every GraphQL document that the limits accept, and the cost of a document is
/// computed without deep recursion or overflow.
pub fn graphql_limits(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if document_limits::check_text(text).is_err() {
        return;
    }
    let Ok(document) = parse_document(text) else { return };
    let judge = || document_limits::check_document(&document);
    assert_eq!(judge(), judge(), "{text}");
    let Ok(form) = judge() else { return };
    let index = SchemaIndex::of_server();
    let validate = || find_faults(index, &document);
    assert_eq!(validate().is_ok(), validate().is_ok(), "{text}");
    if !validate().is_ok_and(|faults| faults.is_empty()) {
        return;
    }
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        if let Ok(values) = coerce_variables(index, operation, &Variables::default()) {
            let price = || cost::compute_cost(index, &document, operation, &values, form.depth());
            assert_eq!(price(), price(), "{text}");
        }
    }
}

/// An export is read as people and memberships or refused, with the same result each time. Each
/// listed person has a label and a line that exists, and does not differ from a person with the
/// same attributes.
pub fn export(data: &[u8]) {
    let lines = data.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    for format in [ExportFormat::Csv, ExportFormat::JsonLines] {
        let read = || read_people(format, data, schema::user_type());
        let listed = read();
        assert_eq!(outcome(&listed), outcome(&read()));
        if let Ok(listed) = listed {
            for person in &listed.people {
                assert!(person.display_label().is_some(), "{person:?}");
                assert!((1..=lines).contains(&person.line), "{person:?} in {lines} lines");
                assert!(
                    attribute_drift(&person.attributes, &person.attributes, &listed.columns)
                        .is_empty(),
                    "{person:?}"
                );
            }
            assert!(listed.people.len() as u64 + listed.reading.unread <= listed.reading.rows);
            assert!(
                listed.reading.troubles.iter().all(|trouble| (1..=lines).contains(&trouble.line))
            );
        }
        let read = || read_members(format, data, schema::group_type());
        assert_eq!(outcome(&read()), outcome(&read()));
    }
}

/// The printed form is read as the same value, unless printing has made it too long or, through
/// parentheses that precedence had left out, too deep.
fn reads_back<T: Debug + PartialEq>(
    read: &dyn Fn(&str) -> Result<T, Error>,
    printed: &str,
    meant: &T,
) {
    match read(printed) {
        Ok(again) => assert_eq!(&again, meant, "{printed}"),
        Err(error) => {
            let why = error.to_string();
            assert!(
                why.contains("is longer than") || why.contains("is nested deeper"),
                "{printed}: {why}"
            );
        }
    }
}

/// A result that can be compared.
fn outcome<T>(result: &Result<T, Error>) -> Result<&T, String> {
    result.as_ref().map_err(ToString::to_string)
}

static USER: LazyLock<Object> = LazyLock::new(|| {
    known(
        schema::user_type(),
        json!({
            "externalId": "e-1", "userName": "ada", "displayName": "Ada", "title": "Countess", "active": true,
            "name": { "givenName": "Ada", "familyName": "Byron" },
            "emails": [
                { "value": "ada@work.example", "type": "work", "primary": true },
                { "value": "ada@home.example", "type": "home" },
            ],
            "addresses": [{ "locality": "London", "country": "GB", "type": "work" }],
            schema::ENTERPRISE_SCHEMA: { "department": "Engines", "manager": { "value": "7" } },
        }),
    )
});

static GROUP: LazyLock<Object> = LazyLock::new(|| {
    known(schema::group_type(), json!({ "displayName": "Engines", "externalId": "g-1" }))
});

fn known(ty: &ResourceType, body: Value) -> Object {
    let Value::Object(body) = body else { panic!("not an object: {body}") };
    normalize_document(ty, body).unwrap_or_else(|error| panic!("{error}"))
}

/// A response of SAML that is accepted says what was signed, whatever was changed about it. Metadata
/// and form fields are read or refused.
pub fn saml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let made = SIGNED_RESPONSE.split_once("IssueInstant=\"").map(|(_, rest)| &rest[..20]);
    let now: chrono::DateTime<chrono::Utc> = made.unwrap().parse().unwrap();
    let _ = saml::read_identity_provider(text, None, now);
    let _ = saml::decode_response(text);
    let _ = saml::read_issuer(text);
    let _ = saml::Certificate::from_base64(text);
    let own = |text: &str| vec![text.to_owned()];
    let verified = saml::verify_response(
        text,
        &saml::ResponseExpectation {
            identity_provider: "https://idp.test/metadata",
            certificates: &CERTIFICATES,
            audiences: &own("https://rolecall.test/saml/metadata"),
            recipients: &own("https://rolecall.test/saml/consume"),
            request: saml::ExpectedRequest::Id("_request"),
            now,
            skew: chrono::TimeDelta::seconds(60),
            keys: &[],
        },
    );
    if let Ok(said) = verified {
        assert_eq!(said.name_id, "ada@example.com.org");
        assert_eq!(said.values("Role").unwrap(), ["manage", "view <all>"]);
    }
}

/// A response that PyPI's signxml has signed; it is the seed, too.
const SIGNED_RESPONSE: &str = include_str!("../../saml/tests/fixtures/signxml_curve.xml");
static CERTIFICATES: LazyLock<Vec<saml::Certificate>> = LazyLock::new(|| {
    let pem = include_str!("../../saml/tests/fixtures/curve.pem");
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let inside = blocks.map(|block| block.split_once("-----END CERTIFICATE-----").unwrap().0);
    inside.map(|inside| saml::Certificate::from_base64(inside).unwrap()).collect()
});
