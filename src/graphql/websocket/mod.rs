//! Operations over a WebSocket: the protocol `graphql-transport-ws`, of the library "graphql-ws".
//!
//! `async-graphql-axum` runs the protocol between two channels ([`run_protocol`]). This module
//! stands between them and the socket, and adds what that library leaves to its user: limits of
//! time, size and number, close codes 4400, 4401, 4406, 4408 and 4409, messages of the type
//! `error`, pings, and the end of a socket whose credential ends. [`session`] executes the
//! operations.
//!
//! A socket belongs to one caller, whose credential is in the `Authorization` of the upgrade
//! request or in the payload of `connection_init`. The credential is checked again for every
//! operation, and by the [`StreamGuard`] while a subscription is quiet. Cookies are not used, so a
//! socket that a page of another site opens has no permissions, and the `Origin` is not checked. A
//! response is fetched only after the previous one was sent, so a client that reads slowly fills no
//! memory here.

mod session;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{Extensions, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{sink, stream};
use serde::Deserialize;
use serde_json::{Map, Value as Data, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use uuid::Uuid;

use super::GraphqlState;
use super::auth::{self, ApiCaller, CallerCredential};
use super::streams::{OpenStreams, StreamEnd, StreamGuard, StreamSlot};
use crate::context::shutdown_requested;
use crate::graphql::execute::{GraphqlRequest, RequestError};
use crate::http_listener::ConnectionPlace;
use crate::request_head;
use crate::trace_context::TraceContext;
use session::{OPERATION_ID, OperationEnd, SocketSession};

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// The largest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// The most operations that run at the same time on one socket.
const MAX_OPERATIONS_PER_SOCKET: usize = 100;
/// The longest id of an operation, in bytes.
const MAX_ID_BYTES: usize = 128;
/// How long a client may take to send `connection_init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sending a message may take; a client that reads nothing for so long counts as
/// disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a client is sent a ping; one that sends nothing after two pings counts as
/// disconnected.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Upgrades the connection to a WebSocket, and serves it.
pub fn accept_upgrade(
    door: Arc<GraphqlState>,
    upgrade: WebSocketUpgrade,
    caller: Option<ApiCaller>,
    extensions: &Extensions,
) -> Response {
    let Some(place) = door.streams.claim_socket() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many open sockets").into_response();
    };
    let source = request_head::client_ip(extensions);
    let mut anonymous = None;
    if caller.is_none() {
        anonymous = door.streams.claim_anonymous_socket(source);
        if anonymous.is_none() {
            let message = "too many open sockets of clients that are not authenticated yet";
            return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
        }
    }
    // The connection counts as in use for as long as the socket is open.
    let active = extensions.get::<ConnectionPlace>().map(ConnectionPlace::begin_request);
    let opened = TraceContext::current();
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES);
    upgrade.on_upgrade(async move |socket| {
        // Kept until the end, because the process waits until it is dropped.
        let stopping = door.app.stopping.subscribe();
        let mut line = SocketConnection { socket, stopping };
        let peer = SocketPeer { caller, source, anonymous, upgrade: opened };
        let end = serve_connection(&door, &mut line, peer).await;
        // After an error on the socket itself there is no client to tell.
        if let Err(SocketClosed::Closed(close)) = end {
            let _ = timeout(SEND_TIMEOUT, line.socket.send(Message::Close(Some(close)))).await;
        }
        // RFC 6455 section 7.1.1: each side answers the other's close frame. What the client has
        // sent is read until then; otherwise the connection would be reset before the client has
        // read the reason.
        let _ =
            timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = line.socket.recv().await {} })
                .await;
        drop((place, active));
    })
}

/// A message of the client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit { payload: Option<Map<String, Data>> },
    Ping {},
    Pong {},
    Subscribe { id: String, payload: Map<String, Data> },
    Complete { id: String },
}

/// The messages of the protocol that this module changes or acts on, as their texts begin.
const ACK_START: &str = r#"{"type":"connection_ack""#;
const COMPLETE_START: &str = r#"{"type":"complete""#;

/// Why a socket is no longer served.
enum SocketClosed {
    /// The server closes it, with a code and a reason.
    Closed(CloseFrame),
    /// The client closed it, or the connection broke.
    Lost,
}

impl SocketClosed {
    fn with_code(code: u16, reason: impl Into<String>) -> Self {
        Self::Closed(close_frame(code, reason))
    }
}

fn close_frame(code: u16, reason: impl Into<String>) -> CloseFrame {
    CloseFrame { code, reason: reason.into().into() }
}

/// The close frame for a credential that is not valid.
fn forbidden_frame() -> CloseFrame {
    close_frame(4403, "Forbidden")
}

/// The other side of a socket, as far as the upgrade request tells.
struct SocketPeer {
    caller: Option<ApiCaller>,
    source: Option<IpAddr>,
    /// The slots that the socket takes until the caller is known.
    anonymous: Option<[StreamSlot; 2]>,
    /// The upgrade request in its trace.
    upgrade: Option<TraceContext>,
}

/// A socket, and the signal that the process stops.
struct SocketConnection {
    socket: WebSocket,
    stopping: watch::Receiver<bool>,
}

impl SocketConnection {
    async fn send_message(&mut self, message: Message) -> Result<(), SocketClosed> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(SocketClosed::Lost),
        }
    }
}

/// Parses a message of the client; none for pings and pongs of WebSocket itself.
fn parse_message(
    message: Option<Result<Message, axum::Error>>,
) -> Result<Option<ClientMessage>, SocketClosed> {
    match message {
        Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
            Ok(message) => Ok(Some(message)),
            Err(_) => Err(SocketClosed::with_code(4400, "Invalid message received")),
        },
        Some(Ok(Message::Binary(_))) => {
            Err(SocketClosed::with_code(4400, "Invalid message received: text is expected"))
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Close(_))) | None => Err(SocketClosed::Lost),
        // Too large, or not a valid WebSocket frame.
        Some(Err(_)) => Err(SocketClosed::with_code(1009, "Message too big or malformed")),
    }
}

/// What the socket may read from its client next.
enum SocketPhase {
    /// `connection_init` is awaited.
    Opening,
    /// The credential is being checked: nothing is read until then.
    Authenticating,
    Ready,
    /// The client has ended an operation, whose `complete` of the protocol is awaited. Nothing is
    /// read until then, because the client may use the id again.
    Completing {
        id: String,
        next_start: String,
    },
}

/// Passes messages between the client and the protocol, until one of them ends.
async fn serve_connection(
    door: &Arc<GraphqlState>,
    line: &mut SocketConnection,
    peer: SocketPeer,
) -> Result<(), SocketClosed> {
    let Some(protocol) = negotiated_protocol(line.socket.protocol()).await else {
        return Err(SocketClosed::with_code(4406, "Subprotocol not acceptable"));
    };
    let SocketPeer { caller, source, mut anonymous, upgrade } = peer;
    let (session, mut closes) = SocketSession::open_session(door.clone(), upgrade);
    let (to_protocol, from_client) = mpsc::channel(1);
    let (to_client, mut from_protocol) = mpsc::channel(1);
    // The slot of an authenticated socket: taken with `connection_init`, kept until the end.
    let slot = Arc::new(Mutex::new(None));
    let opening =
        SessionOpening { door: door.clone(), session: session.clone(), slot: slot.clone() };
    let mut protocol =
        pin!(run_protocol(protocol, opening, (caller, source), from_client, to_client));
    let mut running = true;
    let mut phase = SocketPhase::Opening;
    let mut guard: Option<StreamGuard> = None;
    let opened_by = Instant::now() + INIT_TIMEOUT;
    let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = 0;
    loop {
        let opening = matches!(phase, SocketPhase::Opening | SocketPhase::Authenticating);
        let reading = matches!(phase, SocketPhase::Opening | SocketPhase::Ready);
        tokio::select! {
            () = &mut protocol, if running => running = false,
            Some(frame) = closes.recv() => return Err(SocketClosed::Closed(frame)),
            () = shutdown_requested(&mut line.stopping) => {
                return Err(SocketClosed::with_code(1012, "Service restart"));
            }
            end = wait_for_end(&mut guard) => return Err(match end {
                StreamEnd::Stopping => SocketClosed::with_code(1012, "Service restart"),
                StreamEnd::Refused(_) => SocketClosed::Closed(forbidden_frame()),
            }),
            () = sleep_until(opened_by), if opening => {
                return Err(SocketClosed::with_code(4408, "Connection initialisation timeout"));
            }
            _ = ping.tick() => {
                if quiet == 2 {
                    return Err(SocketClosed::with_code(4408, "The client does not answer"));
                }
                quiet += 1;
                line.send_message(Message::Ping(Vec::new().into())).await?;
            }
            message = from_protocol.recv() => {
                let Some(message) = message else { return Err(SocketClosed::Lost) };
                if let Some(message) = answer_client(message, &session, &mut phase, &mut closes)? {
                    line.send_message(message).await?;
                }
                if guard.is_none() && matches!(phase, SocketPhase::Ready) {
                    drop(anonymous.take());
                    guard = session.caller().map(StreamGuard::spawn_for);
                }
            }
            (permit, message) = async {
                (to_protocol.reserve().await, line.socket.recv().await)
            }, if reading => {
                quiet = 0;
                let Some(message) = parse_message(message)? else { continue };
                let Ok(permit) = permit else { return Err(SocketClosed::Lost) };
                if let Some(message) = forward_message(message, &session, &mut phase)? {
                    permit.send(Message::Text(message.to_string().into()));
                }
            }
        }
    }
}

/// Completes when the credential of an authenticated socket has ended.
async fn wait_for_end(guard: &mut Option<StreamGuard>) -> StreamEnd {
    match guard {
        Some(guard) => guard.wait_for_end().await,
        None => std::future::pending().await,
    }
}

/// The protocol that both sides have agreed on; none if they have not.
async fn negotiated_protocol(name: Option<&HeaderValue>) -> Option<GraphQLProtocol> {
    let mut request = Request::new(());
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name?.clone());
    GraphQLProtocol::from_request_parts(&mut request.into_parts().0, &()).await.ok()
}

/// What `connection_init` needs.
struct SessionOpening {
    door: Arc<GraphqlState>,
    session: SocketSession,
    slot: Arc<Mutex<Option<StreamSlot>>>,
}

/// Runs the protocol between two channels, until it closes the socket.
async fn run_protocol(
    protocol: GraphQLProtocol,
    opening: SessionOpening,
    (caller, source): (Option<ApiCaller>, Option<IpAddr>),
    from_client: mpsc::Receiver<Message>,
    to_client: mpsc::Sender<Message>,
) {
    let messages = stream::unfold(from_client, async |mut from_client| {
        Some((Ok(from_client.recv().await?), from_client))
    });
    let answers = sink::unfold(to_client, async |to_client: mpsc::Sender<Message>, message| {
        to_client.send(message).await.map(|()| to_client)
    });
    let session = opening.session.clone();
    GraphQLWebSocket::new_with_pair(answers, messages, session, protocol)
        .on_connection_init(async move |payload| {
            let payload = payload.as_object().cloned().unwrap_or_default();
            open_session(opening, &payload, caller, source).await
        })
        .serve()
        .await;
}

/// Authenticates the caller. An error closes the socket.
async fn open_session(
    opening: SessionOpening,
    payload: &Map<String, Data>,
    caller: Option<ApiCaller>,
    source: Option<IpAddr>,
) -> async_graphql::Result<async_graphql::Data> {
    let SessionOpening { door, session, slot } = opening;
    let close = |frame| {
        session.close(frame);
        async_graphql::Error::new("refused")
    };
    let caller = match (CallerCredential::from_init_payload(payload), caller) {
        (None, Some(caller)) => Ok(caller),
        (credential, _) => {
            auth::sign_in(&door.app, credential, Uuid::now_v7(), "WebSocket", source).await
        }
    };
    let caller =
        caller.map_err(|error| match RequestError::from_error(&error, Uuid::now_v7()).status {
            StatusCode::UNAUTHORIZED => close(forbidden_frame()),
            _ => close(close_frame(4500, "Internal server error")),
        })?;
    let Some(place) = door.streams.claim_stream(&caller) else {
        return Err(close(close_frame(4429, OpenStreams::limit_error().message)));
    };
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    session.set_caller(caller);
    Ok(async_graphql::Data::default())
}

/// The message for the protocol that a message of the client becomes, if it becomes one.
fn forward_message(
    message: ClientMessage,
    session: &SocketSession,
    phase: &mut SocketPhase,
) -> Result<Option<Data>, SocketClosed> {
    let ready = matches!(phase, SocketPhase::Ready);
    Ok(match message {
        ClientMessage::Pong {} => None,
        ClientMessage::Ping {} => Some(json!({ "type": "ping" })),
        ClientMessage::ConnectionInit { payload } => {
            // A second one is refused by the protocol.
            if !ready {
                *phase = SocketPhase::Authenticating;
            }
            Some(json!({ "type": "connection_init", "payload": payload.unwrap_or_default() }))
        }
        ClientMessage::Subscribe { .. } | ClientMessage::Complete { .. } if !ready => {
            return Err(SocketClosed::with_code(4401, "Unauthorized"));
        }
        ClientMessage::Complete { id } => session.remove_operation(&id).map(|_| {
            let message = json!({ "type": "complete", "id": id });
            let next_start = format!(r#"{{"type":"next","id":{},"#, Data::from(id.as_str()));
            *phase = SocketPhase::Completing { id, next_start };
            message
        }),
        ClientMessage::Subscribe { id, payload } => {
            if id.is_empty() || id.len() > MAX_ID_BYTES {
                let reason = format!("An id has 1 to {MAX_ID_BYTES} bytes");
                return Err(SocketClosed::with_code(4400, reason));
            }
            let is_new = session.add_operation(&id, |count| {
                if count < MAX_OPERATIONS_PER_SOCKET {
                    return GraphqlRequest::from_body(payload);
                }
                let message = format!(
                    "{MAX_OPERATIONS_PER_SOCKET} operations are running on this socket; \
                     end one first"
                );
                Err(RequestError::rate_limited(message, 1))
            });
            if !is_new {
                let reason = format!("Subscriber for {} already exists", shorten_id(&id));
                return Err(SocketClosed::with_code(4409, reason));
            }
            // The session has the request; the protocol needs only its id.
            let payload = json!({ "extensions": { OPERATION_ID: id } });
            Some(json!({ "type": "subscribe", "id": id, "payload": payload }))
        }
    })
}

/// The message for the client that a message of the protocol becomes, if it becomes one.
fn answer_client(
    message: Message,
    session: &SocketSession,
    phase: &mut SocketPhase,
    closes: &mut mpsc::UnboundedReceiver<CloseFrame>,
) -> Result<Option<Message>, SocketClosed> {
    let text = match &message {
        Message::Text(text) => text.as_str(),
        // The session's own reason says more than the protocol's.
        Message::Close(Some(frame)) => {
            let frame = closes.try_recv().unwrap_or_else(|_| frame.clone());
            return Err(SocketClosed::Closed(frame));
        }
        _ => return Ok(Some(message)),
    };
    if text.starts_with(ACK_START) {
        *phase = SocketPhase::Ready;
        return Ok(Some(message));
    }
    if let SocketPhase::Completing { next_start, .. } = &*phase
        && text.starts_with(next_start.as_str())
    {
        return Ok(None);
    }
    if !text.starts_with(COMPLETE_START) {
        return Ok(Some(message));
    }
    let Ok(ClientMessage::Complete { id }) = serde_json::from_str(text) else {
        return Err(SocketClosed::with_code(4500, "Internal server error"));
    };
    if matches!(&*phase, SocketPhase::Completing { id: ended, .. } if *ended == id) {
        *phase = SocketPhase::Ready;
    }
    Ok(match session.remove_operation(&id) {
        Some(OperationEnd::Complete) => Some(message),
        Some(OperationEnd::Failed(errors)) => {
            let error = json!({ "id": id, "type": "error", "payload": errors });
            Some(Message::Text(error.to_string().into()))
        }
        // The client has ended it.
        None => None,
    })
}

/// The beginning of an id, to fit into the reason of a close frame, which has at most 123 bytes.
fn shorten_id(id: &str) -> String {
    id.chars().take(20).collect()
}
