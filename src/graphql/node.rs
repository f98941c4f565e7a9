//! Things by their global id, whatever they are.

use async_graphql::{Context, ID, Interface, Object};

use super::adoption::AdoptionProposal;
use super::auth::requires;
use super::bulk::BulkJob;
use super::change::AccessPreview;
use super::connection::IdentitySource;
use super::event::Event;
use super::extension::SchemaExtension;
use super::failure::Failure;
use super::grant::RoleGrant;
use super::group::Group;
use super::key::ApiKey;
use super::loaders::{
    self, ConnectionId, EventId, FailureId, FindingId, GrantId, GroupId, KeyId, MappingId, ProposalId, RoleId,
    SyncRunId, TokenId, UserId,
};
use super::mapping::RoleMapping;
use super::organization::Organization;
use super::page::{self, Kind, MAX_PAGE};
use super::reconcile::{Finding, Reconciliation};
use super::role::Role;
use super::sync::SyncRun;
use super::token::ScimToken;
use super::user::User;
use crate::domain::{change, extension};
use crate::error::{Error, Rule};

/// A thing that has an id of its own in this API.
#[derive(Interface)]
#[graphql(field(
    name = "id",
    ty = "ID",
    desc = "The thing's id in the whole API; opaque.",
    directive = requires::apply(None)
))]
pub enum Node {
    Organization(Organization),
    IdentitySource(IdentitySource),
    ScimToken(ScimToken),
    ApiKey(ApiKey),
    User(User),
    Group(Group),
    Role(Role),
    RoleMapping(RoleMapping),
    RoleGrant(RoleGrant),
    AccessPreview(AccessPreview),
    SchemaExtension(SchemaExtension),
    AdoptionProposal(AdoptionProposal),
    BulkJob(BulkJob),
    Failure(Failure),
    SyncRun(SyncRun),
    Reconciliation(Reconciliation),
    Finding(Finding),
    Event(Event),
}

/// The thing with this id; none for an id that stands for nothing here.
async fn find(ctx: &Context<'_>, id: &ID) -> async_graphql::Result<Option<Node>> {
    let Some((kind, id)) = page::parse(id) else { return Ok(None) };
    Ok(match kind {
        Kind::Organization => {
            (id == page::cx(ctx)?.organization()).then_some(Node::Organization(Organization::default()))
        }
        Kind::IdentitySource => loaders::one(ctx, ConnectionId(id)).await?.map(|row| Node::IdentitySource(row.into())),
        Kind::ScimToken => loaders::one(ctx, TokenId(id)).await?.map(|row| Node::ScimToken(row.into())),
        Kind::ApiKey => loaders::one(ctx, KeyId(id)).await?.map(|row| Node::ApiKey(row.into())),
        Kind::User => loaders::one(ctx, UserId(id)).await?.map(|row| Node::User(row.into())),
        Kind::Group => loaders::one(ctx, GroupId(id)).await?.map(|row| Node::Group(row.into())),
        Kind::Role => loaders::one(ctx, RoleId(id)).await?.map(|row| Node::Role(row.into())),
        Kind::RoleMapping => loaders::one(ctx, MappingId(id)).await?.map(|row| Node::RoleMapping(row.into())),
        Kind::RoleGrant => loaders::one(ctx, GrantId(id)).await?.map(|row| Node::RoleGrant(row.into())),
        Kind::AccessPreview => match change::get(page::cx(ctx)?, id).await {
            Ok(row) => Some(Node::AccessPreview(AccessPreview(row))),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        },
        Kind::SchemaExtension => {
            extension::by_id(page::cx(ctx)?, id).await?.map(|row| Node::SchemaExtension(row.into()))
        }
        Kind::AdoptionProposal => {
            loaders::one(ctx, ProposalId(id)).await?.map(|row| Node::AdoptionProposal(row.into()))
        }
        Kind::SyncRun => loaders::one(ctx, SyncRunId(id)).await?.map(|row| Node::SyncRun(row.into())),
        Kind::Reconciliation => Reconciliation::find(page::cx(ctx)?, id).await?.map(Node::Reconciliation),
        Kind::Finding => loaders::one(ctx, FindingId(id)).await?.map(|row| Node::Finding(row.into())),
        Kind::BulkJob => BulkJob::find(page::cx(ctx)?, id).await?.map(Node::BulkJob),
        Kind::Failure => loaders::one(ctx, FailureId(id)).await?.map(|row| Node::Failure(row.into())),
        Kind::Event => loaders::one(ctx, EventId(id)).await?.map(|row| Node::Event(row.into())),
    })
}

#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// The thing with this id; null for an id that stands for nothing in this organization.
    #[graphql(directive = requires::apply(None))]
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The thing's global id.")] id: ID,
    ) -> async_graphql::Result<Option<Node>> {
        find(ctx, &id).await
    }

    /// The things with these ids, in their order; null in the place of an id that stands for nothing here.
    #[graphql(directive = requires::apply(None))]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Global ids, at most 100.")] ids: Vec<ID>,
    ) -> async_graphql::Result<Vec<Option<Node>>> {
        if ids.len() > MAX_PAGE.unsigned_abs() as usize {
            return Err(Error::broken(Rule::TooMany, "ids", format!("must be at most {MAX_PAGE}")).into());
        }
        let found = futures_util::future::join_all(ids.iter().map(|id| find(ctx, id))).await;
        // One thing that may not be seen takes nothing from the others.
        Ok(found
            .into_iter()
            .map(|found| {
                found.unwrap_or_else(|error| {
                    ctx.add_error(ctx.set_error_path(error.into_server_error(ctx.item.pos)));
                    None
                })
            })
            .collect())
    }
}
