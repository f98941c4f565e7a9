//! A time limit for a whole request.

use std::time::Duration;

use tokio::time::timeout;

use crate::store::Abandoned;

/// Carries out `request` within `limit`; none where it took longer. Then its statement was cancelled and its transaction
/// undone before this returns, unless the database has already been told to commit.
pub async fn within<F: Future>(limit: Duration, request: F) -> Option<F::Output> {
    let abandoned = Abandoned::default();
    let answer = timeout(limit, abandoned.scope(request)).await.ok();
    if answer.is_none() {
        abandoned.end().await;
    }
    answer
}
