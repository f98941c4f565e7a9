//! Sign-ins: what identity providers say about people is verified here, and handed to the domain,
//! which decides what it changes.
//!
//! [`oidc`] verifies ID tokens. What must never enter: a rule about who may do what, a database
//! query; and a token, a code or a secret in a log or in an error.

pub mod oidc;
