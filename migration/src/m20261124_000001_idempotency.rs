//! Requests that may be repeated without a second effect, and their first answers, for a day.

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
    // No reference to the organization: a request may also be in none.
    r#"CREATE TABLE idempotency (
        organization_id UUID NOT NULL,
        name BYTES NOT NULL,
        fingerprint BYTES NOT NULL,
        holder UUID NOT NULL,
        request_id UUID NOT NULL,
        until INSTANT NOT NULL,
        done boolean NOT NULL,
        answer text,
        erased_by UUID,
        expires_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, name))"#,
    r#"CREATE INDEX idempotency_age ON idempotency (expires_at)"#,
];
