//! Whose account a sign-in is about: found by the person's id at the identity provider, else by
//! user name, else made where the connection says so. A person who was removed, suspended or
//! erased stays so: a sign-in revives no account and makes no second one.

use entity::assertion_source::AccountCreation;
use entity::{erased_name, sign_in, user};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::assertion::{ProviderTenant, VerifiedAssertion};
use super::erased_name::hashed_text;
use super::source::{SignInRefusal, SignInSource};
use crate::context::Tx;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::directory::user as account;
use crate::domain::directory::user::User;
use crate::domain::paging::live_index::found_by_user_name;
use crate::domain::tenant::domain;
use crate::domain::tenant::domain::DomainProof;
use crate::error::{Error, RefusalReason, Result};
use crate::identity::document;

/// Whose account a sign-in is about.
pub(super) enum PersonLookup {
    /// `linked` = the row of the person names this account.
    Known {
        user: User,
        linked: bool,
    },
    /// The sign-in made it.
    Created(User),
    /// Another sign-in or the identity provider has made it at the same time.
    Raced,
    /// No account here has the name, and none had.
    Unknown,
    Refused(SignInRefusal),
}

/// The latest sign-in of a person.
pub(super) async fn find_latest(from: &SignInSource, key: &[u8]) -> Result<Option<sign_in::Model>> {
    let query = from.cx.find::<sign_in::Entity>();
    let query = query.filter(sign_in::Column::ConnectionId.eq(from.connection.id));
    Ok(query.filter(sign_in::Column::SubjectKey.eq(key)).one(&from.cx.app.store.write).await?)
}

/// The account of this id, unless it was deleted.
pub(super) async fn find_live_account(from: &SignInSource, id: Uuid) -> Result<Option<User>> {
    let query = from.cx.find::<user::Entity>().filter(user::Column::Id.eq(id));
    let query = query.filter(user::Column::DeletedAt.is_null());
    Ok(query.into_partial_model::<User>().one(&from.cx.app.store.write).await?)
}

/// Finds the account of the person.
pub(super) async fn find_person(
    from: &SignInSource,
    assertion: &VerifiedAssertion,
) -> Result<PersonLookup> {
    let key = from.subject_key(&assertion.subject)?;
    let latest = find_latest(from, &key).await?;
    if let Some(row) = &latest
        && let Some(user) = find_live_account(from, row.user_id).await?
    {
        return Ok(PersonLookup::Known { user, linked: true });
    }
    if let Some(refusal) = check_tenant(from, &assertion.tenant).await? {
        return Ok(PersonLookup::Refused(refusal));
    }
    // Another spelling of a domain makes no other person.
    let names = domain::spellings(&assertion.user_name);
    if let Some(user) = find_named(from, &names).await? {
        let other = from.cx.find::<sign_in::Entity>();
        let other = other.filter(sign_in::Column::UserId.eq(user.id));
        let other = other.filter(sign_in::Column::ConnectionId.eq(from.connection.id));
        let other = other.filter(sign_in::Column::SubjectKey.ne(key));
        if other.one(&from.cx.app.store.write).await?.is_some() {
            return Ok(PersonLookup::Refused(SignInRefusal::new(
                RefusalReason::OtherSubject,
                "the account of this user name belongs to another person at the identity provider: \
                 a recycled name inherits nothing; give one of the two another user name",
            )));
        }
        return Ok(PersonLookup::Known { user, linked: false });
    }
    // The person's account was deleted.
    if let Some(row) = latest {
        return Ok(PersonLookup::Refused(refuse_missing_account(from, row.user_id).await?));
    }
    for name in &names {
        if let Some(refusal) = find_former(from, name).await? {
            return Ok(PersonLookup::Refused(refusal));
        }
    }
    Ok(PersonLookup::Unknown)
}

/// The live account with the first of these names that one has.
async fn find_named(from: &SignInSource, names: &[String]) -> Result<Option<User>> {
    for name in names {
        let live = from.cx.find::<user::Entity>();
        let live = live.filter(user::Column::UserNameKey.eq(name.as_str()));
        let live = live.filter(found_by_user_name(from.cx.backend()));
        let live = live.filter(user::Column::DeletedAt.is_null()).into_partial_model::<User>();
        if let Some(user) = live.one(&from.cx.app.store.write).await? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Refuses accounts of other organizations at a provider that all share: the person who has one
/// chose its address.
async fn check_tenant(
    from: &SignInSource,
    tenant: &ProviderTenant,
) -> Result<Option<SignInRefusal>> {
    let why = match tenant {
        ProviderTenant::Own => return Ok(None),
        ProviderTenant::Shared(Some(name)) if domain::is_proven_domain(&from.cx, name).await? => {
            return Ok(None);
        }
        ProviderTenant::Shared(Some(_)) => {
            "the identity provider says that the account belongs to a domain (hd) that this \
             organization has not proven to own; prove it (domainProve)"
        }
        ProviderTenant::Shared(None) => {
            "the identity provider names no organization of the account (hd): it is a person's own"
        }
    };
    Ok(Some(SignInRefusal::new(RefusalReason::DomainNotProven, why)))
}

async fn refuse_missing_account(from: &SignInSource, user: Uuid) -> Result<SignInRefusal> {
    let query = from.cx.find::<user::Entity>().filter(user::Column::Id.eq(user));
    let query = query.filter(user::Column::PurgedAt.is_null());
    Ok(match query.into_partial_model::<User>().one(&from.cx.app.store.write).await? {
        Some(_) => removed_refusal(),
        None => erased_refusal(),
    })
}

fn removed_refusal() -> SignInRefusal {
    SignInRefusal::new(
        RefusalReason::AccountRemoved,
        "the account was deleted, and a sign-in does not revive it; restore it, or create an \
         account of this user name by hand",
    )
}

fn erased_refusal() -> SignInRefusal {
    SignInRefusal::new(
        RefusalReason::AccountErased,
        "the account and its personal data were erased, and a sign-in makes no new one; create an \
         account of this user name by hand",
    )
}

/// Why no account is made with this name; none if there never was one with it.
async fn find_former(from: &SignInSource, name: &str) -> Result<Option<SignInRefusal>> {
    #[derive(FromQueryResult)]
    struct FormerRow {
        #[allow(dead_code, reason = "a query has columns")]
        id: Uuid,
    }
    let text = "SELECT id FROM \"user\" WHERE organization_id = $1 AND user_name_key = $2 \
                AND deleted_at IS NOT NULL AND document <> 'by former userName' LIMIT 1";
    let statement = from.cx.statement(text, [name.into()]);
    let db = &from.cx.app.store.write;
    if FormerRow::find_by_statement(statement).one(db).await?.is_some() {
        return Ok(Some(removed_refusal()));
    }
    let key = from.keyed_hash(&hashed_text(name))?;
    let query = from.cx.find::<erased_name::Entity>();
    let known = query.filter(erased_name::Column::NameKey.eq(key)).one(db).await?;
    Ok(known.map(|_| erased_refusal()))
}

/// Makes the account, in one write with the person's row; equal sign-ins at the same time make one.
pub(super) async fn create_account(
    from: &SignInSource,
    assertion: &VerifiedAssertion,
) -> Result<PersonLookup> {
    if !domain::is_in_own_domain(&from.cx, &assertion.user_name, DomainProof::Proven).await? {
        return Ok(PersonLookup::Refused(SignInRefusal::new(
            RefusalReason::DomainNotProven,
            "sign-ins make accounts only in domains that the organization has proven to own; prove \
             the domain of this user name, or provision the person in another way",
        )));
    }
    let types = resource_types(&from.cx).await?;
    let ty = &types.user;
    let mut attributes = Map::new();
    let name = domain::with_canonical_domain(&assertion.user_name);
    attributes.insert("userName".into(), name.into());
    attributes.insert("active".into(), true.into());
    set_names(&mut attributes, assertion);
    let document = &document::normalize_document(ty, attributes)?;
    let key = &from.subject_key(&assertion.subject)?;
    let made = from.cx.write(move |tx| {
        Box::pin(async move {
            let change = account::insert_user(tx, ty, Some(from.connection.id), document.clone())?;
            link_subject(tx, from, assertion, key.clone(), change.value.id).await?;
            Ok(change)
        })
    });
    match made.await {
        Ok(user) => Ok(PersonLookup::Created(user)),
        Err(Error::Taken { .. }) => Ok(PersonLookup::Raced),
        Err(error) => Err(error),
    }
}

/// Stores whose account it is; what was said of groups comes later.
async fn link_subject(
    tx: &Tx<'_>,
    from: &SignInSource,
    assertion: &VerifiedAssertion,
    subject_key: Vec<u8>,
    user: Uuid,
) -> Result<()> {
    let now = tx.now_after(None);
    let row = sign_in::Model {
        organization_id: tx.organization(),
        connection_id: from.connection.id,
        subject_key,
        user_id: user,
        subject: Some(assertion.subject.clone()),
        issued_at: chrono::DateTime::UNIX_EPOCH,
        received_at: now,
        fingerprints: json!([]),
        listed_at: None,
        complete: false,
        groups: None,
    };
    sign_in::Entity::insert(row.into_active_model()).exec_without_returning(&tx.db).await?;
    Ok(())
}

/// The names and the address that the assertion tells; what it does not tell stays.
fn set_names(attributes: &mut Map<String, Value>, assertion: &VerifiedAssertion) {
    if let Some(name) = &assertion.display_name {
        attributes.insert("displayName".into(), name.clone().into());
    }
    let names = [("givenName", &assertion.given_name), ("familyName", &assertion.family_name)];
    for (part, value) in names {
        if let Some(value) = value {
            let name = attributes.entry("name").or_insert_with(|| json!({}));
            name[part] = value.clone().into();
        }
    }
    if let Some(email) = &assertion.email {
        attributes.insert("emails".into(), json!([{ "value": email, "primary": true }]));
    }
}

/// Updates the names and the address of an account that sign-ins of this connection made, where it
/// says so and the assertion is the latest.
pub(super) async fn update_account(
    from: &SignInSource,
    user: User,
    assertion: &VerifiedAssertion,
) -> Result<User> {
    let owned = user.connection_id == Some(from.connection.id);
    if from.source.account_creation != AccountCreation::CreateAndUpdate
        || !owned
        || !from.makes_accounts()
    {
        return Ok(user);
    }
    let latest = find_latest(from, &from.subject_key(&assertion.subject)?).await?;
    if latest.is_some_and(|row| row.issued_at > assertion.issued_at) {
        return Ok(user);
    }
    account::change_user(&from.cx, user.id, |_, known| {
        let mut attributes = known.clone();
        set_names(&mut attributes, assertion);
        Ok(Some(attributes))
    })
    .await
}
