//! How often scheduled incremental runs begin between the full ones.

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
    r#"ALTER TABLE pull_source ADD COLUMN incremental_minutes integer"#,
    r#"ALTER TABLE pull_source ADD COLUMN next_incremental_at INSTANT"#,
    r#"CREATE INDEX pull_source_incremental ON pull_source (next_incremental_at)
       WHERE next_incremental_at IS NOT NULL"#,
];
