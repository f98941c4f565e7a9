//! Origins of web pages, as the operator lists them:
//! `https://admin.example.com, http://localhost:5173`.

use std::str::FromStr;

use axum::http::HeaderValue;

/// A list of origins; empty = none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginList(Vec<HeaderValue>);

impl OriginList {
    /// Whether no origin is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origins as browsers send them in the header `Origin`.
    pub fn header_values(&self) -> &[HeaderValue] {
        &self.0
    }
}

impl FromStr for OriginList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(parse_origin).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    if text == "*" {
        return Err("* would let every web page in; list the origins of your own".into());
    }
    let example = "for example https://admin.example.com or http://localhost:5173";
    let wrong = || format!("{text:?} is no origin, {example}");
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || text.contains('*') {
        return Err(wrong());
    }
    // Browsers compare the text, so it must be what they send: in lower case, without the default
    // port, and without anything behind it.
    let origin = url.origin().ascii_serialization();
    if origin != text {
        return Err(format!("{text:?} is not what a browser sends; write {origin}"));
    }
    HeaderValue::from_str(&origin).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        let origins: OriginList =
            " https://admin.example.com,http://localhost:5173 ,http://[::1]:8080".parse().unwrap();
        let shown: Vec<_> = origins.header_values().iter().map(|o| o.to_str().unwrap()).collect();
        assert_eq!(
            shown,
            ["https://admin.example.com", "http://localhost:5173", "http://[::1]:8080"]
        );
        assert!("".parse::<OriginList>().unwrap().is_empty());
    }

    #[test]
    fn wrong_origins_are_refused() {
        for (wrong, hint) in [
            ("*", "every web page"),
            ("null", "is no origin"),
            ("admin.example.com", "is no origin"),
            ("localhost:5173", "is no origin"),
            ("file:///srv/index.html", "is no origin"),
            ("https://admin.example.com/", "write https://admin.example.com"),
            ("https://admin.example.com/app", "write https://admin.example.com"),
            ("https://Admin.example.com", "write https://admin.example.com"),
            ("https://admin.example.com:443", "write https://admin.example.com"),
            ("https://user@admin.example.com", "write https://admin.example.com"),
            ("https://*.example.com", "is no origin"),
        ] {
            let refused = wrong.parse::<OriginList>().unwrap_err();
            assert!(refused.contains(hint), "{wrong}: {refused}");
        }
    }
}
