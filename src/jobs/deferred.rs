//! SCIM requests that were answered before they are carried out.

use crate::context::{keep_lease, lease_lost};
use crate::domain::connection::async_request::{
    AsyncClaim, AsyncTurn, LeaseLost, RENEWAL_INTERVAL,
};
use crate::error::{Error, Result};
use crate::scim;

/// Carries a request out, and tells its result.
pub async fn carry_out_deferred(claim: AsyncClaim) -> Result<()> {
    let lost = keep_lease(RENEWAL_INTERVAL, RENEWAL_INTERVAL, || claim.renew_lease());
    tokio::select! {
        done = settle_request(&claim) => done,
        LeaseLost = lost => Err(lease_lost()),
    }
}

async fn settle_request(claim: &AsyncClaim) -> Result<()> {
    let slug = &claim.organization.slug;
    let (payload, outcome) = match claim.prepare_turn().await? {
        AsyncTurn::Settled(payload, outcome) => (payload, outcome),
        AsyncTurn::Send(cx, payload) => {
            let outcome = scim::carry_out_request(&cx, slug, &payload, None).await?;
            (payload, outcome)
        }
        AsyncTurn::SendBulk(cx, payload, bulk) => {
            let outcome = scim::carry_out_request(&cx, slug, &payload, Some(bulk)).await?;
            (payload, outcome)
        }
    };
    if claim.is_tried_again(&outcome) {
        claim.postpone().await?;
        return Err(Error::Busy(format!("a deferred request was answered {}", outcome.status)));
    }
    claim.complete(&payload, &outcome).await
}
