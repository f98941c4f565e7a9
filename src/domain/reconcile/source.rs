//! What a connection's source lists, against what is here. A dry run reads it: each page is compared when it comes, and
//! only what differs is kept until all is read. Nothing is concluded before, and nothing from half a list.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{pull_source, reconciliation, sync_run};
use sea_orm::{ColumnTrait, ConnectionTrait, FromQueryResult, PaginatorTrait, QueryFilter, Statement};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::compare::{
    FLOOR, GroupRow, PART, accounts_of, differs, documents, elsewhere, groups_of, membership, missing, names, orphaned,
    roles, shrunk,
};
use super::diff::{Account, Attributes, Columns, Differs, Person, drift, flatten, pair};
use super::export::MAX_ROWS;
use super::run::{self, Outcome};
use super::{Class, Counts, Kind, Run, RunState, Scope, Source, schedule};
use crate::context::{Cx, Followed, Tx};
use crate::domain::document;
use crate::domain::extension::types;
use crate::domain::failure::MAX_LABEL;
use crate::domain::list;
use crate::domain::schema::ResourceType;
use crate::domain::sync::met::{self, Met, Moved};
use crate::domain::sync::{self, Mode};
use crate::domain::{locked, save};
use crate::error::Result;
use crate::ledger::Entry;

/// The most text of differences that is kept for one comparison.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What the source says of a person.
#[derive(Debug)]
enum Listed {
    /// The same as is here.
    Same,
    /// Something of the account here that cannot be read.
    Unread,
    /// Whether they are inactive there, and what differs.
    Compared(bool, BTreeMap<String, Differs>),
    /// The connection has no such account.
    Missing(Box<Person>),
}

/// What a source lists, as far as it differs, by the source's ids.
#[derive(Debug)]
pub struct Theirs {
    cx: Cx,
    connection: Uuid,
    people: HashMap<String, Listed>,
    groups: HashMap<String, met::Group>,
    rubbish: u64,
    bytes: usize,
}

/// How a comparison ended.
#[derive(Debug)]
pub struct Compared {
    state: RunState,
    counts: Counts,
    reason: Option<String>,
}

/// Begins a comparison with the source that a connection reads. `confirmed` says that the source is to be believed,
/// however much it lacks.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) for a connection that reads no source;
/// [`Error::Held`](crate::error::Error::Held) for one that is deactivated, and while another run or comparison of it has
/// not ended.
pub async fn start(cx: &Cx, id: Uuid, confirmed: bool) -> Result<Run> {
    start_in_turn(cx, id, confirmed, None).await
}

/// As [`start`], in the turn of a schedule that was `due` then.
pub(super) async fn start_in_turn(cx: &Cx, id: Uuid, confirmed: bool, due: Option<DateTime<Utc>>) -> Result<Run> {
    run::ready(cx, id).await?;
    let begun = cx.write(move |tx| {
        Box::pin(async move {
            let ordered = sync::order(tx, cx, id, Mode::DryRun, None).await?;
            schedule::take_turn(tx, id, due).await?;
            let reading = sync::Run { approved: confirmed, ..ordered.value };
            save::<sync_run::Entity, sync_run::ActiveModel>(tx, reading.clone()).await?;
            let asked = run::Asked {
                connection: id,
                source: Source::Source,
                scope: Scope::Everything,
                counts: Counts::default(),
                troubles: json!([]),
                sync_run: Some(reading.id),
            };
            let mut change = run::open(tx, cx, asked).await?;
            let (request_id, requested_at) = (tx.request_id(), cx.requested_at);
            change.followed.extend(ordered.entry.map(|entry| Followed { request_id, requested_at, entry }));
            Ok(change)
        })
    });
    let begun = begun.await?;
    cx.app.syncs.notify_one();
    Ok(begun)
}

/// Whether a comparison waits for what this run reads.
pub async fn waits(cx: &Cx, sync_run: Uuid) -> Result<bool> {
    let open = cx.find::<reconciliation::Entity>().filter(reconciliation::Column::SyncRunId.eq(sync_run));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    Ok(open.count(&cx.app.store.write).await? > 0)
}

/// Ends the comparison that waits for this run, if one does: as it was made, or because it was not.
pub async fn close(
    tx: &Tx<'_>,
    run: &sync::Run,
    compared: std::result::Result<&Compared, &str>,
) -> Result<Option<Entry>> {
    let open = tx.find::<reconciliation::Entity>().filter(reconciliation::Column::ConnectionId.eq(run.connection_id));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    let open = open.filter(reconciliation::Column::SyncRunId.eq(run.id));
    let Some(row) = locked(tx, open).await? else { return Ok(None) };
    let (_, entry) = match compared {
        Ok(Compared { state, counts, reason }) => run::finished(tx, row, *state, *counts, reason.clone()).await?,
        Err(why) => run::finished(tx, row, RunState::Failed, Counts::default(), Some(why.to_owned())).await?,
    };
    Ok(Some(entry))
}

/// Compares what a run read with what is here, and writes down what differs; none if nobody waits for it any more.
pub async fn compare(cx: &Cx, reading: &sync::Run, theirs: Theirs) -> Result<Option<Compared>> {
    let open = cx.find::<reconciliation::Entity>().filter(reconciliation::Column::SyncRunId.eq(reading.id));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    let Some(run) = open.one(&cx.app.store.write).await? else { return Ok(None) };
    let outcome = theirs.against_ours(reading.approved).await?;
    Ok(Some(match outcome {
        Outcome { refused: Some(why), counts, .. } => Compared { state: RunState::Refused, counts, reason: Some(why) },
        outcome => {
            let (counts, reason) = run::keep(cx, &run, outcome).await?;
            Compared { state: RunState::Succeeded, counts, reason }
        }
    }))
}

impl Theirs {
    /// Nothing yet, of this connection's source.
    pub fn of(cx: Cx, connection: Uuid) -> Self {
        Self { cx, connection, people: HashMap::new(), groups: HashMap::new(), rubbish: 0, bytes: 0 }
    }

    /// Takes a page in. Whoever is listed more than once counts as they were listed last. The inner error says why there
    /// is too much to compare.
    pub async fn take(&mut self, met: Met) -> Result<std::result::Result<(), String>> {
        let ty = &types(&self.cx).await?.user;
        let here = met.people.iter().filter_map(|(_, person)| match person {
            met::Person::Shown { here, .. } => *here,
            met::Person::Same => None,
        });
        let ours = documents(&self.cx, &here.collect::<Vec<_>>()).await?;
        for (id, person) in met.people {
            let listed = match person {
                met::Person::Same => Listed::Same,
                met::Person::Shown { here, attributes, manager_known } => {
                    look(ty, &id, attributes, manager_known, here.map(|id| ours.get(&id)))
                }
            };
            self.bytes += match &listed {
                Listed::Same | Listed::Unread => 0,
                Listed::Compared(_, detail) => json!(detail).to_string().len(),
                Listed::Missing(person) => json!(person.attributes).to_string().len(),
            };
            self.people.insert(id, listed);
        }
        for (id, group) in met.groups {
            if let met::Group::Shown { moved, .. } = &group {
                self.bytes += (moved.come.len() + moved.go.len()) * size_of::<Uuid>();
            }
            self.groups.insert(id, group);
        }
        self.rubbish += met.rubbish;
        if self.people.len().max(self.groups.len()) as u64 > MAX_ROWS {
            return Ok(Err(format!(
                "the source lists more than {MAX_ROWS} people or groups, which is more than is compared; nothing was found"
            )));
        }
        if self.bytes > MAX_BYTES {
            return Ok(Err(format!(
                "the source and what is here differ by more than {MAX_BYTES} bytes, which is more than is compared; nothing \
                 was found. Carry the source over first: syncStart with the mode FULL"
            )));
        }
        Ok(Ok(()))
    }

    async fn against_ours(mut self, confirmed: bool) -> Result<Outcome> {
        let cx = &self.cx.clone();
        let source = cx.find::<pull_source::Entity>();
        let source = source.filter(pull_source::Column::ConnectionId.eq(self.connection)).one(cx.db()).await?;
        let percent = source.map_or(0, |source| u64::from(source.shrink_percent.unsigned_abs()));
        let rows = (self.people.len() + self.groups.len()) as u64 + self.rubbish;
        let mut outcome = Outcome { covers: vec![Kind::MissingHere], ..Outcome::default() };
        outcome.counts = Counts { rows, unread: self.rubbish, ..Counts::default() };
        let mut notes = Vec::new();
        let done = match self.users(cx, percent, confirmed, &mut outcome, &mut notes).await? {
            Ok(()) => self.memberships(cx, percent, confirmed, &mut outcome, &mut notes).await?,
            Err(why) => Err(why),
        };
        if let Err(why) = done {
            let counts = Counts { rows, unread: outcome.counts.unread, ..Counts::default() };
            let why = format!("{why}: nothing was compared. If that is so, begin again with confirm: true");
            return Ok(Outcome { refused: Some(why), counts, ..Outcome::default() });
        }
        if self.rubbish > 0 {
            notes.push(format!(
                "{} elements of the source's lists have no usable id, so whom or what it does not list was not judged",
                self.rubbish
            ));
        }
        outcome.note = (!notes.is_empty()).then(|| notes.join("; "));
        roles(cx, &mut outcome.found).await?;
        Ok(outcome)
    }

    /// The inner error says why the source is not believed.
    async fn users(
        &mut self,
        cx: &Cx,
        percent: u64,
        confirmed: bool,
        outcome: &mut Outcome,
        notes: &mut Vec<String>,
    ) -> Result<std::result::Result<(), String>> {
        let known = accounts_of(cx, self.connection).await?;
        let (owned, local): (Vec<Account>, Vec<Account>) = known.into_iter().partition(|account| account.owned);
        let (mut unlisted, mut unread) = (Vec::new(), 0);
        for account in &owned {
            match account.external_id.as_deref().and_then(|id| self.people.remove(id)) {
                None => unlisted.push(account),
                Some(Listed::Same) => {
                    outcome.counts.class(if account.active { Class::Assigned } else { Class::Unassigned });
                    outcome.counts.agreed += 1;
                }
                Some(Listed::Compared(gone, detail)) => differs(account, gone, detail, outcome),
                Some(Listed::Unread) => unread += 1,
                // They came back a moment ago, and are compared the next time.
                Some(Listed::Missing(_)) => {}
            }
        }
        if let Some((live, absent)) = shrunk(&owned, &unlisted, percent).filter(|_| !confirmed) {
            return Ok(Err(format!(
                "the source lists {} of the {live} active accounts of this connection, which is not believed without \
                 being asked",
                live - absent
            )));
        }
        let people: Vec<Person> = std::mem::take(&mut self.people)
            .into_values()
            .filter_map(|listed| match listed {
                Listed::Missing(person) => Some(*person),
                _ => None,
            })
            .collect();
        let pairing = pair(&people, &local);
        let elsewhere = elsewhere(cx, self.connection, &people, &pairing).await?;
        missing(&people, &local, &pairing, &elsewhere, outcome);
        outcome.counts.unread += unread;
        match unread {
            0 => outcome.covers.push(Kind::Drifted),
            n => notes.push(format!("{n} people at the source cannot be read, see the run that read it")),
        }
        if self.rubbish == 0 {
            let strangers = local.iter().zip(&pairing.of_account).filter(|(_, person)| person.is_none());
            unlisted.extend(strangers.map(|(account, _)| account));
            outcome.covers.push(Kind::OrphanedHere);
            orphaned(&unlisted, outcome);
        }
        Ok(Ok(()))
    }

    /// The inner error says why the source is not believed.
    async fn memberships(
        &self,
        cx: &Cx,
        percent: u64,
        confirmed: bool,
        outcome: &mut Outcome,
        notes: &mut Vec<String>,
    ) -> Result<std::result::Result<(), String>> {
        let (mut extra, mut lacking) = (BTreeSet::new(), BTreeSet::new());
        let (mut unread, mut silent, mut strange, mut strangers) = (0u64, 0u64, 0u64, 0u64);
        for group in self.groups.values() {
            match group {
                met::Group::Same => {}
                met::Group::Strange => strange += 1,
                met::Group::Silent => silent += 1,
                met::Group::Unread => unread += 1,
                met::Group::Shown { here, moved: Moved { come, go, strangers: unknown } } => {
                    lacking.extend(come.iter().map(|user| (*here, *user)));
                    extra.extend(go.iter().map(|user| (*here, *user)));
                    strangers += unknown;
                }
            }
        }
        let listed = |row: &GroupRow| row.external_id.as_ref().is_some_and(|id| self.groups.contains_key(id));
        let groups = groups_of(cx, self.connection).await?;
        if self.rubbish == 0 {
            let unlisted = groups.iter().filter(|row| !listed(row)).map(|row| row.id).collect::<Vec<_>>();
            extra.extend(members_of(cx, &unlisted).await?);
        }
        let live = count_members(cx, self.connection).await?;
        let about: Vec<Uuid> = extra.iter().chain(&lacking).map(|(_, user)| *user).collect();
        let mut people = HashMap::new();
        for part in about.chunks(PART) {
            people.extend(names(cx, part).await?);
        }
        // What is no account is a group in a group, and an account that was deleted is in none.
        let label = |user: &Uuid| people.get(user).filter(|(_, deleted)| !deleted).map(|(name, _)| name.clone());
        let absent = extra.iter().filter(|(_, user)| label(user).is_some()).count() as u64;
        if absent > FLOOR && absent * 100 > live * percent && !confirmed {
            return Ok(Err(format!(
                "the source lists {} of the {live} memberships of this connection's groups, which is not believed without \
                 being asked",
                live.saturating_sub(absent)
            )));
        }
        outcome.counts.unread += unread;
        for (pairs, in_theirs) in [(&extra, false), (&lacking, true)] {
            for (group, user) in pairs {
                let Some(label) = label(user) else { continue };
                outcome.counts.memberships += 1;
                outcome.found.push(membership(*group, *user, Some(label), in_theirs));
            }
        }
        if unread + silent + self.rubbish == 0 {
            outcome.covers.push(Kind::Membership);
        }
        if unread + silent > 0 {
            notes.push(format!("who is in {} groups of the source cannot be read, or is not shown", unread + silent));
        }
        if strange + strangers > 0 {
            notes.push(format!(
                "{strange} groups and {strangers} members of groups at the source are not here as this connection's"
            ));
        }
        Ok(Ok(()))
    }
}

/// What the source says of somebody, compared with `ours`: of the account here, if there is one; nothing is known of one
/// that was deleted a moment ago.
fn look(
    ty: &ResourceType,
    id: &str,
    attributes: Map<String, Value>,
    manager_known: bool,
    ours: Option<Option<&Attributes>>,
) -> Listed {
    let name = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("userName"));
    let name = name.and_then(|(_, name)| name.as_str()).map(|name| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect();
        shown.trim().to_owned()
    });
    let document = document::normalize(ty, attributes);
    match ours {
        None => {
            // Whoever cannot be read is missing all the same.
            let document = document.unwrap_or_default();
            let mut attributes = flatten(&document);
            attributes.retain(|name, _| manager_known || !of_manager(name));
            Listed::Missing(Box::new(Person {
                external_id: Some(id.to_owned()),
                user_name: name.filter(|name| !name.is_empty()),
                attributes,
                ..Person::default()
            }))
        }
        Some(None) => Listed::Same,
        Some(Some(ours)) => match document {
            Ok(document) => {
                let theirs = flatten(&document);
                let names = theirs.keys().chain(ours.keys()).filter(|name| manager_known || !of_manager(name));
                let columns = Columns { names: names.cloned().collect(), all_emails: true };
                let gone = document::active(&document) == Some(false);
                Listed::Compared(gone, drift(&theirs, ours, &columns))
            }
            Err(_) => Listed::Unread,
        },
    }
}

fn of_manager(name: &str) -> bool {
    name.contains(":manager.")
}

/// Who is in these groups.
async fn members_of(cx: &Cx, groups: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>> {
    #[derive(FromQueryResult)]
    struct Row {
        group_id: Uuid,
        user_id: Uuid,
    }
    let text = format!(
        "SELECT group_id, user_id FROM membership WHERE organization_id = $1 AND until IS NULL AND group_id {}",
        list::among(cx.backend(), 2)
    );
    let values = [cx.organization().into(), list::ids(groups)];
    let rows = Row::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| (row.group_id, row.user_id)).collect())
}

/// How many memberships the groups of a connection have.
async fn count_members(cx: &Cx, connection: Uuid) -> Result<u64> {
    let text = r#"SELECT count(*) AS n FROM membership m JOIN "group" g ON g.organization_id = $1 AND g.id = m.group_id
        AND g.connection_id = $2 AND g.deleted_at IS NULL WHERE m.organization_id = $1 AND m.until IS NULL"#;
    let values = [cx.organization().into(), connection.into()];
    let row = cx.db().query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
    Ok(count.unsigned_abs())
}
