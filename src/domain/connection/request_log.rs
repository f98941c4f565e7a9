//! The request log: what the identity provider wanted, what was done, and what to do next. One row
//! stands for all requests of a kind in an hour, so that a full synchronization is a few rows and a
//! failure that repeats is one.
//!
//! It is written from [`crate::buffers::request_counts`], which never holds any content of a
//! request. The log is no change of the domain, so it has no event in the ledger.

use std::collections::BTreeSet;
use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use entity::{connection, organization, request_log};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Select,
};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::buffers::request_counts;
use crate::buffers::request_counts::{
    DrainedCounts, FailedSignIn, RequestCount, RequestKind, RequestRefusal, SignInTenant,
};
use crate::context::{App, Cx};
use crate::crypto::vault;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{RefusalReason, Result};

pub use request_log::{Model as Entry, Outcome};

/// How long a row is kept.
pub const RETENTION: Duration = Duration::days(30);
/// Rows written by one statement.
const BATCH_SIZE: usize = 200;
/// The meaning of a failed sign-in in the log.
const AUTHENTICATE_MEANING: &str = "authenticate";
/// Rows of failed sign-ins that are added up.
const MAX_SIGN_IN_ROWS: u64 = 10_000;
/// Names of organizations read by one statement.
const TENANT_BATCH_SIZE: u64 = 10_000;

/// The rows that are wanted: those that match all conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RequestLogQuery {
    /// Rows of this connection, and failed sign-ins without a known connection; none = all.
    pub connection: Option<Uuid>,
    /// Only requests that did not succeed.
    pub troubles: bool,
    /// Only requests with this outcome.
    pub outcome: Option<Outcome>,
    /// Whose last request was at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Whose first request was before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// A page of the log, in the order of the first request of each kind in its hour.
pub async fn list_request_log(
    cx: &Cx,
    which: RequestLogQuery,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<Entry>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_page(cx, select_log_rows(cx, which), request_log::Column::Id, keyset).await
}

/// A page of the log, each row with its place in the order `by`.
pub async fn list_request_log_ordered(
    cx: &Cx,
    which: RequestLogQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Entry, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    let id = request_log::Column::Id;
    paging::fetch_ordered(cx, select_log_rows(cx, which), id, by, keyset).await
}

/// How many rows there are.
pub async fn count_request_log(cx: &Cx, which: RequestLogQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_log_rows(cx, which).count(cx.db()).await?)
}

/// How many sign-ins without a known connection failed since `since`, and when the first of them
/// was.
pub(in crate::domain) async fn count_failed_sign_ins(
    cx: &Cx,
    since: DateTime<Utc>,
) -> Result<(i64, Option<DateTime<Utc>>)> {
    let query =
        cx.find::<request_log::Entity>().filter(request_log::Column::ConnectionId.is_null());
    let query = query.filter(request_log::Column::Meaning.eq(AUTHENTICATE_MEANING));
    let query =
        query.filter(request_log::Column::Hour.gte(request_counts::hour_of(since))).select_only();
    let query = query.column(request_log::Column::Count).column(request_log::Column::FirstAt);
    let rows: Vec<(i64, DateTime<Utc>)> =
        query.limit(MAX_SIGN_IN_ROWS).into_tuple().all(cx.db()).await?;
    Ok((rows.iter().map(|(n, _)| n).sum(), rows.iter().map(|(_, at)| *at).min()))
}

fn select_log_rows(cx: &Cx, which: RequestLogQuery) -> Select<request_log::Entity> {
    let mut query = cx.find::<request_log::Entity>();
    if let Some(id) = which.connection {
        let column = request_log::Column::ConnectionId;
        let known =
            cx.find::<connection::Entity>().filter(connection::Column::Id.eq(id)).into_query();
        query = query.filter(column.eq(id).or(column.is_null().and(Expr::exists(known))));
    }
    if which.troubles {
        let troubles = [Outcome::NotFound, Outcome::Refused, Outcome::Failed];
        query = query.filter(request_log::Column::Outcome.is_in(troubles));
    }
    if let Some(outcome) = which.outcome {
        query = query.filter(request_log::Column::Outcome.eq(outcome));
    }
    if let Some(since) = which.since {
        query = query.filter(request_log::Column::LastAt.gte(since));
    }
    if let Some(until) = which.until {
        query = query.filter(request_log::Column::FirstAt.lt(until));
    }
    query
}

/// Counts a failed sign-in over `interface`. Its organization is the one of the credential, if that
/// is known, and otherwise the one that the request named.
pub fn note_failed_sign_in(
    app: &App,
    organization: Option<Uuid>,
    named: &str,
    reason: RefusalReason,
    interface: &'static str,
    source: Option<IpAddr>,
) {
    let now = app.clock.now();
    let tenant =
        organization.map_or_else(|| SignInTenant::Named(named.to_owned()), SignInTenant::Known);
    let stranger = FailedSignIn {
        tenant,
        interface: Some(interface),
        source,
        reason,
        hour: request_counts::hour_of(now),
    };
    app.requests.note_stranger(stranger, RequestCount::single(now, None, None));
}

/// Writes what was counted since the last flush. Several replicas add to the same rows.
pub async fn flush_request_counts(app: &App) -> Result<()> {
    learn_tenants(app).await?;
    let write = async |taken: &mut DrainedCounts| write_request_counts(app, taken).await;
    app.requests.buffer.flush(app.clock.now(), write).await
}

/// Learns the names of the organizations that were created since the last time, so that failed
/// sign-ins to each of them are counted for that organization.
async fn learn_tenants(app: &App) -> Result<()> {
    loop {
        #[allow(
            clippy::disallowed_methods,
            reason = "organizations are what everything else is scoped by"
        )]
        let query = organization::Entity::find()
            .filter(organization::Column::Id.gt(app.requests.last_tenant()));
        let query =
            query.order_by_asc(organization::Column::Id).limit(TENANT_BATCH_SIZE).select_only();
        let query = query.column(organization::Column::Slug).column(organization::Column::Id);
        let found: Vec<(String, Uuid)> = query.into_tuple().all(&app.store.read).await?;
        let last = (found.len() as u64) < TENANT_BATCH_SIZE;
        app.requests.learn_tenants(found);
        if last {
            return Ok(());
        }
    }
}

/// A row to be written, or to be added to the one that is there.
struct CountedRequests {
    fingerprint: Vec<u8>,
    id: Uuid,
    kind: RequestKind,
    count: RequestCount,
}

/// Writes the counts, and removes from `taken` what is written.
async fn write_request_counts(app: &App, taken: &mut DrainedCounts) -> Result<()> {
    let lost = std::mem::take(&mut taken.lost);
    if lost > 0 {
        tracing::warn!(
            lost,
            "failed sign-ins to unknown organizations were not recorded: too many different names"
        );
    }
    identify_strangers(app, taken).await?;
    // Ids are given in the order of the first requests, because the log is listed by id.
    taken.kinds.sort_by_key(|(_, count)| count.first);
    let row = |(kind, count)| CountedRequests {
        fingerprint: kind_fingerprint(&kind),
        id: Uuid::now_v7(),
        kind,
        count,
    };
    let mut rows: Vec<CountedRequests> = taken.kinds.drain(..).map(row).collect();
    // All replicas write rows in the same order, so they do not deadlock.
    rows.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    let mut written = Ok(());
    while !rows.is_empty() && written.is_ok() {
        let batch = &rows[..rows.len().min(BATCH_SIZE)];
        written = upsert_rows(app, batch).await;
        if written.is_ok() {
            rows.drain(..batch.len());
        }
    }
    taken.kinds.extend(rows.into_iter().map(|row| (row.kind, row.count)));
    written
}

/// Turns failed sign-ins to an organization into rows of its log. Failed sign-ins to organizations
/// that do not exist are dropped.
async fn identify_strangers(app: &App, taken: &mut DrainedCounts) -> Result<()> {
    if taken.strangers.is_empty() {
        return Ok(());
    }
    let slugs: BTreeSet<&str> = taken
        .strangers
        .iter()
        .filter_map(|(stranger, _)| match &stranger.tenant {
            SignInTenant::Named(slug) if app.requests.known_tenant(slug).is_none() => {
                Some(slug.as_str())
            }
            _ => None,
        })
        .collect();
    if !slugs.is_empty() {
        #[allow(
            clippy::disallowed_methods,
            reason = "organizations are what everything else is scoped by"
        )]
        let query = organization::Entity::find().filter(organization::Column::Slug.is_in(slugs));
        let found = query.all(&app.store.read).await?;
        app.requests.learn_tenants(found.into_iter().map(|row| (row.slug, row.id)));
    }
    for (stranger, count) in taken.strangers.drain(..) {
        let organization = match &stranger.tenant {
            SignInTenant::Known(id) => Some(*id),
            SignInTenant::Named(slug) => app.requests.known_tenant(slug),
        };
        let Some(organization) = organization else { continue };
        let kind = RequestKind {
            organization,
            connection: None,
            hour: stranger.hour,
            method: None,
            resource: stranger.interface,
            meaning: AUTHENTICATE_MEANING,
            outcome: Outcome::Refused,
            status: Some(401),
            refusal: Some(RequestRefusal { reason: stranger.reason, scim_type: None, field: None }),
            quirks: Vec::new(),
            source: stranger.source,
        };
        taken.kinds.push((kind, count));
    }
    Ok(())
}

/// A key of fixed length for a kind of requests, equal on all replicas.
fn kind_fingerprint(kind: &RequestKind) -> Vec<u8> {
    let refusal =
        kind.refusal.as_ref().map(|refusal| (refusal.reason, refusal.scim_type, &refusal.field));
    let outcome = kind.outcome.to_value();
    let all = json!([
        kind.connection,
        kind.hour,
        kind.method,
        kind.resource,
        kind.meaning,
        outcome,
        kind.status,
        refusal,
        kind.quirks,
        kind.source,
    ]);
    vault::hash_secret(&all.to_string())
}

async fn upsert_rows(app: &App, rows: &[CountedRequests]) -> Result<()> {
    let model = |CountedRequests { fingerprint, id, kind, count }: &CountedRequests| {
        let refusal = kind.refusal.as_ref();
        request_log::ActiveModel {
            organization_id: Set(kind.organization),
            id: Set(*id),
            connection_id: Set(kind.connection),
            fingerprint: Set(fingerprint.clone()),
            hour: Set(kind.hour),
            method: Set(kind.method.map(Into::into)),
            resource: Set(kind.resource.map(Into::into)),
            meaning: Set(kind.meaning.into()),
            outcome: Set(kind.outcome),
            status: Set(kind.status.map(Into::into)),
            scim_type: Set(refusal.and_then(|refusal| refusal.scim_type).map(Into::into)),
            reason: Set(refusal.map(|refusal| refusal.reason.into())),
            field: Set(refusal.and_then(|refusal| refusal.field.as_deref()).map(Into::into)),
            quirks: Set(json!(kind.quirks)),
            source: Set(kind.source.map(|source| source.to_string())),
            count: Set(i64::try_from(count.n).unwrap_or(i64::MAX)),
            first_at: Set(count.first),
            last_at: Set(count.last),
            last_request_id: Set(count.request),
            last_target_id: Set(count.target),
        }
    };
    use request_log::Column;
    let newer = |column: &str| {
        Expr::cust(format!(
            "CASE WHEN excluded.last_at >= request_log.last_at THEN coalesce(excluded.{column}, \
             request_log.{column}) \
             ELSE request_log.{column} END"
        ))
    };
    let first = "CASE WHEN excluded.first_at < request_log.first_at THEN excluded.first_at ELSE \
                 request_log.first_at END";
    let known = OnConflict::columns([Column::OrganizationId, Column::Fingerprint])
        .value(Column::Count, Expr::cust("request_log.count + excluded.count"))
        .value(Column::FirstAt, Expr::cust(first))
        .value(Column::LastRequestId, newer("last_request_id"))
        .value(Column::LastTargetId, newer("last_target_id"))
        .value(Column::LastAt, newer("last_at"))
        .to_owned();
    request_log::Entity::insert_many(rows.iter().map(model))
        .on_conflict(known)
        .exec_without_returning(&app.store.write)
        .await?;
    for CountedRequests { kind, count, .. } in rows {
        let labels = [
            ("resource", kind.resource.unwrap_or("various").to_owned()),
            ("outcome", kind.outcome.to_value()),
        ];
        metrics::counter!("rolecall_scim_operations_total", &labels).increment(count.n);
    }
    Ok(())
}

/// Deletes rows that are older than [`RETENTION`].
pub async fn delete_old_rows(app: &App) -> Result<()> {
    let oldest = app.clock.now() - RETENTION;
    request_log::Entity::delete_many()
        .filter(request_log::Column::Hour.lt(oldest))
        .exec(&app.store.write)
        .await?;
    Ok(())
}

/// What an administrator can do about a row; none if nothing has to be done.
pub fn next_step(entry: &Entry) -> Option<String> {
    let reason = entry.reason.as_deref()?;
    if let Some(remedy) = remedy_for_discovery(entry.resource.as_deref(), reason) {
        return Some(remedy.into());
    }
    Some(remedy_for_refusal(
        reason,
        entry.scim_type.as_deref(),
        entry.field.as_deref(),
        IDENTITY_PROVIDER,
    ))
}

/// What to do about a refused request for schemas or resource types; none for every other request.
fn remedy_for_discovery(resource: Option<&str>, reason: &str) -> Option<&'static str> {
    let discovers =
        ["ServiceProviderConfig", "ResourceTypes", "Schemas"].contains(&resource.unwrap_or(""));
    match RefusalReason::parse(reason).filter(|_| discovers)? {
        RefusalReason::NotFound => Some(
            "Nothing, unless the identity provider stops: it asks for a schema or a resource type \
             that is not here. A schema is added with schemaExtensionRegister.",
        ),
        RefusalReason::Forbidden => Some(
            "Nothing, unless the identity provider stops: it filters what this server says about \
             itself, which SCIM forbids.",
        ),
        _ => None,
    }
}

/// The parameters of lists. A mistake in one of them is none of a mapping.
const LIST_PARAMETERS: [&str; 7] =
    ["query", "sortBy", "sortOrder", "startIndex", "count", "attributes", "excludedAttributes"];

/// The word for the other side of a connection over which an identity provider writes.
pub const IDENTITY_PROVIDER: &str = "identity provider";
/// The word for the other side of a connection that reads a source.
pub const IDENTITY_SOURCE: &str = "identity source";

/// What an administrator can do about a refusal, by its codes. `sender` is the word for the other
/// side of the connection.
pub fn remedy_for_refusal(
    reason: &str,
    scim_type: Option<&str>,
    field: Option<&str>,
    sender: &str,
) -> String {
    let of_field = |named: &str, unnamed: &str| match field {
        Some(field) => named.replace("{}", field),
        None => unnamed.to_owned(),
    };
    let invalid = || match scim_type {
        Some("invalidValue") if field.is_some_and(|field| LIST_PARAMETERS.contains(&field)) => {
            of_field(
                "The {sender} asks for a list with a {} that is not understood. Report it to its \
                 vendor, with the request id.",
                "",
            )
        }
        Some("invalidValue") if field == Some("members") => {
            "The {sender} names a member that is not here: let it send the users first, then the \
             group again."
                .into()
        }
        Some("mutability") if matches!(field, Some("userName" | "displayName")) => of_field(
            "Let the {sender} send a {} for every user and group: it cannot be removed.",
            "",
        ),
        Some("invalidValue") => of_field(
            "Look at what the {sender} maps to {}: its value is missing or of a kind that cannot \
             be stored.",
            "Look at the attribute mapping in the {sender}: a value is missing or of the wrong \
             kind.",
        ),
        Some("invalidPath") => of_field(
            "Look at what the {sender} maps to {}: the way it is addressed is not understood.",
            "The {sender} maps to an attribute that no schema here has: take the mapping away, or \
             register a \
             schema extension with that attribute.",
        ),
        Some("invalidFilter") => {
            "Look at the matching attribute in the {sender}: searching by it is not \
                                  understood or not possible. userName and externalId always are."
                .into()
        }
        Some("mutability") => of_field(
            "Take {} out of the {sender}'s attribute mapping: it cannot be changed from there.",
            "Take the read-only attribute out of the {sender}'s attribute mapping.",
        ),
        Some("noTarget") => {
            "The {sender} changes a value that is not there: let it send this user or group \
             anew."
                .into()
        }
        Some("tooMany") => of_field(
            "Let the {sender} send less at once, or less in {}: it is over this server's limit.",
            "Let the {sender} send less at once: the request is over this server's limit.",
        ),
        Some("invalidCursor" | "invalidCount") => "Let the {sender} begin its listing \
            again."
            .into(),
        _ => "The {sender} sends a message that is not SCIM 2.0. Report it to its vendor, with \
              the request id."
            .into(),
    };
    let template: String = match RefusalReason::parse(reason) {
        Some(RefusalReason::TokenMissing) => "Enter the connection's token in the {sender}: it \
            sends none."
            .into(),
        Some(RefusalReason::TokenUnknown) => {
            "Enter the connection's token in the {sender}: the one it sends was never issued \
                            here. If no administrator is setting up a connection, an attacker may \
                            be guessing."
                .into()
        }
        Some(RefusalReason::TokenDead) => {
            "Enter the connection's current token in the {sender}: the one it sends has expired, \
                         was rotated or was revoked."
                .into()
        }
        Some(RefusalReason::CredentialMissing) => {
            "Send an API key or a person's token with every request: this one had none.".into()
        }
        Some(RefusalReason::CredentialUnknown) => {
            "Use an API key of this organization, or a token of an issuer that this server trusts. \
             If \
                                 no administrator is setting up a client, an attacker may be \
                                 guessing."
                .into()
        }
        Some(RefusalReason::CredentialDead) => {
            "Issue another API key to the client that uses this one: it has expired, was revoked, \
             or its \
                              owner's account is not active."
                .into()
        }
        Some(RefusalReason::CredentialKind) => {
            "Use a credential of the right kind: SCIM tokens (rcs_) are for SCIM, API keys (rck_) \
                              for the management API."
                .into()
        }
        Some(RefusalReason::WrongTenant) => {
            "Copy the base URL from the connection into the {sender}: the one it uses belongs to \
                           no organization, or to another one than the token."
                .into()
        }
        Some(RefusalReason::NoEndpoint | RefusalReason::MethodNotAllowed) => {
            "Check the base URL in the {sender}: it asks for an address \
                                                 that does not exist here or does not take this \
                                                 method."
                .into()
        }
        Some(RefusalReason::NotFound) => {
            "The {sender} refers to a user or group that is not here (any more) or is not this \
                        connection's: let it match or create it anew."
                .into()
        }
        Some(RefusalReason::Taken) => of_field(
            "Another user or group has the same {}: find out which of the two is right, and \
             change or remove the other.",
            "Another user or group has the same value: find out which of the two is right, and \
             change the other.",
        ),
        Some(RefusalReason::Stale) => {
            "Usually nothing: two changes came at once, and the {sender} sends the later one \
             again."
                .into()
        }
        Some(RefusalReason::Invalid) => invalid(),
        Some(RefusalReason::TooLong) => of_field(
            "Look at what the {sender} maps to {}: its value is longer than this server can store.",
            "Look at the attribute mapping in the {sender}: a value is longer than this server \
             can store.",
        ),
        Some(RefusalReason::Forbidden) => {
            "Issue a token with the scope that this needs, if the {sender} is meant to do \
             it."
            .into()
        }
        Some(RefusalReason::Unsupported) => {
            "Turn off what the {sender} asks for: this server does not offer it.".into()
        }
        Some(RefusalReason::ConnectionInactive) => {
            "Activate the connection, if the {sender} is meant to write to it.".into()
        }
        Some(RefusalReason::OrganizationDisabled) => {
            "Turn provisioning on again in the organization's settings, if it is meant to \
             run."
                .into()
        }
        Some(RefusalReason::OrganizationSuspended) => {
            "Ask the operator of this server why the organization is suspended.".into()
        }
        Some(RefusalReason::PlatformDisabled) => "Ask the operator of this server to enable \
            SCIM."
            .into(),
        Some(RefusalReason::ProvisioningNotReleased) => {
            "Ask the operator of this server when provisioning is released to the organization."
                .into()
        }
        Some(RefusalReason::EntraNativeIntegration | RefusalReason::SignInIntegration) => {
            "Switch the organization's integration mode to SCIM, or stop provisioning in the \
                                       {sender}."
                .into()
        }
        Some(RefusalReason::LastHolder) => {
            "Give the management role to another user first: an {sender} cannot remove the \
                          last user who has it."
                .into()
        }
        Some(RefusalReason::ProtectedAccount) => {
            "Take the account out of what the {sender} manages: it is a break-glass \
                                account, which only an administrator changes."
                .into()
        }
        Some(RefusalReason::Busy | RefusalReason::RateLimited) => {
            "Usually nothing: the {sender} tries again. If it goes on, let it send \
                                    more slowly."
                .into()
        }
        Some(RefusalReason::TooLarge) => "Let the {sender} send smaller requests: this one is \
            over the limit."
            .into(),
        Some(RefusalReason::NotAcceptable | RefusalReason::MediaType) => {
            "Set the {sender} to send and accept application/scim+json.".into()
        }
        Some(RefusalReason::Internal) => {
            "Tell the operator of this server, with the request id: something went wrong \
             here."
                .into()
        }
        Some(
            RefusalReason::AssertionIssuer
            | RefusalReason::AssertionAudience
            | RefusalReason::AssertionAlgorithm,
        ) => {
            "Compare the issuer, the audiences and the algorithms of the connection with what the \
              application hands over at sign-ins."
                .into()
        }
        Some(RefusalReason::AssertionKey | RefusalReason::AssertionSignature) => {
            "Test the connection (assertionSourceTest). If its keys can be read, an attacker \
             may hand over sign-ins that the identity provider did not sign."
                .into()
        }
        Some(RefusalReason::AssertionClaim) => {
            "Compare the names of the claims at the connection with what the identity provider \
             sends."
                .into()
        }
        _ => "Look at the answer in the {sender}'s own log: it says what was wrong.".into(),
    };
    template.replace("{sender}", sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reason: Option<&str>, scim_type: Option<&str>, field: Option<&str>) -> Entry {
        Entry {
            organization_id: Uuid::nil(),
            id: Uuid::nil(),
            connection_id: None,
            fingerprint: Vec::new(),
            hour: chrono::DateTime::UNIX_EPOCH,
            method: None,
            resource: None,
            meaning: "update user".into(),
            outcome: Outcome::Refused,
            status: Some(400),
            scim_type: scim_type.map(Into::into),
            reason: reason.map(Into::into),
            field: field.map(Into::into),
            quirks: json!([]),
            source: None,
            count: 1,
            first_at: chrono::DateTime::UNIX_EPOCH,
            last_at: chrono::DateTime::UNIX_EPOCH,
            last_request_id: None,
            last_target_id: None,
        }
    }

    #[test]
    fn every_refusal_has_a_next_step_and_what_went_well_has_none() {
        assert_eq!(next_step(&entry(None, None, None)), None);
        let unknown = next_step(&entry(Some("SOMETHING_NEW"), None, None)).unwrap();
        let types = [
            "invalidValue",
            "invalidSyntax",
            "invalidPath",
            "noTarget",
            "mutability",
            "invalidFilter",
            "tooMany",
        ];
        let steps: Vec<String> = types
            .iter()
            .map(|ty| next_step(&entry(Some("INVALID"), Some(ty), None)).unwrap())
            .collect();
        for (at, step) in steps.iter().enumerate() {
            assert!(*step != unknown && !steps[..at].contains(step), "{step}");
        }
        for ty in ["invalidValue", "invalidPath", "mutability", "tooMany"] {
            let step =
                next_step(&entry(Some("INVALID"), Some(ty), Some("name.givenName"))).unwrap();
            assert!(step.contains(" name.givenName") && !step.contains("{}"), "{step}");
        }
    }
}
