//! Which session of an identity provider a link to the console came from, so that the provider can
//! end it.

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
    "CREATE TABLE provider_session (
        organization_id UUID NOT NULL REFERENCES organization (id),
        link_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        subject_key BYTES NOT NULL,
        session_key BYTES,
        expires_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, link_id))",
    "CREATE INDEX provider_session_subject
        ON provider_session (organization_id, connection_id, subject_key)",
    "CREATE INDEX provider_session_session
        ON provider_session (organization_id, connection_id, session_key)
        WHERE session_key IS NOT NULL",
    "CREATE INDEX provider_session_expiry ON provider_session (expires_at)",
];
