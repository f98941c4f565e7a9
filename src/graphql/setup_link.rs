//! Setup links: a page on which a customer's IT administrator, who has no account here, sets up the
//! identity provider of one connection.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::connection::IdentitySource;
use super::list_states::SetupLinkState;
use super::loaders::{self, ConnectionId, ScimTokenId};
use super::permission::{Permission, needs};
use super::scim_token::ScimToken;
use crate::domain::connection::setup_link;
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap =
    FieldMap { nouns: &[(Noun::SetupLink, "id"), (Noun::Connection, "connectionId")], fields: &[] };

/// A setup link as the schema shows it.
pub struct SetupLinkObject(pub setup_link::SetupLink);

impl From<setup_link::SetupLink> for SetupLinkObject {
    fn from(row: setup_link::SetupLink) -> Self {
        Self(row)
    }
}

/// A link to a page on which a customer's IT administrator, who has no account here, sets up the
/// identity provider of one connection. It opens nothing else.
#[Object(name = "SetupLink")]
impl SetupLinkObject {
    /// The link's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::SetupLink, self.0.id)
    }

    /// The connection that it sets up.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// Whether it can be opened.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self, ctx: &Context<'_>) -> Result<SetupLinkState> {
        let now = relay::cx(ctx)?.app.clock.now();
        Ok(setup_link::SetupLinkState::of(&self.0, now).into())
    }

    /// When it was made.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// The name of the actor that made it; null for a link that was made before this was kept.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_by(&self) -> Option<&str> {
        self.0.created_by.as_deref()
    }

    /// When it ends, unless it is revoked before.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.expires_at
    }

    /// When it was first opened; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn redeemed_at(&self) -> Option<DateTime<Utc>> {
        self.0.redeemed_at
    }

    /// When it was last opened; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_opened_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_opened_at
    }

    /// How often it was opened. Only the first opening shows the token.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn open_count(&self) -> i32 {
        self.0.open_count
    }

    /// The token that the first opening issued; null before it, and where rolecall reads a source.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scim_token(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimToken>> {
        let Some(id) = self.0.scim_token_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ScimTokenId(id)).await?.map(Into::into))
    }

    /// When it was revoked; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }
}

/// The setup link to make.
#[derive(InputObject)]
pub struct SetupLinkCreateInput {
    /// The global id of the connection that it sets up.
    connection_id: ID,
    /// When it ends, at most 30 days from now; left out = after seven days.
    expires_at: Option<DateTime<Utc>>,
    /// Why it is made; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The setup link to revoke.
#[derive(InputObject)]
pub struct SetupLinkRevokeInput {
    /// The link's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The result of `setupLinkCreate`.
#[derive(SimpleObject)]
pub struct SetupLinkCreatePayload {
    /// The new link; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    setup_link: Option<SetupLinkObject>,
    /// The address to give to the customer's IT administrator. It contains the secret of the link,
    /// so it is shown only in this response; null if there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

mutation_payloads! {
    setup_link_payloads;
    /// The link after the change; null if there were mistakes.
    setup_link: SetupLinkObject;
    /// The result of `setupLinkRevoke`.
    SetupLinkRevokePayload,
}

#[derive(Default)]
pub struct SetupLinkMutation;

#[Object]
impl SetupLinkMutation {
    /// Makes a link with which a customer's IT administrator sets up a connection. Its first
    /// opening issues a SCIM token with all scopes, so the caller needs IAM_WRITE too, and what
    /// issuing that token needs.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn setup_link_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The link to make.")] input: SetupLinkCreateInput,
    ) -> Result<Option<SetupLinkCreatePayload>> {
        let id =
            relay::parse_input_id(NodeKind::IdentitySource, &input.connection_id, Noun::Connection);
        let done = async {
            let mut mistakes = Mistakes::default();
            let cx = mistakes.collect(relay::cx_with_reason(ctx, input.reason.as_deref()));
            mistakes.refuse_with(id)?;
            let cx = cx.ok_or_else(|| Error::Internal("a reason was lost".into()))?;
            let id = relay::parse_possible_id(NodeKind::IdentitySource, &input.connection_id);
            let issued = setup_link::create_link(&cx, id, input.expires_at).await?;
            let url = issued.url(&cx.app);
            Ok((issued.link, url))
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let (setup_link, secret) = done.map(|(link, url)| (link.into(), url)).unzip();
        Ok(Some(SetupLinkCreatePayload { setup_link, secret, user_errors }))
    }

    /// Revokes a setup link: it cannot be opened from this instant on, and pages that it opened
    /// end. The token that it issued stays.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    async fn setup_link_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which link.")] input: SetupLinkRevokeInput,
    ) -> Result<Option<SetupLinkRevokePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::SetupLink, &input.id, Noun::SetupLink),
            )?;
            setup_link::revoke_link(&cx, id).await
        };
        SetupLinkRevokePayload::from_result(done.await, FIELD_MAP)
    }
}
