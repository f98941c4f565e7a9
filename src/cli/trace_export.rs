//! Export of traces to a collector, by OTLP over HTTP. The settings of OpenTelemetry's own
//! (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, …) hold too: its library reads them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use uuid::Uuid;

use crate::cli::logging::LogLayer;
use crate::http_client::GuardedClient;
use crate::trace_context::SPAN_TARGET;

/// What is exported at the end may take so long.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long the collector may take for one answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer of a collector, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The running export.
#[derive(Debug)]
pub struct TraceExport(SdkTracerProvider);

impl TraceExport {
    /// Begins to export to the collector at `endpoint`; the layer takes the spans.
    ///
    /// # Errors
    /// One line for the operator, when the endpoint is no URL.
    pub fn begin_export(endpoint: &str) -> Result<(Self, LogLayer), String> {
        let wrong = |why: &dyn std::fmt::Display| format!("--otlp-endpoint {endpoint:?}: {why}");
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let parsed = reqwest::Url::parse(&url).map_err(|_| wrong(&"must be a full URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong(&"must start with http:// or https://"));
        }
        // The collector is the operator's own, so it may be in a private network.
        let client = Arc::new(GuardedClient::with_time_limit(true, EXPORT_TIMEOUT)?);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(ExportClient { client, runtime: Handle::current() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .build()
            .map_err(|error| wrong(&error))?;
        let resource = Resource::builder().with_service_name("rolecall").with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        ]);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_tracer(provider.tracer("rolecall"))
            // Lines of the log are not exported: the text of an error may name a person.
            .with_filter(Targets::new().with_target(SPAN_TARGET, LevelFilter::DEBUG));
        Ok((Self(provider), layer.boxed()))
    }

    /// Exports what is left.
    pub async fn finish_export(self) {
        // It blocks its thread. An error is told in the log, and is all that can be done.
        let _ =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
    }
}

/// Sends what the exporter's own thread has encoded, on the program's runtime.
#[derive(Debug)]
struct ExportClient {
    client: Arc<GuardedClient>,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let (head, body) = request.into_parts();
        let url = reqwest::Url::parse(&head.uri.to_string())?;
        let sent = self.runtime.spawn(async move {
            client.post_untraced(&url, head.headers, body.to_vec(), MAX_ANSWER_BYTES).await
        });
        let answer = sent.await??;
        Ok(Response::builder().status(answer.status).body(Bytes::from(answer.body))?)
    }
}
