//! A receiver polls a stream (RFC 8936): it acknowledges what it has, and is given what comes next.
//! What was handed out and not acknowledged waits as a delivery, and is handed out again first. The
//! place of the ledger up to which events were handed out is the cursor of the destination.

use std::collections::{BTreeMap, BTreeSet};

use entity::delivery;
use entity::destination::State;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::notice::{forget_notice, pending_notice};
use super::token::{TokenDraft, build_tokens, parse_token_id};
use super::{
    OpenedStream, StreamOfDestination, allow_receiving, find_received, open_stream, read_details,
};
use crate::context::Cx;
use crate::domain::signal::filter::EventFilter;
use crate::domain::signal::payload::{ChainedEvent, delivery_id};
use crate::domain::signal::work::{
    EVENTS_PER_READ, ROUTINE_KEPT, chained_events_by_ids, read_chained_events,
};
use crate::domain::tenant::organization;
use crate::error::{Error, Result};

/// The most tokens in one answer.
pub const MAX_TOKENS: usize = 1_000;
/// The number of tokens for a receiver that names none.
pub const DEFAULT_TOKENS: usize = 100;
/// Events that were handed out and wait to be acknowledged; then nothing new is handed out.
const MAX_OUTSTANDING: u64 = 1_000;
/// The most acknowledgements and reports of one request.
pub const MAX_ACKNOWLEDGED: usize = 10_000;
/// Pages of the ledger that one request reads.
const MAX_PAGES: usize = 20;
/// Rows named in one statement.
const ROWS_PER_STATEMENT: usize = 200;
/// The longest report of a receiver that is kept.
const MAX_REPORT_LENGTH: usize = 300;

/// What a receiver asks for.
#[derive(Debug, Clone, Default)]
pub struct PollRequest {
    pub max_tokens: usize,
    /// The ids of the tokens that it has.
    pub acknowledged: Vec<String>,
    /// The ids of the tokens that it cannot use, each with the reason.
    pub refused: Vec<(String, String)>,
}

/// What a receiver is given.
#[derive(Debug, Clone, Default)]
pub struct PolledTokens {
    /// The tokens, signed, by their ids.
    pub tokens: BTreeMap<String, String>,
    pub more: bool,
}

/// Follows the ledger of the organization, for a receiver that waits; the receiver may poll.
///
/// # Errors
/// [`Error::Forbidden`]
pub async fn follow_events(cx: &Cx) -> Result<watch::Receiver<i64>> {
    allow_receiving(cx)?;
    let head = cx.find::<entity::ledger_head::Entity>().one(cx.db()).await?;
    Ok(cx.app.heads.subscribe_head(cx.organization(), head.map_or(0, |head| head.seq)))
}

/// Takes what a receiver acknowledges. Ids that were not handed out on this stream are ignored.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn acknowledge_tokens(cx: &Cx, id: Uuid, request: &PollRequest) -> Result<()> {
    let StreamOfDestination { stream, .. } = find_received(cx, id).await?;
    let mut named: BTreeMap<Uuid, (BTreeSet<usize>, Option<String>)> = BTreeMap::new();
    for token in &request.acknowledged {
        if let Some((delivery, number)) = parse_token_id(token) {
            named.entry(delivery).or_default().0.insert(number);
        }
    }
    for (token, report) in &request.refused {
        if let Some((delivery, number)) = parse_token_id(token) {
            let (numbers, refused) = named.entry(delivery).or_default();
            numbers.insert(number);
            refused.get_or_insert_with(|| report.chars().take(MAX_REPORT_LENGTH).collect());
        }
    }
    if let Some(notice) = stream.notice_id.filter(|notice| named.contains_key(notice)) {
        forget_notice(cx, id, notice).await?;
    }
    let now = cx.app.clock.now();
    let ids: Vec<Uuid> = named.keys().copied().collect();
    let mut any = false;
    for some in ids.chunks(ROWS_PER_STATEMENT) {
        let query = cx.find::<delivery::Entity>();
        let query = query.filter(delivery::Column::Id.is_in(some.iter().copied()));
        for row in query.all(&cx.app.store.write).await? {
            if row.destination_id != id || row.state != delivery::State::Waiting {
                continue;
            }
            let Some((numbers, report)) = named.get(&row.id) else { continue };
            let (of, mut done) = token_numbers(&row);
            done.extend(numbers.intersection(&of).copied());
            let ended = done.is_superset(&of);
            // A report fails the whole event; `deliveryRetry` has it handed out again.
            let state = match (ended, report) {
                (true, None) => delivery::State::Succeeded,
                (true, Some(_)) => delivery::State::Failed,
                (false, _) => delivery::State::Waiting,
            };
            let taken = state == delivery::State::Succeeded;
            any |= taken;
            let urgent = is_deprovisioning(&row.action);
            let text = "UPDATE delivery SET acknowledged = $3, state = $4, received_at = $5, \
                        message = coalesce($6, message), kept = $7, last_at = $8 \
                        WHERE organization_id = $1 AND id = $2 AND state = 'WAITING'";
            let values = [
                row.id.into(),
                json!({ "of": of, "done": done }).into(),
                sea_orm::ActiveEnum::to_value(&state).into(),
                taken.then_some(now).into(),
                report.clone().into(),
                (!taken || urgent || row.attempts > 1).into(),
                now.into(),
            ];
            cx.app.store.write.execute_raw(cx.statement(text, values)).await?;
        }
    }
    if any {
        let text = "UPDATE destination SET last_success_at = $3 WHERE organization_id = $1 \
                    AND id = $2";
        let statement = cx.statement(text, [id.into(), now.into()]);
        cx.app.store.write.execute_raw(statement).await?;
    }
    Ok(())
}

fn is_deprovisioning(action: &str) -> bool {
    crate::ledger::EventKind::parse(action).is_some_and(crate::ledger::EventKind::is_deprovisioning)
}

/// The numbers of an event's tokens, and of those that were acknowledged.
fn token_numbers(row: &delivery::Model) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let numbers = |name: &str| -> BTreeSet<usize> {
        let list = row.acknowledged.as_ref().and_then(|value| value[name].as_array());
        let numbers = list.into_iter().flatten().filter_map(Value::as_u64);
        numbers.filter_map(|number| usize::try_from(number).ok()).collect()
    };
    (numbers("of"), numbers("done"))
}

/// Hands out the tokens that come next.
///
/// # Errors
/// [`Error::NotFound`], and [`Error::Invalid`] for a stream that is pushed.
pub async fn hand_out_tokens(cx: &Cx, id: Uuid, most: usize) -> Result<PolledTokens> {
    let found = find_received(cx, id).await?;
    let StreamOfDestination { destination: row, stream } = &found;
    if row.url.is_some() {
        return Err(Error::invalid("stream_id", "names a stream that is pushed and not polled"));
    }
    let organization = organization::current_organization(cx).await?;
    let opened = open_stream(cx, &organization, row, stream).await?;
    let mut collector =
        PollCollector { cx, opened: &opened, most, answer: PolledTokens::default() };
    if let Some(draft) = pending_notice(&opened.view, stream) {
        collector.add_token(&draft)?;
    }
    if !matches!(row.state, State::Active | State::Failing) {
        return Ok(collector.answer);
    }
    let waiting = collector.add_outstanding(id).await?;
    if waiting < MAX_OUTSTANDING && !collector.is_full() {
        collector.add_new(row).await?;
    }
    Ok(collector.answer)
}

/// Collects the tokens of an answer.
struct PollCollector<'a> {
    cx: &'a Cx,
    opened: &'a OpenedStream,
    most: usize,
    answer: PolledTokens,
}

impl PollCollector<'_> {
    fn is_full(&self) -> bool {
        self.answer.tokens.len() >= self.most
    }

    /// Signs a token and adds it, unless the answer is full.
    fn add_token(&mut self, draft: &TokenDraft) -> Result<()> {
        if self.is_full() {
            self.answer.more = true;
            return Ok(());
        }
        let signer = self.opened.signers.current(self.cx.app.clock.now())?;
        let token = signer.sign_claims(&draft.claims).map_err(Error::Internal)?;
        self.answer.tokens.insert(draft.id.clone(), token);
        Ok(())
    }

    /// Hands out again what was not acknowledged; returns the number of these events.
    async fn add_outstanding(&mut self, id: Uuid) -> Result<u64> {
        let cx = self.cx;
        // The state stands in the text, so that the index of what waits fits.
        let waiting = "FROM delivery WHERE organization_id = $1 AND destination_id = $2 \
                       AND state = 'WAITING'";
        let db = &cx.app.store.write;
        let text = format!("SELECT count(*) AS n {waiting}");
        let counted = db.query_one_raw(cx.statement(text, [id.into()])).await?;
        let count: i64 = counted.map_or(Ok(0), |row| row.try_get("", "n"))?;
        if count == 0 {
            return Ok(0);
        }
        let count = count.unsigned_abs();
        let text = format!("SELECT * {waiting} ORDER BY seq LIMIT {}", self.most);
        let statement = cx.statement(text, [id.into()]);
        let rows = delivery::Model::find_by_statement(statement).all(db).await?;
        self.answer.more |= count > rows.len() as u64;
        let mut events = BTreeMap::new();
        for some in rows.chunks(ROWS_PER_STATEMENT) {
            let ids: Vec<Uuid> = some.iter().map(|row| row.event_id).collect();
            for event in chained_events_by_ids(cx, &ids).await? {
                events.insert(event.id, event);
            }
        }
        let known = read_details(cx, &self.opened.view, events.values()).await?;
        let (mut again, mut settled) = (Vec::new(), Vec::new());
        for row in rows {
            let (of, done) = token_numbers(&row);
            let drafts = events
                .get(&row.event_id)
                .map(|event| build_tokens(&self.opened.view, event, &known))
                .unwrap_or_default();
            // A subject that was removed meanwhile, or types that are not requested any more.
            if drafts.iter().all(|draft| done.contains(&draft.number)) {
                settled.push(row.id);
                continue;
            }
            if self.is_full() {
                self.answer.more = true;
                break;
            }
            again.push(row.id);
            if of.is_empty() {
                self.note_numbers(row.id, &drafts).await?;
            }
            for draft in drafts.iter().filter(|draft| !done.contains(&draft.number)) {
                self.add_token(draft)?;
            }
        }
        self.note_again(&again, "attempts = attempts + 1").await?;
        self.note_again(&settled, "state = 'SUCCEEDED'").await?;
        Ok(count)
    }

    /// Notes which tokens an event has that was pushed before, or is to be handed out again.
    async fn note_numbers(&self, delivery: Uuid, drafts: &[TokenDraft]) -> Result<()> {
        let text = "UPDATE delivery SET acknowledged = $3 WHERE organization_id = $1 AND id = $2 \
                    AND state = 'WAITING'";
        let of: Vec<usize> = drafts.iter().map(|draft| draft.number).collect();
        let values = [delivery.into(), json!({ "of": of, "done": [] }).into()];
        self.cx.app.store.write.execute_raw(self.cx.statement(text, values)).await?;
        Ok(())
    }

    async fn note_again(&self, ids: &[Uuid], change: &str) -> Result<()> {
        for some in ids.chunks(ROWS_PER_STATEMENT) {
            let mut sql = self.cx.sql([self.cx.app.clock.now().into()]);
            let named = sql.bind_ids(self.cx.backend(), some);
            sql.push(&format!(
                "UPDATE delivery SET {change}, last_at = $2 WHERE organization_id = $1 \
                 AND id {named} AND state = 'WAITING'"
            ));
            let statement = self.cx.build_statement(sql);
            self.cx.app.store.write.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Hands out the next events of the ledger.
    async fn add_new(&mut self, row: &entity::destination::Model) -> Result<()> {
        let (cx, view) = (self.cx, &self.opened.view);
        let filter = EventFilter::of_destination(row);
        let mut cursor = row.cursor_seq;
        let mut rows = Vec::new();
        for turn in 0..=MAX_PAGES {
            if self.is_full() || turn == MAX_PAGES {
                self.answer.more = true;
                break;
            }
            let page = read_chained_events(cx, cursor).await?;
            let last = (page.len() as u64) < EVENTS_PER_READ;
            let wanted: Vec<&ChainedEvent> =
                page.iter().filter(|event| filter.judge_event(event).is_some()).collect();
            let known = read_details(cx, view, wanted.iter().copied()).await?;
            let wanted: BTreeSet<Uuid> = wanted.iter().map(|event| event.id).collect();
            let mut stopped = false;
            for event in &page {
                let drafts = if wanted.contains(&event.id) {
                    build_tokens(view, event, &known)
                } else {
                    Vec::new()
                };
                if !drafts.is_empty() {
                    if self.is_full() {
                        self.answer.more = true;
                        stopped = true;
                        break;
                    }
                    rows.push(new_delivery(cx, row.id, event, &drafts));
                    for draft in &drafts {
                        self.add_token(draft)?;
                    }
                }
                cursor = event.seq;
            }
            if stopped || last {
                break;
            }
        }
        self.write_down(row, cursor, rows).await
    }

    /// First the deliveries, then the cursor: what a process that dies between has not written is
    /// handed out again under the same ids.
    async fn write_down(
        &self,
        row: &entity::destination::Model,
        cursor: i64,
        rows: Vec<delivery::Model>,
    ) -> Result<()> {
        let (cx, db) = (self.cx, &self.cx.app.store.write);
        let mut rows = rows.into_iter().map(IntoActiveModel::into_active_model).peekable();
        while rows.peek().is_some() {
            let some: Vec<delivery::ActiveModel> = rows.by_ref().take(ROWS_PER_STATEMENT).collect();
            let known = OnConflict::new().do_nothing().to_owned();
            delivery::Entity::insert_many(some)
                .on_conflict(known)
                .exec_without_returning(db)
                .await?;
        }
        if cursor <= row.cursor_seq {
            return Ok(());
        }
        let text = "UPDATE destination SET cursor_seq = $4 WHERE organization_id = $1 \
                    AND id = $2 AND restarts = $3 AND cursor_seq < $4";
        let values = [row.id.into(), row.restarts.into(), cursor.into()];
        db.execute_raw(cx.statement(text, values)).await?;
        let before = cursor - ROUTINE_KEPT;
        if before / 1_000 != (row.cursor_seq - ROUTINE_KEPT) / 1_000 {
            let text = "DELETE FROM delivery WHERE organization_id = $1 AND destination_id = $2 \
                        AND seq < $3 AND NOT kept";
            let statement = cx.statement(text, [row.id.into(), before.into()]);
            db.execute_raw(statement).await?;
        }
        Ok(())
    }
}

fn new_delivery(
    cx: &Cx,
    destination: Uuid,
    event: &ChainedEvent,
    drafts: &[TokenDraft],
) -> delivery::Model {
    let now = cx.app.clock.now();
    let of: Vec<usize> = drafts.iter().map(|draft| draft.number).collect();
    delivery::Model {
        organization_id: cx.organization(),
        id: delivery_id(destination, event.id),
        destination_id: destination,
        event_id: event.id,
        seq: event.seq,
        action: event.action.clone(),
        subject_kind: event.subject_kind.clone(),
        subject_id: event.subject_id,
        state: delivery::State::Waiting,
        // Until it is acknowledged.
        kept: true,
        attempts: 1,
        attempt_log: json!([]),
        first_at: now,
        last_at: now,
        next_at: None,
        received_at: None,
        status: None,
        latency_ms: None,
        response: None,
        message: None,
        acknowledged: Some(json!({ "of": of, "done": [] })),
    }
}
