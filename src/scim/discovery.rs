//! What the server says about itself (RFC 7644 section 4).

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::Value;

use super::query::complete;
use super::schema;
use super::wire::{Caller, Failure, answer};
use crate::domain::connection;
use crate::error::{Error, Rule};

type Answer = Result<Response, Failure>;

/// RFC 7644 section 4: a request for discovery that names a filter, whatever it says, is refused with 403. Taken by every
/// handler here, behind the caller.
pub struct Unfiltered;

impl<S: Send + Sync> FromRequestParts<S> for Unfiltered {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::broken(Rule::Value, "query", "a parameter is malformed"))?;
        if pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case("filter")) {
            return Err(Error::Forbidden("this endpoint cannot be filtered".into()).into());
        }
        Ok(Self)
    }
}

pub async fn service_provider_config(Caller { cx, base_url, .. }: Caller, _: Unfiltered) -> Answer {
    let announce = connection::own(&cx).await?.announces_cursor_paging;
    Ok(answer(StatusCode::OK, schema::service_provider_config(&base_url, announce).to_string()))
}

pub async fn resource_types(Caller { base_url, types, .. }: Caller, _: Unfiltered) -> Answer {
    all(&schema::resource_types(&types, &base_url))
}

pub async fn resource_type(
    Caller { base_url, types, .. }: Caller,
    _: Unfiltered,
    path: Path<(String, String)>,
) -> Answer {
    let Path((_, name)) = path;
    one(schema::resource_types(&types, &base_url).into_iter().find(|ty| ty["id"] == name.as_str()), "the resource type")
}

pub async fn schemas(Caller { base_url, types, .. }: Caller, _: Unfiltered) -> Answer {
    all(&schema::schemas(&types, &base_url))
}

pub async fn schema(Caller { base_url, types, .. }: Caller, _: Unfiltered, path: Path<(String, String)>) -> Answer {
    let Path((_, urn)) = path;
    one(schema::schema(&types, &base_url, &urn), "the schema")
}

fn all(resources: &[Value]) -> Answer {
    let texts: Vec<String> = resources.iter().map(Value::to_string).collect();
    Ok(answer(StatusCode::OK, complete(&texts)))
}

fn one(found: Option<Value>, what: &'static str) -> Answer {
    found.map(|value| answer(StatusCode::OK, value.to_string())).ok_or_else(|| Error::not_found(what).into())
}
