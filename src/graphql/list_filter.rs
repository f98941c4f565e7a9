//! The filters of lists whose rows have no filter in a file of their own. Each translates into a
//! query of the domain; none where nothing can match it.

use async_graphql::{ID, InputObject};
use chrono::{DateTime, Utc};

use super::connection::{ConnectionKind, ConnectionState, Provider};
use super::job::JobState;
use super::list_states::{AdoptionProposalState, SetupLinkState};
use super::reconcile::ReconciliationSource;
use super::sync::SyncMode;
use super::user_filter::UserFilter;
use crate::domain::access::api_key::KeyQuery;
use crate::domain::access::role::RoleQuery;
use crate::domain::access::role_grant::GrantFilter;
use crate::domain::access::role_mapping::MappingQuery;
use crate::domain::bulk;
use crate::domain::connection::ConnectionQuery;
use crate::domain::connection::setup_link::SetupLinkQuery;
use crate::domain::directory::adoption::ProposalQuery;
use crate::domain::directory::deletion::{DeletedQuery, DeletionQuery};
use crate::domain::reconcile::ReconciliationQuery;
use crate::domain::sync::RunQuery;
use crate::error::{Error, Result};
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// The values of a list in a filter, as the domain takes them; no list = any value.
fn each_into<A: Into<B>, B>(list: Option<Vec<A>>) -> Vec<B> {
    list.unwrap_or_default().into_iter().map(Into::into).collect()
}

/// Selects connections: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct IdentitySourceFilter {
    /// Connections whose name contains this; the letters A to Z in any case.
    search: Option<String>,
    /// Connections of one of these kinds.
    kinds: Option<Vec<ConnectionKind>>,
    /// Connections of one of these identity providers.
    providers: Option<Vec<Provider>>,
    /// Connections in one of these states.
    states: Option<Vec<ConnectionState>>,
}

impl IdentitySourceFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a search that is empty or too long.
    pub fn into_domain_query(self) -> Result<Option<ConnectionQuery>> {
        Ok(Some(ConnectionQuery {
            search: relay::check_filter_text("search", self.search)?,
            kinds: each_into(self.kinds),
            providers: each_into(self.providers),
            statuses: each_into(self.states),
        }))
    }
}

/// Selects deleted accounts: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct DeletedUserFilter {
    /// Accounts whose user name or display name contains this, regardless of case.
    search: Option<String>,
    /// Accounts that the connection with this global id owned. Needs IAM_READ, like the connection
    /// itself.
    connection_id: Option<ID>,
    /// Accounts that were deleted at this instant or later.
    deleted_since: Option<DateTime<Utc>>,
    /// Accounts that were deleted before this instant.
    deleted_until: Option<DateTime<Utc>>,
}

impl DeletedUserFilter {
    /// Whether it is about the connection, which takes a permission of its own.
    pub fn names_connection(&self) -> bool {
        self.connection_id.is_some()
    }

    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a search that is empty or too long.
    pub fn into_domain_query(self) -> Result<Option<DeletedQuery>> {
        deleted_query(self.search, self.connection_id, self.deleted_since, self.deleted_until)
    }
}

/// Selects deleted groups: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct DeletedGroupFilter {
    /// Groups whose display name contains this, regardless of case.
    search: Option<String>,
    /// Groups that the connection with this global id owned.
    connection_id: Option<ID>,
    /// Groups that were deleted at this instant or later.
    deleted_since: Option<DateTime<Utc>>,
    /// Groups that were deleted before this instant.
    deleted_until: Option<DateTime<Utc>>,
}

impl DeletedGroupFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a search that is empty or too long.
    pub fn into_domain_query(self) -> Result<Option<DeletedQuery>> {
        deleted_query(self.search, self.connection_id, self.deleted_since, self.deleted_until)
    }
}

fn deleted_query(
    search: Option<String>,
    connection_id: Option<ID>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<Option<DeletedQuery>> {
    let search = relay::check_filter_text("search", search)?;
    let connection = relay::parse_filter_id(NodeKind::IdentitySource, connection_id.as_ref());
    Ok(connection.map(|connection| DeletedQuery { search, connection, since, until }))
}

/// Selects roles: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct RoleFilter {
    /// Roles with these global ids, at most 100.
    ids: Option<Vec<ID>>,
    /// Roles whose name contains this, regardless of case.
    search: Option<String>,
    /// Roles with exactly this permission of the application.
    permission: Option<String>,
    /// Roles that manage the application (true) or all others (false).
    management: Option<bool>,
}

impl RoleFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is empty or too long, and for too many ids.
    pub fn into_domain_query(self) -> Result<Option<RoleQuery>> {
        Ok(Some(RoleQuery {
            search: relay::check_filter_text("search", self.search)?,
            permission: relay::check_filter_text("permission", self.permission)?,
            management: self.management,
            ids: relay::parse_filter_ids(NodeKind::Role, self.ids.as_deref())?,
        }))
    }
}

/// Selects role mappings: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct RoleMappingFilter {
    /// Mappings to the role with this global id.
    role_id: Option<ID>,
    /// Mappings of the group with this global id.
    group_id: Option<ID>,
    /// Mappings that wait for a group of the connection with this global id, or that are for all of
    /// its users.
    connection_id: Option<ID>,
    /// Mappings with a planned end before this instant.
    expires_before: Option<DateTime<Utc>>,
    /// Removed mappings too, which can be restored.
    #[graphql(default)]
    include_removed: bool,
}

impl RoleMappingFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<MappingQuery>> {
        let role = relay::parse_filter_id(NodeKind::Role, self.role_id.as_ref());
        let group = relay::parse_filter_id(NodeKind::Group, self.group_id.as_ref());
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let (Some(role), Some(group), Some(connection)) = (role, group, connection) else {
            return Ok(None);
        };
        let (removed, expires_before) = (self.include_removed, self.expires_before);
        Ok(Some(MappingQuery { removed, role, group, connection, expires_before }))
    }
}

/// Selects role grants: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct RoleGrantFilter {
    /// Grants to the account with this global id.
    user_id: Option<ID>,
    /// Grants of the role with this global id.
    role_id: Option<ID>,
    /// Grants with a planned end before this instant.
    expires_before: Option<DateTime<Utc>>,
    /// Ended grants too.
    #[graphql(default)]
    include_ended: bool,
}

impl RoleGrantFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<GrantFilter>> {
        let user = relay::parse_filter_id(NodeKind::User, self.user_id.as_ref());
        let role = relay::parse_filter_id(NodeKind::Role, self.role_id.as_ref());
        let (Some(user), Some(role)) = (user, role) else { return Ok(None) };
        let (ended, expires_before) = (self.include_ended, self.expires_before);
        Ok(Some(GrantFilter { user, role, ended, expires_before }))
    }
}

/// Selects entries of the access report: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct AccessReportEntryFilter {
    /// The report as it was at this instant, up to `settledUntil`; left out = now.
    pub as_of: Option<DateTime<Utc>>,
    /// Accounts that hold the role with this global id.
    pub role_id: Option<ID>,
}

/// Selects holders of a role: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct RoleHolderFilter {
    /// Those who held it at this instant; left out = now. Not together with `user`, which is about
    /// now.
    pub as_of: Option<DateTime<Utc>>,
    /// Only accounts that match every field of this.
    pub user: Option<UserFilter>,
}

/// Selects leavers: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct LeaverFilter {
    /// Those who left at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Those who left before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// Selects adoption proposals: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct AdoptionProposalFilter {
    /// Proposals in one of these states.
    states: Option<Vec<AdoptionProposalState>>,
    /// Proposals of the connection with this global id.
    connection_id: Option<ID>,
    /// Proposals about the account with this global id.
    user_id: Option<ID>,
}

impl AdoptionProposalFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<ProposalQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let user = relay::parse_filter_id(NodeKind::User, self.user_id.as_ref());
        let (Some(connection), Some(user)) = (connection, user) else { return Ok(None) };
        Ok(Some(ProposalQuery { states: each_into(self.states), connection, user }))
    }
}

/// Selects bulk jobs: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct BulkJobFilter {
    /// Jobs in one of these states.
    states: Option<Vec<JobState>>,
}

impl BulkJobFilter {
    /// The states as the domain takes them, empty = any; none where nothing can match.
    pub fn into_domain_states(self) -> Option<Vec<bulk::State>> {
        JobState::to_stored_states(self.states, JobState::to_bulk_state)
    }
}

/// Selects deletions of all provisioned users: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct DeletionJobFilter {
    /// Deletions of the accounts of the connection with this global id.
    connection_id: Option<ID>,
    /// Deletions in one of these states.
    states: Option<Vec<JobState>>,
}

impl DeletionJobFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<DeletionQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let states = JobState::to_stored_states(self.states, JobState::to_deletion_state);
        let (Some(connection), Some(states)) = (connection, states) else { return Ok(None) };
        Ok(Some(DeletionQuery { connection, states }))
    }
}

/// Selects sync runs: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct SyncRunFilter {
    /// Runs of the connection with this global id.
    connection_id: Option<ID>,
    /// Runs in one of these states.
    states: Option<Vec<JobState>>,
    /// Runs of one of these modes.
    modes: Option<Vec<SyncMode>>,
    /// Runs that were asked for at this instant or later.
    since: Option<DateTime<Utc>>,
    /// Runs that were asked for before this instant.
    until: Option<DateTime<Utc>>,
}

impl SyncRunFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<RunQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let states = JobState::to_stored_states(self.states, JobState::to_sync_state);
        let (Some(connection), Some(states)) = (connection, states) else { return Ok(None) };
        Ok(Some(RunQuery {
            connection,
            states,
            modes: each_into(self.modes),
            since: self.since,
            until: self.until,
        }))
    }
}

/// Selects reconciliations: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct ReconciliationFilter {
    /// Reconciliations of the connection with this global id.
    connection_id: Option<ID>,
    /// Reconciliations in one of these states.
    states: Option<Vec<JobState>>,
    /// Reconciliations with one of these sources.
    sources: Option<Vec<ReconciliationSource>>,
}

impl ReconciliationFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<ReconciliationQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let states = JobState::to_stored_states(self.states, JobState::to_comparison_state);
        let (Some(connection), Some(states)) = (connection, states) else { return Ok(None) };
        let sources = each_into(self.sources);
        Ok(Some(ReconciliationQuery { connection, states, sources }))
    }
}

/// Selects setup links: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct SetupLinkFilter {
    /// Links of the connection with this global id.
    connection_id: Option<ID>,
    /// Links in one of these states.
    states: Option<Vec<SetupLinkState>>,
}

impl SetupLinkFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<SetupLinkQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let states = each_into(self.states);
        Ok(connection.map(|connection| SetupLinkQuery { connection, states }))
    }
}

/// Selects API keys: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct ApiKeyFilter {
    /// Keys whose name contains this; the letters A to Z in any case.
    search: Option<String>,
    /// Keys that can be used now (true), or that have expired or were revoked (false).
    live: Option<bool>,
    /// Keys that belong to the account with this global id.
    owner_user_id: Option<ID>,
    /// Keys that expire before this instant.
    expires_before: Option<DateTime<Utc>>,
}

impl ApiKeyFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a search that is empty or too long.
    pub fn into_domain_query(self) -> Result<Option<KeyQuery>> {
        let search = relay::check_filter_text("search", self.search)?;
        let owner = relay::parse_filter_id(NodeKind::User, self.owner_user_id.as_ref());
        let (valid, expires_before) = (self.live, self.expires_before);
        Ok(owner.map(|owner| KeyQuery { search, valid, owner, expires_before }))
    }
}

/// Refuses a filter of accounts, which is about now, together with an earlier instant.
///
/// # Errors
/// [`Error::Invalid`]
pub fn refuse_as_of(as_of: Option<DateTime<Utc>>) -> Result<()> {
    match as_of {
        None => Ok(()),
        Some(_) => Err(Error::invalid(
            "asOf",
            "is not possible together with a filter or an order of accounts, which is about now",
        )),
    }
}
