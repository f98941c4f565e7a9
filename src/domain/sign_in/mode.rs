//! From which source an organization's memberships come, who makes accounts, and what takes them
//! away; and what a change of that does.
//!
//! SCIM's memberships are set aside while claims say something else, and come back when the
//! organization leaves that mode: a change of the mode and back loses nothing.

use std::collections::BTreeSet;

use entity::assertion_source::AccountCreation;
use entity::connection::ConnectionKind;
use entity::organization::IntegrationMode;
use entity::{assertion_source, connection, organization, sign_in, user};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::source::{SignInSource, is_source};
use crate::auth::policy::Action;
use crate::context::{Change, Cx};
use crate::domain::access::{RoleMove, find_role_moves};
use crate::domain::set_aside::{lock_sources, return_memberships};
use crate::domain::tenant::organization as tenant;
use crate::domain::tenant::organization::Organization;
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// People whose stored claims a preview applies.
const MAX_PEOPLE: u64 = 2_000;

/// Who makes accounts here, and what takes them away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningPlan {
    /// The first sign-in makes the account, and SCIM takes it over and removes it.
    JitAndScim,
    /// SCIM makes and removes accounts.
    ScimOnly,
    /// The first sign-in makes the account; nothing but people removes it.
    JitOnly,
    /// People make and remove accounts.
    ByHand,
}

impl ProvisioningPlan {
    /// What ends the access of a leaver.
    pub fn deprovisioned_by(self) -> &'static str {
        match self {
            Self::JitAndScim => {
                "The identity provider suspends or deletes an account over SCIM, once it has taken \
                 the account over. Until then an account that a sign-in made stays until an \
                 administrator removes it."
            }
            Self::ScimOnly => "The identity provider suspends or deletes accounts over SCIM.",
            Self::JitOnly => {
                "No identity provider tells that a person has left. Groups that a sign-in said end \
                 when the claims are too old (claimsExpireDays); the account itself stays until an \
                 administrator suspends or deletes it."
            }
            Self::ByHand => {
                "An administrator suspends or deletes accounts. Groups that a sign-in said end \
                 when the claims are too old (claimsExpireDays)."
            }
        }
    }
}

/// Who makes accounts in this organization.
///
/// # Errors
/// Errors of the database.
pub async fn provisioning_plan(cx: &Cx, organization: &Organization) -> Result<ProvisioningPlan> {
    cx.allow(Action::ReadIam, None)?;
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let connections = live.all(cx.db()).await?;
    let sources = cx.find::<assertion_source::Entity>().all(cx.db()).await?;
    let mode = organization.integration_mode;
    let scim = mode == IntegrationMode::Scim;
    let makes = |id: Uuid| {
        let source = sources.iter().find(|source| source.connection_id == id);
        source.is_some_and(|source| source.account_creation != AccountCreation::None)
    };
    let jit = connections.iter().any(|connection| {
        makes(connection.id)
            && connection.kind == ConnectionKind::Assertion
            && (scim || is_source(mode, connection))
    });
    let scim =
        scim && connections.iter().any(|connection| connection.kind != ConnectionKind::Assertion);
    Ok(match (jit, scim) {
        (true, true) => ProvisioningPlan::JitAndScim,
        (true, false) => ProvisioningPlan::JitOnly,
        // An organization in the mode of SCIM waits for its first connection.
        (false, _) if mode == IntegrationMode::Scim => ProvisioningPlan::ScimOnly,
        (false, _) => ProvisioningPlan::ByHand,
    })
}

/// What a change of the mode would do.
#[derive(Debug, Clone, Default)]
pub struct ModePreview {
    /// Accounts that would gain or lose a role, as far as it is known what their sign-ins say.
    pub moves: Vec<RoleMove>,
    /// Accounts whose claims are known.
    pub known: u64,
    /// Live accounts of which no sign-in is known: they keep what they have until they sign in.
    pub unknown: u64,
    /// More accounts have claims than a preview applies.
    pub truncated: bool,
}

/// Who would gain and lose roles if the organization changed to this mode. It is carried out and
/// undone, so the answer is exact for what is known.
///
/// # Errors
/// Errors of the database.
pub async fn preview_mode(cx: &Cx, mode: IntegrationMode) -> Result<ModePreview> {
    cx.allow(Action::WriteConnection, None)?;
    let organization = tenant::current_organization(cx).await?;
    let mut preview = ModePreview::default();
    let mut sources = Vec::new();
    let mut people = Vec::new();
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    for connection in live.all(cx.db()).await? {
        if !is_source(mode, &connection) {
            continue;
        }
        let query = cx.find::<sign_in::Entity>();
        let query = query.filter(sign_in::Column::ConnectionId.eq(connection.id));
        let query = query.filter(sign_in::Column::ListedAt.is_not_null());
        preview.known += query.clone().count(cx.db()).await?;
        let rows = query.order_by_asc(sign_in::Column::SubjectKey).limit(MAX_PEOPLE);
        let rows = rows.all(cx.db()).await?;
        let from = SignInSource::read_settings(cx, connection.id).await?;
        people.extend(rows.into_iter().map(|row| (sources.len(), row)));
        sources.push(from);
    }
    let accounts = cx.find::<user::Entity>().filter(user::Column::DeletedAt.is_null());
    let accounts = accounts.count(cx.db()).await?;
    preview.unknown = accounts.saturating_sub(preview.known);
    preview.truncated = preview.known > people.len() as u64;
    if mode == organization.integration_mode {
        return Ok(preview);
    }
    let leaves = organization.integration_mode != IntegrationMode::Scim;
    let (sources, people) = (&sources, &people);
    let rehearsal = &cx.clone().rehearsal();
    preview.moves = rehearsal
        .write(move |tx| {
            Box::pin(async move {
                lock_sources(tx).await?;
                #[allow(clippy::disallowed_methods, reason = "reads the tenant of this write")]
                let query = organization::Entity::find_by_id(tx.organization());
                let row = crate::domain::lock_row(tx, query).await?;
                let now = tx.now_after(row.map(|row| row.updated_at));
                let mut groups = BTreeSet::new();
                if leaves {
                    groups.extend(return_memberships(tx, now).await?);
                }
                let mut users = Vec::new();
                for (source, row) in people {
                    if let Some(from) = sources.get(*source)
                        && super::memberships::rehearse_stored_list(tx, from, row, now).await?
                    {
                        users.push(row.user_id);
                    }
                }
                let groups: Vec<Uuid> = groups.into_iter().collect();
                let moves =
                    find_role_moves(rehearsal, &tx.db, tx.event, now, users, &groups).await?;
                let entry = NewEvent {
                    kind: EventKind::OrganizationUpdated,
                    subject: EventSubject { kind: "organization", id: tx.organization() },
                    connection: None,
                    at: now,
                    before: None,
                    after: None,
                    population: 0,
                    name: None,
                };
                Ok(Change::recorded(moves.into_iter().collect(), entry))
            })
        })
        .await?;
    Ok(preview)
}
