//! What the whole process shares, and how it is opened.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::clock;
use super::{
    Clock, CredentialUsage, LastCommit, LedgerHeads, RateLimits, SignalReaders, TaskOutcomes,
    WriteSignal,
};
use crate::auth::issuers::{Issuers, KeyRings};
use crate::buffers::failure_repeats::FailureRepeats;
use crate::buffers::last_reads::LastReads;
use crate::buffers::request_counts::RequestCounts;
use crate::config::Config;
use crate::crypto::vault::Vault;
use crate::db::{Store, probe};
use crate::trace_context::QueuedJobCauses;

/// Redemptions of one-time links that one address may send to this replica in a second, with bursts
/// of twice as many.
const REDEMPTIONS_PER_SECOND: u32 = 5;
/// Requests about streams of security event tokens that one key may send to this replica in a
/// second, with bursts of twice as many.
const STREAM_REQUESTS_PER_SECOND: u32 = 100;

/// Assertions that one API key may hand to this replica in a second, with bursts of twice as many.
const ASSERTIONS_PER_SECOND: u32 = 200;
/// Steps of sign-ins that one address may take at this replica in a second, with bursts of twice as
/// many. All people in an office have one address.
const SIGN_INS_PER_SECOND: u32 = 20;
/// Lookups of domains that one organization may ask this replica for in a second, with bursts of
/// twice as many.
const DOMAIN_LOOKUPS_PER_SECOND: u32 = 5;

/// What the whole process shares.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    /// This process among the replicas.
    pub replica: Uuid,
    /// When this process started: events before it may have reached no subscriber.
    pub started_at: DateTime<Utc>,
    pub store: Store,
    pub vault: Vault,
    pub clock: Clock,
    /// Wakes the sealer after a write.
    pub wake: WriteSignal,
    /// Wakes the worker that carries out bulk jobs.
    pub jobs: Notify,
    /// Wakes the worker that carries out sync runs.
    pub syncs: Notify,
    /// Wakes the worker that carries out deletions of all accounts.
    pub deletions: Notify,
    /// Wakes the worker that carries out SCIM requests after their answer.
    pub async_requests: Notify,
    /// Wakes the evaluation of the rules of alerts.
    pub alerts: Notify,
    /// Wakes the sending of mail.
    pub mails: Notify,
    /// Wakes the asking of directories for groups that sign-ins left out.
    pub directories: Notify,
    /// What queued the jobs and the runs that wait.
    pub queued_by: QueuedJobCauses,
    /// Last use of credentials since the last flush.
    pub uses: CredentialUsage,
    /// What requests came to since the last flush.
    pub requests: RequestCounts,
    /// What identity providers have read since the last flush.
    pub reads: LastReads,
    /// Failures that came again, and what put them right, since the last flush.
    pub repeats: FailureRepeats,
    /// How the last runs of background tasks ended.
    pub outcomes: TaskOutcomes,
    /// Each connection's share of this replica.
    pub limits: RateLimits,
    /// Each key's share of this replica's decisions.
    pub decision_limits: RateLimits,
    /// Each key's share of this replica's requests about streams of security event tokens.
    pub stream_limits: RateLimits,
    /// Each address's share of this replica's redemptions of one-time links.
    pub redemption_limits: RateLimits,
    /// Each organization's share of this replica's lookups of domains.
    pub domain_lookups: RateLimits,
    /// The ends of the ledgers that subscriptions follow.
    pub heads: LedgerHeads,
    /// The workers that deliver events to destinations.
    pub signals: SignalReaders,
    /// The write that was answered last, to be read back.
    pub last_commit: LastCommit,
    /// True once the process was told to stop: streams without an end are closed then. A task that
    /// still holds a receiver has not finished.
    pub stopping: watch::Sender<bool>,
    /// The trusted issuers beside the installation's own.
    pub issuers: Issuers,
    /// The keys of the issuers that organizations trust.
    pub key_rings: KeyRings,
    /// Each key's share of this replica's assertions.
    pub assertion_limits: RateLimits,
    /// Each address's share of the sign-ins that begin or end at this replica.
    pub sign_in_limits: RateLimits,
}

impl App {
    /// Opens the database, brings it up to date and unlocks the keys.
    ///
    /// # Errors
    /// One line for the operator: what could not be opened and what to do.
    pub async fn open(config: Config) -> Result<Arc<Self>, String> {
        Self::open_with_clock(config, Clock::default()).await
    }

    /// [`App::open`] with a clock that was moved, for a database that is new.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_with_clock(config: Config, clock: Clock) -> Result<Arc<Self>, String> {
        let store = open_store(&config).await?;
        store
            .apply_migrations()
            .await
            .map_err(|error| format!("cannot bring the database up to date: {error}"))?;
        Self::with_store(config, store, clock).await
    }

    /// Opens a database whose tables are up to date, and unlocks the keys. A short command uses
    /// this: it must not change the tables below running servers.
    ///
    /// # Errors
    /// One line for the operator; also if the tables are of another version.
    pub async fn open_without_migration(config: Config) -> Result<Arc<Self>, String> {
        let store = open_store(&config).await?;
        store.require_current_tables().await?;
        Self::with_store(config, store, Clock::default()).await
    }

    /// Refuses unless the tables are up to date.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn require_current_tables(config: &Config) -> Result<(), String> {
        let store = open_store(config).await?;
        let current = store.require_current_tables().await;
        store.close().await;
        current
    }

    async fn with_store(config: Config, store: Store, clock: Clock) -> Result<Arc<Self>, String> {
        clock::start_clock(&clock, &store)
            .await
            .map_err(|error| format!("cannot read the database's clock: {error}"))?;
        let limits = RateLimits::new(config.scim_rate_limit);
        let decision_limits = RateLimits::new(config.decision_rate_limit);
        let vault = Vault::open_vault(&store, &config, clock.now()).await?;
        let issuers = Issuers::new(&config.issuers)?;
        let key_rings = KeyRings::new(config.pull_private_addresses)?;
        Ok(Arc::new(Self {
            config,
            replica: Uuid::now_v7(),
            started_at: clock.now(),
            store,
            vault,
            clock,
            wake: WriteSignal::default(),
            jobs: Notify::new(),
            syncs: Notify::new(),
            deletions: Notify::new(),
            async_requests: Notify::new(),
            alerts: Notify::new(),
            mails: Notify::new(),
            directories: Notify::new(),
            queued_by: QueuedJobCauses::default(),
            uses: CredentialUsage::default(),
            requests: RequestCounts::default(),
            reads: LastReads::default(),
            repeats: FailureRepeats::default(),
            outcomes: TaskOutcomes::default(),
            limits,
            decision_limits,
            stream_limits: RateLimits::new(STREAM_REQUESTS_PER_SECOND),
            redemption_limits: RateLimits::new(REDEMPTIONS_PER_SECOND),
            domain_lookups: RateLimits::new(DOMAIN_LOOKUPS_PER_SECOND),
            heads: LedgerHeads::default(),
            signals: SignalReaders::default(),
            last_commit: LastCommit::default(),
            stopping: watch::Sender::new(false),
            issuers,
            key_rings,
            assertion_limits: RateLimits::new(ASSERTIONS_PER_SECOND),
            sign_in_limits: RateLimits::new(SIGN_INS_PER_SECOND),
        }))
    }
}

async fn open_store(config: &Config) -> Result<Store, String> {
    let failed = |error: String| format!("cannot open the database: {error}");
    probe::check_reachable(&config.database_url).await.map_err(failed)?;
    Store::open_database(&config.database_url).await.map_err(|error| failed(error.to_string()))
}
