//! Bodies that hold a whole group: up to 100,000 members in one request. So the server reads only a
//! few of them at a time, and the parser drops what a group does not keep of its members.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header;
use futures_util::StreamExt;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::directory::group;
use crate::error::{Error, Result};
use crate::scim::http::{
    MAX_BODY, ScimCaller, ScimFailure, check_media_type, parse_object, strip_byte_order_mark,
    too_large,
};
use crate::scim::observe::quirk;
use crate::scim::observe::request_record::ScimRequestRecord;

/// Largest body of a request about a single group, in bytes.
const MAX_GROUP_BODY: usize = 32 * 1024 * 1024;
/// How many bodies above [`MAX_BODY`] this process holds at a time.
const MAX_LARGE_BODIES: usize = 4;
/// How long a large body waits for a permit.
const LARGE_BODY_WAIT: Duration = Duration::from_secs(10);
/// How many elements of a list are kept whole; only `members` may have more.
const MAX_WHOLE_ELEMENTS: usize = 1_000;

static LARGE_BODY_PERMITS: Semaphore = Semaphore::const_new(MAX_LARGE_BODIES);

/// Reads the body of a request that writes a group. Nothing is read before the caller's right to
/// write groups is checked, and nothing beyond [`MAX_BODY`] before the body has a permit for a
/// large one.
///
/// # Errors
/// [`Error::Forbidden`] for a caller without the scope, 413 for a body above the limit,
/// [`Error::Busy`] while too many large bodies are being read,
/// [`Rule::Syntax`](crate::error::Rule::Syntax) for a body that is not a JSON object.
pub async fn read_group_body(
    caller: &ScimCaller,
    request: Request,
) -> Result<Map<String, Value>, ScimFailure> {
    group::check_may_write_groups(&caller.cx)?;
    check_media_type(request.headers())?;
    let (note, headers) = (
        ScimRequestRecord::from_extensions(request.extensions()),
        quirk::header_quirks(request.headers()),
    );
    let (bytes, place) = read_bytes(request).await?;
    let bytes = strip_byte_order_mark(bytes, &note);
    note.set_received_body(&bytes, place);
    let object = if bytes.len() > MAX_BODY {
        // Parsing takes so long that other requests of this thread would have to wait.
        tokio::task::spawn_blocking(move || parse_object(&bytes))
            .await
            .map_err(|error| Error::Internal(error.to_string()))??
    } else {
        parse_object(&bytes)?
    };
    note.record_body(headers, &object);
    Ok(object)
}

async fn read_bytes(
    request: Request,
) -> Result<(Bytes, Option<SemaphorePermit<'static>>), ScimFailure> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let declared: usize = declared.unwrap_or_default();
    if declared > MAX_GROUP_BODY {
        return Err(too_large(MAX_GROUP_BODY));
    }
    let mut place =
        if declared > MAX_BODY { Some(acquire_large_body_permit().await?) } else { None };
    let mut bytes = Vec::with_capacity(declared);
    let mut stream = request.into_body().into_data_stream();
    while let Some(chunk) = stream.next().await {
        let unreadable = |_| {
            ScimFailure::from_status(
                axum::http::StatusCode::BAD_REQUEST,
                "the body could not be read",
            )
        };
        let chunk = chunk.map_err(unreadable)?;
        let length = bytes.len() + chunk.len();
        if length > MAX_GROUP_BODY {
            return Err(too_large(MAX_GROUP_BODY));
        }
        if length > MAX_BODY && place.is_none() {
            place = Some(acquire_large_body_permit().await?);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.into(), place))
}

async fn acquire_large_body_permit() -> Result<SemaphorePermit<'static>, ScimFailure> {
    let waited = tokio::time::timeout(LARGE_BODY_WAIT, LARGE_BODY_PERMITS.acquire()).await;
    let place = waited.map_err(|_| Error::Busy("too many large bodies are being read".into()))?;
    Ok(place.map_err(|error| Error::Internal(error.to_string()))?)
}

/// Parses JSON. Of the objects after the first [`MAX_WHOLE_ELEMENTS`] of a list, only `value` is
/// kept: only the members of a group are so many, and of a member nothing else is used.
pub fn parse_thinned(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).map(|ThinnedValue(value)| value)
}

struct ThinnedValue(Value);

impl<'de> Deserialize<'de> for ThinnedValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ThinnedVisitor)
    }
}

struct ThinnedVisitor;

impl<'de> Visitor<'de> for ThinnedVisitor {
    type Value = ThinnedValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<ThinnedValue, E> {
        Ok(ThinnedValue(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ThinnedValue, E> {
        Ok(ThinnedValue(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ThinnedValue, E> {
        Ok(ThinnedValue(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ThinnedValue, E> {
        Ok(ThinnedValue(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<ThinnedValue, E> {
        Ok(ThinnedValue(value.into()))
    }

    fn visit_unit<E>(self) -> Result<ThinnedValue, E> {
        Ok(ThinnedValue(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ThinnedValue, A::Error> {
        let mut list = Vec::new();
        while list.len() < MAX_WHOLE_ELEMENTS {
            let Some(ThinnedValue(element)) = elements.next_element()? else {
                return Ok(ThinnedValue(list.into()));
            };
            list.push(element);
        }
        while let Some(ElementValue(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(ThinnedValue(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ThinnedValue, A::Error> {
        let mut object = Map::new();
        while let Some((key, ThinnedValue(value))) = fields.next_entry()? {
            object.insert(key, value);
        }
        Ok(ThinnedValue(object.into()))
    }
}

/// An element of a long list. Of an object only its `value` is kept; an object without a `value`
/// becomes an empty object.
struct ElementValue(Value);

impl<'de> Deserialize<'de> for ElementValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = ElementValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        ThinnedVisitor.expecting(formatter)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ElementValue, E> {
        Ok(ElementValue(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ElementValue, E> {
        Ok(ElementValue(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ElementValue, E> {
        Ok(ElementValue(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ElementValue, E> {
        Ok(ElementValue(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<ElementValue, E> {
        Ok(ElementValue(value.into()))
    }

    fn visit_unit<E>(self) -> Result<ElementValue, E> {
        Ok(ElementValue(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<ElementValue, A::Error> {
        ThinnedVisitor.visit_seq(elements).map(|ThinnedValue(value)| ElementValue(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ElementValue, A::Error> {
        let mut found = None;
        while let Some(key) = fields.next_key::<String>()? {
            if found.is_none() && key.eq_ignore_ascii_case("value") {
                let ThinnedValue(value) = fields.next_value()?;
                found = Some(value).filter(Value::is_string);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(ElementValue(found.unwrap_or_else(|| Value::Object(Map::new()))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::document;

    #[test]
    fn long_lists_keep_only_member_ids() {
        let member = |n: usize| {
            json!({
                "type": "User", "Value": n.to_string(), "$ref": "x", "display": null,
            })
        };
        let whole = json!({
            "displayName": "W", "n": [1, -1, 1.5, true, null, "x", [{}]],
            "members": (0..1_500).map(member).collect::<Vec<_>>(),
        });
        let thinned = parse_thinned(whole.to_string().as_bytes()).unwrap();
        assert_eq!(thinned["n"], whole["n"]);
        assert_eq!(thinned["members"][999], whole["members"][999]);
        assert_eq!(thinned["members"][1_000], "1000");
        let ids = |value: &Value| document::member_ids(&value["members"]).unwrap();
        assert_eq!(ids(&thinned), ids(&whole));
    }

    #[test]
    fn long_lists_still_refuse_members_without_an_id() {
        for broken in
            [json!({ "display": "x" }), json!({ "value": 7 }), json!(7), json!([]), json!(null)]
        {
            let mut members = vec![json!({ "value": "a" }); 1_200];
            members.push(broken);
            let thinned = parse_thinned(json!(members).to_string().as_bytes()).unwrap();
            assert!(document::member_ids(&thinned).is_err());
        }
    }
}
