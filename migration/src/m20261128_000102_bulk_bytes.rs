//! How many bytes of lines each bulk job has, so that there can be a limit for each organization.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &["ALTER TABLE bulk_job ADD COLUMN bytes bigint NOT NULL DEFAULT 0"])
            .await
    }
}
