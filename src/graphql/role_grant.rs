//! Direct grants: somebody holds a role without any group.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::loaders::{self, EventId, RoleId, UserId};
use super::page::{self, Blame, Kind, UserError};
use super::role::Role;
use super::user::User;
use crate::domain::grant;
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the user", "userId"), ("the role", "roleId"), ("grant", "roleId"), ("the grant", "id")];

/// A grant as the schema shows it.
pub struct RoleGrant(pub grant::Grant);

impl From<grant::Grant> for RoleGrant {
    fn from(row: grant::Grant) -> Self {
        Self(row)
    }
}

/// A direct grant: an account holds a role without any group, beside whatever mappings give it.
#[Object]
impl RoleGrant {
    /// The grant's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::RoleGrant, self.0.id)
    }

    /// Who holds the role; null when the account is gone.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(loaders::one(ctx, UserId(self.0.user_id)).await?.map(Into::into))
    }

    /// The role; null when it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Role>> {
        Ok(loaders::one(ctx, RoleId(self.0.role_id)).await?.map(Into::into))
    }

    /// Why it is there, in the words of whoever made it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it ends by plan; null = never. From that instant on it gives nothing.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// Since when it is there.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// When it ended; null if it has not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// The change that made it: who, when, under which request.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn granted_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<super::event::Event>> {
        Ok(loaders::one(ctx, EventId(self.0.opened_by)).await?.map(Into::into))
    }
}

/// A grant to be made.
#[derive(InputObject)]
pub struct RoleGrantCreateInput {
    /// The global id of the account.
    user_id: ID,
    /// The global id of the role.
    role_id: ID,
    /// Why.
    reason: Option<String>,
    /// When it ends by plan; left out = never.
    expires_at: Option<DateTime<Utc>>,
}

impl RoleGrantCreateInput {
    /// The grant in the domain's words.
    pub fn compile(self) -> Result<grant::NewGrant> {
        Ok(grant::NewGrant {
            user: page::id(Kind::User, &self.user_id, "the user")?,
            role: page::id(Kind::Role, &self.role_id, "the role")?,
            reason: self.reason,
            expires_at: self.expires_at,
        })
    }
}

/// Which grant to end.
#[derive(InputObject)]
pub struct RoleGrantRemoveInput {
    /// The grant's global id.
    pub id: ID,
}

/// What became of a change of a grant.
#[derive(SimpleObject)]
pub struct RoleGrantPayload {
    /// The grant after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    role_grant: Option<RoleGrant>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<grant::Grant>) -> Result<Option<RoleGrantPayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(RoleGrantPayload { role_grant: done.map(Into::into), user_errors }))
}

#[derive(Default)]
pub struct RoleGrantMutation;

#[Object]
impl RoleGrantMutation {
    /// Grants a role to an account, from this instant on.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_grant_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The grant to make.")] input: RoleGrantCreateInput,
    ) -> Result<Option<RoleGrantPayload>> {
        let cx = page::cx(ctx)?;
        payload(async { grant::create(cx, input.compile()?).await }.await)
    }

    /// Ends a grant. What mappings give stays.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_grant_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which grant.")] input: RoleGrantRemoveInput,
    ) -> Result<Option<RoleGrantPayload>> {
        let cx = page::cx(ctx)?;
        payload(async { grant::remove(cx, page::id(Kind::RoleGrant, &input.id, "the grant")?).await }.await)
    }
}
