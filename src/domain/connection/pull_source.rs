//! The SCIM source that a connection reads: its address, the credentials for it, and the limits for
//! what a run may remove. The secret is stored sealed, and unsealed only for a request to the
//! source.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind};
use entity::pull_source;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Cx, Tx};
use crate::domain::access::giving;
use crate::domain::connection::Connection;
use crate::domain::outside_url::{OutsideUrlRules, check_outside_url};
use crate::domain::tenant::organization;
use crate::error::{Error, Mistakes, Noun, Result, Rule};

pub use pull_source::{Auth, Model as PullSource};

/// The longest address, name or scope.
const MAX_TEXT_LENGTH: usize = 2_048;
/// The longest secret.
const MAX_SECRET_BYTES: usize = 16 * 1024;

/// The wanted settings of a source.
#[derive(Debug, Clone)]
pub struct PullSourceSettings {
    pub base_url: String,
    pub auth: Auth,
    pub token_url: Option<String>,
    pub client_id: Option<String>,
    pub scope: Option<String>,
    /// The bearer token or the client's secret; none = no change.
    pub secret: Option<String>,
    pub page_size: i32,
    pub user_filter: Option<String>,
    pub interval_minutes: Option<i32>,
    pub incremental_minutes: Option<i32>,
    pub shrink_percent: i32,
}

impl PullSourceSettings {
    /// The row of a source that was never read.
    fn to_source(&self, organization: Uuid, connection: Uuid) -> PullSource {
        PullSource {
            organization_id: organization,
            connection_id: connection,
            base_url: self.base_url.trim().trim_end_matches('/').to_owned(),
            auth: self.auth,
            token_url: self.token_url.clone(),
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            page_size: self.page_size,
            user_filter: self.user_filter.clone(),
            interval_minutes: self.interval_minutes,
            incremental_minutes: self.incremental_minutes,
            shrink_percent: self.shrink_percent,
            lists_members: false,
            next_run_at: None,
            next_incremental_at: None,
            complete_at: None,
        }
    }

    /// Refuses settings that cannot be those of a source.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field.
    pub(in crate::domain) fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        mistakes.collect(check_address("baseUrl", &self.base_url));
        let named = [
            ("clientId", &self.client_id),
            ("scope", &self.scope),
            ("userFilter", &self.user_filter),
        ];
        for (field, value) in named {
            if let Some(value) = value {
                mistakes.collect(crate::domain::check_text(field, value, MAX_TEXT_LENGTH));
            }
        }
        match self.auth {
            Auth::ClientCredentials => {
                let url = self.token_url.as_deref();
                let url = url.ok_or_else(|| required_error("tokenUrl"));
                mistakes.collect(url.and_then(|url| check_address("tokenUrl", url)));
                mistakes
                    .collect(self.client_id.as_deref().ok_or_else(|| required_error("clientId")));
            }
            Auth::Bearer
                if self.token_url.is_some() || self.client_id.is_some() || self.scope.is_some() =>
            {
                mistakes.add(Error::invalid(
                    "auth",
                    "a bearer token takes no tokenUrl, clientId or scope",
                ));
            }
            Auth::Bearer => {}
        }
        if let Some(secret) = &self.secret
            && (secret.is_empty()
                || secret.len() > MAX_SECRET_BYTES
                || !secret.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let why =
                format!("must be 1 to {MAX_SECRET_BYTES} visible ASCII characters without spaces");
            mistakes.add(Error::invalid("secret", why));
        }
        let mut within = |field, value: i32, least, most| {
            if !(least..=most).contains(&value) {
                let why = format!("must be between {least} and {most}");
                mistakes.add(Error::invalid(field, why));
            }
        };
        within("pageSize", self.page_size, 1, 1_000);
        within("shrinkPercent", self.shrink_percent, 0, 100);
        within("intervalMinutes", self.interval_minutes.unwrap_or(5), 5, 60 * 24 * 31);
        within("incrementalMinutes", self.incremental_minutes.unwrap_or(5), 5, 60 * 24 * 31);
        mistakes.refuse_any()
    }
}

fn required_error(field: &'static str) -> Error {
    Error::broken(Rule::Required, field, "is required")
}

/// The changes of a source; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct PullSourceEdit {
    pub base_url: Option<String>,
    pub auth: Option<Auth>,
    pub token_url: Option<Option<String>>,
    pub client_id: Option<Option<String>>,
    pub scope: Option<Option<String>>,
    /// The bearer token or the client's secret.
    pub secret: Option<String>,
    pub page_size: Option<i32>,
    pub user_filter: Option<Option<String>>,
    pub interval_minutes: Option<Option<i32>>,
    pub incremental_minutes: Option<Option<i32>>,
    pub shrink_percent: Option<i32>,
}

impl PullSourceEdit {
    /// The settings of a source after this edit.
    fn apply_to(&self, known: &PullSource) -> PullSourceSettings {
        fn given_or_known<T: Clone>(given: &Option<T>, known: &T) -> T {
            given.as_ref().unwrap_or(known).clone()
        }
        PullSourceSettings {
            base_url: given_or_known(&self.base_url, &known.base_url),
            auth: given_or_known(&self.auth, &known.auth),
            token_url: given_or_known(&self.token_url, &known.token_url),
            client_id: given_or_known(&self.client_id, &known.client_id),
            scope: given_or_known(&self.scope, &known.scope),
            secret: self.secret.clone(),
            page_size: given_or_known(&self.page_size, &known.page_size),
            user_filter: given_or_known(&self.user_filter, &known.user_filter),
            interval_minutes: given_or_known(&self.interval_minutes, &known.interval_minutes),
            incremental_minutes: given_or_known(
                &self.incremental_minutes,
                &known.incremental_minutes,
            ),
            shrink_percent: given_or_known(&self.shrink_percent, &known.shrink_percent),
        }
    }
}

/// Whether the address may be called is the business of each call: `pullSourceTest` says so, too.
fn check_address(field: &'static str, value: &str) -> Result<()> {
    let rules = OutsideUrlRules { max_length: MAX_TEXT_LENGTH, private: true, query: false };
    check_outside_url(field, value, rules).map(drop)
}

/// Changes the source of a connection, as [`write_source`]. Returns the settings after the change,
/// and whether the source's row has changed.
pub(in crate::domain) async fn edit_source(
    cx: &Cx,
    tx: &Tx<'_>,
    row: &mut Connection,
    edit: &PullSourceEdit,
) -> Result<(PullSourceSettings, bool)> {
    let known =
        tx.find::<pull_source::Entity>().filter(pull_source::Column::ConnectionId.eq(row.id));
    let known = crate::domain::lock_row(tx, known).await?;
    let settings = edit.apply_to(&known.ok_or_else(reads_no_source)?);
    settings.check_values()?;
    let moved = write_source(cx, tx, row, &settings).await?;
    Ok((settings, moved))
}

fn reads_no_source() -> Error {
    Error::invalid("pull", "this connection does not read a source: make another one that does")
}

/// Whether two settings send the secret to the same address. It goes only to the address that it
/// was given for: an administrator who may change the address must not learn the secret.
fn send_secret_alike(one: &PullSource, other: &PullSource) -> bool {
    (&one.base_url, one.auth, &one.token_url) == (&other.base_url, other.auth, &other.token_url)
}

/// Whether two settings read the same people, with the same credentials.
fn read_alike(one: &PullSource, other: &PullSource) -> bool {
    send_secret_alike(one, other)
        && (&one.client_id, &one.scope, &one.user_filter)
            == (&other.client_id, &other.scope, &other.user_filter)
}

/// Keeps of a known source what its new settings leave valid.
///
/// # Errors
/// [`Error::Invalid`] if the kept secret would go to another address.
fn keep_progress(source: &mut PullSource, known: &PullSource, gives_secret: bool) -> Result<()> {
    let same = send_secret_alike(known, source);
    if !same && !gives_secret {
        return Err(Error::broken(
            Rule::Required,
            "secret",
            "give it again when it is to go to another address",
        ));
    }
    if same && known.user_filter == source.user_filter {
        (source.lists_members, source.complete_at) = (known.lists_members, known.complete_at);
    }
    if known.interval_minutes == source.interval_minutes {
        source.next_run_at = known.next_run_at;
    }
    if known.incremental_minutes == source.incremental_minutes {
        source.next_incremental_at = known.next_incremental_at;
    }
    Ok(())
}

/// Writes `settings` as the source of a connection. Sets the sealed secret in `row`, which the
/// caller writes. Returns whether the source's row has changed.
///
/// # Errors
/// [`Error::Forbidden`] if it reads from elsewhere, or with other credentials, and the actor may
/// not give what the source can give.
pub(in crate::domain) async fn write_source(
    cx: &Cx,
    tx: &Tx<'_>,
    row: &mut Connection,
    settings: &PullSourceSettings,
) -> Result<bool> {
    if row.kind != ConnectionKind::ScimPull {
        return Err(reads_no_source());
    }
    let known =
        tx.find::<pull_source::Entity>().filter(pull_source::Column::ConnectionId.eq(row.id));
    // Locked, because a worker may move its schedule at this moment.
    let known = crate::domain::lock_row(tx, known).await?;
    let mut source = settings.to_source(tx.organization(), row.id);
    if settings.secret.is_some() || !known.as_ref().is_some_and(|known| read_alike(known, &source))
    {
        giving::check_directory_source(cx, tx, row.id).await?;
    }
    match &known {
        Some(known) => keep_progress(&mut source, known, settings.secret.is_some())?,
        None if settings.secret.is_none() => return Err(required_error("secret")),
        None => {}
    }
    let now = tx.now_after(None);
    source.next_run_at = source.next_run_at.or(next_scheduled_run(now, source.interval_minutes));
    source.next_incremental_at =
        source.next_incremental_at.or(next_scheduled_run(now, source.incremental_minutes));
    if let Some(secret) = &settings.secret {
        let key = organization::current_organization(cx).await?.data_key;
        row.credentials =
            Some(cx.app.vault.seal(tx.organization(), &key, row.id, secret.as_bytes())?);
    }
    let moved = known.as_ref() != Some(&source);
    match known {
        Some(_) => {
            crate::domain::save_row::<pull_source::Entity, pull_source::ActiveModel>(tx, source)
                .await?
        }
        None => {
            pull_source::Entity::insert(source.into_active_model())
                .exec_without_returning(&tx.db)
                .await?;
        }
    }
    Ok(moved)
}

/// When the next scheduled run begins, for a run every so many minutes.
fn next_scheduled_run(now: DateTime<Utc>, minutes: Option<i32>) -> Option<DateTime<Utc>> {
    minutes.map(|minutes| now + Duration::minutes(minutes.into()))
}

/// Adds the settings of a source to the payload of an event.
pub(in crate::domain) fn add_source_to_payload(
    settings: &PullSourceSettings,
    map: &mut Map<String, Value>,
) {
    map.insert("baseUrl".into(), settings.base_url.clone().into());
    map.insert("tokenUrl".into(), settings.token_url.clone().into());
    map.insert("userFilter".into(), settings.user_filter.clone().into());
    map.insert("intervalMinutes".into(), settings.interval_minutes.into());
    map.insert("incrementalMinutes".into(), settings.incremental_minutes.into());
    map.insert("shrinkPercent".into(), settings.shrink_percent.into());
    map.insert("secretSet".into(), settings.secret.is_some().into());
}

/// The sources of these connections, as far as they read one.
pub async fn sources_of_connections(cx: &Cx, ids: &[Uuid]) -> Result<Vec<PullSource>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<pull_source::Entity>();
    Ok(query
        .filter(pull_source::Column::ConnectionId.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// The source that a live connection reads, with the unsealed secret, for a request to it.
///
/// # Errors
/// [`Error::Invalid`] for a connection that reads none.
pub async fn open_source(cx: &Cx, connection: Uuid) -> Result<(PullSource, String)> {
    cx.allow(Action::WriteConnection, None)?;
    let query = cx.find::<connection::Entity>().filter(connection::Column::Id.eq(connection));
    let found = query.filter(connection::Column::DeletedAt.is_null()).one(cx.db()).await?;
    let found = found.ok_or_else(|| Error::not_found(Noun::Connection))?;
    let query =
        cx.find::<pull_source::Entity>().filter(pull_source::Column::ConnectionId.eq(connection));
    let (Some(source), Some(sealed)) = (query.one(cx.db()).await?, found.credentials) else {
        return Err(Error::invalid("connectionId", "this connection does not read a source"));
    };
    let key = organization::current_organization(cx).await?.data_key;
    let secret = cx.app.vault.unseal(cx.organization(), &key, connection, &sealed)?;
    let secret = String::from_utf8(secret)
        .map_err(|_| Error::Internal("a sealed secret is damaged".into()))?;
    Ok((source, secret))
}

/// What a run learned about a source.
#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct SourceObservations {
    /// It lists the members of groups.
    pub lists_members: bool,
    /// All changes there before this instant are known here.
    pub complete_at: Option<DateTime<Utc>>,
    /// The run could read everything.
    pub full: bool,
    /// The run could read the changes.
    pub changes: bool,
}

/// Stores what a run learned. A schedule that was slowed down returns to its own interval after a
/// success.
pub(in crate::domain) async fn store_observations(
    tx: &Tx<'_>,
    connection: Uuid,
    learned: SourceObservations,
    now: DateTime<Utc>,
) -> Result<()> {
    let query =
        tx.find::<pull_source::Entity>().filter(pull_source::Column::ConnectionId.eq(connection));
    let Some(mut source) = crate::domain::lock_row(tx, query).await? else { return Ok(()) };
    source.lists_members |= learned.lists_members;
    source.complete_at = learned.complete_at.or(source.complete_at);
    let soon = |next: Option<DateTime<Utc>>, minutes| {
        next.map(|next| next_scheduled_run(now, minutes).map_or(next, |at| next.min(at)))
    };
    if learned.full {
        source.next_run_at = soon(source.next_run_at, source.interval_minutes);
    }
    if learned.changes {
        source.next_incremental_at = soon(source.next_incremental_at, source.incremental_minutes);
    }
    crate::domain::save_row::<pull_source::Entity, pull_source::ActiveModel>(tx, source).await
}

/// Ends the schedules of a deleted connection: no run begins by itself any more.
pub(in crate::domain) async fn end_schedule(tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    let never = || Expr::value(Option::<DateTime<Utc>>::None);
    pull_source::Entity::update_many()
        .col_expr(pull_source::Column::NextRunAt, never())
        .col_expr(pull_source::Column::NextIncrementalAt, never())
        .filter(pull_source::Column::OrganizationId.eq(tx.organization()))
        .filter(pull_source::Column::ConnectionId.eq(connection))
        .exec(&tx.db)
        .await?;
    Ok(())
}
