//! What the session of a setup link shows: how far the identity provider of one connection has
//! come since the link was made. Nothing here names a person, and nothing is of another connection.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::connection::{self, ConnectionKind};
use entity::{group, request_log, user};
use sea_orm::{ActiveEnum, ColumnTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::auth::policy::Actor;
use crate::buffers::request_counts;
use crate::context::{App, Cx};
use crate::domain::connection::request_log::{self as log, Entry, RequestLogQuery};
use crate::domain::connection::setup_link::{
    FoundLink, SELECT_SESSION, SetupLink, SetupLinkState, SetupRefused,
};
use crate::domain::paging::Keyset;
use crate::domain::tenant::organization;
use crate::error::{RefusalReason, Result};

/// The most failures that are shown.
const MAX_FAILURES: usize = 10;
/// Rows of the request log that are looked through for them.
const MAX_FAILURE_ROWS: u64 = 50;
/// Rows of the request log that are added up.
const MAX_COUNTED_ROWS: u64 = 10_000;

/// How far an identity provider has come since a setup link was made.
#[derive(Debug)]
pub struct SetupProgress {
    pub first_request_at: Option<DateTime<Utc>>,
    pub last_request_at: Option<DateTime<Utc>>,
    pub first_user_at: Option<DateTime<Utc>>,
    pub first_group_at: Option<DateTime<Utc>>,
    /// How many requests arrived, a few seconds late.
    pub requests: i64,
    /// How many live accounts and groups the connection owns.
    pub accounts: u64,
    pub groups: u64,
    /// The latest first.
    pub failures: Vec<SetupFailure>,
    /// When the link ends.
    pub link_ends_at: DateTime<Utc>,
}

/// Requests of one kind that did not succeed.
#[derive(Debug)]
pub struct SetupFailure {
    pub at: DateTime<Utc>,
    pub status: Option<i32>,
    pub code: Option<String>,
    /// The method and the resource; none for requests of several kinds.
    pub request: Option<String>,
    /// What the identity provider wanted, as the request log says it.
    pub meaning: String,
    pub outcome: String,
    pub count: i64,
    pub message: String,
    pub next_step: Option<String>,
}

/// The progress of the connection whose link opened `session`.
///
/// # Errors
/// [`SetupRefused`] unless the session, its link and its connection are live.
pub async fn read_progress(
    app: &Arc<App>,
    session: &str,
    request_id: Uuid,
) -> Result<SetupProgress, SetupRefused> {
    let found = FoundLink::find_by_secret(app, SELECT_SESSION, session).await?;
    let organization_id = found.organization_id;
    let ended = SetupRefused::Ended(organization_id);
    let now = app.clock.now();
    if found.ends_at <= now {
        return Err(ended);
    }
    let cx = Cx::new(app.clone(), Actor::System, organization_id, request_id);
    let link = super::setup_link::links_by_ids(&cx, &[found.link_id]).await?.into_iter().next();
    let Some(link) = link.filter(|link| SetupLinkState::of(link, now).is_open()) else {
        return Err(ended);
    };
    let live = cx
        .find::<connection::Entity>()
        .filter(connection::Column::Id.eq(link.connection_id))
        .filter(connection::Column::DeletedAt.is_null());
    if live.count(cx.db()).await? == 0 {
        return Err(ended);
    }
    let first_user_at = find_first_user(&cx, &link).await?;
    let first_group_at = find_first_group(&cx, &link).await?;
    let counted = count_requests(&cx, &link).await?;
    let failures = list_failures(&cx, &link).await?;
    // Requests are counted a few seconds late; what they did is there at once.
    let first_failure = failures.iter().map(|failure| failure.at).min();
    let firsts = [counted.first_at, first_user_at, first_group_at, first_failure];
    let lasts = [counted.last_at, first_user_at, first_group_at];
    let latest_failure = failures.iter().map(|failure| failure.at).max();
    Ok(SetupProgress {
        first_request_at: firsts.into_iter().flatten().min(),
        last_request_at: lasts.into_iter().chain([latest_failure]).flatten().max(),
        first_user_at,
        first_group_at,
        requests: counted.requests,
        accounts: organization::provisioned_users(&cx, Some(link.connection_id)).await?,
        groups: organization::provisioned_groups(&cx, Some(link.connection_id)).await?,
        failures,
        link_ends_at: link.expires_at,
    })
}

/// When the first account since the link was made came. Ids are in the order of time, so the index
/// of a connection's accounts finds it.
async fn find_first_user(cx: &Cx, link: &SetupLink) -> Result<Option<DateTime<Utc>>> {
    let users = cx
        .find::<user::Entity>()
        .filter(user::Column::ConnectionId.eq(link.connection_id))
        .filter(user::Column::DeletedAt.is_null())
        .filter(user::Column::Id.gt(link.id))
        .order_by_asc(user::Column::Id)
        .limit(1)
        .select_only()
        .column(user::Column::CreatedAt);
    Ok(users.into_tuple().one(cx.db()).await?)
}

/// When the first group since the link was made came.
async fn find_first_group(cx: &Cx, link: &SetupLink) -> Result<Option<DateTime<Utc>>> {
    let groups = cx
        .find::<group::Entity>()
        .filter(group::Column::ConnectionId.eq(link.connection_id))
        .filter(group::Column::DeletedAt.is_null())
        .filter(group::Column::Id.gt(link.id))
        .order_by_asc(group::Column::Id)
        .limit(1)
        .select_only()
        .column(group::Column::CreatedAt);
    Ok(groups.into_tuple().one(cx.db()).await?)
}

#[derive(Default)]
struct CountedRequests {
    requests: i64,
    first_at: Option<DateTime<Utc>>,
    last_at: Option<DateTime<Utc>>,
}

/// Adds up the requests of the connection since the link was made.
async fn count_requests(cx: &Cx, link: &SetupLink) -> Result<CountedRequests> {
    use request_log::Column as C;
    let rows: Vec<(i64, DateTime<Utc>, DateTime<Utc>)> = cx
        .find::<request_log::Entity>()
        .filter(C::ConnectionId.eq(link.connection_id))
        .filter(C::Hour.gte(request_counts::hour_of(link.created_at)))
        .order_by_asc(C::Hour)
        .limit(MAX_COUNTED_ROWS)
        .select_only()
        .columns([C::Count, C::FirstAt, C::LastAt])
        .into_tuple()
        .all(cx.db())
        .await?;
    let mut sum = CountedRequests::default();
    // The hour in which the link was made has requests from before too.
    for (count, first_at, last_at) in rows.into_iter().filter(|row| row.2 >= link.created_at) {
        sum.requests += count;
        let first_at = first_at.max(link.created_at);
        sum.first_at = Some(sum.first_at.map_or(first_at, |known| known.min(first_at)));
        sum.last_at = sum.last_at.max(Some(last_at));
    }
    Ok(sum)
}

/// What did not succeed since the link was made, the latest first.
async fn list_failures(cx: &Cx, link: &SetupLink) -> Result<Vec<SetupFailure>> {
    let which = RequestLogQuery {
        connection: Some(link.connection_id),
        troubles: true,
        since: Some(link.created_at),
        ..Default::default()
    };
    let keyset = Keyset { limit: MAX_FAILURE_ROWS, descending: true, ..Default::default() };
    let mut rows = log::list_request_log(cx, which, &keyset).await?.rows;
    if rows.iter().any(|row| row.connection_id.is_none()) {
        // A token that is missing or wrong belongs to no connection. Where there is no other
        // connection, it can only be this one's.
        let alone = is_only_connection(cx).await?;
        rows.retain(|row| row.connection_id.is_some() || (alone && is_wrong_token(row)));
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.last_at));
    rows.truncate(MAX_FAILURES);
    Ok(rows.iter().map(describe_failure).collect())
}

async fn is_only_connection(cx: &Cx) -> Result<bool> {
    let live = cx
        .find::<connection::Entity>()
        .filter(connection::Column::DeletedAt.is_null())
        .filter(connection::Column::Kind.eq(ConnectionKind::ScimPush));
    Ok(live.count(cx.db()).await? == 1)
}

fn is_wrong_token(row: &Entry) -> bool {
    let reason = row.reason.as_deref().and_then(RefusalReason::parse);
    matches!(reason, Some(RefusalReason::TokenMissing | RefusalReason::TokenUnknown))
}

fn describe_failure(row: &Entry) -> SetupFailure {
    let what = match (&row.method, &row.resource) {
        (Some(method), Some(resource)) => format!("{method} {resource} ({})", row.meaning),
        _ => row.meaning.clone(),
    };
    let outcome = match row.outcome {
        log::Outcome::NotFound => "asked for something that is not here",
        log::Outcome::Failed => "could not be served",
        _ => "was refused",
    };
    let times = if row.count > 1 { format!(" {} times", row.count) } else { String::new() };
    SetupFailure {
        at: row.last_at,
        status: row.status,
        code: row.scim_type.clone().or(row.reason.clone()),
        request: row
            .method
            .as_ref()
            .zip(row.resource.as_ref())
            .map(|(method, resource)| format!("{method} {resource}")),
        meaning: row.meaning.clone(),
        outcome: row.outcome.to_value(),
        count: row.count,
        message: format!("{what} {outcome}{times}"),
        next_step: log::next_step(row),
    }
}
