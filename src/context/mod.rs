//! Who asks, for which organization, at what time, and the one way to write.
//!
//! Every request gets a [`Cx`]. Reads start at [`Cx::find`], which names the organization; writes
//! go through [`Cx::write`]: one closure, one transaction, one ledger row. Nothing else begins a
//! transaction.

mod app;
mod caller_ids;
pub mod clock;
mod deadline;
mod fence;
mod last_commit;
mod leased_work;
mod ledger_heads;
pub mod local_issuer;
mod rate_limit;
mod signal_readers;
mod statement;
mod write_signal;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use entity::Scoped;
use futures_util::future::BoxFuture;
use sea_orm::{ColumnTrait, DbBackend, DbErr, QueryFilter, Select, SqlErr};
use uuid::Uuid;

use crate::auth::policy;
use crate::auth::policy::{Action, Actor, Permission};
use crate::db::{DatabaseFailure, Db, Executor, Transaction, judge_failure};
pub use crate::db::{Lease, in_background};
use crate::error::{Error, Noun, Result};
use crate::ledger;
use crate::ledger::{EventOrigin, NewEvent, RowVersion, WriteStep};

// How a raw statement is written, for those who ask a Cx for one.
pub use crate::db::{SqlBuilder, sql};
// The names of leases, for those who carry work out under one.
pub use crate::buffers::credential_usage::{Credential, CredentialUsage, CredentialUse};
pub use crate::buffers::task_outcomes::{TaskOutcome, TaskOutcomes, UnwrittenOutcome};
pub use crate::db::{
    ASYNC_REQUESTS, BULK_JOBS, ClaimedRow, DELETION_JOBS, FAILURES, IDEMPOTENCY_KEYS, LeaseClaim,
    SYNC_RUNS, TASKS,
};
pub use app::App;
pub use caller_ids::{CallerIds, SentRequestId, record_caller};
pub use clock::Clock;
pub use deadline::run_within;
pub use fence::lease_lost;
pub use last_commit::LastCommit;
pub use leased_work::{keep_lease, shutdown_requested};
pub use ledger_heads::LedgerHeads;
pub use rate_limit::RateLimits;
pub use signal_readers::{ReaderNews, SignalReaders};
pub use write_signal::WriteSignal;

/// How many times a write is attempted that meets deadlocks or serialization failures.
const MAX_WRITE_ATTEMPTS: u32 = 6;
/// After this time, a write that conflicted with others is not tried again.
const MAX_RETRY_TIME: Duration = Duration::from_secs(8);
/// Delays before the queries that ask the ledger whether an unconfirmed commit was made.
const CONFIRM_DELAYS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

/// What a write does in its transaction, without the type of its value.
type WriteBody<'a, 'env> =
    dyn for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<()>>> + Send + Sync + 'a;

/// The event with the reason that a person gave, unless it names one itself.
pub fn with_reason(mut entry: NewEvent, reason: &str) -> NewEvent {
    let after = entry.after.get_or_insert_with(|| serde_json::json!({}));
    if let Some(values) = after.as_object_mut() {
        let known = values.entry("reason").or_insert(serde_json::Value::Null);
        if known.is_null() {
            *known = reason.into();
        }
    }
    entry
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
    /// The version of the organization's schemas, if authentication has read it.
    pub schema_version: Option<i64>,
    /// The token of this request, if an identity provider sent one.
    pub scim_token: Option<Uuid>,
    /// The account whose sign-in opened the session of this request, if it is in one.
    pub session_of: Option<Uuid>,
    /// Set when a write of this request has left a row in the ledger.
    pub wrote: Arc<AtomicBool>,
    /// The lease under which all of this happens, if it does under one.
    fence: Arc<OnceLock<Lease>>,
    /// Whether each write is undone at its end.
    rehearses: bool,
    /// Why a person does this, as each event of this request says.
    reason: Option<Arc<str>>,
}

impl Cx {
    /// A context for `actor` inside `organization`.
    pub fn new(app: Arc<App>, actor: Actor, organization: Uuid, request_id: Uuid) -> Self {
        let (requested_at, db) = (app.clock.now(), app.store.for_tenant(organization));
        let (schema_version, wrote, fence) = Default::default();
        Self {
            app,
            actor,
            organization,
            db,
            request_id,
            requested_at,
            schema_version,
            scim_token: None,
            session_of: None,
            wrote,
            fence,
            rehearses: false,
            reason: None,
        }
    }

    /// The same context, whose events say that a person gave this reason.
    pub fn with_reason(&self, reason: Option<String>) -> Self {
        Self { reason: reason.map(Into::into), ..self.clone() }
    }

    /// The event with the reason that a person gave, unless it names one itself.
    fn add_reason(&self, entry: NewEvent) -> NewEvent {
        match &self.reason {
            Some(reason) => with_reason(entry, reason),
            None => entry,
        }
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

    /// The same request in another organization, for what the operator does with one.
    pub fn in_organization(&self, organization: Uuid) -> Self {
        let Self { app, actor, request_id, .. } = self;
        let inside = Self::new(app.clone(), actor.clone(), organization, *request_id);
        Self { requested_at: self.requested_at, wrote: self.wrote.clone(), ..inside }
    }

    /// The organization that everything in this request happens in.
    pub fn organization(&self) -> Uuid {
        self.organization
    }

    /// Where to read.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Whether the actor can see what `owner` owns: a connection sees only what it owns itself.
    pub fn owns(&self, owner: Option<Uuid>) -> bool {
        self.confined_to().is_none_or(|connection| owner == Some(connection))
    }

    /// Which SQL dialect the database speaks.
    pub fn backend(&self) -> DbBackend {
        self.app.store.backend()
    }

    /// Refuses unless the actor may do `action` to a thing owned by `owner`. For a connection, what
    /// another connection owns does not exist.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the missing permission, or [`Error::NotFound`].
    pub fn allow(&self, action: Action, owner: Option<Uuid>) -> Result<()> {
        if policy::allows(&self.actor, action, owner) {
            return Ok(());
        }
        match &self.actor {
            Actor::Connection { id, .. } if owner != Some(*id) => {
                Err(Error::not_found(Noun::Resource))
            }
            Actor::Connection { .. } => {
                let scope = action.scope().map_or("that no token has", |scope| scope.name());
                Err(Error::Forbidden(format!("this token lacks the scope {scope}").into()))
            }
            _ => {
                let permission = action.permission();
                let why = format!("this needs the permission {permission}");
                Err(Error::lacks_permission(permission.name(), why))
            }
        }
    }

    /// Whether the actor holds `permission`.
    pub fn holds(&self, permission: Permission) -> bool {
        policy::holds(&self.actor, permission)
    }

    /// The API key of this request, if it has one.
    pub fn api_key(&self) -> Option<Uuid> {
        match &self.actor {
            Actor::Key { id, .. } => Some(*id),
            _ => None,
        }
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
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place where the organization is added"
        )]
        E::find().filter(E::ORGANIZATION.eq(self.organization))
    }

    /// Runs `body` in one transaction and writes its ledger row in the same. `body` may run again
    /// after a deadlock, so it must have no effect but through its [`Tx`]. A [`Change`] without an
    /// entry changed nothing and leaves no row.
    ///
    /// # Errors
    /// Whatever `body` says; unique constraints become [`Error::Taken`].
    pub async fn write<'env, T, F>(&'env self, body: F) -> Result<T>
    where
        T: Send + 'env,
        // A boxed future instead of an async closure: only so can the compiler see that it may
        // change threads.
        F: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        // Only this function is compiled for each kind of value; what it calls is compiled once.
        let latest = Arc::new(Mutex::new(None));
        let body_without_value: &WriteBody<'_, 'env> = &|tx| {
            let (change, latest) = (body(tx), latest.clone());
            Box::pin(async move {
                let mut value = None;
                let change = change.await?.map(|produced| value = Some(produced));
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = value;
                Ok(change)
            })
        };
        self.write_until_done(body_without_value).await?;
        let value = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| Error::Internal("a write has ended without its value".into()))
    }

    /// Attempts a write again and again, until it is done or has failed for good.
    async fn write_until_done<'env>(&'env self, body: &WriteBody<'_, 'env>) -> Result<()> {
        self.app.clock.check_writable()?;
        let (mut attempt, mut follows) = (0, None);
        let began = Instant::now();
        loop {
            attempt += 1;
            if began.elapsed() > MAX_RETRY_TIME {
                attempt = MAX_WRITE_ATTEMPTS;
            }
            // Boxed: a small future for every caller, whatever an attempt needs.
            match Box::pin(self.attempt_write(body, follows)).await {
                Err(WriteFailure::Lost) if attempt < MAX_WRITE_ATTEMPTS => attempt -= 1,
                Err(WriteFailure::Lost) => {
                    return Err(Error::Unavailable(
                        "writes in the same commit failed again and again".into(),
                    ));
                }
                Err(WriteFailure::Overtaken(by)) if attempt < MAX_WRITE_ATTEMPTS => {
                    follows = Some(by)
                }
                Err(WriteFailure::Overtaken(_)) => {
                    return Err(Error::Busy("others change the same all the time".into()));
                }
                Err(WriteFailure::Passing(_)) if attempt < MAX_WRITE_ATTEMPTS => {
                    // Spread the competing writes; the jitter comes from the random half of a fresh
                    // UUID.
                    let jitter = Uuid::new_v4().as_u128() as u64 % 8;
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 4 + jitter))
                        .await;
                }
                Err(WriteFailure::Passing(error) | WriteFailure::Final(error)) => {
                    return Err(error);
                }
                Ok(()) => {
                    self.app.wake.notify_write();
                    return Ok(());
                }
            }
        }
    }

    async fn attempt_write<'env>(
        &'env self,
        body: &WriteBody<'_, 'env>,
        follows: Option<DateTime<Utc>>,
    ) -> Result<(), WriteFailure> {
        if self.backend() == DbBackend::Sqlite {
            return self.attempt_in_turn(body, follows).await;
        }
        let db = self.db.begin_transaction().await.map_err(WriteFailure::from)?;
        let (db, event, done) = self.carry_out(db, body, follows).await;
        if !done? || self.rehearses {
            // The result does not matter: a connection whose rollback fails is closed.
            let _ = db.rollback().await;
            return Ok(());
        }
        if let Err(error) = db.commit().await {
            Box::pin(self.confirm_commit(event, error)).await?;
        }
        self.note_commit(event);
        Ok(())
    }

    /// On SQLite, where writes share a transaction: see [`crate::db::Store::begin_write`].
    async fn attempt_in_turn<'env>(
        &'env self,
        body: &WriteBody<'_, 'env>,
        follows: Option<DateTime<Utc>>,
    ) -> Result<(), WriteFailure> {
        let now = self.app.clock.now().timestamp_micros();
        let (slot, db) = self.app.store.begin_write(now).await.map_err(WriteFailure::from)?;
        let (db, event, done) = self.carry_out(db, body, follows).await;
        let keep = matches!(done, Ok(true)) && !self.rehearses;
        let ended = slot.finish_write(db, keep).await;
        done?;
        if let Some(committed) = ended? {
            if let Err(error) = committed.await.map_err(|_| WriteFailure::Lost)? {
                Box::pin(self.confirm_commit(event, error)).await?;
            }
            self.note_commit(event);
        }
        Ok(())
    }

    /// Decides about a commit that failed. Where the database may have made it, the ledger is asked
    /// for its row.
    async fn confirm_commit(&self, event: Uuid, error: DbErr) -> Result<(), WriteFailure> {
        if judge_failure(&error) != DatabaseFailure::Unknown {
            return Err(error.into());
        }
        match self.find_written(event).await {
            Some(_) => Ok(()),
            None => Err(WriteFailure::Final(self.unknown_outcome(&error))),
        }
    }

    /// What the ledger says of a write whose connection was lost. The database may still be at work
    /// on it, or be gone itself for a moment, so it is asked a few times.
    async fn find_written(&self, event: Uuid) -> Option<RowVersion> {
        for delay in CONFIRM_DELAYS {
            tokio::time::sleep(delay).await;
            let found = ledger::find_written(&self.app.store.read, self.organization, event);
            if let Ok(Ok(Some(written))) = tokio::time::timeout(Duration::from_secs(1), found).await
            {
                return Some(written);
            }
        }
        None
    }

    fn unknown_outcome(&self, error: &DbErr) -> Error {
        tracing::warn!(request_id = %self.request_id, %error, "a write was not confirmed by the \
            database");
        Error::OutcomeUnknown { request_id: self.request_id }
    }

    fn note_commit(&self, event: Uuid) {
        self.wrote.store(true, Ordering::Relaxed);
        self.app.last_commit.note_commit(self.organization, event);
    }

    /// Runs `body` in a transaction and writes the ledger's rows; tells whether anything is to be
    /// kept.
    async fn carry_out<'env>(
        &'env self,
        db: Transaction,
        body: &WriteBody<'_, 'env>,
        follows: Option<DateTime<Utc>>,
    ) -> (Transaction, Uuid, Result<bool, WriteFailure>) {
        let tx = Tx { follows, ..Tx::new(self, Executor::Transaction(db), true) };
        let done = self.change_and_record(&tx, body).await;
        let (Executor::Transaction(db), event) = (tx.db, tx.event) else {
            unreachable!("it was put in above")
        };
        (db, event, done)
    }

    async fn change_and_record<'env>(
        &'env self,
        tx: &Tx<'env>,
        body: &WriteBody<'_, 'env>,
    ) -> Result<bool, WriteFailure> {
        self.check_fence(&tx.db).await?;
        let change = body(tx).await.map_err(WriteFailure::of)?;
        tx.superseded_at().map_or(Ok(()), |by| Err(WriteFailure::Overtaken(by)))?;
        let wrote = change.entry.is_some() || !change.followed.is_empty();
        // The commit is looked up, and read back, by one row that it wrote.
        let first_followed = if change.entry.is_some() { Uuid::now_v7() } else { tx.event };
        if let Some(entry) = change.entry.map(|entry| self.add_reason(entry))
            && !ledger::record_event(&tx.db, self.origin(), tx.event, entry, change.parts).await?
        {
            // Or its instant was too early, by a clock that has to be compared with the database's.
            clock::compare_clocks(&self.app).await?;
            return Err(WriteFailure::Passing(Error::Busy(
                "a locked row is not there any more".into(),
            )));
        }
        if !change.followed.is_empty() {
            let entries = change.followed.into_iter().map(
                |DerivedChange { request_id, requested_at, entry }| {
                    (EventOrigin { request_id, requested_at, ..self.origin() }, entry)
                },
            );
            ledger::record_followed(&tx.db, first_followed, entries.collect()).await?;
        }
        Ok(wrote)
    }

    /// [`Cx::write`] for the most frequent writes. On PostgreSQL `optimistic` runs first: without a
    /// transaction and without locks. Its [`Change::parts`] and the ledger row are one statement,
    /// which writes only if what `optimistic` has read still holds. `locked` runs as
    /// [`Cx::write`] does where `optimistic` returns none, or where that statement wrote nothing.
    ///
    /// # Errors
    /// As [`Cx::write`].
    pub async fn write_optimistically<'env, T, O, L>(
        &'env self,
        optimistic: O,
        locked: L,
    ) -> Result<T>
    where
        T: Send + 'env,
        O: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Option<Change<T>>>> + Send + Sync,
        L: for<'t> Fn(&'t Tx<'env>) -> BoxFuture<'t, Result<Change<T>>> + Send + Sync,
    {
        if self.backend() == DbBackend::Postgres
            && !self.rehearses
            && self.app.clock.check_writable().is_ok()
        {
            let tx = Tx::new(self, Executor::Plain(&self.app.store.write), false);
            let change = optimistic(&tx).await?;
            if let Some(change) = change.filter(|_| tx.superseded_at().is_none())
                && let Some(value) = self.write_without_locks(&tx, change).await?
            {
                return Ok(value);
            }
        }
        self.write(locked).await
    }

    /// Writes `change` as one statement; none if the statement wrote nothing.
    async fn write_without_locks<T>(&self, tx: &Tx<'_>, change: Change<T>) -> Result<Option<T>> {
        let Change { mut value, entry, mut parts, settle, .. } = change;
        let Some(entry) = entry.map(|entry| self.add_reason(entry)) else {
            return Ok(Some(value));
        };
        // Without a transaction nothing tells that a write is open, so it must not wait for long.
        parts.iter_mut().take(1).for_each(|part| part.only_soon_after(entry.at));
        self.fence_statement(parts.first_mut());
        let db = &self.app.store.write;
        let written = match ledger::record_at_once(db, self.origin(), tx.event, entry, parts).await
        {
            Ok(Some(written)) => written,
            Ok(None) => return Ok(None),
            Err(error) => match judge_failure(&error) {
                // A write whose result is unknown is not tried again.
                DatabaseFailure::Unknown => {
                    let written = Box::pin(self.find_written(tx.event)).await;
                    written.ok_or_else(|| self.unknown_outcome(&error))?
                }
                // The statement wrote nothing; the attempt under locks finds the reason.
                DatabaseFailure::Refused => match Error::from(error) {
                    taken @ Error::Taken { .. } => return Err(taken),
                    _ => return Ok(None),
                },
                DatabaseFailure::Unavailable | DatabaseFailure::Internal => {
                    return Err(error.into());
                }
            },
        };
        settle(&mut value, written);
        self.note_commit(tx.event);
        self.app.wake.notify_write();
        Ok(Some(value))
    }

    fn origin(&self) -> EventOrigin<'_> {
        EventOrigin {
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
    pub db: Executor<'a>,
    /// The id that this write's ledger row will have; intervals name it.
    pub event: Uuid,
    /// False in the attempt of [`Cx::write_optimistically`] that does without a transaction.
    pub locks: bool,
    /// The instant of all that this write does, once it is known.
    instant: OnceLock<DateTime<Utc>>,
    /// What it must come after, learned by an earlier attempt.
    follows: Option<DateTime<Utc>>,
    /// A later change than the instant, of something that was locked after it was taken: in
    /// microseconds, 0 = none.
    overtaken: AtomicI64,
}

impl<'a> Tx<'a> {
    fn new(cx: &'a Cx, db: Executor<'a>, locks: bool) -> Self {
        let (instant, overtaken) = Default::default();
        Self { cx, db, event: Uuid::now_v7(), locks, instant, follows: None, overtaken }
    }

    fn superseded_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.overtaken.load(Ordering::Relaxed))
            .filter(|by| *by != DateTime::UNIX_EPOCH)
    }

    /// The instant of the change: take it after the lock, and give the last boundary of what is
    /// changed, which it follows. It is the same for all that one write does, and no two changes of
    /// one thing share it: else what was so before one of them would be half of what another did. A
    /// write that locks something that was changed after its instant is undone and made again.
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
    pub entry: Option<NewEvent>,
    /// What is still to be written, together with the ledger row.
    pub parts: Vec<WriteStep>,
    /// Tells the value what only the database knew, when it was written without locks.
    settle: fn(&mut T, RowVersion),
    /// Rows about what followed from earlier changes.
    pub followed: Vec<DerivedChange>,
}

/// Something that followed from an earlier change, under the request that made that change.
#[derive(Debug)]
pub struct DerivedChange {
    pub request_id: Uuid,
    pub requested_at: DateTime<Utc>,
    pub entry: NewEvent,
}

impl<T> Change<T> {
    /// A change with its ledger row.
    pub fn recorded(value: T, entry: NewEvent) -> Self {
        Self::of_parts(value, entry, Vec::new())
    }

    /// A change that is written together with its ledger row.
    pub fn of_parts(value: T, entry: NewEvent, parts: Vec<WriteStep>) -> Self {
        Self { value, entry: Some(entry), parts, followed: Vec::new(), settle: |_, _| {} }
    }

    /// [`Change::of_parts`] of a row whose version the database counts on.
    pub fn settled_by(self, settle: fn(&mut T, RowVersion)) -> Self {
        Self { settle, ..self }
    }

    /// The same change, with a row about what was done together with it.
    pub fn followed_by(self, followed: Vec<DerivedChange>) -> Self {
        Self { followed, ..self }
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
        if ledger::run_steps(&tx.db, std::mem::take(&mut self.parts)).await? {
            Ok(())
        } else {
            Err(Error::Busy("a locked row is not there any more".into()))
        }
    }

    /// Nothing had to change.
    pub fn unchanged(value: T) -> Self {
        Self { value, entry: None, parts: Vec::new(), followed: Vec::new(), settle: |_, _| {} }
    }

    /// What followed from earlier changes; nothing else changed.
    pub fn derived(value: T, followed: Vec<DerivedChange>) -> Self {
        Self { followed, ..Self::unchanged(value) }
    }
}

enum WriteFailure {
    /// A conflict with another write: it is tried again.
    Passing(Error),
    Final(Error),
    /// It was rolled back because of another write of its batch: it is tried again.
    Lost,
    /// Something that it changes was changed at this instant, after its own.
    Overtaken(DateTime<Utc>),
}

impl WriteFailure {
    fn of(error: Error) -> Self {
        match error {
            Error::Busy(_) => Self::Passing(error),
            error => Self::Final(error),
        }
    }
}

impl From<DbErr> for WriteFailure {
    fn from(error: DbErr) -> Self {
        Self::of(error.into())
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if let Some(SqlErr::UniqueConstraintViolation(message)) = error.sql_err()
            && let Some(index) = entity::all_tables()
                .flat_map(|notes| notes.unique)
                .find(|index| message.contains(index.name) || message.contains(index.columns))
        {
            return Self::Taken { field: index.field };
        }
        let text = error.to_string();
        if matches!(judge_failure(&error), DatabaseFailure::Unavailable | DatabaseFailure::Unknown)
        {
            return Self::Unavailable(text);
        }
        let passing = [
            "deadlock detected",
            "could not serialize",
            "database is locked",
            "database table is locked",
        ];
        if passing.iter().any(|sign| text.contains(sign)) {
            return Self::Busy(text);
        }
        Self::Internal(text)
    }
}
