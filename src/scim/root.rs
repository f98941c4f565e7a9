//! Queries over all resource types at once, at the tenant's root (RFC 7644 sections 3.4.2.1 and
//! 3.4.3).

use axum::http::StatusCode;
use axum::response::Response;

use super::query::ListParams;
use crate::domain::paging::{ListQuery, PageStart};
use crate::error::{Error, Rule};
use crate::identity::filter::AttrPath;
use crate::identity::schema::ResourceType;
use crate::scim::http::{ScimBody, ScimCaller, ScimFailure, json_response};
use crate::scim::observe::classify;
use crate::scim::{groups, users};

/// RFC 7644 section 3.4.2.1.
pub async fn handle_list_resources(
    caller: ScimCaller,
    wanted: ListParams,
) -> Result<Response, ScimFailure> {
    respond_with_page(&caller, &wanted).await
}

/// RFC 7644 section 3.4.3.
pub async fn handle_search_resources(
    caller: ScimCaller,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimFailure> {
    respond_with_page(&caller, &ListParams::from_body(&body)?).await
}

/// Users come first, then groups; one page may hold the last users and the first groups.
async fn respond_with_page(
    caller: &ScimCaller,
    wanted: &ListParams,
) -> Result<Response, ScimFailure> {
    for ty in [&caller.types.user, &caller.types.group] {
        caller.note.add_quirks(wanted.filter_quirks(ty));
    }
    caller.note.set_meaning(classify::classify_search("/", wanted));
    let PageStart::Index(offset) = wanted.query.from else {
        return Err(Error::broken(
            Rule::Cursor,
            "cursor",
            "is offered on /Users and /Groups; use startIndex here",
        )
        .into());
    };
    let (user, group) = (&caller.types.user, &caller.types.group);
    let mut all =
        users::find_users(caller, wanted, &query_for_type(&wanted.query, user, group)).await?;
    let rest = ListQuery {
        from: PageStart::Index(offset.saturating_sub(all.total)),
        limit: wanted.query.limit - all.rows.len() as u64,
        ..query_for_type(&wanted.query, group, user)
    };
    let groups = groups::find_groups(caller, wanted, &rest).await?;
    all.rows.extend(groups.rows);
    all.total += groups.total;
    Ok(json_response(StatusCode::OK, wanted.list_response(&all)))
}

/// The query for one resource type. An attribute that only the other type has counts as an
/// attribute without a value.
fn query_for_type(query: &ListQuery, ty: &ResourceType, other: &ResourceType) -> ListQuery {
    let sorts =
        |path: &AttrPath| ty.resolve_path(path).is_some() || other.resolve_path(path).is_none();
    ListQuery {
        filter: query.filter.as_ref().map(|filter| filter.put_to(ty, other)),
        sort: query.sort.clone().filter(|(path, _)| sorts(path)),
        ..query.clone()
    }
}
