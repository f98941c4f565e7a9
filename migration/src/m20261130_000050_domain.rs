//! The domains of organizations, one row each, in place of a JSON list: each is asserted by an
//! administrator, or proven by a record in the DNS. And whether provisioning was released to an
//! organization.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: [&str; 4] = [
    "CREATE TABLE organization_domain (
        organization_id UUID NOT NULL REFERENCES organization (id),
        id UUID NOT NULL,
        name KEY NOT NULL,
        state text NOT NULL,
        challenge text NOT NULL,
        proven_name KEY,
        created_at INSTANT NOT NULL,
        proven_at INSTANT,
        lost_at INSTANT,
        checked_at INSTANT,
        check_error text,
        next_check_at INSTANT,
        PRIMARY KEY (organization_id, id)
    )",
    "CREATE UNIQUE INDEX organization_domain_name ON organization_domain (organization_id, name)",
    // Over all organizations: one domain is proven for one of them.
    "CREATE UNIQUE INDEX organization_domain_proven ON organization_domain (proven_name)
     WHERE proven_name IS NOT NULL",
    "CREATE INDEX organization_domain_due ON organization_domain (next_check_at)
     WHERE next_check_at IS NOT NULL",
];

/// The ids and the challenges are random.
const MOVE_ON_SQLITE: &str = "INSERT INTO organization_domain
    (organization_id, id, name, state, challenge, created_at)
    SELECT o.id, randomblob(16), d.value, 'ASSERTED', lower(hex(randomblob(16))), o.created_at
    FROM organization o, json_each(o.verified_domains) d GROUP BY o.id, d.value";
const MOVE_ON_POSTGRES: &str = "INSERT INTO organization_domain
    (organization_id, id, name, state, challenge, created_at)
    SELECT o.id, gen_random_uuid(), d.value, 'ASSERTED',
        replace(CAST(gen_random_uuid() AS text), '-', ''), o.created_at
    FROM organization o, jsonb_array_elements_text(o.verified_domains) d (value)
    GROUP BY o.id, d.value";

const ORGANIZATION: [&str; 2] = [
    "ALTER TABLE organization DROP COLUMN verified_domains",
    "ALTER TABLE organization ADD COLUMN provisioning_released boolean NOT NULL DEFAULT TRUE",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let moved = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => MOVE_ON_POSTGRES,
            _ => MOVE_ON_SQLITE,
        };
        crate::run(manager, &TABLE).await?;
        crate::run(manager, &[moved]).await?;
        crate::run(manager, &ORGANIZATION).await
    }
}
