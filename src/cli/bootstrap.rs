//! The first minute: an organization, a connection, and the credentials to begin with, straight in the database.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::connection::Provider;
use serde::Serialize;
use uuid::Uuid;

use crate::authz::{Actor, Permission};
use crate::context::{App, Cx};
use crate::domain::connection::{self, Connection};
use crate::domain::{key, organization, token};
use crate::error::{Error, Result};

/// What there is to begin with.
#[derive(Debug, Serialize)]
pub struct Bootstrapped {
    pub organization: OrganizationFacts,
    pub connection: ConnectionFacts,
    pub scim: ScimFacts,
    pub graphql: GraphqlFacts,
    pub made: MadeFacts,
    pub live: LiveFacts,
}

/// What was made by this run; the rest was found.
#[derive(Debug, Serialize)]
pub struct MadeFacts {
    pub organization: bool,
    pub connection: bool,
}

/// How many credentials open something now, those of this run included.
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
    /// How many keys of the organization opened something before this one was issued.
    pub other_live_keys: u64,
}

/// [`run_for`] with a key that lives as long as one without an owner should.
///
/// # Errors
/// As [`run_for`].
pub async fn run(app: &Arc<App>, slug: &str, name: &str, provider: Provider) -> Result<Bootstrapped> {
    run_for(app, slug, name, provider, key::BOOTSTRAP_DAYS).await
}

/// What is there before anything is made.
#[derive(Debug)]
pub struct Found {
    pub connection: Option<Connection>,
    pub scim_tokens: u64,
    pub api_keys: u64,
}

/// Looks what there is of an organization and of its connection, and makes nothing.
///
/// # Errors
/// The database's own.
pub async fn look(app: &Arc<App>, slug: &str, name: &str) -> Result<Found> {
    let Some(organization) = organization::by_slug(app, slug).await? else {
        return Ok(Found { connection: None, scim_tokens: 0, api_keys: 0 });
    };
    let cx = Cx::system(app.clone(), organization.id);
    let connection = connection::by_name(&cx, name).await?;
    let scim_tokens = match &connection {
        Some(connection) => live_tokens(&cx, connection.id).await?,
        None => 0,
    };
    Ok(Found { connection, scim_tokens, api_keys: key::count_live(&cx, app.clock.now()).await? })
}

async fn live_tokens(cx: &Cx, connection: Uuid) -> Result<u64> {
    let now = cx.app.clock.now();
    let tokens = token::of_connections(cx, &[connection]).await?;
    Ok(tokens.iter().filter(|found| token::is_live(found, now)).count() as u64)
}

/// Finds or makes the organization and the connection, and issues a further token and a further key with every
/// permission in that organization. The key ends after so many days.
///
/// # Errors
/// [`Error::Invalid`] for a connection of another provider that has this name, and for a key that would live longer than a
/// key may; whatever making says.
pub async fn run_for(
    app: &Arc<App>,
    slug: &str,
    name: &str,
    provider: Provider,
    key_days: u16,
) -> Result<Bootstrapped> {
    let found = organization::by_slug(app, slug).await?;
    let new_organization = found.is_none();
    let organization = match found {
        Some(organization) => organization,
        None => organization::create(app, Actor::System, slug, slug).await?,
    };
    let cx = Cx::system(app.clone(), organization.id);
    let found = connection::by_name(&cx, name).await?;
    let new_connection = found.is_none();
    let connection = match found {
        Some(connection) if connection.provider != provider => {
            let why = format!("the connection {name:?} is there already, and is of another provider");
            return Err(Error::invalid("provider", why));
        }
        Some(connection) => connection,
        None => {
            let settings =
                connection::Settings { name: Some(name.into()), provider: Some(provider), ..Default::default() };
            connection::create(&cx, settings).await?
        }
    };
    let token = token::issue(&cx, connection.id, None, None).await?;
    let live_keys = key::count_live(&cx, app.clock.now()).await?;
    let end = cx.requested_at + chrono::Duration::days(key_days.into());
    let key = key::issue(&cx, "bootstrap", Permission::in_organization(), Some(end)).await?;
    let base_url = organization::base_url(app, &organization.slug);
    Ok(Bootstrapped {
        made: MadeFacts { organization: new_organization, connection: new_connection },
        live: LiveFacts {
            scim_tokens: live_tokens(&cx, connection.id).await?,
            api_keys: key::count_live(&cx, app.clock.now()).await?,
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
            api_key_expires_at: end,
            other_live_keys: live_keys,
        },
    })
}
