use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::schema::{ENTERPRISE_SCHEMA, GROUP_SCHEMA, USER_SCHEMA, group_type, user_type};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn user_from(body: Value) -> Value {
    normalize_document(user_type(), object(body)).unwrap().into()
}

/// Why the body of a user is refused.
fn refused(body: Value) -> String {
    normalize_document(user_type(), object(body)).unwrap_err().to_string()
}

#[test]
fn a_plain_user_keeps_what_was_sent_under_canonical_names() {
    let document = user_from(json!({
        "SCHEMAS": ["urn:whatever"],
        "username": " ada ",
        "NAME": { "GivenName": "Ada", "shoeSize": 39 },
        "active": "False",
        "emails": [{ "Value": "ada@example.org", "TYPE": "work", "primary": "true" }],
        "favouriteColour": "green",
        "urn:example:unknown:1.0:Thing": { "a": 1 },
    }));
    assert_eq!(
        document,
        json!({
            "schemas": [USER_SCHEMA],
            "userName": "ada",
            "name": { "givenName": "Ada" },
            "active": false,
            "emails": [{ "value": "ada@example.org", "type": "work", "primary": true }],
        })
    );
    let order: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(order, ["schemas", "userName", "name", "active", "emails"]);
}

#[test]
fn what_clients_may_not_write_and_passwords_are_forgotten() {
    let document = user_from(json!({
        "id": "mine", "meta": { "version": "7" }, "groups": [], "userName": "ada",
        "password": "hunter2",
    }));
    assert_eq!(document, json!({ "schemas": [USER_SCHEMA], "userName": "ada" }));
    let group = normalize_document(
        group_type(),
        object(json!({ "displayName": "Staff", "members": [{ "value": "x" }] })),
    )
    .unwrap();
    assert_eq!(Value::Object(group), json!({ "schemas": [GROUP_SCHEMA], "displayName": "Staff" }));
}

#[test]
fn null_and_empty_mean_unassigned() {
    let document = user_from(json!({
        "userName": "ada", "title": null, "emails": [], "name": {}, "phoneNumbers": null,
        "externalId": "",
        "roles": [null, { "type": "work", "primary": true }, { "value": "" }],
        ENTERPRISE_SCHEMA: { "department": null },
    }));
    assert_eq!(document, json!({ "schemas": [USER_SCHEMA], "userName": "ada" }));
    assert_eq!(refused(json!({ "userName": null })), "userName: is required");
    assert_eq!(refused(json!({ "userName": "  " })), "userName: must not be empty");
    assert_eq!(refused(json!({})), "userName: is required");
}

#[test]
fn dotted_qualified_and_nested_names_build_one_document() {
    let flat = user_from(json!({
        "userName": "ada",
        "name.givenName": "Ada",
        "name": { "familyName": "Byron" },
        format!("{USER_SCHEMA}:title"): "Countess",
        format!("{}:department", ENTERPRISE_SCHEMA.to_lowercase()): "Engines",
        ENTERPRISE_SCHEMA: { "CostCenter": "7" },
    }));
    let nested = user_from(json!({
        USER_SCHEMA: {
            "userName": "ada", "name.familyName": "Byron", "name": { "givenName": "Ada" },
            "title": "Countess",
        },
        ENTERPRISE_SCHEMA: { "costCenter": "7", "department": "Engines" },
    }));
    assert_eq!(flat, nested);
    assert_eq!(flat["schemas"], json!([USER_SCHEMA, ENTERPRISE_SCHEMA]));
    assert_eq!(flat["name"], json!({ "familyName": "Byron", "givenName": "Ada" }));
    assert!(refused(json!({ "userName": "a", "emails.value": "x" })).starts_with("emails.value: "));
}

#[test]
fn a_manager_comes_in_many_shapes() {
    let manager = |value: Value| {
        user_from(json!({ "userName": "ada", ENTERPRISE_SCHEMA: { "manager": value } }))
    };
    for shape in
        [json!("7"), json!({ "Value": "7", "displayName": "ignored" }), json!([{ "value": "7" }])]
    {
        assert_eq!(manager(shape)[ENTERPRISE_SCHEMA]["manager"], json!({ "value": "7" }));
    }
    for empty in
        [json!(""), Value::Null, json!([]), json!({ "value": "" }), json!({ "displayName": "Bo" })]
    {
        assert_eq!(manager(empty).get(ENTERPRISE_SCHEMA), None);
    }
}

#[test]
fn many_valued_attributes_accept_one_value_and_bare_strings() {
    let document = user_from(json!({
        "userName": "ada", "emails": { "value": "a@x.org" }, "roles": "admin",
        "entitlements": ["one", "two", "ONE"],
    }));
    assert_eq!(document["emails"], json!([{ "value": "a@x.org" }]));
    assert_eq!(document["roles"], json!([{ "value": "admin" }]));
    assert_eq!(document["entitlements"], json!([{ "value": "ONE" }, { "value": "two" }]));
}

#[test]
fn wrong_types_are_refused_by_their_full_name() {
    let with = |name: &str, value: Value| refused(json!({ "userName": "ada", name: value }));
    assert_eq!(with("active", json!("yes")), "active: must be true or false");
    assert_eq!(with("title", json!(7)), "title: must be a string");
    assert_eq!(with("name", json!("Ada")), "name: must be an object");
    assert_eq!(with("emails", json!([{ "primary": 1 }])), "emails.primary: must be true or false");
    assert_eq!(with("emails", json!([["a"]])), "emails: must be an object");
    assert_eq!(
        with("x509Certificates", json!(["no base64!"])),
        "x509Certificates.value: must be in base64"
    );
    assert_eq!(
        with(ENTERPRISE_SCHEMA, json!("x")),
        format!("{ENTERPRISE_SCHEMA}: must be an object")
    );
    assert_eq!(
        with(ENTERPRISE_SCHEMA, json!({ "division": 1 })),
        format!("{ENTERPRISE_SCHEMA}:division: must be a string")
    );
    assert_eq!(with("title", json!("a\0b")), "title: must not contain the character NUL");
    let twice = json!([{ "value": "a", "primary": true }, { "value": "b", "primary": true }]);
    assert_eq!(with("emails", twice), "emails.primary: is true for more than one value");
}

#[test]
fn sizes_are_capped() {
    let with = |name: &str, value: Value| {
        normalize_document(user_type(), object(json!({ "userName": "ada", name: value })))
    };
    assert!(with("title", "x".repeat(MAX_STRING).into()).is_ok());
    assert!(with("title", "x".repeat(MAX_STRING + 1).into()).is_err());
    assert!(with("userName", "é".repeat(MAX_KEY).into()).is_ok());
    assert!(with("userName", "é".repeat(MAX_KEY + 1).into()).is_err());
    assert!(with("externalId", "x".repeat(MAX_KEY + 1).into()).is_err());
    assert!(with("emails", json!(["x".repeat(MAX_KEY + 1)])).is_err());
    let roles = |count: usize| Value::from_iter((0..count).map(|index| index.to_string()));
    assert!(with("roles", roles(MAX_ELEMENTS)).is_ok());
    let error = with("roles", roles(MAX_ELEMENTS + 1)).unwrap_err();
    assert!(matches!(error, InvalidInput { rule: Rule::TooMany, .. }));
    let long =
        Value::from_iter((0..9).map(|index| format!("{index}{}", "x".repeat(MAX_STRING - 1))));
    assert!(matches!(with("photos", long), Err(InvalidInput { rule: Rule::TooMany, .. })));
}

#[test]
fn certificates_may_leave_out_the_padding() {
    for text in ["AQ==", "AQ", "AQID", "+/8="] {
        assert!(is_base64(text), "{text}");
    }
    assert!(!is_base64("A"));
}

#[test]
fn instants_are_compared_in_utc() {
    assert_eq!(parse_instant("1970-01-01T00:00:01Z"), Some(1_000_000));
    assert_eq!(parse_instant("1970-01-01T01:00:00.000001+01:00"), Some(1));
    assert_eq!(parse_instant("1970-01-01T00:00:00.5"), Some(500_000));
    for nonsense in ["", "yesterday", "2024-02-30T00:00:00Z", "2024-01-01"] {
        assert_eq!(parse_instant(nonsense), None, "{nonsense}");
    }
}

#[test]
fn folding_ignores_case_and_composition() {
    assert_eq!(fold_text("ÀLEX"), fold_text("a\u{300}lex"));
    assert_eq!(fold_text("İ"), fold_text(&fold_text("İ")));
    assert!(fold_text("ΟΔΥΣΣΕΥΣ").starts_with(&fold_text("ΟΔΥΣ")));
}

#[test]
fn the_search_copy_is_folded_where_case_does_not_matter() {
    let document = object(user_from(json!({
        "userName": "Ada", "externalId": "AbC", "active": true, "roles": ["Admin"],
        "profileUrl": "https://x.org/Ada", ENTERPRISE_SCHEMA: { "Department": "R&D" },
    })));
    let folded = Value::Object(search_document(user_type(), &document));
    assert_eq!(folded["userName"], "ada");
    assert_eq!(folded["externalId"], "AbC");
    assert_eq!(folded["active"], true);
    assert_eq!(folded["roles"][0]["value"], "admin");
    assert_eq!(folded["profileUrl"], "https://x.org/Ada");
    assert_eq!(folded[ENTERPRISE_SCHEMA]["department"], "r&d");
    assert_eq!(folded["schemas"], document["schemas"]);
}

#[test]
fn dates_become_microseconds_in_the_search_copy() {
    let when = common_attributes()
        .iter()
        .find_map(|attribute| attribute.sub_attribute("created"))
        .unwrap();
    assert_eq!(search_value(when, &json!("1970-01-01T00:00:02Z")), json!(2_000_000));
    assert_eq!(
        canonical_value(when, "meta.created", json!("soon"))
            .unwrap_err()
            .to_string()
            .split(':')
            .next(),
        Some("meta.created")
    );
}

#[test]
fn readers_know_what_absence_means() {
    let document = object(user_from(json!({
        "userName": "ada", "emails": ["b@x.org", { "value": "a@x.org", "primary": true }],
    })));
    assert_eq!(user_name(&document), Some("ada"));
    assert_eq!(external_id(&document), None);
    assert!(active_flag(&document).is_none());
    assert_eq!(email_addresses(&document), ["a@x.org", "b@x.org"]);
    assert_eq!(active_flag(&object(json!({ "active": false }))), Some(false));
}

#[test]
fn only_an_explicit_list_says_anything_about_members() {
    let named = |body: Value| listed_member_ids(group_type(), &object(body)).unwrap();
    assert_eq!(named(json!({ "displayName": "Staff" })), None);
    assert_eq!(named(json!({ "members": null })), None);
    assert_eq!(named(json!({ "Members": [] })), Some(vec![]));
    assert_eq!(named(json!({ GROUP_SCHEMA: { "members": ["a"] } })), Some(vec!["a".into()]));
    assert_eq!(
        named(json!({ "members": [{ "VALUE": "a", "display": "A" }, " b "] })),
        Some(vec!["a".into(), "b".into()])
    );
    assert_eq!(named(json!({ "members": { "value": "a" } })), Some(vec!["a".into()]));
    for wrong in [json!([{}]), json!([{ "value": 7 }]), json!([7]), json!([""]), json!(true)] {
        assert!(listed_member_ids(group_type(), &object(json!({ "members": wrong }))).is_err());
    }
}

/// A complete resource as it is answered.
fn answer() -> Map<String, Value> {
    object(json!({
        "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA],
        "id": "1",
        "externalId": "e",
        "userName": "ada",
        "name": { "givenName": "Ada", "familyName": "Byron" },
        "password": "never",
        "emails": [{ "value": "a@x.org", "type": "work" }, { "type": "home" }],
        "groups": [{ "value": "g", "display": "Staff" }],
        ENTERPRISE_SCHEMA: { "department": "Engines", "manager": { "value": "7" } },
        "meta": { "resourceType": "User", "version": "W/\"1\"" },
    }))
}

fn projected(attributes: Option<&str>, excluded: Option<&str>) -> Value {
    let mut document = answer();
    Projection::parse(attributes, excluded).unwrap().apply_to(user_type(), &mut document);
    document.into()
}

#[test]
fn an_answer_holds_what_was_asked_for() {
    let all = projected(None, Some(" "));
    assert_eq!(all.get("password"), None);
    assert_eq!(all["meta"]["version"], "W/\"1\"");
    assert_eq!(
        projected(Some("USERNAME, name.givenName,nonsense"), None),
        json!({
            "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA], "id": "1", "userName": "ada",
            "name": { "givenName": "Ada" },
        })
    );
    assert_eq!(projected(Some("emails.value"), None)["emails"], json!([{ "value": "a@x.org" }]));
    assert_eq!(
        projected(Some("password"), None),
        json!({ "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA], "id": "1" })
    );
    let department =
        projected(Some(&format!("{ENTERPRISE_SCHEMA}:department,{USER_SCHEMA}:externalId")), None);
    assert_eq!(department[ENTERPRISE_SCHEMA], json!({ "department": "Engines" }));
    assert_eq!(department["externalId"], "e");
    assert_eq!(
        projected(Some(&ENTERPRISE_SCHEMA.to_lowercase()), None)[ENTERPRISE_SCHEMA],
        answer()[ENTERPRISE_SCHEMA]
    );
    assert_eq!(
        projected(Some("department"), None)[ENTERPRISE_SCHEMA],
        json!({ "department": "Engines" })
    );
}

#[test]
fn an_answer_is_spared_what_was_excluded() {
    let spared = projected(
        None,
        Some(&format!("id,schemas,groups,name.familyName,{ENTERPRISE_SCHEMA}:manager")),
    );
    assert_eq!(spared["id"], "1");
    assert_eq!(spared["schemas"], json!([USER_SCHEMA, ENTERPRISE_SCHEMA]));
    assert_eq!(spared.get("groups"), None);
    assert_eq!(spared["name"], json!({ "givenName": "Ada" }));
    assert_eq!(spared[ENTERPRISE_SCHEMA], json!({ "department": "Engines" }));
    assert_eq!(projected(None, Some(ENTERPRISE_SCHEMA)).get(ENTERPRISE_SCHEMA), None);
    assert!(Projection::parse(Some("a"), Some("b")).is_err());
    assert!(Projection::parse(Some(&"a,".repeat(1_000)), None).is_err());
}

#[test]
fn what_is_not_wanted_need_not_be_loaded() {
    let wants = |attributes: Option<&str>, excluded: Option<&str>, name: &str| {
        Projection::parse(attributes, excluded).unwrap().includes_attribute(name)
    };
    assert!(wants(None, None, "members"));
    assert!(wants(Some("Members.value"), None, "members"));
    assert!(wants(Some(&format!("{GROUP_SCHEMA}:members")), None, "members"));
    assert!(wants(Some(GROUP_SCHEMA), None, "members"));
    assert!(!wants(Some("displayName"), None, "members"));
    assert!(!wants(None, Some("MEMBERS"), "members"));
    assert!(!wants(None, Some(&format!("{GROUP_SCHEMA}:members")), "members"));
    assert!(wants(None, Some("members.display"), "members"));
}

/// JSON of any shape, under names that often mean something.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "(true|FALSE|work|a@x.org|AQ==|[a-zA-ZÀ-ÿ\\x00 ]{0,6})".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = "(value|TYPE|primary|givenName|manager|department|[a-z]{0,3})";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![
        "(userName|NAME|name\\.givenName|emails|roles|addresses|active|title|x509Certificates)",
        "(externalId|password)",
        Just(ENTERPRISE_SCHEMA.to_owned()),
        Just(format!("{ENTERPRISE_SCHEMA}:manager")),
        Just(format!("{USER_SCHEMA}:displayName")),
        ".{0,8}",
    ];
    prop::collection::vec((key, any_value()), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn normalizing_twice_changes_nothing(mut body in any_body()) {
        body.entry("userName").or_insert("ada".into());
        if let Ok(once) = normalize_document(user_type(), body) {
            let again = normalize_document(user_type(), once.clone()).unwrap();
            let texts = [&once, &again].map(|document| serde_json::to_string(document).unwrap());
            prop_assert_eq!(&texts[0], &texts[1]);
            search_document(user_type(), &once);
        }
    }

    #[test]
    fn folding_twice_changes_nothing(text in any::<String>()) {
        prop_assert_eq!(fold_text(&fold_text(&text)), fold_text(&text));
    }

    #[test]
    fn no_projection_invents_anything(attributes in "[a-zA-Z:., ]{0,40}", document in any_body()) {
        let mut kept = document.clone();
        Projection::parse(Some(&attributes), None).unwrap().apply_to(user_type(), &mut kept);
        prop_assert!(kept.keys().all(|key| document.contains_key(key)));
    }
}
