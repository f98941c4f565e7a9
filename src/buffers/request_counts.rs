//! What requests came to since it was last written down: counted in memory by kind and hour, and bounded.
//!
//! What must never enter: a value of a request. A [`Kind`] is made of words that stand in our source, of names of
//! attributes that a schema has, and of ids and addresses; so what is written down needs no redaction.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use entity::request_log::Outcome;
use tokio::sync::Notify;
use uuid::Uuid;

/// Kinds of one connection in an hour that are told apart; further ones are counted together.
const MAX_OF_CONNECTION: usize = 200;
/// Kinds in all that are told apart, lest many connections together fill the memory.
const MAX_KINDS: usize = 20_000;
/// Addresses in an hour from which failed sign-ins to one organization are told apart; further ones are counted together.
const MAX_SOURCES_OF_TENANT: usize = 200;
/// The same of all organizations together, lest many of them fill the memory.
const MAX_SOURCES: usize = 20_000;
/// Failed sign-ins in an hour to names that are no organization's, as far as is known, that are told apart. They have
/// room of their own, so that they take nothing from the organizations.
const MAX_UNKNOWN: usize = 1_000;
/// The longest slug that an organization can have.
const MAX_SLUG: usize = 63;

/// What requests that are counted together have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    pub organization: Uuid,
    /// None where the token told no connection.
    pub connection: Option<Uuid>,
    /// When the hour began.
    pub hour: DateTime<Utc>,
    pub method: Option<&'static str>,
    pub resource: Option<&'static str>,
    pub meaning: &'static str,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub refusal: Option<Refusal>,
    pub quirks: Vec<&'static str>,
    pub source: Option<IpAddr>,
}

/// Why something was refused, in codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    pub reason: &'static str,
    pub scim_type: Option<&'static str>,
    /// The attribute or parameter that is to blame.
    pub field: Option<Cow<'static, str>>,
}

/// Where somebody wanted to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// By the name that the request gave; whether there is such an organization is not known yet.
    Named(String),
    /// The organization of the credential, which opens nothing any more.
    Known(Uuid),
}

/// An authentication that failed, told by nothing but where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stranger {
    pub tenant: Tenant,
    /// Which interface; none for SCIM.
    pub interface: Option<&'static str>,
    pub source: Option<IpAddr>,
    pub reason: &'static str,
    pub hour: DateTime<Utc>,
}

/// How often something happened, and the last time in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub n: u64,
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub request: Option<Uuid>,
    /// The user or group, by the id that this server gave it.
    pub target: Option<Uuid>,
}

impl Count {
    /// Once, at this instant.
    pub fn once(at: DateTime<Utc>, request: Option<Uuid>, target: Option<Uuid>) -> Self {
        Self { n: 1, first: at, last: at, request, target }
    }

    fn add(&mut self, more: Count) {
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
    fn take(&mut self) -> Option<Self> {
        (self.n > 0).then(|| Self { n: std::mem::take(&mut self.n), ..self.clone() })
    }
}

/// What was counted since the last flush.
#[derive(Debug, Default)]
pub struct Taken {
    pub kinds: Vec<(Kind, Count)>,
    pub strangers: Vec<(Stranger, Count)>,
    /// Failed authentications at too many names that are no organization's to be told apart.
    pub lost: u64,
}

/// Counts requests. What was seen in this hour stays known, so that the bounds hold for the hour.
#[derive(Debug, Default)]
pub struct Requests {
    kept: Mutex<Kept>,
    /// Held while what was taken is written: the next to take it finds everything before it in the database.
    pub flush: tokio::sync::Mutex<()>,
    /// Told when something is refused in a way that was not seen in this hour: somebody may be waiting for it.
    pub news: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    kinds: HashMap<Option<Uuid>, HashMap<Kind, Count>>,
    total: usize,
    /// Names of organizations.
    tenants: HashMap<String, Uuid>,
    /// Failed sign-ins to organizations.
    strangers: HashMap<Tenant, HashMap<Stranger, Count>>,
    /// How many of those are told apart.
    sources: usize,
    /// Failed sign-ins to names that are no organization's, as far as is known.
    unknown: HashMap<Stranger, Count>,
    lost: u64,
}

impl Requests {
    /// Counts a request.
    pub fn note(&self, kind: Kind, count: Count) {
        let news = kind.refusal.is_some();
        let mut kept = self.lock();
        let Kept { kinds, total, .. } = &mut *kept;
        let known = kinds.entry(kind.connection).or_default();
        let full = known.len() >= MAX_OF_CONNECTION || *total >= MAX_KINDS;
        let kind = match full && !known.contains_key(&kind) {
            true => together(kind.organization, kind.connection, kind.hour),
            false => kind,
        };
        if add(known, kind, count) {
            *total += 1;
            if news {
                self.news.notify_one();
            }
        }
    }

    /// Counts an authentication that failed. An organization is told of those at its own door whatever happens at others.
    pub fn note_stranger(&self, mut stranger: Stranger, count: Count) {
        let mut kept = self.lock();
        let known = match &stranger.tenant {
            Tenant::Known(_) => true,
            Tenant::Named(slug) => kept.tenants.contains_key(slug),
        };
        let interface = stranger.interface.unwrap_or("SCIM");
        let tenant = if known { "known" } else { "unknown" };
        metrics::counter!("rolecall_sign_ins_failed_total", "interface" => interface, "tenant" => tenant)
            .increment(count.n);
        let Kept { strangers, sources, unknown, lost, .. } = &mut *kept;
        if known {
            let of = strangers.entry(stranger.tenant.clone()).or_default();
            let full = of.len() >= MAX_SOURCES_OF_TENANT || *sources >= MAX_SOURCES;
            if full && !of.contains_key(&stranger) {
                stranger.source = None;
            }
            *sources += usize::from(add(of, stranger, count));
            return;
        }
        let named = matches!(&stranger.tenant, Tenant::Named(slug) if !slug.is_empty() && slug.len() <= MAX_SLUG);
        if named && (unknown.len() < MAX_UNKNOWN || unknown.contains_key(&stranger)) {
            add(unknown, stranger, count);
        } else {
            *lost += count.n;
        }
    }

    /// Learns names of organizations.
    pub fn learn_tenants(&self, tenants: impl IntoIterator<Item = (String, Uuid)>) {
        self.lock().tenants.extend(tenants);
    }

    /// The organization of this name, if it was learnt.
    pub fn tenant(&self, slug: &str) -> Option<Uuid> {
        self.lock().tenants.get(slug).copied()
    }

    /// The latest of the organizations whose names were learnt.
    pub fn last_tenant(&self) -> Uuid {
        self.lock().tenants.values().max().copied().unwrap_or_default()
    }

    /// Takes what was counted since the last call. What belongs to an hour that is over is forgotten.
    pub fn take(&self, now: DateTime<Utc>) -> Taken {
        let hour = hour(now);
        let mut kept = self.lock();
        let mut taken = Taken { lost: std::mem::take(&mut kept.lost), ..Taken::default() };
        for known in kept.kinds.values_mut() {
            taken.kinds.extend(known.iter_mut().filter_map(|(kind, count)| Some((kind, count.take()?))).map(owned));
            known.retain(|kind, _| kind.hour == hour);
        }
        kept.kinds.retain(|_, known| !known.is_empty());
        kept.total = kept.kinds.values().map(HashMap::len).sum();
        let Kept { strangers, sources, unknown, .. } = &mut *kept;
        for of in strangers.values_mut().chain([unknown]) {
            taken
                .strangers
                .extend(of.iter_mut().filter_map(|(stranger, count)| Some((stranger, count.take()?))).map(owned));
            of.retain(|stranger, _| stranger.hour == hour);
        }
        strangers.retain(|_, of| !of.is_empty());
        *sources = strangers.values().map(HashMap::len).sum();
        taken
    }

    /// Gives back what was taken and could not be written.
    pub fn give_back(&self, taken: Taken) {
        let mut kept = self.lock();
        for (kind, count) in taken.kinds {
            let known = kept.kinds.entry(kind.connection).or_default();
            add(known, kind, count);
        }
        for (stranger, count) in taken.strangers {
            let known = match &stranger.tenant {
                Tenant::Known(_) => true,
                Tenant::Named(slug) => kept.tenants.contains_key(slug),
            };
            match known {
                true => add(kept.strangers.entry(stranger.tenant.clone()).or_default(), stranger, count),
                false => add(&mut kept.unknown, stranger, count),
            };
        }
        kept.total = kept.kinds.values().map(HashMap::len).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owned<K: Clone>((key, count): (&K, Count)) -> (K, Count) {
    (key.clone(), count)
}

/// Returns whether the key is new.
fn add<K: Eq + Hash>(known: &mut HashMap<K, Count>, key: K, count: Count) -> bool {
    match known.entry(key) {
        Entry::Occupied(mut known) => {
            known.get_mut().add(count);
            false
        }
        Entry::Vacant(place) => {
            place.insert(count);
            true
        }
    }
}

/// The kind that stands for all that are not told apart.
fn together(organization: Uuid, connection: Option<Uuid>, hour: DateTime<Utc>) -> Kind {
    Kind {
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
pub fn hour(at: DateTime<Utc>) -> DateTime<Utc> {
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

    fn kind(connection: u128, status: u16) -> Kind {
        Kind {
            method: Some("GET"),
            resource: Some("Users"),
            meaning: "list users",
            outcome: Outcome::Answered,
            status: Some(status),
            ..together(Uuid::nil(), Some(Uuid::from_u128(connection)), noon())
        }
    }

    fn once(n: i64) -> Count {
        Count::once(minute(n), Some(Uuid::from_u128(n as u128)), None)
    }

    #[test]
    fn equal_requests_are_one_kind_and_are_counted_from_zero_after_each_flush() {
        let requests = Requests::default();
        for n in [3, 1, 2] {
            requests.note(kind(1, 200), once(n));
        }
        let taken = requests.take(minute(4)).kinds;
        assert_eq!(taken.len(), 1);
        let count = &taken[0].1;
        assert_eq!(
            (count.n, count.first, count.last, count.request),
            (3, minute(1), minute(3), Some(Uuid::from_u128(3)))
        );
        assert!(requests.take(minute(4)).kinds.is_empty());
        requests.note(kind(1, 200), once(5));
        assert_eq!(requests.take(minute(6)).kinds, [(kind(1, 200), once(5))]);
    }

    #[test]
    fn one_connection_can_fill_neither_the_memory_nor_the_place_of_another() {
        let requests = Requests::default();
        for round in 0..3 {
            for status in 0..1_000 {
                requests.note(kind(1, status), once(0));
            }
            requests.note(kind(2, 200), once(0));
            let taken = requests.take(minute(round)).kinds;
            // What was told apart once stays so for the hour; all the rest has one row.
            let (told, rest): (Vec<_>, Vec<_>) = taken.iter().partition(|(kind, _)| kind.outcome != Outcome::Various);
            assert_eq!((told.len(), rest.len()), (MAX_OF_CONNECTION + 1, 1));
            assert_eq!(rest[0].1.n, 1_000 - MAX_OF_CONNECTION as u64);
        }
        // A new hour begins anew.
        requests.take(minute(60));
        assert!(requests.lock().kinds.is_empty() && requests.lock().total == 0);
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let requests = Requests::default();
        requests.note(kind(1, 200), once(1));
        let taken = requests.take(minute(2));
        requests.note(kind(1, 200), once(2));
        requests.give_back(taken);
        let again = requests.take(minute(3)).kinds;
        assert_eq!((again.len(), again[0].1.n, again[0].1.first, again[0].1.last), (1, 2, minute(1), minute(2)));
    }

    fn stranger(slug: &str, n: u32) -> Stranger {
        Stranger {
            tenant: Tenant::Named(slug.into()),
            interface: None,
            source: Some(IpAddr::from(n.to_be_bytes())),
            reason: "TOKEN_UNKNOWN",
            hour: noon(),
        }
    }

    fn counted(taken: &Taken, slug: &str) -> u64 {
        let tenant = Tenant::Named(slug.into());
        taken.strangers.iter().filter(|(known, _)| known.tenant == tenant).map(|(_, count)| count.n).sum()
    }

    #[test]
    fn strangers_are_told_apart_up_to_a_bound() {
        let requests = Requests::default();
        requests.learn_tenants([("acme".to_owned(), Uuid::from_u128(1))]);
        for n in 0..5_000 {
            requests.note_stranger(stranger("acme", n), once(0));
        }
        let taken = requests.take(minute(1));
        assert_eq!((taken.strangers.len(), taken.lost), (MAX_SOURCES_OF_TENANT + 1, 0));
        assert_eq!(counted(&taken, "acme"), 5_000);
        // A new hour begins anew.
        requests.take(minute(60));
        assert!(requests.lock().strangers.is_empty() && requests.lock().sources == 0);
    }

    #[test]
    fn names_of_nobody_take_no_room_from_an_organization() {
        let requests = Requests::default();
        requests.learn_tenants([("acme".to_owned(), Uuid::from_u128(1)), ("globex".to_owned(), Uuid::from_u128(2))]);
        for n in 0..5_000 {
            requests.note_stranger(stranger(&format!("guess-{n}"), n), once(0));
            requests.note_stranger(stranger("globex", n), once(0));
        }
        requests.note_stranger(stranger(&"x".repeat(64), 1), once(0));
        requests.note_stranger(stranger("acme", 7), once(1));
        let taken = requests.take(minute(2));
        assert!(taken.strangers.iter().any(|(known, count)| *known == stranger("acme", 7) && count.n == 1));
        assert_eq!(counted(&taken, "globex"), 5_000);
        let unknown = taken
            .strangers
            .iter()
            .filter(|(known, _)| !["acme", "globex"].map(|slug| Tenant::Named(slug.into())).contains(&known.tenant));
        assert_eq!(unknown.count(), MAX_UNKNOWN);
        assert_eq!(taken.lost, 5_001 - MAX_UNKNOWN as u64);
    }

    #[tokio::test]
    async fn a_refusal_that_is_new_is_announced_once() {
        let requests = Requests::default();
        let refused = Kind {
            refusal: Some(Refusal { reason: "TAKEN", scim_type: Some("uniqueness"), field: None }),
            ..kind(1, 409)
        };
        let told =
            async || tokio::time::timeout(std::time::Duration::from_millis(5), requests.news.notified()).await.is_ok();
        requests.note(kind(1, 200), once(0));
        assert!(!told().await, "nobody waits for what went well");
        requests.note(refused.clone(), once(0));
        assert!(told().await);
        requests.take(minute(1));
        requests.note(refused, once(2));
        assert!(!told().await, "the same again");
    }
}
