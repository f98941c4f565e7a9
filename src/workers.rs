//! What happens in the background: tasks that take no input, run periodically and when woken, and may be
//! repeated without harm. Any number of replicas may run them at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::context::{App, clock};
use crate::domain::failure::run::{Claim, End};
use crate::domain::failure::{self, Origin};
use crate::domain::{
    access, bulk, change, disconnect, erasure, event, expiry, health, idempotency, name_key, reconcile, request_log,
    sync, token,
};
use crate::error::Result;
use crate::scim::{self, Replayed};
use crate::{ledger, pull, vault};

/// A row of the ledger joins the chain at most this long after a write on this replica …
const SEAL_DELAY: Duration = Duration::from_millis(30);
/// … and rows that another replica left behind at most this long after.
const SEAL_SWEEP: Duration = Duration::from_secs(5);
/// Whoever follows a ledger hears of what another replica sealed at most this long after.
const LOOK: Duration = Duration::from_millis(500);
/// Who gained or lost a role by a change hears of it this long after it is settled, at most.
const ANNOUNCE: Duration = Duration::from_secs(1);
/// What joined the chain of a ledger is signed at most this long after.
const SIGN: Duration = Duration::from_secs(10);
/// A replica that was not heard of for this long signs no more.
const SIGN_LEASE: TimeDelta = TimeDelta::seconds(20);
/// A failed write that is due is tried again at most this long after.
const RETRY: Duration = Duration::from_secs(5);
/// Last-used times, the request log, what was read and the repeats of failures are at most this late.
const FLUSH: Duration = Duration::from_secs(5);

/// Accounts whose time has come are purged, and what has passed its planned end is closed, at most this long after.
const PURGE: Duration = Duration::from_secs(60);
/// How connections are is judged so often, by one of the replicas.
const JUDGE: Duration = Duration::from_secs(60);
/// A replica that was not heard of for so long judges no more.
const JUDGE_LEASE: TimeDelta = TimeDelta::seconds(150);
/// A comparison whose time has come begins at most this long after.
const COMPARISON_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// So often the last answered write is read back, and a database that refused writes is tried.
const STORAGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A key that an issuer gave up opens nothing here at most this long after.
const REFRESH_KEYS: Duration = Duration::from_secs(5 * 60);
/// The largest SQLite file, in bytes, that is written anew after erasures while writers wait: it takes a few seconds.
const MAX_REWRITE_BYTES: u64 = 512 * 1024 * 1024;
/// The request log's rows and previews outlive their time by this at most.
const FORGET: Duration = Duration::from_secs(60 * 60);

/// Does what must be done before the first request, which finds names by the keys that it makes of them.
pub async fn prepare(app: &Arc<App>) {
    if let Err(error) = name_key::renew_keys(app).await {
        tracing::error!(%error, "renewing the keys of names failed; it goes on at the next start");
    }
}

/// Works until told to stop; then does everything once more and returns.
pub async fn run(app: Arc<App>, stop: watch::Receiver<bool>) {
    // Apart from the chores: a long one must not keep those waiting who follow a ledger, or access.
    tokio::join!(
        chores(&app, stop.clone()),
        look(&app, stop.clone()),
        compare_clocks(&app, stop.clone()),
        announce(&app, stop.clone()),
        judge(&app, stop.clone()),
        begin_comparisons(&app, stop.clone()),
        sign(&app, stop.clone()),
        check_storage(&app, stop.clone()),
        retry(&app, stop)
    );
    if let Err(error) = app.vault.take_leave(&app.store, app.replica).await {
        tracing::warn!(%error, "telling that this server ends failed; it is forgotten after a minute");
    }
    // Last of all: whatever the others wrote while they ended joins the chain, and the chain's end is signed.
    seal(&app).await;
    sign_heads(&app).await;
    // Nobody writes any more: a file of any size is written anew.
    rewrite_erased(&app, u64::MAX).await;
}

/// Reads the sources of connections, and again what could not be carried over, until told to stop.
pub async fn pull(app: Arc<App>, stop: watch::Receiver<bool>) {
    tokio::join!(pull::work(app.clone(), stop.clone()), pull::read_again(app, stop));
}

async fn chores(app: &Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut flush = interval(FLUSH);
    let mut sweep = interval(SEAL_SWEEP);
    let mut purge = interval(PURGE);
    let mut forget = interval(FORGET);
    let mut keys = interval(REFRESH_KEYS);
    let mut beat = interval(vault::BEAT);
    for timer in [&mut flush, &mut sweep, &mut purge, &mut forget, &mut keys, &mut beat] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = flush.tick() => {
                flush_uses(app).await;
                flush_requests(app).await;
                flush_reads(app).await;
                flush_repeats(app).await;
            }
            () = app.requests.news.notified() => flush_requests(app).await,
            _ = sweep.tick() => seal(app).await,
            _ = purge.tick() => {
                purge_due(app).await;
                close_due(app).await;
            }
            _ = forget.tick() => {
                forget_requests(app).await;
                forget_previews(app).await;
                rewrite_erased(app, MAX_REWRITE_BYTES).await;
            }
            _ = keys.tick() => refresh_keys(app),
            _ = beat.tick() => announce_replica(app).await,
            () = app.wake.notified() => {
                // Let a burst gather: one batch seals all of it.
                sleep(SEAL_DELAY).await;
                seal(app).await;
            }
        }
    }
    flush_uses(app).await;
    flush_requests(app).await;
    flush_reads(app).await;
    flush_repeats(app).await;
}

/// Tries failed writes again that are due, one after another.
async fn retry(app: &Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(RETRY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
            () = app.repeats.retries.notified() => {}
        }
        // An attempt that has begun is brought to its end, also when the process is stopping.
        while !*stop.borrow() {
            match retry_next(app).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "trying failed writes again was interrupted; it goes on in a few minutes");
                    break;
                }
            }
        }
    }
}

async fn retry_next(app: &Arc<App>) -> Result<bool> {
    let Some(claim) = failure::run::claim(app, Origin::Request, &[]).await? else { return Ok(false) };
    match claim.attempt().await? {
        Ok(attempt) => match scim::replay(&attempt.cx, &claim.organization.slug, &attempt.payload).await? {
            Replayed::Done => claim.done(failure::Resolution::Retried).await?,
            Replayed::Refused(why) => refused(&claim, why.reason, why.scim_type, why.field.as_deref()).await?,
        },
        Err(End::Done(how)) => claim.done(how).await?,
        Err(End::NotNow) => claim.failed(None).await?,
        Err(End::Nothing) => claim.give_up().await?,
    }
    Ok(true)
}

async fn refused(claim: &Claim, reason: &str, scim_type: Option<&str>, field: Option<&str>) -> Result<()> {
    claim.failed(Some((reason, scim_type, field))).await
}

async fn seal(app: &App) {
    if let Err(error) = ledger::seal(&app.store).await {
        tracing::warn!(%error, "sealing the ledger failed; it is tried again");
    }
    app.heads.sealed.notify_one();
}

/// Signs the ends of the ledgers' chains, if no other replica does.
async fn sign(app: &App, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(SIGN);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
        }
        match app.store.lease("sign ledger heads", app.replica, app.database_time(), SIGN_LEASE).await {
            Ok(true) => sign_heads(app).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "taking the lease to sign ledgers failed; it is tried again"),
        }
    }
}

async fn sign_heads(app: &App) {
    if let Err(error) = ledger::sign_heads(&app.store, &app.vault, app.clock.now()).await {
        tracing::warn!(%error, "signing the ends of the ledgers failed; it is tried again");
    }
}

/// Looks how far the ledgers go that somebody follows: one statement for all of them.
async fn look(app: &App, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(LOOK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
            () = app.heads.sealed.notified() => {}
        }
        if let Err(error) = event::look(app).await {
            tracing::warn!(%error, "reading how far the ledgers go failed; it is tried again");
        }
    }
}

/// Compares this server's clock with the database's and with the ledger.
async fn compare_clocks(app: &App, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(clock::COMPARE_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
        }
        if let Err(error) = clock::compare(app).await {
            tracing::warn!(%error, "comparing the clocks failed; it is tried again");
        }
    }
}

/// Tells whose access moved. What is left when the process stops, the next one tells.
async fn announce(app: &Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(ANNOUNCE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
        }
        tokio::select! {
            () = told(&mut stop) => break,
            done = access::announce(app) => if let Err(error) = done {
                tracing::warn!(%error, "telling whose access changed failed; it is tried again");
            },
        }
    }
}

/// Judges how connections are, if no other replica does.
async fn judge(app: &Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(JUDGE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
        }
        tokio::select! {
            () = told(&mut stop) => break,
            done = judge_all(app) => if let Err(error) = done {
                tracing::warn!(%error, "judging how connections are failed; it is tried again");
            },
        }
    }
}

/// Begins the comparisons whose time has come.
async fn begin_comparisons(app: &Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(COMPARISON_CHECK_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
        }
        tokio::select! {
            () = told(&mut stop) => break,
            done = reconcile::schedule::begin_due(app) => if let Err(error) = done {
                tracing::warn!(%error, "looking for comparisons whose time has come failed; it is tried again");
            },
        }
    }
}

/// Holds the database to its answers: what it committed last is read back over another connection, and after it refused
/// a write it is tried until it takes one.
async fn check_storage(app: &Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut timer = interval(STORAGE_CHECK_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = timer.tick() => {}
        }
        tokio::select! {
            () = told(&mut stop) => break,
            () = read_back(app) => {}
        }
        app.store.close_idle_connections();
        if app.store.health.failure().is_some() && app.store.probe_writes().await.is_ok() {
            app.store.health.report_recovery();
        }
    }
}

async fn read_back(app: &Arc<App>) {
    let Some((organization, event)) = app.last_commit.take() else { return };
    match ledger::find_written(&app.store.authentication, organization, event).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            app.store.distrust_connections();
            app.store.health.report_failure(format!(
                "the change {event} was committed and is not there: writes that were answered may be lost"
            ));
        }
        // It cannot be read at present: the next second asks again.
        Err(_) => app.last_commit.note(organization, event),
    }
}

async fn judge_all(app: &Arc<App>) -> Result<()> {
    if app.store.lease("judge connections", app.replica, app.database_time(), JUDGE_LEASE).await? {
        let changed = health::watch(app).await?;
        if changed > 0 {
            tracing::info!(changed, "the health of connections has changed");
        }
    }
    Ok(())
}

async fn purge_due(app: &Arc<App>) {
    match erasure::purge_due(app).await {
        Ok(0) => {}
        Ok(purged) => tracing::info!(purged, "erased the personal data of deleted accounts whose time had come"),
        Err(error) => tracing::warn!(%error, "purging failed; it is tried again"),
    }
    if let Err(error) = disconnect::give_up_rest(app).await {
        tracing::warn!(%error, "giving up what deleted connections owned failed; it is tried again");
    }
}

async fn close_due(app: &Arc<App>) {
    match expiry::close_due(app).await {
        Ok(0) => {}
        Ok(closed) => tracing::info!(closed, "closed mappings and grants that had passed their planned end"),
        Err(error) => tracing::warn!(%error, "closing what has passed its planned end failed; it is tried again"),
    }
    match reconcile::close_settled_clashes(app).await {
        Ok(0) => {}
        Ok(closed) => tracing::info!(closed, "closed findings about names that meet no other any more"),
        Err(error) => tracing::warn!(%error, "closing findings about names failed; it is tried again"),
    }
    match reconcile::reopen_due(app).await {
        Ok(0) => {}
        Ok(opened) => tracing::info!(opened, "opened findings again that were accepted until now"),
        Err(error) => tracing::warn!(%error, "opening findings again failed; it is tried again"),
    }
}

async fn flush_uses(app: &App) {
    if let Err(error) = token::flush_uses(app).await {
        tracing::warn!(%error, "recording last-used times failed");
    }
}

async fn flush_requests(app: &App) {
    if let Err(error) = request_log::flush(app).await {
        tracing::warn!(%error, "writing the request log failed; it is tried again");
    }
}

async fn flush_reads(app: &App) {
    if let Err(error) = reconcile::reads::flush(app).await {
        tracing::warn!(%error, "writing what was read failed; it is tried again");
    }
}

async fn flush_repeats(app: &Arc<App>) {
    if let Err(error) = failure::flush(app).await {
        tracing::warn!(%error, "writing what failed again failed; it is tried again");
    }
}

/// Others answer these calls, in their own time: nothing here waits for them.
fn refresh_keys(app: &Arc<App>) {
    let app = app.clone();
    tokio::spawn(async move { app.issuers.refresh(app.clock.now()).await });
}

/// Tells that this server runs, and takes over the signing keys that another process has made.
async fn announce_replica(app: &App) {
    match app.vault.announce(&app.store, app.replica).await {
        Ok(vault::Announcement::Made) => {}
        Ok(vault::Announcement::KeyExchanged) => {
            tracing::error!(
                "the master key was exchanged for one that this server does not hold: restart it with that key"
            );
        }
        Err(error) => tracing::warn!(%error, "telling that this server runs failed; it is tried again"),
    }
    if let Err(error) = app.vault.read_signing_keys(&app.store, app.clock.now()).await {
        tracing::warn!(error, "reading the signing keys failed; it is tried again");
    }
}

async fn forget_previews(app: &App) {
    if let Err(error) = change::forget(app).await {
        tracing::warn!(%error, "deleting old previews failed; it is tried again");
    }
}

async fn rewrite_erased(app: &App, max_bytes: u64) {
    if let Err(error) = app.store.rewrite_erased(max_bytes).await {
        tracing::warn!(%error, "removing what erasures left in the database's file failed; it is tried again");
    }
}

async fn forget_requests(app: &Arc<App>) {
    if let Err(error) = request_log::forget(app).await {
        tracing::warn!(%error, "deleting old rows of the request log failed; it is tried again");
    }
    if let Err(error) = failure::forget(app).await {
        tracing::warn!(%error, "forgetting finished failures failed; it is tried again");
    }
    if let Err(error) = idempotency::forget(app).await {
        tracing::warn!(%error, "forgetting old idempotency keys failed; it is tried again");
    }
    if let Err(error) = sync::claim::forget(app).await {
        tracing::warn!(%error, "forgetting old sync runs failed; it is tried again");
    }
    if let Err(error) = reconcile::reads::forget(app).await {
        tracing::warn!(%error, "forgetting what was read failed; it is tried again");
    }
    if let Err(error) = reconcile::forget(app).await {
        tracing::warn!(%error, "forgetting finished findings failed; it is tried again");
    }
    if let Err(error) = bulk::forget(app).await {
        tracing::warn!(%error, "forgetting old bulk jobs failed; it is tried again");
    }
}

/// Done when the process is stopping.
async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same to us.
    let _ = stop.wait_for(|stopping| *stopping).await;
}
