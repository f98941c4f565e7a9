//! `rolecall keys`: the master key exchanged for another, the signing key for its successor.

use clap::Subcommand;

use crate::config::StoreArgs;
use crate::context::App;
use crate::installation;
use crate::output::print_line;
use crate::vault::{self, Step};

/// The commands.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Exchange the master key for another, in two steps
    Rotate {
        #[command(subcommand)]
        step: RotateStep,
    },
    /// Make a further signing key; it signs 90 minutes later, and the one before is accepted for a day after that
    RotateSigning {
        #[command(flatten)]
        store: StoreArgs,
        /// Sign with it now, and refuse the tokens of all others: for a key that leaked
        #[arg(long)]
        at_once: bool,
    },
    /// Print the public keys that check what this installation has signed, the newest first: a name, a key, and since when
    Public(StoreArgs),
}

/// The steps of an exchange.
#[derive(Subcommand)]
pub enum RotateStep {
    /// Record the new master key (made in its file where that is missing); then restart every server with both keys
    Prepare(StoreArgs),
    /// Make the new master key the present one, and seal everything with it anew; may be run again after a failure
    Finish(StoreArgs),
}

/// Runs a command.
///
/// # Errors
/// One line for the operator.
pub async fn run(command: KeysCommand) -> Result<(), String> {
    match command {
        KeysCommand::Rotate { step: RotateStep::Prepare(store) } => prepare(store).await,
        KeysCommand::Rotate { step: RotateStep::Finish(store) } => finish(store).await,
        KeysCommand::RotateSigning { store, at_once } => rotate_signing(store, at_once).await,
        KeysCommand::Public(store) => print_public(&*installation::open(store).await?),
    }
}

async fn prepare(store: StoreArgs) -> Result<(), String> {
    let config = store.check(None)?;
    installation::require(&config).await?;
    if let Some(new) = &config.new_master_key {
        vault::make_missing_key(new)?;
    }
    let app = App::open(config).await?;
    app.vault.prepare_rotation(&app.store).await?;
    print_line(
        "the new master key is prepared: give both keys to every server and restart it, then run `rolecall keys rotate finish`",
    )
}

async fn finish(store: StoreArgs) -> Result<(), String> {
    let app = installation::open(store).await?;
    let (mut data_keys, mut signing_keys, mut passed) = (0, 0, None);
    loop {
        match app.vault.advance_rotation(&app.store, &mut passed).await? {
            Step::Switched => {}
            Step::DataKey => data_keys += 1,
            Step::SigningKey => signing_keys += 1,
            Step::Finished => break,
        }
    }
    print_line(format!(
        "the new master key is in use: {data_keys} data keys and {signing_keys} signing keys were sealed with it. Give \
         it alone to every server, as the master key; keep the old one as long as you keep backups from before"
    ))
}

async fn rotate_signing(store: StoreArgs, at_once: bool) -> Result<(), String> {
    let app = installation::open(store).await?;
    let from = app.vault.rotate_signing_key(&app.store, app.clock.now(), at_once).await?;
    print_line(format!("a new signing key is published, and signs from {} on", from.to_rfc3339()))
}

fn print_public(app: &App) -> Result<(), String> {
    for key in app.vault.verifying_keys().iter().rev() {
        print_line(format!("{} {} {}", key.id(), key.public_text(), key.signs_from().to_rfc3339()))?;
    }
    Ok(())
}
