//! Queries over all kinds of resources at once, at the tenant's root (RFC 7644 sections 3.4.2.1 and 3.4.3).

use axum::http::StatusCode;
use axum::response::Response;

use super::query::Wanted;
use super::wire::{Body, Caller, Failure, answer};
use super::{groups, meaning, users};
use crate::domain::list::{From, Query};
use crate::domain::schema::ResourceType;
use crate::domain::search::AttrPath;
use crate::error::{Error, Rule};

/// RFC 7644 section 3.4.2.1.
pub async fn list(caller: Caller, wanted: Wanted) -> Result<Response, Failure> {
    page(&caller, &wanted).await
}

/// RFC 7644 section 3.4.3.
pub async fn search(caller: Caller, Body(body): Body) -> Result<Response, Failure> {
    page(&caller, &Wanted::of_body(&body)?).await
}

/// Users come first, then groups; a page may hold the end of the ones and the beginning of the others.
async fn page(caller: &Caller, wanted: &Wanted) -> Result<Response, Failure> {
    for ty in [&caller.types.user, &caller.types.group] {
        caller.note.departs(wanted.quirks(ty));
    }
    caller.note.means(meaning::of_search("/", wanted));
    let From::Index(offset) = wanted.query.from else {
        return Err(
            Error::broken(Rule::Cursor, "cursor", "is offered on /Users and /Groups; use startIndex here").into()
        );
    };
    let (user, group) = (&caller.types.user, &caller.types.group);
    let mut all = users::found(caller, wanted, &put_to(&wanted.query, user, group)).await?;
    let rest = Query {
        from: From::Index(offset.saturating_sub(all.total)),
        limit: wanted.query.limit - all.rows.len() as u64,
        ..put_to(&wanted.query, group, user)
    };
    let groups = groups::found(caller, wanted, &rest).await?;
    all.rows.extend(groups.rows);
    all.total += groups.total;
    Ok(answer(StatusCode::OK, wanted.envelope(&all)))
}

/// The part of the question that one kind of resource answers: an attribute that only the other has has no value.
fn put_to(query: &Query, ty: &ResourceType, other: &ResourceType) -> Query {
    let sorts = |path: &AttrPath| ty.resolve(path).is_some() || other.resolve(path).is_none();
    Query {
        filter: query.filter.as_ref().map(|filter| filter.put_to(ty, other)),
        sort: query.sort.clone().filter(|(path, _)| sorts(path)),
        ..query.clone()
    }
}
