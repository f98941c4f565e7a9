//! The meaning of a request as a short label for the request log. It is read from the request
//! without checking whether the request is valid.

use serde_json::{Map, Value};

use super::quirk::find_field;
use crate::domain::paging::PageStart;
use crate::identity::filter::{AttrPath, CompareOp, Filter, FilterLiteral};
use crate::scim::patch::MAX_OPERATIONS;
use crate::scim::query::ListParams;

/// A list without a filter and with at most this many results is only a test of the connection.
const MAX_TEST_PAGE_SIZE: u64 = 2;

/// The meaning that the method and the endpoint show. `one` = a single resource, `search` = a query
/// in a body.
pub fn classify_request(method: &str, resource: &str, one: bool, search: bool) -> &'static str {
    match (method, resource) {
        ("GET" | "HEAD", "Users") if one => "read user",
        ("GET" | "HEAD", "Groups") if one => "read group",
        ("GET" | "HEAD", "Users") => "list users",
        ("GET" | "HEAD", "Groups") => "list groups",
        ("POST", "Users") if search => "list users",
        ("POST", "Groups") if search => "list groups",
        ("POST", "Users") => "create user",
        ("POST", "Groups") => "create group",
        ("PUT" | "PATCH", "Users") => "update user",
        ("PUT" | "PATCH", "Groups") => "update group",
        ("DELETE", "Users") => "delete user",
        ("DELETE", "Groups") => "delete group",
        ("GET" | "HEAD", "/") => "list everything",
        ("POST", "/") if search => "list everything",
        ("POST", "Bulk") => "bulk request",
        ("GET" | "HEAD", "ServiceProviderConfig" | "ResourceTypes" | "Schemas") => {
            "discover capabilities"
        }
        _ => "something that is not offered",
    }
}

/// The more exact meaning that the body shows; `None` if it shows none.
pub fn classify_body(
    method: &str,
    resource: &str,
    body: &Map<String, Value>,
) -> Option<&'static str> {
    match (method, resource) {
        ("PUT", "Users") => body
            .iter()
            .any(|(key, value)| names_attribute(key, "active") && is_false(value))
            .then_some("suspend user"),
        ("PUT", "Groups") => {
            body.keys().any(|key| names_attribute(key, "members")).then_some("replace members")
        }
        ("PATCH", "Users") => classify_user_patch(&patched_attributes(body)),
        ("PATCH", "Groups") => classify_group_patch(&patched_attributes(body)),
        _ => None,
    }
}

/// The meaning of a query.
pub fn classify_search(resource: &str, wanted: &ListParams) -> &'static str {
    let users = resource == "Users";
    let name = |path: &AttrPath| path.name.to_ascii_lowercase();
    match &wanted.query.filter {
        None if resource == "/" => "list everything",
        None if (1..=MAX_TEST_PAGE_SIZE).contains(&wanted.query.limit)
            && wanted.query.from == PageStart::Index(0) =>
        {
            "connection test"
        }
        None if users => "list users",
        None => "list groups",
        // Entra ID tests a connection with a user name that no user has: a UUID.
        Some(Filter::Compare(path, CompareOp::Eq, FilterLiteral::String(text)))
            if users && name(path) == "username" =>
        {
            if uuid::Uuid::try_parse(text).is_ok() {
                "connection test"
            } else {
                "find user by userName"
            }
        }
        Some(Filter::Compare(path, CompareOp::Eq, _)) => match (users, name(path).as_str()) {
            (true, "externalid") => "find user by externalId",
            (true, "emails") => "find user by e-mail",
            (true, "id") => "find user by id",
            (false, "externalid") if resource == "Groups" => "find group by externalId",
            (false, "displayname") if resource == "Groups" => "find group by displayName",
            (false, "id") if resource == "Groups" => "find group by id",
            (false, "members") => "find groups of a member",
            _ => search_meaning(resource),
        },
        Some(Filter::Element(path, _)) if users && name(path) == "emails" => "find user by e-mail",
        Some(Filter::And(both)) if !users && both.iter().any(is_about_members) => {
            "check a membership"
        }
        Some(_) => search_meaning(resource),
    }
}

fn search_meaning(resource: &str) -> &'static str {
    match resource {
        "Users" => "search users",
        "Groups" => "search groups",
        _ => "search everything",
    }
}

fn is_about_members(filter: &Filter) -> bool {
    match filter {
        Filter::Compare(path, ..) | Filter::Element(path, _) => {
            path.name.eq_ignore_ascii_case("members")
        }
        _ => false,
    }
}

/// One attribute that a PATCH changes: the verb, the name and the value.
pub struct PatchedAttribute<'a> {
    pub verb: &'a str,
    pub name: &'a str,
    whole: bool,
    pub value: Option<&'a Value>,
}

/// All attributes that a PATCH changes.
pub fn patched_attributes(body: &Map<String, Value>) -> Vec<PatchedAttribute<'_>> {
    let mut all = Vec::new();
    for operation in find_field(body, "Operations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_OPERATIONS)
    {
        let Some(operation) = operation.as_object() else { continue };
        let verb = find_field(operation, "op").and_then(Value::as_str).unwrap_or_default();
        let value = find_field(operation, "value").filter(|value| !value.is_null());
        match find_field(operation, "path").and_then(Value::as_str).map(str::trim) {
            Some(path) if !path.is_empty() => {
                all.push(PatchedAttribute { verb, name: path, whole: !path.contains('['), value });
            }
            _ => {
                // Clients only repeat these three; that is no change.
                let fields =
                    value.and_then(Value::as_object).into_iter().flatten().take(MAX_OPERATIONS);
                let fields = fields.filter(|(key, _)| {
                    !names_attribute(key, "id")
                        && !names_attribute(key, "schemas")
                        && !names_attribute(key, "meta")
                });
                all.extend(fields.map(|(key, value)| PatchedAttribute {
                    verb,
                    name: key,
                    whole: true,
                    value: Some(value),
                }));
            }
        }
    }
    all
}

fn classify_user_patch(touched: &[PatchedAttribute<'_>]) -> Option<&'static str> {
    // A removal of `active` neither suspends nor activates the user.
    let removal = |one: &&PatchedAttribute<'_>| one.verb.eq_ignore_ascii_case("remove");
    let mut active = touched
        .iter()
        .filter(|one| names_attribute(one.name, "active") && !removal(one))
        .filter_map(|one| one.value);
    let first = active.next()?;
    if is_false(first) || active.any(is_false) {
        return Some("suspend user");
    }
    (!first.is_null() && touched.iter().all(|one| names_attribute(one.name, "active")))
        .then_some("activate user")
}

fn classify_group_patch(touched: &[PatchedAttribute<'_>]) -> Option<&'static str> {
    if !touched.is_empty() && touched.iter().all(|one| names_attribute(one.name, "displayName")) {
        return Some("rename group");
    }
    if !touched.iter().all(|one| names_attribute(one.name, "members")) {
        return None;
    }
    let mut means = touched.iter().map(|one| match one.verb.to_ascii_lowercase().as_str() {
        "add" => "add members",
        "remove" if one.whole && one.value.is_none() => "remove all members",
        "remove" => "remove members",
        _ => "replace members",
    });
    let first = means.next()?;
    Some(if means.all(|other| other == first) { first } else { "change members" })
}

/// Whether a path or a field's name means the attribute `name` itself.
fn names_attribute(path: &str, name: &str) -> bool {
    let plain = path.split('[').next().unwrap_or_default();
    plain.rsplit(':').next().is_some_and(|last| last.eq_ignore_ascii_case(name))
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
        || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(method: &str, resource: &str, body: Value) -> &'static str {
        let body = body.as_object().unwrap().clone();
        classify_body(method, resource, &body)
            .unwrap_or_else(|| classify_request(method, resource, true, false))
    }

    fn patch(resource: &str, operations: Value) -> &'static str {
        of("PATCH", resource, json!({ "operations": operations }))
    }

    #[test]
    fn changes_of_users() {
        let off = json!([{ "op": "Replace", "path": "active", "value": "False" }]);
        assert_eq!(patch("Users", off), "suspend user");
        let among = json!([{ "op": "replace", "value": { "title": "x", "active": false } }]);
        assert_eq!(patch("Users", among), "suspend user");
        let qualified = "urn:ietf:params:scim:schemas:core:2.0:User:active";
        assert_eq!(
            patch("Users", json!([{ "op": "add", "path": qualified, "value": true }])),
            "activate user"
        );
        let more = json!([{ "op": "add", "value": { "active": true, "title": "x" } }]);
        assert_eq!(patch("Users", more), "update user");
        assert_eq!(patch("Users", json!([])), "update user");
        assert_eq!(of("PUT", "Users", json!({ "userName": "a", "active": false })), "suspend user");
        assert_eq!(of("PUT", "Users", json!({ "userName": "a", "active": true })), "update user");
        assert_eq!(of("POST", "Users", json!({ "userName": "a", "active": false })), "create user");
    }

    #[test]
    fn changes_of_groups() {
        let member = json!([{ "value": "7" }]);
        let add = json!({ "op": "Add", "path": "members", "value": member });
        let one = json!({ "op": "remove", "path": "members[value eq \"urn:x\"]" });
        assert_eq!(patch("Groups", json!([add])), "add members");
        assert_eq!(patch("Groups", json!([add, add])), "add members");
        assert_eq!(patch("Groups", json!([one])), "remove members");
        assert_eq!(
            patch("Groups", json!([{ "op": "Remove", "path": "members", "value": member }])),
            "remove members"
        );
        assert_eq!(
            patch("Groups", json!([{ "op": "remove", "path": "members" }])),
            "remove all members"
        );
        assert_eq!(
            patch("Groups", json!([{ "op": "replace", "value": { "members": [] } }])),
            "replace members"
        );
        assert_eq!(patch("Groups", json!([add, one])), "change members");
        let okta = json!([{ "op": "replace", "value": { "id": "7", "displayName": "Ward 4" } }]);
        assert_eq!(patch("Groups", okta), "rename group");
        assert_eq!(
            patch("Groups", json!([add, { "op": "replace", "path": "externalId", "value": "x" }])),
            "update group"
        );
        assert_eq!(of("PUT", "Groups", json!({ "displayName": "x" })), "update group");
        assert_eq!(
            of("PUT", "Groups", json!({ "displayName": "x", "members": [] })),
            "replace members"
        );
    }

    #[test]
    fn searches() {
        let find = |resource: &str, body: Value| {
            let wanted = ListParams::from_body(body.as_object().unwrap()).unwrap();
            classify_search(resource, &wanted)
        };
        let by = |resource: &str, filter: &str| find(resource, json!({ "filter": filter }));
        assert_eq!(by("Users", "USERNAME eq \"ada\""), "find user by userName");
        assert_eq!(
            by("Users", "userName eq \"0191f1a2-7b3c-7def-8123-456789abcdef\""),
            "connection test"
        );
        assert_eq!(by("Users", "emails[type eq \"work\"].value eq \"a\""), "find user by e-mail");
        assert_eq!(by("Users", "emails.value eq \"a\""), "find user by e-mail");
        assert_eq!(by("Users", "title co \"x\""), "search users");
        assert_eq!(by("Groups", "displayName eq \"x\""), "find group by displayName");
        assert_eq!(by("Groups", "members.value eq \"x\""), "find groups of a member");
        assert_eq!(by("Groups", "id eq \"x\" and members[value eq \"y\"]"), "check a membership");
        assert_eq!(by("/", "displayName eq \"x\""), "search everything");
        assert_eq!(find("Users", json!({ "startIndex": 1, "count": 1 })), "connection test");
        assert_eq!(find("Users", json!({ "startIndex": 3, "count": 1 })), "list users");
        assert_eq!(find("Groups", json!({})), "list groups");
        assert_eq!(find("/", json!({ "count": 1 })), "list everything");
    }
}
