//! Asking for UserInfo during a sign-in here, with the access token that came with the ID token.
//!
//! A sign-in takes nothing away for want of an answer: what is not said is absent, so memberships
//! stay. Where the connection wants an answer at each sign-in, or where the ID token alone does not
//! say who the person is, the sign-in is refused instead, with the reason. So it is for an answer
//! about another person, which no honest provider gives.

use std::time::Duration;

use entity::request_log::Outcome;
use reqwest::{StatusCode, Url};

use crate::auth::issuers::ProviderMetadata;
use crate::context::Cx;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::connection::assertion_source::oidc::UserInfoUse;
use crate::error::{Error, RefusalReason, Result};
use crate::sign_in::oidc::{TokenVerifier, UncheckedUserInfo, UserInfo, VerifiedToken};
use crate::sign_in::submit;

/// The longest answer. One with 1,000 groups has about 50 KiB.
const MAX_ANSWER: usize = 256 * 1024;
/// The longest access token that is sent on.
const MAX_ACCESS_TOKEN: usize = 32 * 1024;
/// How long the person waits for the answer at most.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Both forms of an answer (OpenID Connect Core 1.0, section 5.3.2).
const ACCEPTED: &str = "application/json, application/jwt";

/// What came of asking.
pub(super) enum AskedUserInfo {
    /// There was nothing to ask, or no endpoint.
    NotAsked,
    Said(UserInfo),
    /// There was no answer that counts, and the sign-in goes on without one.
    Failed(Error),
}

impl AskedUserInfo {
    /// What was said.
    pub(super) fn said(&self) -> Option<&UserInfo> {
        match self {
            Self::Said(said) => Some(said),
            Self::NotAsked | Self::Failed(_) => None,
        }
    }

    /// Why a sign-in is refused that needed an answer: for want of it, if there was none.
    pub(super) fn explain(self, error: Error) -> Error {
        match self {
            Self::Failed(failure) => failure,
            Self::NotAsked | Self::Said(_) => error,
        }
    }
}

/// Asks for UserInfo, where the connection wants it for this token.
///
/// # Errors
/// [`Error::Held`] for an answer about another person, and for none where there must be one.
pub(super) async fn ask_user_info(
    cx: &Cx,
    accepting: &AcceptingConnection,
    verifier: &TokenVerifier<'_>,
    metadata: &ProviderMetadata,
    token: &VerifiedToken,
    access_token: Option<&str>,
) -> Result<AskedUserInfo> {
    let wanted = verifier.settings().user_info;
    let asks = match wanted {
        UserInfoUse::Never => false,
        UserInfoUse::WhenClaimsMissing => {
            // Most providers have the endpoint; without it, the token is all there is.
            metadata.user_info_endpoint.is_some() && verifier.lacks_claims(token)
        }
        UserInfoUse::Always => true,
    };
    if !asks {
        return Ok(AskedUserInfo::NotAsked);
    }
    let endpoint = metadata.user_info_endpoint.as_ref();
    let connection = &accepting.connection;
    let answer = read_answer(cx, verifier, endpoint, access_token).await;
    let (outcome, reason) = match &answer {
        Ok(_) => (Outcome::Answered, None),
        Err(error) => (Outcome::Failed, Some(error.reason())),
    };
    submit::note_request(cx, Some(connection), "read UserInfo", outcome, reason, None);
    match (answer, wanted) {
        (Ok(answer), _) => Ok(AskedUserInfo::Said(answer.about_person(token)?)),
        (Err(error), UserInfoUse::Always) => Err(error),
        (Err(error), UserInfoUse::Never | UserInfoUse::WhenClaimsMissing) => {
            let id = connection.id;
            tracing::warn!(connection = %id, %error, "a sign-in goes on without UserInfo");
            Ok(AskedUserInfo::Failed(error))
        }
    }
}

async fn read_answer(
    cx: &Cx,
    verifier: &TokenVerifier<'_>,
    endpoint: Option<&Url>,
    access_token: Option<&str>,
) -> Result<UncheckedUserInfo> {
    let failed = |reason, why: String| {
        let why = format!("the identity provider's UserInfo could not be read: {why}");
        Error::Held { reason, why: why.into() }
    };
    let endpoint = endpoint.ok_or_else(|| {
        let why = "its discovery document names no userinfo_endpoint";
        failed(RefusalReason::Unsupported, why.into())
    })?;
    let access_token = access_token.filter(|token| token.len() <= MAX_ACCESS_TOKEN);
    let access_token = access_token.ok_or_else(|| {
        let why = "with the ID token came no access token of the type Bearer that can be sent";
        failed(RefusalReason::Unsupported, why.into())
    })?;
    let authorization = format!("Bearer {access_token}");
    let outbound = cx.app.key_rings.outbound();
    let answer = outbound
        .get_accepting(endpoint, &authorization, ACCEPTED, TIME_LIMIT, MAX_ANSWER)
        .await
        .map_err(|why| {
            let issuer = &verifier.settings().issuer;
            tracing::warn!(issuer, why, "a UserInfo endpoint failed");
            failed(RefusalReason::SourceUnavailable, "it gave no answer".into())
        })?;
    if answer.status != StatusCode::OK {
        let reason = match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RefusalReason::SourceCredentials,
            _ => RefusalReason::SourceUnavailable,
        };
        return Err(failed(reason, format!("it answered {}", answer.status)));
    }
    match verifier.read_user_info(&answer.body, cx.app.clock.now()).await {
        Err(Error::Held { reason, why }) => Err(failed(reason, why.into_owned())),
        read => read,
    }
}
