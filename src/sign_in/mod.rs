//! Sign-ins: what identity providers say about people is verified here, and handed to the domain,
//! which decides what it changes.
//!
//! [`oidc`] verifies ID tokens, [`saml`] responses of SAML. An application hands over what it got
//! at a sign-in ([`submit`]), by HTTP ([`http`]) or by the mutation `assertionSubmit`. [`graph`]
//! asks a directory for groups that a token left out. What must never enter: a rule about who may
//! do what, a database query; and a token, a code or a secret in a log or in an error.

mod answer;
pub mod graph;
pub mod http;
mod logout;
pub mod oidc;
pub mod probe;
mod relying_party;
mod repeat;
pub mod saml;
pub mod submit;

pub use http::build_router;
pub use relying_party::redirect_uri;
