//! Destinations: their settings, their states, and what a person does with one.

use chrono::{DateTime, Duration, Utc};
use entity::destination::{Column, Entity};
use entity::{connection, delivery, destination, failure, ledger_head, user};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::stream::StreamSettings;
use super::webhook_keys::WebhookKeys;
use super::{secret, stream};
use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::outside_url::{OutsideUrlRules, check_outside_url};
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, Rule, mistakes};
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use destination::{Kind, Model as Destination, Payload, State};

/// The most destinations of one organization.
pub const MAX_DESTINATIONS: u64 = 100;
/// The longest address.
const MAX_URL_LENGTH: usize = 2_048;
/// The longest description.
const MAX_DESCRIPTION_LENGTH: usize = 500;
/// The most connections that a destination is confined to.
const MAX_CONNECTIONS: usize = 100;
/// The longest overlap of two secrets, in seconds.
const MAX_OVERLAP_SECONDS: i32 = 7 * 24 * 60 * 60;

/// The wanted settings of a new destination.
#[derive(Debug, Clone)]
pub struct DestinationSettings {
    pub kind: Kind,
    pub url: Option<String>,
    pub description: String,
    /// The account that answers for it.
    pub owner: Option<Uuid>,
    /// The events that it receives; empty = all.
    pub event_kinds: Vec<EventKind>,
    /// The connections whose events it receives; empty = all events.
    pub connections: Vec<Uuid>,
    pub payload: Payload,
    /// The settings of a stream of security event tokens; none = the usual ones.
    pub stream: Option<StreamSettings>,
}

/// The changes of a destination; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct DestinationEdit {
    pub url: Option<String>,
    pub description: Option<String>,
    pub owner: Option<Option<Uuid>>,
    pub event_kinds: Option<Vec<EventKind>>,
    pub connections: Option<Vec<Uuid>>,
    pub payload: Option<Payload>,
    /// The API key with which the receiver of a stream polls; none inside = none.
    pub receiver_key: Option<Option<Uuid>>,
}

/// A destination with the secret that is shown once.
#[derive(Debug)]
pub struct ShownDestination {
    pub destination: Destination,
    pub secret: Option<String>,
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy)]
pub enum ReplayStart {
    /// With this place of the ledger.
    Seq(i64),
    /// With the first change at this instant or later.
    Since(DateTime<Utc>),
}

/// Refuses unless the actor may let events leave the organization in this form: who does so could
/// read them outside.
pub(super) fn allow_telling(cx: &Cx, payload: Payload) -> Result<()> {
    cx.allow(Action::WriteConnection, None)?;
    cx.allow(Action::ReadLedger, None)?;
    match payload {
        Payload::Reference => Ok(()),
        Payload::Full => cx.allow(Action::ReadUser, None),
    }
}

/// Refuses an address that this server will not call.
pub(super) fn check_url(cx: &Cx, url: &str) -> Result<String> {
    let private = cx.app.config.signal_private_addresses;
    let rules = OutsideUrlRules { max_length: MAX_URL_LENGTH, private, query: true };
    check_outside_url("url", url, rules)
}

/// An address without its path and query, which may hold a secret: for the ledger.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    &url[..end]
}

fn names_of(kinds: &[EventKind]) -> Value {
    let names: std::collections::BTreeSet<_> = kinds.iter().map(|kind| kind.name()).collect();
    json!(names)
}

/// The events that a destination receives; empty = all.
pub fn event_kinds(row: &Destination) -> Vec<EventKind> {
    let names = row.event_kinds.as_array().into_iter().flatten();
    names.filter_map(|name| EventKind::parse(name.as_str()?)).collect()
}

/// The connections whose events a destination receives; empty = all events.
pub fn connection_ids(row: &Destination) -> Vec<Uuid> {
    let ids = row.connection_ids.as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

async fn check_connections(tx: &Tx<'_>, wanted: &[Uuid]) -> Result<Value> {
    if wanted.len() > MAX_CONNECTIONS {
        let why = format!("must be at most {MAX_CONNECTIONS}");
        return Err(Error::broken(Rule::TooMany, "connectionIds", why));
    }
    let found: Vec<Uuid> = tx
        .find::<connection::Entity>()
        .filter(connection::Column::Id.is_in(wanted.iter().copied()))
        .filter(connection::Column::DeletedAt.is_null())
        .select_only()
        .column(connection::Column::Id)
        .into_tuple()
        .all(&tx.db)
        .await?;
    mistakes::each("connectionIds", wanted, |id| {
        found.contains(id).then_some(()).ok_or_else(|| Error::not_found(Noun::Connection))
    })?;
    let mut ids = wanted.to_vec();
    ids.sort_unstable();
    ids.dedup();
    Ok(json!(ids))
}

async fn check_owner(tx: &Tx<'_>, owner: Option<Uuid>) -> Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let found = tx
        .find::<user::Entity>()
        .filter(user::Column::Id.eq(owner))
        .filter(user::Column::DeletedAt.is_null());
    match found.one(&tx.db).await? {
        Some(_) => Ok(()),
        None => Err(Error::not_found(Noun::Owner)),
    }
}

/// Where the ledger ends now: a new destination receives what comes after.
pub(super) async fn current_end(tx: &Tx<'_>) -> Result<i64> {
    let head = tx.find::<ledger_head::Entity>().one(&tx.db).await?;
    Ok(head.map_or(0, |head| head.seq))
}

/// What the messages to a new destination are signed with.
#[allow(clippy::large_enum_variant, reason = "a request makes one, and it lives shortly")]
enum NewKeys {
    Webhook(WebhookKeys),
    Stream(stream::EventStream),
}

impl NewKeys {
    async fn make_keys(cx: &Cx, id: Uuid, settings: &DestinationSettings) -> Result<Self> {
        Ok(match settings.kind {
            Kind::EventStream => {
                let wanted = settings.stream.clone().unwrap_or_default();
                Self::Stream(stream::prepare_stream(cx, id, &wanted, settings.payload).await?)
            }
            Kind::Webhook | Kind::Mail => Self::Webhook(WebhookKeys::make_keys(cx, id).await?),
        })
    }

    fn of_webhook(&self) -> Option<&WebhookKeys> {
        match self {
            Self::Webhook(keys) => Some(keys),
            Self::Stream(_) => None,
        }
    }
}

/// Makes a destination, which receives the events from now on. Returns its secret, which is shown
/// only now.
///
/// # Errors
/// [`Error::Invalid`] for settings that cannot be used, [`Error::Held`] for too many destinations,
/// [`Error::NotFound`] for a connection or an owner that does not exist.
pub async fn create_destination(
    cx: &Cx,
    settings: DestinationSettings,
) -> Result<ShownDestination> {
    allow_telling(cx, settings.payload)?;
    if settings.kind == Kind::Mail {
        return Err(Error::Unsupported("destinations of this kind are not offered yet".into()));
    }
    let id = Uuid::now_v7();
    // No keys are made for settings that cannot be used; the write tells what is wrong with them.
    let keys = match check_settings(cx, &settings) {
        Ok(_) => Some(NewKeys::make_keys(cx, id, &settings).await?),
        Err(_) => None,
    };
    let (settings, keys) = (&settings, &keys);
    let destination = cx
        .write(move |tx| {
            Box::pin(async move {
                if tx.find::<Entity>().count(&tx.db).await? >= MAX_DESTINATIONS {
                    return Err(Error::Held {
                        reason: RefusalReason::TooMuchStored,
                        why: format!(
                            "an organization has at most {MAX_DESTINATIONS} destinations: delete \
                             one first"
                        )
                        .into(),
                    });
                }
                let (connections, (url, description)) = check_all(cx, tx, settings).await?;
                let keys = keys.as_ref().ok_or_else(|| {
                    Error::Internal("a destination without keys passed its checks".into())
                })?;
                let (cursor, now) = (current_end(tx).await?, tx.now_after(None));
                let webhook = keys.of_webhook();
                let row = Destination {
                    organization_id: tx.organization(),
                    id,
                    kind: settings.kind,
                    url,
                    description,
                    owner_user_id: settings.owner,
                    event_kinds: names_of(&settings.event_kinds),
                    connection_ids: connections,
                    payload: settings.payload,
                    state: State::Active,
                    reason: None,
                    message: None,
                    state_since: now,
                    secret: webhook.map(|keys| keys.sealed.clone()),
                    previous_secret: None,
                    previous_until: None,
                    private_key: webhook.map(|keys| keys.private.clone()),
                    public_key: webhook.map(|keys| keys.public.clone()),
                    cursor_seq: cursor,
                    next_at: None,
                    last_success_at: None,
                    version: 1,
                    restarts: 0,
                    created_at: now,
                    updated_at: now,
                };
                Entity::insert(row.clone().into_active_model())
                    .exec_without_returning(&tx.db)
                    .await?;
                if let NewKeys::Stream(stream) = keys {
                    stream::insert_stream(tx, stream.clone()).await?;
                }
                let after = Some(Value::Object(describe_destination(&row)));
                let entry = destination_event(EventKind::DestinationCreated, &row, now, after);
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    let webhook = keys.as_ref().and_then(NewKeys::of_webhook);
    let secret = webhook.map(|keys| keys.text.clone());
    Ok(ShownDestination { destination, secret })
}

/// The address and the description of a new destination, or all that is wrong with its settings as
/// far as no row is read.
fn check_settings(cx: &Cx, settings: &DestinationSettings) -> Result<(Option<String>, String)> {
    let mut mistakes = Mistakes::default();
    let url = match &settings.url {
        Some(url) => mistakes.collect(check_url(cx, url)),
        // The receiver of a stream may poll.
        None if settings.kind == Kind::EventStream => None,
        None => {
            mistakes.add(Error::broken(Rule::Required, "url", "is required"));
            None
        }
    };
    let description = mistakes.collect(check_description(&settings.description));
    match &settings.stream {
        Some(_) if settings.kind != Kind::EventStream => {
            let why = "is for destinations of the kind EVENT_STREAM";
            mistakes.add(Error::invalid("stream", why));
        }
        Some(wanted) => {
            mistakes.collect(stream::check_settings(wanted, settings.payload));
        }
        None => {}
    }
    mistakes.refuse_any()?;
    Ok((url, description.unwrap_or_default()))
}

/// The connections of a new destination with what [`check_settings`] returns, or all mistakes.
async fn check_all(
    cx: &Cx,
    tx: &Tx<'_>,
    settings: &DestinationSettings,
) -> Result<(Value, (Option<String>, String))> {
    let mut mistakes = Mistakes::default();
    let checked = mistakes.collect(check_settings(cx, settings));
    mistakes.collect(check_owner(tx, settings.owner).await);
    let connections = mistakes.collect(check_connections(tx, &settings.connections).await);
    let receiver = settings.stream.as_ref().and_then(|stream| stream.receiver_key);
    mistakes.collect(stream::check_receiver_key(tx, receiver).await);
    mistakes.refuse_any()?;
    Ok((connections.unwrap_or_default(), checked.unwrap_or_default()))
}

pub(super) fn check_description(text: &str) -> Result<String> {
    crate::domain::check_text("description", text, MAX_DESCRIPTION_LENGTH)
}

/// What the ledger tells of a destination: no secret, and no path of its address.
pub(super) fn describe_destination(row: &Destination) -> Map<String, Value> {
    let Value::Object(map) = json!({
        "kind": sea_orm::ActiveEnum::to_value(&row.kind),
        "origin": row.url.as_deref().map(origin_of), "description": row.description,
        "ownerUserId": row.owner_user_id, "eventKinds": row.event_kinds,
        "connectionIds": row.connection_ids,
        "payload": sea_orm::ActiveEnum::to_value(&row.payload),
        "state": sea_orm::ActiveEnum::to_value(&row.state),
    }) else {
        unreachable!("an object was written")
    };
    map
}

/// An event about a destination.
pub(super) fn destination_event(
    kind: EventKind,
    row: &Destination,
    at: DateTime<Utc>,
    after: Option<Value>,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "destination", id: row.id },
        connection: None,
        at,
        before: None,
        after,
        population: 0,
        name: Some(row.description.clone()),
    }
}

/// The destination of this id, locked until the write ends.
pub(super) async fn lock_destination(tx: &Tx<'_>, id: Uuid) -> Result<Destination> {
    let query = tx.find::<Entity>().filter(Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Destination))
}

pub(super) async fn save_destination(tx: &Tx<'_>, row: Destination) -> Result<()> {
    crate::domain::save_row::<Entity, destination::ActiveModel>(tx, row).await
}

/// Makes the servers read the row again.
pub(super) fn bump_version(tx: &Tx<'_>, row: &mut Destination) -> DateTime<Utc> {
    let now = tx.now_after(Some(row.updated_at));
    row.version += 1;
    row.updated_at = now;
    now
}

/// Like [`bump_version`]. What servers have delivered and not yet written down is ignored, and
/// delivered again.
pub(super) fn restart_delivery(tx: &Tx<'_>, row: &mut Destination) -> DateTime<Utc> {
    row.restarts += 1;
    bump_version(tx, row)
}

/// Sets the changes in `row`, the destination if it exists; all of them are checked.
async fn apply_edit(
    cx: &Cx,
    tx: &Tx<'_>,
    edit: &DestinationEdit,
    row: Option<&mut Destination>,
) -> Result<()> {
    let mut mistakes = Mistakes::default();
    let url = edit.url.as_deref().map(|url| check_url(cx, url)).transpose();
    let url = mistakes.collect(url).flatten();
    let description = edit.description.as_deref().map(check_description).transpose();
    let description = mistakes.collect(description).flatten();
    mistakes.collect(check_owner(tx, edit.owner.flatten()).await);
    let connections = match &edit.connections {
        Some(ids) => mistakes.collect(check_connections(tx, ids).await),
        None => None,
    };
    mistakes.refuse_any()?;
    let Some(row) = row else { return Ok(()) };
    row.url = url.or(row.url.take());
    row.description = description.unwrap_or_else(|| std::mem::take(&mut row.description));
    row.owner_user_id = edit.owner.unwrap_or(row.owner_user_id);
    if let Some(kinds) = &edit.event_kinds {
        row.event_kinds = names_of(kinds);
    }
    if let Some(connections) = connections {
        row.connection_ids = connections;
    }
    row.payload = edit.payload.unwrap_or(row.payload);
    Ok(())
}

/// Changes the settings of a destination. A stream that moves to another address forgets the header
/// with which its receiver wants to be called.
///
/// # Errors
/// As [`create_destination`].
pub async fn update_destination(cx: &Cx, id: Uuid, edit: DestinationEdit) -> Result<Destination> {
    allow_telling(cx, edit.payload.unwrap_or(Payload::Reference))?;
    let edit = &edit;
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut mistakes = Mistakes::default();
                let before = mistakes.collect(lock_destination(tx, id).await);
                if let Some(before) = &before {
                    allow_telling(cx, before.payload)?;
                }
                let mut after = before.clone();
                mistakes.collect(apply_edit(cx, tx, edit, after.as_mut()).await);
                let bound = match edit.receiver_key {
                    Some(key) if before.is_some() => {
                        mistakes.collect(stream::bind_receiver(tx, id, key).await)
                    }
                    Some(key) => {
                        mistakes.collect(stream::check_receiver_key(tx, key).await);
                        None
                    }
                    None => None,
                };
                mistakes.refuse_any()?;
                let (Some(before), Some(mut after)) = (before, after) else {
                    return Err(Error::not_found(Noun::Destination));
                };
                let bound = bound.unwrap_or(false);
                if after == before && !bound {
                    return Ok(Change::unchanged(before));
                }
                if after.url != before.url {
                    stream::forget_authorization(tx, id).await?;
                }
                let now = bump_version(tx, &mut after);
                save_destination(tx, after.clone()).await?;
                let (was, mut is) = ledger::changed_members(
                    &describe_destination(&before),
                    &describe_destination(&after),
                );
                if bound {
                    is["receiverKeyId"] = json!(edit.receiver_key.flatten());
                }
                let entry = destination_event(EventKind::DestinationUpdated, &after, now, Some(is));
                Ok(Change::recorded(after, NewEvent { before: Some(was), ..entry }))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// Stops delivering to a destination. It gets the events of the meantime when it is resumed.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn pause_destination(cx: &Cx, id: Uuid) -> Result<Destination> {
    cx.allow(Action::WriteConnection, None)?;
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_destination(tx, id).await?;
                if row.state == State::Paused {
                    return Ok(Change::unchanged(row));
                }
                let now = bump_version(tx, &mut row);
                set_state(&mut row, State::Paused, now, Some(("PAUSED", "A person paused it.")));
                save_destination(tx, row.clone()).await?;
                stream::notice::note_status(tx, &row, now).await?;
                let after = Some(json!({ "because": "PAUSED" }));
                let entry = destination_event(EventKind::DestinationPaused, &row, now, after);
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// Puts a destination in a state, for a reason: a code, and the same in words.
pub(super) fn set_state(
    row: &mut Destination,
    state: State,
    now: DateTime<Utc>,
    why: Option<(&str, &str)>,
) {
    (row.state, row.state_since) = (state, now);
    (row.reason, row.message) = why.map(|(code, text)| (code.into(), text.into())).unzip();
}

/// Delivers again to a destination that was paused, failed or was disabled: at once, and everything
/// since.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn resume_destination(cx: &Cx, id: Uuid) -> Result<Destination> {
    allow_telling(cx, Payload::Reference)?;
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_destination(tx, id).await?;
                allow_telling(cx, row.payload)?;
                if row.state == State::Active {
                    return Ok(Change::unchanged(row));
                }
                let now = restart_delivery(tx, &mut row);
                set_state(&mut row, State::Active, now, None);
                // What waits is tried at once, and again for three days.
                row.next_at = Some(now);
                let text = "UPDATE delivery SET next_at = $3, attempts = 0, first_at = $3 \
                            WHERE organization_id = $1 AND destination_id = $2 \
                            AND state = 'WAITING'";
                tx.db.execute_raw(tx.statement(text, [id.into(), now.into()])).await?;
                save_destination(tx, row.clone()).await?;
                stream::notice::note_status(tx, &row, now).await?;
                let entry = destination_event(EventKind::DestinationResumed, &row, now, None);
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// Deletes a destination and its deliveries.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn delete_destination(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let row = lock_destination(tx, id).await?;
            let now = tx.now_after(Some(row.updated_at));
            delivery::Entity::delete_many()
                .filter(delivery::Column::OrganizationId.eq(tx.organization()))
                .filter(delivery::Column::DestinationId.eq(id))
                .exec(&tx.db)
                .await?;
            dismiss_failures(tx, id, now).await?;
            Entity::delete_many()
                .filter(Column::OrganizationId.eq(tx.organization()))
                .filter(Column::Id.eq(id))
                .exec(&tx.db)
                .await?;
            stream::delete_stream_rows(tx, id).await?;
            let entry = NewEvent {
                before: Some(Value::Object(describe_destination(&row))),
                ..destination_event(EventKind::DestinationDeleted, &row, now, None)
            };
            Ok(Change::recorded((), entry))
        })
    })
    .await?;
    cx.app.signals.wake.notify_one();
    Ok(())
}

/// Ends the failures of the deliveries of a destination that is being deleted.
async fn dismiss_failures(tx: &Tx<'_>, destination: Uuid, now: DateTime<Utc>) -> Result<()> {
    let dismissed = failure::ActiveModel {
        state: Set(failure::State::Dismissed),
        resolution: Set(Some(failure::Resolution::DestinationDeleted)),
        finished_at: Set(Some(now)),
        ..Default::default()
    };
    failure::Entity::update_many()
        .set(dismissed)
        .filter(failure::Column::OrganizationId.eq(tx.organization()))
        .filter(failure::Column::DestinationId.eq(destination))
        .filter(failure::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Asks for a message that tests a destination. It is an event like every other, told to this
/// destination whatever its filter says.
///
/// # Errors
/// [`Error::Held`] for a destination that receives nothing now.
pub async fn test_destination(cx: &Cx, id: Uuid) -> Result<Destination> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let row = lock_destination(tx, id).await?;
            if matches!(row.state, State::Paused | State::Disabled) {
                return Err(Error::Held {
                    reason: RefusalReason::Finished,
                    why: "it gets no events now: resume it first (destinationResume)".into(),
                });
            }
            let now = tx.now_after(Some(row.updated_at));
            let entry = destination_event(EventKind::DestinationTested, &row, now, None);
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Gives a destination a new secret. Messages are signed with the one before, too, for
/// `overlap_seconds`. A stream of security event tokens gets a new key pair, and the one before
/// stays in the key set for so long.
///
/// # Errors
/// [`Error::NotFound`], and [`Error::Invalid`] for an overlap that is too long.
pub async fn rotate_secret(cx: &Cx, id: Uuid, overlap_seconds: i32) -> Result<ShownDestination> {
    allow_telling(cx, Payload::Reference)?;
    if !(0..=MAX_OVERLAP_SECONDS).contains(&overlap_seconds) {
        let why = format!("must be between 0 and {MAX_OVERLAP_SECONDS}");
        return Err(Error::invalid("overlapSeconds", why));
    }
    let known = cx.find::<Entity>().filter(Column::Id.eq(id)).one(cx.db()).await?;
    let known = known.ok_or_else(|| Error::not_found(Noun::Destination))?;
    if known.kind == Kind::EventStream {
        let overlap = Duration::seconds(overlap_seconds.into());
        let destination = stream::rotate_keys(cx, known, overlap).await?;
        return Ok(ShownDestination { destination, secret: None });
    }
    let text = secret::new_secret()?;
    let sealed = &secret::seal_secret(cx, id, text.as_bytes()).await?;
    let destination = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_destination(tx, id).await?;
                let now = bump_version(tx, &mut row);
                let until = now + Duration::seconds(overlap_seconds.into());
                let overlaps = overlap_seconds > 0;
                row.previous_secret = row.secret.take().filter(|_| overlaps);
                row.previous_until = Some(until).filter(|_| overlaps);
                row.secret = Some(sealed.clone());
                save_destination(tx, row.clone()).await?;
                let after = Some(json!({ "previousUntil": row.previous_until }));
                let kind = EventKind::DestinationSecretRotated;
                Ok(Change::recorded(row.clone(), destination_event(kind, &row, now, after)))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(ShownDestination { destination, secret: Some(text) })
}

/// Delivers to a destination again everything since a place of the ledger, with the same ids as
/// before.
///
/// # Errors
/// [`Error::NotFound`], and [`Error::Invalid`] for a place that the ledger does not have.
pub async fn replay_events(cx: &Cx, id: Uuid, start: ReplayStart) -> Result<Destination> {
    allow_telling(cx, Payload::Reference)?;
    let from = match start {
        ReplayStart::Seq(seq) => seq,
        ReplayStart::Since(at) => super::work::first_seq_since(cx, at).await?,
    };
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_destination(tx, id).await?;
                allow_telling(cx, row.payload)?;
                let end = current_end(tx).await?;
                if from < 1 || from > end + 1 {
                    let why = format!("must be a seq of this ledger, which goes from 1 to {end}");
                    return Err(Error::invalid("fromSeq", why));
                }
                let now = restart_delivery(tx, &mut row);
                row.cursor_seq = row.cursor_seq.min(from - 1);
                let text = "DELETE FROM delivery WHERE organization_id = $1 \
                            AND destination_id = $2 AND seq >= $3";
                tx.db.execute_raw(tx.statement(text, [id.into(), from.into()])).await?;
                save_destination(tx, row.clone()).await?;
                let after = Some(json!({ "fromSeq": from, "untilSeq": end }));
                let kind = EventKind::DestinationReplayed;
                Ok(Change::recorded(row.clone(), destination_event(kind, &row, now, after)))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// The wanted destinations: those that match all conditions; none or empty = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DestinationQuery {
    /// The description contains this, in any case of the letters A to Z.
    pub search: Option<String>,
    pub kinds: Vec<Kind>,
    pub states: Vec<State>,
}

fn select_destinations(cx: &Cx, which: &DestinationQuery) -> Select<Entity> {
    let mut query = cx.find::<Entity>();
    if let Some(search) = &which.search {
        query = query.filter(paging::contains_text(cx, "destination.description", search));
    }
    if !which.kinds.is_empty() {
        query = query.filter(Column::Kind.is_in(which.kinds.iter().copied()));
    }
    if !which.states.is_empty() {
        query = query.filter(Column::State.is_in(which.states.iter().copied()));
    }
    query
}

/// A page of destinations, each with its place in the order `by`.
pub async fn list_destinations(
    cx: &Cx,
    which: &DestinationQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Destination, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_destinations(cx, which), Column::Id, by, keyset).await
}

/// How many destinations there are.
pub async fn count_destinations(cx: &Cx, which: &DestinationQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_destinations(cx, which).count(cx.db()).await?)
}

/// The destinations among `ids`.
pub async fn destinations_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Destination>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<Entity>().filter(Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// The destinations of an organization that are not well, the oldest first.
pub async fn list_troubled(cx: &Cx) -> Result<Vec<Destination>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<Entity>().filter(Column::State.is_in([State::Failing, State::Disabled]));
    // A stream that its receiver turned off is well.
    let own = sea_orm::sea_query::Condition::any()
        .add(Column::Reason.is_null())
        .add(Column::Reason.ne(stream::DISABLED_BY_RECEIVER));
    let query = query.filter(own);
    Ok(query.order_by_asc(Column::Id).all(cx.db()).await?)
}

/// The destinations of an organization that lag behind its ledger by more than `most` events, each
/// with the number of events.
pub async fn list_lagging(cx: &Cx, most: i64) -> Result<Vec<(Destination, i64)>> {
    cx.allow(Action::ReadIam, None)?;
    let head = cx.find::<ledger_head::Entity>().one(cx.db()).await?;
    let end = head.map_or(0, |head| head.seq);
    let query = cx.find::<Entity>().filter(Column::CursorSeq.lt(end - most));
    let rows = query.order_by_asc(Column::Id).all(cx.db()).await?;
    Ok(rows
        .into_iter()
        .map(|row| (end - row.cursor_seq, row))
        .map(|(lag, row)| (row, lag))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::origin_of;

    #[test]
    fn ledger_tells_no_path() {
        for (url, origin) in [
            ("https://hooks.example/T0/secret", "https://hooks.example"),
            ("https://hooks.example?token=secret", "https://hooks.example"),
            ("https://hooks.example:8443", "https://hooks.example:8443"),
        ] {
            assert_eq!(origin_of(url), origin);
        }
    }
}
