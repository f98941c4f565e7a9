//! `rolecall keys`: exchanges the master key or the signing key for a new one.

use clap::Subcommand;
use serde_json::json;

use crate::cli::command_error::CommandError;
use crate::cli::installation;
use crate::cli::output::{print_json, print_line};
use crate::cli::progress::show_waiting;
use crate::config::StoreArgs;
use crate::context::App;
use crate::crypto::vault;
use crate::crypto::vault::RotationStep;

/// The commands.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Exchange the master key for another, in two steps
    Rotate {
        #[command(subcommand)]
        step: RotateStep,
    },
    /// Create a new signing key; it signs after 90 minutes, and the previous key is accepted for
    /// one more day
    RotateSigning {
        #[command(flatten)]
        store: StoreArgs,
        /// Sign with it now, and refuse the tokens of all other keys: for a key that leaked
        #[arg(long)]
        at_once: bool,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Print the public keys that check this installation's signatures, the newest first: the name,
    /// the key, and the time from which it signs
    Public {
        #[command(flatten)]
        store: StoreArgs,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

/// The steps of an exchange.
#[derive(Subcommand)]
pub enum RotateStep {
    /// Record the new master key, and create its file if it is missing; then restart every server
    /// with both keys
    Prepare(StoreArgs),
    /// Make the new master key the current one, and encrypt all other keys with it; can be repeated
    /// after a failure
    Finish {
        #[command(flatten)]
        store: StoreArgs,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command.
///
/// # Errors
/// The reason, in one line for the operator.
pub async fn run_keys(command: KeysCommand) -> Result<(), CommandError> {
    match command {
        KeysCommand::Rotate { step: RotateStep::Prepare(store) } => prepare_rotation(store).await,
        KeysCommand::Rotate { step: RotateStep::Finish { store, json } } => {
            finish_rotation(store, json).await
        }
        KeysCommand::RotateSigning { store, at_once, json } => {
            rotate_signing(store, at_once, json).await
        }
        KeysCommand::Public { store, json } => {
            print_public(&*installation::open_existing(store).await?, json)
        }
    }
}

async fn prepare_rotation(store: StoreArgs) -> Result<(), CommandError> {
    let config = store.check(None)?;
    installation::require_installation(&config).await?;
    let Some(new) = &config.new_master_key else {
        return Err(CommandError::Usage(
            "give the new master key with --new-master-key-file or ROLECALL_NEW_MASTER_KEY".into(),
        ));
    };
    // A command that is refused creates no key.
    App::require_current_tables(&config).await?;
    vault::make_missing_key(new)?;
    let app = App::open_without_migration(config).await?;
    app.vault.prepare_rotation(&app.store).await?;
    print_line(
        "the new master key is prepared: give both keys to every server and restart it, then run \
         `rolecall keys rotate finish`",
    )
}

async fn finish_rotation(store: StoreArgs, json: bool) -> Result<(), CommandError> {
    let app = installation::open_existing(store).await?;
    let waiting = show_waiting("encrypting the keys with the new master key".into());
    let (mut data_keys, mut signing_keys, mut passed) = (0, 0, None);
    loop {
        match app.vault.advance_rotation(&app.store, &mut passed).await? {
            RotationStep::Switched => {}
            RotationStep::DataKey => data_keys += 1,
            RotationStep::SigningKey => signing_keys += 1,
            RotationStep::Finished => break,
        }
    }
    drop(waiting);
    if json {
        return print_json(&json!({ "data_keys": data_keys, "signing_keys": signing_keys }));
    }
    print_line(format!(
        "the new master key is in use: {data_keys} data keys and {signing_keys} signing keys were \
         encrypted with it. Give only this key to every server, as the master key; keep the old \
         one as long as you keep backups from before"
    ))
}

async fn rotate_signing(store: StoreArgs, at_once: bool, json: bool) -> Result<(), CommandError> {
    let app = installation::open_existing(store).await?;
    let from = app.vault.rotate_signing_key(&app.store, app.clock.now(), at_once).await?;
    if json {
        return print_json(&json!({ "signs_from": from }));
    }
    print_line(format!("a new signing key is published, and signs from {} on", from.to_rfc3339()))
}

fn print_public(app: &App, json: bool) -> Result<(), CommandError> {
    if json {
        let keys = app.vault.verifying_keys();
        let keys = keys.iter().rev().map(|key| {
            json!({
                "id": key.id(),
                "public_key": key.public_text(),
                "signs_from": key.signs_from(),
            })
        });
        return print_json(&keys.collect::<Vec<_>>());
    }
    for key in app.vault.verifying_keys().iter().rev() {
        print_line(format!(
            "{} {} {}",
            key.id(),
            key.public_text(),
            key.signs_from().to_rfc3339()
        ))?;
    }
    Ok(())
}
