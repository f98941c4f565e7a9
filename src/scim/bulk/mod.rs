//! `/Bulk` (RFC 7644 section 3.7): many operations in one request.
//!
//! Every operation runs the code of the single request that it stands for, in a transaction and with a status
//! of its own. What this room adds is the order, in which an operation that refers to what another one creates
//! comes after it ([`plan`]), and the ids in place of the temporary names ([`reference`]). It decides nothing
//! about users and groups.

mod message;
mod plan;
mod reference;

use std::collections::{BTreeMap, HashMap};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::wire::{Caller, Failure, Preconditions, answer, etag, payload};
use super::{groups, users};
use crate::domain::user;
use crate::error::{Error, Result};
use message::{Endpoint, Message, Method, Operation, Task};
use plan::Step;

/// The most operations in one request.
pub const MAX_OPERATIONS: usize = 1_000;
/// Largest body of a bulk request, in bytes.
pub const MAX_PAYLOAD: usize = 10 * 1024 * 1024;

const RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

/// RFC 7644 section 3.7: answered 200 whatever became of the operations; each tells it for itself.
pub async fn run(caller: Caller, request: Request) -> Result<Response, Failure> {
    let body = payload(request, &caller.cx.app, MAX_PAYLOAD).await?;
    let message = Message::read(&body, &caller.base_url)?;
    if let Some(connection) = caller.cx.confined_to() {
        caller.cx.app.limits.take_operations(connection, message.operations.len())?;
    }
    let mut job = Job::new(&caller, &message.operations);
    for step in plan::steps(&message::nodes(&message.operations)) {
        // RFC 7644 section 3.7: enough has failed. What was done stays done, the rest is not attempted.
        if message.fail_on_errors.is_some_and(|most| job.errors >= most) {
            break;
        }
        job.take(step).await;
    }
    job.finish_all().await;
    Ok(answer(StatusCode::OK, job.response().to_string()))
}

/// A bulk request while it is carried out.
struct Job<'a> {
    caller: &'a Caller,
    operations: &'a [Operation<'a>],
    /// What became of each operation, by its place in the request; none = not attempted.
    outcomes: Vec<Option<Outcome>>,
    /// What each bulkId stands for.
    fates: HashMap<&'a str, Fate>,
    /// What was created without its references in a circle.
    begun: BTreeMap<usize, Begun>,
    errors: u64,
}

/// What has become of the resource that a bulkId stands for.
enum Fate {
    Awaited,
    Made(String),
    Failed,
}

/// A resource that waits for the attributes that could not be told when it was created.
struct Begun {
    id: Uuid,
    missing: Map<String, Value>,
}

/// What one operation came to. The id and the version are those of the resource, as far as there is one.
struct Outcome {
    id: Option<String>,
    version: Option<i64>,
    result: Result<StatusCode, Failure>,
}

impl Outcome {
    fn refused(id: Option<String>, why: impl Into<Failure>) -> Self {
        Self { id, version: None, result: Err(why.into()) }
    }
}

impl<'a> Job<'a> {
    fn new(caller: &'a Caller, operations: &'a [Operation<'a>]) -> Self {
        let awaited = operations.iter().filter_map(Operation::creates).map(|bulk_id| (bulk_id, Fate::Awaited));
        Self {
            caller,
            operations,
            outcomes: operations.iter().map(|_| None).collect(),
            fates: awaited.collect(),
            begun: BTreeMap::new(),
            errors: 0,
        }
    }

    async fn take(&mut self, step: Step) {
        let (Step::Run(at) | Step::Begin(at) | Step::Finish(at) | Step::Refuse(at)) = step;
        let Some(operation) = self.operations.get(at) else { return };
        let task = match &operation.task {
            Ok(task) => task,
            Err(failure) => {
                self.caller.note.means("bulk operation");
                return self.settle(at, Outcome::refused(None, failure.clone()));
            }
        };
        let outcome = match step {
            Step::Run(_) => self.run(task).await,
            Step::Begin(_) => match self.begin(at, operation, task).await {
                Ok(()) => return,
                Err(error) => Outcome::refused(None, error),
            },
            Step::Finish(_) => match self.begun.remove(&at) {
                Some(begun) => self.finish(task, begun).await,
                // It failed at its beginning and has its outcome.
                None => return,
            },
            // RFC 7644 section 3.7.1: 409 where a circle cannot be resolved.
            Step::Refuse(_) => {
                let why = "this group and others of this request would contain each other, which no group can";
                Outcome::refused(None, Failure::plain(StatusCode::CONFLICT, why))
            }
        };
        self.settle(at, outcome);
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        self.errors += u64::from(outcome.result.is_err());
        self.note(at, &outcome);
        if let Some(bulk_id) = self.operations.get(at).and_then(Operation::creates) {
            let fate = self.fates.entry(bulk_id).or_insert(Fate::Awaited);
            // What was created in a circle is there, even if its references could not be set.
            if let Fate::Awaited = fate {
                *fate = outcome.id.clone().map_or(Fate::Failed, Fate::Made);
            }
        }
        if let Some(slot) = self.outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    }

    /// An operation is told in the request log as the request that it stands for.
    fn note(&self, at: usize, outcome: &Outcome) {
        let task = self.operations.get(at).and_then(|operation| operation.task.as_ref().ok());
        let (method, resource) = task.map_or(("POST", "Bulk"), |task| (task.method.name(), task.endpoint.name()));
        let (status, refusal) = match &outcome.result {
            Ok(status) => (*status, None),
            Err(failure) => (failure.status, Some(&failure.refusal)),
        };
        let id = outcome.id.as_deref();
        let body = || {
            let mut body = task?.body().ok()?;
            body.values_mut().try_for_each(|value| reference::resolve(value, &|bulk_id| self.lookup(bulk_id))).ok()?;
            Some(body)
        };
        self.caller.note.operation_done(&self.caller.cx.app, method, resource, id, status, refusal, body);
    }

    async fn run(&self, task: &Task<'_>) -> Outcome {
        let id = match task.id.as_deref().map(|id| self.resolved(id)).transpose() {
            Ok(id) => id,
            Err(error) => return Outcome::refused(None, error),
        };
        match self.perform(task, id.as_deref().unwrap_or_default()).await {
            Ok(Some((id, version))) => {
                Outcome { id: Some(id.to_string()), version: Some(version), result: Ok(task.method.success()) }
            }
            Ok(None) => Outcome { id, version: None, result: Ok(task.method.success()) },
            Err(error) => Outcome::refused(id, error),
        }
    }

    async fn perform(&self, task: &Task<'_>, id: &str) -> Result<Option<(Uuid, i64)>> {
        let mut body = task.body()?;
        for value in body.values_mut() {
            reference::resolve(value, &|bulk_id| self.lookup(bulk_id))?;
        }
        call(self.caller, task, task.method, id, body).await
    }

    /// Creates a resource without the attributes that refer to what is still to come.
    async fn begin(&mut self, at: usize, operation: &'a Operation<'a>, task: &Task<'_>) -> Result<()> {
        let awaited = |bulk_id: &str| matches!(self.fates.get(bulk_id), Some(Fate::Awaited));
        let (missing, mut body): (Map<_, _>, Map<_, _>) =
            task.body()?.into_iter().partition(|(_, value)| reference::any(value, &awaited));
        for value in body.values_mut() {
            reference::resolve(value, &|bulk_id| self.lookup(bulk_id))?;
        }
        if let Some((id, _)) = call(self.caller, task, Method::Post, "", body).await? {
            if let Some(bulk_id) = operation.creates() {
                self.fates.insert(bulk_id, Fate::Made(id.to_string()));
            }
            self.begun.insert(at, Begun { id, missing });
        }
        Ok(())
    }

    /// Tells a resource in a circle the rest, as a PATCH would.
    async fn finish(&self, task: &Task<'_>, begun: Begun) -> Outcome {
        let id = begun.id.to_string();
        match self.complete(task, &id, begun.missing).await {
            Ok(version) => Outcome { id: Some(id), version, result: Ok(task.method.success()) },
            Err(error) => {
                // RFC 7644 section 3.7.1.
                let why = format!("created, but without what refers to others: {}", Failure::from(error).detail);
                Outcome::refused(Some(id), Failure::plain(StatusCode::CONFLICT, why))
            }
        }
    }

    async fn complete(&self, task: &Task<'_>, id: &str, missing: Map<String, Value>) -> Result<Option<i64>> {
        let mut missing = Value::Object(missing);
        reference::resolve(&mut missing, &|bulk_id| self.lookup(bulk_id))?;
        let patch = json!({ "Operations": [{ "op": "replace", "value": missing }] });
        let Value::Object(patch) = patch else { return Ok(None) };
        let done = call(self.caller, task, Method::Patch, id, patch).await?;
        Ok(done.map(|(_, version)| version))
    }

    /// What was created and not ended before the request was cut short: ended now, or told as it is.
    async fn finish_all(&mut self) {
        for at in self.begun.keys().copied().collect::<Vec<_>>() {
            self.take(Step::Finish(at)).await;
        }
    }

    /// The id in a path, which may itself be a reference.
    fn resolved(&self, id: &str) -> Result<String> {
        reference::resolve_text(id, &|bulk_id| self.lookup(bulk_id)).map(|resolved| resolved.unwrap_or(id.to_owned()))
    }

    /// The id that a bulkId stands for (RFC 7644 section 3.7.2).
    fn lookup(&self, bulk_id: &str) -> Result<String> {
        let why = match self.fates.get(bulk_id) {
            Some(Fate::Made(id)) => return Ok(id.clone()),
            Some(Fate::Failed) => "is of an operation that failed",
            Some(Fate::Awaited) => "is of an operation that was not carried out",
            None => "is of no operation that creates something",
        };
        let shown: String = bulk_id.chars().take(64).collect();
        Err(Error::invalid("bulkId", format!("{shown:?} {why}")))
    }

    /// RFC 7644 section 3.7: in the order of the request, without resources.
    fn response(&self) -> Value {
        let told = self.operations.iter().zip(&self.outcomes);
        let operations = told.filter_map(|(operation, outcome)| Some(self.tell(operation, outcome.as_ref()?)));
        json!({ "schemas": [RESPONSE], "Operations": operations.collect::<Vec<_>>() })
    }

    fn tell(&self, operation: &Operation<'_>, outcome: &Outcome) -> Value {
        let mut told = Map::new();
        if let Some(method) = operation.method {
            told.insert("method".into(), method.name().into());
        }
        if let Some(bulk_id) = &operation.bulk_id {
            told.insert("bulkId".into(), bulk_id.as_str().into());
        }
        if let (Ok(task), Some(id)) = (&operation.task, &outcome.id) {
            let location = format!("{}/{}/{id}", self.caller.base_url, task.endpoint.name());
            told.insert("location".into(), location.into());
        }
        if let Some(version) = outcome.version {
            told.insert("version".into(), etag(version).into());
        }
        let status = match &outcome.result {
            Ok(status) => status,
            Err(failure) => {
                told.insert("response".into(), failure.body());
                &failure.status
            }
        };
        told.insert("status".into(), status.as_u16().to_string().into());
        Value::Object(told)
    }
}

/// The single request that an operation stands for; returns the id and the version of what is there afterwards.
async fn call(
    caller: &Caller,
    task: &Task<'_>,
    method: Method,
    id: &str,
    body: Map<String, Value>,
) -> Result<Option<(Uuid, i64)>> {
    caller.note.operation(method.name(), task.endpoint.name(), &body);
    let preconditions = Preconditions::on_version(task.version.clone());
    match task.endpoint {
        Endpoint::Users => {
            let user = match method {
                Method::Post => user::create(&caller.cx, body).await?,
                Method::Put => users::replaced(caller, id, &preconditions, body, false).await?.user,
                Method::Patch => users::patched(caller, id, &preconditions, body, false).await?.user,
                Method::Delete => return users::deleted(&caller.cx, id, &preconditions).await.map(|()| None),
            };
            Ok(Some((user.id, user.version)))
        }
        Endpoint::Groups => {
            let group = match method {
                Method::Post => groups::created(caller, body).await?,
                Method::Put => groups::replaced(caller, id, &preconditions, body).await?,
                Method::Patch => groups::patched(caller, id, &preconditions, body).await?,
                Method::Delete => return groups::deleted(&caller.cx, id, &preconditions).await.map(|()| None),
            };
            Ok(Some((group.id, group.version)))
        }
    }
}
