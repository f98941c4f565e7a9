//! People whose groups an identity provider left out of a sign-in, so that its directory is asked.

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
    r#"CREATE TABLE directory_lookup (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        user_id UUID NOT NULL,
        attempts integer NOT NULL,
        next_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, connection_id, user_id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    // The work of all organizations, the oldest first.
    "CREATE INDEX directory_lookup_due ON directory_lookup (next_at)",
];
