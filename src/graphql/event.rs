//! The ledger, for reading: every change ever made, with who made it and the values before and
//! after.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::event_action::EventAction;
use super::kinds::SubjectKind;
use super::loaders::{self, MentionAt};
use super::node_reference::{AnyNode, find_any_node};
use super::permission::{Permission, needs};
use super::viewer::ActorKind;
use crate::domain::audit::event;
use crate::domain::audit::event::StorySubject;
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::{Long, NodeKind};
use crate::ledger::{EventKind, SessionEffect};

/// What an event means for the sessions and tokens of an account. The names are those of CAEP.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSessionEffect {
    /// Nothing.
    None,
    /// The account has other roles: tokens that name its roles are out of date.
    TokenClaimsChange,
    /// The account was suspended, deleted or erased, or lost its last role: all its sessions and
    /// tokens must end.
    SessionRevoked,
}

/// A row of the ledger as the schema shows it.
pub struct EventObject(pub event::Event);

impl From<event::Event> for EventObject {
    fn from(row: event::Event) -> Self {
        Self(row)
    }
}

/// One change: who made it, when, to what, and the values before and after. Events are chained by
/// hashes, so that an altered or missing event is detected.
#[Object(name = "Event")]
impl EventObject {
    /// The event's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Event, self.0.id)
    }

    /// The event's number in the organization's chain, without gaps; null until the event is
    /// sealed, shortly after the change.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn seq(&self) -> Option<Long> {
        self.0.seq.map(Long)
    }

    /// The event's number among all events of the installation; it grows from event to event, with
    /// gaps.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn pos(&self) -> Long {
        Long(self.0.pos)
    }

    /// The instant of the change.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn at(&self) -> DateTime<Utc> {
        self.0.at
    }

    /// When the request arrived.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn requested_at(&self) -> DateTime<Utc> {
        self.0.requested_at
    }

    /// Who made the change.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn actor(&self) -> EventActor {
        EventActor::from_ledger_columns(
            &self.0.actor_kind,
            self.0.actor_id.as_deref(),
            &self.0.actor_name,
        )
    }

    /// What was done.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn action(&self) -> EventAction {
        EventAction::from_ledger_name(&self.0.action)
    }

    /// The kind of the subject, which is what was changed.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn subject_kind(&self) -> SubjectKind {
        SubjectKind::from_ledger_name(&self.0.subject_kind)
    }

    /// The global id of the subject, which may have been deleted since. Null if the change had many
    /// subjects, whose ids are then among the values, and for the kinds `ACCESS` and `OTHER`.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn subject_id(&self) -> Option<ID> {
        // The nil id stands for many subjects.
        let kind = SubjectKind::from_ledger_name(&self.0.subject_kind)
            .node_kind()
            .filter(|_| !self.0.subject_id.is_nil());
        kind.map(|kind| relay::global_id(kind, self.0.subject_id))
    }

    /// The global ids of all subjects, at most 500: of a deletion of all accounts those that this
    /// event deleted, otherwise the one of `subjectId`. Empty where there is none, and after an
    /// erasure of the values.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn subject_ids(&self) -> Vec<ID> {
        let kind = SubjectKind::from_ledger_name(&self.0.subject_kind).node_kind();
        let ids = event::subject_ids(&self.0);
        kind.map_or_else(Vec::new, |kind| {
            ids.into_iter().map(|id| relay::global_id(kind, id)).collect()
        })
    }

    /// What the subject was called when the event was written: the display name, or else the user
    /// name, or the name of a group, a role, a connection or an API key; of a mapping the group and
    /// the role, of a grant the person and the role, of several edits of access the names of the
    /// first three. Null for subjects without a name, and after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn subject_name(&self) -> Option<String> {
        event::subject_name(&self.0)
    }

    /// The subject as it is now; null after it was deleted, and where `subjectId` is null.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn subject(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<AnyNode>> {
        let kind = SubjectKind::from_ledger_name(&self.0.subject_kind).node_kind();
        match kind.filter(|_| !self.0.subject_id.is_nil()) {
            Some(kind) => find_any_node(ctx, kind, self.0.subject_id).await,
            None => Ok(None),
        }
    }

    /// The global id of the connection that owns the subject; null if none does.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn connection_id(&self) -> Option<ID> {
        self.0.connection_id.map(|id| relay::global_id(NodeKind::IdentitySource, id))
    }

    /// The id of the request, as in the header `X-Request-Id` of its response.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn request_id(&self) -> Uuid {
        self.0.request_id
    }

    /// Why a person did it, as that person said; null if no reason was given, and after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<String> {
        let (_, after) = event::event_values(&self.0);
        after?.get("reason")?.as_str().map(Into::into)
    }

    /// The values before the change, only those that changed. Null if the subject was created, and
    /// after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn before(&self) -> Option<Value> {
        event::event_values(&self.0).0
    }

    /// The values after the change, and the reason that was given. Null if the subject was deleted
    /// or ended without a reason, and after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn after(&self) -> Option<Value> {
        event::event_values(&self.0).1
    }

    /// Other objects that the values name by their ids, such as the members that came to a group:
    /// what they were called then, at most 50. Ids that the ledger does not know are left out.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn mentions(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<Vec<EventMention>>> {
        let pos = self.0.pos;
        let ids = event::mentioned_ids(&self.0).into_iter();
        let keys: Vec<MentionAt> = ids.map(|id| MentionAt(id, pos)).collect();
        let found = loaders::load_many(ctx, &keys).await?;
        Ok(Some(found.into_iter().map(Into::into).collect()))
    }

    /// What it means for the sessions and tokens of the account that it is about, or of the
    /// accounts that it lists: an application that keeps sessions acts on it.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn session_effect(&self) -> EventSessionEffect {
        match event::session_effect(&self.0) {
            SessionEffect::None => EventSessionEffect::None,
            SessionEffect::ClaimsChanged | SessionEffect::ByRoles => {
                EventSessionEffect::TokenClaimsChange
            }
            SessionEffect::Revoked => EventSessionEffect::SessionRevoked,
        }
    }

    /// The hash that chains this event to the one before, in base64; null until it is sealed.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn hash(&self) -> Option<String> {
        self.0.hash.as_deref().map(|hash| STANDARD.encode(hash))
    }
}

/// An object that the values of an event name by its id.
#[derive(SimpleObject)]
pub struct EventMention {
    /// The id as the values have it.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    value: Uuid,
    /// The kind of the object.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    subject_kind: SubjectKind,
    /// The global id of the object, which may have been deleted since; null for kinds that have
    /// none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    subject_id: Option<ID>,
    /// What the object was called at the time of the event; null for objects without a name, and
    /// after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    subject_name: Option<String>,
}

impl From<event::EventMention> for EventMention {
    fn from(event::EventMention { id, kind, name }: event::EventMention) -> Self {
        let subject_kind = SubjectKind::from_ledger_name(&kind);
        let subject_id = subject_kind.node_kind().map(|kind| relay::global_id(kind, id));
        Self { value: id, subject_kind, subject_id, subject_name: name }
    }
}

/// The actor of a change, as it was known at that time.
#[derive(SimpleObject)]
pub struct EventActor {
    /// What kind of actor.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    kind: ActorKind,
    /// Of a connection or an API key, its global id; of a person, the subject of the token, as its
    /// issuer names it; null for rolecall itself.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    actor_id: Option<ID>,
    /// Its name at that time.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    name: String,
}

impl EventActor {
    /// The actor, from its columns in the ledger.
    pub fn from_ledger_columns(kind: &str, id: Option<&str>, name: &str) -> Self {
        let kind = ActorKind::from_ledger_name(kind);
        let node = match kind {
            ActorKind::Connection => Some(NodeKind::IdentitySource),
            ActorKind::ApiKey => Some(NodeKind::ApiKey),
            ActorKind::Person | ActorKind::System => None,
        };
        let actor_id = id.map(|id| match (node, Uuid::try_parse(id)) {
            (Some(node), Ok(id)) => relay::global_id(node, id),
            _ => ID(id.to_owned()),
        });
        Self { kind, actor_id, name: name.to_owned() }
    }
}

/// Selects events: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct EventFilter {
    /// Events with one of these actions.
    actions: Option<Vec<EventAction>>,
    /// Events with none of these actions. `USER_ACCESS_CHANGED` leaves out what only followed from
    /// other changes.
    not_actions: Option<Vec<EventAction>>,
    /// Events about the subject with this global id.
    subject_id: Option<ID>,
    /// Events about subjects that were called like this when the event was written: `subjectName`
    /// contains the text, the letters A to Z in any case. It looks at the latest 20,000 events that
    /// match the other fields; `until` leads to earlier ones. Needs `USER_READ`.
    subject_name: Option<String>,
    /// Events about subjects of this kind.
    subject_kind: Option<SubjectKind>,
    /// Events about subjects that the connection with this global id owns.
    connection_id: Option<ID>,
    /// Events of this actor: the global id of a connection or an API key, or the subject of a
    /// person's token.
    actor_id: Option<ID>,
    /// Events of actors of this kind.
    actor_kind: Option<ActorKind>,
    /// Events of the request with this id, as in the header `X-Request-Id` of its response.
    request_id: Option<Uuid>,
    /// The whole story of the object with this global id: what was done to it, what it did, and
    /// what else was about it. The story of an account has its memberships, grants, failures and
    /// findings, and what its API keys did; that of a group its nestings and mappings.
    concerns: Option<ID>,
    /// Events at this instant or later.
    since: Option<DateTime<Utc>>,
    /// Events before this instant.
    until: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// The filter as the domain takes it; none if nothing can match it.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::error::Error::Invalid) for a name that is empty or too long.
    pub fn into_domain_filter(self) -> Result<Option<event::LedgerFilter>> {
        let subject_name = relay::check_filter_text("subjectName", self.subject_name.clone())?;
        let filter = self.into_ledger_filter();
        Ok(filter.map(|filter| event::LedgerFilter { subject_name, ..filter }))
    }

    fn into_ledger_filter(self) -> Option<event::LedgerFilter> {
        let subject = match self.subject_id {
            Some(id) => Some(relay::parse_global_id(&id)?.1),
            None => None,
        };
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref())?;
        let actor = self
            .actor_id
            .map(|id| relay::parse_global_id(&id).map_or(id.0, |(_, id)| id.to_string()));
        let concerns = match self.concerns {
            None => None,
            Some(id) => Some(match relay::parse_global_id(&id)? {
                (NodeKind::User, id) => StorySubject::User(id),
                (NodeKind::Group, id) => StorySubject::Group(id),
                (NodeKind::Role, id) => StorySubject::Role(id),
                (_, id) => StorySubject::Other(id),
            }),
        };
        let kinds = |actions: Vec<EventAction>| -> Vec<EventKind> {
            actions.into_iter().filter_map(EventAction::event_kind).collect()
        };
        let actions = match self.actions {
            None => Vec::new(),
            Some(actions) => {
                let wanted = kinds(actions);
                // An empty list, or only actions without a name here, selects nothing.
                if wanted.is_empty() {
                    return None;
                }
                wanted
            }
        };
        Some(event::LedgerFilter {
            actions,
            not_actions: kinds(self.not_actions.unwrap_or_default()),
            subject,
            subject_name: None,
            kind: match self.subject_kind {
                Some(kind) => Some(kind.ledger_name()?),
                None => None,
            },
            connection,
            actor,
            actor_kind: self.actor_kind.map(ActorKind::ledger_name),
            request: self.request_id,
            concerns,
            since: self.since,
            until: self.until,
        })
    }
}
