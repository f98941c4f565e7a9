//! The mail server that the installation sends alerts through.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

/// The settings of mail: alerts and invitations.
#[derive(Debug, Clone, Args, Default)]
pub struct SmtpArgs {
    /// Mail server for alerts and invitations: smtp://HOST[:587] uses STARTTLS, smtps://HOST[:465]
    /// TLS from the beginning; smtp-plain://HOST[:25] is not encrypted [default: none, no mail is
    /// sent]
    #[arg(long, env = "ROLECALL_SMTP_URL", value_name = "URL")]
    pub smtp_url: Option<String>,
    /// Sender of the mail [default: rolecall@ and the host of the public URL]
    #[arg(long, env = "ROLECALL_SMTP_FROM", value_name = "ADDRESS")]
    pub smtp_from: Option<String>,
    /// User name at the mail server [default: none, without a sign-in]
    #[arg(long, env = "ROLECALL_SMTP_USER", value_name = "NAME")]
    pub smtp_user: Option<String>,
    /// The password at the mail server, instead of a file
    #[arg(long, env = "ROLECALL_SMTP_PASSWORD", hide_env_values = true, hide = true)]
    pub smtp_password: Option<String>,
    /// File of the password at the mail server
    #[arg(long, env = "ROLECALL_SMTP_PASSWORD_FILE", value_name = "FILE")]
    pub smtp_password_file: Option<PathBuf>,
    /// File of certificates (PEM) that the mail server's certificate may be signed with, beside
    /// those of the system
    #[arg(long, env = "ROLECALL_SMTP_CA_FILE", value_name = "FILE")]
    pub smtp_ca_file: Option<PathBuf>,
}

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// It begins in plain text and must change to TLS before anything else.
    StartTls,
    /// TLS from the beginning.
    Implicit,
    /// Not at all.
    Plain,
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpPassword(pub String);

impl fmt::Debug for SmtpPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpPassword(not shown)")
    }
}

/// The checked settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    /// The address of the sender, perhaps with a name before it.
    pub from: String,
    /// The domain of that address.
    pub domain: String,
    pub sign_in: Option<(String, SmtpPassword)>,
    /// Certificates in PEM.
    pub ca: Option<Vec<u8>>,
}

impl SmtpArgs {
    /// Checks the flags; none if no mail is sent.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn check(self, public_url: &str) -> Result<Option<SmtpSettings>, String> {
        let Some(url) = self.smtp_url else {
            let given = [
                ("--smtp-from", self.smtp_from.is_some()),
                ("--smtp-user", self.smtp_user.is_some()),
                ("--smtp-ca-file", self.smtp_ca_file.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((name, _)) => Err(format!("{name} needs --smtp-url")),
                None => Ok(None),
            };
        };
        let (host, port, security) = parse_smtp_url(&url)?;
        let from = match self.smtp_from {
            Some(from) => from,
            None => format!("rolecall@{}", host_of(public_url)),
        };
        let domain = match from.trim_end_matches('>').rsplit_once('@') {
            Some((_, domain)) if !domain.is_empty() && !from.chars().any(char::is_control) => {
                domain.to_owned()
            }
            _ => return Err(format!("--smtp-from {from:?}: must be an address")),
        };
        let password = match (self.smtp_password, self.smtp_password_file) {
            (Some(_), Some(_)) => {
                return Err("give one of ROLECALL_SMTP_PASSWORD and --smtp-password-file, not \
                            both"
                    .into());
            }
            (Some(password), None) => Some(password),
            (None, Some(file)) => Some(
                String::from_utf8(read_file("--smtp-password-file", &file)?)
                    .map_err(|_| "--smtp-password-file: is not text".to_owned())?
                    .trim_end_matches(['\r', '\n'])
                    .to_owned(),
            ),
            (None, None) => None,
        };
        let sign_in = match (self.smtp_user, password) {
            (Some(user), Some(password)) => Some((user, SmtpPassword(password))),
            (None, None) => None,
            (Some(_), None) => return Err("--smtp-user needs --smtp-password-file".into()),
            (None, Some(_)) => return Err("a password of the mail server needs --smtp-user".into()),
        };
        if sign_in.is_some() && security == SmtpSecurity::Plain {
            return Err("--smtp-url: a password is never sent without encryption; use smtp:// or \
                        smtps://"
                .into());
        }
        let ca = self.smtp_ca_file.map(|file| read_file("--smtp-ca-file", &file)).transpose()?;
        Ok(Some(SmtpSettings { host, port, security, from, domain, sign_in, ca }))
    }
}

fn read_file(name: &str, file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{name} {}: {error}", file.display()))
}

fn host_of(public_url: &str) -> String {
    let host = reqwest::Url::parse(public_url).ok().and_then(|url| match url.host_str() {
        Some(host) if host.parse::<std::net::Ipv4Addr>().is_err() && !host.starts_with('[') => {
            Some(host.to_owned())
        }
        _ => None,
    });
    host.unwrap_or_else(|| "localhost".into())
}

fn parse_smtp_url(text: &str) -> Result<(String, u16, SmtpSecurity), String> {
    let wrong = |why: &str| {
        format!(
            "--smtp-url: {why}, for example smtp://mail.example.com or smtps://mail.example.com"
        )
    };
    let url = reqwest::Url::parse(text).map_err(|_| wrong("must be a full URL"))?;
    let (security, port) = match url.scheme() {
        "smtp" => (SmtpSecurity::StartTls, 587),
        "smtps" => (SmtpSecurity::Implicit, 465),
        "smtp-plain" => (SmtpSecurity::Plain, 25),
        _ => return Err(wrong("must begin with smtp:// or smtps://")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must have no user: give --smtp-user and --smtp-password-file"));
    }
    if url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
        return Err(wrong("must have only a host and a port"));
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| wrong("must have a host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, url.port().unwrap_or(port), security))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: SmtpArgs) -> Result<Option<SmtpSettings>, String> {
        args.check("https://rolecall.example.com/pp")
    }

    fn to(url: &str) -> SmtpArgs {
        SmtpArgs { smtp_url: Some(url.into()), ..SmtpArgs::default() }
    }

    #[test]
    fn url_says_how_mail_is_encrypted() {
        let settings = check(to("smtp://mail.example.com")).unwrap().unwrap();
        assert_eq!(
            (settings.host.as_str(), settings.port, settings.security),
            ("mail.example.com", 587, SmtpSecurity::StartTls)
        );
        assert_eq!(settings.from, "rolecall@rolecall.example.com");
        let settings = check(to("smtps://mail.example.com:1465")).unwrap().unwrap();
        assert_eq!((settings.port, settings.security), (1465, SmtpSecurity::Implicit));
        assert_eq!(check(SmtpArgs::default()), Ok(None));
    }

    #[test]
    fn wrong_mail_settings_are_refused() {
        for url in
            ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://a:b@c", "smtp://c/x"]
        {
            assert!(check(to(url)).is_err(), "{url}");
        }
        let password = Some("secret".to_owned());
        let user = Some("rolecall".to_owned());
        let signed = SmtpArgs { smtp_user: user, smtp_password: password, ..to("smtp-plain://c") };
        assert!(check(signed.clone()).unwrap_err().contains("never sent without encryption"));
        let signed = SmtpArgs { smtp_url: Some("smtp://c".into()), ..signed };
        let settings = check(signed.clone()).unwrap();
        assert!(!format!("{settings:?}").contains("secret"));
        assert!(check(SmtpArgs { smtp_password: None, ..signed.clone() }).is_err());
        assert!(check(SmtpArgs { smtp_url: None, ..signed }).is_err());
        let from = Some("Eve\r\nBcc: x@example.com".to_owned());
        assert!(check(SmtpArgs { smtp_from: from, ..to("smtp://c") }).is_err());
    }
}
