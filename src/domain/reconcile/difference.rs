//! What a comparison found, before it is written as findings.

use std::collections::BTreeMap;

use sea_orm::ActiveEnum;
use serde_json::{Value, json};
use uuid::Uuid;

use super::diff::{AttributeDifference, ExportColumns};
use super::{Class, ComparisonCounts, Kind};
use crate::crypto::vault;

/// A difference, before it is written as a finding.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    pub kind: Kind,
    /// What identifies the same difference in the next comparison.
    pub identity: Value,
    pub thing: Option<Vec<u8>>,
    pub user: Option<Uuid>,
    pub group: Option<Uuid>,
    pub label: Option<String>,
    pub class: Option<Class>,
    pub leaver: bool,
    /// Whether the account is active.
    pub active: bool,
    pub roles: i32,
    pub detail: BTreeMap<String, AttributeDifference>,
}

impl Difference {
    pub(super) fn new(kind: Kind, identity: Value) -> Self {
        Self {
            kind,
            identity,
            thing: None,
            user: None,
            group: None,
            label: None,
            class: None,
            leaver: false,
            active: false,
            roles: 0,
            detail: BTreeMap::new(),
        }
    }

    /// The key of its finding.
    pub(super) fn difference_key(&self) -> Vec<u8> {
        finding_hash(self.kind, &self.identity)
    }
}

/// The key by which the next comparison finds the same difference.
pub(super) fn finding_hash(kind: Kind, identity: &Value) -> Vec<u8> {
    vault::hash_secret(&json!([kind.to_value(), identity]).to_string())
}

/// The outcome of a comparison.
#[derive(Debug, Default)]
pub(super) struct ComparisonOutcome {
    pub found: Vec<Difference>,
    /// The kinds of findings that it checked completely: open findings of these kinds that it did
    /// not see are gone.
    pub covers: Vec<Kind>,
    /// The attributes of accounts that were compared; none = all.
    pub columns: Option<ExportColumns>,
    pub counts: ComparisonCounts,
    /// A note for administrators.
    pub note: Option<String>,
    /// Why the comparison is refused; then it has no findings.
    pub refused: Option<String>,
}
