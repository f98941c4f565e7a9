//! `rolecall demo`: the story of a hospital, in a few seconds.
//!
//! The server runs in this process on a temporary database. The demo uses it over HTTP: an identity
//! provider hires, moves and dismisses nurses over SCIM, and an administrator reads and decides
//! over GraphQL; a clinic has no SCIM, and its people's groups come with their sign-ins. Every fact
//! that is printed is checked, so the demo is also a short test of the whole server. Only two
//! things do not happen over HTTP: the verification of the ledger, which `rolecall audit verify`
//! does in the same way, and once the server's clock is moved forward by a day.

mod api;
mod clinic;
mod narrator;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use entity::connection::Provider;
use tokio::net::TcpListener;

use crate::auth::policy::Permission;
use crate::cli::bootstrap;
use crate::cli::bootstrap::BootstrapResult;
use crate::cli::command_error::CommandError;
use crate::cli::console_link;
use crate::cli::program::describe_own_call;
use crate::config::{StoreArgs, parse_listen_address};
use crate::context::{App, Clock};
use crate::domain::access::console_link::LINK_LIFETIME;
use crate::server;
use api::ApiClient;
use narrator::{FactReporter, print_story_line};
use simulator::{SimulatedApplication, SimulatedProvider, Simulation, SimulationPlan};

const ORGANIZATION: &str = "st-mary";
const NURSES: usize = 200;
const MOVERS: usize = 12;
const LEAVERS: usize = 8;
/// How far the story moves the clock. It begins so much in the past, so that it ends now.
const STORY_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Where the server listens by default.
const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The identity providers that can play the story: it needs groups, and leavers who keep theirs.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DemoProvider {
    Entra,
    Okta,
}

impl DemoProvider {
    fn simulated_provider(self) -> SimulatedProvider {
        match self {
            Self::Entra => SimulatedProvider::Entra,
            Self::Okta => SimulatedProvider::Okta,
        }
    }
}

/// The options of the demo.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// The identity provider to simulate
    #[arg(long, value_enum, default_value = "entra")]
    idp: DemoProvider,
    /// Address and port to listen on [default: 127.0.0.1:8080, or any free port if it is in use]
    #[arg(long, env = "ROLECALL_LISTEN", value_parser = parse_listen_address)]
    listen: Option<SocketAddr>,
    /// End after the story, with status 0 only if every fact held
    #[arg(long)]
    exit: bool,
    /// Seed of the random names: the same seed gives the same people
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Starts the server, runs the story, and lets the server run until the process is asked to stop.
///
/// # Errors
/// What could not be started, or the number of facts that did not hold.
pub async fn run_demo(args: DemoArgs) -> Result<(), CommandError> {
    // The database's tables take a moment to create.
    print_story_line("Preparing a server on a temporary database.");
    let folder = tempfile::Builder::new().prefix("rolecall-demo-").tempdir();
    let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let listener = bind_listener(args.listen).await?;
    let address =
        listener.local_addr().map_err(|error| format!("cannot read the address: {error}"))?;
    let data_dir = folder.path().to_owned();
    let clock = Clock::default();
    clock.set_back(STORY_TIME);
    let mut config = StoreArgs::of(data_dir).check(Some(address))?;
    // The application that hears of leavers runs on this machine.
    config.signal_private_addresses = true;
    // So does the provider whose keys verify sign-ins.
    config.pull_private_addresses = true;
    let app = App::open_with_clock(config, clock).await?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::run_server(app.clone(), listener, async {
        // An error means that the sender was dropped, which is also a reason to stop.
        let _ = stopped.await;
    }));
    let story = tokio::select! {
        story = run_story(&app, &args) => story,
        () = server::wait_for_stop_signal() => Err("stopped in the middle of the story".into()),
    };
    // If its address could not be printed, there is no reason to let the server run on.
    if !args.exit && story.is_ok() && narrator::is_output_open() {
        server::wait_for_stop_signal().await;
    }
    drop(stop);
    let served = serving
        .await
        .map_err(|error| error.to_string())
        .and_then(|end| end.map_err(|error| error.to_string()));
    if let Err(why) = folder.close() {
        tracing::warn!(%why, "the temporary folder could not be deleted");
    }
    served.map_err(|why| format!("the server failed: {why}"))?;
    Ok(story.and_then(|narrator| narrator.check_all_facts())?)
}

/// Listens on `wanted` or, without it, on the default address, or else on any free port.
async fn bind_listener(wanted: Option<SocketAddr>) -> Result<TcpListener, String> {
    let address = wanted.unwrap_or(DEFAULT_ADDRESS);
    let error = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if wanted.is_some() {
        return Err(format!("cannot listen on {address}: {error}"));
    }
    print_story_line(&format!("{address} is in use ({error}); using a free port."));
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(|error| format!("cannot listen on any port: {error}"))
}

async fn run_story(app: &Arc<App>, args: &DemoArgs) -> Result<FactReporter, String> {
    let narrator = FactReporter::new();
    let (idp, provider) = match args.idp {
        DemoProvider::Entra => ("Microsoft Entra ID", Provider::EntraId),
        DemoProvider::Okta => ("Okta", Provider::Okta),
    };
    let mut made = bootstrap::run_bootstrap(app, ORGANIZATION, idp, provider)
        .await
        .map_err(|error| error.to_string())?;
    let api = ApiClient::new(&made.graphql.url, &made.graphql.api_key)?;
    print_story_line(&format!(
        "St. Mary's hospital keeps its staff in {idp}. rolecall turns their groups into roles."
    ));
    print_story_line(
        "Everything below happens over HTTP and is checked: ✓ as expected, ✗ not as expected.",
    );

    let plan = SimulationPlan {
        base_url: made.scim.base_url.clone(),
        token: made.scim.token.clone(),
        idp: args.idp.simulated_provider(),
        users: NURSES,
        movers: MOVERS,
        leavers: LEAVERS,
        seed: args.seed,
    };
    let hospital = Simulation::test_and_connect(&plan).await.map_err(|error| error.to_string())?;
    let application = SimulatedApplication::start().await;
    let application =
        application.map_err(|error| format!("cannot start an application: {error}"))?;
    let mut story = story::HospitalStory { narrator, api, hospital, application, idp };
    let mappings = story.create_mappings().await?;
    let before = story.show_arrivals().await?;
    story.show_moves(before).await?;
    story.open_sessions().await?;
    let leavers = story.show_leavers().await?;
    story.show_ended_sessions(app, &leavers).await?;
    story.show_mistake(&mappings).await?;
    story.preview_change(app, &mappings).await?;
    story.show_overview(&made).await?;
    made.scim.token = story.rotate_token(&plan).await?;
    story.verify_ledger(app, &made).await?;
    story.repair_failure(&made).await?;
    story.show_sign_ins(app, provider).await?;
    let narrator = story.narrator;
    narrator.print_summary();
    if !args.exit {
        let link = console_link::make_link(app, ORGANIZATION, Permission::in_organization());
        let link = link.await.map_err(|error| error.to_string())?;
        print_next_steps(app, &made, args.idp, &link);
    }
    Ok(narrator)
}

/// Prints commands for the running server, ready to be copied.
fn print_next_steps(app: &App, made: &BootstrapResult, idp: DemoProvider, link: &str) {
    let BootstrapResult { scim, graphql, .. } = made;
    let idp = match idp {
        DemoProvider::Entra => "entra",
        DemoProvider::Okta => "okta",
    };
    print_story_line(&format!(
        r#"
The server keeps running; Ctrl-C ends it and deletes its data. To try it, in another terminal:

ROLECALL_URL={server}
ROLECALL_KEY={key}
SCIM_URL={base}
SCIM_TOKEN={token}

# a nurse, as the identity provider sees them
curl -s "$SCIM_URL/Users?count=1" -H "Authorization: Bearer $SCIM_TOKEN"
# the same hospital, as an administrator sees it
curl -s "$ROLECALL_URL/graphql" -H "Authorization: Bearer $ROLECALL_KEY" \
  -H 'Content-Type: application/json' \
  -d '{{"query":"{query}"}}'
# fifty nurses of another agency
{program} simulate --base-url "$SCIM_URL" --token "$SCIM_TOKEN" \
  --idp {idp} --users 50 --movers 0 --leavers 0 --seed 2
# another link to the console
{program} console-link --organization {slug} --data-dir {folder} --public-url {server}

In a browser, {url} shows the whole API; under "Headers" put {{"Authorization": "Bearer {key}"}}.

To look at the hospital in a browser, open this link. It works once, for {minutes} minutes:

{link}"#,
        slug = ORGANIZATION,
        folder = app.config.data_dir.display(),
        minutes = LINK_LIFETIME.num_minutes(),
        program = describe_own_call(),
        base = scim.base_url,
        token = scim.token,
        query = "{ organization { scim { state counts { users groups } } \
                 roles(first: 3) { nodes { name } } } }",
        url = graphql.url,
        server = graphql.url.trim_end_matches("/graphql"),
        key = graphql.api_key,
    ));
}
