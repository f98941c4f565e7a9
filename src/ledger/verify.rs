//! Verification of a chain: every digest and hash is recomputed, and every emptied row must have a
//! recorded erasure.

use std::collections::HashMap;

use entity::event;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::{
    EventKind, GENESIS_HASH, LEDGER_ROWS_BY_PLACE, payload_digest, read_head, row_hash,
    row_hash_without_actor_name,
};
use crate::db::Store;

/// Rows read at once.
const ROWS_PER_PAGE: u64 = 1_000;

/// What a walk along one organization's chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainVerdict {
    pub organization: Uuid,
    /// Rows in the chain.
    pub sealed: i64,
    /// Rows written but not chained yet.
    pub unsealed: u64,
    /// Rows whose values an erasure emptied, each covered by an erasure later in the chain.
    pub erased: u64,
    /// Emptied rows for which the recorded name of the actor cannot be verified any more: they
    /// joined the chain before 2026-11-28.
    pub unattributed: u64,
    /// Whether the first row belongs to the time since ends of chains are signed.
    pub was_signed_from_start: bool,
    /// The first error, if there is one.
    pub broken: Option<String>,
}

/// Why a walk ended before the end of the chain.
#[derive(Debug)]
pub(super) enum ChainFault {
    Broken(String),
    Database(DbErr),
}

impl From<DbErr> for ChainFault {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// A row that follows from the one before it.
pub(super) struct LinkedRow {
    pub row: event::Model,
    /// Whether its hash covers the name of who made the change.
    pub names_actor: bool,
}

/// A place in a chain from which it is walked on.
pub(super) struct ChainWalk<'a> {
    store: &'a Store,
    organization: Uuid,
    /// Whether rows are read with their values.
    values: bool,
    pub seq: i64,
    pub hash: Vec<u8>,
}

impl<'a> ChainWalk<'a> {
    /// From the beginning, with values.
    pub(super) fn from_beginning(store: &'a Store, organization: Uuid) -> Self {
        Self { store, organization, values: true, seq: 0, hash: GENESIS_HASH.to_vec() }
    }

    /// From behind the row `seq`, which has this hash, without values.
    pub(super) fn from_row(store: &'a Store, organization: Uuid, seq: i64, hash: Vec<u8>) -> Self {
        Self { store, organization, values: false, seq, hash }
    }

    /// The next rows; none at the end of the chain.
    ///
    /// # Errors
    /// [`ChainFault::Broken`] when the chain does not go on from here to its recorded head.
    pub(super) async fn next_rows(&mut self) -> Result<Vec<LinkedRow>, ChainFault> {
        let broken = |what: String| Err(ChainFault::Broken(what));
        // The head before the rows: what is chained meanwhile lies beyond it.
        let (end, end_hash) = read_head(&self.store.read, self.organization).await?;
        let mut rows = self.read_rows().await?.into_iter();
        // The last known row is read again: otherwise a row at the same place could be missed
        // between two pages.
        if self.seq > 0 {
            match rows.next() {
                Some(row) if row.seq == Some(self.seq) && row.hash.as_ref() == Some(&self.hash) => {
                }
                Some(row) if row.seq == Some(self.seq) => {
                    return broken(format!(
                        "sequence {} is not the row that was there before",
                        self.seq
                    ));
                }
                _ => return broken(format!("sequence {} is missing", self.seq)),
            }
        }
        let mut linked = Vec::new();
        for row in rows {
            linked.push(self.check_link(row).map_err(ChainFault::Broken)?);
        }
        if !linked.is_empty() {
            return Ok(linked);
        }
        match self.seq.cmp(&end) {
            std::cmp::Ordering::Less => {
                broken(format!("the rows after sequence {} are missing", self.seq))
            }
            std::cmp::Ordering::Greater => broken(format!(
                "there are rows behind the recorded head, which is at sequence {end}"
            )),
            std::cmp::Ordering::Equal if self.hash != end_hash => {
                broken(format!("the chain's end at sequence {end} differs from the recorded head"))
            }
            std::cmp::Ordering::Equal => Ok(linked),
        }
    }

    async fn read_rows(&self) -> Result<Vec<event::Model>, DbErr> {
        // A row before the first place belongs to no chain, and must be found.
        let from = if self.seq == 0 { i64::MIN } else { self.seq };
        let backend = self.store.backend();
        let values =
            if self.values { "e.payload, e.salt" } else { "NULL AS payload, NULL AS salt" };
        let (link, rows) = match backend {
            DbBackend::Postgres => (
                "l.seq, l.hash",
                format!(
                    "FROM (SELECT seq, pos, hash FROM chain WHERE organization_id = $1 \
                     AND seq >= $2 ORDER BY seq \
                     LIMIT {ROWS_PER_PAGE}) AS l {LEDGER_ROWS_BY_PLACE} ORDER BY l.seq"
                ),
            ),
            _ => (
                "e.seq, e.hash",
                format!(
                    "FROM event e WHERE e.organization_id = $1 AND e.seq >= $2 ORDER BY e.seq \
                     LIMIT {ROWS_PER_PAGE}"
                ),
            ),
        };
        let text = format!(
            "SELECT e.pos, e.organization_id, e.id, {link}, e.at, e.requested_at, e.actor_kind, \
             e.actor_id, \
             e.actor_name, e.action, e.subject_kind, e.subject_id, e.connection_id, e.request_id, \
             e.digest, \
             e.population, {values} {rows}"
        );
        let statement =
            Statement::from_sql_and_values(backend, text, [self.organization.into(), from.into()]);
        event::Model::find_by_statement(statement).all(&self.store.read).await
    }

    fn check_link(&mut self, row: event::Model) -> Result<LinkedRow, String> {
        let seq = self.seq + 1;
        if row.seq != Some(seq) {
            return Err(format!("sequence {seq} is missing"));
        }
        let Some(hash) = row.hash.clone() else {
            return Err(format!("sequence {seq} has no hash"));
        };
        let names_actor = hash == row_hash(&self.hash, &row, seq);
        if !names_actor && hash != row_hash_without_actor_name(&self.hash, &row, seq) {
            return Err(format!("sequence {seq} does not follow from the one before it"));
        }
        (self.seq, self.hash) = (seq, hash);
        Ok(LinkedRow { row, names_actor })
    }
}

/// Walks the chain of one organization from its first row, recomputing every digest and hash.
///
/// # Errors
/// The database's own.
pub async fn verify_chain(store: &Store, organization: Uuid) -> Result<ChainVerdict, DbErr> {
    let mut verdict = ChainVerdict {
        organization,
        sealed: 0,
        unsealed: 0,
        erased: 0,
        unattributed: 0,
        was_signed_from_start: false,
        broken: None,
    };
    match walk_chain(store, &mut verdict).await {
        Ok(()) => {}
        Err(ChainFault::Broken(what)) => verdict.broken = Some(what),
        Err(ChainFault::Database(error)) => return Err(error),
    }
    Ok(verdict)
}

async fn walk_chain(store: &Store, verdict: &mut ChainVerdict) -> Result<(), ChainFault> {
    let mut walk = ChainWalk::from_beginning(store, verdict.organization);
    // Rows without values, by what they are about: the first of them, and how many.
    let mut emptied: HashMap<Uuid, (i64, u64)> = HashMap::new();
    loop {
        let rows = walk.next_rows().await?;
        if rows.is_empty() {
            break;
        }
        for LinkedRow { row, names_actor } in rows {
            let seq = row.seq.unwrap_or_default();
            check_values(&row).map_err(|what| {
                ChainFault::Broken(format!("the values of sequence {seq} {what}"))
            })?;
            verdict.sealed = seq;
            verdict.was_signed_from_start |= seq == 1 && names_actor;
            for erased in erased_by(&row) {
                verdict.erased += emptied.remove(&erased).map_or(0, |(_, rows)| rows);
            }
            if row.payload.is_none() {
                verdict.unattributed += u64::from(!names_actor);
                emptied.entry(row.subject_id).or_insert((seq, 0)).1 += 1;
            }
        }
    }
    if verdict.sealed == 0 {
        return Err(ChainFault::Broken(
            "the chain is empty, but an organization begins with an event".into(),
        ));
    }
    if let Some((seq, _)) = emptied.values().min() {
        return Err(ChainFault::Broken(format!(
            "the values of sequence {seq} were emptied, and no later erasure in the chain \
             accounts for it"
        )));
    }
    let [unsealed, strange] = count_rows_outside(store, verdict.organization).await?;
    verdict.unsealed = unsealed;
    if strange > 0 {
        return Err(ChainFault::Broken(format!("{strange} rows stand outside the chain")));
    }
    Ok(())
}

fn check_values(row: &event::Model) -> Result<(), &'static str> {
    match (&row.payload, &row.salt) {
        (Some(payload), Some(salt))
            if payload_digest(salt, &row.actor_name, payload) != row.digest =>
        {
            Err("were altered")
        }
        (Some(_), None) | (None, Some(_)) => Err("are half lost"),
        _ => Ok(()),
    }
}

/// The subjects whose earlier rows an erasure emptied: accounts, their grants, and edits of access.
fn erased_by(row: &event::Model) -> Vec<Uuid> {
    let listed = |names: &[(&str, &str)]| -> Vec<Uuid> {
        let payload = row.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let payload: Value = payload.unwrap_or_default();
        let ids = names.iter().filter_map(|(side, name)| payload[side][name].as_array());
        ids.flatten().filter_map(|id| id.as_str()?.parse().ok()).collect()
    };
    match EventKind::parse(&row.action) {
        Some(EventKind::UserPurged) => {
            [vec![row.subject_id], listed(&[("after", "alsoErased")])].concat()
        }
        Some(EventKind::UsersDeletedAll) => listed(&[("before", "ids"), ("before", "alsoErased")]),
        _ => Vec::new(),
    }
}

/// How many rows are not chained yet, and how many stand neither in the chain nor on the list of
/// those that will be.
async fn count_rows_outside(store: &Store, organization: Uuid) -> Result<[u64; 2], DbErr> {
    // SQLite chains a row as it is written.
    let text = match store.backend() {
        DbBackend::Postgres => {
            "SELECT count(u.pos) AS unsealed, count(*) - count(u.pos) AS strange \
             FROM event_sealed e \
             LEFT JOIN unsealed u ON u.organization_id = e.organization_id AND u.pos = e.pos \
             WHERE e.organization_id = $1 AND e.seq IS NULL"
        }
        _ => {
            "SELECT 0 AS unsealed, count(*) AS strange FROM event e WHERE e.organization_id = $1 \
             AND e.seq IS NULL"
        }
    };
    let statement = Statement::from_sql_and_values(store.backend(), text, [organization.into()]);
    let Some(row) = store.read.query_one_raw(statement).await? else { return Ok([0, 0]) };
    let number = |name: &str| row.try_get::<i64>("", name).map(i64::unsigned_abs);
    Ok([number("unsealed")?, number("strange")?])
}
