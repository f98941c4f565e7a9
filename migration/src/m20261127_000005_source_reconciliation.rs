//! The run that reads the data of a comparison, and the identifier by which an erasure finds a
//! person.

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
    r#"ALTER TABLE reconciliation ADD COLUMN sync_run_id UUID"#,
    r#"CREATE INDEX finding_missing ON finding (organization_id, key) WHERE kind = 'MISSING_HERE'"#,
];
