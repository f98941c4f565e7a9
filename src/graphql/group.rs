//! Groups and who is in them.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Union};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId, GroupId, MappingsOfGroup, MemberCountOf, MembersOf, UserId};
use super::mapping::RoleMapping;
use super::page::{self, Blame, Kind, Page, UserError, Window};
use super::user::{User, all, compare};
use crate::domain::document::MemberChange;
use crate::domain::event::Owners;
use crate::domain::group::{self, GroupEdit};
use crate::domain::list::Slice;
use crate::domain::search::{Filter, Literal, Op};
use crate::error::{Error, Result, Rule};

/// What the domain's names mean in an input.
const BLAME: Blame =
    &[("the group", "id"), ("the deleted group", "id"), ("externalId", "id"), ("members", "memberIds")];
/// The most members that one mutation names.
const MAX_MEMBERS: usize = 1_000;

/// A group as the schema shows it.
pub struct Group(pub Arc<group::Group>);

impl From<group::Group> for Group {
    fn from(row: group::Group) -> Self {
        Self(Arc::new(row))
    }
}

impl From<Arc<group::Group>> for Group {
    fn from(row: Arc<group::Group>) -> Self {
        Self(row)
    }
}

/// A group of users and of other groups.
#[Object]
impl Group {
    /// The group's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::Group, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    /// The id that the identity provider gave it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// The connection that owns it; null if it was made by hand.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// Its direct members, users and groups alike, oldest first.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<Page<GroupMember>>> {
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = match page::counted(ctx) {
            true => loaders::one(ctx, MemberCountOf(self.0.id)).await?.unwrap_or_default(),
            false => 0,
        };
        let Some(places) = loaders::one(ctx, MembersOf(self.0.id, keyset)).await? else {
            return Ok(Some(Page::empty()));
        };
        let of = |groups: bool| places.rows.iter().filter(move |place| place.is_group == groups).map(|place| place.id);
        let users: Vec<UserId> = of(false).map(UserId).collect();
        let groups: Vec<GroupId> = of(true).map(GroupId).collect();
        let (users, groups) =
            futures_util::future::try_join(loaders::several(ctx, &users), loaders::several(ctx, &groups)).await?;
        let users = users.into_iter().map(|row| GroupMember::User(row.into()));
        let mut rows: Vec<_> = users.chain(groups.into_iter().map(|row| GroupMember::Group(row.into()))).collect();
        rows.sort_by_key(GroupMember::key);
        let slice = Slice { rows, has_previous: places.has_previous, has_next: places.has_next };
        Ok(Some(Page::new(slice, GroupMember::key, total)))
    }

    /// How many direct members it has. Counted only when selected; costs more than a field.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn member_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(page::count(loaders::one(ctx, MemberCountOf(self.0.id)).await?.unwrap_or_default()))
    }

    /// Its current mappings to roles.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role_mappings(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<RoleMapping>> {
        let mappings = loaders::one(ctx, MappingsOfGroup(self.0.id)).await?.unwrap_or_default();
        Ok(mappings.into_iter().map(Into::into).collect())
    }

    /// When it was made.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its attributes or its members last changed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// Counts its changes, from 1.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// A direct member of a group: an account or another group.
#[derive(Union)]
pub enum GroupMember {
    User(User),
    Group(Group),
}

impl GroupMember {
    fn key(&self) -> Uuid {
        match self {
            Self::User(user) => user.0.id,
            Self::Group(group) => group.0.id,
        }
    }
}

/// Which groups are wanted: those that match all that is given.
#[derive(InputObject, Default)]
pub struct GroupFilter {
    /// The display name, in any case.
    display_name: Option<String>,
    /// What the display name begins with, in any case.
    display_name_starts_with: Option<String>,
    /// Owned by the connection with this global id.
    connection_id: Option<ID>,
}

impl GroupFilter {
    /// The filter in the domain's words; none if nothing can match it.
    pub fn compile(self) -> Option<(Option<Filter>, Owners)> {
        let owners = match self.connection_id {
            Some(id) => Owners::Connection(page::id_of(Kind::IdentitySource, &id)?),
            None => Owners::Anybody,
        };
        let texts = [(Op::Eq, self.display_name), (Op::Sw, self.display_name_starts_with)];
        let filters =
            texts.into_iter().filter_map(|(op, text)| Some(compare("displayName", None, op, Literal::String(text?))));
        Some((all(filters.collect()), owners))
    }
}

/// A group to be made by hand.
#[derive(InputObject)]
pub struct GroupCreateInput {
    /// The name for people to read.
    display_name: String,
    /// An id that another system gave it.
    external_id: Option<String>,
    /// Global ids of users and groups that shall be in it, at most 1000.
    #[graphql(default)]
    member_ids: Vec<ID>,
}

/// How to rename a group.
#[derive(InputObject)]
pub struct GroupRenameInput {
    /// The group's global id.
    id: ID,
    /// Refuse unless the group's `version` is still this.
    expected_version: Option<i32>,
    /// The new name for people to read.
    display_name: String,
}

/// Whom to add to a group.
#[derive(InputObject)]
pub struct GroupAddMembersInput {
    /// The group's global id.
    id: ID,
    /// Global ids of users and groups, at most 1000. Who is in it already stays.
    member_ids: Vec<ID>,
}

/// Whom to remove from a group.
#[derive(InputObject)]
pub struct GroupRemoveMembersInput {
    /// The group's global id.
    id: ID,
    /// Global ids of users and groups, at most 1000. Who is not in it is passed over.
    member_ids: Vec<ID>,
}

/// Which group to delete.
#[derive(InputObject)]
pub struct GroupDeleteInput {
    /// The group's global id.
    pub id: ID,
}

impl GroupAddMembersInput {
    /// The group, and the own ids of the members.
    pub fn compile(&self) -> Result<(Uuid, Vec<String>)> {
        Ok((page::id(Kind::Group, &self.id, "the group")?, members(&self.member_ids)?))
    }
}

impl GroupRemoveMembersInput {
    /// The group, and the own ids of the members.
    pub fn compile(&self) -> Result<(Uuid, Vec<String>)> {
        Ok((page::id(Kind::Group, &self.id, "the group")?, members(&self.member_ids)?))
    }
}

/// What became of a change of a group.
#[derive(SimpleObject)]
pub struct GroupPayload {
    /// The group after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    group: Option<Group>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of a deletion.
#[derive(SimpleObject)]
pub struct GroupDeletePayload {
    /// The global id that the group had; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    deleted_group_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

pub(super) fn payload(done: Result<group::Group>) -> Result<Option<GroupPayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(GroupPayload { group: done.map(Into::into), user_errors }))
}

/// The own ids that the domain knows members by.
fn members(ids: &[ID]) -> Result<Vec<String>> {
    if ids.len() > MAX_MEMBERS {
        return Err(Error::broken(Rule::TooMany, "members", format!("must be at most {MAX_MEMBERS}")));
    }
    let member = |id: &ID| match (page::plain(id), page::parse(id)) {
        (Some(uuid), _) | (None, Some((Kind::User | Kind::Group, uuid))) => Ok(uuid.to_string()),
        _ => Err(Error::invalid("members", format!("no user or group here has the id {:?}", page::shortened(id)))),
    };
    ids.iter().map(member).collect()
}

async fn change_members(ctx: &Context<'_>, id: Uuid, change: MemberChange) -> Result<group::Group> {
    let edit = GroupEdit { members: vec![change], ..GroupEdit::default() };
    group::change(page::cx(ctx)?, id, |_| Ok(edit.clone())).await
}

impl GroupRenameInput {
    /// The group's attributes as they shall be.
    fn apply(&self, group: &group::Group) -> Result<GroupEdit> {
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
    /// Makes a group by hand; no connection owns it.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn group_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group to make.")] input: GroupCreateInput,
    ) -> Result<Option<GroupPayload>> {
        let cx = page::cx(ctx)?;
        let document = Map::from_iter([
            ("displayName".to_owned(), json!(input.display_name)),
            ("externalId".to_owned(), input.external_id.map_or(Value::Null, Value::String)),
        ]);
        payload(async { group::create(cx, document, members(&input.member_ids)?).await }.await)
    }

    /// Gives a group another name. Role mappings that wait for a group of that name bind to it.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn group_rename(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and its new name.")] input: GroupRenameInput,
    ) -> Result<Option<GroupPayload>> {
        let cx = page::cx(ctx)?;
        let edit = |group: &group::Group| input.apply(group);
        payload(async { group::change(cx, page::id(Kind::Group, &input.id, "the group")?, edit).await }.await)
    }

    /// Adds members to a group; the roles that it is mapped to are theirs at once.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn group_add_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and whom to add.")] input: GroupAddMembersInput,
    ) -> Result<Option<GroupPayload>> {
        let done = async {
            let (group, members) = input.compile()?;
            change_members(ctx, group, MemberChange::Add(members)).await
        };
        payload(done.await)
    }

    /// Removes members from a group; the roles that they held through it end at once.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn group_remove_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and whom to remove.")] input: GroupRemoveMembersInput,
    ) -> Result<Option<GroupPayload>> {
        let done = async {
            let (group, members) = input.compile()?;
            change_members(ctx, group, MemberChange::Remove(members)).await
        };
        payload(done.await)
    }

    /// Deletes a group; its memberships and its mappings have ended.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn group_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group.")] input: GroupDeleteInput,
    ) -> Result<Option<GroupDeletePayload>> {
        let cx = page::cx(ctx)?;
        let done = async { group::delete(cx, page::id(Kind::Group, &input.id, "the group")?, |_| Ok(())).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(GroupDeletePayload { deleted_group_id: done.map(|()| input.id), user_errors }))
    }
}
