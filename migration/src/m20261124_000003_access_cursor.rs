//! Separate events record the accounts whose access a change affected. This cursor is the place in
//! the ledger up to which they are recorded. Earlier changes get no such events. Also the owner of
//! each account at any time, so that the past access of all accounts of a connection can be
//! reported.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await?;
        match manager.get_database_backend() {
            sea_orm::DbBackend::Sqlite => crate::run(manager, WHOLE).await,
            _ => Ok(()),
        }
    }
}

const STATEMENTS: &[&str] = &[
    r#"CREATE TABLE access_cursor (
        organization_id UUID NOT NULL PRIMARY KEY REFERENCES organization (id),
        seq bigint NOT NULL,
        user_id UUID)"#,
    r#"INSERT INTO access_cursor (organization_id, seq) SELECT organization_id, seq
       FROM ledger_head WHERE seq > 0"#,
    r#"ALTER TABLE activation ADD COLUMN connection_id UUID"#,
    r#"UPDATE activation SET connection_id = (SELECT u.connection_id FROM "user" u
        WHERE u.organization_id = activation.organization_id AND u.id = activation.user_id)"#,
    r#"CREATE INDEX activation_owner ON activation (organization_id, connection_id, user_id)"#,
    // Indexes from an account to its groups and roles at any instant. A join needs one index of
    // present and past rows.
    r#"DROP INDEX membership_user_live"#,
    r#"DROP INDEX membership_user_past"#,
    r#"CREATE INDEX membership_user ON membership (organization_id, user_id, group_id)"#,
    r#"DROP INDEX group_nesting_member_live"#,
    r#"DROP INDEX group_nesting_member_past"#,
    r#"CREATE INDEX group_nesting_member ON group_nesting (organization_id, member_id, group_id)"#,
    r#"DROP INDEX role_mapping_group_past"#,
    r#"CREATE INDEX role_mapping_group ON role_mapping (organization_id, group_id)"#,
    r#"DROP INDEX role_grant_user_past"#,
    r#"CREATE INDEX role_grant_user ON role_grant (organization_id, user_id)"#,
];

/// For lookups by group, account or role on SQLite. For a query about any instant, SQLite does not
/// combine an index of present rows with one of past rows: it reads the whole table instead. So
/// there these indexes contain present rows too.
const WHOLE: &[&str] = &[
    "DROP INDEX membership_group_past",
    "CREATE INDEX membership_group_whole ON membership (organization_id, group_id, user_id)",
    "DROP INDEX group_nesting_past",
    "CREATE INDEX group_nesting_whole ON group_nesting (organization_id, group_id)",
    "DROP INDEX activation_past",
    "CREATE INDEX activation_whole ON activation (organization_id, user_id)",
    "DROP INDEX role_grant_role_past",
    "CREATE INDEX role_grant_role_whole ON role_grant (organization_id, role_id)",
    "DROP INDEX role_mapping_role_past",
    "CREATE INDEX role_mapping_role_whole ON role_mapping (organization_id, role_id)",
];
