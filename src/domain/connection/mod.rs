//! Connections: the sources of identities, their settings and whether they are active.

pub mod assertion_source;
pub mod async_request;
pub mod delete;
pub mod diagnostics;
pub mod health;
pub mod pull_source;
pub mod request_log;
pub mod scim_token;
pub mod self_test;
pub mod setup_link;
pub mod setup_progress;

use entity::connection::{
    self, AdoptionPolicy, ConnectionKind, ConnectionStatus, DeletionPolicy, Provider,
};
use sea_orm::{ActiveEnum, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::audit::event;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, Result, mistakes};
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use connection::Model as Connection;

/// Days in which a deleted account can be revived under its own id, unless the connection has
/// another setting.
pub const DEFAULT_REVIVAL_DAYS: i32 = 30;

/// The wanted settings of a connection; none = the default for a new one, or no change.
#[derive(Debug, Clone, Default)]
pub struct ConnectionSettings {
    pub name: Option<String>,
    pub provider: Option<Provider>,
    pub deletion_policy: Option<DeletionPolicy>,
    pub adoption_policy: Option<AdoptionPolicy>,
    pub revival_days: Option<i32>,
    /// Whether its service provider configuration announces paging by cursor (RFC 9865); some older
    /// clients refuse a configuration that does. Cursors work either way.
    pub announces_cursor_paging: Option<bool>,
}

impl ConnectionSettings {
    /// The name, trimmed, if all settings can be those of a connection.
    fn check_values(&self) -> Result<Option<String>> {
        let name = self.name.as_deref().map(|name| super::check_text("name", name, 200));
        let days = match self.revival_days {
            Some(days) if !(0..=3_650).contains(&days) => {
                Err(Error::invalid("revivalDays", "must be between 0 and 3650"))
            }
            _ => Ok(()),
        };
        mistakes::both(name.transpose(), days).map(|(name, ())| name)
    }
}

/// Where the identities of a new connection come from.
#[derive(Debug, Clone, Default)]
pub enum NewSource {
    /// An identity provider writes over SCIM.
    #[default]
    Push,
    /// rolecall reads this SCIM server.
    Pull(pull_source::PullSourceSettings),
    /// Sign-ins say who is in which group.
    Assertion(Box<assertion_source::AssertionSourceSettings>),
}

impl NewSource {
    fn kind(&self) -> ConnectionKind {
        match self {
            Self::Push => ConnectionKind::ScimPush,
            Self::Pull(_) => ConnectionKind::ScimPull,
            Self::Assertion(_) => ConnectionKind::Assertion,
        }
    }

    fn check_values(&self) -> Result<()> {
        match self {
            Self::Push => Ok(()),
            Self::Pull(pull) => pull.check_values(),
            Self::Assertion(source) => source.check_values(),
        }
    }
}

/// The changes of where the identities of a connection come from.
#[derive(Debug, Clone, Default)]
pub struct SourceEdit {
    pub pull: Option<pull_source::PullSourceEdit>,
    pub assertion: Option<assertion_source::AssertionSourceEdit>,
}

/// Creates an active connection that an identity provider writes to, that reads a source, or that
/// accepts sign-ins.
///
/// # Errors
/// [`Error::Taken`] when a live connection has the name, [`Error::Held`] where SCIM is not
/// available.
pub async fn create_connection(
    cx: &Cx,
    settings: ConnectionSettings,
    source: NewSource,
) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    let (name, ()) = mistakes::both(settings.check_values(), source.check_values())?;
    check_kind_available(cx, source.kind()).await?;
    let (name, settings, source) = (&name.unwrap_or_default(), &settings, &source);
    cx.write(move |tx| {
        Box::pin(async move {
            let now = tx.now_after(None);
            let mut row = Connection {
                organization_id: cx.organization(),
                id: Uuid::now_v7(),
                name: name.clone(),
                kind: source.kind(),
                provider: settings.provider.unwrap_or(Provider::Generic),
                status: ConnectionStatus::Active,
                deletion_policy: settings.deletion_policy.unwrap_or(DeletionPolicy::Soft),
                adoption_policy: settings.adoption_policy.unwrap_or(AdoptionPolicy::Propose),
                revival_days: settings.revival_days.unwrap_or(DEFAULT_REVIVAL_DAYS),
                announces_cursor_paging: settings.announces_cursor_paging.unwrap_or(true),
                credentials: None,
                last_contact_at: None,
                version: 1,
                created_at: now,
                updated_at: now,
                deleted_at: None,
            };
            connection::Entity::insert(connection::ActiveModel::from(row.clone()))
                .exec_without_returning(&tx.db)
                .await?;
            let mut after = connection_payload(&row);
            match source {
                NewSource::Push => {}
                NewSource::Pull(pull) => {
                    pull_source::write_source(cx, tx, &mut row, pull).await?;
                    pull_source::add_source_to_payload(pull, &mut after);
                }
                NewSource::Assertion(settings) => {
                    let made = assertion_source::insert_source(cx, tx, &mut row, settings).await?;
                    after.extend(assertion_source::describe_source(&made));
                    after.insert("secretSet".into(), settings.secret.is_some().into());
                }
            }
            if row.credentials.is_some() {
                super::save_row::<connection::Entity, connection::ActiveModel>(tx, row.clone())
                    .await?;
            }
            let entry = connection_event(
                EventKind::ConnectionCreated,
                &row,
                None,
                Some(Value::Object(after)),
            );
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Changes a connection's settings, and those of the source that it reads.
///
/// # Errors
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn update_connection(
    cx: &Cx,
    id: Uuid,
    settings: ConnectionSettings,
    source: SourceEdit,
    expected: Option<i64>,
) -> Result<Connection> {
    let name = settings.check_values()?;
    let which = ConnectionToChange { id, expected, source: &source };
    change_connection(cx, which, EventKind::ConnectionUpdated, |row| {
        row.name = name.clone().unwrap_or_else(|| std::mem::take(&mut row.name));
        row.provider = settings.provider.unwrap_or(row.provider);
        row.deletion_policy = settings.deletion_policy.unwrap_or(row.deletion_policy);
        row.adoption_policy = settings.adoption_policy.unwrap_or(row.adoption_policy);
        row.revival_days = settings.revival_days.unwrap_or(row.revival_days);
        row.announces_cursor_paging =
            settings.announces_cursor_paging.unwrap_or(row.announces_cursor_paging);
    })
    .await
}

/// Starts serving the connection's requests (again).
///
/// # Errors
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn activate_connection(cx: &Cx, id: Uuid, expected: Option<i64>) -> Result<Connection> {
    let which = ConnectionToChange { id, expected, source: &SourceEdit::default() };
    change_connection(cx, which, EventKind::ConnectionActivated, |row| {
        row.status = ConnectionStatus::Active
    })
    .await
}

/// Stops serving the connection's requests from this instant on. No account is touched.
///
/// # Errors
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn deactivate_connection(cx: &Cx, id: Uuid, expected: Option<i64>) -> Result<Connection> {
    let which = ConnectionToChange { id, expected, source: &SourceEdit::default() };
    change_connection(cx, which, EventKind::ConnectionDeactivated, |row| {
        row.status = ConnectionStatus::Inactive
    })
    .await
}

/// The name of a connection's kind, as the management API has it.
pub fn kind_name(connection: &Connection) -> String {
    connection.kind.to_value()
}

/// The name of a connection's identity provider, as the management API has it.
pub fn provider_name(connection: &Connection) -> String {
    connection.provider.to_value()
}

/// Refuses where SCIM is not available: connections cannot be changed there either.
pub(super) async fn check_scim_available(cx: &Cx) -> Result<()> {
    let organization = crate::domain::tenant::organization::current_organization(cx).await?;
    let available = crate::domain::tenant::organization::InboundAvailability::of_organization(
        &cx.app,
        &organization,
    );
    available.check_available()
}

/// Refuses a kind of connections that is not available. Sign-ins do not need SCIM.
async fn check_kind_available(cx: &Cx, kind: ConnectionKind) -> Result<()> {
    match kind {
        ConnectionKind::Assertion => Ok(()),
        ConnectionKind::ScimPush | ConnectionKind::ScimPull => check_scim_available(cx).await,
    }
}

/// Refuses to change a connection of a kind that is not available.
async fn check_change_available(cx: &Cx, id: Uuid) -> Result<()> {
    let query = cx.find::<connection::Entity>().filter(connection::Column::Id.eq(id));
    let found = query.filter(connection::Column::DeletedAt.is_null()).one(cx.db()).await?;
    check_kind_available(cx, found.map_or(ConnectionKind::ScimPush, |row| row.kind)).await
}

/// The connection to change, in the version that the client has read, and the changes of its
/// source.
struct ConnectionToChange<'a> {
    id: Uuid,
    expected: Option<i64>,
    source: &'a SourceEdit,
}

async fn change_connection(
    cx: &Cx,
    which: ConnectionToChange<'_>,
    kind: EventKind,
    edit: impl Fn(&mut Connection) + Send + Sync,
) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    let ConnectionToChange { id, expected, source } = which;
    check_change_available(cx, id).await?;
    let edit = &edit;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = lock_live_connection(tx, id).await?;
            super::check_version(expected, before.version)?;
            let mut after = before.clone();
            edit(&mut after);
            let moved = match &source.pull {
                Some(pull) => Some(pull_source::edit_source(cx, tx, &mut after, pull).await?),
                None => None,
            };
            let accepting = match &source.assertion {
                Some(edit) => Some(assertion_source::edit_source(cx, tx, &mut after, edit).await?),
                None => None,
            };
            if after == before
                && !moved.as_ref().is_some_and(|(_, moved)| *moved)
                && accepting.as_ref().is_none_or(|(was, is)| was == is)
            {
                return Ok(Change::unchanged(before));
            }
            after.version += 1;
            after.updated_at = tx.now_after(Some(before.updated_at));
            super::save_row::<connection::Entity, connection::ActiveModel>(tx, after.clone())
                .await?;
            let (mut old, mut new) = (connection_payload(&before), connection_payload(&after));
            if let Some((was, is)) = &accepting {
                old.extend(assertion_source::describe_source(was));
                new.extend(assertion_source::describe_source(is));
                if before.credentials != after.credentials {
                    old.insert("secretSet".into(), before.credentials.is_some().into());
                    new.insert("secretSet".into(), after.credentials.is_some().into());
                }
            }
            let (was, mut is) = ledger::changed_members(&old, &new);
            if let (Some((pull, _)), Value::Object(is)) = (&moved, &mut is) {
                pull_source::add_source_to_payload(pull, is);
            }
            let entry = connection_event(kind, &after, Some(was), Some(is));
            Ok(Change::recorded(after, entry))
        })
    })
    .await
}

/// The live connection `id`, locked for this write.
pub(super) async fn lock_live_connection(tx: &Tx<'_>, id: Uuid) -> Result<Connection> {
    let query = tx
        .find::<connection::Entity>()
        .filter(connection::Column::Id.eq(id))
        .filter(connection::Column::DeletedAt.is_null());
    super::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Connection))
}

/// The policies of connection `id`, deleted or not, read inside a write without locking it.
pub(super) async fn find_unlocked_connection(tx: &Tx<'_>, id: Uuid) -> Result<Connection> {
    let found =
        tx.find::<connection::Entity>().filter(connection::Column::Id.eq(id)).one(&tx.db).await?;
    found.ok_or_else(|| Error::not_found(Noun::Connection))
}

/// The live connections among `ids`.
pub async fn connections_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Connection>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_live_connections(cx)
        .filter(connection::Column::Id.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// The wanted connections: those that match all conditions; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionQuery {
    /// The name contains this, in any case of the letters A to Z.
    pub search: Option<String>,
    pub kinds: Vec<ConnectionKind>,
    pub providers: Vec<Provider>,
    pub statuses: Vec<ConnectionStatus>,
}

fn select_wanted_connections(cx: &Cx, which: &ConnectionQuery) -> Select<connection::Entity> {
    let mut query = select_live_connections(cx);
    if let Some(search) = &which.search {
        query = query.filter(paging::contains_text(cx, "connection.name", search));
    }
    if !which.kinds.is_empty() {
        query = query.filter(connection::Column::Kind.is_in(which.kinds.iter().copied()));
    }
    if !which.providers.is_empty() {
        query = query.filter(connection::Column::Provider.is_in(which.providers.iter().copied()));
    }
    if !which.statuses.is_empty() {
        query = query.filter(connection::Column::Status.is_in(which.statuses.iter().copied()));
    }
    query
}

/// How many live connections there are.
pub async fn count_connections(cx: &Cx, which: &ConnectionQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_wanted_connections(cx, which).count(cx.db()).await?)
}

fn select_live_connections(cx: &Cx) -> Select<connection::Entity> {
    cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null())
}

/// One live connection.
pub async fn get_connection(cx: &Cx, id: Uuid) -> Result<Connection> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    query
        .filter(connection::Column::Id.eq(id))
        .one(cx.db())
        .await?
        .ok_or_else(|| Error::not_found(Noun::Connection))
}

/// The live connection of that name, if there is one.
pub async fn find_connection_by_name(cx: &Cx, name: &str) -> Result<Option<Connection>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    Ok(query.filter(connection::Column::Name.eq(name)).one(cx.db()).await?)
}

/// The calling connection itself.
pub async fn get_calling_connection(cx: &Cx) -> Result<Connection> {
    let id = cx.confined_to().ok_or_else(|| Error::not_found(Noun::Connection))?;
    let found =
        select_live_connections(cx).filter(connection::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found(Noun::Connection))
}

/// A page of live connections, each with its place in the order `by`.
pub async fn list_connections(
    cx: &Cx,
    which: &ConnectionQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Connection, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    let query = select_wanted_connections(cx, which);
    paging::fetch_ordered(cx, query, connection::Column::Id, by, keyset).await
}

/// The events of one connection or of all, after the place `after` of the ledger; none = from now
/// on.
pub async fn follow_connection_events(
    cx: &Cx,
    id: Option<Uuid>,
    after: Option<i64>,
) -> Result<event::EventTail> {
    cx.allow(Action::ReadIam, None)?;
    let which = event::LedgerFilter { subject: id, kind: Some("connection"), ..Default::default() };
    event::EventTail::open_tail(cx, which, after).await
}

fn connection_payload(row: &Connection) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), row.name.clone().into());
    map.insert("kind".into(), row.kind.to_value().into());
    map.insert("provider".into(), row.provider.to_value().into());
    map.insert("status".into(), row.status.to_value().into());
    map.insert("deletionPolicy".into(), row.deletion_policy.to_value().into());
    map.insert("adoptionPolicy".into(), row.adoption_policy.to_value().into());
    map.insert("revivalDays".into(), row.revival_days.into());
    map.insert("announcesCursorPaging".into(), row.announces_cursor_paging.into());
    map
}

fn connection_event(
    kind: EventKind,
    row: &Connection,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    let subject = EventSubject { kind: "connection", id: row.id };
    NewEvent {
        kind,
        subject,
        connection: Some(row.id),
        at: row.updated_at,
        before,
        after,
        population: 0,
        name: Some(row.name.clone()),
    }
}
