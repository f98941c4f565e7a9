//! SCIM requests that are carried out after their answer (RFC 9967): they are stored sealed until a
//! run has carried them out, and their result is an event, which streams of security event tokens
//! tell. The requests of one connection are carried out in their order.
//!
//! A run holds a lease. The one after a run that died looks in the ledger whether the request was
//! done, and does not do it twice: all events of a request have its id. The operations of a Bulk
//! request have ids of their own ([`bulk`]).

pub mod bulk;

use std::sync::Arc;

use chrono::Duration;
use entity::connection::ConnectionStatus;
use entity::{async_request, connection, event, scim_token as token};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scim_token;
use crate::auth::policy::{Action, Actor, Scope, Scopes};
use crate::context::{ASYNC_REQUESTS, App, Change, ClaimedRow, Cx, Lease, LeaseClaim};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{InboundAvailability, Organization, is_open_condition};
use crate::error::{Error, Noun, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};
use bulk::{AsyncOperation, DeferredBulk};

/// The most requests of one organization that wait.
const MAX_WAITING: i64 = 1_000;
/// The most bytes of what one organization has sent and that waits.
const MAX_WAITING_BYTES: i64 = 64 * 1024 * 1024;
/// How long a client is asked to wait while there are so many, in seconds.
const RETRY_AFTER_SECONDS: u64 = 5;
/// How long a run holds a request, unless it renews its lease.
const LEASE_DURATION: Duration = Duration::seconds(30);
/// How often a run renews its lease.
pub const RENEWAL_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
/// How long after a failure of this server a request is tried again.
const RETRY_DELAY: Duration = Duration::seconds(15);
/// How often a request is tried that fails for reasons of this server.
const MAX_TRIES: i32 = 8;

/// A request as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncPayload {
    pub method: String,
    /// Below the tenant's base URL: the endpoint, and the id of a resource.
    pub path: String,
    pub body: Option<String>,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
    /// The operations of a Bulk request; none = it is another request.
    #[serde(default)]
    pub operations: Vec<AsyncOperation>,
}

impl AsyncPayload {
    fn is_bulk(&self) -> bool {
        !self.operations.is_empty()
    }

    /// The endpoint that it was sent to.
    fn endpoint(&self) -> &'static str {
        if self.path.starts_with("/Groups") { "Groups" } else { "Users" }
    }

    /// What the permissions of its token must allow, for it to be accepted. Each operation of a
    /// Bulk request is judged when it is carried out.
    fn check_allowed(&self, cx: &Cx, connection: Uuid) -> Result<()> {
        let (user, group) = (Action::WriteUser, Action::WriteGroup);
        let allow = |action| cx.allow(action, Some(connection));
        match self.endpoint() {
            _ if self.is_bulk() => allow(user).or_else(|_| allow(group)),
            "Groups" => allow(group),
            _ => allow(user),
        }
    }
}

/// The result of a request, or of one operation of a Bulk request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsyncOutcome {
    pub status: u16,
    /// The version of the resource after it (an entity tag).
    pub version: Option<String>,
    pub location: Option<String>,
    /// The resource's id.
    pub resource: Option<Uuid>,
    pub scim_type: Option<String>,
}

impl AsyncOutcome {
    fn with_status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Whether a later try may end otherwise.
    pub fn may_pass(&self) -> bool {
        matches!(self.status, 429 | 500 | 503)
    }
}

/// Accepts a request of a connection, to be carried out soon. Returns its id.
///
/// # Errors
/// [`Error::Forbidden`] for a token that may not write such a resource, [`Error::Limited`] while
/// too many of the organization wait.
pub async fn accept_request(cx: &Cx, payload: &AsyncPayload) -> Result<Uuid> {
    let Actor::Connection { id: connection, scopes, .. } = &cx.actor else {
        return Err(Error::not_found(Noun::Connection));
    };
    payload.check_allowed(cx, *connection)?;
    check_room(cx).await?;
    let id = bulk::new_request_id();
    let text = serde_json::to_vec(payload).map_err(|error| Error::Internal(error.to_string()))?;
    let data_key = organization::current_organization(cx).await?.data_key;
    let sealed = &cx.app.vault.seal(cx.organization(), &data_key, id, &text)?;
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    let (scopes, connection) = (&json!(scopes), *connection);
    cx.write(move |tx| {
        Box::pin(async move {
            let now = tx.now_after(None);
            let row = async_request::Model {
                organization_id: tx.organization(),
                id,
                connection_id: connection,
                scopes: scopes.clone(),
                payload: sealed.clone(),
                tries: 0,
                holder: None,
                until: chrono::DateTime::UNIX_EPOCH,
                created_at: now,
                token_id: cx.scim_token,
            };
            async_request::Entity::insert(row.into_active_model())
                .exec_without_returning(&tx.db)
                .await?;
            let after = json!({ "txn": id, "method": payload.method });
            let kind = EventKind::ScimRequestAccepted;
            Ok(Change::recorded((), request_event(kind, id, connection, now, after)))
        })
    })
    .await?;
    cx.app.async_requests.notify_one();
    Ok(id)
}

/// Refuses while too much of the organization waits.
async fn check_room(cx: &Cx) -> Result<()> {
    let text = "SELECT count(*) AS waiting, CAST(coalesce(sum(length(payload)), 0) AS bigint) AS \
                bytes FROM async_request WHERE organization_id = $1";
    let row = cx.app.store.write.query_one_raw(cx.statement(text, [])).await?;
    let Some(row) = row else { return Ok(()) };
    let (waiting, bytes): (i64, i64) = (row.try_get("", "waiting")?, row.try_get("", "bytes")?);
    if waiting >= MAX_WAITING || bytes >= MAX_WAITING_BYTES {
        return Err(Error::Limited { seconds: RETRY_AFTER_SECONDS });
    }
    Ok(())
}

fn request_event(
    kind: EventKind,
    id: Uuid,
    connection: Uuid,
    at: chrono::DateTime<chrono::Utc>,
    after: Value,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "scim_request", id },
        connection: Some(connection),
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}

/// The right of one run to carry a request out.
#[derive(Debug)]
pub struct AsyncClaim {
    pub request: async_request::Model,
    pub organization: Organization,
    lease: Lease,
    cx: Cx,
}

/// Another run has taken the request over.
#[derive(Debug)]
pub struct LeaseLost;

/// What a run is to do.
#[derive(Debug)]
pub enum AsyncTurn {
    /// It is to be sent, in this context of the connection.
    Send(Box<Cx>, AsyncPayload),
    /// So is this Bulk request. An earlier run may have carried a part of it out.
    SendBulk(Box<Cx>, AsyncPayload, Arc<DeferredBulk>),
    /// It was done before, or cannot be done.
    Settled(AsyncPayload, AsyncOutcome),
}

/// Claims the next request that no run holds and that follows on no other of its connection.
pub async fn claim_next_request(app: &Arc<App>) -> Result<Option<AsyncClaim>> {
    let claim = LeaseClaim {
        lasts: LEASE_DURATION,
        due: format!(
            "NOT EXISTS (SELECT 1 FROM async_request e \
             WHERE e.organization_id = async_request.organization_id \
             AND e.connection_id = async_request.connection_id AND e.id < async_request.id) \
             AND {}",
            is_open_condition("async_request")
        ),
        due_values: Vec::new(),
        set: "tries = tries + 1".into(),
        set_values: Vec::new(),
    };
    let (db, time) = (&app.store.write, app.database_time());
    let claimed = ASYNC_REQUESTS.claim_next(db, time, &claim, "id").await?;
    let Some(ClaimedRow { organization, id, lease }) = claimed else { return Ok(None) };
    let cx = Cx::system(app.clone(), organization);
    let query = cx.find::<async_request::Entity>().filter(async_request::Column::Id.eq(id));
    let Some(request) = query.one(db).await? else { return Ok(None) };
    let organization = organization::current_organization(&cx).await?;
    Ok(Some(AsyncClaim { request, organization, lease, cx }))
}

impl AsyncClaim {
    /// What to do with the request now.
    pub async fn prepare_turn(&self) -> Result<AsyncTurn> {
        let payload = self.unseal_payload()?;
        if self.request.tries > 1
            && !payload.is_bulk()
            && let Some(outcome) = self.find_outcome(&payload).await?
        {
            return Ok(AsyncTurn::Settled(payload, outcome));
        }
        let query = self.cx.find::<connection::Entity>();
        let query = query.filter(connection::Column::Id.eq(self.request.connection_id));
        let query = query.filter(connection::Column::DeletedAt.is_null());
        let found = query.one(self.cx.db()).await?;
        let open = InboundAvailability::of_organization(&self.cx.app, &self.organization)
            .check_available()
            .is_ok()
            && self.organization.scim_enabled;
        let active = found.filter(|row| open && row.status == ConnectionStatus::Active);
        let Some(row) = active else {
            return Ok(AsyncTurn::Settled(payload, AsyncOutcome::with_status(403)));
        };
        let Some(scopes) = self.find_scopes().await? else {
            return Ok(AsyncTurn::Settled(payload, AsyncOutcome::with_status(401)));
        };
        let cx = Box::new(self.cx_of(Actor::Connection { id: row.id, name: row.name, scopes }));
        if !payload.is_bulk() {
            return Ok(AsyncTurn::Send(cx, payload));
        }
        let bulk = self.open_bulk(&payload).await?;
        Ok(AsyncTurn::SendBulk(cx, payload, Arc::new(bulk)))
    }

    /// What the token of the request may do now; none if it is revoked, retired or expired: what an
    /// identity provider sent with it must not outlive it.
    async fn find_scopes(&self) -> Result<Option<Scopes>> {
        let given = scim_token::parse_scopes(&self.request.scopes);
        let Some(id) = self.request.token_id else { return Ok(Some(given)) };
        let query = self.cx.find::<token::Entity>().filter(token::Column::Id.eq(id));
        let token = query.one(&self.cx.app.store.write).await?;
        let live = token.filter(|row| scim_token::is_live(row, self.cx.app.clock.now()));
        Ok(live.map(|row| &given & &scim_token::parse_scopes(&row.scopes)))
    }

    /// A context for this request, whose writes are valid only while the run holds the lease.
    fn cx_of(&self, actor: Actor) -> Cx {
        let (app, request) = (self.cx.app.clone(), &self.request);
        let mut cx =
            Cx::new(app, actor, request.organization_id, request.id).with_fence(self.lease.clone());
        cx.schema_version = Some(self.organization.schema_version);
        cx
    }

    fn unseal_payload(&self) -> Result<AsyncPayload> {
        let async_request::Model { organization_id, id, payload, .. } = &self.request;
        let vault = &self.cx.app.vault;
        let text = vault.unseal(*organization_id, &self.organization.data_key, *id, payload)?;
        serde_json::from_slice(&text).map_err(|error| Error::Internal(error.to_string()))
    }

    /// The outcome of an earlier run that died after the write: the ledger has an event of it.
    async fn find_outcome(&self, payload: &AsyncPayload) -> Result<Option<AsyncOutcome>> {
        let endpoint = payload.endpoint();
        let kind = if endpoint == "Groups" { "group" } else { "user" };
        let query = self
            .cx
            .find::<event::Entity>()
            .filter(event::Column::RequestId.eq(self.request.id))
            .filter(event::Column::SubjectKind.eq(kind))
            .order_by_asc(event::Column::Id);
        let Some(found) = query.one(&self.cx.app.store.write).await? else { return Ok(None) };
        let status = match payload.method.as_str() {
            "POST" => 201,
            "DELETE" => 204,
            _ => 200,
        };
        Ok(Some(AsyncOutcome {
            location: Some(self.location_of(endpoint, found.subject_id)),
            resource: Some(found.subject_id),
            ..AsyncOutcome::with_status(status)
        }))
    }

    fn location_of(&self, endpoint: &str, id: Uuid) -> String {
        let base = organization::base_url(&self.cx.app, &self.organization.slug);
        format!("{base}/{endpoint}/{id}")
    }

    /// The context that records results, as the connection.
    fn recording_cx(&self) -> Cx {
        let name = "identity provider".to_owned();
        let scopes = Scope::ALL.into();
        self.cx_of(Actor::Connection { id: self.request.connection_id, name, scopes })
    }

    /// Whether the request is tried again if this outcome may pass.
    pub fn is_tried_again(&self, outcome: &AsyncOutcome) -> bool {
        outcome.may_pass() && self.request.tries < MAX_TRIES
    }

    /// Renews the lease; says so if another run has the request now.
    pub async fn renew_lease(&self) -> Result<Option<LeaseLost>> {
        let app = &self.cx.app;
        let (db, time) = (&app.store.write, app.database_time());
        let held = self.lease.renew(db, time, LEASE_DURATION, "", Vec::new()).await?;
        Ok((!held).then_some(LeaseLost))
    }

    /// Lets the request be tried again in a moment.
    pub async fn postpone(&self) -> Result<()> {
        let app = &self.cx.app;
        let (db, time) = (&app.store.write, app.database_time());
        self.lease.renew(db, time, RETRY_DELAY, "holder = NULL", Vec::new()).await?;
        Ok(())
    }

    /// Ends the request: its result is an event, and what was sent is deleted.
    pub async fn complete(&self, payload: &AsyncPayload, outcome: &AsyncOutcome) -> Result<()> {
        if payload.is_bulk() {
            self.complete_bulk(payload, outcome).await?;
        } else {
            self.complete_single(payload, outcome).await?;
        }
        // The next one of the connection need not wait.
        self.cx.app.async_requests.notify_one();
        Ok(())
    }

    async fn complete_single(&self, payload: &AsyncPayload, outcome: &AsyncOutcome) -> Result<()> {
        let (cx, connection) = (&self.recording_cx(), self.request.connection_id);
        let id = self.request.id;
        cx.write(move |tx| {
            Box::pin(async move {
                let query =
                    tx.find::<async_request::Entity>().filter(async_request::Column::Id.eq(id));
                let Some(row) = crate::domain::lock_row(tx, query).await? else {
                    return Ok(Change::unchanged(()));
                };
                let now = tx.now_after(Some(row.created_at));
                async_request::Entity::delete_many()
                    .filter(async_request::Column::OrganizationId.eq(tx.organization()))
                    .filter(async_request::Column::Id.eq(id))
                    .exec(&tx.db)
                    .await?;
                let (method, endpoint) = (&payload.method, payload.endpoint());
                let after = describe_outcome(&id.to_string(), method, endpoint, outcome);
                let kind = EventKind::ScimRequestCompleted;
                Ok(Change::recorded((), request_event(kind, id, connection, now, after)))
            })
        })
        .await
    }
}

/// The result as one operation of a Bulk answer (RFC 7644 section 3.7.3), without words that may
/// name a person.
fn describe_outcome(txn: &str, method: &str, endpoint: &str, outcome: &AsyncOutcome) -> Value {
    let status = outcome.status.to_string();
    let mut details = json!({
        "txn": txn, "method": method, "status": status, "endpoint": endpoint,
        "resourceId": outcome.resource, "version": outcome.version, "location": outcome.location,
    });
    if outcome.status >= 300 {
        let mut response = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": status,
        });
        if let Some(scim_type) = &outcome.scim_type {
            response["scimType"] = scim_type.clone().into();
        }
        details["response"] = response;
    }
    details
}
