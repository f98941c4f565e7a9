//! Who holds which role, and why: for an account and for a role, now and at any settled instant.

use async_graphql::{Context, Enum, ID, Object, SimpleObject, TypeName};
use chrono::{DateTime, Utc};
use std::borrow::Cow;
use uuid::Uuid;

use super::event::EventObject;
use super::group::GroupObject;
use super::loaders::{
    self, EventId, GroupId, RoleGrantId, RoleId, RoleMappingId, RolesHeldBy, UserId,
};
use super::permission::{Permission, needs};
use super::role::RoleObject;
use super::role_grant::RoleGrant;
use super::role_mapping::RoleMapping;
use super::user::UserObject;
use crate::domain::access;
use crate::domain::access::role_mapping::Mapping;
use crate::domain::access::{AsOf, RoleGap, RoleSource};
use crate::error::Noun;
use crate::graphql::relay;
use crate::graphql::relay::{NodeKind, PageArguments, RelayPage};

/// A role that an account holds, with every mapping and grant that gives it.
#[derive(SimpleObject)]
pub struct EffectiveRole {
    /// The role.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    role: RoleObject,
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
    let mut ids: Vec<Uuid> = held.iter().map(|holding| holding.role_id).collect();
    ids.dedup();
    let keys: Vec<RoleId> = ids.into_iter().map(RoleId).collect();
    let roles = loaders::load_many(ctx, &keys).await?;
    let effective = roles.into_iter().map(|role| {
        let sources = held
            .iter()
            .filter(|holding| holding.role_id == role.id)
            .cloned()
            .map(AccessSource)
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

/// One way in which an account holds a role.
pub struct AccessSource(RoleSource);

/// One way in which an account holds a role: the chain from the account through groups and a
/// mapping, or a direct grant.
#[Object]
impl AccessSource {
    /// Whether a mapping or a direct grant gives the role.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AccessSourceKind {
        if self.0.mapping_id.is_some() {
            AccessSourceKind::Mapping
        } else {
            AccessSourceKind::Grant
        }
    }

    /// False if the account is only in a group that is nested in the mapped group; otherwise true.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn direct(&self) -> bool {
        self.0.group_id == self.0.member_of
    }

    /// The group that is mapped to the role; null for a grant, and for a mapping of all users of a
    /// connection.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        load_group(ctx, self.0.group_id).await
    }

    /// The group that the account is a direct member of: `group`, or a group that is nested in it.
    /// Null where `group` is null.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn member_of(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        load_group(ctx, self.0.member_of).await
    }

    /// The mapping that gives the role; null for a grant.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mapping(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleMapping>> {
        let Some(id) = self.0.mapping_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleMappingId(id)).await?.map(Into::into))
    }

    /// The direct grant that gives the role; null for a mapping.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn grant(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleGrant>> {
        let Some(id) = self.0.grant_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleGrantId(id)).await?.map(Into::into))
    }

    /// The event that made the account a member of `memberOf`: who, when, in which request. Null
    /// where `memberOf` is null.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn joined_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        load_event(ctx, self.0.joined_by).await
    }

    /// The event that created the mapping or the grant, or last changed it: who, when, in which
    /// request.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn given_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        load_event(ctx, Some(self.0.given_by)).await
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
                .map(AccessSource)
                .collect(),
        ))
    }
}

/// A page of the accounts that hold a role at a moment.
pub async fn list_role_holders(
    ctx: &Context<'_>,
    role: Uuid,
    as_of: Option<DateTime<Utc>>,
    window: PageArguments,
) -> async_graphql::Result<Option<RelayPage<RoleHolder>>> {
    let cx = relay::cx(ctx)?;
    let keyset = window.to_keyset(false)?;
    let moment: AsOf = access::resolve_moment(cx, as_of).await?;
    let total = if relay::selects_total_count(ctx) {
        access::count_holders(cx, Some(role), moment).await?
    } else {
        0
    };
    let rows = access::list_holders(cx, Some(role), moment, &keyset)
        .await?
        .map(|user| RoleHolder { user, role, as_of });
    Ok(Some(RelayPage::new(rows, |row: &RoleHolder| row.user, total)))
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
    as_of: Option<DateTime<Utc>>,
    window: PageArguments,
) -> async_graphql::Result<Option<RelayPage<AccessReportEntry>>> {
    let cx = relay::cx(ctx)?;
    let keyset = window.to_keyset(false)?;
    let moment: AsOf = access::resolve_moment(cx, as_of).await?;
    let total = if relay::selects_total_count(ctx) {
        access::count_holders(cx, None, moment).await?
    } else {
        0
    };
    let rows = access::list_holders(cx, None, moment, &keyset)
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
        sources: found.holdings.into_iter().map(AccessSource).collect(),
        gaps: found.gaps.into_iter().map(AccessGap).collect(),
    }))
}
