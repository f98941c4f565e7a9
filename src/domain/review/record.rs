//! Records failures: new ones, repetitions, and later successes that resolve them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::{failure, group, user};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter};
use uuid::Uuid;

use super::ledger::failure_opened_event;
use super::{
    Cause, Failure, FailureReport, MAX_OPEN_TARGETS, MAX_PAYLOAD_BYTES, Origin, RETRY_DELAYS,
    Resolution, State, cause, finish_failure, scope_covers, select_unfinished,
};
use crate::buffers::failure_repeats::{DrainedRepeats, FailureKey, RepeatCount, SucceededWrite};
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::domain::paging::live_index::found_by_user_name;
use crate::domain::tenant::organization;
use crate::error::{Error, Result};
use crate::identity::document;

/// Records refused and failed writes. One that is known to be open already is only counted.
///
/// # Errors
/// Errors of the database; the caller's own answer must not depend on them.
pub async fn report_failures(
    app: &Arc<App>,
    organization: Uuid,
    reports: Vec<FailureReport>,
) -> Result<()> {
    let mut rows: HashMap<Vec<u8>, (FailureReport, i64)> = HashMap::new();
    for report in reports {
        let full = app.repeats.open_of(report.connection) >= MAX_OPEN_TARGETS;
        let report = if full { report.into_collective() } else { report };
        let print = report.report_fingerprint();
        // A failure of a sync run is written at once: when the run ends, failures that it did not
        // write again are resolved.
        let counted = report.origin == Origin::Request
            && app.repeats.count_repeat(&(organization, print.clone()), report.at, report.request);
        if !counted {
            rows.entry(print).or_insert((report, 0)).1 += 1;
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let cx = &Cx::system(app.clone(), organization);
    let data_key = organization::current_organization(cx).await?.data_key;
    let mut rows = rows
        .into_iter()
        .map(|(print, (report, n))| {
            Ok((failure_row(app, organization, &data_key, &report, print, n)?, report))
        })
        .collect::<Result<Vec<_>>>()?;
    // All replicas write rows in the same order, so they do not deadlock.
    rows.sort_by(|a, b| a.0.fingerprint.cmp(&b.0.fingerprint));
    let rows = &rows;
    let fresh: HashSet<Uuid> = cx.write(move |tx| Box::pin(open_failures(tx, rows))).await?;
    for (row, report) in rows {
        let repeat = RepeatCount { n: row.count, last: report.at, request: report.request };
        let mut repeat = (!fresh.contains(&row.id)).then_some(repeat);
        if let Some(repeat) = repeat.take_if(|_| report.origin == Origin::Sync) {
            add_repeat(app, &(organization, row.fingerprint.clone()), &repeat).await?;
        }
        app.repeats.is_open(
            (organization, row.fingerprint.clone()),
            report.connection,
            row.thing.clone(),
            repeat,
        );
    }
    Ok(())
}

fn failure_row(
    app: &App,
    organization: Uuid,
    data_key: &[u8],
    report: &FailureReport,
    print: Vec<u8>,
    n: i64,
) -> Result<Failure> {
    let id = Uuid::now_v7();
    let payload = match &report.payload {
        Some(payload)
            if payload.body.as_ref().is_none_or(|body| body.len() <= MAX_PAYLOAD_BYTES) =>
        {
            let text = serde_json::to_string(payload)
                .map_err(|error| Error::Internal(error.to_string()))?;
            Some(app.vault.seal(organization, data_key, id, text.as_bytes())?)
        }
        _ => None,
    };
    let cause = report.cause();
    let again = payload.is_some() || report.origin == Origin::Sync;
    let next_attempt_at = RETRY_DELAYS
        .first()
        .filter(|_| again && cause::passes_by_itself(cause))
        .map(|wait| report.at + *wait);
    Ok(Failure {
        organization_id: organization,
        id,
        connection_id: Some(report.connection),
        origin: report.origin,
        fingerprint: print,
        thing: report.thing.clone(),
        scope: report.scope.join(" "),
        operation: report.operation.into(),
        resource: report.resource.map(Into::into),
        user_id: report.target.filter(|_| report.resource == Some("Users")),
        group_id: report.target.filter(|_| report.resource == Some("Groups")),
        label: report.label.clone(),
        cause,
        reason: report.reason.into(),
        scim_type: report.scim_type.map(Into::into),
        field: report.field.clone(),
        outline: report.outline.clone(),
        payload,
        count: n,
        first_at: report.at,
        last_at: report.at,
        last_request_id: report.request,
        state: State::Open,
        resolution: None,
        note: None,
        assigned_to: None,
        attempts: 0,
        next_attempt_at,
        retry_request_id: None,
        holder: None,
        until: None,
        finished_at: None,
        finished_by: None,
        destination_id: None,
        delivery_id: None,
    })
}

/// Writes the failures that are not open yet; returns their ids.
async fn open_failures(
    tx: &Tx<'_>,
    rows: &[(Failure, FailureReport)],
) -> Result<Change<HashSet<Uuid>>> {
    let (mut fresh, mut followed) = (HashSet::new(), Vec::new());
    for (row, report) in rows {
        let mut row = row.clone();
        // Ids come from the request: only those of existing users and groups are stored.
        row.user_id = match row.user_id {
            Some(id) => tx
                .find::<user::Entity>()
                .filter(user::Column::Id.eq(id))
                .one(&tx.db)
                .await?
                .map(|it| it.id),
            None => find_conflicting_user(tx, report).await?,
        };
        name_target(tx, &mut row).await?;
        let inserted = failure::Entity::insert(failure::ActiveModel::from(row.clone()))
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&tx.db)
            .await?;
        if inserted > 0 {
            fresh.insert(row.id);
            let request_id = report.request.unwrap_or(tx.request_id());
            followed.push(DerivedChange {
                request_id,
                requested_at: report.at,
                entry: failure_opened_event(&row, tx.now_after(Some(report.at))),
            });
        }
    }
    Ok(Change::derived(fresh, followed))
}

/// Gives a failure the name of the group or the account that it is about, where it has none. Ids of
/// groups that do not exist are dropped.
pub(super) async fn name_target(tx: &Tx<'_>, row: &mut Failure) -> Result<()> {
    if let Some(id) = row.group_id {
        let found = tx.find::<group::Entity>().filter(group::Column::Id.eq(id)).one(&tx.db).await?;
        row.group_id = found.as_ref().map(|it| it.id);
        row.label = row.label.take().or(found.map(|it| it.display_name));
    }
    if row.label.is_none()
        && let Some(id) = row.user_id
    {
        let found = tx.find::<user::Entity>().filter(user::Column::Id.eq(id)).one(&tx.db).await?;
        row.label = found.filter(|it| it.purged_at.is_none()).map(|it| it.user_name);
    }
    Ok(())
}

/// The live account that already has the name of the refused account.
async fn find_conflicting_user(tx: &Tx<'_>, report: &FailureReport) -> Result<Option<Uuid>> {
    let (Some("Users"), Some(label), Cause::Uniqueness) =
        (report.resource, &report.label, report.cause())
    else {
        return Ok(None);
    };
    let query =
        tx.find::<user::Entity>().filter(user::Column::UserNameKey.eq(document::fold_text(label)));
    let query = query.filter(found_by_user_name(tx.db.get_database_backend()));
    Ok(query.filter(user::Column::DeletedAt.is_null()).one(&tx.db).await?.map(|user| user.id))
}

/// Writes the repetitions and successes since the last flush; then learns which failures are open.
pub async fn flush_repeats(app: &Arc<App>) -> Result<()> {
    let write = async |taken: &mut DrainedRepeats| {
        write_taken(app, taken).await?;
        reload_open_failures(app).await
    };
    app.repeats.buffer.flush(app.clock.now(), write).await
}

async fn reload_open_failures(app: &App) -> Result<()> {
    #[derive(FromQueryResult)]
    struct OpenTargetRow {
        connection_id: Uuid,
        thing: Option<Vec<u8>>,
    }
    let text = "SELECT DISTINCT connection_id, thing FROM failure WHERE finished_at IS NULL \
         AND connection_id IS NOT NULL LIMIT 200000";
    let reason = "a server learns which failures are open";
    let statement = app.statement_for_all_organizations(text, [], reason);
    let mut open: HashMap<Uuid, HashSet<Vec<u8>>> = HashMap::new();
    for row in OpenTargetRow::find_by_statement(statement).all(&app.store.read).await? {
        open.entry(row.connection_id).or_default().extend(row.thing);
    }
    app.repeats.reload(open);
    Ok(())
}

/// Writes repetitions and successes, and removes from `taken` what is written.
async fn write_taken(app: &Arc<App>, taken: &mut DrainedRepeats) -> Result<()> {
    taken.repeats.sort_by(|a, b| b.0.cmp(&a.0));
    while let Some((failed, repeat)) = taken.repeats.last() {
        add_repeat(app, failed, repeat).await?;
        taken.repeats.pop();
    }
    while let Some(success) = taken.successes.last() {
        supersede_by_success(app, success).await?;
        taken.successes.pop();
    }
    Ok(())
}

/// Counts a repetition. If another server has just finished the failure, no row matches: the next
/// occurrence opens a new failure.
async fn add_repeat(
    app: &App,
    (organization, print): &FailureKey,
    repeat: &RepeatCount,
) -> Result<()> {
    let text = "UPDATE failure SET count = count + $3, \
         last_request_id = CASE WHEN last_at <= $4 THEN $5 ELSE last_request_id END, \
         last_at = CASE WHEN last_at < $4 THEN $4 ELSE last_at END \
         WHERE organization_id = $1 AND fingerprint = $2 AND finished_at IS NULL";
    let values = [print.clone().into(), repeat.n.into(), repeat.last.into(), repeat.request.into()];
    app.store.write.execute_raw(app.statement(*organization, text, values)).await?;
    Ok(())
}

/// Resolves failures of earlier runs after a run that read all of a source, from `began` on: a
/// failure that did not occur again has no cause any more, or its user or group is gone.
pub async fn supersede_by_run(
    app: &Arc<App>,
    organization: Uuid,
    connection: Uuid,
    began: DateTime<Utc>,
) -> Result<()> {
    let cx = Cx::system(app.clone(), organization);
    let open = select_unfinished(&cx).filter(failure::Column::ConnectionId.eq(connection));
    let open = open
        .filter(failure::Column::Origin.eq(Origin::Sync))
        .filter(failure::Column::LastAt.lt(began));
    for failure in open.all(&app.store.write).await? {
        finish_failure(&cx, failure.id, State::Resolved, Resolution::Superseded, None).await?;
    }
    Ok(())
}

/// Applies a later success of the same connection to the failures of the same target: a failure
/// whose parts were all written is resolved; one with only some of them written is not retried by
/// itself any more.
pub async fn supersede_by_success(app: &Arc<App>, success: &SucceededWrite) -> Result<()> {
    let cx = Cx::system(app.clone(), success.organization);
    let open = select_unfinished(&cx).filter(failure::Column::Thing.eq(success.thing.clone()));
    let open = open.filter(failure::Column::ConnectionId.eq(success.connection));
    let open = open.filter(failure::Column::LastAt.lt(success.at));
    for failure in open.all(&app.store.write).await? {
        let scope = success.scope.as_deref();
        if failure.scope.split_whitespace().all(|part| scope_covers(scope, part)) {
            finish_failure(&cx, failure.id, State::Resolved, Resolution::Superseded, None).await?;
        } else if failure.scope.split_whitespace().any(|part| scope_covers(scope, part))
            && failure.next_attempt_at.is_some()
        {
            failure::Entity::update_many()
                .col_expr(failure::Column::NextAttemptAt, Expr::value(None::<DateTime<Utc>>))
                .col_expr(failure::Column::State, Expr::value("OPEN"))
                .filter(failure::Column::OrganizationId.eq(success.organization))
                .filter(failure::Column::Id.eq(failure.id))
                .filter(failure::Column::FinishedAt.is_null())
                .exec(&app.store.write)
                .await?;
        }
    }
    Ok(())
}
