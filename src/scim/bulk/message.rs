//! The bulk request as text and what it asks for. Operations are parsed one at a time: ten megabytes of JSON as
//! one tree would cost a hundred times that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::plan::Node;
use super::{MAX_OPERATIONS, reference};
use crate::error::{Error, Result, Rule};
use crate::scim::wire::{Failure, MAX_BODY, not_json};

const REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
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
    pub fn success(self) -> StatusCode {
        match self {
            Self::Post => StatusCode::CREATED,
            Self::Put | Self::Patch => StatusCode::OK,
            Self::Delete => StatusCode::NO_CONTENT,
        }
    }
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Users,
    Groups,
}

impl Endpoint {
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
pub struct Operation<'a> {
    pub method: Option<Method>,
    pub bulk_id: Option<String>,
    pub task: Result<Task<'a>, Failure>,
}

/// What a well-formed operation asks for.
#[derive(Debug)]
pub struct Task<'a> {
    pub method: Method,
    pub endpoint: Endpoint,
    /// The id as the client wrote it, perhaps a reference; only a POST has none.
    pub id: Option<String>,
    pub version: Option<String>,
    data: Option<&'a RawValue>,
    /// The bulkIds that it refers to.
    references: BTreeSet<String>,
}

/// A bulk request.
#[derive(Debug)]
pub struct Message<'a> {
    pub fail_on_errors: Option<u64>,
    pub operations: Vec<Operation<'a>>,
}

/// The members of a JSON object; names are compared without regard to case.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn read(text: &'a [u8], what: &'static str) -> Result<Self> {
        serde_json::from_slice(text).map(Self).map_err(|error| match error.is_data() {
            true => Error::broken(Rule::Syntax, what, "must be a JSON object"),
            false => not_json(what, &error),
        })
    }

    /// RFC 7643 section 2.5: null is the same as absent.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, raw)| *raw);
        found.filter(|raw| raw.get() != "null")
    }

    fn text(&self, name: &'static str) -> Result<Option<String>> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| Error::broken(Rule::Syntax, name, "must be a string"))
    }
}

impl<'a> Message<'a> {
    /// Reads the message. What is wrong with one operation is that operation's failure; refused as a whole is
    /// only what cannot be told apart by operations.
    pub fn read(body: &'a [u8], base_url: &str) -> Result<Self, Failure> {
        let wrong = |field: &'static str, why: &'static str| Failure::from(Error::broken(Rule::Syntax, field, why));
        let fields = Fields::read(body, "body")?;
        if let Some(raw) = fields.get("schemas") {
            let schemas: Vec<String> =
                serde_json::from_str(raw.get()).map_err(|_| wrong("schemas", "must be an array of strings"))?;
            if !schemas.is_empty() && !schemas.iter().any(|urn| urn.eq_ignore_ascii_case(REQUEST)) {
                return Err(wrong("schemas", "do not name a BulkRequest"));
            }
        }
        let fail_on_errors = match fields.get("failOnErrors").map(|raw| serde_json::from_str(raw.get())) {
            None => None,
            Some(Ok(most @ 1..)) => Some(most),
            Some(_) => return Err(Error::invalid("failOnErrors", "must be a whole number, 1 or more").into()),
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
            let why = format!("a bulk request may have at most {MAX_OPERATIONS} operations, and this one has {count}");
            return Err(Failure::too_large(why));
        }
        let operations: Vec<_> = operations.into_iter().map(|raw| Operation::read(raw, base_url)).collect();
        let mut names = HashSet::new();
        if !operations.iter().filter_map(Operation::creates).all(|name| names.insert(name)) {
            return Err(wrong("bulkId", "is the same for several operations, so it does not say which is meant"));
        }
        Ok(Self { fail_on_errors, operations })
    }
}

impl<'a> Operation<'a> {
    fn read(raw: &'a RawValue, base_url: &str) -> Self {
        // As large as the single request, which has the same limit.
        if raw.get().len() > MAX_BODY {
            let failure = Failure::too_large(format!("an operation may have at most {MAX_BODY} bytes"));
            return Self { method: None, bulk_id: None, task: Err(failure) };
        }
        let fields = match Fields::read(raw.get().as_bytes(), "operation") {
            Ok(fields) => fields,
            Err(error) => return Self { method: None, bulk_id: None, task: Err(error.into()) },
        };
        // What can be read is told again even where the rest is wrong, so that the client knows what failed.
        let (method, bulk_id) = (method(&fields).ok(), bulk_id(&fields).ok().flatten());
        Self { method, bulk_id, task: Task::read(&fields, base_url) }
    }

    /// The bulkId that stands for what this operation creates.
    pub fn creates(&self) -> Option<&str> {
        self.bulk_id.as_deref().filter(|_| self.method == Some(Method::Post))
    }
}

fn method(fields: &Fields<'_>) -> Result<Method> {
    let given = fields.text("method")?.unwrap_or_default();
    let known = Method::ALL.into_iter().find(|method| method.name().eq_ignore_ascii_case(&given));
    known.ok_or_else(|| Error::broken(Rule::Syntax, "method", "must be POST, PUT, PATCH or DELETE"))
}

fn bulk_id(fields: &Fields<'_>) -> Result<Option<String>> {
    Ok(fields.text("bulkId")?.filter(|text| !text.is_empty()))
}

impl<'a> Task<'a> {
    fn read(fields: &Fields<'a>, base_url: &str) -> Result<Self, Failure> {
        let missing = |field: &'static str| Failure::from(Error::broken(Rule::Syntax, field, "is missing"));
        let method = method(fields)?;
        // RFC 7644 section 3.7: required of a POST.
        if bulk_id(fields)?.is_none() && method == Method::Post {
            return Err(missing("bulkId"));
        }
        let path = fields.text("path")?.ok_or_else(|| missing("path"))?;
        let (endpoint, id) = target(&path, base_url).ok_or_else(|| Error::not_found("this endpoint"))?;
        if id.is_none() != (method == Method::Post) {
            return Err(Failure::method_not_allowed());
        }
        let data = fields.get("data").filter(|_| method != Method::Delete);
        if data.is_none() && method != Method::Delete {
            return Err(missing("data"));
        }
        // What a POST makes has no version before it.
        let version = fields.text("version")?.filter(|_| method != Method::Post);
        let id = id.map(Into::into);
        let mut task = Self { method, endpoint, id, version, data, references: BTreeSet::new() };
        let (body, path) = (Value::Object(task.body()?), Value::from(task.id.clone()));
        for value in [body, path] {
            reference::each(&value, &mut |name| _ = task.references.insert(name.to_owned()));
        }
        Ok(task)
    }

    /// The data; a DELETE has none.
    pub fn body(&self) -> Result<Map<String, Value>> {
        let Some(data) = self.data else { return Ok(Map::new()) };
        match serde_json::from_str(data.get()) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Error::broken(Rule::Syntax, "data", "must be a JSON object")),
            Err(error) => Err(not_json("data", &error)),
        }
    }
}

/// The endpoint and the id in a path, which clients write from the tenant's root (`/Users/1`), with or without
/// the slash, from the server's root (`/scim/v2/acme/Users/1`), or as a whole URL.
fn target<'p>(path: &'p str, base_url: &str) -> Option<(Endpoint, Option<&'p str>)> {
    let rest = path.strip_prefix(base_url).unwrap_or(path).trim_start_matches('/');
    let base = base_url.splitn(4, '/').nth(3).unwrap_or_default();
    // Where a proxy strips the path of the public URL.
    let stripped = base.rfind("scim/v2/").and_then(|at| base.get(at..)).unwrap_or(base);
    let inner = [base, stripped].into_iter().find_map(|base| rest.strip_prefix(base)?.strip_prefix('/'));
    let rest = inner.unwrap_or(rest);
    let (name, id) = rest.split_once('/').unwrap_or((rest, ""));
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.name() == name)?;
    Some((endpoint, (!id.is_empty()).then_some(id)))
}

/// What each operation waits for: whatever creates what it refers to, and what comes before it in the request
/// and changes the same resource.
pub fn nodes(operations: &[Operation<'_>]) -> Vec<Node> {
    let creators = operations.iter().enumerate().filter_map(|(at, operation)| Some((operation.creates()?, at)));
    let creators: HashMap<&str, usize> = creators.collect();
    let mut latest = HashMap::new();
    let node = |(at, operation): (usize, &Operation<'_>)| {
        let Ok(task) = &operation.task else { return Node::default() };
        let mut needs: BTreeSet<usize> =
            task.references.iter().filter_map(|name| creators.get(name.as_str())).copied().collect();
        if let Some(id) = &task.id {
            needs.extend(latest.insert((task.endpoint, id.clone()), at));
        }
        // A group in a circle of groups is refused by the domain in any order; so such a circle is not begun.
        Node { needs, divisible: task.method == Method::Post && task.endpoint == Endpoint::Users }
    };
    operations.iter().enumerate().map(node).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BASE: &str = "https://example.com/pp/scim/v2/acme";

    fn refusal(body: Value) -> (u16, String) {
        let failure = Message::read(body.to_string().as_bytes(), BASE).map(|_| ()).unwrap_err();
        (failure.status.as_u16(), failure.detail)
    }

    type Target = (Endpoint, Option<String>);

    /// What `read` makes of one operation: its method and bulkId, and what it is about or its failure's status.
    fn one(operation: Value) -> (Option<Method>, Option<String>, Result<Target, u16>) {
        let body = json!({ "Operations": [operation] }).to_string();
        let mut message = Message::read(body.as_bytes(), BASE).unwrap();
        let Operation { method, bulk_id, task } = message.operations.remove(0);
        (method, bulk_id, task.map(|task| (task.endpoint, task.id)).map_err(|failure| failure.status.as_u16()))
    }

    #[test]
    fn paths_are_read_as_clients_write_them() {
        let users = |id: &'static str| Some((Endpoint::Users, Some(id)));
        for path in
            ["/Users/1", "Users/1", "/pp/scim/v2/acme/Users/1", "pp/scim/v2/acme/Users/1", "/scim/v2/acme/Users/1"]
        {
            assert_eq!(target(path, BASE), users("1"), "{path}");
        }
        assert_eq!(target("https://example.com/pp/scim/v2/acme/Users/1", BASE), users("1"));
        assert_eq!(target("/Users/bulkId:a/b", BASE), users("bulkId:a/b"));
        for path in ["/Groups", "Groups/", "/scim/v2/acme/Groups"] {
            assert_eq!(target(path, BASE), Some((Endpoint::Groups, None)), "{path}");
        }
        for path in ["", "/", "/Bulk", "/Schemas", "/Usersx/1", "/scim/v2/other/Users/1", "/scim/v2/acmeUsers/1"] {
            assert_eq!(target(path, BASE), None, "{path}");
        }
    }

    #[test]
    fn names_and_methods_come_in_any_case() {
        let operation = json!({ "Method": "post", "BULKID": "a", "path": "/Users", "Data": { "userName": "a" } });
        let body = json!({
            "SCHEMAS": [REQUEST.to_uppercase()], "failonerrors": 3, "operations": [operation], "more": {},
        });
        let body = body.to_string();
        let message = Message::read(body.as_bytes(), BASE).unwrap();
        assert_eq!(message.fail_on_errors, Some(3));
        assert_eq!(message.operations[0].creates(), Some("a"));
        let task = message.operations[0].task.as_ref().unwrap();
        assert_eq!((task.method, task.endpoint, &task.id), (Method::Post, Endpoint::Users, &None));
        assert_eq!(task.body().unwrap()["userName"], "a");
    }

    #[test]
    fn what_is_wrong_with_one_operation_is_its_own_failure() {
        let (post, put) = (Some(Method::Post), Some(Method::Put));
        let a = || Some("a".to_owned());
        assert_eq!(one(json!(7)), (None, None, Err(400)));
        assert_eq!(one(json!({ "bulkId": "a", "path": "/Users", "data": {} })), (None, a(), Err(400)));
        assert_eq!(one(json!({ "method": "GET", "path": "/Users/1" })), (None, None, Err(400)));
        assert_eq!(one(json!({ "method": "POST", "path": "/Users", "data": {} })), (post, None, Err(400)));
        assert_eq!(one(json!({ "method": "POST", "bulkId": "a", "data": {} })), (post, a(), Err(400)));
        assert_eq!(one(json!({ "method": "POST", "bulkId": "a", "path": "/Users" })), (post, a(), Err(400)));
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "path": "/Users", "data": [] })),
            (post, a(), Err(400))
        );
        assert_eq!(one(json!({ "method": "POST", "bulkId": "a", "path": "/Me", "data": {} })), (post, a(), Err(404)));
        assert_eq!(
            one(json!({ "method": "POST", "bulkId": "a", "path": "/Users/1", "data": {} })),
            (post, a(), Err(405))
        );
        assert_eq!(one(json!({ "method": "PUT", "path": "/Users", "data": {} })), (put, None, Err(405)));
        assert_eq!(
            one(json!({ "method": "PUT", "path": "/Users/1", "version": 1, "data": {} })),
            (put, None, Err(400))
        );
        let large = "x".repeat(MAX_BODY);
        assert_eq!(one(json!({ "method": "PUT", "path": "/Users/1", "data": { "x": large } })), (None, None, Err(413)));
        let deep = format!(r#"{{"Operations":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(Message::read(deep.as_bytes(), BASE).unwrap().operations[0].task.is_err());
        // A DELETE needs nothing but a path.
        let (delete, deleted) = (Some(Method::Delete), Ok((Endpoint::Groups, Some("1".to_owned()))));
        assert_eq!(one(json!({ "method": "delete", "path": "/Groups/1", "data": 7 })), (delete, None, deleted));
    }

    #[test]
    fn a_message_that_cannot_be_told_apart_is_refused_as_a_whole() {
        assert_eq!(refusal(json!([])).0, 400);
        for operations in [json!(null), json!({}), json!([])] {
            assert_eq!(refusal(json!({ "Operations": operations })).0, 400);
        }
        let operation = json!({ "method": "DELETE", "path": "/Users/1" });
        for wrong in [json!(0), json!(-1), json!("1"), json!(1.5), json!([])] {
            assert_eq!(refusal(json!({ "failOnErrors": wrong, "Operations": [operation] })).0, 400, "{wrong}");
        }
        let patch = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
        assert_eq!(refusal(json!({ "schemas": [patch], "Operations": [operation] })).0, 400);
        let create = json!({ "method": "POST", "bulkId": "a", "path": "/Users", "data": {} });
        assert!(refusal(json!({ "Operations": [create, create] })).1.contains("bulkId"));
        let many = vec![operation; MAX_OPERATIONS + 1];
        let (status, detail) = refusal(json!({ "Operations": many }));
        assert_eq!(status, 413);
        assert!(detail.contains("1000") && detail.contains("1001"), "{detail}");
        assert!(Message::read(br#"{"Operations": [}"#, BASE).is_err());
    }

    #[test]
    fn an_operation_waits_for_what_it_refers_to_and_for_earlier_changes_of_the_same_thing() {
        let body = json!({ "Operations": [
            { "method": "PATCH", "path": "/Groups/1", "data": { "x": ["bulkId:u", "bulkId:nobody"] } },
            { "method": "DELETE", "path": "/Groups/1" },
            { "method": "POST", "bulkId": "g", "path": "/Groups", "data": { "members": [{ "value": "bulkId:u" }] } },
            { "method": "POST", "bulkId": "u", "path": "/Users", "data": { "manager": "bulkId:u" } },
            { "method": "PATCH", "path": "/Users/bulkId:u", "data": {} },
            { "method": "DELETE", "path": "/Users/1" },
        ] });
        let body = body.to_string();
        let message = Message::read(body.as_bytes(), BASE).unwrap();
        let nodes = nodes(&message.operations);
        let needs: Vec<Vec<usize>> = nodes.iter().map(|node| node.needs.iter().copied().collect()).collect();
        assert_eq!(needs, [vec![3], vec![0], vec![3], vec![3], vec![3], vec![]]);
        let divisible: Vec<bool> = nodes.iter().map(|node| node.divisible).collect();
        assert_eq!(divisible, [false, false, false, true, false, false]);
    }
}
