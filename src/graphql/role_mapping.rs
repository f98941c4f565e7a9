//! Role mappings: a group's members hold a role.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::role_mapping as stored;
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::event::Event;
use super::group::Group;
use super::loaders::{self, ConnectionId, EventId, GroupId, RoleId};
use super::page::{self, Blame, Kind, UserError, UserErrorCode};
use super::role::Role;
use crate::domain::mapping;
use crate::error::{Error, Result};

/// What the domain's names mean in an input.
const BLAME: Blame = &[
    ("the mapping", "id"),
    ("the group", "groupId"),
    ("the role", "roleId"),
    ("the connection", "awaits.connectionId"),
    ("value", "awaits.value"),
    ("mapping", "groupId"),
];
/// The same where the input has nothing but the mapping's id.
const BLAME_ID: Blame = &[("the mapping", "id"), ("the group", "id"), ("the role", "id"), ("mapping", "id")];

/// How a mapping that waits for its group will know it.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchAttribute {
    /// By the id that the identity provider gives it.
    ExternalId,
    /// By its display name, in any case.
    DisplayName,
}

/// Whether a mapping gives its role.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleMappingState {
    /// The group's members hold the role.
    Active,
    /// The group has not arrived yet; the mapping binds to it once, when it does.
    Waiting,
    /// It was removed, and can be restored.
    Removed,
    /// Its planned end has passed.
    Expired,
}

/// A mapping as the schema shows it.
pub struct RoleMapping(pub Arc<mapping::Mapping>);

impl From<mapping::Mapping> for RoleMapping {
    fn from(row: mapping::Mapping) -> Self {
        Self(Arc::new(row))
    }
}

impl From<Arc<mapping::Mapping>> for RoleMapping {
    fn from(row: Arc<mapping::Mapping>) -> Self {
        Self(row)
    }
}

/// A mapping of a group to a role: the group's members hold the role, from the instant that they are in it. It keeps
/// its id through all edits, removal and restoring.
#[Object]
impl RoleMapping {
    /// The mapping's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::RoleMapping, self.0.mapping_id)
    }

    /// The group; null while the mapping waits for it, or when it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Group>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The role; null when it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Role>> {
        Ok(loaders::one(ctx, RoleId(self.0.role_id)).await?.map(Into::into))
    }

    /// Why it is there, in the words of whoever made it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Whether it gives its role now.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self, ctx: &Context<'_>) -> Result<RoleMappingState> {
        let now = page::cx(ctx)?.app.clock.now();
        Ok(match &self.0 {
            row if row.until.is_some() => RoleMappingState::Removed,
            row if row.expires_at.is_some_and(|at| at <= now) => RoleMappingState::Expired,
            row if awaited(row).is_some() => RoleMappingState::Waiting,
            _ => RoleMappingState::Active,
        })
    }

    /// The group that it waits for; null if it has one.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn awaits(&self) -> Option<AwaitedGroup> {
        awaited(&self.0)
    }

    /// The connection, all of whose accounts hold the role; null if the mapping is for a group.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn everybody_of(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        match self.0.connection_id.filter(|_| self.0.match_attribute == Some(stored::MatchAttribute::Everybody)) {
            Some(connection) => Ok(loaders::one(ctx, ConnectionId(connection)).await?.map(Into::into)),
            None => Ok(None),
        }
    }

    /// Every state that it was ever in, oldest first: what was changed, when and by whom.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn history(&self, ctx: &Context<'_>) -> Result<Option<Vec<Period>>> {
        let states = Box::pin(mapping::history(page::cx(ctx)?, self.0.mapping_id)).await?;
        Ok(Some(states.into_iter().map(Period).collect()))
    }

    /// Since when it is as it is now.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// When it was removed; null if it was not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// When it ends by plan; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }
}

/// A state that a mapping was in.
pub struct Period(mapping::Mapping);

/// A state that a mapping was in, from one change of it to the next.
#[Object(name = "RoleMappingPeriod")]
impl Period {
    /// The group; null while it had none, or when it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Group>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The role; null when it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Role>> {
        Ok(loaders::one(ctx, RoleId(self.0.role_id)).await?.map(Into::into))
    }

    /// Why it was there.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it began.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// When it ended; null for the current one.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// The change that began it: who, when, under which request.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn begun_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Event>> {
        Ok(loaders::one(ctx, EventId(self.0.opened_by)).await?.map(Into::into))
    }

    /// The change that ended it; null for the current one.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn ended_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Event>> {
        let Some(id) = self.0.closed_by else { return Ok(None) };
        Ok(loaders::one(ctx, EventId(id)).await?.map(Into::into))
    }
}

fn awaited(row: &stored::Model) -> Option<AwaitedGroup> {
    let attribute = match row.match_attribute? {
        stored::MatchAttribute::ExternalId => MatchAttribute::ExternalId,
        stored::MatchAttribute::DisplayName => MatchAttribute::DisplayName,
        stored::MatchAttribute::Everybody => return None,
    };
    let value = row.match_value.clone().filter(|_| row.group_id.is_none())?;
    Some(AwaitedGroup { connection: row.connection_id?, attribute, value })
}

/// A group that has not arrived yet.
pub struct AwaitedGroup {
    connection: Uuid,
    attribute: MatchAttribute,
    value: String,
}

/// A group that has not arrived yet, and how it will be known.
#[Object]
impl AwaitedGroup {
    /// The connection that it will come through.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, ConnectionId(self.connection)).await?.map(Into::into))
    }

    /// Which attribute of it is compared.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn attribute(&self) -> MatchAttribute {
        self.attribute
    }

    /// The value that the attribute will have.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn value(&self) -> &str {
        &self.value
    }
}

/// A group that may not have arrived yet.
#[derive(InputObject)]
pub struct AwaitedGroupInput {
    /// The global id of the connection that it will come through.
    connection_id: ID,
    /// Which attribute of it to compare.
    attribute: MatchAttribute,
    /// The value that the attribute will have.
    value: String,
}

/// A mapping to be made. Who holds the role is given by exactly one of `groupId`, `awaits` and `everybodyOf`.
#[derive(InputObject)]
pub struct RoleMappingCreateInput {
    /// The global id of a group that is there.
    group_id: Option<ID>,
    /// A group that may not have arrived yet; the mapping binds to it once, when it does.
    awaits: Option<AwaitedGroupInput>,
    /// The global id of a connection: everybody whom it owns holds the role, as a default.
    everybody_of: Option<ID>,
    /// The global id of the role.
    role_id: ID,
    /// Why it is there.
    reason: Option<String>,
    /// When it ends by plan; left out = never.
    expires_at: Option<DateTime<Utc>>,
}

/// What to change about a mapping. What is left out stays as it is; null takes the value away.
#[derive(InputObject)]
pub struct RoleMappingUpdateInput {
    /// The mapping's global id.
    id: ID,
    /// The global id of another group.
    group_id: Option<ID>,
    /// The global id of another role.
    role_id: Option<ID>,
    /// Why it is there.
    reason: MaybeUndefined<String>,
    /// When it ends by plan.
    expires_at: MaybeUndefined<DateTime<Utc>>,
}

/// Which mapping to remove.
#[derive(InputObject)]
pub struct RoleMappingRemoveInput {
    /// The mapping's global id.
    pub id: ID,
}

/// Which mapping to restore.
#[derive(InputObject)]
pub struct RoleMappingRestoreInput {
    /// The mapping's global id.
    id: ID,
    /// The global id of another group, for example in the place of one that is gone.
    group_id: Option<ID>,
}

/// What became of a change of a mapping.
#[derive(SimpleObject)]
pub struct RoleMappingPayload {
    /// The mapping after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    role_mapping: Option<RoleMapping>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<mapping::Mapping>, blame: Blame) -> Result<Option<RoleMappingPayload>> {
    let (done, user_errors) = page::outcome(done, blame)?;
    Ok(Some(RoleMappingPayload { role_mapping: done.map(Into::into), user_errors }))
}

impl RoleMappingCreateInput {
    /// The field that says whom the mapping speaks of.
    fn field(&self) -> &'static str {
        match (&self.awaits, &self.everybody_of) {
            (Some(_), _) => "awaits",
            (None, Some(_)) => "everybodyOf",
            (None, None) => "groupId",
        }
    }

    /// The mapping in the domain's words.
    pub fn compile(self) -> Result<mapping::NewMapping> {
        let connection = |id: &ID| page::id(Kind::IdentitySource, id, "the connection");
        let target = match (self.group_id, self.awaits, self.everybody_of) {
            (Some(id), None, None) => mapping::Target::Group(page::id(Kind::Group, &id, "the group")?),
            (None, Some(awaits), None) => mapping::Target::Awaited {
                connection: connection(&awaits.connection_id)?,
                external_id: awaits.attribute == MatchAttribute::ExternalId,
                value: awaits.value,
            },
            (None, None, Some(id)) => mapping::Target::Everybody(connection(&id)?),
            _ => return Err(Error::invalid("groupId", "give exactly one of groupId, awaits and everybodyOf")),
        };
        let role = page::id(Kind::Role, &self.role_id, "the role")?;
        Ok(mapping::NewMapping { target, role, reason: self.reason, expires_at: self.expires_at })
    }
}

impl RoleMappingRestoreInput {
    /// Which mapping, and onto which other group.
    pub fn compile(self) -> Result<(Uuid, Option<Uuid>)> {
        let id = page::id(Kind::RoleMapping, &self.id, "the mapping")?;
        let onto = self.group_id.map(|id| page::id(Kind::Group, &id, "the group")).transpose()?;
        Ok((id, onto))
    }
}

impl RoleMappingUpdateInput {
    /// The edit in the domain's words.
    pub fn compile(self) -> Result<(Uuid, mapping::Edit)> {
        let id = page::id(Kind::RoleMapping, &self.id, "the mapping")?;
        let edit = mapping::Edit {
            group: self.group_id.map(|id| page::id(Kind::Group, &id, "the group")).transpose()?,
            role: self.role_id.map(|id| page::id(Kind::Role, &id, "the role")).transpose()?,
            reason: self.reason.into(),
            expires_at: self.expires_at.into(),
        };
        Ok((id, edit))
    }
}

#[derive(Default)]
pub struct RoleMappingMutation;

#[Object]
impl RoleMappingMutation {
    /// Maps a group to a role: its members hold the role at once, however many they are.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The mapping to make.")] input: RoleMappingCreateInput,
    ) -> Result<Option<RoleMappingPayload>> {
        let cx = page::cx(ctx)?;
        let field = input.field();
        let done = async {
            let new = input.compile()?;
            let (target, role) = (new.target.clone(), new.role);
            Ok((mapping::create(cx, new).await, target, role))
        };
        match done.await {
            Ok((Err(Error::Taken { .. }), target, role)) => {
                let rival = mapping::rival(cx, &target, role).await?;
                let which = rival.map_or_else(String::new, |row| {
                    format!(" by the mapping {}", page::global(Kind::RoleMapping, row.mapping_id).as_str())
                });
                let mistake = UserError {
                    code: UserErrorCode::Taken,
                    field: vec!["input".into(), field.into()],
                    message: format!("{field}: is mapped to this role already{which}"),
                };
                Ok(Some(RoleMappingPayload { role_mapping: None, user_errors: vec![mistake] }))
            }
            Ok((done, ..)) => payload(done, BLAME),
            Err(error) => payload(Err(error), BLAME),
        }
    }

    /// Changes a mapping, in one instant for all whom it concerns.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: RoleMappingUpdateInput,
    ) -> Result<Option<RoleMappingPayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let (id, edit) = input.compile()?;
            mapping::edit(cx, id, edit).await
        };
        payload(done.await, BLAME)
    }

    /// Ends a mapping; it can be restored.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which mapping.")] input: RoleMappingRemoveInput,
    ) -> Result<Option<RoleMappingPayload>> {
        let cx = page::cx(ctx)?;
        let done = async { mapping::remove(cx, page::id(Kind::RoleMapping, &input.id, "the mapping")?).await };
        payload(done.await, BLAME_ID)
    }

    /// Takes a removed mapping up again as it last was. Where its group is gone and it once waited for it, it waits
    /// again, or binds to the group of that name that is there now.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_restore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which mapping.")] input: RoleMappingRestoreInput,
    ) -> Result<Option<RoleMappingPayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let (id, onto) = input.compile()?;
            mapping::restore(cx, id, onto).await
        };
        payload(done.await, BLAME)
    }
}
