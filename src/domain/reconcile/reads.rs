//! When identity providers last read users and groups: written from [`crate::buffers::last_reads`],
//! read by comparisons, and deleted when old. It is no change of the domain, so it has no event in
//! the ledger.

use std::collections::HashMap;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use entity::last_read::{self, Kind};
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use crate::buffers::last_reads::LastRead;
use crate::context::{App, Cx, Tx};
use crate::error::Result;

/// How long a read is kept.
const READ_RETENTION: Duration = Duration::days(90);
/// Rows written by one statement.
const ROWS_PER_STATEMENT: usize = 200;

/// Writes what was read since the last flush. Several replicas write the same rows; the latest
/// instant stays.
pub async fn flush_reads(app: &App) -> Result<()> {
    let write = async |reads: &mut Vec<LastRead>| {
        // All replicas write rows in the same order, so they do not deadlock.
        reads.sort_by_key(|read| {
            (read.reader.organization, read.reader.connection, read.kind, read.subject)
        });
        while !reads.is_empty() {
            let batch = reads.len().min(ROWS_PER_STATEMENT);
            write_reads(app, &reads[..batch]).await?;
            reads.drain(..batch);
        }
        Ok(())
    };
    app.reads.flush(app.clock.now(), write).await
}

/// Writes with one statement, whose text is the same for any number of rows.
async fn write_reads(app: &App, reads: &[LastRead]) -> Result<()> {
    let rows = match app.store.backend() {
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
         ON CONFLICT (organization_id, connection_id, kind, subject_id) DO UPDATE \
         SET at = excluded.at \
         WHERE excluded.at > last_read.at"
    );
    let row = |read: &LastRead| {
        let (organization, connection) =
            (read.reader.organization.simple(), read.reader.connection.simple());
        // As SQLite stores instants.
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
    let reason = "one statement writes the reads of many organizations, each row with its own";
    let write = app.statement_for_all_organizations(text, values, reason);
    app.store.write.execute_raw(write).await?;
    Ok(())
}

/// When a connection's identity provider last read some of its users or groups.
#[derive(Debug)]
pub(super) struct LastReadTimes {
    /// When it last began to read all of them.
    all: Option<DateTime<Utc>>,
    one: HashMap<Uuid, DateTime<Utc>>,
}

impl LastReadTimes {
    pub(super) async fn of(cx: &Cx, connection: Uuid, kind: Kind, ids: &[Uuid]) -> Result<Self> {
        let rows = cx
            .find::<last_read::Entity>()
            .filter(last_read::Column::ConnectionId.eq(connection))
            .filter(last_read::Column::Kind.eq(kind))
            .filter(last_read::Column::SubjectId.is_in(ids.iter().copied().chain([Uuid::nil()])));
        let mut one: HashMap<_, _> =
            rows.all(cx.db()).await?.into_iter().map(|row| (row.subject_id, row.at)).collect();
        Ok(Self { all: one.remove(&Uuid::nil()), one })
    }

    /// When it last read the object `id`, which it can see since `since`; none = no read is known.
    pub(super) fn last_read(&self, id: Uuid, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.one.get(&id).copied().max(self.all.filter(|at| *at >= since))
    }
}

/// Deletes the reads of a connection, inside its deletion.
pub(super) async fn forget_connection(tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    last_read::Entity::delete_many()
        .filter(last_read::Column::OrganizationId.eq(tx.organization()))
        .filter(last_read::Column::ConnectionId.eq(connection))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Deletes old reads, in every organization.
pub async fn forget_old_reads(app: &App) -> Result<()> {
    let oldest = app.clock.now() - READ_RETENTION;
    last_read::Entity::delete_many()
        .filter(last_read::Column::At.lt(oldest))
        .exec(&app.store.write)
        .await?;
    Ok(())
}
