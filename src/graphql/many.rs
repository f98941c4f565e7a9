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

/// What a filter was to find. [`FieldMap`]s of these mutations name the filter for it.
pub const FILTERED: Noun = Noun::Named("anything that matches the filter");

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

/// A thing to decide about: its id as the client gave it, where in the list it stands, if there is
/// one, and its UUID if it is one.
#[derive(Debug)]
pub struct ManyItem {
    id: ID,
    place: Option<usize>,
    uuid: Option<Uuid>,
}

/// The things that a call names, by their ids or by a filter: exactly one of them.
///
/// # Errors
/// [`Error::Invalid`] unless one is given, for no ids and for more than [`MAX_DECISIONS`];
/// [`Error::NotFound`] with [`FILTERED`] if nothing matches the filter.
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
        (Some(ids), None) if ids.is_empty() => {
            Err(Error::broken(Rule::Required, "ids", "must name at least one"))
        }
        (Some(ids), None) => {
            let mut known = HashSet::new();
            let given = ids.into_iter().enumerate().filter(|(_, id)| known.insert(id.to_string()));
            let item = |(place, id)| {
                let uuid = relay::parse_id_of_kind(kind, &id);
                ManyItem { id, place: Some(place), uuid }
            };
            Ok(given.map(item).collect())
        }
        (None, Some(filter)) => {
            let found = list(filter).await?;
            if found.is_empty() {
                return Err(Error::not_found(FILTERED));
            }
            let item =
                |uuid| ManyItem { id: relay::global_id(kind, uuid), place: None, uuid: Some(uuid) };
            Ok(found.into_iter().map(item).collect())
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
    let items = match relay::split_user_errors(items, map)? {
        (Some(items), _) => items,
        (None, user_errors) => {
            return Ok(ManyOutcome { done: None, skipped: Vec::new(), user_errors });
        }
    };
    let decisions = items.into_iter().map(|ManyItem { id, place, uuid }| {
        let decision = uuid.map(&decide);
        async move {
            let decided = match decision {
                Some(decision) => decision.await,
                None => Err(Error::not_found(noun)),
            };
            let decided = decided.map_err(|error| match (error, place) {
                (Error::NotFound(noun), Some(place)) => {
                    Error::not_found(noun).at_place("ids", place)
                }
                (error, _) => error,
            });
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
