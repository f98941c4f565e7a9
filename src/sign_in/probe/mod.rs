//! Tests an identity provider step by step, for an administrator before the first sign-in. After a
//! step that failed, the further steps are not tried.

mod openid;
mod saml;

use std::time::Duration;

use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::{AcceptingConnection, Protocol};
use crate::error::Result;
use crate::sign_in::graph;

/// How long all steps together may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(12);

/// The steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderStep {
    /// The discovery document is read, and is about the issuer.
    Discovery,
    /// The keys are read, and some of them fit.
    Keys,
    /// The metadata are read, and are about the same identity provider.
    Metadata,
    /// The certificates with which the identity provider signs, and when they end.
    Certificates,
    /// Where people are sent to sign in.
    SignInAddress,
    /// Our own metadata can be read at their address.
    ServiceMetadata,
    /// Microsoft Graph gives a token to the client.
    Graph,
}

impl ProviderStep {
    /// The steps of a protocol, in the order in which they are tried.
    fn of_protocol(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Oidc => &[Self::Discovery, Self::Keys, Self::Graph],
            Protocol::Saml => &[
                Self::Metadata,
                Self::Certificates,
                Self::SignInAddress,
                Self::ServiceMetadata,
                Self::Graph,
            ],
        }
    }
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderStepResult {
    pub step: ProviderStep,
    pub ok: bool,
    /// The result as a text for administrators.
    pub finding: String,
    /// What to do; none where nothing is to be done.
    pub next: Option<&'static str>,
}

impl ProviderStepResult {
    fn of_success(step: ProviderStep, finding: impl Into<String>) -> Self {
        Self { step, ok: true, finding: finding.into(), next: None }
    }

    fn of_failure(step: ProviderStep, finding: impl Into<String>, next: &'static str) -> Self {
        Self { step, ok: false, finding: finding.into(), next: Some(next) }
    }
}

/// Tests the identity provider whose sign-ins a connection accepts.
///
/// # Errors
/// When the connection accepts none.
pub async fn probe_provider(cx: &Cx, connection: Uuid) -> Result<Vec<ProviderStepResult>> {
    cx.allow(Action::WriteConnection, None)?;
    let accepting = assertion_source::find_accepting(cx, connection).await?;
    let protocol = accepting.source.protocol;
    let mut steps = Vec::new();
    let run = async {
        match protocol {
            Protocol::Oidc => openid::run_steps(cx, &accepting, &mut steps).await?,
            Protocol::Saml => saml::run_steps(cx, &accepting, &mut steps).await?,
        }
        if steps.iter().all(|step| step.ok) {
            steps.extend(probe_graph(cx, &accepting).await?);
        }
        Ok(())
    };
    let done: Option<Result<()>> = tokio::time::timeout(PROBE_TIMEOUT, run).await.ok();
    match done {
        Some(done) => done?,
        None => {
            let tried = ProviderStep::of_protocol(protocol);
            let step = tried.get(steps.len()).copied().unwrap_or(ProviderStep::Graph);
            let finding = format!("the steps took longer than {} s", PROBE_TIMEOUT.as_secs());
            let next = "find out why the identity provider is slow";
            steps.push(ProviderStepResult::of_failure(step, finding, next));
        }
    }
    Ok(steps)
}

/// Whether Microsoft Graph gives a token; none where it is not asked.
async fn probe_graph(
    cx: &Cx,
    accepting: &AcceptingConnection,
) -> Result<Option<ProviderStepResult>> {
    let Some(access) = accepting.open_graph(cx).await? else { return Ok(None) };
    Ok(Some(match graph::probe_token(cx, &access).await {
        Ok(()) => {
            let finding = "Microsoft Graph gives a token to the client";
            ProviderStepResult::of_success(ProviderStep::Graph, finding)
        }
        Err(why) => {
            let next = suggest_remedy(&why).unwrap_or(
                "check the client secret, and that an administrator of the directory has granted \
                 the application permission GroupMember.Read.All",
            );
            ProviderStepResult::of_failure(ProviderStep::Graph, why, next)
        }
    }))
}

/// What to do about a failed request.
fn suggest_remedy(why: &str) -> Option<&'static str> {
    (why.contains("not public") || why.contains("scheme")).then_some(
        "use a public address over HTTPS, or let the operator start the server with \
         ROLECALL_PULL_PRIVATE_ADDRESSES=true",
    )
}
