//! Invitations: a person gets roles or memberships as soon as it is known which account is theirs.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::group::GroupObject;
use super::loaders::{self, GroupId, RoleId, UserId};
use super::order::{InvitationOrder, ListOrder};
use super::permission::{Permission, needs};
use super::role::RoleObject;
use super::user::UserObject;
use crate::context::Cx;
use crate::domain::access::invitation;
use crate::domain::access::invitation::{Invitation, InvitationQuery, NewInvitation};
use crate::error::{Error, Noun, Result, Rule, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[
        (Noun::Invitation, "id"),
        (Noun::Role, "roles"),
        (Noun::Group, "groups"),
        (Noun::User, "userId"),
    ],
    fields: &[("address", "email")],
};

/// The most invitations of one call.
const MAX_BATCH: usize = 100;

/// Whether an invitation can be accepted.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "invitation::InvitationState")]
pub enum InvitationState {
    /// It waits for the person.
    Open,
    /// The person used the link: it waits for a sign-in.
    Redeemed,
    /// An account has what it gives.
    Accepted,
    /// Its time is over.
    Expired,
    /// An administrator revoked it.
    Revoked,
}

/// An invitation as the schema shows it.
pub struct InvitationObject(pub Invitation);

impl From<Invitation> for InvitationObject {
    fn from(row: Invitation) -> Self {
        Self(row)
    }
}

/// An invitation of a person, by an address. It is accepted at a sign-in whose identity provider
/// has verified the address, or by an administrator (`invitationAccept`).
#[Object(name = "Invitation")]
impl InvitationObject {
    /// The invitation's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Invitation, self.0.id)
    }

    /// The address; null once the personal data of its account was erased.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }

    /// Whether it can be accepted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn state(&self, ctx: &Context<'_>) -> Result<InvitationState> {
        let now = relay::cx(ctx)?.app.clock.now();
        Ok(invitation::InvitationState::of(&self.0, now).into())
    }

    /// The roles that it grants, without those that were deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn roles(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<RoleObject>>> {
        let ids: Vec<_> = invitation::role_ids(&self.0).into_iter().map(RoleId).collect();
        let rows = loaders::load_many(ctx, &ids).await?;
        Ok(Some(rows.into_iter().map(Into::into).collect()))
    }

    /// The groups that the person joins, without those that were deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn groups(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Vec<GroupObject>>> {
        let ids: Vec<_> = invitation::group_ids(&self.0).into_iter().map(GroupId).collect();
        let rows = loaders::load_many(ctx, &ids).await?;
        Ok(Some(rows.into_iter().map(Into::into).collect()))
    }

    /// Why the person was invited; null if no reason was given.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it was made.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Until when it can be accepted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.expires_at
    }

    /// The planned end of the grants; null = none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn access_expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.access_expires_at
    }

    /// How many links were made for it: 1, and one more each time it is sent again.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn sent_count(&self) -> i32 {
        self.0.sent_count
    }

    /// When the mail server accepted its last mail; null if it has accepted none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn last_mailed_at(&self) -> Option<DateTime<Utc>> {
        self.0.mailed_at
    }

    /// What the mail server said last, or why it was not reached; null if it accepted the mail.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn last_mail_error(&self) -> Option<&str> {
        self.0.mail_error.as_deref()
    }

    /// When the person used the link; null if they did not.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn redeemed_at(&self) -> Option<DateTime<Utc>> {
        self.0.redeemed_at
    }

    /// Since when it waits although the person signed in with the address: it would give more than
    /// its maker might, because a group was mapped to a role since, or a role got permissions.
    /// Accept it (`invitationAccept`), or send it again (`invitationResend`), with the permissions
    /// that this takes. Null if it does not wait for that.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn held_since(&self) -> Option<DateTime<Utc>> {
        self.0.held_at.filter(|_| self.0.closed_at.is_none())
    }

    /// When it was accepted; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn accepted_at(&self) -> Option<DateTime<Utc>> {
        self.0.accepted_at
    }

    /// The account that it was accepted for; null if it was not, or the account is deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        let Some(id) = self.0.user_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, UserId(id)).await?.map(Into::into))
    }

    /// When it was revoked; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }
}

/// Selects invitations: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct InvitationFilter {
    /// Invitations to this address, in any case.
    email: Option<String>,
    /// Invitations in one of these states.
    states: Option<Vec<InvitationState>>,
    /// Invitations that were accepted for the account with this global id.
    user_id: Option<ID>,
}

impl InvitationFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is empty or too long.
    fn into_domain_query(self) -> Result<Option<InvitationQuery>> {
        let email = relay::check_filter_text("email", self.email)?;
        let user = relay::parse_filter_id(NodeKind::User, self.user_id.as_ref());
        let states = self.states.unwrap_or_default().into_iter().map(Into::into).collect();
        Ok(user.map(|user| InvitationQuery { email, states, user }))
    }
}

/// The invitations of an organization.
#[derive(Default)]
pub struct OrganizationInvitations;

#[Object(name = "Invitations")]
impl OrganizationInvitations {
    /// The invitations, the latest first unless ordered otherwise, ended ones too. Links are never
    /// among the fields. Those that were not accepted are deleted 90 days after their end.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            InvitationFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<InvitationOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<InvitationObject>>> {
        let cx = relay::cx(ctx)?;
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let keyset =
            PageArguments { first, after, last, before }.to_keyset(ctx, order.descending)?;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let total = if relay::selects_total_count(ctx) {
            invitation::count_invitations(cx, &which).await?
        } else {
            0
        };
        let rows = invitation::list_invitations(cx, &which, order.by, &keyset).await?;
        Ok(Some(RelayPage::from_keyed_rows(rows, total)))
    }
}

/// The person to invite.
#[derive(InputObject)]
pub struct InvitationCreateInput {
    /// The address, of ASCII characters; at most 254.
    email: String,
    /// The global ids of the roles that it grants, at most 20. Needs ACCESS_WRITE too.
    roles: Option<Vec<ID>>,
    /// The global ids of groups made by hand that the person joins, at most 20.
    groups: Option<Vec<ID>>,
    /// Until when it can be accepted, at most 30 days from now; left out = for seven days.
    expires_at: Option<DateTime<Utc>>,
    /// The planned end of the grants; left out = none.
    access_expires_at: Option<DateTime<Utc>>,
    /// Why the person is invited: the reason of the grants. At most 1,000 characters.
    reason: Option<String>,
}

/// The people to invite, all to the same.
#[derive(InputObject)]
pub struct InvitationsCreateInput {
    /// The addresses, at most 100.
    emails: Vec<String>,
    /// The global ids of the roles that each grants, at most 20. Needs ACCESS_WRITE too.
    roles: Option<Vec<ID>>,
    /// The global ids of groups made by hand that each person joins, at most 20.
    groups: Option<Vec<ID>>,
    /// Until when they can be accepted, at most 30 days from now; left out = for seven days.
    expires_at: Option<DateTime<Utc>>,
    /// The planned end of the grants; left out = none.
    access_expires_at: Option<DateTime<Utc>>,
    /// Why the people are invited. At most 1,000 characters.
    reason: Option<String>,
}

/// The invitation to send again.
#[derive(InputObject)]
pub struct InvitationResendInput {
    /// The invitation's global id.
    id: ID,
    /// Until when it can be accepted, at most 30 days from now; left out = for seven days.
    expires_at: Option<DateTime<Utc>>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The invitation to revoke.
#[derive(InputObject)]
pub struct InvitationRevokeInput {
    /// The invitation's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The invitation to accept, and for which account.
#[derive(InputObject)]
pub struct InvitationAcceptInput {
    /// The invitation's global id.
    id: ID,
    /// The global id of the account of the person who was invited.
    user_id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The result of `invitationCreate`.
#[derive(SimpleObject)]
pub struct InvitationCreatePayload {
    /// The new invitation; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    invitation: Option<InvitationObject>,
    /// The address of the page on which the person accepts. It contains the secret of the link, so
    /// it is shown only in this response; null if there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `invitationResend`.
#[derive(SimpleObject)]
pub struct InvitationResendPayload {
    /// The invitation after the change; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    invitation: Option<InvitationObject>,
    /// The address of the page on which the person accepts. It contains the secret of the new link,
    /// so it is shown only in this response; null if there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    secret: Option<String>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// One of the invitations of a call.
#[derive(SimpleObject)]
pub struct InvitedAddress {
    /// The address as it was given.
    #[graphql(directive = needs::apply(None))]
    email: String,
    /// The new invitation; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    invitation: Option<InvitationObject>,
    /// The address of its page, with the secret; null if there were mistakes.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    secret: Option<String>,
    /// Mistakes in this invitation; empty if it was made.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `invitationsCreate`.
#[derive(SimpleObject)]
pub struct InvitationsCreatePayload {
    /// One for each address, in their order; null if there were mistakes in the rest of the input.
    #[graphql(directive = needs::apply(None))]
    invited: Option<Vec<InvitedAddress>>,
    /// Mistakes in the input as a whole; empty if each address was tried.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

mutation_payloads! {
    invitation_payloads;
    /// The invitation after the change; null if there were mistakes.
    invitation: InvitationObject;
    /// The result of `invitationRevoke`.
    InvitationRevokePayload,
    /// The result of `invitationAccept`.
    InvitationAcceptPayload,
}

/// The UUIDs of a list that is given to several people: what is malformed is told once.
fn parse_shared_ids(
    kind: NodeKind,
    list: &'static str,
    ids: Option<&[ID]>,
    noun: Noun,
) -> Result<Vec<Uuid>> {
    mistakes::each(list, ids.unwrap_or_default(), |id| relay::parse_input_id(kind, id, noun))
}

fn check_addresses(emails: &[String]) -> Result<()> {
    if emails.is_empty() {
        return Err(Error::broken(Rule::Required, "emails", "must name at least one"));
    }
    if emails.len() > MAX_BATCH {
        return Err(Error::broken(Rule::TooMany, "emails", format!("must be at most {MAX_BATCH}")));
    }
    Ok(())
}

/// Invites one person; returns the invitation and the address of its page.
async fn invite_person(cx: &Cx, new: NewInvitation) -> Result<(Invitation, String)> {
    let issued = invitation::create_invitation(cx, new).await?;
    let url = issued.url(&cx.app);
    Ok((issued.invitation, url))
}

#[derive(Default)]
pub struct InvitationMutation;

#[Object]
impl InvitationMutation {
    /// Invites a person: a mail with a link goes to the address, if the operator has set a mail
    /// server. At most 1,000 invitations of an organization, and five to one address, can be
    /// accepted at a time.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn invitation_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The person, and what to give.")] input: InvitationCreateInput,
    ) -> Result<Option<InvitationCreatePayload>> {
        let done = async {
            let (roles, groups) =
                (input.roles.unwrap_or_default(), input.groups.unwrap_or_default());
            let new = NewInvitation {
                email: input.email,
                roles: relay::parse_listed_ids(NodeKind::Role, &roles),
                groups: relay::parse_listed_ids(NodeKind::Group, &groups),
                expires_at: input.expires_at,
                access_expires_at: input.access_expires_at,
                reason: input.reason,
            };
            invite_person(relay::cx(ctx)?, new).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let (invitation, secret) = done.map(|(row, url)| (row.into(), url)).unzip();
        Ok(Some(InvitationCreatePayload { invitation, secret, user_errors }))
    }

    /// Invites several people, each as `invitationCreate` does. One that cannot be invited does not
    /// affect the others.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn invitations_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The people, and what to give.")] input: InvitationsCreateInput,
    ) -> Result<Option<InvitationsCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let (roles, groups) = (input.roles.as_deref(), input.groups.as_deref());
        let checked = mistakes::both(
            check_addresses(&input.emails),
            mistakes::both(
                parse_shared_ids(NodeKind::Role, "roles", roles, Noun::Role),
                parse_shared_ids(NodeKind::Group, "groups", groups, Noun::Group),
            ),
        );
        let (given, whole_errors) = relay::split_user_errors(checked, FIELD_MAP)?;
        let Some(((), (roles, groups))) = given else {
            return Ok(Some(InvitationsCreatePayload { invited: None, user_errors: whole_errors }));
        };
        let mut invited = Vec::new();
        for (place, email) in input.emails.into_iter().enumerate() {
            let new = NewInvitation {
                email: email.clone(),
                roles: roles.clone(),
                groups: groups.clone(),
                expires_at: input.expires_at,
                access_expires_at: input.access_expires_at,
                reason: input.reason.clone(),
            };
            let done = invite_person(cx, new).await;
            let (done, mut user_errors) = relay::split_user_errors(done, FIELD_MAP)?;
            for error in &mut user_errors {
                if error.path == ["input", "email"] {
                    error.path = vec!["input".into(), "emails".into(), place.to_string()];
                }
            }
            let (invitation, secret) = done.map(|(row, url)| (row.into(), url)).unzip();
            invited.push(InvitedAddress { email, invitation, secret, user_errors });
        }
        Ok(Some(InvitationsCreatePayload { invited: Some(invited), user_errors: whole_errors }))
    }

    /// Sends an invitation again, with a new link and a new end, also after it has expired. The
    /// link before ends. At most ten times.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn invitation_resend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which invitation.")] input: InvitationResendInput,
    ) -> Result<Option<InvitationResendPayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::Invitation, &input.id, Noun::Invitation),
            )?;
            let issued = invitation::resend_invitation(&cx, id, input.expires_at).await?;
            let url = issued.url(&cx.app);
            Ok((issued.invitation, url))
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let (invitation, secret) = done.map(|(row, url)| (row.into(), url)).unzip();
        Ok(Some(InvitationResendPayload { invitation, secret, user_errors }))
    }

    /// Revokes an invitation: it cannot be accepted any more. What an accepted one gave stays.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn invitation_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which invitation.")] input: InvitationRevokeInput,
    ) -> Result<Option<InvitationRevokePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::Invitation, &input.id, Noun::Invitation),
            )?;
            invitation::revoke_invitation(&cx, id).await
        };
        InvitationRevokePayload::from_result(done.await, FIELD_MAP)
    }

    /// Accepts an invitation for an account, by an administrator who knows that it is the person's.
    /// Needs what giving the roles and the memberships directly needs.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn invitation_accept(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which invitation, and for which account.")] input: InvitationAcceptInput,
    ) -> Result<Option<InvitationAcceptPayload>> {
        let done = async {
            let (cx, (id, account)) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                mistakes::both(
                    relay::parse_input_id(NodeKind::Invitation, &input.id, Noun::Invitation),
                    relay::parse_input_id(NodeKind::User, &input.user_id, Noun::User),
                ),
            )?;
            invitation::accept_for_account(&cx, id, account).await
        };
        InvitationAcceptPayload::from_result(done.await, FIELD_MAP)
    }
}
