//! Indexes for past access, so that it is found as fast as present access; planned ends that are
//! due; previews of changes.

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
    // Indexes of ended intervals only: a new membership does not change them.
    r#"CREATE INDEX membership_user_past ON membership (organization_id, user_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX membership_group_past ON membership (organization_id, group_id, user_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX group_nesting_past ON group_nesting (organization_id, group_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX group_nesting_member_past ON group_nesting (organization_id, member_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX activation_past ON activation (organization_id, user_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX role_grant_user_past ON role_grant (organization_id, user_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX role_grant_role_past ON role_grant (organization_id, role_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX role_mapping_role_past ON role_mapping (organization_id, role_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX role_mapping_group_past ON role_mapping (organization_id, group_id)
       WHERE until IS NOT NULL"#,
    r#"CREATE INDEX role_mapping_due ON role_mapping (expires_at) WHERE until IS NULL
       AND expires_at IS NOT NULL"#,
    r#"CREATE INDEX role_grant_due ON role_grant (expires_at) WHERE until IS NULL
       AND expires_at IS NOT NULL"#,
    r#"CREATE TABLE access_preview (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        edits JSON NOT NULL,
        gained bigint NOT NULL,
        lost bigint NOT NULL,
        warnings JSON NOT NULL,
        digest BYTES NOT NULL,
        created_at INSTANT NOT NULL,
        expires_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE INDEX access_preview_age ON access_preview (expires_at)"#,
    r#"CREATE TABLE access_preview_part (
        organization_id UUID NOT NULL,
        preview_id UUID NOT NULL,
        gained boolean NOT NULL,
        number bigint NOT NULL,
        pairs BYTES NOT NULL,
        PRIMARY KEY (organization_id, preview_id, gained, number))"#,
];
