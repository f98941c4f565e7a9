//! Names are compared without regard to the width of letters. A list holds the tables with keys
//! from before. A server renews these keys when it starts, part by part. A migration could not,
//! because on PostgreSQL it is one transaction.

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
    "CREATE TABLE name_key_renewal (table_name text PRIMARY KEY)",
    // This kind is queried often and almost never exists.
    "CREATE INDEX finding_clash ON finding (organization_id, id) WHERE kind = 'NAME_CLASH'",
    "INSERT INTO name_key_renewal (table_name) VALUES ('user'), ('group'), ('role'), \
     ('role_mapping')",
];
