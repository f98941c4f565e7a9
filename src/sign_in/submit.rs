//! What an application got at a sign-in and hands over: which connection it is for, whether it is
//! genuine, and what the domain makes of it. Each one is counted in the request log of its
//! connection, also a refused one; the log has codes only, and nothing of the assertion.

use entity::request_log::Outcome;
use uuid::Uuid;

use super::oidc::{TokenVerifier, UncheckedToken};
use super::saml;
use super::saml::VerifiedResponse;
use crate::auth::policy::Action;
use crate::buffers::request_counts;
use crate::buffers::request_counts::{RequestCount, RequestKind, RequestRefusal};
use crate::context::{Credential, Cx};
use crate::domain::connection::Connection;
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::{AcceptingConnection, Protocol};
use crate::domain::directory::user;
use crate::domain::sign_in;
use crate::domain::sign_in::directory_lookup::request_lookup;
use crate::domain::sign_in::replay;
use crate::domain::sign_in::{GroupClaims, SignInOutcome, VerifiedAssertion};
use crate::error::{Error, Noun, RefusalReason, Result};

/// What an application got at a sign-in.
#[derive(Clone, PartialEq, Eq)]
pub enum SubmittedAssertion {
    /// An ID token, as it came.
    IdToken(String),
    /// A response of SAML, as the form field `SAMLResponse` has it.
    SamlResponse {
        response: String,
        /// The id of the request that it must answer; none = the sign-in began at the identity
        /// provider.
        request_id: Option<String>,
        /// The key with which the caller may repeat this submission.
        idempotency_key: Option<String>,
    },
}

/// What came of a sign-in.
#[derive(Debug, Clone)]
pub struct SubmittedSignIn {
    pub connection: Connection,
    /// The user name of the account; none where the person has none.
    pub user_name: Option<String>,
    pub outcome: SignInOutcome,
}

/// Verifies what an application hands over, and does what it says. Without `connection`, the one
/// that trusts its issuer and is among its audiences is taken.
///
/// # Errors
/// [`Error::Held`] with the reason why it is refused, [`Error::NotFound`] for a connection that
/// accepts no sign-ins.
pub async fn submit_assertion(
    cx: &Cx,
    connection: Option<Uuid>,
    assertion: &SubmittedAssertion,
) -> Result<SubmittedSignIn> {
    check_caller(cx)?;
    submit_checked(cx, connection, assertion).await
}

/// Refuses a caller who may not hand over assertions, or who hands over too many.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::Limited`]
pub(super) fn check_caller(cx: &Cx) -> Result<()> {
    cx.allow(Action::SubmitAssertion, None)?;
    match cx.actor.id().and_then(|id| Uuid::try_parse(&id).ok()) {
        Some(key) => cx.app.assertion_limits.take_request(key),
        None => Ok(()),
    }
}

/// The same for a caller that was checked.
///
/// # Errors
/// As [`submit_assertion`].
pub(super) async fn submit_checked(
    cx: &Cx,
    connection: Option<Uuid>,
    assertion: &SubmittedAssertion,
) -> Result<SubmittedSignIn> {
    let found = match assertion {
        SubmittedAssertion::IdToken(token) => find_connection(cx, connection, token).await,
        SubmittedAssertion::SamlResponse { response, .. } => {
            find_saml_connection(cx, connection, response).await
        }
    };
    let accepting = match found {
        Ok(accepting) => accepting,
        Err(error) => {
            note_sign_in(cx, None, Err(&error));
            return Err(error);
        }
    };
    let done = verify_and_accept(cx, &accepting, assertion).await;
    note_sign_in(cx, Some(&accepting.connection), done.as_ref());
    let outcome = done?;
    let user_name = read_user_name(cx, outcome.user).await?;
    Ok(SubmittedSignIn { connection: accepting.connection, user_name, outcome })
}

async fn verify_and_accept(
    cx: &Cx,
    accepting: &AcceptingConnection,
    assertion: &SubmittedAssertion,
) -> Result<SignInOutcome> {
    accepting.check_active()?;
    match assertion {
        SubmittedAssertion::IdToken(token) => {
            let now = cx.app.clock.now();
            let verifier = TokenVerifier::of_connection(cx, accepting)?;
            // The application has checked the nonce: only it knows which one it sent.
            let verified = verifier.verify_id_token(token, None, now).await?;
            accept_verified(cx, accepting, verified).await
        }
        SubmittedAssertion::SamlResponse { response, request_id, idempotency_key } => {
            let request = request_id.as_deref();
            let verified = saml::verify_response(cx, accepting, response, request).await?;
            accept_response(cx, accepting, verified, idempotency_key.as_deref()).await
        }
    }
}

/// Hands a verified response to the domain, once.
///
/// # Errors
/// [`Error::Held`] for one that was used before; those of the domain.
pub(super) async fn accept_response(
    cx: &Cx,
    accepting: &AcceptingConnection,
    verified: VerifiedResponse,
    idempotency_key: Option<&str>,
) -> Result<SignInOutcome> {
    let VerifiedResponse { assertion, expires_at } = verified;
    let connection = accepting.connection.id;
    replay::use_assertion(cx, connection, &assertion, idempotency_key, expires_at).await?;
    accept_verified(cx, accepting, assertion).await
}

/// The connection that has to check a response: the named one, or the only active one that trusts
/// its issuer. Nothing that the response says is believed by that.
async fn find_saml_connection(
    cx: &Cx,
    named: Option<Uuid>,
    response: &str,
) -> Result<AcceptingConnection> {
    if let Some(id) = named {
        return assertion_source::find_accepting(cx, id).await;
    }
    let issuer = saml::read_unchecked_issuer(response).await?;
    let mut found = Vec::new();
    for accepting in assertion_source::list_accepting(cx, Protocol::Saml).await? {
        if accepting.saml_settings()?.entity_id == issuer {
            found.push(accepting);
        }
    }
    if found.len() > 1 {
        found.retain(|accepting| accepting.check_active().is_ok());
    }
    let mut found = found.into_iter();
    let refuse = |reason, why: &'static str| Err(Error::Held { reason, why: why.into() });
    match (found.next(), found.next()) {
        (Some(accepting), None) => Ok(accepting),
        (Some(_), Some(_)) => refuse(
            RefusalReason::AssertionAmbiguous,
            "several connections accept responses of this issuer: name one",
        ),
        (None, _) => refuse(
            RefusalReason::AssertionIssuer,
            "no connection trusts the issuer of the response",
        ),
    }
}

/// Hands a verified assertion to the domain, and notes that the identity provider was heard of.
///
/// # Errors
/// Those of the domain.
pub async fn accept_verified(
    cx: &Cx,
    accepting: &AcceptingConnection,
    verified: VerifiedAssertion,
) -> Result<SignInOutcome> {
    let connection = &accepting.connection;
    let credential =
        Credential::Assertion { organization: cx.organization(), connection: connection.id };
    cx.app.uses.note_use(credential, cx.app.clock.now(), None);
    let incomplete = matches!(verified.groups, GroupClaims::Incomplete(_));
    let outcome = sign_in::accept_assertion(cx, connection.id, verified).await?;
    if let (true, Some(user), None) = (incomplete, outcome.user, &outcome.refusal)
        && !outcome.groups_complete
        && asks_directory(accepting)
    {
        request_lookup(cx, connection.id, user).await?;
    }
    Ok(outcome)
}

/// Whether the directory is asked for groups that a sign-in left out.
fn asks_directory(accepting: &AcceptingConnection) -> bool {
    accepting.graph_client().is_ok_and(|graph| graph.is_some())
}

/// The user name of an account, for the application at which the person signs in.
pub(super) async fn read_user_name(cx: &Cx, account: Option<Uuid>) -> Result<Option<String>> {
    let Some(account) = account else { return Ok(None) };
    let reader = Cx::system(cx.app.clone(), cx.organization());
    let found = user::users_by_ids(&reader, &[account]).await?;
    Ok(found.into_iter().next().map(|user| user.user_name))
}

/// The connection that has to check a token: the named one, or the active one that trusts its
/// issuer and is among its audiences. Nothing that the token says is believed by that.
async fn find_connection(cx: &Cx, named: Option<Uuid>, token: &str) -> Result<AcceptingConnection> {
    if let Some(id) = named {
        return assertion_source::find_accepting(cx, id).await;
    }
    let says = UncheckedToken::read_claims(token)?;
    let refuse = |reason, why: &'static str| Err(Error::Held { reason, why: why.into() });
    let mut trusted = false;
    let mut found = Vec::new();
    for accepting in assertion_source::list_accepting(cx, Protocol::Oidc).await? {
        let settings = accepting.oidc_settings()?;
        if settings.issuer != says.issuer {
            continue;
        }
        trusted = true;
        if settings.audiences.iter().any(|audience| says.audiences.contains(audience)) {
            found.push(accepting);
        }
    }
    // A deactivated connection answers only where no active one does.
    if found.len() > 1 {
        found.retain(|accepting| accepting.check_active().is_ok());
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(accepting), None) => Ok(accepting),
        (Some(_), Some(_)) => refuse(
            RefusalReason::AssertionAmbiguous,
            "several connections accept tokens of this issuer for this audience: name one",
        ),
        (None, _) if trusted => refuse(
            RefusalReason::AssertionAudience,
            "the token is not for an audience of a connection that trusts its issuer",
        ),
        (None, _) => {
            refuse(RefusalReason::AssertionIssuer, "no connection trusts the issuer of the token")
        }
    }
}

/// Counts a sign-in in the request log.
pub(super) fn note_sign_in(
    cx: &Cx,
    connection: Option<&Connection>,
    done: Result<&SignInOutcome, &Error>,
) {
    let (outcome, refusal, user) = match done {
        Ok(SignInOutcome { created: true, user, .. }) => (Outcome::Created, None, *user),
        Ok(SignInOutcome { changed: true, user, .. }) => (Outcome::Updated, None, *user),
        Ok(SignInOutcome { refusal: None, user, .. }) => (Outcome::Unchanged, None, *user),
        Ok(SignInOutcome { refusal: Some(refused), user, .. }) => {
            (Outcome::Refused, Some(refused.reason), *user)
        }
        Err(Error::Forbidden(_) | Error::Limited { .. }) => return,
        Err(
            error @ (Error::Busy(_)
            | Error::Unavailable(_)
            | Error::OutcomeUnknown { .. }
            | Error::Internal(_)),
        ) => (Outcome::Failed, Some(error.reason()), None),
        Err(error) => (Outcome::Refused, Some(error.reason()), None),
    };
    note_request(cx, connection, "sign in", outcome, refusal, user);
}

/// Counts what was done for a sign-in in the request log.
pub(super) fn note_request(
    cx: &Cx,
    connection: Option<&Connection>,
    meaning: &'static str,
    outcome: Outcome,
    refusal: Option<RefusalReason>,
    user: Option<Uuid>,
) {
    let now = cx.app.clock.now();
    let kind = RequestKind {
        organization: cx.organization(),
        connection: connection.map(|connection| connection.id),
        hour: request_counts::hour_of(now),
        method: Some("POST"),
        resource: Some("assertions"),
        meaning,
        outcome,
        status: None,
        refusal: refusal.map(|reason| RequestRefusal { reason, scim_type: None, field: None }),
        quirks: Vec::new(),
        source: None,
    };
    cx.app.requests.note_request(kind, RequestCount::single(now, Some(cx.request_id), user));
}

/// The UUID of a connection.
pub(super) fn parse_connection(text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| Error::not_found(Noun::Connection))
}
