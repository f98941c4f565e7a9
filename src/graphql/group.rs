//! Groups and their members.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Union};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::connection::IdentitySource;
use super::loaders::{
    self, ConnectionId, GroupId, MappingsOfGroup, MemberCountOf, MembersOf, UserId,
};
use super::permission::{Permission, needs};
use super::role_mapping::RoleMapping;
use super::user::{UserObject, compare_attribute, match_all};
use crate::domain::audit::event::SubjectOwners;
use crate::domain::directory::group;
use crate::domain::directory::group::GroupEdit;
use crate::domain::paging::Slice;
use crate::error::{Error, Noun, Result, Rule};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};
use crate::identity::document::MemberChange;
use crate::identity::filter::{CompareOp, Filter, FilterLiteral};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Group, "id"), (Noun::DeletedGroup, "id")],
    fields: &[("externalId", "id"), ("members", "memberIds")],
};
/// The most members that one mutation names.
const MAX_MEMBERS_PER_MUTATION: usize = 1_000;

/// A group as the schema shows it.
pub struct GroupObject(pub Arc<group::Group>);

impl From<group::Group> for GroupObject {
    fn from(row: group::Group) -> Self {
        Self(Arc::new(row))
    }
}

impl From<Arc<group::Group>> for GroupObject {
    fn from(row: Arc<group::Group>) -> Self {
        Self(row)
    }
}

/// A group of users and of other groups.
#[Object(name = "Group")]
impl GroupObject {
    /// The group's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Group, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    /// The id that the identity provider, or another system, gave it; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// The connection that owns it; null if none does.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// Its direct members, users and groups alike, oldest first.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<RelayPage<GroupMember>>> {
        let keyset = PageArguments { first, after, last, before }.to_keyset(false)?;
        let total = if relay::selects_total_count(ctx) {
            loaders::load_one(ctx, MemberCountOf(self.0.id)).await?.unwrap_or_default()
        } else {
            0
        };
        let Some(places) = loaders::load_one(ctx, MembersOf(self.0.id, keyset)).await? else {
            return Ok(Some(RelayPage::empty()));
        };
        let of = |groups: bool| {
            places.rows.iter().filter(move |place| place.is_group == groups).map(|place| place.id)
        };
        let users: Vec<UserId> = of(false).map(UserId).collect();
        let groups: Vec<GroupId> = of(true).map(GroupId).collect();
        let (users, groups) = futures_util::future::try_join(
            loaders::load_many(ctx, &users),
            loaders::load_many(ctx, &groups),
        )
        .await?;
        let users = users.into_iter().map(|row| GroupMember::User(row.into()));
        let mut rows: Vec<_> =
            users.chain(groups.into_iter().map(|row| GroupMember::Group(row.into()))).collect();
        rows.sort_by_key(GroupMember::member_id);
        let slice = Slice { rows, has_previous: places.has_previous, has_next: places.has_next };
        Ok(Some(RelayPage::new(slice, GroupMember::member_id, total)))
    }

    /// How many direct members it has. Counted only when selected; costs more than a field.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn member_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(relay::to_graphql_int(
            loaders::load_one(ctx, MemberCountOf(self.0.id)).await?.unwrap_or_default(),
        ))
    }

    /// Its current mappings to roles.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role_mappings(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<RoleMapping>> {
        let mappings =
            loaders::load_one(ctx, MappingsOfGroup(self.0.id)).await?.unwrap_or_default();
        Ok(mappings.into_iter().map(Into::into).collect())
    }

    /// When the group was created.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its attributes or its members last changed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// 1 when the group is created; grows by one with every change.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// A direct member of a group: an account or another group.
#[derive(Union)]
pub enum GroupMember {
    User(UserObject),
    Group(GroupObject),
}

impl GroupMember {
    fn member_id(&self) -> Uuid {
        match self {
            Self::User(user) => user.0.id,
            Self::Group(group) => group.0.id,
        }
    }
}

/// Selects groups: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct GroupFilter {
    /// Groups with exactly this display name, regardless of case.
    display_name: Option<String>,
    /// Groups whose display name begins with this, regardless of case.
    display_name_starts_with: Option<String>,
    /// Groups that the connection with this global id owns.
    connection_id: Option<ID>,
}

impl GroupFilter {
    /// The filter as the domain takes it; none if nothing can match it.
    pub fn into_domain_filter(self) -> Option<(Option<Filter>, SubjectOwners)> {
        let owners = match self.connection_id {
            Some(id) => {
                SubjectOwners::Connection(relay::parse_id_of_kind(NodeKind::IdentitySource, &id)?)
            }
            None => SubjectOwners::Any,
        };
        let texts =
            [(CompareOp::Eq, self.display_name), (CompareOp::Sw, self.display_name_starts_with)];
        let filters = texts.into_iter().filter_map(|(op, text)| {
            Some(compare_attribute("displayName", None, op, FilterLiteral::String(text?)))
        });
        Some((match_all(filters.collect()), owners))
    }
}

/// The group to create, which no connection will own.
#[derive(InputObject)]
pub struct GroupCreateInput {
    /// The name for people to read.
    display_name: String,
    /// An id that another system gave it.
    external_id: Option<String>,
    /// The global ids of its members, users and groups, at most 1000.
    #[graphql(default)]
    member_ids: Vec<ID>,
}

/// The group to rename, and its new name.
#[derive(InputObject)]
pub struct GroupRenameInput {
    /// The group's global id.
    id: ID,
    /// The mutation is refused if the group's `version` is no longer this one.
    expected_version: Option<i32>,
    /// The new name for people to read.
    display_name: String,
}

/// The members to add to a group.
#[derive(InputObject)]
pub struct GroupAddMembersInput {
    /// The group's global id.
    id: ID,
    /// The global ids of users and groups, at most 1000. Those that are members already stay.
    member_ids: Vec<ID>,
}

/// The members to remove from a group.
#[derive(InputObject)]
pub struct GroupRemoveMembersInput {
    /// The group's global id.
    id: ID,
    /// The global ids of users and groups, at most 1000. Those that are not members are ignored.
    member_ids: Vec<ID>,
}

/// The group to delete.
#[derive(InputObject)]
pub struct GroupDeleteInput {
    /// The group's global id.
    pub id: ID,
}

impl GroupAddMembersInput {
    /// The UUID of the group, and those of the members.
    pub fn parse_member_change(&self) -> Result<(Uuid, Vec<String>)> {
        Ok((
            relay::parse_input_id(NodeKind::Group, &self.id, Noun::Group)?,
            parse_member_ids(&self.member_ids)?,
        ))
    }
}

impl GroupRemoveMembersInput {
    /// The UUID of the group, and those of the members.
    pub fn parse_member_change(&self) -> Result<(Uuid, Vec<String>)> {
        Ok((
            relay::parse_input_id(NodeKind::Group, &self.id, Noun::Group)?,
            parse_member_ids(&self.member_ids)?,
        ))
    }
}

/// The result of a mutation that creates or changes a group.
#[derive(SimpleObject)]
pub struct GroupPayload {
    /// The group after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    group: Option<GroupObject>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `groupDelete`.
#[derive(SimpleObject)]
pub struct GroupDeletePayload {
    /// The global id that the group had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    deleted_group_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

pub(super) fn build_group_payload(done: Result<group::Group>) -> Result<Option<GroupPayload>> {
    let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
    Ok(Some(GroupPayload { group: done.map(Into::into), user_errors }))
}

/// The UUIDs of members, which the domain takes.
fn parse_member_ids(ids: &[ID]) -> Result<Vec<String>> {
    if ids.len() > MAX_MEMBERS_PER_MUTATION {
        return Err(Error::broken(
            Rule::TooMany,
            "members",
            format!("must be at most {MAX_MEMBERS_PER_MUTATION}"),
        ));
    }
    let member = |id: &ID| match (relay::parse_plain_id(id), relay::parse_global_id(id)) {
        (Some(uuid), _) | (None, Some((NodeKind::User | NodeKind::Group, uuid))) => {
            Ok(uuid.to_string())
        }
        _ => Err(Error::invalid(
            "members",
            format!("no user or group here has the id {:?}", relay::shorten_message(id)),
        )),
    };
    ids.iter().map(member).collect()
}

async fn change_members(ctx: &Context<'_>, id: Uuid, change: MemberChange) -> Result<group::Group> {
    let edit = GroupEdit { members: vec![change], ..GroupEdit::default() };
    group::change_group(relay::cx(ctx)?, id, |_| Ok(edit.clone())).await
}

impl GroupRenameInput {
    /// The edit that gives `group` its new name.
    fn build_rename(&self, group: &group::Group) -> Result<GroupEdit> {
        if self.expected_version.is_some_and(|expected| i64::from(expected) != group.version) {
            return Err(Error::Stale { version: group.version });
        }
        let mut document = group.attributes()?;
        document.insert("displayName".into(), json!(self.display_name));
        Ok(GroupEdit { attributes: Some(document), ..GroupEdit::default() })
    }
}

#[derive(Default)]
pub struct GroupMutation;

#[Object]
impl GroupMutation {
    /// Creates a group that no connection owns.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group to create.")] input: GroupCreateInput,
    ) -> Result<Option<GroupPayload>> {
        let cx = relay::cx(ctx)?;
        let document = Map::from_iter([
            ("displayName".to_owned(), json!(input.display_name)),
            ("externalId".to_owned(), input.external_id.map_or(Value::Null, Value::String)),
        ]);
        build_group_payload(
            async { group::create_group(cx, document, parse_member_ids(&input.member_ids)?).await }
                .await,
        )
    }

    /// Renames a group. Role mappings that wait for a group of that name bind to it.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_rename(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and its new name.")] input: GroupRenameInput,
    ) -> Result<Option<GroupPayload>> {
        let cx = relay::cx(ctx)?;
        let edit = |group: &group::Group| input.build_rename(group);
        build_group_payload(
            async {
                group::change_group(
                    cx,
                    relay::parse_input_id(NodeKind::Group, &input.id, Noun::Group)?,
                    edit,
                )
                .await
            }
            .await,
        )
    }

    /// Adds members to a group. They hold the roles that it is mapped to at once.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_add_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and the members to add.")] input: GroupAddMembersInput,
    ) -> Result<Option<GroupPayload>> {
        let done = async {
            let (group, members) = input.parse_member_change()?;
            change_members(ctx, group, MemberChange::Add(members)).await
        };
        build_group_payload(done.await)
    }

    /// Removes members from a group; the roles that they held through it end at once.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_remove_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and the members to remove.")] input: GroupRemoveMembersInput,
    ) -> Result<Option<GroupPayload>> {
        let done = async {
            let (group, members) = input.parse_member_change()?;
            change_members(ctx, group, MemberChange::Remove(members)).await
        };
        build_group_payload(done.await)
    }

    /// Deletes a group, and ends its memberships and its mappings.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group.")] input: GroupDeleteInput,
    ) -> Result<Option<GroupDeletePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            group::delete_group(
                cx,
                relay::parse_input_id(NodeKind::Group, &input.id, Noun::Group)?,
                |_| Ok(()),
            )
            .await
        }
        .await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        Ok(Some(GroupDeletePayload { deleted_group_id: done.map(|()| input.id), user_errors }))
    }
}
