//! Secrets: the master key, the tenants' data keys under it, the signing key of the local issuer, and the
//! making of tokens. Key material goes in and never comes out; nothing here is printed or logged.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use entity::instance;
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};
use uuid::Uuid;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::Store;

/// The keys of this installation.
pub struct Vault {
    master: RandomizedNonceKey,
    signing_key: Vec<u8>,
    verifying_key: Vec<u8>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(sealed)")
    }
}

impl Vault {
    /// Unlocks the installation, or makes its keys where the database records none. Another master key than
    /// the recorded one is refused: with it nothing sealed could be read.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn open(store: &Store, config: &Config, now: DateTime<Utc>) -> Result<Self, String> {
        let recorded = recorded(store).await?;
        let source = Source::of(config);
        let key = match (&recorded, source.read()?) {
            (_, Some(key)) => key,
            (None, None) => source.make()?,
            (Some(_), None) => {
                return Err(format!(
                    "this database was set up with a master key that is not in {}: copy the key file there or set ROLECALL_MASTER_KEY",
                    source.name()
                ));
            }
        };
        let master =
            RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| "the master key cannot be used".to_owned())?;
        let fingerprint = fingerprint(&key);
        let instance = match recorded {
            Some(instance) => instance,
            None => record(store, &master, &fingerprint, now).await?,
        };
        if instance.master_key_fingerprint != fingerprint {
            return Err(format!(
                "{} holds another master key than the one this database was set up with",
                source.name()
            ));
        }
        let signing_key = unseal(&master, b"signing-key", &instance.signing_key)
            .map_err(|_| "the signing key in the database cannot be unsealed with this master key".to_owned())?;
        let pair = Ed25519KeyPair::from_pkcs8(&signing_key).map_err(|_| "the signing key is damaged".to_owned())?;
        Ok(Self { master, verifying_key: pair.public_key().as_ref().to_vec(), signing_key })
    }

    /// Makes a tenant's data key, wrapped for the organization's row.
    pub fn new_data_key(&self, organization: Uuid) -> Result<Vec<u8>> {
        seal(&self.master, organization.as_bytes(), &random::<32>()?)
    }

    /// Seals `secret` for one row of one tenant; it can be opened only for the same row.
    pub fn seal(&self, organization: Uuid, data_key: &[u8], row: Uuid, secret: &[u8]) -> Result<Vec<u8>> {
        seal(&self.data_key(organization, data_key)?, &row_aad(organization, row), secret)
    }

    /// Opens what [`Vault::seal`] sealed for the same row.
    pub fn unseal(&self, organization: Uuid, data_key: &[u8], row: Uuid, sealed: &[u8]) -> Result<Vec<u8>> {
        unseal(&self.data_key(organization, data_key)?, &row_aad(organization, row), sealed)
    }

    fn data_key(&self, organization: Uuid, wrapped: &[u8]) -> Result<RandomizedNonceKey> {
        let key = unseal(&self.master, organization.as_bytes(), wrapped)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| Error::Internal("a data key is damaged".into()))
    }

    /// The local issuer's private key (Ed25519, PKCS#8 DER).
    pub fn signing_key(&self) -> &[u8] {
        &self.signing_key
    }

    /// The local issuer's public key (Ed25519, raw).
    pub fn verifying_key(&self) -> &[u8] {
        &self.verifying_key
    }
}

async fn recorded(store: &Store) -> Result<Option<instance::Model>, String> {
    #[allow(clippy::disallowed_methods, reason = "the installation's own row belongs to no organization")]
    instance::Entity::find_by_id(1).one(&store.read).await.map_err(|error| format!("cannot read the database: {error}"))
}

/// Records this master key, unless another process was quicker; whoever was, its row is the truth.
async fn record(
    store: &Store,
    master: &RandomizedNonceKey,
    fingerprint: &str,
    now: DateTime<Utc>,
) -> Result<instance::Model, String> {
    let fault = |_| "cannot make a signing key".to_owned();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).map_err(fault)?;
    let sealed = seal(master, b"signing-key", pkcs8.as_ref()).map_err(|error| error.to_string())?;
    let row = instance::ActiveModel {
        id: Set(1),
        master_key_fingerprint: Set(fingerprint.to_owned()),
        signing_key: Set(sealed),
        created_at: Set(now),
    };
    instance::Entity::insert(row)
        .on_conflict(OnConflict::column(instance::Column::Id).do_nothing().to_owned())
        .exec_without_returning(&store.write)
        .await
        .map_err(|error| format!("cannot write to the database: {error}"))?;
    recorded(store).await?.ok_or_else(|| "the installation's row vanished".to_owned())
}

/// Where the master key comes from.
enum Source {
    Environment(String),
    File(PathBuf),
}

impl Source {
    fn of(config: &Config) -> Self {
        match &config.master_key {
            Some(key) => Self::Environment(key.clone()),
            None => Self::File(config.data_dir.join("master.key")),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Environment(_) => "ROLECALL_MASTER_KEY".into(),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn read(&self) -> Result<Option<[u8; 32]>, String> {
        let text = match self {
            Self::Environment(text) => text.clone(),
            Self::File(path) => match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            },
        };
        let key = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        key.map(Some).ok_or_else(|| format!("{} must hold 32 bytes in base64", self.name()))
    }

    fn make(&self) -> Result<[u8; 32], String> {
        let Self::File(path) = self else { return Err("no master key".into()) };
        let key = random::<32>().map_err(|error| error.to_string())?;
        match write_private(path, STANDARD.encode(key).as_bytes()) {
            Ok(()) => Ok(key),
            // Another process on the same folder was quicker: its key is the key.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.read()?.ok_or_else(|| format!("{} vanished", path.display()))
            }
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        }
    }
}

/// Makes a file that only its owner can read, complete at once: written aside, then linked into place.
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

fn fingerprint(key: &[u8]) -> String {
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
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Internal("no randomness from the system".into()))?;
    Ok(bytes)
}

/// A new bearer secret: a scannable prefix, 256 random bits, six characters of checksum; letters and digits
/// only, so that a double click takes all of it.
pub fn new_secret(prefix: &str) -> Result<String> {
    let mut secret = String::from(prefix);
    while secret.len() < prefix.len() + 43 {
        // 248 is the largest multiple of 62 in a byte: what is above would favour some letters.
        secret.extend(random::<64>()?.iter().filter(|byte| **byte < 248).map(|byte| letter(*byte)));
    }
    secret.truncate(prefix.len() + 43);
    let sum: String = hash(&secret).iter().take(6).map(|byte| letter(*byte)).collect();
    Ok(secret + &sum)
}

fn letter(byte: u8) -> char {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    LETTERS[usize::from(byte % 62)].into()
}

/// What is kept of a bearer secret. It has 256 random bits, so a plain SHA-256 cannot be searched.
pub fn hash(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// The end of a secret, to tell one from another in a list.
pub fn last_four(secret: &str) -> String {
    secret.get(secret.len().saturating_sub(4)..).unwrap_or_default().to_owned()
}
