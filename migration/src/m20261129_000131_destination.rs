//! Destinations, which are told of events, and what was delivered to each.

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
    r#"CREATE TABLE destination (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        kind text NOT NULL,
        url text,
        description text NOT NULL,
        owner_user_id UUID,
        event_kinds JSON NOT NULL,
        connection_ids JSON NOT NULL,
        payload text NOT NULL,
        state text NOT NULL,
        reason text,
        message text,
        state_since INSTANT NOT NULL,
        secret BYTES,
        previous_secret BYTES,
        previous_until INSTANT,
        private_key BYTES,
        public_key BYTES,
        cursor_seq bigint NOT NULL,
        next_at INSTANT,
        last_success_at INSTANT,
        version bigint NOT NULL,
        restarts bigint NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, id))"#,
    // What the servers look for: who is to be told at all. Few rows, of all organizations.
    r#"CREATE INDEX destination_live ON destination (organization_id)
       WHERE state IN ('ACTIVE', 'FAILING')"#,
    r#"CREATE TABLE delivery (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        destination_id UUID NOT NULL,
        event_id UUID NOT NULL,
        seq bigint NOT NULL,
        action text NOT NULL,
        subject_kind text NOT NULL,
        subject_id UUID NOT NULL,
        state text NOT NULL,
        kept boolean NOT NULL,
        attempts integer NOT NULL,
        attempt_log JSON NOT NULL,
        first_at INSTANT NOT NULL,
        last_at INSTANT NOT NULL,
        next_at INSTANT,
        received_at INSTANT,
        status integer,
        latency_ms integer,
        response text,
        message text,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE INDEX delivery_list ON delivery (organization_id, destination_id, id)"#,
    r#"CREATE UNIQUE INDEX delivery_place ON delivery (organization_id, destination_id, seq)"#,
    r#"CREATE INDEX delivery_open ON delivery (organization_id, destination_id, seq)
       WHERE state = 'WAITING'"#,
    r#"CREATE INDEX delivery_failed ON delivery (organization_id, destination_id, seq)
       WHERE state = 'FAILED'"#,
    r#"CREATE INDEX delivery_routine ON delivery (organization_id, destination_id, seq)
       WHERE NOT kept"#,
    r#"CREATE INDEX delivery_subject ON delivery (organization_id, subject_id, seq)"#,
    r#"CREATE INDEX delivery_age ON delivery (last_at)"#,
];
