//! Whether a connection works, step by step: what an administrator looks for when nobody arrives. Every step is
//! judged, also behind one that failed, so that all that is to be done can be done at once.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, ConnectionStatus};
use uuid::Uuid;

use super::connection::{self, Connection};
use super::list::Keyset;
use super::organization::{self, Availability};
use super::request_log::{self, Which};
use super::sync::{self, State};
use super::token;
use crate::context::Cx;
use crate::error::Result;

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The installation and the organization's mode allow SCIM.
    Available,
    /// The organization's flag is on.
    Enabled,
    /// The connection is served.
    Active,
    /// A token opens it.
    Token,
    /// The identity provider has called.
    Heard,
    /// Nothing failed lately.
    Untroubled,
}

/// What was found at one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub check: Check,
    pub ok: bool,
    /// What was found, in words for people.
    pub finding: String,
    /// What to do; none where nothing is to be done.
    pub next: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkup {
    pub steps: Vec<Step>,
    /// The latest end of a live token; none = there is none, or one never ends.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// What failed in the last day, the latest kinds first.
    pub troubles: Vec<request_log::Entry>,
}

/// The end of a token that has none.
const NEVER: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;
/// How far back failures matter.
const LATELY: Duration = Duration::hours(24);
/// An end of the last token that is nearer than this is told.
const SOON: Duration = Duration::days(14);
/// The most kinds of failures that are shown.
const TROUBLES: u64 = 5;

/// Looks at a live connection.
///
/// # Errors
/// [`Error::NotFound`](crate::error::Error::NotFound) where there is none.
pub async fn examine(cx: &Cx, id: Uuid) -> Result<Checkup> {
    let found = connection::get(cx, id).await?;
    let organization = organization::current(cx).await?;
    let now = cx.app.clock.now();
    let availability = Availability::of(&cx.app, organization.integration_mode).remedy();
    let mut steps = vec![
        step(Check::Available, availability.is_none(), "SCIM can be used here", "SCIM cannot be used here", {
            availability.map_or("", |(_, remedy)| remedy)
        }),
        step(
            Check::Enabled,
            organization.scim_enabled,
            "provisioning is turned on for the organization",
            "provisioning is turned off for the organization",
            "turn it on: organizationUpdate with scimEnabled: true",
        ),
        step(
            Check::Active,
            found.status == ConnectionStatus::Active,
            "the connection is active",
            "the connection is deactivated, and its requests are refused",
            "activate it: connectionActivate",
        ),
    ];
    if found.kind == ConnectionKind::ScimPull {
        steps.push(pulled(cx, &found).await?);
        return Ok(Checkup { steps, token_expires_at: None, troubles: Vec::new() });
    }
    let tokens = token::of_connections(cx, &[id]).await?;
    let ends = tokens.iter().filter(|token| token::is_live(token, now)).map(|token| {
        let ends = [token.expires_at, token.retires_at].into_iter().flatten().min();
        ends.unwrap_or(NEVER)
    });
    let ends: Option<DateTime<Utc>> = ends.max();
    let (finding, next) = match ends {
        None if tokens.is_empty() => ("no token was ever issued".into(), Some("issue one: scimTokenIssue")),
        None => ("every token has expired or was revoked".into(), Some("issue one: scimTokenIssue")),
        Some(end) if end == NEVER => ("a token is live and does not expire".into(), None),
        Some(end) if end < now + SOON => {
            (format!("the last live token ends at {}", end.to_rfc3339()), Some("rotate it in time: scimTokenRotate"))
        }
        Some(end) => (format!("a token is live until {}", end.to_rfc3339()), None),
    };
    steps.push(Step { check: Check::Token, ok: ends.is_some(), finding, next: next.map(Into::into) });
    steps.push(match found.last_contact_at {
        Some(at) => Step {
            check: Check::Heard,
            ok: true,
            finding: format!("the identity provider was last heard at {}", at.to_rfc3339()),
            next: None,
        },
        None => Step {
            check: Check::Heard,
            ok: false,
            finding: "the identity provider was never heard".into(),
            next: Some(format!(
                "paste {} and a token into the identity provider and test the connection there; see docs/connect",
                organization::base_url(&cx.app, &organization.slug)
            )),
        },
    });
    let keyset = Keyset { limit: TROUBLES, descending: true, ..Default::default() };
    let log = request_log::list(cx, Which { connection: Some(id), troubles: true }, &keyset).await?.rows;
    let troubles: Vec<_> = log.into_iter().filter(|entry| entry.last_at > now - LATELY).collect();
    let next = troubles.iter().find_map(request_log::next_step);
    steps.push(Step {
        check: Check::Untroubled,
        ok: troubles.is_empty(),
        finding: match troubles.first() {
            None => "nothing has failed in the last day".into(),
            Some(latest) => format!("requests have failed in the last day, as at {}", latest.last_at.to_rfc3339()),
        },
        next: (!troubles.is_empty()).then(|| next.unwrap_or_else(|| "see the request log".into())),
    });
    let token_expires_at = ends.filter(|end| *end != NEVER);
    Ok(Checkup { steps, token_expires_at, troubles })
}

/// How the last run went that read a connection's source; whether the source answers, a look at it says (connectionTest).
async fn pulled(cx: &Cx, found: &Connection) -> Result<Step> {
    let keyset = Keyset { limit: 1, descending: true, ..Default::default() };
    let runs = sync::list(cx, Some(found.id), &keyset).await?.rows;
    let (ok, finding, next) = match runs.first() {
        None => (false, "its source was never read".into(), Some("test it (connectionTest) and read it: syncStart")),
        Some(run) => match (run.state, &run.reason) {
            (State::Failed | State::Waiting, Some(reason)) => (false, format!("the last run says: {reason}"), None),
            _ => (true, format!("its source was last read by a run of {}", run.created_at.to_rfc3339()), None),
        },
    };
    Ok(Step { check: Check::Untroubled, ok, finding, next: next.map(Into::into) })
}

fn step(check: Check, ok: bool, good: &str, bad: &str, remedy: &str) -> Step {
    let (finding, next) = if ok { (good, None) } else { (bad, Some(remedy.to_owned())) };
    Step { check, ok, finding: finding.into(), next }
}
