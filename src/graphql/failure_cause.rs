//! Why writes fail, which the review queue and the health of connections tell.

use async_graphql::Enum;
use entity::failure as stored;

/// Why a write failed.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Cause")]
pub enum FailureCause {
    /// The server that should have answered could not be reached, or was too busy. Retried
    /// automatically.
    TargetUnavailable,
    /// The connection sent more requests than its share. All requests that were refused for this
    /// reason are one failure, which ends automatically one hour after the last of them.
    RateLimited,
    /// A value, or the whole message, is not valid.
    InvalidValue,
    /// Another account or group already has this value.
    Uniqueness,
    /// The resource of the write, or one that it refers to, does not exist or is not the
    /// connection's.
    NotFound,
    /// The write would change a break-glass account, or remove the last holder of a management
    /// role.
    Protected,
    /// The token's scopes do not allow the write.
    NotPermitted,
    /// The write conflicted with another change, or with the state of the resource. Retried
    /// automatically.
    Conflict,
    /// rolecall does not support the operation.
    Unsupported,
    /// The request was too large.
    TooLarge,
    /// An error inside rolecall. Retried automatically.
    Internal,
}
