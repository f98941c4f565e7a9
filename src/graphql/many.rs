//! Decisions about many things in one call. Each of them is decided as if it were the only one:
//! with its own check of permissions, its own transaction and its own event.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;

use async_graphql::{ID, SimpleObject};
use futures_util::stream::{self, StreamExt};
use uuid::Uuid;

use super::permission::needs;
use crate::error::{Error, Noun, Result, Rule};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The most things that one call decides about.
pub const MAX_DECISIONS: usize = 1_000;
/// How many are decided at the same time.
const MAX_CONCURRENT: usize = 8;

/// Things that were left as they were, for the same reason.
#[derive(SimpleObject)]
pub struct SkippedItems {
    /// Why, as a stable code for programs.
    #[graphql(directive = needs::apply(None))]
    reason: String,
    /// Why the first of them was skipped, in words for people.
    #[graphql(directive = needs::apply(None))]
    message: String,
    /// How many there are.
    #[graphql(directive = needs::apply(None))]
    count: i32,
    /// Their global ids.
    #[graphql(directive = needs::apply(None))]
    ids: Vec<ID>,
}

/// What a call came to.
pub struct ManyOutcome {
    pub done: Option<i32>,
    pub skipped: Vec<SkippedItems>,
    pub user_errors: Vec<UserError>,
}

/// A thing to decide about: its id as the client gave it, and its UUID if it is one.
#[derive(Debug)]
pub struct ManyItem {
    id: ID,
    uuid: Option<Uuid>,
}

/// The things that a call names, by their ids or by a filter: exactly one of them.
///
/// # Errors
/// [`Error::Invalid`] unless one is given, and for more than [`MAX_DECISIONS`] ids.
pub async fn collect_items<F, L>(
    kind: NodeKind,
    ids: Option<Vec<ID>>,
    filter: Option<F>,
    list: impl FnOnce(F) -> L,
) -> Result<Vec<ManyItem>>
where
    L: Future<Output = Result<Vec<Uuid>>>,
{
    match (ids, filter) {
        (Some(ids), None) if ids.len() > MAX_DECISIONS => {
            Err(Error::broken(Rule::TooMany, "ids", format!("must be at most {MAX_DECISIONS}")))
        }
        (Some(ids), None) => {
            let mut known = HashSet::new();
            let given = ids.into_iter().filter(|id| known.insert(id.to_string()));
            Ok(given.map(|id| ManyItem { uuid: relay::parse_id_of_kind(kind, &id), id }).collect())
        }
        (None, Some(filter)) => {
            let found = list(filter).await?;
            Ok(found
                .into_iter()
                .map(|uuid| ManyItem { id: relay::global_id(kind, uuid), uuid: Some(uuid) })
                .collect())
        }
        _ => Err(Error::invalid("ids", "give exactly one of ids and filter")),
    }
}

/// Decides about each of `items`. If none of them could be decided about, the first reason is also
/// a mistake of the whole call.
///
/// # Errors
/// As [`relay::split_user_errors`], if the things cannot be found at all.
pub async fn decide_each<D>(
    items: Result<Vec<ManyItem>>,
    noun: Noun,
    map: FieldMap,
    decide: impl Fn(Uuid) -> D,
) -> Result<ManyOutcome>
where
    D: Future<Output = Result<()>>,
{
    let items = items
        .and_then(|items| if items.is_empty() { Err(Error::not_found(noun)) } else { Ok(items) });
    let items = match relay::split_user_errors(items, map)? {
        (Some(items), _) => items,
        (None, user_errors) => {
            return Ok(ManyOutcome { done: None, skipped: Vec::new(), user_errors });
        }
    };
    let decisions = items.into_iter().map(|ManyItem { id, uuid }| {
        let decision = uuid.map(&decide);
        async move {
            let decided = match decision {
                Some(decision) => decision.await,
                None => Err(Error::not_found(noun)),
            };
            (id, decided)
        }
    });
    let decided: Vec<(ID, Result<()>)> =
        stream::iter(decisions).buffered(MAX_CONCURRENT).collect().await;
    let mut done = 0;
    let mut skipped: BTreeMap<&'static str, SkippedItems> = BTreeMap::new();
    let mut first_error = None;
    for (id, decided) in decided {
        let Err(error) = decided else {
            done += 1;
            continue;
        };
        let reason = error.reason().as_str();
        let group = skipped.entry(reason).or_insert_with(|| SkippedItems {
            reason: reason.into(),
            message: public_words(&error),
            count: 0,
            ids: Vec::new(),
        });
        group.count += 1;
        group.ids.push(id);
        first_error = first_error.or(Some(error));
    }
    let mut user_errors = Vec::new();
    if let (0, Some(error)) = (done, first_error) {
        // What only another caller could do is no mistake of the input.
        user_errors = relay::split_user_errors::<()>(Err(error), map)
            .map(|(_, errors)| errors)
            .unwrap_or_default();
    }
    let skipped = skipped.into_values().collect();
    Ok(ManyOutcome { done: Some(done), skipped, user_errors })
}

/// The words of an error; those of an internal error are for the log alone.
fn public_words(error: &Error) -> String {
    match error {
        Error::Internal(text) => {
            tracing::error!(text, "one of many decisions failed");
            "internal error".into()
        }
        error => error.to_string(),
    }
}
