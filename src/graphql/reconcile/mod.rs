//! Reconciliation: comparisons with what identity providers say, what they found, and what people do about it. An export
//! to compare with comes as a file ([`upload`]).

mod finding;
mod run;
pub mod upload;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::{finding as stored, reconciliation as runs};

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::page::{self, Blame, Kind, UserError};
use crate::domain::reconcile::schedule::Schedule;
use crate::domain::reconcile::{self, Choice, Knowledge, Which};
use crate::error::{Error, Result};

pub use finding::Finding;
pub use run::Reconciliation;

const BLAME: Blame = &[
    ("the finding", "id"),
    ("the user", "id"),
    ("the group", "id"),
    ("the connection", "connectionId"),
    // What the export says of an account is not the decider's to correct: the whole finding is to blame.
    ("externalId", "id"),
];

/// From where it is known what the identity provider says.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "runs::Source")]
pub enum ReconciliationSource {
    /// An export that somebody uploaded (`POST /reconciliations`).
    Upload,
    /// The source that the connection reads.
    Source,
    /// What it wrote last over SCIM, as the ledger tells: what somebody changed here since has drifted.
    LastWrite,
    /// What it read last over SCIM, as the ledger tells: what somebody changed here since, it does not know of. What it has
    /// not read in full in the last 90 days is not compared. Not for a connection that reads a source.
    LastRead,
}

/// What is compared.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "runs::Scope")]
pub enum ReconciliationScope {
    /// Accounts.
    Users,
    /// Who is in which group.
    Memberships,
    /// Both.
    Everything,
}

/// How a comparison went.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "runs::State")]
pub enum ReconciliationState {
    /// It is being carried out.
    Running,
    /// It came to its end.
    Succeeded,
    /// The export or the source is not believed; nothing was compared, and `reason` says why.
    Refused,
    /// It ended before; `reason` says why.
    Failed,
}

/// How here and there differ.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Kind")]
pub enum FindingKind {
    /// The identity provider has it, and it is no account of the connection.
    MissingHere,
    /// An account is here that the identity provider does not list.
    OrphanedHere,
    /// Both have the account, and say different things of it.
    Drifted,
    /// Only one of the two has somebody in a group.
    Membership,
    /// Two accounts bear names that differ only in the width of letters: rename one of them.
    NameClash,
}

/// What became of a finding.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum FindingState {
    /// It waits for somebody.
    Open,
    /// Somebody put it right here.
    Resolved,
    /// Somebody said why it may stay, perhaps until some time.
    Accepted,
    /// A later comparison did not see it any more.
    Gone,
}

/// How somebody put a finding right.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Resolution")]
pub enum FindingResolution {
    /// The account became the connection's.
    Adopted,
    /// The account was turned off.
    Suspended,
    /// The account or the membership was removed.
    Deleted,
}

/// Whose an account is, seen from the connection.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Class")]
pub enum AccountClass {
    /// No connection owns it: it was made by hand.
    Local,
    /// The connection owns it, and the identity provider does not list it, or lists it as inactive.
    Unassigned,
    /// The connection owns it, and the identity provider lists it.
    Assigned,
}

/// What to do about a finding.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Choice")]
pub enum FindingChoice {
    /// Make the account of nobody that bears the name the connection's. Its user name and addresses stay as they are. Not
    /// for a connection that reads a source.
    Adopt,
    /// Turn the account off of somebody who is gone or inactive there. Also takes USER_WRITE.
    Suspend,
    /// Delete the account of somebody who is gone or inactive there, or end a membership that only exists here. Also takes
    /// USER_WRITE.
    Delete,
    /// Leave it as it is, for a reason, and perhaps until some time.
    Accept,
}

/// In which order findings are listed.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FindingOrder {
    /// The latest to appear first.
    #[default]
    NewestFirst,
    /// The first to appear first.
    OldestFirst,
}

/// Which findings are wanted: those that match all that is given.
#[derive(InputObject, Default)]
pub struct FindingFilter {
    /// In one of these states.
    states: Option<Vec<FindingState>>,
    /// Of one of these kinds.
    kinds: Option<Vec<FindingKind>>,
    /// Of this connection.
    connection_id: Option<ID>,
    /// Only those about people who are gone or inactive there, and active here.
    #[graphql(default)]
    leavers_only: bool,
}

impl FindingFilter {
    /// The filter in the domain's words; none if nothing can match it.
    pub fn compile(self) -> Option<Which> {
        let connection = match self.connection_id {
            Some(id) => Some(page::id_of(Kind::IdentitySource, &id)?),
            None => None,
        };
        Some(Which {
            states: self.states.unwrap_or_default().into_iter().map(Into::into).collect(),
            kinds: self.kinds.unwrap_or_default().into_iter().map(Into::into).collect(),
            connection,
            leavers: self.leavers_only,
        })
    }
}

/// What to compare with.
#[derive(InputObject)]
pub struct ReconciliationStartInput {
    /// The connection's global id.
    connection_id: ID,
    /// From where it is known what the identity provider says. An export is uploaded instead: `POST /reconciliations`.
    #[graphql(default_with = "ReconciliationSource::LastWrite")]
    source: ReconciliationSource,
    /// Whether a source is to be believed, however much of what is here it lacks.
    #[graphql(default)]
    confirm: bool,
}

/// How often a connection is compared by itself with what its identity provider says: with the source that it reads, or
/// with what the identity provider wrote last.
#[derive(SimpleObject)]
pub struct ReconciliationSchedule {
    /// Minutes from the beginning of one comparison to that of the next.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    interval_minutes: i32,
    /// When the next comparison begins. One that is still under way then is waited for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    next_run_at: DateTime<Utc>,
}

impl From<Schedule> for ReconciliationSchedule {
    fn from(row: Schedule) -> Self {
        Self { interval_minutes: row.interval_minutes, next_run_at: row.next_run_at }
    }
}

/// How often a connection is to be compared by itself.
#[derive(InputObject)]
pub struct ReconciliationScheduleUpdateInput {
    /// The connection's global id.
    connection_id: ID,
    /// Minutes between two comparisons, 15 minutes to 93 days; null = no comparison begins by itself.
    interval_minutes: Option<i32>,
}

/// The answer to a change of a schedule of comparisons.
#[derive(SimpleObject)]
pub struct ReconciliationSchedulePayload {
    /// The connection with its schedule; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    connection: Option<IdentitySource>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of an order to compare.
#[derive(SimpleObject)]
pub struct ReconciliationPayload {
    /// The comparison, which has ended; one with a source is carried out in the background, and is RUNNING until then. Null
    /// if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    reconciliation: Option<Reconciliation>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What to do about which finding.
#[derive(InputObject)]
pub struct FindingResolveInput {
    /// The finding's global id.
    id: ID,
    /// What to do.
    choice: FindingChoice,
    /// Why; an acceptance needs it.
    reason: Option<String>,
    /// When an acceptance ends; without it, it holds as long as the finding stays what it is.
    until: Option<DateTime<Utc>>,
}

/// What became of a decision about a finding.
#[derive(SimpleObject)]
pub struct FindingPayload {
    /// The finding afterwards; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    finding: Option<Finding>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct ReconciliationMutation;

#[Object]
impl ReconciliationMutation {
    /// Compares a connection with what its identity provider wrote or read last, or with the source that it reads. In the
    /// first cases an account or a membership that somebody changed here by hand since has drifted, and the ledger tells
    /// who did it; one that takes long is answered as RUNNING, and goes on. In the last a dry run reads the whole source, and
    /// nothing is carried over; `syncCancel` ends it.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn reconciliation_start(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to compare with.")] input: ReconciliationStartInput,
    ) -> Result<Option<ReconciliationPayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let id = page::id(Kind::IdentitySource, &input.connection_id, "the connection")?;
            match input.source {
                ReconciliationSource::Source => reconcile::source::start(cx, id, input.confirm).await,
                _ if input.confirm => {
                    reconcile::run::ready(cx, id).await?;
                    Err(Error::invalid("confirm", "only a source is believed or not"))
                }
                ReconciliationSource::LastWrite => reconcile::run::start(cx, id, Knowledge::Written).await,
                ReconciliationSource::LastRead => reconcile::run::start(cx, id, Knowledge::Read).await,
                ReconciliationSource::Upload => {
                    reconcile::run::ready(cx, id).await?;
                    Err(Error::invalid("source", "send the export itself: POST /reconciliations?connection=…"))
                }
            }
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(ReconciliationPayload { reconciliation: done.map(Into::into), user_errors }))
    }

    /// Sets how often a connection is compared by itself, as `reconciliationStart` does it: a connection that reads a source
    /// with that source, any other with what its identity provider wrote last.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn reconciliation_schedule_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection, and how often.")] input: ReconciliationScheduleUpdateInput,
    ) -> Result<Option<ReconciliationSchedulePayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let id = page::id(Kind::IdentitySource, &input.connection_id, "the connection")?;
            reconcile::schedule::set_schedule(cx, id, input.interval_minutes).await
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(ReconciliationSchedulePayload { connection: done.map(Into::into), user_errors }))
    }

    /// Does something about a finding, in one transaction with the account's change. Protected accounts and the last
    /// holder of a management role are left alone.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn finding_resolve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which finding, and what to do.")] input: FindingResolveInput,
    ) -> Result<Option<FindingPayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::Finding, &input.id, "the finding");
        let done = async {
            reconcile::permitted(cx, input.choice.into())?;
            reconcile::resolve(cx, id?, input.choice.into(), input.reason.as_deref(), input.until).await
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(FindingPayload { finding: done.map(Into::into), user_errors }))
    }
}
