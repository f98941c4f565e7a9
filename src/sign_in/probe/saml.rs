//! The steps for an identity provider that speaks SAML 2.0. What they read is not stored.

use std::time::Duration;

use ::saml::Certificate;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::Url;

use super::{ProviderStep, ProviderStepResult, suggest_remedy};
use crate::context::Cx;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::connection::assertion_source::saml::SamlSettings;
use crate::error::{Error, RefusalReason, Result};
use crate::http_client::GuardedClient;
use crate::sign_in::saml::metadata::read_metadata;
use crate::sign_in::saml::{ServiceAddresses, write_own_metadata};

/// How long our own metadata may take.
const OWN_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest answer at the address of our own metadata.
const MAX_OWN_BYTES: usize = 64 * 1024;

/// Reads the metadata, and looks at what they say.
pub(super) async fn run_steps(
    cx: &Cx,
    accepting: &AcceptingConnection,
    steps: &mut Vec<ProviderStepResult>,
) -> Result<()> {
    let known = &accepting.saml_settings()?;
    let Some(read) = probe_metadata(cx, known, steps).await else { return Ok(()) };
    steps.push(probe_certificates(known, &read, cx.app.clock.now())?);
    steps.push(match &read.sign_in_url {
        Some(url) => {
            let signed = if read.wants_signed_requests { ", with a signed request" } else { "" };
            let finding = format!("people are sent to {url} to sign in{signed}");
            ProviderStepResult::of_success(ProviderStep::SignInAddress, finding)
        }
        None => ProviderStepResult {
            next: Some(
                "to let people begin to sign in here, have the identity provider offer \
                 SingleSignOnService with the binding HTTP-Redirect",
            ),
            ..ProviderStepResult::of_success(
                ProviderStep::SignInAddress,
                "the metadata name no address that takes requests by a redirect: only \
                 applications can hand over responses",
            )
        },
    });
    steps.push(probe_own_metadata(cx, accepting, known).await?);
    Ok(())
}

/// The settings with what the metadata say now; none if they cannot be read.
async fn probe_metadata(
    cx: &Cx,
    known: &SamlSettings,
    steps: &mut Vec<ProviderStepResult>,
) -> Option<SamlSettings> {
    let step = ProviderStep::Metadata;
    let Some(url) = &known.metadata_url else {
        let finding = format!(
            "the metadata of {} were given as a text at {}",
            known.entity_id,
            to_second(known.metadata_read_at)
        );
        steps.push(ProviderStepResult {
            next: Some(
                "give their address, if the identity provider has one: they are then read again \
                 by themselves, and a new certificate is taken in",
            ),
            ..ProviderStepResult::of_success(step, finding)
        });
        return Some(known.clone());
    };
    match read_metadata(cx, url, Some(&known.entity_id)).await {
        Ok(metadata) => {
            let until = metadata.provider.valid_until;
            let until =
                until.map_or(String::new(), |end| format!(", valid until {}", to_second(end)));
            let finding = format!("the metadata of {} were read{until}", known.entity_id);
            steps.push(ProviderStepResult::of_success(step, finding));
            Some(known.with_metadata(&metadata))
        }
        Err(failure) => {
            let next = suggest_remedy(&failure.why).unwrap_or(match failure.reason {
                RefusalReason::AssertionIssuer => {
                    "the address describes another identity provider now: if that is meant to be, \
                     make a connection for it, because its people may be others"
                }
                RefusalReason::SourceUnreadable => {
                    "look at what the address answers: it must be SAML 2.0 metadata"
                }
                _ => "check the address, and that this server can reach it",
            });
            steps.push(ProviderStepResult::of_failure(step, failure.why, next));
            None
        }
    }
}

/// The certificates, and when they end. Their dates decide nothing, so none fails the step.
fn probe_certificates(
    known: &SamlSettings,
    read: &SamlSettings,
    now: DateTime<Utc>,
) -> Result<ProviderStepResult> {
    let certificates = read.read_certificates()?;
    let describe = |certificate: &Certificate| {
        let fingerprint: String = certificate.fingerprint().chars().take(16).collect();
        let verb = if certificate.not_after > now { "ends" } else { "ended" };
        let new = !known.certificates.contains(&certificate.to_base64());
        let new = if new { ", not taken in yet" } else { "" };
        format!("{fingerprint}… {verb} at {}{new}", to_second(certificate.not_after))
    };
    let described: Vec<String> = certificates.iter().map(describe).collect();
    let noun = if described.len() == 1 { "certificate" } else { "certificates" };
    let finding = format!("{} {noun}: {}", described.len(), described.join("; "));
    let ended = certificates.iter().all(|certificate| certificate.not_after <= now);
    Ok(ProviderStepResult {
        next: ended.then_some(
            "ask who runs the identity provider for a new certificate: the key of one that has \
             ended is accepted here, but not everywhere",
        ),
        ..ProviderStepResult::of_success(ProviderStep::Certificates, finding)
    })
}

/// Whether our own metadata are where identity providers look for them.
async fn probe_own_metadata(
    cx: &Cx,
    accepting: &AcceptingConnection,
    known: &SamlSettings,
) -> Result<ProviderStepResult> {
    let step = ProviderStep::ServiceMetadata;
    let addresses = ServiceAddresses::of_connection(cx, accepting.connection.id).await?;
    let url = Url::parse(&addresses.metadata_url);
    let url = url.map_err(|error| Error::Internal(error.to_string()))?;
    let client = GuardedClient::for_own_origin(&url, OWN_TIMEOUT).map_err(Error::Internal)?;
    let reading = client.get_bytes(&url, MAX_OWN_BYTES);
    let read = match tokio::time::timeout(OWN_TIMEOUT, reading).await {
        Ok(read) => read,
        Err(_) => Err(format!("no answer within {} s", OWN_TIMEOUT.as_secs())),
    };
    Ok(match read {
        Ok(text) if text == write_own_metadata(known, &addresses).into_bytes() => {
            let finding = format!("our own metadata can be read at {url}");
            ProviderStepResult::of_success(step, finding)
        }
        Ok(_) => ProviderStepResult::of_failure(
            step,
            format!("{url} answers something else than our metadata"),
            "check that the public URL (--public-url) leads to this installation",
        ),
        Err(why) => ProviderStepResult::of_failure(
            step,
            why,
            "check the public URL (--public-url), and the proxy in front of this server: the \
             identity provider must be able to read it",
        ),
    })
}

fn to_second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
