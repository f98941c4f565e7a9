//! The one way to call out. Somebody else's words decide where a call goes (a setting, a document that another server
//! sent), so no call may become a way into the network that this server stands in: names that lead to private
//! addresses are refused when they are resolved, redirects and proxies are not followed, the answer has a size and
//! the whole call a time.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};

/// How long a call may take as a whole.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client for one purpose.
#[derive(Debug)]
pub struct Outbound {
    client: Client,
    private: bool,
}

impl Outbound {
    /// A client; with `private` it may call plain HTTP and addresses of private networks too.
    ///
    /// # Errors
    /// One line for the operator, when the system's trusted certificates cannot be used.
    pub fn new(private: bool) -> Result<Self, String> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .https_only(!private)
            .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")));
        let client = if private { client } else { client.dns_resolver(Public) };
        let client = client.build().map_err(|error| format!("cannot make an HTTPS client: {}", causes(&error)))?;
        Ok(Self { client, private })
    }

    /// What is at `url`, if it is there and not longer than `max` bytes.
    ///
    /// # Errors
    /// One line that says what was in the way.
    pub async fn get(&self, url: &Url, max: usize) -> Result<Vec<u8>, String> {
        let request = self.client.get(url.clone()).header("accept", "application/json");
        let answer = self.send(url, request, max).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("{url}: answered {}", answer.status));
        }
        Ok(answer.body)
    }

    /// What `url` answers to a GET with this authorization, whatever it is.
    ///
    /// # Errors
    /// One line that says why nothing was answered.
    pub async fn get_as(&self, url: &Url, authorization: &str, time: Duration, max: usize) -> Result<Answer, String> {
        let request = self.client.get(url.clone()).timeout(time).header("authorization", authorization);
        self.send(url, request.header("accept", "application/scim+json, application/json"), max).await
    }

    /// What `url` answers to a form.
    ///
    /// # Errors
    /// One line that says why nothing was answered.
    pub async fn post_form(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        authorization: Option<&str>,
        max: usize,
    ) -> Result<Answer, String> {
        let mut request = self.client.post(url.clone()).header("accept", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form(fields));
        self.send(url, request, max).await
    }

    async fn send(&self, url: &Url, request: RequestBuilder, max: usize) -> Result<Answer, String> {
        let host = url.host_str().unwrap_or_default();
        // An address needs no resolving, so the resolver does not see it.
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if !self.private && literal.is_some_and(|address| !is_public(address)) {
            return Err(format!("{host}: the address is not public"));
        }
        let told = |error: reqwest::Error| format!("{host}: {}", causes(&error.without_url()));
        let mut response = request.send().await.map_err(told)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let mut answer =
            Answer { status: response.status(), retry_after: retry_after.map(Into::into), body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if answer.body.len() + chunk.len() > max {
                return Err(format!("{host}: the answer is longer than {max} bytes"));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// When to ask again, as the other side wrote it.
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

/// Fields as a form is sent (application/x-www-form-urlencoded).
pub fn form(fields: &[(&str, &str)]) -> String {
    // A URL's query is written the same way.
    let encoded = Url::parse_with_params("x:/", fields).ok();
    encoded.and_then(|url| url.query().map(Into::into)).unwrap_or_default()
}

/// An error with what caused it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Resolves names by the system, and refuses one that leads anywhere but to the public internet. The addresses that
/// were judged are those that are connected to.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !found.iter().all(|address| is_public(address.ip())) {
                return Err(format!("{} leads to an address that is not public", name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet (IANA's registries of special-purpose addresses).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, _, _, _, high, low] = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        // Addresses of version 4 in other clothes: translated (RFC 6052) and 6to4 (RFC 3056).
        (0x64, 0xff9b) => embedded(high, low),
        (0x2002, _) => embedded(b, c),
        (0x2001, 0x0000..=0x01ff | 0x0db8) => false,
        (0x3fff, 0x0000..=0x0fff) => false,
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_networks_are_told_from_public_ones() {
        let judged = |text: &str| is_public(text.parse().unwrap());
        for public in ["8.8.8.8", "172.15.0.1", "100.63.0.1", "100.128.0.1", "198.20.0.1", "223.255.255.255"] {
            assert!(judged(public), "{public}");
        }
        for public in ["2606:4700::1111", "2a00:1450::8a", "64:ff9b::808:808", "2002:808:808::1"] {
            assert!(judged(public), "{public}");
        }
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
        ];
        for private in private {
            assert!(!judged(private), "{private}");
        }
    }
}
