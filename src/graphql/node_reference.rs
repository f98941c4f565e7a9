//! An object of any type, for files that the files of all types use: they cannot name these types.

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{Context, ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::error::Error;
use crate::graphql::relay::NodeKind;

/// An object that implements the interface `Node`.
pub struct AnyNode(Box<dyn ResolveNode>);

impl AnyNode {
    /// Wraps the interface's value.
    pub fn new(node: impl OutputType + 'static) -> Self {
        Self(Box::new(node))
    }
}

/// What is resolved of an [`OutputType`], which itself cannot be a trait object.
trait ResolveNode: Send + Sync {
    fn object_type(&self) -> Cow<'static, str>;

    fn resolve_value<'a>(
        &'a self,
        ctx: &'a ContextSelectionSet<'a>,
        field: &'a Positioned<Field>,
    ) -> BoxFuture<'a, ServerResult<Value>>;
}

impl<T: OutputType> ResolveNode for T {
    fn object_type(&self) -> Cow<'static, str> {
        self.introspection_type_name()
    }

    fn resolve_value<'a>(
        &'a self,
        ctx: &'a ContextSelectionSet<'a>,
        field: &'a Positioned<Field>,
    ) -> BoxFuture<'a, ServerResult<Value>> {
        Box::pin(self.resolve(ctx, field))
    }
}

impl OutputType for AnyNode {
    fn type_name() -> Cow<'static, str> {
        Cow::Borrowed("Node")
    }

    fn introspection_type_name(&self) -> Cow<'static, str> {
        self.0.object_type()
    }

    fn create_type_info(_: &mut Registry) -> String {
        // The query `node` brings the interface into the schema.
        Self::qualified_type_name()
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        self.0.resolve_value(ctx, field).await
    }
}

/// Finds an object by its kind and id. The schema holds it.
pub struct NodeFinder(pub for<'a> fn(&'a Context<'a>, NodeKind, Uuid) -> FoundNode<'a>);

type FoundNode<'a> = BoxFuture<'a, async_graphql::Result<Option<AnyNode>>>;

/// The object of this kind and id; none if the organization has no such object.
///
/// # Errors
/// [`Error::Forbidden`] if the caller may not read objects of this kind.
pub async fn find_any_node(
    ctx: &Context<'_>,
    kind: NodeKind,
    id: Uuid,
) -> async_graphql::Result<Option<AnyNode>> {
    let finder = ctx
        .data::<NodeFinder>()
        .map_err(|_| Error::Internal("the schema holds no finder of nodes".into()))?;
    (finder.0)(ctx, kind, id).await
}
