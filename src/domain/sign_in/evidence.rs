//! Claims as evidence: where SCIM says who is in which group, a sign-in that says something else is
//! a finding, until the two agree again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use entity::{group, sign_in};
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::claimed_groups::{GroupKeys, claimed_set, join_groups, stored_keys};
use super::memberships::{ClaimedGroups, ListChange, read_open_now, store_evidence};
use super::source::SignInSource;
use crate::context::{App, Cx};
use crate::domain::directory::user::User;
use crate::domain::reconcile::claims::{ClaimedDifference, tell_claims};
use crate::error::{Error, Result};

/// Findings that one sweep compares again.
const BATCH_SIZE: u64 = 200;

/// Notes what a sign-in says, and compares it with what SCIM says.
pub(super) async fn note_evidence(
    from: &SignInSource,
    user: &User,
    claims: &ClaimedGroups,
) -> Result<ListChange> {
    let Some(row) = store_evidence(from, user.id, claims).await? else {
        return Ok(ListChange::Done { changed: false, unknown: Vec::new() });
    };
    let unknown = compare_again(from, user, &row).await?;
    Ok(ListChange::Done { changed: false, unknown })
}

/// Opens or closes the finding about this person; returns the claimed groups that are unknown here.
async fn compare_again(
    from: &SignInSource,
    user: &User,
    row: &sign_in::Model,
) -> Result<Vec<String>> {
    let Some(keys) = stored_keys(row) else { return Ok(Vec::new()) };
    let joined = match join_groups(from, &keys, false).await {
        // Another request joins the same keys at this moment: the next comparison is complete.
        Err(Error::Busy(_)) => return Ok(Vec::new()),
        joined => joined?,
    };
    let open = read_open_now(from, user.id).await?;
    let set = claimed_set(from);
    let counts = |key: &Option<String>| match (key, &set) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(key), Some(set)) => set.contains(key),
    };
    let claimed: BTreeSet<Uuid> = joined.groups.values().copied().collect();
    let member: BTreeSet<Uuid> = open.iter().map(|(group, _)| *group).collect();
    let denied =
        row.complete && open.iter().any(|(group, key)| counts(key) && !claimed.contains(group));
    let missing = !joined.unknown.is_empty() || claimed.iter().any(|id| !member.contains(id));
    let differs = if denied || missing {
        let held: BTreeSet<Uuid> = open
            .iter()
            .filter(|(group, key)| counts(key) || claimed.contains(group))
            .map(|(group, _)| *group)
            .collect();
        Some(ClaimedDifference {
            claimed: named_claims(from, &keys, &joined.groups).await?,
            held: group_names(&from.cx, &held).await?.into_values().collect(),
        })
    } else {
        None
    };
    let system = Cx::system(from.cx.app.clone(), from.cx.organization());
    tell_claims(&system, from.connection.id, user, differs.as_ref()).await?;
    Ok(joined.unknown)
}

/// What the claimed groups are called: here, else there.
async fn named_claims(
    from: &SignInSource,
    keys: &GroupKeys,
    joined: &BTreeMap<String, Uuid>,
) -> Result<Vec<String>> {
    let names = group_names(&from.cx, &joined.values().copied().collect()).await?;
    let mut named: Vec<String> = keys
        .iter()
        .map(|(key, name)| {
            let here = joined.get(key).and_then(|id| names.get(id)).cloned();
            here.or_else(|| name.clone()).unwrap_or_else(|| key.clone())
        })
        .collect();
    named.sort_unstable();
    named.dedup();
    Ok(named)
}

async fn group_names(cx: &Cx, groups: &BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, String>> {
    let query = cx.find::<group::Entity>();
    let query = query.filter(group::Column::Id.is_in(groups.iter().copied()));
    let rows: Vec<(Uuid, String)> = query
        .select_only()
        .columns([group::Column::Id, group::Column::DisplayName])
        .into_tuple()
        .all(cx.db())
        .await?;
    Ok(rows.into_iter().collect())
}

#[derive(FromQueryResult)]
struct OpenDifference {
    organization_id: Uuid,
    connection_id: Uuid,
    user_id: Uuid,
}

/// Compares again where claims and SCIM differed, because SCIM may have written since, in every
/// organization; returns how many were compared.
///
/// # Errors
/// Errors of the database.
pub async fn close_agreed_findings(app: &Arc<App>) -> Result<u64> {
    let text = format!(
        "SELECT organization_id, connection_id, user_id FROM finding \
         WHERE kind = 'CLAIMS_DIFFER' AND state IN ('OPEN', 'ACCEPTED') AND user_id IS NOT NULL \
         ORDER BY last_seen_at LIMIT {BATCH_SIZE}"
    );
    let reason = "where claims and SCIM differed";
    let statement = app.statement_for_all_organizations(text, [], reason);
    let mut compared = 0;
    for row in OpenDifference::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), row.organization_id);
        let from = match SignInSource::read_settings(&cx, row.connection_id).await {
            // The connection was deleted.
            Err(Error::NotFound(_)) => continue,
            from => from?,
        };
        let user = super::person::find_live_account(&from, row.user_id).await?;
        let latest = cx.find::<sign_in::Entity>();
        let latest = latest.filter(sign_in::Column::UserId.eq(row.user_id));
        let latest = latest.filter(sign_in::Column::ConnectionId.eq(row.connection_id));
        if let (Some(user), Some(latest)) = (user, latest.one(cx.db()).await?) {
            compare_again(&from, &user, &latest).await?;
            compared += 1;
        }
    }
    Ok(compared)
}
