//! The request log: what identity providers wanted, the outcome, and what to do next.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId};
use super::message_part::{self, MessagePart};
use super::permission::{Permission, needs};
use crate::domain::connection::request_log;
use crate::domain::connection::request_log::{Outcome, RequestLogQuery};
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::{Long, NodeKind};

/// The outcome of requests.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Outcome")]
pub enum RequestOutcome {
    /// A user or group was created, or came back after its deletion.
    Created,
    /// A user or group was changed.
    Updated,
    /// The request was accepted, and nothing had to be changed.
    Unchanged,
    /// A user or group was deleted.
    Deleted,
    /// The request was a read, and it was answered.
    Answered,
    /// A Bulk request was processed. Its operations are counted separately.
    CarriedOut,
    /// The requested resource does not exist.
    NotFound,
    /// The request was refused.
    Refused,
    /// There was an error inside rolecall, or the server was too busy.
    Failed,
    /// Further kinds of requests of one hour, counted together.
    Various,
}

/// A row of the request log as the schema shows it.
pub struct RequestLogEntry(pub request_log::Entry);

impl From<request_log::Entry> for RequestLogEntry {
    fn from(row: request_log::Entry) -> Self {
        Self(row)
    }
}

/// All requests of one kind in one hour. The log has no values of requests: only names and codes,
/// attributes of a schema, and ids of rolecall. It is a few seconds late, except for the first
/// refusal of its kind.
#[Object]
impl RequestLogEntry {
    /// The connection whose token was sent; null if the token was missing or unknown.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// When the hour began.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn hour(&self) -> DateTime<Utc> {
        self.0.hour
    }

    /// The HTTP method; null for VARIOUS.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn method(&self) -> Option<&str> {
        self.0.method.as_deref()
    }

    /// The endpoint, for example `Users`; null for VARIOUS.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn resource(&self) -> Option<&str> {
        self.0.resource.as_deref()
    }

    /// What the identity provider wanted, for example `suspend user`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn meaning(&self) -> &str {
        &self.0.meaning
    }

    /// The outcome of the requests.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn outcome(&self) -> RequestOutcome {
        self.0.outcome.into()
    }

    /// The HTTP status of the response; null if there is no single one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn http_status(&self) -> Option<i32> {
        self.0.status
    }

    /// The `scimType` of the refusal; null if it had none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scim_type(&self) -> Option<&str> {
        self.0.scim_type.as_deref()
    }

    /// Why it was refused, as a stable code; null if it was not refused.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn code(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The attribute or parameter that was refused; null if it was not a single one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What an administrator can do about it, in words for people; null if nothing has to be done.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> Option<String> {
        request_log::next_step(&self.0)
    }

    /// `nextStep` by stable codes; empty where one of its sentences has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step_parts(&self) -> Vec<MessagePart> {
        message_part::read_optional_parts(request_log::next_step(&self.0).as_deref())
    }

    /// Departures from the protocol that were tolerated, as stable codes, for example
    /// `BOOLEAN_AS_STRING`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn quirks(&self) -> Vec<&str> {
        self.0.quirks.as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect()
    }

    /// The IP address that a failed authentication came from; null for other requests.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }

    /// How many requests there were.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When the first of them arrived.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When the last of them arrived.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// The id of the last request; null if its authentication failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_request_id(&self) -> Option<Uuid> {
        self.0.last_request_id
    }

    /// The global id of the user or group that the last request was about, also after it was
    /// deleted; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_target_id(&self) -> Option<ID> {
        let kind = match self.0.resource.as_deref()? {
            "Users" => NodeKind::User,
            "Groups" => NodeKind::Group,
            _ => return None,
        };
        self.0.last_target_id.map(|id| relay::global_id(kind, id))
    }
}

/// Selects entries of the request log: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct RequestLogEntryFilter {
    /// Entries of the connection with this global id, and failed authentications without a known
    /// connection.
    connection_id: Option<ID>,
    /// If true, only requests that did not succeed.
    #[graphql(default)]
    troubles_only: bool,
    /// Only requests with this outcome.
    outcome: Option<RequestOutcome>,
    /// Entries whose last request was at this instant or later.
    since: Option<DateTime<Utc>>,
    /// Entries whose first request was before this instant.
    until: Option<DateTime<Utc>>,
}

impl RequestLogEntryFilter {
    /// The filter as the domain takes it; none if nothing can match it.
    ///
    /// # Errors
    /// None: the same form as every other filter.
    pub fn into_domain_query(self) -> Result<Option<RequestLogQuery>> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let Some(connection) = connection else { return Ok(None) };
        Ok(Some(RequestLogQuery {
            connection,
            troubles: self.troubles_only,
            outcome: self.outcome.map(Into::into),
            since: self.since,
            until: self.until,
        }))
    }
}
