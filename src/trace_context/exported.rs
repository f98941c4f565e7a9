//! Places in the traces that OpenTelemetry exports.

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use reqwest::header::HeaderMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A place in a trace. It does not keep the span open.
#[derive(Debug, Clone)]
pub struct TraceContext(SpanContext);

impl TraceContext {
    /// The place of a span; none if it is not exported.
    pub fn from_span(span: &Span) -> Option<Self> {
        Self::from_context(&span.context())
    }

    /// The place that a client names by the headers of W3C Trace Context.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key("traceparent") {
            return None;
        }
        let extracted = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(headers));
        Self::from_context(&extracted)
    }

    fn from_context(context: &Context) -> Option<Self> {
        let place = context.span().span_context().clone();
        place.is_valid().then_some(Self(place))
    }

    /// The headers of W3C Trace Context, for a call to another server.
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let context = Context::new().with_remote_span_context(self.0.clone());
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(&mut headers));
        headers
    }

    /// Makes `span` a child of what stands here. The span must not have been entered.
    pub fn adopt_span(&self, span: &Span) {
        // It fails for a span that is not exported, which has no parent to set.
        let _ = span.set_parent(Context::new().with_remote_span_context(self.0.clone()));
    }

    /// Links `span` with what stands here.
    pub fn link_span(&self, span: &Span) {
        span.add_link(self.0.clone());
    }
}
