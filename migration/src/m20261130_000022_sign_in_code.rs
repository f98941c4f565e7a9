//! Codes that applications redeem after a sign-in here, and whose session a console link opens.

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
    r#"CREATE TABLE sign_in_code (
        organization_id UUID NOT NULL,
        hash BYTES NOT NULL,
        connection_id UUID NOT NULL,
        user_id UUID NOT NULL,
        redirect_url text NOT NULL,
        expires_at INSTANT NOT NULL,
        redeemed_at INSTANT,
        PRIMARY KEY (organization_id, hash),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    "CREATE INDEX sign_in_code_expired ON sign_in_code (organization_id, expires_at)",
    "ALTER TABLE console_link ADD COLUMN owner_user_id UUID",
];
