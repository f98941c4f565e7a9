//! Console links: each opens the console of one organization once, for a person who can use the
//! installation's command line. What is exchanged for the code is an API key with a short life, so
//! a session is listed, revoked and recorded as every key is.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use entity::api_key::KeyPurpose;
use entity::console_link;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::{Action, Actor, Permission, Permissions};
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::crypto::vault;
use crate::domain::access::api_key::{self, ApiKey, KeyOwner, NewKey};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{Organization, suspended_error};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use console_link::Model as ConsoleLink;

/// The beginning of every code, by which scanners find one that leaked.
const CODE_PREFIX: &str = "rcl_";
/// How long a link can be redeemed.
pub const LINK_LIFETIME: Duration = Duration::minutes(15);
/// How long a link can be redeemed that a sign-in made.
pub const SIGN_IN_LINK_LIFETIME: Duration = Duration::minutes(1);
/// How long the session lasts that a link opens.
pub(in crate::domain) const SESSION_LIFETIME: Duration = Duration::hours(8);

/// A new link and its code, which is never available again.
#[derive(Debug)]
pub struct IssuedConsoleLink {
    pub link: ConsoleLink,
    pub code: String,
}

impl IssuedConsoleLink {
    /// The address to open. The code is in the fragment, which browsers do not send.
    pub fn url(&self, app: &App) -> String {
        format!("{}/sign-in#link={}", app.config.public_url, self.code)
    }
}

/// What the browser keeps in which a sign-in made the link of this code. The link is redeemed only
/// together with it: so no person can be led into the session of another one. It does not contain
/// the code.
pub fn browser_mark(code: &str) -> String {
    URL_SAFE_NO_PAD.encode(vault::hash_secret(code))
}

/// The cookie of [`browser_mark`]. Over TLS, its name keeps other hosts of the domain from setting
/// it (RFC 6265bis).
pub fn mark_cookie_name(app: &App) -> &'static str {
    if app.config.public_url.starts_with("https://") {
        "__Host-rolecall-link"
    } else {
        "rolecall-link"
    }
}

/// Makes a link to a session with these permissions.
///
/// # Errors
/// [`Error::Forbidden`] for a permission that the actor does not hold, [`Error::Invalid`] for none,
/// and for one that is not about an organization.
pub async fn create_link(cx: &Cx, permissions: Permissions) -> Result<IssuedConsoleLink> {
    cx.allow(Action::ManageToken, None)?;
    if let Some(missing) = permissions.iter().find(|permission| !cx.holds(**permission)) {
        let why = format!("you cannot give {missing}, which you do not hold");
        return Err(Error::lacks_permission(missing.name(), why));
    }
    if permissions.is_empty() || permissions.contains(&Permission::PlatformAdmin) {
        let why = "a session in one organization has at least one permission, and not \
                   PLATFORM_ADMIN";
        return Err(Error::invalid("permissions", why));
    }
    insert_link(cx, permissions, None, LINK_LIFETIME).await
}

/// Makes the link to the session of a person who has just signed in. It is redeemed by the page to
/// which the browser is sent, so it lives for a minute; the session ends with the account.
///
/// # Errors
/// Those of the database.
pub async fn create_sign_in_link(
    cx: &Cx,
    account: Uuid,
    permissions: Permissions,
) -> Result<IssuedConsoleLink> {
    insert_link(cx, permissions, Some(account), SIGN_IN_LINK_LIFETIME).await
}

async fn insert_link(
    cx: &Cx,
    permissions: Permissions,
    owner: Option<Uuid>,
    lifetime: Duration,
) -> Result<IssuedConsoleLink> {
    let code = vault::new_secret(CODE_PREFIX)?;
    let hash = vault::hash_secret(&code);
    let names: Vec<_> = permissions.iter().map(|permission| permission.name()).collect();
    let (hash, names) = (&hash, &names);
    let link = cx
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now_after(None);
                let link = ConsoleLink {
                    organization_id: tx.organization(),
                    id: Uuid::now_v7(),
                    hash: hash.clone(),
                    permissions: json!(names),
                    created_at: now,
                    expires_at: now + lifetime,
                    redeemed_at: None,
                    api_key_id: None,
                    owner_user_id: owner,
                };
                console_link::Entity::insert(console_link::ActiveModel::from(link.clone()))
                    .exec_without_returning(&tx.db)
                    .await?;
                let mut after = json!({ "permissions": names, "expiresAt": link.expires_at });
                if let Some(owner) = owner {
                    after["ownerUserId"] = json!(owner);
                }
                let entry = link_event(EventKind::ConsoleLinkCreated, link.id, now, after);
                Ok(Change::recorded(link, entry))
            })
        })
        .await?;
    Ok(IssuedConsoleLink { link, code })
}

/// A session that a link opened.
#[derive(Debug)]
pub struct ConsoleSession {
    /// The credential for the management API.
    pub token: String,
    pub organization: Organization,
    pub expires_at: DateTime<Utc>,
}

/// Why a code is refused.
#[derive(Debug)]
pub enum LinkRefused {
    /// No link has this code.
    Unknown,
    /// A link of this organization has this code, and it has been redeemed or has expired.
    Ended(Uuid),
    /// A sign-in made the link in another browser.
    OtherBrowser(Uuid),
    /// The server could not redeem it, or the organization is suspended.
    Failed(Error),
}

impl LinkRefused {
    /// What counts as a failed sign-in: its organization, if it is known, and the reason.
    pub fn failed_sign_in(&self) -> Option<(Option<Uuid>, RefusalReason)> {
        match self {
            Self::Unknown => Some((None, RefusalReason::CredentialUnknown)),
            Self::Ended(organization) | Self::OtherBrowser(organization) => {
                Some((Some(*organization), RefusalReason::CredentialDead))
            }
            Self::Failed(_) => None,
        }
    }
}

impl From<Error> for LinkRefused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<DbErr> for LinkRefused {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// The code decides the organization.
const SELECT_LINK: &str = "SELECT l.organization_id, l.id, o.slug, o.suspended_at \
                           FROM console_link l JOIN organization o ON o.id = l.organization_id \
                           WHERE l.hash = $1";

#[derive(Debug, FromQueryResult)]
struct FoundLink {
    organization_id: Uuid,
    id: Uuid,
    slug: String,
    suspended_at: Option<DateTime<Utc>>,
}

/// Exchanges a code for a session. Of requests that race, exactly one wins: the link is looked at
/// again under its lock. A link that a sign-in made needs the browser of the sign-in.
///
/// # Errors
/// [`LinkRefused`] unless the link can be redeemed now.
pub async fn redeem_link(
    app: &Arc<App>,
    code: &str,
    same_browser: bool,
    request_id: Uuid,
) -> Result<ConsoleSession, LinkRefused> {
    let found = app.store.query_coalesced(SELECT_LINK, vault::hash_secret(code)).await?;
    let found = found.first().map(|row| FoundLink::from_query_result(row, "")).transpose()?;
    let Some(FoundLink { organization_id, id, slug, suspended_at }) = found else {
        return Err(LinkRefused::Unknown);
    };
    if suspended_at.is_some() {
        return Err(suspended_error().into());
    }
    let cx = Cx::new(app.clone(), Actor::System, organization_id, request_id);
    let link = cx
        .find::<console_link::Entity>()
        .filter(console_link::Column::Id.eq(id))
        .one(cx.db())
        .await?;
    let owner = link.as_ref().and_then(|link| link.owner_user_id).map(KeyOwner::Account);
    if owner.is_some() && !same_browser {
        return Err(LinkRefused::OtherBrowser(organization_id));
    }
    let permissions = link.map(|link| link_permissions(&link)).unwrap_or_default();
    let name = format!("Console session of {}", cx.requested_at.format("%Y-%m-%d %H:%M UTC"));
    let end = Some(cx.requested_at + SESSION_LIFETIME);
    let new_key = &NewKey::with_permissions(&cx, &name, permissions, end)?
        .with_purpose(KeyPurpose::ConsoleSession)
        .with_owner(owner);
    let of_request = &cx;
    let key = cx
        .write(move |tx| Box::pin(write_redemption(of_request, tx, id, new_key)))
        .await
        .map_err(|error| match error {
            Error::Held { reason: RefusalReason::Ended, .. } => LinkRefused::Ended(organization_id),
            error => LinkRefused::Failed(error),
        })?;
    let organization = organization::current_organization(&cx).await?;
    tracing::info!(organization = slug, "a console link was redeemed");
    Ok(ConsoleSession {
        token: new_key.secret.clone(),
        organization,
        expires_at: key.expires_at.unwrap_or_default(),
    })
}

/// Uses up the link and makes the key of the session.
async fn write_redemption(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
    new_key: &NewKey,
) -> Result<Change<ApiKey>> {
    let mut link = lock_link(tx, id).await?;
    let now = tx.now_after(Some(link.created_at));
    if link.redeemed_at.is_some() || link.expires_at <= now {
        let why = "the link has been used, or has expired".into();
        return Err(Error::Held { reason: RefusalReason::Ended, why });
    }
    let (key, entry) = api_key::insert_key(tx, new_key, now).await?;
    link.redeemed_at = Some(now);
    link.api_key_id = Some(key.id);
    crate::domain::save_row::<console_link::Entity, console_link::ActiveModel>(tx, link.clone())
        .await?;
    let after = json!({ "apiKeyId": key.id, "lastFour": key.last_four });
    let redeemed = DerivedChange {
        request_id: cx.request_id,
        requested_at: cx.requested_at,
        entry: link_event(EventKind::ConsoleLinkRedeemed, link.id, now, after),
    };
    Ok(Change::recorded(key, entry).followed_by(vec![redeemed]))
}

/// Closes a link that was not opened yet, or ends the session that it opened, because the person
/// signed out where both came from. Returns whether one of them was live.
///
/// # Errors
/// Those of the database.
pub(in crate::domain) async fn close_link(cx: &Cx, id: Uuid) -> Result<bool> {
    cx.write(move |tx| {
        Box::pin(async move {
            let mut link = match lock_link(tx, id).await {
                Err(Error::NotFound(_)) => return Ok(Change::unchanged(false)),
                link => link?,
            };
            if let Some(key) = link.api_key_id {
                return api_key::end_session_in(tx, key).await;
            }
            let now = tx.now_after(Some(link.created_at));
            if link.redeemed_at.is_some() || link.expires_at <= now {
                return Ok(Change::unchanged(false));
            }
            link.expires_at = now;
            let mut after = json!({ "expiresAt": now });
            if let Some(owner) = link.owner_user_id {
                after["ownerUserId"] = json!(owner);
            }
            crate::domain::save_row::<console_link::Entity, console_link::ActiveModel>(tx, link)
                .await?;
            let entry = link_event(EventKind::ConsoleLinkClosed, id, now, after);
            Ok(Change::recorded(true, entry))
        })
    })
    .await
}

async fn lock_link(tx: &Tx<'_>, id: Uuid) -> Result<ConsoleLink> {
    let query = tx.find::<console_link::Entity>().filter(console_link::Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Resource))
}

/// The permissions that the session of a link gets.
fn link_permissions(link: &ConsoleLink) -> Permissions {
    let names = link.permissions.as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str()?.parse().ok()).collect()
}

fn link_event(kind: EventKind, id: Uuid, at: DateTime<Utc>, after: serde_json::Value) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "console_link", id },
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}
