//! Microsoft Graph: asked for the groups of people whose sign-in left groups out, because they are
//! in more than fit into a token. Only a complete answer replaces what is known; anything else is
//! tried again, later and later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use entity::assertion_source::GroupIdentity;
use entity::request_log::Outcome;
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::submit;
use crate::context::{App, Cx};
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::oidc::GraphSettings;
use crate::domain::connection::assertion_source::{AcceptingConnection, GraphAccess};
use crate::domain::sign_in;
use crate::domain::sign_in::ClaimedGroup;
use crate::domain::sign_in::directory_lookup::{ClaimedLookup, claim_due_lookups};
use crate::error::{Error, RefusalReason, Result};

/// Questions that one server asks at once.
const MAX_CONCURRENT: usize = 4;
/// The most groups of one answer.
const MAX_GROUPS: usize = 20_000;
/// The most pages of one answer, each with up to 999 groups.
const MAX_PAGES: usize = 30;
/// The longest page.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The longest answer of the token endpoint.
const MAX_TOKEN_ANSWER: usize = 64 * 1024;
/// The time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit of one answer with all its pages.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(90);
/// A wait that Graph asks for and that is not longer than this is made at once.
const MAX_SHORT_WAIT: Duration = Duration::from_secs(3);

/// Asks for the groups of all people whose turn it is.
///
/// # Errors
/// Those of the database.
pub async fn answer_due_lookups(app: &Arc<App>) -> Result<()> {
    let claimed = claim_due_lookups(app).await?;
    let mut answered = stream::iter(claimed).map(answer_lookup).buffer_unordered(MAX_CONCURRENT);
    let mut first = Ok(());
    while let Some(done) = answered.next().await {
        first = first.and(done);
    }
    first
}

/// Why there is no complete answer.
#[derive(Debug)]
struct GraphFailure {
    reason: RefusalReason,
    /// For the log; no name of a person, and no secret.
    why: String,
    /// How long Graph asks to wait.
    wait: Option<TimeDelta>,
}

impl GraphFailure {
    fn new(reason: RefusalReason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into(), wait: None }
    }
}

async fn answer_lookup(claimed: ClaimedLookup) -> Result<()> {
    let ClaimedLookup { cx, lookup, subject } = &claimed;
    let accepting = match assertion_source::find_accepting(cx, lookup.connection_id).await {
        Err(Error::NotFound(_)) => return claimed.finish().await,
        found => found?,
    };
    // Nothing to ask: the person was erased, or the settings have changed.
    let (Some(subject), Some(graph)) = (subject, accepting.open_graph(cx).await?) else {
        return claimed.finish().await;
    };
    let read_at = cx.app.clock.now();
    let reading = read_groups(cx, &accepting, &graph, subject);
    let read = tokio::time::timeout(LOOKUP_TIMEOUT, reading).await.unwrap_or_else(|_| {
        let why = format!("no complete answer within {} s", LOOKUP_TIMEOUT.as_secs());
        Err(GraphFailure::new(RefusalReason::SourceUnavailable, why))
    });
    let connection = Some(&accepting.connection);
    match read {
        Ok(groups) => {
            let replaced =
                sign_in::replace_claimed_groups(cx, lookup.connection_id, subject, groups, read_at)
                    .await;
            match replaced {
                // The account was deleted meanwhile.
                Err(Error::NotFound(_)) => {}
                replaced => drop(replaced?),
            }
            let user = Some(lookup.user_id);
            submit::note_request(cx, connection, "read groups", Outcome::Answered, None, user);
            claimed.finish().await
        }
        Err(GraphFailure { reason, why, wait }) => {
            let user = Some(lookup.user_id);
            let outcome = Outcome::Failed;
            submit::note_request(cx, connection, "read groups", outcome, Some(reason), user);
            let again = claimed.postpone(wait).await?;
            tracing::warn!(
                connection = %lookup.connection_id,
                why,
                again,
                "asking Microsoft Graph for groups failed"
            );
            Ok(())
        }
    }
}

/// All groups of a person.
async fn read_groups(
    cx: &Cx,
    accepting: &AcceptingConnection,
    access: &GraphAccess,
    subject: &str,
) -> Result<Vec<ClaimedGroup>, GraphFailure> {
    let identity = accepting.source.group_identity;
    let token = fetch_token(cx, access).await?;
    let mut url = groups_url(&access.client.settings, subject)?;
    let base = url.origin();
    let mut groups = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = fetch_page(cx, &url, &token).await?;
        let items = page["value"].as_array().ok_or_else(unreadable_answer)?;
        for item in items {
            add_group(item, identity, &mut groups)?;
        }
        if groups.len() > MAX_GROUPS {
            break;
        }
        let Some(next) = page.get("@odata.nextLink").and_then(Value::as_str) else {
            return Ok(groups);
        };
        let next = Url::parse(next).map_err(|_| unreadable_answer())?;
        // The token goes to this server only.
        if next.origin() != base {
            let why = "the next page is at another server";
            return Err(GraphFailure::new(RefusalReason::SourceUnreadable, why));
        }
        url = next;
    }
    let why = "the person is in more groups than are read";
    Err(GraphFailure::new(RefusalReason::TooLarge, why))
}

fn unreadable_answer() -> GraphFailure {
    GraphFailure::new(RefusalReason::SourceUnreadable, "the answer is not a list of groups")
}

/// Security groups only, as in tokens; direct and nested ones.
fn groups_url(graph: &GraphSettings, subject: &str) -> Result<Url, GraphFailure> {
    let wrong = || GraphFailure::new(RefusalReason::SourceAddress, "the base URL is not a URL");
    let mut url = Url::parse(&graph.base_url).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend([
        "users",
        subject,
        "transitiveMemberOf",
        "microsoft.graph.group",
    ]);
    url.query_pairs_mut()
        .append_pair("$select", "id,displayName,securityEnabled")
        .append_pair("$top", "999");
    Ok(url)
}

/// Adds a group of a page. One that cannot be read makes the answer incomplete.
fn add_group(
    item: &Value,
    identity: GroupIdentity,
    groups: &mut Vec<ClaimedGroup>,
) -> Result<(), GraphFailure> {
    if item["securityEnabled"] == false {
        return Ok(());
    }
    let id = item["id"].as_str().ok_or_else(unreadable_answer)?;
    let name = item["displayName"].as_str();
    let key = match identity {
        GroupIdentity::DisplayName => name.ok_or_else(unreadable_answer)?,
        GroupIdentity::ExternalId | GroupIdentity::Id => id,
    };
    groups.push(ClaimedGroup { key: key.to_owned(), display_name: name.map(Into::into) });
    Ok(())
}

async fn fetch_page(cx: &Cx, url: &Url, token: &str) -> Result<Value, GraphFailure> {
    let authorization = format!("Bearer {token}");
    let began = Instant::now();
    loop {
        let outbound = cx.app.key_rings.outbound();
        let answer = outbound
            .get_as(url, &authorization, REQUEST_TIMEOUT, MAX_PAGE_BYTES)
            .await
            .map_err(|why| GraphFailure::new(RefusalReason::SourceUnavailable, why))?;
        let wait = answer.retry_after.as_deref().and_then(|wait| wait.trim().parse::<u64>().ok());
        let wait = wait.map(Duration::from_secs);
        let reason = match answer.status {
            StatusCode::OK => {
                return serde_json::from_slice(&answer.body).map_err(|_| unreadable_answer());
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                if let Some(wait) = wait.filter(|wait| *wait <= MAX_SHORT_WAIT)
                    && began.elapsed() + wait < LOOKUP_TIMEOUT / 3
                {
                    tokio::time::sleep(wait).await;
                    continue;
                }
                RefusalReason::RateLimited
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RefusalReason::SourceCredentials,
            StatusCode::NOT_FOUND => RefusalReason::SourceAddress,
            _ => RefusalReason::SourceUnavailable,
        };
        let why = format!("Microsoft Graph answered {}", answer.status);
        let wait = wait.and_then(|wait| TimeDelta::from_std(wait).ok());
        return Err(GraphFailure { reason, why, wait });
    }
}

/// A token of the client (RFC 6749 section 4.4), as Microsoft documents it: the secret in the form.
async fn fetch_token(cx: &Cx, access: &GraphAccess) -> Result<String, GraphFailure> {
    let Some(secret) = &access.secret else {
        let why = "the connection has no client secret";
        return Err(GraphFailure::new(RefusalReason::SourceCredentials, why));
    };
    let graph = &access.client.settings;
    let wrong = |_| GraphFailure::new(RefusalReason::SourceAddress, "a URL is not one");
    let url = Url::parse(&graph.token_url).map_err(wrong)?;
    let base = Url::parse(&graph.base_url).map_err(wrong)?;
    let scope = format!("{}/.default", base.origin().ascii_serialization());
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", access.client.client_id.as_str()),
        ("client_secret", secret.as_str()),
        ("scope", &scope),
    ];
    let outbound = cx.app.key_rings.outbound();
    let answer = outbound
        .post_form(&url, &fields, None, MAX_TOKEN_ANSWER)
        .await
        .map_err(|why| GraphFailure::new(RefusalReason::SourceUnavailable, why))?;
    if answer.status != StatusCode::OK {
        let why = format!("the token endpoint answered {}", answer.status);
        let reason = match answer.status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RefusalReason::SourceCredentials
            }
            _ => RefusalReason::SourceUnavailable,
        };
        return Err(GraphFailure::new(reason, why));
    }
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    document["access_token"].as_str().map(Into::into).ok_or_else(|| {
        GraphFailure::new(RefusalReason::SourceUnreadable, "the token endpoint gave no token")
    })
}

/// Whether Graph gives a token to the client, for a test: one line that says why not.
pub(super) async fn probe_token(cx: &Cx, access: &GraphAccess) -> Result<(), String> {
    fetch_token(cx, access).await.map(drop).map_err(|failure| failure.why)
}
