//! Streams of security event tokens: what a destination of that kind has beyond the others, and
//! the subjects that a receiver does not want to hear of.

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
    r#"CREATE TABLE event_stream (
        organization_id UUID NOT NULL,
        destination_id UUID NOT NULL,
        audience text NOT NULL,
        events_requested JSON,
        subject_format text NOT NULL,
        signing_algorithm text NOT NULL,
        signing_keys JSON NOT NULL,
        push_authorization BYTES,
        verified_at INSTANT,
        notice text,
        notice_reason text,
        notice_id UUID,
        notice_at INSTANT,
        notice_tries integer NOT NULL,
        PRIMARY KEY (organization_id, destination_id))"#,
    // What the servers look for: whose receiver is to be told of a new state. Few rows.
    r#"CREATE INDEX event_stream_notice ON event_stream (organization_id)
       WHERE notice IS NOT NULL"#,
    r#"CREATE TABLE stream_subject (
        organization_id UUID NOT NULL,
        destination_id UUID NOT NULL,
        subject_id UUID NOT NULL,
        removed_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, destination_id, subject_id))"#,
    // Of a stream that is polled: which tokens of the event were handed out, and which of them
    // acknowledged.
    r#"ALTER TABLE delivery ADD COLUMN acknowledged JSON"#,
];
