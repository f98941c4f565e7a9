//! What a sign-in says about a person: who it is, and which groups the identity provider lists.
//!
//! A verifier of a protocol (OIDC, SAML) makes a [`VerifiedAssertion`]; this module decides what
//! it changes. [`person`] finds whose account it is and makes one where the connection says so,
//! [`claimed_groups`] finds the groups, [`memberships`] lets the person join and leave them,
//! [`evidence`] compares in SCIM mode, [`expiry`] ends what is too old, and [`mode`] is about the
//! change from one source of truth to another. [`replay`] lets an assertion count once, and
//! [`takeover`] gives an account that a sign-in made to SCIM. [`directory_lookup`] plans questions
//! to a directory for groups that a sign-in left out, and [`code`] brings the result of a sign-in
//! here to an application. [`provider_session`] ends sessions here that ended at the identity
//! provider. What must never enter: signatures, tokens and XML.

mod assertion;
mod claimed_groups;
pub mod code;
pub mod directory_lookup;
pub(in crate::domain) mod erased_name;
mod evidence;
pub mod expiry;
mod explanation;
mod memberships;
pub mod mode;
mod person;
pub mod provider_session;
pub mod replay;
mod source;
pub(in crate::domain) mod takeover;

use chrono::{DateTime, TimeDelta, Utc};
use entity::sign_in;
use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use crate::context::Cx;
use crate::domain::access;
use crate::domain::access::{invitation, role};
use crate::domain::directory::user::User;
use crate::error::{Error, Noun, RefusalReason, Result};
use memberships::{ClaimedGroups, ListChange};
use person::PersonLookup;
use source::SignInSource;

pub use assertion::{ClaimedGroup, GroupClaims, ProviderTenant, VerifiedAssertion};
pub use evidence::close_agreed_findings;
pub use explanation::{ClaimedMembership, claim_behind};
pub use source::{AssertionSource, SignInRefusal};

/// How far an assertion may be ahead of the clock here.
pub const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(120);
/// How often a sign-in begins again whose person or groups change meanwhile.
const MAX_ATTEMPTS: usize = 5;

/// What a sign-in led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInOutcome {
    /// The account; none where the person has none.
    pub user: Option<Uuid>,
    /// Why there is no account, or why the claims changed nothing; none if all is well.
    pub refusal: Option<SignInRefusal>,
    /// Whether the account may be used.
    pub active: bool,
    /// The roles that the account holds now, by name.
    pub roles: Vec<HeldRole>,
    /// Whether the groups of the person are known completely: false where the identity provider
    /// left some out and the directory was not asked yet.
    pub groups_complete: bool,
    /// Claimed groups that are not known here and cannot be made, by their keys.
    pub unknown_groups: Vec<String>,
    /// Whether this sign-in made the account.
    pub created: bool,
    /// Whether this sign-in changed memberships.
    pub changed: bool,
}

/// A role that an account holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldRole {
    pub name: String,
    pub id: Uuid,
}

/// Does what a verified assertion of `connection` says: finds or makes the account, and lets it
/// join and leave groups. The caller has verified the assertion, and the permission of the
/// application that handed it over.
///
/// # Errors
/// [`Error::NotFound`] for a connection that accepts no assertions, [`Error::Held`] for an
/// assertion that was issued in the future, [`Error::Invalid`] for claims that cannot be stored.
pub async fn accept_assertion(
    cx: &Cx,
    connection: Uuid,
    assertion: VerifiedAssertion,
) -> Result<SignInOutcome> {
    let from = SignInSource::read_settings(cx, connection).await?;
    check_assertion(cx, &assertion)?;
    let mut created = false;
    for _ in 0..MAX_ATTEMPTS {
        let found = match person::find_person(&from, &assertion).await? {
            PersonLookup::Unknown if from.refusal().is_none() && from.makes_accounts() => {
                person::create_account(&from, &assertion).await?
            }
            found => found,
        };
        let (user, linked) = match found {
            PersonLookup::Known { user, linked } => (user, linked),
            PersonLookup::Created(user) => {
                created = true;
                (user, true)
            }
            // Another request made the account meanwhile.
            PersonLookup::Raced => continue,
            PersonLookup::Refused(refusal) => return Ok(outcome_without_account(refusal)),
            PersonLookup::Unknown => {
                let refusal = from.refusal().unwrap_or_else(|| {
                    SignInRefusal::new(
                        RefusalReason::AccountUnknown,
                        "there is no account of this user name here, and sign-ins of this \
                         connection make none; provision the person first",
                    )
                });
                return Ok(outcome_without_account(refusal));
            }
        };
        if let Some(refusal) = from.refusal().or_else(|| refuse_suspended(&user)) {
            return describe_outcome(&from, user.id, Some(refusal), created).await;
        }
        let user = person::update_account(&from, user, &assertion).await?;
        let claims = ClaimedGroups::of_assertion(&from, &assertion, linked)?;
        let change = if from.is_source_of_truth() {
            memberships::apply_list(&from, user.id, &claims).await?
        } else {
            evidence::note_evidence(&from, &user, &claims).await?
        };
        match change {
            ListChange::Restart => {}
            ListChange::Done { changed, unknown } => {
                if let Some(email) = assertion.email.as_ref().filter(|_| assertion.email_verified) {
                    invitation::accept_invitations(&from.cx, user.id, email).await?;
                }
                let outcome = describe_outcome(&from, user.id, None, created).await?;
                return Ok(SignInOutcome { changed, unknown_groups: unknown, ..outcome });
            }
            ListChange::Refused(refusal) => {
                return describe_outcome(&from, user.id, Some(refusal), created).await;
            }
        }
    }
    Err(Error::Busy("the account or its groups change all the time".into()))
}

/// Replaces what is known of a person's groups by the complete list of the identity provider's
/// directory, which was read at `read_at`: the answer to a sign-in that left groups out.
///
/// # Errors
/// [`Error::NotFound`] for a connection that accepts no assertions, and for a person who never
/// signed in through it; [`Error::Invalid`] for groups that cannot be stored.
pub async fn replace_claimed_groups(
    cx: &Cx,
    connection: Uuid,
    subject: &str,
    groups: Vec<ClaimedGroup>,
    read_at: DateTime<Utc>,
) -> Result<SignInOutcome> {
    let from = SignInSource::read_settings(cx, connection).await?;
    for _ in 0..MAX_ATTEMPTS {
        let key = from.subject_key(subject)?;
        let row = person::find_latest(&from, &key).await?;
        let row = row.ok_or_else(|| Error::not_found(Noun::User))?;
        let user = person::find_live_account(&from, row.user_id).await?;
        let user = user.ok_or_else(|| Error::not_found(Noun::User))?;
        if let Some(refusal) = from.refusal().or_else(|| refuse_suspended(&user)) {
            return describe_outcome(&from, user.id, Some(refusal), false).await;
        }
        let claims = ClaimedGroups::of_directory(&from, &row, groups.clone(), read_at)?;
        let change = if from.is_source_of_truth() {
            memberships::apply_list(&from, user.id, &claims).await?
        } else {
            evidence::note_evidence(&from, &user, &claims).await?
        };
        match change {
            ListChange::Restart => {}
            ListChange::Done { changed, unknown } => {
                let outcome = describe_outcome(&from, user.id, None, false).await?;
                return Ok(SignInOutcome { changed, unknown_groups: unknown, ..outcome });
            }
            ListChange::Refused(refusal) => {
                return describe_outcome(&from, user.id, Some(refusal), false).await;
            }
        }
    }
    Err(Error::Busy("the account or its groups change all the time".into()))
}

/// Refuses an assertion of the future, and one whose names cannot be stored.
fn check_assertion(cx: &Cx, assertion: &VerifiedAssertion) -> Result<()> {
    if assertion.issued_at > cx.app.clock.now() + MAX_CLOCK_SKEW {
        let why = "the assertion was issued later than now, by the clock of this server: compare \
                   the clocks of the two servers";
        return Err(Error::Held { reason: RefusalReason::IssuedInFuture, why: why.into() });
    }
    if assertion.authenticated_at.is_some_and(|at| at > cx.app.clock.now() + MAX_CLOCK_SKEW) {
        let why = "the person was authenticated later than now, by the clock of this server: \
                   compare the clocks of the two servers";
        return Err(Error::Held { reason: RefusalReason::IssuedInFuture, why: why.into() });
    }
    crate::domain::check_text("subject", &assertion.subject, 1_000)?;
    crate::domain::check_text("userName", &assertion.user_name, 256)?;
    Ok(())
}

fn refuse_suspended(user: &User) -> Option<SignInRefusal> {
    (!user.active).then(|| {
        SignInRefusal::new(
            RefusalReason::AccountSuspended,
            "the account is suspended, and a sign-in does not change that; reactivate it first",
        )
    })
}

fn outcome_without_account(refusal: SignInRefusal) -> SignInOutcome {
    SignInOutcome {
        user: None,
        refusal: Some(refusal),
        active: false,
        roles: Vec::new(),
        groups_complete: false,
        unknown_groups: Vec::new(),
        created: false,
        changed: false,
    }
}

/// The account as it is now.
async fn describe_outcome(
    from: &SignInSource,
    user: Uuid,
    refusal: Option<SignInRefusal>,
    created: bool,
) -> Result<SignInOutcome> {
    let reader = Cx::system(from.cx.app.clone(), from.cx.organization());
    let account = person::find_live_account(from, user).await?;
    let active = account.is_some_and(|account| account.active);
    let held = access::of_users(&reader, &[user], access::AsOf::Now).await?;
    let mut ids: Vec<Uuid> = held.into_values().flatten().map(|held| held.role_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut roles: Vec<HeldRole> = role::by_ids(&reader, &ids)
        .await?
        .into_iter()
        .map(|role| HeldRole { name: role.name, id: role.id })
        .collect();
    roles.sort_unstable();
    let latest = reader.find::<sign_in::Entity>();
    let latest = latest.filter(sign_in::Column::ConnectionId.eq(from.connection.id));
    let latest = latest.filter(sign_in::Column::UserId.eq(user)).one(reader.db()).await?;
    let groups_complete = latest.is_none_or(|row| row.complete || row.listed_at.is_none());
    Ok(SignInOutcome {
        user: Some(user),
        refusal,
        active,
        roles,
        groups_complete,
        unknown_groups: Vec::new(),
        created,
        changed: false,
    })
}
