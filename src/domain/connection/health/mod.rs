//! How connections are: judged by rules that stand here and nowhere else, from signs that are counted anyway.
//!
//! Whoever asks gets the judgement of this moment. A worker judges every minute as well, remembers what it found and
//! tells the ledger of changes.

mod rhythm;
mod signs;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionKind;
use entity::connection_health;
use uuid::Uuid;

use crate::authz::Action;
use crate::context::Cx;
use crate::domain::sync::RUNS_FAIL;
use crate::error::Result;

pub use connection_health::State;
pub use signs::{Runs, Signs, Window, effects};
pub use watch::{installation, watch};

/// Failures in an hour that make a connection degraded, if they are at least a tenth of its operations.
const HOUR_FAILURES: u64 = 5;
const HOUR_RATE: f64 = 0.10;
/// Failures in a day that make a connection degraded, if they are at least a twentieth of its operations.
const DAY_FAILURES: u64 = 20;
const DAY_RATE: f64 = 0.05;
/// Operations in a day that all fail.
const ALL_FAIL: u64 = 10;
/// Work in the review queue that nobody does for so long.
const WORK_WAITS: Duration = Duration::hours(24);
/// What a schedule may be late by, beside twice its interval.
const LATE: Duration = Duration::minutes(15);

/// Why a connection is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is deactivated.
    Deactivated,
    /// Provisioning is off, or SCIM cannot be used.
    ProvisioningOff,
    /// It was never heard, or its source was never read.
    NeverHeard,
    /// Nothing that it sent in the last day succeeded.
    EverythingFails,
    /// Its last runs failed, one after the other.
    RunsFail,
    /// No token opens it.
    NoToken,
    /// It was silent for longer than it ever is.
    Silent,
    /// Its schedule has not been kept.
    Overdue,
    /// A run waits for somebody to say that it may go on.
    RunWaits,
    /// Too much failed in the last hour.
    ErrorsInHour,
    /// Too much failed in the last day.
    ErrorsInDay,
    /// The last run failed, or the last that was to read everything.
    RunFailed,
    /// Runs could not carry over everybody, and that is still so.
    RunLeftSome,
    /// Something waits in the review queue since yesterday.
    WorkWaits,
}

impl Reason {
    /// Every reason, the gravest first.
    pub const ALL: [Self; 14] = [
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
    ];

    /// The state that a connection with this reason is in, if there is no graver one.
    pub fn state(self) -> State {
        match self {
            Self::Deactivated | Self::ProvisioningOff | Self::NeverHeard => State::Inactive,
            Self::EverythingFails | Self::RunsFail => State::Quarantined,
            Self::NoToken | Self::Silent | Self::Overdue | Self::RunWaits => State::Stalled,
            Self::ErrorsInHour | Self::ErrorsInDay | Self::RunFailed | Self::RunLeftSome | Self::WorkWaits => {
                State::Degraded
            }
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
        }
    }

    /// Whether it holds.
    fn holds(self, signs: &Signs, now: DateTime<Utc>) -> bool {
        let (push, runs) = (signs.kind != ConnectionKind::ScimPull, &signs.runs);
        match self {
            Self::Deactivated => !signs.active,
            // Only the door is closed: what reads a source goes on.
            Self::ProvisioningOff => push && !signs.served,
            Self::NeverHeard => signs.last_contact_at.is_none(),
            Self::EverythingFails => {
                push && signs.day.failures >= ALL_FAIL && signs.day.failures == signs.day.operations
            }
            Self::RunsFail => runs.failed_in_a_row >= RUNS_FAIL,
            Self::NoToken => push && !signs.has_token,
            Self::Silent => push && signs.silent,
            Self::Overdue => !runs.running && runs.due.iter().any(|(at, every)| now - *at > *every * 2 + LATE),
            Self::RunWaits => runs.waiting,
            Self::ErrorsInHour => too_many(&signs.hour, HOUR_FAILURES, HOUR_RATE),
            Self::ErrorsInDay => too_many(&signs.day, DAY_FAILURES, DAY_RATE),
            Self::RunFailed => runs.failed_in_a_row > 0,
            Self::RunLeftSome => runs.left > 0,
            Self::WorkWaits => signs.oldest_pending_at.is_some_and(|at| now - at > WORK_WAITS),
        }
    }

    /// What was found, in words for people.
    pub fn text(self, signs: &Signs) -> String {
        let rate = |window: &Window| {
            format!("{} of {} operations failed since {}", window.failures, window.operations, second(window.since))
        };
        match self {
            Self::Deactivated => "It is deactivated.".into(),
            Self::ProvisioningOff => "Provisioning over SCIM is turned off for the organization.".into(),
            Self::NeverHeard if signs.kind == ConnectionKind::ScimPull => "Its source was never read.".into(),
            Self::NeverHeard => "The identity provider was never heard.".into(),
            Self::EverythingFails => format!("Nothing succeeds: {}.", rate(&signs.day)),
            Self::RunsFail => format!("The last {} {}runs failed.", signs.runs.failed_in_a_row, full(signs)),
            Self::NoToken => "No token opens it: all have expired or were revoked.".into(),
            Self::Silent => match signs.last_contact_at {
                Some(at) => format!("It is silent since {}, longer than it ever is.", second(at)),
                None => "It is silent.".into(),
            },
            Self::Overdue => match signs.runs.due.iter().map(|(at, _)| *at).min() {
                Some(at) => format!("A run was to begin at {} by its schedule, and none has.", second(at)),
                None => "No run has begun by its schedule.".into(),
            },
            Self::RunWaits => "A run would remove so many accounts that it waits for somebody to approve it.".into(),
            Self::ErrorsInHour => format!("{}.", rate(&signs.hour)),
            Self::ErrorsInDay => format!("{}.", rate(&signs.day)),
            Self::RunFailed => format!("The last {}run failed.", full(signs)),
            Self::RunLeftSome => format!("Its runs could not carry over {} users and groups.", signs.runs.left),
            Self::WorkWaits => match signs.oldest_pending_at {
                Some(at) => format!("Something waits in the review queue since {}.", second(at)),
                None => "Something waits in the review queue.".into(),
            },
        }
    }

    /// What to do about it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Deactivated => "Activate it (connectionActivate), if its identities are still meant to be kept.",
            Self::ProvisioningOff => "Turn provisioning on (organizationUpdate with scimEnabled: true).",
            Self::NeverHeard => "Follow the steps of the connection's test; docs/connect says what to enter where.",
            Self::EverythingFails | Self::ErrorsInHour | Self::ErrorsInDay | Self::WorkWaits | Self::RunLeftSome => {
                "Work through the review queue (organization.failures): each item says what to do."
            }
            Self::RunsFail | Self::RunFailed => {
                "Look at the last run's reason (organization.syncRuns), test the source (connectionTest), and start a \
                 run (syncStart)."
            }
            Self::Overdue => "Look in the server's log for what keeps runs from beginning, and start one (syncStart).",
            Self::NoToken => "Issue a token (scimTokenIssue) and enter it in the identity provider.",
            Self::Silent => {
                "Look whether provisioning is stopped or in quarantine in the identity provider, and provision one \
                 user on demand there."
            }
            Self::RunWaits => "Look at what it would remove, and approve (syncApprove) or cancel it (syncCancel).",
        }
    }
}

/// Which runs are meant, in words.
fn full(signs: &Signs) -> &'static str {
    if signs.runs.full { "full " } else { "" }
}

/// An instant to the second, as people read it.
pub(super) fn second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn too_many(window: &Window, failures: u64, rate: f64) -> bool {
    window.failures >= failures && window.error_rate() >= rate
}

/// How a connection is, and why.
#[derive(Debug, Clone)]
pub struct Health {
    pub connection: Uuid,
    pub state: State,
    /// Since when the worker finds it so; none while it has not found so yet, or never found anything else.
    pub since: Option<DateTime<Utc>>,
    /// What the worker found last.
    known: Option<connection_health::Model>,
    /// Empty while it is healthy.
    pub reasons: Vec<Reason>,
    pub signs: Signs,
}

/// The judgement: the gravest state that any reason gives, and the reasons that give it.
pub fn judge(signs: &Signs, now: DateTime<Utc>) -> (State, Vec<Reason>) {
    let mut reasons: Vec<Reason> = Reason::ALL.into_iter().filter(|reason| reason.holds(signs, now)).collect();
    let state = reasons.first().map_or(State::Healthy, |reason| reason.state());
    reasons.retain(|reason| reason.state() == state);
    (state, reasons)
}

/// How these connections are now; those that are deleted are left out.
pub async fn of_connections(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Health>> {
    cx.allow(Action::ReadIam, None)?;
    let now = cx.app.clock.now();
    let known = watch::known(cx, ids).await?;
    let mut known: HashMap<Uuid, connection_health::Model> =
        known.into_iter().map(|row| (row.connection_id, row)).collect();
    let mut found = Vec::new();
    for (connection, mut signs) in signs::read(cx, ids, now).await? {
        let known = known.remove(&connection);
        // Silence ends when something is heard, and not when the log forgets how it used to be.
        signs.silent |= known.as_ref().is_some_and(|row| {
            let silent = row.reasons.as_array().is_some_and(|codes| codes.iter().any(|code| code == "SILENT"));
            silent && signs.last_contact_at.is_some_and(|at| at < row.since_at)
        });
        let (state, reasons) = judge(&signs, now);
        let since = known.as_ref().filter(|row| row.state == state).map(|row| row.since_at);
        found.push(Health { connection, state, since, known, reasons, signs });
    }
    Ok(found)
}
