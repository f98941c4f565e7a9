//! The program itself, as an operator starts it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use crate::database::{Database, on_postgres};
use crate::world::Scim;

/// A command line for `database`, without the settings of this process.
pub fn rolecall(database: &Database, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROLECALL_")) {
        command.env_remove(name);
    }
    command
        .args(args)
        .env("ROLECALL_DATABASE_URL", &database.url)
        .env("ROLECALL_DATA_DIR", database.folder())
        .env("ROLECALL_LISTEN", "127.0.0.1:0")
        .env("ROLECALL_LOG", "warn")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(database: &Database, args: &[&str]) -> Output {
    rolecall(database, args).output().unwrap()
}

/// Runs a command that must succeed; returns what it printed.
#[track_caller]
pub fn ok(database: &Database, args: &[&str]) -> String {
    let output = run(database, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `rolecall bootstrap --json` prints.
#[track_caller]
pub fn bootstrap(database: &Database) -> Value {
    serde_json::from_str(&ok(database, &["bootstrap", "--organization", "acme", "--json"])).unwrap()
}

/// A running `rolecall serve`; killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub async fn start(database: &Database) -> Self {
        let server = Self::begin(database, &[]);
        server.ready().await;
        server
    }

    /// Starts a server without waiting.
    pub fn begin(database: &Database, settings: &[(&str, &str)]) -> Self {
        Self::begin_on(database, "127.0.0.1", settings)
    }

    /// Starts a server with these further arguments, without waiting.
    pub fn begin_with(database: &Database, arguments: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{}", 20_000 + Uuid::new_v4().as_u128() % 12_000);
        let mut command = rolecall(database, &["serve", "--listen", &listen]);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), address: format!("http://{listen}") }
    }

    /// Starts a server that listens on this host, without waiting.
    pub fn begin_on(database: &Database, host: &str, settings: &[(&str, &str)]) -> Self {
        // Below 32768, where no outgoing connection has its port.
        let listen = format!("{host}:{}", 20_000 + Uuid::new_v4().as_u128() % 12_000);
        let mut command = rolecall(database, &["serve", "--listen", &listen]);
        command.envs(settings.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), address: format!("http://{listen}") }
    }

    /// Starts a server that writes its log to a file.
    pub fn begin_with_log(database: &Database, settings: &[(&str, &str)], log: &Path) -> Self {
        let listen = format!("127.0.0.1:{}", 20_000 + Uuid::new_v4().as_u128() % 12_000);
        let mut command = rolecall(database, &["serve", "--listen", &listen]);
        command.envs(settings.iter().copied()).env("ROLECALL_LOG", "info");
        command.stdout(Stdio::null()).stderr(File::create(log).unwrap());
        Self { child: command.spawn().unwrap(), address: format!("http://{listen}") }
    }

    /// Starts a server whose log goes into a pipe that is not read. The pipe is open as long as the
    /// returned end of it.
    pub fn begin_with_unread_log(database: &Database) -> (Self, ChildStderr) {
        let listen = format!("127.0.0.1:{}", 20_000 + Uuid::new_v4().as_u128() % 12_000);
        let mut command = rolecall(database, &["serve", "--listen", &listen]);
        command.env("ROLECALL_LOG", "info").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let unread = child.stderr.take().unwrap();
        (Self { child, address: format!("http://{listen}") }, unread)
    }

    /// Starts a server with at most this many file descriptors.
    pub fn begin_with_descriptors(database: &Database, descriptors: usize) -> Self {
        let listen = format!("127.0.0.1:{}", 20_000 + Uuid::new_v4().as_u128() % 12_000);
        let program = rolecall(database, &["serve", "--listen", &listen]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""));
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), address: format!("http://{listen}") }
    }

    pub async fn ready(&self) {
        let started = Instant::now();
        while !reqwest::get(format!("{}/readyz", self.address))
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            assert!(started.elapsed() < Duration::from_secs(30), "the server is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Acme's SCIM, with a token that bootstrap issued.
    pub fn scim(&self, bootstrapped: &Value) -> Scim {
        Scim::new(
            &format!("{}/scim/v2/acme", self.address),
            bootstrapped["scim"]["token"].as_str().unwrap(),
        )
    }

    /// SIGKILL: the server cannot clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, with which an orchestrator stops a server.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// The exit status of a server that was asked to stop.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(asked.elapsed() < Duration::from_secs(20), "the server does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Several servers on one database. On SQLite it is one, because SQLite allows only one.
pub async fn start_several(
    database: &Database,
    count: usize,
    settings: &[(&str, &str)],
) -> Vec<Server> {
    let count = if on_postgres() { count } else { 1 };
    let servers: Vec<_> = (0..count).map(|_| Server::begin(database, settings)).collect();
    for server in &servers {
        server.ready().await;
    }
    servers
}

/// Kills the first of several servers. If it is the only one, another one starts.
pub async fn kill_first(servers: &mut [Server], database: &Database, settings: &[(&str, &str)]) {
    servers[0].kill();
    if servers.len() == 1 {
        servers[0] = Server::begin(database, settings);
        servers[0].ready().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
