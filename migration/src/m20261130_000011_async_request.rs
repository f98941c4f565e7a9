//! SCIM requests that were accepted and are carried out after their answer.

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
    r#"CREATE TABLE async_request (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        scopes JSON NOT NULL,
        payload BYTES NOT NULL,
        tries integer NOT NULL,
        holder UUID,
        until INSTANT NOT NULL,
        created_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, id))"#,
    // Those of one connection are carried out in their order.
    r#"CREATE INDEX async_request_order ON async_request (organization_id, connection_id, id)"#,
    // The next one of any organization.
    r#"CREATE INDEX async_request_next ON async_request (id)"#,
];
