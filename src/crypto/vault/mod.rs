//! Secrets: the master key, the tenants' data keys under it, the signing keys of the installation,
//! and the making of tokens. Key material never leaves this module; nothing here is printed or
//! logged.

#![allow(
    clippy::disallowed_methods,
    reason = "the keys of the installation and of all organizations, below Cx"
)]

mod rotation;
mod signing;

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::hmac::HMAC_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use entity::instance;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbBackend, EntityTrait, Statement, sea_query::OnConflict,
};
use uuid::Uuid;

use crate::config::{Config, KeySource};
use crate::crypto::cursor::CursorKey;
use crate::db::Store;
use crate::error::{Error, Result};

pub use rotation::{HEARTBEAT_INTERVAL, ReplicaAnnouncement, RotationStep};
pub use signing::{SigningKey, key_id};

/// The keys of this installation.
pub struct Vault {
    /// The master keys that this process was given: the present one, and another while they are
    /// exchanged.
    masters: Vec<MasterKey>,
    /// The place in `masters` of the key that was given as the new one.
    new: Option<usize>,
    signing: RwLock<Vec<Arc<SigningKey>>>,
}

struct MasterKey {
    fingerprint: String,
    key: RandomizedNonceKey,
    cursors: CursorKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(sealed)")
    }
}

impl Vault {
    /// Unlocks the installation, or makes its keys where the database records none. The master key
    /// that the database records must be among those given: without it nothing sealed could be
    /// read.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn open_vault(
        store: &Store,
        config: &Config,
        now: DateTime<Utc>,
    ) -> Result<Self, String> {
        let recorded = read_instance(store).await?;
        let mut given = vec![(&config.master_key, read_key(&config.master_key)?)];
        if let Some(source) = &config.new_master_key {
            given.push((source, read_key(source)?));
        }
        let (mut masters, mut new) = (Vec::new(), None);
        for (place, (source, key)) in given.into_iter().enumerate() {
            let key = match (key, &recorded) {
                (None, None) if place == 0 => Some(make_key(source)?),
                (key, _) => key,
            };
            let Some(key) = key else { continue };
            if place > 0 {
                new = Some(masters.len());
            }
            masters.push(MasterKey::of(&key)?);
        }
        let instance = match (recorded, masters.first()) {
            (Some(instance), _) => instance,
            (None, Some(master)) => record_fingerprint(store, &master.fingerprint, now).await?,
            (None, None) => return Err("there is no master key".into()),
        };
        let vault = Self { masters, new, signing: RwLock::default() };
        vault.check_record(&instance, config)?;
        vault.read_signing_keys(store, now).await?;
        Ok(vault)
    }

    /// Refuses unless every master key that something is sealed with is here.
    fn check_record(&self, instance: &instance::Model, config: &Config) -> Result<(), String> {
        let name = describe_key_source(&config.master_key);
        if self.masters.is_empty() {
            return Err(format!(
                "this database was set up with a master key that is not in {name}: copy the key \
                 file there or set ROLECALL_MASTER_KEY"
            ));
        }
        if self.find_master_key(&instance.master_key_fingerprint).is_none() {
            return Err(format!(
                "{name} holds another master key than the one this database was set up with"
            ));
        }
        match &instance.old_key_fingerprint {
            Some(old) if self.find_master_key(old).is_none() => {
                Err("the exchange of the master key is not finished: give both \
                 the old key and the new one, and run `rolecall keys rotate finish`"
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// The fingerprints of the master keys that this process was given.
    pub fn fingerprints(&self) -> Vec<&str> {
        self.masters.iter().map(|master| master.fingerprint.as_str()).collect()
    }

    fn find_master_key(&self, fingerprint: &str) -> Option<&RandomizedNonceKey> {
        self.masters
            .iter()
            .find(|master| master.fingerprint == fingerprint)
            .map(|master| &master.key)
    }

    /// Opens what any of the master keys sealed.
    fn unseal_by_master(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let opened = self.masters.iter().find_map(|master| unseal(&master.key, aad, sealed).ok());
        opened.ok_or_else(|| {
            Error::Internal("no master key of this process opens a sealed value".into())
        })
    }

    /// Makes a tenant's data key, wrapped for the organization's row, in the transaction `db` that
    /// writes the row. The master key cannot be exchanged for another before that transaction has
    /// ended.
    ///
    /// # Errors
    /// The database's own, and [`Error::Internal`] when this process lacks the master key of today.
    pub async fn new_data_key(
        &self,
        db: &impl ConnectionTrait,
        organization: Uuid,
    ) -> Result<Vec<u8>> {
        let fingerprint = lock_record(db).await?;
        let master = self.find_master_key(&fingerprint);
        let master = master
            .ok_or_else(|| Error::Internal("the master key was exchanged for another".into()))?;
        seal(master, organization.as_bytes(), &random_bytes::<32>()?)
    }

    /// Seals `secret` for one row of one tenant; it can be opened only for the same row.
    pub fn seal(
        &self,
        organization: Uuid,
        data_key: &[u8],
        row: Uuid,
        secret: &[u8],
    ) -> Result<Vec<u8>> {
        seal(&self.data_key(organization, data_key)?, &row_aad(organization, row), secret)
    }

    /// Opens what [`Vault::seal`] sealed for the same row.
    pub fn unseal(
        &self,
        organization: Uuid,
        data_key: &[u8],
        row: Uuid,
        sealed: &[u8],
    ) -> Result<Vec<u8>> {
        unseal(&self.data_key(organization, data_key)?, &row_aad(organization, row), sealed)
    }

    /// A hash of `text` that only this installation can compute, and only for this organization:
    /// what remains of a name after an erasure cannot be searched.
    ///
    /// # Errors
    /// [`Error::Internal`] when the data key cannot be opened.
    pub fn keyed_hash(&self, organization: Uuid, data_key: &[u8], text: &str) -> Result<Vec<u8>> {
        let key = self.unseal_by_master(organization.as_bytes(), data_key)?;
        // A key of its own for this use.
        let own = hmac::sign(&hmac::Key::new(HMAC_SHA256, &key), b"rolecall: keyed hashes");
        let own = hmac::Key::new(HMAC_SHA256, own.as_ref());
        Ok(hmac::sign(&own, text.as_bytes()).as_ref().to_vec())
    }

    /// The cursor of a place in a list of `organization`.
    ///
    /// # Errors
    /// [`Error::Internal`] if the cipher refuses.
    pub fn seal_cursor(&self, organization: Uuid, place: &str) -> Result<String> {
        let master = self.masters.first();
        master
            .and_then(|master| master.cursors.seal_place(organization, place))
            .ok_or_else(|| Error::Internal("sealing a cursor failed".into()))
    }

    /// The place of a cursor; none for one that was altered or made for another organization, and
    /// for one of a master key that was exchanged.
    pub fn open_cursor(&self, organization: Uuid, cursor: &str) -> Option<String> {
        self.masters.iter().find_map(|master| master.cursors.open_cursor(organization, cursor))
    }

    fn data_key(&self, organization: Uuid, wrapped: &[u8]) -> Result<RandomizedNonceKey> {
        let key = self.unseal_by_master(organization.as_bytes(), wrapped)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key)
            .map_err(|_| Error::Internal("a data key is damaged".into()))
    }
}

impl MasterKey {
    fn of(key_bytes: &[u8; 32]) -> Result<Self, String> {
        let fingerprint = key_fingerprint(key_bytes);
        let key = RandomizedNonceKey::new(&AES_256_GCM, key_bytes)
            .map_err(|_| "the master key cannot be used".to_owned())?;
        let cursors = CursorKey::from_master_key(key_bytes)
            .ok_or_else(|| "the master key cannot be used".to_owned())?;
        Ok(Self { fingerprint, key, cursors })
    }
}

async fn read_instance(store: &Store) -> Result<Option<instance::Model>, String> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the installation's own row belongs to no organization"
    )]
    instance::Entity::find_by_id(1)
        .one(&store.read)
        .await
        .map_err(|error| format!("cannot read the database: {error}"))
}

/// The fingerprint of the master key of today, which stays it until the transaction of `db` ends.
async fn lock_record(db: &impl ConnectionTrait) -> Result<String> {
    let lock = match db.get_database_backend() {
        DbBackend::Postgres => " FOR SHARE",
        // A transaction that writes is alone there.
        _ => "",
    };
    let text = format!("SELECT master_key_fingerprint FROM instance WHERE id = 1{lock}");
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), text)).await?;
    let row = row.ok_or_else(|| Error::Internal("the installation's row is missing".into()))?;
    Ok(row.try_get("", "master_key_fingerprint")?)
}

/// Records this master key, unless another process has recorded one first: then that one is valid.
async fn record_fingerprint(
    store: &Store,
    fingerprint: &str,
    now: DateTime<Utc>,
) -> Result<instance::Model, String> {
    let row = instance::ActiveModel {
        id: Set(1),
        master_key_fingerprint: Set(fingerprint.to_owned()),
        next_key_fingerprint: Set(None),
        old_key_fingerprint: Set(None),
        created_at: Set(now),
    };
    instance::Entity::insert(row)
        .on_conflict(OnConflict::column(instance::Column::Id).do_nothing().to_owned())
        .exec_without_returning(&store.write)
        .await
        .map_err(|error| format!("cannot write to the database: {error}"))?;
    read_instance(store).await?.ok_or_else(|| "the installation's row vanished".to_owned())
}

/// The name of a key's source, for the operator.
fn describe_key_source(source: &KeySource) -> String {
    match source {
        KeySource::Text(_) => "ROLECALL_MASTER_KEY".into(),
        KeySource::File(path) => path.display().to_string(),
    }
}

/// The key of a source; none where its file is missing.
fn read_key(source: &KeySource) -> Result<Option<[u8; 32]>, String> {
    let text = match source {
        KeySource::Text(text) => text.clone(),
        KeySource::File(path) => match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        },
    };
    let key = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    key.map(Some)
        .ok_or_else(|| format!("{} must hold 32 bytes in base64", describe_key_source(source)))
}

/// Makes a key in the file of a source where that is missing.
///
/// # Errors
/// One line for the operator.
pub fn make_missing_key(source: &KeySource) -> Result<(), String> {
    match read_key(source)? {
        Some(_) => Ok(()),
        None => make_key(source).map(|_| ()),
    }
}

fn make_key(source: &KeySource) -> Result<[u8; 32], String> {
    let KeySource::File(path) = source else { return Err("no master key".into()) };
    let key = random_bytes::<32>().map_err(|error| error.to_string())?;
    match write_private(path, STANDARD.encode(key).as_bytes()) {
        Ok(()) => Ok(key),
        // Another process on the same folder was first: its key is used.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read_key(source)?.ok_or_else(|| format!("{} vanished", path.display()))
        }
        Err(error) => Err(format!("cannot write {}: {error}", path.display())),
    }
}

/// Makes a file that only its owner can read, complete at once: written aside, then linked into
/// place.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let aside = path.with_extension(format!("{}.tmp", Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    linked
}

fn key_fingerprint(key: &[u8]) -> String {
    let labelled = [b"rolecall master key\0".as_slice(), key].concat();
    STANDARD.encode(&digest(&SHA256, &labelled).as_ref()[..12])
}

fn row_aad(organization: Uuid, row: Uuid) -> Vec<u8> {
    [organization.as_bytes().as_slice(), row.as_bytes()].concat()
}

/// Nonce, then ciphertext with its tag.
fn seal(key: &RandomizedNonceKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = plain.to_vec();
    let nonce = key
        .seal_in_place_append_tag(Aad::from(aad), &mut bytes)
        .map_err(|_| Error::Internal("sealing failed".into()))?;
    Ok([nonce.as_ref().as_slice(), &bytes].concat())
}

fn unseal(key: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let fault = || Error::Internal("a sealed value cannot be opened".into());
    let (nonce, bytes) = sealed.split_at_checked(12).ok_or_else(fault)?;
    let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| fault())?;
    let mut bytes = bytes.to_vec();
    let plain = key.open_in_place(nonce, Aad::from(aad), &mut bytes).map_err(|_| fault())?;
    Ok(plain.to_vec())
}

/// Random bytes from the system.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::Internal("no randomness from the system".into()))?;
    Ok(bytes)
}

/// A new bearer secret: a scannable prefix, 256 random bits, six characters of checksum; letters
/// and digits only, so that a double click takes all of it.
pub fn new_secret(prefix: &str) -> Result<String> {
    let mut secret = String::from(prefix);
    while secret.len() < prefix.len() + 43 {
        // 248 is the largest multiple of 62 in a byte: what is above would favour some letters.
        secret.extend(
            random_bytes::<64>()?
                .iter()
                .filter(|byte| **byte < 248)
                .map(|byte| base62_letter(*byte)),
        );
    }
    secret.truncate(prefix.len() + 43);
    let sum: String =
        hash_secret(&secret).iter().take(6).map(|byte| base62_letter(*byte)).collect();
    Ok(secret + &sum)
}

fn base62_letter(byte: u8) -> char {
    const BASE62_LETTERS: &[u8; 62] =
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    BASE62_LETTERS[usize::from(byte % 62)].into()
}

/// What is kept of a bearer secret. It has 256 random bits, so a plain SHA-256 cannot be searched.
pub fn hash_secret(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// The end of a secret, to tell one from another in a list.
pub fn last_four(secret: &str) -> String {
    secret.get(secret.len().saturating_sub(4)..).unwrap_or_default().to_owned()
}
