//! What WebSockets, event streams and uploads share: limits of how many may be open, and the
//! reasons to end them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use super::auth::ApiCaller;
use crate::context::shutdown_requested;
use crate::error::{Error, RefusalReason};
use crate::graphql::execute::RequestError;

/// The most WebSockets and event streams of one caller on one server process.
const MAX_STREAMS: usize = 50;
/// The most WebSockets on one server process, with those that are not authenticated yet.
const MAX_SOCKETS: usize = 5_000;
/// The most WebSockets that are not authenticated yet: on one server process, and of one IP
/// address.
const MAX_ANONYMOUS_SOCKETS: usize = 1_000;
const MAX_ANONYMOUS_SOCKETS_OF_ADDRESS: usize = 100;
/// How often the credential behind a stream is checked again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How many streams are open, by caller.
#[derive(Debug, Default)]
pub struct OpenStreams(Mutex<HashMap<String, usize>>);

impl OpenStreams {
    /// A slot for a further stream of this caller; none if it has as many as it may have.
    pub fn claim_stream(self: &Arc<Self>, caller: &ApiCaller) -> Option<StreamSlot> {
        self.claim_slot(caller.principal(), MAX_STREAMS)
    }

    /// A slot for a WebSocket of any caller; none if the process has as many as it may have.
    pub fn claim_socket(self: &Arc<Self>) -> Option<StreamSlot> {
        self.claim_slot(String::new(), MAX_SOCKETS)
    }

    /// The slots of a WebSocket that is not authenticated yet; none if all of these slots are
    /// taken.
    pub fn claim_anonymous_socket(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Option<[StreamSlot; 2]> {
        let holder = address.map_or_else(
            || "sockets of no address".into(),
            |address| format!("sockets of {address}"),
        );
        let of_address = self.claim_slot(holder, MAX_ANONYMOUS_SOCKETS_OF_ADDRESS)?;
        Some([of_address, self.claim_slot("anonymous sockets".into(), MAX_ANONYMOUS_SOCKETS)?])
    }

    /// A slot for an export that an organization uploads: one at a time.
    pub fn claim_upload(self: &Arc<Self>, organization: Uuid) -> Option<StreamSlot> {
        self.claim_slot(format!("export of {organization}"), 1)
    }

    /// The error for a caller that has as many open streams as it may have.
    pub fn limit_error() -> RequestError {
        RequestError::rate_limited(
            format!("{MAX_STREAMS} streams of yours are open here; close one first"),
            10,
        )
    }

    fn claim_slot(self: &Arc<Self>, holder: String, most: usize) -> Option<StreamSlot> {
        let mut open = self.lock_counts();
        let held = open.entry(holder.clone()).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(StreamSlot { streams: self.clone(), holder })
    }

    fn lock_counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot, which is released when it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    streams: Arc<OpenStreams>,
    holder: String,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        if let Entry::Occupied(mut held) =
            self.streams.lock_counts().entry(std::mem::take(&mut self.holder))
        {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// Why the server ends a stream before its operation or its client does.
#[derive(Debug)]
pub enum StreamEnd {
    /// The server stops; the client can connect to another one.
    Stopping,
    /// The credential is no longer valid, or gives other permissions than when the stream was
    /// opened.
    Refused(Error),
}

/// Checks the credential of an open stream in a task of its own, so that a busy stream is checked
/// too.
#[derive(Debug)]
pub struct StreamGuard(JoinHandle<StreamEnd>);

impl StreamGuard {
    pub fn spawn_for(caller: &ApiCaller) -> Self {
        let caller = caller.clone();
        Self(tokio::spawn(async move {
            let mut stopping = caller.cx.app.stopping.subscribe();
            loop {
                tokio::select! {
                    () = shutdown_requested(&mut stopping) => return StreamEnd::Stopping,
                    () = sleep(RECHECK_INTERVAL) => {}
                }
                // An unavailable database says nothing about the credential.
                if let Err(
                    error @ (Error::Unauthenticated(_)
                    | Error::Held { reason: RefusalReason::OrganizationSuspended, .. }),
                ) = caller.authenticate_again().await
                {
                    return StreamEnd::Refused(error);
                }
            }
        }))
    }

    /// Completes when the stream must end.
    pub async fn wait_for_end(&mut self) -> StreamEnd {
        // Without its guard a stream must not continue.
        (&mut self.0).await.unwrap_or(StreamEnd::Stopping)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
