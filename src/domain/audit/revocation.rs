//! The end of a leaver's sessions, as applications confirm it. That a message was received proves
//! nothing about sessions; so what an application confirms is kept apart from it.

use chrono::{DateTime, Duration, Utc};
use entity::revocation_confirmation::{ActiveModel, Column, Entity};
use entity::{activation, alert, alert_rule, delivery, event, revocation_confirmation, user};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx, clock};
use crate::domain::{lock_row, save_row};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use revocation_confirmation::Model as RevocationConfirmation;

/// How far the clock of an application may differ from that of this server.
const CLOCK_TOLERANCE: Duration = Duration::minutes(1);
/// The most confirmations of one event that are listed.
pub const MAX_LISTED: u64 = 100;

/// How soon, in minutes, applications should have taken that an account left and have ended its
/// sessions, unless the organization chooses another time.
pub const DEFAULT_OBJECTIVE_MINUTES: i64 = 5;

/// How soon they should: the threshold of the organization's rule about it.
pub async fn downstream_objective(cx: &Cx) -> Result<Duration> {
    let kind = alert_rule::Column::Kind.eq(alert::Kind::RevocationNotReceived);
    let rule = cx.find::<alert_rule::Entity>().filter(kind).one(cx.db()).await?;
    let chosen = rule.and_then(|rule| rule.threshold);
    Ok(Duration::minutes(chosen.unwrap_or(DEFAULT_OBJECTIVE_MINUTES)))
}

/// Notes that the caller, an application, ended all sessions of an account at `ended_at`, after the
/// account was last suspended or deleted. A second confirmation of the same caller replaces the
/// first.
///
/// # Errors
/// [`Error::NotFound`] for an account that does not exist, [`Error::Held`] for one that never left,
/// [`Error::Invalid`] for an instant before it left or in the future.
pub async fn confirm_revocation(
    cx: &Cx,
    account: Uuid,
    ended_at: DateTime<Utc>,
) -> Result<RevocationConfirmation> {
    cx.allow(Action::ConfirmRevocation, None)?;
    let ended_at = clock::to_stored_precision(ended_at);
    let actor_id = &cx.actor.id().unwrap_or_else(|| cx.actor.kind().to_owned());
    cx.write(move |tx| {
        Box::pin(async move {
            let left = find_last_departure(tx, account).await?;
            let query = tx
                .find::<Entity>()
                .filter(Column::EventId.eq(left.id))
                .filter(Column::UserId.eq(account))
                .filter(Column::ActorId.eq(actor_id.as_str()));
            let known = lock_row(tx, query).await?;
            if let Some(known) = known.as_ref().filter(|known| known.ended_at == ended_at) {
                return Ok(Change::unchanged(known.clone()));
            }
            let now = tx.now_after(known.as_ref().map(|known| known.confirmed_at));
            if ended_at < left.requested_at - CLOCK_TOLERANCE {
                let why = format!("must not be before the account left, at {}", left.requested_at);
                return Err(Error::invalid("endedAt", why));
            }
            if ended_at > now + CLOCK_TOLERANCE {
                return Err(Error::invalid("endedAt", "must not be in the future"));
            }
            let row = RevocationConfirmation {
                organization_id: tx.organization(),
                event_id: left.id,
                user_id: account,
                actor_id: actor_id.clone(),
                confirmation_id: tx.event,
                ended_at,
                confirmed_at: now,
            };
            let entry = NewEvent {
                kind: EventKind::RevocationConfirmed,
                subject: EventSubject { kind: "user", id: account },
                connection: left.connection_id,
                at: now,
                before: known.as_ref().map(|known| json!({ "endedAt": known.ended_at })),
                after: Some(json!({
                    "endedAt": ended_at, "cause": { "event": left.id, "action": left.action },
                })),
                population: 0,
                name: None,
            };
            match known {
                Some(_) => {
                    save_row::<Entity, ActiveModel>(tx, row.clone()).await?;
                }
                None => {
                    Entity::insert(row.clone().into_active_model())
                        .exec_without_returning(&tx.db)
                        .await?;
                }
            }
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// The event by which an account left for the last time. Where all accounts were deleted at once,
/// the event has no subject, and the account's last activity names the event that ended it.
async fn find_last_departure(tx: &Tx<'_>, account: Uuid) -> Result<event::Model> {
    let known = tx.find::<user::Entity>().filter(user::Column::Id.eq(account));
    if known
        .select_only()
        .column(user::Column::Id)
        .into_tuple::<Uuid>()
        .one(&tx.db)
        .await?
        .is_none()
    {
        return Err(Error::not_found(Noun::User));
    }
    let departures: Vec<&str> = EventKind::ALL
        .iter()
        .filter(|kind| kind.is_deprovisioning())
        .map(|kind| kind.name())
        .collect();
    let left = || event::Column::Action.is_in(departures.iter().copied());
    let own = tx
        .find::<event::Entity>()
        .filter(event::Column::SubjectId.eq(account))
        .filter(left())
        .order_by_desc(event::Column::Pos)
        .limit(1)
        .one(&tx.db)
        .await?;
    let closed: Option<Uuid> = tx
        .find::<activation::Entity>()
        .filter(activation::Column::UserId.eq(account))
        .filter(activation::Column::Until.is_not_null())
        .order_by_desc(activation::Column::Until)
        .select_only()
        .column(activation::Column::ClosedBy)
        .limit(1)
        .into_tuple::<Option<Uuid>>()
        .one(&tx.db)
        .await?
        .flatten();
    let ended = match closed {
        Some(id) => {
            let query = tx.find::<event::Entity>().filter(event::Column::Id.eq(id)).filter(left());
            query.one(&tx.db).await?
        }
        None => None,
    };
    own.into_iter().chain(ended).max_by_key(|event| event.pos).ok_or_else(|| Error::Held {
        reason: RefusalReason::NoLeaver,
        why: "the account was never suspended or deleted".into(),
    })
}

/// The deliveries of the event by which an account left, the first [`MAX_LISTED`].
pub async fn deliveries_of(cx: &Cx, account: Uuid, event: Uuid) -> Result<Vec<delivery::Model>> {
    cx.allow(Action::ReadLedger, None)?;
    let query = cx
        .find::<delivery::Entity>()
        .filter(delivery::Column::SubjectId.eq(account))
        .filter(delivery::Column::EventId.eq(event))
        .order_by_asc(delivery::Column::Id)
        .limit(MAX_LISTED);
    Ok(query.all(cx.db()).await?)
}

/// A destination that has not taken that accounts left.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct UnreceivedDepartures {
    pub destination_id: Uuid,
    /// How many events.
    pub n: i64,
    /// When the first of them was handed over first.
    pub first_at: DateTime<Utc>,
}

/// The destinations that have not accepted an event about accounts that left, and were first sent
/// it before `since`.
pub(in crate::domain) async fn list_unreceived(
    cx: &Cx,
    since: DateTime<Utc>,
) -> Result<Vec<UnreceivedDepartures>> {
    // One part for each of the two indexes of deliveries that a destination has not taken.
    let part = |state: &str| {
        format!(
            "SELECT d.destination_id, d.first_at FROM delivery d WHERE d.organization_id = $1 \
             AND d.state = '{state}' AND d.first_at < $2 AND d.action IN {}",
            EventKind::sql_list(EventKind::is_deprovisioning)
        )
    };
    let text = format!(
        "SELECT destination_id, count(*) AS n, min(first_at) AS first_at \
         FROM ({} UNION ALL {}) AS open GROUP BY destination_id ORDER BY destination_id",
        part("WAITING"),
        part("FAILED")
    );
    let found = UnreceivedDepartures::find_by_statement(cx.statement(text, [since.into()]));
    Ok(found.all(cx.db()).await?)
}

/// The confirmations about what these events ended, by event and account: for each event the first
/// [`MAX_LISTED`].
pub async fn confirmations_of(cx: &Cx, event: Uuid) -> Result<Vec<RevocationConfirmation>> {
    cx.allow(Action::ReadLedger, None)?;
    let query = cx
        .find::<Entity>()
        .filter(Column::EventId.eq(event))
        .order_by_asc(Column::UserId)
        .order_by_asc(Column::ActorId)
        .limit(MAX_LISTED);
    Ok(query.all(cx.db()).await?)
}
