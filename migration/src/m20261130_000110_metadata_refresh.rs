//! When the metadata of identity providers are read again, and how the last reading went.

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
    r#"CREATE TABLE metadata_refresh (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        next_at INSTANT NOT NULL,
        asked_at INSTANT,
        read_at INSTANT,
        failures integer NOT NULL,
        failing_since INSTANT,
        reason text,
        message text,
        PRIMARY KEY (organization_id, connection_id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    // The work of all organizations, the oldest first.
    "CREATE INDEX metadata_refresh_due ON metadata_refresh (next_at)",
    // The connections that there are: each is due at once.
    "INSERT INTO metadata_refresh (organization_id, connection_id, next_at, failures)
        SELECT s.organization_id, s.connection_id, c.created_at, 0
        FROM assertion_source s JOIN connection c
        ON c.organization_id = s.organization_id AND c.id = s.connection_id
        WHERE s.protocol = 'SAML' AND c.deleted_at IS NULL
        AND (s.settings ->> 'metadataUrl') IS NOT NULL",
];
