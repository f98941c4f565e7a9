//! Metadata of identity providers, read from their addresses.

use reqwest::Url;

use crate::context::Cx;
use crate::domain::connection::assertion_source::saml::SamlMetadata;
use crate::error::{Error, Result};

/// Reads the metadata at an address. Whether it may be called is judged by what its name resolves
/// to.
///
/// # Errors
/// [`Error::Invalid`] with what is wrong.
pub async fn fetch_metadata(cx: &Cx, url: &str, entity_id: Option<&str>) -> Result<SamlMetadata> {
    let wrong = |why: String| Error::invalid("metadataUrl", why);
    let rules = crate::domain::outside_url::OutsideUrlRules {
        max_length: 2_048,
        private: true,
        query: true,
    };
    let url = crate::domain::outside_url::check_outside_url("metadataUrl", url, rules)?;
    let address = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
    let outbound = cx.app.key_rings.outbound();
    let text = outbound.get_bytes(&address, ::saml::MAX_METADATA_BYTES).await.map_err(wrong)?;
    let text = String::from_utf8(text).map_err(|_| wrong("the metadata are not UTF-8".into()))?;
    SamlMetadata::read(&text, Some(url), entity_id, cx.app.clock.now())
}
