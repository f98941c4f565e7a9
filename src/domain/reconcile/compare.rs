//! Compares an export with what is here. The export is read as a whole, the accounts here in parts.
//! Nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use entity::connection::ConnectionKind;
use entity::user;
use sea_orm::{
    ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use super::diff::{
    AccountPairing, AttributeDifference, ExportColumns, ExportedPerson, FlatAttributes,
    LocalAccount, attribute_drift, flatten_document, pair_accounts,
};
use super::difference::{ComparisonOutcome, Difference};
use super::export::{ExportedMembers, ExportedName as ByName, ExportedPeople};
use super::{Class, Kind, PersonName, finding_key};
use crate::context::Cx;
use crate::domain::access;
use crate::domain::access::AsOf;
use crate::domain::directory::user as accounts;
use crate::domain::paging::live_index::LiveIndex;
use crate::domain::sync::shrink::is_large_loss;
use crate::domain::{connection, paging};
use crate::error::Result;
use crate::identity::document::fold_text;

/// Rows read at once without their documents.
const ROWS_PER_READ: u64 = 2_000;
/// Accounts read at once with their documents.
pub(super) const ACCOUNTS_PER_PART: usize = 200;
/// An export that lacks many accounts, and more than this percentage, is refused, unless an
/// administrator confirms it.
const SHRINK_PERCENT: u64 = 30;

/// The live accounts of the connection and those without an owner.
pub(super) async fn accounts_of(cx: &Cx, id: Uuid) -> Result<Vec<LocalAccount>> {
    #[derive(FromQueryResult)]
    struct MembershipRow {
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
            let rows: Vec<MembershipRow> = query
                .filter(user::Column::Id.gt(after))
                .order_by_asc(user::Column::Id)
                .limit(ROWS_PER_READ)
                .select_only()
                .columns([
                    user::Column::Id,
                    user::Column::ExternalId,
                    user::Column::UserName,
                    user::Column::Active,
                ])
                .into_model()
                .all(cx.db())
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            known.extend(rows.into_iter().map(
                |MembershipRow { id, external_id, user_name, active }| LocalAccount {
                    id,
                    owned: owner.is_some(),
                    external_id,
                    user_name,
                    active,
                },
            ));
        }
    }
    Ok(known)
}

/// The attributes of these accounts, flat.
pub(super) async fn read_documents(cx: &Cx, ids: &[Uuid]) -> Result<HashMap<Uuid, FlatAttributes>> {
    let mut documents = HashMap::new();
    for account in accounts::users_by_ids(cx, ids).await? {
        let mut attributes = flatten_document(&account.attributes()?);
        attributes.insert("active".into(), account.active.into());
        documents.insert(account.id, attributes);
    }
    Ok(documents)
}

pub(super) async fn compare_users(
    cx: &Cx,
    id: Uuid,
    export: ExportedPeople,
    confirmed: bool,
) -> Result<ComparisonOutcome> {
    let cx = &Cx::system(cx.app.clone(), cx.organization());
    let ExportedPeople { people, mut columns, reading } = export;
    if connection::get_connection(cx, id).await?.kind == ConnectionKind::ScimPull {
        // An account that is read from a source has the source's `id` as its `externalId` here. The
        // source's own `externalId` is not used.
        columns.names.remove("externalId");
    }
    let known = accounts_of(cx, id).await?;
    let pairing = pair_accounts(&people, &known);
    let mut outcome = ComparisonOutcome::default();
    let unlisted: Vec<&LocalAccount> = known
        .iter()
        .zip(&pairing.of_account)
        .filter(|(_, person)| person.is_none())
        .map(|(it, _)| it)
        .collect();
    if let Some((live, absent)) =
        shrink_of(&known, &unlisted, SHRINK_PERCENT).filter(|_| !confirmed)
    {
        let why = format!(
            "the export lists only {} of the {live} active accounts of this connection, so nothing \
             was compared. If the export is complete, confirm it; otherwise export all users who \
             are assigned",
            live - absent
        );
        return Ok(ComparisonOutcome { refused: Some(why), ..outcome });
    }
    let elsewhere = find_owned_elsewhere(cx, id, &people, &pairing).await?;
    find_missing(&people, &known, &pairing, &elsewhere, &mut outcome);
    find_drifted(cx, &people, &known, &pairing, &columns, &mut outcome).await?;
    if reading.unread == 0 || confirmed {
        outcome.covers = vec![Kind::MissingHere, Kind::OrphanedHere, Kind::Drifted];
        find_orphans(&unlisted, &mut outcome);
    } else {
        // A line that cannot be read may hold any person. So no account is called missing, and no
        // finding is closed.
        outcome.note = Some(format!(
            "{} lines could not be read, so missing users were not judged and no finding was \
             closed; correct the lines and upload the export again, or confirm that it is complete",
            reading.unread
        ));
    }
    outcome.columns = Some(columns);
    count_roles_held(cx, &mut outcome.found).await?;
    Ok(outcome)
}

/// If too many active accounts of the connection are not listed: how many there are, and how many
/// of them are not listed.
pub(super) fn shrink_of(
    known: &[LocalAccount],
    unlisted: &[&LocalAccount],
    percent: u64,
) -> Option<(u64, u64)> {
    let in_use = |account: &&LocalAccount| account.owned && account.active;
    let live = known.iter().filter(in_use).count() as u64;
    let absent = unlisted.iter().copied().filter(in_use).count() as u64;
    let many = is_large_loss(absent, live, percent);
    (many || (absent > 0 && absent == live)).then_some((live, absent))
}

/// The accounts of other connections that have the names of people without an account, by name.
pub(super) async fn find_owned_elsewhere(
    cx: &Cx,
    id: Uuid,
    people: &[ExportedPerson],
    pairing: &AccountPairing,
) -> Result<HashMap<String, Uuid>> {
    let without = people.iter().zip(&pairing.of_person).filter(|(_, account)| account.is_none());
    let names: Vec<String> =
        without.filter_map(|(person, _)| Some(fold_text(person.user_name.as_deref()?))).collect();
    let mut found = HashMap::new();
    for part in names.chunks(ACCOUNTS_PER_PART) {
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

pub(super) fn find_missing(
    people: &[ExportedPerson],
    known: &[LocalAccount],
    pairing: &AccountPairing,
    elsewhere: &HashMap<String, Uuid>,
    outcome: &mut ComparisonOutcome,
) {
    for (person, place) in people.iter().zip(&pairing.of_person) {
        let account = place.and_then(|place| known.get(place));
        let gone = person.active_there() == Some(false);
        let local = match account {
            Some(account) if account.owned => continue,
            local => local,
        };
        if let Some(local) = local {
            outcome.counts.count_class(Class::Local);
            if gone {
                if local.active {
                    outcome.counts.orphaned_here += 1;
                    outcome.counts.leavers += 1;
                    outcome.found.push(Difference {
                        leaver: true,
                        ..orphan_difference(local, Class::Local)
                    });
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
            (Some(id), _) => PersonName::Id(id),
            (None, Some(name)) => PersonName::UserName(name),
            (None, None) => continue,
        };
        let identity = match named {
            PersonName::Id(id) => json!(["id", id]),
            PersonName::UserName(name) => json!(["userName", fold_text(name)]),
        };
        let by_name = person.user_name.as_deref().map_or(named, PersonName::UserName);
        let theirs = person.attributes.iter();
        let other = || elsewhere.get(&fold_text(person.user_name.as_deref()?)).copied();
        outcome.found.push(Difference {
            thing: Some(finding_key(by_name)),
            user: local.map(|local| local.id).or_else(other),
            label: person.display_label().map(Into::into),
            class: local.map(|_| Class::Local),
            active: local.is_some_and(|local| local.active),
            detail: theirs
                .map(|(name, value)| {
                    (name.clone(), AttributeDifference::of(Some(value.clone()), None))
                })
                .collect(),
            ..Difference::new(Kind::MissingHere, identity)
        });
    }
}

async fn find_drifted(
    cx: &Cx,
    people: &[ExportedPerson],
    known: &[LocalAccount],
    pairing: &AccountPairing,
    columns: &ExportColumns,
    outcome: &mut ComparisonOutcome,
) -> Result<()> {
    let pairs: Vec<(&LocalAccount, &ExportedPerson)> = known
        .iter()
        .zip(&pairing.of_account)
        .filter_map(|(account, place)| Some((account, people.get((*place)?)?)))
        .filter(|(account, _)| account.owned)
        .collect();
    for part in pairs.chunks(ACCOUNTS_PER_PART) {
        let ids: Vec<Uuid> = part.iter().map(|(account, _)| account.id).collect();
        let documents = read_documents(cx, &ids).await?;
        for (account, person) in part {
            // An account that was deleted a moment ago is compared the next time.
            let Some(ours) = documents.get(&account.id) else { continue };
            let gone = person.active_there() == Some(false);
            record_difference(
                account,
                gone,
                attribute_drift(&person.attributes, ours, columns),
                outcome,
            );
        }
    }
    Ok(())
}

/// Records what differs in an account that both sides have. `gone` says that the person may not
/// sign in there.
pub(super) fn record_difference(
    account: &LocalAccount,
    gone: bool,
    detail: BTreeMap<String, AttributeDifference>,
    outcome: &mut ComparisonOutcome,
) {
    let class = if gone { Class::Unassigned } else { Class::Assigned };
    outcome.counts.count_class(class);
    if detail.is_empty() {
        outcome.counts.agreed += 1;
        return;
    }
    let leaver = gone && account.active;
    outcome.counts.drifted += 1;
    outcome.counts.leavers += u64::from(leaver);
    outcome.found.push(Difference {
        user: Some(account.id),
        label: Some(account.user_name.clone()),
        class: Some(class),
        leaver,
        active: account.active,
        detail,
        ..Difference::new(Kind::Drifted, json!(account.id))
    });
}

fn orphan_difference(account: &LocalAccount, class: Class) -> Difference {
    Difference {
        user: Some(account.id),
        label: Some(account.user_name.clone()),
        class: Some(class),
        active: account.active,
        detail: BTreeMap::from([(
            "active".into(),
            AttributeDifference::of(None, Some(account.active.into())),
        )]),
        ..Difference::new(Kind::OrphanedHere, json!(account.id))
    }
}

pub(super) fn find_orphans(unlisted: &[&LocalAccount], outcome: &mut ComparisonOutcome) {
    for account in unlisted {
        let class = if account.owned { Class::Unassigned } else { Class::Local };
        outcome.counts.count_class(class);
        // An inactive account without an owner cannot be used, so it is no finding.
        if !account.owned && !account.active {
            continue;
        }
        let leaver = account.owned && account.active;
        outcome.counts.orphaned_here += 1;
        outcome.counts.leavers += u64::from(leaver);
        outcome.found.push(Difference { leaver, ..orphan_difference(account, class) });
    }
}

/// Sets the number of roles that the account of each difference holds.
pub(super) async fn count_roles_held(cx: &Cx, found: &mut [Difference]) -> Result<()> {
    let mut about: Vec<&mut Difference> =
        found.iter_mut().filter(|it| it.active && it.kind != Kind::Membership).collect();
    for part in about.chunks_mut(ACCOUNTS_PER_PART) {
        let ids: Vec<Uuid> = part.iter().filter_map(|found| found.user).collect();
        let holdings = access::of_users(cx, &ids, AsOf::Now).await?;
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
        r#"SELECT id, external_id, display_name FROM "group" r WHERE organization_id = $1
           AND connection_id = $2
           AND deleted_at IS NULL{} ORDER BY id"#,
        LiveIndex::Owner.index_condition(cx.backend())
    );
    let values = [id.into()];
    let groups = GroupRow::find_by_statement(cx.statement(text, values));
    Ok(groups.all(cx.db()).await?)
}

pub(super) async fn compare_memberships(
    cx: &Cx,
    id: Uuid,
    export: &ExportedMembers,
    confirmed: bool,
) -> Result<ComparisonOutcome> {
    let cx = &Cx::system(cx.app.clone(), cx.organization());
    let groups = groups_of(cx, id).await?;
    let people: Vec<LocalAccount> =
        accounts_of(cx, id).await?.into_iter().filter(|account| account.owned).collect();
    let own: HashSet<Uuid> = people.iter().map(|account| account.id).collect();
    let (mut ours, others) = read_memberships(cx, id, &own).await?;
    let group_index = NameIndex::of(
        groups.iter().map(|row| (row.id, row.external_id.as_deref(), row.display_name.as_str())),
    );
    let owned =
        people.iter().map(|row| (row.id, row.external_id.as_deref(), row.user_name.as_str()));
    // The export may also name members with another owner. Their external ids belong to that owner
    // and are not compared.
    let people_index =
        NameIndex::of(owned.chain(others.iter().map(|(id, name)| (*id, None, name.as_str()))));
    let mut outcome =
        ComparisonOutcome { covers: vec![Kind::Membership], ..ComparisonOutcome::default() };
    let (theirs, unknown) = match_exported_members(export, &group_index, &people_index);
    // A member with another owner that the export does not name was added by hand: the identity
    // provider cannot know it.
    ours.retain(|pair| own.contains(&pair.1) || theirs.contains(pair));
    let extra: Vec<_> = ours.difference(&theirs).copied().collect();
    let lacking: Vec<_> = theirs.difference(&ours).copied().collect();
    let (absent, live) = (extra.len() as u64, ours.len() as u64);
    let many = is_large_loss(absent, live, SHRINK_PERCENT);
    if (many || (absent > 0 && absent == live)) && !confirmed {
        let why = format!(
            "the export lists only {} of the {live} memberships of this connection's groups, so \
             nothing was compared. If the export is complete, confirm it; otherwise export all \
             groups",
            live - absent
        );
        return Ok(ComparisonOutcome { refused: Some(why), ..outcome });
    }
    outcome.counts.agreed = live - absent;
    let judged = export.reading.unread == 0 || confirmed;
    if !judged {
        outcome.covers.clear();
    }
    outcome.note = membership_note(export, judged, unknown);
    let names: HashMap<Uuid, &str> =
        people.iter().map(|it| (it.id, it.user_name.as_str())).collect();
    let sides = [(&extra, false), (&lacking, true)];
    for (pairs, in_theirs) in sides.into_iter().filter(|(_, in_theirs)| judged || *in_theirs) {
        for (group, user) in pairs {
            let label = names.get(user).map(|name| (*name).to_owned());
            outcome.counts.memberships += 1;
            outcome.found.push(membership_difference(*group, *user, label, in_theirs));
        }
    }
    Ok(outcome)
}

/// The open memberships of the connection's groups, and the names of the members that are not
/// among `own`.
async fn read_memberships(
    cx: &Cx,
    id: Uuid,
    own: &HashSet<Uuid>,
) -> Result<(BTreeSet<(Uuid, Uuid)>, BTreeMap<Uuid, String>)> {
    let text = r#"SELECT m.group_id, m.user_id, u.user_name FROM membership m
        JOIN "group" g ON g.organization_id = $1 AND g.id = m.group_id AND g.connection_id = $2
        AND g.deleted_at IS NULL
        JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND u.deleted_at IS NULL
        WHERE m.organization_id = $1 AND m.until IS NULL"#;
    let values = [id.into()];
    let rows = cx.db().query_all_raw(cx.statement(text, values)).await?;
    let mut ours: BTreeSet<(Uuid, Uuid)> = BTreeSet::new();
    let mut others: BTreeMap<Uuid, String> = BTreeMap::new();
    for row in rows {
        let (group, user) = (row.try_get("", "group_id")?, row.try_get("", "user_id")?);
        ours.insert((group, user));
        if !own.contains(&user) {
            others.insert(user, row.try_get("", "user_name")?);
        }
    }
    Ok((ours, others))
}

/// The memberships that an export lists, and how many of its groups and members are unknown here.
fn match_exported_members(
    export: &ExportedMembers,
    group_index: &NameIndex<'_>,
    people_index: &NameIndex<'_>,
) -> (BTreeSet<(Uuid, Uuid)>, [u64; 2]) {
    let (mut theirs, mut unknown) = (BTreeSet::new(), [0u64; 2]);
    for (group, members) in &export.groups {
        let Some(group) = group_index.find_by_name(group) else {
            unknown[0] += 1;
            continue;
        };
        for member in members {
            match people_index.find_by_name(member) {
                Some(user) => drop(theirs.insert((group, user))),
                // A nested group is no membership of a person.
                None if group_index.find_by_name(member).is_some() => {}
                None => unknown[1] += 1,
            }
        }
    }
    (theirs, unknown)
}

/// What a reader has to know about the comparison of an export's memberships.
fn membership_note(export: &ExportedMembers, judged: bool, unknown: [u64; 2]) -> Option<String> {
    let mut notes = Vec::new();
    if !judged {
        notes.push(format!(
            "{} lines could not be read, so missing members of its groups were not judged",
            export.reading.unread
        ));
    }
    if unknown != [0, 0] {
        let [groups, members] = unknown;
        notes.push(format!(
            "{groups} groups and {members} members of the export do not exist here for this \
             connection"
        ));
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// Only one side has `user` in `group`; `in_theirs` = the identity provider's side.
pub(super) fn membership_difference(
    group: Uuid,
    user: Uuid,
    label: Option<String>,
    in_theirs: bool,
) -> Difference {
    let differs = AttributeDifference::of(Some(in_theirs.into()), Some((!in_theirs).into()));
    Difference {
        user: Some(user),
        group: Some(group),
        label,
        detail: BTreeMap::from([("members".into(), differs)]),
        ..Difference::new(Kind::Membership, json!([group, user]))
    }
}

/// Users or groups of the connection, by every name that an export may give them.
struct NameIndex<'a> {
    by_external: HashMap<&'a str, Uuid>,
    by_id: HashMap<String, Uuid>,
    by_name: HashMap<String, Uuid>,
}

impl<'a> NameIndex<'a> {
    fn of(rows: impl Iterator<Item = (Uuid, Option<&'a str>, &'a str)>) -> Self {
        let mut index =
            Self { by_external: HashMap::new(), by_id: HashMap::new(), by_name: HashMap::new() };
        for (id, external, name) in rows {
            index.by_id.insert(id.to_string(), id);
            index.by_name.entry(fold_text(name)).or_insert(id);
            if let Some(external) = external {
                index.by_external.entry(external).or_insert(id);
            }
        }
        index
    }

    fn find_by_name(&self, named: &ByName) -> Option<Uuid> {
        let remote = named.remote_id.as_deref();
        let external = [named.external_id.as_deref(), remote].into_iter().flatten();
        let by_external = external.filter_map(|id| self.by_external.get(id)).next();
        let by_id = || self.by_id.get(remote?);
        let by_name = || self.by_name.get(&fold_text(named.name.as_deref()?));
        by_external.or_else(by_id).or_else(by_name).copied()
    }
}

/// The names of accounts that are not erased, and whether they are deleted.
pub(super) async fn account_names(cx: &Cx, ids: &[Uuid]) -> Result<HashMap<Uuid, (String, bool)>> {
    let text = format!(
        r#"SELECT id, user_name, deleted_at IS NOT NULL AS gone FROM "user"
           WHERE organization_id = $1 AND purged_at IS NULL AND id {}"#,
        paging::in_ids(cx.backend(), 2)
    );
    let values = [paging::bind_ids(ids)];
    let mut names = HashMap::new();
    for row in cx.db().query_all_raw(cx.statement(text, values)).await? {
        names.insert(
            row.try_get("", "id")?,
            (row.try_get("", "user_name")?, row.try_get("", "gone")?),
        );
    }
    Ok(names)
}
