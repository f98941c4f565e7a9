//! An organization can be suspended by the operator, and lets the operator in for a time.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 2] = [
    r#"ALTER TABLE organization ADD COLUMN suspended_at INSTANT"#,
    r#"ALTER TABLE organization ADD COLUMN operator_access_until INSTANT"#,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
