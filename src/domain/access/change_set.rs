//! Several edits of access as one change: previewed first, exactly and without effect, then
//! applied, if the preview is still true.
//!
//! A preview makes the edits in a transaction, reads their effect on access, and rolls them back.
//! So it always shows exactly what the edits would do. What must never enter: a second definition
//! of access.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Duration, Utc};
use entity::{access_preview, access_preview_part, role};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, DerivedChange, Tx};
use crate::domain::access;
use crate::domain::access::RoleMove;
use crate::domain::access::change_events;
use crate::domain::access::role as roles;
use crate::domain::access::role_grant;
use crate::domain::access::role_grant::NewGrant;
use crate::domain::access::role_mapping;
use crate::domain::access::role_mapping::NewMapping;
use crate::domain::directory::group;
use crate::domain::directory::group::restore;
use crate::domain::directory::group::{Group, GroupEdit};
use crate::domain::directory::schema_extension;
use crate::domain::directory::schema_extension::ResourceTypes;
use crate::domain::paging;
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, Rule};
use crate::identity::document::MemberChange;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// A preview and its results.
pub use access_preview::Model as Preview;

/// The most edits of one change.
pub const MAX_EDITS: usize = 100;
/// How long a preview can be read and applied.
const PREVIEW_RETENTION: Duration = Duration::hours(1);
/// Edits that the event of a change names.
const MAX_NAMED_EDITS: usize = 3;
/// Pairs of account and role that one row of the database holds, two ids each.
const ROWS_PER_PART: usize = 1_000;

/// One edit that changes which account holds which role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AccessEdit {
    CreateMapping(NewMapping),
    UpdateMapping(Uuid, role_mapping::MappingEdit),
    RemoveMapping(Uuid),
    RestoreMapping(Uuid, Option<Uuid>),
    CreateGrant(NewGrant),
    RemoveGrant(Uuid),
    ChangeMembers(Uuid, MemberChange),
    DeleteGroup(Uuid),
    RestoreGroup(Uuid),
    DeleteRole(Uuid),
}

/// An edit with what the client said about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestedEdit {
    #[serde(flatten)]
    pub edit: AccessEdit,
    /// Why a person does it, as the event says.
    #[serde(default, rename = "reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version of the group or the role that the client has read.
    #[serde(default, rename = "expectedVersion", skip_serializing_if = "Option::is_none")]
    pub expected: Option<i64>,
}

impl From<AccessEdit> for RequestedEdit {
    fn from(edit: AccessEdit) -> Self {
        Self { edit, reason: None, expected: None }
    }
}

/// The effect of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeOutcome {
    /// The ledger's event; none if nothing had to be changed.
    pub event: Option<Uuid>,
    /// How many pairs of account and role were gained.
    pub gained: u64,
    /// How many pairs of account and role were lost.
    pub lost: u64,
}

/// A warning to read before a preview is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeWarning {
    pub kind: WarningKind,
    pub role: Option<Uuid>,
    /// How many accounts it concerns.
    pub accounts: u64,
    /// The mapping that it is about.
    #[serde(default)]
    pub mapping: Option<Uuid>,
}

impl ChangeWarning {
    fn of_role(kind: WarningKind, role: Uuid, accounts: u64) -> Self {
        Self { kind, role: Some(role), accounts, mapping: None }
    }
}

/// What a preview of a change warns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WarningKind {
    /// Accounts would gain a management role.
    GainsManagementRole,
    /// A management role would be left without a holder.
    LosesLastHolder,
    /// Break-glass accounts would lose a role.
    ProtectedAccountLoses,
    /// A mapping would end, even if no account loses a role by it now.
    MappingEnds,
}

/// Makes all of these edits in one transaction, or none.
///
/// # Errors
/// [`Error::InEdit`] for an edit that cannot be made, or [`Error::Several`] of them.
pub async fn apply_edits<E: Into<RequestedEdit>>(cx: &Cx, edits: Vec<E>) -> Result<ChangeOutcome> {
    let edits = &check_edits(edits)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let (done, moved) = carry_out(cx, tx, edits).await?;
            Ok(build_change(cx, tx, done, &moved))
        })
    })
    .await
}

/// What these edits would do, kept for an hour. Nothing else changes.
///
/// # Errors
/// [`Error::InEdit`] for an edit that cannot be made, or [`Error::Several`] of them.
pub async fn preview_edits<E: Into<RequestedEdit>>(cx: &Cx, edits: Vec<E>) -> Result<Preview> {
    let edits = &check_edits(edits)?;
    cx.write(move |tx| {
        Box::pin(async move {
            tx.db.execute_unprepared("SAVEPOINT preview").await?;
            let (_, moved) = carry_out(cx, tx, edits).await?;
            let warnings = find_warnings(cx, tx, &moved).await?;
            tx.db.execute_unprepared("ROLLBACK TO SAVEPOINT preview").await?;
            let now = tx.now_after(None);
            let (gained, lost) = count_moves(&moved);
            let row = Preview {
                organization_id: cx.organization(),
                id: Uuid::now_v7(),
                edits: json!(edits),
                gained: gained as i64,
                lost: lost as i64,
                warnings: json!(warnings),
                digest: digest_moves(&moved),
                created_at: now,
                expires_at: now + PREVIEW_RETENTION,
            };
            access_preview::Entity::insert(access_preview::ActiveModel::from(row.clone()))
                .exec_without_returning(&tx.db)
                .await?;
            keep_preview(tx, row.id, &moved).await?;
            let entry = NewEvent {
                kind: EventKind::AccessPreviewed,
                subject: EventSubject { kind: "access_preview", id: row.id },
                connection: None,
                at: now,
                before: None,
                after: Some(json!({ "edits": edits.len(), "gained": gained, "lost": lost })),
                population: 0,
                name: None,
            };
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Makes the edits of a preview, if they would still do exactly what it shows.
///
/// # Errors
/// [`Error::NotFound`] for a preview that is not stored any more, [`Error::Held`] for one that is
/// not true any more.
pub async fn apply_preview(cx: &Cx, id: Uuid) -> Result<ChangeOutcome> {
    let preview = &get_preview(cx, id).await?;
    let edits: &Vec<RequestedEdit> = &serde_json::from_value(preview.edits.clone())
        .map_err(|error| Error::Internal(error.to_string()))?;
    cx.write(move |tx| {
        Box::pin(async move {
            let (done, moved) = carry_out(cx, tx, edits).await.map_err(outdated_preview)?;
            if digest_moves(&moved) != preview.digest {
                let shown = read_preview_moves(tx, preview.id).await?;
                let came = moved.difference(&shown).count();
                let went = shown.difference(&moved).count();
                let why = format!(
                    "the preview is not true any more: since it was made, {came} that it does not \
                     show would be gained or lost too, and {went} that it shows would not; make a \
                     new preview"
                );
                return Err(Error::Held { reason: RefusalReason::PreviewStale, why: why.into() });
            }
            access_preview_part::Entity::delete_many()
                .filter(part_of(tx.organization(), id))
                .exec(&tx.db)
                .await?;
            access_preview::Entity::delete_many()
                .filter(access_preview::Column::OrganizationId.eq(tx.organization()))
                .filter(access_preview::Column::Id.eq(id))
                .exec(&tx.db)
                .await?;
            Ok(build_change(cx, tx, done, &moved))
        })
    })
    .await
}

/// An edit of a preview that cannot be made any more: something has changed since.
fn outdated_preview(error: Error) -> Error {
    if error.is_mistake() {
        let why = format!("the preview is not true any more: {error}; make a new preview");
        Error::Held { reason: RefusalReason::PreviewStale, why: why.into() }
    } else {
        error
    }
}

/// Refuses too few or too many edits.
///
/// # Errors
/// [`Error::Invalid`]
pub fn check_edit_count(edits: usize) -> Result<()> {
    match edits {
        0 => Err(Error::broken(Rule::Required, "edits", "must not be empty")),
        n if n > MAX_EDITS => {
            Err(Error::broken(Rule::TooMany, "edits", format!("must be at most {MAX_EDITS}")))
        }
        _ => Ok(()),
    }
}

fn check_edits<E: Into<RequestedEdit>>(edits: Vec<E>) -> Result<Vec<RequestedEdit>> {
    check_edit_count(edits.len())?;
    let checked = edits.into_iter().map(Into::into).enumerate().map(|(index, requested)| {
        let requested: RequestedEdit = requested;
        let reason = crate::domain::check_change_reason(requested.reason.as_deref());
        let reason = reason.map_err(|error| Error::InEdit { index, error: Box::new(error) })?;
        Ok(RequestedEdit { reason, ..requested })
    });
    crate::error::mistakes::all(checked)
}

/// Makes the edits. Returns an event for each edit that changed something, and the gains and losses
/// of roles.
async fn carry_out(
    cx: &Cx,
    tx: &Tx<'_>,
    edits: &[RequestedEdit],
) -> Result<(Vec<NewEvent>, BTreeSet<RoleMove>)> {
    let types = schema_extension::resource_types(cx).await?;
    let (mut done, mut mistakes) = (Vec::new(), Mistakes::default());
    let mut concerned = ConcernedByEdits::default();
    for (index, requested) in edits.iter().enumerate() {
        let made = make_edit(cx, tx, &types, requested, &mut concerned).await;
        match made {
            Ok(made) => done.extend(made.map(|entry| match &requested.reason {
                Some(reason) => crate::context::with_reason(entry, reason),
                None => entry,
            })),
            // All of it will be rolled back. The other edits are tried for their mistakes, except
            // after a conflict, after which PostgreSQL carries out nothing more.
            Err(error) if error.is_mistake() => {
                let conflict = matches!(error, Error::Taken { .. });
                mistakes.add(Error::InEdit { index, error: Box::new(error) });
                if conflict {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    mistakes.refuse_any()?;
    let at = done.iter().map(|entry| entry.at).max().unwrap_or_else(|| tx.now_after(None));
    let ConcernedByEdits { users, groups } = concerned;
    let moved = access::find_role_moves(cx, &tx.db, tx.event, at, users, &groups).await?;
    Ok((done, moved))
}

/// What edits concern.
#[derive(Default)]
struct ConcernedByEdits {
    /// Accounts that are concerned directly.
    users: Vec<Uuid>,
    /// Groups whose members are concerned.
    groups: Vec<Uuid>,
}

/// Makes one edit. Returns its event, if it changed something.
async fn make_edit(
    cx: &Cx,
    tx: &Tx<'_>,
    types: &ResourceTypes,
    requested: &RequestedEdit,
    concerned: &mut ConcernedByEdits,
) -> Result<Option<NewEvent>> {
    let expected = requested.expected;
    let ConcernedByEdits { users, groups } = concerned;
    match &requested.edit {
        AccessEdit::CreateMapping(new) => {
            role_mapping::create_in(cx, tx, new).await.map(|made| made.entry)
        }
        AccessEdit::UpdateMapping(id, edit) => {
            role_mapping::edit_in(cx, tx, *id, edit).await.map(|made| made.entry)
        }
        AccessEdit::RemoveMapping(id) => {
            role_mapping::remove_in(cx, tx, *id).await.map(|made| made.entry)
        }
        AccessEdit::RestoreMapping(id, onto) => {
            role_mapping::restore_in(cx, tx, *id, *onto).await.map(|made| made.entry)
        }
        AccessEdit::CreateGrant(new) => {
            users.push(new.user);
            role_grant::create_in(cx, tx, new).await.map(|made| made.entry)
        }
        AccessEdit::RemoveGrant(id) => role_grant::remove_in(cx, tx, *id).await.map(|made| {
            users.push(made.value.user_id);
            made.entry
        }),
        AccessEdit::ChangeMembers(id, change) => {
            let edit = GroupEdit { members: vec![change.clone()], ..GroupEdit::default() };
            let made = group::change_group_in(cx, tx, &types.group, *id, &move |group: &Group| {
                crate::domain::check_version(expected, group.version)?;
                Ok(edit.clone())
            })
            .await;
            made.map(|made| {
                // Some of the members are groups.
                for ids in [users, groups] {
                    ids.extend(made.entry.iter().flat_map(group::moved_member_ids));
                }
                made.entry
            })
        }
        AccessEdit::DeleteGroup(id) => {
            groups.push(*id);
            let check = |group: &Group| crate::domain::check_version(expected, group.version);
            group::delete_group_in(cx, tx, *id, &check).await.map(|made| made.entry)
        }
        AccessEdit::RestoreGroup(id) => {
            groups.push(*id);
            restore::restore_group_in(cx, tx, *id).await.map(|made| made.entry)
        }
        AccessEdit::DeleteRole(id) => {
            users.extend(role_grant::users_of(tx, *id).await?);
            roles::delete_in(cx, tx, *id, expected).await.map(|made| made.entry)
        }
    }
}

fn build_change(
    cx: &Cx,
    tx: &Tx<'_>,
    done: Vec<NewEvent>,
    moved: &BTreeSet<RoleMove>,
) -> Change<ChangeOutcome> {
    let Some(at) = done.iter().map(|entry| entry.at).max() else {
        return Change::unchanged(ChangeOutcome { event: None, gained: 0, lost: 0 });
    };
    let (gained, lost) = count_moves(moved);
    let with_people = may_all_name_people(&done);
    // Each group that is deleted or restored has an event of its own too: populations are counted
    // by the subjects of events. So has each grant where the event of all edits must not name
    // people: its own event does, and an erasure empties it.
    let is_told_apart = |entry: &NewEvent| !with_people && entry.subject.kind == GRANT;
    let followed: Vec<DerivedChange> = done
        .iter()
        .filter(|entry| entry.population != 0 || is_told_apart(entry))
        .map(|entry| DerivedChange {
            request_id: cx.request_id,
            requested_at: cx.requested_at,
            entry: entry.clone(),
        })
        .collect();
    let name = name_of_edits(&done, with_people);
    let described: Vec<Value> = done
        .into_iter()
        .map(|mut entry| {
            if is_told_apart(&entry) {
                leave_reason_out(&mut entry);
            }
            let subject = json!({ "kind": entry.subject.kind, "id": entry.subject.id });
            json!({
                "action": entry.kind, "subject": subject, "before": entry.before,
                "after": entry.after,
            })
        })
        .collect();
    let entry = NewEvent {
        kind: EventKind::AccessChanged,
        subject: EventSubject { kind: "access", id: tx.event },
        connection: None,
        at,
        before: None,
        after: Some(json!({ "edits": described, "gained": gained, "lost": lost })),
        population: 0,
        name,
    };
    let mut change = Change::recorded(ChangeOutcome { event: Some(tx.event), gained, lost }, entry);
    change.followed = followed;
    change
}

/// What the ledger calls a grant.
const GRANT: &str = "role_grant";

/// Takes the reason, which a person wrote in own words, out of the values of an edit.
fn leave_reason_out(entry: &mut NewEvent) {
    for side in [&mut entry.before, &mut entry.after].into_iter().flatten() {
        if let Some(values) = side.as_object_mut() {
            values.remove("reason");
        }
    }
}

/// Whether the event of these edits may name people: an erasure can empty it, because what follows
/// from it is found without its values.
fn may_all_name_people(done: &[NewEvent]) -> bool {
    done.iter().all(|entry| change_events::is_found_by_intervals(entry.kind))
}

/// What several edits are called: the first names, and how many more there are. Grants, whose names
/// have the person, are left out where an erasure does not empty the event, and have events of
/// their own there.
fn name_of_edits(done: &[NewEvent], with_people: bool) -> Option<String> {
    let mut names = Vec::new();
    for entry in done.iter().filter(|entry| with_people || entry.subject.kind != GRANT) {
        names.extend(entry.subject_name().filter(|name| !names.contains(name)));
    }
    let more = names.len().saturating_sub(MAX_NAMED_EDITS);
    names.truncate(MAX_NAMED_EDITS);
    let named = names.join(", ");
    match (names.len(), more) {
        (0, _) => None,
        (_, 0) => Some(named),
        (_, more) => Some(format!("{named} and {more} more")),
    }
}

/// Whether the values of an event of several edits may name people: [`name_of_edits`] does where
/// the event can be emptied.
pub(super) fn may_name_people(payload: &str) -> bool {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let edits = payload["after"]["edits"].as_array();
    edits.into_iter().flatten().all(|edit| {
        let kind = edit["action"].as_str().and_then(EventKind::parse);
        kind.is_some_and(change_events::is_found_by_intervals)
    })
}

fn count_moves(moved: &BTreeSet<RoleMove>) -> (u64, u64) {
    let gained = moved.iter().filter(|moved| moved.gained).count() as u64;
    (gained, moved.len() as u64 - gained)
}

fn digest_moves(moved: &BTreeSet<RoleMove>) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for moved in moved {
        context.update(&[u8::from(moved.gained)]);
        context.update(moved.role_id.as_bytes());
        context.update(moved.user_id.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

/// The warnings about the effect of the edits, read before they are rolled back.
async fn find_warnings(
    cx: &Cx,
    tx: &Tx<'_>,
    moved: &BTreeSet<RoleMove>,
) -> Result<Vec<ChangeWarning>> {
    let mut warnings = Vec::new();
    let management = tx.find::<role::Entity>().filter(role::Column::Management.eq(true));
    for role in management.filter(role::Column::DeletedAt.is_null()).all(&tx.db).await? {
        let count = |gained| {
            moved.iter().filter(|moved| moved.role_id == role.id && moved.gained == gained).count()
                as u64
        };
        let (gained, lost) = (count(true), count(false));
        if gained > 0 {
            warnings.push(ChangeWarning::of_role(
                WarningKind::GainsManagementRole,
                role.id,
                gained,
            ));
        }
        if lost > 0 && !access::has_holder(cx, tx, role.id).await? {
            warnings.push(ChangeWarning::of_role(WarningKind::LosesLastHolder, role.id, lost));
        }
    }
    let losers: BTreeSet<Uuid> =
        moved.iter().filter(|moved| !moved.gained).map(|moved| moved.user_id).collect();
    let text = format!(
        r#"SELECT count(*) AS total FROM "user" r WHERE r.organization_id = $1
           AND r.protected = TRUE AND r.id {}"#,
        paging::in_ids(cx.backend(), 2)
    );
    let values = [paging::bind_ids(&losers)];
    let row = tx.db.query_one_raw(cx.statement(text, values)).await?;
    let protected: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    if protected > 0 {
        let accounts = protected.unsigned_abs();
        warnings.push(ChangeWarning {
            kind: WarningKind::ProtectedAccountLoses,
            role: None,
            accounts,
            mapping: None,
        });
    }
    for (mapping, role) in role_mapping::ended_by(tx, tx.event).await? {
        let lost =
            moved.iter().filter(|moved| moved.role_id == role && !moved.gained).count() as u64;
        let warning = ChangeWarning::of_role(WarningKind::MappingEnds, role, lost);
        warnings.push(ChangeWarning { mapping: Some(mapping), ..warning });
    }
    Ok(warnings)
}

async fn keep_preview(tx: &Tx<'_>, preview: Uuid, moved: &BTreeSet<RoleMove>) -> Result<()> {
    for gained in [true, false] {
        let rows: Vec<&RoleMove> = moved.iter().filter(|moved| moved.gained == gained).collect();
        for (number, rows) in rows.chunks(ROWS_PER_PART).enumerate() {
            let bytes = rows
                .iter()
                .flat_map(|row| [row.role_id.into_bytes(), row.user_id.into_bytes()].concat());
            let part = access_preview_part::ActiveModel {
                organization_id: Set(tx.organization()),
                preview_id: Set(preview),
                gained: Set(gained),
                number: Set(number as i64),
                pairs: Set(bytes.collect()),
            };
            access_preview_part::Entity::insert(part).exec_without_returning(&tx.db).await?;
        }
    }
    Ok(())
}

fn part_of(organization: Uuid, preview: Uuid) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(access_preview_part::Column::OrganizationId.eq(organization))
        .add(access_preview_part::Column::PreviewId.eq(preview))
}

fn part_pairs(part: &access_preview_part::Model) -> impl Iterator<Item = RoleMove> {
    let id = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap_or_default();
    part.pairs.chunks_exact(32).map(move |pair| {
        let (role, user) = pair.split_at(16);
        RoleMove { gained: part.gained, role_id: id(role), user_id: id(user) }
    })
}

async fn read_preview_moves(tx: &Tx<'_>, preview: Uuid) -> Result<BTreeSet<RoleMove>> {
    let query = tx
        .find::<access_preview_part::Entity>()
        .filter(access_preview_part::Column::PreviewId.eq(preview));
    Ok(query
        .all(&tx.db)
        .await?
        .iter()
        .flat_map(|part| part_pairs(part).collect::<Vec<_>>())
        .collect())
}

/// A preview that is still stored.
pub async fn get_preview(cx: &Cx, id: Uuid) -> Result<Preview> {
    cx.allow(Action::WriteAccess, None)?;
    let query = cx.find::<access_preview::Entity>().filter(access_preview::Column::Id.eq(id));
    let query = query.filter(access_preview::Column::ExpiresAt.gt(cx.app.clock.now()));
    query.one(cx.db()).await?.ok_or_else(|| Error::not_found(Noun::Preview))
}

/// The warnings to read before a preview is applied.
pub fn warnings_of(preview: &Preview) -> Vec<ChangeWarning> {
    serde_json::from_value(preview.warnings.clone()).unwrap_or_default()
}

/// A page of the pairs that a preview shows as gained, or as lost, sorted by role and account. Keys
/// count the rows from 0.
pub async fn page_of_preview(
    cx: &Cx,
    preview: &Preview,
    gained: bool,
    keyset: &Keyset<i64>,
) -> Result<Slice<(i64, RoleMove)>> {
    cx.allow(Action::WriteAccess, None)?;
    let total = if gained { preview.gained } else { preview.lost };
    let start = keyset.after.map_or(0, |after| after.saturating_add(1)).clamp(0, total);
    let end = keyset.before.unwrap_or(total).clamp(start, total);
    let limit = keyset.limit as i64;
    let (from, to) = if keyset.backward {
        (start.max(end - limit), end)
    } else {
        (start, end.min(start + limit))
    };
    let mut rows = Vec::new();
    if from < to {
        let part = ROWS_PER_PART as i64;
        let query = cx
            .find::<access_preview_part::Entity>()
            .filter(access_preview_part::Column::PreviewId.eq(preview.id))
            .filter(access_preview_part::Column::Gained.eq(gained))
            .filter(access_preview_part::Column::Number.between(from / part, (to - 1) / part))
            .order_by_asc(access_preview_part::Column::Number);
        for found in query.all(cx.db()).await? {
            let numbered = part_pairs(&found)
                .zip(found.number * part..)
                .map(|(moved, number)| (number, moved));
            rows.extend(numbered.filter(|(number, _)| (from..to).contains(number)));
        }
    }
    Ok(Slice { rows, has_previous: from > 0, has_next: to < total })
}

/// Deletes the expired previews of every organization.
pub async fn forget_previews(app: &crate::context::App) -> Result<()> {
    let now: DateTime<Utc> = app.clock.now();
    for text in [
        "DELETE FROM access_preview_part WHERE EXISTS (SELECT 1 FROM access_preview p \
         WHERE p.organization_id = access_preview_part.organization_id \
         AND p.id = access_preview_part.preview_id AND p.expires_at <= $1)",
        "DELETE FROM access_preview WHERE expires_at <= $1",
    ] {
        let reason = "expired previews are deleted";
        let statement = app.statement_for_all_organizations(text, [now.into()], reason);
        app.store.write.execute_raw(statement).await?;
    }
    Ok(())
}
