//! The requests to the SCIM server: one method for each action of an identity provider.
//!
//! The time of every request and every refusal are recorded. The providers send different requests
//! in a different order; the bodies of each are in a file of its own.

use std::error::Error as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde_json::{Value, json};

use super::people::SimulatedPerson;
use super::{
    Result, SimulatedProvider, SimulationError, SimulationPlan, entra, google, jumpcloud, okta,
    onelogin, patch_body, pingone,
};

const SCIM_JSON: &str = "application/scim+json";
/// Rows of a page where groups are listed, and the pages that are read at most.
const GROUPS_PER_PAGE: usize = 100;
const MAX_GROUP_PAGES: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that was idle for longer is not used again: servers close idle connections, and a
/// request that meets the close is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is sent to a server that answers 429 or 503, before it counts as refused.
const ATTEMPTS: u32 = 5;
/// The longest wait between two attempts, even if the server asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many characters of a refusal's text are kept.
const DETAIL_CHARS: usize = 400;

/// A request that failed: the server refused it, or gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedCall {
    pub method: String,
    pub url: String,
    /// `None` if no answer came, or if a successful answer could not be used; `detail` says which.
    pub status: Option<u16>,
    /// The `scimType` of RFC 7644, section 3.12, if the server named one.
    pub scim_type: Option<String>,
    pub detail: String,
}

/// The request failed; its [`RefusedCall`] is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRefused;

type Answer<T> = std::result::Result<T, CallRefused>;

/// An account that the server already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUser {
    pub id: String,
    pub active: bool,
}

/// An account to be added to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// The server's id of the account.
    pub id: String,
    /// The display name that Okta sends with the id.
    pub display: String,
}

/// The record of all requests so far.
#[derive(Default)]
struct CallLog {
    /// The time of each request, in the order of the answers.
    latencies: Vec<Duration>,
    refused: Vec<RefusedCall>,
}

/// One identity provider, connected to one SCIM server.
pub struct ProviderClient {
    http: reqwest::Client,
    base: Url,
    idp: SimulatedProvider,
    log: Mutex<CallLog>,
    /// Held while a whole group is read and sent, so that no change of it gets lost here.
    whole_group: tokio::sync::Mutex<()>,
}

impl ProviderClient {
    /// Checks the form of the address and of the token; sends nothing yet.
    pub fn new(plan: &SimulationPlan) -> Result<Self> {
        let base = Url::parse(plan.base_url.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| SimulationError::InvalidPlan {
                field: "--base-url",
                why: "must be an address that starts with http:// or https://".into(),
            })?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", plan.token)).map_err(|_| {
            SimulationError::InvalidPlan {
                field: "--token",
                why: "has characters that are not allowed in an HTTP header".into(),
            }
        })?;
        token.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, token),
            (ACCEPT, HeaderValue::from_static(SCIM_JSON)),
        ]);
        // The token must not be sent to the target of a redirect, nor through a proxy that the
        // environment names.
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("rolecall-simulate/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| SimulationError::NoClient(error.to_string()))?;
        let (log, whole_group) = Default::default();
        Ok(Self { http, base, idp: plan.idp, log, whole_group })
    }

    /// The identity provider that it is.
    pub fn provider(&self) -> SimulatedProvider {
        self.idp
    }

    /// The connection test that an administrator starts first. Entra and OneLogin search for a
    /// userName that no account has; Okta and Google list users; PingOne reads what the server
    /// offers; JumpCloud makes a user and a group and deletes both.
    pub async fn test_connection(&self, unknown: &str) -> Answer<()> {
        let (query, finds_none) = match self.idp {
            SimulatedProvider::Entra | SimulatedProvider::OneLogin => {
                (vec![("filter", format!("userName eq {}", json!(unknown)))], true)
            }
            SimulatedProvider::Okta => {
                (vec![("startIndex", "1".to_owned()), ("count", "2".to_owned())], false)
            }
            SimulatedProvider::Google => (vec![("count", "1".to_owned())], false),
            SimulatedProvider::JumpCloud => return self.test_by_writing(unknown).await,
            SimulatedProvider::PingOne => return self.discover_server().await,
        };
        let call = ProviderCall::get_call(&["Users"], query);
        let list = self.send_with_retries(&call).await?;
        match list.get("totalResults").and_then(Value::as_u64) {
            Some(0) => Ok(()),
            Some(_) if !finds_none => Ok(()),
            Some(_) => Err(self.record_refusal(
                &call,
                None,
                "the server ignored the filter of the connection test",
            )),
            None => Err(self.record_refusal(
                &call,
                None,
                "the answer to the connection test is not a ListResponse",
            )),
        }
    }

    /// JumpCloud's connection test.
    async fn test_by_writing(&self, unknown: &str) -> Answer<()> {
        let user = self.create_resource("Users", jumpcloud::test_user_body(None, unknown)).await?;
        let changed = jumpcloud::test_user_body(Some(&user), unknown);
        self.replace_resource("Users", &user, changed).await?;
        let name = format!("test group of {unknown}");
        let group = self.create_resource("Groups", jumpcloud::group_body(&name)).await?;
        let members = std::slice::from_ref(&user);
        let whole = jumpcloud::whole_group_body(&group, &name, members);
        self.replace_resource("Groups", &group, whole).await?;
        self.patch_resource("Groups", &group, jumpcloud::remove_members_body(members)).await?;
        let delete = ProviderCall::new(Method::DELETE, &["Groups", &group]);
        self.send_with_retries(&delete).await?;
        self.delete_user(&user).await
    }

    /// PingOne's connection test.
    async fn discover_server(&self) -> Answer<()> {
        let call = ProviderCall::get_call(&["ServiceProviderConfig"], vec![]);
        let config = self.send_with_retries(&call).await?;
        if config.pointer("/patch/supported") != Some(&Value::Bool(true)) {
            return Err(self.record_refusal(&call, None, "the server does not support PATCH"));
        }
        let call = ProviderCall::get_call(&["Schemas", super::CORE_USER], vec![]);
        self.send_with_retries(&call).await.map(drop)
    }

    /// Finds the account with this userName. All providers search before they create an account.
    pub async fn find_user(&self, user_name: &str) -> Answer<Option<FoundUser>> {
        let found = self.find_resource("Users", "userName", user_name, &[]).await?;
        Ok(found.map(|(id, resource)| FoundUser {
            id,
            active: resource.get("active").and_then(Value::as_bool).unwrap_or(true),
        }))
    }

    /// Creates the account and returns its id.
    pub async fn create_user(&self, person: &SimulatedPerson) -> Answer<String> {
        let body = match self.idp {
            SimulatedProvider::Entra => entra::user_body(person),
            SimulatedProvider::Okta => okta::user_body(person),
            SimulatedProvider::Google => google::user_body(person),
            SimulatedProvider::OneLogin => onelogin::user_body(person),
            SimulatedProvider::JumpCloud => jumpcloud::user_body(None, person),
            SimulatedProvider::PingOne => pingone::user_body(None, person),
        };
        self.create_resource("Users", body).await
    }

    /// Updates the account. Entra and Google send the attributes that differ from `before`, or all
    /// of them if `before` is unknown. Okta reads the account, changes it, and replaces it as a
    /// whole; the others replace it by what they know.
    pub async fn update_user(
        &self,
        id: &str,
        before: Option<&SimulatedPerson>,
        now: &SimulatedPerson,
    ) -> Answer<()> {
        match self.idp {
            SimulatedProvider::Entra => match entra::update_body(before, now) {
                Some(body) => self.patch_resource("Users", id, body).await,
                None => Ok(()),
            },
            SimulatedProvider::Okta => {
                let mut resource = self.read_user(id).await?;
                okta::update_resource(&mut resource, now);
                self.replace_resource("Users", id, resource).await
            }
            SimulatedProvider::Google => match google::update_body(before, now) {
                Some(body) => self.patch_resource("Users", id, body).await,
                None => Ok(()),
            },
            SimulatedProvider::OneLogin => {
                self.replace_resource("Users", id, onelogin::user_body(now)).await
            }
            SimulatedProvider::JumpCloud => {
                self.replace_resource("Users", id, jumpcloud::user_body(Some(id), now)).await
            }
            SimulatedProvider::PingOne => {
                self.replace_resource("Users", id, pingone::user_body(Some(id), now)).await
            }
        }
    }

    /// Deactivates the account. Neither provider deletes it at this point.
    pub async fn deactivate_user(&self, id: &str) -> Answer<()> {
        self.set_active(id, false).await
    }

    /// Activates the account again.
    pub async fn reactivate_user(&self, id: &str) -> Answer<()> {
        self.set_active(id, true).await
    }

    async fn set_active(&self, id: &str, active: bool) -> Answer<()> {
        let body = match self.idp {
            SimulatedProvider::Entra => entra::active_body(active),
            SimulatedProvider::Okta => okta::active_body(active),
            SimulatedProvider::Google | SimulatedProvider::OneLogin => {
                patch_body(vec![json!({ "op": "replace", "path": "active", "value": active })])
            }
            SimulatedProvider::JumpCloud | SimulatedProvider::PingOne => {
                // The whole resource with one word changed.
                let mut resource = self.read_user(id).await?;
                if let Some(fields) = resource.as_object_mut() {
                    fields.insert("active".to_owned(), json!(active));
                }
                return self.replace_resource("Users", id, resource).await;
            }
        };
        self.patch_resource("Users", id, body).await
    }

    /// Deletes the account. Entra does so about a month after the deactivation; Okta never does.
    pub async fn delete_user(&self, id: &str) -> Answer<()> {
        self.send_with_retries(&ProviderCall::new(Method::DELETE, &["Users", id])).await.map(drop)
    }

    /// Reads the account.
    pub async fn read_user(&self, id: &str) -> Answer<Value> {
        self.send_with_retries(&ProviderCall::get_call(&["Users", id], vec![])).await
    }

    /// Finds the group with this name. Entra excludes the members from the answer; OneLogin lists
    /// all groups.
    pub async fn find_group(&self, name: &str) -> Answer<Option<String>> {
        if self.idp == SimulatedProvider::OneLogin {
            return self.find_listed_group(name).await;
        }
        let extra: &[_] = match self.idp {
            SimulatedProvider::Entra => &[("excludedAttributes", "members")],
            _ => &[],
        };
        Ok(self.find_resource("Groups", "displayName", name, extra).await?.map(|(id, _)| id))
    }

    async fn find_listed_group(&self, name: &str) -> Answer<Option<String>> {
        for page in 0..MAX_GROUP_PAGES {
            let start = page * GROUPS_PER_PAGE + 1;
            let count = GROUPS_PER_PAGE.to_string();
            let query = vec![("startIndex", start.to_string()), ("count", count)];
            let call = ProviderCall::get_call(&["Groups"], query);
            let list = self.send_with_retries(&call).await?;
            let groups = list.get("Resources").and_then(Value::as_array);
            let groups = groups.map(Vec::as_slice).unwrap_or_default();
            let named = |group: &&Value| text_of(group, "displayName").is_some_and(|it| it == name);
            if let Some(found) = groups.iter().find(named) {
                return Ok(text_of(found, "id"));
            }
            if groups.len() < GROUPS_PER_PAGE {
                break;
            }
        }
        Ok(None)
    }

    /// Creates an empty group and returns its id. Only Entra and PingOne send an externalId for
    /// groups; Google sends no groups, and gets OneLogin's form.
    pub async fn create_group(&self, name: &str, external_id: &str) -> Answer<String> {
        let body = match self.idp {
            SimulatedProvider::Entra => entra::group_body(name, external_id),
            SimulatedProvider::Okta => okta::group_body(name),
            SimulatedProvider::Google | SimulatedProvider::OneLogin => onelogin::group_body(name),
            SimulatedProvider::JumpCloud => jumpcloud::group_body(name),
            SimulatedProvider::PingOne => pingone::group_body(name, external_id),
        };
        self.create_resource("Groups", body).await
    }

    /// Sends the group's name.
    pub async fn rename_group(&self, id: &str, name: &str) -> Answer<()> {
        let body = match self.idp {
            SimulatedProvider::Entra => entra::rename_body(name),
            SimulatedProvider::Okta => okta::rename_body(id, name),
            _ => patch_body(vec![json!({ "op": "replace", "path": "displayName", "value": name })]),
        };
        self.patch_resource("Groups", id, body).await
    }

    /// How many members this identity provider puts into one request.
    pub fn members_per_request(&self) -> usize {
        match self.idp {
            SimulatedProvider::Entra => entra::MEMBERS_PER_REQUEST,
            SimulatedProvider::Okta => okta::MEMBERS_PER_REQUEST,
            SimulatedProvider::Google | SimulatedProvider::OneLogin => {
                onelogin::MEMBERS_PER_REQUEST
            }
            SimulatedProvider::JumpCloud => jumpcloud::MEMBERS_PER_REQUEST,
            SimulatedProvider::PingOne => pingone::MEMBERS_PER_REQUEST,
        }
    }

    /// Adds members, in as many requests as the identity provider would send. Okta sends the name
    /// of the group first.
    pub async fn add_members(&self, id: &str, name: &str, members: &[NewMember]) -> Answer<()> {
        match self.idp {
            SimulatedProvider::Okta => self.rename_group(id, name).await?,
            SimulatedProvider::JumpCloud => return self.send_whole_group(id, name, members).await,
            _ => {}
        }
        for chunk in members.chunks(self.members_per_request()) {
            let ids: Vec<String> = chunk.iter().map(|member| member.id.clone()).collect();
            let body = match self.idp {
                SimulatedProvider::Entra => entra::add_members_body(&ids),
                SimulatedProvider::Okta => okta::add_members_body(chunk),
                SimulatedProvider::PingOne => pingone::add_members_body(chunk),
                SimulatedProvider::Google
                | SimulatedProvider::OneLogin
                | SimulatedProvider::JumpCloud => {
                    onelogin::add_member_body(ids.first().map_or("", String::as_str))
                }
            };
            if self.idp == SimulatedProvider::PingOne {
                let mut call = ProviderCall::with_body(Method::PATCH, &["Groups", id], body);
                call.query.push(("attributes", "members.value".to_owned()));
                self.send_with_retries(&call).await?;
            } else {
                self.patch_resource("Groups", id, body).await?;
            }
        }
        Ok(())
    }

    /// Sends a whole group: its members so far, and the new ones.
    async fn send_whole_group(&self, id: &str, name: &str, members: &[NewMember]) -> Answer<()> {
        let _turn = self.whole_group.lock().await;
        let mut all = self.members_of(id).await?;
        all.extend(members.iter().map(|member| member.id.clone()));
        all.sort_unstable();
        all.dedup();
        self.replace_resource("Groups", id, jumpcloud::whole_group_body(id, name, &all)).await
    }

    /// Removes members, in as many requests as the identity provider would send. Okta sends the
    /// name of the group first.
    pub async fn remove_members(&self, id: &str, name: &str, members: &[String]) -> Answer<()> {
        if self.idp == SimulatedProvider::Okta {
            self.rename_group(id, name).await?;
        }
        let _turn = match self.idp {
            SimulatedProvider::JumpCloud => Some(self.whole_group.lock().await),
            _ => None,
        };
        for chunk in members.chunks(self.members_per_request()) {
            let body = match self.idp {
                SimulatedProvider::Entra => entra::remove_members_body(chunk),
                SimulatedProvider::JumpCloud => jumpcloud::remove_members_body(chunk),
                SimulatedProvider::Okta
                | SimulatedProvider::Google
                | SimulatedProvider::OneLogin
                | SimulatedProvider::PingOne => okta::remove_members_body(chunk),
            };
            self.patch_resource("Groups", id, body).await?;
        }
        Ok(())
    }

    /// Okta's "Push now": replaces all members in one request, however many there are; an empty
    /// list removes all members. Entra has no such action.
    pub async fn replace_members(&self, id: &str, members: &[NewMember]) -> Answer<()> {
        self.patch_resource("Groups", id, okta::replace_members_body(members)).await
    }

    /// Reads the group as the identity provider would: Entra without the members.
    pub async fn read_group(&self, id: &str) -> Answer<Value> {
        let query = match self.idp {
            SimulatedProvider::Entra => vec![("excludedAttributes", "members".to_owned())],
            _ => vec![],
        };
        self.send_with_retries(&ProviderCall::get_call(&["Groups", id], query)).await
    }

    /// The ids of a group's members. Identity providers do not send this request; the check at the
    /// end of a run needs it.
    pub async fn members_of(&self, id: &str) -> Answer<Vec<String>> {
        let group =
            self.send_with_retries(&ProviderCall::get_call(&["Groups", id], vec![])).await?;
        let members =
            group.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(members.iter().filter_map(|member| text_of(member, "value")).collect())
    }

    async fn patch_resource(&self, kind: &str, id: &str, body: Value) -> Answer<()> {
        // RFC 7644, section 3.5.2: 200 with the resource or 204 without a body; both are a success.
        self.send_with_retries(&ProviderCall::with_body(Method::PATCH, &[kind, id], body))
            .await
            .map(drop)
    }

    async fn replace_resource(&self, kind: &str, id: &str, body: Value) -> Answer<()> {
        self.send_with_retries(&ProviderCall::with_body(Method::PUT, &[kind, id], body))
            .await
            .map(drop)
    }

    async fn create_resource(&self, kind: &str, body: Value) -> Answer<String> {
        let call = ProviderCall::with_body(Method::POST, &[kind], body);
        let resource = self.send_with_retries(&call).await?;
        // RFC 7644, section 3.3: the answer holds the new resource. Without its id no later request
        // about the resource is possible.
        text_of(&resource, "id").ok_or_else(|| {
            self.record_refusal(&call, None, "the answer has no id of the new resource")
        })
    }

    async fn find_resource(
        &self,
        kind: &str,
        attribute: &str,
        value: &str,
        extra: &[(&'static str, &str)],
    ) -> Answer<Option<(String, Value)>> {
        let operator = if self.idp == SimulatedProvider::PingOne { "Eq" } else { "eq" };
        let mut query = vec![("filter", format!("{attribute} {operator} {}", json!(value)))];
        query.extend(extra.iter().map(|(key, value)| (*key, (*value).to_owned())));
        if self.idp == SimulatedProvider::Okta {
            query.extend([("startIndex", "1".to_owned()), ("count", "100".to_owned())]);
        }
        let call = ProviderCall::get_call(&[kind], query);
        let mut list = self.send_with_retries(&call).await?;
        let Some(Value::Array(resources)) = list.get_mut("Resources").map(Value::take) else {
            return Ok(None);
        };
        if resources.is_empty() {
            return Ok(None);
        }
        // A server that ignores filters answers with another account, which must not be changed.
        let wanted = value.to_lowercase();
        resources
            .into_iter()
            .find(|resource| {
                text_of(resource, attribute).is_some_and(|it| it.to_lowercase() == wanted)
            })
            .and_then(|resource| Some((text_of(&resource, "id")?, resource)))
            .map(Some)
            .ok_or_else(|| {
                self.record_refusal(
                    &call,
                    None,
                    "the server ignored the filter: it answered with another account",
                )
            })
    }

    /// Sends the request until the server gives a final answer, and records a refusal.
    async fn send_with_retries(&self, call: &ProviderCall) -> Answer<Value> {
        let mut attempt = 1;
        loop {
            let answer = self.send_once(call).await;
            let (status, wait, body) = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    let why = self.describe_transport_error(error);
                    return Err(self.record_refusal(call, None, &why));
                }
            };
            if status.is_success() {
                if body.is_empty() {
                    return Ok(Value::Null);
                }
                return serde_json::from_slice(&body).map_err(|error| {
                    self.record_refusal(call, None, &format!("the answer is not JSON: {error}"))
                });
            }
            let may_retry =
                matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if !may_retry || attempt >= ATTEMPTS {
                return Err(self.record_refusal(call, Some((status, body.as_slice())), ""));
            }
            tokio::time::sleep(
                wait.unwrap_or(Duration::from_millis(250) * attempt).min(LONGEST_WAIT),
            )
            .await;
            attempt += 1;
        }
    }

    async fn send_once(
        &self,
        call: &ProviderCall,
    ) -> reqwest::Result<(StatusCode, Option<Duration>, Vec<u8>)> {
        let mut request = self.http.request(call.method.clone(), self.build_url(call));
        if let Some(body) = &call.body {
            let media_type = match self.idp {
                SimulatedProvider::OneLogin | SimulatedProvider::JumpCloud => "application/json",
                _ => "application/scim+json; charset=utf-8",
            };
            request = request.header(CONTENT_TYPE, media_type).body(body.clone());
        }
        let asked = Instant::now();
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            // RFC 9110, section 10.2.3, also allows a date; all known rate limiters send seconds.
            let wait = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Ok((status, wait.map(Duration::from_secs), response.bytes().await?.to_vec()))
        }
        .await;
        self.lock_log().latencies.push(asked.elapsed());
        answer
    }

    fn build_url(&self, call: &ProviderCall) -> Url {
        let mut url = self.base.clone();
        // Only a URL that cannot be a base has no path segments, and `new` refuses such a URL.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
            // Entra encodes a space as `+`, Okta as `%20`.
            if self.idp == SimulatedProvider::Okta {
                let query = url.query().map(|query| query.replace('+', "%20"));
                url.set_query(query.as_deref());
            }
        }
        url
    }

    /// Why no answer came. Without the URL of the request, which a refusal names anyway.
    fn describe_transport_error(&self, error: reqwest::Error) -> String {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let refused = causes
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused);
        if refused {
            let address = self.base.authority();
            format!("nothing listens at {address} (connection refused); start the server there")
        } else {
            error_chain(&error.without_url())
        }
    }

    fn record_refusal(
        &self,
        call: &ProviderCall,
        answer: Option<(StatusCode, &[u8])>,
        why: &str,
    ) -> CallRefused {
        let body: Value =
            answer.and_then(|(_, body)| serde_json::from_slice(body).ok()).unwrap_or_default();
        let detail = match answer {
            Some((_, raw)) => text_of(&body, "detail")
                .unwrap_or_else(|| String::from_utf8_lossy(raw).into_owned()),
            None => why.to_owned(),
        };
        let refusal = RefusedCall {
            method: call.method.to_string(),
            url: self.build_url(call).to_string(),
            status: answer.map(|(status, _)| status.as_u16()),
            scim_type: text_of(&body, "scimType"),
            detail: detail.chars().take(DETAIL_CHARS).collect(),
        };
        self.lock_log().refused.push(refusal);
        CallRefused
    }

    /// All refusals so far.
    pub fn list_refusals(&self) -> Vec<RefusedCall> {
        self.lock_log().refused.clone()
    }

    /// The times of all requests so far.
    pub fn request_latencies(&self) -> Vec<Duration> {
        self.lock_log().latencies.clone()
    }

    fn lock_log(&self) -> MutexGuard<'_, CallLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, before it is sent.
struct ProviderCall {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl ProviderCall {
    fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query: Vec::new(),
            body: None,
        }
    }

    fn get_call(path: &[&str], query: Vec<(&'static str, String)>) -> Self {
        Self { query, ..Self::new(Method::GET, path) }
    }

    fn with_body(method: Method, path: &[&str], body: Value) -> Self {
        Self { body: Some(body.to_string()), ..Self::new(method, path) }
    }
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The error with all its causes: "error sending request" alone does not help.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
