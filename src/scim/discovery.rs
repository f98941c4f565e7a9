//! The discovery endpoints (RFC 7644 section 4).

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::Value;

use super::query::complete_list_response;
use super::schema;
use crate::domain::connection;
use crate::domain::signal::stream;
use crate::error::{Error, Noun, Rule};
use crate::scim::http::{ScimCaller, ScimFailure, json_response};

type HandlerResult = Result<Response, ScimFailure>;

/// RFC 7644 section 4: a request for discovery with any `filter` is refused with 403. Every handler
/// here takes this after the caller.
pub struct UnfilteredRequest;

impl<S: Send + Sync> FromRequestParts<S> for UnfilteredRequest {
    type Rejection = ScimFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ScimFailure> {
        let Query(pairs) =
            Query::<Vec<(String, String)>>::from_request_parts(parts, state)
                .await
                .map_err(|_| Error::broken(Rule::Value, "query", "a parameter is malformed"))?;
        if pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case("filter")) {
            return Err(Error::Forbidden("this endpoint cannot be filtered".into()).into());
        }
        Ok(Self)
    }
}

/// `GET /ServiceProviderConfig` (RFC 7643, section 5).
pub async fn handle_service_provider_config(
    ScimCaller { cx, base_url, .. }: ScimCaller,
    _: UnfilteredRequest,
) -> HandlerResult {
    let announce = connection::get_calling_connection(&cx).await?.announces_cursor_paging;
    let events = stream::has_own_streams(&cx).await?;
    Ok(json_response(
        StatusCode::OK,
        schema::render_service_provider_config(&base_url, announce, events).to_string(),
    ))
}

/// `GET /ResourceTypes` (RFC 7643, section 6).
pub async fn handle_list_resource_types(
    ScimCaller { base_url, types, .. }: ScimCaller,
    _: UnfilteredRequest,
) -> HandlerResult {
    respond_with_list(&schema::render_resource_types(&types, &base_url))
}

/// `GET /ResourceTypes/{name}`.
pub async fn handle_get_resource_type(
    ScimCaller { base_url, types, .. }: ScimCaller,
    _: UnfilteredRequest,
    path: Path<(String, String)>,
) -> HandlerResult {
    let Path((_, name)) = path;
    respond_with_resource(
        schema::render_resource_types(&types, &base_url)
            .into_iter()
            .find(|ty| ty["id"] == name.as_str()),
        Noun::ResourceType,
    )
}

/// `GET /Schemas` (RFC 7643, section 7), with the extensions of the organization.
pub async fn handle_list_schemas(
    ScimCaller { base_url, types, .. }: ScimCaller,
    _: UnfilteredRequest,
) -> HandlerResult {
    respond_with_list(&schema::render_schemas(&types, &base_url))
}

/// `GET /Schemas/{urn}`.
pub async fn handle_get_schema(
    ScimCaller { base_url, types, .. }: ScimCaller,
    _: UnfilteredRequest,
    path: Path<(String, String)>,
) -> HandlerResult {
    let Path((_, urn)) = path;
    respond_with_resource(schema::find_schema(&types, &base_url, &urn), Noun::Schema)
}

fn respond_with_list(resources: &[Value]) -> HandlerResult {
    let texts: Vec<String> = resources.iter().map(Value::to_string).collect();
    Ok(json_response(StatusCode::OK, complete_list_response(&texts)))
}

fn respond_with_resource(found: Option<Value>, noun: Noun) -> HandlerResult {
    found
        .map(|value| json_response(StatusCode::OK, value.to_string()))
        .ok_or_else(|| Error::not_found(noun).into())
}
