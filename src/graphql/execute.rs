//! The execution of one operation, for every transport: its request, the checks before anything is
//! run, and its responses. What must never enter: how a response is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType,
};
use async_graphql::{ErrorExtensionValues, Request, Response, ServerError, Value, Variables};
use axum::http::StatusCode;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Data, json};
use tokio::sync::mpsc;
use tracing::Instrument;
use uuid::Uuid;

use super::auth::ApiCaller;
use super::cost::{self, OperationCost};
use super::document::{SyntaxError, parse_document};
use super::document_limits::{self, DocumentRefusal};
use super::error_code::ErrorCode;
use super::validation::{self, DocumentFault, SchemaIndex};
use crate::context::run_within;
use crate::error::{Error, RefusalReason, UNAVAILABLE_RETRY_AFTER_SECONDS};
use crate::graphql::{GraphqlState, idempotency, loaders, permission_guard, relay, schema};

/// Longest time that a query or a mutation may take.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// Validation may find a mistake in every field; a reader needs only the first few.
const MAX_VALIDATION_ERRORS: usize = 20;

/// The error of a request for which nothing was run.
#[derive(Debug)]
pub struct RequestError {
    pub status: StatusCode,
    pub code: ErrorCode,
    pub message: String,
    /// The methods for the header `Allow`, if the method was wrong.
    pub allow: Option<&'static str>,
    /// Seconds to wait before the next attempt.
    pub retry_after: Option<u64>,
    pub position: Option<async_graphql::Pos>,
    /// The permission that the caller lacks.
    pub permission: Option<&'static str>,
    /// The further mistakes in the document.
    pub more: Box<[DocumentFault]>,
}

impl RequestError {
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            allow: None,
            retry_after: None,
            position: None,
            permission: None,
            more: Box::default(),
        }
    }

    /// Not a well-formed GraphQL-over-HTTP request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::BadUserInput, message)
    }

    /// An error of the domain because of which nothing was run.
    pub fn from_error(error: &Error, request_id: Uuid) -> Self {
        let (code, message) = relay::public_message(error, request_id);
        let status = match error {
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) | Error::NotFoundInList { .. } => StatusCode::NOT_FOUND,
            Error::Held { reason: RefusalReason::OrganizationSuspended, .. } => {
                StatusCode::FORBIDDEN
            }
            Error::Invalid { .. } | Error::Several(_) | Error::InEdit { .. } => {
                StatusCode::BAD_REQUEST
            }
            Error::Held { .. } => StatusCode::CONFLICT,
            Error::Busy(_) | Error::Unavailable(_) | Error::OutcomeUnknown { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after = match error {
            Error::Busy(_) => Some(1),
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } => {
                Some(UNAVAILABLE_RETRY_AFTER_SECONDS)
            }
            _ => None,
        };
        let permission = match error {
            Error::Forbidden(denial) => denial.permission(),
            _ => None,
        };
        Self { retry_after, permission, ..Self::new(status, code, message) }
    }

    /// The caller exceeds what one caller may use.
    pub fn rate_limited(message: impl Into<String>, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::RateLimited, message)
        }
    }

    /// The body of a response without data.
    pub fn to_body(&self, request_id: Uuid) -> ResponseBody {
        let more = self.more.iter().map(|DocumentFault { message, pos }| {
            let code = self.code.name();
            let mut error = json!({ "message": message, "extensions": { "code": code } });
            error["locations"] = json!([{ "line": pos.line, "column": pos.column }]);
            error
        });
        let errors = std::iter::once(self.to_json(request_id)).chain(more).collect();
        ResponseBody { errors, ..ResponseBody::default() }
    }

    /// The fault as an entry of `errors`.
    fn to_json(&self, request_id: Uuid) -> Data {
        let code = self.code.name();
        let mut error = json!({ "message": self.message, "extensions": { "code": code } });
        if let Some(position) = self.position {
            error["locations"] = json!([{ "line": position.line, "column": position.column }]);
        }
        if let Some(permission) = self.permission {
            error["extensions"]["permission"] = json!(permission);
        }
        if self.code.names_request() {
            error["extensions"]["requestId"] = json!(request_id);
        }
        if let Some(seconds) = self.retry_after {
            error["extensions"]["retryAfterSeconds"] = json!(seconds);
        }
        error
    }
}

impl From<DocumentRefusal> for RequestError {
    fn from(excess: DocumentRefusal) -> Self {
        match excess {
            DocumentRefusal::TooComplex(message) => {
                Self::new(StatusCode::BAD_REQUEST, ErrorCode::QueryTooComplex, message)
            }
            DocumentRefusal::Invalid(message) => validation_error(message),
        }
    }
}

impl From<SyntaxError> for RequestError {
    fn from(SyntaxError { message, pos, is_grammatical }: SyntaxError) -> Self {
        let refusal = if is_grammatical {
            validation_error(message)
        } else {
            let message = format!("the query is not GraphQL: {}", relay::shorten_message(&message));
            Self::new(StatusCode::BAD_REQUEST, ErrorCode::GraphqlParseFailed, message)
        };
        Self { position: Some(pos), ..refusal }
    }
}

impl From<DocumentFault> for RequestError {
    fn from(DocumentFault { message, pos }: DocumentFault) -> Self {
        Self { position: Some(pos), ..validation_error(relay::shorten_message(&message)) }
    }
}

/// The refusal of a document with mistakes; none if there are none.
fn refuse_faults(faults: Vec<DocumentFault>) -> Result<(), RequestError> {
    let mut faults = faults
        .into_iter()
        .map(|fault| DocumentFault { message: relay::shorten_message(&fault.message), ..fault });
    match faults.next() {
        None => Ok(()),
        Some(first) => Err(RequestError { more: faults.collect(), ..first.into() }),
    }
}

/// The error for a document that is not valid.
fn validation_error(message: impl Into<String>) -> RequestError {
    RequestError::new(StatusCode::BAD_REQUEST, ErrorCode::GraphqlValidationFailed, message)
}

/// The parameters of a well-formed request.
#[derive(Debug)]
pub struct GraphqlRequest {
    query: Option<String>,
    /// The SHA-256 of the document: sent instead of it, or with it, so that the server remembers
    /// it.
    hash: Option<String>,
    operation_name: Option<String>,
    variables: Variables,
    /// The idempotency key of a mutation.
    key: Option<String>,
}

impl GraphqlRequest {
    /// Parses the request parameters (GraphQL over HTTP, section "Request parameters").
    ///
    /// # Errors
    /// A [`RequestError`] if they are not well formed.
    pub fn from_body(mut body: Map<String, Data>) -> Result<Self, RequestError> {
        if body.values().any(has_nul) {
            return Err(RequestError::bad_request("strings must not contain the character NUL"));
        }
        let query = match body.remove("query") {
            Some(Data::String(query)) => Some(query),
            Some(Data::Null) | None => None,
            Some(_) => return Err(RequestError::bad_request("query must be a string")),
        };
        let operation_name = match body.remove("operationName") {
            Some(Data::String(name)) if !name.is_empty() => Some(name),
            Some(Data::String(_) | Data::Null) | None => None,
            Some(_) => return Err(RequestError::bad_request("operationName must be a string")),
        };
        let variables = match body.remove("variables") {
            Some(variables @ Data::Object(_)) => Variables::from_json(variables),
            Some(Data::Null) | None => Variables::default(),
            Some(_) => return Err(RequestError::bad_request("variables must be an object")),
        };
        let extensions = match body.remove("extensions") {
            Some(Data::Object(extensions)) => extensions,
            Some(Data::Null) | None => Map::new(),
            Some(_) => return Err(RequestError::bad_request("extensions must be an object")),
        };
        let hash = parse_document_hash(extensions.get("persistedQuery"), body.get("documentId"))?;
        let key = match extensions.get("idempotencyKey") {
            None | Some(Data::Null) => None,
            Some(key) => Some(idempotency::parse_key(key.as_str().unwrap_or_default())?),
        };
        Ok(Self { query, hash, operation_name, variables, key })
    }

    /// The same request with the idempotency key of a header, if there is one; it precedes that of
    /// the body.
    pub fn with_idempotency_key(self, key: Option<String>) -> Self {
        Self { key: key.or(self.key), ..self }
    }
}

/// The hash that names a document: in Apollo's extension, or in the specification's appendix
/// "Persisted Documents".
fn parse_document_hash(
    extension: Option<&Data>,
    document_id: Option<&Data>,
) -> Result<Option<String>, RequestError> {
    let unsupported = |message| {
        RequestError::new(StatusCode::BAD_REQUEST, ErrorCode::PersistedQueryNotSupported, message)
    };
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
        Some(_) => Err(RequestError::bad_request("documentId must be a string")),
    }
}

/// PostgreSQL cannot store NUL in text. The parser of JSON bounds the depth of `value`.
pub fn has_nul(value: &Data) -> bool {
    match value {
        Data::String(text) => text.contains('\0'),
        Data::Array(values) => values.iter().any(has_nul),
        Data::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        _ => false,
    }
}

/// An operation that passed the checks, with all that it needs to be run.
pub struct PreparedOperation {
    pub kind: OperationType,
    request: Request,
    request_id: Uuid,
    /// None = the cost was charged elsewhere.
    payer: Option<OperationPayer>,
    /// The idempotency key of a mutation, and its caller.
    keyed: Option<(String, ApiCaller)>,
}

/// The caller that pays for an operation, and the cost of each of its responses.
struct OperationPayer {
    door: Arc<GraphqlState>,
    principal: String,
    cost: u64,
}

/// The result of an operation. A status other than 200 means that nothing was run.
pub type ExecutionResult = Result<OperationResponse, RequestError>;

/// A response, and whether it repeats the response to an earlier request with the same key.
#[derive(Debug)]
pub struct OperationResponse {
    pub status: StatusCode,
    pub body: ResponseBody,
    pub replayed: bool,
}

/// The body of a response (GraphQL specification, section 7.1). The data are serialized as they
/// are: to copy them to JSON values would cost a tenth of what it costs to produce them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseBody {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Data>,
    /// None = nothing was run; null = the operation was run and failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "deserialize_present")]
    pub data: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, Value>,
}

impl ResponseBody {
    /// Whether an operation was run, but no root field has a value, because the database was
    /// unavailable.
    pub fn is_database_outage(&self) -> bool {
        let empty = match &self.data {
            Some(Value::Object(fields)) => fields.values().all(|value| *value == Value::Null),
            Some(value) => *value == Value::Null,
            None => false,
        };
        let codes = self
            .errors
            .iter()
            .filter_map(|error| error.pointer("/extensions/code").and_then(Data::as_str));
        let mut codes = codes.filter_map(ErrorCode::from_name);
        empty
            && codes.any(|code| matches!(code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown))
    }

    /// The body as the library's type; only for an operation that was run.
    pub fn into_response(self) -> Response {
        let errors = self.errors.into_iter().map(parse_error).collect();
        let mut response = Response::from_errors(errors);
        response.data = self.data.unwrap_or_default();
        response.extensions = self.extensions;
        response
    }

    /// The body as JSON.
    pub fn to_json(&self) -> Data {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Tells a field that is null from one that is absent.
fn deserialize_present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Checks a request before anything of it is run.
///
/// # Errors
/// A [`RequestError`] if the request is refused.
pub fn prepare_operation(
    door: &Arc<GraphqlState>,
    caller: ApiCaller,
    ask: GraphqlRequest,
) -> Result<PreparedOperation, RequestError> {
    let to_remember = ask.query.is_some() && ask.hash.is_some();
    let text = door.documents.resolve_document(ask.query, ask.hash.as_deref())?;
    document_limits::check_text(&text)?;
    let mut document = parse_document(&text)?;
    let form = document_limits::check_document(&document)?;
    if form.selects_schema() && !door.app.config.graphql.introspection {
        let message = "introspection is turned off here; the schema is published as schema.graphql";
        let code = ErrorCode::IntrospectionDisabled;
        return Err(RequestError::new(StatusCode::BAD_REQUEST, code, message));
    }
    let index = SchemaIndex::of_server();
    refuse_faults(validation::find_faults(index, &document)?)?;
    if to_remember {
        door.documents.cache_document(&text);
    }
    let name = ask.operation_name.as_deref();
    let operation = select_operation(&document, name)?;
    let kind = operation.ty;
    let variables = validation::coerce_variables(index, operation, &ask.variables)?;
    let cost = cost::compute_cost(index, &document, operation, &variables, form.depth())?;
    validation::omit_arguments(&mut document, name, &variables);
    if kind != OperationType::Query {
        validation::merge_root_fields(&mut document, name, &variables)?;
    }
    let payer = OperationPayer {
        door: door.clone(),
        principal: caller.principal(),
        cost: cost.total_cost(),
    };
    let balance = door.budgets.charge_cost(&payer.principal, payer.cost)?;
    let payer = Some(payer);
    let request_id = caller.cx.request_id;
    let allowed = kind == OperationType::Query && {
        let query = select_operation(&document, ask.operation_name.as_deref())?;
        permission_guard::allows_query(&document, query, &caller)
    };
    // A subscription pays for each response, so the balance at its start says nothing.
    let balance = balance.filter(|_| kind != OperationType::Subscription);
    let name = ask
        .operation_name
        .filter(|_| matches!(document.operations, DocumentOperations::Multiple(_)));
    let keyed =
        ask.key.filter(|_| kind == OperationType::Mutation).map(|key| (key, caller.clone()));
    let mut request = Request::new(&*text).variables(variables).data(cost);
    if let Some(balance) = balance {
        request = request.data(balance);
    }
    if let Some(name) = name {
        request = request.operation_name(name);
    }
    if allowed {
        request = request.data(permission_guard::QueryAllowed);
    }
    let mut request = loaders::attach_loaders(request, &caller.cx).data(caller);
    request.set_parsed_query(document);
    Ok(PreparedOperation { kind, request, request_id, payer, keyed })
}

impl PreparedOperation {
    /// An operation with a document of rolecall's own, which is known to be valid.
    ///
    /// # Errors
    /// A [`RequestError`] for a variable whose value does not fit.
    pub fn from_own_document(
        caller: ApiCaller,
        text: &str,
        variables: &Variables,
    ) -> Result<Self, RequestError> {
        let document = parse_document(text)?;
        let operation = select_operation(&document, None)?;
        let index = SchemaIndex::of_server();
        let variables = validation::coerce_variables(index, operation, variables)?;
        let request_id = caller.cx.request_id;
        let request = Request::new(text).variables(variables).data(OperationCost::default());
        let mut request = loaders::attach_loaders(request, &caller.cx).data(caller);
        request.set_parsed_query(document);
        Ok(Self { kind: OperationType::Mutation, request, request_id, payer: None, keyed: None })
    }

    /// The request as a text, to compare it with other requests.
    pub fn comparison_text(&self) -> String {
        let name = self.request.operation_name.as_deref().unwrap_or_default();
        let variables = serde_json::to_string(&self.request.variables).unwrap_or_default();
        format!("{name}\0{}\0{variables}", self.request.query)
    }

    /// Adds data that resolvers can read.
    pub fn attach_data(&mut self, data: impl std::any::Any + Send + Sync) {
        self.request.data.insert(data);
    }

    /// Runs a query or a mutation; one with an idempotency key is run only once.
    pub async fn run_with_key(mut self) -> ExecutionResult {
        match self.keyed.take() {
            Some((key, caller)) => idempotency::run_once(self, caller, &key).await,
            None => self.run_without_key().await,
        }
    }

    /// Runs a query or a mutation without regard to its idempotency key.
    pub async fn run_without_key(self) -> ExecutionResult {
        let Self { kind, request, request_id, .. } = self;
        let Some(response) = run_within(OPERATION_TIMEOUT, schema().execute(request)).await else {
            count_operation("busy");
            tracing::warn!(%request_id, "an operation took too long");
            if kind == OperationType::Mutation {
                return Err(RequestError::from_error(
                    &Error::OutcomeUnknown { request_id },
                    request_id,
                ));
            }
            let message =
                format!("the operation took longer than {} seconds", OPERATION_TIMEOUT.as_secs());
            return Err(RequestError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Busy,
                message,
            ));
        };
        count_operation(if response.errors.is_empty() { "ok" } else { "errors" });
        Ok(finish_response(response, request_id))
    }

    /// The responses of an operation: one of a query or a mutation, any number of a subscription.
    ///
    /// A task of its own produces them, one ahead of the client. Otherwise a client that reads
    /// slowly would hold up a statement, and with it one of the few connections to the database.
    pub fn spawn_responses(self) -> BoxStream<'static, ExecutionResult> {
        let request_id = self.request_id;
        let mut made = self.into_responses();
        let (sender, receiver) = mpsc::channel(1);
        let produced = async move {
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
        };
        tokio::spawn(produced.in_current_span());
        let answers = stream::unfold(Some(receiver), move |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(answer) => answer.map(|answer| (answer, Some(receiver))),
                None => {
                    let error = Error::Internal("an operation ended without a response".into());
                    Some((Err(RequestError::from_error(&error, request_id)), None))
                }
            }
        });
        answers.boxed()
    }

    fn into_responses(self) -> BoxStream<'static, ExecutionResult> {
        if self.kind != OperationType::Subscription {
            return stream::once(self.run_with_key()).boxed();
        }
        let Self { request, request_id, payer, .. } = self;
        let answers = schema()
            .execute_stream(request)
            .map(move |response| Ok(finish_response(response, request_id)));
        // The first response was charged when the request was checked.
        let paid =
            stream::unfold((answers.boxed(), payer, true), async |(mut answers, payer, first)| {
                let answer = answers.next().await?;
                if let Some(payer) = payer.as_ref().filter(|_| !first) {
                    payer.door.budgets.wait_and_charge(&payer.principal, payer.cost).await;
                }
                Some((answer, (answers, payer, false)))
            });
        paid.boxed()
    }
}

/// Counts an operation in the metrics.
fn count_operation(outcome: &'static str) {
    metrics::counter!("rolecall_graphql_operations_total", "outcome" => outcome).increment(1);
}

/// The response with its status. Every execution adds its cost to the response: without it nothing
/// was run, because validation refused the document or the subscription could not begin.
fn finish_response(mut response: Response, request_id: Uuid) -> OperationResponse {
    if response.extensions.contains_key("cost") {
        return OperationResponse {
            status: StatusCode::OK,
            body: build_body(response),
            replayed: false,
        };
    }
    response.errors.truncate(MAX_VALIDATION_ERRORS);
    for error in &mut response.errors {
        if error.source::<Error>().is_some() {
            relay::translate_error(error, request_id);
            continue;
        }
        error.message = relay::explain_value_error(&error.message);
        error
            .extensions
            .get_or_insert_with(ErrorExtensionValues::default)
            .set("code", ErrorCode::GraphqlValidationFailed.name());
    }
    OperationResponse {
        status: StatusCode::BAD_REQUEST,
        body: build_body(response),
        replayed: false,
    }
}

/// The body of a response.
fn build_body(response: Response) -> ResponseBody {
    let Response { errors, data, extensions, .. } = response;
    // A document that was refused has no data entry at all; one that was run has one, even if it is
    // null.
    let data = Some(data).filter(|_| extensions.contains_key("cost"));
    ResponseBody { errors: errors.iter().map(error_to_json).collect(), data, extensions }
}

/// The reverse of [`error_to_json`].
fn parse_error(error: Data) -> ServerError {
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    serde_json::from_value(error).unwrap_or_else(|_| ServerError::new(message, None))
}

fn error_to_json(error: &ServerError) -> Data {
    serde_json::to_value(error).unwrap_or_default()
}

/// The operation to run (GraphQL specification, section 6.1).
fn select_operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a OperationDefinition, RequestError> {
    let invalid = |message: &str| {
        RequestError::new(StatusCode::BAD_REQUEST, ErrorCode::GraphqlValidationFailed, message)
    };
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
