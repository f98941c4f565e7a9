//! Reads and checks flags, environment variables and the file of issuers, once. No other module
//! reads the environment.

mod addresses;
mod database;
pub mod networks;
pub mod origins;
pub(crate) mod private_files;
pub mod smtp;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use clap::{Args, ValueEnum};
use networks::NetworkList;
use origins::OriginList;
use serde_json::Value;
use smtp::{SmtpArgs, SmtpSettings};

use crate::auth::issuers::settings;

pub use addresses::{add_missing_scheme, parse_dns_server, parse_listen_address};

/// The settings that say where the data is. Every command that uses the data takes them.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE [default: an SQLite file in the data
    /// folder]
    #[arg(long, env = "ROLECALL_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Folder of the key file and of the default SQLite database
    #[arg(long, env = "ROLECALL_DATA_DIR", default_value = "rolecall-data")]
    pub data_dir: PathBuf,
    /// The master key (32 bytes, base64) instead of the key file in the data folder
    #[arg(long, env = "ROLECALL_MASTER_KEY", hide_env_values = true, hide = true)]
    pub master_key: Option<String>,
    /// File of the master key [default: master.key in the data folder]
    #[arg(long, env = "ROLECALL_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
    /// The next master key (32 bytes, base64), while the master key is exchanged
    #[arg(long, env = "ROLECALL_NEW_MASTER_KEY", hide_env_values = true, hide = true)]
    pub new_master_key: Option<String>,
    /// File of the next master key, while the master key is exchanged
    #[arg(long, env = "ROLECALL_NEW_MASTER_KEY_FILE", value_name = "FILE")]
    pub new_master_key_file: Option<PathBuf>,
    /// Where clients reach the server, with a path if it has one (https://example.com/pp) [default:
    /// http://127.0.0.1:8080]
    #[arg(long, env = "ROLECALL_PUBLIC_URL")]
    pub public_url: Option<String>,
}

/// The settings of the server.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Address and port to listen on
    #[arg(
        long,
        env = "ROLECALL_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = parse_listen_address
    )]
    pub listen: SocketAddr,
    /// Address and port where Prometheus fetches /metrics, without a credential: use an internal
    /// network [default: none]
    #[arg(long, env = "ROLECALL_METRICS_LISTEN", value_parser = parse_listen_address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Whether this installation offers SCIM at all (true or false)
    #[arg(
        long,
        env = "ROLECALL_SCIM_ENABLED",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub scim_enabled: bool,
    /// SCIM requests a second from one connection to one server; operations of a Bulk count; 0 = no
    /// limit
    #[arg(long, env = "ROLECALL_SCIM_RATE_LIMIT", default_value_t = DEFAULT_RATE_LIMIT)]
    pub scim_rate_limit: u32,
    /// Decisions a second that one API key may ask one server for over AuthZEN; 0 = no limit
    #[arg(
        long,
        env = "ROLECALL_DECISION_RATE_LIMIT",
        default_value_t = DEFAULT_DECISION_RATE_LIMIT
    )]
    pub decision_rate_limit: u32,
    /// Whether the management API allows introspection of its schema (true or false)
    #[arg(
        long,
        env = "ROLECALL_GRAPHQL_INTROSPECTION",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub graphql_introspection: bool,
    /// JSON file of the only operations that the management API runs, by the SHA-256 of their
    /// documents
    #[arg(long, env = "ROLECALL_GRAPHQL_OPERATIONS")]
    pub graphql_operations: Option<PathBuf>,
    /// Cost that one caller of the management API may spend in a minute at one server; 0 = no limit
    #[arg(long, env = "ROLECALL_GRAPHQL_COST_LIMIT", default_value_t = DEFAULT_COST_LIMIT)]
    pub graphql_cost_limit: u32,
    /// Origins of web pages (https://admin.example.com, comma-separated) whose scripts may use the
    /// management API from a browser [default: none]
    #[arg(long, env = "ROLECALL_ALLOW_ORIGIN", value_name = "ORIGINS")]
    pub allow_origin: Option<OriginList>,
    /// Whether SCIM sources, and identity providers of sign-ins, may use plain HTTP and lie inside
    /// private networks (true or false)
    #[arg(
        long,
        env = "ROLECALL_PULL_PRIVATE_ADDRESSES",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub pull_private_addresses: bool,
    /// Seconds that a SCIM source may take for one answer
    #[arg(
        long,
        env = "ROLECALL_PULL_TIMEOUT",
        default_value_t = DEFAULT_PULL_TIMEOUT,
        value_parser = clap::value_parser!(u16).range(1..=60)
    )]
    pub pull_timeout: u16,
    /// Whether destinations of events may use plain HTTP and lie inside private networks (true or
    /// false)
    #[arg(
        long,
        env = "ROLECALL_SIGNAL_PRIVATE_ADDRESSES",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub signal_private_addresses: bool,
    /// Longest lifetime of an API key in days, and its lifetime if expiresAt is left out
    #[arg(
        long,
        env = "ROLECALL_API_KEY_DAYS",
        default_value_t = DEFAULT_API_KEY_DAYS,
        value_parser = clap::value_parser!(u16).range(1..=3650)
    )]
    pub api_key_days: u16,
    /// JSON file of the issuers whose tokens the management API accepts, beside the installation's
    /// own
    #[arg(long, env = "ROLECALL_ISSUERS", value_name = "FILE")]
    pub issuers: Option<PathBuf>,
    /// Networks of your proxies (10.0.0.0/8,::1), whose headers X-Forwarded-For and Forwarded are
    /// trusted [default: none]
    #[arg(long, env = "ROLECALL_TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<NetworkList>,
    /// Address of the DNS server (192.0.2.53 or [2001:db8::53]:53) at which the records of domains
    /// are looked up [default: those of the system]
    #[arg(long, env = "ROLECALL_DNS_SERVER", value_name = "ADDRESS",
        value_parser = parse_dns_server)]
    pub dns_server: Option<SocketAddr>,
    #[command(flatten)]
    pub smtp: SmtpArgs,
    /// How the log is written to standard error: lines for people, or one JSON object a line
    #[arg(long, env = "ROLECALL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// URL of the OpenTelemetry collector that gets traces, by OTLP over HTTP; only in a build with
    /// the feature otlp [default: none]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Allows a hundred of the most expensive queries; frontends and scripts need far less.
pub const DEFAULT_COST_LIMIT: u32 = 1_000_000;

/// Enough for a first full sync at the highest known speed of an identity provider.
pub const DEFAULT_RATE_LIMIT: u32 = 5_000;

/// More than one server decides in a second on a small machine.
pub const DEFAULT_DECISION_RATE_LIMIT: u32 = 20_000;

/// A year: long enough for a script, short enough that a forgotten key expires.
pub const DEFAULT_API_KEY_DAYS: u16 = 365;

/// Enough for a slow page of a large directory.
pub const DEFAULT_PULL_TIMEOUT: u16 = 30;

/// The checked configuration, which the rest of the program uses.
#[derive(Debug, Clone)]
pub struct Config {
    pub database_url: String,
    pub data_dir: PathBuf,
    pub master_key: KeySource,
    /// The next master key, while the master key is exchanged.
    pub new_master_key: Option<KeySource>,
    /// Without a trailing slash.
    pub public_url: String,
    /// Whether this installation offers SCIM at all.
    pub scim_enabled: bool,
    /// Whether figures are kept for `/metrics`.
    pub metrics: bool,
    /// SCIM requests per second and connection; 0 = no limit.
    pub scim_rate_limit: u32,
    /// Decisions per second and API key; 0 = no limit.
    pub decision_rate_limit: u32,
    /// Whether SCIM sources, and identity providers of sign-ins, may use plain HTTP and lie inside
    /// private networks.
    pub pull_private_addresses: bool,
    /// Seconds that a source may take for one answer.
    pub pull_timeout: u16,
    /// Whether destinations of events may use plain HTTP and lie inside private networks.
    pub signal_private_addresses: bool,
    /// The longest lifetime of an API key, in days.
    pub api_key_days: u16,
    /// The issuers whose tokens the management API accepts, beside the installation's own.
    pub issuers: Vec<settings::TrustedIssuer>,
    pub graphql: GraphqlSettings,
    /// The proxies whose headers about a client's address are trusted.
    pub trusted_proxies: NetworkList,
    /// Where the records of domains are looked up; none = at the resolvers of the system.
    pub dns_server: Option<SocketAddr>,
    /// The mail server for alerts and invitations; none = no mail is sent.
    pub smtp: Option<SmtpSettings>,
}

/// Where a master key comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The key itself, 32 bytes in base64, out of the environment.
    Text(String),
    /// A file that holds it.
    File(PathBuf),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(not shown)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl KeySource {
    /// The source from one of two settings, whose names are in `names`; `None` if neither is given.
    fn of(
        text: Option<String>,
        file: Option<PathBuf>,
        names: [&str; 2],
    ) -> Result<Option<Self>, String> {
        match (text, file) {
            (Some(_), Some(_)) => {
                Err(format!("give one of {} and {}, not both", names[0], names[1]))
            }
            (text, file) => Ok(text.map(Self::Text).or(file.map(Self::File))),
        }
    }
}

/// The settings of the management API.
#[derive(Debug, Clone)]
pub struct GraphqlSettings {
    /// Whether introspection is allowed.
    pub introspection: bool,
    /// The only documents that the API runs; `None` = every document.
    pub operations: Option<Vec<String>>,
    /// Cost that a caller may spend in a minute; 0 = no limit.
    pub cost_limit: u32,
    /// The origins of web pages whose scripts may use the API.
    pub origins: OriginList,
}

impl Default for GraphqlSettings {
    fn default() -> Self {
        Self {
            introspection: true,
            operations: None,
            cost_limit: DEFAULT_COST_LIMIT,
            origins: OriginList::default(),
        }
    }
}

/// Why the settings cannot be used, in one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting has a wrong value, or contradicts another.
    #[error("{0}")]
    WrongSetting(String),
    /// A file that a setting names cannot be read, or holds something else.
    #[error("{0}")]
    UnusableFile(String),
}

impl ServeArgs {
    /// Checks the flags.
    ///
    /// # Errors
    /// See [`StoreArgs::check`]; and a file of operations or of issuers that cannot be used.
    pub fn check(self) -> Result<Config, ConfigError> {
        let config = self.store.check(Some(self.listen))?;
        let graphql = GraphqlSettings {
            introspection: self.graphql_introspection,
            operations: self
                .graphql_operations
                .as_deref()
                .map(read_operation_manifest)
                .transpose()
                .map_err(ConfigError::UnusableFile)?,
            cost_limit: self.graphql_cost_limit,
            origins: self.allow_origin.unwrap_or_default(),
        };
        let issuers = match &self.issuers {
            Some(file) => settings::read_issuers_file(file, &config.public_url)
                .map_err(ConfigError::UnusableFile)?,
            None => Vec::new(),
        };
        let metrics = self.metrics_listen.is_some();
        let trusted_proxies = self.trusted_proxies.unwrap_or_default();
        let smtp = self.smtp.check(&config.public_url).map_err(ConfigError::WrongSetting)?;
        let Self {
            scim_enabled,
            scim_rate_limit,
            decision_rate_limit,
            pull_private_addresses,
            pull_timeout,
            signal_private_addresses,
            api_key_days,
            dns_server,
            ..
        } = self;
        Ok(Config {
            scim_enabled,
            metrics,
            scim_rate_limit,
            decision_rate_limit,
            pull_private_addresses,
            pull_timeout,
            signal_private_addresses,
            api_key_days,
            graphql,
            issuers,
            trusted_proxies,
            dns_server,
            smtp,
            ..config
        })
    }
}

impl StoreArgs {
    /// An SQLite database and a master key in this folder; the environment is not read.
    pub fn of(data_dir: PathBuf) -> Self {
        Self {
            database_url: None,
            data_dir,
            master_key: None,
            master_key_file: None,
            new_master_key: None,
            new_master_key_file: None,
            public_url: None,
        }
    }

    /// Checks the flags; `listen` is the address in the default public URL.
    ///
    /// # Errors
    /// [`ConfigError::WrongSetting`], which says which setting is wrong and what it should be.
    pub fn check(self, listen: Option<SocketAddr>) -> Result<Config, ConfigError> {
        self.check_values(listen).map_err(ConfigError::WrongSetting)
    }

    fn check_values(self, listen: Option<SocketAddr>) -> Result<Config, String> {
        let database_url = match self.database_url {
            Some(url) => database::check_database_url(url)?,
            None => format!("sqlite://{}", self.data_dir.join("rolecall.db").display()),
        };
        let public_url = match self.public_url {
            Some(url) => check_public_url(&add_missing_scheme(&url))?,
            None => format!(
                "http://{}",
                client_address_of(
                    listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)))
                )
            ),
        };
        let given = ["ROLECALL_MASTER_KEY", "--master-key-file"];
        let master_key = KeySource::of(self.master_key, self.master_key_file, given)?;
        let given = ["ROLECALL_NEW_MASTER_KEY", "--new-master-key-file"];
        let new_master_key = KeySource::of(self.new_master_key, self.new_master_key_file, given)?;
        Ok(Config {
            database_url,
            master_key: master_key
                .unwrap_or_else(|| KeySource::File(self.data_dir.join("master.key"))),
            new_master_key,
            data_dir: self.data_dir,
            public_url,
            scim_enabled: true,
            metrics: false,
            scim_rate_limit: DEFAULT_RATE_LIMIT,
            decision_rate_limit: DEFAULT_DECISION_RATE_LIMIT,
            pull_private_addresses: false,
            signal_private_addresses: false,
            pull_timeout: DEFAULT_PULL_TIMEOUT,
            api_key_days: DEFAULT_API_KEY_DAYS,
            graphql: GraphqlSettings::default(),
            issuers: Vec::new(),
            trusted_proxies: NetworkList::default(),
            dns_server: None,
            smtp: None,
        })
    }
}

/// The documents of a manifest, in either of the two forms that the tools of clients write: an
/// object of documents by hash (Relay's compiler, GraphQL code generator), or Apollo's list with
/// `id` and `body`.
fn read_operation_manifest(path: &Path) -> Result<Vec<String>, String> {
    let wrong = |why: &str| format!("--graphql-operations {}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    let manifest: Value =
        serde_json::from_str(&text).map_err(|error| wrong(&format!("is not JSON: {error}")))?;
    let listed: Vec<(Option<&str>, Option<&str>)> = match (manifest.get("operations"), &manifest) {
        (Some(Value::Array(listed)), _) => {
            listed.iter().map(|entry| (entry["id"].as_str(), entry["body"].as_str())).collect()
        }
        (_, Value::Object(listed)) => {
            listed.iter().map(|(id, body)| (Some(id.as_str()), body.as_str())).collect()
        }
        _ => Vec::new(),
    };
    if listed.is_empty() {
        return Err(wrong(
            "must be a JSON object of documents by their SHA-256, or an Apollo manifest",
        ));
    }
    let mut documents = Vec::with_capacity(listed.len());
    for entry in listed {
        let (Some(id), Some(body)) = entry else {
            return Err(wrong("has an entry without a hash or a document"));
        };
        let hash: String = digest(&SHA256, body.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if !hash.eq_ignore_ascii_case(id) {
            return Err(wrong(&format!(
                "{id:?} is not the SHA-256 of its document, which is {hash}"
            )));
        }
        documents.push(body.to_owned());
    }
    Ok(documents)
}

fn check_public_url(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        format!(
            "--public-url {text:?}: {why}, for example https://example.com or \
             https://example.com/pp"
        )
    };
    let url = reqwest::Url::parse(text).map_err(|_| wrong("must be a full URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("must start with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("must have no query, fragment or user"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// An address that a client on this machine can connect to, in place of a wildcard address.
fn client_address_of(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], listen.port()))
    } else {
        listen
    }
}
