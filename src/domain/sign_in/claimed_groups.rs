//! Which groups are meant by the keys that claims have. A key is joined to a group once, by id, and
//! stays joined when the group gets another name; a group that is unknown here is made, and becomes
//! the connection's.

use std::collections::{BTreeMap, BTreeSet};

use entity::assertion_source::GroupIdentity;
use entity::role_mapping::MatchAttribute;
use entity::sign_in;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::assertion::ClaimedGroup;
use super::source::SignInSource;
use crate::context::Change;
use crate::domain::directory::group;
use crate::domain::directory::group::binding;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::paging::live_index::LiveIndex;
use crate::error::{Error, Result, Rule};
use crate::identity::document;

/// The most groups of one assertion or of one answer of a directory.
const MAX_CLAIMED_GROUPS: usize = 20_000;

/// The claimed groups by key, in the form in which keys are compared, each with its name.
pub(super) type GroupKeys = BTreeMap<String, Option<String>>;

/// The form in which the keys of a connection are compared.
pub(super) fn fold_key(identity: GroupIdentity, key: &str) -> String {
    match identity {
        GroupIdentity::ExternalId => key.trim().to_owned(),
        GroupIdentity::Id => key.trim().to_ascii_lowercase(),
        GroupIdentity::DisplayName => document::fold_text(key.trim()),
    }
}

/// The claimed groups, each once.
///
/// # Errors
/// [`Error::Invalid`] for too many of them, and for a key that cannot be stored.
pub(super) fn collect_keys(from: &SignInSource, groups: &[ClaimedGroup]) -> Result<GroupKeys> {
    if groups.len() > MAX_CLAIMED_GROUPS {
        let why = format!("lists more than {MAX_CLAIMED_GROUPS} groups");
        return Err(Error::broken(Rule::TooMany, "groups", why));
    }
    let mut keys = GroupKeys::new();
    for claimed in groups {
        let key = crate::domain::check_text("groups", &claimed.key, 512)?;
        let name = match from.source.group_identity {
            // The name as it was said, before it is folded: a shorter one could be another group's.
            GroupIdentity::DisplayName => Some(key.clone()),
            GroupIdentity::ExternalId | GroupIdentity::Id => claimed.display_name.clone(),
        };
        let known = keys.entry(fold_key(from.source.group_identity, &key)).or_default();
        *known = known.take().or(name);
    }
    Ok(keys)
}

/// The set of keys inside which absence counts; none = all groups of the connection.
pub(super) fn claimed_set(from: &SignInSource) -> Option<BTreeSet<String>> {
    let listed = from.source.claimed_groups.as_ref()?.as_array()?;
    let keys = listed.iter().filter_map(Value::as_str);
    Some(keys.map(|key| fold_key(from.source.group_identity, key)).collect())
}

/// The groups that keys are joined to.
#[derive(Debug, Default)]
pub(super) struct JoinedGroups {
    pub groups: BTreeMap<String, Uuid>,
    /// Keys without a group.
    pub unknown: Vec<String>,
}

#[derive(FromQueryResult)]
struct KeyRow {
    key: String,
    group_id: Uuid,
    live: Option<Uuid>,
}

#[derive(FromQueryResult)]
struct FoundGroup {
    key: String,
    id: Uuid,
}

/// The groups of these keys. Those that are known here are joined; `make` = the others are made.
pub(super) async fn join_groups(
    from: &SignInSource,
    keys: &GroupKeys,
    make: bool,
) -> Result<JoinedGroups> {
    let mut joined = JoinedGroups::default();
    let rows = read_keys(&from.cx.app.store.write, from, keys.keys()).await?;
    let mut stale: BTreeMap<String, Uuid> = BTreeMap::new();
    for row in rows {
        match row.live {
            Some(group) => joined.groups.insert(row.key, group),
            None => stale.insert(row.key, row.group_id),
        };
    }
    let missing: Vec<&String> =
        keys.keys().filter(|key| !joined.groups.contains_key(*key)).collect();
    if missing.is_empty() {
        return Ok(joined);
    }
    for found in find_known(from, &missing).await? {
        if joined.groups.contains_key(&found.key) {
            continue;
        }
        let before = stale.get(&found.key).copied();
        let statement = join_statement(from, &found.key, found.id, before);
        // Which group a key means changes no access, so it needs no event of its own. The
        // memberships that follow from it have one.
        from.cx.app.store.write.execute_raw(statement).await?;
        joined.groups.insert(found.key, found.id);
    }
    for key in missing {
        if joined.groups.contains_key(key) {
            continue;
        }
        if !make || from.source.group_identity == GroupIdentity::Id {
            joined.unknown.push(key.clone());
            continue;
        }
        let name = keys.get(key).and_then(Option::as_deref).unwrap_or(key);
        if let Some(id) = make_group(from, key, name, stale.get(key).copied()).await? {
            joined.groups.insert(key.clone(), id);
        } else {
            // Another sign-in has made it at the same time.
            let again = read_keys(&from.cx.app.store.write, from, [key]).await?;
            let group = again.into_iter().find_map(|row| row.live);
            let group =
                group.ok_or_else(|| Error::Busy("a claimed group is made just now".into()))?;
            joined.groups.insert(key.clone(), group);
        }
    }
    Ok(joined)
}

/// Binds the mappings that wait at the connection for one of these keys to the group that the key
/// means, which may be SCIM's or made by hand.
pub(super) async fn bind_waiting_mappings(
    from: &SignInSource,
    joined: &BTreeMap<String, Uuid>,
) -> Result<()> {
    let (attribute, name) = match from.source.group_identity {
        GroupIdentity::ExternalId => (MatchAttribute::ExternalId, "EXTERNAL_ID"),
        GroupIdentity::DisplayName => (MatchAttribute::DisplayName, "DISPLAY_NAME"),
        // A mapping to a group with an id does not wait.
        GroupIdentity::Id => return Ok(()),
    };
    if joined.is_empty() {
        return Ok(());
    }
    let backend = from.cx.backend();
    let waiting = crate::domain::paging::join_each(
        backend,
        "role_mapping",
        "m",
        &format!(
            "m.organization_id = $1 AND m.connection_id = $2 AND m.match_attribute = '{name}' \
             AND m.match_value = wanted.key AND m.until IS NULL AND m.group_id IS NULL"
        ),
    );
    let text = format!("SELECT DISTINCT wanted.key FROM {} {waiting}", wanted_texts(backend, 3));
    let keys: Vec<&String> = joined.keys().collect();
    let values = [from.connection.id.into(), json!(keys).into()];
    let rows = from.cx.app.store.write.query_all_raw(from.cx.statement(text, values)).await?;
    for row in rows {
        let key: String = row.try_get("", "key")?;
        let Some(group) = joined.get(&key).copied() else { continue };
        let (key, connection) = (&key, from.connection.id);
        from.cx
            .write(move |tx| Box::pin(binding::bind_key(tx, group, connection, attribute, key)))
            .await?;
    }
    Ok(())
}

/// SQL: the texts in `$n` as rows `wanted` of one column `key`.
fn wanted_texts(backend: DbBackend, n: usize) -> String {
    match backend {
        DbBackend::Postgres => {
            format!("(SELECT value AS key FROM jsonb_array_elements_text(${n})) AS wanted")
        }
        _ => format!("(SELECT value AS key FROM json_each(${n})) AS wanted"),
    }
}

/// The groups that these keys are joined to already.
pub(super) async fn find_joined<C: ConnectionTrait>(
    db: &C,
    from: &SignInSource,
    keys: &GroupKeys,
) -> Result<BTreeSet<Uuid>> {
    let rows = read_keys(db, from, keys.keys()).await?;
    Ok(rows.into_iter().filter_map(|row| row.live).collect())
}

async fn read_keys<C: ConnectionTrait>(
    db: &C,
    from: &SignInSource,
    keys: impl IntoIterator<Item = &String>,
) -> Result<Vec<KeyRow>> {
    let backend = from.cx.backend();
    let keys: Vec<&String> = keys.into_iter().collect();
    let joined = crate::domain::paging::join_each(
        backend,
        "claimed_group",
        "b",
        "b.organization_id = $1 AND b.connection_id = $2 AND b.key = wanted.key",
    );
    let text = format!(
        "SELECT b.key, b.group_id, (SELECT g.id FROM \"group\" g WHERE g.organization_id = $1 \
         AND g.id = b.group_id AND g.deleted_at IS NULL) AS live FROM {} {joined}",
        wanted_texts(backend, 3)
    );
    let values = [from.connection.id.into(), json!(keys).into()];
    let rows = KeyRow::find_by_statement(from.cx.statement(text, values));
    Ok(rows.all(db).await?)
}

/// The live groups of these keys, those of the connection first, then the oldest.
async fn find_known(from: &SignInSource, keys: &[&String]) -> Result<Vec<FoundGroup>> {
    let backend = from.cx.backend();
    let condition = match from.source.group_identity {
        GroupIdentity::ExternalId => {
            "r.external_id = wanted.key AND r.document <> 'by externalId'".to_owned()
        }
        GroupIdentity::DisplayName => format!(
            "r.display_name_key = wanted.key{}",
            LiveIndex::DisplayName.index_condition(backend)
        ),
        GroupIdentity::Id => {
            let ids: BTreeSet<Uuid> =
                keys.iter().filter_map(|key| Uuid::try_parse(key).ok()).collect();
            let text = format!(
                "SELECT r.id FROM {} WHERE r.deleted_at IS NULL",
                crate::domain::paging::each_of(backend, (1, 2), "group", "r", "id")
            );
            let statement = from.cx.statement(text, [crate::domain::paging::bind_ids(&ids)]);
            let rows = from.cx.app.store.write.query_all_raw(statement).await?;
            let found = rows.iter().map(|row| {
                let id: Uuid = row.try_get("", "id")?;
                let key = keys.iter().find(|key| Uuid::try_parse(key) == Ok(id));
                Ok(FoundGroup { key: key.map(|key| (*key).clone()).unwrap_or_default(), id })
            });
            return found.collect();
        }
    };
    let condition = format!("r.organization_id = $1 AND r.deleted_at IS NULL AND {condition}");
    let found = crate::domain::paging::join_each(backend, "group", "r", &condition);
    let text = format!(
        "SELECT wanted.key, r.id FROM {} {found} WHERE r.organization_id = $1 \
         ORDER BY CASE WHEN r.connection_id = $3 THEN 0 ELSE 1 END, r.id",
        wanted_texts(backend, 2)
    );
    let values = [json!(keys).into(), from.connection.id.into()];
    let rows = FoundGroup::find_by_statement(from.cx.statement(text, values));
    Ok(rows.all(&from.cx.app.store.write).await?)
}

/// Joins a key to a group, unless it was joined to another one than `before` meanwhile.
fn join_statement(
    from: &SignInSource,
    key: &str,
    group: Uuid,
    before: Option<Uuid>,
) -> sea_orm::Statement {
    let text = "INSERT INTO claimed_group (organization_id, connection_id, key, group_id) \
                VALUES ($1, $2, $3, $4) ON CONFLICT (organization_id, connection_id, key) \
                DO UPDATE SET group_id = excluded.group_id WHERE claimed_group.group_id = $5";
    let before = before.unwrap_or_default();
    let values = [from.connection.id.into(), key.into(), group.into(), before.into()];
    from.cx.statement(text, values)
}

/// Makes a group of the connection; none if another sign-in did at the same time. Mappings that
/// wait for it bind.
async fn make_group(
    from: &SignInSource,
    key: &str,
    name: &str,
    before: Option<Uuid>,
) -> Result<Option<Uuid>> {
    let types = resource_types(&from.cx).await?;
    let ty = &types.group;
    let mut attributes = Map::new();
    attributes.insert("displayName".into(), name.into());
    if from.source.group_identity == GroupIdentity::ExternalId {
        attributes.insert("externalId".into(), key.into());
    }
    let document = &document::normalize_document(ty, attributes)?;
    let made = from.cx.write(move |tx| {
        Box::pin(async move {
            let id = Uuid::now_v7();
            let done = tx.db.execute_raw(join_statement(from, key, id, before)).await?;
            if done.rows_affected() == 0 {
                return Ok(Change::unchanged(None));
            }
            let owner = Some(from.connection.id);
            let change = group::create_group_in(tx, ty, id, owner, document, &[]).await?;
            Ok(change.map(|group| Some(group.id)))
        })
    });
    match made.await {
        // A group of the connection has the externalId: it came in between.
        Err(Error::Taken { .. }) => Err(Error::Busy("a claimed group is made just now".into())),
        made => made,
    }
}

/// The groups of the latest list, by key.
pub(super) fn stored_keys(row: &sign_in::Model) -> Option<GroupKeys> {
    let groups = row.groups.as_ref()?.as_array()?;
    let named = groups.iter().filter_map(|group| {
        let name = group["name"].as_str().map(str::to_owned);
        Some((group["key"].as_str()?.to_owned(), name))
    });
    Some(named.collect())
}
