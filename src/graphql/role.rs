//! Roles: what the application allows their holders, by the application's own permission names.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::access::{self, RoleHolder};
use super::list_filter::RoleHolderFilter;
use super::loaders::{self, MappingsOfRole};
use super::order::UserOrder;
use super::permission::{Permission, needs};
use super::role_mapping::RoleMapping;
use crate::domain::access::role;
use crate::error::{Mistakes, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};

/// The input field that each name in the domain's errors stands for.
pub const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Role, "id")], fields: &[] };

/// A role as the schema shows it.
pub struct RoleObject(pub Arc<role::Role>);

impl From<role::Role> for RoleObject {
    fn from(row: role::Role) -> Self {
        Self(Arc::new(row))
    }
}

impl From<Arc<role::Role>> for RoleObject {
    fn from(row: Arc<role::Role>) -> Self {
        Self(row)
    }
}

/// An internal role: what the application allows its holders, by the application's own permission
/// names.
#[Object(name = "Role")]
impl RoleObject {
    /// The role's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Role, self.0.id)
    }

    /// The name for people to read; unique in the organization, regardless of case.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What the role is for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// The permissions that the role gives, by the application's own names, which rolecall does not
    /// interpret.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn permissions(&self) -> Vec<String> {
        role::role_permissions(&self.0)
    }

    /// For an application that supports one role per user: of the roles of a user, the one with the
    /// lowest number counts. Unique; without a number the role does not count.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn priority(&self) -> Option<i32> {
        self.0.priority
    }

    /// Whether it is a management role: an identity provider cannot remove its last holder.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn management(&self) -> bool {
        self.0.management
    }

    /// The current role mappings that give it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mappings(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<RoleMapping>> {
        let mappings = loaders::load_one(ctx, MappingsOfRole(self.0.id)).await?.unwrap_or_default();
        Ok(mappings.into_iter().map(Into::into).collect())
    }

    /// The accounts that hold it now, or held it at an instant, by the age of the accounts unless
    /// ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn holders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            RoleHolderFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<UserOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<RelayPage<RoleHolder>>> {
        access::list_role_holders(
            ctx,
            self.0.id,
            filter.unwrap_or_default(),
            order_by,
            PageArguments { first, after, last, before },
        )
        .await
    }

    /// When the role was created.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it last changed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// When it was deleted; null while it exists. Only answers about an earlier instant show
    /// deleted roles.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
    }

    /// 1 when the role is created; grows by one with every change.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// The role to create.
#[derive(InputObject)]
pub struct RoleCreateInput {
    /// The name for people to read; unique in the organization, regardless of case.
    name: String,
    /// What the role is for.
    description: Option<String>,
    /// The permissions that the role gives, by the application's own names, which rolecall does not
    /// interpret.
    #[graphql(default)]
    permissions: Vec<String>,
    /// For an application that supports one role per user: of the roles of a user, the one with the
    /// lowest number counts. Unique; without a number the role does not count.
    priority: Option<i32>,
    /// Whether it is a management role: an identity provider cannot remove its last holder.
    #[graphql(default)]
    management: bool,
}

/// The changes of a role. A field that is left out stays as it is; null removes the value.
#[derive(InputObject)]
pub struct RoleUpdateInput {
    /// The role's global id.
    id: ID,
    /// The mutation is refused if the role's `version` is no longer this one.
    expected_version: Option<i32>,
    /// The name for people to read; unique in the organization, regardless of case. Cannot be null.
    name: MaybeUndefined<String>,
    /// What the role is for.
    description: MaybeUndefined<String>,
    /// The permissions that the role gives, by the application's own names; they replace the
    /// earlier ones. Cannot be null.
    permissions: MaybeUndefined<Vec<String>>,
    /// For an application that supports one role per user: of the roles of a user, the one with the
    /// lowest number counts. Unique; without a number the role does not count.
    priority: MaybeUndefined<i32>,
    /// Whether it is a management role: an identity provider cannot remove its last holder. Cannot
    /// be null.
    management: MaybeUndefined<bool>,
}

/// The role to delete.
#[derive(InputObject)]
pub struct RoleDeleteInput {
    /// The role's global id.
    pub id: ID,
    /// The mutation is refused if the role's `version` is no longer this one.
    pub expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    pub reason: Option<String>,
}

impl RoleUpdateInput {
    /// The UUID of the role, and its settings as the domain takes them.
    fn into_settings(self) -> Result<(Uuid, role::RoleSettings)> {
        let mut mistakes = Mistakes::default();
        let id = relay::parse_input_id(NodeKind::Role, &self.id, Noun::Role);
        let settings = role::RoleSettings {
            name: mistakes.collect(relay::refuse_null("name", self.name)).flatten(),
            description: self.description.into(),
            permissions: mistakes
                .collect(relay::refuse_null("permissions", self.permissions))
                .flatten(),
            priority: self.priority.into(),
            management: mistakes
                .collect(relay::refuse_null("management", self.management))
                .flatten(),
        };
        mistakes.refuse_with(id)?;
        Ok((relay::parse_possible_id(NodeKind::Role, &self.id), settings))
    }
}

mutation_payloads! {
    role_payloads;
    /// The role after the change; null if there were mistakes.
    role: RoleObject;
    /// The result of `roleCreate`.
    RoleCreatePayload,
    /// The result of `roleUpdate`.
    RoleUpdatePayload,
}

/// The result of `roleDelete`.
#[derive(SimpleObject)]
pub struct RoleDeletePayload {
    /// The global id that the role had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    deleted_role_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct RoleMutation;

#[Object]
impl RoleMutation {
    /// Creates a role.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The role to create.")] input: RoleCreateInput,
    ) -> Result<Option<RoleCreatePayload>> {
        let settings = role::RoleSettings {
            name: Some(input.name),
            description: Some(input.description),
            permissions: Some(input.permissions),
            priority: Some(input.priority),
            management: Some(input.management),
        };
        RoleCreatePayload::from_result(
            role::create_role(relay::cx(ctx)?, settings).await,
            FIELD_MAP,
        )
    }

    /// Changes a role, for all accounts that hold it.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: RoleUpdateInput,
    ) -> Result<Option<RoleUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (id, settings) = input.into_settings()?;
            role::update_role(cx, id, settings, expected).await
        };
        RoleUpdatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Deletes a role, and ends its mappings and grants: no account holds it any more, and its name
    /// is free.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which role.")] input: RoleDeleteInput,
    ) -> Result<Option<RoleDeletePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::Role, &input.id, Noun::Role),
            )?;
            role::delete_role(&cx, id, relay::to_version(input.expected_version)).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(RoleDeletePayload { deleted_role_id: done.map(|_| input.id), user_errors }))
    }
}
