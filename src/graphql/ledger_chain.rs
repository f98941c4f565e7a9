//! The state of the ledger's chain.

use async_graphql::SimpleObject;
use chrono::{DateTime, Utc};

use super::permission::{Permission, needs};
use crate::domain::audit::evidence::LedgerState;
use crate::graphql::relay::Long;

/// The state of the chain of an organization's ledger. Each row in the chain holds a hash over its
/// content and over the row before it, and the end of the chain is signed again and again.
#[derive(SimpleObject)]
pub struct LedgerChain {
    /// The position (`Event.seq`) of the last row in the chain; 0 if there is none.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    sealed_through: Long,
    /// The hash of that row, in hexadecimal.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    head_hash: String,
    /// How many rows are not in the chain yet. They are added within seconds.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    unsealed_count: Long,
    /// The position up to which the chain was last signed; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    signed_through: Option<Long>,
    /// When that was signed; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    signed_at: Option<DateTime<Utc>>,
    /// Why the signature does not hold, in words for people; null while it does.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    fault: Option<String>,
    /// The id of the key that signs heads and evidence now, as their `kid` says it. `rolecall audit
    /// key` prints the public key.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    key_id: String,
}

impl From<LedgerState> for LedgerChain {
    fn from(state: LedgerState) -> Self {
        let signed = state.signed.as_ref();
        Self {
            sealed_through: Long(state.sequence),
            head_hash: hex::encode(&state.hash),
            unsealed_count: Long(state.unsealed),
            signed_through: signed.map(|signed| Long(signed.sequence)),
            signed_at: signed.and_then(|signed| DateTime::from_timestamp(signed.iat, 0)),
            fault: state.fault,
            key_id: state.key_id,
        }
    }
}
