//! What a client means by a request, in a few words of ours. Read off what was sent without judging it, for the
//! request log alone.

use serde_json::{Map, Value};

use super::patch::MAX_OPERATIONS;
use super::query::Wanted;
use super::quirk::member;
use crate::domain::list::From;
use crate::domain::search::{AttrPath, Filter, Literal, Op};

/// An identity provider that wants no more than this of everything is only trying the connection.
const TRIAL: u64 = 2;

/// As much as the method and the endpoint tell. `one` = a single resource, `search` = a query in a body.
pub fn of_request(method: &str, resource: &str, one: bool, search: bool) -> &'static str {
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
        ("GET" | "HEAD", "ServiceProviderConfig" | "ResourceTypes" | "Schemas") => "discover capabilities",
        _ => "something that is not offered",
    }
}

/// What the body adds to that; none if nothing.
pub fn of_body(method: &str, resource: &str, body: &Map<String, Value>) -> Option<&'static str> {
    match (method, resource) {
        ("PUT", "Users") => {
            body.iter().any(|(key, value)| is(key, "active") && is_false(value)).then_some("suspend user")
        }
        ("PUT", "Groups") => body.keys().any(|key| is(key, "members")).then_some("replace members"),
        ("PATCH", "Users") => of_user_patch(&touched(body)),
        ("PATCH", "Groups") => of_group_patch(&touched(body)),
        _ => None,
    }
}

/// What a query looks for.
pub fn of_search(resource: &str, wanted: &Wanted) -> &'static str {
    let users = resource == "Users";
    let name = |path: &AttrPath| path.name.to_ascii_lowercase();
    match &wanted.query.filter {
        None if resource == "/" => "list everything",
        None if (1..=TRIAL).contains(&wanted.query.limit) && wanted.query.from == From::Index(0) => "connection test",
        None if users => "list users",
        None => "list groups",
        // Entra ID tries a connection with a name that nobody has.
        Some(Filter::Compare(path, Op::Eq, Literal::String(text))) if users && name(path) == "username" => {
            if uuid::Uuid::try_parse(text).is_ok() {
                "connection test"
            } else {
                "find user by userName"
            }
        }
        Some(Filter::Compare(path, Op::Eq, _)) => match (users, name(path).as_str()) {
            (true, "externalid") => "find user by externalId",
            (true, "emails") => "find user by e-mail",
            (true, "id") => "find user by id",
            (false, "externalid") if resource == "Groups" => "find group by externalId",
            (false, "displayname") if resource == "Groups" => "find group by displayName",
            (false, "id") if resource == "Groups" => "find group by id",
            (false, "members") => "find groups of a member",
            _ => search(resource),
        },
        Some(Filter::Element(path, _)) if users && name(path) == "emails" => "find user by e-mail",
        Some(Filter::And(both)) if !users && both.iter().any(about_members) => "check a membership",
        Some(_) => search(resource),
    }
}

fn search(resource: &str) -> &'static str {
    match resource {
        "Users" => "search users",
        "Groups" => "search groups",
        _ => "search everything",
    }
}

fn about_members(filter: &Filter) -> bool {
    matches!(filter, Filter::Compare(path, ..) | Filter::Element(path, _) if path.name.eq_ignore_ascii_case("members"))
}

/// One attribute that a PATCH touches: how, by which name, with which value.
pub struct Touched<'a> {
    pub verb: &'a str,
    pub name: &'a str,
    whole: bool,
    pub value: Option<&'a Value>,
}

/// Every attribute that a PATCH touches.
pub fn touched(body: &Map<String, Value>) -> Vec<Touched<'_>> {
    let mut all = Vec::new();
    for operation in member(body, "Operations").and_then(Value::as_array).into_iter().flatten().take(MAX_OPERATIONS) {
        let Some(operation) = operation.as_object() else { continue };
        let verb = member(operation, "op").and_then(Value::as_str).unwrap_or_default();
        let value = member(operation, "value").filter(|value| !value.is_null());
        match member(operation, "path").and_then(Value::as_str).map(str::trim) {
            Some(path) if !path.is_empty() => {
                all.push(Touched { verb, name: path, whole: !path.contains('['), value });
            }
            _ => {
                // What clients only repeat is no change.
                let fields = value.and_then(Value::as_object).into_iter().flatten().take(MAX_OPERATIONS);
                let fields = fields.filter(|(key, _)| !is(key, "id") && !is(key, "schemas") && !is(key, "meta"));
                all.extend(fields.map(|(key, value)| Touched { verb, name: key, whole: true, value: Some(value) }));
            }
        }
    }
    all
}

fn of_user_patch(touched: &[Touched<'_>]) -> Option<&'static str> {
    // A removal of `active` decides nothing.
    let removal = |one: &&Touched<'_>| one.verb.eq_ignore_ascii_case("remove");
    let mut active = touched.iter().filter(|one| is(one.name, "active") && !removal(one)).filter_map(|one| one.value);
    let first = active.next()?;
    if is_false(first) || active.any(is_false) {
        return Some("suspend user");
    }
    (!first.is_null() && touched.iter().all(|one| is(one.name, "active"))).then_some("activate user")
}

fn of_group_patch(touched: &[Touched<'_>]) -> Option<&'static str> {
    if !touched.is_empty() && touched.iter().all(|one| is(one.name, "displayName")) {
        return Some("rename group");
    }
    if !touched.iter().all(|one| is(one.name, "members")) {
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

/// Whether a path or a member's name means the attribute `name` itself.
fn is(path: &str, name: &str) -> bool {
    let plain = path.split('[').next().unwrap_or_default();
    plain.rsplit(':').next().is_some_and(|last| last.eq_ignore_ascii_case(name))
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false) || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(method: &str, resource: &str, body: Value) -> &'static str {
        let body = body.as_object().unwrap().clone();
        of_body(method, resource, &body).unwrap_or_else(|| of_request(method, resource, true, false))
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
        assert_eq!(patch("Users", json!([{ "op": "add", "path": qualified, "value": true }])), "activate user");
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
        assert_eq!(patch("Groups", json!([{ "op": "Remove", "path": "members", "value": member }])), "remove members");
        assert_eq!(patch("Groups", json!([{ "op": "remove", "path": "members" }])), "remove all members");
        assert_eq!(patch("Groups", json!([{ "op": "replace", "value": { "members": [] } }])), "replace members");
        assert_eq!(patch("Groups", json!([add, one])), "change members");
        let okta = json!([{ "op": "replace", "value": { "id": "7", "displayName": "Ward 4" } }]);
        assert_eq!(patch("Groups", okta), "rename group");
        assert_eq!(
            patch("Groups", json!([add, { "op": "replace", "path": "externalId", "value": "x" }])),
            "update group"
        );
        assert_eq!(of("PUT", "Groups", json!({ "displayName": "x" })), "update group");
        assert_eq!(of("PUT", "Groups", json!({ "displayName": "x", "members": [] })), "replace members");
    }

    #[test]
    fn searches() {
        let find = |resource: &str, body: Value| {
            let wanted = Wanted::of_body(body.as_object().unwrap()).unwrap();
            of_search(resource, &wanted)
        };
        let by = |resource: &str, filter: &str| find(resource, json!({ "filter": filter }));
        assert_eq!(by("Users", "USERNAME eq \"ada\""), "find user by userName");
        assert_eq!(by("Users", "userName eq \"0191f1a2-7b3c-7def-8123-456789abcdef\""), "connection test");
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
