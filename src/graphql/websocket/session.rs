//! What the protocol of a socket and the socket itself share: the caller, and the operations.
//!
//! `async-graphql` runs the protocol and knows operations by their ids. It hands each operation to
//! [`SocketSession`], which is its executor. Its protocol has no message of the type `error`, and
//! no way to close the socket from an operation: both go through the session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_graphql::{Data as SessionData, Executor, Request, Response};
use axum::extract::ws::CloseFrame;
use axum::http::StatusCode;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::Value as Data;
use tokio::sync::{Semaphore, mpsc};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::{close_frame, forbidden_frame};
use crate::context::record_caller;
use crate::graphql::GraphqlState;
use crate::graphql::auth::ApiCaller;
use crate::graphql::execute::{
    self, ExecutionResult, GraphqlRequest, OperationResponse, RequestError,
};
use crate::trace_context::{SPAN_TARGET, TraceContext};

/// The entry of a request's `extensions` in which the socket names the operation to the executor.
pub const OPERATION_ID: &str = "operationId";

/// The operations of one socket, and their executor.
#[derive(Clone)]
pub struct SocketSession(Arc<SessionState>);

struct SessionState {
    graphql: Arc<GraphqlState>,
    caller: OnceLock<ApiCaller>,
    operations: Mutex<HashMap<String, OperationState>>,
    /// Where an operation says that the socket must be closed.
    closing: mpsc::UnboundedSender<CloseFrame>,
    /// Whose response is sent next. Operations wait in line for it, so that one with many
    /// responses does not hold up the others.
    turn: Arc<Semaphore>,
    /// The upgrade request in its trace.
    upgrade: Option<TraceContext>,
}

enum OperationState {
    /// The client has sent it; it was not started yet.
    Received(Box<Result<GraphqlRequest, RequestError>>),
    Running,
    /// Nothing of it was run, or it failed: the entries of `errors`.
    Failed(Vec<Data>),
}

/// How an operation has ended.
pub enum OperationEnd {
    Complete,
    /// The entries of `errors`.
    Failed(Vec<Data>),
}

impl SocketSession {
    /// A session of a caller who is not known yet, and the close frames of its operations.
    pub fn open_session(
        graphql: Arc<GraphqlState>,
        upgrade: Option<TraceContext>,
    ) -> (Self, mpsc::UnboundedReceiver<CloseFrame>) {
        let (closing, closes) = mpsc::unbounded_channel();
        let state = SessionState {
            graphql,
            caller: OnceLock::new(),
            operations: Mutex::default(),
            closing,
            turn: Arc::new(Semaphore::new(1)),
            upgrade,
        };
        (Self(Arc::new(state)), closes)
    }

    /// Sets the caller, once `connection_init` was accepted.
    pub fn set_caller(&self, caller: ApiCaller) {
        // The protocol accepts one `connection_init` only.
        let _ = self.0.caller.set(caller);
    }

    /// The caller; none before `connection_init` was accepted.
    pub fn caller(&self) -> Option<&ApiCaller> {
        self.0.caller.get()
    }

    /// Asks the socket to close.
    pub fn close(&self, frame: CloseFrame) {
        // Without a receiver the socket is closed already.
        let _ = self.0.closing.send(frame);
    }

    /// Keeps an operation until the protocol starts it. False if its id is in use.
    pub fn add_operation(
        &self,
        id: &str,
        request: impl FnOnce(usize) -> Result<GraphqlRequest, RequestError>,
    ) -> bool {
        let mut operations = self.lock_operations();
        let count = operations.len();
        match operations.entry(id.to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(OperationState::Received(Box::new(request(count))));
                true
            }
        }
    }

    /// Forgets an operation; none if it is not known.
    pub fn remove_operation(&self, id: &str) -> Option<OperationEnd> {
        Some(match self.lock_operations().remove(id)? {
            OperationState::Failed(errors) => OperationEnd::Failed(errors),
            OperationState::Received(_) | OperationState::Running => OperationEnd::Complete,
        })
    }

    fn lock_operations(&self) -> MutexGuard<'_, HashMap<String, OperationState>> {
        self.0.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request of an operation that is to be started; none if the client has ended it.
    fn take_request(&self, id: &str) -> Option<Result<GraphqlRequest, RequestError>> {
        match self.lock_operations().get_mut(id) {
            Some(state @ OperationState::Received(_)) => {
                match std::mem::replace(state, OperationState::Running) {
                    OperationState::Received(request) => Some(*request),
                    OperationState::Running | OperationState::Failed(_) => None,
                }
            }
            _ => None,
        }
    }

    /// The responses of an operation, after the credential was checked again.
    async fn start_operation(self, id: String) -> BoxStream<'static, Response> {
        let (Some(request), Some(caller)) = (self.take_request(&id), self.caller()) else {
            return stream::empty().boxed();
        };
        let span = operation_span(self.0.upgrade.as_ref());
        let authenticated = caller.authenticate_again().instrument(span.clone()).await;
        let responses = match (authenticated, request) {
            (Err(error), _) => {
                let error = RequestError::from_error(&error, Uuid::now_v7());
                if error.status == StatusCode::UNAUTHORIZED {
                    self.close(forbidden_frame());
                }
                refuse_operation(error)
            }
            (Ok(_), Err(error)) => refuse_operation(error),
            (Ok(caller), Ok(request)) => {
                span.record("rolecall.request_id", display(caller.cx.request_id));
                record_caller(&span, caller.cx.organization(), caller.cx.confined_to());
                match execute::prepare_operation(&self.0.graphql, caller, request) {
                    Ok(operation) => span.in_scope(|| operation.spawn_responses()),
                    Err(error) => refuse_operation(error),
                }
            }
        };
        let turn = self.0.turn.clone();
        let responses = responses
            .scan((), move |(), result| future::ready(self.keep_failure(&id, result)))
            .boxed();
        let in_turn = stream::unfold((responses, None), move |(mut responses, held)| {
            let turn = turn.clone();
            async move {
                drop(held);
                let response = responses.next().await?;
                let held = turn.acquire_owned().await.ok();
                Some((response, (responses, held)))
            }
        });
        in_turn.boxed()
    }

    /// The response; none if nothing was run, whose errors become a message `error`.
    fn keep_failure(&self, id: &str, result: ExecutionResult) -> Option<Response> {
        let errors = match result {
            Ok(OperationResponse { status: StatusCode::OK, body, .. }) => {
                return Some(body.into_response());
            }
            Ok(OperationResponse { body, .. }) => body.errors,
            Err(error) => error.to_body(Uuid::now_v7()).errors,
        };
        if let Some(state) = self.lock_operations().get_mut(id) {
            *state = OperationState::Failed(errors);
        }
        None
    }
}

impl Executor for SocketSession {
    async fn execute(&self, request: Request) -> Response {
        self.execute_stream(request, None).next().await.unwrap_or_default()
    }

    fn execute_stream(
        &self,
        request: Request,
        _session: Option<Arc<SessionData>>,
    ) -> BoxStream<'static, Response> {
        let id = match request.extensions.get(OPERATION_ID) {
            Some(async_graphql::Value::String(id)) => id.clone(),
            _ => {
                self.close(close_frame(4500, "Internal server error"));
                return stream::empty().boxed();
            }
        };
        stream::once(self.clone().start_operation(id)).flatten().boxed()
    }
}

/// The span of an operation, which belongs to no HTTP request. It is linked with the request that
/// opened the socket.
fn operation_span(upgrade: Option<&TraceContext>) -> Span {
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        parent: None,
        "operation",
        otel.kind = "server",
        otel.name = "GraphQL operation on a socket",
        rolecall.request_id = Empty,
        rolecall.organization_id = Empty,
        rolecall.connection_id = Empty,
    );
    if let Some(upgrade) = upgrade {
        upgrade.link_span(&span);
    }
    span
}

fn refuse_operation(error: RequestError) -> BoxStream<'static, ExecutionResult> {
    stream::iter([Err(error)]).boxed()
}
