//! The review queue: one row a write of a connection that was refused or failed.

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
    r#"CREATE TABLE failure (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
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
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX failure_unfinished ON failure (organization_id, fingerprint)
       WHERE finished_at IS NULL"#,
    r#"CREATE INDEX failure_thing ON failure (organization_id, thing) WHERE thing IS NOT NULL"#,
    r#"CREATE INDEX failure_user ON failure (organization_id, user_id) WHERE user_id IS NOT NULL"#,
    r#"CREATE INDEX failure_connection ON failure (organization_id, connection_id, id)"#,
    // By the time when a row is due, so that one query serves all organizations.
    r#"CREATE INDEX failure_due ON failure (next_attempt_at) WHERE next_attempt_at IS NOT NULL"#,
    r#"CREATE INDEX failure_age ON failure (finished_at) WHERE finished_at IS NOT NULL"#,
];
