//! Who calls. Authentication is an extractor: no handler runs without an [`ApiCaller`]. What each
//! field requires of its caller is in [`permission`](super::permission).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Data};
use uuid::Uuid;

use super::http::CallerRejection;
use crate::auth::policy;
use crate::auth::policy::{Actor, Permissions};
use crate::context::local_issuer;
use crate::context::{App, CallerIds, Cx};
use crate::domain::access::{api_key, console_session};
use crate::domain::connection::{request_log, scim_token};
use crate::domain::tenant::lifecycle;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::suspended_error;
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::graphql::GraphqlState;
use crate::request_head::{bearer_token, client_ip, parse_bearer, request_id};

/// The header that chooses the organization of a request, by its slug.
const ORGANIZATION_HEADER: &str = "rolecall-organization";

/// The secret that a caller sends, and the organization that it chooses. A stream keeps both, to
/// authenticate the caller again.
#[derive(Clone)]
pub struct CallerCredential {
    secret: String,
    organization: Option<String>,
}

impl fmt::Debug for CallerCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}

impl CallerCredential {
    /// The bearer token of RFC 6750; the name of the scheme in any case.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let secret = bearer_token(headers)?.to_owned();
        let organization = headers
            .get(ORGANIZATION_HEADER)
            .map(|value| value.to_str().unwrap_or_default().to_owned());
        Some(Self { secret, organization })
    }

    /// The same from the payload of `connection_init`, because a browser cannot set headers on a
    /// WebSocket: fields named like the headers, in any case, also in an object `headers`.
    /// `authToken` holds the secret without a scheme.
    pub fn from_init_payload(payload: &Map<String, Data>) -> Option<Self> {
        let nested = payload.get("headers").and_then(Data::as_object);
        let field = |wanted: &str| {
            let mut fields = payload.iter().chain(nested.into_iter().flatten());
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.as_str()
        };
        let secret = field("authorization")
            .and_then(parse_bearer)
            .or_else(|| field("authToken"))?
            .to_owned();
        Some(Self { secret, organization: field(ORGANIZATION_HEADER).map(Into::into) })
    }

    /// Authenticates the caller, if the credential is valid now.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]
    pub async fn authenticate_caller(self, app: &Arc<App>, request_id: Uuid) -> Result<ApiCaller> {
        self.try_authenticate(app, request_id).await.map_err(|closed| closed.error)
    }

    async fn try_authenticate(
        self,
        app: &Arc<App>,
        request_id: Uuid,
    ) -> Result<ApiCaller, SignInFailure> {
        if self.secret.starts_with(scim_token::TOKEN_PREFIX) {
            return Err(SignInFailure {
                error: SCIM_TOKEN_REFUSED,
                reason: RefusalReason::CredentialKind,
                organization: None,
            });
        }
        if self.secret.starts_with(api_key::API_KEY_PREFIX) {
            let cx = api_key::authenticate_key(app, &self.secret, request_id)
                .await
                .map_err(SignInFailure::from_refused_key)?;
            let cx = console_session::limit_to_roles(cx).await?;
            return Ok(ApiCaller {
                cx,
                memberships: Vec::new(),
                until: None,
                outside: None,
                credential: self,
            });
        }
        let claims = local_issuer::verify_token(app, &self.secret).await?;
        Ok(authenticate_person(app, claims, self, request_id).await?)
    }
}

/// Why a credential was refused, and its organization, if that is known.
struct SignInFailure {
    error: Error,
    reason: RefusalReason,
    organization: Option<Uuid>,
}

impl SignInFailure {
    fn from_refused_key(refused: api_key::KeyRefused) -> Self {
        let (reason, organization) = match &refused {
            api_key::KeyRefused::Ended(organization) => {
                (RefusalReason::CredentialDead, Some(*organization))
            }
            api_key::KeyRefused::Suspended => (RefusalReason::OrganizationSuspended, None),
            _ => (RefusalReason::CredentialUnknown, None),
        };
        Self { error: refused.into(), reason, organization }
    }
}

impl From<Error> for SignInFailure {
    fn from(error: Error) -> Self {
        Self { error, reason: RefusalReason::CredentialUnknown, organization: None }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct ApiCaller {
    pub cx: Cx,
    /// A person's permissions in each organization, by slug. Empty for a key, which belongs to one
    /// organization.
    pub memberships: Vec<(String, Permissions)>,
    /// When a person's token expires. None for a key, which can be looked up again instead.
    pub until: Option<DateTime<Utc>>,
    outside: Option<MissingOrganization>,
    credential: CallerCredential,
}

/// Why a person's request is in no organization.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MissingOrganization {
    /// The token names several organizations, or none, and the request does not choose one.
    Undecided,
    /// The token does not name the organization that was chosen, or that one does not exist.
    Unknown,
    /// The operator has suspended the organization.
    Suspended,
}

impl ApiCaller {
    /// The caller of deferred work, with the permissions that the caller has now. It has no
    /// credential, because none is stored for deferred work.
    pub fn for_deferred_work(cx: Cx) -> Self {
        let credential = CallerCredential { secret: String::new(), organization: None };
        Self { cx, memberships: Vec::new(), until: None, outside: None, credential }
    }

    /// Authenticates the caller again, for another request. Its permissions and its organization
    /// must be what they were.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]
    pub async fn authenticate_again(&self) -> Result<Self> {
        let again =
            self.credential.clone().authenticate_caller(&self.cx.app, Uuid::now_v7()).await?;
        let same = again.cx.actor == self.cx.actor
            && again.cx.organization() == self.cx.organization()
            && again.outside == self.outside;
        if same {
            Ok(again)
        } else {
            Err(Error::Unauthenticated("the credential gives other permissions by now"))
        }
    }

    /// Identifies the caller across requests, and across its credentials of one kind.
    pub fn principal(&self) -> String {
        format!("{} {}", self.cx.actor.kind(), self.cx.actor.id().unwrap_or_default())
    }

    /// Refuses a request that is in no organization.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying how to choose one, or [`Error::NotFound`].
    pub fn require_organization(&self) -> Result<()> {
        match &self.outside {
            None => Ok(()),
            Some(MissingOrganization::Unknown) => Err(Error::not_found(Noun::Organization)),
            Some(MissingOrganization::Suspended) => Err(suspended_error()),
            Some(MissingOrganization::Undecided) => {
                let slugs: Vec<_> =
                    self.memberships.iter().take(20).map(|(slug, _)| slug.as_str()).collect();
                let choice = if slugs.is_empty() { "none".to_owned() } else { slugs.join(", ") };
                let why =
                    format!("name one with the header Rolecall-Organization (yours: {choice})");
                Err(Error::invalid("organization", why))
            }
        }
    }
}

/// The error for a request without a credential.
pub const MISSING_CREDENTIAL: Error = Error::Unauthenticated(
    "send an API key or a token as \"Authorization: Bearer <credential>\" (RFC 6750)",
);

/// The error for a client that sends a SCIM token.
const SCIM_TOKEN_REFUSED: Error = Error::Unauthenticated(
    "this is a SCIM token (rcs_), for SCIM only; send an API key (rck_) or a person's token",
);

/// Authenticates a caller that signs in over `interface` from `source`. Failed sign-ins of all
/// interfaces are counted.
///
/// # Errors
/// [`Error::Unauthenticated`]
pub async fn sign_in(
    app: &Arc<App>,
    credential: Option<CallerCredential>,
    request_id: Uuid,
    interface: &'static str,
    source: Option<IpAddr>,
) -> Result<ApiCaller> {
    let Some(credential) = credential else {
        request_log::note_failed_sign_in(
            app,
            None,
            "",
            RefusalReason::CredentialMissing,
            interface,
            source,
        );
        return Err(MISSING_CREDENTIAL);
    };
    let named = credential.organization.clone().unwrap_or_default();
    credential.try_authenticate(app, request_id).await.map_err(
        |SignInFailure { error, reason, organization }| {
            if matches!(error, Error::Unauthenticated(_)) {
                request_log::note_failed_sign_in(
                    app,
                    organization,
                    &named,
                    reason,
                    interface,
                    source,
                );
            }
            error
        },
    )
}

/// The name of the interface of a request, by its route.
fn interface_name(parts: &Parts) -> &'static str {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match route {
        "/graphql" if super::http::accepts_event_stream(&parts.headers) => "event stream",
        "/graphql" => "GraphQL",
        "/bulk" => "bulk upload",
        "/reconciliations" => "reconciliation upload",
        _ => "export",
    }
}

impl FromRequestParts<Arc<GraphqlState>> for ApiCaller {
    type Rejection = CallerRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        door: &Arc<GraphqlState>,
    ) -> Result<Self, CallerRejection> {
        let request_id = request_id(&parts.headers);
        let credential = CallerCredential::from_headers(&parts.headers);
        // A browser that loads GraphiQL, or opens a WebSocket, sends its credential later.
        let anonymous = credential.is_none()
            && super::http::allows_missing_credential(&parts.method, &parts.headers, &parts.uri);
        let opened = if anonymous {
            Err(MISSING_CREDENTIAL)
        } else {
            let (interface, source) = (interface_name(parts), client_ip(&parts.extensions));
            sign_in(&door.app, credential, request_id, interface, source).await
        };
        if let (Ok(caller), Some(ids)) = (&opened, parts.extensions.get::<CallerIds>())
            // A person may be in no organization.
            && !caller.cx.organization().is_nil()
        {
            ids.note_caller(caller.cx.organization(), None);
        }
        opened.map_err(|error| CallerRejection::from_error(&error, request_id, &parts.headers))
    }
}

/// A person's request: in the organization that it chooses among those of the token, or in the only
/// one.
async fn authenticate_person(
    app: &Arc<App>,
    claims: local_issuer::IssuerClaims,
    credential: CallerCredential,
    request_id: Uuid,
) -> Result<ApiCaller> {
    let chosen = credential.organization.as_deref();
    let everywhere = claims.permissions;
    let local_issuer::IssuerClaims { subject, name, organizations, until, .. } = claims;
    let held = match chosen {
        Some(slug) => organizations.get_key_value(slug),
        None => organizations.iter().next().filter(|_| organizations.len() == 1),
    };
    let found = match held {
        Some((slug, held)) => organization::by_slug(app, slug).await?.map(|found| (found, held)),
        None => None,
    };
    let suspended = found.as_ref().is_some_and(|(found, _)| found.suspended_at.is_some());
    let entered = found.filter(|_| !suspended).map(|(found, held)| {
        let permissions = permissions_inside(&found, held | &everywhere, app.clock.now());
        (found, permissions)
    });
    let outside = match (&entered, chosen) {
        (Some(_), _) => None,
        (None, _) if suspended => Some(MissingOrganization::Suspended),
        (None, None) if held.is_none() => Some(MissingOrganization::Undecided),
        (None, _) => Some(MissingOrganization::Unknown),
    };
    let (id, schema_version, permissions) = match entered {
        Some((found, permissions)) => (found.id, Some(found.schema_version), permissions),
        // Outside of every organization only `PLATFORM_ADMIN` has a meaning.
        None => (
            Uuid::nil(),
            None,
            &everywhere & &Permissions::from([policy::Permission::PlatformAdmin]),
        ),
    };
    let memberships =
        organizations.iter().map(|(slug, held)| (slug.clone(), held | &everywhere)).collect();
    let actor = Actor::Person { subject, name, permissions };
    let mut cx = Cx::new(app.clone(), actor, id, request_id);
    cx.schema_version = schema_version;
    Ok(ApiCaller { cx, memberships, until, outside, credential })
}

/// What a person may do in an organization. The operator sees nothing there that is the
/// organization's own, unless the organization lets it in.
fn permissions_inside(
    organization: &organization::Organization,
    held: Permissions,
    now: DateTime<Utc>,
) -> Permissions {
    let operator = policy::Permission::PlatformAdmin;
    if held.contains(&operator) && !lifecycle::admits_operator(organization, now) {
        return Permissions::from([operator]);
    }
    held
}
