//! The SCIM servers that connections read, and the sync runs that read them.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::{pull_source as stored, sync_run};

use super::connection::IdentitySource;
use super::job::{self, JobCounts, JobProgress, JobState};
use super::loaders::{self, ConnectionId};
use super::message_part::{self, MessagePart};
use super::permission::{Permission, needs};
use crate::domain::connection::pull_source;
use crate::domain::connection::pull_source::PullSource as Source;
use crate::domain::sync;
use crate::domain::sync::SyncTarget;
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, Long, NodeKind, UserError};
use crate::scim_client::probe;
use crate::scim_client::probe::ProbeStep;

const FIELD_MAP: FieldMap =
    FieldMap { nouns: &[(Noun::SyncRun, "id"), (Noun::Connection, "connectionId")], fields: &[] };

/// How rolecall authenticates at a source.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Auth")]
pub enum PullAuth {
    /// By a bearer token that an administrator of the source issued (RFC 6750).
    Bearer,
    /// By tokens that an authorization server issues for a client id and a client secret (OAuth 2.0
    /// client credentials, RFC 6749 section 4.4).
    ClientCredentials,
}

/// The SCIM server that a connection reads: its source. The secret can be set, but never read.
pub struct PullSourceObject(pub Source);

/// The SCIM server that a connection reads: its source. The secret can be set, but never read.
#[Object(name = "PullSource")]
impl PullSourceObject {
    /// The base URL of the SCIM server; rolecall appends `/Users` and `/Groups`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn base_url(&self) -> &str {
        &self.0.base_url
    }

    /// How rolecall authenticates at the source.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn auth(&self) -> PullAuth {
        self.0.auth.into()
    }

    /// The URL of the authorization server's token endpoint, for client credentials.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn token_url(&self) -> Option<&str> {
        self.0.token_url.as_deref()
    }

    /// The client id, for client credentials.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }

    /// The OAuth scope that is requested for the token, for client credentials.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// How many resources one request of rolecall asks for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn page_size(&self) -> i32 {
        self.0.page_size
    }

    /// Which users are read, as a SCIM filter; null = all.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn user_filter(&self) -> Option<&str> {
        self.0.user_filter.as_deref()
    }

    /// The interval of scheduled full runs, in minutes; null = none are scheduled.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn interval_minutes(&self) -> Option<i32> {
        self.0.interval_minutes
    }

    /// The interval of scheduled incremental runs, in minutes; null = none are scheduled.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn incremental_minutes(&self) -> Option<i32> {
        self.0.incremental_minutes
    }

    /// A percentage. A run waits for approval if it would remove or suspend more than this share of
    /// the accounts and more than ten, or end more than this share of the memberships and more than
    /// ten.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn shrink_percent(&self) -> i32 {
        self.0.shrink_percent
    }

    /// When the next scheduled full run begins; null if none is scheduled.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_run_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_run_at
    }

    /// When the next scheduled incremental run begins; null if none is scheduled.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_incremental_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_incremental_at
    }
}

/// The SCIM server that a connection will read.
#[derive(InputObject)]
pub struct PullSourceInput {
    /// The base URL of the SCIM server, for example https://example.com/scim/v2; rolecall appends
    /// `/Users` and `/Groups`.
    base_url: String,
    /// How rolecall authenticates at the source.
    #[graphql(default_with = "PullAuth::Bearer")]
    auth: PullAuth,
    /// The URL of the authorization server's token endpoint, for client credentials.
    token_url: Option<String>,
    /// The client id, for client credentials.
    client_id: Option<String>,
    /// The OAuth scope that is requested for the token, for client credentials.
    scope: Option<String>,
    /// The bearer token or the client secret. It is stored encrypted and never shown.
    secret: Option<String>,
    /// How many resources one request of rolecall asks for, 1 to 1000.
    #[graphql(default = 100)]
    page_size: i32,
    /// Which users are read, as a SCIM filter; left out = all.
    user_filter: Option<String>,
    /// The interval of scheduled full runs, in minutes: 5 minutes to 31 days. Left out = none are
    /// scheduled.
    interval_minutes: Option<i32>,
    /// The interval of scheduled incremental runs, in minutes: 5 minutes to 31 days. Left out =
    /// none are scheduled.
    incremental_minutes: Option<i32>,
    /// A percentage. A run waits for approval if it would remove or suspend more than this share of
    /// the accounts and more than ten, or end more than this share of the memberships and more than
    /// ten.
    #[graphql(default = 30)]
    shrink_percent: i32,
}

impl From<PullSourceInput> for pull_source::PullSourceSettings {
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

/// The changes of the SCIM server that a connection reads. A field that is left out stays as it is;
/// null removes the value.
#[derive(InputObject)]
pub struct PullSourceUpdateInput {
    /// The base URL of the SCIM server, for example https://example.com/scim/v2; rolecall appends
    /// `/Users` and `/Groups`. Cannot be null.
    base_url: MaybeUndefined<String>,
    /// How rolecall authenticates at the source. Cannot be null.
    auth: MaybeUndefined<PullAuth>,
    /// The URL of the authorization server's token endpoint, for client credentials.
    token_url: MaybeUndefined<String>,
    /// The client id, for client credentials.
    client_id: MaybeUndefined<String>,
    /// The OAuth scope that is requested for the token, for client credentials.
    scope: MaybeUndefined<String>,
    /// The bearer token or the client secret. It must be given again if it would be sent to another
    /// address. Cannot be null.
    secret: MaybeUndefined<String>,
    /// How many resources one request of rolecall asks for, 1 to 1000. Cannot be null.
    page_size: MaybeUndefined<i32>,
    /// Which users are read, as a SCIM filter; null = all.
    user_filter: MaybeUndefined<String>,
    /// The interval of scheduled full runs, in minutes: 5 minutes to 31 days. Null = none are
    /// scheduled.
    interval_minutes: MaybeUndefined<i32>,
    /// The interval of scheduled incremental runs, in minutes: 5 minutes to 31 days. Null = none
    /// are scheduled.
    incremental_minutes: MaybeUndefined<i32>,
    /// A percentage. A run waits for approval if it would remove or suspend more than this share of
    /// the accounts and more than ten, or end more than this share of the memberships and more than
    /// ten. Cannot be null.
    shrink_percent: MaybeUndefined<i32>,
}

impl PullSourceUpdateInput {
    /// The edit as the domain takes it.
    pub fn into_edit(self) -> Result<pull_source::PullSourceEdit> {
        let mut mistakes = Mistakes::default();
        let edit = pull_source::PullSourceEdit {
            base_url: mistakes.collect(relay::refuse_null("baseUrl", self.base_url)).flatten(),
            auth: mistakes.collect(relay::refuse_null("auth", self.auth)).flatten().map(Into::into),
            token_url: self.token_url.into(),
            client_id: self.client_id.into(),
            scope: self.scope.into(),
            secret: mistakes.collect(relay::refuse_null("secret", self.secret)).flatten(),
            page_size: mistakes.collect(relay::refuse_null("pageSize", self.page_size)).flatten(),
            user_filter: self.user_filter.into(),
            interval_minutes: self.interval_minutes.into(),
            incremental_minutes: self.incremental_minutes.into(),
            shrink_percent: mistakes
                .collect(relay::refuse_null("shrinkPercent", self.shrink_percent))
                .flatten(),
        };
        mistakes.refuse_any()?;
        Ok(edit)
    }
}

/// The steps of `pullSourceTest`, in this order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "ProbeStep")]
pub enum PullSourceProbe {
    /// rolecall gets a token, if an authorization server issues it.
    Token,
    /// The source responds, and describes what it supports.
    Reached,
    /// It lists users.
    Users,
    /// It lists groups.
    Groups,
}

/// The result of one step of `pullSourceTest`.
#[derive(SimpleObject)]
pub struct PullSourceTestStep {
    /// The step.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    probe: PullSourceProbe,
    /// Whether the step succeeded.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// What was found, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// What to do, in words for people; null if nothing has to be done.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step: Option<String>,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message_parts: Vec<MessagePart>,
    /// `nextStep` by stable codes; empty where one of its sentences has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step_parts: Vec<MessagePart>,
}

/// The result of `pullSourceTest`.
#[derive(SimpleObject)]
pub struct PullSourceTestPayload {
    /// Whether every step succeeded; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    ok: Option<bool>,
    /// The steps, up to the first that failed; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    steps: Option<Vec<PullSourceTestStep>>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The mode of a sync run.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sync_run::Mode")]
pub enum SyncMode {
    /// Reads all users and groups, and deletes those that the source does not list any more.
    Full,
    /// Reads what changed since the last complete run. Only a full run notices what the source does
    /// not list any more.
    Incremental,
    /// Reads one user.
    OneUser,
    /// Reads all users and groups, and counts what a full run would do. Changes nothing.
    DryRun,
}

/// What a run did with the users, or with the groups. A dry run counts what a full run would do.
#[derive(SimpleObject)]
pub struct SyncCounts {
    /// How many the source listed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    read: Long,
    /// How many were created in rolecall.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    created: Long,
    /// How many were changed in rolecall.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    updated: Long,
    /// How many were suspended in rolecall.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    suspended: Long,
    /// How many were reactivated or restored in rolecall.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    restored: Long,
    /// How many were deleted in rolecall, because the source does not list them any more.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    deleted: Long,
    /// How many were the same as in rolecall, so that nothing was written.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    unchanged: Long,
    /// How many could not be applied; see `troubles`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    failed: Long,
}

impl From<sync::SyncTally> for SyncCounts {
    fn from(tally: sync::SyncTally) -> Self {
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

/// A user or group that a run could not apply.
#[derive(SimpleObject)]
pub struct SyncTrouble {
    /// `user` or `group`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    kind: String,
    /// The resource's id at the source.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    remote_id: String,
    /// The kind of mistake as a stable code; null if it is none of a single resource, and in runs
    /// of earlier versions.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    code: Option<String>,
    /// Why, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message_parts: Vec<MessagePart>,
}

/// A sync run as the schema shows it.
pub struct SyncRun(pub sync::Run);

impl From<sync::Run> for SyncRun {
    fn from(row: sync::Run) -> Self {
        Self(row)
    }
}

/// A sync run: it reads a connection's source, and applies what it lists. A connection has one
/// unfinished run at most.
#[Object]
impl SyncRun {
    /// The run's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::SyncRun, self.0.id)
    }

    /// The connection; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::load_one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// The mode of the run.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mode(&self) -> Option<SyncMode> {
        Some(self.0.mode.into())
    }

    /// The state of the run. It is WAITING if it would remove more than `shrinkPercent` allows,
    /// until `syncApprove` or `syncCancel`.
    #[graphql(directive = needs::apply(None))]
    pub async fn state(&self) -> JobState {
        self.0.state.into()
    }

    /// How many users and groups the source has listed so far.
    #[graphql(directive = needs::apply(None))]
    pub async fn progress(&self) -> JobProgress {
        let counts = sync::run_counts(&self.0);
        let done = counts.users.read + counts.groups.read;
        JobProgress::new(done, self.0.finished_at.map(|_| done))
    }

    /// What the run has done with users and groups so far. A dry run counts what a full run would
    /// do.
    #[graphql(directive = needs::apply(None))]
    pub async fn counts(&self) -> JobCounts {
        let counts = sync::run_counts(&self.0);
        let sum = |count: fn(&sync::SyncTally) -> u64| {
            job::to_long(count(&counts.users) + count(&counts.groups))
        };
        JobCounts {
            read: sum(|tally| tally.read),
            created: sum(|tally| tally.created),
            updated: sum(|tally| tally.updated + tally.suspended + tally.restored),
            deleted: sum(|tally| tally.deleted),
            kept: sum(|tally| tally.unchanged),
            failed: sum(|tally| tally.failed),
        }
    }

    /// Why it failed; empty if it did not.
    #[graphql(directive = needs::apply(None))]
    pub async fn user_errors(&self) -> Vec<UserError> {
        job::job_errors(self.0.state == sync_run::State::Failed, self.0.reason.as_deref())
    }

    /// Whether `syncCancel` was called; the run ends within a second or two.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn cancelling(&self) -> Option<bool> {
        Some(self.0.cancelling)
    }

    /// What the run has done with users so far.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn users(&self) -> Option<SyncCounts> {
        Some(sync::run_counts(&self.0).users.into())
    }

    /// What the run has done with groups so far.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn groups(&self) -> Option<SyncCounts> {
        Some(sync::run_counts(&self.0).groups.into())
    }

    /// The users and groups that it could not apply; the first 100.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn troubles(&self) -> Option<Vec<SyncTrouble>> {
        let troubles = sync::run_troubles(&self.0).into_iter();
        let troubles = troubles
            .map(|sync::RunTrouble { kind, remote_id, code, why }| SyncTrouble {
                kind,
                remote_id,
                code,
                message_parts: message_part::read_parts(&why),
                message: why,
            })
            .collect();
        Some(troubles)
    }

    /// Why it waits or failed and what to do, or another remark, in words for people; null if there
    /// is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// `message` by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message_parts(&self) -> Option<Vec<MessagePart>> {
        Some(message_part::read_optional_parts(self.0.reason.as_deref()))
    }

    /// The actor that requested it, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn requested_by(&self) -> Option<&str> {
        Some(&self.0.requested_by)
    }

    /// When it was requested.
    #[graphql(directive = needs::apply(None))]
    pub async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it began; null while it is QUEUED.
    #[graphql(directive = needs::apply(None))]
    pub async fn started_at(&self) -> Option<DateTime<Utc>> {
        self.0.started_at
    }

    /// When it ended; null while it has not ended.
    #[graphql(directive = needs::apply(None))]
    pub async fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }
}

/// The connection whose source to test.
#[derive(InputObject)]
pub struct PullSourceTestInput {
    /// The global id of a connection that reads a source.
    connection_id: ID,
}

/// The sync run to start.
#[derive(InputObject)]
pub struct SyncStartInput {
    /// The global id of a connection that reads a source.
    connection_id: ID,
    /// The mode of the run.
    #[graphql(default_with = "SyncMode::Full")]
    mode: SyncMode,
    /// Only for the mode ONE_USER: the user name of the user to read. Give one of `userName`,
    /// `externalId` and `remoteId`.
    user_name: Option<String>,
    /// Only for the mode ONE_USER: the `externalId` that the user has at the source.
    external_id: Option<String>,
    /// Only for the mode ONE_USER: the `id` that the user has at the source.
    remote_id: Option<String>,
}

/// The sync run to cancel.
#[derive(InputObject)]
pub struct SyncCancelInput {
    /// The run's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The sync run to approve.
#[derive(InputObject)]
pub struct SyncApproveInput {
    /// The run's global id.
    id: ID,
}

mutation_payloads! {
    sync_run_payloads;
    /// The run after the change; null if there were mistakes.
    sync_run: SyncRun;
    /// The result of `syncStart`.
    SyncStartPayload,
    /// The result of `syncCancel`.
    SyncCancelPayload,
    /// The result of `syncApprove`.
    SyncApprovePayload,
}

fn parse_target(input: &SyncStartInput) -> Result<Option<SyncTarget>> {
    let named = [
        input.user_name.clone().map(SyncTarget::UserName),
        input.external_id.clone().map(SyncTarget::ExternalId),
        input.remote_id.clone().map(SyncTarget::RemoteId),
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
    /// Tests the source that a connection reads, step by step: whether it can be reached, accepts
    /// the credentials, and lists users and groups. Changes nothing.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn pull_source_test(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: PullSourceTestInput,
    ) -> Result<Option<PullSourceTestPayload>> {
        let cx = relay::cx(ctx)?;
        let id =
            relay::parse_input_id(NodeKind::IdentitySource, &input.connection_id, Noun::Connection);
        let (steps, user_errors) = relay::split_user_errors(
            async { probe::probe_source(cx, id?).await }.await,
            FIELD_MAP,
        )?;
        let ok = steps.as_ref().map(|steps| steps.iter().all(|step| step.ok));
        let shown = |step: probe::ProbeResult| PullSourceTestStep {
            probe: step.probe.into(),
            ok: step.ok,
            message_parts: message_part::read_parts(&step.finding),
            next_step_parts: message_part::read_optional_parts(step.next.as_deref()),
            message: step.finding,
            next_step: step.next,
        };
        let steps = steps.map(|steps| steps.into_iter().map(shown).collect());
        Ok(Some(PullSourceTestPayload { ok, steps, user_errors }))
    }

    /// Starts a sync run, which continues in the background.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn sync_start(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which run.")] input: SyncStartInput,
    ) -> Result<Option<SyncStartPayload>> {
        let cx = relay::cx(ctx)?;
        let id =
            relay::parse_input_id(NodeKind::IdentitySource, &input.connection_id, Noun::Connection);
        let done = async {
            let (id, target) = mistakes::both(id, parse_target(&input))?;
            sync::start_run(cx, id, input.mode.into(), target).await
        };
        SyncStartPayload::from_result(done.await, FIELD_MAP)
    }

    /// Cancels a sync run. What it has applied already stays.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn sync_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which run.")] input: SyncCancelInput,
    ) -> Result<Option<SyncCancelPayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::SyncRun, &input.id, Noun::SyncRun),
            )?;
            sync::cancel_run(&cx, id).await
        };
        SyncCancelPayload::from_result(done.await, FIELD_MAP)
    }

    /// Approves a sync run that waits because it would remove many accounts or memberships: it
    /// continues.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn sync_approve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which run.")] input: SyncApproveInput,
    ) -> Result<Option<SyncApprovePayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::SyncRun, &input.id, Noun::SyncRun);
        let done = async { sync::approve_run(cx, id?).await };
        SyncApprovePayload::from_result(done.await, FIELD_MAP)
    }
}
