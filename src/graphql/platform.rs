//! What the operator of the installation does with organizations, and what an organization lets the
//! operator do.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject, TypeName};
use chrono::{DateTime, Utc};
use std::borrow::Cow;

use super::order::OrderDirection;
use super::organization::OrganizationObject;
use super::permission::{Permission, needs};
use crate::domain::access::api_key::BOOTSTRAP_DAYS;
use crate::domain::tenant::lifecycle;
use crate::domain::tenant::organization::{self, Organization};
use crate::error::{Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Organization, "slug")], fields: &[] };

/// The name of the first key of an organization.
const FIRST_KEY_NAME: &str = "first administrator";

/// Whether an organization is open.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrganizationState {
    /// Its interfaces and its jobs work.
    Active,
    /// The operator has closed its interfaces and stopped its jobs. Nothing is lost.
    Suspended,
}

/// An organization as the operator sees it: nothing that is in it.
pub struct ManagedOrganization(Organization);

impl From<Organization> for ManagedOrganization {
    fn from(row: Organization) -> Self {
        Self(row)
    }
}

impl TypeName for ManagedOrganization {
    fn type_name() -> Cow<'static, str> {
        "ManagedOrganization".into()
    }
}

/// An organization as the operator of the installation sees it: its name and its state, and nothing
/// that is in it.
#[Object(name_type)]
impl ManagedOrganization {
    /// The global id of the organization.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn organization_id(&self) -> ID {
        relay::global_id(NodeKind::Organization, self.0.id)
    }

    /// The short name in the SCIM URL; it never changes.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn slug(&self) -> &str {
        &self.0.slug
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is open.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn state(&self) -> OrganizationState {
        match self.0.suspended_at {
            None => OrganizationState::Active,
            Some(_) => OrganizationState::Suspended,
        }
    }

    /// When it was created.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it was suspended; null while it is open.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn suspended_at(&self) -> Option<DateTime<Utc>> {
        self.0.suspended_at
    }

    /// Whether provisioning was released to it.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn provisioning_released(&self) -> bool {
        self.0.provisioning_released
    }

    /// Until when it lets people with `PLATFORM_ADMIN` use their other permissions in it; null if
    /// it does not.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn operator_access_until(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        let now = relay::cx(ctx)?.app.clock.now();
        Ok(self.0.operator_access_until.filter(|until| *until > now))
    }

    /// The SCIM base URL, as an administrator enters it in the identity provider.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn scim_base_url(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(organization::base_url(&relay::cx(ctx)?.app, &self.0.slug))
    }
}

/// Which organizations are listed; each field that is given must match.
#[derive(InputObject, Default)]
pub struct OrganizationFilter {
    /// Those whose slug begins with this.
    slug_prefix: Option<String>,
    /// Those in this state.
    state: Option<OrganizationState>,
}

/// The fields by which organizations can be sorted.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrganizationOrderField {
    /// The time of creation.
    CreatedAt,
    /// The slug.
    Slug,
}

/// The order of a list of organizations.
#[derive(InputObject)]
pub struct OrganizationOrder {
    /// The field to sort by.
    field: OrganizationOrderField,
    /// The direction of the order.
    #[graphql(default)]
    direction: OrderDirection,
}

#[derive(Default)]
pub struct PlatformQuery;

#[Object]
impl PlatformQuery {
    /// All organizations of this installation, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn organizations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            OrganizationFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<OrganizationOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<ManagedOrganization>>> {
        let cx = relay::cx(ctx)?;
        let OrganizationFilter { slug_prefix, state } = filter.unwrap_or_default();
        if slug_prefix.as_deref().is_some_and(|prefix| prefix.contains('\0')) {
            return Ok(Some(RelayPage::empty()));
        }
        let which = lifecycle::OrganizationFilter {
            slug_prefix,
            suspended: state.map(|state| state == OrganizationState::Suspended),
        };
        let window = PageArguments { first, after, last, before };
        let total = if relay::selects_total_count(ctx) {
            lifecycle::count_organizations(cx, &which).await?
        } else {
            0
        };
        let descending =
            order_by.as_ref().is_some_and(|order| order.direction == OrderDirection::Desc);
        if order_by.is_some_and(|order| order.field == OrganizationOrderField::Slug) {
            let keyset = window.to_keyset(ctx, descending)?;
            let rows = lifecycle::list_by_slug(cx, &which, &keyset).await?;
            let key = |row: &ManagedOrganization| row.0.slug.clone();
            return Ok(Some(RelayPage::new(rows.map(Into::into), key, total)));
        }
        let rows = lifecycle::list_by_age(cx, &which, &window.to_keyset(ctx, descending)?).await?;
        Ok(Some(RelayPage::new(rows.map(Into::into), |row: &ManagedOrganization| row.0.id, total)))
    }
}

/// The organization to create.
#[derive(InputObject)]
pub struct OrganizationCreateInput {
    /// The short name in the SCIM URL: lower-case letters, digits and inner hyphens. It never
    /// changes.
    slug: String,
    /// The name for people to read.
    name: String,
}

/// The organization to suspend.
#[derive(InputObject)]
pub struct OrganizationSuspendInput {
    /// The slug of the organization.
    slug: String,
    /// The reason, which the organization's ledger tells.
    reason: String,
}

/// The organization to resume.
#[derive(InputObject)]
pub struct OrganizationResumeInput {
    /// The slug of the organization.
    slug: String,
    /// The reason, which the organization's ledger tells.
    reason: String,
}

/// Whether provisioning is released to an organization.
#[derive(InputObject)]
pub struct ProvisioningRolloutSetInput {
    /// The slug of the organization.
    slug: String,
    /// Whether provisioning is released to it.
    released: bool,
    /// The reason, which the organization's ledger tells.
    reason: String,
}

/// How long the operator is let in, and why.
#[derive(InputObject)]
pub struct OperatorAccessGrantInput {
    /// The end, at most 30 days away.
    until: DateTime<Utc>,
    /// The reason, which the organization's ledger tells.
    reason: String,
}

/// Why the operator is not let in any more.
#[derive(InputObject)]
pub struct OperatorAccessRevokeInput {
    /// The reason, which the organization's ledger tells.
    reason: String,
}

/// The result of `organizationCreate`.
#[derive(SimpleObject)]
pub struct OrganizationCreatePayload {
    /// The new organization; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    organization: Option<ManagedOrganization>,
    /// The secret of the first administrator's API key, which is shown only in this response; null
    /// if there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    secret: Option<String>,
    /// When that key ends; null if there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    key_expires_at: Option<DateTime<Utc>>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `organizationSuspend`.
#[derive(SimpleObject)]
pub struct OrganizationSuspendPayload {
    /// The organization after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    organization: Option<ManagedOrganization>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `organizationResume`.
#[derive(SimpleObject)]
pub struct OrganizationResumePayload {
    /// The organization after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    organization: Option<ManagedOrganization>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `provisioningRolloutSet`.
#[derive(SimpleObject)]
pub struct ProvisioningRolloutSetPayload {
    /// The organization after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    organization: Option<ManagedOrganization>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `operatorAccessGrant`.
#[derive(SimpleObject)]
pub struct OperatorAccessGrantPayload {
    /// The organization after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    organization: Option<OrganizationObject>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `operatorAccessRevoke`.
#[derive(SimpleObject)]
pub struct OperatorAccessRevokePayload {
    /// The organization after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    organization: Option<OrganizationObject>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct PlatformMutation;

#[Object]
impl PlatformMutation {
    /// Creates an organization, with an API key for its first administrator. The key has every
    /// permission in the organization and ends after 30 days.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn organization_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The organization.")] input: OrganizationCreateInput,
    ) -> Result<Option<OrganizationCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let named = (input.slug.as_str(), input.name.as_str());
        let days = BOOTSTRAP_DAYS.min(cx.app.config.api_key_days);
        let done = lifecycle::create_organization_for(cx, named, FIRST_KEY_NAME, days).await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        let (organization, secret, key_expires_at) = match done {
            None => (None, None, None),
            Some(made) => {
                (Some(made.organization.into()), Some(made.key.secret), made.key.key.expires_at)
            }
        };
        Ok(Some(OrganizationCreatePayload { organization, secret, key_expires_at, user_errors }))
    }

    /// Suspends an organization. SCIM, this API, AuthZEN and all jobs of the organization stop with
    /// this change; streams that are open end within seconds. Nothing is lost, and what was under
    /// way goes on after `organizationResume`.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn organization_suspend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which organization, and why.")] input: OrganizationSuspendInput,
    ) -> Result<Option<OrganizationSuspendPayload>> {
        let cx = relay::cx(ctx)?;
        let done = lifecycle::suspend_organization(cx, &input.slug, &input.reason).await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        Ok(Some(OrganizationSuspendPayload { organization: done.map(Into::into), user_errors }))
    }

    /// Ends the suspension of an organization.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn organization_resume(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which organization, and why.")] input: OrganizationResumeInput,
    ) -> Result<Option<OrganizationResumePayload>> {
        let cx = relay::cx(ctx)?;
        let done = lifecycle::resume_organization(cx, &input.slug, &input.reason).await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        Ok(Some(OrganizationResumePayload { organization: done.map(Into::into), user_errors }))
    }

    /// Releases provisioning to an organization, or withholds it. While it is withheld, SCIM, sync
    /// runs, connections, tokens and sign-ins that make accounts are refused with the reason
    /// `PROVISIONING_NOT_RELEASED`; accounts and access stay as they are. It is released to a new
    /// organization.
    #[graphql(directive = needs::apply(Some(Permission::PlatformAdmin)))]
    async fn provisioning_rollout_set(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which organization, and why.")] input: ProvisioningRolloutSetInput,
    ) -> Result<Option<ProvisioningRolloutSetPayload>> {
        let ProvisioningRolloutSetInput { slug, released, reason } = input;
        let done = lifecycle::set_rollout(relay::cx(ctx)?, &slug, released, &reason).await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        Ok(Some(ProvisioningRolloutSetPayload { organization: done.map(Into::into), user_errors }))
    }

    /// Lets people with `PLATFORM_ADMIN` use their other permissions in this organization for a
    /// time. Without it they see nothing that is in it.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn operator_access_grant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Until when, and why.")] input: OperatorAccessGrantInput,
    ) -> Result<Option<OperatorAccessGrantPayload>> {
        let until = Some(input.until);
        let done = lifecycle::set_operator_access(relay::cx(ctx)?, until, &input.reason).await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        let organization = done.map(|_| OrganizationObject::default());
        Ok(Some(OperatorAccessGrantPayload { organization, user_errors }))
    }

    /// Ends what `operatorAccessGrant` began.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn operator_access_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Why.")] input: OperatorAccessRevokeInput,
    ) -> Result<Option<OperatorAccessRevokePayload>> {
        let done = lifecycle::set_operator_access(relay::cx(ctx)?, None, &input.reason).await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        let organization = done.map(|_| OrganizationObject::default());
        Ok(Some(OperatorAccessRevokePayload { organization, user_errors }))
    }
}
