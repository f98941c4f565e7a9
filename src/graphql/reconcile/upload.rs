//! `POST /reconciliations`: compares an export of an identity provider with a connection. The file
//! is not stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use super::super::GraphqlState;
use super::super::auth::ApiCaller;
use super::super::http;
use crate::context::{Cx, in_background};
use crate::domain::reconcile;
use crate::domain::reconcile::export::ExportFormat;
use crate::domain::reconcile::{Run, RunState, Scope};
use crate::error::{Error, Noun};
use crate::graphql::error_code::ErrorCode;
use crate::graphql::execute::RequestError;
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;
use crate::message_parts;

/// The most bytes of one upload.
const MAX_UPLOAD_BYTES: usize = 64 * 1024 * 1024;
/// The longest time that an upload may take. After a grace period it must also arrive at a minimum
/// rate.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const GRACE_PERIOD: Duration = Duration::from_secs(20);
const MIN_BYTES_PER_SECOND: usize = 64 * 1024;
/// Uploads that are in memory at the same time; further ones are refused until one has ended.
static UPLOAD_SLOTS: Semaphore = Semaphore::const_new(4);

/// The parameters in the URL, and the format of the file.
struct ReconciliationUpload {
    connection: uuid::Uuid,
    scope: Scope,
    confirmed: bool,
    format: ExportFormat,
}

/// `POST /reconciliations?connection=…[&kind=users|memberships][&confirm=true]`: responds when the
/// comparison has ended.
pub(in crate::graphql) async fn post_reconciliation(
    State(door): State<Arc<GraphqlState>>,
    caller: ApiCaller,
    Query(parameters): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let request_id = caller.cx.request_id;
    match receive_upload(&door, &caller, &parameters, &headers, body).await {
        Ok(run) => {
            let id = relay::global_id(NodeKind::Reconciliation, run.id);
            let counts = reconcile::comparison_counts(&run);
            let troubles: Vec<_> = reconcile::unreadable_lines(&run)
                .into_iter()
                .map(|trouble| {
                    let parts = message_parts::read_parts(&trouble.why);
                    json!({ "line": trouble.line, "message": trouble.why, "messageParts": parts })
                })
                .collect();
            let body = json!({ "reconciliation": {
                "id": id.as_str(), "state": "SUCCEEDED", "counts": counts,
                "troubles": troubles, "message": run.reason,
            } });
            let mut response = Json(body).into_response();
            if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
                response.headers_mut().insert("x-request-id", id);
            }
            response
        }
        Err(fault) => http::build_error_response(fault, request_id, &headers),
    }
}

async fn receive_upload(
    door: &GraphqlState,
    caller: &ApiCaller,
    parameters: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Run, RequestError> {
    let cx = &caller.cx;
    let of = |error: Error| RequestError::from_error(&error, cx.request_id);
    caller.require_organization().map_err(of)?;
    let ask = parse_parameters(cx, parameters, headers).await?;
    let announced = http::parse_content_length(headers);
    if announced.is_some_and(|bytes| bytes > MAX_UPLOAD_BYTES as u64) {
        return Err(too_large());
    }
    door.charge_upload(caller, announced.unwrap_or_default())?;
    // One upload per organization, so that no organization takes all slots.
    let (Some(place), Ok(room)) =
        (door.streams.claim_upload(cx.organization()), UPLOAD_SLOTS.try_acquire())
    else {
        return Err(RequestError::rate_limited(
            "too many exports are being compared at once; try again in a moment",
            10,
        ));
    };
    let bytes = read_body(body, GRACE_PERIOD).await?;
    if announced.is_none() {
        door.charge_upload(caller, bytes.len() as u64)?;
    }
    // A comparison that has begun is completed even if the client disconnects. Until then it keeps
    // its slots.
    let (cx, stopping) = (Arc::new(cx.clone()), cx.app.stopping.subscribe());
    let worker = cx.clone();
    let run = in_background(async move {
        let done = reconcile::run::compare_upload(
            &worker,
            ask.connection,
            ask.scope,
            ask.format,
            bytes,
            ask.confirmed,
        )
        .await;
        drop((stopping, place, room));
        done
    });
    let run = tokio::spawn(run.in_current_span());
    let run = run.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())));
    let run = run.map_err(|error| match error {
        Error::Invalid { rule: crate::error::Rule::TooMany, .. } => RequestError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::BadUserInput,
            error.to_string(),
        ),
        error => RequestError::from_error(&error, cx.request_id),
    })?;
    match (run.state, &run.reason) {
        (RunState::Refused, Some(why)) => {
            let how = "the parameter confirm=true says that the export is complete";
            Err(RequestError::new(StatusCode::CONFLICT, ErrorCode::Held, format!("{why} ({how})")))
        }
        _ => Ok(run),
    }
}

async fn parse_parameters(
    cx: &Cx,
    parameters: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Result<ReconciliationUpload, RequestError> {
    let parameter = |name: &str| parameters.get(name).map(String::as_str);
    // The permission is checked first: other callers must not learn which connections exist.
    reconcile::may_start(cx).map_err(|error| RequestError::from_error(&error, cx.request_id))?;
    if let Some(unknown) =
        parameters.keys().find(|name| !["connection", "kind", "confirm"].contains(&name.as_str()))
    {
        let unknown: String = unknown.chars().take(40).collect();
        return Err(RequestError::bad_request(format!(
            "unknown parameter {unknown:?}; known are connection, kind and confirm"
        )));
    }
    let scope = match parameter("kind") {
        None | Some("users") => Scope::Users,
        Some("memberships") => Scope::Memberships,
        Some(_) => return Err(RequestError::bad_request("kind: must be users or memberships")),
    };
    let confirmed = match parameter("confirm") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(RequestError::bad_request("confirm: must be true or false")),
    };
    let Some(connection) = parameter("connection") else {
        return Err(RequestError::bad_request("connection: name the connection by its global id"));
    };
    let found = async {
        let id =
            relay::parse_input_id(NodeKind::IdentitySource, &connection.into(), Noun::Connection)?;
        reconcile::run::check_comparable(cx, id).await
    };
    let connection =
        found.await.map_err(|error| RequestError::from_error(&error, cx.request_id))?.id;
    // A form of another site can send plain text without a CORS preflight, but not these types.
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match essence.as_str() {
        "text/csv" => ExportFormat::Csv,
        "application/jsonl" | "application/x-ndjson" => ExportFormat::JsonLines,
        _ => {
            let message = "send the export as text/csv, or as application/jsonl with one SCIM \
                           resource a line";
            return Err(RequestError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorCode::BadUserInput,
                message,
            ));
        }
    };
    Ok(ReconciliationUpload { connection, scope, confirmed, format })
}

fn too_large() -> RequestError {
    let message = format!("the file is larger than {MAX_UPLOAD_BYTES} bytes");
    RequestError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BadUserInput, message)
}

/// Reads the whole body. After `grace` it must have arrived at the minimum rate.
async fn read_body(body: Body, grace: Duration) -> Result<Vec<u8>, RequestError> {
    let slow = |_| {
        RequestError::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::BadUserInput,
            "the upload took too long",
        )
    };
    let started = Instant::now();
    let mut body = body.into_data_stream();
    let mut bytes = Vec::new();
    loop {
        let due = grace + Duration::from_secs((bytes.len() / MIN_BYTES_PER_SECOND) as u64);
        let next = tokio::time::timeout_at(started + due.min(UPLOAD_TIMEOUT), body.next());
        let Some(chunk) = next.await.map_err(slow)? else { break };
        let chunk =
            chunk.map_err(|_| RequestError::bad_request("the file did not arrive in full"))?;
        if bytes.len() + chunk.len() > MAX_UPLOAD_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    /// A body of chunks, with a pause before each.
    fn dripping(chunks: usize, bytes: usize, pause: Duration) -> Body {
        let chunks = stream::iter(0..chunks).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(vec![b'x'; bytes])
        });
        Body::from_stream(chunks)
    }

    #[tokio::test]
    async fn an_upload_that_trickles_is_cut_off_and_one_that_flows_is_not() {
        let (grace, pause) = (Duration::from_millis(200), Duration::from_millis(5));
        let began = Instant::now();
        let slow = read_body(dripping(100_000, 1, pause), grace).await.unwrap_err();
        let took = began.elapsed();
        assert_eq!(slow.status, StatusCode::REQUEST_TIMEOUT);
        assert!(took >= grace && took < Duration::from_secs(20), "{took:?}");
        // It takes longer than the grace period, but is faster than the minimum rate.
        let began = Instant::now();
        let whole = read_body(dripping(60, MIN_BYTES_PER_SECOND, pause), grace).await.unwrap();
        assert_eq!(whole.len(), 60 * MIN_BYTES_PER_SECOND);
        assert!(began.elapsed() > grace);
        // A body that stops in the middle.
        let silent = read_body(dripping(1, 1, Duration::from_secs(60)), grace).await.unwrap_err();
        assert_eq!(silent.status, StatusCode::REQUEST_TIMEOUT);
    }
}
