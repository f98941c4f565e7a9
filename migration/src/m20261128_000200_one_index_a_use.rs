//! On PostgreSQL, each index serves only those statements that it is for, whatever the statistics
//! of its table are.
//!
//! A statement that is planned while its table is empty finds several indexes equally good that
//! begin with the organization. The indexes of live users and groups now hold a comparison that is
//! always true, and serve only statements that make it. The open memberships of a group are found
//! through the group alone.
//!
//! Each index is built beside the old one without blocking writes, outside a transaction. A
//! migration that was interrupted begins again. SQLite keeps no statistics and needs none of this.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        // An index cannot be built concurrently inside a transaction.
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != sea_orm::DbBackend::Postgres {
            return Ok(());
        }
        let db = manager.get_connection();
        for (name, unique, definition) in INDEXES {
            for statement in [
                // An index that an interrupted attempt left behind is not valid.
                format!("DROP INDEX CONCURRENTLY IF EXISTS {name}_new"),
                format!("CREATE {unique} INDEX CONCURRENTLY {name}_new ON {definition}"),
                format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"),
                format!("ALTER INDEX {name}_new RENAME TO {name}"),
            ] {
                db.execute_unprepared(&statement).await?;
            }
        }
        for name in REPLACED {
            db.execute_unprepared(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await?;
        }
        Ok(())
    }
}

/// An index: its name, `UNIQUE` or nothing, and its table and columns.
const INDEXES: &[(&str, &str, &str)] = &[
    (
        "user_name_live",
        "UNIQUE",
        r#""user" (organization_id, user_name_key) WHERE deleted_at IS NULL
           AND document <> 'by userName'"#,
    ),
    (
        "user_connection_live",
        "",
        r#""user" (organization_id, connection_id, id) WHERE deleted_at IS NULL
           AND document <> 'by owner'"#,
    ),
    (
        "user_display_name_live",
        "",
        r#""user" (organization_id, display_name_key, id) WHERE deleted_at IS NULL
           AND document <> 'by displayName'"#,
    ),
    (
        "user_updated_live",
        "",
        r#""user" (organization_id, updated_at, id) WHERE deleted_at IS NULL
           AND document <> 'by change'"#,
    ),
    (
        "group_connection_live",
        "",
        r#""group" (organization_id, connection_id, id) WHERE deleted_at IS NULL
           AND document <> 'by owner'"#,
    ),
    (
        "group_display_name_live",
        "",
        r#""group" (organization_id, display_name_key, id) WHERE deleted_at IS NULL
           AND document <> 'by displayName'"#,
    ),
    (
        "group_updated_live",
        "",
        r#""group" (organization_id, updated_at, id) WHERE deleted_at IS NULL
           AND document <> 'by change'"#,
    ),
    (
        "membership_live",
        "UNIQUE",
        "membership (organization_id, group_id, user_id) WHERE until IS NULL AND since > \
         '-infinity'",
    ),
    (
        "group_nesting_live",
        "UNIQUE",
        "group_nesting (organization_id, group_id, member_id) WHERE until IS NULL AND since > \
         '-infinity'",
    ),
    (
        "activation_live",
        "UNIQUE",
        "activation (organization_id, user_id) WHERE until IS NULL AND since > '-infinity'",
    ),
    (
        "role_mapping_everybody",
        "",
        "role_mapping (organization_id, connection_id) WHERE match_attribute = 'EVERYBODY'",
    ),
    ("event_id", "UNIQUE", "event (organization_id, id)"),
    ("activation_user", "", "activation (organization_id, user_id)"),
];

/// Indexes whose columns another index covers.
const REPLACED: &[&str] = &["activation_past"];
