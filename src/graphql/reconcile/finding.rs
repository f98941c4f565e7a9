//! A finding as the schema shows it.

use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::connection::IdentitySource;
use super::super::group::GroupObject;
use super::super::loaders::{self, ConnectionId, GroupId, UserId};
use super::super::message_part::{self, MessagePart};
use super::super::permission::{Permission, needs};
use super::super::user::UserObject;
use super::{
    AccountClass, FindingChoice, FindingKind, FindingResolution, FindingState, ReconciliationSource,
};
use crate::domain::reconcile;
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::{Long, NodeKind};
/// One attribute that differs, with its values on both sides.
#[derive(SimpleObject)]
pub struct FindingDifference {
    /// The path of the attribute in SCIM, for example `name.givenName`; `members` for a membership
    /// of a group.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    attribute: String,
    /// The value at the identity provider; null = no value.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    theirs: Option<Value>,
    /// The value in rolecall; null = no value.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    ours: Option<Value>,
    /// The name of the actor that set the value in rolecall; null if the comparison did not read it
    /// from the ledger.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    changed_by: Option<String>,
    /// When the value was set in rolecall; null if the comparison did not read it from the ledger.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    changed_at: Option<DateTime<Utc>>,
}

/// A finding as the schema shows it.
pub struct FindingObject(pub Box<reconcile::Finding>);

impl From<reconcile::Finding> for FindingObject {
    fn from(row: reconcile::Finding) -> Self {
        Self(Box::new(row))
    }
}

/// A finding: a difference between rolecall and the identity provider of a connection. If
/// comparisons find the same difference again, it is the same finding.
#[Object(name = "Finding")]
impl FindingObject {
    /// The finding's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Finding, self.0.id)
    }

    /// The connection that was compared; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// How rolecall and the identity provider differ.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> FindingKind {
        self.0.kind.into()
    }

    /// How rolecall knows what the identity provider says.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn source(&self) -> ReconciliationSource {
        self.0.source.into()
    }

    /// The state of the finding. After the end of an acceptance it is OPEN.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self, ctx: &Context<'_>) -> Result<FindingState> {
        Ok(reconcile::current_state(relay::cx(ctx)?, &self.0).into())
    }

    /// The name of the user or group that it is about; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The account that it is about; for MISSING_HERE the account that has the same name and does
    /// not belong to the connection. Null if there is none, and after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        let Some(id) = self.0.user_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, UserId(id)).await?.map(Into::into))
    }

    /// The group of the membership; null if it is not about a membership, and after the group was
    /// deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// The class of the account when the finding was last seen; null if there was no account.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn account_class(&self) -> Option<AccountClass> {
        self.0.class.map(Into::into)
    }

    /// Whether it is about a leaver: a user that is gone or inactive at the identity provider, and
    /// active in rolecall.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn leaver(&self) -> bool {
        self.0.leaver
    }

    /// How many roles the account held when the finding was last seen.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn roles_held(&self) -> i32 {
        self.0.roles_held
    }

    /// The attributes that differ, with their values on both sides.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn differences(&self) -> Option<Vec<FindingDifference>> {
        let each = reconcile::finding_detail(&self.0).into_iter();
        let differences = each.map(|(attribute, differs)| FindingDifference {
            attribute,
            theirs: differs.theirs,
            ours: differs.ours,
            changed_by: differs.by,
            changed_at: differs.at,
        });
        Some(differences.collect())
    }

    /// The decisions that the caller may make about it, by what it says; empty once it has ended.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn choices(&self, ctx: &Context<'_>) -> Result<Vec<FindingChoice>> {
        let choices = reconcile::possible_choices(relay::cx(ctx)?, &self.0);
        Ok(choices.into_iter().map(Into::into).collect())
    }

    /// What most probably fixes it, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> &str {
        reconcile::next_step(&self.0)
    }

    /// `nextStep` by stable codes; empty where one of its sentences has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step_parts(&self) -> Vec<MessagePart> {
        message_part::read_parts(reconcile::next_step(&self.0))
    }

    /// How many times comparisons found it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When it was first seen.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn first_seen_at(&self) -> DateTime<Utc> {
        self.0.first_seen_at
    }

    /// When it was last seen.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_seen_at(&self) -> DateTime<Utc> {
        self.0.last_seen_at
    }

    /// How it was fixed; null unless it is RESOLVED.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn resolution(&self) -> Option<FindingResolution> {
        self.0.resolution.map(Into::into)
    }

    /// The reason that was given for the decision; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When the acceptance ends; null if there is no end or no acceptance.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn accepted_until(&self) -> Option<DateTime<Utc>> {
        self.0.accepted_until
    }

    /// When it was resolved or accepted, or became GONE; null if none of these happened.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn decided_at(&self) -> Option<DateTime<Utc>> {
        self.0.decided_at
    }

    /// The name of the actor that resolved or accepted it; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn decided_by(&self) -> Option<&str> {
        self.0.decided_by.as_deref()
    }
}
