//! What a sign-in says about a person: who it is, and which groups the identity provider lists.
//!
//! A verifier of a protocol (OIDC, SAML) makes a [`VerifiedAssertion`]; this module decides what
//! it changes. [`person`] finds whose account it is and makes one where the connection says so,
//! [`claimed_groups`] finds the groups, [`memberships`] lets the person join and leave them,
//! [`evidence`] compares in SCIM mode, [`expiry`] ends what is too old, and [`mode`] is about the
//! change from one source of truth to another. What must never enter: signatures, tokens and XML.

mod claimed_groups;
mod evidence;
pub mod expiry;
mod explanation;
mod memberships;
pub mod mode;
mod person;
mod takeover;

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use entity::assertion_source::AccountCreation;
use entity::organization::IntegrationMode;
use entity::{assertion_source, connection, sign_in};
use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use crate::auth::policy::{Actor, Scope};
use crate::context::Cx;
use crate::domain::access;
use crate::domain::access::role;
use crate::domain::connection::Connection;
use crate::domain::directory::user::User;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{InboundAvailability, Organization};
use crate::error::{Error, Noun, RefusalReason, Result};
use memberships::{ListChange, SaidGroups};
use person::Person;

pub use assertion_source::Model as AssertionSource;
pub use evidence::close_agreed_findings;
pub use explanation::{ClaimedMembership, claim_behind};
pub(in crate::domain) use person::remember_erased_names;
pub use sign_in::Model as LatestSignIn;
pub(in crate::domain) use takeover::{count_taken_over, is_taken_over};

/// What an identity provider says about a person, after its signature, audience and times were
/// checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// The id of the assertion (`jti`, or the `ID` of a SAML assertion), when it has one.
    pub id: Option<String>,
    /// SHA-256 of the signed text. The same token handed over again has the same one.
    pub fingerprint: [u8; 32],
    /// The person's id at the identity provider. It never changes.
    pub subject: String,
    /// The name with which the person signs in.
    pub user_name: String,
    pub email: Option<String>,
    /// Whether the identity provider says that the address belongs to the person.
    pub email_verified: bool,
    pub display_name: Option<String>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub groups: GroupClaims,
    /// `iat`, or the assertion's `IssueInstant`.
    pub issued_at: DateTime<Utc>,
    /// When the identity provider authenticated the person, as far as it says so.
    pub authenticated_at: Option<DateTime<Utc>>,
}

/// Which groups the person is said to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupClaims {
    /// The assertion says nothing about groups. Memberships stay.
    Absent,
    /// The list is complete, also when it is empty.
    Complete(Vec<ClaimedGroup>),
    /// The identity provider left groups out and says so (Entra ID's overage). Memberships stay,
    /// and the listed groups are added.
    Incomplete(Vec<ClaimedGroup>),
}

/// One group of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedGroup {
    /// The value that identifies the group, as the connection's `group_identity` says.
    pub key: String,
    /// Its name, when the assertion has one.
    pub display_name: Option<String>,
}

/// How far an assertion may be ahead of the clock here.
pub const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(120);
/// The most groups of one assertion or of one answer of a directory.
pub const MAX_CLAIMED_GROUPS: usize = 20_000;
/// How often a sign-in begins again whose person or groups change meanwhile.
const MAX_ATTEMPTS: usize = 5;

/// Why a sign-in changed nothing, or not all that it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRefusal {
    pub reason: RefusalReason,
    /// What happened and what to do about it, for people.
    pub why: Cow<'static, str>,
}

impl SignInRefusal {
    fn new(reason: RefusalReason, why: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, why: why.into() }
    }
}

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

/// A connection of the kind ASSERTION with all that decides about its sign-ins.
struct SignInSource {
    organization: Organization,
    connection: Connection,
    source: AssertionSource,
    /// Acts as the connection.
    cx: Cx,
}

impl SignInSource {
    async fn open(cx: &Cx, id: Uuid) -> Result<Self> {
        let organization = organization::current_organization(cx).await?;
        let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
        let connection = live.filter(connection::Column::Id.eq(id)).one(cx.db()).await?;
        let connection = connection.ok_or_else(|| Error::not_found(Noun::Connection))?;
        let source = cx.find::<assertion_source::Entity>();
        let source = source.filter(assertion_source::Column::ConnectionId.eq(id));
        let source = source.one(cx.db()).await?;
        let source = source.ok_or_else(|| Error::not_found(Noun::Connection))?;
        let actor = Actor::Connection {
            id,
            name: connection.name.clone(),
            scopes: Scope::ALL.into_iter().collect(),
        };
        let mut acting = Cx::new(cx.app.clone(), actor, cx.organization(), cx.request_id);
        (acting.requested_at, acting.wrote) = (cx.requested_at, cx.wrote.clone());
        Ok(Self { organization, connection, source, cx: acting })
    }

    /// Whether its claims are people's memberships, and not only evidence.
    fn is_source_of_truth(&self) -> bool {
        is_source(self.organization.integration_mode, &self.connection)
    }

    /// Why nothing is provisioned at present; each reason has its remedy.
    fn refusal(&self) -> Option<SignInRefusal> {
        let available = InboundAvailability::of_organization(&self.cx.app, &self.organization);
        if let InboundAvailability::PlatformDisabled | InboundAvailability::NotReleased = available
        {
            let (reason, why) = available.remedy()?;
            return Some(SignInRefusal::new(reason, why));
        }
        if !self.organization.scim_enabled {
            return Some(SignInRefusal::new(
                RefusalReason::OrganizationDisabled,
                "provisioning is turned off for this organization, so the sign-in changed nothing; \
                 turn it on in its settings (scimEnabled)",
            ));
        }
        if self.connection.status != connection::ConnectionStatus::Active {
            return Some(SignInRefusal::new(
                RefusalReason::ConnectionInactive,
                "the connection is not active, so the sign-in changed nothing; activate it first",
            ));
        }
        None
    }

    /// Whether a sign-in may make accounts here.
    fn makes_accounts(&self) -> bool {
        let scim = self.organization.integration_mode == IntegrationMode::Scim;
        self.source.account_creation != AccountCreation::None && (scim || self.is_source_of_truth())
    }

    /// The key of a person's row.
    fn subject_key(&self, subject: &str) -> Result<Vec<u8>> {
        let named = format!("subject {} {subject}", self.connection.id);
        self.keyed_hash(&named)
    }

    fn keyed_hash(&self, text: &str) -> Result<Vec<u8>> {
        let Organization { id, data_key, .. } = &self.organization;
        self.cx.app.vault.keyed_hash(*id, data_key, text)
    }

    /// When claims of this instant stop giving roles; none = never.
    fn claims_end(&self, issued_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let days = self.source.claims_expire_days?;
        issued_at.checked_add_signed(TimeDelta::days(days.into()))
    }
}

/// Whether the claims of this connection are people's memberships in this mode.
pub(in crate::domain) fn is_source(mode: IntegrationMode, connection: &Connection) -> bool {
    let entra = connection.provider == connection::Provider::EntraId;
    connection.kind == connection::ConnectionKind::Assertion
        && match mode {
            IntegrationMode::Scim => false,
            IntegrationMode::EntraNative => entra,
            IntegrationMode::SignIn => !entra,
        }
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
    let from = SignInSource::open(cx, connection).await?;
    check_assertion(cx, &assertion)?;
    let mut created = false;
    for _ in 0..MAX_ATTEMPTS {
        let found = match person::find_person(&from, &assertion).await? {
            Person::Unknown if from.refusal().is_none() && from.makes_accounts() => {
                person::create_account(&from, &assertion).await?
            }
            found => found,
        };
        let (user, linked) = match found {
            Person::Known { user, linked } => (user, linked),
            Person::Created(user) => {
                created = true;
                (user, true)
            }
            // Another request made the account meanwhile.
            Person::Raced => continue,
            Person::Refused(refusal) => return Ok(without_account(refusal)),
            Person::Unknown => {
                let refusal = from.refusal().unwrap_or_else(|| {
                    SignInRefusal::new(
                        RefusalReason::AccountUnknown,
                        "there is no account of this user name here, and sign-ins of this \
                         connection make none; provision the person first",
                    )
                });
                return Ok(without_account(refusal));
            }
        };
        if let Some(refusal) = from.refusal().or_else(|| suspended(&user)) {
            return describe_outcome(&from, user.id, Some(refusal), created).await;
        }
        let user = person::update_account(&from, user, &assertion).await?;
        let said = SaidGroups::of_assertion(&from, &assertion, linked)?;
        let change = if from.is_source_of_truth() {
            memberships::apply(&from, user.id, &said).await?
        } else {
            evidence::note(&from, &user, &said).await?
        };
        match change {
            ListChange::Restart => {}
            ListChange::Done { changed, unknown } => {
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
    let from = SignInSource::open(cx, connection).await?;
    for _ in 0..MAX_ATTEMPTS {
        let key = from.subject_key(subject)?;
        let row = person::find_latest(&from, &key).await?;
        let row = row.ok_or_else(|| Error::not_found(Noun::User))?;
        let user = person::find_live_account(&from, row.user_id).await?;
        let user = user.ok_or_else(|| Error::not_found(Noun::User))?;
        if let Some(refusal) = from.refusal().or_else(|| suspended(&user)) {
            return describe_outcome(&from, user.id, Some(refusal), false).await;
        }
        let said = SaidGroups::of_directory(&from, &row, groups.clone(), read_at)?;
        let change = if from.is_source_of_truth() {
            memberships::apply(&from, user.id, &said).await?
        } else {
            evidence::note(&from, &user, &said).await?
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
    crate::domain::check_text("subject", &assertion.subject, 1_000)?;
    crate::domain::check_text("userName", &assertion.user_name, 256)?;
    Ok(())
}

fn suspended(user: &User) -> Option<SignInRefusal> {
    (!user.active).then(|| {
        SignInRefusal::new(
            RefusalReason::AccountSuspended,
            "the account is suspended, and a sign-in does not change that; reactivate it first",
        )
    })
}

fn without_account(refusal: SignInRefusal) -> SignInOutcome {
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
