//! The keys that this installation signs with (Ed25519): tokens of the local issuer, and
//! attestations. One signs at a time. Each is published before it signs, so that a copy of the
//! published keys that is an hour old contains it; its public half is kept for ever, so that old
//! evidence can still be verified.

use std::sync::{Arc, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use entity::signing_key;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::OnConflict,
};

use super::{Vault, hash_secret, lock_record, seal};
use crate::db::{Store, Transaction};
use crate::error::Error;

/// What a private key is sealed for.
pub(super) const SEALED_FOR: &[u8] = b"signing-key";
/// How long a new key is published before it signs: longer than a copy of the published keys may be
/// kept (an hour).
const PUBLISHED_AHEAD: TimeDelta = TimeDelta::minutes(90);
/// How long tokens of a key are accepted after another has begun to sign: the longest life of a
/// token.
const ACCEPTED_AFTER: TimeDelta = TimeDelta::hours(24);

/// A key of this installation.
pub struct SigningKey {
    id: String,
    number: i64,
    public: Vec<u8>,
    /// None once nothing more is to be signed with it.
    private: Option<Vec<u8>>,
    signs_from: DateTime<Utc>,
    accepted_until: Option<DateTime<Utc>>,
}

impl SigningKey {
    /// Its name: the key's thumbprint (RFC 7638 with RFC 8037 section 2), in a token's header as
    /// `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key: 32 bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The public key in base64url, as auditors are given it.
    pub fn public_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.public)
    }

    /// The private key (PKCS#8 DER); empty once it was thrown away.
    pub fn private(&self) -> &[u8] {
        self.private.as_deref().unwrap_or_default()
    }

    /// When it begins to sign.
    pub fn signs_from(&self) -> DateTime<Utc> {
        self.signs_from
    }

    /// Whether a token that it has signed is accepted at `now`. Attestations are for ever.
    pub fn opens_at(&self, now: DateTime<Utc>) -> bool {
        self.accepted_until.is_none_or(|until| until > now)
    }

    fn of(vault: &Vault, row: signing_key::Model) -> Result<Self, String> {
        let private = row.sealed.map(|sealed| vault.unseal_by_master(SEALED_FOR, &sealed));
        let private = private.transpose().map_err(|_| {
            "a signing key in the database cannot be unsealed with this master key".to_owned()
        })?;
        let public = match (row.public_key, &private) {
            (Some(public), _) => public,
            (None, Some(private)) => public_half(private)?,
            (None, None) => {
                return Err("a signing key in the database has neither of its halves".into());
            }
        };
        let id = key_id(&public);
        let (number, signs_from, accepted_until) = (row.number, row.begins_at, row.accepted_until);
        Ok(Self { id, number, public, private, signs_from, accepted_until })
    }
}

/// The name of a public key: RFC 7638 with RFC 8037 section 2.
pub fn key_id(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    URL_SAFE_NO_PAD.encode(hash_secret(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

fn public_half(private: &[u8]) -> Result<Vec<u8>, String> {
    let pair =
        Ed25519KeyPair::from_pkcs8(private).map_err(|_| "a signing key is damaged".to_owned())?;
    Ok(pair.public_key().as_ref().to_vec())
}

fn new_private() -> Result<Vec<u8>, String> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    pkcs8.map(|pkcs8| pkcs8.as_ref().to_vec()).map_err(|_| "cannot make a signing key".to_owned())
}

impl Vault {
    /// The key to sign with at `now`.
    ///
    /// # Errors
    /// [`Error::Internal`] when there is none, which never happens in a vault that was opened.
    pub fn signing_key(&self, now: DateTime<Utc>) -> Result<Arc<SigningKey>, Error> {
        let keys: Vec<_> =
            self.verifying_keys().into_iter().filter(|key| key.private.is_some()).collect();
        let begun = keys.iter().rev().find(|key| key.signs_from <= now);
        // A clock that is behind the one that made the only key is no reason not to sign.
        let found = begun.or(keys.first()).cloned();
        found.ok_or_else(|| Error::Internal("there is no signing key".into()))
    }

    /// Every key that has ever signed, and the one that is published and does not sign yet; the
    /// oldest first.
    pub fn verifying_keys(&self) -> Vec<Arc<SigningKey>> {
        self.signing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key of this name.
    pub fn verifying_key(&self, id: &str) -> Option<Arc<SigningKey>> {
        self.verifying_keys().into_iter().find(|key| key.id == id)
    }

    /// Reads the signing keys again: another process may have made one. Where the database has none
    /// yet, makes it.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn read_signing_keys(&self, store: &Store, now: DateTime<Utc>) -> Result<(), String> {
        let mut rows = list_signing_key_rows(store).await?;
        if rows.is_empty() {
            self.make_first(store, now).await?;
            rows = self::list_signing_key_rows(store).await?;
        }
        let keys = rows
            .into_iter()
            .map(|row| SigningKey::of(self, row).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        *self.signing.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Several processes may start at once on an empty database: the first row is the one.
    async fn make_first(&self, store: &Store, now: DateTime<Utc>) -> Result<(), String> {
        let fingerprint = lock_record(&store.write).await.map_err(|error| error.to_string())?;
        let private = new_private()?;
        let row = self
            .find_signing_key_row(&fingerprint, 1, &private, now)
            .map_err(|error| error.to_string())?;
        signing_key::Entity::insert(row)
            .on_conflict(OnConflict::column(signing_key::Column::Number).do_nothing().to_owned())
            .exec_without_returning(&store.write)
            .await
            .map(|_| ())
            .map_err(|error| format!("cannot write to the database: {error}"))
    }

    fn find_signing_key_row(
        &self,
        fingerprint: &str,
        number: i64,
        private: &[u8],
        signs_from: DateTime<Utc>,
    ) -> Result<signing_key::ActiveModel, Error> {
        let master = self.find_master_key(fingerprint);
        let master = master
            .ok_or_else(|| Error::Internal("the master key was exchanged for another".into()))?;
        Ok(signing_key::ActiveModel {
            number: Set(number),
            public_key: Set(Some(public_half(private).map_err(Error::Internal)?)),
            sealed: Set(Some(seal(master, SEALED_FOR, private)?)),
            begins_at: Set(signs_from),
            accepted_until: Set(None),
        })
    }

    /// Makes a further signing key, in the transaction `db`. It signs 90 minutes from now, and
    /// tokens of the one before are accepted for 24 hours after that; with `at_once`, for a key
    /// that leaked, it signs now, and tokens of all others are refused. Private halves that are not
    /// needed any more are thrown away.
    ///
    /// # Errors
    /// One line for the operator, also when a key is published already that does not sign yet.
    pub(super) async fn add_signing_key(
        &self,
        db: &Transaction,
        fingerprint: &str,
        now: DateTime<Utc>,
        at_once: bool,
    ) -> Result<DateTime<Utc>, String> {
        let known = self.verifying_keys();
        if let Some(waiting) = known.iter().find(|key| key.signs_from > now)
            && !at_once
        {
            return Err(format!(
                "a key is published already that signs from {} on",
                waiting.signs_from.to_rfc3339()
            ));
        }
        let signs_from = if at_once { now } else { now + PUBLISHED_AHEAD };
        let describe_error =
            |error: sea_orm::DbErr| format!("cannot write to the database: {error}");
        let number = known.last().map_or(1, |key| key.number + 1);
        let row = self
            .find_signing_key_row(fingerprint, number, &new_private()?, signs_from)
            .map_err(|error| error.to_string())?;
        signing_key::Entity::insert(row)
            .exec_without_returning(db)
            .await
            .map_err(describe_error)?;
        let accepted_until = if at_once { now } else { signs_from + ACCEPTED_AFTER };
        for key in known {
            let ends = at_once || key.accepted_until.is_none();
            let until = if ends { Some(accepted_until) } else { key.accepted_until };
            let needed = until.is_some_and(|until| until > now);
            let change = signing_key::ActiveModel {
                number: Set(key.number),
                accepted_until: Set(until),
                public_key: Set(Some(key.public.clone())),
                ..Default::default()
            };
            let change = if needed {
                change
            } else {
                signing_key::ActiveModel { sealed: Set(None), ..change }
            };
            signing_key::Entity::update_many()
                .set(change)
                .filter(signing_key::Column::Number.eq(key.number))
                .exec(db)
                .await
                .map_err(describe_error)?;
        }
        Ok(signs_from)
    }
}

/// The rows of all signing keys, the oldest first.
pub(super) async fn list_signing_key_rows(
    store: &Store,
) -> Result<Vec<signing_key::Model>, String> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the installation's own keys belong to no organization"
    )]
    let query = signing_key::Entity::find().order_by_asc(signing_key::Column::Number);
    query.all(&store.read).await.map_err(|error| format!("cannot read the database: {error}"))
}
