//! Assertions count once: a response of SAML passes through the browser, where others may read it.
//! What was used is stored until it would have expired anyway, for all replicas. Only a caller who
//! repeats the very same assertion with the same idempotency key may go on: its answer was lost on
//! the way.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::used_assertion;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use uuid::Uuid;

use super::assertion::VerifiedAssertion;
use crate::context::{App, Cx};
use crate::crypto::vault;
use crate::error::{Error, RefusalReason, Result};

/// Notes that an assertion is used now. `key` is the caller's idempotency key.
///
/// # Errors
/// [`Error::Held`] for one that was used before.
pub async fn use_assertion(
    cx: &Cx,
    connection: Uuid,
    assertion: &VerifiedAssertion,
    key: Option<&str>,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    let id = assertion.id.as_deref().unwrap_or_default();
    let caller = cx.actor.id().unwrap_or_default();
    let row = used_assertion::Model {
        organization_id: cx.organization(),
        connection_id: connection,
        id_hash: vault::hash_secret(id),
        fingerprint: assertion.fingerprint.to_vec(),
        key_hash: key.map(|key| vault::hash_secret(&format!("{caller}\0{key}"))),
        expires_at,
    };
    insert_use(cx, row).await
}

/// Notes that a token is used now, which counts once.
///
/// # Errors
/// As [`use_assertion`].
pub async fn use_once(
    cx: &Cx,
    connection: Uuid,
    id: &str,
    fingerprint: [u8; 32],
    expires_at: DateTime<Utc>,
) -> Result<()> {
    let row = used_assertion::Model {
        organization_id: cx.organization(),
        connection_id: connection,
        id_hash: vault::hash_secret(id),
        fingerprint: fingerprint.to_vec(),
        key_hash: None,
        expires_at,
    };
    insert_use(cx, row).await
}

/// Takes a use back, because what should follow from it failed.
///
/// # Errors
/// Those of the database.
pub async fn forget_use(cx: &Cx, connection: Uuid, id: &str) -> Result<()> {
    use used_assertion::Column;
    used_assertion::Entity::delete_many()
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::ConnectionId.eq(connection))
        .filter(Column::IdHash.eq(vault::hash_secret(id)))
        .exec(&cx.app.store.write)
        .await?;
    Ok(())
}

async fn insert_use(cx: &Cx, row: used_assertion::Model) -> Result<()> {
    use used_assertion::Column;
    let once = OnConflict::columns([Column::OrganizationId, Column::ConnectionId, Column::IdHash])
        .do_nothing()
        .to_owned();
    let inserted = used_assertion::Entity::insert(row.clone().into_active_model())
        .on_conflict(once)
        .exec_without_returning(&cx.app.store.write)
        .await?;
    if inserted > 0 {
        return Ok(());
    }
    let known = cx
        .find::<used_assertion::Entity>()
        .filter(Column::ConnectionId.eq(row.connection_id))
        .filter(Column::IdHash.eq(row.id_hash.clone()));
    let known = known.one(&cx.app.store.write).await?;
    let repeated = known.is_some_and(|known| {
        known.fingerprint == row.fingerprint
            && known.key_hash.is_some()
            && known.key_hash == row.key_hash
    });
    if repeated {
        return Ok(());
    }
    Err(Error::Held {
        reason: RefusalReason::AssertionReplayed,
        why: "this response was used before. Each counts once; to repeat a request whose answer \
              was lost, send the same Idempotency-Key"
            .into(),
    })
}

/// Deletes what has expired, of every organization. Returns how many.
///
/// # Errors
/// Those of the database.
pub async fn forget_expired_assertions(app: &Arc<App>) -> Result<u64> {
    let old = used_assertion::Column::ExpiresAt.lte(app.clock.now());
    let deleted = used_assertion::Entity::delete_many().filter(old);
    Ok(deleted.exec(&app.store.write).await?.rows_affected)
}
