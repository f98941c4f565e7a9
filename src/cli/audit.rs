//! The commands for an auditor: verify the hash chain of the ledger, write checkpoints of it, and
//! check exported files with nothing but a public key.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::cli::command_error::CommandError;
use crate::cli::installation;
use crate::cli::output::{print_json, print_line};
use crate::cli::progress::show_waiting;
use crate::config::StoreArgs;
use crate::context::App;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::Organization;
use crate::ledger;
use crate::ledger::attestation;
use crate::ledger::attestation::AttestationClaims;
use crate::ledger::{ChainVerdict, ExaminedChain, SignedHead};

/// The commands.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Verify the hash chain; fails if it is broken
    Verify {
        #[command(flatten)]
        store: StoreArgs,
        /// Only this organization [default: all]
        #[arg(long)]
        organization: Option<String>,
        /// An earlier checkpoint or export: fails if the chain does not contain its hash; may be
        /// given several times
        #[arg(long, value_name = "FILE")]
        attestation: Vec<PathBuf>,
        /// Succeed even if there is no event to check
        #[arg(long)]
        allow_empty: bool,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Check offline that an export or a checkpoint is complete, unaltered and signed with this key
    Check {
        /// The file
        file: PathBuf,
        /// The public key that `rolecall audit key` prints
        #[arg(long, allow_hyphen_values = true)]
        key: String,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Print a signed statement about the end of an organization's chain; store it elsewhere
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
/// The reason, in one line for the person who started the command.
pub async fn run_audit(command: AuditCommand) -> Result<(), CommandError> {
    match command {
        AuditCommand::Verify { store, organization, attestation, allow_empty, json } => {
            verify_ledgers(store, organization, attestation, allow_empty, json).await
        }
        AuditCommand::Check { file, key, json } => check_attested_file(&file, &key, json),
        AuditCommand::Checkpoint { store, organization } => {
            print_checkpoint(store, &organization).await
        }
        AuditCommand::Key(store) => {
            let app = installation::open_existing(store).await?;
            print_line(attestation::public_key(&app.vault, app.clock.now()))
        }
    }
}

async fn verify_ledgers(
    store: StoreArgs,
    slug: Option<String>,
    files: Vec<PathBuf>,
    allow_empty: bool,
    json: bool,
) -> Result<(), CommandError> {
    let app = installation::open_existing(store).await?;
    let kept = read_attested_files(&app, files)?;
    let organizations = match &slug {
        Some(slug) => {
            let found = organization::by_slug(&app, slug).await?;
            vec![found.ok_or_else(|| format!("there is no organization {slug:?}"))?]
        }
        None => organization::list_all(&app).await?,
    };
    let (mut broken, mut events) = (0, 0);
    let mut verified = Vec::new();
    for organization in &organizations {
        let ledger = verify_one_ledger(&app, organization, &kept).await?;
        events += ledger.verdict.sealed.unsigned_abs() + ledger.verdict.unsealed;
        broken += usize::from(ledger.fault.is_some());
        if json {
            verified.push(ledger.to_json());
        } else {
            ledger.print_text()?;
        }
    }
    if json {
        print_json(&json!({
            "intact": broken == 0,
            "events": events,
            "organizations": verified,
        }))?;
    } else {
        print_line(format!("checked {} organizations, {events} events", organizations.len()))?;
    }
    refuse_strange_files(&kept, &organizations)?;
    if broken > 0 {
        let chains = organizations.len();
        return Err(CommandError::Failure(format!("{broken} of {chains} chains are broken")));
    }
    match events {
        0 if !allow_empty => {
            Err("there is no organization with an event here: nothing was verified (--allow-empty \
                 accepts this)"
                .into())
        }
        _ => Ok(()),
    }
}

/// An attested file, and what it attests.
type AttestedFile = (PathBuf, AttestationClaims);

fn read_attested_files(app: &App, files: Vec<PathBuf>) -> Result<Vec<AttestedFile>, CommandError> {
    let mut kept = Vec::new();
    for file in files {
        let claims = attestation::check_own_file(&app.vault, &read_file(&file)?)
            .map_err(|why| format!("{}: {why}", file.display()))?;
        kept.push((file, claims));
    }
    Ok(kept)
}

/// Verifies the chain of an organization, and that it contains what its files attest.
async fn verify_one_ledger<'a>(
    app: &App,
    organization: &'a Organization,
    kept: &[AttestedFile],
) -> Result<VerifiedLedger<'a>, CommandError> {
    let waiting = show_waiting(format!("{}: verifying", organization.slug));
    let ExaminedChain { verdict, signed } =
        ledger::examine_chain(&app.store, &app.vault, organization.id)
            .await
            .map_err(|error| error.to_string())?;
    let mut fault =
        verdict.broken.as_ref().map(|fault| format!("after {} events: {fault}", verdict.sealed));
    let mut attested = None;
    for (file, claims) in kept.iter().filter(|(_, claims)| claims.organization == organization.slug)
    {
        let hash = ledger::hash_at(&app.store, organization.id, claims.sequence).await;
        let hash = hash.map_err(|error| error.to_string())?;
        if hash.map(|hash| hex::encode(&hash)).as_ref() != Some(&claims.hash) {
            fault = fault.or_else(|| Some(describe_missed(file, claims)));
        }
        attested = attested.max(Some(claims.sequence));
    }
    drop(waiting);
    Ok(VerifiedLedger {
        organization: &organization.slug,
        fault,
        verdict,
        signed,
        attested_sequence: attested,
    })
}

/// Refuses a file about an organization that was not checked.
fn refuse_strange_files(
    kept: &[AttestedFile],
    organizations: &[Organization],
) -> Result<(), CommandError> {
    let strange = kept
        .iter()
        .find(|(_, claims)| organizations.iter().all(|found| found.slug != claims.organization));
    if let Some((file, claims)) = strange {
        return Err(CommandError::Failure(format!(
            "{} is about the organization {:?}, which was not checked",
            file.display(),
            claims.organization
        )));
    }
    Ok(())
}

/// One organization's ledger after its verification.
struct VerifiedLedger<'a> {
    organization: &'a str,
    /// The first error of the chain, or of a file that attests another chain.
    fault: Option<String>,
    verdict: ChainVerdict,
    signed: Option<SignedHead>,
    /// The last event that a kept file attests.
    attested_sequence: Option<i64>,
}

impl VerifiedLedger<'_> {
    fn print_text(&self) -> Result<(), CommandError> {
        let Self { organization, fault, verdict, .. } = self;
        if let Some(fault) = fault {
            return print_line(format!("{organization}: BROKEN {fault}"));
        }
        let tail = match verdict.unsealed {
            0 => String::new(),
            unsealed => format!(", {unsealed} not sealed yet"),
        };
        print_line(format!("{organization}: intact, {} events{tail}", verdict.sealed))?;
        for line in describe_limits(verdict, self.signed.as_ref(), self.attested_sequence) {
            print_line(format!("  {line}"))?;
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let Self { organization, fault, verdict, signed, attested_sequence } = self;
        let signed = signed.as_ref().map(|signed| {
            json!({
                "sequence": signed.sequence,
                "at": format_instant(signed.iat),
                "first_sequence": signed.first_sequence,
                "first_at": format_instant(signed.first_iat),
            })
        });
        json!({
            "organization": organization,
            "intact": fault.is_none(),
            "fault": fault,
            "sealed": verdict.sealed,
            "unsealed": verdict.unsealed,
            "erased": verdict.erased,
            "unattributed": verdict.unattributed,
            "signed": signed,
            "attested_sequence": attested_sequence,
        })
    }
}

/// Up to which event the verification reaches, and what it cannot show.
fn describe_limits(
    verdict: &ChainVerdict,
    signed: Option<&SignedHead>,
    attested: Option<i64>,
) -> Vec<String> {
    let mut lines = Vec::new();
    match signed {
        None => lines.push(
            "signed: never, so a chain that was recomputed after a change would not be noticed; \
             the server signs while it runs"
                .into(),
        ),
        Some(signed) => {
            let (at, sequence) = (format_instant(signed.iat), signed.sequence);
            lines.push(match signed.first_sequence {
                0 => format!("signed: from the beginning up to sequence {sequence}, at {at}"),
                first => format!(
                    "signed: up to sequence {sequence}, at {at}; signatures begin at sequence \
                     {first}, at {}: whether earlier events were altered before then is not known",
                    format_instant(signed.first_iat)
                ),
            });
            let rest = verdict.sealed - sequence;
            if rest > 0 {
                lines.push(format!(
                    "not signed yet: the last {rest} events; whether they were altered is not \
                     known"
                ));
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
            "not known: whether the actor names of {} erased events were altered",
            verdict.unattributed
        ));
    }
    let end = verdict.sealed;
    lines.push(match attested {
        Some(kept) => format!(
            "not known: whether events after sequence {end} were cut off; the files that were \
             kept reach to {kept}"
        ),
        None => format!(
            "not known: whether events after sequence {end} were cut off with their signature; \
             only a checkpoint or an export that was kept elsewhere shows it (--attestation FILE)"
        ),
    });
    lines.push(
        "not checked: whether accounts, memberships, mappings and grants agree with these events"
            .into(),
    );
    lines
}

/// An instant in seconds since the epoch, as text for people.
fn format_instant(seconds: i64) -> String {
    let at = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn describe_missed(file: &Path, claims: &AttestationClaims) -> String {
    format!(
        "at sequence {}: {} attests another chain; rows were removed, altered or replaced",
        claims.sequence,
        file.display()
    )
}

async fn print_checkpoint(store: StoreArgs, slug: &str) -> Result<(), CommandError> {
    let app = installation::open_existing(store).await?;
    let found = organization::by_slug(&app, slug).await?;
    let found = found.ok_or_else(|| format!("there is no organization {slug:?}"))?;
    let (sequence, hash) =
        ledger::chain_end(&app.store, found.id).await.map_err(|error| error.to_string())?;
    let claims = AttestationClaims {
        iss: app.config.public_url.clone(),
        iat: app.clock.now().timestamp(),
        organization: found.slug,
        sequence,
        hash: hex::encode(&hash),
        export: None,
    };
    print_line(attestation::sign_attestation(&app.vault, app.clock.now(), &claims)?)
}

fn check_attested_file(file: &Path, key: &str, json: bool) -> Result<(), CommandError> {
    let claims = attestation::check_file(key, &read_file(file)?)
        .map_err(|why| format!("{}: {why}", file.display()))?;
    if json {
        return print_json(&json!({ "genuine": true, "claims": claims }));
    }
    let what = match &claims.export {
        Some(export) => format!(
            "{} rows of the report {:?} with {}",
            export.rows, export.report, export.parameters
        ),
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

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}
