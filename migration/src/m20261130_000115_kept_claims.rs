//! Memberships that stay although what sign-ins said is too old, because no other account holds a
//! management role.

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
    "ALTER TABLE membership ADD COLUMN kept_since INSTANT",
    "CREATE INDEX membership_kept ON membership (organization_id, kept_since)
        WHERE kept_since IS NOT NULL",
];
