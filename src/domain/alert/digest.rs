//! What a mail about alerts says: once as plain text, once as HTML. It names at most ten alerts.

use chrono::{DateTime, Utc};
use entity::organization::Model as Organization;
use sea_orm::ActiveEnum;

use super::recipient::MailRecipient;
use super::{Alert, Urgency};
use crate::domain::connection::health::format_to_second;
use crate::domain::mail_text::{MailLine, MailMessage, one_line, write_html, write_text};

/// Alerts that one mail names, beginnings and ends together.
pub const MAX_NAMED: usize = 10;
/// The longest subject.
const MAX_SUBJECT_LENGTH: usize = 120;

/// What became due for a recipient.
#[derive(Debug)]
pub struct AlertDigest<'a> {
    organization: &'a Organization,
    server: &'a str,
    /// The most urgent first.
    raised: Vec<Alert>,
    over: Vec<Alert>,
}

impl<'a> AlertDigest<'a> {
    /// What became due of `alerts` after `since`.
    pub fn new(
        organization: &'a Organization,
        server: &'a str,
        since: DateTime<Utc>,
        alerts: Vec<Alert>,
    ) -> Self {
        let (mut over, mut raised): (Vec<_>, Vec<_>) =
            alerts.into_iter().partition(|row| row.resolved_at.is_some());
        over.retain(|row| row.end_due_at.is_some_and(|at| at > since));
        raised.retain(|row| row.mail_due_at.is_some_and(|at| at > since));
        raised.sort_by_key(|row| (row.urgency, row.raised_at));
        over.sort_by_key(|row| row.resolved_at);
        Self { organization, server, raised, over }
    }

    /// The mail to a recipient; none if there is nothing to tell and no test was asked for.
    pub fn message_to(
        &self,
        recipient: &MailRecipient,
        test: bool,
        through: DateTime<Utc>,
    ) -> Option<MailMessage> {
        if self.raised.is_empty() && self.over.is_empty() && !test {
            return None;
        }
        let lines = self.write_lines();
        Some(MailMessage {
            id: format!("{}.{}", recipient.id.simple(), through.timestamp_micros()),
            to_address: recipient.address.clone(),
            to_name: one_line(&recipient.name),
            subject: self.write_subject(),
            text: write_text(&lines),
            html: write_html(&lines),
        })
    }

    fn write_subject(&self) -> String {
        let name = one_line(&self.organization.name);
        let what = match (self.raised.as_slice(), self.over.len()) {
            ([one], _) => one_line(&one.message),
            ([], 0) => "a test of mail about alerts".into(),
            ([], 1) => "1 alert is over".into(),
            ([], n) => format!("{n} alerts are over"),
            (several, _) => format!("{} alerts", several.len()),
        };
        let subject = format!("[{name}] {what}");
        if subject.chars().count() <= MAX_SUBJECT_LENGTH {
            return subject;
        }
        let cut: String = subject.chars().take(MAX_SUBJECT_LENGTH - 1).collect();
        format!("{cut}…")
    }

    fn write_lines(&self) -> Vec<MailLine> {
        let mut lines = Vec::new();
        if self.raised.is_empty() && self.over.is_empty() {
            lines.push(MailLine::Plain(
                "This is a test: alerts of the organization reach you.".into(),
            ));
        }
        let mut left = MAX_NAMED;
        for row in self.raised.iter().take(left) {
            lines.push(MailLine::Heading(format!(
                "{}: {}",
                urgency_word(row.urgency),
                one_line(&row.message)
            )));
            lines.push(MailLine::Plain(format!("Since {}.", format_to_second(row.raised_at))));
            lines.push(MailLine::Plain(format!("What to do: {}", one_line(&row.next_step))));
        }
        left -= self.raised.len().min(left);
        let over = &self.over[..self.over.len().min(left)];
        if !over.is_empty() {
            lines.push(MailLine::Heading("Over now".into()));
            lines.extend(over.iter().map(|row| MailLine::Item(one_line(&row.message))));
        }
        let more = (self.raised.len() + self.over.len()).saturating_sub(MAX_NAMED);
        if more > 0 {
            lines.push(MailLine::Plain(format!("And {more} more: see organization.alerts.")));
        }
        lines.push(MailLine::Rule);
        lines.push(MailLine::Plain(format!(
            "Sent by rolecall at {} for the organization {} ({}). An administrator there chose \
             your address; mailRecipientRemove ends it.",
            self.server,
            one_line(&self.organization.name),
            self.organization.slug
        )));
        lines
    }
}

fn urgency_word(urgency: Urgency) -> String {
    urgency.to_value()
}
