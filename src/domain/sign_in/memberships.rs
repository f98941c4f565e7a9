//! Claims as memberships: a person is a member of the groups in the latest issued list of them.
//! What a list does not say stays: an assertion without groups changes nothing, a list that the
//! identity provider left incomplete only adds, and absence counts only inside the groups that the
//! connection claims.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use entity::{assertion_source, group, organization, sign_in, user};
use sea_orm::sea_query::{LockType, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::assertion::{ClaimedGroup, GroupClaims, VerifiedAssertion};
use super::claimed_groups::{
    GroupKeys, bind_waiting_mappings, claimed_set, collect_keys, join_groups,
};
use super::source::{SignInRefusal, SignInSource, is_source};
use crate::context::{Change, Tx};
use crate::domain::access::lockout_guard;
use crate::domain::access::lockout_guard::LastHolderGuard;
use crate::domain::directory::user as account;
use crate::domain::directory::user::User;
use crate::domain::interval;
use crate::domain::interval::ClaimedInterval;
use crate::domain::{lock_row, paging};
use crate::error::{Error, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// Fingerprints that are kept of lists that were issued at the same instant.
const MAX_FINGERPRINTS: usize = 32;

/// What a sign-in, or the directory, says of a person's groups.
pub(super) struct ClaimedGroups {
    pub subject_key: Vec<u8>,
    pub subject: Option<String>,
    /// The row of the person names the account already.
    pub linked: bool,
    pub issued_at: DateTime<Utc>,
    /// None = the directory says it.
    pub fingerprint: Option<String>,
    /// None = nothing is said about groups.
    pub list: Option<ClaimedList>,
}

/// The list of a person's groups that a sign-in, or the directory, has.
pub(super) struct ClaimedList {
    pub at: DateTime<Utc>,
    pub complete: bool,
    pub keys: GroupKeys,
}

impl ClaimedGroups {
    /// What a verified assertion says; `linked` = the person's row names the account already.
    pub(super) fn of_assertion(
        from: &SignInSource,
        assertion: &VerifiedAssertion,
        linked: bool,
    ) -> Result<Self> {
        let at = crate::context::clock::to_stored_precision(assertion.issued_at);
        let list = |groups: &[ClaimedGroup], complete| {
            Ok::<_, Error>(Some(ClaimedList { at, complete, keys: collect_keys(from, groups)? }))
        };
        Ok(Self {
            subject_key: from.subject_key(&assertion.subject)?,
            subject: Some(assertion.subject.clone()),
            linked,
            issued_at: at,
            fingerprint: Some(hex::encode(assertion.fingerprint)),
            list: match &assertion.groups {
                GroupClaims::Absent => None,
                GroupClaims::Complete(groups) => list(groups, true)?,
                GroupClaims::Incomplete(groups) => list(groups, false)?,
            },
        })
    }

    /// What the directory answered at `read_at` about the person of `row`: a complete list.
    pub(super) fn of_directory(
        from: &SignInSource,
        row: &sign_in::Model,
        groups: Vec<ClaimedGroup>,
        read_at: DateTime<Utc>,
    ) -> Result<Self> {
        let keys = collect_keys(from, &groups)?;
        let read_at = crate::context::clock::to_stored_precision(read_at);
        // The clock of the identity provider may be ahead.
        let at = row.listed_at.map_or(read_at, |listed| listed.max(read_at));
        Ok(Self {
            subject_key: row.subject_key.clone(),
            subject: row.subject.clone(),
            linked: true,
            issued_at: row.issued_at,
            fingerprint: None,
            list: Some(ClaimedList { at, complete: true, keys }),
        })
    }

    /// The list, if it is the latest one.
    pub(super) fn latest_list(&self, known: Option<&sign_in::Model>) -> Option<&ClaimedList> {
        let list = self.list.as_ref()?;
        let Some((row, listed_at)) = known.and_then(|row| Some((row, row.listed_at?))) else {
            return Some(list);
        };
        let repeated = self.fingerprint.as_ref().is_some_and(|fingerprint| {
            let known = row.fingerprints.as_array().into_iter().flatten();
            known.filter_map(Value::as_str).any(|known| known == fingerprint)
        });
        (list.at > listed_at || (list.at == listed_at && !repeated)).then_some(list)
    }

    /// The person's row after it.
    pub(super) fn next_row(
        &self,
        from: &SignInSource,
        user: Uuid,
        known: Option<&sign_in::Model>,
        now: DateTime<Utc>,
    ) -> sign_in::Model {
        let known = known.filter(|row| row.user_id == user);
        let mut row = known.cloned().unwrap_or_else(|| sign_in::Model {
            organization_id: from.cx.organization(),
            connection_id: from.connection.id,
            subject_key: self.subject_key.clone(),
            user_id: user,
            subject: self.subject.clone(),
            issued_at: DateTime::UNIX_EPOCH,
            received_at: now,
            fingerprints: json!([]),
            listed_at: None,
            complete: false,
            groups: None,
        });
        let latest = self.latest_list(known);
        row.received_at = now;
        row.issued_at = row.issued_at.max(self.issued_at);
        if let Some(list) = latest {
            let mut fingerprints: Vec<Value> = match row.fingerprints.as_array() {
                Some(known) if row.listed_at == Some(list.at) => known.clone(),
                _ => Vec::new(),
            };
            fingerprints.extend(self.fingerprint.clone().map(Value::from));
            let surplus = fingerprints.len().saturating_sub(MAX_FINGERPRINTS);
            row.fingerprints = fingerprints.split_off(surplus).into();
            row.listed_at = Some(list.at);
            row.complete = list.complete;
            let groups = list.keys.iter().map(|(key, name)| json!({ "key": key, "name": name }));
            row.groups = Some(groups.collect());
        }
        row
    }
}

/// The result of a list.
pub(super) enum ListChange {
    /// `unknown` = claimed groups that are not here and cannot be made.
    Done {
        changed: bool,
        unknown: Vec<String>,
    },
    /// The person, a group or the mode is another one by now.
    Restart,
    Refused(SignInRefusal),
}

/// An open membership of the person, once for each key that is joined to its group.
#[derive(Debug, FromQueryResult)]
struct OpenMembership {
    id: Uuid,
    group_id: Uuid,
    claimed_by: Option<Uuid>,
    expires_at: Option<DateTime<Utc>>,
    key: Option<String>,
}

/// What a list changes about the open memberships.
#[derive(Debug, Default)]
pub(super) struct MembershipChange {
    joined: BTreeSet<Uuid>,
    left: BTreeSet<Uuid>,
    /// Groups whose membership claims take over from SCIM or from people.
    taken_over: BTreeSet<Uuid>,
    /// Memberships to close.
    closed: Vec<Uuid>,
    /// Memberships whose planned end moves.
    renewed: Vec<Uuid>,
}

/// What the write found.
enum ListWrite {
    Changed,
    /// Only the planned ends of these memberships move.
    Same(Vec<Uuid>),
    Restart,
}

/// Lets the person join and leave groups as the list says, in one write.
pub(super) async fn apply_list(
    from: &SignInSource,
    user: Uuid,
    claims: &ClaimedGroups,
) -> Result<ListChange> {
    let known = super::person::find_latest(from, &claims.subject_key).await?;
    let known = known.filter(|row| row.user_id == user);
    let latest = claims.latest_list(known.as_ref());
    let joined = match latest {
        Some(list) => match join_groups(from, &list.keys, true).await {
            Err(Error::Busy(_)) => return Ok(ListChange::Restart),
            joined => joined?,
        },
        None => Default::default(),
    };
    bind_waiting_mappings(from, &joined.groups).await?;
    if latest.is_none() && claims.linked {
        return record_sign_in(from, user, claims, &[]).await;
    }
    let listed = &joined.groups.values().copied().collect::<BTreeSet<_>>();
    let written =
        from.cx.write(move |tx| Box::pin(apply_list_in(tx, from, user, claims, listed))).await;
    let unknown = joined.unknown;
    match written {
        Ok(ListWrite::Changed) => Ok(ListChange::Done { changed: true, unknown }),
        Ok(ListWrite::Same(renewed)) => match record_sign_in(from, user, claims, &renewed).await? {
            ListChange::Done { changed, .. } => Ok(ListChange::Done { changed, unknown }),
            other => Ok(other),
        },
        Ok(ListWrite::Restart) => Ok(ListChange::Restart),
        Err(Error::Held { reason, why }) => Ok(ListChange::Refused(SignInRefusal { reason, why })),
        // The same person signs in for the first time elsewhere.
        Err(Error::Taken { .. }) => Ok(ListChange::Restart),
        Err(error) => Err(error),
    }
}

async fn apply_list_in(
    tx: &Tx<'_>,
    from: &SignInSource,
    user: Uuid,
    claims: &ClaimedGroups,
    listed: &BTreeSet<Uuid>,
) -> Result<Change<ListWrite>> {
    if !lock_source(tx, from).await? {
        return Ok(Change::unchanged(ListWrite::Restart));
    }
    let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(user));
    let query = query.filter(user::Column::DeletedAt.is_null());
    let Some(account) = account::lock_user(tx, query).await?.filter(|account| account.active)
    else {
        return Ok(Change::unchanged(ListWrite::Restart));
    };
    let query = tx.find::<sign_in::Entity>();
    let query = query.filter(sign_in::Column::ConnectionId.eq(from.connection.id));
    let query = query.filter(sign_in::Column::SubjectKey.eq(claims.subject_key.as_slice()));
    let row = lock_row(tx, query).await?;
    let known = row.as_ref().filter(|row| row.user_id == user);
    let latest = claims.latest_list(known);
    let linked = known.is_some();
    if latest.is_none() && linked {
        return Ok(Change::unchanged(ListWrite::Same(Vec::new())));
    }
    let mut change = MembershipChange::default();
    if let Some(list) = latest {
        let open = read_open(&tx.db, from, user).await?;
        let at = from.cx.app.clock.now();
        change = plan_change(from, &open, listed, list.complete, at);
    }
    let touched: BTreeSet<Uuid> =
        change.joined.iter().chain(&change.left).chain(&change.taken_over).copied().collect();
    if touched.is_empty() && linked && known.is_some_and(|row| row.listed_at.is_some()) {
        return Ok(Change::unchanged(ListWrite::Same(change.renewed)));
    }
    let Some(boundary) = lock_groups(tx, &touched, &change.left).await? else {
        return Ok(Change::unchanged(ListWrite::Restart));
    };
    let now = tx.now_after(boundary.max(Some(account.updated_at)));
    let watch = if change.left.is_empty() {
        None
    } else {
        lockout_guard::refuse_if_protected(&from.cx, tx, &[user]).await?;
        Some(LastHolderGuard::watch_holders(&from.cx, tx).await?)
    };
    // What is too old takes nothing from a break-glass account.
    let ends = latest.filter(|_| !account.protected);
    let expires_at = ends.and_then(|list| from.claims_end(list.at));
    let claimed = ClaimedInterval { user, connection: Some(from.connection.id), expires_at };
    if !change.closed.is_empty() {
        interval::close_by_claims(tx, &change.closed, now).await?;
    }
    if !(change.joined.is_empty() && change.taken_over.is_empty()) {
        let opened = change.joined.union(&change.taken_over);
        interval::open_by_claims(tx, claimed, opened, now).await?;
    }
    if !change.renewed.is_empty() {
        let statement = tx.statement(
            RENEW_SQL.replace("{among}", &paging::in_ids(tx.db.get_database_backend(), 3)),
            [expires_at.into(), paging::bind_ids(&change.renewed)],
        );
        tx.db.execute_raw(statement).await?;
    }
    if !touched.is_empty() {
        interval::raise_versions(tx, &touched, now).await?;
    }
    if let Some(watch) = watch {
        watch.check_holders(&from.cx, tx).await?;
    }
    let next = claims.next_row(from, user, row.as_ref(), now);
    save_latest(&tx.db, next).await?;
    let entry = claims_event(&account, from, claims, &change, linked, now);
    Ok(Change::recorded(ListWrite::Changed, entry))
}

/// Locks the connection's settings and tells whether its claims still are memberships. A change of
/// the mode waits until this write has ended.
async fn lock_source(tx: &Tx<'_>, from: &SignInSource) -> Result<bool> {
    let query = tx.find::<assertion_source::Entity>();
    let query = query.filter(assertion_source::Column::ConnectionId.eq(from.connection.id));
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::Share),
        _ => query,
    };
    let same = query.one(&tx.db).await?.is_some_and(|source| source == from.source);
    #[allow(clippy::disallowed_methods, reason = "reads the tenant of this write")]
    let organization = organization::Entity::find_by_id(tx.organization()).one(&tx.db).await?;
    Ok(same
        && organization.is_some_and(|organization| {
            organization.scim_enabled
                && organization.provisioning_released
                && is_source(organization.integration_mode, &from.connection)
        }))
}

async fn read_open<C: ConnectionTrait>(
    db: &C,
    from: &SignInSource,
    user: Uuid,
) -> Result<Vec<OpenMembership>> {
    let text = "SELECT m.id, m.group_id, m.claimed_by, m.expires_at, b.key FROM membership m \
                LEFT JOIN claimed_group b ON b.organization_id = $1 AND b.group_id = m.group_id \
                AND b.connection_id = $3 \
                WHERE m.organization_id = $1 AND m.user_id = $2 AND m.until IS NULL";
    let values = [user.into(), from.connection.id.into()];
    Ok(OpenMembership::find_by_statement(from.cx.statement(text, values)).all(db).await?)
}

/// The groups that the person is in, each with a key that is joined to it, if there is one.
pub(super) async fn read_open_now(
    from: &SignInSource,
    user: Uuid,
) -> Result<Vec<(Uuid, Option<String>)>> {
    let open = read_open(&from.cx.app.store.write, from, user).await?;
    Ok(open.into_iter().map(|row| (row.group_id, row.key)).collect())
}

/// What a list changes about the open memberships of a person.
fn plan_change(
    from: &SignInSource,
    open: &[OpenMembership],
    listed: &BTreeSet<Uuid>,
    complete: bool,
    now: DateTime<Utc>,
) -> MembershipChange {
    let set = claimed_set(from);
    let mut rows: BTreeMap<Uuid, (&OpenMembership, bool)> = BTreeMap::new();
    for row in open {
        let counts = match (&row.key, &set) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(key), Some(set)) => set.contains(key),
        };
        let (_, known) = rows.entry(row.group_id).or_insert((row, false));
        *known |= counts;
    }
    let mut change = MembershipChange::default();
    for (group, (row, absence_counts)) in &rows {
        let own = row.claimed_by == Some(from.connection.id);
        let lasts = row.expires_at.is_none_or(|end| end > now);
        match (listed.contains(group), complete && *absence_counts) {
            (true, _) if own && lasts => change.renewed.push(row.id),
            (true, _) => {
                change.taken_over.insert(*group);
                change.closed.push(row.id);
            }
            (false, true) => {
                change.left.insert(*group);
                change.closed.push(row.id);
            }
            // An incomplete list does not deny the membership, so the sign-in renews it.
            (false, false) if own && lasts && !complete => change.renewed.push(row.id),
            (false, false) => {}
        }
    }
    change.joined = listed.iter().filter(|id| !rows.contains_key(id)).copied().collect();
    change
}

/// Locks these groups, in the order of their ids; returns the latest instant at which one of them
/// changed. None if one to join was deleted meanwhile.
async fn lock_groups(
    tx: &Tx<'_>,
    groups: &BTreeSet<Uuid>,
    left: &BTreeSet<Uuid>,
) -> Result<Option<Option<DateTime<Utc>>>> {
    if groups.is_empty() {
        return Ok(Some(None));
    }
    let query = tx.find::<group::Entity>();
    let query = query.filter(group::Column::Id.is_in(groups.iter().copied()));
    let query = query.filter(group::Column::DeletedAt.is_null());
    let query = query.order_by_asc(group::Column::Id);
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    let rows: Vec<(Uuid, DateTime<Utc>)> = query
        .select_only()
        .columns([group::Column::Id, group::Column::UpdatedAt])
        .into_tuple()
        .all(&tx.db)
        .await?;
    let found: BTreeSet<Uuid> = rows.iter().map(|(id, _)| *id).collect();
    let gone = groups.iter().any(|id| !found.contains(id) && !left.contains(id));
    Ok((!gone).then(|| rows.iter().map(|(_, at)| *at).max()))
}

/// Moves the planned ends, except for break-glass accounts: these have none.
const RENEW_SQL: &str = "UPDATE membership SET kept_since = NULL, \
                         expires_at = CASE WHEN (SELECT u.protected FROM \"user\" u \
                         WHERE u.organization_id = $1 AND u.id = membership.user_id) \
                         THEN NULL ELSE $2 END \
                         WHERE organization_id = $1 AND id {among} AND until IS NULL";

async fn save_latest<C: ConnectionTrait>(db: &C, row: sign_in::Model) -> Result<()> {
    use sign_in::Column as C;
    let conflict = OnConflict::columns([C::OrganizationId, C::ConnectionId, C::SubjectKey])
        .update_columns([
            C::UserId,
            C::Subject,
            C::IssuedAt,
            C::ReceivedAt,
            C::Fingerprints,
            C::ListedAt,
            C::Complete,
            C::Groups,
        ])
        .to_owned();
    let insert = sign_in::Entity::insert(row.into_active_model());
    insert.on_conflict(conflict).exec_without_returning(db).await?;
    Ok(())
}

/// Stores that the person signed in, where no memberships change: it is no change of the
/// domain, so it has no event. Planned ends of memberships move.
pub(super) async fn record_sign_in(
    from: &SignInSource,
    user: Uuid,
    claims: &ClaimedGroups,
    renewed: &[Uuid],
) -> Result<ListChange> {
    let done = || ListChange::Done { changed: false, unknown: Vec::new() };
    let known = super::person::find_latest(from, &claims.subject_key).await?;
    let Some(known) = known.filter(|row| row.user_id == user) else {
        return Ok(ListChange::Restart);
    };
    let latest = claims.latest_list(Some(&known));
    let next = claims.next_row(from, user, Some(&known), from.cx.app.clock.now());
    if latest.is_none() && next.issued_at == known.issued_at {
        return Ok(done());
    }
    // A later one may have come in between: it stays.
    let text = "UPDATE sign_in SET issued_at = $4, received_at = $5, fingerprints = $6, \
                listed_at = $7, complete = $8, groups = $9 WHERE organization_id = $1 \
                AND connection_id = $2 AND subject_key = $3 AND issued_at <= $4 \
                AND (listed_at IS NULL OR listed_at <= $7)";
    let values = [
        next.connection_id.into(),
        next.subject_key.clone().into(),
        next.issued_at.into(),
        next.received_at.into(),
        next.fingerprints.into(),
        next.listed_at.into(),
        next.complete.into(),
        next.groups.into(),
    ];
    let db = &from.cx.app.store.write;
    let stored = db.execute_raw(from.cx.statement(text, values)).await?.rows_affected() > 0;
    if let Some(list) = latest.filter(|_| stored && !renewed.is_empty()) {
        let text = RENEW_SQL.replace("{among}", &paging::in_ids(from.cx.backend(), 3));
        let end = from.claims_end(list.at);
        let values = [end.into(), paging::bind_ids(renewed)];
        db.execute_raw(from.cx.statement(text, values)).await?;
    }
    Ok(done())
}

fn claims_event(
    account: &User,
    from: &SignInSource,
    claims: &ClaimedGroups,
    change: &MembershipChange,
    linked: bool,
    now: DateTime<Utc>,
) -> NewEvent {
    let mut after = json!({
        "connectionId": from.connection.id,
        "issuedAt": claims.issued_at,
        "groups": change.joined,
    });
    if let Some(list) = &claims.list {
        after["complete"] = list.complete.into();
        after["listed"] = list.keys.len().into();
    }
    if !change.taken_over.is_empty() {
        after["takenOver"] = json!(change.taken_over);
    }
    if !linked {
        after["firstSignIn"] = true.into();
    }
    NewEvent {
        kind: EventKind::UserClaimsChanged,
        subject: EventSubject { kind: "user", id: account.id },
        connection: account.connection_id,
        at: now,
        before: Some(json!({ "groups": change.left })),
        after: Some(after),
        population: 0,
        name: Some(account.display_name.as_ref().unwrap_or(&account.user_name).clone()),
    }
}

/// Does to the memberships of one person what the latest stored list says, for a preview that is
/// undone; tells whether anything changed. Groups that are unknown yet are left out.
pub(super) async fn rehearse_stored_list(
    tx: &Tx<'_>,
    from: &SignInSource,
    row: &sign_in::Model,
    now: DateTime<Utc>,
) -> Result<bool> {
    let Some((keys, listed_at)) = super::claimed_groups::stored_keys(row).zip(row.listed_at) else {
        return Ok(false);
    };
    let expires_at = from.claims_end(listed_at);
    if expires_at.is_some_and(|end| end <= now) {
        return Ok(false);
    }
    let listed = super::claimed_groups::find_joined(&tx.db, from, &keys).await?;
    let open = read_open(&tx.db, from, row.user_id).await?;
    let change = plan_change(from, &open, &listed, row.complete, now);
    if change.closed.is_empty() && change.joined.is_empty() {
        return Ok(false);
    }
    interval::close_by_claims(tx, &change.closed, now).await?;
    let connection = Some(from.connection.id);
    let claimed = ClaimedInterval { user: row.user_id, connection, expires_at };
    let opened = change.joined.union(&change.taken_over);
    interval::open_by_claims(tx, claimed, opened, now).await?;
    Ok(true)
}

/// Stores what a sign-in says where claims are only evidence.
pub(super) async fn store_evidence(
    from: &SignInSource,
    user: Uuid,
    claims: &ClaimedGroups,
) -> Result<Option<sign_in::Model>> {
    let known = super::person::find_latest(from, &claims.subject_key).await?;
    let latest = claims.latest_list(known.as_ref().filter(|row| row.user_id == user)).is_some();
    let next = claims.next_row(from, user, known.as_ref(), from.cx.app.clock.now());
    save_latest(&from.cx.app.store.write, next.clone()).await?;
    Ok(latest.then_some(next))
}
