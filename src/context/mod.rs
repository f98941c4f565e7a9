//! Who asks, for which organization, at what time, and the one way to write.
//!
//! Every request gets a [`Cx`]. Reads start at [`Cx::find`], which names the organization; writes go through
//! [`Cx::write`]: one closure, one transaction, one ledger row. Nothing else begins a transaction.

pub mod clock;
mod deadline;
mod fence;
mod process;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use entity::Scoped;
use futures_util::future::BoxFuture;
use sea_orm::{ColumnTrait, DbBackend, DbErr, QueryFilter, Select, SqlErr};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::authz::{self, Action, Actor, Permission};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::issuers::Issuers;
use crate::ledger::{self, Entry, Origin, Part, Written};
use crate::reads::Reads;
use crate::repeats::Repeats;
use crate::requests::Requests;
pub use crate::store::Lease;
use crate::store::{DatabaseFailure, Db, Store, Transaction, Way, judge_failure, probe};
use crate::vault::Vault;

// The names of leases, for those who carry work out under one.
pub use crate::store::{BULK_JOBS, FAILURES, IDEMPOTENCY_KEYS, SYNC_RUNS, TASKS};
pub use clock::Clock;
pub use deadline::within;
pub use fence::lease_lost;
pub use process::{Credential, Heads, LastCommit, Limits, Use, Uses};

/// How often a write that met a deadlock or a serialization failure is tried again.
const ATTEMPTS: u32 = 6;
/// After so long, a write that others were in the way of is not tried again.
const MAX_RETRY_TIME: Duration = Duration::from_secs(8);
/// When the ledger is asked whether a commit was made that the database did not confirm, after that.
const CONFIRM_DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

/// What the whole process shares.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    /// This process among the replicas.
    pub replica: Uuid,
    /// When this process began: what happened before was perhaps heard by nobody.
    pub started_at: DateTime<Utc>,
    pub store: Store,
    pub vault: Vault,
    pub clock: Clock,
    /// Wakes the workers after a write.
    pub wake: Notify,
    /// Wakes whoever carries out bulk jobs.
    pub jobs: Notify,
    /// Wakes whoever carries out sync runs.
    pub syncs: Notify,
    /// Last use of credentials since the last flush.
    pub uses: Uses,
    /// What requests came to since the last flush.
    pub requests: Requests,
    /// What identity providers have read since the last flush.
    pub reads: Reads,
    /// Failures that came again, and what put them right, since the last flush.
    pub repeats: Repeats,
    /// Each connection's share of this replica.
    pub limits: Limits,
    /// How far the ledgers go that somebody follows.
    pub heads: Heads,
    /// The write that was answered last, to be read back.
    pub last_commit: LastCommit,
    /// True once the process was told to stop: what would stay open for ever ends then. Whoever still holds a
    /// receiver is not done.
    pub stopping: watch::Sender<bool>,
    /// Who vouches for people, beside the installation itself.
    pub issuers: Issuers,
}

impl App {
    /// Opens the database, brings it up to date and unlocks the keys.
    ///
    /// # Errors
    /// One line for the operator: what could not be opened and what to do.
    pub async fn open(config: Config) -> Result<Arc<Self>, String> {
        let probed = probe::check(&config.database_url).await;
        probed.map_err(|error| format!("cannot open the database: {error}"))?;
        let store =
            Store::open(&config.database_url).await.map_err(|error| format!("cannot open the database: {error}"))?;
        store.migrate().await.map_err(|error| format!("cannot bring the database up to date: {error}"))?;
        let clock = Clock::default();
        clock::begin(&clock, &store).await.map_err(|error| format!("cannot read the database's clock: {error}"))?;
        let limits = Limits::new(config.scim_rate_limit);
        let vault = Vault::open(&store, &config, clock.now()).await?;
        let issuers = Issuers::new(&config.issuers)?;
        Ok(Arc::new(Self {
            config,
            replica: Uuid::now_v7(),
            started_at: clock.now(),
            store,
            vault,
            clock,
            wake: Notify::new(),
            jobs: Notify::new(),
            syncs: Notify::new(),
            uses: Uses::default(),
            requests: Requests::default(),
            reads: Reads::default(),
            repeats: Repeats::default(),
            limits,
            heads: Heads::default(),
            last_commit: LastCommit::default(),
            stopping: watch::Sender::new(false),
            issuers,
        }))
    }
}

/// One request: who asks, for which organization, since when.
#[derive(Debug, Clone)]
pub struct Cx {
    pub app: Arc<App>,
    pub actor: Actor,
    organization: Uuid,
    /// The organization's way to the database.
    db: Arc<Db>,
    pub request_id: Uuid,
    pub requested_at: DateTime<Utc>,
    /// Which state of the organization's schemas holds, if authentication has read it along.
    pub schema_version: Option<i64>,
    /// Set when a write of this request has left a row in the ledger.
    pub wrote: Arc<AtomicBool>,
    /// The lease under which all of this happens, if it does under one.
    fence: Arc<OnceLock<Lease>>,
    /// Whether each write is undone at its end.
    rehearses: bool,
}

impl Cx {
    /// A context for `actor` inside `organization`.
    pub fn new(app: Arc<App>, actor: Actor, organization: Uuid, request_id: Uuid) -> Self {
        let (requested_at, db) = (app.clock.now(), app.store.for_tenant(organization));
        let (schema_version, wrote, fence) = Default::default();
        Self { app, actor, organization, db, request_id, requested_at, schema_version, wrote, fence, rehearses: false }
    }

    /// The same context, whose writes tell what they would do and are then undone.
    pub fn rehearsal(self) -> Self {
        Self { rehearses: true, ..self }
    }

    /// Whether its writes are undone.
    pub fn rehearses(&self) -> bool {
        self.rehearses
    }

    /// A context for work of rolecall's own.
    pub fn system(app: Arc<App>, organization: Uuid) -> Self {
        Self::new(app, Actor::System, organization, Uuid::now_v7())
    }

    /// The organization that everything in this request happens in.
    pub fn organization(&self) -> Uuid {
        self.organization
    }

    /// Where to read.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Whether what `owner` owns exists for the actor: nobody else's does for a connection.
    pub fn sees(&self, owner: Option<Uuid>) -> bool {
        self.confined_to().is_none_or(|connection| owner == Some(connection))
    }

    /// Which SQL dialect the database speaks.
    pub fn backend(&self) -> DbBackend {
        self.app.store.backend()
    }

    /// Refuses unless the actor may do `action` to a thing owned by `owner`. A connection that reaches for
    /// somebody else's thing is told that it does not exist.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the missing permission, or [`Error::NotFound`].
    pub fn allow(&self, action: Action, owner: Option<Uuid>) -> Result<()> {
        if authz::allows(&self.actor, action, owner) {
            return Ok(());
        }
        match &self.actor {
            Actor::Connection { id, .. } if owner != Some(*id) => Err(Error::not_found("the resource")),
            Actor::Connection { .. } => {
                let scope = action.scope().map_or("that no token has", |scope| scope.name());
                Err(Error::Forbidden(format!("this token lacks the scope {scope}").into()))
            }
            _ => Err(Error::Forbidden(format!("this needs the permission {}", action.permission()).into())),
        }
    }

    /// Whether the actor holds `permission`.
    pub fn holds(&self, permission: Permission) -> bool {
        authz::holds(&self.actor, permission)
    }

    /// The connection that the actor is confined to, if it is one.
    pub fn confined_to(&self) -> Option<Uuid> {
        match &self.actor {
            Actor::Connection { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// A query over this organization's rows of a table: the only way to read one.
    pub fn find<E: Scoped>(&self) -> Select<E> {
        #[allow(clippy::disallowed_methods, reason = "the one place where the organization is added")]
        E::find().filter(E::ORGANIZATION.eq(self.organization))
    }

    /// Runs `body` in one transaction and writes its ledger row in the same. `body` may run again after a
    /// deadlock, so it must have no effect but through its [`Tx`]. A [`Change`] without an entry changed
    /// nothing and leaves no row.
    ///
    /// # Errors
    /// Whatever `body` says; unique constraints become [`Error::Taken`].
    pub async fn write<'env, T, F>(&'env self, body: F) -> Result<T>
    where
        T: Send,
        // A boxed future instead of an async closure: only so can the compiler see that it may change threads.
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        self.app.clock.check_writable()?;
        let (mut attempt, mut follows) = (0, None);
        let began = Instant::now();
        loop {
            attempt += 1;
            if began.elapsed() > MAX_RETRY_TIME {
                attempt = ATTEMPTS;
            }
            // Boxed: a small future for every caller, whatever an attempt needs.
            match Box::pin(self.attempt(&body, follows)).await {
                Err(Failure::Lost) if attempt < ATTEMPTS => attempt -= 1,
                Err(Failure::Lost) => {
                    return Err(Error::Unavailable("writes in the same commit failed again and again".into()));
                }
                Err(Failure::Overtaken(by)) if attempt < ATTEMPTS => follows = Some(by),
                Err(Failure::Overtaken(_)) => return Err(Error::Busy("others change the same all the time".into())),
                Err(Failure::Passing(_)) if attempt < ATTEMPTS => {
                    // Spread the rivals apart; the jitter comes from the random half of a fresh UUID.
                    let jitter = Uuid::new_v4().as_u128() as u64 % 8;
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 4 + jitter)).await;
                }
                Err(Failure::Passing(error) | Failure::Final(error)) => return Err(error),
                Ok(value) => {
                    self.app.wake.notify_one();
                    return Ok(value);
                }
            }
        }
    }

    async fn attempt<'env, T, F>(&'env self, body: &F, follows: Option<DateTime<Utc>>) -> Result<T, Failure>
    where
        T: Send,
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        if self.backend() == DbBackend::Sqlite {
            return self.attempt_in_turn(body, follows).await;
        }
        let db = self.db.begin().await.map_err(Failure::from)?;
        let (db, event, done) = self.carry_out(db, body, follows).await;
        let (value, wrote) = done?;
        if !wrote || self.rehearses {
            // Nothing depends on it: a connection that cannot undo is closed.
            let _ = db.rollback().await;
            return Ok(value);
        }
        if let Err(error) = db.commit().await {
            Box::pin(self.confirm_commit(event, error)).await?;
        }
        self.note_commit(event);
        Ok(value)
    }

    /// On SQLite, where writes share a transaction: see [`Store::begin_write`].
    async fn attempt_in_turn<'env, T, F>(&'env self, body: &F, follows: Option<DateTime<Utc>>) -> Result<T, Failure>
    where
        T: Send,
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        let now = self.app.clock.now().timestamp_micros();
        let (slot, db) = self.app.store.begin_write(now).await.map_err(Failure::from)?;
        let (db, event, done) = self.carry_out(db, body, follows).await;
        let keep = matches!(done, Ok((_, true))) && !self.rehearses;
        let ended = slot.end(db, keep).await;
        let (value, _) = done?;
        if let Some(committed) = ended? {
            if let Err(error) = committed.await.map_err(|_| Failure::Lost)? {
                Box::pin(self.confirm_commit(event, error)).await?;
            }
            self.note_commit(event);
        }
        Ok(value)
    }

    /// Decides about a commit that failed. Where the database may have made it, the ledger is asked for its row.
    async fn confirm_commit(&self, event: Uuid, error: DbErr) -> Result<(), Failure> {
        if judge_failure(&error) != DatabaseFailure::Unknown {
            return Err(error.into());
        }
        match self.find_written(event).await {
            Some(_) => Ok(()),
            None => Err(Failure::Final(self.unknown_outcome(&error))),
        }
    }

    /// What the ledger says of a write whose connection was lost. The database may still be at work on it, or be gone
    /// itself for a moment, so it is asked a few times.
    async fn find_written(&self, event: Uuid) -> Option<Written> {
        for delay in CONFIRM_DELAYS {
            tokio::time::sleep(delay).await;
            let found = ledger::find_written(&self.app.store.read, self.organization, event);
            if let Ok(Ok(Some(written))) = tokio::time::timeout(Duration::from_secs(1), found).await {
                return Some(written);
            }
        }
        None
    }

    fn unknown_outcome(&self, error: &DbErr) -> Error {
        tracing::warn!(request_id = %self.request_id, %error, "a write was not confirmed by the database");
        Error::OutcomeUnknown { request_id: self.request_id }
    }

    fn note_commit(&self, event: Uuid) {
        self.wrote.store(true, Ordering::Relaxed);
        self.app.last_commit.note(self.organization, event);
    }

    /// Runs `body` in a transaction and writes the ledger's rows; tells whether anything is to be kept.
    async fn carry_out<'env, T, F>(
        &'env self,
        db: Transaction,
        body: &F,
        follows: Option<DateTime<Utc>>,
    ) -> (Transaction, Uuid, Result<(T, bool), Failure>)
    where
        T: Send,
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        let tx = Tx { follows, ..Tx::new(self, Way::Transaction(db), true) };
        let done = self.change_and_record(&tx, body).await;
        let (Way::Transaction(db), event) = (tx.db, tx.event) else { unreachable!("it was put in above") };
        (db, event, done)
    }

    async fn change_and_record<'env, T, F>(&'env self, tx: &Tx<'env>, body: &F) -> Result<(T, bool), Failure>
    where
        T: Send,
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        self.check_fence(&tx.db).await?;
        let change = body(tx).await.map_err(Failure::of)?;
        tx.overtaken().map_or(Ok(()), |by| Err(Failure::Overtaken(by)))?;
        let wrote = change.entry.is_some() || !change.followed.is_empty();
        // The commit is looked up, and read back, by one row that it wrote.
        let first_followed = if change.entry.is_some() { Uuid::now_v7() } else { tx.event };
        if let Some(entry) = change.entry
            && !ledger::record(&tx.db, self.origin(), tx.event, entry, change.parts).await?
        {
            // Or its instant was too early, by a clock that has to be compared with the database's.
            clock::compare(&self.app).await?;
            return Err(Failure::Passing(Error::Busy("a locked row is not there any more".into())));
        }
        if !change.followed.is_empty() {
            let told = change.followed.into_iter().map(|Followed { request_id, requested_at, entry }| {
                (Origin { request_id, requested_at, ..self.origin() }, entry)
            });
            ledger::record_followed(&tx.db, first_followed, told.collect()).await?;
        }
        Ok((change.value, wrote))
    }

    /// [`Cx::write`] for what is done all the time: on PostgreSQL `body` first runs without a transaction and
    /// without locks, and its [`Change::parts`] go to the database together with the ledger row as one statement
    /// that holds only if what `body` read is still so. Whatever stands in the way ([`Tx::lock`], another write)
    /// makes it run again as [`Cx::write`] does.
    ///
    /// # Errors
    /// As [`Cx::write`].
    pub async fn write_at_once<'env, T, F>(&'env self, body: F) -> Result<T>
    where
        T: Send,
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        if self.backend() == DbBackend::Postgres && !self.rehearses && self.app.clock.check_writable().is_ok() {
            let db = &self.app.store.write;
            let tx = Tx::new(self, Way::Plain(db), false);
            match body(&tx).await {
                Ok(Change { value, entry: None, .. }) => return Ok(value),
                Ok(_) if tx.overtaken().is_some() => {}
                Ok(Change { mut value, entry: Some(entry), mut parts, settle, .. }) => {
                    // Without a transaction nothing tells that a write is open, so it must not wait for long.
                    parts.iter_mut().take(1).for_each(|part| part.only_soon_after(entry.at));
                    self.fence_statement(parts.first_mut());
                    match ledger::record_at_once(db, self.origin(), tx.event, entry, parts).await {
                        Ok(Some(written)) => {
                            settle(&mut value, written);
                            self.note_commit(tx.event);
                            self.app.wake.notify_one();
                            return Ok(value);
                        }
                        Ok(None) => {}
                        // Nothing is tried twice of which it is not known whether it was done.
                        Err(error) => match judge_failure(&error) {
                            DatabaseFailure::Unknown => {
                                let written = Box::pin(self.find_written(tx.event)).await;
                                let written = written.ok_or_else(|| self.unknown_outcome(&error))?;
                                settle(&mut value, written);
                                self.note_commit(tx.event);
                                self.app.wake.notify_one();
                                return Ok(value);
                            }
                            // The statement did nothing; under locks it turns out what stood in the way.
                            DatabaseFailure::Refused => {
                                if let taken @ Error::Taken { .. } = Error::from(error) {
                                    return Err(taken);
                                }
                            }
                            DatabaseFailure::Unavailable | DatabaseFailure::Internal => return Err(error.into()),
                        },
                    }
                }
                Err(Error::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.write(body).await
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            organization: self.organization,
            actor: &self.actor,
            request_id: self.request_id,
            requested_at: self.requested_at,
        }
    }
}

/// An open write.
#[derive(Debug)]
pub struct Tx<'a> {
    cx: &'a Cx,
    /// Where to read and write inside the transaction.
    pub db: Way<'a>,
    /// The id that this write's ledger row will have; intervals name it.
    pub event: Uuid,
    /// False while [`Cx::write_at_once`] tries to do without a transaction.
    pub locks: bool,
    /// The instant of all that this write does, once it is known.
    instant: OnceLock<DateTime<Utc>>,
    /// What it must come after, learned by an earlier attempt.
    follows: Option<DateTime<Utc>>,
    /// A later change than the instant, of something that was locked after it was taken: in microseconds, 0 = none.
    overtaken: AtomicI64,
}

impl<'a> Tx<'a> {
    fn new(cx: &'a Cx, db: Way<'a>, locks: bool) -> Self {
        let (instant, overtaken) = Default::default();
        Self { cx, db, event: Uuid::now_v7(), locks, instant, follows: None, overtaken }
    }

    fn overtaken(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.overtaken.load(Ordering::Relaxed)).filter(|by| *by != DateTime::UNIX_EPOCH)
    }

    /// What a body says that can do no more without locks: [`Cx::write_at_once`] runs it again under them.
    pub fn needs_locks(&self) -> Error {
        Error::Busy("this change needs a transaction".into())
    }

    /// The instant of the change: take it after the lock, and give the last boundary of what is changed, which it
    /// follows. It is the same for all that one write does, and no two changes of one thing share it: else what was so
    /// before one of them would be half of what another did. A write that locks something that was changed after its
    /// instant is undone and made again.
    pub fn now_after(&self, boundary: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let behind = |boundary| boundary + TimeDelta::microseconds(1);
        let instant = *self.instant.get_or_init(|| {
            let earliest = boundary.max(self.follows).map(behind);
            let now = self.cx.app.clock.now_for_change();
            earliest.map_or(now, |earliest| earliest.max(now))
        });
        match boundary {
            // What this write changes twice has its own instant the second time.
            Some(later) if later > instant => {
                self.overtaken.fetch_max(later.timestamp_micros(), Ordering::Relaxed);
                behind(later)
            }
            _ => instant,
        }
    }

    /// [`Cx::find`] for this write's organization.
    pub fn find<E: Scoped>(&self) -> Select<E> {
        self.cx.find()
    }

    /// The request that writes.
    pub fn request_id(&self) -> Uuid {
        self.cx.request_id
    }

    /// The organization written in.
    pub fn organization(&self) -> Uuid {
        self.cx.organization
    }
}

/// What a write did.
#[derive(Debug)]
pub struct Change<T> {
    pub value: T,
    /// The ledger row; none = nothing changed, and the transaction is rolled back.
    pub entry: Option<Entry>,
    /// What is still to be written, together with the ledger row.
    pub parts: Vec<Part>,
    /// Tells the value what only the database knew, when it was written without locks.
    settle: fn(&mut T, Written),
    /// Rows about what followed from earlier changes.
    pub followed: Vec<Followed>,
}

/// Something that followed from an earlier change, under the request that made that change.
#[derive(Debug)]
pub struct Followed {
    pub request_id: Uuid,
    pub requested_at: DateTime<Utc>,
    pub entry: Entry,
}

impl<T> Change<T> {
    /// A change with its ledger row.
    pub fn made(value: T, entry: Entry) -> Self {
        Self::of_parts(value, entry, Vec::new())
    }

    /// A change that is written together with its ledger row.
    pub fn of_parts(value: T, entry: Entry, parts: Vec<Part>) -> Self {
        Self { value, entry: Some(entry), parts, followed: Vec::new(), settle: |_, _| {} }
    }

    /// [`Change::of_parts`] of a row whose version the database counts on.
    pub fn settled_by(self, settle: fn(&mut T, Written)) -> Self {
        Self { settle, ..self }
    }

    /// The same change of something else, which is not told what only the database knew.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Change<U> {
        Change {
            value: make(self.value),
            entry: self.entry,
            parts: self.parts,
            followed: self.followed,
            settle: |_, _| {},
        }
    }

    /// Writes the parts already, for what has to look at the change before it is done.
    ///
    /// # Errors
    /// [`Error::Busy`] when the row that was locked is not there any more.
    pub async fn write_now(&mut self, tx: &Tx<'_>) -> Result<()> {
        match ledger::write(&tx.db, std::mem::take(&mut self.parts)).await? {
            true => Ok(()),
            false => Err(Error::Busy("a locked row is not there any more".into())),
        }
    }

    /// Nothing had to change.
    pub fn nothing(value: T) -> Self {
        Self { value, entry: None, parts: Vec::new(), followed: Vec::new(), settle: |_, _| {} }
    }

    /// What followed from earlier changes; nothing else changed.
    pub fn followed(value: T, followed: Vec<Followed>) -> Self {
        Self { followed, ..Self::nothing(value) }
    }
}

enum Failure {
    /// Another write was in the way: worth another try.
    Passing(Error),
    Final(Error),
    /// It was undone together with another write, by no fault of its own: to be done again.
    Lost,
    /// Something that it changes was changed at this instant, after its own.
    Overtaken(DateTime<Utc>),
}

impl Failure {
    fn of(error: Error) -> Self {
        match error {
            Error::Busy(_) => Self::Passing(error),
            error => Self::Final(error),
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::of(error.into())
    }
}

/// Which field a unique index speaks of: the index's name on PostgreSQL, the columns on SQLite.
const UNIQUE: &[(&str, &str, &str)] = &[
    ("user_name_live", "user.user_name_key", "userName"),
    ("user_external_live", "user.external_id", "externalId"),
    ("group_external_live", "group.external_id", "externalId"),
    ("connection_name_live", "connection.name", "name"),
    ("role_name_live", "role.name_key", "name"),
    ("role_priority_live", "role.priority", "priority"),
    ("role_mapping_pair_live", "role_mapping.role_id", "mapping"),
    ("role_mapping_waiting_live", "role_mapping.match_value", "mapping"),
    ("role_grant_live", "role_grant.role_id", "grant"),
    ("organization_slug_key", "organization.slug", "slug"),
    ("schema_extension_urn", "schema_extension.urn_key", "urn"),
];

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if let Some(SqlErr::UniqueConstraintViolation(message)) = error.sql_err()
            && let Some((_, _, field)) =
                UNIQUE.iter().find(|(index, columns, _)| message.contains(index) || message.contains(columns))
        {
            return Self::Taken { field };
        }
        let text = error.to_string();
        if matches!(judge_failure(&error), DatabaseFailure::Unavailable | DatabaseFailure::Unknown) {
            return Self::Unavailable(text);
        }
        let passing = ["deadlock detected", "could not serialize", "database is locked", "database table is locked"];
        if passing.iter().any(|sign| text.contains(sign)) {
            return Self::Busy(text);
        }
        Self::Internal(text)
    }
}
