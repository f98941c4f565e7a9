//! Carrying jobs out: a few at once on this server, each line through the same schema as a request by itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::auth::Caller;
use super::super::streams::told;
use super::line::{Line, Outcome};
use crate::authz::Actor;
use crate::context::App;
use crate::domain::bulk::run::{self, Claim};
use crate::error::Result;

/// Jobs that are carried out at once on one server process.
const AT_ONCE: usize = 4;
/// A job that another replica took in, or left behind, is looked for this often.
const LOOK: Duration = Duration::from_secs(5);
/// How often a run says how far it is, and hears whether it must end.
const RENEW: Duration = Duration::from_millis(500);
/// How often it says so while one line is carried out.
const RENEW_DURING_LINE: Duration = Duration::from_secs(15);

/// Carries jobs out until told to stop; then each ends after the line that it is at, for another replica to go on.
pub async fn work(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = look.tick() => {}
            () = app.jobs.notified() => {}
            Some(_) = running.join_next() => {}
        }
        // While the clock keeps changes from being written, lines would only fail.
        while running.len() < AT_ONCE && app.clock.fault().is_none() {
            match run::claim(&app).await {
                Ok(Some(claim)) => drop(running.spawn(carry_out(claim, stop.clone()))),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "looking for bulk jobs failed; it is tried again");
                    break;
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

async fn carry_out(mut claim: Claim, stop: watch::Receiver<bool>) {
    if let Err(error) = lines(&mut claim, &stop).await {
        tracing::warn!(%error, job = %claim.job.id, "a bulk job was interrupted; it goes on in a minute");
    }
}

/// Carries out what is left of a job.
async fn lines(claim: &mut Claim, stop: &watch::Receiver<bool>) -> Result<()> {
    let mut renewed: Option<Instant> = None;
    let mut first = true;
    loop {
        let part = claim.next().await?;
        if part.is_empty() {
            return claim.finish(None).await;
        }
        for line in part {
            if *stop.borrow() || claim.cx.app.clock.fault().is_some() {
                return claim.release().await;
            }
            // A run before this one, if any, ended at the first line that it left.
            if std::mem::take(&mut first) && claim.was_done(&line).await? {
                let lost =
                    "this was done, but the server died before it could say what came of it; read what is there now";
                if !settle(claim, &line, Outcome::refused(None, "RESULT_LOST", lost)).await? {
                    return Ok(());
                }
                continue;
            }
            if renewed.is_none_or(|at| at.elapsed() >= RENEW) {
                if let Some(end) = claim.renew().await? {
                    return claim.finish(Some(end)).await;
                }
                renewed = Some(Instant::now());
            }
            let outcome = match claim.actor().await? {
                Ok(actor) => carry_line(claim, &line, actor).await,
                Err(end) => return claim.finish(Some(end)).await,
            };
            // Another run holds the job: that one says what came of the line.
            if !settle(claim, &line, outcome).await? {
                return Ok(());
            }
        }
    }
}

/// Carries a line out. A line that takes long says meanwhile that the run is alive; whether the run must end is asked
/// after it.
async fn carry_line(claim: &Claim, line: &run::Line, actor: Actor) -> Outcome {
    let Some(input) = &line.input else {
        return Outcome::refused(None, "NOT_FOUND", "the account was erased before the line's turn came");
    };
    let read = match Line::read(input) {
        Ok(read) => read,
        Err(why) => return Outcome::refused(None, "BAD_USER_INPUT", &why),
    };
    let mut work = pin!(read.run(Caller::absent(claim.line_cx(line, actor))));
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            () = sleep(RENEW_DURING_LINE) => if let Err(error) = claim.renew().await {
                tracing::warn!(%error, job = %claim.job.id, "a bulk job could not say that it is alive; it tries again");
            },
        }
    }
}

async fn settle(claim: &mut Claim, line: &run::Line, outcome: Outcome) -> Result<bool> {
    let words = outcome.words.map(|words| words.to_string());
    claim.settle(line, outcome.failed, outcome.result.to_string(), words).await
}
