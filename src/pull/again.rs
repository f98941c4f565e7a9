//! Reading again what a run could not carry over: one person or group for each failure, a few connections at once. A
//! source that does not answer is left alone for a while, so that it keeps nobody else waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::client::Client;
use super::run::told;
use crate::context::App;
use crate::domain::failure::run::{self, Claim, End, Reading};
use crate::domain::failure::{Origin, Resolution};
use crate::domain::sync;
use crate::domain::sync::carry::{self, Carried, Kind, Pass};
use crate::error::Result;

/// Sources that are read again at once on one server process.
const AT_ONCE: usize = 4;
/// What is due is looked for this often.
const LOOK: Duration = Duration::from_secs(5);
/// How long one attempt may take: less than its claim holds.
const TIME: Duration = Duration::from_secs(60);
/// How long a source is left alone that did not answer.
const REST: Duration = Duration::from_secs(60);

/// Reads again what is due until told to stop.
pub async fn work(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    let mut busy: HashMap<Id, Uuid> = HashMap::new();
    let mut resting: HashMap<Uuid, Instant> = HashMap::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            _ = look.tick() => {}
            () = app.repeats.readings.notified() => {}
            Some(ended) = running.join_next_with_id() => match ended {
                Ok((id, answered)) => if let (Some(connection), false) = (busy.remove(&id), answered) {
                    resting.insert(connection, Instant::now() + REST);
                },
                Err(died) => drop(busy.remove(&died.id())),
            },
        }
        resting.retain(|_, until| *until > Instant::now());
        while running.len() < AT_ONCE {
            let except: Vec<Uuid> = busy.values().chain(resting.keys()).copied().collect();
            match run::claim(&app, Origin::Sync, &except).await {
                Ok(Some(claim)) => {
                    let connection = claim.failure.connection_id;
                    busy.insert(running.spawn(attempt(claim, stop.clone())).id(), connection);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "looking for what is to be read again failed; it is tried again");
                    break;
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// Makes one attempt; whether the source answered.
async fn attempt(claim: Claim, mut stop: watch::Receiver<bool>) -> bool {
    let made = tokio::select! {
        made = timeout(TIME, read(&claim)) => made.unwrap_or(Ok(Read::Silence)),
        () = told(&mut stop) => Ok(Read::Stopped),
    };
    let answered = !matches!(made, Ok(Read::Silence));
    let written = match made {
        Ok(Read::Silence) => claim.failed(None).await,
        Ok(Read::Stopped) => claim.release().await,
        Ok(Read::Begun) => claim.begun().await,
        Ok(Read::Ended(End::Done(how))) => claim.done(how).await,
        Ok(Read::Ended(End::NotNow)) => claim.failed(None).await,
        Ok(Read::Ended(End::Nothing)) => claim.give_up().await,
        Ok(Read::Carried(carried)) => match carried.failures.first() {
            None => claim.done(Resolution::Retried).await,
            Some(it) => claim.failed(Some((it.reason, it.scim_type, it.field.as_deref()))).await,
        },
        Err(error) => claim.failed(Some((error.reason(), None, None))).await,
    };
    if let Err(error) = written {
        tracing::warn!(%error, "reading again was interrupted; it goes on in a few minutes");
    }
    answered
}

/// What an attempt came to.
enum Read {
    Ended(End),
    /// A run was begun, which tells the rest.
    Begun,
    Carried(Box<Carried>),
    /// The source gave no answer that can be used.
    Silence,
    /// The process is stopping.
    Stopped,
}

async fn read(claim: &Claim) -> Result<Read> {
    let failure = &claim.failure;
    let Reading { cx, one, begun } = match claim.reading().await? {
        Ok(reading) => reading,
        Err(end) => return Ok(Read::Ended(end)),
    };
    let Some((endpoint, remote_id)) = one else {
        // The attempt's own request: so another that follows it knows that the run has begun.
        let mut system = claim.cx.clone();
        system.request_id = claim.request_id;
        let mode = sync::claim::mode_of(&failure.scope);
        return Ok(match begun || sync::again(&system, failure.connection_id, mode).await? {
            true => Read::Begun,
            false => Read::Ended(End::NotNow),
        });
    };
    let kind = if endpoint == Kind::User.endpoint() { Kind::User } else { Kind::Group };
    let client = Client::open(&claim.cx, failure.connection_id).await?.impatient();
    let Ok(found) = client.still(kind.endpoint(), &remote_id).await else { return Ok(Read::Silence) };
    // A run that is under way must not take for gone whom this finds.
    let run = sync::unfinished(&claim.cx, failure.connection_id).await?;
    let (found, silent) = (found.map(|found| vec![found]), client.source.lists_members);
    Ok(Read::Carried(Box::new(match (kind, found, failure.user_id.or(failure.group_id)) {
        (Kind::User, Some(found), _) => carry::users(&cx, run, found, &mut Pass::default()).await?,
        (Kind::Group, Some(found), _) => carry::groups(&cx, run, found, silent, &Pass::default()).await?,
        (kind, None, Some(id)) if failure.operation.starts_with("delete") => {
            let mut carried = Carried::default();
            carry::remove(&cx, kind, id, &remote_id, &mut carried).await?;
            carried
        }
        // It has gone at the source, or is not to be read any more: a full run tells what that means here.
        (_, None, _) => return Ok(Read::Ended(End::Done(Resolution::Superseded))),
    })))
}
