//! When each credential was used last, and from where.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::buffers::write_behind::{BufferContent, WriteBehind};

/// Which credential was used when and from where.
pub type CredentialUsage = WriteBehind<LatestUses>;

/// The latest use of each credential since the last flush.
#[derive(Debug, Default)]
pub struct LatestUses(HashMap<Credential, CredentialUse>);

/// A credential, with the connection it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    ScimToken {
        organization: Uuid,
        id: Uuid,
        connection: Uuid,
    },
    ApiKey {
        organization: Uuid,
        id: Uuid,
    },
    /// A verified sign-in of a connection's identity provider.
    Assertion {
        organization: Uuid,
        connection: Uuid,
    },
}

/// One use of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialUse {
    pub at: DateTime<Utc>,
    pub from: Option<String>,
}

impl CredentialUsage {
    /// Remembers the latest use.
    pub fn note_use(&self, credential: Credential, at: DateTime<Utc>, from: Option<String>) {
        self.lock().0.insert(credential, CredentialUse { at, from });
    }
}

impl BufferContent for LatestUses {
    type Batch = Vec<(Credential, CredentialUse)>;

    fn drain(&mut self, _now: DateTime<Utc>) -> Self::Batch {
        self.0.drain().collect()
    }

    fn restore(&mut self, rest: Self::Batch) {
        for (credential, used) in rest {
            self.0.entry(credential).or_insert(used);
        }
    }
}
