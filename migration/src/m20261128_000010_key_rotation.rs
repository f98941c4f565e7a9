//! Rotation of keys. The master key can be replaced, with both keys in use meanwhile. A signing key
//! gets a successor, and its public half is stored for ever. Servers record which master keys they
//! have.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await
    }
}

/// The table of servers has no index except its key: there are as many rows as replicas.
const STATEMENTS: &[&str] = &[
    r#"CREATE TABLE signing_key (
        number bigint NOT NULL PRIMARY KEY,
        public_key BYTES,
        sealed BYTES,
        begins_at INSTANT NOT NULL,
        accepted_until INSTANT)"#,
    "INSERT INTO signing_key (number, sealed, begins_at) SELECT 1, signing_key, created_at FROM \
     instance",
    "ALTER TABLE instance DROP COLUMN signing_key",
    "ALTER TABLE instance ADD COLUMN next_key_fingerprint text",
    "ALTER TABLE instance ADD COLUMN old_key_fingerprint text",
    // `seen_at` is in seconds since the epoch, by the database's clock.
    r#"CREATE TABLE replica (
        id UUID NOT NULL PRIMARY KEY,
        seen_at bigint NOT NULL,
        fingerprints text NOT NULL)"#,
];
