//! `/Bulk` (RFC 7644 section 3.7): many operations in one request.
//!
//! Every operation runs the code of the matching single request, in its own transaction and with
//! its own status. This module adds the order, in which an operation comes after those that create
//! what it refers to ([`plan`]), and puts ids in place of the temporary names ([`reference`]). It
//! decides nothing about users and groups.

mod message;
mod plan;
mod reference;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::entity_tag::{EntityTag, Preconditions};
use super::{groups, users};
use crate::domain::connection::async_request::AsyncOutcome;
use crate::domain::connection::async_request::bulk::{AsyncOperation, DeferredBulk, EarlierWrite};
use crate::domain::directory::user;
use crate::error::{Error, Result};
use crate::scim::http::{ScimCaller, ScimFailure, json_response, read_payload};
use message::{ScimBulkEndpoint, ScimBulkMethod, ScimBulkOperation, ScimBulkRequest, ScimBulkTask};
use plan::PlanStep;

/// The most operations in one request.
pub const MAX_OPERATIONS: usize = 1_000;
/// Largest body of a bulk request, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 10 * 1024 * 1024;

const BULK_RESPONSE_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

/// RFC 7644 section 3.7: the answer is 200 even if operations failed; each has its own status in
/// it.
pub async fn handle_bulk(caller: ScimCaller, request: Request) -> Result<Response, ScimFailure> {
    let deferred = request.extensions().get::<Arc<DeferredBulk>>().cloned();
    let body = read_payload(request, &caller.cx.app, MAX_PAYLOAD_BYTES).await?;
    let message = ScimBulkRequest::parse(&body, &caller.base_url)?;
    // Those of a deferred request were counted when it was accepted.
    if deferred.is_none() {
        take_operations(&caller, &message)?;
    }
    let mut job = ScimBulkRun::new(&caller, &message.operations, deferred);
    for step in plan::plan_steps(&message::plan_nodes(&message.operations)) {
        // RFC 7644 section 3.7: too many have failed. What was done stays, the rest is not
        // attempted.
        if message.fail_on_errors.is_some_and(|most| job.errors >= most) {
            break;
        }
        job.execute_step(step).await?;
    }
    job.finish_all().await?;
    Ok(json_response(StatusCode::OK, job.response_body().to_string()))
}

fn take_operations(caller: &ScimCaller, message: &ScimBulkRequest<'_>) -> Result<()> {
    match caller.cx.confined_to() {
        Some(connection) => {
            caller.cx.app.limits.take_operations(connection, message.operations.len())
        }
        None => Ok(()),
    }
}

/// Checks a request that is to be carried out later, and lists what its operations are.
pub fn list_deferred_operations(
    caller: &ScimCaller,
    body: &[u8],
) -> Result<Vec<AsyncOperation>, ScimFailure> {
    let message = ScimBulkRequest::parse(body, &caller.base_url)?;
    take_operations(caller, &message)?;
    let describe = |operation: &ScimBulkOperation<'_>| {
        let endpoint = operation.task.as_ref().map_or("Users", |task| task.endpoint.name());
        let method = operation.method.map_or("POST", ScimBulkMethod::name);
        AsyncOperation { method: method.into(), endpoint: endpoint.into() }
    };
    Ok(message.operations.iter().map(describe).collect())
}

/// A bulk request while it is carried out.
struct ScimBulkRun<'a> {
    caller: &'a ScimCaller,
    operations: &'a [ScimBulkOperation<'a>],
    /// The outcome of each operation, by its position in the request; none = not attempted.
    outcomes: Vec<Option<ScimBulkOutcome>>,
    /// The state of each bulkId.
    fates: HashMap<&'a str, BulkIdState>,
    /// The resources that were created without the references of a cycle, by position.
    begun: BTreeMap<usize, PartialResource>,
    errors: u64,
    /// What earlier runs did, and where results are told, if this is done after its answer.
    deferred: Option<Arc<DeferredBulk>>,
}

/// The state of the resource that a bulkId stands for.
enum BulkIdState {
    Awaited,
    Made(String),
    Failed,
}

/// A resource that was created without some of its attributes, which are still to be added.
struct PartialResource {
    id: Uuid,
    missing: Map<String, Value>,
}

/// The outcome of one operation, with the id and the version of its resource if there is one.
struct ScimBulkOutcome {
    id: Option<String>,
    version: Option<i64>,
    result: Result<StatusCode, ScimFailure>,
}

impl ScimBulkOutcome {
    fn from_failure(id: Option<String>, why: impl Into<ScimFailure>) -> Self {
        Self { id, version: None, result: Err(why.into()) }
    }

    /// The outcome of an operation that an earlier run has told.
    fn from_async_outcome(outcome: &AsyncOutcome) -> Self {
        let status = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let result = match status {
            status if status.is_success() => Ok(status),
            status => Err(ScimFailure::from_status(status, "it failed before")),
        };
        Self { id: outcome.resource.map(|id| id.to_string()), version: None, result }
    }
}

impl<'a> ScimBulkRun<'a> {
    fn new(
        caller: &'a ScimCaller,
        operations: &'a [ScimBulkOperation<'a>],
        deferred: Option<Arc<DeferredBulk>>,
    ) -> Self {
        let awaited = operations
            .iter()
            .filter_map(ScimBulkOperation::created_bulk_id)
            .map(|bulk_id| (bulk_id, BulkIdState::Awaited));
        Self {
            caller,
            operations,
            outcomes: operations.iter().map(|_| None).collect(),
            fates: awaited.collect(),
            begun: BTreeMap::new(),
            errors: 0,
            deferred,
        }
    }

    /// Carries a step out. It fails only if the result of a deferred operation cannot be told.
    async fn execute_step(&mut self, step: PlanStep) -> Result<()> {
        let at = step.position();
        let Some(operation) = self.operations.get(at) else { return Ok(()) };
        if let Some(earlier) = self.deferred.as_ref().and_then(|deferred| deferred.outcome_at(at)) {
            let earlier = ScimBulkOutcome::from_async_outcome(earlier);
            // An operation in two parts comes here twice.
            if self.outcomes.get(at).is_some_and(Option::is_none) {
                self.note_outcome(at, earlier);
            }
            return Ok(());
        }
        let task = match &operation.task {
            Ok(task) => task,
            Err(failure) => {
                self.caller.note.set_meaning("bulk operation");
                let outcome = ScimBulkOutcome::from_failure(None, failure.clone());
                return self.record_outcome(at, outcome).await;
            }
        };
        let outcome = match step {
            PlanStep::Run(_) => self.execute_task(at, task).await,
            PlanStep::Begin(_) => match self.create_partially(at, operation, task).await {
                Ok(()) => return Ok(()),
                Err(error) => ScimBulkOutcome::from_failure(None, error),
            },
            PlanStep::Finish(_) => match self.begun.remove(&at) {
                Some(begun) => self.finish_resource(at, task, begun).await,
                // Its creation failed, and that outcome is recorded.
                None => return Ok(()),
            },
            // RFC 7644 section 3.7.1: 409 if a cycle cannot be resolved.
            PlanStep::Refuse(_) => {
                let why = "this group and others of this request would contain each other, which \
                           is not allowed";
                ScimBulkOutcome::from_failure(
                    None,
                    ScimFailure::from_status(StatusCode::CONFLICT, why),
                )
            }
        };
        self.record_outcome(at, outcome).await
    }

    async fn record_outcome(&mut self, at: usize, outcome: ScimBulkOutcome) -> Result<()> {
        let reported = self.deferred.clone().map(|it| (it, self.describe_outcome(at, &outcome)));
        if let Some((deferred, reported)) = &reported
            && deferred.is_tried_again(reported)
        {
            let why = format!("a deferred operation was answered {}", reported.status);
            return Err(Error::Busy(why));
        }
        self.log_operation(at, &outcome);
        if let Some((deferred, reported)) = &reported {
            deferred.tell_outcome(at, reported).await?;
        }
        self.note_outcome(at, outcome);
        Ok(())
    }

    /// The outcome of a deferred operation, as its event tells it.
    fn describe_outcome(&self, at: usize, outcome: &ScimBulkOutcome) -> AsyncOutcome {
        let task = self.operations.get(at).and_then(|operation| operation.task.as_ref().ok());
        let (status, scim_type) = match &outcome.result {
            Ok(status) => (*status, None),
            Err(failure) => (failure.status, failure.refusal.scim_type),
        };
        AsyncOutcome {
            status: status.as_u16(),
            version: outcome.version.map(|version| EntityTag::of_version(version).into()),
            location: task.zip(outcome.id.as_deref()).map(|(task, id)| self.location_of(task, id)),
            resource: outcome.id.as_deref().and_then(|id| Uuid::try_parse(id).ok()),
            scim_type: scim_type.map(Into::into),
        }
    }

    fn location_of(&self, task: &ScimBulkTask<'_>, id: &str) -> String {
        format!("{}/{}/{id}", self.caller.base_url, task.endpoint.name())
    }

    fn note_outcome(&mut self, at: usize, outcome: ScimBulkOutcome) {
        self.errors += u64::from(outcome.result.is_err());
        if let Some(bulk_id) = self.operations.get(at).and_then(ScimBulkOperation::created_bulk_id)
        {
            let fate = self.fates.entry(bulk_id).or_insert(BulkIdState::Awaited);
            // A resource of a cycle was created, even if its references could not be set.
            if let BulkIdState::Awaited = fate {
                *fate = outcome.id.clone().map_or(BulkIdState::Failed, BulkIdState::Made);
            }
        }
        if let Some(slot) = self.outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    }

    /// Records an operation in the request log like the matching single request.
    fn log_operation(&self, at: usize, outcome: &ScimBulkOutcome) {
        let task = self.operations.get(at).and_then(|operation| operation.task.as_ref().ok());
        let (method, resource) =
            task.map_or(("POST", "Bulk"), |task| (task.method.name(), task.endpoint.name()));
        let (status, refusal) = match &outcome.result {
            Ok(status) => (*status, None),
            Err(failure) => (failure.status, Some(&failure.refusal)),
        };
        let id = outcome.id.as_deref();
        let body = || {
            let mut body = task?.parse_data().ok()?;
            body.values_mut()
                .try_for_each(|value| {
                    reference::resolve_references(value, &|bulk_id| self.find_id(bulk_id))
                })
                .ok()?;
            Some(body)
        };
        self.caller.note.finish_operation(
            &self.caller.cx.app,
            method,
            resource,
            id,
            status,
            refusal,
            body,
        );
    }

    /// The caller in whose name the operation at this place is carried out: each operation of a
    /// deferred request has a request id of its own.
    fn operation_caller(&self, at: usize) -> Option<ScimCaller> {
        let cx = self.deferred.as_ref()?.operation_cx(&self.caller.cx, at);
        let ScimCaller { base_url, types, note, .. } = self.caller;
        Some(ScimCaller {
            cx,
            base_url: base_url.clone(),
            types: types.clone(),
            note: note.clone(),
        })
    }

    /// What an earlier run wrote for the operation at this place.
    fn earlier_write(&self, at: usize) -> Option<EarlierWrite> {
        self.deferred.as_ref()?.earlier_write_at(at)
    }

    async fn execute_task(&self, at: usize, task: &ScimBulkTask<'_>) -> ScimBulkOutcome {
        if let Some(earlier) = self.earlier_write(at) {
            let id = Some(earlier.resource.to_string());
            return ScimBulkOutcome { id, version: None, result: Ok(task.method.success_status()) };
        }
        let id = match task.id.as_deref().map(|id| self.resolve_id(id)).transpose() {
            Ok(id) => id,
            Err(error) => return ScimBulkOutcome::from_failure(None, error),
        };
        match self.resolve_and_call(at, task, id.as_deref().unwrap_or_default()).await {
            Ok(Some((id, version))) => ScimBulkOutcome {
                id: Some(id.to_string()),
                version: Some(version),
                result: Ok(task.method.success_status()),
            },
            Ok(None) => {
                ScimBulkOutcome { id, version: None, result: Ok(task.method.success_status()) }
            }
            Err(error) => ScimBulkOutcome::from_failure(id, error),
        }
    }

    async fn resolve_and_call(
        &self,
        at: usize,
        task: &ScimBulkTask<'_>,
        id: &str,
    ) -> Result<Option<(Uuid, i64)>> {
        let mut body = task.parse_data()?;
        for value in body.values_mut() {
            reference::resolve_references(value, &|bulk_id| self.find_id(bulk_id))?;
        }
        self.call_endpoint(at, task, task.method, id, body).await
    }

    /// Creates a resource without the attributes that refer to resources not yet created.
    async fn create_partially(
        &mut self,
        at: usize,
        operation: &'a ScimBulkOperation<'a>,
        task: &ScimBulkTask<'_>,
    ) -> Result<()> {
        let awaited = |bulk_id: &str| matches!(self.fates.get(bulk_id), Some(BulkIdState::Awaited));
        let (missing, mut body): (Map<_, _>, Map<_, _>) = task
            .parse_data()?
            .into_iter()
            .partition(|(_, value)| reference::has_reference(value, &awaited));
        for value in body.values_mut() {
            reference::resolve_references(value, &|bulk_id| self.find_id(bulk_id))?;
        }
        let made = match self.earlier_write(at) {
            Some(earlier) => Some(earlier.resource),
            None => {
                let made = self.call_endpoint(at, task, ScimBulkMethod::Post, "", body).await?;
                made.map(|(id, _)| id)
            }
        };
        if let Some(id) = made {
            if let Some(bulk_id) = operation.created_bulk_id() {
                self.fates.insert(bulk_id, BulkIdState::Made(id.to_string()));
            }
            self.begun.insert(at, PartialResource { id, missing });
        }
        Ok(())
    }

    /// Adds the missing attributes to a resource of a cycle, as a PATCH would.
    async fn finish_resource(
        &self,
        at: usize,
        task: &ScimBulkTask<'_>,
        begun: PartialResource,
    ) -> ScimBulkOutcome {
        let id = begun.id.to_string();
        let added = match self.earlier_write(at) {
            Some(EarlierWrite { changed: true, .. }) => Ok(None),
            _ => self.add_references(at, task, &id, begun.missing).await,
        };
        match added {
            Ok(version) => {
                ScimBulkOutcome { id: Some(id), version, result: Ok(task.method.success_status()) }
            }
            Err(error) => {
                // RFC 7644 section 3.7.1.
                let why = format!(
                    "created, but without its references: {}",
                    ScimFailure::from(error).detail
                );
                ScimBulkOutcome::from_failure(
                    Some(id),
                    ScimFailure::from_status(StatusCode::CONFLICT, why),
                )
            }
        }
    }

    async fn add_references(
        &self,
        at: usize,
        task: &ScimBulkTask<'_>,
        id: &str,
        missing: Map<String, Value>,
    ) -> Result<Option<i64>> {
        let mut missing = Value::Object(missing);
        reference::resolve_references(&mut missing, &|bulk_id| self.find_id(bulk_id))?;
        let patch = json!({ "Operations": [{ "op": "replace", "value": missing }] });
        let Value::Object(patch) = patch else { return Ok(None) };
        let done = self.call_endpoint(at, task, ScimBulkMethod::Patch, id, patch).await?;
        Ok(done.map(|(_, version)| version))
    }

    /// Adds the missing attributes to the resources that still wait for them after the request
    /// stopped early.
    async fn finish_all(&mut self) -> Result<()> {
        for at in self.begun.keys().copied().collect::<Vec<_>>() {
            self.execute_step(PlanStep::Finish(at)).await?;
        }
        Ok(())
    }

    /// Carries out the single request that matches the operation at this place.
    async fn call_endpoint(
        &self,
        at: usize,
        task: &ScimBulkTask<'_>,
        method: ScimBulkMethod,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<Option<(Uuid, i64)>> {
        let own = self.operation_caller(at);
        call_endpoint(own.as_ref().unwrap_or(self.caller), task, method, id, body).await
    }

    /// The id in a path, which may be a reference.
    fn resolve_id(&self, id: &str) -> Result<String> {
        reference::resolve_text(id, &|bulk_id| self.find_id(bulk_id))
            .map(|resolved| resolved.unwrap_or(id.to_owned()))
    }

    /// The id that a bulkId stands for (RFC 7644 section 3.7.2).
    fn find_id(&self, bulk_id: &str) -> Result<String> {
        let why = match self.fates.get(bulk_id) {
            Some(BulkIdState::Made(id)) => return Ok(id.clone()),
            Some(BulkIdState::Failed) => "is of an operation that failed",
            Some(BulkIdState::Awaited) => "is of an operation that was not carried out",
            None => "is of no operation that creates something",
        };
        let shown: String = bulk_id.chars().take(64).collect();
        Err(Error::invalid("bulkId", format!("{shown:?} {why}")))
    }

    /// RFC 7644 section 3.7: the outcomes in the order of the request, without the resources.
    fn response_body(&self) -> Value {
        let pairs = self.operations.iter().zip(&self.outcomes);
        let operations = pairs.filter_map(|(operation, outcome)| {
            Some(self.render_operation(operation, outcome.as_ref()?))
        });
        json!({ "schemas": [BULK_RESPONSE_URN], "Operations": operations.collect::<Vec<_>>() })
    }

    fn render_operation(
        &self,
        operation: &ScimBulkOperation<'_>,
        outcome: &ScimBulkOutcome,
    ) -> Value {
        let mut rendered = Map::new();
        if let Some(method) = operation.method {
            rendered.insert("method".into(), method.name().into());
        }
        if let Some(bulk_id) = &operation.bulk_id {
            rendered.insert("bulkId".into(), bulk_id.as_str().into());
        }
        if let (Ok(task), Some(id)) = (&operation.task, &outcome.id) {
            rendered.insert("location".into(), self.location_of(task, id).into());
        }
        if let Some(version) = outcome.version {
            rendered.insert("version".into(), EntityTag::of_version(version).as_str().into());
        }
        let status = match &outcome.result {
            Ok(status) => status,
            Err(failure) => {
                rendered.insert("response".into(), failure.error_body());
                &failure.status
            }
        };
        rendered.insert("status".into(), status.as_u16().to_string().into());
        Value::Object(rendered)
    }
}

/// Carries out the single request that matches an operation. Returns the id and the version of the
/// resource; `None` after a DELETE.
async fn call_endpoint(
    caller: &ScimCaller,
    task: &ScimBulkTask<'_>,
    method: ScimBulkMethod,
    id: &str,
    body: Map<String, Value>,
) -> Result<Option<(Uuid, i64)>> {
    caller.note.record_operation(method.name(), task.endpoint.name(), &body);
    let preconditions = Preconditions::on_version(task.version.clone());
    match task.endpoint {
        ScimBulkEndpoint::Users => {
            let user = match method {
                ScimBulkMethod::Post => user::create_user(&caller.cx, body).await?,
                ScimBulkMethod::Put => {
                    users::replace_user(caller, id, &preconditions, body, false).await?.user
                }
                ScimBulkMethod::Patch => {
                    users::patch_user(caller, id, &preconditions, body, false).await?.user
                }
                ScimBulkMethod::Delete => {
                    return users::delete_user(&caller.cx, id, &preconditions).await.map(|()| None);
                }
            };
            Ok(Some((user.id, user.version)))
        }
        ScimBulkEndpoint::Groups => {
            let group = match method {
                ScimBulkMethod::Post => groups::create_group(caller, body).await?,
                ScimBulkMethod::Put => {
                    groups::replace_group(caller, id, &preconditions, body).await?
                }
                ScimBulkMethod::Patch => {
                    groups::patch_group(caller, id, &preconditions, body).await?
                }
                ScimBulkMethod::Delete => {
                    return groups::delete_group(&caller.cx, id, &preconditions)
                        .await
                        .map(|()| None);
                }
            };
            Ok(Some((group.id, group.version)))
        }
    }
}
