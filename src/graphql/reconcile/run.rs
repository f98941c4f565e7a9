//! A comparison as the schema shows it, and what it counted.

use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::connection::IdentitySource;
use super::super::job::{self, JobCounts, JobProgress, JobState};
use super::super::loaders::{self, ConnectionId, SyncRunId};
use super::super::message_part::{self, MessagePart};
use super::super::permission::{Permission, needs};
use super::super::sync::SyncRun;
use super::{ReconciliationScope, ReconciliationSource};
use crate::context::Cx;
use crate::domain::reconcile;
use crate::error::{Error, Result};
use crate::graphql::relay;
use crate::graphql::relay::{Long, NodeKind, UserError};
/// The numbers of a comparison.
#[derive(SimpleObject)]
pub struct ReconciliationCounts {
    /// Rows of the export; or users and groups that the source lists; or accounts and groups that
    /// were changed by hand.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    rows: Long,
    /// Rows of the export that could not be attributed to a user, see `troubles`; or users and
    /// groups of the source that could not be read, see `syncRun`; or accounts and groups that were
    /// changed by hand and that the identity provider has not read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    unread: Long,
    /// Accounts, or memberships, that are the same on both sides.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    agreed: Long,
    /// Findings of kind MISSING_HERE.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    missing_here: Long,
    /// Findings of kind ORPHANED_HERE.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    orphaned_here: Long,
    /// Findings of kind DRIFTED.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    drifted: Long,
    /// Findings of kind MEMBERSHIP.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    memberships: Long,
    /// Findings about leavers: users that are gone or inactive at the identity provider, and active
    /// in rolecall.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    leavers: Long,
    /// Accounts of class LOCAL that were compared.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    local_accounts: Long,
    /// Accounts of class UNASSIGNED that were compared.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    unassigned_accounts: Long,
    /// Accounts of class ASSIGNED that were compared.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    assigned_accounts: Long,
    /// Findings that are new.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    opened: Long,
    /// Findings that were found again after they were finished or accepted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    reopened: Long,
    /// Findings that were not found any more, and became GONE.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    gone: Long,
}

impl From<reconcile::ComparisonCounts> for ReconciliationCounts {
    fn from(counts: reconcile::ComparisonCounts) -> Self {
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
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    line: Long,
    /// Why, in words for people; never a value of the line.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message_parts: Vec<MessagePart>,
}

/// A comparison as the schema shows it.
pub struct ReconciliationObject(pub reconcile::Run);

impl From<reconcile::Run> for ReconciliationObject {
    fn from(row: reconcile::Run) -> Self {
        Self(row)
    }
}

impl ReconciliationObject {
    /// The comparison with this id, if there is one.
    pub async fn find_by_id(cx: &Cx, id: Uuid) -> Result<Option<Self>> {
        match reconcile::get_run(cx, id).await {
            Ok(row) => Ok(Some(Self(row))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A reconciliation: a comparison of a connection's accounts or memberships with what its identity
/// provider says. The data that it was compared with is not stored.
#[Object(name = "Reconciliation")]
impl ReconciliationObject {
    /// The reconciliation's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Reconciliation, self.0.id)
    }

    /// The connection; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// How rolecall knows what the identity provider says.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn source(&self) -> Option<ReconciliationSource> {
        Some(self.0.source.into())
    }

    /// What was compared.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scope(&self) -> Option<ReconciliationScope> {
        Some(self.0.scope.into())
    }

    /// The state of the comparison. It is REFUSED if the export or the source seems to be
    /// incomplete: then nothing was compared.
    #[graphql(directive = needs::apply(None))]
    pub async fn state(&self) -> JobState {
        self.0.state.into()
    }

    /// How many rows were compared.
    #[graphql(directive = needs::apply(None))]
    pub async fn progress(&self) -> JobProgress {
        let rows = reconcile::comparison_counts(&self.0).rows;
        JobProgress::new(rows, self.0.finished_at.map(|_| rows))
    }

    /// How many rows were compared, how many findings are new, and how many rows could not be read.
    #[graphql(directive = needs::apply(None))]
    pub async fn counts(&self) -> JobCounts {
        let counts = reconcile::comparison_counts(&self.0);
        JobCounts {
            read: job::to_long(counts.rows),
            created: job::to_long(counts.opened),
            kept: job::to_long(counts.agreed),
            failed: job::to_long(counts.unread),
            ..JobCounts::default()
        }
    }

    /// Why it was refused or failed; empty if it was not and did not.
    #[graphql(directive = needs::apply(None))]
    pub async fn user_errors(&self) -> Vec<UserError> {
        let failed =
            matches!(self.0.state, reconcile::RunState::Refused | reconcile::RunState::Failed);
        job::job_errors(failed, self.0.reason.as_deref())
    }

    /// The numbers of the comparison.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn numbers(&self) -> Option<ReconciliationCounts> {
        Some(reconcile::comparison_counts(&self.0).into())
    }

    /// The lines of the export that could not be read, or not in full; the first 100.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn troubles(&self) -> Option<Vec<ReconciliationTrouble>> {
        let line = |line: u64| Long(i64::try_from(line).unwrap_or(i64::MAX));
        let troubles = reconcile::unreadable_lines(&self.0).into_iter();
        let troubles = troubles
            .map(|trouble| ReconciliationTrouble {
                line: line(trouble.line),
                message_parts: message_part::read_parts(&trouble.why),
                message: trouble.why,
            })
            .collect();
        Some(troubles)
    }

    /// The sync run that reads the source; the comparison ends with it. Null if no source is read,
    /// and after the run was removed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn sync_run(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<SyncRun>> {
        let Some(id) = self.0.sync_run_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, SyncRunId(id)).await?.map(Into::into))
    }

    /// Why it was refused or failed and what to do, or another remark, in words for people; null if
    /// there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// `message` by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message_parts(&self) -> Option<Vec<MessagePart>> {
        Some(message_part::read_optional_parts(self.0.reason.as_deref()))
    }

    /// The actor that requested it, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn requested_by(&self) -> Option<&str> {
        Some(&self.0.requested_by)
    }

    /// When it was requested.
    #[graphql(directive = needs::apply(None))]
    pub async fn created_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    /// When it began.
    #[graphql(directive = needs::apply(None))]
    pub async fn started_at(&self) -> Option<DateTime<Utc>> {
        Some(self.0.started_at)
    }

    /// When it ended; null while it has not ended.
    #[graphql(directive = needs::apply(None))]
    pub async fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }
}
