//! Erasure: the personal data of a deleted account is removed for good. Its pseudonymous history
//! stays, and the ledger's chain stays valid.

use chrono::{DateTime, Utc};
use entity::notes::{PSEUDONYM, PersonalColumns, TableNotes};
use entity::user;
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, FromQueryResult, QueryFilter};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::access::{invitation, role_grant};
use crate::domain::sign_in::erased_name;
use crate::domain::tenant::idempotency;
use crate::domain::{bulk, paging, reconcile, review};
use crate::error::{Error, Noun, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// Accounts purged in one sweep.
const PURGE_BATCH_SIZE: u64 = 200;

/// Erases a deleted account's personal data for good.
///
/// # Errors
/// [`Error::NotFound`] unless the account is deleted and not purged yet.
pub async fn purge_user(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::EraseUser, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<user::Entity>()
                .filter(user::Column::Id.eq(id))
                .filter(user::Column::DeletedAt.is_not_null())
                .filter(user::Column::PurgedAt.is_null());
            let user = crate::domain::lock_row(tx, query)
                .await?
                .ok_or_else(|| Error::not_found(Noun::DeletedUser))?;
            let now = tx.now_after(user.deleted_at);
            let also_erased = erase_users(cx, tx, &[id], now).await?;
            cx.app.store.note_erasure();
            let entry = NewEvent {
                kind: EventKind::UserPurged,
                subject: EventSubject { kind: "user", id },
                connection: user.connection_id,
                at: now,
                before: None,
                after: (!also_erased.is_empty()).then(|| json!({ "alsoErased": also_erased })),
                population: 0,
                name: None,
            };
            Ok(Change::recorded((), entry))
        })
    })
    .await
}

/// Erases everything in the personal columns of all tables (`entity::notes`) that belongs to these
/// accounts, which the caller has locked. Accounts that are still live are deleted, too. Returns
/// what else events were about that were emptied: the event of the erasure lists it as
/// `alsoErased`.
pub(in crate::domain) async fn erase_users(
    cx: &Cx,
    tx: &Tx<'_>,
    users: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let pseudonym = match backend {
        DbBackend::Postgres => "'purged:' || replace(CAST(id AS text), '-', '')",
        _ => "'purged:' || lower(hex(id))",
    };
    let ids = paging::bind_ids(users);
    // First, because these search by the names that the accounts still have.
    review::erase_failures_of_users(tx, users, now).await?;
    reconcile::erase_findings(tx, users).await?;
    invitation::erase_unaccepted(tx, users).await?;
    erased_name::remember_erased_names(cx, tx, users).await?;
    for notes in entity::all_tables() {
        let TableNotes { table, personal: Some(PersonalColumns { user, columns }), .. } = notes
        else {
            continue;
        };
        let set: Option<Vec<_>> = columns
            .iter()
            .map(|(column, value)| value.map(|value| format!("{column} = {value}")))
            .collect();
        let act = match set {
            Some(set) => {
                format!(r#"UPDATE "{table}" SET {}"#, set.join(", ").replace(PSEUDONYM, pseudonym))
            }
            None => format!(r#"DELETE FROM "{table}""#),
        };
        let text =
            format!("{act} WHERE organization_id = $1 AND {user} {}", paging::in_ids(backend, 2));
        tx.db.execute_raw(tx.statement(text, [ids.clone()])).await?;
    }
    let also_erased = role_grant::erase_grant_events(tx, users).await?;
    idempotency::erase_answers(tx).await?;
    bulk::erase_results(tx).await?;
    let text = format!(
        r#"UPDATE "user" SET deleted_at = coalesce(deleted_at, $3), purged_at = $3,
           purge_after = NULL, updated_at = $3,
            version = version + 1 WHERE organization_id = $1 AND id {}"#,
        paging::in_ids(backend, 2)
    );
    tx.db.execute_raw(tx.statement(text, [ids, now.into()])).await?;
    Ok(also_erased)
}

#[derive(Debug, FromQueryResult)]
struct DuePurgeRow {
    organization_id: Uuid,
    id: Uuid,
}

/// Purges the accounts whose `purge_after` has passed, in every organization. Returns how many.
pub async fn purge_due_users(app: &Arc<App>) -> Result<usize> {
    let now: DateTime<Utc> = app.clock.now();
    let text = format!(
        r#"SELECT organization_id, id FROM "user" WHERE purge_after <= $1 ORDER BY purge_after
           LIMIT {PURGE_BATCH_SIZE}"#
    );
    let reason = "which accounts are due to be purged";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let due = DuePurgeRow::find_by_statement(statement).all(&app.store.read).await?;
    let mut purged = 0;
    for DuePurgeRow { organization_id, id } in due {
        match purge_user(&Cx::system(app.clone(), organization_id), id).await {
            Ok(()) => purged += 1,
            // Another replica has purged the account, or it was restored.
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(purged)
}
