//! Accounts: their attributes, their groups, and the roles that they hold with what they hold them through.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::access::{self, AccessExplanation, EffectiveRole};
use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::group::Group;
use super::loaders::{self, ConnectionId, GroupCountOf, GroupsOf};
use super::page::{self, Blame, Kind, Page, UserError, Window};
use crate::authz::Action;
use crate::context::Cx;
use crate::domain::event::Owners;
use crate::domain::schema::ENTERPRISE;
use crate::domain::search::{AttrPath, Filter, Literal, Op};
use crate::domain::{document, protection, user};
use crate::error::{Error, Result};

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the user", "id")];

/// Who made an account.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOrigin {
    /// Somebody made it by hand.
    Manual,
    /// An identity provider wrote it over SCIM.
    Scim,
}

/// An account as the schema shows it.
pub struct User(pub user::User);

impl From<user::User> for User {
    fn from(row: user::User) -> Self {
        Self(row)
    }
}

impl User {
    /// The text at this place of the document.
    fn text(&self, place: [&str; 2]) -> Result<Option<String>> {
        let [outer, inner] = place;
        let found = self.0.attribute(outer)?;
        let found = if inner.is_empty() { found.as_ref() } else { found.as_ref().and_then(|found| found.get(inner)) };
        Ok(found.and_then(Value::as_str).map(Into::into))
    }
}

/// An account of a person or of anything else that signs in.
#[Object]
impl User {
    /// The account's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::User, self.0.id)
    }

    /// The name to sign in with; unique in the organization, in any case.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user_name(&self) -> &str {
        &self.0.user_name
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn display_name(&self) -> Option<&str> {
        self.0.display_name.as_deref()
    }

    /// The id that the identity provider gave it.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Whether it may be used. A suspended account holds no roles.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn active(&self) -> bool {
        self.0.active
    }

    /// Whether it is a break-glass account, out of reach of every identity provider.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn protected(&self) -> bool {
        self.0.protected
    }

    /// The given name.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn given_name(&self) -> Result<Option<String>> {
        self.text(["name", "givenName"])
    }

    /// The family name.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn family_name(&self) -> Result<Option<String>> {
        self.text(["name", "familyName"])
    }

    /// The e-mail addresses.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn emails(&self) -> Result<Vec<Email>> {
        let emails = self.0.attribute("emails")?;
        let emails = emails.as_ref().and_then(Value::as_array).into_iter().flatten();
        let text = |email: &Value, name: &str| email.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(emails
            .filter_map(|email| {
                let (value, ty) = (text(email, "value")?, text(email, "type"));
                Some(Email { value, ty, primary: document::is_primary(email) })
            })
            .collect())
    }

    /// The job title.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn title(&self) -> Result<Option<String>> {
        self.text(["title", ""])
    }

    /// The department.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn department(&self) -> Result<Option<String>> {
        self.text([ENTERPRISE, "department"])
    }

    /// The employee number.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn employee_number(&self) -> Result<Option<String>> {
        self.text([ENTERPRISE, "employeeNumber"])
    }

    /// All attributes, as SCIM (RFC 7643) names them.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn attributes(&self) -> Result<Value> {
        Ok(Value::Object(self.0.attributes()?))
    }

    /// Who made it.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn origin(&self) -> UserOrigin {
        if self.0.connection_id.is_some() { UserOrigin::Scim } else { UserOrigin::Manual }
    }

    /// The connection that owns it; null if it was made by hand.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The groups that it is directly in, oldest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<Page<Group>>> {
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = match page::counted(ctx) {
            true => loaders::one(ctx, GroupCountOf(self.0.id)).await?.unwrap_or_default(),
            false => 0,
        };
        let Some(rows) = loaders::one(ctx, GroupsOf(self.0.id, keyset)).await? else { return Ok(Some(Page::empty())) };
        Ok(Some(Page::new(rows.map(Into::into), |row: &Group| row.0.id, total)))
    }

    /// The roles that it holds now, or held at an instant, one entry a role, each with all it comes through.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "As it was at this instant; left out = now.")] as_of: Option<DateTime<Utc>>,
    ) -> async_graphql::Result<Option<Vec<EffectiveRole>>> {
        Ok(Some(access::roles_of(ctx, self.0.id, as_of).await?))
    }

    /// The one role that counts where an application wants one only: that of the lowest priority number among those
    /// that it holds.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn primary_role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EffectiveRole>> {
        Ok(access::primary(access::roles_of(ctx, self.0.id, None).await?))
    }

    /// Why it holds a role, or what is missing.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn explain(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the role.")] role_id: ID,
    ) -> async_graphql::Result<Option<AccessExplanation>> {
        Box::pin(access::explain(ctx, self.0.id, &role_id)).await
    }

    /// When it was made.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its attributes last changed.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// Counts its changes, from 1.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// An e-mail address.
#[derive(SimpleObject)]
pub struct Email {
    /// The address.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    value: String,
    /// What it is for, for example `work`.
    #[graphql(name = "type", directive = requires::apply(Some(Permission::UserRead)))]
    ty: Option<String>,
    /// Whether it is the preferred one.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    primary: bool,
}

/// Which accounts are wanted: those that match all that is given.
#[derive(InputObject, Default)]
pub struct UserFilter {
    /// The user name, in any case.
    user_name: Option<String>,
    /// What the user name begins with, in any case.
    user_name_starts_with: Option<String>,
    /// One of the e-mail addresses, in any case.
    email: Option<String>,
    /// What the display name contains, in any case.
    display_name_contains: Option<String>,
    /// Whether the account may be used.
    active: Option<bool>,
    /// Owned by the connection with this global id; needs IAM_READ, as the connection itself does.
    connection_id: Option<ID>,
    /// Written over SCIM (true) or made by hand (false).
    provisioned: Option<bool>,
}

impl UserFilter {
    /// Those with this user name.
    pub fn named(user_name: String) -> Self {
        Self { user_name: Some(user_name), ..Self::default() }
    }

    /// Refuses a filter on what the caller may not read of an account.
    ///
    /// # Errors
    /// [`Error::Forbidden`]
    pub fn check(&self, cx: &Cx) -> Result<()> {
        match self.connection_id {
            Some(_) => cx.allow(Action::ReadIam, None),
            None => Ok(()),
        }
    }

    /// The filter in the domain's words; none if nothing can match it.
    pub fn compile(self) -> Option<(Option<Filter>, Owners)> {
        let owners = match (self.connection_id, self.provisioned) {
            (Some(_), Some(false)) => return None,
            (Some(id), _) => Owners::Connection(page::id_of(Kind::IdentitySource, &id)?),
            (None, Some(true)) => Owners::Connections,
            (None, Some(false)) => Owners::Nobody,
            (None, None) => Owners::Anybody,
        };
        let texts = [
            ("userName", None, Op::Eq, self.user_name),
            ("userName", None, Op::Sw, self.user_name_starts_with),
            ("emails", Some("value"), Op::Eq, self.email),
            ("displayName", None, Op::Co, self.display_name_contains),
        ];
        let texts =
            texts.into_iter().filter_map(|(name, sub, op, text)| Some(compare(name, sub, op, Literal::String(text?))));
        let active = self.active.map(|active| compare("active", None, Op::Eq, Literal::Bool(active)));
        Some((all(texts.chain(active).collect()), owners))
    }
}

/// One comparison of the domain's filters.
pub fn compare(name: &str, sub: Option<&str>, op: Op, literal: Literal) -> Filter {
    Filter::Compare(AttrPath { schema: None, name: name.into(), sub: sub.map(Into::into) }, op, literal)
}

/// Everything that matches all of these.
pub fn all(filters: Vec<Filter>) -> Option<Filter> {
    (!filters.is_empty()).then_some(Filter::And(filters))
}

/// An e-mail address to be set.
#[derive(InputObject)]
pub struct EmailInput {
    /// The address.
    value: String,
    /// What it is for, for example `work`.
    #[graphql(name = "type")]
    ty: Option<String>,
    /// Whether it is the preferred one; at most one is.
    #[graphql(default)]
    primary: bool,
}

/// An account to be made by hand.
#[derive(InputObject)]
pub struct UserCreateInput {
    /// The name to sign in with; unique in the organization, in any case.
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
    /// Whether it may be used at once.
    #[graphql(default = true)]
    active: bool,
}

/// What to change about an account. What is left out stays as it is; null takes the value away.
#[derive(InputObject)]
pub struct UserUpdateInput {
    /// The account's global id.
    id: ID,
    /// Refuse unless the account's `version` is still this.
    expected_version: Option<i32>,
    /// The name to sign in with; unique in the organization, in any case.
    user_name: Option<String>,
    /// The name for people to read.
    display_name: MaybeUndefined<String>,
    /// An id that another system gave it.
    external_id: MaybeUndefined<String>,
    /// The given name.
    given_name: MaybeUndefined<String>,
    /// The family name.
    family_name: MaybeUndefined<String>,
    /// All e-mail addresses; these take the place of what was there.
    emails: MaybeUndefined<Vec<EmailInput>>,
    /// The job title.
    title: MaybeUndefined<String>,
    /// The department.
    department: MaybeUndefined<String>,
    /// The employee number.
    employee_number: MaybeUndefined<String>,
}

/// Which account to suspend.
#[derive(InputObject)]
pub struct UserSuspendInput {
    /// The account's global id.
    id: ID,
}

/// Which account to reactivate.
#[derive(InputObject)]
pub struct UserReactivateInput {
    /// The account's global id.
    id: ID,
}

/// Which account to protect.
#[derive(InputObject)]
pub struct UserProtectInput {
    /// The account's global id.
    id: ID,
}

/// Which account to unprotect.
#[derive(InputObject)]
pub struct UserUnprotectInput {
    /// The account's global id.
    id: ID,
}

/// Which account to delete.
#[derive(InputObject)]
pub struct UserDeleteInput {
    /// The account's global id.
    id: ID,
}

/// What became of a change of an account.
#[derive(SimpleObject)]
pub struct UserPayload {
    /// The account after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    pub user: Option<User>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    pub user_errors: Vec<UserError>,
}

/// What became of a deletion.
#[derive(SimpleObject)]
pub struct UserDeletePayload {
    /// The global id that the account had; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    deleted_user_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<user::User>) -> Result<Option<UserPayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(UserPayload { user: done.map(Into::into), user_errors }))
}

fn addresses(emails: &[EmailInput]) -> Value {
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

/// Sets or takes away the value at a place of a document; a null is taken as "unassigned" by the domain.
fn put(document: &mut Map<String, Value>, outer: &str, inner: Option<&str>, value: Value) {
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
    /// The account's attributes as they shall be.
    fn apply(&self, user: &user::User, known: &Map<String, Value>) -> Result<Option<Map<String, Value>>> {
        if self.expected_version.is_some_and(|expected| i64::from(expected) != user.version) {
            return Err(Error::Stale { version: user.version });
        }
        let mut document = known.clone();
        if let Some(name) = &self.user_name {
            put(&mut document, "userName", None, json!(name));
        }
        let texts = [
            ("displayName", None, &self.display_name),
            ("externalId", None, &self.external_id),
            ("name", Some("givenName"), &self.given_name),
            ("name", Some("familyName"), &self.family_name),
            ("title", None, &self.title),
            (ENTERPRISE, Some("department"), &self.department),
            (ENTERPRISE, Some("employeeNumber"), &self.employee_number),
        ];
        for (outer, inner, value) in texts {
            if let Some(value) = value.as_opt_ref() {
                put(&mut document, outer, inner, json!(value));
            }
        }
        if let Some(emails) = self.emails.as_opt_ref() {
            put(&mut document, "emails", None, emails.map_or(Value::Null, |emails| addresses(emails)));
        }
        Ok(Some(document))
    }
}

/// The account's attributes, active or not.
fn activated(known: &Map<String, Value>, active: bool) -> Result<Option<Map<String, Value>>> {
    let mut document = known.clone();
    put(&mut document, "active", None, json!(active));
    Ok(Some(document))
}

#[derive(Default)]
pub struct UserMutation;

#[Object]
impl UserMutation {
    /// Makes an account by hand; no connection owns it.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn user_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account to make.")] input: UserCreateInput,
    ) -> Result<Option<UserPayload>> {
        let document = json!({
            "userName": input.user_name, "displayName": input.display_name, "externalId": input.external_id,
            "name": { "givenName": input.given_name, "familyName": input.family_name },
            "emails": addresses(&input.emails), "title": input.title, "active": input.active,
            ENTERPRISE: { "department": input.department, "employeeNumber": input.employee_number },
        });
        let Value::Object(document) = document else { return Ok(None) };
        payload(user::create(page::cx(ctx)?, document).await)
    }

    /// Changes an account's attributes.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn user_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: UserUpdateInput,
    ) -> Result<Option<UserPayload>> {
        let cx = page::cx(ctx)?;
        let edit = |user: &user::User, known: &Map<String, Value>| input.apply(user, known);
        payload(async { user::change(cx, page::id(Kind::User, &input.id, "the user")?, edit).await }.await)
    }

    /// Suspends an account: from this instant on it holds no roles. What it is in stays for its return.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn user_suspend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserSuspendInput,
    ) -> Result<Option<UserPayload>> {
        let cx = page::cx(ctx)?;
        let edit = |_: &user::User, known: &Map<String, Value>| activated(known, false);
        payload(async { user::change(cx, page::id(Kind::User, &input.id, "the user")?, edit).await }.await)
    }

    /// Reactivates a suspended account, with all that it is in.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn user_reactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserReactivateInput,
    ) -> Result<Option<UserPayload>> {
        let cx = page::cx(ctx)?;
        let edit = |_: &user::User, known: &Map<String, Value>| activated(known, true);
        payload(async { user::change(cx, page::id(Kind::User, &input.id, "the user")?, edit).await }.await)
    }

    /// Makes an account a break-glass account: no identity provider can suspend it, delete it or take it out of
    /// its groups.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn user_protect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserProtectInput,
    ) -> Result<Option<UserPayload>> {
        let cx = page::cx(ctx)?;
        payload(async { protection::set(cx, page::id(Kind::User, &input.id, "the user")?, true).await }.await)
    }

    /// Makes a break-glass account an ordinary one again.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn user_unprotect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserUnprotectInput,
    ) -> Result<Option<UserPayload>> {
        let cx = page::cx(ctx)?;
        payload(async { protection::set(cx, page::id(Kind::User, &input.id, "the user")?, false).await }.await)
    }

    /// Deletes an account: it is gone from every list, and everything that it held has ended.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn user_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserDeleteInput,
    ) -> Result<Option<UserDeletePayload>> {
        let cx = page::cx(ctx)?;
        let done = async { user::delete(cx, page::id(Kind::User, &input.id, "the user")?, |_| Ok(())).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(UserDeletePayload { deleted_user_id: done.map(|()| input.id), user_errors }))
    }
}
