//! What an export differs from: it is read whole, and what is here in parts. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use entity::connection::ConnectionKind;
use entity::user;
use sea_orm::{ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Statement};
use serde_json::json;
use uuid::Uuid;

use super::diff::{Account, Attributes, Columns, Differs, Pairing, Person, drift, flatten, pair};
use super::export::{Members, Named as ByName, People};
use super::run::{Found, Outcome};
use super::{Class, Kind, Named, thing};
use crate::context::Cx;
use crate::domain::access::{self, Moment};
use crate::domain::document::fold;
use crate::domain::live_index::LiveIndex;
use crate::domain::{connection, list, user as accounts};
use crate::error::Result;

/// Rows read at once, light and with their documents.
const READ: u64 = 2_000;
pub(super) const PART: usize = 200;
/// An export that lacks more than so many, and more than this share, is not believed without being asked.
pub(super) const FLOOR: u64 = 10;
const SHRINK_PERCENT: u64 = 30;

/// The live accounts of the connection and those of nobody.
pub(super) async fn accounts_of(cx: &Cx, id: Uuid) -> Result<Vec<Account>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        external_id: Option<String>,
        user_name: String,
        active: bool,
    }
    let mut known = Vec::new();
    for owner in [Some(id), None] {
        let mut after = Uuid::nil();
        loop {
            let query = cx.find::<user::Entity>().filter(user::Column::DeletedAt.is_null());
            let query = match owner {
                Some(owner) => query.filter(user::Column::ConnectionId.eq(owner)),
                None => query.filter(user::Column::ConnectionId.is_null()),
            };
            let rows: Vec<Row> = query
                .filter(user::Column::Id.gt(after))
                .order_by_asc(user::Column::Id)
                .limit(READ)
                .select_only()
                .columns([user::Column::Id, user::Column::ExternalId, user::Column::UserName, user::Column::Active])
                .into_model()
                .all(cx.db())
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            known.extend(rows.into_iter().map(|Row { id, external_id, user_name, active }| Account {
                id,
                owned: owner.is_some(),
                external_id,
                user_name,
                active,
            }));
        }
    }
    Ok(known)
}

/// What these accounts say about themselves, flat.
pub(super) async fn documents(cx: &Cx, ids: &[Uuid]) -> Result<HashMap<Uuid, Attributes>> {
    let mut documents = HashMap::new();
    for account in accounts::by_ids(cx, ids).await? {
        let mut attributes = flatten(&account.attributes()?);
        attributes.insert("active".into(), account.active.into());
        documents.insert(account.id, attributes);
    }
    Ok(documents)
}

pub(super) async fn users(cx: &Cx, id: Uuid, export: People, confirmed: bool) -> Result<Outcome> {
    let cx = &Cx::system(cx.app.clone(), cx.organization());
    let People { people, mut columns, reading } = export;
    if connection::get(cx, id).await?.kind == ConnectionKind::ScimPull {
        // What is read from a source is known here by the source's id, whatever else the source calls it.
        columns.names.remove("externalId");
    }
    let known = accounts_of(cx, id).await?;
    let pairing = pair(&people, &known);
    let mut outcome = Outcome::default();
    let unlisted: Vec<&Account> =
        known.iter().zip(&pairing.of_account).filter(|(_, person)| person.is_none()).map(|(it, _)| it).collect();
    if let Some((live, absent)) = shrunk(&known, &unlisted, SHRINK_PERCENT).filter(|_| !confirmed) {
        let why = format!(
            "the export lists {} of the {live} active accounts of this connection, which is not believed without being \
             asked: nothing was compared. If it is whole, confirm it; otherwise export everybody who is assigned",
            live - absent
        );
        return Ok(Outcome { refused: Some(why), ..outcome });
    }
    let elsewhere = elsewhere(cx, id, &people, &pairing).await?;
    missing(&people, &known, &pairing, &elsewhere, &mut outcome);
    drifted(cx, &people, &known, &pairing, &columns, &mut outcome).await?;
    if reading.unread == 0 || confirmed {
        outcome.covers = vec![Kind::MissingHere, Kind::OrphanedHere, Kind::Drifted];
        orphaned(&unlisted, &mut outcome);
    } else {
        // Whoever stands in a line that nobody can read is not gone, and what was found about them stays.
        outcome.note = Some(format!(
            "{} lines could not be read, so who is missing from the export was not judged, and no finding is gone; \
             correct them and upload it again, or confirm that it is whole",
            reading.unread
        ));
    }
    outcome.columns = Some(columns);
    roles(cx, &mut outcome.found).await?;
    Ok(outcome)
}

/// Of how many active accounts of the connection so many are not listed that it is not believed, and how many.
pub(super) fn shrunk(known: &[Account], unlisted: &[&Account], percent: u64) -> Option<(u64, u64)> {
    let in_use = |account: &&Account| account.owned && account.active;
    let live = known.iter().filter(in_use).count() as u64;
    let absent = unlisted.iter().copied().filter(in_use).count() as u64;
    let many = absent > FLOOR && absent * 100 > live * percent;
    (many || (absent > 0 && absent == live)).then_some((live, absent))
}

/// The accounts of other connections that bear the names of people without an account, by name.
pub(super) async fn elsewhere(
    cx: &Cx,
    id: Uuid,
    people: &[Person],
    pairing: &Pairing,
) -> Result<HashMap<String, Uuid>> {
    let without = people.iter().zip(&pairing.of_person).filter(|(_, account)| account.is_none());
    let names: Vec<String> = without.filter_map(|(person, _)| Some(fold(person.user_name.as_deref()?))).collect();
    let mut found = HashMap::new();
    for part in names.chunks(PART) {
        let query = cx
            .find::<user::Entity>()
            .filter(user::Column::UserNameKey.is_in(part))
            .filter(user::Column::DeletedAt.is_null())
            .filter(user::Column::ConnectionId.ne(id))
            .select_only()
            .columns([user::Column::UserNameKey, user::Column::Id]);
        found.extend(query.into_tuple::<(String, Uuid)>().all(cx.db()).await?);
    }
    Ok(found)
}

pub(super) fn missing(
    people: &[Person],
    known: &[Account],
    pairing: &Pairing,
    elsewhere: &HashMap<String, Uuid>,
    outcome: &mut Outcome,
) {
    for (person, place) in people.iter().zip(&pairing.of_person) {
        let account = place.and_then(|place| known.get(place));
        let gone = person.active() == Some(false);
        let local = match account {
            Some(account) if account.owned => continue,
            local => local,
        };
        if let Some(local) = local {
            outcome.counts.class(Class::Local);
            if gone {
                if local.active {
                    outcome.counts.orphaned_here += 1;
                    outcome.counts.leavers += 1;
                    outcome.found.push(Found { leaver: true, ..orphan(local, Class::Local) });
                }
                continue;
            }
        }
        if gone {
            // Neither here nor active there: the two agree.
            continue;
        }
        outcome.counts.missing_here += 1;
        let ids = [&person.external_id, &person.remote_id].into_iter().flatten().next();
        let named = match (ids, &person.user_name) {
            (Some(id), _) => Named::Id(id),
            (None, Some(name)) => Named::UserName(name),
            (None, None) => continue,
        };
        let identity = match named {
            Named::Id(id) => json!(["id", id]),
            Named::UserName(name) => json!(["userName", fold(name)]),
        };
        let by_name = person.user_name.as_deref().map_or(named, Named::UserName);
        let theirs = person.attributes.iter();
        let other = || elsewhere.get(&fold(person.user_name.as_deref()?)).copied();
        outcome.found.push(Found {
            thing: Some(thing(by_name)),
            user: local.map(|local| local.id).or_else(other),
            label: person.label().map(Into::into),
            class: local.map(|_| Class::Local),
            active: local.is_some_and(|local| local.active),
            detail: theirs.map(|(name, value)| (name.clone(), Differs::of(Some(value.clone()), None))).collect(),
            ..Found::new(Kind::MissingHere, identity)
        });
    }
}

async fn drifted(
    cx: &Cx,
    people: &[Person],
    known: &[Account],
    pairing: &Pairing,
    columns: &Columns,
    outcome: &mut Outcome,
) -> Result<()> {
    let pairs: Vec<(&Account, &Person)> = known
        .iter()
        .zip(&pairing.of_account)
        .filter_map(|(account, place)| Some((account, people.get((*place)?)?)))
        .filter(|(account, _)| account.owned)
        .collect();
    for part in pairs.chunks(PART) {
        let ids: Vec<Uuid> = part.iter().map(|(account, _)| account.id).collect();
        let documents = documents(cx, &ids).await?;
        for (account, person) in part {
            // Whoever was deleted a moment ago is compared the next time.
            let Some(ours) = documents.get(&account.id) else { continue };
            let gone = person.active() == Some(false);
            differs(account, gone, drift(&person.attributes, ours, columns), outcome);
        }
    }
    Ok(())
}

/// Both have the account, and this is what they say differently of it. `gone` is who may not sign in there.
pub(super) fn differs(account: &Account, gone: bool, detail: BTreeMap<String, Differs>, outcome: &mut Outcome) {
    let class = if gone { Class::Unassigned } else { Class::Assigned };
    outcome.counts.class(class);
    if detail.is_empty() {
        outcome.counts.agreed += 1;
        return;
    }
    let leaver = gone && account.active;
    outcome.counts.drifted += 1;
    outcome.counts.leavers += u64::from(leaver);
    outcome.found.push(Found {
        user: Some(account.id),
        label: Some(account.user_name.clone()),
        class: Some(class),
        leaver,
        active: account.active,
        detail,
        ..Found::new(Kind::Drifted, json!(account.id))
    });
}

fn orphan(account: &Account, class: Class) -> Found {
    Found {
        user: Some(account.id),
        label: Some(account.user_name.clone()),
        class: Some(class),
        active: account.active,
        detail: BTreeMap::from([("active".into(), Differs::of(None, Some(account.active.into())))]),
        ..Found::new(Kind::OrphanedHere, json!(account.id))
    }
}

pub(super) fn orphaned(unlisted: &[&Account], outcome: &mut Outcome) {
    for account in unlisted {
        let class = if account.owned { Class::Unassigned } else { Class::Local };
        outcome.counts.class(class);
        // An account of nobody that is turned off is nothing that anybody could use.
        if !account.owned && !account.active {
            continue;
        }
        let leaver = account.owned && account.active;
        outcome.counts.orphaned_here += 1;
        outcome.counts.leavers += u64::from(leaver);
        outcome.found.push(Found { leaver, ..orphan(account, class) });
    }
}

/// Says of each account that is about to be found how many roles it holds.
pub(super) async fn roles(cx: &Cx, found: &mut [Found]) -> Result<()> {
    let mut about: Vec<&mut Found> = found.iter_mut().filter(|it| it.active && it.kind != Kind::Membership).collect();
    for part in about.chunks_mut(PART) {
        let ids: Vec<Uuid> = part.iter().filter_map(|found| found.user).collect();
        let holdings = access::of_users(cx, &ids, Moment::Now).await?;
        for found in part {
            let held = found.user.and_then(|id| holdings.get(&id)).into_iter().flatten();
            let roles: BTreeSet<Uuid> = held.map(|holding| holding.role_id).collect();
            found.roles = i32::try_from(roles.len()).unwrap_or(i32::MAX);
        }
    }
    Ok(())
}

#[derive(Debug, FromQueryResult)]
pub(super) struct GroupRow {
    pub id: Uuid,
    pub external_id: Option<String>,
    pub display_name: String,
}

/// The live groups of the connection.
pub(super) async fn groups_of(cx: &Cx, id: Uuid) -> Result<Vec<GroupRow>> {
    let text = format!(
        r#"SELECT id, external_id, display_name FROM "group" r WHERE organization_id = $1 AND connection_id = $2
           AND deleted_at IS NULL{} ORDER BY id"#,
        LiveIndex::Owner.condition(cx.backend())
    );
    let values = [cx.organization().into(), id.into()];
    let groups = GroupRow::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    Ok(groups.all(cx.db()).await?)
}

pub(super) async fn memberships(cx: &Cx, id: Uuid, export: &Members, confirmed: bool) -> Result<Outcome> {
    let cx = &Cx::system(cx.app.clone(), cx.organization());
    let groups = groups_of(cx, id).await?;
    let people: Vec<Account> = accounts_of(cx, id).await?.into_iter().filter(|account| account.owned).collect();
    let own: HashSet<Uuid> = people.iter().map(|account| account.id).collect();
    let text = r#"SELECT m.group_id, m.user_id, u.user_name FROM membership m
        JOIN "group" g ON g.organization_id = $1 AND g.id = m.group_id AND g.connection_id = $2 AND g.deleted_at IS NULL
        JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND u.deleted_at IS NULL
        WHERE m.organization_id = $1 AND m.until IS NULL"#;
    let values = [cx.organization().into(), id.into()];
    let rows = cx.db().query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let mut ours: BTreeSet<(Uuid, Uuid)> = BTreeSet::new();
    let mut others: BTreeMap<Uuid, String> = BTreeMap::new();
    for row in rows {
        let (group, user) = (row.try_get("", "group_id")?, row.try_get("", "user_id")?);
        ours.insert((group, user));
        if !own.contains(&user) {
            others.insert(user, row.try_get("", "user_name")?);
        }
    }
    let group_index =
        Index::of(groups.iter().map(|row| (row.id, row.external_id.as_deref(), row.display_name.as_str())));
    let owned = people.iter().map(|row| (row.id, row.external_id.as_deref(), row.user_name.as_str()));
    // The export may name members of other owners too; what they are called elsewhere means nothing here.
    let people_index = Index::of(owned.chain(others.iter().map(|(id, name)| (*id, None, name.as_str()))));
    let mut outcome = Outcome { covers: vec![Kind::Membership], ..Outcome::default() };
    let (mut theirs, mut unknown) = (BTreeSet::new(), [0u64; 2]);
    for (group, members) in &export.groups {
        let Some(group) = group_index.find(group) else {
            unknown[0] += 1;
            continue;
        };
        for member in members {
            match people_index.find(member) {
                Some(user) => drop(theirs.insert((group, user))),
                // A group in the group is no membership of a person.
                None if group_index.find(member).is_some() => {}
                None => unknown[1] += 1,
            }
        }
    }
    // Somebody of another owner whom the export does not name was put there by hand: it cannot know them.
    ours.retain(|pair| own.contains(&pair.1) || theirs.contains(pair));
    let extra: Vec<_> = ours.difference(&theirs).copied().collect();
    let lacking: Vec<_> = theirs.difference(&ours).copied().collect();
    let (absent, live) = (extra.len() as u64, ours.len() as u64);
    let many = absent > FLOOR && absent * 100 > live * SHRINK_PERCENT;
    if (many || (absent > 0 && absent == live)) && !confirmed {
        let why = format!(
            "the export lists {} of the {live} memberships of this connection's groups, which is not believed without \
             being asked: nothing was compared. If it is whole, confirm it; otherwise export every group",
            live - absent
        );
        return Ok(Outcome { refused: Some(why), ..outcome });
    }
    outcome.counts.agreed = live - absent;
    let judged = export.reading.unread == 0 || confirmed;
    let mut notes = Vec::new();
    if !judged {
        notes.push(format!(
            "{} lines could not be read, so who is missing from a group of the export was not judged",
            export.reading.unread
        ));
        outcome.covers.clear();
    }
    if unknown != [0, 0] {
        let [groups, members] = unknown;
        notes.push(format!("{groups} groups and {members} members of the export are not here as this connection's"));
    }
    outcome.note = (!notes.is_empty()).then(|| notes.join("; "));
    let names: HashMap<Uuid, &str> = people.iter().map(|it| (it.id, it.user_name.as_str())).collect();
    let sides = [(&extra, false), (&lacking, true)];
    for (pairs, in_theirs) in sides.into_iter().filter(|(_, in_theirs)| judged || *in_theirs) {
        for (group, user) in pairs {
            let label = names.get(user).map(|name| (*name).to_owned());
            outcome.counts.memberships += 1;
            outcome.found.push(membership(*group, *user, label, in_theirs));
        }
    }
    Ok(outcome)
}

/// Only one of the two has `user` in `group`.
pub(super) fn membership(group: Uuid, user: Uuid, label: Option<String>, in_theirs: bool) -> Found {
    let differs = Differs::of(Some(in_theirs.into()), Some((!in_theirs).into()));
    Found {
        user: Some(user),
        group: Some(group),
        label,
        detail: BTreeMap::from([("members".into(), differs)]),
        ..Found::new(Kind::Membership, json!([group, user]))
    }
}

/// Things of the connection by every name that an export may give them.
struct Index<'a> {
    by_external: HashMap<&'a str, Uuid>,
    by_id: HashMap<String, Uuid>,
    by_name: HashMap<String, Uuid>,
}

impl<'a> Index<'a> {
    fn of(rows: impl Iterator<Item = (Uuid, Option<&'a str>, &'a str)>) -> Self {
        let mut index = Self { by_external: HashMap::new(), by_id: HashMap::new(), by_name: HashMap::new() };
        for (id, external, name) in rows {
            index.by_id.insert(id.to_string(), id);
            index.by_name.entry(fold(name)).or_insert(id);
            if let Some(external) = external {
                index.by_external.entry(external).or_insert(id);
            }
        }
        index
    }

    fn find(&self, named: &ByName) -> Option<Uuid> {
        let remote = named.remote_id.as_deref();
        let external = [named.external_id.as_deref(), remote].into_iter().flatten();
        let by_external = external.filter_map(|id| self.by_external.get(id)).next();
        let by_id = || self.by_id.get(remote?);
        let by_name = || self.by_name.get(&fold(named.name.as_deref()?));
        by_external.or_else(by_id).or_else(by_name).copied()
    }
}

/// The names of accounts that are there, and which of them are deleted.
pub(super) async fn names(cx: &Cx, ids: &[Uuid]) -> Result<HashMap<Uuid, (String, bool)>> {
    let text = format!(
        r#"SELECT id, user_name, deleted_at IS NOT NULL AS gone FROM "user" WHERE organization_id = $1 AND purged_at IS NULL AND id {}"#,
        list::among(cx.backend(), 2)
    );
    let values = [cx.organization().into(), list::ids(ids)];
    let mut names = HashMap::new();
    for row in cx.db().query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await? {
        names.insert(row.try_get("", "id")?, (row.try_get("", "user_name")?, row.try_get("", "gone")?));
    }
    Ok(names)
}
