//! The outcomes of SCIM requests, counted by kind and hour, without a value of any request.

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
    r#"CREATE TABLE request_log (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        connection_id UUID,
        fingerprint BYTES NOT NULL,
        hour INSTANT NOT NULL,
        method text,
        resource text,
        meaning text NOT NULL,
        outcome text NOT NULL,
        status integer,
        scim_type text,
        reason text,
        field text,
        quirks JSON NOT NULL,
        source text,
        count bigint NOT NULL,
        first_at INSTANT NOT NULL,
        last_at INSTANT NOT NULL,
        last_request_id UUID,
        last_target_id UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX request_log_kind ON request_log (organization_id, fingerprint)"#,
    r#"CREATE INDEX request_log_connection ON request_log (organization_id, connection_id, id)"#,
    // An index by the hour, which never changes, so that a further count changes no index.
    r#"CREATE INDEX request_log_age ON request_log (hour)"#,
];
