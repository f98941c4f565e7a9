//! Whether a connection's service provider configuration announces paging by cursor (RFC 9865).

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await
    }
}

const STATEMENTS: &[&str] =
    &[r#"ALTER TABLE connection ADD COLUMN announces_cursor_paging boolean NOT NULL DEFAULT TRUE"#];
