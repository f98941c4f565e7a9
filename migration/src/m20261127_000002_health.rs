//! The health of connections, and the replica that checks it.

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
    // The request log by connection and hour, for rates of failure and for how often a connection
    // sends requests.
    r#"CREATE INDEX request_log_hours ON request_log (organization_id, connection_id, hour)"#,
    // The unfinished rows of the review queue, without the many finished ones.
    r#"CREATE INDEX failure_waiting ON failure (organization_id, connection_id)
       WHERE finished_at IS NULL"#,
    // The latest runs of a connection, by mode.
    r#"CREATE INDEX sync_run_latest ON sync_run (organization_id, connection_id, mode, id)"#,
];
