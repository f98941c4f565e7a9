//! Reading the ledger. It is written by [`Cx::write`](crate::context::Cx::write) and by nothing else.

use entity::event;
use sea_orm::{ColumnTrait, QueryFilter};
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
