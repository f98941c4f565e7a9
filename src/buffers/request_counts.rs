//! The outcomes of requests since the last flush: counted in memory by kind and hour, and bounded.
//!
//! What must never enter: a value of a request. A [`RequestKind`] consists of words of the source
//! code, of attribute names of a schema, and of ids and addresses; so what is written needs no
//! redaction.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use entity::request_log::Outcome;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::buffers::write_behind::{BufferContent, WriteBehind};
use crate::error::RefusalReason;

/// Kinds of one connection in an hour that are told apart; further ones are counted together.
const MAX_OF_CONNECTION: usize = 200;
/// Kinds of all connections that are told apart, so that many connections together do not fill the
/// memory.
const MAX_KINDS: usize = 20_000;
/// Addresses in an hour from which failed sign-ins to one organization are told apart; further ones
/// are counted together.
const MAX_SOURCES_OF_TENANT: usize = 200;
/// The same limit for all organizations together, so that many of them do not fill the memory.
const MAX_SOURCES: usize = 20_000;
/// Failed sign-ins in an hour to names that are no organization's, as far as is known, that are
/// told apart. They have a limit of their own, so that they do not use up the limits of the
/// organizations.
const MAX_UNKNOWN: usize = 1_000;
/// The longest slug that an organization can have.
const MAX_SLUG: usize = 63;

/// What requests that are counted together have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestKind {
    pub organization: Uuid,
    /// None where no connection is known for the token.
    pub connection: Option<Uuid>,
    /// When the hour began.
    pub hour: DateTime<Utc>,
    pub method: Option<&'static str>,
    pub resource: Option<&'static str>,
    pub meaning: &'static str,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub refusal: Option<RequestRefusal>,
    pub quirks: Vec<&'static str>,
    pub source: Option<IpAddr>,
}

/// Why a request was refused, in codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestRefusal {
    pub reason: RefusalReason,
    pub scim_type: Option<&'static str>,
    /// The attribute or parameter that is to blame.
    pub field: Option<Cow<'static, str>>,
}

/// The organization that a failed sign-in was for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SignInTenant {
    /// By the name that the request gave; whether there is such an organization is not known yet.
    Named(String),
    /// The organization of the credential, which is not valid any more.
    Known(Uuid),
}

/// A failed authentication, identified only by where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FailedSignIn {
    pub tenant: SignInTenant,
    /// Which interface; none for SCIM.
    pub interface: Option<&'static str>,
    pub source: Option<IpAddr>,
    pub reason: RefusalReason,
    pub hour: DateTime<Utc>,
}

/// How often something happened, and the last time in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestCount {
    pub n: u64,
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub request: Option<Uuid>,
    /// The user or group, by the id that this server gave it.
    pub target: Option<Uuid>,
}

impl RequestCount {
    /// Once, at this instant.
    pub fn single(at: DateTime<Utc>, request: Option<Uuid>, target: Option<Uuid>) -> Self {
        Self { n: 1, first: at, last: at, request, target }
    }

    fn add_count(&mut self, more: RequestCount) {
        if self.n == 0 {
            *self = more;
            return;
        }
        self.n += more.n;
        self.first = self.first.min(more.first);
        if more.last >= self.last {
            (self.last, self.request) = (more.last, more.request.or(self.request));
            self.target = more.target.or(self.target);
        }
    }

    /// What was counted; counts from zero afterwards.
    fn take_counted(&mut self) -> Option<Self> {
        (self.n > 0).then(|| Self { n: std::mem::take(&mut self.n), ..self.clone() })
    }
}

/// What was counted since the last flush.
#[derive(Debug, Default)]
pub struct DrainedCounts {
    pub kinds: Vec<(RequestKind, RequestCount)>,
    pub strangers: Vec<(FailedSignIn, RequestCount)>,
    /// Failed authentications at unknown names beyond the limit.
    pub lost: u64,
}

/// Counts requests. What was seen in this hour stays known, so that the bounds hold for the hour.
#[derive(Debug, Default)]
pub struct RequestCounts {
    pub buffer: WriteBehind<KnownCounts>,
    /// Notified when a refusal is of a kind that was not seen in this hour: an administrator may be
    /// waiting for it.
    pub news: Notify,
}

/// What was counted in this hour.
#[derive(Debug, Default)]
pub struct KnownCounts {
    kinds: HashMap<Option<Uuid>, HashMap<RequestKind, RequestCount>>,
    total: usize,
    /// Names of organizations.
    tenants: HashMap<String, Uuid>,
    /// Failed sign-ins to organizations.
    strangers: HashMap<SignInTenant, HashMap<FailedSignIn, RequestCount>>,
    /// How many of those are told apart.
    sources: usize,
    /// Failed sign-ins to names that are no organization's, as far as is known.
    unknown: HashMap<FailedSignIn, RequestCount>,
    lost: u64,
}

impl RequestCounts {
    /// Counts a request.
    pub fn note_request(&self, kind: RequestKind, count: RequestCount) {
        let news = kind.refusal.is_some();
        let mut kept = self.buffer.lock();
        let KnownCounts { kinds, total, .. } = &mut *kept;
        let known = kinds.entry(kind.connection).or_default();
        let full = known.len() >= MAX_OF_CONNECTION || *total >= MAX_KINDS;
        let kind = if full && !known.contains_key(&kind) {
            combined_kind(kind.organization, kind.connection, kind.hour)
        } else {
            kind
        };
        if add_to_map(known, kind, count) {
            *total += 1;
            if news {
                self.news.notify_one();
            }
        }
    }

    /// Counts a failed authentication. One at a known organization is always counted for that
    /// organization; over the limits, only its source address is dropped.
    pub fn note_stranger(&self, mut stranger: FailedSignIn, count: RequestCount) {
        let mut kept = self.buffer.lock();
        let known = match &stranger.tenant {
            SignInTenant::Known(_) => true,
            SignInTenant::Named(slug) => kept.tenants.contains_key(slug),
        };
        let interface = stranger.interface.unwrap_or("SCIM");
        let tenant = if known { "known" } else { "unknown" };
        metrics::counter!(
            "rolecall_sign_ins_failed_total",
            "interface" => interface,
            "tenant" => tenant
        )
        .increment(count.n);
        let KnownCounts { strangers, sources, unknown, lost, .. } = &mut *kept;
        if known {
            let of = strangers.entry(stranger.tenant.clone()).or_default();
            let full = of.len() >= MAX_SOURCES_OF_TENANT || *sources >= MAX_SOURCES;
            if full && !of.contains_key(&stranger) {
                stranger.source = None;
            }
            *sources += usize::from(add_to_map(of, stranger, count));
            return;
        }
        let slug = match &stranger.tenant {
            SignInTenant::Named(slug) => slug.as_str(),
            SignInTenant::Known(_) => "",
        };
        if slug.is_empty() {
            // It names no organization, as a wrong API key: only the metric counts it.
            return;
        }
        if slug.len() <= MAX_SLUG
            && (unknown.len() < MAX_UNKNOWN || unknown.contains_key(&stranger))
        {
            add_to_map(unknown, stranger, count);
        } else {
            *lost += count.n;
        }
    }

    /// Learns names of organizations.
    pub fn learn_tenants(&self, tenants: impl IntoIterator<Item = (String, Uuid)>) {
        self.buffer.lock().tenants.extend(tenants);
    }

    /// The organization of this name, if it was learnt.
    pub fn known_tenant(&self, slug: &str) -> Option<Uuid> {
        self.buffer.lock().tenants.get(slug).copied()
    }

    /// The latest of the organizations whose names were learnt.
    pub fn last_tenant(&self) -> Uuid {
        self.buffer.lock().tenants.values().max().copied().unwrap_or_default()
    }
}

impl BufferContent for KnownCounts {
    type Batch = DrainedCounts;

    /// What belongs to an hour that is over is forgotten.
    fn drain(&mut self, now: DateTime<Utc>) -> DrainedCounts {
        let hour = hour_of(now);
        let mut taken =
            DrainedCounts { lost: std::mem::take(&mut self.lost), ..DrainedCounts::default() };
        for known in self.kinds.values_mut() {
            taken.kinds.extend(
                known
                    .iter_mut()
                    .filter_map(|(kind, count)| Some((kind, count.take_counted()?)))
                    .map(clone_entry),
            );
            known.retain(|kind, _| kind.hour == hour);
        }
        self.kinds.retain(|_, known| !known.is_empty());
        self.total = self.kinds.values().map(HashMap::len).sum();
        let Self { strangers, sources, unknown, .. } = self;
        for of in strangers.values_mut().chain([unknown]) {
            taken.strangers.extend(
                of.iter_mut()
                    .filter_map(|(stranger, count)| Some((stranger, count.take_counted()?)))
                    .map(clone_entry),
            );
            of.retain(|stranger, _| stranger.hour == hour);
        }
        strangers.retain(|_, of| !of.is_empty());
        *sources = strangers.values().map(HashMap::len).sum();
        taken
    }

    fn restore(&mut self, rest: DrainedCounts) {
        for (kind, count) in rest.kinds {
            let known = self.kinds.entry(kind.connection).or_default();
            add_to_map(known, kind, count);
        }
        for (stranger, count) in rest.strangers {
            let known = match &stranger.tenant {
                SignInTenant::Known(_) => true,
                SignInTenant::Named(slug) => self.tenants.contains_key(slug),
            };
            if known {
                add_to_map(
                    self.strangers.entry(stranger.tenant.clone()).or_default(),
                    stranger,
                    count,
                );
            } else {
                add_to_map(&mut self.unknown, stranger, count);
            }
        }
        self.total = self.kinds.values().map(HashMap::len).sum();
    }
}

fn clone_entry<K: Clone>((key, count): (&K, RequestCount)) -> (K, RequestCount) {
    (key.clone(), count)
}

/// Returns whether the key is new.
fn add_to_map<K: Eq + Hash>(
    known: &mut HashMap<K, RequestCount>,
    key: K,
    count: RequestCount,
) -> bool {
    match known.entry(key) {
        Entry::Occupied(mut known) => {
            known.get_mut().add_count(count);
            false
        }
        Entry::Vacant(place) => {
            place.insert(count);
            true
        }
    }
}

/// The kind that stands for all that are not told apart.
fn combined_kind(organization: Uuid, connection: Option<Uuid>, hour: DateTime<Utc>) -> RequestKind {
    RequestKind {
        organization,
        connection,
        hour,
        method: None,
        resource: None,
        meaning: "various",
        outcome: Outcome::Various,
        status: None,
        refusal: None,
        quirks: Vec::new(),
        source: None,
    }
}

/// When the hour of an instant began.
pub fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp() - at.timestamp().rem_euclid(3_600), 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 - 1_700_000_000 % 3_600, 0).unwrap()
    }

    fn minute(n: i64) -> DateTime<Utc> {
        noon() + chrono::Duration::minutes(n)
    }

    fn kind(connection: u128, status: u16) -> RequestKind {
        RequestKind {
            method: Some("GET"),
            resource: Some("Users"),
            meaning: "list users",
            outcome: Outcome::Answered,
            status: Some(status),
            ..combined_kind(Uuid::nil(), Some(Uuid::from_u128(connection)), noon())
        }
    }

    fn once(n: i64) -> RequestCount {
        RequestCount::single(minute(n), Some(Uuid::from_u128(n as u128)), None)
    }

    #[test]
    fn equal_requests_are_one_kind_and_are_counted_from_zero_after_each_flush() {
        let requests = RequestCounts::default();
        for n in [3, 1, 2] {
            requests.note_request(kind(1, 200), once(n));
        }
        let taken = requests.buffer.drain(minute(4)).kinds;
        assert_eq!(taken.len(), 1);
        let count = &taken[0].1;
        assert_eq!(
            (count.n, count.first, count.last, count.request),
            (3, minute(1), minute(3), Some(Uuid::from_u128(3)))
        );
        assert!(requests.buffer.drain(minute(4)).kinds.is_empty());
        requests.note_request(kind(1, 200), once(5));
        assert_eq!(requests.buffer.drain(minute(6)).kinds, [(kind(1, 200), once(5))]);
    }

    #[test]
    fn one_connection_can_fill_neither_the_memory_nor_the_place_of_another() {
        let requests = RequestCounts::default();
        for round in 0..3 {
            for status in 0..1_000 {
                requests.note_request(kind(1, status), once(0));
            }
            requests.note_request(kind(2, 200), once(0));
            let taken = requests.buffer.drain(minute(round)).kinds;
            // What was told apart once stays so for the hour; all the rest has one row.
            let (told, rest): (Vec<_>, Vec<_>) =
                taken.iter().partition(|(kind, _)| kind.outcome != Outcome::Various);
            assert_eq!((told.len(), rest.len()), (MAX_OF_CONNECTION + 1, 1));
            assert_eq!(rest[0].1.n, 1_000 - MAX_OF_CONNECTION as u64);
        }
        // A new hour begins anew.
        requests.buffer.drain(minute(60));
        assert!(requests.buffer.lock().kinds.is_empty() && requests.buffer.lock().total == 0);
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let requests = RequestCounts::default();
        requests.note_request(kind(1, 200), once(1));
        let taken = requests.buffer.drain(minute(2));
        requests.note_request(kind(1, 200), once(2));
        requests.buffer.restore(taken);
        let again = requests.buffer.drain(minute(3)).kinds;
        assert_eq!(
            (again.len(), again[0].1.n, again[0].1.first, again[0].1.last),
            (1, 2, minute(1), minute(2))
        );
    }

    fn stranger(slug: &str, n: u32) -> FailedSignIn {
        FailedSignIn {
            tenant: SignInTenant::Named(slug.into()),
            interface: None,
            source: Some(IpAddr::from(n.to_be_bytes())),
            reason: RefusalReason::TokenUnknown,
            hour: noon(),
        }
    }

    fn counted(taken: &DrainedCounts, slug: &str) -> u64 {
        let tenant = SignInTenant::Named(slug.into());
        taken
            .strangers
            .iter()
            .filter(|(known, _)| known.tenant == tenant)
            .map(|(_, count)| count.n)
            .sum()
    }

    #[test]
    fn strangers_are_told_apart_up_to_a_bound() {
        let requests = RequestCounts::default();
        requests.learn_tenants([("acme".to_owned(), Uuid::from_u128(1))]);
        for n in 0..5_000 {
            requests.note_stranger(stranger("acme", n), once(0));
        }
        let taken = requests.buffer.drain(minute(1));
        assert_eq!((taken.strangers.len(), taken.lost), (MAX_SOURCES_OF_TENANT + 1, 0));
        assert_eq!(counted(&taken, "acme"), 5_000);
        // A new hour begins anew.
        requests.buffer.drain(minute(60));
        assert!(requests.buffer.lock().strangers.is_empty() && requests.buffer.lock().sources == 0);
    }

    #[test]
    fn unknown_names_take_no_room_of_organizations() {
        let requests = RequestCounts::default();
        requests.learn_tenants([
            ("acme".to_owned(), Uuid::from_u128(1)),
            ("globex".to_owned(), Uuid::from_u128(2)),
        ]);
        for n in 0..5_000 {
            requests.note_stranger(stranger(&format!("guess-{n}"), n), once(0));
            requests.note_stranger(stranger("globex", n), once(0));
        }
        requests.note_stranger(stranger(&"x".repeat(64), 1), once(0));
        requests.note_stranger(stranger("", 1), once(0));
        requests.note_stranger(stranger("acme", 7), once(1));
        let taken = requests.buffer.drain(minute(2));
        assert!(
            taken
                .strangers
                .iter()
                .any(|(known, count)| *known == stranger("acme", 7) && count.n == 1)
        );
        assert_eq!(counted(&taken, "globex"), 5_000);
        let unknown = taken.strangers.iter().filter(|(known, _)| {
            !["acme", "globex"].map(|slug| SignInTenant::Named(slug.into())).contains(&known.tenant)
        });
        assert_eq!(unknown.count(), MAX_UNKNOWN);
        assert_eq!(taken.lost, 5_001 - MAX_UNKNOWN as u64);
    }

    #[tokio::test]
    async fn a_refusal_that_is_new_is_announced_once() {
        let requests = RequestCounts::default();
        let refused = RequestKind {
            refusal: Some(RequestRefusal {
                reason: RefusalReason::Taken,
                scim_type: Some("uniqueness"),
                field: None,
            }),
            ..kind(1, 409)
        };
        let told = async || {
            tokio::time::timeout(std::time::Duration::from_millis(5), requests.news.notified())
                .await
                .is_ok()
        };
        requests.note_request(kind(1, 200), once(0));
        assert!(!told().await, "a success is not announced");
        requests.note_request(refused.clone(), once(0));
        assert!(told().await);
        requests.buffer.drain(minute(1));
        requests.note_request(refused, once(2));
        assert!(!told().await, "the same again");
    }
}
