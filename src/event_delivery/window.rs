//! What a destination gets next. A window holds the events of the ledger that were read for the
//! destination and are neither delivered nor given up. What must never enter: the time of day, a
//! database, a network.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::signal::payload::ChainedEvent;

/// Messages to one destination at a time; deprovisionings are counted apart.
const MAX_AT_ONCE: usize = 16;
/// Events that are held in memory for one destination.
const MAX_OPEN: usize = 2_000;
/// Events delivered ahead of one that waits; then the destination waits for that one.
const MAX_AHEAD: usize = 10_000;
/// So many failures one after another mean that the destination fails, not a message.
const FAILURES_OF_DESTINATION: u32 = 5;
/// How often a failing destination is tried with something new.
const PROBE_INTERVAL: TimeDelta = TimeDelta::seconds(5);
/// How long between two attempts, in seconds: after them a delivery is given up.
const RETRY_DELAYS: [i64; 10] = [5, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How long, and how often, a deprovisioning is tried again quickly.
const URGENT_PERIOD: TimeDelta = TimeDelta::minutes(5);
const URGENT_INTERVAL: TimeDelta = TimeDelta::milliseconds(700);

/// An event that is to be delivered.
#[derive(Debug)]
pub(super) struct OpenItem {
    pub event: Arc<ChainedEvent>,
    /// Whether it waits for no other.
    pub urgent: bool,
    pub attempts: i32,
    pub attempt_log: Vec<Value>,
    /// When it was first tried.
    pub first_at: Option<DateTime<Utc>>,
    running: bool,
    due: Option<DateTime<Utc>>,
}

/// What is to be read for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WantedPage {
    /// The place after which it begins.
    pub after: i64,
    /// Whether only deprovisionings are taken: the window is full.
    pub urgent_only: bool,
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    WaitsUntil(DateTime<Utc>),
    GivenUp,
}

/// The events of one destination that were read and are not done, and which of them is next.
#[derive(Debug, Default)]
pub(super) struct DeliveryWindow {
    /// Everything up to here is delivered or given up.
    cursor: i64,
    /// Events up to here were read.
    read_to: i64,
    /// Deprovisionings up to here were read.
    scanned_to: i64,
    open: BTreeMap<i64, OpenItem>,
    /// The open events of each subject, in their order.
    subjects: HashMap<Uuid, BTreeSet<i64>>,
    ready: BTreeSet<i64>,
    urgent: BTreeSet<i64>,
    timers: BTreeSet<(DateTime<Utc>, i64)>,
    /// What was delivered or given up after the cursor.
    ahead: BTreeSet<i64>,
    running: usize,
    urgent_running: usize,
    at_once: usize,
    failures: u32,
    blocked_until: Option<DateTime<Utc>>,
    next_probe: Option<DateTime<Utc>>,
}

impl DeliveryWindow {
    /// The window of a destination that has received everything up to `cursor`, and `ahead`.
    pub fn new(cursor: i64, ahead: impl IntoIterator<Item = i64>) -> Self {
        let ahead = ahead.into_iter().filter(|seq| *seq > cursor).collect();
        Self { cursor, read_to: cursor, scanned_to: cursor, ahead, at_once: 1, ..Self::default() }
    }

    /// Adds an event that has failed before and waits.
    pub fn restore(
        &mut self,
        event: ChainedEvent,
        urgent: bool,
        (attempts, attempt_log): (i32, Vec<Value>),
        first_at: DateTime<Utc>,
        due: DateTime<Utc>,
    ) {
        let (seq, event) = (event.seq, Arc::new(event));
        self.subjects.entry(event.subject_id).or_default().insert(seq);
        self.timers.insert((due, seq));
        let (first_at, due, running) = (Some(first_at), Some(due), false);
        let item = OpenItem { event, urgent, attempts, attempt_log, first_at, running, due };
        self.open.insert(seq, item);
    }

    /// What is to be read next, if anything, of a ledger that ends at `head`.
    pub fn wanted_page(&self, head: i64) -> Option<WantedPage> {
        let room = self.open.len() < MAX_OPEN;
        if self.read_to < head && room && self.ahead.len() < MAX_AHEAD {
            return Some(WantedPage { after: self.read_to, urgent_only: false });
        }
        let room = self.open.len() < MAX_OPEN * 2;
        (self.scanned_to < head && room)
            .then_some(WantedPage { after: self.scanned_to, urgent_only: true })
    }

    /// Takes the events of a page that the destination gets. `wants` says none for the others, and
    /// `Some(true)` for one that is delivered at once.
    pub fn offer(
        &mut self,
        page: WantedPage,
        events: &[Arc<ChainedEvent>],
        wants: impl Fn(&ChainedEvent) -> Option<bool>,
    ) {
        for event in events {
            let seq = event.seq;
            if page.urgent_only {
                self.scanned_to = self.scanned_to.max(seq);
            } else {
                self.read_to = self.read_to.max(seq);
                self.scanned_to = self.scanned_to.max(seq);
            }
            if self.ahead.contains(&seq) || self.open.contains_key(&seq) {
                continue;
            }
            match wants(event) {
                Some(urgent) if urgent || !page.urgent_only => {
                    self.add_event(event.clone(), urgent)
                }
                _ => {}
            }
        }
    }

    fn add_event(&mut self, event: Arc<ChainedEvent>, urgent: bool) {
        let seq = event.seq;
        let line = self.subjects.entry(event.subject_id).or_default();
        line.insert(seq);
        let first = line.first() == Some(&seq);
        let (attempts, attempt_log, first_at, due, running) = Default::default();
        let item = OpenItem { event, urgent, attempts, attempt_log, first_at, running, due };
        self.open.insert(seq, item);
        if urgent {
            self.urgent.insert(seq);
        } else if first {
            self.ready.insert(seq);
        }
    }

    /// Whether the destination fails, and not single messages.
    pub fn is_failing(&self) -> bool {
        self.failures >= FAILURES_OF_DESTINATION
    }

    /// The next event to deliver at `now`; it counts as being delivered from now on.
    pub fn take_next(&mut self, now: DateTime<Utc>) -> Option<i64> {
        while let Some((due, seq)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, seq));
            self.set_ready(seq);
        }
        if self.blocked_until.is_some_and(|until| until > now) {
            return None;
        }
        let seq = self.next_urgent().or_else(|| self.next_ordinary(now))?;
        let item = self.open.get_mut(&seq)?;
        (item.running, item.due) = (true, None);
        item.first_at.get_or_insert(now);
        if item.urgent {
            self.urgent.remove(&seq);
            self.urgent_running += 1;
        } else {
            self.ready.remove(&seq);
            self.running += 1;
            self.next_probe = Some(now + PROBE_INTERVAL);
        }
        Some(seq)
    }

    /// While a destination fails, one deprovisioning at a time is tried again; each is tried once
    /// at once.
    fn next_urgent(&self) -> Option<i64> {
        if self.urgent_running >= MAX_AT_ONCE {
            return None;
        }
        let alone = self.failures == 0 || self.urgent_running == 0;
        let tried = |seq: &i64| self.open.get(seq).is_some_and(|item| item.attempts > 0);
        self.urgent.iter().find(|seq| alone || !tried(seq)).copied()
    }

    fn next_ordinary(&self, now: DateTime<Utc>) -> Option<i64> {
        let failing = self.is_failing();
        let most = if failing { 1 } else { self.at_once };
        let waits = failing && self.next_probe.is_some_and(|at| at > now);
        self.ready.first().copied().filter(|_| self.running < most && !waits)
    }

    fn set_ready(&mut self, seq: i64) {
        let Some(item) = self.open.get_mut(&seq) else { return };
        item.due = None;
        if item.running {
            return;
        }
        if item.urgent {
            self.urgent.insert(seq);
        } else if self.subjects.get(&item.event.subject_id).and_then(BTreeSet::first) == Some(&seq)
        {
            self.ready.insert(seq);
        }
    }

    /// An event that is to be delivered.
    pub fn item_mut(&mut self, seq: i64) -> Option<&mut OpenItem> {
        self.open.get_mut(&seq)
    }

    /// The destination has taken an event. Whether it failed before: then everything that waits is
    /// tried now.
    pub fn note_taken(&mut self, seq: i64, now: DateTime<Utc>) {
        let was_failing = self.is_failing();
        self.failures = 0;
        self.at_once = (self.at_once * 2).min(MAX_AT_ONCE);
        (self.blocked_until, self.next_probe) = (None, None);
        self.close_place(seq);
        if was_failing {
            for (_, waiting) in std::mem::take(&mut self.timers) {
                self.set_ready(waiting);
            }
        } else if let Some((due, urgent)) = self.first_waiting_urgent() {
            // One more deprovisioning is tried with each success, until none waits.
            self.timers.remove(&(due, urgent));
            self.timers.insert((now, urgent));
        }
    }

    fn first_waiting_urgent(&self) -> Option<(DateTime<Utc>, i64)> {
        let urgent = |seq: &i64| self.open.get(seq).is_some_and(|item| item.urgent);
        self.timers.iter().find(|(_, seq)| urgent(seq)).copied()
    }

    /// The destination has not taken an event. `spread` is between 0 and 1.
    pub fn note_failed(
        &mut self,
        seq: i64,
        now: DateTime<Utc>,
        retry_after: Option<TimeDelta>,
        spread: f64,
    ) -> AfterFailure {
        self.failures = self.failures.saturating_add(1);
        self.at_once = (self.at_once / 2).max(1);
        if let Some(wait) = retry_after {
            self.blocked_until = self.blocked_until.max(Some(now + wait));
        }
        let Some(item) = self.open.get_mut(&seq) else { return AfterFailure::GivenUp };
        let first = item.first_at.unwrap_or(now);
        let next = if item.urgent && now - first < URGENT_PERIOD {
            Some(now + URGENT_INTERVAL)
        } else {
            next_attempt(first, now, spread)
        };
        match next {
            Some(next) => {
                let next = retry_after.map_or(next, |wait| next.max(now + wait));
                self.stop_running(seq);
                if let Some(item) = self.open.get_mut(&seq) {
                    item.due = Some(next);
                }
                self.timers.insert((next, seq));
                AfterFailure::WaitsUntil(next)
            }
            None => {
                self.close_place(seq);
                AfterFailure::GivenUp
            }
        }
    }

    fn stop_running(&mut self, seq: i64) {
        let Some(item) = self.open.get_mut(&seq).filter(|item| item.running) else { return };
        item.running = false;
        if item.urgent {
            self.urgent_running -= 1;
        } else {
            self.running -= 1;
        }
    }

    /// Nothing more is to be done about an event: the next one of its subject can be delivered.
    fn close_place(&mut self, seq: i64) {
        self.stop_running(seq);
        let Some(item) = self.open.remove(&seq) else { return };
        if seq > self.cursor {
            self.ahead.insert(seq);
        }
        let subject = item.event.subject_id;
        let Some(line) = self.subjects.get_mut(&subject) else { return };
        line.remove(&seq);
        match line.first().copied() {
            None => {
                self.subjects.remove(&subject);
            }
            Some(next) => {
                if self.open.get(&next).is_some_and(|item| !item.urgent && item.due.is_none()) {
                    self.set_ready(next);
                }
            }
        }
    }

    /// The place up to which everything is delivered or given up.
    pub fn advance_cursor(&mut self) -> i64 {
        let waiting = self.open.range(self.cursor + 1..).next();
        let done = waiting.map_or(self.read_to, |(seq, _)| self.read_to.min(seq - 1));
        if done > self.cursor {
            self.cursor = done;
            self.ahead = self.ahead.split_off(&(done + 1));
        }
        self.cursor
    }

    /// When something that waits is due: for another server.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// When [`Self::take_next`] may have something next, if nothing else happens.
    pub fn next_turn(&self) -> Option<DateTime<Utc>> {
        let waiting = !(self.ready.is_empty() && self.urgent.is_empty());
        let probe = self.next_probe.filter(|_| self.is_failing() && !self.ready.is_empty());
        let blocked = self.blocked_until.filter(|_| waiting);
        [self.next_due(), probe, blocked].into_iter().flatten().min()
    }

    /// Whether nothing is to be delivered now.
    pub fn is_idle(&self, head: i64) -> bool {
        let waiting = self.ready.is_empty() && self.urgent.is_empty();
        waiting && self.running + self.urgent_running == 0 && self.scanned_to >= head
    }
}

/// When an attempt follows on one that failed at `now`; none when the last one was made.
fn next_attempt(first: DateTime<Utc>, now: DateTime<Utc>, spread: f64) -> Option<DateTime<Utc>> {
    let (elapsed, mut sum) = ((now - first).num_seconds(), 0);
    for delay in RETRY_DELAYS {
        sum += delay;
        // An attempt that was made a little early counts as that attempt.
        if sum - delay / 5 > elapsed {
            let wait = (delay as f64 * (0.9 + 0.2 * spread) * 1_000.0) as i64;
            let at = first + TimeDelta::seconds(sum - delay) + TimeDelta::milliseconds(wait);
            return Some(at.max(now + TimeDelta::seconds(1)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(&ChainedEvent) -> Option<bool> = |event| Some(event.is_deprovisioning());

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn event(seq: i64, action: &str, subject: u128) -> Arc<ChainedEvent> {
        Arc::new(ChainedEvent {
            id: Uuid::now_v7(),
            seq,
            at: at(0),
            action: action.into(),
            subject_kind: "user".into(),
            subject_id: Uuid::from_u128(subject),
            connection_id: None,
            request_id: Uuid::nil(),
            actor_kind: "SYSTEM".into(),
            actor_id: None,
            actor_name: "rolecall".into(),
            payload: None,
        })
    }

    fn with(events: &[Arc<ChainedEvent>]) -> DeliveryWindow {
        let mut window = DeliveryWindow::new(0, []);
        window.at_once = MAX_AT_ONCE;
        let page = window.wanted_page(1_000_000).unwrap();
        window.offer(page, events, ALL);
        window
    }

    #[test]
    fn one_subject_is_told_in_order() {
        let mut window = with(&[
            event(1, "user.created", 7),
            event(2, "user.updated", 7),
            event(3, "user.created", 8),
        ]);
        assert_eq!([window.take_next(at(0)), window.take_next(at(0))], [Some(1), Some(3)]);
        assert_eq!(window.take_next(at(0)), None);
        window.note_taken(3, at(0));
        assert_eq!(window.advance_cursor(), 0);
        window.note_failed(1, at(0), None, 0.5);
        assert_eq!(window.take_next(at(1)), None);
        assert_eq!(window.take_next(at(6)), Some(1));
        window.note_taken(1, at(6));
        assert_eq!(window.take_next(at(6)), Some(2));
        window.note_taken(2, at(6));
        assert_eq!(window.advance_cursor(), 3);
    }

    #[test]
    fn deprovisioning_overtakes_a_failed_delivery() {
        let mut window = with(&[event(1, "user.updated", 7), event(2, "user.suspended", 7)]);
        assert_eq!(window.take_next(at(0)), Some(2));
        assert_eq!(window.take_next(at(0)), Some(1));
        window.note_failed(1, at(0), None, 0.5);
        window.note_taken(2, at(0));
        assert_eq!(window.advance_cursor(), 0);
        assert!(window.ahead.contains(&2));
    }

    #[test]
    fn full_window_still_finds_deprovisionings() {
        let events: Vec<_> =
            (1..=2_500).map(|n| event(n, "user.updated", n.unsigned_abs().into())).collect();
        let mut window = DeliveryWindow::new(0, []);
        while let Some(page) = window.wanted_page(2_501) {
            let from = usize::try_from(page.after).unwrap();
            let mut rest = events[from.min(2_500)..].to_vec();
            rest.push(event(2_501, "user.deleted", 9_999));
            rest.truncate(500);
            window.offer(page, &rest, ALL);
        }
        assert_eq!(window.take_next(at(0)), Some(2_501));
        assert_eq!(window.read_to, 2_000);
    }

    #[test]
    fn dead_destination_is_tried_gently() {
        let events: Vec<_> =
            (1..=100).map(|n| event(n, "user.updated", n.unsigned_abs().into())).collect();
        let mut window = with(&events);
        let mut tried = 0;
        for second in 0..60 {
            while let Some(seq) = window.take_next(at(second)) {
                tried += 1;
                window.note_failed(seq, at(second), None, 0.5);
            }
        }
        assert!(tried < 40, "{tried} attempts within a minute");
        // One success, and all is tried.
        let seq = (60..80).find_map(|second| window.take_next(at(second))).unwrap();
        window.note_taken(seq, at(80));
        let mut told = 1;
        while let Some(seq) = window.take_next(at(80)) {
            window.note_taken(seq, at(80));
            told += 1;
        }
        assert_eq!((told, window.advance_cursor()), (100, 100));
    }

    #[test]
    fn attempts_end_after_three_days() {
        let (first, mut now, mut made) = (at(0), at(0), 1);
        while let Some(next) = next_attempt(first, now, 0.5) {
            assert!(next > now);
            (now, made) = (next, made + 1);
        }
        assert_eq!(made, 11);
        assert!((70..80).contains(&(now - first).num_hours()), "{}", now - first);
    }

    #[test]
    fn receiver_can_ask_for_time() {
        let mut window = with(&[event(1, "user.updated", 7), event(2, "user.updated", 8)]);
        assert_eq!(window.take_next(at(0)), Some(1));
        window.note_failed(1, at(0), Some(TimeDelta::seconds(30)), 0.5);
        assert_eq!(window.take_next(at(29)), None);
        assert_eq!(window.take_next(at(31)), Some(1));
    }

    #[test]
    fn what_was_done_ahead_is_skipped() {
        let mut window = DeliveryWindow::new(0, [2]);
        let page = window.wanted_page(3).unwrap();
        let events = [1, 2, 3].map(|n| event(n, "user.updated", n.unsigned_abs().into()));
        window.offer(page, &events, ALL);
        window.at_once = 2;
        assert_eq!([window.take_next(at(0)), window.take_next(at(0))], [Some(1), Some(3)]);
        window.note_taken(1, at(0));
        assert_eq!(window.advance_cursor(), 2);
    }
}
