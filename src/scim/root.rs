//! Queries over all kinds of resources at once, at the tenant's root (RFC 7644 sections 3.4.2.1 and 3.4.3).

use axum::http::StatusCode;
use axum::response::Response;

use super::query::Wanted;
use super::wire::{Body, Caller, Failure, answer};
use super::{groups, meaning, users};
use crate::domain::list::{Found, From, Query};
use crate::error::{Error, Result, Rule};

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
    caller.note.means(meaning::of_search("/", wanted));
    let From::Index(offset) = wanted.query.from else {
        return Err(
            Error::broken(Rule::Cursor, "cursor", "is offered on /Users and /Groups; use startIndex here").into()
        );
    };
    let (mut all, unknown_to_users) = known(users::found(caller, wanted, &wanted.query).await)?;
    let rest = Query {
        from: From::Index(offset.saturating_sub(all.total)),
        limit: wanted.query.limit - all.rows.len() as u64,
        ..wanted.query.clone()
    };
    let (groups, unknown_to_groups) = known(groups::found(caller, wanted, &rest).await)?;
    if let (Some(error), Some(_)) = (unknown_to_users, unknown_to_groups) {
        return Err(error.into());
    }
    all.rows.extend(groups.rows);
    all.total += groups.total;
    Ok(answer(StatusCode::OK, wanted.envelope(&all)))
}

/// An attribute that one kind of resource does not have has no value there: nothing of that kind matches.
fn known(found: Result<Found<String>>) -> Result<(Found<String>, Option<Error>)> {
    match found {
        Ok(found) => Ok((found, None)),
        Err(error @ Error::Invalid { rule: Rule::Filter, .. }) => {
            Ok((Found { rows: Vec::new(), total: 0, next: None, previous: None }, Some(error)))
        }
        Err(error) => Err(error),
    }
}
