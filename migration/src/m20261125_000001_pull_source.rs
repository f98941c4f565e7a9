//! The sources from which connections read identities.

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
    r#"CREATE TABLE pull_source (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        base_url text NOT NULL,
        auth text NOT NULL,
        token_url text,
        client_id text,
        scope text,
        page_size integer NOT NULL,
        user_filter text,
        interval_minutes integer,
        shrink_percent integer NOT NULL,
        lists_members boolean NOT NULL,
        next_run_at INSTANT,
        complete_at INSTANT,
        PRIMARY KEY (organization_id, connection_id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE INDEX pull_source_due ON pull_source (next_run_at) WHERE next_run_at IS NOT NULL"#,
];
