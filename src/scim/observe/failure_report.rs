//! Reports to the review queue: a write that was refused or failed, with the facts that a reviewer
//! and a retry need, or a write that succeeded and may have resolved an earlier failure.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::quirk::find_field;
use crate::buffers::failure_repeats::SucceededWrite;
use crate::buffers::request_counts::RequestRefusal;
use crate::domain::directory::schema_extension::ResourceTypes;
use crate::domain::review;
use crate::domain::review::redacted_shape::{
    MAX_ELEMENTS, MAX_SHAPES, resource_shape, value_shape,
};
use crate::domain::review::{
    FailureReport, MAX_LABEL_CHARS, Origin, RetryPayload, ScopePart, TargetName, WHOLE_SCOPE,
    scope_key,
};
use crate::error::RefusalReason;
use crate::identity::filter::{AttrPath, CompareOp, Filter, FilterLiteral};
use crate::identity::schema;
use crate::identity::schema::{ResourceType, SchemaAttribute};
use crate::scim::filter_syntax::parse_path;
use crate::scim::observe::classify::{PatchedAttribute, patched_attributes};

/// The largest body that is kept for a retry, in bytes.
const MAX_KEPT_BODY: usize = 64 * 1024;
/// How many parts of one resource a scope lists; more are joined into one.
const MAX_SCOPE_PARTS: usize = 200;

/// One write: a request, or an operation of a Bulk request.
pub struct ScimWrite<'a> {
    pub connection: Uuid,
    pub method: &'static str,
    pub resource: &'static str,
    /// The path of the write, below the tenant's base URL.
    pub path: String,
    /// The id of the resource, if this server can have given it.
    pub id: Option<Uuid>,
    pub meaning: &'static str,
    pub types: Option<&'a ResourceTypes>,
    /// The body; `None` if there was none or if it was not a JSON object.
    pub body: Option<Map<String, Value>>,
    /// Whether the same request can be sent again.
    pub repeatable: bool,
}

/// Whether a request changes something if it succeeds.
pub fn is_write(method: &str, search: bool) -> bool {
    !search && matches!(method, "POST" | "PUT" | "PATCH" | "DELETE")
}

/// Whether an administrator must look at a write with this answer. Not if a precondition failed,
/// which is for the client to solve; not if an administrator turned off what the write needs; and
/// not if the resource to delete does not exist.
pub fn needs_review(
    method: &str,
    resource: &str,
    status: StatusCode,
    reason: RefusalReason,
) -> bool {
    const NO_WORK: [RefusalReason; 9] = [
        RefusalReason::Stale,
        RefusalReason::ConnectionInactive,
        RefusalReason::OrganizationDisabled,
        RefusalReason::OrganizationSuspended,
        RefusalReason::PlatformDisabled,
        RefusalReason::EntraNativeIntegration,
        RefusalReason::SignInIntegration,
        RefusalReason::WrongTenant,
        RefusalReason::NotAcceptable,
    ];
    let gone = method == "DELETE"
        && status == StatusCode::NOT_FOUND
        && matches!(resource, "Users" | "Groups");
    (status.is_client_error() || status.is_server_error())
        && status != StatusCode::UNAUTHORIZED
        && !gone
        && !NO_WORK.contains(&reason)
}

impl ScimWrite<'_> {
    /// The report that this write failed.
    pub fn into_report(
        self,
        refusal: &RequestRefusal,
        request: Option<Uuid>,
        at: chrono::DateTime<chrono::Utc>,
    ) -> FailureReport {
        let named = self.resource_names();
        let thing = match self.id {
            Some(id) => Some(TargetName::Id(id)),
            None => named.first().copied(),
        };
        let thing = thing.map(|name| review::target_key(self.connection, self.resource, name));
        let scope = self.written_scope().unwrap_or_else(|| vec![WHOLE_SCOPE.into()]);
        let label = self
            .label()
            .map(|label| label.chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS).collect());
        let outline = self.redacted_shape();
        let payload = self.repeatable && matches!(self.resource, "Users" | "Groups");
        let payload =
            payload && (self.body.is_some() || self.method == "DELETE") && !self.has_password();
        let kept = payload.then(|| {
            self.body.clone().map(|mut body| {
                body.values_mut().for_each(remove_display_names);
                Value::Object(body).to_string()
            })
        });
        // A larger body is not kept: the identity provider sends it again.
        let kept = kept.filter(|body| body.as_ref().is_none_or(|body| body.len() <= MAX_KEPT_BODY));
        let payload = kept.map(|body| RetryPayload {
            method: self.method.into(),
            path: self.path.clone(),
            body,
        });
        FailureReport {
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

    /// The success of this write, once for each name of the resource.
    pub fn successes_by_name(
        &self,
        organization: Uuid,
        at: chrono::DateTime<chrono::Utc>,
    ) -> Vec<SucceededWrite> {
        let names = self.id.map(TargetName::Id).into_iter().chain(self.resource_names());
        let success = |name: TargetName<'_>| SucceededWrite {
            organization,
            connection: self.connection,
            thing: review::target_key(self.connection, self.resource, name),
            scope: self.written_scope(),
            at,
        };
        names.map(success).collect()
    }

    /// The names of the resource in a POST or PUT, the most specific one first.
    fn resource_names(&self) -> Vec<TargetName<'_>> {
        let Some(body) = self.body.as_ref().filter(|_| matches!(self.method, "POST" | "PUT"))
        else {
            return Vec::new();
        };
        let text = |name: &str| {
            find_field(body, name).and_then(Value::as_str).filter(|text| !text.is_empty())
        };
        let external = text("externalId").map(TargetName::ExternalId);
        let names = match self.resource {
            "Users" => [text("userName").map(TargetName::Name), external],
            "Groups" => [external, text("displayName").map(TargetName::Name)],
            _ => [None, None],
        };
        names.into_iter().flatten().collect()
    }

    /// A password is accepted and ignored, so a body with a password must not be kept.
    fn has_password(&self) -> bool {
        let Some(body) = &self.body else { return false };
        let password = |name: &str| name.to_ascii_lowercase().ends_with("password");
        body.keys().any(|key| password(key))
            || patched_attributes(body).iter().any(|one| password(one.name))
    }

    fn label(&self) -> Option<&str> {
        let body = self.body.as_ref().filter(|_| matches!(self.method, "POST" | "PUT"))?;
        let name = if self.resource == "Users" { "userName" } else { "displayName" };
        find_field(body, name).and_then(Value::as_str)
    }

    fn resource_type(&self) -> &ResourceType {
        match self.resource {
            "Groups" => self.types.map_or(schema::group_type(), |types| &types.group),
            _ => self.types.map_or(schema::user_type(), |types| &types.user),
        }
    }

    /// The parts of the resource that are written; `None` = the whole resource.
    fn written_scope(&self) -> Option<Vec<String>> {
        let body = self.body.as_ref().filter(|_| self.method == "PATCH")?;
        let mut parts: Vec<String> =
            patched_attributes(body).iter().flat_map(|one| self.scope_parts(one)).collect();
        parts.sort();
        parts.dedup();
        if parts.len() > MAX_SCOPE_PARTS {
            let all = parts.join(" ");
            parts = vec![scope_key(ScopePart::Member(&all))];
        }
        Some(parts)
    }

    fn scope_parts(&self, touched: &PatchedAttribute<'_>) -> Vec<String> {
        let path = parse_path(touched.name).ok();
        let found = path.as_ref().and_then(|path| self.resource_type().resolve_path(&path.attr));
        let name = found.map_or_else(|| touched.name.to_owned(), |found| found.canonical_path());
        let name = name.split('.').next().unwrap_or_default();
        if self.resource != "Groups" || found.is_none_or(|found| found.attribute.name != "members")
        {
            return vec![scope_key(ScopePart::Attribute(name))];
        }
        let mut members = Vec::new();
        if let Some(filter) = path.as_ref().and_then(|path| path.filter.as_ref()) {
            collect_members(filter, &mut members);
        }
        let values = match touched.value {
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        let ids = values.iter().filter_map(|value| match value {
            Value::Object(fields) => find_field(fields, "value").and_then(Value::as_str),
            other => other.as_str(),
        });
        members.extend(ids.map(|id| scope_key(ScopePart::Member(id))));
        if members.is_empty() || touched.verb.eq_ignore_ascii_case("replace") {
            return vec![scope_key(ScopePart::Members)];
        }
        members
    }

    /// The body without its values: the names of the attributes that a schema has, and the shape of
    /// their values.
    fn redacted_shape(&self) -> Option<Value> {
        let body = self.body.as_ref()?;
        let mut left = MAX_SHAPES;
        if self.method != "PATCH" {
            return Some(Value::Object(resource_shape(self.resource_type(), body, &mut left)));
        }
        let operations =
            find_field(body, "Operations").and_then(Value::as_array).into_iter().flatten();
        let shapes = operations.take(MAX_ELEMENTS).filter_map(Value::as_object).map(|operation| {
            let verb = find_field(operation, "op").and_then(Value::as_str).unwrap_or_default();
            let verb = ["add", "remove", "replace"]
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(verb));
            let path = find_field(operation, "path").and_then(Value::as_str);
            let mut shape = Map::new();
            shape.insert("op".into(), verb.unwrap_or("(not understood)").into());
            let found = path.map(|path| self.redacted_path(path));
            if let Some(found) = &found {
                shape.insert(
                    "path".into(),
                    found.clone().unwrap_or_else(|| "(not understood)".into()).into(),
                );
            }
            if let Some(value) = find_field(operation, "value") {
                let value = match (found, value) {
                    (None, Value::Object(fields)) => {
                        Value::Object(resource_shape(self.resource_type(), fields, &mut left))
                    }
                    _ => value_shape(
                        value,
                        path.and_then(|path| self.find_attribute(path)),
                        &mut left,
                    ),
                };
                shape.insert("value".into(), value);
            }
            Value::Object(shape)
        });
        let shapes: Vec<_> = shapes.collect();
        Some(json!({ "Operations": shapes }))
    }

    fn find_attribute(&self, path: &str) -> Option<&SchemaAttribute> {
        let path = parse_path(path).ok()?;
        let sub = path.sub.or(path.attr.sub.clone());
        let found = self.resource_type().resolve_path(&AttrPath { sub, ..path.attr })?;
        Some(found.sub.unwrap_or(found.attribute))
    }

    /// The path of a PATCH without the values in its filter.
    fn redacted_path(&self, path: &str) -> Option<String> {
        let path = parse_path(path).ok()?;
        let found = self.resource_type().resolve_path(&path.attr)?;
        let mut redacted = found.canonical_path();
        if path.filter.is_some() {
            redacted.push_str("[…]");
        }
        if let Some(sub) = path.sub.and_then(|sub| found.attribute.sub_attribute(&sub)) {
            redacted.push('.');
            redacted.push_str(&sub.name);
        }
        Some(redacted)
    }
}

/// Collects the members that a filter names by id.
fn collect_members(filter: &Filter, into: &mut Vec<String>) {
    match filter {
        Filter::Compare(path, CompareOp::Eq, FilterLiteral::String(id))
            if path.name.eq_ignore_ascii_case("value") =>
        {
            into.push(scope_key(ScopePart::Member(id)));
        }
        Filter::And(all) | Filter::Or(all) => all.iter().for_each(|one| collect_members(one, into)),
        _ => {}
    }
}

/// Removes the display names of other resources, which clients repeat beside an id. They are of no
/// use and would remain after an erasure.
fn remove_display_names(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(remove_display_names),
        Value::Object(fields) => {
            let refers =
                fields.keys().any(|key| key.eq_ignore_ascii_case("value") || key == "$ref");
            fields.retain(|key, _| {
                !(refers
                    && (key.eq_ignore_ascii_case("display")
                        || key.eq_ignore_ascii_case("displayName")))
            });
            fields.values_mut().for_each(remove_display_names);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::schema::ENTERPRISE_SCHEMA;

    fn write(method: &'static str, resource: &'static str, body: Value) -> ScimWrite<'static> {
        let Value::Object(body) = body else { unreachable!() };
        ScimWrite {
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
    fn an_outline_has_schema_names_and_no_values() {
        let body = json!({
            "schemas": ["secret"], "userName": "secret", "active": "secret",
            "secretAttribute": { "secret": 1 },
            "emails": [{ "value": "secret@x", "secret": true }],
            ENTERPRISE_SCHEMA: { "department": "secret" },
        });
        let shape = write("POST", "Users", body).redacted_shape().unwrap();
        assert!(!shape.to_string().contains("secret"), "{shape}");
        assert_eq!(shape["userName"], "text of 6 characters");
        assert_eq!(shape["emails"][0]["value"], "text of 8 characters");
        let enterprise = &shape[ENTERPRISE_SCHEMA];
        assert_eq!(enterprise["department"], "text of 6 characters");
        let patch = json!({ "Operations": [
            { "op": "Replace", "path": "emails[value eq \"secret\"].type", "value": "secret" },
            { "op": "secret", "path": "secret[", "value": { "secret": "secret" } },
            { "op": "add", "value": { "title": "secret" } },
        ] });
        let shape = write("PATCH", "Users", patch).redacted_shape().unwrap();
        assert!(!shape.to_string().contains("secret"), "{shape}");
        assert_eq!(shape["Operations"][0]["path"], "emails[…].type");
        assert_eq!(shape["Operations"][2]["value"]["title"], "text of 6 characters");
    }

    #[test]
    fn the_scope_of_a_patch_is_what_it_touches_whatever_the_values() {
        let of = |resource: &'static str, operations: Value| {
            write("PATCH", resource, json!({ "Operations": operations })).written_scope().unwrap()
        };
        let title = of("Users", json!([{ "op": "replace", "path": "title", "value": "a" }]));
        assert_eq!(title, of("Users", json!([{ "op": "Add", "value": { "Title": "b" } }])));
        assert_eq!(title.len(), 1);
        let add =
            of("Groups", json!([{ "op": "add", "path": "members", "value": [{ "value": "7" }] }]));
        assert_eq!(
            add,
            of("Groups", json!([{ "op": "remove", "path": "members[value eq \"7\"]" }]))
        );
        assert_ne!(
            add,
            of("Groups", json!([{ "op": "add", "path": "members", "value": [{ "value": "8" }] }]))
        );
        assert_eq!(of("Groups", json!([{ "op": "remove", "path": "members" }])), ["M"]);
        assert_eq!(write("PUT", "Groups", json!({})).written_scope(), None);
    }

    #[test]
    fn kept_body_has_no_display_names() {
        let mut value =
            json!([{ "op": "add", "value": [{ "value": "7", "display": "Ada", "type": "User" }] }]);
        remove_display_names(&mut value);
        assert_eq!(value, json!([{ "op": "add", "value": [{ "value": "7", "type": "User" }] }]));
    }
}
