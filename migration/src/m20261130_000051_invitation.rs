//! Invitations: what a person gets who is not here yet, by an address.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 6] = [
    "CREATE TABLE invitation (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        email text,
        email_key KEY,
        role_ids JSON NOT NULL,
        group_ids JSON NOT NULL,
        access_expires_at INSTANT,
        reason text,
        hash BYTES NOT NULL,
        sealed_secret BYTES,
        created_at INSTANT NOT NULL,
        expires_at INSTANT NOT NULL,
        sent_count integer NOT NULL,
        redeemed_at INSTANT,
        accepted_at INSTANT,
        user_id UUID,
        revoked_at INSTANT,
        closed_at INSTANT,
        mail_due_at INSTANT,
        mail_attempts integer NOT NULL,
        mail_error text,
        mailed_at INSTANT,
        PRIMARY KEY (organization_id, id)
    )",
    "CREATE UNIQUE INDEX invitation_hash ON invitation (hash)",
    "CREATE INDEX invitation_open_email ON invitation (organization_id, email_key, id)
     WHERE closed_at IS NULL",
    "CREATE INDEX invitation_user ON invitation (organization_id, user_id)
     WHERE user_id IS NOT NULL",
    "CREATE INDEX invitation_end ON invitation (expires_at) WHERE closed_at IS NULL",
    "CREATE INDEX invitation_mail ON invitation (mail_due_at) WHERE mail_due_at IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
