//! What applications say of a leaver: when they ended the sessions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 1] = [
    // One of each application for an account and the event by which it left.
    r#"CREATE TABLE revocation_confirmation (
        organization_id UUID NOT NULL,
        event_id UUID NOT NULL,
        user_id UUID NOT NULL,
        actor_id text NOT NULL,
        confirmation_id UUID NOT NULL,
        ended_at INSTANT NOT NULL,
        confirmed_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, event_id, user_id, actor_id))"#,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
