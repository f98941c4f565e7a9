//! Reads again what a run could not apply: one person or group for each failure.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::client::SourceClient;
use crate::context::shutdown_requested;
use crate::domain::review::Resolution;
use crate::domain::review::run::{RepeatedReading, RetryClaim, SkippedAttempt};
use crate::domain::sync;
use crate::domain::sync::apply::{ListPass, PageOutcome, apply_steps};
use crate::domain::sync::local_rows::plan_page;
use crate::domain::sync::plan::{SyncKind, plan_removals};
use crate::error::Result;

/// How long one attempt may take: less than the lease of its claim.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// How an attempt ended.
#[derive(Debug)]
pub struct ReadAttemptEnd {
    /// Whether the source answered.
    pub answered: bool,
    /// An error of this server: another attempt follows when the lease of this one has ended.
    pub result: Result<()>,
}

/// Makes one attempt.
pub async fn attempt_read(claim: RetryClaim, mut stop: watch::Receiver<bool>) -> ReadAttemptEnd {
    let made = tokio::select! {
        made = timeout(ATTEMPT_TIMEOUT, read_again(&claim)) => {
            made.unwrap_or(Ok(ReadAttempt::Silence))
        }
        () = shutdown_requested(&mut stop) => Ok(ReadAttempt::Stopped),
    };
    let answered = !matches!(made, Ok(ReadAttempt::Silence));
    let result = match made {
        Ok(ReadAttempt::Silence) => claim.mark_failed(None).await,
        Ok(ReadAttempt::Stopped) => claim.release_lease().await,
        Ok(ReadAttempt::Begun) => claim.mark_begun().await,
        Ok(ReadAttempt::Ended(SkippedAttempt::Done(how))) => claim.mark_done(how).await,
        Ok(ReadAttempt::Ended(SkippedAttempt::NotNow)) => claim.mark_failed(None).await,
        Ok(ReadAttempt::Ended(SkippedAttempt::Nothing)) => claim.stop_retrying().await,
        Ok(ReadAttempt::Carried(carried)) => match carried.failures.first() {
            None => claim.mark_done(Resolution::Retried).await,
            Some(it) => {
                claim.mark_failed(Some((it.reason, it.scim_type, it.field.as_deref()))).await
            }
        },
        Err(error) => claim.mark_failed(Some((error.reason(), None, None))).await,
    };
    ReadAttemptEnd { answered, result }
}

/// The result of an attempt.
enum ReadAttempt {
    Ended(SkippedAttempt),
    /// A run has begun; its end decides about the failure.
    Begun,
    Carried(Box<PageOutcome>),
    /// The source gave no answer that can be used.
    Silence,
    /// The process is stopping.
    Stopped,
}

async fn read_again(claim: &RetryClaim) -> Result<ReadAttempt> {
    let failure = &claim.failure;
    let RepeatedReading { cx, connection, one, begun } = match claim.prepare_reading().await? {
        Ok(reading) => reading,
        Err(end) => return Ok(ReadAttempt::Ended(end)),
    };
    let Some((endpoint, remote_id)) = one else {
        // The run has the request id of the attempt: so another attempt after this one knows that
        // the run has begun.
        let mut system = claim.cx.clone();
        system.request_id = claim.request_id;
        let mode = sync::lease::mode_of(&failure.scope);
        if begun || sync::begin_run_again(&system, connection, mode).await? {
            return Ok(ReadAttempt::Begun);
        }
        return Ok(ReadAttempt::Ended(SkippedAttempt::NotNow));
    };
    let kind =
        if endpoint == SyncKind::User.endpoint_name() { SyncKind::User } else { SyncKind::Group };
    let client = SourceClient::open_source(&claim.cx, connection).await?.with_single_try();
    let Ok(found) = client.read_still_listed(kind.endpoint_name(), &remote_id).await else {
        return Ok(ReadAttempt::Silence);
    };
    // A run that is under way must not treat the resource that was found here as gone.
    let run = sync::find_unfinished_run(&claim.cx, connection).await?;
    let silent = client.source.lists_members;
    let steps = match (found, failure.user_id.or(failure.group_id)) {
        (Some(found), _) => plan_page(&cx, kind, vec![found], silent).await?.steps,
        (None, Some(id)) if failure.operation.starts_with("delete") => {
            plan_removals(kind, vec![(id, remote_id)])
        }
        // The resource is gone at the source, or is not to be read any more: a full run decides
        // what that means here.
        (None, _) => {
            return Ok(ReadAttempt::Ended(SkippedAttempt::Done(Resolution::Superseded)));
        }
    };
    let carried = apply_steps(&cx, run, steps, &mut ListPass::default()).await?;
    Ok(ReadAttempt::Carried(Box::new(carried)))
}
