//! Name clashes: accounts whose names have the same key since keys ignore the width of letters.
//! Both keep their old keys, and a finding about each stays open until one of them is renamed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use entity::finding;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::diff::AttributeDifference;
use super::difference::finding_hash;
use super::{Finding, Kind, Source, State, UNFINISHED_CONDITION, describe_finding, finding_event};
use crate::context::{App, Change, Cx};
use crate::domain::{lock_row, save_row};
use crate::error::Result;
use crate::identity::document;
use crate::ledger::EventKind;

/// Findings that one sweep checks.
const BATCH_SIZE: u64 = 500;

/// An account whose name another live account has in another width.
#[derive(Debug)]
pub struct NameClash {
    pub user: Uuid,
    pub user_name: String,
    pub other_name: String,
    /// The owner, or the owner of the other account.
    pub connection: Uuid,
}

/// Opens a finding about an account, unless there is one.
///
/// # Errors
/// Errors of the database.
pub async fn open_name_clash(cx: &Cx, clash: &NameClash) -> Result<()> {
    cx.write(move |tx| {
        Box::pin(async move {
            let key = finding_hash(Kind::NameClash, &json!(["id", clash.user]));
            let known = tx
                .find::<finding::Entity>()
                .filter(finding::Column::ConnectionId.eq(clash.connection))
                .filter(finding::Column::Source.eq(Source::LastWrite))
                .filter(finding::Column::Key.eq(key.clone()));
            if lock_row(tx, known).await?.is_some() {
                return Ok(Change::unchanged(()));
            }
            let now = tx.now_after(None);
            let (theirs, ours) =
                (Some(clash.other_name.clone().into()), Some(clash.user_name.clone().into()));
            let differs =
                BTreeMap::from([("userName".to_owned(), AttributeDifference::of(theirs, ours))]);
            let row = Finding {
                organization_id: tx.organization(),
                id: Uuid::now_v7(),
                connection_id: clash.connection,
                source: Source::LastWrite,
                kind: Kind::NameClash,
                key,
                thing: None,
                user_id: Some(clash.user),
                group_id: None,
                label: Some(clash.user_name.clone()),
                class: None,
                leaver: false,
                roles_held: 0,
                detail: json!(differs),
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
            };
            let entry = finding_event(EventKind::FindingOpened, &row, now, describe_finding(&row));
            finding::Entity::insert(row.into_active_model()).exec_without_returning(&tx.db).await?;
            Ok(Change::recorded((), entry))
        })
    })
    .await
}

#[derive(FromQueryResult)]
struct OpenClash {
    organization_id: Uuid,
    id: Uuid,
    /// None = the account is deleted.
    user_name: Option<String>,
    user_name_key: Option<String>,
}

/// Closes the findings about accounts whose names clash no longer, because one was renamed or
/// deleted, in every organization; returns how many.
///
/// # Errors
/// Errors of the database.
pub async fn close_settled_clashes(app: &Arc<App>) -> Result<u64> {
    let text = format!(
        r#"SELECT f.organization_id, f.id, u.user_name, u.user_name_key FROM finding f
           LEFT JOIN "user" u ON u.organization_id = f.organization_id AND u.id = f.user_id
           AND u.deleted_at IS NULL
           WHERE f.kind = 'NAME_CLASH' AND f.{UNFINISHED_CONDITION}
           ORDER BY f.organization_id, f.id LIMIT {BATCH_SIZE}"#
    );
    let open = app.statement_for_all_organizations(text, [], "which name clashes are open");
    let open = OpenClash::find_by_statement(open).all(&app.store.read).await?;
    // An account with an old key waits for the key that its name has now.
    let names = open
        .iter()
        .filter_map(|row| Some((row, row.user_name.as_deref()?, row.user_name_key.as_deref()?)));
    let awaited: HashSet<(Uuid, String)> = names
        .map(|(row, name, key)| (row.organization_id, document::fold_text(name), key))
        .filter(|(_, wanted, key)| wanted != key)
        .map(|(organization, wanted, _)| (organization, wanted))
        .collect();
    let mut closed = 0;
    for row in &open {
        let name = row.user_name.as_deref().map(document::fold_text);
        if name.is_some_and(|name| awaited.contains(&(row.organization_id, name))) {
            continue;
        }
        let cx = &Cx::system(app.clone(), row.organization_id);
        closed += cx
            .write(move |tx| {
                Box::pin(async move {
                    let query = tx.find::<finding::Entity>().filter(finding::Column::Id.eq(row.id));
                    let Some(before) = lock_row(tx, query).await? else {
                        return Ok(Change::unchanged(0));
                    };
                    if before.state == State::Gone {
                        return Ok(Change::unchanged(0));
                    }
                    let now = tx.now_after(Some(before.last_seen_at));
                    let after = Finding { state: State::Gone, decided_at: Some(now), ..before };
                    save_row::<finding::Entity, finding::ActiveModel>(tx, after.clone()).await?;
                    Ok(Change::recorded(
                        1,
                        finding_event(
                            EventKind::FindingGone,
                            &after,
                            now,
                            describe_finding(&after),
                        ),
                    ))
                })
            })
            .await?;
    }
    Ok(closed)
}
