//! Connections of clients: accepted, limited, closed.
//!
//! A client that sends half a request head, or nothing, occupies a file descriptor. So a head has a
//! time limit and a size limit. When the limit of connections is reached, a new connection replaces
//! one that waits for a request: the longest idle one of the address that has the most. What must
//! never enter: anything about a request's content.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

/// How long a client may take for the head of a request, and how long a connection may wait for the
/// next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head, in bytes: the URI and all headers.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Headers of one request.
const MAX_HEADERS: usize = 100;
/// Connections of one process, where the system allows as many descriptors.
const MAX_CONNECTIONS: usize = 10_000;
/// Descriptors that are kept for the database, for files and for calls to other servers.
const RESERVED_DESCRIPTORS: usize = 96;
/// Connections of one address are at most so many of all, in quarters.
const MAX_QUARTERS_OF_ONE_ADDRESS: usize = 3;
/// How long accepting pauses after an error of the system.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The open connections of a listener.
#[derive(Debug)]
struct OpenConnections {
    open: Mutex<HashMap<u64, ConnectionEntry>>,
    max: usize,
}

#[derive(Debug)]
struct ConnectionEntry {
    address: IpAddr,
    /// Since when it waits for a request.
    idle_since: Instant,
    activity: Arc<ConnectionActivity>,
}

/// What a connection does at present.
#[derive(Debug, Default)]
struct ConnectionActivity {
    /// Requests that are being answered; a stream or a WebSocket counts for as long as it lasts.
    requests: AtomicUsize,
    /// Closes it, to free its place for another connection.
    evict: Notify,
}

/// The place of one connection. It is free again when the last holder has dropped it.
#[derive(Debug, Clone)]
pub struct ConnectionPlace(Arc<PlaceState>);

#[derive(Debug)]
struct PlaceState {
    connections: Arc<OpenConnections>,
    id: u64,
    activity: Arc<ConnectionActivity>,
}

/// A request that is being answered: its connection is not closed for another one meanwhile.
#[derive(Debug)]
pub struct ActiveRequest(ConnectionPlace);

impl ConnectionPlace {
    /// Keeps the connection from being closed for another one, until the answer is dropped.
    pub fn begin_request(&self) -> ActiveRequest {
        self.0.activity.requests.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(self.clone())
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let PlaceState { connections, id, activity } = &*self.0.0;
        if activity.requests.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(entry) = connections.lock_connections().get_mut(id)
        {
            entry.idle_since = Instant::now();
        }
    }
}

impl Drop for PlaceState {
    fn drop(&mut self) {
        self.connections.lock_connections().remove(&self.id);
    }
}

impl OpenConnections {
    fn new(max: usize) -> Self {
        Self { open: Mutex::default(), max }
    }

    fn lock_connections(&self) -> MutexGuard<'_, HashMap<u64, ConnectionEntry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection; none where every other one is answering a request.
    fn admit_connection(self: &Arc<Self>, id: u64, address: IpAddr) -> Option<ConnectionPlace> {
        let mut open = self.lock_connections();
        let of_address = open.values().filter(|entry| entry.address == address).count();
        if of_address >= (self.max * MAX_QUARTERS_OF_ONE_ADDRESS / 4).max(1) {
            evict_idle(&mut open, Some(address))?;
        } else if open.len() >= self.max {
            evict_idle(&mut open, None)?;
        }
        let activity = Arc::<ConnectionActivity>::default();
        open.insert(
            id,
            ConnectionEntry { address, idle_since: Instant::now(), activity: activity.clone() },
        );
        drop(open);
        Some(ConnectionPlace(Arc::new(PlaceState { connections: self.clone(), id, activity })))
    }
}

/// Closes the connection that waits longest for a request: of `address`, or of the address that has
/// the most.
fn evict_idle(open: &mut HashMap<u64, ConnectionEntry>, address: Option<IpAddr>) -> Option<()> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for entry in open.values() {
        *counts.entry(entry.address).or_default() += 1;
    }
    let waiting = open.iter().filter(|(_, entry)| {
        entry.activity.requests.load(Ordering::Relaxed) == 0
            && address.is_none_or(|address| entry.address == address)
    });
    let longest = waiting
        .max_by_key(|(_, entry)| (counts.get(&entry.address).copied(), Reverse(entry.idle_since)));
    let id = *longest?.0;
    let entry = open.remove(&id)?;
    entry.activity.evict.notify_one();
    counter!("http_server_connections_evicted").increment(1);
    Some(())
}

/// How many connections this process may hold, by the descriptors that the system gives it.
fn connection_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let descriptors = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let descriptors =
        descriptors.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    let usable = descriptors
        .map_or(MAX_CONNECTIONS, |descriptors| descriptors.saturating_sub(RESERVED_DESCRIPTORS));
    usable.clamp(16, MAX_CONNECTIONS)
}

/// Serves `routes` on `listener` until `stop` is true and every request has been answered.
///
/// # Errors
/// None at present; after an error of the system, the listener accepts again.
pub async fn serve_connections(
    listener: TcpListener,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let connections = Arc::new(OpenConnections::new(connection_limit()));
    let mut tasks = JoinSet::new();
    for id in 0.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            // An error means that the server is gone, which is the same here.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => match connections.admit_connection(id, peer.ip()) {
                Some(place) => {
                    tasks.spawn(serve_connection(
                        stream,
                        peer,
                        place,
                        routes.clone(),
                        stop.clone(),
                    ));
                }
                None => counter!("http_server_connections_refused").increment(1),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: ConnectionPlace,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) {
    // An answer is written in one go; waiting for more would only delay it.
    let _ = stream.set_nodelay(true);
    let activity = place.0.activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        answer_connection(routes.clone(), place.clone(), peer, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            _ = stop.wait_for(|stop| *stop), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.evict.notified() => return,
        }
    };
    if let Err(error) = ended {
        note_refusal(&error, peer);
    }
}

/// A request that is no HTTP is answered by the HTTP library, and leaves no other trace. Its URL
/// stays out of the log: it may hold personal data.
fn note_refusal(error: &hyper::Error, peer: SocketAddr) {
    let kind = match error {
        error if error.is_parse_too_large() => "too_large",
        error if error.is_parse() => "malformed",
        error if error.is_timeout() => "timeout",
        // The client has gone.
        _ => return,
    };
    counter!("http_server_requests_refused", "kind" => kind).increment(1);
    if kind != "timeout" {
        tracing::info!(%peer, kind, "a request was refused before it was read: it is no HTTP");
    }
}

/// A request's body, which notes when all of it has arrived.
struct ArrivingBody {
    body: Incoming,
    arrived: Arc<AtomicBool>,
}

impl HttpBody for ArrivingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.arrived.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer_connection(
    routes: Router,
    place: ConnectionPlace,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    let active = place.begin_request();
    let arrived = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let mut request =
        request.map(|body| Body::new(ArrivingBody { body, arrived: arrived.clone() }));
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(place);
    let mut response = routes.oneshot(request).await?;
    if !arrived.load(Ordering::Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // The rest of the body is not read, so the connection ends: without this header the client
        // would lose its next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.body().size_hint().exact().is_some() {
        return Ok(response);
    }
    // A stream lasts as long as it is read.
    Ok(response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |part| {
            let _active = &active;
            part
        }))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn new_connection_takes_the_place_of_a_waiting_one() {
        let connections = Arc::new(OpenConnections::new(8));
        let crowd: Vec<_> =
            (0..6).map(|id| connections.admit_connection(id, address(1)).unwrap()).collect();
        let busy = crowd[0].begin_request();
        let quiet: Vec<_> =
            (6..8).map(|id| connections.admit_connection(id, address(2)).unwrap()).collect();
        let late = connections.admit_connection(8, address(3)).unwrap();
        assert!(
            connections.lock_connections().contains_key(&0),
            "one that answers a request keeps its place"
        );
        assert!(
            !connections.lock_connections().contains_key(&1),
            "the oldest of the address that has the most goes"
        );
        assert!(quiet.iter().all(|place| connections.lock_connections().contains_key(&place.0.id)));
        assert_eq!(connections.lock_connections().len(), 8);
        drop((busy, late));
    }

    #[tokio::test]
    async fn one_address_never_has_all_places() {
        let connections = Arc::new(OpenConnections::new(8));
        let places: Vec<_> =
            (0..20).filter_map(|id| connections.admit_connection(id, address(1))).collect();
        assert_eq!(places.len(), 20, "each takes the place of one before it");
        assert_eq!(connections.lock_connections().len(), 6);
        let _active: Vec<_> = places.iter().map(ConnectionPlace::begin_request).collect();
        assert!(
            connections.admit_connection(20, address(1)).is_none(),
            "all of them answer requests"
        );
        assert!(connections.admit_connection(21, address(2)).is_some());
    }

    #[tokio::test]
    async fn place_is_free_again_when_it_is_dropped() {
        let connections = Arc::new(OpenConnections::new(4));
        drop(connections.admit_connection(0, address(1)));
        assert!(connections.lock_connections().is_empty());
    }
}
