//! The one way in which the DNS is asked for text records: over UDP, and over TCP where an answer
//! does not fit. The question goes to the resolver that the operator named, or to those of the
//! system, never to an address that a tenant chose. What must never enter: what an answer proves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The port of the DNS.
pub const DNS_PORT: u16 = 53;
/// How long one server may take for one answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a lookup may take as a whole.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);
/// How often each server is asked: datagrams get lost.
const ATTEMPTS: usize = 2;
/// Servers of the system that are asked, one after another.
const MAX_SERVERS: usize = 3;
/// The longest answer over UDP that is read.
const MAX_DATAGRAM: usize = 4_096;
/// Datagrams of one attempt that are read: others than the answer are ignored.
const MAX_STRAY_DATAGRAMS: usize = 16;
/// Text records of one name that are looked at.
const MAX_RECORDS: usize = 100;
/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 8;
/// Where the system lists its resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Lookups that this server has under way at once.
static LOOKUPS: Semaphore = Semaphore::const_new(16);

/// Asks resolvers for text records.
#[derive(Debug, Clone)]
pub struct DnsClient {
    servers: Vec<SocketAddr>,
}

impl DnsClient {
    /// A client of `server`; none = the resolvers of the system.
    pub fn new(server: Option<SocketAddr>) -> Self {
        match server {
            Some(server) => Self { servers: vec![server] },
            // Read for each client, because a system changes it when it changes networks.
            None => {
                let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
                Self { servers: parse_resolv_conf(&text) }
            }
        }
    }

    /// The text records of a name in the form of the DNS, each as one text; empty if it has none.
    ///
    /// # Errors
    /// One line: why there is no answer. It says nothing about the records.
    pub async fn lookup_texts(&self, name: &str) -> Result<Vec<String>, String> {
        let _permit = LOOKUPS
            .try_acquire()
            .map_err(|_| "too many lookups are under way; try again in a moment".to_owned())?;
        match timeout(LOOKUP_TIMEOUT, self.ask_servers(name)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
        }
    }

    async fn ask_servers(&self, name: &str) -> Result<Vec<String>, String> {
        let mut why = String::from("no resolver is known");
        for _ in 0..ATTEMPTS {
            for server in &self.servers {
                match ask_server(*server, name).await {
                    Ok(records) => return Ok(records),
                    Err(error) => why = error,
                }
            }
        }
        Err(why)
    }
}

/// The resolvers that the system lists; without a list the one on this machine, as resolv.conf(5)
/// says.
fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok())
        {
            servers.push(SocketAddr::new(address, DNS_PORT));
        }
    }
    servers.truncate(MAX_SERVERS);
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
    }
    servers
}

async fn ask_server(server: SocketAddr, name: &str) -> Result<Vec<String>, String> {
    let question = TextQuestion::new(name)?;
    let within = |answer: Result<_, _>| answer.unwrap_or_else(|_| Err("no answer".into()));
    let answer = within(timeout(ATTEMPT_TIMEOUT, ask_over_udp(server, &question)).await)?;
    if let Some(records) = question.read_answer(&answer)? {
        return Ok(records);
    }
    let answer = within(timeout(ATTEMPT_TIMEOUT, ask_over_tcp(server, &question)).await)?;
    question.read_answer(&answer)?.ok_or_else(|| "the answer is cut".into())
}

async fn ask_over_udp(server: SocketAddr, question: &TextQuestion) -> Result<Vec<u8>, String> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question, and only what comes from the server is received.
    let socket = UdpSocket::bind((local, 0)).await.map_err(describe_io)?;
    socket.connect(server).await.map_err(describe_io)?;
    socket.send(&question.message).await.map_err(describe_io)?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    for _ in 0..MAX_STRAY_DATAGRAMS {
        let length = socket.recv(&mut buffer).await.map_err(describe_io)?;
        if question.is_answered_by(&buffer[..length]) {
            return Ok(buffer[..length].to_vec());
        }
    }
    Err("the answers are to other questions".into())
}

async fn ask_over_tcp(server: SocketAddr, question: &TextQuestion) -> Result<Vec<u8>, String> {
    let mut stream = TcpStream::connect(server).await.map_err(describe_io)?;
    let length = u16::try_from(question.message.len()).map_err(|_| "the name is too long")?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(&question.message);
    stream.write_all(&message).await.map_err(describe_io)?;
    let length = stream.read_u16().await.map_err(describe_io)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(describe_io)?;
    if question.is_answered_by(&answer) {
        Ok(answer)
    } else {
        Err("the answer is to another question".into())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn describe_io(error: std::io::Error) -> String {
    error.to_string()
}

/// A question for the text records of a name.
struct TextQuestion {
    id: u16,
    name: String,
    message: Vec<u8>,
}

impl TextQuestion {
    fn new(name: &str) -> Result<Self, String> {
        let wrong =
            |error: simple_dns::SimpleDnsError| format!("the name cannot be asked: {error}");
        let mut id = [0; 2];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| "no random number")?;
        let id = u16::from_be_bytes(id);
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let asked = Name::new(name).map_err(wrong)?;
        let (kind, class) = (QTYPE::TYPE(TYPE::TXT), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(asked, kind, class, false));
        let message = packet.build_bytes_vec().map_err(wrong)?;
        Ok(Self { id, name: name.to_ascii_lowercase(), message })
    }

    /// Whether a message answers this question: a stranger must guess its id, too.
    fn is_answered_by(&self, message: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(message) else { return false };
        packet.id() == self.id
            && packet.has_flags(PacketFlag::RESPONSE)
            && packet.questions.len() == 1
            && packet.questions.iter().all(|asked| fold_name(&asked.qname) == self.name)
    }

    /// The records; none if the answer is cut.
    fn read_answer(&self, message: &[u8]) -> Result<Option<Vec<String>>, String> {
        let packet =
            Packet::parse(message).map_err(|error| format!("the answer is malformed: {error}"))?;
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Ok(None);
        }
        match packet.rcode() {
            RCODE::NoError => {}
            // There is no such name, which is an answer.
            RCODE::NameError => return Ok(Some(Vec::new())),
            code => return Err(format!("the resolver says {code:?}")),
        }
        let mut name = self.name.clone();
        for _ in 0..MAX_ALIASES {
            let records = || packet.answers.iter().filter(|record| fold_name(&record.name) == name);
            let texts: Vec<String> = records()
                .filter_map(|record| match &record.rdata {
                    RData::TXT(text) => String::try_from(text.clone()).ok(),
                    _ => None,
                })
                .take(MAX_RECORDS)
                .collect();
            if !texts.is_empty() {
                return Ok(Some(texts));
            }
            let alias = records().find_map(|record| match &record.rdata {
                RData::CNAME(alias) => Some(fold_name(&alias.0)),
                _ => None,
            });
            match alias {
                Some(alias) => name = alias,
                None => break,
            }
        }
        Ok(Some(Vec::new()))
    }
}

fn fold_name(name: &Name<'_>) -> String {
    name.to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_the_system_are_read() {
        let text = "# comment\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n\
                    nameserver fe80::1%eth0\n";
        let servers = parse_resolv_conf(text);
        assert_eq!(
            servers,
            ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()]
        );
        assert_eq!(parse_resolv_conf(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn answers_of_strangers_do_not_count() {
        let question = TextQuestion::new("_rolecall.example.org").unwrap();
        let mut reply = Packet::parse(&question.message).unwrap().into_reply();
        reply.set_flags(PacketFlag::RESPONSE);
        assert!(question.is_answered_by(&reply.build_bytes_vec().unwrap()));
        assert!(!question.is_answered_by(&question.message), "a question is no answer");
        let other = TextQuestion::new("_rolecall.example.com").unwrap();
        assert!(!other.is_answered_by(&reply.build_bytes_vec().unwrap()));
        reply.set_id(question.id.wrapping_add(1));
        assert!(!question.is_answered_by(&reply.build_bytes_vec().unwrap()));
        assert!(!question.is_answered_by(b"\x00\x01"));
    }
}
