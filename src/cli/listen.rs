//! A receiver of webhooks for the first five minutes: it verifies what it is sent, and prints it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::cli::command_error::CommandError;
use crate::cli::output::{print_error, print_line};
use crate::context::Clock;
use crate::crypto::webhook::{is_signed_by, is_signed_with};
use crate::server;

/// How far the clocks of the two servers may be apart, in seconds.
const TOLERANCE: i64 = 5 * 60;

/// The arguments of `listen`.
#[derive(Args)]
pub struct ListenArgs {
    /// The port on this machine
    #[arg(long, default_value_t = 8_900)]
    port: u16,
    /// The secret of the destination (whsec_…); without it, signatures are not verified
    #[arg(long, env = "ROLECALL_WEBHOOK_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// The public key of the destination (whpk_…), to verify the signatures v1a as well
    #[arg(long)]
    public_key: Option<String>,
    /// Status of the answers, to see how failures are treated
    #[arg(long, default_value_t = 204, value_parser = clap::value_parser!(u16).range(200..=599))]
    answer: u16,
}

struct ListenKeys {
    secret: Option<Vec<u8>>,
    public: Option<Vec<u8>>,
    answer: StatusCode,
}

fn decode_key(name: &str, prefix: &str, text: &str) -> Result<Vec<u8>, CommandError> {
    let encoded = text.trim().strip_prefix(prefix).and_then(|text| STANDARD.decode(text).ok());
    encoded.ok_or_else(|| CommandError::Usage(format!("{name} must be {prefix} and base64")))
}

/// Receives webhooks and prints them until the process is stopped.
///
/// # Errors
/// A line for the person: the port is in use, or a key is malformed.
pub async fn run_listener(args: ListenArgs) -> Result<(), CommandError> {
    let secret = args.secret.as_deref().map(|text| decode_key("--secret", "whsec_", text));
    let public = args.public_key.as_deref().map(|text| decode_key("--public-key", "whpk_", text));
    let keys = ListenKeys {
        secret: secret.transpose()?,
        public: public.transpose()?,
        answer: StatusCode::from_u16(args.answer).unwrap_or(StatusCode::NO_CONTENT),
    };
    let verified = if keys.secret.is_some() { "verified" } else { "not verified (no --secret)" };
    let address = SocketAddr::from(([127, 0, 0, 1], args.port));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    print_error(format!("receiving webhooks on http://{address}/; signatures are {verified}"));
    let router = Router::new().fallback(post(receive_message)).with_state(Arc::new(keys));
    axum::serve(listener, router)
        .with_graceful_shutdown(server::wait_for_stop_signal())
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}

async fn receive_message(
    State(keys): State<Arc<ListenKeys>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let verdict = judge_message(&keys, &headers, &body);
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let word = |name: &str| message[name].as_str().unwrap_or("?").to_owned();
    let (status, verdict) = match verdict {
        Ok(verdict) => (keys.answer, verdict),
        Err(why) => (StatusCode::UNAUTHORIZED, why),
    };
    let line = format!(
        "{} seq {} {} {} [{verdict}] → {}\n{}",
        word("timestamp"),
        message["seq"],
        word("type"),
        read_header(&headers, "webhook-id"),
        status.as_u16(),
        serde_json::to_string_pretty(&message["data"]).unwrap_or_default(),
    );
    // A reader that has gone away ends the process by itself.
    let _ = print_line(line);
    status
}

fn read_header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What is to be said of the signatures of a message.
fn judge_message(keys: &ListenKeys, headers: &HeaderMap, body: &[u8]) -> Result<String, String> {
    let (id, signatures) =
        (read_header(headers, "webhook-id"), read_header(headers, "webhook-signature"));
    let at: i64 = read_header(headers, "webhook-timestamp").parse().unwrap_or_default();
    if (Clock::default().now().timestamp() - at).abs() > TOLERANCE {
        return Err("refused: the timestamp is missing, old or in the future".into());
    }
    let mut verified = Vec::new();
    if let Some(secret) = &keys.secret {
        if !is_signed_by(secret, (id, at), body, signatures) {
            return Err("refused: no signature v1 is by this secret".into());
        }
        verified.push("v1");
    }
    if let Some(public) = &keys.public {
        if !is_signed_with(public, (id, at), body, signatures) {
            return Err("refused: no signature v1a is by this key".into());
        }
        verified.push("v1a");
    }
    Ok(if verified.is_empty() {
        "not verified".into()
    } else {
        format!("{} verified", verified.join(" and "))
    })
}
