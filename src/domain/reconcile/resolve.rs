//! Decisions about findings: make an account the connection's, suspend it, delete it, or accept the
//! finding with a reason.
//!
//! The account changes by the same functions as for any other change, in one transaction with the
//! finding. A decision follows a list that an identity provider made, so it has the limits of an
//! identity provider: it cannot change a break-glass account or the last holder of a management
//! role.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionKind;
use entity::{finding, reconciliation, user as accounts};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveEnum, ColumnTrait, Condition, EntityTrait, FromQueryResult, QueryFilter};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::difference::finding_hash;
use super::{
    Class, Finding, Kind, PersonName, Resolution, Source, State, UNFINISHED_CONDITION,
    describe_finding, finding_detail, finding_event, finding_key, reopened_finding,
};
use super::{reads, schedule};
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::domain::access::giving;
use crate::domain::access::lockout_guard;
use crate::domain::access::lockout_guard::LastHolderGuard;
use crate::domain::directory::group::GroupEdit;
use crate::domain::directory::{adoption, group, schema_extension, user};
use crate::domain::{check_text, connection, lock_row, save_row};
use crate::error::{Error, Noun, RefusalReason, Result, mistakes};
use crate::identity::document::MemberChange;
use crate::identity::schema::ResourceType;
use crate::ledger::{EventKind, NewEvent};

/// Acceptances ended in one sweep.
const BATCH_SIZE: u64 = 500;
/// Finished findings and comparisons are deleted after this time, as failures are.
const FINDING_RETENTION: Duration = Duration::days(90);
/// Findings that need no work any more. The partial index of these rows has the same condition.
const FINISHED_CONDITION: &str = "state IN ('RESOLVED', 'GONE')";

/// A decision about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingDecision {
    Adopt,
    Suspend,
    Delete,
    Accept,
}

fn held_error<T>(reason: RefusalReason, why: &'static str) -> Result<T> {
    Err(Error::Held { reason, why: why.into() })
}

/// Refuses a decision that the caller may not make about any finding.
///
/// # Errors
/// [`Error::Forbidden`]
pub fn check_permitted(cx: &Cx, choice: FindingDecision) -> Result<()> {
    cx.allow(Action::Review, None)?;
    match choice {
        FindingDecision::Suspend | FindingDecision::Delete => cx.allow(Action::WriteUser, None),
        FindingDecision::Adopt | FindingDecision::Accept => Ok(()),
    }
}

/// The decisions that the caller may make about a finding, by what the finding says. Whether the
/// account is still so is checked when a decision is carried out.
pub fn possible_choices(cx: &Cx, finding: &Finding) -> Vec<FindingDecision> {
    if matches!(finding.state, State::Gone | State::Resolved) {
        return Vec::new();
    }
    let extra = finding_detail(finding)
        .get("members")
        .is_some_and(|differs| differs.theirs == Some(Value::Bool(false)));
    let fitting: &[FindingDecision] = match finding.kind {
        _ if finding.user_id.is_none() => &[],
        Kind::Membership if extra && finding.group_id.is_some() => &[FindingDecision::Delete],
        Kind::Membership => &[],
        Kind::MissingHere if finding.class == Some(Class::Local) => &[FindingDecision::Adopt],
        Kind::OrphanedHere => &[FindingDecision::Suspend, FindingDecision::Delete],
        _ if finding.leaver => &[FindingDecision::Suspend, FindingDecision::Delete],
        _ => &[],
    };
    let choices = fitting.iter().copied().chain([FindingDecision::Accept]);
    choices.filter(|choice| check_permitted(cx, *choice).is_ok()).collect()
}

/// Carries out a decision about a finding. `until` is when an acceptance ends.
///
/// # Errors
/// [`Error::Invalid`] for an acceptance without a reason; [`Error::Held`] where the decision would
/// not resolve the finding, with a text that says what would, and for accounts that it may not
/// change.
pub async fn resolve_finding(
    cx: &Cx,
    id: Uuid,
    choice: FindingDecision,
    reason: Option<&str>,
    until: Option<DateTime<Utc>>,
) -> Result<Finding> {
    check_permitted(cx, choice)?;
    let reason = match reason {
        None if choice == FindingDecision::Accept => {
            Err(Error::invalid("reason", "say why the difference may stay"))
        }
        reason => reason.map(|reason| check_text("reason", reason, 1_000)).transpose(),
    };
    let end = match (choice, until) {
        (FindingDecision::Accept, Some(end)) if end <= cx.requested_at => {
            Err(Error::invalid("until", "must be in the future"))
        }
        (FindingDecision::Adopt | FindingDecision::Suspend | FindingDecision::Delete, Some(_)) => {
            Err(Error::invalid("until", "only an acceptance has an end"))
        }
        _ => Ok(()),
    };
    let (reason, ()) = mistakes::both(reason, end)?;
    let types = schema_extension::resource_types(cx).await?;
    let (reason, types) = (&reason, &types);
    cx.write(move |tx| {
        Box::pin(async move {
            // The account is locked before the finding. Under the finding's lock it is checked that
            // the finding is still the same.
            let seen = &find_finding(tx, id).await?;
            match choice {
                FindingDecision::Accept => accept_finding(tx, cx, id, reason.clone(), until).await,
                _ if seen.state == State::Gone || seen.state == State::Resolved => held_error(
                    RefusalReason::Finished,
                    "the finding is gone or was resolved already; it opens again if the difference \
                     occurs again",
                ),
                FindingDecision::Delete if seen.kind == Kind::Membership => {
                    let change = remove_member(tx, cx, &types.group, seen).await?;
                    record_decision(tx, cx, seen, Resolution::Deleted, reason, change).await
                }
                FindingDecision::Adopt => {
                    let change = adopt_account(tx, cx, &types.user, seen).await?;
                    record_decision(tx, cx, seen, Resolution::Adopted, reason, change).await
                }
                FindingDecision::Suspend => {
                    let account = find_account(tx, cx, seen).await?;
                    let watch = LastHolderGuard::watch_always(cx, tx).await?;
                    let mut change = user::suspend_locked_user(tx, &types.user, account).await?;
                    change.write_now(tx).await?;
                    watch.check_holders(cx, tx).await?;
                    record_decision(tx, cx, seen, Resolution::Suspended, reason, change.map(|_| ()))
                        .await
                }
                FindingDecision::Delete => {
                    let account = find_account(tx, cx, seen).await?;
                    let watch = LastHolderGuard::watch_always(cx, tx).await?;
                    let change = user::delete_locked_user(tx, account).await?;
                    watch.check_holders(cx, tx).await?;
                    record_decision(tx, cx, seen, Resolution::Deleted, reason, change).await
                }
            }
        })
    })
    .await
}

/// The account of a finding, locked, if the decision may change it.
async fn find_account(tx: &Tx<'_>, cx: &Cx, seen: &Finding) -> Result<user::User> {
    let why = match seen.kind {
        Kind::Membership => "the finding is about a group: a suspension would not resolve it",
        _ => "the finding is about no account here: there is no account to change",
    };
    let Some(user) = seen.user_id.filter(|_| seen.kind != Kind::Membership) else {
        return held_error(RefusalReason::NoAccount, why);
    };
    // In all other findings the identity provider lists the person.
    if seen.kind != Kind::OrphanedHere && !seen.leaver {
        return held_error(RefusalReason::NoLeaver, next_step(seen));
    }
    let account = user::lock_live_user(tx, cx, user, Action::WriteUser).await?;
    let owner = (seen.class != Some(Class::Local)).then_some(seen.connection_id);
    if account.connection_id != owner {
        return held_error(
            RefusalReason::OtherOwner,
            "the account has another owner now, and the finding says nothing about that owner: \
             compare again",
        );
    }
    if account.protected {
        return Err(lockout_guard::protected_error());
    }
    Ok(account)
}

/// Makes the connection the owner of an account that has none and that the identity provider lists.
async fn adopt_account(
    tx: &Tx<'_>,
    cx: &Cx,
    ty: &ResourceType,
    seen: &Finding,
) -> Result<Change<()>> {
    let local = seen.kind == Kind::MissingHere && seen.class == Some(Class::Local);
    let Some(user) = seen.user_id.filter(|_| local) else {
        return held_error(RefusalReason::NothingToAdopt, next_step(seen));
    };
    let account = user::lock_live_user(tx, cx, user, Action::Review).await?;
    if account.connection_id.is_some() {
        return held_error(
            RefusalReason::AlreadyOwned,
            "the account belongs to a connection already, and only an account without an owner can \
             be adopted",
        );
    }
    if account.protected {
        return Err(lockout_guard::protected_error());
    }
    let owner = connection::find_unlocked_connection(tx, seen.connection_id).await?;
    if owner.deleted_at.is_some() {
        return Err(Error::not_found(Noun::Connection));
    }
    if owner.kind == ConnectionKind::ScimPull {
        return held_error(
            RefusalReason::Pulled,
            "this connection knows people by their ids at its source, which an export does not \
             have: its next run would not know the account and would treat it as missing. Rename \
             or delete the account by hand, and the run creates one that the connection owns; or \
             accept that the account stays separate",
        );
    }
    giving::check_connection(cx, tx, owner.id).await?;
    let change =
        adoption::link_account(cx, tx, ty, account, owner.id, &unflatten_attributes(seen)).await?;
    Ok(change.map(|_| ()))
}

/// The attributes of the listed person as a document with its nested form. An adoption does not
/// take over addresses and the user name, and it neither suspends nor reactivates the account.
fn unflatten_attributes(finding: &Finding) -> Map<String, Value> {
    let mut document = Map::new();
    for (path, differs) in finding_detail(finding) {
        let Some(value) = differs.theirs.filter(|value| !value.is_array()) else { continue };
        if path == "active" {
            continue;
        }
        let (section, name) = match path.rsplit_once(':') {
            Some((urn, name)) => (Some(urn.to_owned()), name),
            None => (None, path.as_str()),
        };
        let target = match section {
            Some(urn) => document.entry(urn).or_insert_with(|| json!({})),
            None => {
                let (name, value) = match name.split_once('.') {
                    Some((outer, inner)) => {
                        if let Some(parts) =
                            document.entry(outer).or_insert_with(|| json!({})).as_object_mut()
                        {
                            parts.insert(inner.into(), value);
                        }
                        continue;
                    }
                    None => (name, value),
                };
                document.insert(name.into(), value);
                continue;
            }
        };
        if let Some(parts) = target.as_object_mut() {
            let (outer, inner) =
                name.split_once('.').map_or((name, None), |(outer, inner)| (outer, Some(inner)));
            match inner {
                None => drop(parts.insert(outer.into(), value)),
                Some(inner) => {
                    if let Some(deep) =
                        parts.entry(outer).or_insert_with(|| json!({})).as_object_mut()
                    {
                        deep.insert(inner.into(), value);
                    }
                }
            }
        }
    }
    document
}

/// Removes a user from a group that the user is not in at the identity provider.
async fn remove_member(
    tx: &Tx<'_>,
    cx: &Cx,
    ty: &ResourceType,
    seen: &Finding,
) -> Result<Change<()>> {
    let extra = finding_detail(seen)
        .get("members")
        .is_some_and(|differs| differs.theirs == Some(Value::Bool(false)));
    let (Some(group), Some(user), true) = (seen.group_id, seen.user_id, extra) else {
        return held_error(RefusalReason::NothingToDelete, next_step(seen));
    };
    let watch = LastHolderGuard::watch_always(cx, tx).await?;
    let edit = GroupEdit {
        members: vec![MemberChange::Remove(vec![user.to_string()])],
        ..GroupEdit::default()
    };
    let change =
        group::change_group_in(cx, tx, ty, group, &|_: &group::Group| Ok(edit.clone())).await?;
    lockout_guard::spare_always(tx, &[user]).await?;
    watch.check_holders(cx, tx).await?;
    Ok(change.map(|_| ()))
}

/// Records the decision, in the transaction of the change that carries it out. If a comparison has
/// changed the finding since it was read, the change is undone, and the decision is made about the
/// finding as it is now.
async fn record_decision(
    tx: &Tx<'_>,
    cx: &Cx,
    seen: &Finding,
    resolution: Resolution,
    reason: &Option<String>,
    mut change: Change<()>,
) -> Result<Change<Finding>> {
    let before = lock_finding(tx, seen.id).await?;
    if (before.state, before.last_run_id) != (seen.state, seen.last_run_id) {
        return Err(Error::Busy("a comparison changed the finding at the same time".into()));
    }
    let now =
        tx.now_after(change.entry.as_ref().map(|entry| entry.at).max(Some(before.last_seen_at)));
    if let Some(entry) = &mut change.entry {
        // The reason is stored in the event of the account, where an erasure of the account removes
        // it. No erasure removes an event of a group.
        let reason = reason.as_ref().filter(|_| entry.subject.kind == "user");
        for (name, value) in [("findingId", json!(seen.id)), ("reason", json!(reason))] {
            if !value.is_null() {
                entry.after.get_or_insert_with(|| json!({}))[name] = value;
            }
        }
    }
    let after = Finding {
        state: State::Resolved,
        resolution: Some(resolution),
        reason: reason.clone(),
        accepted_until: None,
        decided_at: Some(now),
        decided_by: Some(cx.actor.name().into()),
        ..before
    };
    save_row::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
    let mut details = describe_finding(&after);
    details["resolution"] = json!(resolution.to_value());
    change.followed.push(derived_change(
        tx,
        cx,
        finding_event(EventKind::FindingResolved, &after, now, details),
    ));
    Ok(change.map(|()| after))
}

async fn accept_finding(
    tx: &Tx<'_>,
    cx: &Cx,
    id: Uuid,
    reason: Option<String>,
    until: Option<DateTime<Utc>>,
) -> Result<Change<Finding>> {
    let before = lock_finding(tx, id).await?;
    if matches!(before.state, State::Gone | State::Resolved) {
        return held_error(
            RefusalReason::Finished,
            "the finding is gone or was resolved already; it opens again if the difference occurs \
             again",
        );
    }
    let now = tx.now_after(Some(before.last_seen_at));
    let after = Finding {
        state: State::Accepted,
        resolution: None,
        reason,
        accepted_until: until,
        decided_at: Some(now),
        decided_by: Some(cx.actor.name().into()),
        ..before
    };
    save_row::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
    let mut details = describe_finding(&after);
    details["acceptedUntil"] = json!(until);
    let entry = finding_event(EventKind::FindingAccepted, &after, now, details);
    Ok(Change::recorded(after, entry))
}

fn derived_change(tx: &Tx<'_>, cx: &Cx, entry: NewEvent) -> DerivedChange {
    DerivedChange { request_id: tx.request_id(), requested_at: cx.requested_at, entry }
}

async fn find_finding(tx: &Tx<'_>, id: Uuid) -> Result<Finding> {
    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(id));
    query.one(&tx.db).await?.ok_or_else(|| Error::not_found(Noun::Finding))
}

async fn lock_finding(tx: &Tx<'_>, id: Uuid) -> Result<Finding> {
    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(id));
    lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Finding))
}

/// What most probably resolves a finding, as a text for administrators.
pub fn next_step(finding: &Finding) -> &'static str {
    let read = finding.source == Source::Source;
    match (finding.kind, finding.class) {
        (Kind::MissingHere, None) if read => {
            "no account here has this name: start a sync run (syncStart); if it does not create \
             the account, look at the failures of the connection"
        }
        (Kind::OrphanedHere, Some(Class::Unassigned)) if read => {
            "the source does not list this account any more: a full run removes it (syncStart); \
             or suspend or delete it"
        }
        (Kind::Drifted, _) if read && finding.leaver => {
            "inactive at the source and active here: suspend the account, or start a sync run \
             (syncStart)"
        }
        (Kind::Drifted | Kind::Membership, _) if read => {
            "start a sync run (syncStart), which takes over what the source says; or change it at \
             the source, or accept it"
        }
        (Kind::MissingHere, Some(Class::Local)) => {
            "an account without an owner has this name: adopt it, or accept that it stays separate"
        }
        (Kind::MissingHere, Some(_)) => {
            "the account was deleted here by hand: restore it here, or remove the person in the \
             identity provider"
        }
        (Kind::MissingHere, None) if finding.user_id.is_some() => {
            "an account of another connection has this name: find out to which of the two \
             connections the person belongs, and remove the person from the other, or accept the \
             difference"
        }
        (Kind::MissingHere, None) => {
            "no account here has this name: have the identity provider provision the person \
             (assign the application, or provision on demand), and look at the failures of the \
             connection for the reason why it did not"
        }
        (Kind::OrphanedHere, Some(Class::Local)) => {
            "an account without an owner, which the identity provider does not list: suspend or \
             delete it, or accept it with a reason"
        }
        (Kind::OrphanedHere, _) => {
            "the identity provider does not list this account any more: suspend or delete it, or \
             assign the person again"
        }
        (Kind::Drifted, _) if finding.leaver => {
            "inactive in the identity provider and active here: suspend the account, then find out \
             why the identity provider did not write the change"
        }
        (Kind::Drifted, _) => {
            "have the identity provider write the account again (provision on demand), change it \
             here, or accept it"
        }
        (Kind::NameClash, _) => {
            "another account has this name in another width of letters: rename one of the two in \
             the system that it comes from"
        }
        (Kind::ManagerGone, _) => {
            "the manager's account was deleted: have the identity provider name another manager, \
             and reassign in the application what the manager was responsible for"
        }
        (Kind::ClaimsDiffer, _) => {
            "the groups in the sign-in and those that SCIM wrote are not the same: assign the same \
             groups to both applications in the identity provider, or have it write the groups \
             again"
        }
        (Kind::Membership, _) => {
            "have the identity provider write the group again; a membership that only exists here \
             can be deleted"
        }
    }
}

/// Opens findings whose acceptance has ended, in every organization; returns how many.
pub async fn reopen_due(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct DueAcceptance {
        organization_id: Uuid,
        id: Uuid,
    }
    let now: DateTime<Utc> = app.clock.now();
    let query = format!(
        "SELECT organization_id, id FROM finding WHERE accepted_until IS NOT NULL \
         AND state = 'ACCEPTED' \
         AND accepted_until <= $1 ORDER BY accepted_until LIMIT {BATCH_SIZE}"
    );
    let reason = "which acceptances have ended";
    let due = app.statement_for_all_organizations(query, [now.into()], reason);
    let mut opened = 0;
    for DueAcceptance { organization_id, id } in
        DueAcceptance::find_by_statement(due).all(&app.store.read).await?
    {
        let cx = &Cx::system(app.clone(), organization_id);
        let done = cx
            .write(move |tx| {
                Box::pin(async move {
                    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(id));
                    let Some(before) = lock_row(tx, query).await? else {
                        return Ok(Change::unchanged(false));
                    };
                    let at = tx.now_after(Some(before.last_seen_at));
                    // Another replica was faster, or an administrator accepted the finding for
                    // longer.
                    if before.state != State::Accepted
                        || before.accepted_until.is_none_or(|end| end > at)
                    {
                        return Ok(Change::unchanged(false));
                    }
                    let after = reopened_finding(before);
                    save_row::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
                    let details = describe_finding(&after);
                    Ok(Change::recorded(
                        true,
                        finding_event(EventKind::FindingAcceptanceEnded, &after, at, details),
                    ))
                })
            })
            .await;
        match done {
            Ok(done) => opened += u64::from(done),
            // It stays due; the other findings do not wait for it.
            Err(error) => {
                tracing::warn!(%error, finding = %id, "an accepted finding was not opened again")
            }
        }
    }
    Ok(opened)
}

/// Closes the findings of a connection, inside its deletion; returns how many.
pub(in crate::domain) async fn close_findings_of_connection(
    tx: &Tx<'_>,
    connection: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    let gone = finding::Entity::update_many()
        .col_expr(finding::Column::State, Expr::value(State::Gone.to_value()))
        .col_expr(finding::Column::DecidedAt, Expr::value(now))
        .filter(finding::Column::OrganizationId.eq(tx.organization()))
        .filter(finding::Column::ConnectionId.eq(connection))
        .filter(Expr::cust(UNFINISHED_CONDITION))
        .exec(&tx.db)
        .await?;
    reads::forget_connection(tx, connection).await?;
    schedule::delete_schedule(tx, connection).await?;
    Ok(gone.rows_affected)
}

/// Deletes findings that are finished and did not occur for long, and old comparisons, in every
/// organization.
pub async fn forget_old_findings(app: &App) -> Result<()> {
    let old: DateTime<Utc> = app.clock.now() - FINDING_RETENTION;
    // A resolved difference still occurs while the identity provider says the same.
    let finished = finding::Entity::delete_many().filter(Expr::cust(FINISHED_CONDITION));
    let finished = finished
        .filter(finding::Column::DecidedAt.lt(old))
        .filter(finding::Column::LastSeenAt.lt(old));
    finished.exec(&app.store.write).await?;
    let runs =
        reconciliation::Entity::delete_many().filter(reconciliation::Column::FinishedAt.lt(old));
    runs.exec(&app.store.write).await?;
    Ok(())
}

/// Assigns findings to accounts that are being erased, by the names of the accounts. The rows
/// themselves are erased after this, as the notes of their table say.
pub(in crate::domain) async fn erase_findings(tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    let erased =
        tx.find::<accounts::Entity>().filter(accounts::Column::Id.is_in(users.iter().copied()));
    for account in erased.all(&tx.db).await? {
        let external = account.external_id.as_deref().map(PersonName::Id);
        let names = [Some(PersonName::UserName(&account.user_name)), external]
            .into_iter()
            .flatten()
            .map(finding_key);
        // A person who was listed under another name is found by the identifier.
        let ids = account.external_id.clone().into_iter().chain([account.id.to_string()]);
        let keys = ids.map(|id| finding_hash(Kind::MissingHere, &json!(["id", id])));
        let keyed = Condition::all()
            .add(finding::Column::Kind.eq(Kind::MissingHere))
            .add(finding::Column::Key.is_in(keys));
        finding::Entity::update_many()
            .col_expr(finding::Column::UserId, Expr::value(account.id))
            .filter(finding::Column::OrganizationId.eq(tx.organization()))
            .filter(Condition::any().add(finding::Column::Thing.is_in(names)).add(keyed))
            .exec(&tx.db)
            .await?;
    }
    Ok(())
}
