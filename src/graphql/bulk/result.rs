//! `GET /bulk/{id}/result.jsonl`: what came of the lines that were carried out so far, streamed in their order.

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Map, Value as Data, json};

use super::super::auth::Caller;
use super::super::http::Refusal;
use super::super::page::{self, Kind};
use super::line;
use crate::domain::bulk::{self, Done, Job};
use crate::error::Result;

/// `GET /bulk/{id}/result.jsonl`.
pub async fn get(caller: Caller, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let request_id = caller.cx.request_id;
    match begin(caller, id).await {
        Ok(response) => response,
        Err(error) => Refusal::of(&error, request_id, &headers).into_response(),
    }
}

async fn begin(caller: Caller, id: String) -> Result<Response> {
    caller.inside()?;
    let cx = caller.cx;
    let job = bulk::get(&cx, page::id(Kind::BulkJob, &id.into(), "the bulk job")?).await?;
    let file = stream::try_unfold((cx, job, 0), |(cx, job, after)| async move {
        let part = bulk::results(&cx, &job, after).await.map_err(std::io::Error::other)?;
        let Some(last) = part.last().map(|done| done.line) else { return Ok::<_, std::io::Error>(None) };
        let text: String = part.into_iter().map(|done| format!("{}\n", written(&job, done))).collect();
        Ok(Some((Bytes::from(text), (cx, job, last))))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"result.jsonl\""),
    ];
    Ok((headers, Body::from_stream(file)).into_response())
}

/// A line of the file.
fn written(job: &Job, done: Done) -> Data {
    let parsed = |text: &str| {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::error!(%error, job = %job.id, line = done.line, "a kept result is damaged");
            Data::Null
        })
    };
    let result = line::whole(parsed(&done.result), done.words.as_deref().map(parsed));
    let mut whole =
        Map::from_iter([("line".to_owned(), json!(done.line)), ("requestId".to_owned(), json!(done.request_id))]);
    if let Data::Object(result) = result {
        whole.extend(result);
    }
    Data::Object(whole)
}
