//! Reading the ledger. It is written by [`Cx::write`](crate::context::Cx::write) and by nothing else.

use entity::event;
use sea_orm::{ColumnTrait, ConnectionTrait, QueryFilter, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use crate::authz::Action;
use crate::context::Cx;
use crate::error::{Error, Result};

pub use event::Model as Event;

/// Which rows of the ledger are wanted; none = all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Exactly this action, for example `user.suspended`.
    pub action: Option<String>,
    pub subject: Option<Uuid>,
    pub connection: Option<Uuid>,
}

/// A page of the ledger in the order of `pos`.
pub async fn list(cx: &Cx, which: &Which, keyset: &Keyset<i64>) -> Result<Slice<Event>> {
    cx.allow(Action::ReadLedger, None)?;
    let mut query = cx.find::<event::Entity>();
    if let Some(action) = &which.action {
        query = query.filter(event::Column::Action.eq(action));
    }
    if let Some(subject) = which.subject {
        query = query.filter(event::Column::SubjectId.eq(subject));
    }
    if let Some(connection) = which.connection {
        query = query.filter(event::Column::ConnectionId.eq(connection));
    }
    list::page(cx, query, event::Column::Pos, keyset).await
}

/// One row of the ledger.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Event> {
    cx.allow(Action::ReadLedger, None)?;
    let found = cx.find::<event::Entity>().filter(event::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found("the event"))
}

/// The values before and after the change; none where an erasure emptied them.
pub fn values(event: &Event) -> (Option<Value>, Option<Value>) {
    let payload: Option<Value> = event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let part = |name: &str| payload.as_ref()?.get(name).filter(|value| !value.is_null()).cloned();
    (part("before"), part("after"))
}

/// Which owners a population is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    Anybody,
    /// Any connection, as opposed to made by hand.
    Connections,
    Connection(Uuid),
}

/// How many live subjects of `kind` (`user`, `group`) there are now, without counting them: the tally at the end
/// of the chain, and what the rows beyond it add. One statement, so the two fit together.
pub(super) async fn population(cx: &Cx, kind: &str, owners: Owners) -> Result<u64> {
    let mut values: Vec<sea_orm::Value> = vec![cx.organization().into(), kind.into()];
    let which = match owners {
        Owners::Anybody => ["", ""],
        Owners::Connections => {
            values.push(Uuid::nil().into());
            [" AND connection_id <> $3", " AND connection_id IS NOT NULL"]
        }
        Owners::Connection(id) => {
            values.push(id.into());
            [" AND connection_id = $3"; 2]
        }
    };
    let text = format!(
        "SELECT CAST(coalesce((SELECT sum(n) FROM tally WHERE organization_id = $1 AND kind = $2{}), 0) \
         + coalesce((SELECT sum(population) FROM event WHERE organization_id = $1 AND seq IS NULL AND subject_kind = $2{}), 0) \
         AS bigint) AS total",
        which[0], which[1]
    );
    let row = cx.db().query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.max(0).unsigned_abs())
}
