//! Several edits of who holds what as one change: seen first, exactly and without effect, then made, if what was seen
//! is still true.
//!
//! A preview carries the edits out in a transaction, reads what they did to access, and takes them back: so it can
//! never say anything else than the edits would do. What must never enter: a second notion of access.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Duration, Utc};
use entity::{access_preview, access_preview_part, role};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Statement};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::access::{self, Moved};
use super::document::MemberChange;
use super::grant::{self, NewGrant};
use super::group::{self, Group, GroupEdit};
use super::list::{self, Keyset, Slice};
use super::mapping::{self, NewMapping};
use super::{extension, restoration, role as roles};
use crate::authz::Action;
use crate::context::{Change, Cx, Followed, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// A preview and what it found.
pub use access_preview::Model as Preview;

/// The most edits of one change.
pub const MAX_EDITS: usize = 100;
/// How long a preview can be looked at and applied.
const KEPT: Duration = Duration::hours(1);
/// Rows of a list in one row of the database, two ids each.
const PART: usize = 1_000;

/// One edit of who holds what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Edit {
    CreateMapping(NewMapping),
    UpdateMapping(Uuid, mapping::Edit),
    RemoveMapping(Uuid),
    RestoreMapping(Uuid, Option<Uuid>),
    CreateGrant(NewGrant),
    RemoveGrant(Uuid),
    ChangeMembers(Uuid, MemberChange),
    DeleteGroup(Uuid),
    RestoreGroup(Uuid),
    DeleteRole(Uuid),
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The ledger's row; none if everything was so already.
    pub event: Option<Uuid>,
    /// Pairs of account and role that came.
    pub gained: u64,
    /// Pairs of account and role that went.
    pub lost: u64,
}

/// Something about a preview that somebody should think about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub kind: WarningKind,
    pub role: Option<Uuid>,
    /// How many accounts it concerns.
    pub accounts: u64,
    /// The mapping that it is about.
    #[serde(default)]
    pub mapping: Option<Uuid>,
}

impl Warning {
    fn of_role(kind: WarningKind, role: Uuid, accounts: u64) -> Self {
        Self { kind, role: Some(role), accounts, mapping: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WarningKind {
    /// Accounts would gain a management role.
    GainsManagementRole,
    /// A management role would be left without a holder.
    LosesLastHolder,
    /// Break-glass accounts would lose something.
    ProtectedAccountLoses,
    /// A mapping would end, also where nobody loses anything by it now.
    MappingEnds,
}

/// Makes all of these edits in one transaction, or none.
///
/// # Errors
/// [`Error::Invalid`] naming the edit that cannot be made, and why.
pub async fn apply(cx: &Cx, edits: Vec<Edit>) -> Result<Outcome> {
    let edits = &check(edits)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let (done, moved) = carry_out(cx, tx, edits).await?;
            Ok(made(cx, tx, done, &moved))
        })
    })
    .await
}

/// What these edits would do, kept for an hour. Nothing else changes.
///
/// # Errors
/// [`Error::Invalid`] naming the edit that cannot be made, and why.
pub async fn preview(cx: &Cx, edits: Vec<Edit>) -> Result<Preview> {
    let edits = &check(edits)?;
    cx.write(move |tx| {
        Box::pin(async move {
            tx.db.execute_unprepared("SAVEPOINT preview").await?;
            let (_, moved) = carry_out(cx, tx, edits).await?;
            let warnings = warnings(cx, tx, &moved).await?;
            tx.db.execute_unprepared("ROLLBACK TO SAVEPOINT preview").await?;
            let now = tx.now_after(None);
            let (gained, lost) = counts(&moved);
            let row = Preview {
                organization_id: cx.organization(),
                id: Uuid::now_v7(),
                edits: json!(edits),
                gained: gained as i64,
                lost: lost as i64,
                warnings: json!(warnings),
                digest: digest(&moved),
                created_at: now,
                expires_at: now + KEPT,
            };
            access_preview::Entity::insert(access_preview::ActiveModel::from(row.clone()))
                .exec_without_returning(&tx.db)
                .await?;
            keep(tx, row.id, &moved).await?;
            let entry = Entry {
                kind: EventKind::AccessPreviewed,
                subject: Subject { kind: "access_preview", id: row.id },
                connection: None,
                at: now,
                before: None,
                after: Some(json!({ "edits": edits.len(), "gained": gained, "lost": lost })),
                population: 0,
            };
            Ok(Change::made(row, entry))
        })
    })
    .await
}

/// Makes the edits of a preview, if they would still do exactly what it shows.
///
/// # Errors
/// [`Error::NotFound`] for a preview that is not kept any more, [`Error::Invalid`] saying what moved since.
pub async fn apply_preview(cx: &Cx, id: Uuid) -> Result<Outcome> {
    let preview = &get(cx, id).await?;
    let edits: &Vec<Edit> =
        &serde_json::from_value(preview.edits.clone()).map_err(|error| Error::Internal(error.to_string()))?;
    cx.write(move |tx| {
        Box::pin(async move {
            let (done, moved) = carry_out(cx, tx, edits).await?;
            if digest(&moved) != preview.digest {
                let shown = shown(tx, preview.id).await?;
                let (came, went) = (moved.difference(&shown).count(), shown.difference(&moved).count());
                let why = format!(
                    "is not true any more: since it was made, {came} that it does not show would be gained or lost too, and \
                     {went} that it shows would not; make a new preview"
                );
                return Err(Error::invalid("previewId", why));
            }
            access_preview_part::Entity::delete_many().filter(part_of(tx.organization(), id)).exec(&tx.db).await?;
            access_preview::Entity::delete_many()
                .filter(access_preview::Column::OrganizationId.eq(tx.organization()))
                .filter(access_preview::Column::Id.eq(id))
                .exec(&tx.db)
                .await?;
            Ok(made(cx, tx, done, &moved))
        })
    })
    .await
}

fn check(edits: Vec<Edit>) -> Result<Vec<Edit>> {
    match edits.len() {
        0 => Err(Error::invalid("edits", "must not be empty")),
        n if n > MAX_EDITS => Err(Error::invalid("edits", format!("must be at most {MAX_EDITS}"))),
        _ => Ok(edits),
    }
}

/// The edits that changed something, as the ledger tells each of them.
async fn carry_out(cx: &Cx, tx: &Tx<'_>, edits: &[Edit]) -> Result<(Vec<Entry>, BTreeSet<Moved>)> {
    let types = extension::types(cx).await?;
    let mut done = Vec::new();
    // Whom the edits concern themselves, and in which groups somebody is whom they concern.
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for (index, edit) in edits.iter().enumerate() {
        let made = match edit {
            Edit::CreateMapping(new) => mapping::create_in(cx, tx, new).await.map(|made| made.entry),
            Edit::UpdateMapping(id, edit) => mapping::edit_in(cx, tx, *id, edit).await.map(|made| made.entry),
            Edit::RemoveMapping(id) => mapping::remove_in(cx, tx, *id).await.map(|made| made.entry),
            Edit::RestoreMapping(id, onto) => mapping::restore_in(cx, tx, *id, *onto).await.map(|made| made.entry),
            Edit::CreateGrant(new) => {
                users.push(new.user);
                grant::create_in(cx, tx, new).await.map(|made| made.entry)
            }
            Edit::RemoveGrant(id) => grant::remove_in(cx, tx, *id).await.map(|made| {
                users.push(made.value.user_id);
                made.entry
            }),
            Edit::ChangeMembers(id, change) => {
                let edit = GroupEdit { members: vec![change.clone()], ..GroupEdit::default() };
                let made = group::change_in(cx, tx, &types.group, *id, &move |_: &Group| Ok(edit.clone())).await;
                made.map(|made| {
                    // Some of them are groups.
                    for ids in [&mut users, &mut groups] {
                        ids.extend(made.entry.iter().flat_map(group::moved_by));
                    }
                    made.entry
                })
            }
            Edit::DeleteGroup(id) => {
                groups.push(*id);
                group::delete_in(cx, tx, *id, &|_: &Group| Ok(())).await.map(|made| made.entry)
            }
            Edit::RestoreGroup(id) => {
                groups.push(*id);
                restoration::restore_in(cx, tx, *id).await.map(|made| made.entry)
            }
            Edit::DeleteRole(id) => {
                users.extend(grant::users_of(tx, *id).await?);
                roles::delete_in(cx, tx, *id).await.map(|made| made.entry)
            }
        };
        let blame = |error| match error {
            Error::NotFound(_) | Error::Taken { .. } | Error::Invalid { .. } => {
                Error::invalid(format!("edits.{index}"), error.to_string())
            }
            error => error,
        };
        done.extend(made.map_err(blame)?);
    }
    let at = done.iter().map(|entry| entry.at).max().unwrap_or_else(|| tx.now_after(None));
    let moved = access::moved(cx, &tx.db, tx.event, at, users, &groups).await?;
    Ok((done, moved))
}

fn made(cx: &Cx, tx: &Tx<'_>, done: Vec<Entry>, moved: &BTreeSet<Moved>) -> Change<Outcome> {
    let Some(at) = done.iter().map(|entry| entry.at).max() else {
        return Change::nothing(Outcome { event: None, gained: 0, lost: 0 });
    };
    let (gained, lost) = counts(moved);
    // Each group that ends or comes back has its own row too: populations are counted by what a row is about.
    let counted: Vec<Followed> = done
        .iter()
        .filter(|entry| entry.population != 0)
        .map(|entry| Followed { request_id: cx.request_id, requested_at: cx.requested_at, entry: entry.clone() })
        .collect();
    let told: Vec<Value> = done
        .into_iter()
        .map(|entry| {
            let subject = json!({ "kind": entry.subject.kind, "id": entry.subject.id });
            json!({ "action": entry.kind, "subject": subject, "before": entry.before, "after": entry.after })
        })
        .collect();
    let entry = Entry {
        kind: EventKind::AccessChanged,
        subject: Subject { kind: "access", id: tx.event },
        connection: None,
        at,
        before: None,
        after: Some(json!({ "edits": told, "gained": gained, "lost": lost })),
        population: 0,
    };
    let mut change = Change::made(Outcome { event: Some(tx.event), gained, lost }, entry);
    change.followed = counted;
    change
}

fn counts(moved: &BTreeSet<Moved>) -> (u64, u64) {
    let gained = moved.iter().filter(|moved| moved.gained).count() as u64;
    (gained, moved.len() as u64 - gained)
}

fn digest(moved: &BTreeSet<Moved>) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for moved in moved {
        context.update(&[u8::from(moved.gained)]);
        context.update(moved.role_id.as_bytes());
        context.update(moved.user_id.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

/// What stands out in what the edits did, read before they are taken back.
async fn warnings(cx: &Cx, tx: &Tx<'_>, moved: &BTreeSet<Moved>) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let management = tx.find::<role::Entity>().filter(role::Column::Management.eq(true));
    for role in management.filter(role::Column::DeletedAt.is_null()).all(&tx.db).await? {
        let count =
            |gained| moved.iter().filter(|moved| moved.role_id == role.id && moved.gained == gained).count() as u64;
        let (gained, lost) = (count(true), count(false));
        if gained > 0 {
            warnings.push(Warning::of_role(WarningKind::GainsManagementRole, role.id, gained));
        }
        if lost > 0 && !access::has_holder(cx, tx, role.id).await? {
            warnings.push(Warning::of_role(WarningKind::LosesLastHolder, role.id, lost));
        }
    }
    let losers: BTreeSet<Uuid> = moved.iter().filter(|moved| !moved.gained).map(|moved| moved.user_id).collect();
    let text = format!(
        r#"SELECT count(*) AS total FROM "user" r WHERE r.organization_id = $1 AND r.protected = TRUE AND r.id {}"#,
        list::among(cx.backend(), 2)
    );
    let values = [cx.organization().into(), list::ids(&losers)];
    let row = tx.db.query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let protected: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    if protected > 0 {
        let accounts = protected.unsigned_abs();
        warnings.push(Warning { kind: WarningKind::ProtectedAccountLoses, role: None, accounts, mapping: None });
    }
    for (mapping, role) in mapping::ended_by(tx, tx.event).await? {
        let lost = moved.iter().filter(|moved| moved.role_id == role && !moved.gained).count() as u64;
        let warning = Warning::of_role(WarningKind::MappingEnds, role, lost);
        warnings.push(Warning { mapping: Some(mapping), ..warning });
    }
    Ok(warnings)
}

async fn keep(tx: &Tx<'_>, preview: Uuid, moved: &BTreeSet<Moved>) -> Result<()> {
    for gained in [true, false] {
        let rows: Vec<&Moved> = moved.iter().filter(|moved| moved.gained == gained).collect();
        for (number, rows) in rows.chunks(PART).enumerate() {
            let bytes = rows.iter().flat_map(|row| [row.role_id.into_bytes(), row.user_id.into_bytes()].concat());
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

fn pairs(part: &access_preview_part::Model) -> impl Iterator<Item = Moved> {
    let id = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap_or_default();
    part.pairs.chunks_exact(32).map(move |pair| {
        let (role, user) = pair.split_at(16);
        Moved { gained: part.gained, role_id: id(role), user_id: id(user) }
    })
}

async fn shown(tx: &Tx<'_>, preview: Uuid) -> Result<BTreeSet<Moved>> {
    let query = tx.find::<access_preview_part::Entity>().filter(access_preview_part::Column::PreviewId.eq(preview));
    Ok(query.all(&tx.db).await?.iter().flat_map(|part| pairs(part).collect::<Vec<_>>()).collect())
}

/// A preview that is still kept.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Preview> {
    cx.allow(Action::WriteAccess, None)?;
    let query = cx.find::<access_preview::Entity>().filter(access_preview::Column::Id.eq(id));
    let query = query.filter(access_preview::Column::ExpiresAt.gt(cx.app.clock.now()));
    query.one(cx.db()).await?.ok_or_else(|| Error::not_found("the preview"))
}

/// What somebody should think about before applying a preview.
pub fn warnings_of(preview: &Preview) -> Vec<Warning> {
    serde_json::from_value(preview.warnings.clone()).unwrap_or_default()
}

/// A page of what a preview shows to be gained, or lost, by role and account. Keys count the rows from 0.
pub async fn page(cx: &Cx, preview: &Preview, gained: bool, keyset: &Keyset<i64>) -> Result<Slice<(i64, Moved)>> {
    cx.allow(Action::WriteAccess, None)?;
    let total = if gained { preview.gained } else { preview.lost };
    let start = keyset.after.map_or(0, |after| after.saturating_add(1)).clamp(0, total);
    let end = keyset.before.unwrap_or(total).clamp(start, total);
    let limit = keyset.limit as i64;
    let (from, to) = match keyset.backward {
        false => (start, end.min(start + limit)),
        true => (start.max(end - limit), end),
    };
    let mut rows = Vec::new();
    if from < to {
        let part = PART as i64;
        let query = cx
            .find::<access_preview_part::Entity>()
            .filter(access_preview_part::Column::PreviewId.eq(preview.id))
            .filter(access_preview_part::Column::Gained.eq(gained))
            .filter(access_preview_part::Column::Number.between(from / part, (to - 1) / part))
            .order_by_asc(access_preview_part::Column::Number);
        for found in query.all(cx.db()).await? {
            let numbered = pairs(&found).zip(found.number * part..).map(|(moved, number)| (number, moved));
            rows.extend(numbered.filter(|(number, _)| (from..to).contains(number)));
        }
    }
    Ok(Slice { rows, has_previous: from > 0, has_next: to < total })
}

/// Deletes previews that are not kept any more, of every organization.
pub async fn forget(app: &crate::context::App) -> Result<()> {
    let now: DateTime<Utc> = app.clock.now();
    for text in [
        "DELETE FROM access_preview_part WHERE EXISTS (SELECT 1 FROM access_preview p \
         WHERE p.organization_id = access_preview_part.organization_id AND p.id = access_preview_part.preview_id AND p.expires_at <= $1)",
        "DELETE FROM access_preview WHERE expires_at <= $1",
    ] {
        let statement = Statement::from_sql_and_values(app.store.backend(), text, [now.into()]);
        app.store.write.execute_raw(statement).await?;
    }
    Ok(())
}
