//! What applications hand over after a sign-in.

use async_graphql::{Context, ID, InputObject, Object, OneofObject};

use super::permission::{Permission, needs};
use super::user_error::UserErrorReason;
use crate::error::{Noun, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind};
use crate::sign_in::submit;
use crate::sign_in::submit::{SubmittedAssertion, SubmittedSignIn};

const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Connection, "connectionId")], fields: &[] };

/// What an application got at a sign-in.
#[derive(OneofObject)]
pub enum AssertionInput {
    /// An ID token of OpenID Connect, as it came.
    IdToken(String),
    /// A response of SAML.
    SamlResponse(SamlResponseInput),
}

/// A response of SAML.
#[derive(InputObject)]
pub struct SamlResponseInput {
    /// The value of the form field `SAMLResponse`, as it came.
    response: String,
    /// The id of the request that the response must answer. Left out = the sign-in began at the
    /// identity provider, which the connection must allow.
    request_id: Option<String>,
}

/// The assertion to hand over.
#[derive(InputObject)]
pub struct AssertionSubmitInput {
    /// The connection's global id. Left out = the connection that trusts the issuer of the
    /// assertion and is among its audiences.
    connection_id: Option<ID>,
    /// What the application got at the sign-in.
    assertion: AssertionInput,
}

/// What came of a sign-in.
pub struct SignInObject(SubmittedSignIn);

impl From<SubmittedSignIn> for SignInObject {
    fn from(done: SubmittedSignIn) -> Self {
        Self(done)
    }
}

/// What came of a sign-in: who the person is here, and what the person may do now.
#[Object(name = "SignIn")]
impl SignInObject {
    /// The global id of the account; null where the person has none.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn user_id(&self) -> Option<ID> {
        self.0.outcome.user.map(|user| relay::global_id(NodeKind::User, user))
    }

    /// The user name of the account; null where the person has none.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn user_name(&self) -> Option<&str> {
        self.0.user_name.as_deref()
    }

    /// Whether the account may be used.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn active(&self) -> bool {
        self.0.outcome.active
    }

    /// Why the person has no account, or why the claims changed nothing, as a stable code; null if
    /// all is well.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn reason(&self) -> Option<UserErrorReason> {
        let refusal = self.0.outcome.refusal.as_ref()?;
        Some(UserErrorReason::of_refusal(refusal.reason))
    }

    /// The same in words for people, with what to do about it.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn message(&self) -> Option<&str> {
        self.0.outcome.refusal.as_ref().map(|refusal| refusal.why.as_ref())
    }

    /// The names of the roles that the account holds now.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn roles(&self) -> Vec<&str> {
        self.0.outcome.roles.iter().map(|role| role.name.as_str()).collect()
    }

    /// Whether the groups of the person are known completely. False where the identity provider
    /// left some out and its directory was not asked yet.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn groups_complete(&self) -> bool {
        self.0.outcome.groups_complete
    }

    /// Claimed groups that are not known here, by the keys of the connection.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn unknown_groups(&self) -> &[String] {
        &self.0.outcome.unknown_groups
    }

    /// The global id of the connection that accepted it.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn connection_id(&self) -> ID {
        relay::global_id(NodeKind::IdentitySource, self.0.connection.id)
    }
}

mutation_payloads! {
    sign_in_payloads;
    /// What came of the sign-in; null if there were mistakes.
    sign_in: SignInObject;
    /// The result of `assertionSubmit`.
    AssertionSubmitPayload,
}

#[derive(Default)]
pub struct AssertionMutation;

#[Object]
impl AssertionMutation {
    /// Hands over what an application got at a sign-in. It is verified as if nothing had been
    /// checked before. The same one handed over again changes nothing and gets the same answer.
    #[graphql(directive = needs::apply(Some(Permission::AssertionWrite)))]
    async fn assertion_submit(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to hand over.")] input: AssertionSubmitInput,
    ) -> Result<Option<AssertionSubmitPayload>> {
        let cx = relay::cx(ctx)?;
        let named = input
            .connection_id
            .as_ref()
            .map(|id| relay::parse_input_id(NodeKind::IdentitySource, id, Noun::Connection));
        let assertion = match input.assertion {
            AssertionInput::IdToken(token) => SubmittedAssertion::IdToken(token),
            AssertionInput::SamlResponse(input) => SubmittedAssertion::SamlResponse {
                response: input.response,
                request_id: input.request_id,
                // A repeated mutation with a key gets its stored answer before it comes here.
                idempotency_key: None,
            },
        };
        let done = async { submit::submit_assertion(cx, named.transpose()?, &assertion).await };
        AssertionSubmitPayload::from_result(done.await, FIELD_MAP)
    }
}
