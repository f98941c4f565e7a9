//! Repeats of a request: whoever gives the same key within a day hears the first answer again, and nothing happens
//! twice, whatever the replica and whatever died meanwhile.
//!
//! A claim is taken before anything is done. If its run dies without an answer, another may take it over, and the ledger
//! knows whether anything was done: rows there are written in the transaction of their change and name the request. What
//! was not done may be done again; what was done is not, though its answer is lost. A run that was only away for long
//! writes nothing after its claim was taken over.
//!
//! An answer may tell of people. Every erasure empties the answers of its organization, since they cannot be searched
//! for one person's data; that they were given is not forgotten.

use std::sync::Arc;

use chrono::Duration;
use entity::{event, idempotency};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, Statement};
use uuid::Uuid;

use crate::context::{App, Cx, Tx};
use crate::context::{IDEMPOTENCY_KEYS, Lease};
use crate::error::Result;
use crate::vault;

/// How long a key is remembered.
const LIFE: Duration = Duration::hours(24);
/// A run that has no answer after so long counts as dead.
const LEASE: Duration = Duration::seconds(30);
/// The longest answer that is kept, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// What a request is to begin with.
#[derive(Debug, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Claim(Lease);

/// Begins what the caller means by `key` within the organization; `asked` is all that makes it the same request.
pub async fn begin(cx: &Cx, caller: &str, key: &str, asked: &str) -> Result<Beginning> {
    let (name, fingerprint, holder) = (vault::hash(&format!("{caller}\0{key}")), vault::hash(asked), Uuid::now_v7());
    if insert(cx, &name, &fingerprint, holder).await? {
        return Ok(run(cx, name, holder));
    }
    let found = cx.find::<idempotency::Entity>().filter(idempotency::Column::Name.eq(name.clone()));
    // It may just have been released: then whoever repeats once more begins it.
    let Some(found) = found.one(&cx.app.store.write).await? else { return Ok(Beginning::Running) };
    match found {
        found if found.fingerprint != fingerprint => Ok(Beginning::Different),
        idempotency::Model { answer: Some(answer), .. } => Ok(Beginning::Answered(answer)),
        idempotency::Model { done: true, .. } => Ok(Beginning::Unanswered),
        found => take_over(cx, found, holder).await,
    }
}

/// From now on the request's writes hold only while the key is held.
fn run(cx: &Cx, name: Vec<u8>, holder: Uuid) -> Beginning {
    let lease = Lease::new(&IDEMPOTENCY_KEYS, cx.organization(), name, holder);
    cx.fence(lease.clone());
    Beginning::Run(Claim(lease))
}

/// Takes the place of nothing, or of what has expired.
async fn insert(cx: &Cx, name: &[u8], fingerprint: &[u8], holder: Uuid) -> Result<bool> {
    let time = cx.app.database_time();
    let mut values = vec![
        cx.organization().into(),
        name.to_vec().into(),
        fingerprint.to_vec().into(),
        holder.into(),
        cx.request_id.into(),
    ];
    let (now, until, expires) = (time.now(&mut values), time.after(LEASE, &mut values), time.after(LIFE, &mut values));
    let text = format!(
        "INSERT INTO idempotency (organization_id, name, fingerprint, holder, request_id, until, done, expires_at) \
         VALUES ($1, $2, $3, $4, $5, {until}, FALSE, {expires}) ON CONFLICT (organization_id, name) DO UPDATE \
         SET fingerprint = excluded.fingerprint, holder = excluded.holder, request_id = excluded.request_id, \
           until = excluded.until, done = FALSE, answer = NULL, erased_by = NULL, expires_at = excluded.expires_at \
         WHERE idempotency.expires_at <= {now}"
    );
    let insert = Statement::from_sql_and_values(cx.backend(), text, values);
    Ok(cx.app.store.write.execute_raw(insert).await?.rows_affected() > 0)
}

/// Takes over from a run that was not heard of for so long that it has died. It writes nothing after that, so that only
/// then the ledger tells whether it has done anything.
async fn take_over(cx: &Cx, dead: idempotency::Model, holder: Uuid) -> Result<Beginning> {
    let (db, time) = (&cx.app.store.write, cx.app.database_time());
    let mut values = vec![holder.into()];
    let (now, until, expires) = (time.now(&mut values), time.after(LEASE, &mut values), time.after(LIFE, &mut values));
    let set = format!("holder = $1, until = {until}, expires_at = {expires}, erased_by = NULL");
    let held = Lease::new(&IDEMPOTENCY_KEYS, cx.organization(), dead.name.clone(), dead.holder);
    let text = held.update_text(&set, &mut values) + &format!(" AND done = FALSE AND until <= {now}");
    let take = Statement::from_sql_and_values(cx.backend(), text, values);
    if db.execute_raw(take).await?.rows_affected() == 0 {
        return Ok(Beginning::Running);
    }
    let lease = Lease::new(&IDEMPOTENCY_KEYS, cx.organization(), dead.name.clone(), holder);
    let events = cx.find::<event::Entity>().filter(event::Column::RequestId.eq(dead.request_id));
    if events.count(db).await? > 0 {
        lease.update(db, "done = TRUE", Vec::new()).await?;
        return Ok(Beginning::Unanswered);
    }
    lease.update(db, "request_id = $1", vec![cx.request_id.into()]).await?;
    Ok(run(cx, dead.name, holder))
}

/// Keeps the answer of what was done. `alone` says that the request did a single thing: then its answer may stay even
/// if that thing was an erasure.
pub async fn keep(cx: &Cx, claim: &Claim, answer: String, alone: bool) -> Result<()> {
    let answer = Some(answer).filter(|answer| answer.len() <= MAX_ANSWER);
    let untouched = match alone {
        true => "(erased_by IS NULL OR erased_by = request_id)",
        false => "erased_by IS NULL",
    };
    let set = format!("done = TRUE, answer = CASE WHEN {untouched} THEN $1 END");
    claim.0.update(&cx.app.store.write, &set, vec![answer.into()]).await?;
    Ok(())
}

/// Gives the claim up: nothing was done, and the same key may begin again.
pub async fn release(cx: &Cx, claim: &Claim) -> Result<()> {
    let mut values = Vec::new();
    let text = format!("DELETE FROM idempotency WHERE {}", claim.0.condition(&mut values));
    let release = Statement::from_sql_and_values(cx.backend(), text, values);
    cx.app.store.write.execute_raw(release).await?;
    Ok(())
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
