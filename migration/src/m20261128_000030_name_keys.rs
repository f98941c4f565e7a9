//! Names are compared without regard to the width of letters. The tables whose keys were made before wait in a list; a
//! server renews them when it starts, part by part, which a migration, one transaction on PostgreSQL, could not.

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
    // Looked for all the time, and nearly always not there.
    "CREATE INDEX finding_clash ON finding (organization_id, id) WHERE kind = 'NAME_CLASH'",
    "INSERT INTO name_key_renewal (table_name) VALUES ('user'), ('group'), ('role'), ('role_mapping')",
];
