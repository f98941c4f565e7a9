//! Repeated requests: a client that sends the same key within a day gets the first answer again,
//! and nothing is done twice, on any replica and after any crash.
//!
//! A run claims the key before it does anything. If it dies without an answer, another run may take
//! the claim over. The ledger then shows whether anything was done: its events are written in the
//! transaction of their change and name the request. If nothing was done, the request is run again.
//! If something was done, it is not repeated, and its answer is lost. A run that was only delayed
//! cannot write after its claim was taken over.
//!
//! An answer may contain personal data. Every erasure deletes the answers of its organization,
//! because they cannot be searched for the data of one person. It stays recorded that the requests
//! were answered.

use std::sync::Arc;

use chrono::Duration;
use entity::{event, idempotency};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};
use uuid::Uuid;

use crate::context::{App, Cx, IDEMPOTENCY_KEYS, Lease, LeaseClaim, Tx};
use crate::crypto::vault;
use crate::error::Result;

/// How long a key is stored.
const KEY_RETENTION: Duration = Duration::hours(24);
/// A run without an answer after so long counts as dead.
const RUN_LEASE: Duration = Duration::seconds(30);
/// The longest answer that is stored, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// How a request with a key begins.
#[derive(Debug, PartialEq)]
pub enum IdempotentStart {
    /// The request was not done yet: do it, then [`keep_answer`] the answer or [`release_claim`]
    /// the claim.
    Run(IdempotencyClaim),
    /// It was done, with this answer.
    Answered(String),
    /// It was done, and its answer is not stored.
    Unanswered,
    /// Another run is doing it now.
    Running,
    /// The key belongs to another request.
    Different,
}

/// The right of one run to do the request of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct IdempotencyClaim(Lease);

/// Begins the request with this key of the caller within the organization. A request is the same if
/// its `asked` is the same.
pub async fn begin_request(
    cx: &Cx,
    caller: &str,
    key: &str,
    asked: &str,
) -> Result<IdempotentStart> {
    let (name, fingerprint, holder) = (
        vault::hash_secret(&format!("{caller}\0{key}")),
        vault::hash_secret(asked),
        Uuid::now_v7(),
    );
    if insert_key(cx, &name, &fingerprint, holder).await? {
        return Ok(begin_run(cx, name, holder));
    }
    let found = cx.find::<idempotency::Entity>().filter(idempotency::Column::Name.eq(name.clone()));
    // The claim may just have been released. The next repetition of the request then begins it.
    let Some(found) = found.one(&cx.app.store.write).await? else {
        return Ok(IdempotentStart::Running);
    };
    match found {
        found if found.fingerprint != fingerprint => Ok(IdempotentStart::Different),
        idempotency::Model { answer: Some(answer), .. } => Ok(IdempotentStart::Answered(answer)),
        idempotency::Model { done: true, .. } => Ok(IdempotentStart::Unanswered),
        found => take_over(cx, found, holder).await,
    }
}

/// From now on the request's writes take effect only while this run holds the key.
fn begin_run(cx: &Cx, name: Vec<u8>, holder: Uuid) -> IdempotentStart {
    let lease = Lease::new(&IDEMPOTENCY_KEYS, cx.organization(), name, holder);
    cx.set_fence(lease.clone());
    IdempotentStart::Run(IdempotencyClaim(lease))
}

/// Stores the key, unless it is stored and has not expired; returns whether it did.
async fn insert_key(cx: &Cx, name: &[u8], fingerprint: &[u8], holder: Uuid) -> Result<bool> {
    let time = cx.app.database_time();
    let mut sql = cx.sql([
        name.to_vec().into(),
        fingerprint.to_vec().into(),
        holder.into(),
        cx.request_id.into(),
    ]);
    let now = time.current_timestamp_sql(sql.values_mut());
    let until = time.timestamp_after_sql(RUN_LEASE, sql.values_mut());
    let expires = time.timestamp_after_sql(KEY_RETENTION, sql.values_mut());
    sql.push(&format!(
        "INSERT INTO idempotency (organization_id, name, fingerprint, holder, request_id, until, \
         done, expires_at) \
         VALUES ($1, $2, $3, $4, $5, {until}, FALSE, {expires}) \
         ON CONFLICT (organization_id, name) DO UPDATE \
         SET fingerprint = excluded.fingerprint, holder = excluded.holder, \
         request_id = excluded.request_id, \
           until = excluded.until, done = FALSE, answer = NULL, erased_by = NULL, \
           expires_at = excluded.expires_at \
         WHERE idempotency.expires_at <= {now}"
    ));
    let insert = cx.build_statement(sql);
    Ok(cx.app.store.write.execute_raw(insert).await?.rows_affected() > 0)
}

/// Takes the claim over from a run that counts as dead. That run cannot write any more after this,
/// so only then the ledger shows for certain whether it has done anything.
async fn take_over(cx: &Cx, dead: idempotency::Model, holder: Uuid) -> Result<IdempotentStart> {
    let (db, time) = (&cx.app.store.write, cx.app.database_time());
    let mut due_values = vec![dead.holder.into()];
    let expires = time.timestamp_after_sql(KEY_RETENTION, &mut due_values);
    let set_values = due_values.split_off(1);
    let claim = LeaseClaim {
        lasts: RUN_LEASE,
        due: "holder = $1 AND done = FALSE".into(),
        due_values,
        set: format!("expires_at = {expires}, erased_by = NULL"),
        set_values,
    };
    let lease = Lease::new(&IDEMPOTENCY_KEYS, cx.organization(), dead.name.clone(), holder);
    if !lease.claim_row(db, time, &claim).await? {
        return Ok(IdempotentStart::Running);
    }
    let events = cx.find::<event::Entity>().filter(event::Column::RequestId.eq(dead.request_id));
    if events.count(db).await? > 0 {
        lease.update_if_held(db, "done = TRUE", Vec::new()).await?;
        return Ok(IdempotentStart::Unanswered);
    }
    lease.update_if_held(db, "request_id = $1", vec![cx.request_id.into()]).await?;
    Ok(begin_run(cx, dead.name, holder))
}

/// Stores the answer of a request that was done. `alone` means that the request made a single
/// change: then its answer is stored even if that change was an erasure.
pub async fn keep_answer(
    cx: &Cx,
    claim: &IdempotencyClaim,
    answer: String,
    alone: bool,
) -> Result<()> {
    let answer = Some(answer).filter(|answer| answer.len() <= MAX_ANSWER);
    let untouched =
        if alone { "(erased_by IS NULL OR erased_by = request_id)" } else { "erased_by IS NULL" };
    let set = format!("done = TRUE, answer = CASE WHEN {untouched} THEN $1 END");
    claim.0.update_if_held(&cx.app.store.write, &set, vec![answer.into()]).await?;
    Ok(())
}

/// Releases the claim: nothing was done, and the same key may begin again.
pub async fn release_claim(cx: &Cx, claim: &IdempotencyClaim) -> Result<()> {
    Ok(claim.0.delete_row(&cx.app.store.write).await?)
}

/// Deletes the organization's stored answers, and marks the requests that are running: their
/// answers may contain data that they read before the erasure.
pub(in crate::domain) async fn erase_answers(tx: &Tx<'_>) -> Result<()> {
    let text = "UPDATE idempotency SET answer = NULL, \
         erased_by = CASE WHEN done THEN NULL WHEN erased_by IS NULL OR erased_by = $2 THEN $2 \
         ELSE $3 END \
         WHERE organization_id = $1 AND (answer IS NOT NULL OR NOT done)";
    let values = [tx.request_id().into(), Uuid::nil().into()];
    tx.db.execute_raw(tx.statement(text, values)).await?;
    Ok(())
}

/// Deletes the expired keys of every organization. Returns how many.
pub async fn forget_expired_keys(app: &Arc<App>) -> Result<u64> {
    let old = idempotency::Column::ExpiresAt.lte(app.clock.now());
    Ok(idempotency::Entity::delete_many().filter(old).exec(&app.store.write).await?.rows_affected)
}
