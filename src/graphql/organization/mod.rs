//! The organization of a request: its settings, and the way to everything in it.

mod work;

use async_graphql::{Context, Enum, ID, InputObject, MergedObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::organization::IntegrationMode as Mode;

use super::access::{self as report, AccessReportEntry};
use super::adoption::{AdoptionProposal, AdoptionProposalState};
use super::auth::{Caller, Permission, requires};
use super::connection::IdentitySource;
use super::deletion::DeletedUser;
use super::grant::RoleGrant;
use super::group::{Group, GroupFilter};
use super::leaver::{self, Leaver, RevocationTimes};
use super::loaders::{self, ConnectionId, GroupId, RoleId, UserId};
use super::mapping::RoleMapping;
use super::order::{GroupOrder, RoleOrder, UserOrder};
use super::overview::ScimOverview;
use super::page::{self, Kind, Long, Page, UserError, Window};
use super::restoration::{self, DeletedGroup};
use super::role::Role;
use super::user::{User, UserFilter};
use crate::domain::{access, adoption, connection, deletion, grant, group, list, mapping, organization, role, user};
use crate::error::{Error, Result};
use work::Work;

/// Which integration feeds an organization: never both at once.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Mode")]
pub enum IntegrationMode {
    /// Identity providers write over SCIM 2.0.
    Scim,
    /// Microsoft Entra ID's native integration, which excludes SCIM: it is refused. The integration itself is not offered
    /// here yet, so nothing is provisioned in this mode.
    EntraNative,
}

/// A tenant: its settings, and the way to everything in it.
#[derive(MergedObject, Default)]
pub struct Organization(Directory, Work);

impl Organization {
    /// Its global id, for what shows it among other things.
    pub async fn id(&self, ctx: &Context<'_>) -> Result<ID> {
        Ok(page::global(Kind::Organization, page::cx(ctx)?.organization()))
    }
}

/// Its settings, who is in it, and who may do what.
#[derive(Default)]
pub struct Directory;

#[Object]
impl Directory {
    /// The organization's global id.
    #[graphql(directive = requires::apply(None))]
    async fn id(&self, ctx: &Context<'_>) -> Result<ID> {
        Organization::default().id(ctx).await
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
        let filter = filter.unwrap_or_default();
        filter.check(cx)?;
        let Some((filter, owners)) = filter.compile() else { return Ok(Some(Page::empty())) };
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

    /// Deleted groups, in the order in which they were made.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn deleted_groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<DeletedGroup>>> {
        restoration::deleted_groups(ctx, Window { first, after, last, before }).await
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

    /// One role; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The role's global id.")] id: ID,
    ) -> async_graphql::Result<Option<Role>> {
        let Some(id) = page::id_of(Kind::Role, &id) else { return Ok(None) };
        Ok(loaders::one(ctx, RoleId(id)).await?.map(Into::into))
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

    /// The access report: everybody who holds a role, by the account's id, with the roles and what each comes through.
    /// The export `/evidence/access` tells the same, signed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn access_report(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "As it was at this instant, up to `settledUntil`; left out = now.")] as_of: Option<
            DateTime<Utc>,
        >,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<Page<AccessReportEntry>>> {
        report::report(ctx, as_of, Window { first, after, last, before }).await
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
    async fn settled_until(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        access::watermark(page::cx(ctx)?).await.map(Some)
    }

    /// The last place of the ledger (`Event.seq`) of which it has been told whose access it moved: by events of the
    /// action `user.access_changed`, one for each account, within seconds of the change.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn access_announced_through(&self, ctx: &Context<'_>) -> Result<Option<Long>> {
        Ok(Some(Long(access::announced_through(page::cx(ctx)?).await?)))
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
        Ok(Organization::default())
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
        Ok(Some(OrganizationPayload { organization: done.map(|_| Organization::default()), user_errors }))
    }
}
