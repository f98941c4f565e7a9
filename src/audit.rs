//! What an auditor does on the command line: walk the chain of the ledger, keep checkpoints of it, and check files
//! that were exported, with nothing but a public key.

use std::path::PathBuf;

use clap::Subcommand;

use crate::attest::{self, Claims};
use crate::config::StoreArgs;
use crate::domain::organization;
use crate::installation;
use crate::ledger::{self, Examined, SignedHead, Verdict};
use crate::output::print_line;

/// The commands.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Walk the hash chain; fails when it is broken
    Verify {
        #[command(flatten)]
        store: StoreArgs,
        /// Only this organization [default: all]
        #[arg(long)]
        organization: Option<String>,
        /// A checkpoint or an export kept from earlier: fails when the chain does not lead through it; may be given
        /// several times
        #[arg(long, value_name = "FILE")]
        attestation: Vec<PathBuf>,
        /// Succeed also when there was no event to check
        #[arg(long)]
        allow_empty: bool,
    },
    /// Check an export or a checkpoint offline: that it is whole, unaltered and signed with this key
    Check {
        /// The file
        file: PathBuf,
        /// The public key that `rolecall audit key` prints
        #[arg(long, allow_hyphen_values = true)]
        key: String,
    },
    /// Print a signed statement of where an organization's chain ends; keep it somewhere else
    Checkpoint {
        #[command(flatten)]
        store: StoreArgs,
        /// The organization's slug
        #[arg(long)]
        organization: String,
    },
    /// Print the public key that checks what this installation signs
    Key(StoreArgs),
}

/// Runs a command.
///
/// # Errors
/// One line for whoever started it.
pub async fn run(command: AuditCommand) -> Result<(), String> {
    match command {
        AuditCommand::Verify { store, organization, attestation, allow_empty } => {
            verify(store, organization, attestation, allow_empty).await
        }
        AuditCommand::Check { file, key } => check(&file, &key),
        AuditCommand::Checkpoint { store, organization } => checkpoint(store, &organization).await,
        AuditCommand::Key(store) => print_line(attest::public_key(&*installation::open(store).await?)),
    }
}

async fn verify(store: StoreArgs, slug: Option<String>, files: Vec<PathBuf>, allow_empty: bool) -> Result<(), String> {
    let app = installation::open(store).await?;
    let mut kept = Vec::new();
    for file in files {
        let claims = attest::check_own_file(&app, &read(&file)?).map_err(|why| format!("{}: {why}", file.display()))?;
        kept.push((file, claims));
    }
    let organizations = match &slug {
        Some(slug) => match organization::by_slug(&app, slug).await.map_err(|error| error.to_string())? {
            Some(organization) => vec![organization],
            None => return Err(format!("there is no organization {slug:?}")),
        },
        None => organization::all(&app).await.map_err(|error| error.to_string())?,
    };
    let (mut broken, mut events) = (0, 0);
    for organization in &organizations {
        let Examined { verdict, signed } =
            ledger::examine(&app.store, &app.vault, organization.id).await.map_err(|error| error.to_string())?;
        events += verdict.sealed.unsigned_abs() + verdict.unsealed;
        let mut fault = verdict.broken.as_ref().map(|fault| format!("after {} events: {fault}", verdict.sealed));
        let mut attested = None;
        for (file, claims) in kept.iter().filter(|(_, claims)| claims.organization == organization.slug) {
            let hash = ledger::hash_at(&app.store, organization.id, claims.sequence).await;
            let hash = hash.map_err(|error| error.to_string())?;
            if hash.map(|hash| ledger::hex(&hash)).as_ref() != Some(&claims.hash) {
                fault = fault.or_else(|| Some(missed(file, claims)));
            }
            attested = attested.max(Some(claims.sequence));
        }
        match fault {
            None => {
                let tail = match verdict.unsealed {
                    0 => String::new(),
                    unsealed => format!(", {unsealed} not sealed yet"),
                };
                print_line(format!("{}: intact, {} events{tail}", organization.slug, verdict.sealed))?;
                for line in reservations(&verdict, signed.as_ref(), attested) {
                    print_line(format!("  {line}"))?;
                }
            }
            Some(fault) => {
                broken += 1;
                print_line(format!("{}: BROKEN {fault}", organization.slug))?;
            }
        }
    }
    print_line(format!("checked {} organizations, {events} events", organizations.len()))?;
    let strange = kept.iter().find(|(_, claims)| organizations.iter().all(|found| found.slug != claims.organization));
    if let Some((file, claims)) = strange {
        return Err(format!(
            "{} is about the organization {:?}, which was not looked at",
            file.display(),
            claims.organization
        ));
    }
    if broken > 0 {
        return Err(format!("{broken} of {} chains are broken", organizations.len()));
    }
    match events {
        0 if !allow_empty => {
            Err("there is no organization with an event here: nothing was verified (--allow-empty lets that pass)"
                .into())
        }
        _ => Ok(()),
    }
}

/// How far what was found reaches, and what it cannot show.
fn reservations(verdict: &Verdict, signed: Option<&SignedHead>, attested: Option<i64>) -> Vec<String> {
    let mut lines = Vec::new();
    match signed {
        None => lines.push(
            "signed: never, so a chain that was computed anew would look the same; the server signs when it runs"
                .into(),
        ),
        Some(signed) => {
            let (at, sequence) = (instant(signed.iat), signed.sequence);
            lines.push(match signed.first_sequence {
                0 => format!("signed: from the beginning up to sequence {sequence}, at {at}"),
                first => format!(
                    "signed: up to sequence {sequence}, at {at}; signatures begin at sequence {first}, at {}: whether \
                     earlier events were altered before then is not known",
                    instant(signed.first_iat)
                ),
            });
            let rest = verdict.sealed - sequence;
            if rest > 0 {
                lines.push(format!("not signed yet: the last {rest} events; whether they were altered is not known"));
            }
        }
    }
    if verdict.erased > 0 {
        lines.push(format!(
            "erased: the values of {} events, each accounted for by an erasure in the chain",
            verdict.erased
        ));
    }
    if verdict.unattributed > 0 {
        lines.push(format!(
            "not known: whether the names of who made {} of the erased events are as they were written",
            verdict.unattributed
        ));
    }
    let end = verdict.sealed;
    lines.push(match attested {
        Some(kept) => format!(
            "not known: whether events after sequence {end} were cut off; the files that were kept reach to {kept}"
        ),
        None => format!(
            "not known: whether events after sequence {end} were cut off with their signature; only a checkpoint or an \
             export that was kept elsewhere shows it (--attestation FILE)"
        ),
    });
    lines.push("not checked: whether accounts, memberships, mappings and grants are as these events tell".into());
    lines
}

/// Seconds since the epoch, for people.
fn instant(seconds: i64) -> String {
    let at = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn missed(file: &std::path::Path, claims: &Claims) -> String {
    format!(
        "at sequence {}: {} attests another chain; rows were cut off, altered or put in their place",
        claims.sequence,
        file.display()
    )
}

async fn checkpoint(store: StoreArgs, slug: &str) -> Result<(), String> {
    let app = installation::open(store).await?;
    let found = organization::by_slug(&app, slug).await.map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("there is no organization {slug:?}"))?;
    let (sequence, hash) = ledger::end(&app.store, found.id).await.map_err(|error| error.to_string())?;
    let claims = Claims {
        iss: app.config.public_url.clone(),
        iat: app.clock.now().timestamp(),
        organization: found.slug,
        sequence,
        hash: ledger::hex(&hash),
        export: None,
    };
    print_line(attest::sign(&app, &claims)?)
}

fn check(file: &std::path::Path, key: &str) -> Result<(), String> {
    let claims = attest::check_file(key, &read(file)?).map_err(|why| format!("{}: {why}", file.display()))?;
    let what = match &claims.export {
        Some(export) => format!("{} rows of the report {:?} with {}", export.rows, export.report, export.parameters),
        None => "a checkpoint".to_owned(),
    };
    print_line(format!(
        "{}: genuine, {what}; {} of {} at sequence {}",
        file.display(),
        claims.organization,
        claims.iss,
        claims.sequence
    ))
}

fn read(file: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}
