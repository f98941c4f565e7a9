//! The codes that say why a request was refused. The request log and the review queue store them,
//! and clients match them: a code never changes.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! refusal_reasons {
    ($($(#[$comment:meta])* $name:ident = $code:literal,)*) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RefusalReason {
            $($(#[$comment])* $name,)*
        }

        impl RefusalReason {
            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The reason of a stored code; none for a code of another version of this server.
            pub fn parse(code: &str) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

refusal_reasons! {
    // Errors of the domain.
    NotFound = "NOT_FOUND",
    Taken = "TAKEN",
    Stale = "STALE",
    TooLong = "TOO_LONG",
    Invalid = "INVALID",
    Forbidden = "FORBIDDEN",
    Unauthenticated = "UNAUTHENTICATED",
    Unsupported = "UNSUPPORTED",
    Busy = "BUSY",
    RateLimited = "RATE_LIMITED",
    Unavailable = "UNAVAILABLE",
    OutcomeUnknown = "OUTCOME_UNKNOWN",
    Internal = "INTERNAL",
    // What a state does not allow (`Error::Held`).
    AccountErased = "ACCOUNT_ERASED",
    AccountRemoved = "ACCOUNT_REMOVED",
    AccountSuspended = "ACCOUNT_SUSPENDED",
    AccountUnknown = "ACCOUNT_UNKNOWN",
    DomainNotProven = "DOMAIN_NOT_PROVEN",
    IssuedInFuture = "ISSUED_IN_FUTURE",
    OtherSubject = "OTHER_SUBJECT",
    SignInIntegration = "SIGN_IN_INTEGRATION",
    AlreadyAccepted = "ALREADY_ACCEPTED",
    AlreadyOwned = "ALREADY_OWNED",
    AlreadyRunning = "ALREADY_RUNNING",
    ConnectionInactive = "CONNECTION_INACTIVE",
    ConnectionOwns = "CONNECTION_OWNS",
    DnsUnavailable = "DNS_UNAVAILABLE",
    DomainProvenElsewhere = "DOMAIN_PROVEN_ELSEWHERE",
    DomainRecordMissing = "DOMAIN_RECORD_MISSING",
    Ended = "ENDED",
    EntraNativeIntegration = "ENTRA_NATIVE_INTEGRATION",
    Finished = "FINISHED",
    Inactive = "INACTIVE",
    InUse = "IN_USE",
    LastHolder = "LAST_HOLDER",
    LimitReached = "LIMIT_REACHED",
    MailNotConfigured = "MAIL_NOT_CONFIGURED",
    NothingToAdopt = "NOTHING_TO_ADOPT",
    NothingToDelete = "NOTHING_TO_DELETE",
    NothingToRetry = "NOTHING_TO_RETRY",
    NotWaiting = "NOT_WAITING",
    NoAccount = "NO_ACCOUNT",
    NoLeaver = "NO_LEAVER",
    OrganizationDisabled = "ORGANIZATION_DISABLED",
    OrganizationSuspended = "ORGANIZATION_SUSPENDED",
    OtherOwner = "OTHER_OWNER",
    PreviewStale = "PREVIEW_STALE",
    PlatformDisabled = "PLATFORM_DISABLED",
    ProvisioningNotReleased = "PROVISIONING_NOT_RELEASED",
    ProtectedAccount = "PROTECTED_ACCOUNT",
    Renamed = "RENAMED",
    RunNotEnded = "RUN_NOT_ENDED",
    TooManyJobs = "TOO_MANY_JOBS",
    TooManyLinks = "TOO_MANY_LINKS",
    TooManyTokens = "TOO_MANY_TOKENS",
    TooMuchStored = "TOO_MUCH_STORED",
    TurnTaken = "TURN_TAKEN",
    Pulled = "PULLED",
    // Credentials.
    TokenMissing = "TOKEN_MISSING",
    TokenUnknown = "TOKEN_UNKNOWN",
    TokenDead = "TOKEN_DEAD",
    CredentialMissing = "CREDENTIAL_MISSING",
    CredentialUnknown = "CREDENTIAL_UNKNOWN",
    CredentialDead = "CREDENTIAL_DEAD",
    CredentialKind = "CREDENTIAL_KIND",
    WrongTenant = "WRONG_TENANT",
    // Messages that do not reach the domain.
    NoEndpoint = "NO_ENDPOINT",
    Conflict = "CONFLICT",
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    NotAcceptable = "NOT_ACCEPTABLE",
    MediaType = "MEDIA_TYPE",
    TooLarge = "TOO_LARGE",
    Unreadable = "UNREADABLE",
    // Other servers.
    SourceUnavailable = "SOURCE_UNAVAILABLE",
    SourceCredentials = "SOURCE_CREDENTIALS",
    SourceAddress = "SOURCE_ADDRESS",
    SourceUnreadable = "SOURCE_UNREADABLE",
    TargetUnavailable = "TARGET_UNAVAILABLE",
    // Assertions of sign-ins.
    AssertionAlgorithm = "ASSERTION_ALGORITHM",
    AssertionAmbiguous = "ASSERTION_AMBIGUOUS",
    AssertionAudience = "ASSERTION_AUDIENCE",
    AssertionClaim = "ASSERTION_CLAIM",
    AssertionExpired = "ASSERTION_EXPIRED",
    AssertionIssuer = "ASSERTION_ISSUER",
    AssertionKey = "ASSERTION_KEY",
    AssertionKind = "ASSERTION_KIND",
    AssertionNonce = "ASSERTION_NONCE",
    AssertionNotYetValid = "ASSERTION_NOT_YET_VALID",
    AssertionReplayed = "ASSERTION_REPLAYED",
    AssertionSignature = "ASSERTION_SIGNATURE",
    AssertionUnreadable = "ASSERTION_UNREADABLE",
}

impl Serialize for RefusalReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl From<RefusalReason> for String {
    fn from(reason: RefusalReason) -> Self {
        reason.as_str().to_owned()
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
