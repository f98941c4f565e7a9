//! How often a connection is automatically compared with what its identity provider says.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 2] = [
    r#"CREATE TABLE reconciliation_schedule (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        interval_minutes integer NOT NULL,
        next_run_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, connection_id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id)
    )"#,
    r#"CREATE INDEX reconciliation_schedule_due ON reconciliation_schedule (next_run_at)"#,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
