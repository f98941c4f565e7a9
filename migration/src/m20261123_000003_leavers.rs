//! An index of leavers, which are then found without reading the whole ledger.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await
    }
}

const STATEMENTS: &[&str] = &[r#"CREATE INDEX event_leavers ON event (organization_id, pos)
    WHERE action IN ('user.suspended', 'user.deleted', 'users.deleted_all')"#];
