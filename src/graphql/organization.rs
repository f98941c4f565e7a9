//! The organization of a request: settings, the overview of provisioning, and the way to everything in it.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::organization::IntegrationMode as Mode;

use super::adoption::{AdoptionProposal, AdoptionProposalState};
use super::auth::{Caller, Permission, requires};
use super::connection::IdentitySource;
use super::deletion::{DeletedUser, RunningDeletion};
use super::event::{Event, EventFilter, EventOrder};
use super::extension::SchemaExtension;
use super::grant::RoleGrant;
use super::group::{Group, GroupFilter};
use super::key::ApiKey;
use super::leaver::{self, Leaver, RevocationTimes};
use super::loaders::{self, ConnectionId, GroupId, UserId};
use super::mapping::RoleMapping;
use super::order::{GroupOrder, RoleOrder, UserOrder};
use super::page::{self, Kind, Page, UserError, Window};
use super::request_log::{RequestLogEntry, RequestLogFilter};
use super::role::Role;
use super::user::{User, UserFilter};
use crate::domain::organization::{self, Availability};
use crate::domain::{
    access, adoption, connection, deletion, event, extension, grant, group, key, list, mapping, request_log, role,
    token, user,
};
use crate::error::{Error, Result};

/// Which integration feeds an organization: never both at once.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Mode")]
pub enum IntegrationMode {
    /// Identity providers write over SCIM 2.0.
    Scim,
    /// Microsoft Entra ID's native integration; SCIM is refused.
    EntraNative,
}

/// The organization of this request.
pub struct Organization;

/// A tenant: its settings, and the way to everything in it.
#[Object]
impl Organization {
    /// The organization's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self, ctx: &Context<'_>) -> Result<ID> {
        Ok(page::global(Kind::Organization, page::cx(ctx)?.organization()))
    }

    /// The short name in the SCIM URL; it never changes.
    #[graphql(directive = requires::apply(None))]
    async fn slug(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(loaders::organization(ctx).await?.slug)
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(None))]
    async fn name(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(loaders::organization(ctx).await?.name)
    }

    /// When the organization was made.
    #[graphql(directive = requires::apply(None))]
    async fn created_at(&self, ctx: &Context<'_>) -> async_graphql::Result<DateTime<Utc>> {
        Ok(loaders::organization(ctx).await?.created_at)
    }

    /// Whether inbound provisioning over SCIM is turned on for the organization.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn scim_enabled(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<bool>> {
        Ok(Some(loaders::organization(ctx).await?.scim_enabled))
    }

    /// Which integration feeds the organization.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn integration_mode(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IntegrationMode>> {
        Ok(Some(loaders::organization(ctx).await?.integration_mode.into()))
    }

    /// The domains whose names prove who somebody is here, for connections that link people who already exist.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn verified_domains(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<String>>> {
        let row = loaders::organization(ctx).await?;
        Ok(Some(organization::verified_domains(&row).map(Into::into).collect()))
    }

    /// Provisioning over SCIM at a glance.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn scim(&self) -> Option<ScimOverview> {
        Some(ScimOverview)
    }

    /// The sources of identities, oldest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connections(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<IdentitySource>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = if page::counted(ctx) { connection::count(cx).await? } else { 0 };
        let rows = connection::list(cx, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &IdentitySource| row.0.id, total)))
    }

    /// One source of identities; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection's global id.")] id: ID,
    ) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = page::id_of(Kind::IdentitySource, &id) else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The accounts, oldest first unless ordered otherwise.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<UserFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")] order_by: Option<
            UserOrder,
        >,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<User>>> {
        let cx = page::cx(ctx)?;
        let (by, descending) = order_by.map_or((None, false), Into::into);
        let window = Window { first, after, last, before };
        let Some((filter, owners)) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { user::count(cx, filter.as_ref(), owners).await? } else { 0 };
        if let Some(by) = by {
            let rows = user::ordered(cx, filter.as_ref(), owners, by, &window.keyset(descending)?).await?;
            return Ok(Some(Page::placed(rows, total)));
        }
        let rows = user::list(cx, filter.as_ref(), owners, &window.keyset(descending)?).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &User| row.0.id, total)))
    }

    /// One account, by exactly one of its id and its user name; null if there is none.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account's global id.")] id: Option<ID>,
        #[graphql(desc = "The account's user name, in any case.")] user_name: Option<String>,
    ) -> async_graphql::Result<Option<User>> {
        match (id, user_name) {
            (Some(id), None) => {
                let Some(id) = page::id_of(Kind::User, &id) else { return Ok(None) };
                Ok(loaders::one(ctx, UserId(id)).await?.map(Into::into))
            }
            (None, Some(name)) => {
                let filter = UserFilter::named(name).compile();
                let (filter, owners) = filter.unwrap_or_default();
                let keyset = list::Keyset { limit: 1, ..Default::default() };
                let found = user::list(page::cx(ctx)?, filter.as_ref(), owners, &keyset).await?;
                Ok(found.rows.into_iter().next().map(Into::into))
            }
            _ => Err(Error::invalid("id", "give exactly one of id and userName").into()),
        }
    }

    /// Deleted accounts that can still come back, in the order in which they were made.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn deleted_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<DeletedUser>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = if page::counted(ctx) { deletion::count_restorable(cx).await? } else { 0 };
        let rows = deletion::restorable(cx, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &DeletedUser| row.0.id, total)))
    }

    /// The groups, oldest first unless ordered otherwise.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<GroupFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")] order_by: Option<
            GroupOrder,
        >,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Group>>> {
        let cx = page::cx(ctx)?;
        let (by, descending) = order_by.map_or((None, false), Into::into);
        let window = Window { first, after, last, before };
        let Some((filter, owners)) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { group::count(cx, filter.as_ref(), owners).await? } else { 0 };
        if let Some(by) = by {
            let rows = group::ordered(cx, filter.as_ref(), owners, by, &window.keyset(descending)?).await?;
            return Ok(Some(Page::placed(rows, total)));
        }
        let rows = group::list(cx, filter.as_ref(), owners, &window.keyset(descending)?).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Group| row.0.id, total)))
    }

    /// One group; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group's global id.")] id: ID,
    ) -> async_graphql::Result<Option<Group>> {
        let Some(id) = page::id_of(Kind::Group, &id) else { return Ok(None) };
        Ok(loaders::one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The internal roles, oldest first unless ordered otherwise.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")] order_by: Option<
            RoleOrder,
        >,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Role>>> {
        let cx = page::cx(ctx)?;
        let (by, descending) = order_by.map_or((None, false), Into::into);
        let window = Window { first, after, last, before };
        let total = if page::counted(ctx) { role::count(cx).await? } else { 0 };
        if let Some(by) = by {
            return Ok(Some(Page::placed(role::ordered(cx, by, &window.keyset(descending)?).await?, total)));
        }
        let rows = role::list(cx, &window.keyset(descending)?).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Role| row.0.id, total)))
    }

    /// The mappings of groups to roles, oldest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role_mappings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Removed mappings too, which can be restored.", default)] include_removed: bool,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<RoleMapping>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = if page::counted(ctx) { mapping::count(cx, include_removed).await? } else { 0 };
        let rows = mapping::list(cx, include_removed, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &RoleMapping| row.0.mapping_id, total)))
    }

    /// The direct grants of roles, oldest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn role_grants(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those to the account with this global id.")] user_id: Option<ID>,
        #[graphql(desc = "Only those of the role with this global id.")] role_id: Option<ID>,
        #[graphql(desc = "Ended grants too.", default)] include_ended: bool,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<RoleGrant>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let named = |kind, id: &Option<ID>| id.as_ref().map(|id| page::id_of(kind, id));
        let (user, role) = match (named(Kind::User, &user_id), named(Kind::Role, &role_id)) {
            (Some(None), _) | (_, Some(None)) => return Ok(Some(Page::empty())),
            (user, role) => (user.flatten(), role.flatten()),
        };
        let which = grant::Which { user, role, ended: include_ended };
        let total = if page::counted(ctx) { grant::count(cx, which).await? } else { 0 };
        let rows = grant::list(cx, which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &RoleGrant| row.0.id, total)))
    }

    /// Who left, the latest first: accounts that were suspended or deleted.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn leavers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Those who left from this instant on.")] since: Option<DateTime<Utc>>,
        #[graphql(desc = "Those who left before this instant.")] until: Option<DateTime<Utc>>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Leaver>>> {
        leaver::leavers(ctx, since, until, Window { first, after, last, before }).await
    }

    /// How long it took from the request until a leaver held nothing, against an objective.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn revocation_times(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Those who left from this instant on.")] since: Option<DateTime<Utc>>,
        #[graphql(desc = "Those who left before this instant.")] until: Option<DateTime<Utc>>,
        #[graphql(desc = "The longest that it should take, in seconds.", default = 60)] objective_seconds: i32,
    ) -> Result<Option<RevocationTimes>> {
        leaver::revocation(ctx, since, until, objective_seconds).await
    }

    /// Up to when the past is settled: an answer `asOf` an instant before it is the same for ever.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn settled_until(&self, ctx: &Context<'_>) -> Result<DateTime<Utc>> {
        access::watermark(page::cx(ctx)?).await
    }

    /// People whom connections wanted to create and who already had an account, oldest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn adoption_proposals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those in this state.")] state: Option<AdoptionProposalState>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<AdoptionProposal>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let state = state.map(Into::into);
        let total = if page::counted(ctx) { adoption::count(cx, state).await? } else { 0 };
        let rows = adoption::list(cx, state, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &AdoptionProposal| row.0.id, total)))
    }

    /// The ledger: every change ever made here.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<EventFilter>,
        #[graphql(desc = "In which order.", default)] order: EventOrder,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Event>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(order == EventOrder::NewestFirst)?;
        let Some(which) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { event::count(cx, &which).await? } else { 0 };
        let rows = event::list(cx, &which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Event| row.0.pos, total)))
    }

    /// The schemas that the organization added to its users and groups, oldest first; at most 20.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn schema_extensions(&self, ctx: &Context<'_>) -> Result<Option<Vec<SchemaExtension>>> {
        let rows = extension::all(page::cx(ctx)?).await?;
        Ok(Some(rows.into_iter().map(Into::into).collect()))
    }

    /// The request log: what identity providers meant, what became of it and what to do next, newest first; kept for
    /// 30 days.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn request_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<RequestLogFilter>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<RequestLogEntry>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(true)?;
        let Some(which) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { request_log::count(cx, which).await? } else { 0 };
        let rows = request_log::list(cx, which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &RequestLogEntry| row.0.id, total)))
    }

    /// The API keys, oldest first, revoked ones too. Never a secret.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<ApiKey>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = if page::counted(ctx) { key::count(cx).await? } else { 0 };
        let rows = key::list(cx, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &ApiKey| row.0.id, total)))
    }
}

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

#[derive(Default)]
pub struct OrganizationQuery;

#[Object]
impl OrganizationQuery {
    /// The organization of this request: an API key's own; for a token, the one that the header
    /// `Rolecall-Organization` names, or its only one.
    #[graphql(directive = requires::apply(None))]
    async fn organization(&self, ctx: &Context<'_>) -> async_graphql::Result<Organization> {
        ctx.data::<Caller>()?.inside()?;
        Ok(Organization)
    }
}

/// What to change about the organization; what is left out stays as it is.
#[derive(InputObject)]
pub struct OrganizationUpdateInput {
    /// The name for people to read.
    name: Option<String>,
    /// Whether inbound provisioning over SCIM is turned on.
    scim_enabled: Option<bool>,
    /// Which integration feeds the organization.
    integration_mode: Option<IntegrationMode>,
    /// The domains whose names prove who somebody is here, such as `example.org`; these take the place of what was
    /// there. List only domains that belong to the organization: inside them, a name is enough to link an account.
    verified_domains: Option<Vec<String>>,
}

/// What became of a change of the organization.
#[derive(SimpleObject)]
pub struct OrganizationPayload {
    /// The organization after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    organization: Option<Organization>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct OrganizationMutation;

#[Object]
impl OrganizationMutation {
    /// Changes the organization's settings.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn organization_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: OrganizationUpdateInput,
    ) -> Result<Option<OrganizationPayload>> {
        let settings = organization::Settings {
            name: input.name,
            scim_enabled: input.scim_enabled,
            integration_mode: input.integration_mode.map(Into::into),
            verified_domains: input.verified_domains,
        };
        let (done, user_errors) = page::outcome(organization::update(page::cx(ctx)?, settings).await, &[])?;
        Ok(Some(OrganizationPayload { organization: done.map(|_| Organization), user_errors }))
    }
}
