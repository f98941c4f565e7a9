//! Trying again: which failed write is next, who it is done as, and what to remember of it. What failed while a source
//! was read is read again.
//!
//! One attempt at a time holds a failure, on whatever replica; an attempt that was not heard of for a while has died, and
//! another one follows. Each attempt has a request of its own that its rows in the ledger name: the attempt that follows
//! a dead one looks whether that was done, and does not do it twice. An attempt that was only away for long writes
//! nothing any more: each of its writes holds only while it holds the failure.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::ConnectionStatus;
use entity::{connection, event, failure, group, scim_token, user};
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, FromQueryResult, PaginatorTrait, QueryFilter, Statement};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Cause, Failure, Origin, Payload, Resolution, SCHEDULE, State, cause, fingerprint, finish, live};
use crate::authz::{Actor, Scope, Scopes};
use crate::context::{App, Change, Cx};
use crate::context::{FAILURES, Lease};
use crate::domain::live_index::found_by_user_name;
use crate::domain::organization::{self, Availability, Organization};
use crate::domain::{document, list, token};
use crate::error::{Error, Result};
use crate::ledger::EventKind;
use crate::ledger::hex;

/// An attempt that was not heard of for so long has died. Longer than any may take.
const LEASE: Duration = Duration::minutes(2);

/// The right to try a failed write again.
#[derive(Debug)]
pub struct Claim {
    pub failure: Failure,
    pub organization: Organization,
    /// Work of rolecall's own in the failure's organization.
    pub cx: Cx,
    /// The request of the attempt.
    pub request_id: Uuid,
    lease: Lease,
    /// Whether another attempt had the same request, which may have died after it was done.
    taken_over: bool,
}

/// Takes the next failure of this origin that is due and that nobody tries, but of none of the connections `except`.
pub async fn claim(app: &Arc<App>, origin: Origin, except: &[Uuid]) -> Result<Option<Claim>> {
    #[derive(FromQueryResult)]
    struct Due {
        organization_id: Uuid,
        id: Uuid,
    }
    let (time, backend) = (app.database_time(), app.store.backend());
    let mut values = vec![origin.to_value().into(), list::ids(except)];
    let now = time.now(&mut values);
    let next = format!(
        "SELECT organization_id, id FROM failure WHERE next_attempt_at <= {now} AND finished_at IS NULL \
         AND origin = $1 AND (until IS NULL OR until <= {now}) AND NOT connection_id {} ORDER BY next_attempt_at LIMIT 1",
        list::among(backend, 2)
    );
    let next = Statement::from_sql_and_values(backend, next, values);
    let Some(Due { organization_id, id }) = Due::find_by_statement(next).one(&app.store.write).await? else {
        return Ok(None);
    };
    let (holder, request_id) = (Uuid::now_v7(), Uuid::now_v7());
    let mut values = vec![organization_id.into(), id.into(), holder.into(), request_id.into()];
    let (now, until) = (time.now(&mut values), time.after(LEASE, &mut values));
    let take = format!(
        "UPDATE failure SET holder = $3, until = {until}, state = 'RETRYING', \
         retry_request_id = coalesce(retry_request_id, $4) WHERE organization_id = $1 AND id = $2 \
         AND finished_at IS NULL AND next_attempt_at <= {now} AND (until IS NULL OR until <= {now})"
    );
    let taken = app.store.write.execute_raw(Statement::from_sql_and_values(backend, take, values)).await?;
    let lease = Lease::new(&FAILURES, organization_id, id, holder);
    let cx = Cx::system(app.clone(), organization_id).fenced(lease.clone());
    let found = cx.find::<failure::Entity>().filter(failure::Column::Id.eq(id)).one(&app.store.write).await?;
    let Some(failure) = found.filter(|failure| failure.holder == Some(holder) && taken.rows_affected() > 0) else {
        // Another replica was quicker: there may be more.
        return Box::pin(claim(app, origin, except)).await;
    };
    let given = failure.retry_request_id.unwrap_or(request_id);
    let organization = organization::current(&cx).await?;
    Ok(Some(Claim { taken_over: given != request_id, request_id: given, failure, organization, cx, lease }))
}

/// Why an attempt is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was done already, or is so by now.
    Done(Resolution),
    /// Nothing can be sent for this connection now; its next attempt may.
    NotNow,
    /// There is nothing to send.
    Nothing,
}

/// What an attempt is to send, and as whom.
#[derive(Debug)]
pub struct Attempt {
    pub cx: Cx,
    pub payload: Payload,
}

/// What an attempt is to read again.
#[derive(Debug)]
pub struct Reading {
    /// The connection itself, writing what it owns.
    pub cx: Cx,
    /// The endpoint, and the id at the source; none = everything.
    pub one: Option<(String, String)>,
    /// Whether an attempt that died has begun the run that reads everything.
    pub begun: bool,
}

impl Claim {
    /// What to read again, unless that is not needed or not possible.
    pub async fn reading(&self) -> Result<Result<Reading, End>> {
        let payload = self.payload()?;
        let one = payload.and_then(|it| it.path.split_once('/').map(|(endpoint, id)| (endpoint.into(), id.into())));
        let done = self.taken_over && self.was_done().await?;
        if done && one.is_some() {
            return Ok(Err(End::Done(Resolution::Retried)));
        }
        let connection = self.connection().await?;
        if connection.status != ConnectionStatus::Active {
            return Ok(Err(End::NotNow));
        }
        let actor = Actor::Connection { id: connection.id, name: connection.name, scopes: Scope::ALL.into() };
        let cx = self.attempt_cx(actor);
        Ok(Ok(Reading { cx, one, begun: done }))
    }

    /// The attempt's own request as `actor`, whose writes hold only while this attempt holds the failure.
    fn attempt_cx(&self, actor: Actor) -> Cx {
        let (app, organization) = (self.cx.app.clone(), self.failure.organization_id);
        Cx::new(app, actor, organization, self.request_id).fenced(self.lease.clone())
    }

    async fn connection(&self) -> Result<connection::Model> {
        let query = self.cx.find::<connection::Entity>().filter(connection::Column::Id.eq(self.failure.connection_id));
        let query = query.filter(connection::Column::DeletedAt.is_null());
        query.one(self.cx.db()).await?.ok_or_else(|| Error::not_found("the connection"))
    }

    /// What to send, unless that is not needed or not possible.
    pub async fn attempt(&self) -> Result<Result<Attempt, End>> {
        if self.taken_over && self.was_done().await? {
            return Ok(Err(End::Done(Resolution::Retried)));
        }
        let Some(payload) = self.payload()? else { return Ok(Err(End::Nothing)) };
        let connection = self.connection().await?;
        let open = Availability::of(&self.cx.app, self.organization.integration_mode).check().is_ok();
        if !open || !self.organization.scim_enabled || connection.status != ConnectionStatus::Active {
            return Ok(Err(End::NotNow));
        }
        if self.is_so(&payload).await? {
            return Ok(Err(End::Done(Resolution::Superseded)));
        }
        let scopes = self.scopes().await?;
        let actor = Actor::Connection { id: connection.id, name: connection.name, scopes };
        let mut cx = self.attempt_cx(actor);
        cx.schema_version = Some(self.organization.schema_version);
        Ok(Ok(Attempt { cx, payload }))
    }

    fn payload(&self) -> Result<Option<Payload>> {
        let Some(sealed) = &self.failure.payload else { return Ok(None) };
        let Failure { organization_id, id, .. } = self.failure;
        let text = self.cx.app.vault.unseal(organization_id, &self.organization.data_key, id, sealed)?;
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Whether an attempt that died has been done: the ledger names its request.
    async fn was_done(&self) -> Result<bool> {
        let events = self.cx.find::<event::Entity>().filter(event::Column::RequestId.eq(self.request_id));
        let events = events.filter(event::Column::SubjectKind.ne("failure"));
        Ok(events.count(&self.cx.app.store.write).await? > 0)
    }

    /// What the connection's live tokens may do together: a retry reaches no farther than the identity provider.
    async fn scopes(&self) -> Result<Scopes> {
        let query = self.cx.find::<scim_token::Entity>();
        let tokens =
            query.filter(scim_token::Column::ConnectionId.eq(self.failure.connection_id)).all(self.cx.db()).await?;
        let now = self.cx.app.clock.now();
        Ok(tokens.iter().filter(|it| token::is_live(it, now)).flat_map(|it| token::scopes(&it.scopes)).collect())
    }

    /// Whether what was to be created is there by now and is the connection's.
    async fn is_so(&self, payload: &Payload) -> Result<bool> {
        let body = payload.body.as_deref().and_then(|body| serde_json::from_str::<Map<String, Value>>(body).ok());
        let ("POST", Some(body)) = (payload.method.as_str(), body) else { return Ok(false) };
        let member = |name: &str| {
            let found =
                body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str());
            found.filter(|text| !text.is_empty())
        };
        let (owner, db) = (self.failure.connection_id, self.cx.db());
        let external = member("externalId");
        let n = match (self.failure.resource.as_deref(), member("userName"), external) {
            (Some("Users"), Some(name), _) => {
                let query = self.cx.find::<user::Entity>().filter(user::Column::UserNameKey.eq(document::fold(name)));
                let query = query.filter(found_by_user_name(self.cx.backend()));
                // One that was turned off comes back by the same request.
                let query = query.filter(user::Column::DeletedAt.is_null()).filter(user::Column::Active.eq(true));
                query.filter(user::Column::ConnectionId.eq(owner)).count(db).await?
            }
            (Some("Groups"), _, Some(external)) => {
                let query = self.cx.find::<group::Entity>().filter(group::Column::ExternalId.eq(external));
                let query = query.filter(group::Column::DeletedAt.is_null());
                query.filter(group::Column::ConnectionId.eq(owner)).count(db).await?
            }
            _ => 0,
        };
        Ok(n > 0)
    }

    /// The attempt succeeded, or was not needed.
    pub async fn done(&self, resolution: Resolution) -> Result<()> {
        match finish(&self.cx, self.failure.id, State::Resolved, resolution, None).await {
            Err(Error::NotFound(_)) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// The attempt was refused in turn, for this reason, or could not be made (none). Another one follows on the
    /// published schedule where the cause is one that passes.
    pub async fn failed(&self, refusal: Option<(&str, Option<&str>, Option<&str>)>) -> Result<()> {
        self.open_again(refusal, EventKind::FailureRetryFailed).await
    }

    /// A run has begun that reads everything again: its end tells what became of it.
    pub async fn begun(&self) -> Result<()> {
        self.open_again(None, EventKind::FailureRetryBegun).await
    }

    async fn open_again(&self, refusal: Option<(&str, Option<&str>, Option<&str>)>, kind: EventKind) -> Result<()> {
        let refusal = &refusal;
        let again = self.cx.write(move |tx| {
            Box::pin(async move {
                let before = match live(tx, self.failure.id).await {
                    Err(Error::Held { .. } | Error::NotFound(_)) => return Ok(Change::nothing(true)),
                    before => before?,
                };
                if before.holder != Some(self.lease.holder()) {
                    return Ok(Change::nothing(true));
                }
                let now = tx.now_after(Some(before.last_at));
                let mut after = before.clone();
                if let Some((reason, scim_type, field)) = refusal {
                    after.cause = cause::of(reason);
                    after.reason = (*reason).into();
                    after.scim_type = scim_type.map(Into::into);
                    after.field = field.map(Into::into);
                    after.fingerprint = self.print(&after);
                    (after.count, after.last_at, after.last_request_id) = (after.count + 1, now, Some(self.request_id));
                }
                if after.fingerprint != before.fingerprint {
                    let rival = tx.find::<failure::Entity>().filter(failure::Column::FinishedAt.is_null());
                    let rival = rival.filter(failure::Column::Fingerprint.eq(after.fingerprint.clone()));
                    if rival.count(&tx.db).await? > 0 {
                        return Ok(Change::nothing(false));
                    }
                }
                after.attempts += 1;
                after.next_attempt_at = next(after.cause, after.attempts, now);
                after.state = State::Open;
                (after.holder, after.until, after.retry_request_id) = (None, None, None);
                super::super::save::<failure::Entity, failure::ActiveModel>(tx, after.clone()).await?;
                let told = serde_json::json!({
                    "cause": after.cause.to_value(), "reason": after.reason, "attempts": after.attempts,
                    "nextAttemptAt": after.next_attempt_at, "requestId": self.request_id,
                });
                let entry = super::entry(kind, &after, now, None, Some(told));
                Ok(Change::made(true, entry))
            })
        });
        match again.await? {
            true => Ok(()),
            // The same write fails for the same reason in another piece of work already.
            false => self.done(Resolution::Superseded).await,
        }
    }

    fn print(&self, failure: &Failure) -> Vec<u8> {
        let thing = failure.thing.as_deref().map(hex);
        let cause = failure.cause.to_value();
        fingerprint(
            failure.connection_id,
            &failure.operation,
            thing.as_deref(),
            &failure.scope,
            &cause,
            failure.field.as_deref(),
        )
    }

    /// Lets another attempt follow at once, since this one was not made.
    pub async fn release(&self) -> Result<()> {
        let mut values = Vec::new();
        let now = self.cx.app.database_time().now(&mut values);
        self.lease.update(&self.cx.app.store.write, &format!("until = {now}"), values).await?;
        Ok(())
    }

    /// There is nothing to send: it waits for somebody.
    pub async fn give_up(&self) -> Result<()> {
        let set = "state = 'OPEN', next_attempt_at = NULL, retry_request_id = NULL, holder = NULL, until = NULL";
        self.lease.update(&self.cx.app.store.write, set, Vec::new()).await?;
        Ok(())
    }
}

/// When the attempt after so many failed ones is made by itself.
fn next(cause: Cause, attempts: i32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let wait = SCHEDULE.get(usize::try_from(attempts).unwrap_or(usize::MAX))?;
    cause::passes(cause).then(|| now + *wait)
}
