//! The management of streams (SSF section 8): their configuration, status, subjects and
//! verification.

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::destination::{Kind, Payload};
use entity::event_stream::{SigningAlgorithm, SubjectFormat};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::http::{
    StreamBody, StreamCaller, StreamFailure, json_response, parse_stream, read_optional_text,
    read_text,
};
use super::metadata::{POLL_METHOD, PUSH_METHOD};
use crate::domain::signal::destination;
use crate::domain::signal::destination::DestinationSettings;
use crate::domain::signal::stream;
use crate::domain::signal::stream::{
    MIN_VERIFICATION_INTERVAL, StreamEdit, StreamOfDestination, StreamSettings, StreamStatus,
    subject, token,
};

type HandlerResult = Result<Response, StreamFailure>;

/// The stream that a request names in its query.
#[derive(Debug, Deserialize)]
pub struct NamedStream {
    stream_id: Option<String>,
}

impl NamedStream {
    fn require_id(&self) -> Result<Uuid, StreamFailure> {
        match &self.stream_id {
            Some(id) => parse_stream(id),
            None => Err(StreamFailure::bad_request("stream_id is missing")),
        }
    }
}

fn read_stream_id(body: &Map<String, Value>) -> Result<Uuid, StreamFailure> {
    parse_stream(read_text(body, "stream_id")?)
}

/// The configuration of a stream (SSF section 8.1.1).
fn render_stream(caller: &StreamCaller, found: &StreamOfDestination) -> Value {
    let StreamOfDestination { destination, stream } = found;
    let issuer = stream::issuer(&caller.cx.app, &caller.slug);
    let delivery = match &destination.url {
        Some(url) => json!({ "method": PUSH_METHOD, "endpoint_url": url }),
        None => json!({
            "method": POLL_METHOD,
            "endpoint_url": format!("{issuer}/streams/{}/poll", destination.id),
        }),
    };
    let mut shown = json!({
        "stream_id": destination.id,
        "iss": issuer,
        "aud": stream.audience,
        "events_supported": token::supported_events(destination.payload),
        "events_delivered": stream::delivered_events(destination, stream),
        "delivery": delivery,
        "min_verification_interval": MIN_VERIFICATION_INTERVAL.num_seconds(),
        "description": destination.description,
        "payload": payload_name(&destination.payload),
        "subject_format": subject_format_name(stream.subject_format),
        "signing_alg": signing_name(stream.signing_algorithm),
    });
    if let Some(requested) = stream::requested_events(stream) {
        shown["events_requested"] = json!(requested);
    }
    shown
}

fn payload_name(payload: &Payload) -> &'static str {
    match payload {
        Payload::Reference => "REFERENCE",
        Payload::Full => "FULL",
    }
}

fn subject_format_name(format: SubjectFormat) -> &'static str {
    match format {
        SubjectFormat::Opaque => "opaque",
        SubjectFormat::IssSub => "iss_sub",
        SubjectFormat::Email => "email",
    }
}

fn signing_name(algorithm: SigningAlgorithm) -> &'static str {
    match algorithm {
        SigningAlgorithm::Rs256 => "RS256",
        SigningAlgorithm::Es256 => "ES256",
    }
}

/// How tokens are delivered, as a request says it; none = it does not say.
struct WantedDelivery {
    url: Option<String>,
    authorization: Option<String>,
}

fn read_delivery(body: &Map<String, Value>) -> Result<Option<WantedDelivery>, StreamFailure> {
    let delivery = match body.get("delivery") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(delivery)) => delivery,
        Some(_) => return Err(StreamFailure::bad_request("delivery must be an object")),
    };
    match read_text(delivery, "method")? {
        PUSH_METHOD => {
            let url = Some(read_text(delivery, "endpoint_url")?.to_owned());
            let authorization = read_optional_text(delivery, "authorization_header")?;
            Ok(Some(WantedDelivery { url, authorization: authorization.map(Into::into) }))
        }
        // The address is this server's.
        POLL_METHOD => Ok(Some(WantedDelivery { url: None, authorization: None })),
        _ => Err(StreamFailure::bad_request(format!(
            "delivery.method must be {PUSH_METHOD} or {POLL_METHOD}"
        ))),
    }
}

/// The types of events that a request names; none = it names none.
fn read_requested(body: &Map<String, Value>) -> Result<Option<Vec<String>>, StreamFailure> {
    let bad = || StreamFailure::bad_request("events_requested must be a list of strings");
    match body.get("events_requested") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().map(Into::into).ok_or_else(bad));
            names.collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(bad()),
    }
}

/// The description of a stream for which its receiver gives none.
const NO_DESCRIPTION: &str = "A stream of security event tokens";

/// `POST /ssf/{organization}/streams`. Beyond the specification, a receiver may send `aud`,
/// `payload`, `subject_format` and `signing_alg`.
pub async fn handle_create(caller: StreamCaller, StreamBody(body): StreamBody) -> HandlerResult {
    let delivery = read_delivery(&body)?;
    let (url, push_authorization) =
        delivery.map(|wanted| (wanted.url, wanted.authorization)).unwrap_or_default();
    let payload = match read_optional_text(&body, "payload")? {
        None | Some("REFERENCE") => Payload::Reference,
        Some("FULL") => Payload::Full,
        Some(_) => {
            return Err(StreamFailure::bad_request("payload must be REFERENCE or FULL"));
        }
    };
    let subject_format = match read_optional_text(&body, "subject_format")? {
        None | Some("iss_sub") => SubjectFormat::IssSub,
        Some("opaque") => SubjectFormat::Opaque,
        Some("email") => SubjectFormat::Email,
        Some(_) => {
            let why = "subject_format must be opaque, iss_sub or email";
            return Err(StreamFailure::bad_request(why));
        }
    };
    let signing_algorithm = match read_optional_text(&body, "signing_alg")? {
        None | Some("RS256") => SigningAlgorithm::Rs256,
        Some("ES256") => SigningAlgorithm::Es256,
        Some(_) => return Err(StreamFailure::bad_request("signing_alg must be RS256 or ES256")),
    };
    let description = read_optional_text(&body, "description")?.unwrap_or(NO_DESCRIPTION);
    let settings = DestinationSettings {
        kind: Kind::EventStream,
        url,
        description: description.to_owned(),
        owner: None,
        event_kinds: Vec::new(),
        connections: Vec::new(),
        payload,
        stream: Some(StreamSettings {
            audience: read_optional_text(&body, "aud")?.map(Into::into),
            events_requested: read_requested(&body)?,
            subject_format,
            signing_algorithm,
            push_authorization,
            // Who makes a stream receives it.
            receiver_key: caller.cx.api_key(),
        }),
    };
    let made = destination::create_destination(&caller.cx, settings).await?;
    let found = stream::get_stream(&caller.cx, made.destination.id).await?;
    Ok(json_response(StatusCode::CREATED, &render_stream(&caller, &found)))
}

/// `GET /ssf/{organization}/streams`.
pub async fn handle_read(caller: StreamCaller, Query(named): Query<NamedStream>) -> HandlerResult {
    let shown = match &named.stream_id {
        Some(_) => {
            let found = stream::get_stream(&caller.cx, named.require_id()?).await?;
            render_stream(&caller, &found)
        }
        None => {
            let all = stream::list_streams(&caller.cx).await?;
            all.iter().map(|found| render_stream(&caller, found)).collect()
        }
    };
    Ok(json_response(StatusCode::OK, &shown))
}

/// What the transmitter decides must be as it is, where a request names it (SSF section 8.1.1.3).
fn check_transmitter_part(
    caller: &StreamCaller,
    found: &StreamOfDestination,
    body: &Map<String, Value>,
) -> Result<(), StreamFailure> {
    let shown = render_stream(caller, found);
    for name in ["iss", "aud", "events_supported", "events_delivered", "min_verification_interval"]
    {
        let Some(said) = body.get(name) else { continue };
        let (mut said, mut known) = (said.clone(), shown[name].clone());
        for value in [&mut said, &mut known] {
            if let Value::Array(names) = value {
                names.sort_by_key(Value::to_string);
            }
        }
        // An audience may be written as a list of one.
        if said != known && said != json!([known]) {
            let why = format!("{name} is decided by the transmitter, and is {}", shown[name]);
            return Err(StreamFailure::bad_request(why));
        }
    }
    Ok(())
}

/// `PATCH /ssf/{organization}/streams`: what is left out stays.
pub async fn handle_update(caller: StreamCaller, StreamBody(body): StreamBody) -> HandlerResult {
    let id = read_stream_id(&body)?;
    let found = stream::get_stream(&caller.cx, id).await?;
    check_transmitter_part(&caller, &found, &body)?;
    let delivery = read_delivery(&body)?;
    // The header is the receiver's secret: a receiver that repeats its address may leave it out.
    let same_url = delivery.as_ref().is_some_and(|it| it.url == found.destination.url);
    let authorization = delivery.as_ref().map(|it| it.authorization.clone());
    let edit = StreamEdit {
        description: read_optional_text(&body, "description")?.map(Into::into),
        url: delivery.map(|wanted| wanted.url),
        push_authorization: authorization.filter(|header| header.is_some() || !same_url),
        events_requested: read_requested(&body)?.map(Some),
    };
    let saved = stream::update_stream(&caller.cx, id, edit).await?;
    Ok(json_response(StatusCode::OK, &render_stream(&caller, &saved)))
}

/// `PUT /ssf/{organization}/streams`: what is left out is taken away.
pub async fn handle_replace(caller: StreamCaller, StreamBody(body): StreamBody) -> HandlerResult {
    let id = read_stream_id(&body)?;
    let found = stream::get_stream(&caller.cx, id).await?;
    check_transmitter_part(&caller, &found, &body)?;
    let delivery = read_delivery(&body)?;
    let (url, authorization) =
        delivery.map(|wanted| (wanted.url, wanted.authorization)).unwrap_or_default();
    let description = read_optional_text(&body, "description")?.unwrap_or(NO_DESCRIPTION);
    let edit = StreamEdit {
        description: Some(description.to_owned()),
        url: Some(url),
        push_authorization: Some(authorization),
        events_requested: Some(read_requested(&body)?),
    };
    let saved = stream::update_stream(&caller.cx, id, edit).await?;
    Ok(json_response(StatusCode::OK, &render_stream(&caller, &saved)))
}

/// `DELETE /ssf/{organization}/streams`.
pub async fn handle_delete(
    caller: StreamCaller,
    Query(named): Query<NamedStream>,
) -> HandlerResult {
    let id = named.require_id()?;
    // A destination of another kind is no stream.
    stream::get_stream(&caller.cx, id).await?;
    destination::delete_destination(&caller.cx, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn render_status(found: &StreamOfDestination) -> Value {
    let row = &found.destination;
    let mut shown = json!({ "stream_id": row.id, "status": StreamStatus::from(row.state).name() });
    if let Some(reason) = &row.message {
        shown["reason"] = reason.clone().into();
    }
    shown
}

/// `GET /ssf/{organization}/status`.
pub async fn handle_read_status(
    caller: StreamCaller,
    Query(named): Query<NamedStream>,
) -> HandlerResult {
    let found = stream::get_stream(&caller.cx, named.require_id()?).await?;
    Ok(json_response(StatusCode::OK, &render_status(&found)))
}

/// `POST /ssf/{organization}/status`.
pub async fn handle_update_status(
    caller: StreamCaller,
    StreamBody(body): StreamBody,
) -> HandlerResult {
    let id = read_stream_id(&body)?;
    let status = StreamStatus::from_name(read_text(&body, "status")?)
        .ok_or_else(|| StreamFailure::bad_request("status must be enabled, paused or disabled"))?;
    let reason = read_optional_text(&body, "reason")?.filter(|reason| !reason.trim().is_empty());
    let saved = stream::set_status(&caller.cx, id, status, reason).await?;
    Ok(json_response(StatusCode::OK, &render_status(&saved)))
}

async fn change_subject(
    caller: &StreamCaller,
    body: &Map<String, Value>,
    remove: bool,
) -> Result<(), StreamFailure> {
    let id = read_stream_id(body)?;
    let named = body.get("subject");
    let named = named.ok_or_else(|| StreamFailure::bad_request("subject is missing"))?;
    if !matches!(body.get("verified"), None | Some(Value::Bool(_))) {
        return Err(StreamFailure::bad_request("verified must be true or false"));
    }
    Ok(subject::change_subject(&caller.cx, id, named, remove).await?)
}

/// `POST /ssf/{organization}/subjects/add`.
pub async fn handle_add_subject(
    caller: StreamCaller,
    StreamBody(body): StreamBody,
) -> HandlerResult {
    change_subject(&caller, &body, false).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /ssf/{organization}/subjects/remove`.
pub async fn handle_remove_subject(
    caller: StreamCaller,
    StreamBody(body): StreamBody,
) -> HandlerResult {
    change_subject(&caller, &body, true).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /ssf/{organization}/verification`.
pub async fn handle_verification(
    caller: StreamCaller,
    StreamBody(body): StreamBody,
) -> HandlerResult {
    let (id, state) = (read_stream_id(&body)?, read_optional_text(&body, "state")?);
    stream::verify_stream(&caller.cx, id, state).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
