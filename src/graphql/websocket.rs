//! Operations over a WebSocket: the protocol `graphql-transport-ws`, of the library "graphql-ws".
//!
//! A socket belongs to one caller, whom the upgrade request's `Authorization` or the payload of `connection_init`
//! names; every operation on it has that credential checked again, and so does the [`Guard`] while a subscription
//! is quiet. Cookies play no part, so a foreign page that opens a socket has nobody's rights, and the `Origin` needs no
//! look. An answer is fetched when the one before has left: a client that reads slowly keeps nothing in memory here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Deserialize;
use serde_json::{Map, Value as Data, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::StreamMap;
use uuid::Uuid;

use super::Door;
use super::auth::{self, Caller, Credential};
use super::operation::{self, Answer, Ask, Fault, Reply};
use super::streams::{End, Guard, Place, Streams, told};
use crate::http_listener::ConnectionPlace;

const PROTOCOL: &str = "graphql-transport-ws";
/// Largest message, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;
/// Operations that may be under way on one socket.
const MAX_OPERATIONS: usize = 100;
/// The longest id of an operation, in bytes.
const MAX_ID: usize = 128;
/// How long a client may take to say who it is.
const INIT: Duration = Duration::from_secs(10);
/// How long a message may take to leave; a client that reads nothing for so long is gone.
const SEND: Duration = Duration::from_secs(10);
/// How long a client may take to close when we have.
const CLOSE: Duration = Duration::from_secs(1);
/// How often a quiet client is asked whether it is there; one that says nothing twice in a row is gone.
const PING: Duration = Duration::from_secs(15);

/// Takes the connection over.
pub fn open(door: Arc<Door>, upgrade: WebSocketUpgrade, caller: Option<Caller>, extensions: &Extensions) -> Response {
    let Some(place) = door.streams.socket() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many open sockets").into_response();
    };
    let source = auth::source(extensions);
    let mut anonymous = None;
    if caller.is_none() {
        anonymous = door.streams.anonymous_socket(source);
        if anonymous.is_none() {
            let message = "too many open sockets that have not said who they are";
            return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
        }
    }
    // The connection is in use for as long as the socket is.
    let active = extensions.get::<ConnectionPlace>().map(ConnectionPlace::begin_request);
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(async move |socket| {
        let stopping = door.app.stopping.subscribe();
        let mut line = Line { socket, stopping };
        let end = converse(&door, &mut line, caller, source, anonymous).await;
        // Nobody is left to hear of an error on the socket itself.
        if let Err(Gone::Closed(close)) = end {
            let _ = timeout(SEND, line.socket.send(Message::Close(Some(close)))).await;
        }
        // RFC 6455 section 7.1.1: each side answers the other's close, and what is on its way is read, or the
        // connection would break before the client has heard why.
        let _ = timeout(CLOSE, async { while let Some(Ok(_)) = line.socket.recv().await {} }).await;
        drop((place, active));
    })
}

/// What a client may say.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    ConnectionInit { payload: Option<Map<String, Data>> },
    Ping {},
    Pong {},
    Subscribe { id: String, payload: Map<String, Data> },
    Complete { id: String },
}

/// The end of a conversation.
enum Gone {
    /// We close, and say why.
    Closed(CloseFrame),
    /// The other side closed, or the connection broke.
    Lost,
}

impl Gone {
    fn because(code: u16, reason: impl Into<String>) -> Self {
        Self::Closed(CloseFrame { code, reason: reason.into().into() })
    }
}

/// The socket, and what interrupts it.
struct Line {
    socket: WebSocket,
    /// Held to the end: the process waits for it.
    stopping: watch::Receiver<bool>,
}

/// A message of ours, and whether it ends its operation.
type Outgoing = (Data, bool);

impl Line {
    async fn send(&mut self, message: &Data) -> Result<(), Gone> {
        match timeout(SEND, self.socket.send(Message::Text(message.to_string().into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone::Lost),
        }
    }

    /// What the client says next; none for what only shows that it is there.
    fn heard(message: Option<Result<Message, axum::Error>>) -> Result<Option<Said>, Gone> {
        match message {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(said) => Ok(Some(said)),
                Err(_) => Err(Gone::because(4400, "Invalid message received")),
            },
            Some(Ok(Message::Binary(_))) => Err(Gone::because(4400, "Invalid message received: text is expected")),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Close(_))) | None => Err(Gone::Lost),
            // Too large, or not a WebSocket's frame.
            Some(Err(_)) => Err(Gone::because(1009, "Message too big or malformed")),
        }
    }
}

async fn converse(
    door: &Arc<Door>,
    line: &mut Line,
    caller: Option<Caller>,
    source: Option<IpAddr>,
    anonymous: Option<[Place; 2]>,
) -> Result<(), Gone> {
    if line.socket.protocol().is_none() {
        return Err(Gone::because(4406, "Subprotocol not acceptable"));
    }
    let greeting = timeout(INIT, greet(door, line, caller, source)).await;
    let (caller, _place) =
        greeting.unwrap_or_else(|_| Err(Gone::because(4408, "Connection initialisation timeout")))?;
    drop(anonymous);
    let mut guard = Guard::of(&caller);
    let mut operations: StreamMap<String, BoxStream<'static, Outgoing>> = StreamMap::new();
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = 0;
    loop {
        tokio::select! {
            end = guard.end() => return Err(match end {
                End::Stopping => Gone::because(1012, "Service restart"),
                End::Refused(_) => Gone::because(4403, "Forbidden"),
            }),
            _ = ping.tick() => {
                if quiet == 2 {
                    return Err(Gone::because(4408, "The client does not answer"));
                }
                quiet += 1;
                if !matches!(timeout(SEND, line.socket.send(Message::Ping(Vec::new().into()))).await, Ok(Ok(()))) {
                    return Err(Gone::Lost);
                }
            }
            Some((id, (message, last))) = operations.next() => {
                // Before it is sent: the client may use the id again as soon as it hears.
                if last {
                    operations.remove(&id);
                }
                line.send(&message).await?;
            }
            message = line.socket.recv() => {
                quiet = 0;
                match Line::heard(message)? {
                    None | Some(Said::Pong {}) => {}
                    Some(Said::Ping {}) => line.send(&json!({ "type": "pong" })).await?,
                    Some(Said::ConnectionInit { .. }) => {
                        return Err(Gone::because(4429, "Too many initialisation requests"));
                    }
                    Some(Said::Complete { id }) => drop(operations.remove(&id)),
                    Some(Said::Subscribe { id, payload }) => {
                        if id.is_empty() || id.len() > MAX_ID {
                            return Err(Gone::because(4400, format!("An id has 1 to {MAX_ID} bytes")));
                        }
                        if operations.contains_key(&id) {
                            return Err(Gone::because(4409, format!("Subscriber for {} already exists", shown(&id))));
                        }
                        let room = operations.len() < MAX_OPERATIONS;
                        operations.insert(id.clone(), outgoing(id, begin(door, &caller, payload, room).await?));
                    }
                }
            }
        }
    }
}

/// Waits for `connection_init`, and lets the caller in.
async fn greet(
    door: &Door,
    line: &mut Line,
    caller: Option<Caller>,
    source: Option<IpAddr>,
) -> Result<(Caller, Place), Gone> {
    let payload = loop {
        tokio::select! {
            () = told(&mut line.stopping) => return Err(Gone::because(1012, "Service restart")),
            message = line.socket.recv() => match Line::heard(message)? {
                None | Some(Said::Pong {}) => {}
                Some(Said::Ping {}) => line.send(&json!({ "type": "pong" })).await?,
                Some(Said::ConnectionInit { payload }) => break payload.unwrap_or_default(),
                Some(Said::Subscribe { .. } | Said::Complete { .. }) => {
                    return Err(Gone::because(4401, "Unauthorized"));
                }
            }
        }
    };
    let caller = match (Credential::of_payload(&payload), caller) {
        (None, Some(caller)) => Ok(caller),
        (credential, _) => auth::sign_in(&door.app, credential, Uuid::now_v7(), "WebSocket", source).await,
    };
    let caller = caller.map_err(|error| match Fault::of(&error, Uuid::now_v7()).status {
        StatusCode::UNAUTHORIZED => Gone::because(4403, "Forbidden"),
        _ => Gone::because(4500, "Internal server error"),
    })?;
    let Some(place) = door.streams.enter(&caller) else {
        return Err(Gone::because(4429, Streams::full().message));
    };
    line.send(&json!({ "type": "connection_ack" })).await?;
    Ok((caller, place))
}

/// What comes of an operation; the credential is checked again first.
async fn begin(
    door: &Arc<Door>,
    caller: &Caller,
    payload: Map<String, Data>,
    room: bool,
) -> Result<BoxStream<'static, Answer>, Gone> {
    let caller = match caller.again().await {
        Ok(caller) => caller,
        Err(error) => {
            let fault = Fault::of(&error, Uuid::now_v7());
            if fault.status == StatusCode::UNAUTHORIZED {
                return Err(Gone::because(4403, "Forbidden"));
            }
            return Ok(refused(fault));
        }
    };
    if !room {
        let message = format!("{MAX_OPERATIONS} operations are under way on this socket; end one first");
        return Ok(refused(Fault::limited(message, 1)));
    }
    match Ask::of(payload).and_then(|ask| operation::prepare(door, caller, ask)) {
        Ok(operation) => Ok(operation.answers()),
        Err(fault) => Ok(refused(fault)),
    }
}

fn refused(fault: Fault) -> BoxStream<'static, Answer> {
    stream::iter([Err(fault)]).boxed()
}

/// The messages for an operation's answers: any number of `next` and then `complete`, or one `error`.
fn outgoing(id: String, answers: BoxStream<'static, Answer>) -> BoxStream<'static, Outgoing> {
    let complete = (json!({ "id": id, "type": "complete" }), true);
    let messages = answers.map(move |answer| match answer {
        Ok(Reply { status: StatusCode::OK, body, .. }) => (json!({ "id": id, "type": "next", "payload": body }), false),
        Ok(Reply { body, .. }) => (json!({ "id": id, "type": "error", "payload": body.errors }), true),
        Err(fault) => (json!({ "id": id, "type": "error", "payload": [fault.to_json(Uuid::now_v7())] }), true),
    });
    messages.chain(stream::iter([complete])).boxed()
}

/// A part of an id that fits into a close frame's reason, which has 123 bytes.
fn shown(id: &str) -> String {
    id.chars().take(20).collect()
}
