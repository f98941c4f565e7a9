//! Operations that a client uploaded together, to be carried out one after another, and the result
//! of each.

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
    r#"CREATE TABLE bulk_job (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        state text NOT NULL,
        actor_kind text NOT NULL,
        actor_id text NOT NULL,
        actor_name text NOT NULL,
        permissions JSON NOT NULL,
        authorized_until INSTANT,
        lines bigint NOT NULL,
        done bigint NOT NULL,
        failed bigint NOT NULL,
        stopped_because text,
        holder UUID,
        until INSTANT NOT NULL,
        created_at INSTANT NOT NULL,
        started_at INSTANT,
        finished_at INSTANT,
        expires_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE INDEX bulk_job_open ON bulk_job (organization_id, id) WHERE finished_at IS NULL"#,
    r#"CREATE INDEX bulk_job_age ON bulk_job (expires_at) WHERE expires_at IS NOT NULL"#,
    r#"CREATE TABLE bulk_line (
        organization_id UUID NOT NULL,
        job_id UUID NOT NULL,
        line bigint NOT NULL,
        request_id UUID NOT NULL,
        user_id UUID,
        input BYTES,
        failed boolean NOT NULL,
        result text,
        words text,
        PRIMARY KEY (organization_id, job_id, line),
        FOREIGN KEY (organization_id, job_id) REFERENCES bulk_job (organization_id, id))"#,
    r#"CREATE INDEX bulk_line_user ON bulk_line (organization_id, user_id)
       WHERE user_id IS NOT NULL"#,
    r#"CREATE INDEX bulk_line_words ON bulk_line (organization_id) WHERE words IS NOT NULL"#,
];
