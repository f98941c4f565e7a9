//! The command line. It is part of the library, and the binary only calls it. An async function is
//! compiled in the crate that runs it, so a command line in the binary would compile much of the
//! library a second time.

pub mod audit;
pub mod bootstrap;
pub mod command_error;
pub mod console_link;
pub mod demo;
pub mod installation;
pub mod keys;
mod listen;
mod logging;
pub mod output;
pub mod program;
pub mod progress;
pub mod tasks;
#[cfg(feature = "otlp")]
mod trace_export;
#[cfg(any(test, not(feature = "otlp")))]
#[cfg_attr(feature = "otlp", allow(dead_code, reason = "only its own test uses it"))]
mod trace_export_absent;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::auth::policy::Permission;
use crate::cli::audit::AuditCommand;
use crate::cli::command_error::CommandError;
use crate::cli::console_link::ConsoleLinkArgs;
use crate::cli::demo::DemoArgs;
use crate::cli::installation::LockedInstallation;
use crate::cli::keys::KeysCommand;
use crate::cli::output::{print_error, print_json, print_line};
use crate::cli::progress::{ProgressStream, StepProgress};
use crate::cli::tasks::TasksArgs;
#[cfg(feature = "otlp")]
use crate::cli::trace_export::TraceExport;
#[cfg(not(feature = "otlp"))]
use crate::cli::trace_export_absent::TraceExport;
use crate::config::{LogFormat, ServeArgs, StoreArgs, add_missing_scheme};
use crate::context::local_issuer;
use crate::crypto::vault::ReplicaAnnouncement;
use crate::domain::access::api_key;
use crate::domain::tenant::organization;
use crate::server::metrics::MetricsRecorder;
use crate::{graphql, ledger, server};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use entity::connection::Provider;
use sea_orm::ActiveEnum;
use simulator::{SimulatedProvider, SimulationPlan, SimulationStep};
use tracing_appender::non_blocking::WorkerGuard;

/// How long a server that has ended waits until the database is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a process that has ended waits for threads that are blocked in a system call.
const THREADS_TIMEOUT: Duration = Duration::from_secs(1);

/// Manages users, groups and roles that identity providers send over SCIM 2.0; has a GraphQL API
/// and a ledger of all changes
#[derive(Parser)]
#[command(name = "rolecall", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a demo: a hospital hires, moves and dismisses nurses, on a temporary server
    Demo(DemoArgs),
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Create an organization and a connection, and print credentials for SCIM and for the
    /// management API
    Bootstrap(BootstrapArgs),
    /// Bring the database's tables up to date
    Migrate(StoreArgs),
    /// Print the GraphQL schema (SDL)
    Schema,
    /// Sign a token for a person with the installation's own key
    Jwt(JwtArgs),
    /// Print a link that opens the console once, within 15 minutes; on a terminal only
    ConsoleLink(ConsoleLinkArgs),
    /// Check the ledger, write checkpoints of it, check exported files
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Exchange the master key or the signing key for another
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// List the background tasks, and how each ran last
    Tasks(TasksArgs),
    /// Receive webhooks on this machine, verify them and print them
    Listen(listen::ListenArgs),
    /// Act as an identity provider towards any SCIM server
    Simulate(SimulateArgs),
    /// Print a script that completes this program's command line in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args)]
struct BootstrapArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The organization's slug: the company identifier in the SCIM URL
    #[arg(long)]
    organization: String,
    /// The connection's name
    #[arg(long, default_value = "Identity provider")]
    connection: String,
    /// The identity provider that uses the connection [default: GENERIC for a new connection]
    #[arg(long, value_enum)]
    provider: Option<ProviderArg>,
    /// Issue another token and another key if the organization and the connection already exist
    #[arg(long)]
    new_credentials: bool,
    /// Days after which the API key ends
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = api_key::BOOTSTRAP_DAYS,
        value_parser = clap::value_parser!(u16).range(1..=365)
    )]
    key_days: u16,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The providers, by the names that the API uses.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum ProviderArg {
    EntraId,
    Okta,
    GoogleWorkspace,
    #[value(name = "ONELOGIN")]
    OneLogin,
    #[value(name = "JUMPCLOUD")]
    JumpCloud,
    #[value(name = "PINGONE")]
    PingOne,
    Keycloak,
    Zitadel,
    Generic,
}

impl From<ProviderArg> for Provider {
    fn from(name: ProviderArg) -> Self {
        match name {
            ProviderArg::EntraId => Self::EntraId,
            ProviderArg::Okta => Self::Okta,
            ProviderArg::GoogleWorkspace => Self::GoogleWorkspace,
            ProviderArg::OneLogin => Self::OneLogin,
            ProviderArg::JumpCloud => Self::JumpCloud,
            ProviderArg::PingOne => Self::PingOne,
            ProviderArg::Keycloak => Self::Keycloak,
            ProviderArg::Zitadel => Self::Zitadel,
            ProviderArg::Generic => Self::Generic,
        }
    }
}

#[derive(Args)]
struct JwtArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The organization's slug; may be given several times
    #[arg(long, required = true)]
    organization: Vec<String>,
    /// What the person may do there; may be given several times [default: everything in the
    /// organization]
    #[arg(long)]
    permission: Vec<Permission>,
    /// The identifier of the person
    #[arg(long, default_value = "administrator")]
    subject: String,
    /// The name of the person, for people to read
    #[arg(long, default_value = "Administrator")]
    name: String,
    /// How long the token is valid, in minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

#[derive(Args)]
struct SimulateArgs {
    /// The SCIM base URL (what comes before /Users)
    #[arg(long, value_parser = parse_base_url)]
    base_url: String,
    /// The bearer token
    #[arg(long, env = "ROLECALL_SCIM_TOKEN", hide_env_values = true)]
    token: String,
    /// The identity provider to simulate
    #[arg(long, visible_alias = "dialect", value_enum, default_value = "entra")]
    idp: SimulatedProvider,
    /// How many people join
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// How many of them change their ward
    #[arg(long, default_value_t = 12)]
    movers: usize,
    /// How many of them leave
    #[arg(long, default_value_t = 8)]
    leavers: usize,
    /// Seed of the random names: the same seed gives the same people
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Reads the address of a SCIM server; one of this machine needs no scheme.
fn parse_base_url(text: &str) -> Result<String, String> {
    let url = add_missing_scheme(text);
    match reqwest::Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(url.into_owned()),
        _ => Err("must be a URL, for example http://127.0.0.1:8080/scim/v2/acme".into()),
    }
}

/// The stack of each thread, in bytes. A deep query, within its limits, recurses once for each
/// level, and frames are large without optimization: the usual 2 MiB leave too little room.
const THREAD_STACK_SIZE: usize = 8 << 20;

fn build_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_SIZE)
        .build()
}

/// Runs the command of the command line.
pub fn run_command_line() -> ExitCode {
    let runtime = match build_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(format!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run_command());
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    code
}

async fn run_command() -> ExitCode {
    let command = parse_arguments().command;
    let (export, log) = match begin_log(&command) {
        Ok(begun) => begun,
        Err(why) => {
            let error = CommandError::Usage(why);
            print_error(format!("error: {error}"));
            return error.exit_code();
        }
    };
    let done = match command {
        Command::Demo(args) => demo::run_demo(args).await,
        Command::Serve(args) => serve_command(*args).await,
        Command::Bootstrap(args) => bootstrap_command(args).await,
        Command::Migrate(args) => migrate_command(args).await,
        Command::Audit { command } => audit::run_audit(command).await,
        Command::Keys { command } => keys::run_keys(command).await,
        Command::Schema => print_line(graphql::export_sdl().trim_end()),
        Command::Jwt(args) => print_jwt(args).await,
        Command::ConsoleLink(args) => console_link::print_console_link(args).await,
        Command::Tasks(args) => tasks::print_tasks(args).await,
        Command::Listen(args) => listen::run_listener(args).await,
        Command::Simulate(args) => simulate_command(args).await,
        Command::Completions { shell } => print_completions(shell),
    };
    if let Some(export) = export {
        export.finish_export().await;
    }
    // The last lines of the log come before the error.
    drop(log);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format!("error: {error}"));
            error.exit_code()
        }
    }
}

/// Begins to log, and to export traces if the settings of the server say so.
fn begin_log(command: &Command) -> Result<(Option<TraceExport>, WorkerGuard), String> {
    let (format, endpoint) = match command {
        Command::Serve(args) => (args.log_format, args.otlp_endpoint.as_deref()),
        _ => (LogFormat::Text, None),
    };
    // The demo prints a story on the terminal; only warnings and errors may appear in it.
    let filter = if matches!(command, Command::Demo(_)) { "warn" } else { logging::DEFAULT_FILTER };
    // An empty variable is the usual way to take a setting away.
    let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
    let (export, layer) = endpoint.map(TraceExport::begin_export).transpose()?.unzip();
    Ok((export, logging::install_log(format, filter, layer)))
}

/// Reads the command line. The error about a wrong value is printed in one line, like every other
/// error in the configuration; other errors of usage keep clap's format.
fn parse_arguments() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
            error.exit();
        }
        let text = error.to_string();
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("For more"));
        let line = lines.collect::<Vec<_>>().join(" ");
        print_error(line);
        std::process::exit(error.exit_code())
    })
}

type Done = Result<(), CommandError>;

async fn serve_command(args: ServeArgs) -> Done {
    let (address, metrics) = (args.listen, args.metrics_listen);
    let config = args.check()?;
    let public_url = config.public_url.clone();
    // First the port: a second server on the same port must fail before it uses the database.
    let listener = bind_address(address).await?;
    let metrics = match metrics {
        Some(address) => Some(bind_address(address).await?),
        None => None,
    };
    // A new database, or one of an earlier version, takes a moment to prepare.
    tracing::info!("opening the database");
    let LockedInstallation { app, lock } = installation::open_for_server(config).await?;
    let announced = app.vault.announce_replica(&app.store, app.replica).await;
    if announced.map_err(|error| format!("cannot write to the database: {error}"))?
        == ReplicaAnnouncement::KeyExchanged
    {
        return Err(
            "the master key was exchanged for another while this server started: start it with \
             that key"
                .into(),
        );
    }
    if let Some(listener) = metrics {
        let figures = MetricsRecorder::install_recorder(app.clone())?;
        let stop = app.stopping.subscribe();
        tokio::spawn(figures.serve_metrics(listener, stop));
    }
    tracing::info!(
        listen = %address,
        scim = format!("{public_url}/scim/v2/<organization>"),
        graphql = format!("{public_url}/graphql"),
        "ready"
    );
    let store = app.store.clone();
    let served = server::run_server(app, listener, server::wait_for_stop_signal()).await;
    // A request that was interrupted may still hold a connection; the process ends anyway.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await;
    drop(lock);
    Ok(served.map_err(|error| format!("the server failed: {error}"))?)
}

async fn bind_address(address: SocketAddr) -> Result<tokio::net::TcpListener, String> {
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

async fn bootstrap_command(args: BootstrapArgs) -> Done {
    let app = installation::open_or_make(args.store).await?;
    let (slug, name) = (&args.organization, &args.connection);
    let found = bootstrap::find_existing(&app, slug, name).await?;
    let wanted = args.provider.map(Provider::from);
    if let Some(connection) = &found.connection {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != connection.provider) {
            return Err(CommandError::Failure(format!(
                "the connection {name:?} of {slug} already exists, and its provider is {}, not {}: \
                 nothing was made. --connection with another name makes another connection",
                connection.provider.to_value(),
                wanted.to_value()
            )));
        }
        if !args.new_credentials {
            return Err(CommandError::Failure(format!(
                "found the organization {slug} and its connection {name:?}, with {} live SCIM \
                 tokens of the connection and {} live API keys of the organization; nothing was \
                 made. Secrets cannot be shown again: --new-credentials issues another token and \
                 another key",
                found.scim_tokens, found.api_keys
            )));
        }
    }
    let provider = wanted
        .or(found.connection.map(|connection| connection.provider))
        .unwrap_or(Provider::Generic);
    let made = bootstrap::run_for(&app, slug, name, provider, args.key_days).await?;
    // Perhaps no server is running that would add these events to the chain and sign it.
    ledger::seal_ledgers(&app.store).await.map_err(|error| error.to_string())?;
    ledger::sign_heads(&app.store, &app.vault, app.clock.now())
        .await
        .map_err(|error| error.to_string())?;
    if args.json {
        return print_json(&made);
    }
    let word = |made| if made { "made" } else { "found" };
    print_line(format!(
        "Organization  {} ({})",
        made.organization.slug,
        word(made.made.organization)
    ))?;
    print_line(format!("Connection    {} ({})", made.connection.name, word(made.made.connection)))?;
    print_line(format!("SCIM base URL {}", made.scim.base_url))?;
    print_line(format!("SCIM token    {}", made.scim.token))?;
    print_line(format!("GraphQL       {}", made.graphql.url))?;
    print_line(format!("API key       {}", made.graphql.api_key))?;
    let end = made.graphql.api_key_expires_at.format("%Y-%m-%d");
    print_line(format!("              ends on {end}; issue another before then"))?;
    print_line(format!(
        "Live now      SCIM tokens of the connection: {}, API keys of the organization: {}",
        made.live.scim_tokens, made.live.api_keys
    ))?;
    print_line("The token and the key are shown only now: keep them like passwords.")
}

async fn migrate_command(args: StoreArgs) -> Done {
    installation::migrate_existing(args).await?;
    print_line("the database is up to date")
}

async fn print_jwt(args: JwtArgs) -> Done {
    let app = installation::open_existing(args.store).await?;
    let permissions = if args.permission.is_empty() {
        Permission::in_organization()
    } else {
        args.permission.into_iter().collect()
    };
    for slug in &args.organization {
        if organization::by_slug(&app, slug).await?.is_none() {
            return Err(CommandError::Failure(format!(
                "there is no organization {slug:?}; `rolecall bootstrap` creates one"
            )));
        }
    }
    let organizations =
        args.organization.into_iter().map(|slug| (slug, permissions.clone())).collect();
    let claims = local_issuer::IssuerClaims {
        subject: args.subject,
        name: args.name,
        organizations,
        permissions: Default::default(),
        until: None,
    };
    let life = chrono::Duration::minutes(args.minutes.into());
    print_line(local_issuer::issue_token(&app, &claims, life)?)
}

async fn simulate_command(args: SimulateArgs) -> Done {
    let SimulateArgs { base_url, token, idp, users, movers, leavers, seed, json } = args;
    print_error(format!("connecting to {base_url}"));
    let plan = SimulationPlan { base_url, token, idp, users, movers, leavers, seed };
    let mut shown = None;
    let report = simulator::run_simulation(&plan, |step| show_step(&mut shown, step)).await?;
    if json {
        print_json(&report)?;
    } else {
        print_line(&report)?;
    }
    let failed = !report.refused.is_empty() || !report.differences.is_empty();
    if failed { Err("the server refused or lost something; see above".into()) } else { Ok(()) }
}

/// Shows a step of a simulation; `shown` is the progress of the step before it.
fn show_step(shown: &mut Option<StepProgress>, step: SimulationStep) {
    let (what, done, total) = match step {
        SimulationStep::Connected => ("connected", 1, 1),
        SimulationStep::Hired(done, total) => ("hired", done, total),
        SimulationStep::Placed(done, total) => ("placed in groups", done, total),
        SimulationStep::Moved(done, total) => ("moved", done, total),
        SimulationStep::Left(done, total) => ("left", done, total),
        SimulationStep::Checked(done, total) => ("checked", done, total),
    };
    let same = shown.take().filter(|progress| progress.what() == what);
    let progress = same.unwrap_or_else(|| StepProgress::new(ProgressStream::Stderr, what));
    shown.insert(progress).show_done(done, total);
}

fn print_completions(shell: Shell) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rolecall", &mut script);
    print_line(String::from_utf8_lossy(&script).trim_end())
}
