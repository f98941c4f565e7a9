//! A time limit for a whole request.

use std::time::Duration;

use tokio::time::timeout;

use crate::db::RequestConnections;

/// Carries out `request` within `limit`; none where it took longer. Then its statement was
/// cancelled and its transaction undone before this returns, unless the database has already been
/// told to commit.
pub async fn run_within<F: Future>(limit: Duration, request: F) -> Option<F::Output> {
    let connections = RequestConnections::default();
    let answer = timeout(limit, connections.scope_request(request)).await.ok();
    if answer.is_none() {
        connections.end_abandoned().await;
    }
    answer
}
