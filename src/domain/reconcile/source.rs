//! Compares what a connection's source lists with what is here. A dry run reads the source. Each
//! page is compared when it arrives, and only the differences are kept until the whole list is
//! read. No finding is made before that, and none from an incomplete list.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{pull_source, reconciliation, sync_run};
use sea_orm::{ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::compare::{
    ACCOUNTS_PER_PART, GroupRow, account_names, accounts_of, count_roles_held, find_missing,
    find_orphans, find_owned_elsewhere, groups_of, membership_difference, read_documents,
    record_difference, shrink_of,
};
use super::diff::{
    AttributeDifference, ExportColumns, ExportedPerson, FlatAttributes, LocalAccount,
    attribute_drift, flatten_document, pair_accounts,
};
use super::difference::ComparisonOutcome;
use super::export::MAX_ROWS;
use super::run;
use super::{Class, ComparisonCounts, Kind, Run, RunState, Scope, Source, schedule};
use crate::context::{Cx, DerivedChange};
use crate::domain::comparison::ComparisonEnd;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::paging;
use crate::domain::review::MAX_LABEL_CHARS;
use crate::domain::save_row;
use crate::domain::sync;
use crate::domain::sync::Mode;
use crate::domain::sync::plan::{
    ListedDocument, MovedMembers, PagePlan, StepAction, SyncKind, SyncStep,
};
use crate::domain::sync::shrink::is_large_loss;
use crate::error::Result;
use crate::identity::document;
use crate::identity::schema::ResourceType;

/// The most bytes of differences that are kept for one comparison.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A person in the source's list, compared with the account here.
#[derive(Debug)]
enum SourceListing {
    /// The same as the account here.
    Same,
    /// The connection has the account, and the source's document cannot be read.
    Unread,
    /// Whether the person is inactive at the source, and what differs.
    Compared(bool, BTreeMap<String, AttributeDifference>),
    /// The connection has no such account.
    Missing(Box<ExportedPerson>),
}

/// A group in the source's list.
#[derive(Debug)]
enum SourceGroup {
    /// The same as the group here.
    Same,
    /// The connection has no such group here.
    Strange,
    /// The source does not list its members, and it may have some.
    Silent,
    /// It cannot be read.
    Unread,
    /// The group here, with the members that only one side has.
    Shown { here: Uuid, moved: MovedMembers },
}

/// The lists of a source, compared as far as they were read, by the source's ids.
#[derive(Debug)]
pub struct SourcePicture {
    cx: Cx,
    connection: Uuid,
    people: HashMap<String, SourceListing>,
    groups: HashMap<String, SourceGroup>,
    /// Elements of the lists that are no resources.
    rubbish: u64,
    bytes: usize,
}

/// Begins a comparison with the source that a connection reads. `confirmed` says that the source is
/// right, however much it lacks.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) for a connection that reads no source;
/// [`Error::Held`](crate::error::Error::Held) for one that is deactivated, and while another run or
/// comparison of it has not ended.
pub async fn start_source_comparison(cx: &Cx, id: Uuid, confirmed: bool) -> Result<Run> {
    start_in_turn(cx, id, confirmed, None).await
}

/// Like [`start_source_comparison`]; `due` is the present time if a schedule begins the comparison.
pub(super) async fn start_in_turn(
    cx: &Cx,
    id: Uuid,
    confirmed: bool,
    due: Option<DateTime<Utc>>,
) -> Result<Run> {
    run::check_comparable(cx, id).await?;
    let begun = cx.write(move |tx| {
        Box::pin(async move {
            let ordered = sync::queue_run(tx, cx, id, Mode::DryRun, None).await?;
            schedule::take_turn(tx, id, due).await?;
            let reading = sync::Run { approved: confirmed, ..ordered.value };
            save_row::<sync_run::Entity, sync_run::ActiveModel>(tx, reading.clone()).await?;
            let asked = run::ComparisonRequest {
                connection: id,
                source: Source::Source,
                scope: Scope::Everything,
                counts: ComparisonCounts::default(),
                troubles: json!([]),
                sync_run: Some(reading.id),
            };
            let mut change = run::open_comparison(tx, cx, asked).await?;
            let (request_id, requested_at) = (tx.request_id(), cx.requested_at);
            change.followed.extend(ordered.entry.map(|entry| DerivedChange {
                request_id,
                requested_at,
                entry,
            }));
            Ok(change)
        })
    });
    let begun = begun.await?;
    cx.app.syncs.notify_one();
    Ok(begun)
}

/// Compares what a run read with what is here, and writes the findings; none if no comparison waits
/// for the run any more.
pub async fn compare_source(
    cx: &Cx,
    reading: &sync::Run,
    theirs: SourcePicture,
) -> Result<Option<ComparisonEnd>> {
    let open = cx
        .find::<reconciliation::Entity>()
        .filter(reconciliation::Column::SyncRunId.eq(reading.id));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    let Some(run) = open.one(&cx.app.store.write).await? else { return Ok(None) };
    let outcome = theirs.against_ours(reading.approved).await?;
    Ok(Some(match outcome {
        ComparisonOutcome { refused: Some(why), counts, .. } => {
            ComparisonEnd { state: RunState::Refused, counts, reason: Some(why) }
        }
        outcome => {
            let (counts, reason) = run::keep_outcome(cx, &run, outcome).await?;
            ComparisonEnd { state: RunState::Succeeded, counts, reason }
        }
    }))
}

impl SourcePicture {
    /// An empty picture of this connection's source.
    pub fn of(cx: Cx, connection: Uuid) -> Self {
        Self {
            cx,
            connection,
            people: HashMap::new(),
            groups: HashMap::new(),
            rubbish: 0,
            bytes: 0,
        }
    }

    /// Adds a page by the plan of what a run does with it. Of a person who is listed more than
    /// once, the last entry counts. The inner error says why there is too much to compare.
    pub async fn take_page(
        &mut self,
        plan: &PagePlan,
        rubbish: u64,
    ) -> Result<std::result::Result<(), String>> {
        let ty = &resource_types(&self.cx).await?.user;
        let here = plan.steps.iter().filter_map(|step| match &step.action {
            StepAction::UpdateUser { here, .. } => Some(here.id),
            _ => None,
        });
        let ours = read_documents(&self.cx, &here.collect::<Vec<_>>()).await?;
        for SyncStep { kind, remote_id, action } in &plan.steps {
            let group = match (kind, action) {
                (SyncKind::User, StepAction::Skip { .. }) => {
                    self.keep_person(remote_id, SourceListing::Same);
                    continue;
                }
                (_, StepAction::CreateUser(document)) => {
                    self.keep_person(remote_id, compare_person(ty, remote_id, document, None));
                    continue;
                }
                (_, StepAction::UpdateUser { here, document, .. }) => {
                    let ours = Some(ours.get(&here.id));
                    self.keep_person(remote_id, compare_person(ty, remote_id, document, ours));
                    continue;
                }
                // The source does not list it.
                (_, StepAction::Delete { .. }) => continue,
                (SyncKind::Group, StepAction::Skip { .. }) => SourceGroup::Same,
                (_, StepAction::CreateGroup { .. }) => SourceGroup::Strange,
                (_, StepAction::FailGroup { .. }) => SourceGroup::Unread,
                (_, StepAction::UpdateGroup { silent: true, .. }) => SourceGroup::Silent,
                (_, StepAction::UpdateGroup { here, moved, .. }) => {
                    self.bytes += (moved.come.len() + moved.go.len()) * size_of::<Uuid>();
                    SourceGroup::Shown { here: here.id, moved: moved.clone() }
                }
            };
            self.groups.insert(remote_id.clone(), group);
        }
        self.rubbish += rubbish;
        if self.people.len().max(self.groups.len()) as u64 > MAX_ROWS {
            return Ok(Err(format!(
                "the source lists more than {MAX_ROWS} people or groups, which is more than a \
                 comparison takes; nothing was compared"
            )));
        }
        if self.bytes > MAX_BYTES {
            return Ok(Err(format!(
                "the differences between the source and this server are more than {MAX_BYTES} \
                 bytes, which is more than a comparison takes; nothing was compared. Start a sync \
                 run first: syncStart with the mode FULL"
            )));
        }
        Ok(Ok(()))
    }

    fn keep_person(&mut self, remote_id: &str, listed: SourceListing) {
        self.bytes += match &listed {
            SourceListing::Same | SourceListing::Unread => 0,
            SourceListing::Compared(_, detail) => json!(detail).to_string().len(),
            SourceListing::Missing(person) => json!(person.attributes).to_string().len(),
        };
        self.people.insert(remote_id.to_owned(), listed);
    }

    async fn against_ours(mut self, confirmed: bool) -> Result<ComparisonOutcome> {
        let cx = &self.cx.clone();
        let source = cx.find::<pull_source::Entity>();
        let source = source
            .filter(pull_source::Column::ConnectionId.eq(self.connection))
            .one(cx.db())
            .await?;
        let percent = source.map_or(0, |source| u64::from(source.shrink_percent.unsigned_abs()));
        let rows = (self.people.len() + self.groups.len()) as u64 + self.rubbish;
        let mut outcome =
            ComparisonOutcome { covers: vec![Kind::MissingHere], ..ComparisonOutcome::default() };
        outcome.counts =
            ComparisonCounts { rows, unread: self.rubbish, ..ComparisonCounts::default() };
        let mut notes = Vec::new();
        let done =
            match self.compare_users(cx, percent, confirmed, &mut outcome, &mut notes).await? {
                Ok(()) => {
                    self.compare_memberships(cx, percent, confirmed, &mut outcome, &mut notes)
                        .await?
                }
                Err(why) => Err(why),
            };
        if let Err(why) = done {
            let counts = ComparisonCounts {
                rows,
                unread: outcome.counts.unread,
                ..ComparisonCounts::default()
            };
            let why = format!(
                "{why}, so nothing was compared. If the source is right, start again with confirm: \
                 true"
            );
            return Ok(ComparisonOutcome {
                refused: Some(why),
                counts,
                ..ComparisonOutcome::default()
            });
        }
        if self.rubbish > 0 {
            notes.push(format!(
                "{} elements of the source's lists have no usable id, so missing users and groups \
                 were not judged",
                self.rubbish
            ));
        }
        outcome.note = (!notes.is_empty()).then(|| notes.join("; "));
        count_roles_held(cx, &mut outcome.found).await?;
        Ok(outcome)
    }

    /// The inner error says why the comparison is refused.
    async fn compare_users(
        &mut self,
        cx: &Cx,
        percent: u64,
        confirmed: bool,
        outcome: &mut ComparisonOutcome,
        notes: &mut Vec<String>,
    ) -> Result<std::result::Result<(), String>> {
        let known = accounts_of(cx, self.connection).await?;
        let (owned, local): (Vec<LocalAccount>, Vec<LocalAccount>) =
            known.into_iter().partition(|account| account.owned);
        let (mut unlisted, mut unread) = (Vec::new(), 0);
        for account in &owned {
            match account.external_id.as_deref().and_then(|id| self.people.remove(id)) {
                None => unlisted.push(account),
                Some(SourceListing::Same) => {
                    outcome.counts.count_class(if account.active {
                        Class::Assigned
                    } else {
                        Class::Unassigned
                    });
                    outcome.counts.agreed += 1;
                }
                Some(SourceListing::Compared(gone, detail)) => {
                    record_difference(account, gone, detail, outcome)
                }
                Some(SourceListing::Unread) => unread += 1,
                // The account came back a moment ago, and is compared the next time.
                Some(SourceListing::Missing(_)) => {}
            }
        }
        if let Some((live, absent)) = shrink_of(&owned, &unlisted, percent).filter(|_| !confirmed) {
            return Ok(Err(format!(
                "the source lists only {} of the {live} active accounts of this connection",
                live - absent
            )));
        }
        let people: Vec<ExportedPerson> = std::mem::take(&mut self.people)
            .into_values()
            .filter_map(|listed| match listed {
                SourceListing::Missing(person) => Some(*person),
                _ => None,
            })
            .collect();
        let pairing = pair_accounts(&people, &local);
        let elsewhere = find_owned_elsewhere(cx, self.connection, &people, &pairing).await?;
        find_missing(&people, &local, &pairing, &elsewhere, outcome);
        outcome.counts.unread += unread;
        match unread {
            0 => outcome.covers.push(Kind::Drifted),
            n => notes
                .push(format!("{n} people at the source cannot be read; the sync run says why")),
        }
        if self.rubbish == 0 {
            let strangers =
                local.iter().zip(&pairing.of_account).filter(|(_, person)| person.is_none());
            unlisted.extend(strangers.map(|(account, _)| account));
            outcome.covers.push(Kind::OrphanedHere);
            find_orphans(&unlisted, outcome);
        }
        Ok(Ok(()))
    }

    /// The inner error says why the comparison is refused.
    async fn compare_memberships(
        &self,
        cx: &Cx,
        percent: u64,
        confirmed: bool,
        outcome: &mut ComparisonOutcome,
        notes: &mut Vec<String>,
    ) -> Result<std::result::Result<(), String>> {
        let (mut extra, mut lacking) = (BTreeSet::new(), BTreeSet::new());
        let (mut unread, mut silent, mut strange, mut strangers) = (0u64, 0u64, 0u64, 0u64);
        for group in self.groups.values() {
            match group {
                SourceGroup::Same => {}
                SourceGroup::Strange => strange += 1,
                SourceGroup::Silent => silent += 1,
                SourceGroup::Unread => unread += 1,
                SourceGroup::Shown {
                    here,
                    moved: MovedMembers { come, go, strangers: unknown },
                } => {
                    lacking.extend(come.iter().map(|user| (*here, *user)));
                    extra.extend(go.iter().map(|user| (*here, *user)));
                    strangers += unknown;
                }
            }
        }
        let listed = |row: &GroupRow| {
            row.external_id.as_ref().is_some_and(|id| self.groups.contains_key(id))
        };
        let groups = groups_of(cx, self.connection).await?;
        if self.rubbish == 0 {
            let unlisted =
                groups.iter().filter(|row| !listed(row)).map(|row| row.id).collect::<Vec<_>>();
            extra.extend(members_of(cx, &unlisted).await?);
        }
        let live = count_members(cx, self.connection).await?;
        let about: Vec<Uuid> = extra.iter().chain(&lacking).map(|(_, user)| *user).collect();
        let mut people = HashMap::new();
        for part in about.chunks(ACCOUNTS_PER_PART) {
            people.extend(account_names(cx, part).await?);
        }
        // An id that is no account is a nested group, and a deleted account is in no group.
        let label = |user: &Uuid| {
            people.get(user).filter(|(_, deleted)| !deleted).map(|(name, _)| name.clone())
        };
        let absent = extra.iter().filter(|(_, user)| label(user).is_some()).count() as u64;
        if is_large_loss(absent, live, percent) && !confirmed {
            return Ok(Err(format!(
                "the source lists only {} of the {live} memberships of this connection's groups",
                live.saturating_sub(absent)
            )));
        }
        outcome.counts.unread += unread;
        for (pairs, in_theirs) in [(&extra, false), (&lacking, true)] {
            for (group, user) in pairs {
                let Some(label) = label(user) else { continue };
                outcome.counts.memberships += 1;
                outcome.found.push(membership_difference(*group, *user, Some(label), in_theirs));
            }
        }
        if unread + silent + self.rubbish == 0 {
            outcome.covers.push(Kind::Membership);
        }
        if unread + silent > 0 {
            notes.push(format!(
                "the members of {} groups of the source cannot be read, or are not listed",
                unread + silent
            ));
        }
        if strange + strangers > 0 {
            notes.push(format!(
                "{strange} groups and {strangers} members of groups at the source do not exist \
                 here for this connection"
            ));
        }
        Ok(Ok(()))
    }
}

/// Compares what the source says of a person with `ours`: the attributes of the account here, if
/// there is one. An account that was deleted a moment ago has none.
fn compare_person(
    ty: &ResourceType,
    id: &str,
    listed: &ListedDocument,
    ours: Option<Option<&FlatAttributes>>,
) -> SourceListing {
    // A manager who is not here cannot be compared.
    let (attributes, manager_known) = (listed.attributes.clone(), !listed.incomplete);
    let name = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("userName"));
    let name = name.and_then(|(_, name)| name.as_str()).map(|name| {
        let shown: String =
            name.chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS).collect();
        shown.trim().to_owned()
    });
    let document = document::normalize_document(ty, attributes);
    match ours {
        None => {
            // A person whose document cannot be read is missing here all the same.
            let document = document.unwrap_or_default();
            let mut attributes = flatten_document(&document);
            attributes.retain(|name, _| manager_known || !of_manager(name));
            SourceListing::Missing(Box::new(ExportedPerson {
                external_id: Some(id.to_owned()),
                user_name: name.filter(|name| !name.is_empty()),
                attributes,
                ..ExportedPerson::default()
            }))
        }
        Some(None) => SourceListing::Same,
        Some(Some(ours)) => match document {
            Ok(document) => {
                let theirs = flatten_document(&document);
                let names = theirs
                    .keys()
                    .chain(ours.keys())
                    .filter(|name| manager_known || !of_manager(name));
                let columns = ExportColumns { names: names.cloned().collect(), all_emails: true };
                let gone = document::active_flag(&document) == Some(false);
                SourceListing::Compared(gone, attribute_drift(&theirs, ours, &columns))
            }
            Err(_) => SourceListing::Unread,
        },
    }
}

fn of_manager(name: &str) -> bool {
    name.contains(":manager.")
}

/// The memberships of these groups: each group with a user.
async fn members_of(cx: &Cx, groups: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>> {
    #[derive(FromQueryResult)]
    struct SourceRow {
        group_id: Uuid,
        user_id: Uuid,
    }
    let text = format!(
        "SELECT group_id, user_id FROM membership WHERE organization_id = $1 AND until IS NULL \
         AND group_id {}",
        paging::in_ids(cx.backend(), 2)
    );
    let values = [paging::bind_ids(groups)];
    let rows = SourceRow::find_by_statement(cx.statement(text, values)).all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| (row.group_id, row.user_id)).collect())
}

/// How many memberships the groups of a connection have.
async fn count_members(cx: &Cx, connection: Uuid) -> Result<u64> {
    let text = r#"SELECT count(*) AS n FROM membership m JOIN "group" g ON g.organization_id = $1
                  AND g.id = m.group_id
        AND g.connection_id = $2 AND g.deleted_at IS NULL WHERE m.organization_id = $1
        AND m.until IS NULL"#;
    let values = [connection.into()];
    let row = cx.db().query_one_raw(cx.statement(text, values)).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
    Ok(count.unsigned_abs())
}
