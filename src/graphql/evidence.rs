//! Exports of evidence over HTTP: streamed, so that a report of any size takes the same memory, and signed at the end.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::http::Refusal;
use crate::attest::{self, Claims, Digest, Export};
use crate::context::Cx;
use crate::domain::evidence::{self, Place, Report};
use crate::domain::{access, organization};
use crate::error::{Error, Result};
use crate::ledger::{self, EventKind};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// RFC 4180, with the names of the columns first.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// `GET /evidence/{report}.{csv|jsonl}`: `access?asOf=…`, `leavers`, `mappings` and `changes?from=…&to=…[&actor=…]`.
pub async fn export(
    caller: Caller,
    Path(file): Path<String>,
    Query(parameters): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let request_id = caller.cx.request_id;
    match begin(caller, &file, &parameters).await {
        Ok(response) => response,
        Err(error) => Refusal::of(&error, request_id, &headers).into_response(),
    }
}

/// `GET /evidence/checkpoint`: where the chain of the ledger ends, signed. Keep it somewhere else: it shows later
/// that no tail was cut off.
pub async fn checkpoint(caller: Caller, headers: HeaderMap) -> Response {
    let request_id = caller.cx.request_id;
    let made = async {
        caller.inside()?;
        signed(&caller.cx, None).await
    };
    match made.await {
        Ok(signed) => ([(header::CONTENT_TYPE, "application/jose")], format!("{signed}\n")).into_response(),
        Err(error) => Refusal::of(&error, request_id, &headers).into_response(),
    }
}

async fn signed(cx: &Cx, export: Option<Export>) -> Result<String> {
    let (sequence, hash) = evidence::position(cx).await?;
    let claims = Claims {
        iss: cx.app.config.public_url.clone(),
        iat: cx.app.clock.now().timestamp(),
        organization: organization::current(cx).await?.slug,
        sequence,
        hash: ledger::hex(&hash),
        export,
    };
    attest::sign(&cx.app, &claims).map_err(Error::Internal)
}

async fn begin(caller: Caller, file: &str, parameters: &BTreeMap<String, String>) -> Result<Response> {
    caller.inside()?;
    let cx = caller.cx;
    let (name, format) = match file.rsplit_once('.') {
        Some((name, "csv")) => (name, Format::Csv),
        Some((name, "jsonl")) => (name, Format::JsonLines),
        _ => return Err(Error::not_found("the report")),
    };
    let report = asked(&cx, name, parameters).await?;
    // The first rows before the answer begins: whoever may not see them gets a refusal and no file.
    let first = evidence::read(&cx, &report, None).await?;
    let content_type = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::JsonLines => "application/jsonl",
    };
    let extent = extent(&report, format);
    // Written before a row leaves, so that an export that broke off shows, too.
    evidence::record_export(&cx, EventKind::EvidenceExportStarted, extent.clone()).await?;
    let disposition = format!("attachment; filename=\"rolecall-{file}\"");
    let digest = Digest::default();
    let writer = Writer { cx, report, format, extent, digest, rows: 0, state: Next::Head(first) };
    let body = Body::from_stream(stream::try_unfold(writer, Writer::next));
    let headers = [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((StatusCode::OK, headers, body).into_response())
}

async fn asked(cx: &Cx, name: &str, parameters: &BTreeMap<String, String>) -> Result<Report> {
    let known: &[&str] = match name {
        "access" => &["asOf"],
        "leavers" | "mappings" => &["from", "to"],
        "changes" => &["from", "to", "actor"],
        _ => return Err(Error::not_found("the report")),
    };
    if let Some(strange) = parameters.keys().find(|name| !known.contains(&name.as_str())) {
        let shown: String = strange.chars().take(40).collect();
        return Err(Error::invalid(shown, format!("is no parameter of this report; known are {}", known.join(", "))));
    }
    let instant = |name: &'static str| -> Result<Option<DateTime<Utc>>> {
        let Some(text) = parameters.get(name) else { return Ok(None) };
        let at = DateTime::parse_from_rfc3339(text)
            .map_err(|_| Error::invalid(name, "must be an instant as RFC 3339 writes it"))?;
        Ok(Some(at.with_timezone(&Utc)))
    };
    let settled = access::watermark(cx).await?;
    // What is not settled yet might read otherwise tomorrow.
    let bounded = |name: &'static str| -> Result<DateTime<Utc>> {
        match instant(name)? {
            Some(at) if at > settled => {
                Err(Error::invalid(name, format!("must not be after {}", settled.to_rfc3339())))
            }
            at => Ok(at.unwrap_or(settled)),
        }
    };
    if name == "access" {
        return Ok(Report::Access { at: bounded("asOf")? });
    }
    let (from, to) = (instant("from")?.unwrap_or(DateTime::UNIX_EPOCH), bounded("to")?);
    Ok(match name {
        "leavers" => Report::Leavers { from, to },
        "mappings" => Report::Mappings { from, to },
        _ => Report::Changes { from, to, actor: parameters.get("actor").cloned() },
    })
}

/// The file as it is being written.
struct Writer {
    cx: Cx,
    report: Report,
    format: Format,
    /// What is read out, as the ledger tells it.
    extent: Map<String, Value>,
    digest: Digest,
    rows: u64,
    state: Next,
}

enum Next {
    Head(evidence::Batch),
    Rows(Option<Place>),
    End,
}

impl Writer {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, std::io::Error> {
        let mut text = String::new();
        let batch = match std::mem::replace(&mut self.state, Next::End) {
            Next::End => return Ok(None),
            Next::Head(first) => {
                self.head(&mut text);
                first
            }
            Next::Rows(Some(place)) => {
                evidence::read(&self.cx, &self.report, Some(place)).await.map_err(std::io::Error::other)?
            }
            Next::Rows(None) => {
                let line = self.signature().await.map_err(std::io::Error::other)?;
                return Ok(Some((line.into(), self)));
            }
        };
        self.rows += batch.rows.len() as u64;
        for row in batch.rows {
            self.row(row, &mut text);
        }
        self.digest.update(text.as_bytes());
        self.state = Next::Rows(batch.next);
        Ok(Some((text.into(), self)))
    }

    fn head(&self, text: &mut String) {
        match self.format {
            Format::Csv => {
                text.push_str(&self.report.columns().join(","));
                text.push_str("\r\n");
            }
            Format::JsonLines => {
                let head = json!({
                    "report": self.report.name(), "parameters": parameters(&self.report), "controls": self.report.controls(),
                    "columns": self.report.columns(),
                });
                text.push_str(&one_line(&head));
            }
        }
    }

    fn row(&self, row: Vec<Value>, text: &mut String) {
        match self.format {
            Format::Csv => {
                let cells: Vec<String> = row.iter().map(cell).collect();
                text.push_str(&cells.join(","));
                text.push_str("\r\n");
            }
            Format::JsonLines => {
                let object: serde_json::Map<String, Value> =
                    self.report.columns().iter().map(|name| (*name).to_owned()).zip(row).collect();
                text.push_str(&one_line(&Value::Object(object)));
            }
        }
    }

    async fn signature(&mut self) -> Result<String> {
        let mut extent = std::mem::take(&mut self.extent);
        extent.insert("rows".into(), self.rows.into());
        evidence::record_export(&self.cx, EventKind::EvidenceExported, extent).await?;
        let export = Export {
            report: self.report.name().into(),
            parameters: parameters(&self.report),
            controls: self.report.controls().iter().map(|control| (*control).to_owned()).collect(),
            rows: self.rows,
            sha256: std::mem::take(&mut self.digest).finish(),
        };
        let signed = signed(&self.cx, Some(export)).await?;
        Ok(attest::last_line(&signed, self.format == Format::JsonLines))
    }
}

/// What a report is asked for, as it was understood.
fn parameters(report: &Report) -> Value {
    let text = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    match report {
        Report::Access { at } => json!({ "asOf": text(at) }),
        Report::Leavers { from, to } | Report::Mappings { from, to } => json!({ "from": text(from), "to": text(to) }),
        Report::Changes { from, to, actor } => json!({ "from": text(from), "to": text(to), "actor": actor }),
    }
}

/// What an export reads out, as the ledger tells it.
fn extent(report: &Report, format: Format) -> Map<String, Value> {
    let format = match format {
        Format::Csv => "csv",
        Format::JsonLines => "jsonl",
    };
    [("report", report.name().into()), ("format", format.into()), ("parameters", parameters(report))]
        .map(|(name, value): (&str, Value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

/// A value as a field of CSV (RFC 4180). What a spreadsheet would take for a formula is told to be text.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        other => return other.to_string(),
    };
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
    };
    match text.contains([',', '"']) || text.contains(ends_line) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// JSON on one line, whatever its reader takes for the end of one.
fn one_line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        match ends_line(c) {
            true => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => line.push(c),
        }
    }
    line + "\n"
}

/// Whether some reader of text takes this for the end of a line (Unicode Standard, section 5.8, and controls).
fn ends_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}
