//! Runs that read a source, and the objects that they found there.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await
    }
}

const STATEMENTS: &[&str] = &[
    r#"CREATE TABLE sync_run (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        mode text NOT NULL,
        state text NOT NULL,
        cancelling boolean NOT NULL,
        approved boolean NOT NULL,
        target JSON,
        checkpoint JSON NOT NULL,
        counts JSON NOT NULL,
        troubles JSON NOT NULL,
        reason text,
        requested_by text NOT NULL,
        holder UUID,
        until INSTANT NOT NULL,
        created_at INSTANT NOT NULL,
        started_at INSTANT,
        finished_at INSTANT,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX sync_run_one ON sync_run (organization_id, connection_id)
       WHERE finished_at IS NULL"#,
    r#"CREATE INDEX sync_run_connection ON sync_run (organization_id, connection_id, id)"#,
    r#"CREATE INDEX sync_run_open ON sync_run (until) WHERE finished_at IS NULL"#,
    r#"CREATE TABLE pulled (
        organization_id UUID NOT NULL,
        resource_id UUID NOT NULL,
        seen_run_id UUID NOT NULL,
        digest BYTES,
        version bigint NOT NULL,
        PRIMARY KEY (organization_id, resource_id))"#,
];
