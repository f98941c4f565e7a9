//! SCIM tokens: issued, rotated, revoked. The secret is shown once.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Duration, Utc};

use super::permission::{Permission, needs};
use crate::auth::policy;
use crate::domain::connection::scim_token;
use crate::error::{Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap =
    FieldMap { nouns: &[(Noun::Connection, "connectionId"), (Noun::Token, "id")], fields: &[] };

/// A scope of a SCIM token.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "policy::Scope")]
pub enum ScimScope {
    /// Read users.
    UsersRead,
    /// Create, change and delete users.
    UsersWrite,
    /// Read groups and their members.
    GroupsRead,
    /// Create, change and delete groups and their members.
    GroupsWrite,
}

/// A SCIM token as the schema shows it.
pub struct ScimToken(pub scim_token::Token);

impl From<scim_token::Token> for ScimToken {
    fn from(row: scim_token::Token) -> Self {
        Self(row)
    }
}

/// A SCIM token: the credential of an identity provider for one connection. Its secret cannot be
/// read again.
#[Object]
impl ScimToken {
    /// The token's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::ScimToken, self.0.id)
    }

    /// The last four characters of the secret, to tell tokens apart.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_four(&self) -> &str {
        &self.0.last_four
    }

    /// The scopes of the token.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scopes(&self) -> Vec<ScimScope> {
        scim_token::parse_scopes(&self.0.scopes).into_iter().map(Into::into).collect()
    }

    /// Whether the token can be used now: it has not expired, retired or been revoked.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn live(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(scim_token::is_live(&self.0, relay::cx(ctx)?.app.clock.now()))
    }

    /// When it was issued.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// The name of the actor that issued it; of a token that a setup link issued, the maker of the
    /// link. Null for a token that was issued before this was kept.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn issued_by(&self) -> Option<&str> {
        self.0.issued_by.as_deref()
    }

    /// The global id of the setup link whose first opening issued it; null if an administrator
    /// issued it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn setup_link_id(&self) -> Option<ID> {
        self.0.setup_link_id.map(|id| relay::global_id(NodeKind::SetupLink, id))
    }

    /// When the token expires; null = never.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// When it ends, or ended, because of a rotation; null if it was not rotated.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn retires_at(&self) -> Option<DateTime<Utc>> {
        self.0.retires_at
    }

    /// When it was revoked; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }

    /// When it was last used, a few seconds late. Null if it never was.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_used_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_used_at
    }

    /// The IP address that it was last used from; null if it never was used.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_used_from(&self) -> Option<&str> {
        self.0.last_used_from.as_deref()
    }
}

/// Selects SCIM tokens: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct ScimTokenFilter {
    /// Tokens that can be used now (true), or that have expired, retired or been revoked (false).
    live: Option<bool>,
    /// Tokens with all of these scopes.
    scopes: Option<Vec<ScimScope>>,
    /// Tokens that expire before this instant.
    expires_before: Option<DateTime<Utc>>,
    /// Tokens that were last used at this instant or later.
    used_since: Option<DateTime<Utc>>,
}

impl ScimTokenFilter {
    /// The filter as the domain takes it.
    pub fn into_domain_query(self) -> scim_token::TokenQuery {
        scim_token::TokenQuery {
            live: self.live,
            scopes: self.scopes.unwrap_or_default().into_iter().map(Into::into).collect(),
            expires_before: self.expires_before,
            used_since: self.used_since,
        }
    }
}

/// The SCIM token to issue.
#[derive(InputObject)]
pub struct ScimTokenIssueInput {
    /// The global id of the connection that the token is for.
    connection_id: ID,
    /// The scopes of the token; left out = all.
    scopes: Option<Vec<ScimScope>>,
    /// When the token expires; left out = never.
    expires_at: Option<DateTime<Utc>>,
}

/// The connection whose live tokens a new one replaces.
#[derive(InputObject)]
pub struct ScimTokenRotateInput {
    /// The global id of the connection.
    connection_id: ID,
    /// For how many seconds the old tokens stay valid beside the new one, at most 2592000 (30
    /// days); 0 = they end at once.
    #[graphql(default)]
    overlap_seconds: i32,
    /// When the new token expires; left out = never.
    expires_at: Option<DateTime<Utc>>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The SCIM token to revoke.
#[derive(InputObject)]
pub struct ScimTokenRevokeInput {
    /// The token's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The result of `scimTokenIssue`.
#[derive(SimpleObject)]
pub struct ScimTokenIssuePayload {
    /// The new token; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    scim_token: Option<ScimToken>,
    /// The secret to enter in the identity provider, which is shown only in this response; null if
    /// there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `scimTokenRotate`.
#[derive(SimpleObject)]
pub struct ScimTokenRotatePayload {
    /// The new token; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    scim_token: Option<ScimToken>,
    /// The secret to enter in the identity provider, which is shown only in this response; null if
    /// there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    secret: Option<String>,
    /// The tokens that the new one replaces, newest first; `retiresAt` says when each of them ends.
    /// Null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    retired_tokens: Option<Vec<ScimToken>>,
    /// What must be done now, in words for people: the identity provider must be given the new
    /// token, and until when the old one works. Null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    warning: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

mutation_payloads! {
    scim_token_payloads;
    /// The token after the change; null if there were mistakes.
    scim_token: ScimToken;
    /// The result of `scimTokenRevoke`.
    ScimTokenRevokePayload,
}

fn build_issue_payload(
    done: Result<scim_token::IssuedScimToken>,
) -> Result<Option<ScimTokenIssuePayload>> {
    let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
    let (scim_token, secret) = done.map(|issued| (issued.token.into(), issued.secret)).unzip();
    Ok(Some(ScimTokenIssuePayload { scim_token, secret, user_errors }))
}

fn build_rotate_payload(
    done: Result<scim_token::TokenRotation>,
) -> Result<Option<ScimTokenRotatePayload>> {
    let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
    let warning = done.as_ref().map(describe_rotation);
    let (issued, retired) = done.map(|done| (done.issued, done.retired)).unzip();
    let (scim_token, secret) = issued.map(|issued| (issued.token.into(), issued.secret)).unzip();
    let retired_tokens =
        retired.map(|retired: Vec<_>| retired.into_iter().map(Into::into).collect());
    Ok(Some(ScimTokenRotatePayload { scim_token, secret, retired_tokens, warning, user_errors }))
}

/// Tells an administrator to enter the new token, and by when.
fn describe_rotation(rotation: &scim_token::TokenRotation) -> String {
    let enter = "Enter the new token in the identity provider";
    match (rotation.retired.len(), rotation.old_work_until) {
        (0, _) => format!("{enter}; the connection had no other token."),
        (_, None) => {
            format!("{enter} now: the old tokens are refused already, and so is all that it sends.")
        }
        (_, Some(end)) => format!(
            "{enter} before {}: until then the old tokens work too, and from then on they are \
             refused.",
            end.format("%Y-%m-%d %H:%M:%S UTC")
        ),
    }
}

#[derive(Default)]
pub struct TokenMutation;

#[Object]
impl TokenMutation {
    /// Issues a further token for a connection.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn scim_token_issue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The token to issue.")] input: ScimTokenIssueInput,
    ) -> Result<Option<ScimTokenIssuePayload>> {
        let cx = relay::cx(ctx)?;
        let scopes = input.scopes.map(|scopes| scopes.into_iter().map(Into::into).collect());
        let done = async {
            let id = relay::parse_possible_id(NodeKind::IdentitySource, &input.connection_id);
            scim_token::issue_token(cx, id, scopes, input.expires_at).await
        };
        build_issue_payload(done.await)
    }

    /// Replaces all live tokens of a connection by a new one. Without an overlap the old ones are
    /// refused from the response on.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn scim_token_rotate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose tokens to rotate, and how.")] input: ScimTokenRotateInput,
    ) -> Result<Option<ScimTokenRotatePayload>> {
        let overlap = Duration::seconds(input.overlap_seconds.into());
        let id =
            relay::parse_input_id(NodeKind::IdentitySource, &input.connection_id, Noun::Connection);
        let done = async {
            let (cx, id) = mistakes::both(relay::cx_with_reason(ctx, input.reason.as_deref()), id)?;
            scim_token::rotate_tokens(&cx, id, Some(overlap), input.expires_at).await
        };
        build_rotate_payload(done.await)
    }

    /// Revokes a token: it is refused from this instant on.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn scim_token_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which token.")] input: ScimTokenRevokeInput,
    ) -> Result<Option<ScimTokenRevokePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::ScimToken, &input.id, Noun::Token),
            )?;
            scim_token::revoke_token(&cx, id).await
        };
        ScimTokenRevokePayload::from_result(done.await, FIELD_MAP)
    }
}
