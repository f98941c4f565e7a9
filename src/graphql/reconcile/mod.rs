//! Reconciliation: comparisons with what identity providers say, their findings, and the decisions
//! about these. An export to compare with is uploaded as a file ([`upload`]).

mod finding;
mod run;
pub mod upload;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::{finding as stored, reconciliation as runs};

use super::connection::IdentitySource;
use super::permission::{Permission, needs};
use crate::domain::reconcile;
use crate::domain::reconcile::schedule::Schedule;
use crate::domain::reconcile::{FindingDecision, FindingQuery, IdpView};
use crate::error::{Error, Noun, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

pub use finding::FindingObject;
pub use run::ReconciliationObject;

const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[
        (Noun::Finding, "id"),
        (Noun::User, "id"),
        (Noun::Group, "id"),
        (Noun::Connection, "connectionId"),
    ],
    // An administrator cannot correct what the export says, so the error is about the finding.
    fields: &[("externalId", "id")],
};

/// How rolecall knows what the identity provider says.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "runs::Source")]
pub enum ReconciliationSource {
    /// From an export that an administrator uploaded (`POST /reconciliations`).
    Upload,
    /// From the source that the connection reads.
    Source,
    /// From what it last wrote over SCIM, by the ledger: what was changed in rolecall by hand since
    /// then has drifted.
    LastWrite,
    /// From what it last read over SCIM, by the ledger: it does not know what was changed in
    /// rolecall by hand since then. What it has not read in full in the last 90 days is not
    /// compared. Not for a connection that reads a source.
    LastRead,
    /// From what sign-ins say: each is compared when it happens, so no comparison is started.
    SignIn,
}

/// What is compared.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "runs::Scope")]
pub enum ReconciliationScope {
    /// Accounts only.
    Users,
    /// Memberships of groups only.
    Memberships,
    /// Accounts and memberships.
    Everything,
}

/// How rolecall and the identity provider differ.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Kind")]
pub enum FindingKind {
    /// The identity provider lists a user that has no account of the connection.
    MissingHere,
    /// rolecall has an account that the identity provider does not list.
    OrphanedHere,
    /// Both have the account, with different values.
    Drifted,
    /// A user is a member of a group on one side only.
    Membership,
    /// Two accounts have names that differ only in the width of letters. Rename one of them.
    NameClash,
    /// An account names a manager whose account was deleted.
    ManagerGone,
    /// A sign-in says that a person is in other groups than SCIM says.
    ClaimsDiffer,
}

/// The state of a finding.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum FindingState {
    /// It waits for a decision.
    Open,
    /// An administrator fixed it in rolecall.
    Resolved,
    /// An administrator accepted the difference with a reason, perhaps until an instant.
    Accepted,
    /// A later comparison did not find it any more.
    Gone,
}

/// How an administrator fixed a finding.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Resolution")]
pub enum FindingResolution {
    /// The account was given to the connection.
    Adopted,
    /// The account was suspended.
    Suspended,
    /// The account or the membership was removed.
    Deleted,
}

/// The relation of an account to the connection.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Class")]
pub enum AccountClass {
    /// No connection owns it.
    Local,
    /// The connection owns it, and the identity provider does not list it, or lists it as inactive.
    Unassigned,
    /// The connection owns it, and the identity provider lists it.
    Assigned,
}

/// The decision about a finding.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "FindingDecision")]
pub enum FindingChoice {
    /// Give the account with that user name, which no connection owns, to the connection. Its user
    /// name and e-mail addresses stay as they are. Not for a connection that reads a source.
    Adopt,
    /// Suspend the account of a user that the identity provider does not list, or lists as
    /// inactive. Also needs USER_WRITE.
    Suspend,
    /// Delete the account of a user that the identity provider does not list, or lists as inactive;
    /// or end a membership that exists only in rolecall. Also needs USER_WRITE.
    Delete,
    /// Accept the difference, with a reason and perhaps until an instant.
    Accept,
}

/// Selects findings: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct FindingFilter {
    /// Findings in one of these states.
    states: Option<Vec<FindingState>>,
    /// Findings of one of these kinds.
    kinds: Option<Vec<FindingKind>>,
    /// Findings of the connection with this global id.
    connection_id: Option<ID>,
    /// If true, only findings about leavers: users that are gone or inactive at the identity
    /// provider, and active in rolecall.
    #[graphql(default)]
    leavers_only: bool,
    /// Findings about the account with this global id.
    user_id: Option<ID>,
    /// Findings about a membership in the group with this global id.
    group_id: Option<ID>,
    /// Findings that were last seen at this instant or later.
    seen_since: Option<DateTime<Utc>>,
}

impl FindingFilter {
    /// The filter as the domain takes it; none if nothing can match it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<FindingQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let user = relay::parse_filter_id(NodeKind::User, self.user_id.as_ref());
        let group = relay::parse_filter_id(NodeKind::Group, self.group_id.as_ref());
        let (Some(connection), Some(user), Some(group)) = (connection, user, group) else {
            return Ok(None);
        };
        Ok(Some(FindingQuery {
            states: self.states.unwrap_or_default().into_iter().map(Into::into).collect(),
            kinds: self.kinds.unwrap_or_default().into_iter().map(Into::into).collect(),
            connection,
            leavers: self.leavers_only,
            user,
            group,
            seen_since: self.seen_since,
        }))
    }
}

/// The connection to compare, and what to compare it with.
#[derive(InputObject)]
pub struct ReconciliationStartInput {
    /// The connection's global id.
    connection_id: ID,
    /// How rolecall knows what the identity provider says. An export is uploaded instead: `POST
    /// /reconciliations`.
    #[graphql(default_with = "ReconciliationSource::LastWrite")]
    source: ReconciliationSource,
    /// Only for SOURCE: if true, the source counts as complete, even if many accounts or
    /// memberships are missing in it.
    #[graphql(default)]
    confirm: bool,
}

/// The schedule by which rolecall compares a connection automatically: with the source that it
/// reads, or with what its identity provider last wrote.
#[derive(SimpleObject)]
pub struct ReconciliationSchedule {
    /// Minutes from the beginning of one comparison to that of the next.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    interval_minutes: i32,
    /// When the next comparison begins. If another one is still running then, it begins after that
    /// one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_run_at: DateTime<Utc>,
}

impl From<Schedule> for ReconciliationSchedule {
    fn from(row: Schedule) -> Self {
        Self { interval_minutes: row.interval_minutes, next_run_at: row.next_run_at }
    }
}

/// The schedule of automatic comparisons to set.
#[derive(InputObject)]
pub struct ReconciliationScheduleUpdateInput {
    /// The connection's global id.
    connection_id: ID,
    /// Minutes between two comparisons: 15 minutes to 93 days; null = no automatic comparisons;
    /// left out = it stays as it is.
    interval_minutes: MaybeUndefined<i32>,
}

mutation_payloads! {
    connection_payloads;
    /// The connection with its schedule; null if there were mistakes.
    connection: IdentitySource;
    /// The result of `reconciliationScheduleUpdate`.
    ReconciliationScheduleUpdatePayload,
}

/// The result of `reconciliationStart`.
#[derive(SimpleObject)]
pub struct ReconciliationStartPayload {
    /// The comparison. It has ended, or is RUNNING and continues in the background: always with a
    /// source, otherwise if it takes more than a few seconds. Null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    reconciliation: Option<ReconciliationObject>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The finding, and the decision about it.
#[derive(InputObject)]
pub struct FindingResolveInput {
    /// The finding's global id.
    id: ID,
    /// The decision.
    choice: FindingChoice,
    /// The reason for the decision; required for ACCEPT.
    reason: Option<String>,
    /// Only for ACCEPT: when the acceptance ends. Without it, the acceptance holds until the
    /// difference changes.
    until: Option<DateTime<Utc>>,
}

mutation_payloads! {
    finding_payloads;
    /// The finding after the decision; null if there were mistakes.
    finding: FindingObject;
    /// The result of `findingResolve`.
    FindingResolvePayload,
}

#[derive(Default)]
pub struct ReconciliationMutation;

#[Object]
impl ReconciliationMutation {
    /// Compares a connection with what its identity provider last wrote or read, or with the source
    /// that it reads. In the first two cases, what was changed in rolecall by hand since then has
    /// drifted, and the ledger says who changed it; a comparison that takes long is returned as
    /// RUNNING, and continues. In the last case a dry run reads the whole source, and changes
    /// nothing; `syncCancel` ends it.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn reconciliation_start(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to compare with.")] input: ReconciliationStartInput,
    ) -> Result<Option<ReconciliationStartPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let id = relay::parse_input_id(
                NodeKind::IdentitySource,
                &input.connection_id,
                Noun::Connection,
            )?;
            match input.source {
                ReconciliationSource::Source => {
                    reconcile::source::start_source_comparison(cx, id, input.confirm).await
                }
                _ if input.confirm => {
                    reconcile::run::check_comparable(cx, id).await?;
                    Err(Error::invalid("confirm", "is only for a comparison with a source"))
                }
                ReconciliationSource::LastWrite => {
                    reconcile::run::start_comparison(cx, id, IdpView::Written).await
                }
                ReconciliationSource::LastRead => {
                    reconcile::run::start_comparison(cx, id, IdpView::Read).await
                }
                ReconciliationSource::SignIn => {
                    reconcile::run::check_comparable(cx, id).await?;
                    Err(Error::invalid("source", "each sign-in is compared when it happens"))
                }
                ReconciliationSource::Upload => {
                    reconcile::run::check_comparable(cx, id).await?;
                    Err(Error::invalid(
                        "source",
                        "send the export itself: POST /reconciliations?connection=…",
                    ))
                }
            }
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(ReconciliationStartPayload { reconciliation: done.map(Into::into), user_errors }))
    }

    /// Sets how often rolecall compares a connection automatically, like `reconciliationStart`: a
    /// connection that reads a source with that source, any other with what its identity provider
    /// last wrote.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn reconciliation_schedule_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection, and how often.")]
        input: ReconciliationScheduleUpdateInput,
    ) -> Result<Option<ReconciliationScheduleUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let id = relay::parse_input_id(
                NodeKind::IdentitySource,
                &input.connection_id,
                Noun::Connection,
            )?;
            reconcile::schedule::set_schedule(cx, id, input.interval_minutes.into()).await
        };
        ReconciliationScheduleUpdatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Carries out a decision about a finding, in one transaction with the change of the account.
    /// Protected accounts and the last holder of a management role are never changed.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn finding_resolve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which finding, and the decision.")] input: FindingResolveInput,
    ) -> Result<Option<FindingResolvePayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::Finding, &input.id, Noun::Finding);
        let done = async {
            reconcile::check_permitted(cx, input.choice.into())?;
            reconcile::resolve_finding(
                cx,
                id?,
                input.choice.into(),
                input.reason.as_deref(),
                input.until,
            )
            .await
        };
        FindingResolvePayload::from_result(done.await, FIELD_MAP)
    }
}
