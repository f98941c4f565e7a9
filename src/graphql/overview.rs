//! Provisioning over SCIM at a glance: what the first screen shows.

use async_graphql::{Context, Enum, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::deletion::RunningDeletion;
use super::event::Event;
use super::loaders;
use super::page::{self, Window};
use crate::domain::organization::{self, Availability};
use crate::domain::{deletion, event, token};
use crate::error::Result;

/// Whether SCIM can be used at all, and if not, why.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimAvailabilityState {
    /// SCIM can be used.
    Available,
    /// This installation does not offer SCIM.
    PlatformDisabled,
    /// The organization uses Microsoft Entra ID's native integration, which excludes SCIM.
    EntraNativeIntegration,
}

/// Whether SCIM can be used at all, and what to do if not.
#[derive(SimpleObject)]
pub struct ScimAvailability {
    /// Whether, and if not, why.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    state: ScimAvailabilityState,
    /// The reason as a stable code; null while available.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    reason_code: Option<&'static str>,
    /// What to do about it, in words for people; null while available.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    message: Option<&'static str>,
}

/// Whether inbound SCIM is being served.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimStatus {
    /// The organization's flag is on and a connection is active.
    Active,
    /// Requests of identity providers are refused.
    Inactive,
}

/// The addresses to paste into the identity provider.
#[derive(SimpleObject)]
pub struct ScimEndpoints {
    /// The SCIM base URL ("tenant URL").
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    base_url: String,
    /// Where users are written.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    users_url: String,
    /// Where groups are written.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    groups_url: String,
}

impl ScimEndpoints {
    /// The addresses of the request's organization; none while SCIM is not available.
    pub async fn here(ctx: &Context<'_>) -> async_graphql::Result<Option<Self>> {
        let row = loaders::organization(ctx).await?;
        let app = &page::cx(ctx)?.app;
        if Availability::of(app, row.integration_mode) != Availability::Available {
            return Ok(None);
        }
        let base_url = organization::base_url(app, &row.slug);
        Ok(Some(Self { users_url: format!("{base_url}/Users"), groups_url: format!("{base_url}/Groups"), base_url }))
    }
}

/// How much came through SCIM, as opposed to made by hand.
pub struct ScimCounts {
    as_of: DateTime<Utc>,
}

/// How much came through SCIM, as opposed to made by hand.
#[Object]
impl ScimCounts {
    /// Live accounts.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn users(&self, ctx: &Context<'_>) -> Result<i32> {
        Ok(page::count(organization::provisioned_users(page::cx(ctx)?, None).await?))
    }

    /// Live groups.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn groups(&self, ctx: &Context<'_>) -> Result<i32> {
        Ok(page::count(organization::provisioned_groups(page::cx(ctx)?, None).await?))
    }

    /// When this was counted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn as_of(&self) -> DateTime<Utc> {
        self.as_of
    }
}

/// Provisioning over SCIM at a glance.
pub struct ScimOverview;

/// Provisioning over SCIM at a glance: one query for the first screen.
#[Object]
impl ScimOverview {
    /// Whether SCIM can be used at all, and what to do if not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn availability(&self, ctx: &Context<'_>) -> async_graphql::Result<ScimAvailability> {
        let row = loaders::organization(ctx).await?;
        let availability = Availability::of(&page::cx(ctx)?.app, row.integration_mode);
        let state = match availability {
            Availability::Available => ScimAvailabilityState::Available,
            Availability::PlatformDisabled => ScimAvailabilityState::PlatformDisabled,
            Availability::EntraNativeIntegration => ScimAvailabilityState::EntraNativeIntegration,
        };
        let (reason_code, message) = availability.remedy().unzip();
        Ok(ScimAvailability { state, reason_code, message })
    }

    /// Whether inbound SCIM is being served now; null while it is not available at all.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn status(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimStatus>> {
        let row = loaders::organization(ctx).await?;
        let cx = page::cx(ctx)?;
        if Availability::of(&cx.app, row.integration_mode) != Availability::Available {
            return Ok(None);
        }
        let active = organization::scim_active(cx, &row).await?;
        Ok(Some(if active { ScimStatus::Active } else { ScimStatus::Inactive }))
    }

    /// The addresses to paste into the identity provider; null while SCIM is not available.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn endpoints(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimEndpoints>> {
        ScimEndpoints::here(ctx).await
    }

    /// How much came through SCIM.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn counts(&self, ctx: &Context<'_>) -> Result<ScimCounts> {
        Ok(ScimCounts { as_of: page::cx(ctx)?.app.clock.now() })
    }

    /// The deletion of everybody who came through SCIM, while one is running; null otherwise.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn running_deletion(&self, ctx: &Context<'_>) -> Result<Option<RunningDeletion>> {
        Ok(deletion::running_now(page::cx(ctx)?).await?.map(Into::into))
    }

    /// When an identity provider was last heard; a few seconds late. Null while none ever was.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_contact_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        organization::last_contact(page::cx(ctx)?).await
    }

    /// Whether there is a token that opens SCIM now.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn token_issued(&self, ctx: &Context<'_>) -> Result<bool> {
        token::any_live(page::cx(ctx)?).await
    }

    /// The latest changes, newest first.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn recent_activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Option<Vec<Event>>> {
        let keyset = Window { first: Some(first), ..Default::default() }.keyset(true)?;
        let latest = event::list(page::cx(ctx)?, &event::Which::default(), &keyset).await?;
        Ok(Some(latest.rows.into_iter().map(Into::into).collect()))
    }
}
