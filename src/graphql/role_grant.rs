//! Direct grants: an account holds a role without any group.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::loaders::{self, EventId, RoleId, UserId};
use super::permission::{Permission, needs};
use super::role::RoleObject;
use super::user::UserObject;
use crate::domain::access::role_grant;
use crate::error::{Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::User, "userId"), (Noun::Role, "roleId"), (Noun::Grant, "id")],
    fields: &[("grant", "roleId")],
};

/// A grant as the schema shows it.
pub struct RoleGrant(pub role_grant::Grant);

impl From<role_grant::Grant> for RoleGrant {
    fn from(row: role_grant::Grant) -> Self {
        Self(row)
    }
}

/// A direct grant: an account holds a role without any group, in addition to the roles that
/// mappings give it.
#[Object]
impl RoleGrant {
    /// The grant's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::RoleGrant, self.0.id)
    }

    /// The account that holds the role; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        Ok(loaders::load_one(ctx, UserId(self.0.user_id)).await?.map(Into::into))
    }

    /// The role; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleObject>> {
        Ok(loaders::load_one(ctx, RoleId(self.0.role_id)).await?.map(Into::into))
    }

    /// The reason that was given when it was made; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The planned end; null = none. From that instant on the account does not hold the role by
    /// this grant.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// When the grant began.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// When it ended; null if it was not ended.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// The event that created it: who, when, in which request.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn granted_by(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<super::event::EventObject>> {
        Ok(loaders::load_one(ctx, EventId(self.0.opened_by)).await?.map(Into::into))
    }
}

/// The grant to create.
#[derive(InputObject)]
pub struct RoleGrantCreateInput {
    /// The global id of the account.
    user_id: ID,
    /// The global id of the role.
    role_id: ID,
    /// Why the account needs the role.
    reason: Option<String>,
    /// The planned end; left out = none.
    expires_at: Option<DateTime<Utc>>,
}

impl RoleGrantCreateInput {
    /// The grant as the domain takes it.
    pub fn into_new_grant(self) -> Result<role_grant::NewGrant> {
        Ok(role_grant::NewGrant {
            user: relay::parse_input_id(NodeKind::User, &self.user_id, Noun::User)?,
            role: relay::parse_input_id(NodeKind::Role, &self.role_id, Noun::Role)?,
            reason: self.reason,
            expires_at: self.expires_at,
        })
    }
}

/// The grant to end.
#[derive(InputObject)]
pub struct RoleGrantRemoveInput {
    /// The grant's global id.
    pub id: ID,
}

/// The result of `roleGrantCreate` and `roleGrantRemove`.
#[derive(SimpleObject)]
pub struct RoleGrantPayload {
    /// The grant after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    role_grant: Option<RoleGrant>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

fn build_grant_payload(done: Result<role_grant::Grant>) -> Result<Option<RoleGrantPayload>> {
    let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
    Ok(Some(RoleGrantPayload { role_grant: done.map(Into::into), user_errors }))
}

#[derive(Default)]
pub struct RoleGrantMutation;

#[Object]
impl RoleGrantMutation {
    /// Grants a role to an account, from this instant on.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_grant_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The grant to create.")] input: RoleGrantCreateInput,
    ) -> Result<Option<RoleGrantPayload>> {
        let cx = relay::cx(ctx)?;
        build_grant_payload(
            async { role_grant::create_grant(cx, input.into_new_grant()?).await }.await,
        )
    }

    /// Ends a grant. The account keeps the roles that mappings give it.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_grant_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which grant.")] input: RoleGrantRemoveInput,
    ) -> Result<Option<RoleGrantPayload>> {
        let cx = relay::cx(ctx)?;
        build_grant_payload(
            async {
                role_grant::remove_grant(
                    cx,
                    relay::parse_input_id(NodeKind::RoleGrant, &input.id, Noun::Grant)?,
                )
                .await
            }
            .await,
        )
    }
}
