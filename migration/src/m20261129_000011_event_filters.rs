//! The ledger is found by its place, its action and its actor, in each organization. On PostgreSQL
//! the indexes are built without blocking writes, outside a transaction; a migration that was
//! interrupted begins again.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        // An index cannot be built concurrently inside a transaction.
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let postgres = manager.get_database_backend() == sea_orm::DbBackend::Postgres;
        let word = if postgres { "CONCURRENTLY " } else { "" };
        for (name, definition) in INDEXES {
            for statement in [
                // An index that an interrupted attempt left behind is not valid.
                format!("DROP INDEX {word}IF EXISTS {name}"),
                format!("CREATE INDEX {word}{name} ON event {definition}"),
            ] {
                db.execute_unprepared(&statement).await?;
            }
        }
        Ok(())
    }
}

/// An index of events: its name, and its columns. Only statements that make the comparison, which
/// is always true, use it: all others keep the index that they had.
const INDEXES: &[(&str, &str)] = &[
    ("event_place", "(organization_id, pos) WHERE action <> 'by place'"),
    ("event_action", "(organization_id, action, pos) WHERE action <> 'by action'"),
    ("event_actor", "(organization_id, actor_id, pos) WHERE action <> 'by actor'"),
    (
        "event_actor_kind",
        "(organization_id, actor_kind, pos) WHERE actor_kind <> 'CONNECTION' AND action <> \
         'by actor kind'",
    ),
    ("event_connection", "(organization_id, connection_id, pos) WHERE action <> 'by connection'"),
];
