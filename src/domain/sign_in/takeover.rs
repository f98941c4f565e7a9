//! From just in time to SCIM: an account that a sign-in made becomes the push connection's when its
//! identity provider creates the same person. The account keeps its id.

use entity::assertion_source::AccountCreation;
use entity::connection::ConnectionKind;
use entity::{assertion_source, connection, sign_in};
use sea_orm::{ColumnTrait, ConnectionTrait, QueryFilter};
use uuid::Uuid;

use crate::context::Tx;
use crate::domain::tenant::domain;
use crate::domain::tenant::domain::DomainProof;
use crate::error::Result;
use crate::ledger::EventKind;

/// An active account, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct TakenAccount<'a> {
    pub id: Uuid,
    pub owner: Option<Uuid>,
    pub user_name: &'a str,
}

/// Whether the push connection `owner`, which creates an account of this name, takes the account
/// over: a sign-in made it, the organization has proven the domain, and it was never deleted.
pub(in crate::domain) async fn is_taken_over(
    tx: &Tx<'_>,
    account: &TakenAccount<'_>,
    owner: Uuid,
) -> Result<bool> {
    let Some(former) = account.owner.filter(|former| *former != owner) else {
        return Ok(false);
    };
    let maker = tx.find::<connection::Entity>().filter(connection::Column::Id.eq(former));
    let maker = maker.filter(connection::Column::Kind.eq(ConnectionKind::Assertion));
    if maker.one(&tx.db).await?.is_none() {
        return Ok(false);
    }
    let source = tx.find::<assertion_source::Entity>();
    let source = source.filter(assertion_source::Column::ConnectionId.eq(former));
    let source = source.one(&tx.db).await?;
    if source.is_none_or(|source| source.account_creation == AccountCreation::None) {
        return Ok(false);
    }
    let signed_in = tx.find::<sign_in::Entity>().filter(sign_in::Column::UserId.eq(account.id));
    let signed_in = signed_in.filter(sign_in::Column::ConnectionId.eq(former));
    if signed_in.one(&tx.db).await?.is_none() {
        return Ok(false);
    }
    let came_back = EventKind::sql_list(|kind| {
        matches!(kind, EventKind::UserRevived | EventKind::UserRestored)
    });
    let text = format!(
        "SELECT 1 FROM event WHERE organization_id = $1 AND subject_id = $2 \
         AND action IN {came_back} LIMIT 1"
    );
    if tx.db.query_one_raw(tx.statement(text, [account.id.into()])).await?.is_some() {
        return Ok(false);
    }
    domain::lies_in_own_domain(tx, account.user_name, DomainProof::Proven).await
}

/// Corrects the numbers of accounts after a takeover. The event of an adoption counts one account
/// less without an owner, but this account belonged to the connection `former`.
pub(in crate::domain) async fn count_taken_over(tx: &Tx<'_>, former: Option<Uuid>) -> Result<()> {
    let Some(former) = former else { return Ok(()) };
    for (owner, more) in [(Uuid::nil(), 1_i64), (former, -1)] {
        let text = "INSERT INTO tally (organization_id, connection_id, kind, n) \
                    VALUES ($1, $2, 'user', $3) ON CONFLICT (organization_id, connection_id, kind) \
                    DO UPDATE SET n = tally.n + excluded.n";
        tx.db.execute_raw(tx.statement(text, [owner.into(), more.into()])).await?;
    }
    Ok(())
}
