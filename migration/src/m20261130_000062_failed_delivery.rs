//! Failures of deliveries that were given up: they belong to a destination, and to no connection.
//!
//! SQLite cannot take NOT NULL from a column, so there the table is made anew, in this transaction.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let rows = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => POSTGRES,
            _ => SQLITE,
        };
        crate::run(manager, rows).await?;
        crate::run(manager, INDEXES).await
    }
}

const POSTGRES: &[&str] = &[
    "ALTER TABLE failure ALTER COLUMN connection_id DROP NOT NULL",
    "ALTER TABLE failure ADD COLUMN destination_id UUID",
    "ALTER TABLE failure ADD COLUMN delivery_id UUID",
];

const SQLITE: &[&str] = &[
    "CREATE TABLE failure_new (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        connection_id UUID,
        origin text NOT NULL,
        fingerprint BYTES NOT NULL,
        thing BYTES,
        scope text NOT NULL,
        operation text NOT NULL,
        resource text,
        user_id UUID,
        group_id UUID,
        label text,
        cause text NOT NULL,
        reason text NOT NULL,
        scim_type text,
        field text,
        outline JSON,
        payload BYTES,
        count bigint NOT NULL,
        first_at INSTANT NOT NULL,
        last_at INSTANT NOT NULL,
        last_request_id UUID,
        state text NOT NULL,
        resolution text,
        note text,
        assigned_to text,
        attempts integer NOT NULL,
        next_attempt_at INSTANT,
        retry_request_id UUID,
        holder UUID,
        until INSTANT,
        finished_at INSTANT,
        finished_by text,
        destination_id UUID,
        delivery_id UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))",
    // The columns stand in the order of the old table; the two new ones are empty.
    "INSERT INTO failure_new SELECT *, NULL, NULL FROM failure",
    "DROP TABLE failure",
    "ALTER TABLE failure_new RENAME TO failure",
    "CREATE UNIQUE INDEX failure_unfinished ON failure (organization_id, fingerprint)
     WHERE finished_at IS NULL",
    "CREATE INDEX failure_thing ON failure (organization_id, thing) WHERE thing IS NOT NULL",
    "CREATE INDEX failure_user ON failure (organization_id, user_id) WHERE user_id IS NOT NULL",
    "CREATE INDEX failure_connection ON failure (organization_id, connection_id, id)",
    "CREATE INDEX failure_due ON failure (next_attempt_at) WHERE next_attempt_at IS NOT NULL",
    "CREATE INDEX failure_age ON failure (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX failure_waiting ON failure (organization_id, connection_id)
     WHERE finished_at IS NULL",
    "CREATE INDEX failure_last ON failure (organization_id, last_at, id) WHERE last_at IS NOT NULL",
];

const INDEXES: &[&str] = &[
    "CREATE INDEX failure_delivery ON failure (organization_id, delivery_id)
     WHERE delivery_id IS NOT NULL",
    "CREATE INDEX failure_destination ON failure (organization_id, destination_id)
     WHERE destination_id IS NOT NULL",
];
