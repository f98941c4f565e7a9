//! Adoption proposals: a connection wanted to create a user who already has an account, and an
//! administrator decides.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use entity::adoption_proposal as stored;
use serde_json::Value;

use super::connection::IdentitySource;
use super::list_states::AdoptionProposalState;
use super::loaders::{self, ConnectionId, UserId};
use super::permission::{Permission, needs};
use super::user::UserObject;
use crate::domain::directory::adoption;
use crate::error::{Noun, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, Long, NodeKind};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Proposal, "id"), (Noun::User, "id"), (Noun::Connection, "id")],
    // An administrator cannot correct what the connection sent, so the error is about the proposal.
    fields: &[("externalId", "id")],
};

/// Why an account was not linked automatically.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Cause")]
pub enum AdoptionCause {
    /// The connection's adoption policy is `PROPOSE`.
    Policy,
    /// The account belongs to another connection.
    Owned,
    /// The domain of the user name is not one of the organization's verified domains.
    UnverifiedDomain,
    /// The account is a break-glass account.
    Protected,
}

/// A proposal as the schema shows it.
pub struct AdoptionProposal(pub adoption::Proposal);

impl From<adoption::Proposal> for AdoptionProposal {
    fn from(row: adoption::Proposal) -> Self {
        Self(row)
    }
}

/// A connection wanted to create a user, but an account that it does not own already has the user
/// name. An administrator decides whether the connection gets the account.
#[Object]
impl AdoptionProposal {
    /// The proposal's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::AdoptionProposal, self.0.id)
    }

    /// The decision; `PENDING` until there is one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> AdoptionProposalState {
        self.0.state.into()
    }

    /// Why the account was not linked automatically.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn cause(&self) -> AdoptionCause {
        self.0.cause.into()
    }

    /// The connection that wants the account; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// The account that has the user name; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        Ok(loaders::load_one(ctx, UserId(self.0.user_id)).await?.map(Into::into))
    }

    /// The SCIM attributes that the connection sent last; null after the proposal was accepted, and
    /// after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn attributes(&self, ctx: &Context<'_>) -> Result<Option<Value>> {
        Ok(adoption::proposal_attributes(relay::cx(ctx)?, &self.0)?.map(Value::Object))
    }

    /// How many times the connection tried to create the user.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn attempts(&self) -> Long {
        Long(self.0.attempts)
    }

    /// When the connection first tried.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When the connection last tried.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// When the decision was made; null while the proposal is pending.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn decided_at(&self) -> Option<DateTime<Utc>> {
        self.0.decided_at
    }

    /// The reason that the administrator gave; null if there is none, and after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }
}

/// The adoption proposal to accept.
#[derive(InputObject)]
pub struct AdoptionProposalAcceptInput {
    /// The proposal's global id.
    id: ID,
    /// The reason for the decision; it is written to the ledger.
    reason: Option<String>,
}

/// The adoption proposal to dismiss.
#[derive(InputObject)]
pub struct AdoptionProposalDismissInput {
    /// The proposal's global id.
    id: ID,
    /// The reason for the decision; it is written to the ledger.
    reason: Option<String>,
}

mutation_payloads! {
    adoption_proposal_payloads;
    /// The proposal after the decision; null if there were mistakes.
    adoption_proposal: AdoptionProposal;
    /// The result of `adoptionProposalAccept`.
    AdoptionProposalAcceptPayload,
    /// The result of `adoptionProposalDismiss`.
    AdoptionProposalDismissPayload,
}

#[derive(Default)]
pub struct AdoptionMutation;

#[Object]
impl AdoptionMutation {
    /// Gives the account to the connection. Its user name and e-mail addresses stay as they are;
    /// the other attributes become what the connection sent. Refused if the account has an owner by
    /// now or was renamed.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn adoption_proposal_accept(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which proposal.")] input: AdoptionProposalAcceptInput,
    ) -> Result<Option<AdoptionProposalAcceptPayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::AdoptionProposal, &input.id, Noun::Proposal);
        AdoptionProposalAcceptPayload::from_result(
            async { adoption::accept_proposal(cx, id?, input.reason.as_deref()).await }.await,
            FIELD_MAP,
        )
    }

    /// Leaves the account as it is. Further attempts of the connection are counted, and the
    /// proposal stays dismissed; it may still be accepted later.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn adoption_proposal_dismiss(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which proposal.")] input: AdoptionProposalDismissInput,
    ) -> Result<Option<AdoptionProposalDismissPayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::AdoptionProposal, &input.id, Noun::Proposal);
        AdoptionProposalDismissPayload::from_result(
            async { adoption::dismiss_proposal(cx, id?, input.reason.as_deref()).await }.await,
            FIELD_MAP,
        )
    }
}
