//! The only HTTP client for requests to other servers. Input from outside decides the address of a
//! request (a setting, a document that another server sent), so no request may reach the private
//! network of this server (server-side request forgery): host names that resolve to private
//! addresses are refused, redirects and proxies are not followed, and the size of the answer and
//! the time of the whole request are limited.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
#[cfg(feature = "otlp")]
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use tracing::Instrument;
use tracing::field::Empty;

use crate::trace_context::{SPAN_TARGET, TraceContext};

/// How long a call may take as a whole, unless its caller gives it another time.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take as a part of that, TLS included, in hundredths; so that the error
/// can tell which phase took too long.
const CONNECT_SHARE: u32 = 60;
/// How long reading the beginning of an answer may take after its status.
const BEGINNING_LIMIT: Duration = Duration::from_secs(2);
/// How long the diagnosis of an address that did not answer may take.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(1);

/// A client for one purpose.
#[derive(Debug)]
pub struct GuardedClient {
    client: Client,
    private: bool,
    /// The only URL whose origin may be called; none = any.
    only: Option<Url>,
    /// How long connecting may take, TLS included.
    connect_limit: Duration,
}

impl GuardedClient {
    /// A client; with `private` it may also use plain HTTP and addresses of private networks.
    ///
    /// # Errors
    /// One line for the operator, when the system's trusted certificates cannot be used.
    pub fn new(private: bool) -> Result<Self, String> {
        Self::with_time_limit(private, DEFAULT_TIMEOUT)
    }

    /// A client whose calls are given `limit` by their caller.
    ///
    /// # Errors
    /// As [`GuardedClient::new`].
    pub fn with_time_limit(private: bool, limit: Duration) -> Result<Self, String> {
        Self::build(private, None, limit, look_up_by_system)
    }

    /// A client that calls nothing but the origin of `url`, which may be private and without TLS:
    /// the operator has set it as this server's own.
    ///
    /// # Errors
    /// As [`GuardedClient::new`].
    pub fn for_own_origin(url: &Url, limit: Duration) -> Result<Self, String> {
        Self::build(true, Some(url.clone()), limit, look_up_by_system)
    }

    fn build(
        private: bool,
        only: Option<Url>,
        limit: Duration,
        lookup: Lookup,
    ) -> Result<Self, String> {
        let connect_limit = limit.min(DEFAULT_TIMEOUT) * CONNECT_SHARE / 100;
        let client = Client::builder()
            .timeout(DEFAULT_TIMEOUT)
            .connect_timeout(connect_limit)
            .redirect(Policy::none())
            .no_proxy()
            .https_only(!private)
            .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")));
        let client = if private { client } else { client.dns_resolver(PublicResolver { lookup }) };
        let client = client
            .build()
            .map_err(|error| format!("cannot make an HTTPS client: {}", error_chain(&error)))?;
        Ok(Self { client, private, only, connect_limit })
    }

    /// The addresses of the URL's host.
    ///
    /// # Errors
    /// One line that says why there are none.
    pub async fn resolve_host(
        &self,
        url: &Url,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, String> {
        self.check_origin(url)?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port));
        let found = match tokio::time::timeout(limit, found).await {
            Ok(found) => found.map_err(|error| format!("{host}: {error}"))?,
            Err(_) => return Err(format!("{host}: not resolved within {} s", limit.as_secs())),
        };
        let found: Vec<_> =
            found.filter(|address| self.private || is_public(address.ip())).collect();
        if found.is_empty() { Err(format!("{host}: has no address")) } else { Ok(found) }
    }

    /// Whether one of these addresses, which [`Self::resolve_host`] gave, accepts a connection.
    ///
    /// # Errors
    /// One line that says why none does.
    pub async fn check_port(
        &self,
        addresses: &[SocketAddr],
        limit: Duration,
    ) -> Result<(), String> {
        let port = addresses.first().map(SocketAddr::port).unwrap_or_default();
        match tokio::time::timeout(limit, tokio::net::TcpStream::connect(addresses)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("port {port} accepts no connection: {error}")),
            Err(_) => Err(format!("port {port} accepts no connection within {limit:?}")),
        }
    }

    fn check_origin(&self, url: &Url) -> Result<(), String> {
        match &self.only {
            Some(only) if only.origin() != url.origin() => Err(format!(
                "{}: not the origin of this server",
                url.host_str().unwrap_or_default()
            )),
            _ => Ok(()),
        }
    }

    /// What is at `url`, if it is there and not longer than `max` bytes.
    ///
    /// # Errors
    /// One line that says why it failed.
    pub async fn get_bytes(&self, url: &Url, max: usize) -> Result<Vec<u8>, String> {
        let request = self.client.get(url.clone()).header("accept", "application/json");
        let answer = self.send_traced("GET", url, request, max).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("{url}: answered {}", answer.status));
        }
        Ok(answer.body)
    }

    /// What `url` answers to a GET with this authorization, whatever it is.
    ///
    /// # Errors
    /// One line that says why nothing was answered.
    pub async fn get_as(
        &self,
        url: &Url,
        authorization: &str,
        time: Duration,
        max: usize,
    ) -> Result<HttpAnswer, String> {
        let accept = "application/scim+json, application/json";
        self.get_accepting(url, authorization, accept, time, max).await
    }

    /// The same in one of these media types.
    ///
    /// # Errors
    /// As [`GuardedClient::get_as`].
    pub async fn get_accepting(
        &self,
        url: &Url,
        authorization: &str,
        accept: &'static str,
        time: Duration,
        max: usize,
    ) -> Result<HttpAnswer, String> {
        let request =
            self.client.get(url.clone()).timeout(time).header("authorization", authorization);
        self.send_traced("GET", url, request.header("accept", accept), max).await
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
    ) -> Result<HttpAnswer, String> {
        let mut request = self.client.post(url.clone()).header("accept", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encode_form(fields));
        self.send_traced("POST", url, request, max).await
    }

    /// What `url` answers to a message with these headers. At most `kept` bytes of the answer are
    /// read: what comes after them is nothing that the caller wants to know.
    ///
    /// # Errors
    /// One line that says why nothing was answered.
    pub async fn post_message(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        time: Duration,
        kept: usize,
    ) -> Result<HttpAnswer, String> {
        let mut request = self.client.post(url.clone()).timeout(time).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.send_in_span("POST", url, request, AnswerLimit::Cut(kept)).await
    }

    /// What `url` answers to `body`: a call that is in no trace, because what exports traces
    /// must not make more of them.
    ///
    /// # Errors
    /// One line that says why nothing was answered.
    #[cfg(feature = "otlp")]
    pub async fn post_untraced(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        max: usize,
    ) -> Result<HttpAnswer, String> {
        let request = self.client.post(url.clone()).headers(headers).body(body);
        self.send_request(url, request, AnswerLimit::Refuse(max)).await
    }

    /// Sends a request as a part of the trace of what needs it. Neither path nor query of the URL
    /// are told: they may name a person.
    async fn send_traced(
        &self,
        method: &'static str,
        url: &Url,
        request: RequestBuilder,
        max: usize,
    ) -> Result<HttpAnswer, String> {
        self.send_in_span(method, url, request, AnswerLimit::Refuse(max)).await
    }

    async fn send_in_span(
        &self,
        method: &'static str,
        url: &Url,
        mut request: RequestBuilder,
        limit: AnswerLimit,
    ) -> Result<HttpAnswer, String> {
        let span = tracing::debug_span!(
            target: SPAN_TARGET,
            "http call",
            otel.kind = "client",
            otel.name = method,
            otel.status_code = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            server.address = url.host_str(),
            server.port = url.port_or_known_default(),
            "error.type" = Empty,
        );
        if let Some(place) = TraceContext::from_span(&span) {
            request = request.headers(place.to_headers());
        }
        let answer = self.send_request(url, request, limit).instrument(span.clone()).await;
        match &answer {
            Ok(answer) => {
                let status = answer.status;
                span.record("http.response.status_code", status.as_u16());
                if status.is_client_error() || status.is_server_error() {
                    span.record("error.type", status.as_str());
                    span.record("otel.status_code", "ERROR");
                }
            }
            Err(_) => {
                span.record("error.type", "no answer");
                span.record("otel.status_code", "ERROR");
            }
        }
        answer
    }

    async fn send_request(
        &self,
        url: &Url,
        request: RequestBuilder,
        limit: AnswerLimit,
    ) -> Result<HttpAnswer, String> {
        self.check_origin(url)?;
        let host = url.host_str().unwrap_or_default();
        // An address needs no resolving, so the resolver does not see it.
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if !self.private && literal.is_some_and(|address| !is_public(address)) {
            return Err(format!("{host}: the address is not public"));
        }
        let began = Instant::now();
        let describe_error = |error: reqwest::Error| {
            if error.is_timeout() {
                format!(
                    "{host}: an answer began, but did not end within {:.1} s",
                    began.elapsed().as_secs_f32()
                )
            } else {
                format!("{host}: {}", error_chain(&error.without_url()))
            }
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => {
                return Err(format!(
                    "{host}: {}",
                    self.describe_silence(url, error.is_connect(), began.elapsed()).await
                ));
            }
            Err(error) => return Err(describe_error(error)),
        };
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let challenge =
            response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        let mut answer = HttpAnswer {
            status: response.status(),
            retry_after: retry_after.map(Into::into),
            challenge: challenge.map(Into::into),
            body: Vec::new(),
        };
        let max = match limit {
            AnswerLimit::Refuse(max) => max,
            AnswerLimit::Cut(kept) => {
                let reading = read_beginning(&mut response, &mut answer.body, kept);
                // The status is known: what the rest says, or whether it ends, does not matter.
                let _ = tokio::time::timeout(BEGINNING_LIMIT, reading).await;
                return Ok(answer);
            }
        };
        while let Some(chunk) = response.chunk().await.map_err(describe_error)? {
            if answer.body.len() + chunk.len() > max {
                return Err(format!("{host}: the answer is longer than {max} bytes"));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// What an address that did not answer in time did not do: accept a connection, agree on TLS,
    /// or answer.
    async fn describe_silence(&self, url: &Url, connecting: bool, waited: Duration) -> String {
        let (limit, waited) = (self.connect_limit.as_secs_f32(), waited.as_secs_f32());
        if !connecting {
            return format!("a connection was made, but no answer came within {waited:.1} s");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let Ok(found) = tokio::net::lookup_host((
            url.host_str().unwrap_or_default().trim_matches(['[', ']']),
            port,
        ))
        .await
        else {
            return format!("the name was not resolved within {limit:.1} s");
        };
        let found: Vec<_> =
            found.filter(|address| self.private || is_public(address.ip())).collect();
        match tokio::time::timeout(
            DIAGNOSIS_TIMEOUT,
            tokio::net::TcpStream::connect(found.as_slice()),
        )
        .await
        {
            Ok(Ok(_)) => format!(
                "port {port} accepts connections, but TLS was not agreed on within {limit:.1} s"
            ),
            _ => format!(
                "no connection to port {port} within {limit:.1} s: nothing answers there, or a \
                 firewall drops what is sent"
            ),
        }
    }
}

/// How much of an answer is read.
#[derive(Debug, Clone, Copy)]
enum AnswerLimit {
    /// All of it; a longer one is refused.
    Refuse(usize),
    /// The beginning of it.
    Cut(usize),
}

/// Reads at most `kept` bytes of an answer's body.
async fn read_beginning(response: &mut reqwest::Response, body: &mut Vec<u8>, kept: usize) {
    while body.len() < kept {
        let Ok(Some(chunk)) = response.chunk().await else { return };
        body.extend_from_slice(&chunk);
    }
    body.truncate(kept);
}

/// What was answered.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    /// When to ask again, as the other side wrote it.
    pub retry_after: Option<String>,
    /// How to authenticate (`WWW-Authenticate`), as the other side wrote it.
    pub challenge: Option<String>,
    pub body: Vec<u8>,
}

/// Fields as a form is sent (application/x-www-form-urlencoded).
pub fn encode_form(fields: &[(&str, &str)]) -> String {
    // A URL's query is written the same way.
    let encoded = Url::parse_with_params("x:/", fields).ok();
    encoded.and_then(|url| url.query().map(Into::into)).unwrap_or_default()
}

/// An error with what caused it.
fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// How a name is looked up: by the system, or by a test.
type Lookup = fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;

/// Resolves names, and refuses one that leads anywhere but to the public internet. The addresses
/// that were judged are those that are connected to: so a name that leads elsewhere a moment later
/// (DNS rebinding) is judged anew, or not asked for again.
struct PublicResolver {
    lookup: Lookup,
}

fn look_up_by_system(name: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup;
        Box::pin(async move {
            let found = lookup(name.as_str().to_owned()).await?;
            if !found.iter().all(|address| is_public(address.ip())) {
                return Err(
                    format!("{} leads to an address that is not public", name.as_str()).into()
                );
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet (IANA's registries of special-purpose
/// addresses).
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
        // This network (RFC 791), shared by providers (RFC 6598), assigned by protocols (RFC 6890).
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        // Sinks of the name service (RFC 7534, RFC 7535), multicast relays (RFC 7450), 6to4 relays
        // (RFC 7526).
        || [(192, 31, 196), (192, 175, 48), (192, 52, 193), (192, 88, 99)].contains(&(a, b, c))
        // Benchmarks (RFC 2544), multicast, reserved, broadcast.
        || (a == 198 && (18..20).contains(&b))
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, _, e, f, high, low] = address.segments();
    let embedded = |high: u16, low: u16| {
        is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
    };
    match (a, b, c) {
        // Addresses of version 4 that are carried in version 6: translated (RFC 6052), where only
        // 64:ff9b::/96 leads to the public internet and 64:ff9b:1::/48 (RFC 8215) into a local
        // network; 6to4 (RFC 3056).
        (0x64, 0xff9b, 0) => address.segments()[3..6] == [0, 0, 0] && embedded(high, low),
        (0x2002, _, _) => embedded(b, c),
        // Protocols (RFC 2928; Teredo, ORCHID and others), documentation (RFC 3849, RFC 9637),
        // sinks of the name service (RFC 7534).
        (0x2001, 0x0000..=0x01ff | 0x0db8, _) => false,
        (0x3fff, 0x0000..=0x0fff, _) => false,
        (0x2620, 0x004f, 0x8000) => false,
        // ISATAP (RFC 5214) in any network.
        _ if e & 0xfcff == 0 && f == 0x5efe => a & 0xe000 == 0x2000 && embedded(high, low),
        // All other special ranges (discard-only, segment routing, unique local, link-local,
        // multicast) are outside 2000::/3, from which global addresses are assigned.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A name that leads to a public address when it is looked up first, and into this machine from
    /// then on.
    fn rebind(_: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let first = LOOKUPS.fetch_add(1, Ordering::Relaxed) == 0;
        let address = if first { "8.8.8.8:0" } else { "127.0.0.1:0" };
        Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
    }

    #[tokio::test]
    async fn rebound_names_reach_no_private_address() {
        // What was judged is what is connected to: the name is not looked up a second time for it.
        let resolver = PublicResolver { lookup: rebind };
        let name = || "rebound.example".parse::<Name>().unwrap();
        let first: Vec<SocketAddr> = resolver.resolve(name()).await.unwrap().collect();
        assert_eq!(first, ["8.8.8.8:0".parse().unwrap()]);
        assert!(resolver.resolve(name()).await.is_err(), "each lookup is judged");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limit = Duration::from_millis(300);
        let client = GuardedClient::build(false, None, limit, rebind).unwrap();
        let url = Url::parse(&format!("https://rebound.example:{port}/")).unwrap();
        let refused = client.get_as(&url, "Bearer x", limit, 10).await.unwrap_err();
        assert!(refused.contains("not public"), "{refused}");
        let reached = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(reached.is_err(), "the address behind the name was called");
    }

    #[tokio::test]
    async fn answers_that_never_end_are_given_up() {
        use tokio::io::AsyncWriteExt;

        // Nothing at all, a header without end, and a body of which a byte comes now and then.
        for begin in ["", "HTTP/1.1 200 OK\r\nx", "HTTP/1.1 200 OK\r\n\r\n"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
            let receiver = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = begin.as_bytes();
                while stream.write_all(text).await.is_ok() {
                    text = if begin.is_empty() { b"" } else { b"x" };
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let limit = Duration::from_millis(200);
            let client = GuardedClient::with_time_limit(true, limit).unwrap();
            let began = Instant::now();
            let given_up = client.post_message(&url, &[], b"{}".to_vec(), limit, 1_024).await;
            assert!(given_up.is_err(), "{begin:?}");
            assert!(began.elapsed() < Duration::from_secs(2), "{begin:?}");
            receiver.abort();
        }
    }

    #[tokio::test]
    async fn own_origin_is_the_only_exemption() {
        let url = |text: &str| Url::parse(text).unwrap();
        let own = url("http://127.0.0.1:1/scim/v2/acme");
        let limit = Duration::from_secs(1);
        let client = GuardedClient::for_own_origin(&own, limit).unwrap();
        for foreign in ["http://127.0.0.1:2/", "https://127.0.0.1:1/", "http://localhost:1/"] {
            let foreign = url(foreign);
            let refused = client.get_as(&foreign, "Bearer x", limit, 10).await.unwrap_err();
            assert!(refused.contains("not the origin of this server"), "{refused}");
            assert!(client.resolve_host(&foreign, limit).await.is_err());
        }
        assert_eq!(client.resolve_host(&own, limit).await.unwrap().len(), 1);
        let guarded = GuardedClient::new(false).unwrap();
        assert!(guarded.resolve_host(&own, limit).await.is_err());
    }

    #[test]
    fn addresses_of_private_networks_are_told_from_public_ones() {
        let judged = |text: &str| is_public(text.parse().unwrap());
        for public in
            ["8.8.8.8", "172.15.0.1", "100.63.0.1", "100.128.0.1", "198.20.0.1", "223.255.255.255"]
        {
            assert!(judged(public), "{public}");
        }
        for public in [
            "2606:4700::1111",
            "2a00:1450::8a",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2620:4f:8001::1",
        ] {
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
            "64:ff9b:1::808:808",
            "64:ff9b:1:ffff:ffff:ffff:808:808",
            "64:ff9b:0:1::808:808",
            "64:ff9b:2::808:808",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.175.48.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.19.255.255",
            "240.0.0.1",
            "::7f00:1",
            "100::1",
            "100:0:0:1::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:30::1",
            "2002:a00:1::1",
            "2620:4f:8000::1",
            "3fff:fff::1",
            "5f00::1",
            "fec0::1",
            "2a00:1450::5efe:a00:1",
            "2a00:1450::200:5efe:7f00:1",
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

#[cfg(all(test, feature = "otlp"))]
mod trace_tests {
    use axum::Router;
    use axum::routing::any;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Answers with the header `traceparent` of the request.
    async fn echo_traceparent(headers: HeaderMap) -> Vec<u8> {
        headers.get("traceparent").map(|value| value.as_bytes().to_vec()).unwrap_or_default()
    }

    #[tokio::test]
    async fn call_carries_the_trace_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let serving = axum::serve(listener, Router::new().fallback(any(echo_traceparent)));
        tokio::spawn(serving.into_future());
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let client = GuardedClient::new(true).unwrap();
        let caller = tracing::info_span!("caller");
        let trace = TraceContext::from_span(&caller).unwrap().to_headers()["traceparent"].clone();
        let sent = client.get_bytes(&url, 100).instrument(caller).await.unwrap();
        let (sent, trace) = (String::from_utf8(sent).unwrap(), trace.to_str().unwrap());
        assert_eq!(sent[..36], trace[..36], "the same trace");
        assert_ne!(sent, trace, "the call has a span of its own");
        let untraced = client.post_untraced(&url, HeaderMap::new(), Vec::new(), 100).await.unwrap();
        assert_eq!(untraced.body, b"");
    }
}
