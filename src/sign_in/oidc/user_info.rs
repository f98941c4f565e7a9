//! UserInfo (OpenID Connect Core 1.0, section 5.3): what a provider says about the person of an ID
//! token when it is asked with the access token that came with it. Some providers leave groups and
//! e-mail addresses out of the ID tokens of the code flow, and say them only there.
//!
//! What must never enter: claims about another person, or about the token itself. The answer counts
//! only with the subject of the ID token, and only for what the connection reads about people.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Map, Value};

use super::{MAX_TOKEN_BYTES, TokenVerifier, VerifiedToken, claims, refusal_error};
use crate::error::{RefusalReason, Result};

/// What a provider says at its UserInfo endpoint about the person of an ID token.
#[derive(Debug)]
pub struct UserInfo(Map<String, Value>);

impl UserInfo {
    /// The claims.
    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// An answer of a UserInfo endpoint, before it is known which person it is about.
#[derive(Debug)]
pub struct UncheckedUserInfo {
    subject: String,
    claims: Map<String, Value>,
}

impl UncheckedUserInfo {
    /// The answer, if it is about the person of this token (section 5.3.2): otherwise the access
    /// token of another person would speak for this one.
    ///
    /// # Errors
    /// [`crate::error::Error::Held`] if it is about another person.
    pub fn about_person(self, token: &VerifiedToken) -> Result<UserInfo> {
        if token.claims.get("sub").and_then(Value::as_str) == Some(self.subject.as_str()) {
            return Ok(UserInfo(self.claims));
        }
        let why = "the identity provider's UserInfo is about another person than its ID token \
                   (sub); nothing of it counts";
        Err(refusal_error(RefusalReason::AssertionNonce, why))
    }
}

impl TokenVerifier<'_> {
    /// Whether the token lacks a claim that the connection reads.
    pub fn lacks_claims(&self, token: &VerifiedToken) -> bool {
        claims::lacks_claims(&self.settings.claims, &token.claims)
    }

    /// Reads the answer of the UserInfo endpoint: an object, or the same as a signed JWT.
    ///
    /// # Errors
    /// [`crate::error::Error::Held`] with the reason why it does not count;
    /// [`crate::error::Error::Busy`] while the keys have never been read.
    pub async fn read_user_info(
        &self,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<UncheckedUserInfo> {
        let unreadable = |why| refusal_error(RefusalReason::AssertionUnreadable, why);
        let neither = || unreadable("the answer is neither JSON nor a signed JWT");
        let text = std::str::from_utf8(body).map_err(|_| neither())?.trim();
        // A JWT never begins like an object, whatever the answer says of its media type.
        let claims: Map<String, Value> = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|_| neither())?
        } else {
            self.verify_user_info(text, now).await?
        };
        let subject = claims.get("sub").and_then(Value::as_str).map(ToOwned::to_owned);
        let subject =
            subject.ok_or_else(|| unreadable("the answer does not say who the person is (sub)"))?;
        Ok(UncheckedUserInfo { subject, claims })
    }

    /// The claims of a signed answer: it is from the issuer, and for this client. It need not say
    /// until when it is valid, because it was asked for just now.
    async fn verify_user_info(&self, text: &str, now: DateTime<Utc>) -> Result<Map<String, Value>> {
        if text.len() > MAX_TOKEN_BYTES {
            let why = "the answer is longer than 64 KiB";
            return Err(refusal_error(RefusalReason::AssertionUnreadable, why));
        }
        let said = self.check_signature(text, &["jwt"], now).await?;
        self.check_recipient(&said)?;
        let skew = Duration::seconds(self.settings.skew_seconds.into());
        if claims::read_instant(&said, "exp")?.is_some_and(|ends| now >= ends + skew) {
            return Err(refusal_error(RefusalReason::AssertionExpired, "the answer has expired"));
        }
        Ok(said)
    }
}
