//! The test of this server's own public URL.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::message_part::{self, MessagePart};
use super::permission::{Permission, needs};
use crate::error::{Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};
use crate::scim_client::self_test;
use crate::scim_client::self_test::{SelfTestResult, SelfTestStep};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Connection, "connectionId")], fields: &[] };

/// The steps of `scimSelfTest`, in this order. After a step that failed, the further steps are not
/// tried.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "SelfTestStep")]
pub enum ScimSelfTestCode {
    /// The host name of the public URL has addresses.
    NameResolved,
    /// The port of the public URL accepts connections.
    PortReached,
    /// A request is answered, over TLS where the URL says https.
    Answered,
    /// The header `Authorization` arrives at this server.
    AuthorizationArrived,
    /// The service provider configuration can be read with a valid token.
    ConfigurationRead,
    /// Users can be listed.
    UsersListed,
    /// Groups can be listed.
    GroupsListed,
    /// A false token is refused.
    FalseTokenRefused,
    /// Receivers of security event tokens find the organization's metadata; not needed without one.
    EventsDiscovered,
}

/// The result of one step of `scimSelfTest`.
#[derive(SimpleObject)]
pub struct ScimSelfTestStep {
    /// Which step it is.
    #[graphql(directive = needs::apply(None))]
    code: ScimSelfTestCode,
    /// Whether the step succeeded.
    #[graphql(directive = needs::apply(None))]
    ok: bool,
    /// What was found, in words for people.
    #[graphql(directive = needs::apply(None))]
    message: String,
    /// What to do next, in words for people; null if nothing has to be done.
    #[graphql(directive = needs::apply(None))]
    next_step: Option<String>,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(None))]
    message_parts: Vec<MessagePart>,
    /// `nextStep` by stable codes; empty where one of its sentences has none.
    #[graphql(directive = needs::apply(None))]
    next_step_parts: Vec<MessagePart>,
}

impl From<SelfTestResult> for ScimSelfTestStep {
    fn from(result: SelfTestResult) -> Self {
        Self {
            code: result.step.into(),
            ok: result.ok,
            message_parts: message_part::read_parts(&result.message),
            next_step_parts: message_part::read_optional_parts(result.next_step),
            message: result.message,
            next_step: result.next_step.map(Into::into),
        }
    }
}

/// The connection as whose identity provider to call.
#[derive(InputObject)]
pub struct ScimSelfTestInput {
    /// The global id of a connection that an identity provider writes to.
    connection_id: ID,
}

/// The result of `scimSelfTest`.
#[derive(SimpleObject)]
pub struct ScimSelfTestPayload {
    /// Whether every step succeeded; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    ok: Option<bool>,
    /// The results, up to the first step that failed; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    steps: Option<Vec<ScimSelfTestStep>>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct SelfTestMutation;

#[Object]
impl SelfTestMutation {
    /// Calls this server's public SCIM URL as the identity provider of a connection would, and says
    /// which step fails: a wrong host name, a closed port, TLS, a proxy that removes the header
    /// `Authorization`, or another server that answers. It only reads, with a token of its own that
    /// lives for a minute, and does not count as a contact of the identity provider.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn scim_self_test(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ScimSelfTestInput,
    ) -> Result<Option<ScimSelfTestPayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let id = relay::parse_input_id(
                NodeKind::IdentitySource,
                &input.connection_id,
                Noun::Connection,
            )?;
            self_test::test_public_url(cx, id).await
        };
        let (steps, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let ok = steps.as_ref().map(|steps| steps.iter().all(|step| step.ok));
        let steps = steps.map(|steps| steps.into_iter().map(Into::into).collect());
        Ok(Some(ScimSelfTestPayload { ok, steps, user_errors }))
    }
}
