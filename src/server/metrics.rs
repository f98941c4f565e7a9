//! Figures for monitoring, in Prometheus' text format, on an address of their own. Labels are
//! words that stand in our source: no tenant, connection or person is ever one of them.
//!
//! Whatever is counted names a metric where it happens (`metrics::counter!`); without a recorder,
//! which only the server with `--metrics-listen` installs, that costs nothing. What the database
//! knows is read when it is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::context::App;
use crate::domain::connection::health;
use crate::server::request_trace::known_method;

/// The name that OpenTelemetry's conventions give it, as Prometheus spells it.
const REQUESTS: &str = "http_server_request_duration_seconds";
/// Bounds in seconds: from a lookup to a large preview.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// What a scrape may ask the database for.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Where the figures are kept.
#[derive(Clone)]
pub struct MetricsRecorder {
    app: Arc<App>,
    handle: PrometheusHandle,
    process: Collector,
}

impl MetricsRecorder {
    /// Begins to count, for the whole process.
    ///
    /// # Errors
    /// When another recorder is installed already.
    pub fn install_recorder(app: Arc<App>) -> Result<Self, String> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(REQUESTS.into()), &BOUNDS);
        let handle = builder
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|error| format!("cannot count for --metrics-listen: {error}"))?;
        describe_histogram!(REQUESTS, Unit::Seconds, "Time from a request to its answer.");
        describe_counter!(
            "rolecall_scim_operations_total",
            "SCIM operations by resource and outcome, a few seconds late."
        );
        describe_counter!(
            "rolecall_graphql_operations_total",
            "Operations of the management API by outcome."
        );
        describe_counter!(
            "http_server_connections_evicted",
            "Connections that waited for a request and were closed for a new one."
        );
        describe_counter!(
            "http_server_connections_refused",
            "Connections for which there was no place."
        );
        describe_counter!(
            "http_server_requests_refused",
            "Requests that were refused before they were read, by kind: malformed, too_large, \
             timeout."
        );
        describe_counter!(
            "rolecall_sign_ins_failed_total",
            "Failed sign-ins by interface, and whether they named an organization that exists."
        );
        describe_counter!("rolecall_task_runs_total", "Runs of each background task by outcome.");
        describe_gauge!(
            "rolecall_task_last_run_succeeded",
            "Whether the last run of each background task on this server succeeded: 1 or 0."
        );
        describe_histogram!(
            "rolecall_task_duration_seconds",
            Unit::Seconds,
            "Duration of each background task."
        );
        describe_gauge!(
            "rolecall_connections",
            "Live connections by state of health, as last found."
        );
        describe_gauge!("rolecall_failures_unfinished", "Work in the review queues by cause.");
        describe_gauge!(
            "rolecall_sync_runs_unfinished",
            "Runs that read a source and have not ended, by state."
        );
        describe_gauge!(
            "rolecall_ledger_unsealed",
            "Rows of the ledgers that wait to join their chain."
        );
        describe_gauge!(
            "rolecall_clock_skew_seconds",
            Unit::Seconds,
            "How far this machine's clock is ahead of the database's."
        );
        describe_gauge!(
            "rolecall_clock_behind_seconds",
            Unit::Seconds,
            "How far the time is behind the ledger's newest instant."
        );
        let process = Collector::default();
        process.describe();
        Ok(Self { app, handle, process })
    }

    /// Serves them until told to stop.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_metrics(
        self,
        listener: TcpListener,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let routes = Router::new().route("/metrics", get(render_metrics)).with_state(self);
        crate::http_listener::serve_connections(listener, routes, stop).await
    }
}

async fn render_metrics(State(figures): State<MetricsRecorder>) -> Response {
    figures.process.collect();
    match tokio::time::timeout(MAX_TIME, health::read_installation_metrics(&figures.app)).await {
        Ok(Ok(found)) => {
            for (name, label, value, n) in found {
                gauge!(name, label => value).set(n as f64);
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "what the database knows is missing from the metrics")
        }
        Err(_) => tracing::warn!("the database took too long for the metrics"),
    }
    figures.handle.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], figures.handle.render())
        .into_response()
}

/// Measures a request by the route that it matched.
pub async fn measure_request(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(String::new, |path| path.as_str().to_owned());
    let method = known_method(request.method());
    let response = next.run(request).await;
    let status = response.status();
    let labels = [
        ("http_request_method", method.to_owned()),
        ("http_route", route),
        ("http_response_status_code", status_text(status)),
    ];
    histogram!(REQUESTS, &labels).record(begun.elapsed().as_secs_f64());
    response
}

fn status_text(status: StatusCode) -> String {
    status.as_u16().to_string()
}
