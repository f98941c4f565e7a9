//! Creates an organization, a connection and the first credentials, directly in the database.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::connection::Provider;
use serde::Serialize;
use uuid::Uuid;

use crate::auth::policy::{Actor, Permission};
use crate::context::{App, Cx};
use crate::domain::access::api_key;
use crate::domain::connection;
use crate::domain::connection::Connection;
use crate::domain::connection::scim_token;
use crate::domain::tenant::lifecycle;
use crate::domain::tenant::lifecycle::CreatedOrganization;
use crate::domain::tenant::organization;
use crate::error::{Error, Result};

/// The name of the keys that a bootstrap issues.
const KEY_NAME: &str = "bootstrap";

/// The organization, the connection and the new credentials.
#[derive(Debug, Serialize)]
pub struct BootstrapResult {
    pub organization: OrganizationFacts,
    pub connection: ConnectionFacts,
    pub scim: ScimFacts,
    pub graphql: GraphqlFacts,
    pub made: MadeFacts,
    pub live: LiveFacts,
}

/// Which of the two this run created; the other existed before.
#[derive(Debug, Serialize)]
pub struct MadeFacts {
    pub organization: bool,
    pub connection: bool,
}

/// How many credentials are valid now, those of this run included.
#[derive(Debug, Serialize)]
pub struct LiveFacts {
    /// Of the connection.
    pub scim_tokens: u64,
    /// Of the organization.
    pub api_keys: u64,
}

#[derive(Debug, Serialize)]
pub struct OrganizationFacts {
    pub id: Uuid,
    pub slug: String,
}

#[derive(Debug, Serialize)]
pub struct ConnectionFacts {
    pub id: Uuid,
    pub name: String,
}

#[derive(Debug, Serialize)]
pub struct ScimFacts {
    pub base_url: String,
    pub users_url: String,
    pub groups_url: String,
    pub token: String,
}

#[derive(Debug, Serialize)]
pub struct GraphqlFacts {
    pub url: String,
    pub api_key: String,
    /// When the key ends.
    pub api_key_expires_at: DateTime<Utc>,
    /// How many keys of the organization were valid before this one was issued.
    pub other_live_keys: u64,
}

/// [`run_for`] with the default lifetime of the key, [`api_key::BOOTSTRAP_DAYS`].
///
/// # Errors
/// As [`run_for`].
pub async fn run_bootstrap(
    app: &Arc<App>,
    slug: &str,
    name: &str,
    provider: Provider,
) -> Result<BootstrapResult> {
    run_for(app, slug, name, provider, api_key::BOOTSTRAP_DAYS).await
}

/// The connection and the number of its valid credentials, before anything is created.
#[derive(Debug)]
pub struct ExistingCredentials {
    pub connection: Option<Connection>,
    pub scim_tokens: u64,
    pub api_keys: u64,
}

/// Finds the connection of an organization and counts the valid credentials. Creates nothing.
///
/// # Errors
/// The database's own.
pub async fn find_existing(app: &Arc<App>, slug: &str, name: &str) -> Result<ExistingCredentials> {
    let Some(organization) = organization::by_slug(app, slug).await? else {
        return Ok(ExistingCredentials { connection: None, scim_tokens: 0, api_keys: 0 });
    };
    let cx = Cx::system(app.clone(), organization.id);
    let connection = connection::find_connection_by_name(&cx, name).await?;
    let scim_tokens = match &connection {
        Some(connection) => live_tokens(&cx, connection.id).await?,
        None => 0,
    };
    Ok(ExistingCredentials {
        connection,
        scim_tokens,
        api_keys: api_key::count_live(&cx, app.clock.now()).await?,
    })
}

async fn live_tokens(cx: &Cx, connection: Uuid) -> Result<u64> {
    let now = cx.app.clock.now();
    let tokens = scim_token::tokens_of_connections(cx, &[connection]).await?;
    Ok(tokens.iter().filter(|found| scim_token::is_live(found, now)).count() as u64)
}

/// Finds or creates the organization and the connection, and issues a new token and a new key. The
/// key has every permission in that organization and expires after `key_days`.
///
/// # Errors
/// [`Error::Invalid`] if the connection of this name has another provider, or if the key would live
/// longer than a key may; and the errors of creating each of them.
pub async fn run_for(
    app: &Arc<App>,
    slug: &str,
    name: &str,
    provider: Provider,
    key_days: u16,
) -> Result<BootstrapResult> {
    let found = organization::by_slug(app, slug).await?;
    let new_organization = found.is_none();
    // A new organization comes with its first key, as over the API.
    let (organization, first_key) = match found {
        Some(organization) => (organization, None),
        None => {
            let made = lifecycle::create_organization(
                app,
                Actor::System,
                (slug, slug),
                KEY_NAME,
                key_days,
            );
            let CreatedOrganization { organization, key } = made.await?;
            (organization, Some(key))
        }
    };
    let cx = Cx::system(app.clone(), organization.id);
    let found = connection::find_connection_by_name(&cx, name).await?;
    let new_connection = found.is_none();
    if found.as_ref().is_some_and(|connection| connection.provider != provider) {
        let why = format!("the connection {name:?} already exists with another provider");
        return Err(Error::invalid("provider", why));
    }
    let connection = match found {
        Some(connection) => connection,
        None => create_named_connection(&cx, name, provider).await?,
    };
    let token = scim_token::issue_token(&cx, connection.id, None, None).await?;
    let (key, live_keys) = match first_key {
        Some(key) => (key, api_key::count_live(&cx, app.clock.now()).await?.saturating_sub(1)),
        None => {
            let live = api_key::count_live(&cx, app.clock.now()).await?;
            let end = cx.requested_at + chrono::Duration::days(key_days.into());
            let held = Permission::in_organization();
            (api_key::issue_key(&cx, KEY_NAME, held, Some(end)).await?, live)
        }
    };
    let base_url = organization::base_url(app, &organization.slug);
    Ok(BootstrapResult {
        made: MadeFacts { organization: new_organization, connection: new_connection },
        live: LiveFacts {
            scim_tokens: live_tokens(&cx, connection.id).await?,
            api_keys: api_key::count_live(&cx, app.clock.now()).await?,
        },
        organization: OrganizationFacts { id: organization.id, slug: organization.slug },
        connection: ConnectionFacts { id: connection.id, name: connection.name },
        scim: ScimFacts {
            users_url: format!("{base_url}/Users"),
            groups_url: format!("{base_url}/Groups"),
            base_url,
            token: token.secret,
        },
        graphql: GraphqlFacts {
            url: format!("{}/graphql", app.config.public_url),
            api_key: key.secret,
            api_key_expires_at: key.key.expires_at.unwrap_or_default(),
            other_live_keys: live_keys,
        },
    })
}

async fn create_named_connection(cx: &Cx, name: &str, provider: Provider) -> Result<Connection> {
    let settings = connection::ConnectionSettings {
        name: Some(name.into()),
        provider: Some(provider),
        ..Default::default()
    };
    connection::create_connection(cx, settings, Default::default()).await
}
