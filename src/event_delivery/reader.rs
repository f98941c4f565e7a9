//! The worker of one organization: it reads the ledger for each of its destinations, has them
//! called, and writes down what came of it. A destination that is slow or broken delays none but
//! itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::delivery;
use entity::destination::{Payload, State};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::message::{self, AttemptOutcome, Message};
use super::window::{AfterFailure, DeliveryWindow, OpenItem};
use crate::context::{Cx, ReaderNews, shutdown_requested};
use crate::crypto::event_token::TokenSigner;
use crate::crypto::webhook::MessageKeys;
use crate::domain::review;
use crate::domain::signal::filter::EventFilter;
use crate::domain::signal::payload::{self, ChainedEvent};
use crate::domain::signal::stream::{OpenedStream, token};
use crate::domain::signal::work::{DeliveryProgress, OpenedDestination, ROUTINE_KEPT, SignalWork};
use crate::domain::signal::{Destination, stream};
use crate::error::{Error, Result};
use crate::http_client::GuardedClient;

/// What was delivered is written down at most this long after.
const WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// How often the lease is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// A worker with nothing to do ends after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long attempts that have begun may take when the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Tokens about many accounts that are pushed at a time.
const TOKENS_AT_ONCE: usize = 16;
/// Pages read for one destination in one turn.
const PAGES_A_TURN: usize = 4;
/// Attempts that are listed.
const MAX_LOGGED: usize = 20;
/// An event that was read so long ago is read again before it is told in full: its values may have
/// been erased.
const MAX_VALUE_AGE: TimeDelta = TimeDelta::seconds(30);

/// A destination while its events are delivered.
struct ActiveDestination {
    row: Destination,
    url: Arc<str>,
    keys: Arc<MessageKeys>,
    /// What only a stream of security event tokens has.
    stream: Option<Arc<OpenedStream>>,
    window: DeliveryWindow,
    filter: EventFilter,
    /// The tokens of events that the receiver has, while it has not all of them.
    partly_taken: HashMap<i64, BTreeSet<usize>>,
    /// Grows each time that the destination is opened. The outcome of an attempt that began before
    /// is ignored.
    opening: u64,
    unwritten: BTreeMap<i64, delivery::Model>,
    /// What was written down last.
    written: (i64, Option<DateTime<Utc>>),
    last_success_at: Option<DateTime<Utc>>,
    last_message: String,
    /// Routine deliveries before this place were deleted.
    forgotten_to: i64,
}

/// An attempt that has ended.
struct EndedAttempt {
    destination: Uuid,
    opening: u64,
    seq: i64,
    outcome: AttemptOutcome,
    /// The tokens of the event that the receiver has.
    taken: BTreeSet<usize>,
}

struct LedgerReader {
    work: SignalWork,
    client: Arc<GuardedClient>,
    destinations: HashMap<Uuid, ActiveDestination>,
    attempts: JoinSet<EndedAttempt>,
    openings: u64,
    head: i64,
}

/// Delivers to the destinations of an organization until there is nothing to deliver, the lease is
/// lost or the server stops.
pub(super) async fn tell_destinations(work: SignalWork, news: watch::Receiver<ReaderNews>) {
    let organization = work.cx().organization();
    // The server stays until the lease has ended, too.
    let _stays = work.cx().app.stopping.subscribe();
    if let Err(error) = tell_until_idle(&work, news).await {
        tracing::warn!(%error, %organization, "telling destinations was interrupted; another \
            worker goes on");
    }
    if let Err(error) = work.release().await {
        tracing::warn!(%error, %organization, "ending a lease failed; it ends by itself");
    }
}

async fn tell_until_idle(work: &SignalWork, mut news: watch::Receiver<ReaderNews>) -> Result<()> {
    let app = work.cx().app.clone();
    let client =
        GuardedClient::with_time_limit(app.config.signal_private_addresses, message::TIME_LIMIT)
            .map_err(Error::Internal)?;
    let mut reader = LedgerReader {
        work: work.clone(),
        client: Arc::new(client),
        destinations: HashMap::new(),
        attempts: JoinSet::new(),
        openings: 0,
        head: 0,
    };
    let mut stop = app.stopping.subscribe();
    let mut revision = None;
    let mut renewed = Instant::now();
    let mut written = Instant::now();
    let mut idle_since: Option<Instant> = None;
    loop {
        let known = *news.borrow_and_update();
        reader.head = known.head;
        if revision != Some(known.revision) {
            reader.open_destinations().await?;
            revision = Some(known.revision);
        }
        let more = reader.read_pages().await?;
        reader.begin_attempts();
        let dirty = reader.has_unwritten();
        if dirty && written.elapsed() >= WRITE_INTERVAL {
            reader.write_down().await?;
            written = Instant::now();
        }
        if renewed.elapsed() >= RENEW_INTERVAL {
            if !work.renew().await? {
                return Ok(());
            }
            renewed = Instant::now();
        }
        let wait = if more { Duration::ZERO } else { reader.wait_of_next_turn() };
        let wait = wait.clamp(Duration::from_millis(5), RENEW_INTERVAL);
        let idle = !dirty && wait >= RENEW_INTERVAL && reader.is_idle();
        idle_since = if idle { idle_since.or(Some(Instant::now())) } else { None };
        if reader.destinations.is_empty()
            || idle_since.is_some_and(|since| since.elapsed() >= IDLE_TIMEOUT)
        {
            break;
        }
        let mut until = Instant::now() + wait;
        if dirty {
            until = until.min(written + WRITE_INTERVAL);
        }
        tokio::select! {
            () = shutdown_requested(&mut stop) => break,
            changed = news.changed() => if changed.is_err() { break },
            Some(ended) = reader.attempts.join_next() => {
                reader.take_attempt(ended).await?;
                // All that have ended, before the next turn of this loop.
                while let Some(ended) = reader.attempts.try_join_next() {
                    reader.take_attempt(ended).await?;
                }
            }
            () = sleep_until(until) => {}
        }
    }
    reader.drain_attempts().await?;
    reader.write_down().await
}

impl LedgerReader {
    /// Waits for the attempts that have begun, for a limited time.
    async fn drain_attempts(&mut self) -> Result<()> {
        let drained = Instant::now() + DRAIN_LIMIT;
        while let Ok(Some(ended)) =
            tokio::time::timeout_at(drained, self.attempts.join_next()).await
        {
            self.take_attempt(ended).await?;
        }
        Ok(())
    }

    /// How long to wait until the next delivery is due.
    fn wait_of_next_turn(&self) -> Duration {
        let turn = self.destinations.values().filter_map(|active| active.window.next_turn()).min();
        let wait = turn.map(|at| (at - self.cx().app.clock.now()).to_std().unwrap_or_default());
        wait.unwrap_or(RENEW_INTERVAL)
    }

    fn cx(&self) -> &Cx {
        self.work.cx()
    }

    /// Opens destinations that were made or changed, and drops those that receive nothing any more.
    async fn open_destinations(&mut self) -> Result<()> {
        self.write_down().await?;
        let rows = self.work.list_receiving().await?;
        let versions: HashMap<Uuid, i64> = rows.iter().map(|row| (row.id, row.version)).collect();
        self.destinations.retain(|id, active| versions.get(id) == Some(&active.row.version));
        for row in rows {
            if self.destinations.contains_key(&row.id) {
                continue;
            }
            let id = row.id;
            self.openings += 1;
            match self.work.open_destination(row).await {
                Ok(opened) => {
                    self.destinations.insert(id, ActiveDestination::of(opened, self.openings));
                }
                Err(error) => {
                    tracing::warn!(%error, destination = %id, "a destination cannot be opened");
                    self.destinations.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// Reads what the windows have room for; true if there is more. Destinations that are at the
    /// same place share a page.
    async fn read_pages(&mut self) -> Result<bool> {
        let mut more = false;
        let mut pages: HashMap<i64, Vec<Arc<ChainedEvent>>> = HashMap::new();
        for active in self.destinations.values_mut() {
            for turn in 0..=PAGES_A_TURN {
                let Some(wanted) = active.window.wanted_page(self.head) else { break };
                if turn == PAGES_A_TURN {
                    more = true;
                    break;
                }
                if let Entry::Vacant(place) = pages.entry(wanted.after) {
                    let page = self.work.read_events(wanted.after).await?;
                    place.insert(page.into_iter().map(Arc::new).collect());
                }
                let page = &pages[&wanted.after];
                if page.is_empty() {
                    break;
                }
                let ActiveDestination { window, filter, stream, .. } = active;
                window.offer(wanted, page, |event| is_wanted(filter, stream.as_deref(), event));
            }
        }
        Ok(more)
    }

    fn begin_attempts(&mut self) {
        let now = self.cx().app.clock.now();
        for active in self.destinations.values_mut() {
            active.end_overlap(now);
            while let Some(seq) = active.window.take_next(now) {
                let Some(item) = active.window.item_mut(seq) else { break };
                let (event, again) = (item.event.clone(), item.attempts > 0);
                let call = DestinationCall {
                    work: self.work.clone(),
                    client: self.client.clone(),
                    destination: active.row.id,
                    payload: active.row.payload,
                    url: active.url.clone(),
                    keys: active.keys.clone(),
                    stream: active.stream.clone(),
                    taken: active.partly_taken.get(&seq).cloned().unwrap_or_default(),
                    reads_again: again || now - event.at > MAX_VALUE_AGE,
                    event,
                };
                let (destination, opening) = (active.row.id, active.opening);
                self.attempts.spawn(async move {
                    let (outcome, taken) = call.make_attempt().await;
                    EndedAttempt { destination, opening, seq, outcome, taken }
                });
            }
        }
    }

    async fn take_attempt(
        &mut self,
        ended: std::result::Result<EndedAttempt, tokio::task::JoinError>,
    ) -> Result<()> {
        let ended = ended.map_err(|error| Error::Internal(error.to_string()))?;
        let EndedAttempt { destination, opening, seq, outcome, taken } = ended;
        let organization = self.cx().organization();
        let now = self.cx().app.clock.now();
        let Some(active) =
            self.destinations.get_mut(&destination).filter(|active| active.opening == opening)
        else {
            return Ok(());
        };
        if outcome.is_taken() || taken.is_empty() {
            active.partly_taken.remove(&seq);
        } else {
            active.partly_taken.insert(seq, taken);
        }
        if outcome.is_gone() {
            let version = active.row.version;
            active.note_outcome(organization, seq, now, &outcome);
            self.write_down().await?;
            self.destinations.remove(&destination);
            return self.work.stop_telling(destination, version, true).await;
        }
        let given_up = active.note_outcome(organization, seq, now, &outcome);
        let (version, failing) = (active.row.version, active.window.is_failing());
        let silent = active.row.state == State::Failing
            && active.last_success_at.max(active.row.last_success_at)
                < Some(now - message_lifetime())
            && now - active.row.state_since > message_lifetime();
        if given_up && silent {
            self.write_down().await?;
            self.destinations.remove(&destination);
            return self.work.stop_telling(destination, version, false).await;
        }
        let change = match active.row.state {
            State::Active if failing => Some(active.last_message.clone()),
            State::Failing if !failing && outcome.is_taken() => None,
            _ => return Ok(()),
        };
        active.row.state = if change.is_some() { State::Failing } else { State::Active };
        active.row.state_since = now;
        match self.work.note_failing(destination, version, change.as_deref()).await {
            Ok(true) => Ok(()),
            // Its settings have changed, or it was deleted: the next news lead to that.
            Ok(false) | Err(Error::NotFound(_)) => {
                self.destinations.remove(&destination);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn has_unwritten(&mut self) -> bool {
        self.destinations.values_mut().any(ActiveDestination::has_unwritten)
    }

    fn is_idle(&self) -> bool {
        self.attempts.is_empty()
            && self.destinations.values().all(|active| active.window.is_idle(self.head))
    }

    async fn write_down(&mut self) -> Result<()> {
        let (mut changes, mut forget) = (Vec::new(), Vec::new());
        for active in self.destinations.values_mut() {
            if !active.has_unwritten() {
                continue;
            }
            let rows: Vec<_> = std::mem::take(&mut active.unwritten).into_values().collect();
            let (cursor, next_at) = active.place();
            active.written = (cursor, next_at);
            let progress = DeliveryProgress {
                destination: active.row.id,
                restarts: active.row.restarts,
                cursor,
                next_at,
                last_success_at: active.last_success_at,
            };
            changes.push((progress, rows));
            let before = cursor - ROUTINE_KEPT;
            if before > active.forgotten_to + ROUTINE_KEPT / 10 {
                active.forgotten_to = before;
                forget.push((active.row.id, before));
            }
        }
        let rows: Vec<delivery::Model> =
            changes.iter().flat_map(|(_, rows)| rows).cloned().collect();
        review::delivery::note_deliveries(self.cx(), &rows).await?;
        self.work.write_down(changes).await?;
        for (destination, before) in forget {
            self.work.forget_routine(destination, before).await?;
        }
        Ok(())
    }
}

/// How long a message is tried.
fn message_lifetime() -> TimeDelta {
    TimeDelta::hours(72)
}

/// None if a destination does not get an event; `Some(true)` if it gets it at once, ahead of
/// earlier events about the same subject.
fn is_wanted(
    filter: &EventFilter,
    stream: Option<&OpenedStream>,
    event: &ChainedEvent,
) -> Option<bool> {
    let urgent = filter.judge_event(event)?;
    let says = |stream: &OpenedStream| {
        !token::build_tokens(&stream.view, event, &BTreeMap::new()).is_empty()
    };
    stream.is_none_or(says).then_some(urgent)
}

impl ActiveDestination {
    fn of(opened: OpenedDestination, opening: u64) -> Self {
        let OpenedDestination { row, keys, stream, ahead, waiting } = opened;
        let filter = EventFilter::of_destination(&row);
        let mut window = DeliveryWindow::new(row.cursor_seq, ahead);
        for (known, event) in waiting {
            let urgent = filter.judge_event(&event).unwrap_or_default();
            let log = known.attempt_log.as_array().cloned().unwrap_or_default();
            let due = known.next_at.unwrap_or(known.last_at);
            window.restore(event, urgent, (known.attempts, log), known.first_at, due);
        }
        Self {
            url: row.url.clone().unwrap_or_default().into(),
            keys: Arc::new(keys),
            stream: stream.map(Arc::new),
            window,
            filter,
            partly_taken: HashMap::new(),
            opening,
            unwritten: BTreeMap::new(),
            written: (row.cursor_seq, row.next_at),
            last_success_at: None,
            last_message: String::new(),
            forgotten_to: 0,
            row,
        }
    }

    /// After the overlap messages are signed with one secret.
    fn end_overlap(&mut self, now: DateTime<Utc>) {
        if self.keys.secrets.len() > 1 && self.row.previous_until.is_some_and(|until| until <= now)
        {
            let mut keys = (*self.keys).clone();
            keys.secrets.truncate(1);
            self.keys = Arc::new(keys);
        }
    }

    fn place(&mut self) -> (i64, Option<DateTime<Utc>>) {
        (self.window.advance_cursor(), self.window.next_due())
    }

    fn has_unwritten(&mut self) -> bool {
        !self.unwritten.is_empty() || self.place() != self.written
    }

    /// Notes how an attempt went; true when the event was given up.
    fn note_outcome(
        &mut self,
        organization: Uuid,
        seq: i64,
        now: DateTime<Utc>,
        outcome: &AttemptOutcome,
    ) -> bool {
        let Some(item) = self.window.item_mut(seq) else { return false };
        item.attempts += 1;
        item.attempt_log.push(outcome.to_log_entry(now));
        if item.attempt_log.len() > MAX_LOGGED {
            item.attempt_log.remove(0);
        }
        let mut row = delivery_row((organization, self.row.id), item, now, outcome);
        if outcome.is_taken() {
            self.last_success_at = Some(now);
            self.window.note_taken(seq, now);
        } else {
            self.last_message = outcome.message.clone().unwrap_or_default();
            let wait = outcome.retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
            let spread = (Uuid::new_v4().as_u128() % 1_000) as f64 / 1_000.0;
            match self.window.note_failed(seq, now, wait, spread) {
                AfterFailure::WaitsUntil(at) => row.next_at = Some(at),
                AfterFailure::GivenUp => row.state = delivery::State::Failed,
            }
        }
        let given_up = row.state == delivery::State::Failed;
        self.unwritten.insert(seq, row);
        given_up
    }
}

/// What is written down of an attempt.
fn delivery_row(
    (organization, destination): (Uuid, Uuid),
    item: &OpenItem,
    now: DateTime<Utc>,
    outcome: &AttemptOutcome,
) -> delivery::Model {
    let (event, taken) = (&item.event, outcome.is_taken());
    delivery::Model {
        organization_id: organization,
        id: payload::delivery_id(destination, event.id),
        destination_id: destination,
        event_id: event.id,
        seq: event.seq,
        action: event.action.clone(),
        subject_kind: event.subject_kind.clone(),
        subject_id: event.subject_id,
        state: if taken { delivery::State::Succeeded } else { delivery::State::Waiting },
        kept: item.urgent || item.attempts > 1 || !taken,
        attempts: item.attempts,
        attempt_log: item.attempt_log.clone().into(),
        first_at: item.first_at.unwrap_or(now),
        last_at: now,
        next_at: None,
        received_at: taken.then_some(now),
        status: outcome.status.map(i32::from),
        latency_ms: Some(outcome.latency_ms()),
        response: outcome.response.clone(),
        message: outcome.message.clone(),
        acknowledged: None,
    }
}

/// One call of a destination.
struct DestinationCall {
    work: SignalWork,
    client: Arc<GuardedClient>,
    destination: Uuid,
    payload: Payload,
    url: Arc<str>,
    keys: Arc<MessageKeys>,
    stream: Option<Arc<OpenedStream>>,
    /// The tokens of the event that the receiver has already.
    taken: BTreeSet<usize>,
    event: Arc<ChainedEvent>,
    /// Whether the values may have been erased since they were read.
    reads_again: bool,
}

impl DestinationCall {
    /// Calls the destination; returns the outcome, and which tokens of the event it has.
    async fn make_attempt(mut self) -> (AttemptOutcome, BTreeSet<usize>) {
        let failed = |error: Error| {
            let message = Some("this server could not read the event".into());
            tracing::warn!(%error, "an event was not read");
            AttemptOutcome { message, ..AttemptOutcome::default() }
        };
        if self.payload == Payload::Full && self.reads_again {
            match self.work.events_by_ids(&[self.event.id]).await {
                Ok(mut found) => {
                    if let Some(found) = found.pop() {
                        self.event = Arc::new(found);
                    }
                }
                Err(error) => return (failed(error), self.taken),
            }
        }
        match self.stream.clone() {
            None => (self.send_webhook().await, BTreeSet::new()),
            Some(stream) => match self.push_tokens(&stream).await {
                Ok(pushed) => pushed,
                Err(error) => (failed(error), self.taken),
            },
        }
    }

    async fn send_webhook(&self) -> AttemptOutcome {
        let cx = self.work.cx();
        let message = Message {
            id: payload::message_id(payload::delivery_id(self.destination, self.event.id)),
            timestamp: cx.app.clock.now().timestamp(),
            body: payload::build_body(cx.organization(), &self.event, self.payload),
        };
        message::send_message(&self.client, &self.url, &self.keys, message).await
    }

    /// Pushes the tokens of the event, one after another; those of many accounts several at a time.
    /// The first one that is not taken ends the attempt.
    async fn push_tokens(
        &self,
        stream: &OpenedStream,
    ) -> Result<(AttemptOutcome, BTreeSet<usize>)> {
        let (cx, now) = (self.work.cx(), self.work.cx().app.clock.now());
        let known = stream::read_details(cx, &stream.view, [&*self.event]).await?;
        let drafts = token::build_tokens(&stream.view, &self.event, &known);
        let rest: Vec<token::TokenDraft> =
            drafts.into_iter().filter(|draft| !self.taken.contains(&draft.number)).collect();
        let signer = stream.signers.current(now)?;
        let at_once = if self.event.subject_id.is_nil() { TOKENS_AT_ONCE } else { 1 };
        let (mut taken, mut last) = (self.taken.clone(), AttemptOutcome::default());
        for some in rest.chunks(at_once) {
            let pushed =
                some.iter().map(|draft| self.push_token(stream, signer, draft, now.timestamp()));
            for (draft, outcome) in some.iter().zip(join_all(pushed).await) {
                if outcome.is_taken() {
                    taken.insert(draft.number);
                }
                // The first failure is the outcome, also if a later token of this part was taken.
                if last.is_taken() {
                    last = outcome;
                }
            }
            if !last.is_taken() {
                break;
            }
        }
        Ok((last, taken))
    }

    async fn push_token(
        &self,
        stream: &OpenedStream,
        signer: &TokenSigner,
        draft: &token::TokenDraft,
        timestamp: i64,
    ) -> AttemptOutcome {
        let authorization = stream.authorization.as_deref();
        match signer.sign_claims(&draft.claims) {
            Ok(token) => {
                message::push_token(&self.client, &self.url, authorization, token, timestamp).await
            }
            Err(why) => AttemptOutcome { message: Some(why), ..AttemptOutcome::default() },
        }
    }
}
