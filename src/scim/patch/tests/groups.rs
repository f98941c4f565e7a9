//! PATCH of groups.

use super::*;

fn staff() -> Map<String, Value> {
    document::normalize_document(
        group_type(),
        object(json!({ "displayName": "Staff", "externalId": "g-1" })),
    )
    .unwrap()
}

pub(super) fn try_group(operations: Value) -> Result<GroupPatch> {
    let patch = apply_group(
        &parse_operations(&json!({ "Operations": operations }))?,
        group_type(),
        &staff(),
    )?;
    Ok(GroupPatch {
        document: document::normalize_document(group_type(), patch.document)?,
        members: patch.members,
    })
}

pub(super) fn members_of(operation: Value) -> Vec<MemberChange> {
    let patch = try_group(json!([operation])).unwrap();
    assert_eq!(patch.document, staff());
    patch.members
}

pub(super) fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn group_rule(operation: Value) -> Rule {
    match try_group(json!([operation])) {
        Err(Error::Invalid { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_are_added_in_every_shape() {
    for value in [
        json!([{ "value": "a", "display": "A", "$ref": "../Users/a" }]),
        json!([{ "VALUE": "a" }]),
        json!({ "value": "a" }),
        json!("a"),
        json!(["a"]),
    ] {
        let expected = [MemberChange::Add(ids(&["a"]))];
        assert_eq!(members_of(json!({ "op": "Add", "path": "Members", "value": value })), expected);
        assert_eq!(members_of(json!({ "op": "add", "value": { "members": value } })), expected);
    }
    assert_eq!(members_of(json!({ "op": "add", "path": "members", "value": [] })), []);
    assert_eq!(group_rule(json!({ "op": "add", "path": "members" })), Rule::Value);
    assert_eq!(
        group_rule(json!({ "op": "add", "path": "members", "value": [{ "display": "A" }] })),
        Rule::Value
    );
}

#[test]
fn dialect_3_remove_with_a_list_means_these_members() {
    let remove =
        |value: Value| members_of(json!({ "op": "Remove", "path": "members", "value": value }));
    assert_eq!(
        remove(json!([{ "value": "a" }, { "value": "b" }])),
        [MemberChange::Remove(ids(&["a", "b"]))]
    );
    assert_eq!(remove(json!([])), []);
    assert_eq!(remove(Value::Null), [MemberChange::Clear]);
    assert_eq!(members_of(json!({ "op": "remove", "path": "members" })), [MemberChange::Clear]);
}

#[test]
fn members_are_selected_by_value_and_type() {
    let remove = |filter: &str| json!({ "op": "remove", "path": format!("members[{filter}]") });
    assert_eq!(members_of(remove("value eq \"a\"")), [MemberChange::Remove(ids(&["a"]))]);
    let either = remove("Value eq \"a\" or value EQ \"b\" or value eq \"c\"");
    assert_eq!(members_of(either), [MemberChange::Remove(ids(&["a", "b", "c"]))]);
    for filter in [
        "value ne \"a\"",
        "value eq \"a\" and type eq \"User\"",
        "value pr",
        "type eq \"Group\"",
        "not (type pr)",
    ] {
        let expected = parse_path(&format!("members[{filter}]")).unwrap().filter.unwrap();
        assert_eq!(members_of(remove(filter)), [MemberChange::RemoveWhere(expected)], "{filter}");
    }
    for filter in [
        "display eq \"A\"",
        "value eq \"a\" and display pr",
        "$ref pr",
        "size eq \"a\"",
        "type gt null",
    ] {
        assert_eq!(group_rule(remove(filter)), Rule::Filter, "{filter}");
    }
}

#[test]
fn members_are_not_edited_in_place() {
    for (path, value) in [
        ("members[value eq \"a\"].display", json!("A")),
        ("members[value eq \"a\"].value", json!("b")),
        ("members[value eq \"a\"]", json!({ "value": "b" })),
        ("members.value", json!("b")),
    ] {
        assert_eq!(
            group_rule(json!({ "op": "replace", "path": path, "value": value })),
            Rule::Mutability,
            "{path}"
        );
    }
}

#[test]
fn dialect_8_only_an_explicit_empty_list_empties_a_group() {
    let empty = [MemberChange::Replace(Vec::new())];
    assert_eq!(members_of(json!({ "op": "replace", "path": "members", "value": [] })), empty);
    assert_eq!(members_of(json!({ "op": "replace", "value": { "members": [] } })), empty);
    assert_eq!(members_of(json!({ "op": "replace", "value": { "displayName": "Staff" } })), []);
    assert_eq!(
        members_of(
            json!({ "op": "replace", "value": { "displayName": "Staff", "members": null } })
        ),
        []
    );
    assert_eq!(
        group_rule(json!({ "op": "replace", "path": "members", "value": null })),
        Rule::Value
    );
}

#[test]
fn dialects_6_and_10_groups_are_renamed_and_unlinked() {
    let renamed =
        try_group(json!([{ "op": "replace", "value": { "id": "1", "displayName": " Crew " } }]))
            .unwrap();
    assert_eq!((&renamed.document["displayName"], renamed.members), (&json!("Crew"), vec![]));
    for operation in [
        json!({ "op": "replace", "path": "externalId", "value": null }),
        json!({ "op": "replace", "value": { "externalId": "" } }),
        json!({ "op": "remove", "path": "externalid", "value": "g-1" }),
    ] {
        assert_eq!(try_group(json!([operation])).unwrap().document.get("externalId"), None);
    }
    assert_eq!(group_rule(json!({ "op": "remove", "path": "displayName" })), Rule::Mutability);
}

#[test]
fn member_changes_keep_their_order() {
    let patch = try_group(json!([
        { "op": "remove", "path": "members[value eq \"a\"]" },
        { "op": "add", "path": "members", "value": [{ "value": "b" }] },
        { "op": "replace", "path": "displayName", "value": "Crew" },
    ]));
    let expected = [MemberChange::Remove(ids(&["a"])), MemberChange::Add(ids(&["b"]))];
    assert_eq!(patch.unwrap().members, expected);
}
