//! An overview of provisioning over SCIM, for the first screen of a frontend.

use async_graphql::{Context, Enum, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::deletion::DeletionJob;
use super::event::EventObject;
use super::loaders;
use super::permission::{Permission, needs};
use super::scim_endpoints::ScimEndpoints;
use crate::domain::audit::event;
use crate::domain::connection::scim_token;
use crate::domain::directory::deletion;
use crate::domain::sign_in::mode as sign_in_mode;
use crate::domain::sign_in::mode::ProvisioningPlan as Plan;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::InboundAvailability;
use crate::error::{RefusalReason, Result};
use crate::graphql::relay;
use crate::graphql::relay::PageArguments;
use crate::ledger::EventKind;

/// Whether SCIM is available, and if not, the reason.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimAvailabilityState {
    /// SCIM is available.
    Available,
    /// SCIM is turned off in this installation.
    PlatformDisabled,
    /// Provisioning is being released to one organization after another, and not to this one yet.
    NotReleased,
    /// The organization uses Microsoft Entra ID's native integration, which excludes SCIM.
    EntraNativeIntegration,
    /// Sign-ins at the identity provider say who is in which group, which excludes SCIM.
    SignInIntegration,
}

/// Whether SCIM is available, and what to do if it is not.
#[derive(SimpleObject)]
pub struct ScimAvailability {
    /// Whether SCIM is available, and if not, the reason.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    state: ScimAvailabilityState,
    /// The reason as a stable code; null while SCIM is available.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    code: Option<&'static str>,
    /// What to do about it, in words for people; null while SCIM is available.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step: Option<&'static str>,
}

/// Who makes accounts, and who takes them away.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Plan")]
pub enum ProvisioningPlan {
    /// The first sign-in makes the account (just in time), and SCIM takes it over and removes it.
    JitAndScim,
    /// SCIM makes and removes accounts.
    ScimOnly,
    /// The first sign-in makes the account, and only administrators remove it.
    JitOnly,
    /// Administrators make and remove accounts.
    ByHand,
}

/// How accounts come and go here.
#[derive(SimpleObject)]
pub struct Provisioning {
    /// Who makes accounts, and who takes them away.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    plan: ProvisioningPlan,
    /// What ends the access of a person who leaves, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    deprovisioned_by: &'static str,
}

/// Whether requests of identity providers over SCIM are served.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimState {
    /// Provisioning is turned on for the organization, and a connection that identity providers
    /// write to is active.
    Active,
    /// Requests of identity providers are refused.
    Inactive,
}

/// How many users and groups came through SCIM, without those that were created by hand.
pub struct ScimCounts {
    as_of: DateTime<Utc>,
}

/// How many users and groups came through SCIM, without those that were created by hand.
#[Object]
impl ScimCounts {
    /// The number of live accounts that a connection owns.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn users(&self, ctx: &Context<'_>) -> Result<i32> {
        Ok(relay::to_graphql_int(organization::provisioned_users(relay::cx(ctx)?, None).await?))
    }

    /// The number of live groups that a connection owns.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn groups(&self, ctx: &Context<'_>) -> Result<i32> {
        Ok(relay::to_graphql_int(organization::provisioned_groups(relay::cx(ctx)?, None).await?))
    }

    /// When this was counted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn as_of(&self) -> DateTime<Utc> {
        self.as_of
    }
}

/// The overview of provisioning over SCIM as the schema shows it.
pub struct ScimOverview;

/// An overview of provisioning over SCIM: one query for the first screen of a frontend.
#[Object]
impl ScimOverview {
    /// Whether SCIM is available, and what to do if it is not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn availability(&self, ctx: &Context<'_>) -> async_graphql::Result<ScimAvailability> {
        let row = loaders::load_organization(ctx).await?;
        let availability = InboundAvailability::of_organization(&relay::cx(ctx)?.app, &row);
        let state = match availability {
            InboundAvailability::Available => ScimAvailabilityState::Available,
            InboundAvailability::PlatformDisabled => ScimAvailabilityState::PlatformDisabled,
            InboundAvailability::NotReleased => ScimAvailabilityState::NotReleased,
            InboundAvailability::EntraNativeIntegration => {
                ScimAvailabilityState::EntraNativeIntegration
            }
            InboundAvailability::SignInIntegration => ScimAvailabilityState::SignInIntegration,
        };
        let (code, next_step) = availability.remedy().unzip();
        Ok(ScimAvailability { state, code: code.map(RefusalReason::as_str), next_step })
    }

    /// How accounts come and go: by sign-ins (just in time), over SCIM, or by hand.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn provisioning(&self, ctx: &Context<'_>) -> async_graphql::Result<Provisioning> {
        let row = loaders::load_organization(ctx).await?;
        let plan = sign_in_mode::provisioning_plan(relay::cx(ctx)?, &row).await?;
        Ok(Provisioning { plan: plan.into(), deprovisioned_by: plan.deprovisioned_by() })
    }

    /// Whether requests of identity providers over SCIM are served now; null while SCIM is not
    /// available.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimState>> {
        let row = loaders::load_organization(ctx).await?;
        let cx = relay::cx(ctx)?;
        if InboundAvailability::of_organization(&cx.app, &row) != InboundAvailability::Available {
            return Ok(None);
        }
        let active = organization::scim_active(cx, &row).await?;
        Ok(Some(if active { ScimState::Active } else { ScimState::Inactive }))
    }

    /// The URLs to enter in the identity provider; null while SCIM is not available.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn endpoints(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimEndpoints>> {
        ScimEndpoints::for_current_organization(ctx).await
    }

    /// How many users and groups came through SCIM.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn counts(&self, ctx: &Context<'_>) -> Result<ScimCounts> {
        Ok(ScimCounts { as_of: relay::cx(ctx)?.app.clock.now() })
    }

    /// The deletion of all users that came through SCIM that has not ended; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn running_deletion(&self, ctx: &Context<'_>) -> Result<Option<DeletionJob>> {
        Ok(deletion::unfinished_deletion(relay::cx(ctx)?).await?.map(Into::into))
    }

    /// When an identity provider last sent a request, or a run last read a source, a few seconds
    /// late. Null if neither has happened.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_contact_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        organization::last_contact(relay::cx(ctx)?).await
    }

    /// Whether there is a SCIM token that can be used now.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn token_issued(&self, ctx: &Context<'_>) -> Result<bool> {
        scim_token::has_live_token(relay::cx(ctx)?).await
    }

    /// The latest events, newest first, without `USER_ACCESS_CHANGED`: what only followed from
    /// other changes, and can be thousands of events for one.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn recent_activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
        #[graphql(desc = "Also what only followed from other changes.", default)]
        include_consequences: bool,
    ) -> Result<Option<Vec<EventObject>>> {
        let keyset =
            PageArguments { first: Some(first), ..Default::default() }.to_keyset(ctx, true)?;
        let consequences = [EventKind::UserAccessChanged];
        let not_actions = if include_consequences { Vec::new() } else { consequences.to_vec() };
        let which = event::LedgerFilter { not_actions, ..Default::default() };
        let latest = event::list_events(relay::cx(ctx)?, &which, &keyset).await?;
        Ok(Some(latest.rows.into_iter().map(Into::into).collect()))
    }
}
