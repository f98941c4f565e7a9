//! Compares what a connection's identity provider wrote or read last with what is here. The ledger
//! has both, and the actor that made the difference. An identity provider that writes over SCIM
//! cannot be asked. But it believes what it wrote, and it knows what it read.
//!
//! Only objects that were changed by hand can differ, so only those are compared. What the ledger
//! does not have is not guessed. A write that changed nothing left no event: a value that was
//! changed by hand, and that the identity provider has sent again since then, still counts as
//! changed here. Of an adopted account, only what the identity provider wrote since the adoption is
//! known. Of an account that it has read, it knows all changes until that read, whichever actor
//! made them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{event as rows, group, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::compare::{account_names, count_roles_held, membership_difference};
use super::diff::{AttributeDifference, ExportColumns, attribute_drift, flatten_document};
use super::difference::{ComparisonOutcome, Difference};
use super::reads::LastReadTimes;
use super::{Class, Kind};
use crate::buffers::last_reads;
use crate::context::Cx;
use crate::domain::audit::event;
use crate::domain::directory::user::parse_document;
use crate::domain::paging;
use crate::error::Result;
use crate::ledger::EventKind;

/// Objects compared at once.
const ITEMS_PER_PART: usize = 200;

/// SQL for events of changes by hand. The partial index of these rows has the same condition.
const BY_HAND: &str = "e.actor_kind IN ('PERSON', 'API_KEY') AND e.connection_id IS NOT NULL";

/// How it is known what the identity provider believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdpView {
    /// From what it wrote.
    Written,
    /// From what it read, and what it wrote since.
    Read,
}

impl IdpView {
    async fn of(
        self,
        cx: &Cx,
        connection: Uuid,
        kind: last_reads::Kind,
        ids: &[Uuid],
    ) -> Result<KnownInstants> {
        Ok(match self {
            Self::Written => KnownInstants::Written,
            Self::Read => KnownInstants::Read(LastReadTimes::of(cx, connection, kind, ids).await?),
        })
    }
}

/// An [`IdpView`] of some users or groups.
enum KnownInstants {
    Written,
    Read(LastReadTimes),
}

impl KnownInstants {
    /// The identity provider knows all changes until this instant of the object `id`, which it can
    /// see since `since`; none = it has not read the object.
    fn known_until(&self, id: Uuid, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Written => Some(DateTime::<Utc>::MIN_UTC),
            Self::Read(readings) => readings.last_read(id, since),
        }
    }
}

pub(super) async fn compare_last_known(
    cx: &Cx,
    connection: Uuid,
    knowledge: IdpView,
) -> Result<ComparisonOutcome> {
    let mut outcome = ComparisonOutcome {
        covers: vec![Kind::MissingHere, Kind::OrphanedHere, Kind::Drifted, Kind::Membership],
        ..ComparisonOutcome::default()
    };
    let changed = list_touched(cx, connection, "user").await?;
    outcome.counts.rows += changed.len() as u64;
    for part in changed.chunks(ITEMS_PER_PART) {
        let known = knowledge.of(cx, connection, last_reads::Kind::User, part).await?;
        compare_users(cx, connection, part, &known, &mut outcome).await?;
    }
    let changed = list_touched(cx, connection, "group").await?;
    outcome.counts.rows += changed.len() as u64;
    for part in changed.chunks(ITEMS_PER_PART) {
        let known = knowledge.of(cx, connection, last_reads::Kind::Group, part).await?;
        let groups = cx
            .find::<group::Entity>()
            .filter(group::Column::Id.is_in(part.iter().copied()))
            .filter(group::Column::ConnectionId.eq(connection))
            .filter(group::Column::DeletedAt.is_null())
            .order_by_asc(group::Column::Id)
            .select_only()
            .columns([group::Column::Id, group::Column::CreatedAt]);
        for (id, created_at) in groups.into_tuple::<(Uuid, DateTime<Utc>)>().all(cx.db()).await? {
            match known.known_until(id, created_at) {
                Some(until) => compare_members(cx, connection, id, until, &mut outcome).await?,
                None => outcome.counts.unread += 1,
            }
        }
    }
    count_roles_held(cx, &mut outcome.found).await?;
    Ok(outcome)
}

/// The users or groups of the connection that were changed by hand.
async fn list_touched(cx: &Cx, connection: Uuid, kind: &str) -> Result<Vec<Uuid>> {
    let text = format!(
        "SELECT DISTINCT e.subject_id FROM event e WHERE e.organization_id = $1 \
         AND e.connection_id = $2 \
         AND e.subject_kind = $3 AND {BY_HAND} ORDER BY e.subject_id"
    );
    let values = [connection.into(), kind.into()];
    let rows = cx.db().query_all_raw(cx.statement(text, values)).await?;
    let ids: Vec<Uuid> =
        rows.iter().map(|row| row.try_get("", "subject_id")).collect::<Result<_, _>>()?;
    // Events about many subjects have the nil id as their subject.
    Ok(ids.into_iter().filter(|id| !id.is_nil()).collect())
}

/// The history of an account: what the identity provider believes, and what was changed here.
#[derive(Debug, Default)]
struct AccountHistory {
    /// The identity provider knows all changes until this instant.
    until: DateTime<Utc>,
    /// The last value that the identity provider set, by attribute; null = no value.
    theirs: BTreeMap<String, Value>,
    /// The actor that changed each attribute by hand, and when.
    by: BTreeMap<String, (String, DateTime<Utc>)>,
    /// Whether the identity provider's last write deleted the account.
    gone: bool,
    /// Whether the account was deleted by hand.
    deleted: bool,
    /// Whether the account was restored by hand.
    restored: bool,
}

impl AccountHistory {
    fn history_since(until: DateTime<Utc>) -> Self {
        Self { until, ..Self::default() }
    }

    fn add_event(&mut self, row: &rows::Model, connection: Uuid) {
        let kind = EventKind::parse(&row.action);
        if row.at <= self.until {
            let back = kind.is_some_and(EventKind::brings_account_back);
            self.gone = kind == Some(EventKind::UserDeleted) || (self.gone && !back);
            return;
        }
        let own = row.actor_kind == "CONNECTION"
            && row.actor_id.as_deref() == Some(connection.to_string().as_str());
        // An adoption counts as a write of the connection: the administrator who accepted it let
        // the connection set the attributes.
        let own = own || kind == Some(EventKind::UserAdopted);
        match (kind, own) {
            (Some(EventKind::UserDeleted), true) => (self.gone, self.restored) = (true, false),
            (Some(EventKind::UserDeleted), false) => (self.deleted, self.restored) = (true, false),
            (Some(EventKind::UserRestored), false) => (self.deleted, self.restored) = (false, true),
            (
                Some(
                    EventKind::UserCreated
                    | EventKind::UserRevived
                    | EventKind::UserReactivated
                    | EventKind::UserUpdated,
                ),
                true,
            ) => {
                (self.gone, self.deleted, self.restored) = (false, false, false);
            }
            _ => {}
        }
        let (before, after) = event::event_values(row);
        let object = |value: Option<Value>| match value {
            Some(Value::Object(values)) => values,
            _ => Map::new(),
        };
        let (before, after) = (object(before), object(after));
        if !kind.is_some_and(EventKind::tells_attributes) {
            return;
        }
        let names: BTreeSet<&String> =
            before.keys().chain(after.keys()).filter(|name| *name != "schemas").collect();
        for name in names {
            if own {
                self.theirs.insert(name.clone(), after.get(name).cloned().unwrap_or_default());
                self.by.remove(name);
            } else {
                // If no earlier event has the connection's value, it is the value before this
                // change.
                self.theirs
                    .entry(name.clone())
                    .or_insert_with(|| before.get(name).cloned().unwrap_or_default());
                self.by.insert(name.clone(), (row.actor_name.clone(), row.at));
            }
        }
    }

    /// The attributes that differ now.
    fn find_differences(
        &self,
        document: &Map<String, Value>,
        active: bool,
    ) -> BTreeMap<String, AttributeDifference> {
        let mut differences = BTreeMap::new();
        for (name, (by, at)) in &self.by {
            let part = |value: Option<&Value>| match value {
                None | Some(Value::Null) => Map::new(),
                Some(value) => Map::from_iter([(name.clone(), value.clone())]),
            };
            let (theirs, mut ours) = (
                flatten_document(&part(self.theirs.get(name))),
                flatten_document(&part(document.get(name))),
            );
            if name == "active" {
                ours.insert(name.clone(), active.into());
            }
            let columns = ExportColumns {
                names: theirs.keys().chain(ours.keys()).cloned().collect(),
                all_emails: true,
            };
            for (path, differs) in attribute_drift(&theirs, &ours, &columns) {
                differences.insert(
                    path,
                    AttributeDifference { by: Some(by.clone()), at: Some(*at), ..differs },
                );
            }
        }
        differences
    }
}

/// What the ledger tells of these accounts; none for an account that the identity provider has not
/// read.
async fn read_histories(
    cx: &Cx,
    connection: Uuid,
    ids: &[Uuid],
    known: &KnownInstants,
) -> Result<HashMap<Uuid, Option<AccountHistory>>> {
    let rows = cx
        .find::<rows::Entity>()
        .filter(rows::Column::SubjectId.is_in(ids.iter().copied()))
        .filter(rows::Column::ConnectionId.eq(connection))
        .order_by_asc(rows::Column::SubjectId)
        .order_by_asc(rows::Column::Pos)
        .all(cx.db())
        .await?;
    let mut histories: HashMap<Uuid, Option<AccountHistory>> = HashMap::new();
    for row in &rows {
        // The first event of an account is the one by which it came to the connection.
        let history = histories.entry(row.subject_id);
        let history = history.or_insert_with(|| {
            known.known_until(row.subject_id, row.at).map(AccountHistory::history_since)
        });
        if let Some(history) = history {
            history.add_event(row, connection);
        }
    }
    Ok(histories)
}

#[derive(FromQueryResult)]
struct AccountRow {
    id: Uuid,
    user_name: String,
    active: bool,
    document: String,
    gone: bool,
}

/// These accounts of the connection, also deleted ones.
async fn read_accounts(cx: &Cx, connection: Uuid, ids: &[Uuid]) -> Result<Vec<AccountRow>> {
    Ok(cx
        .find::<user::Entity>()
        .filter(user::Column::Id.is_in(ids.iter().copied()))
        .filter(user::Column::ConnectionId.eq(connection))
        .filter(user::Column::PurgedAt.is_null())
        .order_by_asc(user::Column::Id)
        .select_only()
        .columns([
            user::Column::Id,
            user::Column::UserName,
            user::Column::Active,
            user::Column::Document,
        ])
        .expr_as(Expr::col(user::Column::DeletedAt).is_not_null(), "gone")
        .into_model::<AccountRow>()
        .all(cx.db())
        .await?)
}

async fn compare_users(
    cx: &Cx,
    connection: Uuid,
    ids: &[Uuid],
    known: &KnownInstants,
    outcome: &mut ComparisonOutcome,
) -> Result<()> {
    let histories = read_histories(cx, connection, ids, known).await?;
    let accounts = read_accounts(cx, connection, ids).await?;
    for AccountRow { id, user_name, active, document, gone } in accounts {
        let Some(history) = histories.get(&id) else { continue };
        let Some(history) = history else {
            outcome.counts.unread += 1;
            continue;
        };
        let found = |kind: Kind| Difference {
            user: Some(id),
            label: Some(user_name.clone()),
            class: Some(if history.gone { Class::Unassigned } else { Class::Assigned }),
            ..Difference::new(kind, json!(id))
        };
        if gone {
            if history.deleted && !history.gone {
                outcome.counts.missing_here += 1;
                outcome.found.push(found(Kind::MissingHere));
            }
            continue;
        }
        outcome.counts.count_class(if history.gone { Class::Unassigned } else { Class::Assigned });
        if history.gone {
            if history.restored {
                outcome.counts.orphaned_here += 1;
                outcome.counts.leavers += u64::from(active);
                let detail = BTreeMap::from([(
                    "active".into(),
                    AttributeDifference::of(None, Some(active.into())),
                )]);
                outcome.found.push(Difference {
                    leaver: active,
                    active,
                    detail,
                    ..found(Kind::OrphanedHere)
                });
            }
            continue;
        }
        let detail = history.find_differences(&parse_document(&document)?, active);
        if detail.is_empty() {
            outcome.counts.agreed += 1;
            continue;
        }
        let leaver = active && history.theirs.get("active") == Some(&Value::Bool(false));
        outcome.counts.drifted += 1;
        outcome.counts.leavers += u64::from(leaver);
        outcome.found.push(Difference { leaver, active, detail, ..found(Kind::Drifted) });
    }
    Ok(())
}

/// Finds users that were added to a group of the connection, or removed from it, by hand, where
/// this is still so and the identity provider does not know of it. It knows all changes until
/// `until`.
async fn compare_members(
    cx: &Cx,
    connection: Uuid,
    group: Uuid,
    until: DateTime<Utc>,
    outcome: &mut ComparisonOutcome,
) -> Result<()> {
    let text = format!(
        "SELECT e.* FROM event_sealed e WHERE e.organization_id = $1 AND e.connection_id = $2 \
         AND e.subject_kind = 'group' \
         AND e.subject_id = $3 AND {BY_HAND} ORDER BY e.pos"
    );
    let values = [connection.into(), group.into()];
    let by_hand = rows::Model::find_by_statement(cx.statement(text, values));
    let mut moved: BTreeSet<Uuid> = BTreeSet::new();
    let mut by: HashMap<Uuid, (String, DateTime<Utc>)> = HashMap::new();
    for row in by_hand.all(cx.db()).await?.into_iter().filter(|row| row.at > until) {
        let (before, after) = event::event_values(&row);
        let sides = [&before, &after].into_iter().flatten();
        let ids = sides.filter_map(|side| side["members"].as_array()).flatten();
        moved.extend(ids.filter_map(|id| id.as_str()?.parse::<Uuid>().ok()));
        by.insert(row.id, (row.actor_name, row.at));
    }
    #[derive(FromQueryResult)]
    struct MembershipMove {
        user_id: Uuid,
        opened_by: Uuid,
        closed_by: Option<Uuid>,
    }
    let moved: Vec<Uuid> = moved.into_iter().collect();
    for part in moved.chunks(ITEMS_PER_PART) {
        let text = format!(
            r#"SELECT m.user_id, m.opened_by, m.closed_by FROM membership m
               JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id
               AND u.deleted_at IS NULL AND u.connection_id = $4
               WHERE m.organization_id = $1 AND m.group_id = $2 AND m.user_id {}
               ORDER BY m.user_id, m.since, m.id"#,
            paging::in_ids(cx.backend(), 3)
        );
        let values = [group.into(), paging::bind_ids(part), connection.into()];
        let rows = MembershipMove::find_by_statement(cx.statement(text, values));
        let mut places: BTreeMap<Uuid, MembershipView> = BTreeMap::new();
        for row in rows.all(cx.db()).await? {
            let place = places.entry(row.user_id).or_default();
            let closed = row.closed_by.map(|event| (event, false));
            for (event, inside) in [Some((row.opened_by, true)), closed].into_iter().flatten() {
                place.add_move(inside, by.get(&event));
            }
        }
        let names = account_names(cx, part).await?;
        for (user, place) in places {
            let Some((who, at)) = place.by.filter(|_| place.theirs != place.ours) else { continue };
            let label = names.get(&user).map(|(name, _)| name.clone());
            let mut found = membership_difference(group, user, label, place.theirs);
            for differs in found.detail.values_mut() {
                (differs.by, differs.at) = (Some(who.clone()), Some(*at));
            }
            outcome.counts.memberships += 1;
            outcome.found.push(found);
        }
    }
    Ok(())
}

/// Whether a user is in a group, as the identity provider believes, and here.
#[derive(Debug, Default)]
struct MembershipView<'a> {
    theirs: bool,
    ours: bool,
    /// The actor of the last change, if the identity provider does not know of it, and when.
    by: Option<&'a (String, DateTime<Utc>)>,
}

impl<'a> MembershipView<'a> {
    /// Applies a change after which the user is in the group (`inside`) or not. `by` is the actor
    /// of a change that the identity provider does not know of; none = it knows of the change.
    fn add_move(&mut self, inside: bool, by: Option<&'a (String, DateTime<Utc>)>) {
        (self.ours, self.by) = (inside, by);
        if by.is_none() {
            self.theirs = inside;
        }
    }
}
