//! One operation on its way, whichever transport brought it: what was asked, what of it is refused unseen, and what
//! comes of it. What must never enter: how an answer travels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{ErrorExtensionValues, Positioned, Request, Response, ServerError, Value, Variables};
use axum::http::StatusCode;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Data, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::auth::{self, Caller};
use super::budget::Balance;
use super::limits::{self, Cost, Excess};
use super::{Door, loaders, needs, open_schema, page, replay, schema};
use crate::context::within;
use crate::error::{Error, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// Longest time that a query or a mutation may take.
const MAX_TIME: Duration = Duration::from_secs(15);
/// Validation may find a mistake in every field; a person reads the first few.
const MAX_ERRORS: usize = 20;

/// A request that is answered without running anything.
#[derive(Debug)]
pub struct Fault {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The methods that would do, where the method is what is wrong.
    pub allow: Option<&'static str>,
    /// Seconds to wait.
    pub retry_after: Option<u64>,
    pub position: Option<async_graphql::Pos>,
}

impl Fault {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None, retry_after: None, position: None }
    }

    /// Not a well-formed GraphQL-over-HTTP request.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_USER_INPUT", message)
    }

    /// An error of the domain that leaves nothing to run.
    pub fn of(error: &Error, request_id: Uuid) -> Self {
        let (code, message) = page::words(error, request_id);
        let status = match error {
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Invalid { .. } => StatusCode::BAD_REQUEST,
            Error::Held { .. } => StatusCode::CONFLICT,
            Error::Busy(_) | Error::Unavailable(_) | Error::OutcomeUnknown { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after = match error {
            Error::Busy(_) => Some(1),
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } => Some(UNAVAILABLE_RETRY_AFTER_SECONDS),
            _ => None,
        };
        Self { retry_after, ..Self::new(status, code, message) }
    }

    /// More than one caller may have.
    pub fn limited(message: impl Into<String>, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message) }
    }

    /// The entry of `errors`.
    pub fn to_json(&self, request_id: Uuid) -> Data {
        let mut error = json!({ "message": self.message, "extensions": { "code": self.code } });
        if let Some(position) = self.position {
            error["locations"] = json!([{ "line": position.line, "column": position.column }]);
        }
        if matches!(self.code, "INTERNAL" | "UNAVAILABLE" | "OUTCOME_UNKNOWN") {
            error["extensions"]["requestId"] = json!(request_id);
        }
        if let Some(seconds) = self.retry_after {
            error["extensions"]["retryAfterSeconds"] = json!(seconds);
        }
        error
    }
}

/// Whether a code says that the document is at fault, in a request that is well formed.
pub fn is_about_document(code: &str) -> bool {
    matches!(
        code,
        "GRAPHQL_PARSE_FAILED"
            | "GRAPHQL_VALIDATION_FAILED"
            | "QUERY_TOO_COMPLEX"
            | "INTROSPECTION_DISABLED"
            | "OPERATION_NOT_ALLOWED"
            | "PERSISTED_QUERY_NOT_FOUND"
            | "PERSISTED_QUERY_HASH_MISMATCH"
            | "PERSISTED_QUERY_NOT_SUPPORTED"
    )
}

impl From<Excess> for Fault {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::TooComplex(message) => Self::new(StatusCode::BAD_REQUEST, "QUERY_TOO_COMPLEX", message),
            Excess::Invalid(message) => invalid(message),
        }
    }
}

/// A document that cannot be run.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED", message)
}

/// What a well-formed request carries.
#[derive(Debug)]
pub struct Ask {
    query: Option<String>,
    /// What the document is called where it is not sent, or to be remembered: its SHA-256.
    hash: Option<String>,
    operation_name: Option<String>,
    variables: Variables,
    /// What a repeat of the same mutation is known by.
    key: Option<String>,
}

impl Ask {
    /// GraphQL over HTTP, section "Request parameters".
    ///
    /// # Errors
    /// A [`Fault`] for anything else.
    pub fn of(mut body: Map<String, Data>) -> Result<Self, Fault> {
        if body.values().any(has_nul) {
            return Err(Fault::bad("strings must not contain the character NUL"));
        }
        let query = match body.remove("query") {
            Some(Data::String(query)) => Some(query),
            Some(Data::Null) | None => None,
            Some(_) => return Err(Fault::bad("query must be a string")),
        };
        let operation_name = match body.remove("operationName") {
            Some(Data::String(name)) if !name.is_empty() => Some(name),
            Some(Data::String(_) | Data::Null) | None => None,
            Some(_) => return Err(Fault::bad("operationName must be a string")),
        };
        let variables = match body.remove("variables") {
            Some(variables @ Data::Object(_)) => Variables::from_json(variables),
            Some(Data::Null) | None => Variables::default(),
            Some(_) => return Err(Fault::bad("variables must be an object")),
        };
        let extensions = match body.remove("extensions") {
            Some(Data::Object(extensions)) => extensions,
            Some(Data::Null) | None => Map::new(),
            Some(_) => return Err(Fault::bad("extensions must be an object")),
        };
        let hash = named(extensions.get("persistedQuery"), body.get("documentId"))?;
        let key = match extensions.get("idempotencyKey") {
            None | Some(Data::Null) => None,
            Some(key) => Some(replay::key(key.as_str().unwrap_or_default())?),
        };
        Ok(Self { query, hash, operation_name, variables, key })
    }

    /// The same with a key that came beside it, if one did.
    pub fn keyed(self, key: Option<String>) -> Self {
        Self { key: key.or(self.key), ..self }
    }
}

/// The hash that names a document: in Apollo's extension, or in the specification's appendix "Persisted Documents".
fn named(extension: Option<&Data>, document_id: Option<&Data>) -> Result<Option<String>, Fault> {
    let unsupported = |message| Fault::new(StatusCode::BAD_REQUEST, "PERSISTED_QUERY_NOT_SUPPORTED", message);
    if let Some(extension) = extension.filter(|extension| !extension.is_null()) {
        return match (extension["version"].as_i64(), extension["sha256Hash"].as_str()) {
            (Some(1), Some(hash)) => Ok(Some(hash.to_owned())),
            _ => Err(unsupported("persistedQuery needs version 1 and sha256Hash")),
        };
    }
    match document_id {
        None | Some(Data::Null) => Ok(None),
        Some(Data::String(id)) => match id.strip_prefix("sha256:") {
            Some(hash) => Ok(Some(hash.to_owned())),
            None => Err(unsupported("documentId must begin with \"sha256:\"")),
        },
        Some(_) => Err(Fault::bad("documentId must be a string")),
    }
}

/// PostgreSQL cannot hold NUL in text. The depth of `value` is bounded by the parser of JSON.
pub fn has_nul(value: &Data) -> bool {
    match value {
        Data::String(text) => text.contains('\0'),
        Data::Array(values) => values.iter().any(has_nul),
        Data::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// An operation that may be run: read, judged, and with all that it needs.
pub struct Operation {
    pub kind: OperationType,
    request: Request,
    request_id: Uuid,
    /// None = it was paid for otherwise.
    payer: Option<Payer>,
    /// The key by which a repeat of a mutation is known, and whose it is.
    keyed: Option<(String, Caller)>,
    /// What a query is made of that need not be asked about field by field.
    open: Option<Again>,
}

/// All that a request is made of, to run it once more. Of the document the text alone: it is parsed again only after
/// something went wrong.
struct Again {
    text: Arc<str>,
    name: Option<String>,
    variables: Variables,
    cost: Cost,
    balance: Option<Balance>,
    caller: Caller,
}

impl Again {
    fn request(&self) -> Request {
        let mut request = Request::new(&*self.text).variables(self.variables.clone()).data(self.cost);
        if let Some(balance) = self.balance {
            request = request.data(balance);
        }
        if let Some(name) = &self.name {
            request = request.operation_name(name);
        }
        loaders::attach(request, &self.caller.cx).data(self.caller.clone())
    }
}

/// Who pays for an operation, and what each answer of it costs.
struct Payer {
    door: Arc<Door>,
    principal: String,
    cost: u64,
}

/// What came of an operation. A status other than 200 says that nothing was run.
pub type Answer = Result<Reply, Fault>;

/// An answer's body, and whether it was given before.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Body,
    pub replayed: bool,
}

/// What an answer says (GraphQL specification, section 7.1). The data are written as they are: a copy of them as JSON
/// would cost as much as a tenth of making them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Body {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Data>,
    /// None = nothing was run; null = nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub data: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, Value>,
}

impl Body {
    /// An answer without data.
    pub fn error(error: Data) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }

    /// Whether an operation was run, no root field has a value, and a database that cannot be used is why.
    pub fn met_outage(&self) -> bool {
        let empty = match &self.data {
            Some(Value::Object(fields)) => fields.values().all(|value| *value == Value::Null),
            Some(value) => *value == Value::Null,
            None => false,
        };
        let codes = self.errors.iter().filter_map(|error| error.pointer("/extensions/code").and_then(Data::as_str));
        empty && codes.into_iter().any(|code| matches!(code, "UNAVAILABLE" | "OUTCOME_UNKNOWN"))
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> Data {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A null that is there is not the same as nothing.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Judges what is asked before anything of it is run.
///
/// # Errors
/// A [`Fault`] if nothing will be.
pub fn prepare(door: &Arc<Door>, caller: Caller, ask: Ask) -> Result<Operation, Fault> {
    let to_remember = ask.query.is_some() && ask.hash.is_some();
    let text = door.documents.resolve(ask.query, ask.hash.as_deref())?;
    limits::check_text(&text)?;
    let mut document = parse_query(&*text).map_err(|error| Fault {
        position: error.positions().next(),
        ..Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_PARSE_FAILED", syntax(&error.to_string()))
    })?;
    let cost = limits::check_document(&document, &ask.variables)?;
    if cost.asks_for_schema() && !door.app.config.graphql.introspection {
        let message = "this server does not tell its schema; it is published as schema.graphql";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "INTROSPECTION_DISABLED", message));
    }
    if to_remember {
        door.documents.remember(&text);
    }
    let operation = chosen(&document, ask.operation_name.as_deref())?;
    provided(operation, &ask.variables)?;
    let kind = operation.ty;
    if kind == OperationType::Subscription {
        let field = followed(&document, operation)?;
        lay_bare(&mut document, ask.operation_name.as_deref(), field);
    }
    let payer = Payer { door: door.clone(), principal: caller.principal(), cost: cost.total() };
    let balance = door.budgets.take(&payer.principal, payer.cost)?;
    let payer = Some(payer);
    let request_id = caller.cx.request_id;
    let open = kind == OperationType::Query && {
        let query = chosen(&document, ask.operation_name.as_deref())?;
        needs::met(&document, query, &caller)
    };
    // To a subscription, which pays as it goes, the balance of its beginning means nothing.
    let balance = balance.filter(|_| kind != OperationType::Subscription);
    let name = ask.operation_name.filter(|_| matches!(document.operations, DocumentOperations::Multiple(_)));
    let keyed = ask.key.filter(|_| kind == OperationType::Mutation).map(|key| (key, caller.clone()));
    let again = Again { text, name, variables: ask.variables, cost, balance, caller };
    let mut request = again.request();
    request.set_parsed_query(document);
    Ok(Operation { kind, request, request_id, payer, keyed, open: open.then_some(again) })
}

impl Operation {
    /// An operation whose document is our own and known to be good.
    pub fn own(caller: Caller, document: &str, variables: Variables) -> Self {
        let request_id = caller.cx.request_id;
        let request = Request::new(document).variables(variables).data(Cost::default());
        let request = loaders::attach(request, &caller.cx).data(caller);
        Self { kind: OperationType::Mutation, request, request_id, payer: None, keyed: None, open: None }
    }

    /// What is asked, to tell one request from another.
    pub fn text(&self) -> String {
        let name = self.request.operation_name.as_deref().unwrap_or_default();
        let variables = serde_json::to_string(&self.request.variables).unwrap_or_default();
        format!("{name}\0{}\0{variables}", self.request.query)
    }

    /// Gives the resolvers something to see.
    pub fn attach(&mut self, data: impl std::any::Any + Send + Sync) {
        self.request.data.insert(data);
    }

    /// Runs a query or a mutation, one that has a key once.
    pub async fn run(mut self) -> Answer {
        match self.keyed.take() {
            Some((key, caller)) => replay::once(self, caller, &key).await,
            None => self.execute().await,
        }
    }

    /// Runs a query or a mutation, whatever key it has.
    pub async fn execute(self) -> Answer {
        let Self { kind, request, request_id, open, .. } = self;
        let Some(response) = within(MAX_TIME, executed(request, open)).await else {
            count("busy");
            tracing::warn!(%request_id, "an operation took too long");
            if kind == OperationType::Mutation {
                return Err(Fault::of(&Error::OutcomeUnknown { request_id }, request_id));
            }
            let message = format!("the operation took longer than {} seconds", MAX_TIME.as_secs());
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", message));
        };
        count(if response.errors.is_empty() { "ok" } else { "errors" });
        Ok(judged(response, request_id))
    }

    /// What comes of any operation: of a query or a mutation one answer, of a subscription any number.
    ///
    /// They are made in a task of their own, one ahead of whoever reads. Otherwise a client that reads slowly would
    /// leave a statement half done, and with it keep one of the few connections to the database.
    pub fn answers(self) -> BoxStream<'static, Answer> {
        let request_id = self.request_id;
        let mut made = self.made();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let answer = tokio::select! {
                    answer = made.next() => answer,
                    () = sender.closed() => return,
                };
                let last = answer.is_none();
                if sender.send(answer).await.is_err() || last {
                    return;
                }
            }
        });
        let answers = stream::unfold(Some(receiver), move |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(answer) => answer.map(|answer| (answer, Some(receiver))),
                None => {
                    let error = Error::Internal("an operation ended without a word".into());
                    Some((Err(Fault::of(&error, request_id)), None))
                }
            }
        });
        answers.boxed()
    }

    fn made(self) -> BoxStream<'static, Answer> {
        if self.kind != OperationType::Subscription {
            return stream::once(self.run()).boxed();
        }
        let Self { request, request_id, payer, .. } = self;
        let answers = schema().execute_stream(request).map(move |response| Ok(judged(response, request_id)));
        // The first answer was paid for when it was asked for.
        let paid = stream::unfold((answers.boxed(), payer, true), async |(mut answers, payer, first)| {
            let answer = answers.next().await?;
            if let Some(payer) = payer.as_ref().filter(|_| !first) {
                payer.door.budgets.pay(&payer.principal, payer.cost).await;
            }
            Some((answer, (answers, payer, false)))
        });
        paid.boxed()
    }
}

/// Counts an operation for whoever watches the installation.
fn count(outcome: &'static str) {
    metrics::counter!("rolecall_graphql_operations_total", "outcome" => outcome).increment(1);
}

/// Runs a query whose caller may see all of it without asking at every field. If anything goes wrong it is run once
/// more with the gatekeeper, who knows what to do with an error.
async fn executed(request: Request, open: Option<Again>) -> Response {
    let Some(again) = open else { return schema().execute(request).await };
    let mut response = open_schema().execute(request).await;
    if !response.errors.is_empty() {
        return schema().execute(again.request()).await;
    }
    auth::tell(&mut response, Some(&again.cost), again.balance.as_ref());
    response
}

/// The answer with its status. The cost is reported by whoever executes: without it, nothing was run, because
/// validation refused the document or the subscription could not begin.
fn judged(mut response: Response, request_id: Uuid) -> Reply {
    if response.extensions.contains_key("cost") {
        return Reply { status: StatusCode::OK, body: body_of(response), replayed: false };
    }
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        if error.source::<Error>().is_some() {
            page::translate(error, request_id);
            continue;
        }
        error.message = page::explained(&error.message);
        error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", "GRAPHQL_VALIDATION_FAILED");
    }
    Reply { status: StatusCode::BAD_REQUEST, body: body_of(response), replayed: false }
}

/// The body of an answer.
fn body_of(response: Response) -> Body {
    let Response { errors, data, extensions, .. } = response;
    // A document that was refused has no data entry at all; one that was run has one, even if it is null.
    let data = Some(data).filter(|_| extensions.contains_key("cost"));
    Body { errors: errors.iter().map(error_json).collect(), data, extensions }
}

fn error_json(error: &ServerError) -> Data {
    serde_json::to_value(error).unwrap_or_default()
}

/// The first line of what the parser says, without the piece of the document that it repeats.
fn syntax(message: &str) -> String {
    let expected = message.lines().filter_map(|line| line.trim().strip_prefix("= ")).next();
    format!("the query is not GraphQL: {}", page::shortened(expected.unwrap_or("syntax error")))
}

/// GraphQL specification, section 6.1: which operation is meant.
fn chosen<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<&'a OperationDefinition, Fault> {
    let invalid = |message: &str| Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED", message);
    let mut operations = document.operations.iter();
    match name {
        Some(name) => operations
            .find(|(found, _)| found.is_some_and(|found| found == name))
            .map(|(_, operation)| &operation.node)
            .ok_or_else(|| invalid("no operation in the document has the name in operationName")),
        None => match (operations.next(), operations.next()) {
            (Some((_, only)), None) => Ok(&only.node),
            _ => Err(invalid("the document has several operations; say which with operationName")),
        },
    }
}

/// GraphQL specification, section 6.1.2: a variable that must be there, is.
fn provided(operation: &OperationDefinition, variables: &Variables) -> Result<(), Fault> {
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let required = !definition.var_type.node.nullable;
        let missing = match variables.get(&definition.name.node) {
            Some(value) => *value == Value::Null,
            None => definition.default_value.is_none(),
        };
        if required && missing {
            let message = format!("the variable ${} is required", page::shortened(&definition.name.node));
            return Err(Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED", message));
        }
    }
    Ok(())
}

/// GraphQL specification, section 5.2.4.1: a subscription follows one thing, whatever fragments it stands in.
fn followed(document: &ExecutableDocument, operation: &OperationDefinition) -> Result<Positioned<Field>, Fault> {
    let mut fields = Vec::new();
    roots(document, &operation.selection_set.node, &mut fields)?;
    match fields.as_slice() {
        [only] if !only.node.name.node.starts_with("__") => Ok(only.clone()),
        _ => Err(invalid("a subscription selects exactly one field, and not one of introspection")),
    }
}

fn roots(document: &ExecutableDocument, set: &SelectionSet, fields: &mut Vec<Positioned<Field>>) -> Result<(), Fault> {
    for item in &set.items {
        if !item.node.directives().is_empty() {
            return Err(invalid("directives cannot stand at the root of a subscription"));
        }
        match &item.node {
            Selection::Field(field) => fields.push(field.clone()),
            Selection::InlineFragment(inline) => roots(document, &inline.node.selection_set.node, fields)?,
            Selection::FragmentSpread(spread) => {
                // Fragments that contain themselves were refused before.
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    roots(document, &fragment.node.selection_set.node, fields)?;
                }
            }
        }
    }
    Ok(())
}

/// The executor of subscriptions sees fields alone and no fragments: the one field stands beside them. Written twice,
/// it is one to the validator, and the fragments stay used.
fn lay_bare(document: &mut ExecutableDocument, name: Option<&str>, field: Positioned<Field>) {
    let operation = match &mut document.operations {
        DocumentOperations::Single(operation) => Some(operation),
        DocumentOperations::Multiple(operations) => name.and_then(|name| operations.get_mut(name)),
    };
    if let Some(operation) = operation {
        let items = &mut operation.node.selection_set.node.items;
        items.retain(|item| !matches!(item.node, Selection::Field(_)));
        items.push(Positioned::new(Selection::Field(field.clone()), field.pos));
    }
}
