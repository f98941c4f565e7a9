//! Sessions at an identity provider: which sessions of the console came from them, so that the
//! provider can end those when the person signs out there.

use std::sync::Arc;

use entity::provider_session;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::source::SignInSource;
use crate::context::{App, Cx};
use crate::domain::access::console_link;
use crate::domain::access::console_link::{ConsoleLink, SESSION_LIFETIME};
use crate::error::Result;

/// A session at an identity provider, as its tokens name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSession {
    /// The person's id there (`sub`).
    pub subject: String,
    /// The id of the session (`sid`); none if the provider names none.
    pub session: Option<String>,
}

/// The sessions that a provider ends: one, or all of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndedSessions {
    /// This one; where the provider names the person too, only if it is this person's.
    One {
        session: String,
        subject: Option<String>,
    },
    AllOf {
        subject: String,
    },
}

/// The ledger's word for the reason of an end.
const REASON: &str = "the identity provider ended its session (back-channel logout)";

fn subject_key(from: &SignInSource, subject: &str) -> Result<Vec<u8>> {
    from.keyed_hash(&format!("provider subject {} {subject}", from.connection.id))
}

fn session_key(from: &SignInSource, session: &str) -> Result<Vec<u8>> {
    from.keyed_hash(&format!("provider session {} {session}", from.connection.id))
}

/// Notes from which session of the provider a link to the console comes. Call it before the
/// link is given away.
///
/// # Errors
/// Those of the database.
pub async fn note_session(
    cx: &Cx,
    connection: Uuid,
    link: &ConsoleLink,
    session: &ProviderSession,
) -> Result<()> {
    let from = SignInSource::read_settings(cx, connection).await?;
    let row = provider_session::Model {
        organization_id: cx.organization(),
        link_id: link.id,
        connection_id: connection,
        subject_key: subject_key(&from, &session.subject)?,
        session_key: session.session.as_deref().map(|id| session_key(&from, id)).transpose()?,
        expires_at: link.expires_at + SESSION_LIFETIME,
    };
    provider_session::Entity::insert(provider_session::ActiveModel::from(row))
        .exec_without_returning(&cx.app.store.write)
        .await?;
    Ok(())
}

/// Ends the sessions of the console that came from sessions of the provider; returns how many.
///
/// # Errors
/// [`crate::error::Error::NotFound`] for a connection that accepts no sign-ins; those of the
/// database.
pub async fn end_sessions(cx: &Cx, connection: Uuid, ended: &EndedSessions) -> Result<u64> {
    use provider_session::Column;
    let from = SignInSource::read_settings(cx, connection).await?;
    let query = cx.find::<provider_session::Entity>();
    let query = query.filter(Column::ConnectionId.eq(connection));
    let (query, subject) = match ended {
        EndedSessions::One { session, subject } => {
            let key = session_key(&from, session)?;
            let subject = subject.as_deref().map(|id| subject_key(&from, id)).transpose()?;
            (query.filter(Column::SessionKey.eq(key)), subject)
        }
        EndedSessions::AllOf { subject } => {
            (query.filter(Column::SubjectKey.eq(subject_key(&from, subject)?)), None)
        }
    };
    let acting = &from.cx.with_reason(Some(REASON.into()));
    let mut count = 0;
    for row in query.all(&cx.app.store.write).await? {
        if subject.as_ref().is_none_or(|key| *key == row.subject_key) {
            count += u64::from(end_session(acting, &row).await?);
        }
    }
    Ok(count)
}

/// Ends what a link opened, or the link if it is not opened yet.
async fn end_session(cx: &Cx, row: &provider_session::Model) -> Result<bool> {
    let ended = console_link::close_link(cx, row.link_id).await?;
    provider_session::Entity::delete_many()
        .filter(provider_session::Column::OrganizationId.eq(cx.organization()))
        .filter(provider_session::Column::LinkId.eq(row.link_id))
        .exec(&cx.app.store.write)
        .await?;
    Ok(ended)
}

/// Forgets sessions that are over anyway, of every organization.
///
/// # Errors
/// Those of the database.
pub async fn forget_ended_sessions(app: &Arc<App>) -> Result<u64> {
    let old = provider_session::Column::ExpiresAt.lte(app.clock.now());
    let deleted = provider_session::Entity::delete_many().filter(old);
    Ok(deleted.exec(&app.store.write).await?.rows_affected)
}
