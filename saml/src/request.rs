//! Our requests for a sign-in, as a redirect.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::HTTP_POST;
use crate::namespace::{ASSERTION, PROTOCOL};
use crate::service_key::{ServiceKey, ServiceKeyFault};
use crate::xml::escape_text;

/// The specification's limit of `RelayState`.
pub const MAX_RELAY_STATE_BYTES: usize = 80;

/// A request that the identity provider signs a person in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthnRequest<'a> {
    /// The id that the response must repeat. It begins with a letter or `_`.
    pub id: &'a str,
    pub issued_at: DateTime<Utc>,
    /// Our entity id.
    pub issuer: &'a str,
    /// Where the identity provider takes requests.
    pub destination: &'a str,
    /// Where the response is to arrive.
    pub consumer_url: &'a str,
    /// The wanted form of the name; none lets the identity provider choose.
    pub name_id_format: Option<&'a str>,
}

/// Why there is no redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectFault {
    #[error("RelayState is longer than {MAX_RELAY_STATE_BYTES} bytes.")]
    RelayState,
    #[error(transparent)]
    Key(#[from] ServiceKeyFault),
}

impl AuthnRequest<'_> {
    /// The request as XML.
    pub fn to_xml(&self) -> String {
        let policy = match self.name_id_format {
            Some(format) => {
                format!(
                    "<samlp:NameIDPolicy Format=\"{}\" AllowCreate=\"true\"/>",
                    escape_text(format)
                )
            }
            None => String::new(),
        };
        format!(
            "<samlp:AuthnRequest xmlns:samlp=\"{PROTOCOL}\" xmlns:saml=\"{ASSERTION}\" \
             ID=\"{}\" Version=\"2.0\" IssueInstant=\"{}\" Destination=\"{}\" \
             ProtocolBinding=\"{HTTP_POST}\" AssertionConsumerServiceURL=\"{}\">\
             <saml:Issuer>{}</saml:Issuer>{policy}</samlp:AuthnRequest>",
            escape_text(self.id),
            self.issued_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            escape_text(self.destination),
            escape_text(self.consumer_url),
            escape_text(self.issuer),
        )
    }

    /// The address to which the browser is sent; with a key, the request is signed.
    pub fn to_redirect(
        &self,
        relay_state: Option<&str>,
        key: Option<&ServiceKey>,
    ) -> Result<String, RedirectFault> {
        if relay_state.is_some_and(|state| state.len() > MAX_RELAY_STATE_BYTES) {
            return Err(RedirectFault::RelayState);
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.to_xml().as_bytes()).map_err(|_| ServiceKeyFault)?;
        let deflated = encoder.finish().map_err(|_| ServiceKeyFault)?;
        let mut query = format!("SAMLRequest={}", percent_encode(&STANDARD.encode(deflated)));
        if let Some(state) = relay_state {
            query.push_str("&RelayState=");
            query.push_str(&percent_encode(state));
        }
        if let Some(key) = key {
            query.push_str("&SigAlg=");
            query.push_str(&percent_encode("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"));
            let signature = STANDARD.encode(key.sign_message(query.as_bytes())?);
            query.push_str("&Signature=");
            query.push_str(&percent_encode(&signature));
        }
        let joint = if self.destination.contains('?') { '&' } else { '?' };
        Ok(format!("{}{joint}{query}", self.destination))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
