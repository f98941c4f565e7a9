//! What sign-ins say about people: the latest one of each person, which groups the claims were
//! joined to, and the memberships that claims made, with their planned ends.

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
    // The key is a keyed hash of the person's id at the identity provider: it stays after an
    // erasure, and says nothing without the organization's data key.
    r#"CREATE TABLE sign_in (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        subject_key BYTES NOT NULL,
        user_id UUID NOT NULL,
        subject text,
        issued_at INSTANT NOT NULL,
        received_at INSTANT NOT NULL,
        fingerprints JSON NOT NULL,
        listed_at INSTANT,
        complete boolean NOT NULL,
        groups JSON,
        PRIMARY KEY (organization_id, connection_id, subject_key),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX sign_in_user ON sign_in (organization_id, user_id, connection_id)"#,
    r#"CREATE TABLE claimed_group (
        organization_id UUID NOT NULL,
        connection_id UUID NOT NULL,
        key KEY NOT NULL,
        group_id UUID NOT NULL,
        PRIMARY KEY (organization_id, connection_id, key),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE INDEX claimed_group_group ON claimed_group (organization_id, group_id,
        connection_id)"#,
    // A keyed hash of the name of an account that was erased.
    r#"CREATE TABLE erased_name (
        organization_id UUID NOT NULL,
        name_key BYTES NOT NULL,
        PRIMARY KEY (organization_id, name_key))"#,
    r#"ALTER TABLE membership ADD COLUMN claimed_by UUID"#,
    r#"ALTER TABLE membership ADD COLUMN expires_at INSTANT"#,
    r#"ALTER TABLE membership ADD COLUMN set_aside boolean NOT NULL DEFAULT FALSE"#,
    r#"CREATE INDEX membership_expiring ON membership (expires_at)
        WHERE until IS NULL AND expires_at IS NOT NULL"#,
    r#"CREATE INDEX membership_claimed ON membership (organization_id, id)
        WHERE until IS NULL AND claimed_by IS NOT NULL"#,
    r#"CREATE INDEX membership_set_aside ON membership (organization_id, id)
        WHERE set_aside = TRUE"#,
    // The conditions that are always true keep other statements from these indexes.
    r#"CREATE INDEX user_name_deleted ON "user" (organization_id, user_name_key)
        WHERE deleted_at IS NOT NULL AND document <> 'by former userName'"#,
    r#"CREATE INDEX group_external ON "group" (organization_id, external_id)
        WHERE deleted_at IS NULL AND document <> 'by externalId'"#,
];
