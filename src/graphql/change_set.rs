//! Several edits of access as one change: previewed first, then applied.

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::event::EventObject;
use super::group::{GroupAddMembersInput, GroupDeleteInput, GroupRemoveMembersInput};
use super::loaders::{self, EventId, RoleId, RoleMappingId, UserId};
use super::permission::{Permission, needs};
use super::restoration::GroupRestoreInput;
use super::role::{RoleDeleteInput, RoleObject};
use super::role_grant::{RoleGrantCreateInput, RoleGrantRemoveInput};
use super::role_mapping::{
    RoleMapping, RoleMappingCreateInput, RoleMappingRemoveInput, RoleMappingRestoreInput,
    RoleMappingUpdateInput,
};
use super::user::UserObject;
use crate::context::Cx;
use crate::domain::access::RoleMove;
use crate::domain::access::change_set;
use crate::domain::access::change_set::{AccessEdit, ChangeOutcome, Preview, RequestedEdit};
use crate::error::{Error, Noun, Result, mistakes};
use crate::graphql::relay::{EditField, FieldMap, NodeKind, PageArguments, RelayPage, UserError};
use crate::graphql::{group, relay, role, role_grant, role_mapping};
use crate::identity::document::MemberChange;

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Preview, "previewId")], fields: &[] };

/// One edit that changes which account holds which role.
#[derive(OneofObject)]
pub enum AccessEditInput {
    /// Map a group, or all users of a connection, to a role.
    CreateMapping(RoleMappingCreateInput),
    /// Change a mapping.
    UpdateMapping(RoleMappingUpdateInput),
    /// End a mapping.
    RemoveMapping(RoleMappingRemoveInput),
    /// Restore a mapping that was removed.
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
    /// Restore a deleted group.
    RestoreGroup(GroupRestoreInput),
    /// Delete a role.
    DeleteRole(RoleDeleteInput),
}

impl AccessEditInput {
    /// The field that holds the edit, and what its fields mean.
    fn edit_field(&self) -> EditField {
        match self {
            Self::CreateMapping(input) => ("createMapping", input.field_map()),
            Self::UpdateMapping(_) => ("updateMapping", role_mapping::FIELD_MAP),
            Self::RemoveMapping(_) => ("removeMapping", role_mapping::ID_FIELD_MAP),
            Self::RestoreMapping(_) => ("restoreMapping", role_mapping::FIELD_MAP),
            Self::CreateGrant(_) => ("createGrant", role_grant::FIELD_MAP),
            Self::RemoveGrant(_) => ("removeGrant", role_grant::FIELD_MAP),
            Self::AddMembers(_) => ("addMembers", group::FIELD_MAP),
            Self::RemoveMembers(_) => ("removeMembers", group::FIELD_MAP),
            Self::DeleteGroup(_) => ("deleteGroup", group::FIELD_MAP),
            Self::RestoreGroup(_) => ("restoreGroup", group::RESTORE_FIELD_MAP),
            Self::DeleteRole(_) => ("deleteRole", role::FIELD_MAP),
        }
    }

    fn into_edit(self) -> Result<RequestedEdit> {
        let (mut reason, mut expected) = (None, None);
        let edit = match self {
            Self::CreateMapping(input) => AccessEdit::CreateMapping(input.into_new_mapping()?),
            Self::UpdateMapping(input) => {
                let (id, edit) = input.into_edit()?;
                AccessEdit::UpdateMapping(id, edit)
            }
            Self::RemoveMapping(input) => {
                reason = input.reason;
                AccessEdit::RemoveMapping(relay::parse_input_id(
                    NodeKind::RoleMapping,
                    &input.id,
                    Noun::Mapping,
                )?)
            }
            Self::RestoreMapping(input) => {
                let (id, onto) = input.parse_restoration()?;
                AccessEdit::RestoreMapping(id, onto)
            }
            Self::CreateGrant(input) => AccessEdit::CreateGrant(input.into_new_grant()?),
            Self::RemoveGrant(input) => {
                reason = input.reason;
                AccessEdit::RemoveGrant(relay::parse_input_id(
                    NodeKind::RoleGrant,
                    &input.id,
                    Noun::Grant,
                )?)
            }
            Self::AddMembers(input) => {
                expected = input.expected_version;
                let (group, members) = input.parse_member_change()?;
                AccessEdit::ChangeMembers(group, MemberChange::Add(members))
            }
            Self::RemoveMembers(input) => {
                let (group, members) = input.parse_member_change()?;
                (reason, expected) = (input.reason, input.expected_version);
                AccessEdit::ChangeMembers(group, MemberChange::Remove(members))
            }
            Self::DeleteGroup(input) => {
                (reason, expected) = (input.reason, input.expected_version);
                AccessEdit::DeleteGroup(relay::parse_input_id(
                    NodeKind::Group,
                    &input.id,
                    Noun::Group,
                )?)
            }
            Self::RestoreGroup(input) => AccessEdit::RestoreGroup(relay::parse_input_id(
                NodeKind::Group,
                &input.id,
                Noun::DeletedGroup,
            )?),
            Self::DeleteRole(input) => {
                (reason, expected) = (input.reason, input.expected_version);
                AccessEdit::DeleteRole(relay::parse_input_id(
                    NodeKind::Role,
                    &input.id,
                    Noun::Role,
                )?)
            }
        };
        Ok(RequestedEdit { edit, reason, expected: relay::to_version(expected) })
    }
}

fn parse_edits(edits: Vec<AccessEditInput>) -> Result<Vec<RequestedEdit>> {
    change_set::check_edit_count(edits.len())?;
    let edits = edits.into_iter().enumerate().map(|(index, edit)| {
        edit.into_edit().map_err(|error| Error::InEdit { index, error: Box::new(error) })
    });
    mistakes::all(edits)
}

/// An account that would gain or lose a role.
pub struct AccessMove(pub i64, pub RoleMove);

/// An account that would gain or lose a role.
#[Object]
impl AccessMove {
    /// The account; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        Ok(loaders::load_one(ctx, UserId(self.1.user_id)).await?.map(Into::into))
    }

    /// The role; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleObject>> {
        Ok(loaders::load_one(ctx, RoleId(self.1.role_id)).await?.map(Into::into))
    }
}

impl async_graphql::TypeName for AccessMove {
    fn type_name() -> std::borrow::Cow<'static, str> {
        "AccessMove".into()
    }
}

/// What a warning is about.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "change_set::WarningKind")]
pub enum AccessWarningKind {
    /// Accounts would gain a management role.
    GainsManagementRole,
    /// A management role would be left without a holder.
    LosesLastHolder,
    /// Break-glass accounts would lose a role.
    ProtectedAccountLoses,
    /// A mapping would end, even if no account loses a role by it now.
    MappingEnds,
}

/// A warning to read before a preview is applied.
pub struct AccessWarning(change_set::ChangeWarning);

/// A warning to read before a preview is applied.
#[Object]
impl AccessWarning {
    /// What it is about.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn kind(&self) -> AccessWarningKind {
        self.0.kind.into()
    }

    /// The role that it is about; null if it is not about a single role.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn role(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleObject>> {
        let Some(role) = self.0.role else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleId(role)).await?.map(Into::into))
    }

    /// The mapping that it is about; null if it is not about a mapping.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mapping(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<RoleMapping>> {
        let Some(mapping) = self.0.mapping else { return Ok(None) };
        Ok(loaders::load_one(ctx, RoleMappingId(mapping)).await?.map(Into::into))
    }

    /// How many accounts it concerns.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn user_count(&self) -> i32 {
        relay::to_graphql_int(self.0.accounts)
    }
}

/// A preview as the schema shows it.
pub struct AccessPreview(pub Preview);

/// What a set of edits would change about who holds which role, exactly. It is kept for an hour;
/// the edits are not made.
#[Object]
impl AccessPreview {
    /// The preview's global id: pass it to `accessApply`.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::AccessPreview, self.0.id)
    }

    /// How many pairs of account and role would be gained.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn gained_count(&self) -> i32 {
        relay::to_graphql_int(self.0.gained.unsigned_abs())
    }

    /// How many pairs of account and role would be lost.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn lost_count(&self) -> i32 {
        relay::to_graphql_int(self.0.lost.unsigned_abs())
    }

    /// The accounts that would gain a role, one row for each account and role, ordered by role,
    /// then by account.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn gains(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<AccessMove>>> {
        self.list_moves(ctx, true, PageArguments { first, after, last, before }).await
    }

    /// The accounts that would lose a role, one row for each account and role, ordered by role,
    /// then by account.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn losses(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<AccessMove>>> {
        self.list_moves(ctx, false, PageArguments { first, after, last, before }).await
    }

    /// Warnings to read before it is applied.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn warnings(&self) -> Vec<AccessWarning> {
        change_set::warnings_of(&self.0).into_iter().map(AccessWarning).collect()
    }

    /// When the preview was made.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Until when the preview can be read and applied.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.expires_at
    }
}

impl AccessPreview {
    /// The preview with this id, if there is one.
    ///
    /// # Errors
    /// The domain's error.
    pub async fn find_by_id(cx: &Cx, id: Uuid) -> Result<Option<Self>> {
        match change_set::get_preview(cx, id).await {
            Ok(row) => Ok(Some(Self(row))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list_moves(
        &self,
        ctx: &Context<'_>,
        gained: bool,
        window: PageArguments,
    ) -> Result<Option<RelayPage<AccessMove>>> {
        let rows = change_set::page_of_preview(
            relay::cx(ctx)?,
            &self.0,
            gained,
            &window.to_keyset(ctx, false)?,
        )
        .await?;
        let total = if gained { self.0.gained } else { self.0.lost };
        let rows = rows.map(|(number, moved)| AccessMove(number, moved));
        Ok(Some(RelayPage::new(rows, |row: &AccessMove| row.0, total.unsigned_abs())))
    }
}

/// The edits to preview.
#[derive(InputObject)]
pub struct AccessPreviewInput {
    /// The edits, in the order in which they are made; 1 to 100.
    edits: Vec<AccessEditInput>,
}

/// The result of `accessPreview`.
#[derive(SimpleObject)]
pub struct AccessPreviewPayload {
    /// What the edits would do; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    preview: Option<AccessPreview>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The edits to apply.
#[derive(OneofObject)]
pub enum AccessApplyInput {
    /// The global id of a preview: its edits are made if they would still do exactly what it shows.
    PreviewId(ID),
    /// The edits themselves, in the order in which they are made; 1 to 100.
    Edits(Vec<AccessEditInput>),
}

/// The effect of a change of access.
pub struct AccessChange(ChangeOutcome);

/// The effect of a change of access.
#[Object]
impl AccessChange {
    /// How many pairs of account and role were gained.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn gained_count(&self) -> i32 {
        relay::to_graphql_int(self.0.gained)
    }

    /// How many pairs of account and role were lost.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn lost_count(&self) -> i32 {
        relay::to_graphql_int(self.0.lost)
    }

    /// The ledger's event; null if nothing had to be changed.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn event(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<EventObject>> {
        let Some(event) = self.0.event else { return Ok(None) };
        Ok(loaders::load_one(ctx, EventId(event)).await?.map(Into::into))
    }
}

/// The result of `accessApply`.
#[derive(SimpleObject)]
pub struct AccessApplyPayload {
    /// The effect of the edits; null if there were mistakes, and then none of the edits was made.
    #[graphql(directive = needs::apply(None))]
    change: Option<AccessChange>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct AccessMutation;

#[Object]
impl AccessMutation {
    /// Shows exactly which accounts would gain or lose which role by these edits. The edits are not
    /// made.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn access_preview(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The edits to preview.")] input: AccessPreviewInput,
    ) -> Result<Option<AccessPreviewPayload>> {
        let cx = relay::cx(ctx)?;
        let fields: Vec<_> = input.edits.iter().map(AccessEditInput::edit_field).collect();
        let done = async { change_set::preview_edits(cx, parse_edits(input.edits)?).await };
        let (done, user_errors) = relay::split_edit_errors(done.await, FIELD_MAP, &fields)?;
        Ok(Some(AccessPreviewPayload { preview: done.map(AccessPreview), user_errors }))
    }

    /// Makes several edits of access in one transaction, or none of them: the edits of a preview,
    /// if they would still do exactly what it shows, or edits in the input.
    #[graphql(directive = needs::apply(Some(Permission::AccessWrite)))]
    async fn access_apply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A preview, or the edits themselves.")] input: AccessApplyInput,
    ) -> Result<Option<AccessApplyPayload>> {
        let cx = relay::cx(ctx)?;
        let fields: Vec<_> = match &input {
            AccessApplyInput::PreviewId(_) => Vec::new(),
            AccessApplyInput::Edits(edits) => {
                edits.iter().map(AccessEditInput::edit_field).collect()
            }
        };
        let done = async {
            match input {
                AccessApplyInput::PreviewId(id) => {
                    change_set::apply_preview(
                        cx,
                        relay::parse_input_id(NodeKind::AccessPreview, &id, Noun::Preview)?,
                    )
                    .await
                }
                AccessApplyInput::Edits(edits) => {
                    change_set::apply_edits(cx, parse_edits(edits)?).await
                }
            }
        };
        let (done, user_errors) = relay::split_edit_errors(done.await, FIELD_MAP, &fields)?;
        Ok(Some(AccessApplyPayload { change: done.map(AccessChange), user_errors }))
    }
}
