//! One-time links that open the console, and the keys of its sessions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 3] = [
    "ALTER TABLE api_key ADD COLUMN purpose text NOT NULL DEFAULT 'API'",
    "CREATE TABLE console_link (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        hash BYTES NOT NULL,
        permissions JSON NOT NULL,
        created_at INSTANT NOT NULL,
        expires_at INSTANT NOT NULL,
        redeemed_at INSTANT,
        api_key_id UUID,
        PRIMARY KEY (organization_id, id)
    )",
    "CREATE UNIQUE INDEX console_link_hash ON console_link (hash)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
