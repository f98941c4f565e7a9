//! Several edits of who holds what as one change: seen first, then made.

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::event::Event;
use super::grant::{RoleGrantCreateInput, RoleGrantRemoveInput};
use super::group::{GroupAddMembersInput, GroupDeleteInput, GroupRemoveMembersInput};
use super::loaders::{self, EventId, MappingId, RoleId, UserId};
use super::mapping::{
    RoleMapping, RoleMappingCreateInput, RoleMappingRemoveInput, RoleMappingRestoreInput, RoleMappingUpdateInput,
};
use super::page::{self, Blame, Kind, Page, UserError, Window};
use super::restoration::GroupRestoreInput;
use super::role::{Role, RoleDeleteInput};
use super::user::User;
use crate::domain::access::Moved;
use crate::domain::change::{self, Edit, Outcome, Preview};
use crate::domain::document::MemberChange;
use crate::error::{Error, Result};

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the preview", "previewId")];

/// One edit of who holds what.
#[derive(OneofObject)]
pub enum AccessEditInput {
    /// Map a group, or everybody of a connection, to a role.
    CreateMapping(RoleMappingCreateInput),
    /// Change a mapping.
    UpdateMapping(RoleMappingUpdateInput),
    /// End a mapping.
    RemoveMapping(RoleMappingRemoveInput),
    /// Take a removed mapping up again.
    RestoreMapping(RoleMappingRestoreInput),
    /// Grant a role to an account.
    CreateGrant(RoleGrantCreateInput),
    /// End a grant.
    RemoveGrant(RoleGrantRemoveInput),
    /// Add members to a group.
    AddMembers(GroupAddMembersInput),
    /// Remove members from a group.
    RemoveMembers(GroupRemoveMembersInput),
    /// Delete a group.
    DeleteGroup(GroupDeleteInput),
    /// Bring a deleted group back.
    RestoreGroup(GroupRestoreInput),
    /// Delete a role.
    DeleteRole(RoleDeleteInput),
}

impl AccessEditInput {
    fn compile(self) -> Result<Edit> {
        Ok(match self {
            Self::CreateMapping(input) => Edit::CreateMapping(input.compile()?),
            Self::UpdateMapping(input) => {
                let (id, edit) = input.compile()?;
                Edit::UpdateMapping(id, edit)
            }
            Self::RemoveMapping(input) => Edit::RemoveMapping(page::id(Kind::RoleMapping, &input.id, "the mapping")?),
            Self::RestoreMapping(input) => {
                let (id, onto) = input.compile()?;
                Edit::RestoreMapping(id, onto)
            }
            Self::CreateGrant(input) => Edit::CreateGrant(input.compile()?),
            Self::RemoveGrant(input) => Edit::RemoveGrant(page::id(Kind::RoleGrant, &input.id, "the grant")?),
            Self::AddMembers(input) => {
                let (group, members) = input.compile()?;
                Edit::ChangeMembers(group, MemberChange::Add(members))
            }
            Self::RemoveMembers(input) => {
                let (group, members) = input.compile()?;
                Edit::ChangeMembers(group, MemberChange::Remove(members))
            }
            Self::DeleteGroup(input) => Edit::DeleteGroup(page::id(Kind::Group, &input.id, "the group")?),
            Self::RestoreGroup(input) => Edit::RestoreGroup(page::id(Kind::Group, &input.id, "the deleted group")?),
            Self::DeleteRole(input) => Edit::DeleteRole(page::id(Kind::Role, &input.id, "the role")?),
        })
    }
}

fn compile(edits: Vec<AccessEditInput>) -> Result<Vec<Edit>> {
    if edits.len() > change::MAX_EDITS {
        return Err(Error::invalid("edits", format!("must be at most {}", change::MAX_EDITS)));
    }
    let edits = edits.into_iter().enumerate().map(|(index, edit)| {
        edit.compile().map_err(|error| Error::invalid(format!("edits.{index}"), error.to_string()))
    });
    edits.collect()
}

/// Somebody who would gain or lose a role.
pub struct AccessMove(i64, Moved);

/// Somebody who would gain or lose a role.
#[Object]
impl AccessMove {
    /// Who; null when the account is gone.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(loaders::one(ctx, UserId(self.1.user_id)).await?.map(Into::into))
    }

    /// Which role; null when it is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Role>> {
        Ok(loaders::one(ctx, RoleId(self.1.role_id)).await?.map(Into::into))
    }
}

impl async_graphql::TypeName for AccessMove {
    fn type_name() -> std::borrow::Cow<'static, str> {
        "AccessMove".into()
    }
}

/// What a warning is about.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "change::WarningKind")]
pub enum AccessWarningKind {
    /// Accounts would gain a management role.
    GainsManagementRole,
    /// A management role would be left without a holder.
    LosesLastHolder,
    /// Break-glass accounts would lose something.
    ProtectedAccountLoses,
    /// A mapping would end, also where nobody loses anything by it now.
    MappingEnds,
}

/// Something about a preview to think about before applying it.
pub struct AccessWarning(change::Warning);

/// Something about a preview to think about before applying it.
#[Object]
impl AccessWarning {
    /// What it is about.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn kind(&self) -> AccessWarningKind {
        self.0.kind.into()
    }

    /// The role that it is about; null if it is about no single one.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Role>> {
        let Some(role) = self.0.role else { return Ok(None) };
        Ok(loaders::one(ctx, RoleId(role)).await?.map(Into::into))
    }

    /// The mapping that it is about; null if it is about none.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn mapping(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleMapping>> {
        let Some(mapping) = self.0.mapping else { return Ok(None) };
        Ok(loaders::one(ctx, MappingId(mapping)).await?.map(Into::into))
    }

    /// How many accounts it concerns.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn user_count(&self) -> i32 {
        page::count(self.0.accounts)
    }
}

/// A preview as the schema shows it.
pub struct AccessPreview(pub Preview);

/// What a set of edits would do to who holds what: exact, and kept for an hour. Nothing has changed.
#[Object]
impl AccessPreview {
    /// The preview's global id: pass it to `accessApply`.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::AccessPreview, self.0.id)
    }

    /// How many pairs of account and role would come.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn gained_count(&self) -> i32 {
        page::count(self.0.gained.unsigned_abs())
    }

    /// How many pairs of account and role would go.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn lost_count(&self) -> i32 {
        page::count(self.0.lost.unsigned_abs())
    }

    /// Who would gain which role, by role and account.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn gains(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<AccessMove>>> {
        self.page(ctx, true, Window { first, after, last, before }).await
    }

    /// Who would lose which role, by role and account.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn losses(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<AccessMove>>> {
        self.page(ctx, false, Window { first, after, last, before }).await
    }

    /// What to think about before applying it.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn warnings(&self) -> Vec<AccessWarning> {
        change::warnings_of(&self.0).into_iter().map(AccessWarning).collect()
    }

    /// When it was made.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Until when it can be looked at and applied.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.expires_at
    }
}

impl AccessPreview {
    async fn page(&self, ctx: &Context<'_>, gained: bool, window: Window) -> Result<Option<Page<AccessMove>>> {
        let rows = change::page(page::cx(ctx)?, &self.0, gained, &window.keyset(false)?).await?;
        let total = if gained { self.0.gained } else { self.0.lost };
        let rows = rows.map(|(number, moved)| AccessMove(number, moved));
        Ok(Some(Page::new(rows, |row: &AccessMove| row.0, total.unsigned_abs())))
    }
}

/// The edits to look at.
#[derive(InputObject)]
pub struct AccessPreviewInput {
    /// The edits, made in this order; 1 to 100.
    edits: Vec<AccessEditInput>,
}

/// What became of a preview.
#[derive(SimpleObject)]
pub struct AccessPreviewPayload {
    /// What the edits would do; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    preview: Option<AccessPreview>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What to make.
#[derive(OneofObject)]
pub enum AccessApplyInput {
    /// The global id of a preview: its edits are made if they would still do exactly what it shows.
    PreviewId(ID),
    /// The edits themselves, made in this order; 1 to 100.
    Edits(Vec<AccessEditInput>),
}

/// What a change of access did.
pub struct AccessChange(Outcome);

/// What a change of access did.
#[Object]
impl AccessChange {
    /// How many pairs of account and role came.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn gained_count(&self) -> i32 {
        page::count(self.0.gained)
    }

    /// How many pairs of account and role went.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn lost_count(&self) -> i32 {
        page::count(self.0.lost)
    }

    /// The ledger's row; null if everything was so already.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn event(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Event>> {
        let Some(event) = self.0.event else { return Ok(None) };
        Ok(loaders::one(ctx, EventId(event)).await?.map(Into::into))
    }
}

/// What became of a change of access.
#[derive(SimpleObject)]
pub struct AccessApplyPayload {
    /// What it did; null if there were mistakes, and then nothing was done.
    #[graphql(directive = requires::apply(None))]
    change: Option<AccessChange>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct AccessMutation;

#[Object]
impl AccessMutation {
    /// Shows exactly who would gain and who would lose which role by these edits. Nothing changes.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn access_preview(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The edits to look at.")] input: AccessPreviewInput,
    ) -> Result<Option<AccessPreviewPayload>> {
        let cx = page::cx(ctx)?;
        let done = async { change::preview(cx, compile(input.edits)?).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(AccessPreviewPayload { preview: done.map(AccessPreview), user_errors }))
    }

    /// Makes several edits of who holds what in one transaction, or none of them: those of a preview, if it is still
    /// true, or given ones.
    #[graphql(directive = requires::apply(Some(Permission::AccessWrite)))]
    async fn access_apply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to make.")] input: AccessApplyInput,
    ) -> Result<Option<AccessApplyPayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            match input {
                AccessApplyInput::PreviewId(id) => {
                    change::apply_preview(cx, page::id(Kind::AccessPreview, &id, "the preview")?).await
                }
                AccessApplyInput::Edits(edits) => change::apply(cx, compile(edits)?).await,
            }
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(AccessApplyPayload { change: done.map(AccessChange), user_errors }))
    }
}
