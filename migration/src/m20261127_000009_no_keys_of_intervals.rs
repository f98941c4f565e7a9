//! Intervals name an account or a group, which are never taken out of the database, only marked as deleted: on
//! PostgreSQL a foreign key finds that out by a query and a lock for each interval, which is much of what it costs to
//! write one.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => crate::run(manager, POSTGRES).await,
            _ => Ok(()),
        }
    }
}

const POSTGRES: &[&str] = &[
    "ALTER TABLE activation DROP CONSTRAINT activation_organization_id_user_id_fkey",
    "ALTER TABLE membership DROP CONSTRAINT membership_organization_id_group_id_fkey",
    "ALTER TABLE membership DROP CONSTRAINT membership_organization_id_user_id_fkey",
];
