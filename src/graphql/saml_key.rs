//! The mutations that renew the keys with which rolecall itself takes part in SAML.

use async_graphql::{Context, ID, InputObject, Object};
use chrono::Duration;
use uuid::Uuid;

use super::connection::IdentitySource;
use super::permission::{Permission, needs};
use crate::context::Cx;
use crate::domain::connection::assertion_source::service_key;
use crate::error::{Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind};

const KEY_FIELDS: FieldMap = FieldMap { nouns: &[(Noun::Connection, "connectionId")], fields: &[] };

/// The connection whose key is to be renewed.
#[derive(InputObject)]
pub struct SamlKeyPrepareInput {
    /// The connection's global id.
    connection_id: ID,
    /// The mutation is refused if the connection's `version` is no longer this one.
    expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The connection whose prepared key is to be activated.
#[derive(InputObject)]
pub struct SamlKeyActivateInput {
    /// The connection's global id.
    connection_id: ID,
    /// The mutation is refused if the connection's `version` is no longer this one.
    expected_version: Option<i32>,
    /// For how many seconds the old key still decrypts, at most 2592000 (30 days); 0 = it ends at
    /// once.
    #[graphql(default = 604_800)]
    overlap_seconds: i32,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

mutation_payloads! {
    saml_key_payloads;
    /// The connection after the change; null if there were mistakes.
    connection: IdentitySource;
    /// The result of `samlKeyPrepare`.
    SamlKeyPreparePayload,
    /// The result of `samlKeyActivate`.
    SamlKeyActivatePayload,
}

/// The request with its reason, and the connection that it names.
fn read_target(ctx: &Context<'_>, connection: &ID, reason: Option<&str>) -> Result<(Cx, Uuid)> {
    mistakes::both(
        relay::cx_with_reason(ctx, reason),
        relay::parse_input_id(NodeKind::IdentitySource, connection, Noun::Connection),
    )
}

#[derive(Default)]
pub struct SamlKeyMutation;

#[Object]
impl SamlKeyMutation {
    /// Prepares a new key of ours for a connection that accepts responses of SAML: our metadata
    /// name it beside the active one, and assertions may be encrypted for either. When the identity
    /// provider has read them, activate it (`samlKeyActivate`).
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn saml_key_prepare(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: SamlKeyPrepareInput,
    ) -> Result<Option<SamlKeyPreparePayload>> {
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (cx, id) = read_target(ctx, &input.connection_id, input.reason.as_deref())?;
            service_key::prepare_key(&cx, id, expected).await
        };
        SamlKeyPreparePayload::from_result(done.await, KEY_FIELDS)
    }

    /// Activates the prepared key: it signs our requests from now on, and our metadata name it
    /// alone. The old key still decrypts for a while.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn saml_key_activate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: SamlKeyActivateInput,
    ) -> Result<Option<SamlKeyActivatePayload>> {
        let expected = relay::to_version(input.expected_version);
        let overlap = Duration::seconds(input.overlap_seconds.into());
        let done = async {
            let (cx, id) = read_target(ctx, &input.connection_id, input.reason.as_deref())?;
            service_key::activate_key(&cx, id, overlap, expected).await
        };
        SamlKeyActivatePayload::from_result(done.await, KEY_FIELDS)
    }
}
