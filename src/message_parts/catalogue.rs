//! The sentences of messages, each with its code. `{#}` stands for a number, `{}` for another
//! value, `{&}` for further sentences. Of two that fit, the first one counts.

/// Each sentence with its code. A code may have several spellings with the same values.
pub const SENTENCES: &[(&str, &str)] = &[
    // How a sync run went.
    (
        "RUN_INTERRUPTED",
        "the run was interrupted at the same place too often; the server's log says why",
    ),
    ("SOURCE_CANNOT_FILTER", "the source cannot filter, so everything was read"),
    ("NO_COMPLETE_RUN", "no earlier run was complete, so everything was read"),
    ("MANAGERS_NOT_LISTED", "some people have managers that the source does not list"),
    (
        "MEMBERS_NOT_LISTED",
        "some groups have members that the source does not list as users or groups, or have no \
         list of members",
    ),
    (
        "PAGES_REPEAT",
        "{}: the source repeats its pages without an end; no account or group was removed. Its \
         paging (startIndex or cursor) does not work; a larger pageSize may help",
    ),
    ("LISTED_WITHOUT_ID", "{#} elements of the list have no usable id"),
    ("WOULD_ASK_FIRST", "a full run would ask before it removes {&}"),
    ("WOULD_ASK_FIRST", "a full run would ask before it {&}"),
    ("SUSPENDS_ACCOUNTS", "suspends {#} of {#} active accounts"),
    ("ENDS_MEMBERSHIPS", "ends {#} of {#} memberships"),
    ("ROWS_UNASKED", "{&} and cannot be asked for them ({&})"),
    ("ACCOUNTS_ABSENT", "{#} of {#} accounts"),
    ("GROUPS_ABSENT", "{#} of {#} groups"),
    (
        "CHANGE_NEEDS_APPROVAL",
        "by what the source lists, this run {&} and needs an approval for it; none of them was \
         changed. If the source is right: syncApprove; otherwise syncCancel, and look at the \
         source",
    ),
    (
        "REMOVAL_NEEDS_APPROVAL",
        "the source no longer lists {&}, and their removal needs an approval; none was removed. If \
         they have really gone: syncApprove; otherwise syncCancel, and look at the source",
    ),
    (
        "LIST_INCOMPLETE",
        "{}: the source says that it has {#}, and listed {#}; what it listed was applied, and no \
         account or group was removed. Start another run; if this repeats, look at the source's \
         paging",
    ),
    ("RUN_NAMES_NOBODY", "the run names no person"),
    (
        "PERSON_NOT_LISTED",
        "the source lists no person of that name; only a full run removes accounts",
    ),
    (
        "PERSON_LISTED_TWICE",
        "the source lists more than one person of that name; only a full run removes accounts",
    ),
    ("CURSOR_PAGING_FAILS", "the source's paging by cursor does not work"),
    ("CONNECTION_OFF", "the connection was deactivated or deleted"),
    (
        "ORGANIZATION_DISABLED",
        "provisioning is turned off for this organization; turn it on in its settings \
         (scimEnabled) first",
    ),
    (
        "PLATFORM_DISABLED",
        "SCIM is not enabled in this deployment. Its operator enables it with \
         ROLECALL_SCIM_ENABLED=true.",
    ),
    (
        "PROVISIONING_NOT_RELEASED",
        "Provisioning is being released to one organization after another, and not to this one \
         yet. Nothing that was set up is lost. The operator of this server releases it.",
    ),
    (
        "ENTRA_NATIVE_INTEGRATION",
        "Microsoft Entra ID's native integration is set up, and SCIM cannot be used beside it. \
         Switch the organization's integration mode to SCIM first.",
    ),
    (
        "SIGN_IN_INTEGRATION",
        "Sign-ins at the identity provider say who is in which group, and SCIM cannot be used \
         beside them. Switch the organization's integration mode to SCIM first.",
    ),
    // How a comparison went.
    (
        "EXPORT_LISTS_FEW_ACCOUNTS",
        "the export lists only {} of the {} active accounts of this connection, so nothing was \
         compared. If the export is complete, confirm it; otherwise export all users who are \
         assigned",
    ),
    (
        "EXPORT_LISTS_FEW_MEMBERSHIPS",
        "the export lists only {} of the {} memberships of this connection's groups, so nothing \
         was compared. If the export is complete, confirm it; otherwise export all groups",
    ),
    (
        "COMPARISON_REFUSED",
        "{&}, so nothing was compared. If the source is right, start again with confirm: true",
    ),
    (
        "SOURCE_LISTS_FEW_ACCOUNTS",
        "the source lists only {#} of the {#} active accounts of this connection",
    ),
    (
        "SOURCE_LISTS_FEW_MEMBERSHIPS",
        "the source lists only {#} of the {#} memberships of this connection's groups",
    ),
    (
        "LINES_UNREAD",
        "{} lines could not be read, so missing users were not judged and no finding was closed; \
         correct the lines and upload the export again, or confirm that it is complete",
    ),
    (
        "MEMBER_LINES_UNREAD",
        "{#} lines could not be read, so missing members of its groups were not judged",
    ),
    (
        "EXPORT_NAMES_STRANGERS",
        "{#} groups and {#} members of the export do not exist here for this connection",
    ),
    (
        "SOURCE_IDS_UNUSABLE",
        "{} elements of the source's lists have no usable id, so missing users and groups were not \
         judged",
    ),
    ("SOURCE_PEOPLE_UNREAD", "{#} people at the source cannot be read; the sync run says why"),
    (
        "SOURCE_MEMBERS_UNREAD",
        "the members of {#} groups of the source cannot be read, or are not listed",
    ),
    (
        "SOURCE_NAMES_STRANGERS",
        "{#} groups and {#} members of groups at the source do not exist here for this connection",
    ),
    (
        "SOURCE_TOO_LARGE",
        "the source lists more than {} people or groups, which is more than a comparison takes; \
         nothing was compared",
    ),
    (
        "DIFFERENCES_TOO_LARGE",
        "the differences between the source and this server are more than {} bytes, which is more \
         than a comparison takes; nothing was compared. Start a sync run first: syncStart with the \
         mode FULL",
    ),
    (
        "FINDINGS_CUT",
        "only the first {#} new findings were written; decide about them and compare again",
    ),
    ("COMPARISON_DIED", "the server that ran this reconciliation died; start it again"),
    ("COMPARISON_ERROR", "an error happened inside this server; start the reconciliation again"),
    ("RUN_CANCELLED", "the run that read the source was cancelled"),
    ("RUN_ENDED", "the run ended"),
    // Lines of an export.
    ("LINE_FIELDS", "has {#} fields where the first line has {#}"),
    ("LINE_ENCODING", "is not UTF-8, or has the character NUL"),
    (
        "LINE_REPEATS_ID",
        "another row has the same identifier; the first one counts, and an active one before \
         others",
    ),
    (
        "LINE_REPEATS_NAME",
        "another row has the same user name; the first one counts, and an active one before others",
    ),
    ("LINE_UNKNOWN_WORD", "the column that says who is active has an unknown word"),
    ("LINE_NAMES_NOBODY", "names no person: all columns that identify a person are empty"),
    ("LINE_NO_OBJECT", "is no JSON object"),
    ("LINE_NO_JSON", "is not JSON (at column {#})"),
    ("LINE_NAMES_NO_GROUP", "names no group"),
    ("LINE_LISTS_NO_MEMBERS", "has no list of members, not even an empty one"),
    // What a source answered.
    ("TOKEN_OF_SOURCE", "the token: {&}"),
    ("ANSWER_IS_NO_LIST", "{}: the answer is no list of SCIM"),
    ("ANSWER_IS_ANOTHER", "{}: the answer is not the resource with the requested id"),
    (
        "SOURCE_LISTS_OTHERS",
        "{}: the source lists other resources than the one with the requested id",
    ),
    ("BASE_URL_MALFORMED", "the base URL of the source is not a URL"),
    ("ANSWER_IS_NO_OBJECT", "{}: the answer is not a JSON object"),
    ("SOURCE_ANSWERED_WHY", "{}: the source answered {}: {}"),
    ("SOURCE_ANSWERED", "{}: the source answered {}"),
    ("TOKEN_REFUSED", "the authorization server answered {}: {}"),
    ("TOKEN_UNUSABLE", "the authorization server gave a token that cannot be sent in a header"),
    ("TOKEN_URL_MALFORMED", "the token's URL is not a URL"),
    // The test of a source.
    ("TOKEN_GIVEN", "there is a token for the source"),
    ("SOURCE_REACHED", "the source was reached; it pages by {} and {&}"),
    ("CAN_FILTER", "can filter"),
    ("CANNOT_FILTER", "cannot filter, so every run reads everything"),
    ("SOURCE_LISTS", "the source lists {#} of {}"),
    ("SOURCE_LISTS_UNCOUNTED", "the source lists {}, and does not say how many"),
    ("STEPS_TOO_SLOW", "this and the steps before it took longer than {#} s"),
    ("SOURCE_IS_SLOW", "find out why the source is slow; a run waits longer than this test"),
    ("GIVE_SECRET", "give a valid secret: connectionUpdate with pull.secret"),
    ("ALLOW_CLIENT", "allow this client at the source to read users and groups"),
    ("CORRECT_BASE_URL", "correct the base URL: it ends before /Users, for example in /scim/v2"),
    ("CORRECT_FILTER", "correct the filter or the page size, which the source refuses"),
    ("ASK_LESS_OFTEN", "ask less often, or have the source's limit raised"),
    ("LOOK_AT_SOURCE_LOG", "look at the source's own log, and start a run when it works again"),
    (
        "USE_PUBLIC_ADDRESS",
        "use a public address, or let the operator start the server with \
         ROLECALL_PULL_PRIVATE_ADDRESSES=true",
    ),
    ("CHECK_TLS_PORT", "check that this port of the source speaks TLS (https)"),
    (
        "FIND_WHY_SILENT",
        "the source was reached: find out why it does not answer, or whether the base URL leads to \
         another service",
    ),
    (
        "CHECK_REACH",
        "check the base URL, and that the source can be reached from this server over HTTPS",
    ),
    // Calls to other servers.
    ("NOT_RESOLVED_IN_TIME", "{}: not resolved within {} s"),
    ("NO_ADDRESS", "{}: has no address"),
    ("PORT_REFUSES", "port {#} accepts no connection: {}"),
    ("PORT_SILENT", "port {#} accepts no connection within {}"),
    ("ADDRESS_NOT_PUBLIC", "{}: the address is not public"),
    ("NAME_NOT_PUBLIC", "{}: {} leads to an address that is not public"),
    ("ANSWER_UNFINISHED", "{}: an answer began, but did not end within {} s"),
    ("ANSWER_TOO_LONG", "{}: the answer is longer than {} bytes"),
    ("NO_ANSWER", "{}: a connection was made, but no answer came within {} s"),
    ("NAME_UNRESOLVED", "{}: the name was not resolved within {} s"),
    ("NO_TLS", "{}: port {#} accepts connections, but TLS was not agreed on within {} s"),
    (
        "NO_CONNECTION",
        "{}: no connection to port {#} within {} s: nothing answers there, or a firewall drops \
         what is sent",
    ),
    ("OTHER_ORIGIN", "{}: not the origin of this server"),
    ("NAME_UNKNOWN", "{}: failed to lookup address information: {}"),
    ("NOT_REACHED", "{}: error sending request: {}"),
    ("ADDRESS_ANSWERED", "{}: answered {}"),
    ("NO_ANSWER_IN_TIME", "no answer within {#} s"),
    // Deliveries, and the state of a destination.
    ("REDIRECT_REFUSED", "answered {}: redirects are not followed"),
    ("RECEIVER_REFUSED_WHY", "answered {}: {}"),
    ("RECEIVER_REFUSED", "answered {}"),
    ("ADDRESS_MALFORMED", "the address is not a URL"),
    ("EVENT_UNREAD", "this server could not read the event"),
    ("DESTINATION_PAUSED", "A person paused it."),
    ("DESTINATION_GONE", "It answered 410 Gone: it wants no more messages."),
    ("DESTINATION_GAVE_UP", "It took nothing for three days."),
    // The test of the public address.
    ("PORT_OPEN", "the port accepts connections"),
    ("REQUEST_ANSWERED", "a request was answered with {}"),
    ("EVENTS_NOT_NEEDED", "not needed: no stream of security event tokens is set up"),
    ("EVENTS_FOUND", "receivers of security event tokens find the metadata"),
    ("EVENTS_OTHER_ANSWER", "what was answered is not the metadata of this organization"),
    ("ADDRESSES_FOUND", "addresses found for {}: {#}"),
    ("RESOURCES_LISTED", "{} lists {#} resources of the connection"),
    ("LIST_WITHOUT_TOTAL", "{} answered a list without totalResults"),
    ("AUTHORIZATION_ARRIVES", "the header Authorization arrives"),
    (
        "AUTHORIZATION_LOST",
        "the request was refused (401) as one without a bearer token: something on the way removes \
         or replaces the header Authorization",
    ),
    ("CONFIGURATION_READ", "the service provider configuration was read"),
    ("FALSE_TOKEN_REFUSED", "a false token is refused (401)"),
    ("FALSE_TOKEN_ANSWERED", "a false token was answered with {} instead of 401"),
    ("ANSWER_IS_NO_SCIM", "what was answered is not SCIM"),
    ("ANSWER_WAS_WHY", "the answer was {}: {}"),
    ("ANSWER_WAS", "the answer was {}"),
    ("FIND_SLOW_PART", "find out what between this server and its public URL is slow"),
    (
        "CHECK_PROXY",
        "check that the proxy or load balancer runs, that the port of the public URL is right, and \
         that a firewall lets this server reach it",
    ),
    (
        "LEAD_EVENTS_PATH",
        "let the proxy lead the path /.well-known/ssf-configuration, at the root of the host, to \
         this server; see docs/operations/proxy.md",
    ),
    (
        "CORRECT_PUBLIC_HOST",
        "correct the host of the public URL (ROLECALL_PUBLIC_URL), or add the name to the DNS that \
         this server uses",
    ),
    (
        "CHECK_CERTIFICATE",
        "check the TLS certificate of the public URL and the whole chain that the proxy sends, and \
         that the proxy reaches this server",
    ),
    (
        "FIND_CHANGING_PROXY",
        "find out which server answers at the public URL: a proxy may change what this server \
         answers",
    ),
    (
        "PASS_AUTHORIZATION",
        "let the proxy pass on the header Authorization as it is; see docs/operations/proxy.md",
    ),
    (
        "FIND_ANSWERING_PROXY",
        "find out whether a proxy or a cache answers in place of this server, or adds an \
         Authorization header of its own",
    ),
    (
        "LEAD_SCIM_PATH",
        "let the proxy lead the path /scim/v2 of the public URL to this server: another service, \
         or a sign-in page, answers there",
    ),
    (
        "FIND_OTHER_INSTALLATION",
        "find out which server answers: the token is valid here, so the public URL leads to \
         another installation or to a proxy that checks tokens itself",
    ),
    ("TURN_ON_NAMED", "turn on what the message names: organizationUpdate or connectionActivate"),
    (
        "PASS_PATH",
        "let the proxy pass on the path as it is, and check that ROLECALL_PUBLIC_URL has the path \
         under which the proxy offers this server",
    ),
    ("TEST_LATER", "the identity provider is at its rate limit: test again later"),
    (
        "NAME_REDIRECT_TARGET",
        "identity providers do not follow redirects: start this server with the URL that the \
         redirect leads to (ROLECALL_PUBLIC_URL)",
    ),
    (
        "CORRECT_UPSTREAM",
        "the proxy is reached, but not this server behind it: correct its upstream",
    ),
    ("LOOK_AT_LOGS", "look at the log of the proxy and of this server"),
    // The test of an identity provider.
    ("PROVIDER_TOO_SLOW", "the steps took longer than {#} s"),
    ("PROVIDER_IS_SLOW", "find out why the identity provider is slow"),
    ("GRAPH_TOKEN_GIVEN", "Microsoft Graph gives a token to the client"),
    (
        "CHECK_GRAPH_GRANT",
        "check the client secret, and that an administrator of the directory has granted the \
         application permission GroupMember.Read.All",
    ),
    (
        "USE_PUBLIC_HTTPS",
        "use a public address over HTTPS, or let the operator start the server with \
         ROLECALL_PULL_PRIVATE_ADDRESSES=true",
    ),
    ("DISCOVERY_READ", "the discovery document of {} was read"),
    ("DISCOVERY_NOT_NEEDED", "the address of the keys is set, so no discovery document is read"),
    (
        "COPY_ISSUER",
        "copy the issuer from the identity provider's own settings, to the letter, or set the \
         address of the discovery document",
    ),
    (
        "NO_USER_INFO",
        "the discovery document names no UserInfo endpoint, which each sign-in here asks",
    ),
    ("ASK_USER_INFO_LESS", "set userInfo to WHEN_CLAIMS_MISSING or NEVER"),
    ("NO_FITTING_KEY", "none of the published keys fits an allowed algorithm"),
    ("ALLOW_ALGORITHM", "allow the algorithm with which the identity provider signs"),
    ("KEYS_READ", "{#} keys for the allowed algorithms were read"),
    ("CHECK_KEYS_ADDRESS", "check that this server can reach the address"),
    ("SENT_WITH_SIGNATURE", "people are sent to {} to sign in, with a signed request"),
    ("SENT_TO_SIGN_IN", "people are sent to {} to sign in"),
    (
        "OFFER_REDIRECT",
        "to let people begin to sign in here, have the identity provider offer SingleSignOnService \
         with the binding HTTP-Redirect",
    ),
    (
        "NO_REDIRECT_ADDRESS",
        "the metadata name no address that takes requests by a redirect: only applications can \
         hand over responses",
    ),
    ("METADATA_GIVEN", "the metadata of {} were given as a text at {}"),
    (
        "GIVE_METADATA_ADDRESS",
        "give their address, if the identity provider has one: they are then read again by \
         themselves, and a new certificate is taken in",
    ),
    ("METADATA_READ_UNTIL", "the metadata of {} were read, valid until {}"),
    ("METADATA_READ", "the metadata of {} were read"),
    (
        "OTHER_PROVIDER_THERE",
        "the address describes another identity provider now: if that is meant to be, make a \
         connection for it, because its people may be others",
    ),
    ("MUST_BE_METADATA", "look at what the address answers: it must be SAML 2.0 metadata"),
    ("CHECK_METADATA_ADDRESS", "check the address, and that this server can reach it"),
    ("CERTIFICATES_FOUND", "{#} certificates: {&}"),
    ("CERTIFICATES_FOUND", "{#} certificate: {&}"),
    ("CERTIFICATE_NEW_ENDS", "{}… ends at {}, not taken in yet"),
    ("CERTIFICATE_NEW_ENDED", "{}… ended at {}, not taken in yet"),
    ("CERTIFICATE_ENDS", "{}… ends at {}"),
    ("CERTIFICATE_ENDED", "{}… ended at {}"),
    (
        "ASK_FOR_CERTIFICATE",
        "ask who runs the identity provider for a new certificate: the key of one that has ended \
         is accepted here, but not everywhere",
    ),
    ("OWN_METADATA_READ", "our own metadata can be read at {}"),
    ("OWN_METADATA_OTHER", "{} answers something else than our metadata"),
    ("CHECK_PUBLIC_URL", "check that the public URL (--public-url) leads to this installation"),
    (
        "CHECK_PUBLIC_PROXY",
        "check the public URL (--public-url), and the proxy in front of this server: the identity \
         provider must be able to read it",
    ),
    ("KEYS_MISSING", "{}: no keys in the answer"),
    ("KEYS_UNUSABLE", "{}: none of the keys can be used"),
    ("OTHER_ISSUER", "{}: is about the issuer {}, not {}"),
    ("NO_KEYS_ADDRESS", "{}: names no jwks_uri"),
    ("ANSWER_IS_NO_JSON", "{}: the answer is not JSON"),
    ("METADATA_ENCODING", "the metadata are not UTF-8"),
    ("GRAPH_ANSWERED", "Microsoft Graph answered {}"),
    ("GRAPH_TOKEN_ANSWERED", "the token endpoint answered {}"),
    ("GRAPH_WITHOUT_SECRET", "the connection has no client secret"),
    ("GRAPH_UNFINISHED", "no complete answer within {#} s"),
    // The check of a domain.
    (
        "DOMAIN_PROVEN_ELSEWHERE",
        "another organization of this installation has proven the domain; it must remove its \
         record first, which is seen within a day",
    ),
    ("LOOKUPS_BUSY", "too many lookups are under way; try again in a moment"),
    ("NO_RESOLVER", "no resolver is known"),
    ("RESOLVER_SILENT", "no answer"),
    ("RESOLVER_CUT", "the answer is cut"),
    ("RESOLVER_CONFUSED", "the answers are to other questions"),
    ("RESOLVER_CONFUSED", "the answer is to another question"),
    ("RESOLVER_MALFORMED", "the answer is malformed: {}"),
    ("RESOLVER_REFUSED", "the resolver says {}"),
    // The health of a connection.
    ("HEALTH_DEACTIVATED", "It is deactivated."),
    ("HEALTH_PROVISIONING_OFF", "Provisioning over SCIM is turned off for the organization."),
    ("HEALTH_NEVER_READ", "Its source was never read."),
    ("HEALTH_NO_SIGN_IN", "No sign-in of the identity provider was handed over yet."),
    ("HEALTH_NO_REQUEST", "The identity provider has not sent a request yet."),
    ("HEALTH_EVERYTHING_FAILS", "Nothing succeeds: {#} of {#} operations failed since {}."),
    ("HEALTH_ERRORS", "{#} of {#} operations failed since {}."),
    ("HEALTH_FULL_RUNS_FAIL", "The last {#} full runs failed."),
    ("HEALTH_RUNS_FAIL", "The last {#} runs failed."),
    ("HEALTH_FULL_RUN_FAILED", "The last full run failed."),
    ("HEALTH_RUN_FAILED", "The last run failed."),
    ("HEALTH_NO_TOKEN", "It has no live token: all have expired or were revoked."),
    ("HEALTH_SILENT", "It has sent no request since {}, which is longer than usual."),
    ("HEALTH_SENDS_NOTHING", "It sends no requests."),
    ("HEALTH_OVERDUE", "A run was scheduled for {} and has not begun."),
    ("HEALTH_NOT_BEGUN", "A scheduled run has not begun."),
    (
        "HEALTH_RUN_WAITS",
        "A run would remove many accounts, so it waits for an administrator's approval.",
    ),
    ("HEALTH_RUN_LEFT_SOME", "Its runs could not apply {#} users and groups."),
    ("HEALTH_WORK_WAITS_SINCE", "Failures have waited in the review queue since {}."),
    ("HEALTH_WORK_WAITS", "Failures wait in the review queue."),
    (
        "HEALTH_METADATA_UNREAD",
        "The metadata of its identity provider cannot be read since {}: {&}",
    ),
    ("HEALTH_METADATA_LOST", "The metadata of its identity provider cannot be read."),
    // What a finding needs.
    (
        "START_SYNC_RUN",
        "no account here has this name: start a sync run (syncStart); if it does not create the \
         account, look at the failures of the connection",
    ),
    (
        "RUN_REMOVES_ACCOUNT",
        "the source does not list this account any more: a full run removes it (syncStart); or \
         suspend or delete it",
    ),
    (
        "SUSPEND_SOURCE_LEAVER",
        "inactive at the source and active here: suspend the account, or start a sync run \
         (syncStart)",
    ),
    (
        "RUN_TAKES_OVER",
        "start a sync run (syncStart), which takes over what the source says; or change it at the \
         source, or accept it",
    ),
    (
        "ADOPT_OR_ACCEPT",
        "an account without an owner has this name: adopt it, or accept that it stays separate",
    ),
    (
        "RESTORE_OR_REMOVE_PERSON",
        "the account was deleted here by hand: restore it here, or remove the person in the \
         identity provider",
    ),
    (
        "CHOOSE_CONNECTION",
        "an account of another connection has this name: find out to which of the two connections \
         the person belongs, and remove the person from the other, or accept the difference",
    ),
    (
        "PROVISION_PERSON",
        "no account here has this name: have the identity provider provision the person (assign \
         the application, or provision on demand), and look at the failures of the connection for \
         the reason why it did not",
    ),
    (
        "SUSPEND_LOCAL_ACCOUNT",
        "an account without an owner, which the identity provider does not list: suspend or delete \
         it, or accept it with a reason",
    ),
    (
        "SUSPEND_OR_ASSIGN",
        "the identity provider does not list this account any more: suspend or delete it, or \
         assign the person again",
    ),
    (
        "SUSPEND_LEAVER",
        "inactive in the identity provider and active here: suspend the account, then find out why \
         the identity provider did not write the change",
    ),
    (
        "WRITE_ACCOUNT_AGAIN",
        "have the identity provider write the account again (provision on demand), change it here, \
         or accept it",
    ),
    (
        "RENAME_ONE",
        "another account has this name in another width of letters: rename one of the two in the \
         system that it comes from",
    ),
    (
        "NAME_OTHER_MANAGER",
        "the manager's account was deleted: have the identity provider name another manager, and \
         reassign in the application what the manager was responsible for",
    ),
    (
        "ASSIGN_SAME_GROUPS",
        "the groups in the sign-in and those that SCIM wrote are not the same: assign the same \
         groups to both applications in the identity provider, or have it write the groups again",
    ),
    (
        "WRITE_GROUP_AGAIN",
        "have the identity provider write the group again; a membership that only exists here can \
         be deleted",
    ),
    // What went wrong with a write.
    ("DELIVERY_GIVEN_UP", "the destination did not take the event for three days"),
    ("SOURCE_UNREADABLE", "the source's answer is not SCIM, or does not end"),
    (
        "SOURCE_ADDRESS",
        "nothing can be read at the source's address, or the source does not support the request",
    ),
    ("SOURCE_CREDENTIALS", "the source refuses the connection's credentials"),
    ("SOURCE_LIMITS", "the source allows fewer requests"),
    ("VALUE_TAKEN", "a value is already in use here"),
    ("ATTRIBUTE_TAKEN", "{} is already in use here"),
    ("VALUE_TOO_LONG", "a value is longer than this server can store"),
    ("ATTRIBUTE_TOO_LONG", "{} is longer than this server can store"),
    ("MESSAGE_UNACCEPTABLE", "the message cannot be accepted as it was sent"),
    ("ATTRIBUTE_UNACCEPTABLE", "{} cannot be accepted as it was sent"),
    ("NOT_HERE", "the user or group is not here or does not belong to this connection"),
    ("LAST_HOLDER", "it would take a management role away from its last holder"),
    ("PROTECTED_ACCOUNT", "it would change a protected (break-glass) account"),
    ("SCOPE_MISSING", "the token lacks the scope that it needs"),
    ("STATE_CONFLICT", "the state of the user or group did not allow it"),
    ("UNSUPPORTED", "this server does not support it"),
    ("TOO_LARGE", "it is larger than this server accepts"),
    ("RATE_LIMITED", "the connection sent more requests than its limit"),
    ("TARGET_UNAVAILABLE", "the other server could not be reached or was too busy"),
    ("INTERNAL", "an error happened inside this server"),
    // What to do about it.
    (
        "PUT_RECEIVER_RIGHT",
        "See what the destination answered (deliveryId), put its receiver right, and retry \
         (failureRetry); or dismiss it, if it need not be delivered.",
    ),
    (
        "RETRY_WHEN_SOURCE_WORKS",
        "Look at the source's own log, and retry (failureRetry) when the source works.",
    ),
    (
        "GIVE_SOURCE_SECRET",
        "Give the connection a valid secret (connectionUpdate with pull.secret), and let it read \
         users and groups at the source; pullSourceTest says whether that helped.",
    ),
    (
        "CORRECT_SOURCE_ADDRESS",
        "Correct the base URL, the filter or the page size; pullSourceTest says what is wrong.",
    ),
    (
        "LOOK_AT_SOURCE_ANSWER",
        "Look at what the source answers at the base URL; the reason of the sync run says what was \
         wrong with it.",
    ),
    ("RUN_LESS_OFTEN", "Let runs begin less often, or have the source's limit raised."),
    (
        "NOTHING_UNLESS_SCHEMA",
        "Nothing, unless the identity provider stops: it asks for a schema or a resource type that \
         is not here. A schema is added with schemaExtensionRegister.",
    ),
    (
        "NOTHING_UNLESS_FILTER",
        "Nothing, unless the identity provider stops: it filters what this server says about \
         itself, which SCIM forbids.",
    ),
    (
        "REPORT_LIST_PARAMETER",
        "The {} asks for a list with a {} that is not understood. Report it to its vendor, with \
         the request id.",
    ),
    (
        "SEND_USERS_FIRST",
        "The {} names a member that is not here: let it send the users first, then the group \
         again.",
    ),
    ("SEND_NAME_ALWAYS", "Let the {} send a {} for every user and group: it cannot be removed."),
    (
        "CHECK_MAPPED_VALUE",
        "Look at what the {} maps to {}: its value is missing or of a kind that cannot be stored.",
    ),
    (
        "CHECK_MAPPING",
        "Look at the attribute mapping in the {}: a value is missing or of the wrong kind.",
    ),
    (
        "CHECK_MAPPED_PATH",
        "Look at what the {} maps to {}: the way it is addressed is not understood.",
    ),
    (
        "REMOVE_UNKNOWN_MAPPING",
        "The {} maps to an attribute that no schema here has: take the mapping away, or register a \
         schema extension with that attribute.",
    ),
    (
        "CHECK_MATCHING_ATTRIBUTE",
        "Look at the matching attribute in the {}: searching by it is not understood or not \
         possible. userName and externalId always are.",
    ),
    (
        "UNMAP_ATTRIBUTE",
        "Take {} out of the {}'s attribute mapping: it cannot be changed from there.",
    ),
    ("UNMAP_READ_ONLY", "Take the read-only attribute out of the {}'s attribute mapping."),
    ("SEND_ANEW", "The {} changes a value that is not there: let it send this user or group anew."),
    (
        "SEND_LESS_OF_ATTRIBUTE",
        "Let the {} send less at once, or less in {}: it is over this server's limit.",
    ),
    ("SEND_LESS", "Let the {} send less at once: the request is over this server's limit."),
    ("LIST_AGAIN", "Let the {} begin its listing again."),
    (
        "REPORT_TO_VENDOR",
        "The {} sends a message that is not SCIM 2.0. Report it to its vendor, with the request \
         id.",
    ),
    ("ENTER_TOKEN", "Enter the connection's token in the {}: it sends none."),
    (
        "ENTER_KNOWN_TOKEN",
        "Enter the connection's token in the {}: the one it sends was never issued here. If no \
         administrator is setting up a connection, an attacker may be guessing.",
    ),
    (
        "ENTER_CURRENT_TOKEN",
        "Enter the connection's current token in the {}: the one it sends has expired, was rotated \
         or was revoked.",
    ),
    (
        "SEND_CREDENTIAL",
        "Send an API key or a person's token with every request: this one had none.",
    ),
    (
        "USE_KNOWN_CREDENTIAL",
        "Use an API key of this organization, or a token of an issuer that this server trusts. If \
         no administrator is setting up a client, an attacker may be guessing.",
    ),
    (
        "ISSUE_OTHER_KEY",
        "Issue another API key to the client that uses this one: it has expired, was revoked, or \
         its owner's account is not active.",
    ),
    (
        "USE_RIGHT_CREDENTIAL",
        "Use a credential of the right kind: SCIM tokens (rcs_) are for SCIM, API keys (rck_) for \
         the management API.",
    ),
    (
        "COPY_BASE_URL",
        "Copy the base URL from the connection into the {}: the one it uses belongs to no \
         organization, or to another one than the token.",
    ),
    (
        "CHECK_BASE_URL",
        "Check the base URL in the {}: it asks for an address that does not exist here or does not \
         take this method.",
    ),
    (
        "MATCH_OR_CREATE",
        "The {} refers to a user or group that is not here (any more) or is not this connection's: \
         let it match or create it anew.",
    ),
    (
        "FIND_RIGHT_ATTRIBUTE",
        "Another user or group has the same {}: find out which of the two is right, and change or \
         remove the other.",
    ),
    (
        "FIND_RIGHT_VALUE",
        "Another user or group has the same value: find out which of the two is right, and change \
         the other.",
    ),
    (
        "NOTHING_TWO_CHANGES",
        "Usually nothing: two changes came at once, and the {} sends the later one again.",
    ),
    (
        "CHECK_MAPPED_LENGTH",
        "Look at what the {} maps to {}: its value is longer than this server can store.",
    ),
    (
        "CHECK_LENGTH",
        "Look at the attribute mapping in the {}: a value is longer than this server can store.",
    ),
    (
        "ISSUE_TOKEN_WITH_SCOPE",
        "Issue a token with the scope that this needs, if the {} is meant to do it.",
    ),
    ("TURN_OFF_FEATURE", "Turn off what the {} asks for: this server does not offer it."),
    ("ACTIVATE_CONNECTION", "Activate the connection, if the {} is meant to write to it."),
    (
        "TURN_PROVISIONING_ON",
        "Turn provisioning on again in the organization's settings, if it is meant to run.",
    ),
    ("ASK_WHY_SUSPENDED", "Ask the operator of this server why the organization is suspended."),
    ("ASK_TO_ENABLE_SCIM", "Ask the operator of this server to enable SCIM."),
    (
        "ASK_FOR_RELEASE",
        "Ask the operator of this server when provisioning is released to the organization.",
    ),
    (
        "SWITCH_MODE",
        "Switch the organization's integration mode to SCIM, or stop provisioning in the {}.",
    ),
    (
        "GIVE_ROLE_FIRST",
        "Give the management role to another user first: an {} cannot remove the last user who has \
         it.",
    ),
    (
        "TAKE_OUT_OF_SCOPE",
        "Take the account out of what the {} manages: it is a break-glass account, which only an \
         administrator changes.",
    ),
    (
        "NOTHING_SEND_SLOWLY",
        "Usually nothing: the {} tries again. If it goes on, let it send more slowly.",
    ),
    ("SEND_SMALLER", "Let the {} send smaller requests: this one is over the limit."),
    ("SET_MEDIA_TYPE", "Set the {} to send and accept application/scim+json."),
    (
        "TELL_OPERATOR",
        "Tell the operator of this server, with the request id: something went wrong here.",
    ),
    (
        "COMPARE_ISSUER",
        "Compare the issuer, the audiences and the algorithms of the connection with what the \
         application hands over at sign-ins.",
    ),
    (
        "TEST_KEYS",
        "Test the connection (assertionSourceTest). If its keys can be read, an attacker may hand \
         over sign-ins that the identity provider did not sign.",
    ),
    (
        "COMPARE_CLAIMS",
        "Compare the names of the claims at the connection with what the identity provider sends.",
    ),
    ("LOOK_AT_ANSWER", "Look at the answer in the {}'s own log: it says what was wrong."),
];
