//! API keys: what scripts and applications open this API with. The secret is shown once.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::page::{self, Blame, Kind, UserError};
use crate::domain::key;
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the API key", "id")];

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

    /// When it ends by plan; null = never.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// When it was revoked; null if it was not.
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
    /// When it ends by plan; left out = never.
    expires_at: Option<DateTime<Utc>>,
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
        let done = key::issue(page::cx(ctx)?, &input.name, permissions, input.expires_at).await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        let (api_key, secret) = done.map(|issued| (issued.key.into(), issued.secret)).unzip();
        Ok(Some(ApiKeyIssuePayload { api_key, secret, user_errors }))
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
