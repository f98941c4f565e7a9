//! Direct grants: an account holds a role without any group.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object};
use chrono::{DateTime, Utc};

use super::loaders::{self, EventId, RoleId, UserId};
use super::permission::{Permission, needs};
use super::role::RoleObject;
use super::user::UserObject;
use crate::domain::access::role_grant;
use crate::error::{Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind};

/// The input field that each name in the domain's errors stands for.
pub const FIELD_MAP: FieldMap = FieldMap {
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
        let (user, role) = mistakes::both(
            relay::parse_input_id(NodeKind::User, &self.user_id, Noun::User),
            relay::parse_input_id(NodeKind::Role, &self.role_id, Noun::Role),
        )?;
        Ok(role_grant::NewGrant { user, role, reason: self.reason, expires_at: self.expires_at })
    }
}

/// The grant to end.
#[derive(InputObject)]
pub struct RoleGrantRemoveInput {
    /// The grant's global id.
    pub id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    pub reason: Option<String>,
}

/// The changes of a grant. A field that is left out stays as it is; null removes the value.
#[derive(InputObject)]
pub struct RoleGrantUpdateInput {
    /// The grant's global id.
    id: ID,
    /// Why the account needs the role.
    reason: MaybeUndefined<String>,
    /// The planned end.
    expires_at: MaybeUndefined<DateTime<Utc>>,
}

mutation_payloads! {
    role_grant_payloads;
    /// The grant after the change; null if there were mistakes.
    role_grant: RoleGrant;
    /// The result of `roleGrantCreate`.
    RoleGrantCreatePayload,
    /// The result of `roleGrantUpdate`.
    RoleGrantUpdatePayload,
    /// The result of `roleGrantRemove`.
    RoleGrantRemovePayload,
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
    ) -> Result<Option<RoleGrantCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let new = role_grant::NewGrant {
            user: relay::parse_possible_id(NodeKind::User, &input.user_id),
            role: relay::parse_possible_id(NodeKind::Role, &input.role_id),
            reason: input.reason,
            expires_at: input.expires_at,
        };
        let done = async { role_grant::create_grant(cx, new).await };
        RoleGrantCreatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Changes the reason or the planned end of a grant. The account holds the role as before.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_grant_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: RoleGrantUpdateInput,
    ) -> Result<Option<RoleGrantUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let id = relay::parse_possible_id(NodeKind::RoleGrant, &input.id);
            let edit = role_grant::GrantEdit {
                reason: input.reason.into(),
                expires_at: input.expires_at.into(),
            };
            role_grant::update_grant(cx, id, edit).await
        };
        RoleGrantUpdatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Ends a grant. The account keeps the roles that mappings give it.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_grant_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which grant.")] input: RoleGrantRemoveInput,
    ) -> Result<Option<RoleGrantRemovePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::RoleGrant, &input.id, Noun::Grant),
            )?;
            role_grant::remove_grant(&cx, id).await
        };
        RoleGrantRemovePayload::from_result(done.await, FIELD_MAP)
    }
}
