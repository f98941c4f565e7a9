//! The one way in which mail leaves the server: SMTP to the server that the operator has set, with
//! STARTTLS or TLS from the beginning. What must never enter: what a mail says, and which
//! addresses get it.

use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncTransport, Tokio1Executor};

use crate::config::smtp::{SmtpSecurity, SmtpSettings};

/// How long one step of a conversation with the mail server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A mail to one address. The parts may contain any character: none of them can become a header.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingMail<'a> {
    /// Unique in this installation, of letters, digits and dots.
    pub id: &'a str,
    pub to_address: &'a str,
    /// May be empty.
    pub to_name: &'a str,
    pub subject: &'a str,
    pub text: &'a str,
    pub html: &'a str,
}

/// Sends mail through the operator's server.
#[derive(Debug)]
pub struct MailClient {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    domain: String,
}

impl MailClient {
    /// A client with these settings. It connects for each mail.
    ///
    /// # Errors
    /// One line for the operator: what is wrong with the settings.
    pub fn new(settings: &SmtpSettings) -> Result<Self, String> {
        let from = settings.from.parse().map_err(|error| {
            format!("--smtp-from {:?}: must be an address ({error})", settings.from)
        })?;
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str())
                .port(settings.port)
                .timeout(Some(TIMEOUT))
                .hello_name(ClientId::Domain(settings.domain.clone()));
        builder = match settings.security {
            SmtpSecurity::Plain => builder.tls(Tls::None),
            // `Required`, not `Opportunistic`: without STARTTLS no mail is sent.
            SmtpSecurity::StartTls => builder.tls(Tls::Required(tls_parameters(settings)?)),
            SmtpSecurity::Implicit => builder.tls(Tls::Wrapper(tls_parameters(settings)?)),
        };
        if let Some((user, password)) = &settings.sign_in {
            builder = builder.credentials(Credentials::new(user.clone(), password.0.clone()));
        }
        Ok(Self { transport: builder.build(), from, domain: settings.domain.clone() })
    }

    /// Sends a mail, as plain text and as HTML. It is done when the server has accepted it.
    ///
    /// # Errors
    /// One line: what the server said, or why it was not reached.
    pub async fn send(&self, mail: OutgoingMail<'_>) -> Result<(), String> {
        let message = self.build_message(mail)?;
        self.transport.send(message).await.map(drop).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })
    }

    fn build_message(&self, mail: OutgoingMail<'_>) -> Result<Message, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("the mail cannot be written: {error}");
        let address: Address = mail.to_address.parse().map_err(|error| wrong(&error))?;
        let name = (!mail.to_name.is_empty()).then(|| without_controls(mail.to_name));
        Message::builder()
            .message_id(Some(format!("<{}@{}>", mail.id, self.domain)))
            .from(self.from.clone())
            .to(Mailbox::new(name, address))
            .subject(without_controls(mail.subject))
            // RFC 3834: no automatic answer comes back.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ))
            .multipart(
                MultiPart::alternative()
                    .singlepart(part(ContentType::TEXT_PLAIN, mail.text))
                    .singlepart(part(ContentType::TEXT_HTML, mail.html)),
            )
            .map_err(|error| wrong(&error))
    }
}

fn part(kind: ContentType, body: &str) -> lettre::message::SinglePart {
    lettre::message::SinglePart::builder().header(kind).body(body.to_owned())
}

/// A header's value without line breaks: what follows one would be a header of its own.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn tls_parameters(settings: &SmtpSettings) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.ca {
        for certificate in split_certificates(pem)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build_rustls().map_err(|error| format!("the TLS of the mail server: {error}"))
}

fn split_certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let wrong = || "--smtp-ca-file: must have certificates in PEM".to_owned();
    let text = std::str::from_utf8(pem).map_err(|_| wrong())?;
    const END: &str = "-----END CERTIFICATE-----";
    let parts = text.split_inclusive(END).filter(|part| part.contains(END));
    let found: Vec<Certificate> = parts
        .map(|part| Certificate::from_pem(part.as_bytes()).map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::smtp::SmtpArgs;

    fn client() -> MailClient {
        let args = SmtpArgs { smtp_url: Some("smtp://127.0.0.1".into()), ..SmtpArgs::default() };
        MailClient::new(&args.check("https://id.example.com").unwrap().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn names_cannot_become_headers() {
        let mail = OutgoingMail {
            id: "1.2",
            to_address: "ada@example.com",
            to_name: "Ada\r\nBcc: eve@example.org",
            subject: "[acme\r\nX-Evil: yes] 1 alert \u{1F514}",
            text: "line\r\n.\r\nBcc: eve@example.org\n",
            html: "<p>x</p>",
        };
        let message = client().build_message(mail).unwrap();
        assert_eq!(message.envelope().to().len(), 1);
        let raw = String::from_utf8(message.formatted()).unwrap();
        let headers = raw.split("\r\n\r\n").next().unwrap();
        let names: Vec<&str> = headers
            .lines()
            .filter(|line| !line.starts_with([' ', '\t']))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        assert!(!names.contains(&"Bcc") && !names.contains(&"X-Evil"), "{headers}");
        assert!(names.contains(&"Auto-Submitted") && names.contains(&"Message-ID"), "{headers}");
        let bad = OutgoingMail { to_address: "ada@example.com\r\nBcc: e@example.org", ..mail };
        assert!(client().build_message(bad).is_err());
    }
}
