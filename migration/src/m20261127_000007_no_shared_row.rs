//! On PostgreSQL a foreign key locks the row that it names. Every account and group names its
//! connection, so all that are made at the same time would queue for one row's lock and write it;
//! and rows of connections are never removed, only marked as deleted. SQLite has no such lock, and
//! keeps the key.

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
    r#"ALTER TABLE "user" DROP CONSTRAINT user_organization_id_connection_id_fkey"#,
    r#"ALTER TABLE "group" DROP CONSTRAINT group_organization_id_connection_id_fkey"#,
];
