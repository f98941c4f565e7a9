//! The time. On PostgreSQL it is the database's: a server measures the difference between its own
//! clock and the database's, and corrects by it, so that all servers on one database have one time.
//! On SQLite it is the machine's.
//!
//! Whatever a clock does, no change has an instant before the newest one in the ledger, nor before
//! an instant for which a question about the past was answered: that bound is the floor. What must
//! never enter: who may do what, and what is written.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use metrics::gauge;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::App;
use crate::db::{DatabaseTime, Store};
use crate::error::{Error, Result};

/// How often the clocks are compared.
pub const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// A difference between the clocks above this is reported to the operator.
const WARN_ABOVE: TimeDelta = TimeDelta::seconds(1);
/// How far the clock may be behind the floor before writes are refused.
const MAX_BEHIND: TimeDelta = TimeDelta::seconds(10);
/// The largest correction for which the time stands still, in microseconds.
const MAX_STANDSTILL_MICROS: i64 = 2_000_000;
/// Measurements when a server starts; the fastest one counts.
const FIRST_SAMPLES: u32 = 3;
/// A newer settled instant is stored when it is this much later than the stored one.
const MARK_STEP: TimeDelta = TimeDelta::milliseconds(200);

/// The one source of "now". Tests move it forward.
#[derive(Debug)]
pub struct Clock {
    /// What tests have added to the time, in microseconds.
    ahead_micros: AtomicI64,
    /// What tests have added to the clock of this server alone, in microseconds.
    skew_micros: AtomicI64,
    /// The monotonic clock's reading that the reference belongs to.
    anchor: Instant,
    /// The database's time at the anchor, in microseconds; [`UNKNOWN_REFERENCE`] where the
    /// machine's clock counts.
    reference_micros: AtomicI64,
    /// The time does not show an instant before this one, in microseconds: what it showed when it
    /// was corrected.
    shown_micros: AtomicI64,
    /// No change has an instant up to this one, in microseconds.
    floor_micros: AtomicI64,
    /// The newest instant that is known to be stored as settled, in microseconds.
    mark_micros: AtomicI64,
    /// The warnings that were last logged for the operator.
    warnings: Mutex<ClockWarnings>,
}

/// No reference was measured.
const UNKNOWN_REFERENCE: i64 = i64::MIN;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct ClockWarnings {
    skewed: bool,
    behind: bool,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            ahead_micros: AtomicI64::new(0),
            skew_micros: AtomicI64::new(0),
            anchor: Instant::now(),
            reference_micros: AtomicI64::new(UNKNOWN_REFERENCE),
            shown_micros: AtomicI64::new(0),
            floor_micros: AtomicI64::new(0),
            mark_micros: AtomicI64::new(0),
            warnings: Mutex::default(),
        }
    }
}

/// The instant as both databases store it: in whole microseconds.
pub fn to_stored_precision(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

impl Clock {
    /// The current instant in UTC, to the microsecond (what both databases keep).
    pub fn now(&self) -> DateTime<Utc> {
        let now = match self.reference_micros.load(Ordering::Relaxed) {
            UNKNOWN_REFERENCE => self.system_now(),
            reference => {
                let measured = reference + self.since_anchor(Instant::now());
                instant_of(measured.max(self.shown_micros.load(Ordering::Relaxed)))
            }
        };
        now + self.advanced_by()
    }

    /// The instant of a change that is made now: after the floor.
    pub fn now_for_change(&self) -> DateTime<Utc> {
        self.now().max(self.ledger_floor() + TimeDelta::microseconds(1))
    }

    /// Moves this clock forward, as if time had passed for the database, too.
    pub fn advance(&self, by: Duration) {
        self.ahead_micros.fetch_add(by.as_micros() as i64, Ordering::Relaxed);
    }

    /// Moves this clock back, before it was used: what is written then is from the past.
    pub fn set_back(&self, by: Duration) {
        self.ahead_micros.fetch_sub(by.as_micros() as i64, Ordering::Relaxed);
    }

    /// Puts the clock of this server wrong by so much, as if its machine's were.
    pub fn skew_by(&self, by: TimeDelta) {
        self.skew_micros.fetch_add(microseconds_of(by), Ordering::Relaxed);
    }

    /// What [`Clock::advance`] has added.
    pub fn advanced_by(&self) -> TimeDelta {
        TimeDelta::microseconds(self.ahead_micros.load(Ordering::Relaxed))
    }

    /// The clock of the machine.
    fn system_now(&self) -> DateTime<Utc> {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
        let now = Utc::now();
        (now + TimeDelta::microseconds(self.skew_micros.load(Ordering::Relaxed))).trunc_subsecs(6)
    }

    /// How far the machine's clock is ahead of the time in use; zero where the machine's clock is
    /// in use.
    pub fn skewed_by(&self) -> TimeDelta {
        self.system_now() + self.advanced_by() - self.now()
    }

    /// How far the time is behind the floor; zero or less where it is not.
    pub fn behind_by(&self) -> TimeDelta {
        self.ledger_floor() - self.now()
    }

    /// Refuses writes while the time is too far behind the ledger.
    ///
    /// # Errors
    /// [`Error::Busy`], which says by how much.
    pub fn check_writable(&self) -> Result<()> {
        match self.behind_by() {
            behind if behind > MAX_BEHIND => Err(Error::Busy(words_of_behind(behind))),
            _ => Ok(()),
        }
    }

    /// What is wrong with the clock, if writes are refused because of it.
    pub fn write_fault(&self) -> Option<String> {
        Some(self.behind_by()).filter(|behind| *behind > MAX_BEHIND).map(words_of_behind)
    }

    fn ledger_floor(&self) -> DateTime<Utc> {
        instant_of(self.floor_micros.load(Ordering::Relaxed))
    }

    /// From now on no change has an instant up to `at`.
    pub fn raise_floor(&self, at: DateTime<Utc>) {
        self.floor_micros.fetch_max(at.timestamp_micros(), Ordering::Relaxed);
    }

    fn since_anchor(&self, reading: Instant) -> i64 {
        reading.saturating_duration_since(self.anchor).as_micros() as i64
    }

    /// Learns that the database's clock showed `database` between these two readings of the
    /// monotonic clock. A difference smaller than the time of the query is ignored.
    fn learn_database_time(&self, asked: Instant, answered: Instant, database: DateTime<Utc>) {
        let half = answered.saturating_duration_since(asked) / 2;
        let measured = database.timestamp_micros() - self.since_anchor(asked + half);
        let known = self.reference_micros.load(Ordering::Relaxed);
        if known == UNKNOWN_REFERENCE
            || (measured - known).unsigned_abs() > half.as_micros() as u64 + 1_000
        {
            // A small correction makes the time stand still, and not go back: what had ended by
            // plan would not have ended a moment later. After a large one, the floor decides.
            let back = known.saturating_sub(measured);
            let held = if known != UNKNOWN_REFERENCE && back <= MAX_STANDSTILL_MICROS {
                let shown = known + self.since_anchor(Instant::now());
                shown.max(self.shown_micros.load(Ordering::Relaxed))
            } else {
                0
            };
            self.shown_micros.store(held, Ordering::SeqCst);
            self.reference_micros.store(measured, Ordering::SeqCst);
        }
    }
}

fn instant_of(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

fn microseconds_of(by: TimeDelta) -> i64 {
    by.num_microseconds().unwrap_or_default()
}

fn seconds_of(by: TimeDelta) -> f64 {
    microseconds_of(by) as f64 / 1e6
}

fn words_of_behind(behind: TimeDelta) -> String {
    format!(
        "the clock is {:.1} s behind the newest instant in the ledger, so that nothing is written \
         until it has caught up",
        seconds_of(behind)
    )
}

/// Measures the database's clock when a server starts, and raises the floor to the end of the
/// ledger.
///
/// # Errors
/// The database's own.
pub async fn start_clock(clock: &Clock, store: &Store) -> Result<(), DbErr> {
    let mut best: Option<(Instant, Instant, DateTime<Utc>)> = None;
    for _ in 0..FIRST_SAMPLES {
        let Some(sample) = sample_database_time(store).await? else { break };
        let duration = |(asked, answered, _): &(Instant, Instant, DateTime<Utc>)| {
            answered.duration_since(*asked)
        };
        if best.as_ref().is_none_or(|best| duration(&sample) < duration(best)) {
            best = Some(sample);
        }
    }
    if let Some((asked, answered, database)) = best {
        clock.learn_database_time(asked, answered, database);
    }
    raise_to_ledger(clock, store).await
}

/// The database's time between two readings of the monotonic clock; none on SQLite, which has no
/// clock of its own.
#[allow(
    clippy::disallowed_methods,
    reason = "about the database's clock and the settled mark, which belong to no organization"
)]
async fn sample_database_time(
    store: &Store,
) -> Result<Option<(Instant, Instant, DateTime<Utc>)>, DbErr> {
    if store.backend() == DbBackend::Sqlite {
        return Ok(None);
    }
    let asked = Instant::now();
    let row = store
        .read
        .query_one_raw(Statement::from_string(store.backend(), "SELECT clock_timestamp() AS at"))
        .await?;
    let answered = Instant::now();
    row.map(|row| Ok((asked, answered, row.try_get("", "at")?))).transpose()
}

/// The newest instant for which any server answered a question about the past.
const SELECT_SETTLED_MARK: &str = "SELECT at FROM settled_mark";

/// Raises the floor to the newest instant in any ledger, and to the newest one for which a question
/// about the past was answered.
#[allow(
    clippy::disallowed_methods,
    reason = "about the database's clock and the settled mark, which belong to no organization"
)]
async fn raise_to_ledger(clock: &Clock, store: &Store) -> Result<(), DbErr> {
    let mut sources = vec![
        SELECT_SETTLED_MARK,
        "SELECT newest_at AS at FROM ledger_head WHERE newest_at IS NOT NULL ORDER BY newest_at \
         DESC LIMIT 1",
    ];
    if store.backend() == DbBackend::Postgres {
        sources.push(
            "SELECT e.at FROM unsealed u CROSS JOIN LATERAL (SELECT at FROM event \
             WHERE pos = u.pos OFFSET 0) AS e \
             ORDER BY e.at DESC LIMIT 1",
        );
    }
    for source in &sources {
        if let Some(row) =
            store.read.query_one_raw(Statement::from_string(store.backend(), *source)).await?
        {
            let newest: DateTime<Utc> = row.try_get("", "at")?;
            clock.raise_floor(newest);
            if *source == SELECT_SETTLED_MARK {
                clock.mark_micros.fetch_max(newest.timestamp_micros(), Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Compares the clocks again, and warns the operator if they differ.
///
/// # Errors
/// The database's own.
pub async fn compare_clocks(app: &App) -> Result<(), DbErr> {
    let clock = &app.clock;
    if let Some((asked, answered, database)) = sample_database_time(&app.store).await? {
        clock.learn_database_time(asked, answered, database);
    }
    raise_to_ledger(clock, &app.store).await?;
    let (skew, behind) = (clock.skewed_by(), clock.behind_by());
    gauge!("rolecall_clock_skew_seconds").set(seconds_of(skew));
    gauge!("rolecall_clock_behind_seconds").set(seconds_of(behind.max(TimeDelta::zero())));
    let now = ClockWarnings { skewed: skew.abs() > WARN_ABOVE, behind: behind > WARN_ABOVE };
    let before =
        std::mem::replace(&mut *clock.warnings.lock().unwrap_or_else(PoisonError::into_inner), now);
    if now.skewed && !before.skewed {
        let (by, way) =
            (seconds_of(skew.abs()), if skew > TimeDelta::zero() { "ahead of" } else { "behind" });
        tracing::warn!(
            "this server's clock is {by:.1} s {way} the database's, which counts; synchronize the \
             clocks"
        );
    }
    if now.behind && !before.behind {
        let refused = if clock.write_fault().is_some() {
            "writes are refused"
        } else {
            "changes follow that instant"
        };
        tracing::warn!(
            "the clock is {:.1} s behind the newest instant in the ledger; {refused}",
            seconds_of(behind)
        );
    }
    if before != now && now == ClockWarnings::default() {
        tracing::info!("the clocks agree");
    }
    Ok(())
}

/// Up to when the past is settled: no write can add to it any more, so an answer stays the same for
/// ever, also when the clock is put back. `enough` is an instant that the caller need not go
/// beyond. Not within a write, whose connection SQLite needs for it.
///
/// # Errors
/// The database's own.
pub async fn settled_until(
    app: &App,
    enough: Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, DbErr> {
    let clock = &app.clock;
    let mark = instant_of(clock.mark_micros.load(Ordering::Relaxed));
    if enough.is_some_and(|enough| enough <= mark) {
        return Ok(mark);
    }
    let settled = match app.store.backend() {
        DbBackend::Sqlite => {
            // Writes that go to the disk together took their instants since the first of them
            // began.
            let now = clock.now();
            app.store
                .oldest_open_write()
                .and_then(DateTime::from_timestamp_micros)
                .map_or(now, |since| now.min(since))
        }
        _ => settled_on_postgres(&app.store).await? + clock.advanced_by(),
    } - SQLITE_WRITE_MARGIN;
    if settled < mark + MARK_STEP {
        return Ok(mark);
    }
    let text = "UPDATE settled_mark SET at = $1 WHERE at < $1";
    let reason = "one mark for the whole installation";
    let write = app.statement_for_all_organizations(text, [settled.into()], reason);
    if let Err(error) = app.store.write.execute_raw(write).await {
        // The instant that was stored before is settled all the same.
        tracing::warn!(%error, "writing down up to when the past is settled failed; it is tried \
                                again");
        return Ok(mark);
    }
    clock.raise_floor(settled);
    clock.mark_micros.fetch_max(settled.timestamp_micros(), Ordering::Relaxed);
    Ok(settled)
}

/// Before this instant no write began that is open still, by the database's clock.
#[allow(
    clippy::disallowed_methods,
    reason = "about the database's clock and the settled mark, which belong to no organization"
)]
async fn settled_on_postgres(store: &Store) -> Result<DateTime<Utc>, DbErr> {
    // A transaction without a write for a minute only reads, for example a backup that takes hours.
    let text = "SELECT least(clock_timestamp(), min(xact_start)) AS at FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_type = 'client backend' \
         AND pid <> pg_backend_pid() \
         AND (backend_xid IS NOT NULL OR xact_start > clock_timestamp() - interval '1 minute')";
    match store.read.query_one_raw(Statement::from_string(DbBackend::Postgres, text)).await? {
        Some(row) => row.try_get("", "at"),
        None => Ok(DateTime::UNIX_EPOCH),
    }
}

/// How long a write may take between its instant and its end on SQLite. On PostgreSQL a write
/// without a transaction may be half of it on its way to the database.
const SQLITE_WRITE_MARGIN: TimeDelta = TimeDelta::seconds(1);

impl App {
    /// The time by which leases are taken and judged.
    pub fn database_time(&self) -> DatabaseTime {
        DatabaseTime::new(self.store.backend(), self.clock.now(), self.clock.advanced_by())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learns that the database's clock shows `ahead` more than the clock does, or less.
    fn learn(clock: &Clock, ahead: TimeDelta) {
        let now = Instant::now();
        clock.learn_database_time(now, now, clock.now() + ahead);
    }

    #[test]
    fn small_corrections_never_go_back() {
        let clock = Clock::default();
        let now = Instant::now();
        clock.learn_database_time(now, now, DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        let first = clock.now();
        learn(&clock, TimeDelta::seconds(-1));
        let held = clock.now();
        assert!(held >= first && held - first < TimeDelta::milliseconds(900), "{held} {first}");
        // It is not ahead for long: what was measured counts again as soon as it is later.
        learn(&clock, TimeDelta::seconds(60));
        assert!(clock.now() - first > TimeDelta::seconds(50));
        learn(&clock, TimeDelta::hours(-1));
        assert!(clock.now() < first, "after a large correction the floor decides");
    }
}
