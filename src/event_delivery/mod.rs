//! Delivers events to destinations: the calls to the outside that the domain does not make.
//!
//! A server looks up which organizations have events to deliver, and takes a lease on one
//! ([`find_due_organizations`]). A worker then reads the ledger for each destination of the
//! organization ([`reader`]), decides what is delivered next ([`window`]), and calls ([`message`]).

mod message;
mod reader;
mod window;

use std::sync::Arc;

use futures_util::future::join_all;

use crate::context::{App, ReaderNews, in_background};
use crate::domain::signal::stream::notice;
use crate::domain::signal::work;
use crate::error::{Error, Result};
use crate::http_client::GuardedClient;

/// Tells the workers of this server how far their ledgers go, and begins to work for the
/// organizations that have something to deliver and no worker on any server.
pub async fn find_due_organizations(app: &Arc<App>) -> Result<()> {
    let now = app.clock.now();
    for known in work::list_signal_organizations(app).await? {
        let news = ReaderNews { head: known.head, revision: known.revision() };
        if app.signals.tell_reader(known.organization_id, news)
            || !known.is_free()
            || !known.has_work(now)
            || *app.stopping.borrow()
        {
            continue;
        }
        if let Some(claimed) = work::claim_organization(app, known.organization_id).await? {
            let news = app.signals.begin(known.organization_id, news);
            tokio::spawn(in_background(reader::tell_destinations(claimed, news)));
        }
    }
    Ok(())
}

/// Tells the receivers of streams that a person, or this server, changed the status of their
/// stream.
pub async fn send_status_notices(app: &Arc<App>) -> Result<()> {
    let due = notice::list_due_notices(app).await?;
    if due.is_empty() {
        return Ok(());
    }
    let client =
        GuardedClient::with_time_limit(app.config.signal_private_addresses, message::TIME_LIMIT)
            .map_err(Error::Internal)?;
    let sent = due.iter().map(|notice| send_notice(&client, notice, app.clock.now().timestamp()));
    join_all(sent).await.into_iter().collect()
}

async fn send_notice(
    client: &GuardedClient,
    notice: &notice::DueNotice,
    timestamp: i64,
) -> Result<()> {
    let (authorization, token) = (notice.authorization.as_deref(), notice.token.clone());
    let outcome = message::push_token(client, &notice.url, authorization, token, timestamp).await;
    notice.note_outcome(outcome.is_taken()).await
}
