//! Reconciliation: comparisons with what identity providers say, what they found, and what people do about it. An export
//! to compare with comes as a file ([`upload`]).

pub mod upload;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::{finding as stored, reconciliation as runs};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::group::Group;
use super::loaders::{self, ConnectionId, GroupId, UserId};
use super::page::{self, Blame, Kind, Long, UserError};
use super::sync::SyncRun;
use super::user::User;
use crate::context::Cx;
use crate::domain::reconcile::{self, Choice, Knowledge, Which};
use crate::domain::sync;
use crate::error::{Error, Result};

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

/// What a comparison counted.
#[derive(SimpleObject)]
pub struct ReconciliationCounts {
    /// Rows of the export, people and groups that the source lists, or accounts and groups that somebody changed by hand.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    rows: Long,
    /// Rows of which it is not known whom they are about, see `troubles`; of a source, what cannot be read, see `syncRun`;
    /// or what somebody changed by hand and the identity provider has not read.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    unread: Long,
    /// Accounts, or memberships, that both sides have and say the same of.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    agreed: Long,
    /// Findings of kind MISSING_HERE.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    missing_here: Long,
    /// Findings of kind ORPHANED_HERE.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    orphaned_here: Long,
    /// Findings of kind DRIFTED.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    drifted: Long,
    /// Findings of kind MEMBERSHIP.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    memberships: Long,
    /// Findings about people who are gone or inactive there, and active here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    leavers: Long,
    /// Accounts of class LOCAL that it met.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    local_accounts: Long,
    /// Accounts of class UNASSIGNED that it met.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    unassigned_accounts: Long,
    /// Accounts of class ASSIGNED that it met.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    assigned_accounts: Long,
    /// Findings that are new.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    opened: Long,
    /// Findings that came again after they were finished or accepted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    reopened: Long,
    /// Findings that it did not see any more.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    gone: Long,
}

impl From<reconcile::Counts> for ReconciliationCounts {
    fn from(counts: reconcile::Counts) -> Self {
        let long = |count: u64| Long(i64::try_from(count).unwrap_or(i64::MAX));
        Self {
            rows: long(counts.rows),
            unread: long(counts.unread),
            agreed: long(counts.agreed),
            missing_here: long(counts.missing_here),
            orphaned_here: long(counts.orphaned_here),
            drifted: long(counts.drifted),
            memberships: long(counts.memberships),
            leavers: long(counts.leavers),
            local_accounts: long(counts.local_accounts),
            unassigned_accounts: long(counts.unassigned_accounts),
            assigned_accounts: long(counts.assigned_accounts),
            opened: long(counts.opened),
            reopened: long(counts.reopened),
            gone: long(counts.gone),
        }
    }
}

/// A line of an export that could not be read, or not in full.
#[derive(SimpleObject)]
pub struct ReconciliationTrouble {
    /// The line's number, from 1.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    line: Long,
    /// Why, in words for people; never a value of the line.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    why: String,
}

/// A comparison as the schema shows it.
pub struct Reconciliation(pub reconcile::Run);

impl From<reconcile::Run> for Reconciliation {
    fn from(row: reconcile::Run) -> Self {
        Self(row)
    }
}

impl Reconciliation {
    /// The comparison with this id, if there is one.
    pub async fn find(cx: &Cx, id: Uuid) -> Result<Option<Self>> {
        match reconcile::get_run(cx, id).await {
            Ok(row) => Ok(Some(Self(row))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A comparison of a connection's accounts or memberships with what its identity provider says. What it was compared with
/// is not kept.
#[Object]
impl Reconciliation {
    /// The reconciliation's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::Reconciliation, self.0.id)
    }

    /// The connection; null once it was deleted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// From where it is known what the identity provider says.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn source(&self) -> ReconciliationSource {
        self.0.source.into()
    }

    /// What was compared.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn scope(&self) -> ReconciliationScope {
        self.0.scope.into()
    }

    /// How it went.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> ReconciliationState {
        self.0.state.into()
    }

    /// What it counted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn counts(&self) -> ReconciliationCounts {
        reconcile::counts(&self.0).into()
    }

    /// The lines that could not be read, or not in full, the first hundred.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn troubles(&self) -> Vec<ReconciliationTrouble> {
        let line = |line: u64| Long(i64::try_from(line).unwrap_or(i64::MAX));
        let troubles = reconcile::troubles(&self.0).into_iter();
        troubles.map(|trouble| ReconciliationTrouble { line: line(trouble.line), why: trouble.why }).collect()
    }

    /// The run that reads the source, and ends the comparison; null where none is read, or once the run is forgotten.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sync_run(&self, ctx: &Context<'_>) -> Result<Option<SyncRun>> {
        let Some(id) = self.0.sync_run_id else { return Ok(None) };
        match sync::get(page::cx(ctx)?, id).await {
            Ok(run) => Ok(Some(run.into())),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why it was refused or failed and what to do, or what else is to be known of it, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Who asked for it, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn requested_by(&self) -> &str {
        &self.0.requested_by
    }

    /// When it began.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    /// When it ended; null while it has not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn finished_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }
}

/// What the two sides say of one attribute.
#[derive(SimpleObject)]
pub struct FindingDifference {
    /// The attribute as SCIM writes its path, for example `name.givenName`; `members` for somebody's place in a group.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    attribute: String,
    /// What the identity provider says; null = nothing.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    theirs: Option<Value>,
    /// What is here; null = nothing.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    ours: Option<Value>,
    /// Who made it what it is here, where the ledger was asked.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    changed_by: Option<String>,
    /// When they did.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    changed_at: Option<DateTime<Utc>>,
}

/// A finding as the schema shows it.
pub struct Finding(pub Box<reconcile::Finding>);

impl From<reconcile::Finding> for Finding {
    fn from(row: reconcile::Finding) -> Self {
        Self(Box::new(row))
    }
}

/// A difference between what is here and what a connection's identity provider says: the same one however often it was
/// seen.
#[Object]
impl Finding {
    /// The finding's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::Finding, self.0.id)
    }

    /// Whose identity provider was compared with; null once the connection is deleted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// How the two differ.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> FindingKind {
        self.0.kind.into()
    }

    /// From where it is known what the identity provider says.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn source(&self) -> ReconciliationSource {
        self.0.source.into()
    }

    /// What became of it. An acceptance that has passed its end is open.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self, ctx: &Context<'_>) -> Result<FindingState> {
        Ok(reconcile::state(page::cx(ctx)?, &self.0).into())
    }

    /// The name of whom it is about; null where it has none.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The account that it is about, or the one of nobody that bears the name of whoever is missing; null where there is
    /// none, or none any more.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        let Some(id) = self.0.user_id else { return Ok(None) };
        Ok(loaders::one(ctx, UserId(id)).await?.map(Into::into))
    }

    /// The group that a membership is about; null where there is none.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Group>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// Whose the account was when it was last seen; null where there was none.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn account_class(&self) -> Option<AccountClass> {
        self.0.class.map(Into::into)
    }

    /// Whether it is about somebody who is gone or inactive there, and active here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn leaver(&self) -> bool {
        self.0.leaver
    }

    /// How many roles the account held when it was last seen.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn roles_held(&self) -> i32 {
        self.0.roles_held
    }

    /// What the two sides say, by attribute.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn differences(&self) -> Vec<FindingDifference> {
        let each = reconcile::detail(&self.0).into_iter();
        each.map(|(attribute, differs)| FindingDifference {
            attribute,
            theirs: differs.theirs,
            ours: differs.ours,
            changed_by: differs.by,
            changed_at: differs.at,
        })
        .collect()
    }

    /// What most probably puts it right, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> &str {
        reconcile::next_step(&self.0)
    }

    /// How often it was seen.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When it was first seen.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn first_seen_at(&self) -> DateTime<Utc> {
        self.0.first_seen_at
    }

    /// When it was last seen.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_seen_at(&self) -> DateTime<Utc> {
        self.0.last_seen_at
    }

    /// How somebody put it right; null unless it is resolved.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn resolution(&self) -> Option<FindingResolution> {
        self.0.resolution.map(Into::into)
    }

    /// Why, in the words of whoever decided; null where nothing was said.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When an acceptance ends; null where it has no end.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn accepted_until(&self) -> Option<DateTime<Utc>> {
        self.0.accepted_until
    }

    /// When it was resolved or accepted, or was gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn decided_at(&self) -> Option<DateTime<Utc>> {
        self.0.decided_at
    }

    /// Who resolved or accepted it, by name.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn decided_by(&self) -> Option<&str> {
        self.0.decided_by.as_deref()
    }
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
