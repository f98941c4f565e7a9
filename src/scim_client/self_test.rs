//! Calls this server's own public URL as an identity provider would, step by step, and says which
//! step fails. Only reads are sent. After a step that failed, the further steps are not tried,
//! because they would fail for the same reason.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde_json::Value;
use uuid::Uuid;

use crate::context::Cx;
use crate::domain::connection::self_test;
use crate::domain::connection::self_test::SelfTest;
use crate::domain::signal::stream;
use crate::error::{Error, Result};
use crate::http_client::{GuardedClient, HttpAnswer};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long all steps together may take. The result must be there before the request of the
/// administrator times out.
const TEST_TIMEOUT: Duration = Duration::from_secs(12);
/// The longest answer that is read: one user, or one group without its members.
const MAX_BODY: usize = 2 * 1024 * 1024;
const CONFIGURATION_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const LIST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// The steps, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfTestStep {
    /// The host name of the public URL has addresses.
    NameResolved,
    /// The port of the public URL accepts connections.
    PortReached,
    /// A request is answered, over TLS where the URL says https.
    Answered,
    /// The header Authorization arrives at this server.
    AuthorizationArrived,
    /// The service provider configuration can be read with a valid token.
    ConfigurationRead,
    /// Users can be listed.
    UsersListed,
    /// Groups can be listed.
    GroupsListed,
    /// A false token is refused.
    FalseTokenRefused,
    /// Receivers of security event tokens find the metadata of the organization.
    EventsDiscovered,
}

/// All of them, in their order.
const SELF_TEST_STEPS: [SelfTestStep; 9] = [
    SelfTestStep::NameResolved,
    SelfTestStep::PortReached,
    SelfTestStep::Answered,
    SelfTestStep::AuthorizationArrived,
    SelfTestStep::ConfigurationRead,
    SelfTestStep::UsersListed,
    SelfTestStep::GroupsListed,
    SelfTestStep::FalseTokenRefused,
    SelfTestStep::EventsDiscovered,
];

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTestResult {
    pub step: SelfTestStep,
    pub ok: bool,
    /// The result as a text for administrators.
    pub message: String,
    /// What to do; none where nothing is to be done.
    pub next_step: Option<&'static str>,
}

/// A step that failed: the result as a text, and what to do.
struct FailedStep {
    message: String,
    next_step: &'static str,
}

/// Tests the public URL with credentials of the test's own, for a connection that an identity
/// provider writes to.
///
/// # Errors
/// As [`self_test::begin_self_test`].
pub async fn test_public_url(cx: &Cx, connection: Uuid) -> Result<Vec<SelfTestResult>> {
    let test = self_test::begin_self_test(cx, connection).await?;
    let url = Url::parse(&test.base_url).map_err(|error| Error::Internal(error.to_string()))?;
    let client = GuardedClient::for_own_origin(&url, ANSWER_TIMEOUT).map_err(Error::Internal)?;
    let tells = stream::has_own_streams(cx).await?;
    let mut caller = SelfTestCaller { client, url, test, tells, results: Vec::new() };
    // An error of a step ends the test, and the results until then are returned.
    if tokio::time::timeout(TEST_TIMEOUT, caller.run_steps()).await.is_err() {
        caller.keep_result::<()>(Err(FailedStep {
            message: format!(
                "this and the steps before it took longer than {} s",
                TEST_TIMEOUT.as_secs()
            ),
            next_step: "find out what between this server and its public URL is slow",
        }));
    }
    self_test::end_self_test(cx, &caller.test).await?;
    Ok(caller.results)
}

struct SelfTestCaller {
    client: GuardedClient,
    url: Url,
    test: SelfTest,
    /// Whether the organization has a stream of security event tokens.
    tells: bool,
    results: Vec<SelfTestResult>,
}

impl SelfTestCaller {
    /// Runs the steps until one fails; none = that happened.
    async fn run_steps(&mut self) -> Option<()> {
        let addresses = self.resolve_name().await;
        let addresses = self.keep_result(addresses)?;
        let reached = self.client.check_port(&addresses, ANSWER_TIMEOUT).await;
        self.keep_result(reached.map(|()| ((), "the port accepts connections".into())).map_err(
            |message| FailedStep {
                message,
                next_step: "check that the proxy or load balancer runs, that the port of the \
                            public URL is right, and that a firewall lets this server reach it",
            },
        ))?;
        let first = self.call_path("ServiceProviderConfig", &self.test.valid_token).await;
        let first = self.keep_result(first.map(|answer| {
            let message = format!("a request was answered with {}", answer.status);
            (answer, message)
        }))?;
        self.keep_result(check_authorization(&first))?;
        self.keep_result(check_configuration(&first))?;
        let users = self.list_resources("Users?startIndex=1&count=1").await;
        self.keep_result(users)?;
        let groups =
            self.list_resources("Groups?startIndex=1&count=1&excludedAttributes=members").await;
        self.keep_result(groups)?;
        let refused = self.call_path("ServiceProviderConfig", &self.test.false_token).await;
        self.keep_result(refused.and_then(|answer| check_refusal(&answer)))?;
        let discovered = self.discover_events().await;
        self.keep_result(discovered)
    }

    /// Reads the metadata of the organization's transmitter as a receiver would. Its path begins at
    /// the root of the host, outside the path of the public URL.
    async fn discover_events(&self) -> Result<((), String), FailedStep> {
        if !self.tells {
            let message = "not needed: no stream of security event tokens is set up";
            return Ok(((), message.into()));
        }
        let issuer = self.test.base_url.replacen("/scim/v2/", "/ssf/", 1);
        let failed = |message: String| FailedStep {
            message,
            next_step: "let the proxy lead the path /.well-known/ssf-configuration, at the root of \
                        the host, to this server; see docs/operations/proxy.md",
        };
        let mut url = Url::parse(&issuer).map_err(|error| failed(error.to_string()))?;
        url.set_path(&format!("/.well-known/ssf-configuration{}", url.path()));
        let answer = self.client.get_bytes(&url, MAX_BODY).await.map_err(failed)?;
        let metadata = serde_json::from_slice::<Value>(&answer).unwrap_or_default();
        if metadata["issuer"].as_str() == Some(&issuer) {
            return Ok(((), "receivers of security event tokens find the metadata".into()));
        }
        Err(failed("what was answered is not the metadata of this organization".into()))
    }

    /// Adds the result of the next step.
    fn keep_result<T>(&mut self, found: Result<(T, String), FailedStep>) -> Option<T> {
        let step = *SELF_TEST_STEPS.get(self.results.len())?;
        let (value, ok, message, next_step) = match found {
            Ok((value, message)) => (Some(value), true, message, None),
            Err(failed) => (None, false, failed.message, Some(failed.next_step)),
        };
        self.results.push(SelfTestResult { step, ok, message, next_step });
        value
    }

    async fn resolve_name(&self) -> Result<(Vec<std::net::SocketAddr>, String), FailedStep> {
        let addresses =
            self.client.resolve_host(&self.url, ANSWER_TIMEOUT).await.map_err(|message| {
                FailedStep {
                    message,
                    next_step: "correct the host of the public URL (ROLECALL_PUBLIC_URL), or add \
                                the name to the DNS that this server uses",
                }
            })?;
        let host = self.url.host_str().unwrap_or_default();
        let message = format!("addresses found for {host}: {}", addresses.len());
        Ok((addresses, message))
    }

    async fn call_path(&self, path: &str, token: &str) -> Result<HttpAnswer, FailedStep> {
        let failed = |message| FailedStep {
            message,
            next_step: "check the TLS certificate of the public URL and the whole chain that the \
                        proxy sends, and that the proxy reaches this server",
        };
        let url = format!("{}/{path}", self.test.base_url);
        let url = Url::parse(&url).map_err(|error| failed(error.to_string()))?;
        let authorization = format!("Bearer {token}");
        self.client.get_as(&url, &authorization, ANSWER_TIMEOUT, MAX_BODY).await.map_err(failed)
    }

    /// Lists one kind of resource; how many there are is said.
    async fn list_resources(&self, path: &str) -> Result<((), String), FailedStep> {
        let answer = self.call_path(path, &self.test.valid_token).await?;
        let list = read_scim(&answer, LIST_URN)?;
        let name = path.split('?').next().unwrap_or_default();
        match list["totalResults"].as_u64() {
            Some(total) => Ok(((), format!("{name} lists {total} resources of the connection"))),
            None => Err(FailedStep {
                message: format!("{name} answered a list without totalResults"),
                next_step: "find out which server answers at the public URL: a proxy may change \
                            what this server answers",
            }),
        }
    }
}

/// Whether the bearer token reached a SCIM server. RFC 6750 section 3.1: the challenge to a request
/// without credentials has no error code.
fn check_authorization(answer: &HttpAnswer) -> Result<((), String), FailedStep> {
    let challenge = answer.challenge.as_deref().unwrap_or_default();
    if answer.status != StatusCode::UNAUTHORIZED || challenge.contains("error=") {
        return Ok(((), "the header Authorization arrives".into()));
    }
    Err(FailedStep {
        message: "the request was refused (401) as one without a bearer token: something on the \
                  way removes or replaces the header Authorization"
            .into(),
        next_step: "let the proxy pass on the header Authorization as it is; see \
                    docs/operations/proxy.md",
    })
}

fn check_configuration(answer: &HttpAnswer) -> Result<((), String), FailedStep> {
    read_scim(answer, CONFIGURATION_URN)?;
    Ok(((), "the service provider configuration was read".into()))
}

fn check_refusal(answer: &HttpAnswer) -> Result<((), String), FailedStep> {
    if answer.status == StatusCode::UNAUTHORIZED {
        return Ok(((), "a false token is refused (401)".into()));
    }
    Err(FailedStep {
        message: format!("a false token was answered with {} instead of 401", answer.status),
        next_step: "find out whether a proxy or a cache answers in place of this server, or adds \
                    an Authorization header of its own",
    })
}

/// The body of a successful answer, if it is SCIM of this kind.
fn read_scim(answer: &HttpAnswer, urn: &str) -> Result<Value, FailedStep> {
    if answer.status != StatusCode::OK {
        return Err(explain_status(answer));
    }
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let named = body["schemas"].as_array().is_some_and(|schemas| schemas.contains(&urn.into()));
    if named {
        return Ok(body);
    }
    Err(FailedStep {
        message: "what was answered is not SCIM".into(),
        next_step: "let the proxy lead the path /scim/v2 of the public URL to this server: \
                    another service, or a sign-in page, answers there",
    })
}

fn explain_status(answer: &HttpAnswer) -> FailedStep {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let message = match body["detail"].as_str() {
        Some(detail) => format!("the answer was {}: {detail}", answer.status),
        None => format!("the answer was {}", answer.status),
    };
    let next_step = match answer.status.as_u16() {
        401 => {
            "find out which server answers: the token is valid here, so the public URL leads to \
             another installation or to a proxy that checks tokens itself"
        }
        403 => "turn on what the message names: organizationUpdate or connectionActivate",
        404 => {
            "let the proxy pass on the path as it is, and check that ROLECALL_PUBLIC_URL has the \
             path under which the proxy offers this server"
        }
        429 => "the identity provider is at its rate limit: test again later",
        300..=399 => {
            "identity providers do not follow redirects: start this server with the URL that the \
             redirect leads to (ROLECALL_PUBLIC_URL)"
        }
        502..=504 => "the proxy is reached, but not this server behind it: correct its upstream",
        _ => "look at the log of the proxy and of this server",
    };
    FailedStep { message, next_step }
}
