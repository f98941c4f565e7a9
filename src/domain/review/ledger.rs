//! What the ledger tells of the review queue: ids and codes, never whom a failure is about.

use chrono::{DateTime, Utc};
use sea_orm::ActiveEnum;
use serde_json::{Value, json};

use super::{Failure, State};
use crate::ledger::{Entry, EventKind, Subject};

pub fn entry(
    kind: EventKind,
    failure: &Failure,
    at: DateTime<Utc>,
    before: Option<Value>,
    after: Option<Value>,
) -> Entry {
    let subject = Subject { kind: "failure", id: failure.id };
    Entry { kind, subject, connection: Some(failure.connection_id), at, before, after, population: 0 }
}

pub fn opened(failure: &Failure, at: DateTime<Utc>) -> Entry {
    let told = json!({
        "operation": failure.operation, "cause": failure.cause.to_value(), "reason": failure.reason,
        "field": failure.field, "userId": failure.user_id, "groupId": failure.group_id,
    });
    entry(EventKind::FailureOpened, failure, at, None, Some(told))
}

pub fn closed(failure: &Failure, at: DateTime<Utc>) -> Entry {
    let kind = match failure.state {
        State::Dismissed => EventKind::FailureDismissed,
        _ => EventKind::FailureResolved,
    };
    let resolution = failure.resolution.map(|resolution| resolution.to_value());
    let told = json!({ "resolution": resolution, "count": failure.count });
    entry(kind, failure, at, None, Some(told))
}
