//! What mails say.

use chrono::{DateTime, Duration, Utc};
use entity::organization::{IntegrationMode, Model as Organization};
use uuid::Uuid;

use super::digest::{AlertDigest, MAX_NAMED};
use super::recipient::MailRecipient;
use super::{Alert, Kind, Urgency};

fn moment() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000)
}

fn organization(name: &str) -> Organization {
    Organization {
        id: Uuid::nil(),
        slug: "acme".into(),
        name: name.into(),
        data_key: Vec::new(),
        scim_enabled: true,
        integration_mode: IntegrationMode::Scim,
        schema_version: 0,
        created_at: moment(),
        updated_at: moment(),
        suspended_at: None,
        operator_access_until: None,
        provisioning_released: true,
    }
}

fn recipient() -> MailRecipient {
    MailRecipient {
        organization_id: Uuid::nil(),
        id: Uuid::nil(),
        address: "ada@example.com".into(),
        address_key: "ada@example.com".into(),
        name: "Ada".into(),
        created_at: moment(),
        mailed_until: moment(),
        mailed_at: None,
        test_due_at: None,
        attempts: 0,
        first_failed_at: None,
        last_error: None,
        next_attempt_at: None,
    }
}

fn raised(message: &str, urgency: Urgency) -> Alert {
    let at = moment() + Duration::minutes(1);
    Alert {
        organization_id: Uuid::nil(),
        id: Uuid::now_v7(),
        kind: Kind::ConnectionStalled,
        subject: message.into(),
        connection_id: None,
        urgency,
        message: message.into(),
        next_step: "Look at it.".into(),
        count: 1,
        stage: 0,
        raised_at: at,
        resolved_at: None,
        mail_due_at: Some(at),
        end_due_at: None,
    }
}

fn over(message: &str) -> Alert {
    let at = moment() + Duration::minutes(2);
    Alert { resolved_at: Some(at), end_due_at: Some(at), ..raised(message, Urgency::Warning) }
}

#[test]
fn digest_names_at_most_ten_alerts() {
    let mut alerts: Vec<Alert> =
        (0..8).map(|n| raised(&format!("connection {n} is silent"), Urgency::Warning)).collect();
    alerts.push(raised("the ledger does not verify", Urgency::Critical));
    alerts.extend((0..8).map(|n| over(&format!("run {n} waits"))));
    let organization = organization("Acme");
    let digest = AlertDigest::new(&organization, "https://id.example.com", moment(), alerts);
    let mail = digest.message_to(&recipient(), false, moment()).unwrap();
    assert_eq!(mail.subject, "[Acme] 9 alerts");
    let named = mail.text.matches("silent").count()
        + mail.text.matches("verify").count()
        + mail.text.matches("waits").count();
    assert_eq!(named, MAX_NAMED, "{}", mail.text);
    assert!(mail.text.contains("And 7 more"), "{}", mail.text);
    // The most urgent stands first.
    assert!(mail.text.starts_with("CRITICAL: the ledger does not verify\n"), "{}", mail.text);
    assert!(mail.text.contains("What to do: Look at it."));
}

#[test]
fn names_are_text_in_every_form() {
    let organization = organization("Acme\r\nBcc: eve@example.org <b>");
    let alerts = vec![raised("<script>alert(1)</script>\r\nX: y & \"z\"", Urgency::Notice)];
    let digest = AlertDigest::new(&organization, "https://id.example.com", moment(), alerts);
    let mail = digest.message_to(&recipient(), false, moment()).unwrap();
    assert!(!mail.subject.chars().any(char::is_control), "{:?}", mail.subject);
    assert!(mail.subject.chars().count() <= 120);
    assert!(!mail.html.contains("<script>") && mail.html.contains("&lt;script&gt;"));
    assert!(!mail.html.contains("<b>") && mail.html.contains("&amp; &quot;z&quot;"));
}

#[test]
fn nothing_due_is_no_mail() {
    let organization = organization("Acme");
    let mut known = raised("old", Urgency::Notice);
    known.mail_due_at = Some(moment());
    let digest = AlertDigest::new(&organization, "https://id.example.com", moment(), vec![known]);
    assert_eq!(digest.message_to(&recipient(), false, moment()), None);
    let test = digest.message_to(&recipient(), true, moment()).unwrap();
    assert!(test.text.contains("This is a test"), "{}", test.text);
    let digest =
        AlertDigest::new(&organization, "https://id.example.com", moment(), vec![over("gone")]);
    let mail = digest.message_to(&recipient(), false, moment()).unwrap();
    assert_eq!(mail.subject, "[Acme] 1 alert is over");
}
