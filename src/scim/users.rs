//! `/Users` (RFC 7644 section 3, RFC 7643 section 4.1).

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::query::Wanted;
use super::wire::{Body, Caller, Failure, Preconditions, answer, date, etag, id, resource};
use super::{meaning, patch as patching, reads, wire};
use crate::context::Cx;
use crate::domain::document;
use crate::domain::document::Projection;
use crate::domain::list::{Found, Query};
use crate::domain::user::{self, GroupOf, Listed, User};
use crate::error::{Error, Result};
use crate::reads::Kind;

type Answer = Result<Response, Failure>;

/// RFC 7644 section 3.3.
pub async fn create(caller: Caller, wanted: Wanted, Body(body): Body) -> Answer {
    let user = user::create(&caller.cx, body).await?;
    if !user::sees_users(&caller.cx) {
        return Ok(wire::unread(StatusCode::CREATED, user.version, &location(&user, &caller.base_url)));
    }
    // Whoever has just come is in no group; whoever was reactivated may be.
    match user.version {
        1 => shown(&caller, StatusCode::CREATED, &user, &[], &wanted.projection),
        _ => {
            let groups = match wants_groups(&wanted) {
                true => user::groups_of(&caller.cx, user.id).await?,
                false => Vec::new(),
            };
            shown(&caller, StatusCode::CREATED, &user, &groups, &wanted.projection)
        }
    }
}

/// RFC 7644 section 3.4.1.
pub async fn get(caller: Caller, path: Path<(String, String)>, wanted: Wanted, headers: HeaderMap) -> Answer {
    let Listed { user, groups } = user::listed(&caller.cx, user_id(&path.1)?, wants_groups(&wanted)).await?;
    if Preconditions::of(&headers).not_modified(user.version) {
        return Ok((StatusCode::NOT_MODIFIED, [("etag", etag(user.version))]).into_response());
    }
    let answer = shown(&caller, StatusCode::OK, &user, &groups, &wanted.projection)?;
    reads::one(&caller, Kind::User, &wanted, user.id, user.version);
    Ok(answer)
}

/// The account after a PUT or a PATCH, for a token that may see it.
fn changed(caller: &Caller, listed: &Listed, projection: &Projection) -> Answer {
    let Listed { user, groups } = listed;
    match user::sees_users(&caller.cx) {
        true => shown(caller, StatusCode::OK, user, groups, projection),
        false => Ok(wire::unread(StatusCode::NO_CONTENT, user.version, &location(user, &caller.base_url))),
    }
}

fn wants_groups(wanted: &Wanted) -> bool {
    wanted.projection.wants("groups")
}

/// RFC 7644 section 3.4.2.
pub async fn list(caller: Caller, wanted: Wanted) -> Answer {
    page(&caller, &wanted).await
}

/// RFC 7644 section 3.4.3.
pub async fn search(caller: Caller, Body(body): Body) -> Answer {
    page(&caller, &Wanted::of_body(&body)?).await
}

/// RFC 7644 section 3.5.1. What a client does not mention is cleared, but for who the account is to it
/// (`externalId`) and whether it may be used (`active`): absence is no decision about those.
pub async fn replace(
    caller: Caller,
    path: Path<(String, String)>,
    wanted: Wanted,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer {
    let preconditions = Preconditions::of(&headers);
    let listed = replaced(&caller, &path.1, &preconditions, body, wants_groups(&wanted)).await?;
    changed(&caller, &listed, &wanted.projection)
}

/// The account after a PUT, alone or in a Bulk.
pub async fn replaced(
    caller: &Caller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
    with_groups: bool,
) -> Result<Listed> {
    let document = document::normalize(&caller.types.user, body)?;
    user::change_listed(&caller.cx, user_id(id)?, with_groups, |user, _| {
        preconditions.check(user.version)?;
        let mut document = document.clone();
        if let (None, Some(known)) = (document::external_id(&document), &user.external_id) {
            document.insert("externalId".into(), known.clone().into());
        }
        document.entry("active").or_insert(user.active.into());
        Ok(Some(document))
    })
    .await
}

/// RFC 7644 section 3.5.2: all operations or none.
pub async fn patch(
    caller: Caller,
    path: Path<(String, String)>,
    wanted: Wanted,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer {
    let preconditions = Preconditions::of(&headers);
    let listed = patched(&caller, &path.1, &preconditions, body, wants_groups(&wanted)).await?;
    changed(&caller, &listed, &wanted.projection)
}

/// The account after a PATCH, alone or in a Bulk.
pub async fn patched(
    caller: &Caller,
    id: &str,
    preconditions: &Preconditions,
    body: Map<String, Value>,
    with_groups: bool,
) -> Result<Listed> {
    let operations = patching::parse(&Value::Object(body))?;
    user::change_listed(&caller.cx, user_id(id)?, with_groups, |user, known| {
        preconditions.check(user.version)?;
        patching::apply_user(&operations, &caller.types.user, known).map(Some)
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
    user::delete(cx, user_id(id)?, |user| preconditions.check(user.version)).await
}

fn user_id(text: &str) -> Result<Uuid> {
    id(text, "the user")
}

async fn page(caller: &Caller, wanted: &Wanted) -> Answer {
    caller.note.departs(wanted.quirks(&caller.types.user));
    caller.note.means(meaning::of_search("Users", wanted));
    let found = found(caller, wanted, &wanted.query).await?;
    reads::page(caller, Kind::User, wanted, &found);
    Ok(answer(StatusCode::OK, wanted.envelope(&found)))
}

/// A page of users as text.
pub async fn found(caller: &Caller, wanted: &Wanted, query: &Query) -> Result<Found<String>> {
    let found = user::search(&caller.cx, query, wants_groups(wanted)).await?;
    reads::few(caller, Kind::User, wanted, found.rows.iter().map(|row| (row.user.id, row.user.version)));
    found.map(|row| render(caller, &row.user, &row.groups, &wanted.projection))
}

fn shown(caller: &Caller, status: StatusCode, user: &User, groups: &[GroupOf], projection: &Projection) -> Answer {
    let body = render(caller, user, groups, projection)?;
    Ok(resource(status, body, user.version, &location(user, &caller.base_url)))
}

fn location(user: &User, base_url: &str) -> String {
    format!("{base_url}/Users/{}", user.id)
}

/// The resource as text: the stored document with what the server adds to it.
fn render(caller: &Caller, user: &User, groups: &[GroupOf], projection: &Projection) -> Result<String> {
    let base_url = &caller.base_url;
    let mut added = Map::new();
    added.insert("id".into(), user.id.to_string().into());
    if !groups.is_empty() {
        let groups = groups.iter().map(|group| {
            json!({
                "value": group.id, "$ref": format!("{base_url}/Groups/{}", group.id),
                "display": group.display_name, "type": if group.direct { "direct" } else { "indirect" },
            })
        });
        added.insert("groups".into(), groups.collect());
    }
    let meta = json!({
        "resourceType": "User", "created": date(user.created_at), "lastModified": date(user.updated_at),
        "location": location(user, base_url), "version": etag(user.version),
    });
    added.insert("meta".into(), meta);
    wire::compose(&user.document, added, &caller.types.user, projection)
        .map_err(|error| Error::Internal(error.to_string()))
}
