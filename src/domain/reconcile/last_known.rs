//! What a connection's identity provider wrote or read last, against what is here: the ledger tells both, and who made
//! the difference. An identity provider that pushes cannot be asked, but what it wrote it believes to be so, and what it
//! read it knows.
//!
//! Only what somebody changed by hand can differ, so only that is looked at. What the ledger cannot tell is not guessed:
//! a write that changed nothing left no row, so a value that the identity provider has sent again meanwhile, as it was
//! made here, still counts as changed here; and of an account that was adopted, only what it wrote since. Of what it has
//! read, it knows everything that had happened until then, whoever did it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{event as rows, group, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Statement,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::compare::{membership, names, roles};
use super::diff::{Columns, Differs, drift, flatten};
use super::reads::Readings;
use super::run::{Found, Outcome};
use super::{Class, Kind};
use crate::context::Cx;
use crate::domain::event;
use crate::domain::list;
use crate::domain::user::parse;
use crate::error::Result;
use crate::ledger::EventKind;
use crate::reads;

/// Things looked at at once.
const PART: usize = 200;

/// Whose changes are by hand. The index of these rows holds exactly them.
const BY_HAND: &str = "e.actor_kind IN ('PERSON', 'API_KEY') AND e.connection_id IS NOT NULL";

/// From where it is known what the identity provider believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// From what it wrote.
    Written,
    /// From what it read, and what it wrote since.
    Read,
}

impl Knowledge {
    async fn of(self, cx: &Cx, connection: Uuid, kind: reads::Kind, ids: &[Uuid]) -> Result<Known> {
        Ok(match self {
            Self::Written => Known::Written,
            Self::Read => Known::Read(Readings::of(cx, connection, kind, ids).await?),
        })
    }
}

/// The same of some users or groups.
enum Known {
    Written,
    Read(Readings),
}

impl Known {
    /// Until when the identity provider knows everything of the one with this id, which it can see since then; none = it
    /// has not read it.
    fn until(&self, id: Uuid, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Written => Some(DateTime::<Utc>::MIN_UTC),
            Self::Read(readings) => readings.last(id, since),
        }
    }
}

pub(super) async fn compare(cx: &Cx, connection: Uuid, knowledge: Knowledge) -> Result<Outcome> {
    let mut outcome = Outcome {
        covers: vec![Kind::MissingHere, Kind::OrphanedHere, Kind::Drifted, Kind::Membership],
        ..Outcome::default()
    };
    let changed = touched(cx, connection, "user").await?;
    outcome.counts.rows += changed.len() as u64;
    for part in changed.chunks(PART) {
        let known = knowledge.of(cx, connection, reads::Kind::User, part).await?;
        users(cx, connection, part, &known, &mut outcome).await?;
    }
    let changed = touched(cx, connection, "group").await?;
    outcome.counts.rows += changed.len() as u64;
    for part in changed.chunks(PART) {
        let known = knowledge.of(cx, connection, reads::Kind::Group, part).await?;
        let groups = cx
            .find::<group::Entity>()
            .filter(group::Column::Id.is_in(part.iter().copied()))
            .filter(group::Column::ConnectionId.eq(connection))
            .filter(group::Column::DeletedAt.is_null())
            .order_by_asc(group::Column::Id)
            .select_only()
            .columns([group::Column::Id, group::Column::CreatedAt]);
        for (id, created_at) in groups.into_tuple::<(Uuid, DateTime<Utc>)>().all(cx.db()).await? {
            match known.until(id, created_at) {
                Some(until) => members(cx, connection, id, until, &mut outcome).await?,
                None => outcome.counts.unread += 1,
            }
        }
    }
    roles(cx, &mut outcome.found).await?;
    Ok(outcome)
}

/// The users or groups of the connection that somebody changed by hand.
async fn touched(cx: &Cx, connection: Uuid, kind: &str) -> Result<Vec<Uuid>> {
    let text = format!(
        "SELECT DISTINCT e.subject_id FROM event e WHERE e.organization_id = $1 AND e.connection_id = $2 \
         AND e.subject_kind = $3 AND {BY_HAND} ORDER BY e.subject_id"
    );
    let values = [cx.organization().into(), connection.into(), kind.into()];
    let rows = cx.db().query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.try_get("", "subject_id")).collect::<Result<_, _>>()?;
    // Rows about many subjects name none.
    Ok(ids.into_iter().filter(|id| !id.is_nil()).collect())
}

/// What happened to an account, as far as it is known who believes what.
#[derive(Debug, Default)]
struct History {
    /// Until when the identity provider knows of everything.
    until: DateTime<Utc>,
    /// What the identity provider last said, by attribute; null = nothing.
    theirs: BTreeMap<String, Value>,
    /// Who made each attribute what it is here.
    by: BTreeMap<String, (String, DateTime<Utc>)>,
    /// Whether its last word was that the account is gone.
    gone: bool,
    /// Whether somebody here deleted the account, or brought it back.
    deleted: bool,
    restored: bool,
}

impl History {
    fn since(until: DateTime<Utc>) -> Self {
        Self { until, ..Self::default() }
    }

    fn tell(&mut self, row: &rows::Model, connection: Uuid) {
        let kind = EventKind::parse(&row.action);
        if row.at <= self.until {
            let back = kind.is_some_and(EventKind::brings_account_back);
            self.gone = kind == Some(EventKind::UserDeleted) || (self.gone && !back);
            return;
        }
        let own = row.actor_kind == "CONNECTION" && row.actor_id.as_deref() == Some(connection.to_string().as_str());
        // Whoever accepts that a connection takes an account over lets it have its say.
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
        let (before, after) = event::values(row);
        let object = |value: Option<Value>| match value {
            Some(Value::Object(values)) => values,
            _ => Map::new(),
        };
        let (before, after) = (object(before), object(after));
        if !kind.is_some_and(EventKind::tells_attributes) {
            return;
        }
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).filter(|name| *name != "schemas").collect();
        for name in names {
            if own {
                self.theirs.insert(name.clone(), after.get(name).cloned().unwrap_or_default());
                self.by.remove(name);
            } else {
                // As the connection left it, if the ledger did not tell so before.
                self.theirs.entry(name.clone()).or_insert_with(|| before.get(name).cloned().unwrap_or_default());
                self.by.insert(name.clone(), (row.actor_name.clone(), row.at));
            }
        }
    }

    /// What differs now.
    fn differences(&self, document: &Map<String, Value>, active: bool) -> BTreeMap<String, Differs> {
        let mut differences = BTreeMap::new();
        for (name, (by, at)) in &self.by {
            let part = |value: Option<&Value>| match value {
                None | Some(Value::Null) => Map::new(),
                Some(value) => Map::from_iter([(name.clone(), value.clone())]),
            };
            let (theirs, mut ours) = (flatten(&part(self.theirs.get(name))), flatten(&part(document.get(name))));
            if name == "active" {
                ours.insert(name.clone(), active.into());
            }
            let columns = Columns { names: theirs.keys().chain(ours.keys()).cloned().collect(), all_emails: true };
            for (path, differs) in drift(&theirs, &ours, &columns) {
                differences.insert(path, Differs { by: Some(by.clone()), at: Some(*at), ..differs });
            }
        }
        differences
    }
}

async fn users(cx: &Cx, connection: Uuid, ids: &[Uuid], known: &Known, outcome: &mut Outcome) -> Result<()> {
    let rows = cx
        .find::<rows::Entity>()
        .filter(rows::Column::SubjectId.is_in(ids.iter().copied()))
        .filter(rows::Column::ConnectionId.eq(connection))
        .order_by_asc(rows::Column::SubjectId)
        .order_by_asc(rows::Column::Pos)
        .all(cx.db())
        .await?;
    let mut histories: HashMap<Uuid, Option<History>> = HashMap::new();
    for row in &rows {
        // The first row is of when it came to the connection.
        let history = histories.entry(row.subject_id);
        let history = history.or_insert_with(|| known.until(row.subject_id, row.at).map(History::since));
        if let Some(history) = history {
            history.tell(row, connection);
        }
    }
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        user_name: String,
        active: bool,
        document: String,
        gone: bool,
    }
    let accounts = cx
        .find::<user::Entity>()
        .filter(user::Column::Id.is_in(ids.iter().copied()))
        .filter(user::Column::ConnectionId.eq(connection))
        .filter(user::Column::PurgedAt.is_null())
        .order_by_asc(user::Column::Id)
        .select_only()
        .columns([user::Column::Id, user::Column::UserName, user::Column::Active, user::Column::Document])
        .expr_as(Expr::col(user::Column::DeletedAt).is_not_null(), "gone")
        .into_model::<Row>()
        .all(cx.db())
        .await?;
    for Row { id, user_name, active, document, gone } in accounts {
        let Some(history) = histories.get(&id) else { continue };
        let Some(history) = history else {
            outcome.counts.unread += 1;
            continue;
        };
        let found = |kind: Kind| Found {
            user: Some(id),
            label: Some(user_name.clone()),
            class: Some(if history.gone { Class::Unassigned } else { Class::Assigned }),
            ..Found::new(kind, json!(id))
        };
        if gone {
            if history.deleted && !history.gone {
                outcome.counts.missing_here += 1;
                outcome.found.push(found(Kind::MissingHere));
            }
            continue;
        }
        outcome.counts.class(if history.gone { Class::Unassigned } else { Class::Assigned });
        if history.gone {
            if history.restored {
                outcome.counts.orphaned_here += 1;
                outcome.counts.leavers += u64::from(active);
                let detail = BTreeMap::from([("active".into(), Differs::of(None, Some(active.into())))]);
                outcome.found.push(Found { leaver: active, active, detail, ..found(Kind::OrphanedHere) });
            }
            continue;
        }
        let detail = history.differences(&parse(&document)?, active);
        if detail.is_empty() {
            outcome.counts.agreed += 1;
            continue;
        }
        let leaver = active && history.theirs.get("active") == Some(&Value::Bool(false));
        outcome.counts.drifted += 1;
        outcome.counts.leavers += u64::from(leaver);
        outcome.found.push(Found { leaver, active, detail, ..found(Kind::Drifted) });
    }
    Ok(())
}

/// Who came into a group of the connection, or left it, by hand and without the identity provider's knowledge, and that
/// it still stands so. `until` is until when it knows of everything.
async fn members(cx: &Cx, connection: Uuid, group: Uuid, until: DateTime<Utc>, outcome: &mut Outcome) -> Result<()> {
    let text = format!(
        "SELECT e.* FROM event_sealed e WHERE e.organization_id = $1 AND e.connection_id = $2 AND e.subject_kind = 'group' \
         AND e.subject_id = $3 AND {BY_HAND} ORDER BY e.pos"
    );
    let values = [cx.organization().into(), connection.into(), group.into()];
    let by_hand = rows::Model::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    let mut moved: BTreeSet<Uuid> = BTreeSet::new();
    let mut by: HashMap<Uuid, (String, DateTime<Utc>)> = HashMap::new();
    for row in by_hand.all(cx.db()).await?.into_iter().filter(|row| row.at > until) {
        let (before, after) = event::values(&row);
        let sides = [&before, &after].into_iter().flatten();
        let ids = sides.filter_map(|side| side["members"].as_array()).flatten();
        moved.extend(ids.filter_map(|id| id.as_str()?.parse::<Uuid>().ok()));
        by.insert(row.id, (row.actor_name, row.at));
    }
    #[derive(FromQueryResult)]
    struct Row {
        user_id: Uuid,
        opened_by: Uuid,
        closed_by: Option<Uuid>,
    }
    let moved: Vec<Uuid> = moved.into_iter().collect();
    for part in moved.chunks(PART) {
        let text = format!(
            r#"SELECT m.user_id, m.opened_by, m.closed_by FROM membership m
               JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND u.deleted_at IS NULL AND u.connection_id = $4
               WHERE m.organization_id = $1 AND m.group_id = $2 AND m.user_id {} ORDER BY m.user_id, m.since, m.id"#,
            list::among(cx.backend(), 3)
        );
        let values = [cx.organization().into(), group.into(), list::ids(part), connection.into()];
        let rows = Row::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
        let mut places: BTreeMap<Uuid, Place> = BTreeMap::new();
        for row in rows.all(cx.db()).await? {
            let place = places.entry(row.user_id).or_default();
            let closed = row.closed_by.map(|event| (event, false));
            for (event, inside) in [Some((row.opened_by, true)), closed].into_iter().flatten() {
                place.moves(inside, by.get(&event));
            }
        }
        let names = names(cx, part).await?;
        for (user, place) in places {
            let Some((who, at)) = place.by.filter(|_| place.theirs != place.ours) else { continue };
            let label = names.get(&user).map(|(name, _)| name.clone());
            let mut found = membership(group, user, label, place.theirs);
            for differs in found.detail.values_mut() {
                (differs.by, differs.at) = (Some(who.clone()), Some(*at));
            }
            outcome.counts.memberships += 1;
            outcome.found.push(found);
        }
    }
    Ok(())
}

/// Whether somebody is in a group: as the identity provider believes, and here.
#[derive(Debug, Default)]
struct Place<'a> {
    theirs: bool,
    ours: bool,
    /// Who made it what it is here, and when.
    by: Option<&'a (String, DateTime<Utc>)>,
}

impl<'a> Place<'a> {
    /// Somebody comes in or leaves, by the hand of whom the identity provider does not know of it; otherwise it knows.
    fn moves(&mut self, inside: bool, by: Option<&'a (String, DateTime<Utc>)>) {
        (self.ours, self.by) = (inside, by);
        if by.is_none() {
            self.theirs = inside;
        }
    }
}
