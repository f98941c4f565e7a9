//! Whether a connection works, step by step.

use async_graphql::{Enum, SimpleObject};
use chrono::{DateTime, Utc};

use super::permission::{Permission, needs};
use super::request_log::RequestLogEntry;
use crate::domain::connection::diagnostics;
use crate::domain::connection::diagnostics::{DiagnosticCheck, DiagnosticStep};

/// The checks of a connection, in this order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "DiagnosticCheck")]
pub enum ConnectionCheck {
    /// The installation and the organization's integration mode allow SCIM.
    Available,
    /// Provisioning is turned on for the organization.
    Enabled,
    /// The connection is active.
    Active,
    /// The connection has a SCIM token that is neither expired nor revoked.
    Token,
    /// The identity provider has sent a request.
    Heard,
    /// No request failed in the last 24 hours. For a connection that reads a source: the last sync
    /// run did not fail.
    Untroubled,
}

/// The result of one check.
#[derive(SimpleObject)]
pub struct ConnectionDiagnosisStep {
    /// Which check it is.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    check: ConnectionCheck,
    /// Whether the check passed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// What the check found, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// What to do next, in words for people; null if nothing has to be done.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step: Option<String>,
}

impl From<DiagnosticStep> for ConnectionDiagnosisStep {
    fn from(step: DiagnosticStep) -> Self {
        Self { check: step.check.into(), ok: step.ok, message: step.finding, next_step: step.next }
    }
}

/// Whether a connection works, and what to do if not.
#[derive(SimpleObject)]
pub struct ConnectionDiagnosis {
    /// Whether every check passed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// The result of every check, also of those after one that failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    steps: Vec<ConnectionDiagnosisStep>,
    /// When the last valid token ends; null if there is none, or if one never ends.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    token_expires_at: Option<DateTime<Utc>>,
    /// Requests that failed in the last 24 hours, one entry for each kind, the latest first; at
    /// most five.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    recent_failures: Vec<RequestLogEntry>,
}

impl From<diagnostics::ConnectionDiagnosis> for ConnectionDiagnosis {
    fn from(checkup: diagnostics::ConnectionDiagnosis) -> Self {
        Self {
            ok: checkup.steps.iter().all(|step| step.ok),
            steps: checkup.steps.into_iter().map(Into::into).collect(),
            token_expires_at: checkup.token_expires_at,
            recent_failures: checkup.troubles.into_iter().map(Into::into).collect(),
        }
    }
}
