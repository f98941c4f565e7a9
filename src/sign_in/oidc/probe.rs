//! Tests an OpenID provider step by step, for an administrator before the first sign-in. After a
//! step that failed, the further steps are not tried.

use std::time::Duration;

use uuid::Uuid;

use super::{issuer_keys, to_algorithm};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::connection::assertion_source;
use crate::error::Result;
use crate::sign_in::graph;

/// How long all steps together may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(12);

/// The steps, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderStep {
    /// The discovery document is read, and is about the issuer.
    Discovery,
    /// The keys are read, and some of them fit.
    Keys,
    /// Microsoft Graph gives a token to the client.
    Graph,
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
    fn done(step: ProviderStep, finding: impl Into<String>) -> Self {
        Self { step, ok: true, finding: finding.into(), next: None }
    }

    fn failed(step: ProviderStep, finding: impl Into<String>, next: &'static str) -> Self {
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
    let settings = accepting.oidc_settings()?;
    let mut steps = Vec::new();
    let run = run_steps(cx, &accepting, &settings, &mut steps);
    match tokio::time::timeout(PROBE_TIMEOUT, run).await {
        Ok(done) => done?,
        Err(_) => {
            let step = match steps.len() {
                0 => ProviderStep::Discovery,
                1 => ProviderStep::Keys,
                _ => ProviderStep::Graph,
            };
            let finding = format!("the steps took longer than {} s", PROBE_TIMEOUT.as_secs());
            let next = "find out why the identity provider is slow";
            steps.push(ProviderStepResult::failed(step, finding, next));
        }
    }
    Ok(steps)
}

async fn run_steps(
    cx: &Cx,
    accepting: &assertion_source::AcceptingConnection,
    settings: &assertion_source::oidc::OidcSettings,
    steps: &mut Vec<ProviderStepResult>,
) -> Result<()> {
    let keys = issuer_keys(cx, &accepting.connection, settings)?;
    let metadata = match keys.probe_metadata().await {
        Ok(Some(metadata)) => {
            let finding = format!("the discovery document of {} was read", settings.issuer);
            steps.push(ProviderStepResult::done(ProviderStep::Discovery, finding));
            Some(metadata)
        }
        Ok(None) => {
            let finding = "the address of the keys is set, so no discovery document is read";
            steps.push(ProviderStepResult::done(ProviderStep::Discovery, finding));
            None
        }
        Err(why) => {
            let next = remedy(&why).unwrap_or(
                "copy the issuer from the identity provider's own settings, to the letter, or set \
                 the address of the discovery document",
            );
            steps.push(ProviderStepResult::failed(ProviderStep::Discovery, why, next));
            return Ok(());
        }
    };
    let algorithms: Vec<_> = settings.algorithms.iter().copied().filter_map(to_algorithm).collect();
    match keys.probe_keys(metadata.as_ref(), &algorithms).await {
        Ok(0) => {
            let finding = "none of the published keys fits an allowed algorithm";
            let next = "allow the algorithm with which the identity provider signs";
            steps.push(ProviderStepResult::failed(ProviderStep::Keys, finding, next));
            return Ok(());
        }
        Ok(count) => {
            let finding = format!("{count} keys for the allowed algorithms were read");
            steps.push(ProviderStepResult::done(ProviderStep::Keys, finding));
        }
        Err(why) => {
            let next = remedy(&why).unwrap_or("check that this server can reach the address");
            steps.push(ProviderStepResult::failed(ProviderStep::Keys, why, next));
            return Ok(());
        }
    }
    if let Some(graph_settings) = &settings.graph {
        let probed = graph::probe_token(cx, accepting, settings, graph_settings).await?;
        steps.push(match probed {
            Ok(()) => {
                let finding = "Microsoft Graph gives a token to the client";
                ProviderStepResult::done(ProviderStep::Graph, finding)
            }
            Err(why) => {
                let next = remedy(&why).unwrap_or(
                    "check the client secret, and that an administrator of the directory has \
                     granted the application permission GroupMember.Read.All",
                );
                ProviderStepResult::failed(ProviderStep::Graph, why, next)
            }
        });
    }
    Ok(())
}

/// What to do about a failed request.
fn remedy(why: &str) -> Option<&'static str> {
    (why.contains("not public") || why.contains("scheme")).then_some(
        "use a public address over HTTPS, or let the operator start the server with \
         ROLECALL_PULL_PRIVATE_ADDRESSES=true",
    )
}
