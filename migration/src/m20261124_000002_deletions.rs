//! An index of deleted accounts that can be restored, and the progress of long tasks.

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
    r#"CREATE INDEX user_deleted ON "user" (organization_id, id) WHERE deleted_at IS NOT NULL
       AND purged_at IS NULL"#,
    r#"ALTER TABLE lease ADD COLUMN done bigint NOT NULL DEFAULT 0"#,
    r#"ALTER TABLE lease ADD COLUMN total bigint"#,
];
