//! Role mappings: a group's members hold a role.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object};
use chrono::{DateTime, Utc};
use entity::role_mapping as stored;
use uuid::Uuid;

use super::connection::IdentitySource;
use super::event::EventObject;
use super::group::GroupObject;
use super::loaders::{self, ConnectionId, EventId, GroupId, RoleId};
use super::permission::{Permission, needs};
use super::role::RoleObject;
use crate::domain::access::role_mapping;
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind};

/// The input field that each name in the domain's errors stands for.
pub const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Mapping, "id"), (Noun::Group, "groupId"), (Noun::Role, "roleId")],
    fields: &[("the group", "groupId"), ("mapping", "groupId")],
};
/// The same for a new mapping that waits for its group.
const AWAITED_FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Role, "roleId"), (Noun::Connection, "awaits.connectionId")],
    fields: &[("value", "awaits.value"), ("mapping", "awaits")],
};
/// The same for a new mapping of all users of a connection.
const CONNECTION_FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Role, "roleId"), (Noun::Connection, "connectionId")],
    fields: &[("mapping", "connectionId")],
};
/// The same for an input that has only the mapping's id.
pub const ID_FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Mapping, "id"), (Noun::Group, "id"), (Noun::Role, "id")],
    fields: &[("the group", "id"), ("mapping", "id")],
};

/// The attribute by which a mapping that waits for its group recognizes it.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchAttribute {
    /// The id that the identity provider gives the group (`externalId`).
    ExternalId,
    /// The display name of the group, regardless of case.
    DisplayName,
}

/// The state of a role mapping.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleMappingState {
    /// The members of the group, or all users of the connection, hold the role.
    Active,
    /// The group does not exist yet. The mapping binds to it once, when a group with the value
    /// appears.
    Waiting,
    /// It was removed. It can be restored.
    Removed,
    /// Its planned end has passed.
    Expired,
}

/// A role mapping as the schema shows it.
pub struct RoleMapping(pub Arc<role_mapping::Mapping>);

impl From<role_mapping::Mapping> for RoleMapping {
    fn from(row: role_mapping::Mapping) -> Self {
        Self(Arc::new(row))
    }
}

impl From<Arc<role_mapping::Mapping>> for RoleMapping {
    fn from(row: Arc<role_mapping::Mapping>) -> Self {
        Self(row)
    }
}

/// A role mapping: the members of a group, or all users of a connection, hold a role. Its id stays
/// the same when it is changed, removed and restored.
#[Object]
impl RoleMapping {
    /// The mapping's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::RoleMapping, self.0.mapping_id)
    }

    /// The group; null while the mapping waits for it, after it was deleted, and for a mapping of
    /// all users of a connection.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The role; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleObject>> {
        Ok(loaders::load_one(ctx, RoleId(self.0.role_id)).await?.map(Into::into))
    }

    /// The reason that was given for it; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The state of the mapping now.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self, ctx: &Context<'_>) -> Result<RoleMappingState> {
        let now = relay::cx(ctx)?.app.clock.now();
        Ok(match &self.0 {
            row if row.until.is_some() => RoleMappingState::Removed,
            row if row.expires_at.is_some_and(|at| at <= now) => RoleMappingState::Expired,
            row if find_awaited_group(row).is_some() => RoleMappingState::Waiting,
            _ => RoleMappingState::Active,
        })
    }

    /// The group that it waits for; null if it does not wait for one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn awaits(&self) -> Option<AwaitedGroup> {
        find_awaited_group(&self.0)
    }

    /// The connection whose users all hold the role; null if the mapping is for a group.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn all_users_of(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<IdentitySource>> {
        match self
            .0
            .connection_id
            .filter(|_| self.0.match_attribute == Some(stored::MatchAttribute::AllUsers))
        {
            Some(connection) => {
                Ok(loaders::load_one(ctx, ConnectionId(connection)).await?.map(Into::into))
            }
            None => Ok(None),
        }
    }

    /// Every state that the mapping has had, oldest first: what was changed, when, and by which
    /// actor.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn history(&self, ctx: &Context<'_>) -> Result<Option<Vec<RoleMappingPeriod>>> {
        let states =
            Box::pin(role_mapping::mapping_history(relay::cx(ctx)?, self.0.mapping_id)).await?;
        Ok(Some(states.into_iter().map(RoleMappingPeriod).collect()))
    }

    /// When its current state began.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// When it was removed; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// The planned end; null = none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }
}

/// A state of a role mapping as the schema shows it.
pub struct RoleMappingPeriod(role_mapping::Mapping);

/// A state of a role mapping, from one change of the mapping to the next.
#[Object(name = "RoleMappingPeriod")]
impl RoleMappingPeriod {
    /// The group; null if the mapping had none, and after the group was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The role; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleObject>> {
        Ok(loaders::load_one(ctx, RoleId(self.0.role_id)).await?.map(Into::into))
    }

    /// The reason that was given for it; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it began.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// When it ended; null for the current one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// The event that began it: who, when, in which request.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn begun_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        Ok(loaders::load_one(ctx, EventId(self.0.opened_by)).await?.map(Into::into))
    }

    /// The event that ended it; null for the current one.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn ended_by(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        let Some(id) = self.0.closed_by else { return Ok(None) };
        Ok(loaders::load_one(ctx, EventId(id)).await?.map(Into::into))
    }
}

fn find_awaited_group(row: &stored::Model) -> Option<AwaitedGroup> {
    let attribute = match row.match_attribute? {
        stored::MatchAttribute::ExternalId => MatchAttribute::ExternalId,
        stored::MatchAttribute::DisplayName => MatchAttribute::DisplayName,
        stored::MatchAttribute::AllUsers => return None,
    };
    let value = row.match_value.clone().filter(|_| row.group_id.is_none())?;
    Some(AwaitedGroup { connection: row.connection_id?, attribute, value })
}

/// A group that a mapping waits for, as the schema shows it.
pub struct AwaitedGroup {
    connection: Uuid,
    attribute: MatchAttribute,
    value: String,
}

/// A group that a mapping waits for, and how the mapping will recognize it.
#[Object]
impl AwaitedGroup {
    /// The connection that the group will come through; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, ConnectionId(self.connection)).await?.map(Into::into))
    }

    /// The attribute of the group that is compared.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn attribute(&self) -> MatchAttribute {
        self.attribute
    }

    /// The value that the attribute will have. The case of a display name does not matter.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn value(&self) -> &str {
        &self.value
    }
}

/// The group that a mapping waits for.
#[derive(InputObject)]
pub struct AwaitedGroupInput {
    /// The global id of the connection that the group will come through.
    connection_id: ID,
    /// The attribute of the group to compare.
    attribute: MatchAttribute,
    /// The value that the attribute will have. The case of a display name does not matter.
    value: String,
}

/// The role mapping to create. Give exactly one of `groupId`, `awaits` and `connectionId`: it
/// decides which accounts hold the role.
#[derive(InputObject)]
pub struct RoleMappingCreateInput {
    /// The global id of an existing group.
    group_id: Option<ID>,
    /// A group that may not exist yet. The mapping binds to it once, when a group with the value
    /// appears.
    awaits: Option<AwaitedGroupInput>,
    /// The global id of a connection: all users that it owns hold the role.
    connection_id: Option<ID>,
    /// The global id of the role.
    role_id: ID,
    /// The reason for the mapping.
    reason: Option<String>,
    /// The planned end; left out = none.
    expires_at: Option<DateTime<Utc>>,
}

/// The changes of a role mapping. A field that is left out stays as it is; null removes the value.
#[derive(InputObject)]
pub struct RoleMappingUpdateInput {
    /// The mapping's global id.
    id: ID,
    /// The global id of another group. Cannot be null.
    group_id: MaybeUndefined<ID>,
    /// The global id of another role. Cannot be null.
    role_id: MaybeUndefined<ID>,
    /// The reason for the mapping.
    reason: MaybeUndefined<String>,
    /// The planned end.
    expires_at: MaybeUndefined<DateTime<Utc>>,
}

/// The role mapping to remove.
#[derive(InputObject)]
pub struct RoleMappingRemoveInput {
    /// The mapping's global id.
    pub id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    pub reason: Option<String>,
}

/// The role mapping to restore.
#[derive(InputObject)]
pub struct RoleMappingRestoreInput {
    /// The mapping's global id.
    id: ID,
    /// The global id of another group for it, for example if its own was deleted.
    group_id: Option<ID>,
}

mutation_payloads! {
    role_mapping_payloads;
    /// The mapping after the change; null if there were mistakes.
    role_mapping: RoleMapping;
    /// The result of `roleMappingCreate`.
    RoleMappingCreatePayload,
    /// The result of `roleMappingUpdate`.
    RoleMappingUpdatePayload,
    /// The result of `roleMappingRemove`.
    RoleMappingRemovePayload,
    /// The result of `roleMappingRestore`.
    RoleMappingRestorePayload,
}

impl RoleMappingCreateInput {
    /// The input field that decides which accounts hold the role.
    pub fn target_field(&self) -> &'static str {
        match (&self.awaits, &self.connection_id) {
            (Some(_), _) => "awaits",
            (None, Some(_)) => "connectionId",
            (None, None) => "groupId",
        }
    }

    /// The input field that each name in the domain's errors stands for.
    pub fn field_map(&self) -> FieldMap {
        match self.target_field() {
            "awaits" => AWAITED_FIELD_MAP,
            "connectionId" => CONNECTION_FIELD_MAP,
            _ => FIELD_MAP,
        }
    }

    /// The mapping as the domain takes it.
    pub fn into_new_mapping(self) -> Result<role_mapping::NewMapping> {
        let connection =
            |id: &ID| relay::parse_input_id(NodeKind::IdentitySource, id, Noun::Connection);
        let target = match (self.group_id, self.awaits, self.connection_id) {
            (Some(id), None, None) => relay::parse_input_id(NodeKind::Group, &id, Noun::Group)
                .map(role_mapping::MappingTarget::Group),
            (None, Some(awaits), None) => connection(&awaits.connection_id).map(|connection| {
                role_mapping::MappingTarget::Awaited {
                    connection,
                    external_id: awaits.attribute == MatchAttribute::ExternalId,
                    value: awaits.value,
                }
            }),
            (None, None, Some(id)) => connection(&id).map(role_mapping::MappingTarget::AllUsers),
            _ => Err(Error::invalid(
                "groupId",
                "give exactly one of groupId, awaits and connectionId",
            )),
        };
        let role = relay::parse_input_id(NodeKind::Role, &self.role_id, Noun::Role);
        let (target, role) = mistakes::both(target, role)?;
        Ok(role_mapping::NewMapping {
            target,
            role,
            reason: self.reason,
            expires_at: self.expires_at,
        })
    }
}

impl RoleMappingRestoreInput {
    /// The UUID of the mapping, and that of its other group, if one is given.
    pub fn parse_restoration(self) -> Result<(Uuid, Option<Uuid>)> {
        let onto = self.group_id.map(|id| relay::parse_input_id(NodeKind::Group, &id, Noun::Group));
        mistakes::both(
            relay::parse_input_id(NodeKind::RoleMapping, &self.id, Noun::Mapping),
            onto.transpose(),
        )
    }
}

impl RoleMappingUpdateInput {
    /// The UUID of the mapping, and its edit as the domain takes it.
    pub fn into_edit(self) -> Result<(Uuid, role_mapping::MappingEdit)> {
        let mut mistakes = Mistakes::default();
        let id =
            mistakes.collect(relay::parse_input_id(NodeKind::RoleMapping, &self.id, Noun::Mapping));
        let mut parse_other = |field, id, kind, noun| {
            let id = relay::refuse_null(field, id)
                .and_then(|id| id.map(|id| relay::parse_input_id(kind, &id, noun)).transpose());
            mistakes.collect(id).flatten()
        };
        let edit = role_mapping::MappingEdit {
            group: parse_other("groupId", self.group_id, NodeKind::Group, Noun::Group),
            role: parse_other("roleId", self.role_id, NodeKind::Role, Noun::Role),
            reason: self.reason.into(),
            expires_at: self.expires_at.into(),
        };
        mistakes.refuse_any()?;
        Ok((id.unwrap_or_default(), edit))
    }
}

#[derive(Default)]
pub struct RoleMappingMutation;

#[Object]
impl RoleMappingMutation {
    /// Creates a role mapping: all members of the group, or all users of the connection, hold the
    /// role at once.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The mapping to create.")] input: RoleMappingCreateInput,
    ) -> Result<Option<RoleMappingCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let (field, map) = (input.target_field(), input.field_map());
        let done = async {
            let new = input.into_new_mapping()?;
            let (target, role) = (new.target.clone(), new.role);
            match role_mapping::create_mapping(cx, new).await {
                Err(error @ Error::Taken { .. }) => {
                    let rival = role_mapping::find_rival(cx, &target, role).await?;
                    Ok(Err((error, rival)))
                }
                done => done.map(Ok),
            }
        };
        match done.await {
            Ok(Err((error, rival))) => {
                let mut payload = RoleMappingCreatePayload::from_result(
                    Err::<role_mapping::Mapping, _>(error),
                    map,
                )?;
                for mistake in payload.iter_mut().flat_map(|payload| &mut payload.user_errors) {
                    mistake.message = describe_rival(field, rival.as_ref());
                }
                Ok(payload)
            }
            Ok(Ok(mapping)) => RoleMappingCreatePayload::from_result(Ok(mapping), map),
            Err(error) => {
                RoleMappingCreatePayload::from_result(Err::<role_mapping::Mapping, _>(error), map)
            }
        }
    }

    /// Changes a role mapping, at the same instant for all accounts that it affects.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: RoleMappingUpdateInput,
    ) -> Result<Option<RoleMappingUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let (id, edit) = input.into_edit()?;
            role_mapping::edit_mapping(cx, id, edit).await
        };
        RoleMappingUpdatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Removes a role mapping. It can be restored.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which mapping.")] input: RoleMappingRemoveInput,
    ) -> Result<Option<RoleMappingRemovePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::RoleMapping, &input.id, Noun::Mapping),
            )?;
            role_mapping::remove_mapping(&cx, id).await
        };
        RoleMappingRemovePayload::from_result(done.await, ID_FIELD_MAP)
    }

    /// Restores a removed role mapping with its last state, without a planned end that has passed.
    /// If its group was deleted and it once waited for that group, it waits again, or binds to the
    /// group that has the value now.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn role_mapping_restore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which mapping.")] input: RoleMappingRestoreInput,
    ) -> Result<Option<RoleMappingRestorePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let (id, onto) = input.parse_restoration()?;
            role_mapping::restore_mapping(cx, id, onto).await
        };
        RoleMappingRestorePayload::from_result(done.await, FIELD_MAP)
    }
}

/// Says that what `field` names is mapped to the role already, and by which mapping.
fn describe_rival(field: &str, rival: Option<&role_mapping::Mapping>) -> String {
    let which = rival.map_or_else(String::new, |row| {
        let id = relay::global_id(NodeKind::RoleMapping, row.mapping_id);
        format!(" by the mapping {}", id.as_str())
    });
    format!("{field}: is mapped to this role already{which}")
}
