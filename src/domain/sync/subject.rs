//! What the review queue is told of a resource that is carried over.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::Trouble;
use super::carry::{Carried, Deed, Kind};
use crate::context::Cx;
use crate::domain::failure::{self, MAX_LABEL, Name, Origin, Payload, Report, WHOLE, outline};
use crate::domain::schema::{Place, ResourceType};
use crate::error::Error;
use crate::repeats::Success;

/// A resource that is being carried over, as the review queue is told of it.
pub(super) struct Subject<'a> {
    kind: Kind,
    ty: &'a ResourceType,
    remote_id: &'a str,
    /// The account or group here.
    here: Option<Uuid>,
    label: Option<String>,
    outline: Option<Value>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(
        kind: Kind,
        ty: &'a ResourceType,
        remote_id: &'a str,
        here: Option<Uuid>,
        shown: Option<&Map<String, Value>>,
    ) -> Self {
        let name = if kind == Kind::User { "userName" } else { "displayName" };
        let named = shown.into_iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let label = named.and_then(|(_, value)| value.as_str());
        let label = label.map(|label| label.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect());
        let outline = shown.map(|shown| {
            let mut left = outline::MAX_SHAPES;
            Value::Object(outline::attributes(ty, shown, &mut left))
        });
        Self { kind, ty, remote_id, here, label, outline }
    }

    fn thing(&self, connection: Uuid) -> Vec<u8> {
        failure::thing(connection, self.kind.endpoint(), Name::ExternalId(self.remote_id))
    }

    /// It could not be carried over.
    pub(super) fn failed(self, cx: &Cx, carried: &mut Carried, deed: Deed, error: &Error) {
        carried.tally.failed += 1;
        let remote_id = self.remote_id.chars().take(200).collect();
        carried.troubles.push(Trouble { kind: self.kind.name().into(), remote_id, why: error.to_string() });
        let Some(connection) = cx.confined_to() else { return };
        let (scim_type, field) = error.blame();
        // A name that the source made up is not kept.
        let field = field.and_then(|field| match self.ty.locate(&field)? {
            Place::Attribute(found) => Some(found.path()),
            Place::Schema(schema) => Some(schema.urn.clone()),
        });
        let path = format!("{}/{}", self.kind.endpoint(), self.remote_id);
        carried.failures.push(Report {
            connection,
            origin: Origin::Sync,
            operation: deed.of(self.kind),
            resource: Some(self.kind.endpoint()),
            target: self.here,
            thing: Some(self.thing(connection)),
            scope: vec![WHOLE.into()],
            reason: error.reason(),
            scim_type,
            field,
            payload: Some(Payload { method: "GET".into(), path, body: None }),
            request: Some(cx.request_id),
            at: cx.app.clock.now(),
            label: self.label,
            outline: self.outline,
        });
    }

    /// It is here as the source shows it: what failed before is right by now.
    pub(super) fn succeeded(&self, cx: &Cx) {
        let Some(connection) = cx.confined_to().filter(|id| cx.app.repeats.concerns(*id)) else { return };
        let (thing, at) = (self.thing(connection), cx.app.clock.now());
        let success = Success { organization: cx.organization(), connection, thing, scope: None, at };
        cx.app.repeats.succeeded(success);
    }
}
