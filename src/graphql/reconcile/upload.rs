//! `POST /reconciliations`: an export of an identity provider, compared with what is here and then forgotten.

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

use super::super::Door;
use super::super::auth::Caller;
use super::super::http;
use super::super::operation::Fault;
use super::super::page::{self, Kind};
use crate::context::Cx;
use crate::domain::reconcile::export::Format;
use crate::domain::reconcile::{self, Run, RunState, Scope};
use crate::error::Error;

/// The most bytes of one upload.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Longest time that an upload may take; it must also arrive at a rate, from a while after its beginning.
const MAX_TIME: Duration = Duration::from_secs(5 * 60);
const GRACE: Duration = Duration::from_secs(20);
const BYTES_PER_SECOND: usize = 64 * 1024;
/// Uploads that are held in memory at once; further ones are told to come again.
static ROOM: Semaphore = Semaphore::const_new(4);

/// What is asked for in the URL.
struct Ask {
    connection: uuid::Uuid,
    scope: Scope,
    confirmed: bool,
    format: Format,
}

/// `POST /reconciliations?connection=…[&kind=users|memberships][&confirm=true]`: answers when the comparison has ended.
pub(in crate::graphql) async fn post(
    State(door): State<Arc<Door>>,
    caller: Caller,
    Query(parameters): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let request_id = caller.cx.request_id;
    match take(&door, &caller, &parameters, &headers, body).await {
        Ok(run) => {
            let id = page::global(Kind::Reconciliation, run.id);
            let counts = reconcile::counts(&run);
            let body = json!({ "reconciliation": {
                "id": id.as_str(), "state": "SUCCEEDED", "counts": counts, "troubles": run.troubles, "reason": run.reason,
            } });
            let mut response = Json(body).into_response();
            if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
                response.headers_mut().insert("x-request-id", id);
            }
            response
        }
        Err(fault) => http::refused(fault, request_id, &headers),
    }
}

async fn take(
    door: &Door,
    caller: &Caller,
    parameters: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Run, Fault> {
    let cx = &caller.cx;
    let of = |error: Error| Fault::of(&error, cx.request_id);
    caller.inside().map_err(of)?;
    let ask = ask(cx, parameters, headers).await?;
    let announced = http::announced(headers);
    if announced.is_some_and(|bytes| bytes > MAX_BYTES as u64) {
        return Err(too_large());
    }
    door.charge(caller, announced.unwrap_or_default())?;
    // Nobody is shut out by the uploads of one organization.
    let (Some(place), Ok(room)) = (door.streams.upload(cx.organization()), ROOM.try_acquire()) else {
        return Err(Fault::limited("too many exports are being compared at once; try again in a moment", 10));
    };
    let bytes = read(body, GRACE).await?;
    if announced.is_none() {
        door.charge(caller, bytes.len() as u64)?;
    }
    // A comparison that has begun comes to its end, whether or not somebody still waits for the answer; until then it
    // keeps its place.
    let (cx, stopping) = (Arc::new(cx.clone()), cx.app.stopping.subscribe());
    let worker = cx.clone();
    let run = tokio::spawn(async move {
        let done = reconcile::run::upload(&worker, ask.connection, ask.scope, ask.format, bytes, ask.confirmed).await;
        drop((stopping, place, room));
        done
    });
    let run = run.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())));
    let run = run.map_err(|error| match error {
        Error::Invalid { rule: crate::error::Rule::TooMany, .. } => {
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_USER_INPUT", error.to_string())
        }
        error => Fault::of(&error, cx.request_id),
    })?;
    match (run.state, &run.reason) {
        (RunState::Refused, Some(why)) => {
            let how = "the parameter confirm=true says that the export is whole";
            Err(Fault::new(StatusCode::CONFLICT, "HELD", format!("{why} ({how})")))
        }
        _ => Ok(run),
    }
}

async fn ask(cx: &Cx, parameters: &BTreeMap<String, String>, headers: &HeaderMap) -> Result<Ask, Fault> {
    let parameter = |name: &str| parameters.get(name).map(String::as_str);
    // Who may not do it is not told what is there.
    reconcile::may_start(cx).map_err(|error| Fault::of(&error, cx.request_id))?;
    if let Some(unknown) = parameters.keys().find(|name| !["connection", "kind", "confirm"].contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(40).collect();
        return Err(Fault::bad(format!("unknown parameter {unknown:?}; known are connection, kind and confirm")));
    }
    let scope = match parameter("kind") {
        None | Some("users") => Scope::Users,
        Some("memberships") => Scope::Memberships,
        Some(_) => return Err(Fault::bad("kind: must be users or memberships")),
    };
    let confirmed = match parameter("confirm") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Fault::bad("confirm: must be true or false")),
    };
    let Some(connection) = parameter("connection") else {
        return Err(Fault::bad("connection: name the connection by its global id"));
    };
    let found = async {
        let id = page::id(Kind::IdentitySource, &connection.into(), "the connection")?;
        reconcile::run::ready(cx, id).await
    };
    let connection = found.await.map_err(|error| Fault::of(&error, cx.request_id))?.id;
    // A form in a foreign page can send text, but not these, without asking first.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match essence.as_str() {
        "text/csv" => Format::Csv,
        "application/jsonl" | "application/x-ndjson" => Format::JsonLines,
        _ => {
            let message = "send the export as text/csv, or as application/jsonl with one SCIM resource a line";
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_USER_INPUT", message));
        }
    };
    Ok(Ask { connection, scope, confirmed, format })
}

fn too_large() -> Fault {
    let message = format!("the file is larger than {MAX_BYTES} bytes");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_USER_INPUT", message)
}

/// Reads all of it. From `grace` on it must have come at the rate that is asked for.
async fn read(body: Body, grace: Duration) -> Result<Vec<u8>, Fault> {
    let slow = |_| Fault::new(StatusCode::REQUEST_TIMEOUT, "BAD_USER_INPUT", "the upload took too long");
    let started = Instant::now();
    let mut body = body.into_data_stream();
    let mut bytes = Vec::new();
    loop {
        let due = grace + Duration::from_secs((bytes.len() / BYTES_PER_SECOND) as u64);
        let next = tokio::time::timeout_at(started + due.min(MAX_TIME), body.next());
        let Some(chunk) = next.await.map_err(slow)? else { break };
        let chunk = chunk.map_err(|_| Fault::bad("the file did not arrive in full"))?;
        if bytes.len() + chunk.len() > MAX_BYTES {
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

    /// So many chunks, each after a while.
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
        let slow = read(dripping(100_000, 1, pause), grace).await.unwrap_err();
        let took = began.elapsed();
        assert_eq!(slow.status, StatusCode::REQUEST_TIMEOUT);
        assert!(took >= grace && took < Duration::from_secs(20), "{took:?}");
        // Longer than the grace, and quicker than the rate.
        let began = Instant::now();
        let whole = read(dripping(60, BYTES_PER_SECOND, pause), grace).await.unwrap();
        assert_eq!(whole.len(), 60 * BYTES_PER_SECOND);
        assert!(began.elapsed() > grace);
        // One that never ends.
        let silent = read(dripping(1, 1, Duration::from_secs(60)), grace).await.unwrap_err();
        assert_eq!(silent.status, StatusCode::REQUEST_TIMEOUT);
    }
}
