//! Findings about people whose sign-ins say that they are in other groups than SCIM says.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use entity::finding;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::diff::AttributeDifference;
use super::difference::finding_hash;
use super::{Finding, Kind, Source, State, describe_finding, finding_event, reopened_finding};
use crate::context::{Change, Cx, Tx};
use crate::domain::directory::user::User;
use crate::domain::{lock_row, save_row};
use crate::error::Result;
use crate::ledger::EventKind;

/// The groups of a person, by name, as the two sides have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) struct ClaimedDifference {
    pub claimed: Vec<String>,
    pub held: Vec<String>,
}

/// Opens, reopens or closes the finding about a person's claims. One person has one finding for a
/// connection, however often the claims are seen.
///
/// # Errors
/// Errors of the database.
pub(in crate::domain) async fn tell_claims(
    cx: &Cx,
    connection: Uuid,
    user: &User,
    differs: Option<&ClaimedDifference>,
) -> Result<()> {
    let detail = differs.map(|differs| {
        let (theirs, ours) = (json!(differs.claimed), json!(differs.held));
        json!(BTreeMap::from([(
            "groups".to_owned(),
            AttributeDifference::of(Some(theirs), Some(ours))
        )]))
    });
    let detail = &detail;
    cx.write(move |tx| {
        Box::pin(async move {
            let key = finding_hash(Kind::ClaimsDiffer, &json!(["id", user.id]));
            let known = tx
                .find::<finding::Entity>()
                .filter(finding::Column::ConnectionId.eq(connection))
                .filter(finding::Column::Source.eq(Source::SignIn))
                .filter(finding::Column::Key.eq(key.clone()));
            let known = lock_row(tx, known).await?;
            let now = tx.now_after(known.as_ref().map(|row| row.last_seen_at));
            let (kind, row) = match (known, detail) {
                (None, None) => return Ok(Change::unchanged(())),
                (None, Some(detail)) => {
                    let row = new_finding(tx, connection, user, key, detail.clone(), now);
                    let insert = finding::Entity::insert(row.clone().into_active_model());
                    insert.exec_without_returning(&tx.db).await?;
                    (EventKind::FindingOpened, row)
                }
                (Some(before), None) => {
                    if !matches!(before.state, State::Open | State::Accepted) {
                        return Ok(Change::unchanged(()));
                    }
                    let row = Finding { state: State::Gone, decided_at: Some(now), ..before };
                    save_row::<finding::Entity, finding::ActiveModel>(tx, row.clone()).await?;
                    (EventKind::FindingGone, row)
                }
                (Some(before), Some(detail)) => {
                    let same = before.detail == *detail;
                    if same && matches!(before.state, State::Open | State::Accepted) {
                        return Ok(Change::unchanged(()));
                    }
                    let seen = Finding {
                        detail: detail.clone(),
                        label: Some(user.user_name.clone()),
                        count: before.count + 1,
                        last_seen_at: now,
                        ..before
                    };
                    let row = reopened_finding(seen);
                    save_row::<finding::Entity, finding::ActiveModel>(tx, row.clone()).await?;
                    (EventKind::FindingReopened, row)
                }
            };
            Ok(Change::recorded((), finding_event(kind, &row, now, describe_finding(&row))))
        })
    })
    .await
}

fn new_finding(
    tx: &Tx<'_>,
    connection: Uuid,
    user: &User,
    key: Vec<u8>,
    detail: Value,
    now: DateTime<Utc>,
) -> Finding {
    Finding {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: connection,
        source: Source::SignIn,
        kind: Kind::ClaimsDiffer,
        key,
        thing: None,
        user_id: Some(user.id),
        group_id: None,
        label: Some(user.user_name.clone()),
        class: None,
        leaver: false,
        roles_held: 0,
        detail,
        state: State::Open,
        resolution: None,
        reason: None,
        accepted_until: None,
        count: 1,
        first_seen_at: now,
        last_seen_at: now,
        last_run_id: Uuid::nil(),
        decided_at: None,
        decided_by: None,
    }
}
