//! On PostgreSQL, where rows of the ledger are chained after they were written, a table of its own
//! holds their links. Before, chaining wrote every row a second time, with its values and all of
//! its index entries. A list holds the rows that are not chained yet. On both databases,
//! `event_sealed` shows rows with their links, and `unsealed` those without one.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => crate::run(manager, POSTGRES).await,
            _ => crate::run(manager, SQLITE).await,
        }
    }
}

const POSTGRES: &[&str] = &[
    r#"CREATE TABLE chain (
        organization_id UUID NOT NULL,
        seq bigint NOT NULL,
        pos bigint NOT NULL,
        hash BYTES NOT NULL,
        PRIMARY KEY (organization_id, seq))"#,
    "INSERT INTO chain SELECT organization_id, seq, pos, hash FROM event WHERE seq IS NOT NULL",
    "CREATE UNIQUE INDEX chain_pos ON chain (pos)",
    r#"CREATE TABLE unsealed (
        organization_id UUID NOT NULL,
        pos bigint NOT NULL,
        PRIMARY KEY (organization_id, pos))"#,
    "INSERT INTO unsealed SELECT organization_id, pos FROM event WHERE seq IS NULL",
    "ALTER TABLE event DROP COLUMN seq, DROP COLUMN hash",
    "CREATE VIEW event_sealed AS \
     SELECT e.pos, e.organization_id, e.id, c.seq, e.at, e.requested_at, e.actor_kind, \
     e.actor_id, e.actor_name, e.action, e.subject_kind, e.subject_id, e.connection_id, \
     e.request_id, e.payload, e.salt, \
     e.digest, e.population, c.hash FROM event e LEFT \
     JOIN chain c ON c.organization_id = e.organization_id AND c.pos = e.pos",
];

const SQLITE: &[&str] = &[
    "CREATE VIEW event_sealed AS SELECT * FROM event",
    "CREATE VIEW unsealed AS SELECT organization_id, pos FROM event WHERE seq IS NULL",
];
