//! The domains of an organization: the names inside which an e-mail address or a user name
//! identifies a person.
//!
//! An administrator asserts a domain, or proves it by a record in the DNS that only the domain's
//! owner can make. One domain is proven for one organization: a unique index decides, so two that
//! prove it at once cannot both succeed. A proven domain whose record is gone is lost, which frees
//! it for the organization that has the record by then, and is otherwise a matter for people: the
//! row stays, and so does everything that an asserted domain is good for.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::assertion_source::{self, AccountCreation};
use entity::organization_domain::{self, DomainState};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::crypto::vault;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::tenant::organization::is_open_condition;
use crate::error::{Error, Noun, RefusalReason, Result, Rule, mistakes};
use crate::identity::document;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use organization_domain::Model as OrganizationDomain;

/// What errors call a domain.
pub const NOUN: Noun = Noun::Named("the domain");
/// The most domains that one organization has.
pub const MAX_DOMAINS: usize = 100;
/// The label below a domain that has the record.
const RECORD_LABEL: &str = "_rolecall";
/// What the record's text begins with.
const RECORD_PREFIX: &str = "rolecall-domain-verification=";
/// How often a domain that was proven is looked up again.
const CHECK_INTERVAL: Duration = Duration::days(1);
/// How long after the DNS did not answer it is asked again; also how long one server has for it.
const RETRY_INTERVAL: Duration = Duration::hours(1);
/// Domains that one run looks up.
const BATCH_SIZE: u64 = 200;
/// The longest error of the DNS that is kept.
const MAX_ERROR_LENGTH: usize = 200;
/// Names that mean something else in each network, or nothing in the public DNS.
const PRIVATE_ENDINGS: [&str; 7] =
    ["localhost", "local", "internal", "home.arpa", "onion", "invalid", "arpa"];

/// What the DNS said: the text records, which may be none, or why it did not answer.
pub type TextAnswer = Result<Vec<String>, String>;

/// Where the DNS must have the record of a domain.
pub fn record_name(row: &OrganizationDomain) -> String {
    format!("{RECORD_LABEL}.{}", comparison_key(&row.name))
}

/// What the record of a domain must say.
pub fn record_value(row: &OrganizationDomain) -> String {
    format!("{RECORD_PREFIX}{}", row.challenge)
}

/// Refuses names that are not those of domains; returns the form in which they are stored: folded,
/// with the letters of their language.
pub(super) fn check_name(name: &str, field: String) -> Result<String> {
    let domain = document::fold_text(name.trim());
    let (domain, _) = Uts46::new().to_unicode(domain.as_bytes(), AsciiDenyList::STD3, HYPHENS);
    let domain = document::fold_text(&domain);
    let label = |label: &str| {
        let good = |c: char| c.is_alphanumeric() || c == '-';
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A top-level domain alone does not belong to one organization.
    let named = domain.len() <= 253 && domain.contains('.') && domain.split('.').all(label);
    if !named || to_dns_form(&domain).is_none() {
        return Err(Error::invalid(
            field,
            format!("{name:?} is not a domain name such as example.org"),
        ));
    }
    Ok(domain)
}

const HYPHENS: Hyphens = Hyphens::CheckFirstLast;

/// The name as the DNS has it; none for what cannot stand there.
fn to_dns_form(name: &str) -> Option<String> {
    let ascii =
        Uts46::new().to_ascii(name.as_bytes(), AsciiDenyList::STD3, HYPHENS, DnsLength::Verify);
    ascii.ok().map(Into::into)
}

/// The form in which names are compared: that of the DNS. Names of an earlier version, which it
/// does not have, are folded.
fn comparison_key(name: &str) -> String {
    to_dns_form(name).unwrap_or_else(|| document::fold_text(name))
}

/// The domain of an e-mail address or a user name, as [`comparison_key`] has it.
fn domain_of(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    (!domain.is_empty()).then(|| comparison_key(&document::fold_text(domain)))
}

/// A user name whose domain, if it has one, is written in the one form in which domains are kept:
/// folded, with the letters of their language. Names without a domain stay as they are.
pub(in crate::domain) fn with_canonical_domain(name: &str) -> String {
    canonical_parts(name)
        .map_or_else(|| name.to_owned(), |(local, domain, _)| local + "@" + &domain)
}

/// All user names that mean the same account as `name`, folded: as it is written, and with its
/// domain as people and as the DNS write it.
pub(in crate::domain) fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![document::fold_text(name)];
    if let Some((local, domain, ascii)) = canonical_parts(name) {
        for domain in [domain, ascii] {
            let spelling = document::fold_text(&format!("{local}@{domain}"));
            if !all.contains(&spelling) {
                all.push(spelling);
            }
        }
    }
    all
}

/// What stands before the domain, the domain as it is kept, and as the DNS has it.
fn canonical_parts(name: &str) -> Option<(String, String, String)> {
    let (local, domain) = name.rsplit_once('@')?;
    let ascii = to_dns_form(&document::fold_text(domain))?;
    let (known, _) = Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, HYPHENS);
    Some((local.to_owned(), document::fold_text(&known), ascii))
}

/// Whether this is a proven domain of the organization: itself, not one below it.
pub(in crate::domain) async fn is_proven_domain(cx: &Cx, name: &str) -> Result<bool> {
    is_in_own_domain(cx, &format!("@{name}"), DomainProof::Proven).await
}

/// How much must be known of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainProof {
    /// An administrator says that it belongs to the organization.
    Asserted,
    /// The DNS said so, at most a day ago or when it answered last.
    Proven,
}

/// Whether an e-mail address or a user name lies in a domain of the organization: its very domain,
/// not one below it.
pub(in crate::domain) async fn lies_in_own_domain(
    tx: &Tx<'_>,
    address: &str,
    proof: DomainProof,
) -> Result<bool> {
    let Some(domain) = domain_of(address) else { return Ok(false) };
    let rows = select_with_proof(tx.find(), proof).all(&tx.db).await?;
    Ok(rows.iter().any(|row| comparison_key(&row.name) == domain))
}

/// [`lies_in_own_domain`] outside of a write.
pub async fn is_in_own_domain(cx: &Cx, address: &str, proof: DomainProof) -> Result<bool> {
    let Some(domain) = domain_of(address) else { return Ok(false) };
    let rows = select_with_proof(cx.find(), proof).all(cx.db()).await?;
    Ok(rows.iter().any(|row| comparison_key(&row.name) == domain))
}

fn select_with_proof(
    all: Select<organization_domain::Entity>,
    proof: DomainProof,
) -> Select<organization_domain::Entity> {
    match proof {
        DomainProof::Asserted => all,
        DomainProof::Proven => {
            all.filter(organization_domain::Column::State.eq(DomainState::Proven))
        }
    }
}

/// The names of all domains, in order.
pub async fn list_names(cx: &Cx) -> Result<Vec<String>> {
    Ok(sort_names(cx.find::<organization_domain::Entity>().all(cx.db()).await?))
}

/// [`list_names`] within a write.
pub(super) async fn names_within(tx: &Tx<'_>) -> Result<Vec<String>> {
    Ok(sort_names(tx.find::<organization_domain::Entity>().all(&tx.db).await?))
}

fn sort_names(rows: Vec<OrganizationDomain>) -> Vec<String> {
    // An earlier version stored them without mapping the width of letters.
    let mut names: Vec<_> = rows.iter().map(|row| document::fold_text(&row.name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Domain names in the form in which they are stored: sorted, without duplicates.
pub(super) fn check_names(names: &[String]) -> Result<Vec<String>> {
    if names.len() > MAX_DOMAINS {
        return Err(Error::broken(
            Rule::TooMany,
            "verifiedDomains",
            format!("lists more than {MAX_DOMAINS} domains"),
        ));
    }
    let checked = names.iter().enumerate();
    let mut names = mistakes::all(
        checked.map(|(place, name)| check_name(name, format!("verifiedDomains.{place}"))),
    )?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Makes `names` the domains of the organization: new ones are asserted, those that stay are as
/// they were, and the others are removed.
pub(super) async fn replace_names(tx: &Tx<'_>, names: &[String], now: DateTime<Utc>) -> Result<()> {
    let rows = tx.find::<organization_domain::Entity>().all(&tx.db).await?;
    let known = |name: &String| rows.iter().any(|row| document::fold_text(&row.name) == *name);
    let gone = rows.iter().filter(|row| !names.contains(&document::fold_text(&row.name)));
    delete_rows(tx, &gone.map(|row| row.id).collect::<Vec<_>>()).await?;
    for name in names.iter().filter(|name| !known(name)) {
        insert_row(tx, new_row(tx, name, now)?).await?;
    }
    Ok(())
}

fn new_row(tx: &Tx<'_>, name: &str, now: DateTime<Utc>) -> Result<OrganizationDomain> {
    Ok(OrganizationDomain {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        name: name.into(),
        state: DomainState::Asserted,
        challenge: vault::new_secret("")?,
        proven_name: None,
        created_at: now,
        proven_at: None,
        lost_at: None,
        checked_at: None,
        check_error: None,
        next_check_at: None,
    })
}

async fn insert_row(tx: &Tx<'_>, row: OrganizationDomain) -> Result<()> {
    organization_domain::Entity::insert(organization_domain::ActiveModel::from(row))
        .exec_without_returning(&tx.db)
        .await?;
    Ok(())
}

async fn delete_rows(tx: &Tx<'_>, ids: &[Uuid]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    organization_domain::Entity::delete_many()
        .filter(organization_domain::Column::OrganizationId.eq(tx.organization()))
        .filter(organization_domain::Column::Id.is_in(ids.iter().copied()))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Adds a domain, which is asserted until it is proven.
///
/// # Errors
/// [`Error::Invalid`] for what is not the name of a domain, [`Error::Taken`] for one that the
/// organization has, [`Error::Held`] if it has too many.
pub async fn add_domain(cx: &Cx, name: &str) -> Result<OrganizationDomain> {
    cx.allow(Action::WriteConnection, None)?;
    let name = &check_name(name, "name".into())?;
    cx.write(move |tx| {
        Box::pin(async move {
            let all = tx.find::<organization_domain::Entity>().count(&tx.db).await?;
            if all >= MAX_DOMAINS as u64 {
                let why = format!("the organization has {MAX_DOMAINS} domains, which is the most");
                return Err(Error::Held { reason: RefusalReason::LimitReached, why: why.into() });
            }
            let now = tx.now_after(None);
            let row = new_row(tx, name, now)?;
            insert_row(tx, row.clone()).await?;
            let after = Some(describe_domain(&row));
            let entry = domain_event(EventKind::DomainAdded, &row, now, None, after);
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Removes a domain: names inside it identify no person any more. Accounts stay.
///
/// # Errors
/// [`Error::NotFound`] for one that does not exist.
pub async fn remove_domain(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let row = lock_domain(tx, id).await?;
            let now = tx.now_after(Some(last_change(&row)));
            delete_rows(tx, &[id]).await?;
            let before = Some(describe_domain(&row));
            let entry = domain_event(EventKind::DomainRemoved, &row, now, before, None);
            Ok(Change::recorded((), entry))
        })
    })
    .await
}

/// The domain to look up, for an administrator who asks for it.
///
/// # Errors
/// [`Error::NotFound`] for one that does not exist, [`Error::Held`] for one that the public DNS
/// does not have, [`Error::Limited`] where the organization asks too often.
pub async fn begin_proof(cx: &Cx, id: Uuid) -> Result<OrganizationDomain> {
    cx.allow(Action::WriteConnection, None)?;
    let row = find_domain(cx, id).await?.ok_or_else(|| Error::not_found(NOUN))?;
    cx.app.domain_lookups.take_request(cx.organization())?;
    let name = comparison_key(&row.name);
    let ends_with = |ending: &str| name.strip_suffix(ending).is_some_and(|at| at.ends_with('.'));
    if PRIVATE_ENDINGS.into_iter().any(ends_with) {
        let why = "the public DNS has no such names, so it cannot prove this one";
        let reason = RefusalReason::DomainRecordMissing;
        return Err(Error::Held { reason, why: why.into() });
    }
    Ok(row)
}

/// Takes what the DNS said about the domain of [`begin_proof`].
///
/// # Errors
/// [`Error::Held`] if the record is not there, if the DNS did not answer, or if another
/// organization has proven the domain.
pub async fn finish_proof(cx: &Cx, id: Uuid, answer: TextAnswer) -> Result<OrganizationDomain> {
    cx.allow(Action::WriteConnection, None)?;
    let silence = answer.as_ref().err().cloned();
    let count = answer.as_ref().map_or(0, Vec::len);
    let row = settle_answer(cx, id, answer).await?;
    if let Some(why) = silence {
        let why = format!("the DNS was not reached: {why}; try again in some minutes");
        return Err(Error::Held { reason: RefusalReason::DnsUnavailable, why: why.into() });
    }
    if row.state == DomainState::Proven {
        return Ok(row);
    }
    let others = if count > 0 { format!(" ({count} with other texts)") } else { String::new() };
    let why = format!(
        "the DNS has no TXT record {} with the text {}{others}; a new record can take an hour to \
         be seen",
        record_name(&row),
        record_value(&row)
    );
    Err(Error::Held { reason: RefusalReason::DomainRecordMissing, why: why.into() })
}

/// Stores what the DNS said.
async fn settle_answer(cx: &Cx, id: Uuid, answer: TextAnswer) -> Result<OrganizationDomain> {
    let outcome = match &answer {
        Ok(texts) => {
            let texts: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
            let texts = &texts;
            let settled = cx.write(move |tx| {
                Box::pin(async move {
                    let row = lock_domain(tx, id).await?;
                    let found = texts.contains(&record_value(&row).as_str());
                    change_state(tx, row, found).await
                })
            });
            settled.await.map_err(|error| match error {
                Error::Taken { field: "provenName" } => Error::Held {
                    reason: RefusalReason::DomainProvenElsewhere,
                    why: "another organization of this installation has proven the domain; it \
                          must remove its record first, which is seen within a day"
                        .into(),
                },
                error => error,
            })
        }
        Err(_) => {
            let found = find_domain_unchecked(cx, id).await?;
            found.ok_or_else(|| Error::not_found(NOUN))
        }
    };
    let state = outcome.as_ref().map_or(DomainState::Lost, |row| row.state);
    let error = match (&answer, &outcome) {
        (Err(why), _) => Some(why.chars().take(MAX_ERROR_LENGTH).collect()),
        (Ok(_), Err(Error::Held { why, .. })) => Some(why.to_string()),
        (Ok(_), _) => None,
    };
    note_check(cx, id, state, answer.is_ok(), error).await?;
    outcome
}

/// Whether the record was found decides the state.
async fn change_state(
    tx: &Tx<'_>,
    row: OrganizationDomain,
    found: bool,
) -> Result<Change<OrganizationDomain>> {
    let kind = match (row.state, found) {
        (DomainState::Asserted | DomainState::Lost, true) => EventKind::DomainProven,
        (DomainState::Proven, false) => EventKind::DomainLost,
        (DomainState::Proven, true) | (DomainState::Asserted | DomainState::Lost, false) => {
            return Ok(Change::unchanged(row));
        }
    };
    let now = tx.now_after(Some(last_change(&row)));
    let mut after = row.clone();
    if found {
        after.state = DomainState::Proven;
        after.proven_name = Some(comparison_key(&row.name));
        after.proven_at = Some(now);
        after.lost_at = None;
    } else {
        after.state = DomainState::Lost;
        after.proven_name = None;
        after.lost_at = Some(now);
    }
    crate::domain::save_row::<organization_domain::Entity, organization_domain::ActiveModel>(
        tx,
        after.clone(),
    )
    .await?;
    let values = (Some(describe_domain(&row)), Some(describe_domain(&after)));
    let entry = domain_event(kind, &after, now, values.0, values.1);
    Ok(Change::recorded(after, entry))
}

/// When the DNS was asked, and what it said: no event, because nothing about the domain changes.
async fn note_check(
    cx: &Cx,
    id: Uuid,
    state: DomainState,
    answered: bool,
    error: Option<String>,
) -> Result<()> {
    use organization_domain::Column;
    let now = cx.app.clock.now();
    let next = match state {
        DomainState::Asserted => None,
        DomainState::Proven | DomainState::Lost if answered => Some(now + CHECK_INTERVAL),
        DomainState::Proven | DomainState::Lost => Some(now + RETRY_INTERVAL),
    };
    let mut update = organization_domain::Entity::update_many()
        .col_expr(Column::CheckError, Expr::value(error))
        .col_expr(Column::NextCheckAt, Expr::value(next))
        .filter(Column::OrganizationId.eq(cx.organization()))
        .filter(Column::Id.eq(id));
    if answered {
        update = update.col_expr(Column::CheckedAt, Expr::value(Some(now)));
    }
    update.exec(&cx.app.store.write).await?;
    Ok(())
}

/// A domain whose record is to be looked up again, which no other server does meanwhile.
#[derive(Debug)]
pub struct DueDomain {
    cx: Cx,
    row: OrganizationDomain,
}

impl DueDomain {
    /// Where the DNS has the record.
    pub fn record_name(&self) -> String {
        record_name(&self.row)
    }

    /// Takes what the DNS said.
    ///
    /// # Errors
    /// The database's own.
    pub async fn take_answer(self, answer: TextAnswer) -> Result<()> {
        match settle_answer(&self.cx, self.row.id, answer).await {
            // It was removed meanwhile, or another organization has proven it meanwhile.
            Ok(_) | Err(Error::NotFound(_) | Error::Held { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The domains whose record is to be looked up again, in every organization.
///
/// # Errors
/// The database's own.
pub async fn claim_due_domains(app: &Arc<App>) -> Result<Vec<DueDomain>> {
    #[derive(FromQueryResult)]
    struct DueRow {
        organization_id: Uuid,
        id: Uuid,
    }
    let text = format!(
        "SELECT d.organization_id, d.id FROM organization_domain d WHERE d.next_check_at <= $1 \
         AND {} ORDER BY d.next_check_at LIMIT {BATCH_SIZE}",
        is_open_condition("d")
    );
    let now = app.clock.now();
    let reason = "which domains are to be looked up again";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let mut claimed = Vec::new();
    for due in DueRow::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), due.organization_id);
        use organization_domain::Column;
        let taken = organization_domain::Entity::update_many()
            .col_expr(Column::NextCheckAt, Expr::value(Some(now + RETRY_INTERVAL)))
            .filter(Column::OrganizationId.eq(due.organization_id))
            .filter(Column::Id.eq(due.id))
            .filter(Column::NextCheckAt.lte(now))
            .exec(&app.store.write)
            .await?;
        if taken.rows_affected == 0 {
            continue;
        }
        let row = find_domain_unchecked(&cx, due.id).await?;
        claimed.extend(row.map(|row| DueDomain { cx, row }));
    }
    Ok(claimed)
}

/// The wanted domains: those that match all conditions; empty or none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DomainQuery {
    /// The name contains this.
    pub search: Option<String>,
    pub states: Vec<DomainState>,
}

fn select_domains(cx: &Cx, which: &DomainQuery) -> Select<organization_domain::Entity> {
    let mut query = cx.find::<organization_domain::Entity>();
    if let Some(search) = &which.search {
        let search = document::fold_text(search);
        query = query.filter(paging::contains_text(cx, "organization_domain.name", &search));
    }
    if !which.states.is_empty() {
        let states = which.states.iter().copied();
        query = query.filter(organization_domain::Column::State.is_in(states));
    }
    query
}

/// A page of domains, each with its place in the order `by`.
pub async fn list_domains(
    cx: &Cx,
    which: &DomainQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(OrganizationDomain, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    let id = organization_domain::Column::Id;
    paging::fetch_ordered(cx, select_domains(cx, which), id, by, keyset).await
}

/// How many domains there are.
pub async fn count_domains(cx: &Cx, which: &DomainQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_domains(cx, which).count(cx.db()).await?)
}

/// One domain.
pub async fn find_domain(cx: &Cx, id: Uuid) -> Result<Option<OrganizationDomain>> {
    cx.allow(Action::ReadIam, None)?;
    find_domain_unchecked(cx, id).await
}

async fn find_domain_unchecked(cx: &Cx, id: Uuid) -> Result<Option<OrganizationDomain>> {
    let query = cx.find::<organization_domain::Entity>();
    Ok(query.filter(organization_domain::Column::Id.eq(id)).one(cx.db()).await?)
}

/// The domains whose record is gone, the earliest first.
pub(in crate::domain) async fn list_lost(cx: &Cx) -> Result<Vec<OrganizationDomain>> {
    let lost = cx.find::<organization_domain::Entity>();
    let lost = lost.filter(organization_domain::Column::State.eq(DomainState::Lost));
    Ok(lost.order_by_asc(organization_domain::Column::LostAt).all(cx.db()).await?)
}

/// The domains that no record proves yet, where a sign-in over one of the `connections` makes
/// accounts: it makes none for people of these domains.
pub(in crate::domain) async fn list_unproven(
    cx: &Cx,
    connections: &[Uuid],
) -> Result<Vec<OrganizationDomain>> {
    use assertion_source::Column;
    let makes = cx.find::<assertion_source::Entity>();
    let makes = makes.filter(Column::AccountCreation.ne(AccountCreation::None));
    let makes: Vec<Uuid> =
        makes.select_only().column(Column::ConnectionId).into_tuple().all(cx.db()).await?;
    if !makes.iter().any(|id| connections.contains(id)) {
        return Ok(Vec::new());
    }
    let open = cx.find::<organization_domain::Entity>();
    let open = open.filter(organization_domain::Column::State.eq(DomainState::Asserted));
    Ok(open.order_by_asc(organization_domain::Column::Name).all(cx.db()).await?)
}

async fn lock_domain(tx: &Tx<'_>, id: Uuid) -> Result<OrganizationDomain> {
    let query = tx.find::<organization_domain::Entity>();
    let query = query.filter(organization_domain::Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(NOUN))
}

fn last_change(row: &OrganizationDomain) -> DateTime<Utc> {
    row.created_at.max(row.proven_at.unwrap_or_default()).max(row.lost_at.unwrap_or_default())
}

fn describe_domain(row: &OrganizationDomain) -> Value {
    json!({ "name": row.name, "state": sea_orm::ActiveEnum::to_value(&row.state) })
}

fn domain_event(
    kind: EventKind,
    row: &OrganizationDomain,
    at: DateTime<Utc>,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "domain", id: row.id },
        connection: None,
        at,
        before,
        after,
        population: 0,
        name: Some(row.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let checked = |name: &str| check_name(name, "name".into()).ok();
        assert_eq!(checked(" Example.ORG ").as_deref(), Some("example.org"));
        assert_eq!(checked("BÜCHER.example").as_deref(), Some("bücher.example"));
        assert_eq!(checked("xn--bcher-kva.example").as_deref(), Some("bücher.example"));
        assert_eq!(checked("ｅxample.org").as_deref(), Some("example.org"));
        for wrong in ["org", "", ".", "a..b", "-a.example", "*.example.org", "a_b.example", "a b.c"]
        {
            assert_eq!(checked(wrong), None, "{wrong}");
        }
        assert_eq!(domain_of("Ada@XN--BCHER-KVA.example"), domain_of("ada@bücher.example"));
        assert_ne!(domain_of("ada@example.org"), domain_of("ada@sub.example.org"));
        assert_eq!(domain_of("ada@evil.example@example.org"), Some("example.org".into()));
        assert_eq!(domain_of("ada"), None);
        assert_eq!(domain_of("ada@"), None);
    }
}
