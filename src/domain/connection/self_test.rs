//! The credentials with which this server tests its own public URL, as the identity provider of a
//! connection would call it: a token that may only read and lives for a minute, and a token that
//! was never valid. They are removed when the test ends, or before the next one.

use chrono::{DateTime, Duration, Utc};
use entity::scim_token;
use entity::scim_token::TokenPurpose;
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::scim_token::{TOKEN_PREFIX, check_is_push, scope_names};
use crate::auth::policy::{Action, Scope, Scopes};
use crate::context::{Change, Cx, Tx};
use crate::crypto::vault;
use crate::domain::tenant::organization;
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// How long the token of a test is valid.
const TOKEN_LIFETIME: Duration = Duration::minutes(1);
/// What the token of a test may do.
const SCOPES: [Scope; 2] = [Scope::UsersRead, Scope::GroupsRead];

/// A test that has begun.
#[derive(Debug)]
pub struct SelfTest {
    pub connection: Uuid,
    /// The SCIM base URL as an administrator enters it in the identity provider.
    pub base_url: String,
    /// A token that must be accepted.
    pub valid_token: String,
    /// A token that must be refused.
    pub false_token: String,
}

/// Makes the credentials for a test of the public URL.
///
/// # Errors
/// [`Error::NotFound`](crate::error::Error::NotFound) without such a connection,
/// [`Error::Invalid`](crate::error::Error::Invalid) for one that reads a source,
/// [`Error::Held`](crate::error::Error::Held) where SCIM is not available.
pub async fn begin_self_test(cx: &Cx, connection: Uuid) -> Result<SelfTest> {
    cx.allow(Action::WriteConnection, None)?;
    super::check_scim_available(cx).await?;
    let slug = organization::current_organization(cx).await?.slug;
    let test = SelfTest {
        connection,
        base_url: organization::base_url(&cx.app, &slug),
        valid_token: vault::new_secret(TOKEN_PREFIX)?,
        false_token: vault::new_secret(TOKEN_PREFIX)?,
    };
    let (valid, refused) = (test.valid_token.as_str(), test.false_token.as_str());
    cx.write(move |tx| {
        Box::pin(async move {
            check_is_push(tx, connection).await?;
            let name = super::lock_live_connection(tx, connection).await?.name;
            let now = tx.now_after(None);
            // A server that was killed in the middle of a test has left its tokens.
            scim_token::Entity::delete_many()
                .filter(scim_token::Column::OrganizationId.eq(tx.organization()))
                .filter(scim_token::Column::ConnectionId.eq(connection))
                .filter(scim_token::Column::Purpose.eq(TokenPurpose::SelfTest))
                .filter(scim_token::Column::ExpiresAt.lt(now))
                .exec(&tx.db)
                .await?;
            let tokens = [
                self_test_token(tx, connection, valid, now, None),
                self_test_token(tx, connection, refused, now, Some(now)),
            ];
            let rows = tokens.map(scim_token::ActiveModel::from);
            scim_token::Entity::insert_many(rows).exec_without_returning(&tx.db).await?;
            let entry = NewEvent {
                kind: EventKind::ConnectionSelfTestStarted,
                subject: EventSubject { kind: "connection", id: connection },
                name: Some(name),
                connection: Some(connection),
                at: now,
                before: None,
                after: Some(json!({
                    "scopes": scope_names(&Scopes::from(SCOPES)),
                    "expiresAt": now + TOKEN_LIFETIME,
                })),
                population: 0,
            };
            Ok(Change::recorded((), entry))
        })
    })
    .await?;
    Ok(test)
}

/// Removes the credentials of a test. They end by themselves within a minute, so this is no change
/// of the domain and has no event.
pub async fn end_self_test(cx: &Cx, test: &SelfTest) -> Result<()> {
    let hashes = [&test.valid_token, &test.false_token].map(|token| vault::hash_secret(token));
    let [valid, refused] = hashes;
    let statement = cx.statement(
        "DELETE FROM scim_token WHERE organization_id = $1 AND connection_id = $2 \
         AND purpose = $3 AND hash IN ($4, $5)",
        [
            test.connection.into(),
            TokenPurpose::SelfTest.to_value().into(),
            valid.into(),
            refused.into(),
        ],
    );
    cx.app.store.write.execute_raw(statement).await?;
    Ok(())
}

fn self_test_token(
    tx: &Tx<'_>,
    connection: Uuid,
    secret: &str,
    now: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
) -> scim_token::Model {
    scim_token::Model {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: connection,
        purpose: TokenPurpose::SelfTest,
        hash: vault::hash_secret(secret),
        last_four: vault::last_four(secret),
        scopes: scope_names(&Scopes::from(SCOPES)),
        created_at: now,
        expires_at: Some(now + TOKEN_LIFETIME),
        retires_at: None,
        revoked_at,
        last_used_at: None,
        last_used_from: None,
        issued_by: None,
        setup_link_id: None,
    }
}
