//! Accounts: their attributes, their groups, and the roles that they hold, with what gives each
//! role.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::access::{self, AccessExplanation, EffectiveRole};
use super::connection::IdentitySource;
use super::group::{ContainingGroupFilter, GroupObject, list_containing_groups};
use super::loaders::{self, ConnectionId, GroupCountOf, GroupsOf};
use super::order::{GroupOrder, ListOrder, UserOrder};
use super::permission::{Permission, needs};
use super::schema_extension::ExtendedResource;
use super::user_filter::UserFilter;
use crate::context::Cx;
use crate::domain::access::lockout_guard;
use crate::domain::check_version;
use crate::domain::directory::user;
use crate::domain::directory::user::UserQuery;
use crate::domain::paging::order::{OrderPlace, place_by_age};
use crate::domain::paging::selection::MemberOf;
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::extension_values;
use crate::graphql::extension_values::ExtensionValuesInput;
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};
use crate::identity::document;
use crate::identity::schema::ENTERPRISE_SCHEMA;

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::User, "id")],
    fields: &[
        ("name.givenName", "givenName"),
        ("name.familyName", "familyName"),
        ("emails.value", "emails"),
        ("emails.type", "emails"),
        ("emails.primary", "emails"),
        (DEPARTMENT, "department"),
        (EMPLOYEE_NUMBER, "employeeNumber"),
    ],
};
/// The names of attributes in the domain's errors.
const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
const EMPLOYEE_NUMBER: &str =
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber";

/// Where an account comes from.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOrigin {
    /// No connection owns it; usually an administrator created it by hand.
    Manual,
    /// A connection owns it: it came through SCIM.
    Scim,
}

/// An account as the schema shows it.
pub struct UserObject(pub user::User);

impl From<user::User> for UserObject {
    fn from(row: user::User) -> Self {
        Self(row)
    }
}

/// A page of the accounts that a filter selects, and `also` the domain's own conditions.
pub async fn list_users(
    ctx: &Context<'_>,
    filter: UserFilter,
    also: impl FnOnce(&mut UserQuery),
    order_by: Option<UserOrder>,
    window: PageArguments,
) -> Result<RelayPage<UserObject>> {
    let cx = relay::cx(ctx)?;
    let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
    let keyset = window.to_keyset(ctx, order.descending)?;
    filter.check_permission(cx)?;
    let Some(mut query) = filter.into_domain_query()? else { return Ok(RelayPage::empty()) };
    also(&mut query);
    let total =
        if relay::selects_total_count(ctx) { user::count_users(cx, &query).await? } else { 0 };
    let rows = user::list_users(cx, &query, order.by, &keyset).await?;
    Ok(RelayPage::from_keyed_rows(rows, total))
}

impl UserObject {
    /// The text of an attribute: of its sub-attribute, unless the second name is empty.
    fn attribute_text(&self, place: [&str; 2]) -> Result<Option<String>> {
        let [outer, inner] = place;
        let found = self.0.attribute(outer)?;
        let found = if inner.is_empty() {
            found.as_ref()
        } else {
            found.as_ref().and_then(|found| found.get(inner))
        };
        Ok(found.and_then(Value::as_str).map(Into::into))
    }
}

/// An account of a person or of anything else that signs in.
#[Object(name = "User")]
impl UserObject {
    /// The account's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::User, self.0.id)
    }

    /// The name to sign in with; unique in the organization, regardless of case.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user_name(&self) -> &str {
        &self.0.user_name
    }

    /// The name for people to read: the display name, or the user name if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    pub async fn display_name(&self) -> String {
        let name = self.0.display_name.as_ref().filter(|name| !name.trim().is_empty());
        name.unwrap_or(&self.0.user_name).clone()
    }

    /// The id that the identity provider, or another system, gave it; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Whether it is active. A suspended account holds no roles.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn active(&self) -> bool {
        self.0.active
    }

    /// Whether it is a break-glass account: no identity provider can suspend it, delete it or
    /// remove it from its groups.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn protected(&self) -> bool {
        self.0.protected
    }

    /// The given name; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn given_name(&self) -> Result<Option<String>> {
        self.attribute_text(["name", "givenName"])
    }

    /// The family name; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn family_name(&self) -> Result<Option<String>> {
        self.attribute_text(["name", "familyName"])
    }

    /// The e-mail addresses.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn emails(&self) -> Result<Vec<Email>> {
        let emails = self.0.attribute("emails")?;
        let emails = emails.as_ref().and_then(Value::as_array).into_iter().flatten();
        let text =
            |email: &Value, name: &str| email.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(emails
            .filter_map(|email| {
                let (value, ty) = (text(email, "value")?, text(email, "type"));
                Some(Email { value, ty, primary: document::is_primary(email) })
            })
            .collect())
    }

    /// The job title; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn title(&self) -> Result<Option<String>> {
        self.attribute_text(["title", ""])
    }

    /// The department; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn department(&self) -> Result<Option<String>> {
        self.attribute_text([ENTERPRISE_SCHEMA, "department"])
    }

    /// The employee number; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn employee_number(&self) -> Result<Option<String>> {
        self.attribute_text([ENTERPRISE_SCHEMA, "employeeNumber"])
    }

    /// All attributes, as SCIM (RFC 7643) names them.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn attributes(&self) -> Result<Value> {
        Ok(Value::Object(self.0.attributes()?))
    }

    /// Where the account comes from.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn origin(&self) -> UserOrigin {
        if self.0.connection_id.is_some() { UserOrigin::Scim } else { UserOrigin::Manual }
    }

    /// The connection that owns it; null if none does.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The groups of which it is a direct member, oldest first unless ordered otherwise; with
    /// `transitive`, also the groups around them.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn groups(
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
        if filter.is_some() || order_by.is_some() {
            let member = MemberOf::User(self.0.id);
            let page = list_containing_groups(ctx, member, filter, order_by, window);
            return Ok(Some(Box::pin(page).await?));
        }
        // The rows of a page of accounts are answered together.
        let keyset = window.to_keyset::<OrderPlace>(ctx, false)?.to_id_keyset()?;
        let total = if relay::selects_total_count(ctx) {
            loaders::load_one(ctx, GroupCountOf(self.0.id)).await?.unwrap_or_default()
        } else {
            0
        };
        let Some(rows) = loaders::load_one(ctx, GroupsOf(self.0.id, keyset)).await? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = place_by_age(rows, |row| row.id);
        Ok(Some(RelayPage::from_keyed_rows(rows, total)))
    }

    /// The roles that it holds now, or held at an instant: one entry for each role, with every
    /// mapping and grant that gives it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "As it was at this instant; left out = now.")] as_of: Option<
            DateTime<Utc>,
        >,
    ) -> async_graphql::Result<Option<Vec<EffectiveRole>>> {
        Ok(Some(access::list_effective_roles(ctx, self.0.id, as_of).await?))
    }

    /// The role for an application that supports one role per user: of the roles that it holds, the
    /// one with the lowest priority number. Null if none of them has a priority.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn primary_role(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<EffectiveRole>> {
        Ok(access::pick_primary_role(access::list_effective_roles(ctx, self.0.id, None).await?))
    }

    /// Why it holds a role, or what is missing.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn explain(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the role.")] role_id: ID,
    ) -> async_graphql::Result<Option<AccessExplanation>> {
        Box::pin(access::explain_access(ctx, self.0.id, &role_id)).await
    }

    /// When the account was created.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its attributes last changed.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// 1 when the account is created; grows by one with every change.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// An e-mail address.
#[derive(SimpleObject)]
pub struct Email {
    /// The address.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    value: String,
    /// What it is for, for example `work`; null if there is none.
    #[graphql(name = "type", directive = needs::apply(Some(Permission::UserRead)))]
    ty: Option<String>,
    /// Whether it is the preferred address.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    primary: bool,
}

/// An e-mail address of an account to create or change.
#[derive(InputObject)]
pub struct EmailInput {
    /// The address.
    value: String,
    /// What it is for, for example `work`.
    #[graphql(name = "type")]
    ty: Option<String>,
    /// Whether it is the preferred address; at most one is.
    #[graphql(default)]
    primary: bool,
}

/// The account to create, which no connection will own.
#[derive(InputObject)]
pub struct UserCreateInput {
    /// The name to sign in with; unique in the organization, regardless of case.
    user_name: String,
    /// The name for people to read.
    display_name: Option<String>,
    /// An id that another system gave it.
    external_id: Option<String>,
    /// The given name.
    given_name: Option<String>,
    /// The family name.
    family_name: Option<String>,
    /// The e-mail addresses.
    #[graphql(default)]
    emails: Vec<EmailInput>,
    /// The job title.
    title: Option<String>,
    /// The department.
    department: Option<String>,
    /// The employee number.
    employee_number: Option<String>,
    /// Whether it is active at once.
    #[graphql(default = true)]
    active: bool,
    /// Values of schema extensions.
    #[graphql(default)]
    extensions: Vec<ExtensionValuesInput>,
}

/// The changes of an account. A field that is left out stays as it is; null removes the value.
#[derive(InputObject)]
pub struct UserUpdateInput {
    /// The account's global id.
    id: ID,
    /// The mutation is refused if the account's `version` is no longer this one.
    expected_version: Option<i32>,
    /// The name to sign in with; unique in the organization, regardless of case. Cannot be null.
    user_name: MaybeUndefined<String>,
    /// The name for people to read.
    display_name: MaybeUndefined<String>,
    /// An id that another system gave it.
    external_id: MaybeUndefined<String>,
    /// The given name.
    given_name: MaybeUndefined<String>,
    /// The family name.
    family_name: MaybeUndefined<String>,
    /// All e-mail addresses; they replace the earlier ones.
    emails: MaybeUndefined<Vec<EmailInput>>,
    /// The job title.
    title: MaybeUndefined<String>,
    /// The department.
    department: MaybeUndefined<String>,
    /// The employee number.
    employee_number: MaybeUndefined<String>,
    /// Values of schema extensions. Extensions and attributes that are left out stay as they are.
    #[graphql(default)]
    extensions: Vec<ExtensionValuesInput>,
}

/// The account to suspend.
#[derive(InputObject)]
pub struct UserSuspendInput {
    /// The account's global id.
    id: ID,
    /// The mutation is refused if the account's `version` is no longer this one.
    expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The account to reactivate.
#[derive(InputObject)]
pub struct UserReactivateInput {
    /// The account's global id.
    id: ID,
    /// The mutation is refused if the account's `version` is no longer this one.
    expected_version: Option<i32>,
}

/// The account to make a break-glass account.
#[derive(InputObject)]
pub struct UserProtectInput {
    /// The account's global id.
    id: ID,
    /// The mutation is refused if the account's `version` is no longer this one.
    expected_version: Option<i32>,
}

/// The break-glass account to make an ordinary one.
#[derive(InputObject)]
pub struct UserUnprotectInput {
    /// The account's global id.
    id: ID,
    /// The mutation is refused if the account's `version` is no longer this one.
    expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The account to delete.
#[derive(InputObject)]
pub struct UserDeleteInput {
    /// The account's global id.
    id: ID,
    /// The mutation is refused if the account's `version` is no longer this one.
    expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

mutation_payloads! {
    user_payloads;
    /// The account after the change; null if there were mistakes.
    user: UserObject;
    /// The result of `userCreate`.
    UserCreatePayload,
    /// The result of `userUpdate`.
    UserUpdatePayload,
    /// The result of `userSuspend`.
    UserSuspendPayload,
    /// The result of `userReactivate`.
    UserReactivatePayload,
    /// The result of `userProtect`.
    UserProtectPayload,
    /// The result of `userUnprotect`.
    UserUnprotectPayload,
    /// The result of `userRestore`.
    UserRestorePayload,
}

/// The result of `userDelete`.
#[derive(SimpleObject)]
pub struct UserDeletePayload {
    /// The global id that the account had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    deleted_user_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

fn emails_to_json(emails: &[EmailInput]) -> Value {
    let one = |email: &EmailInput| {
        let mut value = Map::from_iter([("value".to_owned(), json!(email.value))]);
        if let Some(ty) = &email.ty {
            value.insert("type".into(), json!(ty));
        }
        if email.primary {
            value.insert("primary".into(), json!(true));
        }
        Value::Object(value)
    };
    emails.iter().map(one).collect()
}

/// Sets an attribute, or its sub-attribute `inner`, in a document. Null means unassigned (RFC 7643
/// section 2.5).
fn set_attribute(
    document: &mut Map<String, Value>,
    outer: &str,
    inner: Option<&str>,
    value: Value,
) {
    match inner {
        None => {
            document.insert(outer.into(), value);
        }
        Some(inner) => {
            let object = document.entry(outer).or_insert_with(|| json!({}));
            if let Value::Object(object) = object {
                object.insert(inner.into(), value);
            }
        }
    }
}

impl UserUpdateInput {
    /// The account's attributes after the update.
    fn build_update(
        &self,
        user: &user::User,
        known: &Map<String, Value>,
    ) -> Result<Option<Map<String, Value>>> {
        if self.expected_version.is_some_and(|expected| i64::from(expected) != user.version) {
            return Err(Error::Stale { version: user.version });
        }
        let mut document = known.clone();
        if let MaybeUndefined::Value(name) = &self.user_name {
            set_attribute(&mut document, "userName", None, json!(name));
        }
        let texts = [
            ("displayName", None, &self.display_name),
            ("externalId", None, &self.external_id),
            ("name", Some("givenName"), &self.given_name),
            ("name", Some("familyName"), &self.family_name),
            ("title", None, &self.title),
            (ENTERPRISE_SCHEMA, Some("department"), &self.department),
            (ENTERPRISE_SCHEMA, Some("employeeNumber"), &self.employee_number),
        ];
        for (outer, inner, value) in texts {
            if let Some(value) = value.as_opt_ref() {
                set_attribute(&mut document, outer, inner, json!(value));
            }
        }
        if let Some(emails) = self.emails.as_opt_ref() {
            set_attribute(
                &mut document,
                "emails",
                None,
                emails.map_or(Value::Null, |emails| emails_to_json(emails)),
            );
        }
        extension_values::set_values(&mut document, &self.extensions);
        Ok(Some(document))
    }
}

/// The account's attributes with `active` set.
fn build_activation(
    known: &Map<String, Value>,
    active: bool,
) -> Result<Option<Map<String, Value>>> {
    let mut document = known.clone();
    set_attribute(&mut document, "active", None, json!(active));
    Ok(Some(document))
}

/// Suspends or reactivates the account, if it has the expected version.
async fn change_activation(
    cx: &Cx,
    id: Uuid,
    active: bool,
    expected: Option<i32>,
) -> Result<user::User> {
    let edit = |user: &user::User, known: &Map<String, Value>| {
        check_version(relay::to_version(expected), user.version)?;
        build_activation(known, active)
    };
    user::change_user(cx, id, edit).await
}

#[derive(Default)]
pub struct UserMutation;

#[Object]
impl UserMutation {
    /// Creates an account that no connection owns.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn user_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account to create.")] input: UserCreateInput,
    ) -> Result<Option<UserCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let document = json!({
            "userName": input.user_name, "displayName": input.display_name,
            "externalId": input.external_id,
            "name": { "givenName": input.given_name, "familyName": input.family_name },
            "emails": emails_to_json(&input.emails), "title": input.title, "active": input.active,
            ENTERPRISE_SCHEMA: {
                "department": input.department, "employeeNumber": input.employee_number,
            },
        });
        let Value::Object(mut document) = document else { return Ok(None) };
        let extensions = &input.extensions;
        let done = async {
            extension_values::check_urns(cx, ExtendedResource::User, extensions).await?;
            extension_values::set_values(&mut document, extensions);
            user::create_user(cx, document).await
        };
        let done = extension_values::name_fields(done.await, extensions);
        UserCreatePayload::from_result(done, FIELD_MAP)
    }

    /// Changes an account's attributes.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn user_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: UserUpdateInput,
    ) -> Result<Option<UserUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let edit = |user: &user::User, known: &Map<String, Value>| input.build_update(user, known);
        let done = async {
            let mut mistakes = Mistakes::default();
            let id = mistakes.collect(relay::parse_input_id(NodeKind::User, &input.id, Noun::User));
            if input.user_name.is_null() {
                mistakes.add(Error::not_nullable("userName"));
            }
            let known =
                extension_values::check_urns(cx, ExtendedResource::User, &input.extensions).await;
            mistakes.collect(known);
            mistakes.refuse_any()?;
            user::change_user(cx, id.unwrap_or_default(), edit).await
        };
        let done = extension_values::name_fields(done.await, &input.extensions);
        UserUpdatePayload::from_result(done, FIELD_MAP)
    }

    /// Suspends an account: from this instant on it holds no roles. Its memberships stay, for when
    /// it is reactivated.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn user_suspend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserSuspendInput,
    ) -> Result<Option<UserSuspendPayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::User, &input.id, Noun::User),
            )?;
            change_activation(&cx, id, false, input.expected_version).await
        };
        UserSuspendPayload::from_result(done.await, FIELD_MAP)
    }

    /// Reactivates a suspended account: its memberships and grants give their roles again.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn user_reactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserReactivateInput,
    ) -> Result<Option<UserReactivatePayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::User, &input.id, Noun::User);
        let done = async { change_activation(cx, id?, true, input.expected_version).await };
        UserReactivatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Makes an account a break-glass account: no identity provider can suspend it, delete it or
    /// remove it from its groups.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn user_protect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserProtectInput,
    ) -> Result<Option<UserProtectPayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::User, &input.id, Noun::User);
        let expected = relay::to_version(input.expected_version);
        let done = async { lockout_guard::set_protection(cx, id?, true, expected).await };
        UserProtectPayload::from_result(done.await, FIELD_MAP)
    }

    /// Makes a break-glass account an ordinary one again.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn user_unprotect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserUnprotectInput,
    ) -> Result<Option<UserUnprotectPayload>> {
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::User, &input.id, Noun::User),
            )?;
            lockout_guard::set_protection(&cx, id, false, expected).await
        };
        UserUnprotectPayload::from_result(done.await, FIELD_MAP)
    }

    /// Deletes an account: it is in no list any more, and its memberships and grants end.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn user_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserDeleteInput,
    ) -> Result<Option<UserDeletePayload>> {
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::User, &input.id, Noun::User),
            )?;
            user::delete_user(&cx, id, |user| check_version(expected, user.version)).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(UserDeletePayload { deleted_user_id: done.map(|()| input.id), user_errors }))
    }
}
