//! `rolecall console-link`: prints a link that opens the console once.

use std::io::{IsTerminal, stdout};
use std::sync::Arc;

use clap::Args;

use crate::auth::policy::{Permission, Permissions};
use crate::cli::command_error::CommandError;
use crate::cli::installation;
use crate::cli::output::print_line;
use crate::config::StoreArgs;
use crate::context::{App, Cx};
use crate::domain::access::console_link;
use crate::domain::tenant::organization;
use crate::ledger;

/// The arguments of `rolecall console-link`.
#[derive(Args)]
pub struct ConsoleLinkArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The organization's slug
    #[arg(long)]
    organization: String,
    /// What the session may do; may be given several times [default: everything in the
    /// organization]
    #[arg(long)]
    permission: Vec<Permission>,
}

/// Makes a link and prints it.
///
/// # Errors
/// One line for the person who started the command; also if the output is not a terminal.
pub async fn print_console_link(args: ConsoleLinkArgs) -> Result<(), CommandError> {
    // A link in a file or in the log of a job would lie there for others to find.
    if !stdout().is_terminal() {
        return Err("a console link is a credential, so it is printed on a terminal only; for a \
                    script, `rolecall bootstrap` and apiKeyIssue make API keys"
            .into());
    }
    let app = installation::open_existing(args.store).await?;
    let permissions = if args.permission.is_empty() {
        Permission::in_organization()
    } else {
        args.permission.into_iter().collect()
    };
    let url = make_link(&app, &args.organization, permissions).await?;
    // Perhaps no server is running that would add the event to the chain and sign it.
    ledger::seal_ledgers(&app.store).await.map_err(|error| error.to_string())?;
    ledger::sign_heads(&app.store, &app.vault, app.clock.now())
        .await
        .map_err(|error| error.to_string())?;
    print_line(url)?;
    print_line(format!(
        "Open it in a browser while the server runs: it works once, for {} minutes.",
        console_link::LINK_LIFETIME.num_minutes()
    ))
}

/// Makes a link to the console of the organization `slug`; returns the address to open.
///
/// # Errors
/// One line for the operator, also if there is no such organization.
pub async fn make_link(
    app: &Arc<App>,
    slug: &str,
    permissions: Permissions,
) -> Result<String, CommandError> {
    let Some(organization) = organization::by_slug(app, slug).await? else {
        return Err(CommandError::Failure(format!(
            "there is no organization {slug:?}; `rolecall bootstrap` creates one"
        )));
    };
    let cx = Cx::system(app.clone(), organization.id);
    Ok(console_link::create_link(&cx, permissions).await?.url(app))
}
