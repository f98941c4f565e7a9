//! Who holds which role, and why: seen from an account and from a role, now and at any settled instant.

use async_graphql::{Context, Enum, ID, Object, SimpleObject, TypeName};
use chrono::{DateTime, Utc};
use std::borrow::Cow;
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::event::Event;
use super::grant::RoleGrant;
use super::group::Group;
use super::loaders::{self, EventId, GrantId, GroupId, HeldBy, MappingId, RoleId, UserId};
use super::mapping::RoleMapping;
use super::page::{self, Kind, Page, Window};
use super::role::Role;
use super::user::User;
use crate::domain::access::{self, Gap, Holding, Moment};
use crate::domain::mapping::Mapping;

/// A role that somebody holds, with all it comes through.
#[derive(SimpleObject)]
pub struct EffectiveRole {
    /// The role.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    role: Role,
    /// What it comes through; taking one away leaves the others.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    sources: Vec<AccessSource>,
}

/// The roles of an account at a moment, one entry a role.
pub async fn roles_of(
    ctx: &Context<'_>,
    user: Uuid,
    as_of: Option<DateTime<Utc>>,
) -> async_graphql::Result<Vec<EffectiveRole>> {
    let held = loaders::one(ctx, HeldBy(user, as_of)).await?.unwrap_or_default();
    let mut ids: Vec<Uuid> = held.iter().map(|holding| holding.role_id).collect();
    ids.dedup();
    let keys: Vec<RoleId> = ids.into_iter().map(RoleId).collect();
    let roles = loaders::several(ctx, &keys).await?;
    let effective = roles.into_iter().map(|role| {
        let sources = held.iter().filter(|holding| holding.role_id == role.id).cloned().map(AccessSource).collect();
        EffectiveRole { role: role.into(), sources }
    });
    Ok(effective.collect())
}

/// The role that is meant where an application wants one only: that of the lowest priority number.
pub fn primary(roles: Vec<EffectiveRole>) -> Option<EffectiveRole> {
    roles.into_iter().filter(|held| held.role.0.priority.is_some()).min_by_key(|held| held.role.0.priority)
}

/// Through what somebody holds a role.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessSourceKind {
    /// Through a group, or everybody of a connection, mapped to the role.
    Mapping,
    /// Granted directly.
    Grant,
}

/// One way in which somebody holds a role.
pub struct AccessSource(Holding);

/// One way in which somebody holds a role: the chain from the account through groups and a mapping, or a grant.
#[Object]
impl AccessSource {
    /// Through a mapping, or granted directly.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AccessSourceKind {
        if self.0.mapping_id.is_some() { AccessSourceKind::Mapping } else { AccessSourceKind::Grant }
    }

    /// Whether the account is itself in the mapped group; false where it comes through groups in groups.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn direct(&self) -> bool {
        self.0.group_id == self.0.member_of
    }

    /// The group that is mapped to the role; null for a grant, and where everybody of a connection holds the role.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Group>> {
        group(ctx, self.0.group_id).await
    }

    /// The group that the account is itself in; another than `group` where groups stand in groups.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn member_of(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Group>> {
        group(ctx, self.0.member_of).await
    }

    /// The mapping that gives the role; null for a grant.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn mapping(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleMapping>> {
        let Some(id) = self.0.mapping_id else { return Ok(None) };
        Ok(loaders::one(ctx, MappingId(id)).await?.map(Into::into))
    }

    /// The direct grant that gives the role; null for a mapping.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn grant(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleGrant>> {
        let Some(id) = self.0.grant_id else { return Ok(None) };
        Ok(loaders::one(ctx, GrantId(id)).await?.map(Into::into))
    }

    /// The change that brought the account into `memberOf`: who, when, under which request.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn joined_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Event>> {
        event(ctx, self.0.joined_by).await
    }

    /// The change that made the mapping or the grant what it is: who, when, under which request.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn given_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Event>> {
        event(ctx, Some(self.0.given_by)).await
    }
}

async fn group(ctx: &Context<'_>, id: Option<Uuid>) -> async_graphql::Result<Option<Group>> {
    let Some(id) = id else { return Ok(None) };
    Ok(loaders::one(ctx, GroupId(id)).await?.map(Into::into))
}

async fn event(ctx: &Context<'_>, id: Option<Uuid>) -> async_graphql::Result<Option<Event>> {
    let Some(id) = id else { return Ok(None) };
    Ok(loaders::one(ctx, EventId(id)).await?.map(Into::into))
}

/// Somebody who holds a role.
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

/// Somebody who holds a role, and through what.
#[Object(name_type)]
impl RoleHolder {
    /// Who; null when the account is gone by now.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(loaders::one(ctx, UserId(self.user)).await?.map(Into::into))
    }

    /// What the role comes through; taking one away leaves the others.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sources(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<AccessSource>>> {
        let held = loaders::one(ctx, HeldBy(self.user, self.as_of)).await?.unwrap_or_default();
        Ok(Some(held.into_iter().filter(|holding| holding.role_id == self.role).map(AccessSource).collect()))
    }
}

/// A page of those who hold a role at a moment.
pub async fn holders(
    ctx: &Context<'_>,
    role: Uuid,
    as_of: Option<DateTime<Utc>>,
    window: Window,
) -> async_graphql::Result<Option<Page<RoleHolder>>> {
    let cx = page::cx(ctx)?;
    let keyset = window.keyset(false)?;
    let moment: Moment = access::moment(cx, as_of).await?;
    let total = if page::counted(ctx) { access::count_holders(cx, Some(role), moment).await? } else { 0 };
    let rows = access::holders(cx, Some(role), moment, &keyset).await?.map(|user| RoleHolder { user, role, as_of });
    Ok(Some(Page::new(rows, |row: &RoleHolder| row.user, total)))
}

/// Somebody who holds something, in the report of all access.
pub struct AccessReportEntry {
    user: Uuid,
    as_of: Option<DateTime<Utc>>,
}

impl TypeName for AccessReportEntry {
    fn type_name() -> Cow<'static, str> {
        "AccessReportEntry".into()
    }
}

/// Somebody who holds at least one role, with all of them and what each comes through.
#[Object(name_type)]
impl AccessReportEntry {
    /// Who; null when the account is gone by now.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(loaders::one(ctx, UserId(self.user)).await?.map(Into::into))
    }

    /// The account's global id, which outlives the account.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn user_id(&self) -> ID {
        page::global(Kind::User, self.user)
    }

    /// The roles, each with all it comes through.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn roles(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<EffectiveRole>>> {
        roles_of(ctx, self.user, self.as_of).await.map(Some)
    }
}

/// A page of the report of all access at a moment.
pub async fn report(
    ctx: &Context<'_>,
    as_of: Option<DateTime<Utc>>,
    window: Window,
) -> async_graphql::Result<Option<Page<AccessReportEntry>>> {
    let cx = page::cx(ctx)?;
    let keyset = window.keyset(false)?;
    let moment: Moment = access::moment(cx, as_of).await?;
    let total = if page::counted(ctx) { access::count_holders(cx, None, moment).await? } else { 0 };
    let rows = access::holders(cx, None, moment, &keyset).await?.map(|user| AccessReportEntry { user, as_of });
    Ok(Some(Page::new(rows, |row: &AccessReportEntry| row.user, total)))
}

/// What kind of thing is missing.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessGapKind {
    /// The account is suspended, and so holds nothing.
    Suspended,
    /// The account is not in the group that is mapped to the role.
    NotAMember,
    /// The mapping is for everybody of a connection that does not own the account.
    OtherConnection,
    /// The mapping waits for a group that has not arrived.
    GroupNotArrived,
    /// The planned end of the mapping has passed.
    MappingExpired,
    /// No group is mapped to the role, and there is no grant.
    NothingGivesIt,
}

/// Something that is missing for an account to hold a role.
pub struct AccessGap(Gap);

/// Something that is missing for an account to hold a role; any one of those about a mapping, put right, would do.
#[Object]
impl AccessGap {
    /// What kind of thing it is.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AccessGapKind {
        match &self.0 {
            Gap::Suspended => AccessGapKind::Suspended,
            Gap::NotAMember(_) => AccessGapKind::NotAMember,
            Gap::OtherConnection(_) => AccessGapKind::OtherConnection,
            Gap::Waiting(_) => AccessGapKind::GroupNotArrived,
            Gap::Expired(_) => AccessGapKind::MappingExpired,
            Gap::NothingGivesIt => AccessGapKind::NothingGivesIt,
        }
    }

    /// The mapping that would give the role; null if it is about no mapping.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn mapping(&self) -> Option<RoleMapping> {
        let found: Option<&Mapping> = match &self.0 {
            Gap::NotAMember(row) | Gap::OtherConnection(row) | Gap::Waiting(row) | Gap::Expired(row) => Some(row),
            Gap::Suspended | Gap::NothingGivesIt => None,
        };
        found.cloned().map(Into::into)
    }
}

/// Why an account holds a role, or what is missing.
#[derive(SimpleObject)]
pub struct AccessExplanation {
    /// Whether the account holds the role now.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    holds: bool,
    /// All the ways in which it holds the role.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    sources: Vec<AccessSource>,
    /// What is missing; empty where it holds the role.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    gaps: Vec<AccessGap>,
}

/// Why an account holds a role, or what is missing.
pub async fn explain(ctx: &Context<'_>, user: Uuid, role: &ID) -> async_graphql::Result<Option<AccessExplanation>> {
    let role = page::id(Kind::Role, role, "the role")?;
    let found = access::explain(page::cx(ctx)?, user, role).await?;
    Ok(Some(AccessExplanation {
        holds: !found.holdings.is_empty(),
        sources: found.holdings.into_iter().map(AccessSource).collect(),
        gaps: found.gaps.into_iter().map(AccessGap).collect(),
    }))
}
