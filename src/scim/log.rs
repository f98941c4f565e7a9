//! The request log's ear: notes on the way of a request what it means and what became of it, and counts it at the
//! end. Costs a few small allocations and no look at the database.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::fault::{self, Write};
use super::quirk::{self, Quirks};
use super::{meaning, wire};
use crate::context::{App, Cx};
use crate::domain::extension::Types;
use crate::domain::failure::{self, Report};
use crate::domain::key;
use crate::domain::request_log::Outcome;
use crate::domain::schema::{self, Place};
use crate::requests::{self, Count, Kind, Refusal, Stranger, Tenant};

/// What is known of a request so far. Filled by whoever learns something; all copies are the same note.
#[derive(Debug, Clone, Default)]
pub struct Note(Arc<(Target, Mutex<Learnt>)>);

/// What the request line says.
#[derive(Debug, Clone, Copy, Default)]
struct Target {
    method: &'static str,
    resource: &'static str,
    search: bool,
    /// Whether the address is that of a single resource …
    one: bool,
    /// … and which, if it can be one of ours.
    id: Option<Uuid>,
}

#[derive(Debug, Default)]
struct Learnt {
    /// Whose token was presented.
    owner: Option<(Uuid, Uuid)>,
    caller: Option<Admitted>,
    meaning: Option<&'static str>,
    /// Of what is being looked at: the request, or an operation of a Bulk.
    quirks: Quirks,
    /// Of the request as a whole.
    message_quirks: Quirks,
    /// The body as it came, for the review queue.
    sent: Option<Sent>,
    /// What was refused or failed of a Bulk.
    reports: Vec<Report>,
}

/// A body, which counts as one of the large ones for as long as it is kept.
#[derive(Debug)]
struct Sent {
    bytes: Bytes,
    _place: Option<SemaphorePermit<'static>>,
}

#[derive(Debug)]
struct Admitted {
    request_id: Uuid,
    wrote: Arc<AtomicBool>,
    types: Option<Arc<Types>>,
}

impl Note {
    /// The note of the request that has these extensions.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// A token of this connection was presented.
    pub fn presented(&self, organization: Uuid, connection: Uuid) {
        self.learnt().owner = Some((organization, connection));
    }

    /// The token opens the door.
    pub fn admitted(&self, cx: &Cx) {
        self.learnt().caller = Some(Admitted { request_id: cx.request_id, wrote: cx.wrote.clone(), types: None });
    }

    /// These schemas hold.
    pub fn reads(&self, types: &Arc<Types>) {
        if let Some(caller) = &mut self.learnt().caller {
            caller.types = Some(types.clone());
        }
    }

    /// What came as the body of this request, whether it can be read or not, with its place among the large bodies.
    /// Costs no copy.
    pub fn sent(&self, bytes: &Bytes, place: Option<SemaphorePermit<'static>>) {
        self.learnt().sent = Some(Sent { bytes: bytes.clone(), _place: place });
    }

    /// What the request as a whole departs in.
    pub fn departs(&self, quirks: Quirks) {
        let mut learnt = self.learnt();
        learnt.message_quirks = learnt.message_quirks.and(quirks);
    }

    /// The headers and the body of this request.
    pub fn body(&self, headers: Quirks, body: &Map<String, Value>) {
        let Target { method, resource, search, .. } = self.0.0;
        self.departs(headers);
        if !search {
            self.operation(method, resource, body);
        }
    }

    /// The body of a request, or of an operation in a Bulk.
    pub fn operation(&self, method: &str, resource: &str, body: &Map<String, Value>) {
        let mut learnt = self.learnt();
        let types = learnt.caller.as_ref().and_then(|caller| caller.types.as_deref());
        let ty = match resource {
            "Users" => types.map_or(schema::user(), |types| &types.user),
            "Groups" => types.map_or(schema::group(), |types| &types.group),
            _ => return,
        };
        let quirks = match method {
            "POST" | "PUT" | "PATCH" => quirk::of_body(ty, method == "PATCH", body),
            _ => Quirks::default(),
        };
        learnt.quirks = learnt.quirks.and(quirks);
        learnt.meaning = meaning::of_body(method, resource, body);
    }

    /// Whether the answer's body goes out.
    pub fn has_body(&self) -> bool {
        self.0.0.method != "HEAD"
    }

    /// What a query looks for.
    pub fn means(&self, meaning: &'static str) {
        self.learnt().meaning = Some(meaning);
    }

    /// Counts one operation of a Bulk, and forgets it. `id` is that of the resource, if there is one; `body` is what
    /// was sent, if it could be sent again.
    #[allow(clippy::too_many_arguments, reason = "all that there is to know of an operation")]
    pub fn operation_done(
        &self,
        app: &App,
        method: &'static str,
        resource: &'static str,
        id: Option<&str>,
        status: StatusCode,
        refusal: Option<&Refusal>,
        body: impl FnOnce() -> Option<Map<String, Value>>,
    ) {
        let target = Target { method, resource, search: false, one: true, id: id.and_then(ours) };
        let path = match (method, id) {
            ("POST", _) | (_, None) => format!("/{resource}"),
            (_, Some(id)) => format!("/{resource}/{id}"),
        };
        let report = self.review(app, target, path, status, refusal, body);
        self.learnt().reports.extend(report);
        self.count(app, target, status, refusal, None, Quirks::default());
        let mut learnt = self.learnt();
        (learnt.meaning, learnt.quirks) = (None, Quirks::default());
    }

    /// What the review queue hears of a write: a failure, to be reported; or, if something of the connection is open, a
    /// success. Costs nothing else.
    fn review(
        &self,
        app: &App,
        target: Target,
        path: String,
        status: StatusCode,
        refusal: Option<&Refusal>,
        body: impl FnOnce() -> Option<Map<String, Value>>,
    ) -> Option<Report> {
        let Target { method, resource, search, one, id } = target;
        let learnt = self.learnt();
        let (organization, connection) = learnt.owner?;
        if !fault::writes(method, search) {
            return None;
        }
        let types = learnt.caller.as_ref().and_then(|caller| caller.types.as_deref());
        let meaning = learnt.meaning.unwrap_or_else(|| meaning::of_request(method, resource, one, search));
        let (at, request) = (app.clock.now(), learnt.caller.as_ref().map(|caller| caller.request_id));
        let Some(refusal) = refusal else {
            if status.is_success() && app.repeats.concerns(connection) {
                let write =
                    Write { connection, method, resource, path, id, meaning, types, body: body(), repeatable: false };
                write.succeeded(organization, at).into_iter().for_each(|success| app.repeats.succeeded(success));
            }
            return None;
        };
        if learnt.caller.is_none() && status != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        if !fault::is_work(method, resource, status, refusal.reason) {
            return None;
        }
        let reason = match (status, resource) {
            (StatusCode::NOT_FOUND, ELSEWHERE) => "NO_ENDPOINT",
            _ => refusal.reason,
        };
        let field = refusal.field.clone().and_then(|field| known(types, field));
        let refusal = Refusal { reason, scim_type: refusal.scim_type, field };
        if status == StatusCode::TOO_MANY_REQUESTS {
            // One piece of work, however much was refused.
            let meaning = "requests";
            let write = Write {
                connection,
                method: "",
                resource: "/",
                path,
                id: None,
                meaning,
                types,
                body: None,
                repeatable: false,
            };
            return Some(write.failed(&refusal, request, at));
        }
        // What was made in part would be made twice.
        let repeatable = method != "POST" || id.is_none();
        let write = Write { connection, method, resource, path, id, meaning, types, body: body(), repeatable };
        Some(write.failed(&refusal, request, at))
    }

    /// What the whole request leaves to the review queue.
    fn reports(&self) -> Option<(Uuid, Vec<Report>)> {
        let mut learnt = self.learnt();
        let reports = std::mem::take(&mut learnt.reports);
        (!reports.is_empty()).then_some((learnt.owner?.0, reports))
    }

    fn count(
        &self,
        app: &App,
        target: Target,
        status: StatusCode,
        refusal: Option<&Refusal>,
        source: Option<IpAddr>,
        message_quirks: Quirks,
    ) {
        let learnt = self.learnt();
        let Some((organization, connection)) = learnt.owner else { return };
        let wrote = learnt.caller.as_ref().is_some_and(|caller| caller.wrote.swap(false, Ordering::Relaxed));
        let types = learnt.caller.as_ref().and_then(|caller| caller.types.as_deref());
        let refusal = refusal.map(|refusal| Refusal {
            reason: match (&learnt.caller, status) {
                (None, StatusCode::UNAUTHORIZED) => "TOKEN_DEAD",
                (None, StatusCode::NOT_FOUND) => "WRONG_TENANT",
                (_, StatusCode::NOT_FOUND) if target.resource == ELSEWHERE => "NO_ENDPOINT",
                _ => refusal.reason,
            },
            scim_type: refusal.scim_type,
            field: refusal.field.clone().and_then(|field| known(types, field)),
        });
        let now = app.clock.now();
        let meaning = learnt
            .meaning
            .unwrap_or_else(|| meaning::of_request(target.method, target.resource, target.one, target.search));
        let kind = Kind {
            organization,
            connection: Some(connection),
            hour: requests::hour(now),
            method: Some(target.method),
            resource: Some(target.resource),
            meaning,
            outcome: outcome(target, status, wrote),
            status: Some(status.as_u16()),
            refusal,
            quirks: learnt.quirks.and(message_quirks).names(),
            source: source.filter(|_| status == StatusCode::UNAUTHORIZED),
        };
        let request_id = learnt.caller.as_ref().map(|caller| caller.request_id);
        let target = target.id.filter(|_| status != StatusCode::NOT_FOUND);
        app.requests.note(kind, Count::once(now, request_id, target));
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource's name where the address is none of ours.
const ELSEWHERE: &str = "elsewhere";

/// Around every SCIM request.
pub async fn listen(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let Some((_, path)) = uri.path().split_once("/scim/v2/") else { return next.run(request).await };
    // A retry of ours is no request of the identity provider's; whoever retries hears what became of it.
    if request.extensions().get::<wire::Replay>().is_some() {
        return next.run(request).await;
    }
    let (slug, path) = path.split_once('/').unwrap_or((path, ""));
    let mut target = target(request.method(), path);
    let source = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let anonymous = !request.headers().contains_key(header::AUTHORIZATION);
    let wrong_kind = wire::bearer(request.headers()).is_some_and(|secret| secret.starts_with(key::PREFIX));
    let note = Note(Arc::new((target, Mutex::default())));
    request.extensions_mut().insert(note.clone());
    let response = next.run(request).await;
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED && note.learnt().owner.is_none() {
        let now = app.clock.now();
        let reason = match (anonymous, wrong_kind) {
            (true, _) => "TOKEN_MISSING",
            (_, true) => "CREDENTIAL_KIND",
            _ => "TOKEN_UNKNOWN",
        };
        let tenant = Tenant::Named(slug.to_owned());
        let stranger = Stranger { tenant, interface: None, source, reason, hour: requests::hour(now) };
        app.requests.note_stranger(stranger, Count::once(now, None, None));
        return response;
    }
    if status == StatusCode::CREATED {
        target.id = created(response.headers());
    }
    let refusal = response.extensions().get::<Refusal>();
    let (sent, message_quirks) = {
        let mut learnt = note.learnt();
        (learnt.sent.take(), learnt.message_quirks)
    };
    let body = || wire::parse_object(&sent?.bytes).ok();
    let below = format!("/{}", path.trim_end_matches('/'));
    let report = note.review(&app, target, below, status, refusal, body);
    note.learnt().reports.extend(report);
    note.count(&app, target, status, refusal, source, message_quirks);
    if let Some((organization, reports)) = note.reports()
        && let Err(error) = failure::report(&app, organization, reports).await
    {
        tracing::error!(%error, "a failed write could not be put into the review queue");
    }
    response
}

fn target(method: &Method, path: &str) -> Target {
    let path = path.trim_end_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let known = ["Users", "Groups", "Bulk", "ServiceProviderConfig", "ResourceTypes", "Schemas", "Me"];
    let resource = match first {
        "" | ".search" => "/",
        first => known.into_iter().find(|name| *name == first).unwrap_or(ELSEWHERE),
    };
    let search = first == ".search" || rest == ".search";
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let method = methods.into_iter().find(|name| *name == method.as_str()).unwrap_or("OTHER");
    Target { method, resource, search, one: !rest.is_empty() && !search, id: ours(rest) }
}

/// An id that this server can have given: of its own kind, and in its own spelling.
fn ours(text: &str) -> Option<Uuid> {
    wire::id(text, "").ok().filter(|id| id.get_version_num() == 7)
}

fn created(headers: &HeaderMap) -> Option<Uuid> {
    ours(headers.get(header::LOCATION)?.to_str().ok()?.rsplit('/').next()?)
}

fn outcome(target: Target, status: StatusCode, wrote: bool) -> Outcome {
    match (status.as_u16(), target.method) {
        (404, _) => Outcome::NotFound,
        (501, _) => Outcome::Refused,
        (500.., _) => Outcome::Failed,
        (400.., _) => Outcome::Refused,
        (201, _) => Outcome::Created,
        (_, "POST") if target.resource == "Bulk" => Outcome::CarriedOut,
        (_, "DELETE") => Outcome::Deleted,
        (_, "PUT" | "PATCH") if wrote => Outcome::Updated,
        (_, "PUT" | "PATCH") => Outcome::Unchanged,
        _ => Outcome::Answered,
    }
}

/// A name that may be written down: it stands in our source, or a schema has it. What a client made up is dropped.
pub fn known(types: Option<&Types>, field: Cow<'static, str>) -> Option<Cow<'static, str>> {
    let text = match field {
        Cow::Borrowed(ours) => return Some(ours.into()),
        Cow::Owned(text) => text,
    };
    let types = types?;
    let place = types.user.locate(&text).or_else(|| types.group.locate(&text))?;
    Some(Cow::Owned(match place {
        Place::Attribute(found) => found.path(),
        Place::Schema(schema) => schema.urn.clone(),
    }))
}
