//! Reading the ledger. It is written by [`Cx::write`](crate::context::Cx::write) and by nothing
//! else.

use entity::{event, ledger_head};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter};
use serde_json::Value;
use std::collections::HashMap;
use tokio::sync::watch;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::SqlBuilder;
use crate::context::{App, Cx};
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::paging;
use crate::error::{Error, Result};
use crate::ledger;
use crate::ledger::{EventKind, SessionEffect};

use super::event_list::list_chained;
pub use super::event_list::{LedgerFilter, StorySubject, count_events, list_events};
pub use event::Model as Event;

/// Sealed rows that are read at once.
const TAIL_PAGE: u64 = 100;
/// Places of the chain that one statement reads, so that a filter for a rare kind of event does not
/// scan a long ledger in one statement.
const TAIL_WINDOW: i64 = 10_000;

/// The ledger from a place of its chain on, in the order of `seq`, without gaps and without end. It
/// holds a place and no rows: a slow reader finds the rest in the database.
#[derive(Debug)]
pub struct EventTail {
    cx: Cx,
    which: LedgerFilter,
    seen: i64,
    head: watch::Receiver<i64>,
}

/// Follows the ledger from the place `after` of its chain on; none = from now on.
///
/// # Errors
/// [`Error::Invalid`] for a place that the chain does not have.
pub async fn follow_events(cx: &Cx, which: LedgerFilter, after: Option<i64>) -> Result<EventTail> {
    cx.allow(Action::ReadLedger, None)?;
    which.check_readable(cx)?;
    EventTail::open_tail(cx, which, after).await
}

impl EventTail {
    /// [`follow_events`] for a caller whose permission was checked already.
    pub(in crate::domain) async fn open_tail(
        cx: &Cx,
        which: LedgerFilter,
        after: Option<i64>,
    ) -> Result<Self> {
        let head = cx.find::<ledger_head::Entity>().one(cx.db()).await?.map_or(0, |head| head.seq);
        let seen = after.unwrap_or(head);
        if !(0..=head).contains(&seen) {
            return Err(Error::invalid(
                "after",
                format!("must be a seq of this ledger, which goes from 1 to {head}, or 0"),
            ));
        }
        Ok(Self {
            cx: cx.clone(),
            which,
            seen,
            head: cx.app.heads.subscribe_head(cx.organization(), head),
        })
    }

    /// The next rows; waits until there are some.
    ///
    /// # Errors
    /// An error of the database.
    pub async fn next_events(&mut self) -> Result<Vec<Event>> {
        loop {
            let head = *self.head.borrow_and_update();
            while self.seen < head {
                let until = head.min(self.seen.saturating_add(TAIL_WINDOW));
                let rows =
                    list_chained(&self.cx, &self.which, (self.seen, until), TAIL_PAGE).await?;
                let full = rows.len() as u64 == TAIL_PAGE;
                self.seen = rows.last().and_then(|row| row.seq).filter(|_| full).unwrap_or(until);
                if !rows.is_empty() {
                    return Ok(rows);
                }
            }
            if self.head.changed().await.is_err() {
                // There is no sender any more: the process ends, and this task with it.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Reads the ends of the ledgers that have followers, and publishes them to these followers.
pub async fn publish_ledger_heads(app: &App) -> Result<()> {
    let followed = app.heads.followed_organizations();
    if followed.is_empty() {
        return Ok(());
    }
    #[allow(
        clippy::disallowed_methods,
        reason = "the permission of each follower was checked before"
    )]
    let heads =
        ledger_head::Entity::find().filter(ledger_head::Column::OrganizationId.is_in(followed));
    for head in heads.all(&app.store.read).await? {
        app.heads.publish_head(head.organization_id, head.seq);
    }
    Ok(())
}

/// The rows of the ledger among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Event>> {
    cx.allow(Action::ReadLedger, None)?;
    Ok(cx
        .find::<event::Entity>()
        .filter(event::Column::Id.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// The name that the subject had when the event was written; none for subjects without a name, for
/// events that tell none, and after an erasure.
pub fn subject_name(event: &Event) -> Option<String> {
    let payload: Value = serde_json::from_str(event.payload.as_deref()?).ok()?;
    ledger::subject_name(&event.subject_kind, &payload)
}

/// The values before and after the change; none if an erasure emptied them.
pub fn event_values(event: &Event) -> (Option<Value>, Option<Value>) {
    let payload: Option<Value> =
        event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let part = |name: &str| payload.as_ref()?.get(name).filter(|value| !value.is_null()).cloned();
    (part("before"), part("after"))
}

/// The subjects of an event: one, or those that its values list.
pub fn subject_ids(event: &Event) -> Vec<Uuid> {
    if !event.subject_id.is_nil() {
        return vec![event.subject_id];
    }
    let before = event_values(event).0.unwrap_or_default();
    let listed = before["ids"].as_array().into_iter().flatten();
    listed.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

/// The most objects of one event whose names are told.
const MAX_MENTIONS: usize = 50;
/// Objects that one statement looks up.
const MENTIONS_PER_STATEMENT: usize = 50;

/// An object that the values of an event name by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMention {
    pub id: Uuid,
    /// The kind of the object, as the ledger names it.
    pub kind: String,
    /// What the object was called then; none if its events tell no name, and after an erasure.
    pub name: Option<String>,
}

/// The ids of other objects among the values of an event, at most fifty: members of a group, the
/// account and the role of a grant.
pub fn mentioned_ids(event: &Event) -> Vec<Uuid> {
    let (before, after) = event_values(event);
    let mut found = Vec::new();
    let mut rest: Vec<Value> = before.into_iter().chain(after).collect();
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => found.extend(Uuid::try_parse(&text).ok()),
            Value::Array(values) => rest.extend(values.into_iter().rev()),
            Value::Object(fields) => rest.extend(fields.into_iter().map(|(_, value)| value).rev()),
            _ => {}
        }
        if found.len() >= MAX_MENTIONS {
            break;
        }
    }
    found.retain(|id| *id != event.subject_id && !id.is_nil());
    found.sort_unstable();
    found.dedup();
    found
}

/// What objects were called at places of the ledger, by the last event about each of them until
/// then. Ids about which there was none are left out.
pub async fn find_mentions(
    cx: &Cx,
    wanted: &[(Uuid, i64)],
) -> Result<HashMap<(Uuid, i64), EventMention>> {
    #[derive(FromQueryResult)]
    struct LastEvent {
        place: i64,
        subject_kind: String,
        payload: Option<String>,
    }
    cx.allow(Action::ReadLedger, None)?;
    cx.allow(Action::ReadUser, None)?;
    let mut found = HashMap::new();
    for some in wanted.chunks(MENTIONS_PER_STATEMENT) {
        let parts: Vec<String> = (0..some.len())
            .map(|place| {
                format!(
                    "SELECT * FROM (SELECT CAST({place} AS BIGINT) AS place, subject_kind, payload \
                     FROM event WHERE organization_id = $1 AND subject_id = ${} AND pos <= ${} \
                     ORDER BY subject_id DESC, pos DESC LIMIT 1) AS last{place}",
                    2 * place + 2,
                    2 * place + 3
                )
            })
            .collect();
        let values = some.iter().flat_map(|(id, pos)| [(*id).into(), (*pos).into()]);
        let statement = cx.statement(parts.join(" UNION ALL "), values);
        for LastEvent { place, subject_kind, payload } in
            LastEvent::find_by_statement(statement).all(cx.db()).await?
        {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            let Some((id, pos)) = some.get(place).copied() else { continue };
            let payload: Option<Value> =
                payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let name = payload.and_then(|payload| ledger::subject_name(&subject_kind, &payload));
            found.insert((id, pos), EventMention { id, kind: subject_kind, name });
        }
    }
    Ok(found)
}

/// What an event means for the sessions and tokens of the accounts that it is about. After an
/// erasure, what depends on the values is told as a change of claims.
pub fn session_effect(event: &Event) -> SessionEffect {
    let Some(kind) = EventKind::parse(&event.action) else { return SessionEffect::None };
    let payload: Option<Value> =
        event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
    kind.session_effect_of(payload.as_ref())
}

/// How many live subjects of `kind` (`user`, `group`) there are now, from stored sums instead of a
/// count of the rows.
pub(in crate::domain) async fn count_population(
    cx: &Cx,
    kind: &str,
    owners: SubjectOwners,
) -> Result<u64> {
    let mut sql = cx.sql([]);
    let total = population_of(cx.backend(), kind, owners, &mut sql);
    sql.push(&format!("SELECT {total} AS total"));
    let row = cx.db().query_one_raw(cx.build_statement(sql)).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.max(0).unsigned_abs())
}

/// SQL for [`count_population`] in the organization `$1`: the tally at the end of the chain, and
/// the sum of the rows after it. One statement reads both, so they fit together. Binds its values
/// to `sql`.
pub(in crate::domain) fn population_of(
    backend: DbBackend,
    kind: &str,
    owners: SubjectOwners,
    sql: &mut SqlBuilder,
) -> String {
    let kind = sql.bind(kind);
    // A change of owner adds a subject to a connection and removes it from the subjects without an
    // owner, or the reverse. The total stays the same.
    let moved = format!("action IN {}", EventKind::sql_list(EventKind::changes_owner));
    let [owned, of_row, of_owner] = match owners {
        SubjectOwners::Any => {
            ["".into(), format!("CASE WHEN {moved} THEN 0 ELSE population END"), "".into()]
        }
        SubjectOwners::None => {
            let no_owner = sql.bind(Uuid::nil());
            [
                format!(" AND connection_id = {no_owner}"),
                format!("CASE WHEN {moved} THEN -population ELSE population END"),
                format!(" AND (connection_id IS NULL OR {moved})"),
            ]
        }
        SubjectOwners::Connections => {
            let no_owner = sql.bind(Uuid::nil());
            [
                format!(" AND connection_id <> {no_owner}"),
                "population".into(),
                " AND connection_id IS NOT NULL".into(),
            ]
        }
        SubjectOwners::Connection(id) => {
            let own = format!(" AND connection_id = {}", sql.bind(id));
            [own.clone(), "population".into(), own]
        }
    };
    let beyond = ledger::not_chained(backend);
    format!(
        "CAST(coalesce((SELECT sum(n) FROM tally WHERE organization_id = $1 \
         AND kind = {kind}{owned}), 0) \
         + coalesce((SELECT sum({of_row}) {beyond} AND subject_kind = {kind}{of_owner}), 0) \
         AS bigint)"
    )
}

#[derive(FromQueryResult)]
struct PopulationCount {
    id: Uuid,
    total: i64,
}

/// How many live subjects of `kind` each of these connections owns: [`count_population`] for many
/// connections at once.
pub async fn count_populations(
    cx: &Cx,
    kind: &str,
    connections: &[Uuid],
) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadIam, None)?;
    let (among, beyond) = (paging::in_ids(cx.backend(), 3), ledger::not_chained(cx.backend()));
    let text = format!(
        "SELECT connection_id AS id, CAST(sum(n) AS bigint) AS total FROM ( \
           SELECT connection_id, n FROM tally WHERE organization_id = $1 AND kind = $2 \
           AND connection_id {among} \
           UNION ALL SELECT connection_id, population {beyond} AND subject_kind = $2 \
           AND connection_id {among} \
         ) AS parts GROUP BY connection_id"
    );
    let values = [kind.into(), paging::bind_ids(connections)];
    let rows = PopulationCount::find_by_statement(cx.statement(text, values));
    let rows = rows.all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.total.max(0).unsigned_abs())).collect())
}
