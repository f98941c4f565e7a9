//! The index of events by request begins with the organization. On PostgreSQL it is built without
//! blocking writes, outside a transaction; a migration that was interrupted begins again.
//!
//! No row is without a request. On PostgreSQL, which has no statistics at first, the condition
//! keeps the index from statements that compare no request. SQLite would not take the index with
//! it.

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
        let (word, condition) =
            if postgres { ("CONCURRENTLY ", " WHERE request_id IS NOT NULL") } else { ("", "") };
        for statement in [
            // An index that an interrupted attempt left behind is not valid.
            format!("DROP INDEX {word}IF EXISTS event_of_request"),
            format!(
                "CREATE INDEX {word}event_of_request ON event \
                 (organization_id, request_id, pos){condition}"
            ),
            format!("DROP INDEX {word}IF EXISTS event_request"),
        ] {
            db.execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
