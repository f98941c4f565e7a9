//! Organizations, connections and their credentials; users, groups, memberships; roles, mappings,
//! grants; the ledger. Partial unique indexes ensure uniqueness among live rows, never a query
//! before the write.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, STATEMENTS).await?;
        if manager.get_database_backend() == sea_orm::DbBackend::Postgres {
            crate::run(manager, POSTGRES).await?;
        }
        Ok(())
    }
}

const STATEMENTS: &[&str] = &[
    r#"CREATE TABLE instance (
        id integer NOT NULL PRIMARY KEY CHECK (id = 1),
        master_key_fingerprint text NOT NULL,
        signing_key BYTES NOT NULL,
        created_at INSTANT NOT NULL)"#,
    r#"CREATE TABLE organization (
        id UUID NOT NULL PRIMARY KEY,
        slug KEY NOT NULL UNIQUE,
        name text NOT NULL,
        data_key BYTES NOT NULL,
        scim_enabled boolean NOT NULL,
        integration_mode text NOT NULL,
        schema_version bigint NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL)"#,
    r#"CREATE TABLE ledger_head (
        organization_id UUID NOT NULL PRIMARY KEY REFERENCES organization (id),
        seq bigint NOT NULL,
        hash BYTES NOT NULL)"#,
    r#"CREATE TABLE connection (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        provider text NOT NULL,
        status text NOT NULL,
        deletion_policy text NOT NULL,
        revival_days integer NOT NULL,
        credentials BYTES,
        last_contact_at INSTANT,
        version bigint NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL,
        deleted_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX connection_name_live ON connection (organization_id, name)
       WHERE deleted_at IS NULL"#,
    r#"CREATE TABLE scim_token (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID NOT NULL,
        hash BYTES NOT NULL,
        last_four text NOT NULL,
        scopes JSON NOT NULL,
        created_at INSTANT NOT NULL,
        expires_at INSTANT,
        retires_at INSTANT,
        revoked_at INSTANT,
        last_used_at INSTANT,
        last_used_from text,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX scim_token_hash ON scim_token (hash)"#,
    r#"CREATE INDEX scim_token_connection ON scim_token (organization_id, connection_id, id)"#,
    r#"CREATE TABLE api_key (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        name text NOT NULL,
        hash BYTES NOT NULL,
        last_four text NOT NULL,
        permissions JSON NOT NULL,
        created_at INSTANT NOT NULL,
        expires_at INSTANT,
        revoked_at INSTANT,
        last_used_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX api_key_hash ON api_key (hash)"#,
    r#"CREATE TABLE "user" (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID,
        external_id KEY,
        user_name text NOT NULL,
        user_name_key KEY NOT NULL,
        display_name text,
        display_name_key KEY,
        active boolean NOT NULL,
        protected boolean NOT NULL,
        document text NOT NULL,
        search JSON NOT NULL,
        version bigint NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL,
        deleted_at INSTANT,
        purge_after INSTANT,
        purged_at INSTANT,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX user_name_live ON "user" (organization_id, user_name_key)
       WHERE deleted_at IS NULL"#,
    r#"CREATE UNIQUE INDEX user_external_live ON "user" (organization_id, connection_id,
       external_id)
        WHERE deleted_at IS NULL AND external_id IS NOT NULL"#,
    r#"CREATE INDEX user_external_deleted ON "user" (organization_id, connection_id, external_id)
        WHERE deleted_at IS NOT NULL AND external_id IS NOT NULL"#,
    r#"CREATE INDEX user_connection_live ON "user" (organization_id, connection_id, id)
       WHERE deleted_at IS NULL"#,
    r#"CREATE INDEX user_display_name_live ON "user" (organization_id, display_name_key, id)
       WHERE deleted_at IS NULL"#,
    r#"CREATE INDEX user_updated_live ON "user" (organization_id, updated_at, id)
       WHERE deleted_at IS NULL"#,
    r#"CREATE INDEX user_inactive_live ON "user" (organization_id, id) WHERE deleted_at IS NULL
       AND active = FALSE"#,
    r#"CREATE INDEX user_protected ON "user" (organization_id, id) WHERE protected = TRUE"#,
    r#"CREATE INDEX user_purge_due ON "user" (purge_after) WHERE purge_after IS NOT NULL"#,
    r#"CREATE TABLE user_email (
        organization_id UUID NOT NULL,
        value_key KEY NOT NULL,
        user_id UUID NOT NULL,
        PRIMARY KEY (organization_id, value_key, user_id))"#,
    r#"CREATE INDEX user_email_user ON user_email (organization_id, user_id)"#,
    r#"CREATE TABLE "group" (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        connection_id UUID,
        external_id KEY,
        display_name text NOT NULL,
        display_name_key KEY NOT NULL,
        document text NOT NULL,
        search JSON NOT NULL,
        version bigint NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL,
        deleted_at INSTANT,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, connection_id) REFERENCES connection (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX group_external_live ON "group" (organization_id, connection_id,
       external_id)
        WHERE deleted_at IS NULL AND external_id IS NOT NULL"#,
    r#"CREATE INDEX group_connection_live ON "group" (organization_id, connection_id, id)
       WHERE deleted_at IS NULL"#,
    r#"CREATE INDEX group_display_name_live ON "group" (organization_id, display_name_key, id)
       WHERE deleted_at IS NULL"#,
    r#"CREATE INDEX group_updated_live ON "group" (organization_id, updated_at, id)
       WHERE deleted_at IS NULL"#,
    r#"CREATE TABLE membership (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        group_id UUID NOT NULL,
        user_id UUID NOT NULL,
        since INSTANT NOT NULL,
        until INSTANT,
        opened_by UUID NOT NULL,
        closed_by UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, group_id) REFERENCES "group" (organization_id, id),
        FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX membership_live ON membership (organization_id, group_id, user_id)
       WHERE until IS NULL"#,
    r#"CREATE INDEX membership_user_live ON membership (organization_id, user_id, group_id)
       WHERE until IS NULL"#,
    r#"CREATE TABLE group_nesting (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        group_id UUID NOT NULL,
        member_id UUID NOT NULL,
        since INSTANT NOT NULL,
        until INSTANT,
        opened_by UUID NOT NULL,
        closed_by UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, group_id) REFERENCES "group" (organization_id, id),
        FOREIGN KEY (organization_id, member_id) REFERENCES "group" (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX group_nesting_live ON group_nesting (organization_id, group_id,
       member_id) WHERE until IS NULL"#,
    r#"CREATE INDEX group_nesting_member_live ON group_nesting (organization_id, member_id,
       group_id) WHERE until IS NULL"#,
    r#"CREATE TABLE activation (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        user_id UUID NOT NULL,
        since INSTANT NOT NULL,
        until INSTANT,
        opened_by UUID NOT NULL,
        closed_by UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX activation_live ON activation (organization_id, user_id)
       WHERE until IS NULL"#,
    r#"CREATE TABLE schema_extension (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        urn text NOT NULL,
        urn_key KEY NOT NULL,
        resource_type text NOT NULL,
        name text NOT NULL,
        description text NOT NULL,
        attributes JSON NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX schema_extension_urn ON schema_extension (organization_id, urn_key)"#,
    r#"CREATE TABLE role (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        name text NOT NULL,
        name_key KEY NOT NULL,
        description text,
        permissions JSON NOT NULL,
        priority integer,
        management boolean NOT NULL,
        version bigint NOT NULL,
        created_at INSTANT NOT NULL,
        updated_at INSTANT NOT NULL,
        deleted_at INSTANT,
        PRIMARY KEY (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX role_name_live ON role (organization_id, name_key)
       WHERE deleted_at IS NULL"#,
    r#"CREATE UNIQUE INDEX role_priority_live ON role (organization_id, priority)
        WHERE deleted_at IS NULL AND priority IS NOT NULL"#,
    r#"CREATE TABLE role_mapping (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        mapping_id UUID NOT NULL,
        group_id UUID,
        connection_id UUID,
        match_attribute text,
        match_value KEY,
        role_id UUID NOT NULL,
        reason text,
        expires_at INSTANT,
        since INSTANT NOT NULL,
        until INSTANT,
        opened_by UUID NOT NULL,
        closed_by UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, group_id) REFERENCES "group" (organization_id, id),
        FOREIGN KEY (organization_id, role_id) REFERENCES role (organization_id, id),
        CHECK (group_id IS NOT NULL OR (connection_id IS NOT NULL AND match_attribute IS NOT NULL
        AND match_value IS NOT NULL)))"#,
    r#"CREATE UNIQUE INDEX role_mapping_live ON role_mapping (organization_id, mapping_id)
       WHERE until IS NULL"#,
    r#"CREATE UNIQUE INDEX role_mapping_pair_live ON role_mapping (organization_id, group_id,
       role_id)
        WHERE until IS NULL AND group_id IS NOT NULL"#,
    r#"CREATE UNIQUE INDEX role_mapping_waiting_live ON role_mapping
        (organization_id, connection_id, match_attribute, match_value, role_id)
        WHERE until IS NULL AND group_id IS NULL"#,
    r#"CREATE INDEX role_mapping_role_live ON role_mapping (organization_id, role_id)
       WHERE until IS NULL"#,
    r#"CREATE INDEX role_mapping_history ON role_mapping (organization_id, mapping_id, since)"#,
    r#"CREATE TABLE role_grant (
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        user_id UUID NOT NULL,
        role_id UUID NOT NULL,
        reason text,
        expires_at INSTANT,
        since INSTANT NOT NULL,
        until INSTANT,
        opened_by UUID NOT NULL,
        closed_by UUID,
        PRIMARY KEY (organization_id, id),
        FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id),
        FOREIGN KEY (organization_id, role_id) REFERENCES role (organization_id, id))"#,
    r#"CREATE UNIQUE INDEX role_grant_live ON role_grant (organization_id, user_id, role_id)
       WHERE until IS NULL"#,
    r#"CREATE INDEX role_grant_role_live ON role_grant (organization_id, role_id)
       WHERE until IS NULL"#,
    r#"CREATE TABLE event (
        pos SERIAL,
        organization_id UUID NOT NULL,
        id UUID NOT NULL,
        seq bigint,
        at INSTANT NOT NULL,
        requested_at INSTANT NOT NULL,
        actor_kind text NOT NULL,
        actor_id text,
        actor_name text NOT NULL,
        action text NOT NULL,
        subject_kind text NOT NULL,
        subject_id UUID NOT NULL,
        connection_id UUID,
        request_id UUID NOT NULL,
        payload text,
        salt BYTES,
        digest BYTES NOT NULL,
        population bigint NOT NULL,
        hash BYTES)"#,
    r#"CREATE TABLE tally (
        organization_id UUID NOT NULL REFERENCES organization (id),
        connection_id UUID NOT NULL,
        kind text NOT NULL,
        n bigint NOT NULL,
        PRIMARY KEY (organization_id, connection_id, kind))"#,
    r#"CREATE UNIQUE INDEX event_id ON event (organization_id, id)"#,
    r#"CREATE INDEX event_subject ON event (organization_id, subject_id, pos)"#,
    r#"CREATE UNIQUE INDEX event_seq ON event (organization_id, seq) WHERE seq IS NOT NULL"#,
    r#"CREATE INDEX event_unsealed ON event (organization_id, pos) WHERE seq IS NULL"#,
];

/// A user's row has a little over 2 kB with its search document. Compression costs more time than
/// the space is worth.
const POSTGRES: &[&str] = &[
    r#"ALTER TABLE "user" SET (toast_tuple_target = 8160)"#,
    r#"ALTER TABLE "group" SET (toast_tuple_target = 8160)"#,
];
