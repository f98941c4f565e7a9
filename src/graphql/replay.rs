//! Mutations with an idempotency key (the header `Idempotency-Key`, or `extensions.idempotencyKey` of the request, whatever
//! brought it): a repeat is answered with the first answer, without the secrets that
//! were shown in it. What must never enter: how long an answer is kept, and who may hear it again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Value;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value as Data, json};

use super::auth::Caller;
use super::operation::{Fault, Operation, Reply};
use crate::domain::idempotency::{self, Beginning, Claim};
use crate::error::{Error, Result};

/// The header that makes a mutation repeatable.
const HEADER: &str = "idempotency-key";
/// The name that a field has if it shows a secret once. A test holds the schema to it.
pub const SECRET: &str = "secret";

/// Where the answer shows secrets, noted while it is made.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<Vec<Vec<String>>>>);

impl Secrets {
    /// Remembers a place of the answer.
    pub fn note(&self, path: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    fn take(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A key, if it can be one.
///
/// # Errors
/// A [`Fault`] unless it is one word of 1 to 255 visible ASCII characters.
pub fn key(given: &str) -> Result<String, Fault> {
    match (1..=255).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(given.to_owned()),
        false => Err(Fault::bad("an idempotency key must be one word of 1 to 255 visible ASCII characters")),
    }
}

/// The key in a request's header, if there is one.
///
/// # Errors
/// A [`Fault`] unless it is one key.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut given = headers.get_all(HEADER).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => key(only.to_str().unwrap_or_default()).map(Some),
        _ => Err(Fault::bad("one Idempotency-Key is enough")),
    }
}

/// Runs a mutation once for this key. It goes on when the caller hangs up, who may come back for the answer.
///
/// # Errors
/// A [`Fault`] when nothing was run, and none of this key's business has an answer.
pub async fn once(operation: Operation, caller: Caller, key: &str) -> Result<Reply, Fault> {
    let request_id = caller.cx.request_id;
    let held: Vec<_> = caller.cx.actor.permissions().map(|permission| permission.name()).collect();
    // Whoever may see less by now must not hear what was said to one who might.
    let asked = format!("{}\0{}", held.join(" "), operation.text());
    let beginning = idempotency::begin(&caller.cx, &caller.principal(), key, &asked).await;
    match beginning.map_err(|error| Fault::of(&error, request_id))? {
        Beginning::Run(claim) => {
            let run = tokio::spawn(run(operation, caller, claim));
            run.await.unwrap_or_else(|error| Err(Fault::of(&Error::Internal(error.to_string()), request_id)))
        }
        Beginning::Answered(answer) => {
            let body = serde_json::from_str(&answer).map_err(|error| Error::Internal(error.to_string()));
            let body = body.map_err(|error| Fault::of(&error, request_id))?;
            Ok(Reply { status: StatusCode::OK, body, replayed: true })
        }
        Beginning::Unanswered => Err(Fault::new(
            StatusCode::CONFLICT,
            "IDEMPOTENCY_ANSWER_GONE",
            "this was done before, and its answer is not kept (it was lost or too long, or somebody's personal data was \
             erased since): read what is there now, and take a new key for a new request",
        )),
        Beginning::Running => Err(Fault {
            retry_after: Some(1),
            ..Fault::new(
                StatusCode::CONFLICT,
                "IDEMPOTENCY_KEY_IN_USE",
                "a request with this Idempotency-Key is running; repeat it in a moment",
            )
        }),
        Beginning::Different => Err(Fault::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "IDEMPOTENCY_KEY_REUSED",
            "this Idempotency-Key was used with another operation, other variables or other permissions; take a new key",
        )),
    }
}

/// Runs it, and remembers what came of it.
async fn run(mut operation: Operation, caller: Caller, claim: Claim) -> Result<Reply, Fault> {
    let secrets = Secrets::default();
    operation.attach(secrets.clone());
    let reply = operation.execute().await;
    let cx = &caller.cx;
    let wrote = cx.wrote.load(Ordering::Relaxed);
    let settled = match &reply {
        // Nothing came of it, and it may be tried again.
        Ok(Reply { status, body, .. }) if *status != StatusCode::OK || (!body.errors.is_empty() && !wrote) => {
            idempotency::release(cx, &claim).await
        }
        Ok(Reply { body, .. }) => {
            let alone = matches!(&body.data, Some(Value::Object(fields)) if fields.len() == 1);
            idempotency::keep(cx, &claim, without(body.to_json(), &secrets.take()).to_string(), alone).await
        }
        // It was cut off: whether it did anything, the ledger will know.
        Err(_) => Ok(()),
    };
    if let Err(error) = settled {
        tracing::warn!(request_id = %cx.request_id, %error, "keeping the answer of a request failed");
    }
    reply
}

/// The answer as it may be given again: null where a secret was, with an error that says so.
fn without(mut body: Data, secrets: &[Vec<String>]) -> Data {
    let mut errors = Vec::new();
    for path in secrets {
        let pointer: String = path.iter().map(|part| format!("/{part}")).collect();
        let Some(place) = body["data"].pointer_mut(&pointer).filter(|place| !place.is_null()) else { continue };
        *place = Data::Null;
        errors.push(json!({
            "message": "a secret is shown once, in the first answer; issue or rotate again if it was lost",
            "path": path, "extensions": { "code": "SECRET_WITHHELD" },
        }));
    }
    if errors.is_empty() {
        return body;
    }
    let Data::Object(mut body) = body else { return body };
    if let Some(Data::Array(known)) = body.remove("errors") {
        errors.extend(known);
    }
    // Errors come first, as in every answer.
    let mut whole = Map::from_iter([("errors".to_owned(), Data::Array(errors))]);
    whole.extend(body);
    Data::Object(whole)
}
