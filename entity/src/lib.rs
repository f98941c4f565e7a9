//! One SeaORM model a table, no logic. The module of a table describes its purpose; `domain` holds
//! the rules about it.

pub mod access_cursor;
pub mod access_preview;
pub mod access_preview_part;
pub mod activation;
pub mod adoption_proposal;
pub mod alert;
pub mod alert_check;
pub mod alert_rule;
pub mod api_key;
pub mod assertion_source;
pub mod async_request;
pub mod bulk_job;
pub mod bulk_line;
pub mod claimed_group;
pub mod connection;
pub mod connection_health;
pub mod console_link;
pub mod deletion_job;
pub mod delivery;
pub mod destination;
pub mod directory_lookup;
pub mod erased_name;
pub mod event;
pub mod event_stream;
pub mod failure;
pub mod finding;
pub mod group;
pub mod group_nesting;
pub mod idempotency;
pub mod instance;
pub mod invitation;
pub mod last_read;
pub mod lease;
pub mod ledger_head;
pub mod mail_recipient;
pub mod membership;
pub mod metadata_refresh;
pub mod notes;
pub mod organization;
pub mod organization_domain;
pub mod provider_session;
pub mod pull_source;
pub mod pulled;
pub mod reconciliation;
pub mod reconciliation_schedule;
pub mod request_log;
pub mod revocation_confirmation;
pub mod role;
pub mod role_grant;
pub mod role_mapping;
pub mod schema_extension;
pub mod scim_token;
pub mod setup_link;
pub mod setup_session;
pub mod sign_in;
pub mod sign_in_code;
pub mod signing_key;
pub mod stream_subject;
pub mod sync_run;
pub mod tally;
pub mod task;
pub mod task_lease;
pub mod used_assertion;
pub mod user;
pub mod user_email;

use notes::{TableNotes, WITHOUT_MODEL};
use sea_orm::EntityTrait;

/// A table whose rows belong to an organization: every query on it names one.
pub trait Scoped: EntityTrait {
    /// The column that holds the organization.
    const ORGANIZATION: Self::Column;
    /// The column that identifies a row within it.
    const ID: Self::Column;
}

/// Declares the tables that have a model: each with the column that identifies a row within its
/// organization, unless its rows belong to none.
macro_rules! tables {
    ($($table:ident $(. $id:ident)?),* $(,)?) => {
        $($(
            impl Scoped for $table::Entity {
                const ORGANIZATION: $table::Column = $table::Column::OrganizationId;
                const ID: $table::Column = $table::Column::$id;
            }
        )?)*

        const WITH_MODEL: &[TableNotes] = &[$($table::NOTES,)*];
    };
}

tables!(
    access_cursor.OrganizationId,
    access_preview.Id,
    access_preview_part.PreviewId,
    activation.Id,
    adoption_proposal.Id,
    alert.Id,
    alert_check.OrganizationId,
    alert_rule.Kind,
    api_key.Id,
    assertion_source.ConnectionId,
    async_request.Id,
    bulk_job.Id,
    bulk_line.JobId,
    claimed_group.Key,
    connection.Id,
    connection_health.ConnectionId,
    console_link.Id,
    deletion_job.Id,
    delivery.Id,
    destination.Id,
    directory_lookup.ConnectionId,
    erased_name.NameKey,
    event.Id,
    event_stream.DestinationId,
    failure.Id,
    finding.Id,
    group.Id,
    group_nesting.Id,
    idempotency.Name,
    instance,
    invitation.Id,
    last_read.SubjectId,
    lease,
    ledger_head.OrganizationId,
    mail_recipient.Id,
    membership.Id,
    metadata_refresh.ConnectionId,
    organization,
    organization_domain.Id,
    provider_session.LinkId,
    pull_source.ConnectionId,
    pulled.ResourceId,
    reconciliation.Id,
    reconciliation_schedule.ConnectionId,
    request_log.Id,
    revocation_confirmation.EventId,
    role.Id,
    role_grant.Id,
    role_mapping.Id,
    schema_extension.Id,
    scim_token.Id,
    setup_link.Id,
    setup_session.Id,
    sign_in.SubjectKey,
    sign_in_code.Hash,
    signing_key,
    stream_subject.SubjectId,
    sync_run.Id,
    tally,
    task,
    task_lease,
    used_assertion.IdHash,
    user.Id,
    user_email.UserId,
);

/// What is said of each table.
pub fn all_tables() -> impl Iterator<Item = &'static TableNotes> {
    WITH_MODEL.iter().chain(WITHOUT_MODEL)
}
