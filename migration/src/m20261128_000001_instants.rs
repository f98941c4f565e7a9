//! The instant of a change is never earlier than an instant up to which the past was reported as
//! settled. `settled_mark` keeps the newest such instant, and each head of a chain keeps the newest
//! instant in it. The index finds the events of a request.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, BOTH).await
    }
}

const BOTH: &[&str] = &[
    "CREATE TABLE settled_mark (one integer PRIMARY KEY CHECK (one = 1), at INSTANT NOT NULL)",
    "INSERT INTO settled_mark (one, at) VALUES (1, '1970-01-01T00:00:00+00:00')",
    "ALTER TABLE ledger_head ADD COLUMN newest_at INSTANT",
    "UPDATE ledger_head SET newest_at = (SELECT e.at FROM event_sealed e \
       WHERE e.organization_id = ledger_head.organization_id AND e.seq = ledger_head.seq)",
    "CREATE INDEX event_request ON event (request_id, organization_id)",
];
