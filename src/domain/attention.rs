//! What needs an administrator now: everything that waits or is about to go wrong, in one list, the most urgent first.
//! Nothing is kept for it; it is read from where the work itself is.

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind, ConnectionStatus};
use entity::{adoption_proposal, api_key, failure, finding, role_grant, role_mapping, sync_run};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveEnum, ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::failure::Cause;
use super::health::{self, Reason};
use super::{key, organization, reconcile, request_log, token};
use crate::authz::Action;
use crate::context::Cx;
use crate::error::{Error, Result};

/// Connections that are looked at.
const CONNECTIONS: u64 = 1_000;
/// Items of one kind that are told apart.
const EACH: u64 = 100;
/// Ends of tokens and keys that are nearer than this are told …
const SOON: Duration = Duration::days(14);
/// … and are urgent when nearer than this.
const URGENT: Duration = Duration::days(3);
/// Planned ends of access that are nearer than this are told.
const ENDING: Duration = Duration::days(7);

/// Failed sign-ins of this time are looked at …
const LATELY: Duration = Duration::days(1);
/// … and told when they are at least so many.
const MANY_SIGN_INS: i64 = 100;

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Access no longer follows the identity provider.
    Critical,
    /// Access follows, but not for everybody, or not for much longer.
    Warning,
    /// Somebody should decide something.
    Notice,
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A connection is not healthy.
    Connection,
    /// The last token of a connection ends soon.
    TokenEnds,
    /// A run waits to be approved.
    RunWaits,
    /// The review queue holds work.
    Failures,
    /// What is here differs from what an identity provider says.
    Findings,
    /// Accounts may become a connection's.
    Proposals,
    /// API keys end soon.
    KeysEnd,
    /// API keys that last have no owner.
    KeysWithoutOwner,
    /// Mappings and grants come to their planned end soon.
    AccessEnds,
    /// The database of the installation does not take writes.
    Storage,
    /// Many sign-ins failed lately.
    SignInsFail,
    /// Connections that read a source do not, because nothing may be provisioned in the organization.
    SourcesHeld,
}

/// Something that needs somebody.
#[derive(Debug, Clone)]
pub struct Item {
    pub kind: Kind,
    pub urgency: Urgency,
    /// What was found, in words for people.
    pub text: String,
    /// What to do.
    pub next: String,
    /// How many things it stands for.
    pub count: u64,
    /// Since when it waits; of what ends, the first end.
    pub at: Option<DateTime<Utc>>,
    pub connection: Option<Uuid>,
    pub run: Option<Uuid>,
    pub cause: Option<Cause>,
}

impl Item {
    fn new(kind: Kind, urgency: Urgency, text: String, next: &str) -> Self {
        let (connection, run, cause) = (None, None, None);
        Self { kind, urgency, text, next: next.into(), count: 1, at: None, connection, run, cause }
    }
}

/// Everything that needs somebody now, the most urgent first, then what waits longest.
pub async fn list(cx: &Cx) -> Result<Vec<Item>> {
    cx.allow(Action::ReadIam, None)?;
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let live = live.order_by_asc(connection::Column::Id).limit(CONNECTIONS).all(cx.db()).await?;
    let mut items = connections(cx, &live).await?;
    items.extend(storage(cx));
    items.extend(tokens(cx, &live).await?);
    items.extend(runs(cx).await?);
    items.extend(failures(cx, &live).await?);
    items.extend(findings(cx, &live).await?);
    items.extend(proposals(cx).await?);
    items.extend(keys(cx).await?);
    items.extend(ownerless(cx).await?);
    items.extend(ends(cx).await?);
    items.extend(sign_ins(cx).await?);
    items.extend(sources_held(cx, &live).await?);
    items.sort_by_key(|item| (item.urgency, item.at.unwrap_or(DateTime::<Utc>::MAX_UTC)));
    Ok(items)
}

async fn connections(cx: &Cx, live: &[connection::Model]) -> Result<Vec<Item>> {
    let ids: Vec<Uuid> = live.iter().map(|row| row.id).collect();
    let mut items = Vec::new();
    for health in health::of_connections(cx, &ids).await? {
        // What is told of for itself, with what to act on, is not told of twice; what somebody switched off is meant so.
        let told = [Reason::RunWaits, Reason::WorkWaits, Reason::Deactivated];
        let Some(reason) = health.reasons.iter().find(|reason| !told.contains(reason)) else { continue };
        let urgency = match health.state {
            health::State::Quarantined | health::State::Stalled => Urgency::Critical,
            health::State::Degraded => Urgency::Warning,
            health::State::Inactive | health::State::Healthy => Urgency::Notice,
        };
        let text = format!("{}: {}", name(live, health.connection), reason.text(&health.signs));
        let item = Item::new(Kind::Connection, urgency, text, reason.next_step());
        items.push(Item { at: health.since, connection: Some(health.connection), ..item });
    }
    Ok(items)
}

/// The database of the installation. Why it fails is for its operator, in the log.
fn storage(cx: &Cx) -> Option<Item> {
    cx.app.store.health.failure()?;
    let text = "The database of this server does not take writes: what identity providers send is refused.".into();
    let next = "Ask the operator of this server: its log says what is wrong. Identity providers send again later.";
    Some(Item::new(Kind::Storage, Urgency::Critical, text, next))
}

/// Connections to which no token will be left soon; those that none is left to are not healthy.
async fn tokens(cx: &Cx, live: &[connection::Model]) -> Result<Vec<Item>> {
    let now = cx.app.clock.now();
    let pushing = live.iter().filter(|row| row.kind == ConnectionKind::ScimPush);
    let active: Vec<&connection::Model> = pushing.filter(|row| row.status == ConnectionStatus::Active).collect();
    let ids: Vec<Uuid> = active.iter().map(|row| row.id).collect();
    let tokens = token::of_connections(cx, &ids).await?;
    let mut items = Vec::new();
    for row in active {
        let of = tokens.iter().filter(|token| token.connection_id == row.id && token::is_live(token, now));
        let end = of.map(|token| [token.expires_at, token.retires_at].into_iter().flatten().min()).reduce(|a, b| {
            // One that does not end outlives every other.
            Some(Ord::max(a?, b?))
        });
        let Some(Some(end)) = end else { continue };
        if end < now + SOON {
            let urgency = if end < now + URGENT { Urgency::Critical } else { Urgency::Warning };
            let text = format!("{}: its last token ends at {}.", row.name, health::second(end));
            let next = "Rotate it in time (scimTokenRotate): both work while they overlap.";
            let item = Item::new(Kind::TokenEnds, urgency, text, next);
            items.push(Item { at: Some(end), connection: Some(row.id), ..item });
        }
    }
    Ok(items)
}

async fn runs(cx: &Cx) -> Result<Vec<Item>> {
    let waiting = cx.find::<sync_run::Entity>().filter(sync_run::Column::FinishedAt.is_null());
    let waiting = waiting.filter(sync_run::Column::State.eq(sync_run::State::Waiting));
    let rows = waiting.order_by_asc(sync_run::Column::Id).limit(EACH).all(cx.db()).await?;
    let item = |run: sync_run::Model| {
        let text = run.reason.unwrap_or_else(|| "A run waits to be approved.".into());
        let item = Item::new(Kind::RunWaits, Urgency::Critical, text, Reason::RunWaits.next_step());
        Item { at: run.started_at, connection: Some(run.connection_id), run: Some(run.id), ..item }
    };
    Ok(rows.into_iter().map(item).collect())
}

async fn failures(cx: &Cx, live: &[connection::Model]) -> Result<Vec<Item>> {
    #[derive(FromQueryResult)]
    struct Waiting {
        connection_id: Uuid,
        cause: Cause,
        n: i64,
        first_at: DateTime<Utc>,
    }
    use failure::Column;
    let query = cx
        .find::<failure::Entity>()
        .filter(Column::FinishedAt.is_null())
        .select_only()
        .column(Column::ConnectionId)
        .column(Column::Cause)
        .column_as(Column::Id.count(), "n")
        .column_as(Column::FirstAt.min(), "first_at")
        .group_by(Column::ConnectionId)
        .group_by(Column::Cause)
        .order_by_asc(Column::FirstAt.min())
        .limit(EACH);
    let item = |row: Waiting| {
        let name = name(live, row.connection_id);
        let what = things(row.n, "failed write");
        let text = format!("{name}: {what} in the review queue, cause {}.", row.cause.to_value());
        let next = "Work through them (organization.failures): each says what to do.";
        let item = Item::new(Kind::Failures, Urgency::Warning, text, next);
        let (count, at) = (row.n.unsigned_abs(), Some(row.first_at));
        Item { count, at, connection: Some(row.connection_id), cause: Some(row.cause), ..item }
    };
    Ok(query.into_model::<Waiting>().all(cx.db()).await?.into_iter().map(item).collect())
}

async fn findings(cx: &Cx, live: &[connection::Model]) -> Result<Vec<Item>> {
    #[derive(FromQueryResult)]
    struct Waiting {
        connection_id: Uuid,
        leaver: bool,
        n: i64,
        first_at: DateTime<Utc>,
    }
    use finding::Column;
    let open = reconcile::Which { states: vec![reconcile::State::Open], ..Default::default() };
    let query = reconcile::matching(cx, &open)
        .select_only()
        .column(Column::ConnectionId)
        .column(Column::Leaver)
        .column_as(Column::Id.count(), "n")
        .column_as(Column::FirstSeenAt.min(), "first_at")
        .group_by(Column::ConnectionId)
        .group_by(Column::Leaver)
        .order_by_desc(Column::Leaver)
        .order_by_asc(Column::FirstSeenAt.min())
        .limit(EACH);
    let item = |row: Waiting| {
        let name = name(live, row.connection_id);
        let (urgency, text) = match row.leaver {
            true => {
                let who = things(row.n, "account");
                (Urgency::Critical, format!("{name}: {who} active here, of people who are gone or inactive there."))
            }
            false => {
                let what = things(row.n, "difference");
                (Urgency::Warning, format!("{name}: {what} from what the identity provider says."))
            }
        };
        let next = "Put each right or accept it with a reason (organization.findings, findingResolve).";
        let (count, at) = (row.n.unsigned_abs(), Some(row.first_at));
        Item { count, at, connection: Some(row.connection_id), ..Item::new(Kind::Findings, urgency, text, next) }
    };
    Ok(query.into_model::<Waiting>().all(cx.db()).await?.into_iter().map(item).collect())
}

fn name(live: &[connection::Model], id: Uuid) -> &str {
    live.iter().find(|row| row.id == id).map_or("", |row| &row.name)
}

async fn proposals(cx: &Cx) -> Result<Vec<Item>> {
    let open = adoption_proposal::Column::State.eq(adoption_proposal::ProposalState::Pending);
    let query = cx.find::<adoption_proposal::Entity>().filter(open);
    let Some((n, at)) = tally(cx, query, adoption_proposal::Column::FirstAt).await? else { return Ok(Vec::new()) };
    let text = format!("{} would become a connection's.", things(n, "account"));
    let next = "Accept or dismiss each (organization.adoptionProposals).";
    let item = Item::new(Kind::Proposals, Urgency::Notice, text, next);
    Ok(vec![Item { count: n.unsigned_abs(), at: Some(at), ..item }])
}

async fn keys(cx: &Cx) -> Result<Vec<Item>> {
    let (now, column) = (cx.app.clock.now(), api_key::Column::ExpiresAt);
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::RevokedAt.is_null());
    let query = query.filter(column.gt(now)).filter(column.lt(now + SOON));
    let Some((n, at)) = tally(cx, query, column).await? else { return Ok(Vec::new()) };
    let urgency = if at < now + URGENT { Urgency::Warning } else { Urgency::Notice };
    let text = format!("{} of the management API end soon, the first at {}.", things(n, "key"), health::second(at));
    let next = "Issue another (apiKeyIssue) to whoever uses it, and revoke the old one.";
    Ok(vec![Item { count: n.unsigned_abs(), at: Some(at), ..Item::new(Kind::KeysEnd, urgency, text, next) }])
}

async fn ownerless(cx: &Cx) -> Result<Option<Item>> {
    let keys = key::ownerless(cx).await?;
    let Some(first) = keys.first() else { return Ok(None) };
    let n = keys.len();
    let text =
        format!("{} of the management API without an owner: no account's end reaches them.", things(n as i64, "key"));
    let next = "Say who answers for each (apiKeyAssign), or revoke it (apiKeyRevoke).";
    let item = Item::new(Kind::KeysWithoutOwner, Urgency::Notice, text, next);
    Ok(Some(Item { count: n as u64, at: Some(first.created_at), ..item }))
}

async fn sources_held(cx: &Cx, live: &[connection::Model]) -> Result<Option<Item>> {
    let reading = live.iter().filter(|row| row.kind == ConnectionKind::ScimPull);
    let count = reading.filter(|row| row.status == ConnectionStatus::Active).count();
    let why = match organization::check_provisioning(cx).await {
        Err(Error::Held { why, .. }) if count > 0 => why,
        Err(Error::Held { .. }) | Ok(()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = format!("{} that read a source do not: {why}", things(count as i64, "connection"));
    let next = "Turn provisioning on again, or deactivate them (connectionDeactivate).";
    let item = Item::new(Kind::SourcesHeld, Urgency::Warning, text, next);
    Ok(Some(Item { count: count as u64, ..item }))
}

async fn sign_ins(cx: &Cx) -> Result<Option<Item>> {
    let since = cx.app.clock.now() - LATELY;
    let (n, first) = request_log::failed_sign_ins(cx, since).await?;
    if n < MANY_SIGN_INS {
        return Ok(None);
    }
    let text = format!("{n} sign-ins failed within a day.");
    let next = "See where they come from (organization.requestLog, meaning \"authenticate\"), and close that source out \
                if nobody here knows it.";
    let item = Item::new(Kind::SignInsFail, Urgency::Warning, text, next);
    Ok(Some(Item { count: n.unsigned_abs(), at: first, ..item }))
}

async fn ends(cx: &Cx) -> Result<Vec<Item>> {
    let end: DateTime<Utc> = cx.app.clock.now() + ENDING;
    let grants = cx.find::<role_grant::Entity>().filter(role_grant::Column::Until.is_null());
    let grants = grants.filter(role_grant::Column::ExpiresAt.lt(end));
    let mappings = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::Until.is_null());
    let mappings = mappings.filter(role_mapping::Column::ExpiresAt.lt(end));
    let found = [
        (tally(cx, grants, role_grant::Column::ExpiresAt).await?, "grant", "organization.roleGrants"),
        (tally(cx, mappings, role_mapping::Column::ExpiresAt).await?, "mapping", "organization.roleMappings"),
    ];
    let item = |(tally, what, list): (Option<(i64, DateTime<Utc>)>, &str, &str)| {
        let (n, at) = tally?;
        let text = format!("{} come to their planned end, the first at {}.", things(n, what), health::second(at));
        let next = format!("Prolong what is still needed; the rest ends by itself ({list}).");
        let item = Item::new(Kind::AccessEnds, Urgency::Notice, text, &next);
        Some(Item { count: n.unsigned_abs(), at: Some(at), ..item })
    };
    Ok(found.into_iter().filter_map(item).collect())
}

/// How many rows there are and the earliest instant among them; none if there are none.
async fn tally<E: EntityTrait>(cx: &Cx, query: Select<E>, at: E::Column) -> Result<Option<(i64, DateTime<Utc>)>> {
    let query = query.select_only().column_as(Expr::col(at).count(), "n").column_as(at.min(), "at");
    let row: Option<(i64, Option<DateTime<Utc>>)> = query.into_tuple().one(cx.db()).await?;
    Ok(row.and_then(|(n, at)| Some((n, at?))))
}

/// A number of things, in words.
fn things(n: i64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
