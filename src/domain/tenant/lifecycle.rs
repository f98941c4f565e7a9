//! What the operator does with organizations: create one, suspend it, resume it, list all. And what
//! an organization lets the operator do: see its people, for a time that its ledger tells.
//!
//! A suspended organization is closed on every interface, and no job of it runs. Nothing is lost:
//! what was under way goes on when it is resumed. The suspension is read by the statements that
//! authenticate a request and that claim a job, so it counts from its own transaction on.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::organization;
use entity::organization::IntegrationMode;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::json;
use uuid::Uuid;

use super::organization::{Organization, check_slug};
use crate::auth::policy::{Action, Actor, Permission};
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::domain::access::api_key;
use crate::domain::access::api_key::{IssuedKey, NewKey};
use crate::domain::paging;
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, Result, mistakes};
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// The longest time for which an organization lets the operator in.
const MAX_OPERATOR_ACCESS: Duration = Duration::days(30);

/// Tables of work whose rows a server holds while it carries them out.
const HELD_WORK: [&str; 4] = ["bulk_job", "sync_run", "failure", "deletion_job"];

/// A new organization, and the first key to administer it with.
#[derive(Debug)]
pub struct CreatedOrganization {
    pub organization: Organization,
    pub key: IssuedKey,
}

/// Creates an organization, with a key that has every permission in it and ends after `key_days`.
/// The slug becomes part of its SCIM URL and never changes.
///
/// # Errors
/// [`Error::Invalid`] for a slug that cannot stand in a URL, [`Error::Taken`] for one that exists.
pub async fn create_organization(
    app: &Arc<App>,
    actor: Actor,
    named: (&str, &str),
    key_name: &str,
    key_days: u16,
) -> Result<CreatedOrganization> {
    let cx = Cx::new(app.clone(), actor, Uuid::nil(), Uuid::now_v7());
    create_organization_for(&cx, named, key_name, key_days).await
}

/// [`create_organization`] in a request of the operator.
///
/// # Errors
/// As [`create_organization`].
pub async fn create_organization_for(
    cx: &Cx,
    (slug, name): (&str, &str),
    key_name: &str,
    key_days: u16,
) -> Result<CreatedOrganization> {
    cx.allow(Action::ManagePlatform, None)?;
    let ((), name) =
        mistakes::both(check_slug(slug), crate::domain::check_text("name", name, 200))?;
    let id = Uuid::now_v7();
    let (app, cx) = (&cx.app, &cx.in_organization(id));
    let end = cx.requested_at + Duration::days(key_days.into());
    let new_key =
        &NewKey::with_permissions(cx, key_name, Permission::in_organization(), Some(end))?;
    let name = &name;
    let (organization, key) = cx
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now_after(None);
                let row = Organization {
                    id,
                    slug: slug.into(),
                    name: name.clone(),
                    data_key: app.vault.new_data_key(&tx.db, id).await?,
                    scim_enabled: true,
                    integration_mode: IntegrationMode::Scim,
                    schema_version: 0,
                    created_at: now,
                    updated_at: now,
                    suspended_at: None,
                    operator_access_until: None,
                    provisioning_released: true,
                };
                organization::Entity::insert(organization::ActiveModel::from(row.clone()))
                    .exec_without_returning(&tx.db)
                    .await?;
                ledger::begin_chain(&tx.db, &app.vault, id, now).await?;
                let created = json!({ "slug": slug, "name": name });
                let entry =
                    lifecycle_event(EventKind::OrganizationCreated, id, now, None, Some(created));
                let (key, issued) = api_key::insert_key(tx, new_key, now).await?;
                let mut change = Change::recorded((row, key), entry);
                change.followed.push(DerivedChange {
                    request_id: cx.request_id,
                    requested_at: cx.requested_at,
                    entry: issued,
                });
                Ok(change)
            })
        })
        .await?;
    let key = IssuedKey { key, secret: new_key.secret.clone() };
    Ok(CreatedOrganization { organization, key })
}

/// Suspends an organization: no interface and no job of it works from now on. What a server carries
/// out for it stops at its next write, and goes on after the organization was resumed.
pub async fn suspend_organization(cx: &Cx, slug: &str, reason: &str) -> Result<Organization> {
    change_suspension(cx, slug, reason, true).await
}

/// Ends the suspension of an organization.
pub async fn resume_organization(cx: &Cx, slug: &str, reason: &str) -> Result<Organization> {
    change_suspension(cx, slug, reason, false).await
}

async fn change_suspension(
    cx: &Cx,
    slug: &str,
    reason: &str,
    suspends: bool,
) -> Result<Organization> {
    cx.allow(Action::ManagePlatform, None)?;
    let reason = crate::domain::check_text("reason", reason, 2_000);
    let (reason, found) = mistakes::both(reason, find_by_slug(cx, slug).await)?;
    let (reason, id) = (&reason, found.id);
    let inside = &cx.in_organization(id);
    let changed = inside
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_organization(tx, id).await?;
                if row.suspended_at.is_some() == suspends {
                    return Ok(Change::unchanged(row));
                }
                let now = tx.now_after(Some(row.updated_at));
                row.suspended_at = suspends.then_some(now);
                row.updated_at = now;
                save_organization(tx, row.clone()).await?;
                if suspends {
                    end_leases(tx).await?;
                }
                let kind = if suspends {
                    EventKind::OrganizationSuspended
                } else {
                    EventKind::OrganizationResumed
                };
                let entry = lifecycle_event(kind, id, now, None, Some(json!({ "reason": reason })));
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    if !suspends {
        cx.app.jobs.notify_one();
        cx.app.syncs.notify_one();
        cx.app.deletions.notify_one();
    }
    Ok(changed)
}

/// Releases provisioning to an organization, or withholds it: while it is withheld, every path that
/// provisions says so. Accounts stay as they are.
///
/// # Errors
/// [`Error::NotFound`] for an organization that does not exist.
pub async fn set_rollout(
    cx: &Cx,
    slug: &str,
    released: bool,
    reason: &str,
) -> Result<Organization> {
    cx.allow(Action::ManagePlatform, None)?;
    let reason = crate::domain::check_text("reason", reason, 2_000);
    let (reason, found) = mistakes::both(reason, find_by_slug(cx, slug).await)?;
    let (reason, id) = (&reason, found.id);
    let inside = &cx.in_organization(id);
    let changed = inside
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_organization(tx, id).await?;
                if row.provisioning_released == released {
                    return Ok(Change::unchanged(row));
                }
                let now = tx.now_after(Some(row.updated_at));
                row.provisioning_released = released;
                row.updated_at = now;
                save_organization(tx, row.clone()).await?;
                let kind = if released {
                    EventKind::OrganizationProvisioningReleased
                } else {
                    EventKind::OrganizationProvisioningWithheld
                };
                let entry = lifecycle_event(kind, id, now, None, Some(json!({ "reason": reason })));
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    if released {
        cx.app.syncs.notify_one();
    }
    Ok(changed)
}

/// The organization that the operator names.
async fn find_by_slug(cx: &Cx, slug: &str) -> Result<Organization> {
    let found = if slug.contains('\0') {
        None
    } else {
        super::organization::by_slug(&cx.app, slug).await?
    };
    found.ok_or_else(|| Error::not_found(Noun::Organization))
}

/// Takes the organization's work away from the servers that hold it. Each write of that work takes
/// effect only while its server holds it.
async fn end_leases(tx: &Tx<'_>) -> Result<()> {
    for table in HELD_WORK {
        let text = format!(
            "UPDATE {table} SET holder = NULL, until = $2 WHERE organization_id = $1 \
             AND finished_at IS NULL AND holder IS NOT NULL"
        );
        let values = [DateTime::UNIX_EPOCH.into()];
        tx.db.execute_raw(tx.statement(text, values)).await?;
    }
    // A request that waits has no end: what was carried out is deleted.
    let text = "UPDATE async_request SET holder = NULL, until = $2 WHERE organization_id = $1 \
                AND holder IS NOT NULL";
    tx.db.execute_raw(tx.statement(text, [DateTime::UNIX_EPOCH.into()])).await?;
    Ok(())
}

async fn lock_organization(tx: &Tx<'_>, id: Uuid) -> Result<Organization> {
    #[allow(
        clippy::disallowed_methods,
        reason = "organizations are what everything else is scoped by"
    )]
    let query = organization::Entity::find_by_id(id);
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Organization))
}

async fn save_organization(tx: &Tx<'_>, row: Organization) -> Result<()> {
    crate::domain::save_row::<organization::Entity, organization::ActiveModel>(tx, row).await
}

fn lifecycle_event(
    kind: EventKind,
    id: Uuid,
    at: DateTime<Utc>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> NewEvent {
    let subject = EventSubject { kind: "organization", id };
    NewEvent { kind, subject, connection: None, at, before, after, population: 0, name: None }
}

/// Lets people with `PLATFORM_ADMIN` use their other permissions in this organization until an
/// instant; none = not any more.
///
/// # Errors
/// [`Error::Invalid`] for an instant that is past or more than [`MAX_OPERATOR_ACCESS`] away.
pub async fn set_operator_access(
    cx: &Cx,
    until: Option<DateTime<Utc>>,
    reason: &str,
) -> Result<Organization> {
    cx.allow(Action::WriteConnection, None)?;
    // The operator cannot let itself in.
    if cx.holds(Permission::PlatformAdmin) && matches!(cx.actor, Actor::Person { .. }) {
        return Err(Error::Forbidden(
            "an administrator of the organization without PLATFORM_ADMIN decides this".into(),
        ));
    }
    let end = match until {
        Some(until) if until <= cx.requested_at => {
            Err(Error::invalid("until", "must be in the future"))
        }
        Some(until) if until > cx.requested_at + MAX_OPERATOR_ACCESS => {
            let why = format!("must be within {} days", MAX_OPERATOR_ACCESS.num_days());
            Err(Error::invalid("until", why))
        }
        _ => Ok(()),
    };
    let (reason, ()) = &mistakes::both(crate::domain::check_text("reason", reason, 2_000), end)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut row = lock_organization(tx, cx.organization()).await?;
            if row.operator_access_until == until {
                return Ok(Change::unchanged(row));
            }
            let before = json!({ "until": row.operator_access_until });
            let now = tx.now_after(Some(row.updated_at));
            row.operator_access_until = until;
            row.updated_at = now;
            save_organization(tx, row.clone()).await?;
            let kind = match until {
                Some(_) => EventKind::OrganizationOperatorAccessGranted,
                None => EventKind::OrganizationOperatorAccessRevoked,
            };
            let after = json!({ "until": until, "reason": reason });
            let entry = lifecycle_event(kind, row.id, now, Some(before), Some(after));
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Whether people with `PLATFORM_ADMIN` may use their other permissions in an organization now.
pub fn admits_operator(organization: &Organization, now: DateTime<Utc>) -> bool {
    organization.operator_access_until.is_some_and(|until| until > now)
}

/// Which organizations are listed; none = all.
#[derive(Debug, Clone, Default)]
pub struct OrganizationFilter {
    /// Those whose slug begins with this.
    pub slug_prefix: Option<String>,
    pub suspended: Option<bool>,
}

fn select_organizations(filter: &OrganizationFilter) -> Select<organization::Entity> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the operator lists the organizations themselves, and nothing in them"
    )]
    let mut query = organization::Entity::find();
    if let Some(prefix) = &filter.slug_prefix {
        query = query.filter(organization::Column::Slug.gte(prefix.clone()));
        query = query.filter(organization::Column::Slug.lt(format!("{prefix}\u{7f}")));
    }
    match filter.suspended {
        None => query,
        Some(true) => query.filter(organization::Column::SuspendedAt.is_not_null()),
        Some(false) => query.filter(organization::Column::SuspendedAt.is_null()),
    }
}

/// A page of the organizations, by slug.
pub async fn list_by_slug(
    cx: &Cx,
    filter: &OrganizationFilter,
    keyset: &Keyset<String>,
) -> Result<Slice<Organization>> {
    cx.allow(Action::ManagePlatform, None)?;
    let query = select_organizations(filter);
    paging::fetch_page(cx, query, organization::Column::Slug, keyset).await
}

/// A page of the organizations, by age.
pub async fn list_by_age(
    cx: &Cx,
    filter: &OrganizationFilter,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<Organization>> {
    cx.allow(Action::ManagePlatform, None)?;
    paging::fetch_page(cx, select_organizations(filter), organization::Column::Id, keyset).await
}

/// How many organizations there are.
pub async fn count_organizations(cx: &Cx, filter: &OrganizationFilter) -> Result<u64> {
    cx.allow(Action::ManagePlatform, None)?;
    Ok(select_organizations(filter).count(cx.db()).await?)
}
