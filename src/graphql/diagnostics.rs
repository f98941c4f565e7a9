//! Whether a connection works, step by step.

use async_graphql::{Enum, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::request_log::RequestLogEntry;
use crate::domain::checkup::{Check, Checkup, Step};

/// What is looked at, in this order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Check")]
pub enum ConnectionCheck {
    /// The installation and the organization's integration mode allow SCIM.
    Available,
    /// Provisioning is turned on for the organization.
    Enabled,
    /// The connection is active.
    Active,
    /// There is a token that opens it.
    Token,
    /// The identity provider has called.
    Heard,
    /// Nothing has failed in the last day.
    Untroubled,
}

/// What was found at one step.
#[derive(SimpleObject)]
pub struct ConnectionTestStep {
    /// What was looked at.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    check: ConnectionCheck,
    /// Whether it is as it should be.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// What was found, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    finding: String,
    /// What to do, in words for people; null where nothing has to be done.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    next_step: Option<String>,
}

impl From<Step> for ConnectionTestStep {
    fn from(step: Step) -> Self {
        Self { check: step.check.into(), ok: step.ok, finding: step.finding, next_step: step.next }
    }
}

/// Whether a connection works, and what to do if not.
#[derive(SimpleObject)]
pub struct ConnectionTest {
    /// Whether every step is as it should be.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// Every step, also behind one that failed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    steps: Vec<ConnectionTestStep>,
    /// When the last live token ends; null if there is none, or one that never ends.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    token_expires_at: Option<DateTime<Utc>>,
    /// What failed in the last day, the latest kinds first; at most five.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    recent_failures: Vec<RequestLogEntry>,
}

impl From<Checkup> for ConnectionTest {
    fn from(checkup: Checkup) -> Self {
        Self {
            ok: checkup.steps.iter().all(|step| step.ok),
            steps: checkup.steps.into_iter().map(Into::into).collect(),
            token_expires_at: checkup.token_expires_at,
            recent_failures: checkup.troubles.into_iter().map(Into::into).collect(),
        }
    }
}
