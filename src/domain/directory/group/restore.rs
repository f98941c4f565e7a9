//! Deleted groups: lists them, and restores one with everything that its deletion ended.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use entity::{connection, group, role_mapping};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, ExprTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::access::giving;
use crate::domain::access::role_mapping as role_mappings;
use crate::domain::directory::deletion::DeletedQuery;
use crate::domain::directory::group as groups;
use crate::domain::directory::group::Group;
use crate::domain::directory::search_word;
use crate::domain::interval;
use crate::domain::interval::MemberKind;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, Result};
use crate::identity::document;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// A page of deleted groups, each with its place in the order `by`.
pub async fn list_restorable_groups(
    cx: &Cx,
    which: &DeletedQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(group::Model, OrderPlace)>> {
    cx.allow(Action::ReadGroup, None)?;
    paging::fetch_ordered(cx, select_deleted_groups(cx, which), group::Column::Id, by, keyset).await
}

/// How many deleted groups there are.
pub async fn count_restorable_groups(cx: &Cx, which: &DeletedQuery) -> Result<u64> {
    cx.allow(Action::ReadGroup, None)?;
    Ok(select_deleted_groups(cx, which).count(cx.db()).await?)
}

fn select_deleted_groups(cx: &Cx, which: &DeletedQuery) -> Select<group::Entity> {
    let mut deleted = cx.find::<group::Entity>().filter(group::Column::DeletedAt.is_not_null());
    if let Some(search) = &which.search {
        let folded = document::fold_text(search);
        let name = paging::contains_text(cx, r#""group".display_name_key"#, &folded);
        deleted = deleted.filter(name);
    }
    if let Some(connection) = which.connection {
        deleted = deleted.filter(group::Column::ConnectionId.eq(connection));
    }
    if let Some(since) = which.since {
        deleted = deleted.filter(group::Column::DeletedAt.gte(since));
    }
    if let Some(until) = which.until {
        deleted = deleted.filter(group::Column::DeletedAt.lt(until));
    }
    deleted
}

/// Restores a deleted group under its own id, with the members, nestings and mappings that its
/// deletion ended, as far as the members, groups and roles still exist and their owner still fits.
///
/// # Errors
/// [`Error::NotFound`] unless the group is deleted, [`Error::Taken`] when another has its
/// `externalId` now.
pub async fn restore_group(cx: &Cx, id: Uuid) -> Result<Group> {
    cx.write(move |tx| Box::pin(restore_group_in(cx, tx, id))).await
}

pub(in crate::domain) async fn restore_group_in(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
) -> Result<Change<Group>> {
    cx.allow(Action::WriteGroup, None)?;
    cx.allow(Action::WriteAccess, None)?;
    groups::lock_organization(tx).await?;
    let query = tx.find::<group::Entity>().filter(group::Column::Id.eq(id));
    let row =
        crate::domain::lock_row(tx, query.filter(group::Column::DeletedAt.is_not_null())).await?;
    let row = row.ok_or_else(|| Error::not_found(Noun::DeletedGroup))?;
    // Everything that the deletion ended has this instant as its end.
    let deleted_at = row.deleted_at.unwrap_or_default();
    let owner = match row.connection_id {
        Some(connection) => find_live_connection(tx, connection).await?,
        None => None,
    };
    let now = tx.now_after(row.deleted_at);
    let group = revive_row(tx, row, owner, now).await?;
    let words = search_word::group_words(&group.attributes()?);
    search_word::change_words(tx, "group", id, &BTreeSet::new(), &words).await?;
    let members = find_ended_ids(tx, ENDED_MEMBERS_SQL, id, deleted_at, owner).await?;
    let members = interval::open_members(tx, MemberKind::User, id, &members, now).await?;
    let mut nestings = 0;
    for inner in find_ended_ids(tx, ENDED_INNER_GROUPS_SQL, id, deleted_at, owner).await? {
        nestings += nest_group(tx, id, inner, now).await?;
    }
    for outer in find_ended_ids(tx, ENDED_OUTER_GROUPS_SQL, id, deleted_at, owner).await? {
        nestings += nest_group(tx, outer, id, now).await?;
    }
    groups::bump_versions_around(tx, &[id], now).await?;
    let mappings = restore_mappings(cx, tx, id, deleted_at, now).await?;
    let bound = role_mappings::bind_waiting_mappings(tx, &group).await?;
    giving::check_group(cx, tx, id).await?;
    let after = json!({
        "attributes": group.attributes()?, "members": members, "nestings": nestings,
        "mappings": mappings,
        "mappingsBound": bound,
    });
    let entry = NewEvent {
        kind: EventKind::GroupRestored,
        subject: EventSubject { kind: "group", id },
        connection: owner,
        at: now,
        before: None,
        after: Some(after),
        population: 1,
        name: None,
    };
    Ok(Change::recorded(group, entry))
}

/// Makes the row of a deleted group live again, as a group of `owner`.
async fn revive_row(
    tx: &Tx<'_>,
    row: group::Model,
    owner: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<Group> {
    let changes = group::ActiveModel {
        connection_id: Set(owner),
        deleted_at: Set(None),
        updated_at: Set(now),
        version: Set(row.version + 1),
        ..Default::default()
    };
    groups::write_group_columns(tx, row.id, changes).await?;
    Ok(Group {
        id: row.id,
        connection_id: owner,
        external_id: row.external_id,
        display_name: row.display_name,
        document: row.document,
        version: row.version + 1,
        created_at: row.created_at,
        updated_at: now,
        deleted_at: None,
    })
}

/// Restores the role mappings that ended with the group; returns those that have begun again.
async fn restore_mappings(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
    deleted_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let mut mappings = Vec::new();
    for mapping in find_ended_mappings(tx, id, deleted_at, now).await? {
        // The role of the mapping may be deleted by now; every other error is a fault.
        match role_mappings::restore_in(cx, tx, mapping, None).await {
            Ok(change) if change.entry.is_some() => mappings.push(mapping),
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(mappings)
}

/// The connection, if it still exists: what a deleted connection owned has no owner.
async fn find_live_connection(tx: &Tx<'_>, id: Uuid) -> Result<Option<Uuid>> {
    let query = tx.find::<connection::Entity>().filter(connection::Column::Id.eq(id));
    let query = query.filter(connection::Column::DeletedAt.is_null());
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::Share),
        _ => query,
    };
    Ok(query.one(&tx.db).await?.map(|row| row.id))
}

/// The members and outer groups of the group `$2` whose interval its deletion ended at `$3`, as far
/// as they still exist.
const ENDED_MEMBERS_SQL: &str = r#"SELECT u.id FROM membership m
    JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND u.deleted_at IS NULL{owned u}
    WHERE m.organization_id = $1 AND m.group_id = $2 AND m.until = $3"#;
const ENDED_INNER_GROUPS_SQL: &str = r#"SELECT u.id FROM group_nesting m
    JOIN "group" u ON u.organization_id = $1 AND u.id = m.member_id
    AND u.deleted_at IS NULL{owned u}
    WHERE m.organization_id = $1 AND m.group_id = $2 AND m.until = $3"#;
const ENDED_OUTER_GROUPS_SQL: &str = r#"SELECT u.id FROM group_nesting m
    JOIN "group" u ON u.organization_id = $1 AND u.id = m.group_id AND u.deleted_at IS NULL{owner u}
    WHERE m.organization_id = $1 AND m.member_id = $2 AND m.until = $3"#;

#[derive(FromQueryResult)]
struct EndedMemberRow {
    id: Uuid,
}

/// The ids that one of the queries above finds. A group of a connection has only members of that
/// connection; a group made by hand takes members of all.
async fn find_ended_ids(
    tx: &Tx<'_>,
    text: &str,
    id: Uuid,
    deleted_at: DateTime<Utc>,
    owner: Option<Uuid>,
) -> Result<BTreeSet<Uuid>> {
    let mut values = vec![id.into(), deleted_at.into()];
    let (owned, outer) = match owner {
        Some(owner) => {
            values.push(owner.into());
            (" AND u.connection_id = $4", " AND (u.connection_id = $4 OR u.connection_id IS NULL)")
        }
        None => ("", " AND u.connection_id IS NULL"),
    };
    let text = text.replace("{owned u}", owned).replace("{owner u}", outer);
    let rows = EndedMemberRow::find_by_statement(tx.statement(text, values));
    Ok(rows.all(&tx.db).await?.into_iter().map(|row| row.id).collect())
}

/// Puts one group into another, unless that would make a cycle by now or be too deep.
async fn nest_group(tx: &Tx<'_>, outer: Uuid, inner: Uuid, now: DateTime<Utc>) -> Result<usize> {
    let inner = BTreeSet::from([inner]);
    match groups::check_nesting(tx, outer, &inner).await {
        Ok(()) => {
            Ok(interval::open_members(tx, MemberKind::Group, outer, &inner, now).await?.len())
        }
        Err(Error::Invalid { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The mappings that the deletion ended and whose planned end has not passed.
async fn find_ended_mappings(
    tx: &Tx<'_>,
    id: Uuid,
    deleted_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let ended = tx
        .find::<role_mapping::Entity>()
        .filter(role_mapping::Column::GroupId.eq(id))
        .filter(role_mapping::Column::Until.eq(deleted_at))
        .filter(
            role_mapping::Column::ExpiresAt.is_null().or(role_mapping::Column::ExpiresAt.gt(now)),
        )
        .order_by_asc(role_mapping::Column::MappingId);
    Ok(ended.all(&tx.db).await?.into_iter().map(|row| row.mapping_id).collect())
}
