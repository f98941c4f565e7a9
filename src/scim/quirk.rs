//! Departures from the protocol that are tolerated, as far as they show in what was sent. Noted so that an
//! administrator sees how the identity provider speaks; nothing is decided by them.

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};

use super::filter::parse_path;
use crate::domain::document;
use crate::domain::schema::{Kind, Place, Resolved, ResourceType};
use crate::domain::search::AttrPath;

/// Values of one body that are looked at: what one of them does, the others do as well.
const MAX_LOOKED_AT: u32 = 1_000;

/// One departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// RFC 7644 section 3.5.2: `op` is lower case.
    OpInCapitals,
    /// RFC 7643 section 2.3.2: a boolean is no string.
    BooleanAsString,
    /// The name of a member is a path: dotted, qualified by a URN, or with a filter.
    PathAsName,
    /// RFC 7644 section 3.5.2.2: a removal names what it removes in its path.
    RemoveWithValue,
    /// RFC 7643 section 4.3: `manager` is an object.
    ManagerNotObject,
    /// RFC 7643 section 4.2: a member is an object.
    MemberNotObject,
    /// RFC 7643 section 3: every message names its schemas.
    NoSchemas,
    /// A null where nothing would do.
    Null,
    /// RFC 7644 section 3.1: the media type is application/scim+json.
    PlainJson,
    /// RFC 7643 section 7: clients do not write what is read-only; it was ignored.
    ReadOnlyAttribute,
    /// An attribute that no schema of the tenant has; it was left out.
    UnknownAttribute,
}

impl Quirk {
    const ALL: [Self; 11] = [
        Self::OpInCapitals,
        Self::BooleanAsString,
        Self::PathAsName,
        Self::RemoveWithValue,
        Self::ManagerNotObject,
        Self::MemberNotObject,
        Self::NoSchemas,
        Self::Null,
        Self::PlainJson,
        Self::ReadOnlyAttribute,
        Self::UnknownAttribute,
    ];

    /// The name in the request log.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpInCapitals => "OP_IN_CAPITALS",
            Self::BooleanAsString => "BOOLEAN_AS_STRING",
            Self::PathAsName => "PATH_AS_NAME",
            Self::RemoveWithValue => "REMOVE_WITH_VALUE",
            Self::ManagerNotObject => "MANAGER_NOT_OBJECT",
            Self::MemberNotObject => "MEMBER_NOT_OBJECT",
            Self::NoSchemas => "NO_SCHEMAS",
            Self::Null => "NULL",
            Self::PlainJson => "PLAIN_JSON",
            Self::ReadOnlyAttribute => "READ_ONLY_ATTRIBUTE",
            Self::UnknownAttribute => "UNKNOWN_ATTRIBUTE",
        }
    }
}

/// A set of departures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks(u16);

impl Quirks {
    fn add(&mut self, quirk: Quirk) {
        self.0 |= 1 << quirk as u16;
    }

    /// Both sets in one.
    pub fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Their names, always in the same order.
    pub fn names(self) -> Vec<&'static str> {
        Quirk::ALL.into_iter().filter(|quirk| self.0 & 1 << *quirk as u16 != 0).map(Quirk::name).collect()
    }
}

/// What the headers of a request with a body depart in.
pub fn of_headers(headers: &HeaderMap) -> Quirks {
    let mut quirks = Quirks::default();
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        quirks.add(Quirk::PlainJson);
    }
    quirks
}

/// What the body of a POST or PUT, or with `patch` of a PATCH, departs in.
pub fn of_body(ty: &ResourceType, patch: bool, body: &Map<String, Value>) -> Quirks {
    let mut look = Look { ty, found: Quirks::default(), left: MAX_LOOKED_AT };
    if !body.keys().any(|key| key.eq_ignore_ascii_case("schemas")) {
        look.found.add(Quirk::NoSchemas);
    }
    match patch {
        true => look.operations(body),
        false => look.attributes(body),
    }
    look.found
}

struct Look<'a> {
    ty: &'a ResourceType,
    found: Quirks,
    left: u32,
}

impl Look<'_> {
    /// Counts what is looked at; false when it is enough.
    fn more(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    fn operations(&mut self, body: &Map<String, Value>) {
        for operation in member(body, "Operations").and_then(Value::as_array).into_iter().flatten() {
            let Some(operation) = operation.as_object().filter(|_| self.more()) else { return };
            let verb = member(operation, "op").and_then(Value::as_str).unwrap_or_default();
            if verb.bytes().any(|byte| byte.is_ascii_uppercase()) {
                self.found.add(Quirk::OpInCapitals);
            }
            let value = member(operation, "value").unwrap_or(&Value::Null);
            let path = member(operation, "path").and_then(Value::as_str).map(str::trim).unwrap_or_default();
            match (path, value) {
                ("", Value::Object(fields)) => self.attributes(fields),
                ("", _) => {}
                (path, value) => self.at(verb, path, value),
            }
        }
    }

    fn at(&mut self, verb: &str, path: &str, value: &Value) {
        let Ok(path) = parse_path(path) else { return };
        let removal = verb.eq_ignore_ascii_case("remove");
        if removal && value.is_null() {
            return;
        }
        let sub = path.sub.or(path.attr.sub.clone());
        let Some(found) = self.ty.resolve(&AttrPath { sub, ..path.attr }) else { return };
        if removal && path.filter.is_none() && found.attribute.name == "members" {
            self.found.add(Quirk::RemoveWithValue);
        }
        if path.filter.is_some() && found.sub.is_none() {
            return self.element(found, value);
        }
        self.attribute(found, value);
    }

    fn attributes(&mut self, fields: &Map<String, Value>) {
        let ty = self.ty;
        for (key, value) in fields {
            if !self.more() {
                return;
            }
            match ty.locate(key) {
                Some(Place::Attribute(found)) => {
                    if key.contains([':', '.']) {
                        self.found.add(Quirk::PathAsName);
                    }
                    self.attribute(found, value);
                }
                Some(Place::Schema(_)) if value.is_null() => self.found.add(Quirk::Null),
                Some(Place::Schema(schema)) => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        match ty.locate_in(schema, key) {
                            Some(found) if self.more() => self.attribute(found, value),
                            Some(_) => return,
                            None => self.found.add(Quirk::UnknownAttribute),
                        }
                    }
                }
                None if key.contains('[') => self.found.add(Quirk::PathAsName),
                None => self.found.add(Quirk::UnknownAttribute),
            }
        }
    }

    fn attribute(&mut self, found: Resolved<'_>, value: &Value) {
        let attribute = found.sub.unwrap_or(found.attribute);
        match value {
            Value::Null => self.found.add(Quirk::Null),
            _ if found.read_only() => self.found.add(Quirk::ReadOnlyAttribute),
            Value::String(_) if attribute.kind == Kind::Boolean => self.found.add(Quirk::BooleanAsString),
            Value::String(_) | Value::Array(_) if document::is_pointer(attribute) => {
                self.found.add(Quirk::ManagerNotObject);
            }
            Value::Array(elements) => {
                for element in elements {
                    if !self.more() {
                        return;
                    }
                    self.element(found, element);
                }
            }
            one => self.element(found, one),
        }
    }

    /// One value of an attribute that may have several.
    fn element(&mut self, found: Resolved<'_>, element: &Value) {
        match element {
            Value::Null => self.found.add(Quirk::Null),
            Value::String(_) if found.attribute.name == "members" => self.found.add(Quirk::MemberNotObject),
            Value::Object(fields) if found.sub.is_none() => {
                for (key, value) in fields {
                    match found.attribute.sub(key) {
                        _ if !self.more() => return,
                        _ if value.is_null() => self.found.add(Quirk::Null),
                        Some(sub) if sub.kind == Kind::Boolean && value.is_string() => {
                            self.found.add(Quirk::BooleanAsString);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// The member of that name, in any case.
pub fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::schema::{ENTERPRISE, USER, group, user};

    fn of(ty: &ResourceType, patch: bool, body: Value) -> Vec<&'static str> {
        let mut body = body.as_object().unwrap().clone();
        body.entry("schemas").or_insert(json!([]));
        of_body(ty, patch, &body).names()
    }

    fn patch(operation: Value) -> Vec<&'static str> {
        let ty = if operation.to_string().contains("members") { group() } else { user() };
        of(ty, true, json!({ "Operations": [operation] }))
    }

    #[test]
    fn a_message_by_the_book_has_none() {
        let user_body = json!({
            "userName": "ada", "name": { "givenName": "Ada" }, "active": true, "externalId": "1",
            "emails": [{ "value": "a@x.example", "primary": true, "type": "work" }],
            ENTERPRISE: { "department": "Surgery", "manager": { "value": "7" } },
        });
        assert!(of(user(), false, user_body).is_empty());
        assert!(of(group(), false, json!({ "displayName": "W", "members": [{ "value": "7" }] })).is_empty());
        for operation in [
            json!({ "op": "replace", "path": "active", "value": false }),
            json!({ "op": "remove", "path": "members[value eq \"7\"]" }),
            json!({ "op": "remove", "path": "members" }),
            json!({ "op": "add", "path": "members", "value": [{ "value": "7" }] }),
            json!({ "op": "replace", "path": "emails[type eq \"work\"]", "value": { "value": "x" } }),
            json!({ "op": "replace", "path": format!("{ENTERPRISE}:manager"), "value": { "value": "7" } }),
            json!({ "op": "replace", "path": "name.givenName", "value": "Ada" }),
            json!({ "op": "add", "value": { "nickName": "A", ENTERPRISE: { "department": "x" } } }),
        ] {
            assert_eq!(patch(operation.clone()), Vec::<&str>::new(), "{operation}");
        }
    }

    #[test]
    fn each_departure_is_told_by_its_name() {
        for (operation, name) in [
            (json!({ "op": "Add", "path": "nickName", "value": "A" }), "OP_IN_CAPITALS"),
            (json!({ "op": "replace", "path": "active", "value": "False" }), "BOOLEAN_AS_STRING"),
            (json!({ "op": "replace", "value": { "active": "true" } }), "BOOLEAN_AS_STRING"),
            (
                json!({ "op": "replace", "path": "emails[type eq \"work\"].primary", "value": "True" }),
                "BOOLEAN_AS_STRING",
            ),
            (
                json!({ "op": "add", "path": "emails", "value": [{ "value": "x", "primary": "true" }] }),
                "BOOLEAN_AS_STRING",
            ),
            (json!({ "op": "replace", "value": { "name.givenName": "A" } }), "PATH_AS_NAME"),
            (json!({ "op": "replace", "value": { format!("{ENTERPRISE}:department"): "x" } }), "PATH_AS_NAME"),
            (json!({ "op": "replace", "value": { "emails[type eq \"work\"].value": "x" } }), "PATH_AS_NAME"),
            (json!({ "op": "remove", "path": "members", "value": [{ "value": "7" }] }), "REMOVE_WITH_VALUE"),
            (json!({ "op": "replace", "path": format!("{ENTERPRISE}:manager"), "value": "7" }), "MANAGER_NOT_OBJECT"),
            (
                json!({ "op": "replace", "path": format!("{ENTERPRISE}:manager"), "value": [{ "value": "7" }] }),
                "MANAGER_NOT_OBJECT",
            ),
            (json!({ "op": "replace", "value": { ENTERPRISE: { "manager": "7" } } }), "MANAGER_NOT_OBJECT"),
            (json!({ "op": "add", "path": "members", "value": ["7"] }), "MEMBER_NOT_OBJECT"),
            (json!({ "op": "add", "path": "members", "value": "7" }), "MEMBER_NOT_OBJECT"),
            (json!({ "op": "replace", "path": "nickName", "value": null }), "NULL"),
            (json!({ "op": "add", "path": "emails", "value": [{ "value": "x", "type": null }] }), "NULL"),
            (json!({ "op": "replace", "value": { "id": "7" } }), "READ_ONLY_ATTRIBUTE"),
            (json!({ "op": "replace", "value": { "shoeSize": "7" } }), "UNKNOWN_ATTRIBUTE"),
        ] {
            assert_eq!(patch(operation.clone()), [name], "{operation}");
        }
        assert_eq!(of(user(), false, json!({ "userName": "a", "groups": [] })), ["READ_ONLY_ATTRIBUTE"]);
        assert_eq!(of(user(), false, json!({ "userName": "a", USER: { "shoeSize": 7 } })), ["UNKNOWN_ATTRIBUTE"]);
        assert_eq!(of_body(user(), false, &Map::new()).names(), ["NO_SCHEMAS"]);
        let mut headers = HeaderMap::new();
        assert!(of_headers(&headers).names().is_empty());
        headers.insert("content-type", "application/scim+json".parse().unwrap());
        assert!(of_headers(&headers).names().is_empty());
        headers.insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
        assert_eq!(of_headers(&headers).names(), ["PLAIN_JSON"]);
    }

    #[test]
    fn names_fit_the_set_and_nothing_in_a_body_makes_it_stumble() {
        let mut all = Quirks::default();
        Quirk::ALL.into_iter().for_each(|quirk| all.add(quirk));
        assert_eq!(all.names().len(), Quirk::ALL.len());
        for odd in [json!(null), json!(1), json!("x"), json!([]), json!([[]]), json!({}), json!([{ "a": [1] }])] {
            of(user(), true, json!({ "Operations": odd }));
            of(user(), true, json!({ "Operations": [{ "op": odd, "path": odd, "value": odd }] }));
            of(user(), true, json!({ "Operations": [{ "op": "add", "path": "name.", "value": odd }] }));
            for name in ["emails", "name", "active", "members", USER, ENTERPRISE, "", ".", "urn:", "é[", "schemas"] {
                of(user(), false, json!({ name: odd }));
                of(group(), false, json!({ name: odd }));
            }
        }
        let members: Value = (0..100_000).map(|n| json!({ "value": n.to_string() })).collect();
        assert!(of(group(), false, json!({ "displayName": "W", "members": members })).is_empty());
    }
}
