//! The steps for an OpenID provider.

use super::{ProviderStep, ProviderStepResult, suggest_remedy};
use crate::context::Cx;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::connection::assertion_source::oidc::UserInfoUse;
use crate::error::Result;
use crate::sign_in::oidc::{issuer_keys, to_algorithm};

/// Reads the discovery document and the keys.
pub(super) async fn run_steps(
    cx: &Cx,
    accepting: &AcceptingConnection,
    steps: &mut Vec<ProviderStepResult>,
) -> Result<()> {
    let settings = &accepting.oidc_settings()?;
    let keys = issuer_keys(cx, &accepting.connection, settings)?;
    let metadata = match keys.probe_metadata().await {
        Ok(Some(metadata))
            if metadata.user_info_endpoint.is_none()
                && settings.user_info == UserInfoUse::Always =>
        {
            let finding = "the discovery document names no UserInfo endpoint, which each sign-in \
                           here asks";
            let next = "set userInfo to WHEN_CLAIMS_MISSING or NEVER";
            steps.push(ProviderStepResult::of_failure(ProviderStep::Discovery, finding, next));
            return Ok(());
        }
        Ok(Some(metadata)) => {
            let finding = format!("the discovery document of {} was read", settings.issuer);
            steps.push(ProviderStepResult::of_success(ProviderStep::Discovery, finding));
            Some(metadata)
        }
        Ok(None) => {
            let finding = "the address of the keys is set, so no discovery document is read";
            steps.push(ProviderStepResult::of_success(ProviderStep::Discovery, finding));
            None
        }
        Err(why) => {
            let next = suggest_remedy(&why).unwrap_or(
                "copy the issuer from the identity provider's own settings, to the letter, or set \
                 the address of the discovery document",
            );
            steps.push(ProviderStepResult::of_failure(ProviderStep::Discovery, why, next));
            return Ok(());
        }
    };
    let algorithms: Vec<_> = settings.algorithms.iter().copied().filter_map(to_algorithm).collect();
    match keys.probe_keys(metadata.as_ref(), &algorithms).await {
        Ok(0) => {
            let finding = "none of the published keys fits an allowed algorithm";
            let next = "allow the algorithm with which the identity provider signs";
            steps.push(ProviderStepResult::of_failure(ProviderStep::Keys, finding, next));
        }
        Ok(count) => {
            let finding = format!("{count} keys for the allowed algorithms were read");
            steps.push(ProviderStepResult::of_success(ProviderStep::Keys, finding));
        }
        Err(why) => {
            let next =
                suggest_remedy(&why).unwrap_or("check that this server can reach the address");
            steps.push(ProviderStepResult::of_failure(ProviderStep::Keys, why, next));
        }
    }
    Ok(())
}
