//! What happens in the background: tasks that take no input, run periodically and when woken, and may be
//! repeated without harm. Any number of replicas may run them at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::context::App;
use crate::domain::token;
use crate::ledger;

/// A row of the ledger joins the chain at most this long after a write on this replica …
const SEAL_DELAY: Duration = Duration::from_millis(100);
/// … and rows that another replica left behind at most this long after.
const SEAL_SWEEP: Duration = Duration::from_secs(5);
/// Last-used times are at most this late.
const FLUSH: Duration = Duration::from_secs(5);

/// Works until told to stop; then does everything once more and returns.
pub async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut flush = interval(FLUSH);
    let mut sweep = interval(SEAL_SWEEP);
    for timer in [&mut flush, &mut sweep] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = flush.tick() => flush_uses(&app).await,
            _ = sweep.tick() => seal(&app).await,
            () = app.wake.notified() => {
                // Let a burst gather: one batch seals all of it.
                sleep(SEAL_DELAY).await;
                seal(&app).await;
            }
        }
    }
    seal(&app).await;
    flush_uses(&app).await;
}

async fn seal(app: &App) {
    if let Err(error) = ledger::seal(&app.store).await {
        tracing::warn!(%error, "sealing the ledger failed; it is tried again");
    }
}

async fn flush_uses(app: &App) {
    if let Err(error) = token::flush_uses(app).await {
        tracing::warn!(%error, "recording last-used times failed");
    }
}

/// Done when the process is stopping.
async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same to us.
    let _ = stop.wait_for(|stopping| *stopping).await;
}
