//! The command line. It stands in the library, and the program only calls it: what a future of the library does is
//! compiled where the future is run, and it is to be compiled once.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::audit::{self, AuditCommand};
use crate::authz::Permission;
use crate::config::{ServeArgs, StoreArgs};
use crate::demo::{self, DemoArgs};
use crate::domain::{key, organization};
use crate::installation::{self, Served};
use crate::keys::{self, KeysCommand};
use crate::metrics::Figures;
use crate::output::{print_error, print_line};
use crate::simulate::{self, Idp, Plan, Step};
use crate::vault::Announcement;
use crate::{bootstrap, graphql, jwt, ledger, progress, server};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use entity::connection::Provider;
use sea_orm::ActiveEnum;

/// How long a server that has ended waits for the database to be closed.
const CLOSE: Duration = Duration::from_secs(4);
/// How long a process that has ended waits for threads that a system call holds up.
const THREADS_TIMEOUT: Duration = Duration::from_secs(1);

/// Access follows the identity provider: SCIM 2.0 in, GraphQL to manage, a ledger to prove it.
#[derive(Parser)]
#[command(name = "rolecall", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a hospital hire, move and dismiss nurses, on a throw-away server
    Demo(DemoArgs),
    /// Run the server
    Serve(ServeArgs),
    /// Make an organization and a connection, and print credentials for SCIM and for the management API
    Bootstrap(BootstrapArgs),
    /// Bring the database's tables up to date
    Migrate(StoreArgs),
    /// Print the GraphQL schema (SDL)
    Schema,
    /// Sign a token for a person, by the installation's own key
    Jwt(JwtArgs),
    /// Check the ledger, keep checkpoints of it, check what was exported
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Exchange the master key or the signing key for another
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Act as an identity provider towards any SCIM server
    Simulate(SimulateArgs),
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
    /// The identity provider at the other end [default: GENERIC for a new connection]
    #[arg(long, value_enum)]
    provider: Option<ProviderArg>,
    /// Issue a further token and a further key where the organization and the connection are there already
    #[arg(long)]
    new_credentials: bool,
    /// Days after which the API key ends
    #[arg(long, value_name = "DAYS", default_value_t = key::BOOTSTRAP_DAYS, value_parser = clap::value_parser!(u16).range(1..=365))]
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
    /// What the person may do there; may be given several times [default: everything in the organization]
    #[arg(long)]
    permission: Vec<Permission>,
    /// What identifies the person
    #[arg(long, default_value = "administrator")]
    subject: String,
    /// A name for people to read
    #[arg(long, default_value = "Administrator")]
    name: String,
    /// How long the token is good for, in minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

#[derive(Args)]
struct SimulateArgs {
    /// The SCIM base URL (what comes before /Users)
    #[arg(long)]
    base_url: String,
    /// The bearer token
    #[arg(long, env = "ROLECALL_SCIM_TOKEN", hide_env_values = true)]
    token: String,
    /// Whose dialect to speak
    #[arg(long, value_enum, default_value = "entra")]
    idp: Idp,
    /// How many people join
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// How many of them change their ward
    #[arg(long, default_value_t = 12)]
    movers: usize,
    /// How many of them leave
    #[arg(long, default_value_t = 8)]
    leavers: usize,
    /// The same seed invents the same people
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(format!("rolecall: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run_command());
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    code
}

async fn run_command() -> ExitCode {
    let command = parse().command;
    // The demo tells its own story; only what goes wrong may interrupt it.
    let usual = if matches!(command, Command::Demo(_)) { "warn" } else { "info,sqlx=warn,sea_orm_migration=warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROLECALL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    // A line of the log that cannot be written is lost; to complain of it in the same place would end the process.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    let done = match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Serve(args) => serve(args).await,
        Command::Bootstrap(args) => bootstrap(args).await,
        Command::Migrate(args) => migrate(args).await,
        Command::Audit { command } => audit::run(command).await,
        Command::Keys { command } => keys::run(command).await,
        Command::Schema => print_line(graphql::sdl().trim_end()),
        Command::Jwt(args) => jwt(args).await,
        Command::Simulate(args) => simulate(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            print_error(format!("rolecall: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line. A setting with a wrong value is told in one line, as every other mistake in the
/// configuration is; help and usage keep the shape that clap gives them.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
            error.exit();
        }
        let text = error.to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more"));
        let line = lines.collect::<Vec<_>>().join(" ");
        print_error(format!("rolecall: {}", line.trim_start_matches("error: ")));
        std::process::exit(2)
    })
}

/// One line for whoever started the command.
type Done = Result<(), String>;

async fn serve(args: ServeArgs) -> Done {
    let (address, metrics) = (args.listen, args.metrics_listen);
    let config = args.check()?;
    let public_url = config.public_url.clone();
    // The port first: a second server on it should fail before it touches the database.
    let listener = listen(address).await?;
    let metrics = match metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let Served { app, lock } = installation::serve(config).await?;
    let announced = app.vault.announce(&app.store, app.replica).await;
    if announced.map_err(|error| format!("cannot write to the database: {error}"))? == Announcement::KeyExchanged {
        return Err("the master key was exchanged for another while this server started: start it with that key".into());
    }
    if let Some(listener) = metrics {
        let figures = Figures::install(app.clone())?;
        let stop = app.stopping.subscribe();
        tokio::spawn(figures.serve(listener, stop));
    }
    tracing::info!(listen = %address, scim = format!("{public_url}/scim/v2/<organization>"), graphql = format!("{public_url}/graphql"), "ready");
    let store = app.store.clone();
    let served = server::serve(app, listener, server::asked_to_stop()).await;
    // Whoever was cut off may hold a connection still, and the process ends anyway.
    let _ = tokio::time::timeout(CLOSE, store.close()).await;
    drop(lock);
    served.map_err(|error| format!("the server failed: {error}"))
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, String> {
    tokio::net::TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
}

async fn bootstrap(args: BootstrapArgs) -> Done {
    let app = installation::open_or_make(args.store).await?;
    let (slug, name) = (&args.organization, &args.connection);
    let found = bootstrap::look(&app, slug, name).await.map_err(|error| error.to_string())?;
    let wanted = args.provider.map(Provider::from);
    if let Some(connection) = &found.connection {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != connection.provider) {
            return Err(format!(
                "the connection {name:?} of {slug} is there already, and its provider is {}, not {}: nothing was made. \
                 --connection with another name makes a connection of its own",
                connection.provider.to_value(),
                wanted.to_value()
            ));
        }
        if !args.new_credentials {
            return Err(format!(
                "found the organization {slug} and its connection {name:?}, with {} live SCIM tokens of the connection and \
                 {} live API keys of the organization; nothing was made. Secrets cannot be shown again: \
                 --new-credentials issues a further token and a further key",
                found.scim_tokens, found.api_keys
            ));
        }
    }
    let provider = wanted.or(found.connection.map(|connection| connection.provider)).unwrap_or(Provider::Generic);
    let made =
        bootstrap::run_for(&app, slug, name, provider, args.key_days).await.map_err(|error| error.to_string())?;
    // No server may be running that would chain and sign what this has written.
    ledger::seal(&app.store).await.map_err(|error| error.to_string())?;
    ledger::sign_heads(&app.store, &app.vault, app.clock.now()).await.map_err(|error| error.to_string())?;
    if args.json {
        return print_line(serde_json::to_string(&made).map_err(|error| error.to_string())?);
    }
    let word = |made| if made { "made" } else { "found" };
    print_line(format!("Organization  {} ({})", made.organization.slug, word(made.made.organization)))?;
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

async fn migrate(args: StoreArgs) -> Done {
    installation::open(args).await?;
    print_line("the database is up to date")
}

async fn jwt(args: JwtArgs) -> Done {
    let app = installation::open(args.store).await?;
    let permissions = match args.permission.is_empty() {
        true => Permission::in_organization(),
        false => args.permission.into_iter().collect(),
    };
    for slug in &args.organization {
        if organization::by_slug(&app, slug).await.map_err(|error| error.to_string())?.is_none() {
            return Err(format!("there is no organization {slug:?}; `rolecall bootstrap` makes one"));
        }
    }
    let organizations = args.organization.into_iter().map(|slug| (slug, permissions.clone())).collect();
    let claims = jwt::Claims {
        subject: args.subject,
        name: args.name,
        organizations,
        permissions: Default::default(),
        until: None,
    };
    let life = chrono::Duration::minutes(args.minutes.into());
    print_line(jwt::issue(&app, &claims, life).map_err(|error| error.to_string())?)
}

async fn simulate(args: SimulateArgs) -> Done {
    let SimulateArgs { base_url, token, idp, users, movers, leavers, seed } = args;
    let plan = Plan { base_url, token, idp, users, movers, leavers, seed };
    let report = simulate::run(&plan, show).await.map_err(|error| error.to_string())?;
    print_line(&report)?;
    let failed = !report.refused.is_empty() || !report.differences.is_empty();
    if failed { Err("the server refused or lost something; see above".into()) } else { Ok(()) }
}

fn show(step: Step) {
    let (what, done, total) = match step {
        Step::Connected => ("connected", 1, 1),
        Step::Hired(done, total) => ("hired", done, total),
        Step::Placed(done, total) => ("placed in groups", done, total),
        Step::Moved(done, total) => ("moved", done, total),
        Step::Left(done, total) => ("left", done, total),
        Step::Checked(done, total) => ("checked", done, total),
    };
    progress::show(&mut std::io::stderr(), what, done, total);
}
