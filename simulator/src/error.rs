//! Why a simulation cannot begin: a wrong token, a wrong address and a missing server are told
//! apart, because each has another remedy.

use super::RefusedCall;

/// Why a simulation cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// The plan holds a value that cannot be sent.
    #[error("{field}: {why}")]
    InvalidPlan { field: &'static str, why: String },
    /// This machine cannot make an HTTP client.
    #[error("cannot make an HTTP client: {0}")]
    NoClient(String),
    /// The server does not accept the token.
    #[error(
        "the server refused the token (status 401: {detail}): --token or ROLECALL_SCIM_TOKEN \
         must be a live token of the connection; `rolecall bootstrap --new-credentials` and the \
         mutation scimTokenRotate issue another"
    )]
    TokenRefused { detail: String },
    /// The server offers nothing at this address.
    #[error(
        "there is no SCIM server at {base_url} (status {status}{detail}): --base-url must be what \
         comes before /Users, for example http://127.0.0.1:8080/scim/v2/acme"
    )]
    WrongAddress { base_url: String, status: u16, detail: String },
    /// No answer came, or one that is not an answer of a SCIM server.
    #[error("the connection test of {base_url} failed: {detail}")]
    UnusableAnswer { base_url: String, detail: String },
    /// Any other refusal of the connection test.
    #[error("the server refused the connection test with {status}: {detail}")]
    TestRefused { status: u16, detail: String },
}

impl SimulationError {
    /// What the refusal of the connection test means.
    pub(super) fn from_refusal(base_url: &str, refusal: RefusedCall) -> Self {
        let (base_url, detail) = (base_url.to_owned(), refusal.detail);
        match refusal.status {
            None => Self::UnusableAnswer { base_url, detail },
            Some(401) => Self::TokenRefused { detail },
            Some(status @ (300..=399 | 404 | 405 | 410)) => {
                let detail =
                    if detail.is_empty() { detail } else { format!(": {}", first_line(&detail)) };
                Self::WrongAddress { base_url, status, detail }
            }
            Some(status) => Self::TestRefused { status, detail },
        }
    }
}

/// What is not a SCIM server often answers with a whole page.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
