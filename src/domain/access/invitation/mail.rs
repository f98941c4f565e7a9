//! The mail with the link of an invitation: which is due, and what it says.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::invitation;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter};
use uuid::Uuid;

use super::{Invitation, link_url};
use crate::context::{App, Cx};
use crate::domain::connection::health::format_to_second;
use crate::domain::mail_text::{MailLine, MailMessage, one_line, write_html, write_text};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{Organization, is_open_condition};
use crate::error::Result;

/// Mails that one run sends.
const BATCH_SIZE: u64 = 100;
/// No other server sends the same mail within this time.
const CLAIM_DURATION: Duration = Duration::minutes(2);
/// How long after a failed attempt the next one follows; after the last of them none does.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::minutes(1),
    Duration::minutes(5),
    Duration::minutes(30),
    Duration::hours(2),
    Duration::hours(12),
];
/// The longest error of a mail server that is kept.
const MAX_ERROR_LENGTH: usize = 200;

/// A mail that is due, which no other server sends meanwhile.
#[derive(Debug)]
pub struct DueInvitation {
    pub message: MailMessage,
    app: Arc<App>,
    row: Invitation,
}

/// The mails that are due now.
///
/// # Errors
/// The database's own.
pub async fn claim_due_invitations(app: &Arc<App>) -> Result<Vec<DueInvitation>> {
    #[derive(FromQueryResult)]
    struct DueRow {
        organization_id: Uuid,
        id: Uuid,
    }
    let text = format!(
        "SELECT i.organization_id, i.id FROM invitation i WHERE i.mail_due_at <= $1 AND {} \
         ORDER BY i.mail_due_at LIMIT {BATCH_SIZE}",
        is_open_condition("i")
    );
    let now = app.clock.now();
    let reason = "which invitations are to be mailed";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let mut mails = Vec::new();
    for due in DueRow::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), due.organization_id);
        mails.extend(claim_mail(&cx, due.id, now).await?);
    }
    Ok(mails)
}

async fn claim_mail(cx: &Cx, id: Uuid, now: DateTime<Utc>) -> Result<Option<DueInvitation>> {
    use invitation::Column;
    let claimed = invitation::Entity::update_many()
        .col_expr(Column::MailDueAt, Expr::value(Some(now + CLAIM_DURATION)))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::Id.eq(id))
        .filter(Column::MailDueAt.lte(now))
        .exec(&cx.app.store.write)
        .await?;
    if claimed.rows_affected == 0 {
        return Ok(None);
    }
    let query = cx.find::<invitation::Entity>().filter(Column::Id.eq(id));
    let Some(row) = query.one(&cx.app.store.write).await? else { return Ok(None) };
    let (Some(sealed), Some(address)) = (&row.sealed_secret, &row.email) else { return Ok(None) };
    let organization = organization::current_organization(cx).await?;
    let vault = &cx.app.vault;
    let secret = vault.unseal(cx.organization(), &organization.data_key, row.id, sealed)?;
    let url = link_url(&cx.app, &String::from_utf8_lossy(&secret));
    let message = write_mail(cx, &organization, &row, address, &url);
    Ok(Some(DueInvitation { message, app: cx.app.clone(), row }))
}

fn write_mail(
    cx: &Cx,
    organization: &Organization,
    row: &Invitation,
    address: &str,
    url: &str,
) -> MailMessage {
    let name = one_line(&organization.name);
    let lines = [
        MailLine::Heading(format!("{name} invites you")),
        MailLine::Plain(format!(
            "Open this link to accept: {url} It works once, until {}.",
            format_to_second(row.expires_at)
        )),
        MailLine::Plain(
            "The link is for you alone: do not pass this mail on. If you expect no invitation, \
             ignore it; nothing happens then."
                .into(),
        ),
        MailLine::Rule,
        MailLine::Plain(format!(
            "Sent by rolecall at {} for the organization {name} ({}). An administrator there \
             entered your address.",
            cx.app.config.public_url, organization.slug
        )),
    ];
    MailMessage {
        id: format!("{}.{}", row.id.simple(), row.sent_count),
        to_address: address.to_owned(),
        to_name: String::new(),
        subject: format!("[{name}] You are invited"),
        text: write_text(&lines),
        html: write_html(&lines),
    }
}

impl DueInvitation {
    /// The mail server accepted the mail: its link is in no table any more, except for its hash.
    ///
    /// # Errors
    /// The database's own; then the same mail may be sent again.
    pub async fn mark_sent(self) -> Result<()> {
        use invitation::Column;
        let now = self.app.clock.now();
        let update = invitation::Entity::update_many()
            .col_expr(Column::MailedAt, Expr::value(Some(now)))
            .col_expr(Column::MailDueAt, Expr::value(None::<DateTime<Utc>>))
            .col_expr(Column::SealedSecret, Expr::value(None::<Vec<u8>>))
            .col_expr(Column::MailError, Expr::value(None::<String>));
        self.write_attempt(update).await
    }

    /// The mail server did not accept the mail: it is tried again, a few times.
    ///
    /// # Errors
    /// The database's own.
    pub async fn mark_failed(self, why: &str) -> Result<()> {
        use invitation::Column;
        let attempts = self.row.mail_attempts + 1;
        let delay = usize::try_from(self.row.mail_attempts).ok();
        let delay = delay.and_then(|n| RETRY_DELAYS.get(n));
        let next = delay.map(|delay| self.app.clock.now() + *delay);
        let why: String = why.chars().take(MAX_ERROR_LENGTH).collect();
        let update = invitation::Entity::update_many()
            .col_expr(Column::MailAttempts, Expr::value(attempts))
            .col_expr(Column::MailDueAt, Expr::value(next))
            .col_expr(Column::MailError, Expr::value(Some(why)));
        self.write_attempt(update).await
    }

    /// Only of the link that was sent: another may have been made meanwhile.
    async fn write_attempt(&self, update: sea_orm::UpdateMany<invitation::Entity>) -> Result<()> {
        use invitation::Column;
        update
            .filter(Column::OrganizationId.eq(self.row.organization_id))
            .filter(Column::Id.eq(self.row.id))
            .filter(Column::SentCount.eq(self.row.sent_count))
            .filter(Column::ClosedAt.is_null())
            .exec(&self.app.store.write)
            .await?;
        Ok(())
    }
}
