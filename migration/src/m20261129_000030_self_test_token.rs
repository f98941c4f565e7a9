//! Tokens with which the server tests its own public URL stand beside those of identity providers.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 1] =
    ["ALTER TABLE scim_token ADD COLUMN purpose text NOT NULL DEFAULT 'IDENTITY_PROVIDER'"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
