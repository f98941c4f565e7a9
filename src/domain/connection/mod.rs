//! Connections: sources of identities, and whether they are heard.

use entity::connection::{self, AdoptionPolicy, ConnectionKind, ConnectionStatus, DeletionPolicy, Provider};
use sea_orm::{ActiveEnum, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event;
use super::list::{self, Keyset, Slice};
use super::pull_source;
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, EventKind, Subject};

pub use connection::Model as Connection;

/// How long a deleted account may come back under its own id, unless the connection says otherwise.
pub const REVIVAL_DAYS: i32 = 30;

/// What somebody wants a connection to be; none = the default, or as it is.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub name: Option<String>,
    pub provider: Option<Provider>,
    pub deletion_policy: Option<DeletionPolicy>,
    pub adoption_policy: Option<AdoptionPolicy>,
    pub revival_days: Option<i32>,
    /// Whether its service provider configuration announces paging by cursor (RFC 9865); some older clients refuse
    /// a configuration that does. Cursors work either way.
    pub announces_cursor_paging: Option<bool>,
    /// The source that it reads by itself; a connection that is made without one is written to.
    pub pull: Option<pull_source::Settings>,
}

impl Settings {
    fn check(&self) -> Result<()> {
        if let Some(pull) = &self.pull {
            pull.check()?;
        }
        match self.revival_days {
            Some(days) if !(0..=3_650).contains(&days) => {
                Err(Error::invalid("revivalDays", "must be between 0 and 3650"))
            }
            _ => Ok(()),
        }
    }
}

/// Makes an active connection that an identity provider writes to, or that reads a source.
///
/// # Errors
/// [`Error::Taken`] when a live connection bears the name, [`Error::Held`] where SCIM is not available.
pub async fn create(cx: &Cx, settings: Settings) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    settings.check()?;
    available(cx).await?;
    let name = &super::text("name", settings.name.as_deref().unwrap_or_default(), 200)?;
    let settings = &settings;
    cx.write(move |tx| {
        Box::pin(async move {
            let now = tx.now_after(None);
            let mut row = Connection {
                organization_id: cx.organization(),
                id: Uuid::now_v7(),
                name: name.clone(),
                kind: match settings.pull {
                    None => ConnectionKind::ScimPush,
                    Some(_) => ConnectionKind::ScimPull,
                },
                provider: settings.provider.unwrap_or(Provider::Generic),
                status: ConnectionStatus::Active,
                deletion_policy: settings.deletion_policy.unwrap_or(DeletionPolicy::Soft),
                adoption_policy: settings.adoption_policy.unwrap_or(AdoptionPolicy::Propose),
                revival_days: settings.revival_days.unwrap_or(REVIVAL_DAYS),
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
            let mut after = describe(&row);
            if let Some(pull) = &settings.pull {
                pull_source::put(cx, tx, &mut row, pull).await?;
                super::save::<connection::Entity, connection::ActiveModel>(tx, row.clone()).await?;
                pull_source::describe(pull, &mut after);
            }
            let entry = entry(EventKind::ConnectionCreated, &row, None, Some(Value::Object(after)));
            Ok(Change::made(row, entry))
        })
    })
    .await
}

/// Changes a connection's settings.
pub async fn update(cx: &Cx, id: Uuid, settings: Settings) -> Result<Connection> {
    settings.check()?;
    available(cx).await?;
    let name = settings.name.as_deref().map(|name| super::text("name", name, 200)).transpose()?;
    change(cx, id, EventKind::ConnectionUpdated, settings.pull.as_ref(), |row| {
        row.name = name.clone().unwrap_or_else(|| std::mem::take(&mut row.name));
        row.provider = settings.provider.unwrap_or(row.provider);
        row.deletion_policy = settings.deletion_policy.unwrap_or(row.deletion_policy);
        row.adoption_policy = settings.adoption_policy.unwrap_or(row.adoption_policy);
        row.revival_days = settings.revival_days.unwrap_or(row.revival_days);
        row.announces_cursor_paging = settings.announces_cursor_paging.unwrap_or(row.announces_cursor_paging);
    })
    .await
}

/// Starts serving the connection's requests (again).
pub async fn activate(cx: &Cx, id: Uuid) -> Result<Connection> {
    available(cx).await?;
    change(cx, id, EventKind::ConnectionActivated, None, |row| row.status = ConnectionStatus::Active).await
}

/// Stops serving the connection's requests from this instant on. Nobody's account is touched.
pub async fn deactivate(cx: &Cx, id: Uuid) -> Result<Connection> {
    available(cx).await?;
    change(cx, id, EventKind::ConnectionDeactivated, None, |row| row.status = ConnectionStatus::Inactive).await
}

/// Where SCIM is not available its controls are refused too.
pub(super) async fn available(cx: &Cx) -> Result<()> {
    let organization = super::organization::current(cx).await?;
    super::organization::Availability::of(&cx.app, organization.integration_mode).check()
}

async fn change(
    cx: &Cx,
    id: Uuid,
    kind: EventKind,
    pull: Option<&pull_source::Settings>,
    edit: impl Fn(&mut Connection) + Send + Sync,
) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    let edit = &edit;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = live(tx, id).await?;
            let mut after = before.clone();
            edit(&mut after);
            let moved = match pull {
                Some(pull) => pull_source::put(cx, tx, &mut after, pull).await?,
                None => false,
            };
            if after == before && !moved {
                return Ok(Change::nothing(before));
            }
            after.version += 1;
            after.updated_at = tx.now_after(Some(before.updated_at));
            super::save::<connection::Entity, connection::ActiveModel>(tx, after.clone()).await?;
            let (was, mut is) = ledger::difference(&describe(&before), &describe(&after));
            if let (Some(pull), Value::Object(is)) = (pull, &mut is) {
                pull_source::describe(pull, is);
            }
            let entry = entry(kind, &after, Some(was), Some(is));
            Ok(Change::made(after, entry))
        })
    })
    .await
}

/// The live connection `id`, locked for this write.
pub(super) async fn live(tx: &Tx<'_>, id: Uuid) -> Result<Connection> {
    let query = tx
        .find::<connection::Entity>()
        .filter(connection::Column::Id.eq(id))
        .filter(connection::Column::DeletedAt.is_null());
    super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the connection"))
}

/// The policies of connection `id`, deleted or not, read inside a write without locking it.
pub(super) async fn unlocked(tx: &Tx<'_>, id: Uuid) -> Result<Connection> {
    let found = tx.find::<connection::Entity>().filter(connection::Column::Id.eq(id)).one(&tx.db).await?;
    found.ok_or_else(|| Error::not_found("the connection"))
}

/// The live connections among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Connection>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(all_live(cx).filter(connection::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// How many live connections there are.
pub async fn count(cx: &Cx) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(all_live(cx).count(cx.db()).await?)
}

fn all_live(cx: &Cx) -> Select<connection::Entity> {
    cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null())
}

/// One live connection.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Connection> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    query.filter(connection::Column::Id.eq(id)).one(cx.db()).await?.ok_or_else(|| Error::not_found("the connection"))
}

/// The live connection of that name, if there is one.
pub async fn by_name(cx: &Cx, name: &str) -> Result<Option<Connection>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    Ok(query.filter(connection::Column::Name.eq(name)).one(cx.db()).await?)
}

/// The calling connection itself.
pub async fn own(cx: &Cx) -> Result<Connection> {
    let id = cx.confined_to().ok_or_else(|| Error::not_found("the connection"))?;
    let found = all_live(cx).filter(connection::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found("the connection"))
}

/// Live connections, oldest first.
pub async fn list(cx: &Cx, keyset: &Keyset<Uuid>) -> Result<Slice<Connection>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    list::page(cx, query, connection::Column::Id, keyset).await
}

/// What happens to connections themselves, to one or to all, after the place `after` of the ledger; none = from now on.
pub async fn changes(cx: &Cx, id: Option<Uuid>, after: Option<i64>) -> Result<event::Tail> {
    cx.allow(Action::ReadIam, None)?;
    let which = event::Which { subject: id, kind: Some("connection"), ..Default::default() };
    event::Tail::open(cx, which, after).await
}

fn describe(row: &Connection) -> Map<String, Value> {
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

fn entry(kind: EventKind, row: &Connection, before: Option<Value>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "connection", id: row.id };
    Entry { kind, subject, connection: Some(row.id), at: row.updated_at, before, after, population: 0 }
}
