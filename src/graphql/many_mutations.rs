//! Mutations that decide about many failures, findings or adoption proposals at once.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::adoption_proposal::ProposalState;
use uuid::Uuid;

use super::failure::{FailureFilter, FailureFix};
use super::list_filter::AdoptionProposalFilter;
use super::many::{FILTERED, MAX_DECISIONS, ManyOutcome, SkippedItems, collect_items, decide_each};
use super::permission::{Permission, needs};
use super::reconcile::{FindingChoice, FindingFilter};
use crate::context::Cx;
use crate::domain::directory::adoption;
use crate::domain::paging::order::OrderBy;
use crate::domain::paging::{Keyset, Slice};
use crate::domain::{reconcile, review};
use crate::error::{Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

const FAILURES: FieldMap = FieldMap {
    nouns: &[(Noun::Failure, "ids"), (FILTERED, "filter")],
    fields: &[("search", "filter.search")],
};
const FINDINGS: FieldMap =
    FieldMap { nouns: &[(Noun::Finding, "ids"), (FILTERED, "filter")], fields: &[] };
const PROPOSALS: FieldMap =
    FieldMap { nouns: &[(Noun::Proposal, "ids"), (FILTERED, "filter")], fields: &[] };

/// The states of failures that have not ended.
const UNFINISHED: [review::State; 2] = [review::State::Open, review::State::Retrying];

/// The first things of a list, as many as one call decides about.
fn whole_page<P>() -> Keyset<P> {
    Keyset { limit: MAX_DECISIONS as u64, ..Keyset::default() }
}

fn ids_of<T>(slice: Slice<T>, id: impl Fn(&T) -> Uuid) -> Vec<Uuid> {
    slice.rows.iter().map(id).collect()
}

/// The failures that a filter finds, the oldest first; those in `states` unless it says otherwise.
async fn list_failures(
    cx: &Cx,
    filter: FailureFilter,
    states: &[review::State],
) -> Result<Vec<Uuid>> {
    filter.check_permission(cx)?;
    let Some(mut which) = filter.into_domain_query()? else { return Ok(Vec::new()) };
    if which.states.is_empty() {
        which.states = states.to_vec();
    }
    Ok(ids_of(review::list_failures(cx, &which, &whole_page()).await?, |row| row.id))
}

/// The open findings that a filter finds, the oldest first.
async fn list_findings(cx: &Cx, filter: FindingFilter) -> Result<Vec<Uuid>> {
    let Some(mut which) = filter.into_domain_query()? else { return Ok(Vec::new()) };
    if which.states.is_empty() {
        which.states = vec![reconcile::State::Open];
    }
    let found = reconcile::list_findings(cx, &which, OrderBy::Age, &whole_page()).await?;
    Ok(ids_of(found, |(row, _)| row.id))
}

/// The proposals that a filter finds, the oldest first; the pending ones unless it says otherwise.
async fn list_proposals(cx: &Cx, filter: AdoptionProposalFilter) -> Result<Vec<Uuid>> {
    let Some(mut which) = filter.into_domain_query()? else { return Ok(Vec::new()) };
    if which.states.is_empty() {
        which.states = vec![ProposalState::Pending];
    }
    let found = adoption::list_proposals(cx, &which, OrderBy::Age, &whole_page()).await?;
    Ok(ids_of(found, |(row, _)| row.id))
}

/// What to do with adoption proposals.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionDecision {
    /// Give each account to the connection.
    Accept,
    /// Leave each account as it is.
    Dismiss,
}

/// The failures to retry: exactly one of `ids` and `filter`.
#[derive(InputObject)]
pub struct FailuresRetryInput {
    /// Global ids of failures, at most 1,000.
    ids: Option<Vec<ID>>,
    /// The failures that match, the oldest 1,000; without `states`, those that are open. Needs
    /// IAM_READ.
    filter: Option<FailureFilter>,
}

/// The failures that were fixed, and how: exactly one of `ids` and `filter`.
#[derive(InputObject)]
pub struct FailuresResolveInput {
    /// Global ids of failures, at most 1,000.
    ids: Option<Vec<ID>>,
    /// The failures that match, the oldest 1,000; without `states`, those that are unfinished.
    /// Needs IAM_READ.
    filter: Option<FailureFilter>,
    /// How they were fixed.
    fix: FailureFix,
    /// What was done and why, for later readers.
    reason: Option<String>,
}

/// The failures to dismiss: exactly one of `ids` and `filter`.
#[derive(InputObject)]
pub struct FailuresDismissInput {
    /// Global ids of failures, at most 1,000.
    ids: Option<Vec<ID>>,
    /// The failures that match, the oldest 1,000; without `states`, those that are unfinished.
    /// Needs IAM_READ.
    filter: Option<FailureFilter>,
    /// Why the writes will not be done.
    reason: String,
}

/// The failures to assign: exactly one of `ids` and `filter`.
#[derive(InputObject)]
pub struct FailuresAssignInput {
    /// Global ids of failures, at most 1,000.
    ids: Option<Vec<ID>>,
    /// The failures that match, the oldest 1,000; without `states`, those that are unfinished.
    /// Needs IAM_READ.
    filter: Option<FailureFilter>,
    /// The name or address of the person in charge; null = not assigned.
    assigned_to: Option<String>,
}

/// The findings, and the decision about each: exactly one of `ids` and `filter`.
#[derive(InputObject)]
pub struct FindingsResolveInput {
    /// Global ids of findings, at most 1,000.
    ids: Option<Vec<ID>>,
    /// The findings that match, the oldest 1,000; without `states`, those that are open. Needs
    /// IAM_READ.
    filter: Option<FindingFilter>,
    /// The decision.
    choice: FindingChoice,
    /// The reason for the decision; required for ACCEPT.
    reason: Option<String>,
    /// Only for ACCEPT: when the acceptances end.
    until: Option<DateTime<Utc>>,
}

/// The adoption proposals, and the decision about each: exactly one of `ids` and `filter`.
#[derive(InputObject)]
pub struct AdoptionProposalsDecideInput {
    /// Global ids of adoption proposals, at most 1,000.
    ids: Option<Vec<ID>>,
    /// The proposals that match, the oldest 1,000; without `states`, the pending ones. Needs
    /// IAM_READ.
    filter: Option<AdoptionProposalFilter>,
    /// The decision.
    decision: AdoptionDecision,
    /// The reason for the decision; it is written to the ledger.
    reason: Option<String>,
}

/// Declares the payloads, of which each mutation has one of its own.
macro_rules! many_payloads {
    ($($(#[doc = $doc:literal])+ $payload:ident,)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(SimpleObject)]
            pub struct $payload {
                /// How many were decided about; null if there were mistakes in the input itself.
                #[graphql(directive = needs::apply(None))]
                done_count: Option<i32>,
                /// Those that were left as they were, by reason.
                #[graphql(directive = needs::apply(None))]
                skipped: Vec<SkippedItems>,
                /// Mistakes in the input; if none could be decided about, the first reason too.
                #[graphql(directive = needs::apply(None))]
                user_errors: Vec<UserError>,
            }

            impl From<ManyOutcome> for $payload {
                fn from(outcome: ManyOutcome) -> Self {
                    let ManyOutcome { done, skipped, user_errors } = outcome;
                    Self { done_count: done, skipped, user_errors }
                }
            }
        )+
    };
}

many_payloads! {
    /// The result of `failuresRetry`.
    FailuresRetryPayload,
    /// The result of `failuresResolve`.
    FailuresResolvePayload,
    /// The result of `failuresDismiss`.
    FailuresDismissPayload,
    /// The result of `failuresAssign`.
    FailuresAssignPayload,
    /// The result of `findingsResolve`.
    FindingsResolvePayload,
    /// The result of `adoptionProposalsDecide`.
    AdoptionProposalsDecidePayload,
}

#[derive(Default)]
pub struct ManyMutation;

#[Object]
impl ManyMutation {
    /// Retries failures in the background, each with the permissions of its connection.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failures_retry(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failures.")] input: FailuresRetryInput,
    ) -> Result<Option<FailuresRetryPayload>> {
        let cx = relay::cx(ctx)?;
        let FailuresRetryInput { ids, filter } = input;
        let items = collect_items(NodeKind::Failure, ids, filter, |filter| {
            list_failures(cx, filter, &[review::State::Open])
        });
        let retry = |id| async move { review::retry_failure(cx, id).await.map(drop) };
        Ok(Some(decide_each(items.await, Noun::Failure, FAILURES, retry).await?.into()))
    }

    /// Marks failures as fixed. If the same write fails again, that is a new failure.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failures_resolve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failures, and how they were fixed.")] input: FailuresResolveInput,
    ) -> Result<Option<FailuresResolvePayload>> {
        let cx = relay::cx(ctx)?;
        let FailuresResolveInput { ids, filter, fix, reason } = input;
        let (reason, choice) = (reason.as_deref(), fix.into());
        let items = collect_items(NodeKind::Failure, ids, filter, |filter| {
            list_failures(cx, filter, &UNFINISHED)
        });
        let resolve =
            |id| async move { review::resolve_failure(cx, id, choice, reason).await.map(drop) };
        Ok(Some(decide_each(items.await, Noun::Failure, FAILURES, resolve).await?.into()))
    }

    /// Marks failures as ones whose writes will not be done.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failures_dismiss(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failures, and why.")] input: FailuresDismissInput,
    ) -> Result<Option<FailuresDismissPayload>> {
        let cx = relay::cx(ctx)?;
        let FailuresDismissInput { ids, filter, reason } = input;
        let reason = reason.as_str();
        let items = collect_items(NodeKind::Failure, ids, filter, |filter| {
            list_failures(cx, filter, &UNFINISHED)
        });
        let dismiss = |id| async move { review::dismiss_failure(cx, id, reason).await.map(drop) };
        Ok(Some(decide_each(items.await, Noun::Failure, FAILURES, dismiss).await?.into()))
    }

    /// Assigns failures to a person, or to none.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failures_assign(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failures, and the person in charge.")] input: FailuresAssignInput,
    ) -> Result<Option<FailuresAssignPayload>> {
        let cx = relay::cx(ctx)?;
        let FailuresAssignInput { ids, filter, assigned_to } = input;
        let to = Some(assigned_to.as_deref());
        let items = collect_items(NodeKind::Failure, ids, filter, |filter| {
            list_failures(cx, filter, &UNFINISHED)
        });
        let assign = |id| async move { review::assign_failure(cx, id, to).await.map(drop) };
        Ok(Some(decide_each(items.await, Noun::Failure, FAILURES, assign).await?.into()))
    }

    /// Carries out a decision about each of several findings, as `findingResolve` does.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn findings_resolve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which findings, and the decision.")] input: FindingsResolveInput,
    ) -> Result<Option<FindingsResolvePayload>> {
        let cx = relay::cx(ctx)?;
        let FindingsResolveInput { ids, filter, choice, reason, until } = input;
        let (reason, choice) = (reason.as_deref(), choice.into());
        reconcile::check_permitted(cx, choice)?;
        let items =
            collect_items(NodeKind::Finding, ids, filter, |filter| list_findings(cx, filter));
        let resolve = |id| async move {
            reconcile::resolve_finding(cx, id, choice, reason, until).await.map(drop)
        };
        Ok(Some(decide_each(items.await, Noun::Finding, FINDINGS, resolve).await?.into()))
    }

    /// Accepts or dismisses several adoption proposals, as `adoptionProposalAccept` and
    /// `adoptionProposalDismiss` do.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn adoption_proposals_decide(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which proposals, and the decision.")] input: AdoptionProposalsDecideInput,
    ) -> Result<Option<AdoptionProposalsDecidePayload>> {
        let cx = relay::cx(ctx)?;
        let AdoptionProposalsDecideInput { ids, filter, decision, reason } = input;
        let reason = reason.as_deref();
        let items = collect_items(NodeKind::AdoptionProposal, ids, filter, |filter| {
            list_proposals(cx, filter)
        });
        let decide = |id| async move {
            match decision {
                AdoptionDecision::Accept => adoption::accept_proposal(cx, id, reason).await,
                AdoptionDecision::Dismiss => adoption::dismiss_proposal(cx, id, reason).await,
            }
            .map(drop)
        };
        Ok(Some(decide_each(items.await, Noun::Proposal, PROPOSALS, decide).await?.into()))
    }
}
