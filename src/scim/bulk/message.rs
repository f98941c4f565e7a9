//! Parses the bulk request. Operations are parsed one at a time: ten megabytes of JSON as one tree
//! would need a hundred times as much memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::plan::PlanNode;
use super::{MAX_OPERATIONS, reference};
use crate::error::{Error, Noun, Result, Rule};
use crate::scim::body::parse_thinned;
use crate::scim::http::{MAX_BODY, ScimFailure, not_json};

const BULK_REQUEST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

/// The method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimBulkMethod {
    Post,
    Put,
    Patch,
    Delete,
}

impl ScimBulkMethod {
    const ALL: [Self; 4] = [Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The name in the answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The status of an operation that succeeded.
    pub fn success_status(self) -> StatusCode {
        match self {
            Self::Post => StatusCode::CREATED,
            Self::Put | Self::Patch => StatusCode::OK,
            Self::Delete => StatusCode::NO_CONTENT,
        }
    }
}

/// The endpoint of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScimBulkEndpoint {
    Users,
    Groups,
}

impl ScimBulkEndpoint {
    const ALL: [Self; 2] = [Self::Users, Self::Groups];

    /// The name in a path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "Users",
            Self::Groups => "Groups",
        }
    }
}

/// One operation, well-formed or not.
#[derive(Debug)]
pub struct ScimBulkOperation<'a> {
    pub method: Option<ScimBulkMethod>,
    pub bulk_id: Option<String>,
    pub task: Result<ScimBulkTask<'a>, ScimFailure>,
}

/// A well-formed operation.
#[derive(Debug)]
pub struct ScimBulkTask<'a> {
    pub method: ScimBulkMethod,
    pub endpoint: ScimBulkEndpoint,
    /// The id as the client wrote it, perhaps a reference; only a POST has none.
    pub id: Option<String>,
    pub version: Option<String>,
    data: Option<&'a RawValue>,
    /// The bulkIds that it refers to.
    references: BTreeSet<String>,
}

/// A bulk request.
#[derive(Debug)]
pub struct ScimBulkRequest<'a> {
    pub fail_on_errors: Option<u64>,
    pub operations: Vec<ScimBulkOperation<'a>>,
}

/// The fields of a JSON object; names are compared without regard to case.
struct JsonFields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> JsonFields<'a> {
    fn parse(text: &'a [u8], what: &'static str) -> Result<Self> {
        serde_json::from_slice(text).map(Self).map_err(|error| {
            if error.is_data() {
                Error::broken(Rule::Syntax, what, "must be a JSON object")
            } else {
                not_json(what, &error)
            }
        })
    }

    /// RFC 7643 section 2.5: null is the same as absent.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found =
            self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, raw)| *raw);
        found.filter(|raw| raw.get() != "null")
    }

    fn get_text(&self, name: &'static str) -> Result<Option<String>> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get())
            .map_err(|_| Error::broken(Rule::Syntax, name, "must be a string"))
    }
}

impl<'a> ScimBulkRequest<'a> {
    /// Reads the message. An error in one operation is the failure of that operation. The message
    /// is refused as a whole only if its operations cannot be read one by one.
    pub fn parse(body: &'a [u8], base_url: &str) -> Result<Self, ScimFailure> {
        let wrong = |field: &'static str, why: &'static str| {
            ScimFailure::from(Error::broken(Rule::Syntax, field, why))
        };
        let fields = JsonFields::parse(body, "body")?;
        if let Some(raw) = fields.get("schemas") {
            let schemas: Vec<String> = serde_json::from_str(raw.get())
                .map_err(|_| wrong("schemas", "must be an array of strings"))?;
            if !schemas.is_empty()
                && !schemas.iter().any(|urn| urn.eq_ignore_ascii_case(BULK_REQUEST_URN))
            {
                return Err(wrong("schemas", "do not name a BulkRequest"));
            }
        }
        let fail_on_errors = match fields
            .get("failOnErrors")
            .map(|raw| serde_json::from_str(raw.get()))
        {
            // SCIM-SDK writes 0 for "no limit".
            None | Some(Ok(0)) => None,
            Some(Ok(most)) => Some(most),
            Some(Err(_)) => {
                return Err(
                    Error::invalid("failOnErrors", "must be a whole number, 0 or more").into()
                );
            }
        };
        let raw = fields.get("Operations").ok_or_else(|| wrong("Operations", "is missing"))?;
        let operations: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| wrong("Operations", "must be an array"))?;
        if operations.is_empty() {
            return Err(wrong("Operations", "is empty"));
        }
        // RFC 7644 section 3.7.4: the refusal names the limit.
        if operations.len() > MAX_OPERATIONS {
            let count = operations.len();
            let why = format!(
                "a bulk request may have at most {MAX_OPERATIONS} operations, and this one has \
                 {count}"
            );
            return Err(ScimFailure::too_large(why));
        }
        let operations: Vec<_> =
            operations.into_iter().map(|raw| ScimBulkOperation::parse(raw, base_url)).collect();
        let mut names = HashSet::new();
        if !operations
            .iter()
            .filter_map(ScimBulkOperation::created_bulk_id)
            .all(|name| names.insert(name))
        {
            return Err(wrong(
                "bulkId",
                "is the same for several operations, so it does not say which is meant",
            ));
        }
        Ok(Self { fail_on_errors, operations })
    }
}

impl<'a> ScimBulkOperation<'a> {
    fn parse(raw: &'a RawValue, base_url: &str) -> Self {
        let fields = match JsonFields::parse(raw.get().as_bytes(), "operation") {
            Ok(fields) => fields,
            Err(error) => return Self { method: None, bulk_id: None, task: Err(error.into()) },
        };
        // The answer repeats what can be read, even if the rest is wrong, so that the client knows
        // which operation failed.
        let (method, bulk_id) = (parse_method(&fields).ok(), parse_bulk_id(&fields).ok().flatten());
        let task = match check_operation_size(raw, &fields, base_url) {
            Ok(()) => ScimBulkTask::parse(&fields, base_url),
            Err(failure) => Err(failure),
        };
        Self { method, bulk_id, task }
    }

    /// The bulkId of the resource that this operation creates.
    pub fn created_bulk_id(&self) -> Option<&str> {
        self.bulk_id.as_deref().filter(|_| self.method == Some(ScimBulkMethod::Post))
    }
}

/// The single request has the same limit, except that a group has no more room than the whole
/// message.
fn check_operation_size(
    raw: &RawValue,
    fields: &JsonFields<'_>,
    base_url: &str,
) -> Result<(), ScimFailure> {
    if raw.get().len() <= MAX_BODY {
        return Ok(());
    }
    let path = fields.get_text("path").ok().flatten().unwrap_or_default();
    match parse_target(&path, base_url) {
        Some((ScimBulkEndpoint::Groups, _)) => Ok(()),
        _ => Err(ScimFailure::too_large(format!(
            "an operation may have at most {MAX_BODY} bytes, unless it is about a group"
        ))),
    }
}

fn parse_method(fields: &JsonFields<'_>) -> Result<ScimBulkMethod> {
    let given = fields.get_text("method")?.unwrap_or_default();
    let known =
        ScimBulkMethod::ALL.into_iter().find(|method| method.name().eq_ignore_ascii_case(&given));
    known.ok_or_else(|| Error::broken(Rule::Syntax, "method", "must be POST, PUT, PATCH or DELETE"))
}

fn parse_bulk_id(fields: &JsonFields<'_>) -> Result<Option<String>> {
    Ok(fields.get_text("bulkId")?.filter(|text| !text.is_empty()))
}

impl<'a> ScimBulkTask<'a> {
    fn parse(fields: &JsonFields<'a>, base_url: &str) -> Result<Self, ScimFailure> {
        let missing = |field: &'static str| {
            ScimFailure::from(Error::broken(Rule::Syntax, field, "is missing"))
        };
        let method = parse_method(fields)?;
        // RFC 7644 section 3.7: required of a POST.
        if parse_bulk_id(fields)?.is_none() && method == ScimBulkMethod::Post {
            return Err(missing("bulkId"));
        }
        let path = fields.get_text("path")?.ok_or_else(|| missing("path"))?;
        let (endpoint, id) =
            parse_target(&path, base_url).ok_or_else(|| Error::not_found(Noun::Endpoint))?;
        if id.is_none() != (method == ScimBulkMethod::Post) {
            return Err(ScimFailure::method_not_allowed());
        }
        let data = fields.get("data").filter(|_| method != ScimBulkMethod::Delete);
        if data.is_none() && method != ScimBulkMethod::Delete {
            return Err(missing("data"));
        }
        // A resource that a POST creates has no earlier version.
        let version = fields.get_text("version")?.filter(|_| method != ScimBulkMethod::Post);
        let id = id.map(Into::into);
        let mut task = Self { method, endpoint, id, version, data, references: BTreeSet::new() };
        let (body, path) = (Value::Object(task.parse_data()?), Value::from(task.id.clone()));
        for value in [body, path] {
            reference::for_each_reference(&value, &mut |name| {
                _ = task.references.insert(name.to_owned())
            });
        }
        Ok(task)
    }

    /// The data as a JSON object; empty for a DELETE.
    pub fn parse_data(&self) -> Result<Map<String, Value>> {
        let Some(data) = self.data else { return Ok(Map::new()) };
        // Only a group is so large, and only because of its members.
        let parsed = if data.get().len() > MAX_BODY {
            parse_thinned(data.get().as_bytes())
        } else {
            serde_json::from_str(data.get())
        };
        match parsed {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Error::broken(Rule::Syntax, "data", "must be a JSON object")),
            Err(error) => Err(not_json("data", &error)),
        }
    }
}

/// The endpoint and the id in a path, which clients write from the tenant's root (`/Users/1`), with
/// or without the slash, from the server's root (`/scim/v2/acme/Users/1`), or as a whole URL.
fn parse_target<'p>(path: &'p str, base_url: &str) -> Option<(ScimBulkEndpoint, Option<&'p str>)> {
    let rest = path.strip_prefix(base_url).unwrap_or(path).trim_start_matches('/');
    let base = base_url.splitn(4, '/').nth(3).unwrap_or_default();
    // A proxy may strip the path of the public URL.
    let stripped = base.rfind("scim/v2/").and_then(|at| base.get(at..)).unwrap_or(base);
    let inner =
        [base, stripped].into_iter().find_map(|base| rest.strip_prefix(base)?.strip_prefix('/'));
    let rest = inner.unwrap_or(rest);
    let (name, id) = rest.split_once('/').unwrap_or((rest, ""));
    let endpoint = ScimBulkEndpoint::ALL.into_iter().find(|endpoint| endpoint.name() == name)?;
    Some((endpoint, (!id.is_empty()).then_some(id)))
}

/// What each operation waits for: the operations that create what it refers to, and the operations
/// before it in the request that change the same resource.
pub fn plan_nodes(operations: &[ScimBulkOperation<'_>]) -> Vec<PlanNode> {
    let creators = operations
        .iter()
        .enumerate()
        .filter_map(|(at, operation)| Some((operation.created_bulk_id()?, at)));
    let creators: HashMap<&str, usize> = creators.collect();
    let mut latest = HashMap::new();
    let node = |(at, operation): (usize, &ScimBulkOperation<'_>)| {
        let Ok(task) = &operation.task else { return PlanNode::default() };
        let mut needs: BTreeSet<usize> = task
            .references
            .iter()
            .filter_map(|name| creators.get(name.as_str()))
            .copied()
            .collect();
        if let Some(id) = &task.id {
            needs.extend(latest.insert((task.endpoint, id.clone()), at));
        }
        // The domain refuses groups that contain each other, in any order; so none of them is
        // created.
        PlanNode {
            needs,
            divisible: task.method == ScimBulkMethod::Post
                && task.endpoint == ScimBulkEndpoint::Users,
        }
    };
    operations.iter().enumerate().map(node).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BASE: &str = "https://example.com/pp/scim/v2/acme";

    fn refusal(body: Value) -> (u16, String) {
        let failure =
            ScimBulkRequest::parse(body.to_string().as_bytes(), BASE).map(|_| ()).unwrap_err();
        (failure.status.as_u16(), failure.detail)
    }

    type Target = (ScimBulkEndpoint, Option<String>);

    /// One operation as it is parsed: its method, its bulkId, and its target or the status of its
    /// failure.
    fn one(operation: Value) -> (Option<ScimBulkMethod>, Option<String>, Result<Target, u16>) {
        let body = json!({ "Operations": [operation] }).to_string();
        let mut message = ScimBulkRequest::parse(body.as_bytes(), BASE).unwrap();
        let ScimBulkOperation { method, bulk_id, task } = message.operations.remove(0);
        (
            method,
            bulk_id,
            task.map(|task| (task.endpoint, task.id)).map_err(|failure| failure.status.as_u16()),
        )
    }

    #[test]
    fn paths_are_read_as_clients_write_them() {
        let users = |id: &'static str| Some((ScimBulkEndpoint::Users, Some(id)));
        for path in [
            "/Users/1",
            "Users/1",
            "/pp/scim/v2/acme/Users/1",
            "pp/scim/v2/acme/Users/1",
            "/scim/v2/acme/Users/1",
        ] {
            assert_eq!(parse_target(path, BASE), users("1"), "{path}");
        }
        assert_eq!(parse_target("https://example.com/pp/scim/v2/acme/Users/1", BASE), users("1"));
        assert_eq!(parse_target("/Users/bulkId:a/b", BASE), users("bulkId:a/b"));
        for path in ["/Groups", "Groups/", "/scim/v2/acme/Groups"] {
            assert_eq!(parse_target(path, BASE), Some((ScimBulkEndpoint::Groups, None)), "{path}");
        }
        for path in [
            "",
            "/",
            "/Bulk",
            "/Schemas",
            "/Usersx/1",
            "/scim/v2/other/Users/1",
            "/scim/v2/acmeUsers/1",
        ] {
            assert_eq!(parse_target(path, BASE), None, "{path}");
        }
    }

    #[test]
    fn names_and_methods_come_in_any_case() {
        let operation = json!({
            "Method": "post", "BULKID": "a", "path": "/Users", "Data": { "userName": "a" },
        });
        let body = json!({
            "SCHEMAS": [BULK_REQUEST_URN.to_uppercase()], "failonerrors": 3,
            "operations": [operation], "more": {},
        });
        let body = body.to_string();
        let message = ScimBulkRequest::parse(body.as_bytes(), BASE).unwrap();
        assert_eq!(message.fail_on_errors, Some(3));
        assert_eq!(message.operations[0].created_bulk_id(), Some("a"));
        let task = message.operations[0].task.as_ref().unwrap();
        assert_eq!(
            (task.method, task.endpoint, &task.id),
            (ScimBulkMethod::Post, ScimBulkEndpoint::Users, &None)
        );
        assert_eq!(task.parse_data().unwrap()["userName"], "a");
    }

    #[test]
    fn what_is_wrong_with_one_operation_is_its_own_failure() {
        let (post, put) = (Some(ScimBulkMethod::Post), Some(ScimBulkMethod::Put));
        let a = || Some("a".to_owned());
        assert_eq!(one(json!(7)), (None, None, Err(400)));
        assert_eq!(
            one(json!({ "bulkId": "a", "path": "/Users", "data": {} })),
            (None, a(), Err(400))
        );
        assert_eq!(one(json!({ "method": "GET", "path": "/Users/1" })), (None, None, Err(400)));
        assert_eq!(
            one(json!({ "method": "POST", "path": "/Users", "data": {} })),
            (post, None, Err(400))
        );
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "data": {} })),
            (post, a(), Err(400))
        );
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "path": "/Users" })),
            (post, a(), Err(400))
        );
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "path": "/Users", "data": [] })),
            (post, a(), Err(400))
        );
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "path": "/Me", "data": {} })),
            (post, a(), Err(404))
        );
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "path": "/Users/1", "data": {} })),
            (post, a(), Err(405))
        );
        assert_eq!(
            one(json!({ "method": "PUT", "path": "/Users", "data": {} })),
            (put, None, Err(405))
        );
        assert_eq!(
            one(json!({ "method": "PUT", "path": "/Users/1", "version": 1, "data": {} })),
            (put, None, Err(400))
        );
        let large = "x".repeat(MAX_BODY);
        assert_eq!(
            one(json!({ "method": "PUT", "path": "/Users/1", "data": { "x": large } })),
            (put, None, Err(413))
        );
        assert_eq!(
            one(json!({ "method": "PUT", "path": "/Groups/1", "data": { "x": large } })),
            (put, None, Ok((ScimBulkEndpoint::Groups, Some("1".to_owned()))))
        );
        let deep = format!(r#"{{"Operations":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(ScimBulkRequest::parse(deep.as_bytes(), BASE).unwrap().operations[0].task.is_err());
        // A DELETE needs nothing but a path.
        let (delete, deleted) =
            (Some(ScimBulkMethod::Delete), Ok((ScimBulkEndpoint::Groups, Some("1".to_owned()))));
        assert_eq!(
            one(json!({ "method": "delete", "path": "/Groups/1", "data": 7 })),
            (delete, None, deleted)
        );
    }

    #[test]
    fn a_message_that_cannot_be_told_apart_is_refused_as_a_whole() {
        assert_eq!(refusal(json!([])).0, 400);
        for operations in [json!(null), json!({}), json!([])] {
            assert_eq!(refusal(json!({ "Operations": operations })).0, 400);
        }
        let operation = json!({ "method": "DELETE", "path": "/Users/1" });
        for wrong in [json!(-1), json!("1"), json!(1.5), json!([])] {
            assert_eq!(
                refusal(json!({ "failOnErrors": wrong, "Operations": [operation] })).0,
                400,
                "{wrong}"
            );
        }
        let patch = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
        assert_eq!(refusal(json!({ "schemas": [patch], "Operations": [operation] })).0, 400);
        let create = json!({ "method": "POST", "bulkId": "a", "path": "/Users", "data": {} });
        assert!(refusal(json!({ "Operations": [create, create] })).1.contains("bulkId"));
        let many = vec![operation; MAX_OPERATIONS + 1];
        let (status, detail) = refusal(json!({ "Operations": many }));
        assert_eq!(status, 413);
        assert!(detail.contains("1000") && detail.contains("1001"), "{detail}");
        assert!(ScimBulkRequest::parse(br#"{"Operations": [}"#, BASE).is_err());
    }

    #[test]
    fn an_operation_waits_for_what_it_refers_to_and_for_earlier_changes_of_the_same_thing() {
        let body = json!({ "Operations": [
            {
                "method": "PATCH", "path": "/Groups/1",
                "data": { "x": ["bulkId:u", "bulkId:unknown"] },
            },
            { "method": "DELETE", "path": "/Groups/1" },
            {
                "method": "POST", "bulkId": "g", "path": "/Groups",
                "data": { "members": [{ "value": "bulkId:u" }] },
            },
            {
                "method": "POST", "bulkId": "u", "path": "/Users",
                "data": { "manager": "bulkId:u" },
            },
            { "method": "PATCH", "path": "/Users/bulkId:u", "data": {} },
            { "method": "DELETE", "path": "/Users/1" },
        ] });
        let body = body.to_string();
        let message = ScimBulkRequest::parse(body.as_bytes(), BASE).unwrap();
        let nodes = plan_nodes(&message.operations);
        let needs: Vec<Vec<usize>> =
            nodes.iter().map(|node| node.needs.iter().copied().collect()).collect();
        assert_eq!(needs, [vec![3], vec![0], vec![3], vec![3], vec![3], vec![]]);
        let divisible: Vec<bool> = nodes.iter().map(|node| node.divisible).collect();
        assert_eq!(divisible, [false, false, false, true, false, false]);
    }
}
