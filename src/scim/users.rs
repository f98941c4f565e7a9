//! `/Users` (RFC 7644 section 3, RFC 7643 section 4.1).

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::entity_tag::{BorrowedValue, EntityTag, Preconditions};
use super::query::ListParams;
use crate::buffers::last_reads::Kind;
use crate::context::Cx;
use crate::domain::directory::user;
use crate::domain::directory::user::{GroupOfUser, User, UserWithGroups};
use crate::domain::paging::{FoundPage, ListQuery};
use crate::error::{Error, Noun, Result};
use crate::identity::document;
use crate::identity::document::Projection;
use crate::scim::http::{
    ScimBody, ScimCaller, ScimFailure, format_date, json_response, parse_id, resource_response,
};
use crate::scim::observe::classify;
use crate::scim::{http, patch as patching, reads};

type HandlerResult = Result<Response, ScimFailure>;

/// RFC 7644 section 3.3.
pub async fn handle_create_user(
    caller: ScimCaller,
    wanted: ListParams,
    ScimBody(body): ScimBody,
) -> HandlerResult {
    let user = user::create_user(&caller.cx, body).await?;
    if !user::sees_users(&caller.cx) {
        return Ok(http::empty_response(
            StatusCode::CREATED,
            user.version,
            &user_location(&user, &caller.base_url),
        ));
    }
    // A new account is in no group; a reactivated account may be in some.
    match user.version {
        1 => user_response(&caller, StatusCode::CREATED, &user, &[], &wanted.projection),
        _ => {
            let groups = if wants_groups(&wanted) {
                user::list_groups_of_user(&caller.cx, user.id).await?
            } else {
                Vec::new()
            };
            user_response(&caller, StatusCode::CREATED, &user, &groups, &wanted.projection)
        }
    }
}

/// RFC 7644 section 3.4.1.
pub async fn handle_get_user(
    caller: ScimCaller,
    path: Path<(String, String)>,
    wanted: ListParams,
    headers: HeaderMap,
) -> HandlerResult {
    let UserWithGroups { user, groups } =
        user::get_user_with_groups(&caller.cx, parse_user_id(&path.1)?, wants_groups(&wanted))
            .await?;
    let preconditions = Preconditions::from_headers(&headers);
    if preconditions.is_conditional_read() {
        let tag = user_tag(&user, &groups);
        if preconditions.is_not_modified(&tag) {
            return Ok(http::not_modified_response(&tag));
        }
    }
    let answer = user_response(&caller, StatusCode::OK, &user, &groups, &wanted.projection)?;
    reads::remember_resource(&caller, Kind::User, &wanted, user.id, user.version);
    Ok(answer)
}

/// The answer to a PUT or a PATCH: the account, if the token may read it.
fn changed_user_response(
    caller: &ScimCaller,
    listed: &UserWithGroups,
    projection: &Projection,
) -> HandlerResult {
    let UserWithGroups { user, groups } = listed;
    if user::sees_users(&caller.cx) {
        user_response(caller, StatusCode::OK, user, groups, projection)
    } else {
        Ok(http::empty_response(
            StatusCode::NO_CONTENT,
            user.version,
            &user_location(user, &caller.base_url),
        ))
    }
}

fn wants_groups(wanted: &ListParams) -> bool {
    wanted.projection.includes_attribute("groups")
}

/// RFC 7644 section 3.4.2.
pub async fn handle_list_users(caller: ScimCaller, wanted: ListParams) -> HandlerResult {
    respond_with_page(&caller, &wanted).await
}

/// RFC 7644 section 3.4.3.
pub async fn handle_search_users(caller: ScimCaller, ScimBody(body): ScimBody) -> HandlerResult {
    respond_with_page(&caller, &ListParams::from_body(&body)?).await
}

/// RFC 7644 section 3.5.1. An attribute that the client leaves out is cleared, except `externalId`
/// and `active`: a client that leaves these out has not decided about them.
pub async fn handle_replace_user(
    caller: ScimCaller,
    path: Path<(String, String)>,
    wanted: ListParams,
    headers: HeaderMap,
    ScimBody(body): ScimBody,
) -> HandlerResult {
    let preconditions = Preconditions::from_headers(&headers);
    let listed =
        replace_user(&caller, &path.1, &preconditions, body, wants_groups(&wanted)).await?;
    changed_user_response(&caller, &listed, &wanted.projection)
}

/// Carries out a PUT, alone or in a Bulk request, and returns the account.
pub async fn replace_user(
    caller: &ScimCaller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
    with_groups: bool,
) -> Result<UserWithGroups> {
    let document = document::normalize_document(&caller.types.user, body)?;
    let ty = &caller.types.user;
    user::change_user_with_groups(&caller.cx, parse_user_id(id)?, with_groups, |user, known| {
        preconditions.check_version(user.version)?;
        let mut document = document.clone();
        document::keep_immutable_values(ty, known, &mut document);
        document::check_immutable_values(ty, known, &document)?;
        if let (None, Some(known)) = (document::external_id(&document), &user.external_id) {
            document.insert("externalId".into(), known.clone().into());
        }
        document.entry("active").or_insert(user.active.into());
        Ok(Some(document))
    })
    .await
}

/// RFC 7644 section 3.5.2: all operations are applied or none.
pub async fn handle_patch_user(
    caller: ScimCaller,
    path: Path<(String, String)>,
    wanted: ListParams,
    headers: HeaderMap,
    ScimBody(body): ScimBody,
) -> HandlerResult {
    let preconditions = Preconditions::from_headers(&headers);
    let listed = patch_user(&caller, &path.1, &preconditions, body, wants_groups(&wanted)).await?;
    changed_user_response(&caller, &listed, &wanted.projection)
}

/// Carries out a PATCH, alone or in a Bulk request, and returns the account.
pub async fn patch_user(
    caller: &ScimCaller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
    with_groups: bool,
) -> Result<UserWithGroups> {
    let operations = patching::parse_operations(&Value::Object(body))?;
    user::change_user_with_groups(&caller.cx, parse_user_id(id)?, with_groups, |user, known| {
        preconditions.check_version(user.version)?;
        let document = patching::apply_user(&operations, &caller.types.user, known)?;
        document::check_immutable_values(&caller.types.user, known, &document)?;
        Ok(Some(document))
    })
    .await
}

/// RFC 7644 section 3.6.
pub async fn handle_delete_user(
    caller: ScimCaller,
    path: Path<(String, String)>,
    headers: HeaderMap,
) -> HandlerResult {
    delete_user(&caller.cx, &path.1, &Preconditions::from_headers(&headers)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Carries out a DELETE, alone or in a Bulk request.
pub async fn delete_user(cx: &Cx, id: &str, preconditions: &Preconditions) -> Result<()> {
    user::delete_user(cx, parse_user_id(id)?, |user| preconditions.check_version(user.version))
        .await
}

fn parse_user_id(text: &str) -> Result<Uuid> {
    parse_id(text, Noun::User)
}

async fn respond_with_page(caller: &ScimCaller, wanted: &ListParams) -> HandlerResult {
    caller.note.add_quirks(wanted.filter_quirks(&caller.types.user));
    caller.note.set_meaning(classify::classify_search("Users", wanted));
    let found = find_users(caller, wanted, &wanted.query).await?;
    reads::remember_page(caller, Kind::User, wanted, &found);
    Ok(json_response(StatusCode::OK, wanted.list_response(&found)))
}

/// Finds a page of users, each as JSON text.
pub async fn find_users(
    caller: &ScimCaller,
    wanted: &ListParams,
    query: &ListQuery,
) -> Result<FoundPage<String>> {
    let found = user::search_users(&caller.cx, query, wants_groups(wanted)).await?;
    reads::remember_results(
        caller,
        Kind::User,
        wanted,
        found.rows.iter().map(|row| (row.user.id, row.user.version)),
    );
    found.map(|row| {
        let tag = user_tag(&row.user, &row.groups);
        render_user(caller, &row.user, &row.groups, &tag, &wanted.projection)
    })
}

fn user_response(
    caller: &ScimCaller,
    status: StatusCode,
    user: &User,
    groups: &[GroupOfUser],
    projection: &Projection,
) -> HandlerResult {
    let tag = user_tag(user, groups);
    let body = render_user(caller, user, groups, &tag, projection)?;
    Ok(resource_response(status, body, &tag, &user_location(user, &caller.base_url)))
}

/// The tag of an answer with an account and these groups of it. Groups change without the account,
/// so its version says nothing about them.
fn user_tag(user: &User, groups: &[GroupOfUser]) -> EntityTag {
    let shown = groups.iter().map(|group| BorrowedValue {
        id: group.id,
        name: Some(&group.display_name),
        is_marked: group.direct,
    });
    EntityTag::of_answer(user.version, shown)
}

fn user_location(user: &User, base_url: &str) -> String {
    format!("{base_url}/Users/{}", user.id)
}

/// The resource as JSON text: the stored document and the attributes that the server adds.
fn render_user(
    caller: &ScimCaller,
    user: &User,
    groups: &[GroupOfUser],
    tag: &EntityTag,
    projection: &Projection,
) -> Result<String> {
    let base_url = &caller.base_url;
    let mut added = Map::new();
    added.insert("id".into(), user.id.to_string().into());
    if !groups.is_empty() {
        let groups = groups.iter().map(|group| {
            json!({
                "value": group.id, "$ref": format!("{base_url}/Groups/{}", group.id),
                "display": group.display_name,
                "type": if group.direct { "direct" } else { "indirect" },
            })
        });
        added.insert("groups".into(), groups.collect());
    }
    let meta = json!({
        "resourceType": "User", "created": format_date(user.created_at),
        "lastModified": format_date(user.updated_at),
        "location": user_location(user, base_url), "version": tag.as_str(),
    });
    added.insert("meta".into(), meta);
    http::compose_resource(&user.document, added, &caller.types.user, projection)
        .map_err(|error| Error::Internal(error.to_string()))
}
