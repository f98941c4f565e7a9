//! `POST /bulk`: a client uploads JSON Lines, which are stored in the database as they arrive, so
//! that a file of any allowed size takes the same memory.

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

use super::super::GraphqlState;
use super::super::auth::ApiCaller;
use super::super::http;
use super::line::BulkOperation;
use crate::context::Cx;
use crate::domain::bulk;
use crate::domain::bulk::{Job, NewLine};
use crate::graphql::error_code::ErrorCode;
use crate::graphql::execute::RequestError;
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// The most bytes of one upload.
const MAX_UPLOAD_BYTES: usize = 64 * 1024 * 1024;
/// The most lines of one upload.
const MAX_UPLOAD_LINES: i64 = 100_000;
/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// Longest time that an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Lines, and bytes of them, that are stored in the database at once.
const MAX_BATCH_LINES: usize = 500;
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// `POST /bulk`: answers with the job, which is carried out in the background.
pub async fn post_bulk_job(
    State(door): State<Arc<GraphqlState>>,
    caller: ApiCaller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let request_id = caller.cx.request_id;
    match receive_upload(&door, &caller, &headers, body).await {
        Ok(job) => {
            let id = relay::global_id(NodeKind::BulkJob, job.id);
            let body = json!({
                "bulkJob": { "id": id.as_str(), "state": "QUEUED", "lineCount": job.lines },
            });
            let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
            if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
                response.headers_mut().insert("x-request-id", id);
            }
            response
        }
        Err(fault) => http::build_error_response(fault, request_id, &headers),
    }
}

async fn receive_upload(
    door: &GraphqlState,
    caller: &ApiCaller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Job, RequestError> {
    let cx = &caller.cx;
    let of = |error| RequestError::from_error(&error, cx.request_id);
    caller.require_organization().map_err(of)?;
    if door.documents.is_allow_list() {
        let message =
            "this server runs only the operations that its operator has listed, and no bulk jobs";
        return Err(RequestError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::OperationNotAllowed,
            message,
        ));
    }
    // A form on a page of another site can send text without a CORS preflight, but not these types.
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/jsonl", "application/x-ndjson"].contains(&essence.as_str()) {
        let message = "send one JSON object a line, as application/jsonl or application/x-ndjson";
        return Err(RequestError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::BadUserInput,
            message,
        ));
    }
    let announced = http::parse_content_length(headers);
    if announced.is_some_and(|bytes| bytes > MAX_UPLOAD_BYTES as u64) {
        return Err(too_large(format!("the file is larger than {MAX_UPLOAD_BYTES} bytes")));
    }
    door.charge_upload(caller, announced.unwrap_or_default())?;
    let job = bulk::begin_upload(cx, caller.until, announced).await.map_err(of)?;
    let payer = announced.is_none().then_some((door, caller));
    let taken = match tokio::time::timeout(
        UPLOAD_TIMEOUT,
        BulkUpload::new(cx, job, payer).read_lines(body),
    )
    .await
    {
        Ok(taken) => taken,
        Err(_) => Err(RequestError::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::BadUserInput,
            "the upload took too long",
        )),
    };
    match taken {
        Ok(lines) => bulk::submit_job(cx, job, lines).await.map_err(of),
        Err(fault) => {
            if let Err(error) = bulk::discard_upload(cx, job).await {
                tracing::warn!(%error, "discarding an upload failed; it is removed later");
            }
            Err(fault)
        }
    }
}

/// An upload as it arrives.
struct BulkUpload<'a> {
    cx: &'a Cx,
    job: Uuid,
    /// The bytes of the line that is arriving.
    open: Vec<u8>,
    /// Complete lines that are not stored yet.
    ready: Vec<NewLine>,
    ready_bytes: usize,
    /// Lines so far, blank ones too: the number of the last.
    number: i64,
    /// Lines so far without the blank ones.
    count: i64,
    /// The caller that pays for each batch as it arrives; none if the upload was charged when its
    /// size was announced.
    payer: Option<(&'a GraphqlState, &'a ApiCaller)>,
}

impl<'a> BulkUpload<'a> {
    fn new(cx: &'a Cx, job: Uuid, payer: Option<(&'a GraphqlState, &'a ApiCaller)>) -> Self {
        Self {
            cx,
            job,
            open: Vec::new(),
            ready: Vec::new(),
            ready_bytes: 0,
            number: 0,
            count: 0,
            payer,
        }
    }

    /// Reads the upload to its end. Returns the number of lines.
    async fn read_lines(mut self, body: Body) -> Result<i64, RequestError> {
        let mut body = body.into_data_stream();
        let mut bytes = 0;
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|_| RequestError::bad_request("the file did not arrive in full"))?;
            bytes += chunk.len();
            if bytes > MAX_UPLOAD_BYTES {
                return Err(too_large(format!("the file is larger than {MAX_UPLOAD_BYTES} bytes")));
            }
            let mut rest = chunk.as_ref();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, further) = rest.split_at(end);
                self.extend_line(line)?;
                self.finish_line().await?;
                rest = further.get(1..).unwrap_or_default();
            }
            self.extend_line(rest)?;
        }
        self.finish_line().await?;
        self.store_lines().await?;
        match self.count {
            0 => Err(RequestError::bad_request("the file holds no line")),
            count => Ok(count),
        }
    }

    fn extend_line(&mut self, piece: &[u8]) -> Result<(), RequestError> {
        if self.open.len() + piece.len() > MAX_LINE_BYTES {
            return Err(too_large(format!(
                "line {} is longer than {MAX_LINE_BYTES} bytes",
                self.number + 1
            )));
        }
        self.open.extend_from_slice(piece);
        Ok(())
    }

    async fn finish_line(&mut self) -> Result<(), RequestError> {
        self.number += 1;
        let input = std::mem::take(&mut self.open);
        if input.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.count += 1;
        if self.count > MAX_UPLOAD_LINES {
            return Err(too_large(format!("the file has more than {MAX_UPLOAD_LINES} lines")));
        }
        // Mistakes in a line are reported in its result; here only the account that it names
        // matters.
        let user = BulkOperation::parse_line(&input).ok().and_then(|line| line.target_user());
        self.ready_bytes += input.len();
        self.ready.push(NewLine { number: self.number, input, user });
        if self.ready.len() >= MAX_BATCH_LINES || self.ready_bytes >= MAX_BATCH_BYTES {
            self.store_lines().await?;
        }
        Ok(())
    }

    async fn store_lines(&mut self) -> Result<(), RequestError> {
        if let Some((door, caller)) = self.payer {
            door.charge_upload(caller, self.ready_bytes as u64)?;
        }
        self.ready_bytes = 0;
        let ready = std::mem::take(&mut self.ready);
        if ready.is_empty() {
            return Ok(());
        }
        bulk::append_lines(self.cx, self.job, ready)
            .await
            .map_err(|error| RequestError::from_error(&error, self.cx.request_id))
    }
}

fn too_large(message: String) -> RequestError {
    RequestError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BadUserInput, message)
}
