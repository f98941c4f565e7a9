//! The server: SCIM and GraphQL on one address, health checks, and orderly shutdown.

pub(crate) mod client_address;
pub mod metrics;
mod request_trace;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpListener;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};

use crate::context::local_issuer;
use crate::context::{App, in_background};
use crate::domain::signal;
use crate::http_listener;
use crate::{authzen, console, graphql, jobs, scim, sign_in, ssf};

/// How long requests that are being served may take to end once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(18);
/// How long the workers may take after that to write what they hold in memory.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server that has just started may find its database unusable. Then it ends: its
/// supervisor starts it again, or tells an operator. A server that was ready before goes on, and is
/// not ready until the database recovers.
const FIRST_READINESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that is served.
pub fn build_router(app: Arc<App>) -> Router {
    let path = app.config.public_url.splitn(4, '/').nth(3).map(|path| format!("/{path}"));
    let health = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(check_readiness))
        .with_state(app.clone());
    let measured = app.config.metrics.then(|| axum::middleware::from_fn(metrics::measure_request));
    let keys = Router::new()
        .route("/.well-known/jwks.json", get(serve_jwks))
        .route("/signals/{organization}/jwks.json", get(serve_signal_keys))
        .with_state(app.clone());
    let console = console::build_router(app.clone(), path.as_deref().unwrap_or_default());
    let doors = scim::build_router(app.clone())
        .merge(graphql::build_graphql_router(app.clone()))
        .merge(authzen::build_router(app.clone()))
        .merge(ssf::build_router(app.clone()))
        .merge(sign_in::build_router(app.clone()))
        .merge(console)
        .merge(keys)
        .layer(DefaultBodyLimit::max(1024 * 1024))
        .layer(option_layer(measured))
        // Small answers cost more to compress than to send.
        .layer(
            CompressionLayer::new()
                .compress_when(DefaultPredicate::new().and(SizeAbove::new(8 * 1024))),
        )
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panic_response()))
        .layer(axum::middleware::map_response(forbid_caching));
    // A public URL with a path (https://example.com/pp) serves under that path, and at the root as
    // well, so that a proxy may strip the path or leave it.
    let routes = match path {
        Some(path) => health.nest(&path, doors.clone()).merge(doors),
        None => health.merge(doors),
    };
    let absent = any(console::serve_not_found).with_state(app.clone());
    let routes = routes.fallback_service(absent);
    // Around all others: it sees what the client gets.
    let routes = routes.layer(axum::middleware::from_fn(request_trace::trace_request));
    // A router's own layers see a request only when its route is found, so this one stands around
    // another router.
    let trusted = (!app.config.trusted_proxies.is_empty()).then(|| {
        axum::middleware::map_request_with_state(
            app.clone(),
            client_address::resolve_client_address,
        )
    });
    Router::new()
        .fallback_service(routes)
        .layer(axum::middleware::map_request(scim::remove_extra_slashes))
        .layer(option_layer(trusted))
}

/// Answers hold personal data and, once, secrets: no cache keeps one that does not say otherwise
/// (RFC 9111 section 5.2.2.5).
async fn forbid_caching(mut response: Response) -> Response {
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn panic_response() -> Response {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "500",
        "detail": "something went wrong here", "errors": [{ "message": "internal error" }],
    });
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}

/// Ready means that the database answers and takes writes, and that the clock lets changes be
/// written. What stands in the way of the database goes to the log alone: clients ask without a
/// credential.
async fn check_readiness(State(app): State<Arc<App>>) -> (StatusCode, Cow<'static, str>) {
    if let Err(reason) = app.store.check_ready().await {
        tracing::warn!(reason, "not ready");
        let text = "the database cannot be used; the log of this server says why";
        return (StatusCode::SERVICE_UNAVAILABLE, text.into());
    }
    match app.clock.write_fault() {
        None => (StatusCode::OK, "ready".into()),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, fault.into()),
    }
}

/// The local issuer's public key: no secret, and it never changes.
async fn serve_jwks(State(app): State<Arc<App>>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=3600")], Json(local_issuer::public_keys(&app)))
        .into_response()
}

/// The public keys with which the messages to an organization's destinations are signed.
async fn serve_signal_keys(
    State(app): State<Arc<App>>,
    Path(organization): Path<String>,
) -> Response {
    match signal::work::public_key_set(&app, &organization).await {
        Ok(keys) => ([(header::CACHE_CONTROL, "public, max-age=300")], Json(keys)).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the public keys of destinations cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Serves on `listener` with the background workers beside, until `stop` is done; then lets
/// requests end, flushes what is kept in memory, and returns.
///
/// # Errors
/// When the listener fails, or when the database cannot be used from the start.
pub async fn run_server(
    state: Arc<App>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // Boxed, so that all of it is compiled here and not once more for each kind of `stop`.
    serve_until(state, listener, Box::pin(stop)).await
}

async fn serve_until(
    state: Arc<App>,
    listener: TcpListener,
    stop: BoxFuture<'static, ()>,
) -> std::io::Result<()> {
    jobs::renew_name_keys(&state).await;
    let stopping = state.clone();
    let mut draining = state.stopping.subscribe();
    // The workers end last: what requests leave behind while they end is theirs to write.
    let (ended, end) = tokio::sync::watch::channel(false);
    let working = tokio::spawn(in_background(jobs::run_until_stopped(state.clone(), end)));
    // Bulk jobs end first, each after its line, and sync runs where they are; both hold the end up
    // until then.
    let carry_out = graphql::carry_out_job;
    let bulk_jobs = jobs::run_bulk_jobs(state.clone(), state.stopping.subscribe(), carry_out);
    tokio::spawn(in_background(bulk_jobs));
    tokio::spawn(in_background(jobs::read_sources(state.clone(), state.stopping.subscribe())));
    let serving = http_listener::serve_connections(
        listener,
        build_router(state.clone()),
        state.stopping.subscribe(),
    );
    tokio::spawn(async move {
        stop.await;
        tracing::info!("stopping: no new connections, letting requests end");
        stopping.stopping.send_replace(true);
    });
    let serving = async {
        let served = serving.await;
        state.stopping.send_replace(true);
        // A WebSocket outlives the connection that it was made from; each holds a receiver until it
        // has said goodbye.
        state.stopping.closed().await;
        served
    };
    let store = state.store.clone();
    let unusable = async move {
        match store.await_ready(FIRST_READINESS_TIMEOUT).await {
            Err(reason) => reason,
            Ok(()) => std::future::pending().await,
        }
    };
    let overdue = async move {
        // An error means that the sender is gone: the server has ended by itself.
        if draining.wait_for(|stopping| *stopping).await.is_err() {
            std::future::pending::<()>().await;
        }
        drop(draining);
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    let served = tokio::select! {
        served = serving => served,
        () = overdue => {
            tracing::warn!("some requests did not end within {} s and are cut \
                            off", DRAIN_TIMEOUT.as_secs());
            Ok(())
        }
        reason = unusable => {
            state.stopping.send_replace(true);
            Err(std::io::Error::other(format!(
                "the database could not be used for {} s since the start: {reason}",
                FIRST_READINESS_TIMEOUT.as_secs()
            )))
        }
    };
    let _ = ended.send(true);
    match tokio::time::timeout(WORKERS_TIMEOUT, working).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the workers did not end in order"),
        Err(_) => tracing::warn!(
            "the workers did not end within {} s; what they held in memory (counts, last uses) is \
             lost",
            WORKERS_TIMEOUT.as_secs()
        ),
    }
    served
}

/// Done when the process is asked to end (SIGTERM, Ctrl-C).
pub async fn wait_for_stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
