//! Adoption proposals: a connection wanted to create somebody who already has an account, and a person decides.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::adoption_proposal as stored;
use serde_json::Value;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId, UserId};
use super::page::{self, Blame, Kind, Long, UserError};
use super::user::User;
use crate::domain::adoption;
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[
    ("the proposal", "id"),
    ("the user", "id"),
    ("the connection", "id"),
    // What the connection sent is not the decider's to correct: the whole proposal is to blame.
    ("externalId", "id"),
];

/// Why an account was not simply linked.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Cause")]
pub enum AdoptionCause {
    /// The connection's policy is to propose.
    Policy,
    /// The account belongs to another connection.
    Owned,
    /// The name's domain is none of the organization's verified ones.
    UnverifiedDomain,
    /// The account is a break-glass account.
    Protected,
}

/// What was decided about a proposal.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::ProposalState")]
pub enum AdoptionProposalState {
    /// Nothing yet.
    Pending,
    /// The account became the connection's.
    Accepted,
    /// The account stays what it is.
    Dismissed,
}

/// A proposal as the schema shows it.
pub struct AdoptionProposal(pub adoption::Proposal);

impl From<adoption::Proposal> for AdoptionProposal {
    fn from(row: adoption::Proposal) -> Self {
        Self(row)
    }
}

/// A connection wanted to create somebody whose user name an account that is not its own bears.
#[Object]
impl AdoptionProposal {
    /// The proposal's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::AdoptionProposal, self.0.id)
    }

    /// What was decided.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> AdoptionProposalState {
        self.0.state.into()
    }

    /// Why the account was not simply linked.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn cause(&self) -> AdoptionCause {
        self.0.cause.into()
    }

    /// The connection that wants the account; null if it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// The account that is there; null if it is gone.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(loaders::one(ctx, UserId(self.0.user_id)).await?.map(Into::into))
    }

    /// What the connection sent last, as SCIM attributes; null once it was accepted or erased.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn attributes(&self, ctx: &Context<'_>) -> Result<Option<Value>> {
        Ok(adoption::attributes(page::cx(ctx)?, &self.0)?.map(Value::Object))
    }

    /// How often the connection tried.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn attempts(&self) -> Long {
        Long(self.0.attempts)
    }

    /// When the connection first tried.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When the connection last tried.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// When it was decided; null while it waits.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn decided_at(&self) -> Option<DateTime<Utc>> {
        self.0.decided_at
    }

    /// Why, in the words of whoever decided; null where nothing was said, and after an erasure.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }
}

/// Which proposal to accept.
#[derive(InputObject)]
pub struct AdoptionProposalAcceptInput {
    /// The proposal's global id.
    id: ID,
    /// Why, for the ledger.
    reason: Option<String>,
}

/// Which proposal to dismiss.
#[derive(InputObject)]
pub struct AdoptionProposalDismissInput {
    /// The proposal's global id.
    id: ID,
    /// Why, for the ledger.
    reason: Option<String>,
}

/// What became of a decision.
#[derive(SimpleObject)]
pub struct AdoptionProposalPayload {
    /// The proposal after the decision; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    adoption_proposal: Option<AdoptionProposal>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<adoption::Proposal>) -> Result<Option<AdoptionProposalPayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(AdoptionProposalPayload { adoption_proposal: done.map(Into::into), user_errors }))
}

#[derive(Default)]
pub struct AdoptionMutation;

#[Object]
impl AdoptionMutation {
    /// Makes the account the connection's. Its user name and e-mail addresses stay as they are; the other attributes
    /// become what the connection sent. Refused when the account has an owner by now or was renamed.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn adoption_proposal_accept(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which proposal.")] input: AdoptionProposalAcceptInput,
    ) -> Result<Option<AdoptionProposalPayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::AdoptionProposal, &input.id, "the proposal");
        payload(async { adoption::accept(cx, id?, input.reason.as_deref()).await }.await)
    }

    /// Leaves the account what it is. Further attempts of the connection are counted and stay dismissed; the proposal
    /// may still be accepted later.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn adoption_proposal_dismiss(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which proposal.")] input: AdoptionProposalDismissInput,
    ) -> Result<Option<AdoptionProposalPayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::AdoptionProposal, &input.id, "the proposal");
        payload(async { adoption::dismiss(cx, id?, input.reason.as_deref()).await }.await)
    }
}
