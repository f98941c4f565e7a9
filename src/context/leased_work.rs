//! Carrying work out under a lease, which is renewed while the work goes on, until the process
//! stops.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::error::Result;

/// Renews a lease with `renew` every `interval`, for the first time after `first`. Completes when
/// `renew` says how the work must end. A renewal that fails is tried again: without its lease, the
/// work writes nothing.
pub async fn keep_lease<E, R>(first: Duration, interval: Duration, renew: impl Fn() -> R) -> E
where
    R: Future<Output = Result<Option<E>>>,
{
    let mut timer = interval_at(Instant::now() + first, interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match renew().await {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(error) => tracing::warn!(%error, "renewing a lease failed; it is tried again"),
        }
    }
}

/// Completes when the process is told to stop.
pub async fn shutdown_requested(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender was dropped, which also means that the server stops.
    let _ = stop.wait_for(|stopping| *stopping).await;
}
