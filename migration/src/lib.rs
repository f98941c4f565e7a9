//! The database's shape: one dated file a change, the same on SQLite and PostgreSQL.

#![allow(
    clippy::disallowed_methods,
    reason = "a migration changes the tables, and the rows of all organizations in them"
)]

pub use sea_orm_migration::prelude::*;

mod m20261121_000001_foundation;
mod m20261122_000001_request_log;
mod m20261122_000002_adoption;
mod m20261123_000001_cursor_announcement;
mod m20261123_000002_access_changes;
mod m20261123_000003_leavers;
mod m20261124_000001_idempotency;
mod m20261124_000002_bulk_job;
mod m20261124_000002_deletions;
mod m20261124_000003_access_cursor;
mod m20261125_000001_pull_source;
mod m20261125_000002_sync_run;
mod m20261127_000001_failure;
mod m20261127_000002_health;
mod m20261127_000003_reconciliation;
mod m20261127_000004_pull_incremental;
mod m20261127_000005_source_reconciliation;
mod m20261127_000006_last_read;
mod m20261127_000007_no_shared_row;
mod m20261127_000008_chain;
mod m20261127_000009_no_keys_of_intervals;
mod m20261128_000001_instants;
mod m20261128_000010_key_rotation;
mod m20261128_000020_signed_head;
mod m20261128_000030_name_keys;
mod m20261128_000101_key_owner;
mod m20261128_000102_bulk_bytes;
mod m20261128_000200_one_index_a_use;
mod m20261129_000001_reconciliation_schedule;
mod m20261129_000002_task;
mod m20261129_000010_search_words;
mod m20261129_000011_event_filters;
mod m20261129_000020_organization_state;
mod m20261129_000021_deletion_job;
mod m20261129_000030_self_test_token;
mod m20261129_000101_event_request;
mod m20261129_000120_console_link;
mod m20261129_000121_setup_link;
mod m20261129_000131_destination;
mod m20261129_000141_alerts;
mod m20261129_000142_revocation_confirmation;
mod m20261130_000010_event_streams;
mod m20261130_000011_async_request;
mod m20261130_000020_assertion_source;
mod m20261130_000021_directory_lookup;
mod m20261130_000022_sign_in_code;
mod m20261130_000030_sign_in;
mod m20261130_000040_used_assertion;
mod m20261130_000050_domain;
mod m20261130_000051_invitation;
mod m20261130_000061_setup_link_maker;
mod m20261130_000062_failed_delivery;
mod m20261130_000110_metadata_refresh;
mod m20261130_000115_kept_claims;
mod m20261130_000116_provider_session;
mod m20261130_000130_stream_receiver;
mod m20261130_000140_async_request_token;
mod m20261130_000141_invitation_maker;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_foundation::Migration),
            Box::new(m20261122_000001_request_log::Migration),
            Box::new(m20261122_000002_adoption::Migration),
            Box::new(m20261123_000001_cursor_announcement::Migration),
            Box::new(m20261123_000002_access_changes::Migration),
            Box::new(m20261123_000003_leavers::Migration),
            Box::new(m20261124_000001_idempotency::Migration),
            Box::new(m20261124_000002_deletions::Migration),
            Box::new(m20261124_000002_bulk_job::Migration),
            Box::new(m20261124_000003_access_cursor::Migration),
            Box::new(m20261125_000001_pull_source::Migration),
            Box::new(m20261125_000002_sync_run::Migration),
            Box::new(m20261127_000001_failure::Migration),
            Box::new(m20261127_000002_health::Migration),
            Box::new(m20261127_000003_reconciliation::Migration),
            Box::new(m20261127_000004_pull_incremental::Migration),
            Box::new(m20261127_000005_source_reconciliation::Migration),
            Box::new(m20261127_000006_last_read::Migration),
            Box::new(m20261127_000007_no_shared_row::Migration),
            Box::new(m20261127_000008_chain::Migration),
            Box::new(m20261127_000009_no_keys_of_intervals::Migration),
            Box::new(m20261128_000001_instants::Migration),
            Box::new(m20261128_000010_key_rotation::Migration),
            Box::new(m20261128_000020_signed_head::Migration),
            Box::new(m20261128_000030_name_keys::Migration),
            Box::new(m20261128_000101_key_owner::Migration),
            Box::new(m20261128_000102_bulk_bytes::Migration),
            Box::new(m20261128_000200_one_index_a_use::Migration),
            Box::new(m20261129_000001_reconciliation_schedule::Migration),
            Box::new(m20261129_000002_task::Migration),
            Box::new(m20261129_000010_search_words::Migration),
            Box::new(m20261129_000011_event_filters::Migration),
            Box::new(m20261129_000020_organization_state::Migration),
            Box::new(m20261129_000021_deletion_job::Migration),
            Box::new(m20261129_000030_self_test_token::Migration),
            Box::new(m20261129_000101_event_request::Migration),
            Box::new(m20261129_000120_console_link::Migration),
            Box::new(m20261129_000121_setup_link::Migration),
            Box::new(m20261129_000131_destination::Migration),
            Box::new(m20261129_000141_alerts::Migration),
            Box::new(m20261129_000142_revocation_confirmation::Migration),
            Box::new(m20261130_000010_event_streams::Migration),
            Box::new(m20261130_000011_async_request::Migration),
            Box::new(m20261130_000020_assertion_source::Migration),
            Box::new(m20261130_000021_directory_lookup::Migration),
            Box::new(m20261130_000022_sign_in_code::Migration),
            Box::new(m20261130_000030_sign_in::Migration),
            Box::new(m20261130_000040_used_assertion::Migration),
            Box::new(m20261130_000050_domain::Migration),
            Box::new(m20261130_000051_invitation::Migration),
            Box::new(m20261130_000061_setup_link_maker::Migration),
            Box::new(m20261130_000062_failed_delivery::Migration),
            Box::new(m20261130_000110_metadata_refresh::Migration),
            Box::new(m20261130_000115_kept_claims::Migration),
            Box::new(m20261130_000116_provider_session::Migration),
            Box::new(m20261130_000130_stream_receiver::Migration),
            Box::new(m20261130_000140_async_request_token::Migration),
            Box::new(m20261130_000141_invitation_maker::Migration),
        ]
    }
}

/// Runs statements that are written once for both databases. Four words stand for types: `UUID`,
/// `INSTANT` (UTC, microseconds), `JSON` and `BYTES`; `KEY` is text compared by code point.
async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let types: &[(&str, &str)] = match backend {
        sea_orm::DbBackend::Postgres => &[
            (" UUID", " uuid"),
            (" INSTANT", " timestamptz"),
            (" JSON", " jsonb"),
            (" BYTES", " bytea"),
            (" KEY", " text COLLATE \"C\""),
            (" SERIAL", " bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        ],
        _ => &[
            (" UUID", " blob"),
            (" INSTANT", " text"),
            (" JSON", " text"),
            (" BYTES", " blob"),
            (" KEY", " text"),
            (" SERIAL", " integer PRIMARY KEY AUTOINCREMENT"),
        ],
    };
    for statement in statements {
        // The word KEY in PRIMARY KEY and FOREIGN KEY is not the type.
        let kept =
            statement.replace("PRIMARY KEY", "PRIMARY-KEY").replace("FOREIGN KEY", "FOREIGN-KEY");
        let sql = types
            .iter()
            .fold(kept, |sql, (word, ty)| sql.replace(word, ty))
            .replace("-KEY", " KEY");
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}
