//! The deletion of all accounts that came through SCIM is a job, which survives the server that
//! carries it out.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 5] = [
    r#"CREATE TABLE deletion_job (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID,
        state text NOT NULL,
        actor_kind text NOT NULL,
        actor_id text NOT NULL,
        actor_name text NOT NULL,
        permissions JSON NOT NULL,
        request_id UUID NOT NULL,
        total bigint NOT NULL,
        protected bigint NOT NULL,
        done bigint NOT NULL,
        stopped_because text,
        holder UUID,
        until INSTANT NOT NULL,
        created_at INSTANT NOT NULL,
        started_at INSTANT,
        finished_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    // One at a time in an organization.
    r#"CREATE UNIQUE INDEX deletion_job_open ON deletion_job (organization_id)
       WHERE finished_at IS NULL"#,
    r#"CREATE INDEX deletion_job_age ON deletion_job (finished_at) WHERE finished_at IS NOT NULL"#,
    r#"CREATE TABLE deletion_target (
        organization_id UUID NOT NULL,
        job_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        user_id UUID NOT NULL,
        PRIMARY KEY (organization_id, job_id, connection_id, user_id))"#,
    // The lease of a deletion by an earlier version, which cannot be continued.
    r#"DELETE FROM lease WHERE name = 'users.delete_all'"#,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
