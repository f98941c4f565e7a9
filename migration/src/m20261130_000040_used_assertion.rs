//! Assertions that were used: each counts once, on all replicas.

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
    "CREATE TABLE used_assertion (
        organization_id UUID NOT NULL REFERENCES organization (id),
        connection_id UUID NOT NULL,
        id_hash BYTES NOT NULL,
        fingerprint BYTES NOT NULL,
        key_hash BYTES,
        expires_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, connection_id, id_hash))",
    "CREATE INDEX used_assertion_expiry ON used_assertion (expires_at)",
];
