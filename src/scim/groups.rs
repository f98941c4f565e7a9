//! `/Groups` (RFC 7644 section 3, RFC 7643 section 4.2).

use std::collections::HashMap;

use axum::extract::{Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::read_group;
use super::query::Wanted;
use super::wire::{Body, Caller, Failure, Preconditions, answer, date, etag, id, resource};
use super::{meaning, patch as patching, reads, wire};
use crate::context::Cx;
use crate::domain::document;
use crate::domain::document::{MemberChange, Projection};
use crate::domain::group::{self, Group, GroupEdit, Member};
use crate::domain::list::{Found, Query};
use crate::error::{Error, Result};
use crate::reads::Kind;

type Answer = Result<Response, Failure>;

/// Up to this many members a PATCH is answered with the group; above, one change would echo them all.
const SMALL: u64 = 100;

/// RFC 7644 section 3.3.
pub async fn create(caller: Caller, wanted: Wanted, request: Request) -> Answer {
    let body = read_group(&caller, request).await?;
    let group = created(&caller, body).await?;
    if !group::sees_groups(&caller.cx) {
        return Ok(unread(&caller, StatusCode::CREATED, &group));
    }
    single(&caller, StatusCode::CREATED, &group, &wanted.projection).await
}

fn unread(caller: &Caller, status: StatusCode, group: &Group) -> Response {
    wire::unread(status, group.version, &location(group.id, "Groups", &caller.base_url))
}

/// The group that a POST makes, alone or in a Bulk.
pub async fn created(caller: &Caller, body: Map<String, Value>) -> Result<Group> {
    let members = document::members(&caller.types.group, &body)?.unwrap_or_default();
    group::create(&caller.cx, body, members).await
}

/// RFC 7644 section 3.4.1.
pub async fn get(caller: Caller, path: Path<(String, String)>, wanted: Wanted, headers: HeaderMap) -> Answer {
    let group = group::get(&caller.cx, group_id(&path.1)?).await?;
    if Preconditions::of(&headers).not_modified(group.version) {
        return Ok((StatusCode::NOT_MODIFIED, [("etag", etag(group.version))]).into_response());
    }
    let answer = single(&caller, StatusCode::OK, &group, &wanted.projection).await?;
    reads::one(&caller, Kind::Group, &wanted, group.id, group.version);
    Ok(answer)
}

/// RFC 7644 section 3.4.2.
pub async fn list(caller: Caller, wanted: Wanted) -> Answer {
    page(&caller, &wanted).await
}

/// RFC 7644 section 3.4.3.
pub async fn search(caller: Caller, Body(body): Body) -> Answer {
    page(&caller, &Wanted::of_body(&body)?).await
}

/// RFC 7644 section 3.5.1. A body without `members` says nothing about them; only an explicit list, empty or
/// not, replaces them. The same for `externalId`.
pub async fn replace(
    caller: Caller,
    path: Path<(String, String)>,
    wanted: Wanted,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let body = read_group(&caller, request).await?;
    let group = replaced(&caller, &path.1, &Preconditions::of(&headers), body).await?;
    if !group::sees_groups(&caller.cx) {
        return Ok(unread(&caller, StatusCode::NO_CONTENT, &group));
    }
    single(&caller, StatusCode::OK, &group, &wanted.projection).await
}

/// The group after a PUT, alone or in a Bulk.
pub async fn replaced(
    caller: &Caller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
) -> Result<Group> {
    let members = document::members(&caller.types.group, &body)?.map(MemberChange::Replace);
    let document = document::normalize(&caller.types.group, body)?;
    group::change(&caller.cx, group_id(id)?, |group| {
        preconditions.check(group.version)?;
        let mut document = document.clone();
        if let (None, Some(known)) = (document::external_id(&document), &group.external_id) {
            document.insert("externalId".into(), known.clone().into());
        }
        let members = members.iter().cloned().collect();
        Ok(GroupEdit { attributes: Some(document), members, of_version: preconditions.any() })
    })
    .await
}

/// RFC 7644 section 3.5.2: all operations or none. The answer is the group where the client named attributes
/// (which the RFC demands) or the group is small, and otherwise no content, which the RFC allows.
pub async fn patch(
    caller: Caller,
    path: Path<(String, String)>,
    wanted: Wanted,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let body = read_group(&caller, request).await?;
    let group = patched(&caller, &path.1, &Preconditions::of(&headers), body).await?;
    if !group::sees_groups(&caller.cx) {
        return Ok(unread(&caller, StatusCode::NO_CONTENT, &group));
    }
    if !wanted.projected && !group::has_at_most(&caller.cx, group.id, SMALL).await? {
        return Ok((StatusCode::NO_CONTENT, [("etag", etag(group.version))]).into_response());
    }
    single(&caller, StatusCode::OK, &group, &wanted.projection).await
}

/// The group after a PATCH, alone or in a Bulk.
pub async fn patched(
    caller: &Caller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
) -> Result<Group> {
    let operations = patching::parse(&Value::Object(body))?;
    group::change(&caller.cx, group_id(id)?, |group| {
        preconditions.check(group.version)?;
        let known = group.attributes()?;
        let patch = patching::apply_group(&operations, &caller.types.group, &known)?;
        let attributes = (patch.document != known).then_some(patch.document);
        Ok(GroupEdit { attributes, members: patch.members, of_version: preconditions.any() })
    })
    .await
}

/// RFC 7644 section 3.6.
pub async fn delete(caller: Caller, path: Path<(String, String)>, headers: HeaderMap) -> Answer {
    deleted(&caller.cx, &path.1, &Preconditions::of(&headers)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A DELETE, alone or in a Bulk.
pub async fn deleted(cx: &Cx, id: &str, preconditions: &Preconditions) -> Result<()> {
    group::delete(cx, group_id(id)?, |group| preconditions.check(group.version)).await
}

fn group_id(text: &str) -> Result<Uuid> {
    id(text, "the group")
}

async fn page(caller: &Caller, wanted: &Wanted) -> Answer {
    caller.note.departs(wanted.quirks(&caller.types.group));
    caller.note.means(meaning::of_search("Groups", wanted));
    let found = found(caller, wanted, &wanted.query).await?;
    reads::page(caller, Kind::Group, wanted, &found);
    Ok(answer(StatusCode::OK, wanted.envelope(&found)))
}

/// A page of groups as text.
pub async fn found(caller: &Caller, wanted: &Wanted, query: &Query) -> Result<Found<String>> {
    let found = group::search(&caller.cx, query).await?;
    let ids: Vec<Uuid> = found.rows.iter().map(|group| group.id).collect();
    let members = members(&caller.cx, &ids, &wanted.projection).await?;
    reads::few(caller, Kind::Group, wanted, found.rows.iter().map(|group| (group.id, group.version)));
    let render = |group: &Group| {
        let members = members.get(&group.id).map_or(&[][..], Vec::as_slice);
        render(caller, group, members, &wanted.projection)
    };
    found.map(render)
}

async fn single(caller: &Caller, status: StatusCode, group: &Group, projection: &Projection) -> Answer {
    let members = members(&caller.cx, &[group.id], projection).await?.remove(&group.id).unwrap_or_default();
    let body = render(caller, group, &members, projection)?;
    Ok(resource(status, body, group.version, &location(group.id, "Groups", &caller.base_url)))
}

/// Memberships are read only where the client wants them.
async fn members(cx: &Cx, ids: &[Uuid], projection: &Projection) -> Result<HashMap<Uuid, Vec<Member>>> {
    if ids.is_empty() || !projection.wants("members") {
        return Ok(HashMap::new());
    }
    group::members_of(cx, ids, names_members(projection)).await
}

/// A member's name is returned only to whoever asks for it by name.
fn names_members(projection: &Projection) -> bool {
    !projection.only.is_empty()
}

fn location(id: Uuid, endpoint: &str, base_url: &str) -> String {
    format!("{base_url}/{endpoint}/{id}")
}

/// The resource as text: the stored document with what the server adds to it.
fn render(caller: &Caller, group: &Group, members: &[Member], projection: &Projection) -> Result<String> {
    let base_url = &caller.base_url;
    let mut added = Map::new();
    added.insert("id".into(), group.id.to_string().into());
    if !members.is_empty() {
        let named = names_members(projection);
        let members = members.iter().map(|member| {
            let (ty, endpoint) = if member.is_group { ("Group", "Groups") } else { ("User", "Users") };
            let mut element =
                json!({ "value": member.id, "$ref": location(member.id, endpoint, base_url), "type": ty });
            if let Some(display) = member.display.as_ref().filter(|_| named) {
                element["display"] = display.as_str().into();
            }
            element
        });
        added.insert("members".into(), members.collect());
    }
    let meta = json!({
        "resourceType": "Group", "created": date(group.created_at), "lastModified": date(group.updated_at),
        "location": location(group.id, "Groups", base_url), "version": etag(group.version),
    });
    added.insert("meta".into(), meta);
    wire::compose(&group.document, added, &caller.types.group, projection)
        .map_err(|error| Error::Internal(error.to_string()))
}
