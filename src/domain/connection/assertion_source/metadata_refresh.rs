//! Metadata of identity providers that are read again by themselves: when, by which server, and
//! what a reading changes. Only metadata of the same entity id count, so an address that answers
//! for another identity provider changes nothing. A reading that fails keeps what is known; the
//! connection's health says so. When it happens is work and has no event; what it changes is a
//! change of the connection.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{assertion_source, metadata_refresh};
use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter};
use serde_json::Value;
use uuid::Uuid;

use super::saml::{SamlMetadata, SamlSettings};
use super::{ProtocolSettings, describe_source};
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::connection::{Connection, connection_event, lock_live_connection};
use crate::domain::tenant::organization::is_open_condition;
use crate::error::{RefusalReason, Result};
use crate::ledger;
use crate::ledger::EventKind;

pub use metadata_refresh::Model as MetadataRefresh;

/// The most that are claimed at once.
const BATCH_SIZE: u64 = 20;
/// How long one server has for a reading before another one may begin it.
const CLAIM: Duration = Duration::minutes(2);
/// How often metadata are read while nothing ends soon.
const INTERVAL: Duration = Duration::hours(24);
/// How often metadata are read at the most, however soon they end.
const SHORTEST_INTERVAL: Duration = Duration::hours(1);
/// So much earlier than planned a reading may be, so that not all come at the same time.
const JITTER: Duration = Duration::hours(4);
/// How long after a failed reading the next one follows; it doubles each time.
const FIRST_DELAY: Duration = Duration::minutes(5);
/// The longest time between two readings that fail.
const LONGEST_DELAY: Duration = Duration::hours(6);
/// Responses with an unknown signature have metadata read at once, at most this often.
const AT_ONCE_INTERVAL: Duration = Duration::minutes(5);
/// A single failure is not reported: servers restart.
const FAILURES_TOLD: i32 = 2;

/// A claimed reading: for a time no other server does it.
#[derive(Debug)]
pub struct ClaimedRefresh {
    pub cx: Cx,
    pub refresh: MetadataRefresh,
}

/// Claims the readings that are due, in all organizations that are not suspended.
///
/// # Errors
/// Those of the database.
pub async fn claim_due_refreshes(app: &Arc<App>) -> Result<Vec<ClaimedRefresh>> {
    #[derive(FromQueryResult)]
    struct DueRefresh {
        organization_id: Uuid,
        connection_id: Uuid,
    }
    let text = format!(
        "SELECT organization_id, connection_id FROM metadata_refresh \
         WHERE next_at <= $1 AND {} ORDER BY next_at LIMIT {BATCH_SIZE}",
        is_open_condition("metadata_refresh")
    );
    let now = app.clock.now();
    let reason = "which metadata of identity providers are to be read again";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let mut claimed = Vec::new();
    for due in DueRefresh::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), due.organization_id);
        let when = Condition::all().add(metadata_refresh::Column::NextAt.lte(now));
        claimed.extend(claim_refresh(&cx, due.connection_id, when, now).await?);
    }
    Ok(claimed)
}

/// Claims a reading at once, because a response has a signature that no known certificate fits.
/// None where metadata have no address, and soon after a server has begun to read them.
///
/// # Errors
/// Those of the database.
pub async fn claim_refresh_at_once(cx: &Cx, connection: Uuid) -> Result<Option<ClaimedRefresh>> {
    use metadata_refresh::Column;
    let now = cx.app.clock.now();
    let when = Condition::any()
        .add(Column::AskedAt.is_null())
        .add(Column::AskedAt.lte(now - AT_ONCE_INTERVAL));
    let system = Cx::system(cx.app.clone(), cx.organization());
    claim_refresh(&system, connection, when, now).await
}

async fn claim_refresh(
    cx: &Cx,
    connection: Uuid,
    when: Condition,
    now: DateTime<Utc>,
) -> Result<Option<ClaimedRefresh>> {
    use metadata_refresh::Column;
    let claimed = metadata_refresh::Entity::update_many()
        .col_expr(Column::NextAt, Expr::value(now + CLAIM))
        .col_expr(Column::AskedAt, Expr::value(now))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::ConnectionId.eq(connection))
        .filter(when)
        .exec(&cx.app.store.write)
        .await?;
    if claimed.rows_affected == 0 {
        return Ok(None);
    }
    let query = cx.find::<metadata_refresh::Entity>();
    let row = query.filter(Column::ConnectionId.eq(connection)).one(&cx.app.store.write).await?;
    Ok(row.map(|refresh| ClaimedRefresh { cx: cx.clone(), refresh }))
}

impl ClaimedRefresh {
    /// Takes in what was read, and plans the next reading. Returns whether it changed anything.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn settle_read(&self, metadata: SamlMetadata) -> Result<bool> {
        let (id, read_at) = (self.refresh.connection_id, metadata.read_at);
        let next_at = plan_next(id, &metadata, read_at);
        let changed = take_in(&self.cx, id, &metadata).await?;
        self.save(MetadataRefresh {
            next_at,
            read_at: Some(read_at),
            failures: 0,
            failing_since: None,
            reason: None,
            message: None,
            ..self.refresh.clone()
        })
        .await?;
        Ok(changed)
    }

    /// Notes why the reading failed, and plans the next one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn settle_failure(&self, reason: RefusalReason, message: &str) -> Result<()> {
        let now = self.cx.app.clock.now();
        let earlier = self.refresh.failures.clamp(0, 10);
        let delay = (FIRST_DELAY * 2_i32.pow(earlier.unsigned_abs())).min(LONGEST_DELAY);
        self.save(MetadataRefresh {
            next_at: now + delay + spread_delay(self.refresh.connection_id, FIRST_DELAY / 2),
            failures: self.refresh.failures.saturating_add(1),
            failing_since: self.refresh.failing_since.or(Some(now)),
            reason: Some(reason.as_str().into()),
            message: Some(message.chars().take(1_000).collect()),
            ..self.refresh.clone()
        })
        .await
    }

    /// Ends the readings: there is nothing to read any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn finish(&self) -> Result<()> {
        use metadata_refresh::Column;
        metadata_refresh::Entity::delete_many()
            .filter(Column::OrganizationId.eq(self.cx.organization()))
            .filter(Column::ConnectionId.eq(self.refresh.connection_id))
            .filter(Column::NextAt.eq(self.refresh.next_at))
            .exec(&self.cx.app.store.write)
            .await?;
        Ok(())
    }

    async fn save(&self, row: MetadataRefresh) -> Result<()> {
        use metadata_refresh::Column;
        metadata_refresh::Entity::update_many()
            .col_expr(Column::NextAt, Expr::value(row.next_at))
            .col_expr(Column::ReadAt, Expr::value(row.read_at))
            .col_expr(Column::Failures, Expr::value(row.failures))
            .col_expr(Column::FailingSince, Expr::value(row.failing_since))
            .col_expr(Column::Reason, Expr::value(row.reason))
            .col_expr(Column::Message, Expr::value(row.message))
            .filter(Column::OrganizationId.eq(self.cx.organization()))
            .filter(Column::ConnectionId.eq(row.connection_id))
            // Another server may have taken over a reading that took too long, and an administrator
            // may have given other metadata.
            .filter(Column::NextAt.eq(self.refresh.next_at))
            .exec(&self.cx.app.store.write)
            .await?;
        Ok(())
    }
}

/// When metadata are read next: daily, and more often while they, or the last of their
/// certificates, end soon.
fn plan_next(connection: Uuid, metadata: &SamlMetadata, now: DateTime<Utc>) -> DateTime<Utc> {
    let last = metadata.provider.certificates.iter().map(|certificate| certificate.not_after).max();
    let end = [last, metadata.provider.valid_until].into_iter().flatten();
    let interval = match end.filter(|end| *end > now).min() {
        Some(end) => ((end - now) / 4).clamp(SHORTEST_INTERVAL, INTERVAL),
        None => INTERVAL,
    };
    now + interval - spread_delay(connection, JITTER.min(interval / 6))
}

/// A time up to `most` that differs from connection to connection.
fn spread_delay(connection: Uuid, most: Duration) -> Duration {
    let share = (connection.as_u128() % 1_000) as i32;
    most * share / 1_000
}

/// Plans the readings of metadata that an administrator has just given: those of an address are
/// read again, those of a text are not.
pub(super) async fn plan_refreshes(
    tx: &Tx<'_>,
    connection: Uuid,
    settings: &ProtocolSettings,
) -> Result<()> {
    use metadata_refresh::Column;
    metadata_refresh::Entity::delete_many()
        .filter(Column::OrganizationId.eq(tx.organization()))
        .filter(Column::ConnectionId.eq(connection))
        .exec(&tx.db)
        .await?;
    let ProtocolSettings::Saml(settings) = settings else { return Ok(()) };
    if settings.metadata_url.is_none() {
        return Ok(());
    }
    let read_at = settings.metadata_read_at;
    let row = MetadataRefresh {
        organization_id: tx.organization(),
        connection_id: connection,
        next_at: read_at + INTERVAL - spread_delay(connection, JITTER),
        asked_at: None,
        read_at: Some(read_at),
        failures: 0,
        failing_since: None,
        reason: None,
        message: None,
    };
    metadata_refresh::Entity::insert(row.into_active_model())
        .exec_without_returning(&tx.db)
        .await?;
    Ok(())
}

/// Takes metadata in that were read again, in one change of the connection. Those of another
/// address or entity id change nothing: an administrator has given others meanwhile.
async fn take_in(cx: &Cx, id: Uuid, metadata: &SamlMetadata) -> Result<bool> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = lock_live_connection(tx, id).await?;
            let query = tx.find::<assertion_source::Entity>();
            let query = query.filter(assertion_source::Column::ConnectionId.eq(id));
            let Some(source) = crate::domain::lock_row(tx, query).await? else {
                return Ok(Change::unchanged(false));
            };
            let ProtocolSettings::Saml(known) = ProtocolSettings::of_row(&source)? else {
                return Ok(Change::unchanged(false));
            };
            let others = known.metadata_url != metadata.url
                || known.entity_id != metadata.provider.entity_id
                || known.metadata_read_at > metadata.read_at;
            let settings = known.with_metadata(metadata);
            if others || says_the_same(&known, &settings) {
                return Ok(Change::unchanged(false));
            }
            settings.check_values()?;
            let settings = ProtocolSettings::Saml(Box::new(settings)).to_json()?;
            let next = assertion_source::Model { settings, ..source.clone() };
            crate::domain::save_row::<assertion_source::Entity, assertion_source::ActiveModel>(
                tx,
                next.clone(),
            )
            .await?;
            let (_, entry) = save_changed(tx, before, &source, &next, "METADATA_READ").await?;
            Ok(Change::recorded(true, entry))
        })
    })
    .await
}

/// Writes the connection whose source a job or a rotation has changed, and tells why.
pub(super) async fn save_changed(
    tx: &Tx<'_>,
    before: Connection,
    was: &assertion_source::Model,
    is: &assertion_source::Model,
    because: &'static str,
) -> Result<(Connection, ledger::NewEvent)> {
    let updated_at = tx.now_after(Some(before.updated_at));
    let after = Connection { version: before.version + 1, updated_at, ..before };
    crate::domain::save_row::<entity::connection::Entity, entity::connection::ActiveModel>(
        tx,
        after.clone(),
    )
    .await?;
    let (was, mut is) = ledger::changed_members(&describe_source(was), &describe_source(is));
    if let Value::Object(is) = &mut is {
        is.insert("because".into(), because.into());
    }
    let entry = connection_event(EventKind::ConnectionUpdated, &after, Some(was), Some(is));
    Ok((after, entry))
}

/// Whether both trust the same certificates and send people to the same address. When metadata
/// were read, and until when they are valid, is no change: some are dated anew each time.
fn says_the_same(known: &SamlSettings, read: &SamlSettings) -> bool {
    let set = |settings: &SamlSettings| -> BTreeSet<String> {
        settings.certificates.iter().cloned().collect()
    };
    set(known) == set(read)
        && known.sign_in_url == read.sign_in_url
        && known.wants_signed_requests == read.wants_signed_requests
}

/// How the readings of the metadata of these connections go; nothing for those whose metadata have
/// no address.
///
/// # Errors
/// Those of the database.
pub async fn refreshes_of_connections(cx: &Cx, ids: &[Uuid]) -> Result<Vec<MetadataRefresh>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<metadata_refresh::Entity>();
    let query = query.filter(metadata_refresh::Column::ConnectionId.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Whether administrators should know that the readings fail. An answer for another identity
/// provider does not mend itself.
pub fn is_failing(refresh: &MetadataRefresh) -> bool {
    let other = refresh.reason.as_deref() == Some(RefusalReason::AssertionIssuer.as_str());
    refresh.failures >= FAILURES_TOLD || (refresh.failures > 0 && other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(valid_until: Option<Duration>, now: DateTime<Utc>) -> SamlMetadata {
        SamlMetadata {
            provider: ::saml::IdentityProvider {
                entity_id: "https://idp.test".into(),
                certificates: Vec::new(),
                redirect_url: None,
                wants_signed_requests: false,
                valid_until: valid_until.map(|end| now + end),
                name_id_formats: Vec::new(),
            },
            url: None,
            read_at: now,
        }
    }

    #[test]
    fn readings_are_more_often_near_an_end() {
        let now = DateTime::UNIX_EPOCH + Duration::days(20_000);
        let wait = |end: Option<Duration>, share: u128| {
            plan_next(Uuid::from_u128(share), &metadata(end, now), now) - now
        };
        assert_eq!(wait(None, 0), Duration::hours(24));
        assert!((Duration::hours(20)..Duration::hours(21)).contains(&wait(None, 999)));
        assert_eq!(wait(Some(Duration::days(30)), 0), Duration::hours(24));
        assert_eq!(wait(Some(Duration::days(2)), 0), Duration::hours(12));
        assert_eq!(wait(Some(Duration::hours(1)), 0), Duration::hours(1));
        // What has ended is not asked for every hour.
        assert_eq!(wait(Some(-Duration::days(1)), 0), Duration::hours(24));
    }
}
