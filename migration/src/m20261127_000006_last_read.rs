//! When identity providers last read which users and groups.

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
    // Rows are updated all day long and deleted once an hour. An index by the instant would make
    // each update more expensive.
    r#"CREATE TABLE last_read (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        kind text NOT NULL,
        subject_id UUID NOT NULL,
        at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, connection_id, kind, subject_id))"#,
];
