//! Telling a receiver that its stream has another status which it did not ask for: a person paused
//! or resumed it, or it was given up (`stream-updated`). The notice stands in the stream's row
//! until the receiver has it, or was called in vain a few times.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::event_stream;
use entity::event_stream::Entity;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter};
use uuid::Uuid;

use super::token::{StreamView, TokenDraft, build_notice};
use super::{EventStream, StreamStatus, find_stream, open_stream_of};
use crate::context::{App, Cx, Tx};
use crate::domain::signal::destination::Destination;
use crate::error::Result;

/// How often a receiver is called about its status.
const MAX_TRIES: i32 = 5;
/// Notices that are sent in one turn.
const MAX_PER_TURN: u64 = 50;

/// Notes that the receiver of a stream has to learn its new status. A destination of another
/// kind receives nothing.
pub(in crate::domain::signal) async fn note_status(
    tx: &Tx<'_>,
    row: &Destination,
    now: DateTime<Utc>,
) -> Result<()> {
    let status = StreamStatus::from(row.state);
    let text = "UPDATE event_stream SET notice = $3, notice_reason = $4, notice_id = $5, \
                notice_at = $6, notice_tries = 0 WHERE organization_id = $1 \
                AND destination_id = $2";
    let values = [
        row.id.into(),
        status.name().into(),
        row.message.clone().into(),
        Uuid::now_v7().into(),
        now.into(),
    ];
    tx.db.execute_raw(tx.statement(text, values)).await?;
    Ok(())
}

/// The notice of a stream that its receiver has not got; none if there is none.
pub(super) fn pending_notice(view: &StreamView, stream: &EventStream) -> Option<TokenDraft> {
    let (status, id) = (stream.notice.as_deref()?, stream.notice_id?);
    let at = stream.notice_at?;
    Some(build_notice(view, id, at, status, stream.notice_reason.as_deref()))
}

/// Forgets a notice, because its receiver has it.
pub async fn forget_notice(cx: &Cx, stream: Uuid, notice: Uuid) -> Result<()> {
    let text = "UPDATE event_stream SET notice = NULL, notice_reason = NULL \
                WHERE organization_id = $1 AND destination_id = $2 AND notice_id = $3";
    let statement = cx.statement(text, [stream.into(), notice.into()]);
    cx.app.store.write.execute_raw(statement).await?;
    Ok(())
}

/// A notice that is to be sent to a receiver.
pub struct DueNotice {
    cx: Cx,
    stream: Uuid,
    id: Uuid,
    pub url: String,
    pub authorization: Option<String>,
    /// The signed token.
    pub token: String,
}

impl fmt::Debug for DueNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DueNotice").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[derive(Debug, FromQueryResult)]
struct NoticeRow {
    organization_id: Uuid,
    destination_id: Uuid,
}

/// The notices of all organizations that are to be sent now.
pub async fn list_due_notices(app: &Arc<App>) -> Result<Vec<DueNotice>> {
    let text = format!(
        "SELECT n.organization_id, n.destination_id FROM event_stream n \
         JOIN destination d ON d.organization_id = n.organization_id AND d.id = n.destination_id \
         WHERE n.notice IS NOT NULL AND d.url IS NOT NULL LIMIT {MAX_PER_TURN}"
    );
    let reason = "which receivers are to be told of a new status";
    let statement = app.statement_for_all_organizations(text, [], reason);
    let rows = NoticeRow::find_by_statement(statement).all(&app.store.read).await?;
    let mut due = Vec::new();
    for row in rows {
        let cx = Cx::system(app.clone(), row.organization_id);
        due.extend(open_notice(cx, row.destination_id).await?);
    }
    Ok(due)
}

async fn open_notice(cx: Cx, id: Uuid) -> Result<Option<DueNotice>> {
    let found = find_stream(&cx, id).await?;
    let opened = open_stream_of(&cx, &found.destination).await?;
    let (Some(draft), Some(url), Some(notice)) = (
        pending_notice(&opened.view, &found.stream),
        found.destination.url,
        found.stream.notice_id,
    ) else {
        return Ok(None);
    };
    let signer = opened.signers.current(cx.app.clock.now())?;
    let token = signer.sign_claims(&draft.claims).map_err(crate::error::Error::Internal)?;
    let authorization = opened.authorization;
    Ok(Some(DueNotice { cx, stream: id, id: notice, url, authorization, token }))
}

impl DueNotice {
    /// Notes how sending it went: it is forgotten once the receiver has it, and after some attempts
    /// in vain.
    pub async fn note_outcome(&self, taken: bool) -> Result<()> {
        if taken {
            return forget_notice(&self.cx, self.stream, self.id).await;
        }
        let query = self.cx.find::<Entity>();
        let query = query.filter(event_stream::Column::DestinationId.eq(self.stream));
        let tries = query.one(self.cx.db()).await?.map_or(0, |row| row.notice_tries);
        if tries + 1 >= MAX_TRIES {
            return forget_notice(&self.cx, self.stream, self.id).await;
        }
        Entity::update_many()
            .col_expr(event_stream::Column::NoticeTries, Expr::value(tries + 1))
            .filter(event_stream::Column::OrganizationId.eq(self.cx.organization()))
            .filter(event_stream::Column::DestinationId.eq(self.stream))
            .filter(event_stream::Column::NoticeId.eq(self.id))
            .exec(&self.cx.app.store.write)
            .await?;
        Ok(())
    }
}
