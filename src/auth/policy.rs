//! The whole policy: which actor may do which action on the objects of which owner. GraphQL and
//! SCIM both ask here; no other code checks a permission.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What an administrator or an application may be allowed to do. An API key or a JWT carries a set
/// of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See connections, their state and their tokens' metadata, groups, roles and mappings.
    IamRead,
    /// Create, change, activate and deactivate connections; organization settings.
    IamWrite,
    /// Issue, rotate and revoke SCIM tokens and API keys.
    TokenManage,
    /// Delete all SCIM-provisioned users; erase personal data for good.
    DeleteAll,
    /// See personal data of users.
    UserRead,
    /// Change users and groups by hand.
    UserWrite,
    /// Create, edit, remove and restore roles, mappings and grants.
    AccessWrite,
    /// Read the ledger.
    AuditRead,
    /// Work on the review queue.
    ReviewWrite,
    /// Ask what people may do, and nothing else.
    DecisionRead,
    /// Say that an application ended a leaver's sessions, and nothing else.
    RevocationConfirm,
    /// Hand over what an identity provider said at a sign-in, and nothing else.
    AssertionWrite,
    /// Receive security event tokens: poll streams and verify them, and nothing else.
    SignalReceive,
    /// Create organizations and see the installation as a whole.
    PlatformAdmin,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Permission; 14] = [
        Self::IamRead,
        Self::IamWrite,
        Self::TokenManage,
        Self::DeleteAll,
        Self::UserRead,
        Self::UserWrite,
        Self::AccessWrite,
        Self::AuditRead,
        Self::ReviewWrite,
        Self::DecisionRead,
        Self::RevocationConfirm,
        Self::AssertionWrite,
        Self::SignalReceive,
        Self::PlatformAdmin,
    ];

    /// The name in tokens, in the schema and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::IamRead => "IAM_READ",
            Self::IamWrite => "IAM_WRITE",
            Self::TokenManage => "TOKEN_MANAGE",
            Self::DeleteAll => "DELETE_ALL",
            Self::UserRead => "USER_READ",
            Self::UserWrite => "USER_WRITE",
            Self::AccessWrite => "ACCESS_WRITE",
            Self::AuditRead => "AUDIT_READ",
            Self::ReviewWrite => "REVIEW_WRITE",
            Self::DecisionRead => "DECISION_READ",
            Self::RevocationConfirm => "REVOCATION_CONFIRM",
            Self::AssertionWrite => "ASSERTION_WRITE",
            Self::SignalReceive => "SIGNAL_RECEIVE",
            Self::PlatformAdmin => "PLATFORM_ADMIN",
        }
    }

    /// Whether it allows any change.
    pub fn allows_changes(self) -> bool {
        !matches!(self, Self::IamRead | Self::UserRead | Self::AuditRead | Self::DecisionRead)
    }

    /// All permissions that an actor may hold inside one organization: all except
    /// [`Permission::PlatformAdmin`].
    pub fn in_organization() -> Permissions {
        Self::ALL.into_iter().filter(|p| *p != Self::PlatformAdmin).collect()
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|p| p.name()).collect();
            format!("unknown permission {name:?}; known are {}", known.join(", "))
        })
    }
}

/// A set of permissions.
pub type Permissions = BTreeSet<Permission>;

/// What a SCIM token may be confined to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    UsersRead,
    UsersWrite,
    GroupsRead,
    GroupsWrite,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 4] =
        [Self::UsersRead, Self::UsersWrite, Self::GroupsRead, Self::GroupsWrite];

    /// The name in the database, in the schema and in refusals.
    pub fn name(self) -> &'static str {
        match self {
            Self::UsersRead => "USERS_READ",
            Self::UsersWrite => "USERS_WRITE",
            Self::GroupsRead => "GROUPS_READ",
            Self::GroupsWrite => "GROUPS_WRITE",
        }
    }

    /// The permissions that an actor needs to give a token this scope: those that the same actions
    /// need in the management API. Writing groups grants the roles that the groups are mapped to.
    pub fn permissions(self) -> &'static [Permission] {
        match self {
            Self::UsersRead => &[Permission::UserRead],
            Self::UsersWrite => &[Permission::UserWrite],
            Self::GroupsRead => &[Permission::IamRead],
            Self::GroupsWrite => &[Permission::UserWrite, Permission::AccessWrite],
        }
    }

    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// A set of scopes.
pub type Scopes = BTreeSet<Scope>;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// An identity provider, by one of its connection's tokens.
    Connection { id: Uuid, name: String, scopes: Scopes },
    /// A script or an application, by an API key.
    Key { id: Uuid, name: String, permissions: Permissions },
    /// A person (or a service) that a trusted issuer vouches for, by a JWT.
    Person { subject: String, name: String, permissions: Permissions },
    /// rolecall itself: the command line and the background workers.
    System,
}

impl Actor {
    /// The kind as the ledger names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "CONNECTION",
            Self::Key { .. } => "API_KEY",
            Self::Person { .. } => "PERSON",
            Self::System => "SYSTEM",
        }
    }

    /// What identifies the actor within its kind.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Connection { id, .. } | Self::Key { id, .. } => Some(id.to_string()),
            Self::Person { subject, .. } => Some(subject.clone()),
            Self::System => None,
        }
    }

    /// What the actor holds of permissions, in their order.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(|permission| holds(self, *permission))
    }

    /// A name for people to read.
    pub fn name(&self) -> &str {
        match self {
            Self::Connection { name, .. } | Self::Key { name, .. } | Self::Person { name, .. } => {
                name
            }
            Self::System => "rolecall",
        }
    }
}

/// An action that an actor asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    ReadIam,
    WriteConnection,
    ManageToken,
    ReadUser,
    WriteUser,
    /// Delete personal data for good.
    EraseUser,
    ReadGroup,
    WriteGroup,
    WriteAccess,
    /// Decide about what waits for a person.
    Review,
    ReadLedger,
    /// Ask what a person may do.
    Decide,
    /// Say that a leaver's sessions ended.
    ConfirmRevocation,
    /// Hand over the assertion of a sign-in.
    SubmitAssertion,
    /// Receive security event tokens.
    ReceiveSignals,
    ManagePlatform,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 16] = [
        Self::ReadIam,
        Self::WriteConnection,
        Self::ManageToken,
        Self::ReadUser,
        Self::WriteUser,
        Self::EraseUser,
        Self::ReadGroup,
        Self::WriteGroup,
        Self::WriteAccess,
        Self::Review,
        Self::ReadLedger,
        Self::Decide,
        Self::ConfirmRevocation,
        Self::SubmitAssertion,
        Self::ReceiveSignals,
        Self::ManagePlatform,
    ];

    /// The scope that a connection's token needs for this action; none = no connection may ever do
    /// it.
    pub fn scope(self) -> Option<Scope> {
        match self {
            Self::ReadUser => Some(Scope::UsersRead),
            Self::WriteUser => Some(Scope::UsersWrite),
            Self::ReadGroup => Some(Scope::GroupsRead),
            Self::WriteGroup => Some(Scope::GroupsWrite),
            _ => None,
        }
    }

    /// The permission that this action needs. A refusal names it.
    pub fn permission(self) -> Permission {
        match self {
            Self::ReadIam | Self::ReadGroup => Permission::IamRead,
            Self::WriteConnection => Permission::IamWrite,
            Self::ManageToken => Permission::TokenManage,
            Self::ReadUser => Permission::UserRead,
            Self::WriteUser | Self::WriteGroup => Permission::UserWrite,
            Self::EraseUser => Permission::DeleteAll,
            Self::WriteAccess => Permission::AccessWrite,
            Self::Review => Permission::ReviewWrite,
            Self::ReadLedger => Permission::AuditRead,
            Self::Decide => Permission::DecisionRead,
            Self::ConfirmRevocation => Permission::RevocationConfirm,
            Self::SubmitAssertion => Permission::AssertionWrite,
            Self::ReceiveSignals => Permission::SignalReceive,
            Self::ManagePlatform => Permission::PlatformAdmin,
        }
    }
}

/// Whether `actor` holds `permission`. A connection holds none: its credential is valid for SCIM
/// only.
pub fn holds(actor: &Actor, permission: Permission) -> bool {
    match actor {
        Actor::System => true,
        Actor::Key { permissions, .. } | Actor::Person { permissions, .. } => {
            permissions.contains(&permission)
        }
        Actor::Connection { .. } => false,
    }
}

/// Whether `actor` may do `action` to a thing of its organization that `owner` (a connection; none
/// = made by hand) owns. Deny by default.
pub fn allows(actor: &Actor, action: Action, owner: Option<Uuid>) -> bool {
    match actor {
        Actor::Connection { id, scopes, .. } => {
            owner == Some(*id) && action.scope().is_some_and(|scope| scopes.contains(&scope))
        }
        _ => holds(actor, action.permission()),
    }
}
