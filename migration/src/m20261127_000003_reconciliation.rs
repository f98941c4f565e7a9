//! Comparisons with what identity providers say, and their findings.

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
    r#"CREATE TABLE reconciliation (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        source text NOT NULL,
        scope text NOT NULL,
        state text NOT NULL,
        requested_by text NOT NULL,
        counts JSON NOT NULL,
        troubles JSON NOT NULL,
        reason text,
        until INSTANT NOT NULL,
        started_at INSTANT NOT NULL,
        finished_at INSTANT,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX reconciliation_one ON reconciliation (organization_id,
       connection_id) WHERE finished_at IS NULL"#,
    r#"CREATE INDEX reconciliation_connection ON reconciliation (organization_id, connection_id,
       id)"#,
    r#"CREATE TABLE finding (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        source text NOT NULL,
        kind text NOT NULL,
        key BYTES NOT NULL,
        thing BYTES,
        user_id UUID,
        group_id UUID,
        label text,
        class text,
        leaver boolean NOT NULL,
        roles_held integer NOT NULL,
        detail JSON NOT NULL,
        state text NOT NULL,
        resolution text,
        reason text,
        accepted_until INSTANT,
        count bigint NOT NULL,
        first_seen_at INSTANT NOT NULL,
        last_seen_at INSTANT NOT NULL,
        last_run_id UUID NOT NULL,
        decided_at INSTANT,
        decided_by text,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX finding_key ON finding (organization_id, connection_id, source, key)"#,
    r#"CREATE INDEX finding_connection ON finding (organization_id, connection_id, id)"#,
    r#"CREATE INDEX finding_live ON finding (organization_id, connection_id, source, kind, id)
       WHERE state IN ('OPEN', 'ACCEPTED')"#,
    r#"CREATE INDEX finding_user ON finding (organization_id, user_id) WHERE user_id IS NOT NULL"#,
    r#"CREATE INDEX finding_thing ON finding (organization_id, thing) WHERE thing IS NOT NULL"#,
    // Rows to delete, of all organizations.
    r#"CREATE INDEX finding_finished ON finding (decided_at) WHERE state IN ('RESOLVED', 'GONE')"#,
    // By the time when a row is due, so that one query serves all organizations.
    r#"CREATE INDEX finding_due ON finding (accepted_until) WHERE accepted_until IS NOT NULL
       AND state = 'ACCEPTED'"#,
    // Changes that a person or an API key made to what a connection owns: few rows among many.
    r#"CREATE INDEX event_by_hand ON event (organization_id, connection_id, subject_kind,
       subject_id, pos)
        WHERE actor_kind IN ('PERSON', 'API_KEY') AND connection_id IS NOT NULL"#,
];
