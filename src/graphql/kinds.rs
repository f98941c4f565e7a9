//! The kinds of things, once for all files that have a part for each of them: those with a global
//! id, and those that events are about.
//!
//! The types and functions of the first table are named in a macro, so this file imports none of
//! them: their files import this one.

use async_graphql::Enum;

/// Calls a macro with the types that have a global id: the name in the schema, the type here, and
/// how an object is found: it is loaded together with others by a key of a data loader, or found
/// alone by a function of this crate.
macro_rules! with_node_types {
    ($with:ident) => {
        $with! {
            Organization(organization::OrganizationObject) found by
                graphql::organization::OrganizationObject::find_by_id,
            IdentitySource(connection::IdentitySource) loaded by ConnectionId,
            ScimToken(scim_token::ScimToken) loaded by ScimTokenId,
            SetupLink(setup_link::SetupLinkObject) loaded by SetupLinkId,
            ApiKey(api_key::ApiKeyObject) loaded by ApiKeyId,
            User(user::UserObject) loaded by UserId,
            Group(group::GroupObject) loaded by GroupId,
            Role(role::RoleObject) loaded by RoleId,
            RoleMapping(role_mapping::RoleMapping) loaded by RoleMappingId,
            RoleGrant(role_grant::RoleGrant) loaded by RoleGrantId,
            AccessPreview(change_set::AccessPreview) found by
                graphql::change_set::AccessPreview::find_by_id,
            SchemaExtension(schema_extension::SchemaExtension) found by
                domain::directory::schema_extension::find_extension,
            AdoptionProposal(adoption::AdoptionProposal) loaded by ProposalId,
            Alert(alert::AlertObject) loaded by AlertId,
            MailRecipient(alert::MailRecipientObject) found by
                domain::alert::recipient::find_recipient,
            BulkJob(bulk::BulkJob) found by graphql::bulk::BulkJob::find_visible,
            DeletionJob(deletion::DeletionJob) found by
                graphql::deletion::DeletionJob::find_visible,
            Failure(failure::FailureObject) loaded by FailureId,
            SyncRun(sync::SyncRun) loaded by SyncRunId,
            Reconciliation(reconcile::ReconciliationObject) found by
                graphql::reconcile::ReconciliationObject::find_by_id,
            Finding(reconcile::FindingObject) loaded by FindingId,
            Destination(destination::DestinationObject) loaded by DestinationId,
            Delivery(delivery::DeliveryObject) loaded by DeliveryId,
            Domain(domain::DomainObject) found by domain::tenant::domain::find_domain,
            Invitation(invitation::InvitationObject) found by
                domain::access::invitation::find_invitation,
            Event(event::EventObject) loaded by EventId,
        }
    };
}

macro_rules! node_kinds {
    ($($kind:ident($module:ident :: $object:ident) $how:ident by $($find:ident)::+,)+) => {
        /// The types that have a global id, each named as in the schema.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum NodeKind {
            $($kind,)+
        }

        impl NodeKind {
            /// All of them.
            pub const ALL: &[NodeKind] = &[$(Self::$kind,)+];

            /// The name in the schema.
            pub fn type_name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)+
                }
            }
        }
    };
}

with_node_types!(node_kinds);

/// Calls a macro with the parts of the type `Organization`: each has the lists of some kinds.
macro_rules! with_organization_parts {
    ($with:ident) => {
        $with! {
            organization::OrganizationDirectory,
            organization::OrganizationActivity,
            alert::OrganizationAlerts,
            domain::OrganizationDomains,
            invitation::OrganizationInvitations,
        }
    };
}

pub(super) use {with_node_types, with_organization_parts};

/// Declares what events are about: the name in the ledger, and the type of the objects with a
/// global id if they have one.
macro_rules! subject_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal $(is $node:ident)?,)+) => {
        /// What a change is about.
        #[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
        pub enum SubjectKind {
            $($(#[doc = $doc])+ $kind,)+
            /// A subject that this version of the schema has no name for.
            Other,
        }

        impl SubjectKind {
            /// The kind of this name in the ledger.
            pub fn from_ledger_name(name: &str) -> Self {
                match name {
                    $($name => Self::$kind,)+
                    _ => Self::Other,
                }
            }

            /// The name in the ledger; none for subjects that have no name here.
            pub fn ledger_name(self) -> Option<&'static str> {
                match self {
                    $(Self::$kind => Some($name),)+
                    Self::Other => None,
                }
            }

            /// The type of the subject; none for what has no global id.
            pub fn node_kind(self) -> Option<NodeKind> {
                match self {
                    $($(Self::$kind => Some(NodeKind::$node),)?)+
                    _ => None,
                }
            }
        }
    };
}

subject_kinds! {
    /// The organization itself.
    Organization = "organization" is Organization,
    /// A connection.
    Connection = "connection" is IdentitySource,
    /// A SCIM token.
    ScimToken = "scim_token" is ScimToken,
    /// An API key.
    ApiKey = "api_key" is ApiKey,
    /// A link that opens the console once.
    ConsoleLink = "console_link",
    /// A link with which a customer's IT administrator sets up a connection.
    SetupLink = "setup_link" is SetupLink,
    /// An account.
    User = "user" is User,
    /// A group.
    Group = "group" is Group,
    /// A role.
    Role = "role" is Role,
    /// A mapping of a group to a role.
    RoleMapping = "role_mapping" is RoleMapping,
    /// A direct grant of a role.
    RoleGrant = "role_grant" is RoleGrant,
    /// Which account holds which role, changed by several edits at once (`accessApply`).
    Access = "access",
    /// A preview of such a change (`accessPreview`).
    AccessPreview = "access_preview" is AccessPreview,
    /// A schema that the organization added.
    SchemaExtension = "schema_extension" is SchemaExtension,
    /// An alert.
    Alert = "alert" is Alert,
    /// An address that gets alerts by mail.
    MailRecipient = "mail_recipient" is MailRecipient,
    /// A bulk job: operations that a client uploaded together.
    BulkJob = "bulk_job" is BulkJob,
    /// A deletion of all accounts that came through SCIM.
    Deletion = "deletion" is DeletionJob,
    /// A write that was refused or failed.
    Failure = "failure" is Failure,
    /// A sync run: one reading of a connection's source.
    SyncRun = "sync_run" is SyncRun,
    /// A comparison of a connection with what its identity provider says.
    Reconciliation = "reconciliation" is Reconciliation,
    /// A difference that such a comparison found.
    Finding = "finding" is Finding,
    /// A destination, which is told of events.
    Destination = "destination" is Destination,
    /// A delivery of an event to a destination.
    Delivery = "delivery" is Delivery,
    /// A domain of the organization.
    Domain = "domain" is Domain,
    /// An invitation of a person.
    Invitation = "invitation" is Invitation,
}
