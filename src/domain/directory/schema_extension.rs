//! Schema extensions: what an organization adds to its users and groups (RFC 7643 section 3.3).
//!
//! [`types`] is the schema that holds in an organization: validation, filters, PATCH and discovery all read it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use entity::organization;
use entity::schema_extension::{self, Extends};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::schema::{self, Attribute, Kind, Mutability, ResourceType, Returned, Schema, Uniqueness};
use super::{document, list};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

pub use schema_extension::Model as Extension;

/// Schemas that one organization may add.
const MAX_EXTENSIONS: usize = 20;
/// Attributes, sub-attributes included, that one schema may have.
const MAX_ATTRIBUTES: usize = 100;

/// What users and groups look like in one organization.
#[derive(Debug)]
pub struct Types {
    pub user: ResourceType,
    pub group: ResourceType,
}

/// The state of an organization's schemas that was read last; made anew when its version has moved.
type Cache = Mutex<HashMap<Uuid, (i64, Arc<Types>)>>;

static CACHE: LazyLock<Cache> = LazyLock::new(Cache::default);
static PLAIN: LazyLock<Arc<Types>> =
    LazyLock::new(|| Arc::new(Types { user: schema::user().clone(), group: schema::group().clone() }));

/// What users and groups look like in this request's organization. Costs nothing while nobody changes it.
pub async fn types(cx: &Cx) -> Result<Arc<Types>> {
    let version = match cx.schema_version {
        Some(version) => version,
        None => super::organization::current(cx).await?.schema_version,
    };
    if version == 0 {
        return Ok(PLAIN.clone());
    }
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, types)) = cache().get(&cx.organization())
        && *known == version
    {
        return Ok(types.clone());
    }
    let mut types = Types { user: schema::user().clone(), group: schema::group().clone() };
    for row in all(cx).await? {
        let schema = schema_of(&row)?;
        match row.resource_type {
            Extends::User => types.user.extensions.push(schema),
            Extends::Group => types.group.extensions.push(schema),
        }
    }
    let types = Arc::new(types);
    let mut cache = cache();
    if cache.len() > 10_000 {
        cache.clear();
    }
    cache.insert(cx.organization(), (version, types.clone()));
    Ok(types)
}

/// An attribute to be defined.
#[derive(Debug, Clone)]
pub struct Definition {
    pub name: String,
    pub description: String,
    pub kind: Kind,
    pub multi_valued: bool,
    pub required: bool,
    pub case_exact: bool,
    pub mutability: Mutability,
    pub returned: Returned,
    pub canonical_values: Vec<String>,
    /// Only for [`Kind::Complex`], and never complex themselves.
    pub sub_attributes: Vec<Definition>,
}

/// A schema to be added.
#[derive(Debug, Clone)]
pub struct NewExtension {
    pub urn: String,
    pub extends: Extends,
    pub name: String,
    pub description: String,
    pub attributes: Vec<Definition>,
}

/// Adds a schema to the organization's users or groups; it holds from the next request on.
///
/// # Errors
/// [`Error::Taken`] for a URN that is registered, [`Error::Invalid`] for a definition that breaks RFC 7643 section 7.
pub async fn register(cx: &Cx, new: NewExtension) -> Result<Extension> {
    cx.allow(Action::WriteConnection, None)?;
    let urn = check_urn(&new.urn)?;
    let name = super::text("name", &new.name, 200)?;
    let description =
        if new.description.is_empty() { name.clone() } else { super::text("description", &new.description, 2_000)? };
    let attributes = attributes(&new.attributes)?;
    let (urn, name, description, attributes) = (&urn, &name, &description, &attributes);
    cx.write(move |tx| {
        Box::pin(async move {
            next_version(tx).await?;
            let known = tx.find::<schema_extension::Entity>().all(&tx.db).await?;
            if known.len() >= MAX_EXTENSIONS {
                return Err(Error::invalid(
                    "urn",
                    format!("an organization can have at most {MAX_EXTENSIONS} extensions"),
                ));
            }
            let now = tx.now_after(None);
            let row = Extension {
                organization_id: tx.organization(),
                id: Uuid::now_v7(),
                urn: urn.clone(),
                urn_key: document::fold(urn),
                resource_type: new.extends,
                name: name.clone(),
                description: description.clone(),
                attributes: attributes.clone(),
                created_at: now,
                updated_at: now,
            };
            let active = schema_extension::ActiveModel::from(row.clone());
            schema_extension::Entity::insert(active).exec_without_returning(&tx.db).await?;
            let after = json!({ "urn": urn, "name": name, "attributes": attributes });
            let entry = entry(EventKind::SchemaExtensionRegistered, &row, None, Some(after));
            Ok(Change::made(row, entry))
        })
    })
    .await
}

/// Takes a schema away again.
///
/// # Errors
/// [`Error::Held`] while a live user or group has values in it.
pub async fn remove(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            next_version(tx).await?;
            let query = tx.find::<schema_extension::Entity>().filter(schema_extension::Column::Id.eq(id));
            let row = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the schema extension"))?;
            let table = match row.resource_type {
                Extends::User => "user",
                Extends::Group => "group",
            };
            if list::any_has(tx, table, &row.urn).await? {
                let why = format!("{} still has values on live {table}s; remove those first", row.urn);
                return Err(Error::Held { reason: "IN_USE", why: why.into() });
            }
            schema_extension::Entity::delete_many()
                .filter(schema_extension::Column::OrganizationId.eq(tx.organization()))
                .filter(schema_extension::Column::Id.eq(id))
                .exec(&tx.db)
                .await?;
            let before = json!({ "urn": row.urn, "name": row.name, "attributes": row.attributes });
            let at = tx.now_after(Some(row.updated_at));
            let entry = Entry { at, ..entry(EventKind::SchemaExtensionRemoved, &row, Some(before), None) };
            Ok(Change::made((), entry))
        })
    })
    .await
}

/// The organization's own schemas, oldest first.
pub async fn all(cx: &Cx) -> Result<Vec<Extension>> {
    let query = cx.find::<schema_extension::Entity>().order_by_asc(schema_extension::Column::Id);
    Ok(query.all(cx.db()).await?)
}

/// One of the organization's own schemas.
pub async fn by_id(cx: &Cx, id: Uuid) -> Result<Option<Extension>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx.find::<schema_extension::Entity>().filter(schema_extension::Column::Id.eq(id)).one(cx.db()).await?)
}

/// The schema that a row describes.
pub fn schema_of(row: &Extension) -> Result<Schema> {
    let fault = || Error::Internal(format!("the schema extension {} is damaged", row.urn));
    let attributes = row.attributes.as_array().ok_or_else(fault)?;
    Ok(Schema {
        urn: row.urn.clone(),
        name: row.name.clone(),
        description: row.description.clone(),
        attributes: attributes.iter().map(|value| stored(value).ok_or_else(fault)).collect::<Result<_>>()?,
    })
}

/// Counts the change up, under the organization's lock.
async fn next_version(tx: &Tx<'_>) -> Result<()> {
    organization::Entity::update_many()
        .col_expr(organization::Column::SchemaVersion, Expr::col(organization::Column::SchemaVersion).add(1))
        .filter(organization::Column::Id.eq(tx.organization()))
        .exec(&tx.db)
        .await?;
    Ok(())
}

fn check_urn(urn: &str) -> Result<String> {
    let urn = urn.trim();
    let good = urn.len() <= 200
        && urn.to_ascii_lowercase().starts_with("urn:")
        && urn.split(':').count() >= 3
        && urn.split(':').all(|part| !part.is_empty())
        && urn.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":._-".contains(&byte));
    if !good {
        return Err(Error::invalid(
            "urn",
            "must be a URN such as urn:example:params:scim:schemas:extension:ward:2.0:User",
        ));
    }
    // The RFCs' own names mean what the RFCs say; what Entra ID calls a custom extension lies under them, too.
    let folded = urn.to_ascii_lowercase();
    let reserved = [
        "urn:ietf:params:scim:schemas:core:",
        "urn:ietf:params:scim:schemas:extension:enterprise:",
        "urn:ietf:params:scim:api:",
    ];
    if reserved.iter().any(|prefix| folded.starts_with(prefix)) {
        return Err(Error::invalid("urn", "is reserved by the SCIM RFCs"));
    }
    Ok(urn.to_owned())
}

/// Checks definitions and writes them as they are stored.
fn attributes(definitions: &[Definition]) -> Result<Value> {
    let count: usize = definitions.iter().map(|definition| 1 + definition.sub_attributes.len()).sum();
    if definitions.is_empty() || count > MAX_ATTRIBUTES {
        return Err(Error::invalid("attributes", format!("must be between 1 and {MAX_ATTRIBUTES}")));
    }
    checked(definitions, true)
}

fn checked(definitions: &[Definition], top: bool) -> Result<Value> {
    let mut names = std::collections::HashSet::new();
    let mut attributes = Vec::new();
    for definition in definitions {
        let name = &definition.name;
        let invalid = |why: String| Error::invalid("attributes", format!("{name:?} {why}"));
        // RFC 7643 section 2.1.
        let mut bytes = name.bytes();
        let good = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            && name.len() <= 100;
        if !good {
            return Err(invalid("must be a letter followed by letters, digits, hyphens and underscores".into()));
        }
        if ["schemas", "id", "meta", "members"].iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(invalid("is a name that SCIM itself uses".into()));
        }
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(invalid("is defined twice".into()));
        }
        let complex = definition.kind == Kind::Complex;
        if complex && !top {
            return Err(invalid("cannot be complex inside a complex attribute".into()));
        }
        if complex == definition.sub_attributes.is_empty() {
            return Err(invalid("needs sub-attributes if, and only if, it is complex".into()));
        }
        if definition.mutability == Mutability::WriteOnly && definition.returned != Returned::Never {
            return Err(invalid("is write-only and so can never be returned".into()));
        }
        let description = if definition.description.is_empty() { name } else { &definition.description };
        let canonical = definition.canonical_values.iter().map(|value| super::text("canonicalValues", value, 200));
        attributes.push(json!({
            "name": name,
            "description": super::text("description", description, 2_000)?,
            "type": definition.kind.name(),
            "multiValued": definition.multi_valued,
            "required": definition.required,
            "caseExact": definition.case_exact,
            "mutability": definition.mutability.name(),
            "returned": definition.returned.name(),
            "canonicalValues": canonical.collect::<Result<Vec<_>>>()?,
            "subAttributes": if complex { checked(&definition.sub_attributes, false)? } else { json!([]) },
        }));
    }
    Ok(Value::from(attributes))
}

/// Reads what [`checked`] wrote.
fn stored(value: &Value) -> Option<Attribute> {
    let flag = |name: &str| value.get(name)?.as_bool();
    let text = |name: &str| value.get(name)?.as_str();
    let texts = |name: &str| -> Option<Vec<String>> {
        value.get(name)?.as_array()?.iter().map(|value| value.as_str().map(Into::into)).collect()
    };
    Some(Attribute {
        name: text("name")?.into(),
        description: text("description")?.into(),
        kind: Kind::named(text("type")?)?,
        multi_valued: flag("multiValued")?,
        required: flag("required")?,
        case_exact: flag("caseExact")?,
        mutability: Mutability::named(text("mutability")?)?,
        returned: Returned::named(text("returned")?)?,
        uniqueness: Uniqueness::None,
        canonical_values: texts("canonicalValues")?,
        reference_types: Vec::new(),
        sub_attributes: value.get("subAttributes")?.as_array()?.iter().map(stored).collect::<Option<_>>()?,
    })
}

fn entry(kind: EventKind, row: &Extension, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        kind,
        subject: Subject { kind: "schema_extension", id: row.id },
        connection: None,
        at: row.updated_at,
        before,
        after,
        population: 0,
    }
}
