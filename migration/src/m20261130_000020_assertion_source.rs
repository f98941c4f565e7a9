//! The identity providers whose sign-in assertions connections of the kind ASSERTION accept.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await
    }
}

const STATEMENTS: &[&str] = &[r#"CREATE TABLE assertion_source (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        protocol text NOT NULL,
        settings JSON NOT NULL,
        group_identity text NOT NULL,
        claimed_groups JSON,
        claims_expire_days integer,
        account_creation text NOT NULL,
        PRIMARY KEY (organization_id, connection_id),
        FOREIGN KEY (organization_id, connection_id)
            REFERENCES connection (organization_id, id))"#];
