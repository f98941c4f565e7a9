//! Our own keys of a connection that accepts responses of SAML. A key is renewed in two steps, so
//! that no sign-in fails: a prepared key stands in our metadata beside the active one, until the
//! identity provider has read them; then it is activated, signs our requests, and the key before it
//! decrypts for a while what the identity provider still encrypts for it.

use ::saml::ServiceKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Duration, Utc};
use entity::assertion_source;
use sea_orm::{ColumnTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::metadata_refresh::save_changed;
use super::saml::{FormerCertificate, SamlSettings};
use super::{ProtocolSettings, open_secret, seal_secret};
use crate::auth::policy::Action;
use crate::context::{Change, Cx};
use crate::domain::connection::{Connection, lock_live_connection};
use crate::error::{Error, RefusalReason, Result};

/// How long a key that was replaced may decrypt at the most.
const MAX_OVERLAP: Duration = Duration::days(30);

/// The secrets of a connection that accepts responses of SAML, sealed together.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SamlSecrets {
    /// The active key: PKCS #8 in base64.
    pub key: String,
    /// The prepared key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// The key before the active one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_key: Option<String>,
    /// The secret of the client that asks Microsoft Graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl SamlSecrets {
    /// Reads what [`Self::to_text`] has written, or a key alone, as earlier versions wrote it.
    ///
    /// # Errors
    /// [`Error::Internal`] for damaged secrets.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with('{') {
            let damaged =
                |_| Error::Internal("the secrets of a SAML connection are damaged".into());
            return serde_json::from_str(text).map_err(damaged);
        }
        Ok(Self { key: text.to_owned(), ..Self::default() })
    }

    /// The secrets as one text.
    ///
    /// # Errors
    /// [`Error::Internal`]
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// The secrets of a connection.
    ///
    /// # Errors
    /// Those of the database and of the vault.
    pub async fn open_secrets(cx: &Cx, connection: &Connection) -> Result<Self> {
        match open_secret(cx, connection).await? {
            Some(text) => Self::parse(&text),
            None => Ok(Self::default()),
        }
    }

    /// Our keys that decrypt at this time, the active one first.
    ///
    /// # Errors
    /// [`Error::Internal`] for a damaged key.
    pub fn read_keys(
        &self,
        settings: &SamlSettings,
        now: DateTime<Utc>,
    ) -> Result<Vec<ServiceKey>> {
        let mut keys = Vec::new();
        if !self.key.is_empty() {
            keys.push(read_service_key(&settings.service_certificate, &self.key)?);
        }
        if let (Some(certificate), Some(key)) = (&settings.next_service_certificate, &self.next_key)
        {
            keys.push(read_service_key(certificate, key)?);
        }
        if let (Some(former), Some(key)) = (settings.former_certificate(now), &self.former_key) {
            keys.push(read_service_key(&former.certificate, key)?);
        }
        Ok(keys)
    }
}

/// Makes our own key for a connection: its certificate for the settings, and the key itself, as the
/// secret of the connection.
///
/// # Errors
/// [`Error::Internal`]
pub fn make_service_key(name: &str, now: DateTime<Utc>) -> Result<(String, String)> {
    let (key, certificate) = ServiceKey::generate_key(name, now)
        .map_err(|fault| Error::Internal(format!("a new key of SAML: {fault}")))?;
    Ok((STANDARD.encode(certificate), STANDARD.encode(key)))
}

/// Makes our own key without keeping other requests waiting.
///
/// # Errors
/// [`Error::Internal`]
pub async fn make_key_aside(cx: &Cx) -> Result<(String, String)> {
    let (name, now) = (cx.app.config.public_url.clone(), cx.app.clock.now());
    let made = tokio::task::spawn_blocking(move || make_service_key(&name, now)).await;
    made.map_err(|error| Error::Internal(format!("making a key: {error}")))?
}

/// Reads what [`make_service_key`] made.
fn read_service_key(certificate: &str, secret: &str) -> Result<ServiceKey> {
    let damaged = || Error::Internal("our key of a SAML connection is damaged".into());
    let certificate = STANDARD.decode(certificate).map_err(|_| damaged())?;
    let key = STANDARD.decode(secret).map_err(|_| damaged())?;
    ServiceKey::read_key(&key, &certificate).map_err(|_| damaged())
}

/// Prepares a new key of ours: our metadata name its certificate beside the active one.
///
/// # Errors
/// [`Error::Held`] where a prepared key waits already, and for a connection of another protocol;
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn prepare_key(cx: &Cx, id: Uuid, expected: Option<i64>) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    let made = &make_key_aside(cx).await?;
    change_keys(cx, id, expected, "KEY_PREPARED", move |settings, secrets, _now| {
        if settings.next_service_certificate.is_some() {
            let why = "a prepared key waits already: have the identity provider read our \
                       metadata, and activate it (samlKeyActivate)";
            return Err(Error::Held { reason: RefusalReason::AlreadyRunning, why: why.into() });
        }
        settings.next_service_certificate = Some(made.0.clone());
        secrets.next_key = Some(made.1.clone());
        Ok(())
    })
    .await
}

/// Activates the prepared key: it signs our requests from now on, and our metadata name it alone.
/// The key before it decrypts for `overlap` more.
///
/// # Errors
/// [`Error::Held`] where no prepared key waits, and for a connection of another protocol;
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn activate_key(
    cx: &Cx,
    id: Uuid,
    overlap: Duration,
    expected: Option<i64>,
) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    if overlap < Duration::zero() || overlap > MAX_OVERLAP {
        let why = format!("must be between 0 and {} (30 days)", MAX_OVERLAP.num_seconds());
        return Err(Error::invalid("overlapSeconds", why));
    }
    change_keys(cx, id, expected, "KEY_ACTIVATED", move |settings, secrets, now| {
        let (Some(certificate), Some(key)) =
            (settings.next_service_certificate.take(), secrets.next_key.take())
        else {
            let why = "no prepared key waits: prepare one first (samlKeyPrepare)";
            return Err(Error::Held { reason: RefusalReason::NotWaiting, why: why.into() });
        };
        let former = std::mem::replace(&mut settings.service_certificate, certificate);
        let former_key = std::mem::replace(&mut secrets.key, key);
        let lasts = overlap > Duration::zero();
        settings.former_service_certificate =
            lasts.then(|| FormerCertificate { certificate: former, retires_at: now + overlap });
        secrets.former_key = lasts.then_some(former_key);
        Ok(())
    })
    .await
}

/// Changes our keys and their certificates in one write.
async fn change_keys(
    cx: &Cx,
    id: Uuid,
    expected: Option<i64>,
    because: &'static str,
    change: impl Fn(&mut SamlSettings, &mut SamlSecrets, DateTime<Utc>) -> Result<()> + Send + Sync,
) -> Result<Connection> {
    let change = &change;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut row = lock_live_connection(tx, id).await?;
            crate::domain::check_version(expected, row.version)?;
            let query = tx.find::<assertion_source::Entity>();
            let query = query.filter(assertion_source::Column::ConnectionId.eq(id));
            let source = crate::domain::lock_row(tx, query).await?;
            let other = || Error::Held {
                reason: RefusalReason::AssertionKind,
                why: "the connection accepts no responses of SAML, so it has no key of its own"
                    .into(),
            };
            let source = source.ok_or_else(other)?;
            let ProtocolSettings::Saml(mut settings) = ProtocolSettings::of_row(&source)? else {
                return Err(other());
            };
            let mut secrets = SamlSecrets::open_secrets(cx, &row).await?;
            let now = tx.now_after(Some(row.updated_at));
            change(&mut settings, &mut secrets, now)?;
            row.credentials = Some(seal_secret(cx, tx, id, &secrets.to_text()?).await?);
            let settings = ProtocolSettings::Saml(settings).to_json()?;
            let next = assertion_source::Model { settings, ..source.clone() };
            crate::domain::save_row::<assertion_source::Entity, assertion_source::ActiveModel>(
                tx,
                next.clone(),
            )
            .await?;
            let (after, entry) = save_changed(tx, row, &source, &next, because).await?;
            Ok(Change::recorded(after, entry))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_alone_can_be_read() {
        let secrets = SamlSecrets::parse("MIIE").unwrap();
        assert_eq!(secrets.key, "MIIE");
        let whole = SamlSecrets { client_secret: Some("s".into()), ..secrets };
        let read = SamlSecrets::parse(&whole.to_text().unwrap()).unwrap();
        assert!(read == whole);
        assert!(SamlSecrets::parse("{").is_err());
    }
}
