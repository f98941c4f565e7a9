//! Groups and their members.

use std::sync::Arc;

use async_graphql::{
    Context, Enum, ID, InputObject, Interface, MaybeUndefined, Object, SimpleObject,
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::access::{self, EffectiveRole};
use super::connection::IdentitySource;
use super::loaders::{
    self, ConnectionId, GroupId, MappingsOfGroup, MemberCountOf, MembersOf, UserId,
};
use super::order::{GroupOrder, ListOrder, UserOrder};
use super::permission::{Permission, needs};
use super::role_mapping::RoleMapping;
use super::schema_extension::ExtendedResource;
use super::user::{UserObject, list_users};
use super::user_filter::{UserFilter, compare_attribute, match_all};
use crate::context::Cx;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::check_version;
use crate::domain::directory::group;
use crate::domain::directory::group::{GroupEdit, GroupQuery};
use crate::domain::directory::user::UserQuery;
use crate::domain::paging::Slice;
use crate::domain::paging::order::{OrderBy, OrderPlace, place_by_age};
use crate::domain::paging::selection::MemberOf;
use crate::error::{Error, Mistakes, Noun, Result, Rule, mistakes};
use crate::graphql::extension_values;
use crate::graphql::extension_values::ExtensionValuesInput;
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};
use crate::identity::document::MemberChange;
use crate::identity::filter::{CompareOp, FilterLiteral};

/// The input field that each name in the domain's errors stands for.
pub const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Group, "id"), (Noun::DeletedGroup, "id")],
    fields: &[("members", "memberIds")],
};
/// The same for an input that has only the id of a deleted group.
pub const RESTORE_FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::DeletedGroup, "id")],
    fields: &[("externalId", "id"), ("displayName", "id")],
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
    pub async fn display_name(&self) -> String {
        self.0.display_name.clone()
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

    /// Its direct members, users and groups alike, oldest first unless ordered otherwise. In
    /// another order than by age it has one kind of members only: give `kind`, or a filter of
    /// accounts.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            GroupMemberFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<UserOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<RelayPage<PrincipalObject>>> {
        let window = PageArguments { first, after, last, before };
        let filter = filter.unwrap_or_default();
        let order: ListOrder = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let selects = filter.kind.is_some() || filter.user.is_some() || filter.transitive;
        if selects || order.by != OrderBy::Age {
            let page = self.list_selected_members(ctx, filter, order_by, window);
            return Ok(Some(Box::pin(page).await?));
        }
        // The members of the groups of a page are read together.
        let keyset = window.to_keyset::<OrderPlace>(ctx, order.descending)?.to_id_keyset()?;
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
        let users = users.into_iter().map(|row| PrincipalObject::User(row.into()));
        let mut rows: Vec<_> =
            users.chain(groups.into_iter().map(|row| PrincipalObject::Group(row.into()))).collect();
        rows.sort_by_key(PrincipalObject::member_id);
        if order.descending {
            rows.reverse();
        }
        let slice = Slice { rows, has_previous: places.has_previous, has_next: places.has_next };
        let slice = place_by_age(slice, PrincipalObject::member_id);
        Ok(Some(RelayPage::from_keyed_rows(slice, total)))
    }

    /// The groups that contain it directly, oldest first unless ordered otherwise; with
    /// `transitive`, also the groups around them.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn parents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            ContainingGroupFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<GroupOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<RelayPage<GroupObject>>> {
        let window = PageArguments { first, after, last, before };
        let member = MemberOf::Group(self.0.id);
        let page = list_containing_groups(ctx, member, filter, order_by, window);
        Ok(Some(Box::pin(page).await?))
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

    /// The roles that it gives to its members, one entry for each role: through its own mappings,
    /// and through those of the groups around it. Default roles of connections are not among them.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn effective_roles(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<Vec<EffectiveRole>>> {
        Ok(Some(access::list_roles_of_group(ctx, self.0.id).await?))
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

/// An account or a group: what can be a member of a group.
#[derive(Interface)]
#[graphql(
    name = "Principal",
    field(
        name = "id",
        ty = "ID",
        desc = "The global id.",
        directive = needs::apply(None)
    ),
    field(
        name = "display_name",
        ty = "String",
        desc = "The name for people to read; never empty.",
        directive = needs::apply(None)
    )
)]
pub enum PrincipalObject {
    User(UserObject),
    Group(GroupObject),
}

impl PrincipalObject {
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
    /// Groups with these global ids, at most 100.
    ids: Option<Vec<ID>>,
    /// Groups that have, for each word of this, a word that begins with it, regardless of case: in
    /// the display name or the external id.
    search: Option<String>,
    /// Groups with exactly this display name, regardless of case.
    display_name: Option<String>,
    /// Groups whose display name begins with this, regardless of case.
    display_name_starts_with: Option<String>,
    /// Groups with exactly this external id; with `connectionId`, the one of that connection.
    external_id: Option<String>,
    /// Groups that the connection with this global id owns.
    connection_id: Option<ID>,
    /// Groups that are mapped to the role with this global id.
    role_id: Option<ID>,
    /// Groups with at least so many direct members.
    members_at_least: Option<i32>,
    /// Groups with at most so many direct members.
    members_at_most: Option<i32>,
    /// Groups that were changed at this instant or later.
    updated_since: Option<DateTime<Utc>>,
}

/// Selects groups that contain an account or a group: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct ContainingGroupFilter {
    /// Also groups around those that contain it directly, at any height.
    #[graphql(default)]
    transitive: bool,
    /// Only groups that match every field of this.
    group: Option<GroupFilter>,
}

/// Selects members of a group: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct GroupMemberFilter {
    /// Only members of this kind.
    kind: Option<GroupMemberKind>,
    /// Only accounts, and of these only those that match every field of this.
    user: Option<UserFilter>,
    /// Also accounts in groups that are nested in it, at any depth; the groups themselves are left
    /// out then.
    #[graphql(default)]
    transitive: bool,
}

/// The kinds of members of a group.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMemberKind {
    /// Accounts.
    User,
    /// Groups that are nested in it.
    Group,
}

/// A bound of a size, which is no negative number.
fn parse_size(field: &'static str, size: Option<i32>) -> Result<Option<u64>> {
    size.map(|size| u64::try_from(size).map_err(|_| Error::invalid(field, "must not be negative")))
        .transpose()
}

impl GroupFilter {
    /// The filter as the domain takes it; none if nothing can match it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is empty or too long, for a negative size, and for too
    /// many ids.
    pub fn into_domain_query(self) -> Result<Option<GroupQuery>> {
        let search = relay::check_filter_text("search", self.search)?;
        let external_id = relay::check_filter_text("externalId", self.external_id)?;
        let ids = relay::parse_filter_ids(NodeKind::Group, self.ids.as_deref())?;
        let size = (
            parse_size("membersAtLeast", self.members_at_least)?,
            parse_size("membersAtMost", self.members_at_most)?,
        );
        let owner = relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let role = relay::parse_filter_id(NodeKind::Role, self.role_id.as_ref());
        let (Some(owner), Some(role)) = (owner, role) else { return Ok(None) };
        let texts =
            [(CompareOp::Eq, self.display_name), (CompareOp::Sw, self.display_name_starts_with)];
        let filters = texts.into_iter().filter_map(|(op, text)| {
            Some(compare_attribute("displayName", None, op, FilterLiteral::String(text?)))
        });
        Ok(Some(GroupQuery {
            filter: match_all(filters.collect()),
            owners: owner.map_or(SubjectOwners::Any, SubjectOwners::Connection),
            search,
            external_id,
            ids,
            member: None,
            parent: None,
            role,
            size,
            updated_since: self.updated_since,
        }))
    }
}

/// A page of the groups that a filter selects, and `also` the domain's own conditions.
pub async fn list_groups(
    ctx: &Context<'_>,
    filter: GroupFilter,
    also: impl FnOnce(&mut GroupQuery),
    order_by: Option<GroupOrder>,
    window: PageArguments,
) -> Result<RelayPage<GroupObject>> {
    let cx = relay::cx(ctx)?;
    let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
    let keyset = window.to_keyset(ctx, order.descending)?;
    let Some(mut query) = filter.into_domain_query()? else { return Ok(RelayPage::empty()) };
    also(&mut query);
    let total =
        if relay::selects_total_count(ctx) { group::count_groups(cx, &query).await? } else { 0 };
    let rows = group::list_groups(cx, &query, order.by, &keyset).await?;
    Ok(RelayPage::from_keyed_rows(rows, total))
}

/// A page of the groups that contain `member`.
pub async fn list_containing_groups(
    ctx: &Context<'_>,
    member: MemberOf,
    filter: Option<ContainingGroupFilter>,
    order_by: Option<GroupOrder>,
    window: PageArguments,
) -> Result<RelayPage<GroupObject>> {
    let ContainingGroupFilter { transitive, group } = filter.unwrap_or_default();
    let containing = |query: &mut GroupQuery| query.member = Some((member, transitive));
    list_groups(ctx, group.unwrap_or_default(), containing, order_by, window).await
}

impl GroupObject {
    /// A page of the members of one kind, or of those that a filter of accounts selects.
    async fn list_selected_members(
        &self,
        ctx: &Context<'_>,
        filter: GroupMemberFilter,
        order_by: Option<UserOrder>,
        window: PageArguments,
    ) -> Result<RelayPage<PrincipalObject>> {
        let id = self.0.id;
        if filter.kind == Some(GroupMemberKind::Group) {
            if filter.user.is_some() || filter.transitive {
                return Err(Error::invalid("filter", "a filter of accounts selects no groups"));
            }
            let order: ListOrder = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
            let by = match order.by {
                OrderBy::UserName => OrderBy::DisplayName,
                by => by,
            };
            let cx = relay::cx(ctx)?;
            let keyset = window.to_keyset(ctx, order.descending)?;
            let query = GroupQuery { parent: Some(id), ..GroupQuery::default() };
            let total = if relay::selects_total_count(ctx) {
                group::count_groups(cx, &query).await?
            } else {
                0
            };
            let rows = group::list_groups(cx, &query, by, &keyset).await?;
            let rows = rows.map(|(row, place)| (PrincipalObject::Group(row.into()), place));
            return Ok(RelayPage::from_keyed_rows(rows, total));
        }
        let accounts_only = filter.kind.is_some() || filter.user.is_some() || filter.transitive;
        if !accounts_only {
            let why = "members that are groups have only the order CREATED_AT: give a kind";
            return Err(Error::invalid("orderBy", why));
        }
        let transitive = filter.transitive;
        let within = |query: &mut UserQuery| query.within = Some((id, transitive));
        let users = filter.user.unwrap_or_default();
        let page = list_users(ctx, users, within, order_by, window).await?;
        Ok(page.map(PrincipalObject::User))
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
    /// Values of schema extensions.
    #[graphql(default)]
    extensions: Vec<ExtensionValuesInput>,
}

/// The changes of a group. A field that is left out stays as it is; null removes the value.
#[derive(InputObject)]
pub struct GroupUpdateInput {
    /// The group's global id.
    id: ID,
    /// The mutation is refused if the group's `version` is no longer this one.
    expected_version: Option<i32>,
    /// The name for people to read. Cannot be null.
    display_name: MaybeUndefined<String>,
    /// An id that another system gave it. Only for a group that no connection owns.
    external_id: MaybeUndefined<String>,
    /// Values of schema extensions. Extensions and attributes that are left out stay as they are.
    #[graphql(default)]
    extensions: Vec<ExtensionValuesInput>,
}

/// The members to add to a group.
#[derive(InputObject)]
pub struct GroupAddMembersInput {
    /// The group's global id.
    id: ID,
    /// The mutation is refused if the group's `version` is no longer this one.
    pub expected_version: Option<i32>,
    /// The global ids of users and groups, at most 1000. Those that are members already stay.
    member_ids: Vec<ID>,
}

/// The members to remove from a group.
#[derive(InputObject)]
pub struct GroupRemoveMembersInput {
    /// The group's global id.
    id: ID,
    /// The mutation is refused if the group's `version` is no longer this one.
    pub expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    pub reason: Option<String>,
    /// The global ids of users and groups, at most 1000. Those that are not members are ignored.
    member_ids: Vec<ID>,
}

/// The group to delete.
#[derive(InputObject)]
pub struct GroupDeleteInput {
    /// The group's global id.
    pub id: ID,
    /// The mutation is refused if the group's `version` is no longer this one.
    pub expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    pub reason: Option<String>,
}

impl GroupAddMembersInput {
    /// The UUID of the group, and those of the members.
    pub fn parse_member_change(&self) -> Result<(Uuid, Vec<String>)> {
        mistakes::both(
            relay::parse_input_id(NodeKind::Group, &self.id, Noun::Group),
            parse_member_ids(&self.member_ids),
        )
    }
}

impl GroupRemoveMembersInput {
    /// The UUID of the group, and those of the members.
    pub fn parse_member_change(&self) -> Result<(Uuid, Vec<String>)> {
        mistakes::both(
            relay::parse_input_id(NodeKind::Group, &self.id, Noun::Group),
            parse_member_ids(&self.member_ids),
        )
    }
}

mutation_payloads! {
    group_payloads;
    /// The group after the change; null if there were mistakes.
    group: GroupObject;
    /// The result of `groupCreate`.
    GroupCreatePayload,
    /// The result of `groupUpdate`.
    GroupUpdatePayload,
    /// The result of `groupAddMembers`.
    GroupAddMembersPayload,
    /// The result of `groupRemoveMembers`.
    GroupRemoveMembersPayload,
    /// The result of `groupRestore`.
    GroupRestorePayload,
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

/// The UUIDs of members, which the domain takes.
fn parse_member_ids(ids: &[ID]) -> Result<Vec<String>> {
    if ids.len() > MAX_MEMBERS_PER_MUTATION {
        return Err(Error::broken(
            Rule::TooMany,
            "members",
            format!("must be at most {MAX_MEMBERS_PER_MUTATION}"),
        ));
    }
    let member =
        |(place, id): (usize, &ID)| match (relay::parse_plain_id(id), relay::parse_global_id(id)) {
            (Some(uuid), _) | (None, Some((NodeKind::User | NodeKind::Group, uuid))) => {
                Ok(uuid.to_string())
            }
            _ => Err(Error::invalid(
                format!("memberIds.{place}"),
                format!("no user or group here has the id {:?}", relay::shorten_message(id)),
            )),
        };
    mistakes::all(ids.iter().enumerate().map(member))
}

async fn change_members(
    cx: &Cx,
    id: Uuid,
    change: MemberChange,
    expected: Option<i32>,
) -> Result<group::Group> {
    let edit = GroupEdit { members: vec![change], ..GroupEdit::default() };
    let edit = |group: &group::Group| {
        check_version(relay::to_version(expected), group.version)?;
        Ok(GroupEdit { of_version: expected.is_some(), ..edit.clone() })
    };
    group::change_group(cx, id, edit).await
}

impl GroupUpdateInput {
    /// The edit of `group`.
    fn build_update(&self, group: &group::Group) -> Result<GroupEdit> {
        check_version(relay::to_version(self.expected_version), group.version)?;
        let mut document = group.attributes()?;
        if let MaybeUndefined::Value(name) = &self.display_name {
            document.insert("displayName".into(), json!(name));
        }
        if let Some(id) = self.external_id.as_opt_ref() {
            if group.connection_id.is_some() {
                return Err(Error::broken(
                    Rule::Mutability,
                    "externalId",
                    "is what the identity provider calls the group, which its connection owns",
                ));
            }
            document.insert("externalId".into(), json!(id));
        }
        extension_values::set_values(&mut document, &self.extensions);
        Ok(GroupEdit {
            attributes: Some(document),
            of_version: self.expected_version.is_some(),
            ..GroupEdit::default()
        })
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
    ) -> Result<Option<GroupCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let mut document = Map::from_iter([
            ("displayName".to_owned(), json!(input.display_name)),
            ("externalId".to_owned(), input.external_id.map_or(Value::Null, Value::String)),
        ]);
        let extensions = &input.extensions;
        let done = async {
            let (members, ()) = mistakes::both(
                parse_member_ids(&input.member_ids),
                extension_values::check_urns(cx, ExtendedResource::Group, extensions).await,
            )?;
            extension_values::set_values(&mut document, extensions);
            group::create_group(cx, document, members).await
        };
        let done = extension_values::name_fields(done.await, extensions);
        GroupCreatePayload::from_result(done, FIELD_MAP)
    }

    /// Changes a group's attributes. Role mappings that wait for a group of its new name bind to
    /// it.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: GroupUpdateInput,
    ) -> Result<Option<GroupUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let edit = |group: &group::Group| input.build_update(group);
        let done = async {
            let mut mistakes = Mistakes::default();
            let id =
                mistakes.collect(relay::parse_input_id(NodeKind::Group, &input.id, Noun::Group));
            if input.display_name.is_null() {
                mistakes.add(Error::not_nullable("displayName"));
            }
            let known =
                extension_values::check_urns(cx, ExtendedResource::Group, &input.extensions).await;
            mistakes.collect(known);
            mistakes.refuse_any()?;
            group::change_group(cx, id.unwrap_or_default(), edit).await
        };
        let done = extension_values::name_fields(done.await, &input.extensions);
        GroupUpdatePayload::from_result(done, FIELD_MAP)
    }

    /// Adds members to a group. They hold the roles that it is mapped to at once.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_add_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and the members to add.")] input: GroupAddMembersInput,
    ) -> Result<Option<GroupAddMembersPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let (group, members) = input.parse_member_change()?;
            change_members(cx, group, MemberChange::Add(members), input.expected_version).await
        };
        GroupAddMembersPayload::from_result(done.await, FIELD_MAP)
    }

    /// Removes members from a group; the roles that they held through it end at once.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_remove_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group, and the members to remove.")] input: GroupRemoveMembersInput,
    ) -> Result<Option<GroupRemoveMembersPayload>> {
        let done = async {
            let (cx, (group, members)) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                input.parse_member_change(),
            )?;
            let change = MemberChange::Remove(members);
            change_members(&cx, group, change, input.expected_version).await
        };
        GroupRemoveMembersPayload::from_result(done.await, FIELD_MAP)
    }

    /// Deletes a group, and ends its memberships and its mappings.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn group_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group.")] input: GroupDeleteInput,
    ) -> Result<Option<GroupDeletePayload>> {
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::Group, &input.id, Noun::Group),
            )?;
            group::delete_group(&cx, id, |group| check_version(expected, group.version)).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(GroupDeletePayload { deleted_group_id: done.map(|()| input.id), user_errors }))
    }
}
