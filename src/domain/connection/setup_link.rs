//! Setup links: each shows a customer's IT administrator, who has no account here, how to set up
//! the identity provider of one connection. The first opening issues the token. Every opening gets
//! a session, which shows the progress of that connection and opens nothing else.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionKind;
use entity::{setup_link, setup_session};
use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    Select,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::policy::{Action, Actor, Scope};
use crate::context::{App, Change, Cx, DerivedChange, Tx, clock};
use crate::crypto::vault;
use crate::domain::access::giving;
use crate::domain::connection::Connection;
use crate::domain::connection::scim_token;
use crate::domain::connection::scim_token::{NewToken, Token, TokenIssuer};
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{Organization, suspended_error};
use crate::error::{Error, Noun, RefusalReason, Result, mistakes};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use setup_link::Model as SetupLink;

/// The beginning of the secret of a link, and of a session, by which scanners find one that leaked.
const SECRET_PREFIX: &str = "rcu_";
const SESSION_PREFIX: &str = "rcv_";
/// How long a link can be opened, unless its maker says otherwise.
const DEFAULT_LIFETIME: Duration = Duration::days(7);
/// The longest time that a link can be opened.
const MAX_LIFETIME: Duration = Duration::days(30);
/// How long a session shows the progress.
const SESSION_LIFETIME: Duration = Duration::hours(12);
/// Links of one connection that can be opened at once.
const MAX_OPEN_LINKS: u64 = 20;
/// How often one link is opened at most.
const MAX_OPENINGS: i32 = 500;
/// The reason of the token that the first opening issues.
const ISSUE_REASON: &str = "a setup link was opened";

/// Whether a link can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupLinkState {
    /// It can be opened, and was not opened yet.
    Active,
    /// It was opened, which showed the token, and can be opened again.
    Redeemed,
    Expired,
    Revoked,
}

impl SetupLinkState {
    /// The state of a link at `now`.
    pub fn of(link: &SetupLink, now: DateTime<Utc>) -> Self {
        if link.revoked_at.is_some() {
            Self::Revoked
        } else if link.expires_at <= now {
            Self::Expired
        } else if link.redeemed_at.is_some() {
            Self::Redeemed
        } else {
            Self::Active
        }
    }

    /// Whether the page opens.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Active | Self::Redeemed)
    }

    /// The rows in this state at `now`.
    fn condition(self, now: DateTime<Utc>) -> Condition {
        use setup_link::Column as C;
        let kept = Condition::all().add(C::RevokedAt.is_null());
        match self {
            Self::Revoked => Condition::all().add(C::RevokedAt.is_not_null()),
            Self::Expired => kept.add(C::ExpiresAt.lte(now)),
            Self::Redeemed => kept.add(C::ExpiresAt.gt(now)).add(C::RedeemedAt.is_not_null()),
            Self::Active => kept.add(C::ExpiresAt.gt(now)).add(C::RedeemedAt.is_null()),
        }
    }
}

/// A new link and its secret, which is never available again.
#[derive(Debug)]
pub struct IssuedSetupLink {
    pub link: SetupLink,
    secret: String,
}

impl IssuedSetupLink {
    /// The address to give to the IT administrator. The secret is in the fragment, which browsers
    /// do not send.
    pub fn url(&self, app: &App) -> String {
        format!("{}/setup#link={}", app.config.public_url, self.secret)
    }
}

/// Makes a link to set up a connection. Its first opening issues a token with all scopes, so its
/// maker needs what issuing that token needs.
///
/// # Errors
/// [`Error::Forbidden`] for a permission that the actor does not hold, [`Error::Invalid`] for an
/// end that is past or too far away, [`Error::Held`] where SCIM is not available or too many links
/// of the connection can be opened.
pub async fn create_link(
    cx: &Cx,
    connection: Uuid,
    expires_at: Option<DateTime<Utc>>,
) -> Result<IssuedSetupLink> {
    cx.allow(Action::ManageToken, None)?;
    cx.allow(Action::WriteConnection, None)?;
    super::check_scim_available(cx).await?;
    let secret = vault::new_secret(SECRET_PREFIX)?;
    let hash = &vault::hash_secret(&secret);
    let link = cx
        .write(move |tx| {
            Box::pin(async move {
                let connection = super::lock_live_connection(tx, connection).await;
                let (end, connection) = mistakes::both(check_link_end(cx, expires_at), connection)?;
                if connection.kind == ConnectionKind::ScimPush {
                    giving::check_scopes(cx, tx, connection.id, &Scope::ALL).await?;
                }
                let now = tx.now_after(None);
                check_link_limit(tx, connection.id, now).await?;
                let link = SetupLink {
                    organization_id: tx.organization(),
                    id: Uuid::now_v7(),
                    connection_id: connection.id,
                    hash: hash.clone(),
                    created_at: now,
                    created_by: Some(cx.actor.name().to_owned()),
                    expires_at: end,
                    redeemed_at: None,
                    last_opened_at: None,
                    open_count: 0,
                    scim_token_id: None,
                    revoked_at: None,
                };
                setup_link::Entity::insert(setup_link::ActiveModel::from(link.clone()))
                    .exec_without_returning(&tx.db)
                    .await?;
                let after = json!({ "connectionId": connection.id, "expiresAt": end });
                let entry = link_event(EventKind::SetupLinkCreated, &link, now, after);
                Ok(Change::recorded(link, entry))
            })
        })
        .await?;
    Ok(IssuedSetupLink { link, secret })
}

/// The end of a link that is requested with `expires_at`; none = the usual one.
fn check_link_end(cx: &Cx, expires_at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>> {
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

async fn check_link_limit(tx: &Tx<'_>, connection: Uuid, now: DateTime<Utc>) -> Result<()> {
    let open = tx
        .find::<setup_link::Entity>()
        .filter(setup_link::Column::ConnectionId.eq(connection))
        .filter(setup_link::Column::RevokedAt.is_null())
        .filter(setup_link::Column::ExpiresAt.gt(now));
    if open.count(&tx.db).await? < MAX_OPEN_LINKS {
        return Ok(());
    }
    let why = format!(
        "{MAX_OPEN_LINKS} setup links of this connection can be opened, which is the most; revoke \
         one first"
    );
    Err(Error::Held { reason: RefusalReason::TooManyLinks, why: why.into() })
}

/// Revokes a link, and with it the sessions that it opened. The token that it issued stays.
///
/// # Errors
/// [`Error::NotFound`] for a link that does not exist.
pub async fn revoke_link(cx: &Cx, id: Uuid) -> Result<SetupLink> {
    cx.allow(Action::ManageToken, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut link = lock_link(tx, id).await?;
            if link.revoked_at.is_some() {
                return Ok(Change::unchanged(link));
            }
            let now = tx.now_after(Some(link.last_opened_at.unwrap_or(link.created_at)));
            link.revoked_at = Some(now);
            save_link(tx, &link).await?;
            let after = json!({ "connectionId": link.connection_id, "openCount": link.open_count });
            let entry = link_event(EventKind::SetupLinkRevoked, &link, now, after);
            Ok(Change::recorded(link, entry))
        })
    })
    .await
}

/// The wanted links: those that match all conditions; empty or none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetupLinkQuery {
    pub connection: Option<Uuid>,
    pub states: Vec<SetupLinkState>,
}

fn select_links(cx: &Cx, which: &SetupLinkQuery) -> Select<setup_link::Entity> {
    let mut links = cx.find::<setup_link::Entity>();
    if let Some(connection) = which.connection {
        links = links.filter(setup_link::Column::ConnectionId.eq(connection));
    }
    if !which.states.is_empty() {
        let now = cx.app.clock.now();
        links = links.filter(paging::any_of(which.states.iter().map(|it| it.condition(now))));
    }
    links
}

/// A page of links, each with its place in the order `by`. Never a secret.
pub async fn list_links(
    cx: &Cx,
    which: &SetupLinkQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(SetupLink, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_links(cx, which), setup_link::Column::Id, by, keyset).await
}

/// How many links there are.
pub async fn count_links(cx: &Cx, which: &SetupLinkQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_links(cx, which).count(cx.db()).await?)
}

/// The links among `ids`. Never a secret.
pub async fn links_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<SetupLink>> {
    cx.allow(Action::ReadIam, None)?;
    let links = cx.find::<setup_link::Entity>();
    Ok(links.filter(setup_link::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// What an opening of a link shows.
#[derive(Debug)]
pub struct SetupOpening {
    /// The credential that shows the progress, until `session_ends_at`.
    pub session: String,
    pub session_ends_at: DateTime<Utc>,
    pub link: SetupLink,
    pub organization: Organization,
    pub connection: Connection,
    /// The token that the link issued; none for a source that rolecall reads.
    pub token: Option<Token>,
    /// The secret of that token: at the first opening only.
    pub token_secret: Option<String>,
}

/// Why a secret of a link or a session is refused.
#[derive(Debug)]
pub enum SetupRefused {
    /// No link, or no session, has this secret.
    Unknown,
    /// It is one of this organization, and has expired or was revoked, or its connection is gone.
    Ended(Uuid),
    /// The server could not do it, or the state of the organization does not allow it.
    Failed(Error),
}

impl SetupRefused {
    /// What counts as a failed sign-in: its organization, if it is known, and the reason.
    pub fn failed_sign_in(&self) -> Option<(Option<Uuid>, RefusalReason)> {
        match self {
            Self::Unknown => Some((None, RefusalReason::CredentialUnknown)),
            Self::Ended(organization) => Some((Some(*organization), RefusalReason::CredentialDead)),
            Self::Failed(_) => None,
        }
    }

    fn of_write(error: Error, organization: Uuid) -> Self {
        match error {
            Error::Held { reason: RefusalReason::Ended, .. } => Self::Ended(organization),
            Error::NotFound(_) => Self::Ended(organization),
            error => Self::Failed(error),
        }
    }
}

impl From<Error> for SetupRefused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<DbErr> for SetupRefused {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// The secret decides the organization.
const SELECT_LINK: &str = "SELECT l.organization_id, l.id AS link_id, l.connection_id, \
                           l.expires_at AS ends_at, o.suspended_at \
                           FROM setup_link l JOIN organization o ON o.id = l.organization_id \
                           WHERE l.hash = $1";
/// The same for the credential of a session.
pub(super) const SELECT_SESSION: &str = "SELECT s.organization_id, s.setup_link_id AS link_id, \
                                         l.connection_id, s.expires_at AS ends_at, \
                                         o.suspended_at FROM setup_session s JOIN setup_link l \
                                         ON l.organization_id = s.organization_id \
                                         AND l.id = s.setup_link_id JOIN organization o \
                                         ON o.id = s.organization_id WHERE s.hash = $1";

/// The link that a secret belongs to.
#[derive(Debug, FromQueryResult)]
pub(super) struct FoundLink {
    pub organization_id: Uuid,
    pub link_id: Uuid,
    connection_id: Uuid,
    /// When the secret ends.
    pub ends_at: DateTime<Utc>,
    suspended_at: Option<DateTime<Utc>>,
}

impl FoundLink {
    /// The link of `secret`, by [`SELECT_LINK`] or [`SELECT_SESSION`].
    ///
    /// # Errors
    /// [`SetupRefused`] for an unknown secret and a suspended organization. Whether the link still
    /// can be opened is not looked at.
    pub async fn find_by_secret(
        app: &App,
        statement: &'static str,
        secret: &str,
    ) -> Result<Self, SetupRefused> {
        let found = app.store.query_coalesced(statement, vault::hash_secret(secret)).await?;
        let found = found.first().map(|row| Self::from_query_result(row, "")).transpose()?;
        match found {
            None => Err(SetupRefused::Unknown),
            Some(found) if found.suspended_at.is_some() => Err(suspended_error().into()),
            Some(found) => Ok(found),
        }
    }
}

/// Opens a link: the first opening of a connection that an identity provider writes to issues a
/// token. Of openings that race, exactly one issues it: the link is looked at again under its lock.
///
/// # Errors
/// [`SetupRefused`] unless the link can be opened now.
pub async fn open_link(
    app: &Arc<App>,
    secret: &str,
    request_id: Uuid,
) -> Result<SetupOpening, SetupRefused> {
    let found = FoundLink::find_by_secret(app, SELECT_LINK, secret).await?;
    let organization_id = found.organization_id;
    let cx = Cx::new(app.clone(), Actor::System, organization_id, request_id)
        .with_reason(Some(ISSUE_REASON.into()));
    let organization = organization::current_organization(&cx).await?;
    super::check_scim_available(&cx).await?;
    let new_token = NewToken::with_all_scopes()?;
    let session = vault::new_secret(SESSION_PREFIX)?;
    let opening = LinkOpening {
        cx: &cx,
        link: found.link_id,
        connection: found.connection_id,
        new_token: &new_token,
        session_hash: vault::hash_secret(&session),
    };
    let opening = &opening;
    let opened = cx.write(move |tx| Box::pin(opening.write_opening(tx))).await;
    let opened = opened.map_err(|error| SetupRefused::of_write(error, organization_id))?;
    let WrittenOpening { link, connection, issued, session_ends_at } = opened;
    let token = match (&issued, link.scim_token_id) {
        (None, Some(id)) => scim_token::tokens_by_ids(&cx, &[id]).await?.into_iter().next(),
        _ => issued.clone(),
    };
    let token_secret = issued.map(|_| new_token.into_secret());
    Ok(SetupOpening {
        session,
        session_ends_at,
        link,
        organization,
        connection,
        token,
        token_secret,
    })
}

/// An opening to write.
struct LinkOpening<'a> {
    cx: &'a Cx,
    link: Uuid,
    connection: Uuid,
    new_token: &'a NewToken,
    session_hash: Vec<u8>,
}

/// What an opening wrote.
struct WrittenOpening {
    link: SetupLink,
    connection: Connection,
    issued: Option<Token>,
    session_ends_at: DateTime<Utc>,
}

impl LinkOpening<'_> {
    async fn write_opening(&self, tx: &Tx<'_>) -> Result<Change<WrittenOpening>> {
        let connection = super::lock_live_connection(tx, self.connection).await?;
        let mut link = lock_link(tx, self.link).await?;
        let now = tx.now_after(Some(link.last_opened_at.unwrap_or(link.created_at)));
        if !SetupLinkState::of(&link, now).is_open() || link.open_count >= MAX_OPENINGS {
            let why = "the setup link has expired, or was revoked".into();
            return Err(Error::Held { reason: RefusalReason::Ended, why });
        }
        let is_first = link.redeemed_at.is_none() && connection.kind == ConnectionKind::ScimPush;
        let issued = if is_first {
            let (issuer, new) = (TokenIssuer::of_link(&link), self.new_token);
            Some(scim_token::issue_within(self.cx, tx, connection.id, new, issuer, now).await?)
        } else {
            None
        };
        let session_ends_at = link.expires_at.min(now + SESSION_LIFETIME);
        self.replace_sessions(tx, now, session_ends_at).await?;
        link.redeemed_at = link.redeemed_at.or(Some(now));
        link.last_opened_at = Some(now);
        link.open_count += 1;
        link.scim_token_id = issued.as_ref().map(|(token, _)| token.id).or(link.scim_token_id);
        save_link(tx, &link).await?;
        let after = json!({
            "connectionId": connection.id, "openCount": link.open_count,
            "scimTokenId": issued.as_ref().map(|(token, _)| token.id),
        });
        let opened = link_event(EventKind::SetupLinkRedeemed, &link, now, after);
        let (issued, token_event) = issued.unzip();
        let value = WrittenOpening { link, connection, issued, session_ends_at };
        Ok(match token_event {
            None => Change::recorded(value, opened),
            Some(entry) => Change::recorded(value, entry).followed_by(vec![DerivedChange {
                request_id: self.cx.request_id,
                requested_at: self.cx.requested_at,
                entry: opened,
            }]),
        })
    }

    /// Adds the session, in place of those of the link that have ended.
    async fn replace_sessions(
        &self,
        tx: &Tx<'_>,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Result<()> {
        use setup_session::Column as C;
        setup_session::Entity::delete_many()
            .filter(C::OrganizationId.eq(tx.organization()))
            .filter(C::SetupLinkId.eq(self.link))
            .filter(C::ExpiresAt.lte(now))
            .exec(&tx.db)
            .await?;
        let session = setup_session::Model {
            organization_id: tx.organization(),
            id: Uuid::now_v7(),
            setup_link_id: self.link,
            hash: self.session_hash.clone(),
            expires_at,
        };
        setup_session::Entity::insert(setup_session::ActiveModel::from(session))
            .exec_without_returning(&tx.db)
            .await?;
        Ok(())
    }
}

async fn lock_link(tx: &Tx<'_>, id: Uuid) -> Result<SetupLink> {
    let query = tx.find::<setup_link::Entity>().filter(setup_link::Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::SetupLink))
}

async fn save_link(tx: &Tx<'_>, link: &SetupLink) -> Result<()> {
    crate::domain::save_row::<setup_link::Entity, setup_link::ActiveModel>(tx, link.clone()).await
}

fn link_event(kind: EventKind, link: &SetupLink, at: DateTime<Utc>, after: Value) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "setup_link", id: link.id },
        connection: Some(link.connection_id),
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}
