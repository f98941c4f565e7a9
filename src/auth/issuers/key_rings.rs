//! The keys of the issuers that connections trust: one set for each connection, fetched while it is
//! used. Connections never share a set, so that no organization can choose where the keys of
//! another one's issuer come from.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::Duration;
use uuid::Uuid;

use super::keys::IssuerKeys;
use super::settings::KeySource;
use crate::http_client::GuardedClient;

/// After this time keys are fetched again: a key that an issuer gave up is refused then.
const MAX_KEY_AGE: Duration = Duration::minutes(10);
/// The most connections whose keys are kept.
const MAX_RINGS: usize = 2_000;

/// The keys of the issuers that connections trust.
#[derive(Debug)]
pub struct KeyRings {
    outbound: Arc<GuardedClient>,
    rings: Mutex<HashMap<(Uuid, Uuid), Arc<IssuerKeys>>>,
}

impl KeyRings {
    /// None is kept yet; with `private` they may come from private networks.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(private: bool) -> Result<Self, String> {
        Ok(Self { outbound: Arc::new(GuardedClient::new(private)?), rings: Mutex::default() })
    }

    /// The client with which identity providers are called.
    pub fn outbound(&self) -> &GuardedClient {
        &self.outbound
    }

    /// The keys of the issuer that a connection of an organization trusts. Those that were kept for
    /// other settings of the connection are dropped.
    pub fn keys_of(
        &self,
        organization: Uuid,
        connection: Uuid,
        issuer: &str,
        source: &KeySource,
    ) -> Arc<IssuerKeys> {
        let place = (organization, connection);
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rings.get(&place)
            && known.are_from(issuer, source)
        {
            return known.clone();
        }
        if rings.len() >= MAX_RINGS
            && let Some(any) = rings.keys().next().copied()
        {
            rings.remove(&any);
        }
        let keys = IssuerKeys::new(issuer, source.clone(), self.outbound.clone());
        let keys = Arc::new(keys.with_max_age(MAX_KEY_AGE));
        rings.insert(place, keys.clone());
        keys
    }
}
