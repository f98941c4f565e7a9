//! Adoption: an identity provider creates an account, and an account with that name is already
//! here.
//!
//! A name alone proves nothing, so the connection's policy decides: refuse, propose the adoption to
//! an administrator, or link the account where the organization has verified that it owns the
//! name's domain. An adopted account keeps its login identifiers.

use chrono::{DateTime, Utc};
use entity::connection::AdoptionPolicy;
use entity::{adoption_proposal, user};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::user::User;
use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::access::giving;
use crate::domain::access::lockout_guard::LastHolderGuard;
use crate::domain::connection::Connection;
use crate::domain::directory::schema_extension;
use crate::domain::paging;
use crate::domain::paging::live_index::found_by_user_name;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::sign_in::takeover;
use crate::domain::tenant::domain;
use crate::domain::tenant::domain::DomainProof;
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::identity::document;
use crate::identity::schema::ResourceType;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use adoption_proposal::{Cause, Model as Proposal, ProposalState};

/// What the policy decided about the account that has the name already.
enum ConflictOutcome {
    Adopted(User),
    Refused,
    Proposed(Uuid, Cause),
}

/// Handles the creation of an account by the connection `owner` whose name is taken. Returns the
/// account that has the name, if the policy lets the connection adopt it.
///
/// # Errors
/// [`Error::Taken`] otherwise, after a proposal was recorded where the policy asks for one.
pub(in crate::domain) async fn resolve_conflict(
    cx: &Cx,
    owner: Uuid,
    ty: &ResourceType,
    wanted: &Map<String, Value>,
) -> Result<User> {
    let name = document::user_name(wanted).map(document::fold_text);
    let name = &name;
    let met = cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<user::Entity>()
                .filter(user::Column::UserNameKey.eq(name.as_deref()))
                .filter(found_by_user_name(cx.backend()))
                .filter(user::Column::DeletedAt.is_null());
            let Some(account) = super::user::lock_user(tx, query).await? else {
                return Ok(Change::unchanged(ConflictOutcome::Refused));
            };
            let connection = crate::domain::connection::find_unlocked_connection(tx, owner).await?;
            let taken = takeover::TakenAccount {
                id: account.id,
                owner: account.connection_id,
                user_name: &account.user_name,
            };
            if account.active
                && !account.protected
                && takeover::is_taken_over(tx, &taken, owner).await?
            {
                let former = account.connection_id;
                let change = link_account(cx, tx, ty, account, owner, wanted).await?;
                takeover::count_taken_over(tx, former).await?;
                return Ok(change.map(ConflictOutcome::Adopted));
            }
            match judge_adoption(tx, &connection, &account).await? {
                AdoptionVerdict::Link => {
                    let change = link_account(cx, tx, ty, account, owner, wanted).await?;
                    Ok(change.map(ConflictOutcome::Adopted))
                }
                AdoptionVerdict::Refuse => Ok(Change::unchanged(ConflictOutcome::Refused)),
                AdoptionVerdict::Propose(cause) => {
                    Ok(Change::unchanged(ConflictOutcome::Proposed(account.id, cause)))
                }
            }
        })
    });
    match met.await? {
        ConflictOutcome::Adopted(user) => return Ok(user),
        ConflictOutcome::Refused => {}
        ConflictOutcome::Proposed(account, cause) => {
            propose_adoption(cx, owner, account, cause, wanted).await?
        }
    }
    Err(Error::Taken { field: "userName" })
}

enum AdoptionVerdict {
    Link,
    Refuse,
    Propose(Cause),
}

async fn judge_adoption(
    tx: &Tx<'_>,
    connection: &Connection,
    account: &User,
) -> Result<AdoptionVerdict> {
    Ok(match connection.adoption_policy {
        _ if account.connection_id == Some(connection.id) => AdoptionVerdict::Refuse,
        AdoptionPolicy::Refuse => AdoptionVerdict::Refuse,
        _ if account.connection_id.is_some() => AdoptionVerdict::Propose(Cause::Owned),
        AdoptionPolicy::Propose => AdoptionVerdict::Propose(Cause::Policy),
        AdoptionPolicy::Link if account.protected => AdoptionVerdict::Propose(Cause::Protected),
        AdoptionPolicy::Link => {
            let asserted = DomainProof::Asserted;
            if domain::lies_in_own_domain(tx, &account.user_name, asserted).await? {
                AdoptionVerdict::Link
            } else {
                AdoptionVerdict::Propose(Cause::UnverifiedDomain)
            }
        }
    })
}

/// Makes the connection `owner` the owner of an account that had none.
pub(in crate::domain) async fn link_account(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    account: User,
    owner: Uuid,
    wanted: &Map<String, Value>,
) -> Result<Change<User>> {
    let old = account.attributes()?;
    let document = merge_adopted_document(ty, &old, wanted)?;
    let watch = LastHolderGuard::watch_holders(cx, tx).await?;
    let mut change = super::user::rewrite_user(
        tx,
        ty,
        account,
        Some(owner),
        &old,
        document,
        EventKind::UserAdopted,
    )?;
    // The guard checks the state after the change, so the change is written now.
    change.write_now(tx).await?;
    watch.check_holders(cx, tx).await?;
    add_to_payload(&mut change, "connectionId", Value::Null, owner.to_string().into());
    Ok(change)
}

/// The account's attributes after its adoption. The connection sets every attribute but the login
/// identifiers, `userName` and `emails`: otherwise the identity provider could take over an account
/// by renaming it. Attributes that the connection does not send stay as they are.
fn merge_adopted_document(
    ty: &ResourceType,
    old: &Map<String, Value>,
    wanted: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    let mut document = old.clone();
    // An external id belongs to one connection, so the former one means nothing to this one.
    document.remove("externalId");
    let taken = wanted.iter().filter(|(name, _)| !["userName", "emails"].contains(&name.as_str()));
    document.extend(taken.map(|(name, value)| (name.clone(), value.clone())));
    Ok(document::normalize_document(ty, document)?)
}

/// Adds a value to the payload of a change's event.
fn add_to_payload<T>(change: &mut Change<T>, name: &str, before: Value, after: Value) {
    let Some(entry) = &mut change.entry else { return };
    for (values, value) in [(&mut entry.before, before), (&mut entry.after, after)] {
        if let Some(Value::Object(values)) = values {
            values.insert(name.into(), value);
        }
    }
}

/// Records that the connection wants the account. A repeat is counted; only the first is a row in
/// the ledger.
async fn propose_adoption(
    cx: &Cx,
    owner: Uuid,
    account: Uuid,
    cause: Cause,
    wanted: &Map<String, Value>,
) -> Result<()> {
    let text = serde_json::to_string(wanted).map_err(|error| Error::Internal(error.to_string()))?;
    let text = &text;
    if count_repeated_attempt(cx, owner, account, cause, text).await? {
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
            let inserted = adoption_proposal::Entity::insert(adoption_proposal::ActiveModel::from(
                row.clone(),
            ))
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&tx.db)
            .await?;
            if inserted == 0 {
                return Ok(Change::unchanged(false));
            }
            let details = json!({
                "proposalId": row.id, "connectionId": owner,
                "cause": sea_orm::ActiveEnum::to_value(&cause),
            });
            Ok(Change::recorded(
                true,
                proposal_event(EventKind::UserAdoptionProposed, &row, now, None, details),
            ))
        })
    });
    if !first.await? {
        count_repeated_attempt(cx, owner, account, cause, text).await?;
    }
    Ok(())
}

/// Counts one more attempt of the connection; false if it is the first.
async fn count_repeated_attempt(
    cx: &Cx,
    owner: Uuid,
    account: Uuid,
    cause: Cause,
    wanted: &str,
) -> Result<bool> {
    let updated = adoption_proposal::Entity::update_many()
        .col_expr(
            adoption_proposal::Column::Attempts,
            Expr::col(adoption_proposal::Column::Attempts).add(1),
        )
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

/// Makes the connection the owner of the account, as [`AdoptionPolicy::Link`] does: the
/// administrator who accepts confirms the name, in the place of a verified domain. A dismissed
/// proposal can still be accepted.
///
/// # Errors
/// [`Error::Held`] when the account has an owner or another name by now, [`Error::NotFound`] when
/// the account or the connection is deleted.
pub async fn accept_proposal(cx: &Cx, id: Uuid, reason: Option<&str>) -> Result<Proposal> {
    cx.allow(Action::Review, None)?;
    let reason =
        reason.map(|reason| crate::domain::check_text("reason", reason, 1_000)).transpose()?;
    let types = schema_extension::resource_types(cx).await?;
    let (reason, ty) = (&reason, &types.user);
    cx.write(move |tx| {
        Box::pin(async move {
            // The account's lock comes before the proposal's.
            let account = find_proposal(tx, id).await?.user_id;
            let account = super::user::lock_live_user(tx, cx, account, Action::Review).await?;
            let proposal = lock_proposal(tx, id).await?;
            if proposal.state == ProposalState::Accepted {
                return Ok(Change::unchanged(proposal));
            }
            let owner = proposal.connection_id;
            let connection =
                crate::domain::connection::find_unlocked_connection(tx, owner).await?;
            if connection.deleted_at.is_some() {
                return Err(Error::not_found(Noun::Connection));
            }
            if account.connection_id.is_some() {
                let why =
                    "the account belongs to a connection already, and only an account without an \
                     owner can be adopted";
                return Err(Error::Held { reason: RefusalReason::AlreadyOwned, why: why.into() });
            }
            let wanted = super::user::parse_document(proposal.document.as_deref().unwrap_or("{}"))?;
            let wanted_name = document::user_name(&wanted).map(document::fold_text);
            if wanted_name != Some(document::fold_text(&account.user_name)) {
                let why = "the account has been renamed since the connection wanted it, so the \
                           proposal no longer fits";
                return Err(Error::Held { reason: RefusalReason::Renamed, why: why.into() });
            }
            giving::check_connection(cx, tx, connection.id).await?;
            let mut change = link_account(cx, tx, ty, account, connection.id, &wanted).await?;
            add_to_payload(&mut change, "proposalId", Value::Null, id.to_string().into());
            add_to_payload(&mut change, "reason", Value::Null, reason.clone().into());
            let now = tx.now_after(Some(change.value.updated_at));
            let decided =
                decide_proposal(tx, proposal, ProposalState::Accepted, reason.clone(), now).await?;
            Ok(change.map(|_| decided))
        })
    })
    .await
}

/// Leaves the account as it is. Further attempts of the connection are counted and stay dismissed.
///
/// # Errors
/// [`Error::Held`] when the proposal was accepted.
pub async fn dismiss_proposal(cx: &Cx, id: Uuid, reason: Option<&str>) -> Result<Proposal> {
    cx.allow(Action::Review, None)?;
    let reason =
        reason.map(|reason| crate::domain::check_text("reason", reason, 1_000)).transpose()?;
    let reason = &reason;
    cx.write(move |tx| {
        Box::pin(async move {
            let proposal = lock_proposal(tx, id).await?;
            match proposal.state {
                ProposalState::Pending => {}
                ProposalState::Dismissed => return Ok(Change::unchanged(proposal)),
                ProposalState::Accepted => {
                    let why =
                        "the proposal was accepted: the account already belongs to the connection";
                    return Err(Error::Held {
                        reason: RefusalReason::AlreadyAccepted,
                        why: why.into(),
                    });
                }
            }
            let now = tx.now_after(Some(proposal.last_at));
            let details = json!({ "proposalId": id, "reason": reason });
            let decided =
                decide_proposal(tx, proposal, ProposalState::Dismissed, reason.clone(), now)
                    .await?;
            let entry =
                proposal_event(EventKind::UserAdoptionDismissed, &decided, now, None, details);
            Ok(Change::recorded(decided, entry))
        })
    })
    .await
}

async fn decide_proposal(
    tx: &Tx<'_>,
    proposal: Proposal,
    state: ProposalState,
    reason: Option<String>,
    now: DateTime<Utc>,
) -> Result<Proposal> {
    // The account itself holds what was accepted.
    let document = proposal.document.filter(|_| state != ProposalState::Accepted);
    let decided = Proposal { document, state, reason, decided_at: Some(now), ..proposal };
    crate::domain::save_row::<adoption_proposal::Entity, adoption_proposal::ActiveModel>(
        tx,
        decided.clone(),
    )
    .await?;
    Ok(decided)
}

async fn find_proposal(tx: &Tx<'_>, id: Uuid) -> Result<Proposal> {
    let query = tx.find::<adoption_proposal::Entity>().filter(adoption_proposal::Column::Id.eq(id));
    query.one(&tx.db).await?.ok_or_else(|| Error::not_found(Noun::Proposal))
}

async fn lock_proposal(tx: &Tx<'_>, id: Uuid) -> Result<Proposal> {
    let query = tx.find::<adoption_proposal::Entity>().filter(adoption_proposal::Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Proposal))
}

/// The wanted proposals: those that match all conditions; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProposalQuery {
    pub states: Vec<ProposalState>,
    pub connection: Option<Uuid>,
    pub user: Option<Uuid>,
}

/// A page of proposals, each with its place in the order `by`.
pub async fn list_proposals(
    cx: &Cx,
    which: &ProposalQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Proposal, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    let id = adoption_proposal::Column::Id;
    paging::fetch_ordered(cx, select_proposals(cx, which), id, by, keyset).await
}

/// How many proposals there are.
pub async fn count_proposals(cx: &Cx, which: &ProposalQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_proposals(cx, which).count(cx.db()).await?)
}

/// The proposals among `ids`.
pub async fn proposals_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Proposal>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<adoption_proposal::Entity>();
    let query = query.filter(adoption_proposal::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// The proposals about these accounts.
pub async fn proposals_about(cx: &Cx, users: &[Uuid]) -> Result<Vec<Proposal>> {
    cx.allow(Action::ReadIam, None)?;
    let about = adoption_proposal::Column::UserId.is_in(users.iter().copied());
    let any = ProposalQuery::default();
    Ok(select_proposals(cx, &any).filter(about).all(cx.db()).await?)
}

fn select_proposals(cx: &Cx, which: &ProposalQuery) -> Select<adoption_proposal::Entity> {
    let mut query = cx.find::<adoption_proposal::Entity>();
    match which.states.as_slice() {
        [] => {}
        [state] => query = query.filter(adoption_proposal::Column::State.eq(*state)),
        states => {
            query = query.filter(adoption_proposal::Column::State.is_in(states.iter().copied()));
        }
    }
    if let Some(connection) = which.connection {
        query = query.filter(adoption_proposal::Column::ConnectionId.eq(connection));
    }
    if let Some(user) = which.user {
        query = query.filter(adoption_proposal::Column::UserId.eq(user));
    }
    query
}

/// What the connection sent last; none once that was accepted or erased.
///
/// # Errors
/// [`Error::Forbidden`] for an actor that may not read users.
pub fn proposal_attributes(cx: &Cx, proposal: &Proposal) -> Result<Option<Map<String, Value>>> {
    cx.allow(Action::ReadUser, None)?;
    proposal.document.as_deref().map(super::user::parse_document).transpose()
}

/// An event of a proposal. Its subject is the account, so that an erasure of the account reaches
/// it.
fn proposal_event(
    kind: EventKind,
    row: &Proposal,
    at: DateTime<Utc>,
    before: Option<Value>,
    after: Value,
) -> NewEvent {
    let subject = EventSubject { kind: "user", id: row.user_id };
    NewEvent {
        kind,
        subject,
        connection: Some(row.connection_id),
        at,
        before,
        after: Some(after),
        population: 0,
        name: None,
    }
}
