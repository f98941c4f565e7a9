//! The record of a request for the request log. While the request is handled, the record collects
//! its meaning and its outcome; at the end the request is counted in memory. This costs a few small
//! allocations, and no database query unless a failure must be put into the review queue.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::quirk::{self, Quirks};
use crate::buffers::request_counts;
use crate::buffers::request_counts::{
    FailedSignIn, RequestCount, RequestKind, RequestRefusal, SignInTenant,
};
use crate::context::{App, Cx, run_within};
use crate::domain::access::api_key;
use crate::domain::connection::request_log::Outcome;
use crate::domain::directory::schema_extension::ResourceTypes;
use crate::domain::review;
use crate::domain::review::FailureReport;
use crate::error::{Noun, RefusalReason};
use crate::identity::schema;
use crate::identity::schema::MemberMeaning;
use crate::request_head;
use crate::scim::http;
use crate::scim::observe::classify;
use crate::scim::observe::failure_report;
use crate::scim::observe::failure_report::ScimWrite;

/// The known facts of a request. Handlers and middleware add to them; all clones share the same
/// facts.
#[derive(Debug, Clone, Default)]
pub struct ScimRequestRecord(Arc<(ScimRequestTarget, Mutex<RecordedFacts>)>);

/// The facts in the request line.
#[derive(Debug, Clone, Copy, Default)]
struct ScimRequestTarget {
    method: &'static str,
    resource: &'static str,
    search: bool,
    /// Whether the path is that of a single resource.
    one: bool,
    /// The id of that resource, if this server can have given it.
    id: Option<Uuid>,
}

#[derive(Debug, Default)]
struct RecordedFacts {
    /// Whether the request is this server's own, and nothing about it is kept.
    left_out: bool,
    /// The organization and the connection of the presented token.
    owner: Option<(Uuid, Uuid)>,
    caller: Option<AdmittedCaller>,
    meaning: Option<&'static str>,
    /// The quirks of the request, or of the current operation of a Bulk request.
    quirks: Quirks,
    /// The quirks of the request as a whole.
    message_quirks: Quirks,
    /// The body as received, for the review queue.
    sent: Option<ReceivedBody>,
    /// The reports of the failed writes: the request, or operations of a Bulk request.
    reports: Vec<FailureReport>,
}

/// A body. It holds its permit for a large body as long as it is kept.
#[derive(Debug)]
struct ReceivedBody {
    bytes: Bytes,
    _place: Option<SemaphorePermit<'static>>,
}

#[derive(Debug)]
struct AdmittedCaller {
    request_id: Uuid,
    wrote: Arc<AtomicBool>,
    types: Option<Arc<ResourceTypes>>,
}

impl ScimRequestRecord {
    /// The record of the request that has these extensions.
    pub fn from_extensions(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Records the connection of the presented token.
    pub fn set_connection(&self, organization: Uuid, connection: Uuid) {
        self.lock_facts().owner = Some((organization, connection));
    }

    /// Leaves the request out of the log, the health and the reads of the connection.
    pub fn leave_out(&self) {
        self.lock_facts().left_out = true;
    }

    /// Whether nothing about the request is kept.
    pub fn is_left_out(&self) -> bool {
        self.lock_facts().left_out
    }

    /// Records that the token is accepted.
    pub fn set_caller(&self, cx: &Cx) {
        self.lock_facts().caller = Some(AdmittedCaller {
            request_id: cx.request_id,
            wrote: cx.wrote.clone(),
            types: None,
        });
    }

    /// Records the resource types of the tenant.
    pub fn set_types(&self, types: &Arc<ResourceTypes>) {
        if let Some(caller) = &mut self.lock_facts().caller {
            caller.types = Some(types.clone());
        }
    }

    /// Records the body of this request, whether it can be parsed or not, with its permit for a
    /// large body. The bytes are not copied.
    pub fn set_received_body(&self, bytes: &Bytes, place: Option<SemaphorePermit<'static>>) {
        self.lock_facts().sent = Some(ReceivedBody { bytes: bytes.clone(), _place: place });
    }

    /// Records quirks of the request as a whole.
    pub fn add_quirks(&self, quirks: Quirks) {
        let mut learnt = self.lock_facts();
        learnt.message_quirks = learnt.message_quirks.union(quirks);
    }

    /// Records the quirks of the headers, and the meaning and the quirks of the body.
    pub fn record_body(&self, headers: Quirks, body: &Map<String, Value>) {
        let ScimRequestTarget { method, resource, search, .. } = self.0.0;
        self.add_quirks(headers);
        if !search {
            self.record_operation(method, resource, body);
        }
    }

    /// Records the meaning and the quirks of a body, or of an operation in a Bulk request.
    pub fn record_operation(&self, method: &str, resource: &str, body: &Map<String, Value>) {
        let mut learnt = self.lock_facts();
        let types = learnt.caller.as_ref().and_then(|caller| caller.types.as_deref());
        let ty = match resource {
            "Users" => types.map_or(schema::user_type(), |types| &types.user),
            "Groups" => types.map_or(schema::group_type(), |types| &types.group),
            _ => return,
        };
        let quirks = match method {
            "POST" | "PUT" | "PATCH" => quirk::body_quirks(ty, method == "PATCH", body),
            _ => Quirks::default(),
        };
        learnt.quirks = learnt.quirks.union(quirks);
        learnt.meaning = classify::classify_body(method, resource, body);
    }

    /// Whether the answer is sent with its body.
    pub fn sends_body(&self) -> bool {
        self.0.0.method != "HEAD"
    }

    /// Records the meaning of the request.
    pub fn set_meaning(&self, meaning: &'static str) {
        self.lock_facts().meaning = Some(meaning);
    }

    /// Counts one operation of a Bulk request and clears its meaning and quirks. `id` is the id of
    /// the resource, if there is one; `body` gives the data of the operation, if it can be sent
    /// again.
    #[allow(clippy::too_many_arguments, reason = "all facts about one operation")]
    pub fn finish_operation(
        &self,
        app: &App,
        method: &'static str,
        resource: &'static str,
        id: Option<&str>,
        status: StatusCode,
        refusal: Option<&RequestRefusal>,
        body: impl FnOnce() -> Option<Map<String, Value>>,
    ) {
        let target = ScimRequestTarget {
            method,
            resource,
            search: false,
            one: true,
            id: id.and_then(parse_own_id),
        };
        let path = match (method, id) {
            ("POST", _) | (_, None) => format!("/{resource}"),
            (_, Some(id)) => format!("/{resource}/{id}"),
        };
        let report = self.report_write(app, target, path, status, refusal, body);
        self.lock_facts().reports.extend(report);
        self.count_request(app, target, status, refusal, None, Quirks::default());
        let mut learnt = self.lock_facts();
        (learnt.meaning, learnt.quirks) = (None, Quirks::default());
    }

    /// The report of a failed write, for the review queue. A successful write is passed on
    /// directly, but only if the connection has open failures.
    fn report_write(
        &self,
        app: &App,
        target: ScimRequestTarget,
        path: String,
        status: StatusCode,
        refusal: Option<&RequestRefusal>,
        body: impl FnOnce() -> Option<Map<String, Value>>,
    ) -> Option<FailureReport> {
        let ScimRequestTarget { method, resource, search, one, id } = target;
        let learnt = self.lock_facts();
        let (organization, connection) = learnt.owner?;
        if !failure_report::is_write(method, search) {
            return None;
        }
        let types = learnt.caller.as_ref().and_then(|caller| caller.types.as_deref());
        let meaning = learnt
            .meaning
            .unwrap_or_else(|| classify::classify_request(method, resource, one, search));
        let (at, request) =
            (app.clock.now(), learnt.caller.as_ref().map(|caller| caller.request_id));
        let write = ScimWrite {
            connection,
            method,
            resource,
            path,
            id,
            meaning,
            types,
            body: None,
            repeatable: false,
        };
        let Some(refusal) = refusal else {
            if status.is_success() && app.repeats.has_open_failures(connection) {
                let write = ScimWrite { body: body(), ..write };
                for success in write.successes_by_name(organization, at) {
                    app.repeats.note_success(success);
                }
            }
            return None;
        };
        if learnt.caller.is_none() && status != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        if !failure_report::needs_review(method, resource, status, refusal.reason) {
            return None;
        }
        let reason = match (status, resource) {
            (StatusCode::NOT_FOUND, UNKNOWN_RESOURCE) => RefusalReason::NoEndpoint,
            _ => refusal.reason,
        };
        let field = refusal.field.clone().and_then(|field| known_field(types, field));
        let refusal = RequestRefusal { reason, scim_type: refusal.scim_type, field };
        if status == StatusCode::TOO_MANY_REQUESTS {
            // All requests over the limit are one failure.
            let (method, resource, meaning) = ("", "/", "requests");
            let write = ScimWrite { method, resource, id: None, meaning, ..write };
            return Some(write.into_report(&refusal, request, at));
        }
        // A retry would create a second time a resource that was created in part.
        let repeatable = method != "POST" || id.is_none();
        let write = ScimWrite { body: body(), repeatable, ..write };
        Some(write.into_report(&refusal, request, at))
    }

    /// Takes the reports of the whole request, for the review queue.
    fn take_reports(&self) -> Option<(Uuid, Vec<FailureReport>)> {
        let mut learnt = self.lock_facts();
        let reports = std::mem::take(&mut learnt.reports);
        (!reports.is_empty()).then_some((learnt.owner?.0, reports))
    }

    fn count_request(
        &self,
        app: &App,
        target: ScimRequestTarget,
        status: StatusCode,
        refusal: Option<&RequestRefusal>,
        source: Option<IpAddr>,
        message_quirks: Quirks,
    ) {
        let learnt = self.lock_facts();
        let Some((organization, connection)) = learnt.owner else { return };
        let wrote = learnt
            .caller
            .as_ref()
            .is_some_and(|caller| caller.wrote.swap(false, Ordering::Relaxed));
        let types = learnt.caller.as_ref().and_then(|caller| caller.types.as_deref());
        let refusal = refusal.map(|refusal| RequestRefusal {
            reason: match (&learnt.caller, status) {
                (None, StatusCode::UNAUTHORIZED) => RefusalReason::TokenDead,
                (None, StatusCode::NOT_FOUND) => RefusalReason::WrongTenant,
                (_, StatusCode::NOT_FOUND) if target.resource == UNKNOWN_RESOURCE => {
                    RefusalReason::NoEndpoint
                }
                _ => refusal.reason,
            },
            scim_type: refusal.scim_type,
            field: refusal.field.clone().and_then(|field| known_field(types, field)),
        });
        let now = app.clock.now();
        let meaning = learnt.meaning.unwrap_or_else(|| {
            classify::classify_request(target.method, target.resource, target.one, target.search)
        });
        let kind = RequestKind {
            organization,
            connection: Some(connection),
            hour: request_counts::hour_of(now),
            method: Some(target.method),
            resource: Some(target.resource),
            meaning,
            outcome: request_outcome(target, status, wrote),
            status: Some(status.as_u16()),
            refusal,
            quirks: learnt.quirks.union(message_quirks).names(),
            source: source.filter(|_| status == StatusCode::UNAUTHORIZED),
        };
        let request_id = learnt.caller.as_ref().map(|caller| caller.request_id);
        let target = target.id.filter(|_| status != StatusCode::NOT_FOUND);
        app.requests.note_request(kind, RequestCount::single(now, request_id, target));
    }

    fn lock_facts(&self) -> MutexGuard<'_, RecordedFacts> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the answer to a failed write waits for its place in the review queue. The write itself
/// may have waited for a database that does not answer, and so would this.
const REPORT_TIMEOUT: Duration = Duration::from_secs(4);

/// The resource's name if the path is not an endpoint of this server.
const UNKNOWN_RESOURCE: &str = "elsewhere";

/// Runs around every SCIM request, and records it.
pub async fn record_request(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let uri = request.uri().clone();
    let Some((_, path)) = uri.path().split_once("/scim/v2/") else {
        return next.run(request).await;
    };
    // A retry by this server is not a request of the identity provider; the caller gets its
    // outcome.
    if request.extensions().get::<http::ScimReplay>().is_some_and(|replay| !replay.recorded) {
        return next.run(request).await;
    }
    let (slug, path) = path.split_once('/').unwrap_or((path, ""));
    let mut target = parse_target(request.method(), path);
    let source = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let unknown = reason_if_unknown(request.headers());
    let note = ScimRequestRecord(Arc::new((target, Mutex::default())));
    request.extensions_mut().insert(note.clone());
    let response = next.run(request).await;
    if note.is_left_out() {
        return response;
    }
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED && note.lock_facts().owner.is_none() {
        let (now, tenant) = (app.clock.now(), SignInTenant::Named(slug.to_owned()));
        let hour = request_counts::hour_of(now);
        let stranger = FailedSignIn { tenant, interface: None, source, reason: unknown, hour };
        app.requests.note_stranger(stranger, RequestCount::single(now, None, None));
        return response;
    }
    if status == StatusCode::CREATED {
        target.id = created_id(response.headers());
    }
    let refusal = response.extensions().get::<RequestRefusal>();
    let (sent, message_quirks) = {
        let mut learnt = note.lock_facts();
        (learnt.sent.take(), learnt.message_quirks)
    };
    let body = || http::parse_object(&sent?.bytes).ok();
    let below = format!("/{}", path.trim_end_matches('/'));
    let report = note.report_write(&app, target, below, status, refusal, body);
    note.lock_facts().reports.extend(report);
    note.count_request(&app, target, status, refusal, source, message_quirks);
    if let Some((organization, reports)) = note.take_reports() {
        report_failures(&app, organization, reports).await;
    }
    response
}

/// Why a request is refused whose credential is not known.
fn reason_if_unknown(headers: &HeaderMap) -> RefusalReason {
    if !headers.contains_key(header::AUTHORIZATION) {
        return RefusalReason::TokenMissing;
    }
    match request_head::bearer_token(headers) {
        Some(secret) if secret.starts_with(api_key::API_KEY_PREFIX) => {
            RefusalReason::CredentialKind
        }
        _ => RefusalReason::TokenUnknown,
    }
}

/// Puts failed writes into the review queue. If that fails, only the log says so.
async fn report_failures(app: &Arc<App>, organization: Uuid, reports: Vec<FailureReport>) {
    let reporting = review::report_failures(app, organization, reports);
    match run_within(REPORT_TIMEOUT, reporting).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::error!(%error, "a failed write could not be put into the review queue");
        }
        None => tracing::error!(
            "a failed write could not be put into the review queue in {} s",
            REPORT_TIMEOUT.as_secs()
        ),
    }
}

fn parse_target(method: &Method, path: &str) -> ScimRequestTarget {
    let path = path.trim_end_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let known =
        ["Users", "Groups", "Bulk", "ServiceProviderConfig", "ResourceTypes", "Schemas", "Me"];
    let resource = match first {
        "" | ".search" => "/",
        first => known.into_iter().find(|name| *name == first).unwrap_or(UNKNOWN_RESOURCE),
    };
    let search = first == ".search" || rest == ".search";
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let method = methods.into_iter().find(|name| *name == method.as_str()).unwrap_or("OTHER");
    ScimRequestTarget {
        method,
        resource,
        search,
        one: !rest.is_empty() && !search,
        id: parse_own_id(rest),
    }
}

/// An id that this server can have given: a UUID of version 7 in the spelling of this server.
fn parse_own_id(text: &str) -> Option<Uuid> {
    http::parse_id(text, Noun::Resource).ok().filter(|id| id.get_version_num() == 7)
}

fn created_id(headers: &HeaderMap) -> Option<Uuid> {
    parse_own_id(headers.get(header::LOCATION)?.to_str().ok()?.rsplit('/').next()?)
}

fn request_outcome(target: ScimRequestTarget, status: StatusCode, wrote: bool) -> Outcome {
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

/// The name of a field, if it may be stored: it is a constant of this code, or a schema has it. A
/// name that a client invented is dropped.
pub fn known_field(
    types: Option<&ResourceTypes>,
    field: Cow<'static, str>,
) -> Option<Cow<'static, str>> {
    let text = match field {
        Cow::Borrowed(ours) => return Some(ours.into()),
        Cow::Owned(text) => text,
    };
    let types = types?;
    let place = types.user.locate_member(&text).or_else(|| types.group.locate_member(&text))?;
    Some(Cow::Owned(match place {
        MemberMeaning::Attribute(found) => found.canonical_path(),
        MemberMeaning::Schema(schema) => schema.urn.clone(),
    }))
}
