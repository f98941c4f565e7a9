//! The request log, for reading: what identity providers meant, what became of it, and what to do next.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId};
use super::page::{self, Kind, Long};
use crate::domain::request_log::{self, Outcome, Which};

/// What became of requests.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Outcome")]
pub enum RequestOutcome {
    /// Somebody or something was created, or came back.
    Created,
    /// Something was changed.
    Updated,
    /// Accepted, and everything was so already.
    Unchanged,
    /// Something was deleted.
    Deleted,
    /// A question was answered.
    Answered,
    /// A Bulk was carried out; its operations are counted for themselves.
    CarriedOut,
    /// What was asked for is not here.
    NotFound,
    /// The request was refused.
    Refused,
    /// A fault of this server's, or it was too busy.
    Failed,
    /// Further kinds of one hour, counted together.
    Various,
}

/// A row of the request log as the schema shows it.
pub struct RequestLogEntry(pub request_log::Entry);

impl From<request_log::Entry> for RequestLogEntry {
    fn from(row: request_log::Entry) -> Self {
        Self(row)
    }
}

/// All requests of one kind in one hour. No value of a request is in here: only names and codes, attributes that a
/// schema has, and ids of this server. A few seconds late, but for the first refusal of its kind.
#[Object]
impl RequestLogEntry {
    /// The connection whose token was sent; null where the token was missing or unknown.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// When the hour began.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn hour(&self) -> DateTime<Utc> {
        self.0.hour
    }

    /// The HTTP method; null for what is counted together.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn method(&self) -> Option<&str> {
        self.0.method.as_deref()
    }

    /// The endpoint, for example `Users`; null for what is counted together.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn resource(&self) -> Option<&str> {
        self.0.resource.as_deref()
    }

    /// What the identity provider wanted, for example `suspend user`.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn meaning(&self) -> &str {
        &self.0.meaning
    }

    /// What became of it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn outcome(&self) -> RequestOutcome {
        self.0.outcome.into()
    }

    /// The HTTP status of the answer.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn status(&self) -> Option<i32> {
        self.0.status
    }

    /// The `scimType` of the refusal.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn scim_type(&self) -> Option<&str> {
        self.0.scim_type.as_deref()
    }

    /// Why it was refused, as a stable code.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The attribute or parameter that was refused.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What an administrator can do about it, in words for people; null where nothing has to be done.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> Option<String> {
        request_log::next_step(&self.0)
    }

    /// Departures from the protocol that were tolerated, as stable codes, for example `BOOLEAN_AS_STRING`.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn quirks(&self) -> Vec<&str> {
        self.0.quirks.as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect()
    }

    /// The address that a failed authentication came from.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }

    /// How many requests.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When the first of them came.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When the last of them came.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// The id of the last request; null before authentication.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_request_id(&self) -> Option<Uuid> {
        self.0.last_request_id
    }

    /// The global id of the user or group that the last request was about, which may be gone by now.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_target_id(&self) -> Option<ID> {
        let kind = match self.0.resource.as_deref()? {
            "Users" => Kind::User,
            "Groups" => Kind::Group,
            _ => return None,
        };
        self.0.last_target_id.map(|id| page::global(kind, id))
    }
}

/// Which rows of the request log are wanted: those that match all that is given.
#[derive(InputObject, Default)]
pub struct RequestLogFilter {
    /// Those of this connection, and the failed authentications that told no connection.
    connection_id: Option<ID>,
    /// Only what did not succeed.
    #[graphql(default)]
    troubles_only: bool,
}

impl RequestLogFilter {
    /// The filter in the domain's words; none if nothing can match it.
    pub fn compile(self) -> Option<Which> {
        let connection = match self.connection_id {
            Some(id) => Some(page::id_of(Kind::IdentitySource, &id)?),
            None => None,
        };
        Some(Which { connection, troubles: self.troubles_only })
    }
}
