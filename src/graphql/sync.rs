//! Sources that a connection reads by itself, and the runs that do so.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::{pull_source as stored, sync_run};

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId};
use super::page::{self, Blame, Kind, Long, UserError};
use crate::domain::pull_source::{self, PullSource as Source};
use crate::domain::sync::{self, Target};
use crate::error::{Error, Result};
use crate::pull::probe::{self, Probe};

const BLAME: Blame = &[("the sync run", "id"), ("the connection", "connectionId")];

/// How a source knows us.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Auth")]
pub enum PullAuth {
    /// By a bearer token that somebody issued there (RFC 6750).
    Bearer,
    /// By tokens that an authorization server gives for a client's id and secret (OAuth 2.0 client credentials).
    ClientCredentials,
}

/// The source that a connection reads by itself. Its secret goes in and never comes out.
pub struct PullSource(pub Source);

/// The source that a connection reads by itself. Its secret goes in and never comes out.
#[Object]
impl PullSource {
    /// What `/Users` is put behind.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn base_url(&self) -> &str {
        &self.0.base_url
    }

    /// How the source knows us.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn auth(&self) -> PullAuth {
        self.0.auth.into()
    }

    /// Where tokens are to be had, with client credentials.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn token_url(&self) -> Option<&str> {
        self.0.token_url.as_deref()
    }

    /// The client's id, with client credentials.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }

    /// What the token is asked for, with client credentials.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// How many resources are asked for at once.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn page_size(&self) -> i32 {
        self.0.page_size
    }

    /// Which users are read, as a SCIM filter; null = all.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn user_filter(&self) -> Option<&str> {
        self.0.user_filter.as_deref()
    }

    /// How often a full run begins by itself; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn interval_minutes(&self) -> Option<i32> {
        self.0.interval_minutes
    }

    /// How often a run that reads what changed begins by itself between the full ones; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn incremental_minutes(&self) -> Option<i32> {
        self.0.incremental_minutes
    }

    /// A run asks first if it would remove or suspend more than this share of the accounts and more than ten, or end more
    /// than this share of the memberships and more than ten.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn shrink_percent(&self) -> i32 {
        self.0.shrink_percent
    }

    /// When the next full run begins by itself; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn next_run_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_run_at
    }

    /// When the next run that reads what changed begins by itself; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn next_incremental_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_incremental_at
    }
}

/// The source that a connection is to read by itself.
#[derive(InputObject)]
pub struct PullSourceInput {
    /// What `/Users` is put behind, for example https://example.com/scim/v2.
    base_url: String,
    /// How the source knows us.
    #[graphql(default_with = "PullAuth::Bearer")]
    auth: PullAuth,
    /// Where tokens are to be had, with client credentials.
    token_url: Option<String>,
    /// The client's id, with client credentials.
    client_id: Option<String>,
    /// What the token is asked for, with client credentials.
    scope: Option<String>,
    /// The bearer token or the client's secret. It is sealed and never shown again; left out in an update, it stays as it
    /// is, unless it would go to another address.
    secret: Option<String>,
    /// How many resources are asked for at once, 1 to 1000.
    #[graphql(default = 100)]
    page_size: i32,
    /// Which users are read, as a SCIM filter.
    user_filter: Option<String>,
    /// How often a full run begins by itself, 5 minutes to 31 days.
    interval_minutes: Option<i32>,
    /// How often a run that reads what changed begins by itself between the full ones, 5 minutes to 31 days.
    incremental_minutes: Option<i32>,
    /// A run asks first if it would remove or suspend more than this share of the accounts and more than ten, or end more
    /// than this share of the memberships and more than ten.
    #[graphql(default = 30)]
    shrink_percent: i32,
}

impl From<PullSourceInput> for pull_source::Settings {
    fn from(input: PullSourceInput) -> Self {
        Self {
            base_url: input.base_url,
            auth: input.auth.into(),
            token_url: input.token_url,
            client_id: input.client_id,
            scope: input.scope,
            secret: input.secret,
            page_size: input.page_size,
            user_filter: input.user_filter,
            interval_minutes: input.interval_minutes,
            incremental_minutes: input.incremental_minutes,
            shrink_percent: input.shrink_percent,
        }
    }
}

/// What is looked at in a source, in this order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Probe")]
pub enum PullProbe {
    /// A token is to be had, where an authorization server gives it.
    Token,
    /// The source is there, and says what it can do.
    Reached,
    /// It lists users to us.
    Users,
    /// It lists groups to us.
    Groups,
}

/// What was found at one step.
#[derive(SimpleObject)]
pub struct PullTestStep {
    /// What was looked at.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    probe: PullProbe,
    /// Whether it is as it should be.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// What was found, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    finding: String,
    /// What to do, in words for people; null where nothing has to be done.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    next_step: Option<String>,
}

/// What a look at a source found.
#[derive(SimpleObject)]
pub struct ConnectionTestPayload {
    /// Whether every step is as it should be; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    ok: Option<bool>,
    /// The steps, up to the first that failed; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    steps: Option<Vec<PullTestStep>>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What a run does.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sync_run::Mode")]
pub enum SyncMode {
    /// Reads everybody, and removes who is not listed.
    Full,
    /// Reads what changed since the last complete run; who has gone shows in a full run only.
    Incremental,
    /// Reads one person.
    OneUser,
    /// Reads everybody, and says what a full run would do.
    DryRun,
}

/// How far a run is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sync_run::State")]
pub enum SyncState {
    /// It waits for a server to carry it out.
    Queued,
    /// A server carries it out.
    Running,
    /// It would remove more than is believed, and waits for syncApprove or syncCancel.
    Waiting,
    /// It came to its end.
    Succeeded,
    /// It ended before; `reason` says why and what to do.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// What became of the resources of one kind. A dry run says what would become of them.
#[derive(SimpleObject)]
pub struct SyncCounts {
    /// Listed by the source.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    read: Long,
    /// Made here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    created: Long,
    /// Changed here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    updated: Long,
    /// Turned off here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    suspended: Long,
    /// Turned on again or brought back here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    restored: Long,
    /// Deleted here, since the source does not list them any more.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    deleted: Long,
    /// As they were: nothing was written.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    unchanged: Long,
    /// Could not be carried over; see `troubles`.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    failed: Long,
}

impl From<sync::Tally> for SyncCounts {
    fn from(tally: sync::Tally) -> Self {
        let long = |count: u64| Long(i64::try_from(count).unwrap_or(i64::MAX));
        Self {
            read: long(tally.read),
            created: long(tally.created),
            updated: long(tally.updated),
            suspended: long(tally.suspended),
            restored: long(tally.restored),
            deleted: long(tally.deleted),
            unchanged: long(tally.unchanged),
            failed: long(tally.failed),
        }
    }
}

/// Something that a run could not carry over.
#[derive(SimpleObject)]
pub struct SyncTrouble {
    /// `user` or `group`.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    kind: String,
    /// The resource's id at the source.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    remote_id: String,
    /// Why, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    why: String,
}

/// A run as the schema shows it.
pub struct SyncRun(pub sync::Run);

impl From<sync::Run> for SyncRun {
    fn from(row: sync::Run) -> Self {
        Self(row)
    }
}

/// A run that reads a connection's source and carries over what it finds. One run of a connection at a time.
#[Object]
impl SyncRun {
    /// The run's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::SyncRun, self.0.id)
    }

    /// The connection; null once it was deleted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// What it does.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn mode(&self) -> SyncMode {
        self.0.mode.into()
    }

    /// How far it is.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> SyncState {
        self.0.state.into()
    }

    /// Whether somebody told it to end, which it does within a second or two.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn cancelling(&self) -> bool {
        self.0.cancelling
    }

    /// What became of users so far.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn users(&self) -> SyncCounts {
        sync::counts(&self.0).users.into()
    }

    /// What became of groups so far.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn groups(&self) -> SyncCounts {
        sync::counts(&self.0).groups.into()
    }

    /// What it could not carry over, the first hundred.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn troubles(&self) -> Vec<SyncTrouble> {
        let troubles = sync::troubles(&self.0).into_iter();
        troubles.map(|sync::Trouble { kind, remote_id, why }| SyncTrouble { kind, remote_id, why }).collect()
    }

    /// Why it waits or failed and what to do, or what else is to be known of it, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Who asked for it, in words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn requested_by(&self) -> &str {
        &self.0.requested_by
    }

    /// When it was asked for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it began; null while it waits for its turn.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn started_at(&self) -> Option<DateTime<Utc>> {
        self.0.started_at
    }

    /// When it ended; null while it has not.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn finished_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }
}

/// Which source to look at.
#[derive(InputObject)]
pub struct ConnectionTestInput {
    /// The global id of a connection that reads a source.
    connection_id: ID,
}

/// Which run to begin.
#[derive(InputObject)]
pub struct SyncStartInput {
    /// The global id of a connection that reads a source.
    connection_id: ID,
    /// What the run does.
    #[graphql(default_with = "SyncMode::Full")]
    mode: SyncMode,
    /// Whom a run of mode ONE_USER reads, by user name …
    user_name: Option<String>,
    /// … or by the source's `externalId` …
    external_id: Option<String>,
    /// … or by the source's `id`.
    remote_id: Option<String>,
}

/// Which run to end.
#[derive(InputObject)]
pub struct SyncCancelInput {
    /// The run's global id.
    id: ID,
}

/// Which run to let go on.
#[derive(InputObject)]
pub struct SyncApproveInput {
    /// The run's global id.
    id: ID,
}

/// What became of a change of a run.
#[derive(SimpleObject)]
pub struct SyncPayload {
    /// The run after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    sync_run: Option<SyncRun>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<sync::Run>) -> Result<Option<SyncPayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(SyncPayload { sync_run: done.map(Into::into), user_errors }))
}

fn target(input: &SyncStartInput) -> Result<Option<Target>> {
    let named = [
        input.user_name.clone().map(Target::UserName),
        input.external_id.clone().map(Target::ExternalId),
        input.remote_id.clone().map(Target::RemoteId),
    ];
    let mut named = named.into_iter().flatten();
    match (named.next(), named.next()) {
        (target, None) => Ok(target),
        _ => Err(Error::invalid("userName", "give one of userName, externalId and remoteId")),
    }
}

#[derive(Default)]
pub struct SyncMutation;

#[Object]
impl SyncMutation {
    /// Looks at the source that a connection reads, step by step: whether it can be reached, knows us, and lists users and
    /// groups. Nothing is changed.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn connection_test(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionTestInput,
    ) -> Result<Option<ConnectionTestPayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::IdentitySource, &input.connection_id, "the connection");
        let (steps, user_errors) = page::outcome(async { probe::look(cx, id?).await }.await, BLAME)?;
        let ok = steps.as_ref().map(|steps| steps.iter().all(|step| step.ok));
        let shown = |step: probe::Step| PullTestStep {
            probe: step.probe.into(),
            ok: step.ok,
            finding: step.finding,
            next_step: step.next,
        };
        let steps = steps.map(|steps| steps.into_iter().map(shown).collect());
        Ok(Some(ConnectionTestPayload { ok, steps, user_errors }))
    }

    /// Begins a run, which a server carries out in the background.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn sync_start(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which run.")] input: SyncStartInput,
    ) -> Result<Option<SyncPayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::IdentitySource, &input.connection_id, "the connection");
        payload(async { sync::start(cx, id?, input.mode.into(), target(&input)?).await }.await)
    }

    /// Ends a run. What it carried over stays.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn sync_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which run.")] input: SyncCancelInput,
    ) -> Result<Option<SyncPayload>> {
        let cx = page::cx(ctx)?;
        payload(async { sync::cancel(cx, page::id(Kind::SyncRun, &input.id, "the sync run")?).await }.await)
    }

    /// Lets a run go on that waits to be told that it may remove so many.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn sync_approve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which run.")] input: SyncApproveInput,
    ) -> Result<Option<SyncPayload>> {
        let cx = page::cx(ctx)?;
        payload(async { sync::approve(cx, page::id(Kind::SyncRun, &input.id, "the sync run")?).await }.await)
    }
}
