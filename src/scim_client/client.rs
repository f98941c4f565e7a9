//! A client of a SCIM source (RFC 7644), patient with what servers do: it waits when told to, tries again what may pass,
//! reads either kind of paging, and believes little of what it is told.

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
use crate::domain::pull_source::{self, Auth, PullSource};
use crate::domain::sync::carry::Remote;
use crate::error::Result;
use crate::outbound::{Answer, Outbound};

/// The longest answer that is read.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How often a run makes a request in all.
const TRIES: u32 = 6;
/// How long a probe of a connection waits for one answer: what it finds must be told before the request that asks for
/// it is out of time.
const PROBE_TIME: Duration = Duration::from_secs(7);
/// The first pause before another try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that the source may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// A token is renewed so long before its end.
const TOKEN_MARGIN: i64 = 30;
/// The source was not to be reached, or has a fault of its own.
const UNAVAILABLE: &str = "SOURCE_UNAVAILABLE";
/// The source does not know us, or does not let us read.
const CREDENTIALS: &str = "SOURCE_CREDENTIALS";
/// The address leads to nothing that can be read, or the source cannot do what is asked of it.
const ADDRESS: &str = "SOURCE_ADDRESS";
/// What the source answers is not SCIM, or has no end.
pub const UNREADABLE: &str = "SOURCE_UNREADABLE";
/// The longest id of a resource.
const MAX_ID: usize = 512;

/// Why the source gave no answer that can be used.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: Option<StatusCode>,
    pub scim_type: Option<String>,
    /// The same as a code, for the review queue.
    pub reason: &'static str,
    /// In words for people.
    pub words: String,
}

impl Refusal {
    fn of(reason: &'static str, words: impl Into<String>) -> Self {
        Self { status: None, scim_type: None, reason, words: words.into() }
    }

    /// Whether the source, which can be read otherwise, cannot say what it was asked for: it does not know how, or
    /// answers nonsense.
    pub fn says_nothing(&self) -> bool {
        [ADDRESS, UNREADABLE].contains(&self.reason)
    }

    /// Whether a paging cursor was refused: it has expired, or cursors do not work there.
    pub fn of_cursor(&self) -> bool {
        self.status == Some(StatusCode::BAD_REQUEST)
    }
}

/// What a source says that it can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    pub filter: bool,
    pub cursor: bool,
    /// The largest page that paging by cursor gives.
    pub most: Option<u64>,
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// The one whose first resource is this, from 0.
    Index(u64),
    /// The one that the cursor leads to; empty = the first.
    Cursor(&'a str),
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    pub resources: Vec<Remote>,
    /// Elements of the list that are no resources.
    pub rubbish: u64,
    /// How many there are in all, if the source says so.
    pub total: Option<u64>,
    pub next_cursor: Option<String>,
}

impl Page {
    /// How many elements the source listed.
    pub fn len(&self) -> u64 {
        self.resources.len() as u64 + self.rubbish
    }
}

/// A client of one source.
pub struct Client {
    app: Arc<App>,
    outbound: Outbound,
    pub source: PullSource,
    secret: String,
    /// How often a request is made in all.
    tries: u32,
    /// How long the source may take for one answer.
    time: Duration,
    /// A token of the authorization server, and when it is to be renewed.
    token: Mutex<Option<(String, DateTime<Utc>)>>,
}

impl Client {
    /// A client of the source that a connection reads; nothing is called yet.
    ///
    /// # Errors
    /// When the connection reads none.
    pub async fn open(cx: &Cx, connection: Uuid) -> Result<Self> {
        Self::within(cx, connection, Duration::from_secs(cx.app.config.pull_timeout.into()), TRIES).await
    }

    /// For an administrator who waits for the answer: each request is made once, and for a short time.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_for_probe(cx: &Cx, connection: Uuid) -> Result<Self> {
        let time = Duration::from_secs(cx.app.config.pull_timeout.into());
        Self::within(cx, connection, time.min(PROBE_TIME), 1).await
    }

    async fn within(cx: &Cx, connection: Uuid, time: Duration, tries: u32) -> Result<Self> {
        let (source, secret) = pull_source::open(cx, connection).await?;
        let private = cx.app.config.pull_private_addresses;
        let outbound = Outbound::within(private, time).map_err(crate::error::Error::Internal)?;
        Ok(Self { app: cx.app.clone(), outbound, source, secret, tries, time, token: Mutex::default() })
    }

    /// For whoever comes again by a schedule of its own.
    pub fn impatient(self) -> Self {
        Self { tries: 1, ..self }
    }

    /// What the source says that it can do; one that says nothing can do nothing.
    ///
    /// # Errors
    /// When it does not answer, or refuses us.
    pub async fn abilities(&self) -> Result<Abilities, Refusal> {
        let config = match self.get("ServiceProviderConfig", &[]).await {
            Ok(config) => config,
            Err(Refusal { status: Some(StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED), .. }) => Map::new(),
            Err(refusal) => return Err(refusal),
        };
        let pagination = &config.get("pagination").cloned().unwrap_or_default();
        Ok(Abilities {
            filter: config.get("filter").is_some_and(|filter| filter["supported"] == true),
            cursor: pagination["cursor"] == true,
            most: pagination["maxPageSize"].as_u64(),
        })
    }

    /// A page of `Users` or `Groups`.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn page(&self, endpoint: &str, filter: Option<&str>, at: At<'_>, count: u64) -> Result<Page, Refusal> {
        let (name, place) = match at {
            At::Index(index) => ("startIndex", (index + 1).to_string()),
            At::Cursor(cursor) => ("cursor", cursor.to_owned()),
        };
        let count = count.to_string();
        let mut query = vec![(name, place.as_str()), ("count", count.as_str())];
        query.extend(filter.map(|filter| ("filter", filter)));
        let mut list = self.get(endpoint, &query).await?;
        let total = list.get("totalResults").and_then(Value::as_u64);
        let listed = match list.remove("Resources") {
            Some(Value::Array(listed)) => listed,
            // RFC 7644 section 3.4.2: a list without resources may leave them out.
            None | Some(Value::Null) if list.contains_key("totalResults") || is_list(&list) => Vec::new(),
            _ => return Err(Refusal::of(UNREADABLE, format!("{endpoint}: the answer is no list of SCIM"))),
        };
        let mut page = Page { resources: Vec::new(), rubbish: 0, total, next_cursor: None };
        for element in listed {
            match remote(element) {
                Some(remote) => page.resources.push(remote),
                None => page.rubbish += 1,
            }
        }
        if let (At::Cursor(_), Some(Value::String(cursor))) = (at, list.remove("nextCursor")) {
            page.next_cursor = (!cursor.is_empty() && cursor.len() <= 4_096).then_some(cursor);
        }
        Ok(page)
    }

    /// One of `Users` or `Groups` by the source's id; none if the source says that it has none.
    ///
    /// # Errors
    /// When the source does not answer, refuses us, or answers with anything else than what was asked for.
    pub async fn one(&self, endpoint: &str, id: &str) -> Result<Option<Remote>, Refusal> {
        let mut path = Url::parse(&format!("x:/{endpoint}")).map_err(|_| Refusal::of(ADDRESS, "no path"))?;
        // Whatever the id holds, it stays one segment of the path.
        if id == "." || id == ".." || add(&mut path, id).is_err() {
            return Ok(None);
        }
        match self.get(path.path().trim_start_matches('/'), &[]).await {
            Ok(found) => remote(Value::Object(found)).filter(|found| found.id == id).map(Some).ok_or_else(|| {
                Refusal::of(
                    UNREADABLE,
                    format!("{endpoint}: the answer is not the resource of the id that was asked for"),
                )
            }),
            Err(Refusal { status: Some(StatusCode::NOT_FOUND), .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The same, if it is among those that are to be read.
    ///
    /// # Errors
    /// As [`Client::one`].
    pub async fn still(&self, endpoint: &str, id: &str) -> Result<Option<Remote>, Refusal> {
        let Some(filter) = self.source.user_filter.as_deref().filter(|_| endpoint == "Users") else {
            return self.one(endpoint, id).await;
        };
        let filter = format!("({filter}) and id eq {}", quoted(id));
        let page = match self.page(endpoint, Some(&filter), At::Index(0), 1).await {
            // It cannot look for an id among others, but knows whether the id is there at all.
            Err(refusal) if refusal.says_nothing() => {
                return self.one(endpoint, id).await?.map_or(Ok(None), |_| Err(refusal));
            }
            page => page?,
        };
        match page.resources.iter().position(|found| found.id == id) {
            Some(place) => Ok(page.resources.into_iter().nth(place)),
            None if page.len() == 0 && page.total.unwrap_or_default() == 0 => Ok(None),
            None => {
                let words = format!("{endpoint}: the source lists others than those of the id that was asked for");
                Err(Refusal::of(UNREADABLE, words))
            }
        }
    }

    /// A token for the source, if it is to be had.
    ///
    /// # Errors
    /// When the authorization server gives none.
    pub async fn authorize(&self) -> Result<(), Refusal> {
        self.authorization(false).await.map(|_| ())
    }

    /// What an endpoint answers, tried again while what is in the way may pass.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Map<String, Value>, Refusal> {
        let mut url = Url::parse(&format!("{}/{path}", self.source.base_url))
            .map_err(|_| Refusal::of(ADDRESS, "the base URL of the source is not a URL"))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut renewed = false;
        let mut tried = 0;
        loop {
            tried += 1;
            let authorization = self.authorization(false).await?;
            let answered = self.outbound.get_as(&url, &authorization, self.time, MAX_BODY).await;
            let (refusal, wait) = match answered {
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && self.renews() && !renewed => {
                    // The token was revoked, or the clocks differ.
                    renewed = true;
                    self.authorization(true).await?;
                    continue;
                }
                Ok(answer) if answer.status.is_success() => match serde_json::from_slice(&answer.body) {
                    Ok(Value::Object(object)) => return Ok(object),
                    _ => (Refusal::of(UNREADABLE, format!("{path}: the answer is not a JSON object")), None),
                },
                Ok(answer) => {
                    let wait = answer.retry_after.as_deref().and_then(|text| self.wait(text));
                    let refusal = told(path, &answer);
                    if !passes(answer.status) {
                        return Err(refusal);
                    }
                    (refusal, wait)
                }
                // Who it is that was named does not change in a moment.
                Err(words) if words.contains("not public") => return Err(Refusal::of(ADDRESS, words)),
                Err(words) => (Refusal::of(UNAVAILABLE, words), None),
            };
            if tried >= self.tries {
                return Err(Refusal { words: after(refusal.words, tried), ..refusal });
            }
            tokio::time::sleep(wait.unwrap_or_else(|| pause(tried))).await;
        }
    }

    /// RFC 7231 section 7.1.3: seconds, or a date.
    fn wait(&self, text: &str) -> Option<Duration> {
        let seconds = match text.trim().parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let until = DateTime::parse_from_rfc2822(text.trim()).ok()?;
                (until.to_utc() - self.app.clock.now()).num_seconds().max(0).unsigned_abs()
            }
        };
        Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
    }

    fn renews(&self) -> bool {
        self.source.auth == Auth::ClientCredentials
    }

    /// The value of the Authorization header: RFC 6750 section 2.1.
    async fn authorization(&self, renew: bool) -> Result<String, Refusal> {
        if !self.renews() {
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
                Ok(answer) if !passes(answer.status) => break answer,
                other if tried >= self.tries => {
                    break other
                        .map_err(|words| Refusal::of(UNAVAILABLE, after(format!("the token: {words}"), tried)))?;
                }
                Ok(answer) => {
                    let wait = answer.retry_after.as_deref().and_then(|text| self.wait(text));
                    tokio::time::sleep(wait.unwrap_or_else(|| pause(tried))).await;
                }
                Err(_) => tokio::time::sleep(pause(tried)).await,
            }
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(token) = body["access_token"].as_str().filter(|_| answer.status.is_success()) else {
            let error: String = body["error"].as_str().unwrap_or("no token").chars().take(100).collect();
            let words = format!("the authorization server answered {}: {error}", answer.status);
            return Err(Refusal { status: Some(StatusCode::UNAUTHORIZED), ..Refusal::of(CREDENTIALS, words) });
        };
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::of(UNREADABLE, "the authorization server gave a token that no header can carry"));
        }
        let lasts = body["expires_in"].as_i64().unwrap_or(300).clamp(0, 24 * 60 * 60);
        *known = Some((token.to_owned(), now + chrono::Duration::seconds(lasts - TOKEN_MARGIN.min(lasts / 2))));
        Ok(format!("Bearer {token}"))
    }

    /// RFC 6749 section 4.4.2; the client's secret goes as section 2.3.1 prefers it.
    async fn ask_for_token(&self) -> Result<Answer, String> {
        let url = self.source.token_url.as_deref().unwrap_or_default();
        let url = Url::parse(url).map_err(|_| "the token's URL is not a URL".to_owned())?;
        let id = self.source.client_id.as_deref().unwrap_or_default();
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(self.source.scope.as_deref().map(|scope| ("scope", scope)));
        let word = |text: &str| crate::outbound::form(&[("", text)]).trim_start_matches('=').to_owned();
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", word(id), word(&self.secret))));
        let answer = self.outbound.post_form(&url, &fields, Some(&basic), MAX_BODY).await?;
        if ![StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED].contains(&answer.status) {
            return Ok(answer);
        }
        // Some take it in the form only.
        fields.extend([("client_id", id), ("client_secret", self.secret.as_str())]);
        self.outbound.post_form(&url, &fields, None, MAX_BODY).await
    }
}

/// What stood in the way, after so many tries.
fn after(words: String, tries: u32) -> String {
    if tries > 1 { format!("{words}, tried {tries} times") } else { words }
}

/// Whether a message says that it is a list; an error, for one, is none, whatever its status was.
fn is_list(message: &Map<String, Value>) -> bool {
    let urns = message.get("schemas").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    urns.into_iter().any(|urn| urn.eq_ignore_ascii_case("urn:ietf:params:scim:api:messages:2.0:ListResponse"))
}

/// A resource of a list; none if it is not one that can be told from others.
fn remote(element: Value) -> Option<Remote> {
    let Value::Object(attributes) = element else { return None };
    let id = match attributes.get("id")? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let fit = !id.trim().is_empty() && id.len() <= MAX_ID && !id.chars().any(char::is_control);
    fit.then_some(Remote { id, attributes })
}

/// Adds a segment to a path.
fn add(url: &mut Url, segment: &str) -> Result<(), ()> {
    url.path_segments_mut()?.push(segment);
    Ok(())
}

fn passes(status: StatusCode) -> bool {
    let for_good = status == StatusCode::NOT_IMPLEMENTED;
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error() && !for_good
}

/// What the source says that was in the way (RFC 7644 section 3.12).
fn told(path: &str, answer: &Answer) -> Refusal {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let path = path.split('/').next().unwrap_or_default();
    let mut words = format!("{path}: the source answered {}", answer.status);
    if let Some(detail) = body["detail"].as_str() {
        let detail: String = detail.chars().filter(|c| !c.is_control()).take(200).collect();
        words = format!("{words}: {detail}");
    }
    let reason = match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CREDENTIALS,
        StatusCode::TOO_MANY_REQUESTS => "RATE_LIMITED",
        status if passes(status) => UNAVAILABLE,
        _ => ADDRESS,
    };
    Refusal { status: Some(answer.status), scim_type: body["scimType"].as_str().map(Into::into), reason, words }
}

/// Twice as long each time, and never the same for two clients.
fn pause(tried: u32) -> Duration {
    let whole = PAUSE * 2_u32.pow(tried.saturating_sub(1).min(6));
    let jitter = Uuid::new_v4().as_u128() as u32 % 1_000;
    whole / 2 + whole * jitter / 2_000
}

/// A text as a filter of SCIM quotes it.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        for tried in 1..6 {
            let whole = PAUSE * 2_u32.pow(tried - 1);
            assert!((0..50).all(|_| (whole / 2..=whole).contains(&pause(tried))));
        }
    }

    #[test]
    fn what_has_no_id_is_no_resource() {
        let read = |text: &str| remote(serde_json::from_str(text).unwrap()).map(|remote| remote.id);
        assert_eq!(read(r#"{"id":"a"}"#).as_deref(), Some("a"));
        assert_eq!(read(r#"{"id":7}"#).as_deref(), Some("7"));
        for rubbish in ["null", "7", "[]", "{}", r#"{"id":""}"#, r#"{"id":null}"#, r#"{"id":"a\u0000"}"#] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }
}
