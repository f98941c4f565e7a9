//! A client that costs little: as many connections as clients, kept alive, one request at a time on
//! each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Result;
use crate::machine::Cpu;
use crate::target::Target;
use crate::work::DECISION;

/// Whether an answer is right.
pub type Check = Box<dyn FnOnce(StatusCode, &str) -> bool + Send>;

/// One request.
pub struct Job {
    pub method: Method,
    pub path: String,
    pub body: String,
    pub check: Check,
}

/// The requests of a workload, by number; none when there are no more.
pub type Jobs = Arc<dyn Fn() -> Option<Job> + Send + Sync>;

/// The results of one turn.
#[derive(Debug, Default)]
pub struct Turn {
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
    /// How many answers were wrong, and below it the first of them.
    pub wrong: usize,
    pub first_wrong: Option<String>,
    pub cpu: Cpu,
}

impl Turn {
    /// The turn together with the CPU time that it used.
    pub fn cost(self, cpu: Cpu) -> Self {
        Self { cpu, ..self }
    }
}

/// Lets `many` clients send requests to `target`, one at a time each, until `time` is over or there
/// are no more jobs.
pub async fn run(target: &Target, many: usize, jobs: &Jobs, time: Duration) -> Result<Turn> {
    let mut clients = Vec::new();
    for _ in 0..many {
        clients.push(Client::connect(target).await?);
    }
    let start = Instant::now();
    let mut working = JoinSet::new();
    for client in clients {
        working.spawn(client.work(jobs.clone(), start, time));
    }
    let mut whole = Turn::default();
    while let Some(part) = working.join_next().await {
        let part = part??;
        whole.latencies.extend(part.latencies);
        whole.wrong += part.wrong;
        whole.first_wrong = whole.first_wrong.or(part.first_wrong);
    }
    whole.elapsed = start.elapsed();
    Ok(whole)
}

/// One connection.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    scim: String,
    graphql: String,
}

impl Client {
    pub async fn connect(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(&target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            scim: format!("Bearer {}", target.scim_token),
            graphql: format!("Bearer {}", target.api_key),
        })
    }

    async fn work(mut self, jobs: Jobs, start: Instant, time: Duration) -> Result<Turn> {
        let mut turn = Turn::default();
        while start.elapsed() < time {
            let Some(job) = jobs() else { break };
            let sent = Instant::now();
            let what = format!("{} {}", job.method, job.path);
            let (status, body) = self.send(job.method, &job.path, job.body).await?;
            turn.latencies.push(sent.elapsed());
            if !(job.check)(status, &body) {
                turn.wrong += 1;
                turn.first_wrong.get_or_insert_with(|| format!("{what}: {status} {body}"));
            }
        }
        Ok(turn)
    }

    /// One request and its answer.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String)> {
        let (token, media) = match path.starts_with("/graphql") || path == DECISION {
            true => (&self.graphql, "application/json"),
            false => (&self.scim, "application/scim+json"),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", token)
            .header("content-type", media)
            .body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.into())?))
    }
}
