//! Carrying runs out, a few at once on this server: users, groups, what members were missing, and at the end whom the
//! source does not list. After every page the run is written down, so that another server can go on.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chrono::SecondsFormat;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::client::{Abilities, At, Client, Page, Refusal, UNREADABLE, quoted};
use super::probe::remedy;
use crate::context::App;
use crate::domain::sync::carry::{self, Carried, Held, Kind, Pass};
use crate::domain::sync::claim::{self, Checkpoint, Claim, End, Phase, Pulse};
use crate::domain::sync::{self, Mode, Target, Trouble};
use crate::error::Result;

/// Runs that are carried out at once on one server process.
const AT_ONCE: usize = 8;
/// A run that another server took in, or left behind, and one whose time has come are looked for this often.
const LOOK: Duration = Duration::from_secs(2);
/// How often a run says that it is alive, and hears whether it must end.
const BEAT: Duration = Duration::from_secs(1);
/// So few absent accounts need no approval, whatever their share is.
const FLOOR: u64 = 10;
/// All accounts or memberships at once need approval, if there are at least so many.
const SMALLEST_WHOLE: u64 = 3;
/// Changes and members that are kept in memory until the whole list is known; for more, the list is read again.
const MAX_HELD: usize = 200_000;
/// How far the clocks of the source and of this server may be apart.
const OVERLAP: chrono::Duration = chrono::Duration::minutes(10);
/// How often a phase is begun again.
const AGAIN: u32 = 2;
/// So many pages in a row that bring nobody new are a circle.
const STALLED: u32 = 3;
/// So many that the source did not list are asked for one by one before they are removed.
const ASKED: u64 = 200;
/// How often a run may be interrupted before it is further.
const INTERRUPTIONS: u32 = 5;

/// Carries runs out until told to stop; then each ends where it is, for another server to go on.
pub async fn work(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = look.tick() => if let Err(error) = sync::begin_due(&app).await {
                tracing::warn!(%error, "looking for syncs whose time has come failed; it is tried again");
            },
            () = app.syncs.notified() => {}
            Some(_) = running.join_next() => {}
        }
        while running.len() < AT_ONCE {
            match claim::claim(&app).await {
                Ok(Some(claim)) => drop(running.spawn(carry_out(claim, stop.clone()))),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "looking for sync runs failed; it is tried again");
                    break;
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// Done when the process is stopping.
pub async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same to us.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

async fn carry_out(mut claim: Claim, mut stop: watch::Receiver<bool>) {
    let pulse = claim.pulse();
    let (id, release) = (claim.run.id, pulse.clone());
    // Whatever is cut off in the middle was not written, or is found to be so by whoever goes on.
    let ended = tokio::select! {
        ended = whole(&mut claim) => ended.map(Some),
        end = alive(pulse) => Ok(Some(end)),
        () = told(&mut stop) => Ok(None),
    };
    let done = match ended {
        Ok(Some(end)) => claim.finish(end).await,
        Ok(None) => release.release().await,
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        tracing::warn!(%error, run = %id, "a sync run was interrupted; it goes on in a moment");
    }
}

/// Says again and again that the run is alive; done when it must end.
async fn alive(pulse: Pulse) -> End {
    let mut timer = interval(BEAT);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match pulse.beat().await {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(error) => tracing::warn!(%error, "a sync run could not say that it is alive; it tries again"),
        }
    }
}

/// Why a run stops: itself, or a fault of ours.
enum Stop {
    End(End),
    Fault(crate::error::Error),
}

impl From<crate::error::Error> for Stop {
    fn from(error: crate::error::Error) -> Self {
        Self::Fault(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        let why = format!("{}; {}", refusal.words, remedy(&refusal));
        Self::End(End::Failed { reason: Some(refusal.reason), why })
    }
}

async fn whole(claim: &mut Claim) -> Result<End> {
    match phases(claim).await {
        Ok(()) => Ok(End::Succeeded),
        Err(Stop::End(end)) => Ok(end),
        Err(Stop::Fault(error)) => Err(error),
    }
}

/// The source answered, and what it answered is of no use.
fn failed(words: impl Into<String>) -> Stop {
    Stop::End(End::Failed { reason: Some(UNREADABLE), why: words.into() })
}

async fn save(claim: &Claim) -> Result<(), Stop> {
    match claim.save().await? {
        true => Ok(()),
        false => Err(Stop::End(End::Lost)),
    }
}

async fn phases(claim: &mut Claim) -> Result<(), Stop> {
    claim.checkpoint.interrupted += 1;
    if claim.checkpoint.interrupted > INTERRUPTIONS {
        let why = "the run was interrupted at the same place again and again; the server's log says by what".into();
        return Err(Stop::End(End::Failed { reason: Some("INTERNAL"), why }));
    }
    if claim.compares() && claim.checkpoint.interrupted > 1 {
        claim.read_anew().await?;
    }
    save(claim).await?;
    let client = Client::open(&claim.system(), claim.run.connection_id).await?;
    claim.checkpoint.lists_members |= client.source.lists_members;
    if claim.run.mode == Mode::OneUser {
        return one_user(claim, &client).await;
    }
    let mut source = Source { abilities: client.abilities().await?, client, since: None, held: None };
    if claim.run.mode == Mode::Incremental {
        match source.client.source.complete_at {
            Some(since) if source.abilities.filter => {
                source.since = Some((since - OVERLAP).to_rfc3339_opts(SecondsFormat::Secs, true));
            }
            Some(_) => note(claim, "the source cannot filter, so everything was read"),
            None => note(claim, "no earlier run was complete, so everything was read"),
        }
    }
    loop {
        let next = match claim.checkpoint.phase {
            Phase::Users => {
                source.list(claim, Kind::User).await?;
                // A dry run makes nobody, so that managers and members who are new stay unknown to it.
                match claim.checkpoint.managers_missing && claim.run.mode != Mode::DryRun {
                    true => Phase::Managers,
                    false => Phase::Groups,
                }
            }
            Phase::Managers => {
                claim.checkpoint.managers_missing = false;
                source.list(claim, Kind::User).await?;
                if claim.checkpoint.managers_missing {
                    note(claim, "some people have managers whom the source does not list");
                }
                Phase::Groups
            }
            Phase::Groups => {
                source.list(claim, Kind::Group).await?;
                match claim.checkpoint.members_missing && claim.run.mode != Mode::DryRun {
                    true => Phase::Members,
                    false => Phase::Absent,
                }
            }
            Phase::Members => {
                claim.checkpoint.members_missing = false;
                source.list(claim, Kind::Group).await?;
                if claim.checkpoint.members_missing {
                    note(
                        claim,
                        "some groups have members that the source does not list as users or groups, or show none",
                    );
                }
                Phase::Absent
            }
            Phase::Absent => {
                if matches!(claim.run.mode, Mode::Full | Mode::DryRun) {
                    absent(claim, &source.client).await?;
                }
                claim.compare().await?;
                return Ok(());
            }
        };
        let Checkpoint { members_missing, lists_members, interrupted, ref note, .. } = claim.checkpoint;
        claim.checkpoint = Checkpoint {
            phase: next,
            members_missing,
            lists_members,
            interrupted,
            note: note.clone(),
            ..Default::default()
        };
        save(claim).await?;
    }
}

fn note(claim: &mut Claim, text: &str) {
    let note = &mut claim.checkpoint.note;
    match note {
        Some(known) if known.contains(text) => {}
        Some(known) => *known = format!("{known}; {text}"),
        None => *note = Some(text.to_owned()),
    }
}

/// A source as one run reads it.
struct Source {
    client: Client,
    abilities: Abilities,
    /// Only what changed since then.
    since: Option<String>,
    /// What the list that is being read would take away; none = more than is kept.
    held: Option<Held>,
}

impl Source {
    /// Reads a list from the checkpoint to its end, and carries it over page by page. What takes something away is
    /// carried over when the whole list is known.
    async fn list(&mut self, claim: &mut Claim, kind: Kind) -> Result<(), Stop> {
        loop {
            self.read_list(claim, kind).await?;
            if !self.take_away(claim, kind).await? {
                return Ok(());
            }
        }
    }

    async fn read_list(&mut self, claim: &mut Claim, kind: Kind) -> Result<(), Stop> {
        let run = claim.run.id;
        let endpoint = kind.endpoint();
        let count = u64::from(self.client.source.page_size.unsigned_abs());
        let filter = self.filter(kind);
        let once_more = reads_once_more(claim);
        let holds = !claim.cx.rehearses() && !claim.checkpoint.takes_away;
        let mut pass = Pass::new(holds);
        self.held = Some(Held::default());
        if holds && claim.checkpoint.taking > 0 {
            // The server that held it is gone.
            restart_list(claim, kind);
        } else if once_more && claim.checkpoint.index == 0 && claim.checkpoint.cursor.is_none() {
            claim.recount(kind, true);
        }
        let mut met: HashSet<u64> = HashSet::new();
        if claim.checkpoint.index > 0 || claim.checkpoint.cursor.is_some() {
            met.extend(carry::seen_ids(&claim.cx, run, kind).await?.iter().map(|id| hash(id)));
        }
        // The page at which a run was interrupted comes once more.
        let (mut stalled, mut first) = (0, true);
        let total = loop {
            let by_cursor = self.abilities.cursor;
            let most = self.abilities.most.filter(|_| by_cursor).unwrap_or(count).max(1);
            let at = match by_cursor {
                true => At::Cursor(claim.checkpoint.cursor.as_deref().unwrap_or_default()),
                false => At::Index(claim.checkpoint.index),
            };
            let page = match self.client.page(endpoint, filter.as_deref(), at, count.min(most)).await {
                Ok(page) => page,
                Err(refusal) if by_cursor && refusal.of_cursor() => {
                    // A first cursor that is refused does not work at all; another one has expired.
                    self.abilities.cursor = claim.checkpoint.cursor.is_some();
                    again(claim, kind, &refusal.words)?;
                    self.held = Some(Held::default());
                    (stalled, first) = (0, true);
                    met.clear();
                    continue;
                }
                // Behind the last page some servers have no answer.
                Err(refusal) if !by_cursor && refusal.of_cursor() && claim.checkpoint.index > 0 => break None,
                Err(refusal) => return Err(refusal.into()),
            };
            let Page { total, ref next_cursor, rubbish, .. } = page;
            let (listed, next_cursor) = (page.len(), next_cursor.clone());
            let mut new = HashSet::new();
            let fresh = page.resources.iter().filter(|remote| met.insert(hash(&remote.id))).count();
            let resources: Vec<_> = page.resources.into_iter().filter(|remote| new.insert(remote.id.clone())).collect();
            if fresh == 0 && listed > 0 && !first {
                stalled += 1;
                if stalled >= STALLED {
                    match total.is_some_and(|total| met.len() as u64 >= total) {
                        true => break total,
                        false => {
                            return Err(failed(format!(
                                "{endpoint}: the source repeats its pages and never comes to an end; nobody was removed. \
                                 Its paging (startIndex or cursor) does not work; a larger pageSize may help"
                            )));
                        }
                    }
                }
            } else {
                stalled = 0;
            }
            first = false;
            let mut carried = match kind {
                Kind::User => carry::users(&claim.cx, Some(run), resources, &mut pass).await?,
                Kind::Group => {
                    let silent = claim.checkpoint.lists_members;
                    carry::groups(&claim.cx, Some(run), resources, silent, &pass).await?
                }
            };
            claim.checkpoint.taking += carried.taking;
            claim.checkpoint.giving += carried.giving;
            if let Some(held) = &mut self.held {
                held.append(std::mem::take(&mut carried.held));
            }
            self.held.take_if(|held| held.size() > MAX_HELD);
            if rubbish > 0 {
                carried.tally.read += rubbish;
                carried.tally.failed += rubbish;
                let why = format!("{rubbish} elements of the list have no usable id");
                carried.troubles.push(Trouble { kind: endpoint.into(), remote_id: String::new(), why });
                carried.met.rubbish = rubbish;
            }
            keep(claim, kind, carried, once_more).await?;
            if !claim.compares() {
                claim.checkpoint.interrupted = 0;
            }
            claim.checkpoint.index += listed;
            claim.checkpoint.cursor = next_cursor;
            let ended = if by_cursor { claim.checkpoint.cursor.is_none() } else { listed == 0 };
            if ended {
                break total;
            }
            save(claim).await?;
        };
        self.check_whole(claim, kind, endpoint, total, met.len() as u64).await
    }

    /// Carries over what the list takes away, unless that is more than is believed without being asked; whether the list
    /// is to be read again for it.
    async fn take_away(&mut self, claim: &mut Claim, kind: Kind) -> Result<bool, Stop> {
        let Checkpoint { taking, giving, takes_away, .. } = claim.checkpoint;
        if taking == 0 || takes_away {
            return Ok(false);
        }
        let lost = if kind == Kind::User { taking } else { taking.saturating_sub(giving) };
        let total = carry::count_removable(&claim.cx, kind).await?;
        if is_doubtful(lost, total, self.client.source.shrink_percent.unsigned_abs().into()) {
            let what = match kind {
                Kind::User => format!("suspends {lost} of {total} active accounts"),
                Kind::Group => format!("ends {lost} of {total} memberships"),
            };
            if claim.cx.rehearses() {
                note(claim, &format!("a full run would ask before it {what}"));
                return Ok(false);
            }
            claim.checkpoint.takes_away = true;
            restart_list(claim, kind);
            return Err(Stop::End(End::Waiting(format!(
                "by what the source lists, this run {what}, which is not believed without being asked; none of them was \
                 changed. If the source is right: syncApprove; otherwise syncCancel, and look at the source"
            ))));
        }
        if claim.cx.rehearses() {
            return Ok(false);
        }
        match self.held.take() {
            Some(held) => {
                let carried = carry::release_held(&claim.cx, Some(claim.run.id), held).await?;
                keep(claim, kind, carried, false).await?;
                (claim.checkpoint.taking, claim.checkpoint.giving) = (0, 0);
                save(claim).await?;
                Ok(false)
            }
            None => {
                claim.checkpoint.takes_away = true;
                restart_list(claim, kind);
                save(claim).await?;
                Ok(true)
            }
        }
    }

    /// Whether the list was read whole: nobody is removed because of a list that was not.
    async fn check_whole(
        &self,
        claim: &Claim,
        kind: Kind,
        endpoint: &str,
        total: Option<u64>,
        met: u64,
    ) -> Result<(), Stop> {
        let Some(total) = total.filter(|_| self.since.is_none()) else { return Ok(()) };
        let (seen, _) = carry::seen(&claim.cx, claim.run.id, kind).await?;
        let listed = met.max(seen + claim.checkpoint.strangers);
        if listed < total && claim.run.mode != Mode::Incremental {
            return Err(failed(format!(
                "{endpoint}: the source says that it has {total}, and listed {listed}; what it listed was carried over and \
                 nobody was removed. Start another run; if this repeats, look at the source's paging"
            )));
        }
        Ok(())
    }

    fn filter(&self, kind: Kind) -> Option<String> {
        let since = self.since.as_ref().map(|since| format!("meta.lastModified ge {}", quoted(since)));
        let users = self.client.source.user_filter.clone().filter(|_| kind == Kind::User);
        match (users, since) {
            (Some(users), Some(since)) => Some(format!("({users}) and {since}")),
            (users, since) => users.or(since),
        }
    }
}

/// Whether a list takes away so much that a person has to approve it: `lost` of `total` accounts or memberships.
fn is_doubtful(lost: u64, total: u64, percent: u64) -> bool {
    lost > FLOOR && lost * 100 > total * percent || lost >= total && total >= SMALLEST_WHOLE
}

/// Whether this list was read before in this run, and its resources were counted.
fn reads_once_more(claim: &Claim) -> bool {
    claim.checkpoint.takes_away || matches!(claim.checkpoint.phase, Phase::Managers | Phase::Members)
}

/// Begins a list from its start, unless that was done often enough.
fn again(claim: &mut Claim, kind: Kind, why: &str) -> Result<(), Stop> {
    claim.checkpoint.again += 1;
    if claim.checkpoint.again > AGAIN {
        return Err(failed(format!("{why}; the source's paging by cursor does not work")));
    }
    restart_list(claim, kind);
    Ok(())
}

/// The list is read from its start.
fn restart_list(claim: &mut Claim, kind: Kind) {
    let checkpoint = &mut claim.checkpoint;
    (checkpoint.index, checkpoint.cursor, checkpoint.strangers) = (0, None, 0);
    (checkpoint.taking, checkpoint.giving) = (0, 0);
    claim.recount(kind, reads_once_more(claim));
}

async fn keep(claim: &mut Claim, kind: Kind, carried: Carried, once_more: bool) -> Result<(), Stop> {
    let Carried {
        mut tally, troubles, failures, strangers, managers_missing, members_missing, lists_members, met, ..
    } = carried;
    if let Err(why) = claim.met(met).await? {
        return Err(Stop::End(End::Failed { reason: None, why }));
    }
    claim.checkpoint.managers_missing |= managers_missing;
    claim.checkpoint.strangers += strangers;
    claim.checkpoint.members_missing |= members_missing;
    claim.checkpoint.lists_members |= lists_members;
    if once_more {
        // They were counted when they were read first; groups that were held then are changed only now.
        (tally.read, tally.unchanged) = (0, 0);
        if kind == Kind::User || !claim.checkpoint.takes_away {
            tally.updated = 0;
        }
    }
    match kind {
        Kind::User => claim.counts.users.add(tally),
        Kind::Group => claim.counts.groups.add(tally),
    }
    Ok(claim.trouble(troubles, failures).await?)
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

async fn one_user(claim: &mut Claim, client: &Client) -> Result<(), Stop> {
    let target = claim.run.target.clone().and_then(|target| serde_json::from_value(target).ok());
    let filter = match target {
        Some(Target::RemoteId(id)) => {
            let found = client.one("Users", &id).await?;
            return one(claim, found.into_iter().collect()).await;
        }
        Some(Target::UserName(name)) => format!("userName eq {}", quoted(&name)),
        Some(Target::ExternalId(id)) => format!("externalId eq {}", quoted(&id)),
        None => return Err(failed("the run names nobody")),
    };
    let page = client.page("Users", Some(&filter), At::Index(0), 2).await?;
    one(claim, page.resources).await
}

async fn one(claim: &mut Claim, found: Vec<carry::Remote>) -> Result<(), Stop> {
    if found.len() != 1 {
        let what = if found.is_empty() { "nobody" } else { "more than one person" };
        return Err(failed(format!("the source lists {what} of that name; only a full run removes accounts")));
    }
    let carried = carry::users(&claim.cx, Some(claim.run.id), found, &mut Pass::default()).await?;
    keep(claim, Kind::User, carried, false).await?;
    save(claim).await
}

/// Asks for those whom the source did not list, unless they are many: a list that is read page by page while it changes
/// skips some. Who is there after all is carried over and stays. What was in the way, if the source cannot say who is
/// there: that is not the same as being gone.
async fn ask(claim: &mut Claim, client: &Client, kind: Kind) -> Result<Option<String>, Stop> {
    let (cx, run, mut pass) = (claim.cx.clone(), claim.run.id, Pass::default());
    let absent = carry::absent(&cx, run, kind, ASKED + 1).await?;
    if absent.len() as u64 > ASKED {
        return Ok(None);
    }
    for id in absent {
        let found = match client.still(kind.endpoint(), &id).await {
            Ok(found) => found,
            Err(refusal) if refusal.says_nothing() => return Ok(Some(refusal.words)),
            Err(refusal) => return Err(refusal.into()),
        };
        let Some(found) = found else { continue };
        let carried = match kind {
            Kind::User => carry::users(&cx, Some(run), vec![found], &mut pass).await?,
            Kind::Group => {
                let silent = claim.checkpoint.lists_members;
                carry::groups(&cx, Some(run), vec![found], silent, &pass).await?
            }
        };
        keep(claim, kind, carried, false).await?;
        save(claim).await?;
    }
    Ok(None)
}

/// Removes whom the source does not list, unless these are more than it is believed, or it cannot say whether they are
/// there.
async fn absent(claim: &mut Claim, client: &Client) -> Result<(), Stop> {
    let (cx, run) = (claim.cx.clone(), claim.run.id);
    let percent = u64::from(client.source.shrink_percent.unsigned_abs());
    let mut asked = Vec::new();
    for (kind, name) in [(Kind::User, "accounts"), (Kind::Group, "groups")] {
        let unsaid = ask(claim, client, kind).await?;
        let (seen, absent) = carry::seen(&cx, run, kind).await?;
        let strangers = claim.run.mode == Mode::DryRun && seen == 0;
        let many = absent > FLOOR && absent * 100 > (seen + absent) * percent;
        if many || (kind == Kind::User && seen == 0 && absent > 0 && !strangers) {
            asked.push(format!("{absent} of {} {name}", seen + absent));
        } else if let Some(words) = unsaid {
            asked.push(format!("{absent} of {} {name} and cannot be asked for them ({words})", seen + absent));
        }
    }
    let dry = claim.cx.rehearses();
    if dry && !asked.is_empty() {
        note(claim, &format!("a full run would ask before it removes {}", asked.join(" and ")));
    }
    if claim.compares() {
        return Ok(());
    }
    let approved = claim.run.approved && claim.checkpoint.asked_of_absence;
    if !dry && !asked.is_empty() && !approved {
        claim.checkpoint.asked_of_absence = true;
        return Err(Stop::End(End::Waiting(format!(
            "the source does not list {} any more, which is not believed without being asked; nobody was removed. If they \
             have really gone: syncApprove; otherwise syncCancel, and look at the source",
            asked.join(" and ")
        ))));
    }
    for kind in [Kind::Group, Kind::User] {
        let mut after = Uuid::nil();
        loop {
            let (carried, last) = carry::remove_absent(&cx, run, kind, after).await?;
            keep(claim, kind, carried, false).await?;
            save(claim).await?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok(())
}
