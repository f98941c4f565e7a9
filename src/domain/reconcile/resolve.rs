//! What people do about findings: make an account the connection's, turn it off, delete it, or say why it may stay.
//!
//! The account changes by the same functions as ever, in one transaction with the finding. Whoever acts on a list that an
//! identity provider made is held back where the identity provider would be: break-glass accounts and the last holder of
//! a management role are out of reach.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionKind;
use entity::{finding, reconciliation, user as accounts};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveEnum, ColumnTrait, Condition, EntityTrait, FromQueryResult, QueryFilter, Statement};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::run::key;
use super::{Class, Finding, Kind, LIVE, Named, Resolution, Source, State, described, detail, entry, thing};
use super::{reads, schedule};
use crate::authz::Action;
use crate::context::{App, Change, Cx, Followed, Tx};
use crate::domain::document::MemberChange;
use crate::domain::group::GroupEdit;
use crate::domain::protection::{self, Watch};
use crate::domain::schema::ResourceType;
use crate::domain::{adoption, connection, extension, giving, group, locked, save, text, user};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind};

/// Acceptances ended in one sweep.
const AT_ONCE: u64 = 500;
/// A finished finding and a comparison are forgotten after this, as failures are.
const KEPT: Duration = Duration::days(90);
/// What nobody has to do anything about any more, as the index of it says.
const FINISHED: &str = "state IN ('RESOLVED', 'GONE')";

/// What to do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Adopt,
    Suspend,
    Delete,
    Accept,
}

fn held<T>(reason: &'static str, why: &'static str) -> Result<T> {
    Err(Error::Held { reason, why: why.into() })
}

/// Refuses a choice that the caller may not make, whatever the finding.
///
/// # Errors
/// [`Error::Forbidden`]
pub fn permitted(cx: &Cx, choice: Choice) -> Result<()> {
    cx.allow(Action::Review, None)?;
    match choice {
        Choice::Suspend | Choice::Delete => cx.allow(Action::WriteUser, None),
        Choice::Adopt | Choice::Accept => Ok(()),
    }
}

/// Does something about a finding. `until` is when an acceptance ends.
///
/// # Errors
/// [`Error::Invalid`] for an acceptance without a reason; [`Error::Held`] where the choice makes nothing right, saying
/// what would, and for accounts that are out of reach.
pub async fn resolve(
    cx: &Cx,
    id: Uuid,
    choice: Choice,
    reason: Option<&str>,
    until: Option<DateTime<Utc>>,
) -> Result<Finding> {
    permitted(cx, choice)?;
    let reason = reason.map(|reason| text("reason", reason, 1_000)).transpose()?;
    match (choice, &reason, until) {
        (Choice::Accept, None, _) => return Err(Error::invalid("reason", "say why it may stay")),
        (Choice::Accept, _, Some(end)) if end <= cx.requested_at => {
            return Err(Error::invalid("until", "must be in the future"));
        }
        (Choice::Adopt | Choice::Suspend | Choice::Delete, _, Some(_)) => {
            return Err(Error::invalid("until", "only an acceptance has an end"));
        }
        _ => {}
    }
    let types = extension::types(cx).await?;
    let (reason, types) = (&reason, &types);
    cx.write(move |tx| {
        Box::pin(async move {
            // The account's lock comes before the finding's, under which it is seen whether this still holds.
            let seen = &find(tx, id).await?;
            match choice {
                Choice::Accept => accept(tx, cx, id, reason.clone(), until).await,
                _ if seen.state == State::Gone || seen.state == State::Resolved => {
                    held("FINISHED", "this is gone or was put right already; if it comes again, it is opened again")
                }
                Choice::Delete if seen.kind == Kind::Membership => {
                    let change = remove_member(tx, cx, &types.group, seen).await?;
                    decide(tx, cx, seen, Resolution::Deleted, reason, change).await
                }
                Choice::Adopt => {
                    let change = adopt(tx, cx, &types.user, seen).await?;
                    decide(tx, cx, seen, Resolution::Adopted, reason, change).await
                }
                Choice::Suspend => {
                    let account = account(tx, cx, seen).await?;
                    let watch = Watch::of_everybody(cx, tx).await?;
                    let mut change = user::suspend_in(tx, &types.user, account).await?;
                    change.write_now(tx).await?;
                    watch.end(cx, tx).await?;
                    decide(tx, cx, seen, Resolution::Suspended, reason, change.map(|_| ())).await
                }
                Choice::Delete => {
                    let account = account(tx, cx, seen).await?;
                    let watch = Watch::of_everybody(cx, tx).await?;
                    let change = user::delete_in(tx, account).await?;
                    watch.end(cx, tx).await?;
                    decide(tx, cx, seen, Resolution::Deleted, reason, change).await
                }
            }
        })
    })
    .await
}

/// The account that a finding is about, locked, if something may be done to it.
async fn account(tx: &Tx<'_>, cx: &Cx, seen: &Finding) -> Result<user::User> {
    let why = match seen.kind {
        Kind::Membership => "this is about a group: suspending the account would not put it right",
        _ => "nobody here is meant by it: there is no account to change",
    };
    let Some(user) = seen.user_id.filter(|_| seen.kind != Kind::Membership) else { return held("NO_ACCOUNT", why) };
    // Of anybody else the identity provider says that they are there.
    if seen.kind != Kind::OrphanedHere && !seen.leaver {
        return held("NO_LEAVER", next_step(seen));
    }
    let account = user::live(tx, cx, user, Action::WriteUser).await?;
    let owner = (seen.class != Some(Class::Local)).then_some(seen.connection_id);
    if account.connection_id != owner {
        return held(
            "OTHER_OWNER",
            "the account belongs to somebody else by now, of whom this says nothing: compare again",
        );
    }
    if account.protected {
        return Err(protection::protected());
    }
    Ok(account)
}

/// Makes an account of nobody that the identity provider lists the connection's.
async fn adopt(tx: &Tx<'_>, cx: &Cx, ty: &ResourceType, seen: &Finding) -> Result<Change<()>> {
    let local = seen.kind == Kind::MissingHere && seen.class == Some(Class::Local);
    let Some(user) = seen.user_id.filter(|_| local) else {
        return held("NOTHING_TO_ADOPT", next_step(seen));
    };
    let account = user::live(tx, cx, user, Action::Review).await?;
    if account.connection_id.is_some() {
        return held(
            "ALREADY_OWNED",
            "the account belongs to a connection already, and only one of nobody can be adopted",
        );
    }
    if account.protected {
        return Err(protection::protected());
    }
    let owner = connection::unlocked(tx, seen.connection_id).await?;
    if owner.deleted_at.is_some() {
        return Err(Error::not_found("the connection"));
    }
    if owner.kind == ConnectionKind::ScimPull {
        return held(
            "PULLED",
            "this connection knows people by the ids that they have at its source, which an export does not tell: its \
             next run would not know the account and take it for absent. Rename or delete the account by hand, and the \
             run makes one that is the connection's; or accept that it stays apart",
        );
    }
    giving::check_connection(cx, tx, owner.id).await?;
    let change = adoption::link(cx, tx, ty, account, owner.id, &unflattened(seen)).await?;
    Ok(change.map(|_| ()))
}

/// What the identity provider says of whom it lists, as a document: what is flat becomes deep again. Addresses and the
/// user name are not taken over by an adoption, and an account is neither turned on nor off by it.
fn unflattened(finding: &Finding) -> Map<String, Value> {
    let mut document = Map::new();
    for (path, differs) in detail(finding) {
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
                        if let Some(parts) = document.entry(outer).or_insert_with(|| json!({})).as_object_mut() {
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
            let (outer, inner) = name.split_once('.').map_or((name, None), |(outer, inner)| (outer, Some(inner)));
            match inner {
                None => drop(parts.insert(outer.into(), value)),
                Some(inner) => {
                    if let Some(deep) = parts.entry(outer).or_insert_with(|| json!({})).as_object_mut() {
                        deep.insert(inner.into(), value);
                    }
                }
            }
        }
    }
    document
}

/// Takes somebody out of a group who is not in it at the identity provider.
async fn remove_member(tx: &Tx<'_>, cx: &Cx, ty: &ResourceType, seen: &Finding) -> Result<Change<()>> {
    let extra = detail(seen).get("members").is_some_and(|differs| differs.theirs == Some(Value::Bool(false)));
    let (Some(group), Some(user), true) = (seen.group_id, seen.user_id, extra) else {
        return held("NOTHING_TO_DELETE", next_step(seen));
    };
    let watch = Watch::of_everybody(cx, tx).await?;
    let edit = GroupEdit { members: vec![MemberChange::Remove(vec![user.to_string()])], ..GroupEdit::default() };
    let change = group::change_in(cx, tx, ty, group, &|_: &group::Group| Ok(edit.clone())).await?;
    protection::spare_always(tx, &[user]).await?;
    watch.end(cx, tx).await?;
    Ok(change.map(|_| ()))
}

/// Says what was done, beside the change that did it. A finding that has become another since it was looked at takes the
/// change back with it, and it is decided about as it is now.
async fn decide(
    tx: &Tx<'_>,
    cx: &Cx,
    seen: &Finding,
    resolution: Resolution,
    reason: &Option<String>,
    mut change: Change<()>,
) -> Result<Change<Finding>> {
    let before = lock(tx, seen.id).await?;
    if (before.state, before.last_run_id) != (seen.state, seen.last_run_id) {
        return Err(Error::Busy("a comparison looked at the finding again at the same time".into()));
    }
    let now = tx.now_after(change.entry.as_ref().map(|entry| entry.at).max(Some(before.last_seen_at)));
    if let Some(entry) = &mut change.entry {
        // The reason stands with the account's change, where an erasure of the account reaches it; no erasure reaches a
        // group's.
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
    save::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
    let mut told = described(&after);
    told["resolution"] = json!(resolution.to_value());
    change.followed.push(followed(tx, cx, entry(EventKind::FindingResolved, &after, now, told)));
    Ok(change.map(|()| after))
}

async fn accept(
    tx: &Tx<'_>,
    cx: &Cx,
    id: Uuid,
    reason: Option<String>,
    until: Option<DateTime<Utc>>,
) -> Result<Change<Finding>> {
    let before = lock(tx, id).await?;
    if matches!(before.state, State::Gone | State::Resolved) {
        return held("FINISHED", "this is gone or was put right already; if it comes again, it is opened again");
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
    save::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
    let mut told = described(&after);
    told["acceptedUntil"] = json!(until);
    let entry = entry(EventKind::FindingAccepted, &after, now, told);
    Ok(Change::made(after, entry))
}

fn followed(tx: &Tx<'_>, cx: &Cx, entry: Entry) -> Followed {
    Followed { request_id: tx.request_id(), requested_at: cx.requested_at, entry }
}

async fn find(tx: &Tx<'_>, id: Uuid) -> Result<Finding> {
    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(id));
    query.one(&tx.db).await?.ok_or_else(|| Error::not_found("the finding"))
}

async fn lock(tx: &Tx<'_>, id: Uuid) -> Result<Finding> {
    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(id));
    locked(tx, query).await?.ok_or_else(|| Error::not_found("the finding"))
}

/// The finding as it waits for somebody again.
pub(super) fn reopened(finding: Finding) -> Finding {
    Finding {
        state: State::Open,
        resolution: None,
        reason: None,
        accepted_until: None,
        decided_at: None,
        decided_by: None,
        ..finding
    }
}

/// What most probably puts a finding right, in words for people.
pub fn next_step(finding: &Finding) -> &'static str {
    let read = finding.source == Source::Source;
    match (finding.kind, finding.class) {
        (Kind::MissingHere, None) if read => {
            "nobody here bears this name: carry the source over (syncStart), and look at the failures of the connection if \
             that does not bring them"
        }
        (Kind::OrphanedHere, Some(Class::Unassigned)) if read => {
            "the source does not list this account any more: a full run removes it (syncStart); or suspend or delete it"
        }
        (Kind::Drifted, _) if read && finding.leaver => {
            "turned off at the source and active here: suspend the account, or carry the source over (syncStart)"
        }
        (Kind::Drifted | Kind::Membership, _) if read => {
            "carry the source over (syncStart), which makes it here what it is there; or change it there, or accept it"
        }
        (Kind::MissingHere, Some(Class::Local)) => {
            "an account of nobody bears this name: adopt it, or accept that it stays apart"
        }
        (Kind::MissingHere, Some(_)) => {
            "it was deleted here by hand: restore it here, or remove the person in the identity provider"
        }
        (Kind::MissingHere, None) if finding.user_id.is_some() => {
            "the account of another connection bears this name: see which of the two the person comes from, and remove \
             them from the other, or accept that it stays so"
        }
        (Kind::MissingHere, None) => {
            "nobody here bears this name: have the identity provider provision the person (assign the application, or \
             provision on demand), and look at the failures of the connection for why it did not"
        }
        (Kind::OrphanedHere, Some(Class::Local)) => {
            "nobody's account, which the identity provider does not list: suspend or delete it, or accept it with a reason"
        }
        (Kind::OrphanedHere, _) => {
            "the identity provider does not list this account any more: suspend or delete it, or assign the person again"
        }
        (Kind::Drifted, _) if finding.leaver => {
            "turned off in the identity provider and active here: suspend the account, then see why it was not told"
        }
        (Kind::Drifted, _) => {
            "have the identity provider write the account again (provision on demand), change it here, or accept it"
        }
        (Kind::NameClash, _) => {
            "another account bears this name in another width of letters: rename one of the two, where it comes from"
        }
        (Kind::Membership, _) => {
            "have the identity provider write the group again; a membership that only exists here can be deleted"
        }
    }
}

/// Opens what was accepted until a time that has passed, in every organization; returns how many.
pub async fn reopen_due(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct Due {
        organization_id: Uuid,
        id: Uuid,
    }
    let now: DateTime<Utc> = app.clock.now();
    let query = format!(
        "SELECT organization_id, id FROM finding WHERE accepted_until IS NOT NULL AND state = 'ACCEPTED' \
         AND accepted_until <= $1 ORDER BY accepted_until LIMIT {AT_ONCE}"
    );
    let due = Statement::from_sql_and_values(app.store.backend(), query, [now.into()]);
    let mut opened = 0;
    for Due { organization_id, id } in Due::find_by_statement(due).all(&app.store.read).await? {
        let cx = &Cx::system(app.clone(), organization_id);
        let done = cx
            .write(move |tx| {
                Box::pin(async move {
                    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(id));
                    let Some(before) = locked(tx, query).await? else {
                        return Ok(Change::nothing(false));
                    };
                    let at = tx.now_after(Some(before.last_seen_at));
                    // Another replica was quicker, or somebody accepted it for longer.
                    if before.state != State::Accepted || before.accepted_until.is_none_or(|end| end > at) {
                        return Ok(Change::nothing(false));
                    }
                    let after = reopened(before);
                    save::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
                    let told = described(&after);
                    Ok(Change::made(true, entry(EventKind::FindingAcceptanceEnded, &after, at, told)))
                })
            })
            .await;
        match done {
            Ok(done) => opened += u64::from(done),
            // It stays due, and keeps nobody else waiting.
            Err(error) => tracing::warn!(%error, finding = %id, "an accepted finding was not opened again"),
        }
    }
    Ok(opened)
}

/// What was found about a deleted connection is nobody's work any more. Called inside its deletion; returns how many.
pub(in crate::domain) async fn leave(tx: &Tx<'_>, connection: Uuid, now: DateTime<Utc>) -> Result<u64> {
    let gone = finding::Entity::update_many()
        .col_expr(finding::Column::State, Expr::value(State::Gone.to_value()))
        .col_expr(finding::Column::DecidedAt, Expr::value(now))
        .filter(finding::Column::OrganizationId.eq(tx.organization()))
        .filter(finding::Column::ConnectionId.eq(connection))
        .filter(Expr::cust(LIVE))
        .exec(&tx.db)
        .await?;
    reads::leave(tx, connection).await?;
    schedule::delete(tx, connection).await?;
    Ok(gone.rows_affected)
}

/// Deletes what is finished and was not seen for long, and old comparisons, of every organization.
pub async fn forget(app: &App) -> Result<()> {
    let old: DateTime<Utc> = app.clock.now() - KEPT;
    // What somebody put right is still seen while the identity provider says the same.
    let finished = finding::Entity::delete_many().filter(Expr::cust(FINISHED));
    let finished = finished.filter(finding::Column::DecidedAt.lt(old)).filter(finding::Column::LastSeenAt.lt(old));
    finished.exec(&app.store.write).await?;
    let runs = reconciliation::Entity::delete_many().filter(reconciliation::Column::FinishedAt.lt(old));
    runs.exec(&app.store.write).await?;
    Ok(())
}

/// Finds what is about accounts that are being erased by the names that they bear. The rows themselves are in
/// [`PERSONAL`](crate::domain::erasure::PERSONAL) and go after this.
pub(in crate::domain) async fn erase(tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    let erased = tx.find::<accounts::Entity>().filter(accounts::Column::Id.is_in(users.iter().copied()));
    for account in erased.all(&tx.db).await? {
        let external = account.external_id.as_deref().map(Named::Id);
        let names = [Some(Named::UserName(&account.user_name)), external].into_iter().flatten().map(thing);
        // Whoever was listed under another name is known by the identifier.
        let ids = account.external_id.clone().into_iter().chain([account.id.to_string()]);
        let keys = ids.map(|id| key(Kind::MissingHere, &json!(["id", id])));
        let keyed =
            Condition::all().add(finding::Column::Kind.eq(Kind::MissingHere)).add(finding::Column::Key.is_in(keys));
        finding::Entity::update_many()
            .col_expr(finding::Column::UserId, Expr::value(account.id))
            .filter(finding::Column::OrganizationId.eq(tx.organization()))
            .filter(Condition::any().add(finding::Column::Thing.is_in(names)).add(keyed))
            .exec(&tx.db)
            .await?;
    }
    Ok(())
}
