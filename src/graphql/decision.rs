//! Whether a person may do something, for the application's own backend.

use async_graphql::{Context, Enum, Object};

use super::access::list_effective_roles;
use super::permission::{Permission, needs};
use super::role::RoleObject;
use crate::domain::access::decision;
use crate::domain::access::decision::DecisionSubject;
use crate::domain::access::role::role_permissions;
use crate::error::Result;
use crate::graphql::relay;

/// Why a decision is as it is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionReason {
    /// One of the person's roles names the permission.
    Granted,
    /// None of the person's roles names the permission.
    NotGranted,
    /// The person's account is suspended, so it holds no role.
    Suspended,
    /// The organization has no such person.
    UnknownSubject,
}

/// Whether a person may do something.
pub struct Decision {
    decision: decision::Decision,
    permission: String,
}

/// Whether a person may do something.
#[Object]
impl Decision {
    /// Whether the person has the permission now.
    #[graphql(directive = needs::apply(Some(Permission::DecisionRead)))]
    async fn allowed(&self) -> bool {
        self.decision.allows()
    }

    /// Why, as a stable code for programs.
    #[graphql(directive = needs::apply(Some(Permission::DecisionRead)))]
    async fn reason(&self) -> DecisionReason {
        match self.decision {
            decision::Decision::Granted { .. } => DecisionReason::Granted,
            decision::Decision::NotGranted { .. } => DecisionReason::NotGranted,
            decision::Decision::Suspended { .. } => DecisionReason::Suspended,
            decision::Decision::UnknownSubject => DecisionReason::UnknownSubject,
        }
    }

    /// Why, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::DecisionRead)))]
    async fn message(&self) -> &str {
        self.decision.message()
    }

    /// The roles of the person that name the permission; empty if it is not granted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn roles(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<RoleObject>>> {
        let decision::Decision::Granted { account } = self.decision else {
            return Ok(Some(Vec::new()));
        };
        let held = list_effective_roles(ctx, account, None).await?;
        let roles = held.into_iter().map(|held| held.role);
        let names = |role: &RoleObject| role_permissions(&role.0).contains(&self.permission);
        Ok(Some(roles.filter(names).collect()))
    }
}

/// Decides whether a person has a permission.
pub async fn resolve_decision(
    ctx: &Context<'_>,
    subject: &str,
    permission: String,
) -> Result<Option<Decision>> {
    let subject = DecisionSubject::parse(subject);
    let decision = decision::decide_access(relay::cx(ctx)?, &subject, &permission).await?;
    Ok(Some(Decision { decision, permission }))
}
