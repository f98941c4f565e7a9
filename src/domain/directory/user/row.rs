//! What an account is in the tables: the columns that follow from its document, the keys under which it is found by
//! e-mail address, and the intervals in which it can be used.

use chrono::{DateTime, Utc};
use entity::{activation, user, user_email};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::{User, close_held};
use crate::context::Tx;
use crate::domain::document;
use crate::domain::schema::ResourceType;
use crate::error::{Error, Result};
use crate::ledger::Part;

/// What the columns repeat of a document. One that says nothing about it neither suspends nor reactivates.
pub(super) fn facts(document: &Map<String, Value>, active: bool) -> Result<User> {
    let user_name = document::user_name(document).ok_or_else(|| Error::invalid("userName", "is required"))?;
    Ok(User {
        id: Uuid::nil(),
        connection_id: None,
        external_id: document::external_id(document).map(Into::into),
        user_name: user_name.into(),
        display_name: document::display_name(document).map(Into::into),
        active: document::active(document).unwrap_or(active),
        protected: false,
        document: serde_json::to_string(document).map_err(|error| Error::Internal(error.to_string()))?,
        version: 0,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        deleted_at: None,
    })
}

/// Lets the document of a suspended account say so. A document that lacks `active` decides nothing, and every
/// representation is made of the document: without this, a reader would take the account for an active one. An active
/// account may lack the attribute, as a client that removed it expects (RFC 7644 section 3.5.2.2).
pub(super) fn complete_active(document: &mut Map<String, Value>, stored: bool) {
    if !stored {
        document.entry("active").or_insert(false.into());
    }
}

/// The columns that follow from a document and its version.
pub(super) fn columns(ty: &ResourceType, user: &User, document: &Map<String, Value>) -> user::ActiveModel {
    user::ActiveModel {
        connection_id: Set(user.connection_id),
        external_id: Set(user.external_id.clone()),
        user_name: Set(user.user_name.clone()),
        user_name_key: Set(document::fold(&user.user_name)),
        display_name: Set(user.display_name.clone()),
        display_name_key: Set(user.display_name.as_deref().map(document::fold)),
        active: Set(user.active),
        document: Set(user.document.clone()),
        search: Set(Value::Object(document::search_document(ty, document))),
        version: Set(user.version),
        updated_at: Set(user.updated_at),
        ..Default::default()
    }
}

pub(super) async fn store(tx: &Tx<'_>, ty: &ResourceType, user: &User, document: &Map<String, Value>) -> Result<()> {
    let row = user::ActiveModel { deleted_at: Set(None), purge_after: Set(None), ..columns(ty, user, document) };
    write(tx, user.id, row).await
}

/// Writes the columns that `row` sets.
pub(in crate::domain) async fn write(tx: &Tx<'_>, id: Uuid, row: user::ActiveModel) -> Result<()> {
    user::Entity::update_many()
        .set(row)
        .filter(user::Column::OrganizationId.eq(tx.organization()))
        .filter(user::Column::Id.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

pub(super) async fn insert_emails(tx: &Tx<'_>, user_id: Uuid, document: &Map<String, Value>) -> Result<()> {
    let rows: Vec<_> = document::emails(document)
        .into_iter()
        .map(|value| user_email::ActiveModel {
            organization_id: Set(tx.organization()),
            value_key: Set(document::fold(value)),
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

pub(in crate::domain) async fn delete_emails(tx: &Tx<'_>, user_id: Uuid) -> Result<()> {
    user_email::Entity::delete_many()
        .filter(user_email::Column::OrganizationId.eq(tx.organization()))
        .filter(user_email::Column::UserId.eq(user_id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// The keys under which somebody is found by e-mail address; two addresses may fold to one.
pub(super) fn email_keys(document: &Map<String, Value>) -> BTreeSet<String> {
    document::emails(document).into_iter().map(document::fold).collect()
}

pub(super) fn emails_changed(tx: &Tx<'_>, user: Uuid, old: &BTreeSet<String>, new: &BTreeSet<String>) -> Vec<Part> {
    let (gone, come): (Vec<_>, Vec<_>) = (old.difference(new).collect(), new.difference(old).collect());
    let each = match tx.db.get_database_backend() {
        DbBackend::Postgres => "jsonb_array_elements_text($3) AS keys(value)",
        _ => "json_each($3)",
    };
    let values = |keys: &[&String]| [tx.organization().into(), user.into(), json!(keys).into()];
    let mut parts = Vec::new();
    if !gone.is_empty() {
        let these = format!("organization_id = $1 AND user_id = $2 AND value_key IN (SELECT value FROM {each})");
        parts.push(Part::delete("user_email", these, values(&gone)));
    }
    if !come.is_empty() {
        let row = "user_email (organization_id, user_id, value_key)";
        parts.push(Part::insert(row, "$1, $2, value", "TRUE", values(&come)).from(each));
    }
    parts
}

pub(super) fn activation_opened(tx: &Tx<'_>, user: Uuid, owner: Option<Uuid>, now: DateTime<Utc>) -> Part {
    let row = "activation (organization_id, id, user_id, connection_id, since, opened_by)";
    let values = [tx.organization().into(), Uuid::now_v7().into(), user.into(), owner.into()];
    Part::insert(row, "$1, $2, $3, $4, $5, $6", "TRUE", values.into_iter().chain([now.into(), tx.event.into()]))
}

pub(super) fn activation_closed(tx: &Tx<'_>, user: Uuid, now: DateTime<Utc>) -> Part {
    let open = "organization_id = $3 AND user_id = $4 AND until IS NULL";
    let values = [now.into(), tx.event.into(), tx.organization().into(), user.into()];
    Part::update("activation SET until = $1, closed_by = $2", open, values)
}

/// Accounts can be used from now on, as those of their `owner`.
pub(in crate::domain) async fn open_activations(
    tx: &Tx<'_>,
    users: &[Uuid],
    owner: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<()> {
    let rows = users.iter().map(|user| activation::ActiveModel {
        organization_id: Set(tx.organization()),
        id: Set(Uuid::now_v7()),
        user_id: Set(*user),
        connection_id: Set(owner),
        since: Set(now),
        until: Set(None),
        opened_by: Set(tx.event),
        closed_by: Set(None),
    });
    activation::Entity::insert_many(rows).exec_without_returning(&tx.db).await?;
    Ok(())
}

pub(super) async fn close_activation(tx: &Tx<'_>, user_id: Uuid, now: DateTime<Utc>) -> Result<()> {
    close_held(tx, "activation", &[user_id], now).await.map(|_| ())
}
