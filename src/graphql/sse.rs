//! Operations as server-sent events: the distinct connections mode of the protocol "GraphQL over Server-Sent Events".
//! One request is one operation; `next` carries an answer, `complete` ends it, and the client ends a subscription by
//! closing the connection.

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

use super::auth::Caller;
use super::operation::{Answer, Body, Fault};
use super::streams::{End, Guard, Place, Streams};

/// A comment goes out this often while nothing happens, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// Answers with all that comes of an operation.
///
/// # Errors
/// A [`Fault`] if the caller holds all the streams that it may.
pub fn stream(streams: &Arc<Streams>, caller: Caller, answers: BoxStream<'static, Answer>) -> Result<Response, Fault> {
    let place = streams.enter(&caller).ok_or_else(Streams::full)?;
    let request_id = caller.cx.request_id;
    let open = Open { answers, guard: Guard::of(&caller), request_id, _place: place };
    let events = stream::unfold(Some(open), |open| async move {
        let mut open = open?;
        tokio::select! {
            answer = open.answers.next() => Some(match answer {
                Some(answer) => (next(answer, open.request_id), Some(open)),
                None => (complete(), None),
            }),
            end = open.guard.end() => match end {
                // Without `complete` the client knows that there is more, and comes back for it.
                End::Stopping => None,
                End::Refused(error) => {
                    Some((next(Err(Fault::of(&error, open.request_id)), open.request_id), None))
                }
            },
        }
    });
    Ok(respond(events, request_id))
}

/// Answers an operation that is refused. A client that reads events alone would not see another answer's body.
pub fn refusal(fault: &Fault, request_id: Uuid) -> Response {
    let errors = Body::error(fault.to_json(request_id));
    respond(stream::iter([event("next", &errors), complete()]), request_id)
}

/// What an event stream holds while it is open.
struct Open {
    answers: BoxStream<'static, Answer>,
    guard: Guard,
    request_id: Uuid,
    _place: Place,
}

fn next(answer: Answer, request_id: Uuid) -> Event {
    match answer {
        Ok(reply) => event("next", &reply.body),
        Err(fault) => event("next", &Body::error(fault.to_json(request_id))),
    }
}

/// Browsers pass over an event without data.
fn complete() -> Event {
    event("complete", &Data::Null)
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // JSON of one line: a line break inside it is escaped.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

fn respond(events: impl stream::Stream<Item = Event> + Send + 'static, request_id: Uuid) -> Response {
    let events = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = events.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies would collect the whole answer before they pass it on.
    fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        fields.insert("x-request-id", id);
    }
    response
}
