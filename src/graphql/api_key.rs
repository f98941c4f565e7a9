//! API keys: what scripts and applications open this API with. The secret is shown once.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::page::{self, Blame, Kind, UserError};
use crate::domain::key::{self, Owner};
use crate::error::{Error, Result};

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the API key", "id"), ("the owner", "ownerUserId")];

/// A key as the schema shows it.
pub struct ApiKey(pub key::ApiKey);

impl From<key::ApiKey> for ApiKey {
    fn from(row: key::ApiKey) -> Self {
        Self(row)
    }
}

/// What a script or an application opens this API with. The secret itself cannot be read again.
#[Object]
impl ApiKey {
    /// The key's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::ApiKey, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The last four characters of the secret, to tell one from another.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn last_four(&self) -> &str {
        &self.0.last_four
    }

    /// What it allows.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn permissions(&self) -> Vec<Permission> {
        key::permissions(&self.0).into_iter().map(Into::into).collect()
    }

    /// Whether it opens this API now.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn live(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(key::is_live(&self.0, page::cx(ctx)?.app.clock.now()))
    }

    /// When it was issued.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it ends by plan.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// The global id of the account that answers for it and that it ends with; null if that is none.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn owner_user_id(&self) -> Option<ID> {
        self.0.owner_user_id.map(|id| page::global(Kind::User, id))
    }

    /// The subject of the person who answers for it, as that person's tokens name it; null if that is nobody.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn owner_subject(&self) -> Option<&str> {
        self.0.owner_subject.as_deref()
    }

    /// When it was revoked, or ended with its owner; null if it was not.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }

    /// When it was last used; a few seconds late. Null while it never was.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn last_used_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_used_at
    }
}

/// A key to be issued.
#[derive(InputObject)]
pub struct ApiKeyIssueInput {
    /// The name for people to read.
    name: String,
    /// What it allows; nobody can give what they do not hold.
    permissions: Vec<Permission>,
    /// When it ends by plan; left out = as late as a key may end here, a year from now unless the server says otherwise.
    expires_at: Option<DateTime<Utc>>,
    /// The global id of the account that answers for it. The key ends when that account is suspended or deleted.
    owner_user_id: Option<ID>,
    /// The subject of the person who answers for it. Left out, as the account is: whoever issues it.
    owner_subject: Option<String>,
}

/// Who shall answer for a key: exactly one of an account and a person.
#[derive(InputObject)]
pub struct ApiKeyAssignInput {
    /// The key's global id.
    id: ID,
    /// The global id of the account. The key ends when that account is suspended or deleted.
    owner_user_id: Option<ID>,
    /// The subject of the person, as that person's tokens name it.
    owner_subject: Option<String>,
}

/// Which key to revoke.
#[derive(InputObject)]
pub struct ApiKeyRevokeInput {
    /// The key's global id.
    id: ID,
}

/// A new key.
#[derive(SimpleObject)]
pub struct ApiKeyIssuePayload {
    /// The new key; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    api_key: Option<ApiKey>,
    /// The secret to give to the script. It is shown this once and never again.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of a change of a key.
#[derive(SimpleObject)]
pub struct ApiKeyPayload {
    /// The key after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    api_key: Option<ApiKey>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// The owner that an input names.
fn owner(user: Option<&ID>, subject: Option<String>) -> Result<Option<Owner>> {
    match (user, subject) {
        (Some(_), Some(_)) => Err(Error::invalid("ownerSubject", "cannot be given together with ownerUserId")),
        (Some(id), None) => Ok(Some(Owner::Account(page::id(Kind::User, id, "the owner")?))),
        (None, Some(subject)) => Ok(Some(Owner::Subject(subject))),
        (None, None) => Ok(None),
    }
}

#[derive(Default)]
pub struct ApiKeyMutation;

#[Object]
impl ApiKeyMutation {
    /// Issues a key with chosen permissions.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn api_key_issue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key to issue.")] input: ApiKeyIssueInput,
    ) -> Result<Option<ApiKeyIssuePayload>> {
        let permissions = input.permissions.into_iter().map(Into::into).collect();
        let cx = page::cx(ctx)?;
        let done = async {
            let owner = owner(input.owner_user_id.as_ref(), input.owner_subject)?;
            key::issue_to(cx, &input.name, permissions, input.expires_at, owner).await
        };
        let done = done.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        let (api_key, secret) = done.map(|issued| (issued.key.into(), issued.secret)).unzip();
        Ok(Some(ApiKeyIssuePayload { api_key, secret, user_errors }))
    }

    /// Says who answers for a live key. It ends with that account from now on.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn api_key_assign(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which key, and its owner.")] input: ApiKeyAssignInput,
    ) -> Result<Option<ApiKeyPayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let id = page::id(Kind::ApiKey, &input.id, "the API key")?;
            let owner = owner(input.owner_user_id.as_ref(), input.owner_subject)?;
            let owner = owner.ok_or_else(|| Error::invalid("ownerUserId", "name the account or the subject"))?;
            key::assign(cx, id, owner).await
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(ApiKeyPayload { api_key: done.map(Into::into), user_errors }))
    }

    /// Kills a key from this instant on.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn api_key_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which key.")] input: ApiKeyRevokeInput,
    ) -> Result<Option<ApiKeyPayload>> {
        let cx = page::cx(ctx)?;
        let done = async { key::revoke(cx, page::id(Kind::ApiKey, &input.id, "the API key")?).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(ApiKeyPayload { api_key: done.map(Into::into), user_errors }))
    }
}
