//! Assertions that an application hands over again with the same idempotency key, because the
//! answer was lost on its way: the first answer is given again, on any server, for a day. An answer
//! that is not there any more (an erasure deletes them) is made anew, as if there had been no key.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tracing::Instrument;
use uuid::Uuid;

use super::answer::{SignInFailure, describe_sign_in};
use super::submit::{SubmittedAssertion, check_caller, submit_checked};
use crate::context::Cx;
use crate::domain::tenant::idempotency;
use crate::domain::tenant::idempotency::{IdempotencyClaim, IdempotentStart};
use crate::error::{Error, Result};

/// Hands an assertion over once for this key of the caller.
///
/// # Errors
/// Those of the first submission, which are not kept: after them the same key begins anew. And a
/// conflict while another request with the key runs, and for a key of another request.
pub(super) async fn answer_once(
    cx: Cx,
    named: Option<Uuid>,
    assertion: SubmittedAssertion,
    key: &str,
) -> Result<Response, SignInFailure> {
    check_caller(&cx)?;
    let caller = format!("assertions\0{}", cx.actor.id().unwrap_or_default());
    let asked = describe_request(named, &assertion);
    match idempotency::begin_request(&cx, &caller, key, &asked).await? {
        IdempotentStart::Run(claim) => {
            // It goes on when the client has gone: the repetition then gets the answer.
            let run = tokio::spawn(run_claimed(cx, named, assertion, claim).in_current_span());
            let body = run.await.map_err(|error| Error::Internal(error.to_string()))??;
            Ok(Json(body).into_response())
        }
        IdempotentStart::Answered(text) => {
            let body: Value = serde_json::from_str(&text)
                .map_err(|error| Error::Internal(format!("a stored answer: {error}")))?;
            let mut response = Json(body).into_response();
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotency-replayed", replayed);
            Ok(response)
        }
        IdempotentStart::Unanswered => {
            Ok(Json(describe_sign_in(&submit_checked(&cx, named, &assertion).await?))
                .into_response())
        }
        IdempotentStart::Running => Err(SignInFailure::new(
            StatusCode::CONFLICT,
            "IDEMPOTENCY_KEY_IN_USE",
            "a request with this Idempotency-Key is running; repeat it in a moment",
        )
        .after_seconds(1)),
        IdempotentStart::Different => Err(SignInFailure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "IDEMPOTENCY_KEY_REUSED",
            "this Idempotency-Key was used with another assertion; take a new key",
        )),
    }
}

async fn run_claimed(
    cx: Cx,
    named: Option<Uuid>,
    assertion: SubmittedAssertion,
    claim: IdempotencyClaim,
) -> Result<Value> {
    let done = submit_checked(&cx, named, &assertion).await;
    let body = done.map(|done| describe_sign_in(&done));
    let settled = match &body {
        Ok(body) => idempotency::keep_answer(&cx, &claim, body.to_string(), true).await,
        Err(_) => idempotency::release_claim(&cx, &claim).await,
    };
    if let Err(error) = settled {
        tracing::warn!(request_id = %cx.request_id, %error, "storing the answer of a sign-in \
            failed");
    }
    body
}

/// What makes two requests the same. Only its hash is stored.
fn describe_request(named: Option<Uuid>, assertion: &SubmittedAssertion) -> String {
    let named = named.map(|id| id.to_string()).unwrap_or_default();
    match assertion {
        SubmittedAssertion::IdToken(token) => format!("{named}\0token\0{token}"),
        SubmittedAssertion::SamlResponse { response, request_id, .. } => {
            let request = request_id.as_deref().unwrap_or_default();
            format!("{named}\0response\0{request}\0{response}")
        }
    }
}
