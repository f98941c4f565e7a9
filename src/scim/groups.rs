//! `/Groups` (RFC 7644 section 3, RFC 7643 section 4.2).

use std::collections::HashMap;

use axum::extract::{Path, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::read_group_body;
use super::entity_tag::{BorrowedValue, EntityTag, Preconditions};
use super::query::ListParams;
use crate::buffers::last_reads::Kind;
use crate::context::Cx;
use crate::domain::directory::group;
use crate::domain::directory::group::{Group, GroupEdit, NamedMember};
use crate::domain::paging::{FoundPage, ListQuery};
use crate::error::{Error, Noun, Result};
use crate::identity::document;
use crate::identity::document::{MemberChange, Projection};
use crate::scim::http::{
    ScimBody, ScimCaller, ScimFailure, format_date, json_response, parse_id, resource_response,
};
use crate::scim::observe::classify;
use crate::scim::{http, patch as patching, reads};

type HandlerResult = Result<Response, ScimFailure>;

/// A PATCH is answered with the group if it has at most this many members. The answer for a larger
/// group would repeat all members for one change.
const MAX_ANSWERED_MEMBERS: u64 = 100;

/// RFC 7644 section 3.3.
pub async fn handle_create_group(
    caller: ScimCaller,
    wanted: ListParams,
    request: Request,
) -> HandlerResult {
    let body = read_group_body(&caller, request).await?;
    let group = create_group(&caller, body).await?;
    if !group::sees_groups(&caller.cx) {
        return Ok(empty_group_response(&caller, StatusCode::CREATED, &group));
    }
    group_response(&caller, StatusCode::CREATED, &group, &wanted.projection).await
}

fn empty_group_response(caller: &ScimCaller, status: StatusCode, group: &Group) -> Response {
    http::empty_response(
        status,
        group.version,
        &resource_location(group.id, "Groups", &caller.base_url),
    )
}

/// Carries out a POST, alone or in a Bulk request, and returns the group.
pub async fn create_group(caller: &ScimCaller, body: Map<String, Value>) -> Result<Group> {
    let members = document::listed_member_ids(&caller.types.group, &body)?.unwrap_or_default();
    group::create_group(&caller.cx, body, members).await
}

/// RFC 7644 section 3.4.1.
pub async fn handle_get_group(
    caller: ScimCaller,
    path: Path<(String, String)>,
    wanted: ListParams,
    headers: HeaderMap,
) -> HandlerResult {
    let group = group::get_group(&caller.cx, parse_group_id(&path.1)?).await?;
    let preconditions = Preconditions::from_headers(&headers);
    if preconditions.is_conditional_read()
        && let Some(tag) =
            find_known_tag(&caller, &group, &wanted.projection, &preconditions).await?
    {
        return Ok(http::not_modified_response(&tag));
    }
    let answer = group_response(&caller, StatusCode::OK, &group, &wanted.projection).await?;
    reads::remember_resource(&caller, Kind::Group, &wanted, group.id, group.version);
    Ok(answer)
}

/// RFC 7644 section 3.4.2.
pub async fn handle_list_groups(caller: ScimCaller, wanted: ListParams) -> HandlerResult {
    respond_with_page(&caller, &wanted).await
}

/// RFC 7644 section 3.4.3.
pub async fn handle_search_groups(caller: ScimCaller, ScimBody(body): ScimBody) -> HandlerResult {
    respond_with_page(&caller, &ListParams::from_body(&body)?).await
}

/// RFC 7644 section 3.5.1. A body without `members` does not change them; only an explicit list,
/// empty or not, replaces them. A body without `externalId` does not change it either.
pub async fn handle_replace_group(
    caller: ScimCaller,
    path: Path<(String, String)>,
    wanted: ListParams,
    headers: HeaderMap,
    request: Request,
) -> HandlerResult {
    let body = read_group_body(&caller, request).await?;
    let group =
        replace_group(&caller, &path.1, &Preconditions::from_headers(&headers), body).await?;
    if !group::sees_groups(&caller.cx) {
        return Ok(empty_group_response(&caller, StatusCode::NO_CONTENT, &group));
    }
    group_response(&caller, StatusCode::OK, &group, &wanted.projection).await
}

/// Carries out a PUT, alone or in a Bulk request, and returns the group.
pub async fn replace_group(
    caller: &ScimCaller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
) -> Result<Group> {
    let members =
        document::listed_member_ids(&caller.types.group, &body)?.map(MemberChange::Replace);
    let document = document::normalize_document(&caller.types.group, body)?;
    group::change_group(&caller.cx, parse_group_id(id)?, |group| {
        preconditions.check_version(group.version)?;
        let mut document = document.clone();
        let (ty, known) = (&caller.types.group, group.attributes()?);
        document::keep_immutable_values(ty, &known, &mut document);
        document::check_immutable_values(ty, &known, &document)?;
        if let (None, Some(known)) = (document::external_id(&document), &group.external_id) {
            document.insert("externalId".into(), known.clone().into());
        }
        let members = members.iter().cloned().collect();
        Ok(GroupEdit { attributes: Some(document), members, of_version: preconditions.has_any() })
    })
    .await
}

/// RFC 7644 section 3.5.2: all operations are applied or none. The answer is the group if the
/// client named attributes (the RFC demands it) or if the group is small. Otherwise it has no
/// content, which the RFC allows.
pub async fn handle_patch_group(
    caller: ScimCaller,
    path: Path<(String, String)>,
    wanted: ListParams,
    headers: HeaderMap,
    request: Request,
) -> HandlerResult {
    let body = read_group_body(&caller, request).await?;
    let group = patch_group(&caller, &path.1, &Preconditions::from_headers(&headers), body).await?;
    if !group::sees_groups(&caller.cx) {
        return Ok(empty_group_response(&caller, StatusCode::NO_CONTENT, &group));
    }
    if !wanted.projected
        && !group::has_at_most_users(&caller.cx, group.id, MAX_ANSWERED_MEMBERS).await?
    {
        let tag = EntityTag::of_version(group.version);
        return Ok((StatusCode::NO_CONTENT, [(header::ETAG, tag.as_str())]).into_response());
    }
    group_response(&caller, StatusCode::OK, &group, &wanted.projection).await
}

/// Carries out a PATCH, alone or in a Bulk request, and returns the group.
pub async fn patch_group(
    caller: &ScimCaller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
) -> Result<Group> {
    let operations = patching::parse_operations(&Value::Object(body))?;
    group::change_group(&caller.cx, parse_group_id(id)?, |group| {
        preconditions.check_version(group.version)?;
        let known = group.attributes()?;
        let patch = patching::apply_group(&operations, &caller.types.group, &known)?;
        document::check_immutable_values(&caller.types.group, &known, &patch.document)?;
        let attributes = (patch.document != known).then_some(patch.document);
        Ok(GroupEdit { attributes, members: patch.members, of_version: preconditions.has_any() })
    })
    .await
}

/// RFC 7644 section 3.6.
pub async fn handle_delete_group(
    caller: ScimCaller,
    path: Path<(String, String)>,
    headers: HeaderMap,
) -> HandlerResult {
    delete_group(&caller.cx, &path.1, &Preconditions::from_headers(&headers)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Carries out a DELETE, alone or in a Bulk request.
pub async fn delete_group(cx: &Cx, id: &str, preconditions: &Preconditions) -> Result<()> {
    group::delete_group(cx, parse_group_id(id)?, |group| preconditions.check_version(group.version))
        .await
}

fn parse_group_id(text: &str) -> Result<Uuid> {
    parse_id(text, Noun::Group)
}

async fn respond_with_page(caller: &ScimCaller, wanted: &ListParams) -> HandlerResult {
    caller.note.add_quirks(wanted.filter_quirks(&caller.types.group));
    caller.note.set_meaning(classify::classify_search("Groups", wanted));
    let found = find_groups(caller, wanted, &wanted.query).await?;
    reads::remember_page(caller, Kind::Group, wanted, &found);
    Ok(json_response(StatusCode::OK, wanted.list_response(&found)))
}

/// Finds a page of groups, each as JSON text.
pub async fn find_groups(
    caller: &ScimCaller,
    wanted: &ListParams,
    query: &ListQuery,
) -> Result<FoundPage<String>> {
    let found = group::search_groups(&caller.cx, query).await?;
    let ids: Vec<Uuid> = found.rows.iter().map(|group| group.id).collect();
    let members = read_members(&caller.cx, &ids, &wanted.projection).await?;
    reads::remember_results(
        caller,
        Kind::Group,
        wanted,
        found.rows.iter().map(|group| (group.id, group.version)),
    );
    let render = |group: &Group| {
        let members = members.get(&group.id).map_or(&[][..], Vec::as_slice);
        let tag = group_tag(group, members, &wanted.projection);
        render_group(caller, group, members, &tag, &wanted.projection)
    };
    found.map(render)
}

async fn group_response(
    caller: &ScimCaller,
    status: StatusCode,
    group: &Group,
    projection: &Projection,
) -> HandlerResult {
    let members = read_members(&caller.cx, &[group.id], projection)
        .await?
        .remove(&group.id)
        .unwrap_or_default();
    let tag = group_tag(group, &members, projection);
    let body = render_group(caller, group, &members, &tag, projection)?;
    let location = resource_location(group.id, "Groups", &caller.base_url);
    Ok(resource_response(status, body, &tag, &location))
}

/// Reads the members of groups, but only if the client wants them.
async fn read_members(
    cx: &Cx,
    ids: &[Uuid],
    projection: &Projection,
) -> Result<HashMap<Uuid, Vec<NamedMember>>> {
    if ids.is_empty() || !projection.includes_attribute("members") {
        return Ok(HashMap::new());
    }
    group::find_members_of_groups(cx, ids, wants_member_names(projection)).await
}

/// A member's display name is returned only to a client that names attributes.
fn wants_member_names(projection: &Projection) -> bool {
    !projection.only.is_empty()
}

/// The tag of an answer with a group and these members. Who is a member changes the version of the
/// group; what a member is called does not.
fn group_tag(group: &Group, members: &[NamedMember], projection: &Projection) -> EntityTag {
    if !wants_member_names(projection) {
        return EntityTag::of_version(group.version);
    }
    let shown = members.iter().map(|member| BorrowedValue {
        id: member.id,
        name: member.display.as_deref(),
        is_marked: member.is_group,
    });
    EntityTag::of_answer(group.version, shown)
}

/// The tag of the answer to a conditional read, if the client has that answer already. Members are
/// read only where the tag depends on them.
async fn find_known_tag(
    caller: &ScimCaller,
    group: &Group,
    projection: &Projection,
    preconditions: &Preconditions,
) -> Result<Option<EntityTag>> {
    let members = if wants_member_names(projection) {
        read_members(&caller.cx, &[group.id], projection).await?.remove(&group.id)
    } else {
        None
    };
    let tag = group_tag(group, &members.unwrap_or_default(), projection);
    Ok(preconditions.is_not_modified(&tag).then_some(tag))
}

fn resource_location(id: Uuid, endpoint: &str, base_url: &str) -> String {
    format!("{base_url}/{endpoint}/{id}")
}

/// The resource as JSON text: the stored document and the attributes that the server adds.
fn render_group(
    caller: &ScimCaller,
    group: &Group,
    members: &[NamedMember],
    tag: &EntityTag,
    projection: &Projection,
) -> Result<String> {
    let base_url = &caller.base_url;
    let mut added = Map::new();
    added.insert("id".into(), group.id.to_string().into());
    if !members.is_empty() {
        let named = wants_member_names(projection);
        let members = members.iter().map(|member| {
            let (ty, endpoint) =
                if member.is_group { ("Group", "Groups") } else { ("User", "Users") };
            let mut element = json!({
                "value": member.id, "$ref": resource_location(member.id, endpoint, base_url),
                "type": ty,
            });
            if let Some(display) = member.display.as_ref().filter(|_| named) {
                element["display"] = display.as_str().into();
            }
            element
        });
        added.insert("members".into(), members.collect());
    }
    let meta = json!({
        "resourceType": "Group", "created": format_date(group.created_at),
        "lastModified": format_date(group.updated_at),
        "location": resource_location(group.id, "Groups", base_url), "version": tag.as_str(),
    });
    added.insert("meta".into(), meta);
    http::compose_resource(&group.document, added, &caller.types.group, projection)
        .map_err(|error| Error::Internal(error.to_string()))
}
