//! A connection whose sign-ins are accepted, and what it may do.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use entity::assertion_source::AccountCreation;
use entity::organization::IntegrationMode;
use entity::{assertion_source, connection};
use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use crate::auth::policy::{Actor, Scope};
use crate::context::Cx;
use crate::domain::connection::Connection;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{InboundAvailability, Organization};
use crate::error::{Error, Noun, RefusalReason, Result};

pub use assertion_source::Model as AssertionSource;

/// Why a sign-in changed nothing, or not all that it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRefusal {
    pub reason: RefusalReason,
    /// What happened and what to do about it, for people.
    pub why: Cow<'static, str>,
}

impl SignInRefusal {
    pub(super) fn new(reason: RefusalReason, why: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// A connection of the kind ASSERTION with all that decides about its sign-ins.
pub(super) struct SignInSource {
    pub organization: Organization,
    pub connection: Connection,
    pub source: AssertionSource,
    /// Acts as the connection.
    pub cx: Cx,
}

impl SignInSource {
    /// Reads the connection `id` with its settings.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a connection that does not exist or accepts no sign-ins.
    pub async fn read_settings(cx: &Cx, id: Uuid) -> Result<Self> {
        let organization = organization::current_organization(cx).await?;
        let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
        let connection = live.filter(connection::Column::Id.eq(id)).one(cx.db()).await?;
        let connection = connection.ok_or_else(|| Error::not_found(Noun::Connection))?;
        let source = cx.find::<assertion_source::Entity>();
        let source = source.filter(assertion_source::Column::ConnectionId.eq(id));
        let source = source.one(cx.db()).await?;
        let source = source.ok_or_else(|| Error::not_found(Noun::Connection))?;
        let actor = Actor::Connection {
            id,
            name: connection.name.clone(),
            scopes: Scope::ALL.into_iter().collect(),
        };
        let mut acting = Cx::new(cx.app.clone(), actor, cx.organization(), cx.request_id);
        (acting.requested_at, acting.wrote) = (cx.requested_at, cx.wrote.clone());
        Ok(Self { organization, connection, source, cx: acting })
    }

    /// Whether its claims are people's memberships, and not only evidence.
    pub fn is_source_of_truth(&self) -> bool {
        is_source(self.organization.integration_mode, &self.connection)
    }

    /// Why nothing is provisioned at present; each reason has its remedy.
    pub fn refusal(&self) -> Option<SignInRefusal> {
        let available = InboundAvailability::of_organization(&self.cx.app, &self.organization);
        if let InboundAvailability::PlatformDisabled | InboundAvailability::NotReleased = available
        {
            let (reason, why) = available.remedy()?;
            return Some(SignInRefusal::new(reason, why));
        }
        if !self.organization.scim_enabled {
            return Some(SignInRefusal::new(
                RefusalReason::OrganizationDisabled,
                "provisioning is turned off for this organization, so the sign-in changed nothing; \
                 turn it on in its settings (scimEnabled)",
            ));
        }
        if self.connection.status != connection::ConnectionStatus::Active {
            return Some(SignInRefusal::new(
                RefusalReason::ConnectionInactive,
                "the connection is not active, so the sign-in changed nothing; activate it first",
            ));
        }
        None
    }

    /// Whether a sign-in may make accounts here.
    pub fn makes_accounts(&self) -> bool {
        let scim = self.organization.integration_mode == IntegrationMode::Scim;
        self.source.account_creation != AccountCreation::None && (scim || self.is_source_of_truth())
    }

    /// The key of a person's row.
    pub fn subject_key(&self, subject: &str) -> Result<Vec<u8>> {
        let named = format!("subject {} {subject}", self.connection.id);
        self.keyed_hash(&named)
    }

    /// A hash of personal data that is only comparable inside of this organization.
    pub fn keyed_hash(&self, text: &str) -> Result<Vec<u8>> {
        let Organization { id, data_key, .. } = &self.organization;
        self.cx.app.vault.keyed_hash(*id, data_key, text)
    }

    /// When claims of this instant stop giving roles; none = never.
    pub fn claims_end(&self, issued_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let days = self.source.claims_expire_days?;
        issued_at.checked_add_signed(TimeDelta::days(days.into()))
    }
}

/// Whether the claims of this connection are people's memberships in this mode.
pub(super) fn is_source(mode: IntegrationMode, connection: &Connection) -> bool {
    let entra = connection.provider == connection::Provider::EntraId;
    connection.kind == connection::ConnectionKind::Assertion
        && match mode {
            IntegrationMode::Scim => false,
            IntegrationMode::EntraNative => entra,
            IntegrationMode::SignIn => !entra,
        }
}
