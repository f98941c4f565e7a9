//! Intervals name accounts and groups, whose rows are never removed, only marked as deleted. So
//! foreign keys are not needed. On PostgreSQL they cost a query and a lock for each interval, a
//! large part of the cost of writing one.

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
