//! PATCH of users; groups and random operations have files of their own.

mod groups;
mod properties;

use serde_json::{Map, Value, json};

use groups::{ids, members_of};

use super::*;
use crate::identity::schema::{ENTERPRISE_SCHEMA, USER_SCHEMA, group_type, user_type};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The stored document of Ada before each test.
fn ada() -> Map<String, Value> {
    let body = json!({
        "externalId": "e-1",
        "userName": "ada",
        "name": { "givenName": "Ada", "familyName": "Byron" },
        "title": "Countess",
        "active": true,
        "emails": [
            { "value": "ada@work.example", "type": "work", "primary": true },
            { "value": "ada@home.example", "type": "home" },
        ],
        "addresses": [{ "locality": "London", "country": "GB", "type": "work" }],
        ENTERPRISE_SCHEMA: {
            "department": "Engines", "manager": { "value": "7", "$ref": "../Users/7" },
        },
    });
    document::normalize_document(user_type(), object(body)).unwrap()
}

fn try_operations(operations: Value) -> Result<Map<String, Value>> {
    let draft =
        apply_user(&parse_operations(&json!({ "Operations": operations }))?, user_type(), &ada())?;
    Ok(document::normalize_document(user_type(), draft)?)
}

/// The document of Ada after one operation.
fn after(operation: Value) -> Value {
    try_operations(json!([operation])).unwrap().into()
}

/// The document of Ada after one operation with this path and value.
fn op(op: &str, path: &str, value: Value) -> Value {
    after(json!({ "op": op, "path": path, "value": value }))
}

fn unchanged() -> Value {
    ada().into()
}

/// Which rule the operation breaks.
fn broken(operation: Value) -> Rule {
    match try_operations(json!([operation])) {
        Err(Error::Invalid { rule, .. }) => rule,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

// The message.

#[test]
fn a_message_is_read_in_any_case_and_without_schemas() {
    let operations = parse_operations(
        &json!({ "operations": [{ "OP": "Replace", "Path": "title", "VALUE": "x" }] }),
    )
    .unwrap();
    assert_eq!(operations.len(), 1);
    assert_eq!((operations[0].verb, &operations[0].value), (PatchVerb::Replace, &Some(json!("x"))));
    assert_eq!(
        parse_operations(&json!({ "Operations": [{ "op": "add", "path": "" }] })).unwrap()[0].path,
        None
    );
}

#[test]
fn a_message_that_says_nothing_is_refused() {
    let rule = |body: Value| match parse_operations(&body) {
        Err(Error::Invalid { rule, .. }) => rule,
        other => panic!("{other:?}"),
    };
    let add = json!({ "op": "add", "path": "title", "value": "x" });
    for body in [
        json!(null),
        json!({}),
        json!({ "Operations": add }),
        json!({ "Operations": ["add"] }),
        json!({ "Operations": [{ "path": "title" }] }),
        json!({ "Operations": [{ "op": "move", "path": "title" }] }),
    ] {
        assert_eq!(rule(body.clone()), Rule::Syntax, "{body}");
    }
    assert_eq!(rule(json!({ "Operations": vec![add.clone(); 1_001] })), Rule::TooMany);
    assert_eq!(parse_operations(&json!({ "Operations": vec![add; 1_000] })).unwrap().len(), 1_000);
    assert!(parse_operations(&json!({ "Operations": [] })).unwrap().is_empty());
    assert_eq!(rule(json!({ "Operations": [{ "op": "add", "path": 7 }] })), Rule::Path);
    assert_eq!(rule(json!({ "Operations": [{ "op": "add", "path": "emails[" }] })), Rule::Path);
}

// RFC 7644 section 3.5.2.1: add.

#[test]
fn add_sets_single_values_and_parts_of_complex_ones() {
    assert_eq!(op("add", "nickName", json!("Lace"))["nickName"], "Lace");
    assert_eq!(op("add", "title", json!("Lady"))["title"], "Lady");
    let name = json!({ "givenName": "Augusta", "familyName": "Byron", "middleName": "A." });
    assert_eq!(
        op("add", "name", json!({ "givenName": "Augusta", "middleName": "A." }))["name"],
        name
    );
    assert_eq!(op("add", "name.middleName", json!("A."))["name"]["middleName"], "A.");
}

#[test]
fn add_appends_to_many_values_and_lists_nothing_twice() {
    let more = op("add", "emails", json!([{ "value": "ada@third.example", "type": "other" }]));
    assert_eq!(more["emails"].as_array().unwrap().len(), 3);
    assert_eq!(
        op(
            "add",
            "emails",
            json!({
                "value": "ADA@home.example", "type": "Home",
            })
        )["emails"][1]["type"],
        "Home"
    );
    let again = op("add", "emails", json!([{ "value": "ada@home.example", "type": "home" }]));
    assert_eq!(again, unchanged());
}

#[test]
fn a_new_primary_value_takes_the_place_of_the_old_one() {
    let primaries = |user: &Value| -> Vec<bool> {
        user["emails"].as_array().unwrap().iter().map(document::is_primary).collect()
    };
    let added = op("add", "emails", json!([{ "value": "new@x.example", "primary": true }]));
    assert_eq!(primaries(&added), [false, false, true]);
    assert_eq!(
        primaries(&op("replace", "emails[type eq \"home\"].primary", json!("True"))),
        [false, true]
    );
    assert_eq!(
        primaries(&op("add", "emails[type eq \"home\"]", json!({ "primary": true }))),
        [false, true]
    );
    let two = json!([{ "value": "a", "primary": true }, { "value": "b", "primary": true }]);
    assert_eq!(broken(json!({ "op": "add", "path": "emails", "value": two })), Rule::Value);
    assert_eq!(
        broken(json!({ "op": "replace", "path": "emails.primary", "value": true })),
        Rule::Value
    );
}

// RFC 7644 section 3.5.2.2: remove.

#[test]
fn remove_takes_away_the_target_and_nothing_else() {
    let without = |name: &str| {
        let mut expected = ada();
        expected.remove(name);
        Value::from(expected)
    };
    for (path, name) in
        [("title", "title"), ("EMAILS", "emails"), ("externalId", "externalId"), ("name", "name")]
    {
        assert_eq!(after(json!({ "op": "remove", "path": path })), without(name));
    }
    assert_eq!(
        after(json!({ "op": "remove", "path": "name.givenName" }))["name"],
        json!({ "familyName": "Byron" })
    );
    let home = after(json!({ "op": "remove", "path": "emails[type eq \"work\"]" }));
    assert_eq!(home["emails"], json!([{ "value": "ada@home.example", "type": "home" }]));
    assert_eq!(after(json!({ "op": "remove", "path": "emails[value pr]" })), without("emails"));
    let part = after(json!({ "op": "remove", "path": "addresses[type eq \"work\"].country" }));
    assert_eq!(part["addresses"], json!([{ "locality": "London", "type": "work" }]));
    assert_eq!(after(json!({ "op": "remove", "path": "addresses.country" })), part);
}

#[test]
fn removing_what_is_not_there_is_no_error() {
    for path in [
        "nickName",
        "photos",
        "emails[type eq \"fax\"]",
        "emails[type eq \"fax\"].value",
        "name.middleName",
    ] {
        assert_eq!(after(json!({ "op": "remove", "path": path })), unchanged(), "{path}");
    }
}

#[test]
fn what_must_be_there_cannot_be_removed() {
    assert_eq!(broken(json!({ "op": "remove" })), Rule::NoTarget);
    assert_eq!(broken(json!({ "op": "remove", "value": { "title": "x" } })), Rule::NoTarget);
    assert_eq!(broken(json!({ "op": "remove", "path": "userName" })), Rule::Mutability);
    assert_eq!(
        broken(json!({ "op": "replace", "path": "userName", "value": null })),
        Rule::Mutability
    );
    assert_eq!(broken(json!({ "op": "replace", "path": "userName", "value": " " })), Rule::Value);
    assert_eq!(broken(json!({ "op": "remove", "path": USER_SCHEMA })), Rule::Mutability);
}

// RFC 7644 section 3.5.2.3: replace.

#[test]
fn replace_sets_single_values_and_whole_lists() {
    assert_eq!(op("replace", "nickName", json!("Lace"))["nickName"], "Lace");
    assert_eq!(
        op("replace", "emails", json!([{ "value": "x@y.example" }]))["emails"],
        json!([{ "value": "x@y.example" }])
    );
    assert_eq!(op("replace", "emails", json!([])).get("emails"), None);
    assert_eq!(op("replace", "title", Value::Null).get("title"), None);
    assert_eq!(
        op("replace", "name", json!({ "givenName": null }))["name"],
        json!({ "familyName": "Byron" })
    );
}

#[test]
fn replace_with_a_filter_changes_the_selected_values() {
    let moved = op("replace", "addresses[type eq \"WORK\"].locality", json!("Paris"));
    assert_eq!(
        moved["addresses"],
        json!([{ "locality": "Paris", "country": "GB", "type": "work" }])
    );
    let moved = op(
        "replace",
        "addresses[type eq \"work\"]",
        json!({ "locality": "Paris", "country": null }),
    );
    assert_eq!(moved["addresses"], json!([{ "locality": "Paris", "type": "work" }]));
    let path = "emails[value ew \"home.example\" and not (primary eq true)]";
    let address = op("replace", path, json!({ "value": "b@x.example" }));
    assert_eq!(address["emails"][1], json!({ "value": "b@x.example", "type": "home" }));
    let gone = op("replace", "emails[type eq \"work\"]", Value::Null);
    assert_eq!(gone["emails"].as_array().unwrap().len(), 1);
    let display = op("replace", "emails.display", json!("Ada"));
    assert!(display["emails"].as_array().unwrap().iter().all(|email| email["display"] == "Ada"));
}

#[test]
fn a_filter_that_selects_nothing_and_describes_nothing_has_no_target() {
    for filter in [
        "type co \"fax\"",
        "type eq \"a\" or type eq \"b\"",
        "not (value pr)",
        "type eq \"a\" and type eq \"b\"",
        "value eq \"gone@x.example\"",
        "display eq \"Gone\"",
        "type eq \"fax\" and value eq \"gone@x.example\"",
        "primary eq false and display eq \"Gone\"",
    ] {
        for (verb, sub, value) in [
            ("replace", ".value", json!("x")),
            ("replace", ".type", json!("work")),
            ("replace", "", json!({ "type": "work" })),
            ("add", ".display", json!("x")),
            ("add", "", json!({ "display": "x" })),
        ] {
            let operation =
                json!({ "op": verb, "path": format!("emails[{filter}]{sub}"), "value": value });
            assert_eq!(broken(operation), Rule::NoTarget, "{filter}");
        }
    }
}

#[test]
fn a_text_is_no_whole_element() {
    for filter in ["type eq \"work\"", "type eq \"fax\"", "value eq \"ada@home.example\""] {
        for verb in ["add", "replace"] {
            let operation =
                json!({ "op": verb, "path": format!("emails[{filter}]"), "value": "x@y.example" });
            assert!([Rule::Value, Rule::NoTarget].contains(&broken(operation)), "{filter}");
        }
    }
}

#[test]
fn an_attribute_of_a_person_is_removed_or_absent_and_decides_nothing() {
    for operation in [
        json!({ "op": "remove", "path": "active" }),
        json!({ "op": "remove", "path": "active", "value": true }),
        json!({ "op": "replace", "path": "active", "value": null }),
        json!({ "op": "replace", "value": { "active": null } }),
    ] {
        assert_eq!(after(operation).get("active"), None);
    }
}

// What other clients send.

#[test]
fn values_come_as_json_text() {
    let expected = op("add", "phoneNumbers", json!([{ "value": "1", "type": "work" }]));
    for value in [
        json!("{\"value\": \"1\", \"type\": \"work\"}"),
        json!(" [{\"value\": \"1\", \"type\": \"work\"}]"),
        json!(["{\"value\": \"1\", \"type\": \"work\"}"]),
    ] {
        assert_eq!(op("add", "phoneNumbers", value.clone()), expected, "{value}");
        assert_eq!(after(json!({ "op": "add", "value": { "phoneNumbers": value } })), expected);
    }
    let named = op("replace", "name", json!("{\"givenName\": \"Augusta\"}"));
    assert_eq!(named["name"]["givenName"], "Augusta");
    for whole in [json!("{\"title\": \"Lady\"}"), json!(["{\"title\": \"Lady\"}"])] {
        assert_eq!(after(json!({ "op": "replace", "value": whole }))["title"], "Lady");
    }
    let extended = op("add", ENTERPRISE_SCHEMA, json!("{\"division\": \"North\"}"));
    assert_eq!(extended[ENTERPRISE_SCHEMA]["division"], "North");
    let home = op("replace", "emails[type eq \"home\"]", json!("{\"value\": \"b@x.example\"}"));
    assert_eq!(home["emails"][1]["value"], "b@x.example");
    let member = json!(["{\"value\": \"a\"}", "{\"value\": \"b\"}"]);
    let added = members_of(json!({ "op": "add", "path": "members", "value": member }));
    assert_eq!(added, [MemberChange::Add(ids(&["a", "b"]))]);
    // Of an attribute that is text, such a text is the value.
    assert_eq!(op("replace", "title", json!("{\"a\": 1}"))["title"], "{\"a\": 1}");
    assert_eq!(broken(json!({ "op": "replace", "value": "{\"title\": " })), Rule::Value);
}

#[test]
fn one_object_comes_in_a_list() {
    let expected = op("replace", "addresses[type eq \"work\"]", json!({ "locality": "Paris" }));
    let listed = op("replace", "addresses[type eq \"work\"]", json!([{ "locality": "Paris" }]));
    assert_eq!(listed, expected);
    let made = op("add", "phoneNumbers[type eq \"work\"]", json!([{ "value": "1" }]));
    assert_eq!(made["phoneNumbers"], json!([{ "value": "1", "type": "work" }]));
    assert_eq!(after(json!({ "op": "replace", "value": [{ "title": "Lady" }] }))["title"], "Lady");
    let two = json!([{ "locality": "Paris" }, { "locality": "Rome" }]);
    for unclear in [two, json!([null]), json!([])] {
        let operation =
            json!({ "op": "replace", "path": "addresses[type eq \"work\"]", "value": unclear });
        assert_eq!(broken(operation), Rule::Value);
    }
}

#[test]
fn single_values_come_in_lists_and_objects() {
    for value in [
        json!("Lady"),
        json!(["Lady"]),
        json!({ "value": "Lady" }),
        json!([{ "$ref": null, "value": "Lady" }]),
    ] {
        assert_eq!(op("replace", "title", value.clone())["title"], "Lady", "{value}");
        assert_eq!(op("replace", "name.givenName", value.clone())["name"]["givenName"], "Lady");
        assert_eq!(
            op("add", "emails[type eq \"home\"].display", value)["emails"][1]["display"],
            "Lady"
        );
    }
    for value in [json!([false]), json!(["false"]), json!([{ "$ref": null, "value": "False" }])] {
        assert_eq!(op("replace", "active", value.clone())["active"], false, "{value}");
        assert_eq!(
            after(json!({ "op": "replace", "value": { "active": value } }))["active"],
            false
        );
    }
    assert_eq!(
        op("replace", "name", json!([{ "givenName": "Lady" }]))["name"]["givenName"],
        "Lady"
    );
    assert_eq!(op("replace", "title", json!([null])).get("title"), None);
    for unclear in [json!(["a", "b"]), json!([]), json!([["a"]]), json!({ "value": "a", "b": 1 })] {
        let operation = json!({ "op": "replace", "path": "title", "value": unclear });
        assert_eq!(broken(operation), Rule::Value, "{unclear}");
    }
}

#[test]
fn targets_that_do_not_exist_or_may_not_be_written_are_refused() {
    let rule = |path: &str| broken(json!({ "op": "replace", "path": path, "value": "x" }));
    for path in
        ["shoeSize", "name.shoeSize", "emails[type eq \"work\"].shoeSize", "urn:none:1.0:X:y"]
    {
        assert_eq!(rule(path), Rule::Path, "{path}");
    }
    assert_eq!(rule("name[givenName eq \"Ada\"]"), Rule::Path);
    for path in [
        "id",
        "meta.version",
        "groups",
        "groups[value eq \"1\"]",
        &format!("{ENTERPRISE_SCHEMA}:manager.displayName"),
    ] {
        assert_eq!(rule(path), Rule::Mutability, "{path}");
    }
    assert_eq!(broken(json!({ "op": "add", "path": "title" })), Rule::Value);
    assert_eq!(
        broken(json!({ "op": "replace", "path": "emails[type eq \"work\"].value" })),
        Rule::Value
    );
    assert_eq!(broken(json!({ "op": "replace" })), Rule::Value);
    assert_eq!(broken(json!({ "op": "add", "value": "x" })), Rule::Value);
    assert_eq!(broken(json!({ "op": "add", "path": "title", "value": 7 })), Rule::Value);
}

#[test]
fn all_operations_apply_in_order_or_none_does() {
    let both = try_operations(json!([
        { "op": "remove", "path": "emails" },
        { "op": "add", "path": "emails", "value": [{ "value": "only@x.example" }] },
    ]));
    assert_eq!(both.unwrap()["emails"], json!([{ "value": "only@x.example" }]));
    let half = try_operations(json!([
        { "op": "replace", "path": "title", "value": "Lady" },
        { "op": "replace", "path": "shoeSize", "value": 39 },
    ]));
    assert!(half.is_err());
}

// What identity providers send: the numbers are those of the list of dialects.

#[test]
fn dialect_1_operations_come_in_any_case() {
    assert_eq!(op("Add", "NICKNAME", json!("Lace"))["nickName"], "Lace");
    assert_eq!(op("REMOVE", "Title", Value::Null).get("title"), None);
}

#[test]
fn dialect_2_booleans_come_as_words() {
    assert_eq!(op("Replace", "active", json!("False"))["active"], false);
    assert_eq!(after(json!({ "op": "replace", "value": { "active": "false" } }))["active"], false);
    assert_eq!(broken(json!({ "op": "replace", "path": "active", "value": "no" })), Rule::Value);
    let email = op("replace", "emails[primary eq \"True\"].value", json!("new@work.example"));
    assert_eq!(email["emails"][0]["value"], "new@work.example");
}

#[test]
fn dialect_3_values_beside_remove_are_the_ones_to_remove() {
    let left = op("remove", "emails", json!([{ "value": "ADA@work.example" }]));
    assert_eq!(left["emails"], json!([{ "value": "ada@home.example", "type": "home" }]));
    assert_eq!(
        op("remove", "emails", json!("ada@home.example"))["emails"].as_array().unwrap().len(),
        1
    );
    let other_type =
        op("remove", "emails", json!([{ "value": "ada@work.example", "type": "home" }]));
    assert_eq!(other_type, unchanged());
    assert_eq!(op("remove", "emails", json!([])), unchanged());
    assert_eq!(
        broken(json!({ "op": "remove", "path": "emails", "value": [{ "type": "work" }] })),
        Rule::Value
    );
}

#[test]
fn dialect_4_a_typed_value_is_made_where_there_is_none() {
    let phone = op("replace", "phoneNumbers[type eq \"mobile\"].value", json!("+44 1"));
    assert_eq!(phone["phoneNumbers"], json!([{ "value": "+44 1", "type": "mobile" }]));
    let built = try_operations(json!([
        { "op": "Add", "path": "addresses[type eq \"home\"].locality", "value": "Paris" },
        { "op": "Add", "path": "addresses[type eq \"home\"].country", "value": "FR" },
    ]));
    assert_eq!(
        built.unwrap()["addresses"][1],
        json!({ "locality": "Paris", "country": "FR", "type": "home" })
    );
    let primary = op("add", "roles[primary eq \"True\" and type eq \"app\"].value", json!("admin"));
    assert_eq!(primary["roles"], json!([{ "value": "admin", "type": "app", "primary": true }]));
    assert_eq!(op("add", "roles.value", json!("admin"))["roles"], json!([{ "value": "admin" }]));
}

#[test]
fn dialect_4_removed_value_removes_its_label() {
    let left = after(json!({ "op": "remove", "path": "emails[type eq \"work\"].value" }));
    assert_eq!(left["emails"], json!([{ "value": "ada@home.example", "type": "home" }]));
}

#[test]
fn dialect_5_values_without_a_path_have_dotted_and_qualified_names() {
    let changed = after(json!({ "op": "replace", "value": {
        "name.givenName": "Augusta",
        format!("{ENTERPRISE_SCHEMA}:department"): "Poetry",
        ENTERPRISE_SCHEMA: { "costCenter": "9" },
        format!("{USER_SCHEMA}:title"): "Lady",
        "emails[type eq \"work\"].value": "new@work.example",
    } }));
    assert_eq!(changed["name"], json!({ "givenName": "Augusta", "familyName": "Byron" }));
    assert_eq!(changed[ENTERPRISE_SCHEMA]["department"], "Poetry");
    assert_eq!(changed[ENTERPRISE_SCHEMA]["costCenter"], "9");
    assert_eq!(changed[ENTERPRISE_SCHEMA]["manager"]["value"], "7");
    assert_eq!(changed["title"], "Lady");
    assert_eq!(changed["emails"][0]["value"], "new@work.example");
}

#[test]
fn dialect_6_what_was_read_may_be_sent_back() {
    let echoed = after(json!({ "op": "replace", "value": {
        "id": "1", "schemas": [USER_SCHEMA], "meta": {}, "groups": [], "title": "Lady",
        "unheardOf": true,
        "urn:example:other:1.0:User": { "x": 1 },
    } }));
    let mut expected = ada();
    expected.insert("title".into(), "Lady".into());
    assert_eq!(echoed, Value::from(expected));
    assert_eq!(op("add", "schemas", json!(["urn:example:other:1.0:User"])), unchanged());
}

#[test]
fn dialect_7_a_manager_comes_and_goes_in_many_shapes() {
    // Without its URN, too: Entra ID names it so in filters.
    assert_eq!(
        op("replace", "manager", json!("9"))[ENTERPRISE_SCHEMA]["manager"],
        json!({ "value": "9" })
    );
    let path = format!("{ENTERPRISE_SCHEMA}:manager");
    for shape in
        [json!("8"), json!({ "value": "8" }), json!([{ "value": "8", "displayName": "Bo" }])]
    {
        assert_eq!(
            op("replace", &path, shape)[ENTERPRISE_SCHEMA]["manager"],
            json!({ "value": "8" })
        );
    }
    assert_eq!(
        op("add", &format!("{path}.value"), json!("8"))[ENTERPRISE_SCHEMA]["manager"],
        json!({ "value": "8" })
    );
    for empty in [Value::Null, json!(""), json!({ "value": null }), json!([])] {
        assert_eq!(op("replace", &path, empty)[ENTERPRISE_SCHEMA].get("manager"), None);
    }
    for path in [path.clone(), format!("{path}.value")] {
        assert_eq!(op("remove", &path, json!("7"))[ENTERPRISE_SCHEMA].get("manager"), None);
    }
    assert_eq!(op("replace", &path, json!({ "displayName": "Bo" })), unchanged());
}

#[test]
fn dialect_9_remove_never_sets() {
    assert_eq!(op("remove", "title", json!("Lady")).get("title"), None);
    assert_eq!(op("remove", "nickName", json!("Lace")), unchanged());
    assert_eq!(op("remove", "phoneNumbers[type eq \"fax\"].value", json!("1")), unchanged());
}

#[test]
fn extensions_are_changed_and_removed_as_a_whole() {
    let merged = op("add", ENTERPRISE_SCHEMA, json!({ "Division": "North", "unheardOf": 1 }));
    assert_eq!(merged[ENTERPRISE_SCHEMA]["division"], "North");
    assert_eq!(merged[ENTERPRISE_SCHEMA]["department"], "Engines");
    for operation in [
        json!({ "op": "remove", "path": ENTERPRISE_SCHEMA.to_lowercase() }),
        json!({ "op": "replace", "path": ENTERPRISE_SCHEMA, "value": null }),
        json!({ "op": "replace", "value": { ENTERPRISE_SCHEMA: null } }),
    ] {
        let without = after(operation);
        assert_eq!(without.get(ENTERPRISE_SCHEMA), None);
        assert_eq!(without["schemas"], json!([USER_SCHEMA]));
    }
    assert_eq!(broken(json!({ "op": "add", "path": ENTERPRISE_SCHEMA })), Rule::Value);
    assert_eq!(
        broken(json!({ "op": "add", "path": ENTERPRISE_SCHEMA, "value": "x" })),
        Rule::Value
    );
}

#[test]
fn password_is_accepted_and_not_stored() {
    assert_eq!(op("replace", "password", json!("hunter2")), unchanged());
    assert_eq!(after(json!({ "op": "add", "value": { "Password": "hunter2" } })), unchanged());
}

#[test]
fn operation_cannot_exceed_the_size_limit() {
    let roles: Vec<String> = (0..1_000).map(|index| index.to_string()).collect();
    let result = try_operations(json!([
        { "op": "add", "path": "roles", "value": roles },
        { "op": "add", "path": "roles.display", "value": "x".repeat(10_000) },
    ]));
    assert!(matches!(result, Err(Error::Invalid { rule: Rule::TooMany, .. })));
    let roles: Vec<String> = (0..1_001).map(|index| index.to_string()).collect();
    assert_eq!(broken(json!({ "op": "add", "path": "roles", "value": roles })), Rule::TooMany);
}

#[test]
fn comparisons_of_one_request_are_limited() {
    let roles: Vec<String> = (0..1_000).map(|index| index.to_string()).collect();
    let one_by_one = |role: &String| json!({ "op": "add", "path": "roles", "value": role });
    let added = try_operations(roles.iter().take(200).map(one_by_one).collect()).unwrap();
    assert_eq!(added["roles"].as_array().unwrap().len(), 200);
    let any = (0..64).map(|index| format!("value eq \"{index}\"")).collect::<Vec<_>>().join(" or ");
    let removal = json!({ "op": "remove", "path": format!("roles[{any}].display") });
    let mut operations = vec![json!({ "op": "add", "path": "roles", "value": roles })];
    operations.resize(11, removal);
    match try_operations(operations.into()) {
        Err(Error::Invalid { rule: Rule::TooMany, field, .. }) => assert_eq!(field, "Operations"),
        other => panic!("{other:?}"),
    }
}
