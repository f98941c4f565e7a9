//! The events of the review queue: ids and codes, never the name of the user or group.

use chrono::{DateTime, Utc};
use sea_orm::ActiveEnum;
use serde_json::{Value, json};

use super::{Failure, State};
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// An event about a failure, with what changed.
pub fn failure_event(
    kind: EventKind,
    failure: &Failure,
    at: DateTime<Utc>,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    let subject = EventSubject { kind: "failure", id: failure.id };
    NewEvent {
        kind,
        subject,
        connection: failure.connection_id,
        at,
        before,
        after,
        population: 0,
        name: None,
    }
}

/// A new failure. The event names no person.
pub fn failure_opened_event(failure: &Failure, at: DateTime<Utc>) -> NewEvent {
    let details = json!({
        "operation": failure.operation, "cause": failure.cause.to_value(), "reason": failure.reason,
        "field": failure.field, "userId": failure.user_id, "groupId": failure.group_id,
    });
    failure_event(EventKind::FailureOpened, failure, at, None, Some(details))
}

/// The end of a failure: it was dismissed, or resolved in some way.
pub fn failure_finished_event(failure: &Failure, at: DateTime<Utc>) -> NewEvent {
    let kind = match failure.state {
        State::Dismissed => EventKind::FailureDismissed,
        _ => EventKind::FailureResolved,
    };
    let resolution = failure.resolution.map(|resolution| resolution.to_value());
    let details = json!({ "resolution": resolution, "count": failure.count });
    failure_event(kind, failure, at, None, Some(details))
}
