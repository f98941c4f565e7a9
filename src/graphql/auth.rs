//! Who calls, and what each field requires.
//!
//! Authentication is an extractor: no handler runs without a [`Caller`]. Authorization is the directive
//! `@requires` on every field: [`Gatekeeper`] reads it from the schema itself before the field is resolved, so
//! what the SDL says is what is enforced, and a field that says nothing is closed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, ResolveInfo};
use async_graphql::{Enum, PathSegment, Response, ServerError, ServerResult, TypeDirective, Value};
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Data};
use uuid::Uuid;

use super::budget::Balance;
use super::http::Refusal;
use super::{Door, limits, page, replay};
use crate::authz::{self, Actor, Permissions};
use crate::context::{App, Cx};
use crate::domain::{key, organization, request_log, token};
use crate::error::{Error, Result};
use crate::jwt;

/// What a caller may be allowed to do. A key or a token carries a set of these.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "authz::Permission")]
pub enum Permission {
    /// See connections, their state and their tokens' metadata, groups, roles, mappings and grants, and everybody's bulk
    /// jobs.
    IamRead,
    /// Create, change, turn on and off and delete connections; change the organization's settings and schemas; cancel
    /// bulk jobs of others.
    IamWrite,
    /// Issue, rotate and revoke SCIM tokens and API keys.
    TokenManage,
    /// Delete all SCIM-provisioned users; erase personal data for good.
    DeleteAll,
    /// See personal data of users.
    UserRead,
    /// Make, change and delete users and groups by hand.
    UserWrite,
    /// Say who holds what: roles, role mappings and direct grants, previewed and made; which accounts are protected.
    AccessWrite,
    /// Read the ledger of changes.
    AuditRead,
    /// Work on the review queue.
    ReviewWrite,
    /// The operator's own permission, for people alone. It opens nothing here yet: organizations are made on the command
    /// line.
    PlatformAdmin,
}

/// What the caller needs to select this field. Without a permission: to be authenticated.
#[TypeDirective(location = "FieldDefinition")]
pub fn requires(permission: Option<Permission>) {}

/// Which organization a request is in.
const ORGANIZATION_HEADER: &str = "rolecall-organization";

/// What a caller shows, and the organization it chooses. A stream keeps it, to have it checked again.
#[derive(Clone)]
pub struct Credential {
    secret: String,
    organization: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("organization", &self.organization).finish_non_exhaustive()
    }
}

impl Credential {
    /// The credential of RFC 6750; the scheme in any case.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let secret = bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)?.to_owned();
        let organization = headers.get(ORGANIZATION_HEADER).map(|value| value.to_str().unwrap_or_default().to_owned());
        Some(Self { secret, organization })
    }

    /// The same in the payload of `connection_init`, where browsers, which cannot set headers on a socket, put it:
    /// fields named like the headers, in any case, or in an object `headers`. `authToken` holds the bare secret.
    pub fn of_payload(payload: &Map<String, Data>) -> Option<Self> {
        let nested = payload.get("headers").and_then(Data::as_object);
        let field = |wanted: &str| {
            let mut fields = payload.iter().chain(nested.into_iter().flatten());
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.as_str()
        };
        let secret = field("authorization").and_then(bearer).or_else(|| field("authToken"))?.to_owned();
        Some(Self { secret, organization: field(ORGANIZATION_HEADER).map(Into::into) })
    }

    /// Lets the caller in, if the credential opens anything now.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]
    pub async fn open(self, app: &Arc<App>, request_id: Uuid) -> Result<Caller> {
        self.try_open(app, request_id).await.map_err(|closed| closed.error)
    }

    async fn try_open(self, app: &Arc<App>, request_id: Uuid) -> Result<Caller, Closed> {
        if self.secret.starts_with(token::PREFIX) {
            return Err(Closed { error: SCIM_TOKEN, reason: "CREDENTIAL_KIND", organization: None });
        }
        if self.secret.starts_with(key::PREFIX) {
            let cx = key::authenticate(app, &self.secret, request_id).await.map_err(Closed::of_key)?;
            return Ok(Caller { cx, memberships: Vec::new(), until: None, outside: None, credential: self });
        }
        let claims = jwt::verify(app, &self.secret).await?;
        Ok(person(app, claims, self, request_id).await?)
    }
}

/// Why a credential opens nothing, and of which organization it is, if that is known.
struct Closed {
    error: Error,
    reason: &'static str,
    organization: Option<Uuid>,
}

impl Closed {
    fn of_key(refused: key::Refused) -> Self {
        let (reason, organization) = match &refused {
            key::Refused::Ended(organization) => ("CREDENTIAL_DEAD", Some(*organization)),
            _ => ("CREDENTIAL_UNKNOWN", None),
        };
        Self { error: refused.into(), reason, organization }
    }
}

impl From<Error> for Closed {
    fn from(error: Error) -> Self {
        Self { error, reason: "CREDENTIAL_UNKNOWN", organization: None }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    pub cx: Cx,
    /// What a person may do where, by slug; a key belongs to one organization and needs no list.
    pub memberships: Vec<(String, Permissions)>,
    /// Until when the credential vouches for a person; a key can be asked again instead.
    pub until: Option<DateTime<Utc>>,
    outside: Option<Outside>,
    credential: Credential,
}

/// Why a person's request is in no organization.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outside {
    /// The token names several, or none, and the request does not choose.
    Undecided,
    /// The token does not name the one that was chosen, or it does not exist.
    Unknown,
}

impl Caller {
    /// Whoever left something to be done later, as they may act now. No credential was kept for that.
    pub fn absent(cx: Cx) -> Self {
        let credential = Credential { secret: String::new(), organization: None };
        Self { cx, memberships: Vec::new(), until: None, outside: None, credential }
    }

    /// The caller, let in once more for another request; what it may do must be what it was.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]
    pub async fn again(&self) -> Result<Self> {
        let again = self.credential.clone().open(&self.cx.app, Uuid::now_v7()).await?;
        let same = again.cx.actor == self.cx.actor
            && again.cx.organization() == self.cx.organization()
            && again.outside == self.outside;
        if same { Ok(again) } else { Err(Error::Unauthenticated("the credential gives something else by now")) }
    }

    /// Who this is across requests and credentials of the same kind.
    pub fn principal(&self) -> String {
        format!("{} {}", self.cx.actor.kind(), self.cx.actor.id().unwrap_or_default())
    }

    /// Refuses a request that is in no organization.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying how to choose one, or [`Error::NotFound`].
    pub fn inside(&self) -> Result<()> {
        match &self.outside {
            None => Ok(()),
            Some(Outside::Unknown) => Err(Error::not_found("the organization")),
            Some(Outside::Undecided) => {
                let slugs: Vec<_> = self.memberships.iter().take(20).map(|(slug, _)| slug.as_str()).collect();
                let choice = if slugs.is_empty() { "none".to_owned() } else { slugs.join(", ") };
                let why = format!("name one with the header Rolecall-Organization (yours: {choice})");
                Err(Error::invalid("organization", why))
            }
        }
    }
}

/// What a request without a credential is told.
pub const ANONYMOUS: Error =
    Error::Unauthenticated("send an API key or a token as \"Authorization: Bearer <credential>\" (RFC 6750)");

/// What a client with a SCIM token is told.
const SCIM_TOKEN: Error = Error::Unauthenticated(
    "this is a SCIM token (rcs_), which opens SCIM alone; send an API key (rck_) or a person's token here",
);

/// Lets a caller in who signs in over `interface` from `source`. One who cannot is counted, wherever it happens.
///
/// # Errors
/// [`Error::Unauthenticated`]
pub async fn sign_in(
    app: &Arc<App>,
    credential: Option<Credential>,
    request_id: Uuid,
    interface: &'static str,
    source: Option<IpAddr>,
) -> Result<Caller> {
    let Some(credential) = credential else {
        request_log::note_failed_sign_in(app, None, "", "CREDENTIAL_MISSING", interface, source);
        return Err(ANONYMOUS);
    };
    let named = credential.organization.clone().unwrap_or_default();
    credential.try_open(app, request_id).await.map_err(|Closed { error, reason, organization }| {
        if matches!(error, Error::Unauthenticated(_)) {
            request_log::note_failed_sign_in(app, organization, &named, reason, interface, source);
        }
        error
    })
}

/// The address at the other end of a request's connection.
pub fn source(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

/// The interface of a request, by the route that it took.
fn interface(parts: &Parts) -> &'static str {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match route {
        "/graphql" if super::http::reads_events(&parts.headers) => "event stream",
        "/graphql" => "GraphQL",
        "/bulk" => "bulk upload",
        "/reconciliations" => "reconciliation upload",
        _ => "export",
    }
}

impl FromRequestParts<Arc<Door>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Refusal> {
        let request_id = request_id(&parts.headers);
        let credential = Credential::of_headers(&parts.headers);
        // A browser that opens the page, or a socket, says later who it is.
        let opened =
            match credential.is_none() && super::http::begins_anonymously(&parts.method, &parts.headers, &parts.uri) {
                true => Err(ANONYMOUS),
                false => {
                    let (interface, source) = (interface(parts), source(&parts.extensions));
                    sign_in(&door.app, credential, request_id, interface, source).await
                }
            };
        opened.map_err(|error| Refusal::of(&error, request_id, &parts.headers))
    }
}

/// A person's request: in the organization that it chooses among those of the token, or in the only one.
async fn person(app: &Arc<App>, claims: jwt::Claims, credential: Credential, request_id: Uuid) -> Result<Caller> {
    let chosen = credential.organization.as_deref();
    let jwt::Claims { subject, name, organizations, permissions: everywhere, until } = claims;
    let held = match chosen {
        Some(slug) => organizations.get_key_value(slug),
        None => organizations.iter().next().filter(|_| organizations.len() == 1),
    };
    let entered = match held {
        Some((slug, held)) => organization::by_slug(app, slug).await?.map(|found| (found, held | &everywhere)),
        None => None,
    };
    let outside = match (&entered, chosen) {
        (Some(_), _) => None,
        (None, None) if held.is_none() => Some(Outside::Undecided),
        (None, _) => Some(Outside::Unknown),
    };
    let (id, schema_version, permissions) = match entered {
        Some((found, permissions)) => (found.id, Some(found.schema_version), permissions),
        // Outside of every organization only the platform's own permission means anything.
        None => (Uuid::nil(), None, &everywhere & &Permissions::from([authz::Permission::PlatformAdmin])),
    };
    let memberships = organizations.iter().map(|(slug, held)| (slug.clone(), held | &everywhere)).collect();
    let actor = Actor::Person { subject, name, permissions };
    let mut cx = Cx::new(app.clone(), actor, id, request_id);
    cx.schema_version = schema_version;
    Ok(Caller { cx, memberships, until, outside, credential })
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty()).then(|| secret.trim())
}

/// The id under which a request is written to the ledger and the log: the caller's, if it is a UUID.
pub fn request_id(headers: &HeaderMap) -> Uuid {
    let given = headers.get("x-request-id").and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

/// Makes a [`Gatekeeper`] for every request.
pub struct Gate;

impl ExtensionFactory for Gate {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Gatekeeper { errors: Mutex::default() })
    }
}

/// Asks for the permission of every field before it is resolved, and keeps one field's error from taking more of
/// the answer with it than the schema says: a nullable field that fails is null, with its error beside it.
struct Gatekeeper {
    errors: Mutex<Vec<ServerError>>,
}

#[async_trait::async_trait]
impl Extension for Gatekeeper {
    async fn execute(&self, ctx: &ExtensionContext<'_>, name: Option<&str>, next: NextExecute<'_>) -> Response {
        let mut response = next.run(ctx, name).await;
        response.errors.append(&mut self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        let request_id = ctx.data_opt::<Caller>().map(|caller| caller.cx.request_id).unwrap_or_default();
        for error in &mut response.errors {
            page::translate(error, request_id);
        }
        tell(&mut response, ctx.data_opt(), ctx.data_opt());
        response
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let nullable = !info.return_type.ends_with('!');
        let path = info.path_node;
        if info.name == replay::SECRET
            && let Some(secrets) = ctx.data_opt::<replay::Secrets>()
        {
            secrets.note(path.to_string_vec());
        }
        let position = info.field.name.pos;
        let result = match allowed(ctx, &info) {
            Ok(()) => next.run(ctx, info).await,
            Err(error) => Err(page::faulty(error).into_server_error(position)),
        };
        result.or_else(|mut error| {
            if error.path.is_empty() {
                error.path = segments(path.to_string_vec());
            }
            if !nullable {
                return Err(error);
            }
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
            Ok(Some(Value::Null))
        })
    }
}

/// Adds what the operation cost to its answer, and what the caller has left.
pub fn tell(response: &mut Response, cost: Option<&limits::Cost>, balance: Option<&Balance>) {
    if let Some(cost) = cost {
        response.extensions.insert("cost".into(), cost.to_value());
    }
    if let Some(balance) = balance {
        response.extensions.insert("budget".into(), balance.to_value());
    }
}

fn segments(names: Vec<String>) -> Vec<PathSegment> {
    names.into_iter().map(|name| name.parse().map_or(PathSegment::Field(name), PathSegment::Index)).collect()
}

/// Whether the caller holds what the field's `@requires` names.
fn allowed(ctx: &ExtensionContext<'_>, info: &ResolveInfo<'_>) -> Result<()> {
    // Introspection tells what the published schema tells; the elements of a list were asked for with the list.
    if info.is_for_introspection || info.name.starts_with("__") || info.parent_type.starts_with('[') {
        return Ok(());
    }
    let closed = || Error::Internal(format!("{}.{} says nothing about who may see it", info.parent_type, info.name));
    let field = ctx.schema_env.registry.types.get(info.parent_type).and_then(|ty| ty.field_by_name(info.name));
    let directive = field.and_then(|field| field.directive_invocations.iter().find(|found| found.name == "requires"));
    let caller = ctx.data_opt::<Caller>().ok_or_else(closed)?;
    match directive.ok_or_else(closed)?.args.get("permission") {
        None => Ok(()),
        Some(Value::Enum(name)) => {
            let permission: authz::Permission = name.parse().map_err(Error::Internal)?;
            if permission != authz::Permission::PlatformAdmin {
                caller.inside()?;
            }
            if caller.cx.holds(permission) {
                return Ok(());
            }
            Err(Error::Forbidden(format!("this needs the permission {permission}").into()))
        }
        Some(_) => Err(closed()),
    }
}
