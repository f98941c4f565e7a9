//! Where a request comes from. Behind proxies the other end of the connection is a proxy, and what
//! the headers say of the client may be invented, all but what a trusted proxy itself has written:
//! each proxy adds the address that it saw to the right of what it was sent. So the list is read
//! from the right, and ends at the first address that is no trusted proxy's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};

use crate::config::networks::NetworkList;
use crate::context::App;

/// What most proxies write, an address each.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Puts the client's address in place of the proxy's, for all that handles the request after this.
pub async fn resolve_client_address(State(app): State<Arc<App>>, mut request: Request) -> Request {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied()
    else {
        return request;
    };
    let address = client_address(peer.ip(), request.headers(), &app.config.trusted_proxies);
    if address != peer.ip() {
        // The client's port is the proxy's business.
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 0)));
    }
    request
}

/// The address of the client whose request came over a connection from `peer`.
///
/// A header is read only when it comes from a trusted proxy. Where both headers are there and name
/// different clients, one of them came from the client itself and passed through a proxy that does
/// not know it: then neither counts.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &NetworkList) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    let named = |name: HeaderName, read: fn(&str) -> Vec<Option<IpAddr>>| {
        // Several headers of one name are one list, in their order (RFC 9110 section 5.3).
        let lines = headers.get_all(name).iter();
        let hops: Vec<_> =
            lines.flat_map(|line| line.to_str().map_or_else(|_| vec![None], read)).collect();
        (!hops.is_empty()).then(|| first_untrusted(peer, &hops, trusted))
    };
    match (named(X_FORWARDED_FOR, parse_forwarded_for), named(FORWARDED, parse_forwarded)) {
        (Some(one), Some(other)) if one != other => peer,
        (found, other) => found.or(other).unwrap_or(peer),
    }
}

/// Walks from the right to the first address that is no trusted proxy's. What cannot be read ends
/// the walk at the proxy that wrote it.
fn first_untrusted(peer: IpAddr, hops: &[Option<IpAddr>], trusted: &NetworkList) -> IpAddr {
    let mut last = peer;
    for hop in hops.iter().rev() {
        let Some(hop) = hop else { break };
        last = *hop;
        if !trusted.contains(last) {
            break;
        }
    }
    last
}

/// The addresses of one X-Forwarded-For header.
fn parse_forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(node_address).collect()
}

/// The addresses of one Forwarded header (RFC 7239 section 4); of a malformed one, none can be
/// told.
fn parse_forwarded(line: &str) -> Vec<Option<IpAddr>> {
    parse_elements(line).unwrap_or_else(|| vec![None])
}

fn parse_elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut found = Vec::new();
    for element in split_unquoted(line, ',')? {
        let mut node = None;
        for pair in split_unquoted(element, ';')? {
            let pair = pair.trim();
            if pair.is_empty() {
                continue;
            }
            let (name, value) = pair.split_once('=')?;
            let value = match value.strip_prefix('"') {
                Some(rest) => rest.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))?,
                None if value.contains('"') => return None,
                None => value,
            };
            if name.trim().eq_ignore_ascii_case("for") {
                node = node_address(value);
            }
        }
        found.push(node);
    }
    Some(found)
}

/// The parts between separators that stand outside quotes; none when a quote does not end.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(text.get(start..at)?);
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!quoted).then_some(parts)
}

/// The address of a node, with a port or without: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`,
/// `[2001:db8::1]:443`. `unknown` and obfuscated names (RFC 7239 section 6.3) are none.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|node| node.ip());
    let address: IpAddr = text.parse().ok().or_else(bare).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let trusted = "10.0.0.0/8, 2001:db8:1::/48".parse().unwrap();
        client_address(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn headers_of_strangers_are_not_read() {
        for (name, value) in [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")] {
            assert_eq!(client("203.0.113.9", &[(name, value)]), "203.0.113.9");
            assert_eq!(client("2001:db8:2::1", &[(name, value)]), "2001:db8:2::1");
            assert_eq!(client("10.0.0.1", &[(name, value)]), "192.0.2.1");
            assert_eq!(client("::ffff:10.0.0.1", &[(name, value)]), "192.0.2.1");
            assert_eq!(client("2001:db8:1::1", &[(name, value)]), "192.0.2.1");
        }
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let of = |value: &str| client("10.0.0.1", &[("x-forwarded-for", value)]);
        assert_eq!(
            of("1.1.1.1, 192.0.2.1"),
            "192.0.2.1",
            "what is left of it was sent by the client"
        );
        assert_eq!(of("1.1.1.1, 192.0.2.1, 10.0.0.2, 10.0.0.3"), "192.0.2.1");
        assert_eq!(of("10.0.0.9, 10.0.0.2"), "10.0.0.9", "a client inside");
        assert_eq!(of("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(of("2001:db8::7"), "2001:db8::7");
        assert_eq!(of("[2001:db8::7]"), "2001:db8::7");
        assert_eq!(of("[2001:db8::7]:443"), "2001:db8::7");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(
            of("1.1.1.1, unknown, 10.0.0.2"),
            "10.0.0.2",
            "nothing beyond what cannot be read"
        );
        for unreadable in ["", ",", "unknown", "192.0.2.1 ,", "256.0.0.1", "<script>"] {
            assert_eq!(of(unreadable), "10.0.0.1", "{unreadable:?}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
        let lines = [("forwarded", "for=1.1.1.1"), ("forwarded", "for=192.0.2.1, for=10.0.0.2")];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
    }

    #[test]
    fn forwarded_is_read_as_it_is_defined() {
        let of = |value: &str| client("10.0.0.1", &[("forwarded", value)]);
        assert_eq!(of(r#"For="[2001:db8::7]:4711";proto=https;by=10.0.0.1"#), "2001:db8::7");
        assert_eq!(of(r#"proto=http; for="192.0.2.1:80""#), "192.0.2.1");
        assert_eq!(of("for=_hidden"), "10.0.0.1");
        assert_eq!(
            of("for=192.0.2.1, proto=https"),
            "10.0.0.1",
            "a proxy that says nothing of its client"
        );
        // A quote that the client opens must not swallow what the proxy adds.
        for forged in [
            r#"for=1.1.1.1;x=", for=192.0.2.1"#,
            r#"for=1.1.1.1;x=", for="[2001:db8::7]""#,
            r#"for=1.1.1.1;x=", for=192.0.2.1;host="h""#,
            r#"for="1.1.1.1\", for=192.0.2.1""#,
        ] {
            assert_eq!(of(forged), "10.0.0.1", "{forged}");
        }
    }

    #[test]
    fn two_headers_that_disagree_do_not_count() {
        let both =
            |one, other| client("10.0.0.1", &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("192.0.2.1", "for=192.0.2.1"), "192.0.2.1");
        assert_eq!(both("1.1.1.1", "for=192.0.2.1"), "10.0.0.1");
        assert_eq!(both("192.0.2.1", "for=unknown"), "10.0.0.1");
    }
}
