//! Quirks: departures from the protocol that this server tolerates, as far as the request shows
//! them. They are recorded so that an administrator sees what the identity provider does; nothing
//! else depends on them.

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::identity::document;
use crate::identity::filter::{AttrPath, Filter, FilterLiteral};
use crate::identity::schema::{
    AttributeKind, MemberMeaning, ResolvedAttribute, ResourceType, SchemaAttribute,
};
use crate::scim::filter_syntax::{parse_path, path_is_unquoted};
use crate::scim::patch::{only_element, parse_json_text, single_in_list};

/// How many values of one body are examined: the other values will have the same quirks.
const MAX_EXAMINED_VALUES: u32 = 1_000;

/// One quirk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// RFC 7644 section 3.5.2: `op` is lower case.
    OpInCapitals,
    /// RFC 7643 section 2.3.2: a boolean is no string.
    BooleanAsString,
    /// The name of a field is a path: dotted, qualified by a URN, or with a filter.
    PathAsName,
    /// RFC 7644 section 3.5.2.2: a removal names what it removes in its path.
    RemoveWithValue,
    /// RFC 7643 section 4.3: `manager` is an object.
    ManagerNotObject,
    /// RFC 7643 section 4.2: a member is an object.
    MemberNotObject,
    /// RFC 7643 section 3: every message names its schemas.
    NoSchemas,
    /// A null where the field could be left out.
    Null,
    /// RFC 7644 section 3.1: the media type is application/scim+json.
    PlainJson,
    /// RFC 7643 section 7: clients do not write what is read-only; it was ignored.
    ReadOnlyAttribute,
    /// An attribute that no schema of the tenant has; it was left out.
    UnknownAttribute,
    /// RFC 7644 section 3.5.2: a PATCH has one or more operations.
    EmptyOperations,
    /// RFC 7644 section 3.5.2: the value of an operation is JSON, not text that holds JSON.
    JsonText,
    /// RFC 7644 section 3.5.2: a single element is not written as a list of one element.
    ListOfOne,
    /// RFC 7643 section 2.4: a plain value is no object.
    PlainValueAsObject,
    /// RFC 8259 section 8.1: JSON text begins without a byte order mark.
    ByteOrderMark,
    /// RFC 7644 section 3.4.2.2: a string in a filter has double quotes.
    UnquotedValue,
}

impl Quirk {
    const ALL: [Self; 17] = [
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
        Self::EmptyOperations,
        Self::JsonText,
        Self::ListOfOne,
        Self::PlainValueAsObject,
        Self::ByteOrderMark,
        Self::UnquotedValue,
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
            Self::EmptyOperations => "EMPTY_OPERATIONS",
            Self::JsonText => "JSON_TEXT",
            Self::ListOfOne => "LIST_OF_ONE",
            Self::PlainValueAsObject => "PLAIN_VALUE_AS_OBJECT",
            Self::ByteOrderMark => "BYTE_ORDER_MARK",
            Self::UnquotedValue => "UNQUOTED_VALUE",
        }
    }
}

/// A set of quirks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks(u32);

impl Quirks {
    fn insert(&mut self, quirk: Quirk) {
        self.0 |= 1 << quirk as u16;
    }

    /// The set of this quirk, or the empty set if `departs` is false.
    pub fn only_if(quirk: Quirk, departs: bool) -> Self {
        let mut quirks = Self::default();
        if departs {
            quirks.insert(quirk);
        }
        quirks
    }

    /// The union of both sets.
    pub fn union(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Their names, always in the same order.
    pub fn names(self) -> Vec<&'static str> {
        Quirk::ALL
            .into_iter()
            .filter(|quirk| self.0 & 1 << *quirk as u16 != 0)
            .map(Quirk::name)
            .collect()
    }
}

/// The quirks in the headers of a request with a body.
pub fn header_quirks(headers: &HeaderMap) -> Quirks {
    let mut quirks = Quirks::default();
    let media =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media
        .split(';')
        .next()
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    {
        quirks.insert(Quirk::PlainJson);
    }
    quirks
}

/// The quirks in the body of a POST or PUT, or, if `patch` is true, of a PATCH.
pub fn body_quirks(ty: &ResourceType, patch: bool, body: &Map<String, Value>) -> Quirks {
    let mut look = QuirkScanner { ty, patch, found: Quirks::default(), left: MAX_EXAMINED_VALUES };
    if !body.keys().any(|key| key.eq_ignore_ascii_case("schemas")) {
        look.found.insert(Quirk::NoSchemas);
    }
    if patch {
        look.scan_operations(body);
    } else {
        look.scan_attributes(body);
    }
    look.found
}

/// The quirks in the filter of a query; `unquoted` says whether the filter holds a string without
/// quotes.
pub fn filter_quirks(ty: &ResourceType, filter: &Filter, unquoted: bool) -> Quirks {
    Quirks::only_if(Quirk::UnquotedValue, unquoted || compares_text_with_word(ty, filter))
}

/// Whether a string attribute is compared with a number, `true` or `false` without quotes, which is
/// read as a string.
fn compares_text_with_word(ty: &ResourceType, filter: &Filter) -> bool {
    let is_text = |path: &AttrPath| {
        let found = ty.resolve_path(path);
        let kind = found.map(|found| match found.sub {
            None if found.attribute.kind == AttributeKind::Complex => {
                found.attribute.sub_attribute("value").map(|sub| sub.kind)
            }
            sub => Some(sub.unwrap_or(found.attribute).kind),
        });
        matches!(
            kind.flatten(),
            Some(AttributeKind::String | AttributeKind::Reference | AttributeKind::Binary)
        )
    };
    match filter {
        Filter::And(all) | Filter::Or(all) => {
            all.iter().any(|inner| compares_text_with_word(ty, inner))
        }
        Filter::Not(inner) => compares_text_with_word(ty, inner),
        Filter::Compare(path, _, FilterLiteral::Number(_) | FilterLiteral::Bool(_)) => {
            is_text(path)
        }
        Filter::Element(path, inner) => element_compares_text_with_word(path, inner, &is_text),
        Filter::Compare(..) | Filter::Present(_) => false,
    }
}

fn element_compares_text_with_word(
    of: &AttrPath,
    filter: &Filter,
    is_text: &dyn Fn(&AttrPath) -> bool,
) -> bool {
    match filter {
        Filter::And(all) | Filter::Or(all) => {
            all.iter().any(|inner| element_compares_text_with_word(of, inner, is_text))
        }
        Filter::Not(inner) => element_compares_text_with_word(of, inner, is_text),
        Filter::Compare(sub, _, FilterLiteral::Number(_) | FilterLiteral::Bool(_)) => {
            is_text(&AttrPath { sub: Some(sub.name.clone()), ..of.clone() })
        }
        Filter::Compare(..) | Filter::Present(_) | Filter::Element(..) => false,
    }
}

struct QuirkScanner<'a> {
    ty: &'a ResourceType,
    /// Whether the body is that of a PATCH.
    patch: bool,
    found: Quirks,
    left: u32,
}

impl QuirkScanner<'_> {
    /// Counts one examined value; false if the limit is reached.
    fn count_value(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    fn scan_operations(&mut self, body: &Map<String, Value>) {
        let operations = find_field(body, "Operations").and_then(Value::as_array);
        if operations.is_some_and(Vec::is_empty) {
            self.found.insert(Quirk::EmptyOperations);
        }
        for operation in operations.into_iter().flatten() {
            let Some(operation) = operation.as_object().filter(|_| self.count_value()) else {
                return;
            };
            let verb = find_field(operation, "op").and_then(Value::as_str).unwrap_or_default();
            if verb.bytes().any(|byte| byte.is_ascii_uppercase()) {
                self.found.insert(Quirk::OpInCapitals);
            }
            let value = find_field(operation, "value").unwrap_or(&Value::Null);
            let path = find_field(operation, "path")
                .and_then(Value::as_str)
                .map(str::trim)
                .unwrap_or_default();
            if !path.is_empty() {
                self.scan_path(verb, path, value);
                continue;
            }
            let parsed = self.parse_json_text(value);
            let value = self.take_only_element(parsed.as_ref().unwrap_or(value));
            if let Value::Object(fields) = value {
                self.scan_attributes(fields);
            }
        }
    }

    fn parse_json_text(&mut self, value: &Value) -> Option<Value> {
        let parsed = parse_json_text(value)?;
        self.found.insert(Quirk::JsonText);
        Some(parsed)
    }

    fn take_only_element<'v>(&mut self, value: &'v Value) -> &'v Value {
        let Some(only) = only_element(value) else { return value };
        self.found.insert(Quirk::ListOfOne);
        only
    }

    /// The value of a single-valued attribute that came in a list or an object.
    fn take_single_value<'v>(&mut self, target: &SchemaAttribute, value: &'v Value) -> &'v Value {
        if !self.patch || target.multi_valued {
            return value;
        }
        let only = single_in_list(target, value);
        let inner = document::wrapped_value(target, only.unwrap_or(value));
        if only.is_some() {
            self.found.insert(Quirk::ListOfOne);
        }
        if inner.is_some() {
            self.found.insert(Quirk::PlainValueAsObject);
        }
        inner.or(only).unwrap_or(value)
    }

    fn scan_path(&mut self, verb: &str, path: &str, value: &Value) {
        if path.contains('[') && path_is_unquoted(path) {
            self.found.insert(Quirk::UnquotedValue);
        }
        let Ok(path) = parse_path(path) else { return };
        let removal = verb.eq_ignore_ascii_case("remove");
        if removal && value.is_null() {
            return;
        }
        let sub = path.sub.or(path.attr.sub.clone());
        let Some(found) = self.ty.resolve_path(&AttrPath { sub, ..path.attr }) else { return };
        if removal && path.filter.is_none() && found.attribute.name == "members" {
            self.found.insert(Quirk::RemoveWithValue);
        }
        if path.filter.is_none() {
            return self.scan_attribute(found, value);
        }
        let value = self.take_only_element(value);
        match found.sub {
            None => self.scan_element(found, value),
            Some(_) => self.scan_attribute(found, value),
        }
    }

    fn scan_attributes(&mut self, fields: &Map<String, Value>) {
        let ty = self.ty;
        for (key, value) in fields {
            if !self.count_value() {
                return;
            }
            match ty.locate_member(key) {
                Some(MemberMeaning::Attribute(found)) => {
                    if key.contains([':', '.']) {
                        self.found.insert(Quirk::PathAsName);
                    }
                    self.scan_attribute(found, value);
                }
                Some(MemberMeaning::Schema(_)) if value.is_null() => self.found.insert(Quirk::Null),
                Some(MemberMeaning::Schema(schema)) => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        match ty.locate_in(schema, key) {
                            Some(found) if self.count_value() => self.scan_attribute(found, value),
                            Some(_) => return,
                            None => self.found.insert(Quirk::UnknownAttribute),
                        }
                    }
                }
                None if key.contains('[') => {
                    self.found.insert(Quirk::PathAsName);
                    self.scan_path("replace", key, value);
                }
                None => self.found.insert(Quirk::UnknownAttribute),
            }
        }
    }

    fn scan_attribute(&mut self, found: ResolvedAttribute<'_>, value: &Value) {
        let attribute = found.sub.unwrap_or(found.attribute);
        if self.patch
            && attribute.kind == AttributeKind::Complex
            && let Some(parsed) = self.parse_json_text(value)
        {
            return self.scan_attribute(found, &parsed);
        }
        let value = self.take_single_value(attribute, value);
        match value {
            Value::Null => self.found.insert(Quirk::Null),
            _ if found.read_only() => self.found.insert(Quirk::ReadOnlyAttribute),
            Value::String(_) if attribute.kind == AttributeKind::Boolean => {
                self.found.insert(Quirk::BooleanAsString)
            }
            Value::String(_) | Value::Array(_) if document::is_pointer(attribute) => {
                self.found.insert(Quirk::ManagerNotObject);
            }
            Value::Array(elements) => {
                for element in elements {
                    if !self.count_value() {
                        return;
                    }
                    self.scan_element(found, element);
                }
            }
            one => self.scan_element(found, one),
        }
    }

    /// One value of an attribute that may have several.
    fn scan_element(&mut self, found: ResolvedAttribute<'_>, element: &Value) {
        match element {
            Value::Null => self.found.insert(Quirk::Null),
            Value::String(_) if found.attribute.name == "members" => {
                self.found.insert(Quirk::MemberNotObject)
            }
            one if found.sub.is_none() && document::wraps_plain(found.attribute, one) => {
                self.found.insert(Quirk::PlainValueAsObject);
            }
            Value::Object(fields) if found.sub.is_none() => {
                for (key, value) in fields {
                    match found.attribute.sub_attribute(key) {
                        _ if !self.count_value() => return,
                        _ if value.is_null() => self.found.insert(Quirk::Null),
                        Some(sub) if sub.kind == AttributeKind::Boolean && value.is_string() => {
                            self.found.insert(Quirk::BooleanAsString);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// The field of that name; upper and lower case count as equal.
pub fn find_field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::schema::{ENTERPRISE_SCHEMA, USER_SCHEMA, group_type, user_type};

    fn of(ty: &ResourceType, patch: bool, body: Value) -> Vec<&'static str> {
        let mut body = body.as_object().unwrap().clone();
        body.entry("schemas").or_insert(json!([]));
        body_quirks(ty, patch, &body).names()
    }

    fn patch(operation: Value) -> Vec<&'static str> {
        let ty = if operation.to_string().contains("members") { group_type() } else { user_type() };
        of(ty, true, json!({ "Operations": [operation] }))
    }

    #[test]
    fn standard_message_has_no_quirks() {
        let user_body = json!({
            "userName": "ada", "name": { "givenName": "Ada" }, "active": true, "externalId": "1",
            "emails": [{ "value": "a@x.example", "primary": true, "type": "work" }],
            ENTERPRISE_SCHEMA: { "department": "Surgery", "manager": { "value": "7" } },
        });
        assert!(of(user_type(), false, user_body).is_empty());
        assert!(
            of(group_type(), false, json!({ "displayName": "W", "members": [{ "value": "7" }] }))
                .is_empty()
        );
        for operation in [
            json!({ "op": "replace", "path": "active", "value": false }),
            json!({ "op": "remove", "path": "members[value eq \"7\"]" }),
            json!({ "op": "remove", "path": "members" }),
            json!({ "op": "add", "path": "members", "value": [{ "value": "7" }] }),
            json!({ "op": "replace", "path": "emails[type eq \
                \"work\"]", "value": { "value": "x" } }),
            json!({
                "op": "replace", "path": format!("{ENTERPRISE_SCHEMA}:manager"),
                "value": { "value": "7" },
            }),
            json!({ "op": "replace", "path": "name.givenName", "value": "Ada" }),
            json!({
                "op": "add", "value": { "nickName": "A", ENTERPRISE_SCHEMA: { "department": "x" } },
            }),
        ] {
            assert_eq!(patch(operation.clone()), Vec::<&str>::new(), "{operation}");
        }
    }

    #[test]
    fn each_departure_has_its_name() {
        for (operation, name) in [
            (json!({ "op": "Add", "path": "nickName", "value": "A" }), "OP_IN_CAPITALS"),
            (json!({ "op": "replace", "path": "active", "value": "False" }), "BOOLEAN_AS_STRING"),
            (json!({ "op": "replace", "value": { "active": "true" } }), "BOOLEAN_AS_STRING"),
            (
                json!({ "op": "replace", "path": "emails[type eq \
                    \"work\"].primary", "value": "True" }),
                "BOOLEAN_AS_STRING",
            ),
            (
                json!({
                    "op": "add", "path": "emails", "value": [{ "value": "x", "primary": "true" }],
                }),
                "BOOLEAN_AS_STRING",
            ),
            (json!({ "op": "replace", "value": { "name.givenName": "A" } }), "PATH_AS_NAME"),
            (
                json!({
                    "op": "replace", "value": { format!("{ENTERPRISE_SCHEMA}:department"): "x" },
                }),
                "PATH_AS_NAME",
            ),
            (
                json!({ "op": "replace", "value": { "emails[type eq \"work\"].value": "x" } }),
                "PATH_AS_NAME",
            ),
            (
                json!({ "op": "remove", "path": "members", "value": [{ "value": "7" }] }),
                "REMOVE_WITH_VALUE",
            ),
            (
                json!({
                    "op": "replace", "path": format!("{ENTERPRISE_SCHEMA}:manager"), "value": "7",
                }),
                "MANAGER_NOT_OBJECT",
            ),
            (
                json!({
                    "op": "replace", "path": format!("{ENTERPRISE_SCHEMA}:manager"),
                    "value": [{ "value": "7" }],
                }),
                "MANAGER_NOT_OBJECT",
            ),
            (
                json!({ "op": "replace", "value": { ENTERPRISE_SCHEMA: { "manager": "7" } } }),
                "MANAGER_NOT_OBJECT",
            ),
            (json!({ "op": "add", "path": "members", "value": ["7"] }), "MEMBER_NOT_OBJECT"),
            (json!({ "op": "add", "path": "members", "value": "7" }), "MEMBER_NOT_OBJECT"),
            (json!({ "op": "replace", "path": "nickName", "value": null }), "NULL"),
            (
                json!({ "op": "add", "path": "emails", "value": [{ "value": "x", "type": null }] }),
                "NULL",
            ),
            (json!({ "op": "replace", "value": { "id": "7" } }), "READ_ONLY_ATTRIBUTE"),
            (json!({ "op": "replace", "value": { "shoeSize": "7" } }), "UNKNOWN_ATTRIBUTE"),
            (
                json!({ "op": "add", "path": "emails", "value": "[{\"value\":\"a@x\"}]" }),
                "JSON_TEXT",
            ),
            (
                json!({ "op": "add", "path": "members", "value": ["{\"value\":\"7\"}"] }),
                "JSON_TEXT",
            ),
            (json!({ "op": "add", "value": "{\"nickName\":\"A\"}" }), "JSON_TEXT"),
            (
                json!({ "op": "replace", "path": "emails[type eq \
                    \"work\"]", "value": [{ "value": "x" }] }),
                "LIST_OF_ONE",
            ),
            (
                json!({ "op": "replace", "path": "emails[type eq work].value", "value": "x" }),
                "UNQUOTED_VALUE",
            ),
        ] {
            assert_eq!(patch(operation.clone()), [name], "{operation}");
        }
        assert_eq!(
            of(user_type(), false, json!({ "userName": "a", "groups": [] })),
            ["READ_ONLY_ATTRIBUTE"]
        );
        assert_eq!(
            of(user_type(), false, json!({ "userName": "a", USER_SCHEMA: { "shoeSize": 7 } })),
            ["UNKNOWN_ATTRIBUTE"]
        );
        assert_eq!(body_quirks(user_type(), false, &Map::new()).names(), ["NO_SCHEMAS"]);
        assert_eq!(of(user_type(), true, json!({ "Operations": [] })), ["EMPTY_OPERATIONS"]);
        for (text, unquoted) in [
            ("userName eq jane@x.example", true),
            ("externalId eq 7", true),
            ("emails[value eq 7]", true),
            ("userName eq \"7\"", false),
            ("active eq true", false),
        ] {
            let filter = crate::scim::filter_syntax::parse_filter(text).unwrap();
            let quirks = filter_quirks(
                user_type(),
                &filter,
                crate::scim::filter_syntax::filter_is_unquoted(text),
            );
            assert_eq!(quirks.names() == ["UNQUOTED_VALUE"], unquoted, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert!(header_quirks(&headers).names().is_empty());
        headers.insert("content-type", "application/scim+json".parse().unwrap());
        assert!(header_quirks(&headers).names().is_empty());
        headers.insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
        assert_eq!(header_quirks(&headers).names(), ["PLAIN_JSON"]);
    }

    #[test]
    fn names_fit_and_odd_bodies_pass() {
        let mut all = Quirks::default();
        Quirk::ALL.into_iter().for_each(|quirk| all.insert(quirk));
        assert_eq!(all.names().len(), Quirk::ALL.len());
        for odd in [
            json!(null),
            json!(1),
            json!("x"),
            json!([]),
            json!([[]]),
            json!({}),
            json!([{ "a": [1] }]),
        ] {
            of(user_type(), true, json!({ "Operations": odd }));
            of(
                user_type(),
                true,
                json!({ "Operations": [{ "op": odd, "path": odd, "value": odd }] }),
            );
            of(
                user_type(),
                true,
                json!({ "Operations": [{ "op": "add", "path": "name.", "value": odd }] }),
            );
            for name in [
                "emails",
                "name",
                "active",
                "members",
                USER_SCHEMA,
                ENTERPRISE_SCHEMA,
                "",
                ".",
                "urn:",
                "é[",
                "schemas",
            ] {
                of(user_type(), false, json!({ name: odd }));
                of(group_type(), false, json!({ name: odd }));
            }
        }
        let members: Value = (0..100_000).map(|n| json!({ "value": n.to_string() })).collect();
        assert!(
            of(group_type(), false, json!({ "displayName": "W", "members": members })).is_empty()
        );
    }
}
