//! Metadata of identity providers, read from their addresses: when an administrator gives one, by
//! themselves from time to time, and when a response has a signature that no known certificate
//! fits.

use std::sync::Arc;
use std::time::Duration;

use ::saml::{MetadataFault, read_identity_provider};
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Url;

use crate::context::{App, Cx};
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::connection::assertion_source::metadata_refresh::{
    ClaimedRefresh, claim_due_refreshes, claim_refresh_at_once,
};
use crate::domain::connection::assertion_source::saml::SamlMetadata;
use crate::domain::outside_url::{OutsideUrlRules, check_outside_url};
use crate::error::{Error, RefusalReason, Result};
use crate::sign_in::saml::read_aside;

/// Metadata that one server reads at once.
const MAX_CONCURRENT: usize = 4;
/// The time limit of one reading.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Why metadata could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFailure {
    pub reason: RefusalReason,
    /// For administrators.
    pub why: String,
}

impl MetadataFailure {
    fn new(reason: RefusalReason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// Reads the metadata at an address that an administrator gives.
///
/// # Errors
/// [`Error::Invalid`] with what is wrong.
pub async fn fetch_metadata(cx: &Cx, url: &str, entity_id: Option<&str>) -> Result<SamlMetadata> {
    let read = read_metadata(cx, url, entity_id).await;
    read.map_err(|failure| Error::invalid("metadataUrl", failure.why))
}

/// Reads metadata that an administrator gives as a text.
///
/// # Errors
/// [`Error::Invalid`] with what is wrong.
pub async fn read_given_metadata(
    cx: &Cx,
    text: String,
    entity_id: Option<&str>,
) -> Result<SamlMetadata> {
    let (wanted, now) = (entity_id.map(ToOwned::to_owned), cx.app.clock.now());
    read_aside(move || SamlMetadata::read(&text, None, wanted.as_deref(), now)).await?
}

/// Reads the metadata at an address. Whether it may be called is judged by what its name resolves
/// to.
pub(in crate::sign_in) async fn read_metadata(
    cx: &Cx,
    url: &str,
    entity_id: Option<&str>,
) -> Result<SamlMetadata, MetadataFailure> {
    let wrong = |why: String| MetadataFailure::new(RefusalReason::SourceAddress, why);
    let rules = OutsideUrlRules { max_length: 2_048, private: true, query: true };
    let url = check_outside_url("metadataUrl", url, rules).map_err(|error| match error {
        Error::Invalid { why, .. } => wrong(why.into_owned()),
        error => wrong(error.to_string()),
    })?;
    let address = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
    let outbound = cx.app.key_rings.outbound();
    let reading = outbound.get_bytes(&address, ::saml::MAX_METADATA_BYTES);
    let silent = |why: String| MetadataFailure::new(RefusalReason::SourceUnavailable, why);
    let text = match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(read) => read.map_err(silent)?,
        Err(_) => return Err(silent(format!("no answer within {} s", READ_TIMEOUT.as_secs()))),
    };
    let unreadable = |why: String| MetadataFailure::new(RefusalReason::SourceUnreadable, why);
    let text = String::from_utf8(text);
    let text = text.map_err(|_| unreadable("the metadata are not UTF-8".into()))?;
    let now = cx.app.clock.now();
    let wanted = entity_id.map(ToOwned::to_owned);
    let read = read_aside(move || read_identity_provider(&text, wanted.as_deref(), now)).await;
    let read = read.map_err(|error| silent(error.to_string()))?;
    let provider = read.map_err(|fault| match fault {
        MetadataFault::NoIdentityProvider if entity_id.is_some() => {
            MetadataFailure::new(RefusalReason::AssertionIssuer, fault.to_string())
        }
        fault => unreadable(fault.to_string()),
    })?;
    Ok(SamlMetadata { provider, url: Some(url), read_at: now })
}

/// Reads all metadata whose time has come.
///
/// # Errors
/// Those of the database.
pub async fn refresh_due_metadata(app: &Arc<App>) -> Result<()> {
    let claimed = claim_due_refreshes(app).await?;
    let read = |claimed: ClaimedRefresh| async move { refresh_claimed(&claimed).await };
    let mut done = stream::iter(claimed).map(read).buffer_unordered(MAX_CONCURRENT);
    let mut first = Ok(());
    while let Some(done) = done.next().await {
        first = first.and(done.map(drop));
    }
    first
}

/// Reads the metadata of a connection at once, because a response has a signature that no known
/// certificate fits. Returns the connection as it is after that, if that changed it.
///
/// # Errors
/// Those of the database.
pub(super) async fn refresh_for_unknown_key(
    cx: &Cx,
    accepting: &AcceptingConnection,
) -> Result<Option<AcceptingConnection>> {
    let id = accepting.connection.id;
    let Some(claimed) = claim_refresh_at_once(cx, id).await? else { return Ok(None) };
    if !refresh_claimed(&claimed).await? {
        return Ok(None);
    }
    assertion_source::find_accepting(&claimed.cx, id).await.map(Some)
}

/// Reads the metadata of a claimed connection; returns whether that changed it.
async fn refresh_claimed(claimed: &ClaimedRefresh) -> Result<bool> {
    let cx = &claimed.cx;
    let id = claimed.refresh.connection_id;
    let accepting = match assertion_source::find_accepting(cx, id).await {
        Err(Error::NotFound(_)) => return claimed.finish().await.map(|()| false),
        found => found?,
    };
    let settings = accepting.saml_settings().ok();
    let Some((settings, url)) =
        settings.and_then(|settings| Some((settings.clone(), settings.metadata_url?)))
    else {
        return claimed.finish().await.map(|()| false);
    };
    match read_metadata(cx, &url, Some(&settings.entity_id)).await {
        Ok(metadata) => match claimed.settle_read(metadata).await {
            // What was read cannot be settings: an address in it, for example.
            Err(error @ (Error::Invalid { .. } | Error::Several(_))) => {
                let why = error.to_string();
                claimed.settle_failure(RefusalReason::SourceUnreadable, &why).await?;
                Ok(false)
            }
            // The connection was deleted meanwhile.
            Err(Error::NotFound(_)) => claimed.finish().await.map(|()| false),
            settled => settled,
        },
        Err(MetadataFailure { reason, why }) => {
            claimed.settle_failure(reason, &why).await?;
            tracing::warn!(connection = %id, why, "reading the metadata of a provider failed");
            Ok(false)
        }
    }
}
