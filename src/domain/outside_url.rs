//! URLs in settings: addresses that this server will call.
//!
//! The check here tells an administrator of a mistake at once. What a host name resolves to is
//! judged at each call, by [`crate::http_client`].

use url::{Host, Url};

use crate::error::{Error, Result};

/// What a URL in a setting may be.
#[derive(Debug, Clone, Copy)]
pub struct OutsideUrlRules {
    /// The longest text, in characters.
    pub max_length: usize,
    /// Whether plain HTTP, literal addresses and this machine are allowed.
    pub private: bool,
    /// Whether it may have a query.
    pub query: bool,
}

/// A URL that this server may call, as it was written. It is judged as the HTTP client reads it:
/// `https://2130706433/` and `https://0x7f.1/` are addresses.
///
/// # Errors
/// [`Error::Invalid`] for `field`.
pub fn check_outside_url(
    field: &'static str,
    text: &str,
    rules: OutsideUrlRules,
) -> Result<String> {
    let text = crate::domain::check_text(field, text, rules.max_length)?;
    let full = || Error::invalid(field, "must be a full URL that begins with https://");
    let scheme_allowed =
        text.starts_with("https://") || rules.private && text.starts_with("http://");
    if !scheme_allowed {
        return Err(full());
    }
    // The parser drops line ends and takes `https:///host`; neither is ever
    // meant.
    let odd = text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
        || text.split('/').nth(2).is_none_or(str::is_empty);
    let url = Url::parse(&text).ok().filter(|_| !odd);
    let parts =
        if rules.query { "no user, blank or fragment" } else { "no user, query or fragment" };
    let wrong_parts =
        || Error::invalid(field, format!("must have a host and a valid port, and {parts}"));
    let url = url.ok_or_else(wrong_parts)?;
    if !url.username().is_empty()
        || url.password().is_some()
        || url.fragment().is_some()
        || (url.query().is_some() && !rules.query)
    {
        return Err(wrong_parts());
    }
    let public_name = match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            !(name == "localhost" || name.ends_with(".localhost"))
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => false,
        None => return Err(wrong_parts()),
    };
    if !public_name && !rules.private {
        return Err(Error::invalid(field, "must name a host, not an address"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: OutsideUrlRules =
        OutsideUrlRules { max_length: 200, private: false, query: true };

    #[test]
    fn disguised_addresses_are_refused() {
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://x.localhost/",
            "https://ⓛocalhost/",
            "https://１２７.0.0.1/",
            "https://127.0.0.1./",
        ] {
            assert!(check_outside_url("url", text, PUBLIC).is_err(), "{text}");
        }
        let private = OutsideUrlRules { private: true, ..PUBLIC };
        assert!(check_outside_url("url", "http://127.0.0.1:8080/x", private).is_ok());
    }

    #[test]
    fn malformed_urls_are_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com/",
            "http://example.com/",
            "https:///example.com",
            "https://",
            "https://exa mple.com/",
            "https://example.com:99999/",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://example.com\\@10.0.0.1/",
            "https://example.com/#part",
        ] {
            assert!(check_outside_url("url", text, PUBLIC).is_err(), "{text}");
        }
        for text in
            ["https://example.com", "https://bücher.example/hook?key=1", "https://a.b:8443/"]
        {
            assert_eq!(check_outside_url("url", text, PUBLIC).unwrap(), text);
        }
        let without_query = OutsideUrlRules { query: false, ..PUBLIC };
        assert!(check_outside_url("url", "https://example.com/?a=b", without_query).is_err());
    }
}
