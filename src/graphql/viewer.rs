//! The caller: who it is and what it may do, so that a frontend can hide what would be refused.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::api_key::KeyPurpose;

use super::auth::ApiCaller;
use super::permission::{Permission, needs};
use crate::auth::policy;
use crate::domain::access::api_key;
use crate::domain::tenant::organization;
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, UserError};

/// The kind of an actor.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// An identity provider, through one of the organization's connections.
    Connection,
    /// A script or an application, with an API key.
    ApiKey,
    /// A person or a service, with a token of a trusted issuer.
    Person,
    /// rolecall itself: its command line and its background work.
    System,
}

impl ActorKind {
    /// The kind with this name in the ledger.
    pub fn from_ledger_name(name: &str) -> Self {
        match name {
            "CONNECTION" => Self::Connection,
            "API_KEY" => Self::ApiKey,
            "PERSON" => Self::Person,
            _ => Self::System,
        }
    }

    /// The name in the ledger.
    pub fn ledger_name(self) -> &'static str {
        match self {
            Self::Connection => "CONNECTION",
            Self::ApiKey => "API_KEY",
            Self::Person => "PERSON",
            Self::System => "SYSTEM",
        }
    }
}

/// The kind of a credential of this API.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key.
    ApiKey,
    /// A session of the console, which a link of the command line began. `signOut` ends it.
    ConsoleSession,
    /// A token of a trusted issuer, for a person or a service.
    Token,
}

/// The credential of this request.
#[derive(SimpleObject)]
pub struct ViewerCredential {
    /// The kind of the credential.
    #[graphql(directive = needs::apply(None))]
    kind: CredentialKind,
    /// When it expires; null = not at a known time.
    #[graphql(directive = needs::apply(None))]
    expires_at: Option<DateTime<Utc>>,
}

/// The caller as the schema shows it.
pub struct Viewer;

/// The caller: who it is, which organizations it has access to, and what it may do.
#[Object]
impl Viewer {
    /// What kind of caller this is.
    #[graphql(directive = needs::apply(None))]
    async fn kind(&self, ctx: &Context<'_>) -> Result<ActorKind> {
        Ok(ActorKind::from_ledger_name(relay::cx(ctx)?.actor.kind()))
    }

    /// The caller's name, for people to read.
    #[graphql(directive = needs::apply(None))]
    async fn name(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(relay::cx(ctx)?.actor.name().to_owned())
    }

    /// The credential of this request, and when it ends.
    #[graphql(directive = needs::apply(None))]
    async fn credential(&self, ctx: &Context<'_>) -> async_graphql::Result<ViewerCredential> {
        let caller = ctx.data::<ApiCaller>()?;
        let (kind, expires_at) = match api_key::find_own_key(&caller.cx).await? {
            Some(key) => match key.purpose {
                KeyPurpose::Api => (CredentialKind::ApiKey, key.expires_at),
                KeyPurpose::ConsoleSession => (CredentialKind::ConsoleSession, key.expires_at),
            },
            None => (CredentialKind::Token, caller.until),
        };
        Ok(ViewerCredential { kind, expires_at })
    }

    /// What the caller may do in the organization of this request.
    #[graphql(directive = needs::apply(None))]
    async fn permissions(&self, ctx: &Context<'_>) -> Result<Vec<Permission>> {
        let cx = relay::cx(ctx)?;
        Ok(policy::Permission::ALL
            .into_iter()
            .filter(|held| cx.holds(*held))
            .map(Into::into)
            .collect())
    }

    /// The organizations that the caller has access to. The header `Rolecall-Organization` chooses
    /// the one of a request.
    #[graphql(directive = needs::apply(None))]
    async fn organizations(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Vec<ViewerOrganization>> {
        let caller = ctx.data::<ApiCaller>()?;
        if caller.memberships.is_empty() && caller.require_organization().is_ok() {
            let organization::Organization { slug, name, .. } =
                organization::current_organization(&caller.cx).await?;
            return Ok(vec![ViewerOrganization {
                slug,
                name,
                permissions: self.permissions(ctx).await?,
            }]);
        }
        let slugs: Vec<String> = caller.memberships.iter().map(|(slug, _)| slug.clone()).collect();
        let found = organization::by_slugs(&caller.cx.app, &slugs).await?;
        let entered = found.into_iter().filter_map(|found| {
            let (slug, held) = caller.memberships.iter().find(|(slug, _)| *slug == found.slug)?;
            let permissions = held.iter().copied().map(Into::into).collect();
            Some(ViewerOrganization { slug: slug.clone(), name: found.name, permissions })
        });
        Ok(entered.collect())
    }
}

/// An organization that the caller has access to.
#[derive(SimpleObject)]
pub struct ViewerOrganization {
    /// The short name to send in the header `Rolecall-Organization`.
    #[graphql(directive = needs::apply(None))]
    slug: String,
    /// The name for people to read.
    #[graphql(directive = needs::apply(None))]
    name: String,
    /// What the caller may do there.
    #[graphql(directive = needs::apply(None))]
    permissions: Vec<Permission>,
}

#[derive(Default)]
pub struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// The caller: who it is and what it may do.
    #[graphql(directive = needs::apply(None))]
    async fn viewer(&self) -> Viewer {
        Viewer
    }
}

/// The session to end is that of the request.
#[derive(InputObject)]
pub struct SignOutInput {
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The result of `signOut`.
#[derive(SimpleObject)]
pub struct SignOutPayload {
    /// When the session ended; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    ended_at: Option<DateTime<Utc>>,
    /// Mistakes; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct ViewerMutation;

#[Object]
impl ViewerMutation {
    /// Ends the console session of this request: its credential is refused from this instant on. It
    /// ends no API key, and no token of an issuer.
    #[graphql(directive = needs::apply(None))]
    async fn sign_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Why.")] input: SignOutInput,
    ) -> Result<Option<SignOutPayload>> {
        let done = async {
            let cx = relay::cx_with_reason(ctx, input.reason.as_deref())?;
            api_key::end_own_session(&cx).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FieldMap::EMPTY)?;
        Ok(Some(SignOutPayload { ended_at: done.and_then(|key| key.revoked_at), user_errors }))
    }
}
