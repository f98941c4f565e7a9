//! What has to be done so that the rows here show what a page of a source lists: one step for each
//! resource.
//!
//! [`plan_users`] and [`plan_groups`] get the page and the rows here that belong to it, and decide;
//! they read and write nothing. [`apply`](super::apply) performs the steps. A dry run performs the
//! same steps in a context whose writes are undone, and a comparison with the source reads the
//! steps.
//!
//! The source's own `id` alone identifies a person: it is the `externalId` here. So a new name or
//! e-mail address never makes a second account, and a person who comes back gets the old account
//! back.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::identity::document;
use crate::identity::schema::{ENTERPRISE_SCHEMA, ResourceType};

/// A resource as the source shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteResource {
    pub id: String,
    pub attributes: Map<String, Value>,
}

/// The kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncKind {
    User,
    Group,
}

impl SyncKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    /// The endpoint's name.
    pub fn endpoint_name(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }
}

/// What is to be done to one resource, as failures name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncOperation {
    Create,
    Update,
    Delete,
}

impl SyncOperation {
    /// Its name, as the request log has it.
    pub(super) fn operation_name(self, kind: SyncKind) -> &'static str {
        match (self, kind) {
            (Self::Create, SyncKind::User) => "create user",
            (Self::Update, SyncKind::User) => "update user",
            (Self::Delete, SyncKind::User) => "delete user",
            (Self::Create, SyncKind::Group) => "create group",
            (Self::Update, SyncKind::Group) => "update group",
            (Self::Delete, SyncKind::Group) => "delete group",
        }
    }
}

/// A live account or group of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRow {
    pub id: Uuid,
    pub version: i64,
    /// For a user; true for a group.
    pub active: bool,
    /// The digest of the document that a run applied last, and the version that this made.
    pub applied: Option<(Vec<u8>, i64)>,
}

impl LocalRow {
    /// Whether it has not changed since a document with this digest was applied.
    pub(super) fn shows_document(&self, digest: &[u8]) -> bool {
        self.applied.as_ref().is_some_and(|(applied, version)| {
            applied.as_slice() == digest && *version == self.version
        })
    }
}

/// A person of a page.
#[derive(Debug)]
pub(super) struct ListedUser {
    pub remote_id: String,
    attributes: Map<String, Value>,
    digest: Vec<u8>,
    /// The source's id of the manager.
    pub manager: Option<String>,
}

impl ListedUser {
    pub(super) fn from_remote(remote: RemoteResource) -> Self {
        let (remote_id, mut attributes) = split_attributes(remote);
        let digest = document_digest(&attributes);
        let manager = manager_value(&mut attributes).and_then(|value| manager_id(value));
        Self { remote_id, attributes, digest, manager }
    }
}

/// A group of a page.
#[derive(Debug)]
pub(super) struct ListedGroup {
    pub remote_id: String,
    attributes: Map<String, Value>,
    pub digest: Vec<u8>,
    /// The source's ids of its members; none = the source shows no list of them.
    pub members: Result<Option<Vec<String>>>,
}

impl ListedGroup {
    pub(super) fn from_remote(ty: &ResourceType, remote: RemoteResource) -> Self {
        let (remote_id, attributes) = split_attributes(remote);
        let digest = document_digest(&attributes);
        let members = document::listed_member_ids(ty, &attributes);
        Self { remote_id, attributes, digest, members: members.map_err(Into::into) }
    }

    /// The ids in its list of members.
    pub(super) fn member_ids(&self) -> impl Iterator<Item = &String> {
        self.members.iter().flatten().flatten()
    }
}

/// The rows here that belong to a page of users.
#[derive(Debug, Default)]
pub(super) struct LocalUsers {
    /// The accounts of the listed people, by the source's ids.
    pub known: HashMap<String, LocalRow>,
    /// The accounts of their managers, by the source's ids.
    pub managers: HashMap<String, Uuid>,
}

/// The rows here that belong to a page of groups.
#[derive(Debug, Default)]
pub(super) struct LocalGroups {
    /// The listed groups, by the source's ids.
    pub known: HashMap<String, LocalRow>,
    /// The accounts and groups that are listed as members, by the source's ids.
    pub members: HashMap<String, Uuid>,
    /// The members that the groups have here.
    pub current: HashMap<Uuid, BTreeSet<Uuid>>,
}

/// What the source says of a resource, ready to be written.
#[derive(Debug)]
pub struct ListedDocument {
    /// The attributes, with ids of this server and without members.
    pub attributes: Map<String, Value>,
    /// The digest of the source's document.
    pub digest: Vec<u8>,
    /// Whether it names managers or members that are not here, or hides members that it may have.
    pub incomplete: bool,
}

/// Members by their ids here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MovedMembers {
    /// Only at the source they are in the group.
    pub come: BTreeSet<Uuid>,
    /// Only here they are in the group.
    pub go: BTreeSet<Uuid>,
    /// How many members at the source do not exist here.
    pub strangers: u64,
}

/// What is done to one resource.
#[derive(Debug)]
pub struct SyncStep {
    pub kind: SyncKind,
    /// The source's id of the resource.
    pub remote_id: String,
    pub action: StepAction,
}

/// The action of a step.
#[derive(Debug)]
pub enum StepAction {
    /// Nothing: the row here was written from the same document and not changed since.
    Skip {
        here: LocalRow,
    },
    CreateUser(ListedDocument),
    UpdateUser {
        here: LocalRow,
        document: ListedDocument,
        /// Whether the account is active and the source says that the person is not.
        suspends: bool,
    },
    CreateGroup {
        document: ListedDocument,
        members: BTreeSet<Uuid>,
    },
    UpdateGroup {
        here: LocalRow,
        document: ListedDocument,
        moved: MovedMembers,
        /// Whether the source does not list its members and it may have some.
        silent: bool,
    },
    /// The group cannot be read; it stays as it is.
    FailGroup {
        here: Option<LocalRow>,
        attributes: Map<String, Value>,
        error: Error,
    },
    /// The source does not have the resource any more.
    Delete {
        id: Uuid,
    },
}

impl SyncStep {
    /// The row that the step leaves as it is or changes.
    pub(super) fn local_row(&self) -> Option<&LocalRow> {
        match &self.action {
            StepAction::Skip { here }
            | StepAction::UpdateUser { here, .. }
            | StepAction::UpdateGroup { here, .. } => Some(here),
            StepAction::FailGroup { here, .. } => here.as_ref(),
            StepAction::CreateUser(_)
            | StepAction::CreateGroup { .. }
            | StepAction::Delete { .. } => None,
        }
    }

    /// What the step writes.
    pub(super) fn document(&self) -> Option<&ListedDocument> {
        match &self.action {
            StepAction::CreateUser(document)
            | StepAction::UpdateUser { document, .. }
            | StepAction::CreateGroup { document, .. }
            | StepAction::UpdateGroup { document, .. } => Some(document),
            StepAction::Skip { .. } | StepAction::FailGroup { .. } | StepAction::Delete { .. } => {
                None
            }
        }
    }

    /// The operation whose failure it is if the step fails.
    pub(super) fn operation(&self) -> SyncOperation {
        match &self.action {
            StepAction::CreateUser(_)
            | StepAction::CreateGroup { .. }
            | StepAction::FailGroup { here: None, .. } => SyncOperation::Create,
            StepAction::Skip { .. }
            | StepAction::UpdateUser { .. }
            | StepAction::UpdateGroup { .. }
            | StepAction::FailGroup { here: Some(_), .. } => SyncOperation::Update,
            StepAction::Delete { .. } => SyncOperation::Delete,
        }
    }

    /// How many suspensions of accounts or ends of memberships the step makes.
    fn loss_count(&self) -> u64 {
        match &self.action {
            StepAction::UpdateUser { suspends, .. } => u64::from(*suspends),
            StepAction::UpdateGroup { moved, .. } => moved.go.len() as u64,
            _ => 0,
        }
    }

    /// Whether the step takes access away. Such steps wait until the whole list is known.
    pub(super) fn takes_access(&self) -> bool {
        self.loss_count() > 0
    }

    /// The number of changes, including each member of a group that changes.
    pub fn change_count(&self) -> usize {
        match &self.action {
            StepAction::UpdateGroup { moved, .. } => 1 + moved.come.len() + moved.go.len(),
            _ => 1,
        }
    }
}

/// The steps of one page.
#[derive(Debug)]
pub struct PagePlan {
    pub steps: Vec<SyncStep>,
    /// Whether the source listed members of a group.
    pub lists_members: bool,
}

impl PagePlan {
    /// How many suspensions of accounts or ends of memberships the page asks for.
    pub fn loss_count(&self) -> u64 {
        self.steps.iter().map(SyncStep::loss_count).sum()
    }

    /// How many memberships begin in groups that exist here.
    pub fn gain_count(&self) -> u64 {
        let come = |step: &SyncStep| match &step.action {
            StepAction::UpdateGroup { moved, .. } => moved.come.len() as u64,
            _ => 0,
        };
        self.steps.iter().map(come).sum()
    }
}

/// The steps of a page of users.
pub(super) fn plan_users(
    ty: &ResourceType,
    page: Vec<ListedUser>,
    mut local: LocalUsers,
) -> PagePlan {
    let mut steps = Vec::with_capacity(page.len());
    for ListedUser { remote_id, mut attributes, digest, manager } in page {
        let here = local.known.remove(&remote_id);
        // The source's id of the manager means nothing here.
        let manager = manager.map(|id| local.managers.get(&id).copied());
        if let Some(value) = manager_value(&mut attributes) {
            *value = manager.flatten().map_or(Value::Null, |id| json!({ "value": id.to_string() }));
        }
        let action = match here {
            Some(here) if here.shows_document(&digest) => StepAction::Skip { here },
            here => {
                let suspends = here.as_ref().is_some_and(|here| here.active)
                    && lists_inactive(ty, &attributes);
                let incomplete = manager == Some(None);
                let document = ListedDocument { attributes, digest, incomplete };
                match here {
                    Some(here) => StepAction::UpdateUser { here, document, suspends },
                    None => StepAction::CreateUser(document),
                }
            }
        };
        steps.push(SyncStep { kind: SyncKind::User, remote_id, action });
    }
    PagePlan { steps, lists_members: false }
}

/// The steps of a page of groups. `silent_is_empty` says whether a group without a list of members
/// has none: a source that has never listed members may just not show them.
pub(super) fn plan_groups(
    page: Vec<ListedGroup>,
    mut local: LocalGroups,
    silent_is_empty: bool,
) -> PagePlan {
    let lists_members = lists_members(&page);
    let silent_is_empty = silent_is_empty || lists_members;
    let mut steps = Vec::with_capacity(page.len());
    for ListedGroup { remote_id, mut attributes, digest, members } in page {
        let here = local.known.remove(&remote_id);
        let action = match (here, members) {
            (Some(here), _) if here.shows_document(&digest) => StepAction::Skip { here },
            (here, Err(error)) => StepAction::FailGroup { here, attributes, error },
            (here, Ok(members)) => {
                attributes.retain(|name, _| !name.eq_ignore_ascii_case("members"));
                let silent = members.is_none() && !silent_is_empty;
                let listed = members.unwrap_or_default();
                let ids: BTreeSet<Uuid> =
                    listed.iter().filter_map(|id| local.members.get(id).copied()).collect();
                let strangers =
                    listed.iter().filter(|id| !local.members.contains_key(*id)).count() as u64;
                let incomplete = strangers > 0 || silent;
                let document = ListedDocument { attributes, digest, incomplete };
                match here {
                    None => StepAction::CreateGroup { document, members: ids },
                    Some(here) => {
                        let current = local.current.remove(&here.id).filter(|_| !silent);
                        let moved = MovedMembers { strangers, ..moved_members(&ids, current) };
                        StepAction::UpdateGroup { here, document, moved, silent }
                    }
                }
            }
        };
        steps.push(SyncStep { kind: SyncKind::Group, remote_id, action });
    }
    PagePlan { steps, lists_members }
}

/// The steps that remove what the source does not have any more.
pub fn plan_removals(kind: SyncKind, absent: Vec<(Uuid, String)>) -> Vec<SyncStep> {
    let step = |(id, remote_id)| SyncStep { kind, remote_id, action: StepAction::Delete { id } };
    absent.into_iter().map(step).collect()
}

/// Whether a group of this page has a list of members with one in it.
pub(super) fn lists_members(page: &[ListedGroup]) -> bool {
    page.iter().any(|group| group.member_ids().next().is_some())
}

/// The members to add and to remove so that a group with the `current` members has the `listed`
/// ones; without `current` no member moves.
fn moved_members(listed: &BTreeSet<Uuid>, current: Option<BTreeSet<Uuid>>) -> MovedMembers {
    let Some(current) = current else { return MovedMembers::default() };
    MovedMembers {
        come: listed.difference(&current).copied().collect(),
        go: current.difference(listed).copied().collect(),
        strangers: 0,
    }
}

/// The state of a row after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowAfter {
    pub id: Uuid,
    pub version: i64,
    /// For a user; true for a group.
    pub active: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepResult {
    Created,
    Updated,
    Suspended,
    /// An account is active again, or came back after its deletion.
    Restored,
    Deleted,
    Unchanged,
}

impl StepResult {
    /// What a step did that found a row in this state, if it found one, and left it so.
    pub(super) fn of(kind: SyncKind, before: Option<&LocalRow>, after: RowAfter) -> Self {
        let Some(before) = before else {
            let is_new = after.version == 1 || kind == SyncKind::Group;
            return if is_new { Self::Created } else { Self::Restored };
        };
        match (after.version == before.version, before.active, after.active) {
            (true, ..) => Self::Unchanged,
            (_, true, false) => Self::Suspended,
            (_, false, true) => Self::Restored,
            _ => Self::Updated,
        }
    }
}

/// The source's id of a resource, and its attributes without those that the source or other
/// resources determine.
fn split_attributes(remote: RemoteResource) -> (String, Map<String, Value>) {
    let RemoteResource { id, mut attributes } = remote;
    attributes.retain(|name, _| {
        !["id", "meta", "groups", "externalid"].contains(&name.to_ascii_lowercase().as_str())
    });
    attributes.insert("externalId".into(), id.clone().into());
    (id, attributes)
}

fn document_digest(attributes: &Map<String, Value>) -> Vec<u8> {
    digest(&SHA256, Value::Object(attributes.clone()).to_string().as_bytes()).as_ref().to_vec()
}

/// The manager in a user's document, in any of the forms that sources use.
fn manager_value(attributes: &mut Map<String, Value>) -> Option<&mut Value> {
    let named = |key: &str| key.eq_ignore_ascii_case("manager");
    let qualified = format!("{ENTERPRISE_SCHEMA}:manager");
    attributes.iter_mut().find_map(|(key, value)| {
        if named(key) || key.eq_ignore_ascii_case(&qualified) {
            return Some(value);
        }
        let inner =
            value.as_object_mut().filter(|_| key.eq_ignore_ascii_case(ENTERPRISE_SCHEMA))?;
        inner.iter_mut().find(|(key, _)| named(key)).map(|(_, value)| value)
    })
}

/// The id of the manager: `manager` comes as an object, as a text, or as an array of one.
fn manager_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::Array(one) => return one.first().and_then(manager_id),
        Value::Object(fields) => {
            fields.iter().find(|(key, _)| key.eq_ignore_ascii_case("value"))?.1
        }
        value => value,
    };
    // A text that cannot be an id is not looked up.
    id.as_str().filter(|id| !id.is_empty() && !id.contains('\0')).map(Into::into)
}

/// Whether the source says that a person is inactive.
fn lists_inactive(ty: &ResourceType, attributes: &Map<String, Value>) -> bool {
    let said = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("active"));
    let doubtful = said.is_some_and(|(_, value)| *value != Value::Bool(true));
    doubtful
        && document::normalize_document(ty, attributes.clone())
            .is_ok_and(|known| document::active_flag(&known) == Some(false))
}
