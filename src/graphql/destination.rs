//! Destinations: programs outside that get the organization's events.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::destination as stored;

use super::delivery::{DeliveryFilter, DeliveryObject};
use super::event_action::EventAction;
use super::event_stream::{EventStreamInput, EventStreamObject};
use super::loaders::{self, ConnectionId, EventStreamId, UserId};
use super::message_part::{self, MessagePart};
use super::order::{DeliveryOrder, ListOrder};
use super::permission::{Permission, needs};
use super::user::UserObject;
use crate::domain::signal;
use crate::domain::signal::destination::{
    DestinationEdit, DestinationQuery, DestinationSettings, ReplayStart,
};
use crate::domain::signal::stream::StreamSettings;
use crate::domain::signal::{delivery, destination, secret};
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::connection::IdentitySource;
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, Long, NodeKind, PageArguments, RelayPage, UserError};
use crate::ledger::EventKind;

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[
        (Noun::Destination, "id"),
        (Noun::Owner, "ownerUserId"),
        (Noun::Connection, "connectionIds"),
        (Noun::ApiKey, "receiverKeyId"),
    ],
    fields: &[],
};

/// How a destination gets events.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Kind")]
pub enum DestinationKind {
    /// By signed HTTP requests (Standard Webhooks).
    Webhook,
    /// By security event tokens (Shared Signals Framework 1.0): pushed to its address, or polled
    /// where it has none.
    EventStream,
    /// By mail to people. Not offered yet.
    Mail,
}

/// What a destination gets of an event.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Payload")]
pub enum DestinationPayload {
    /// Ids and kinds, and no personal data.
    Reference,
    /// Also the values before and after, and who made the change. Only a caller with USER_READ can
    /// choose it.
    Full,
}

/// The state of a destination.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum DestinationState {
    /// It gets each event.
    Active,
    /// It gets nothing for now: a person paused it, or it answered 410 Gone.
    Paused,
    /// It does not accept events; they are tried again.
    Failing,
    /// It gets nothing any more: it accepted nothing for three days, or the receiver of a stream
    /// turned it off.
    Disabled,
}

/// A destination as the schema shows it.
pub struct DestinationObject(pub signal::Destination);

impl From<signal::Destination> for DestinationObject {
    fn from(row: signal::Destination) -> Self {
        Self(row)
    }
}

/// A receiver outside that gets the organization's events: each at least once, and in order for
/// one subject. A deprovisioning does not wait for events before it.
#[Object(name = "Destination")]
impl DestinationObject {
    /// The destination's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Destination, self.0.id)
    }

    /// How it gets events.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> DestinationKind {
        self.0.kind.into()
    }

    /// The address that is called; null for mail, and for a stream whose receiver polls. It may
    /// hold a secret of the receiver.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// What it is for, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn description(&self) -> &str {
        &self.0.description
    }

    /// The global id of the account that answers for it; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn owner_user_id(&self) -> Option<ID> {
        self.0.owner_user_id.map(|id| relay::global_id(NodeKind::User, id))
    }

    /// The account that answers for it; null if there is none, or if it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn owner(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        let Some(id) = self.0.owner_user_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, UserId(id)).await?.map(Into::into))
    }

    /// The kinds of events that it gets; empty = all.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn event_actions(&self) -> Vec<EventAction> {
        let kinds = destination::event_kinds(&self.0).into_iter();
        kinds.map(|kind| EventAction::from_ledger_name(kind.name())).collect()
    }

    /// The connections whose events it gets, as far as they exist; empty = all events.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connections(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<IdentitySource>> {
        let mut found = Vec::new();
        for id in destination::connection_ids(&self.0) {
            found.extend(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into));
        }
        Ok(found)
    }

    /// What it gets of an event.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn payload(&self) -> DestinationPayload {
        self.0.payload.into()
    }

    /// Whether it gets events now.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> DestinationState {
        self.0.state.into()
    }

    /// Why it is in this state, as a stable code: `PAUSED`, `GONE`, `DELIVERIES_FAIL`, `GAVE_UP`
    /// or `RECEIVER` (the receiver of a stream turned it off); null while it is active.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The same in words for people; null while it is active.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// `message` by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message_parts(&self) -> Vec<MessagePart> {
        message_part::read_optional_parts(self.0.message.as_deref())
    }

    /// Since when it is in this state.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state_since(&self) -> DateTime<Utc> {
        self.0.state_since
    }

    /// The public key with which the signatures `v1a` are verified (Ed25519, `whpk_` and base64);
    /// null for other kinds than WEBHOOK.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn public_key(&self) -> Option<String> {
        self.0.public_key.as_deref().map(secret::public_key_text)
    }

    /// Until when messages are signed with the previous secret too; null if they are not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn previous_secret_until(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        let now = relay::cx(ctx)?.app.clock.now();
        Ok(self.0.previous_until.filter(|until| *until > now))
    }

    /// What only a stream of security event tokens has; null for other kinds.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn stream(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventStreamObject>> {
        if self.0.kind != stored::Kind::EventStream {
            return Ok(None);
        }
        let stream = loaders::load_one(ctx, EventStreamId(self.0.id)).await?;
        let destination = self.0.clone();
        Ok(stream.map(|stream| EventStreamObject { destination, stream }))
    }

    /// The place in the ledger (`Event.seq`) up to which everything was delivered or given up, a
    /// second late. For a stream whose receiver polls, up to which everything was handed out; what
    /// was not acknowledged is a delivery that waits.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn delivered_through(&self) -> Long {
        Long(self.0.cursor_seq)
    }

    /// When it last took a message, a second late; null if it never did.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_success_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_success_at
    }

    /// When it was created.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its settings were last changed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// What it got, the latest first unless ordered otherwise: the last 10,000 deliveries that
    /// went well at once; and of the last 30 days, those that did not, and all deprovisionings.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            DeliveryFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<DeliveryOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<DeliveryObject>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query() else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows =
            Box::pin(delivery::list_deliveries(cx, self.0.id, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(delivery::count_deliveries(cx, self.0.id, &which)), rows).await
    }
}

/// Selects destinations: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct DestinationFilter {
    /// Destinations whose description contains this; the letters A to Z in any case.
    search: Option<String>,
    /// Destinations of one of these kinds.
    kinds: Option<Vec<DestinationKind>>,
    /// Destinations in one of these states.
    states: Option<Vec<DestinationState>>,
}

impl DestinationFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a search that is empty or too long.
    pub fn into_domain_query(self) -> Result<DestinationQuery> {
        Ok(DestinationQuery {
            search: relay::check_filter_text("search", self.search)?,
            kinds: self.kinds.unwrap_or_default().into_iter().map(Into::into).collect(),
            states: self.states.unwrap_or_default().into_iter().map(Into::into).collect(),
        })
    }
}

/// The destination to create.
#[derive(InputObject)]
pub struct DestinationCreateInput {
    /// How it gets events.
    kind: DestinationKind,
    /// The address to call: a full URL that begins with `https://`. Redirects are not followed. A
    /// stream without it is polled by its receiver.
    url: Option<String>,
    /// What it is for, in words for people.
    description: String,
    /// The global id of the account that answers for it.
    owner_user_id: Option<ID>,
    /// The kinds of events that it gets; left out or empty = all.
    event_actions: Option<Vec<EventAction>>,
    /// The global ids of the connections whose events it gets, at most 100; left out or empty
    /// = all events.
    connection_ids: Option<Vec<ID>>,
    /// What it gets of an event. FULL needs USER_READ too.
    #[graphql(default_with = "DestinationPayload::Reference")]
    payload: DestinationPayload,
    /// The settings of a stream of security event tokens, for the kind EVENT_STREAM only; left out
    /// = the usual ones. Its receiver can change some of them.
    stream: Option<EventStreamInput>,
    /// The global id of the API key with which the receiver of a stream polls it. A key without
    /// IAM_WRITE receives only the streams that name it.
    receiver_key_id: Option<ID>,
}

/// The changes of a destination. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct DestinationUpdateInput {
    /// The destination's global id.
    id: ID,
    /// The address to call. Cannot be null.
    url: MaybeUndefined<String>,
    /// What it is for, in words for people. Cannot be null.
    description: MaybeUndefined<String>,
    /// The global id of the account that answers for it; null = none.
    owner_user_id: MaybeUndefined<ID>,
    /// The kinds of events that it gets; null or empty = all.
    event_actions: MaybeUndefined<Vec<EventAction>>,
    /// The global ids of the connections whose events it gets, at most 100; null or empty =
    /// all events.
    connection_ids: MaybeUndefined<Vec<ID>>,
    /// What it gets of an event. FULL needs USER_READ too. Cannot be null.
    payload: MaybeUndefined<DestinationPayload>,
    /// The global id of the API key with which the receiver of a stream polls it; null = none.
    receiver_key_id: MaybeUndefined<ID>,
}

/// A destination, and why something is done with it.
#[derive(InputObject)]
pub struct DestinationPauseInput {
    /// The destination's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The destination to tell again.
#[derive(InputObject)]
pub struct DestinationResumeInput {
    /// The destination's global id.
    id: ID,
}

/// The destination to delete.
#[derive(InputObject)]
pub struct DestinationDeleteInput {
    /// The destination's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The destination to test.
#[derive(InputObject)]
pub struct DestinationTestInput {
    /// The destination's global id.
    id: ID,
}

/// The destination that gets a new secret.
#[derive(InputObject)]
pub struct DestinationRotateSecretInput {
    /// The destination's global id.
    id: ID,
    /// For how long messages are signed with the previous secret too, in seconds, at most a week.
    #[graphql(default = 86_400)]
    overlap_seconds: i32,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// Where to begin to tell a destination again. Give exactly one of `fromSeq` and `since`.
#[derive(InputObject)]
pub struct DestinationReplayInput {
    /// The destination's global id.
    id: ID,
    /// The first place in the ledger (`Event.seq`) that it gets again.
    from_seq: Option<i32>,
    /// The instant from which on it gets all events again. Some earlier ones may come too.
    since: Option<DateTime<Utc>>,
}

/// The result of `destinationCreate`.
#[derive(SimpleObject)]
pub struct DestinationCreatePayload {
    /// The new destination; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    destination: Option<DestinationObject>,
    /// The secret with which the receiver verifies the signatures `v1`; it is shown only in this
    /// response. Null if there were mistakes, and for other kinds than WEBHOOK.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `destinationRotateSecret`.
#[derive(SimpleObject)]
pub struct DestinationRotateSecretPayload {
    /// The destination after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    destination: Option<DestinationObject>,
    /// The new secret, which is shown only in this response; null if there were mistakes, and for a
    /// stream, which has public keys only.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `destinationDelete`.
#[derive(SimpleObject)]
pub struct DestinationDeletePayload {
    /// The global id that the destination had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    deleted_destination_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

mutation_payloads! {
    destination_payloads;
    /// The destination after the change; null if there were mistakes.
    destination: DestinationObject;
    /// The result of `destinationUpdate`.
    DestinationUpdatePayload,
    /// The result of `destinationPause`.
    DestinationPausePayload,
    /// The result of `destinationResume`.
    DestinationResumePayload,
    /// The result of `destinationTest`.
    DestinationTestPayload,
    /// The result of `destinationReplay`.
    DestinationReplayPayload,
}

fn to_kinds(actions: Option<Vec<EventAction>>) -> Result<Vec<EventKind>> {
    mistakes::each("eventActions", &actions.unwrap_or_default(), |action| {
        let why = "OTHER stands for events that have no name here";
        action.event_kind().ok_or_else(|| Error::invalid("eventActions", why))
    })
}

fn parse_connections(ids: Option<Vec<ID>>) -> Vec<uuid::Uuid> {
    relay::parse_listed_ids(NodeKind::IdentitySource, &ids.unwrap_or_default())
}

fn or_empty<T>(value: MaybeUndefined<Vec<T>>) -> Option<Option<Vec<T>>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

impl DestinationCreateInput {
    fn into_settings(self) -> Result<DestinationSettings> {
        let mut mistakes = Mistakes::default();
        let owner = self.owner_user_id.map(|id| relay::parse_possible_id(NodeKind::User, &id));
        let receiver = self.receiver_key_id.as_ref().map(parse_receiver_key);
        let event_kinds = mistakes.collect(to_kinds(self.event_actions)).unwrap_or_default();
        let connections = parse_connections(self.connection_ids);
        mistakes.refuse_any()?;
        let (kind, payload) = (self.kind.into(), self.payload.into());
        let (url, description) = (self.url, self.description);
        let mut stream: Option<StreamSettings> = self.stream.map(Into::into);
        if receiver.is_some() {
            stream.get_or_insert_default().receiver_key = receiver;
        }
        Ok(DestinationSettings {
            kind,
            url,
            description,
            owner,
            event_kinds,
            connections,
            payload,
            stream,
        })
    }
}

impl DestinationUpdateInput {
    fn into_edit(self) -> Result<(uuid::Uuid, DestinationEdit)> {
        let mut mistakes = Mistakes::default();
        let id = relay::parse_possible_id(NodeKind::Destination, &self.id);
        let owner = match self.owner_user_id {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(id) => Some(Some(relay::parse_possible_id(NodeKind::User, &id))),
        };
        let receiver_key = match self.receiver_key_id {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(id) => Some(Some(parse_receiver_key(&id))),
        };
        let kinds = or_empty(self.event_actions).map(to_kinds).transpose();
        let connections = or_empty(self.connection_ids).map(parse_connections);
        let edit = DestinationEdit {
            url: mistakes.collect(relay::refuse_null("url", self.url)).flatten(),
            description: mistakes
                .collect(relay::refuse_null("description", self.description))
                .flatten(),
            owner,
            event_kinds: mistakes.collect(kinds).flatten(),
            connections,
            payload: mistakes
                .collect(relay::refuse_null("payload", self.payload))
                .flatten()
                .map(Into::into),
            receiver_key,
        };
        mistakes.refuse_any()?;
        Ok((id, edit))
    }
}

fn parse_receiver_key(id: &ID) -> uuid::Uuid {
    relay::parse_possible_id(NodeKind::ApiKey, id)
}

fn parse_destination(id: &ID) -> Result<uuid::Uuid> {
    relay::parse_input_id(NodeKind::Destination, id, Noun::Destination)
}

#[derive(Default)]
pub struct DestinationMutation;

#[Object]
impl DestinationMutation {
    /// Creates a destination, which gets the events from now on. It also needs AUDIT_READ,
    /// and for the payload FULL also USER_READ: who receives events could read them.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The destination to create.")] input: DestinationCreateInput,
    ) -> Result<Option<DestinationCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let done =
            async { destination::create_destination(cx, input.into_settings()?).await }.await;
        let (done, user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
        let (row, secret) = done.map(|shown| (shown.destination, shown.secret)).unzip();
        let (destination, secret) = (row.map(Into::into), secret.flatten());
        Ok(Some(DestinationCreatePayload { destination, secret, user_errors }))
    }

    /// Changes the settings of a destination. It also needs AUDIT_READ, and USER_READ if the
    /// payload is FULL.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: DestinationUpdateInput,
    ) -> Result<Option<DestinationUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let (id, edit) = input.into_edit()?;
            destination::update_destination(cx, id, edit).await
        };
        DestinationUpdatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Stops deliveries to a destination. It gets the events of the meantime when it is resumed.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_pause(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which destination.")] input: DestinationPauseInput,
    ) -> Result<Option<DestinationPausePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                parse_destination(&input.id),
            )?;
            destination::pause_destination(&cx, id).await
        };
        DestinationPausePayload::from_result(done.await, FIELD_MAP)
    }

    /// Resumes a destination that was paused, fails or was disabled: it gets everything since, at
    /// once. It also needs AUDIT_READ, and USER_READ if the payload is FULL.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_resume(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which destination.")] input: DestinationResumeInput,
    ) -> Result<Option<DestinationResumePayload>> {
        let cx = relay::cx(ctx)?;
        let done =
            async { destination::resume_destination(cx, parse_destination(&input.id)?).await };
        DestinationResumePayload::from_result(done.await, FIELD_MAP)
    }

    /// Deletes a destination and the record of its deliveries. The ledger stays.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which destination.")] input: DestinationDeleteInput,
    ) -> Result<Option<DestinationDeletePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                parse_destination(&input.id),
            )?;
            destination::delete_destination(&cx, id).await?;
            Ok(id)
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let deleted = done.map(|id| relay::global_id(NodeKind::Destination, id));
        Ok(Some(DestinationDeletePayload { deleted_destination_id: deleted, user_errors }))
    }

    /// Sends a message of the type `destination.tested`, whatever the filter of the destination
    /// says. `Destination.deliveries` shows how it went.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_test(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which destination.")] input: DestinationTestInput,
    ) -> Result<Option<DestinationTestPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async { destination::test_destination(cx, parse_destination(&input.id)?).await };
        DestinationTestPayload::from_result(done.await, FIELD_MAP)
    }

    /// Gives a destination a new secret. During the overlap messages carry two signatures, one by
    /// each secret. A stream gets a new key pair: it is published at once, signs ten minutes later
    /// (or after half of a shorter overlap), and the one before stays published during the overlap.
    /// It also needs AUDIT_READ.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_rotate_secret(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which destination, and how.")] input: DestinationRotateSecretInput,
    ) -> Result<Option<DestinationRotateSecretPayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                parse_destination(&input.id),
            )?;
            destination::rotate_secret(&cx, id, input.overlap_seconds).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let (row, secret) = done.map(|shown| (shown.destination, shown.secret)).unzip();
        let (destination, secret) = (row.map(Into::into), secret.flatten());
        Ok(Some(DestinationRotateSecretPayload { destination, secret, user_errors }))
    }

    /// Sends a destination again everything since a place of the ledger or an instant, with the
    /// same message ids as before. It also needs AUDIT_READ, and USER_READ if the payload is FULL.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn destination_replay(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which destination, and from where on.")] input: DestinationReplayInput,
    ) -> Result<Option<DestinationReplayPayload>> {
        let cx = relay::cx(ctx)?;
        let start = match (input.from_seq, input.since) {
            (Some(seq), None) => Ok(ReplayStart::Seq(seq.into())),
            (None, Some(since)) => Ok(ReplayStart::Since(since)),
            _ => Err(Error::invalid("fromSeq", "give exactly one of fromSeq and since")),
        };
        let done = async {
            let (id, start) = mistakes::both(parse_destination(&input.id), start)?;
            destination::replay_events(cx, id, start).await
        };
        DestinationReplayPayload::from_result(done.await, FIELD_MAP)
    }
}
