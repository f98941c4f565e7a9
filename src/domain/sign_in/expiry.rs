//! Claims that are too old: the memberships that they made give no role from their planned end on;
//! a little later they are closed, by an event that says so. One that gives a management role to
//! its last holder stays, day by day, until another account holds the role.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{membership, role, user};
use sea_orm::{ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, QueryOrder, Value};
use serde_json::json;
use uuid::Uuid;

use crate::context::{App, Change, Cx, Tx};
use crate::domain::access::lockout_guard::LastHolderGuard;
use crate::domain::access::{self, AsOf};
use crate::domain::directory::user as account;
use crate::domain::{interval, paging};
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// The most accounts whose old claims end in one sweep.
const BATCH_SIZE: u64 = 500;

/// How long before their planned end memberships of last holders are looked at. The sweep comes
/// each minute, so the role is never without a holder in between.
const KEEP_AHEAD: TimeDelta = TimeDelta::minutes(5);
/// How much later the planned end of what is kept is.
const KEEP_FOR: TimeDelta = TimeDelta::days(1);
/// The most memberships that are kept in one organization in one sweep.
const MAX_KEPT: usize = 100;

/// Moves the planned end of memberships without which a management role would have no holder;
/// returns how many.
///
/// # Errors
/// Errors of the database.
pub async fn keep_last_holders(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct DueOrganization {
        organization_id: Uuid,
    }
    let text = "SELECT DISTINCT due.organization_id FROM (SELECT organization_id FROM membership \
                WHERE until IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT 20000) AS due \
                WHERE EXISTS (SELECT 1 FROM role w \
                WHERE w.organization_id = due.organization_id AND w.management = TRUE \
                AND w.deleted_at IS NULL)";
    let ahead: DateTime<Utc> = app.clock.now() + KEEP_AHEAD;
    let reason = "whose claims of sign-ins will soon be too old";
    let statement = app.statement_for_all_organizations(text, [ahead.into()], reason);
    let mut kept = 0;
    for due in DueOrganization::find_by_statement(statement).all(&app.store.read).await? {
        let cx = &Cx::system(app.clone(), due.organization_id);
        for _ in 0..MAX_KEPT {
            match keep_one(cx).await? {
                KeepOutcome::Nothing => break,
                KeepOutcome::Begun => {}
                // The ledger has told of it before.
                KeepOutcome::KeptBefore(id) => {
                    let statement = cx.statement(KEEP_SQL, keep_values(cx.app.clock.now(), id));
                    app.store.write.execute_raw(statement).await?;
                }
            }
            kept += 1;
        }
    }
    Ok(kept)
}

/// What was done for a role that would soon have no holder.
enum KeepOutcome {
    Nothing,
    /// A membership is kept from now on.
    Begun,
    /// This one is kept already, and has to be kept longer.
    KeptBefore(Uuid),
}

/// Moves the planned end of the membership `$3` to `$4`.
const KEEP_SQL: &str = "UPDATE membership SET expires_at = $4, \
                        kept_since = coalesce(kept_since, $2) \
                        WHERE organization_id = $1 AND id = $3 AND until IS NULL";

fn keep_values(now: DateTime<Utc>, membership: Uuid) -> [Value; 3] {
    [now.into(), membership.into(), (now + KEEP_FOR).into()]
}

/// Keeps one membership without which a management role would soon have no holder.
async fn keep_one(cx: &Cx) -> Result<KeepOutcome> {
    cx.write(move |tx| {
        Box::pin(async move {
            // Of two changes at the same time, each must see the holders that the other one leaves.
            LastHolderGuard::watch_always(cx, tx).await?;
            let query = tx.find::<role::Entity>().filter(role::Column::Management.eq(true));
            let query = query.filter(role::Column::DeletedAt.is_null());
            let roles = query.order_by_asc(role::Column::Id).all(&tx.db).await?;
            let ahead = cx.app.clock.now() + KEEP_AHEAD;
            for role in roles {
                if access::has_holder_at(cx, tx, role.id, AsOf::Planned(ahead)).await? {
                    continue;
                }
                let Some(last) = find_last_claimed(cx, tx, role.id, ahead).await? else {
                    continue;
                };
                return keep_membership(tx, last, role.id).await;
            }
            Ok(Change::unchanged(KeepOutcome::Nothing))
        })
    })
    .await
}

/// The membership of claims, of those that end before `ahead`, that gives the role longest.
async fn find_last_claimed(
    cx: &Cx,
    tx: &Tx<'_>,
    role: Uuid,
    ahead: DateTime<Utc>,
) -> Result<Option<membership::Model>> {
    let sources = access::find_sources(cx, &tx.db, Some(role), AsOf::Planned(ahead)).await?;
    if sources.groups.is_empty() {
        return Ok(None);
    }
    // An administrator who deletes a connection ends what it said.
    let text = format!(
        "SELECT m.* FROM membership m \
         JOIN \"user\" u ON u.organization_id = $1 AND u.id = m.user_id \
         AND u.active = TRUE AND u.deleted_at IS NULL \
         JOIN connection c ON c.organization_id = $1 AND c.id = m.claimed_by \
         AND c.deleted_at IS NULL \
         WHERE m.organization_id = $1 AND m.group_id {} AND {} \
         AND coalesce(m.expires_at > $2, TRUE) = FALSE ORDER BY m.expires_at DESC, m.id LIMIT 1",
        paging::in_ids(tx.db.get_database_backend(), 3),
        interval::is_open_in_group("m")
    );
    let values = [ahead.into(), paging::bind_ids(&sources.groups)];
    Ok(membership::Model::find_by_statement(tx.statement(text, values)).one(&tx.db).await?)
}

/// Moves the planned end of a membership.
async fn keep_membership(
    tx: &Tx<'_>,
    kept: membership::Model,
    role: Uuid,
) -> Result<Change<KeepOutcome>> {
    if kept.kept_since.is_some() {
        return Ok(Change::unchanged(KeepOutcome::KeptBefore(kept.id)));
    }
    let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(kept.user_id));
    let Some(account) = account::lock_user(tx, query).await? else {
        return Ok(Change::unchanged(KeepOutcome::Nothing));
    };
    let now = tx.now_after(Some(kept.since).max(Some(account.updated_at)));
    tx.db.execute_raw(tx.statement(KEEP_SQL, keep_values(now, kept.id))).await?;
    let entry = NewEvent {
        kind: EventKind::UserClaimsKept,
        subject: EventSubject { kind: "user", id: account.id },
        connection: account.connection_id,
        at: now,
        before: None,
        after: Some(json!({ "groups": [kept.group_id], "roleId": role })),
        population: 0,
        name: Some(account.display_name.as_ref().unwrap_or(&account.user_name).clone()),
    };
    Ok(Change::recorded(KeepOutcome::Begun, entry))
}

#[derive(FromQueryResult)]
struct DueAccount {
    organization_id: Uuid,
    user_id: Uuid,
}

/// Ends the memberships whose claims are too old, in every organization; returns of how many
/// accounts.
///
/// # Errors
/// Errors of the database.
pub async fn end_old_claims(app: &Arc<App>) -> Result<u64> {
    let text = format!(
        "SELECT DISTINCT organization_id, user_id FROM (SELECT organization_id, user_id \
         FROM membership WHERE until IS NULL AND expires_at <= $1 ORDER BY expires_at \
         LIMIT {BATCH_SIZE}) AS due"
    );
    let now: DateTime<Utc> = app.clock.now();
    let reason = "whose claims of sign-ins are too old";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let mut ended = 0;
    for due in DueAccount::find_by_statement(statement).all(&app.store.read).await? {
        let cx = &Cx::system(app.clone(), due.organization_id);
        ended += u64::from(end_claims_of(cx, due.user_id).await?);
    }
    Ok(ended)
}

async fn end_claims_of(cx: &Cx, id: Uuid) -> Result<bool> {
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(id));
            let Some(account) = account::lock_user(tx, query).await? else {
                return Ok(Change::unchanged(false));
            };
            let query = tx.find::<membership::Entity>();
            let query = query.filter(membership::Column::UserId.eq(id));
            let query = query.filter(membership::Column::Until.is_null());
            let query = query.filter(membership::Column::ExpiresAt.lte(cx.app.clock.now()));
            let rows = crate::domain::lock_rows(tx, query).await?;
            let groups: BTreeSet<Uuid> = rows.iter().map(|row| row.group_id).collect();
            if groups.is_empty() {
                return Ok(Change::unchanged(false));
            }
            let latest = rows.iter().map(|row| row.since).max();
            let now = tx.now_after(latest.max(Some(account.updated_at)));
            interval::raise_versions(tx, &groups, now).await?;
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            interval::close_by_claims(tx, &ids, now).await?;
            let entry = NewEvent {
                kind: EventKind::UserClaimsExpired,
                subject: EventSubject { kind: "user", id },
                connection: account.connection_id,
                at: now,
                before: Some(json!({ "groups": groups })),
                after: Some(json!({ "groups": [] })),
                population: 0,
                name: Some(account.display_name.as_ref().unwrap_or(&account.user_name).clone()),
            };
            Ok(Change::recorded(true, entry))
        })
    })
    .await
}
