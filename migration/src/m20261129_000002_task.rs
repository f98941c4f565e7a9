//! How the last run of each background task ended.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 2] = [
    r#"CREATE TABLE task (
        name text PRIMARY KEY,
        ended_at INSTANT NOT NULL,
        duration_ms bigint NOT NULL,
        error text,
        replica_id UUID NOT NULL
    )"#,
    // The lease of the task that is now called "evaluate health".
    r#"DELETE FROM task_lease WHERE name = 'judge connections'"#,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
