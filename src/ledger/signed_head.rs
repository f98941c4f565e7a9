//! Signatures over the ends of chains. A person who can write to the database can compute a new
//! chain, but cannot sign it: the key is sealed with the master key. An end is signed only if the
//! chain leads to it from the end that was signed before.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Statement};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::verify::{ChainFault, ChainVerdict, ChainWalk, verify_chain};
use super::{GENESIS_HASH, hash_at, read_head};
use crate::crypto::signature;
use crate::crypto::vault::Vault;
use crate::db::Store;

/// The `typ` of a signature over the end of a chain.
const SIGNED_HEAD_TYPE: &str = "rolecall-ledger-head+jws";

/// What is signed about the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    pub organization: Uuid,
    /// The number of the last row in the organization's chain.
    pub sequence: i64,
    /// That row's hash, in hexadecimal.
    pub hash: String,
    /// When it was signed, in seconds since the epoch.
    pub iat: i64,
    /// The end of the chain when it was signed first: 0 = it has been signed from its beginning.
    pub first_sequence: i64,
    /// When it was signed first, in seconds since the epoch.
    pub first_iat: i64,
}

/// A walk along a chain and what the signature over its head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExaminedChain {
    /// Broken also where the chain is sound in itself but is not the one that was signed.
    pub verdict: ChainVerdict,
    /// None for a ledger from before heads were signed, while no server has run since.
    pub signed: Option<SignedHead>,
}

#[derive(FromQueryResult)]
struct StoredSignature {
    organization_id: Uuid,
    seq: Option<i64>,
    signature: Option<String>,
}

impl StoredSignature {
    /// What was signed; none when nothing was.
    fn check_signature(&self, vault: &Vault) -> Result<Option<SignedHead>, String> {
        let Some(signature) = &self.signature else { return Ok(None) };
        let signed: SignedHead = signature::check_by_any(vault, |key| {
            signature::check_statement(key.public(), SIGNED_HEAD_TYPE, signature)
        })
        .map_err(|why| format!("the signature over the chain's head does not hold: {why}"))?;
        if signed.organization == self.organization_id && Some(signed.sequence) == self.seq {
            Ok(Some(signed))
        } else {
            Err("the signature over the chain's head is that of another head".into())
        }
    }
}

/// Signs the beginning of a chain, with the organization that it belongs to.
pub(super) async fn sign_chain_beginning<C: ConnectionTrait>(
    db: &C,
    vault: &Vault,
    organization: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let iat = now.timestamp();
    let (sequence, hash) = (0, hex::encode(GENESIS_HASH));
    let signed =
        SignedHead { organization, sequence, hash, iat, first_sequence: 0, first_iat: iat };
    store_signature(db, vault, &signed).await
}

/// Signs the ends of all chains that have grown since they were signed. Returns how many.
///
/// # Errors
/// The database's own. A chain that is broken is reported in the log and not signed.
pub async fn sign_heads(store: &Store, vault: &Vault, now: DateTime<Utc>) -> Result<usize, DbErr> {
    let text = "SELECT h.organization_id, s.seq, s.signature FROM ledger_head h \
        LEFT JOIN signed_head s ON s.organization_id = h.organization_id WHERE s.seq IS NULL \
        OR h.seq > s.seq";
    let grown = StoredSignature::find_by_statement(Statement::from_string(store.backend(), text))
        .all(&store.read)
        .await?;
    let mut signed = 0;
    for kept in grown {
        match sign_head(store, vault, now, &kept).await {
            Ok(()) => signed += 1,
            Err(ChainFault::Broken(what)) => {
                tracing::error!(organization = %kept.organization_id, "the ledger is broken and \
                    not signed: {what}");
            }
            Err(ChainFault::Database(error)) => return Err(error),
        }
    }
    Ok(signed)
}

async fn sign_head(
    store: &Store,
    vault: &Vault,
    now: DateTime<Utc>,
    kept: &StoredSignature,
) -> Result<(), ChainFault> {
    let (organization, iat) = (kept.organization_id, now.timestamp());
    let signed = match kept.check_signature(vault).map_err(ChainFault::Broken)? {
        Some(before) => {
            let mut walk = match before.sequence {
                0 => ChainWalk::from_row(store, organization, 0, GENESIS_HASH.to_vec()),
                sequence => {
                    let hash = hash_at(store, organization, sequence)
                        .await?
                        .filter(|hash| hex::encode(hash) == before.hash);
                    let hash = hash.ok_or_else(|| ChainFault::Broken(another_chain(&before)))?;
                    ChainWalk::from_row(store, organization, sequence, hash)
                }
            };
            while !walk.next_rows().await?.is_empty() {}
            SignedHead { sequence: walk.seq, hash: hex::encode(&walk.hash), iat, ..before }
        }
        None if was_signed_from_start(store, organization).await? => {
            return Err(ChainFault::Broken(SIGNATURE_MISSING.into()));
        }
        None => {
            let (sequence, hash) = read_head(&store.read, organization).await?;
            let hash = hex::encode(&hash);
            SignedHead {
                organization,
                sequence,
                hash,
                iat,
                first_sequence: sequence,
                first_iat: iat,
            }
        }
    };
    Ok(store_signature(&store.write, vault, &signed).await?)
}

const SIGNATURE_MISSING: &str = "the signature over the chain's head is missing";

fn another_chain(signed: &SignedHead) -> String {
    format!("the chain is not the one whose head was signed at sequence {}", signed.sequence)
}

/// Whether the chain began when ends of chains were signed already: then it was signed from its
/// beginning.
async fn was_signed_from_start(store: &Store, organization: Uuid) -> Result<bool, ChainFault> {
    let mut walk = ChainWalk::from_row(store, organization, 0, GENESIS_HASH.to_vec());
    Ok(walk.next_rows().await?.first().is_some_and(|first| first.names_actor))
}

/// Keeps a signature, unless one of a later end is kept.
async fn store_signature<C: ConnectionTrait>(
    db: &C,
    vault: &Vault,
    signed: &SignedHead,
) -> Result<(), DbErr> {
    let at = DateTime::from_timestamp(signed.iat, 0).unwrap_or_default();
    let signature =
        signature::sign_statement(vault, at, SIGNED_HEAD_TYPE, signed).map_err(DbErr::Custom)?;
    let text = "INSERT INTO signed_head (organization_id, seq, signature) VALUES ($1, $2, $3) \
        ON CONFLICT (organization_id) DO UPDATE \
        SET seq = excluded.seq, signature = excluded.signature \
        WHERE signed_head.seq < excluded.seq";
    let values = [signed.organization.into(), signed.sequence.into(), signature.into()];
    db.execute_raw(Statement::from_sql_and_values(db.get_database_backend(), text, values)).await?;
    Ok(())
}

/// A place in a chain up to which it was found to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPlace {
    pub seq: i64,
    pub hash: Vec<u8>,
}

/// Checks the newest part of a chain: from the place `from` that was checked last (or from the
/// signed head, whichever is earlier) to its end, and whether the signed head is on the way.
/// Returns the place that was reached, or what is broken.
///
/// # Errors
/// The database's own.
pub async fn check_newest_rows(
    store: &Store,
    vault: &Vault,
    organization: Uuid,
    from: Option<CheckedPlace>,
) -> Result<Result<CheckedPlace, String>, DbErr> {
    match walk_newest_rows(store, vault, organization, from).await {
        Ok(place) => Ok(Ok(place)),
        Err(ChainFault::Broken(what)) => Ok(Err(what)),
        Err(ChainFault::Database(error)) => Err(error),
    }
}

async fn walk_newest_rows(
    store: &Store,
    vault: &Vault,
    organization: Uuid,
    from: Option<CheckedPlace>,
) -> Result<CheckedPlace, ChainFault> {
    let signed = match read_signature(store, organization).await? {
        Some(kept) => kept.check_signature(vault).map_err(ChainFault::Broken)?,
        None => None,
    };
    let begin = match &signed {
        None if was_signed_from_start(store, organization).await? => {
            return Err(ChainFault::Broken(SIGNATURE_MISSING.into()));
        }
        None => CheckedPlace { seq: 0, hash: GENESIS_HASH.to_vec() },
        Some(signed) => {
            let hash = hash_at(store, organization, signed.sequence)
                .await?
                .filter(|hash| hex::encode(hash) == signed.hash)
                .ok_or_else(|| ChainFault::Broken(another_chain(signed)))?;
            CheckedPlace { seq: signed.sequence, hash }
        }
    };
    let begin = match from {
        Some(from) if from.seq <= begin.seq => from,
        _ => begin,
    };
    let mut walk = ChainWalk::from_row(store, organization, begin.seq, begin.hash);
    while !walk.next_rows().await?.is_empty() {}
    Ok(CheckedPlace { seq: walk.seq, hash: walk.hash })
}

async fn read_signature(
    store: &Store,
    organization: Uuid,
) -> Result<Option<StoredSignature>, DbErr> {
    let text = "SELECT organization_id, seq, signature FROM signed_head WHERE organization_id = $1";
    let statement = Statement::from_sql_and_values(store.backend(), text, [organization.into()]);
    StoredSignature::find_by_statement(statement).one(&store.read).await
}

/// What was last signed about the end of an organization's chain; none if nothing was. The chain
/// itself is not looked at. The inner error says why the signature does not hold.
///
/// # Errors
/// The database's own.
pub async fn read_signed_head(
    store: &Store,
    vault: &Vault,
    organization: Uuid,
) -> Result<Result<Option<SignedHead>, String>, DbErr> {
    let kept = read_signature(store, organization).await?;
    Ok(kept.map_or(Ok(None), |kept| kept.check_signature(vault)))
}

/// [`verify_chain`], and whether the chain is the one whose head was signed.
///
/// # Errors
/// The database's own.
pub async fn examine_chain(
    store: &Store,
    vault: &Vault,
    organization: Uuid,
) -> Result<ExaminedChain, DbErr> {
    // Before the walk: what is signed meanwhile may lie beyond its end.
    let kept = read_signature(store, organization).await?;
    let mut verdict = verify_chain(store, organization).await?;
    let signed = match kept.map_or(Ok(None), |kept| kept.check_signature(vault)) {
        Ok(signed) => signed,
        Err(why) => {
            verdict.broken.get_or_insert(why);
            None
        }
    };
    let fault = match &signed {
        None if verdict.was_signed_from_start => Some(SIGNATURE_MISSING.to_owned()),
        None => None,
        Some(signed) if signed.sequence > verdict.sealed => Some(format!(
            "the chain ends at sequence {}, but was signed up to {}: its end was cut off",
            verdict.sealed, signed.sequence
        )),
        Some(signed) => {
            let hash = hash_at(store, organization, signed.sequence).await?;
            (hash.map(|hash| hex::encode(&hash)).as_ref() != Some(&signed.hash))
                .then(|| another_chain(signed))
        }
    };
    verdict.broken = verdict.broken.or(fault);
    Ok(ExaminedChain { verdict, signed })
}
