//! The codes of `errors`: what a program reads about a request or a field that failed. The table in
//! docs/graphql/errors.md is generated from them.

/// Declares the codes, each with its name, its HTTP statuses, what it means and what to do.
macro_rules! error_codes {
    ($($code:ident = $name:literal, $statuses:literal, $meaning:literal, $remedy:literal;)+) => {
        /// A code in `extensions.code` of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode {
            $(#[doc = $meaning] $code,)+
        }

        impl ErrorCode {
            /// All codes, by their names.
            pub const ALL: &[ErrorCode] = &[$(Self::$code,)+];

            /// The code as clients read it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// The HTTP statuses that it comes with.
            pub fn statuses(self) -> &'static str {
                match self {
                    $(Self::$code => $statuses,)+
                }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => $meaning,)+
                }
            }

            /// What the client does about it.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$code => $remedy,)+
                }
            }
        }
    };
}

error_codes! {
    BadUserInput = "BAD_USER_INPUT", "400, 405, 406, 408, 413, 415; 200",
        "the request is not well formed, or an argument cannot be read",
        "correct it";
    Busy = "BUSY", "503",
        "several writes wanted the same thing at once; nothing was done",
        "send it again in a second";
    Conflict = "CONFLICT", "200", "the thing has changed, or a value is in use", "read it again";
    Forbidden = "FORBIDDEN", "403, 200",
        "the caller lacks a permission; `extensions.permission` names it",
        "ask for the permission";
    GraphqlParseFailed = "GRAPHQL_PARSE_FAILED", "400", "the document is not GraphQL", "correct it";
    GraphqlValidationFailed = "GRAPHQL_VALIDATION_FAILED", "400",
        "the document does not fit the schema",
        "correct it";
    Held = "HELD", "409, 200",
        "refused for now, by a state that a person can change",
        "read the message";
    IdempotencyAnswerGone = "IDEMPOTENCY_ANSWER_GONE", "409",
        "the mutation was done before; its answer is not kept",
        "read the data";
    IdempotencyKeyInUse = "IDEMPOTENCY_KEY_IN_USE", "409",
        "the first request with this key is still running",
        "send it again after `Retry-After`";
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", "422",
        "the key belongs to another request",
        "take a new key";
    Internal = "INTERNAL", "500, 200",
        "a fault of the server; `requestId` finds it in the log",
        "report it";
    IntrospectionDisabled = "INTROSPECTION_DISABLED", "400",
        "the operator turned introspection off",
        "read schema.graphql";
    NotFound = "NOT_FOUND", "404, 200",
        "the thing does not exist in this organization",
        "check the id";
    OperationNotAllowed = "OPERATION_NOT_ALLOWED", "400, 403",
        "the server runs only listed documents",
        "ask the operator to list it";
    OutcomeUnknown = "OUTCOME_UNKNOWN", "503",
        "the database was lost during the commit; the change may or may not be made",
        "read the data, or look up the request id";
    PersistedQueryHashMismatch = "PERSISTED_QUERY_HASH_MISMATCH", "400",
        "the hash is not that of the text",
        "correct the hash";
    PersistedQueryNotFound = "PERSISTED_QUERY_NOT_FOUND", "400",
        "the server does not know the hash",
        "send hash and text once";
    PersistedQueryNotSupported = "PERSISTED_QUERY_NOT_SUPPORTED", "400",
        "the hash is given in an unknown form",
        "see [persisted documents](persisted-documents.md)";
    QueryTooComplex = "QUERY_TOO_COMPLEX", "400",
        "the document is over a limit of size, depth or cost",
        "ask for less, or for smaller pages";
    RateLimited = "RATE_LIMITED", "429",
        "more than one caller may have",
        "send it again after `Retry-After`";
    ResultLost = "RESULT_LOST", "in results of bulk jobs",
        "the line was done, but its result was lost when a server stopped",
        "read the data";
    SecretWithheld = "SECRET_WITHHELD", "200",
        "this is a repeat of an answer; its secret is shown only the first time",
        "issue or rotate again if it was lost";
    Unauthenticated = "UNAUTHENTICATED", "401",
        "no credential, or one that opens nothing",
        "check the key or token";
    Unavailable = "UNAVAILABLE", "503",
        "the database cannot be used; nothing was done",
        "send it again after `Retry-After`";
}

impl ErrorCode {
    /// Whether it is about the document of a request that is well formed.
    pub fn is_about_document(self) -> bool {
        matches!(
            self,
            Self::GraphqlParseFailed
                | Self::GraphqlValidationFailed
                | Self::QueryTooComplex
                | Self::IntrospectionDisabled
                | Self::OperationNotAllowed
                | Self::PersistedQueryNotFound
                | Self::PersistedQueryHashMismatch
                | Self::PersistedQueryNotSupported
        )
    }

    /// Whether the error names the request, so that it is found in the log or in the ledger.
    pub fn names_request(self) -> bool {
        matches!(self, Self::Internal | Self::Unavailable | Self::OutcomeUnknown)
    }

    /// A code by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}
