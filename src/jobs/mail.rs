//! Sending the mail that is due, through the operator's mail server. Each mail is claimed, so that
//! one of the replicas sends it.

use std::sync::Arc;

use crate::context::App;
use crate::domain::access::invitation;
use crate::domain::alert::recipient;
use crate::domain::alert::recipient::DueMail;
use crate::domain::mail_text::MailMessage;
use crate::error::{Error, Result};
use crate::mail_client::{MailClient, OutgoingMail};

/// Sends the mails that are due. One that the mail server does not accept is sent again later.
pub(super) async fn send_due_mails(app: &Arc<App>) -> Result<()> {
    let Some(settings) = &app.config.smtp else { return Ok(()) };
    let client = MailClient::new(settings).map_err(Error::Internal)?;
    for mail in recipient::claim_due_mails(app).await? {
        send_mail(&client, mail).await?;
    }
    for mail in invitation::claim_due_invitations(app).await? {
        match send_message(&client, &mail.message).await {
            Ok(()) => mail.mark_sent().await?,
            Err(why) => mail.mark_failed(&why).await?,
        }
    }
    Ok(())
}

/// Gives a message to the mail server.
async fn send_message(client: &MailClient, message: &MailMessage) -> Result<(), String> {
    let sent = client.send(OutgoingMail {
        id: &message.id,
        to_address: &message.to_address,
        to_name: &message.to_name,
        subject: &message.subject,
        text: &message.text,
        html: &message.html,
    });
    sent.await.inspect_err(|why| {
        // Without the address, which is personal data.
        tracing::warn!(mail = message.id, "the mail server did not accept a mail: {why}");
    })
}

async fn send_mail(client: &MailClient, mail: DueMail) -> Result<()> {
    match send_message(client, &mail.message).await {
        Ok(()) => mail.mark_sent().await,
        Err(why) => mail.mark_failed(&why).await,
    }
}
