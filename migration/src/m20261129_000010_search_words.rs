//! The words by which users and groups are found. A server fills the tables when it starts, part by
//! part: a migration could not, because on PostgreSQL it is one transaction. Also the orders of
//! lists that had none.
//!
//! On PostgreSQL the index by word serves only statements that name its condition, so that it is
//! taken whatever the statistics are.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == sea_orm::DbBackend::Postgres;
        // On SQLite the table is its primary key, without a copy of each row beside it.
        let (rows, by_word) =
            if postgres { ("", " WHERE word <> 'by word'") } else { (" WITHOUT ROWID", "") };
        let tables = [("user_word", "user_id"), ("group_word", "group_id")].map(|(table, id)| {
            [
                format!(
                    "CREATE TABLE {table} (organization_id UUID NOT NULL, {id} UUID NOT NULL, \
                     word KEY NOT NULL, PRIMARY KEY (organization_id, {id}, word)){rows}"
                ),
                format!(
                    "CREATE INDEX {table}_search ON {table} (organization_id, word, {id}){by_word}"
                ),
            ]
        });
        let orders: Vec<String> = ORDERS
            .iter()
            .map(|(table, column)| {
                // SQLite, which keeps no statistics, would take it for other statements, too.
                let ordered =
                    if postgres { String::new() } else { format!(" WHERE {column} IS NOT NULL") };
                format!(
                    "CREATE INDEX {table}_last ON {table} (organization_id, {column}, id){ordered}"
                )
            })
            .collect();
        let tables = tables.as_flattened().iter().chain(&orders).map(String::as_str);
        let all: Vec<&str> = tables.chain(STATEMENTS.iter().copied()).collect();
        crate::run(manager, &all).await
    }
}

const STATEMENTS: &[&str] = &[
    "INSERT INTO name_key_renewal (table_name) VALUES ('user_word'), ('group_word')",
    r#"CREATE INDEX user_deleted_at ON "user" (organization_id, deleted_at, id)
       WHERE deleted_at IS NOT NULL AND purged_at IS NULL"#,
    r#"CREATE INDEX group_deleted_at ON "group" (organization_id, deleted_at, id)
       WHERE deleted_at IS NOT NULL"#,
];

/// The orders by the last occurrence: tables and columns.
const ORDERS: &[(&str, &str)] =
    &[("failure", "last_at"), ("finding", "last_seen_at"), ("request_log", "last_at")];
