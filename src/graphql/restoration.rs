//! Deleted groups, and the way back.

use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::group::{GroupPayload, payload};
use super::loaders::{self, ConnectionId};
use super::page::{self, Kind, Page, Window};
use crate::domain::restoration;
use crate::error::Result;

/// A group that was deleted, as the schema shows it.
pub struct DeletedGroup(entity::group::Model);

/// A group that was deleted: `groupRestore` takes its id, and so does an edit of `accessPreview`.
#[Object]
impl DeletedGroup {
    /// The global id that the group had, and has again if it comes back.
    #[graphql(directive = requires::apply(None))]
    async fn id(&self) -> ID {
        page::global(Kind::Group, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    /// The connection that owned it; null if nobody did, or the connection is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// When it was deleted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
    }
}

impl async_graphql::TypeName for DeletedGroup {
    fn type_name() -> std::borrow::Cow<'static, str> {
        "DeletedGroup".into()
    }
}

/// A page of the deleted groups.
pub async fn deleted_groups(ctx: &Context<'_>, window: Window) -> Result<Option<Page<DeletedGroup>>> {
    let cx = page::cx(ctx)?;
    let keyset = window.keyset(false)?;
    let total = if page::counted(ctx) { restoration::count_restorable(cx).await? } else { 0 };
    let rows = restoration::restorable(cx, &keyset).await?;
    Ok(Some(Page::new(rows.map(DeletedGroup), |row: &DeletedGroup| row.0.id, total)))
}

/// Which group to bring back.
#[derive(InputObject)]
pub struct GroupRestoreInput {
    /// The global id that the group had, and has again.
    pub id: ID,
}

#[derive(Default)]
pub struct RestorationMutation;

#[Object]
impl RestorationMutation {
    /// Brings a deleted group back, with the members, the nesting and the mappings that its deletion ended, as far as
    /// they are still there. What that gives to whom, `accessPreview` tells beforehand.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn group_restore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group.")] input: GroupRestoreInput,
    ) -> Result<Option<GroupPayload>> {
        let cx = page::cx(ctx)?;
        let done = async { restoration::restore(cx, page::id(Kind::Group, &input.id, "the deleted group")?).await };
        payload(done.await)
    }
}
