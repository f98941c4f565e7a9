//! Checks step by step whether a connection works, for an administrator who sees no accounts
//! arrive. Every step is checked, also after one that failed, so that the administrator sees all
//! that is to be done at once.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, ConnectionStatus};
use entity::organization::IntegrationMode;
use uuid::Uuid;

use super::request_log::{self, RequestLogQuery};
use crate::context::Cx;
use crate::domain::connection;
use crate::domain::connection::Connection;
use crate::domain::connection::scim_token;
use crate::domain::paging::Keyset;
use crate::domain::paging::order::OrderBy;
use crate::domain::sync;
use crate::domain::sync::State;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{InboundAvailability, Organization};
use crate::error::Result;

/// The checks, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiagnosticCheck {
    /// The installation and the organization's mode allow SCIM.
    Available,
    /// The organization's flag is on.
    Enabled,
    /// The connection is active.
    Active,
    /// It has a live token.
    Token,
    /// The identity provider has sent a request.
    Heard,
    /// No request failed in the last day.
    Untroubled,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnosticStep {
    pub check: DiagnosticCheck,
    pub ok: bool,
    /// What was found, in words for people.
    pub finding: String,
    /// What to do; none where nothing is to be done.
    pub next: Option<String>,
}

/// The results of all checks of a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionDiagnosis {
    pub steps: Vec<DiagnosticStep>,
    /// The latest end of a live token; none = there is none, or one never ends.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// What failed in the last day, the latest kinds first.
    pub troubles: Vec<request_log::Entry>,
}

/// Stands for the end of a token that does not end.
const NEVER_EXPIRES: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;
/// How far back failures matter.
const RECENT_WINDOW: Duration = Duration::hours(24);
/// The check warns when the last token ends sooner than this.
const EXPIRY_WARNING: Duration = Duration::days(14);
/// The most kinds of failures that are shown.
const MAX_TROUBLES: u64 = 5;

/// Checks a live connection.
///
/// # Errors
/// [`Error::NotFound`](crate::error::Error::NotFound) if there is no live connection with this id.
pub async fn diagnose_connection(cx: &Cx, id: Uuid) -> Result<ConnectionDiagnosis> {
    let found = connection::get_connection(cx, id).await?;
    let organization = organization::current_organization(cx).await?;
    let now = cx.app.clock.now();
    let mut steps = diagnose_settings(cx, &found, &organization);
    if found.kind == ConnectionKind::ScimPull {
        steps.push(diagnose_source_runs(cx, &found).await?);
        return Ok(ConnectionDiagnosis { steps, token_expires_at: None, troubles: Vec::new() });
    }
    if found.kind == ConnectionKind::Assertion {
        let next = format!(
            "test the identity provider (assertionSourceTest), and let the application send what \
             it gets at a sign-in to {}/assertions/{}",
            cx.app.config.public_url, organization.slug
        );
        steps.push(contact_step(
            found.last_contact_at,
            "the last sign-in was handed over at",
            "no sign-in was handed over yet",
            next,
        ));
        let (step, troubles) = diagnose_troubles(cx, id, now).await?;
        steps.push(step);
        return Ok(ConnectionDiagnosis { steps, token_expires_at: None, troubles });
    }
    let (step, ends) = diagnose_tokens(cx, id, now).await?;
    steps.push(step);
    let next = format!(
        "paste {} and a token into the identity provider and test the connection there; see \
         docs/connect",
        organization::base_url(&cx.app, &organization.slug)
    );
    steps.push(contact_step(
        found.last_contact_at,
        "the identity provider sent its last request at",
        "the identity provider has not sent a request yet",
        next,
    ));
    let (step, troubles) = diagnose_troubles(cx, id, now).await?;
    steps.push(step);
    let token_expires_at = ends.filter(|end| *end != NEVER_EXPIRES);
    Ok(ConnectionDiagnosis { steps, token_expires_at, troubles })
}

/// Whether the operator, the organization and the connection let it work.
fn diagnose_settings(
    cx: &Cx,
    found: &Connection,
    organization: &Organization,
) -> Vec<DiagnosticStep> {
    let availability = match found.kind {
        // Sign-ins do not need SCIM, but what the operator turned off is off.
        ConnectionKind::Assertion => InboundAvailability::of(
            &cx.app,
            IntegrationMode::Scim,
            organization.provisioning_released,
        ),
        _ => InboundAvailability::of_organization(&cx.app, organization),
    };
    let availability = availability.remedy();
    vec![
        diagnostic_step(
            DiagnosticCheck::Available,
            availability.is_none(),
            "SCIM can be used here",
            "SCIM cannot be used here",
            availability.map_or("", |(_, remedy)| remedy),
        ),
        diagnostic_step(
            DiagnosticCheck::Enabled,
            organization.scim_enabled,
            "provisioning is turned on for the organization",
            "provisioning is turned off for the organization",
            "turn it on: organizationUpdate with scimEnabled: true",
        ),
        diagnostic_step(
            DiagnosticCheck::Active,
            found.status == ConnectionStatus::Active,
            "the connection is active",
            "the connection is deactivated, and its requests are refused",
            "activate it: connectionActivate",
        ),
    ]
}

/// Whether a live token exists, and when the last one ends.
async fn diagnose_tokens(
    cx: &Cx,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(DiagnosticStep, Option<DateTime<Utc>>)> {
    let tokens = scim_token::tokens_of_connections(cx, &[id]).await?;
    let ends = tokens.iter().filter(|token| scim_token::is_live(token, now)).map(|token| {
        let ends = [token.expires_at, token.retires_at].into_iter().flatten().min();
        ends.unwrap_or(NEVER_EXPIRES)
    });
    let ends: Option<DateTime<Utc>> = ends.max();
    let (finding, next) = match ends {
        None if tokens.is_empty() => {
            ("no token was ever issued".into(), Some("issue one: scimTokenIssue"))
        }
        None => {
            ("every token has expired or was revoked".into(), Some("issue one: scimTokenIssue"))
        }
        Some(end) if end == NEVER_EXPIRES => ("a token is live and does not expire".into(), None),
        Some(end) if end < now + EXPIRY_WARNING => (
            format!("the last live token ends at {}", end.to_rfc3339()),
            Some("rotate it in time: scimTokenRotate"),
        ),
        Some(end) => (format!("a token is live until {}", end.to_rfc3339()), None),
    };
    let step = DiagnosticStep {
        check: DiagnosticCheck::Token,
        ok: ends.is_some(),
        finding,
        next: next.map(Into::into),
    };
    Ok((step, ends))
}

/// Whether the other side was heard, and what to do if it never was.
fn contact_step(
    last_contact_at: Option<DateTime<Utc>>,
    heard: &str,
    silent: &str,
    next: String,
) -> DiagnosticStep {
    let (finding, next) = match last_contact_at {
        Some(at) => (format!("{heard} {}", at.to_rfc3339()), None),
        None => (silent.to_owned(), Some(next)),
    };
    let ok = last_contact_at.is_some();
    DiagnosticStep { check: DiagnosticCheck::Heard, ok, finding, next }
}

/// What failed in the last day.
async fn diagnose_troubles(
    cx: &Cx,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(DiagnosticStep, Vec<request_log::Entry>)> {
    let keyset = Keyset { limit: MAX_TROUBLES, descending: true, ..Default::default() };
    let log = request_log::list_request_log(
        cx,
        RequestLogQuery { connection: Some(id), troubles: true, ..Default::default() },
        &keyset,
    )
    .await?
    .rows;
    let troubles: Vec<_> =
        log.into_iter().filter(|entry| entry.last_at > now - RECENT_WINDOW).collect();
    let next = troubles.iter().find_map(request_log::next_step);
    let step = DiagnosticStep {
        check: DiagnosticCheck::Untroubled,
        ok: troubles.is_empty(),
        finding: match troubles.first() {
            None => "nothing has failed in the last day".into(),
            Some(latest) => format!(
                "requests have failed in the last day, as at {}",
                latest.last_at.to_rfc3339()
            ),
        },
        next: (!troubles.is_empty()).then(|| next.unwrap_or_else(|| "see the request log".into())),
    };
    Ok((step, troubles))
}

/// The result of the last run that read a connection's source. Whether the source answers now, the
/// mutation pullSourceTest says.
async fn diagnose_source_runs(cx: &Cx, found: &Connection) -> Result<DiagnosticStep> {
    let keyset = Keyset { limit: 1, descending: true, ..Default::default() };
    let which = sync::RunQuery { connection: Some(found.id), ..Default::default() };
    let runs = sync::list_runs(cx, &which, OrderBy::Age, &keyset).await?.rows;
    let (ok, finding, next) = match runs.first().map(|(run, _)| run) {
        None => (
            false,
            "its source was never read".into(),
            Some("test it (pullSourceTest) and read it: syncStart"),
        ),
        Some(run) => match (run.state, &run.reason) {
            (State::Failed | State::Waiting, Some(reason)) => {
                (false, format!("the last run says: {reason}"), None)
            }
            _ => (
                true,
                format!("its source was last read by a run of {}", run.created_at.to_rfc3339()),
                None,
            ),
        },
    };
    Ok(DiagnosticStep {
        check: DiagnosticCheck::Untroubled,
        ok,
        finding,
        next: next.map(Into::into),
    })
}

fn diagnostic_step(
    check: DiagnosticCheck,
    ok: bool,
    good: &str,
    bad: &str,
    remedy: &str,
) -> DiagnosticStep {
    let (finding, next) = if ok { (good, None) } else { (bad, Some(remedy.to_owned())) };
    DiagnosticStep { check, ok, finding: finding.into(), next }
}
