//! Carries out sync runs: users, groups, managers and members that were missing, and at the end
//! what the source does not list. After every page the progress is stored, so that another server
//! can continue.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use chrono::SecondsFormat;
use tokio::sync::watch;
use uuid::Uuid;

use super::client::{
    PagePosition, SOURCE_UNREADABLE, SourceAbilities, SourceClient, SourcePage, SourceRefusal,
    quote_filter_value,
};
use super::probe::remedy_of_refusal;
use crate::context::{keep_lease, shutdown_requested};
use crate::domain::reconcile::source;
use crate::domain::reconcile::source::SourcePicture;
use crate::domain::sync::apply::{ListPass, PageOutcome, apply_steps};
use crate::domain::sync::lease::{RunCheckpoint, RunClaim, RunEnd, RunPhase};
use crate::domain::sync::local_rows;
use crate::domain::sync::plan::{RemoteResource, SyncKind, SyncStep, plan_removals};
use crate::domain::sync::shrink::{AbsentRows, ListedLoss};
use crate::domain::sync::{Mode, RunTrouble, SyncTarget};
use crate::error::{RefusalReason, Result};

/// How often a run renews its lease and checks whether it must end.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Changes and members that are kept in memory until the whole list is known; for more, the list is
/// read again.
const MAX_HELD: usize = 200_000;
/// How far the clocks of the source and of this server may be apart.
const CLOCK_OVERLAP: chrono::Duration = chrono::Duration::minutes(10);
/// How often a phase may begin again.
const MAX_PHASE_RESTARTS: u32 = 2;
/// After this many pages in a row without a new resource, the source repeats its pages.
const MAX_STALLED_PAGES: u32 = 3;
/// At most so many resources that the source did not list are asked for one by one before they are
/// removed.
const MAX_ABSENT_ASKED: u64 = 200;
/// Accounts or groups that one batch removes.
const REMOVALS_PER_BATCH: u64 = 100;
/// How often a run may be interrupted without progress.
const MAX_INTERRUPTIONS: u32 = 5;

/// Carries out a run that was claimed. When the process stops, the run stops where it is, and
/// another server continues it.
///
/// # Errors
/// Those of this server: the run continues when its lease has ended.
pub async fn carry_out_run(mut claim: RunClaim, mut stop: watch::Receiver<bool>) -> Result<()> {
    let pulse = claim.start_heartbeat();
    let lost = keep_lease(Duration::ZERO, HEARTBEAT_INTERVAL, || pulse.renew_lease());
    // What is interrupted in the middle was not written, or the server that continues finds it
    // written.
    let ended = tokio::select! {
        ended = run_all_phases(&mut claim) => Some(ended?),
        end = lost => Some(end),
        () = shutdown_requested(&mut stop) => None,
    };
    match ended {
        Some(end) => claim.finish_run(end).await,
        None => pulse.release_run().await,
    }
}

/// Why a run stops: at its end, or by an error of this server.
enum RunStop {
    End(RunEnd),
    Fault(crate::error::Error),
}

impl From<crate::error::Error> for RunStop {
    fn from(error: crate::error::Error) -> Self {
        Self::Fault(error)
    }
}

impl From<SourceRefusal> for RunStop {
    fn from(refusal: SourceRefusal) -> Self {
        let why = format!("{}; {}", refusal.words, remedy_of_refusal(&refusal));
        Self::End(RunEnd::Failed { reason: Some(refusal.reason), why })
    }
}

async fn run_all_phases(claim: &mut RunClaim) -> Result<RunEnd> {
    match run_phases(claim).await {
        Ok(()) => Ok(RunEnd::Succeeded),
        Err(RunStop::End(end)) => Ok(end),
        Err(RunStop::Fault(error)) => Err(error),
    }
}

/// The run ends because the source's answer cannot be used.
fn failed_stop(words: impl Into<String>) -> RunStop {
    RunStop::End(RunEnd::Failed { reason: Some(SOURCE_UNREADABLE), why: words.into() })
}

/// The run ends because pages come again and again.
fn endless_pages_stop(endpoint: &str) -> RunStop {
    failed_stop(format!(
        "{endpoint}: the source repeats its pages without an end; no account or group was removed. \
         Its paging (startIndex or cursor) does not work; a larger pageSize may help"
    ))
}

/// Counts the elements of a page that have no usable id.
fn count_rubbish(outcome: &mut PageOutcome, endpoint: &str, rubbish: u64) {
    outcome.tally.read += rubbish;
    outcome.tally.failed += rubbish;
    let why = format!("{rubbish} elements of the list have no usable id");
    outcome.troubles.push(RunTrouble {
        kind: endpoint.into(),
        remote_id: String::new(),
        code: None,
        why,
    });
}

async fn save_progress(claim: &RunClaim) -> Result<(), RunStop> {
    if claim.save_checkpoint().await? { Ok(()) } else { Err(RunStop::End(RunEnd::Lost)) }
}

async fn run_phases(claim: &mut RunClaim) -> Result<(), RunStop> {
    claim.checkpoint.interrupted += 1;
    if claim.checkpoint.interrupted > MAX_INTERRUPTIONS {
        let why =
            "the run was interrupted at the same place too often; the server's log says why".into();
        return Err(RunStop::End(RunEnd::Failed { reason: Some(RefusalReason::Internal), why }));
    }
    if claim.needs_comparison && claim.checkpoint.interrupted > 1 {
        claim.read_anew().await?;
    }
    save_progress(claim).await?;
    let client =
        SourceClient::open_source(&claim.system_context(), claim.run.connection_id).await?;
    claim.checkpoint.lists_members |= client.source.lists_members;
    if claim.run.mode == Mode::OneUser {
        return one_user(claim, &client).await;
    }
    let picture = claim
        .needs_comparison
        .then(|| SourcePicture::of(claim.system_context(), claim.run.connection_id));
    let abilities = client.read_abilities().await?;
    let mut source = RunSource { client, abilities, since: None, held: None, picture };
    if claim.run.mode == Mode::Incremental {
        source.limit_to_changes(claim);
    }
    loop {
        let Some(next) = source.run_phase(claim).await? else { return Ok(()) };
        let RunCheckpoint { members_missing, lists_members, interrupted, ref note, .. } =
            claim.checkpoint;
        claim.checkpoint = RunCheckpoint {
            phase: next,
            members_missing,
            lists_members,
            interrupted,
            note: note.clone(),
            ..Default::default()
        };
        save_progress(claim).await?;
    }
}

fn add_note(claim: &mut RunClaim, text: &str) {
    let note = &mut claim.checkpoint.note;
    match note {
        Some(known) if known.contains(text) => {}
        Some(known) => *known = format!("{known}; {text}"),
        None => *note = Some(text.to_owned()),
    }
}

/// A source as one run reads it.
struct RunSource {
    client: SourceClient,
    abilities: SourceAbilities,
    /// Only what changed since this instant is read.
    since: Option<String>,
    /// The held steps of the list that is being read; none = they were too many to keep.
    held: Option<Vec<SyncStep>>,
    /// What the source lists, if it is to be compared with what is here.
    picture: Option<SourcePicture>,
}

impl RunSource {
    /// Lets the run read only what changed since the last complete run, if that is possible.
    fn limit_to_changes(&mut self, claim: &mut RunClaim) {
        match self.client.source.complete_at {
            Some(since) if self.abilities.filter => {
                self.since =
                    Some((since - CLOCK_OVERLAP).to_rfc3339_opts(SecondsFormat::Secs, true));
            }
            Some(_) => add_note(claim, "the source cannot filter, so everything was read"),
            None => add_note(claim, "no earlier run was complete, so everything was read"),
        }
    }

    /// Carries out the phase at which the run is; returns the next one, or none at the end.
    async fn run_phase(&mut self, claim: &mut RunClaim) -> Result<Option<RunPhase>, RunStop> {
        Ok(Some(match claim.checkpoint.phase {
            RunPhase::Users => {
                self.apply_list(claim, SyncKind::User).await?;
                // A dry run creates no account, so new managers and members stay unknown to it.
                let again = claim.checkpoint.managers_missing && claim.run.mode != Mode::DryRun;
                if again { RunPhase::Managers } else { RunPhase::Groups }
            }
            RunPhase::Managers => {
                claim.checkpoint.managers_missing = false;
                self.apply_list(claim, SyncKind::User).await?;
                if claim.checkpoint.managers_missing {
                    add_note(claim, "some people have managers that the source does not list");
                }
                RunPhase::Groups
            }
            RunPhase::Groups => {
                self.apply_list(claim, SyncKind::Group).await?;
                let again = claim.checkpoint.members_missing && claim.run.mode != Mode::DryRun;
                if again { RunPhase::Members } else { RunPhase::Absent }
            }
            RunPhase::Members => {
                claim.checkpoint.members_missing = false;
                self.apply_list(claim, SyncKind::Group).await?;
                if claim.checkpoint.members_missing {
                    add_note(
                        claim,
                        "some groups have members that the source does not list as users or \
                         groups, or have no list of members",
                    );
                }
                RunPhase::Absent
            }
            RunPhase::Absent => {
                if matches!(claim.run.mode, Mode::Full | Mode::DryRun) {
                    self.remove_absent(claim).await?;
                }
                if let Some(picture) = self.picture.take() {
                    claim.compared =
                        source::compare_source(&claim.system_context(), &claim.run, picture)
                            .await?;
                }
                return Ok(None);
            }
        }))
    }

    /// Reads a list from the checkpoint to its end, and applies it page by page. Changes that take
    /// access away are applied when the whole list is known.
    async fn apply_list(&mut self, claim: &mut RunClaim, kind: SyncKind) -> Result<(), RunStop> {
        loop {
            self.read_list(claim, kind).await?;
            if !self.take_away(claim, kind).await? {
                return Ok(());
            }
        }
    }

    async fn read_list(&mut self, claim: &mut RunClaim, kind: SyncKind) -> Result<(), RunStop> {
        let run = claim.run.id;
        let endpoint = kind.endpoint_name();
        let filter = self.list_filter(kind);
        let once_more = reads_once_more(claim);
        let holds = !claim.cx.rehearses() && !claim.checkpoint.takes_away;
        let mut pass = ListPass::new(holds);
        self.held = Some(Vec::new());
        let at_start =
            |claim: &RunClaim| claim.checkpoint.index == 0 && claim.checkpoint.cursor.is_none();
        if holds && claim.checkpoint.taking > 0 {
            // The server that had the held changes in memory is gone.
            restart_list(claim, kind);
        } else if once_more && at_start(claim) {
            claim.restart_count(kind, true);
        }
        let mut met: HashSet<u64> = HashSet::new();
        if !at_start(claim) {
            met.extend(
                local_rows::seen_ids(&claim.cx, run, kind).await?.iter().map(|id| hash_id(id)),
            );
        }
        // The page at which a run was interrupted is read again.
        let (mut stalled, mut first) = (0, true);
        let total = loop {
            let by_cursor = self.abilities.cursor;
            let page = match self.read_page_at(claim, endpoint, filter.as_deref()).await {
                Ok(page) => page,
                Err(refusal) if by_cursor && refusal.of_cursor() => {
                    // If the first cursor is refused, cursors do not work at all; a later one has
                    // expired.
                    self.abilities.cursor = claim.checkpoint.cursor.is_some();
                    begin_list_again(claim, kind, &refusal.words)?;
                    self.held = Some(Vec::new());
                    (stalled, first) = (0, true);
                    met.clear();
                    continue;
                }
                // Some servers answer with an error after the last page.
                Err(refusal) if !by_cursor && refusal.of_cursor() && claim.checkpoint.index > 0 => {
                    break None;
                }
                Err(refusal) => return Err(refusal.into()),
            };
            let SourcePage { total, ref next_cursor, rubbish, .. } = page;
            let (listed, next_cursor) = (page.len(), next_cursor.clone());
            let mut new = HashSet::new();
            let fresh =
                page.resources.iter().filter(|remote| met.insert(hash_id(&remote.id))).count();
            let resources: Vec<_> =
                page.resources.into_iter().filter(|remote| new.insert(remote.id.clone())).collect();
            if fresh == 0 && listed > 0 && !first {
                stalled += 1;
                if stalled >= MAX_STALLED_PAGES {
                    if total.is_some_and(|total| met.len() as u64 >= total) {
                        break total;
                    }
                    return Err(endless_pages_stop(endpoint));
                }
            } else {
                stalled = 0;
            }
            first = false;
            let mut carried = self.apply_page(claim, kind, resources, rubbish, &mut pass).await?;
            self.hold_steps(&mut carried.held);
            if rubbish > 0 {
                count_rubbish(&mut carried, endpoint, rubbish);
            }
            keep_outcome(claim, kind, carried, once_more).await?;
            if !claim.needs_comparison {
                claim.checkpoint.interrupted = 0;
            }
            claim.checkpoint.index += listed;
            claim.checkpoint.cursor = next_cursor;
            let ended = if by_cursor { claim.checkpoint.cursor.is_none() } else { listed == 0 };
            if ended {
                break total;
            }
            save_progress(claim).await?;
        };
        self.check_whole(claim, kind, endpoint, total, met.len() as u64).await
    }

    /// Reads the page at the checkpoint.
    async fn read_page_at(
        &self,
        claim: &RunClaim,
        endpoint: &str,
        filter: Option<&str>,
    ) -> Result<SourcePage, SourceRefusal> {
        let by_cursor = self.abilities.cursor;
        let count = u64::from(self.client.source.page_size.unsigned_abs());
        let most = self.abilities.most.filter(|_| by_cursor).unwrap_or(count).max(1);
        let at = if by_cursor {
            PagePosition::Cursor(claim.checkpoint.cursor.as_deref().unwrap_or_default())
        } else {
            PagePosition::Index(claim.checkpoint.index)
        };
        self.client.read_page(endpoint, filter, at, count.min(most)).await
    }

    /// Keeps held steps until the list ends, unless they become too many.
    fn hold_steps(&mut self, steps: &mut Vec<SyncStep>) {
        if let Some(held) = &mut self.held {
            held.append(steps);
        }
        self.held.take_if(|held| held.iter().map(SyncStep::change_count).sum::<usize>() > MAX_HELD);
    }

    /// Makes the changes that take access away, unless they are so many that they need an approval.
    /// Returns whether the list must be read again for them.
    async fn take_away(&mut self, claim: &mut RunClaim, kind: SyncKind) -> Result<bool, RunStop> {
        let RunCheckpoint { taking, giving, takes_away, .. } = claim.checkpoint;
        if taking == 0 || takes_away {
            return Ok(false);
        }
        let lost = if kind == SyncKind::User { taking } else { taking.saturating_sub(giving) };
        let total = local_rows::count_removable(&claim.cx, kind).await?;
        let percent = self.client.source.shrink_percent.unsigned_abs().into();
        if let Some(what) = (ListedLoss { kind, lost, total }).describe_request(percent) {
            if claim.cx.rehearses() {
                add_note(claim, &format!("a full run would ask before it {what}"));
                return Ok(false);
            }
            claim.checkpoint.takes_away = true;
            restart_list(claim, kind);
            return Err(RunStop::End(RunEnd::Waiting(format!(
                "by what the source lists, this run {what} and needs an approval for it; none of \
                 them was changed. If the source is right: syncApprove; otherwise syncCancel, and \
                 look at the source"
            ))));
        }
        if claim.cx.rehearses() {
            return Ok(false);
        }
        match self.held.take() {
            Some(held) => {
                let mut pass = ListPass::default();
                let carried = apply_steps(&claim.cx, Some(claim.run.id), held, &mut pass).await?;
                keep_outcome(claim, kind, carried, false).await?;
                (claim.checkpoint.taking, claim.checkpoint.giving) = (0, 0);
                save_progress(claim).await?;
                Ok(false)
            }
            None => {
                claim.checkpoint.takes_away = true;
                restart_list(claim, kind);
                save_progress(claim).await?;
                Ok(true)
            }
        }
    }

    /// Fails if the list was not read as a whole: no account is removed because of such a list.
    async fn check_whole(
        &self,
        claim: &RunClaim,
        kind: SyncKind,
        endpoint: &str,
        total: Option<u64>,
        met: u64,
    ) -> Result<(), RunStop> {
        let Some(total) = total.filter(|_| self.since.is_none()) else { return Ok(()) };
        let (seen, _) = local_rows::count_seen(&claim.cx, claim.run.id, kind).await?;
        let listed = met.max(seen + claim.checkpoint.strangers);
        if listed < total && claim.run.mode != Mode::Incremental {
            return Err(failed_stop(format!(
                "{endpoint}: the source says that it has {total}, and listed {listed}; what it \
                 listed was applied, and no account or group was removed. Start another run; if \
                 this repeats, look at the source's paging"
            )));
        }
        Ok(())
    }

    /// Plans a page, shows the plan to the comparison if there is one, and performs it. `rubbish`
    /// is the number of elements in the page that are no resources.
    async fn apply_page(
        &mut self,
        claim: &mut RunClaim,
        kind: SyncKind,
        page: Vec<RemoteResource>,
        rubbish: u64,
        pass: &mut ListPass,
    ) -> Result<PageOutcome, RunStop> {
        let (read, silent) = (page.len() as u64, claim.checkpoint.lists_members);
        let plan = local_rows::plan_page(&claim.cx, kind, page, silent).await?;
        if let Some(picture) = &mut self.picture
            && let Err(why) = picture.take_page(&plan, rubbish).await?
        {
            return Err(RunStop::End(RunEnd::Failed { reason: None, why }));
        }
        claim.checkpoint.taking += plan.loss_count();
        claim.checkpoint.giving += plan.gain_count();
        claim.checkpoint.lists_members |= plan.lists_members;
        let mut carried = apply_steps(&claim.cx, Some(claim.run.id), plan.steps, pass).await?;
        carried.tally.read += read;
        Ok(carried)
    }

    /// Asks the source for the resources that it did not list, unless they are many: a list that
    /// changes while it is read page by page skips some. A resource that exists after all is
    /// applied and stays. Returns the refusal as a text if the source cannot say whether a resource
    /// exists: that does not mean that the resource is gone.
    async fn ask_for_absent(
        &mut self,
        claim: &mut RunClaim,
        kind: SyncKind,
    ) -> Result<Option<String>, RunStop> {
        let (cx, run, mut pass) = (claim.cx.clone(), claim.run.id, ListPass::default());
        let most = MAX_ABSENT_ASKED + 1;
        let absent = local_rows::list_absent(&cx, run, kind, Uuid::nil(), most).await?;
        if absent.len() as u64 > MAX_ABSENT_ASKED {
            return Ok(None);
        }
        for (_, id) in absent {
            let found = match self.client.read_still_listed(kind.endpoint_name(), &id).await {
                Ok(found) => found,
                Err(refusal) if refusal.says_nothing() => return Ok(Some(refusal.words)),
                Err(refusal) => return Err(refusal.into()),
            };
            let Some(found) = found else { continue };
            let carried = self.apply_page(claim, kind, vec![found], 0, &mut pass).await?;
            keep_outcome(claim, kind, carried, false).await?;
            save_progress(claim).await?;
        }
        Ok(None)
    }

    /// Removes what the source does not list. The run waits for an approval if that is too much, or
    /// if the source cannot say whether it still exists.
    async fn remove_absent(&mut self, claim: &mut RunClaim) -> Result<(), RunStop> {
        let (cx, run) = (claim.cx.clone(), claim.run.id);
        let percent = u64::from(self.client.source.shrink_percent.unsigned_abs());
        let mut asked = Vec::new();
        let dry = claim.cx.rehearses();
        for kind in [SyncKind::User, SyncKind::Group] {
            let unanswered = self.ask_for_absent(claim, kind).await?;
            let (seen, absent) = local_rows::count_seen(&cx, run, kind).await?;
            let rows = AbsentRows { kind, seen, absent, unanswered };
            asked.extend(rows.describe_request(percent, dry));
        }
        if dry && !asked.is_empty() {
            add_note(
                claim,
                &format!("a full run would ask before it removes {}", asked.join(" and ")),
            );
        }
        if claim.needs_comparison {
            return Ok(());
        }
        if !dry && let Some(end) = claim.wait_for_removals(&asked) {
            return Err(RunStop::End(end));
        }
        for kind in [SyncKind::Group, SyncKind::User] {
            let mut after = Uuid::nil();
            loop {
                let absent =
                    local_rows::list_absent(&cx, run, kind, after, REMOVALS_PER_BATCH).await?;
                let Some((last, _)) = absent.last() else { break };
                after = *last;
                let steps = plan_removals(kind, absent);
                let carried = apply_steps(&cx, Some(run), steps, &mut ListPass::default()).await?;
                keep_outcome(claim, kind, carried, false).await?;
                save_progress(claim).await?;
            }
        }
        Ok(())
    }

    fn list_filter(&self, kind: SyncKind) -> Option<String> {
        let since = self
            .since
            .as_ref()
            .map(|since| format!("meta.lastModified ge {}", quote_filter_value(since)));
        let users = self.client.source.user_filter.clone().filter(|_| kind == SyncKind::User);
        match (users, since) {
            (Some(users), Some(since)) => Some(format!("({users}) and {since}")),
            (users, since) => users.or(since),
        }
    }
}

/// Whether this list was read before in this run, and its resources were counted.
fn reads_once_more(claim: &RunClaim) -> bool {
    claim.checkpoint.takes_away
        || matches!(claim.checkpoint.phase, RunPhase::Managers | RunPhase::Members)
}

/// Begins a list from its start, unless that was done often enough.
fn begin_list_again(claim: &mut RunClaim, kind: SyncKind, why: &str) -> Result<(), RunStop> {
    claim.checkpoint.again += 1;
    if claim.checkpoint.again > MAX_PHASE_RESTARTS {
        return Err(failed_stop(format!("{why}; the source's paging by cursor does not work")));
    }
    restart_list(claim, kind);
    Ok(())
}

/// Sets the list back to its start.
fn restart_list(claim: &mut RunClaim, kind: SyncKind) {
    let checkpoint = &mut claim.checkpoint;
    (checkpoint.index, checkpoint.cursor, checkpoint.strangers) = (0, None, 0);
    (checkpoint.taking, checkpoint.giving) = (0, 0);
    claim.restart_count(kind, reads_once_more(claim));
}

async fn keep_outcome(
    claim: &mut RunClaim,
    kind: SyncKind,
    carried: PageOutcome,
    once_more: bool,
) -> Result<(), RunStop> {
    let PageOutcome { mut tally, troubles, failures, strangers, incomplete, .. } = carried;
    claim.checkpoint.strangers += strangers;
    match kind {
        SyncKind::User => claim.checkpoint.managers_missing |= incomplete,
        SyncKind::Group => claim.checkpoint.members_missing |= incomplete,
    }
    if once_more {
        // The first reading has counted them; groups that were held then are changed only now.
        (tally.read, tally.unchanged) = (0, 0);
        if kind == SyncKind::User || !claim.checkpoint.takes_away {
            tally.updated = 0;
        }
    }
    match kind {
        SyncKind::User => claim.counts.users.add(tally),
        SyncKind::Group => claim.counts.groups.add(tally),
    }
    Ok(claim.record_troubles(troubles, failures).await?)
}

fn hash_id(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

async fn one_user(claim: &mut RunClaim, client: &SourceClient) -> Result<(), RunStop> {
    let target = claim.run.target.clone().and_then(|target| serde_json::from_value(target).ok());
    let filter = match target {
        Some(SyncTarget::RemoteId(id)) => {
            let found = client.read_one("Users", &id).await?;
            return apply_single(claim, found.into_iter().collect()).await;
        }
        Some(SyncTarget::UserName(name)) => format!("userName eq {}", quote_filter_value(&name)),
        Some(SyncTarget::ExternalId(id)) => format!("externalId eq {}", quote_filter_value(&id)),
        None => return Err(failed_stop("the run names no person")),
    };
    let page = client.read_page("Users", Some(&filter), PagePosition::Index(0), 2).await?;
    apply_single(claim, page.resources).await
}

async fn apply_single(claim: &mut RunClaim, found: Vec<RemoteResource>) -> Result<(), RunStop> {
    if found.len() != 1 {
        return Err(failed_stop(if found.is_empty() {
            "the source lists no person of that name; only a full run removes accounts"
        } else {
            "the source lists more than one person of that name; only a full run removes accounts"
        }));
    }
    let plan = local_rows::plan_page(&claim.cx, SyncKind::User, found, false).await?;
    let (run, mut pass) = (claim.run.id, ListPass::default());
    let mut carried = apply_steps(&claim.cx, Some(run), plan.steps, &mut pass).await?;
    carried.tally.read += 1;
    keep_outcome(claim, SyncKind::User, carried, false).await?;
    save_progress(claim).await
}
