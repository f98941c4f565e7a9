//! Carrying over what a source lists: each person and group is compared with what is here, and only what differs is
//! written, by the connection itself through the same functions as any other change.
//!
//! Who somebody is, the source's own `id` says and nothing else: it is the `externalId` here. So a new name or e-mail
//! address never makes a second account, and whoever comes back gets their account back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use aws_lc_rs::digest::{SHA256, digest};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::met::{self, Met, Moved};
use super::subject::Subject;
use super::{Tally, Trouble};
use crate::context::Cx;
use crate::context::Lease;
use crate::domain::document::{self, MemberChange};
use crate::domain::extension::types;
use crate::domain::failure::Report;
use crate::domain::group::GroupEdit;
use crate::domain::live_index::LiveIndex;
use crate::domain::schema::{ENTERPRISE, ResourceType};
use crate::domain::{group, list, user};
use crate::error::{Error, Result};
use crate::ledger::hex;

/// Accounts and groups are removed so many at a time.
const PART: u64 = 100;

/// A resource as the source shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    pub id: String,
    pub attributes: Map<String, Value>,
}

/// What is being carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    User,
    Group,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    /// The endpoint's name.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }
}

/// What was to be done to one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Create,
    Update,
    Delete,
}

impl Deed {
    /// In the words of the request log.
    pub(super) fn of(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Create, Kind::User) => "create user",
            (Self::Update, Kind::User) => "update user",
            (Self::Delete, Kind::User) => "delete user",
            (Self::Create, Kind::Group) => "create group",
            (Self::Update, Kind::Group) => "update group",
            (Self::Delete, Kind::Group) => "delete group",
        }
    }
}

/// What became of a page.
#[derive(Debug, Default)]
pub struct Carried {
    pub tally: Tally,
    pub troubles: Vec<Trouble>,
    /// The same for the review queue.
    pub failures: Vec<Report>,
    /// Resources that have no account or group here afterwards.
    pub strangers: u64,
    /// Whether somebody has a manager who is not here.
    pub managers_missing: bool,
    /// Whether a group has members that are not here.
    pub members_missing: bool,
    /// Whether a group showed members.
    pub lists_members: bool,
    /// What a dry run met.
    pub met: Met,
    /// What was not done yet, because it takes something away.
    pub held: Held,
    /// Accounts that were suspended or are held, or memberships that were ended or are held …
    pub taking: u64,
    /// … and memberships that began or are held.
    pub giving: u64,
}

/// One pass through a source's list.
#[derive(Debug, Default)]
pub struct Pass {
    /// Whether what takes something away is held until the whole list is known.
    holds: bool,
    /// The folded names of accounts that a rehearsal has made and undone.
    rehearsed_names: HashSet<String>,
}

impl Pass {
    /// A pass; `holds` says that what takes something away waits in [`Carried::held`].
    pub fn new(holds: bool) -> Self {
        Self { holds, ..Self::default() }
    }
}

/// Changes that take something away, ready to be made.
#[derive(Debug, Default)]
pub struct Held {
    users: Vec<UserChange>,
    groups: Vec<GroupChange>,
}

impl Held {
    /// Adds what another page brought.
    pub fn append(&mut self, other: Held) {
        self.users.extend(other.users);
        self.groups.extend(other.groups);
    }

    /// Changes, and members of groups.
    pub fn size(&self) -> usize {
        let members = |change: &GroupChange| 1 + change.moved.come.len() + change.moved.go.len();
        self.users.len() + self.groups.iter().map(members).sum::<usize>()
    }
}

/// What the source says of an account that is here.
#[derive(Debug)]
struct UserChange {
    known: Known,
    attributes: Map<String, Value>,
    image: Vec<u8>,
    /// Whether the manager is known here, or none is named.
    whole: bool,
}

/// What the source says of a group that is here.
#[derive(Debug)]
struct GroupChange {
    known: Known,
    attributes: Map<String, Value>,
    /// Who would come and go.
    moved: Moved,
    image: Vec<u8>,
    /// Whether members are unknown here, or the source showed none and may have some.
    incomplete: bool,
}

#[derive(Debug, Clone, FromQueryResult)]
struct Known {
    id: Uuid,
    external_id: String,
    version: i64,
    /// Of a user.
    active: bool,
    digest: Option<Vec<u8>>,
    left: Option<i64>,
}

impl Known {
    /// Whether it is as the document of this digest left it.
    fn shows(&self, image: &Vec<u8>) -> bool {
        self.digest.as_ref() == Some(image) && self.left == Some(self.version)
    }
}

/// What to remember of a resource: the account or group here, and of which document it is the image.
struct Mark {
    id: Uuid,
    image: Option<(Vec<u8>, i64)>,
}

/// What the connection owns of these, by the source's id.
async fn known(cx: &Cx, kind: Kind, ids: &[&str]) -> Result<HashMap<String, Known>> {
    let Some(connection) = cx.confined_to() else { return Ok(HashMap::new()) };
    let (table, active) = match kind {
        Kind::User => ("user", "r.active"),
        Kind::Group => ("group", "TRUE"),
    };
    let condition = "r.organization_id = $1 AND r.connection_id = $2 AND r.deleted_at IS NULL \
         AND r.external_id = wanted.external_id";
    let row = list::each(cx.backend(), table, "r", condition);
    let wanted = match cx.backend() {
        DbBackend::Postgres => "SELECT value AS external_id FROM jsonb_array_elements_text($3)",
        _ => "SELECT value AS external_id FROM json_each($3)",
    };
    let text = format!(
        r#"SELECT r.id, r.external_id, r.version, {active} AS active, p.digest, p.version AS "left"
           FROM ({wanted}) AS wanted {row}
           LEFT JOIN pulled p ON p.organization_id = r.organization_id AND p.resource_id = r.id"#
    );
    let values = [cx.organization().into(), connection.into(), json!(ids).into()];
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    let rows = Known::find_by_statement(statement).all(&cx.app.store.write).await?;
    Ok(rows.into_iter().map(|row| (row.external_id.clone(), row)).collect())
}

/// Remembers that the run saw these. Those without an image keep the one that they have, unless `fresh` says that it
/// does not hold any more.
async fn mark(cx: &Cx, run: Option<Uuid>, marks: &[Mark]) -> Result<()> {
    let Some(run) = run.filter(|_| !marks.is_empty()) else { return Ok(()) };
    let rows: BTreeMap<Uuid, Value> = marks
        .iter()
        .map(|mark| {
            let image = mark.image.as_ref();
            let digest = image.map(|(digest, _)| hex(digest));
            (mark.id, json!([mark.id.simple().to_string(), digest, image.map_or(0, |(_, version)| *version)]))
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
        "INSERT INTO pulled (organization_id, resource_id, seen_run_id, digest, version) SELECT $1, {columns} FROM {each} \
         WHERE TRUE ON CONFLICT (organization_id, resource_id) DO UPDATE SET seen_run_id = excluded.seen_run_id, \
           digest = coalesce(excluded.digest, pulled.digest), \
           version = CASE WHEN excluded.digest IS NULL THEN pulled.version ELSE excluded.version END"
    );
    let values = [cx.organization().into(), run.into(), json!(rows).into()];
    cx.app.store.write.execute_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    Ok(())
}

/// What the source says of a resource, without what it says of others or of itself as a server.
fn own(remote: Remote) -> (String, Map<String, Value>) {
    let Remote { id, mut attributes } = remote;
    attributes.retain(|name, _| !["id", "meta", "groups", "externalid"].contains(&name.to_ascii_lowercase().as_str()));
    attributes.insert("externalId".into(), id.clone().into());
    (id, attributes)
}

fn image(attributes: &Map<String, Value>) -> Vec<u8> {
    digest(&SHA256, Value::Object(attributes.clone()).to_string().as_bytes()).as_ref().to_vec()
}

/// What a user's document says of the manager, whichever way it says it.
fn manager(attributes: &mut Map<String, Value>) -> Option<&mut Value> {
    let named = |key: &str| key.eq_ignore_ascii_case("manager");
    let qualified = format!("{ENTERPRISE}:manager");
    attributes.iter_mut().find_map(|(key, value)| {
        if named(key) || key.eq_ignore_ascii_case(&qualified) {
            return Some(value);
        }
        let inner = value.as_object_mut().filter(|_| key.eq_ignore_ascii_case(ENTERPRISE))?;
        inner.iter_mut().find(|(key, _)| named(key)).map(|(_, value)| value)
    })
}

/// Whom it names: `manager` comes as an object, as a text, and as an array of one.
fn manager_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::Array(one) => return one.first().and_then(manager_id),
        Value::Object(fields) => fields.iter().find(|(key, _)| key.eq_ignore_ascii_case("value"))?.1,
        value => value,
    };
    // What no id can be is not asked for.
    id.as_str().filter(|id| !id.is_empty() && !id.contains('\0')).map(Into::into)
}

/// Whether the whole run must stop, since the next resource would meet the same.
fn is_ours(error: &Error) -> bool {
    matches!(error, Error::Internal(_) | Error::Busy(_) | Error::Unavailable(_) | Error::OutcomeUnknown { .. })
}

/// Carries a page of users over; in a rehearsal it only says what it would do. `run` is none for one that is read again by
/// itself.
pub async fn users(cx: &Cx, run: Option<Uuid>, page: Vec<Remote>, pass: &mut Pass) -> Result<Carried> {
    let types = types(cx).await?;
    let mut carried = Carried::default();
    let (mut read, mut wanted) = (Vec::new(), BTreeSet::new());
    for remote in page {
        carried.tally.read += 1;
        let (id, mut attributes) = own(remote);
        let image = image(&attributes);
        let above = manager(&mut attributes).and_then(|value| manager_id(value));
        wanted.extend(above.clone());
        read.push((id, attributes, image, above));
    }
    let mut here = known(cx, Kind::User, &read.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>()).await?;
    let managers = known(cx, Kind::User, &wanted.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let mut marks = Vec::new();
    for (id, mut attributes, image, above) in read {
        let known = here.remove(&id);
        // The source's id of the manager means nothing here.
        let above = above.map(|id| managers.get(&id).map(|known| known.id));
        if let Some(value) = manager(&mut attributes) {
            *value = above.flatten().map_or(Value::Null, |id| json!({ "value": id.to_string() }));
        }
        let whole = above != Some(None);
        let same = known.as_ref().is_some_and(|known| known.shows(&image));
        if cx.rehearses() {
            let here = known.as_ref().map(|known| known.id);
            let person = if same {
                met::Person::Same
            } else {
                met::Person::Shown { here, attributes: attributes.clone(), manager_known: whole }
            };
            carried.met.people.push((id.clone(), person));
        }
        let Some(known) = known else {
            let subject = Subject::new(Kind::User, &types.user, &id, None, Some(&attributes));
            match create_user(cx, attributes, pass).await {
                Ok(made) => {
                    match made.version {
                        1 => carried.tally.created += 1,
                        _ => carried.tally.restored += 1,
                    }
                    carried.managers_missing |= !whole;
                    if cx.rehearses() {
                        carried.strangers += 1;
                    } else {
                        subject.succeeded(cx);
                        marks.push(Mark { id: made.id, image: whole.then_some((image, made.version)) });
                    }
                }
                Err(error) if is_ours(&error) => return Err(error),
                Err(error) => {
                    carried.strangers += 1;
                    subject.failed(cx, &mut carried, Deed::Create, &error);
                }
            }
            continue;
        };
        if same {
            carried.tally.unchanged += 1;
            Subject::new(Kind::User, &types.user, &id, Some(known.id), None).succeeded(cx);
            marks.push(Mark { id: known.id, image: None });
            continue;
        }
        let takes = known.active && lists_inactive(&types.user, &attributes);
        carried.taking += u64::from(takes);
        let change = UserChange { known, attributes, image, whole };
        if takes && pass.holds {
            marks.push(Mark { id: change.known.id, image: None });
            carried.managers_missing |= !whole;
            carried.held.users.push(change);
        } else {
            marks.push(update_user(cx, &types.user, change, &mut carried).await?);
        }
    }
    mark(cx, run, &marks).await?;
    Ok(carried)
}

/// Makes what was held, of users and groups.
pub async fn release_held(cx: &Cx, run: Option<Uuid>, held: Held) -> Result<Carried> {
    let types = types(cx).await?;
    let (mut carried, mut marks) = (Carried::default(), Vec::new());
    for change in held.users {
        marks.push(update_user(cx, &types.user, change, &mut carried).await?);
    }
    for change in held.groups {
        marks.push(update_group(cx, &types.group, change, &mut carried).await?);
    }
    mark(cx, run, &marks).await?;
    Ok(carried)
}

/// Whether the source says that a person is inactive.
fn lists_inactive(ty: &ResourceType, attributes: &Map<String, Value>) -> bool {
    let said = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("active"));
    let doubtful = said.is_some_and(|(_, value)| *value != Value::Bool(true));
    doubtful && document::normalize(ty, attributes.clone()).is_ok_and(|known| document::active(&known) == Some(false))
}

/// Makes an account. One rehearsal knows the names of the accounts that it made before, which are not there.
async fn create_user(cx: &Cx, attributes: Map<String, Value>, pass: &mut Pass) -> Result<user::User> {
    if !cx.rehearses() {
        return user::create(cx, attributes).await;
    }
    let named = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("userName"));
    let name = named.and_then(|(_, value)| value.as_str()).map(document::fold);
    let made = user::create(cx, attributes).await?;
    match name.is_some_and(|name| !pass.rehearsed_names.insert(name)) {
        true => Err(Error::Taken { field: "userName" }),
        false => Ok(made),
    }
}

/// Changes an account to what the source says of it; what to remember of it.
async fn update_user(cx: &Cx, ty: &ResourceType, change: UserChange, carried: &mut Carried) -> Result<Mark> {
    let UserChange { known, attributes, image, whole } = change;
    let subject = Subject::new(Kind::User, ty, &known.external_id, Some(known.id), Some(&attributes));
    // Like a PUT, except that a source which says nothing about it neither suspends nor restores.
    let told = |active: bool| {
        let mut attributes = attributes.clone();
        if !attributes.keys().any(|name| name.eq_ignore_ascii_case("active")) {
            attributes.insert("active".into(), active.into());
        }
        attributes
    };
    match user::change(cx, known.id, |user, _| Ok(Some(told(user.active)))).await {
        Ok(after) => {
            match (after.version == known.version, known.active, after.active) {
                (true, ..) => carried.tally.unchanged += 1,
                (_, true, false) => carried.tally.suspended += 1,
                (_, false, true) => carried.tally.restored += 1,
                _ => carried.tally.updated += 1,
            }
            carried.managers_missing |= !whole;
            if !cx.rehearses() {
                subject.succeeded(cx);
            }
            let image = (whole && !cx.rehearses()).then_some((image, after.version));
            Ok(Mark { id: known.id, image })
        }
        Err(error) if is_ours(&error) => Err(error),
        Err(error) => {
            subject.failed(cx, carried, Deed::Update, &error);
            Ok(Mark { id: known.id, image: None })
        }
    }
}

/// Carries a page of groups over. `silent_is_empty` says whether a group without members has none: a source that was
/// never seen to list members may just not show them.
pub async fn groups(
    cx: &Cx,
    run: Option<Uuid>,
    page: Vec<Remote>,
    silent_is_empty: bool,
    pass: &Pass,
) -> Result<Carried> {
    let mut carried = Carried::default();
    let ty = &types(cx).await?.group;
    let mut read = Vec::new();
    let mut wanted = BTreeSet::new();
    for remote in page {
        carried.tally.read += 1;
        let (id, attributes) = own(remote);
        match document::members(ty, &attributes) {
            Ok(members) => {
                carried.lists_members |= members.as_ref().is_some_and(|members| !members.is_empty());
                // What no id can be is not asked for.
                wanted.extend(members.iter().flatten().filter(|id| !id.contains('\0')).cloned());
                read.push((id, attributes, Ok(members)));
            }
            Err(error) => read.push((id, attributes, Err(error))),
        }
    }
    let silent_is_empty = silent_is_empty || carried.lists_members;
    let mut known_groups = known(cx, Kind::Group, &read.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>()).await?;
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut members_here = known(cx, Kind::User, &wanted).await?;
    let unknown: Vec<&str> = wanted.iter().copied().filter(|id| !members_here.contains_key(*id)).collect();
    members_here.extend(known(cx, Kind::Group, &unknown).await?);
    let mut marks = Vec::new();
    for (id, mut attributes, members) in read {
        let image = image(&attributes);
        let known = known_groups.remove(&id);
        if let Some(known) = known.as_ref().filter(|known| known.shows(&image)) {
            Subject::new(Kind::Group, ty, &id, Some(known.id), None).succeeded(cx);
            carried.tally.unchanged += 1;
            marks.push(Mark { id: known.id, image: None });
            if cx.rehearses() {
                carried.met.groups.push((id, met::Group::Same));
            }
            continue;
        }
        let members = match members {
            Ok(members) => members,
            Err(error) => {
                let subject =
                    Subject::new(Kind::Group, ty, &id, known.as_ref().map(|known| known.id), Some(&attributes));
                carried.strangers += u64::from(known.is_none());
                if cx.rehearses() {
                    carried.met.groups.push((id.clone(), met::Group::Unread));
                }
                let deed = if known.is_some() { Deed::Update } else { Deed::Create };
                subject.failed(cx, &mut carried, deed, &error);
                marks.extend(known.map(|known| Mark { id: known.id, image: None }));
                continue;
            }
        };
        attributes.retain(|name, _| !name.eq_ignore_ascii_case("members"));
        let here = |id: &String| members_here.get(id).map(|known| known.id);
        let strangers = members.iter().flatten().filter(|id| here(id).is_none()).count() as u64;
        let silent = members.is_none() && !silent_is_empty;
        let incomplete = strangers > 0 || silent;
        let members: Option<BTreeSet<Uuid>> = match members {
            Some(members) => Some(members.iter().filter_map(here).collect()),
            None => silent_is_empty.then(BTreeSet::new),
        };
        let Some(known) = known else {
            let listed = ListedGroup { id, attributes, members, image, incomplete };
            marks.extend(create_group(cx, ty, listed, &mut carried).await?);
            continue;
        };
        let moved = match members {
            Some(members) => Moved { strangers, ..moved_members(cx, known.id, &members).await? },
            None => Moved { strangers, ..Moved::default() },
        };
        carried.taking += moved.go.len() as u64;
        carried.giving += moved.come.len() as u64;
        let takes = !moved.go.is_empty();
        if cx.rehearses() {
            let (come, go) = (moved.come.clone(), moved.go.clone());
            let shown = met::Group::Shown { here: known.id, moved: Moved { come, go, strangers } };
            carried.met.groups.push((id, if silent { met::Group::Silent } else { shown }));
        }
        let change = GroupChange { known, attributes, moved, image, incomplete };
        if takes && pass.holds {
            marks.push(Mark { id: change.known.id, image: None });
            carried.members_missing |= incomplete;
            carried.held.groups.push(change);
        } else {
            marks.push(update_group(cx, ty, change, &mut carried).await?);
        }
    }
    mark(cx, run, &marks).await?;
    Ok(carried)
}

/// A group that the source lists and that is not here.
struct ListedGroup {
    id: String,
    attributes: Map<String, Value>,
    members: Option<BTreeSet<Uuid>>,
    image: Vec<u8>,
    /// See [`GroupChange::incomplete`].
    incomplete: bool,
}

/// Makes a group that the source lists; what to remember of it, if it is there afterwards.
async fn create_group(cx: &Cx, ty: &ResourceType, listed: ListedGroup, carried: &mut Carried) -> Result<Option<Mark>> {
    let ListedGroup { id, attributes, members, image, incomplete } = listed;
    let subject = Subject::new(Kind::Group, ty, &id, None, Some(&attributes));
    let members = members.iter().flatten().map(Uuid::to_string).collect();
    match group::create(cx, attributes, members).await {
        Ok(made) => {
            carried.tally.created += 1;
            carried.members_missing |= incomplete;
            if cx.rehearses() {
                carried.strangers += 1;
                carried.met.groups.push((id, met::Group::Strange));
                return Ok(None);
            }
            subject.succeeded(cx);
            Ok(Some(Mark { id: made.id, image: (!incomplete).then_some((image, made.version)) }))
        }
        Err(error) if is_ours(&error) => Err(error),
        Err(error) => {
            carried.strangers += 1;
            if cx.rehearses() {
                carried.met.groups.push((id.clone(), met::Group::Strange));
            }
            subject.failed(cx, carried, Deed::Create, &error);
            Ok(None)
        }
    }
}

/// Changes a group to what the source says of it; what to remember of it.
async fn update_group(cx: &Cx, ty: &ResourceType, change: GroupChange, carried: &mut Carried) -> Result<Mark> {
    let GroupChange { known, attributes, moved, image, incomplete } = change;
    let subject = Subject::new(Kind::Group, ty, &known.external_id, Some(known.id), Some(&attributes));
    let mut changes = Vec::new();
    if !moved.come.is_empty() {
        changes.push(MemberChange::Add(moved.come.iter().map(Uuid::to_string).collect()));
    }
    if !moved.go.is_empty() {
        changes.push(MemberChange::Remove(moved.go.iter().map(Uuid::to_string).collect()));
    }
    let edit = GroupEdit { attributes: Some(attributes), members: changes, of_version: false };
    match group::change(cx, known.id, |_| Ok(edit.clone())).await {
        Ok(after) => {
            match known.version == after.version {
                true => carried.tally.unchanged += 1,
                false => carried.tally.updated += 1,
            }
            carried.members_missing |= incomplete;
            if !cx.rehearses() {
                subject.succeeded(cx);
            }
            let image = (!incomplete && !cx.rehearses()).then_some((image, after.version));
            Ok(Mark { id: known.id, image })
        }
        Err(error) if is_ours(&error) => Err(error),
        Err(error) => {
            subject.failed(cx, carried, Deed::Update, &error);
            Ok(Mark { id: known.id, image: None })
        }
    }
}

/// Who would come and go if a group had these members.
async fn moved_members(cx: &Cx, group: Uuid, members: &BTreeSet<Uuid>) -> Result<Moved> {
    let text = "SELECT user_id AS id FROM membership WHERE organization_id = $1 AND group_id = $2 AND until IS NULL \
           AND since > '-infinity' UNION ALL SELECT member_id FROM group_nesting WHERE organization_id = $1 \
           AND group_id = $2 AND until IS NULL AND since > '-infinity'";
    let values = [cx.organization().into(), group.into()];
    let rows = cx.app.store.write.query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let ours: BTreeSet<Uuid> = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
    Ok(Moved {
        come: members.difference(&ours).copied().collect(),
        go: ours.difference(members).copied().collect(),
        strangers: 0,
    })
}

/// How many active accounts the connection has, or how many memberships its groups have: what a list may take away.
pub async fn count_removable(cx: &Cx, kind: Kind) -> Result<u64> {
    let Some(connection) = cx.confined_to() else { return Ok(0) };
    let live = LiveIndex::Owner.condition(cx.backend());
    let text = match kind {
        Kind::User => format!(
            r#"SELECT count(*) AS total FROM "user" r WHERE r.organization_id = $1 AND r.connection_id = $2
                 AND r.deleted_at IS NULL{live} AND r.active"#
        ),
        Kind::Group => format!(
            r#"SELECT count(*) AS total FROM "group" r JOIN membership m
                 ON m.organization_id = r.organization_id AND m.group_id = r.id AND m.until IS NULL AND m.since > '-infinity'
               WHERE r.organization_id = $1 AND r.connection_id = $2 AND r.deleted_at IS NULL{live}"#
        ),
    };
    let statement = Statement::from_sql_and_values(cx.backend(), text, [cx.organization().into(), connection.into()]);
    let row = cx.app.store.write.query_one_raw(statement).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.unsigned_abs())
}

/// How many of the connection's live accounts or groups the run saw, and how many it did not. Those without an id of
/// the source's are neither: nobody can ask the source for them, so they are never taken for gone.
pub async fn seen(cx: &Cx, run: Uuid, kind: Kind) -> Result<(u64, u64)> {
    let Some(connection) = cx.confined_to() else { return Ok((0, 0)) };
    let text = format!(
        r#"SELECT count(p.resource_id) AS seen, count(*) AS live FROM "{}" r LEFT JOIN pulled p
             ON p.organization_id = r.organization_id AND p.resource_id = r.id AND p.seen_run_id = $3
           WHERE r.organization_id = $1 AND r.connection_id = $2 AND r.deleted_at IS NULL{}
             AND r.external_id IS NOT NULL"#,
        kind.name(),
        LiveIndex::Owner.condition(cx.backend())
    );
    let values = [cx.organization().into(), connection.into(), run.into()];
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    let Some(row) = cx.app.store.write.query_one_raw(statement).await? else { return Ok((0, 0)) };
    let (seen, live): (i64, i64) = (row.try_get("", "seen")?, row.try_get("", "live")?);
    Ok((seen.unsigned_abs(), (live - seen).unsigned_abs()))
}

/// The source's ids that the run saw and that have an account or group here.
pub async fn seen_ids(cx: &Cx, run: Uuid, kind: Kind) -> Result<Vec<String>> {
    let text = format!(
        r#"SELECT r.external_id FROM pulled p JOIN "{}" r ON r.organization_id = p.organization_id AND r.id = p.resource_id
           WHERE p.organization_id = $1 AND p.seen_run_id = $2 AND r.external_id IS NOT NULL"#,
        kind.name()
    );
    let statement = Statement::from_sql_and_values(cx.backend(), text, [cx.organization().into(), run.into()]);
    let rows = cx.app.store.write.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "external_id")).collect::<Result<_, _>>()?)
}

/// Forgets what the run saw, so that it can begin again, while `lease` is held.
pub async fn unsee(cx: &Cx, run: Uuid, lease: &Lease) -> Result<()> {
    let mut values = vec![cx.organization().into(), run.into(), Uuid::nil().into()];
    let text = format!(
        "UPDATE pulled SET seen_run_id = $3 WHERE organization_id = $1 AND seen_run_id = $2 AND EXISTS ({})",
        lease.query(cx.backend(), &mut values)
    );
    cx.app.store.write.execute_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    Ok(())
}

/// The source's ids of those accounts or groups that the run did not see, so many at most.
pub async fn absent(cx: &Cx, run: Uuid, kind: Kind, most: u64) -> Result<Vec<String>> {
    let Some(connection) = cx.confined_to() else { return Ok(Vec::new()) };
    let text = format!(
        r#"SELECT r.external_id FROM "{}" r WHERE r.organization_id = $1 AND r.connection_id = $2
             AND r.deleted_at IS NULL{} AND r.external_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pulled p
               WHERE p.organization_id = r.organization_id AND p.resource_id = r.id AND p.seen_run_id = $3)
           ORDER BY r.id LIMIT {most}"#,
        kind.name(),
        LiveIndex::Owner.condition(cx.backend())
    );
    let values = [cx.organization().into(), connection.into(), run.into()];
    let rows = cx.app.store.write.query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "external_id")).collect::<Result<_, _>>()?)
}

/// Removes some of the connection's accounts or groups that the run did not see, after the one `after`; the last of
/// them, or none when there are no more. Who has no id of the source's stays: the source could not be asked for them.
pub async fn remove_absent(cx: &Cx, run: Uuid, kind: Kind, after: Uuid) -> Result<(Carried, Option<Uuid>)> {
    let mut carried = Carried::default();
    let Some(connection) = cx.confined_to() else { return Ok((carried, None)) };
    let text = format!(
        r#"SELECT r.id, r.external_id FROM "{}" r WHERE r.organization_id = $1 AND r.connection_id = $2
             AND r.deleted_at IS NULL{} AND r.external_id IS NOT NULL AND r.id > $4 AND NOT EXISTS (SELECT 1 FROM pulled p
               WHERE p.organization_id = r.organization_id AND p.resource_id = r.id AND p.seen_run_id = $3)
           ORDER BY r.id LIMIT {PART}"#,
        kind.name(),
        LiveIndex::Owner.condition(cx.backend())
    );
    let values = [cx.organization().into(), connection.into(), run.into(), after.into()];
    let rows = cx.app.store.write.query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let mut last = None;
    for row in rows {
        let (id, external_id): (Uuid, String) = (row.try_get("", "id")?, row.try_get("", "external_id")?);
        last = Some(id);
        remove(cx, kind, id, &external_id, &mut carried).await?;
    }
    Ok((carried, last))
}

/// Removes an account or group that the source does not have any more.
pub async fn remove(cx: &Cx, kind: Kind, id: Uuid, remote_id: &str, carried: &mut Carried) -> Result<()> {
    let types = types(cx).await?;
    let ty = if kind == Kind::User { &types.user } else { &types.group };
    let subject = Subject::new(kind, ty, remote_id, Some(id), None);
    let removed = match kind {
        Kind::User => user::delete(cx, id, |_| Ok(())).await,
        Kind::Group => group::delete(cx, id, |_| Ok(())).await,
    };
    match removed {
        Ok(()) => {
            subject.succeeded(cx);
            carried.tally.deleted += 1;
        }
        // Somebody else was quicker.
        Err(Error::NotFound(_)) => {}
        Err(error) if is_ours(&error) => return Err(error),
        Err(error) => subject.failed(cx, carried, Deed::Delete, &error),
    }
    Ok(())
}
