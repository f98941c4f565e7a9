//! What a mail about alerts says: once as plain text, once as HTML. It names at most ten alerts.

use chrono::{DateTime, Utc};
use entity::organization::Model as Organization;
use sea_orm::ActiveEnum;

use super::recipient::MailRecipient;
use super::{Alert, Urgency};
use crate::domain::connection::health::format_to_second;

/// Alerts that one mail names, beginnings and ends together.
pub const MAX_NAMED: usize = 10;
/// The longest subject.
const MAX_SUBJECT_LENGTH: usize = 120;

/// A mail, before it is written as a message of the mail protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailMessage {
    /// The same for each attempt to send it.
    pub id: String,
    pub to_address: String,
    /// May be empty.
    pub to_name: String,
    /// One line.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// What became due for a recipient.
#[derive(Debug)]
pub struct Digest<'a> {
    organization: &'a Organization,
    server: &'a str,
    /// The most urgent first.
    raised: Vec<Alert>,
    over: Vec<Alert>,
}

impl<'a> Digest<'a> {
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
        let lines = self.lines();
        Some(MailMessage {
            id: format!("{}.{}", recipient.id.simple(), through.timestamp_micros()),
            to_address: recipient.address.clone(),
            to_name: one_line(&recipient.name),
            subject: self.subject(),
            text: write_text(&lines),
            html: write_html(&lines),
        })
    }

    fn subject(&self) -> String {
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

    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.raised.is_empty() && self.over.is_empty() {
            lines.push(Line::Plain("This is a test: alerts of the organization reach you.".into()));
        }
        let mut left = MAX_NAMED;
        for row in self.raised.iter().take(left) {
            lines.push(Line::Heading(format!(
                "{}: {}",
                urgency_word(row.urgency),
                one_line(&row.message)
            )));
            lines.push(Line::Plain(format!("Since {}.", format_to_second(row.raised_at))));
            lines.push(Line::Plain(format!("What to do: {}", one_line(&row.next_step))));
        }
        left -= self.raised.len().min(left);
        let over = &self.over[..self.over.len().min(left)];
        if !over.is_empty() {
            lines.push(Line::Heading("Over now".into()));
            lines.extend(over.iter().map(|row| Line::Item(one_line(&row.message))));
        }
        let more = (self.raised.len() + self.over.len()).saturating_sub(MAX_NAMED);
        if more > 0 {
            lines.push(Line::Plain(format!("And {more} more: see organization.alerts.")));
        }
        lines.push(Line::Rule);
        lines.push(Line::Plain(format!(
            "Sent by rolecall at {} for the organization {} ({}). An administrator there chose \
             your address; mailRecipientRemove ends it.",
            self.server,
            one_line(&self.organization.name),
            self.organization.slug
        )));
        lines
    }
}

/// A part of a mail, which each form writes in its way.
enum Line {
    Heading(String),
    Plain(String),
    Item(String),
    Rule,
}

fn urgency_word(urgency: Urgency) -> String {
    urgency.to_value()
}

/// The text without line breaks and other control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn write_text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        match line {
            Line::Heading(heading) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(heading);
            }
            Line::Plain(plain) => text.push_str(plain),
            Line::Item(item) => {
                text.push_str("- ");
                text.push_str(item);
            }
            Line::Rule => text.push_str("\n-- "),
        }
        text.push('\n');
    }
    text
}

fn write_html(lines: &[Line]) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"></head><body>\n",
    );
    for line in lines {
        let (open, text, close) = match line {
            Line::Heading(heading) => ("<h3>", heading.as_str(), "</h3>"),
            Line::Plain(plain) => ("<p>", plain.as_str(), "</p>"),
            Line::Item(item) => ("<p>• ", item.as_str(), "</p>"),
            Line::Rule => ("<hr>", "", ""),
        };
        html.push_str(open);
        html.push_str(&escape_html(text));
        html.push_str(close);
        html.push('\n');
    }
    html.push_str("</body></html>\n");
    html
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
