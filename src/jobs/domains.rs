//! Looking up again the records of domains that were proven. Each domain is claimed, so that one of
//! the replicas asks for it.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use crate::context::App;
use crate::dns_client::DnsClient;
use crate::domain::tenant::domain;
use crate::domain::tenant::domain::DueDomain;
use crate::error::Result;

/// Domains that are looked up at once.
const MAX_CONCURRENT: usize = 8;

/// Looks up the domains that are due. One about which the DNS does not answer stays as it is, and
/// is looked up again within the hour.
pub(super) async fn check_due_domains(app: &Arc<App>) -> Result<()> {
    let due = domain::claim_due_domains(app).await?;
    if due.is_empty() {
        return Ok(());
    }
    let client = &DnsClient::new(app.config.dns_server);
    let checks = stream::iter(due).map(|domain| check_domain(client, domain));
    let checked: Vec<Result<()>> = checks.buffer_unordered(MAX_CONCURRENT).collect().await;
    checked.into_iter().collect()
}

async fn check_domain(client: &DnsClient, due: DueDomain) -> Result<()> {
    let answer = client.lookup_texts(&due.record_name()).await;
    due.take_answer(answer).await
}
