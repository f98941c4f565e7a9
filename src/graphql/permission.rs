//! The permissions, and the directive `@needs` that says on every field which one its caller needs.
//! [`permission_guard`](super::permission_guard) enforces it.

use async_graphql::{Enum, TypeDirective};

use crate::auth::policy;

/// A permission. An API key or a person's token carries a set of them.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "policy::Permission")]
pub enum Permission {
    /// Read connections, their state and their tokens' metadata, groups, roles, mappings and
    /// grants, and the bulk jobs of all callers.
    IamRead,
    /// Create, change, activate, deactivate and delete connections; change the organization's
    /// settings and schemas; cancel the bulk jobs of other callers.
    IamWrite,
    /// Issue, rotate and revoke SCIM tokens and API keys.
    TokenManage,
    /// Delete all users that came through SCIM; erase personal data for good.
    DeleteAll,
    /// Read personal data of users.
    UserRead,
    /// Create, change and delete users and groups by hand.
    UserWrite,
    /// Preview and make changes of access: roles, role mappings and direct grants; protect accounts
    /// from the identity provider.
    AccessWrite,
    /// Read the ledger of changes.
    AuditRead,
    /// Retry, resolve, dismiss and assign entries of the review queue.
    ReviewWrite,
    /// Ask whether people may do something, and who may do it: with `decision`, or over AuthZEN.
    /// It opens nothing else.
    DecisionRead,
    /// Say that an application ended the sessions of an account that left (`revocationConfirm`).
    /// It opens nothing else.
    RevocationConfirm,
    /// Hand over what an identity provider said at a sign-in (`assertionSubmit`,
    /// `POST /assertions/{slug}`), and redeem the codes of sign-ins. It opens nothing else.
    AssertionWrite,
    /// Receive security event tokens: poll the organization's streams, read and verify them. It
    /// opens nothing else.
    SignalReceive,
    /// The permission of the operator, for people only and not for API keys: create, suspend and
    /// resume organizations. It opens nothing inside them. In an organization, a person who has it
    /// may use other permissions only while the organization lets the operator in
    /// (`operatorAccessGrant`).
    PlatformAdmin,
}

/// The permission that a caller needs to select this field. Without an argument, every
/// authenticated caller may select it.
#[TypeDirective(location = "FieldDefinition")]
pub fn needs(permission: Option<Permission>) {}

/// Where a list names the permission that nothing in one organization can carry.
pub fn find_platform_admin(list: &[Permission]) -> Option<usize> {
    list.iter().position(|permission| *permission == Permission::PlatformAdmin)
}

/// Gives a mistake in a list of permissions its place: the domain takes a set.
pub fn name_platform_admin<T>(
    done: crate::error::Result<T>,
    list: &'static str,
    place: Option<usize>,
) -> crate::error::Result<T> {
    match place {
        Some(place) => done.map_err(|error| error.name_place(list, place)),
        None => done,
    }
}
