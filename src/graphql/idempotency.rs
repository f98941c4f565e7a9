//! Mutations with an idempotency key: the header `Idempotency-Key`, or `extensions.idempotencyKey`
//! of a request over any transport. A repeated request gets the first response again, without the
//! secrets that it showed. What must never enter: how long a response is kept, and who may get it
//! again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Value;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value as Data, json};
use tracing::Instrument;

use super::auth::ApiCaller;
use crate::domain::tenant::idempotency;
use crate::domain::tenant::idempotency::{IdempotencyClaim, IdempotentStart};
use crate::error::{Error, Result};
use crate::graphql::error_code::ErrorCode;
use crate::graphql::execute::{OperationResponse, PreparedOperation, RequestError};

/// The header with the idempotency key of a mutation.
const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// The name of every field that shows a secret once. A test checks the schema for it.
pub const SECRET_FIELD_NAME: &str = "secret";

/// The paths of the secrets in a response, collected while it is produced.
#[derive(Debug, Clone, Default)]
pub struct SecretPaths(Arc<Mutex<Vec<Vec<String>>>>);

impl SecretPaths {
    /// Adds the path of a secret.
    pub fn add_path(&self, path: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    fn take_paths(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Parses an idempotency key.
///
/// # Errors
/// A [`RequestError`] unless the text is one word of 1 to 255 visible ASCII characters.
pub fn parse_key(given: &str) -> Result<String, RequestError> {
    if (1..=255).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(given.to_owned())
    } else {
        Err(RequestError::bad_request(
            "an idempotency key must be one word of 1 to 255 visible ASCII characters",
        ))
    }
}

/// The idempotency key in the headers of a request, if there is one.
///
/// # Errors
/// A [`RequestError`] for a key that is not valid, and for more than one key.
pub fn find_key_header(headers: &HeaderMap) -> Result<Option<String>, RequestError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY_HEADER).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => parse_key(only.to_str().unwrap_or_default()).map(Some),
        _ => Err(RequestError::bad_request("send only one Idempotency-Key")),
    }
}

/// Runs a mutation once for this key. It continues if the client disconnects; a repeated request
/// then gets the response.
///
/// # Errors
/// A [`RequestError`] if nothing was run and there is no stored response to repeat.
pub async fn run_once(
    operation: PreparedOperation,
    caller: ApiCaller,
    key: &str,
) -> Result<OperationResponse, RequestError> {
    let request_id = caller.cx.request_id;
    let held: Vec<_> = caller.cx.actor.permissions().map(|permission| permission.name()).collect();
    // The permissions are part of what is compared: a caller that lost one must not get a response
    // that needed it.
    let asked = format!("{}\0{}", held.join(" "), operation.comparison_text());
    let beginning = idempotency::begin_request(&caller.cx, &caller.principal(), key, &asked).await;
    match beginning.map_err(|error| RequestError::from_error(&error, request_id))? {
        IdempotentStart::Run(claim) => {
            let run = tokio::spawn(run_claimed(operation, caller, claim).in_current_span());
            run.await.unwrap_or_else(|error| {
                Err(RequestError::from_error(&Error::Internal(error.to_string()), request_id))
            })
        }
        IdempotentStart::Answered(answer) => {
            let body =
                serde_json::from_str(&answer).map_err(|error| Error::Internal(error.to_string()));
            let body = body.map_err(|error| RequestError::from_error(&error, request_id))?;
            Ok(OperationResponse { status: StatusCode::OK, body, replayed: true })
        }
        IdempotentStart::Unanswered => Err(RequestError::new(
            StatusCode::CONFLICT,
            ErrorCode::IdempotencyAnswerGone,
            "this was done before, and its answer is not kept (it was lost or too long, or \
             personal data was erased since): read the current state, and take a new key for a \
             new request",
        )),
        IdempotentStart::Running => Err(RequestError {
            retry_after: Some(1),
            ..RequestError::new(
                StatusCode::CONFLICT,
                ErrorCode::IdempotencyKeyInUse,
                "a request with this Idempotency-Key is running; repeat it in a moment",
            )
        }),
        IdempotentStart::Different => Err(RequestError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::IdempotencyKeyReused,
            "this Idempotency-Key was used with another operation, other variables or other \
             permissions; take a new key",
        )),
    }
}

/// Runs the mutation, and stores its response for repeated requests.
async fn run_claimed(
    mut operation: PreparedOperation,
    caller: ApiCaller,
    claim: IdempotencyClaim,
) -> Result<OperationResponse, RequestError> {
    let secrets = SecretPaths::default();
    operation.attach_data(secrets.clone());
    let reply = operation.run_without_key().await;
    let cx = &caller.cx;
    let wrote = cx.wrote.load(Ordering::Relaxed);
    let settled = match &reply {
        // Nothing was written, so the request may be made again.
        Ok(OperationResponse { status, body, .. })
            if *status != StatusCode::OK || (!body.errors.is_empty() && !wrote) =>
        {
            idempotency::release_claim(cx, &claim).await
        }
        Ok(OperationResponse { body, .. }) => {
            let alone = matches!(&body.data, Some(Value::Object(fields)) if fields.len() == 1);
            idempotency::keep_answer(
                cx,
                &claim,
                withhold_secrets(body.to_json(), &secrets.take_paths()).to_string(),
                alone,
            )
            .await
        }
        // It was interrupted. The next attempt finds in the ledger whether it wrote anything.
        Err(_) => Ok(()),
    };
    if let Err(error) = settled {
        tracing::warn!(request_id = %cx.request_id, %error, "storing the response of a mutation \
            failed");
    }
    reply
}

/// The response without its secrets: each secret is null, with an error that says so.
fn withhold_secrets(mut body: Data, secrets: &[Vec<String>]) -> Data {
    let mut errors = Vec::new();
    for path in secrets {
        let pointer: String = path.iter().map(|part| format!("/{part}")).collect();
        let Some(place) = body["data"].pointer_mut(&pointer).filter(|place| !place.is_null())
        else {
            continue;
        };
        *place = Data::Null;
        errors.push(json!({
            "message": "a secret is shown once, in the first answer; issue or rotate again if it \
                        was lost",
            "path": path, "extensions": { "code": ErrorCode::SecretWithheld.name() },
        }));
    }
    if errors.is_empty() {
        return body;
    }
    let Data::Object(mut body) = body else { return body };
    if let Some(Data::Array(known)) = body.remove("errors") {
        errors.extend(known);
    }
    // Errors come first, as in every response.
    let mut whole = Map::from_iter([("errors".to_owned(), Data::Array(errors))]);
    whole.extend(body);
    Data::Object(whole)
}
