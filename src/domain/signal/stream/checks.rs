//! What the settings of a stream can be, as far as no row is read.

use entity::destination::Payload;
use entity::event_stream::SubjectFormat;
use serde_json::{Value, json};

use super::StreamSettings;
use crate::error::{Error, Mistakes, Result, Rule, mistakes};

/// The longest audience, and the longest header with which a receiver is called.
const MAX_AUDIENCE_LENGTH: usize = 500;
const MAX_AUTHORIZATION_LENGTH: usize = 4_096;
/// The most types of events that a receiver can request, and the longest name of one.
const MAX_REQUESTED: usize = 200;
const MAX_TYPE_LENGTH: usize = 300;

/// The names of types of events, as they are stored.
pub(super) fn check_requested(names: &[String]) -> Result<Value> {
    const FIELD: &str = "stream.eventTypes";
    if names.len() > MAX_REQUESTED {
        let why = format!("must be at most {MAX_REQUESTED} names");
        return Err(Error::broken(Rule::TooMany, FIELD, why));
    }
    mistakes::each(FIELD, names, |name| {
        if name.len() <= MAX_TYPE_LENGTH {
            return Ok(());
        }
        let why = format!("must have at most {MAX_TYPE_LENGTH} bytes");
        Err(Error::broken(Rule::Length, FIELD, why))
    })?;
    Ok(json!(names))
}

/// The header with which a receiver is called.
pub(super) fn check_authorization(text: &str) -> Result<&str> {
    let fits = text.len() <= MAX_AUTHORIZATION_LENGTH
        && !text.is_empty()
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if fits {
        Ok(text)
    } else {
        let why = format!("must be 1 to {MAX_AUTHORIZATION_LENGTH} printable letters of ASCII");
        Err(Error::invalid("stream.authorizationHeader", why))
    }
}

/// The settings of a stream after their checks.
pub(in crate::domain::signal) struct CheckedSettings<'a> {
    pub audience: Option<String>,
    pub requested: Option<Value>,
    pub authorization: Option<&'a str>,
}

/// Refuses settings that no stream can have.
pub(in crate::domain::signal) fn check_settings(
    settings: &StreamSettings,
    payload: Payload,
) -> Result<CheckedSettings<'_>> {
    let mut mistakes = Mistakes::default();
    let audience = settings.audience.as_deref().map(|text| {
        mistakes.collect(crate::domain::check_text("stream.audience", text, MAX_AUDIENCE_LENGTH))
    });
    let requested = settings.events_requested.as_deref().map(check_requested).transpose();
    let requested = mistakes.collect(requested).flatten();
    let authorization = settings.push_authorization.as_deref().map(check_authorization);
    let authorization = mistakes.collect(authorization.transpose()).flatten();
    if settings.subject_format == SubjectFormat::Email && payload != Payload::Full {
        let why = "names people by their address, which needs the payload FULL";
        mistakes.add(Error::invalid("stream.subjectFormat", why));
    }
    mistakes.refuse_any()?;
    Ok(CheckedSettings { audience: audience.flatten(), requested, authorization })
}
