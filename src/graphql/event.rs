//! The ledger, for reading: every change ever made, with who made it and the values before and after.

use async_graphql::{Enum, ID, InputObject, Object, SimpleObject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::page::{self, Kind, Long};
use super::viewer::ActorKind;
use crate::domain::event;

/// What a change is about.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// The organization itself.
    Organization,
    /// A connection.
    Connection,
    /// A SCIM token.
    ScimToken,
    /// An API key.
    ApiKey,
    /// An account.
    User,
    /// A group.
    Group,
    /// A role.
    Role,
    /// A mapping of a group to a role.
    RoleMapping,
    /// A direct grant of a role.
    RoleGrant,
    /// Who holds what, changed by several edits at once.
    Access,
    /// A preview of such a change.
    AccessPreview,
    /// A schema that the organization added.
    SchemaExtension,
    /// Operations that were handed in together.
    BulkJob,
    /// A write that was refused or failed.
    Failure,
    /// A run that reads a connection's source.
    SyncRun,
    /// A comparison of a connection with what its identity provider says.
    Reconciliation,
    /// A difference that such a comparison found.
    Finding,
    /// Something that this version of the schema has no name for.
    Other,
}

impl SubjectKind {
    fn named(name: &str) -> Self {
        match name {
            "organization" => Self::Organization,
            "connection" => Self::Connection,
            "scim_token" => Self::ScimToken,
            "api_key" => Self::ApiKey,
            "user" => Self::User,
            "group" => Self::Group,
            "role" => Self::Role,
            "role_mapping" => Self::RoleMapping,
            "role_grant" => Self::RoleGrant,
            "access" => Self::Access,
            "access_preview" => Self::AccessPreview,
            "schema_extension" => Self::SchemaExtension,
            "bulk_job" => Self::BulkJob,
            "failure" => Self::Failure,
            "sync_run" => Self::SyncRun,
            "reconciliation" => Self::Reconciliation,
            "finding" => Self::Finding,
            _ => Self::Other,
        }
    }

    fn node(self) -> Option<Kind> {
        Some(match self {
            Self::Organization => Kind::Organization,
            Self::Connection => Kind::IdentitySource,
            Self::ScimToken => Kind::ScimToken,
            Self::ApiKey => Kind::ApiKey,
            Self::User => Kind::User,
            Self::Group => Kind::Group,
            Self::Role => Kind::Role,
            Self::RoleMapping => Kind::RoleMapping,
            Self::RoleGrant => Kind::RoleGrant,
            Self::AccessPreview => Kind::AccessPreview,
            Self::SchemaExtension => Kind::SchemaExtension,
            Self::BulkJob => Kind::BulkJob,
            Self::Failure => Kind::Failure,
            Self::SyncRun => Kind::SyncRun,
            Self::Reconciliation => Kind::Reconciliation,
            Self::Finding => Kind::Finding,
            Self::Access | Self::Other => return None,
        })
    }
}

/// A row of the ledger as the schema shows it.
pub struct Event(pub event::Event);

impl From<event::Event> for Event {
    fn from(row: event::Event) -> Self {
        Self(row)
    }
}

/// One change: who made it, when, to what, and the values before and after. Rows are chained by hashes, so that an
/// altered or missing row shows.
#[Object]
impl Event {
    /// The event's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::Event, self.0.id)
    }

    /// Its place in the organization's chain, without gaps; null for the moment until it is sealed.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn seq(&self) -> Option<Long> {
        self.0.seq.map(Long)
    }

    /// Its place among all events of the installation; grows, with gaps.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn pos(&self) -> Long {
        Long(self.0.pos)
    }

    /// The instant of the change.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn at(&self) -> DateTime<Utc> {
        self.0.at
    }

    /// When the request arrived.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn requested_at(&self) -> DateTime<Utc> {
        self.0.requested_at
    }

    /// Who made the change.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn actor(&self) -> EventActor {
        EventActor::of(&self.0.actor_kind, self.0.actor_id.as_deref(), &self.0.actor_name)
    }

    /// What was done, as `noun.verb`, for example `user.suspended`.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn action(&self) -> &str {
        &self.0.action
    }

    /// What kind of thing it was done to.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn subject_kind(&self) -> SubjectKind {
        SubjectKind::named(&self.0.subject_kind)
    }

    /// The global id of the thing it was done to, which may be gone by now; null where it was done to many at once,
    /// whose ids are among the values.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn subject_id(&self) -> Option<ID> {
        // The nil id stands for many.
        let kind = SubjectKind::named(&self.0.subject_kind).node().filter(|_| !self.0.subject_id.is_nil());
        kind.map(|kind| page::global(kind, self.0.subject_id))
    }

    /// The global id of the connection that owns the thing; null for what was made by hand.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn connection_id(&self) -> Option<ID> {
        self.0.connection_id.map(|id| page::global(Kind::IdentitySource, id))
    }

    /// The id of the request, as in the header `X-Request-Id` of its answer.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn request_id(&self) -> Uuid {
        self.0.request_id
    }

    /// The values before the change, only those that changed. Null for what began, and after an erasure.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn before(&self) -> Option<Value> {
        event::values(&self.0).0
    }

    /// The values after the change. Null for what ended, and after an erasure.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn after(&self) -> Option<Value> {
        event::values(&self.0).1
    }

    /// The hash that chains this event to the one before, in base64; null until it is sealed.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn hash(&self) -> Option<String> {
        self.0.hash.as_deref().map(|hash| STANDARD.encode(hash))
    }
}

/// Who made a change, as it was known then.
#[derive(SimpleObject)]
pub struct EventActor {
    /// What kind of actor.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    kind: ActorKind,
    /// The global id of a connection or an API key; of a person, the subject that its issuer names; null for
    /// rolecall itself.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    id: Option<ID>,
    /// Its name at that time.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    name: String,
}

impl EventActor {
    /// The actor that the ledger names so.
    pub fn of(kind: &str, id: Option<&str>, name: &str) -> Self {
        let kind = ActorKind::named(kind);
        let node = match kind {
            ActorKind::Connection => Some(Kind::IdentitySource),
            ActorKind::ApiKey => Some(Kind::ApiKey),
            ActorKind::Person | ActorKind::System => None,
        };
        let id = id.map(|id| match (node, Uuid::try_parse(id)) {
            (Some(node), Ok(id)) => page::global(node, id),
            _ => ID(id.to_owned()),
        });
        Self { kind, id, name: name.to_owned() }
    }
}

/// Which events are wanted: those that match all that is given.
#[derive(InputObject, Default)]
pub struct EventFilter {
    /// Exactly this action, for example `user.suspended`.
    action: Option<String>,
    /// Done to the thing with this global id.
    subject_id: Option<ID>,
    /// Done to something that this connection owns.
    connection_id: Option<ID>,
    /// Made by this actor: the global id of a connection or an API key, or the subject of a person.
    actor_id: Option<ID>,
    /// Made from this instant on.
    since: Option<DateTime<Utc>>,
    /// Made before this instant.
    until: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// The filter in the domain's words; none if nothing can match it.
    pub fn compile(self) -> Option<event::Which> {
        let subject = match self.subject_id {
            Some(id) => Some(page::parse(&id)?.1),
            None => None,
        };
        let connection = match self.connection_id {
            Some(id) => Some(page::id_of(Kind::IdentitySource, &id)?),
            None => None,
        };
        let actor = self.actor_id.map(|id| page::parse(&id).map_or(id.0, |(_, id)| id.to_string()));
        Some(event::Which {
            action: self.action,
            subject,
            connection,
            kind: None,
            actor,
            since: self.since,
            until: self.until,
        })
    }
}

/// In which order events are listed.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventOrder {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}
