//! Addresses as people write them: `localhost:8080` to listen on, and URLs of this machine without
//! their scheme.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::database::is_this_machine;

/// Reads an address to listen on: an IP address or the name of a host, and a port.
///
/// # Errors
/// One line that says what is wrong and what it should be.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    const EXAMPLE: &str =
        "give an address and a port, for example 127.0.0.1:8080 or localhost:8080";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let named = text.rsplit_once(':').is_some_and(|(host, _)| !host.is_empty());
    let found: Vec<SocketAddr> = match text.to_socket_addrs() {
        Ok(found) if named => found.collect(),
        Err(error) if named => return Err(format!("{error}; {EXAMPLE}")),
        _ => Vec::new(),
    };
    // Clients that know only one of a name's addresses know the one of version 4.
    let version_4 = found.iter().find(|address| address.is_ipv4());
    version_4.or(found.first()).copied().ok_or_else(|| EXAMPLE.to_owned())
}

/// Reads the address of a DNS server: an IP address, with a port if it is not 53.
///
/// # Errors
/// One line that says what is wrong.
pub fn parse_dns_server(text: &str) -> Result<SocketAddr, String> {
    const DNS_PORT: u16 = 53;
    let bare = text.trim_matches(['[', ']']).parse().map(|ip: IpAddr| (ip, DNS_PORT).into());
    text.parse().or(bare).map_err(|_| {
        format!("{text:?}: give an IP address, for example 192.0.2.53 or 127.0.0.1:5353")
    })
}

/// The URL with `http://` in front, if it is one of this machine without a scheme:
/// `localhost:8080/scim/v2/acme`. Every other text stays as it is, because a token must not leave
/// this machine unencrypted only since a scheme was forgotten.
pub fn add_missing_scheme(text: &str) -> Cow<'_, str> {
    let authority = text.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    if !host.is_empty() && is_this_machine(host) {
        format!("http://{text}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listen_addresses_too() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("localhost:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(parse_listen_address(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "nowhere", "127.0.0.1", ":8080", "localhost", "localhost:", "[::1]", "a:b"]
        {
            assert!(parse_listen_address(text).unwrap_err().contains("localhost:8080"), "{text}");
        }
    }

    #[test]
    fn port_of_dns_server_is_optional() {
        for (text, expected) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:54", "[2001:db8::53]:54"),
        ] {
            assert_eq!(parse_dns_server(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "dns.example.org", "192.0.2.53:x", ":53"] {
            assert!(parse_dns_server(text).unwrap_err().contains("127.0.0.1:5353"), "{text}");
        }
    }

    #[test]
    fn only_this_machine_needs_no_scheme() {
        for text in [
            "localhost:8080/scim/v2/acme",
            "localhost",
            "LOCALHOST/x",
            "127.0.0.1:80",
            "[::1]:8080/x",
        ] {
            assert_eq!(add_missing_scheme(text), format!("http://{text}"));
        }
        for text in [
            "",
            "//localhost",
            "/x",
            "https://localhost:8080",
            "example.com:8080",
            "localhost.example.com",
            "mailto:a@b.example",
            "localhost:x",
            "u@localhost",
        ] {
            assert_eq!(add_missing_scheme(text), text);
        }
    }
}
