//! Reading the ledger. It is written by [`Cx::write`](crate::context::Cx::write) and by nothing else.

use chrono::{DateTime, Utc};
use entity::{event, ledger_head};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, Statement,
};
use serde_json::Value;
use std::collections::HashMap;
use tokio::sync::watch;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use crate::authz::Action;
use crate::context::{App, Cx};
use crate::error::{Error, Result};
use crate::ledger::{self, EventKind};

pub use event::Model as Event;

/// Which rows of the ledger are wanted; none = all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Exactly this action, for example `user.suspended`.
    pub action: Option<String>,
    pub subject: Option<Uuid>,
    /// Done to a thing of this kind, as the ledger names it.
    pub kind: Option<&'static str>,
    pub connection: Option<Uuid>,
    /// Made by this actor: the id of a connection or a key, or the subject of a person.
    pub actor: Option<String>,
    /// From this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// A page of the ledger in the order of `pos`.
pub async fn list(cx: &Cx, which: &Which, keyset: &Keyset<i64>) -> Result<Slice<Event>> {
    cx.allow(Action::ReadLedger, None)?;
    list::page(cx, matching(cx, which), event::Column::Pos, keyset).await
}

/// How many rows of the ledger are wanted.
pub async fn count(cx: &Cx, which: &Which) -> Result<u64> {
    cx.allow(Action::ReadLedger, None)?;
    Ok(matching(cx, which).count(cx.db()).await?)
}

fn matching(cx: &Cx, which: &Which) -> Select<event::Entity> {
    let mut query = cx.find::<event::Entity>();
    if let Some(action) = &which.action {
        query = query.filter(event::Column::Action.eq(action));
    }
    if let Some(subject) = which.subject {
        query = query.filter(event::Column::SubjectId.eq(subject));
    }
    if let Some(kind) = which.kind {
        query = query.filter(event::Column::SubjectKind.eq(kind));
    }
    if let Some(connection) = which.connection {
        query = query.filter(event::Column::ConnectionId.eq(connection));
    }
    if let Some(actor) = &which.actor {
        query = query.filter(event::Column::ActorId.eq(actor));
    }
    if let Some(since) = which.since {
        query = query.filter(event::Column::At.gte(since));
    }
    if let Some(until) = which.until {
        query = query.filter(event::Column::At.lt(until));
    }
    query
}

/// Sealed rows that are read at once.
const TAIL_PAGE: u64 = 100;
/// Places of the chain that one statement looks at: a rare kind of event must not make a long ledger one long scan.
const TAIL_WINDOW: i64 = 10_000;

/// The ledger from a place of its chain on, in the order of `seq`, without gaps and without end. It holds a place and
/// no rows: whoever reads slowly finds the rest in the database.
#[derive(Debug)]
pub struct Tail {
    cx: Cx,
    which: Which,
    seen: i64,
    head: watch::Receiver<i64>,
}

/// Everything that comes after the place `after` of the chain; none = from now on.
///
/// # Errors
/// [`Error::Invalid`] for a place that the chain does not have.
pub async fn tail(cx: &Cx, which: Which, after: Option<i64>) -> Result<Tail> {
    cx.allow(Action::ReadLedger, None)?;
    Tail::open(cx, which, after).await
}

impl Tail {
    /// [`tail`] for a caller who has asked for permission.
    pub(super) async fn open(cx: &Cx, which: Which, after: Option<i64>) -> Result<Self> {
        let head = cx.find::<ledger_head::Entity>().one(cx.db()).await?.map_or(0, |head| head.seq);
        let seen = after.unwrap_or(head);
        if !(0..=head).contains(&seen) {
            return Err(Error::invalid(
                "after",
                format!("must be a seq of this ledger, which goes from 1 to {head}, or 0"),
            ));
        }
        Ok(Self { cx: cx.clone(), which, seen, head: cx.app.heads.follow(cx.organization(), head) })
    }

    /// The next rows; waits until there are some.
    ///
    /// # Errors
    /// The database's own.
    pub async fn next(&mut self) -> Result<Vec<Event>> {
        loop {
            let head = *self.head.borrow_and_update();
            while self.seen < head {
                let until = head.min(self.seen.saturating_add(TAIL_WINDOW));
                let rows = matching(&self.cx, &self.which)
                    .filter(event::Column::Seq.gt(self.seen))
                    .filter(event::Column::Seq.lte(until))
                    .order_by_asc(event::Column::Seq)
                    .limit(TAIL_PAGE)
                    .all(self.cx.db())
                    .await?;
                let full = rows.len() as u64 == TAIL_PAGE;
                self.seen = rows.last().and_then(|row| row.seq).filter(|_| full).unwrap_or(until);
                if !rows.is_empty() {
                    return Ok(rows);
                }
            }
            if self.head.changed().await.is_err() {
                // Nobody tells any more: the process ends, and with it this.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Reads how far the ledgers go that somebody follows, and tells them.
pub async fn look(app: &App) -> Result<()> {
    let followed = app.heads.followed();
    if followed.is_empty() {
        return Ok(());
    }
    #[allow(clippy::disallowed_methods, reason = "each is asked for by somebody who was let into it")]
    let heads = ledger_head::Entity::find().filter(ledger_head::Column::OrganizationId.is_in(followed));
    for head in heads.all(&app.store.read).await? {
        app.heads.tell(head.organization_id, head.seq);
    }
    Ok(())
}

/// The rows of the ledger among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Event>> {
    cx.allow(Action::ReadLedger, None)?;
    Ok(cx.find::<event::Entity>().filter(event::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// The values before and after the change; none where an erasure emptied them.
pub fn values(event: &Event) -> (Option<Value>, Option<Value>) {
    let payload: Option<Value> = event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let part = |name: &str| payload.as_ref()?.get(name).filter(|value| !value.is_null()).cloned();
    (part("before"), part("after"))
}

/// Whose subjects are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owners {
    #[default]
    Anybody,
    /// No connection: made by hand.
    Nobody,
    /// Any connection, as opposed to made by hand.
    Connections,
    Connection(Uuid),
}

/// How many live subjects of `kind` (`user`, `group`) there are now, without counting them.
pub(super) async fn population(cx: &Cx, kind: &str, owners: Owners) -> Result<u64> {
    let mut values = vec![cx.organization().into()];
    let text = format!("SELECT {} AS total", population_of(cx.backend(), kind, owners, &mut values));
    let row = cx.db().query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.max(0).unsigned_abs())
}

/// SQL for [`population`] in the organization `$1`: the tally at the end of the chain, and what the rows beyond it add. In
/// one statement, so the two fit together. Binds its values behind those that are there.
pub(super) fn population_of(
    backend: DbBackend,
    kind: &str,
    owners: Owners,
    values: &mut Vec<sea_orm::Value>,
) -> String {
    values.push(kind.into());
    let kind = values.len();
    let owner = kind + 1;
    // What has changed hands is its owner's and no longer nobody's, or the reverse; all together are as many as before.
    let moved = format!("action IN {}", EventKind::sql_list(EventKind::changes_owner));
    let [owned, of_row, of_owner] = match owners {
        Owners::Anybody => ["".into(), format!("CASE WHEN {moved} THEN 0 ELSE population END"), "".into()],
        Owners::Nobody => {
            values.push(Uuid::nil().into());
            [
                format!(" AND connection_id = ${owner}"),
                format!("CASE WHEN {moved} THEN -population ELSE population END"),
                format!(" AND (connection_id IS NULL OR {moved})"),
            ]
        }
        Owners::Connections => {
            values.push(Uuid::nil().into());
            [format!(" AND connection_id <> ${owner}"), "population".into(), " AND connection_id IS NOT NULL".into()]
        }
        Owners::Connection(id) => {
            values.push(id.into());
            let own = format!(" AND connection_id = ${owner}");
            [own.clone(), "population".into(), own]
        }
    };
    let beyond = ledger::not_chained(backend);
    format!(
        "CAST(coalesce((SELECT sum(n) FROM tally WHERE organization_id = $1 AND kind = ${kind}{owned}), 0) \
         + coalesce((SELECT sum({of_row}) {beyond} AND subject_kind = ${kind}{of_owner}), 0) \
         AS bigint)"
    )
}

#[derive(FromQueryResult)]
struct Population {
    id: Uuid,
    total: i64,
}

/// How many live subjects of `kind` each of these connections owns: [`population`] for many at once.
pub async fn populations(cx: &Cx, kind: &str, connections: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadIam, None)?;
    let (among, beyond) = (list::among(cx.backend(), 3), ledger::not_chained(cx.backend()));
    let text = format!(
        "SELECT connection_id AS id, CAST(sum(n) AS bigint) AS total FROM ( \
           SELECT connection_id, n FROM tally WHERE organization_id = $1 AND kind = $2 AND connection_id {among} \
           UNION ALL SELECT connection_id, population {beyond} AND subject_kind = $2 AND connection_id {among} \
         ) AS parts GROUP BY connection_id"
    );
    let values = [cx.organization().into(), kind.into(), list::ids(connections)];
    let rows = Population::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    let rows = rows.all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.total.max(0).unsigned_abs())).collect())
}
