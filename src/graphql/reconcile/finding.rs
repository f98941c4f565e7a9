//! A finding as the schema shows it.

use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::auth::{Permission, requires};
use super::super::connection::IdentitySource;
use super::super::group::Group;
use super::super::loaders::{self, ConnectionId, GroupId, UserId};
use super::super::page::{self, Kind, Long};
use super::super::user::User;
use super::{AccountClass, FindingKind, FindingResolution, FindingState, ReconciliationSource};
use crate::domain::reconcile;
use crate::error::Result;
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
