//! The caller: who it is and what it may do, so that a frontend can hide what would be refused.

use async_graphql::{Context, Enum, Object, SimpleObject};

use super::auth::ApiCaller;
use super::permission::{Permission, needs};
use crate::auth::policy;
use crate::domain::tenant::organization;
use crate::error::Result;
use crate::graphql::relay;

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
