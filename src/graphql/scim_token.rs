//! SCIM tokens: issued, rotated, revoked. The secret is shown once.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Duration, Utc};

use super::auth::{Permission, requires};
use super::page::{self, Blame, Kind, UserError};
use crate::authz;
use crate::domain::token;
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the connection", "connectionId"), ("the token", "id")];

/// What a SCIM token may be confined to.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "authz::Scope")]
pub enum ScimScope {
    /// Read users.
    UsersRead,
    /// Create, change and delete users.
    UsersWrite,
    /// Read groups and who is in them.
    GroupsRead,
    /// Create, change and delete groups and who is in them.
    GroupsWrite,
}

/// A token as the schema shows it.
pub struct ScimToken(pub token::Token);

impl From<token::Token> for ScimToken {
    fn from(row: token::Token) -> Self {
        Self(row)
    }
}

/// What an identity provider opens SCIM with. The secret itself cannot be read again.
#[Object]
impl ScimToken {
    /// The token's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::ScimToken, self.0.id)
    }

    /// The last four characters of the secret, to tell one from another.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_four(&self) -> &str {
        &self.0.last_four
    }

    /// What it may be used for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn scopes(&self) -> Vec<ScimScope> {
        token::scopes(&self.0.scopes).into_iter().map(Into::into).collect()
    }

    /// Whether it opens SCIM now.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn live(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(token::is_live(&self.0, page::cx(ctx)?.app.clock.now()))
    }

    /// When it was issued.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it ends by plan; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// When it ends, or ended, because it was rotated; null if it was not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn retires_at(&self) -> Option<DateTime<Utc>> {
        self.0.retires_at
    }

    /// When it was revoked; null if it was not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }

    /// When it was last used; a few seconds late. Null while it never was.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_used_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_used_at
    }

    /// The address that it was last used from.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_used_from(&self) -> Option<&str> {
        self.0.last_used_from.as_deref()
    }
}

/// A token to be issued.
#[derive(InputObject)]
pub struct ScimTokenIssueInput {
    /// The global id of the connection that it opens.
    connection_id: ID,
    /// What it may be used for; left out = everything that a connection may do.
    scopes: Option<Vec<ScimScope>>,
    /// When it ends by plan; left out = never.
    expires_at: Option<DateTime<Utc>>,
}

/// A token to take the place of a connection's live ones.
#[derive(InputObject)]
pub struct ScimTokenRotateInput {
    /// The global id of the connection.
    connection_id: ID,
    /// How many seconds the old tokens go on beside the new one, at most 2592000 (30 days); 0 = none.
    #[graphql(default)]
    overlap_seconds: i32,
    /// When the new token ends by plan; left out = never.
    expires_at: Option<DateTime<Utc>>,
}

/// Which token to revoke.
#[derive(InputObject)]
pub struct ScimTokenRevokeInput {
    /// The token's global id.
    id: ID,
}

/// A new token.
#[derive(SimpleObject)]
pub struct ScimTokenIssuePayload {
    /// The new token; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    scim_token: Option<ScimToken>,
    /// The secret to give to the identity provider. It is shown this once and never again.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of a change of a token.
#[derive(SimpleObject)]
pub struct ScimTokenPayload {
    /// The token after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    scim_token: Option<ScimToken>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn issued(done: Result<token::Issued>) -> Result<Option<ScimTokenIssuePayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    let (scim_token, secret) = done.map(|issued| (issued.token.into(), issued.secret)).unzip();
    Ok(Some(ScimTokenIssuePayload { scim_token, secret, user_errors }))
}

#[derive(Default)]
pub struct TokenMutation;

#[Object]
impl TokenMutation {
    /// Issues a further token for a connection.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn scim_token_issue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The token to issue.")] input: ScimTokenIssueInput,
    ) -> Result<Option<ScimTokenIssuePayload>> {
        let cx = page::cx(ctx)?;
        let scopes = input.scopes.map(|scopes| scopes.into_iter().map(Into::into).collect());
        let done = async {
            let id = page::id(Kind::IdentitySource, &input.connection_id, "the connection")?;
            token::issue(cx, id, scopes, input.expires_at).await
        };
        issued(done.await)
    }

    /// Puts a new token in the place of every live one of a connection. Without an overlap the old ones are dead
    /// when this answers.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn scim_token_rotate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose tokens to rotate, and how.")] input: ScimTokenRotateInput,
    ) -> Result<Option<ScimTokenIssuePayload>> {
        let cx = page::cx(ctx)?;
        let overlap = Duration::seconds(input.overlap_seconds.into());
        let done = async {
            let id = page::id(Kind::IdentitySource, &input.connection_id, "the connection")?;
            token::rotate(cx, id, Some(overlap), input.expires_at).await
        };
        issued(done.await)
    }

    /// Kills a token from this instant on.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn scim_token_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which token.")] input: ScimTokenRevokeInput,
    ) -> Result<Option<ScimTokenPayload>> {
        let cx = page::cx(ctx)?;
        let done = async { token::revoke(cx, page::id(Kind::ScimToken, &input.id, "the token")?).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(ScimTokenPayload { scim_token: done.map(Into::into), user_errors }))
    }
}
