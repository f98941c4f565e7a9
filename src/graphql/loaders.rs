//! Data loaders: the rows that the fields of a page need one by one are loaded by one statement.
//! Nothing is cached beyond that, so the response to a mutation never has values from before it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::{TokioSpawner, TokioTimer};
use async_graphql::{Context, Request};
use uuid::Uuid;

use crate::context::Cx;
use chrono::{DateTime, Utc};

use crate::domain::access;
use crate::domain::access::RoleSource;
use crate::domain::access::{api_key, role, role_grant, role_mapping};
use crate::domain::alert;
use crate::domain::audit::event;
use crate::domain::connection::assertion_source::metadata_refresh;
use crate::domain::connection::{assertion_source, health, pull_source, scim_token, setup_link};
use crate::domain::directory::adoption;
use crate::domain::directory::membership;
use crate::domain::directory::membership::DirectMember;
use crate::domain::directory::{group, user};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::signal;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::Organization;
use crate::domain::{connection, sync};
use crate::domain::{reconcile, review};
use crate::error::{Error, Noun};

/// Declares keys of data loaders: ids, of which each kind of row has a type of its own.
macro_rules! id_keys {
    ($($key:ident,)+) => {
        $(
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub struct $key(pub Uuid);
        )+
    };
}

id_keys! {
    UserId,
    GroupId,
    RoleId,
    EverRoleId,
    RoleMappingId,
    ConnectionId,
    ScimTokenId,
    SetupLinkId,
    ApiKeyId,
    ProposalId,
    AlertId,
    EventId,
    FailureId,
    FindingId,
    SyncRunId,
    RoleGrantId,
    DestinationId,
    EventStreamId,
    DeliveryId,
}

/// The adoption proposal of a connection about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProposalAbout {
    pub connection: Uuid,
    pub user: Uuid,
}
/// The roles that an account holds, or held at an instant, with what gives each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RolesHeldBy(pub Uuid, pub Option<DateTime<Utc>>);
/// The roles that a group gives to its members, with what gives each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RolesOfGroup(pub Uuid);
/// The path from an account or a group to a mapped group, now or at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathOf(pub access::WantedPath, pub Option<DateTime<Utc>>);
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
/// The identity provider whose sign-ins a connection accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AssertionSourceOf(pub Uuid);
/// How the metadata of a connection's identity provider are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetadataRefreshOf(pub Uuid);
/// The schedule of a connection's automatic comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReconciliationScheduleOf(pub Uuid);
/// The latest run that read a connection's source to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LastSyncOf(pub Uuid);
/// The health of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HealthOf(pub Uuid);
/// The median time until a connection's changes took effect, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EffectTimeOf(pub Uuid);
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
/// How many memberships the sign-ins of a connection made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimedMembershipCountOf(pub Uuid);

/// What an object was called at a place of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MentionAt(pub Uuid, pub i64);

/// The organization of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CurrentOrganization;

/// The data loaders of one request.
pub struct Loaders(Cx);

type LoadResult<K, V> = Result<HashMap<K, V>, Arc<Error>>;

/// Adds the data loaders to a request.
pub fn attach_loaders(request: Request, cx: &Cx) -> Request {
    request.data(DataLoader::new(
        Loaders(cx.clone()),
        TokioSpawner::current(),
        TokioTimer::default(),
    ))
}

/// Loads one row, together with the other rows that are requested at the same time. The future is
/// boxed: the futures of all fields of an object are as large as the largest one, and are moved
/// several times.
///
/// # Errors
/// The domain's error for the whole batch.
pub async fn load_one<K>(
    ctx: &Context<'_>,
    key: K,
) -> async_graphql::Result<Option<<Loaders as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Loaders: Loader<K, Error = Arc<Error>>,
{
    Ok(Box::pin(ctx.data::<DataLoader<Loaders>>()?.load_one(key)).await?)
}

/// Loads the organization of the request, once for all fields that need it at the same time.
///
/// # Errors
/// [`Error::NotFound`] if there is none.
pub async fn load_organization(ctx: &Context<'_>) -> async_graphql::Result<Organization> {
    Ok(load_one(ctx, CurrentOrganization)
        .await?
        .ok_or_else(|| Error::not_found(Noun::Organization))?)
}

/// Loads several rows, in the order of the keys and without those that do not exist.
///
/// # Errors
/// The domain's error for the whole batch.
pub async fn load_many<K>(
    ctx: &Context<'_>,
    keys: &[K],
) -> async_graphql::Result<Vec<<Loaders as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Loaders: Loader<K, Error = Arc<Error>>,
{
    let mut found =
        Box::pin(ctx.data::<DataLoader<Loaders>>()?.load_many(keys.iter().cloned())).await?;
    Ok(keys.iter().filter_map(|key| found.remove(key)).collect())
}

/// Shares each row, because several fields may load the same one.
fn share_rows<V>(rows: Vec<V>) -> Vec<Arc<V>> {
    rows.into_iter().map(Arc::new).collect()
}

fn key_rows<K: Hash + Eq, V>(rows: Vec<V>, key: impl Fn(&V) -> K) -> HashMap<K, V> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

fn group_rows<K: Hash + Eq, V>(rows: Vec<V>, key: impl Fn(&V) -> K) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

fn map_keys<K: Hash + Eq, V>(found: HashMap<Uuid, V>, key: impl Fn(Uuid) -> K) -> HashMap<K, V> {
    found.into_iter().map(|(id, value)| (key(id), value)).collect()
}

impl Loader<UserId> for Loaders {
    type Value = user::User;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> LoadResult<UserId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(user::users_by_ids(&self.0, &ids).await?, |row| UserId(row.id)))
    }
}

impl Loader<GroupId> for Loaders {
    type Value = Arc<group::Group>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupId]) -> LoadResult<GroupId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(share_rows(group::groups_by_ids(&self.0, &ids).await?), |row| GroupId(row.id)))
    }
}

impl Loader<MentionAt> for Loaders {
    type Value = event::EventMention;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MentionAt]) -> LoadResult<MentionAt, Self::Value> {
        let wanted: Vec<(Uuid, i64)> = keys.iter().map(|key| (key.0, key.1)).collect();
        let found = event::find_mentions(&self.0, &wanted).await?;
        Ok(found.into_iter().map(|((id, pos), mention)| (MentionAt(id, pos), mention)).collect())
    }
}

impl Loader<FailureId> for Loaders {
    type Value = review::Failure;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[FailureId]) -> LoadResult<FailureId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(review::failures_by_ids(&self.0, &ids).await?, |row| FailureId(row.id)))
    }
}

impl Loader<FindingId> for Loaders {
    type Value = reconcile::Finding;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[FindingId]) -> LoadResult<FindingId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(reconcile::by_ids(&self.0, &ids).await?, |row| FindingId(row.id)))
    }
}

impl Loader<SyncRunId> for Loaders {
    type Value = sync::Run;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SyncRunId]) -> LoadResult<SyncRunId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(sync::by_ids(&self.0, &ids).await?, |row| SyncRunId(row.id)))
    }
}

impl Loader<RoleId> for Loaders {
    type Value = Arc<role::Role>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RoleId]) -> LoadResult<RoleId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(share_rows(role::by_ids(&self.0, &ids).await?), |row| RoleId(row.id)))
    }
}

impl Loader<EverRoleId> for Loaders {
    type Value = Arc<role::Role>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EverRoleId]) -> LoadResult<EverRoleId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = role::list_ever_existing(&self.0, &ids).await?;
        Ok(key_rows(share_rows(rows), |row| EverRoleId(row.id)))
    }
}

impl Loader<RoleMappingId> for Loaders {
    type Value = role_mapping::Mapping;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RoleMappingId]) -> LoadResult<RoleMappingId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(role_mapping::by_ids(&self.0, &ids).await?, |row| {
            RoleMappingId(row.mapping_id)
        }))
    }
}

impl Loader<RoleGrantId> for Loaders {
    type Value = role_grant::Grant;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RoleGrantId]) -> LoadResult<RoleGrantId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(role_grant::by_ids(&self.0, &ids).await?, |row| RoleGrantId(row.id)))
    }
}

impl Loader<ConnectionId> for Loaders {
    type Value = connection::Connection;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ConnectionId]) -> LoadResult<ConnectionId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(connection::connections_by_ids(&self.0, &ids).await?, |row| {
            ConnectionId(row.id)
        }))
    }
}

impl Loader<ScimTokenId> for Loaders {
    type Value = scim_token::Token;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ScimTokenId]) -> LoadResult<ScimTokenId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(scim_token::tokens_by_ids(&self.0, &ids).await?, |row| ScimTokenId(row.id)))
    }
}

impl Loader<SetupLinkId> for Loaders {
    type Value = setup_link::SetupLink;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SetupLinkId]) -> LoadResult<SetupLinkId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(setup_link::links_by_ids(&self.0, &ids).await?, |row| SetupLinkId(row.id)))
    }
}

impl Loader<ApiKeyId> for Loaders {
    type Value = api_key::ApiKey;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ApiKeyId]) -> LoadResult<ApiKeyId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(api_key::by_ids(&self.0, &ids).await?, |row| ApiKeyId(row.id)))
    }
}

impl Loader<DestinationId> for Loaders {
    type Value = signal::Destination;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[DestinationId]) -> LoadResult<DestinationId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = signal::destination::destinations_by_ids(&self.0, &ids).await?;
        Ok(key_rows(rows, |row| DestinationId(row.id)))
    }
}

impl Loader<EventStreamId> for Loaders {
    type Value = signal::stream::EventStream;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EventStreamId]) -> LoadResult<EventStreamId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = signal::stream::streams_by_ids(&self.0, &ids).await?;
        Ok(key_rows(rows, |row| EventStreamId(row.destination_id)))
    }
}

impl Loader<DeliveryId> for Loaders {
    type Value = signal::delivery::Delivery;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[DeliveryId]) -> LoadResult<DeliveryId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = signal::delivery::deliveries_by_ids(&self.0, &ids).await?;
        Ok(key_rows(rows, |row| DeliveryId(row.id)))
    }
}

impl Loader<ProposalId> for Loaders {
    type Value = adoption::Proposal;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ProposalId]) -> LoadResult<ProposalId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(adoption::proposals_by_ids(&self.0, &ids).await?, |row| ProposalId(row.id)))
    }
}

impl Loader<AlertId> for Loaders {
    type Value = alert::Alert;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertId]) -> LoadResult<AlertId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(alert::alerts_by_ids(&self.0, &ids).await?, |row| AlertId(row.id)))
    }
}

impl Loader<ProposalAbout> for Loaders {
    type Value = adoption::Proposal;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ProposalAbout]) -> LoadResult<ProposalAbout, Self::Value> {
        let users: Vec<Uuid> = keys.iter().map(|key| key.user).collect();
        let found = adoption::proposals_about(&self.0, &users).await?;
        let about = |row: &adoption::Proposal| ProposalAbout {
            connection: row.connection_id,
            user: row.user_id,
        };
        Ok(key_rows(found, about))
    }
}

impl Loader<EventId> for Loaders {
    type Value = event::Event;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EventId]) -> LoadResult<EventId, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(event::by_ids(&self.0, &ids).await?, |row| EventId(row.id)))
    }
}

impl Loader<TokensOf> for Loaders {
    type Value = Vec<scim_token::Token>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[TokensOf]) -> LoadResult<TokensOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(group_rows(scim_token::tokens_of_connections(&self.0, &ids).await?, |row| {
            TokensOf(row.connection_id)
        }))
    }
}

impl Loader<PullSourceOf> for Loaders {
    type Value = pull_source::PullSource;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[PullSourceOf]) -> LoadResult<PullSourceOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = pull_source::sources_of_connections(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (PullSourceOf(row.connection_id), row)).collect())
    }
}

impl Loader<AssertionSourceOf> for Loaders {
    type Value = assertion_source::AssertionSource;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AssertionSourceOf]) -> LoadResult<AssertionSourceOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = assertion_source::sources_of_connections(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (AssertionSourceOf(row.connection_id), row)).collect())
    }
}

impl Loader<MetadataRefreshOf> for Loaders {
    type Value = metadata_refresh::MetadataRefresh;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MetadataRefreshOf]) -> LoadResult<MetadataRefreshOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = metadata_refresh::refreshes_of_connections(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (MetadataRefreshOf(row.connection_id), row)).collect())
    }
}

impl Loader<ReconciliationScheduleOf> for Loaders {
    type Value = reconcile::schedule::Schedule;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[ReconciliationScheduleOf],
    ) -> LoadResult<ReconciliationScheduleOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = reconcile::schedule::schedules_of(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (ReconciliationScheduleOf(row.connection_id), row)).collect())
    }
}

impl Loader<LastSyncOf> for Loaders {
    type Value = sync::Run;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[LastSyncOf]) -> LoadResult<LastSyncOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = sync::last_of(&self.0, &ids).await?.into_iter();
        Ok(rows.map(|row| (LastSyncOf(row.connection_id), row)).collect())
    }
}

impl Loader<HealthOf> for Loaders {
    type Value = health::HealthAssessment;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[HealthOf]) -> LoadResult<HealthOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(key_rows(health::health_of_connections(&self.0, &ids).await?, |row| {
            HealthOf(row.connection)
        }))
    }
}

impl Loader<EffectTimeOf> for Loaders {
    type Value = i64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EffectTimeOf]) -> LoadResult<EffectTimeOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(health::median_effect_times(&self.0, &ids).await?, EffectTimeOf))
    }
}

impl Loader<SyncRunsOf> for Loaders {
    type Value = Slice<sync::Run>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SyncRunsOf]) -> LoadResult<SyncRunsOf, Self::Value> {
        let mut found = HashMap::new();
        for (keyset, asked) in group_rows(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            let slices = sync::of_connections(&self.0, &ids, &keyset).await?;
            found.extend(map_keys(slices, |id| SyncRunsOf(id, keyset.clone())));
        }
        Ok(found)
    }
}

impl Loader<SyncRunCountOf> for Loaders {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[SyncRunCountOf]) -> LoadResult<SyncRunCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(sync::counts_of(&self.0, &ids).await?, SyncRunCountOf))
    }
}

impl Loader<MappingsOfRole> for Loaders {
    type Value = Vec<Arc<role_mapping::Mapping>>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MappingsOfRole]) -> LoadResult<MappingsOfRole, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(group_rows(share_rows(role_mapping::of_roles(&self.0, &ids).await?), |row| {
            MappingsOfRole(row.role_id)
        }))
    }
}

impl Loader<MappingsOfGroup> for Loaders {
    type Value = Vec<Arc<role_mapping::Mapping>>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MappingsOfGroup]) -> LoadResult<MappingsOfGroup, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let mappings = share_rows(role_mapping::of_groups(&self.0, &ids).await?);
        Ok(group_rows(mappings, |row| MappingsOfGroup(row.group_id.unwrap_or_default())))
    }
}

impl Loader<RolesHeldBy> for Loaders {
    type Value = Vec<RoleSource>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RolesHeldBy]) -> LoadResult<RolesHeldBy, Self::Value> {
        let mut found = HashMap::new();
        for (as_of, asked) in group_rows(keys.to_vec(), |key| key.1) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            let moment = access::resolve_moment(&self.0, as_of).await?;
            found.extend(map_keys(access::of_users(&self.0, &ids, moment).await?, |id| {
                RolesHeldBy(id, as_of)
            }));
        }
        Ok(found)
    }
}

impl Loader<RolesOfGroup> for Loaders {
    type Value = Vec<RoleSource>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RolesOfGroup]) -> LoadResult<RolesOfGroup, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(access::of_groups(&self.0, &ids).await?, RolesOfGroup))
    }
}

impl Loader<PathOf> for Loaders {
    type Value = Vec<access::AccessLink>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[PathOf]) -> LoadResult<PathOf, Self::Value> {
        let mut found = HashMap::new();
        for (as_of, asked) in group_rows(keys.to_vec(), |key| key.1) {
            let wanted: Vec<access::WantedPath> = asked.iter().map(|key| key.0).collect();
            let moment = access::resolve_moment(&self.0, as_of).await?;
            let paths = access::find_paths(&self.0, &wanted, moment).await?;
            found.extend(paths.into_iter().map(|(path, links)| (PathOf(path, as_of), links)));
        }
        Ok(found)
    }
}

impl Loader<GroupCountOf> for Loaders {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupCountOf]) -> LoadResult<GroupCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(membership::count_groups_of_users(&self.0, &ids).await?, GroupCountOf))
    }
}

impl Loader<MemberCountOf> for Loaders {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MemberCountOf]) -> LoadResult<MemberCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(membership::count_members_of_groups(&self.0, &ids).await?, MemberCountOf))
    }
}

impl Loader<UserCountOf> for Loaders {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserCountOf]) -> LoadResult<UserCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(event::count_populations(&self.0, "user", &ids).await?, UserCountOf))
    }
}

impl Loader<ConnectionGroupCountOf> for Loaders {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[ConnectionGroupCountOf],
    ) -> LoadResult<ConnectionGroupCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(map_keys(
            event::count_populations(&self.0, "group", &ids).await?,
            ConnectionGroupCountOf,
        ))
    }
}

impl Loader<ClaimedMembershipCountOf> for Loaders {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[ClaimedMembershipCountOf],
    ) -> LoadResult<ClaimedMembershipCountOf, Self::Value> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let counts = connection::delete::count_claimed_memberships(&self.0, &ids).await?;
        Ok(counts.into_iter().map(|(id, n)| (ClaimedMembershipCountOf(id), n)).collect())
    }
}

impl Loader<GroupsOf> for Loaders {
    type Value = Slice<Arc<group::Group>>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupsOf]) -> LoadResult<GroupsOf, Self::Value> {
        // The rows of one page request the same page of their lists: one statement for each such
        // page.
        let mut found = HashMap::new();
        for (keyset, asked) in group_rows(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            found.extend(map_keys(
                membership::groups_of_users(&self.0, &ids, &keyset).await?,
                |id| GroupsOf(id, keyset.clone()),
            ));
        }
        Ok(found)
    }
}

impl Loader<MembersOf> for Loaders {
    type Value = Slice<DirectMember>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MembersOf]) -> LoadResult<MembersOf, Self::Value> {
        // The rows of one page request the same page of their lists: one statement for each such
        // page.
        let mut found = HashMap::new();
        for (keyset, asked) in group_rows(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = asked.iter().map(|key| key.0).collect();
            found.extend(map_keys(
                membership::members_of_groups(&self.0, &ids, &keyset).await?,
                |id| MembersOf(id, keyset.clone()),
            ));
        }
        Ok(found)
    }
}

impl Loader<CurrentOrganization> for Loaders {
    type Value = Organization;
    type Error = Arc<Error>;

    async fn load(
        &self,
        _: &[CurrentOrganization],
    ) -> LoadResult<CurrentOrganization, Self::Value> {
        Ok(HashMap::from([(
            CurrentOrganization,
            organization::current_organization(&self.0).await?,
        )]))
    }
}
