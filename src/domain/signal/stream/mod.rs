//! Streams of security event tokens, a kind of destination: their settings, their keys and their
//! status. They are pushed to a receiver (RFC 8935), or a receiver polls them (RFC 8936): a stream
//! with an address is pushed.

mod checks;
pub mod keys;
pub mod notice;
pub mod poll;
pub mod subject;
pub mod token;
mod update;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use chrono::{DateTime, Duration, Utc};
use entity::destination::{Kind, Payload, State};
use entity::event_stream::{Entity, SigningAlgorithm, SubjectFormat};
use entity::{api_key, delivery, destination, event_stream, group, stream_subject, user};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use uuid::Uuid;

use super::destination::{
    Destination, allow_telling, bump_version, current_end, destination_event, lock_destination,
    restart_delivery, save_destination, set_state,
};
use super::payload::ChainedEvent;
use super::secret;
use crate::auth::policy::{Action, Actor, Permission};
use crate::context::{App, Change, Cx, Tx};
use crate::domain::tenant::organization;
use crate::error::{Error, Noun, RefusalReason, Result, Rule};
use crate::ledger::EventKind;
use checks::CheckedSettings;
use keys::StreamSigners;
use token::{StreamView, SubjectDetails};

pub(super) use checks::check_settings;
pub use event_stream::Model as EventStream;
pub use update::{StreamEdit, update_stream};

/// The longest state that a receiver can send to be verified.
const MAX_STATE_LENGTH: usize = 1_000;
/// Why a stream is disabled that its receiver turned off.
pub(super) const DISABLED_BY_RECEIVER: &str = "RECEIVER";
/// How often a receiver can ask for a verification.
pub const MIN_VERIFICATION_INTERVAL: Duration = Duration::seconds(5);

/// The wanted settings of a new stream, beyond those of every destination.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// The receiver of the tokens (`aud`); none = an address that names the stream.
    pub audience: Option<String>,
    /// The types of events to tell; none = all.
    pub events_requested: Option<Vec<String>>,
    pub subject_format: SubjectFormat,
    pub signing_algorithm: SigningAlgorithm,
    /// The header with which the receiver wants to be called.
    pub push_authorization: Option<String>,
    /// The API key with which the receiver polls.
    pub receiver_key: Option<Uuid>,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            audience: None,
            events_requested: None,
            subject_format: SubjectFormat::IssSub,
            signing_algorithm: SigningAlgorithm::Rs256,
            push_authorization: None,
            receiver_key: None,
        }
    }
}

/// The status of a stream, as its receiver knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStatus {
    Enabled,
    Paused,
    Disabled,
}

impl StreamStatus {
    /// The name in requests and tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// The status of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Enabled, Self::Paused, Self::Disabled].into_iter().find(|it| it.name() == name)
    }
}

impl From<State> for StreamStatus {
    fn from(state: State) -> Self {
        match state {
            State::Active | State::Failing => Self::Enabled,
            State::Paused => Self::Paused,
            State::Disabled => Self::Disabled,
        }
    }
}

/// A stream with its destination.
#[derive(Debug, Clone)]
pub struct StreamOfDestination {
    pub destination: Destination,
    pub stream: EventStream,
}

/// The issuer of an organization's tokens.
pub fn issuer(app: &App, slug: &str) -> String {
    format!("{}/ssf/{slug}", app.config.public_url)
}

/// The types of events that a stream tells.
pub fn delivered_events(row: &Destination, stream: &EventStream) -> Vec<&'static str> {
    let supported = token::supported_events(row.payload);
    let Some(requested) = requested_events(stream) else { return supported };
    supported.into_iter().filter(|name| requested.iter().any(|it| it == name)).collect()
}

/// The types of events that the receiver has requested; none = all.
pub fn requested_events(stream: &EventStream) -> Option<Vec<String>> {
    let names = stream.events_requested.as_ref()?.as_array()?;
    Some(names.iter().filter_map(|name| name.as_str().map(Into::into)).collect())
}

/// The row of a new stream, whose key pair is made now.
pub(super) async fn prepare_stream(
    cx: &Cx,
    id: Uuid,
    settings: &StreamSettings,
    payload: Payload,
) -> Result<EventStream> {
    let CheckedSettings { audience, requested, authorization } = check_settings(settings, payload)?;
    let slug = organization::current_organization(cx).await?.slug;
    let audience = audience.unwrap_or_else(|| format!("{}/streams/{id}", issuer(&cx.app, &slug)));
    let key = keys::make_key(settings.signing_algorithm).await?;
    let key = keys::seal_key(cx, id, &key, cx.app.clock.now()).await?;
    let push_authorization = match authorization {
        Some(text) => Some(secret::seal_secret(cx, id, text.as_bytes()).await?),
        None => None,
    };
    Ok(EventStream {
        organization_id: cx.organization(),
        destination_id: id,
        audience,
        events_requested: requested,
        subject_format: settings.subject_format,
        signing_algorithm: settings.signing_algorithm,
        signing_keys: json!([key]),
        push_authorization,
        receiver_key_id: settings.receiver_key,
        verified_at: None,
        notice: None,
        notice_reason: None,
        notice_id: None,
        notice_at: None,
        notice_tries: 0,
    })
}

/// Stores a new stream; the key of its receiver was checked.
pub(super) async fn insert_stream(tx: &Tx<'_>, row: EventStream) -> Result<()> {
    Entity::insert(row.into_active_model()).exec_without_returning(&tx.db).await?;
    Ok(())
}

/// Makes a key that of the receiver, for callers that may tell it what the stream tells. Returns
/// whether it was another one before.
pub(super) async fn bind_receiver(tx: &Tx<'_>, id: Uuid, key: Option<Uuid>) -> Result<bool> {
    let query = tx.find::<Entity>().filter(event_stream::Column::DestinationId.eq(id));
    let Some(mut row) = query.one(&tx.db).await? else {
        return Err(Error::invalid("receiverKeyId", "is for streams of security event tokens"));
    };
    check_receiver_key(tx, key).await?;
    if row.receiver_key_id == key {
        return Ok(false);
    }
    row.receiver_key_id = key;
    save_stream(tx, row).await?;
    Ok(true)
}

/// Refuses the key of a receiver that does not exist.
pub(super) async fn check_receiver_key(tx: &Tx<'_>, key: Option<Uuid>) -> Result<()> {
    let Some(key) = key else { return Ok(()) };
    let known = tx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(key));
    match known.one(&tx.db).await? {
        Some(_) => Ok(()),
        None => Err(Error::not_found(Noun::ApiKey)),
    }
}

/// Deletes what a stream has beyond its destination.
pub(super) async fn delete_stream_rows(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    stream_subject::Entity::delete_many()
        .filter(stream_subject::Column::OrganizationId.eq(tx.organization()))
        .filter(stream_subject::Column::DestinationId.eq(id))
        .exec(&tx.db)
        .await?;
    Entity::delete_many()
        .filter(event_stream::Column::OrganizationId.eq(tx.organization()))
        .filter(event_stream::Column::DestinationId.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Forgets the header with which the receiver wants to be called: it is the receiver's secret, and
/// goes only to the address that it was given for. A destination of another kind has none.
pub(super) async fn forget_authorization(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    Entity::update_many()
        .col_expr(event_stream::Column::PushAuthorization, Expr::value(Option::<Vec<u8>>::None))
        .filter(event_stream::Column::OrganizationId.eq(tx.organization()))
        .filter(event_stream::Column::DestinationId.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

async fn save_stream(tx: &Tx<'_>, row: EventStream) -> Result<()> {
    crate::domain::save_row::<Entity, event_stream::ActiveModel>(tx, row).await
}

/// A stream whose destination is locked by this write.
async fn lock_stream(tx: &Tx<'_>, id: Uuid) -> Result<StreamOfDestination> {
    let destination = lock_destination(tx, id).await?;
    let query = tx.find::<Entity>().filter(event_stream::Column::DestinationId.eq(id));
    let stream = query.one(&tx.db).await?;
    let stream = stream.ok_or_else(|| Error::not_found(Noun::Destination))?;
    Ok(StreamOfDestination { destination, stream })
}

/// Refuses unless the actor may receive what a stream tells.
fn allow_receiving(cx: &Cx) -> Result<()> {
    cx.allow(Action::ReceiveSignals, None)
        .or_else(|refused| cx.allow(Action::WriteConnection, None).map_err(|_| refused))
}

/// Whether the actor sees this stream: administrators see all, and a receiver its own.
fn is_seen_by(cx: &Cx, stream: &EventStream) -> bool {
    cx.holds(Permission::IamRead) || cx.holds(Permission::IamWrite) || is_receiver_of(cx, stream)
}

fn is_receiver_of(cx: &Cx, stream: &EventStream) -> bool {
    match (&cx.actor, stream.receiver_key_id) {
        (Actor::Key { id, .. }, Some(key)) => *id == key,
        _ => false,
    }
}

/// A stream that the actor may receive: its own, or any one as an administrator, who also needs
/// what making such a stream needs of personal data.
///
/// # Errors
/// [`Error::NotFound`] for the stream of another receiver, [`Error::Forbidden`]
async fn find_received(cx: &Cx, id: Uuid) -> Result<StreamOfDestination> {
    allow_receiving(cx)?;
    let found = find_stream(cx, id).await?;
    if is_receiver_of(cx, &found.stream) {
        return Ok(found);
    }
    if !cx.holds(Permission::IamWrite) {
        return Err(Error::not_found(Noun::Destination));
    }
    if found.destination.payload == Payload::Full {
        cx.allow(Action::ReadUser, None)?;
    }
    Ok(found)
}

/// A stream of the organization; for a receiver, one of its own.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn get_stream(cx: &Cx, id: Uuid) -> Result<StreamOfDestination> {
    if cx.allow(Action::ReadIam, None).is_err() {
        allow_receiving(cx)?;
    }
    let found = find_stream(cx, id).await?;
    if is_seen_by(cx, &found.stream) { Ok(found) } else { Err(Error::not_found(Noun::Destination)) }
}

/// The stream of this id, for callers whose permissions were checked.
pub(super) async fn find_stream(cx: &Cx, id: Uuid) -> Result<StreamOfDestination> {
    let query = cx.find::<destination::Entity>().filter(destination::Column::Id.eq(id));
    let destination = query.one(cx.db()).await?;
    let query = cx.find::<Entity>().filter(event_stream::Column::DestinationId.eq(id));
    match (destination, query.one(cx.db()).await?) {
        (Some(destination), Some(stream)) => Ok(StreamOfDestination { destination, stream }),
        _ => Err(Error::not_found(Noun::Destination)),
    }
}

/// The streams of the organization, the oldest first; for a receiver, its own.
pub async fn list_streams(cx: &Cx) -> Result<Vec<StreamOfDestination>> {
    if cx.allow(Action::ReadIam, None).is_err() {
        allow_receiving(cx)?;
    }
    let query = cx.find::<destination::Entity>();
    let query = query.filter(destination::Column::Kind.eq(Kind::EventStream));
    let rows = query
        .order_by_asc(destination::Column::Id)
        .limit(super::destination::MAX_DESTINATIONS)
        .all(cx.db())
        .await?;
    let mut streams = streams_by_ids(cx, &rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .await?
        .into_iter()
        .map(|stream| (stream.destination_id, stream))
        .collect::<BTreeMap<_, _>>();
    let pair = |destination: Destination| {
        let stream = streams.remove(&destination.id).filter(|stream| is_seen_by(cx, stream))?;
        Some(StreamOfDestination { destination, stream })
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// What the streams among these destinations have beyond the others.
pub async fn streams_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<EventStream>> {
    let query = cx.find::<Entity>();
    let query = query.filter(event_stream::Column::DestinationId.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Gives a stream a new key pair. It is published at once, signs a little later, and the one before
/// stays published for `overlap`; with no overlap, for a key that leaked, it signs at once.
pub(super) async fn rotate_keys(
    cx: &Cx,
    row: Destination,
    overlap: Duration,
) -> Result<Destination> {
    let id = row.id;
    let algorithm = find_stream(cx, id).await?.stream.signing_algorithm;
    let key = keys::make_key(algorithm).await?;
    let key = &keys::seal_key(cx, id, &key, cx.app.clock.now()).await?;
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let StreamOfDestination { mut destination, mut stream } =
                    lock_stream(tx, id).await?;
                let now = bump_version(tx, &mut destination);
                let all = keys::add_key(keys::stored_keys(&stream)?, key.clone(), now, overlap);
                stream.signing_keys = json!(all);
                destination.previous_until = (!overlap.is_zero()).then_some(now + overlap);
                save_destination(tx, destination.clone()).await?;
                save_stream(tx, stream).await?;
                let after = Some(json!({
                    "previousUntil": destination.previous_until, "keyId": key.public["kid"],
                }));
                let kind = EventKind::DestinationSecretRotated;
                let entry = destination_event(kind, &destination, now, after);
                Ok(Change::recorded(destination, entry))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// Sets the status of a stream as its receiver wants it.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn set_status(
    cx: &Cx,
    id: Uuid,
    status: StreamStatus,
    reason: Option<&str>,
) -> Result<StreamOfDestination> {
    match status {
        StreamStatus::Enabled => allow_telling(cx, Payload::Reference)?,
        _ => cx.allow(Action::WriteConnection, None)?,
    }
    let reason = reason.map(|text| crate::domain::check_text("reason", text, 500)).transpose()?;
    let reason = &reason.unwrap_or_else(|| "Its receiver asked for it.".into());
    let saved = cx
        .write(move |tx| {
            Box::pin(async move {
                let StreamOfDestination { mut destination, mut stream } =
                    lock_stream(tx, id).await?;
                if StreamStatus::from(destination.state) == status {
                    let unchanged = StreamOfDestination { destination, stream };
                    return Ok(Change::unchanged(unchanged));
                }
                let (kind, now) = match status {
                    StreamStatus::Enabled => {
                        allow_telling(cx, destination.payload)?;
                        let now = restart_delivery(tx, &mut destination);
                        if destination.state == State::Disabled {
                            skip_to_end(tx, &mut destination).await?;
                        }
                        set_state(&mut destination, State::Active, now, None);
                        destination.next_at = Some(now);
                        (EventKind::DestinationResumed, now)
                    }
                    StreamStatus::Paused | StreamStatus::Disabled => {
                        let now = bump_version(tx, &mut destination);
                        let (state, kind, code) = match status {
                            StreamStatus::Paused => {
                                (State::Paused, EventKind::DestinationPaused, "PAUSED")
                            }
                            _ => {
                                let kind = EventKind::DestinationDisabled;
                                (State::Disabled, kind, DISABLED_BY_RECEIVER)
                            }
                        };
                        set_state(&mut destination, state, now, Some((code, reason.as_str())));
                        (kind, now)
                    }
                };
                // The receiver knows: nothing is to be announced any more.
                (stream.notice, stream.notice_reason) = (None, None);
                save_destination(tx, destination.clone()).await?;
                save_stream(tx, stream.clone()).await?;
                let after = Some(json!({ "because": status.name(), "by": "RECEIVER" }));
                let entry = destination_event(kind, &destination, now, after);
                Ok(Change::recorded(StreamOfDestination { destination, stream }, entry))
            })
        })
        .await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

/// A disabled stream holds no events (SSF section 8.1.2): it goes on with what comes from now on.
async fn skip_to_end(tx: &Tx<'_>, row: &mut Destination) -> Result<()> {
    row.cursor_seq = current_end(tx).await?;
    delivery::Entity::delete_many()
        .filter(delivery::Column::OrganizationId.eq(tx.organization()))
        .filter(delivery::Column::DestinationId.eq(row.id))
        .filter(delivery::Column::State.eq(delivery::State::Waiting))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Asks for a token that verifies a stream; it repeats `state`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Limited`] for a receiver that asks too often, [`Error::Held`] for
/// a stream that receives nothing now.
pub async fn verify_stream(cx: &Cx, id: Uuid, state: Option<&str>) -> Result<()> {
    find_received(cx, id).await?;
    if let Some(state) = state
        && state.len() > MAX_STATE_LENGTH
    {
        let why = format!("must have at most {MAX_STATE_LENGTH} bytes");
        return Err(Error::broken(Rule::Length, "state", why));
    }
    cx.write(move |tx| {
        Box::pin(async move {
            let StreamOfDestination { destination, mut stream } = lock_stream(tx, id).await?;
            if StreamStatus::from(destination.state) != StreamStatus::Enabled {
                return Err(Error::Held {
                    reason: RefusalReason::Finished,
                    why: "the stream gets no events now: enable it first".into(),
                });
            }
            let now = tx.now_after(Some(destination.updated_at));
            let next = stream.verified_at.map(|at| at + MIN_VERIFICATION_INTERVAL);
            if let Some(wait) = next.map(|next| next - now).filter(|wait| *wait > Duration::zero())
            {
                return Err(Error::Limited { seconds: wait.num_seconds().unsigned_abs() + 1 });
            }
            stream.verified_at = Some(now);
            save_stream(tx, stream).await?;
            let after = state.map(|state| json!({ "state": state }));
            let kind = EventKind::DestinationTested;
            Ok(Change::recorded((), destination_event(kind, &destination, now, after)))
        })
    })
    .await
}

/// A stream with everything that is needed to tell it.
pub struct OpenedStream {
    pub view: StreamView,
    pub signers: StreamSigners,
    /// The header with which the receiver wants to be called.
    pub authorization: Option<String>,
}

impl fmt::Debug for OpenedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedStream").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Opens a stream by its organization's row.
pub(super) async fn open_stream(
    cx: &Cx,
    organization: &organization::Organization,
    row: &Destination,
    stream: &EventStream,
) -> Result<OpenedStream> {
    let signers = StreamSigners::open_keys(cx, &organization.data_key, stream)?;
    let sealed = stream.push_authorization.as_deref();
    let unseal = |sealed: &[u8]| {
        cx.app.vault.unseal(cx.organization(), &organization.data_key, row.id, sealed)
    };
    let authorization = sealed.map(unseal).transpose()?;
    let authorization = authorization.and_then(|text| String::from_utf8(text).ok());
    let removed = cx
        .find::<stream_subject::Entity>()
        .filter(stream_subject::Column::DestinationId.eq(row.id))
        .select_only()
        .column(stream_subject::Column::SubjectId)
        .into_tuple::<Uuid>()
        .all(cx.db())
        .await?;
    let view = StreamView {
        id: row.id,
        issuer: issuer(&cx.app, &organization.slug),
        audience: stream.audience.clone(),
        payload: row.payload,
        subject_format: stream.subject_format,
        types: delivered_events(row, stream).into_iter().collect(),
        confined: !super::destination::connection_ids(row).is_empty(),
        removed: removed.into_iter().collect::<HashSet<_>>(),
    };
    Ok(OpenedStream { view, signers, authorization })
}

/// Opens a stream that is named by its destination.
pub(super) async fn open_stream_of(cx: &Cx, row: &Destination) -> Result<OpenedStream> {
    let organization = organization::current_organization(cx).await?;
    let stream = find_stream(cx, row.id).await?.stream;
    open_stream(cx, &organization, row, &stream).await
}

/// What must be known of the accounts and groups of these events, beyond the events. Nothing is
/// known of what was erased.
pub async fn read_details(
    cx: &Cx,
    stream: &StreamView,
    events: impl IntoIterator<Item = &ChainedEvent>,
) -> Result<BTreeMap<Uuid, SubjectDetails>> {
    let (mut people, mut groups) = (HashSet::new(), HashSet::new());
    let mut owners = HashSet::new();
    for event in events {
        owners.extend(token::possible_key_owners(event));
        for (kind, id) in token::detail_subjects(stream, event) {
            if kind == "group" {
                groups.insert(id)
            } else {
                people.insert(id)
            };
        }
    }
    let mut known = BTreeMap::new();
    if !people.is_empty() {
        let query = cx.find::<user::Entity>().filter(user::Column::Id.is_in(people));
        for row in query.all(cx.db()).await? {
            let document: Option<serde_json::Map<String, Value>> =
                serde_json::from_str(&row.document).ok();
            let email = document.as_ref().and_then(primary_email);
            let external_id = row.external_id;
            let details =
                SubjectDetails { external_id, email, document, ..SubjectDetails::default() };
            known.insert(row.id, details);
        }
    }
    if !groups.is_empty() {
        let query = cx.find::<group::Entity>().filter(group::Column::Id.is_in(groups));
        for row in query.all(cx.db()).await? {
            let details = SubjectDetails { external_id: row.external_id, ..Default::default() };
            known.insert(row.id, details);
        }
    }
    read_ended_keys(cx, owners, &mut known).await?;
    Ok(known)
}

/// Reads when API keys of these accounts ended.
async fn read_ended_keys(
    cx: &Cx,
    owners: HashSet<Uuid>,
    known: &mut BTreeMap<Uuid, SubjectDetails>,
) -> Result<()> {
    if owners.is_empty() {
        return Ok(());
    }
    for owner in &owners {
        known.entry(*owner).or_default();
    }
    let keys = cx.find::<api_key::Entity>().filter(api_key::Column::OwnerUserId.is_in(owners));
    let keys = keys.filter(api_key::Column::Purpose.eq(api_key::KeyPurpose::Api));
    for key in keys.filter(api_key::Column::RevokedAt.is_not_null()).all(cx.db()).await? {
        if let (Some(owner), Some(at)) = (key.owner_user_id, key.revoked_at) {
            known.entry(owner).or_default().keys_ended_at.insert(at);
        }
    }
    Ok(())
}

/// The address of an account: the one that is marked as primary, or else the first.
fn primary_email(document: &serde_json::Map<String, Value>) -> Option<String> {
    let emails = document.get("emails")?.as_array()?;
    let primary = emails.iter().find(|email| email["primary"] == true).or(emails.first())?;
    primary["value"].as_str().map(Into::into)
}

/// The public keys of an organization's streams (RFC 7517); none where there is no such
/// organization.
pub async fn public_key_set(app: &std::sync::Arc<App>, slug: &str) -> Result<Value> {
    let Some(organization) = organization::by_slug(app, slug).await? else {
        return Ok(json!({ "keys": [] }));
    };
    let cx = Cx::system(app.clone(), organization.id);
    let now: DateTime<Utc> = app.clock.now();
    let rows = cx.find::<Entity>().order_by_asc(event_stream::Column::DestinationId);
    let rows = rows.limit(super::destination::MAX_DESTINATIONS).all(cx.db()).await?;
    let mut published = Vec::new();
    for row in rows {
        let keys = keys::stored_keys(&row)?.into_iter();
        let valid = keys.filter(|key| key.until.is_none_or(|until| until > now));
        published.extend(valid.map(|key| key.public));
    }
    Ok(json!({ "keys": published }))
}

/// Whether the organization of this slug has a stream.
pub async fn has_streams(app: &std::sync::Arc<App>, slug: &str) -> Result<bool> {
    let Some(organization) = organization::by_slug(app, slug).await? else { return Ok(false) };
    has_own_streams(&Cx::system(app.clone(), organization.id)).await
}

/// Whether the organization of the request has a stream.
pub async fn has_own_streams(cx: &Cx) -> Result<bool> {
    Ok(cx.find::<Entity>().limit(1).one(cx.db()).await?.is_some())
}

/// Whether an organization can have this slug. Public metadata are the same for all of them:
/// strangers are not told which ones exist.
pub fn may_be_issuer(slug: &str) -> bool {
    organization::check_slug(slug).is_ok()
}
