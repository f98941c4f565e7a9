//! The rows here that belong to a page of a source, and what a run has seen of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};
use serde_json::{Value, json};
use uuid::Uuid;

use super::plan::{
    ListedGroup, ListedUser, LocalGroups, LocalRow, LocalUsers, PagePlan, RemoteResource, SyncKind,
    lists_members, plan_groups, plan_users,
};
use crate::context::{Cx, Lease};
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::paging;
use crate::domain::paging::live_index::LiveIndex;
use crate::error::Result;

/// What is stored about a resource that a run saw: its id here, and the digest of the document that
/// was applied, with the version that this made.
pub(super) struct SeenMark {
    pub id: Uuid,
    pub image: Option<(Vec<u8>, i64)>,
}

/// Reads the rows here that belong to a page, and plans what is done to them. `silent_is_empty`
/// says whether a group without a list of members has none.
pub async fn plan_page(
    cx: &Cx,
    kind: SyncKind,
    page: Vec<RemoteResource>,
    silent_is_empty: bool,
) -> Result<PagePlan> {
    let types = resource_types(cx).await?;
    match kind {
        SyncKind::User => {
            let page: Vec<_> = page.into_iter().map(ListedUser::from_remote).collect();
            let local = read_local_users(cx, &page).await?;
            Ok(plan_users(&types.user, page, local))
        }
        SyncKind::Group => {
            let listed = |remote| ListedGroup::from_remote(&types.group, remote);
            let page: Vec<_> = page.into_iter().map(listed).collect();
            let local = read_local_groups(cx, &page, silent_is_empty).await?;
            Ok(plan_groups(page, local, silent_is_empty))
        }
    }
}

async fn read_local_users(cx: &Cx, page: &[ListedUser]) -> Result<LocalUsers> {
    let ids: Vec<&str> = page.iter().map(|user| user.remote_id.as_str()).collect();
    let known = find_known(cx, SyncKind::User, &ids).await?;
    let wanted: BTreeSet<&str> = page.iter().filter_map(|user| user.manager.as_deref()).collect();
    let managers = find_known(cx, SyncKind::User, &wanted.into_iter().collect::<Vec<_>>()).await?;
    Ok(LocalUsers { known, managers: ids_of(managers) })
}

async fn read_local_groups(
    cx: &Cx,
    page: &[ListedGroup],
    silent_is_empty: bool,
) -> Result<LocalGroups> {
    let ids: Vec<&str> = page.iter().map(|group| group.remote_id.as_str()).collect();
    let known = find_known(cx, SyncKind::Group, &ids).await?;
    // A text that cannot be an id is not looked up.
    let wanted: BTreeSet<&str> = page
        .iter()
        .flat_map(ListedGroup::member_ids)
        .map(String::as_str)
        .filter(|id| !id.contains('\0'))
        .collect();
    let wanted: Vec<&str> = wanted.into_iter().collect();
    let mut members = ids_of(find_known(cx, SyncKind::User, &wanted).await?);
    let unknown: Vec<&str> = wanted.into_iter().filter(|id| !members.contains_key(*id)).collect();
    members.extend(ids_of(find_known(cx, SyncKind::Group, &unknown).await?));
    let silent_is_empty = silent_is_empty || lists_members(page);
    let mut current = HashMap::new();
    for group in page {
        let says_members = match &group.members {
            Ok(members) => members.is_some() || silent_is_empty,
            Err(_) => false,
        };
        let here = known.get(&group.remote_id).filter(|_| says_members);
        if let Some(here) = here.filter(|here| !here.shows_document(&group.digest)) {
            current.insert(here.id, read_members(cx, here.id).await?);
        }
    }
    Ok(LocalGroups { known, members, current })
}

fn ids_of(rows: HashMap<String, LocalRow>) -> HashMap<String, Uuid> {
    rows.into_iter().map(|(remote_id, row)| (remote_id, row.id)).collect()
}

/// Those of these resources that the connection owns, by the source's id.
async fn find_known(cx: &Cx, kind: SyncKind, ids: &[&str]) -> Result<HashMap<String, LocalRow>> {
    #[derive(FromQueryResult)]
    struct KnownRow {
        id: Uuid,
        external_id: String,
        version: i64,
        active: bool,
        digest: Option<Vec<u8>>,
        left: Option<i64>,
    }
    let Some(connection) = cx.confined_to() else { return Ok(HashMap::new()) };
    let (table, active) = match kind {
        SyncKind::User => ("user", "r.active"),
        SyncKind::Group => ("group", "TRUE"),
    };
    let condition = "r.organization_id = $1 AND r.connection_id = $2 AND r.deleted_at IS NULL \
         AND r.external_id = wanted.external_id";
    let row = paging::join_each(cx.backend(), table, "r", condition);
    let wanted = match cx.backend() {
        DbBackend::Postgres => "SELECT value AS external_id FROM jsonb_array_elements_text($3)",
        _ => "SELECT value AS external_id FROM json_each($3)",
    };
    let text = format!(
        r#"SELECT r.id, r.external_id, r.version, {active} AS active, p.digest, p.version AS "left"
           FROM ({wanted}) AS wanted {row}
           LEFT JOIN pulled p ON p.organization_id = r.organization_id AND p.resource_id = r.id"#
    );
    let values = [connection.into(), json!(ids).into()];
    let statement = cx.statement(text, values);
    let rows = KnownRow::find_by_statement(statement).all(&cx.app.store.write).await?;
    let local = |row: KnownRow| {
        let KnownRow { id, external_id, version, active, digest, left } = row;
        (external_id, LocalRow { id, version, active, applied: digest.zip(left) })
    };
    Ok(rows.into_iter().map(local).collect())
}

/// Stores that the run saw these. Those without an image keep the one that they have.
pub(super) async fn mark_seen(cx: &Cx, run: Option<Uuid>, marks: &[SeenMark]) -> Result<()> {
    let Some(run) = run.filter(|_| !marks.is_empty()) else { return Ok(()) };
    let rows: BTreeMap<Uuid, Value> = marks
        .iter()
        .map(|mark| {
            let image = mark.image.as_ref();
            let digest = image.map(|(digest, _)| hex::encode(digest));
            (
                mark.id,
                json!([
                    mark.id.simple().to_string(),
                    digest,
                    image.map_or(0, |(_, version)| *version)
                ]),
            )
        })
        .collect();
    let rows: Vec<_> = rows.into_values().collect();
    let (each, columns) = match cx.backend() {
        DbBackend::Postgres => (
            "jsonb_array_elements($3) AS row(value)",
            "(value->>0)::uuid, $2, decode(value->>1, 'hex'), (value->>2)::bigint",
        ),
        _ => ("json_each($3)", "unhex(value->>0), $2, unhex(value->>1), value->>2"),
    };
    let text = format!(
        "INSERT INTO pulled (organization_id, resource_id, seen_run_id, digest, version) \
         SELECT $1, {columns} FROM {each} \
         WHERE TRUE ON CONFLICT (organization_id, resource_id) DO UPDATE \
         SET seen_run_id = excluded.seen_run_id, \
           digest = coalesce(excluded.digest, pulled.digest), \
           version = CASE WHEN excluded.digest IS NULL THEN pulled.version \
           ELSE excluded.version END"
    );
    let values = [run.into(), json!(rows).into()];
    cx.app.store.write.execute_raw(cx.statement(text, values)).await?;
    Ok(())
}

/// The members of a group.
async fn read_members(cx: &Cx, group: Uuid) -> Result<BTreeSet<Uuid>> {
    let text = "SELECT user_id AS id FROM membership WHERE organization_id = $1 \
                AND group_id = $2 AND until IS NULL \
           AND since > '-infinity' UNION ALL SELECT member_id FROM group_nesting \
           WHERE organization_id = $1 \
           AND group_id = $2 AND until IS NULL AND since > '-infinity'";
    let values = [group.into()];
    let rows = cx.app.store.write.query_all_raw(cx.statement(text, values)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// How many active accounts the connection has, or how many memberships its groups have: the most
/// that a list can take away.
pub async fn count_removable(cx: &Cx, kind: SyncKind) -> Result<u64> {
    let Some(connection) = cx.confined_to() else { return Ok(0) };
    let live = LiveIndex::Owner.index_condition(cx.backend());
    let text = match kind {
        SyncKind::User => format!(
            r#"SELECT count(*) AS total FROM "user" r WHERE r.organization_id = $1
               AND r.connection_id = $2
                 AND r.deleted_at IS NULL{live} AND r.active"#
        ),
        SyncKind::Group => format!(
            r#"SELECT count(*) AS total FROM "group" r JOIN membership m
                 ON m.organization_id = r.organization_id AND m.group_id = r.id
                 AND m.until IS NULL AND m.since > '-infinity'
               WHERE r.organization_id = $1 AND r.connection_id = $2
               AND r.deleted_at IS NULL{live}"#
        ),
    };
    let statement = cx.statement(text, [connection.into()]);
    let row = cx.app.store.write.query_one_raw(statement).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.unsigned_abs())
}

/// How many of the connection's live accounts or groups the run saw, and how many it did not see.
/// Those without an id of the source are in neither number: the source cannot be asked for them, so
/// they never count as gone.
pub async fn count_seen(cx: &Cx, run: Uuid, kind: SyncKind) -> Result<(u64, u64)> {
    let Some(connection) = cx.confined_to() else { return Ok((0, 0)) };
    let text = format!(
        r#"SELECT count(p.resource_id) AS seen, count(*) AS live FROM "{}" r LEFT JOIN pulled p
             ON p.organization_id = r.organization_id AND p.resource_id = r.id
             AND p.seen_run_id = $3
           WHERE r.organization_id = $1 AND r.connection_id = $2 AND r.deleted_at IS NULL{}
             AND r.external_id IS NOT NULL"#,
        kind.name(),
        LiveIndex::Owner.index_condition(cx.backend())
    );
    let values = [connection.into(), run.into()];
    let statement = cx.statement(text, values);
    let Some(row) = cx.app.store.write.query_one_raw(statement).await? else { return Ok((0, 0)) };
    let (seen, live): (i64, i64) = (row.try_get("", "seen")?, row.try_get("", "live")?);
    Ok((seen.unsigned_abs(), (live - seen).unsigned_abs()))
}

/// The source's ids that the run saw and that have an account or group here.
pub async fn seen_ids(cx: &Cx, run: Uuid, kind: SyncKind) -> Result<Vec<String>> {
    let text = format!(
        r#"SELECT r.external_id FROM pulled p
           JOIN "{}" r ON r.organization_id = p.organization_id AND r.id = p.resource_id
           WHERE p.organization_id = $1 AND p.seen_run_id = $2 AND r.external_id IS NOT NULL"#,
        kind.name()
    );
    let statement = cx.statement(text, [run.into()]);
    let rows = cx.app.store.write.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "external_id")).collect::<Result<_, _>>()?)
}

/// Forgets what the run saw, so that it can begin again; only while `lease` is held.
pub async fn forget_seen(cx: &Cx, run: Uuid, lease: &Lease) -> Result<()> {
    let mut sql = cx.sql([run.into(), Uuid::nil().into()]);
    let held = lease.held_row_query(cx.backend(), sql.values_mut());
    sql.push(&format!(
        "UPDATE pulled SET seen_run_id = $3 WHERE organization_id = $1 AND seen_run_id = $2 AND \
         EXISTS ({held})"
    ));
    cx.app.store.write.execute_raw(cx.build_statement(sql)).await?;
    Ok(())
}

/// The accounts or groups that the run did not see, with ids after `after`, at most `most`: each
/// with the source's id. Those without an id of the source are not among them: the source cannot be
/// asked for them.
pub async fn list_absent(
    cx: &Cx,
    run: Uuid,
    kind: SyncKind,
    after: Uuid,
    most: u64,
) -> Result<Vec<(Uuid, String)>> {
    let Some(connection) = cx.confined_to() else { return Ok(Vec::new()) };
    let text = format!(
        r#"SELECT r.id, r.external_id FROM "{}" r WHERE r.organization_id = $1
           AND r.connection_id = $2
             AND r.deleted_at IS NULL{} AND r.external_id IS NOT NULL AND r.id > $4
             AND NOT EXISTS (SELECT 1 FROM pulled p
               WHERE p.organization_id = r.organization_id AND p.resource_id = r.id
               AND p.seen_run_id = $3)
           ORDER BY r.id LIMIT {most}"#,
        kind.name(),
        LiveIndex::Owner.index_condition(cx.backend())
    );
    let values = [connection.into(), run.into(), after.into()];
    let rows = cx.app.store.write.query_all_raw(cx.statement(text, values)).await?;
    let absent =
        rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "external_id")?)));
    absent.collect()
}
