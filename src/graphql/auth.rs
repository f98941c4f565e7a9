//! Who calls, and what each field requires.
//!
//! Authentication is an extractor: no handler runs without a [`Caller`]. Authorization is the directive
//! `@requires` on every field: [`Gatekeeper`] reads it from the schema itself before the field is resolved, so
//! what the SDL says is what is enforced, and a field that says nothing is closed.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, ResolveInfo};
use async_graphql::{Enum, PathSegment, Response, ServerError, ServerResult, TypeDirective, Value};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use uuid::Uuid;

use super::http::Refusal;
use super::{limits, page};
use crate::authz::{self, Actor, Permissions};
use crate::context::{App, Cx};
use crate::domain::{key, organization};
use crate::error::{Error, Result};
use crate::jwt;

/// What a caller may be allowed to do. A key or a token carries a set of these.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "authz::Permission")]
pub enum Permission {
    /// See connections, their state and their tokens' metadata, groups, roles and mappings.
    IamRead,
    /// Create, change, activate and deactivate connections; change the organization's settings.
    IamWrite,
    /// Issue, rotate and revoke SCIM tokens and API keys.
    TokenManage,
    /// Delete all SCIM-provisioned users; erase personal data for good.
    DeleteAll,
    /// See personal data of users.
    UserRead,
    /// Change users and groups by hand.
    UserWrite,
    /// Create, edit, remove and restore roles and role mappings.
    AccessWrite,
    /// Read the ledger of changes.
    AuditRead,
    /// Work on the review queue.
    ReviewWrite,
    /// Create organizations and see the installation as a whole.
    PlatformAdmin,
}

/// What the caller needs to select this field. Without a permission: to be authenticated.
#[TypeDirective(location = "FieldDefinition")]
pub fn requires(permission: Option<Permission>) {}

/// Which organization a request is in.
const ORGANIZATION_HEADER: &str = "rolecall-organization";

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    pub cx: Cx,
    /// What a person may do where, by slug; a key belongs to one organization and needs no list.
    pub memberships: Vec<(String, Permissions)>,
    outside: Option<Outside>,
}

/// Why a person's request is in no organization.
#[derive(Debug, Clone)]
enum Outside {
    /// The token names several, or none, and the request does not choose.
    Undecided,
    /// The token does not name the one that was chosen, or it does not exist.
    Unknown,
}

impl Caller {
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

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let request_id = request_id(&parts.headers);
        let refuse = |error| Refusal::of(&error, request_id, &parts.headers);
        let Some(secret) = bearer(&parts.headers) else {
            let why = "send an API key or a token as \"Authorization: Bearer <credential>\" (RFC 6750)";
            return Err(refuse(Error::Unauthenticated(why)));
        };
        if secret.starts_with(key::PREFIX) {
            let cx = key::authenticate(app, secret, request_id).await.map_err(refuse)?;
            return Ok(Self { cx, memberships: Vec::new(), outside: None });
        }
        let claims = jwt::verify(app, secret).map_err(refuse)?;
        let chosen = parts.headers.get(ORGANIZATION_HEADER).map(|value| value.to_str().unwrap_or_default());
        person(app, claims, chosen, request_id).await.map_err(refuse)
    }
}

/// A person's request: in the organization that it chooses among those of the token, or in the only one.
async fn person(app: &Arc<App>, claims: jwt::Claims, chosen: Option<&str>, request_id: Uuid) -> Result<Caller> {
    let jwt::Claims { subject, name, organizations, permissions: everywhere } = claims;
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
    Ok(Caller { cx, memberships, outside })
}

/// The credential of RFC 6750; the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
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
        if let Some(cost) = ctx.data_opt::<limits::Cost>() {
            response.extensions.insert("cost".into(), cost.to_value());
        }
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
