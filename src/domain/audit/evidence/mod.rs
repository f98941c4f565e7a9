//! Evidence: what an auditor asks for, as rows that can be read in pages of bounded size, each report named for the
//! controls that it serves. Nothing here is stored: reports are readings of the intervals and of the ledger.

mod access;
mod changes;
mod leavers;
mod mappings;

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use entity::{event, ledger_head};
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter, QuerySelect};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::authz::Action;
use crate::context::{Change, Cx};
use crate::error::Result;
use crate::ledger::{Entry, EventKind, Subject};

pub use leavers::{Leaver, Revocation, leavers, revocation};

/// Rows read at once.
const BATCH: u64 = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Who held which role at an instant, and through what.
    Access { at: DateTime<Utc> },
    /// Who left between two instants, how long it took, and whether the account is in use again.
    Leavers { from: DateTime<Utc>, to: DateTime<Utc> },
    /// Which group was mapped to which role between two instants, and by whom.
    Mappings { from: DateTime<Utc>, to: DateTime<Utc> },
    /// Every change between two instants, of one actor or of all.
    Changes { from: DateTime<Utc>, to: DateTime<Utc>, actor: Option<String> },
}

impl Report {
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
    pub fn controls(&self) -> &'static [&'static str] {
        match self {
            // role, permissions, source, given_by: who may do what, by whose decision; expires_at: for how long.
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
            // requested_at, revoked_at, milliseconds_to_revocation, active_now: whether access ended in time.
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
            // group, role, reason, made_by, ended_by: by which rule a function gives access, and who approved it.
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
            // actor_id, action, subject_id, at: which change to accounts and access who made, and when.
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

    /// What stands in a row, in order.
    pub fn columns(&self) -> &'static [&'static str] {
        match self {
            Self::Access { .. } => access::COLUMNS,
            Self::Leavers { .. } => leavers::COLUMNS,
            Self::Mappings { .. } => mappings::COLUMNS,
            Self::Changes { .. } => changes::COLUMNS,
        }
    }
}

/// Where the next rows begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    AfterId(Uuid),
    AfterPos(i64),
}

/// Some rows of a report, and where it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub rows: Vec<Vec<Value>>,
    pub next: Option<Place>,
}

/// The next rows of a report.
pub async fn read(cx: &Cx, report: &Report, from: Option<Place>) -> Result<Batch> {
    cx.allow(Action::ReadLedger, None)?;
    cx.allow(Action::ReadUser, None)?;
    cx.allow(Action::ReadIam, None)?;
    match report {
        Report::Access { at } => access::read(cx, *at, from).await,
        Report::Leavers { from: since, to } => leavers::read(cx, *since, *to, from).await,
        Report::Mappings { from: since, to } => mappings::read(cx, *since, *to, from).await,
        Report::Changes { from: since, to, actor } => changes::read(cx, *since, *to, actor.as_deref(), from).await,
    }
}

/// Tells the ledger that evidence is read out: which, of when, and how much of it.
///
/// # Errors
/// Without a row in the ledger nothing is to be read out.
pub async fn record_export(cx: &Cx, kind: EventKind, extent: Map<String, Value>) -> Result<()> {
    cx.allow(Action::ReadLedger, None)?;
    let extent = &Value::Object(extent);
    cx.write(move |tx| {
        Box::pin(async move {
            let entry = Entry {
                kind,
                subject: Subject { kind: "organization", id: cx.organization() },
                connection: None,
                at: tx.now_after(None),
                before: None,
                after: Some(extent.clone()),
                population: 0,
            };
            Ok(Change::made((), entry))
        })
    })
    .await
}

/// Where the chain of the ledger ends: the number of its last row, and that row's hash.
pub async fn position(cx: &Cx) -> Result<(i64, Vec<u8>)> {
    cx.allow(Action::ReadLedger, None)?;
    let head = cx.find::<ledger_head::Entity>().one(cx.db()).await?;
    Ok(head.map_or((0, Vec::new()), |head| (head.seq, head.hash)))
}

/// Who made a change, when, and under which request.
#[derive(Debug, Clone, FromQueryResult)]
struct Maker {
    id: Uuid,
    at: DateTime<Utc>,
    actor_name: String,
    request_id: Uuid,
}

/// Who made each of these changes.
async fn makers(cx: &Cx, events: impl IntoIterator<Item = Uuid>) -> Result<HashMap<Uuid, Maker>> {
    let query = cx.find::<event::Entity>().select_only().columns([
        event::Column::Id,
        event::Column::At,
        event::Column::ActorName,
        event::Column::RequestId,
    ]);
    let query = query.filter(event::Column::Id.is_in(events));
    Ok(query.into_model::<Maker>().all(cx.db()).await?.into_iter().map(|maker| (maker.id, maker)).collect())
}

/// An instant as it stands in a report.
fn instant(at: DateTime<Utc>) -> Value {
    at.to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

fn maybe(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, instant)
}

fn id(id: Uuid) -> Value {
    id.to_string().into()
}
