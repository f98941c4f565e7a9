//! Adoption: what becomes of somebody whom an identity provider creates and who already has an account here.
//!
//! A name alone proves nothing, so the connection's policy decides: refuse, propose to a person, or link where the
//! organization has said that it owns the name's domain. Whoever is adopted keeps the login identifiers.

use chrono::{DateTime, Utc};
use entity::connection::AdoptionPolicy;
use entity::{adoption_proposal, organization, user};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::connection::Connection;
use super::list::{self, Keyset, Slice};
use super::organization::Organization;
use super::protection::Watch;
use super::schema::ResourceType;
use super::user::User;
use super::{document, extension, giving};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::live_index::found_by_user_name;
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

pub use adoption_proposal::{Cause, Model as Proposal, ProposalState};

/// What a connection's new account came upon.
enum Meeting {
    Adopted(User),
    Refused,
    Proposed(Uuid, Cause),
}

/// The account that the connection `owner` wanted to create and whose name is taken: the one that bears the name,
/// if the policy lets the connection have it.
///
/// # Errors
/// [`Error::Taken`] otherwise, after a proposal was recorded where the policy asks for one.
pub(super) async fn meet(cx: &Cx, owner: Uuid, ty: &ResourceType, wanted: &Map<String, Value>) -> Result<User> {
    let name = document::user_name(wanted).map(document::fold);
    let name = &name;
    let met = cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<user::Entity>()
                .filter(user::Column::UserNameKey.eq(name.as_deref()))
                .filter(found_by_user_name(cx.backend()))
                .filter(user::Column::DeletedAt.is_null());
            let Some(account) = super::user::locked(tx, query).await? else {
                return Ok(Change::nothing(Meeting::Refused));
            };
            let connection = super::connection::unlocked(tx, owner).await?;
            #[allow(clippy::disallowed_methods, reason = "organizations are what everything else is scoped by")]
            let organization = organization::Entity::find_by_id(tx.organization()).one(&tx.db).await?;
            let organization = organization.ok_or_else(|| Error::not_found("the organization"))?;
            match judge(&connection, &organization, &account) {
                Verdict::Link => {
                    let change = link(cx, tx, ty, account, owner, wanted).await?;
                    Ok(change.map(Meeting::Adopted))
                }
                Verdict::Refuse => Ok(Change::nothing(Meeting::Refused)),
                Verdict::Propose(cause) => Ok(Change::nothing(Meeting::Proposed(account.id, cause))),
            }
        })
    });
    match met.await? {
        Meeting::Adopted(user) => return Ok(user),
        Meeting::Refused => {}
        Meeting::Proposed(account, cause) => propose(cx, owner, account, cause, wanted).await?,
    }
    Err(Error::Taken { field: "userName" })
}

enum Verdict {
    Link,
    Refuse,
    Propose(Cause),
}

fn judge(connection: &Connection, organization: &Organization, account: &User) -> Verdict {
    match connection.adoption_policy {
        _ if account.connection_id == Some(connection.id) => Verdict::Refuse,
        AdoptionPolicy::Refuse => Verdict::Refuse,
        _ if account.connection_id.is_some() => Verdict::Propose(Cause::Owned),
        AdoptionPolicy::Propose => Verdict::Propose(Cause::Policy),
        AdoptionPolicy::Link if account.protected => Verdict::Propose(Cause::Protected),
        AdoptionPolicy::Link if !in_verified_domain(organization, &account.user_name) => {
            Verdict::Propose(Cause::UnverifiedDomain)
        }
        AdoptionPolicy::Link => Verdict::Link,
    }
}

fn in_verified_domain(organization: &Organization, user_name: &str) -> bool {
    let domain = user_name.rsplit_once('@').map(|(_, domain)| document::fold(domain));
    domain.is_some_and(|domain| super::organization::verified_domains(organization).any(|known| known == domain))
}

/// Makes an account of nobody the connection's.
pub(super) async fn link(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    account: User,
    owner: Uuid,
    wanted: &Map<String, Value>,
) -> Result<Change<User>> {
    let old = account.attributes()?;
    let document = adopted(ty, &old, wanted)?;
    let watch = Watch::begin(cx, tx).await?;
    let mut change = super::user::rewrite(tx, ty, account, Some(owner), &old, document, EventKind::UserAdopted)?;
    // The watch looks at what the change has done, so that is written now.
    change.write_now(tx).await?;
    watch.end(cx, tx).await?;
    note(&mut change, "connectionId", Value::Null, owner.to_string().into());
    Ok(change)
}

/// What the account says about itself afterwards. The connection speaks for everything but the login identifiers,
/// name and addresses, so that nobody can reach an account by renaming it into their own; and silence is no word.
fn adopted(ty: &ResourceType, old: &Map<String, Value>, wanted: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut document = old.clone();
    // It names the account to one connection, so what it was before means nothing to this one.
    document.remove("externalId");
    let taken = wanted.iter().filter(|(name, _)| !["userName", "emails"].contains(&name.as_str()));
    document.extend(taken.map(|(name, value)| (name.clone(), value.clone())));
    document::normalize(ty, document)
}

/// Adds to what a ledger row tells.
fn note<T>(change: &mut Change<T>, name: &str, before: Value, after: Value) {
    let Some(entry) = &mut change.entry else { return };
    for (values, value) in [(&mut entry.before, before), (&mut entry.after, after)] {
        if let Some(Value::Object(values)) = values {
            values.insert(name.into(), value);
        }
    }
}

/// Records that the connection wants the account. A repeat is counted; only the first is a row in the ledger.
async fn propose(cx: &Cx, owner: Uuid, account: Uuid, cause: Cause, wanted: &Map<String, Value>) -> Result<()> {
    let text = serde_json::to_string(wanted).map_err(|error| Error::Internal(error.to_string()))?;
    let text = &text;
    if repeated(cx, owner, account, cause, text).await? {
        return Ok(());
    }
    let first = cx.write(move |tx| {
        Box::pin(async move {
            let now = tx.now_after(None);
            let row = Proposal {
                organization_id: tx.organization(),
                id: Uuid::now_v7(),
                connection_id: owner,
                user_id: account,
                cause,
                document: Some(text.clone()),
                state: ProposalState::Pending,
                reason: None,
                attempts: 1,
                first_at: now,
                last_at: now,
                decided_at: None,
            };
            let inserted = adoption_proposal::Entity::insert(adoption_proposal::ActiveModel::from(row.clone()))
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .exec_without_returning(&tx.db)
                .await?;
            if inserted == 0 {
                return Ok(Change::nothing(false));
            }
            let told =
                json!({ "proposalId": row.id, "connectionId": owner, "cause": sea_orm::ActiveEnum::to_value(&cause) });
            Ok(Change::made(true, entry(EventKind::UserAdoptionProposed, &row, now, None, told)))
        })
    });
    if !first.await? {
        repeated(cx, owner, account, cause, text).await?;
    }
    Ok(())
}

/// Counts one more attempt of the connection; false if it is the first.
async fn repeated(cx: &Cx, owner: Uuid, account: Uuid, cause: Cause, wanted: &str) -> Result<bool> {
    let updated = adoption_proposal::Entity::update_many()
        .col_expr(adoption_proposal::Column::Attempts, Expr::col(adoption_proposal::Column::Attempts).add(1))
        .set(adoption_proposal::ActiveModel {
            cause: Set(cause),
            document: Set(Some(wanted.into())),
            last_at: Set(cx.app.clock.now()),
            ..Default::default()
        })
        .filter(adoption_proposal::Column::OrganizationId.eq(cx.organization()))
        .filter(adoption_proposal::Column::UserId.eq(account))
        .filter(adoption_proposal::Column::ConnectionId.eq(owner))
        .exec(&cx.app.store.write)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Makes the account the connection's, as [`AdoptionPolicy::Link`] would have: whoever accepts vouches for the name
/// in the place of a verified domain. A dismissed proposal may still be accepted.
///
/// # Errors
/// [`Error::Held`] when the account has an owner by now or bears another name, [`Error::NotFound`] when the account
/// or the connection is gone.
pub async fn accept(cx: &Cx, id: Uuid, reason: Option<&str>) -> Result<Proposal> {
    cx.allow(Action::Review, None)?;
    let reason = reason.map(|reason| super::text("reason", reason, 1_000)).transpose()?;
    let types = extension::types(cx).await?;
    let (reason, ty) = (&reason, &types.user);
    cx.write(move |tx| {
        Box::pin(async move {
            // The account's lock comes before the proposal's.
            let account = find(tx, id).await?.user_id;
            let account = super::user::live(tx, cx, account, Action::Review).await?;
            let proposal = lock(tx, id).await?;
            if proposal.state == ProposalState::Accepted {
                return Ok(Change::nothing(proposal));
            }
            let connection = super::connection::unlocked(tx, proposal.connection_id).await?;
            if connection.deleted_at.is_some() {
                return Err(Error::not_found("the connection"));
            }
            if account.connection_id.is_some() {
                let why = "the account belongs to a connection already, and only an account of nobody can be adopted";
                return Err(Error::Held { reason: "ALREADY_OWNED", why: why.into() });
            }
            let wanted = super::user::parse(proposal.document.as_deref().unwrap_or("{}"))?;
            if document::user_name(&wanted).map(document::fold) != Some(document::fold(&account.user_name)) {
                let why = "the account has been renamed since the connection wanted it, so the proposal no longer fits";
                return Err(Error::Held { reason: "RENAMED", why: why.into() });
            }
            giving::check_connection(cx, tx, connection.id).await?;
            let mut change = link(cx, tx, ty, account, connection.id, &wanted).await?;
            note(&mut change, "proposalId", Value::Null, id.to_string().into());
            note(&mut change, "reason", Value::Null, reason.clone().into());
            let now = tx.now_after(Some(change.value.updated_at));
            let decided = decide(tx, proposal, ProposalState::Accepted, reason.clone(), now).await?;
            Ok(change.map(|_| decided))
        })
    })
    .await
}

/// Leaves the account what it is. Further attempts of the connection are counted and stay dismissed.
///
/// # Errors
/// [`Error::Held`] when the proposal was accepted.
pub async fn dismiss(cx: &Cx, id: Uuid, reason: Option<&str>) -> Result<Proposal> {
    cx.allow(Action::Review, None)?;
    let reason = reason.map(|reason| super::text("reason", reason, 1_000)).transpose()?;
    let reason = &reason;
    cx.write(move |tx| {
        Box::pin(async move {
            let proposal = lock(tx, id).await?;
            match proposal.state {
                ProposalState::Pending => {}
                ProposalState::Dismissed => return Ok(Change::nothing(proposal)),
                ProposalState::Accepted => {
                    let why = "the proposal was accepted: the account is the connection's by now";
                    return Err(Error::Held { reason: "ALREADY_ACCEPTED", why: why.into() });
                }
            }
            let now = tx.now_after(Some(proposal.last_at));
            let told = json!({ "proposalId": id, "reason": reason });
            let decided = decide(tx, proposal, ProposalState::Dismissed, reason.clone(), now).await?;
            let entry = entry(EventKind::UserAdoptionDismissed, &decided, now, None, told);
            Ok(Change::made(decided, entry))
        })
    })
    .await
}

async fn decide(
    tx: &Tx<'_>,
    proposal: Proposal,
    state: ProposalState,
    reason: Option<String>,
    now: DateTime<Utc>,
) -> Result<Proposal> {
    // What was accepted stands in the account itself.
    let document = proposal.document.filter(|_| state != ProposalState::Accepted);
    let decided = Proposal { document, state, reason, decided_at: Some(now), ..proposal };
    super::save::<adoption_proposal::Entity, adoption_proposal::ActiveModel>(tx, decided.clone()).await?;
    Ok(decided)
}

async fn find(tx: &Tx<'_>, id: Uuid) -> Result<Proposal> {
    let query = tx.find::<adoption_proposal::Entity>().filter(adoption_proposal::Column::Id.eq(id));
    query.one(&tx.db).await?.ok_or_else(|| Error::not_found("the proposal"))
}

async fn lock(tx: &Tx<'_>, id: Uuid) -> Result<Proposal> {
    let query = tx.find::<adoption_proposal::Entity>().filter(adoption_proposal::Column::Id.eq(id));
    super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the proposal"))
}

/// Proposals, those in this state or all, in the order in which they came.
pub async fn list(cx: &Cx, state: Option<ProposalState>, keyset: &Keyset<Uuid>) -> Result<Slice<Proposal>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, listed(cx, state), adoption_proposal::Column::Id, keyset).await
}

/// How many proposals there are, in this state or at all.
pub async fn count(cx: &Cx, state: Option<ProposalState>) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(listed(cx, state).count(cx.db()).await?)
}

/// The proposals among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Proposal>> {
    cx.allow(Action::ReadIam, None)?;
    let query = listed(cx, None).filter(adoption_proposal::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

fn listed(cx: &Cx, state: Option<ProposalState>) -> Select<adoption_proposal::Entity> {
    let query = cx.find::<adoption_proposal::Entity>();
    match state {
        Some(state) => query.filter(adoption_proposal::Column::State.eq(state)),
        None => query,
    }
}

/// What the connection sent last; none once that was accepted or erased.
///
/// # Errors
/// [`Error::Forbidden`] for who may not see personal data.
pub fn attributes(cx: &Cx, proposal: &Proposal) -> Result<Option<Map<String, Value>>> {
    cx.allow(Action::ReadUser, None)?;
    proposal.document.as_deref().map(super::user::parse).transpose()
}

/// Proposals are told as part of the account's history, so that an erasure of the account reaches them.
fn entry(kind: EventKind, row: &Proposal, at: DateTime<Utc>, before: Option<Value>, after: Value) -> Entry {
    let subject = Subject { kind: "user", id: row.user_id };
    Entry { kind, subject, connection: Some(row.connection_id), at, before, after: Some(after), population: 0 }
}
