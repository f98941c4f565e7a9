//! A client of a SCIM source (RFC 7644) that tolerates the faults of servers: it waits when a
//! server asks for it, tries again after errors that may pass, reads both kinds of paging, and
//! checks what a server says.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::context::{App, Cx};
use crate::domain::connection::pull_source;
use crate::domain::connection::pull_source::{Auth, PullSource};
use crate::domain::sync::plan::RemoteResource;
use crate::error::{RefusalReason, Result};
use crate::http_client::{GuardedClient, HttpAnswer};

/// The longest answer that is read.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How often a run tries a request, the first time included.
const MAX_TRIES: u32 = 6;
/// How long a probe of a connection waits for one answer. It must have its result before the
/// request of the administrator times out.
const PROBE_TIME: Duration = Duration::from_secs(7);
/// The first pause before another try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that the source may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// A token is renewed this many seconds before its end.
const TOKEN_MARGIN: i64 = 30;
/// The source could not be reached, or has an error of its own.
const SOURCE_UNAVAILABLE: RefusalReason = RefusalReason::SourceUnavailable;
/// The source does not accept the credentials, or does not let them read.
const SOURCE_CREDENTIALS: RefusalReason = RefusalReason::SourceCredentials;
/// Nothing can be read at the address, or the source does not support the request.
const SOURCE_ADDRESS: RefusalReason = RefusalReason::SourceAddress;
/// The source's answer is not SCIM, or does not end.
pub const SOURCE_UNREADABLE: RefusalReason = RefusalReason::SourceUnreadable;
/// The longest id of a resource.
const MAX_ID: usize = 512;

/// Why the source gave no answer that can be used.
#[derive(Debug, Clone)]
pub struct SourceRefusal {
    pub status: Option<StatusCode>,
    pub scim_type: Option<String>,
    /// The reason as a code, for the review queue.
    pub reason: RefusalReason,
    /// The reason as a text for administrators.
    pub words: String,
}

impl SourceRefusal {
    fn of(reason: RefusalReason, words: impl Into<String>) -> Self {
        Self { status: None, scim_type: None, reason, words: words.into() }
    }

    /// Whether the source, which can be read otherwise, cannot answer this request: it does not
    /// support it, or its answer is not SCIM.
    pub fn says_nothing(&self) -> bool {
        [SOURCE_ADDRESS, SOURCE_UNREADABLE].contains(&self.reason)
    }

    /// Whether a paging cursor was refused: it has expired, or cursors do not work there.
    pub fn of_cursor(&self) -> bool {
        self.status == Some(StatusCode::BAD_REQUEST)
    }
}

/// What a source says that it supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceAbilities {
    pub filter: bool,
    pub cursor: bool,
    /// The largest page that paging by cursor gives.
    pub most: Option<u64>,
}

/// The position of a page.
#[derive(Debug, Clone, Copy)]
pub enum PagePosition<'a> {
    /// The page whose first resource has this index, from 0.
    Index(u64),
    /// The page of this cursor; empty = the first.
    Cursor(&'a str),
}

/// A page of a list.
#[derive(Debug)]
pub struct SourcePage {
    pub resources: Vec<RemoteResource>,
    /// Elements of the list that are not resources.
    pub rubbish: u64,
    /// How many resources there are in all, if the source says it.
    pub total: Option<u64>,
    pub next_cursor: Option<String>,
}

impl SourcePage {
    /// How many elements the source listed.
    pub fn len(&self) -> u64 {
        self.resources.len() as u64 + self.rubbish
    }
}

/// A client of one source.
pub struct SourceClient {
    app: Arc<App>,
    outbound: GuardedClient,
    pub source: PullSource,
    secret: String,
    /// How often a request is tried, the first time included.
    tries: u32,
    /// How long the source may take for one answer.
    time: Duration,
    /// A token of the authorization server, and when it is to be renewed.
    token: Mutex<Option<(String, DateTime<Utc>)>>,
}

impl SourceClient {
    /// A client of the source that a connection reads; it sends no request yet.
    ///
    /// # Errors
    /// When the connection reads no source.
    pub async fn open_source(cx: &Cx, connection: Uuid) -> Result<Self> {
        Self::with_time_limit(
            cx,
            connection,
            Duration::from_secs(cx.app.config.pull_timeout.into()),
            MAX_TRIES,
        )
        .await
    }

    /// For an administrator who waits for the answer: each request is tried once, for a short time.
    ///
    /// # Errors
    /// As [`Self::open_source`].
    pub async fn open_for_probe(cx: &Cx, connection: Uuid) -> Result<Self> {
        let time = Duration::from_secs(cx.app.config.pull_timeout.into());
        Self::with_time_limit(cx, connection, time.min(PROBE_TIME), 1).await
    }

    async fn with_time_limit(
        cx: &Cx,
        connection: Uuid,
        time: Duration,
        tries: u32,
    ) -> Result<Self> {
        let (source, secret) = pull_source::open_source(cx, connection).await?;
        let private = cx.app.config.pull_private_addresses;
        let outbound =
            GuardedClient::with_time_limit(private, time).map_err(crate::error::Error::Internal)?;
        Ok(Self {
            app: cx.app.clone(),
            outbound,
            source,
            secret,
            tries,
            time,
            token: Mutex::default(),
        })
    }

    /// For a caller that tries again by its own schedule.
    pub fn with_single_try(self) -> Self {
        Self { tries: 1, ..self }
    }

    /// What the source says that it supports; a source that says nothing supports nothing.
    ///
    /// # Errors
    /// When the source does not answer, or refuses the request.
    pub async fn read_abilities(&self) -> Result<SourceAbilities, SourceRefusal> {
        let config = match self.get_json("ServiceProviderConfig", &[]).await {
            Ok(config) => config,
            Err(SourceRefusal {
                status: Some(StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED),
                ..
            }) => Map::new(),
            Err(refusal) => return Err(refusal),
        };
        let pagination = &config.get("pagination").cloned().unwrap_or_default();
        Ok(SourceAbilities {
            filter: config.get("filter").is_some_and(|filter| filter["supported"] == true),
            cursor: pagination["cursor"] == true,
            most: pagination["maxPageSize"].as_u64(),
        })
    }

    /// A page of `Users` or `Groups`.
    ///
    /// # Errors
    /// When the source gives no such page.
    pub async fn read_page(
        &self,
        endpoint: &str,
        filter: Option<&str>,
        at: PagePosition<'_>,
        count: u64,
    ) -> Result<SourcePage, SourceRefusal> {
        let (name, place) = match at {
            PagePosition::Index(index) => ("startIndex", (index + 1).to_string()),
            PagePosition::Cursor(cursor) => ("cursor", cursor.to_owned()),
        };
        let count = count.to_string();
        let mut query = vec![(name, place.as_str()), ("count", count.as_str())];
        query.extend(filter.map(|filter| ("filter", filter)));
        let mut list = self.get_json(endpoint, &query).await?;
        let total = list.get("totalResults").and_then(Value::as_u64);
        let listed = match list.remove("Resources") {
            Some(Value::Array(listed)) => listed,
            // RFC 7644 section 3.4.2: a list without resources may leave them out.
            None | Some(Value::Null) if list.contains_key("totalResults") || is_list(&list) => {
                Vec::new()
            }
            _ => {
                return Err(SourceRefusal::of(
                    SOURCE_UNREADABLE,
                    format!("{endpoint}: the answer is no list of SCIM"),
                ));
            }
        };
        let mut page = SourcePage { resources: Vec::new(), rubbish: 0, total, next_cursor: None };
        for element in listed {
            match parse_resource(element) {
                Some(remote) => page.resources.push(remote),
                None => page.rubbish += 1,
            }
        }
        if let (PagePosition::Cursor(_), Some(Value::String(cursor))) =
            (at, list.remove("nextCursor"))
        {
            page.next_cursor = (!cursor.is_empty() && cursor.len() <= 4_096).then_some(cursor);
        }
        Ok(page)
    }

    /// A resource of `Users` or `Groups` by the source's id; none if the source says that it does
    /// not exist.
    ///
    /// # Errors
    /// When the source does not answer, refuses the request, or answers with another resource.
    pub async fn read_one(
        &self,
        endpoint: &str,
        id: &str,
    ) -> Result<Option<RemoteResource>, SourceRefusal> {
        let mut path = Url::parse(&format!("x:/{endpoint}"))
            .map_err(|_| SourceRefusal::of(SOURCE_ADDRESS, "no path"))?;
        // Whatever the id contains, it stays one segment of the path.
        if id == "." || id == ".." || add_segment(&mut path, id).is_err() {
            return Ok(None);
        }
        match self.get_json(path.path().trim_start_matches('/'), &[]).await {
            Ok(found) => parse_resource(Value::Object(found))
                .filter(|found| found.id == id)
                .map(Some)
                .ok_or_else(|| {
                    SourceRefusal::of(
                        SOURCE_UNREADABLE,
                        format!("{endpoint}: the answer is not the resource with the requested id"),
                    )
                }),
            Err(SourceRefusal { status: Some(StatusCode::NOT_FOUND), .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Like [`Self::read_one`], but only a resource that the connection's filter selects.
    ///
    /// # Errors
    /// As [`Self::read_one`].
    pub async fn read_still_listed(
        &self,
        endpoint: &str,
        id: &str,
    ) -> Result<Option<RemoteResource>, SourceRefusal> {
        let Some(filter) = self.source.user_filter.as_deref().filter(|_| endpoint == "Users")
        else {
            return self.read_one(endpoint, id).await;
        };
        let filter = format!("({filter}) and id eq {}", quote_filter_value(id));
        let page = match self.read_page(endpoint, Some(&filter), PagePosition::Index(0), 1).await {
            // The source cannot filter by id, but it can say whether the id exists at all.
            Err(refusal) if refusal.says_nothing() => {
                return self.read_one(endpoint, id).await?.map_or(Ok(None), |_| Err(refusal));
            }
            page => page?,
        };
        match page.resources.iter().position(|found| found.id == id) {
            Some(place) => Ok(page.resources.into_iter().nth(place)),
            None if page.len() == 0 && page.total.unwrap_or_default() == 0 => Ok(None),
            None => {
                let words = format!(
                    "{endpoint}: the source lists other resources than the one with the requested \
                     id"
                );
                Err(SourceRefusal::of(SOURCE_UNREADABLE, words))
            }
        }
    }

    /// Gets a token for the source.
    ///
    /// # Errors
    /// When the authorization server gives no token.
    pub async fn check_authorization(&self) -> Result<(), SourceRefusal> {
        self.authorization_header(false).await.map(|_| ())
    }

    /// The answer of an endpoint; tried again after errors that may pass.
    async fn get_json(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Map<String, Value>, SourceRefusal> {
        let mut url = Url::parse(&format!("{}/{path}", self.source.base_url)).map_err(|_| {
            SourceRefusal::of(SOURCE_ADDRESS, "the base URL of the source is not a URL")
        })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut renewed = false;
        let mut tried = 0;
        loop {
            tried += 1;
            let authorization = self.authorization_header(false).await?;
            let answered = self.outbound.get_as(&url, &authorization, self.time, MAX_BODY).await;
            let (refusal, wait) = match answered {
                Ok(answer)
                    if answer.status == StatusCode::UNAUTHORIZED
                        && self.can_renew_token()
                        && !renewed =>
                {
                    // The token was revoked, or the clocks of the servers differ.
                    renewed = true;
                    self.authorization_header(true).await?;
                    continue;
                }
                Ok(answer) if answer.status.is_success() => {
                    match serde_json::from_slice(&answer.body) {
                        Ok(Value::Object(object)) => return Ok(object),
                        _ => (
                            SourceRefusal::of(
                                SOURCE_UNREADABLE,
                                format!("{path}: the answer is not a JSON object"),
                            ),
                            None,
                        ),
                    }
                }
                Ok(answer) => {
                    let wait =
                        answer.retry_after.as_deref().and_then(|text| self.retry_after(text));
                    let refusal = refusal_of_answer(path, &answer);
                    if !is_temporary(answer.status) {
                        return Err(refusal);
                    }
                    (refusal, wait)
                }
                // The address stays a private one, so another try cannot succeed.
                Err(words) if words.contains("not public") => {
                    return Err(SourceRefusal::of(SOURCE_ADDRESS, words));
                }
                Err(words) => (SourceRefusal::of(SOURCE_UNAVAILABLE, words), None),
            };
            if tried >= self.tries {
                return Err(SourceRefusal {
                    words: describe_tries(refusal.words, tried),
                    ..refusal
                });
            }
            tokio::time::sleep(wait.unwrap_or_else(|| backoff_after(tried))).await;
        }
    }

    /// RFC 7231 section 7.1.3: seconds, or a date.
    fn retry_after(&self, text: &str) -> Option<Duration> {
        let seconds = match text.trim().parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let until = DateTime::parse_from_rfc2822(text.trim()).ok()?;
                (until.to_utc() - self.app.clock.now()).num_seconds().max(0).unsigned_abs()
            }
        };
        Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
    }

    fn can_renew_token(&self) -> bool {
        self.source.auth == Auth::ClientCredentials
    }

    /// The value of the Authorization header: RFC 6750 section 2.1.
    async fn authorization_header(&self, renew: bool) -> Result<String, SourceRefusal> {
        if !self.can_renew_token() {
            return Ok(format!("Bearer {}", self.secret));
        }
        let mut known = self.token.lock().await;
        let now = self.app.clock.now();
        if let Some((token, until)) = &*known
            && !renew
            && *until > now
        {
            return Ok(format!("Bearer {token}"));
        }
        let mut tried = 0;
        let answer = loop {
            tried += 1;
            let answered = self.ask_for_token().await;
            match answered {
                Ok(answer) if !is_temporary(answer.status) => break answer,
                other if tried >= self.tries => {
                    break other.map_err(|words| {
                        SourceRefusal::of(
                            SOURCE_UNAVAILABLE,
                            describe_tries(format!("the token: {words}"), tried),
                        )
                    })?;
                }
                Ok(answer) => {
                    let wait =
                        answer.retry_after.as_deref().and_then(|text| self.retry_after(text));
                    tokio::time::sleep(wait.unwrap_or_else(|| backoff_after(tried))).await;
                }
                Err(_) => tokio::time::sleep(backoff_after(tried)).await,
            }
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(token) = body["access_token"].as_str().filter(|_| answer.status.is_success())
        else {
            let error: String =
                body["error"].as_str().unwrap_or("no token").chars().take(100).collect();
            let words = format!("the authorization server answered {}: {error}", answer.status);
            return Err(SourceRefusal {
                status: Some(StatusCode::UNAUTHORIZED),
                ..SourceRefusal::of(SOURCE_CREDENTIALS, words)
            });
        };
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SourceRefusal::of(
                SOURCE_UNREADABLE,
                "the authorization server gave a token that cannot be sent in a header",
            ));
        }
        let lasts = body["expires_in"].as_i64().unwrap_or(300).clamp(0, 24 * 60 * 60);
        *known = Some((
            token.to_owned(),
            now + chrono::Duration::seconds(lasts - TOKEN_MARGIN.min(lasts / 2)),
        ));
        Ok(format!("Bearer {token}"))
    }

    /// RFC 6749 section 4.4.2; the client's secret is sent as section 2.3.1 prefers it.
    async fn ask_for_token(&self) -> Result<HttpAnswer, String> {
        let url = self.source.token_url.as_deref().unwrap_or_default();
        let url = Url::parse(url).map_err(|_| "the token's URL is not a URL".to_owned())?;
        let id = self.source.client_id.as_deref().unwrap_or_default();
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(self.source.scope.as_deref().map(|scope| ("scope", scope)));
        let word = |text: &str| {
            crate::http_client::encode_form(&[("", text)]).trim_start_matches('=').to_owned()
        };
        let basic =
            format!("Basic {}", STANDARD.encode(format!("{}:{}", word(id), word(&self.secret))));
        let answer = self.outbound.post_form(&url, &fields, Some(&basic), MAX_BODY).await?;
        if ![StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED].contains(&answer.status) {
            return Ok(answer);
        }
        // Some servers accept the secret only in the form.
        fields.extend([("client_id", id), ("client_secret", self.secret.as_str())]);
        self.outbound.post_form(&url, &fields, None, MAX_BODY).await
    }
}

/// Adds the number of tries to the text of a refusal.
fn describe_tries(words: String, tries: u32) -> String {
    if tries > 1 { format!("{words}, tried {tries} times") } else { words }
}

/// Whether a message says that it is a list. An error message is none, whatever its status is.
fn is_list(message: &Map<String, Value>) -> bool {
    let urns = message
        .get("schemas")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    urns.into_iter()
        .any(|urn| urn.eq_ignore_ascii_case("urn:ietf:params:scim:api:messages:2.0:ListResponse"))
}

/// A resource of a list; none if it has no usable id.
fn parse_resource(element: Value) -> Option<RemoteResource> {
    let Value::Object(attributes) = element else { return None };
    let id = match attributes.get("id")? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let fit = !id.trim().is_empty() && id.len() <= MAX_ID && !id.chars().any(char::is_control);
    fit.then_some(RemoteResource { id, attributes })
}

/// Adds a segment to a path.
fn add_segment(url: &mut Url, segment: &str) -> Result<(), ()> {
    url.path_segments_mut()?.push(segment);
    Ok(())
}

fn is_temporary(status: StatusCode) -> bool {
    let for_good = status == StatusCode::NOT_IMPLEMENTED;
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error() && !for_good
}

/// The refusal in an answer of the source (RFC 7644 section 3.12).
fn refusal_of_answer(path: &str, answer: &HttpAnswer) -> SourceRefusal {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let path = path.split('/').next().unwrap_or_default();
    let mut words = format!("{path}: the source answered {}", answer.status);
    if let Some(detail) = body["detail"].as_str() {
        let detail: String = detail.chars().filter(|c| !c.is_control()).take(200).collect();
        words = format!("{words}: {detail}");
    }
    let reason = match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SOURCE_CREDENTIALS,
        StatusCode::TOO_MANY_REQUESTS => RefusalReason::RateLimited,
        status if is_temporary(status) => SOURCE_UNAVAILABLE,
        _ => SOURCE_ADDRESS,
    };
    SourceRefusal {
        status: Some(answer.status),
        scim_type: body["scimType"].as_str().map(Into::into),
        reason,
        words,
    }
}

/// The pause before the next try: twice as long each time, and with a random part, so that clients
/// do not try at the same time.
fn backoff_after(tried: u32) -> Duration {
    let whole = FIRST_PAUSE * 2_u32.pow(tried.saturating_sub(1).min(6));
    let jitter = Uuid::new_v4().as_u128() as u32 % 1_000;
    whole / 2 + whole * jitter / 2_000
}

/// A text, quoted for a SCIM filter.
pub fn quote_filter_value(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        for tried in 1..6 {
            let whole = FIRST_PAUSE * 2_u32.pow(tried - 1);
            assert!((0..50).all(|_| (whole / 2..=whole).contains(&backoff_after(tried))));
        }
    }

    #[test]
    fn what_has_no_id_is_no_resource() {
        let read = |text: &str| {
            parse_resource(serde_json::from_str(text).unwrap()).map(|remote| remote.id)
        };
        assert_eq!(read(r#"{"id":"a"}"#).as_deref(), Some("a"));
        assert_eq!(read(r#"{"id":7}"#).as_deref(), Some("7"));
        for rubbish in
            ["null", "7", "[]", "{}", r#"{"id":""}"#, r#"{"id":null}"#, r#"{"id":"a\u0000"}"#]
        {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }
}
