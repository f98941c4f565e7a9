//! Removals of members that a filter selects.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::members::{find_live_ids, parse_member_id};
use crate::context::Tx;
use crate::error::{Error, Result};
use crate::identity::document::MemberChange;
use crate::identity::filter::{AttrPath, Filter, matching_elements};
use crate::identity::schema::ResourceType;

/// Whether a change needs the group's current members.
pub(super) fn is_selection(change: &MemberChange) -> bool {
    matches!(change, MemberChange::RemoveWhere(_))
}

/// Replaces the filters in a list of changes by ids: of current members of the group, and of
/// members that an earlier change of the list adds. The group must be locked.
pub(super) async fn resolve_selections(
    tx: &Tx<'_>,
    ty: &ResourceType,
    group: Uuid,
    changes: Vec<MemberChange>,
) -> Result<Vec<MemberChange>> {
    if !changes.iter().any(is_selection) {
        return Ok(changes);
    }
    let mut present = current_members(tx, group).await?;
    let mut resolved = Vec::with_capacity(changes.len());
    for change in changes {
        let change = match change {
            MemberChange::RemoveWhere(filter) => {
                let gone = select_members(ty, &filter, &present)?;
                MemberChange::Remove(gone.iter().map(Uuid::to_string).collect())
            }
            change => change,
        };
        apply_to_members(tx, &change, &mut present).await?;
        resolved.push(change);
    }
    Ok(resolved)
}

#[derive(FromQueryResult)]
struct CurrentMemberRow {
    id: Uuid,
    is_group: bool,
}

/// The direct members, and of each whether it is a group.
async fn current_members(tx: &Tx<'_>, group: Uuid) -> Result<BTreeMap<Uuid, bool>> {
    let text = "SELECT m.user_id AS id, FALSE AS is_group FROM membership m \
         WHERE m.organization_id = $1 AND m.group_id = $2 AND m.until IS NULL \
         UNION ALL SELECT n.member_id, TRUE FROM group_nesting n \
         WHERE n.organization_id = $1 AND n.group_id = $2 AND n.until IS NULL";
    let values = [group.into()];
    let statement = tx.statement(text, values);
    let rows = CurrentMemberRow::find_by_statement(statement).all(&tx.db).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.is_group)).collect())
}

fn select_members(
    ty: &ResourceType,
    filter: &Filter,
    present: &BTreeMap<Uuid, bool>,
) -> Result<Vec<Uuid>> {
    let members = AttrPath { schema: None, name: "members".into(), sub: None };
    let members = ty
        .resolve_path(&members)
        .ok_or_else(|| Error::Internal("groups have no members".into()))?
        .attribute;
    // Folded, as search documents are.
    let kind = |is_group: &bool| if *is_group { "group" } else { "user" };
    let elements: Vec<Value> = present
        .iter()
        .map(|(id, is_group)| json!({ "value": id, "type": kind(is_group) }))
        .collect();
    let selected = matching_elements(filter, members, &elements)?;
    Ok(present.keys().zip(selected).filter(|(_, selected)| *selected).map(|(id, _)| *id).collect())
}

/// Applies a change to the members in `present`.
async fn apply_to_members(
    tx: &Tx<'_>,
    change: &MemberChange,
    present: &mut BTreeMap<Uuid, bool>,
) -> Result<()> {
    match change {
        MemberChange::Clear => present.clear(),
        MemberChange::Remove(ids) => {
            for id in ids.iter().filter_map(|id| parse_member_id(id)) {
                present.remove(&id);
            }
        }
        MemberChange::Add(ids) | MemberChange::Replace(ids) => {
            if matches!(change, MemberChange::Replace(_)) {
                present.clear();
            }
            let added: BTreeSet<Uuid> = ids.iter().filter_map(|id| parse_member_id(id)).collect();
            // Every other id is a user's, or is refused when the changes are applied.
            let groups = find_live_ids(tx, "group", &added, None, false).await?;
            present.extend(added.into_iter().map(|id| (id, groups.contains(&id))));
        }
        MemberChange::RemoveWhere(_) => {}
    }
    Ok(())
}
