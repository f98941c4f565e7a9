//! One attempt to hand a message to a receiver: after Standard Webhooks, or a security event token
//! (RFC 8935).

use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::{Value, json};

use crate::crypto::webhook::MessageKeys;
use crate::http_client::GuardedClient;

/// How long a receiver may take.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(15);
/// How much of an answer is read.
const ANSWER_BYTES: usize = 1_024;
/// The longest time for which a receiver can ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// A word of so many letters and digits may be a secret.
const SECRET_LENGTH: usize = 16;

/// A message to a receiver.
#[derive(Debug)]
pub(super) struct Message {
    /// The same for every attempt.
    pub id: String,
    /// When this attempt is made, in seconds.
    pub timestamp: i64,
    pub body: Vec<u8>,
}

/// How an attempt went.
#[derive(Debug, Clone, Default)]
pub(super) struct AttemptOutcome {
    pub status: Option<u16>,
    pub latency: Duration,
    /// The beginning of the answer, without what looks personal or secret.
    pub response: Option<String>,
    /// What went wrong; none if nothing did.
    pub message: Option<String>,
    /// For how long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl AttemptOutcome {
    /// Whether the receiver has taken the message.
    pub fn is_taken(&self) -> bool {
        self.message.is_none()
    }

    /// Whether the receiver says that it is gone.
    pub fn is_gone(&self) -> bool {
        self.status == Some(410)
    }

    /// The entry in the list of attempts.
    pub fn to_log_entry(&self, at: chrono::DateTime<chrono::Utc>) -> Value {
        json!({
            "at": at, "status": self.status, "latencyMs": self.latency_ms(),
            "message": self.message,
        })
    }

    /// How long the attempt took, in milliseconds.
    pub fn latency_ms(&self) -> i32 {
        i32::try_from(self.latency.as_millis()).unwrap_or(i32::MAX)
    }
}

/// Hands a message to the receiver at `url`.
pub(super) async fn send_message(
    client: &GuardedClient,
    url: &str,
    keys: &MessageKeys,
    message: Message,
) -> AttemptOutcome {
    let Message { id, timestamp, body } = message;
    let headers = keys.sign_message(&id, timestamp, &body).map(|signature| {
        vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id.clone()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ]
    });
    post_body(client, url, headers, body, timestamp).await
}

/// Pushes a security event token to the receiver at `url` (RFC 8935).
pub(super) async fn push_token(
    client: &GuardedClient,
    url: &str,
    authorization: Option<&str>,
    token: String,
    timestamp: i64,
) -> AttemptOutcome {
    let mut headers = vec![
        ("content-type", "application/secevent+jwt".to_owned()),
        ("accept", "application/json".to_owned()),
    ];
    headers.extend(authorization.map(|text| ("authorization", text.to_owned())));
    let mut outcome = post_body(client, url, Ok(headers), token.into_bytes(), timestamp).await;
    // RFC 8935 section 2.4: what the receiver found wrong, as a word.
    let said = outcome.response.as_deref().and_then(read_error_code);
    if let (Some(message), Some(code)) = (&mut outcome.message, said) {
        message.push_str(&format!(": {code}"));
    }
    outcome
}

/// The code of an error that a receiver of tokens answered.
fn read_error_code(answer: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let code = answer["err"].as_str()?;
    let plain = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    (code.len() <= 40 && code.bytes().all(plain)).then(|| code.to_owned())
}

async fn post_body(
    client: &GuardedClient,
    url: &str,
    headers: Result<Vec<(&'static str, String)>, String>,
    body: Vec<u8>,
    timestamp: i64,
) -> AttemptOutcome {
    let began = Instant::now();
    let sent = async {
        let url = Url::parse(url).map_err(|_| "the address is not a URL".to_owned())?;
        client.post_message(&url, &headers?, body, TIME_LIMIT, ANSWER_BYTES).await
    };
    match sent.await {
        Ok(answer) => {
            let status = answer.status;
            let message = match status.as_u16() {
                200..=299 => None,
                300..=399 => Some(format!("answered {status}: redirects are not followed")),
                _ => Some(format!("answered {status}")),
            };
            AttemptOutcome {
                status: Some(status.as_u16()),
                latency: began.elapsed(),
                response: redact_answer(&answer.body),
                message,
                retry_after: answer
                    .retry_after
                    .as_deref()
                    .and_then(|text| parse_retry_after(text, timestamp)),
            }
        }
        Err(why) => AttemptOutcome {
            latency: began.elapsed(),
            message: Some(why),
            ..AttemptOutcome::default()
        },
    }
}

/// The header `Retry-After`: seconds, or a date (RFC 9110). `now` is in seconds since 1970.
fn parse_retry_after(text: &str, now: i64) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
            Duration::from_secs(u64::try_from(at.timestamp() - now).unwrap_or_default())
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The beginning of an answer without addresses of people, and without long words of letters and
/// digits; none if it is empty.
fn redact_answer(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let mut shown = String::new();
    let mut word = String::new();
    let end_word = |word: &mut String, shown: &mut String| {
        let secret = word.len() >= SECRET_LENGTH && word.bytes().any(|byte| byte.is_ascii_digit());
        shown.push_str(if word.contains('@') || secret { "***" } else { word });
        word.clear();
    };
    for letter in text.chars().take(ANSWER_BYTES) {
        if letter.is_alphanumeric() || "@.+-_/=%~".contains(letter) {
            word.push(letter);
        } else {
            end_word(&mut word, &mut shown);
            shown.push(if letter.is_control() && letter != '\n' { ' ' } else { letter });
        }
    }
    end_word(&mut word, &mut shown);
    (!shown.trim().is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_lose_what_is_personal() {
        let told = |text: &str| redact_answer(text.as_bytes());
        assert_eq!(told(""), None);
        assert_eq!(told("bad signature").unwrap(), "bad signature");
        assert_eq!(
            told(r#"{"mail":"ada@example.org","token":"whsec_0123456789abcdef"}"#).unwrap(),
            r#"{"mail":"***","token":"***"}"#
        );
        assert_eq!(told("a\0b").unwrap(), "a b");
    }

    #[test]
    fn error_code_is_a_word() {
        assert_eq!(
            read_error_code(r#"{"err":"invalid_key","description":"Key not known"}"#).unwrap(),
            "invalid_key"
        );
        for answer in ["", "[]", r#"{"err":"a b"}"#, r#"{"err":7}"#] {
            assert_eq!(read_error_code(answer), None, "{answer}");
        }
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        assert_eq!(parse_retry_after("7", 1_800_000_000), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("999999999", 1_800_000_000), Some(MAX_RETRY_AFTER));
        assert_eq!(
            parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1_800_000_000),
            Some(Duration::ZERO)
        );
        assert_eq!(parse_retry_after("soon", 1_800_000_000), None);
    }
}
