//! Evidence: the reports that auditors ask for, as rows in pages of bounded size. Each report names
//! the controls that it is for. Nothing here is stored: reports are read from the intervals and
//! from the ledger.

mod access;
mod changes;
mod leavers;
mod mappings;

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use entity::{event, ledger_head};
use sea_orm::{ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, QuerySelect};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx};
use crate::error::Result;
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent, SignedHead};

pub(in crate::domain) use leavers::count_recent_leavers;
pub use leavers::{
    DownstreamSummary, LeaverRow, RevocationBucket, RevocationSummary, list_leavers,
    measure_revocation,
};

/// Rows that are read at once.
const ROWS_PER_BATCH: u64 = 500;

/// A report, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidenceReport {
    /// Which accounts held which roles at an instant, and through what.
    Access { at: DateTime<Utc> },
    /// The leavers between two instants, how long each revocation took, and whether the account is
    /// active again.
    Leavers { from: DateTime<Utc>, to: DateTime<Utc> },
    /// Which group was mapped to which role between two instants, and the actors who did it.
    Mappings { from: DateTime<Utc>, to: DateTime<Utc> },
    /// Every change between two instants, of one actor or of all.
    Changes { from: DateTime<Utc>, to: DateTime<Utc>, actor: Option<String> },
}

impl EvidenceReport {
    /// The report's name in addresses and in signatures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Access { .. } => "access",
            Self::Leavers { .. } => "leavers",
            Self::Mappings { .. } => "mappings",
            Self::Changes { .. } => "changes",
        }
    }

    /// The controls that a column of such a report is evidence for. No certification is claimed.
    pub fn evidenced_controls(&self) -> &'static [&'static str] {
        match self {
            // role, permissions, source, given_by: what the account may do, and the actor who
            // decided it; expires_at: for how long.
            Self::Access { .. } => &[
                "ISO/IEC 27001:2022 A.5.15",
                "ISO/IEC 27001:2022 A.5.18",
                "SOC 2 CC6.3",
                "PCI DSS 4.0 7.2.2",
                "PCI DSS 4.0 7.2.4",
                "PCI DSS 4.0 8.2.4",
                "HIPAA 45 CFR 164.308(a)(4)(ii)(C)",
                "NIST CSF 2.0 PR.AA-05",
                "GDPR Article 32(1)(b)",
            ],
            // requested_at, revoked_at, milliseconds_to_revocation, active_now: whether access
            // ended in time.
            Self::Leavers { .. } => &[
                "ISO/IEC 27001:2022 A.5.16",
                "ISO/IEC 27001:2022 A.5.18",
                "SOC 2 CC6.2",
                "PCI DSS 4.0 8.2.5",
                "HIPAA 45 CFR 164.308(a)(3)(ii)(C)",
                "NIST CSF 2.0 PR.AA-01",
                "NIST CSF 2.0 PR.AA-05",
                "GDPR Article 32(1)(b)",
            ],
            // group, role, reason, made_by, ended_by: by which rule a function gives access, and
            // who approved it.
            Self::Mappings { .. } => &[
                "ISO/IEC 27001:2022 A.5.15",
                "ISO/IEC 27001:2022 A.5.18",
                "SOC 2 CC6.3",
                "PCI DSS 4.0 7.2.1",
                "PCI DSS 4.0 7.2.3",
                "HIPAA 45 CFR 164.308(a)(4)(ii)(B)",
                "NIST CSF 2.0 PR.AA-05",
                "GDPR Article 25(2)",
            ],
            // actor_id, action, subject_id, at: every change to accounts and access, its actor and
            // its time.
            Self::Changes { .. } => &[
                "ISO/IEC 27001:2022 A.5.16",
                "SOC 2 CC6.2",
                "SOC 2 CC6.3",
                "PCI DSS 4.0 8.2.4",
                "HIPAA 45 CFR 164.312(b)",
                "NIST CSF 2.0 PR.AA-01",
                "GDPR Article 5(2)",
            ],
        }
    }

    /// The columns of a row, in order.
    pub fn column_names(&self) -> &'static [&'static str] {
        match self {
            Self::Access { .. } => access::ACCESS_COLUMNS,
            Self::Leavers { .. } => leavers::LEAVER_COLUMNS,
            Self::Mappings { .. } => mappings::MAPPING_COLUMNS,
            Self::Changes { .. } => changes::CHANGE_COLUMNS,
        }
    }
}

/// The place where the next rows begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportPlace {
    AfterId(Uuid),
    AfterPos(i64),
}

/// Some rows of a report, and the place where the next ones begin.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportBatch {
    pub rows: Vec<Vec<Value>>,
    pub next: Option<ReportPlace>,
}

/// The next rows of a report.
pub async fn read_batch(
    cx: &Cx,
    report: &EvidenceReport,
    from: Option<ReportPlace>,
) -> Result<ReportBatch> {
    cx.allow(Action::ReadLedger, None)?;
    cx.allow(Action::ReadUser, None)?;
    cx.allow(Action::ReadIam, None)?;
    match report {
        EvidenceReport::Access { at } => access::read_access(cx, *at, from).await,
        EvidenceReport::Leavers { from: since, to } => {
            leavers::read_leavers(cx, *since, *to, from).await
        }
        EvidenceReport::Mappings { from: since, to } => {
            mappings::read_mappings(cx, *since, *to, from).await
        }
        EvidenceReport::Changes { from: since, to, actor } => {
            changes::read_changes(cx, *since, *to, actor.as_deref(), from).await
        }
    }
}

/// Records in the ledger that evidence is exported: which report, and its extent.
///
/// # Errors
/// If this fails, nothing may be exported, because each export needs an event in the ledger.
pub async fn record_export(cx: &Cx, kind: EventKind, extent: Map<String, Value>) -> Result<()> {
    cx.allow(Action::ReadLedger, None)?;
    let extent = &Value::Object(extent);
    cx.write(move |tx| {
        Box::pin(async move {
            let entry = NewEvent {
                kind,
                subject: EventSubject { kind: "organization", id: cx.organization() },
                connection: None,
                at: tx.now_after(None),
                before: None,
                after: Some(extent.clone()),
                population: 0,
                name: None,
            };
            Ok(Change::recorded((), entry))
        })
    })
    .await
}

/// The end of the ledger's chain: the number and the hash of its last row.
pub async fn ledger_position(cx: &Cx) -> Result<(i64, Vec<u8>)> {
    cx.allow(Action::ReadLedger, None)?;
    let head = cx.find::<ledger_head::Entity>().one(cx.db()).await?;
    Ok(head.map_or((0, Vec::new()), |head| (head.seq, head.hash)))
}

/// The state of the ledger's chain, as far as it is known without walking along it.
#[derive(Debug)]
pub struct LedgerState {
    /// The number and the hash of the last row in the chain.
    pub sequence: i64,
    pub hash: Vec<u8>,
    /// Rows that are not in the chain yet.
    pub unsealed: i64,
    /// What was last signed about the chain's end; none if nothing was, or if it does not hold.
    pub signed: Option<SignedHead>,
    /// Why the signature does not hold.
    pub fault: Option<String>,
    /// The id of the key that signs now.
    pub key_id: String,
}

/// The state of the ledger's chain. Whether the chain is unbroken, `rolecall audit verify` says.
pub async fn read_ledger_state(cx: &Cx) -> Result<LedgerState> {
    let (sequence, hash) = ledger_position(cx).await?;
    let text = "SELECT count(*) AS unsealed FROM unsealed WHERE organization_id = $1";
    let row = cx.db().query_one_raw(cx.statement(text, [])).await?;
    let unsealed = row.map_or(Ok(0), |row| row.try_get("", "unsealed"))?;
    let signed = ledger::read_signed_head(&cx.app.store, &cx.app.vault, cx.organization()).await?;
    let (signed, fault) = match signed {
        Ok(signed) => (signed, None),
        Err(why) => (None, Some(why)),
    };
    let key_id = cx.app.vault.signing_key(cx.app.clock.now())?.id().to_owned();
    Ok(LedgerState { sequence, hash, unsealed, signed, fault, key_id })
}

/// The actor, the instant and the request of a change.
#[derive(Debug, Clone, FromQueryResult)]
struct ChangeMaker {
    id: Uuid,
    at: DateTime<Utc>,
    actor_name: String,
    request_id: Uuid,
}

/// The authors of these changes.
async fn find_makers(
    cx: &Cx,
    events: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, ChangeMaker>> {
    let query = cx.find::<event::Entity>().select_only().columns([
        event::Column::Id,
        event::Column::At,
        event::Column::ActorName,
        event::Column::RequestId,
    ]);
    let query = query.filter(event::Column::Id.is_in(events));
    Ok(query
        .into_model::<ChangeMaker>()
        .all(cx.db())
        .await?
        .into_iter()
        .map(|maker| (maker.id, maker))
        .collect())
}

/// An instant as reports show it.
fn instant_cell(at: DateTime<Utc>) -> Value {
    at.to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

fn optional_instant_cell(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, instant_cell)
}

fn id_cell(id: Uuid) -> Value {
    id.to_string().into()
}
