//! Proposals for people who already have an account when an identity provider sends them, and the
//! lease that prevents a task from running twice at once.

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
    r#"ALTER TABLE connection ADD COLUMN adoption_policy text NOT NULL DEFAULT 'PROPOSE'"#,
    r#"ALTER TABLE organization ADD COLUMN verified_domains JSON NOT NULL DEFAULT '[]'"#,
    r#"CREATE TABLE adoption_proposal (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        user_id UUID NOT NULL,
        cause text NOT NULL,
        document text,
        state text NOT NULL,
        reason text,
        attempts bigint NOT NULL,
        first_at INSTANT NOT NULL,
        last_at INSTANT NOT NULL,
        decided_at INSTANT,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id),
        FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX adoption_proposal_pair ON adoption_proposal (organization_id, user_id,
       connection_id)"#,
    r#"CREATE INDEX adoption_proposal_pending ON adoption_proposal (organization_id, id)
       WHERE state = 'PENDING'"#,
    r#"CREATE TABLE lease (
        organization_id UUID NOT NULL REFERENCES organization (id),
        name text NOT NULL,
        holder UUID NOT NULL,
        until INSTANT NOT NULL,
        PRIMARY KEY (organization_id, name))"#,
];
