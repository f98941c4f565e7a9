//! The kinds of events: what a row of the ledger tells. What follows from a kind is decided here or
//! by an exhaustive `match`, so that the compiler points to each place that a new kind needs.

use serde::Serialize;
use serde_json::Value;

macro_rules! event_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// What happened. Its name stands in the ledger and is never changed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &[EventKind] = &[$(EventKind::$kind,)+];

            /// The name in the ledger: a noun and a verb, for example `user.created`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(EventKind::$kind => $name,)+
                }
            }

            /// What it tells, in one sentence.
            pub const fn description(self) -> &'static str {
                match self {
                    $(EventKind::$kind => concat!($($doc),+),)+
                }
            }

            /// The kind of this name; none for a name that no version of this program has written.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(EventKind::$kind),)+
                    _ => None,
                }
            }
        }
    };
}

/// Calls a macro with every kind of event: its description, its name here and its name in the
/// ledger. So what has a part for each kind is made from one list.
macro_rules! with_event_kinds {
    ($with:ident) => {
        $with! {
            /// An organization was made.
            OrganizationCreated = "organization.created",
            /// The settings of the organization changed.
            OrganizationUpdated = "organization.updated",
            /// The operator suspended the organization: no interface and no job of it works.
            OrganizationSuspended = "organization.suspended",
            /// The operator ended the suspension of the organization.
            OrganizationResumed = "organization.resumed",
            /// People with `PLATFORM_ADMIN` may use their other permissions for a time.
            OrganizationOperatorAccessGranted = "organization.operator_access_granted",
            /// People with `PLATFORM_ADMIN` may not use their other permissions any more.
            OrganizationOperatorAccessRevoked = "organization.operator_access_revoked",
            /// The operator released provisioning to the organization.
            OrganizationProvisioningReleased = "organization.provisioning_released",
            /// The operator withholds provisioning from the organization.
            OrganizationProvisioningWithheld = "organization.provisioning_withheld",
            /// A domain was added, which an administrator asserts.
            DomainAdded = "domain.added",
            /// The DNS proved that a domain belongs to the organization.
            DomainProven = "domain.proven",
            /// The DNS does not prove a domain any more.
            DomainLost = "domain.lost",
            /// A domain was removed.
            DomainRemoved = "domain.removed",
            /// A person was invited.
            InvitationCreated = "invitation.created",
            /// An invitation got a new link and perhaps another end, and is mailed again.
            InvitationResent = "invitation.resent",
            /// The link of an invitation was used, which it can be once.
            InvitationRedeemed = "invitation.redeemed",
            /// An invitation was accepted for an account; `edits` lists what it gave.
            InvitationAccepted = "invitation.accepted",
            /// An invitation was revoked.
            InvitationRevoked = "invitation.revoked",
            /// An invitation was not accepted in time.
            InvitationExpired = "invitation.expired",
            /// A connection was made.
            ConnectionCreated = "connection.created",
            /// The settings, the source or the schedule of a connection changed.
            ConnectionUpdated = "connection.updated",
            /// A connection may write again.
            ConnectionActivated = "connection.activated",
            /// A connection may not write any more; its accounts stay.
            ConnectionDeactivated = "connection.deactivated",
            /// A connection was deleted, with its tokens and waiting mappings.
            ConnectionDeleted = "connection.deleted",
            /// A connection became well, or a sign of trouble was seen.
            ConnectionHealthChanged = "connection.health_changed",
            /// A run whose time had come did not begin.
            ConnectionSyncSkipped = "connection.sync_skipped",
            /// A comparison whose time had come did not begin.
            ConnectionReconciliationSkipped = "connection.reconciliation_skipped",
            /// The server began to test its public URL as the connection's identity provider would.
            ConnectionSelfTestStarted = "connection.self_test_started",
            /// A SCIM token was issued.
            ScimTokenIssued = "scim_token.issued",
            /// A SCIM token was replaced by a new one, with an overlap.
            ScimTokenRotated = "scim_token.rotated",
            /// A SCIM token was revoked.
            ScimTokenRevoked = "scim_token.revoked",
            /// An API key was issued.
            ApiKeyIssued = "api_key.issued",
            /// An API key got another owner.
            ApiKeyAssigned = "api_key.assigned",
            /// An API key got another name, end or owner.
            ApiKeyUpdated = "api_key.updated",
            /// An API key was revoked, by a person or with its owner.
            ApiKeyRevoked = "api_key.revoked",
            /// A link was made that opens the console once.
            ConsoleLinkCreated = "console_link.created",
            /// A console link opened a session; `apiKeyId` names its key.
            ConsoleLinkRedeemed = "console_link.redeemed",
            /// A console link was closed before it was opened.
            ConsoleLinkClosed = "console_link.closed",
            /// A link was made with which a customer's IT administrator sets up a connection.
            SetupLinkCreated = "setup_link.created",
            /// A setup link was opened; `scimTokenId` names the token that this issued, if any.
            SetupLinkRedeemed = "setup_link.redeemed",
            /// A setup link was revoked, with the sessions that it opened.
            SetupLinkRevoked = "setup_link.revoked",
            /// A schema extension was registered.
            SchemaExtensionRegistered = "schema_extension.registered",
            /// A schema extension was removed.
            SchemaExtensionRemoved = "schema_extension.removed",
            /// An account was made.
            UserCreated = "user.created",
            /// Attributes of an account changed.
            UserUpdated = "user.updated",
            /// An account was made inactive.
            UserSuspended = "user.suspended",
            /// An inactive account became active again.
            UserReactivated = "user.reactivated",
            /// An account was deleted.
            UserDeleted = "user.deleted",
            /// An administrator restored a deleted account.
            UserRestored = "user.restored",
            /// An identity provider created a deleted account again: it came back with its id.
            UserRevived = "user.revived",
            /// The personal data of a deleted account was erased.
            UserPurged = "user.purged",
            /// Connections may not change the account any more.
            UserProtected = "user.protected",
            /// Connections may change the account again.
            UserUnprotected = "user.unprotected",
            /// A connection proposes to take over an account that was made by hand.
            UserAdoptionProposed = "user.adoption_proposed",
            /// An administrator refused such a proposal.
            UserAdoptionDismissed = "user.adoption_dismissed",
            /// A connection took over an account that was made by hand.
            UserAdopted = "user.adopted",
            /// A sign-in said that an account is in other groups than before; `groups` lists those
            /// that it left and joined.
            UserClaimsChanged = "user.claims_changed",
            /// What sign-ins said about an account became too old: it left the groups.
            UserClaimsExpired = "user.claims_expired",
            /// What sign-ins said about an account became too old, but no other account holds
            /// the management role `roleId`: the account stays in the group for now.
            UserClaimsKept = "user.claims_kept",
            /// An account gained or lost roles by an earlier event, which `cause` names.
            UserAccessChanged = "user.access_changed",
            /// Accounts of an organization were deleted, a part of all.
            UsersDeletedAll = "users.deleted_all",
            /// A deletion of all accounts that came through SCIM was asked for.
            DeletionRequested = "deletion.requested",
            /// A deletion of all accounts came to its end; `deleted` says how many.
            DeletionCompleted = "deletion.completed",
            /// A deletion of all accounts stopped before its end; `because` says why.
            DeletionStopped = "deletion.stopped",
            /// Accounts of a deleted connection are as if made by hand.
            UsersReleased = "users.released",
            /// A group was made.
            GroupCreated = "group.created",
            /// Attributes of a group changed, and perhaps members.
            GroupUpdated = "group.updated",
            /// Members of a group came or went.
            GroupMembersChanged = "group.members_changed",
            /// A group was deleted, with its memberships and mappings.
            GroupDeleted = "group.deleted",
            /// An administrator restored a deleted group.
            GroupRestored = "group.restored",
            /// Groups of a deleted connection are as if made by hand.
            GroupsReleased = "groups.released",
            /// A role was made.
            RoleCreated = "role.created",
            /// The name, the priority or the permissions of a role changed.
            RoleUpdated = "role.updated",
            /// A role was deleted, with its mappings and grants.
            RoleDeleted = "role.deleted",
            /// A group was mapped to a role.
            RoleMappingCreated = "role_mapping.created",
            /// A mapping got another role, reason or end.
            RoleMappingUpdated = "role_mapping.updated",
            /// A mapping was removed.
            RoleMappingRemoved = "role_mapping.removed",
            /// A mapping reached its planned end.
            RoleMappingExpired = "role_mapping.expired",
            /// A removed mapping was restored.
            RoleMappingRestored = "role_mapping.restored",
            /// An account was given a role directly.
            RoleGrantCreated = "role_grant.created",
            /// A direct grant got another reason or end.
            RoleGrantUpdated = "role_grant.updated",
            /// A direct grant was taken away.
            RoleGrantRemoved = "role_grant.removed",
            /// A direct grant reached its planned end.
            RoleGrantExpired = "role_grant.expired",
            /// The effect of a planned change of access was computed.
            AccessPreviewed = "access.previewed",
            /// A planned change of access was applied; `edits` lists its parts.
            AccessChanged = "access.changed",
            /// A run of a source was asked for, or its time had come.
            SyncRunRequested = "sync_run.requested",
            /// An administrator ended a run.
            SyncRunCancelled = "sync_run.cancelled",
            /// An administrator approved what a run asked about.
            SyncRunApproved = "sync_run.approved",
            /// A run read the source to its end and applied it.
            SyncRunSucceeded = "sync_run.succeeded",
            /// A run waits for an approval.
            SyncRunWaiting = "sync_run.waiting",
            /// A run failed; `reason` says why.
            SyncRunFailed = "sync_run.failed",
            /// A run that was cancelled has ended.
            SyncRunEnded = "sync_run.ended",
            /// A comparison began.
            ReconciliationStarted = "reconciliation.started",
            /// A comparison ended.
            ReconciliationSucceeded = "reconciliation.succeeded",
            /// A comparison was not believed, because too much was missing.
            ReconciliationRefused = "reconciliation.refused",
            /// A comparison failed.
            ReconciliationFailed = "reconciliation.failed",
            /// A comparison met findings that were known.
            ReconciliationSeenAgain = "reconciliation.seen_again",
            /// A difference was found.
            FindingOpened = "finding.opened",
            /// A difference came back.
            FindingReopened = "finding.reopened",
            /// A difference is not there any more.
            FindingGone = "finding.gone",
            /// A reviewer put a difference right.
            FindingResolved = "finding.resolved",
            /// A reviewer accepted a difference.
            FindingAccepted = "finding.accepted",
            /// The acceptance of a difference reached its end.
            FindingAcceptanceEnded = "finding.acceptance_ended",
            /// A write of an identity provider failed and waits for review.
            FailureOpened = "failure.opened",
            /// A failure was given to a reviewer.
            FailureAssigned = "failure.assigned",
            /// A failed write is tried again.
            FailureRetried = "failure.retried",
            /// A run was begun to try a failure again.
            FailureRetryBegun = "failure.retry_begun",
            /// A failed write failed again.
            FailureRetryFailed = "failure.retry_failed",
            /// A failure was put right.
            FailureResolved = "failure.resolved",
            /// A reviewer dismissed a failure.
            FailureDismissed = "failure.dismissed",
            /// A bulk job was handed in.
            BulkJobCreated = "bulk_job.created",
            /// A bulk job was told to end.
            BulkJobCancelled = "bulk_job.cancelled",
            /// A bulk job carried out all its lines.
            BulkJobCompleted = "bulk_job.completed",
            /// A bulk job that was told to end has ended.
            BulkJobEnded = "bulk_job.ended",
            /// A bulk job stopped before its end.
            BulkJobStopped = "bulk_job.stopped",
            /// An export of evidence began.
            EvidenceExportStarted = "evidence.export_started",
            /// An export of evidence was read out; `rows` says how much.
            EvidenceExported = "evidence.exported",
            /// A destination was made.
            DestinationCreated = "destination.created",
            /// The settings of a destination changed.
            DestinationUpdated = "destination.updated",
            /// A destination gets no events for now; `because` says why.
            DestinationPaused = "destination.paused",
            /// A destination gets events again.
            DestinationResumed = "destination.resumed",
            /// A destination was deleted, with its deliveries.
            DestinationDeleted = "destination.deleted",
            /// A destination got a new secret; the one before is valid for a while.
            DestinationSecretRotated = "destination.secret_rotated",
            /// A message was asked for to test a destination.
            DestinationTested = "destination.tested",
            /// A destination gets earlier events again, from `fromSeq` on.
            DestinationReplayed = "destination.replayed",
            /// The receiver of a stream wants events about a subject again.
            DestinationSubjectAdded = "destination.subject_added",
            /// The receiver of a stream wants no events about a subject any more.
            DestinationSubjectRemoved = "destination.subject_removed",
            /// A destination does not accept events; they are tried again.
            DestinationFailing = "destination.failing",
            /// A destination accepts events again.
            DestinationRecovered = "destination.recovered",
            /// A destination gets no events any more: it accepted none for three days, or its
            /// receiver disabled it.
            DestinationDisabled = "destination.disabled",
            /// A delivery that had failed is tried again.
            DeliveryRetried = "delivery.retried",
            /// A SCIM request was accepted, to be carried out after its answer.
            ScimRequestAccepted = "scim_request.accepted",
            /// A SCIM request was carried out after its answer; `status` says how it went.
            ScimRequestCompleted = "scim_request.completed",
            /// An application said that it ended the sessions of an account that left.
            RevocationConfirmed = "revocation.confirmed",
            /// Something became wrong that administrators should know of.
            AlertRaised = "alert.raised",
            /// The trouble that an alert was about is over.
            AlertResolved = "alert.resolved",
            /// A rule of alerts was turned on or off, or got another threshold.
            AlertRuleUpdated = "alert_rule.updated",
            /// An address gets alerts by mail from now on.
            MailRecipientAdded = "mail_recipient.added",
            /// An address gets no alerts by mail any more.
            MailRecipientRemoved = "mail_recipient.removed",
        }
    };
}
pub(crate) use with_event_kinds;

with_event_kinds!(event_kinds);

/// How an event may change which accounts hold which roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessEffect {
    /// Not at all.
    None,
    /// Its subject is an account that may have gained or lost roles.
    Account,
    /// It lists the accounts that it deleted.
    Accounts,
    /// It lists the members that came to or went from its subject, a group.
    Members,
    /// All members of its subject, a group, may have gained or lost roles.
    Group,
    /// It lists groups whose members may have gained or lost roles.
    ListedGroups,
    /// The mappings and grants that it opened or closed show which accounts it concerned.
    Intervals,
}

impl EventKind {
    /// How many more live accounts or groups there are after it.
    pub const fn population_change(self) -> i64 {
        match self {
            Self::UserCreated
            | Self::UserRevived
            | Self::UserRestored
            | Self::UserAdopted
            | Self::GroupCreated => 1,
            Self::UserDeleted | Self::GroupDeleted => -1,
            _ => 0,
        }
    }

    /// Whether it changes only who owns accounts or groups. Its row adds to the connection's
    /// population what it takes from that of accounts without a connection; all together are as
    /// many as before.
    pub const fn changes_owner(self) -> bool {
        matches!(self, Self::UserAdopted | Self::UsersReleased | Self::GroupsReleased)
    }

    /// Whether an account, or several, cannot be used any more after it.
    pub const fn is_deprovisioning(self) -> bool {
        matches!(self, Self::UserSuspended | Self::UserDeleted | Self::UsersDeletedAll)
    }

    /// Whether an account that was gone is there after it.
    pub const fn brings_account_back(self) -> bool {
        matches!(
            self,
            Self::UserCreated | Self::UserRevived | Self::UserRestored | Self::UserAdopted
        )
    }

    /// Whether its row tells attributes of an account before and after.
    pub const fn tells_attributes(self) -> bool {
        self.brings_account_back()
            || matches!(self, Self::UserUpdated | Self::UserSuspended | Self::UserReactivated)
    }

    /// How it may change which accounts hold which roles.
    pub const fn access_effect(self) -> AccessEffect {
        match self {
            Self::UserCreated
            | Self::UserSuspended
            | Self::UserReactivated
            | Self::UserDeleted
            | Self::UserRestored
            | Self::UserRevived
            | Self::UserAdoptionProposed
            | Self::UserAdoptionDismissed
            | Self::UserAdopted
            | Self::UserClaimsChanged
            | Self::UserClaimsExpired => AccessEffect::Account,
            Self::UsersDeletedAll => AccessEffect::Accounts,
            Self::GroupCreated | Self::GroupUpdated | Self::GroupMembersChanged => {
                AccessEffect::Members
            }
            Self::GroupDeleted | Self::GroupRestored => AccessEffect::Group,
            Self::OrganizationUpdated => AccessEffect::ListedGroups,
            Self::AccessChanged
            | Self::RoleDeleted
            | Self::ConnectionDeleted
            | Self::RoleMappingCreated
            | Self::RoleMappingUpdated
            | Self::RoleMappingRemoved
            | Self::RoleMappingExpired
            | Self::RoleMappingRestored
            | Self::RoleGrantCreated
            | Self::RoleGrantRemoved
            | Self::RoleGrantExpired => AccessEffect::Intervals,
            Self::UserUpdated
            | Self::UserClaimsKept
            | Self::UserPurged
            | Self::UserProtected
            | Self::UserUnprotected
            | Self::UserAccessChanged
            | Self::UsersReleased
            | Self::GroupsReleased
            | Self::OrganizationCreated
            | Self::OrganizationSuspended
            | Self::OrganizationResumed
            | Self::OrganizationOperatorAccessGranted
            | Self::OrganizationOperatorAccessRevoked
            | Self::OrganizationProvisioningReleased
            | Self::OrganizationProvisioningWithheld
            | Self::DomainAdded
            | Self::DomainProven
            | Self::DomainLost
            | Self::DomainRemoved
            | Self::InvitationCreated
            | Self::InvitationResent
            | Self::InvitationRedeemed
            | Self::InvitationAccepted
            | Self::InvitationRevoked
            | Self::InvitationExpired
            | Self::DeletionRequested
            | Self::DeletionCompleted
            | Self::DeletionStopped
            | Self::ConnectionCreated
            | Self::ConnectionUpdated
            | Self::ConnectionActivated
            | Self::ConnectionDeactivated
            | Self::ConnectionHealthChanged
            | Self::ConnectionSyncSkipped
            | Self::ConnectionReconciliationSkipped
            | Self::ConnectionSelfTestStarted
            | Self::ScimTokenIssued
            | Self::ScimTokenRotated
            | Self::ScimTokenRevoked
            | Self::ApiKeyIssued
            | Self::ApiKeyAssigned
            | Self::ApiKeyUpdated
            | Self::ApiKeyRevoked
            | Self::ConsoleLinkCreated
            | Self::ConsoleLinkRedeemed
            | Self::ConsoleLinkClosed
            | Self::SetupLinkCreated
            | Self::SetupLinkRedeemed
            | Self::SetupLinkRevoked
            | Self::SchemaExtensionRegistered
            | Self::SchemaExtensionRemoved
            | Self::RoleCreated
            | Self::RoleUpdated
            | Self::RoleGrantUpdated
            | Self::AccessPreviewed
            | Self::SyncRunRequested
            | Self::SyncRunCancelled
            | Self::SyncRunApproved
            | Self::SyncRunSucceeded
            | Self::SyncRunWaiting
            | Self::SyncRunFailed
            | Self::SyncRunEnded
            | Self::ReconciliationStarted
            | Self::ReconciliationSucceeded
            | Self::ReconciliationRefused
            | Self::ReconciliationFailed
            | Self::ReconciliationSeenAgain
            | Self::FindingOpened
            | Self::FindingReopened
            | Self::FindingGone
            | Self::FindingResolved
            | Self::FindingAccepted
            | Self::FindingAcceptanceEnded
            | Self::DestinationCreated
            | Self::DestinationUpdated
            | Self::DestinationPaused
            | Self::DestinationResumed
            | Self::DestinationDeleted
            | Self::DestinationSecretRotated
            | Self::DestinationTested
            | Self::DestinationReplayed
            | Self::DestinationFailing
            | Self::DestinationRecovered
            | Self::DestinationDisabled
            | Self::DeliveryRetried
            | Self::FailureOpened
            | Self::FailureAssigned
            | Self::FailureRetried
            | Self::FailureRetryBegun
            | Self::FailureRetryFailed
            | Self::FailureResolved
            | Self::FailureDismissed
            | Self::BulkJobCreated
            | Self::BulkJobCancelled
            | Self::BulkJobCompleted
            | Self::BulkJobEnded
            | Self::BulkJobStopped
            | Self::EvidenceExportStarted
            | Self::EvidenceExported
            | Self::DestinationSubjectAdded
            | Self::DestinationSubjectRemoved
            | Self::ScimRequestAccepted
            | Self::ScimRequestCompleted
            | Self::RevocationConfirmed
            | Self::AlertRaised
            | Self::AlertResolved
            | Self::AlertRuleUpdated
            | Self::MailRecipientAdded
            | Self::MailRecipientRemoved => AccessEffect::None,
        }
    }

    /// What it means for the sessions of its subject, an account, or of the accounts that it lists:
    /// an application that keeps sessions acts on it. The event itself says so. An event of its own
    /// would be a second row for one change, and could be lost or come late.
    pub const fn session_effect(self) -> SessionEffect {
        match self {
            Self::UserSuspended | Self::UserDeleted | Self::UserPurged | Self::UsersDeletedAll => {
                SessionEffect::Revoked
            }
            Self::UserAccessChanged => SessionEffect::ByRoles,
            Self::OrganizationCreated
            | Self::OrganizationUpdated
            | Self::OrganizationSuspended
            | Self::OrganizationResumed
            | Self::OrganizationOperatorAccessGranted
            | Self::OrganizationOperatorAccessRevoked
            | Self::OrganizationProvisioningReleased
            | Self::OrganizationProvisioningWithheld
            | Self::DomainAdded
            | Self::DomainProven
            | Self::DomainLost
            | Self::DomainRemoved
            | Self::InvitationCreated
            | Self::InvitationResent
            | Self::InvitationRedeemed
            | Self::InvitationAccepted
            | Self::InvitationRevoked
            | Self::InvitationExpired
            | Self::ConnectionCreated
            | Self::ConnectionUpdated
            | Self::ConnectionActivated
            | Self::ConnectionDeactivated
            | Self::ConnectionDeleted
            | Self::ConnectionHealthChanged
            | Self::ConnectionSyncSkipped
            | Self::ConnectionReconciliationSkipped
            | Self::ConnectionSelfTestStarted
            | Self::ScimTokenIssued
            | Self::ScimTokenRotated
            | Self::ScimTokenRevoked
            | Self::ApiKeyIssued
            | Self::ApiKeyAssigned
            | Self::ApiKeyUpdated
            | Self::ApiKeyRevoked
            | Self::SchemaExtensionRegistered
            | Self::SchemaExtensionRemoved
            | Self::UserCreated
            | Self::UserUpdated
            | Self::UserReactivated
            | Self::UserRestored
            | Self::UserRevived
            | Self::UserProtected
            | Self::UserUnprotected
            | Self::UserAdoptionProposed
            | Self::UserAdoptionDismissed
            | Self::UserAdopted
            | Self::UserClaimsChanged
            | Self::UserClaimsExpired
            | Self::UserClaimsKept
            | Self::DeletionRequested
            | Self::DeletionCompleted
            | Self::DeletionStopped
            | Self::UsersReleased
            | Self::GroupCreated
            | Self::GroupUpdated
            | Self::GroupMembersChanged
            | Self::GroupDeleted
            | Self::GroupRestored
            | Self::GroupsReleased
            | Self::RoleCreated
            | Self::RoleUpdated
            | Self::RoleDeleted
            | Self::RoleMappingCreated
            | Self::RoleMappingUpdated
            | Self::RoleMappingRemoved
            | Self::RoleMappingExpired
            | Self::RoleMappingRestored
            | Self::RoleGrantCreated
            | Self::RoleGrantUpdated
            | Self::RoleGrantRemoved
            | Self::RoleGrantExpired
            | Self::AccessPreviewed
            | Self::AccessChanged
            | Self::SyncRunRequested
            | Self::SyncRunCancelled
            | Self::SyncRunApproved
            | Self::SyncRunSucceeded
            | Self::SyncRunWaiting
            | Self::SyncRunFailed
            | Self::SyncRunEnded
            | Self::ReconciliationStarted
            | Self::ReconciliationSucceeded
            | Self::ReconciliationRefused
            | Self::ReconciliationFailed
            | Self::ReconciliationSeenAgain
            | Self::FindingOpened
            | Self::FindingReopened
            | Self::FindingGone
            | Self::FindingResolved
            | Self::FindingAccepted
            | Self::FindingAcceptanceEnded
            | Self::FailureOpened
            | Self::FailureAssigned
            | Self::FailureRetried
            | Self::FailureRetryBegun
            | Self::FailureRetryFailed
            | Self::FailureResolved
            | Self::FailureDismissed
            | Self::BulkJobCreated
            | Self::BulkJobCancelled
            | Self::BulkJobCompleted
            | Self::BulkJobEnded
            | Self::BulkJobStopped
            | Self::EvidenceExportStarted
            | Self::EvidenceExported
            | Self::ConsoleLinkCreated
            | Self::ConsoleLinkRedeemed
            | Self::ConsoleLinkClosed
            | Self::SetupLinkCreated
            | Self::SetupLinkRedeemed
            | Self::SetupLinkRevoked
            | Self::DestinationCreated
            | Self::DestinationUpdated
            | Self::DestinationPaused
            | Self::DestinationResumed
            | Self::DestinationDeleted
            | Self::DestinationSecretRotated
            | Self::DestinationTested
            | Self::DestinationReplayed
            | Self::DestinationSubjectAdded
            | Self::DestinationSubjectRemoved
            | Self::DestinationFailing
            | Self::DestinationRecovered
            | Self::DestinationDisabled
            | Self::DeliveryRetried
            | Self::ScimRequestAccepted
            | Self::ScimRequestCompleted
            | Self::RevocationConfirmed
            | Self::AlertRaised
            | Self::AlertResolved
            | Self::AlertRuleUpdated
            | Self::MailRecipientAdded
            | Self::MailRecipientRemoved => SessionEffect::None,
        }
    }

    /// [`Self::session_effect`] of an event with these values (`before` and `after`). A lost role
    /// changes what tokens claim; the loss of the last role ends the sessions.
    pub fn session_effect_of(self, payload: Option<&Value>) -> SessionEffect {
        let effect = self.session_effect();
        if effect != SessionEffect::ByRoles {
            return effect;
        }
        let listed = |name: &str| {
            payload
                .and_then(|values| values["after"][name].as_array())
                .is_some_and(|l| !l.is_empty())
        };
        match (listed("lost"), listed("roles")) {
            (true, false) => SessionEffect::Revoked,
            _ => SessionEffect::ClaimsChanged,
        }
    }

    /// The kinds of which `wanted` is so, as a list for SQL's `IN`.
    pub fn sql_list(wanted: impl Fn(Self) -> bool) -> String {
        let names: Vec<_> =
            Self::ALL.iter().filter(|kind| wanted(**kind)).map(|kind| kind.name()).collect();
        format!("('{}')", names.join("', '"))
    }
}

/// What an event means for the sessions and tokens of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEffect {
    /// Nothing.
    None,
    /// The roles in its tokens are others now (CAEP `token-claims-change`).
    ClaimsChanged,
    /// All its sessions and tokens must end (CAEP `session-revoked`).
    Revoked,
    /// The roles in the event's values decide between these two: see
    /// [`EventKind::session_effect_of`], which never returns it.
    ByRoles,
}

impl SessionEffect {
    /// The name in messages, that of the event in CAEP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClaimsChanged | Self::ByRoles => "token-claims-change",
            Self::Revoked => "session-revoked",
        }
    }
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_of_last_role_ends_sessions() {
        let told = |after: Value| {
            let payload = serde_json::json!({ "before": null, "after": after });
            EventKind::UserAccessChanged.session_effect_of(Some(&payload))
        };
        let role = serde_json::json!([{ "id": "r" }]);
        assert_eq!(
            told(serde_json::json!({ "roles": [], "gained": [], "lost": role })),
            SessionEffect::Revoked
        );
        assert_eq!(
            told(serde_json::json!({ "roles": role, "gained": [], "lost": role })),
            SessionEffect::ClaimsChanged
        );
        assert_eq!(
            told(serde_json::json!({ "roles": role, "gained": role, "lost": [] })),
            SessionEffect::ClaimsChanged
        );
        assert_eq!(EventKind::UserProtected.session_effect_of(None), SessionEffect::None);
        for kind in EventKind::ALL.iter().filter(|kind| kind.is_deprovisioning()) {
            assert_eq!(kind.session_effect_of(None), SessionEffect::Revoked, "{}", kind.name());
        }
    }

    #[test]
    fn every_name_is_its_own_kind() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.name()), Some(*kind));
            assert!(
                kind.name()
                    .split_once('.')
                    .is_some_and(|(noun, verb)| !noun.is_empty() && !verb.is_empty())
            );
        }
    }
}
