//! The states of rows by which lists are filtered, where the filter stands in another file than the
//! row.

use async_graphql::Enum;
use entity::adoption_proposal;

use crate::domain::connection::setup_link;

/// The decision on an adoption proposal.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "adoption_proposal::ProposalState")]
pub enum AdoptionProposalState {
    /// Not decided yet.
    Pending,
    /// Accepted: the account belongs to the connection now.
    Accepted,
    /// Dismissed: the account stays as it is.
    Dismissed,
}

/// Whether a setup link can be opened.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "setup_link::SetupLinkState")]
pub enum SetupLinkState {
    /// It can be opened, and was not opened yet.
    Active,
    /// It was opened, and the token was shown. It can be opened again, without the token.
    Redeemed,
    /// Its time is over.
    Expired,
    /// An administrator revoked it.
    Revoked,
}
