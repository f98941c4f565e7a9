//! The exchange of the master key for another, in two steps. `prepare` records the new key's
//! fingerprint; servers are then started with both keys. `finish` makes the new key the current
//! one, and encrypts again, row by row, everything that the old key had encrypted. A server with
//! both keys can read every secret at every moment, even if a process stopped after any write; so
//! `finish` is refused while a server without the new key runs.

use std::time::Duration;

use entity::{instance, organization, signing_key};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use super::signing::{SEALED_FOR, list_signing_key_rows};
use super::{Vault, read_instance, seal, unseal};
use crate::db::{Store, Transaction};

/// How often a server reports that it runs.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// A server that has not reported for this time, in seconds, counts as stopped.
const SILENCE_SECONDS: i64 = 60;
/// The row of a server that ended without deleting it is deleted after this time, in seconds.
const FORGET_SECONDS: i64 = 24 * 60 * 60;
/// Organizations whose data keys are read at once.
const DATA_KEYS_PER_BATCH: u64 = 200;

/// The result of a server's announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaAnnouncement {
    Made,
    /// The master key was exchanged for one that this server does not hold.
    KeyExchanged,
}

/// The effect of one write of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// The new key is the current one.
    Switched,
    /// An organization's data key is encrypted with the new key.
    DataKey,
    /// A signing key is encrypted with the new key.
    SigningKey,
    /// Nothing is encrypted with the old key any more; it is no longer needed.
    Finished,
}

impl Vault {
    /// Records that this server runs and which master keys it holds. From then on the master key
    /// cannot be exchanged for one that this server does not hold, until the server has not
    /// announced itself for a minute.
    ///
    /// # Errors
    /// The database's own.
    pub async fn announce_replica(
        &self,
        store: &Store,
        replica: Uuid,
    ) -> Result<ReplicaAnnouncement, DbErr> {
        let backend = store.backend();
        let now = database_seconds(backend);
        let lock = if backend == DbBackend::Postgres { "FOR SHARE" } else { "" };
        let held = (3..)
            .map(|number| format!("${number}"))
            .take(self.masters.len())
            .collect::<Vec<_>>()
            .join(", ");
        let text = format!(
            "INSERT INTO replica (id, seen_at, fingerprints) \
             SELECT $1, {now}, $2 FROM (SELECT id FROM instance WHERE id = 1 \
             AND master_key_fingerprint IN ({held}) {lock}) i \
             WHERE true \
             ON CONFLICT (id) DO UPDATE \
             SET seen_at = excluded.seen_at, fingerprints = excluded.fingerprints"
        );
        let fingerprints = self.fingerprints();
        let mut values: Vec<sea_orm::Value> = vec![replica.into(), fingerprints.join(" ").into()];
        values.extend(fingerprints.into_iter().map(Into::into));
        let done =
            store.write.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
        let forget = format!("DELETE FROM replica WHERE seen_at < {now} - {FORGET_SECONDS}");
        store.write.execute_raw(Statement::from_string(backend, forget)).await?;
        Ok(if done.rows_affected() > 0 {
            ReplicaAnnouncement::Made
        } else {
            ReplicaAnnouncement::KeyExchanged
        })
    }

    /// Records that this server no longer runs.
    ///
    /// # Errors
    /// The database's own.
    pub async fn take_leave(&self, store: &Store, replica: Uuid) -> Result<(), DbErr> {
        let text = "DELETE FROM replica WHERE id = $1";
        let statement = Statement::from_sql_and_values(store.backend(), text, [replica.into()]);
        store.write.execute_raw(statement).await.map(|_| ())
    }

    /// Records the new master key as the next one; nothing is sealed with it yet. It replaces a
    /// next key that was recorded before and is not in use.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn prepare_rotation(&self, store: &Store) -> Result<(), String> {
        let record = read_instance(store).await?.ok_or("the installation's row is missing")?;
        let unfinished = || {
            "an exchange of the master key is not finished yet: run `rolecall keys rotate finish`"
                .into()
        };
        if record.old_key_fingerprint.is_some() {
            return Err(unfinished());
        }
        let new = self.new_fingerprint()?;
        if new == record.master_key_fingerprint {
            return Err("the new master key is the present one".into());
        }
        let done = instance::Entity::update_many()
            .col_expr(instance::Column::NextKeyFingerprint, Expr::value(new))
            .filter(instance::Column::MasterKeyFingerprint.eq(&record.master_key_fingerprint))
            .filter(instance::Column::OldKeyFingerprint.is_null())
            .exec(&store.write)
            .await
            .map_err(describe_database_error)?;
        match done.rows_affected {
            0 => Err(unfinished()),
            _ => Ok(()),
        }
    }

    fn new_fingerprint(&self) -> Result<&str, String> {
        let new = self.new.and_then(|place| self.masters.get(place));
        let new = new.ok_or(
            "give the new master key with --new-master-key-file or ROLECALL_NEW_MASTER_KEY",
        )?;
        Ok(&new.fingerprint)
    }

    /// Makes the next write of a prepared exchange. `passed` is the last organization that is
    /// finished; an interrupted exchange starts again without it, and skips what is already done.
    ///
    /// # Errors
    /// One line for the operator. The writes before the error stay, and every secret stays readable
    /// with both keys.
    pub async fn advance_rotation(
        &self,
        store: &Store,
        passed: &mut Option<Uuid>,
    ) -> Result<RotationStep, String> {
        let record = read_instance(store).await?.ok_or("the installation's row is missing")?;
        let Some(old) = &record.old_key_fingerprint else {
            let new = self.new_fingerprint()?;
            // The last write of an exchange may have been done by a process that was killed right
            // after it.
            if new == record.master_key_fingerprint {
                return Ok(RotationStep::Finished);
            }
            if record.next_key_fingerprint.as_deref() != Some(new) {
                return Err(
                    "this new master key is not prepared: run `rolecall keys rotate prepare` with \
                     it first"
                        .into(),
                );
            }
            return self.switch_to_new_key(store, new).await;
        };
        if self.reseal_data_key(store, &record, passed).await? {
            return Ok(RotationStep::DataKey);
        }
        if self.reseal_signing_key(store, &record).await? {
            return Ok(RotationStep::SigningKey);
        }
        instance::Entity::update_many()
            .col_expr(instance::Column::OldKeyFingerprint, Expr::value(None::<String>))
            .filter(instance::Column::OldKeyFingerprint.eq(old))
            .exec(&store.write)
            .await
            .map_err(describe_database_error)?;
        Ok(RotationStep::Finished)
    }

    /// Makes the new key the current one, unless a server without it runs. A server that announces
    /// itself at the same time waits for this transaction, or this transaction waits for it.
    async fn switch_to_new_key(&self, store: &Store, new: &str) -> Result<RotationStep, String> {
        let db = begin_installation_write(store).await?;
        let text = "UPDATE instance SET old_key_fingerprint = master_key_fingerprint, \
                    master_key_fingerprint = $1, \
                    next_key_fingerprint = NULL WHERE id = 1 AND next_key_fingerprint = $1 \
                    AND old_key_fingerprint IS NULL";
        let switch = Statement::from_sql_and_values(store.backend(), text, [new.into()]);
        let switched =
            db.execute_raw(switch).await.map_err(describe_database_error)?.rows_affected() > 0;
        let without = servers_without(&db, new).await.map_err(describe_database_error)?;
        if !switched || !without.is_empty() {
            db.rollback().await.map_err(describe_database_error)?;
            return Err(if without.is_empty() {
                "another process changes the master key at the same time: check the state, and \
                 try again"
                    .into()
            } else {
                format!(
                    "these servers run without the new master key: {}. Restart them with both \
                     keys, or wait a minute after they have ended",
                    without.join(", ")
                )
            });
        }
        db.commit().await.map_err(describe_database_error)?;
        Ok(RotationStep::Switched)
    }

    /// Encrypts one organization's data key with the new key, if one is left.
    async fn reseal_data_key(
        &self,
        store: &Store,
        record: &instance::Model,
        passed: &mut Option<Uuid>,
    ) -> Result<bool, String> {
        loop {
            #[allow(
                clippy::disallowed_methods,
                reason = "organizations are what everything else is scoped by"
            )]
            let query = organization::Entity::find().select_only();
            let query = query.columns([organization::Column::Id, organization::Column::DataKey]);
            let query = match *passed {
                Some(passed) => query.filter(organization::Column::Id.gt(passed)),
                None => query,
            };
            let query = query
                .order_by_asc(organization::Column::Id)
                .limit(DATA_KEYS_PER_BATCH)
                .into_tuple::<(Uuid, Vec<u8>)>();
            let batch = query.all(&store.read).await.map_err(describe_database_error)?;
            if batch.is_empty() {
                return Ok(false);
            }
            for (id, sealed) in batch {
                let Some(anew) = self.reseal_value(record, id.as_bytes(), &sealed)? else {
                    *passed = Some(id);
                    continue;
                };
                let done = organization::Entity::update_many()
                    .col_expr(organization::Column::DataKey, Expr::value(anew))
                    .filter(organization::Column::Id.eq(id))
                    .filter(organization::Column::DataKey.eq(sealed))
                    .exec(&store.write)
                    .await
                    .map_err(describe_database_error)?;
                // Another process that finishes the same exchange may have written it first.
                if done.rows_affected > 0 {
                    *passed = Some(id);
                    return Ok(true);
                }
            }
        }
    }

    /// Encrypts one signing key with the new key, if one is left.
    async fn reseal_signing_key(
        &self,
        store: &Store,
        record: &instance::Model,
    ) -> Result<bool, String> {
        for row in list_signing_key_rows(store).await? {
            let Some(sealed) = row.sealed else { continue };
            let Some(anew) = self.reseal_value(record, SEALED_FOR, &sealed)? else { continue };
            let done = signing_key::Entity::update_many()
                .col_expr(signing_key::Column::Sealed, Expr::value(anew))
                .filter(signing_key::Column::Number.eq(row.number))
                .filter(signing_key::Column::Sealed.eq(sealed))
                .exec(&store.write)
                .await
                .map_err(describe_database_error)?;
            if done.rows_affected > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Encrypts a value with the current key if another key had encrypted it; `None` if the current
    /// key already did.
    fn reseal_value(
        &self,
        record: &instance::Model,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, String> {
        let present = self
            .find_master_key(&record.master_key_fingerprint)
            .ok_or("the present master key is not given")?;
        if unseal(present, aad, sealed).is_ok() {
            return Ok(None);
        }
        let plain = self.unseal_by_master(aad, sealed).map_err(|_| {
            "a sealed value opens with neither master key: nothing was lost, and the exchange \
             stays unfinished"
                .to_owned()
        })?;
        seal(present, aad, &plain).map(Some).map_err(|error| error.to_string())
    }

    /// Creates a new signing key; see [`Vault::signing_key`]. Returns when it begins to sign.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn rotate_signing_key(
        &self,
        store: &Store,
        now: chrono::DateTime<chrono::Utc>,
        at_once: bool,
    ) -> Result<chrono::DateTime<chrono::Utc>, String> {
        let db = begin_installation_write(store).await?;
        // Only one process creates a key at a time, and none while the master key is exchanged.
        let lock = "UPDATE instance SET id = id WHERE id = 1 AND old_key_fingerprint IS NULL";
        let free =
            db.execute_unprepared(lock).await.map_err(describe_database_error)?.rows_affected() > 0;
        let made = if free {
            self.read_signing_keys(store, now).await?;
            let fingerprint = super::lock_record(&db).await.map_err(|error| error.to_string())?;
            self.add_signing_key(&db, &fingerprint, now, at_once).await
        } else {
            Err("an exchange of the master key is not finished yet: run `rolecall keys rotate \
                 finish`"
                .into())
        };
        match made {
            Ok(from) => db.commit().await.map_err(describe_database_error).map(|()| from),
            Err(why) => db.rollback().await.map_err(describe_database_error).and(Err(why)),
        }
    }
}

/// Begins a transaction of the installation, which belongs to no organization and no ledger.
async fn begin_installation_write(store: &Store) -> Result<Transaction, String> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the keys belong to no organization, so no ledger row tells of them"
    )]
    store.write.begin_transaction().await.map_err(describe_database_error)
}

/// The servers that run without this master key, as text.
async fn servers_without(db: &Transaction, fingerprint: &str) -> Result<Vec<String>, DbErr> {
    let now = database_seconds(db.get_database_backend());
    let text =
        format!("SELECT id, {now} - seen_at AS silence, fingerprints FROM replica ORDER BY id");
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), text)).await?;
    let mut without = Vec::new();
    for row in rows {
        let (id, silence, held): (Uuid, i64, String) =
            (row.try_get("", "id")?, row.try_get("", "silence")?, row.try_get("", "fingerprints")?);
        if silence < SILENCE_SECONDS && held.split(' ').all(|held| held != fingerprint) {
            without.push(format!("{id} (seen {silence} s ago)"));
        }
    }
    Ok(without)
}

/// The database's own clock, in seconds: replicas may disagree about the time.
fn database_seconds(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "CAST(extract(epoch FROM clock_timestamp()) AS bigint)",
        _ => "CAST(strftime('%s', 'now') AS integer)",
    }
}

fn describe_database_error(error: DbErr) -> String {
    format!("the database: {error}")
}
