//! SCIM tokens: shown once when they are issued, stored as a hash, checked in the database at every
//! request.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, ConnectionStatus};
use entity::organization::IntegrationMode;
use entity::scim_token;
use entity::scim_token::TokenPurpose;
use entity::setup_link::Model as SetupLink;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, Select, Statement,
};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use crate::auth::policy::{Action, Actor, Scope, Scopes};
use crate::context::{App, Change, Credential, CredentialUse, Cx, Tx};
use crate::crypto::vault;
use crate::domain::access::giving;
use crate::domain::paging::order::OrderBy;
use crate::domain::tenant::organization::InboundAvailability;
use crate::domain::tenant::organization::suspended_error;
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, mistakes};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use scim_token::Model as Token;

/// The prefix of every SCIM token, so that secret scanners find one that leaked.
pub const TOKEN_PREFIX: &str = "rcs_";
/// Live tokens that one connection can have at once.
const MAX_LIVE_TOKENS: u64 = 20;
/// The longest overlap of a rotation.
const MAX_OVERLAP: Duration = Duration::days(30);

/// A new token with its secret, which is never available again.
#[derive(Debug)]
pub struct IssuedScimToken {
    pub token: Token,
    pub secret: String,
}

/// What a rotation did.
#[derive(Debug)]
pub struct TokenRotation {
    pub issued: IssuedScimToken,
    /// The tokens that it retired, newest first.
    pub retired: Vec<Token>,
    /// Until when the last of them works; none if they have ended, or there were none.
    pub old_work_until: Option<DateTime<Utc>>,
}

/// Issues another token for a connection; without `scopes` it gets all scopes.
///
/// # Errors
/// [`Error::Forbidden`] for a scope whose permissions the actor does not hold, [`Error::Held`]
/// where SCIM is not available or too many tokens of the connection are live.
pub async fn issue_token(
    cx: &Cx,
    connection: Uuid,
    scopes: Option<Scopes>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<IssuedScimToken> {
    cx.allow(Action::ManageToken, None)?;
    crate::domain::connection::check_scim_available(cx).await?;
    let secret = vault::new_secret(TOKEN_PREFIX)?;
    let scopes = scopes.unwrap_or_else(|| Scope::ALL.into());
    let new_token = &NewToken { secret, scopes, expires_at };
    let token = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut mistakes = Mistakes::default();
                if new_token.scopes.is_empty() {
                    mistakes.add(Error::invalid("scopes", "must name at least one"));
                }
                mistakes.collect(check_token_end(cx, expires_at));
                mistakes.collect(check_is_push(tx, connection).await);
                mistakes.refuse_any()?;
                let now = tx.now_after(None);
                let issuer = TokenIssuer::of_actor(cx);
                let (token, entry) =
                    issue_within(cx, tx, connection, new_token, issuer, now).await?;
                Ok(Change::recorded(token, entry))
            })
        })
        .await?;
    Ok(IssuedScimToken { token, secret: new_token.secret.clone() })
}

/// A token to issue, with its secret.
pub(super) struct NewToken {
    secret: String,
    scopes: Scopes,
    expires_at: Option<DateTime<Utc>>,
}

/// Who issues a token.
#[derive(Debug, Clone)]
pub(super) struct TokenIssuer {
    name: Option<String>,
    setup_link: Option<Uuid>,
}

impl TokenIssuer {
    /// The actor of this context.
    fn of_actor(cx: &Cx) -> Self {
        Self { name: Some(cx.actor.name().to_owned()), setup_link: None }
    }

    /// The maker of a setup link: who opens it has no account here.
    pub fn of_link(link: &SetupLink) -> Self {
        Self { name: link.created_by.clone(), setup_link: Some(link.id) }
    }
}

impl NewToken {
    /// A token with all scopes that does not expire.
    pub fn with_all_scopes() -> Result<Self> {
        let secret = vault::new_secret(TOKEN_PREFIX)?;
        Ok(Self { secret, scopes: Scope::ALL.into(), expires_at: None })
    }

    /// The secret, to be shown once.
    pub fn into_secret(self) -> String {
        self.secret
    }
}

/// Issues a token for a connection that was locked and that an identity provider writes to; returns
/// its row and the event about it.
///
/// # Errors
/// [`Error::Forbidden`] for a scope whose permissions the actor does not hold, [`Error::Held`]
/// where too many tokens of the connection are live.
pub(super) async fn issue_within(
    cx: &Cx,
    tx: &Tx<'_>,
    connection: Uuid,
    new: &NewToken,
    issuer: TokenIssuer,
    now: DateTime<Utc>,
) -> Result<(Token, NewEvent)> {
    giving::check_scopes(cx, tx, connection, &new.scopes).await?;
    check_token_limit(tx, connection, now).await?;
    let token = insert_token(tx, connection, new, issuer, now).await?;
    let mut after = json!({
        "connectionId": connection, "lastFour": token.last_four, "scopes": token.scopes,
        "expiresAt": new.expires_at,
    });
    if let Some(link) = token.setup_link_id {
        after["setupLinkId"] = json!(link);
    }
    let entry = token_event(EventKind::ScimTokenIssued, &token, now, None, Some(after));
    Ok((token, entry))
}

/// Refuses another token while too many of the connection are live: administrators must keep track
/// of every one.
async fn check_token_limit(tx: &Tx<'_>, connection: Uuid, now: DateTime<Utc>) -> Result<()> {
    let live = filter_live_tokens(tx.find(), now)
        .filter(scim_token::Column::ConnectionId.eq(connection))
        .count(&tx.db)
        .await?;
    if live < MAX_LIVE_TOKENS {
        Ok(())
    } else {
        let why = format!(
            "{MAX_LIVE_TOKENS} tokens of this connection are live, which is the most; revoke one \
             first"
        );
        Err(Error::Held { reason: RefusalReason::TooManyTokens, why: why.into() })
    }
}

/// Refuses unless an identity provider writes to this live connection: a source that rolecall reads
/// needs no SCIM token.
pub(super) async fn check_is_push(tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    match crate::domain::connection::lock_live_connection(tx, connection).await?.kind {
        ConnectionKind::ScimPush => Ok(()),
        _ => Err(Error::invalid(
            "connectionId",
            "no identity provider writes to this connection: it reads a source",
        )),
    }
}

/// Replaces all live tokens of a connection by a new one. The old ones are refused as soon as this
/// returns, or at the end of `overlap`.
///
/// # Errors
/// [`Error::Forbidden`] for a scope of the old tokens whose permissions the actor does not hold,
/// [`Error::Held`] where SCIM is not available or too many tokens of the connection are live.
pub async fn rotate_tokens(
    cx: &Cx,
    connection: Uuid,
    overlap: Option<Duration>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<TokenRotation> {
    cx.allow(Action::ManageToken, None)?;
    let within =
        !overlap.is_some_and(|overlap| overlap < Duration::zero() || overlap > MAX_OVERLAP);
    mistakes::both(
        if within {
            Ok(())
        } else {
            Err(Error::invalid("overlapSeconds", "must be between 0 and 2592000 (30 days)"))
        },
        check_token_end(cx, expires_at),
    )?;
    crate::domain::connection::check_scim_available(cx).await?;
    let secret = vault::new_secret(TOKEN_PREFIX)?;
    let presented = secret.as_str();
    let (token, retired) = cx
        .write(move |tx| {
            Box::pin(async move {
                check_is_push(tx, connection).await?;
                let now = tx.now_after(None);
                let end = now + overlap.unwrap_or_default();
                let old = retire_live_tokens(tx, connection, now, end).await?;
                if end > now {
                    check_token_limit(tx, connection, now).await?;
                }
                // The new token gets the scopes of the newest old one.
                let given = old
                    .first()
                    .map_or_else(|| Scope::ALL.into(), |token| parse_scopes(&token.scopes));
                giving::check_scopes(cx, tx, connection, &given).await?;
                let new = NewToken { secret: presented.to_owned(), scopes: given, expires_at };
                let issuer = TokenIssuer::of_actor(cx);
                let token = insert_token(tx, connection, &new, issuer, now).await?;
                let entry = rotation_event(&token, &old, end, now);
                let retired = old.into_iter().map(|token| Token {
                    retires_at: Some(
                        token.retires_at.map_or(end, |known| std::cmp::min(known, end)),
                    ),
                    ..token
                });
                Ok(Change::recorded((token, retired.collect::<Vec<_>>()), entry))
            })
        })
        .await?;
    let end = retired.iter().filter_map(|old| {
        let expiry = old.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
        Some(std::cmp::min(old.retires_at?, expiry))
    });
    let old_work_until = end.max().filter(|end| *end > token.created_at);
    Ok(TokenRotation { issued: IssuedScimToken { token, secret }, retired, old_work_until })
}

/// Ends the live tokens of a connection at `end`, or before if they end before; returns them as
/// they were, the newest first.
async fn retire_live_tokens(
    tx: &Tx<'_>,
    connection: Uuid,
    now: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Vec<Token>> {
    let old = filter_live_tokens(tx.find(), now)
        .filter(scim_token::Column::ConnectionId.eq(connection))
        .order_by_desc(scim_token::Column::Id)
        .all(&tx.db)
        .await?;
    scim_token::Entity::update_many()
        .col_expr(scim_token::Column::RetiresAt, Expr::value(end))
        .filter(scim_token::Column::OrganizationId.eq(tx.organization()))
        .filter(scim_token::Column::Id.is_in(old.iter().map(|token| token.id)))
        .filter(scim_token::Column::RetiresAt.is_null().or(scim_token::Column::RetiresAt.gt(end)))
        .exec(&tx.db)
        .await?;
    Ok(old)
}

fn rotation_event(
    token: &Token,
    old: &[Token],
    end: DateTime<Utc>,
    now: DateTime<Utc>,
) -> NewEvent {
    let before = json!({
        "tokens": old.iter().map(|token| token.id).collect::<Vec<_>>(),
    });
    let after = json!({
        "connectionId": token.connection_id, "lastFour": token.last_four,
        "oldTokensRetireAt": end,
    });
    token_event(EventKind::ScimTokenRotated, token, now, Some(before), Some(after))
}

/// Refuses an end of a token that has passed.
fn check_token_end(cx: &Cx, expires_at: Option<DateTime<Utc>>) -> Result<()> {
    match expires_at {
        Some(at) if at <= cx.requested_at => {
            Err(Error::invalid("expiresAt", "must be in the future"))
        }
        _ => Ok(()),
    }
}

/// Revokes one token from this instant on.
pub async fn revoke_token(cx: &Cx, id: Uuid) -> Result<Token> {
    cx.allow(Action::ManageToken, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = of_providers(tx.find()).filter(scim_token::Column::Id.eq(id));
            let mut token = crate::domain::lock_row(tx, query)
                .await?
                .ok_or_else(|| Error::not_found(Noun::Token))?;
            if token.revoked_at.is_some() {
                return Ok(Change::unchanged(token));
            }
            let now = tx.now_after(Some(token.created_at));
            token.revoked_at = Some(now);
            crate::domain::save_row::<scim_token::Entity, scim_token::ActiveModel>(
                tx,
                token.clone(),
            )
            .await?;
            let entry = token_event(
                EventKind::ScimTokenRevoked,
                &token,
                now,
                None,
                Some(json!({ "lastFour": token.last_four })),
            );
            Ok(Change::recorded(token, entry))
        })
    })
    .await
}

/// The tokens of these connections, revoked and expired ones too, newest first. Never a secret.
pub async fn tokens_of_connections(cx: &Cx, connections: &[Uuid]) -> Result<Vec<Token>> {
    cx.allow(Action::ReadIam, None)?;
    let query = of_providers(cx.find())
        .filter(scim_token::Column::ConnectionId.is_in(connections.iter().copied()));
    Ok(query.order_by_desc(scim_token::Column::Id).all(cx.db()).await?)
}

/// The wanted tokens of a connection: those that match all conditions; none = any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenQuery {
    /// Tokens that can be used now (true), or not any more (false).
    pub live: Option<bool>,
    /// Tokens with all of these scopes.
    pub scopes: Scopes,
    /// Tokens that expire before this instant.
    pub expires_before: Option<DateTime<Utc>>,
    /// Tokens that were last used at this instant or later.
    pub used_since: Option<DateTime<Utc>>,
}

impl TokenQuery {
    /// Whether it selects a token, at `now`. A connection has few tokens, which are all read.
    pub fn selects(&self, token: &Token, now: DateTime<Utc>) -> bool {
        self.live.is_none_or(|live| live == is_live(token, now))
            && (self.scopes.is_empty() || self.scopes.is_subset(&parse_scopes(&token.scopes)))
            && self.expires_before.is_none_or(|end| token.expires_at.is_some_and(|at| at < end))
            && self.used_since.is_none_or(|since| token.last_used_at.is_some_and(|at| at >= since))
    }
}

/// Sorts tokens; those with equal values by age, and those without a value last.
pub fn sort_tokens(tokens: &mut [Token], by: OrderBy, descending: bool) {
    let instant = |token: &Token| match by {
        OrderBy::Expires => token.expires_at,
        OrderBy::LastUsed => token.last_used_at,
        _ => Some(token.created_at),
    };
    tokens.sort_by_key(|token| {
        let instant = instant(token);
        (instant.is_none(), instant, token.id)
    });
    if descending {
        tokens.reverse();
    }
}

/// The scopes as names, as a token's row stores them.
pub(super) fn scope_names(scopes: &Scopes) -> serde_json::Value {
    scopes.iter().map(|scope| scope.name()).collect()
}

/// The scopes that a token's row names.
pub fn parse_scopes(names: &serde_json::Value) -> Scopes {
    names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| Scope::from_name(name.as_str()?))
        .collect()
}

/// The tokens among `ids`, revoked and expired ones too. Never a secret.
pub async fn tokens_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Token>> {
    cx.allow(Action::ReadIam, None)?;
    let query = of_providers(cx.find()).filter(scim_token::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Whether the organization has a live token now.
pub async fn has_live_token(cx: &Cx) -> Result<bool> {
    cx.allow(Action::ReadIam, None)?;
    Ok(filter_live_tokens(cx.find(), cx.app.clock.now()).count(cx.db()).await? > 0)
}

/// Whether a token is valid at `now`: not revoked, expired or retired.
pub fn is_live(token: &Token, now: DateTime<Utc>) -> bool {
    token.revoked_at.is_none()
        && token.expires_at.is_none_or(|at| at > now)
        && token.retires_at.is_none_or(|at| at > now)
}

/// Only the tokens of identity providers: those of a self-test are left out.
pub fn of_providers(query: Select<scim_token::Entity>) -> Select<scim_token::Entity> {
    query.filter(scim_token::Column::Purpose.eq(TokenPurpose::IdentityProvider))
}

/// The tokens of identity providers that are valid at `now`.
fn filter_live_tokens(
    query: Select<scim_token::Entity>,
    now: DateTime<Utc>,
) -> Select<scim_token::Entity> {
    let open = |column: scim_token::Column| column.is_null().or(column.gt(now));
    of_providers(query)
        .filter(scim_token::Column::RevokedAt.is_null())
        .filter(open(scim_token::Column::ExpiresAt))
        .filter(open(scim_token::Column::RetiresAt))
}

async fn insert_token(
    tx: &Tx<'_>,
    connection: Uuid,
    new: &NewToken,
    issuer: TokenIssuer,
    now: DateTime<Utc>,
) -> Result<Token> {
    let token = Token {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: connection,
        purpose: TokenPurpose::IdentityProvider,
        hash: vault::hash_secret(&new.secret),
        last_four: vault::last_four(&new.secret),
        scopes: scope_names(&new.scopes),
        created_at: now,
        expires_at: new.expires_at,
        retires_at: None,
        revoked_at: None,
        last_used_at: None,
        last_used_from: None,
        issued_by: issuer.name,
        setup_link_id: issuer.setup_link,
    };
    scim_token::Entity::insert(scim_token::ActiveModel::from(token.clone()))
        .exec_without_returning(&tx.db)
        .await?;
    Ok(token)
}

fn token_event(
    kind: EventKind,
    token: &Token,
    at: DateTime<Utc>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> NewEvent {
    let subject = EventSubject { kind: "scim_token", id: token.id };
    NewEvent {
        kind,
        subject,
        connection: Some(token.connection_id),
        at,
        before,
        after,
        population: 0,
        name: None,
    }
}

/// Everything about a presented token that decides whether its request is served, read in one round
/// trip.
#[derive(Debug, FromQueryResult)]
struct TokenGateRow {
    organization_id: Uuid,
    id: Uuid,
    purpose: TokenPurpose,
    scopes: serde_json::Value,
    expires_at: Option<DateTime<Utc>>,
    retires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    connection_id: Uuid,
    connection_name: String,
    status: ConnectionStatus,
    connection_deleted_at: Option<DateTime<Utc>>,
    slug: String,
    scim_enabled: bool,
    integration_mode: IntegrationMode,
    provisioning_released: bool,
    schema_version: i64,
    suspended_at: Option<DateTime<Utc>>,
}

const TOKEN_GATE_SQL: &str = "SELECT t.organization_id, t.id, t.purpose, t.scopes, \
                              t.expires_at, t.retires_at, t.revoked_at, \
     c.id AS connection_id, c.name AS connection_name, c.status, \
     c.deleted_at AS connection_deleted_at, \
     o.slug, o.scim_enabled, o.integration_mode, o.provisioning_released, \
     o.schema_version, o.suspended_at \
     FROM scim_token t JOIN connection c ON c.organization_id = t.organization_id \
     AND c.id = t.connection_id \
     JOIN organization o ON o.id = t.organization_id WHERE t.hash = $1";

/// A known token that a client presented, valid or not. It is found before it is checked, so that
/// the request log of its connection can show a refusal.
#[derive(Debug)]
pub struct PresentedToken(TokenGateRow);

/// Finds the token.
///
/// # Errors
/// [`Error::Unauthenticated`] if there is no such token, with the same text as for an expired one.
pub async fn find_presented_token(app: &App, secret: &str) -> Result<PresentedToken> {
    let found = app.store.query_coalesced(TOKEN_GATE_SQL, vault::hash_secret(secret)).await?;
    let row = found.first().ok_or(NO_LIVE_TOKEN)?;
    Ok(PresentedToken(TokenGateRow::from_query_result(row, "")?))
}

const NO_LIVE_TOKEN: Error =
    Error::Unauthenticated("the bearer token is missing, unknown, expired or revoked");

impl PresentedToken {
    /// The organization that the token belongs to.
    pub fn organization_id(&self) -> Uuid {
        self.0.organization_id
    }

    /// The connection that the token belongs to.
    pub fn connection_id(&self) -> Uuid {
        self.0.connection_id
    }

    /// Whether this server presents it to test its public URL. Such a request says nothing about
    /// the identity provider, so nothing about it is remembered.
    pub fn is_self_test(&self) -> bool {
        self.0.purpose == TokenPurpose::SelfTest
    }

    /// Admits a request to SCIM of the tenant `slug`. The token is checked first, and only then the
    /// tenant in the URL and its state.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for anything but a live token; [`Error::NotFound`] for a tenant
    /// that does not exist or is not the token's; [`Error::Held`] while provisioning is turned off.
    pub fn admit_request(
        self,
        app: &Arc<App>,
        slug: &str,
        from: Option<String>,
        request_id: Uuid,
    ) -> Result<Cx> {
        let gate = self.0;
        let now = app.clock.now();
        let live = gate.revoked_at.is_none()
            && gate.connection_deleted_at.is_none()
            && gate.expires_at.is_none_or(|at| at > now)
            && gate.retires_at.is_none_or(|at| at > now);
        if !live {
            return Err(NO_LIVE_TOKEN);
        }
        if gate.slug != slug {
            return Err(Error::not_found(Noun::ScimTenant));
        }
        let credential = Credential::ScimToken {
            organization: gate.organization_id,
            id: gate.id,
            connection: gate.connection_id,
        };
        if gate.purpose == TokenPurpose::IdentityProvider {
            app.uses.note_use(credential, now, from);
        }
        app.limits.take_request(gate.connection_id)?;
        if gate.suspended_at.is_some() {
            return Err(suspended_error());
        }
        InboundAvailability::of(app, gate.integration_mode, gate.provisioning_released)
            .check_available()?;
        if !gate.scim_enabled {
            return Err(Error::Held {
                reason: RefusalReason::OrganizationDisabled,
                why:
                    "provisioning over SCIM is turned off for this organization; an administrator \
                     can turn it on again"
                        .into(),
            });
        }
        if gate.status == ConnectionStatus::Inactive {
            return Err(Error::Held {
                reason: RefusalReason::ConnectionInactive,
                why: format!(
                    "the connection {:?} is deactivated; no account was touched, and an \
                     administrator can activate it again",
                    gate.connection_name
                )
                .into(),
            });
        }
        let actor = Actor::Connection {
            id: gate.connection_id,
            name: gate.connection_name,
            scopes: parse_scopes(&gate.scopes),
        };
        let mut cx = Cx::new(app.clone(), actor, gate.organization_id, request_id);
        cx.schema_version = Some(gate.schema_version);
        cx.scim_token = Some(gate.id);
        Ok(cx)
    }
}

/// Writes the last uses of credentials that were noted since the last call. This is no change of
/// the domain, so it has no event in the ledger. What cannot be written now is written with the
/// next call.
pub async fn flush_credential_uses(app: &App) -> Result<()> {
    let write = async |uses: &mut Vec<(Credential, CredentialUse)>| {
        while let Some((credential, used)) = uses.last() {
            write_credential_use(app, *credential, used).await?;
            uses.pop();
        }
        Ok(())
    };
    app.uses.flush(app.clock.now(), write).await
}

async fn write_credential_use(
    app: &App,
    credential: Credential,
    used: &CredentialUse,
) -> Result<()> {
    let newer = "(last_used_at IS NULL OR last_used_at < $2)";
    let at = used.at.into();
    let statements = match credential {
        Credential::ScimToken { organization, id, connection } => vec![
            app.statement(
                organization,
                format!(
                    "UPDATE scim_token SET last_used_at = $2, last_used_from = $3 \
                     WHERE organization_id = $1 AND id = $4 AND {newer}"
                ),
                [at, used.from.clone().into(), id.into()],
            ),
            note_contact(app, organization, connection, used),
        ],
        Credential::Assertion { organization, connection } => {
            vec![note_contact(app, organization, connection, used)]
        }
        Credential::ApiKey { organization, id } => vec![app.statement(
            organization,
            format!(
                "UPDATE api_key SET last_used_at = $2 WHERE organization_id = $1 AND id = $3 AND \
                 {newer}"
            ),
            [at, id.into()],
        )],
    };
    for statement in statements {
        app.store.write.execute_raw(statement).await?;
    }
    Ok(())
}

/// The statement that notes when a connection's identity provider was last heard of.
fn note_contact(
    app: &App,
    organization: Uuid,
    connection: Uuid,
    used: &CredentialUse,
) -> Statement {
    app.statement(
        organization,
        "UPDATE connection SET last_contact_at = $2 WHERE organization_id = $1 AND id = $3 \
         AND (last_contact_at IS NULL OR last_contact_at < $2)",
        [used.at.into(), connection.into()],
    )
}
