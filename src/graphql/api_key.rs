//! API keys: the credentials of scripts and applications for this API. The secret is shown once.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::api_key as stored;
use uuid::Uuid;

use super::loaders::{self, UserId};
use super::permission::{Permission, find_platform_admin, name_platform_admin, needs};
use super::user::UserObject;
use crate::domain::access::api_key;
use crate::domain::access::api_key::{KeyEdit, KeyOwner};
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap =
    FieldMap { nouns: &[(Noun::ApiKey, "id"), (Noun::Owner, "ownerUserId")], fields: &[] };

/// What an API key is for.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::KeyPurpose")]
pub enum ApiKeyPurpose {
    /// A script, an application, or a person who keeps the key.
    Api,
    /// One session of the console, which a link of the command line began.
    ConsoleSession,
}

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

    /// What the key is for.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn purpose(&self) -> ApiKeyPurpose {
        self.0.purpose.into()
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

    /// The account that owns the key; null if no account owns it, or if it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn owner(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        let Some(id) = self.0.owner_user_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, UserId(id)).await?.map(Into::into))
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

/// The changes of an API key. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct ApiKeyUpdateInput {
    /// The key's global id.
    id: ID,
    /// The name for people to read. Cannot be null.
    name: MaybeUndefined<String>,
    /// When the key expires: at the latest after the longest lifetime that this server allows,
    /// counted from when the key was issued. A later end needs all permissions of the key. Cannot
    /// be null.
    expires_at: MaybeUndefined<DateTime<Utc>>,
    /// The global id of the account that will own the key. The key ends when that account is
    /// suspended or deleted. Give it or `ownerSubject`; cannot be null.
    owner_user_id: MaybeUndefined<ID>,
    /// The subject of the person who will own the key, as in that person's tokens. Cannot be null.
    owner_subject: MaybeUndefined<String>,
}

/// The API key to revoke.
#[derive(InputObject)]
pub struct ApiKeyRevokeInput {
    /// The key's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
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

mutation_payloads! {
    api_key_payloads;
    /// The key after the change; null if there were mistakes.
    api_key: ApiKeyObject;
    /// The result of `apiKeyUpdate`.
    ApiKeyUpdatePayload,
    /// The result of `apiKeyRevoke`.
    ApiKeyRevokePayload,
}

impl ApiKeyUpdateInput {
    /// The UUID of the key, and its edit as the domain takes it.
    fn into_edit(self) -> Result<(Uuid, KeyEdit)> {
        let mut mistakes = Mistakes::default();
        let id = relay::parse_input_id(NodeKind::ApiKey, &self.id, Noun::ApiKey);
        let name = mistakes.collect(relay::refuse_null("name", self.name)).flatten();
        let end = mistakes.collect(relay::refuse_null("expiresAt", self.expires_at)).flatten();
        let user =
            mistakes.collect(relay::refuse_null("ownerUserId", self.owner_user_id)).flatten();
        let subject =
            mistakes.collect(relay::refuse_null("ownerSubject", self.owner_subject)).flatten();
        let owner = mistakes.collect(parse_owner(user.as_ref(), subject)).flatten();
        mistakes.refuse_with(id)?;
        let id = relay::parse_possible_id(NodeKind::ApiKey, &self.id);
        Ok((id, KeyEdit { name, expires_at: end, owner }))
    }
}

/// The owner that an input names.
fn parse_owner(user: Option<&ID>, subject: Option<String>) -> Result<Option<KeyOwner>> {
    match (user, subject) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("ownerSubject", "cannot be given together with ownerUserId"))
        }
        (Some(id), None) => {
            Ok(Some(KeyOwner::Account(relay::parse_possible_id(NodeKind::User, id))))
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
        let place = find_platform_admin(&input.permissions);
        let permissions = input.permissions.into_iter().map(Into::into).collect();
        let cx = relay::cx(ctx)?;
        let done = async {
            let (name, end) = (&input.name, input.expires_at);
            let owner = match parse_owner(input.owner_user_id.as_ref(), input.owner_subject) {
                Ok(owner) => owner,
                error => mistakes::both(error, api_key::check_texts(cx, name, end))?.0,
            };
            api_key::issue_to(cx, name, permissions, end, owner).await
        };
        let done = name_platform_admin(done.await, "permissions", place);
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        let (api_key, secret) = done.map(|issued| (issued.key.into(), issued.secret)).unzip();
        Ok(Some(ApiKeyIssuePayload { api_key, secret, user_errors }))
    }

    /// Changes the name, the end or the owner of a live key. Its secret stays the same.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn api_key_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: ApiKeyUpdateInput,
    ) -> Result<Option<ApiKeyUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let (id, edit) = input.into_edit()?;
            api_key::update_key(cx, id, edit).await
        };
        ApiKeyUpdatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Revokes a key: it is refused from this instant on.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn api_key_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which key.")] input: ApiKeyRevokeInput,
    ) -> Result<Option<ApiKeyRevokePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::ApiKey, &input.id, Noun::ApiKey),
            )?;
            api_key::revoke_key(&cx, id).await
        };
        ApiKeyRevokePayload::from_result(done.await, FIELD_MAP)
    }
}
