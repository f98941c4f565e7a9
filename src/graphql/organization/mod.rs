//! The organization of a request: its settings, and the fields for everything in it.

mod activity;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, MergedObject, Object};
use chrono::{DateTime, Utc};
use entity::organization::IntegrationMode as Mode;
use uuid::Uuid;

use super::access::{self as report, AccessReportEntry};
use super::adoption::AdoptionProposal;
use super::auth::ApiCaller;
use super::change_set::AccessMove;
use super::connection::IdentitySource;
use super::decision::{self, Decision};
use super::deletion::DeletedUser;
use super::group::{GroupFilter, GroupObject, list_groups};
use super::kinds::with_organization_parts;
use super::leaver::{self, LeaverObject, RevocationTimes};
use super::ledger_chain::LedgerChain;
use super::list_filter::{
    AccessReportEntryFilter, AdoptionProposalFilter, DeletedGroupFilter, DeletedUserFilter,
    IdentitySourceFilter, LeaverFilter, RoleFilter, RoleGrantFilter, RoleMappingFilter,
};
use super::loaders::{self, ConnectionId, GroupId, RoleId, UserId};
use super::order::{
    AccessReportEntryOrder, AdoptionProposalOrder, DeletedGroupOrder, DeletedUserOrder, GroupOrder,
    IdentitySourceOrder, LeaverOrder, ListOrder, RoleGrantOrder, RoleMappingOrder, RoleOrder,
    UserOrder,
};
use super::overview::ScimOverview;
use super::permission::{Permission, needs};
use super::restoration::DeletedGroup;
use super::role::RoleObject;
use super::role_grant::RoleGrant;
use super::role_mapping::RoleMapping;
use super::user::{UserObject, list_users};
use super::user_filter::UserFilter;
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::access::{role, role_grant, role_mapping};
use crate::domain::audit::evidence;
use crate::domain::directory::{adoption, deletion, group, user};
use crate::domain::paging::order::OrderBy;
use crate::domain::tenant::{domain, organization};
use crate::domain::{access, connection, paging, sign_in};
use crate::error::{Error, Mistakes, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, Long, NodeKind, PageArguments, RelayPage};
pub use activity::OrganizationActivity;

/// Which integration provisions an organization: never both at once.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Mode")]
pub enum IntegrationMode {
    /// Identity providers write over SCIM 2.0.
    Scim,
    /// Microsoft Entra ID's native integration: the groups in sign-ins at a connection of the kind
    /// `ASSERTION` whose provider is Entra ID are people's groups. SCIM requests are refused.
    EntraNative,
    /// The same with the sign-ins at any other connection of the kind `ASSERTION`.
    SignIn,
}

/// What a change of the integration mode would do.
pub struct IntegrationModePreview(sign_in::mode::ModePreview);

/// The most gains and losses that a preview shows.
const SHOWN_MOVES: usize = 100;

impl IntegrationModePreview {
    fn moves(&self, gained: bool) -> impl Iterator<Item = &access::RoleMove> {
        self.0.moves.iter().filter(move |moved| moved.gained == gained)
    }

    fn shown(&self, gained: bool) -> Vec<AccessMove> {
        let numbered = self.moves(gained).zip(0..).take(SHOWN_MOVES);
        numbered.map(|(moved, number)| AccessMove(number, *moved)).collect()
    }
}

/// Who would gain and lose roles by a change of the integration mode, as far as it is known what
/// people's sign-ins say. A change back restores what SCIM and administrators said before.
#[Object]
impl IntegrationModePreview {
    /// How many pairs of account and role would be gained.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn gained_count(&self) -> i32 {
        relay::to_graphql_int(self.moves(true).count() as u64)
    }

    /// How many pairs of account and role would be lost.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn lost_count(&self) -> i32 {
        relay::to_graphql_int(self.moves(false).count() as u64)
    }

    /// The first 100 pairs of account and role that would be gained.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn gains(&self) -> Option<Vec<AccessMove>> {
        Some(self.shown(true))
    }

    /// The first 100 pairs of account and role that would be lost.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn losses(&self) -> Option<Vec<AccessMove>> {
        Some(self.shown(false))
    }

    /// Accounts of which it is known what their latest sign-in says.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn known_count(&self) -> i32 {
        relay::to_graphql_int(self.0.known)
    }

    /// Accounts that have not signed in yet: each keeps what it has until it does.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn unknown_count(&self) -> i32 {
        relay::to_graphql_int(self.0.unknown)
    }

    /// Whether there are more accounts with sign-ins than the preview looked at.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn truncated(&self) -> bool {
        self.0.truncated
    }
}

macro_rules! organization_object {
    ($($module:ident :: $part:ident,)+) => {
        /// An organization (a tenant): its settings, and everything in it.
        #[derive(MergedObject, Default)]
        #[graphql(name = "Organization")]
        pub struct OrganizationObject($(super::$module::$part,)+);
    };
}

with_organization_parts!(organization_object);

impl OrganizationObject {
    /// The organization of the request, if this is its id.
    ///
    /// # Errors
    /// None; other objects are found in the same way.
    #[allow(clippy::unused_async, reason = "the other objects are read from the database")]
    pub async fn find_by_id(cx: &Cx, id: Uuid) -> Result<Option<Self>> {
        Ok((id == cx.organization()).then(Self::default))
    }

    /// The organization's global id, for the interface `Node`.
    pub async fn id(&self, ctx: &Context<'_>) -> Result<ID> {
        Ok(relay::global_id(NodeKind::Organization, relay::cx(ctx)?.organization()))
    }
}

/// The settings of an organization, its users and groups, and their access.
#[derive(Default)]
pub struct OrganizationDirectory;

#[Object(name = "Directory")]
impl OrganizationDirectory {
    /// Who would gain and lose roles if the organization changed to this integration mode, as far
    /// as it is known what people's sign-ins say. Nothing is changed.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn integration_mode_preview(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The mode to change to.")] mode: IntegrationMode,
    ) -> Result<Option<IntegrationModePreview>> {
        let preview = Box::pin(sign_in::mode::preview_mode(relay::cx(ctx)?, mode.into())).await?;
        Ok(Some(IntegrationModePreview(preview)))
    }

    /// The organization's global id.
    #[graphql(directive = needs::apply(None))]
    async fn id(&self, ctx: &Context<'_>) -> Result<ID> {
        OrganizationObject::default().id(ctx).await
    }

    /// The short name in the SCIM URL; it never changes.
    #[graphql(directive = needs::apply(None))]
    async fn slug(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(loaders::load_organization(ctx).await?.slug)
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(None))]
    async fn name(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(loaders::load_organization(ctx).await?.name)
    }

    /// When the organization was created.
    #[graphql(directive = needs::apply(None))]
    async fn created_at(&self, ctx: &Context<'_>) -> async_graphql::Result<DateTime<Utc>> {
        Ok(loaders::load_organization(ctx).await?.created_at)
    }

    /// Whether inbound provisioning over SCIM is turned on for the organization.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scim_enabled(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<bool>> {
        Ok(Some(loaders::load_organization(ctx).await?.scim_enabled))
    }

    /// Which integration provisions the organization.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn integration_mode(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<IntegrationMode>> {
        Ok(Some(loaders::load_organization(ctx).await?.integration_mode.into()))
    }

    /// The names of the domains, in whatever state they are: see `domains`. A connection with the
    /// adoption policy `LINK` gets an existing account if its user name is inside one of them.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn verified_domains(&self, ctx: &Context<'_>) -> Result<Option<Vec<String>>> {
        Box::pin(domain::list_names(relay::cx(ctx)?)).await.map(Some)
    }

    /// Until when people with `PLATFORM_ADMIN` may use their other permissions here; null if they
    /// may not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn operator_access_until(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<DateTime<Utc>>> {
        let now = relay::cx(ctx)?.app.clock.now();
        let row = loaders::load_organization(ctx).await?;
        Ok(row.operator_access_until.filter(|until| *until > now))
    }

    /// An overview of provisioning over SCIM.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scim(&self) -> Option<ScimOverview> {
        Some(ScimOverview)
    }

    /// The connections, which are the sources of identities, oldest first unless ordered
    /// otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn connections(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            IdentitySourceFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<IdentitySourceOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<IdentitySource>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(connection::list_connections(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(connection::count_connections(cx, &which)), rows).await
    }

    /// One connection; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection's global id.")] id: ID,
    ) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::IdentitySource, &id) else {
            return Ok(None);
        };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The accounts, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<UserFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<UserOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<UserObject>>> {
        let window = PageArguments { first, after, last, before };
        let page = list_users(ctx, filter.unwrap_or_default(), |_| {}, order_by, window);
        Ok(Some(Box::pin(page).await?))
    }

    /// One account, by exactly one of its id and its user name; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account's global id.")] id: Option<ID>,
        #[graphql(desc = "The account's user name, in any case.")] user_name: Option<String>,
    ) -> async_graphql::Result<Option<UserObject>> {
        match (id, user_name) {
            (Some(id), None) => {
                let Some(id) = relay::parse_id_of_kind(NodeKind::User, &id) else {
                    return Ok(None);
                };
                Ok(loaders::load_one(ctx, UserId(id)).await?.map(Into::into))
            }
            (None, Some(name)) => {
                let query = UserFilter::with_user_name(name).into_domain_query()?;
                let Some(query) = query else { return Ok(None) };
                let keyset = paging::Keyset { limit: 1, ..Default::default() };
                let cx = relay::cx(ctx)?;
                let found = user::list_users(cx, &query, OrderBy::Age, &keyset).await?;
                Ok(found.rows.into_iter().next().map(|(row, _)| row.into()))
            }
            _ => Err(Error::invalid("id", "give exactly one of id and userName").into()),
        }
    }

    /// Whether a person may do something now. A person who is unknown or suspended may not.
    #[graphql(directive = needs::apply(Some(Permission::DecisionRead)))]
    async fn decision(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The person: a user name, an account's id, or a connection's id, a slash \
                          and the external id there."
        )]
        subject: String,
        #[graphql(desc = "A permission as roles name it.")] permission: String,
    ) -> Result<Option<Decision>> {
        decision::resolve_decision(ctx, &subject, permission).await
    }

    /// Deleted accounts that can still be restored, in the order of their creation unless ordered
    /// otherwise.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn deleted_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            DeletedUserFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<DeletedUserOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<DeletedUser>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let filter = filter.unwrap_or_default();
        if filter.names_connection() {
            cx.allow(Action::ReadIam, None)?;
        }
        let Some(which) = filter.into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(deletion::list_restorable_users(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(deletion::count_restorable_users(cx, &which)), rows).await
    }

    /// Deleted groups, in the order of their creation unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn deleted_groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            DeletedGroupFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<DeletedGroupOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<DeletedGroup>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows =
            Box::pin(group::restore::list_restorable_groups(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(group::restore::count_restorable_groups(cx, &which)), rows).await
    }

    /// The groups, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<GroupFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<GroupOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<GroupObject>>> {
        let window = PageArguments { first, after, last, before };
        let page = list_groups(ctx, filter.unwrap_or_default(), |_| {}, order_by, window);
        Ok(Some(Box::pin(page).await?))
    }

    /// One group; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group's global id.")] id: ID,
    ) -> async_graphql::Result<Option<GroupObject>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::Group, &id) else { return Ok(None) };
        Ok(loaders::load_one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The internal roles, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<RoleFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<RoleOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<RoleObject>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(role::list_roles(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(role::count_roles(cx, &which)), rows).await
    }

    /// One role; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The role's global id.")] id: ID,
    ) -> async_graphql::Result<Option<RoleObject>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::Role, &id) else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleId(id)).await?.map(Into::into))
    }

    /// The mappings of groups to roles, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn role_mappings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            RoleMappingFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<RoleMappingOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<RoleMapping>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(role_mapping::list_mappings(cx, which, list.by, &list.keyset));
        list.fetch_page(Box::pin(role_mapping::count_mappings(cx, which)), rows).await
    }

    /// The direct grants of roles, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn role_grants(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            RoleGrantFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<RoleGrantOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<RoleGrant>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(role_grant::list_grants(cx, which, list.by, &list.keyset));
        list.fetch_page(Box::pin(role_grant::count_grants(cx, which)), rows).await
    }

    /// The access report: all accounts that hold a role, sorted by account id, with their roles and
    /// what gives each of them. The export `/evidence/access` has the same content, signed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn access_report(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            AccessReportEntryFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<AccessReportEntryOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<RelayPage<AccessReportEntry>>> {
        let window = PageArguments { first, after, last, before };
        report::list_access_report(ctx, filter.unwrap_or_default(), order_by, window).await
    }

    /// The leavers, the latest first unless ordered otherwise: accounts that were suspended or
    /// deleted.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn leavers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<LeaverFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<LeaverOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<LeaverObject>>> {
        let window = PageArguments { first, after, last, before };
        leaver::list_leavers(ctx, filter.unwrap_or_default(), order_by, window).await
    }

    /// How long it took from the request until a leaver held no role, compared with an objective.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn revocation_times(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Those who left from this instant on.")] since: Option<DateTime<Utc>>,
        #[graphql(desc = "Those who left before this instant.")] until: Option<DateTime<Utc>>,
        #[graphql(desc = "The longest that it should take, in seconds.", default = 60)]
        objective_seconds: i32,
    ) -> Result<Option<RevocationTimes>> {
        leaver::measure_revocation(ctx, since, until, objective_seconds).await
    }

    /// The state of the ledger's chain, as far as it is known without walking along it. Whether it
    /// is unbroken, `rolecall audit verify` says.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn ledger(&self, ctx: &Context<'_>) -> Result<Option<LedgerChain>> {
        Ok(Some(evidence::read_ledger_state(relay::cx(ctx)?).await?.into()))
    }

    /// The instant up to which the past is settled: an answer `asOf` an earlier instant never
    /// changes.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn settled_until(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        access::settled_watermark(relay::cx(ctx)?).await.map(Some)
    }

    /// The position in the ledger (`Event.seq`) up to which the events `user.access_changed` are
    /// complete. There is one for each account whose access a change affects, within seconds of the
    /// change.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn access_announced_through(&self, ctx: &Context<'_>) -> Result<Option<Long>> {
        Ok(Some(Long(access::announced_through(relay::cx(ctx)?).await?)))
    }

    /// The adoption proposals, oldest first unless ordered otherwise: users that connections wanted
    /// to create and that already had an account.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn adoption_proposals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            AdoptionProposalFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<AdoptionProposalOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<AdoptionProposal>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(adoption::list_proposals(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(adoption::count_proposals(cx, &which)), rows).await
    }
}

#[derive(Default)]
pub struct OrganizationQuery;

#[Object]
impl OrganizationQuery {
    /// The organization of this request: an API key's own; for a token, the one that the header
    /// `Rolecall-Organization` names, or its only one. Null for a person of several organizations
    /// whose request names none; the error lists them.
    #[graphql(directive = needs::apply(None))]
    async fn organization(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<OrganizationObject>> {
        ctx.data::<ApiCaller>()?.require_organization()?;
        Ok(Some(OrganizationObject::default()))
    }
}

/// The settings of the organization to change. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct OrganizationUpdateInput {
    /// The name for people to read. Cannot be null.
    name: MaybeUndefined<String>,
    /// Whether inbound provisioning over SCIM is turned on. Cannot be null.
    scim_enabled: MaybeUndefined<bool>,
    /// Which integration provisions the organization. Cannot be null.
    integration_mode: MaybeUndefined<IntegrationMode>,
    /// The verified domains, for example `example.org`, at most 100; they replace the earlier ones.
    /// List only domains that belong to the organization: a connection with the adoption policy
    /// `LINK` gets an existing account because its user name is inside one of them. New ones are
    /// asserted, those that stay keep their state. Null = none.
    verified_domains: MaybeUndefined<Vec<String>>,
}

impl OrganizationUpdateInput {
    /// The settings as the domain takes them.
    fn into_settings(self) -> Result<organization::OrganizationSettings> {
        let mut mistakes = Mistakes::default();
        let settings = organization::OrganizationSettings {
            name: mistakes.collect(relay::refuse_null("name", self.name)).flatten(),
            scim_enabled: mistakes
                .collect(relay::refuse_null("scimEnabled", self.scim_enabled))
                .flatten(),
            integration_mode: mistakes
                .collect(relay::refuse_null("integrationMode", self.integration_mode))
                .flatten()
                .map(Into::into),
            verified_domains: match self.verified_domains {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(Vec::new()),
                MaybeUndefined::Value(domains) => Some(domains),
            },
        };
        mistakes.refuse_any()?;
        Ok(settings)
    }
}

mutation_payloads! {
    organization_payloads;
    /// The organization after the change; null if there were mistakes.
    organization: OrganizationObject;
    /// The result of `organizationUpdate`.
    OrganizationUpdatePayload,
}

#[derive(Default)]
pub struct OrganizationMutation;

#[Object]
impl OrganizationMutation {
    /// Changes the organization's settings.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn organization_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: OrganizationUpdateInput,
    ) -> Result<Option<OrganizationUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            organization::update_organization(cx, input.into_settings()?).await?;
            Ok::<_, Error>(OrganizationObject::default())
        };
        OrganizationUpdatePayload::from_result(done.await, FieldMap::EMPTY)
    }
}
