//! The first minute: an organization, a connection, and the credentials to begin with, straight in the database.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::connection::Provider;
use serde::Serialize;
use uuid::Uuid;

use crate::authz::{Actor, Permission};
use crate::context::{App, Cx};
use crate::domain::{connection, key, organization, token};
use crate::error::Result;

/// What there is to begin with.
#[derive(Debug, Serialize)]
pub struct Bootstrapped {
    pub organization: OrganizationFacts,
    pub connection: ConnectionFacts,
    pub scim: ScimFacts,
    pub graphql: GraphqlFacts,
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

/// Finds or makes the organization and the connection, and issues a further token and a further key with every
/// permission in that organization. The key ends after so many days.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) for a key that would live longer than a key may.
pub async fn run_for(
    app: &Arc<App>,
    slug: &str,
    name: &str,
    provider: Provider,
    key_days: u16,
) -> Result<Bootstrapped> {
    let organization = match organization::by_slug(app, slug).await? {
        Some(organization) => organization,
        None => organization::create(app, Actor::System, slug, slug).await?,
    };
    let cx = Cx::system(app.clone(), organization.id);
    let connection = match connection::by_name(&cx, name).await? {
        Some(connection) => connection,
        None => {
            let settings =
                connection::Settings { name: Some(name.into()), provider: Some(provider), ..Default::default() };
            connection::create(&cx, settings).await?
        }
    };
    let token = token::issue(&cx, connection.id, None, None).await?;
    let live_keys = key::count_live(&cx).await?;
    let end = cx.requested_at + chrono::Duration::days(key_days.into());
    let key = key::issue(&cx, "bootstrap", Permission::in_organization(), Some(end)).await?;
    let base_url = organization::base_url(app, &organization.slug);
    Ok(Bootstrapped {
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
