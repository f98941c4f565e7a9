//! The conversation with the SCIM server: one method for each thing that an identity provider does.
//!
//! Every request is timed, every refusal is kept. The methods differ by dialect in what they ask and in which order;
//! what the bodies look like is said in `entra.rs` and `okta.rs`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use super::people::Person;
use super::{Idp, Plan, entra, okta};
use crate::error::{Error, Result};

const SCIM_JSON: &str = "application/scim+json";
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often one request is sent before a server that asks for patience counts as refusing.
const ATTEMPTS: u32 = 5;
/// No server may make us wait longer than this at a time.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// As much of a refusal's text as a reader wants to see.
const DETAIL_CHARS: usize = 400;

/// A request that the server did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub method: String,
    pub url: String,
    /// Absent when no answer came, or one that was no refusal but made no sense; `detail` says which.
    pub status: Option<u16>,
    /// The `scimType` of RFC 7644, section 3.12, if the server named one.
    pub scim_type: Option<String>,
    pub detail: String,
}

/// The request failed; the [`Refusal`] is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

type Answer<T> = std::result::Result<T, Refused>;

/// An account that the server already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    pub active: bool,
}

/// Somebody to be added to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The server's id of the account.
    pub id: String,
    /// What Okta shows beside it.
    pub display: String,
}

/// What has been sent so far.
#[derive(Default)]
struct Log {
    /// One for each request, in the order of the answers.
    latencies: Vec<Duration>,
    refused: Vec<Refusal>,
}

/// One identity provider, connected to one SCIM server.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    idp: Idp,
    log: Mutex<Log>,
}

impl Client {
    /// Checks address and token for form; nothing is sent yet.
    pub fn new(plan: &Plan) -> Result<Self> {
        let base = Url::parse(plan.base_url.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Error::invalid("base-url", "must be an address that starts with http:// or https://"))?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", plan.token))
            .map_err(|_| Error::invalid("token", "has characters that no HTTP header can carry"))?;
        token.set_sensitive(true);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token), (ACCEPT, HeaderValue::from_static(SCIM_JSON))]);
        // The token must not follow a redirect, nor pass through a proxy that the environment happens to name.
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("rolecall-simulate/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Error::Internal(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { http, base, idp: plan.idp, log: Mutex::default() })
    }

    /// The button that an administrator presses first. Entra looks for a userName that nobody has; Okta asks for two
    /// users.
    pub async fn test_connection(&self, nobody: &str) -> Answer<()> {
        let query = match self.idp {
            Idp::Entra => vec![("filter", format!("userName eq {}", json!(nobody)))],
            Idp::Okta => vec![("startIndex", "1".to_owned()), ("count", "2".to_owned())],
        };
        let call = Call::get(&["Users"], query);
        let list = self.send(&call).await?;
        match list.get("totalResults").and_then(Value::as_u64) {
            Some(0) => Ok(()),
            Some(_) if self.idp == Idp::Okta => Ok(()),
            Some(_) => Err(self.refuse(&call, None, "the filter of the connection test was not honoured")),
            None => Err(self.refuse(&call, None, "the answer to the connection test is no ListResponse")),
        }
    }

    /// Is there an account of this name already? Both ask before they create.
    pub async fn find_user(&self, user_name: &str) -> Answer<Option<Found>> {
        let found = self.find("Users", "userName", user_name, &[]).await?;
        Ok(found.map(|(id, resource)| Found {
            id,
            active: resource.get("active").and_then(Value::as_bool).unwrap_or(true),
        }))
    }

    /// Makes the account and tells its id.
    pub async fn create_user(&self, person: &Person) -> Answer<String> {
        let body = match self.idp {
            Idp::Entra => entra::user(person),
            Idp::Okta => okta::user(person),
        };
        self.create("Users", body).await
    }

    /// Brings the account up to date. Entra sends what differs from `before` (everything where that is unknown); Okta
    /// reads the account, changes it, and puts all of it back.
    pub async fn update_user(&self, id: &str, before: Option<&Person>, now: &Person) -> Answer<()> {
        match self.idp {
            Idp::Entra => match entra::changes(before, now) {
                Some(body) => self.patch("Users", id, body).await,
                None => Ok(()),
            },
            Idp::Okta => {
                let mut resource = self.read_user(id).await?;
                okta::update(&mut resource, now);
                self.send(&Call::with(Method::PUT, &["Users", id], resource)).await.map(drop)
            }
        }
    }

    /// Takes somebody's access away. Neither of the two deletes at this point.
    pub async fn deactivate_user(&self, id: &str) -> Answer<()> {
        self.set_active(id, false).await
    }

    /// Gives it back.
    pub async fn reactivate(&self, id: &str) -> Answer<()> {
        self.set_active(id, true).await
    }

    async fn set_active(&self, id: &str, active: bool) -> Answer<()> {
        let body = match self.idp {
            Idp::Entra => entra::active(active),
            Idp::Okta => okta::active(active),
        };
        self.patch("Users", id, body).await
    }

    /// The hard delete, which Entra sends about a month after the soft one. Okta never does.
    pub async fn delete_user(&self, id: &str) -> Answer<()> {
        self.send(&Call::new(Method::DELETE, &["Users", id])).await.map(drop)
    }

    /// The account as the server shows it.
    pub async fn read_user(&self, id: &str) -> Answer<Value> {
        self.send(&Call::get(&["Users", id], vec![])).await
    }

    /// Is there a group of this name already? Entra does not want to see the members.
    pub async fn find_group(&self, name: &str) -> Answer<Option<String>> {
        let extra: &[_] = match self.idp {
            Idp::Entra => &[("excludedAttributes", "members")],
            Idp::Okta => &[],
        };
        Ok(self.find("Groups", "displayName", name, extra).await?.map(|(id, _)| id))
    }

    /// Makes an empty group and tells its id. Okta knows no externalId for groups.
    pub async fn create_group(&self, name: &str, external_id: &str) -> Answer<String> {
        let body = match self.idp {
            Idp::Entra => entra::group(name, external_id),
            Idp::Okta => okta::group(name),
        };
        self.create("Groups", body).await
    }

    /// Pushes the group's name.
    pub async fn rename_group(&self, id: &str, name: &str) -> Answer<()> {
        let body = match self.idp {
            Idp::Entra => entra::rename(name),
            Idp::Okta => okta::rename(id, name),
        };
        self.patch("Groups", id, body).await
    }

    /// How many members this identity provider puts into one request.
    pub fn members_per_request(&self) -> usize {
        match self.idp {
            Idp::Entra => entra::MEMBERS_PER_REQUEST,
            Idp::Okta => okta::MEMBERS_PER_REQUEST,
        }
    }

    /// Adds members, in as many requests as the identity provider would make. Okta pushes the name along every time.
    pub async fn add_members(&self, id: &str, name: &str, members: &[Member]) -> Answer<()> {
        if self.idp == Idp::Okta {
            self.rename_group(id, name).await?;
        }
        for chunk in members.chunks(self.members_per_request()) {
            let body = match self.idp {
                Idp::Entra => entra::add(&chunk.iter().map(|member| member.id.clone()).collect::<Vec<_>>()),
                Idp::Okta => okta::add(chunk),
            };
            self.patch("Groups", id, body).await?;
        }
        Ok(())
    }

    /// Removes members, likewise.
    pub async fn remove_members(&self, id: &str, name: &str, members: &[String]) -> Answer<()> {
        if self.idp == Idp::Okta {
            self.rename_group(id, name).await?;
        }
        for chunk in members.chunks(self.members_per_request()) {
            let body = match self.idp {
                Idp::Entra => entra::remove(chunk),
                Idp::Okta => okta::remove(chunk),
            };
            self.patch("Groups", id, body).await?;
        }
        Ok(())
    }

    /// Okta's "Push now": the whole list in one request, however long; an empty list empties the group. Entra has no
    /// such button.
    pub async fn replace_members(&self, id: &str, members: &[Member]) -> Answer<()> {
        self.patch("Groups", id, okta::replace(members)).await
    }

    /// The group as the identity provider reads it: Entra without the members.
    pub async fn read_group(&self, id: &str) -> Answer<Value> {
        let query = match self.idp {
            Idp::Entra => vec![("excludedAttributes", "members".to_owned())],
            Idp::Okta => vec![],
        };
        self.send(&Call::get(&["Groups", id], query)).await
    }

    /// The ids of a group's members. No identity provider asks so plainly; the read-back at the end must.
    pub async fn members_of(&self, id: &str) -> Answer<Vec<String>> {
        let group = self.send(&Call::get(&["Groups", id], vec![])).await?;
        let members = group.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(members.iter().filter_map(|member| text(member, "value")).collect())
    }

    async fn patch(&self, kind: &str, id: &str, body: Value) -> Answer<()> {
        // RFC 7644, section 3.5.2: 200 with the resource or 204 without a body; both are a success.
        self.send(&Call::with(Method::PATCH, &[kind, id], body)).await.map(drop)
    }

    async fn create(&self, kind: &str, body: Value) -> Answer<String> {
        let call = Call::with(Method::POST, &[kind], body);
        let resource = self.send(&call).await?;
        // RFC 7644, section 3.3: the answer holds the new resource; without its id there is nothing to go on with.
        text(&resource, "id").ok_or_else(|| self.refuse(&call, None, "the new resource came back without an id"))
    }

    async fn find(
        &self,
        kind: &str,
        attribute: &str,
        value: &str,
        extra: &[(&'static str, &str)],
    ) -> Answer<Option<(String, Value)>> {
        let mut query = vec![("filter", format!("{attribute} eq {}", json!(value)))];
        query.extend(extra.iter().map(|(key, value)| (*key, (*value).to_owned())));
        if self.idp == Idp::Okta {
            query.extend([("startIndex", "1".to_owned()), ("count", "100".to_owned())]);
        }
        let call = Call::get(&[kind], query);
        let mut list = self.send(&call).await?;
        let Some(Value::Array(resources)) = list.get_mut("Resources").map(Value::take) else { return Ok(None) };
        if resources.is_empty() {
            return Ok(None);
        }
        // A server that ignores filters answers with a stranger. Changing that account would be the worst outcome.
        let wanted = value.to_lowercase();
        resources
            .into_iter()
            .find(|resource| text(resource, attribute).is_some_and(|it| it.to_lowercase() == wanted))
            .and_then(|resource| Some((text(&resource, "id")?, resource)))
            .map(Some)
            .ok_or_else(|| self.refuse(&call, None, "the filter was not honoured: the answer is somebody else"))
    }

    /// Sends until there is an answer that counts, and keeps it if it is a refusal.
    async fn send(&self, call: &Call) -> Answer<Value> {
        let mut attempt = 1;
        loop {
            let answer = self.send_once(call).await;
            let (status, wait, body) = match answer {
                Ok(answer) => answer,
                Err(error) => return Err(self.refuse(call, None, &causes(&error))),
            };
            if status.is_success() {
                if body.is_empty() {
                    return Ok(Value::Null);
                }
                return serde_json::from_slice(&body)
                    .map_err(|error| self.refuse(call, None, &format!("the answer is no JSON: {error}")));
            }
            let patience = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if !patience || attempt >= ATTEMPTS {
                return Err(self.refuse(call, Some((status, body.as_slice())), ""));
            }
            tokio::time::sleep(wait.unwrap_or(Duration::from_millis(250) * attempt).min(LONGEST_WAIT)).await;
            attempt += 1;
        }
    }

    async fn send_once(&self, call: &Call) -> reqwest::Result<(StatusCode, Option<Duration>, Vec<u8>)> {
        let mut request = self.http.request(call.method.clone(), self.url(call));
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/scim+json; charset=utf-8").body(body.clone());
        }
        let asked = Instant::now();
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            // RFC 9110, section 10.2.3, also knows a date; every rate limiter that was met sends seconds.
            let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Ok((status, wait.map(Duration::from_secs), response.bytes().await?.to_vec()))
        }
        .await;
        self.log().latencies.push(asked.elapsed());
        answer
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        // Only an address that cannot be a base has no path, and `new` let none of those in.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
            // Entra writes a blank as `+`, Okta as `%20`.
            if self.idp == Idp::Okta {
                let query = url.query().map(|query| query.replace('+', "%20"));
                url.set_query(query.as_deref());
            }
        }
        url
    }

    fn refuse(&self, call: &Call, answer: Option<(StatusCode, &[u8])>, why: &str) -> Refused {
        let body: Value = answer.and_then(|(_, body)| serde_json::from_slice(body).ok()).unwrap_or_default();
        let detail = match answer {
            Some((_, raw)) => text(&body, "detail").unwrap_or_else(|| String::from_utf8_lossy(raw).into_owned()),
            None => why.to_owned(),
        };
        let refusal = Refusal {
            method: call.method.to_string(),
            url: self.url(call).to_string(),
            status: answer.map(|(status, _)| status.as_u16()),
            scim_type: text(&body, "scimType"),
            detail: detail.chars().take(DETAIL_CHARS).collect(),
        };
        self.log().refused.push(refusal);
        Refused
    }

    /// Everything that was refused so far.
    pub fn refused(&self) -> Vec<Refusal> {
        self.log().refused.clone()
    }

    /// How long each request took so far.
    pub fn latencies(&self) -> Vec<Duration> {
        self.log().latencies.clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, before it is sent.
struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Call {
    fn new(method: Method, path: &[&str]) -> Self {
        Self { method, path: path.iter().map(|&part| part.to_owned()).collect(), query: Vec::new(), body: None }
    }

    fn get(path: &[&str], query: Vec<(&'static str, String)>) -> Self {
        Self { query, ..Self::new(Method::GET, path) }
    }

    fn with(method: Method, path: &[&str], body: Value) -> Self {
        Self { body: Some(body.to_string()), ..Self::new(method, path) }
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The whole chain: "error sending request" alone helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
