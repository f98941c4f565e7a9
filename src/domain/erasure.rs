//! Erasure: the personal data of a deleted account goes for good; its pseudonymous history stays, and the
//! ledger's chain stays whole.

use chrono::{DateTime, Utc};
use entity::user;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, Statement};
use std::sync::Arc;
use uuid::Uuid;

use crate::authz::Action;
use crate::context::{App, Change, Cx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, Subject};

/// Every column that holds personal data of users, and what an erasure does to it. A test holds this list against
/// the tables: a column in neither list is a column somebody forgot to think about.
pub const PERSONAL: &[(&str, &[&str])] = &[
    ("user", &["external_id", "user_name", "user_name_key", "display_name", "display_name_key", "document", "search"]),
    ("user_email", &["value_key"]),
    ("event", &["payload", "salt"]),
];

/// Accounts purged in one sweep.
const SWEEP: u64 = 200;

/// Erases a deleted account's personal data for good.
///
/// # Errors
/// [`Error::NotFound`] unless the account is deleted and not purged yet.
pub async fn purge(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::EraseUser, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<user::Entity>()
                .filter(user::Column::Id.eq(id))
                .filter(user::Column::DeletedAt.is_not_null())
                .filter(user::Column::PurgedAt.is_null());
            let user = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the deleted user"))?;
            let now = tx.now_after(user.deleted_at);
            let pseudonym = format!("purged:{id}");
            let row = user::ActiveModel {
                external_id: Set(None),
                user_name: Set(pseudonym.clone()),
                user_name_key: Set(pseudonym),
                display_name: Set(None),
                display_name_key: Set(None),
                document: Set("{}".into()),
                search: Set(serde_json::json!({})),
                purge_after: Set(None),
                purged_at: Set(Some(now)),
                updated_at: Set(now),
                version: Set(user.version + 1),
                ..Default::default()
            };
            super::user::write(tx, id, row).await?;
            super::user::delete_emails(tx, id).await?;
            let erase = "UPDATE event SET payload = NULL, salt = NULL WHERE organization_id = $1 AND subject_id = $2";
            let values = [tx.organization().into(), id.into()];
            tx.db.execute_raw(Statement::from_sql_and_values(cx.backend(), erase, values)).await?;
            let entry = Entry {
                action: "user.purged",
                subject: Subject { kind: "user", id },
                connection: user.connection_id,
                at: now,
                before: None,
                after: None,
                population: 0,
            };
            Ok(Change::made((), entry))
        })
    })
    .await
}

#[derive(Debug, FromQueryResult)]
struct Due {
    organization_id: Uuid,
    id: Uuid,
}

/// Purges the accounts whose time has come, in every organization. Returns how many.
pub async fn purge_due(app: &Arc<App>) -> Result<usize> {
    let now: DateTime<Utc> = app.clock.now();
    let text =
        format!(r#"SELECT organization_id, id FROM "user" WHERE purge_after <= $1 ORDER BY purge_after LIMIT {SWEEP}"#);
    let statement = Statement::from_sql_and_values(app.store.backend(), text, [now.into()]);
    let due = Due::find_by_statement(statement).all(&app.store.read).await?;
    let mut purged = 0;
    for Due { organization_id, id } in due {
        match purge(&Cx::system(app.clone(), organization_id), id).await {
            Ok(()) => purged += 1,
            // Another replica was quicker, or the account came back.
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(purged)
}
