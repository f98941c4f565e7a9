//! A simulated application that keeps sessions: a server tells it by signed webhooks who left, and
//! it ends their sessions. It is written from the specification of Standard Webhooks alone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::net::TcpListener;

/// An application that runs in this process.
pub struct SimulatedApplication {
    url: String,
    sessions: SharedSessions,
}

type SharedSessions = Arc<Mutex<ApplicationSessions>>;

/// What the application remembers. People are known by the ids that the server gave them.
#[derive(Default)]
struct ApplicationSessions {
    secret: Option<hmac::Key>,
    open: HashSet<String>,
    ended: HashMap<String, Instant>,
    /// The last place of the ledger that was heard of each person: an older message says nothing
    /// new.
    last_seq: HashMap<String, i64>,
    refused: usize,
}

fn lock_sessions(sessions: &SharedSessions) -> MutexGuard<'_, ApplicationSessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedApplication {
    /// Starts it on a free port of this machine. It refuses every message until it knows a secret.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/webhooks", listener.local_addr()?);
        let sessions = SharedSessions::default();
        let router = Router::new().route("/webhooks", post(hear)).with_state(sessions.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, sessions })
    }

    /// Where it hears webhooks.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Verifies messages with this secret (`whsec_…`) from now on. False for one that is malformed.
    pub fn trust_secret(&self, secret: &str) -> bool {
        let encoded = secret.strip_prefix("whsec_");
        let bytes = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
        let key = bytes.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        let known = key.is_some();
        lock_sessions(&self.sessions).secret = key;
        known
    }

    /// A person signs in.
    pub fn sign_in(&self, user: &str) {
        lock_sessions(&self.sessions).open.insert(user.to_owned());
    }

    /// How many people are signed in.
    pub fn count_sessions(&self) -> usize {
        lock_sessions(&self.sessions).open.len()
    }

    /// How many messages it refused, because their signature was not by its secret.
    pub fn count_refused(&self) -> usize {
        lock_sessions(&self.sessions).refused
    }

    /// When the person's session was ended; none if it was not.
    pub fn session_end(&self, user: &str) -> Option<Instant> {
        lock_sessions(&self.sessions).ended.get(user).copied()
    }
}

async fn hear(
    State(sessions): State<SharedSessions>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut sessions = lock_sessions(&sessions);
    if !sessions.is_genuine(&headers, &body) {
        sessions.refused += 1;
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    sessions.take_message(&message);
    StatusCode::NO_CONTENT
}

impl ApplicationSessions {
    /// Whether one of the signatures is by the secret. An application also refuses an old
    /// timestamp; this one does not, because the clock of the server that it hears may be moved.
    fn is_genuine(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(key), Some(id), Some(timestamp), Some(signatures)) = (
            &self.secret,
            header("webhook-id"),
            header("webhook-timestamp"),
            header("webhook-signature"),
        ) else {
            return false;
        };
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|one| {
            STANDARD.decode(one).is_ok_and(|tag| hmac::verify(key, &signed, &tag).is_ok())
        })
    }

    /// Ends the sessions of the people that the message is about, if it says so.
    fn take_message(&mut self, message: &Value) {
        let (data, seq) = (&message["data"], message["seq"].as_i64().unwrap_or_default());
        if data["sessionEffect"] != "session-revoked" {
            return;
        }
        let several = data["subjects"].as_array().into_iter().flatten();
        for user in several.chain([&data["subject"]["id"]]).filter_map(Value::as_str) {
            let last = self.last_seq.entry(user.to_owned()).or_default();
            if *last > seq {
                continue;
            }
            *last = seq;
            if self.open.remove(user) {
                self.ended.insert(user.to_owned(), Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(effect: &str, user: &str) -> String {
        format!(
            r#"{{"seq": 7, "data": {{"sessionEffect": "{effect}", "subject": {{"id": "{user}"}}}}}}"#
        )
    }

    async fn tell(application: &SimulatedApplication, key: &[u8], body: &str) -> u16 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let tag = hmac::sign(&key, format!("msg_1.1700000000.{body}").as_bytes());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client
            .post(application.url())
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", "1700000000")
            .header("webhook-signature", format!("v1a,x v1,{}", STANDARD.encode(tag)));
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn sessions_end_with_a_genuine_message() {
        let application = SimulatedApplication::start().await.unwrap();
        application.sign_in("ada");
        application.sign_in("ben");
        let body = message("session-revoked", "ada");
        assert_eq!(tell(&application, b"secret", &body).await, 401, "it knows no secret yet");
        assert!(application.trust_secret(&format!("whsec_{}", STANDARD.encode("secret"))));
        assert_eq!(tell(&application, b"another", &body).await, 401);
        assert_eq!(
            tell(&application, b"secret", &message("token-claims-change", "ben")).await,
            204
        );
        assert_eq!((application.count_sessions(), application.count_refused()), (2, 2));
        assert_eq!(tell(&application, b"secret", &body).await, 204);
        assert_eq!(application.count_sessions(), 1);
        assert!(application.session_end("ada").is_some());
        assert_eq!(application.session_end("ben"), None);
    }
}
