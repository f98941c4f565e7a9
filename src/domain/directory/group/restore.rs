//! Deleted groups: which there are, and the way back with everything that their deletion ended.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use entity::{connection, group, role_mapping};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, ExprTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, Statement,
};
use serde_json::json;
use uuid::Uuid;

use super::group::{self as groups, Group};
use super::list::{self, Keyset, Slice};
use super::mapping;
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// Deleted groups, in the order in which they were made.
pub async fn restorable(cx: &Cx, keyset: &Keyset<Uuid>) -> Result<Slice<group::Model>> {
    cx.allow(Action::ReadGroup, None)?;
    list::page(cx, deleted(cx), group::Column::Id, keyset).await
}

/// How many deleted groups there are.
pub async fn count_restorable(cx: &Cx) -> Result<u64> {
    cx.allow(Action::ReadGroup, None)?;
    Ok(deleted(cx).count(cx.db()).await?)
}

fn deleted(cx: &Cx) -> Select<group::Entity> {
    cx.find::<group::Entity>().filter(group::Column::DeletedAt.is_not_null())
}

/// Brings a deleted group back under its own id, with the members, nestings and mappings that its deletion ended: those
/// whose other end is still there and who have not gone elsewhere meanwhile.
///
/// # Errors
/// [`Error::NotFound`] unless the group is deleted, [`Error::Taken`] when another has its `externalId` now.
pub async fn restore(cx: &Cx, id: Uuid) -> Result<Group> {
    cx.write(move |tx| Box::pin(restore_in(cx, tx, id))).await
}

pub(super) async fn restore_in(cx: &Cx, tx: &Tx<'_>, id: Uuid) -> Result<Change<Group>> {
    cx.allow(Action::WriteGroup, None)?;
    cx.allow(Action::WriteAccess, None)?;
    groups::lock_organization(tx).await?;
    let query = tx.find::<group::Entity>().filter(group::Column::Id.eq(id));
    let row = super::locked(tx, query.filter(group::Column::DeletedAt.is_not_null())).await?;
    let row = row.ok_or_else(|| Error::not_found("the deleted group"))?;
    // All that its deletion ended, ended in the same instant.
    let deleted_at = row.deleted_at.unwrap_or_default();
    let owner = match row.connection_id {
        Some(connection) => live_connection(tx, connection).await?,
        None => None,
    };
    let now = tx.now_after(row.deleted_at);
    let changes = group::ActiveModel {
        connection_id: Set(owner),
        deleted_at: Set(None),
        updated_at: Set(now),
        version: Set(row.version + 1),
        ..Default::default()
    };
    groups::write(tx, id, changes).await?;
    let group = Group {
        id,
        connection_id: owner,
        external_id: row.external_id,
        display_name: row.display_name,
        document: row.document,
        version: row.version + 1,
        created_at: row.created_at,
        updated_at: now,
        deleted_at: None,
    };

    let members = ended(tx, MEMBERS, id, deleted_at, owner).await?;
    let members = groups::open(tx, "membership", "user_id", id, &members, now).await?;
    let mut nestings = 0;
    for inner in ended(tx, INNER, id, deleted_at, owner).await? {
        nestings += nest(tx, id, inner, now).await?;
    }
    for outer in ended(tx, OUTER, id, deleted_at, owner).await? {
        nestings += nest(tx, outer, id, now).await?;
    }
    groups::renew_around(tx, &[id], now).await?;
    let mut mappings = Vec::new();
    for mapping in mappings_of(tx, id, deleted_at, now).await? {
        // A role that is gone has nothing to give; everything else is a fault.
        match mapping::restore_in(cx, tx, mapping, None).await {
            Ok(change) if change.entry.is_some() => mappings.push(mapping),
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let bound = mapping::bind(tx, &group).await?;
    let after = json!({
        "attributes": group.attributes()?, "members": members, "nestings": nestings, "mappings": mappings,
        "mappingsBound": bound,
    });
    let entry = Entry {
        kind: EventKind::GroupRestored,
        subject: Subject { kind: "group", id },
        connection: owner,
        at: now,
        before: None,
        after: Some(after),
        population: 1,
    };
    Ok(Change::made(group, entry))
}

/// The connection, if it is still there: what a deleted one owned is nobody's.
async fn live_connection(tx: &Tx<'_>, id: Uuid) -> Result<Option<Uuid>> {
    let query = tx.find::<connection::Entity>().filter(connection::Column::Id.eq(id));
    let query = query.filter(connection::Column::DeletedAt.is_null());
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::Share),
        _ => query,
    };
    Ok(query.one(&tx.db).await?.map(|row| row.id))
}

/// The other ends of what a deletion ended at `$3` for the group `$2`, as far as they are there.
const MEMBERS: &str = r#"SELECT u.id FROM membership m
    JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND u.deleted_at IS NULL{owned u}
    WHERE m.organization_id = $1 AND m.group_id = $2 AND m.until = $3"#;
const INNER: &str = r#"SELECT u.id FROM group_nesting m
    JOIN "group" u ON u.organization_id = $1 AND u.id = m.member_id AND u.deleted_at IS NULL{owned u}
    WHERE m.organization_id = $1 AND m.group_id = $2 AND m.until = $3"#;
const OUTER: &str = r#"SELECT u.id FROM group_nesting m
    JOIN "group" u ON u.organization_id = $1 AND u.id = m.group_id AND u.deleted_at IS NULL{owner u}
    WHERE m.organization_id = $1 AND m.member_id = $2 AND m.until = $3"#;

#[derive(FromQueryResult)]
struct End {
    id: Uuid,
}

/// A connection's group has its own people and groups in it, and a group made by hand takes anybody's.
async fn ended(
    tx: &Tx<'_>,
    text: &str,
    id: Uuid,
    deleted_at: DateTime<Utc>,
    owner: Option<Uuid>,
) -> Result<BTreeSet<Uuid>> {
    let mut values = vec![tx.organization().into(), id.into(), deleted_at.into()];
    let (owned, outer) = match owner {
        Some(owner) => {
            values.push(owner.into());
            (" AND u.connection_id = $4", " AND (u.connection_id = $4 OR u.connection_id IS NULL)")
        }
        None => ("", " AND u.connection_id IS NULL"),
    };
    let text = text.replace("{owned u}", owned).replace("{owner u}", outer);
    let rows = End::find_by_statement(Statement::from_sql_and_values(tx.db.get_database_backend(), text, values));
    Ok(rows.all(&tx.db).await?.into_iter().map(|row| row.id).collect())
}

/// Puts one group into another unless that would close a circle by now, or stand too deep.
async fn nest(tx: &Tx<'_>, outer: Uuid, inner: Uuid, now: DateTime<Utc>) -> Result<usize> {
    let inner = BTreeSet::from([inner]);
    match groups::check_nesting(tx, outer, &inner).await {
        Ok(()) => Ok(groups::open(tx, "group_nesting", "member_id", outer, &inner, now).await?.len()),
        Err(Error::Invalid { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The mappings that the deletion ended and whose planned end has not passed.
async fn mappings_of(tx: &Tx<'_>, id: Uuid, deleted_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<Vec<Uuid>> {
    let ended = tx
        .find::<role_mapping::Entity>()
        .filter(role_mapping::Column::GroupId.eq(id))
        .filter(role_mapping::Column::Until.eq(deleted_at))
        .filter(role_mapping::Column::ExpiresAt.is_null().or(role_mapping::Column::ExpiresAt.gt(now)))
        .order_by_asc(role_mapping::Column::MappingId);
    Ok(ended.all(&tx.db).await?.into_iter().map(|row| row.mapping_id).collect())
}
