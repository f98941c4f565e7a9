//! Tests a source step by step, for an administrator before the first run. After a step that
//! failed, the further steps are not tried, because they would fail for the same reason.

use std::time::Duration;

use uuid::Uuid;

use super::client::{PagePosition, SourceAbilities, SourceClient, SourceRefusal};
use crate::context::Cx;
use crate::error::Result;

/// The steps, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    /// The authorization server gives a token, where the connection uses one.
    Token,
    /// The source answers, and says what it supports.
    Reached,
    /// The source lists users.
    Users,
    /// The source lists groups.
    Groups,
}

/// All of them, in their order.
const PROBE_STEPS: [ProbeStep; 4] =
    [ProbeStep::Token, ProbeStep::Reached, ProbeStep::Users, ProbeStep::Groups];
/// How long all steps together may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(12);

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    pub probe: ProbeStep,
    pub ok: bool,
    /// The result as a text for administrators.
    pub finding: String,
    /// What to do; none where nothing is to be done.
    pub next: Option<String>,
}

/// Tests the source that a connection reads.
///
/// # Errors
/// When the connection reads no source.
pub async fn probe_source(cx: &Cx, connection: Uuid) -> Result<Vec<ProbeResult>> {
    let client = SourceClient::open_for_probe(cx, connection).await?;
    let mut steps = Vec::new();
    // An error of a step ends the test, and the steps until then are returned.
    if tokio::time::timeout(PROBE_TIMEOUT, run_steps(&client, &mut steps)).await.is_err() {
        let probe = PROBE_STEPS.into_iter().nth(steps.len()).unwrap_or(ProbeStep::Groups);
        let finding =
            format!("this and the steps before it took longer than {} s", PROBE_TIMEOUT.as_secs());
        let next = "find out why the source is slow; a run waits longer than this test";
        steps.push(ProbeResult { probe, ok: false, finding, next: Some(next.into()) });
    }
    Ok(steps)
}

async fn run_steps(
    client: &SourceClient,
    steps: &mut Vec<ProbeResult>,
) -> Result<(), SourceRefusal> {
    let token = client.check_authorization().await;
    keep_result(steps, ProbeStep::Token, token, |()| "there is a token for the source".into())?;
    let abilities = client.read_abilities().await;
    keep_result(
        steps,
        ProbeStep::Reached,
        abilities,
        |SourceAbilities { filter, cursor, .. }| {
            let paging = if *cursor { "cursor" } else { "index" };
            let filter =
                if *filter { "can filter" } else { "cannot filter, so every run reads everything" };
            format!("the source was reached; it pages by {paging} and {filter}")
        },
    )?;
    for (probe, endpoint) in [(ProbeStep::Users, "Users"), (ProbeStep::Groups, "Groups")] {
        let filter = client.source.user_filter.as_deref().filter(|_| probe == ProbeStep::Users);
        let page = client.read_page(endpoint, filter, PagePosition::Index(0), 1).await;
        keep_result(steps, probe, page, |page| match page.total {
            Some(total) => format!("the source lists {total} of {endpoint}"),
            None => format!("the source lists {endpoint}, and does not say how many"),
        })?;
    }
    Ok(())
}

fn keep_result<T>(
    steps: &mut Vec<ProbeResult>,
    probe: ProbeStep,
    found: Result<T, SourceRefusal>,
    say: impl FnOnce(&T) -> String,
) -> Result<(), SourceRefusal> {
    let (step, result) = match found {
        Ok(found) => (ProbeResult { probe, ok: true, finding: say(&found), next: None }, Ok(())),
        Err(refusal) => {
            let next = Some(remedy_of_refusal(&refusal));
            (ProbeResult { probe, ok: false, finding: refusal.words.clone(), next }, Err(refusal))
        }
    };
    steps.push(step);
    result
}

/// What to do about a refusal.
pub fn remedy_of_refusal(refusal: &SourceRefusal) -> String {
    let remedy = match refusal.status.map(|status| status.as_u16()) {
        Some(401) => "give a valid secret: connectionUpdate with pull.secret",
        Some(403) => "allow this client at the source to read users and groups",
        Some(404) => "correct the base URL: it ends before /Users, for example in /scim/v2",
        Some(400) => "correct the filter or the page size, which the source refuses",
        Some(429) => "ask less often, or have the source's limit raised",
        Some(_) => "look at the source's own log, and start a run when it works again",
        None if refusal.words.contains("not public") => {
            "use a public address, or let the operator start the server with \
             ROLECALL_PULL_PRIVATE_ADDRESSES=true"
        }
        None if refusal.words.contains("TLS was not") => {
            "check that this port of the source speaks TLS (https)"
        }
        None if refusal.words.contains("a connection was made") => {
            "the source was reached: find out why it does not answer, or whether the base URL \
             leads to another service"
        }
        None => {
            "check the base URL, and that the source can be reached from this server over HTTPS"
        }
    };
    remedy.into()
}
