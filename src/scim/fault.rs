//! What the review queue is told of a request: that a write was refused or failed, with all that a reviewer and a retry
//! need, or that one succeeded that may put an earlier failure right.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::filter::parse_path;
use super::meaning::{Touched, touched};
use super::quirk::member;
use crate::domain::extension::Types;
use crate::domain::failure::outline::{MAX_ELEMENTS, MAX_SHAPES, attributes, shape};
use crate::domain::failure::{self, MAX_LABEL, Name, Origin, Part, Payload, Report, WHOLE, part};
use crate::domain::schema::{self, Attribute, ResourceType};
use crate::domain::search::{AttrPath, Filter, Literal, Op};
use crate::repeats::Success;
use crate::requests::Refusal;

/// The largest body that is kept for a retry, in bytes.
const MAX_KEPT_BODY: usize = 64 * 1024;
/// Parts of one thing that are told apart.
const MAX_PARTS: usize = 200;

/// One write: a request, or an operation of a Bulk.
pub struct Write<'a> {
    pub connection: Uuid,
    pub method: &'static str,
    pub resource: &'static str,
    /// What the write names, below the tenant's base URL.
    pub path: String,
    /// The resource, by an id that this server can have given.
    pub id: Option<Uuid>,
    pub meaning: &'static str,
    pub types: Option<&'a Types>,
    /// What was sent; none where that was no JSON object, or nothing.
    pub body: Option<Map<String, Value>>,
    /// Whether the same can be sent again.
    pub repeatable: bool,
}

/// Whether a request changes something if it succeeds.
pub fn writes(method: &str, search: bool) -> bool {
    !search && matches!(method, "POST" | "PUT" | "PATCH" | "DELETE")
}

/// Whether a write that was answered so is work for somebody. A precondition that fails is the client's own; what is
/// turned off here was turned off by somebody; and what was to be deleted and is not there is as it should be.
pub fn is_work(method: &str, resource: &str, status: StatusCode, reason: &str) -> bool {
    const NO_WORK: [&str; 7] = [
        "STALE",
        "CONNECTION_INACTIVE",
        "ORGANIZATION_DISABLED",
        "PLATFORM_DISABLED",
        "ENTRA_NATIVE_INTEGRATION",
        "WRONG_TENANT",
        "NOT_ACCEPTABLE",
    ];
    let gone = method == "DELETE" && status == StatusCode::NOT_FOUND && matches!(resource, "Users" | "Groups");
    (status.is_client_error() || status.is_server_error())
        && status != StatusCode::UNAUTHORIZED
        && !gone
        && !NO_WORK.contains(&reason)
}

impl Write<'_> {
    /// The failure of this write.
    pub fn failed(self, refusal: &Refusal, request: Option<Uuid>, at: chrono::DateTime<chrono::Utc>) -> Report {
        let named = self.named();
        let thing = match self.id {
            Some(id) => Some(Name::Id(id)),
            None => named.first().copied(),
        };
        let thing = thing.map(|name| failure::thing(self.connection, self.resource, name));
        let scope = self.scope().unwrap_or_else(|| vec![WHOLE.into()]);
        let label = self.label().map(|label| label.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect());
        let outline = self.outline();
        let payload = self.repeatable && matches!(self.resource, "Users" | "Groups");
        let payload = payload && (self.body.is_some() || self.method == "DELETE") && !self.tells_a_password();
        let kept = payload.then(|| {
            self.body.clone().map(|mut body| {
                body.values_mut().for_each(nameless);
                Value::Object(body).to_string()
            })
        });
        // What is larger is not kept: the identity provider sends it again.
        let kept = kept.filter(|body| body.as_ref().is_none_or(|body| body.len() <= MAX_KEPT_BODY));
        let payload = kept.map(|body| Payload { method: self.method.into(), path: self.path.clone(), body });
        Report {
            connection: self.connection,
            origin: Origin::Request,
            operation: self.meaning,
            resource: Some(self.resource),
            target: self.id,
            thing,
            scope,
            label,
            reason: refusal.reason,
            scim_type: refusal.scim_type,
            field: refusal.field.as_deref().map(Into::into),
            outline,
            payload,
            request,
            at,
        }
    }

    /// What the success of this write says, thing by thing.
    pub fn succeeded(&self, organization: Uuid, at: chrono::DateTime<chrono::Utc>) -> Vec<Success> {
        let names = self.id.map(Name::Id).into_iter().chain(self.named());
        let success = |name: Name<'_>| Success {
            organization,
            connection: self.connection,
            thing: failure::thing(self.connection, self.resource, name),
            scope: self.scope(),
            at,
        };
        names.map(success).collect()
    }

    /// By which names the write, if it says all of something, names it; the most telling one first.
    fn named(&self) -> Vec<Name<'_>> {
        let Some(body) = self.body.as_ref().filter(|_| matches!(self.method, "POST" | "PUT")) else {
            return Vec::new();
        };
        let text = |name: &str| member(body, name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let external = text("externalId").map(Name::ExternalId);
        let names = match self.resource {
            "Users" => [text("userName").map(Name::Name), external],
            "Groups" => [external, text("displayName").map(Name::Name)],
            _ => [None, None],
        };
        names.into_iter().flatten().collect()
    }

    /// A password is accepted and ignored, and must not be kept for a moment longer.
    fn tells_a_password(&self) -> bool {
        let Some(body) = &self.body else { return false };
        let password = |name: &str| name.to_ascii_lowercase().ends_with("password");
        body.keys().any(|key| password(key)) || touched(body).iter().any(|one| password(one.name))
    }

    fn label(&self) -> Option<&str> {
        let body = self.body.as_ref().filter(|_| matches!(self.method, "POST" | "PUT"))?;
        let name = if self.resource == "Users" { "userName" } else { "displayName" };
        member(body, name).and_then(Value::as_str)
    }

    fn ty(&self) -> &ResourceType {
        match self.resource {
            "Groups" => self.types.map_or(schema::group(), |types| &types.group),
            _ => self.types.map_or(schema::user(), |types| &types.user),
        }
    }

    /// Which parts of the thing are written; none = all of it.
    fn scope(&self) -> Option<Vec<String>> {
        let body = self.body.as_ref().filter(|_| self.method == "PATCH")?;
        let mut parts: Vec<String> = touched(body).iter().flat_map(|one| self.parts(one)).collect();
        parts.sort();
        parts.dedup();
        if parts.len() > MAX_PARTS {
            let all = parts.join(" ");
            parts = vec![part(Part::Member(&all))];
        }
        Some(parts)
    }

    fn parts(&self, touched: &Touched<'_>) -> Vec<String> {
        let path = parse_path(touched.name).ok();
        let found = path.as_ref().and_then(|path| self.ty().resolve(&path.attr));
        let name = found.map_or_else(|| touched.name.to_owned(), |found| found.path());
        let name = name.split('.').next().unwrap_or_default();
        if self.resource != "Groups" || found.is_none_or(|found| found.attribute.name != "members") {
            return vec![part(Part::Attribute(name))];
        }
        let mut members = Vec::new();
        if let Some(filter) = path.as_ref().and_then(|path| path.filter.as_ref()) {
            ids_in(filter, &mut members);
        }
        let values = match touched.value {
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        let ids = values.iter().filter_map(|value| match value {
            Value::Object(fields) => member(fields, "value").and_then(Value::as_str),
            other => other.as_str(),
        });
        members.extend(ids.map(|id| part(Part::Member(id))));
        if members.is_empty() || touched.verb.eq_ignore_ascii_case("replace") {
            return vec![part(Part::Members)];
        }
        members
    }

    /// What was sent, without its values: names of attributes that a schema has, and the shape of what they were given.
    fn outline(&self) -> Option<Value> {
        let body = self.body.as_ref()?;
        let mut left = MAX_SHAPES;
        if self.method != "PATCH" {
            return Some(Value::Object(attributes(self.ty(), body, &mut left)));
        }
        let operations = member(body, "Operations").and_then(Value::as_array).into_iter().flatten();
        let told = operations.take(MAX_ELEMENTS).filter_map(Value::as_object).map(|operation| {
            let verb = member(operation, "op").and_then(Value::as_str).unwrap_or_default();
            let verb = ["add", "remove", "replace"].into_iter().find(|known| known.eq_ignore_ascii_case(verb));
            let path = member(operation, "path").and_then(Value::as_str);
            let mut told = Map::new();
            told.insert("op".into(), verb.unwrap_or("(not understood)").into());
            let found = path.map(|path| self.path_of(path));
            if let Some(found) = &found {
                told.insert("path".into(), found.clone().unwrap_or_else(|| "(not understood)".into()).into());
            }
            if let Some(value) = member(operation, "value") {
                let value = match (found, value) {
                    (None, Value::Object(fields)) => Value::Object(attributes(self.ty(), fields, &mut left)),
                    _ => shape(value, path.and_then(|path| self.attribute(path)), &mut left),
                };
                told.insert("value".into(), value);
            }
            Value::Object(told)
        });
        let told: Vec<_> = told.collect();
        Some(json!({ "Operations": told }))
    }

    fn attribute(&self, path: &str) -> Option<&Attribute> {
        let path = parse_path(path).ok()?;
        let sub = path.sub.or(path.attr.sub.clone());
        let found = self.ty().resolve(&AttrPath { sub, ..path.attr })?;
        Some(found.sub.unwrap_or(found.attribute))
    }

    /// The path of a PATCH without what its filter compares with.
    fn path_of(&self, path: &str) -> Option<String> {
        let path = parse_path(path).ok()?;
        let found = self.ty().resolve(&path.attr)?;
        let mut told = found.path();
        if path.filter.is_some() {
            told.push_str("[…]");
        }
        if let Some(sub) = path.sub.and_then(|sub| found.attribute.sub(&sub)) {
            told.push('.');
            told.push_str(&sub.name);
        }
        Some(told)
    }
}

/// The members that a filter compares with.
fn ids_in(filter: &Filter, into: &mut Vec<String>) {
    match filter {
        Filter::Compare(path, Op::Eq, Literal::String(id)) if path.name.eq_ignore_ascii_case("value") => {
            into.push(part(Part::Member(id)));
        }
        Filter::And(all) | Filter::Or(all) => all.iter().for_each(|one| ids_in(one, into)),
        _ => {}
    }
}

/// Takes the names of others away that clients repeat beside an id: they would outlive an erasure, and say nothing.
fn nameless(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(nameless),
        Value::Object(fields) => {
            let refers = fields.keys().any(|key| key.eq_ignore_ascii_case("value") || key == "$ref");
            fields.retain(|key, _| {
                !(refers && (key.eq_ignore_ascii_case("display") || key.eq_ignore_ascii_case("displayName")))
            });
            fields.values_mut().for_each(nameless);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(method: &'static str, resource: &'static str, body: Value) -> Write<'static> {
        let Value::Object(body) = body else { unreachable!() };
        Write {
            connection: Uuid::nil(),
            method,
            resource,
            path: format!("/{resource}"),
            id: None,
            meaning: "x",
            types: None,
            body: Some(body),
            repeatable: true,
        }
    }

    #[test]
    fn an_outline_tells_names_that_a_schema_has_and_no_value() {
        let body = json!({
            "schemas": ["secret"], "userName": "secret", "active": "secret", "secretAttribute": { "secret": 1 },
            "emails": [{ "value": "secret@x", "secret": true }],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "secret" },
        });
        let told = write("POST", "Users", body).outline().unwrap();
        assert!(!told.to_string().contains("secret"), "{told}");
        assert_eq!(told["userName"], "text of 6 characters");
        assert_eq!(told["emails"][0]["value"], "text of 8 characters");
        let enterprise = &told["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"];
        assert_eq!(enterprise["department"], "text of 6 characters");
        let patch = json!({ "Operations": [
            { "op": "Replace", "path": "emails[value eq \"secret\"].type", "value": "secret" },
            { "op": "secret", "path": "secret[", "value": { "secret": "secret" } },
            { "op": "add", "value": { "title": "secret" } },
        ] });
        let told = write("PATCH", "Users", patch).outline().unwrap();
        assert!(!told.to_string().contains("secret"), "{told}");
        assert_eq!(told["Operations"][0]["path"], "emails[…].type");
        assert_eq!(told["Operations"][2]["value"]["title"], "text of 6 characters");
    }

    #[test]
    fn the_scope_of_a_patch_is_what_it_touches_whatever_the_values() {
        let of = |resource: &'static str, operations: Value| {
            write("PATCH", resource, json!({ "Operations": operations })).scope().unwrap()
        };
        let title = of("Users", json!([{ "op": "replace", "path": "title", "value": "a" }]));
        assert_eq!(title, of("Users", json!([{ "op": "Add", "value": { "Title": "b" } }])));
        assert_eq!(title.len(), 1);
        let add = of("Groups", json!([{ "op": "add", "path": "members", "value": [{ "value": "7" }] }]));
        assert_eq!(add, of("Groups", json!([{ "op": "remove", "path": "members[value eq \"7\"]" }])));
        assert_ne!(add, of("Groups", json!([{ "op": "add", "path": "members", "value": [{ "value": "8" }] }])));
        assert_eq!(of("Groups", json!([{ "op": "remove", "path": "members" }])), ["M"]);
        assert_eq!(write("PUT", "Groups", json!({})).scope(), None);
    }

    #[test]
    fn what_is_kept_for_a_retry_names_nobody_else() {
        let mut value = json!([{ "op": "add", "value": [{ "value": "7", "display": "Ada", "type": "User" }] }]);
        nameless(&mut value);
        assert_eq!(value, json!([{ "op": "add", "value": [{ "value": "7", "type": "User" }] }]));
    }
}
