//! Who holds which role, and why: for an account and for a role, now and at any settled instant.

use async_graphql::{Context, Enum, ID, Object, SimpleObject, TypeName};
use chrono::{DateTime, Utc};
use std::borrow::Cow;
use uuid::Uuid;

use super::event::EventObject;
use super::group::GroupObject;
use super::list_filter::{AccessReportEntryFilter, RoleHolderFilter, refuse_as_of};
use super::loaders::{
    self, EventId, EverRoleId, GroupId, PathOf, RoleGrantId, RoleId, RoleMappingId, RolesHeldBy,
    RolesOfGroup, UserId,
};
use super::order::{AccessReportEntryOrder, ListOrder, UserOrder};
use super::permission::{Permission, needs};
use super::role::RoleObject;
use super::role_grant::RoleGrant;
use super::role_mapping::RoleMapping;
use super::user::{UserObject, list_users};
use crate::domain::access;
use crate::domain::access::role_mapping::Mapping;
use crate::domain::access::{AsOf, RoleGap, RoleSource, WantedPath};
use crate::domain::directory::user::UserQuery;
use crate::domain::paging::order::{OrderBy, OrderPlace, place_by_age};
use crate::domain::sign_in;
use crate::error::Noun;
use crate::graphql::relay;
use crate::graphql::relay::{NodeKind, PageArguments, RelayPage};

/// A role that an account holds, with every mapping and grant that gives it.
#[derive(SimpleObject)]
pub struct EffectiveRole {
    /// The role, as it is called now. In an answer about an earlier instant it may have been
    /// deleted since: see `deletedAt`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    pub role: RoleObject,
    /// The mappings and grants that give the role. Removing one leaves the others in force.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    sources: Vec<AccessSource>,
}

/// The roles of an account at a moment, one entry a role.
pub async fn list_effective_roles(
    ctx: &Context<'_>,
    user: Uuid,
    as_of: Option<DateTime<Utc>>,
) -> async_graphql::Result<Vec<EffectiveRole>> {
    let held = loaders::load_one(ctx, RolesHeldBy(user, as_of)).await?.unwrap_or_default();
    join_roles(ctx, &held, as_of).await
}

/// The roles that a group gives to its members, one entry a role.
pub async fn list_roles_of_group(
    ctx: &Context<'_>,
    group: Uuid,
) -> async_graphql::Result<Vec<EffectiveRole>> {
    let held = loaders::load_one(ctx, RolesOfGroup(group)).await?.unwrap_or_default();
    join_roles(ctx, &held, None).await
}

/// The roles of these sources, which are sorted by role.
async fn join_roles(
    ctx: &Context<'_>,
    held: &[RoleSource],
    as_of: Option<DateTime<Utc>>,
) -> async_graphql::Result<Vec<EffectiveRole>> {
    let mut ids: Vec<Uuid> = held.iter().map(|holding| holding.role_id).collect();
    ids.dedup();
    let roles = if as_of.is_some() {
        // A role that was deleted since was held all the same.
        let keys: Vec<EverRoleId> = ids.into_iter().map(EverRoleId).collect();
        loaders::load_many(ctx, &keys).await?
    } else {
        let keys: Vec<RoleId> = ids.into_iter().map(RoleId).collect();
        loaders::load_many(ctx, &keys).await?
    };
    let effective = roles.into_iter().map(|role| {
        let sources = held
            .iter()
            .filter(|holding| holding.role_id == role.id)
            .cloned()
            .map(|source| AccessSource { source, as_of })
            .collect();
        EffectiveRole { role: role.into(), sources }
    });
    Ok(effective.collect())
}

/// The role for an application that supports one role per user: that of the lowest priority number.
/// Roles without a priority are left out.
pub fn pick_primary_role(roles: Vec<EffectiveRole>) -> Option<EffectiveRole> {
    roles
        .into_iter()
        .filter(|held| held.role.0.priority.is_some())
        .min_by_key(|held| held.role.0.priority)
}

/// How an account comes to hold a role.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessSourceKind {
    /// Through a role mapping: of a group, or of all users of a connection.
    Mapping,
    /// Through a direct grant.
    Grant,
}

/// What a sign-in said about a membership.
#[derive(SimpleObject)]
pub struct SignInClaim {
    /// In words for people: which connection said it, and when.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    text: String,
    /// The global id of the connection whose identity provider said it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    connection_id: ID,
    /// When the latest list of groups was issued that says it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    said_at: DateTime<Utc>,
    /// From this instant on it gives no role, unless the person signs in before; null without a
    /// planned end.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    expires_at: Option<DateTime<Utc>>,
}

/// One way in which an account holds a role.
pub struct AccessSource {
    source: RoleSource,
    /// The instant of the answer; none = now.
    as_of: Option<DateTime<Utc>>,
}

/// One way in which an account holds a role: the chain from the account through groups and a
/// mapping, or a direct grant.
#[Object]
impl AccessSource {
    /// Whether a mapping or a direct grant gives the role.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AccessSourceKind {
        if self.source.mapping_id.is_some() {
            AccessSourceKind::Mapping
        } else {
            AccessSourceKind::Grant
        }
    }

    /// False if the account is only in a group that is nested in the mapped group; otherwise true.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn direct(&self) -> bool {
        self.source.group_id == self.source.member_of
    }

    /// The group that is mapped to the role; null for a grant, and for a mapping of all users of a
    /// connection.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        load_group(ctx, self.source.group_id).await
    }

    /// The group that the account is a direct member of: `group`, or a group that is nested in it.
    /// Null where `group` is null.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn member_of(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        load_group(ctx, self.source.member_of).await
    }

    /// The whole path from the account to `group`, one link for each step: first the membership of
    /// the account in `memberOf`, then each nesting of a group in the next. Of several paths, a
    /// shortest one. Empty where `group` is null.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn path(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<AccessLink>>> {
        let (Some(member_of), Some(group)) = (self.source.member_of, self.source.group_id) else {
            return Ok(Some(Vec::new()));
        };
        // The source of a group has no account.
        let user = Some(self.source.user_id).filter(|user| !user.is_nil());
        let wanted = PathOf(WantedPath { user, member_of, group }, self.as_of);
        let links = loaders::load_one(ctx, wanted).await?.unwrap_or_default();
        Ok(Some(links.into_iter().map(AccessLink).collect()))
    }

    /// The mapping that gives the role; null for a grant.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mapping(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleMapping>> {
        let Some(id) = self.source.mapping_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleMappingId(id)).await?.map(Into::into))
    }

    /// The direct grant that gives the role; null for a mapping.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn grant(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleGrant>> {
        let Some(id) = self.source.grant_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleGrantId(id)).await?.map(Into::into))
    }

    /// The event that made the account a member of `memberOf`: who, when, in which request. Null
    /// where `memberOf` is null.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn joined_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        load_event(ctx, self.source.joined_by).await
    }

    /// The sign-in that said that the account is in `memberOf`; null where SCIM or a person made
    /// the membership, and where `memberOf` is null.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn said_at_sign_in(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<SignInClaim>> {
        let RoleSource { user_id, member_of, joined_by, .. } = self.source;
        let Some((group, joined_by)) = member_of.zip(joined_by) else { return Ok(None) };
        let cx = relay::cx(ctx)?;
        let claim = sign_in::claim_behind(cx, user_id, group, joined_by).await?;
        Ok(claim.map(|claim| SignInClaim {
            text: format!("said by {} at sign-in on {}", claim.name, claim.said_at.date_naive()),
            connection_id: relay::global_id(NodeKind::IdentitySource, claim.connection_id),
            said_at: claim.said_at,
            expires_at: claim.expires_at,
        }))
    }

    /// The event that created the mapping or the grant, or last changed it: who, when, in which
    /// request.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn given_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        load_event(ctx, Some(self.source.given_by)).await
    }
}

/// One link of the path from an account to a group that is mapped to a role.
pub struct AccessLink(access::AccessLink);

/// One link of the path from an account to a group that is mapped to a role: a membership of the
/// account, or of one group in another.
#[Object]
impl AccessLink {
    /// The group that is the member; null where the account itself is the member.
    #[graphql(name = "fromGroup", directive = needs::apply(Some(Permission::IamRead)))]
    async fn member_group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        load_group(ctx, self.0.from_group).await
    }

    /// The group that it is a member of; null after the group was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn to_group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        load_group(ctx, Some(self.0.to_group)).await
    }

    /// Since when it is a member.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// The event that made it a member: who, when, in which request.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn made_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        load_event(ctx, Some(self.0.made_by)).await
    }
}

async fn load_group(
    ctx: &Context<'_>,
    id: Option<Uuid>,
) -> async_graphql::Result<Option<GroupObject>> {
    let Some(id) = id else { return Ok(None) };
    Ok(loaders::load_one(ctx, GroupId(id)).await?.map(Into::into))
}

async fn load_event(
    ctx: &Context<'_>,
    id: Option<Uuid>,
) -> async_graphql::Result<Option<EventObject>> {
    let Some(id) = id else { return Ok(None) };
    Ok(loaders::load_one(ctx, EventId(id)).await?.map(Into::into))
}

/// An account that holds a role.
pub struct RoleHolder {
    pub user: Uuid,
    role: Uuid,
    as_of: Option<DateTime<Utc>>,
}

impl TypeName for RoleHolder {
    fn type_name() -> Cow<'static, str> {
        "RoleHolder".into()
    }
}

/// An account that holds a role, with every mapping and grant that gives it.
#[Object(name_type)]
impl RoleHolder {
    /// The account; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        Ok(loaders::load_one(ctx, UserId(self.user)).await?.map(Into::into))
    }

    /// The mappings and grants that give the role. Removing one leaves the others in force.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn sources(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<AccessSource>>> {
        let held =
            loaders::load_one(ctx, RolesHeldBy(self.user, self.as_of)).await?.unwrap_or_default();
        Ok(Some(
            held.into_iter()
                .filter(|holding| holding.role_id == self.role)
                .map(|source| AccessSource { source, as_of: self.as_of })
                .collect(),
        ))
    }
}

/// A page of the accounts that hold a role at a moment.
pub async fn list_role_holders(
    ctx: &Context<'_>,
    role: Uuid,
    filter: RoleHolderFilter,
    order_by: Option<UserOrder>,
    window: PageArguments,
) -> async_graphql::Result<Option<RelayPage<RoleHolder>>> {
    let cx = relay::cx(ctx)?;
    let RoleHolderFilter { as_of, user } = filter;
    let order: ListOrder = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
    if user.is_some() || order.by != OrderBy::Age {
        refuse_as_of(as_of)?;
        let holding = |query: &mut UserQuery| query.holding = Some(role);
        let page = list_users(ctx, user.unwrap_or_default(), holding, order_by, window);
        let page = Box::pin(page).await?;
        return Ok(Some(page.map(|user| RoleHolder { user: user.0.id, role, as_of: None })));
    }
    let keyset = window.to_keyset::<OrderPlace>(ctx, order.descending)?.to_id_keyset()?;
    let moment: AsOf = access::resolve_moment(cx, as_of).await?;
    let total = if relay::selects_total_count(ctx) {
        access::count_holders(cx, Some(role), moment).await?
    } else {
        0
    };
    let rows = access::list_holders(cx, Some(role), moment, &keyset)
        .await?
        .map(|user| RoleHolder { user, role, as_of });
    Ok(Some(RelayPage::from_keyed_rows(place_by_age(rows, |row| row.user), total)))
}

/// An account that holds at least one role, in the report of all access.
pub struct AccessReportEntry {
    user: Uuid,
    as_of: Option<DateTime<Utc>>,
}

impl TypeName for AccessReportEntry {
    fn type_name() -> Cow<'static, str> {
        "AccessReportEntry".into()
    }
}

/// An account that holds at least one role, with all of its roles and what gives each of them.
#[Object(name_type)]
impl AccessReportEntry {
    /// The account; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        Ok(loaders::load_one(ctx, UserId(self.user)).await?.map(Into::into))
    }

    /// The account's global id, also after the account was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn user_id(&self) -> ID {
        relay::global_id(NodeKind::User, self.user)
    }

    /// The roles of the account, each with the mappings and grants that give it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn roles(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<EffectiveRole>>> {
        list_effective_roles(ctx, self.user, self.as_of).await.map(Some)
    }
}

/// A page of the report of all access at a moment.
pub async fn list_access_report(
    ctx: &Context<'_>,
    filter: AccessReportEntryFilter,
    order_by: Option<AccessReportEntryOrder>,
    window: PageArguments,
) -> async_graphql::Result<Option<RelayPage<AccessReportEntry>>> {
    let cx = relay::cx(ctx)?;
    let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
    let keyset = window.to_keyset(ctx, order.descending)?;
    let as_of = filter.as_of;
    let Some(role) = relay::parse_filter_id(NodeKind::Role, filter.role_id.as_ref()) else {
        return Ok(Some(RelayPage::empty()));
    };
    let moment: AsOf = access::resolve_moment(cx, as_of).await?;
    let total = if relay::selects_total_count(ctx) {
        access::count_holders(cx, role, moment).await?
    } else {
        0
    };
    let rows = access::list_holders(cx, role, moment, &keyset)
        .await?
        .map(|user| AccessReportEntry { user, as_of });
    Ok(Some(RelayPage::new(rows, |row: &AccessReportEntry| row.user, total)))
}

/// What is missing for an account to hold a role.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessGapKind {
    /// The account is suspended, so it holds no role.
    Suspended,
    /// The account is not in the group that is mapped to the role.
    NotAMember,
    /// The mapping is for all users of a connection that does not own the account.
    OtherConnection,
    /// The mapping waits for a group that does not exist yet.
    GroupNotArrived,
    /// The planned end of the mapping has passed.
    MappingExpired,
    /// No group is mapped to the role, and there is no grant.
    NothingGivesIt,
}

/// Something that is missing for an account to hold a role.
pub struct AccessGap(RoleGap);

/// Something that is missing for an account to hold a role. Each gap about a mapping is a separate
/// way to the role: to close one of them is enough.
#[Object]
impl AccessGap {
    /// What is missing.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AccessGapKind {
        match &self.0 {
            RoleGap::Suspended => AccessGapKind::Suspended,
            RoleGap::NotAMember(_) => AccessGapKind::NotAMember,
            RoleGap::OtherConnection(_) => AccessGapKind::OtherConnection,
            RoleGap::Waiting(_) => AccessGapKind::GroupNotArrived,
            RoleGap::Expired(_) => AccessGapKind::MappingExpired,
            RoleGap::NothingGivesIt => AccessGapKind::NothingGivesIt,
        }
    }

    /// The mapping that would give the role; null if the gap is not about a mapping.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mapping(&self) -> Option<RoleMapping> {
        let found: Option<&Mapping> = match &self.0 {
            RoleGap::NotAMember(row)
            | RoleGap::OtherConnection(row)
            | RoleGap::Waiting(row)
            | RoleGap::Expired(row) => Some(row),
            RoleGap::Suspended | RoleGap::NothingGivesIt => None,
        };
        found.cloned().map(Into::into)
    }
}

/// Why an account holds a role, or what is missing.
#[derive(SimpleObject)]
pub struct AccessExplanation {
    /// Whether the account holds the role now.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    holds: bool,
    /// Every way in which it holds the role; empty if it does not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    sources: Vec<AccessSource>,
    /// What is missing; empty if it holds the role.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    gaps: Vec<AccessGap>,
}

/// Why an account holds a role, or what is missing.
pub async fn explain_access(
    ctx: &Context<'_>,
    user: Uuid,
    role: &ID,
) -> async_graphql::Result<Option<AccessExplanation>> {
    let role = relay::parse_input_id(NodeKind::Role, role, Noun::Role)?;
    let found = access::explain_access(relay::cx(ctx)?, user, role).await?;
    Ok(Some(AccessExplanation {
        holds: !found.holdings.is_empty(),
        sources: found
            .holdings
            .into_iter()
            .map(|source| AccessSource { source, as_of: None })
            .collect(),
        gaps: found.gaps.into_iter().map(AccessGap).collect(),
    }))
}
