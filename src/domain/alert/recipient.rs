//! The addresses that get alerts by mail, and which mail is due.
//!
//! A recipient has a place in time: what became due by then was mailed. So one that cannot be
//! reached does not hold up the others, and misses nothing.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{alert, mail_recipient};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder,
};
use serde_json::json;
use uuid::Uuid;

use super::digest::AlertDigest;
use super::list_rules;
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::mail_text::{MailMessage, check_address};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::is_open_condition;
use crate::error::{Error, Noun, RefusalReason, Result, Rule, mistakes};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use mail_recipient::Model as MailRecipient;

/// Recipients that one organization may have.
const MAX_RECIPIENTS: u64 = 20;
/// The longest name.
const MAX_NAME_LENGTH: usize = 100;
/// Recipients that one run sends mail to.
const BATCH_SIZE: usize = 100;
/// Alerts that come one after another within this time go into one mail.
const GROUPING_INTERVAL: Duration = Duration::minutes(5);
/// No other server sends the same mail within this time.
const CLAIM_DURATION: Duration = Duration::minutes(2);
/// How long after a failed attempt the next one follows; after the last of them always this long.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::minutes(1), Duration::minutes(5), Duration::minutes(30), Duration::hours(2)];
/// The longest error of a mail server that is kept.
const MAX_ERROR_LENGTH: usize = 200;

/// The recipients of the organization, oldest first.
pub async fn list_recipients(cx: &Cx) -> Result<Vec<MailRecipient>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<mail_recipient::Entity>().order_by_asc(mail_recipient::Column::Id);
    Ok(query.all(cx.db()).await?)
}

/// One recipient.
pub async fn find_recipient(cx: &Cx, id: Uuid) -> Result<Option<MailRecipient>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<mail_recipient::Entity>().filter(mail_recipient::Column::Id.eq(id));
    Ok(query.one(cx.db()).await?)
}

/// Adds a recipient. It gets mail about alerts that become due from now on.
///
/// # Errors
/// [`Error::Invalid`] for an address or a name that cannot be used, [`Error::Taken`] for an address
/// that gets mail already, [`Error::Held`] if there are too many.
pub async fn add_recipient(cx: &Cx, address: &str, name: &str) -> Result<MailRecipient> {
    cx.allow(Action::WriteConnection, None)?;
    let (address, name) = &mistakes::both(check_address(address), check_name(name))?;
    cx.write(move |tx| {
        Box::pin(async move {
            let all = tx.find::<mail_recipient::Entity>().count(&tx.db).await?;
            if all >= MAX_RECIPIENTS {
                let why = format!("there are {MAX_RECIPIENTS} recipients, which is the most");
                return Err(Error::Held { reason: RefusalReason::LimitReached, why: why.into() });
            }
            let now = tx.now_after(None);
            let row = MailRecipient {
                organization_id: tx.organization(),
                id: Uuid::now_v7(),
                address: address.clone(),
                address_key: address.to_ascii_lowercase(),
                name: name.clone(),
                created_at: now,
                mailed_until: now,
                mailed_at: None,
                test_due_at: None,
                attempts: 0,
                first_failed_at: None,
                last_error: None,
                next_attempt_at: None,
            };
            mail_recipient::Entity::insert(row.clone().into_active_model())
                .exec_without_returning(&tx.db)
                .await?;
            Ok(Change::recorded(
                row.clone(),
                recipient_event(EventKind::MailRecipientAdded, &row, now),
            ))
        })
    })
    .await
}

/// Removes a recipient.
///
/// # Errors
/// [`Error::NotFound`] for one that does not exist.
pub async fn remove_recipient(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let row = lock_recipient(tx, id).await?;
            let now = tx.now_after(Some(row.created_at));
            mail_recipient::Entity::delete_many()
                .filter(mail_recipient::Column::OrganizationId.eq(tx.organization()))
                .filter(mail_recipient::Column::Id.eq(id))
                .exec(&tx.db)
                .await?;
            Ok(Change::recorded((), recipient_event(EventKind::MailRecipientRemoved, &row, now)))
        })
    })
    .await
}

/// Asks for a test mail to a recipient, also after failed attempts. It is sent by the worker; the
/// recipient's row shows how that went.
///
/// # Errors
/// [`Error::NotFound`] for one that does not exist, [`Error::Held`] while the installation has no
/// mail server.
pub async fn request_test(cx: &Cx, id: Uuid) -> Result<MailRecipient> {
    cx.allow(Action::WriteConnection, None)?;
    let known = find_recipient(cx, id).await?;
    let known = known.ok_or_else(|| Error::not_found(Noun::MailRecipient))?;
    if cx.app.config.smtp.is_none() {
        return Err(Error::Held {
            reason: RefusalReason::MailNotConfigured,
            why: "the operator of this server has set no mail server (--smtp-url)".into(),
        });
    }
    // No event: nothing about the recipient changes.
    let now = cx.app.clock.now();
    mail_recipient::Entity::update_many()
        .col_expr(mail_recipient::Column::TestDueAt, Expr::value(Some(now)))
        .col_expr(mail_recipient::Column::NextAttemptAt, Expr::value(None::<DateTime<Utc>>))
        .filter(mail_recipient::Column::OrganizationId.eq(cx.organization()))
        .filter(mail_recipient::Column::Id.eq(id))
        .exec(&cx.app.store.write)
        .await?;
    cx.app.mails.notify_one();
    Ok(MailRecipient { test_due_at: Some(now), next_attempt_at: None, ..known })
}

async fn lock_recipient(tx: &Tx<'_>, id: Uuid) -> Result<MailRecipient> {
    let query = tx.find::<mail_recipient::Entity>().filter(mail_recipient::Column::Id.eq(id));
    let found = crate::domain::lock_row(tx, query).await?;
    found.ok_or_else(|| Error::not_found(Noun::MailRecipient))
}

/// A name for the header `To`; may be empty.
fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "must not contain control characters"));
    }
    if name.chars().count() > MAX_NAME_LENGTH {
        let why = format!("must have at most {MAX_NAME_LENGTH} characters");
        return Err(Error::broken(Rule::Length, "name", why));
    }
    Ok(name.to_owned())
}

fn recipient_event(kind: EventKind, row: &MailRecipient, at: DateTime<Utc>) -> NewEvent {
    let values = json!({ "address": row.address, "name": row.name });
    let (before, after) = if kind == EventKind::MailRecipientRemoved {
        (Some(values), None)
    } else {
        (None, Some(values))
    };
    NewEvent {
        kind,
        subject: EventSubject { kind: "mail_recipient", id: row.id },
        connection: None,
        at,
        before,
        after,
        population: 0,
        name: None,
    }
}

/// A mail that is due, which no other server sends meanwhile.
#[derive(Debug)]
pub struct DueMail {
    pub message: MailMessage,
    app: Arc<App>,
    recipient: MailRecipient,
    /// What became due by then is in it.
    through: DateTime<Utc>,
}

/// The mails that are due now, at most [`BATCH_SIZE`].
///
/// # Errors
/// The database's own.
pub async fn claim_due_mails(app: &Arc<App>) -> Result<Vec<DueMail>> {
    #[derive(FromQueryResult)]
    struct DueRecipient {
        organization_id: Uuid,
        id: Uuid,
    }
    let text = format!(
        "SELECT r.organization_id, r.id FROM mail_recipient r \
         WHERE (r.next_attempt_at IS NULL OR r.next_attempt_at <= $1) \
         AND (r.test_due_at IS NOT NULL OR ((r.mailed_at IS NULL OR r.mailed_at <= $2) \
           AND EXISTS (SELECT 1 FROM alert a WHERE a.organization_id = r.organization_id \
           AND (a.mail_due_at > r.mailed_until OR a.end_due_at > r.mailed_until)))) \
         AND {} ORDER BY r.mailed_until, r.id LIMIT {BATCH_SIZE}",
        is_open_condition("r")
    );
    let now = app.clock.now();
    let values = [now.into(), (now - GROUPING_INTERVAL).into()];
    let reason = "which recipients have mail that is due";
    let statement = app.statement_for_all_organizations(text, values, reason);
    let mut mails = Vec::new();
    for due in DueRecipient::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), due.organization_id);
        mails.extend(claim_mail(&cx, due.id, now).await?);
    }
    Ok(mails)
}

/// The mail to this recipient, if it is still due and no other server sends it.
async fn claim_mail(cx: &Cx, id: Uuid, now: DateTime<Utc>) -> Result<Option<DueMail>> {
    use mail_recipient::Column;
    let free = Column::NextAttemptAt.is_null().or(Column::NextAttemptAt.lte(now));
    let claimed = mail_recipient::Entity::update_many()
        .col_expr(Column::NextAttemptAt, Expr::value(Some(now + CLAIM_DURATION)))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::Id.eq(id))
        .filter(free)
        .exec(&cx.app.store.write)
        .await?;
    if claimed.rows_affected == 0 {
        return Ok(None);
    }
    let query = cx.find::<mail_recipient::Entity>().filter(Column::Id.eq(id));
    let Some(recipient) = query.one(&cx.app.store.write).await? else { return Ok(None) };
    let silent: Vec<_> = list_rules(cx)
        .await?
        .into_iter()
        .filter(|rule| !rule.by_mail)
        .map(|rule| rule.kind)
        .collect();
    let since = recipient.mailed_until;
    let due = alert::Column::MailDueAt.gt(since).or(alert::Column::EndDueAt.gt(since));
    let mut alerts = cx.find::<alert::Entity>().filter(due).all(&cx.app.store.write).await?;
    alerts.retain(|row| !silent.contains(&row.kind));
    let latest = alerts.iter().flat_map(|row| [row.mail_due_at, row.end_due_at]).flatten().max();
    let (app, test) = (cx.app.clone(), recipient.test_due_at.is_some());
    let organization = organization::current_organization(cx).await?;
    let digest = AlertDigest::new(&organization, &app.config.public_url, since, alerts);
    let through = Ord::max(latest.unwrap_or(now), since);
    let message = digest.message_to(&recipient, test, through);
    let mail = |message| DueMail { message, app, recipient, through };
    match message {
        Some(message) => Ok(Some(mail(message))),
        // All that is due is of rules that send no mail.
        None => {
            mail(MailMessage::default()).write_attempt(None).await?;
            Ok(None)
        }
    }
}

impl DueMail {
    /// The mail server accepted the mail.
    ///
    /// # Errors
    /// The database's own; then the same mail may be sent again.
    pub async fn mark_sent(self) -> Result<()> {
        let now = self.app.clock.now();
        self.write_attempt(Some(now)).await
    }

    async fn write_attempt(&self, mailed_at: Option<DateTime<Utc>>) -> Result<()> {
        use mail_recipient::Column;
        let test = self.recipient.test_due_at;
        mail_recipient::Entity::update_many()
            .col_expr(Column::MailedUntil, Expr::value(self.through))
            .col_expr(Column::MailedAt, Expr::value(mailed_at.or(self.recipient.mailed_at)))
            .col_expr(Column::Attempts, Expr::value(0))
            .col_expr(Column::FirstFailedAt, Expr::value(None::<DateTime<Utc>>))
            .col_expr(Column::LastError, Expr::value(None::<String>))
            .col_expr(Column::NextAttemptAt, Expr::value(None::<DateTime<Utc>>))
            // A test that was asked for meanwhile stays.
            .col_expr(Column::TestDueAt, Expr::value(None::<DateTime<Utc>>))
            .filter(Column::OrganizationId.eq(self.recipient.organization_id))
            .filter(Column::Id.eq(self.recipient.id))
            .filter(match test {
                Some(at) => Column::TestDueAt.eq(at),
                None => Column::TestDueAt.is_null(),
            })
            .exec(&self.app.store.write)
            .await?;
        Ok(())
    }

    /// The mail server did not accept the mail: it is sent again later.
    ///
    /// # Errors
    /// The database's own.
    pub async fn mark_failed(self, why: &str) -> Result<()> {
        use mail_recipient::Column;
        let now = self.app.clock.now();
        let attempts = self.recipient.attempts;
        let step = usize::try_from(attempts).unwrap_or_default();
        let delay =
            RETRY_DELAYS.get(step).or(RETRY_DELAYS.last()).copied().unwrap_or(CLAIM_DURATION);
        let why: String = why
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_ERROR_LENGTH)
            .collect();
        let first_failed_at = self.recipient.first_failed_at.unwrap_or(now);
        mail_recipient::Entity::update_many()
            .col_expr(Column::Attempts, Expr::value(attempts + 1))
            .col_expr(Column::FirstFailedAt, Expr::value(Some(first_failed_at)))
            .col_expr(Column::LastError, Expr::value(Some(why)))
            .col_expr(Column::NextAttemptAt, Expr::value(Some(now + delay)))
            .filter(Column::OrganizationId.eq(self.recipient.organization_id))
            .filter(Column::Id.eq(self.recipient.id))
            .exec(&self.app.store.write)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_carry_headers() {
        for address in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@example..com",
            "ada@exa mple.com",
            "ada@example.com\r\nBcc: eve@example.org",
            "ada@example.com,eve@example.org",
            "\"ada\"@example.com",
            "ada@example.com>",
            "ada@ex\u{e4}mple.com",
            "ada@eve@example.com",
        ] {
            assert!(check_address(address).is_err(), "{address:?}");
        }
        assert_eq!(
            check_address(" Ada.L+x@mail.Example.com ").unwrap(),
            "Ada.L+x@mail.Example.com"
        );
        assert!(check_name("Ada\r\nBcc: eve@example.org").is_err());
        assert_eq!(check_name(" Ada Lovelace ").unwrap(), "Ada Lovelace");
    }
}
