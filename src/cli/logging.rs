//! The log, on standard error: lines for people, or JSON for programs.

use std::error::Error;
use std::fmt;
use std::io::{IsTerminal, stderr};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::fmt::{FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::LogFormat;

/// A layer that gets log lines and spans.
pub type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What is logged by default: our own lines, and what goes wrong elsewhere.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn,sea_orm_migration=warn,opentelemetry=warn";

/// Lines that wait to be written. Further ones are dropped: a reader of standard error that is slow
/// or gone must not hold up requests.
const MAX_WAITING_LINES: usize = 8192;

/// Fields of spans that say to a collector what a line of the log says in words of its own.
const TRACE_ONLY_FIELDS: [&str; 4] = ["otel.", "http.", "url.", "error.type"];

/// Begins to log what `ROLECALL_LOG` says, or else `default_filter`, and to pass spans to
/// `exporter`. Lines are written until the guard is dropped, which waits a moment for the last
/// ones.
pub fn install_log(
    format: LogFormat,
    default_filter: &str,
    exporter: Option<LogLayer>,
) -> WorkerGuard {
    let filter =
        EnvFilter::try_from_env("ROLECALL_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    // A line of the log that cannot be written is lost; to complain of it in the same place would
    // end the process.
    let builder = NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING_LINES).lossy(true);
    let (writer, guard) = builder.finish(stderr());
    let log = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let log: LogLayer = match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => log.with_ansi(use_colors()).fmt_fields(ReadableFields).boxed(),
    };
    let mut layers: Vec<LogLayer> = vec![log.with_filter(filter).boxed()];
    layers.extend(exporter);
    tracing_subscriber::registry().with(layers).init();
    guard
}

/// Whether the log may have colors: on a terminal, unless `NO_COLOR` (no-color.org) is set.
fn use_colors() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && stderr().is_terminal()
}

/// Writes the fields that people read.
struct ReadableFields;

impl<'writer> FormatFields<'writer> for ReadableFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = ReadableVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let is_first = current.fields.is_empty();
        let mut visitor = ReadableVisitor(DefaultVisitor::new(current.as_writer(), is_first));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct ReadableVisitor<'a>(DefaultVisitor<'a>);

impl Visit for ReadableVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if is_readable(field) {
            self.0.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if is_readable(field) {
            self.0.record_error(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if is_readable(field) {
            self.0.record_debug(field, value);
        }
    }
}

fn is_readable(field: &Field) -> bool {
    !TRACE_ONLY_FIELDS.iter().any(|prefix| field.name().starts_with(prefix))
}
