//! Performs the steps of a [plan](super::plan), through the same functions as any other change. In
//! a dry run the context undoes each write, so a step fails there for the same reason.

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::failure_report::SyncSubject;
use super::local_rows::{SeenMark, mark_seen};
use super::plan::{RowAfter, StepAction, StepResult, SyncKind, SyncOperation, SyncStep};
use super::{RunTrouble, SyncTally};
use crate::context::Cx;
use crate::domain::directory::group::GroupEdit;
use crate::domain::directory::schema_extension::{ResourceTypes, resource_types};
use crate::domain::directory::{group, user};
use crate::domain::review::FailureReport;
use crate::error::{Error, Result};
use crate::identity::document;
use crate::identity::document::MemberChange;

/// The outcome of some steps.
#[derive(Debug, Default)]
pub struct PageOutcome {
    pub tally: SyncTally,
    pub troubles: Vec<RunTrouble>,
    /// The troubles as reports for the review queue.
    pub failures: Vec<FailureReport>,
    /// Resources that have no account or group here afterwards.
    pub strangers: u64,
    /// Whether a person has a manager who is not here, or a group has members that are not.
    pub incomplete: bool,
    /// Steps that were not made yet, because they take access away.
    pub held: Vec<SyncStep>,
}

/// One pass through a source's list.
#[derive(Debug, Default)]
pub struct ListPass {
    /// Whether steps that take access away are held until the whole list is known.
    holds: bool,
    /// The folded names of accounts that a dry run has created and undone.
    rehearsed_names: HashSet<String>,
}

impl ListPass {
    /// A pass; `holds` says that steps that take access away wait in [`PageOutcome::held`].
    pub fn new(holds: bool) -> Self {
        Self { holds, ..Self::default() }
    }
}

/// Whether the whole run must stop, because the next resource would fail in the same way.
fn is_ours(error: &Error) -> bool {
    matches!(
        error,
        Error::Internal(_) | Error::Busy(_) | Error::Unavailable(_) | Error::OutcomeUnknown { .. }
    )
}

/// Performs steps and marks what they are about as seen by `run`, which is none for a resource that
/// is read again without a run.
pub async fn apply_steps(
    cx: &Cx,
    run: Option<Uuid>,
    steps: Vec<SyncStep>,
    pass: &mut ListPass,
) -> Result<PageOutcome> {
    let types = resource_types(cx).await?;
    let (mut outcome, mut marks) = (PageOutcome::default(), Vec::new());
    for step in steps {
        if pass.holds && step.takes_access() {
            marks.extend(step.local_row().map(|row| SeenMark { id: row.id, image: None }));
            outcome.incomplete |= step.document().is_some_and(|document| document.incomplete);
            outcome.held.push(step);
        } else {
            marks.extend(apply_step(cx, &types, step, pass, &mut outcome).await?);
        }
    }
    mark_seen(cx, run, &marks).await?;
    Ok(outcome)
}

/// Performs a step and counts its result; returns what to store about the resource, if it is here
/// afterwards.
async fn apply_step(
    cx: &Cx,
    types: &ResourceTypes,
    step: SyncStep,
    pass: &mut ListPass,
    outcome: &mut PageOutcome,
) -> Result<Option<SeenMark>> {
    let subject = SyncSubject::of_step(types, &step);
    let (kind, operation, before) = (step.kind, step.operation(), step.local_row().cloned());
    let applied = step.document().map(|document| (document.digest.clone(), document.incomplete));
    let is_skip = matches!(step.action, StepAction::Skip { .. });
    let seen = before.as_ref().map(|row| SeenMark { id: row.id, image: None });
    let after = match perform_step(cx, step, pass).await {
        Ok(after) => after,
        // Another request has deleted it.
        Err(Error::NotFound(_)) if operation == SyncOperation::Delete => return Ok(None),
        Err(error) if is_ours(&error) => return Err(error),
        Err(error) => {
            outcome.tally.failed += 1;
            outcome.strangers += u64::from(operation == SyncOperation::Create);
            outcome.troubles.push(subject.describe_trouble(&error));
            outcome.failures.extend(subject.report_failure(cx, operation, &error));
            return Ok(seen);
        }
    };
    let result = match after {
        Some(after) => StepResult::of(kind, before.as_ref(), after),
        None => StepResult::Deleted,
    };
    outcome.tally.count_result(result);
    outcome.incomplete |= applied.as_ref().is_some_and(|(_, incomplete)| *incomplete);
    if cx.rehearses() && !is_skip {
        // The step is undone, so what it created is not here and what it changed is as before.
        outcome.strangers += u64::from(operation == SyncOperation::Create);
        return Ok(seen);
    }
    subject.report_success(cx);
    Ok(after.map(|after| {
        let whole = applied.filter(|(_, incomplete)| !incomplete);
        SeenMark { id: after.id, image: whole.map(|(digest, _)| (digest, after.version)) }
    }))
}

/// Performs a step; returns the state of the row, none if the step deleted it.
async fn perform_step(cx: &Cx, step: SyncStep, pass: &mut ListPass) -> Result<Option<RowAfter>> {
    let of_user =
        |user: user::User| RowAfter { id: user.id, version: user.version, active: user.active };
    let of_group =
        |group: group::Group| RowAfter { id: group.id, version: group.version, active: true };
    Ok(Some(match step.action {
        StepAction::Skip { here } => {
            RowAfter { id: here.id, version: here.version, active: here.active }
        }
        StepAction::CreateUser(document) => {
            of_user(create_user(cx, document.attributes, pass).await?)
        }
        StepAction::UpdateUser { here, document, .. } => {
            // Like a PUT, except that a source without `active` neither suspends nor reactivates
            // the account.
            let edited = |active: bool| {
                let mut attributes = document.attributes.clone();
                if !attributes.keys().any(|name| name.eq_ignore_ascii_case("active")) {
                    attributes.insert("active".into(), active.into());
                }
                attributes
            };
            of_user(user::change_user(cx, here.id, |user, _| Ok(Some(edited(user.active)))).await?)
        }
        StepAction::CreateGroup { document, members } => {
            let members = members.iter().map(Uuid::to_string).collect();
            of_group(group::create_group(cx, document.attributes, members).await?)
        }
        StepAction::UpdateGroup { here, document, moved, .. } => {
            let mut members = Vec::new();
            if !moved.come.is_empty() {
                members.push(MemberChange::Add(moved.come.iter().map(Uuid::to_string).collect()));
            }
            if !moved.go.is_empty() {
                members.push(MemberChange::Remove(moved.go.iter().map(Uuid::to_string).collect()));
            }
            let attributes = Some(document.attributes);
            let edit = GroupEdit { attributes, members, of_version: false };
            of_group(group::change_group(cx, here.id, |_| Ok(edit.clone())).await?)
        }
        StepAction::FailGroup { error, .. } => return Err(error),
        StepAction::Delete { id } => {
            match step.kind {
                SyncKind::User => user::delete_user(cx, id, |_| Ok(())).await?,
                SyncKind::Group => group::delete_group(cx, id, |_| Ok(())).await?,
            }
            return Ok(None);
        }
    }))
}

/// Creates an account. A dry run also refuses the names of the accounts that it created before,
/// because it has undone them.
async fn create_user(
    cx: &Cx,
    attributes: Map<String, Value>,
    pass: &mut ListPass,
) -> Result<user::User> {
    if !cx.rehearses() {
        return user::create_user(cx, attributes).await;
    }
    let named = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("userName"));
    let name = named.and_then(|(_, value)| value.as_str()).map(document::fold_text);
    let made = user::create_user(cx, attributes).await?;
    let is_repeated = name.is_some_and(|name| !pass.rehearsed_names.insert(name));
    if is_repeated { Err(Error::Taken { field: "userName" }) } else { Ok(made) }
}
