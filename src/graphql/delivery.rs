//! Deliveries: what a destination got, how each attempt went, and another try.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::delivery as stored;

use super::destination::DestinationObject;
use super::event::EventObject;
use super::event_action::EventAction;
use super::loaders::{self, DestinationId, EventId};
use super::message_part::{self, MessagePart};
use super::permission::{Permission, needs};
use crate::domain::signal::delivery;
use crate::domain::signal::delivery::DeliveryQuery;
use crate::domain::signal::payload::message_id;
use crate::error::{Noun, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, Long, NodeKind};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Delivery, "id")], fields: &[] };

/// The state of a delivery.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum DeliveryState {
    /// It failed, and is tried again.
    Waiting,
    /// The destination took it.
    Succeeded,
    /// It was given up after three days.
    Failed,
}

/// One attempt of a delivery.
#[derive(SimpleObject)]
pub struct DeliveryAttempt {
    /// When it was made.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    at: Option<DateTime<Utc>>,
    /// The HTTP status of the answer; null if there was none.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    http_status: Option<i32>,
    /// How long it took, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    latency_milliseconds: Option<i32>,
    /// What went wrong, in words for people; null if nothing did.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    message: Option<String>,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    message_parts: Vec<MessagePart>,
}

/// A delivery as the schema shows it.
pub struct DeliveryObject(pub delivery::Delivery);

impl From<delivery::Delivery> for DeliveryObject {
    fn from(row: delivery::Delivery) -> Self {
        Self(row)
    }
}

/// The delivery of an event to a destination, with all its attempts.
#[Object(name = "Delivery")]
impl DeliveryObject {
    /// The delivery's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Delivery, self.0.id)
    }

    /// The id of the message, as its header `webhook-id` says it: the same for every attempt.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn message_id(&self) -> String {
        message_id(self.0.id)
    }

    /// The destination; null if it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn destination(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<DestinationObject>> {
        let id = DestinationId(self.0.destination_id);
        Ok(loaders::load_one(ctx, id).await?.map(Into::into))
    }

    /// The event.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn event(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        Ok(loaders::load_one(ctx, EventId(self.0.event_id)).await?.map(Into::into))
    }

    /// What the event did.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn action(&self) -> EventAction {
        EventAction::from_ledger_name(&self.0.action)
    }

    /// The event's place in the ledger.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn seq(&self) -> Long {
        Long(self.0.seq)
    }

    /// The state of the delivery.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn state(&self) -> DeliveryState {
        self.0.state.into()
    }

    /// How many attempts were made since it was first tried, or tried again by a person.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn attempt_count(&self) -> i32 {
        self.0.attempts
    }

    /// The last attempts, at most 20, the earliest first.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn attempts(&self) -> Vec<DeliveryAttempt> {
        let log = self.0.attempt_log.as_array().into_iter().flatten();
        let number = |value: &serde_json::Value| value.as_i64().and_then(|n| n.try_into().ok());
        log.map(|entry| DeliveryAttempt {
            at: entry["at"].as_str().and_then(|at| at.parse().ok()),
            http_status: number(&entry["status"]),
            latency_milliseconds: number(&entry["latencyMs"]),
            message: entry["message"].as_str().map(Into::into),
            message_parts: message_part::read_optional_parts(entry["message"].as_str()),
        })
        .collect()
    }

    /// When the last attempt was made.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// When it is tried again; null if it is not.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn next_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_at
    }

    /// When the destination took it; null if it has not.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn received_at(&self) -> Option<DateTime<Utc>> {
        self.0.received_at
    }

    /// The HTTP status of the last answer; null if there was none.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn http_status(&self) -> Option<i32> {
        self.0.status
    }

    /// How long the last attempt took, in milliseconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn latency_milliseconds(&self) -> Option<i32> {
        self.0.latency_ms
    }

    /// The beginning of the last answer, at most 1 KiB, without what looks like personal data or a
    /// secret; null if there was none.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn response(&self) -> Option<&str> {
        self.0.response.as_deref()
    }

    /// What went wrong in the last attempt, in words for people; null if nothing did.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// `message` by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn message_parts(&self) -> Vec<MessagePart> {
        message_part::read_optional_parts(self.0.message.as_deref())
    }
}

/// Selects deliveries: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct DeliveryFilter {
    /// Deliveries in one of these states.
    states: Option<Vec<DeliveryState>>,
    /// The delivery of the event with this global id.
    event_id: Option<ID>,
    /// Deliveries of events about the account with this global id.
    user_id: Option<ID>,
}

impl DeliveryFilter {
    /// The filter as the domain takes it; none where nothing can match it.
    pub fn into_domain_query(self) -> Option<DeliveryQuery> {
        Some(DeliveryQuery {
            states: self.states.unwrap_or_default().into_iter().map(Into::into).collect(),
            event: relay::parse_filter_id(NodeKind::Event, self.event_id.as_ref())?,
            subject: relay::parse_filter_id(NodeKind::User, self.user_id.as_ref())?,
        })
    }
}

/// The delivery to try again.
#[derive(InputObject)]
pub struct DeliveryRetryInput {
    /// The delivery's global id.
    id: ID,
}

mutation_payloads! {
    delivery_payloads;
    /// The delivery after the change; null if there were mistakes.
    delivery: DeliveryObject;
    /// The result of `deliveryRetry`.
    DeliveryRetryPayload,
}

#[derive(Default)]
pub struct DeliveryMutation;

#[Object]
impl DeliveryMutation {
    /// Tries a delivery again now that waits or was given up, and for three days from now on. It
    /// also needs AUDIT_READ.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn delivery_retry(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which delivery.")] input: DeliveryRetryInput,
    ) -> Result<Option<DeliveryRetryPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let id = relay::parse_input_id(NodeKind::Delivery, &input.id, Noun::Delivery)?;
            delivery::retry_delivery(cx, id).await
        };
        DeliveryRetryPayload::from_result(done.await, FIELD_MAP)
    }
}
