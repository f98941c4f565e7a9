//! Members that a removal selects by what they are.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use super::members::{live_ids, parse};
use crate::context::Tx;
use crate::domain::document::MemberChange;
use crate::domain::schema::ResourceType;
use crate::domain::search::{AttrPath, Filter, matching_elements};
use crate::error::{Error, Result};

/// Whether a change can be carried out only by looking at the members that the group has.
pub(super) fn is_selection(change: &MemberChange) -> bool {
    matches!(change, MemberChange::RemoveWhere(_))
}

/// The same changes, with ids in the place of selections: those of members that the group has, and of those that an
/// earlier change of the list adds. The group must be locked.
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
                let gone = select(ty, &filter, &present)?;
                MemberChange::Remove(gone.iter().map(Uuid::to_string).collect())
            }
            change => change,
        };
        follow(tx, &change, &mut present).await?;
        resolved.push(change);
    }
    Ok(resolved)
}

#[derive(FromQueryResult)]
struct MemberRow {
    id: Uuid,
    is_group: bool,
}

/// The direct members, and of each whether it is a group.
async fn current_members(tx: &Tx<'_>, group: Uuid) -> Result<BTreeMap<Uuid, bool>> {
    let text = "SELECT m.user_id AS id, FALSE AS is_group FROM membership m \
         WHERE m.organization_id = $1 AND m.group_id = $2 AND m.until IS NULL \
         UNION ALL SELECT n.member_id, TRUE FROM group_nesting n \
         WHERE n.organization_id = $1 AND n.group_id = $2 AND n.until IS NULL";
    let values = [tx.organization().into(), group.into()];
    let statement = Statement::from_sql_and_values(tx.db.get_database_backend(), text, values);
    let rows = MemberRow::find_by_statement(statement).all(&tx.db).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.is_group)).collect())
}

fn select(ty: &ResourceType, filter: &Filter, present: &BTreeMap<Uuid, bool>) -> Result<Vec<Uuid>> {
    let members = AttrPath { schema: None, name: "members".into(), sub: None };
    let members = ty.resolve(&members).ok_or_else(|| Error::Internal("groups have no members".into()))?.attribute;
    // Folded, as search documents are.
    let kind = |is_group: &bool| if *is_group { "group" } else { "user" };
    let elements: Vec<Value> =
        present.iter().map(|(id, is_group)| json!({ "value": id, "type": kind(is_group) })).collect();
    let selected = matching_elements(filter, members, &elements)?;
    Ok(present.keys().zip(selected).filter(|(_, selected)| *selected).map(|(id, _)| *id).collect())
}

/// What the members are after a change.
async fn follow(tx: &Tx<'_>, change: &MemberChange, present: &mut BTreeMap<Uuid, bool>) -> Result<()> {
    match change {
        MemberChange::Clear => present.clear(),
        MemberChange::Remove(ids) => {
            for id in ids.iter().filter_map(|id| parse(id)) {
                present.remove(&id);
            }
        }
        MemberChange::Add(ids) | MemberChange::Replace(ids) => {
            if matches!(change, MemberChange::Replace(_)) {
                present.clear();
            }
            let added: BTreeSet<Uuid> = ids.iter().filter_map(|id| parse(id)).collect();
            // An id that is no group's is a user's, or refused when the changes are carried out.
            let groups = live_ids(tx, "group", &added, None, false).await?;
            present.extend(added.into_iter().map(|id| (id, groups.contains(&id))));
        }
        MemberChange::RemoveWhere(_) => {}
    }
    Ok(())
}
