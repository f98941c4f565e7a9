//! Links with which a customer's IT administrator sets up an identity provider.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 7] = [
    "CREATE TABLE setup_link (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        hash BYTES NOT NULL,
        created_at INSTANT NOT NULL,
        expires_at INSTANT NOT NULL,
        redeemed_at INSTANT,
        last_opened_at INSTANT,
        open_count integer NOT NULL,
        scim_token_id UUID,
        revoked_at INSTANT,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id)
    )",
    "CREATE UNIQUE INDEX setup_link_hash ON setup_link (hash)",
    "CREATE INDEX setup_link_connection ON setup_link (organization_id, connection_id, id)",
    "CREATE TABLE setup_session (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        setup_link_id UUID NOT NULL,
        hash BYTES NOT NULL,
        expires_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, setup_link_id) REFERENCES setup_link (organization_id, id)
    )",
    "CREATE UNIQUE INDEX setup_session_hash ON setup_session (hash)",
    "CREATE INDEX setup_session_link ON setup_session (organization_id, setup_link_id, expires_at)",
    "ALTER TABLE scim_token ADD COLUMN issued_by text",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
