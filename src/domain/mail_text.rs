//! What the mails of the domain share: their parts, how these become plain text and HTML, and which
//! addresses can get one. What must never enter: sending, and what a mail is about.

use crate::error::{Error, Result, Rule};

/// The longest address (RFC 5321 section 4.5.3.1.3, without the brackets).
const MAX_ADDRESS_LENGTH: usize = 254;

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

/// A part of a mail, which each form writes in its way.
pub(in crate::domain) enum MailLine {
    Heading(String),
    Plain(String),
    Item(String),
    Rule,
}

/// An address as headers and SMTP commands can carry it: printable ASCII, without the characters
/// that quote, comment or separate addresses.
pub(in crate::domain) fn check_address(address: &str) -> Result<String> {
    let address = address.trim();
    let wrong = |why: &'static str| Err(Error::invalid("address", why));
    if address.is_empty() {
        return wrong("must not be empty");
    }
    if address.len() > MAX_ADDRESS_LENGTH {
        let why = format!("must have at most {MAX_ADDRESS_LENGTH} characters");
        return Err(Error::broken(Rule::Length, "address", why));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte);
    if !address.bytes().all(plain) {
        return wrong("must have only letters, digits and the usual signs of addresses");
    }
    let dotted = |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty());
    let of_domain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    match address.split_once('@') {
        Some((local, domain))
            if dotted(local)
                && local.len() <= 64
                && dotted(domain)
                && domain.bytes().all(of_domain) =>
        {
            Ok(address.to_owned())
        }
        _ => wrong("must be an address such as ada@example.com"),
    }
}

/// The text without line breaks and other control characters.
pub(in crate::domain) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

pub(in crate::domain) fn write_text(lines: &[MailLine]) -> String {
    let mut text = String::new();
    for line in lines {
        match line {
            MailLine::Heading(heading) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(heading);
            }
            MailLine::Plain(plain) => text.push_str(plain),
            MailLine::Item(item) => {
                text.push_str("- ");
                text.push_str(item);
            }
            MailLine::Rule => text.push_str("\n-- "),
        }
        text.push('\n');
    }
    text
}

pub(in crate::domain) fn write_html(lines: &[MailLine]) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"></head><body>\n",
    );
    for line in lines {
        let (open, text, close) = match line {
            MailLine::Heading(heading) => ("<h3>", heading.as_str(), "</h3>"),
            MailLine::Plain(plain) => ("<p>", plain.as_str(), "</p>"),
            MailLine::Item(item) => ("<p>• ", item.as_str(), "</p>"),
            MailLine::Rule => ("<hr>", "", ""),
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
