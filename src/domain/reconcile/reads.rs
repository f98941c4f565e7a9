//! When identity providers last read what is here: written from [`crate::reads`], read by a comparison, and forgotten. No
//! change of the domain's: it leaves no row in the ledger.

use std::collections::HashMap;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use entity::last_read::{self, Kind};
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, Statement};
use serde_json::json;
use uuid::Uuid;

use crate::context::{App, Cx, Tx};
use crate::error::Result;
use crate::reads::Read;

/// How long it is known that something was read.
const KEPT: Duration = Duration::days(90);
/// Rows written by one statement.
const BATCH: usize = 200;

/// Writes what was read since the last flush. Several replicas write the same rows; the latest instant stays.
pub async fn flush(app: &App) -> Result<()> {
    let _alone = app.reads.flush.lock().await;
    let mut reads = app.reads.take(app.clock.now());
    // All replicas touch rows in the same order, so none waits for another in a circle.
    reads.sort_by_key(|read| (read.reader.organization, read.reader.connection, read.kind, read.subject));
    let mut batches = reads.chunks(BATCH);
    while let Some(batch) = batches.next() {
        if let Err(error) = write(app, batch).await {
            app.reads.give_back(batch.iter().chain(batches.flatten()).copied());
            return Err(error);
        }
    }
    Ok(())
}

/// One statement of the same words for any number of rows.
async fn write(app: &App, reads: &[Read]) -> Result<()> {
    let backend = app.store.backend();
    let rows = match backend {
        DbBackend::Postgres => {
            "SELECT (r->>0)::uuid, (r->>1)::uuid, r->>2, (r->>3)::uuid, (r->>4)::timestamptz \
             FROM jsonb_array_elements($1) AS rows(r)"
        }
        _ => {
            "SELECT unhex(value->>0), unhex(value->>1), value->>2, unhex(value->>3), value->>4 \
             FROM json_each($1) WHERE TRUE"
        }
    };
    let text = format!(
        "INSERT INTO last_read (organization_id, connection_id, kind, subject_id, at) {rows} \
         ON CONFLICT (organization_id, connection_id, kind, subject_id) DO UPDATE SET at = excluded.at \
         WHERE excluded.at > last_read.at"
    );
    let row = |read: &Read| {
        let (organization, connection) = (read.reader.organization.simple(), read.reader.connection.simple());
        // As the database keeps instants where they are text.
        let at = read.at.to_rfc3339_opts(SecondsFormat::AutoSi, false);
        json!([
            organization.to_string(),
            connection.to_string(),
            read.kind.to_value(),
            read.subject.simple().to_string(),
            at
        ])
    };
    let values = [serde_json::Value::from_iter(reads.iter().map(row)).into()];
    app.store.write.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    Ok(())
}

/// When a connection's identity provider last read some of its users or groups.
#[derive(Debug)]
pub(super) struct Readings {
    /// When it last began to read all of them.
    all: Option<DateTime<Utc>>,
    one: HashMap<Uuid, DateTime<Utc>>,
}

impl Readings {
    pub(super) async fn of(cx: &Cx, connection: Uuid, kind: Kind, ids: &[Uuid]) -> Result<Self> {
        let rows = cx
            .find::<last_read::Entity>()
            .filter(last_read::Column::ConnectionId.eq(connection))
            .filter(last_read::Column::Kind.eq(kind))
            .filter(last_read::Column::SubjectId.is_in(ids.iter().copied().chain([Uuid::nil()])));
        let mut one: HashMap<_, _> = rows.all(cx.db()).await?.into_iter().map(|row| (row.subject_id, row.at)).collect();
        Ok(Self { all: one.remove(&Uuid::nil()), one })
    }

    /// When it last read the one with this id, which it could see since then; none = never, as far as it is known.
    pub(super) fn last(&self, id: Uuid, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.one.get(&id).copied().max(self.all.filter(|at| *at >= since))
    }
}

/// With a connection goes what is known of its identity provider.
pub(super) async fn leave(tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    last_read::Entity::delete_many()
        .filter(last_read::Column::OrganizationId.eq(tx.organization()))
        .filter(last_read::Column::ConnectionId.eq(connection))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Deletes what is too old, of every organization.
pub async fn forget(app: &App) -> Result<()> {
    let oldest = app.clock.now() - KEPT;
    last_read::Entity::delete_many().filter(last_read::Column::At.lt(oldest)).exec(&app.store.write).await?;
    Ok(())
}
