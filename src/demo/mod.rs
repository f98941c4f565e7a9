//! `rolecall demo`: a hospital's week in a few seconds.
//!
//! The server runs in this process on a throw-away database. Everything else happens from outside, over HTTP: an
//! identity provider hires, moves and dismisses nurses over SCIM, an administrator watches and decides over GraphQL.
//! What is told is checked, so the demo is also the shortest proof that the whole house works. The one question that
//! is asked inside is the ledger's, which the command line (`rolecall audit verify`) asks in the same way, and once the
//! server's clock is moved on by a day.

mod api;
mod narrator;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use entity::connection::Provider;
use tokio::net::TcpListener;

use crate::bootstrap::{self, Bootstrapped};
use crate::config::StoreArgs;
use crate::context::App;
use crate::server;
use crate::simulate::{Idp, Plan, Simulation};
use api::Api;
use narrator::{Narrator, print};

const ORGANIZATION: &str = "st-mary";
const NURSES: usize = 200;
const MOVERS: usize = 12;
const LEAVERS: usize = 8;
/// Where the server listens unless told otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How the demo is to run.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Whose dialect the identity provider speaks
    #[arg(long, value_enum, default_value = "entra")]
    idp: Idp,
    /// Address and port to listen on [default: 127.0.0.1:8080, or any free port where that is taken]
    #[arg(long, env = "ROLECALL_LISTEN")]
    listen: Option<SocketAddr>,
    /// End after the story, with status 0 only if every fact held
    #[arg(long)]
    exit: bool,
    /// The same seed invents the same people
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Starts the server, tells the story, and stays up until asked to stop.
///
/// # Errors
/// One line: what could not be started, or how many facts did not hold.
pub async fn run(args: DemoArgs) -> Result<(), String> {
    let folder = tempfile::Builder::new().prefix("rolecall-demo-").tempdir();
    let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let listener = listen(args.listen).await?;
    let address = listener.local_addr().map_err(|error| format!("cannot tell the address: {error}"))?;
    let data_dir = folder.path().to_owned();
    let app = App::open(StoreArgs::of(data_dir).check(Some(address))?).await?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(app.clone(), listener, async {
        // An error means that the other end is gone: a reason to stop, too.
        let _ = stopped.await;
    }));
    let told = tokio::select! {
        told = tell(&app, &args) => told,
        () = server::asked_to_stop() => Err("stopped in the middle of the story".into()),
    };
    // A server whose address could not be printed has no reason to stay up.
    if !args.exit && told.is_ok() && narrator::is_heard() {
        server::asked_to_stop().await;
    }
    drop(stop);
    let served =
        serving.await.map_err(|error| error.to_string()).and_then(|end| end.map_err(|error| error.to_string()));
    if let Err(why) = folder.close() {
        tracing::warn!(%why, "the temporary folder stays behind");
    }
    served.map_err(|why| format!("the server failed: {why}"))?;
    told.and_then(|narrator| narrator.verdict())
}

/// On the address that was asked for, or else on the usual one, or else on any.
async fn listen(wanted: Option<SocketAddr>) -> Result<TcpListener, String> {
    let address = wanted.unwrap_or(USUAL);
    let error = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if wanted.is_some() {
        return Err(format!("cannot listen on {address}: {error}"));
    }
    print(&format!("{address} is taken ({error}); using a free port."));
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| format!("cannot listen on any port: {error}"))
}

async fn tell(app: &Arc<App>, args: &DemoArgs) -> Result<Narrator, String> {
    let narrator = Narrator::new();
    let (idp, provider) = match args.idp {
        Idp::Entra => ("Microsoft Entra ID", Provider::EntraId),
        Idp::Okta => ("Okta", Provider::Okta),
    };
    let mut made = bootstrap::run(app, ORGANIZATION, idp, provider).await.map_err(|error| error.to_string())?;
    let api = Api::new(&made.graphql.url, &made.graphql.api_key)?;
    print(&format!("St. Mary's hospital keeps its staff in {idp}. rolecall turns their groups into roles."));
    print("Everything below happens over HTTP and is checked: ✓ as it should be, ✗ not.");

    let plan = Plan {
        base_url: made.scim.base_url.clone(),
        token: made.scim.token.clone(),
        idp: args.idp,
        users: NURSES,
        movers: MOVERS,
        leavers: LEAVERS,
        seed: args.seed,
    };
    let hospital = Simulation::connect(&plan).await.map_err(|error| error.to_string())?;
    let mut story = story::Story { narrator, api, hospital, idp };
    let mappings = story.decide().await?;
    let before = story.arrive().await?;
    story.change(before).await?;
    story.leave().await?;
    story.slip(&mappings).await?;
    story.weigh(app, &mappings).await?;
    story.look(&made).await?;
    made.scim.token = story.rotate(&plan).await?;
    story.prove(app, &made).await?;
    story.mend(&made).await?;
    let narrator = story.narrator;
    narrator.end();
    if !args.exit {
        go_on(&made, args.idp);
    }
    Ok(narrator)
}

/// What there is to go on with, ready to be copied.
fn go_on(made: &Bootstrapped, idp: Idp) {
    let Bootstrapped { scim, graphql, .. } = made;
    let idp = match idp {
        Idp::Entra => "entra",
        Idp::Okta => "okta",
    };
    print(&format!(
        r#"
The server stays up; Ctrl-C ends it and throws its data away. To go on, in another terminal:

ROLECALL_URL={server}
ROLECALL_KEY={key}
SCIM_URL={base}
SCIM_TOKEN={token}

# a nurse, as the identity provider sees them
curl -s "$SCIM_URL/Users?count=1" -H "Authorization: Bearer $SCIM_TOKEN"
# the same hospital, as an administrator sees it
curl -s "$ROLECALL_URL/graphql" -H "Authorization: Bearer $ROLECALL_KEY" -H 'Content-Type: application/json' \
  -d '{{"query":"{{ organization {{ scim {{ status counts {{ users groups }} }} roles(first: 3) {{ nodes {{ name }} }} }} }}"}}'
# fifty nurses of another agency
cargo run --release -- simulate --base-url "$SCIM_URL" --token "$SCIM_TOKEN" --idp {idp} --users 50 --movers 0 --leavers 0 --seed 2

In a browser, {url} shows the whole API; under "Headers" put {{"Authorization": "Bearer {key}"}}."#,
        base = scim.base_url,
        token = scim.token,
        url = graphql.url,
        server = graphql.url.trim_end_matches("/graphql"),
        key = graphql.api_key,
    ));
}
