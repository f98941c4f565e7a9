//! The health of connections. All rules are here; the signals that they use are counted anyway.
//!
//! A query computes the health of this moment. A worker also computes it every minute, stores the
//! result and writes changes to the ledger.

mod monitor;
mod signals;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionKind;
use entity::connection_health;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::sync::RUNS_FAIL;
use crate::error::Result;

pub use connection_health::State;
pub use monitor::{monitor_connections, read_installation_metrics};
pub use signals::{HealthSignals, HealthWindow, MetadataTrouble, RunSignals, median_effect_times};

/// Failures in an hour that make a connection degraded, if they are at least a tenth of its
/// operations.
const MIN_FAILURES_IN_HOUR: u64 = 5;
const MIN_ERROR_RATE_IN_HOUR: f64 = 0.10;
/// Failures in a day that make a connection degraded, if they are at least a twentieth of its
/// operations.
const MIN_FAILURES_IN_DAY: u64 = 20;
const MIN_ERROR_RATE_IN_DAY: f64 = 0.05;
/// Operations in a day that all fail.
const MIN_OPERATIONS_ALL_FAILED: u64 = 10;
/// How long work may wait in the review queue.
const MAX_QUEUE_AGE: Duration = Duration::hours(24);
/// How late a run may be, in addition to twice the interval of its schedule.
const SCHEDULE_GRACE: Duration = Duration::minutes(15);

/// Why a connection is not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthReason {
    /// It is deactivated.
    Deactivated,
    /// Provisioning is off, or SCIM cannot be used.
    ProvisioningOff,
    /// The identity provider never sent a request, or the source was never read.
    NeverHeard,
    /// None of its requests of the last day succeeded.
    EverythingFails,
    /// Its last runs failed, one after the other.
    RunsFail,
    /// It has no live token.
    NoToken,
    /// It sent no request for longer than usual.
    Silent,
    /// A scheduled run has not begun.
    Overdue,
    /// A run waits for an administrator's approval.
    RunWaits,
    /// Too much failed in the last hour.
    ErrorsInHour,
    /// Too much failed in the last day.
    ErrorsInDay,
    /// The last run failed, or the last full run.
    RunFailed,
    /// Runs could not apply some users and groups, and these still wait in the review queue.
    RunLeftSome,
    /// Failures have waited in the review queue for more than a day.
    WorkWaits,
    /// The metadata of the identity provider cannot be read again.
    MetadataUnread,
}

impl HealthReason {
    /// Every reason, the most severe first.
    pub const ALL: [Self; 15] = [
        Self::Deactivated,
        Self::ProvisioningOff,
        Self::NeverHeard,
        Self::EverythingFails,
        Self::RunsFail,
        Self::NoToken,
        Self::Silent,
        Self::Overdue,
        Self::RunWaits,
        Self::ErrorsInHour,
        Self::ErrorsInDay,
        Self::RunFailed,
        Self::RunLeftSome,
        Self::WorkWaits,
        Self::MetadataUnread,
    ];

    /// The state of a connection with this reason, if it has no more severe reason.
    pub fn state(self) -> State {
        match self {
            Self::Deactivated | Self::ProvisioningOff | Self::NeverHeard => State::Inactive,
            Self::EverythingFails | Self::RunsFail => State::Quarantined,
            Self::NoToken | Self::Silent | Self::Overdue | Self::RunWaits => State::Stalled,
            Self::ErrorsInHour
            | Self::ErrorsInDay
            | Self::RunFailed
            | Self::RunLeftSome
            | Self::WorkWaits
            | Self::MetadataUnread => State::Degraded,
        }
    }

    /// The reason as a stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Deactivated => "DEACTIVATED",
            Self::ProvisioningOff => "PROVISIONING_OFF",
            Self::NeverHeard => "NEVER_HEARD",
            Self::EverythingFails => "EVERYTHING_FAILS",
            Self::RunsFail => "RUNS_FAIL",
            Self::NoToken => "NO_TOKEN",
            Self::Silent => "SILENT",
            Self::Overdue => "OVERDUE",
            Self::RunWaits => "RUN_WAITS",
            Self::ErrorsInHour => "ERRORS_IN_HOUR",
            Self::ErrorsInDay => "ERRORS_IN_DAY",
            Self::RunFailed => "RUN_FAILED",
            Self::RunLeftSome => "RUN_LEFT_SOME",
            Self::WorkWaits => "WORK_WAITS",
            Self::MetadataUnread => "METADATA_UNREAD",
        }
    }

    /// Whether the signals give this reason.
    fn applies_to(self, signs: &HealthSignals, now: DateTime<Utc>) -> bool {
        let (push, runs) = (signs.kind != ConnectionKind::ScimPull, &signs.runs);
        let writes = signs.kind == ConnectionKind::ScimPush;
        match self {
            Self::Deactivated => !signs.active,
            // This refuses requests of identity providers only: runs that read a source continue.
            Self::ProvisioningOff => push && !signs.served,
            Self::NeverHeard => signs.last_contact_at.is_none(),
            Self::EverythingFails => {
                push && signs.day.failures >= MIN_OPERATIONS_ALL_FAILED
                    && signs.day.failures == signs.day.operations
            }
            Self::RunsFail => runs.failed_in_a_row >= RUNS_FAIL,
            Self::NoToken => writes && !signs.has_token,
            // People do not sign in at regular times.
            Self::Silent => writes && signs.silent,
            Self::Overdue => {
                !runs.running
                    && runs.due.iter().any(|(at, every)| now - *at > *every * 2 + SCHEDULE_GRACE)
            }
            Self::RunWaits => runs.waiting,
            Self::ErrorsInHour => {
                exceeds_error_limits(&signs.hour, MIN_FAILURES_IN_HOUR, MIN_ERROR_RATE_IN_HOUR)
            }
            Self::ErrorsInDay => {
                exceeds_error_limits(&signs.day, MIN_FAILURES_IN_DAY, MIN_ERROR_RATE_IN_DAY)
            }
            Self::RunFailed => runs.failed_in_a_row > 0,
            Self::RunLeftSome => runs.left > 0,
            Self::WorkWaits => signs.oldest_pending_at.is_some_and(|at| now - at > MAX_QUEUE_AGE),
            Self::MetadataUnread => signs.metadata.is_some(),
        }
    }

    /// What was found, as a sentence for administrators.
    pub fn finding_text(self, signs: &HealthSignals) -> String {
        let rate = |window: &HealthWindow| {
            format!(
                "{} of {} operations failed since {}",
                window.failures,
                window.operations,
                format_to_second(window.since)
            )
        };
        match self {
            Self::Deactivated => "It is deactivated.".into(),
            Self::ProvisioningOff => {
                "Provisioning over SCIM is turned off for the organization.".into()
            }
            Self::NeverHeard if signs.kind == ConnectionKind::ScimPull => {
                "Its source was never read.".into()
            }
            Self::NeverHeard if signs.kind == ConnectionKind::Assertion => {
                "No sign-in of the identity provider was handed over yet.".into()
            }
            Self::NeverHeard => "The identity provider has not sent a request yet.".into(),
            Self::EverythingFails => format!("Nothing succeeds: {}.", rate(&signs.day)),
            Self::RunsFail if signs.runs.full => {
                format!("The last {} full runs failed.", signs.runs.failed_in_a_row)
            }
            Self::RunsFail => format!("The last {} runs failed.", signs.runs.failed_in_a_row),
            Self::NoToken => "It has no live token: all have expired or were revoked.".into(),
            Self::Silent => match signs.last_contact_at {
                Some(at) => {
                    format!(
                        "It has sent no request since {}, which is longer than usual.",
                        format_to_second(at)
                    )
                }
                None => "It sends no requests.".into(),
            },
            Self::Overdue => match signs.runs.due.iter().map(|(at, _)| *at).min() {
                Some(at) => {
                    format!("A run was scheduled for {} and has not begun.", format_to_second(at))
                }
                None => "A scheduled run has not begun.".into(),
            },
            Self::RunWaits => {
                "A run would remove many accounts, so it waits for an administrator's approval."
                    .into()
            }
            Self::ErrorsInHour => format!("{}.", rate(&signs.hour)),
            Self::ErrorsInDay => format!("{}.", rate(&signs.day)),
            Self::RunFailed if signs.runs.full => "The last full run failed.".into(),
            Self::RunFailed => "The last run failed.".into(),
            Self::RunLeftSome => {
                format!("Its runs could not apply {} users and groups.", signs.runs.left)
            }
            Self::WorkWaits => match signs.oldest_pending_at {
                Some(at) => format!(
                    "Failures have waited in the review queue since {}.",
                    format_to_second(at)
                ),
                None => "Failures wait in the review queue.".into(),
            },
            Self::MetadataUnread => match &signs.metadata {
                Some(trouble) => format!(
                    "The metadata of its identity provider cannot be read since {}: {}",
                    format_to_second(trouble.since),
                    trouble.message
                ),
                None => "The metadata of its identity provider cannot be read.".into(),
            },
        }
    }

    /// What to do about it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Deactivated => {
                "Activate it (connectionActivate), if its identities are still meant to be kept."
            }
            Self::ProvisioningOff => {
                "Turn provisioning on (organizationUpdate with scimEnabled: true)."
            }
            Self::NeverHeard => {
                "Follow the steps of the connection's test; docs/connect says what to enter where."
            }
            Self::EverythingFails
            | Self::ErrorsInHour
            | Self::ErrorsInDay
            | Self::WorkWaits
            | Self::RunLeftSome => {
                "Work through the review queue (organization.failures): each item says what to do."
            }
            Self::RunsFail | Self::RunFailed => {
                "Look at the last run's reason (organization.syncRuns), test the source \
                 (pullSourceTest), and start a \
                 run (syncStart)."
            }
            Self::Overdue => {
                "Look in the server's log for what keeps runs from beginning, and start one \
                 (syncStart)."
            }
            Self::NoToken => {
                "Issue a token (scimTokenIssue) and enter it in the identity provider."
            }
            Self::Silent => {
                "Look whether provisioning is stopped or in quarantine in the identity provider, \
                 and provision one \
                 user on demand there."
            }
            Self::MetadataUnread => {
                "Test the identity provider (assertionSourceTest), and put its address right \
                 (connectionUpdate). Sign-ins go on with the certificates that are known."
            }
            Self::RunWaits => {
                "Look at what it would remove, and approve (syncApprove) or cancel it (syncCancel)."
            }
        }
    }
}

/// An instant to the second (RFC 3339), for texts.
pub(in crate::domain) fn format_to_second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn exceeds_error_limits(window: &HealthWindow, failures: u64, rate: f64) -> bool {
    window.failures >= failures && window.error_rate() >= rate
}

/// The health of a connection, with its reasons.
#[derive(Debug, Clone)]
pub struct HealthAssessment {
    pub connection: Uuid,
    pub state: State,
    /// Since when the worker finds this state; none while the worker has not found it yet, or never
    /// found another one.
    pub since: Option<DateTime<Utc>>,
    /// What the worker stored last.
    known: Option<connection_health::Model>,
    /// Empty while it is healthy.
    pub reasons: Vec<HealthReason>,
    pub signs: HealthSignals,
}

/// The most severe state that any reason gives, and the reasons that give it.
pub fn judge_health(signs: &HealthSignals, now: DateTime<Utc>) -> (State, Vec<HealthReason>) {
    let mut reasons: Vec<HealthReason> =
        HealthReason::ALL.into_iter().filter(|reason| reason.applies_to(signs, now)).collect();
    let state = reasons.first().map_or(State::Healthy, |reason| reason.state());
    reasons.retain(|reason| reason.state() == state);
    (state, reasons)
}

/// The health of these connections now, without deleted ones.
pub async fn health_of_connections(cx: &Cx, ids: &[Uuid]) -> Result<Vec<HealthAssessment>> {
    cx.allow(Action::ReadIam, None)?;
    let now = cx.app.clock.now();
    let known = monitor::stored_health(cx, ids).await?;
    let mut known: HashMap<Uuid, connection_health::Model> =
        known.into_iter().map(|row| (row.connection_id, row)).collect();
    let mut found = Vec::new();
    for (connection, mut signs) in signals::read_signals(cx, ids, now).await? {
        let known = known.remove(&connection);
        // Silence ends with the next request, and not when the log drops the hours that it is
        // compared with.
        signs.silent |= known.as_ref().is_some_and(|row| {
            let silent = row
                .reasons
                .as_array()
                .is_some_and(|codes| codes.iter().any(|code| code == "SILENT"));
            silent && signs.last_contact_at.is_some_and(|at| at < row.since_at)
        });
        let (state, reasons) = judge_health(&signs, now);
        let since = known.as_ref().filter(|row| row.state == state).map(|row| row.since_at);
        found.push(HealthAssessment { connection, state, since, known, reasons, signs });
    }
    Ok(found)
}
