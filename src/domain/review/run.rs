//! Retries: which failed write is next, as which actor it is done, and what its result is. What
//! failed while a source was read is read again.
//!
//! One attempt at a time holds the lease of a failure, over all replicas; when the lease of an
//! attempt ends, another attempt follows. Each attempt has a request id, which its events in the
//! ledger name: the attempt after one that died checks whether the write was done, and does not do
//! it twice. An attempt that was only slow writes nothing any more: each of its writes is valid
//! only while it holds the lease.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionStatus;
use entity::{connection, event, failure, group, scim_token, user};
use sea_orm::{ActiveEnum, ColumnTrait, PaginatorTrait, QueryFilter};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Cause, Failure, Origin, RETRY_DELAYS, Resolution, RetryPayload, State, cause,
    failure_fingerprint, finish_failure, lock_unfinished_failure,
};
use crate::auth::policy::{Actor, Scope, Scopes};
use crate::context::{App, Change, ClaimedRow, Cx, FAILURES, Lease, LeaseClaim};
use crate::domain::connection::scim_token as scim_tokens;
use crate::domain::paging;
use crate::domain::paging::live_index::found_by_user_name;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::is_open_condition;
use crate::domain::tenant::organization::{InboundAvailability, Organization};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::identity::document;
use crate::ledger::EventKind;

/// How long an attempt may hold a failure. Longer than any attempt may take.
const LEASE_DURATION: Duration = Duration::minutes(2);

/// The right to try a failed write again.
#[derive(Debug)]
pub struct RetryClaim {
    pub failure: Failure,
    pub organization: Organization,
    /// A system context in the failure's organization.
    pub cx: Cx,
    /// The request id of the attempt.
    pub request_id: Uuid,
    lease: Lease,
    /// Whether an earlier attempt had the same request id; it may have died after the write was
    /// done.
    taken_over: bool,
}

/// Claims the next failure of this origin that is due and that no other attempt holds, but of none
/// of the connections `except`.
pub async fn claim_next_failure(
    app: &Arc<App>,
    origin: Origin,
    except: &[Uuid],
) -> Result<Option<RetryClaim>> {
    let (time, request_id) = (app.database_time(), Uuid::now_v7());
    let mut due_values = vec![origin.to_value().into(), paging::bind_ids(except)];
    let due = format!(
        "next_attempt_at <= {} AND origin = $1 AND NOT connection_id {} AND {}",
        time.current_timestamp_sql(&mut due_values),
        paging::in_ids(app.store.backend(), 2),
        is_open_condition("failure")
    );
    let claim = LeaseClaim {
        lasts: LEASE_DURATION,
        due,
        set: format!(
            "state = 'RETRYING', retry_request_id = coalesce(retry_request_id, ${})",
            due_values.len() + 1
        ),
        due_values,
        set_values: vec![request_id.into()],
    };
    let db = &app.store.write;
    let Some(ClaimedRow { organization, id, lease }) =
        FAILURES.claim_next(db, time, &claim, "next_attempt_at").await?
    else {
        return Ok(None);
    };
    let cx = Cx::system(app.clone(), organization).with_fence(lease.clone());
    let found = cx.find::<failure::Entity>().filter(failure::Column::Id.eq(id)).one(db).await?;
    let Some(failure) = found else { return Ok(None) };
    let given = failure.retry_request_id.unwrap_or(request_id);
    let organization = organization::current_organization(&cx).await?;
    Ok(Some(RetryClaim {
        taken_over: given != request_id,
        request_id: given,
        failure,
        organization,
        cx,
        lease,
    }))
}

/// Why an attempt is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkippedAttempt {
    /// The write is done already.
    Done(Resolution),
    /// Nothing can be sent for this connection now; a later attempt may succeed.
    NotNow,
    /// There is nothing to send.
    Nothing,
}

/// The write that an attempt sends, and the context to send it in.
#[derive(Debug)]
pub struct RetryAttempt {
    pub cx: Cx,
    pub payload: RetryPayload,
}

/// What an attempt is to read again.
#[derive(Debug)]
pub struct RepeatedReading {
    /// A context of the connection, which writes what it owns.
    pub cx: Cx,
    pub connection: Uuid,
    /// The endpoint, and the id at the source; none = everything.
    pub one: Option<(String, String)>,
    /// Whether an earlier attempt that died has begun the run that reads everything.
    pub begun: bool,
}

impl RetryClaim {
    /// The connection whose write or reading failed: only these failures are claimed.
    pub fn connection(&self) -> Uuid {
        self.failure.connection_id.unwrap_or_default()
    }

    /// What to read again, unless that is not needed or not possible.
    pub async fn prepare_reading(&self) -> Result<Result<RepeatedReading, SkippedAttempt>> {
        let payload = self.unseal_payload()?;
        let one = payload.and_then(|it| {
            it.path.split_once('/').map(|(endpoint, id)| (endpoint.into(), id.into()))
        });
        let done = self.taken_over && self.was_done().await?;
        if done && one.is_some() {
            return Ok(Err(SkippedAttempt::Done(Resolution::Retried)));
        }
        let connection = self.find_connection().await?;
        if connection.status != ConnectionStatus::Active {
            return Ok(Err(SkippedAttempt::NotNow));
        }
        let id = connection.id;
        let actor = Actor::Connection { id, name: connection.name, scopes: Scope::ALL.into() };
        let cx = self.attempt_cx(actor);
        Ok(Ok(RepeatedReading { cx, connection: id, one, begun: done }))
    }

    /// A context of `actor` for this attempt, whose writes are valid only while it holds the lease.
    fn attempt_cx(&self, actor: Actor) -> Cx {
        let (app, organization) = (self.cx.app.clone(), self.failure.organization_id);
        Cx::new(app, actor, organization, self.request_id).with_fence(self.lease.clone())
    }

    async fn find_connection(&self) -> Result<connection::Model> {
        let query = self
            .cx
            .find::<connection::Entity>()
            .filter(connection::Column::Id.eq(self.failure.connection_id));
        let query = query.filter(connection::Column::DeletedAt.is_null());
        query.one(self.cx.db()).await?.ok_or_else(|| Error::not_found(Noun::Connection))
    }

    /// What to send, unless that is not needed or not possible.
    pub async fn prepare_attempt(&self) -> Result<Result<RetryAttempt, SkippedAttempt>> {
        if self.taken_over && self.was_done().await? {
            return Ok(Err(SkippedAttempt::Done(Resolution::Retried)));
        }
        let Some(payload) = self.unseal_payload()? else { return Ok(Err(SkippedAttempt::Nothing)) };
        let connection = self.find_connection().await?;
        let open = InboundAvailability::of_organization(&self.cx.app, &self.organization)
            .check_available()
            .is_ok();
        if !open || !self.organization.scim_enabled || connection.status != ConnectionStatus::Active
        {
            return Ok(Err(SkippedAttempt::NotNow));
        }
        if self.is_already_created(&payload).await? {
            return Ok(Err(SkippedAttempt::Done(Resolution::Superseded)));
        }
        let scopes = self.live_token_scopes().await?;
        let actor = Actor::Connection { id: connection.id, name: connection.name, scopes };
        let mut cx = self.attempt_cx(actor);
        cx.schema_version = Some(self.organization.schema_version);
        Ok(Ok(RetryAttempt { cx, payload }))
    }

    fn unseal_payload(&self) -> Result<Option<RetryPayload>> {
        let Some(sealed) = &self.failure.payload else { return Ok(None) };
        let Failure { organization_id, id, .. } = self.failure;
        let text =
            self.cx.app.vault.unseal(organization_id, &self.organization.data_key, id, sealed)?;
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Whether the write of an earlier attempt was done: an event in the ledger has its request id.
    async fn was_done(&self) -> Result<bool> {
        let events =
            self.cx.find::<event::Entity>().filter(event::Column::RequestId.eq(self.request_id));
        let events = events.filter(event::Column::SubjectKind.ne("failure"));
        Ok(events.count(&self.cx.app.store.write).await? > 0)
    }

    /// The scopes of all live tokens of the connection: a retry may not do more than the identity
    /// provider.
    async fn live_token_scopes(&self) -> Result<Scopes> {
        let tokens = scim_tokens::of_providers(self.cx.find())
            .filter(scim_token::Column::ConnectionId.eq(self.failure.connection_id))
            .all(self.cx.db())
            .await?;
        let now = self.cx.app.clock.now();
        Ok(tokens
            .iter()
            .filter(|it| scim_tokens::is_live(it, now))
            .flat_map(|it| scim_tokens::parse_scopes(&it.scopes))
            .collect())
    }

    /// Whether the user or group to be created exists by now and belongs to the connection.
    async fn is_already_created(&self, payload: &RetryPayload) -> Result<bool> {
        let body = payload
            .body
            .as_deref()
            .and_then(|body| serde_json::from_str::<Map<String, Value>>(body).ok());
        let ("POST", Some(body)) = (payload.method.as_str(), body) else { return Ok(false) };
        let member = |name: &str| {
            let found = body
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .and_then(|(_, value)| value.as_str());
            found.filter(|text| !text.is_empty())
        };
        let (owner, db) = (self.failure.connection_id, self.cx.db());
        let external = member("externalId");
        let n = match (self.failure.resource.as_deref(), member("userName"), external) {
            (Some("Users"), Some(name), _) => {
                let query = self
                    .cx
                    .find::<user::Entity>()
                    .filter(user::Column::UserNameKey.eq(document::fold_text(name)));
                let query = query.filter(found_by_user_name(self.cx.backend()));
                // The same request reactivates a suspended account, so that one does not count.
                let query = query
                    .filter(user::Column::DeletedAt.is_null())
                    .filter(user::Column::Active.eq(true));
                query.filter(user::Column::ConnectionId.eq(owner)).count(db).await?
            }
            (Some("Groups"), _, Some(external)) => {
                let query =
                    self.cx.find::<group::Entity>().filter(group::Column::ExternalId.eq(external));
                let query = query.filter(group::Column::DeletedAt.is_null());
                query.filter(group::Column::ConnectionId.eq(owner)).count(db).await?
            }
            _ => 0,
        };
        Ok(n > 0)
    }

    /// The attempt succeeded, or was not needed.
    pub async fn mark_done(&self, resolution: Resolution) -> Result<()> {
        match finish_failure(&self.cx, self.failure.id, State::Resolved, resolution, None).await {
            Err(Error::NotFound(_)) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// The attempt was refused for this reason, or could not be made (none). Another one follows on
    /// the published schedule if the cause passes by itself.
    pub async fn mark_failed(
        &self,
        refusal: Option<(RefusalReason, Option<&str>, Option<&str>)>,
    ) -> Result<()> {
        self.reopen_failure(refusal, EventKind::FailureRetryFailed).await
    }

    /// A run has begun that reads everything again: its end decides about the failure.
    pub async fn mark_begun(&self) -> Result<()> {
        self.reopen_failure(None, EventKind::FailureRetryBegun).await
    }

    async fn reopen_failure(
        &self,
        refusal: Option<(RefusalReason, Option<&str>, Option<&str>)>,
        kind: EventKind,
    ) -> Result<()> {
        let refusal = &refusal;
        let again = self.cx.write(move |tx| {
            Box::pin(async move {
                let before = match lock_unfinished_failure(tx, self.failure.id).await {
                    Err(Error::Held { .. } | Error::NotFound(_)) => {
                        return Ok(Change::unchanged(true));
                    }
                    before => before?,
                };
                if before.holder != Some(self.lease.holder()) {
                    return Ok(Change::unchanged(true));
                }
                let now = tx.now_after(Some(before.last_at));
                let mut after = before.clone();
                if let Some((reason, scim_type, field)) = refusal {
                    after.cause = cause::cause_of_reason(*reason);
                    after.reason = (*reason).into();
                    after.scim_type = scim_type.map(Into::into);
                    after.field = field.map(Into::into);
                    after.fingerprint = self.failure_print(&after);
                    (after.count, after.last_at, after.last_request_id) =
                        (after.count + 1, now, Some(self.request_id));
                }
                if after.fingerprint != before.fingerprint {
                    let rival =
                        tx.find::<failure::Entity>().filter(failure::Column::FinishedAt.is_null());
                    let rival =
                        rival.filter(failure::Column::Fingerprint.eq(after.fingerprint.clone()));
                    if rival.count(&tx.db).await? > 0 {
                        return Ok(Change::unchanged(false));
                    }
                }
                after.attempts += 1;
                after.next_attempt_at = next_attempt_time(after.cause, after.attempts, now);
                after.state = State::Open;
                (after.holder, after.until, after.retry_request_id) = (None, None, None);
                super::super::save_row::<failure::Entity, failure::ActiveModel>(tx, after.clone())
                    .await?;
                let details = serde_json::json!({
                    "cause": after.cause.to_value(), "reason": after.reason,
                    "attempts": after.attempts,
                    "nextAttemptAt": after.next_attempt_at, "requestId": self.request_id,
                });
                let entry = super::failure_event(kind, &after, now, None, Some(details));
                Ok(Change::recorded(true, entry))
            })
        });
        if again.await? {
            Ok(())
        } else {
            // Another open failure already stands for the same write with the same cause.
            self.mark_done(Resolution::Superseded).await
        }
    }

    fn failure_print(&self, failure: &Failure) -> Vec<u8> {
        let thing = failure.thing.as_deref().map(hex::encode);
        let cause = failure.cause.to_value();
        failure_fingerprint(
            failure.connection_id,
            &failure.operation,
            thing.as_deref(),
            &failure.scope,
            &cause,
            failure.field.as_deref(),
        )
    }

    /// Ends the lease, so that another attempt can follow at once, since this one was not made.
    pub async fn release_lease(&self) -> Result<()> {
        let app = &self.cx.app;
        Ok(self.lease.release(&app.store.write, app.database_time(), "", Vec::new()).await?)
    }

    /// There is nothing to send: the failure waits for a reviewer.
    pub async fn stop_retrying(&self) -> Result<()> {
        let set = "state = 'OPEN', next_attempt_at = NULL, retry_request_id = NULL, holder = \
                   NULL, until = NULL";
        self.lease.update_if_held(&self.cx.app.store.write, set, Vec::new()).await?;
        Ok(())
    }
}

/// When the next attempt is made by itself, after so many failed ones.
fn next_attempt_time(cause: Cause, attempts: i32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let wait = RETRY_DELAYS.get(usize::try_from(attempts).unwrap_or(usize::MAX))?;
    cause::passes_by_itself(cause).then(|| now + *wait)
}
