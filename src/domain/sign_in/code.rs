//! One-time codes: an application that lets people sign in here gets one through the browser, and
//! redeems it with its own credential. So the browser never holds anything that says who the person
//! is. A code is work, not a change: the ledger tells of what the sign-in changed.

use chrono::Duration;
use entity::sign_in_code;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::source::SignInSource;
use super::{SignInOutcome, describe_outcome};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::crypto::vault;
use crate::domain::connection::Connection;
use crate::error::{Error, RefusalReason, Result};

/// The beginning of every code, by which scanners find one that leaked.
const CODE_PREFIX: &str = "rca_";
/// How long a code can be redeemed.
const CODE_LIFETIME: Duration = Duration::seconds(60);

/// Makes the code for a sign-in whose person is brought back to `redirect_url`.
///
/// # Errors
/// Those of the database.
pub async fn issue_code(
    cx: &Cx,
    connection: Uuid,
    user: Uuid,
    redirect_url: &str,
) -> Result<String> {
    use sign_in_code::Column;
    let code = vault::new_secret(CODE_PREFIX)?;
    let now = cx.app.clock.now();
    sign_in_code::Entity::delete_many()
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::ExpiresAt.lt(now))
        .exec(&cx.app.store.write)
        .await?;
    let row = sign_in_code::Model {
        organization_id: cx.organization(),
        hash: vault::hash_secret(&code),
        connection_id: connection,
        user_id: user,
        redirect_url: redirect_url.to_owned(),
        expires_at: now + CODE_LIFETIME,
        redeemed_at: None,
    };
    sign_in_code::Entity::insert(sign_in_code::ActiveModel::from(row))
        .exec_without_returning(&cx.app.store.write)
        .await?;
    Ok(code)
}

/// Exchanges a code for what came of the sign-in, as it is now. Of requests that race, exactly one
/// wins.
///
/// # Errors
/// [`Error::Held`] for a code that is unknown, used, expired, or was brought to another address.
pub async fn redeem_code(
    cx: &Cx,
    code: &str,
    redirect_url: &str,
) -> Result<(Connection, SignInOutcome)> {
    use sign_in_code::Column;
    cx.allow(Action::SubmitAssertion, None)?;
    let ended = || Error::Held {
        reason: RefusalReason::Ended,
        why: "the code is unknown, was used before, has expired, or was brought to another address"
            .into(),
    };
    let now = cx.app.clock.now();
    let hash = vault::hash_secret(code);
    let redeemed = sign_in_code::Entity::update_many()
        .col_expr(Column::RedeemedAt, Expr::value(Some(now)))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::Hash.eq(hash.clone()))
        .filter(Column::RedeemedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .exec(&cx.app.store.write)
        .await?;
    if redeemed.rows_affected == 0 {
        return Err(ended());
    }
    let query = cx.find::<sign_in_code::Entity>().filter(Column::Hash.eq(hash));
    let row = query.one(&cx.app.store.write).await?.ok_or_else(ended)?;
    if row.redirect_url != redirect_url {
        return Err(ended());
    }
    let from = SignInSource::read_settings(cx, row.connection_id).await?;
    let outcome = describe_outcome(&from, row.user_id, from.refusal(), false).await?;
    Ok((from.connection, outcome))
}
