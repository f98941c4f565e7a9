//! Roles: what the application lets somebody do, by its own permission names.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::access::{self, RoleHolder};
use super::auth::{Permission, requires};
use super::loaders::{self, MappingsOfRole};
use super::mapping::RoleMapping;
use super::page::{self, Blame, Kind, Page, UserError, Window};
use crate::domain::role;
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the role", "id")];

/// A role as the schema shows it.
pub struct Role(pub Arc<role::Role>);

impl From<role::Role> for Role {
    fn from(row: role::Role) -> Self {
        Self(Arc::new(row))
    }
}

impl From<Arc<role::Role>> for Role {
    fn from(row: Arc<role::Role>) -> Self {
        Self(row)
    }
}

/// An internal role: what the application lets somebody do, by its own permission names.
#[Object]
impl Role {
    /// The role's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::Role, self.0.id)
    }

    /// The name for people to read; unique, in any case.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// The application's own names of what it allows.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn permissions(&self) -> Vec<String> {
        role::permissions(&self.0)
    }

    /// Where an application wants one role only, the lower number wins; unique.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn priority(&self) -> Option<i32> {
        self.0.priority
    }

    /// Whether it manages the application: an identity provider cannot take away its last holder.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn management(&self) -> bool {
        self.0.management
    }

    /// The current mappings of groups to it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn mappings(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<RoleMapping>> {
        let mappings = loaders::one(ctx, MappingsOfRole(self.0.id)).await?.unwrap_or_default();
        Ok(mappings.into_iter().map(Into::into).collect())
    }

    /// Who holds it now, or held it at an instant, by account.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn holders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "As it was at this instant; left out = now.")] as_of: Option<DateTime<Utc>>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<Page<RoleHolder>>> {
        access::holders(ctx, self.0.id, as_of, Window { first, after, last, before }).await
    }

    /// When it was made.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it last changed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// Counts its changes, from 1.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// A role to be made.
#[derive(InputObject)]
pub struct RoleCreateInput {
    /// The name for people to read; unique, in any case.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// The application's own names of what it allows.
    #[graphql(default)]
    permissions: Vec<String>,
    /// Where an application wants one role only, the lower number wins; unique.
    priority: Option<i32>,
    /// Whether it manages the application: an identity provider cannot take away its last holder.
    #[graphql(default)]
    management: bool,
}

/// What to change about a role. What is left out stays as it is; null takes the value away.
#[derive(InputObject)]
pub struct RoleUpdateInput {
    /// The role's global id.
    id: ID,
    /// The name for people to read; unique, in any case.
    name: Option<String>,
    /// What it is for.
    description: MaybeUndefined<String>,
    /// The application's own names of what it allows; these take the place of what was there.
    permissions: Option<Vec<String>>,
    /// Where an application wants one role only, the lower number wins; unique.
    priority: MaybeUndefined<i32>,
    /// Whether it manages the application: an identity provider cannot take away its last holder.
    management: Option<bool>,
}

/// Which role to delete.
#[derive(InputObject)]
pub struct RoleDeleteInput {
    /// The role's global id.
    pub id: ID,
}

/// What became of a change of a role.
#[derive(SimpleObject)]
pub struct RolePayload {
    /// The role after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    role: Option<Role>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of a deletion.
#[derive(SimpleObject)]
pub struct RoleDeletePayload {
    /// The global id that the role had; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    deleted_role_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<role::Role>) -> Result<Option<RolePayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(RolePayload { role: done.map(Into::into), user_errors }))
}

#[derive(Default)]
pub struct RoleMutation;

#[Object]
impl RoleMutation {
    /// Makes a role.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The role to make.")] input: RoleCreateInput,
    ) -> Result<Option<RolePayload>> {
        let settings = role::Settings {
            name: Some(input.name),
            description: Some(input.description),
            permissions: Some(input.permissions),
            priority: Some(input.priority),
            management: Some(input.management),
        };
        payload(role::create(page::cx(ctx)?, settings).await)
    }

    /// Changes a role, for all who hold it.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: RoleUpdateInput,
    ) -> Result<Option<RolePayload>> {
        let cx = page::cx(ctx)?;
        let settings = role::Settings {
            name: input.name,
            description: input.description.into(),
            permissions: input.permissions,
            priority: input.priority.into(),
            management: input.management,
        };
        payload(async { role::update(cx, page::id(Kind::Role, &input.id, "the role")?, settings).await }.await)
    }

    /// Deletes a role: nobody holds it any more; its mappings and grants have ended, and its name is free.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which role.")] input: RoleDeleteInput,
    ) -> Result<Option<RoleDeletePayload>> {
        let cx = page::cx(ctx)?;
        let done = async { role::delete(cx, page::id(Kind::Role, &input.id, "the role")?).await };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(RoleDeletePayload { deleted_role_id: done.map(|_| input.id), user_errors }))
    }
}
