//! What a verifier of a protocol hands over.

use chrono::{DateTime, Utc};

/// What an identity provider says about a person, after its signature, audience and times were
/// checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// The id of the assertion (`jti`, or the `ID` of a SAML assertion), when it has one.
    pub id: Option<String>,
    /// SHA-256 of the signed text. The same token handed over again has the same one.
    pub fingerprint: [u8; 32],
    /// The person's id at the identity provider. It never changes.
    pub subject: String,
    /// The name with which the person signs in.
    pub user_name: String,
    pub email: Option<String>,
    /// Whether the identity provider says that the address belongs to the person.
    pub email_verified: bool,
    pub display_name: Option<String>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    /// Which organization's account it is, at a provider that all organizations share.
    pub tenant: ProviderTenant,
    pub groups: GroupClaims,
    /// `iat`, or the assertion's `IssueInstant`.
    pub issued_at: DateTime<Utc>,
    /// When the identity provider authenticated the person, as far as it says so.
    pub authenticated_at: Option<DateTime<Utc>>,
}

/// Whose accounts an identity provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderTenant {
    /// Its issuer is one organization's own, so all its accounts are that organization's.
    Own,
    /// It issues tokens for all people, and this one is for an account of the organization with
    /// this domain (Google's `hd`); none = of no organization.
    Shared(Option<String>),
}

/// Which groups the person is said to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupClaims {
    /// The assertion says nothing about groups. Memberships stay.
    Absent,
    /// The list is complete, also when it is empty.
    Complete(Vec<ClaimedGroup>),
    /// The identity provider left groups out and says so (Entra ID's overage). Memberships stay,
    /// and the listed groups are added.
    Incomplete(Vec<ClaimedGroup>),
}

/// One group of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedGroup {
    /// The value that identifies the group, as the connection's `group_identity` says.
    pub key: String,
    /// Its name, when the assertion has one.
    pub display_name: Option<String>,
}
