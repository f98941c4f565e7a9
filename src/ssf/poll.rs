//! A receiver polls a stream (RFC 8936). Where there is nothing to hand out, the answer waits a
//! while for events (long polling).

use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::http::{StreamBody, StreamCaller, StreamFailure, json_response, parse_stream};
use crate::context::shutdown_requested;
use crate::domain::signal::stream::poll;
use crate::domain::signal::stream::poll::{
    DEFAULT_TOKENS, MAX_ACKNOWLEDGED, MAX_TOKENS, PollRequest,
};

/// How long an answer waits for events.
const WAIT_LIMIT: Duration = Duration::from_secs(25);
/// Receivers that wait at a time on one server; others are answered at once.
const MAX_WAITING: usize = 500;
/// Gives the sealer a moment to bring events that came together.
const GATHER_TIME: Duration = Duration::from_millis(20);

static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);

struct PollBody {
    request: PollRequest,
    return_immediately: bool,
}

/// `POST /ssf/{organization}/streams/{id}/poll`.
pub async fn handle_poll(
    caller: StreamCaller,
    Path((_, id)): Path<(String, String)>,
    StreamBody(body): StreamBody,
) -> Result<Response, StreamFailure> {
    let (id, cx) = (parse_stream(&id)?, &caller.cx);
    let PollBody { request, return_immediately } = read_poll(&body)?;
    // Before anything is read, so that nothing is missed that comes meanwhile.
    let mut events = poll::follow_events(cx).await?;
    poll::acknowledge_tokens(cx, id, &request).await?;
    let mut answer = poll::hand_out_tokens(cx, id, request.max_tokens).await?;
    let waits = !return_immediately && request.max_tokens > 0;
    if waits
        && answer.tokens.is_empty()
        && let Ok(_place) = WAITING.try_acquire()
    {
        let mut stop = cx.app.stopping.subscribe();
        let until = Instant::now() + WAIT_LIMIT;
        while answer.tokens.is_empty() {
            tokio::select! {
                changed = events.changed() => if changed.is_err() { break },
                () = shutdown_requested(&mut stop) => break,
                () = tokio::time::sleep_until(until) => break,
            }
            tokio::time::sleep(GATHER_TIME).await;
            events.borrow_and_update();
            answer = poll::hand_out_tokens(cx, id, request.max_tokens).await?;
        }
    }
    let mut said = json!({ "sets": answer.tokens });
    if answer.more {
        said["moreAvailable"] = true.into();
    }
    Ok(json_response(StatusCode::OK, &said))
}

fn read_poll(body: &Map<String, Value>) -> Result<PollBody, StreamFailure> {
    let bad = StreamFailure::bad_request;
    let max_tokens = match body.get("maxEvents") {
        None | Some(Value::Null) => DEFAULT_TOKENS,
        Some(most) => {
            let most = most.as_u64().ok_or_else(|| bad("maxEvents must be a number from 0 on"))?;
            usize::try_from(most).unwrap_or(MAX_TOKENS).min(MAX_TOKENS)
        }
    };
    let return_immediately = match body.get("returnImmediately") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(now)) => *now,
        Some(_) => return Err(bad("returnImmediately must be true or false")),
    };
    let acknowledged = match body.get("ack") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(ids)) => {
            let ids = ids.iter().map(|id| id.as_str().map(Into::into));
            ids.collect::<Option<Vec<String>>>()
                .ok_or_else(|| bad("ack must be a list of strings"))?
        }
        Some(_) => return Err(bad("ack must be a list of strings")),
    };
    let refused: Vec<(String, String)> = match body.get("setErrs") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(reports)) => {
            let report = |(id, report): (&String, &Value)| {
                let text = |name: &str| report[name].as_str().unwrap_or_default();
                (id.clone(), describe_report(text("err"), text("description")))
            };
            reports.iter().map(report).collect()
        }
        Some(_) => return Err(bad("setErrs must be an object")),
    };
    if acknowledged.len() + refused.len() > MAX_ACKNOWLEDGED {
        return Err(bad("too many acknowledgements and reports at once"));
    }
    let request = PollRequest { max_tokens, acknowledged, refused };
    Ok(PollBody { request, return_immediately })
}

/// A report of a receiver as a sentence, without what a log does not show.
fn describe_report(code: &str, description: &str) -> String {
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    match (plain(code).as_str(), plain(description).as_str()) {
        ("", "") => "The receiver refused it.".into(),
        (code, "") => format!("The receiver refused it: {code}"),
        (code, description) => format!("The receiver refused it: {code}: {description}"),
    }
}
