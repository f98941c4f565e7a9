//! The end of each organization's chain, signed with the installation's key: a chain that was
//! recomputed in the database does not match the signature. Earlier ledgers get their first
//! signature when a server runs.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await
    }
}

const STATEMENTS: &[&str] = &[r#"CREATE TABLE signed_head (
    organization_id UUID NOT NULL PRIMARY KEY REFERENCES organization (id),
    seq bigint NOT NULL,
    signature text NOT NULL)"#];
