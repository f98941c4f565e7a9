//! Erasure: the personal data of a deleted account goes for good; its pseudonymous history stays, and the
//! ledger's chain stays whole.

use chrono::{DateTime, Utc};
use entity::user;
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, FromQueryResult, QueryFilter, Statement};
use std::sync::Arc;
use uuid::Uuid;

use super::{bulk, failure, idempotency, list, reconcile};
use crate::authz::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// A table that holds personal data of users.
#[derive(Debug, Clone, Copy)]
pub struct Personal {
    pub table: &'static str,
    /// The column that says whose.
    pub user: &'static str,
    /// The personal columns, each with the SQL of what takes its value's place; none = the whole row goes.
    pub columns: &'static [(&'static str, Option<&'static str>)],
}

/// Every column that holds personal data of users, and what an erasure does to it. A test holds this list against
/// the tables: a column that nobody has thought about fails it.
pub const PERSONAL: &[Personal] = &[
    Personal {
        table: "user",
        user: "id",
        columns: &[
            ("external_id", Some("NULL")),
            ("user_name", Some(PSEUDONYM)),
            ("user_name_key", Some(PSEUDONYM)),
            ("display_name", Some("NULL")),
            ("display_name_key", Some("NULL")),
            ("document", Some("'{}'")),
            ("search", Some("'{}'")),
        ],
    },
    Personal { table: "user_email", user: "user_id", columns: &[("value_key", None)] },
    Personal {
        table: "adoption_proposal",
        user: "user_id",
        columns: &[("document", Some("NULL")), ("reason", Some("NULL"))],
    },
    // A line that was not carried out yet; one that was has no input any more.
    Personal { table: "bulk_line", user: "user_id", columns: &[("input", Some("NULL"))] },
    Personal {
        table: "failure",
        user: "user_id",
        columns: &[
            ("label", Some("NULL")),
            ("payload", Some("NULL")),
            ("note", Some("NULL")),
            // Hashes of names: whoever knows a name could find it by them.
            ("thing", Some("NULL")),
            ("fingerprint", Some("''")),
        ],
    },
    Personal {
        table: "finding",
        user: "user_id",
        columns: &[
            ("label", None),
            ("detail", None),
            ("reason", None),
            // Hashes of names: whoever knows a name could find it by them.
            ("key", None),
            ("thing", None),
        ],
    },
    Personal { table: "pulled", user: "resource_id", columns: &[("digest", None)] },
    Personal { table: "role_grant", user: "user_id", columns: &[("reason", Some("NULL"))] },
    Personal { table: "event", user: "subject_id", columns: &[("payload", Some("NULL")), ("salt", Some("NULL"))] },
];

/// Stands in [`PERSONAL`] for a name that tells nobody's.
const PSEUDONYM: &str = "{pseudonym}";

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
            erase(tx, &[id], now).await?;
            cx.app.store.note_erasure();
            let entry = Entry {
                kind: EventKind::UserPurged,
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

/// Empties everything in [`PERSONAL`] that belongs to these accounts, which the caller has locked. Those that are
/// still live are deleted by it.
pub(super) async fn erase(tx: &Tx<'_>, users: &[Uuid], now: DateTime<Utc>) -> Result<()> {
    let backend = tx.db.get_database_backend();
    let pseudonym = match backend {
        DbBackend::Postgres => "'purged:' || replace(CAST(id AS text), '-', '')",
        _ => "'purged:' || lower(hex(id))",
    };
    let values = [tx.organization().into(), list::ids(users)];
    // By the names that the accounts still bear.
    failure::erase(tx, users, now).await?;
    reconcile::erase(tx, users).await?;
    for Personal { table, user, columns } in PERSONAL {
        let set: Option<Vec<_>> =
            columns.iter().map(|(column, value)| value.map(|value| format!("{column} = {value}"))).collect();
        let act = match set {
            Some(set) => format!(r#"UPDATE "{table}" SET {}"#, set.join(", ").replace(PSEUDONYM, pseudonym)),
            None => format!(r#"DELETE FROM "{table}""#),
        };
        let text = format!("{act} WHERE organization_id = $1 AND {user} {}", list::among(backend, 2));
        tx.db.execute_raw(Statement::from_sql_and_values(backend, text, values.clone())).await?;
    }
    idempotency::erase(tx).await?;
    bulk::erase(tx).await?;
    let text = format!(
        r#"UPDATE "user" SET deleted_at = coalesce(deleted_at, $3), purged_at = $3, purge_after = NULL, updated_at = $3,
            version = version + 1 WHERE organization_id = $1 AND id {}"#,
        list::among(backend, 2)
    );
    let [organization, users] = values;
    tx.db.execute_raw(Statement::from_sql_and_values(backend, text, [organization, users, now.into()])).await?;
    Ok(())
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
