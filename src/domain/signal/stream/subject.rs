//! The subjects of a stream. All accounts and groups are in it from the beginning; a receiver can
//! remove some, and add them again. What a receiver names and does not exist is answered like what
//! exists: a receiver learns nothing about who is here.

use entity::{group, stream_subject, user, user_email};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QuerySelect,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{StreamOfDestination, allow_telling, issuer, lock_stream};
use crate::context::{Change, Cx};
use crate::domain::signal::destination::{bump_version, destination_event, save_destination};
use crate::domain::tenant::organization;
use crate::error::{Error, Result, Rule};
use crate::identity::document;
use crate::ledger::EventKind;

/// The most subjects that can be removed from one stream.
const MAX_REMOVED: u64 = 10_000;

/// A subject as a receiver names it (RFC 9493).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectName {
    Id(Uuid),
    Email(String),
    /// Of no account here.
    Unknown,
}

impl SubjectName {
    /// Reads a subject identifier; none for one that is not well formed or of a format that is not
    /// known here.
    pub fn parse_identifier(subject: &Value, issuer: &str) -> Option<Self> {
        let text = |name: &str| subject[name].as_str();
        let id = |text: &str| Uuid::try_parse(text).map_or(Self::Unknown, Self::Id);
        match text("format")? {
            "opaque" => Some(id(text("id")?)),
            "iss_sub" if text("iss")? == issuer => Some(id(text("sub")?)),
            "iss_sub" => text("sub").map(|_| Self::Unknown),
            "email" => Some(Self::Email(text("email")?.to_owned())),
            "scim" => {
                let uri = text("uri")?.trim_start_matches('/');
                let (_, last) = uri.rsplit_once('/')?;
                Some(id(last))
            }
            _ => None,
        }
    }
}

/// The kind and the id of the account or group of this name.
async fn find_subject(cx: &Cx, name: &SubjectName) -> Result<Option<(&'static str, Uuid)>> {
    let id = match name {
        SubjectName::Unknown => return Ok(None),
        SubjectName::Id(id) => *id,
        SubjectName::Email(address) => {
            let query = cx.find::<user_email::Entity>();
            let key = document::fold_text(address);
            let query = query.filter(user_email::Column::ValueKey.eq(key));
            let mut found: Vec<Uuid> = query
                .select_only()
                .column(user_email::Column::UserId)
                .limit(2)
                .into_tuple()
                .all(cx.db())
                .await?;
            // An address of several accounts names none.
            match (found.pop(), found.pop()) {
                (Some(id), None) => id,
                _ => return Ok(None),
            }
        }
    };
    if cx.find::<user::Entity>().filter(user::Column::Id.eq(id)).count(cx.db()).await? > 0 {
        return Ok(Some(("user", id)));
    }
    let groups = cx.find::<group::Entity>().filter(group::Column::Id.eq(id));
    Ok((groups.count(cx.db()).await? > 0).then_some(("group", id)))
}

/// Adds a subject to a stream again, or removes it.
///
/// # Errors
/// [`crate::error::Error::NotFound`] for a stream that does not exist, [`Error::Invalid`] for a
/// subject that is not well formed, and when too many are removed.
pub async fn change_subject(cx: &Cx, id: Uuid, subject: &Value, remove: bool) -> Result<()> {
    allow_telling(cx, entity::destination::Payload::Reference)?;
    let slug = organization::current_organization(cx).await?.slug;
    let name =
        SubjectName::parse_identifier(subject, &issuer(&cx.app, &slug)).ok_or_else(|| {
            Error::invalid(
                "subject",
                "must be a subject of the format opaque, iss_sub, email or scim",
            )
        })?;
    let found = find_subject(cx, &name).await?;
    cx.write(move |tx| {
        Box::pin(async move {
            let StreamOfDestination { mut destination, .. } = lock_stream(tx, id).await?;
            let Some((kind, subject)) = found else { return Ok(Change::unchanged(())) };
            let removed = tx
                .find::<stream_subject::Entity>()
                .filter(stream_subject::Column::DestinationId.eq(id));
            let known = removed.clone().filter(stream_subject::Column::SubjectId.eq(subject));
            if (known.count(&tx.db).await? > 0) == remove {
                return Ok(Change::unchanged(()));
            }
            let now = bump_version(tx, &mut destination);
            if remove {
                if removed.count(&tx.db).await? >= MAX_REMOVED {
                    let why = format!("a stream has at most {MAX_REMOVED} removed subjects");
                    return Err(Error::broken(Rule::TooMany, "subject", why));
                }
                let row = stream_subject::Model {
                    organization_id: tx.organization(),
                    destination_id: id,
                    subject_id: subject,
                    removed_at: now,
                };
                let nothing = OnConflict::new().do_nothing().to_owned();
                stream_subject::Entity::insert(row.into_active_model())
                    .on_conflict(nothing)
                    .exec_without_returning(&tx.db)
                    .await?;
            } else {
                stream_subject::Entity::delete_many()
                    .filter(stream_subject::Column::OrganizationId.eq(tx.organization()))
                    .filter(stream_subject::Column::DestinationId.eq(id))
                    .filter(stream_subject::Column::SubjectId.eq(subject))
                    .exec(&tx.db)
                    .await?;
            }
            save_destination(tx, destination.clone()).await?;
            let event = if remove {
                EventKind::DestinationSubjectRemoved
            } else {
                EventKind::DestinationSubjectAdded
            };
            let after = Some(json!({ "subjectKind": kind, "subjectId": subject }));
            let entry = destination_event(event, &destination, now, after);
            Ok(Change::recorded((), entry))
        })
    })
    .await?;
    cx.app.signals.wake.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_by_format() {
        let (id, us) = (Uuid::now_v7(), "https://rolecall.example/ssf/acme");
        let read = |subject: Value| SubjectName::parse_identifier(&subject, us);
        assert_eq!(read(json!({ "format": "opaque", "id": id })), Some(SubjectName::Id(id)));
        assert_eq!(
            read(json!({ "format": "iss_sub", "iss": us, "sub": id })),
            Some(SubjectName::Id(id))
        );
        assert_eq!(
            read(json!({ "format": "iss_sub", "iss": "https://other.example", "sub": id })),
            Some(SubjectName::Unknown)
        );
        assert_eq!(
            read(json!({ "format": "scim", "uri": format!("/Users/{id}") })),
            Some(SubjectName::Id(id))
        );
        assert_eq!(
            read(json!({ "format": "email", "email": "a@x.org" })),
            Some(SubjectName::Email("a@x.org".into()))
        );
        for bad in [json!({}), json!({ "format": "phone_number" }), json!({ "format": "opaque" })] {
            assert_eq!(read(bad), None);
        }
    }
}
