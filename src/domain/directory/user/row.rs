//! How an account is stored: the columns that follow from its document, the keys for the search by
//! e-mail address, and the intervals in which it is active.

use chrono::{DateTime, Utc};
use entity::{user, user_email};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::User;
use crate::context::Tx;
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::error::{Error, Result};
use crate::identity::document;
use crate::identity::schema::ResourceType;
use crate::ledger::WriteStep;

/// The account with the columns that repeat parts of its document. A document without `active`
/// neither suspends nor reactivates: the parameter `active` holds then.
pub(super) fn user_from_document(document: &Map<String, Value>, active: bool) -> Result<User> {
    let user_name =
        document::user_name(document).ok_or_else(|| Error::invalid("userName", "is required"))?;
    Ok(User {
        id: Uuid::nil(),
        connection_id: None,
        external_id: document::external_id(document).map(Into::into),
        user_name: user_name.into(),
        display_name: document::display_name(document).map(Into::into),
        active: document::active_flag(document).unwrap_or(active),
        protected: false,
        document: serde_json::to_string(document)
            .map_err(|error| Error::Internal(error.to_string()))?,
        version: 0,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        deleted_at: None,
    })
}

/// Writes `active: false` into the document of a suspended account that lacks `active`. Every
/// representation is made from the document: without this, a client would take the account for an
/// active one. The document of an active account may lack the attribute, as a client that removed
/// it expects (RFC 7644 section 3.5.2.2).
pub(super) fn complete_active(document: &mut Map<String, Value>, stored: bool) {
    if !stored {
        document.entry("active").or_insert(false.into());
    }
}

/// The columns that follow from a document and its version.
pub(super) fn document_columns(
    ty: &ResourceType,
    user: &User,
    document: &Map<String, Value>,
) -> user::ActiveModel {
    user::ActiveModel {
        connection_id: Set(user.connection_id),
        external_id: Set(user.external_id.clone()),
        user_name: Set(user.user_name.clone()),
        user_name_key: Set(document::fold_text(&user.user_name)),
        display_name: Set(user.display_name.clone()),
        display_name_key: Set(user.display_name.as_deref().map(document::fold_text)),
        active: Set(user.active),
        document: Set(user.document.clone()),
        search: Set(Value::Object(document::search_document(ty, document))),
        version: Set(user.version),
        updated_at: Set(user.updated_at),
        ..Default::default()
    }
}

pub(super) async fn store_user(
    tx: &Tx<'_>,
    ty: &ResourceType,
    user: &User,
    document: &Map<String, Value>,
) -> Result<()> {
    let row = user::ActiveModel {
        deleted_at: Set(None),
        purge_after: Set(None),
        ..document_columns(ty, user, document)
    };
    write_user_columns(tx, user.id, row).await
}

/// Writes the columns that `row` sets.
pub(in crate::domain) async fn write_user_columns(
    tx: &Tx<'_>,
    id: Uuid,
    row: user::ActiveModel,
) -> Result<()> {
    user::Entity::update_many()
        .set(row)
        .filter(user::Column::OrganizationId.eq(tx.organization()))
        .filter(user::Column::Id.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

pub(super) async fn insert_emails(
    tx: &Tx<'_>,
    user_id: Uuid,
    document: &Map<String, Value>,
) -> Result<()> {
    let rows: Vec<_> = document::email_addresses(document)
        .into_iter()
        .map(|value| user_email::ActiveModel {
            organization_id: Set(tx.organization()),
            value_key: Set(document::fold_text(value)),
            user_id: Set(user_id),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    // Two addresses may fold to one key.
    user_email::Entity::insert_many(rows)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&tx.db)
        .await?;
    Ok(())
}

/// Deletes the keys of the searches by e-mail address and by words, in one round trip.
pub(super) async fn delete_search_keys(tx: &Tx<'_>, user_id: Uuid) -> Result<()> {
    const THESE: &str = "WHERE organization_id = $1 AND user_id = $2";
    let text = match tx.db.get_database_backend() {
        DbBackend::Postgres => {
            format!("WITH words AS (DELETE FROM user_word {THESE}) DELETE FROM user_email {THESE}")
        }
        _ => format!("DELETE FROM user_word {THESE}; DELETE FROM user_email {THESE}"),
    };
    tx.db.execute_raw(tx.statement(text, [user_id.into()])).await?;
    Ok(())
}

/// The keys under which an account is found by e-mail address; two addresses may fold to one key.
pub(super) fn email_keys(document: &Map<String, Value>) -> BTreeSet<String> {
    document::email_addresses(document).into_iter().map(document::fold_text).collect()
}

pub(super) fn email_change_steps(
    tx: &Tx<'_>,
    user: Uuid,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
) -> Vec<WriteStep> {
    let (gone, come): (Vec<_>, Vec<_>) =
        (old.difference(new).collect(), new.difference(old).collect());
    let each = match tx.db.get_database_backend() {
        DbBackend::Postgres => "jsonb_array_elements_text($3) AS keys(value)",
        _ => "json_each($3)",
    };
    let values = |keys: &[&String]| [tx.organization().into(), user.into(), json!(keys).into()];
    let mut parts = Vec::new();
    if !gone.is_empty() {
        let these = format!(
            "organization_id = $1 AND user_id = $2 AND value_key IN (SELECT value FROM {each})"
        );
        parts.push(WriteStep::delete("user_email", these, values(&gone)));
    }
    if !come.is_empty() {
        let row = "user_email (organization_id, user_id, value_key)";
        parts.push(
            WriteStep::insert(row, "$1, $2, value", "TRUE", values(&come)).reading_from(each),
        );
    }
    parts
}

pub(super) fn open_activation_step(
    tx: &Tx<'_>,
    user: Uuid,
    owner: Option<Uuid>,
    now: DateTime<Utc>,
) -> WriteStep {
    let key = [("user_id", user.into()), ("connection_id", owner.into())];
    interval::open_step(tx, IntervalTable::Activation, key, Some(now))
}
