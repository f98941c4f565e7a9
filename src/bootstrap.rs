//! The first minute: an organization, a connection, and the credentials to begin with, straight in the database.

use std::sync::Arc;

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
}

/// Finds or makes the organization and the connection, and issues a further token and a further key with every
/// permission in that organization.
pub async fn run(app: &Arc<App>, slug: &str, name: &str, provider: Provider) -> Result<Bootstrapped> {
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
    let key = key::issue(&cx, "bootstrap", Permission::in_organization(), None).await?;
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
        graphql: GraphqlFacts { url: format!("{}/graphql", app.config.public_url), api_key: key.secret },
    })
}
