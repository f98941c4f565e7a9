//! Tells destinations of events: the calls to the outside that the domain does not make.
//!
//! A server looks which organizations have something to tell, and takes a lease on one
//! ([`find_due_organizations`]). A worker then reads the ledger for each destination of the
//! organization ([`reader`]), decides what is told next ([`window`]), and calls ([`message`]).

mod message;
mod reader;
mod window;

use std::sync::Arc;

use crate::context::{App, ReaderNews, in_background};
use crate::domain::signal::work;
use crate::error::Result;

/// Tells the workers of this server how far their ledgers go, and begins to work for the
/// organizations that have something to tell and no worker on any server.
pub async fn find_due_organizations(app: &Arc<App>) -> Result<()> {
    let now = app.clock.now();
    for told in work::list_told_organizations(app).await? {
        let news = ReaderNews { head: told.head, revision: told.revision() };
        if app.signals.tell(told.organization_id, news)
            || !told.is_free()
            || !told.has_work(now)
            || *app.stopping.borrow()
        {
            continue;
        }
        if let Some(claimed) = work::claim_organization(app, told.organization_id).await? {
            let news = app.signals.begin(told.organization_id, news);
            tokio::spawn(in_background(reader::tell_destinations(claimed, news)));
        }
    }
    Ok(())
}
