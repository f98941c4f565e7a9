//! API keys: the credentials of scripts and applications for this API. The secret is shown once.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::permission::{Permission, needs};
use crate::domain::access::api_key;
use crate::domain::access::api_key::KeyOwner;
use crate::error::{Error, Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap =
    FieldMap { nouns: &[(Noun::ApiKey, "id"), (Noun::Owner, "ownerUserId")], fields: &[] };

/// An API key as the schema shows it.
pub struct ApiKeyObject(pub api_key::ApiKey);

impl From<api_key::ApiKey> for ApiKeyObject {
    fn from(row: api_key::ApiKey) -> Self {
        Self(row)
    }
}

/// An API key: the credential of a script or an application for this API. Its secret cannot be read
/// again.
#[Object(name = "ApiKey")]
impl ApiKeyObject {
    /// The key's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::ApiKey, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The last four characters of the secret, to tell keys apart.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn last_four(&self) -> &str {
        &self.0.last_four
    }

    /// The permissions that the key gives.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn permissions(&self) -> Vec<Permission> {
        api_key::key_permissions(&self.0).into_iter().map(Into::into).collect()
    }

    /// Whether the key can be used now: it has neither expired nor been revoked.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn live(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(api_key::is_live(&self.0, relay::cx(ctx)?.app.clock.now()))
    }

    /// When it was issued.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When the key expires; null = never.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// The global id of the account that owns the key. The key ends when that account is suspended
    /// or deleted. Null if no account owns it.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn owner_user_id(&self) -> Option<ID> {
        self.0.owner_user_id.map(|id| relay::global_id(NodeKind::User, id))
    }

    /// The subject of the person who owns the key, as in that person's tokens; null if no person
    /// owns it.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn owner_subject(&self) -> Option<&str> {
        self.0.owner_subject.as_deref()
    }

    /// When it was revoked, or ended because its owner was suspended or deleted; null if neither
    /// happened.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }

    /// When it was last used, a few seconds late. Null if it never was.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn last_used_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_used_at
    }
}

/// The API key to issue.
#[derive(InputObject)]
pub struct ApiKeyIssueInput {
    /// The name for people to read.
    name: String,
    /// The permissions that the key gives. The caller must hold all of them.
    permissions: Vec<Permission>,
    /// When the key expires; left out = after the longest lifetime that this server allows, by
    /// default a year.
    expires_at: Option<DateTime<Utc>>,
    /// The global id of the account that will own the key. The key ends when that account is
    /// suspended or deleted.
    owner_user_id: Option<ID>,
    /// The subject of the person who will own the key. If both this and the account are left out,
    /// the person who issues the key owns it; for a caller with a key, that key's owner.
    owner_subject: Option<String>,
}

/// The API key, and its new owner: exactly one of an account and a person.
#[derive(InputObject)]
pub struct ApiKeyAssignInput {
    /// The key's global id.
    id: ID,
    /// The global id of the account. The key ends when that account is suspended or deleted.
    owner_user_id: Option<ID>,
    /// The subject of the person, as in that person's tokens.
    owner_subject: Option<String>,
}

/// The API key to revoke.
#[derive(InputObject)]
pub struct ApiKeyRevokeInput {
    /// The key's global id.
    id: ID,
}

/// The result of `apiKeyIssue`.
#[derive(SimpleObject)]
pub struct ApiKeyIssuePayload {
    /// The new key; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    api_key: Option<ApiKeyObject>,
    /// The secret for the script or application, which is shown only in this response; null if
    /// there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `apiKeyAssign` and `apiKeyRevoke`.
#[derive(SimpleObject)]
pub struct ApiKeyPayload {
    /// The key after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    api_key: Option<ApiKeyObject>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The owner that an input names.
fn parse_owner(user: Option<&ID>, subject: Option<String>) -> Result<Option<KeyOwner>> {
    match (user, subject) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("ownerSubject", "cannot be given together with ownerUserId"))
        }
        (Some(id), None) => {
            Ok(Some(KeyOwner::Account(relay::parse_input_id(NodeKind::User, id, Noun::Owner)?)))
        }
        (None, Some(subject)) => Ok(Some(KeyOwner::Subject(subject))),
        (None, None) => Ok(None),
    }
}

#[derive(Default)]
pub struct ApiKeyMutation;

#[Object]
impl ApiKeyMutation {
    /// Issues a key with chosen permissions.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn api_key_issue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key to issue.")] input: ApiKeyIssueInput,
    ) -> Result<Option<ApiKeyIssuePayload>> {
        let permissions = input.permissions.into_iter().map(Into::into).collect();
        let cx = relay::cx(ctx)?;
        let done = async {
            let owner = parse_owner(input.owner_user_id.as_ref(), input.owner_subject)?;
            api_key::issue_to(cx, &input.name, permissions, input.expires_at, owner).await
        };
        let done = done.await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        let (api_key, secret) = done.map(|issued| (issued.key.into(), issued.secret)).unzip();
        Ok(Some(ApiKeyIssuePayload { api_key, secret, user_errors }))
    }

    /// Sets the owner of a live key. If the owner is an account, the key ends when that account is
    /// suspended or deleted.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn api_key_assign(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which key, and its owner.")] input: ApiKeyAssignInput,
    ) -> Result<Option<ApiKeyPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let id = relay::parse_input_id(NodeKind::ApiKey, &input.id, Noun::ApiKey)?;
            let owner = parse_owner(input.owner_user_id.as_ref(), input.owner_subject)?;
            let owner = owner
                .ok_or_else(|| Error::invalid("ownerUserId", "name the account or the subject"))?;
            api_key::assign_owner(cx, id, owner).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(ApiKeyPayload { api_key: done.map(Into::into), user_errors }))
    }

    /// Revokes a key: it is refused from this instant on.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn api_key_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which key.")] input: ApiKeyRevokeInput,
    ) -> Result<Option<ApiKeyPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            api_key::revoke_key(
                cx,
                relay::parse_input_id(NodeKind::ApiKey, &input.id, Noun::ApiKey)?,
            )
            .await
        }
        .await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        Ok(Some(ApiKeyPayload { api_key: done.map(Into::into), user_errors }))
    }
}
