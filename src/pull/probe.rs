//! A look at a source, step by step: what an administrator wants to know before the first run. A step behind one that
//! failed is not tried, since it would find the same.

use std::time::Duration;

use uuid::Uuid;

use super::client::{Abilities, At, Client, Refusal};
use crate::context::Cx;
use crate::error::Result;

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A token is to be had, where an authorization server gives it.
    Token,
    /// The source is there, and says what it can do.
    Reached,
    /// It lists users to us.
    Users,
    /// It lists groups to us.
    Groups,
}

/// All of them, in their order.
const PROBES: [Probe; 4] = [Probe::Token, Probe::Reached, Probe::Users, Probe::Groups];
/// How long all steps together may take.
const LIMIT: Duration = Duration::from_secs(12);

/// What was found at one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub probe: Probe,
    pub ok: bool,
    /// What was found, in words for people.
    pub finding: String,
    /// What to do; none where nothing is to be done.
    pub next: Option<String>,
}

/// Looks at the source that a connection reads.
///
/// # Errors
/// When the connection reads none.
pub async fn look(cx: &Cx, connection: Uuid) -> Result<Vec<Step>> {
    let client = Client::open_for_probe(cx, connection).await?;
    let mut steps = Vec::new();
    // An error here ends the look, not the caller.
    if tokio::time::timeout(LIMIT, each(&client, &mut steps)).await.is_err() {
        let probe = PROBES.into_iter().nth(steps.len()).unwrap_or(Probe::Groups);
        let finding = format!("this and the steps before it took longer than {} s", LIMIT.as_secs());
        let next = Some("look why the source is slow; a run waits longer for it than this test".into());
        steps.push(Step { probe, ok: false, finding, next });
    }
    Ok(steps)
}

async fn each(client: &Client, steps: &mut Vec<Step>) -> Result<(), Refusal> {
    let token = client.authorize().await;
    keep(steps, Probe::Token, token, |()| "there is a token for the source".into())?;
    let abilities = client.abilities().await;
    keep(steps, Probe::Reached, abilities, |Abilities { filter, cursor, .. }| {
        let paging = if *cursor { "cursor" } else { "index" };
        let filter = if *filter { "can filter" } else { "cannot filter, so every run reads everything" };
        format!("the source was reached; it pages by {paging} and {filter}")
    })?;
    for (probe, endpoint) in [(Probe::Users, "Users"), (Probe::Groups, "Groups")] {
        let filter = client.source.user_filter.as_deref().filter(|_| probe == Probe::Users);
        let page = client.page(endpoint, filter, At::Index(0), 1).await;
        keep(steps, probe, page, |page| match page.total {
            Some(total) => format!("the source lists {total} of {endpoint}"),
            None => format!("the source lists {endpoint}, and does not say how many"),
        })?;
    }
    Ok(())
}

fn keep<T>(
    steps: &mut Vec<Step>,
    probe: Probe,
    found: Result<T, Refusal>,
    say: impl FnOnce(&T) -> String,
) -> Result<(), Refusal> {
    let (step, result) = match found {
        Ok(found) => (Step { probe, ok: true, finding: say(&found), next: None }, Ok(())),
        Err(refusal) => {
            let next = Some(remedy(&refusal));
            (Step { probe, ok: false, finding: refusal.words.clone(), next }, Err(refusal))
        }
    };
    steps.push(step);
    result
}

/// What to do about a refusal.
pub fn remedy(refusal: &Refusal) -> String {
    let remedy = match refusal.status.map(|status| status.as_u16()) {
        Some(401) => "give a valid secret: connectionUpdate with pull.secret",
        Some(403) => "allow this client at the source to read users and groups",
        Some(404) => "correct the base URL: it ends before /Users, for example in /scim/v2",
        Some(400) => "correct the filter or the page size, which the source refuses",
        Some(429) => "ask less often, or have the source's limit raised",
        Some(_) => "look at the source's own log, and start a run when it works again",
        None if refusal.words.contains("not public") => {
            "use a public address, or let the operator start the server with ROLECALL_PULL_PRIVATE_ADDRESSES=true"
        }
        None if refusal.words.contains("TLS was not") => "check that this port of the source speaks TLS (https)",
        None if refusal.words.contains("a connection was made") => {
            "the source was reached: look why it does not answer, or whether the base URL leads to another service"
        }
        None => "check the base URL, and that the source can be reached from this server over HTTPS",
    };
    remedy.into()
}
