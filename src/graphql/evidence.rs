//! Exports of evidence over HTTP: streamed, so that a report of any size takes the same memory, and
//! signed at the end.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream;
use serde_json::{Map, Value, json};

use super::auth::ApiCaller;
use super::http::CallerRejection;
use crate::context::Cx;
use crate::domain::access;
use crate::domain::audit::evidence;
use crate::domain::audit::evidence::{EvidenceReport, ReportPlace};
use crate::domain::tenant::organization;
use crate::error::{Error, Noun, Result};
use crate::ledger::EventKind;
use crate::ledger::attestation;
use crate::ledger::attestation::{AttestationClaims, AttestedExport, ExportDigest};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EvidenceFormat {
    /// RFC 4180, with the names of the columns first.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// `GET /evidence/{report}.{csv|jsonl}`: `access?asOf=…`, `leavers`, `mappings` and
/// `changes?from=…&to=…[&actor=…]`.
pub async fn get_report(
    caller: ApiCaller,
    Path(file): Path<String>,
    Query(parameters): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let request_id = caller.cx.request_id;
    match start_export(caller, &file, &parameters).await {
        Ok(response) => response,
        Err(error) => CallerRejection::from_error(&error, request_id, &headers).into_response(),
    }
}

/// `GET /evidence/checkpoint`: the current end of the ledger's chain, signed. An auditor keeps it
/// outside of this server, to see later whether events were removed from the end.
pub async fn get_checkpoint(caller: ApiCaller, headers: HeaderMap) -> Response {
    let request_id = caller.cx.request_id;
    let made = async {
        caller.require_organization()?;
        sign_attestation(&caller.cx, None).await
    };
    match made.await {
        Ok(signed) => {
            ([(header::CONTENT_TYPE, "application/jose")], format!("{signed}\n")).into_response()
        }
        Err(error) => CallerRejection::from_error(&error, request_id, &headers).into_response(),
    }
}

async fn sign_attestation(cx: &Cx, export: Option<AttestedExport>) -> Result<String> {
    let (sequence, hash) = evidence::ledger_position(cx).await?;
    let claims = AttestationClaims {
        iss: cx.app.config.public_url.clone(),
        iat: cx.app.clock.now().timestamp(),
        organization: organization::current_organization(cx).await?.slug,
        sequence,
        hash: hex::encode(&hash),
        export,
    };
    attestation::sign_attestation(&cx.app.vault, cx.app.clock.now(), &claims)
        .map_err(Error::Internal)
}

async fn start_export(
    caller: ApiCaller,
    file: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Response> {
    caller.require_organization()?;
    let cx = caller.cx;
    let (name, format) = match file.rsplit_once('.') {
        Some((name, "csv")) => (name, EvidenceFormat::Csv),
        Some((name, "jsonl")) => (name, EvidenceFormat::JsonLines),
        _ => return Err(Error::not_found(Noun::Report)),
    };
    let report = parse_report(&cx, name, parameters).await?;
    // The first rows are read before the response begins, so that a caller without permission gets
    // an error and no file.
    let first = evidence::read_batch(&cx, &report, None).await?;
    let content_type = match format {
        EvidenceFormat::Csv => "text/csv; charset=utf-8",
        EvidenceFormat::JsonLines => "application/jsonl",
    };
    let extent = describe_export(&report, format);
    // Recorded before the first row is sent, so that the ledger also shows an export that broke
    // off.
    evidence::record_export(&cx, EventKind::EvidenceExportStarted, extent.clone()).await?;
    let disposition = format!("attachment; filename=\"rolecall-{file}\"");
    let digest = ExportDigest::default();
    let writer = EvidenceWriter {
        cx,
        report,
        format,
        extent,
        digest,
        rows: 0,
        state: EvidenceWriterState::Head(first),
    };
    let body = Body::from_stream(stream::try_unfold(writer, EvidenceWriter::next_chunk));
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((StatusCode::OK, headers, body).into_response())
}

async fn parse_report(
    cx: &Cx,
    name: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<EvidenceReport> {
    let known: &[&str] = match name {
        "access" => &["asOf"],
        "leavers" | "mappings" => &["from", "to"],
        "changes" => &["from", "to", "actor"],
        _ => return Err(Error::not_found(Noun::Report)),
    };
    if let Some(strange) = parameters.keys().find(|name| !known.contains(&name.as_str())) {
        let shown: String = strange.chars().take(40).collect();
        return Err(Error::invalid(
            shown,
            format!("is not a parameter of this report; it takes {}", known.join(", ")),
        ));
    }
    let instant = |name: &'static str| -> Result<Option<DateTime<Utc>>> {
        let Some(text) = parameters.get(name) else { return Ok(None) };
        let at = DateTime::parse_from_rfc3339(text)
            .map_err(|_| Error::invalid(name, "must be an instant as RFC 3339 writes it"))?;
        Ok(Some(at.with_timezone(&Utc)))
    };
    let settled = access::settled_watermark(cx).await?;
    // Writes can still be added after the watermark, so a later export of that time could differ.
    let bounded = |name: &'static str| -> Result<DateTime<Utc>> {
        match instant(name)? {
            Some(at) if at > settled => {
                Err(Error::invalid(name, format!("must not be after {}", settled.to_rfc3339())))
            }
            at => Ok(at.unwrap_or(settled)),
        }
    };
    if name == "access" {
        return Ok(EvidenceReport::Access { at: bounded("asOf")? });
    }
    let (from, to) = (instant("from")?.unwrap_or(DateTime::UNIX_EPOCH), bounded("to")?);
    Ok(match name {
        "leavers" => EvidenceReport::Leavers { from, to },
        "mappings" => EvidenceReport::Mappings { from, to },
        _ => EvidenceReport::Changes { from, to, actor: parameters.get("actor").cloned() },
    })
}

/// The file as it is being written.
struct EvidenceWriter {
    cx: Cx,
    report: EvidenceReport,
    format: EvidenceFormat,
    /// What the export contains, as the ledger records it.
    extent: Map<String, Value>,
    digest: ExportDigest,
    rows: u64,
    state: EvidenceWriterState,
}

enum EvidenceWriterState {
    Head(evidence::ReportBatch),
    Rows(Option<ReportPlace>),
    End,
}

impl EvidenceWriter {
    async fn next_chunk(mut self) -> Result<Option<(Bytes, Self)>, std::io::Error> {
        let mut text = String::new();
        let batch = match std::mem::replace(&mut self.state, EvidenceWriterState::End) {
            EvidenceWriterState::End => return Ok(None),
            EvidenceWriterState::Head(first) => {
                self.write_head(&mut text);
                first
            }
            EvidenceWriterState::Rows(Some(place)) => {
                evidence::read_batch(&self.cx, &self.report, Some(place))
                    .await
                    .map_err(std::io::Error::other)?
            }
            EvidenceWriterState::Rows(None) => {
                let line = self.finish_export().await.map_err(std::io::Error::other)?;
                return Ok(Some((line.into(), self)));
            }
        };
        self.rows += batch.rows.len() as u64;
        for row in batch.rows {
            self.write_row(row, &mut text);
        }
        self.digest.update(text.as_bytes());
        self.state = EvidenceWriterState::Rows(batch.next);
        Ok(Some((text.into(), self)))
    }

    fn write_head(&self, text: &mut String) {
        match self.format {
            EvidenceFormat::Csv => {
                text.push_str(&self.report.column_names().join(","));
                text.push_str("\r\n");
            }
            EvidenceFormat::JsonLines => {
                let head = json!({
                    "report": self.report.name(), "parameters": report_parameters(&self.report),
                    "controls": self.report.evidenced_controls(),
                    "columns": self.report.column_names(),
                });
                text.push_str(&to_json_line(&head));
            }
        }
    }

    fn write_row(&self, row: Vec<Value>, text: &mut String) {
        match self.format {
            EvidenceFormat::Csv => {
                let cells: Vec<String> = row.iter().map(to_csv_field).collect();
                text.push_str(&cells.join(","));
                text.push_str("\r\n");
            }
            EvidenceFormat::JsonLines => {
                let object: serde_json::Map<String, Value> = self
                    .report
                    .column_names()
                    .iter()
                    .map(|name| (*name).to_owned())
                    .zip(row)
                    .collect();
                text.push_str(&to_json_line(&Value::Object(object)));
            }
        }
    }

    async fn finish_export(&mut self) -> Result<String> {
        let mut extent = std::mem::take(&mut self.extent);
        extent.insert("rows".into(), self.rows.into());
        evidence::record_export(&self.cx, EventKind::EvidenceExported, extent).await?;
        let export = AttestedExport {
            report: self.report.name().into(),
            parameters: report_parameters(&self.report),
            controls: self
                .report
                .evidenced_controls()
                .iter()
                .map(|control| (*control).to_owned())
                .collect(),
            rows: self.rows,
            sha256: std::mem::take(&mut self.digest).finish_hex(),
        };
        let signed = sign_attestation(&self.cx, Some(export)).await?;
        Ok(attestation::last_line(&signed, self.format == EvidenceFormat::JsonLines))
    }
}

/// The report's parameters, as they were understood.
fn report_parameters(report: &EvidenceReport) -> Value {
    let text = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    match report {
        EvidenceReport::Access { at } => json!({ "asOf": text(at) }),
        EvidenceReport::Leavers { from, to } | EvidenceReport::Mappings { from, to } => {
            json!({ "from": text(from), "to": text(to) })
        }
        EvidenceReport::Changes { from, to, actor } => {
            json!({ "from": text(from), "to": text(to), "actor": actor })
        }
    }
}

/// What an export contains, as the ledger records it.
fn describe_export(report: &EvidenceReport, format: EvidenceFormat) -> Map<String, Value> {
    let format = match format {
        EvidenceFormat::Csv => "csv",
        EvidenceFormat::JsonLines => "jsonl",
    };
    [
        ("report", report.name().into()),
        ("format", format.into()),
        ("parameters", report_parameters(report)),
    ]
    .map(|(name, value): (&str, Value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

/// A value as a field of CSV (RFC 4180). An apostrophe before a text that a spreadsheet would take
/// for a formula makes it plain text.
fn to_csv_field(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
        }
        other => return other.to_string(),
    };
    let text =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text };
    if text.contains([',', '"']) || text.contains(is_line_end) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// JSON on one line: every character that a reader could take for the end of a line is escaped.
fn to_json_line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        if is_line_end(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line + "\n"
}

/// Whether a reader of text could take this for the end of a line (Unicode Standard, section 5.8,
/// and controls).
fn is_line_end(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}
