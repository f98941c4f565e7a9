//! Objects of every type by their global id.

use async_graphql::{Context, ID, Interface, Object, PathSegment};
use uuid::Uuid;

use super::adoption::AdoptionProposal;
use super::alert::{AlertObject, MailRecipientObject};
use super::api_key::ApiKeyObject;
use super::bulk::BulkJob;
use super::change_set::AccessPreview;
use super::connection::IdentitySource;
use super::deletion::DeletionJob;
use super::delivery::DeliveryObject;
use super::destination::DestinationObject;
use super::document_limits::MAX_PAGE_ROWS;
use super::domain::DomainObject;
use super::event::EventObject;
use super::failure::FailureObject;
use super::group::GroupObject;
use super::invitation::InvitationObject;
use super::loaders::{
    self, AlertId, ApiKeyId, ConnectionId, DeliveryId, DestinationId, EventId, FailureId,
    FindingId, GroupId, ProposalId, RoleGrantId, RoleId, RoleMappingId, ScimTokenId, SetupLinkId,
    SyncRunId, UserId,
};
use super::node_reference::{AnyNode, NodeFinder};
use super::organization::OrganizationObject;
use super::permission::needs;
use super::reconcile::{FindingObject, ReconciliationObject};
use super::role::RoleObject;
use super::role_grant::RoleGrant;
use super::role_mapping::RoleMapping;
use super::schema_extension::SchemaExtension;
use super::scim_token::ScimToken;
use super::setup_link::SetupLinkObject;
use super::sync::SyncRun;
use super::user::UserObject;
use crate::domain::access::{change_set, invitation};
use crate::domain::alert::recipient;
use crate::domain::directory::schema_extension;
use crate::domain::tenant::domain;
use crate::error::{Error, Rule};
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// An object that has a global id.
#[derive(Interface)]
#[graphql(
    name = "Node",
    field(
        name = "id",
        ty = "ID",
        desc = "The object's global id: opaque, and unique in the whole API.",
        directive = needs::apply(None)
    )
)]
pub enum NodeObject {
    Organization(OrganizationObject),
    IdentitySource(IdentitySource),
    ScimToken(ScimToken),
    SetupLink(SetupLinkObject),
    ApiKey(ApiKeyObject),
    User(UserObject),
    Group(GroupObject),
    Role(RoleObject),
    RoleMapping(RoleMapping),
    RoleGrant(RoleGrant),
    AccessPreview(AccessPreview),
    SchemaExtension(SchemaExtension),
    AdoptionProposal(AdoptionProposal),
    Alert(AlertObject),
    MailRecipient(MailRecipientObject),
    BulkJob(BulkJob),
    DeletionJob(DeletionJob),
    Failure(FailureObject),
    SyncRun(SyncRun),
    Reconciliation(ReconciliationObject),
    Finding(FindingObject),
    Destination(DestinationObject),
    Delivery(DeliveryObject),
    Domain(DomainObject),
    Invitation(InvitationObject),
    Event(EventObject),
}

/// The object with this global id; none if the organization has no such object.
async fn find_node(ctx: &Context<'_>, id: &ID) -> async_graphql::Result<Option<NodeObject>> {
    let Some((kind, id)) = relay::parse_global_id(id) else { return Ok(None) };
    find_node_of_kind(ctx, kind, id).await
}

/// The object of this kind and id; none if the organization has no such object.
///
/// # Errors
/// [`Error::Forbidden`] if the caller may not read objects of this kind.
async fn find_node_of_kind(
    ctx: &Context<'_>,
    kind: NodeKind,
    id: Uuid,
) -> async_graphql::Result<Option<NodeObject>> {
    Ok(match kind {
        NodeKind::Organization => (id == relay::cx(ctx)?.organization())
            .then_some(NodeObject::Organization(OrganizationObject::default())),
        NodeKind::IdentitySource => loaders::load_one(ctx, ConnectionId(id))
            .await?
            .map(|row| NodeObject::IdentitySource(row.into())),
        NodeKind::ScimToken => loaders::load_one(ctx, ScimTokenId(id))
            .await?
            .map(|row| NodeObject::ScimToken(row.into())),
        NodeKind::SetupLink => loaders::load_one(ctx, SetupLinkId(id))
            .await?
            .map(|row| NodeObject::SetupLink(row.into())),
        NodeKind::ApiKey => {
            loaders::load_one(ctx, ApiKeyId(id)).await?.map(|row| NodeObject::ApiKey(row.into()))
        }
        NodeKind::User => {
            loaders::load_one(ctx, UserId(id)).await?.map(|row| NodeObject::User(row.into()))
        }
        NodeKind::Group => {
            loaders::load_one(ctx, GroupId(id)).await?.map(|row| NodeObject::Group(row.into()))
        }
        NodeKind::Role => {
            loaders::load_one(ctx, RoleId(id)).await?.map(|row| NodeObject::Role(row.into()))
        }
        NodeKind::RoleMapping => loaders::load_one(ctx, RoleMappingId(id))
            .await?
            .map(|row| NodeObject::RoleMapping(row.into())),
        NodeKind::RoleGrant => loaders::load_one(ctx, RoleGrantId(id))
            .await?
            .map(|row| NodeObject::RoleGrant(row.into())),
        NodeKind::AccessPreview => match change_set::get_preview(relay::cx(ctx)?, id).await {
            Ok(row) => Some(NodeObject::AccessPreview(AccessPreview(row))),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        },
        NodeKind::SchemaExtension => schema_extension::find_extension(relay::cx(ctx)?, id)
            .await?
            .map(|row| NodeObject::SchemaExtension(row.into())),
        NodeKind::AdoptionProposal => loaders::load_one(ctx, ProposalId(id))
            .await?
            .map(|row| NodeObject::AdoptionProposal(row.into())),
        NodeKind::Alert => {
            loaders::load_one(ctx, AlertId(id)).await?.map(|row| NodeObject::Alert(row.into()))
        }
        NodeKind::MailRecipient => recipient::find_recipient(relay::cx(ctx)?, id)
            .await?
            .map(|row| NodeObject::MailRecipient(row.into())),
        NodeKind::SyncRun => {
            loaders::load_one(ctx, SyncRunId(id)).await?.map(|row| NodeObject::SyncRun(row.into()))
        }
        NodeKind::Reconciliation => ReconciliationObject::find_by_id(relay::cx(ctx)?, id)
            .await?
            .map(NodeObject::Reconciliation),
        NodeKind::Finding => {
            loaders::load_one(ctx, FindingId(id)).await?.map(|row| NodeObject::Finding(row.into()))
        }
        NodeKind::BulkJob => {
            BulkJob::find_visible(relay::cx(ctx)?, id).await?.map(NodeObject::BulkJob)
        }
        NodeKind::DeletionJob => {
            DeletionJob::find_visible(relay::cx(ctx)?, id).await?.map(NodeObject::DeletionJob)
        }
        NodeKind::Failure => {
            loaders::load_one(ctx, FailureId(id)).await?.map(|row| NodeObject::Failure(row.into()))
        }
        NodeKind::Destination => loaders::load_one(ctx, DestinationId(id))
            .await?
            .map(|row| NodeObject::Destination(row.into())),
        NodeKind::Delivery => loaders::load_one(ctx, DeliveryId(id))
            .await?
            .map(|row| NodeObject::Delivery(row.into())),
        NodeKind::Domain => domain::find_domain(relay::cx(ctx)?, id)
            .await?
            .map(|row| NodeObject::Domain(row.into())),
        NodeKind::Invitation => invitation::find_invitation(relay::cx(ctx)?, id)
            .await?
            .map(|row| NodeObject::Invitation(row.into())),
        NodeKind::Event => {
            loaders::load_one(ctx, EventId(id)).await?.map(|row| NodeObject::Event(row.into()))
        }
    })
}

/// [`find_node_of_kind`] for the files that these types use.
pub const NODE_FINDER: NodeFinder = NodeFinder(|ctx, kind, id| {
    Box::pin(async move { Ok(find_node_of_kind(ctx, kind, id).await?.map(AnyNode::new)) })
});

#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// The object with this global id; null if the organization has no such object.
    #[graphql(directive = needs::apply(None))]
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The object's global id.")] id: ID,
    ) -> async_graphql::Result<Option<NodeObject>> {
        find_node(ctx, &id).await
    }

    /// The objects with these global ids, in the same order; null for each id of which the
    /// organization has no object.
    #[graphql(directive = needs::apply(None))]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Global ids, at most 100.")] ids: Vec<ID>,
    ) -> async_graphql::Result<Vec<Option<NodeObject>>> {
        if ids.len() > MAX_PAGE_ROWS.unsigned_abs() as usize {
            return Err(Error::broken(
                Rule::TooMany,
                "ids",
                format!("must be at most {MAX_PAGE_ROWS}"),
            )
            .into());
        }
        let found = futures_util::future::join_all(ids.iter().map(|id| find_node(ctx, id))).await;
        // An object that the caller may not read does not affect the others.
        Ok(found
            .into_iter()
            .enumerate()
            .map(|(at, found)| {
                found.unwrap_or_else(|error| {
                    let mut error = ctx.set_error_path(error.into_server_error(ctx.item.pos));
                    error.path.push(PathSegment::Index(at));
                    ctx.add_error(error);
                    None
                })
            })
            .collect())
    }
}
