//! What the server says about itself (RFC 7644 section 4).

use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::query::complete;
use super::schema;
use super::wire::{Caller, Failure, answer};
use crate::domain::connection;
use crate::error::Error;

type Answer = Result<Response, Failure>;

pub async fn service_provider_config(Caller { cx, base_url, .. }: Caller) -> Answer {
    let announce = connection::own(&cx).await?.announces_cursor_paging;
    Ok(answer(StatusCode::OK, schema::service_provider_config(&base_url, announce).to_string()))
}

pub async fn resource_types(Caller { base_url, types, .. }: Caller, query: RawQuery) -> Answer {
    all(&schema::resource_types(&types, &base_url), &query)
}

pub async fn resource_type(Caller { base_url, types, .. }: Caller, path: Path<(String, String)>) -> Answer {
    let Path((_, name)) = path;
    one(schema::resource_types(&types, &base_url).into_iter().find(|ty| ty["id"] == name.as_str()), "the resource type")
}

pub async fn schemas(Caller { base_url, types, .. }: Caller, query: RawQuery) -> Answer {
    all(&schema::schemas(&types, &base_url), &query)
}

pub async fn schema(Caller { base_url, types, .. }: Caller, path: Path<(String, String)>) -> Answer {
    let Path((_, urn)) = path;
    one(schema::schema(&types, &base_url, &urn), "the schema")
}

fn all(resources: &[Value], RawQuery(query): &RawQuery) -> Answer {
    // RFC 7644 section 4: discovery is never filtered, and says so.
    let filtered = query.as_deref().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("filter=")));
    if filtered {
        return Err(Error::Forbidden("this endpoint cannot be filtered".into()).into());
    }
    let texts: Vec<String> = resources.iter().map(Value::to_string).collect();
    Ok(answer(StatusCode::OK, complete(&texts)))
}

fn one(found: Option<Value>, what: &'static str) -> Answer {
    found.map(|value| answer(StatusCode::OK, value.to_string())).ok_or_else(|| Error::not_found(what).into())
}
