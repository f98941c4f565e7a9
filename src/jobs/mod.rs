//! Background tasks. [`PERIODIC_TASKS`] and the queues below them say what each does, when, and on
//! which servers; [`driver`] runs them. A periodic task takes no input and may be repeated without
//! harm. An item of a queue has a lease, so that one server at a time works on it.

mod deferred;
mod domains;
mod driver;
mod mail;
mod outcomes;
mod task;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::sync::watch;
use tracing::Span;
use tracing::field::display;
use uuid::Uuid;

use crate::context::{App, clock, record_caller};
use crate::crypto::vault;
use crate::domain::access::{change_set, expiry, invitation};
use crate::domain::alert;
use crate::domain::audit::event;
use crate::domain::bulk::run::BulkClaim;
use crate::domain::connection::{async_request, delete, health, request_log, scim_token};
use crate::domain::directory::deletion::job::{BatchOutcome, DeletionClaim};
use crate::domain::directory::{deletion, erasure, name_key};
use crate::domain::review;
use crate::domain::review::Origin;
use crate::domain::review::run::{RetryClaim, SkippedAttempt};
use crate::domain::sign_in::replay;
use crate::domain::signal::delivery;
use crate::domain::tenant::idempotency;
use crate::domain::{access, bulk, reconcile, sign_in, sync};
use crate::error::{Error, RefusalReason, Result};
use crate::scim;
use crate::scim::ScimReplayOutcome;
use crate::scim_client::ReadAttemptEnd;
use crate::sign_in::{graph, saml};
use crate::trace_context::job_span;
use crate::{event_delivery, ledger, scim_client};

use driver::{ClaimedWork, ItemOutcome, Tasks};
use task::{AtStop, PeriodicTask, QueueTask};

pub use outcomes::{StoredOutcome, TaskReport, list_tasks};
pub use task::{Replicas, Task};

/// A row of the ledger joins the chain at most this long after a write on this replica.
const SEAL_DELAY: Duration = Duration::from_millis(30);
/// A row that another replica wrote and did not seal joins the chain at most this long after.
const SEAL_INTERVAL: Duration = Duration::from_secs(5);
/// A subscription delivers a row that another replica sealed at most this long after.
const LEDGER_HEAD_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A destination receives an event that another replica sealed at most this long after.
const SIGNAL_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A receiver learns that its stream was paused or resumed at most this long after.
const NOTICE_INTERVAL: Duration = Duration::from_secs(2);
/// A replica that has not renewed its lease for this long no longer announces it.
const NOTICE_LEASE: TimeDelta = TimeDelta::seconds(40);
/// The event about a gained or lost role is written at most this long after the change.
const ACCESS_CHANGE_INTERVAL: Duration = Duration::from_secs(1);
/// The end of a ledger's chain is signed at most this long after a row has joined it.
const SIGNING_INTERVAL: Duration = Duration::from_secs(10);
/// A replica that has not renewed its lease for this long no longer signs.
const SIGNING_LEASE: TimeDelta = TimeDelta::seconds(20);
/// A failed write is retried at most this long after it is due.
const RETRY_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Last-used times, the request log, last reads and the repeats of failures are written this often.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Deleted accounts are erased, and mappings and grants are closed at their planned end, at most
/// this long after they are due.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// One of the replicas evaluates the health of connections this often.
const HEALTH_INTERVAL: Duration = Duration::from_secs(60);
/// A replica that has not renewed its lease for this long no longer evaluates health.
const HEALTH_LEASE: TimeDelta = TimeDelta::seconds(150);
/// One of the replicas evaluates the rules of alerts this often.
const ALERT_INTERVAL: Duration = Duration::from_secs(60);
/// A replica that has not renewed its lease for this long no longer evaluates the rules of alerts.
const ALERT_LEASE: TimeDelta = TimeDelta::seconds(150);
/// Mail that another replica made due, or that was not accepted, is found at most this long after.
const MAIL_INTERVAL: Duration = Duration::from_secs(30);
/// A domain that is due is looked up at most this long after.
const DOMAIN_CHECK_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Metadata that are due are read at most this long after.
const METADATA_INTERVAL: Duration = Duration::from_secs(60);
/// A directory is asked again at most this long after it is due.
const DIRECTORY_INTERVAL: Duration = Duration::from_secs(5);
/// A comparison begins at most this long after it is due.
const COMPARISON_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often the last committed write is read back, and a database that refused writes is tested.
const STORAGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A key that an issuer withdrew is refused at most this long after.
const KEY_REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The largest SQLite file, in bytes, that is rewritten after erasures while the server runs.
/// Writers wait meanwhile, for a few seconds.
const MAX_REWRITE_BYTES: u64 = 512 * 1024 * 1024;
/// Old rows of the request log and old previews are deleted this often.
const FORGET_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// A sync run begins at most this long after its schedule, and is continued at most this long after
/// its server has died.
const SYNC_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// A bulk job that another replica accepted or did not finish is found at most this long after.
const BULK_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// A deletion that another replica accepted or did not finish is found at most this long after.
const DELETION_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// A SCIM request that another replica accepted or did not finish is found at most this long after.
const ASYNC_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long a source that did not answer is not asked again for what failed.
const SOURCE_BACKOFF: Duration = Duration::from_secs(60);

/// Items that one server carries out at once. Writes are retried one after another, because one may
/// need what another has written.
const MAX_CONCURRENT_WRITES: usize = 1;
const MAX_CONCURRENT_READS: usize = 4;
const MAX_CONCURRENT_SYNC_RUNS: usize = 8;
const MAX_CONCURRENT_BULK_JOBS: usize = 4;
const MAX_CONCURRENT_DELETIONS: usize = 2;
const MAX_CONCURRENT_ASYNC_REQUESTS: usize = 4;

/// The tasks that run as a whole each time.
static PERIODIC_TASKS: [PeriodicTask; 26] = [
    PeriodicTask::new(
        "seal ledgers",
        "adds new events to the chain of their ledger",
        SEAL_INTERVAL,
        |app| Box::pin(seal_due_ledgers(app)),
    )
    .activated_by("a change was written", |app| app.wake.notification(), SEAL_DELAY)
    .traced_to(|app| app.wake.take_causes())
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "follow ledger heads",
        "finds the events that subscriptions have not delivered yet",
        LEDGER_HEAD_POLL_INTERVAL,
        |app| Box::pin(follow_ledger_heads(app)),
    )
    .activated_by("this server has sealed events", |app| &app.heads.sealed, Duration::ZERO),
    PeriodicTask::new(
        "deliver events",
        "finds the organizations whose destinations are to be told of events, and begins to",
        SIGNAL_POLL_INTERVAL,
        |app| Box::pin(event_delivery::find_due_organizations(app)),
    )
    .activated_by(
        "this server has sealed events, or a destination changed",
        |app| &app.signals.wake,
        Duration::ZERO,
    )
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "announce stream status",
        "tells receivers of security event tokens that their stream was paused or resumed",
        NOTICE_INTERVAL,
        |app| Box::pin(event_delivery::send_status_notices(app)),
    )
    .one_at_a_time(NOTICE_LEASE),
    PeriodicTask::new(
        "sign ledger heads",
        "signs the end of each chain that has grown",
        SIGNING_INTERVAL,
        |app| Box::pin(sign_ledger_heads(app)),
    )
    .one_at_a_time(SIGNING_LEASE),
    PeriodicTask::new(
        "announce access changes",
        "writes the events about gained and lost roles",
        ACCESS_CHANGE_INTERVAL,
        |app| Box::pin(announce_access_changes(app)),
    ),
    PeriodicTask::new(
        "compare clocks",
        "compares this server's clock with the database's and the ledger",
        clock::COMPARE_INTERVAL,
        |app| Box::pin(compare_clocks(app)),
    ),
    PeriodicTask::new(
        "evaluate health",
        "finds connections that became silent, fail or recovered",
        HEALTH_INTERVAL,
        |app| Box::pin(evaluate_health(app)),
    )
    .one_at_a_time(HEALTH_LEASE),
    PeriodicTask::new(
        "raise alerts",
        "raises and resolves alerts by the rules of each organization",
        ALERT_INTERVAL,
        |app| Box::pin(raise_alerts(app)),
    )
    .activated_by("a rule was changed", |app| &app.alerts, Duration::ZERO)
    .one_at_a_time(ALERT_LEASE),
    PeriodicTask::new(
        "send mail",
        "sends mail about alerts and invitations",
        MAIL_INTERVAL,
        |app| Box::pin(mail::send_due_mails(app)),
    )
    .activated_by(
        "an alert was raised or resolved, or a person was invited",
        |app| &app.mails,
        Duration::ZERO,
    )
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "check domains",
        "looks up again the records of domains that were proven, each once a day",
        DOMAIN_CHECK_INTERVAL,
        |app| Box::pin(domains::check_due_domains(app)),
    ),
    PeriodicTask::new(
        "read provider descriptions",
        "reads again what identity providers publish about themselves, each about once a day",
        METADATA_INTERVAL,
        |app| Box::pin(saml::metadata::refresh_due_metadata(app)),
    ),
    PeriodicTask::new(
        "read left-out groups",
        "asks directories for the groups that sign-ins left out",
        DIRECTORY_INTERVAL,
        |app| Box::pin(graph::answer_due_lookups(app)),
    )
    .activated_by("a sign-in left groups out", |app| &app.directories, Duration::ZERO),
    PeriodicTask::new(
        "begin comparisons",
        "begins the comparisons that are due by their schedule",
        COMPARISON_CHECK_INTERVAL,
        |app| Box::pin(reconcile::schedule::begin_due(app)),
    ),
    PeriodicTask::new(
        "begin sync runs",
        "queues the sync runs that are due by their schedule",
        SYNC_POLL_INTERVAL,
        |app| Box::pin(begin_sync_runs(app)),
    ),
    PeriodicTask::new(
        "check storage",
        "reads the last write back, and tests a database that refused writes",
        STORAGE_CHECK_INTERVAL,
        |app| Box::pin(check_storage(app)),
    ),
    PeriodicTask::new(
        "record credential uses",
        "writes when each token and key was used last",
        FLUSH_INTERVAL,
        |app| Box::pin(flush_uses(app)),
    )
    .at_stop(AtStop::RunOnceMore),
    PeriodicTask::new(
        "record requests",
        "adds the requests that were counted in memory to the request log",
        FLUSH_INTERVAL,
        |app| Box::pin(flush_requests(app)),
    )
    .activated_by("a request was refused in a new way", |app| &app.requests.news, Duration::ZERO)
    .at_stop(AtStop::RunOnceMore),
    PeriodicTask::new(
        "record reads",
        "writes what identity providers have read",
        FLUSH_INTERVAL,
        |app| Box::pin(flush_reads(app)),
    )
    .at_stop(AtStop::RunOnceMore),
    PeriodicTask::new(
        "record failure repeats",
        "counts repeated failures, and resolves those that a success fixed",
        FLUSH_INTERVAL,
        |app| Box::pin(flush_repeats(app)),
    )
    .at_stop(AtStop::RunOnceMore),
    PeriodicTask::new(
        "record task outcomes",
        "writes how the tasks of this server ended, each at most once a minute",
        FLUSH_INTERVAL,
        |app| Box::pin(outcomes::flush_outcomes(app)),
    )
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "erase deleted accounts",
        "erases accounts and connections whose retention has ended",
        EXPIRY_INTERVAL,
        |app| Box::pin(purge_due(app)),
    )
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "close expired access",
        "closes mappings, grants, invitations and findings at their planned end",
        EXPIRY_INTERVAL,
        |app| Box::pin(close_due(app)),
    )
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "delete old records",
        "deletes old rows of logs, queues and previews",
        FORGET_INTERVAL,
        |app| Box::pin(forget_requests(app)),
    )
    .at_stop(AtStop::Complete),
    PeriodicTask::new(
        "refresh issuer keys",
        "fetches the public keys of the trusted issuers",
        KEY_REFRESH_INTERVAL,
        |app| Box::pin(refresh_keys(app)),
    ),
    PeriodicTask::new(
        "announce replica",
        "records that this server runs, and reads the signing keys",
        vault::HEARTBEAT_INTERVAL,
        |app| Box::pin(announce_replica(app)),
    ),
];

/// Failed writes of identity providers.
static FAILED_WRITES: QueueTask = QueueTask::new(
    "retry failed writes",
    "repeats writes of identity providers that failed, one after another",
    RETRY_POLL_INTERVAL,
    MAX_CONCURRENT_WRITES,
)
.activated_by("a retry was asked for", |app| &app.repeats.retries);
/// What sync runs could not apply.
static FAILED_READS: QueueTask = QueueTask::new(
    "read again",
    "reads again from sources what a sync run could not apply",
    RETRY_POLL_INTERVAL,
    MAX_CONCURRENT_READS,
)
.activated_by("a retry was asked for", |app| &app.repeats.readings)
.resting_after_silence(SOURCE_BACKOFF);
/// Sync runs.
static SYNC_RUNS: QueueTask = QueueTask::new(
    "carry out sync runs",
    "reads the sources of connections and applies what they list",
    SYNC_POLL_INTERVAL,
    MAX_CONCURRENT_SYNC_RUNS,
)
.activated_by("a run was queued", |app| &app.syncs);
/// Deletions of all accounts that came through SCIM.
static DELETIONS: QueueTask = QueueTask::new(
    "delete provisioned users",
    "deletes and erases all users that came through SCIM, batch by batch",
    DELETION_POLL_INTERVAL,
    MAX_CONCURRENT_DELETIONS,
)
.activated_by("a deletion was asked for", |app| &app.deletions);
/// SCIM requests that were answered before they were carried out.
static ASYNC_REQUESTS: QueueTask = QueueTask::new(
    "carry out deferred requests",
    "carries out SCIM requests that were accepted with 202, those of a connection in their order",
    ASYNC_POLL_INTERVAL,
    MAX_CONCURRENT_ASYNC_REQUESTS,
)
.activated_by("a request was accepted", |app| &app.async_requests);
/// Bulk jobs.
static BULK_JOBS: QueueTask = QueueTask::new(
    "carry out bulk jobs",
    "carries out uploaded jobs of many operations, line by line",
    BULK_POLL_INTERVAL,
    MAX_CONCURRENT_BULK_JOBS,
)
.activated_by("a job was submitted", |app| &app.jobs);

/// All tasks, in the order in which they are listed.
pub fn all_tasks() -> impl Iterator<Item = &'static Task> {
    let queues =
        [&SYNC_RUNS, &BULK_JOBS, &DELETIONS, &ASYNC_REQUESTS, &FAILED_WRITES, &FAILED_READS];
    PERIODIC_TASKS
        .iter()
        .map(|periodic| &periodic.task)
        .chain(queues.into_iter().map(|queue| &queue.task))
}

/// Renews the keys that names are searched by, before the first request.
pub async fn renew_name_keys(app: &Arc<App>) {
    if let Err(error) = name_key::renew_keys(app).await {
        tracing::error!(%error, "renewing the keys of names failed; the next start continues it");
    }
}

/// Runs the tasks until the server stops; then writes and seals everything that is left.
pub async fn run_until_stopped(app: Arc<App>, stop: watch::Receiver<bool>) {
    let tasks = Tasks { app: &app, stop: &stop };
    // The tasks run independently: a long one must not delay subscriptions or events about access.
    tokio::join!(
        join_all(PERIODIC_TASKS.iter().map(|periodic| tasks.repeat(periodic))),
        retry_failed_writes(&tasks),
        run_deferred_requests(&tasks),
    );
    if let Err(error) = app.vault.take_leave(&app.store, app.replica).await {
        tracing::warn!(%error, "announcing the end of this server failed; the other servers drop \
                                it after a minute");
    }
    // After all other tasks: the rows that they wrote while they ended join the chain, and its end
    // is signed.
    if let Err(error) = seal_due_ledgers(&app).await {
        tracing::warn!(%error, "sealing the ledger failed; the next start seals it");
    }
    if let Err(error) = sign_ledger_heads(&app).await {
        tracing::warn!(%error, "signing the ends of the ledgers failed; the next start signs them");
    }
    if let Err(error) = outcomes::flush_outcomes(&app).await {
        tracing::warn!(%error, "recording the outcomes of tasks failed");
    }
    // All writers have ended, so a file of any size can be rewritten.
    if let Err(error) = app.store.rewrite_erased(u64::MAX).await {
        tracing::warn!(%error, "rewriting the database file after erasures failed; it is tried \
                                again");
    }
}

/// Reads the SCIM sources of connections, retries failed resources and carries out deletions, until
/// the server stops.
pub async fn read_sources(app: Arc<App>, stop: watch::Receiver<bool>) {
    let tasks = Tasks { app: &app, stop: &stop };
    tokio::join!(run_syncs(&tasks), read_again(&tasks), run_deletions(&tasks));
}

/// Carries out deletions of all accounts. At the stop of the server each stops after its batch, and
/// another server continues it.
async fn run_deletions(tasks: &Tasks<'_>) {
    tasks.drain_queue(&DELETIONS, |_busy| claim_deletion(tasks)).await;
}

async fn claim_deletion(tasks: &Tasks<'_>) -> Result<Option<ClaimedWork>> {
    let Some(claim) = deletion::job::claim_next_deletion(tasks.app).await? else {
        return Ok(None);
    };
    let (id, source) = (claim.job.id, claim.job.organization_id);
    let span = job_span(DELETIONS.task.name, tasks.app.queued_by.take_cause(id));
    record_caller(&span, source, None);
    let done = carry_out_deletion(claim, tasks.stop.clone());
    Ok(Some(ClaimedWork { id, source, span, work: Box::pin(async move { done.await.into() }) }))
}

async fn carry_out_deletion(claim: DeletionClaim, stop: watch::Receiver<bool>) -> Result<()> {
    while claim.delete_next_batch().await? == BatchOutcome::More {
        if *stop.borrow() {
            return claim.release().await;
        }
    }
    Ok(())
}

/// Carries out the SCIM requests that were accepted with 202. One that has begun is completed, even
/// if the process is stopping.
async fn run_deferred_requests(tasks: &Tasks<'_>) {
    tasks.drain_queue(&ASYNC_REQUESTS, |_busy| claim_deferred_request(tasks)).await;
}

async fn claim_deferred_request(tasks: &Tasks<'_>) -> Result<Option<ClaimedWork>> {
    let Some(claim) = async_request::claim_next_request(tasks.app).await? else {
        return Ok(None);
    };
    let (id, source) = (claim.request.id, claim.request.connection_id);
    let span = job_span(ASYNC_REQUESTS.task.name, []);
    record_caller(&span, claim.organization.id, Some(source));
    span.record("rolecall.request_id", display(id));
    let done = deferred::carry_out_deferred(claim);
    Ok(Some(ClaimedWork { id, source, span, work: Box::pin(async move { done.await.into() }) }))
}

/// Carries bulk jobs out with `carry_out`, until the server stops. Each job then stops after its
/// current line, and another replica continues it.
pub async fn run_bulk_jobs<W>(
    app: Arc<App>,
    stop: watch::Receiver<bool>,
    carry_out: fn(BulkClaim, watch::Receiver<bool>) -> W,
) where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let tasks = Tasks { app: &app, stop: &stop };
    tasks.drain_queue(&BULK_JOBS, |_busy| claim_bulk_job(&tasks, carry_out)).await;
}

async fn claim_bulk_job<W>(
    tasks: &Tasks<'_>,
    carry_out: fn(BulkClaim, watch::Receiver<bool>) -> W,
) -> Result<Option<ClaimedWork>>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let Some(claim) = bulk::run::claim_next_job(tasks.app).await? else { return Ok(None) };
    let (id, source) = (claim.job.id, claim.job.organization_id);
    let span = job_span(BULK_JOBS.task.name, tasks.app.queued_by.take_cause(id));
    record_caller(&span, source, None);
    let done = carry_out(claim, tasks.stop.clone());
    Ok(Some(ClaimedWork { id, source, span, work: Box::pin(async move { done.await.into() }) }))
}

/// Carries out sync runs. At the stop of the server each run stops where it is, and another server
/// continues it.
async fn run_syncs(tasks: &Tasks<'_>) {
    tasks.drain_queue(&SYNC_RUNS, |_busy| claim_sync_run(tasks)).await;
}

async fn claim_sync_run(tasks: &Tasks<'_>) -> Result<Option<ClaimedWork>> {
    let Some(claim) = sync::lease::claim_next_run(tasks.app).await? else { return Ok(None) };
    let (id, source) = (claim.run.id, claim.run.connection_id);
    let span = job_span(SYNC_RUNS.task.name, tasks.app.queued_by.take_cause(id));
    record_caller(&span, claim.run.organization_id, Some(source));
    let done = scim_client::carry_out_run(claim, tasks.stop.clone());
    Ok(Some(ClaimedWork { id, source, span, work: Box::pin(async move { done.await.into() }) }))
}

/// Reads again what sync runs could not apply, for one failure of a connection at a time. A source
/// that does not answer is not asked for a while, so that the other sources do not wait for it.
async fn read_again(tasks: &Tasks<'_>) {
    tasks.drain_queue(&FAILED_READS, |busy| claim_failed_read(tasks, busy)).await;
}

async fn claim_failed_read(tasks: &Tasks<'_>, busy: Vec<Uuid>) -> Result<Option<ClaimedWork>> {
    let claim = review::run::claim_next_failure(tasks.app, Origin::Sync, &busy).await?;
    let Some(claim) = claim else { return Ok(None) };
    let (id, source) = (claim.failure.id, claim.connection());
    let span = retry_span(&FAILED_READS, &claim);
    let read = scim_client::attempt_read(claim, tasks.stop.clone());
    let work = async move {
        let ReadAttemptEnd { answered, result } = read.await;
        ItemOutcome { result, answered }
    };
    Ok(Some(ClaimedWork { id, source, span, work: Box::pin(work) }))
}

/// Retries the failed writes that are due, one after another. An attempt that has begun is
/// completed, even if the process is stopping.
async fn retry_failed_writes(tasks: &Tasks<'_>) {
    tasks.drain_queue(&FAILED_WRITES, |_busy| claim_failed_write(tasks)).await;
}

async fn claim_failed_write(tasks: &Tasks<'_>) -> Result<Option<ClaimedWork>> {
    let claim = review::run::claim_next_failure(tasks.app, Origin::Request, &[]).await?;
    let Some(claim) = claim else { return Ok(None) };
    let (id, source) = (claim.failure.id, claim.connection());
    let span = retry_span(&FAILED_WRITES, &claim);
    Ok(Some(ClaimedWork {
        id,
        source,
        span,
        work: Box::pin(async move { retry_write(claim).await.into() }),
    }))
}

/// The span of another attempt at what failed.
fn retry_span(queue: &QueueTask, claim: &RetryClaim) -> Span {
    let span = job_span(queue.task.name, []);
    record_caller(&span, claim.organization.id, claim.failure.connection_id);
    span.record("rolecall.request_id", display(claim.request_id));
    span
}

async fn retry_write(claim: RetryClaim) -> Result<()> {
    match claim.prepare_attempt().await? {
        Ok(attempt) => {
            match scim::replay_write(&attempt.cx, &claim.organization.slug, &attempt.payload)
                .await?
            {
                ScimReplayOutcome::Done => claim.mark_done(review::Resolution::Retried).await,
                ScimReplayOutcome::Refused(why) => {
                    record_refusal(&claim, why.reason, why.scim_type, why.field.as_deref()).await
                }
            }
        }
        Err(SkippedAttempt::Done(how)) => claim.mark_done(how).await,
        Err(SkippedAttempt::NotNow) => claim.mark_failed(None).await,
        Err(SkippedAttempt::Nothing) => claim.stop_retrying().await,
    }
}

async fn record_refusal(
    claim: &RetryClaim,
    reason: RefusalReason,
    scim_type: Option<&str>,
    field: Option<&str>,
) -> Result<()> {
    claim.mark_failed(Some((reason, scim_type, field))).await
}

async fn seal_due_ledgers(app: &Arc<App>) -> Result<()> {
    let sealed = ledger::seal_ledgers(&app.store).await;
    app.heads.sealed.notify_one();
    app.signals.wake.notify_one();
    Ok(sealed.map(drop)?)
}

/// Reads the heads of the ledgers that subscriptions follow, with one statement for all of them.
async fn follow_ledger_heads(app: &Arc<App>) -> Result<()> {
    event::publish_ledger_heads(app).await
}

/// Compares this server's clock with the database's and with the ledger.
async fn compare_clocks(app: &Arc<App>) -> Result<()> {
    Ok(clock::compare_clocks(app).await?)
}

/// Writes the events about changed access. After a stop, the next process writes the remaining
/// events.
async fn announce_access_changes(app: &Arc<App>) -> Result<()> {
    if access::announce_changes(app).await? > 0 {
        let span = Span::current();
        app.wake.take_unannounced().iter().for_each(|cause| cause.link_span(&span));
    }
    Ok(())
}

async fn sign_ledger_heads(app: &Arc<App>) -> Result<()> {
    ledger::sign_heads(&app.store, &app.vault, app.clock.now()).await?;
    Ok(())
}

/// Queues the sync runs that are due.
async fn begin_sync_runs(app: &Arc<App>) -> Result<()> {
    if sync::begin_due(app).await? > 0 {
        app.syncs.notify_one();
    }
    Ok(())
}

/// Reads this server's last commit back over another connection. If the database refused a write,
/// makes a test write, until one succeeds.
async fn check_storage(app: &Arc<App>) -> Result<()> {
    read_last_commit_back(app).await;
    app.store.close_idle_connections();
    if app.store.health.current_failure().is_some() && app.store.probe_writes().await.is_ok() {
        app.store.health.report_recovery();
    }
    Ok(())
}

async fn read_last_commit_back(app: &Arc<App>) {
    let Some((organization, event)) = app.last_commit.take_commit() else { return };
    match ledger::find_written(&app.store.authentication, organization, event).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            app.store.distrust_connections();
            app.store.health.report_failure(format!(
                "the change {event} was committed but is missing from the database: acknowledged \
                 writes may be lost"
            ));
        }
        // The read failed: the next check repeats it.
        Err(_) => app.last_commit.note_commit(organization, event),
    }
}

async fn evaluate_health(app: &Arc<App>) -> Result<()> {
    let changed = health::monitor_connections(app).await?;
    if changed > 0 {
        tracing::info!(changed, "the health of connections has changed");
    }
    Ok(())
}

async fn raise_alerts(app: &Arc<App>) -> Result<()> {
    // An organization that was evaluated a moment ago, because a rule was changed, can wait.
    let interval = TimeDelta::from_std(ALERT_INTERVAL / 2).unwrap_or_default();
    alert::evaluate_due(app, interval).await.map(drop)
}

async fn purge_due(app: &Arc<App>) -> Result<()> {
    run_all([
        ("erasing deleted accounts", purge_users(app).await),
        ("releasing the data of deleted connections", delete::release_rest(app).await),
    ])
}

async fn purge_users(app: &Arc<App>) -> Result<()> {
    let purged = erasure::purge_due_users(app).await?;
    if purged > 0 {
        tracing::info!(
            purged,
            "erased the personal data of deleted accounts whose retention period had ended"
        );
    }
    Ok(())
}

async fn close_due(app: &Arc<App>) -> Result<()> {
    let closed = expiry::close_due(app).await;
    log_changed(&closed, "closed mappings and grants that had passed their planned end");
    let kept = sign_in::expiry::keep_last_holders(app).await;
    log_changed(&kept, "kept memberships of last holders although their claims were too old");
    // What could not be looked at must not end.
    let old = match &kept {
        Ok(_) => sign_in::expiry::end_old_claims(app).await,
        Err(_) => Ok(0),
    };
    log_changed(&old, "ended memberships of accounts whose claims were too old");
    let agreed = sign_in::close_agreed_findings(app).await;
    log_changed(&agreed, "compared again what sign-ins and SCIM say");
    let settled = reconcile::close_settled_clashes(app).await;
    log_changed(&settled, "closed findings about names that no longer clash");
    let opened = reconcile::reopen_due(app).await;
    log_changed(&opened, "reopened findings whose acceptance ended");
    let ended = invitation::close_expired(app).await;
    log_changed(&ended, "closed invitations that were not accepted in time");
    run_all([
        ("closing mappings and grants past their planned end", closed.map(drop)),
        ("closing invitations", ended.map(drop)),
        ("keeping what last holders need", kept.map(drop)),
        ("ending old claims", old.map(drop)),
        ("comparing claims again", agreed.map(drop)),
        ("closing findings about names", settled.map(drop)),
        ("reopening findings", opened.map(drop)),
    ])
}

fn log_changed(changed: &Result<u64>, message: &'static str) {
    if let Ok(count @ 1..) = changed {
        tracing::info!(count, "{message}");
    }
}

/// The outcome of a task of several steps, each of which was tried: the first error. Each failed
/// step is logged.
fn run_all<const STEPS: usize>(steps: [(&'static str, Result<()>); STEPS]) -> Result<()> {
    let mut first = Ok(());
    for (step, done) in steps {
        if let Err(error) = done {
            tracing::warn!(%error, "{step} failed; it is tried again");
            first = first.and(Err(error));
        }
    }
    first
}

async fn flush_uses(app: &Arc<App>) -> Result<()> {
    scim_token::flush_credential_uses(app).await
}

async fn flush_requests(app: &Arc<App>) -> Result<()> {
    request_log::flush_request_counts(app).await
}

async fn flush_reads(app: &Arc<App>) -> Result<()> {
    reconcile::reads::flush_reads(app).await
}

async fn flush_repeats(app: &Arc<App>) -> Result<()> {
    review::flush_repeats(app).await
}

async fn refresh_keys(app: &Arc<App>) -> Result<()> {
    app.issuers.refresh_all_keys(app.clock.now()).await;
    Ok(())
}

/// Records that this server runs, and reads the signing keys that another process has created.
async fn announce_replica(app: &Arc<App>) -> Result<()> {
    let announced = app.vault.announce_replica(&app.store, app.replica).await;
    if let Ok(vault::ReplicaAnnouncement::KeyExchanged) = announced {
        tracing::error!(
            "the master key was exchanged for one that this server does not hold: restart it with \
             that key"
        );
    }
    let read = app.vault.read_signing_keys(&app.store, app.clock.now()).await;
    run_all([
        ("announcing this server", announced.map(drop).map_err(Error::from)),
        ("reading the signing keys", read.map_err(Error::Internal)),
    ])
}

async fn forget_requests(app: &Arc<App>) -> Result<()> {
    run_all([
        ("deleting old rows of the request log", request_log::delete_old_rows(app).await),
        ("deleting finished failures", review::forget_failures(app).await),
        ("deleting old idempotency keys", idempotency::forget_expired_keys(app).await.map(drop)),
        (
            "deleting sessions of identity providers that are over",
            sign_in::provider_session::forget_ended_sessions(app).await.map(drop),
        ),
        ("deleting old assertions", replay::forget_expired_assertions(app).await.map(drop)),
        ("deleting old sync runs", sync::lease::forget_old_runs(app).await),
        ("deleting old records of reads", reconcile::reads::forget_old_reads(app).await),
        ("deleting finished findings", reconcile::forget_old_findings(app).await),
        ("deleting old deletions", deletion::job::forget_old_jobs(app).await),
        ("deleting old bulk jobs", bulk::forget_expired_jobs(app).await.map(drop)),
        ("deleting old deliveries", delivery::forget_old_deliveries(app).await),
        ("deleting alerts that are over", alert::forget_resolved(app).await),
        ("deleting old previews", change_set::forget_previews(app).await),
        ("deleting invitations that ended", invitation::forget_ended(app).await),
        (
            "rewriting the database file after erasures",
            app.store.rewrite_erased(MAX_REWRITE_BYTES).await.map_err(Error::from),
        ),
    ])
}
