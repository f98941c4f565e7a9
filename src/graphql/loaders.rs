//! Reads of many things at once: whatever the rows of a page ask for one by one is gathered and answered by one
//! statement. Nothing is remembered beyond that, so a mutation never reads what it has just changed.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::{TokioSpawner, TokioTimer};
use async_graphql::{Context, Request};
use uuid::Uuid;

use crate::context::Cx;
use chrono::{DateTime, Utc};

use crate::domain::access::{self, Holding};
use crate::domain::list::{Keyset, Slice};
use crate::domain::member::{self, Place};
use crate::domain::organization::{self, Organization};
use crate::domain::{adoption, failure, reconcile};
use crate::domain::{connection, event, grant, group, health, key, mapping, pull_source, role, sync, token, user};
use crate::error::Error;

/// What can be asked for one by one; each is a key of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoleId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MappingId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProposalId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FailureId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FindingId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyncRunId(pub Uuid);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantId(pub Uuid);
/// The roles that an account holds, or held at an instant, and through what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeldBy(pub Uuid, pub Option<DateTime<Utc>>);
/// A page of the groups that an account is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupsOf(pub Uuid, pub Keyset<Uuid>);
/// How many groups an account is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupCountOf(pub Uuid);
/// A page of the members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MembersOf(pub Uuid, pub Keyset<Uuid>);
/// How many members a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberCountOf(pub Uuid);
/// The current mappings of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MappingsOfGroup(pub Uuid);
/// The current mappings to a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MappingsOfRole(pub Uuid);
/// The source that a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PullSourceOf(pub Uuid);
/// How often a connection is compared by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReconciliationScheduleOf(pub Uuid);
/// The latest run that read a connection's source to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LastSyncOf(pub Uuid);
/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HealthOf(pub Uuid);
/// How long a connection's changes took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EffectOf(pub Uuid);
/// A page of a connection's runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyncRunsOf(pub Uuid, pub Keyset<Uuid>);
/// How many runs a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyncRunCountOf(pub Uuid);
/// The tokens of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokensOf(pub Uuid);
/// How many accounts a connection owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserCountOf(pub Uuid);
/// How many groups a connection owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionGroupCountOf(pub Uuid);

/// The organization of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Here;

/// Reads for one request.
pub struct Reads(Cx);

type Found<K, V> = Result<HashMap<K, V>, Arc<Error>>;

/// Gives a request its loaders.
pub fn attach(request: Request, cx: &Cx) -> Request {
    request.data(DataLoader::new(Reads(cx.clone()), TokioSpawner::current(), TokioTimer::default()))
}

/// One thing, read together with whatever else is asked for now. What waits for it is boxed: every field of a thing is as
/// large as the largest one, and is moved about several times.
///
/// # Errors
/// What the domain says of the whole batch.
pub async fn one<K>(ctx: &Context<'_>, key: K) -> async_graphql::Result<Option<<Reads as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Reads: Loader<K, Error = Arc<Error>>,
{
    Ok(Box::pin(ctx.data::<DataLoader<Reads>>()?.load_one(key)).await?)
}

/// The organization of the request, read once for all that ask for it now.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn organization(ctx: &Context<'_>) -> async_graphql::Result<Organization> {
    Ok(one(ctx, Here).await?.ok_or_else(|| Error::not_found("the organization"))?)
}

/// Several things, those that exist, in the order of the keys.
///
/// # Errors
/// What the domain says of the whole batch.
pub async fn several<K>(ctx: &Context<'_>, keys: &[K]) -> async_graphql::Result<Vec<<Reads as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Reads: Loader<K, Error = Arc<Error>>,
{
    let mut found = Box::pin(ctx.data::<DataLoader<Reads>>()?.load_many(keys.iter().cloned())).await?;
    Ok(keys.iter().filter_map(|key| found.remove(key)).collect())
}

/// Rows that many ask for: each gets the same.
fn shared<V>(rows: Vec<V>) -> Vec<Arc<V>> {
    rows.into_iter().map(Arc::new).collect()
}

fn keyed<K: Hash + Eq, V>(rows: Vec<V>, key: impl Fn(&V) -> K) -> HashMap<K, V> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

fn grouped<K: Hash + Eq, V>(rows: Vec<V>, key: impl Fn(&V) -> K) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

fn rekeyed<K: Hash + Eq, V>(found: HashMap<Uuid, V>, key: impl Fn(Uuid) -> K) -> HashMap<K, V> {
    found.into_iter().map(|(id, value)| (key(id), value)).collect()
}

impl Loader<UserId> for Reads {
    type Value = user::User;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Found<UserId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(user::by_ids(&self.0, &ids).await?, |row| UserId(row.id)))
    }
}

impl Loader<GroupId> for Reads {
    type Value = Arc<group::Group>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupId]) -> Found<GroupId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(shared(group::by_ids(&self.0, &ids).await?), |row| GroupId(row.id)))
    }
}

impl Loader<FailureId> for Reads {
    type Value = failure::Failure;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[FailureId]) -> Found<FailureId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(failure::by_ids(&self.0, &ids).await?, |row| FailureId(row.id)))
    }
}

impl Loader<FindingId> for Reads {
    type Value = reconcile::Finding;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[FindingId]) -> Found<FindingId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(reconcile::by_ids(&self.0, &ids).await?, |row| FindingId(row.id)))
    }
}

impl Loader<SyncRunId> for Reads {
    type Value = sync::Run;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SyncRunId]) -> Found<SyncRunId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(sync::by_ids(&self.0, &ids).await?, |row| SyncRunId(row.id)))
    }
}

impl Loader<RoleId> for Reads {
    type Value = Arc<role::Role>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RoleId]) -> Found<RoleId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(shared(role::by_ids(&self.0, &ids).await?), |row| RoleId(row.id)))
    }
}

impl Loader<MappingId> for Reads {
    type Value = mapping::Mapping;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MappingId]) -> Found<MappingId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(mapping::by_ids(&self.0, &ids).await?, |row| MappingId(row.mapping_id)))
    }
}

impl Loader<GrantId> for Reads {
    type Value = grant::Grant;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GrantId]) -> Found<GrantId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(grant::by_ids(&self.0, &ids).await?, |row| GrantId(row.id)))
    }
}

impl Loader<ConnectionId> for Reads {
    type Value = connection::Connection;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ConnectionId]) -> Found<ConnectionId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(connection::by_ids(&self.0, &ids).await?, |row| ConnectionId(row.id)))
    }
}

impl Loader<TokenId> for Reads {
    type Value = token::Token;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[TokenId]) -> Found<TokenId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(token::by_ids(&self.0, &ids).await?, |row| TokenId(row.id)))
    }
}

impl Loader<KeyId> for Reads {
    type Value = key::ApiKey;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[KeyId]) -> Found<KeyId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(key::by_ids(&self.0, &ids).await?, |row| KeyId(row.id)))
    }
}

impl Loader<ProposalId> for Reads {
    type Value = adoption::Proposal;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ProposalId]) -> Found<ProposalId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(adoption::by_ids(&self.0, &ids).await?, |row| ProposalId(row.id)))
    }
}

impl Loader<EventId> for Reads {
    type Value = event::Event;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EventId]) -> Found<EventId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(event::by_ids(&self.0, &ids).await?, |row| EventId(row.id)))
    }
}

impl Loader<TokensOf> for Reads {
    type Value = Vec<token::Token>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[TokensOf]) -> Found<TokensOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(grouped(token::of_connections(&self.0, &ids).await?, |row| TokensOf(row.connection_id)))
    }
}

impl Loader<PullSourceOf> for Reads {
    type Value = pull_source::PullSource;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[PullSourceOf]) -> Found<PullSourceOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = pull_source::of_connections(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (PullSourceOf(row.connection_id), row)).collect())
    }
}

impl Loader<ReconciliationScheduleOf> for Reads {
    type Value = reconcile::schedule::Schedule;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ReconciliationScheduleOf]) -> Found<ReconciliationScheduleOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = reconcile::schedule::schedules_of(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (ReconciliationScheduleOf(row.connection_id), row)).collect())
    }
}

impl Loader<LastSyncOf> for Reads {
    type Value = sync::Run;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[LastSyncOf]) -> Found<LastSyncOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = sync::last_of(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (LastSyncOf(row.connection_id), row)).collect())
    }
}

impl Loader<HealthOf> for Reads {
    type Value = health::Health;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[HealthOf]) -> Found<HealthOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(health::of_connections(&self.0, &ids).await?, |row| HealthOf(row.connection)))
    }
}

impl Loader<EffectOf> for Reads {
    type Value = i64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EffectOf]) -> Found<EffectOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(rekeyed(health::effects(&self.0, &ids).await?, EffectOf))
    }
}

impl Loader<SyncRunsOf> for Reads {
    type Value = Slice<sync::Run>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SyncRunsOf]) -> Found<SyncRunsOf, Self::Value> {
        let mut found = HashMap::new();
        for (keyset, asked) in grouped(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            let slices = sync::of_connections(&self.0, &ids, &keyset).await?;
            found.extend(rekeyed(slices, |id| SyncRunsOf(id, keyset.clone())));
        }
        Ok(found)
    }
}

impl Loader<SyncRunCountOf> for Reads {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SyncRunCountOf]) -> Found<SyncRunCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(rekeyed(sync::counts_of(&self.0, &ids).await?, SyncRunCountOf))
    }
}

impl Loader<MappingsOfRole> for Reads {
    type Value = Vec<Arc<mapping::Mapping>>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MappingsOfRole]) -> Found<MappingsOfRole, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(grouped(shared(mapping::of_roles(&self.0, &ids).await?), |row| MappingsOfRole(row.role_id)))
    }
}

impl Loader<MappingsOfGroup> for Reads {
    type Value = Vec<Arc<mapping::Mapping>>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MappingsOfGroup]) -> Found<MappingsOfGroup, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let mappings = shared(mapping::of_groups(&self.0, &ids).await?);
        Ok(grouped(mappings, |row| MappingsOfGroup(row.group_id.unwrap_or_default())))
    }
}

impl Loader<HeldBy> for Reads {
    type Value = Vec<Holding>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[HeldBy]) -> Found<HeldBy, Self::Value> {
        let mut found = HashMap::new();
        for (as_of, asked) in grouped(keys.to_vec(), |key| key.1) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            let moment = access::moment(&self.0, as_of).await?;
            found.extend(rekeyed(access::of_users(&self.0, &ids, moment).await?, |id| HeldBy(id, as_of)));
        }
        Ok(found)
    }
}

impl Loader<GroupCountOf> for Reads {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupCountOf]) -> Found<GroupCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(rekeyed(member::group_counts(&self.0, &ids).await?, GroupCountOf))
    }
}

impl Loader<MemberCountOf> for Reads {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MemberCountOf]) -> Found<MemberCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(rekeyed(member::member_counts(&self.0, &ids).await?, MemberCountOf))
    }
}

impl Loader<UserCountOf> for Reads {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserCountOf]) -> Found<UserCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(rekeyed(event::populations(&self.0, "user", &ids).await?, UserCountOf))
    }
}

impl Loader<ConnectionGroupCountOf> for Reads {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ConnectionGroupCountOf]) -> Found<ConnectionGroupCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(rekeyed(event::populations(&self.0, "group", &ids).await?, ConnectionGroupCountOf))
    }
}

impl Loader<GroupsOf> for Reads {
    type Value = Slice<Arc<group::Group>>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupsOf]) -> Found<GroupsOf, Self::Value> {
        // Rows of one page ask for the same part of their lists: one statement for each part that is asked for.
        let mut found = HashMap::new();
        for (keyset, asked) in grouped(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            found.extend(rekeyed(member::groups_of_users(&self.0, &ids, &keyset).await?, |id| {
                GroupsOf(id, keyset.clone())
            }));
        }
        Ok(found)
    }
}

impl Loader<MembersOf> for Reads {
    type Value = Slice<Place>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MembersOf]) -> Found<MembersOf, Self::Value> {
        // Rows of one page ask for the same part of their lists: one statement for each part that is asked for.
        let mut found = HashMap::new();
        for (keyset, asked) in grouped(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            found.extend(rekeyed(member::of_groups(&self.0, &ids, &keyset).await?, |id| MembersOf(id, keyset.clone())));
        }
        Ok(found)
    }
}

impl Loader<Here> for Reads {
    type Value = Organization;
    type Error = Arc<Error>;

    async fn load(&self, _: &[Here]) -> Found<Here, Self::Value> {
        Ok(HashMap::from([(Here, organization::current(&self.0).await?)]))
    }
}
