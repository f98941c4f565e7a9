//! The request log: what the identity provider meant, what was done, and what to do next. One row stands for all
//! requests of a kind in an hour, so that a full synchronization is a few rows and a failure that repeats is one.
//!
//! It is written from [`crate::requests`], where nothing of a request's content can get in. No change of the
//! domain's: it leaves no row in the ledger.

use std::collections::BTreeSet;
use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use entity::{connection, organization, request_log};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, Select,
};
use serde_json::json;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use crate::authz::Action;
use crate::context::{App, Cx};
use crate::error::Result;
use crate::requests::{self, Count, Kind, Refusal, Stranger, Taken, Tenant};
use crate::vault;

pub use request_log::{Model as Entry, Outcome};

/// How long a row is kept.
pub const RETENTION: Duration = Duration::days(30);
/// Rows written by one statement.
const BATCH: usize = 200;
/// What a failed sign-in is called.
const AUTHENTICATE: &str = "authenticate";
/// Rows of failed sign-ins that are added up.
const SIGN_INS: u64 = 10_000;
/// Names of organizations learnt by one statement.
const TENANTS_AT_ONCE: u64 = 10_000;

/// Which rows are wanted: those that match all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Which {
    /// Those of this connection, and the failed authentications that told no connection; none = all.
    pub connection: Option<Uuid>,
    /// Only what did not succeed.
    pub troubles: bool,
}

/// A page of the log, ordered by when something of that kind came for the first time in its hour.
pub async fn list(cx: &Cx, which: Which, keyset: &Keyset<Uuid>) -> Result<Slice<Entry>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, matching(cx, which), request_log::Column::Id, keyset).await
}

/// How many rows there are.
pub async fn count(cx: &Cx, which: Which) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(matching(cx, which).count(cx.db()).await?)
}

/// How many sign-ins failed since `since` that told no connection, and when the first of them was.
pub(super) async fn failed_sign_ins(cx: &Cx, since: DateTime<Utc>) -> Result<(i64, Option<DateTime<Utc>>)> {
    let query = cx.find::<request_log::Entity>().filter(request_log::Column::ConnectionId.is_null());
    let query = query.filter(request_log::Column::Meaning.eq(AUTHENTICATE));
    let query = query.filter(request_log::Column::Hour.gte(requests::hour(since))).select_only();
    let query = query.column(request_log::Column::Count).column(request_log::Column::FirstAt);
    let rows: Vec<(i64, DateTime<Utc>)> = query.limit(SIGN_INS).into_tuple().all(cx.db()).await?;
    Ok((rows.iter().map(|(n, _)| n).sum(), rows.iter().map(|(_, at)| *at).min()))
}

fn matching(cx: &Cx, which: Which) -> Select<request_log::Entity> {
    let mut query = cx.find::<request_log::Entity>();
    if let Some(id) = which.connection {
        let column = request_log::Column::ConnectionId;
        let known = cx.find::<connection::Entity>().filter(connection::Column::Id.eq(id)).into_query();
        query = query.filter(column.eq(id).or(column.is_null().and(Expr::exists(known))));
    }
    if which.troubles {
        let troubles = [Outcome::NotFound, Outcome::Refused, Outcome::Failed];
        query = query.filter(request_log::Column::Outcome.is_in(troubles));
    }
    query
}

/// Counts a failed sign-in over `interface`. Its organization is the credential's own, if that is known, and otherwise the
/// one that the request named.
pub fn note_failed_sign_in(
    app: &App,
    organization: Option<Uuid>,
    named: &str,
    reason: &'static str,
    interface: &'static str,
    source: Option<IpAddr>,
) {
    let now = app.clock.now();
    let tenant = organization.map_or_else(|| Tenant::Named(named.to_owned()), Tenant::Known);
    let stranger = Stranger { tenant, interface: Some(interface), source, reason, hour: requests::hour(now) };
    app.requests.note_stranger(stranger, Count::once(now, None, None));
}

/// Writes what was counted since the last flush. Several replicas add to the same rows.
pub async fn flush(app: &App) -> Result<()> {
    let _alone = app.requests.flush.lock().await;
    learn_tenants(app).await?;
    let mut taken = app.requests.take(app.clock.now());
    if taken.lost > 0 {
        tracing::warn!(
            lost = taken.lost,
            "failed sign-ins to organizations that do not exist, beyond those told apart"
        );
    }
    let written = write(app, &mut taken).await;
    if written.is_err() {
        app.requests.give_back(taken);
    }
    written
}

/// Learns the names of the organizations that were made since the last time, so that failed sign-ins to them have their
/// own room.
async fn learn_tenants(app: &App) -> Result<()> {
    loop {
        #[allow(clippy::disallowed_methods, reason = "organizations are what everything else is scoped by")]
        let query = organization::Entity::find().filter(organization::Column::Id.gt(app.requests.last_tenant()));
        let query = query.order_by_asc(organization::Column::Id).limit(TENANTS_AT_ONCE).select_only();
        let query = query.column(organization::Column::Slug).column(organization::Column::Id);
        let found: Vec<(String, Uuid)> = query.into_tuple().all(&app.store.read).await?;
        let last = (found.len() as u64) < TENANTS_AT_ONCE;
        app.requests.learn_tenants(found);
        if last {
            return Ok(());
        }
    }
}

/// A row to be written, or to be added to the one that is there.
struct Row {
    fingerprint: Vec<u8>,
    id: Uuid,
    kind: Kind,
    count: Count,
}

/// Takes out of `taken` what is written.
async fn write(app: &App, taken: &mut Taken) -> Result<()> {
    identify(app, taken).await?;
    // Ids are given in the order in which things happened, because the log is listed by them.
    taken.kinds.sort_by_key(|(_, count)| count.first);
    let row = |(kind, count)| Row { fingerprint: fingerprint(&kind), id: Uuid::now_v7(), kind, count };
    let mut rows: Vec<Row> = taken.kinds.drain(..).map(row).collect();
    // All replicas touch rows in the same order, so none waits for another in a circle.
    rows.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    let mut written = Ok(());
    while !rows.is_empty() && written.is_ok() {
        let batch = &rows[..rows.len().min(BATCH)];
        written = add(app, batch).await;
        if written.is_ok() {
            rows.drain(..batch.len());
        }
    }
    taken.kinds.extend(rows.into_iter().map(|row| (row.kind, row.count)));
    written
}

/// Turns strangers who knocked at an organization's door into rows of it; nobody's door is of no interest.
async fn identify(app: &App, taken: &mut Taken) -> Result<()> {
    if taken.strangers.is_empty() {
        return Ok(());
    }
    let slugs: BTreeSet<&str> = taken
        .strangers
        .iter()
        .filter_map(|(stranger, _)| match &stranger.tenant {
            Tenant::Named(slug) if app.requests.tenant(slug).is_none() => Some(slug.as_str()),
            _ => None,
        })
        .collect();
    if !slugs.is_empty() {
        #[allow(clippy::disallowed_methods, reason = "organizations are what everything else is scoped by")]
        let query = organization::Entity::find().filter(organization::Column::Slug.is_in(slugs));
        let found = query.all(&app.store.read).await?;
        app.requests.learn_tenants(found.into_iter().map(|row| (row.slug, row.id)));
    }
    for (stranger, count) in taken.strangers.drain(..) {
        let organization = match &stranger.tenant {
            Tenant::Known(id) => Some(*id),
            Tenant::Named(slug) => app.requests.tenant(slug),
        };
        let Some(organization) = organization else { continue };
        let kind = Kind {
            organization,
            connection: None,
            hour: stranger.hour,
            method: None,
            resource: stranger.interface,
            meaning: AUTHENTICATE,
            outcome: Outcome::Refused,
            status: Some(401),
            refusal: Some(Refusal { reason: stranger.reason, scim_type: None, field: None }),
            quirks: Vec::new(),
            source: stranger.source,
        };
        taken.kinds.push((kind, count));
    }
    Ok(())
}

/// What makes a kind, as a key of fixed length: equal on all replicas.
fn fingerprint(kind: &Kind) -> Vec<u8> {
    let refusal = kind.refusal.as_ref().map(|refusal| (refusal.reason, refusal.scim_type, &refusal.field));
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
    vault::hash(&all.to_string())
}

async fn add(app: &App, rows: &[Row]) -> Result<()> {
    let model = |Row { fingerprint, id, kind, count }: &Row| {
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
            "CASE WHEN excluded.last_at >= request_log.last_at THEN coalesce(excluded.{column}, request_log.{column}) \
             ELSE request_log.{column} END"
        ))
    };
    let first =
        "CASE WHEN excluded.first_at < request_log.first_at THEN excluded.first_at ELSE request_log.first_at END";
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
    for Row { kind, count, .. } in rows {
        let labels =
            [("resource", kind.resource.unwrap_or("various").to_owned()), ("outcome", kind.outcome.to_value())];
        metrics::counter!("rolecall_scim_operations_total", &labels).increment(count.n);
    }
    Ok(())
}

/// Deletes what is older than [`RETENTION`].
pub async fn forget(app: &App) -> Result<()> {
    let oldest = app.clock.now() - RETENTION;
    request_log::Entity::delete_many().filter(request_log::Column::Hour.lt(oldest)).exec(&app.store.write).await?;
    Ok(())
}

/// What an administrator can do about a row; none where nothing has to be done.
pub fn next_step(entry: &Entry) -> Option<String> {
    Some(remedy(entry.reason.as_deref()?, entry.scim_type.as_deref(), entry.field.as_deref()))
}

/// What an administrator can do about a refusal, by its codes.
pub fn remedy(reason: &str, scim_type: Option<&str>, field: Option<&str>) -> String {
    let of_field = |named: &str, unnamed: &str| match field {
        Some(field) => named.replace("{}", field),
        None => unnamed.to_owned(),
    };
    let invalid = || match scim_type {
        Some("invalidValue") => of_field(
            "Look at what the identity provider maps to {}: its value is missing or of a kind that cannot be stored.",
            "Look at the attribute mapping in the identity provider: a value is missing or of the wrong kind.",
        ),
        Some("invalidPath") => of_field(
            "Look at what the identity provider maps to {}: the way it is addressed is not understood.",
            "The identity provider maps to an attribute that no schema here has: take the mapping away, or register a \
             schema extension with that attribute.",
        ),
        Some("invalidFilter") => "Look at the matching attribute in the identity provider: searching by it is not \
                                  understood or not possible. userName and externalId always are."
            .into(),
        Some("mutability") => of_field(
            "Take {} out of the identity provider's attribute mapping: it cannot be changed from there.",
            "Take the read-only attribute out of the identity provider's attribute mapping.",
        ),
        Some("noTarget") => {
            "The identity provider changes a value that is not there: let it send this user or group anew.".into()
        }
        Some("tooMany") => of_field(
            "Let the identity provider send less at once, or less in {}: it is over this server's limit.",
            "Let the identity provider send less at once: the request is over this server's limit.",
        ),
        Some("invalidCursor" | "invalidCount") => "Let the identity provider begin its listing again.".into(),
        _ => {
            "The identity provider sends a message that is not SCIM 2.0. Report it to its vendor, with the request id."
                .into()
        }
    };
    match reason {
        "TOKEN_MISSING" => "Enter the connection's token in the identity provider: it sends none.".into(),
        "TOKEN_UNKNOWN" => "Enter the connection's token in the identity provider: the one it sends was never issued \
                            here. If nobody is setting up a connection, somebody is guessing."
            .into(),
        "TOKEN_DEAD" => "Enter the connection's current token in the identity provider: the one it sends has expired, \
                         was rotated or was revoked."
            .into(),
        "CREDENTIAL_MISSING" => "Send an API key or a person's token with every request: this one had none.".into(),
        "CREDENTIAL_UNKNOWN" => {
            "Use an API key of this organization, or a token of an issuer that this server trusts. If \
                                 nobody here is setting something up, somebody is guessing."
                .into()
        }
        "CREDENTIAL_DEAD" => {
            "Issue another API key to whoever uses this one: it has ended, was revoked, or its owner's \
                              account is out of use."
                .into()
        }
        "CREDENTIAL_KIND" => "Use a credential of the right kind: tokens (rcs_) open SCIM, API keys (rck_) the \
                              management API."
            .into(),
        "WRONG_TENANT" => {
            "Copy the base URL from the connection into the identity provider: the one it uses belongs to \
                           no organization, or to another one than the token."
                .into()
        }
        "NO_ENDPOINT" | "METHOD_NOT_ALLOWED" => "Check the base URL in the identity provider: it asks for an address \
                                                 that does not exist here or does not take this method."
            .into(),
        "NOT_FOUND" => "The identity provider refers to somebody or something that is not here (any more) or is not \
                        this connection's: let it match or create it anew."
            .into(),
        "TAKEN" => of_field(
            "Somebody else here has the same {}: find out which of the two is right, and change or remove the other.",
            "Somebody else here has the same value: find out which of the two is right, and change the other.",
        ),
        "STALE" => "Nothing, usually: two changes met, and the identity provider sends the later one again.".into(),
        "INVALID" => invalid(),
        "TOO_LONG" => of_field(
            "Look at what the identity provider maps to {}: its value is longer than this server keeps.",
            "Look at the attribute mapping in the identity provider: a value is longer than this server keeps.",
        ),
        "FORBIDDEN" => {
            "Issue a token with the scope that this needs, if the identity provider is meant to do it.".into()
        }
        "UNSUPPORTED" => "Turn off what the identity provider asks for: this server does not offer it.".into(),
        "CONNECTION_INACTIVE" => "Activate the connection, if the identity provider is meant to be heard.".into(),
        "ORGANIZATION_DISABLED" => {
            "Turn provisioning on again in the organization's settings, if it is meant to run.".into()
        }
        "PLATFORM_DISABLED" => "Ask the operator of this server to enable SCIM.".into(),
        "ENTRA_NATIVE_INTEGRATION" => {
            "Switch the organization's integration mode to SCIM, or stop provisioning in the \
                                       identity provider."
                .into()
        }
        "LAST_HOLDER" => "Give the management role to somebody else first: the last one who has it cannot be removed \
                          by an identity provider."
            .into(),
        "PROTECTED_ACCOUNT" => "Take the account out of what the identity provider manages: it is a break-glass \
                                account, which only an administrator changes."
            .into(),
        "BUSY" | "RATE_LIMITED" => "Nothing, usually: the identity provider tries again. If it goes on, let it send \
                                    more slowly."
            .into(),
        "TOO_LARGE" => "Let the identity provider send smaller requests: this one is over the limit.".into(),
        "NOT_ACCEPTABLE" | "MEDIA_TYPE" => "Set the identity provider to send and accept application/scim+json.".into(),
        "INTERNAL" => "Tell the operator of this server, with the request id: something went wrong here.".into(),
        _ => "Look at the answer in the identity provider's own log: it says what was wrong.".into(),
    }
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
        let types =
            ["invalidValue", "invalidSyntax", "invalidPath", "noTarget", "mutability", "invalidFilter", "tooMany"];
        let steps: Vec<String> =
            types.iter().map(|ty| next_step(&entry(Some("INVALID"), Some(ty), None)).unwrap()).collect();
        for (at, step) in steps.iter().enumerate() {
            assert!(*step != unknown && !steps[..at].contains(step), "{step}");
        }
        for ty in ["invalidValue", "invalidPath", "mutability", "tooMany"] {
            let step = next_step(&entry(Some("INVALID"), Some(ty), Some("name.givenName"))).unwrap();
            assert!(step.contains(" name.givenName") && !step.contains("{}"), "{step}");
        }
    }
}
