//! How connections are, and which replica looks.

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
    r#"CREATE TABLE connection_health (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        state text NOT NULL,
        reasons JSON NOT NULL,
        since_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, connection_id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE TABLE task_lease (
        name text PRIMARY KEY,
        holder UUID NOT NULL,
        until INSTANT NOT NULL)"#,
    // The log by connection and hour: rates, and the rhythm in which a connection is heard.
    r#"CREATE INDEX request_log_hours ON request_log (organization_id, connection_id, hour)"#,
    // What waits in the review queue, apart from the many rows that are finished.
    r#"CREATE INDEX failure_waiting ON failure (organization_id, connection_id) WHERE finished_at IS NULL"#,
    // The latest runs of a connection, each kind for itself.
    r#"CREATE INDEX sync_run_latest ON sync_run (organization_id, connection_id, mode, id)"#,
];
