//! Reports to the review queue about a resource of a source: its failures and successes.

use serde_json::Value;
use uuid::Uuid;

use super::RunTrouble;
use super::plan::{StepAction, SyncKind, SyncOperation, SyncStep};
use crate::buffers::failure_repeats::SucceededWrite;
use crate::context::Cx;
use crate::domain::directory::schema_extension::ResourceTypes;
use crate::domain::review;
use crate::domain::review::{
    FailureReport, MAX_LABEL_CHARS, Origin, RetryPayload, TargetName, WHOLE_SCOPE, redacted_shape,
};
use crate::error::Error;
use crate::identity::schema::{MemberMeaning, ResourceType};

/// A resource that is applied, as the review queue knows it.
pub(super) struct SyncSubject<'a> {
    kind: SyncKind,
    ty: &'a ResourceType,
    remote_id: String,
    /// The account or group here.
    here: Option<Uuid>,
    label: Option<String>,
    outline: Option<Value>,
}

impl<'a> SyncSubject<'a> {
    /// The resource of a step.
    pub(super) fn of_step(types: &'a ResourceTypes, step: &SyncStep) -> Self {
        let kind = step.kind;
        let ty = if kind == SyncKind::User { &types.user } else { &types.group };
        let shown = match &step.action {
            StepAction::FailGroup { attributes, .. } => Some(attributes),
            _ => step.document().map(|document| &document.attributes),
        };
        let here = match step.action {
            StepAction::Delete { id } => Some(id),
            _ => step.local_row().map(|row| row.id),
        };
        let name = if kind == SyncKind::User { "userName" } else { "displayName" };
        let named = shown.into_iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let label = named.and_then(|(_, value)| value.as_str());
        let label = label
            .map(|label| label.chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS).collect());
        let outline = shown.map(|shown| {
            let mut left = redacted_shape::MAX_SHAPES;
            Value::Object(redacted_shape::resource_shape(ty, shown, &mut left))
        });
        Self { kind, ty, remote_id: step.remote_id.clone(), here, label, outline }
    }

    fn target_key(&self, connection: Uuid) -> Vec<u8> {
        review::target_key(
            connection,
            self.kind.endpoint_name(),
            TargetName::ExternalId(&self.remote_id),
        )
    }

    /// Why the resource could not be applied, for the result of the run.
    pub(super) fn describe_trouble(&self, error: &Error) -> RunTrouble {
        let remote_id = self.remote_id.chars().take(200).collect();
        RunTrouble {
            kind: self.kind.name().into(),
            remote_id,
            code: Some(error.reason().as_str().into()),
            why: error.to_string(),
        }
    }

    /// The report that the resource could not be applied.
    pub(super) fn report_failure(
        self,
        cx: &Cx,
        operation: SyncOperation,
        error: &Error,
    ) -> Option<FailureReport> {
        let connection = cx.confined_to()?;
        let (scim_type, field) = error.blame();
        // An attribute that no schema has is not stored.
        let field = field.and_then(|field| match self.ty.locate_member(&field)? {
            MemberMeaning::Attribute(found) => Some(found.canonical_path()),
            MemberMeaning::Schema(schema) => Some(schema.urn.clone()),
        });
        let path = format!("{}/{}", self.kind.endpoint_name(), self.remote_id);
        Some(FailureReport {
            connection,
            origin: Origin::Sync,
            operation: operation.operation_name(self.kind),
            resource: Some(self.kind.endpoint_name()),
            target: self.here,
            thing: Some(self.target_key(connection)),
            scope: vec![WHOLE_SCOPE.into()],
            reason: error.reason(),
            scim_type,
            field,
            payload: Some(RetryPayload { method: "GET".into(), path, body: None }),
            request: Some(cx.request_id),
            at: cx.app.clock.now(),
            label: self.label,
            outline: self.outline,
        })
    }

    /// Reports that the resource is here as the source shows it, so its failures are resolved.
    pub(super) fn report_success(&self, cx: &Cx) {
        let Some(connection) = cx.confined_to().filter(|id| cx.app.repeats.has_open_failures(*id))
        else {
            return;
        };
        let (thing, at) = (self.target_key(connection), cx.app.clock.now());
        let success =
            SucceededWrite { organization: cx.organization(), connection, thing, scope: None, at };
        cx.app.repeats.note_success(success);
    }
}
