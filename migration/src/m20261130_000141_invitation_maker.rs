//! What the maker of an invitation might give, and since when it waits because that is not enough.
//! Invitations from before have neither.

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
    "ALTER TABLE invitation ADD COLUMN maker_permissions JSON",
    "ALTER TABLE invitation ADD COLUMN held_at INSTANT",
];
