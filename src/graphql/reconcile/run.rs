//! A comparison as the schema shows it, and what it counted.

use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::auth::{Permission, requires};
use super::super::connection::IdentitySource;
use super::super::loaders::{self, ConnectionId, SyncRunId};
use super::super::page::{self, Kind, Long};
use super::super::sync::SyncRun;
use super::{ReconciliationScope, ReconciliationSource, ReconciliationState};
use crate::context::Cx;
use crate::domain::reconcile;
use crate::error::{Error, Result};
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
    async fn sync_run(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<SyncRun>> {
        let Some(id) = self.0.sync_run_id else { return Ok(None) };
        Ok(loaders::one(ctx, SyncRunId(id)).await?.map(Into::into))
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
