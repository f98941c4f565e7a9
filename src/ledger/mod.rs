//! The ledger: one row a change, in the change's own transaction, chained by hashes so that a row
//! that was altered, removed or slipped in afterwards shows.
//!
//! On SQLite, where there is one writer, a row joins the chain as it is written. On PostgreSQL a
//! row is written without waiting for other writes, and the sealer chains the rows that it can see
//! in the order of `pos`: a request never waits for the chain. What must never enter: a rule about
//! who may do what.

#![allow(
    clippy::disallowed_methods,
    reason = "the ledger stands below Cx and names the organization itself"
)]

pub mod attestation;
mod event_kind;
mod signed_head;
mod statement;
mod verify;

use aws_lc_rs::digest::{Context, SHA256, digest};
use chrono::{DateTime, Utc};
use entity::{event, ledger_head};
use sea_orm::sea_query::PostgresQueryBuilder;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QueryTrait, Statement,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::policy::Actor;
use crate::crypto::vault::Vault;
use crate::db::{Db, Store};
pub(crate) use event_kind::with_event_kinds;
pub use event_kind::{AccessEffect, EventKind, SessionEffect};
pub use signed_head::{
    CheckedPlace, ExaminedChain, SignedHead, check_newest_rows, examine_chain, read_signed_head,
    sign_heads,
};
pub(crate) use statement::run_steps;
pub use statement::{FIRST_STEP_INSTANT, WriteStep};
use statement::{INSERT_UNSEALED, RETURNING_PLACE};
pub use verify::{ChainVerdict, verify_chain};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSubject {
    pub kind: &'static str,
    pub id: Uuid,
}

/// One change, as the domain tells it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub kind: EventKind,
    pub subject: EventSubject,
    /// The connection that owns the subject.
    pub connection: Option<Uuid>,
    /// The instant of the change, taken after the lock.
    pub at: DateTime<Utc>,
    /// Values before the change, only those that changed.
    pub before: Option<Value>,
    /// Values after it.
    pub after: Option<Value>,
    /// How many more (or fewer) live subjects of this kind there are since this change.
    pub population: i64,
    /// What the subject is called now, where the values do not tell it.
    pub name: Option<String>,
}

impl NewEvent {
    /// What its subject is called, as [`subject_name`] reads it from the row.
    pub fn subject_name(&self) -> Option<String> {
        let values = json!({ "before": self.before, "after": self.after, "name": self.name });
        subject_name(self.subject.kind, &values)
    }
}

/// Kinds of subjects that have a name, and the values that tell it, the best one first.
const NAMED_SUBJECTS: [(&[&str], &[&str]); 3] = [
    (&["user"], &["displayName", "userName"]),
    (&["group"], &["displayName"]),
    (&["organization", "connection", "api_key", "role", "schema_extension"], &["name"]),
];

/// SQL: what the subject of the row `e` was called, as [`subject_name`] reads it.
pub fn subject_name_sql(backend: DbBackend) -> String {
    let value = |path: &[&str]| match backend {
        DbBackend::Postgres => format!("j.payload #>> '{{{}}}'", path.join(",")),
        _ => format!("json_extract(j.payload, '$.{}')", path.join(".")),
    };
    let by_kind = NAMED_SUBJECTS.iter().map(|(kinds, names)| {
        let mut values = Vec::new();
        for side in ["after", "before"] {
            values.extend(names.iter().map(|name| value(&[side, name])));
            values.extend(names.iter().map(|name| value(&[side, "attributes", name])));
        }
        format!(
            "WHEN e.subject_kind IN ('{}') THEN coalesce({})",
            kinds.join("', '"),
            values.join(", ")
        )
    });
    let by_kind = by_kind.collect::<Vec<_>>().join(" ");
    let payload = match backend {
        DbBackend::Postgres => "CAST(e.payload AS jsonb)",
        _ => "e.payload",
    };
    format!(
        "(SELECT coalesce({}, CASE {by_kind} END) FROM (SELECT {payload} AS payload) AS j)",
        value(&["name"])
    )
}

/// What a subject of this kind was called when the values were written; none if they do not tell.
pub fn subject_name(kind: &str, payload: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(name) = payload.get("name").and_then(text) {
        return Some(name);
    }
    let (_, names) = NAMED_SUBJECTS.iter().find(|(kinds, _)| kinds.contains(&kind))?;
    ["after", "before"].iter().find_map(|side| {
        let values = payload.get(side)?;
        let named = |values: &Value| names.iter().find_map(|name| values.get(name).and_then(text));
        named(values).or_else(|| named(values.get("attributes")?))
    })
}

/// Under which request a row is written.
#[derive(Debug, Clone, Copy)]
pub struct EventOrigin<'a> {
    pub organization: Uuid,
    pub actor: &'a Actor,
    pub request_id: Uuid,
    pub requested_at: DateTime<Utc>,
}

/// The hash before the first row.
const GENESIS_HASH: [u8; 32] = [0; 32];
/// Rows sealed in one transaction: few, so that requests do not wait long behind them.
const SEAL_BATCH: u64 = 200;

/// The new version of the row that a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowVersion {
    pub version: i64,
    pub at: DateTime<Utc>,
}

/// Writes the row `id` for `entry` and, with it, all `parts` of the change, inside its transaction.
/// False when the first part found nothing to write.
pub(crate) async fn record_event<C: ConnectionTrait>(
    db: &C,
    origin: EventOrigin<'_>,
    id: Uuid,
    entry: NewEvent,
    parts: Vec<WriteStep>,
) -> Result<bool, DbErr> {
    let mut row = build_row(origin, id, entry)?;
    if db.get_database_backend() == DbBackend::Postgres {
        return Ok(db.execute_raw(statement::combined(parts, row)).await?.rows_affected() > 0);
    }
    let mut parts = parts.into_iter();
    if !statement::run_steps(db, parts.by_ref().take(1)).await? {
        return Ok(false);
    }
    let (seq, hash) = read_head(db, row.organization_id).await?;
    link_row(&mut row, seq + 1, &hash);
    let ends = new_head(row.organization_id, seq + 1, row.hash.clone(), row.at);
    let counts = population_steps(row.organization_id, std::slice::from_ref(&row));
    let rest = parts.chain([ends]).chain(counts).chain([statement::linked_event_step(row)]);
    db.execute_raw(statement::one_after_the_other(rest)).await?;
    Ok(true)
}

/// Gives a row its place in the chain, after the row with the hash `before`.
fn link_row(row: &mut event::Model, seq: i64, before: &[u8]) {
    let hash = row_hash(before, row, seq);
    (row.seq, row.hash) = (Some(seq), Some(hash));
}

/// Writes rows about what followed from earlier changes, inside a transaction. The first row is
/// called `first`, by which its writer finds it again.
pub(crate) async fn record_followed<C: ConnectionTrait>(
    db: &C,
    first: Uuid,
    entries: Vec<(EventOrigin<'_>, NewEvent)>,
) -> Result<(), DbErr> {
    let ids = [first].into_iter().chain(std::iter::repeat_with(Uuid::now_v7));
    let rows =
        entries.into_iter().zip(ids).map(|((origin, entry), id)| build_row(origin, id, entry));
    append_rows(db, rows.collect::<Result<_, _>>()?).await
}

/// Rows written in one statement.
const APPEND_BATCH: usize = 500;

/// Appends rows of one organization; on SQLite they join the chain.
async fn append_rows<C: ConnectionTrait>(db: &C, mut rows: Vec<event::Model>) -> Result<(), DbErr> {
    if db.get_database_backend() == DbBackend::Sqlite
        && let Some(organization) = rows.first().map(|row| row.organization_id)
    {
        let (mut seq, mut hash) = read_head(db, organization).await?;
        for row in &mut rows {
            seq += 1;
            link_row(row, seq, &hash);
            hash = row.hash.clone().unwrap_or_default();
        }
        let newest = rows.iter().map(|row| row.at).max().unwrap_or_default();
        let ends = new_head(organization, seq, Some(hash), newest);
        statement::run_steps(db, [ends].into_iter().chain(population_steps(organization, &rows)))
            .await?;
    }
    let postgres = db.get_database_backend() == DbBackend::Postgres;
    let mut rows = rows.into_iter().map(|row| {
        if postgres {
            event::ActiveModel { pos: NotSet, seq: NotSet, hash: NotSet, ..row.into() }
        } else {
            event::ActiveModel { pos: NotSet, ..row.into() }
        }
    });
    loop {
        let batch: Vec<_> = rows.by_ref().take(APPEND_BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let mut insert = event::Entity::insert_many(batch).into_query();
        insert.into_table("event");
        if postgres {
            let (text, values) = insert.build(PostgresQueryBuilder);
            let text = format!("WITH e AS ({text}{RETURNING_PLACE} {INSERT_UNSEALED}");
            db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, text, values.0))
                .await?;
        } else {
            db.execute(&insert).await?;
        }
    }
}

/// [`record_event`] on PostgreSQL and outside a transaction: one statement, which holds or fails as
/// a whole, and is batched with those of other requests. None when the first part found nothing to
/// write, or when there is none: then nothing was written.
pub(crate) async fn record_at_once(
    db: &Db,
    origin: EventOrigin<'_>,
    id: Uuid,
    entry: NewEvent,
    parts: Vec<WriteStep>,
) -> Result<Option<RowVersion>, DbErr> {
    let apart = parts.first().and_then(WriteStep::conflict_key).unwrap_or(entry.subject.id);
    let (text, values) = statement::batched(parts, build_row(origin, id, entry)?);
    match db.write_batched(&text, apart, values).await?.first() {
        Some(row) => Ok(Some(RowVersion {
            version: row.try_get("", "version")?,
            at: row.try_get("", "at")?,
        })),
        None => Ok(None),
    }
}

/// What a row keeps of a change.
#[derive(Serialize)]
struct EventPayload {
    before: Option<Value>,
    after: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The row as it is before it joins the chain.
fn build_row(origin: EventOrigin<'_>, id: Uuid, entry: NewEvent) -> Result<event::Model, DbErr> {
    let (before, after, name) = (entry.before, entry.after, entry.name);
    let payload = serde_json::to_string(&EventPayload { before, after, name });
    let payload = payload.map_err(|error| DbErr::Json(error.to_string()))?;
    let mut salt = vec![0u8; 16];
    aws_lc_rs::rand::fill(&mut salt)
        .map_err(|_| DbErr::Custom("no randomness from the system".into()))?;
    Ok(event::Model {
        pos: 0,
        organization_id: origin.organization,
        id,
        seq: None,
        at: entry.at,
        requested_at: origin.requested_at,
        actor_kind: origin.actor.kind().into(),
        actor_id: origin.actor.id(),
        actor_name: origin.actor.name().into(),
        action: entry.kind.name().into(),
        subject_kind: entry.subject.kind.into(),
        subject_id: entry.subject.id,
        connection_id: entry.connection,
        request_id: origin.request_id,
        digest: payload_digest(&salt, origin.actor.name(), &payload),
        payload: Some(payload),
        salt: Some(salt),
        population: entry.population,
        hash: None,
    })
}

/// The outcome of the write whose row in the ledger is `event`; none where there is no such row.
///
/// # Errors
/// The database's own.
pub async fn find_written(
    db: &Db,
    organization: Uuid,
    event: Uuid,
) -> Result<Option<RowVersion>, DbErr> {
    let text = "SELECT e.at, coalesce((SELECT g.version FROM \"group\" g \
         WHERE g.organization_id = e.organization_id AND g.id = e.subject_id), 0) AS version \
         FROM event e WHERE e.organization_id = $1 AND e.id = $2";
    let values = [organization.into(), event.into()];
    let row = db
        .query_one_raw(Statement::from_sql_and_values(db.get_database_backend(), text, values))
        .await?;
    row.map(|row| {
        Ok(RowVersion { version: row.try_get("", "version")?, at: row.try_get("", "at")? })
    })
    .transpose()
}

/// The first link, made and signed with the organization.
pub(crate) async fn begin_chain<C: ConnectionTrait>(
    db: &C,
    vault: &Vault,
    organization: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let head = ledger_head::ActiveModel {
        organization_id: Set(organization),
        seq: Set(0),
        hash: Set(GENESIS_HASH.to_vec()),
        newest_at: NotSet,
    };
    ledger_head::Entity::insert(head).exec_without_returning(db).await?;
    signed_head::sign_chain_beginning(db, vault, organization, now).await
}

/// Where an organization's chain ends: the number of its last row, and that row's hash.
pub async fn chain_end(store: &Store, organization: Uuid) -> Result<(i64, Vec<u8>), DbErr> {
    read_head(&store.read, organization).await
}

/// The hash of the row `seq` of an organization's chain; none where there is no such row.
pub async fn hash_at(
    store: &Store,
    organization: Uuid,
    seq: i64,
) -> Result<Option<Vec<u8>>, DbErr> {
    if seq == 0 {
        return Ok(Some(GENESIS_HASH.to_vec()));
    }
    // A link without its row does not count.
    let text = match store.backend() {
        DbBackend::Postgres => {
            "SELECT c.hash FROM chain c CROSS JOIN LATERAL (SELECT pos FROM event \
             WHERE pos = c.pos OFFSET 0) AS e \
             WHERE c.organization_id = $1 AND c.seq = $2"
        }
        _ => "SELECT hash FROM event WHERE organization_id = $1 AND seq = $2",
    };
    let statement =
        Statement::from_sql_and_values(store.backend(), text, [organization.into(), seq.into()]);
    store.read.query_one_raw(statement).await?.map(|row| row.try_get("", "hash")).transpose()
}

async fn read_head<C: ConnectionTrait>(
    db: &C,
    organization: Uuid,
) -> Result<(i64, Vec<u8>), DbErr> {
    let head = ledger_head::Entity::find()
        .filter(ledger_head::Column::OrganizationId.eq(organization))
        .one(db)
        .await?;
    Ok(head.map_or((0, GENESIS_HASH.to_vec()), |head| (head.seq, head.hash)))
}

/// The end of a chain, and the newest instant in it.
fn new_head(
    organization: Uuid,
    seq: i64,
    hash: Option<Vec<u8>>,
    newest: DateTime<Utc>,
) -> WriteStep {
    let values = [organization.into(), seq.into(), hash.into(), newest.into()];
    let newest = "CASE WHEN newest_at > $4 THEN newest_at ELSE $4 END";
    WriteStep::update(
        &format!("ledger_head SET seq = $2, hash = $3, newest_at = {newest}"),
        "organization_id = $1",
        values,
    )
}

/// Chains the rows of every organization that are not in the chain yet. Only PostgreSQL leaves any.
///
/// Returns how many rows were sealed.
pub async fn seal_ledgers(store: &Store) -> Result<u64, DbErr> {
    if store.backend() == DbBackend::Sqlite {
        return Ok(0);
    }
    let mut sealed = 0;
    for organization in list_unsealed_organizations(store).await? {
        loop {
            let batch = seal_batch(store, organization).await?;
            sealed += batch;
            if batch < SEAL_BATCH {
                break;
            }
        }
    }
    Ok(sealed)
}

/// On PostgreSQL, the row `e` of the ledger of organization `$1` for each place in the list `l`.
/// One by one: by statistics from when the ledger was short, PostgreSQL would read all of it
/// instead.
const LEDGER_ROWS_BY_PLACE: &str = "CROSS JOIN LATERAL (SELECT * FROM event WHERE pos = l.pos \
                                    OFFSET 0) AS e WHERE e.organization_id = $1";

/// `FROM` on, the first `most` rows `e` of the chain of organization `$1` after the place `$2`, in
/// its order.
pub fn chained_after(backend: DbBackend, most: u64) -> String {
    match backend {
        DbBackend::Postgres => format!(
            "FROM (SELECT seq, pos FROM chain WHERE organization_id = $1 AND seq > $2 \
             ORDER BY seq LIMIT {most}) AS l {LEDGER_ROWS_BY_PLACE} \
             ORDER BY l.seq"
        ),
        _ => format!(
            "FROM event e WHERE e.organization_id = $1 AND e.seq > $2 ORDER BY e.seq LIMIT {most}"
        ),
    }
}

/// `FROM` on, the rows `e` of the ledger of organization `$1` that are not in the chain yet, for
/// further conditions.
pub fn not_chained(backend: DbBackend) -> String {
    match backend {
        DbBackend::Postgres => format!(
            "FROM (SELECT pos FROM unsealed WHERE organization_id = \
            $1) AS l {LEDGER_ROWS_BY_PLACE}"
        ),
        // In this order: SQLite, which keeps no statistics, would begin with all rows.
        _ => "FROM unsealed l CROSS JOIN event e WHERE l.organization_id = $1 AND \
              e.organization_id = $1 AND e.pos = l.pos"
            .into(),
    }
}

async fn list_unsealed_organizations(store: &Store) -> Result<Vec<Uuid>, DbErr> {
    let statement =
        Statement::from_string(store.backend(), "SELECT DISTINCT organization_id FROM unsealed");
    store
        .read
        .query_all_raw(statement)
        .await?
        .iter()
        .map(|row| row.try_get("", "organization_id"))
        .collect()
}

async fn seal_batch(store: &Store, organization: Uuid) -> Result<u64, DbErr> {
    let db = store.write.begin_transaction().await?;
    // One sealer an organization at a time; another replica that holds the lock does the work. The
    // list is read in index order, which lets the index drop deleted entries; a bitmap scan would
    // read all of them every time.
    let head = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT seq, hash, set_config('enable_bitmapscan', 'off', true) FROM ledger_head \
         WHERE organization_id = $1 \
         FOR UPDATE SKIP LOCKED",
        [organization.into()],
    );
    let Some(head) = db.query_one_raw(head).await? else { return Ok(0) };
    // The values are most of a row, and only their digest is part of the chain.
    let rows = event::Model::find_by_statement(Statement::from_sql_and_values(
        DbBackend::Postgres,
        format!(
            "SELECT e.pos, e.organization_id, e.id, e.at, e.requested_at, e.actor_kind, \
             e.actor_id, e.actor_name, e.action, \
             e.subject_kind, e.subject_id, e.connection_id, e.request_id, e.digest, e.population, \
             NULL AS seq, NULL AS hash, NULL AS payload, NULL AS salt \
             FROM (SELECT pos FROM unsealed WHERE organization_id = $1 ORDER BY pos \
             LIMIT {SEAL_BATCH}) AS l {LEDGER_ROWS_BY_PLACE} ORDER BY l.pos"
        ),
        [organization.into()],
    ));
    let rows = rows.all(&db).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let (mut seq, mut hash): (i64, Vec<u8>) = (head.try_get("", "seq")?, head.try_get("", "hash")?);
    let mut links = Vec::with_capacity(rows.len());
    for row in &rows {
        seq += 1;
        hash = row_hash(&hash, row, seq);
        links.push(json!({ "pos": row.pos, "seq": seq, "hash": hex::encode(&hash) }));
    }
    db.execute_raw(Statement::from_sql_and_values(
        DbBackend::Postgres,
        "WITH link AS (SELECT * FROM jsonb_to_recordset($2) AS link(pos bigint, seq bigint, \
         hash text)), \
           listed AS (DELETE FROM unsealed q WHERE q.organization_id = $1 \
           AND q.pos = ANY(ARRAY(SELECT pos FROM link))) \
         INSERT INTO chain (organization_id, seq, pos, hash) \
         SELECT $1, seq, pos, decode(hash, 'hex') FROM link",
        [organization.into(), Value::from(links).into()],
    ))
    .await?;
    let newest = rows.iter().map(|row| row.at).max().unwrap_or_default();
    let ends = new_head(organization, seq, Some(hash), newest);
    statement::run_steps(&db, [ends].into_iter().chain(population_steps(organization, &rows)))
        .await?;
    db.commit().await?;
    Ok(rows.len() as u64)
}

/// Adds the population changes of rows that join the chain to the tallies, so that no query has to
/// count accounts or groups.
fn population_steps(
    organization: Uuid,
    rows: &[event::Model],
) -> impl Iterator<Item = WriteStep> + use<> {
    let mut sums = std::collections::BTreeMap::new();
    for row in rows.iter().filter(|row| row.population != 0) {
        let kind = row.subject_kind.as_str();
        *sums.entry((row.connection_id.unwrap_or_default(), kind.to_owned())).or_insert(0) +=
            row.population;
        if EventKind::parse(&row.action).is_some_and(EventKind::changes_owner) {
            *sums.entry((Uuid::nil(), kind.to_owned())).or_insert(0) -= row.population;
        }
    }
    sums.into_iter().map(move |((connection, kind), sum)| {
        let row = "tally (organization_id, connection_id, kind, n)";
        let or_more = "TRUE ON CONFLICT (organization_id, connection_id, kind) DO UPDATE SET n = \
                       tally.n + excluded.n";
        let values = [organization.into(), connection.into(), kind.into(), sum.into()];
        WriteStep::insert(row, "$1, $2, $3, $4", or_more, values)
    })
}

/// The personal part of a row: who, before and after.
fn payload_digest(salt: &[u8], actor_name: &str, payload: &str) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in [salt, actor_name.as_bytes(), payload.as_bytes()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// SHA-256 over the hash before and every column that an erasure leaves, each with its length
/// before it.
fn row_hash(before: &[u8], row: &event::Model, seq: i64) -> Vec<u8> {
    let mut bytes = chained_columns(before, row, seq);
    push_column(&mut bytes, row.actor_name.as_bytes());
    digest(&SHA256, &bytes).as_ref().to_vec()
}

/// The hash of a row as it was before 2026-11-28: without the actor's name, for which the digest
/// alone stood.
fn row_hash_without_actor_name(before: &[u8], row: &event::Model, seq: i64) -> Vec<u8> {
    digest(&SHA256, &chained_columns(before, row, seq)).as_ref().to_vec()
}

fn chained_columns(before: &[u8], row: &event::Model, seq: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let mut part = |part: &[u8]| push_column(&mut bytes, part);
    part(before);
    part(row.organization_id.as_bytes());
    part(&seq.to_be_bytes());
    part(row.id.as_bytes());
    part(&row.at.timestamp_micros().to_be_bytes());
    part(&row.requested_at.timestamp_micros().to_be_bytes());
    part(row.actor_kind.as_bytes());
    part(row.actor_id.as_deref().unwrap_or_default().as_bytes());
    part(row.action.as_bytes());
    part(row.subject_kind.as_bytes());
    part(row.subject_id.as_bytes());
    part(row.connection_id.as_ref().map_or(&[][..], |id| id.as_bytes()));
    part(row.request_id.as_bytes());
    part(&row.digest);
    part(&row.population.to_be_bytes());
    bytes
}

fn push_column(bytes: &mut Vec<u8>, column: &[u8]) {
    bytes.extend_from_slice(&(column.len() as u64).to_be_bytes());
    bytes.extend_from_slice(column);
}

/// The members of two JSON objects that differ, before and after: what a ledger row tells of an
/// update.
pub fn changed_members(
    before: &serde_json::Map<String, Value>,
    after: &serde_json::Map<String, Value>,
) -> (Value, Value) {
    let keep = |these: &serde_json::Map<String, Value>, those: &serde_json::Map<String, Value>| {
        let changed = these.iter().filter(|(name, value)| those.get(*name) != Some(value));
        Value::Object(changed.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    (keep(before, after), keep(after, before))
}
