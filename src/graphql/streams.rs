//! What all that stays open shares: a place among those that one caller may hold, and the reasons to end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use super::auth::Caller;
use super::operation::Fault;
use crate::error::Error;

/// Sockets and event streams that one caller may hold open on one server process.
const MAX_STREAMS: usize = 50;
/// Sockets that may be open on one server process, those included that have not said yet who they are.
const MAX_SOCKETS: usize = 5_000;
/// Sockets that have not said yet who they are: on one server process, and of one address.
const MAX_ANONYMOUS_SOCKETS: usize = 1_000;
const MAX_ANONYMOUS_SOCKETS_OF_ADDRESS: usize = 100;
/// How often the credential behind a stream is checked again.
const RECHECK: Duration = Duration::from_secs(5);

/// What is open, by caller.
#[derive(Debug, Default)]
pub struct Streams(Mutex<HashMap<String, usize>>);

impl Streams {
    /// A place for one more of this caller's; none if it holds all that it may.
    pub fn enter(self: &Arc<Self>, caller: &Caller) -> Option<Place> {
        self.take(caller.principal(), MAX_STREAMS)
    }

    /// A place for a socket, whoever will turn out to be at its other end.
    pub fn socket(self: &Arc<Self>) -> Option<Place> {
        self.take(String::new(), MAX_SOCKETS)
    }

    /// The places of a socket that has not said yet who it is; none while strangers hold all that are theirs.
    pub fn anonymous_socket(self: &Arc<Self>, address: Option<IpAddr>) -> Option<[Place; 2]> {
        let holder = address.map_or_else(|| "sockets of no address".into(), |address| format!("sockets of {address}"));
        let of_address = self.take(holder, MAX_ANONYMOUS_SOCKETS_OF_ADDRESS)?;
        Some([of_address, self.take("anonymous sockets".into(), MAX_ANONYMOUS_SOCKETS)?])
    }

    /// A place for the export of an organization that is being compared: one at a time.
    pub fn upload(self: &Arc<Self>, organization: Uuid) -> Option<Place> {
        self.take(format!("export of {organization}"), 1)
    }

    /// What somebody is told who holds all the streams that they may.
    pub fn full() -> Fault {
        Fault::limited(format!("{MAX_STREAMS} streams of yours are open here; close one first"), 10)
    }

    fn take(self: &Arc<Self>, holder: String, most: usize) -> Option<Place> {
        let mut open = self.lock();
        let held = open.entry(holder.clone()).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(Place { streams: self.clone(), holder })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    streams: Arc<Streams>,
    holder: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut held) = self.streams.lock().entry(std::mem::take(&mut self.holder)) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// Why a stream must end although neither side wants it.
#[derive(Debug)]
pub enum End {
    /// The server stops; another one goes on.
    Stopping,
    /// The credential is dead, or gives something else than when the stream was opened.
    Refused(Error),
}

/// Watches over an open stream, in a task of its own: a stream that is always busy is checked all the same.
#[derive(Debug)]
pub struct Guard(JoinHandle<End>);

impl Guard {
    pub fn of(caller: &Caller) -> Self {
        let caller = caller.clone();
        Self(tokio::spawn(async move {
            let mut stopping = caller.cx.app.stopping.subscribe();
            loop {
                tokio::select! {
                    () = told(&mut stopping) => return End::Stopping,
                    () = sleep(RECHECK) => {}
                }
                // A database that does not answer tells the stream nothing either.
                if let Err(error @ Error::Unauthenticated(_)) = caller.again().await {
                    return End::Refused(error);
                }
            }
        }))
    }

    /// Done when the stream must end.
    pub async fn end(&mut self) -> End {
        // Without its guard a stream must not go on.
        (&mut self.0).await.unwrap_or(End::Stopping)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Done when the process is told to stop.
pub async fn told(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same to us.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
