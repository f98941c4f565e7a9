//! Carries bulk jobs out, each line through the same schema as a request.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::auth::ApiCaller;
use super::line::{BulkLineOutcome, BulkOperation};
use crate::auth::policy::Actor;
use crate::context::keep_lease;
use crate::domain::bulk::run;
use crate::domain::bulk::run::BulkClaim;
use crate::error::Result;
use crate::graphql::error_code::ErrorCode;

/// How often a run renews its lease, stores its progress and checks whether it must end.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(500);
/// How often it does so while one line is carried out.
const RENEWAL_INTERVAL_DURING_LINE: Duration = Duration::from_secs(15);

/// Carries out a job that was claimed. When the server shuts down, the job stops after its current
/// line, and another replica continues it.
///
/// # Errors
/// Those of this server: the job goes on when its lease has ended.
pub async fn carry_out_job(mut claim: BulkClaim, stop: watch::Receiver<bool>) -> Result<()> {
    run_remaining_lines(&mut claim, &stop).await
}

/// Carries out the remaining lines of a job.
async fn run_remaining_lines(claim: &mut BulkClaim, stop: &watch::Receiver<bool>) -> Result<()> {
    let mut renewed: Option<Instant> = None;
    let mut first = true;
    loop {
        let part = claim.next_lines().await?;
        if part.is_empty() {
            return claim.finish_job(None).await;
        }
        for line in part {
            if *stop.borrow() || claim.cx.app.clock.write_fault().is_some() {
                return claim.release_job().await;
            }
            // If an earlier run ended early, it may have carried out the first line that is left.
            if std::mem::take(&mut first) && claim.was_done(&line).await? {
                let lost = "this line was carried out, but the server stopped before it stored \
                            the result; read the current state";
                if !store_outcome(
                    claim,
                    &line,
                    BulkLineOutcome::from_refusal(None, ErrorCode::ResultLost, lost),
                )
                .await?
                {
                    return Ok(());
                }
                continue;
            }
            if renewed.is_none_or(|at| at.elapsed() >= RENEWAL_INTERVAL) {
                if let Some(end) = claim.renew_lease().await? {
                    return claim.finish_job(Some(end)).await;
                }
                renewed = Some(Instant::now());
            }
            let outcome = match claim.line_actor().await? {
                Ok(actor) => run_line(claim, &line, actor).await,
                Err(end) => return claim.finish_job(Some(end)).await,
            };
            // Another run holds the job, and stores the outcome of the line.
            if !store_outcome(claim, &line, outcome).await? {
                return Ok(());
            }
        }
    }
}

/// Carries a line out. While a line takes long, the lease of the run is renewed; whether the run
/// must end is checked after the line.
async fn run_line(claim: &BulkClaim, line: &run::Line, actor: Actor) -> BulkLineOutcome {
    let Some(input) = &line.input else {
        return BulkLineOutcome::from_refusal(
            None,
            ErrorCode::NotFound,
            "the account was erased before this line was carried out",
        );
    };
    let read = match BulkOperation::parse_line(input) {
        Ok(read) => read,
        Err(why) => return BulkLineOutcome::from_refusal(None, ErrorCode::BadUserInput, &why),
    };
    let work = read.run_as(ApiCaller::for_deferred_work(claim.line_cx(line, actor)));
    let interval = RENEWAL_INTERVAL_DURING_LINE;
    let renew = async || claim.renew_lease().await.map(|_| None::<Infallible>);
    tokio::select! {
        outcome = work => outcome,
        never = keep_lease(interval, interval, renew) => match never {},
    }
}

async fn store_outcome(
    claim: &mut BulkClaim,
    line: &run::Line,
    outcome: BulkLineOutcome,
) -> Result<bool> {
    let words = outcome.words.map(|words| words.to_string());
    claim.settle_line(line, outcome.failed, outcome.result.to_string(), words).await
}
