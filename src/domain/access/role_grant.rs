//! Direct grants: an account holds a role without any group, with a reason and often a planned end.
//! Grants are independent of mappings, and a mapping never replaces one.

use chrono::{DateTime, Utc};
use entity::{role, role_grant, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QuerySelect, Select,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx, clock};
use crate::domain::access::giving;
use crate::domain::access::role_mapping::{check_expiry, check_reason};
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, RefusalReason, Result, mistakes};
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// A grant; one that ended has `until`.
pub use role_grant::Model as Grant;

/// A grant to create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewGrant {
    pub user: Uuid,
    pub role: Uuid,
    pub reason: Option<String>,
    /// A planned end, honoured by every reader.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Grants a role to an account.
///
/// # Errors
/// [`Error::Taken`] if the account has a grant of the role already.
pub async fn create_grant(cx: &Cx, new: NewGrant) -> Result<Grant> {
    let new = &new;
    cx.write(move |tx| Box::pin(create_in(cx, tx, new))).await
}

pub(in crate::domain) async fn create_in(
    cx: &Cx,
    tx: &Tx<'_>,
    new: &NewGrant,
) -> Result<Change<Grant>> {
    cx.allow(Action::WriteAccess, None)?;
    let texts =
        mistakes::both(check_reason(new.reason.as_deref()), check_expiry(cx, new.expires_at));
    let account = tx.find::<user::Entity>().filter(user::Column::Id.eq(new.user));
    let account =
        crate::domain::lock_row(tx, account.filter(user::Column::DeletedAt.is_null())).await?;
    let account = account.ok_or_else(|| Error::not_found(Noun::User));
    let role = super::role::find_live_role(tx, new.role).await;
    let ((reason, ()), (_, role)) = mistakes::both(texts, mistakes::both(account, role))?;
    giving::check_role(cx, &role)?;
    let person = lock_name_of_user(tx, new.user).await?;
    let row = Grant {
        organization_id: cx.organization(),
        id: Uuid::now_v7(),
        user_id: new.user,
        role_id: new.role,
        reason,
        expires_at: new.expires_at.map(clock::to_stored_precision),
        since: tx.now_after(None),
        until: None,
        opened_by: tx.event,
        closed_by: None,
    };
    role_grant::Entity::insert(role_grant::ActiveModel::from(row.clone()))
        .exec_without_returning(&tx.db)
        .await?;
    let values = (None, Some(Value::Object(describe_grant(&row))));
    let grant = LockedGrant { row, person };
    let entry =
        grant.describe_event(tx, EventKind::RoleGrantCreated, grant.row.since, values).await?;
    Ok(Change::recorded(grant.row, entry))
}

/// The changes of a grant; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct GrantEdit {
    pub reason: Option<Option<String>>,
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// Changes the reason or the planned end of a grant. The account holds the role as before.
///
/// # Errors
/// [`Error::Held`] for a grant that has ended.
pub async fn update_grant(cx: &Cx, id: Uuid, edit: GrantEdit) -> Result<Grant> {
    cx.allow(Action::WriteAccess, None)?;
    let edit = &edit;
    cx.write(move |tx| {
        Box::pin(async move {
            let texts = mistakes::both(
                edit.reason.as_ref().map(|reason| check_reason(reason.as_deref())).transpose(),
                edit.expires_at.map_or(Ok(()), |at| check_expiry(cx, at)),
            );
            let ((reason, ()), locked) = mistakes::both(texts, lock_grant(tx, id).await)?;
            let LockedGrant { row: before, person } = locked;
            let now = tx.now_after(Some(before.since));
            if before.until.is_some() || before.expires_at.is_some_and(|end| end <= now) {
                return Err(Error::Held {
                    reason: RefusalReason::Ended,
                    why: "the grant has ended already; create another one".into(),
                });
            }
            let mut after = before.clone();
            after.reason = reason.unwrap_or(after.reason);
            after.expires_at = match edit.expires_at {
                Some(end) => end.map(clock::to_stored_precision),
                None => after.expires_at,
            };
            if after == before {
                return Ok(Change::unchanged(before));
            }
            if giving::ends_later(after.expires_at, before.expires_at) {
                giving::check_role(cx, &super::role::find_live_role(tx, after.role_id).await?)?;
            }
            // The state of any earlier instant stays what it was: an end can only move among
            // instants that are to come.
            crate::domain::save_row::<role_grant::Entity, role_grant::ActiveModel>(
                tx,
                after.clone(),
            )
            .await?;
            let (was, is) =
                ledger::changed_members(&describe_grant(&before), &describe_grant(&after));
            let grant = LockedGrant { row: after, person };
            let values = (Some(was), Some(is));
            let entry = grant.describe_event(tx, EventKind::RoleGrantUpdated, now, values).await?;
            Ok(Change::recorded(grant.row, entry))
        })
    })
    .await
}

/// Ends a grant.
pub async fn remove_grant(cx: &Cx, id: Uuid) -> Result<Grant> {
    cx.write(move |tx| Box::pin(remove_in(cx, tx, id))).await
}

pub(in crate::domain) async fn remove_in(cx: &Cx, tx: &Tx<'_>, id: Uuid) -> Result<Change<Grant>> {
    cx.allow(Action::WriteAccess, None)?;
    end_grant(tx, lock_grant(tx, id).await?, EventKind::RoleGrantRemoved).await
}

/// The accounts that hold a role by a direct grant.
pub(in crate::domain) async fn users_of(tx: &Tx<'_>, role: Uuid) -> Result<Vec<Uuid>> {
    let granted = tx.find::<role_grant::Entity>().filter(role_grant::Column::RoleId.eq(role));
    let granted = granted
        .filter(role_grant::Column::Until.is_null())
        .select_only()
        .column(role_grant::Column::UserId);
    Ok(granted.into_tuple().all(&tx.db).await?)
}

/// Ends a grant whose planned end has passed.
pub(in crate::domain) async fn expire_grant(tx: &Tx<'_>, id: Uuid) -> Result<Change<Grant>> {
    let grant = lock_grant(tx, id).await?;
    match grant.row.expires_at {
        Some(at) if at <= tx.now_after(None) => {
            end_grant(tx, grant, EventKind::RoleGrantExpired).await
        }
        _ => Ok(Change::unchanged(grant.row)),
    }
}

/// A grant that is locked, and what its account is called; none after an erasure. The account's row
/// is locked, too, so that an erasure finds the name in the event, or is seen here.
struct LockedGrant {
    row: Grant,
    person: Option<String>,
}

/// Locks a grant, and before it the account, in the order of all locks.
async fn lock_grant(tx: &Tx<'_>, id: Uuid) -> Result<LockedGrant> {
    let query = || tx.find::<role_grant::Entity>().filter(role_grant::Column::Id.eq(id));
    let not_found = || Error::not_found(Noun::Grant);
    let user = query().one(&tx.db).await?.ok_or_else(not_found)?.user_id;
    let person = lock_name_of_user(tx, user).await?;
    let row = crate::domain::lock_row(tx, query()).await?.ok_or_else(not_found)?;
    Ok(LockedGrant { row, person })
}

async fn lock_name_of_user(tx: &Tx<'_>, user: Uuid) -> Result<Option<String>> {
    let names = super::change_events::read_names(tx, &[user].into()).await?;
    Ok(names.into_values().next())
}

/// Ends a grant with an event of this kind, unless it has ended.
async fn end_grant(tx: &Tx<'_>, mut grant: LockedGrant, kind: EventKind) -> Result<Change<Grant>> {
    if grant.row.until.is_some() {
        return Ok(Change::unchanged(grant.row));
    }
    let now = tx.now_after(Some(grant.row.since));
    interval::close_row(tx, IntervalTable::RoleGrant, grant.row.id, now).await?;
    grant.row.until = Some(now);
    grant.row.closed_by = Some(tx.event);
    let values = (Some(Value::Object(describe_grant(&grant.row))), None);
    let entry = grant.describe_event(tx, kind, now, values).await?;
    Ok(Change::recorded(grant.row, entry))
}

/// The grants among `ids`, ended ones too.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Grant>> {
    cx.allow(Action::ReadIam, None)?;
    let query =
        cx.find::<role_grant::Entity>().filter(role_grant::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Selects grants; none = all.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrantFilter {
    pub user: Option<Uuid>,
    pub role: Option<Uuid>,
    /// Ended ones too.
    pub ended: bool,
    /// Those with a planned end before this instant.
    pub expires_before: Option<DateTime<Utc>>,
}

/// A page of grants, each with its place in the order `by`.
pub async fn list_grants(
    cx: &Cx,
    which: GrantFilter,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Grant, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_grants(cx, which), role_grant::Column::Id, by, keyset).await
}

/// How many grants there are.
pub async fn count_grants(cx: &Cx, which: GrantFilter) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_grants(cx, which).count(cx.db()).await?)
}

fn select_grants(cx: &Cx, which: GrantFilter) -> Select<role_grant::Entity> {
    let mut query = cx.find::<role_grant::Entity>();
    if let Some(user) = which.user {
        query = query.filter(role_grant::Column::UserId.eq(user));
    }
    if let Some(role) = which.role {
        query = query.filter(role_grant::Column::RoleId.eq(role));
    }
    if let Some(end) = which.expires_before {
        query = query.filter(role_grant::Column::ExpiresAt.lt(end));
    }
    if which.ended { query } else { query.filter(role_grant::Column::Until.is_null()) }
}

fn describe_grant(row: &Grant) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("userId".into(), row.user_id.to_string().into());
    map.insert("roleId".into(), row.role_id.to_string().into());
    map.insert("reason".into(), row.reason.clone().into());
    map.insert("expiresAt".into(), row.expires_at.map(|at| at.to_rfc3339()).into());
    map
}

impl LockedGrant {
    /// An event about the grant, with the values before and after. It names the person and the
    /// role: an erasure of the person empties it ([`erase_grant_events`]).
    async fn describe_event(
        &self,
        tx: &Tx<'_>,
        kind: EventKind,
        at: DateTime<Utc>,
        (before, after): (Option<Value>, Option<Value>),
    ) -> Result<NewEvent> {
        let subject = EventSubject { kind: "role_grant", id: self.row.id };
        let named = tx.find::<role::Entity>().filter(role::Column::Id.eq(self.row.role_id));
        let named = named.select_only().column(role::Column::Name).into_tuple();
        let role: Option<String> = named.one(&tx.db).await?;
        let name = match (&self.person, role) {
            (Some(person), Some(role)) => Some(format!("{person} → {role}")),
            (_, role) => role,
        };
        Ok(NewEvent { kind, subject, connection: None, at, before, after, population: 0, name })
    }
}

#[derive(FromQueryResult)]
struct GrantEventRow {
    id: Uuid,
    subject_id: Uuid,
    action: String,
    payload: String,
}

impl GrantEventRow {
    /// Whether it is about grants alone: what else ended a grant, such as the deletion of a role,
    /// names no person.
    fn may_name_people(&self) -> bool {
        match EventKind::parse(&self.action) {
            Some(EventKind::AccessChanged) => super::change_set::may_name_people(&self.payload),
            _ => self.action.starts_with("role_grant."),
        }
    }
}

/// Empties the events about the grants of accounts that are being erased: they name the person, and
/// give reasons. An event of several edits stays if it changed members, too: what followed for
/// these is read from it, and it names no person ([`super::change_set`]). Returns the subjects of
/// the events: the event about the erasure lists them, so that a verification finds each emptied
/// event accounted for.
pub(in crate::domain) async fn erase_grant_events(
    tx: &Tx<'_>,
    users: &[Uuid],
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let among = paging::in_ids(backend, 2);
    let of_grants = |column: &str| {
        format!("SELECT {column} FROM role_grant WHERE organization_id = $1 AND user_id {among}")
    };
    let text = format!(
        "SELECT id, subject_id, action, payload FROM event WHERE organization_id = $1 \
         AND payload IS NOT NULL AND id IN ({} UNION {}) \
         UNION SELECT id, subject_id, action, payload FROM event WHERE organization_id = $1 \
         AND payload IS NOT NULL AND subject_id IN ({})",
        of_grants("opened_by"),
        of_grants("closed_by"),
        of_grants("id")
    );
    let rows = GrantEventRow::find_by_statement(tx.statement(text, [paging::bind_ids(users)]));
    let mut rows = rows.all(&tx.db).await?;
    rows.retain(GrantEventRow::may_name_people);
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let text = format!(
        "UPDATE event SET payload = NULL, salt = NULL WHERE organization_id = $1 AND id {among}"
    );
    tx.db.execute_raw(tx.statement(text, [paging::bind_ids(&ids)])).await?;
    let subjects: std::collections::BTreeSet<Uuid> =
        rows.into_iter().map(|row| row.subject_id).collect();
    Ok(subjects.into_iter().collect())
}
