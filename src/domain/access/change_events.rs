//! After each change: an event for every account that gained or lost a role by it, whatever the change was. The
//! events follow from the ledger by one walk along it, whose place is kept with what it told: it goes on where it
//! stopped, and each move is told once, whichever replica does it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use entity::{access_cursor, role, user};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, FromQueryResult, QueryFilter, QuerySelect, Statement};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::moved::Concerned;
use super::{Moment, definition, watermark};
use crate::context::{App, Change, Cx, Followed};
use crate::domain::list;
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, EventKind, Subject};

/// Rows of the ledger looked at together: few, so that requests do not wait long behind them.
const EVENTS: u64 = 100;
/// Accounts looked at together, for the same reason.
const PEOPLE: usize = 200;

/// The accounts `$2`, each with the event that may have concerned it. Planned ends count when they are closed: by
/// an event, so that each is told once.
const ACCOUNTS: &str =
    r#"SELECT u.id, {owner of e}, e.at, {never}, e.id FROM {pairs} {event} {account} WHERE {usable of e}"#;

/// How far the walk along the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    seq: i64,
    user: Option<Uuid>,
}

/// What is read of a row of the ledger. Its values are most of it, and are read only where they tell whom the change
/// concerned: what happened to one account is told by the row's subject.
#[derive(Debug, FromQueryResult)]
struct Event {
    id: Uuid,
    at: DateTime<Utc>,
    requested_at: DateTime<Utc>,
    request_id: Uuid,
    action: String,
    subject_id: Uuid,
    payload: Option<String>,
}

const COLUMNS: &str = "e.id, e.at, e.requested_at, e.request_id, e.action, e.subject_id, \
     CASE WHEN e.action LIKE 'user.%' THEN NULL ELSE e.payload END AS payload";

/// A row of the ledger, and what it may have moved.
#[derive(Debug)]
struct Cause {
    event: Event,
    users: BTreeSet<Uuid>,
    groups: BTreeSet<Uuid>,
    connections: BTreeSet<Uuid>,
}

/// What an account held before an event and after it.
#[derive(Debug, Default)]
struct Held {
    before: BTreeSet<Uuid>,
    after: BTreeSet<Uuid>,
}

/// Tells what all changes did that are settled and not told yet, in every organization; returns how many events that
/// made. What becomes settled meanwhile is left for the next time.
pub async fn announce(app: &Arc<App>) -> Result<u64> {
    let mut told = 0;
    for organization in behind(app).await? {
        let cx = Cx::system(app.clone(), organization);
        // Before the rows are read: every change up to then is visible to what is read after it.
        let settled = watermark(&cx).await?;
        loop {
            let began = Instant::now();
            let Some(more) = step(&cx, settled).await? else { break };
            told += more;
            // Requests are waited for, this is not.
            tokio::time::sleep(began.elapsed()).await;
        }
    }
    Ok(told)
}

/// The last row of the ledger of which it is told what it did to whose access.
pub async fn announced_through(cx: &Cx) -> Result<i64> {
    cx.allow(crate::authz::Action::ReadLedger, None)?;
    Ok(place(cx).await?.seq)
}

#[derive(FromQueryResult)]
struct Behind {
    organization_id: Uuid,
}

async fn behind(app: &App) -> Result<Vec<Uuid>> {
    let text = "SELECT h.organization_id FROM ledger_head h LEFT JOIN access_cursor c ON c.organization_id = h.organization_id \
         WHERE h.seq > coalesce(c.seq, 0)";
    let rows =
        Behind::find_by_statement(Statement::from_string(app.store.backend(), text)).all(&app.store.read).await?;
    Ok(rows.into_iter().map(|row| row.organization_id).collect())
}

async fn place(cx: &Cx) -> Result<Place> {
    let row = cx.find::<access_cursor::Entity>().one(cx.db()).await?;
    Ok(row.map_or(Place { seq: 0, user: None }, |row| Place { seq: row.seq, user: row.user_id }))
}

/// Goes on from the place that is kept, up to what is settled; returns how many events it made, or none when there is
/// nothing to do.
async fn step(cx: &Cx, settled: DateTime<Utc>) -> Result<Option<u64>> {
    let from = place(cx).await?;
    let text = format!("SELECT {COLUMNS} {}", ledger::chained_after(cx.backend(), EVENTS));
    let values = [cx.organization().into(), from.seq.into()];
    let rows = Event::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    let rows = rows.all(cx.db()).await?;
    let causes = causes(cx, rows.into_iter().take_while(|row| row.at <= settled).collect()).await?;
    let Some(first) = causes.first() else { return Ok(None) };

    if first.is_large() {
        let people = Concerned {
            event: first.event.id,
            at: first.event.at,
            groups: &first.groups,
            connections: &first.connections,
            users: &first.users,
        };
        let people = people.page(cx, cx.db(), from.user, PEOPLE).await?;
        let place = match people.last() {
            Some(last) if people.len() == PEOPLE => Place { seq: from.seq, user: Some(*last) },
            _ => Place { seq: from.seq + 1, user: None },
        };
        let pairs: Vec<_> = people.iter().map(|user| (first.event.id, *user)).collect();
        return tell(cx, &causes, from, place, &pairs).await.map(Some);
    }
    let mut pairs = Vec::new();
    let mut seq = from.seq;
    for cause in &causes {
        if cause.is_large() || pairs.len() + cause.users.len() > PEOPLE {
            break;
        }
        pairs.extend(cause.users.iter().map(|user| (cause.event.id, *user)));
        seq += 1;
    }
    tell(cx, &causes, from, Place { seq, user: None }, &pairs).await.map(Some)
}

impl Cause {
    /// Whether those whom it may have moved have to be found first, page by page.
    fn is_large(&self) -> bool {
        !self.groups.is_empty() || !self.connections.is_empty() || self.users.len() > PEOPLE
    }
}

#[derive(FromQueryResult)]
struct Touched {
    event_id: Uuid,
    id: Uuid,
}

/// How an event may change which accounts hold which roles.
enum AccessEffect {
    None,
    /// Its subject is an account that may have gained or lost roles.
    Account,
    /// It lists the accounts that it deleted.
    Accounts,
    /// It lists the members that came to or went from its subject, a group.
    Members,
    /// All members of its subject, a group, may have gained or lost roles.
    Group,
    /// The mappings and grants that it opened or closed tell.
    Intervals,
}

/// Which effect each kind of event has.
fn effect_on_access(kind: EventKind) -> AccessEffect {
    use EventKind as Kind;
    match kind {
        Kind::UserCreated
        | Kind::UserSuspended
        | Kind::UserReactivated
        | Kind::UserDeleted
        | Kind::UserRestored
        | Kind::UserRevived
        | Kind::UserAdoptionProposed
        | Kind::UserAdoptionDismissed
        | Kind::UserAdopted => AccessEffect::Account,
        Kind::UsersDeletedAll => AccessEffect::Accounts,
        Kind::GroupCreated | Kind::GroupUpdated | Kind::GroupMembersChanged => AccessEffect::Members,
        Kind::GroupDeleted | Kind::GroupRestored => AccessEffect::Group,
        Kind::AccessChanged
        | Kind::RoleDeleted
        | Kind::ConnectionDeleted
        | Kind::RoleMappingCreated
        | Kind::RoleMappingUpdated
        | Kind::RoleMappingRemoved
        | Kind::RoleMappingExpired
        | Kind::RoleMappingRestored
        | Kind::RoleGrantCreated
        | Kind::RoleGrantRemoved
        | Kind::RoleGrantExpired => AccessEffect::Intervals,
        Kind::UserUpdated
        | Kind::UserPurged
        | Kind::UserProtected
        | Kind::UserUnprotected
        | Kind::UserAccessChanged
        | Kind::UsersReleased
        | Kind::GroupsReleased
        | Kind::OrganizationCreated
        | Kind::OrganizationUpdated
        | Kind::ConnectionCreated
        | Kind::ConnectionUpdated
        | Kind::ConnectionActivated
        | Kind::ConnectionDeactivated
        | Kind::ConnectionHealthChanged
        | Kind::ConnectionSyncSkipped
        | Kind::ConnectionReconciliationSkipped
        | Kind::ScimTokenIssued
        | Kind::ScimTokenRotated
        | Kind::ScimTokenRevoked
        | Kind::ApiKeyIssued
        | Kind::ApiKeyAssigned
        | Kind::ApiKeyRevoked
        | Kind::SchemaExtensionRegistered
        | Kind::SchemaExtensionRemoved
        | Kind::RoleCreated
        | Kind::RoleUpdated
        | Kind::AccessPreviewed
        | Kind::SyncRunRequested
        | Kind::SyncRunCancelled
        | Kind::SyncRunApproved
        | Kind::SyncRunSucceeded
        | Kind::SyncRunWaiting
        | Kind::SyncRunFailed
        | Kind::SyncRunEnded
        | Kind::ReconciliationStarted
        | Kind::ReconciliationSucceeded
        | Kind::ReconciliationRefused
        | Kind::ReconciliationFailed
        | Kind::ReconciliationSeenAgain
        | Kind::FindingOpened
        | Kind::FindingReopened
        | Kind::FindingGone
        | Kind::FindingResolved
        | Kind::FindingAccepted
        | Kind::FindingAcceptanceEnded
        | Kind::FailureOpened
        | Kind::FailureAssigned
        | Kind::FailureRetried
        | Kind::FailureRetryBegun
        | Kind::FailureRetryFailed
        | Kind::FailureResolved
        | Kind::FailureDismissed
        | Kind::BulkJobCreated
        | Kind::BulkJobCancelled
        | Kind::BulkJobCompleted
        | Kind::BulkJobEnded
        | Kind::BulkJobStopped
        | Kind::EvidenceExportStarted
        | Kind::EvidenceExported => AccessEffect::None,
    }
}

/// Whom and what each of these rows may have moved: what its subject and its values name, and what the mappings and
/// grants are for that it opened or closed.
async fn causes(cx: &Cx, rows: Vec<Event>) -> Result<Vec<Cause>> {
    let mut causes: Vec<Cause> = rows
        .into_iter()
        .map(|event| Cause { event, users: BTreeSet::new(), groups: BTreeSet::new(), connections: BTreeSet::new() })
        .collect();
    let mut came_or_went: Vec<(usize, Uuid, BTreeSet<Uuid>)> = Vec::new();
    let mut edits = BTreeSet::new();
    for (n, cause) in causes.iter_mut().enumerate() {
        let payload: Option<Value> = cause.event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let row = &cause.event;
        let mut parts = vec![(row.action.as_str(), row.subject_id, payload.clone())];
        for edit in payload.iter().filter_map(|payload| payload["after"]["edits"].as_array()).flatten() {
            let subject = edit["subject"]["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
            parts.push((edit["action"].as_str().unwrap_or_default(), subject, Some(edit.clone())));
        }
        for (name, subject, payload) in parts {
            let ids = |side: &str, key: &str| ids(payload.as_ref(), side, key);
            // A later version of this program has written what has no kind here.
            let Some(kind) = EventKind::parse(name) else { continue };
            match effect_on_access(kind) {
                AccessEffect::None => {}
                AccessEffect::Account => {
                    cause.users.insert(subject);
                }
                AccessEffect::Accounts => cause.users.extend(ids("before", "ids")),
                AccessEffect::Members if payload.is_some() => {
                    let members = ids("before", "members").into_iter().chain(ids("after", "members"));
                    came_or_went.push((n, subject, members.collect()));
                    edits.insert(cause.event.id);
                }
                // What a group took along is told by its intervals; so is what an erased row does not tell any more.
                AccessEffect::Group | AccessEffect::Members => {
                    cause.groups.insert(subject);
                    edits.insert(cause.event.id);
                }
                // Why an account has a role decides nothing about which accounts do.
                AccessEffect::Intervals
                    if kind == EventKind::RoleMappingUpdated && payload.as_ref().is_some_and(only_reasons) => {}
                AccessEffect::Intervals => {
                    edits.insert(cause.event.id);
                }
            }
        }
    }
    let mut members = BTreeSet::new();
    if !came_or_went.is_empty() {
        let groups = came_or_went.iter().map(|(_, group, _)| *group).collect();
        let text = format!(
            "SELECT g.id, g.id AS event_id FROM {} WHERE ({GIVES})",
            list::each_of(cx.backend(), (1, 2), "group", "g", "id")
        );
        let giving: BTreeSet<Uuid> = touched(cx, &text, &groups).await?.into_iter().map(|row| row.id).collect();
        for (n, _, users) in came_or_went.into_iter().filter(|(_, group, _)| giving.contains(group)) {
            members.extend(users.iter().copied());
            causes[n].users.extend(users);
        }
    }
    if !members.is_empty() {
        let text =
            format!("SELECT r.id, r.id AS event_id FROM {}", list::each_of(cx.backend(), (1, 2), "group", "r", "id"));
        for Touched { id, .. } in touched(cx, &text, &members).await? {
            for cause in causes.iter_mut().filter(|cause| cause.users.contains(&id)) {
                cause.users.remove(&id);
                cause.groups.insert(id);
            }
        }
    }
    if !edits.is_empty() {
        let among = list::among(cx.backend(), 2);
        let either = |table: &str, what: &str, condition: &str| {
            format!(
                "SELECT opened_by AS event_id, {what} AS id FROM {table} \
                   WHERE organization_id = $1 AND opened_by {among} AND {what} IS NOT NULL{condition} \
                 UNION SELECT closed_by, {what} FROM {table} \
                   WHERE organization_id = $1 AND closed_by {among} AND {what} IS NOT NULL{condition}"
            )
        };
        let everybody = " AND match_attribute = 'EVERYBODY'";
        let groups = touched(cx, &either("role_mapping", "group_id", ""), &edits).await?;
        let connections = touched(cx, &either("role_mapping", "connection_id", everybody), &edits).await?;
        let users = touched(cx, &either("role_grant", "user_id", ""), &edits).await?;
        for cause in &mut causes {
            let of = |found: &[Touched]| -> Vec<Uuid> {
                found.iter().filter(|row| row.event_id == cause.event.id).map(|row| row.id).collect()
            };
            let (groups, connections, users) = (of(&groups), of(&connections), of(&users));
            cause.groups.extend(groups);
            cause.connections.extend(connections);
            cause.users.extend(users);
        }
    }
    Ok(causes)
}

async fn touched(cx: &Cx, text: &str, ids: &BTreeSet<Uuid>) -> Result<Vec<Touched>> {
    let values = [cx.organization().into(), list::ids(ids)];
    Ok(Touched::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?)
}

/// Whether a change of a mapping gave it another reason, and did nothing else.
fn only_reasons(payload: &Value) -> bool {
    let changed =
        |side: &str| payload[side].as_object().is_some_and(|changed| changed.keys().all(|key| key == "reason"));
    changed("before") && changed("after")
}

/// The ids that a change lists under `key`, before or after.
fn ids(payload: Option<&Value>, side: &str, key: &str) -> Vec<Uuid> {
    let ids = payload.and_then(|payload| payload[side][key].as_array());
    ids.into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok()).collect()
}

#[derive(FromQueryResult)]
struct Row {
    event: Uuid,
    user_id: Uuid,
    role_id: Uuid,
}

/// Whether the group `g` ever gave or passed on a role: most memberships concern nobody's access.
const GIVES: &str = "EXISTS (SELECT 1 FROM role_mapping r WHERE r.organization_id = $1 AND r.group_id = g.id \
       LIMIT 1 OFFSET 0) \
     OR EXISTS (SELECT 1 FROM group_nesting n WHERE n.organization_id = $1 AND n.member_id = g.id LIMIT 1 OFFSET 0)";

/// Those of these pairs whose account can ever have held a role, which is much sooner known than what it held when.
async fn with_any_role(cx: &Cx, pairs: &[(Uuid, Uuid)]) -> Result<Vec<(Uuid, Uuid)>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    // An OFFSET keeps PostgreSQL from reading all memberships at once to answer for a few accounts.
    let text = format!(
        r#"SELECT u.id, u.id AS event_id FROM {} WHERE
             (EXISTS (SELECT 1 FROM role_grant r WHERE r.organization_id = $1 AND r.user_id = u.id LIMIT 1 OFFSET 0)
               OR EXISTS (SELECT 1 FROM role_mapping r WHERE r.organization_id = $1 AND r.match_attribute = 'EVERYBODY')
               OR EXISTS (SELECT 1 FROM membership g WHERE g.organization_id = $1 AND g.user_id = u.id AND ({})
                            LIMIT 1 OFFSET 0))"#,
        list::each_of(cx.backend(), (1, 2), "user", "u", "id"),
        GIVES.replace("g.id", "g.group_id"),
    );
    let users = pairs.iter().map(|(_, user)| *user).collect();
    let holding: BTreeSet<Uuid> = touched(cx, &text, &users).await?.into_iter().map(|row| row.id).collect();
    Ok(pairs.iter().copied().filter(|(_, user)| holding.contains(user)).collect())
}

/// What each of these pairs of event and account held before it and after it, where that differs.
async fn moves(cx: &Cx, pairs: &[(Uuid, Uuid)]) -> Result<BTreeMap<(Uuid, Uuid), Held>> {
    let mut held: BTreeMap<(Uuid, Uuid), Held> = BTreeMap::new();
    let pairs = with_any_role(cx, pairs).await?;
    if pairs.is_empty() {
        return Ok(held);
    }
    let backend = cx.backend();
    let ids: Vec<[String; 2]> =
        pairs.iter().map(|(event, user)| [event.simple().to_string(), user.simple().to_string()]).collect();
    let event = list::each(backend, "event", "e", "e.organization_id = $1 AND e.id = p.event");
    let account = list::each(backend, "user", "u", "u.organization_id = $1 AND u.id = p.account");
    let (list, never) = match backend {
        DbBackend::Postgres => (
            "(SELECT (value->>0)::uuid AS event, (value->>1)::uuid AS account FROM jsonb_array_elements($2) AS l(value)) AS p",
            "TIMESTAMPTZ 'epoch'",
        ),
        _ => ("(SELECT unhex(value->>0) AS event, unhex(value->>1) AS account FROM json_each($2)) AS p", "''"),
    };
    let text = definition(backend)
        .replace("{accounts}", ACCOUNTS)
        .replace("{pairs}", list)
        .replace("{event}", &event)
        .replace("{account}", &account)
        .replace("{never}", never);
    for before in [true, false] {
        let moment = match before {
            true => Moment::Without(DateTime::UNIX_EPOCH, Uuid::nil()),
            false => Moment::At(DateTime::UNIX_EPOCH),
        };
        let text = format!("SELECT DISTINCT event, user_id, role_id FROM ({}) AS held", moment.fill(&text, backend));
        let values = [cx.organization().into(), json!(ids).into()];
        for row in Row::find_by_statement(Statement::from_sql_and_values(backend, text, values)).all(cx.db()).await? {
            let held = held.entry((row.event, row.user_id)).or_default();
            let roles = if before { &mut held.before } else { &mut held.after };
            roles.insert(row.role_id);
        }
    }
    held.retain(|_, held| held.before != held.after);
    Ok(held)
}

/// Tells what these pairs came to, and goes on from `from` to `to` in the same write; nothing where another has gone
/// on meanwhile.
async fn tell(cx: &Cx, causes: &[Cause], from: Place, to: Place, pairs: &[(Uuid, Uuid)]) -> Result<u64> {
    let moves = moves(cx, pairs).await?;
    if moves.is_empty() {
        go_on(cx, &cx.app.store.write, from, to).await?;
        return Ok(0);
    }
    let told = &told(cx, causes, &moves).await?;
    let written = cx.write(move |tx| {
        Box::pin(async move {
            if !go_on(cx, &tx.db, from, to).await? {
                return Ok(Change::nothing(0));
            }
            let at = tx.now_after(told.iter().map(|followed| followed.entry.at).max());
            let followed =
                told.iter().map(|followed| Followed { entry: Entry { at, ..followed.entry.clone() }, ..*followed });
            Ok(Change::followed(told.len() as u64, followed.collect()))
        })
    });
    written.await
}

/// The events for these moves, each under the request that caused it and not before it.
async fn told(cx: &Cx, causes: &[Cause], moves: &BTreeMap<(Uuid, Uuid), Held>) -> Result<Vec<Followed>> {
    let causes: HashMap<Uuid, &Event> = causes.iter().map(|cause| (cause.event.id, &cause.event)).collect();
    let roles: BTreeSet<Uuid> =
        moves.values().flat_map(|held| held.before.union(&held.after).copied().collect::<Vec<_>>()).collect();
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
        .filter(user::Column::Id.is_in(moves.keys().map(|(_, user)| *user).collect::<BTreeSet<_>>()))
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
    let mut told = Vec::with_capacity(moves.len());
    for ((event, user), held) in moves {
        let cause = causes.get(event).ok_or_else(|| Error::Internal(format!("no cause {event}")))?;
        let mut after = Map::new();
        after.insert("roles".into(), shown(&mut held.after.iter()).into());
        after.insert("gained".into(), shown(&mut held.after.difference(&held.before)).into());
        after.insert("lost".into(), shown(&mut held.before.difference(&held.after)).into());
        after.insert("cause".into(), json!({ "event": cause.id, "action": cause.action, "at": cause.at }));
        let entry = Entry {
            kind: EventKind::UserAccessChanged,
            subject: Subject { kind: "user", id: *user },
            connection: owners.get(user).copied().flatten(),
            at: cause.at,
            before: Some(json!({ "roles": shown(&mut held.before.iter()) })),
            after: Some(after.into()),
            population: 0,
        };
        told.push(Followed { request_id: cause.request_id, requested_at: cause.requested_at, entry });
    }
    Ok(told)
}

/// Moves the kept place on, if it is still where it was.
async fn go_on<C: ConnectionTrait>(cx: &Cx, db: &C, from: Place, to: Place) -> Result<bool> {
    let text = "INSERT INTO access_cursor (organization_id, seq, user_id) VALUES ($1, $2, $3) \
         ON CONFLICT (organization_id) DO UPDATE SET seq = excluded.seq, user_id = excluded.user_id \
         WHERE access_cursor.seq = $4 AND access_cursor.user_id IS NOT DISTINCT FROM $5";
    let values = [cx.organization().into(), to.seq.into(), to.user.into(), from.seq.into(), from.user.into()];
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    Ok(db.execute_raw(statement).await?.rows_affected() > 0)
}
