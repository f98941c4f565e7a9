//! After each change of any kind: an event for every account that gained or lost a role by it.
//! These events are derived from the ledger, which is read from its beginning to its end. The place
//! that was reached is stored in the same write as the events. So the work continues where it
//! stopped, and each gain or loss is recorded once, whichever replica does the work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use entity::{access_cursor, role, user};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, FromQueryResult, QueryFilter, QuerySelect};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{AsOf, access_definition, settled_watermark};
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::domain::access::diff::ConcernedAccounts;
use crate::domain::paging;
use crate::error::{Error, Result};
use crate::ledger;
use crate::ledger::{AccessEffect, EventKind, EventSubject, NewEvent};

/// Rows of the ledger that are processed together: few, so that requests do not wait long behind
/// them.
const EVENTS_PER_STEP: u64 = 100;
/// Accounts that are processed together, few for the same reason.
const ACCOUNTS_PER_STEP: usize = 200;

/// SQL: the accounts of the pairs `$2`, each with the event that may have concerned it. A planned
/// end counts when its interval is closed: that is an event, so each is recorded once.
const PAIR_ACCOUNTS: &str = r#"SELECT u.id, {owner of e}, e.at, {never}, e.id
                               FROM {pairs} {event} {account} WHERE {usable of e}"#;

/// The place in the ledger that was reached: the last row that is done, and in the row after it the
/// last account that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LedgerPlace {
    seq: i64,
    user: Option<Uuid>,
}

/// The columns of the ledger that are read. The values are most of a row. They are read only if
/// they name the accounts that the change concerned: for a change of one account the subject is
/// enough.
#[derive(Debug, FromQueryResult)]
struct LedgerEvent {
    id: Uuid,
    at: DateTime<Utc>,
    requested_at: DateTime<Utc>,
    request_id: Uuid,
    action: String,
    subject_id: Uuid,
    payload: Option<String>,
}

const EVENT_COLUMNS_READ: &str = "e.id, e.at, e.requested_at, e.request_id, e.action, \
     e.subject_id, CASE WHEN e.action LIKE 'user.%' THEN NULL ELSE e.payload END AS payload";

/// A row of the ledger, and the accounts whose roles it may have changed: these users, the members
/// of these groups, and the accounts of these connections.
#[derive(Debug)]
struct AccessCause {
    event: LedgerEvent,
    users: BTreeSet<Uuid>,
    groups: BTreeSet<Uuid>,
    connections: BTreeSet<Uuid>,
}

/// The roles that an account held before an event and after it.
#[derive(Debug, Default)]
struct HeldRoles {
    before: BTreeSet<Uuid>,
    after: BTreeSet<Uuid>,
}

/// Records the events of all settled changes that are not processed yet, in every organization;
/// returns how many events it recorded. Changes that become settled meanwhile are left for the next
/// call.
pub async fn announce_changes(app: &Arc<App>) -> Result<u64> {
    let mut recorded = 0;
    for organization in list_lagging(app).await? {
        let cx = Cx::system(app.clone(), organization);
        // This is read before the rows: every change up to it is visible to the reads that follow.
        let settled = settled_watermark(&cx).await?;
        loop {
            let began = Instant::now();
            let Some(more) = announce_step(&cx, settled).await? else { break };
            recorded += more;
            // Clients wait for their requests, but not for this work: a pause leaves the database
            // to them.
            tokio::time::sleep(began.elapsed()).await;
        }
    }
    Ok(recorded)
}

/// The number of the last row of the ledger whose changes of access are recorded.
pub async fn announced_through(cx: &Cx) -> Result<i64> {
    cx.allow(crate::auth::policy::Action::ReadLedger, None)?;
    Ok(read_place(cx).await?.seq)
}

#[derive(FromQueryResult)]
struct LaggingOrganization {
    organization_id: Uuid,
}

async fn list_lagging(app: &App) -> Result<Vec<Uuid>> {
    let text = "SELECT h.organization_id FROM ledger_head h LEFT \
                JOIN access_cursor c ON c.organization_id = h.organization_id \
         WHERE h.seq > coalesce(c.seq, 0)";
    let rows = LaggingOrganization::find_by_statement(app.statement_for_all_organizations(
        text,
        [],
        "which ledgers have rows that were not read",
    ))
    .all(&app.store.read)
    .await?;
    Ok(rows.into_iter().map(|row| row.organization_id).collect())
}

async fn read_place(cx: &Cx) -> Result<LedgerPlace> {
    let row = cx.find::<access_cursor::Entity>().one(cx.db()).await?;
    Ok(row.map_or(LedgerPlace { seq: 0, user: None }, |row| LedgerPlace {
        seq: row.seq,
        user: row.user_id,
    }))
}

/// Continues from the stored place, up to `settled`; returns how many events it recorded, or none
/// if there is nothing to do.
async fn announce_step(cx: &Cx, settled: DateTime<Utc>) -> Result<Option<u64>> {
    let from = read_place(cx).await?;
    let text = format!(
        "SELECT {EVENT_COLUMNS_READ} {}",
        ledger::chained_after(cx.backend(), EVENTS_PER_STEP)
    );
    let values = [from.seq.into()];
    let rows = LedgerEvent::find_by_statement(cx.statement(text, values));
    let rows = rows.all(cx.db()).await?;
    let causes =
        find_causes(cx, rows.into_iter().take_while(|row| row.at <= settled).collect()).await?;
    let Some(first) = causes.first() else { return Ok(None) };

    if first.is_large() {
        let people = ConcernedAccounts {
            event: first.event.id,
            at: first.event.at,
            groups: &first.groups,
            connections: &first.connections,
            users: &first.users,
        };
        let people = people.page_of_accounts(cx, cx.db(), from.user, ACCOUNTS_PER_STEP).await?;
        let place = match people.last() {
            Some(last) if people.len() == ACCOUNTS_PER_STEP => {
                LedgerPlace { seq: from.seq, user: Some(*last) }
            }
            _ => LedgerPlace { seq: from.seq + 1, user: None },
        };
        let pairs: Vec<_> = people.iter().map(|user| (first.event.id, *user)).collect();
        return write_events(cx, &causes, from, place, &pairs).await.map(Some);
    }
    let mut pairs = Vec::new();
    let mut seq = from.seq;
    for cause in &causes {
        if cause.is_large() || pairs.len() + cause.users.len() > ACCOUNTS_PER_STEP {
            break;
        }
        pairs.extend(cause.users.iter().map(|user| (cause.event.id, *user)));
        seq += 1;
    }
    write_events(cx, &causes, from, LedgerPlace { seq, user: None }, &pairs).await.map(Some)
}

impl AccessCause {
    /// Whether the accounts that it may have concerned must be found page by page.
    fn is_large(&self) -> bool {
        !self.groups.is_empty()
            || !self.connections.is_empty()
            || self.users.len() > ACCOUNTS_PER_STEP
    }
}

#[derive(FromQueryResult)]
struct TouchedAccount {
    event_id: Uuid,
    id: Uuid,
}

/// Whether the accounts that an edit of this kind concerned are found without its values.
pub(super) fn is_found_by_intervals(kind: EventKind) -> bool {
    matches!(kind.access_effect(), AccessEffect::Intervals | AccessEffect::None)
}

/// The users, groups and connections that each of these rows may have concerned: those that its
/// subject and its values name, and those of the mappings and grants that it opened or closed.
async fn find_causes(cx: &Cx, rows: Vec<LedgerEvent>) -> Result<Vec<AccessCause>> {
    let mut causes: Vec<AccessCause> = rows
        .into_iter()
        .map(|event| AccessCause {
            event,
            users: BTreeSet::new(),
            groups: BTreeSet::new(),
            connections: BTreeSet::new(),
        })
        .collect();
    let named = add_named_subjects(&mut causes);
    if !named.moves.is_empty() {
        add_moved_members(cx, &mut causes, named.moves).await?;
    }
    if !named.edits.is_empty() {
        add_interval_subjects(cx, &mut causes, &named.edits).await?;
    }
    Ok(causes)
}

/// What rows name without the accounts that they concern.
#[derive(Default)]
struct NamedMoves {
    /// The place of a row, its group, and the members that came or went.
    moves: Vec<(usize, Uuid, BTreeSet<Uuid>)>,
    /// Events that may have opened or closed mappings and grants.
    edits: BTreeSet<Uuid>,
}

/// Adds the accounts, groups and connections that the rows' subjects and values name.
fn add_named_subjects(causes: &mut [AccessCause]) -> NamedMoves {
    let mut named = NamedMoves::default();
    for (n, cause) in causes.iter_mut().enumerate() {
        let payload: Option<Value> =
            cause.event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let row = &cause.event;
        let mut parts = vec![(row.action.as_str(), row.subject_id, payload.clone())];
        for edit in
            payload.iter().filter_map(|payload| payload["after"]["edits"].as_array()).flatten()
        {
            let subject =
                edit["subject"]["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
            parts.push((edit["action"].as_str().unwrap_or_default(), subject, Some(edit.clone())));
        }
        for (name, subject, payload) in parts {
            let ids = |side: &str, key: &str| listed_ids(payload.as_ref(), side, key);
            // A kind that is not known here was written by a later version of this program.
            let Some(kind) = EventKind::parse(name) else { continue };
            match kind.access_effect() {
                AccessEffect::None => {}
                AccessEffect::Account => {
                    cause.users.insert(subject);
                }
                AccessEffect::Accounts => cause.users.extend(ids("before", "ids")),
                AccessEffect::ListedGroups => cause.groups.extend(ids("after", "groups")),
                AccessEffect::Members if payload.is_some() => {
                    let members =
                        ids("before", "members").into_iter().chain(ids("after", "members"));
                    named.moves.push((n, subject, members.collect()));
                    named.edits.insert(cause.event.id);
                }
                // The intervals of a group show which members its deletion concerned. They also
                // replace the values of a row that an erasure emptied.
                AccessEffect::Group | AccessEffect::Members => {
                    cause.groups.insert(subject);
                    named.edits.insert(cause.event.id);
                }
                // The reason of a mapping does not affect which accounts hold the role.
                AccessEffect::Intervals
                    if kind == EventKind::RoleMappingUpdated
                        && payload.as_ref().is_some_and(only_reasons) => {}
                AccessEffect::Intervals => {
                    named.edits.insert(cause.event.id);
                }
            }
        }
    }
    named
}

/// Adds the members that came or went: users of groups that give a role, and groups.
async fn add_moved_members(
    cx: &Cx,
    causes: &mut [AccessCause],
    moves: Vec<(usize, Uuid, BTreeSet<Uuid>)>,
) -> Result<()> {
    let mut members = BTreeSet::new();
    let groups = moves.iter().map(|(_, group, _)| *group).collect();
    let text = format!(
        "SELECT g.id, g.id AS event_id FROM {} WHERE ({GROUP_GIVES_ROLE})",
        paging::each_of(cx.backend(), (1, 2), "group", "g", "id")
    );
    let giving: BTreeSet<Uuid> =
        find_touched(cx, &text, &groups).await?.into_iter().map(|row| row.id).collect();
    for (n, _, users) in moves.into_iter().filter(|(_, group, _)| giving.contains(group)) {
        members.extend(users.iter().copied());
        causes[n].users.extend(users);
    }
    if members.is_empty() {
        return Ok(());
    }
    let text = format!(
        "SELECT r.id, r.id AS event_id FROM {}",
        paging::each_of(cx.backend(), (1, 2), "group", "r", "id")
    );
    for TouchedAccount { id, .. } in find_touched(cx, &text, &members).await? {
        for cause in causes.iter_mut().filter(|cause| cause.users.contains(&id)) {
            cause.users.remove(&id);
            cause.groups.insert(id);
        }
    }
    Ok(())
}

/// Adds what the mappings and grants are about that these events opened or closed.
async fn add_interval_subjects(
    cx: &Cx,
    causes: &mut [AccessCause],
    edits: &BTreeSet<Uuid>,
) -> Result<()> {
    let among = paging::in_ids(cx.backend(), 2);
    let either = |table: &str, what: &str, condition: &str| {
        format!(
            "SELECT opened_by AS event_id, {what} AS id FROM {table} \
               WHERE organization_id = $1 AND opened_by {among} \
               AND {what} IS NOT NULL{condition} \
             UNION SELECT closed_by, {what} FROM {table} \
               WHERE organization_id = $1 AND closed_by {among} \
               AND {what} IS NOT NULL{condition}"
        )
    };
    let of_all_users = " AND match_attribute = 'EVERYBODY'";
    let groups = find_touched(cx, &either("role_mapping", "group_id", ""), edits).await?;
    let connections =
        find_touched(cx, &either("role_mapping", "connection_id", of_all_users), edits).await?;
    let users = find_touched(cx, &either("role_grant", "user_id", ""), edits).await?;
    for cause in causes {
        let of = |found: &[TouchedAccount]| -> Vec<Uuid> {
            found.iter().filter(|row| row.event_id == cause.event.id).map(|row| row.id).collect()
        };
        let (groups, connections, users) = (of(&groups), of(&connections), of(&users));
        cause.groups.extend(groups);
        cause.connections.extend(connections);
        cause.users.extend(users);
    }
    Ok(())
}

async fn find_touched(cx: &Cx, text: &str, ids: &BTreeSet<Uuid>) -> Result<Vec<TouchedAccount>> {
    let values = [paging::bind_ids(ids)];
    Ok(TouchedAccount::find_by_statement(cx.statement(text, values)).all(cx.db()).await?)
}

/// Whether a change of a mapping changed only its reason.
fn only_reasons(payload: &Value) -> bool {
    let changed = |side: &str| {
        payload[side].as_object().is_some_and(|changed| changed.keys().all(|key| key == "reason"))
    };
    changed("before") && changed("after")
}

/// The ids that a change lists under `key`, before or after.
fn listed_ids(payload: Option<&Value>, side: &str, key: &str) -> Vec<Uuid> {
    let ids = payload.and_then(|payload| payload[side][key].as_array());
    ids.into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok()).collect()
}

#[derive(FromQueryResult)]
struct AccessRow {
    event: Uuid,
    user_id: Uuid,
    role_id: Uuid,
}

/// SQL: whether the group `g` was ever mapped to a role, or nested in another group. Most
/// memberships have no effect on access.
const GROUP_GIVES_ROLE: &str = "EXISTS (SELECT 1 FROM role_mapping r \
                                WHERE r.organization_id = $1 AND r.group_id = g.id \
       LIMIT 1 OFFSET 0) \
     OR EXISTS (SELECT 1 FROM group_nesting n WHERE n.organization_id = $1 \
     AND n.member_id = g.id LIMIT 1 OFFSET 0)";

/// Those of these pairs whose account can ever have held a role. This is found much faster than
/// which roles it held at which time.
async fn with_any_role(cx: &Cx, pairs: &[(Uuid, Uuid)]) -> Result<Vec<(Uuid, Uuid)>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    // An OFFSET keeps PostgreSQL from reading all memberships at once to answer for a few accounts.
    let text = format!(
        r#"SELECT u.id, u.id AS event_id FROM {} WHERE
             (EXISTS (SELECT 1 FROM role_grant r WHERE r.organization_id = $1
             AND r.user_id = u.id LIMIT 1 OFFSET 0)
               OR EXISTS (SELECT 1 FROM role_mapping r WHERE r.organization_id = $1
               AND r.match_attribute = 'EVERYBODY')
               OR EXISTS (SELECT 1 FROM membership g WHERE g.organization_id = $1
               AND g.user_id = u.id AND ({})
                            LIMIT 1 OFFSET 0))"#,
        paging::each_of(cx.backend(), (1, 2), "user", "u", "id"),
        GROUP_GIVES_ROLE.replace("g.id", "g.group_id"),
    );
    let users = pairs.iter().map(|(_, user)| *user).collect();
    let holding: BTreeSet<Uuid> =
        find_touched(cx, &text, &users).await?.into_iter().map(|row| row.id).collect();
    Ok(pairs.iter().copied().filter(|(_, user)| holding.contains(user)).collect())
}

/// For each of these pairs of event and account: the roles that the account held before and after
/// the event, if they differ.
async fn find_moves(cx: &Cx, pairs: &[(Uuid, Uuid)]) -> Result<BTreeMap<(Uuid, Uuid), HeldRoles>> {
    let mut held: BTreeMap<(Uuid, Uuid), HeldRoles> = BTreeMap::new();
    let pairs = with_any_role(cx, pairs).await?;
    if pairs.is_empty() {
        return Ok(held);
    }
    let backend = cx.backend();
    let ids: Vec<[String; 2]> = pairs
        .iter()
        .map(|(event, user)| [event.simple().to_string(), user.simple().to_string()])
        .collect();
    let event =
        paging::join_each(backend, "event", "e", "e.organization_id = $1 AND e.id = p.event");
    let account =
        paging::join_each(backend, "user", "u", "u.organization_id = $1 AND u.id = p.account");
    let (list, never) = match backend {
        DbBackend::Postgres => (
            "(SELECT (value->>0)::uuid AS event, (value->>1)::uuid AS account FROM \
             jsonb_array_elements($2) AS l(value)) AS p",
            "TIMESTAMPTZ 'epoch'",
        ),
        _ => (
            "(SELECT unhex(value->>0) AS event, unhex(value->>1) AS account FROM json_each($2)) \
             AS p",
            "''",
        ),
    };
    let text = access_definition(backend)
        .replace("{accounts}", PAIR_ACCOUNTS)
        .replace("{pairs}", list)
        .replace("{event}", &event)
        .replace("{account}", &account)
        .replace("{never}", never);
    for before in [true, false] {
        let moment = if before {
            AsOf::Without(DateTime::UNIX_EPOCH, Uuid::nil())
        } else {
            AsOf::At(DateTime::UNIX_EPOCH)
        };
        let text = format!(
            "SELECT DISTINCT event, user_id, role_id FROM ({}) AS held",
            moment.fill_template(&text, backend)
        );
        let values = [json!(ids).into()];
        for row in AccessRow::find_by_statement(cx.statement(text, values)).all(cx.db()).await? {
            let held = held.entry((row.event, row.user_id)).or_default();
            let roles = if before { &mut held.before } else { &mut held.after };
            roles.insert(row.role_id);
        }
    }
    held.retain(|_, held| held.before != held.after);
    Ok(held)
}

/// Records the events of these pairs, and moves the stored place from `from` to `to` in the same
/// write. Records nothing if another replica has moved the place meanwhile.
async fn write_events(
    cx: &Cx,
    causes: &[AccessCause],
    from: LedgerPlace,
    to: LedgerPlace,
    pairs: &[(Uuid, Uuid)],
) -> Result<u64> {
    let moves = find_moves(cx, pairs).await?;
    if moves.is_empty() {
        go_on(cx, &cx.app.store.write, from, to).await?;
        return Ok(0);
    }
    let events = &build_events(cx, causes, &moves).await?;
    let written = cx.write(move |tx| {
        Box::pin(async move {
            if !go_on(cx, &tx.db, from, to).await? {
                return Ok(Change::unchanged(0));
            }
            let at = tx.now_after(events.iter().map(|followed| followed.entry.at).max());
            let users = events.iter().map(|followed| followed.entry.subject.id).collect();
            let names = read_names(tx, &users).await?;
            let followed = events.iter().map(|followed| {
                let name = names.get(&followed.entry.subject.id).cloned();
                DerivedChange {
                    entry: NewEvent { at, name, ..followed.entry.clone() },
                    ..*followed
                }
            });
            Ok(Change::derived(events.len() as u64, followed.collect()))
        })
    });
    written.await
}

#[derive(FromQueryResult)]
struct NamedAccount {
    id: Uuid,
    name: String,
}

/// What these accounts are called, without those whose data was erased. Their rows stay locked
/// until the events are written, so that an erasure finds the names in the events, or is seen here.
pub(super) async fn read_names(
    tx: &Tx<'_>,
    users: &BTreeSet<Uuid>,
) -> Result<HashMap<Uuid, String>> {
    let backend = tx.db.get_database_backend();
    let lock = if backend == DbBackend::Postgres { " ORDER BY u.id FOR SHARE OF u" } else { "" };
    let text = format!(
        "SELECT u.id, coalesce(u.display_name, u.user_name) AS name FROM \"user\" u \
         WHERE u.organization_id = $1 AND u.id {} AND u.purged_at IS NULL{lock}",
        paging::in_ids(backend, 2)
    );
    let rows = NamedAccount::find_by_statement(tx.statement(text, [paging::bind_ids(users)]));
    Ok(rows.all(&tx.db).await?.into_iter().map(|row| (row.id, row.name)).collect())
}

/// The events for these gains and losses. Each has the id of the request that caused it, and no
/// earlier instant.
async fn build_events(
    cx: &Cx,
    causes: &[AccessCause],
    moves: &BTreeMap<(Uuid, Uuid), HeldRoles>,
) -> Result<Vec<DerivedChange>> {
    let causes: HashMap<Uuid, &LedgerEvent> =
        causes.iter().map(|cause| (cause.event.id, &cause.event)).collect();
    let roles: BTreeSet<Uuid> = moves
        .values()
        .flat_map(|held| held.before.union(&held.after).copied().collect::<Vec<_>>())
        .collect();
    let names: HashMap<Uuid, String> = cx
        .find::<role::Entity>()
        .filter(role::Column::Id.is_in(roles))
        .select_only()
        .columns([role::Column::Id, role::Column::Name])
        .into_tuple()
        .all(cx.db())
        .await?
        .into_iter()
        .collect();
    let owners: HashMap<Uuid, Option<Uuid>> = cx
        .find::<user::Entity>()
        .filter(
            user::Column::Id.is_in(moves.keys().map(|(_, user)| *user).collect::<BTreeSet<_>>()),
        )
        .select_only()
        .columns([user::Column::Id, user::Column::ConnectionId])
        .into_tuple()
        .all(cx.db())
        .await?
        .into_iter()
        .collect();
    let shown = |roles: &mut dyn Iterator<Item = &Uuid>| -> Vec<Value> {
        roles.map(|id| json!({ "id": id, "name": names.get(id) })).collect()
    };
    let mut events = Vec::with_capacity(moves.len());
    for ((event, user), held) in moves {
        let cause =
            causes.get(event).ok_or_else(|| Error::Internal(format!("no cause {event}")))?;
        let mut after = Map::new();
        after.insert("roles".into(), shown(&mut held.after.iter()).into());
        after.insert("gained".into(), shown(&mut held.after.difference(&held.before)).into());
        after.insert("lost".into(), shown(&mut held.before.difference(&held.after)).into());
        after.insert(
            "cause".into(),
            json!({ "event": cause.id, "action": cause.action, "at": cause.at }),
        );
        let entry = NewEvent {
            kind: EventKind::UserAccessChanged,
            subject: EventSubject { kind: "user", id: *user },
            connection: owners.get(user).copied().flatten(),
            at: cause.at,
            before: Some(json!({ "roles": shown(&mut held.before.iter()) })),
            after: Some(after.into()),
            population: 0,
            name: None,
        };
        events.push(DerivedChange {
            request_id: cause.request_id,
            requested_at: cause.requested_at,
            entry,
        });
    }
    Ok(events)
}

/// Moves the stored place from `from` to `to`; false if it is not at `from` any more.
async fn go_on<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    from: LedgerPlace,
    to: LedgerPlace,
) -> Result<bool> {
    let text = "INSERT INTO access_cursor (organization_id, seq, user_id) VALUES ($1, $2, $3) \
         ON CONFLICT (organization_id) DO UPDATE \
         SET seq = excluded.seq, user_id = excluded.user_id \
         WHERE access_cursor.seq = $4 AND access_cursor.user_id IS NOT DISTINCT FROM $5";
    let values = [to.seq.into(), to.user.into(), from.seq.into(), from.user.into()];
    let statement = cx.statement(text, values);
    Ok(db.execute_raw(statement).await?.rows_affected() > 0)
}
