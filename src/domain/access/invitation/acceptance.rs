//! How an invitation is accepted: at a sign-in, or by an administrator; and the use of its link,
//! after which it waits for the sign-in.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::{invitation, role_grant, user};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Invitation, InvitationState, MAX_OPEN_OF_ADDRESS, check_may_give, check_roles, close_row,
    ended_error, group_ids, invitation_event, last_change, live_groups, live_roles,
    lock_invitation, role_ids, save_invitation,
};
use crate::auth::policy::{Action, Actor, Permission, Permissions};
use crate::context::{App, Change, Cx, Tx};
use crate::crypto::vault;
use crate::domain::access::giving;
use crate::domain::access::role_grant::{NewGrant, create_in};
use crate::domain::directory::group::{Group, GroupEdit, change_group_in};
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::suspended_error;
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::identity::document::{MemberChange, fold_text};
use crate::identity::schema::ResourceType;
use crate::ledger::{EventKind, NewEvent};

/// Accepts an invitation for an account, as an administrator who says that the person has it.
///
/// # Errors
/// [`Error::NotFound`] for an invitation or an account that does not exist, [`Error::Held`] for one
/// that cannot be accepted, [`Error::Forbidden`] for an actor who may not give what it gives.
pub async fn accept_for_account(cx: &Cx, id: Uuid, account: Uuid) -> Result<Invitation> {
    cx.allow(Action::WriteUser, None)?;
    accept_in_write(cx, id, account).await
}

/// Accepts the invitations to `verified_email` for an account that has just signed in, whose
/// identity provider says that the address is the person's. Returns those that were accepted; one
/// that cannot be accepted stays as it is.
///
/// # Errors
/// The database's own.
pub async fn accept_invitations(
    cx: &Cx,
    account: Uuid,
    verified_email: &str,
) -> Result<Vec<Invitation>> {
    // Invitations go to ASCII addresses, and letters that look alike are folded into them.
    if !verified_email.is_ascii() {
        return Ok(Vec::new());
    }
    let open = cx
        .find::<invitation::Entity>()
        .filter(invitation::Column::EmailKey.eq(fold_text(verified_email)))
        .filter(invitation::Column::ClosedAt.is_null())
        .order_by_asc(invitation::Column::Id)
        .limit(MAX_OPEN_OF_ADDRESS);
    let now = cx.app.clock.now();
    let mut accepted = Vec::new();
    for row in open.all(cx.db()).await? {
        if !InvitationState::of(&row, now).is_acceptable() {
            continue;
        }
        let system = as_system(cx, "accepted at a sign-in with the invited address");
        match accept_in_write(&system, row.id, account).await {
            Ok(row) => accepted.push(row),
            Err(Error::Forbidden(why)) => hold_invitation(cx, &row, &why.to_string()).await?,
            // Another sign-in accepted it meanwhile, or the account was suspended meanwhile.
            Err(Error::Held { .. } | Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(accepted)
}

fn as_system(cx: &Cx, reason: &str) -> Cx {
    Cx::new(cx.app.clone(), Actor::System, cx.organization(), cx.request_id)
        .with_reason(Some(reason.into()))
}

/// Notes that it waits for an administrator: it would give more than its maker might.
async fn hold_invitation(cx: &Cx, row: &Invitation, why: &str) -> Result<()> {
    tracing::info!(invitation = %row.id, why, "an invitation waits for an administrator");
    invitation::Entity::update_many()
        .col_expr(invitation::Column::HeldAt, Expr::value(cx.app.clock.now()))
        .filter(invitation::Column::OrganizationId.eq(cx.organization()))
        .filter(invitation::Column::Id.eq(row.id))
        .filter(invitation::Column::SentCount.eq(row.sent_count))
        .filter(invitation::Column::ClosedAt.is_null())
        .filter(invitation::Column::HeldAt.is_null())
        .exec(&cx.app.store.write)
        .await?;
    Ok(())
}

/// Refuses what the maker of an invitation could not give now with the permissions of then: a group
/// may be mapped to a role since, and a role may have got permissions of the console.
async fn check_maker(cx: &Cx, tx: &Tx<'_>, row: &Invitation) -> Result<()> {
    let (roles, groups) = (role_ids(row), group_ids(row));
    let names = row.maker_permissions.as_ref().and_then(Value::as_array);
    let permissions: Permissions = match names {
        Some(names) => names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect(),
        // From before this was kept: what making it took, and no more.
        None if roles.is_empty() => Permissions::from([Permission::UserWrite]),
        None => Permissions::from([Permission::UserWrite, Permission::AccessWrite]),
    };
    let actor = Actor::Key { id: row.id, name: "the maker of the invitation".into(), permissions };
    let maker = &Cx::new(cx.app.clone(), actor, cx.organization(), cx.request_id);
    check_may_give(maker, &roles, &groups)?;
    check_roles(maker, tx, &roles).await?;
    for group in groups {
        giving::check_group(maker, tx, group).await?;
    }
    Ok(())
}

async fn accept_in_write(cx: &Cx, id: Uuid, account: Uuid) -> Result<Invitation> {
    let types = resource_types(cx).await?;
    let ty = &types.group;
    cx.write(move |tx| Box::pin(accept_within(cx, tx, ty, id, account))).await
}

async fn accept_within(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    id: Uuid,
    account: Uuid,
) -> Result<Change<Invitation>> {
    // The account's lock comes before those of groups and roles.
    let live = tx.find::<user::Entity>().filter(user::Column::Id.eq(account));
    let live = live.filter(user::Column::DeletedAt.is_null());
    let person = crate::domain::lock_row(tx, live).await?;
    let person = person.ok_or_else(|| Error::not_found(Noun::User))?;
    let mut row = lock_invitation(tx, id).await?;
    let now = tx.now_after(Some(last_change(&row)));
    if !InvitationState::of(&row, now).is_acceptable() {
        return Err(ended_error());
    }
    if !person.active {
        let why = "the account is suspended".into();
        return Err(Error::Held { reason: RefusalReason::Inactive, why });
    }
    if cx.actor == Actor::System {
        check_maker(cx, tx, &row).await?;
    }
    let mut given = GivenAccess::default();
    join_groups(cx, tx, ty, &row, account, &mut given).await?;
    grant_roles(cx, tx, &row, account, now, &mut given).await?;
    let GivenAccess { done, missing } = given;
    row.accepted_at = Some(now);
    row.user_id = Some(account);
    close_row(&mut row, now);
    save_invitation(tx, &row).await?;
    let at = done.iter().map(|entry| entry.at).max().map_or(now, |at| at.max(now));
    let edits: Vec<Value> = done
        .into_iter()
        .map(|entry| {
            let subject = json!({ "kind": entry.subject.kind, "id": entry.subject.id });
            let after = entry.after.as_ref().map(without_names);
            json!({ "action": entry.kind, "subject": subject, "after": after })
        })
        .collect();
    let after = json!({ "userId": account, "edits": edits, "missing": missing });
    let entry = invitation_event(EventKind::InvitationAccepted, &row, at, None, Some(after));
    Ok(Change::recorded(row, entry))
}

/// What an acceptance gave, and what it could not give any more.
#[derive(Default)]
struct GivenAccess {
    done: Vec<NewEvent>,
    /// Ids of groups and roles.
    missing: Vec<Uuid>,
}

/// Adds the account to the groups of an invitation that people manage.
async fn join_groups(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    row: &Invitation,
    account: Uuid,
    given: &mut GivenAccess,
) -> Result<()> {
    let groups = group_ids(row);
    let found = live_groups(tx, &groups).await?;
    let by_hand = |id: &Uuid| found.iter().any(|(known, _, owner)| known == id && owner.is_none());
    for group in &groups {
        if !by_hand(group) {
            given.missing.push(*group);
            continue;
        }
        let add = vec![MemberChange::Add(vec![account.to_string()])];
        let edit = |_: &Group| -> Result<GroupEdit> {
            Ok(GroupEdit { members: add.clone(), ..Default::default() })
        };
        given.done.extend(change_group_in(cx, tx, ty, *group, &edit).await?.entry);
    }
    Ok(())
}

/// Grants the account the roles of an invitation that it does not hold by a grant.
async fn grant_roles(
    cx: &Cx,
    tx: &Tx<'_>,
    row: &Invitation,
    account: Uuid,
    now: DateTime<Utc>,
    given: &mut GivenAccess,
) -> Result<()> {
    let roles = role_ids(row);
    let found = live_roles(tx, &roles).await?;
    let held = tx.find::<role_grant::Entity>().filter(role_grant::Column::UserId.eq(account));
    let held = held.filter(role_grant::Column::Until.is_null());
    let held = held.select_only().column(role_grant::Column::RoleId);
    let held: Vec<Uuid> = held.into_tuple().all(&tx.db).await?;
    let is_over = row.access_expires_at.is_some_and(|at| at <= now);
    for role in roles {
        if !found.contains(&role) || is_over {
            given.missing.push(role);
        } else if !held.contains(&role) {
            let (reason, expires_at) = (row.reason.clone(), row.access_expires_at);
            let grant = NewGrant { user: account, role, reason, expires_at };
            given.done.extend(create_in(cx, tx, &grant).await?.entry);
        }
    }
    Ok(())
}

/// Ids and instants of what was done: nothing that an erasure of the person would have to reach.
fn without_names(values: &Value) -> Value {
    let known = ["members", "userId", "roleId", "expiresAt"];
    let kept =
        known.iter().filter_map(|name| Some(((*name).to_owned(), values.get(name)?.clone())));
    Value::Object(kept.collect())
}

/// What the page of a link shows.
#[derive(Debug)]
pub struct RedeemedInvitation {
    pub organization_id: Uuid,
    /// The name of the organization.
    pub organization: String,
    pub expires_at: DateTime<Utc>,
}

/// Why the secret of a link is refused.
#[derive(Debug)]
pub enum InvitationRefused {
    /// No invitation has this secret.
    Unknown,
    /// It is one of this organization, and was used, accepted or revoked, or has expired.
    Ended(Uuid),
    /// The server could not do it, or the state of the organization does not allow it.
    Failed(Error),
}

impl InvitationRefused {
    /// What counts as a failed sign-in: its organization, if it is known, and the reason.
    pub fn failed_sign_in(&self) -> Option<(Option<Uuid>, RefusalReason)> {
        match self {
            Self::Unknown => Some((None, RefusalReason::CredentialUnknown)),
            Self::Ended(organization) => Some((Some(*organization), RefusalReason::CredentialDead)),
            Self::Failed(_) => None,
        }
    }
}

/// Redeems the link of an invitation, once: of requests that race, one succeeds. The invitation
/// then waits for a sign-in with the address. Whose account has the address is not asked: an
/// identity provider, or a sign-in that was not verified, may have written it there.
///
/// # Errors
/// [`InvitationRefused`] unless the link can be redeemed now.
pub async fn redeem_link(
    app: &Arc<App>,
    secret: &str,
    request_id: Uuid,
) -> Result<RedeemedInvitation, InvitationRefused> {
    let failed = InvitationRefused::Failed;
    let found = find_link(app, secret).await.map_err(failed)?;
    let found = found.ok_or(InvitationRefused::Unknown)?;
    if found.suspended_at.is_some() {
        return Err(failed(suspended_error()));
    }
    let organization_id = found.organization_id;
    let cx = Cx::new(app.clone(), Actor::System, organization_id, request_id);
    let cx = &as_system(&cx, "the link of the invitation was used");
    let (id, hash) = (found.id, &vault::hash_secret(secret));
    let redeemed = cx.write(move |tx| Box::pin(redeem_within(tx, id, hash))).await;
    let row = redeemed.map_err(|error| match error {
        Error::Held { reason: RefusalReason::Ended, .. } | Error::NotFound(_) => {
            InvitationRefused::Ended(organization_id)
        }
        error => failed(error),
    })?;
    let organization = organization::current_organization(cx).await.map_err(failed)?.name;
    let expires_at = row.expires_at;
    Ok(RedeemedInvitation { organization_id, organization, expires_at })
}

/// The invitation that a secret belongs to.
#[derive(Debug, FromQueryResult)]
struct FoundInvitation {
    organization_id: Uuid,
    id: Uuid,
    suspended_at: Option<DateTime<Utc>>,
}

/// The secret decides the organization.
const SELECT_LINK: &str = "SELECT i.organization_id, i.id, o.suspended_at FROM invitation i \
                           JOIN organization o ON o.id = i.organization_id WHERE i.hash = $1";

async fn find_link(app: &App, secret: &str) -> Result<Option<FoundInvitation>> {
    let found = app.store.query_coalesced(SELECT_LINK, vault::hash_secret(secret)).await?;
    let found = found.first().map(|row| FoundInvitation::from_query_result(row, ""));
    Ok(found.transpose()?)
}

async fn redeem_within(tx: &Tx<'_>, id: Uuid, hash: &[u8]) -> Result<Change<Invitation>> {
    let mut row = lock_invitation(tx, id).await?;
    let now = tx.now_after(Some(last_change(&row)));
    // A new link may have been made meanwhile.
    if InvitationState::of(&row, now) != InvitationState::Open || row.hash != hash {
        return Err(ended_error());
    }
    row.redeemed_at = Some(now);
    row.mail_due_at = None;
    row.sealed_secret = None;
    save_invitation(tx, &row).await?;
    let entry = invitation_event(EventKind::InvitationRedeemed, &row, now, None, None);
    Ok(Change::recorded(row, entry))
}
