//! Invitations: a person gets roles or memberships as soon as it is known which account is theirs.
//!
//! An invitation names an address. It is accepted at a sign-in whose identity provider has verified
//! that address, or by an administrator for the person. The link that was mailed shows that the
//! mail arrived, and not which account is the person's: addresses of accounts are what others
//! wrote. It gives direct grants, with an end, and memberships of groups that were made by hand.
//! Its maker needs what giving that directly needs, and this is judged again at the acceptance,
//! because a group may be mapped to a role meanwhile. What must never enter: an address in an
//! event, because addresses are personal data and events are kept.

mod acceptance;
mod mail;

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{group, invitation, role};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::giving;
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx, clock};
use crate::crypto::vault;
use crate::domain::mail_text::check_address;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::tenant::organization;
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, Rule, mistakes};
use crate::identity::document::fold_text;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use acceptance::{
    InvitationRefused, RedeemedInvitation, accept_for_account, accept_invitations, redeem_link,
};
pub use invitation::Model as Invitation;
pub use mail::{DueInvitation, claim_due_invitations};

/// The beginning of the secret of a link, by which scanners find one that leaked.
const SECRET_PREFIX: &str = "rci_";
/// How long an invitation can be accepted, unless its maker says otherwise.
const DEFAULT_LIFETIME: Duration = Duration::days(7);
/// The longest time that an invitation can be accepted.
const MAX_LIFETIME: Duration = Duration::days(30);
/// Invitations of one organization that can be accepted at once.
const MAX_OPEN: u64 = 1_000;
/// Invitations to one address that can be accepted at once: each sends a mail to a stranger.
const MAX_OPEN_OF_ADDRESS: u64 = 5;
/// Roles, and groups, that one invitation gives.
const MAX_GIVEN: usize = 20;
/// Ids of a list, the same one more than once included, that are looked up.
const MAX_LISTED: usize = 100;
/// How often one invitation is sent.
const MAX_SENT: i32 = 10;
/// Invitations that are closed at their end in one sweep.
const BATCH_SIZE: u64 = 500;
/// How long an invitation that was not accepted is kept after its end.
const RETENTION: Duration = Duration::days(90);
/// An invitation that ends sooner than this is a matter for administrators.
const END_WARNING: Duration = Duration::days(2);

/// Whether an invitation can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationState {
    /// It waits for the person.
    Open,
    /// The person used the link: it waits for a sign-in.
    Redeemed,
    Accepted,
    Expired,
    Revoked,
}

impl InvitationState {
    /// The state of an invitation at `now`.
    pub fn of(row: &Invitation, now: DateTime<Utc>) -> Self {
        if row.accepted_at.is_some() {
            Self::Accepted
        } else if row.revoked_at.is_some() {
            Self::Revoked
        } else if row.closed_at.is_some() || row.expires_at <= now {
            Self::Expired
        } else if row.redeemed_at.is_some() {
            Self::Redeemed
        } else {
            Self::Open
        }
    }

    fn is_acceptable(self) -> bool {
        matches!(self, Self::Open | Self::Redeemed)
    }

    /// The rows in this state at `now`.
    fn condition(self, now: DateTime<Utc>) -> Condition {
        use invitation::Column as C;
        let open = Condition::all().add(C::ClosedAt.is_null()).add(C::ExpiresAt.gt(now));
        match self {
            Self::Open => open.add(C::RedeemedAt.is_null()),
            Self::Redeemed => open.add(C::RedeemedAt.is_not_null()),
            Self::Accepted => Condition::all().add(C::AcceptedAt.is_not_null()),
            Self::Revoked => Condition::all().add(C::RevokedAt.is_not_null()),
            Self::Expired => Condition::all()
                .add(C::AcceptedAt.is_null())
                .add(C::RevokedAt.is_null())
                .add(C::ExpiresAt.lte(now)),
        }
    }
}

/// An invitation to make.
#[derive(Debug, Clone, Default)]
pub struct NewInvitation {
    pub email: String,
    pub roles: Vec<Uuid>,
    pub groups: Vec<Uuid>,
    /// Until when it can be accepted; none = the usual time.
    pub expires_at: Option<DateTime<Utc>>,
    /// The planned end of the grants; none = none.
    pub access_expires_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
}

/// An invitation and the secret of its link, which is never available again.
#[derive(Debug)]
pub struct IssuedInvitation {
    pub invitation: Invitation,
    secret: String,
}

impl IssuedInvitation {
    /// The address of the page for the person.
    pub fn url(&self, app: &App) -> String {
        link_url(app, &self.secret)
    }
}

/// The secret is in the fragment, which browsers do not send.
fn link_url(app: &App, secret: &str) -> String {
    format!("{}/invitation#link={secret}", app.config.public_url)
}

/// Invites a person.
///
/// # Errors
/// [`Error::Invalid`] for an address, an end or a list that cannot be, [`Error::NotFound`] for a
/// role or a group that does not exist, [`Error::Forbidden`] for an inviter who may not give it,
/// [`Error::Held`] where too many can be accepted.
pub async fn create_invitation(cx: &Cx, new: NewInvitation) -> Result<IssuedInvitation> {
    check_may_give(cx, &new.roles, &new.groups)?;
    let secret = vault::new_secret(SECRET_PREFIX)?;
    let id = Uuid::now_v7();
    // A mistake here is told by the write, together with those in what is to be given.
    let texts = check_texts(cx, &new).unwrap_or_default();
    let draft = Invitation {
        organization_id: cx.organization(),
        id,
        email_key: Some(fold_text(&texts.email)),
        email: Some(texts.email),
        role_ids: json!(distinct_ids(&new.roles)),
        group_ids: json!(distinct_ids(&new.groups)),
        access_expires_at: texts.access_end,
        reason: texts.reason,
        hash: vault::hash_secret(&secret),
        sealed_secret: Some(seal_secret(cx, id, &secret).await?),
        created_at: cx.requested_at,
        expires_at: texts.end,
        sent_count: 1,
        redeemed_at: None,
        accepted_at: None,
        user_id: None,
        revoked_at: None,
        closed_at: None,
        mail_due_at: None,
        mail_attempts: 0,
        mail_error: None,
        mailed_at: None,
        maker_permissions: Some(permission_names(cx)),
        held_at: None,
    };
    let (new, draft) = (&new, &draft);
    let invitation = cx
        .write(move |tx| {
            Box::pin(async move {
                mistakes::both(
                    check_texts(cx, new),
                    check_given(cx, tx, &new.roles, &new.groups).await,
                )?;
                let now = tx.now_after(None);
                check_limits(tx, draft.email_key.as_deref(), now).await?;
                let row = Invitation {
                    created_at: now,
                    mail_due_at: mail_time(cx, now),
                    ..draft.clone()
                };
                invitation::Entity::insert(invitation::ActiveModel::from(row.clone()))
                    .exec_without_returning(&tx.db)
                    .await?;
                let after = Some(describe_invitation(&row));
                let entry = invitation_event(EventKind::InvitationCreated, &row, now, None, after);
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.mails.notify_one();
    Ok(IssuedInvitation { invitation, secret })
}

/// What the actor holds, by name.
fn permission_names(cx: &Cx) -> Value {
    cx.actor.permissions().map(|permission| permission.name()).collect()
}

/// When its mail is due: never where no mail can be sent.
fn mail_time(cx: &Cx, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    cx.app.config.smtp.is_some().then_some(now)
}

async fn seal_secret(cx: &Cx, id: Uuid, secret: &str) -> Result<Vec<u8>> {
    let key = organization::current_organization(cx).await?.data_key;
    cx.app.vault.seal(cx.organization(), &key, id, secret.as_bytes())
}

/// To give a role takes what a direct grant takes, and a membership what changing a group takes.
fn check_may_give(cx: &Cx, roles: &[Uuid], groups: &[Uuid]) -> Result<()> {
    cx.allow(Action::WriteUser, None)?;
    if !roles.is_empty() {
        cx.allow(Action::WriteAccess, None)?;
    }
    if !groups.is_empty() {
        cx.allow(Action::WriteGroup, None)?;
    }
    Ok(())
}

fn check_end(cx: &Cx, expires_at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>> {
    match expires_at {
        None => Ok(cx.requested_at + DEFAULT_LIFETIME),
        Some(at) if at <= cx.requested_at => {
            Err(Error::invalid("expiresAt", "must be in the future"))
        }
        Some(at) if at > cx.requested_at + MAX_LIFETIME => {
            let why = format!("must be within {} days", MAX_LIFETIME.num_days());
            Err(Error::invalid("expiresAt", why))
        }
        Some(at) => Ok(clock::to_stored_precision(at)),
    }
}

fn check_access_end(cx: &Cx, at: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>> {
    match at {
        Some(at) if at <= cx.requested_at => {
            Err(Error::invalid("accessExpiresAt", "must be in the future"))
        }
        at => Ok(at.map(clock::to_stored_precision)),
    }
}

/// What an invitation says beside what it gives.
#[derive(Debug, Default)]
struct InvitationTexts {
    email: String,
    end: DateTime<Utc>,
    access_end: Option<DateTime<Utc>>,
    reason: Option<String>,
}

fn check_texts(cx: &Cx, new: &NewInvitation) -> Result<InvitationTexts> {
    let mut mistakes = Mistakes::default();
    let email = mistakes.collect(check_address(&new.email));
    let end = mistakes.collect(check_end(cx, new.expires_at));
    let access_end = mistakes.collect(check_access_end(cx, new.access_expires_at)).flatten();
    let reason = crate::domain::check_change_reason(new.reason.as_deref());
    let reason = mistakes.collect(reason).flatten();
    if let (Some(end), Some(access_end)) = (end, access_end)
        && access_end <= end
    {
        let why = "must be after the end of the invitation";
        mistakes.add(Error::invalid("accessExpiresAt", why));
    }
    for (field, ids) in [("roles", &new.roles), ("groups", &new.groups)] {
        if ids.len() > MAX_LISTED || distinct_ids(ids).len() > MAX_GIVEN {
            let why = format!("must be at most {MAX_GIVEN}");
            mistakes.add(Error::broken(Rule::TooMany, field, why));
        }
    }
    if new.roles.is_empty() && new.groups.is_empty() {
        let why = "an invitation gives a role or a group";
        mistakes.add(Error::broken(Rule::Required, "roles", why));
    }
    mistakes.refuse_any()?;
    let (email, end) = (email.unwrap_or_default(), end.unwrap_or_default());
    Ok(InvitationTexts { email, end, access_end, reason })
}

fn distinct_ids(ids: &[Uuid]) -> Vec<Uuid> {
    let mut distinct = ids.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// Refuses roles and groups that are not there, groups of a connection, and groups whose members
/// hold roles, unless the actor may give roles. Lists that are too long are not read.
async fn check_given(cx: &Cx, tx: &Tx<'_>, roles: &[Uuid], groups: &[Uuid]) -> Result<()> {
    if [roles, groups].iter().any(|ids| ids.len() > MAX_LISTED) {
        return Ok(());
    }
    let mut mistakes = Mistakes::default();
    let live = check_roles(cx, tx, roles).await?;
    mistakes.collect(mistakes::each("roles", roles, |id| {
        live.contains(id).then_some(()).ok_or_else(|| Error::not_found(Noun::Role))
    }));
    let live = live_groups(tx, groups).await?;
    mistakes.collect(mistakes::each("groups", groups, |id| {
        let found = live.iter().find(|(group, ..)| group == id);
        match found.ok_or_else(|| Error::not_found(Noun::Group))? {
            (_, _, None) => Ok(()),
            (_, name, Some(_)) => {
                let why = format!(
                    "{name:?} belongs to a connection, whose identity provider decides who is in it"
                );
                Err(Error::invalid("groups", why))
            }
        }
    }));
    for (group, ..) in live {
        mistakes.collect(giving::check_group(cx, tx, group).await);
    }
    mistakes.refuse_any()
}

/// Refuses live roles that the actor may not give. Returns which are live.
async fn check_roles(cx: &Cx, tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let live = tx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null());
    let live = live.filter(role::Column::Id.is_in(ids.iter().copied())).all(&tx.db).await?;
    live.iter().try_for_each(|role| giving::check_role(cx, role))?;
    Ok(live.into_iter().map(|role| role.id).collect())
}

async fn live_roles(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let live = tx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null());
    let live = live.filter(role::Column::Id.is_in(ids.iter().copied()));
    let live = live.order_by_asc(role::Column::Id).select_only().column(role::Column::Id);
    Ok(live.into_tuple().all(&tx.db).await?)
}

/// The live groups among `ids`: id, name and owner of each.
async fn live_groups(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<(Uuid, String, Option<Uuid>)>> {
    let live = tx.find::<group::Entity>().filter(group::Column::DeletedAt.is_null());
    let live = live.filter(group::Column::Id.is_in(ids.iter().copied()));
    let live = live.order_by_asc(group::Column::Id).select_only();
    let live =
        live.columns([group::Column::Id, group::Column::DisplayName, group::Column::ConnectionId]);
    Ok(live.into_tuple().all(&tx.db).await?)
}

async fn check_limits(tx: &Tx<'_>, email_key: Option<&str>, now: DateTime<Utc>) -> Result<()> {
    let open = || {
        tx.find::<invitation::Entity>()
            .filter(invitation::Column::ClosedAt.is_null())
            .filter(invitation::Column::ExpiresAt.gt(now))
    };
    let to_address = open().filter(invitation::Column::EmailKey.eq(email_key));
    let why = if to_address.count(&tx.db).await? >= MAX_OPEN_OF_ADDRESS {
        format!("this address has {MAX_OPEN_OF_ADDRESS} open invitations")
    } else if open().count(&tx.db).await? >= MAX_OPEN {
        format!("this organization has {MAX_OPEN} open invitations")
    } else {
        return Ok(());
    };
    let why = format!("{why}, which is the most; revoke one first");
    Err(Error::Held { reason: RefusalReason::LimitReached, why: why.into() })
}

/// Sends an invitation again, with a new link: the one before ends. What it gives stays.
///
/// # Errors
/// [`Error::NotFound`] for one that does not exist, [`Error::Held`] for one that was accepted or
/// revoked, or that was sent too often.
pub async fn resend_invitation(
    cx: &Cx,
    id: Uuid,
    expires_at: Option<DateTime<Utc>>,
) -> Result<IssuedInvitation> {
    cx.allow(Action::WriteUser, None)?;
    let end = check_end(cx, expires_at)?;
    let secret = vault::new_secret(SECRET_PREFIX)?;
    let sealed = &seal_secret(cx, id, &secret).await?;
    let hash = &vault::hash_secret(&secret);
    let invitation = cx
        .write(move |tx| {
            Box::pin(async move {
                let before = lock_invitation(tx, id).await?;
                let (roles, groups) = (role_ids(&before), group_ids(&before));
                check_may_give(cx, &roles, &groups)?;
                check_roles(cx, tx, &roles).await?;
                for group in groups {
                    giving::check_group(cx, tx, group).await?;
                }
                let now = tx.now_after(Some(last_change(&before)));
                if before.accepted_at.is_some() || before.revoked_at.is_some() {
                    return Err(ended_error());
                }
                if before.sent_count >= MAX_SENT {
                    let why = format!("it was sent {MAX_SENT} times; make another one");
                    let reason = RefusalReason::LimitReached;
                    return Err(Error::Held { reason, why: why.into() });
                }
                if !InvitationState::of(&before, now).is_acceptable() {
                    check_limits(tx, before.email_key.as_deref(), now).await?;
                }
                let after = Invitation {
                    hash: hash.clone(),
                    sealed_secret: Some(sealed.clone()),
                    expires_at: end,
                    sent_count: before.sent_count + 1,
                    redeemed_at: None,
                    closed_at: None,
                    mail_due_at: mail_time(cx, now),
                    mail_attempts: 0,
                    mail_error: None,
                    maker_permissions: Some(permission_names(cx)),
                    held_at: None,
                    ..before.clone()
                };
                save_invitation(tx, &after).await?;
                let values = json!({ "expiresAt": end, "sentCount": after.sent_count });
                let kind = EventKind::InvitationResent;
                let entry = invitation_event(kind, &after, now, None, Some(values));
                Ok(Change::recorded(after, entry))
            })
        })
        .await?;
    cx.app.mails.notify_one();
    Ok(IssuedInvitation { invitation, secret })
}

fn ended_error() -> Error {
    let why = "the invitation was accepted or revoked, or has expired".into();
    Error::Held { reason: RefusalReason::Ended, why }
}

/// Revokes an invitation: it cannot be accepted any more.
///
/// # Errors
/// [`Error::NotFound`] for one that does not exist, [`Error::Held`] for one that was accepted.
pub async fn revoke_invitation(cx: &Cx, id: Uuid) -> Result<Invitation> {
    cx.allow(Action::WriteUser, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut row = lock_invitation(tx, id).await?;
            if row.accepted_at.is_some() {
                return Err(ended_error());
            }
            if row.revoked_at.is_some() {
                return Ok(Change::unchanged(row));
            }
            let now = tx.now_after(Some(last_change(&row)));
            row.revoked_at = Some(now);
            close_row(&mut row, now);
            save_invitation(tx, &row).await?;
            let entry = invitation_event(EventKind::InvitationRevoked, &row, now, None, None);
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Nothing of it is left to do.
fn close_row(row: &mut Invitation, now: DateTime<Utc>) {
    row.closed_at = Some(now);
    row.mail_due_at = None;
    row.sealed_secret = None;
}

/// Closes the invitations whose time is over, in every organization; returns how many.
///
/// # Errors
/// The database's own.
pub async fn close_expired(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct DueRow {
        organization_id: Uuid,
        id: Uuid,
    }
    let text = format!(
        "SELECT organization_id, id FROM invitation WHERE closed_at IS NULL AND expires_at <= $1 \
         ORDER BY expires_at LIMIT {BATCH_SIZE}"
    );
    let reason = "which invitations have expired";
    let statement = app.statement_for_all_organizations(text, [app.clock.now().into()], reason);
    let mut closed = 0;
    for due in DueRow::find_by_statement(statement).all(&app.store.read).await? {
        let cx = &Cx::system(app.clone(), due.organization_id);
        let one = cx.write(move |tx| {
            Box::pin(async move {
                let mut row = lock_invitation(tx, due.id).await?;
                let now = tx.now_after(Some(last_change(&row)));
                if row.closed_at.is_some() || row.expires_at > now {
                    return Ok(Change::unchanged(false));
                }
                close_row(&mut row, now);
                save_invitation(tx, &row).await?;
                let entry = invitation_event(EventKind::InvitationExpired, &row, now, None, None);
                Ok(Change::recorded(true, entry))
            })
        });
        closed += u64::from(one.await?);
    }
    Ok(closed)
}

/// Deletes the invitations that were not accepted and ended long ago, with the addresses of people
/// who never came.
///
/// # Errors
/// The database's own.
pub async fn forget_ended(app: &App) -> Result<()> {
    let text = "DELETE FROM invitation WHERE accepted_at IS NULL AND closed_at <= $1";
    let reason = "invitations that ended long ago are deleted";
    let values = [(app.clock.now() - RETENTION).into()];
    let statement = app.statement_for_all_organizations(text, values, reason);
    app.store.write.execute_raw(statement).await?;
    Ok(())
}

/// Deletes the invitations to addresses of these accounts that were not accepted, before the
/// accounts are erased. Events of invitations name no person.
pub(in crate::domain) async fn erase_unaccepted(tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    let among = paging::in_ids(tx.db.get_database_backend(), 2);
    let text = format!(
        "DELETE FROM invitation WHERE organization_id = $1 AND accepted_at IS NULL \
         AND email_key IN \
         (SELECT e.value_key FROM user_email e WHERE e.organization_id = $1 AND e.user_id {among} \
         UNION SELECT u.user_name_key FROM \"user\" u WHERE u.organization_id = $1 \
           AND u.id {among})"
    );
    tx.db.execute_raw(tx.statement(text, [paging::bind_ids(users)])).await?;
    Ok(())
}

/// How many invitations end soon without an acceptance, and the first end.
pub(in crate::domain) async fn count_ending(cx: &Cx) -> Result<Option<(u64, DateTime<Utc>)>> {
    let now = cx.app.clock.now();
    let ending = cx
        .find::<invitation::Entity>()
        .filter(invitation::Column::ClosedAt.is_null())
        .filter(invitation::Column::ExpiresAt.gt(now))
        .filter(invitation::Column::ExpiresAt.lte(now + END_WARNING));
    let n = ending.clone().count(cx.db()).await?;
    let first = ending.order_by_asc(invitation::Column::ExpiresAt).one(cx.db()).await?;
    Ok(first.map(|row| (n, row.expires_at)))
}

/// How many invitations wait although the person came, because they would give more than their
/// makers might, and since when.
pub(in crate::domain) async fn count_held(cx: &Cx) -> Result<Option<(u64, DateTime<Utc>)>> {
    let held = cx
        .find::<invitation::Entity>()
        .filter(invitation::Column::ClosedAt.is_null())
        .filter(invitation::Column::ExpiresAt.gt(cx.app.clock.now()))
        .filter(invitation::Column::HeldAt.is_not_null());
    let held = held.order_by_asc(invitation::Column::HeldAt);
    let held = held.select_only().column(invitation::Column::HeldAt);
    // No more than MAX_OPEN are open at once.
    let held: Vec<DateTime<Utc>> = held.into_tuple().all(cx.db()).await?;
    Ok(held.first().map(|first| (held.len() as u64, *first)))
}

/// The wanted invitations: those that match all conditions; empty or none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InvitationQuery {
    /// Those to this address, in any case.
    pub email: Option<String>,
    pub states: Vec<InvitationState>,
    /// Those that were accepted for this account.
    pub user: Option<Uuid>,
}

fn select_invitations(cx: &Cx, which: &InvitationQuery) -> Select<invitation::Entity> {
    let mut query = cx.find::<invitation::Entity>();
    if let Some(email) = &which.email {
        query = query.filter(invitation::Column::EmailKey.eq(fold_text(email.trim())));
    }
    if let Some(user) = which.user {
        query = query.filter(invitation::Column::UserId.eq(user));
    }
    if !which.states.is_empty() {
        let now = cx.app.clock.now();
        query = query.filter(paging::any_of(which.states.iter().map(|it| it.condition(now))));
    }
    query
}

/// A page of invitations, each with its place in the order `by`. Never a secret.
pub async fn list_invitations(
    cx: &Cx,
    which: &InvitationQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Invitation, OrderPlace)>> {
    cx.allow(Action::ReadUser, None)?;
    let id = invitation::Column::Id;
    paging::fetch_ordered(cx, select_invitations(cx, which), id, by, keyset).await
}

/// How many invitations there are.
pub async fn count_invitations(cx: &Cx, which: &InvitationQuery) -> Result<u64> {
    cx.allow(Action::ReadUser, None)?;
    Ok(select_invitations(cx, which).count(cx.db()).await?)
}

/// One invitation.
pub async fn find_invitation(cx: &Cx, id: Uuid) -> Result<Option<Invitation>> {
    cx.allow(Action::ReadUser, None)?;
    let query = cx.find::<invitation::Entity>().filter(invitation::Column::Id.eq(id));
    Ok(query.one(cx.db()).await?)
}

/// The roles that an invitation gives.
pub fn role_ids(row: &Invitation) -> Vec<Uuid> {
    parse_ids(&row.role_ids)
}

/// The groups that an invitation gives.
pub fn group_ids(row: &Invitation) -> Vec<Uuid> {
    parse_ids(&row.group_ids)
}

fn parse_ids(list: &Value) -> Vec<Uuid> {
    let ids = list.as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

async fn lock_invitation(tx: &Tx<'_>, id: Uuid) -> Result<Invitation> {
    let query = tx.find::<invitation::Entity>().filter(invitation::Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Invitation))
}

async fn save_invitation(tx: &Tx<'_>, row: &Invitation) -> Result<()> {
    crate::domain::save_row::<invitation::Entity, invitation::ActiveModel>(tx, row.clone()).await
}

fn last_change(row: &Invitation) -> DateTime<Utc> {
    let later = [row.redeemed_at, row.closed_at].into_iter().flatten().max();
    later.map_or(row.created_at, |later| later.max(row.created_at))
}

/// What an event says of it: neither the address nor the reason, which may speak of the person.
fn describe_invitation(row: &Invitation) -> Value {
    json!({
        "roleIds": row.role_ids, "groupIds": row.group_ids, "expiresAt": row.expires_at,
        "accessExpiresAt": row.access_expires_at,
    })
}

fn invitation_event(
    kind: EventKind,
    row: &Invitation,
    at: DateTime<Utc>,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "invitation", id: row.id },
        connection: None,
        at,
        before,
        after,
        population: 0,
        name: None,
    }
}
