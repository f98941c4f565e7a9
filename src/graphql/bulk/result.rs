//! `GET /bulk/{id}/result.jsonl`: the results of the lines that were carried out so far, streamed
//! in the order of the lines.

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Map, Value as Data, json};

use super::super::auth::ApiCaller;
use super::super::http::CallerRejection;
use super::line;
use crate::domain::bulk;
use crate::domain::bulk::{Job, LineResult};
use crate::error::{Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// `GET /bulk/{id}/result.jsonl`.
pub async fn get_bulk_result(
    caller: ApiCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let request_id = caller.cx.request_id;
    match stream_results(caller, id).await {
        Ok(response) => response,
        Err(error) => CallerRejection::from_error(&error, request_id, &headers).into_response(),
    }
}

async fn stream_results(caller: ApiCaller, id: String) -> Result<Response> {
    caller.require_organization()?;
    let cx = caller.cx;
    let job =
        bulk::get_job(&cx, relay::parse_input_id(NodeKind::BulkJob, &id.into(), Noun::BulkJob)?)
            .await?;
    let file = stream::try_unfold((cx, job, 0), |(cx, job, after)| async move {
        let part = bulk::list_results(&cx, &job, after).await.map_err(std::io::Error::other)?;
        let Some(last) = part.last().map(|done| done.line) else {
            return Ok::<_, std::io::Error>(None);
        };
        let text: String =
            part.into_iter().map(|done| format!("{}\n", build_result_line(&job, done))).collect();
        Ok(Some((Bytes::from(text), (cx, job, last))))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"result.jsonl\""),
    ];
    Ok((headers, Body::from_stream(file)).into_response())
}

/// A line of the file.
fn build_result_line(job: &Job, done: LineResult) -> Data {
    let parsed = |text: &str| {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::error!(%error, job = %job.id, line = done.line, "a stored result is damaged");
            Data::Null
        })
    };
    let result = line::restore_messages(parsed(&done.result), done.words.as_deref().map(parsed));
    let mut whole = Map::from_iter([
        ("line".to_owned(), json!(done.line)),
        ("requestId".to_owned(), json!(done.request_id)),
    ]);
    if let Data::Object(result) = result {
        whole.extend(result);
    }
    Data::Object(whole)
}
