//! How many bytes each bulk job has handed in, so that what one organization stores can be bounded.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &["ALTER TABLE bulk_job ADD COLUMN bytes bigint NOT NULL DEFAULT 0"]).await
    }
}
