//! Which events a destination receives.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::destination;
use super::destination::Destination;
use super::payload::ChainedEvent;
use crate::ledger::EventKind;

/// The filter of a destination.
#[derive(Debug, Clone)]
pub struct EventFilter {
    destination: Uuid,
    /// The names of the events; empty = all.
    actions: BTreeSet<String>,
    /// The connections; empty = all events.
    connections: BTreeSet<Uuid>,
}

impl EventFilter {
    /// The filter of this destination.
    pub fn of_destination(row: &Destination) -> Self {
        let kinds = destination::event_kinds(row);
        Self {
            destination: row.id,
            actions: kinds.iter().map(|kind| kind.name().into()).collect(),
            connections: destination::connection_ids(row).into_iter().collect(),
        }
    }

    /// None if the destination does not get an event; `Some(true)` if it gets it at once, ahead of
    /// earlier events about the same subject.
    pub fn judge_event(&self, event: &ChainedEvent) -> Option<bool> {
        let about_itself = event.subject_id == self.destination;
        match EventKind::parse(&event.action) {
            Some(EventKind::DestinationTested) if about_itself => return Some(true),
            Some(EventKind::DestinationSubjectAdded | EventKind::DestinationSubjectRemoved)
                if about_itself =>
            {
                return Some(false);
            }
            _ => {}
        }
        let connections = &self.connections;
        let fits = (self.actions.is_empty() || self.actions.contains(&event.action))
            && (connections.is_empty()
                || event.connection_id.is_some_and(|connection| connections.contains(&connection)));
        fits.then(|| event.is_deprovisioning())
    }
}
