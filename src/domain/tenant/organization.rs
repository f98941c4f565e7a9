//! Organizations: tenants, and the overview that an administrator sees first.

use chrono::{DateTime, Utc};
use entity::connection;
use entity::organization::{self, IntegrationMode};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{App, Change, Cx};
use crate::domain::audit::event;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::set_aside;
use crate::domain::tenant::domain;
use crate::error::{Error, Noun, RefusalReason, Result, mistakes};
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use organization::Model as Organization;

/// A slug can stand in a URL and in a file name: lower-case letters, digits and inner hyphens.
pub(in crate::domain) fn check_slug(slug: &str) -> Result<()> {
    let good = (1..=63).contains(&slug.len())
        && slug
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-');
    if good {
        Ok(())
    } else {
        Err(Error::invalid("slug", "must be 1 to 63 lower-case letters, digits and inner hyphens"))
    }
}

/// SQL: whether the organization of the rows of `table` is not suspended, for what claims work in
/// any organization.
pub(in crate::domain) fn is_open_condition(table: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM organization closed WHERE closed.id = {table}.organization_id \
         AND closed.suspended_at IS NOT NULL)"
    )
}

/// The error of every interface of a suspended organization.
pub fn suspended_error() -> Error {
    Error::Held {
        reason: RefusalReason::OrganizationSuspended,
        why:
            "this organization is suspended; nothing was changed, and the operator of this server \
              can resume it"
                .into(),
    }
}

/// The tenant with this slug, for callers that have no tenant yet (the command line, sign-in).
pub async fn by_slug(app: &App, slug: &str) -> Result<Option<Organization>> {
    #[allow(
        clippy::disallowed_methods,
        reason = "organizations are what everything else is scoped by"
    )]
    let found = organization::Entity::find()
        .filter(organization::Column::Slug.eq(slug))
        .one(&app.store.read)
        .await?;
    Ok(found)
}

/// The tenants with these slugs, for a person whose credential names them.
pub async fn by_slugs(app: &App, slugs: &[String]) -> Result<Vec<Organization>> {
    #[allow(
        clippy::disallowed_methods,
        reason = "organizations are what everything else is scoped by"
    )]
    let query = organization::Entity::find()
        .filter(organization::Column::Slug.is_in(slugs.iter().map(String::as_str)));
    Ok(query.order_by_asc(organization::Column::Slug).all(&app.store.read).await?)
}

/// All tenants, by slug; for the command line and the workers.
pub async fn list_all(app: &App) -> Result<Vec<Organization>> {
    #[allow(
        clippy::disallowed_methods,
        reason = "organizations are what everything else is scoped by"
    )]
    let all = organization::Entity::find()
        .order_by_asc(organization::Column::Slug)
        .all(&app.store.read)
        .await?;
    Ok(all)
}

/// The tenant of this request.
pub async fn current_organization(cx: &Cx) -> Result<Organization> {
    #[allow(
        clippy::disallowed_methods,
        reason = "organizations are what everything else is scoped by"
    )]
    let found = organization::Entity::find_by_id(cx.organization()).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found(Noun::Organization))
}

/// The settings of an organization to change; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct OrganizationSettings {
    pub name: Option<String>,
    pub scim_enabled: Option<bool>,
    pub integration_mode: Option<IntegrationMode>,
    /// The domains inside which a user name identifies a person; replaces the whole list.
    pub verified_domains: Option<Vec<String>>,
}

/// Changes the organization's settings.
pub async fn update_organization(cx: &Cx, settings: OrganizationSettings) -> Result<Organization> {
    cx.allow(Action::WriteConnection, None)?;
    let name = settings
        .name
        .as_deref()
        .map(|name| crate::domain::check_text("name", name, 200))
        .transpose();
    let domains = settings.verified_domains.as_deref().map(domain::check_names).transpose();
    let (name, domains) = mistakes::both(name, domains)?;
    let (name, domains, settings) = (&name, &domains, &settings);
    cx.write(move |tx| {
        Box::pin(async move {
            #[allow(
                clippy::disallowed_methods,
                reason = "organizations are what everything else is scoped by"
            )]
            let query = organization::Entity::find_by_id(cx.organization());
            let before = crate::domain::lock_row(tx, query)
                .await?
                .ok_or_else(|| Error::not_found(Noun::Organization))?;
            let mut after = before.clone();
            after.name = name.clone().unwrap_or(after.name);
            after.scim_enabled = settings.scim_enabled.unwrap_or(after.scim_enabled);
            after.integration_mode = settings.integration_mode.unwrap_or(after.integration_mode);
            let had = domain::names_within(tx).await?;
            let has = domains.as_ref().unwrap_or(&had);
            if after == before && *has == had {
                return Ok(Change::unchanged(before));
            }
            after.updated_at = tx.now_after(Some(before.updated_at));
            if *has != had {
                domain::replace_names(tx, has, after.updated_at).await?;
            }
            let mut returned = std::collections::BTreeSet::new();
            if after.integration_mode != before.integration_mode {
                set_aside::lock_sources(tx).await?;
                if before.integration_mode != IntegrationMode::Scim {
                    returned = set_aside::return_memberships(tx, after.updated_at).await?;
                }
            }
            crate::domain::save_row::<organization::Entity, organization::ActiveModel>(
                tx,
                after.clone(),
            )
            .await?;
            let (was, mut is) = ledger::changed_members(
                &describe_organization(&before, &had),
                &describe_organization(&after, has),
            );
            if !returned.is_empty() {
                // Their memberships are again as SCIM and people said.
                is["groups"] = serde_json::json!(returned);
            }
            let entry = NewEvent {
                kind: EventKind::OrganizationUpdated,
                subject: EventSubject { kind: "organization", id: after.id },
                connection: None,
                at: after.updated_at,
                before: Some(was),
                after: Some(is),
                population: 0,
                name: None,
            };
            Ok(Change::recorded(after, entry))
        })
    })
    .await
}

fn describe_organization(
    row: &Organization,
    domains: &[String],
) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    map.insert("name".into(), row.name.clone().into());
    map.insert("scimEnabled".into(), row.scim_enabled.into());
    map.insert(
        "integrationMode".into(),
        sea_orm::ActiveEnum::to_value(&row.integration_mode).into(),
    );
    map.insert("verifiedDomains".into(), domains.into());
    map
}

/// Whether SCIM can be used here, and if not, the reason. Each reason has a remedy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundAvailability {
    Available,
    /// This installation does not offer SCIM.
    PlatformDisabled,
    /// The operator has not released provisioning to the organization yet.
    NotReleased,
    /// The organization uses Entra ID's native integration, which excludes SCIM.
    EntraNativeIntegration,
    /// Sign-ins say who is in which group, which excludes SCIM.
    SignInIntegration,
}

impl InboundAvailability {
    /// Computed at every call, never stored.
    pub fn of(app: &App, mode: IntegrationMode, released: bool) -> Self {
        match mode {
            _ if !app.config.scim_enabled => Self::PlatformDisabled,
            _ if !released => Self::NotReleased,
            IntegrationMode::EntraNative => Self::EntraNativeIntegration,
            IntegrationMode::SignIn => Self::SignInIntegration,
            IntegrationMode::Scim => Self::Available,
        }
    }

    /// Computed at every call, never stored.
    pub fn of_organization(app: &App, organization: &Organization) -> Self {
        Self::of(app, organization.integration_mode, organization.provisioning_released)
    }

    /// Refuses, with an error that administrators understand, unless SCIM can be used.
    pub fn check_available(self) -> Result<()> {
        match self.remedy() {
            None => Ok(()),
            Some((reason, why)) => Err(Error::Held { reason, why: why.into() }),
        }
    }

    /// The reason code and what to do about it; none while available.
    pub fn remedy(self) -> Option<(RefusalReason, &'static str)> {
        match self {
            Self::Available => None,
            Self::PlatformDisabled => Some((
                RefusalReason::PlatformDisabled,
                "SCIM is not enabled in this deployment. Its operator enables it with \
                 ROLECALL_SCIM_ENABLED=true.",
            )),
            Self::NotReleased => Some((
                RefusalReason::ProvisioningNotReleased,
                "Provisioning is being released to one organization after another, and not to \
                 this one yet. Nothing that was set up is lost. The operator of this server \
                 releases it.",
            )),
            Self::EntraNativeIntegration => Some((
                RefusalReason::EntraNativeIntegration,
                "Microsoft Entra ID's native integration is set up, and SCIM cannot be used beside \
                 it. Switch the organization's integration mode to SCIM first.",
            )),
            Self::SignInIntegration => Some((
                RefusalReason::SignInIntegration,
                "Sign-ins at the identity provider say who is in which group, and SCIM cannot be \
                 used beside them. Switch the organization's integration mode to SCIM first.",
            )),
        }
    }
}

/// Refuses while SCIM cannot be used here, or provisioning is turned off for the organization.
///
/// # Errors
/// [`Error::Held`] with the reason and what to do about it.
pub async fn check_provisioning(cx: &Cx) -> Result<()> {
    let organization = current_organization(cx).await?;
    InboundAvailability::of_organization(&cx.app, &organization).check_available()?;
    if organization.scim_enabled {
        return Ok(());
    }
    let why = "provisioning is turned off for this organization; turn it on in its settings \
               (scimEnabled) first";
    Err(Error::Held { reason: RefusalReason::OrganizationDisabled, why: why.into() })
}

/// Whether inbound SCIM is being served: the organization's flag is on and a connection is active.
pub async fn scim_active(cx: &Cx, organization: &Organization) -> Result<bool> {
    cx.allow(Action::ReadIam, None)?;
    if !organization.scim_enabled
        || InboundAvailability::of_organization(&cx.app, organization)
            != InboundAvailability::Available
    {
        return Ok(false);
    }
    let active = cx
        .find::<connection::Entity>()
        .filter(connection::Column::DeletedAt.is_null())
        .filter(connection::Column::Kind.eq(connection::ConnectionKind::ScimPush))
        .filter(connection::Column::Status.eq(connection::ConnectionStatus::Active))
        .count(cx.db())
        .await?;
    Ok(active > 0)
}

/// When an identity provider last sent a request; none if it never did.
pub async fn last_contact(cx: &Cx) -> Result<Option<DateTime<Utc>>> {
    cx.allow(Action::ReadIam, None)?;
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let latest = live.select_only().column_as(connection::Column::LastContactAt.max(), "at");
    Ok(latest.into_tuple::<Option<DateTime<Utc>>>().one(cx.db()).await?.flatten())
}

/// Live accounts that came through SCIM, as opposed to created by hand; of one connection or of
/// all.
pub async fn provisioned_users(cx: &Cx, connection: Option<Uuid>) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    event::count_population(
        cx,
        "user",
        connection.map_or(SubjectOwners::Connections, SubjectOwners::Connection),
    )
    .await
}

/// Live groups that came through SCIM; of one connection or of all.
pub async fn provisioned_groups(cx: &Cx, connection: Option<Uuid>) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    event::count_population(
        cx,
        "group",
        connection.map_or(SubjectOwners::Connections, SubjectOwners::Connection),
    )
    .await
}

/// The SCIM base URL, exactly as an administrator must enter it in the identity provider.
pub fn base_url(app: &App, slug: &str) -> String {
    format!("{}/scim/v2/{slug}", app.config.public_url)
}
