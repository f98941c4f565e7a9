//! Writing failures down: the first time, what came again, and what a later success puts right.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::{failure, group, user};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, Statement};
use uuid::Uuid;

use super::ledger::opened;
use super::{
    Cause, Failure, MAX_OPEN, MAX_PAYLOAD, Origin, Report, Resolution, SCHEDULE, State, cause, finish, says, unfinished,
};
use crate::context::{App, Change, Cx, Followed, Tx};
use crate::domain::live_index::found_by_user_name;
use crate::domain::{document, organization};
use crate::error::{Error, Result};
use crate::repeats::{Failed, Repeat, Success, Taken};

/// Records what was refused or failed. What is known to be open already is only counted.
///
/// # Errors
/// What the database says; the caller's own answer must not depend on it.
pub async fn report(app: &Arc<App>, organization: Uuid, reports: Vec<Report>) -> Result<()> {
    let mut rows: HashMap<Vec<u8>, (Report, i64)> = HashMap::new();
    for report in reports {
        let full = app.repeats.open_of(report.connection) >= MAX_OPEN;
        let report = if full { report.together() } else { report };
        let print = report.fingerprint();
        // What a run of ours met is written at once: its end tells by it what is right by now.
        let counted = report.origin == Origin::Request
            && app.repeats.again(&(organization, print.clone()), report.at, report.request);
        if !counted {
            rows.entry(print).or_insert((report, 0)).1 += 1;
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let cx = &Cx::system(app.clone(), organization);
    let data_key = organization::current(cx).await?.data_key;
    let mut rows = rows
        .into_iter()
        .map(|(print, (report, n))| Ok((row(app, organization, &data_key, &report, print, n)?, report)))
        .collect::<Result<Vec<_>>>()?;
    // All replicas touch rows in the same order, so none waits for another in a circle.
    rows.sort_by(|a, b| a.0.fingerprint.cmp(&b.0.fingerprint));
    let rows = &rows;
    let fresh: HashSet<Uuid> = cx.write(move |tx| Box::pin(open(tx, rows))).await?;
    for (row, report) in rows {
        let repeat = Repeat { n: row.count, last: report.at, request: report.request };
        let mut repeat = (!fresh.contains(&row.id)).then_some(repeat);
        if let Some(repeat) = repeat.take_if(|_| report.origin == Origin::Sync) {
            again(app, &(organization, row.fingerprint.clone()), &repeat).await?;
        }
        app.repeats.is_open((organization, row.fingerprint.clone()), row.connection_id, row.thing.clone(), repeat);
    }
    Ok(())
}

fn row(app: &App, organization: Uuid, data_key: &[u8], report: &Report, print: Vec<u8>, n: i64) -> Result<Failure> {
    let id = Uuid::now_v7();
    let payload = match &report.payload {
        Some(payload) if payload.body.as_ref().is_none_or(|body| body.len() <= MAX_PAYLOAD) => {
            let text = serde_json::to_string(payload).map_err(|error| Error::Internal(error.to_string()))?;
            Some(app.vault.seal(organization, data_key, id, text.as_bytes())?)
        }
        _ => None,
    };
    let cause = report.cause();
    let again = payload.is_some() || report.origin == Origin::Sync;
    let next_attempt_at = SCHEDULE.first().filter(|_| again && cause::passes(cause)).map(|wait| report.at + *wait);
    Ok(Failure {
        organization_id: organization,
        id,
        connection_id: report.connection,
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
    })
}

/// Writes those that are not open yet; returns which.
async fn open(tx: &Tx<'_>, rows: &[(Failure, Report)]) -> Result<Change<HashSet<Uuid>>> {
    let (mut fresh, mut told) = (HashSet::new(), Vec::new());
    for (row, report) in rows {
        let mut row = row.clone();
        // Ids come from the request: only what is here may be named.
        row.user_id = match row.user_id {
            Some(id) => tx.find::<user::Entity>().filter(user::Column::Id.eq(id)).one(&tx.db).await?.map(|it| it.id),
            None => in_the_way(tx, report).await?,
        };
        if let Some(id) = row.group_id {
            let found = tx.find::<group::Entity>().filter(group::Column::Id.eq(id)).one(&tx.db).await?;
            (row.group_id, row.label) = (found.as_ref().map(|it| it.id), row.label.or(found.map(|it| it.display_name)));
        }
        if row.label.is_none()
            && let Some(id) = row.user_id
        {
            let found = tx.find::<user::Entity>().filter(user::Column::Id.eq(id)).one(&tx.db).await?;
            row.label = found.filter(|it| it.purged_at.is_none()).map(|it| it.user_name);
        }
        let inserted = failure::Entity::insert(failure::ActiveModel::from(row.clone()))
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&tx.db)
            .await?;
        if inserted > 0 {
            fresh.insert(row.id);
            let request_id = report.request.unwrap_or(tx.request_id());
            told.push(Followed {
                request_id,
                requested_at: report.at,
                entry: opened(&row, tx.now_after(Some(report.at))),
            });
        }
    }
    Ok(Change::followed(fresh, told))
}

/// The live account that bears the name which a refused account was to have.
async fn in_the_way(tx: &Tx<'_>, report: &Report) -> Result<Option<Uuid>> {
    let (Some("Users"), Some(label), Cause::Uniqueness) = (report.resource, &report.label, report.cause()) else {
        return Ok(None);
    };
    let query = tx.find::<user::Entity>().filter(user::Column::UserNameKey.eq(document::fold(label)));
    let query = query.filter(found_by_user_name(tx.db.get_database_backend()));
    Ok(query.filter(user::Column::DeletedAt.is_null()).one(&tx.db).await?.map(|user| user.id))
}

/// Writes down what was counted since the last flush, and what successes put right; then learns what is open.
pub async fn flush(app: &Arc<App>) -> Result<()> {
    let _alone = app.repeats.flush.lock().await;
    let mut taken = app.repeats.take();
    let done = write_down(app, &mut taken).await;
    if done.is_err() {
        app.repeats.give_back(taken);
        return done;
    }
    #[derive(FromQueryResult)]
    struct Open {
        connection_id: Uuid,
        thing: Option<Vec<u8>>,
    }
    let text = "SELECT DISTINCT connection_id, thing FROM failure WHERE finished_at IS NULL LIMIT 200000";
    let statement = Statement::from_string(app.store.backend(), text);
    let mut open: HashMap<Uuid, HashSet<Vec<u8>>> = HashMap::new();
    for row in Open::find_by_statement(statement).all(&app.store.read).await? {
        open.entry(row.connection_id).or_default().extend(row.thing);
    }
    app.repeats.learn(open);
    Ok(())
}

/// Takes out of `taken` what is written.
async fn write_down(app: &Arc<App>, taken: &mut Taken) -> Result<()> {
    taken.repeats.sort_by(|a, b| b.0.cmp(&a.0));
    while let Some((failed, repeat)) = taken.repeats.last() {
        again(app, failed, repeat).await?;
        taken.repeats.pop();
    }
    while let Some(success) = taken.successes.last() {
        supersede(app, success).await?;
        taken.successes.pop();
    }
    Ok(())
}

/// One that was finished on another server a moment ago is not there: if it goes on, it is opened anew.
async fn again(app: &App, (organization, print): &Failed, repeat: &Repeat) -> Result<()> {
    let text = "UPDATE failure SET count = count + $3, \
         last_request_id = CASE WHEN last_at <= $4 THEN $5 ELSE last_request_id END, \
         last_at = CASE WHEN last_at < $4 THEN $4 ELSE last_at END \
         WHERE organization_id = $1 AND fingerprint = $2 AND finished_at IS NULL";
    let values =
        [(*organization).into(), print.clone().into(), repeat.n.into(), repeat.last.into(), repeat.request.into()];
    app.store.write.execute_raw(Statement::from_sql_and_values(app.store.backend(), text, values)).await?;
    Ok(())
}

/// What a run that read all of a source, from `began` on, says of what earlier ones could not carry over: what it did
/// not meet again is right by now, or gone.
pub async fn supersede_before(
    app: &Arc<App>,
    organization: Uuid,
    connection: Uuid,
    began: DateTime<Utc>,
) -> Result<()> {
    let cx = Cx::system(app.clone(), organization);
    let open = unfinished(&cx).filter(failure::Column::ConnectionId.eq(connection));
    let open = open.filter(failure::Column::Origin.eq(Origin::Sync)).filter(failure::Column::LastAt.lt(began));
    for failure in open.all(&app.store.write).await? {
        finish(&cx, failure.id, State::Resolved, Resolution::Superseded, None).await?;
    }
    Ok(())
}

/// What a later success of the same connection says of the same thing: it is done, or, where the success says only a
/// part, it must not be tried again by itself.
pub async fn supersede(app: &Arc<App>, success: &Success) -> Result<()> {
    let cx = Cx::system(app.clone(), success.organization);
    let open = unfinished(&cx).filter(failure::Column::Thing.eq(success.thing.clone()));
    let open = open.filter(failure::Column::ConnectionId.eq(success.connection));
    let open = open.filter(failure::Column::LastAt.lt(success.at));
    for failure in open.all(&app.store.write).await? {
        let scope = success.scope.as_deref();
        if failure.scope.split_whitespace().all(|part| says(scope, part)) {
            finish(&cx, failure.id, State::Resolved, Resolution::Superseded, None).await?;
        } else if failure.scope.split_whitespace().any(|part| says(scope, part)) && failure.next_attempt_at.is_some() {
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
