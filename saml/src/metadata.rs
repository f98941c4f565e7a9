//! Metadata: reading those of an identity provider, writing our own.

use chrono::{DateTime, Utc};
use uppsala::{Document, NodeId};

use crate::certificate::{Certificate, MAX_CERTIFICATES};
use crate::namespace::{METADATA, SIGNATURE};
use crate::xml::{
    XmlFault, attribute, children_named, escape_text, is_element, parse_document, text_of,
};
use crate::{HTTP_POST, HTTP_REDIRECT, namespace};

/// Entra ID's metadata have about 30 KB; those of a whole federation are not taken.
pub const MAX_METADATA_BYTES: usize = 1024 * 1024;

/// What we need to know of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    pub entity_id: String,
    /// The certificates with which it signs; several while it rotates.
    pub certificates: Vec<Certificate>,
    /// Where it takes our requests, by a redirect of the browser.
    pub redirect_url: Option<String>,
    /// Whether it wants our requests signed.
    pub wants_signed_requests: bool,
    /// When these metadata end.
    pub valid_until: Option<DateTime<Utc>>,
    pub name_id_formats: Vec<String>,
}

/// Why metadata are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    #[error("The metadata are larger than {MAX_METADATA_BYTES} bytes.")]
    TooLarge,
    #[error("The metadata declare a DOCTYPE or entities, or hold processing instructions.")]
    MarkupDeclaration,
    #[error("The metadata are not well-formed XML.")]
    Malformed,
    #[error("The document is not SAML 2.0 metadata: it has no EntityDescriptor.")]
    NotMetadata,
    #[error("The metadata describe several identity providers: name the entity id of one.")]
    Several,
    #[error("The metadata describe no identity provider of SAML 2.0 (with that entity id).")]
    NoIdentityProvider,
    #[error("The identity provider has no certificate for signatures.")]
    NoCertificate,
    #[error(
        "A certificate of the identity provider is unreadable, or its key is neither RSA of \
         2,048 bits or more nor on P-256, P-384 or P-521."
    )]
    Certificate,
    #[error("The identity provider has more than {MAX_CERTIFICATES} certificates.")]
    TooManyCertificates,
    #[error("The metadata are no longer valid (validUntil).")]
    Expired,
    #[error("An address of the identity provider does not begin with https:// or http://.")]
    Address,
}

/// Reads the metadata of one identity provider. `entity_id` chooses among several.
pub fn read_identity_provider(
    text: &str,
    entity_id: Option<&str>,
    now: DateTime<Utc>,
) -> Result<IdentityProvider, MetadataFault> {
    if text.len() > MAX_METADATA_BYTES {
        return Err(MetadataFault::TooLarge);
    }
    let document = parse_document(text).map_err(|fault| match fault {
        XmlFault::MarkupDeclaration => MetadataFault::MarkupDeclaration,
        XmlFault::Malformed => MetadataFault::Malformed,
        XmlFault::TooManyElements => MetadataFault::TooLarge,
    })?;
    let root = document.document_element().ok_or(MetadataFault::Malformed)?;
    let mut entities = Vec::new();
    collect_entities(&document, root, &mut entities);
    if entities.is_empty() {
        return Err(MetadataFault::NotMetadata);
    }
    let mut found = entities.into_iter().filter_map(|entity| {
        let id = attribute(&document, entity, "entityID")?;
        if entity_id.is_some_and(|wanted| wanted != id) {
            return None;
        }
        let role = find_role(&document, entity)?;
        Some((entity, id.to_owned(), role))
    });
    let (entity, id, role) = found.next().ok_or(MetadataFault::NoIdentityProvider)?;
    if found.next().is_some() {
        return Err(MetadataFault::Several);
    }
    read_role(&document, &[root, entity, role], id, now)
}

/// Entities stand alone, or in lists that may be nested.
fn collect_entities(document: &Document<'_>, node: NodeId, found: &mut Vec<NodeId>) {
    if is_element(document, node, METADATA, "EntityDescriptor") {
        found.push(node);
    } else if is_element(document, node, METADATA, "EntitiesDescriptor") {
        for child in document.children_iter(node) {
            collect_entities(document, child, found);
        }
    }
}

/// The description of the identity provider for SAML 2.0.
fn find_role(document: &Document<'_>, entity: NodeId) -> Option<NodeId> {
    children_named(document, entity, METADATA, "IDPSSODescriptor").into_iter().find(|role| {
        attribute(document, *role, "protocolSupportEnumeration")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .any(|protocol| protocol == namespace::PROTOCOL)
    })
}

/// Reads the role; the metadata end with the first of the elements around it.
fn read_role(
    document: &Document<'_>,
    around: &[NodeId],
    entity_id: String,
    now: DateTime<Utc>,
) -> Result<IdentityProvider, MetadataFault> {
    let role = around[around.len() - 1];
    let mut valid_until = None;
    for node in around {
        if let Some(text) = attribute(document, *node, "validUntil") {
            let instant =
                DateTime::parse_from_rfc3339(text).map_err(|_| MetadataFault::Malformed)?;
            let instant = instant.with_timezone(&Utc);
            valid_until =
                Some(valid_until.map_or(instant, |first: DateTime<Utc>| first.min(instant)));
        }
    }
    if valid_until.is_some_and(|end| end <= now) {
        return Err(MetadataFault::Expired);
    }

    let mut certificates: Vec<Certificate> = Vec::new();
    for descriptor in children_named(document, role, METADATA, "KeyDescriptor") {
        if attribute(document, descriptor, "use").is_some_and(|usage| usage != "signing") {
            continue;
        }
        for info in children_named(document, descriptor, SIGNATURE, "KeyInfo") {
            for data in children_named(document, info, SIGNATURE, "X509Data") {
                for node in children_named(document, data, SIGNATURE, "X509Certificate") {
                    let certificate = Certificate::from_base64(&text_of(document, node))
                        .map_err(|_| MetadataFault::Certificate)?;
                    if !certificates.contains(&certificate) {
                        certificates.push(certificate);
                    }
                    if certificates.len() > MAX_CERTIFICATES {
                        return Err(MetadataFault::TooManyCertificates);
                    }
                }
            }
        }
    }
    if certificates.is_empty() {
        return Err(MetadataFault::NoCertificate);
    }

    let redirect_url = children_named(document, role, METADATA, "SingleSignOnService")
        .into_iter()
        .find(|service| attribute(document, *service, "Binding") == Some(HTTP_REDIRECT))
        .and_then(|service| attribute(document, service, "Location"))
        .map(ToOwned::to_owned);
    if redirect_url
        .as_ref()
        .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://"))
    {
        return Err(MetadataFault::Address);
    }
    Ok(IdentityProvider {
        entity_id,
        certificates,
        redirect_url,
        wants_signed_requests: matches!(
            attribute(document, role, "WantAuthnRequestsSigned"),
            Some("true" | "1")
        ),
        valid_until,
        name_id_formats: children_named(document, role, METADATA, "NameIDFormat")
            .into_iter()
            .map(|format| text_of(document, format))
            .collect(),
    })
}

/// What we tell identity providers about us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceProvider<'a> {
    pub entity_id: &'a str,
    /// Where responses are to arrive.
    pub consumer_url: &'a str,
    /// Our certificates, in base64 of DER: they sign our requests, and assertions may be
    /// encrypted for them.
    pub certificates: &'a [String],
    pub name_id_format: Option<&'a str>,
}

/// Writes our metadata.
pub fn write_service_provider(provider: &ServiceProvider<'_>) -> String {
    let signs = !provider.certificates.is_empty();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <md:EntityDescriptor xmlns:md=\"{METADATA}\" xmlns:ds=\"{SIGNATURE}\" entityID=\"{}\">\n  \
         <md:SPSSODescriptor AuthnRequestsSigned=\"{signs}\" WantAssertionsSigned=\"true\" \
         protocolSupportEnumeration=\"{}\">\n",
        escape_text(provider.entity_id),
        namespace::PROTOCOL,
    );
    for usage in ["signing", "encryption"] {
        for certificate in provider.certificates {
            text.push_str(&format!(
                "    <md:KeyDescriptor use=\"{usage}\">\n      <ds:KeyInfo><ds:X509Data>\
                 <ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>\n",
                escape_text(certificate),
            ));
            if usage == "encryption" {
                for method in [
                    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
                    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
                    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
                ] {
                    text.push_str(&format!(
                        "      <md:EncryptionMethod Algorithm=\"{method}\"/>\n"
                    ));
                }
            }
            text.push_str("    </md:KeyDescriptor>\n");
        }
    }
    if let Some(format) = provider.name_id_format {
        text.push_str(&format!("    <md:NameIDFormat>{}</md:NameIDFormat>\n", escape_text(format)));
    }
    text.push_str(&format!(
        "    <md:AssertionConsumerService Binding=\"{HTTP_POST}\" Location=\"{}\" index=\"0\" \
         isDefault=\"true\"/>\n  </md:SPSSODescriptor>\n</md:EntityDescriptor>\n",
        escape_text(provider.consumer_url),
    ));
    text
}
