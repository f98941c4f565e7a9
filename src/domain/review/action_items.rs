//! What an administrator should act on now: everything that waits or will soon fail, in one list,
//! the most urgent first. The list is not stored; it is computed from the tables of the work
//! itself.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind, ConnectionStatus};
use entity::{
    adoption_proposal, api_key, failure, finding, membership, role_grant, role_mapping, sync_run,
};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveEnum, ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::access::api_key as api_keys;
use crate::domain::access::invitation;
use crate::domain::audit::revocation;
use crate::domain::connection::assertion_source::certificate_end::{
    CertificateEnd, near_certificate_ends,
};
use crate::domain::connection::health;
use crate::domain::connection::health::HealthReason;
use crate::domain::connection::{request_log, scim_token};
use crate::domain::reconcile;
use crate::domain::review::Cause;
use crate::domain::signal::destination;
use crate::domain::tenant::domain::OrganizationDomain;
use crate::domain::tenant::{domain, organization};
use crate::error::{Error, Result};

/// Connections that are read.
const MAX_CONNECTIONS: u64 = 1_000;
/// The most items of one kind.
const MAX_PER_KIND: u64 = 100;
/// A token or key that ends sooner than this is an item.
const EXPIRY_WARNING: Duration = Duration::days(14);
/// A token or key that ends sooner than this is urgent.
const URGENT_EXPIRY: Duration = Duration::days(3);
/// A certificate that ends sooner than this is more urgent.
const NEAR_CERTIFICATE_END: Duration = Duration::days(7);
/// Access whose planned end is sooner than this is an item.
const ACCESS_END_WARNING: Duration = Duration::days(7);

/// A destination that is more events behind is an item.
const MAX_LAG: i64 = 100_000;
/// What to do about a key that ends.
pub(in crate::domain) const KEYS_END_NEXT_STEP: &str =
    "Issue another (apiKeyIssue) to the client that uses it, and revoke the old one.";

/// How far back failed sign-ins are counted.
const RECENT_WINDOW: Duration = Duration::days(1);
/// At least so many failed sign-ins are an item.
const MIN_FAILED_SIGN_INS: i64 = 100;

/// How urgent an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionUrgency {
    /// Access no longer follows the identity provider.
    Critical,
    /// Access follows the identity provider, but not for all users, or not for much longer.
    Warning,
    /// An administrator should make a decision.
    Notice,
}

/// What an item is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionKind {
    /// A connection is not healthy.
    Connection,
    /// The last token of a connection ends soon.
    TokenEnds,
    /// The last certificate of a connection ends soon, or has ended.
    CertificateEnds,
    /// A run waits to be approved.
    RunWaits,
    /// Failures wait in the review queue.
    Failures,
    /// Accounts or memberships here differ from those of an identity provider.
    Findings,
    /// Adoption proposals wait for a decision.
    Proposals,
    /// API keys end soon.
    KeysEnd,
    /// API keys that last have no owner.
    KeysWithoutOwner,
    /// Mappings and grants come to their planned end soon.
    AccessEnds,
    /// The database of the installation does not take writes.
    Storage,
    /// Many sign-ins failed in the last day.
    SignInsFail,
    /// Memberships stay although their claims are too old, for the last holder of a role.
    ClaimsKept,
    /// Connections do not read their sources, because provisioning is not available in the
    /// organization.
    SourcesHeld,
    /// A destination does not accept what it is sent, or lags far behind.
    Destination,
    /// Deliveries were given up.
    Deliveries,
    /// A destination has not taken that accounts left.
    RevocationNotReceived,
    /// The DNS does not prove a domain any more.
    DomainLost,
    /// Sign-ins would make accounts, but no record proves the domains.
    DomainsUnproven,
    /// Invitations end soon, and were not accepted.
    InvitationsEnd,
    /// Invitations would give more than their makers might.
    InvitationsHeld,
}

/// Something that an administrator should act on.
#[derive(Debug, Clone)]
pub struct ActionItem {
    pub kind: ActionKind,
    pub urgency: ActionUrgency,
    /// What was found, as a sentence for administrators.
    pub text: String,
    /// What to do.
    pub next: String,
    /// How many failures, keys, grants or the like it stands for.
    pub count: u64,
    /// Since when it waits; for things that end, the first end.
    pub at: Option<DateTime<Utc>>,
    pub connection: Option<Uuid>,
    pub run: Option<Uuid>,
    pub destination: Option<Uuid>,
    pub cause: Option<Cause>,
}

impl ActionItem {
    fn new(kind: ActionKind, urgency: ActionUrgency, text: String, next: &str) -> Self {
        Self {
            kind,
            urgency,
            text,
            next: next.into(),
            count: 1,
            at: None,
            connection: None,
            run: None,
            destination: None,
            cause: None,
        }
    }
}

/// Everything that an administrator should act on now, the most urgent first, then what waits
/// longest.
pub async fn list_action_items(cx: &Cx) -> Result<Vec<ActionItem>> {
    cx.allow(Action::ReadIam, None)?;
    let live = live_connections(cx).await?;
    let mut items = connection_items(cx, &live).await?;
    items.extend(storage_item(cx));
    items.extend(token_items(cx, &live).await?);
    items.extend(certificate_items(cx, &live).await?);
    items.extend(run_items(cx).await?);
    items.extend(failure_items(cx, &live).await?);
    items.extend(finding_items(cx, &live).await?);
    items.extend(proposal_items(cx).await?);
    items.extend(expiring_key_items(cx).await?);
    items.extend(ownerless_key_item(cx).await?);
    items.extend(ending_access_items(cx).await?);
    items.extend(failed_sign_ins_item(cx).await?);
    items.extend(kept_claims_item(cx).await?);
    items.extend(held_sources_item(cx, &live).await?);
    items.extend(destination_items(cx).await?);
    items.extend(domain_items(cx, &live).await?);
    items.extend(ending_invitations_item(cx).await?);
    items.extend(held_invitations_item(cx).await?);
    items.extend(unreceived_items(cx, revocation::downstream_objective(cx).await?).await?);
    items.sort_by_key(|item| (item.urgency, item.at.unwrap_or(DateTime::<Utc>::MAX_UTC)));
    Ok(items)
}

/// The connections that items are about.
pub(in crate::domain) async fn live_connections(cx: &Cx) -> Result<Vec<connection::Model>> {
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    Ok(live.order_by_asc(connection::Column::Id).limit(MAX_CONNECTIONS).all(cx.db()).await?)
}

pub(in crate::domain) async fn connection_items(
    cx: &Cx,
    live: &[connection::Model],
) -> Result<Vec<ActionItem>> {
    let ids: Vec<Uuid> = live.iter().map(|row| row.id).collect();
    let mut items = Vec::new();
    for health in health::health_of_connections(cx, &ids).await? {
        // Waiting runs and failures have items of their own, and an administrator deactivated a
        // connection on purpose.
        let skipped = [HealthReason::RunWaits, HealthReason::WorkWaits, HealthReason::Deactivated];
        let Some(reason) = health.reasons.iter().find(|reason| !skipped.contains(reason)) else {
            continue;
        };
        let urgency = match health.state {
            health::State::Quarantined | health::State::Stalled => ActionUrgency::Critical,
            health::State::Degraded => ActionUrgency::Warning,
            health::State::Inactive | health::State::Healthy => ActionUrgency::Notice,
        };
        let text = format!(
            "{}: {}",
            connection_name(live, health.connection),
            reason.finding_text(&health.signs)
        );
        let item = ActionItem::new(ActionKind::Connection, urgency, text, reason.next_step());
        items.push(ActionItem { at: health.since, connection: Some(health.connection), ..item });
    }
    Ok(items)
}

/// An item if the database takes no writes. The cause is for the operator, in the server's log.
fn storage_item(cx: &Cx) -> Option<ActionItem> {
    cx.app.store.health.current_failure()?;
    let text = "The database of this server does not take writes: what identity providers send is \
                refused."
        .into();
    let next = "Ask the operator of this server: its log says what is wrong. Identity providers \
                send again later.";
    Some(ActionItem::new(ActionKind::Storage, ActionUrgency::Critical, text, next))
}

/// The last token of a connection, if all its tokens end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) struct TokenEnd {
    pub connection: Uuid,
    /// When the token was issued.
    pub begin: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// When the last token of each active connection ends; nothing for a connection with a token that
/// does not end, and for one without a live token, which has an item for its health.
pub(in crate::domain) async fn last_token_ends(
    cx: &Cx,
    live: &[connection::Model],
) -> Result<Vec<TokenEnd>> {
    let now = cx.app.clock.now();
    let pushing = live.iter().filter(|row| row.kind == ConnectionKind::ScimPush);
    let active: Vec<&connection::Model> =
        pushing.filter(|row| row.status == ConnectionStatus::Active).collect();
    let ids: Vec<Uuid> = active.iter().map(|row| row.id).collect();
    let tokens = scim_token::tokens_of_connections(cx, &ids).await?;
    let last_of = |row: &connection::Model| {
        let of = tokens
            .iter()
            .filter(|token| token.connection_id == row.id && scim_token::is_live(token, now));
        let last = of
            .map(|token| {
                let end = [token.expires_at, token.retires_at].into_iter().flatten().min()?;
                Some((end, token.created_at))
            })
            .reduce(|a, b| {
                // A token that does not end outlives every other.
                Some(Ord::max(a?, b?))
            });
        last.flatten().map(|(end, begin)| TokenEnd { connection: row.id, begin, end })
    };
    Ok(active.into_iter().filter_map(last_of).collect())
}

/// A sentence about the end of a connection's last token, and what to do.
pub(in crate::domain) fn describe_token_end(
    live: &[connection::Model],
    ending: &TokenEnd,
) -> (String, &'static str) {
    let name = connection_name(live, ending.connection);
    let text = format!("{name}: its last token ends at {}.", health::format_to_second(ending.end));
    (text, "Rotate it in time (scimTokenRotate): both work while they overlap.")
}

/// Connections whose last token ends soon.
async fn token_items(cx: &Cx, live: &[connection::Model]) -> Result<Vec<ActionItem>> {
    let now = cx.app.clock.now();
    let item = |ending: TokenEnd| {
        if ending.end >= now + EXPIRY_WARNING {
            return None;
        }
        let urgency = if ending.end < now + URGENT_EXPIRY {
            ActionUrgency::Critical
        } else {
            ActionUrgency::Warning
        };
        let (text, next) = describe_token_end(live, &ending);
        let item = ActionItem::new(ActionKind::TokenEnds, urgency, text, next);
        Some(ActionItem { at: Some(ending.end), connection: Some(ending.connection), ..item })
    };
    Ok(last_token_ends(cx, live).await?.into_iter().filter_map(item).collect())
}

/// Connections whose last certificate ends soon, or has ended. Sign-ins go on, so it is never
/// critical.
async fn certificate_items(cx: &Cx, live: &[connection::Model]) -> Result<Vec<ActionItem>> {
    let now = cx.app.clock.now();
    let item = |ending: CertificateEnd| {
        let near = ending.end < now + NEAR_CERTIFICATE_END;
        let urgency = if near { ActionUrgency::Warning } else { ActionUrgency::Notice };
        let (text, next) = ending.describe(now);
        let item = ActionItem::new(ActionKind::CertificateEnds, urgency, text, next);
        ActionItem { at: Some(ending.end), connection: Some(ending.connection), ..item }
    };
    Ok(near_certificate_ends(cx, live).await?.into_iter().map(item).collect())
}

pub(in crate::domain) async fn run_items(cx: &Cx) -> Result<Vec<ActionItem>> {
    let waiting = cx.find::<sync_run::Entity>().filter(sync_run::Column::FinishedAt.is_null());
    let waiting = waiting.filter(sync_run::Column::State.eq(sync_run::State::Waiting));
    let rows = waiting.order_by_asc(sync_run::Column::Id).limit(MAX_PER_KIND).all(cx.db()).await?;
    let item = |run: sync_run::Model| {
        let text = run.reason.unwrap_or_else(|| "A run waits to be approved.".into());
        let item = ActionItem::new(
            ActionKind::RunWaits,
            ActionUrgency::Critical,
            text,
            HealthReason::RunWaits.next_step(),
        );
        ActionItem {
            at: run.started_at,
            connection: Some(run.connection_id),
            run: Some(run.id),
            ..item
        }
    };
    Ok(rows.into_iter().map(item).collect())
}

pub(in crate::domain) async fn failure_items(
    cx: &Cx,
    live: &[connection::Model],
) -> Result<Vec<ActionItem>> {
    #[derive(FromQueryResult)]
    struct FailureTallyRow {
        connection_id: Uuid,
        cause: Cause,
        n: i64,
        first_at: DateTime<Utc>,
    }
    use failure::Column;
    let query = cx
        .find::<failure::Entity>()
        .filter(Column::FinishedAt.is_null())
        .filter(Column::ConnectionId.is_not_null())
        .select_only()
        .column(Column::ConnectionId)
        .column(Column::Cause)
        .column_as(Column::Id.count(), "n")
        .column_as(Column::FirstAt.min(), "first_at")
        .group_by(Column::ConnectionId)
        .group_by(Column::Cause)
        .order_by_asc(Column::FirstAt.min())
        .limit(MAX_PER_KIND);
    let item = |row: FailureTallyRow| {
        let name = connection_name(live, row.connection_id);
        let what = count_with_noun(row.n, "failed write");
        let text = format!("{name}: {what} in the review queue, cause {}.", row.cause.to_value());
        let next = "Work through them (organization.failures): each says what to do.";
        let item = ActionItem::new(ActionKind::Failures, ActionUrgency::Warning, text, next);
        let (count, at) = (row.n.unsigned_abs(), Some(row.first_at));
        ActionItem {
            count,
            at,
            connection: Some(row.connection_id),
            cause: Some(row.cause),
            ..item
        }
    };
    Ok(query.into_model::<FailureTallyRow>().all(cx.db()).await?.into_iter().map(item).collect())
}

async fn finding_items(cx: &Cx, live: &[connection::Model]) -> Result<Vec<ActionItem>> {
    #[derive(FromQueryResult)]
    struct FindingTallyRow {
        connection_id: Uuid,
        leaver: bool,
        n: i64,
        first_at: DateTime<Utc>,
    }
    use finding::Column;
    let open =
        reconcile::FindingQuery { states: vec![reconcile::State::Open], ..Default::default() };
    let query = reconcile::select_findings(cx, &open)
        .select_only()
        .column(Column::ConnectionId)
        .column(Column::Leaver)
        .column_as(Column::Id.count(), "n")
        .column_as(Column::FirstSeenAt.min(), "first_at")
        .group_by(Column::ConnectionId)
        .group_by(Column::Leaver)
        .order_by_desc(Column::Leaver)
        .order_by_asc(Column::FirstSeenAt.min())
        .limit(MAX_PER_KIND);
    let item = |row: FindingTallyRow| {
        let name = connection_name(live, row.connection_id);
        let (urgency, text) = if row.leaver {
            let accounts = count_with_noun(row.n, "account");
            (
                ActionUrgency::Critical,
                format!(
                    "{name}: {accounts} active here, of people who are gone or inactive there."
                ),
            )
        } else {
            let what = count_with_noun(row.n, "difference");
            (
                ActionUrgency::Warning,
                format!("{name}: {what} from what the identity provider says."),
            )
        };
        let next =
            "Put each right or accept it with a reason (organization.findings, findingResolve).";
        let (count, at) = (row.n.unsigned_abs(), Some(row.first_at));
        ActionItem {
            count,
            at,
            connection: Some(row.connection_id),
            ..ActionItem::new(ActionKind::Findings, urgency, text, next)
        }
    };
    Ok(query.into_model::<FindingTallyRow>().all(cx.db()).await?.into_iter().map(item).collect())
}

fn connection_name(live: &[connection::Model], id: Uuid) -> &str {
    live.iter().find(|row| row.id == id).map_or("", |row| &row.name)
}

async fn proposal_items(cx: &Cx) -> Result<Vec<ActionItem>> {
    let open = adoption_proposal::Column::State.eq(adoption_proposal::ProposalState::Pending);
    let query = cx.find::<adoption_proposal::Entity>().filter(open);
    let Some((n, at)) = count_and_earliest(cx, query, adoption_proposal::Column::FirstAt).await?
    else {
        return Ok(Vec::new());
    };
    let text = format!("{} would become a connection's.", count_with_noun(n, "account"));
    let next = "Accept or dismiss each (organization.adoptionProposals).";
    let item = ActionItem::new(ActionKind::Proposals, ActionUrgency::Notice, text, next);
    Ok(vec![ActionItem { count: n.unsigned_abs(), at: Some(at), ..item }])
}

async fn expiring_key_items(cx: &Cx) -> Result<Vec<ActionItem>> {
    let (now, column) = (cx.app.clock.now(), api_key::Column::ExpiresAt);
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::RevokedAt.is_null());
    let query = query.filter(column.gt(now)).filter(column.lt(now + EXPIRY_WARNING));
    let Some((n, at)) = count_and_earliest(cx, query, column).await? else { return Ok(Vec::new()) };
    let urgency =
        if at < now + URGENT_EXPIRY { ActionUrgency::Warning } else { ActionUrgency::Notice };
    let text = format!(
        "{} of the management API end soon, the first at {}.",
        count_with_noun(n, "key"),
        health::format_to_second(at)
    );
    let next = KEYS_END_NEXT_STEP;
    Ok(vec![ActionItem {
        count: n.unsigned_abs(),
        at: Some(at),
        ..ActionItem::new(ActionKind::KeysEnd, urgency, text, next)
    }])
}

async fn ownerless_key_item(cx: &Cx) -> Result<Option<ActionItem>> {
    let keys = api_keys::list_ownerless(cx).await?;
    let Some(first) = keys.first() else { return Ok(None) };
    let n = keys.len();
    let text = format!(
        "{} of the management API without an owner: no deletion of an account ends them.",
        count_with_noun(n as i64, "key")
    );
    let next = "Assign each to an owner (apiKeyUpdate), or revoke it (apiKeyRevoke).";
    let item = ActionItem::new(ActionKind::KeysWithoutOwner, ActionUrgency::Notice, text, next);
    Ok(Some(ActionItem { count: n as u64, at: Some(first.created_at), ..item }))
}

async fn held_sources_item(cx: &Cx, live: &[connection::Model]) -> Result<Option<ActionItem>> {
    let reading = live.iter().filter(|row| row.kind == ConnectionKind::ScimPull);
    let count = reading.filter(|row| row.status == ConnectionStatus::Active).count();
    let why = match organization::check_provisioning(cx).await {
        Err(Error::Held { why, .. }) if count > 0 => why,
        Err(Error::Held { .. }) | Ok(()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text =
        format!("{} that read a source do not: {why}", count_with_noun(count as i64, "connection"));
    let next = "Turn provisioning on again, or deactivate them (connectionDeactivate).";
    let item = ActionItem::new(ActionKind::SourcesHeld, ActionUrgency::Warning, text, next);
    Ok(Some(ActionItem { count: count as u64, ..item }))
}

/// Destinations that fail, were disabled or lag far behind, and deliveries that were given up.
pub(in crate::domain) async fn destination_items(cx: &Cx) -> Result<Vec<ActionItem>> {
    let mut items = Vec::new();
    for row in destination::list_troubled(cx).await? {
        let (urgency, what, next) = match row.state {
            destination::State::Disabled => (
                ActionUrgency::Critical,
                "receives nothing any more",
                "Put its receiver right, then resume it (destinationResume): it then receives \
                 everything since.",
            ),
            _ => (
                ActionUrgency::Warning,
                "does not accept what it is sent",
                "Put its receiver right: it is tried again for three days. Its deliveries say what \
                 it answers (organization.destinations).",
            ),
        };
        let why = row.message.as_deref().unwrap_or_default();
        let text = format!("The destination \"{}\" {what}: {why}", row.description);
        let item = ActionItem::new(ActionKind::Destination, urgency, text, next);
        items.push(ActionItem { at: Some(row.state_since), destination: Some(row.id), ..item });
    }
    for (row, lag) in destination::list_lagging(cx, MAX_LAG).await? {
        let text = format!("The destination \"{}\" is {lag} events behind.", row.description);
        let next = "Make its receiver faster, or let it hear fewer kinds of events \
                    (destinationUpdate).";
        let item = ActionItem::new(ActionKind::Destination, ActionUrgency::Warning, text, next);
        let destination = Some(row.id);
        items.push(ActionItem { count: lag.unsigned_abs(), destination, ..item });
    }
    let given_up = cx
        .find::<failure::Entity>()
        .filter(failure::Column::FinishedAt.is_null())
        .filter(failure::Column::DestinationId.is_not_null());
    if let Some((n, at)) = count_and_earliest(cx, given_up, failure::Column::FirstAt).await? {
        let what = count_with_noun(n, "delivery").replace("deliverys", "deliveries");
        let text = format!("{what} to destinations were given up after three days.");
        let next = "Work through them (organization.failures): retry or dismiss each.";
        let item = ActionItem::new(ActionKind::Deliveries, ActionUrgency::Warning, text, next);
        items.push(ActionItem { count: n.unsigned_abs(), at: Some(at), ..item });
    }
    Ok(items)
}

async fn failed_sign_ins_item(cx: &Cx) -> Result<Option<ActionItem>> {
    let since = cx.app.clock.now() - RECENT_WINDOW;
    let (n, first) = request_log::count_failed_sign_ins(cx, since).await?;
    if n < MIN_FAILED_SIGN_INS {
        return Ok(None);
    }
    let text = format!("{n} sign-ins failed within a day.");
    let next = "See where they come from (organization.requestLog, meaning \"authenticate\"), and \
                block that source if \
                you do not know it.";
    let item = ActionItem::new(ActionKind::SignInsFail, ActionUrgency::Warning, text, next);
    Ok(Some(ActionItem { count: n.unsigned_abs(), at: first, ..item }))
}

async fn kept_claims_item(cx: &Cx) -> Result<Option<ActionItem>> {
    let kept = cx.find::<membership::Entity>().filter(membership::Column::Until.is_null());
    let kept = kept.filter(membership::Column::KeptSince.is_not_null());
    let Some((n, at)) = count_and_earliest(cx, kept, membership::Column::KeptSince).await? else {
        return Ok(None);
    };
    let text = format!(
        "{} kept although the sign-ins are too old: no other account holds a management role.",
        count_with_noun(n, "membership")
    );
    let next = "Give the role to another account, or let the person sign in again.";
    let item = ActionItem::new(ActionKind::ClaimsKept, ActionUrgency::Warning, text, next);
    Ok(Some(ActionItem { count: n.unsigned_abs(), at: Some(at), ..item }))
}

async fn ending_access_items(cx: &Cx) -> Result<Vec<ActionItem>> {
    let end: DateTime<Utc> = cx.app.clock.now() + ACCESS_END_WARNING;
    let grants = cx.find::<role_grant::Entity>().filter(role_grant::Column::Until.is_null());
    let grants = grants.filter(role_grant::Column::ExpiresAt.lt(end));
    let mappings = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::Until.is_null());
    let mappings = mappings.filter(role_mapping::Column::ExpiresAt.lt(end));
    let found = [
        (
            count_and_earliest(cx, grants, role_grant::Column::ExpiresAt).await?,
            "grant",
            "organization.roleGrants",
        ),
        (
            count_and_earliest(cx, mappings, role_mapping::Column::ExpiresAt).await?,
            "mapping",
            "organization.roleMappings",
        ),
    ];
    let item = |(tally, what, list): (Option<(i64, DateTime<Utc>)>, &str, &str)| {
        let (n, at) = tally?;
        let text = format!(
            "{} come to their planned end, the first at {}.",
            count_with_noun(n, what),
            health::format_to_second(at)
        );
        let next = format!("Prolong what is still needed; the rest ends by itself ({list}).");
        let item = ActionItem::new(ActionKind::AccessEnds, ActionUrgency::Notice, text, &next);
        Some(ActionItem { count: n.unsigned_abs(), at: Some(at), ..item })
    };
    Ok(found.into_iter().filter_map(item).collect())
}

/// Destinations that have not taken that accounts left for longer than `age`: the applications
/// behind them keep the sessions.
pub(in crate::domain) async fn unreceived_items(cx: &Cx, age: Duration) -> Result<Vec<ActionItem>> {
    let found = revocation::list_unreceived(cx, cx.app.clock.now() - age).await?;
    let ids: Vec<Uuid> = found.iter().map(|of| of.destination_id).collect();
    let known = destination::destinations_by_ids(cx, &ids).await?;
    let item = |of: revocation::UnreceivedDepartures| {
        let row = known.iter().find(|row| row.id == of.destination_id);
        let name = row.map_or("", |row| &row.description);
        let text = format!(
            "The destination \"{name}\" has not taken {} about leavers, the first since {}.",
            count_with_noun(of.n, "message"),
            health::format_to_second(of.first_at)
        );
        let next = "The application may still have their sessions: put its receiver right, and try \
                    the deliveries again (leavers { deliveries }, deliveryRetry).";
        let item =
            ActionItem::new(ActionKind::RevocationNotReceived, ActionUrgency::Critical, text, next);
        ActionItem {
            count: of.n.unsigned_abs(),
            at: Some(of.first_at),
            destination: Some(of.destination_id),
            ..item
        }
    };
    Ok(found.into_iter().map(item).collect())
}

async fn ending_invitations_item(cx: &Cx) -> Result<Option<ActionItem>> {
    let Some((n, at)) = invitation::count_ending(cx).await? else { return Ok(None) };
    let text = format!(
        "{} not accepted yet, the first ends at {}.",
        count_with_noun(n as i64, "invitation"),
        health::format_to_second(at)
    );
    let next = "Send each again (invitationResend), or let it end (organization.invitations).";
    let item = ActionItem::new(ActionKind::InvitationsEnd, ActionUrgency::Notice, text, next);
    Ok(Some(ActionItem { count: n, at: Some(at), ..item }))
}

async fn held_invitations_item(cx: &Cx) -> Result<Option<ActionItem>> {
    let Some((n, at)) = invitation::count_held(cx).await? else { return Ok(None) };
    let text = format!(
        "{} would give more than who made it may give: a group was mapped to a role since, or a \
         role got permissions.",
        count_with_noun(n as i64, "invitation")
    );
    let next = "Accept each for the person (invitationAccept), send it again (invitationResend), \
                or revoke it (invitationRevoke).";
    let item = ActionItem::new(ActionKind::InvitationsHeld, ActionUrgency::Warning, text, next);
    Ok(Some(ActionItem { count: n, at: Some(at), ..item }))
}

/// Domains whose record is gone, and those that wait for one while sign-ins make accounts.
async fn domain_items(cx: &Cx, live: &[connection::Model]) -> Result<Vec<ActionItem>> {
    let lost = |row: OrganizationDomain| {
        let text = format!("The DNS does not prove the domain {} any more.", row.name);
        let next = format!(
            "Add its record again (TXT {}, {}), or remove the domain (domainRemove). Until then \
             sign-ins make no accounts of people in it.",
            domain::record_name(&row),
            domain::record_value(&row)
        );
        let item = ActionItem::new(ActionKind::DomainLost, ActionUrgency::Warning, text, &next);
        ActionItem { at: row.lost_at, ..item }
    };
    let mut items: Vec<_> = domain::list_lost(cx).await?.into_iter().map(lost).collect();
    let live: Vec<Uuid> = live.iter().map(|row| row.id).collect();
    let unproven = domain::list_unproven(cx, &live).await?;
    if let Some(first) = unproven.first() {
        let n = unproven.len();
        let text = format!(
            "{} not proven by the DNS, {} the first: sign-ins make no accounts of people in them.",
            count_with_noun(n as i64, "domain"),
            first.name
        );
        let next = "Prove each (organization.domains, domainProve).";
        let item = ActionItem::new(ActionKind::DomainsUnproven, ActionUrgency::Notice, text, next);
        let at = unproven.iter().map(|row| row.created_at).min();
        items.push(ActionItem { count: n as u64, at, ..item });
    }
    Ok(items)
}

/// How many rows there are and the earliest instant among them; none if there are none.
async fn count_and_earliest<E: EntityTrait>(
    cx: &Cx,
    query: Select<E>,
    at: E::Column,
) -> Result<Option<(i64, DateTime<Utc>)>> {
    let query = query.select_only().column_as(Expr::col(at).count(), "n").column_as(at.min(), "at");
    let row: Option<(i64, Option<DateTime<Utc>>)> = query.into_tuple().one(cx.db()).await?;
    Ok(row.and_then(|(n, at)| Some((n, at?))))
}

/// A number with its noun in the singular or plural.
pub(in crate::domain) fn count_with_noun(n: i64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
