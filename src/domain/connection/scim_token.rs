//! SCIM tokens: issued once, shown once, kept as a hash, checked in the database at every request.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, ConnectionStatus};
use entity::organization::IntegrationMode;
use entity::scim_token;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    Select, Statement,
};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use super::giving;
use super::organization::Availability;
use crate::authz::{Action, Actor, Scope, Scopes};
use crate::context::{App, Change, Credential, Cx, Tx, Use};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};
use crate::vault;

pub use scim_token::Model as Token;

/// What every SCIM token begins with, so that scanners find one that leaked.
pub const PREFIX: &str = "rcs_";
/// Tokens of one connection that may open something at once.
const MAX_LIVE: u64 = 20;
/// The longest overlap of a rotation.
const MAX_OVERLAP: Duration = Duration::days(30);

/// A token and, only at its making, the secret itself.
#[derive(Debug)]
pub struct Issued {
    pub token: Token,
    pub secret: String,
}

/// Issues a further token for a connection; without `scopes` it may do all that a connection may.
///
/// # Errors
/// [`Error::Forbidden`] for a scope whose permissions the actor does not hold, [`Error::Held`] where SCIM is not available
/// or too many tokens of the connection are live.
pub async fn issue(
    cx: &Cx,
    connection: Uuid,
    scopes: Option<Scopes>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Issued> {
    cx.allow(Action::ManageToken, None)?;
    if expires_at.is_some_and(|at| at <= cx.requested_at) {
        return Err(Error::invalid("expiresAt", "must be in the future"));
    }
    let given = &match scopes {
        Some(scopes) if scopes.is_empty() => return Err(Error::invalid("scopes", "must name at least one")),
        Some(scopes) => scopes,
        None => Scope::ALL.into(),
    };
    super::connection::available(cx).await?;
    let secret = vault::new_secret(PREFIX)?;
    let presented = secret.as_str();
    let token = cx
        .write(move |tx| {
            Box::pin(async move {
                pushed(tx, connection).await?;
                giving::check_scopes(cx, tx, connection, given).await?;
                let now = tx.now_after(None);
                check_room(tx, connection, now).await?;
                let token = insert(tx, connection, presented, names(given), now, expires_at).await?;
                let after = json!({
                    "connectionId": connection, "lastFour": token.last_four, "scopes": token.scopes, "expiresAt": expires_at,
                });
                let entry = entry(EventKind::ScimTokenIssued, &token, now, None, Some(after));
                Ok(Change::made(token, entry))
            })
        })
        .await?;
    Ok(Issued { token, secret })
}

/// Refuses a further token while too many of the connection are live: each is a way in that somebody must look after.
async fn check_room(tx: &Tx<'_>, connection: Uuid, now: DateTime<Utc>) -> Result<()> {
    let live = alive(tx.find(), now).filter(scim_token::Column::ConnectionId.eq(connection)).count(&tx.db).await?;
    match live < MAX_LIVE {
        true => Ok(()),
        false => {
            let why = format!("{MAX_LIVE} tokens of this connection are live, which is the most; revoke one first");
            Err(Error::Held { reason: "TOO_MANY_TOKENS", why: why.into() })
        }
    }
}

/// Refuses unless this live connection is one that is written to: what we read needs no credential of ours.
async fn pushed(tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    match super::connection::live(tx, connection).await?.kind {
        ConnectionKind::ScimPush => Ok(()),
        _ => Err(Error::invalid("connectionId", "nobody writes to this connection: it reads a source by itself")),
    }
}

/// Puts a new token in the place of every live one of its connection. The old ones are dead when this returns,
/// or at the end of `overlap` where the caller asks for one.
///
/// # Errors
/// [`Error::Forbidden`] for a scope of the old tokens whose permissions the actor does not hold, [`Error::Held`] where SCIM
/// is not available or too many tokens of the connection are live.
pub async fn rotate(
    cx: &Cx,
    connection: Uuid,
    overlap: Option<Duration>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Issued> {
    cx.allow(Action::ManageToken, None)?;
    if overlap.is_some_and(|overlap| overlap < Duration::zero() || overlap > MAX_OVERLAP) {
        return Err(Error::invalid("overlapSeconds", "must be between 0 and 2592000 (30 days)"));
    }
    super::connection::available(cx).await?;
    let secret = vault::new_secret(PREFIX)?;
    let presented = secret.as_str();
    let token = cx
        .write(move |tx| {
            Box::pin(async move {
                pushed(tx, connection).await?;
                let now = tx.now_after(None);
                let end = now + overlap.unwrap_or_default();
                let old = alive(tx.find(), now)
                    .filter(scim_token::Column::ConnectionId.eq(connection))
                    .order_by_desc(scim_token::Column::Id)
                    .all(&tx.db)
                    .await?;
                scim_token::Entity::update_many()
                    .col_expr(scim_token::Column::RetiresAt, Expr::value(end))
                    .filter(scim_token::Column::OrganizationId.eq(cx.organization()))
                    .filter(scim_token::Column::Id.is_in(old.iter().map(|token| token.id)))
                    .filter(scim_token::Column::RetiresAt.is_null().or(scim_token::Column::RetiresAt.gt(end)))
                    .exec(&tx.db)
                    .await?;
                if end > now {
                    check_room(tx, connection, now).await?;
                }
                // The successor may do what its predecessor might.
                let given = old.first().map_or_else(|| Scope::ALL.into(), |token| scopes(&token.scopes));
                giving::check_scopes(cx, tx, connection, &given).await?;
                let token = insert(tx, connection, presented, names(&given), now, expires_at).await?;
                let before = json!({ "tokens": old.iter().map(|token| token.id).collect::<Vec<_>>() });
                let after =
                    json!({ "connectionId": connection, "lastFour": token.last_four, "oldTokensRetireAt": end });
                let entry = entry(EventKind::ScimTokenRotated, &token, now, Some(before), Some(after));
                Ok(Change::made(token, entry))
            })
        })
        .await?;
    Ok(Issued { token, secret })
}

/// Kills one token from this instant on.
pub async fn revoke(cx: &Cx, id: Uuid) -> Result<Token> {
    cx.allow(Action::ManageToken, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx.find::<scim_token::Entity>().filter(scim_token::Column::Id.eq(id));
            let mut token = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the token"))?;
            if token.revoked_at.is_some() {
                return Ok(Change::nothing(token));
            }
            let now = tx.now_after(Some(token.created_at));
            token.revoked_at = Some(now);
            super::save::<scim_token::Entity, scim_token::ActiveModel>(tx, token.clone()).await?;
            let entry =
                entry(EventKind::ScimTokenRevoked, &token, now, None, Some(json!({ "lastFour": token.last_four })));
            Ok(Change::made(token, entry))
        })
    })
    .await
}

/// The tokens of a connection that still exist in some sense (revoked ones too), newest first. Never a secret.
pub async fn of_connections(cx: &Cx, connections: &[Uuid]) -> Result<Vec<Token>> {
    cx.allow(Action::ReadIam, None)?;
    let query =
        cx.find::<scim_token::Entity>().filter(scim_token::Column::ConnectionId.is_in(connections.iter().copied()));
    Ok(query.order_by_desc(scim_token::Column::Id).all(cx.db()).await?)
}

/// The scopes as a token's row names them.
fn names(scopes: &Scopes) -> serde_json::Value {
    scopes.iter().map(|scope| scope.name()).collect()
}

/// What a token's row says it may do.
pub fn scopes(names: &serde_json::Value) -> Scopes {
    names.as_array().into_iter().flatten().filter_map(|name| Scope::named(name.as_str()?)).collect()
}

/// The tokens among `ids`, dead ones too. Never a secret.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Token>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<scim_token::Entity>().filter(scim_token::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Whether the organization has a token that opens something now.
pub async fn any_live(cx: &Cx) -> Result<bool> {
    cx.allow(Action::ReadIam, None)?;
    Ok(alive(cx.find(), cx.app.clock.now()).count(cx.db()).await? > 0)
}

/// Whether a token opens anything at `now`.
pub fn is_live(token: &Token, now: DateTime<Utc>) -> bool {
    token.revoked_at.is_none()
        && token.expires_at.is_none_or(|at| at > now)
        && token.retires_at.is_none_or(|at| at > now)
}

fn alive(query: Select<scim_token::Entity>, now: DateTime<Utc>) -> Select<scim_token::Entity> {
    let open = |column: scim_token::Column| column.is_null().or(column.gt(now));
    query
        .filter(scim_token::Column::RevokedAt.is_null())
        .filter(open(scim_token::Column::ExpiresAt))
        .filter(open(scim_token::Column::RetiresAt))
}

async fn insert(
    tx: &Tx<'_>,
    connection: Uuid,
    secret: &str,
    scopes: serde_json::Value,
    now: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Token> {
    let token = Token {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: connection,
        hash: vault::hash(secret),
        last_four: vault::last_four(secret),
        scopes,
        created_at: now,
        expires_at,
        retires_at: None,
        revoked_at: None,
        last_used_at: None,
        last_used_from: None,
    };
    scim_token::Entity::insert(scim_token::ActiveModel::from(token.clone())).exec_without_returning(&tx.db).await?;
    Ok(token)
}

fn entry(
    kind: EventKind,
    token: &Token,
    at: DateTime<Utc>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> Entry {
    let subject = Subject { kind: "scim_token", id: token.id };
    Entry { kind, subject, connection: Some(token.connection_id), at, before, after, population: 0 }
}

/// Everything about a presented token that decides whether its request is served: one round trip.
#[derive(Debug, FromQueryResult)]
struct Gate {
    organization_id: Uuid,
    id: Uuid,
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
    schema_version: i64,
}

const GATE: &str = "SELECT t.organization_id, t.id, t.scopes, t.expires_at, t.retires_at, t.revoked_at, \
     c.id AS connection_id, c.name AS connection_name, c.status, c.deleted_at AS connection_deleted_at, \
     o.slug, o.scim_enabled, o.integration_mode, o.schema_version \
     FROM scim_token t JOIN connection c ON c.organization_id = t.organization_id AND c.id = t.connection_id \
     JOIN organization o ON o.id = t.organization_id WHERE t.hash = $1";

/// A token of ours that somebody presented, whatever it opens: known before it is judged, so that a refusal can be
/// told to those who look after its connection.
#[derive(Debug)]
pub struct Presented(Gate);

/// Finds the token.
///
/// # Errors
/// [`Error::Unauthenticated`], in the same words as for a dead one, where there is no such token.
pub async fn present(app: &App, secret: &str) -> Result<Presented> {
    let found = app.store.ask_alike(GATE, vault::hash(secret)).await?;
    let row = found.first().ok_or(NO_LIVE_TOKEN)?;
    Ok(Presented(Gate::from_query_result(row, "")?))
}

const NO_LIVE_TOKEN: Error = Error::Unauthenticated("the bearer token is missing, unknown, expired or revoked");

impl Presented {
    /// The organization that the token belongs to.
    pub fn organization(&self) -> Uuid {
        self.0.organization_id
    }

    /// The connection that the token belongs to.
    pub fn connection(&self) -> Uuid {
        self.0.connection_id
    }

    /// Opens SCIM of the tenant `slug`. The token is judged first; only then does it matter which tenant was asked
    /// for and in what state it is.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for anything but a live token; [`Error::NotFound`] for a tenant that does not
    /// exist or is not the token's; [`Error::Held`] while provisioning is turned off.
    pub fn admit(self, app: &Arc<App>, slug: &str, from: Option<String>, request_id: Uuid) -> Result<Cx> {
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
            return Err(Error::not_found("the SCIM tenant in this URL"));
        }
        let credential =
            Credential::ScimToken { organization: gate.organization_id, id: gate.id, connection: gate.connection_id };
        app.uses.note(credential, now, from);
        app.limits.take(gate.connection_id)?;
        Availability::of(app, gate.integration_mode).check()?;
        if !gate.scim_enabled {
            return Err(Error::Held {
                reason: "ORGANIZATION_DISABLED",
                why:
                    "provisioning over SCIM is turned off for this organization; an administrator can turn it on again"
                        .into(),
            });
        }
        if gate.status == ConnectionStatus::Inactive {
            return Err(Error::Held {
                reason: "CONNECTION_INACTIVE",
                why: format!(
                    "the connection {:?} is deactivated; no account was touched, and an administrator can activate it again",
                    gate.connection_name
                )
                .into(),
            });
        }
        let actor =
            Actor::Connection { id: gate.connection_id, name: gate.connection_name, scopes: scopes(&gate.scopes) };
        let mut cx = Cx::new(app.clone(), actor, gate.organization_id, request_id);
        cx.schema_version = Some(gate.schema_version);
        Ok(cx)
    }
}

/// Writes the last uses of credentials that were noted since the last call. No change of the domain's: it
/// leaves no row in the ledger. What cannot be written now is written with the next call.
pub async fn flush_uses(app: &App) -> Result<()> {
    let mut uses = app.uses.take().into_iter();
    while let Some((credential, used)) = uses.next() {
        if let Err(error) = write_use(app, credential, &used).await {
            app.uses.give_back(std::iter::once((credential, used)).chain(uses));
            return Err(error);
        }
    }
    Ok(())
}

async fn write_use(app: &App, credential: Credential, used: &Use) -> Result<()> {
    let backend = app.store.backend();
    let newer = "(last_used_at IS NULL OR last_used_at < $1)";
    let at = used.at.into();
    let statements = match credential {
        Credential::ScimToken { organization, id, connection } => vec![
            Statement::from_sql_and_values(
                backend,
                format!(
                    "UPDATE scim_token SET last_used_at = $1, last_used_from = $2 \
                     WHERE organization_id = $3 AND id = $4 AND {newer}"
                ),
                [at, used.from.clone().into(), organization.into(), id.into()],
            ),
            Statement::from_sql_and_values(
                backend,
                "UPDATE connection SET last_contact_at = $1 WHERE organization_id = $2 AND id = $3 \
                 AND (last_contact_at IS NULL OR last_contact_at < $1)",
                [used.at.into(), organization.into(), connection.into()],
            ),
        ],
        Credential::ApiKey { organization, id } => vec![Statement::from_sql_and_values(
            backend,
            format!("UPDATE api_key SET last_used_at = $1 WHERE organization_id = $2 AND id = $3 AND {newer}"),
            [at, organization.into(), id.into()],
        )],
    };
    for statement in statements {
        app.store.write.execute_raw(statement).await?;
    }
    Ok(())
}
