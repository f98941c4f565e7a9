//! `POST /bulk`: the lines arrive as JSON Lines and go into the database as they come, so that a file of any size that
//! is allowed takes the same memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::json;
use uuid::Uuid;

use super::super::Door;
use super::super::auth::Caller;
use super::super::http;
use super::super::operation::Fault;
use super::super::page::{self, Kind};
use super::line::Line;
use crate::context::Cx;
use crate::domain::bulk::{self, Job, NewLine};

/// The most bytes of one upload.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most lines of one upload.
const MAX_LINES: i64 = 100_000;
/// The longest line, in bytes.
const MAX_LINE: usize = 256 * 1024;
/// Longest time that an upload may take.
const MAX_TIME: Duration = Duration::from_secs(5 * 60);
/// Lines, and bytes of them, that go into the database at once.
const PART_LINES: usize = 500;
const PART_BYTES: usize = 1024 * 1024;

/// `POST /bulk`: answers with the job, which is carried out in the background.
pub async fn post(State(door): State<Arc<Door>>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    let request_id = caller.cx.request_id;
    match take(&door, &caller, &headers, body).await {
        Ok(job) => {
            let id = page::global(Kind::BulkJob, job.id);
            let body = json!({ "bulkJob": { "id": id.as_str(), "status": "QUEUED", "lineCount": job.lines } });
            let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
            if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
                response.headers_mut().insert("x-request-id", id);
            }
            response
        }
        Err(fault) => http::refused(fault, request_id, &headers),
    }
}

async fn take(door: &Door, caller: &Caller, headers: &HeaderMap, body: Body) -> Result<Job, Fault> {
    let cx = &caller.cx;
    let of = |error| Fault::of(&error, cx.request_id);
    caller.inside().map_err(of)?;
    if door.documents.are_listed() {
        let message = "this server runs only the operations that its operator has listed, one by one";
        return Err(Fault::new(StatusCode::FORBIDDEN, "OPERATION_NOT_ALLOWED", message));
    }
    // A form in a foreign page can send text, but not these, without asking first.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/jsonl", "application/x-ndjson"].contains(&essence.as_str()) {
        let message = "send one JSON object a line, as application/jsonl or application/x-ndjson";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_USER_INPUT", message));
    }
    let announced = http::announced(headers);
    if announced.is_some_and(|bytes| bytes > MAX_BYTES as u64) {
        return Err(too_large(format!("the file is larger than {MAX_BYTES} bytes")));
    }
    door.charge(caller, announced.unwrap_or_default())?;
    let job = bulk::begin(cx, caller.until, announced).await.map_err(of)?;
    let payer = announced.is_none().then_some((door, caller));
    let taken = match tokio::time::timeout(MAX_TIME, Upload::new(cx, job, payer).read(body)).await {
        Ok(taken) => taken,
        Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "BAD_USER_INPUT", "the upload took too long")),
    };
    match taken {
        Ok(lines) => bulk::submit(cx, job, lines).await.map_err(of),
        Err(fault) => {
            if let Err(error) = bulk::discard(cx, job).await {
                tracing::warn!(%error, "discarding an upload failed; it is forgotten later");
            }
            Err(fault)
        }
    }
}

/// An upload as it arrives.
struct Upload<'a> {
    cx: &'a Cx,
    job: Uuid,
    /// The line that has begun.
    open: Vec<u8>,
    /// Lines for the database.
    ready: Vec<NewLine>,
    ready_bytes: usize,
    /// Lines so far, blank ones too: the number of the last.
    number: i64,
    /// Lines so far without the blank ones.
    count: i64,
    /// Who pays for each part as it comes; none if all of it was paid for when it was announced.
    payer: Option<(&'a Door, &'a Caller)>,
}

impl<'a> Upload<'a> {
    fn new(cx: &'a Cx, job: Uuid, payer: Option<(&'a Door, &'a Caller)>) -> Self {
        Self { cx, job, open: Vec::new(), ready: Vec::new(), ready_bytes: 0, number: 0, count: 0, payer }
    }

    /// Reads to the end; how many lines there were.
    async fn read(mut self, body: Body) -> Result<i64, Fault> {
        let mut body = body.into_data_stream();
        let mut bytes = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| Fault::bad("the file did not arrive in full"))?;
            bytes += chunk.len();
            if bytes > MAX_BYTES {
                return Err(too_large(format!("the file is larger than {MAX_BYTES} bytes")));
            }
            let mut rest = chunk.as_ref();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, further) = rest.split_at(end);
                self.extend(line)?;
                self.close().await?;
                rest = further.get(1..).unwrap_or_default();
            }
            self.extend(rest)?;
        }
        self.close().await?;
        self.store().await?;
        match self.count {
            0 => Err(Fault::bad("the file holds no line")),
            count => Ok(count),
        }
    }

    fn extend(&mut self, piece: &[u8]) -> Result<(), Fault> {
        if self.open.len() + piece.len() > MAX_LINE {
            return Err(too_large(format!("line {} is longer than {MAX_LINE} bytes", self.number + 1)));
        }
        self.open.extend_from_slice(piece);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Fault> {
        self.number += 1;
        let input = std::mem::take(&mut self.open);
        if input.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.count += 1;
        if self.count > MAX_LINES {
            return Err(too_large(format!("the file has more than {MAX_LINES} lines")));
        }
        // What is wrong with a line is said in its result; here it only matters whom it is about.
        let user = Line::read(&input).ok().and_then(|line| line.user());
        self.ready_bytes += input.len();
        self.ready.push(NewLine { number: self.number, input, user });
        match self.ready.len() >= PART_LINES || self.ready_bytes >= PART_BYTES {
            true => self.store().await,
            false => Ok(()),
        }
    }

    async fn store(&mut self) -> Result<(), Fault> {
        if let Some((door, caller)) = self.payer {
            door.charge(caller, self.ready_bytes as u64)?;
        }
        self.ready_bytes = 0;
        let ready = std::mem::take(&mut self.ready);
        if ready.is_empty() {
            return Ok(());
        }
        bulk::append(self.cx, self.job, ready).await.map_err(|error| Fault::of(&error, self.cx.request_id))
    }
}

fn too_large(message: String) -> Fault {
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_USER_INPUT", message)
}
