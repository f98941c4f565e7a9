//! Who made a setup link, and by which link a SCIM token was issued.

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
    "ALTER TABLE setup_link ADD COLUMN created_by text",
    "ALTER TABLE scim_token ADD COLUMN setup_link_id UUID",
];
