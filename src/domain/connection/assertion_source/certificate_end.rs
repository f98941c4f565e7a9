//! Certificates that end, of identity providers and our own. Their keys count after that, too: who
//! configured them vouches for them, and not their dates. But an identity provider that lets its
//! certificate end will change it soon, and other products refuse one that has ended.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind, ConnectionStatus};
use uuid::Uuid;

use super::saml::SamlSettings;
use super::{Protocol, sources_of_connections};
use crate::context::Cx;
use crate::domain::connection::health::format_to_second;
use crate::error::Result;

/// An end that is nearer than this is reported.
pub const CERTIFICATE_END_WARNING: Duration = Duration::days(30);

/// Whose certificate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum CertificateOwner {
    IdentityProvider,
    Ourselves,
}

/// The certificate of a connection that ends last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) struct CertificateEnd {
    pub connection: Uuid,
    pub name: String,
    pub owner: CertificateOwner,
    pub begin: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// Whether the metadata are read again by themselves.
    read_again: bool,
}

impl CertificateEnd {
    /// A sentence about it, and what to do.
    pub fn describe(&self, now: DateTime<Utc>) -> (String, &'static str) {
        let at = format_to_second(self.end);
        let verb = if self.end > now { "ends" } else { "ended" };
        match self.owner {
            CertificateOwner::IdentityProvider => {
                let text = format!(
                    "{}: the last certificate of its identity provider {verb} at {at}. Its key \
                     is accepted until the metadata name another one.",
                    self.name
                );
                let next = if self.read_again {
                    "Ask who runs the identity provider when it gets a new certificate: it is \
                     taken in by itself as soon as the metadata name it (assertionSourceTest \
                     shows what they name now)."
                } else {
                    "Ask who runs the identity provider for metadata with the new certificate, \
                     and give them, better by their address (connectionUpdate)."
                };
                (text, next)
            }
            CertificateOwner::Ourselves => {
                let text = format!("{}: our own certificate {verb} at {at}.", self.name);
                let next = "Prepare a new key (samlKeyPrepare), have the identity provider read \
                            our metadata, and activate the key (samlKeyActivate).";
                (text, next)
            }
        }
    }
}

/// The last certificates of the active connections that accept responses of SAML, of the identity
/// provider and our own, each if it ends soon or has ended.
pub(in crate::domain) async fn near_certificate_ends(
    cx: &Cx,
    live: &[connection::Model],
) -> Result<Vec<CertificateEnd>> {
    let active: Vec<&connection::Model> = live
        .iter()
        .filter(|row| row.kind == ConnectionKind::Assertion)
        .filter(|row| row.status == ConnectionStatus::Active)
        .collect();
    if active.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = active.iter().map(|row| row.id).collect();
    let near = cx.app.clock.now() + CERTIFICATE_END_WARNING;
    let mut found = Vec::new();
    for source in sources_of_connections(cx, &ids).await? {
        if source.protocol != Protocol::Saml {
            continue;
        }
        let settings = SamlSettings::of_row(&source)?;
        let row = active.iter().find(|row| row.id == source.connection_id);
        let name = row.map_or_else(String::new, |row| row.name.clone());
        let theirs = settings.read_certificates()?.into_iter().max_by_key(|each| each.not_after);
        let own = settings.read_service_certificate()?;
        for (owner, certificate) in
            [(CertificateOwner::IdentityProvider, theirs), (CertificateOwner::Ourselves, Some(own))]
        {
            let Some(certificate) = certificate.filter(|each| each.not_after <= near) else {
                continue;
            };
            found.push(CertificateEnd {
                connection: source.connection_id,
                name: name.clone(),
                owner,
                begin: certificate.not_before,
                end: certificate.not_after,
                read_again: settings.metadata_url.is_some(),
            });
        }
    }
    found.sort_by_key(|ending| (ending.end, ending.connection));
    Ok(found)
}
