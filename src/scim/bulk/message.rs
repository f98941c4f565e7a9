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
        let version = fields.text("version")?;
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
    let (name, id) = inner.unwrap_or(rest).split_once('/').unwrap_or((inner.unwrap_or(rest), ""));
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
