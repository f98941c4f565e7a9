//! The URLs at which identity providers reach an organization.

use async_graphql::{Context, SimpleObject};

use super::loaders;
use super::permission::{Permission, needs};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::InboundAvailability;
use crate::graphql::relay;

/// The URLs to enter in the identity provider.
#[derive(SimpleObject)]
pub struct ScimEndpoints {
    /// The SCIM base URL ("tenant URL").
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    base_url: String,
    /// The URL of the users' endpoint.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    users_url: String,
    /// The URL of the groups' endpoint.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    groups_url: String,
}

impl ScimEndpoints {
    /// The URLs of the request's organization; none while SCIM is not available.
    pub async fn for_current_organization(
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<Self>> {
        let row = loaders::load_organization(ctx).await?;
        let app = &relay::cx(ctx)?.app;
        if InboundAvailability::of_organization(app, &row) != InboundAvailability::Available {
            return Ok(None);
        }
        let base_url = organization::base_url(app, &row.slug);
        Ok(Some(Self {
            users_url: format!("{base_url}/Users"),
            groups_url: format!("{base_url}/Groups"),
            base_url,
        }))
    }
}
