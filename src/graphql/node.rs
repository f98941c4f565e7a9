//! Objects of every type by their global id.

use async_graphql::{Context, ID, Interface, Object, PathSegment};
use uuid::Uuid;

use super::document_limits::MAX_PAGE_ROWS;
use super::kinds::with_node_types;
use super::loaders;
use super::node_reference::{AnyNode, NodeFinder};
use super::permission::needs;
use crate::error::{Error, Rule};
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// The row of an object, found in the way that [`with_node_types`] says.
macro_rules! find_row {
    (loaded, $ctx:ident, $id:ident, $key:ident) => {
        loaders::load_one($ctx, loaders::$key($id)).await?
    };
    (found, $ctx:ident, $id:ident, $($find:ident)::+) => {
        crate::$($find)::+(relay::cx($ctx)?, $id).await?
    };
}

macro_rules! node_objects {
    ($($kind:ident($module:ident :: $object:ident) $how:ident by $($find:ident)::+,)+) => {
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
            $($kind(super::$module::$object),)+
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
                $(NodeKind::$kind => {
                    find_row!($how, ctx, id, $($find)::+).map(|row| NodeObject::$kind(row.into()))
                })+
            })
        }
    };
}

with_node_types!(node_objects);

/// The object with this global id; none if the organization has no such object.
async fn find_node(ctx: &Context<'_>, id: &ID) -> async_graphql::Result<Option<NodeObject>> {
    let Some((kind, id)) = relay::parse_global_id(id) else { return Ok(None) };
    find_node_of_kind(ctx, kind, id).await
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
