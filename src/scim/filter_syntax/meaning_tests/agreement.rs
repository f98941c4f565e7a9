//! Random filters over random documents: the databases and the evaluation in memory always agree.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use super::*;

/// Texts that are likely to be equal, to be prefixes of each other, and to be mishandled.
fn any_text() -> impl Strategy<Value = String> {
    select(vec![
        "",
        "a",
        "A",
        "ab",
        "b",
        "É",
        "e\u{301}",
        "😀",
        "\u{10ffff}",
        "%",
        "'",
        "{}",
        "null",
        "work",
    ])
    .prop_map(str::to_owned)
}

fn any_instant() -> impl Strategy<Value = String> {
    select(vec![
        "2024-05-01T08:00:00Z",
        "2024-05-01T10:00:00+02:00",
        "2024-05-01T08:00:00.000001Z",
        "2024-05-01T08:00:00.5Z",
        "2024-05-01T08:00:01Z",
        "1969-12-31T23:59:59.999999Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ])
    .prop_map(str::to_owned)
}

fn any_number() -> impl Strategy<Value = Value> {
    select(vec![
        json!(0),
        json!(-1),
        json!(3),
        json!(3.0),
        json!(1.5),
        json!(-0.25),
        json!(i64::MAX),
    ])
}

/// A value of any kind, for malformed documents.
fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any_number(),
        any_text().prop_map(Value::from),
        proptest::collection::vec(any_text().prop_map(Value::from), 0..3).prop_map(Value::from),
        any_text().prop_map(|text| json!({"value": text})),
        any_text().prop_map(|text| json!([{"value": text}, 5, null, {"type": {}, "value": []}])),
        Just(json!({})),
    ]
}

fn any_email() -> impl Strategy<Value = Value> {
    (any_text(), proptest::option::of(any_text()), proptest::option::of(any::<bool>())).prop_map(
        |(value, ty, primary)| {
            let mut email = json!({"value": value});
            if let Some(ty) = ty {
                email["type"] = ty.into();
            }
            if let Some(primary) = primary {
                email["primary"] = primary.into();
            }
            email
        },
    )
}

fn any_row(number: u128) -> impl Strategy<Value = Row> {
    use proptest::collection::vec;
    use proptest::option::of;
    let core = (
        any_text(),
        of(any_text()),
        of(any_text()),
        of(any_text()),
        of(any::<bool>()),
        of(vec(any_email(), 0..3)),
        of(any_text()),
        of(any_text()),
    );
    let badge = (of(any_number()), of(any_instant()), of(vec(any_text(), 0..3)), of(any::<bool>()));
    let facts = (any_instant(), 1i64..4, vec(0xau128..0xd, 0..3));
    let broken =
        of((select(vec!["title", "name", "emails", ENTERPRISE, BADGE, "schemas"]), any_json()));
    (core, badge, facts, broken).prop_map(move |(core, badge, facts, broken)| {
        let (user_name, external_id, display_name, title, active, emails, given, department) = core;
        let mut document = json!({"userName": user_name, "schemas": ["a", BADGE]});
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                document[name] = value;
            }
        };
        set("externalId", external_id.map(Value::from));
        set("displayName", display_name.map(Value::from));
        set("title", title.map(Value::from));
        set("active", active.map(Value::from));
        set("emails", emails.map(Value::from));
        set("name", given.map(|name| json!({"givenName": name})));
        set(ENTERPRISE, department.map(|name| json!({"department": name})));
        let (level, hired_at, tags, remote) = badge;
        let badge = json!({
            "level": level, "score": level, "hiredAt": hired_at, "tags": tags, "remote": remote,
        });
        set(BADGE, Some(badge));
        let mut row = row(number, &STAFF, document);
        if let Some((name, value)) = broken {
            row.search.insert(name.to_owned(), value);
        }
        let (instant, version, mut groups) = facts;
        row.created = DateTime::parse_from_rfc3339(&instant).unwrap().timestamp_micros();
        row.version = version;
        groups.sort_unstable();
        groups.dedup();
        row.others = groups.into_iter().map(Uuid::from_u128).collect();
        row
    })
}

fn any_comparison() -> impl Strategy<Value = Filter> {
    let text = || any_text().prop_map(FilterLiteral::String);
    let number =
        any_number().prop_map(|value| FilterLiteral::Number(value.as_number().unwrap().clone()));
    let id = (0xau128..0xe).prop_map(|id| FilterLiteral::String(Uuid::from_u128(id).to_string()));
    let version = (0..4).prop_map(|n| FilterLiteral::String(format!("W/\"{n}\"")));
    let any_op = || {
        select(vec![
            CompareOp::Eq,
            CompareOp::Ne,
            CompareOp::Co,
            CompareOp::Sw,
            CompareOp::Ew,
            CompareOp::Gt,
            CompareOp::Ge,
            CompareOp::Lt,
            CompareOp::Le,
        ])
    };
    let ordered = || {
        select(vec![
            CompareOp::Eq,
            CompareOp::Ne,
            CompareOp::Gt,
            CompareOp::Ge,
            CompareOp::Lt,
            CompareOp::Le,
        ])
    };
    let equal = || select(vec![CompareOp::Eq, CompareOp::Ne]);
    let texts = select(vec![
        "userName",
        "externalId",
        "displayName",
        "title",
        "name.givenName",
        "emails",
        "emails.value",
        "emails.type",
        "schemas",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "urn:acme:scim:1.0:Badge:tags",
    ]);
    let booleans = select(vec!["active", "emails.primary", "urn:acme:scim:1.0:Badge:remote"]);
    let numbers = select(vec!["urn:acme:scim:1.0:Badge:level", "urn:acme:scim:1.0:Badge:score"]);
    let dates =
        select(vec!["meta.created", "meta.lastModified", "urn:acme:scim:1.0:Badge:hiredAt"]);
    let anything = select(vec![
        "userName",
        "externalId",
        "displayName",
        "title",
        "name",
        "name.givenName",
        "emails",
        "emails.primary",
        "groups",
        "id",
        "active",
        "meta.created",
        "schemas",
        "urn:acme:scim:1.0:Badge:tags",
        "urn:acme:scim:1.0:Badge:remote",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
    ]);
    let parse_one = |path: &str| parse_attr_list(path).unwrap().remove(0);
    prop_oneof![
        6 => (texts, any_op(), text()),
        1 => (booleans, equal(), any::<bool>().prop_map(FilterLiteral::Bool)),
        1 => (numbers, ordered(), number),
        2 => (dates, ordered(), any_instant().prop_map(FilterLiteral::String)),
        1 => (select(vec!["id", "groups", "groups.value"]), equal(), id),
        1 => (Just("meta.version"), equal(), version),
        1 => (anything.clone(), equal(), Just(FilterLiteral::Null)),
    ]
    .prop_map(move |(path, op, literal)| Filter::Compare(parse_one(path), op, literal))
    .boxed()
    .prop_union(anything.prop_map(move |path| Filter::Present(parse_one(path))).boxed())
}

fn any_part() -> impl Strategy<Value = Filter> {
    let of = |name: &str| AttrPath { schema: None, name: name.to_owned(), sub: None };
    let op = select(vec![
        CompareOp::Eq,
        CompareOp::Eq,
        CompareOp::Ne,
        CompareOp::Co,
        CompareOp::Sw,
        CompareOp::Ew,
        CompareOp::Gt,
        CompareOp::Le,
    ]);
    prop_oneof![
        4 => (select(vec!["value", "type"]), op, any_text()).prop_map(move |(name, op, text)| {
            Filter::Compare(of(name), op, FilterLiteral::String(text))
        }),
        1 => any::<bool>().prop_map(move |value| {
            Filter::Compare(of("primary"), CompareOp::Eq, FilterLiteral::Bool(value))
        }),
        1 => select(vec!["value", "type", "primary"])
            .prop_map(move |name| Filter::Present(of(name))),
    ]
}

fn combined(leaf: BoxedStrategy<Filter>) -> BoxedStrategy<Filter> {
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
    .boxed()
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let emails = AttrPath { schema: None, name: "emails".to_owned(), sub: None };
    let element = combined(any_part().boxed())
        .prop_map(move |inner| Filter::Element(emails.clone(), Box::new(inner)));
    combined(prop_oneof![3 => any_comparison().boxed(), 1 => element.boxed()].boxed())
}

#[test]
fn the_databases_and_the_memory_always_agree() {
    let world = World::new();
    let rows =
        (any_row(1), any_row(2), any_row(3), any_row(4)).prop_map(|(a, b, c, d)| vec![a, b, c, d]);
    let filters = proptest::collection::vec(any_filter(), 12);
    // Failures are reproduced by the values that they print.
    let config =
        ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(rows, filters), |(rows, filters)| {
            world.hold(&STAFF, &rows);
            for filter in filters {
                world.find(&STAFF, &rows, &filter).map_err(TestCaseError::fail)?;
            }
            Ok(())
        })
        .unwrap();
}
