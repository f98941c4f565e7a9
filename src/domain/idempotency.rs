//! Repeats of a request: whoever gives the same key within a day hears the first answer again, and nothing happens
//! twice, whatever the replica and whatever died meanwhile.
//!
//! A claim is taken before anything is done. If its run dies without an answer, the ledger knows whether it did
//! anything: rows there are written in the transaction of their change and name the request. What was not done may be
//! done again; what was done is not, though its answer is lost.
//!
//! An answer may tell of people. Every erasure empties the answers of its organization, since they cannot be searched
//! for one person's data; that they were given is not forgotten.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{event, idempotency};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, Statement,
};
use uuid::Uuid;

use crate::context::{App, Cx, Tx};
use crate::error::Result;
use crate::vault;

/// How long a key is remembered.
const LIFE: Duration = Duration::hours(24);
/// A run that has no answer after so long has died. Longer than any request may take.
const LEASE: Duration = Duration::seconds(30);
/// The longest answer that is kept, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// What a request is to begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nobody has done it: do it, then [`keep`] the answer or [`release`] the claim.
    Run(Claim),
    /// It was done; this was the answer.
    Answered(String),
    /// It was done, and there is no answer to give.
    Unanswered,
    /// It is being done right now.
    Running,
    /// The key belongs to another request.
    Different,
}

/// The right to do what a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    name: Vec<u8>,
    holder: Uuid,
}

/// Begins what the caller means by `key` within the organization; `asked` is all that makes it the same request.
pub async fn begin(cx: &Cx, caller: &str, key: &str, asked: &str) -> Result<Beginning> {
    let now = cx.app.clock.now();
    let claim = Claim { name: vault::hash(&format!("{caller}\0{key}")), holder: Uuid::now_v7() };
    let fingerprint = vault::hash(asked);
    let row = idempotency::Model {
        organization_id: cx.organization(),
        name: claim.name.clone(),
        fingerprint: fingerprint.clone(),
        holder: claim.holder,
        request_id: cx.request_id,
        until: now + LEASE,
        done: false,
        answer: None,
        erased_by: None,
        expires_at: now + LIFE,
    };
    if insert(cx, row.clone(), now).await? {
        return Ok(Beginning::Run(claim));
    }
    let found = cx.find::<idempotency::Entity>().filter(idempotency::Column::Name.eq(claim.name.clone()));
    // It may just have been released: then whoever repeats once more begins it.
    let Some(found) = found.one(&cx.app.store.write).await? else { return Ok(Beginning::Running) };
    match found {
        found if found.fingerprint != fingerprint => Ok(Beginning::Different),
        idempotency::Model { answer: Some(answer), .. } => Ok(Beginning::Answered(answer)),
        idempotency::Model { done: true, .. } => Ok(Beginning::Unanswered),
        found if found.until > now => Ok(Beginning::Running),
        found if did_something(cx, &found).await? => Ok(Beginning::Unanswered),
        found => {
            let dead = Claim { name: found.name, holder: found.holder };
            let taken = idempotency::Entity::update_many().set(idempotency::ActiveModel::from(row).reset_all());
            let taken = taken.filter(held(cx, &dead)).filter(idempotency::Column::Done.eq(false));
            let taken = taken.exec(&cx.app.store.write).await?.rows_affected == 1;
            Ok(if taken { Beginning::Run(claim) } else { Beginning::Running })
        }
    }
}

/// Takes the place of nothing, or of what has expired.
async fn insert(cx: &Cx, row: idempotency::Model, now: DateTime<Utc>) -> Result<bool> {
    use idempotency::Column;
    let expired = OnConflict::columns([Column::OrganizationId, Column::Name])
        .update_columns([
            Column::Fingerprint,
            Column::Holder,
            Column::RequestId,
            Column::Until,
            Column::Done,
            Column::Answer,
            Column::ErasedBy,
            Column::ExpiresAt,
        ])
        .action_and_where(Expr::col((idempotency::Entity, Column::ExpiresAt)).lte(now))
        .to_owned();
    let row = idempotency::ActiveModel::from(row);
    let insert = idempotency::Entity::insert(row).on_conflict(expired);
    Ok(insert.exec_without_returning(&cx.app.store.write).await? > 0)
}

/// Whether a run that died has left anything in the ledger. Its events' ids were made after its own, by the same
/// process, and grow with time.
async fn did_something(cx: &Cx, run: &idempotency::Model) -> Result<bool> {
    let events = cx.find::<event::Entity>().filter(event::Column::Id.gt(run.holder));
    Ok(events.filter(event::Column::RequestId.eq(run.request_id)).count(&cx.app.store.write).await? > 0)
}

/// Keeps the answer of what was done. `alone` says that the request did a single thing: then its answer may stay even
/// if that thing was an erasure.
pub async fn keep(cx: &Cx, claim: &Claim, answer: String, alone: bool) -> Result<()> {
    let answer = Some(answer).filter(|answer| answer.len() <= MAX_ANSWER);
    let untouched = match alone {
        true => "(erased_by IS NULL OR erased_by = request_id)",
        false => "erased_by IS NULL",
    };
    let text = format!(
        "UPDATE idempotency SET done = TRUE, answer = CASE WHEN {untouched} THEN $4 END \
         WHERE organization_id = $1 AND name = $2 AND holder = $3"
    );
    let values = [cx.organization().into(), claim.name.clone().into(), claim.holder.into(), answer.into()];
    cx.app.store.write.execute_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    Ok(())
}

/// Gives the claim up: nothing was done, and the same key may begin again.
pub async fn release(cx: &Cx, claim: &Claim) -> Result<()> {
    idempotency::Entity::delete_many().filter(held(cx, claim)).exec(&cx.app.store.write).await?;
    Ok(())
}

fn held(cx: &Cx, claim: &Claim) -> Condition {
    Condition::all()
        .add(idempotency::Column::OrganizationId.eq(cx.organization()))
        .add(idempotency::Column::Name.eq(claim.name.clone()))
        .add(idempotency::Column::Holder.eq(claim.holder))
}

/// Empties the organization's kept answers, and marks the requests that are running: what they read before may be in
/// theirs.
pub(super) async fn erase(tx: &Tx<'_>) -> Result<()> {
    let text = "UPDATE idempotency SET answer = NULL, \
         erased_by = CASE WHEN done THEN NULL WHEN erased_by IS NULL OR erased_by = $2 THEN $2 ELSE $3 END \
         WHERE organization_id = $1 AND (answer IS NOT NULL OR NOT done)";
    let values = [tx.organization().into(), tx.request_id().into(), Uuid::nil().into()];
    tx.db.execute_raw(Statement::from_sql_and_values(tx.db.get_database_backend(), text, values)).await?;
    Ok(())
}

/// Forgets the keys whose time is over, in every organization. Returns how many.
pub async fn forget(app: &Arc<App>) -> Result<u64> {
    let old = idempotency::Column::ExpiresAt.lte(app.clock.now());
    Ok(idempotency::Entity::delete_many().filter(old).exec(&app.store.write).await?.rows_affected)
}
