//! Operations as server-sent events: the distinct connections mode of the protocol "GraphQL over
//! Server-Sent Events". One request is one operation; `next` carries a response, `complete` ends
//! the operation, and the client ends a subscription by closing the connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use serde_json::Value as Data;
use uuid::Uuid;

use super::auth::ApiCaller;
use super::streams::{OpenStreams, StreamEnd, StreamGuard, StreamSlot};
use crate::graphql::execute::{ExecutionResult, RequestError};

/// How often a comment is sent while nothing happens, so that no proxy closes the connection as
/// idle.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(12);

/// The response with all results of an operation, as an event stream.
///
/// # Errors
/// A [`RequestError`] if the caller has as many open streams as it may have.
pub fn stream_responses(
    streams: &Arc<OpenStreams>,
    caller: ApiCaller,
    answers: BoxStream<'static, ExecutionResult>,
) -> Result<Response, RequestError> {
    let place = streams.claim_stream(&caller).ok_or_else(OpenStreams::limit_error)?;
    let request_id = caller.cx.request_id;
    let open = OpenEventStream {
        answers,
        guard: StreamGuard::spawn_for(&caller),
        request_id,
        _place: place,
    };
    let events = stream::unfold(Some(open), |open| async move {
        let mut open = open?;
        tokio::select! {
            answer = open.answers.next() => Some(match answer {
                Some(answer) => (next_event(answer, open.request_id), Some(open)),
                None => (complete_event(), None),
            }),
            end = open.guard.wait_for_end() => match end {
                // Without `complete` the client knows that the operation has not ended, and
                // reconnects.
                StreamEnd::Stopping => None,
                StreamEnd::Refused(error) => {
                    let refusal = RequestError::from_error(&error, open.request_id);
                    Some((next_event(Err(refusal), open.request_id), None))
                }
            },
        }
    });
    Ok(build_stream_response(events, request_id))
}

/// The response to an operation that is refused, as an event stream, because a client that accepts
/// only events would not read another body.
pub fn refuse_operation(fault: &RequestError, request_id: Uuid) -> Response {
    let errors = fault.to_body(request_id);
    build_stream_response(
        stream::iter([build_event("next", &errors), complete_event()]),
        request_id,
    )
}

/// The state of an open event stream.
struct OpenEventStream {
    answers: BoxStream<'static, ExecutionResult>,
    guard: StreamGuard,
    request_id: Uuid,
    _place: StreamSlot,
}

fn next_event(answer: ExecutionResult, request_id: Uuid) -> Event {
    match answer {
        Ok(reply) => build_event("next", &reply.body),
        Err(fault) => build_event("next", &fault.to_body(request_id)),
    }
}

/// The event that ends an operation. It has data, because browsers ignore an event without data.
fn complete_event() -> Event {
    build_event("complete", &Data::Null)
}

fn build_event(name: &str, data: &impl Serialize) -> Event {
    // The JSON is one line, because line breaks inside it are escaped.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

fn build_stream_response(
    events: impl stream::Stream<Item = Event> + Send + 'static,
    request_id: Uuid,
) -> Response {
    let events = Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
    let mut response = events.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies would otherwise buffer the whole response.
    fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        fields.insert("x-request-id", id);
    }
    response
}
