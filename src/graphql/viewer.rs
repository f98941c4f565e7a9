//! The caller itself: who it is and what it may do, so that menus can hide what would be refused.

use async_graphql::{Context, Enum, Object, SimpleObject};

use super::auth::{Caller, Permission, requires};
use super::page;
use crate::authz;
use crate::domain::organization;
use crate::error::Result;

/// What kind of actor asked for something or did it.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// An identity provider, through one of the organization's connections.
    Connection,
    /// A script or an application, with an API key.
    ApiKey,
    /// A person or a service that a trusted issuer vouches for.
    Person,
    /// rolecall itself: its command line and its background work.
    System,
}

impl ActorKind {
    /// The kind that the ledger names so.
    pub fn named(name: &str) -> Self {
        match name {
            "CONNECTION" => Self::Connection,
            "API_KEY" => Self::ApiKey,
            "PERSON" => Self::Person,
            _ => Self::System,
        }
    }
}

/// The caller.
pub struct Viewer;

/// The caller: who it is, which organizations it may enter, and what it may do.
#[Object]
impl Viewer {
    /// What kind of caller this is.
    #[graphql(directive = requires::apply(None))]
    async fn kind(&self, ctx: &Context<'_>) -> Result<ActorKind> {
        Ok(ActorKind::named(page::cx(ctx)?.actor.kind()))
    }

    /// The caller's name, for people to read.
    #[graphql(directive = requires::apply(None))]
    async fn name(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(page::cx(ctx)?.actor.name().to_owned())
    }

    /// What the caller may do in the organization of this request.
    #[graphql(directive = requires::apply(None))]
    async fn permissions(&self, ctx: &Context<'_>) -> Result<Vec<Permission>> {
        let cx = page::cx(ctx)?;
        Ok(authz::Permission::ALL.into_iter().filter(|held| cx.holds(*held)).map(Into::into).collect())
    }

    /// The organizations that the caller may enter. A request enters one with the header `Rolecall-Organization`.
    #[graphql(directive = requires::apply(None))]
    async fn organizations(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<ViewerOrganization>> {
        let caller = ctx.data::<Caller>()?;
        if caller.memberships.is_empty() && caller.inside().is_ok() {
            let organization::Organization { slug, name, .. } = organization::current(&caller.cx).await?;
            return Ok(vec![ViewerOrganization { slug, name, permissions: self.permissions(ctx).await? }]);
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

/// An organization that the caller may enter.
#[derive(SimpleObject)]
pub struct ViewerOrganization {
    /// The short name to send in the header `Rolecall-Organization`.
    #[graphql(directive = requires::apply(None))]
    slug: String,
    /// The name for people to read.
    #[graphql(directive = requires::apply(None))]
    name: String,
    /// What the caller may do there.
    #[graphql(directive = requires::apply(None))]
    permissions: Vec<Permission>,
}

#[derive(Default)]
pub struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// The caller: who it is and what it may do.
    #[graphql(directive = requires::apply(None))]
    async fn viewer(&self) -> Viewer {
        Viewer
    }
}
