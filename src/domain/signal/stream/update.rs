//! Changing the settings of a stream, as its receiver asks for it.

use entity::destination::Payload;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use super::checks::{check_authorization, check_requested};
use super::{EventStream, StreamOfDestination, lock_stream, requested_events, save_stream};
use crate::context::{Change, Cx, Tx};
use crate::domain::signal::destination::{
    Destination, allow_telling, bump_version, check_description, check_url, describe_destination,
    destination_event, restart_delivery, save_destination,
};
use crate::domain::signal::secret;
use crate::error::{Mistakes, Result};
use crate::ledger;
use crate::ledger::{EventKind, NewEvent};

/// The changes of a stream; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct StreamEdit {
    pub description: Option<String>,
    /// The address of the receiver; none inside = it polls.
    pub url: Option<Option<String>>,
    pub push_authorization: Option<Option<String>>,
    /// The types of events to tell; none inside = all.
    pub events_requested: Option<Option<Vec<String>>>,
}

/// A [`StreamEdit`] whose values can be stored; none = unchanged.
struct CheckedStreamEdit {
    description: Option<String>,
    url: Option<Option<String>>,
    requested: Option<Option<Value>>,
    /// Sealed.
    authorization: Option<Option<Vec<u8>>>,
}

impl CheckedStreamEdit {
    async fn check_edit(cx: &Cx, id: Uuid, edit: &StreamEdit) -> Result<Self> {
        let mut mistakes = Mistakes::default();
        let description = edit.description.as_deref();
        let description = description.map(|text| mistakes.collect(check_description(text)));
        let url = edit.url.as_ref().map(|url| url.as_deref().map(|url| check_url(cx, url)));
        let url = url.map(|url| mistakes.collect(url.transpose()).flatten());
        let requested = edit.events_requested.as_ref();
        let requested = requested.map(|names| names.as_deref().map(check_requested).transpose());
        let requested = requested.map(|names| mistakes.collect(names).flatten());
        let authorization = edit.push_authorization.as_ref();
        let authorization =
            authorization.map(|text| text.as_deref().map(check_authorization).transpose());
        let authorization = authorization.map(|text| mistakes.collect(text).flatten());
        mistakes.refuse_any()?;
        let authorization = match authorization {
            None => None,
            Some(None) => Some(None),
            Some(Some(text)) => Some(Some(secret::seal_secret(cx, id, text.as_bytes()).await?)),
        };
        Ok(Self { description: description.flatten(), url, requested, authorization })
    }

    fn apply_to(&self, destination: &mut Destination, stream: &mut EventStream) {
        let url_before = destination.url.clone();
        if let Some(description) = &self.description {
            destination.description.clone_from(description);
        }
        if let Some(url) = &self.url {
            destination.url.clone_from(url);
        }
        if let Some(requested) = &self.requested {
            stream.events_requested.clone_from(requested);
        }
        if let Some(authorization) = &self.authorization {
            stream.push_authorization.clone_from(authorization);
        } else if destination.url != url_before {
            // As [`super::forget_authorization`].
            stream.push_authorization = None;
        }
    }
}

/// Changes the settings of a stream.
///
/// # Errors
/// [`NotFound`](crate::error::Error::NotFound), and [`Invalid`](crate::error::Error::Invalid) for
/// settings that cannot be used.
pub async fn update_stream(cx: &Cx, id: Uuid, edit: StreamEdit) -> Result<StreamOfDestination> {
    allow_telling(cx, Payload::Reference)?;
    let edit = &CheckedStreamEdit::check_edit(cx, id, &edit).await?;
    let saved = cx.write(move |tx| Box::pin(write_edit(cx, tx, id, edit))).await?;
    cx.app.signals.wake.notify_one();
    Ok(saved)
}

async fn write_edit(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
    edit: &CheckedStreamEdit,
) -> Result<Change<StreamOfDestination>> {
    let before = lock_stream(tx, id).await?;
    allow_telling(cx, before.destination.payload)?;
    let StreamOfDestination { mut destination, mut stream } = before.clone();
    edit.apply_to(&mut destination, &mut stream);
    if destination == before.destination && stream == before.stream {
        return Ok(Change::unchanged(before));
    }
    let other_method = destination.url.is_some() != before.destination.url.is_some();
    let now = if other_method {
        // What waits is handed over in the new way.
        let now = restart_delivery(tx, &mut destination);
        destination.next_at = Some(now);
        let text = "UPDATE delivery SET next_at = $3 WHERE organization_id = $1 \
                    AND destination_id = $2 AND state = 'WAITING'";
        tx.db.execute_raw(tx.statement(text, [id.into(), now.into()])).await?;
        now
    } else {
        bump_version(tx, &mut destination)
    };
    save_destination(tx, destination.clone()).await?;
    save_stream(tx, stream.clone()).await?;
    let describe = |row: &Destination, stream: &EventStream| {
        let mut details = describe_destination(row);
        details.insert("eventTypes".into(), json!(requested_events(stream)));
        details
    };
    let (was, is) = ledger::changed_members(
        &describe(&before.destination, &before.stream),
        &describe(&destination, &stream),
    );
    let kind = EventKind::DestinationUpdated;
    let entry = destination_event(kind, &destination, now, Some(is));
    let saved = StreamOfDestination { destination, stream };
    Ok(Change::recorded(saved, NewEvent { before: Some(was), ..entry }))
}
