//! Whose groups the directory of the identity provider is asked for, because a sign-in left them
//! out. This is work, not a change: the ledger tells of what the answer changes.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{directory_lookup, sign_in};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter};
use uuid::Uuid;

use crate::context::{App, Cx};
use crate::domain::tenant::organization::is_open_condition;
use crate::error::Result;

pub use directory_lookup::Model as DirectoryLookup;

/// The most that are claimed at once.
const BATCH_SIZE: u64 = 50;
/// How long one server has for an answer before another one may ask.
const CLAIM_DURATION: Duration = Duration::minutes(3);
/// How often the directory is asked in vain.
const MAX_ATTEMPTS: i32 = 8;
/// How long after the first attempt in vain the next one follows; it doubles each time.
const FIRST_DELAY: Duration = Duration::seconds(30);
/// The longest time between two attempts.
const MAX_DELAY: Duration = Duration::hours(1);

/// Has the directory asked for the groups of a person, unless that is planned already.
///
/// # Errors
/// Those of the database.
pub async fn request_lookup(cx: &Cx, connection: Uuid, user: Uuid) -> Result<()> {
    let row = DirectoryLookup {
        organization_id: cx.organization(),
        connection_id: connection,
        user_id: user,
        attempts: 0,
        next_at: cx.app.clock.now(),
    };
    let mut known = OnConflict::columns([
        directory_lookup::Column::OrganizationId,
        directory_lookup::Column::ConnectionId,
        directory_lookup::Column::UserId,
    ]);
    directory_lookup::Entity::insert(directory_lookup::ActiveModel::from(row))
        .on_conflict(known.do_nothing().to_owned())
        .try_insert()
        .exec_without_returning(&cx.app.store.write)
        .await?;
    cx.app.directories.notify_one();
    Ok(())
}

/// A claimed question: for a time no other server asks it.
#[derive(Debug)]
pub struct ClaimedLookup {
    pub cx: Cx,
    pub lookup: DirectoryLookup,
    /// The person's id at the identity provider; none if the person was erased meanwhile.
    pub subject: Option<String>,
}

/// Claims the questions that are due, in all organizations that are not suspended.
///
/// # Errors
/// Those of the database.
pub async fn claim_due_lookups(app: &Arc<App>) -> Result<Vec<ClaimedLookup>> {
    #[derive(FromQueryResult)]
    struct DueLookup {
        organization_id: Uuid,
        connection_id: Uuid,
        user_id: Uuid,
    }
    let text = format!(
        "SELECT organization_id, connection_id, user_id FROM directory_lookup \
         WHERE next_at <= $1 AND {} ORDER BY next_at LIMIT {BATCH_SIZE}",
        is_open_condition("directory_lookup")
    );
    let now = app.clock.now();
    let reason = "whose groups a directory is to be asked for";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let mut claimed = Vec::new();
    for due in DueLookup::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), due.organization_id);
        if let Some(lookup) = claim_lookup(&cx, due.connection_id, due.user_id, now).await? {
            let subject = find_subject(&cx, &lookup).await?;
            claimed.push(ClaimedLookup { cx, lookup, subject });
        }
    }
    Ok(claimed)
}

async fn claim_lookup(
    cx: &Cx,
    connection: Uuid,
    user: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<DirectoryLookup>> {
    use directory_lookup::Column;
    let claimed = directory_lookup::Entity::update_many()
        .col_expr(Column::NextAt, Expr::value(now + CLAIM_DURATION))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::ConnectionId.eq(connection))
        .filter(Column::UserId.eq(user))
        .filter(Column::NextAt.lte(now))
        .exec(&cx.app.store.write)
        .await?;
    if claimed.rows_affected == 0 {
        return Ok(None);
    }
    let query = cx.find::<directory_lookup::Entity>();
    let query = query.filter(Column::ConnectionId.eq(connection)).filter(Column::UserId.eq(user));
    Ok(query.one(&cx.app.store.write).await?)
}

async fn find_subject(cx: &Cx, lookup: &DirectoryLookup) -> Result<Option<String>> {
    let query = cx.find::<sign_in::Entity>();
    let query = query.filter(sign_in::Column::UserId.eq(lookup.user_id));
    let query = query.filter(sign_in::Column::ConnectionId.eq(lookup.connection_id));
    Ok(query.one(&cx.app.store.write).await?.and_then(|row| row.subject))
}

impl ClaimedLookup {
    /// Ends the question: it was answered, or there is nothing to ask.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn finish(&self) -> Result<()> {
        use directory_lookup::Column;
        let DirectoryLookup { connection_id, user_id, next_at, .. } = &self.lookup;
        directory_lookup::Entity::delete_many()
            .filter(Column::OrganizationId.eq(self.cx.organization()))
            .filter(Column::ConnectionId.eq(*connection_id))
            .filter(Column::UserId.eq(*user_id))
            // Another server may have taken over a question that took too long.
            .filter(Column::NextAt.eq(*next_at))
            .exec(&self.cx.app.store.write)
            .await?;
        Ok(())
    }

    /// Plans the next attempt: after `wait`, if the directory has said so. Returns whether there is
    /// one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn postpone(&self, wait: Option<Duration>) -> Result<bool> {
        use directory_lookup::Column;
        let DirectoryLookup { connection_id, user_id, next_at, attempts, .. } = &self.lookup;
        if *attempts >= MAX_ATTEMPTS {
            self.finish().await?;
            return Ok(false);
        }
        let doubled =
            FIRST_DELAY * 2_i32.saturating_pow((*attempts - 1).clamp(0, 10).unsigned_abs());
        let delay = wait.unwrap_or(doubled).clamp(Duration::seconds(1), MAX_DELAY);
        directory_lookup::Entity::update_many()
            .col_expr(Column::NextAt, Expr::value(self.cx.app.clock.now() + delay))
            .filter(Column::OrganizationId.eq(self.cx.organization()))
            .filter(Column::ConnectionId.eq(*connection_id))
            .filter(Column::UserId.eq(*user_id))
            .filter(Column::NextAt.eq(*next_at))
            .exec(&self.cx.app.store.write)
            .await?;
        Ok(true)
    }
}
