//! API keys get an owner, an account or the subject of a person, and an end: those that had none
//! end a year after this migration. No key ends because of it.

use sea_orm::prelude::ChronoUtc;
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::prelude::*;

/// Days until the end of a key that had none.
const LIFE_DAYS: u64 = 365;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await?;
        #[allow(
            clippy::disallowed_methods,
            reason = "no clock of the server runs before its tables are there"
        )]
        let end = ChronoUtc::now() + std::time::Duration::from_secs(LIFE_DAYS * 24 * 60 * 60);
        let text =
            "UPDATE api_key SET expires_at = $1 WHERE expires_at IS NULL AND revoked_at IS NULL";
        let statement =
            Statement::from_sql_and_values(manager.get_database_backend(), text, [end.into()]);
        manager.get_connection().execute_raw(statement).await?;
        Ok(())
    }
}

const STATEMENTS: &[&str] = &[
    "ALTER TABLE api_key ADD COLUMN owner_user_id UUID",
    "ALTER TABLE api_key ADD COLUMN owner_subject text",
    "CREATE INDEX api_key_owner ON api_key (organization_id, owner_user_id) \
     WHERE owner_user_id IS NOT NULL AND revoked_at IS NULL",
];
