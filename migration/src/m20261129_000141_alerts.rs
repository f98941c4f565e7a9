//! Alerts: which rules an organization has, what is wrong now, who gets mail about it, and what was
//! checked when.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 9] = [
    // Only what differs from the defaults.
    r#"CREATE TABLE alert_rule (
        organization_id UUID NOT NULL,
        kind text NOT NULL,
        enabled boolean NOT NULL,
        by_mail boolean NOT NULL,
        threshold bigint,
        updated_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, kind))"#,
    r#"CREATE TABLE alert (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        kind text NOT NULL,
        subject KEY NOT NULL,
        connection_id UUID,
        urgency text NOT NULL,
        message text NOT NULL,
        next_step text NOT NULL,
        count bigint NOT NULL,
        stage bigint NOT NULL,
        raised_at INSTANT NOT NULL,
        resolved_at INSTANT,
        mail_due_at INSTANT,
        end_due_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX alert_subject ON alert (organization_id, kind, subject)"#,
    r#"CREATE INDEX alert_open ON alert (organization_id) WHERE resolved_at IS NULL"#,
    r#"CREATE INDEX alert_resolved ON alert (resolved_at) WHERE resolved_at IS NOT NULL"#,
    r#"CREATE TABLE mail_recipient (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        address text NOT NULL,
        address_key KEY NOT NULL,
        name text NOT NULL,
        created_at INSTANT NOT NULL,
        mailed_until INSTANT NOT NULL,
        mailed_at INSTANT,
        test_due_at INSTANT,
        attempts bigint NOT NULL,
        first_failed_at INSTANT,
        last_error text,
        next_attempt_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX mail_recipient_address ON mail_recipient
       (organization_id, address_key)"#,
    r#"CREATE TABLE alert_check (
        organization_id UUID NOT NULL PRIMARY KEY,
        evaluated_at INSTANT NOT NULL,
        ledger_checked_at INSTANT,
        ledger_seq bigint,
        ledger_hash BYTES,
        ledger_fault text)"#,
    r#"CREATE INDEX alert_check_age ON alert_check (evaluated_at)"#,
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &STATEMENTS).await
    }
}
