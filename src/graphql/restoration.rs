//! Deleted groups, and the mutation that restores them.

use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};

use super::connection::IdentitySource;
use super::group::{GroupRestorePayload, RESTORE_FIELD_MAP};
use super::loaders::{self, ConnectionId};
use super::permission::{Permission, needs};
use crate::domain::directory::group::restore;
use crate::error::{Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// A group that was deleted, as the schema shows it.
pub struct DeletedGroup(entity::group::Model);

/// A group that was deleted: `groupRestore` takes its id, and so does an edit of `accessPreview`.
#[Object]
impl DeletedGroup {
    /// The global id that the group had, and that it has again if it is restored.
    #[graphql(directive = needs::apply(None))]
    async fn group_id(&self) -> ID {
        relay::global_id(NodeKind::Group, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    /// The connection that owned it; null if none did, and after the connection was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// When it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
    }
}

impl From<entity::group::Model> for DeletedGroup {
    fn from(row: entity::group::Model) -> Self {
        Self(row)
    }
}

impl async_graphql::TypeName for DeletedGroup {
    fn type_name() -> std::borrow::Cow<'static, str> {
        "DeletedGroup".into()
    }
}

/// The group to restore.
#[derive(InputObject)]
pub struct GroupRestoreInput {
    /// The global id that the group had, and that it will have again.
    pub id: ID,
}

#[derive(Default)]
pub struct RestorationMutation;

#[Object]
impl RestorationMutation {
    /// Restores a deleted group, with the members, the nesting and the mappings that its deletion
    /// ended, as far as the accounts, groups and roles still exist. `accessPreview` shows
    /// beforehand which accounts would get which roles.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn group_restore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group.")] input: GroupRestoreInput,
    ) -> Result<Option<GroupRestorePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            restore::restore_group(
                cx,
                relay::parse_input_id(NodeKind::Group, &input.id, Noun::DeletedGroup)?,
            )
            .await
        };
        GroupRestorePayload::from_result(done.await, RESTORE_FIELD_MAP)
    }
}
